//! Walks the config directory in a fixed order and says of every entry: it goes in, a rule excludes it, or it can't be
//! read.

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fs::{self, Metadata},
    io::{self, Read},
    os::unix::{
        ffi::OsStrExt,
        fs::{FileTypeExt, MetadataExt},
    },
    path::{Path, PathBuf},
    sync::Arc,
};

use habackup::{rules::Rules, tar::Kind};

use crate::{progress::pulse::Pulse, text::plain};

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
    /// Deleted after it was listed.
    Vanished {
        relative: Vec<u8>,
    },
    /// Belongs in but can't be read.
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
    /// The recorder's database, if it is a file of the directory.
    pub(crate) history: Vec<u8>,
    /// Where the archive goes, which may be inside the directory.
    pub(crate) outputs: Outputs,
    /// Receives what is being read.
    pub(crate) pulse: Arc<Pulse>,
}

/// What a backup itself writes on this machine, by device and inode.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outputs {
    /// The archives being written.
    pub(crate) files: Vec<(u64, u64)>,
    /// The destination directories that may hold earlier archives.
    pub(crate) directories: Vec<(u64, u64)>,
}

/// A directory under way.
struct OpenDirectory {
    relative: Vec<u8>,
    names: Names,
    device: u64,
    is_destination: bool,
}

/// What SQLite keeps beside a database.
pub(crate) const SIDE_FILES: [&[u8]; 3] = [b"-wal", b"-shm", b"-journal"];

impl Scope {
    /// By rule; a database that stays out takes its side files along.
    fn is_out(&self, relative: &[u8]) -> bool {
        let is_excluded_file = |main: &[u8]| {
            let path = self.root.join(OsStr::from_bytes(main));
            self.rules.exclusion(main).is_some() && path.symlink_metadata().is_ok_and(|metadata| metadata.is_file())
        };
        self.rules.exclusion(relative).is_some()
            || SIDE_FILES.iter().filter_map(|suffix| relative.strip_suffix(*suffix)).any(is_excluded_file)
    }

    pub(crate) fn walk(&self) -> Walk {
        Walk { scope: self.clone(), open: Vec::new(), queued: None, begun: false }
    }
}

/// The names in one directory, sorted, in one piece of memory: a directory of a million files costs some ten bytes each
/// beside their names.
struct Names {
    bytes: Vec<u8>,
    spans: Vec<(u32, u16)>,
    next: usize,
}

impl Names {
    /// Also why there may be more of them: what a failing disk still lists of a directory is worth having.
    fn read(path: &Path) -> io::Result<(Self, Option<io::Error>)> {
        let (mut bytes, mut spans, mut cut) = (Vec::new(), Vec::new(), None);
        for entry in fs::read_dir(path)? {
            let name = match entry {
                Ok(entry) => entry.file_name(),
                Err(error) => {
                    cut = Some(error);
                    break;
                }
            };
            // No file system has names longer than 1024 bytes, nor 4 GiB of them in one directory.
            spans.push((bytes.len() as u32, name.len() as u16));
            bytes.extend_from_slice(name.as_bytes());
        }
        let name = |(start, length): (u32, u16)| &bytes[start as usize..start as usize + usize::from(length)];
        spans.sort_unstable_by(|a, b| name(*a).cmp(name(*b)));
        Ok((Self { bytes, spans, next: 0 }, cut))
    }

    fn next(&mut self) -> Option<&[u8]> {
        let (start, length) = *self.spans.get(self.next)?;
        self.next += 1;
        Some(&self.bytes[start as usize..start as usize + usize::from(length)])
    }
}

/// A directory before its content, siblings by the bytes of their names.
pub(crate) struct Walk {
    scope: Scope,
    // The directories on the way to where the walk is, with what is left in each.
    open: Vec<OpenDirectory>,
    // The report that follows a directory that can't be listed.
    queued: Option<Step>,
    begun: bool,
}

impl Iterator for Walk {
    type Item = Step;

