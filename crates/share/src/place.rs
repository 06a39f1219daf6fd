//! The destination behind a folder, which may be away: a client takes a server that is silent for dead, so nothing here
//! waits for longer than [`PATIENCE`], and what was known of it last is at hand.

use std::{
    io,
    ops::Range,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use bytes::Bytes;
use smb_server::{SmbError, SmbResult};
use store::{Entry, Store, StoreError, retry::RetryPolicy};

use crate::{Shared, kept::Kept, names, recent::Recent, upload::PATIENCE};

/// For so long a list is taken as it was.
const FRESH: Duration = Duration::from_secs(30);
/// Whoever has an older one waits so long for a new one, and then makes do with that.
const OLD_WILL_DO: Duration = Duration::from_secs(2);
/// A destination may show what has arrived so much later.
const SHOWN_LATE: Duration = Duration::from_mins(1);
/// What has failed is not tried again for so long.
const AGAIN: Duration = Duration::from_secs(5);

const LATE: &str = "the destination did not answer in time";

type Entries = Arc<Vec<Arc<Entry>>>;

/// A destination.
pub(crate) struct Place {
    shared: Arc<Shared>,
    kept: Option<Arc<Kept>>,
    store: Mutex<Option<Arc<dyn Store>>>,
    connecting: Arc<tokio::sync::Mutex<Failed>>,
    /// `None` instead of a time: it is from an earlier run.
    listed: Mutex<Option<(Option<Instant>, Entries)>>,
    listing: Arc<tokio::sync::Mutex<Failed>>,
    /// When what is there was last changed from here: a list that was begun before is an old one.
    changed: Mutex<Option<Instant>>,
    /// What has arrived, and no list shows yet.
    latest: Mutex<Vec<(Instant, Arc<Entry>)>>,
    /// One look at a time whether it is there: on a mount that hangs, each takes a thread.
    looking: Arc<tokio::sync::Mutex<()>>,
    is_away: AtomicBool,
    space: Mutex<Option<(Instant, Option<u64>)>>,
    recent: Mutex<Recent>,
}

/// The last failure of something.
type Failed = Option<(Instant, String)>;

impl Place {
    pub(crate) fn new(shared: Arc<Shared>) -> Arc<Self> {
        // Without what was remembered it works as well.
        let kept = shared.cache.as_deref().and_then(|directory| Kept::open(directory).ok()).map(Arc::new);
        let listed = kept.as_ref().and_then(|kept| kept.list());
        let listed = listed.map(|(_, entries)| (None, Arc::new(entries.into_iter().map(Arc::new).collect())));
        Arc::new(Self {
            shared,
            kept,
            store: Mutex::default(),
            connecting: Arc::default(),
            listed: Mutex::new(listed),
            listing: Arc::default(),
            changed: Mutex::default(),
            latest: Mutex::default(),
            looking: Arc::default(),
            is_away: AtomicBool::default(),
            space: Mutex::default(),
            recent: Mutex::default(),
        })
    }

    /// What was lately read.
    pub(crate) fn recent(&self) -> MutexGuard<'_, Recent> {
        lock(&self.recent)
    }

    fn policy(&self) -> RetryPolicy {
        RetryPolicy::new(&self.shared.context)
    }

    /// The destination, connected.
    pub(crate) async fn store(self: &Arc<Self>) -> SmbResult<Arc<dyn Store>> {
        if let Some(is_there) = self.shared.is_there.clone() {
            let patience = match self.looking.try_lock() {
                // Nobody waits for long again for a look that takes so long already.
                Err(_) if self.is_away.load(Ordering::Acquire) => OLD_WILL_DO,
                _ => PATIENCE,
            };
            let looked = async {
                let guard = Arc::clone(&self.looking).lock_owned().await;
                let looked = tokio::task::spawn_blocking(move || {
                    let _guard = guard;
                    is_there()
                });
                looked.await.unwrap_or_else(|_| Err("looking ended unexpectedly".to_owned()))
            };
            self.judged(patience, looked).await?;
        }
        if let Some(store) = &*lock(&self.store) {
            return Ok(Arc::clone(store));
        }
        let connected = async {
            let guard = Arc::clone(&self.connecting).lock_owned().await;
            let place = Arc::clone(self);
            // Goes on when nobody waits for it any more: the next one has its result.
            let connecting = tokio::spawn(async move { place.connect(guard).await });
            connecting.await.unwrap_or_else(|_| Err("connecting ended unexpectedly".to_owned()))
        };
        self.judged(PATIENCE, connected).await
    }

    async fn connect(&self, mut failed: tokio::sync::OwnedMutexGuard<Failed>) -> Result<Arc<dyn Store>, String> {
        if let Some(store) = &*lock(&self.store) {
            return Ok(Arc::clone(store));
        }
        if let Some((_, why)) = failed.as_ref().filter(|(when, _)| when.elapsed() < AGAIN) {
            return Err(why.clone());
        }
        let connect = Arc::clone(&self.shared.connect);
        let connected = tokio::task::spawn_blocking(move || connect()).await;
        let connected = connected.unwrap_or_else(|_| Err("connecting ended unexpectedly".to_owned()));
        match &connected {
            Ok(store) => {
                self.is_of(&store.label());
                *lock(&self.store) = Some(Arc::clone(store));
            }
            Err(why) => *failed = Some((Instant::now(), why.clone())),
        }
        connected
    }

    /// What is remembered of another destination is of no use.
    fn is_of(&self, destination: &str) {
        if let Some(kept) = &self.kept
            && kept.list().is_some_and(|(of, _)| of != destination)
        {
            kept.clear();
            *lock(&self.listed) = None;
        }
    }

    /// Waits for it no longer than `patience`, and remembers whether it is away.
    async fn judged<T>(&self, patience: Duration, work: impl Future<Output = Result<T, String>>) -> SmbResult<T> {
        let result = tokio::time::timeout(patience, work).await.unwrap_or_else(|_| Err(LATE.to_owned()));
        self.is_away.store(result.is_err(), Ordering::Release);
        result.map_err(away)
    }

    /// A request to the destination, which is repeated while there is patience.
    pub(crate) async fn ask<T, F: Future<Output = Result<T, StoreError>>>(
        self: &Arc<Self>,
        mut question: impl FnMut(Arc<dyn Store>) -> F,
    ) -> SmbResult<T> {
        let store = self.store().await?;
        let policy = self.policy();
        let asked = async { policy.retry(|| question(Arc::clone(&store))).await.map_err(|error| error.to_string()) };
        self.judged(PATIENCE, asked).await
    }

    /// What is there, as far as it is known.
    pub(crate) fn known(&self) -> Option<Entries> {
        lock(&self.listed).as_ref().map(|(_, entries)| Arc::clone(entries))
    }

    fn fresh(&self) -> Option<Entries> {
        let is_fresh = |when: &Option<Instant>| when.is_some_and(|when| when.elapsed() < FRESH);
        lock(&self.listed).as_ref().filter(|(when, _)| is_fresh(when)).map(|(_, entries)| Arc::clone(entries))
    }

    /// What is there has changed.
    fn forget_list(&self) {
        *lock(&self.changed) = Some(Instant::now());
        if let Some((when, _)) = &mut *lock(&self.listed) {
            *when = None;
        }
    }

    /// An archive has arrived: it is there for everybody, whenever the destination shows it.
    pub(crate) async fn has_arrived(self: &Arc<Self>, name: &str, size: u64) {
        let entry = Entry { name: name.to_owned(), size, modified: Some(SystemTime::now()), link: false };
        self.is_gone(name);
        lock(&self.latest).push((Instant::now(), Arc::new(entry)));
        if self.entries().await.is_err() {
            return;
        }
        // Perhaps it was not waited for.
        if let Some((_, entries)) = &mut *lock(&self.listed) {
            *entries = self.with_latest(Arc::clone(entries));
        }
    }

    /// An archive is gone.
    pub(crate) fn is_gone(&self, name: &str) {
        lock(&self.latest).retain(|(_, entry)| entry.name != name);
        self.forget_list();
    }

    /// What the destination shows, and what it does not show yet.
    fn with_latest(&self, entries: Entries) -> Entries {
        let mut latest = lock(&self.latest);
        let is_shown = |name: &str| entries.iter().any(|entry| entry.name == name);
        latest.retain(|(when, entry)| when.elapsed() < SHOWN_LATE && !is_shown(&entry.name));
        if latest.is_empty() {
            return entries;
        }
        Arc::new(entries.iter().chain(latest.iter().map(|(_, entry)| entry)).cloned().collect())
    }

    /// What is there. A destination that is away has what it last had.
    pub(crate) async fn entries(self: &Arc<Self>) -> SmbResult<Entries> {
        if let Some(entries) = self.fresh() {
            return Ok(entries);
        }
        let listed = async {
            let guard = Arc::clone(&self.listing).lock_owned().await;
            let place = Arc::clone(self);
            let listing = tokio::spawn(async move { place.list(guard).await });
            listing.await.unwrap_or_else(|_| Err("listing ended unexpectedly".to_owned()))
        };
        let patience = match self.known() {
            None => PATIENCE,
            Some(_) if self.is_away.load(Ordering::Acquire) => Duration::ZERO,
            Some(_) => OLD_WILL_DO,
        };
        let listed = self.judged(patience, listed).await;
        listed.or_else(|why| self.known().ok_or(why))
    }

    async fn list(self: Arc<Self>, mut failed: tokio::sync::OwnedMutexGuard<Failed>) -> Result<Entries, String> {
        if let Some(entries) = self.fresh() {
            return Ok(entries);
        }
        if let Some((_, why)) = failed.as_ref().filter(|(when, _)| when.elapsed() < AGAIN) {
            return Err(why.clone());
        }
        let begun = Instant::now();
        match self.list_now().await {
            Ok(entries) => {
                *failed = None;
                self.is_away.store(false, Ordering::Release);
                let entries = self.with_latest(entries);
                let when = Some(begun).filter(|begun| lock(&self.changed).is_none_or(|changed| changed < *begun));
                *lock(&self.listed) = Some((when, Arc::clone(&entries)));
                Ok(entries)
            }
            Err(why) => {
                *failed = Some((Instant::now(), why.clone()));
                Err(why)
            }
        }
    }

    async fn list_now(self: &Arc<Self>) -> Result<Entries, String> {
        let store = self.store().await.map_err(|error| reason(&error))?;
        let listed = self.policy().retry(|| store.list()).await.map_err(|error| error.to_string())?;
        let listed: Vec<Entry> = listed.into_iter().filter(|entry| names::is_archive(&entry.name)).collect();
        let entries = Arc::new(listed.iter().cloned().map(Arc::new).collect());
        let is_known = self.known().is_some_and(|known| known.iter().map(|entry| &**entry).eq(&listed));
        if let Some(kept) = self.kept.clone().filter(|_| !is_known) {
            // Without it, a start while the destination is away shows nothing.
            let _ = tokio::task::spawn_blocking(move || kept.set_list(&store.label(), &listed)).await;
        }
        Ok(entries)
    }

    /// One archive.
    pub(crate) async fn entry(self: &Arc<Self>, name: &str) -> SmbResult<Option<Arc<Entry>>> {
        Ok(self.entries().await?.iter().find(|entry| entry.name == name).cloned())
    }

    /// Free bytes, if the destination says.
    pub(crate) async fn space(self: &Arc<Self>) -> Option<u64> {
        let known = *lock(&self.space);
        if let Some((_, free)) = known.filter(|(when, _)| when.elapsed() < FRESH) {
            return free;
        }
        let before = known.and_then(|(_, free)| free);
        if self.is_away.load(Ordering::Acquire) {
            // Sees whether it is back.
            let _ = self.entries().await;
            return before;
        }
        // A client asks this to see whether the folder is alive; a destination that is away takes nothing with it.
        let asked = async { self.store().await.ok()?.space().await.ok()? };
        let free = tokio::time::timeout(OLD_WILL_DO, asked).await.ok().flatten();
        *lock(&self.space) = Some((Instant::now(), free));
        free
    }

    /// Bytes of an archive: at least one, and no more than these. Of what clients `look` at to see what an archive is,
    /// a copy is kept.
    pub(crate) async fn read(
        self: &Arc<Self>,
        archive: &Arc<Entry>,
        range: Range<u64>,
        look: bool,
    ) -> SmbResult<Bytes> {
        // What is in a directory of this machine is at hand.
        let kept = self.kept.clone().filter(|_| self.shared.directory.is_none());
        if let Some(kept) = kept.clone() {
            let (archive, offset) = (Arc::clone(archive), range.start);
            let found = tokio::task::spawn_blocking(move || kept.read(&archive, offset)).await.ok().flatten();
            if let Some(bytes) = found {
                let wanted = bytes.len().min((range.end - range.start) as usize);
                // A slice would keep all of it.
                return Ok(if wanted < bytes.len() { Bytes::copy_from_slice(&bytes[..wanted]) } else { bytes });
            }
        }
        let bytes = self
            .ask(|store| {
                let (archive, range) = (Arc::clone(archive), range.clone());
                async move { store.read(&archive.name, range).await }
            })
            .await?;
        if let Some(kept) = kept.filter(|kept| look && kept.has_room(archive, &range)) {
            let (archive, bytes) = (Arc::clone(archive), bytes.clone());
            let _ = tokio::task::spawn_blocking(move || kept.add(&archive, range.start, &bytes)).await;
        }
        Ok(bytes)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) fn away(why: impl Into<String>) -> SmbError {
    SmbError::Io(io::Error::new(io::ErrorKind::TimedOut, why.into()))
}

/// Why, without what kind of error it is.
pub(crate) fn reason(error: &SmbError) -> String {
    match error {
        SmbError::Io(error) => error.to_string(),
        other => other.to_string(),
    }
}
