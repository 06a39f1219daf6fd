//! Looks into an archive without unpacking it: lists it, prints one file, compares it with another.
//!
//! With the index, it reads only what it needs; without, it streams the archive no further than needed. `restore`
//! restores into a directory, `verify` judges a whole archive.
//!
//! | module | owns |
//! |---|---|
//! | `list` | every entry, by the index or from the stream |
//! | `matching` | names and patterns that fit nothing, and what is near them |
//! | `one` | one file, found by its name |
//! | `compare` | two archives, entry by entry |
//! | `walk` | an inner archive as a stream, to as far as it is wanted |

mod compare;
mod list;
mod matching;
mod one;
mod walk;

use std::{fmt, io, num::NonZeroUsize};

use habackup::{
    index::{FileEntry, Index},
    rules::PatternError,
    securetar::Password,
    tar::{Entry, EntryKind, Kind, TarError},
};
use serde::Serialize;
use store::Cancellation;

use crate::{
    read::{ArchiveSource, Broken, Member, OpenError, Opened, ProgressFn},
    restore::config_path,
    text::shown,
};

pub use compare::{Comparison, Difference, State, compare};
pub use matching::Unmatched;
pub use one::Found;

/// Why something could not be read.
#[derive(Debug, thiserror::Error)]
pub enum BrowseError {
    /// The archive can't be read at all.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// There is no config directory in it.
    #[error("the archive holds no Home Assistant config directory{}", instead(.0))]
    NoConfig(Vec<String>),
    /// Nothing has this name.
    #[error("the archive does not contain {path}{}", instead(near))]
    NotThere {
        /// The name, printable.
        path: String,
        /// Names that are near.
        near: Vec<String>,
    },
    /// What has this name is a symbolic link.
    #[error("{path} is a symbolic link to {to}")]
    Link {
        /// The name, printable.
        path: String,
        /// Where it points, printable.
        to: String,
    },
    /// What has this name is no file.
    #[error("{path} is {what}, not a file")]
    NotAFile {
        /// The name, printable.
        path: String,
        /// What it is.
        what: String,
    },
    /// A pattern that can match nothing.
    #[error(transparent)]
    Pattern(#[from] PatternError),
    /// The archive is damaged.
    #[error("the archive is damaged{}: {message}", at(member))]
    Damaged {
        /// Where the damage showed; empty when it is not in one member.
        member: String,
        /// What it is.
        message: String,
    },
    /// What was found could not be handed on.
    #[error("can't write: {}", crate::text::plain(.0))]
    Output(io::Error),
    /// The user stopped it.
    #[error("interrupted")]
    Cancelled,
}

fn at(member: &str) -> String {
    if member.is_empty() { String::new() } else { format!(" at {member}") }
}

fn instead(names: &[String]) -> String {
    if names.is_empty() { String::new() } else { format!("; there is {}", names.join(", ")) }
}

fn damaged(member: &Member, Broken(message): Broken) -> BrowseError {
    BrowseError::Damaged { member: member.name.clone(), message }
}

fn torn(last: &[u8], error: &TarError) -> BrowseError {
    BrowseError::Damaged { member: shown(last), message: error.to_string() }
}

fn heed(cancel: &Cancellation) -> Result<(), BrowseError> {
    if cancel.is_cancelled() { Err(BrowseError::Cancelled) } else { Ok(()) }
}

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ItemKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// Another name of an earlier file.
    HardLink,
    /// A pipe, a device, or something stranger.
    Other,
}

impl From<EntryKind> for ItemKind {
    fn from(kind: EntryKind) -> Self {
        match kind {
            EntryKind::File => Self::File,
            EntryKind::Directory => Self::Directory,
            EntryKind::Symlink => Self::Symlink,
            EntryKind::HardLink => Self::HardLink,
            EntryKind::Fifo | EntryKind::Char | EntryKind::Block | EntryKind::GnuSparse | EntryKind::Other(_) => {
                Self::Other
            }
        }
    }
}

impl From<Kind> for ItemKind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::File => Self::File,
            Kind::Directory => Self::Directory,
            Kind::Symlink => Self::Symlink,
        }
    }
}

/// One entry. What is `None` is not in the index, and would have to be fetched from all over the archive.
#[derive(Clone, Copy, Debug)]
pub struct Item<'i> {
    /// The inner archive, for what is not below the config directory.
    pub archive: Option<&'i str>,
    /// Path below the config directory, or as it is in the inner archive. Any bytes.
    pub path: &'i [u8],
    /// What it is.
    pub kind: ItemKind,
    /// Bytes of content.
    pub size: u64,
    /// Permission bits.
    pub mode: Option<u32>,
    /// Seconds and nanoseconds since 1970.
    pub mtime: Option<(i64, u32)>,
    /// Where a link points.
    pub link: Option<&'i [u8]>,
}

