//! The staging directory: a restore unpacks into it before it touches anything of the user's.
//!
//! It is beside the target (or inside it, if the target is a mount point or its parent is not writable), so that the
//! last step is a rename. A lock in it distinguishes a live restore from the leftover of a killed one, which the next
//! restore removes. `swap` moves the result to its final name.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{self, AtFlags, CWD, FileType, FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use store::local::synced;

use super::intent::Intent;
use super::renames::{DIRECTORY, names};

const PREFIX: &str = ".haul-restore-";
const RANDOM_DIGITS: usize = 12;
const LOCK: &str = "lock";
const TREE: &str = "tree";
const ATTEMPTS: usize = 16;
/// What statfs(2) calls a file system in user space.
const FUSE: u64 = 0x6573_5546;

/// A staging directory of this process; removed when dropped.
pub(super) struct Stage {
    parent: OwnedFd,
    parent_path: PathBuf,
    name: OsString,
    directory: OwnedFd,
    /// Held for as long as the stage is: other runs leave it alone.
    _lock: OwnedFd,
}

impl Stage {
    /// Makes a staging directory in `parent`, after removing what killed runs left there.
    pub(super) fn new(parent_path: &Path) -> io::Result<Self> {
        let parent = fs::openat(CWD, parent_path, DIRECTORY & !OFlags::NOFOLLOW, Mode::empty())?;
        remove_leftovers(&parent)?;
        for _ in 0..ATTEMPTS {
            let name = OsString::from(format!("{PREFIX}{}", random_digits()?));
            match fs::mkdirat(&parent, &name, Mode::RWXU) {
                Err(Errno::EXIST) => continue,
                other => other?,
            }
            let directory = fs::openat(&parent, &name, DIRECTORY, Mode::empty())?;
            // Another run may look at the directory at this moment and take it for a leftover: whoever creates and
            // holds the lock file owns it.
            let Some(lock) = claim(&directory, OFlags::EXCL)? else { continue };
            fs::mkdirat(&directory, TREE, Mode::RWXU)?;
            return Ok(Self { parent, parent_path: parent_path.to_owned(), name, directory, _lock: lock });
        }
        Err(Errno::EXIST.into())
    }

    /// The directory to unpack into, empty at first.
    pub(super) fn tree(&self) -> io::Result<OwnedFd> {
        Ok(fs::openat(&self.directory, TREE, DIRECTORY, Mode::empty())?)
    }

    /// Empties the tree for another try.
    pub(super) fn reset(&self) -> io::Result<()> {
        remove_tree(&self.directory, OsStr::new(TREE))?;
        Ok(fs::mkdirat(&self.directory, TREE, Mode::RWXU)?)
    }

    /// Whether [`Stage::sync`] proves that everything is on the disk. Before Linux 5.8 it does not report failed
    /// writes, and for a file system in user space it never asks the program behind it.
    pub(super) fn sync_tells_all(&self) -> bool {
        let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        tells_of_failed_writes(&release) && fs::fstatfs(&self.directory).is_ok_and(|stat| stat.f_type as u64 != FUSE)
    }

    /// Waits until everything of the tree is on the disk; false if the file system can't say.
    pub(super) fn sync(&self) -> io::Result<bool> {
        synced(fs::syncfs(&self.directory).map_err(io::Error::from))
    }

    /// The descriptor and name under which the tree can be renamed.
    pub(super) fn tree_location(&self) -> (&OwnedFd, &'static OsStr) {
        (&self.directory, OsStr::new(TREE))
    }

    pub(super) fn directory(&self) -> &OwnedFd {
        &self.directory
    }

    pub(super) fn parent(&self) -> &OwnedFd {
        &self.parent
    }

    pub(super) fn parent_path(&self) -> &Path {
        &self.parent_path
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        // Nothing to report: the next run removes what stays.
        let _ = remove(&self.parent, &self.name, &self.directory);
    }
}