    fn next(&mut self) -> Option<Step> {
        if let Some(step) = self.queued.take() {
            return Some(step);
        }
        if !self.begun {
            self.begun = true;
            if let Some(step) = self.judge(Vec::new()) {
                return Some(step);
            }
        }
        loop {
            let OpenDirectory { relative: directory, names, .. } = self.open.last_mut()?;
            let Some(name) = names.next() else {
                self.open.pop();
                continue;
            };
            let relative = if directory.is_empty() { name.to_vec() } else { [directory, &b"/"[..], name].concat() };
            if let Some(step) = self.judge(relative) {
                return Some(step);
            }
        }
    }
}

impl Walk {
    /// `None` for what a rule excludes silently. Opens a directory.
    fn judge(&mut self, relative: Vec<u8>) -> Option<Step> {
        let pulse = Arc::clone(&self.scope.pulse);
        pulse.ask(&relative.clone(), || self.look(relative))
    }

    fn look(&mut self, relative: Vec<u8>) -> Option<Step> {
        if !relative.is_empty() && self.scope.is_out(&relative) {
            return None;
        }
        if let Some(reason) = self.scope.mounts.get(Path::new(OsStr::from_bytes(&relative))) {
            return Some(Step::LeftOut { reason: reason.clone(), relative });
        }
        let path = if relative.is_empty() {
            self.scope.root.clone()
        } else {
            self.scope.root.join(OsStr::from_bytes(&relative))
        };
        let metadata = match path.symlink_metadata() {
            Ok(metadata) => metadata,
            Err(error) => return Some(explain(relative, &error)),
        };
        let kind = metadata.file_type();
        let identity = (metadata.dev(), metadata.ino());
        let kind = if kind.is_dir() {
            let crosses = self.open.last().is_some_and(|parent| parent.device != metadata.dev());
            if let Some(reason) =
                own_directory(&relative).or_else(|| snapshot(&relative, crosses, || is_read_only(&path)))
            {
                return Some(Step::LeftOut { relative, reason: reason.to_owned() });
            }
            match Names::read(&path) {
                Ok((names, cut)) => {
                    self.queued = cut.map(|error| Step::Lost {
                        relative: relative.clone(),
                        reason: format!("only part of it could be listed: {}", reason(&error)),
                    });
                    let is_destination = self.scope.outputs.directories.contains(&identity);
                    self.open.push(OpenDirectory {
                        relative: relative.clone(),
                        names,
                        device: metadata.dev(),
                        is_destination,
                    });
                }
                // Every ext4 file system has one, which only root can read.
                Err(error)
                    if relative == b"lost+found"
                        && metadata.uid() == 0
                        && error.kind() == io::ErrorKind::PermissionDenied =>
                {
                    return Some(Step::LeftOut {
                        relative,
                        reason: "the file system keeps it for repairs; it holds no files of yours".to_owned(),
                    });
                }
                Err(error) => self.queued = Some(explain(relative.clone(), &error)),
            }
            Kind::Directory
        } else if kind.is_symlink() {
            if is_followed(&relative) {
                match lead(&path) {
                    Ok((path, metadata)) => {
                        return Some(Step::Entry(Found { relative, path, kind: Kind::File, metadata }));
                    }
                    Err(error) => {
                        let reason = format!(
                            "the target of this symbolic link can't be read ({}), and Home Assistant needs it",
                            reason(&error)
                        );
                        self.queued = Some(Step::Lost { relative: relative.clone(), reason });
                    }
                }
            }
            Kind::Symlink
        } else if kind.is_file() {
            let is_ours = path.file_name().is_some_and(store::local::is_temporary)
                || self.scope.outputs.files.contains(&identity);
            if is_ours {
                return None;
            }
            if self.open.last().is_some_and(|parent| parent.is_destination) && is_backup(&path) {
                return Some(Step::LeftOut { relative, reason: "a backup that was made there earlier".to_owned() });
            }
            Kind::File
        } else {
            return Some(Step::LeftOut { relative, reason: special(kind).to_owned() });
        };
        Some(Step::Entry(Found { relative, path, kind, metadata }))
    }
}

/// Files that Home Assistant reads at its start. Core's restore loses symbolic links, so the archive holds their
/// targets.
pub(super) fn is_followed(relative: &[u8]) -> bool {
    relative.ends_with(b".yaml") && !relative.contains(&b'/')
}

