//! A token or password: read from a file, held in memory that is wiped, never printed.

use std::{fmt, path::Path};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use http::HeaderValue;
use serde::Deserialize;
use zeroize::Zeroizing;

use crate::error::{Error, Kind, Operation};

/// No token is longer.
pub const LONGEST: u64 = 16 << 10;

/// Text that no log, error or report may show.
#[derive(Clone)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Takes the text over.
    pub fn new(text: impl Into<String>) -> Self {
        Self(Zeroizing::new(text.into()))
    }

    /// The only line of a file that holds `text`.
    pub fn in_file(path: &Path, text: &str) -> Result<Self, Error> {
        let wrong = |reason: String| Error::new(path.display().to_string(), Operation::Secret, Kind::Invalid, reason);
        let line = text.trim_start_matches('\u{feff}').trim();
        if line.is_empty() || line.len() as u64 > LONGEST || line.contains('\n') {
            return Err(wrong("it does not hold one line".to_owned()));
        }
        Ok(Self::new(line))
    }

    /// The text itself, only for the code that sends it.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// The id by which Home Assistant keeps a long-lived token; anybody can read it from the token.
    pub fn token_id(&self) -> Option<String> {
        #[derive(Deserialize)]
        struct Claims {
            iss: String,
        }
        let claims = URL_SAFE_NO_PAD.decode(self.0.split('.').nth(1)?).ok()?;
        serde_json::from_slice::<Claims>(&claims).ok().map(|claims| claims.iss)
    }

    /// As the header that signs a request; `None` if it has characters that no header can carry.
    pub(crate) fn bearer(&self) -> Option<HeaderValue> {
        let text = Zeroizing::new(format!("Bearer {}", self.expose()));
        let mut value = HeaderValue::from_str(&text).ok()?;
        value.set_sensitive(true);
        Some(value)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_token_tells_its_id_and_nothing_else_has_one() {
        let token = "eyJhbGciOiJIUzI1NiJ9.eyJpc3MiOiIwMzU0NmYzNiIsImlhdCI6MX0.c2lnbmF0dXJl";
        assert_eq!(Secret::new(token).token_id().as_deref(), Some("03546f36"));
        for other in ["", "a.b.c", "plain", "e30.e30.e30", "x.!!.y"] {
            assert_eq!(Secret::new(other).token_id(), None, "{other}");
        }
    }

    #[test]
    fn a_token_file_holds_one_line_and_its_content_is_never_shown() {
        let path = Path::new("token");
        let secret = Secret::in_file(path, "\u{feff}abc.def\r\n").unwrap();
        assert_eq!(secret.expose(), "abc.def");
        assert_eq!(format!("{secret:?} {:?}", secret.bearer().unwrap()), "(secret) Sensitive");
        for wrong in ["", "\n", "first-line\nsecond-line\n"] {
            let said = Secret::in_file(path, wrong).unwrap_err().to_string();
            assert!(said.ends_with("it does not hold one line") && !said.contains("first-line"), "{said}");
        }
    }
}
