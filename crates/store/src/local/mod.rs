//! A directory of this machine, or one mounted into it.
//!
//! [`PendingFile`] is the fast way to write: past the page cache, on its own thread. [`Local`] is the same directory as
//! a [`Store`], for callers that treat all destinations alike.

mod aligned;
mod kept;
pub(crate) mod reserved;
mod upload;
mod writer;

use std::{
    fs, io,
    ops::Range,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use async_trait::async_trait;
use bytes::Bytes;

pub use peer::disk::{sync_directory, synced};
pub use reserved::Reserved;
pub(crate) use upload::parent;
pub use upload::{PendingFile, Published, is_temporary, remove_leftovers, rename_without_replacing};
pub use writer::WriteMeter;

use crate::{
    error::{Kind, Operation, StoreError},
    files,
    parts::Part,
    store::{Abilities, Checked, Completed, Entry, Expected, Placement, Session, Sink, Store, Upload},
};

/// A directory as a destination.
pub struct Local {
    directory: PathBuf,
}

impl Local {
    /// The directory must exist.
    pub fn open(directory: &Path) -> Result<Self, StoreError> {
        match fs::metadata(directory) {
            Ok(found) if found.is_dir() => Ok(Self { directory: directory.to_owned() }),
            Ok(_) => Err(StoreError::NotADirectory(directory.to_owned())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(StoreError::Missing(directory.to_owned())),
            Err(source) => Err(StoreError::Io { operation: Operation::Connect, path: directory.to_owned(), source }),
        }
    }

    /// The directory.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    fn path(&self, name: &str) -> Result<PathBuf, StoreError> {
        if name.is_empty() || name.contains('/') || name == "." || name == ".." {
            return Err(StoreError::remote(
                self.label(),
                Operation::Read,
                Kind::Invalid,
                format!("{name:?} is not a valid file name"),
            ));
        }
        Ok(self.directory.join(name))
    }
}

fn failed(operation: Operation, path: &Path) -> impl FnOnce(io::Error) -> StoreError + use<> {
    let path = path.to_owned();
    move |source| StoreError::Io { operation, path, source }
}

/// The file of that name, or the target of a link of that name; `None` if there is none. A dangling link is not an
/// archive.
fn look(path: &Path, name: &str) -> io::Result<Option<Entry>> {
    let own = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        found => found?,
    };
    let link = own.is_symlink();
    let Ok(metadata) = (if link { fs::metadata(path) } else { Ok(own) }) else { return Ok(None) };
    let entry = || Entry { name: name.to_owned(), size: metadata.len(), modified: metadata.modified().ok(), link };
    Ok(metadata.is_file().then(entry))
}

#[async_trait]
impl Sink for Local {
    fn label(&self) -> String {
        self.directory.display().to_string()
    }

    fn abilities(&self) -> Abilities {
        Abilities {
            placement: Placement::Random,
            multiple: 1,
            preferred: 1 << 20,
            concurrency: 1,
            needs_length: false,
            restarts: false,
            md5: false,
            resumable: true,
        }
    }

    async fn create(&self, name: &str, expected: Expected) -> Result<Box<dyn Upload>, StoreError> {
        if expected.resumable {
            self.path(name)?;
            return Ok(Box::new(kept::KeptUpload::create(&self.directory, name)?));
        }
        let file = PendingFile::create(&self.path(name)?)?;
        Ok(Box::new(LocalUpload {
            path: self.path(name)?,
            file: Mutex::new(Some(file)),
            published: AtomicBool::new(false),
        }))
    }

    fn store(self: Arc<Self>) -> Option<Arc<dyn Store>> {
        Some(self)
    }
}

#[async_trait]
impl Store for Local {
    async fn resume(&self, session: &Session) -> Result<Option<Box<dyn Upload>>, StoreError> {
        let upload = kept::KeptUpload::reopen(&self.directory, session)?;
        Ok(upload.map(|upload| Box::new(upload) as Box<dyn Upload>))
    }

    async fn list(&self) -> Result<Vec<Entry>, StoreError> {
        let directory = self.directory.clone();
        apart(move || list(&directory)).await
    }

    async fn entry(&self, name: &str) -> Result<Option<Entry>, StoreError> {
        let (path, name) = (self.path(name)?, name.to_owned());
        apart(move || look(&path, &name).map_err(failed(Operation::Read, &path))).await
    }

