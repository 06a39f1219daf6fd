//! An object read like a file: the same bytes, few requests, and no half of one object and half of another.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{
    fs::{self, File},
    ops::Range,
    os::unix::fs::FileExt,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
        mpsc,
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use store::{
    Abilities, Bridge, Cancellation, Context, Entry, Expected, Kind, Limit, Operation, Session, Sink, Store,
    StoreError, Tuning, Upload, inbound::RemoteFile, local::Local,
};

/// A directory whose reads fail as often as told, or never end once somebody hears of them.
struct Shaky {
    local: Local,
    hiccups: AtomicU32,
    mute: Option<mpsc::Sender<()>>,
}

#[async_trait]
impl Sink for Shaky {
    fn label(&self) -> String {
        self.local.label()
    }
    fn abilities(&self) -> Abilities {
        self.local.abilities()
    }
    async fn create(&self, name: &str, expected: Expected) -> Result<Box<dyn Upload>, StoreError> {
        self.local.create(name, expected).await
    }
    fn store(self: Arc<Self>) -> Option<Arc<dyn Store>> {
        Some(self)
    }
}

#[async_trait]
impl Store for Shaky {
    async fn resume(&self, session: &Session) -> Result<Option<Box<dyn Upload>>, StoreError> {
        self.local.resume(session).await
    }
    async fn list(&self) -> Result<Vec<Entry>, StoreError> {
        self.local.list().await
    }
    async fn entry(&self, name: &str) -> Result<Option<Entry>, StoreError> {
        self.local.entry(name).await
    }
    async fn read(&self, name: &str, range: Range<u64>) -> Result<Bytes, StoreError> {
        if let Some(asked) = &self.mute {
            asked.send(()).unwrap();
            std::future::pending::<()>().await;
        }
        if self.hiccups.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok() {
            return Err(StoreError::remote("there", Operation::Read, Kind::Transient { retry_after: None }, "hiccup"));
        }
        self.local.read(name, range).await
    }
    async fn delete(&self, name: &str) -> Result<(), StoreError> {
        self.local.delete(name).await
    }
    async fn space(&self) -> Result<Option<u64>, StoreError> {
        self.local.space().await
    }
    async fn remove_abandoned(&self) -> Result<u32, StoreError> {
        self.local.remove_abandoned().await
    }
}

struct Bench {
    directory: tempfile::TempDir,
    bridge: Bridge,
    context: Context,
}

impl Bench {
    fn new() -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let tuning = Tuning { first_pause: Duration::from_millis(1), ..Tuning::default() };
        let context = Context::new(tuning, "/nonexistent".into(), Cancellation::default()).unwrap();
        Self { directory: tempfile::tempdir().unwrap(), bridge: Bridge::start().unwrap(), context }
    }

    fn path(&self) -> std::path::PathBuf {
        self.directory.path().join("a.tar")
    }

    fn open_with(&self, hiccups: u32, mute: Option<mpsc::Sender<()>>, context: &Context) -> RemoteFile {
        let local = Local::open(self.directory.path()).unwrap();
        let store = Shaky { local, hiccups: AtomicU32::new(hiccups), mute };
        RemoteFile::open(&self.bridge, context, Arc::new(store), "a.tar").unwrap()
    }

    fn open(&self, hiccups: u32) -> RemoteFile {
        self.open_with(hiccups, None, &self.context)
    }
}

fn noise(path: &Path, length: usize) -> Vec<u8> {
    let bytes = testkit::noise::noise(length);
    fs::write(path, &bytes).unwrap();
    bytes
}

#[test]
fn whoever_waits_for_bytes_hears_that_the_user_stops() {
    let bench = Bench::new();
    noise(&bench.path(), 1 << 20);
    // Whether the second one waits already when the user stops is left to chance, so more than once.
    for _ in 0..20 {
        let (asked, is_asked) = mpsc::channel();
        let context = Context { cancel: Cancellation::default(), ..bench.context.clone() };
        let remote = bench.open_with(0, Some(asked), &context);
        std::thread::scope(|scope| {
            let read = || remote.read_exact_at(&mut [0; 10], 0).unwrap_err();
            let fetching = scope.spawn(read);
            is_asked.recv().unwrap();
            let waiting = scope.spawn(read);
            context.cancel.cancel();
            for error in [fetching.join().unwrap(), waiting.join().unwrap()] {
                let error = error.downcast::<StoreError>().unwrap();
                assert!(matches!(error, StoreError::Cancelled), "{error}");
            }
        });
    }
}

