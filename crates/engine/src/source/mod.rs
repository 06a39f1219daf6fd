//! The inner tar as a byte stream, made while it is read: the config directory's entries under `data/`, live databases as consistent images.
//!
//! It never fails: what can't be read is padded, left out and named. One database is open at a time and no other file is opened while it is, because closing
//! a file takes away the locks that the whole process holds on it.

mod body;
mod walk;

use std::{
    collections::HashSet,
    fs::Metadata,
    io::{self, Read},
    os::unix::{ffi::OsStrExt, fs::MetadataExt},
    sync::{Arc, atomic::AtomicBool},
    time::{Duration, Instant},
    vec,
};

use habackup::{
    index::{FileEntry, IndexBuilder},
    tar::{self, Kind},
};
use livesqlite::{JournalMode, Snapshot};

use self::body::{Body, Trouble};
pub(crate) use self::{
    body::{open, read_head},
    walk::{Found, Scope, Step, Walk},
};
use crate::{
    page_cache::CacheGuard,
    progress::Progress,
    report::{DatabaseReport, Findings, shown},
};

/// The recorder's database, whose companion Home Assistant expects when only the database is restored.
pub(crate) const RECORDER: &[u8] = b"home-assistant_v2.db";
/// A database that blocks its writers while it is read is read at once into memory up to this size, and released.
const HELD_IN_MEMORY: u64 = 8 << 20;
/// Longer than this, and those whose writes had to wait are told.
const NOTICEABLE: Duration = Duration::from_secs(1);
/// The bytes at the start of a file that tell a database and its journal mode.
pub(crate) const DATABASE_HEAD: usize = 20;

/// What is read from the source side once the tar has been read to its end.
pub(crate) struct Gathered {
    pub(crate) findings: Findings,
    pub(crate) index: IndexBuilder,
}

/// A database on its way out.
struct Imaging {
    report: DatabaseReport,
    // Since when its writers have been waiting, if they do.
    blocked_since: Option<Instant>,
}

pub(crate) struct TarSource {
    // Databases whose writers wait while they are read come first, so that they wait in the first second and not in the last.
    first: vec::IntoIter<Found>,
    walk: Walk,
    finished_walk: bool,
    // Databases that went in already, and whose side files therefore stay out.
    imaged: HashSet<Vec<u8>>,
    seen_first: HashSet<Vec<u8>>,
    // The recorder's empty write-ahead log, due right after its database.
    owed: Option<Metadata>,
    // Header bytes, padding and the end marker on their way out.
    pending: Vec<u8>,
    pending_at: usize,
    body: Body,
    // Set while `body` is that of a database.
    imaging: Option<Imaging>,
    body_size: u64,
    current: Vec<u8>,
    position: u64,
    ended: bool,
    gathered: Gathered,
    progress: Arc<Progress>,
    // Ends the wait for a database that somebody has locked.
    cancel: Arc<AtomicBool>,
}

impl TarSource {
    pub(crate) fn new(inner_name: &str, scope: &Scope, first: Vec<Found>, findings: Findings, progress: Arc<Progress>, cancel: Arc<AtomicBool>) -> Self {
        Self {
            seen_first: first.iter().map(|found| found.relative.clone()).collect(),
            first: first.into_iter(),
            walk: scope.walk(),
            finished_walk: false,
            imaged: HashSet::new(),
            owed: None,
            pending: Vec::with_capacity(4096),
            pending_at: 0,
            body: Body::Empty,
            imaging: None,
            body_size: 0,
            current: Vec::new(),
            position: 0,
            ended: false,
            gathered: Gathered { findings, index: IndexBuilder::new(inner_name) },
            progress,
            cancel,
        }
    }

    /// Bytes given out so far: once everything was read, the size of the inner tar.
    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    pub(crate) fn finish(self) -> Gathered {
        self.gathered
    }

    /// Brings the next member's header into `pending` and its content into `body`, or the end marker.
    fn advance(&mut self) {
        if let Some(metadata) = self.owed.take() {
            let path = [RECORDER, b"-wal"].concat();
            self.begin(&path, Kind::File, &metadata, 0, b"");
            return;
        }
        if let Some(found) = self.first.next() {
            self.add_file(&found);
            return;
        }
        match self.walk.next() {
            Some(Step::Entry(found)) => self.add(&found),
            Some(Step::LeftOut { relative, reason }) => self.gathered.findings.left_out(&relative, reason),
            Some(Step::Vanished { relative }) => self.vanished(&relative),
            Some(Step::Lost { relative, reason }) => self.gathered.findings.lost(&relative, reason),
            None if self.finished_walk => self.ended = true,
            None => {
                self.finished_walk = true;
                self.pending.extend_from_slice(&tar::END);
                // Python's tarfile and GNU tar both end on a whole record of 20 blocks.
                let end = self.position + self.pending.len() as u64;
                self.pending.resize(self.pending.len() + (end.next_multiple_of(10_240) - end) as usize, 0);
            }
        }
    }

