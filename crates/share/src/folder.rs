//! A destination as a folder: what a file system's client asks of it.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use async_trait::async_trait;
use bytes::Bytes;
use smb_server::{
    BackendCapabilities, DirEntry, FileInfo, FileTimes, Handle, OpenAction, OpenIntent, OpenOptions, ShareBackend,
    SmbError, SmbPath, SmbResult, VolumeInfo,
};
use store::{Entry, retry::RetryPolicy};

use crate::{
    Event, Shared, names,
    upload::{Failed, PATIENCE, Upload},
};

/// For so long a list is taken as it was.
const FRESH: Duration = Duration::from_secs(30);
/// Whoever has an older one waits so long for a new one, and then makes do with that.
const OLD_WILL_DO: Duration = Duration::from_secs(2);
/// A client that lost its connection may go on for so long.
const RECONNECT: Duration = Duration::from_mins(1);
/// Bytes that are read at once: clients ask for little at a time.
const BLOCK: u64 = 1 << 20;
/// Archives that may be written at the same time.
const UPLOADS: usize = 4;
/// Units of a volume's size.
const UNIT: u64 = 4096;

/// One destination.
#[derive(Clone)]
pub(crate) struct Folder(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) shared: Arc<Shared>,
    listed: Mutex<Option<(Instant, Arc<Vec<Entry>>)>>,
    listing: tokio::sync::Mutex<()>,
    uploads: Mutex<BTreeMap<String, Arc<Upload>>>,
    space: Mutex<Option<(Instant, Option<u64>)>>,
}

impl Folder {
    pub(crate) fn new(shared: Shared) -> Self {
        Self(Arc::new(Inner {
            shared: Arc::new(shared),
            listed: Mutex::default(),
            listing: tokio::sync::Mutex::default(),
            uploads: Mutex::default(),
            space: Mutex::default(),
        }))
    }

    pub(crate) fn name(&self) -> &str {
        &self.0.shared.name
    }

    /// Gives up what is not complete.
    pub(crate) async fn end(&self, why: &str) {
        let uploads = self.0.uploads.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for (name, upload) in uploads.into_iter().filter(|(_, upload)| !upload.is_finishing()) {
            self.give_up(&name, &upload, why).await;
        }
    }

    fn say(&self, event: Event) {
        (self.0.shared.on_event)(event);
    }

    fn policy(&self) -> RetryPolicy {
        RetryPolicy::new(&self.0.shared.context)
    }

