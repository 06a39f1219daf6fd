//! What the rules work with: names and bytes, whole uploads in one step, and the cleanup afterwards.

use std::{
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use md5::{Digest, Md5};
use serde::Serialize;

use crate::{
    error::{Kind, StoreError},
    owner,
    parts::{Activity, Part, Segments},
    store::{Abilities, Completed, Entry, Expected, Placement, Sink, Store, Upload},
};

/// Begins the name of everything that a check makes.
const PREFIX: &str = "haul-check-";
/// The beginning of the name that imitates an upload of another machine.
const OF_ANOTHER_MACHINE: &str = ".haul-00000000-00000000-1-1-";
/// The part size if a destination has no preference.
const PART: u64 = 64 << 10;
/// How much one call reads.
const STEP: u64 = 4 << 20;

/// Whether a check gives such names.
pub fn is_of_check(name: &str) -> bool {
    name.starts_with(PREFIX) || name.starts_with(OF_ANOTHER_MACHINE)
}

/// Why a rule could not be tried at a destination that lists nothing during an upload.
pub const BUSY: &str = "it can't be listed while something is being sent there";

/// Why a rule was not kept.
pub(super) enum Fault {
    Broken(String),
    NotApplicable(&'static str),
}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Self {
        Self::Broken(error.to_string())
    }
}

pub(super) fn broken<T>(reason: impl Into<String>) -> Result<T, Fault> {
    Err(Fault::Broken(reason.into()))
}

/// The step must fail, in one of these ways.
pub(super) fn refused<T>(
    step: &str,
    result: Result<T, StoreError>,
    as_it_should: impl Fn(Kind) -> bool,
) -> Result<(), Fault> {
    match result {
        Ok(_) => broken(format!("{step} succeeded")),
        Err(error) if error.kind().is_some_and(&as_it_should) => Ok(()),
        Err(error) => broken(format!("{step} was refused for the wrong reason: {error}")),
    }
}

/// An upload that the bench will clear away.
pub(super) struct Started {
    pub(super) upload: Box<dyn Upload>,
    ended: AtomicBool,
}

impl Started {
    /// Nothing is left to clear away but the object itself.
    pub(super) fn end(&self) {
        self.ended.store(true, Ordering::Relaxed);
    }
}

/// How patiently to try a destination.
#[derive(Clone, Copy, Debug)]
pub struct ContractOptions {
    /// How long a destination may take to show a change before that counts as wrong.
    pub settle: Duration,
    /// How long one rule may take.
    pub longest: Duration,
}

impl Default for ContractOptions {
    fn default() -> Self {
        Self { settle: Duration::from_secs(5), longest: Duration::from_mins(5) }
    }
}

/// How fast a destination is.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Measured {
    /// Bytes that were sent.
    pub bytes: u64,
    /// From the start of the upload until it was complete and compared.
    pub upload_seconds: f64,
    /// The time to read it all back; `None` at a destination that can't be read.
    pub download_seconds: Option<f64>,
}

/// One destination under test.
pub(super) struct Bench<'a> {
    sink: &'a dyn Sink,
    store: Option<&'a dyn Store>,
    pub(super) abilities: Abilities,
    pub(super) options: ContractOptions,
    prefix: String,
    names: Mutex<Vec<String>>,
    uploads: Mutex<Vec<Arc<Started>>>,
    // The one archive at a destination where nothing may be deleted.
    kept: OnceLock<(String, Bytes)>,
}

impl<'a> Bench<'a> {
    pub(super) fn new(sink: &'a dyn Sink, store: Option<&'a dyn Store>, options: ContractOptions) -> Self {
        let mut random = [0; 8];
        let _ = getrandom::fill(&mut random);
        let prefix = format!("{PREFIX}{:016x}", u64::from_le_bytes(random));
        Self {
            sink,
            store,
            abilities: sink.abilities(),
            options,
            prefix,
            names: Mutex::default(),
            uploads: Mutex::default(),
            kept: OnceLock::new(),
        }
    }

    /// A name of our own, which will be deleted at the end.
    pub(super) fn name(&self, what: &str) -> String {
        let name = format!("{}-{what}.tar", self.prefix);
        self.names.lock().unwrap_or_else(PoisonError::into_inner).push(name.clone());
        name
    }

