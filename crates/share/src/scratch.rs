//! Directories for what a client unpacks while it restores: Supervisor makes one beside the archives, writes every member
//! of an archive there, reads it back, and removes it.
//!
//! They are in memory only. What is written there has just been read from an archive, so a file keeps where it is, and
//! not the bytes.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use smb_server::{DirEntry, FileInfo, FileTimes, Handle, OpenAction, OpenIntent, OpenOptions, SmbError, SmbResult};
use store::Entry;

use crate::{
    Event,
    extents::{Extents, Origin},
    names,
    place::{Place, away},
    reading::Reading,
};

/// Bytes of all such files that are in no archive.
const MEMORY: usize = 16 << 20;
/// Directories of one folder.
const DIRECTORIES: usize = 16;
/// Files of one directory; Supervisor's has one for each app and a few more.
const FILES: usize = 1024;
/// A read is answered within this time. Requests of a connection are answered one after the other, and Linux gives up
/// one on which nothing was answered for 30 s.
const PATIENCE: Duration = Duration::from_secs(24);
/// After this pause it is asked again.
const AGAIN: Duration = Duration::from_millis(500);
/// A directory that nobody has used for so long was left behind.
const LEFT: Duration = Duration::from_hours(6);

/// What `Event::Failed` says.
const NOT_AN_ARCHIVES: &str = "it is in no archive of this folder, and nothing else of more than 16 MiB can be put \
    into a directory there; upload the file to Home Assistant itself, or copy it with `haul push`";

/// Memory that all folders share.
#[derive(Default)]
pub(crate) struct Budget(AtomicUsize);

impl Budget {
    fn take(&self, count: usize) -> bool {
        let more = |used: usize| used.checked_add(count).filter(|used| *used <= MEMORY);
        self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, more).is_ok()
    }

    fn give(&self, count: usize) {
        self.0.fetch_sub(count, Ordering::AcqRel);
    }
}

/// The directories of one folder.
pub(crate) struct Scratch {
    place: Arc<Place>,
    budget: Arc<Budget>,
    say: Arc<dyn Fn(Event) + Send + Sync>,
    directories: Mutex<BTreeMap<String, Arc<Directory>>>,
}

struct Directory {
    name: String,
    files: Mutex<BTreeMap<String, Arc<Content>>>,
    used: Mutex<Instant>,
    times: Mutex<FileTimes>,
}

impl Directory {
    fn use_it(&self) {
        *lock(&self.used) = Instant::now();
    }
}

/// A file in a directory of these.
pub(crate) struct Content {
    /// Of its directory, and its own.
    path: String,
    extents: tokio::sync::Mutex<Extents>,
    length: AtomicU64,
    weight: AtomicUsize,
    times: Mutex<FileTimes>,
    is_refused: AtomicBool,
    budget: Arc<Budget>,
}

impl Drop for Content {
    fn drop(&mut self) {
        self.budget.give(self.weight.load(Ordering::Acquire));
    }
}

impl Content {
    fn new(path: String, budget: &Arc<Budget>) -> Self {
        Self {
            path,
            extents: tokio::sync::Mutex::default(),
            length: 0.into(),
            weight: 0.into(),
            times: Mutex::new(FileTimes::all(SystemTime::now())),
            is_refused: false.into(),
            budget: Arc::clone(budget),
        }
    }

    /// Its bytes so far.
    pub(crate) fn length(&self) -> u64 {
        self.length.load(Ordering::Acquire)
    }

    /// What has changed takes so much memory, of which so much was taken in advance.
    fn settle(&self, extents: &Extents, taken: usize) {
        self.length.store(extents.length(), Ordering::Release);
        let before = self.weight.swap(extents.weight(), Ordering::AcqRel);
        self.budget.give(before + taken - extents.weight());
    }

    async fn truncate(&self, length: u64) -> SmbResult<()> {
        let mut extents = self.extents.lock().await;
        // What is cut in two is the same extent.
        extents.truncate(length);
        self.settle(&extents, 0);
        Ok(())
    }

