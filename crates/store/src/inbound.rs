//! Reads an object at any position from any thread, as if it were a file: fetches adjacent bytes together, and ahead
//! for sequential reading.
//!
//! A jump costs one small request; sequential readers get ever larger ones, and the next of them are started before
//! they are needed. Fetched bytes are kept while there is space ([`CAPACITY`] in all). A caller that knows what it will
//! read announces it ([`RemoteFile::announce`]): that comes in one request, and nothing after it. [`RetryPolicy`]
//! retries, and keeps to the rate for reading, with requests of a second's worth at most.

use std::{
    collections::BTreeMap,
    io,
    ops::Range,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::SystemTime,
};

use bytes::Bytes;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::{
    bridge::Bridge,
    cancellation::OnCancel,
    context::Context,
    error::{Kind, Operation, StoreError},
    retry::RetryPolicy,
    store::{Entry, Store},
};

/// Memory for what was fetched or is being fetched.
const CAPACITY: u64 = 16 << 20;
/// A jump fetches so much.
const SMALLEST: u64 = 64 << 10;
/// Reading in order grows to so much.
const LARGEST: u64 = 4 << 20;
/// A reader that has come this far reads on for a while; before that, fetching ahead is mostly wasted.
const STEADY: u64 = 1 << 20;
/// So many further stretches are under way while one is read.
const AHEAD: usize = 2;
/// Positions that are read in order at the same time.
const STREAMS: usize = 4;
/// Of the memory, so much is never filled with what was fetched ahead: the readers are still at what came before.
const UNREAD: u64 = CAPACITY - AHEAD as u64 * LARGEST;
/// How often to ask whether the object is still the same.
const LOOK_EVERY: u64 = 256 << 20;

/// An object of a store, for reading.
pub struct RemoteFile {
    bridge: Bridge,
    policy: RetryPolicy,
    context: Context,
    shared: Arc<Shared>,
    // What is fetched ahead ends with the file: nobody would read it, and it would take its share of the rate.
    ended: CancellationToken,
    _ending: DropGuard,
    // Wakes the readers that wait for bytes.
    _waking: OnCancel,
}

struct Shared {
    store: Arc<dyn Store>,
    name: String,
    size: u64,
    modified: Option<SystemTime>,
    fetched: AtomicU64,
    requests: AtomicU64,
    cache: Mutex<Cache>,
    arrived: Condvar,
}

impl RemoteFile {
    /// Asks for the object's size. [`Kind::NotFound`] if there is none of that name.
    pub fn open(bridge: &Bridge, context: &Context, store: Arc<dyn Store>, name: &str) -> Result<Self, StoreError> {
        let policy = RetryPolicy::new(context);
        let found = bridge.wait(policy.found(|| store.entry(name)))?;
        let entry = found.ok_or_else(|| {
            StoreError::remote(store.label(), Operation::Read, Kind::NotFound, format!("there is no {name}"))
        })?;
        Ok(Self::of(bridge, context, store, entry))
    }

    /// An object that was just listed.
    pub fn of(bridge: &Bridge, context: &Context, store: Arc<dyn Store>, entry: Entry) -> Self {
        let policy = RetryPolicy::new(context);
        let shared = Shared {
            store,
            name: entry.name,
            size: entry.size,
            modified: entry.modified,
            fetched: AtomicU64::new(0),
            requests: AtomicU64::new(0),
            cache: Mutex::new(Cache::new(policy.read_at_once(LARGEST))),
            arrived: Condvar::new(),
        };
        let shared = Arc::new(shared);
        let waking = context.cancel.on_cancel({
            let shared = Arc::clone(&shared);
            move || {
                // A reader that has checked and does not wait yet holds the lock.
                drop(shared.cache());
                shared.arrived.notify_all();
            }
        });
        let ended = CancellationToken::new();
        let ending = ended.clone().drop_guard();
        let (bridge, context) = (bridge.clone(), context.clone());
        Self { bridge, policy, context, shared, ended, _ending: ending, _waking: waking }
    }

    /// With a retry policy that others have as well: whatever works there, it works.
    pub(crate) fn retrying(self, policy: &RetryPolicy) -> Self {
        Self { policy: policy.clone(), ..self }
    }

    /// Where it is; never holds a secret.
    pub(crate) fn destination(&self) -> String {
        self.shared.store.label()
    }

    /// `DEST/NAME`; never holds a secret.
    pub fn label(&self) -> String {
        format!("{}/{}", self.shared.store.label().trim_end_matches('/'), self.shared.name)
    }

    /// Its size in bytes when it was opened.
    pub fn len(&self) -> u64 {
        self.shared.size
    }

    /// When it was last changed, as the destination said when it was opened.
    pub fn modified(&self) -> Option<SystemTime> {
        self.shared.modified
    }