#[test]
fn whoever_waits_for_the_rate_hears_that_the_user_stops() {
    let bench = Bench::new();
    noise(&bench.path(), 1 << 20);
    let cancel = Cancellation::default();
    // A byte a second: nobody's second turn comes within this day.
    let context = Context { cancel, read_limit: Some(Limit::new(1)), ..bench.context.clone() };
    let remote = bench.open_with(0, None, &context);
    remote.read_exact_at(&mut [0; 10], 0).unwrap();
    std::thread::scope(|scope| {
        let (begun, has_begun) = mpsc::channel();
        let (remote, cancel) = (&remote, &context.cancel);
        let reading = scope.spawn(move || {
            begun.send(()).unwrap();
            remote.read_exact_at(&mut [0; 10], 900_000).unwrap_err()
        });
        has_begun.recv().unwrap();
        cancel.cancel();
        let error = reading.join().unwrap().downcast::<StoreError>().unwrap();
        assert!(matches!(error, StoreError::Cancelled), "{error}");
    });
    assert_eq!(remote.requests(), 1);
}

#[test]
fn a_low_rate_is_kept_to_in_small_pieces() {
    let bench = Bench::new();
    let bytes = noise(&bench.path(), 4 << 20);
    let limit = Limit::new(100 << 20);
    let remote = bench.open_with(0, None, &Context { read_limit: Some(limit), ..bench.context.clone() });
    let mut all = vec![0; bytes.len()];
    remote.read_exact_at(&mut all, 0).unwrap();
    assert_eq!(remote.requests(), 1, "whoever may read fast asks for much at once");
    let limit = Limit::new(1 << 20);
    let remote = bench.open_with(0, None, &Context { read_limit: Some(limit.clone()), ..bench.context.clone() });
    remote.announce(0..2 << 20);
    remote.read_exact_at(&mut all[..2 << 20], 0).unwrap();
    assert!(all == bytes && limit.is_felt());
    assert_eq!(
        (remote.requests(), remote.fetched()),
        (2, 2 << 20),
        "a second's worth at once, and no more than announced"
    );
}

#[test]
fn nothing_is_fetched_for_a_file_that_nobody_holds() {
    let bench = Bench::new();
    noise(&bench.path(), 1 << 20);
    let (asked, is_asked) = mpsc::channel();
    let remote = bench.open_with(0, Some(asked), &bench.context);
    remote.announce(0..100);
    is_asked.recv().unwrap();
    drop(remote);
    // The fetch never ends by itself; with it goes what says that there was one.
    assert!(is_asked.recv().is_err());
}

#[test]
fn any_thread_reads_the_same_bytes_anywhere_through_hiccups() {
    let bench = Bench::new();
    let bytes = noise(&bench.path(), 25_000_003);
    let remote = bench.open(20);
    std::thread::scope(|scope| {
        for thread in 0..4_u64 {
            let (remote, bytes) = (&remote, &bytes);
            scope.spawn(move || {
                let mut state = thread + 1;
                let mut buffer = vec![0; 3 << 20];
                for round in 0..60 {
                    state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                    let length = (state >> 33) as usize % if round % 3 == 0 { 3 << 20 } else { 5000 };
                    let at = (state >> 7) as usize % (bytes.len() - length);
                    remote.read_exact_at(&mut buffer[..length], at as u64).unwrap();
                    assert!(buffer[..length] == bytes[at..at + length], "{length} bytes at {at}");
                }
            });
        }
    });
    let end = remote.len();
    assert_eq!(remote.read_exact_at(&mut [0; 2], end - 1).unwrap_err().kind(), std::io::ErrorKind::UnexpectedEof);
    assert_eq!(remote.read_exact_at(&mut [0; 2], u64::MAX).unwrap_err().kind(), std::io::ErrorKind::UnexpectedEof);
}

#[test]
fn a_jump_costs_one_small_request() {
    let bench = Bench::new();
    File::create(bench.path()).unwrap().set_len(1 << 30).unwrap();
    let remote = bench.open(0);
    for place in 0..50_u64 {
        remote.read_exact_at(&mut [0; 512], place * (20 << 20)).unwrap();
    }
    assert_eq!((remote.requests(), remote.fetched()), (50, 50 * (64 << 10)));
}

