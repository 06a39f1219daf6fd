//! Writes the members of an untrusted archive below one directory, and nowhere else.
//!
//! It walks every name component by component from the directory's descriptor and follows no symbolic link; creates
//! files exclusively; and creates symbolic links last, so that nothing can be written through one. It refuses by name
//! what may not be written, and continues with the rest. Others decide which members belong here, and where the
//! directory is.

use std::collections::hash_map::RandomState;
use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::hash::BuildHasher;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use habackup::rules::too_long;
use rustix::fs::{self, AtFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid};
use rustix::io::Errno;
use store::local::synced;

use super::gentle::GentleFile;

/// Directories open at once while walking down; deeper ones are walked again.
const CHAIN: usize = 48;
/// No file system tree that people make is deeper; a bound keeps a hostile one from exhausting us.
const DEEPEST: usize = 1024;
/// Links and directories are kept until the end, up to this many bytes: an archive of a few megabytes can hold
/// millions.
const MOST_HELD: usize = 64 << 20;
/// What one takes beside its name.
const HELD_BESIDE: usize = 128;
/// Below this a declared size is not held against the free space: it costs a system call.
const SPACE_CHECKED_FROM: u64 = 1 << 20;

/// What an archive says of an entry beside its name and content.
#[derive(Clone, Copy, Debug)]
pub(super) struct Meta {
    /// Permission bits; set-user-id, set-group-id and sticky are never kept.
    pub(super) mode: u32,
    /// Seconds and nanoseconds since 1970.
    pub(super) mtime: (i64, u32),
}

/// Why an entry was not written.
#[derive(Debug)]
pub(super) enum Obstacle {
    /// This entry only: the reason, to be named in the result.
    Refused(String),
    /// The file system failed; the restore can't go on.
    Io(io::Error),
}

impl From<Errno> for Obstacle {
    fn from(error: Errno) -> Self {
        match error {
            Errno::NAMETOOLONG => Self::Refused("the file system does not support a name this long".into()),
            Errno::INVAL | Errno::ILSEQ => Self::Refused("the file system does not support this name".into()),
            _ => Self::Io(error.into()),
        }
    }
}

/// Names of what was not written, and why.
pub(super) type Refusals = Vec<(Vec<u8>, String)>;

fn refused<T>(reason: &str) -> Result<T, Obstacle> {
    Err(Obstacle::Refused(reason.to_owned()))
}

struct Link {
    target: Vec<u8>,
    mtime: (i64, u32),
}

/// A directory being filled.
pub(super) struct Tree {
    root: OwnedFd,
    /// The directories of the path last walked, outermost first: neighbours share them.
    chain: Vec<(Vec<u8>, OwnedFd)>,
    /// Hashes of the names written, to distinguish a repeated member from two names that the file system treats as one.
    /// The key is random, so no archive can aim at a collision.
    written: HashSet<u64>,
    hasher: RandomState,
    links: BTreeMap<Vec<u8>, Link>,
    directories: BTreeMap<Vec<u8>, Meta>,
    owner: Option<(Uid, Gid)>,
    /// Bytes of what is kept of links and directories until the end.
    held: usize,
    each_synced: bool,
    keeps_metadata: bool,
    confirmed: bool,
}

/// What came of filling a tree.
pub(super) struct Filled {
    pub(super) refusals: Refusals,
    /// Whether the file system kept all owners, modes and times.
    pub(super) keeps_metadata: bool,
    /// False if a file was to be synced by itself and the file system can't say.
    pub(super) confirmed: bool,
}

impl Tree {
    /// Fills the empty directory `root`. With `owner`, everything is given to that user; with `each_synced`, every file
    /// and directory is synced by itself.
    pub(super) fn new(root: OwnedFd, owner: Option<(Uid, Gid)>, each_synced: bool) -> Self {
        Self {
            root,
            chain: Vec::new(),
            written: HashSet::new(),
            hasher: RandomState::new(),
            links: BTreeMap::new(),
            directories: BTreeMap::new(),
            owner,
            held: 0,
            each_synced,
            keeps_metadata: true,
            confirmed: true,
        }
    }