    fn add(&mut self, found: &Found) {
        match found.kind {
            Kind::Directory => self.begin(&found.relative, Kind::Directory, &found.metadata, 0, b""),
            Kind::Symlink => match std::fs::read_link(&found.path) {
                Ok(target) => self.begin(&found.relative, Kind::Symlink, &found.metadata, 0, target.as_os_str().as_bytes()),
                Err(error) => self.unreadable(found, &error),
            },
            Kind::File if self.seen_first.contains(&found.relative) || self.is_side_file(found) => {}
            Kind::File => self.add_file(found),
        }
    }

    /// `-wal`, `-shm` and `-journal` of a database whose image is in the archive: the image is whole without them, and wrong with them.
    fn is_side_file(&self, found: &Found) -> bool {
        let of_imaged = |suffix: &&[u8]| found.relative.strip_suffix(*suffix).is_some_and(|main| self.imaged.contains(main));
        walk::SIDE_FILES.iter().any(of_imaged) && body::looks_like_side_file(&found.path)
    }

    fn add_file(&mut self, found: &Found) {
        let (mut file, metadata) = match body::open(&found.path) {
            Ok(opened) => opened,
            Err(error) => return self.unreadable(found, &error),
        };
        let mut head = [0; DATABASE_HEAD];
        let is_database = metadata.len() >= 512 && file.read_exact(&mut head).is_ok() && livesqlite::is_database(&head);
        if is_database {
            // Closed before the snapshot opens: see the module's first paragraph.
            drop(file);
            match self.add_database(found) {
                Ok(()) => return,
                Err(reason) => {
                    let text = format!("{reason}; its raw files were archived as they are, which may or may not open");
                    self.gathered.findings.lost(&found.relative, text);
                    self.owe_log(found);
                }
            }
            file = match body::open(&found.path) {
                Ok((file, _)) => file,
                Err(error) => return self.unreadable(found, &error),
            };
        }
        if metadata.len() <= body::WHOLE {
            match body::read_whole(&mut file) {
                Ok((bytes, metadata)) => {
                    self.begin(&found.relative, Kind::File, &metadata, bytes.len() as u64, b"");
                    self.body = Body::whole(bytes);
                }
                Err(error) => self.unreadable(found, &error),
            }
            return;
        }
        if let Err(error) = io::Seek::rewind(&mut file) {
            return self.unreadable(found, &error);
        }
        let length = metadata.len();
        self.begin(&found.relative, Kind::File, &metadata, length, b"");
        let cache = CacheGuard::new(&file, length);
        self.body = Body::Stream { file, cache, at: 0, length };
    }

    /// An error says why only the raw files can be had.
    fn add_database(&mut self, found: &Found) -> Result<(), String> {
        let options = livesqlite::Options { cancel: Some(Arc::clone(&self.cancel)), ..Default::default() };
        let mut snapshot = Snapshot::open(&found.path, &options).map_err(|error| error.to_string())?;
        let info = snapshot.info();
        let report = DatabaseReport {
            path: shown(&found.relative),
            page_size: info.page_size,
            pages: info.pages,
            free_pages: info.free_pages,
            journal_mode: match info.journal_mode {
                JournalMode::Wal => "wal",
                JournalMode::Rollback => "rollback",
            },
        };
        let length = snapshot.len();
        let mut blocked_since = snapshot.blocks_writers().then(Instant::now);
        let body = if snapshot.blocks_writers() && length <= HELD_IN_MEMORY {
            let mut bytes = Vec::with_capacity(length as usize);
            snapshot.read_to_end(&mut bytes).map_err(|error| error.to_string())?;
            drop(snapshot);
            if bytes.len() as u64 != length {
                return Err("it ended early".to_owned());
            }
            blocked_since = None;
            Body::whole(bytes)
        } else {
            Body::image(snapshot)
        };
        self.begin(&found.relative, Kind::File, &found.metadata, length, b"");
        self.body = body;
        self.imaging = Some(Imaging { report, blocked_since });
        self.imaged.insert(found.relative.clone());
        self.owe_log(found);
        Ok(())
    }

