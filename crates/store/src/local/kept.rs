//! A file that another process may continue: its content stays when its writer ends, until somebody continues or aborts
//! it, or for a week.
//!
//! When [`Upload::put`] returns, the operating system has every byte, so a killed writer loses none. A power cut may
//! lose some: after a reboot such a file is not continued.

use std::{
    fs::{self, File, OpenOptions},
    io,
    ops::Range,
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use async_trait::async_trait;
use rustix::fs::{Advice, FlockOperation, fadvise, flock};
use serde::{Deserialize, Serialize};

use super::{
    sync_directory, synced,
    upload::{parent, refuse_existing, rename_without_replacing},
};
use crate::{
    error::{Kind, Operation, StoreError},
    files, owner,
    parts::Part,
    store::{Checked, Completed, Session, Upload},
};

/// How much may wait in the page cache before the disk is asked to begin.
const WINDOW: u64 = 8 << 20;

/// What another process needs.
#[derive(Serialize, Deserialize)]
struct Note {
    file: String,
    name: String,
    boot: String,
}

/// An upload into a directory that outlives its process.
pub(super) struct KeptUpload {
    temporary: PathBuf,
    destination: PathBuf,
    note: Note,
    kept: u64,
    // A second commit is not an error.
    published: AtomicBool,
    // Gone once published or aborted. Holds the lock that keeps others away.
    file: Mutex<Option<Open>>,
}

struct Open {
    file: File,
    length: u64,
    pushed: u64,
}

impl KeptUpload {
    /// Starts `name` in a directory that exists.
    pub(super) fn create(directory: &Path, name: &str) -> Result<Self, StoreError> {
        let destination = directory.join(name);
        refuse_existing(&destination)?;
        let failed = |source| StoreError::Io { operation: Operation::Create, path: directory.to_owned(), source };
        let file_name = owner::lasting_name();
        let temporary = directory.join(&file_name);
        let file =
            OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&temporary).map_err(failed)?;
        let _ = flock(&file, FlockOperation::NonBlockingLockExclusive);
        let note = Note { file: file_name, name: name.to_owned(), boot: boot() };
        Ok(Self {
            temporary,
            destination,
            note,
            kept: 0,
            published: AtomicBool::new(false),
            file: Mutex::new(Some(Open { file, length: 0, pushed: 0 })),
        })
    }

    /// Continues what another process left; `None` when it is gone or can't be trusted any more.
    pub(super) fn reopen(directory: &Path, session: &Session) -> Result<Option<Self>, StoreError> {
        let Ok(note) = Note::deserialize(&session.0) else { return Ok(None) };
        let is_ours = owner::is_temporary(&note.file) && !note.file.contains('/') && !note.name.contains('/');
        if !is_ours {
            return Ok(None);
        }
        let (temporary, destination) = (directory.join(&note.file), directory.join(&note.name));
        let failed = |source| StoreError::Io { operation: Operation::Create, path: temporary.clone(), source };
        let file = match files::open_to_lock(&temporary) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        if flock(&file, FlockOperation::NonBlockingLockExclusive) == Err(rustix::io::Errno::WOULDBLOCK) {
            let reason = "another process still works on this upload";
            return Err(StoreError::remote(
                directory.display().to_string(),
                Operation::Create,
                Kind::Transient { retry_after: None },
                reason,
            ));
        }
        if note.boot != boot() {
            // Some of it may never have reached the disk, and nothing shows which part.
            fs::remove_file(&temporary).map_err(failed)?;
            return Ok(None);
        }
        let length = file.metadata().map_err(failed)?.len();
        Ok(Some(Self {
            temporary,
            destination,
            note,
            kept: length,
            published: AtomicBool::new(false),
            file: Mutex::new(Some(Open { file, length, pushed: length })),
        }))
    }

    fn with_file<T>(
        &self,
        operation: Operation,
        work: impl FnOnce(&mut Open) -> io::Result<T>,
    ) -> Result<T, StoreError> {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let failed = |source| StoreError::Io { operation, path: self.destination.clone(), source };
        let file = file.as_mut().ok_or_else(|| failed(io::Error::other("the upload has ended")))?;
        work(file).map_err(failed)
    }
}

impl Open {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, self.length)?;
        self.length += bytes.len() as u64;
        if self.length - self.pushed >= WINDOW {
            // Starts writing the window back, and forgets the one before it: both without waiting.
            let from = self.pushed.saturating_sub(WINDOW);
            let _ = fadvise(&self.file, from, None, Advice::DontNeed);
            self.pushed = self.length;
        }
        Ok(())
    }
}

#[async_trait]
impl Upload for KeptUpload {
    async fn put(&self, part: &Part) -> Result<(), StoreError> {
        self.with_file(Operation::Write, |open| {
            if part.offset > open.length {
                return Err(io::Error::other("bytes before these are missing"));
            }
            part.data.skip(open.length - part.offset).pieces().iter().try_for_each(|piece| open.append(piece))
        })
    }

    async fn patch(&self, offset: u64, bytes: &[u8]) -> Result<(), StoreError> {
        self.with_file(Operation::Write, |open| open.file.write_all_at(bytes, offset))
    }

    async fn commit(&self, completed: &Completed) -> Result<Checked, StoreError> {
        let mut slot = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(open) = slot.as_ref() else {
            let ended = || StoreError::Io {
                operation: Operation::Publish,
                path: self.destination.clone(),
                source: io::Error::other("the upload has ended"),
            };
            return if self.published.load(Ordering::Relaxed) { Ok(Checked::Size) } else { Err(ended()) };
        };
        if open.length != completed.length {
            let reason = format!("{} bytes arrived instead of {}", open.length, completed.length);
            return Err(StoreError::remote(
                self.destination.display().to_string(),
                Operation::Check,
                Kind::Mismatch,
                reason,
            ));
        }
        let directory = parent(&self.destination);
        synced(open.file.sync_all()).map_err(|source| StoreError::Io {
            operation: Operation::Sync,
            path: directory.to_owned(),
            source,
        })?;
        let _ = fadvise(&open.file, 0, None, Advice::DontNeed);
        rename_without_replacing(&self.temporary, &self.destination)?;
        self.published.store(true, Ordering::Relaxed);
        *slot = None;
        let _ = sync_directory(directory);
        Ok(Checked::Size)
    }

    async fn abort(&self) -> Result<(), StoreError> {
        let mut slot = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        if slot.is_none() {
            return Ok(());
        }
        match fs::remove_file(&self.temporary) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(StoreError::Io {
                    operation: Operation::Delete,
                    path: self.temporary.clone(),
                    source: error,
                });
            }
            _ => *slot = None,
        }
        Ok(())
    }

    fn session(&self) -> Option<Session> {
        serde_json::to_value(&self.note).ok().map(Session)
    }

    fn kept(&self) -> Vec<Range<u64>> {
        if self.kept == 0 { Vec::new() } else { std::iter::once(0..self.kept).collect() }
    }
}

/// Changes whenever the machine is started.
fn boot() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}