    /// Notes the directory's mode and time, and makes it unless `only_note`: the mode and time
    /// of a directory that never comes to be are forgotten.
    pub(super) fn directory(&mut self, path: &[u8], meta: Meta, only_note: bool) -> Result<(), Obstacle> {
        let parts = components(path)?;
        let name = parts.join(&b'/');
        if !self.directories.contains_key(&name) {
            self.hold(name.len())?;
        }
        if !only_note {
            self.descend(&parts)?;
            self.links.remove(&name);
        }
        self.directories.insert(name, meta);
        Ok(())
    }

    /// Creates a file and hands out its writer; [`Tree::close`] must follow. A member of the same
    /// name before it is replaced, as tar does, never written into.
    pub(super) fn file(&mut self, path: &[u8], size: u64) -> Result<GentleFile, Obstacle> {
        let parts = components(path)?;
        let Some((name, above)) = parts.split_last() else {
            return refused("the directory itself is stored as a file");
        };
        let tight = !self.has_space_for(size)?;
        let key = self.hasher.hash_one(&parts);
        let known = self.written.contains(&key);
        let parent = self.descend(above)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let create = || fs::openat(parent, *name, flags, Mode::RUSR | Mode::WUSR);
        let file = match create() {
            Err(Errno::EXIST) => {
                vacate(parent, name, known)?;
                create()?
            }
            other => other?,
        };
        self.written.insert(key);
        self.links.remove(&parts.join(&b'/'));
        Ok(GentleFile::new(File::from(file), tight))
    }

    /// Ends a file: owner, mode, time.
    pub(super) fn close(&mut self, file: GentleFile, meta: Meta) -> Result<(), Obstacle> {
        let file = file.into_file().map_err(Obstacle::Io)?;
        self.describe(file.as_fd(), meta)?;
        self.sync(file.as_fd()).map_err(Obstacle::Io)
    }

    /// Notes a symbolic link, to be made by [`Tree::finish`].
    pub(super) fn symlink(&mut self, path: &[u8], target: &[u8], mtime: (i64, u32)) -> Result<(), Obstacle> {
        let parts = components(path)?;
        let Some((_, above)) = parts.split_last() else {
            return refused("the directory itself is stored as a symbolic link");
        };
        if target.is_empty() || target.contains(&0) {
            return refused("a symbolic link to nowhere");
        }
        if let Some(too_long) = too_long(b"", target) {
            return refused(&too_long.to_string());
        }
        self.hold(path.len() + target.len())?;
        self.descend(above)?;
        self.links.insert(parts.join(&b'/'), Link { target: target.to_vec(), mtime });
        Ok(())
    }