fn tells_of_failed_writes(release: &str) -> bool {
    let mut numbers = release.split(|character: char| !character.is_ascii_digit()).map(str::parse::<u32>);
    matches!((numbers.next(), numbers.next()), (Some(Ok(major)), Some(Ok(minor))) if (major, minor) >= (5, 8))
}

/// Whether a directory entry is a staging directory, live or left over.
pub(crate) fn is_stage(name: &[u8]) -> bool {
    name.strip_prefix(PREFIX.as_bytes())
        .is_some_and(|rest| rest.len() == RANDOM_DIGITS && rest.iter().all(u8::is_ascii_hexdigit))
}

/// Undoes what a restore into `target` (a name in `parent_path`, or empty for that directory itself) had done when it
/// was killed during its swap. Returns a description of what it undid.
pub(super) fn put_right(parent_path: &Path, target: &OsStr) -> io::Result<Vec<String>> {
    let mut said = Vec::new();
    let parent = fs::openat(CWD, parent_path, DIRECTORY & !OFlags::NOFOLLOW, Mode::empty())?;
    leftovers(&parent, |_, directory| {
        if let Some(intent) = Intent::read(directory)?.filter(|intent| intent.target == target) {
            said.extend(intent.take_back((directory, OsStr::new(TREE)), &parent, parent_path)?);
            Intent::forget(directory)?;
        }
        Ok(())
    })?;
    Ok(said)
}

/// Removes what restores into directories below this one have left that were killed, unless a directory there is to be
/// put right first: the next restore into it does that.
pub fn remove_abandoned(directory: &Path) -> io::Result<()> {
    remove_leftovers(&fs::openat(CWD, directory, DIRECTORY, Mode::empty())?)
}

/// Removes the staging directories in `parent` whose restore is no longer alive, but for those of other targets that
/// are to be put right.
fn remove_leftovers(parent: &OwnedFd) -> io::Result<()> {
    leftovers(parent, |name, directory| {
        if Intent::read(directory)?.is_some() {
            return Ok(());
        }
        remove(parent, name, directory)
    })
}

/// Removes a staging directory, its lock last: until then nobody takes it for one that nobody removes.
fn remove(parent: &OwnedFd, name: &OsStr, directory: &OwnedFd) -> io::Result<()> {
    match remove_tree(directory, OsStr::new(TREE)).and_then(|()| remove_tree(parent, name)) {
        // Another process has it now, and removes it.
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::DirectoryNotEmpty) => Ok(()),
        other => other,
    }
}

/// Hands on the staging directories in `parent` whose restore is no longer alive, each under its lock.
fn leftovers(parent: &OwnedFd, mut each: impl FnMut(&OsStr, &OwnedFd) -> io::Result<()>) -> io::Result<()> {
    for name in names(parent)?.into_iter().filter(|name| is_stage(name.as_bytes())) {
        let Ok(directory) = fs::openat(parent, &name, DIRECTORY, Mode::empty()) else { continue };
        let stat = fs::fstat(&directory)?;
        if stat.st_uid != rustix::process::geteuid().as_raw() {
            continue;
        }
        if let Some(_lock) = claim(&directory, OFlags::empty())? {
            each(&name, &directory)?;
        }
    }
    Ok(())
}

/// Locks a staging directory; `None` when another process has it.
fn claim(directory: &OwnedFd, flags: OFlags) -> io::Result<Option<OwnedFd>> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC | flags;
    let lock = match fs::openat(directory, LOCK, flags, Mode::RUSR | Mode::WUSR) {
        Err(Errno::EXIST | Errno::NOENT | Errno::LOOP) => return Ok(None),
        other => other?,
    };
    match fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
        Err(Errno::WOULDBLOCK) => return Ok(None),
        other => other?,
    }
    // Locked, but perhaps only after its owner has removed it.
    Ok((fs::fstat(&lock)?.st_nlink > 0).then_some(lock))
}

