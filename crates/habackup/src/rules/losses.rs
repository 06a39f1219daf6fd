//! What Home Assistant Core's restore silently loses of a sound archive, so that Haul can warn before it happens.
//! Supervisor's restore keeps all of these.
//!
//! Core unpacks into a temporary directory and copies `data/` over the configuration directory with Python's
//! `copytree`, which ignores every entry named `backups` at any depth and follows symbolic links instead of copying
//! them.

use std::fmt;

use super::pattern::components;
use crate::tar::Kind;

/// One thing Core's restore loses or changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Loss {
    /// The entry is called `backups` or is inside such a directory, below the directory of backups itself.
    NamedBackups,
    /// The entry is in the directory of backups, which a restore leaves unchanged on the target.
    InBackups,
    /// A relative symbolic link vanishes.
    RelativeLink,
    /// An absolute symbolic link becomes a copy of what it points to, or vanishes when that is gone.
    AbsoluteLink,
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NamedBackups => "Home Assistant Core restores nothing that is called 'backups'",
            Self::InBackups => "Home Assistant Core does not restore the backups directory",
            Self::RelativeLink => "Home Assistant Core drops relative symbolic links when it restores",
            Self::AbsoluteLink => {
                "Home Assistant Core restores a copy of what the symbolic link points to, or nothing \
                when that is missing"
            }
        })
    }
}

/// What Core's restore does to the entry at `path` (relative to the configuration directory), beyond restoring it.
/// `link` is a symlink's target. The directory `backups` itself is no loss: every installation has its own.
pub fn what_restore_drops(path: &[u8], kind: Kind, link: &[u8]) -> Vec<Loss> {
    let mut losses = Vec::new();
    let names: Vec<&[u8]> = components(path).collect();
    match names.iter().position(|name| *name == b"backups") {
        None => {}
        Some(0) if names.len() == 1 && kind == Kind::Directory => {}
        Some(0) if names.len() > 1 => losses.push(Loss::InBackups),
        Some(_) => losses.push(Loss::NamedBackups),
    }
    if kind == Kind::Symlink {
        losses.push(if link.starts_with(b"/") { Loss::AbsoluteLink } else { Loss::RelativeLink });
    }
    losses
}
