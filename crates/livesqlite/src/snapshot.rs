//! The public reader: chooses how to open the database, finds the size, streams, and releases everything with the last
//! page.

use std::fs;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread;
use std::time::Duration;

use crate::OpenError;
use crate::bounds::at_most;
use crate::companions::{self, SUFFIXES, companion, open_regular};
use crate::free_pages;
use crate::header::{Header, is_database};
use crate::image::Image;
use crate::leftovers::Leftovers;
use crate::lock_wait::LockWait;
use crate::overlay;
use crate::pins::Pin;
use crate::sqlite::{self, Refusal};
use crate::watch::Watch;

/// Bytes read at a time when the caller's own buffer is too small for whole pages.
const STAGE: usize = 128 << 10;

/// A database up to this size is read completely before its image begins, so that a damaged one keeps every byte.
const LOOKED_THROUGH: u64 = 8 << 20;

/// The pause between two attempts to join an owner that holds something for a moment.
const RETRY: Duration = Duration::from_millis(10);

/// How to open a [`Snapshot`]. The default suits a reader that goes through the image once.
///
/// ```
/// let options = livesqlite::Options::default().busy_timeout(std::time::Duration::from_secs(5)).hold(true);
/// ```
#[derive(Clone, Debug)]
pub struct Options {
    busy_timeout: Duration,
    zero_unused: bool,
    cancel: Option<Arc<AtomicBool>>,
    hold: bool,
    waiting: Option<Arc<AtomicBool>>,
}

impl Default for Options {
    fn default() -> Self {
        Self { busy_timeout: Duration::from_secs(30), zero_unused: true, cancel: None, hold: false, waiting: None }
    }
}

impl Options {
    /// How long to wait for a lock that excludes readers. Default: 30 s.
    #[must_use]
    pub fn busy_timeout(mut self, most: Duration) -> Self {
        self.busy_timeout = most;
        self
    }

    /// Return zeros for unused space, which holds deleted data: pages on the free list, and the gaps between rows in
    /// pages that are certain to be b-tree pages. In a damaged database, nothing more is zeroed once the damage shows.
    /// Default: yes.
    #[must_use]
    pub fn zero_unused(mut self, zero: bool) -> Self {
        self.zero_unused = zero;
        self
    }

    /// Raised from another thread, `flag` ends [`Snapshot::open`] with [`OpenError::Cancelled`] within 50 ms of
    /// waiting.
    #[must_use]
    pub fn cancel(mut self, flag: Arc<AtomicBool>) -> Self {
        self.cancel = Some(flag);
        self
    }

    /// Keep the read transaction open after the last page too, so that [`Snapshot::rewind`] can return the same image
    /// again. Default: no.
    #[must_use]
    pub fn hold(mut self, hold: bool) -> Self {
        self.hold = hold;
        self
    }

    /// [`Snapshot::open`] raises `flag` when it has to wait for somebody else's lock.
    #[must_use]
    pub fn waiting(mut self, flag: Arc<AtomicBool>) -> Self {
        self.waiting = Some(flag);
        self
    }
}

/// How a database keeps its transactions apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum JournalMode {
    /// Write-ahead log: readers and writers do not meet.
    Wal,
    /// A rollback journal (delete, truncate, persist or none): writers wait for readers.
    Rollback,
}

impl JournalMode {
    /// `wal` or `rollback`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Wal => "wal",
            Self::Rollback => "rollback",
        }
    }
}

/// What is known of a snapshot from its first page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Info {
    /// Bytes per page: a power of two from 512 to 65536.
    pub page_size: u32,
    /// Pages in the image; `page_size × pages` is its length.
    pub pages: u64,
    /// Pages on the free list, as the header counts them.
    pub free_pages: u64,
    /// How its writers work.
    pub journal_mode: JournalMode,
    /// In a rollback mode every transaction changes it; in WAL mode it shows nothing.
    pub change_counter: u32,
}