    /// Links `path` to a file written before.
    pub(super) fn hard_link(&mut self, path: &[u8], target: &[u8]) -> Result<(), Obstacle> {
        let parts = components(path)?;
        let old = components(target)?;
        let (Some((name, above)), Some((old_name, old_above))) = (parts.split_last(), old.split_last()) else {
            return refused("a hard link to or in place of the directory itself");
        };
        if parts == old {
            return refused("a hard link to itself");
        }
        if !self.written.contains(&self.hasher.hash_one(&old)) {
            return refused("a hard link to a file that is not in the archive before it");
        }
        let source = self.descend(old_above)?.try_clone_to_owned().map_err(Obstacle::Io)?;
        let stat = fs::statat(&source, *old_name, AtFlags::SYMLINK_NOFOLLOW)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return refused("a hard link to something other than a file");
        }
        let key = self.hasher.hash_one(&parts);
        let known = self.written.contains(&key);
        let parent = self.descend(above)?;
        let create = || fs::linkat(&source, *old_name, parent, *name, AtFlags::empty());
        match create() {
            Err(Errno::EXIST) => {
                vacate(parent, name, known)?;
                create()?;
            }
            other => other?,
        }
        self.written.insert(key);
        self.links.remove(&parts.join(&b'/'));
        Ok(())
    }

    /// Makes the symbolic links, then gives the directories their modes and times, innermost
    /// first.
    pub(super) fn finish(mut self) -> Result<Filled, io::Error> {
        let mut refusals = Vec::new();
        for (path, link) in std::mem::take(&mut self.links) {
            match self.make_link(&path, &link) {
                Ok(()) => {}
                Err(Obstacle::Refused(reason)) => refusals.push((path, reason)),
                Err(Obstacle::Io(error)) => return Err(error),
            }
        }
        for (path, meta) in std::mem::take(&mut self.directories).into_iter().rev() {
            match self.describe_directory(&path, meta) {
                // A directory that was only noted, or that a later file of the same name took.
                Ok(()) | Err(Obstacle::Refused(_)) => {}
                Err(Obstacle::Io(error)) => return Err(error),
            }
        }
        self.sync(self.root.try_clone()?.as_fd())?;
        Ok(Filled { refusals, keeps_metadata: self.keeps_metadata, confirmed: self.confirmed })
    }

    fn make_link(&mut self, path: &[u8], link: &Link) -> Result<(), Obstacle> {
        let parts = components(path)?;
        let Some((name, above)) = parts.split_last() else { return Ok(()) };
        let known = self.written.contains(&self.hasher.hash_one(&parts));
        let owner = self.owner;
        let parent = self.descend(above)?;
        let create = || fs::symlinkat(link.target.as_slice(), parent, *name);
        match create() {
            Err(Errno::EXIST) => {
                vacate(parent, name, known)?;
                create()?;
            }
            Err(Errno::PERM | Errno::NOTSUP) => return refused("the file system does not support symbolic links"),
            other => other?,
        }
        let given = owner
            .map_or(Ok(()), |(uid, gid)| fs::chownat(parent, *name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW));
        // The time of a link itself is of no consequence where it can't be kept.
        let _ = fs::utimensat(parent, *name, &timestamps(link.mtime), AtFlags::SYMLINK_NOFOLLOW);
        self.keep(given)
    }

    fn describe_directory(&mut self, path: &[u8], meta: Meta) -> Result<(), Obstacle> {
        let parts = components(path)?;
        let fd = match parts.split_last() {
            None => self.root.try_clone().map_err(Obstacle::Io)?,
            Some((name, above)) => {
                let Some(parent) = self.existing(above)? else { return Ok(()) };
                match fs::openat(parent, *name, DIRECTORY, Mode::empty()) {
                    Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(()),
                    other => other?,
                }
            }
        };
        self.describe(fd.as_fd(), meta)?;
        self.sync(fd.as_fd()).map_err(Obstacle::Io)
    }

    fn sync(&mut self, fd: BorrowedFd<'_>) -> io::Result<()> {
        if self.each_synced {
            self.confirmed &= synced(fs::fsync(fd).map_err(io::Error::from))?;
        }
        Ok(())
    }

    fn describe(&mut self, fd: BorrowedFd<'_>, meta: Meta) -> Result<(), Obstacle> {
        // The owner first: giving a file away clears bits of its mode.
        if let Some((uid, gid)) = self.owner {
            self.keep(fs::fchown(fd, Some(uid), Some(gid)))?;
        }
        self.keep(fs::fchmod(fd, Mode::from_raw_mode(meta.mode & 0o777)))?;
        self.keep(fs::futimens(fd, &timestamps(meta.mtime)))
    }

    /// Some file systems (FAT, network shares) keep no modes or owners: noted, not fatal.
    fn keep(&mut self, result: rustix::io::Result<()>) -> Result<(), Obstacle> {
        match result {
            Err(Errno::PERM | Errno::NOTSUP | Errno::NOSYS | Errno::INVAL) => {
                self.keeps_metadata = false;
                Ok(())
            }
            other => other.map_err(|error| Obstacle::Io(error.into())),
        }
    }

    /// A file larger than the free space may still fit with holes; it is then written with an eye on what is left.
    fn has_space_for(&self, size: u64) -> Result<bool, Obstacle> {
        if size < SPACE_CHECKED_FROM {
            return Ok(true);
        }
        let stat = fs::fstatvfs(&self.root)?;
        Ok(stat.f_blocks == 0 || stat.f_bavail.saturating_mul(stat.f_frsize) >= size)
    }

    /// Opens the directory at `parts`, making what is missing (mode 0700 until the end).
    fn descend(&mut self, parts: &[&[u8]]) -> Result<BorrowedFd<'_>, Obstacle> {
        match self.walk(parts, true)? {
            Some(()) => Ok(self.innermost()),
            None => refused("its directory is missing"),
        }
    }

    fn existing(&mut self, parts: &[&[u8]]) -> Result<Option<BorrowedFd<'_>>, Obstacle> {
        Ok(self.walk(parts, false)?.map(|()| self.innermost()))
    }

    /// Takes a name in that is kept until the end.
    fn hold(&mut self, bytes: usize) -> Result<(), Obstacle> {
        self.held += bytes + HELD_BESIDE;
        if self.held > MOST_HELD { refused("more directories and symbolic links than Haul can track") } else { Ok(()) }
    }

    fn innermost(&self) -> BorrowedFd<'_> {
        self.chain.last().map_or(self.root.as_fd(), |(_, fd)| fd.as_fd())
    }

    /// Brings `chain` to `parts`. Beyond [`CHAIN`] levels the last link holds all deeper names.
    fn walk(&mut self, parts: &[&[u8]], make: bool) -> Result<Option<()>, Obstacle> {
        let shared = self.chain.iter().zip(parts).take_while(|((name, _), part)| name == *part).count();
        self.chain.truncate(shared.min(CHAIN));
        for (depth, part) in parts.iter().enumerate().skip(self.chain.len()) {
            let mut new = false;
            let opened = open_directory(self.innermost(), part, make, &mut new);
            // Unless the archive says something of it, before or after.
            if new && self.hold(path_len(&parts[..=depth])).is_ok() {
                self.directories
                    .entry(parts[..=depth].join(&b'/'))
                    .or_insert_with(|| Meta { mode: 0o755, mtime: now() });
            }
            let fd = match opened {
                Err(error) => {
                    self.chain.truncate(CHAIN);
                    return Err(error);
                }
                Ok(None) => {
                    self.chain.truncate(CHAIN);
                    return Ok(None);
                }
                Ok(Some(fd)) => fd,
            };
            if depth > CHAIN {
                self.chain.truncate(CHAIN);
            }
            self.chain.push((part.to_vec(), fd));
        }
        Ok(Some(()))
    }
}