    fn upload(&self, name: &str) -> Option<Arc<Upload>> {
        self.0.uploads.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    fn known(&self) -> Option<(Instant, Arc<Vec<Entry>>)> {
        self.0.listed.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn forget_list(&self) {
        if let Some((when, _)) = &mut *self.0.listed.lock().unwrap_or_else(PoisonError::into_inner) {
            *when = Instant::now().checked_sub(FRESH).unwrap_or(*when);
        }
    }

    /// What is there. A destination that is away has what it last had.
    async fn entries(&self) -> SmbResult<Arc<Vec<Entry>>> {
        let known = self.known();
        if let Some((when, entries)) = &known
            && when.elapsed() < FRESH
        {
            return Ok(Arc::clone(entries));
        }
        let folder = self.clone();
        // Goes on when nobody waits for it any more: the next one has its result.
        let asked = tokio::spawn(async move {
            let _one_at_a_time = folder.0.listing.lock().await;
            if let Some((when, entries)) = folder.known()
                && when.elapsed() < FRESH
            {
                return Ok(entries);
            }
            let begun = Instant::now();
            let store = Arc::clone(&folder.0.shared.store);
            let listed = folder.policy().retry(|| store.list()).await.map_err(|error| error.to_string())?;
            let listed: Vec<Entry> = listed.into_iter().filter(|entry| names::is_archive(&entry.name)).collect();
            let listed = Arc::new(listed);
            *folder.0.listed.lock().unwrap_or_else(PoisonError::into_inner) = Some((begun, Arc::clone(&listed)));
            Ok::<_, String>(listed)
        });
        let patience = if known.is_some() { OLD_WILL_DO } else { PATIENCE };
        match (tokio::time::timeout(patience, asked).await, known) {
            (Ok(Ok(Ok(entries))), _) | (_, Some((_, entries))) => Ok(entries),
            (Ok(Ok(Err(why))), None) => Err(away(why)),
            (_, None) => Err(away("the destination did not answer in time")),
        }
    }

    async fn entry(&self, name: &str) -> SmbResult<Option<Entry>> {
        Ok(self.entries().await?.iter().find(|entry| entry.name == name).cloned())
    }

    /// The last handle of an upload was closed. Whether everything had been written.
    async fn left(&self, name: String, upload: Arc<Upload>) -> bool {
        if upload.outcome().is_none() && upload.finish().await {
            let folder = self.clone();
            let ended = tokio::spawn(async move { folder.arrived(name, upload).await });
            // A client takes a server for dead that is silent for longer.
            let _ = tokio::time::timeout(PATIENCE, ended).await;
            return true;
        }
        let folder = self.clone();
        // A client whose connection broke opens it again.
        tokio::spawn(async move {
            if upload.failure().is_none() && upload.outcome().is_none() {
                tokio::time::sleep(RECONNECT).await;
            }
            if upload.is_left() {
                let why = upload.lacks().await;
                folder.give_up(&name, &upload, &why).await;
            }
        });
        false
    }

    async fn arrived(&self, name: String, upload: Arc<Upload>) {
        let ended = upload.end().await;
        self.forget_list();
        if ended.is_ok() {
            // So that nobody misses it between the upload and the list.
            let _ = self.entries().await;
        }
        self.0.uploads.lock().unwrap_or_else(PoisonError::into_inner).remove(&name);
        self.say(match ended {
            Ok(size) => Event::Arrived { name, size },
            Err(reason) => Event::Failed { name, reason },
        });
    }

    async fn give_up(&self, name: &str, upload: &Arc<Upload>, why: &str) {
        let there = self.0.uploads.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
        if there.is_none() {
            return;
        }
        upload.abort(why).await;
        let _ = upload.end().await;
        self.say(Event::Failed { name: name.to_owned(), reason: why.to_owned() });
    }

    fn begin(&self, name: &str) -> SmbResult<Arc<Upload>> {
        if !names::is_archive(name) {
            return Err(SmbError::NameInvalid);
        }
        let mut uploads = self.0.uploads.lock().unwrap_or_else(PoisonError::into_inner);
        if uploads.len() >= UPLOADS {
            return Err(SmbError::Sharing);
        }
        let upload = Upload::begin(&self.0.shared, name);
        uploads.insert(name.to_owned(), Arc::clone(&upload));
        Ok(upload)
    }

    fn growing(&self, name: &str, upload: Arc<Upload>, writes: bool) -> Box<dyn Handle> {
        upload.opened();
        Box::new(Growing { folder: self.clone(), name: name.to_owned(), upload, writes })
    }
}

fn away(why: impl Into<String>) -> SmbError {
    SmbError::Io(std::io::Error::new(std::io::ErrorKind::TimedOut, why.into()))
}

async fn in_time<T>(work: impl Future<Output = Result<T, store::StoreError>>) -> SmbResult<T> {
    match tokio::time::timeout(PATIENCE, work).await {
        Ok(result) => result.map_err(|error| away(error.to_string())),
        Err(_) => Err(away("the destination did not answer in time")),
    }
}

#[async_trait]
impl ShareBackend for Folder {
    async fn open(&self, path: &SmbPath, options: OpenOptions) -> SmbResult<(Box<dyn Handle>, OpenAction)> {
        let name = match path.components() {
            [] if options.non_directory => return Err(SmbError::IsDirectory),
            [] => return Ok((Box::new(Listing(self.clone())), OpenAction::Opened)),
            [name] => name.as_str(),
            _ => return Err(SmbError::PathNotFound),
        };
        if let Some(upload) = self.upload(name) {
            return match options.intent {
                _ if options.directory => Err(SmbError::NotADirectory),
                OpenIntent::Create => Err(SmbError::Exists),
                OpenIntent::Truncate | OpenIntent::OverwriteOrCreate => Err(SmbError::Sharing),
                // Two writers of one file would mix it up; one that lost its connection goes on.
                _ if options.write && !upload.is_left() => Err(SmbError::Sharing),
                _ => Ok((self.growing(name, upload, options.write), OpenAction::Opened)),
            };
        }
        match self.entry(name).await? {
            Some(_) if options.directory => Err(SmbError::NotADirectory),
            Some(_) if options.intent == OpenIntent::Create => Err(SmbError::Exists),
            // An archive that is there is never changed.
            Some(_) if options.write => Err(SmbError::AccessDenied),
            Some(_) if matches!(options.intent, OpenIntent::Truncate | OpenIntent::OverwriteOrCreate) => {
                Err(SmbError::AccessDenied)
            }
            Some(entry) => {
                let stored = Stored { folder: self.clone(), entry, block: tokio::sync::Mutex::default() };
                Ok((Box::new(stored), OpenAction::Opened))
            }
            None if matches!(options.intent, OpenIntent::Open | OpenIntent::Truncate) => Err(SmbError::NotFound),
            None if options.directory || !options.write => Err(SmbError::AccessDenied),
            None => {
                let upload = self.begin(name)?;
                Ok((self.growing(name, upload, true), OpenAction::Created))
            }
        }
    }

    async fn unlink(&self, path: &SmbPath) -> SmbResult<()> {
        let [name] = path.components() else { return Err(SmbError::AccessDenied) };
        if let Some(upload) = self.upload(name) {
            if !upload.is_finishing() {
                self.give_up(name, &upload, "the program that wrote it removed it").await;
                return Ok(());
            }
            // It is on its last steps, and can't be called back: it goes when it is there.
            if tokio::time::timeout(PATIENCE, upload.end()).await.is_err() {
                return Err(SmbError::Sharing);
            }
            self.forget_list();
        }
        if self.entry(name).await?.is_none() {
            return Err(SmbError::NotFound);
        }
        if self.0.shared.append_only {
            self.say(Event::Kept { name: name.clone() });
            return Err(SmbError::AccessDenied);
        }
        let store = Arc::clone(&self.0.shared.store);
        let policy = self.policy();
        in_time(policy.retry(|| store.delete(name))).await?;
        self.forget_list();
        self.say(Event::Deleted { name: name.clone() });
        Ok(())
    }

    async fn rename(&self, _from: &SmbPath, _to: &SmbPath, _replace: bool) -> SmbResult<()> {
        Err(SmbError::AccessDenied)
    }

    fn capabilities(&self) -> BackendCapabilities {
        let mut capabilities = BackendCapabilities::default();
        capabilities.case_sensitive = true;
        capabilities
    }

    async fn volume_info(&self) -> SmbResult<VolumeInfo> {
        let known = *self.0.space.lock().unwrap_or_else(PoisonError::into_inner);
        let free = match known {
            Some((when, free)) if when.elapsed() < FRESH => free,
            _ => {
                let store = Arc::clone(&self.0.shared.store);
                // A client asks this to see whether the folder is alive; a destination that is away takes nothing with
                // it.
                let free = tokio::time::timeout(OLD_WILL_DO, store.space()).await.ok().and_then(Result::ok).flatten();
                *self.0.space.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), free));
                free
            }
        };
        let mut volume = VolumeInfo::default();
        if let Some(free) = free {
            let held = self.known().map_or(0, |(_, entries)| entries.iter().map(|entry| entry.size).sum());
            volume.caller_available_allocation_units = free / UNIT;
            volume.actual_available_allocation_units = free / UNIT;
            volume.total_allocation_units = (free + held) / UNIT;
        }
        Ok(volume)
    }
}