    /// True without a byte.
    pub fn is_empty(&self) -> bool {
        self.shared.size == 0
    }

    /// Bytes that were fetched so far.
    pub fn fetched(&self) -> u64 {
        self.shared.fetched.load(Ordering::Relaxed)
    }

    /// Requests for bytes so far.
    pub fn requests(&self) -> u64 {
        self.shared.requests.load(Ordering::Relaxed)
    }

    /// What is waited for right now, and how often something had to be tried again.
    pub fn policy(&self) -> &RetryPolicy {
        &self.policy
    }

    /// Announces that this stretch will be read next, in order, and what follows it will not. Missing bytes are fetched
    /// in the background at once, or as reading proceeds if the stretch is long; the reader retries what fails.
    pub fn announce(&self, range: Range<u64>) {
        let mut cache = self.shared.cache();
        let planned = cache.plan_announced(range, self.shared.size);
        for (range, touched) in planned {
            self.fetch_behind(&mut cache, range, touched);
        }
    }

    /// Fails when the object is no longer the one that was opened.
    pub fn unchanged(&self) -> Result<(), StoreError> {
        let shared = &self.shared;
        let now = self.bridge.wait(self.policy.retry(|| shared.store.entry(&shared.name)))?;
        let reason = match now {
            None => "it was removed while Haul read it".to_owned(),
            Some(now) if now.size != shared.size => {
                format!("it changed while Haul read it: {} bytes instead of {}", now.size, shared.size)
            }
            Some(now) if now.modified.zip(shared.modified).is_some_and(|(now, then)| is_another_moment(now, then)) => {
                "it was replaced while Haul read it".to_owned()
            }
            Some(_) => return Ok(()),
        };
        Err(StoreError::remote(self.label(), Operation::Read, Kind::Mismatch, reason)
            .advise("try again when nothing else is writing there"))
    }

    /// Fills `buffer` from `offset` on. The error, if there is one, holds a [`StoreError`] unless the bytes end before
    /// that.
    pub fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let end = offset
            .checked_add(buffer.len() as u64)
            .filter(|end| *end <= self.shared.size)
            .ok_or(io::ErrorKind::UnexpectedEof)?;
        let mut at = offset;
        while at < end {
            let rest = &mut buffer[(at - offset) as usize..];
            at += self.read_some(rest, at).map_err(|error| io::Error::other(self.explained(error)))? as u64;
        }
        Ok(())
    }

    /// At least one byte.
    fn read_some(&self, buffer: &mut [u8], at: u64) -> Result<usize, StoreError> {
        let mut cache = self.shared.cache();
        loop {
            match cache.look(at) {
                Found::Bytes(bytes, first_touch) => {
                    let count = bytes.len().min(buffer.len());
                    buffer[..count].copy_from_slice(&bytes[..count]);
                    cache.was_read(at, count as u64);
                    if first_touch {
                        self.fetch_ahead(&mut cache, at);
                    }
                    return Ok(count);
                }
                Found::UnderWay => {
                    if self.context.is_cancelled() {
                        return Err(StoreError::Cancelled);
                    }
                    cache = self.shared.arrived.wait(cache).unwrap_or_else(PoisonError::into_inner);
                }
                Found::Nothing => {
                    let range = cache.plan(at, buffer.len() as u64, self.shared.size);
                    cache
                        .extents
                        .insert(range.start, Extent { end: range.end, bytes: None, touched: true, used: 0, read: 0 });
                    self.fetch_ahead(&mut cache, at);
                    drop(cache);
                    return self.fetch_now(range, buffer);
                }
            }
        }
    }

    /// Fetches on the calling thread, which so gets its bytes whatever becomes of the cache meanwhile.
    fn fetch_now(&self, range: Range<u64>, buffer: &mut [u8]) -> Result<usize, StoreError> {
        let under_way = UnderWay { shared: &self.shared, start: range.start };
        let bytes = self
            .bridge
            .wait(self.policy.retry_reading(range.end - range.start, || self.shared.fetch(range.clone())))?;
        let count = bytes.len().min(buffer.len());
        buffer[..count].copy_from_slice(&bytes[..count]);
        let length = bytes.len() as u64;
        under_way.done(bytes);
        self.shared.cache().was_read(range.start, count as u64);
        let before = self.shared.fetched.load(Ordering::Relaxed);
        if before / LOOK_EVERY != before.saturating_sub(length) / LOOK_EVERY {
            self.unchanged()?;
        }
        Ok(count)
    }

    /// Starts fetching what a sequential reader at `at` will want next. The reader that needs it retries what fails.
    fn fetch_ahead(&self, cache: &mut Cache, at: u64) {
        for range in cache.plan_ahead(at, self.shared.size) {
            self.fetch_behind(cache, range, false);
        }
    }

    fn fetch_behind(&self, cache: &mut Cache, range: Range<u64>, touched: bool) {
        cache.extents.insert(range.start, Extent { end: range.end, bytes: None, touched, used: 0, read: 0 });
        let (shared, policy, ended) = (Arc::clone(&self.shared), self.policy.clone(), self.ended.clone());
        self.bridge.spawn(async move {
            let under_way = UnderWay { shared: &shared, start: range.start };
            let fetched = ended.run_until_cancelled(async {
                policy.may_read(range.end - range.start).await?;
                shared.fetch(range.clone()).await
            });
            if let Some(Ok(bytes)) = fetched.await {
                under_way.done(bytes);
            }
        });
    }

    /// An object that was replaced or cut answers strangely; the reason is worth more than the answer.
    fn explained(&self, error: StoreError) -> StoreError {
        match error.kind() {
            Some(Kind::Transient { .. } | Kind::Credentials | Kind::DailyLimit | Kind::Permission | Kind::Mismatch)
            | None => error,
            Some(_) => self.unchanged().err().unwrap_or(error),
        }
    }
}

