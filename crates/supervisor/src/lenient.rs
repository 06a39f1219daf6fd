//! Reading what a newer or older version says: what is missing or null is as good as empty.

use serde::{Deserialize, Deserializer};

/// Null is the default. Use with `#[serde(default)]`, which does the same for what is missing.
pub(crate) fn or_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// A number, or none for one that is negative or no number: it is only shown.
pub(crate) fn count<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    Ok(serde_json::Value::deserialize(deserializer)?.as_u64())
}