fn file(name: &str, size: u64, modified: Option<std::time::SystemTime>) -> FileInfo {
    let mut info = FileInfo::new(name);
    (info.end_of_file, info.allocation_size) = (size, size);
    let time = FileTimes::all(modified.unwrap_or(std::time::UNIX_EPOCH)).change_time.unwrap_or(0);
    (info.creation_time, info.last_access_time) = (time, time);
    (info.last_write_time, info.change_time) = (time, time);
    info.file_index = names::number(name);
    info
}

/// The folder itself.
struct Listing(Folder);

#[async_trait]
impl Handle for Listing {
    async fn read(&self, _offset: u64, _length: u32) -> SmbResult<Bytes> {
        Err(SmbError::IsDirectory)
    }

    async fn write(&self, _offset: u64, _data: &[u8]) -> SmbResult<u32> {
        Err(SmbError::IsDirectory)
    }

    async fn flush(&self) -> SmbResult<()> {
        Ok(())
    }

    async fn stat(&self) -> SmbResult<FileInfo> {
        let mut info = FileInfo::new(String::new());
        info.is_directory = true;
        info.file_index = names::number("");
        Ok(info)
    }

    async fn set_times(&self, _times: FileTimes) -> SmbResult<()> {
        Ok(())
    }

    async fn set_attributes(&self, _attributes: u32) -> SmbResult<()> {
        Err(SmbError::NotSupported)
    }

    async fn truncate(&self, _length: u64) -> SmbResult<()> {
        Err(SmbError::IsDirectory)
    }

    async fn list_dir(&self, pattern: Option<&str>) -> SmbResult<Vec<DirEntry>> {
        let entries = self.0.entries().await?;
        let uploads = self.0.0.uploads.lock().unwrap_or_else(PoisonError::into_inner);
        let growing = uploads.iter().map(|(name, upload)| file(name, upload.length(), None));
        let stored = entries.iter().filter(|entry| !uploads.contains_key(&entry.name));
        let all = stored.map(|entry| file(&entry.name, entry.size, entry.modified)).chain(growing);
        let wanted = |info: &FileInfo| pattern.is_none_or(|pattern| names::matches(pattern, &info.name));
        Ok(all.filter(wanted).map(|info| DirEntry { info }).collect())
    }

