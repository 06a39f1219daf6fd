//! A password, key or token: held in memory that is wiped, never printed.

use std::{fmt, path::Path};

use zeroize::Zeroizing;

use crate::{cancellation::Cancellation, files};

/// No password, key or token is longer.
const LONGEST: u64 = 16 << 10;

/// Text that no log, error or report may show.
#[derive(Clone)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Takes the text over.
    pub fn new(text: impl Into<String>) -> Self {
        Self(Zeroizing::new(text.into()))
    }

    /// The only line of a file. The error says what is wrong with that file, after its name.
    pub fn in_file(path: &Path, cancel: &Cancellation) -> Result<Self, String> {
        let text = files::read_short(path, LONGEST, cancel)
            .map_err(|error| format!("can't be read: {}", crate::error::reason(&error)))?;
        let line = without_newline(&text);
        if line.is_empty() || line.contains('\n') {
            return Err("does not hold one line with a secret".to_owned());
        }
        Ok(Self::new(line))
    }

    /// The text itself, only for the code that sends it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

/// Many a tool that sets variables leaves the newline on, as editors do in files.
pub(crate) fn without_newline(text: &str) -> &str {
    text.trim_start_matches('\u{feff}').trim_end_matches(['\n', '\r'])
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}
