//! The hidden file beside the target that holds what `haul get` has fetched so far.
//!
//! Its name says which object, size and time the bytes belong to, so anybody who may write into the directory can
//! predict it: only a file that this user created is continued ([`files::reopen`]). A second file beside it holds a
//! digest of each mebibyte. If a power cut, a bad disk or another program changed the bytes, they do not match the
//! digest, and are fetched again from there on.

use std::{
    fs::{self, File, Permissions},
    io,
    os::unix::fs::{FileExt, PermissionsExt},
    path::{Path, PathBuf},
    time::UNIX_EPOCH,
};

use engine::Progress;
use habackup::{
    archive::{Archive, ArchiveError},
    manifest::{Manifest, Stamp},
    problem::Severity,
};
use rustix::{
    fs::{FlockOperation, flock},
    io::Errno,
};
use sha2::{Digest, Sha256};
use store::{
    Cancellation, Entry, StoreError, files,
    inbound::RemoteFile,
    local::{remove_leftovers, rename_without_replacing, sync_directory, synced},
    owner,
};

use super::{directory_of, interrupted, unreadable};
use crate::failure::{FAILED, Failure};

/// Bytes requested at once, and covered by one digest.
const CHUNK: u64 = 1 << 20;
const DIGEST: u64 = 32;
/// Ends the name of the file with the digests.
const DIGESTS: &str = ".sums";

/// The growing file, locked by the process that fetches.
pub(super) struct Unfinished {
    path: PathBuf,
    file: File,
    digests: File,
}

impl Unfinished {
    pub(super) fn open(target: &Path, destination: &str, entry: &Entry) -> Result<Self, Failure> {
        let directory = directory_of(target);
        let object = habackup::manifest::slug(&entry.name, destination);
        let modified = entry
            .modified
            .and_then(|modified| modified.duration_since(UNIX_EPOCH).ok())
            .map_or(0, |since| since.as_micros());
        let state = habackup::manifest::slug(&format!("{} {modified}", entry.size), &entry.name);
        let path = directory.join(format!("{}{object}-{state}", owner::FETCHED));
        remove_others(&directory, &format!("{}{object}-", owner::FETCHED), &path);
        let Some(file) = locked(&path)? else {
            let message = format!("another haul process is fetching {} into {}", entry.name, directory.display());
            return Err(Failure::new(FAILED, message).hint("wait until it has ended"));
        };
        // After the lock is held: what is gone on with here may be old.
        remove_leftovers(&directory);
        let digests = own(&digests_of(&path))?;
        Ok(Self { path, file, digests })
    }

    /// Fetches what is missing. Returns how many bytes an earlier run had fetched.
    pub(super) fn copy(
        &mut self,
        remote: &RemoteFile,
        progress: &Progress,
        cancel: &Cancellation,
    ) -> Result<u64, Failure> {
        let mut buffer = vec![0; CHUNK as usize];
        let begun = self.sound(&mut buffer, remote.len(), progress, cancel)?;
        let mut at = begun;
        while at < remote.len() {
            if cancel.is_cancelled() {
                return Err(interrupted());
            }
            let piece = &mut buffer[..CHUNK.min(remote.len() - at) as usize];
            remote.read_exact_at(piece, at).map_err(|error| unreadable(error, remote))?;
            self.file.write_all_at(piece, at).map_err(|error| cannot_write(&self.path, &error))?;
            let digest = Sha256::digest(&piece);
            self.digests
                .write_all_at(&digest, at / CHUNK * DIGEST)
                .map_err(|error| cannot_write(&digests_of(&self.path), &error))?;
            at += piece.len() as u64;
            progress.report(at, Some(remote.len()));
        }
        let unchanged = remote.unchanged();
        if unchanged.is_err() {
            // Half of one and half of another is of no use to the next run.
            let _ = fs::remove_file(&self.path);
            let _ = fs::remove_file(digests_of(&self.path));
        }
        unchanged?;
        self.file
            .set_len(remote.len())
            .and_then(|()| synced(self.file.sync_all()))
            .map_err(|error| cannot_write(&self.path, &error))?;
        Ok(begun)
    }