    /// Its bytes from an offset on, less of them only at its end. Whoever reads it has perhaps removed already what it
    /// replaces, so a destination that is away for a moment is asked again, as long as the client waits.
    pub(crate) async fn read(&self, reading: &Reading, offset: u64, length: u64) -> SmbResult<Bytes> {
        let until = Instant::now() + PATIENCE;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let read = tokio::time::timeout(left, self.read_once(reading, offset, length)).await;
            match read {
                Ok(Err(SmbError::Io(_))) if left > AGAIN => tokio::time::sleep(AGAIN).await,
                Ok(read) => return read,
                Err(_) => return Err(away("the destination did not answer in time")),
            }
        }
    }

    async fn read_once(&self, reading: &Reading, offset: u64, length: u64) -> SmbResult<Bytes> {
        let mut parts = Vec::new();
        {
            let extents = self.extents.lock().await;
            let (mut at, end) = (offset, offset.saturating_add(length).min(extents.length()));
            while at < end {
                let (count, origin) = extents.at(at);
                parts.push((count.min(end - at), origin));
                at += count;
            }
        }
        let mut whole = BytesMut::new();
        let only = parts.len() == 1;
        for (count, origin) in parts {
            let bytes = match origin {
                Some(Origin::Archive(archive, from)) => reading.read(&archive, from, count).await?,
                Some(Origin::Memory(bytes)) => bytes.slice(..count as usize),
                None => Bytes::from(vec![0; count as usize]),
            };
            if only {
                return Ok(bytes);
            }
            whole.extend_from_slice(&bytes);
        }
        Ok(whole.freeze())
    }

    fn info(&self, name: &str) -> FileInfo {
        let mut info = FileInfo::new(name);
        (info.end_of_file, info.allocation_size) = (self.length(), self.length());
        show(&mut info, *lock(&self.times));
        info.file_index = names::number(&self.path);
        info
    }
}

fn show(info: &mut FileInfo, times: FileTimes) {
    let time = |time: Option<u64>| time.unwrap_or_default();
    (info.creation_time, info.last_access_time) = (time(times.creation_time), time(times.last_access_time));
    (info.last_write_time, info.change_time) = (time(times.last_write_time), time(times.change_time));
}