impl fmt::Display for Item<'_> {
    /// The name, printable, in the form that [`Browser::cat`] takes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&named(self.archive, self.path))
    }
}

fn named(archive: Option<&str>, path: &[u8]) -> String {
    match archive {
        Some(archive) => format!("{}: {}", shown(archive.as_bytes()), shown(path)),
        None => shown(path),
    }
}

/// An archive opened to look into.
pub struct Browser<'a> {
    opened: Opened<'a>,
    source: ArchiveSource,
    threads: NonZeroUsize,
}

impl<'a> Browser<'a> {
    /// Opens `source`, a path or something far away, and tries the password.
    pub fn open(
        source: impl Into<ArchiveSource>,
        password: Option<&Password>,
        threads: NonZeroUsize,
        progress: ProgressFn<'a>,
    ) -> Result<Self, OpenError> {
        let source = source.into();
        Ok(Self { opened: Opened::open(&source, password, progress)?, source, threads })
    }

    /// What the archive is called, printable.
    pub fn label(&self) -> String {
        shown(self.source.shown().as_os_str().as_encoded_bytes())
    }

    /// Whether the config directory can be read by an index.
    pub fn is_indexed(&self) -> bool {
        self.opened.outside.home_assistant().is_some_and(|member| self.opened.index_of(member).is_some())
    }

    /// Names of the inner archives that do not belong to the config directory.
    pub fn other_archives(&self) -> Vec<String> {
        self.opened.outside.inner().filter(|member| !self.is_config(member)).map(|member| member.name.clone()).collect()
    }

    fn is_config(&self, member: &Member) -> bool {
        self.opened.outside.home_assistant().is_some_and(|config| config.name == member.name)
    }

    fn config(&self) -> Result<&Member, BrowseError> {
        self.opened.outside.home_assistant().ok_or_else(|| BrowseError::NoConfig(self.other_archives()))
    }

    /// Which inner archives to read: the config directory's, or all of them.
    fn members(&self, all: bool) -> Result<Vec<&Member>, BrowseError> {
        if !all {
            return Ok(vec![self.config()?]);
        }
        self.opened.outside.inner().map(|member| self.unlocked(member)).collect()
    }

    /// A member, if its password was given where it needs one.
    fn unlocked<'m>(&self, member: &'m Member) -> Result<&'m Member, BrowseError> {
        if self.opened.is_locked(member) {
            Err(self.opened.lock_of(self.source.shown().join(&member.name)).into())
        } else {
            Ok(member)
        }
    }

    fn index_of(&self, member: &Member) -> Option<&Index> {
        if self.is_config(member) { self.opened.index_of(member) } else { None }
    }

    /// The result of a job, unless the bytes could not be read, or are no longer those of one archive: then other
    /// errors mean nothing.
    fn settled<T>(&self, result: Result<T, BrowseError>) -> Result<T, BrowseError> {
        match result {
            Err(error @ (BrowseError::Cancelled | BrowseError::Output(_))) => Err(error),
            other => {
                self.opened.reached(&self.source)?;
                other
            }
        }
    }

    /// The path of an entry of an inner archive as the user sees it. Empty: it is the top itself.
    fn location<'p>(&self, member: &'p Member, path: &'p [u8]) -> (Option<&'p str>, &'p [u8]) {
        match config_path(path) {
            Ok(Some(path)) if self.is_config(member) => (None, path),
            _ => (Some(&member.name), plain(path)),
        }
    }
}

/// A name without the top directory before it.
fn plain(mut path: &[u8]) -> &[u8] {
    while let Some(rest) = path.strip_prefix(b"./") {
        path = rest;
    }
    if path == b"." { b"" } else { path }
}

/// A member as the archive or the index has it.
trait Described {
    fn describe<'i>(&'i self, archive: Option<&'i str>, path: &'i [u8]) -> Item<'i>;
}

impl Described for Entry {
    fn describe<'i>(&'i self, archive: Option<&'i str>, path: &'i [u8]) -> Item<'i> {
        let link = (!self.link.is_empty()).then_some(self.link.as_slice());
        Item {
            archive,
            path,
            kind: self.kind.into(),
            size: self.size,
            mode: Some(self.mode & 0o7777),
            mtime: Some(self.mtime),
            link,
        }
    }
}

impl Described for FileEntry {
    fn describe<'i>(&'i self, archive: Option<&'i str>, path: &'i [u8]) -> Item<'i> {
        let folder = self.folder.as_ref();
        let (mode, mtime) = (folder.map(|folder| folder.mode & 0o7777), folder.map(|folder| folder.mtime));
        Item { archive, path, kind: self.kind.into(), size: self.size, mode, mtime, link: None }
    }
}