    /// Home Assistant restores the recorder's database alone only together with a write-ahead log, so it gets an empty one unless its own goes in.
    fn owe_log(&mut self, found: &Found) {
        let own_goes_in = !self.imaged.contains(RECORDER) && found.path.with_file_name("home-assistant_v2.db-wal").exists();
        if found.relative == RECORDER && !own_goes_in {
            self.owed = Some(found.metadata.clone());
        }
    }

    /// The body in hand was given out to its end without trouble, or with some.
    fn end_image(&mut self, is_whole: bool) {
        let Some(Imaging { report, blocked_since }) = self.imaging.take() else { return };
        let waited = blocked_since.map_or(Duration::ZERO, |since| since.elapsed());
        if waited >= NOTICEABLE {
            let (name, seconds) = (&report.path, waited.as_secs());
            let warning = format!("{name}: whoever writes to it had to wait {seconds} s while it was read, because it is not in WAL mode");
            self.gathered.findings.warn(warning);
        }
        if is_whole {
            self.gathered.findings.databases.push(report);
        }
    }

    fn unreadable(&mut self, found: &Found, error: &io::Error) {
        if walk::is_gone(error) {
            return self.vanished(&found.relative);
        }
        self.gathered.findings.lost(&found.relative, walk::reason(error));
    }

    fn vanished(&mut self, relative: &[u8]) {
        // Home Assistant writes `.storage` files by way of `tmp…` names: their going is its everyday work.
        if !relative.starts_with(b".storage/tmp") {
            self.gathered.findings.warn(format!("{} was deleted while the backup ran, and is not in it", shown(relative)));
        }
    }

    fn begin(&mut self, relative: &[u8], kind: Kind, metadata: &Metadata, size: u64, link: &[u8]) {
        let mut path = b"data".to_vec();
        if !relative.is_empty() {
            path.push(b'/');
            path.extend_from_slice(relative);
        }
        let header_offset = self.position;
        let header = tar::Header {
            path: &path,
            kind,
            size,
            mode: metadata.mode() & 0o7777,
            mtime: (metadata.mtime(), metadata.mtime_nsec() as u32),
            link,
            uid: u64::from(metadata.uid()),
            gid: u64::from(metadata.gid()),
        };
        tar::encode(&header, &mut self.pending);
        let data_offset = header_offset + self.pending.len() as u64;
        // A path too long for the index is still in the archive, and found by reading it through.
        let _ = self.gathered.index.push(&FileEntry { path, kind, header_offset, data_offset, size });
        self.gathered.findings.entries += 1;
        self.body_size = size;
        self.current.clear();
        self.current.extend_from_slice(relative);
    }

    fn note(&mut self, trouble: Trouble) {
        let findings = &mut self.gathered.findings;
        match trouble {
            Trouble::Grew => {
                let name = shown(&self.current);
                findings.warn(format!("{name} grew while it was read: the archive holds the {} bytes it had at the start", self.body_size));
            }
            Trouble::Shrank { missing } => {
                findings.lost(&self.current, format!("it shrank while it was read: its last {missing} bytes in the archive are zeros"));
            }
            Trouble::Unreadable { reason } => findings.lost(&self.current, format!("{reason}; the rest of it in the archive is zeros")),
        }
    }
}

impl Read for TarSource {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            let count = self.step(buffer);
            if count > 0 {
                self.position += count as u64;
                self.progress.add_done(count as u64);
                return Ok(count);
            }
            if self.ended {
                return Ok(0);
            }
        }
    }
}

impl TarSource {
    /// Header bytes first, then the body, then its padding; 0 when a turn brought no bytes.
    fn step(&mut self, buffer: &mut [u8]) -> usize {
        if self.pending_at < self.pending.len() {
            let left = &self.pending[self.pending_at..];
            let count = buffer.len().min(left.len());
            buffer[..count].copy_from_slice(&left[..count]);
            self.pending_at += count;
            return count;
        }
        self.pending.clear();
        self.pending_at = 0;
        if matches!(self.body, Body::Empty) {
            self.advance();
            return 0;
        }
        let (count, trouble) = self.body.fill(buffer);
        if let Some(trouble) = trouble {
            self.end_image(false);
            self.note(trouble);
        }
        if count == 0 {
            self.end_image(true);
            self.body = Body::Empty;
            self.pending.resize(tar::padding(self.body_size), 0);
        }
        count
    }
}