/// Some destinations report fractions of a second in their lists, but only whole seconds for a single object.
fn is_another_moment(one: SystemTime, other: SystemTime) -> bool {
    let parts = |moment: SystemTime| {
        moment.duration_since(SystemTime::UNIX_EPOCH).ok().map(|since| (since.as_secs(), since.subsec_nanos()))
    };
    match (parts(one), parts(other)) {
        (Some((one, 0)), Some((other, _))) | (Some((one, _)), Some((other, 0))) => one != other,
        _ => one != other,
    }
}

impl Shared {
    fn cache(&self) -> MutexGuard<'_, Cache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One attempt.
    async fn fetch(&self, range: Range<u64>) -> Result<Bytes, StoreError> {
        self.requests.fetch_add(1, Ordering::Relaxed);
        let wanted = range.end - range.start;
        let bytes = self.store.read(&self.name, range).await?;
        self.fetched.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        if bytes.len() as u64 != wanted {
            let reason = format!("received {} bytes of {} instead of {wanted}", bytes.len(), self.name);
            return Err(StoreError::remote(self.store.label(), Operation::Read, Kind::Protocol, reason));
        }
        Ok(bytes)
    }
}

/// A stretch that is being fetched. However that ends, every waiting reader is woken.
struct UnderWay<'s> {
    shared: &'s Shared,
    start: u64,
}

impl UnderWay<'_> {
    fn done(self, bytes: Bytes) {
        let mut cache = self.shared.cache();
        cache.tick += 1;
        let used = cache.tick;
        if let Some(extent) = cache.extents.get_mut(&self.start) {
            // What is shorter than planned never gets here.
            extent.bytes = Some(bytes);
            extent.used = used;
        }
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        let mut cache = self.shared.cache();
        if cache.extents.get(&self.start).is_some_and(|extent| extent.bytes.is_none()) {
            cache.extents.remove(&self.start);
        }
        drop(cache);
        self.shared.arrived.notify_all();
    }
}

/// Stretches that don't overlap, by their first byte.
struct Cache {
    // Reading in order grows to requests of so many bytes.
    largest: u64,
    extents: BTreeMap<u64, Extent>,
    // Where sequential reading continues, the latest last.
    streams: Vec<Stream>,
    tick: u64,
}

struct Extent {
    end: u64,
    // None while it is being fetched.
    bytes: Option<Bytes>,
    // Whether anybody has read from it.
    touched: bool,
    used: u64,
    // How many of its bytes were handed out.
    read: u64,
}

/// A sequential reader.
struct Stream {
    // Where the last planned stretch ends.
    next: u64,
    window: u64,
    // According to its announcement, it wants nothing from here on.
    limit: u64,
}

enum Found {
    /// What is there from the position on, and whether it is read for the first time.
    Bytes(Bytes, bool),
    UnderWay,
    Nothing,
}

impl Cache {
    fn new(largest: u64) -> Self {
        Self { largest, extents: BTreeMap::new(), streams: Vec::new(), tick: 0 }
    }

    fn look(&mut self, at: u64) -> Found {
        self.tick += 1;
        let tick = self.tick;
        let Some((start, extent)) = self.extents.range_mut(..=at).next_back().filter(|(_, extent)| at < extent.end)
        else {
            return Found::Nothing;
        };
        let Some(bytes) = &extent.bytes else { return Found::UnderWay };
        extent.used = tick;
        let first = !std::mem::replace(&mut extent.touched, true);
        Found::Bytes(bytes.slice((at - start) as usize..), first)
    }

    fn was_read(&mut self, at: u64, count: u64) {
        if let Some((_, extent)) = self.extents.range_mut(..=at).next_back().filter(|(_, extent)| at < extent.end) {
            extent.read += count;
        }
    }