/// A database as one commit left it, to be read from its first byte to its last.
///
/// `Read` yields exactly [`len`](Self::len) bytes. The read transaction ends, and every file is closed, in the very
/// call that delivers the last page, unless [`Options::hold`] says otherwise: then when it is dropped. An error while
/// reading is final: what was delivered so far is not a database.
///
/// While a snapshot is open, nothing else in this process may open its files: see [`is_pinned`](crate::is_pinned).
pub struct Snapshot {
    info: Info,
    held: Option<Held>,
    watch: Watch,
    /// Bytes delivered.
    position: u64,
    /// Pages read but not delivered yet, from `stage_at` on.
    stage: Vec<u8>,
    stage_at: usize,
    failed: bool,
    /// The end of the image is not the end of the transaction.
    holds: bool,
}

/// Fields drop in order: SQLite closes its files, what it made is removed, and only then the pin goes.
struct Held {
    image: Image,
    _leftovers: Leftovers,
    _pin: Pin,
}

impl std::fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Snapshot").field("info", &self.info).field("position", &self.position).finish_non_exhaustive()
    }
}

impl Snapshot {
    /// Pins the latest commit of the database at `path`. Blocks no writer of a WAL database. Opening the same inode
    /// again in this process (a hard link) waits until the first snapshot is closed, then fails with
    /// [`OpenError::Locked`].
    pub fn open(path: &Path, options: &Options) -> Result<Self, OpenError> {
        let wait = LockWait::new(options.busy_timeout, options.cancel.clone()).telling(options.waiting.clone());
        let path = fs::canonicalize(path)?;
        let metadata = fs::metadata(&path)?;
        if !metadata.is_file() || metadata.len() == 0 {
            return Err(OpenError::NotADatabase);
        }
        companions::check_kinds(&path)?;
        let mut pin = Pin::take(&metadata, &wait)?;
        companions::check_names(&path, &metadata)?;
        for suffix in SUFFIXES {
            pin.add(&companion(&path, suffix));
        }
        let leftovers = Leftovers::watch(&path, &metadata);
        let image = match overlay::open_idle(&path, &metadata) {
            Some(image) => image,
            None => Self::image(&path, &mut pin, &wait)?,
        };
        Self::over(image, leftovers, pin, options)
    }

    /// SQLite first; without it only where it refuses. On a read-only mount a living owner can make it refuse for a
    /// moment.
    fn image(path: &Path, pin: &mut Pin, wait: &LockWait) -> Result<Image, OpenError> {
        loop {
            let step = wait.step()?;
            let refused = match sqlite::open(path, pin, step) {
                Ok(image) => return Ok(image),
                Err(Refusal::MustWrite) => overlay::open(path, wait),
                Err(Refusal::Final(error)) => Err(error),
            };
            match refused {
                Err(OpenError::Locked { .. }) if !step.is_zero() => {
                    wait.tell();
                    thread::sleep(RETRY);
                }
                Err(OpenError::Corrupt { .. }) if !begins_like_a_database(path)? => {
                    return Err(OpenError::NotADatabase);
                }
                decided => return decided,
            }
        }
    }

    fn over(image: Image, leftovers: Leftovers, pin: Pin, options: &Options) -> Result<Self, OpenError> {
        // Parameters would be dropped in another order than fields when this fails: see `Held`.
        let mut held = Held { image, _leftovers: leftovers, _pin: pin };
        let image = &mut held.image;
        let mut first = vec![0; image.page_size() as usize];
        image.read_page(1, &mut first)?;
        if !is_database(&first) {
            return Err(OpenError::NotADatabase);
        }
        let header = Header::parse(&first)?;
        if image.is_cut_off() {
            return Err(OpenError::corrupt("the file ends inside its first page"));
        }
        let pages = image.pages();
        let list = free_pages::find(&header, pages, |page, out| image.read_page(page, out))?;
        let mut watch = Watch::new(&first, header, pages, list, options.zero_unused);
        if options.zero_unused && pages * u64::from(image.page_size()) <= LOOKED_THROUGH {
            look_through(image, &mut watch)?;
        }
        let info = Info {
            page_size: image.page_size(),
            pages: image.pages(),
            free_pages: u64::from(header.free_pages),
            journal_mode: if header.wal { JournalMode::Wal } else { JournalMode::Rollback },
            change_counter: header.change_counter,
        };
        Ok(Self {
            info,
            held: Some(held),
            watch,
            position: 0,
            stage: Vec::new(),
            stage_at: 0,
            failed: false,
            holds: options.hold,
        })
    }

    /// Page size, page count, journal mode.
    pub fn info(&self) -> &Info {
        &self.info
    }