    async fn close(self: Box<Self>) -> SmbResult<()> {
        Ok(())
    }
}

/// An archive at the destination.
struct Stored {
    folder: Folder,
    entry: Entry,
    block: tokio::sync::Mutex<(u64, Bytes)>,
}

#[async_trait]
impl Handle for Stored {
    async fn read(&self, offset: u64, length: u32) -> SmbResult<Bytes> {
        let end = offset.saturating_add(u64::from(length)).min(self.entry.size);
        if offset >= end {
            return Ok(Bytes::new());
        }
        let mut block = self.block.lock().await;
        let inside = |(begins, bytes): &(u64, Bytes)| *begins <= offset && offset < begins + bytes.len() as u64;
        if !inside(&block) {
            let begins = offset / BLOCK * BLOCK;
            let range = begins..(begins + BLOCK).min(self.entry.size);
            let store = Arc::clone(&self.folder.0.shared.store);
            let policy = self.folder.policy();
            *block = (begins, in_time(policy.retry(|| store.read(&self.entry.name, range.clone()))).await?);
        }
        let (begins, bytes) = &*block;
        let from = (offset - begins) as usize;
        let to = ((end - begins) as usize).min(bytes.len());
        Ok(bytes.slice(from.min(to)..to))
    }

    async fn write(&self, _offset: u64, _data: &[u8]) -> SmbResult<u32> {
        Err(SmbError::AccessDenied)
    }

    async fn flush(&self) -> SmbResult<()> {
        Ok(())
    }

    async fn stat(&self) -> SmbResult<FileInfo> {
        Ok(file(&self.entry.name, self.entry.size, self.entry.modified))
    }

    async fn set_times(&self, _times: FileTimes) -> SmbResult<()> {
        Ok(())
    }

    async fn set_attributes(&self, _attributes: u32) -> SmbResult<()> {
        Err(SmbError::NotSupported)
    }

    async fn truncate(&self, _length: u64) -> SmbResult<()> {
        Err(SmbError::AccessDenied)
    }

    async fn list_dir(&self, _pattern: Option<&str>) -> SmbResult<Vec<DirEntry>> {
        Err(SmbError::NotADirectory)
    }

    async fn close(self: Box<Self>) -> SmbResult<()> {
        Ok(())
    }
}

/// An archive on its way.
struct Growing {
    folder: Folder,
    name: String,
    upload: Arc<Upload>,
    writes: bool,
}

#[async_trait]
impl Handle for Growing {
    async fn read(&self, _offset: u64, _length: u32) -> SmbResult<Bytes> {
        // What has left is not here any more.
        Err(SmbError::Sharing)
    }

    async fn write(&self, offset: u64, data: &[u8]) -> SmbResult<u32> {
        self.write_owned(offset, data.to_vec()).await
    }

    async fn write_owned(&self, offset: u64, data: Vec<u8>) -> SmbResult<u32> {
        if !self.writes {
            return Err(SmbError::AccessDenied);
        }
        let count = u32::try_from(data.len()).map_err(|_| SmbError::NotSupported)?;
        match self.upload.write(offset, data.into(), self.folder.0.shared.memory).await {
            Ok(()) => Ok(count),
            Err(Failed::NoRoom) => Err(SmbError::DiskFull),
            Err(Failed::Refused) => Err(SmbError::AccessDenied),
        }
    }

    async fn flush(&self) -> SmbResult<()> {
        Ok(())
    }

    async fn stat(&self) -> SmbResult<FileInfo> {
        Ok(file(&self.name, self.upload.length(), None))
    }

    async fn set_times(&self, _times: FileTimes) -> SmbResult<()> {
        Ok(())
    }

    async fn set_attributes(&self, _attributes: u32) -> SmbResult<()> {
        Ok(())
    }

    async fn truncate(&self, length: u64) -> SmbResult<()> {
        // Some programs say in advance how long it will be.
        if length >= self.upload.length() { Ok(()) } else { Err(SmbError::AccessDenied) }
    }

    async fn list_dir(&self, _pattern: Option<&str>) -> SmbResult<Vec<DirEntry>> {
        Err(SmbError::NotADirectory)
    }

    async fn close(self: Box<Self>) -> SmbResult<()> {
        if !self.upload.closed() {
            return Ok(());
        }
        let complete = self.folder.left(self.name.clone(), Arc::clone(&self.upload)).await;
        match self.upload.outcome() {
            Some(Err(why)) => Err(away(why)),
            None if !complete => Err(away("the archive is not complete")),
            _ => Ok(()),
        }
    }
}