    /// The stretch to fetch for a reader who wants `wanted` bytes at `at`, where nothing is. Makes space for it.
    fn plan(&mut self, at: u64, wanted: u64, size: u64) -> Range<u64> {
        let known = self.streams.iter().position(|stream| stream.next == at).map(|known| self.streams.remove(known));
        let (window, limit) = match known {
            Some(stream) if stream.limit > at => ((stream.window * 2).min(self.largest), stream.limit),
            // What was announced did not reach this far.
            _ => (SMALLEST, size),
        };
        let length = window.max(wanted.min(self.largest)).min(self.unclaimed().max(SMALLEST));
        let end = self.gap_end(at, size).min(at + length).min(limit.max(at + wanted));
        self.evict(end - at);
        self.remember(Stream { next: end, window, limit });
        at..end
    }

    fn remember(&mut self, stream: Stream) {
        self.streams.push(stream);
        if self.streams.len() > STREAMS {
            self.streams.remove(0);
        }
    }

    /// The missing bytes of an announced stretch, up to a large request's worth; the rest comes as it is read. Each
    /// with whether the rest is fetched without a reader, because there is none.
    fn plan_announced(&mut self, range: Range<u64>, size: u64) -> Vec<(Range<u64>, bool)> {
        let limit = range.end.min(size);
        let mut at = range.start;
        let mut planned: Vec<Range<u64>> = Vec::new();
        let mut sum = 0;
        while at < limit && sum < self.largest {
            if let Some((_, extent)) = self.extents.range(..=at).next_back().filter(|(_, extent)| at < extent.end) {
                at = extent.end;
                continue;
            }
            let stop = self.gap_end(at, size).min(limit).min(at + self.largest - sum);
            if self.unclaimed() < sum + (stop - at) + UNREAD {
                break;
            }
            sum += stop - at;
            planned.push(at..stop);
            at = stop;
        }
        if planned.is_empty() {
            return Vec::new();
        }
        self.evict(sum);
        if at < limit {
            self.remember(Stream { next: at, window: self.largest, limit });
        }
        planned.into_iter().map(|range| (range, at >= limit)).collect()
    }

    /// What to fetch next for the reader at `at`, as far as there is space. Nothing for one that only just came.
    fn plan_ahead(&mut self, at: u64, size: u64) -> Vec<Range<u64>> {
        let Some(mut end) = self.extents.range(..=at).next_back().map(|(_, extent)| extent.end) else {
            return Vec::new();
        };
        let mut ranges = Vec::new();
        for _ in 0..AHEAD {
            if let Some(extent) = self.extents.get(&end) {
                end = extent.end;
                continue;
            }
            let Some(stream) = self
                .streams
                .iter_mut()
                .find(|stream| stream.next == end && stream.window >= STEADY && stream.limit > end)
            else {
                break;
            };
            stream.window = (stream.window * 2).min(self.largest);
            let (window, limit) = (stream.window, stream.limit);
            let stop = self.gap_end(end, size).min(end + window).min(limit);
            let planned: u64 = ranges.iter().map(|range: &Range<u64>| range.end - range.start).sum();
            if stop == end || self.unclaimed() < planned + (stop - end) + UNREAD {
                break;
            }
            self.evict(planned + (stop - end));
            if let Some(stream) = self.streams.iter_mut().find(|stream| stream.next == end) {
                stream.next = stop;
            }
            ranges.push(end..stop);
            end = stop;
        }
        ranges
    }

    /// Where the nothing at `at` ends.
    fn gap_end(&self, at: u64, size: u64) -> u64 {
        self.extents.range(at..).next().map_or(size, |(start, _)| *start)
    }

    /// Space that no fetch has reserved.
    fn unclaimed(&self) -> u64 {
        let under_way: u64 = self
            .extents
            .iter()
            .filter(|(_, extent)| extent.bytes.is_none() || !extent.touched)
            .map(|(start, extent)| extent.end - start)
            .sum();
        CAPACITY.saturating_sub(under_way)
    }

    /// Drops first what was read to its end, then what was not used for the longest time, and only then what nobody has
    /// read yet, because that would certainly have to be fetched again.
    fn evict(&mut self, wanted: u64) {
        let mut held: u64 = self.extents.iter().map(|(start, extent)| extent.end - start).sum();
        while held + wanted > CAPACITY {
            let arrived = self.extents.iter().filter(|(_, extent)| extent.bytes.is_some());
            let first = arrived
                .min_by_key(|(start, extent)| (!extent.touched, extent.read < extent.end - **start, extent.used));
            let Some((start, length)) = first.map(|(start, extent)| (*start, extent.end - start)) else { return };
            self.extents.remove(&start);
            held -= length;
        }
    }
}