fn set(times: &Mutex<FileTimes>, new: FileTimes) {
    let mut times = lock(times);
    times.creation_time = new.creation_time.or(times.creation_time);
    times.last_access_time = new.last_access_time.or(times.last_access_time);
    times.last_write_time = new.last_write_time.or(times.last_write_time);
    times.change_time = new.change_time.or(times.change_time);
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Scratch {
    pub(crate) fn new(place: &Arc<Place>, budget: &Arc<Budget>, say: &Arc<dyn Fn(Event) + Send + Sync>) -> Arc<Self> {
        Arc::new(Self {
            place: Arc::clone(place),
            budget: Arc::clone(budget),
            say: Arc::clone(say),
            directories: Mutex::default(),
        })
    }

    /// Forgets what was left behind.
    pub(crate) fn tidy(&self) {
        lock(&self.directories).retain(|_, directory| lock(&directory.used).elapsed() < LEFT);
    }

    /// How long ago one of them was used, if there is any.
    pub(crate) fn last_used(&self) -> Option<Duration> {
        self.tidy();
        lock(&self.directories).values().map(|directory| lock(&directory.used).elapsed()).min()
    }

    /// Forgets everything.
    pub(crate) fn clear(&self) {
        lock(&self.directories).clear();
    }

    fn directory(&self, name: &str) -> Option<Arc<Directory>> {
        let directory = lock(&self.directories).get(name).cloned()?;
        directory.use_it();
        Some(directory)
    }

    /// A file in one.
    pub(crate) fn file(&self, directory: &str, name: &str) -> Option<Arc<Content>> {
        lock(&self.directory(directory)?.files).get(name).cloned()
    }

    /// The directories.
    pub(crate) fn list(&self) -> Vec<FileInfo> {
        lock(&self.directories).values().map(|directory| info_of(directory)).collect()
    }

    /// Opens or makes a directory.
    pub(crate) fn open_directory(
        self: &Arc<Self>,
        name: &str,
        options: OpenOptions,
    ) -> SmbResult<(Box<dyn Handle>, OpenAction)> {
        self.tidy();
        let mut directories = lock(&self.directories);
        let (directory, action) = match directories.get(name) {
            Some(_) if options.non_directory => return Err(SmbError::IsDirectory),
            Some(_) if options.intent == OpenIntent::Create => return Err(SmbError::Exists),
            Some(directory) => (Arc::clone(directory), OpenAction::Opened),
            None if matches!(options.intent, OpenIntent::Open | OpenIntent::Truncate) => {
                return Err(SmbError::NotFound);
            }
            None if !options.directory => return Err(SmbError::NameInvalid),
            None if directories.len() >= DIRECTORIES => return Err(SmbError::DiskFull),
            None => {
                let directory = Arc::new(Directory {
                    name: name.to_owned(),
                    files: Mutex::default(),
                    used: Mutex::new(Instant::now()),
                    times: Mutex::new(FileTimes::all(SystemTime::now())),
                });
                directories.insert(name.to_owned(), Arc::clone(&directory));
                (directory, OpenAction::Created)
            }
        };
        directory.use_it();
        Ok((Box::new(OpenDirectory(directory)), action))
    }

    /// Opens or makes a file in a directory.
    pub(crate) async fn open_file(
        self: &Arc<Self>,
        directory: &str,
        name: &str,
        options: OpenOptions,
    ) -> SmbResult<(Box<dyn Handle>, OpenAction)> {
        let directory = self.directory(directory).ok_or(SmbError::PathNotFound)?;
        let (content, action) = {
            let mut files = lock(&directory.files);
            match files.get(name) {
                Some(_) if options.directory => return Err(SmbError::NotADirectory),
                Some(_) if options.intent == OpenIntent::Create => return Err(SmbError::Exists),
                Some(content) if matches!(options.intent, OpenIntent::Truncate | OpenIntent::OverwriteOrCreate) => {
                    (Arc::clone(content), OpenAction::Overwritten)
                }
                Some(content) => (Arc::clone(content), OpenAction::Opened),
                None if matches!(options.intent, OpenIntent::Open | OpenIntent::Truncate) => {
                    return Err(SmbError::NotFound);
                }
                None if options.directory => return Err(SmbError::AccessDenied),
                None if files.len() >= FILES => return Err(SmbError::DiskFull),
                None => {
                    let content = Arc::new(Content::new(format!("{}/{name}", directory.name), &self.budget));
                    files.insert(name.to_owned(), Arc::clone(&content));
                    (content, OpenAction::Created)
                }
            }
        };
        if action == OpenAction::Overwritten {
            content.truncate(0).await?;
        }
        let reading = Reading::new(&self.place);
        let open = OpenFile { scratch: Arc::clone(self), directory, name: name.to_owned(), content, reading };
        Ok((Box::new(open), action))
    }

    /// Removes a directory that is empty.
    pub(crate) fn remove_directory(&self, name: &str) -> SmbResult<()> {
        let mut directories = lock(&self.directories);
        let directory = directories.get(name).ok_or(SmbError::NotFound)?;
        if !lock(&directory.files).is_empty() {
            return Err(SmbError::NotEmpty);
        }
        directories.remove(name);
        Ok(())
    }

    /// Removes a file.
    pub(crate) fn remove_file(&self, directory: &str, name: &str) -> SmbResult<()> {
        let directory = self.directory(directory).ok_or(SmbError::PathNotFound)?;
        lock(&directory.files).remove(name).map(drop).ok_or(SmbError::NotFound)
    }

    async fn write(&self, content: &Content, offset: u64, data: &Bytes) -> SmbResult<()> {
        if content.is_refused.load(Ordering::Acquire) {
            return Err(SmbError::DiskFull);
        }
        if offset.checked_add(data.len() as u64).is_none() {
            return Err(SmbError::DiskFull);
        }
        let mut extents = content.extents.lock().await;
        let mut expected = extents.continuation(offset).map(|(archive, at)| (Arc::clone(archive), at));
        let (mut origins, mut done) = (Vec::new(), 0);
        while done < data.len() {
            let rest = data.slice(done..);
            let found = self.origin(expected.take(), offset + done as u64, &rest).await?;
            if let Some((archive, at, count)) = found {
                expected = Some((Arc::clone(&archive), at + count as u64));
                origins.push((count as u64, Origin::Archive(archive, at)));
                done += count;
            } else {
                // A slice would keep all of it.
                let own = if done == 0 { rest } else { Bytes::copy_from_slice(&rest) };
                origins.push((own.len() as u64, Origin::Memory(own)));
                done = data.len();
            }
        }
        let most = Extents::weight_of(&origins);
        if !self.budget.take(most) {
            drop(extents);
            self.refuse(content);
            return Err(SmbError::DiskFull);
        }
        let mut at = offset;
        for (length, origin) in origins {
            extents.write(at, length, origin);
            at += length;
        }
        content.settle(&extents, most);
        Ok(())
    }

    /// Where bytes are that are written at an offset of a file, and how many of them.
    async fn origin(
        &self,
        expected: Option<(Arc<Entry>, u64)>,
        offset: u64,
        data: &[u8],
    ) -> SmbResult<Option<(Arc<Entry>, u64, usize)>> {
        let likely = expected.as_ref().map(|(archive, at)| (archive, *at));
        let found = self.place.recent().find(likely, offset, data);
        if found.is_some() {
            return Ok(found);
        }
        // Others may have read so much in between that nobody remembers it.
        let Some((archive, at)) = expected.filter(|(archive, at)| *at < archive.size) else { return Ok(None) };
        let there = self.place.read(&archive, at..archive.size.min(at + data.len() as u64), false).await?;
        let same = there.iter().zip(data).take_while(|(one, other)| one == other).count();
        Ok((same > 0).then_some((archive, at, same)))
    }

    fn refuse(&self, content: &Content) {
        if !content.is_refused.swap(true, Ordering::AcqRel) {
            (self.say)(Event::Failed { name: content.path.clone(), reason: NOT_AN_ARCHIVES.to_owned() });
        }
    }
}

fn info_of(directory: &Directory) -> FileInfo {
    let mut info = FileInfo::new(directory.name.clone());
    info.is_directory = true;
    show(&mut info, *lock(&directory.times));
    info.file_index = names::number(&directory.name);
    info
}

/// An open directory.
struct OpenDirectory(Arc<Directory>);

#[async_trait]
impl Handle for OpenDirectory {
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
        Ok(info_of(&self.0))
    }

    async fn set_times(&self, times: FileTimes) -> SmbResult<()> {
        set(&self.0.times, times);
        Ok(())
    }

    async fn set_attributes(&self, _attributes: u32) -> SmbResult<()> {
        Ok(())
    }

    async fn truncate(&self, _length: u64) -> SmbResult<()> {
        Err(SmbError::IsDirectory)
    }

    async fn list_dir(&self, pattern: Option<&str>) -> SmbResult<Vec<DirEntry>> {
        let files = lock(&self.0.files);
        let wanted = files.iter().filter(|(name, _)| pattern.is_none_or(|pattern| names::matches(pattern, name)));
        Ok(wanted.map(|(name, content)| DirEntry { info: content.info(name) }).collect())
    }

    async fn close(self: Box<Self>) -> SmbResult<()> {
        Ok(())
    }
}