const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

fn open_directory(
    parent: BorrowedFd<'_>,
    name: &[u8],
    make: bool,
    new: &mut bool,
) -> Result<Option<OwnedFd>, Obstacle> {
    let open = || fs::openat(parent, name, DIRECTORY, Mode::empty());
    match open() {
        Err(Errno::NOENT) if make => {
            fs::mkdirat(parent, name, Mode::RWXU)?;
            *new = true;
            Ok(Some(open()?))
        }
        Err(Errno::NOENT) => Ok(None),
        Err(Errno::NOTDIR | Errno::LOOP) => refused("a part of its name is a file in the same archive"),
        other => Ok(Some(other?)),
    }
}

fn now() -> (i64, u32) {
    let elapsed = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    (elapsed.as_secs().cast_signed(), elapsed.subsec_nanos())
}

/// Makes way for a repeated member by removing the earlier one.
fn vacate(parent: BorrowedFd<'_>, name: &[u8], known: bool) -> Result<(), Obstacle> {
    let stat = fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
    if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
        return refused("the archive has a directory of the same name, which was kept");
    }
    if !known {
        return refused("the file system treats its name as that of another member");
    }
    fs::unlinkat(parent, name, AtFlags::empty())?;
    Ok(())
}

fn path_len(parts: &[&[u8]]) -> usize {
    parts.iter().map(|part| part.len() + 1).sum()
}

/// The parts of a member's name; refuses what could lead out.
fn components(path: &[u8]) -> Result<Vec<&[u8]>, Obstacle> {
    if path.first() == Some(&b'/') {
        return refused("an absolute name");
    }
    if path.contains(&0) {
        return refused("a name with a zero byte");
    }
    let parts: Vec<&[u8]> = path.split(|byte| *byte == b'/').filter(|part| !part.is_empty() && *part != b".").collect();
    if parts.iter().any(|part| *part == b"..") {
        return refused("a name with .. in it");
    }
    if let Some(too_long) = too_long(path, b"") {
        return refused(&too_long.to_string());
    }
    if parts.len() > DEEPEST {
        return refused("nested too deeply");
    }
    Ok(parts)
}

/// The time of last access is set to the same moment: an archive does not know it.
fn timestamps((seconds, nanoseconds): (i64, u32)) -> Timestamps {
    let time = Timespec { tv_sec: seconds, tv_nsec: i64::from(nanoseconds.min(999_999_999)) };
    Timestamps { last_access: time, last_modification: time }
}