    /// A name under which another machine might have something under way right now.
    pub(super) fn name_of_another_machine(&self) -> String {
        let random = &self.prefix[self.prefix.len() - 8..];
        let name = format!("{OF_ANOTHER_MACHINE}{random}.part");
        self.names.lock().unwrap_or_else(PoisonError::into_inner).push(name.clone());
        name
    }

    /// Rules about existing objects don't apply to a destination that can't be listed.
    pub(super) fn store(&self) -> Result<&'a dyn Store, Fault> {
        self.store.ok_or(Fault::NotApplicable("the destination can't be read"))
    }

    /// Deletes an archive, and so learns whether that is allowed here. Where it is not, this one stays, and the other
    /// rules look at it instead of leaving more.
    pub(super) async fn delete_or_keep(&self, name: String, bytes: Bytes) {
        if let Some(store) = self.store
            && store.delete(&name).await.is_err_and(|error| error.kind() == Some(Kind::Permission))
        {
            let _ = self.kept.set((name, bytes));
        }
    }

    /// The archive that stays.
    pub(super) fn stays(&self) -> Option<String> {
        self.kept.get().map(|(name, _)| name.clone())
    }

    /// What would leave another archive is not tried where none may be deleted.
    pub(super) fn needs_deleting(&self) -> Result<(), Fault> {
        if self.kept.get().is_none() {
            Ok(())
        } else {
            Err(Fault::NotApplicable("it would leave something that this account may not delete"))
        }
    }

    /// A finished archive of so many parts; at a destination where nothing may be deleted, the one that is already
    /// there.
    pub(super) async fn finished(&self, what: &str, parts: u64, seed: u64) -> Result<(String, Bytes), StoreError> {
        if let Some(kept) = self.kept.get() {
            return Ok(kept.clone());
        }
        let (name, bytes) = (self.name(what), self.bytes(parts, seed));
        self.upload(&name, &bytes).await?;
        Ok((name, bytes))
    }

    /// The size of every part but the last.
    pub(super) fn part_size(&self) -> u64 {
        let smallest = match self.abilities.placement {
            // Enough to try stretches of it, also where the smallest part is next to nothing.
            Placement::Parts(rules) => rules.smallest.max(64 << 10).min(rules.largest),
            _ => PART,
        };
        smallest.next_multiple_of(self.abilities.multiple.max(1))
    }

    /// Bytes for so many parts, the last one shorter than the others; different for each `seed`.
    pub(super) fn bytes(&self, parts: u64, seed: u64) -> Bytes {
        let last = (self.part_size() / 2 + 17).min(PART);
        scrambled((parts - 1) * self.part_size() + last, seed)
    }

    pub(super) fn expected(&self, bytes: &Bytes, resumable: bool) -> Expected {
        let length = bytes.len() as u64;
        Expected {
            about: Some(length),
            least: Some(length),
            exact: self.abilities.needs_length.then_some(length),
            resumable,
        }
    }

    /// The parts in order. Only the last one knows their total, unless the destination knew it in advance.
    pub(super) fn parts(&self, bytes: &Bytes) -> Vec<Part> {
        cut(bytes, self.part_size(), self.abilities.needs_length)
    }

    pub(super) fn completed(&self, bytes: &Bytes, parts: usize) -> Completed {
        let md5 = self.abilities.md5.then(|| Md5::digest(bytes).into());
        Completed { length: bytes.len() as u64, parts: parts as u32, md5 }
    }

    pub(super) async fn start(&self, name: &str, bytes: &Bytes) -> Result<Arc<Started>, StoreError> {
        self.start_as(name, self.expected(bytes, false)).await
    }

    pub(super) async fn start_as(&self, name: &str, expected: Expected) -> Result<Arc<Started>, StoreError> {
        Ok(self.keep(self.sink.create(name, expected).await?))
    }

    /// Makes sure that an upload is given up at the end.
    pub(super) fn keep(&self, upload: Box<dyn Upload>) -> Arc<Started> {
        let started = Arc::new(Started { upload, ended: AtomicBool::new(false) });
        self.uploads.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&started));
        started
    }

    /// Lets go of an upload without a word, as a process does that dies.
    pub(super) fn forget(&self, started: Arc<Started>) {
        self.uploads.lock().unwrap_or_else(PoisonError::into_inner).retain(|kept| !Arc::ptr_eq(kept, &started));
        drop(started);
    }

    pub(super) async fn put_all(&self, started: &Started, bytes: &Bytes) -> Result<(), StoreError> {
        for part in self.parts(bytes) {
            started.upload.put(&part).await?;
        }
        Ok(())
    }

    pub(super) async fn commit(&self, started: &Started, bytes: &Bytes) -> Result<(), StoreError> {
        started.upload.commit(&self.completed(bytes, self.parts(bytes).len())).await?;
        started.end();
        Ok(())
    }

    /// A whole object in one step.
    pub(super) async fn upload(&self, name: &str, bytes: &Bytes) -> Result<(), StoreError> {
        let started = self.start(name, bytes).await?;
        self.put_all(&started, bytes).await?;
        self.commit(&started, bytes).await
    }

    /// Size and bytes under `name` are, or soon become, these.
    pub(super) async fn holds(&self, name: &str, bytes: &Bytes) -> Result<(), Fault> {
        self.becomes(|| self.holds_now(name, bytes)).await
    }

    async fn holds_now(&self, name: &str, bytes: &Bytes) -> Result<(), Fault> {
        let Some(entry) = self.store()?.entry(name).await? else { return broken(format!("{name} is not there")) };
        if entry.size != bytes.len() as u64 {
            return broken(format!("{name} has {} bytes instead of {}", entry.size, bytes.len()));
        }
        if entry.name != name {
            return broken(format!("{name} is listed as {}", entry.name));
        }
        let found = self.read_all(self.store()?, name, entry.size).await?;
        match found.iter().zip(bytes).position(|(found, sent)| found != sent) {
            Some(at) => broken(format!("{name} differs from what was sent at byte {at}")),
            None if found.len() == bytes.len() => Ok(()),
            None => broken(format!("read {} bytes of {name} instead of {}", found.len(), bytes.len())),
        }
    }

    async fn read_all(&self, store: &dyn Store, name: &str, size: u64) -> Result<Vec<u8>, StoreError> {
        let mut found = Vec::with_capacity(size as usize);
        let mut at = 0;
        while at < size {
            let end = size.min(at + STEP);
            found.extend_from_slice(&store.read(name, at..end).await?);
            at = end;
        }
        Ok(found)
    }

    /// Nothing is, or soon will be, there under `name`, neither directly nor in the list.
    pub(super) async fn lacks(&self, name: &str) -> Result<(), Fault> {
        self.becomes(|| async {
            match self.store()?.entry(name).await? {
                Some(_) => broken(format!("{name} is there")),
                None => Ok(()),
            }
        })
        .await?;
        self.list_becomes(|list| if shown(list, name) { Some(format!("the list shows {name}")) } else { None }).await
    }

    /// It is, or soon becomes, as it should be: a destination may take a moment to show a change.
    pub(super) async fn becomes<F: Future<Output = Result<(), Fault>>>(
        &self,
        look: impl Fn() -> F,
    ) -> Result<(), Fault> {
        let until = Instant::now() + self.options.settle;
        loop {
            match look().await {
                Err(Fault::Broken(_)) if Instant::now() < until => tokio::time::sleep(self.options.settle / 10).await,
                result => return result,
            }
        }
    }

    /// The list is, or soon becomes, one without the complaint.
    pub(super) async fn list_becomes(&self, complaint: impl Fn(&[Entry]) -> Option<String>) -> Result<(), Fault> {
        let complaint = &complaint;
        let looked =
            self.becomes(|| async move { complaint(&self.store()?.list().await?).map_or(Ok(()), broken) }).await;
        if looked.is_err() { self.unless_busy(self.store()?.list().await.err()).and(looked) } else { looked }
    }

    /// Some servers can't show what is there while something is being sent there. Nothing is taken for missing then, so
    /// no rule is broken.
    pub(super) fn unless_busy(&self, failure: Option<StoreError>) -> Result<(), Fault> {
        let is_sending = || {
            self.uploads
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .iter()
                .any(|started| !started.ended.load(Ordering::Relaxed))
        };
        match failure {
            Some(error) if error.is_transient() && is_sending() => Err(Fault::NotApplicable(BUSY)),
            _ => Ok(()),
        }
    }

    /// Clears away what killed runs left.
    pub(super) async fn remove_abandoned(&self) -> Result<(), Fault> {
        match self.store()?.remove_abandoned().await {
            Ok(_) => Ok(()),
            Err(error) => {
                let broken = Fault::Broken(error.to_string());
                self.unless_busy(Some(error)).and(Err(broken))
            }
        }
    }

    /// A name in the list that belongs to an unfinished object of ours, other than `finished`.
    pub(super) fn unfinished(&self, list: &[Entry], finished: &[&str]) -> Option<String> {
        let ours = |entry: &&Entry| entry.name.contains(&self.prefix) && !finished.contains(&entry.name.as_str());
        list.iter().find(|entry| owner::is_temporary(&entry.name) || ours(entry)).map(|entry| entry.name.clone())
    }

    /// Aborts every upload and deletes every name. The next cleanup removes what can't be removed now.
    pub(super) async fn clean_up(&self) {
        let uploads = std::mem::take(&mut *self.uploads.lock().unwrap_or_else(PoisonError::into_inner));
        for started in uploads {
            if !started.ended.load(Ordering::Relaxed) {
                let _ = tokio::time::timeout(self.options.longest, started.upload.abort()).await;
            }
        }
        let names = std::mem::take(&mut *self.names.lock().unwrap_or_else(PoisonError::into_inner));
        if let Some(store) = self.store
            && self.kept.get().is_none()
        {
            for name in names {
                let _ = tokio::time::timeout(self.options.longest, store.delete(&name)).await;
            }
        }
    }

    pub(super) async fn measure(&self, bytes: u64) -> Result<Measured, StoreError> {
        let name = self.name("speed");
        let bytes = scrambled(bytes.max(1), 1);
        let size = self.abilities.preferred.max(self.part_size()).next_multiple_of(self.abilities.multiple.max(1));
        let parts = cut(&bytes, size, self.abilities.needs_length);
        let completed = self.completed(&bytes, parts.len());
        let at_once =
            if matches!(self.abilities.placement, Placement::Parts(_)) { self.abilities.concurrency.max(1) } else { 1 };

        let clock = Instant::now();
        let started = self.start(&name, &bytes).await?;
        // Boxed: whether a stream of such borrows may cross threads is beyond the compiler otherwise.
        let puts = parts.iter().map(|part| started.upload.put(part)).collect::<Vec<_>>();
        stream::iter(puts).buffer_unordered(at_once).try_collect::<()>().await?;
        started.upload.commit(&completed).await?;
        started.end();
        let upload_seconds = clock.elapsed().as_secs_f64();

        let clock = Instant::now();
        let download_seconds = match self.store {
            Some(store) => {
                self.read_all(store, &name, completed.length).await?;
                Some(clock.elapsed().as_secs_f64())
            }
            None => None,
        };
        Ok(Measured { bytes: completed.length, upload_seconds, download_seconds })
    }
}

/// Whether the list shows `name`.
pub(super) fn shown(list: &[Entry], name: &str) -> bool {
    list.iter().any(|entry| entry.name == name)
}

fn cut(bytes: &Bytes, size: u64, length_is_known: bool) -> Vec<Part> {
    let length = bytes.len() as u64;
    let count = length.div_ceil(size).max(1);
    let part = |index: u64| {
        let (offset, last) = (index * size, index + 1 == count);
        let data = Segments::from(bytes.slice(offset as usize..length.min(offset + size) as usize));
        Part {
            index: index as u32,
            offset,
            data,
            total: (last || length_is_known).then_some(length),
            last,
            activity: Activity::default(),
        }
    };
    (0..count).map(part).collect()
}

/// Bytes that no compression and no mix-up can make look right (xorshift64*).
fn scrambled(length: u64, seed: u64) -> Bytes {
    let mut state = (seed + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut bytes = Vec::with_capacity(length as usize + 8);
    while (bytes.len() as u64) < length {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        bytes.extend_from_slice(&state.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes());
    }
    bytes.truncate(length as usize);
    bytes.into()
}
