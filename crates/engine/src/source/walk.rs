//! Walks the config directory in a fixed order and says of everything it meets: it goes in, it stays out by rule, or it can't be had.

use std::{
    collections::BTreeMap,
    fs::Metadata,
    io,
    os::unix::{
        ffi::OsStrExt,
        fs::{FileTypeExt, MetadataExt},
    },
    path::{Path, PathBuf},
    sync::Arc,
};

use habackup::{rules::Rules, tar::Kind};
use walkdir::{IntoIter, WalkDir};

/// An entry that goes in.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    /// Below the config directory, without a leading slash; empty for the directory itself.
    pub(crate) relative: Vec<u8>,
    pub(crate) path: PathBuf,
    pub(crate) kind: Kind,
    pub(crate) metadata: Metadata,
}

/// One thing met on the way.
#[derive(Debug)]
pub(crate) enum Step {
    Entry(Found),
    /// Never belongs into an archive.
    LeftOut {
        relative: Vec<u8>,
        reason: String,
    },
    /// Belongs in and can't be had.
    Lost {
        relative: Vec<u8>,
        reason: String,
    },
}

/// What to walk and what to leave out: the same for every pass over the directory.
#[derive(Clone, Debug)]
pub(crate) struct Scope {
    pub(crate) root: PathBuf,
    pub(crate) rules: Arc<Rules>,
    /// Mount points below the root that stay out, with the reason.
    pub(crate) mounts: Arc<BTreeMap<PathBuf, String>>,
    /// Device and inode of the archive being written, which may stand inside the directory.
    pub(crate) own_output: Option<(u64, u64)>,
}

impl Scope {
    pub(crate) fn walk(&self) -> Walk {
        // Sorting one directory at a time keeps the order fixed and the memory bounded by the largest directory.
        Walk { entries: WalkDir::new(&self.root).follow_links(false).sort_by(|a, b| a.file_name().cmp(b.file_name())).into_iter(), scope: self.clone() }
    }
}

pub(crate) struct Walk {
    entries: IntoIter,
    scope: Scope,
}

impl Iterator for Walk {
    type Item = Step;

    fn next(&mut self) -> Option<Step> {
        loop {
            let step = match self.entries.next()? {
                Ok(entry) => self.judge(&entry),
                Err(error) => self.explain(&error),
            };
            if step.is_some() {
                return step;
            }
        }
    }
}

impl Walk {
    /// `None` for what stays out by rule: nobody needs to hear of it.
    fn judge(&mut self, entry: &walkdir::DirEntry) -> Option<Step> {
        let relative = relative(&self.scope.root, entry.path());
        let is_directory = entry.file_type().is_dir();
        if !relative.is_empty() && self.scope.rules.exclusion(&relative).is_some() {
            if is_directory {
                self.entries.skip_current_dir();
            }
            return None;
        }
        if is_directory && let Some(reason) = self.scope.mounts.get(Path::new(std::ffi::OsStr::from_bytes(&relative))) {
            self.entries.skip_current_dir();
            return Some(Step::LeftOut { relative, reason: reason.clone() });
        }
        let metadata = match entry.metadata() {
            Ok(metadata) => metadata,
            Err(error) => return self.explain(&error),
        };
        let kind = metadata.file_type();
        let kind = if kind.is_dir() {
            Kind::Directory
        } else if kind.is_symlink() {
            Kind::Symlink
        } else if kind.is_file() {
            if store::local::is_temporary(entry.file_name()) || self.scope.own_output == Some((metadata.dev(), metadata.ino())) {
                return None;
            }
            Kind::File
        } else {
            return Some(Step::LeftOut { relative, reason: special(kind).to_owned() });
        };
        Some(Step::Entry(Found { relative, path: entry.path().to_owned(), kind, metadata }))
    }

    fn explain(&self, error: &walkdir::Error) -> Option<Step> {
        let relative = error.path().map(|path| relative(&self.scope.root, path)).unwrap_or_default();
        let reason = match error.io_error() {
            Some(source) if is_gone(source) => return None,
            Some(source) => reason(source),
            None => "it leads back to itself".to_owned(),
        };
        Some(Step::Lost { relative, reason })
    }
}

/// Deleted between being listed and being read: the backup is that of a moment later.
pub(crate) fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(libc::ESTALE)
}

/// The system's reason in the words of a person.
pub(crate) fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::PermissionDenied => "permission denied (run haul as root or as Home Assistant's user)".to_owned(),
        io::ErrorKind::InvalidFilename => "the path is longer than the system can open".to_owned(),
        _ if error.raw_os_error() == Some(libc::EIO) => "the disk can't read it (input/output error)".to_owned(),
        _ => error.to_string().split(" (os error").next().unwrap_or_default().to_lowercase(),
    }
}

fn special(kind: std::fs::FileType) -> &'static str {
    if kind.is_socket() {
        "a socket: only its program can make it again"
    } else if kind.is_fifo() {
        "a FIFO: it holds no data, and Home Assistant's restore would fail on it"
    } else {
        "a device: it holds no files of yours"
    }
}

fn relative(root: &Path, path: &Path) -> Vec<u8> {
    path.strip_prefix(root).map(|below| below.as_os_str().as_bytes().to_vec()).unwrap_or_default()
}