    async fn read(&self, name: &str, range: Range<u64>) -> Result<Bytes, StoreError> {
        let path = self.path(name)?;
        let read = move || {
            let mut bytes = vec![0; (range.end - range.start) as usize];
            let read = files::open(&path).and_then(|file| file.read_exact_at(&mut bytes, range.start));
            read.map_err(failed(Operation::Read, &path))?;
            Ok(bytes.into())
        };
        apart(read).await
    }

    async fn delete(&self, name: &str) -> Result<(), StoreError> {
        let path = self.path(name)?;
        let delete = move || match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(StoreError::Io { operation: Operation::Delete, path, source: error })
            }
            _ => Ok(()),
        };
        apart(delete).await
    }

    async fn space(&self) -> Result<Option<u64>, StoreError> {
        let directory = self.directory.clone();
        let look = move || {
            let free = rustix::fs::statvfs(&directory)
                .map_err(|error| failed(Operation::Connect, &directory)(error.into()))?;
            Ok(Some(free.f_bavail.saturating_mul(free.f_frsize)))
        };
        apart(look).await
    }

    async fn remove_abandoned(&self) -> Result<u32, StoreError> {
        let directory = self.directory.clone();
        apart(move || Ok(remove_leftovers(&directory) as u32)).await
    }
}

/// A disk that wakes up, or a file server that is away, lets whoever asks it wait, and must not keep what waits for
/// sockets from going on.
async fn apart<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The program ends.
            Err(_) => Err(StoreError::Cancelled),
        },
    }
}

fn list(directory: &Path) -> Result<Vec<Entry>, StoreError> {
    let found = fs::read_dir(directory).map_err(failed(Operation::List, directory))?;
    let mut entries = Vec::new();
    for item in found {
        let item = item.map_err(failed(Operation::List, directory))?;
        let Ok(name) = item.file_name().into_string() else { continue };
        // What vanished meanwhile is not here any more; anything else that is not seen would make the list a part
        // of itself.
        let entry = look(&item.path(), &name).map_err(failed(Operation::List, &item.path()))?;
        entries.extend(entry.filter(|_| !is_temporary(name.as_ref())));
    }
    Ok(entries)
}

struct LocalUpload {
    path: PathBuf,
    // Gone once published or aborted.
    file: Mutex<Option<PendingFile>>,
    // A second commit is not an error.
    published: AtomicBool,
}

impl LocalUpload {
    fn with_file<T>(
        &self,
        operation: Operation,
        work: impl FnOnce(&mut PendingFile) -> io::Result<T>,
    ) -> Result<T, StoreError> {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let failed = |source| StoreError::Io { operation, path: self.path.clone(), source };
        let file = file.as_mut().ok_or_else(|| failed(io::Error::other("the upload has ended")))?;
        work(file).map_err(failed)
    }
}

#[async_trait]
impl Upload for LocalUpload {
    async fn put(&self, part: &Part) -> Result<(), StoreError> {
        self.with_file(Operation::Write, |file| {
            if part.offset > file.len() {
                return Err(io::Error::other("bytes before these are missing"));
            }
            let known = file.len() - part.offset;
            part.data.skip(known).pieces().iter().try_for_each(|piece| file.append(piece))
        })
    }

    async fn patch(&self, offset: u64, bytes: &[u8]) -> Result<(), StoreError> {
        self.with_file(Operation::Write, |file| {
            file.patch(offset, bytes);
            Ok(())
        })
    }

    async fn commit(&self, completed: &Completed) -> Result<Checked, StoreError> {
        let file = self.file.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(file) = file else {
            return if self.published.load(Ordering::Relaxed) {
                Ok(Checked::Size)
            } else {
                Err(failed(Operation::Publish, &self.path)(io::Error::other("the upload has ended")))
            };
        };
        if file.len() != completed.length {
            let reason = format!("{} bytes arrived instead of {}", file.len(), completed.length);
            return Err(StoreError::remote(self.path.display().to_string(), Operation::Check, Kind::Mismatch, reason));
        }
        file.publish()?;
        self.published.store(true, Ordering::Relaxed);
        Ok(Checked::Size)
    }

    async fn abort(&self) -> Result<(), StoreError> {
        self.file.lock().unwrap_or_else(PoisonError::into_inner).take();
        Ok(())
    }
}