/// Removes a directory and all below it without recursion and with two descriptors, however deep
/// it is: subdirectories are first brought up to the top. Follows no symbolic link.
pub(crate) fn remove_tree(parent: &OwnedFd, name: &OsStr) -> io::Result<()> {
    let top = match fs::openat(parent, name, DIRECTORY, Mode::empty()) {
        Err(Errno::NOENT) => return Ok(()),
        other => other?,
    };
    let _ = fs::fchmod(&top, Mode::RWXU);
    let mut brought_up = 0_u64;
    loop {
        let mut waiting = Vec::new();
        for entry in names(&top)? {
            match fs::unlinkat(&top, &entry, AtFlags::empty()) {
                Ok(()) => {}
                Err(Errno::ISDIR | Errno::PERM) => waiting.push(entry),
                Err(error) => return Err(error.into()),
            }
        }
        if waiting.is_empty() {
            break;
        }
        for entry in waiting {
            let directory = fs::openat(&top, &entry, DIRECTORY, Mode::empty())?;
            let _ = fs::fchmod(&directory, Mode::RWXU);
            for inner in names(&directory)? {
                let stat = fs::statat(&directory, &inner, AtFlags::SYMLINK_NOFOLLOW)?;
                if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
                    bring_up(&directory, &inner, &top, &mut brought_up)?;
                } else {
                    fs::unlinkat(&directory, &inner, AtFlags::empty())?;
                }
            }
            fs::unlinkat(&top, &entry, AtFlags::REMOVEDIR)?;
        }
    }
    fs::unlinkat(parent, name, AtFlags::REMOVEDIR)?;
    Ok(())
}

fn bring_up(from: &OwnedFd, name: &OsStr, top: &OwnedFd, counter: &mut u64) -> io::Result<()> {
    match fs::unlinkat(from, name, AtFlags::REMOVEDIR) {
        Ok(()) => return Ok(()),
        Err(Errno::NOTEMPTY | Errno::EXIST | Errno::ACCESS | Errno::PERM) => {}
        Err(error) => return Err(error.into()),
    }
    // Its own entry ".." changes with the move, which takes write permission.
    if let Ok(inner) = fs::openat(from, name, DIRECTORY, Mode::empty()) {
        let _ = fs::fchmod(&inner, Mode::RWXU);
    }
    loop {
        *counter += 1;
        let free = format!(".up-{counter}");
        match fs::renameat_with(from, name, top, &free, fs::RenameFlags::NOREPLACE) {
            Err(Errno::EXIST) => {}
            // A file system without the flag: a clash would only be an empty directory's.
            Err(Errno::INVAL | Errno::NOSYS) => return Ok(fs::renameat(from, name, top, &free)?),
            other => return Ok(other?),
        }
    }
}

fn random_digits() -> io::Result<String> {
    let mut bytes = [0_u8; RANDOM_DIGITS / 2];
    let mut source = std::fs::File::open("/dev/urandom")?;
    io::Read::read_exact(&mut source, &mut bytes)?;
    let number = bytes.iter().fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
    Ok(format!("{number:0RANDOM_DIGITS$x}"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    #[test]
    fn kernels_that_keep_failed_writes_to_themselves_are_known() {
        for (release, tells) in [
            ("5.4.0-150-generic", false),
            ("5.8", true),
            ("6.12.9-haos", true),
            ("4.19.0", false),
            ("5.10-rc1", true),
            ("", false),
        ] {
            assert_eq!(tells_of_failed_writes(release), tells, "{release}");
        }
    }

    #[test]
    fn a_leftover_that_another_process_removes_just_now_is_in_nobody_s_way() {
        let parent = tempfile::tempdir().unwrap();
        for round in 0..20 {
            let tree = parent.path().join(format!("{PREFIX}{round:0RANDOM_DIGITS$x}")).join(TREE);
            for number in 0..50 {
                std::fs::create_dir_all(tree.join(format!("{number}/below"))).unwrap();
            }
            std::thread::scope(|scope| {
                let removers: Vec<_> = (0..4).map(|_| scope.spawn(|| remove_abandoned(parent.path()))).collect();
                for remover in removers {
                    remover.join().unwrap().unwrap();
                }
            });
            assert!(!tree.exists());
        }
    }
}
