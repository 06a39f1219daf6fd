//! A file in a local directory that appears under its final name whole or not at all.
//!
//! It grows under a temporary name of `owner` (mode 0600) in the target directory, locked as long as its writer lives.
//! Publishing syncs it, then renames it without ever replacing a file. A writer that is dropped removes it. What a
//! killed process left is removed by the next run, when its lock is free and its name says that nobody works on it:
//! machines that reach the directory in another way hold no lock here.

use std::{
    ffi::OsStr,
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::Arc,
};

use rustix::{
    fs::{Advice, CWD, FlockOperation, RenameFlags, fadvise, flock, fstatvfs, renameat_with},
    io::Errno,
};

use super::{
    reserved::Reserved,
    sync_directory, synced,
    writer::{SequentialWriter, WriteMeter},
};
use crate::{
    error::{Operation, StoreError},
    files, owner,
};

/// True for temporary names. Such a file is never worth a backup.
pub fn is_temporary(name: &OsStr) -> bool {
    name.to_str().is_some_and(owner::is_temporary)
}

/// A file on its way to its final name.
pub struct PendingFile {
    temporary: PathBuf,
    destination: PathBuf,
    // Holds the lock that shows the next run that this one is alive.
    file: File,
    writer: Option<SequentialWriter>,
    patches: Vec<(u64, Vec<u8>)>,
    length: u64,
    // So many bytes of the file system stay free, and at this length the free space is checked again.
    reserve: u64,
    look_at: u64,
    meter: Arc<WriteMeter>,
    is_rewritable: bool,
    published: bool,
}

/// How much is written before the free space is checked again.
const LOOK_EVERY: u64 = 1 << 20;

impl PendingFile {
    /// Starts a file that will be called `destination`, in a directory that exists. Removes what killed runs left
    /// there.
    pub fn create(destination: &Path) -> Result<Self, StoreError> {
        let directory = parent(destination);
        match fs::metadata(directory) {
            Ok(found) if !found.is_dir() => return Err(StoreError::NotADirectory(directory.to_owned())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(StoreError::Missing(directory.to_owned()));
            }
            _ => {}
        }
        refuse_existing(destination)?;
        remove_leftovers(directory);

        let failed = |source| StoreError::Io { operation: Operation::Create, path: directory.to_owned(), source };
        let (temporary, file) = create_temporary(directory).map_err(failed)?;
        let is_rewritable = can_rewrite(directory);
        let meter = Arc::new(WriteMeter::default());
        let writer = file.try_clone().and_then(|clone| SequentialWriter::start(clone, Arc::clone(&meter)));
        let writer = match writer {
            Ok(writer) => writer,
            Err(source) => {
                let _ = fs::remove_file(&temporary);
                return Err(failed(source));
            }
        };
        Ok(Self {
            temporary,
            destination: destination.to_owned(),
            file,
            writer: Some(writer),
            patches: Vec::new(),
            length: 0,
            reserve: 0,
            look_at: 0,
            meter,
            is_rewritable,
            published: false,
        })
    }

    /// From now on, so many bytes of the file system stay free. Fails at once when `least` bytes more would not leave
    /// them.
    pub fn keep_free(&mut self, bytes: u64, least: u64) -> io::Result<()> {
        self.reserve = bytes;
        self.look(least)
    }

    fn look(&mut self, more: u64) -> io::Result<()> {
        self.look_at = self.length + LOOK_EVERY;
        // A file system that does not report its free space reports itself when it is full.
        let Ok(found) = fstatvfs(&self.file) else { return Ok(()) };
        let free = found.f_bavail.saturating_mul(found.f_frsize);
        if free < self.reserve.saturating_add(more) { Err(Reserved::error(self.reserve)) } else { Ok(()) }
    }

    /// Live figures of the writing.
    pub fn meter(&self) -> Arc<WriteMeter> {
        Arc::clone(&self.meter)
    }

    /// Whether [`Self::patch`] will work. Where it will not, all bytes must be right from the start.
    pub fn is_rewritable(&self) -> bool {
        self.is_rewritable
    }

    /// Device and inode of the growing file, so that a backup of its own directory can leave it out.
    pub fn identity(&self) -> io::Result<(u64, u64)> {
        let metadata = self.file.metadata()?;
        Ok((metadata.dev(), metadata.ino()))
    }

