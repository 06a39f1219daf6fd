//! Which names and patterns fit nothing in an archive, and what may have been meant.

use habackup::rules::Pattern;
use store::Cancellation;

use super::{BrowseError, Browser, heed};
use crate::restore::{Nearest, config_path};

/// A pattern that fits nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unmatched {
    /// As it was given.
    pub pattern: String,
    /// Names that are near, printable.
    pub near: Vec<String>,
}

impl Browser<'_> {
    /// The patterns that fit nothing in the config directory, by the index. Without an index, all of the archive would
    /// have to be read, and nothing is said.
    pub fn unmatched(&self, patterns: &[String], cancel: &Cancellation) -> Result<Vec<Unmatched>, BrowseError> {
        let Some(index) = self.index_of(self.config()?) else { return Ok(Vec::new()) };
        let mut open = Vec::new();
        for text in patterns {
            open.push((text, Pattern::new(text.as_bytes())?, Nearest::new([text.clone().into_bytes()])));
        }
        for file in index.files() {
            heed(cancel)?;
            let Ok(Some(path)) = config_path(&file.path) else { continue };
            open.retain_mut(|(_, pattern, nearest)| {
                let fits = pattern.covers(path);
                if !fits {
                    nearest.consider(path);
                }
                !fits
            });
        }
        let open = open.into_iter();
        Ok(open.map(|(text, _, nearest)| Unmatched { pattern: text.clone(), near: nearest.names() }).collect())
    }
}
