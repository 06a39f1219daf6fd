//! What a form or an address says, by name.

use std::fmt;

use url::form_urlencoded;
use zeroize::Zeroizing;

/// Names and values, in their order. Values may be secret: they are not printed, and gone when they are dropped.
#[derive(Clone, Default)]
pub(crate) struct Fields(Vec<(String, Zeroizing<String>)>);

impl Fields {
    pub(crate) fn parse(encoded: &[u8]) -> Self {
        Self(
            form_urlencoded::parse(encoded)
                .map(|(name, value)| (name.into_owned(), Zeroizing::new(value.into_owned())))
                .collect(),
        )
    }

    /// What a form would say.
    pub(crate) fn of<N: Into<String>>(fields: impl IntoIterator<Item = (N, String)>) -> Self {
        Self(fields.into_iter().map(|(name, value)| (name.into(), Zeroizing::new(value))).collect())
    }

    /// Its first value, if it is not empty.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.iter().find(|(field, value)| *field == name && !value.is_empty()).map(|(_, value)| value)
    }

    /// Its first value, or nothing.
    pub(crate) fn text(&self, name: &str) -> &str {
        self.get(name).unwrap_or_default()
    }

    /// Says this from now on.
    pub(crate) fn set(&mut self, name: &str, value: &str) {
        self.0.retain(|(field, _)| field != name);
        self.0.push((name.to_owned(), Zeroizing::new(value.to_owned())));
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn is_set(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

impl fmt::Debug for Fields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(name, _)| name)).finish()
    }
}

/// A component of a path, so that it can hold anything.
pub(crate) fn segment(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_field_counts_as_left_out() {
        let fields = Fields::parse(b"a=&b=1+2&b=3&c=%3Cx%3E");
        assert_eq!(
            (fields.get("a"), fields.get("b"), fields.text("c"), fields.text("d")),
            (None, Some("1 2"), "<x>", "")
        );
        assert_eq!(format!("{fields:?}"), r#"["a", "b", "b", "c"]"#);
        assert_eq!(segment("a/b ü"), "a%2Fb%20%C3%BC");
    }
}