    /// Adds bytes at the end. They may still be on their way when this returns; an error of an earlier write shows up
    /// here or in [`Self::publish`].
    pub fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.reserve > 0 && self.length >= self.look_at {
            self.look(bytes.len() as u64)?;
        }
        let Some(writer) = &mut self.writer else { return Err(io::Error::other("an earlier write failed")) };
        self.length += bytes.len() as u64;
        writer.append(bytes)
    }

    /// Notes bytes that replace earlier ones; they are written when the file is published.
    pub fn patch(&mut self, offset: u64, bytes: &[u8]) {
        self.patches.push((offset, bytes.to_vec()));
    }

    /// Bytes appended so far.
    pub fn len(&self) -> u64 {
        self.length
    }

    /// True before the first byte.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Waits for the writes, patches, syncs, and gives the file its name.
    pub fn publish(mut self) -> Result<Published, StoreError> {
        let failed = |operation, path: &Path| {
            let path = parent(path).to_owned();
            move |source| StoreError::Io { operation, path, source }
        };
        if let Some(writer) = self.writer.take() {
            writer.finish().map_err(failed(Operation::Write, &self.destination))?;
        }
        if self.reserve > 0 {
            // What was on its way to the disk is there now.
            self.look(0).map_err(failed(Operation::Write, &self.destination))?;
        }
        for (offset, bytes) in std::mem::take(&mut self.patches) {
            self.file.write_all_at(&bytes, offset).map_err(failed(Operation::Write, &self.destination))?;
        }
        synced(self.file.sync_all()).map_err(failed(Operation::Sync, &self.destination))?;
        // The tail and the patched pages went through the cache; an archive is not read again soon.
        let _ = fadvise(&self.file, 0, None, Advice::DontNeed);
        rename_without_replacing(&self.temporary, &self.destination)?;
        self.published = true;
        // The name itself must survive a power cut too; some file systems can't sync a directory, and have no need to.
        let _ = sync_directory(parent(&self.destination));
        Ok(Published { path: self.destination.clone(), length: self.length })
    }
}

impl Drop for PendingFile {
    fn drop(&mut self) {
        // The writing thread must be gone first: it may still be filling the file.
        self.writer = None;
        if !self.published
            && fs::remove_file(&self.temporary).is_err_and(|error| error.kind() != io::ErrorKind::NotFound)
            && let Some(name) = self.temporary.file_name().and_then(OsStr::to_str)
        {
            // Whoever comes next removes it, also if that is this process.
            owner::give_up(name);
        }
    }
}

/// A file that now has its final name.
#[derive(Debug)]
pub struct Published {
    /// Its path.
    pub path: PathBuf,
    /// Its size in bytes.
    pub length: u64,
}

/// The directory of a name; `.` for a bare name.
pub(crate) fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

pub(super) fn refuse_existing(destination: &Path) -> Result<(), StoreError> {
    // A dangling symlink is somebody's name too.
    match fs::symlink_metadata(destination) {
        Ok(_) => Err(StoreError::Exists(destination.to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        // A name that is too long, for instance: better reported now than after hours of work.
        Err(source) => Err(StoreError::Io { operation: Operation::Create, path: destination.to_owned(), source }),
    }
}

fn create_temporary(directory: &Path) -> io::Result<(PathBuf, File)> {
    for _ in 0..1000_u32 {
        let path = directory.join(owner::temporary_name());
        match OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path) {
            Ok(file) => {
                // Waits for another run that is just looking whether the writer lives, which is over at once; should a file
                // server fall silent in between, nothing can end the call. A file system without locks only loses the
                // tidying up after a kill.
                let _ = flock(&file, FlockOperation::LockExclusive);
                // That other run may have been first, and taken it for a leftover.
                if file.metadata()?.nlink() > 0 {
                    return Ok((path, file));
                }
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::other("no free temporary name was found"))
}

/// Whether bytes that were written can be changed there. Some FUSE mounts (`rclone mount` without a cache, goofys) take
/// a file from its beginning to its end only.
fn can_rewrite(directory: &Path) -> bool {
    // What else is wrong there shows in the file itself.
    let Ok((path, file)) = create_temporary(directory) else { return true };
    let can = file.write_all_at(b"ab", 0).is_err() || file.write_all_at(b"c", 0).is_ok();
    drop(file);
    let _ = fs::remove_file(&path);
    can
}

/// Removes unfinished files whose writer is gone, and says how many.
pub fn remove_leftovers(directory: &Path) -> usize {
    let Ok(entries) = fs::read_dir(directory) else { return 0 };
    let mut removed = 0;
    for entry in entries.flatten() {
        let is_file = entry.file_type().is_ok_and(|kind| kind.is_file());
        let age =
            entry.metadata().and_then(|metadata| metadata.modified()).ok().and_then(|changed| changed.elapsed().ok());
        if !is_file || !entry.file_name().to_str().is_some_and(|name| owner::is_abandoned(name, age)) {
            continue;
        }
        let path = entry.path();
        // The lock is held until the name is gone, so nobody can start using the file in between.
        let Ok(file) = files::open_to_lock(&path) else { continue };
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok()
            && files::is_still(&file, &path)
            && fs::remove_file(&path).is_ok()
        {
            removed += 1;
        }
    }
    removed
}

/// One step where the file system can do it; otherwise a hard link and a removal, which refuses an existing name just
/// as well; otherwise a last look first.
pub fn rename_without_replacing(from: &Path, to: &Path) -> Result<(), StoreError> {
    let failed = |source: io::Error| match source.kind() {
        io::ErrorKind::AlreadyExists => StoreError::Exists(to.to_owned()),
        _ => StoreError::Io { operation: Operation::Publish, path: to.to_owned(), source },
    };
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        Ok(()) => return Ok(()),
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {}
        Err(error) => return Err(failed(error.into())),
    }
    match fs::hard_link(from, to) {
        Ok(()) => {
            // It has its name. What can't be removed now is the next run's.
            let _ = fs::remove_file(from);
            return Ok(());
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Err(failed(error)),
        Err(_) => {}
    }
    refuse_existing(to)?;
    fs::rename(from, to).map_err(failed)
}
