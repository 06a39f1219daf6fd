//! The kind of store behind a bucket, and the user's settings for it.

use std::sync::Arc;

use object_store::{BackoffConfig, ObjectStore, RetryConfig};
use url::Url;

use super::{multipart::Multipart, wire::Wire};
use crate::{
    context::{Context, Options, invalid},
    error::{Kind, Operation, StoreError},
    redact,
};

/// What works best: small enough to be sent again at little cost, large enough for a fast connection.
const PREFERRED_PART: u64 = 8 << 20;

/// The user's settings for a destination.
pub(super) struct Wanted<'a> {
    /// As users know it.
    pub(super) destination: String,
    /// Name of the bucket or container.
    pub(super) bucket: String,
    pub(super) options: &'a Options,
    pub(super) context: &'a Context,
}

/// A kind of store, ready for requests.
pub(super) struct Backend {
    pub(super) wire: Wire,
    pub(super) objects: Arc<dyn ObjectStore>,
    pub(super) multipart: Arc<dyn Multipart>,
}

impl Wanted<'_> {
    pub(super) fn invalid(&self, reason: impl Into<String>) -> StoreError {
        invalid(&self.destination, reason)
    }

    pub(super) fn no_keys(&self, reason: &str, advice: &str) -> StoreError {
        StoreError::remote(&self.destination, Operation::Connect, Kind::Credentials, reason).advise(advice)
    }

    /// An option, or the first of these environment variables.
    pub(super) fn setting(&self, key: &str, variables: &[&str]) -> Option<String> {
        let set = self.options.get(key).map(str::to_owned);
        set.or_else(|| variables.iter().find_map(|name| self.context.variable(name)))
    }

    pub(super) fn secret(&self, key: &str, variable: &str) -> Result<Option<String>, StoreError> {
        Ok(self
            .options
            .secret(&self.destination, key, variable, self.context)?
            .map(|secret| secret.expose().to_owned()))
    }

    pub(super) fn flag(&self, key: &str) -> Result<bool, StoreError> {
        self.options.flag(&self.destination, key)
    }

    /// The library's own retry policy, which is none: the caller retries.
    pub(super) fn one_try() -> RetryConfig {
        RetryConfig { backoff: BackoffConfig::default(), max_retries: 0, retry_timeout: std::time::Duration::ZERO }
    }

    /// An endpoint's URL. Without encryption only where nobody can listen, or if the user allows it.
    pub(super) fn endpoint(&self, text: &str) -> Result<Url, StoreError> {
        let url = Url::parse(text.trim_end_matches('/'))
            .ok()
            .filter(|url| url.has_host() && matches!(url.scheme(), "http" | "https"));
        let url = url.ok_or_else(|| {
            self.invalid(format!(
                "endpoint {:?} must have the form https://HOST or https://HOST:PORT",
                redact::text(text, redact::behind_slashes(text))
            ))
        })?;
        if url.password().is_some() || !url.username().is_empty() {
            return Err(self.invalid("the endpoint contains a user name or password"));
        }
        let is_near = match url.host() {
            Some(url::Host::Domain(name)) => name == "localhost",
            Some(url::Host::Ipv4(address)) => address.is_loopback(),
            Some(url::Host::Ipv6(address)) => address.is_loopback(),
            None => false,
        };
        if url.scheme() == "http" && !is_near && !self.flag("allow_http")? {
            return Err(self
                .invalid("the endpoint is not encrypted (http://)")
                .advise("use https://, or set allow_http = true if you trust the network"));
        }
        Ok(url)
    }

    pub(super) fn part_size(&self, multipart: &dyn Multipart) -> Result<u64, StoreError> {
        let Some(text) = self.options.get("part_size") else { return Ok(PREFERRED_PART) };
        let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
        let shift = match unit.trim() {
            "" => Some(0),
            "KiB" => Some(10),
            "MiB" => Some(20),
            "GiB" => Some(30),
            _ => None,
        };
        let bytes = number.parse::<u64>().ok().zip(shift).and_then(|(number, shift)| number.checked_mul(1 << shift));
        let rules = multipart.rules();
        bytes.filter(|bytes| (rules.smallest.max(1 << 20)..=rules.largest).contains(bytes)).ok_or_else(|| {
            let smallest = rules.smallest.max(1 << 20) >> 20;
            self.invalid(format!(
                "part_size is {text:?}, but must be a size like 16MiB, from {smallest}MiB to {}GiB",
                rules.largest >> 30
            ))
        })
    }
}