    /// Bytes in the image.
    pub fn len(&self) -> u64 {
        u64::from(self.info.page_size) * self.info.pages
    }

    /// Never true: a database has at least one page.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Do writers of this database wait until the snapshot is read? Then read it fast and whole.
    pub fn blocks_writers(&self) -> bool {
        self.info.journal_mode == JournalMode::Rollback
    }

    /// What is wrong with the database, in plain words, about twenty problems at most; empty for a sound one. The list
    /// is complete once the last byte was read, even if the database is then closed. It costs nothing: the pages are
    /// checked as they pass.
    pub fn damage(&self) -> &[String] {
        self.watch.damage()
    }

    /// Ends the snapshot early. Dropping it does the same.
    pub fn close(self) {}

    /// Begins again at the first byte: the same image, however much was committed meanwhile. Needs [`Options::hold`];
    /// after a failure there is no image to begin again.
    pub fn rewind(&mut self) -> io::Result<()> {
        let Some(held) = self.held.as_mut().filter(|_| self.holds && !self.failed) else {
            return Err(io::Error::other("the snapshot is closed"));
        };
        held.image.rewind();
        self.watch.begin();
        self.position = 0;
        self.stage.clear();
        self.stage_at = 0;
        Ok(())
    }

    /// Reads the next whole pages into `out`. Ends the snapshot at its end.
    fn fill(&mut self, out: &mut [u8]) -> io::Result<()> {
        let Some(Held { image, .. }) = &mut self.held else {
            return Err(io::Error::other("the snapshot is closed"));
        };
        let size = u64::from(self.info.page_size);
        image.fill(self.position / size + 1, out, &mut self.watch)?;
        if self.position + out.len() as u64 == size * self.info.pages {
            image.still_valid()?;
            self.watch.end();
            if !self.holds {
                self.held = None;
            }
        }
        Ok(())
    }
}

/// Reads all of a small image once, to know beforehand whether it is sound.
fn look_through(image: &mut Image, watch: &mut Watch) -> io::Result<()> {
    let size = image.page_size() as usize;
    let mut stage = vec![0; STAGE.max(size)];
    let mut page = 1;
    while page <= image.pages() {
        let count = at_most(image.pages() - page + 1, stage.len() / size);
        image.fill(page, &mut stage[..count * size], watch)?;
        page += count as u64;
    }
    watch.end();
    if !watch.damage().is_empty() {
        watch.keep_all();
    }
    image.rewind();
    watch.begin();
    Ok(())
}

/// Only for a file that SQLite has already given up: until then it must not be opened here.
fn begins_like_a_database(path: &Path) -> io::Result<bool> {
    let mut first = Vec::new();
    open_regular(path)?.take(16).read_to_end(&mut first)?;
    Ok(is_database(&first))
}

impl Read for Snapshot {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.failed {
            return Err(io::Error::other("the snapshot could not be read to its end"));
        }
        if self.stage_at == self.stage.len() {
            let left = self.len() - self.position;
            if left == 0 || out.is_empty() {
                return Ok(0);
            }
            let size = self.info.page_size as usize;
            let whole = at_most(left, out.len() / size * size);
            if whole > 0 {
                return self.deliver(whole, out);
            }
            let mut stage = std::mem::take(&mut self.stage);
            stage.resize(at_most(left, STAGE), 0);
            let filled = self.fill(&mut stage);
            self.stage = stage;
            self.stage_at = 0;
            self.check(filled)?;
        }
        let count = out.len().min(self.stage.len() - self.stage_at);
        out[..count].copy_from_slice(&self.stage[self.stage_at..self.stage_at + count]);
        self.stage_at += count;
        self.position += count as u64;
        Ok(count)
    }
}

impl Snapshot {
    fn deliver(&mut self, whole: usize, out: &mut [u8]) -> io::Result<usize> {
        let filled = self.fill(&mut out[..whole]);
        self.check(filled)?;
        self.position += whole as u64;
        Ok(whole)
    }

    /// A failure ends the snapshot and stays.
    fn check(&mut self, result: io::Result<()>) -> io::Result<()> {
        if result.is_err() {
            self.failed = true;
            self.held = None;
        }
        result
    }
}

// A backup reads it on whichever thread is free.
const _: fn() = || {
    fn is_send<T: Send>() {}
    is_send::<Snapshot>();
};