/// An open file.
struct OpenFile {
    scratch: Arc<Scratch>,
    directory: Arc<Directory>,
    name: String,
    content: Arc<Content>,
    reading: Reading,
}

#[async_trait]
impl Handle for OpenFile {
    async fn read(&self, offset: u64, length: u32) -> SmbResult<Bytes> {
        self.directory.use_it();
        self.content.read(&self.reading, offset, length.into()).await
    }

    async fn write(&self, offset: u64, data: &[u8]) -> SmbResult<u32> {
        self.write_owned(offset, data.to_vec()).await
    }

    async fn write_owned(&self, offset: u64, data: Vec<u8>) -> SmbResult<u32> {
        self.directory.use_it();
        let count = u32::try_from(data.len()).map_err(|_| SmbError::NotSupported)?;
        self.scratch.write(&self.content, offset, &data.into()).await?;
        Ok(count)
    }

    async fn flush(&self) -> SmbResult<()> {
        Ok(())
    }

    async fn stat(&self) -> SmbResult<FileInfo> {
        Ok(self.content.info(&self.name))
    }

    async fn set_times(&self, times: FileTimes) -> SmbResult<()> {
        set(&self.content.times, times);
        Ok(())
    }

    async fn set_attributes(&self, _attributes: u32) -> SmbResult<()> {
        Ok(())
    }

    async fn truncate(&self, length: u64) -> SmbResult<()> {
        self.content.truncate(length).await
    }

    async fn list_dir(&self, _pattern: Option<&str>) -> SmbResult<Vec<DirEntry>> {
        Err(SmbError::NotADirectory)
    }

    async fn close(self: Box<Self>) -> SmbResult<()> {
        Ok(())
    }
}