#[test]
fn reading_in_order_fetches_everything_once_in_large_pieces() {
    let bench = Bench::new();
    let length = 200_u64 << 20;
    File::create(bench.path()).unwrap().set_len(length).unwrap();
    let remote = bench.open(0);
    let mut buffer = vec![0; 300_000];
    let mut at = 0;
    while at < length {
        let count = buffer.len().min((length - at) as usize);
        remote.read_exact_at(&mut buffer[..count], at).unwrap();
        at += count as u64;
    }
    assert_eq!(remote.fetched(), length);
    assert!(remote.requests() < 60, "{} requests", remote.requests());
}

#[test]
fn threads_that_take_turns_fetch_everything_once() {
    let bench = Bench::new();
    let (length, piece) = (150_u64 << 20, 566_000_u64);
    File::create(bench.path()).unwrap().set_len(length).unwrap();
    let remote = bench.open(0);
    let next = AtomicU32::new(0);
    std::thread::scope(|scope| {
        for thread in 0..3_u64 {
            let (remote, next) = (&remote, &next);
            scope.spawn(move || {
                let mut buffer = vec![0; piece as usize];
                loop {
                    let at = u64::from(next.fetch_add(1, Ordering::Relaxed)) * piece;
                    if at >= length {
                        return;
                    }
                    // In two steps and not all equally fast, as when something is made of the bytes.
                    let count = piece.min(length - at) as usize;
                    remote.read_exact_at(&mut buffer[..count / 2], at).unwrap();
                    std::thread::sleep(Duration::from_millis(thread * 4));
                    remote.read_exact_at(&mut buffer[count / 2..count], at + count as u64 / 2).unwrap();
                }
            });
        }
    });
    assert!(remote.fetched() <= length / 20 * 21, "{} bytes of {length}", remote.fetched());
}

#[test]
fn what_is_announced_comes_at_once_and_nothing_behind_it() {
    let bench = Bench::new();
    let bytes = noise(&bench.path(), 40 << 20);
    let remote = bench.open(0);
    // In one request, read in small steps; the second announcement of the same is free.
    let (start, end) = (5_000_001_u64, 8_100_000_u64);
    remote.announce(start..end);
    remote.announce(start..end);
    let mut buffer = vec![0; 70_000];
    let mut at = start;
    while at < end {
        let count = buffer.len().min((end - at) as usize);
        remote.read_exact_at(&mut buffer[..count], at).unwrap();
        assert!(buffer[..count] == bytes[at as usize..at as usize + count]);
        at += count as u64;
    }
    assert_eq!((remote.requests(), remote.fetched()), (1, end - start));
    // What turns out to be wanted all the same costs a small request.
    remote.read_exact_at(&mut buffer[..100], end).unwrap();
    assert_eq!((remote.requests(), remote.fetched()), (2, end - start + (64 << 10)));
}

#[test]
fn a_long_stretch_that_is_announced_is_fetched_once_and_to_its_end_only() {
    let bench = Bench::new();
    File::create(bench.path()).unwrap().set_len(200 << 20).unwrap();
    let remote = bench.open(3);
    let (start, end) = (20_u64 << 20, 90_u64 << 20);
    remote.announce(start..end);
    let mut buffer = vec![0; 1 << 20];
    for at in (start..end).step_by(1 << 20) {
        remote.read_exact_at(&mut buffer, at).unwrap();
    }
    assert!(remote.fetched() <= end - start, "{} bytes", remote.fetched());
    assert!(remote.requests() < 30, "{} requests", remote.requests());
    // Beyond the end there is nothing to announce.
    remote.announce(u64::MAX - 5..u64::MAX);
    remote.announce((200 << 20) - 10..u64::MAX);
    remote.read_exact_at(&mut buffer[..10], (200 << 20) - 10).unwrap();
}

#[test]
fn an_object_that_changes_meanwhile_is_an_error() {
    let bench = Bench::new();
    noise(&bench.path(), 10 << 20);
    let remote = bench.open(0);
    remote.read_exact_at(&mut [0; 10], 0).unwrap();
    remote.unchanged().unwrap();
    let file = File::options().write(true).open(bench.path()).unwrap();
    file.write_all_at(b"more", 10 << 20).unwrap();
    assert_eq!(remote.unchanged().unwrap_err().kind(), Some(Kind::Mismatch));
    file.set_len(1 << 20).unwrap();
    assert!(remote.read_exact_at(&mut [0; 10], 9 << 20).is_err());
    fs::remove_file(bench.path()).unwrap();
    let gone = remote.read_exact_at(&mut [0; 10], 8 << 20).unwrap_err().downcast::<StoreError>().unwrap();
    assert!(gone.to_string().contains("removed while Haul read it"), "{gone}");
}
