//! Why no archive was made. Each error says what happened to which file or destination, and why; the program adds what
//! to do.

use std::{io, path::PathBuf};

use store::StoreError;

use crate::text::plain;

/// A backup that made no archive. Nothing is left behind.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The config directory can't be used.
    #[error("can't read {}: {}", path.display(), plain(source))]
    Config {
        /// The directory or file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The config directory is a file, or something else.
    #[error("{} is not a directory", .0.display())]
    NotADirectory(PathBuf),
    /// No `.HA_VERSION`.
    #[error("{} has no .HA_VERSION file, so it does not look like a Home Assistant config \
        directory", directory.display())]
    NoVersion {
        /// The directory.
        directory: PathBuf,
        /// A directory below it that does look like one.
        instead: Option<PathBuf>,
    },
    /// `.HA_VERSION` holds something else.
    #[error("{} contains '{}', which is not a Home Assistant \
        version", path.display(), text.chars().take(40).collect::<String>())]
    StrangeVersion {
        /// The file.
        path: PathBuf,
        /// Its beginning, printable.
        text: String,
    },
    /// The user gave an invalid version.
    #[error("{:?} is not a Home Assistant version", .0)]
    VersionSaid(String),
    /// The backup's name would make a file name that some system refuses.
    #[error("the name {name:?} can't be used: {reason}")]
    Name {
        /// The name.
        name: String,
        /// Why.
        reason: String,
    },
    /// An exclude pattern that can't be understood.
    #[error("invalid pattern {pattern:?}: {reason}")]
    Pattern {
        /// The pattern.
        pattern: String,
        /// Why.
        reason: String,
    },
    /// A destination is at or below a mount point of `/etc/fstab` where nothing is mounted.
    #[error("{} is not mounted, although /etc/fstab has an entry for it", .0.display())]
    NotMounted(PathBuf),
    /// The destination failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// No copy arrived.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    AllFailed(Vec<StoreError>),
    /// A vault takes another archive than other destinations.
    #[error(
        "a vault and another kind of destination can't get the same archive: a vault compresses and encrypts itself"
    )]
    VaultBesideOthers,
    /// No other machine can compress this backup.
    #[error("the other machine can't compress the backup: {0}")]
    NotThere(String),
    /// The bundled database library can't do what it must.
    #[error("this program was built without support for reading live databases")]
    Library,
    /// What somebody else was writing came to no end, or was no backup.
    #[error("what came is not a whole backup: {0}")]
    Came(String),
    /// A part of the pipeline broke.
    #[error("the archive could not be made: {0}")]
    Pipeline(String),
    /// The user stopped it.
    #[error("interrupted")]
    Cancelled,
}