/// The regular file behind a symbolic link.
fn lead(path: &Path) -> io::Result<(PathBuf, Metadata)> {
    let target = path.canonicalize()?;
    let metadata = target.metadata()?;
    if metadata.is_file() { Ok((target, metadata)) } else { Err(io::Error::other("its target is not a regular file")) }
}

/// Directories that `haul restore --replace` makes.
fn own_directory(relative: &[u8]) -> Option<&'static str> {
    if crate::restore::is_stage(relative) {
        return Some("what a restore that was cut off had unpacked; the next restore here removes it");
    }
    relative
        .starts_with(b"before-restore-")
        .then_some("the configuration before a restore, kept by `haul restore --replace`")
}

/// Read-only snapshots of the very tree, as ZFS, btrfs and NAS systems show them below it. `crosses`: it is on another
/// device or subvolume than its parent.
fn snapshot(relative: &[u8], crosses: bool, is_read_only: impl Fn() -> bool) -> Option<&'static str> {
    const NAMES: [&[u8]; 5] = [b".zfs", b".snapshots", b".snapshot", b"#snapshot", b"@Recently-Snapshot"];
    let is_named = relative.split(|&byte| byte == b'/').any(|name| NAMES.contains(&name));
    (is_named && crosses && is_read_only()).then_some("a read-only snapshot of the file system")
}

fn is_read_only(path: &Path) -> bool {
    rustix::fs::access(path, rustix::fs::Access::WRITE_OK) == Err(rustix::io::Errno::ROFS)
}

/// Whether a file is one of Home Assistant's backups, by its name and the name of its first member, which may follow a
/// PAX header.
fn is_backup(path: &Path) -> bool {
    const BLOCK: usize = 512;
    let mut head = Vec::new();
    path.extension().is_some_and(|extension| extension == "tar")
        && super::open(path).and_then(|(file, _)| file.take(4 * BLOCK as u64).read_to_end(&mut head)).is_ok()
        && head.chunks(BLOCK).any(|block| block.starts_with(b"./backup.json\0") || block.starts_with(b"backup.json\0"))
}

fn explain(relative: Vec<u8>, error: &io::Error) -> Step {
    if is_gone(error) { Step::Vanished { relative } } else { Step::Lost { relative, reason: reason(error) } }
}

/// Deleted between being listed and being read: the backup is that of a moment later. A stale handle is not that: a
/// whole share may be out of reach.
pub(crate) fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
}

/// The system's reason in plain words.
pub(crate) fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::PermissionDenied => {
            "permission denied (run haul as root or as Home Assistant's user)".to_owned()
        }
        io::ErrorKind::InvalidFilename => "the path is longer than the system can open".to_owned(),
        _ if error.raw_os_error() == Some(libc::ELOOP) => {
            "a symbolic link took its place, or that of its directory, while the backup ran".to_owned()
        }
        _ if error.raw_os_error() == Some(libc::EIO) => "the disk can't read it (input/output error)".to_owned(),
        _ if error.raw_os_error() == Some(libc::ESTALE) => {
            "the network share no longer knows it (stale file handle)".to_owned()
        }
        _ => plain(error),
    }
}

fn special(kind: std::fs::FileType) -> &'static str {
    if kind.is_socket() {
        "a socket: only its program can recreate it"
    } else if kind.is_fifo() {
        "a FIFO: it holds no data, and would make Home Assistant's restore fail"
    } else {
        "a device: it holds no files of yours"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_read_only_snapshots_are_taken_for_snapshots() {
        for (path, crosses, is_read_only, is_one) in [
            (&b".zfs/snapshot/daily"[..], true, true, true),
            (b".snapshots/1/snapshot", true, true, true),
            (b".snapshots/1", false, true, false),
            (b".snapshots/1/snapshot", true, false, false),
            // A read-only mount of films is no snapshot.
            (b"media/films", true, true, false),
        ] {
            assert_eq!(snapshot(path, crosses, || is_read_only).is_some(), is_one, "{path:?} {crosses} {is_read_only}");
        }
    }
}