    /// How many bytes are as they were fetched, from the first on.
    fn sound(
        &self,
        buffer: &mut [u8],
        length: u64,
        progress: &Progress,
        cancel: &Cancellation,
    ) -> Result<u64, Failure> {
        let mut at = 0;
        while at < length {
            if cancel.is_cancelled() {
                return Err(interrupted());
            }
            let piece = &mut buffer[..CHUNK.min(length - at) as usize];
            let mut digest = [0; DIGEST as usize];
            let read = self
                .digests
                .read_exact_at(&mut digest, at / CHUNK * DIGEST)
                .and_then(|()| self.file.read_exact_at(piece, at));
            if read.is_err() || Sha256::digest(&piece)[..] != digest {
                break;
            }
            at += piece.len() as u64;
            progress.report(at, Some(length));
        }
        Ok(at)
    }

    /// What is wrong with the archive's outer structure, and what its maker says of it.
    pub(super) fn look(&self) -> (Option<String>, Option<Stamp>) {
        match Archive::open(&self.file) {
            Ok(archive) => {
                let damage = archive.problems().iter().find(|problem| problem.severity == Severity::Damaged);
                let damage = damage
                    .map(ToString::to_string)
                    .or_else(|| archive.tail().is_none().then(|| "it is cut short".to_owned()));
                (damage, archive.manifest().and_then(Manifest::stamp))
            }
            Err(ArchiveError::Io(error)) => (Some(engine::plain_reason(&error)), None),
            Err(error) => (Some(error.to_string()), None),
        }
    }

    pub(super) fn publish(&self, target: &Path) -> Result<(), Failure> {
        match rename_without_replacing(&self.path, target) {
            Err(StoreError::Exists(_)) => Err(Failure::new(FAILED, format!("{} appeared meanwhile", target.display()))
                .hint("Haul keeps what it has fetched: run the same command with another name to continue")),
            Err(StoreError::Io { source, .. }) => Err(cannot_write(target, &source)),
            Err(error) => Err(error.into()),
            // Another user who may write into the directory may have put another file there.
            Ok(()) if !files::is_still(&self.file, target) => {
                Err(Failure::new(FAILED, format!("another program replaced {} meanwhile", target.display()))
                    .hint("fetch into a directory that only you may write to"))
            }
            Ok(()) => {
                let _ = fs::remove_file(digests_of(&self.path));
                sync_directory(&directory_of(target)).map(|_| ()).map_err(|error| {
                    Failure::new(
                        FAILED,
                        format!(
                            "{} is in place, but the disk did not confirm its name: {}",
                            target.display(),
                            engine::plain_reason(&error)
                        ),
                    )
                    .hint("check the disk; `haul verify` reads the file")
                })
            }
        }
    }
}

fn digests_of(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(DIGESTS);
    name.into()
}

/// The file under that name, locked; `None` when another process holds the lock.
fn locked(path: &Path) -> Result<Option<File>, Failure> {
    loop {
        let file = own(path)?;
        if flock(&file, FlockOperation::NonBlockingLockExclusive) == Err(Errno::WOULDBLOCK) {
            return Ok(None);
        }
        // The previous holder of the lock may have given the file its final name.
        if files::is_still(&file, path) {
            return Ok(Some(file));
        }
    }
}

/// This user's file under that name. An archive holds every secret of its house, so nobody else may read it.
fn own(path: &Path) -> Result<File, Failure> {
    let file = files::reopen_or_create(path).map_err(|error| {
        let (shown, reason) = (engine::shown(path.as_os_str().as_encoded_bytes()), engine::plain_reason(&error));
        Failure::new(FAILED, format!("can't use {shown}, which holds what Haul has fetched: {reason}"))
            .hint("remove it, or fetch into another directory")
            .about(shown, reason)
    })?;
    // Begun under a laxer hand.
    let _ = file.set_permissions(Permissions::from_mode(0o600));
    Ok(file)
}

/// What was fetched of an object that has been replaced since.
fn remove_others(directory: &Path, prefix: &str, own: &Path) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        if path == own || path == digests_of(own) || !entry.file_name().to_string_lossy().starts_with(prefix) {
            continue;
        }
        let Ok(file) = files::open_to_lock(&path) else { continue };
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok() {
            let _ = fs::remove_file(&path);
        }
    }
}

fn cannot_write(path: &Path, error: &io::Error) -> Failure {
    let (shown, reason) = (engine::shown(path.as_os_str().as_encoded_bytes()), engine::plain_reason(error));
    let hint = match fs::metadata(path) {
        Ok(found) if found.len() > 0 => "Haul keeps what it has fetched: run the same command again to continue",
        _ => "nothing was fetched; check the directory's permissions and its disk",
    };
    Failure::new(FAILED, format!("can't write {shown}: {reason}")).hint(hint).about(shown, reason)
}
