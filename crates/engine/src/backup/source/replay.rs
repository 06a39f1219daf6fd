//! The tar of a recorded pass once more, byte for byte as far as the directory still is what it was: same entries, same
//! headers, same sizes.
//!
//! It never fails. What vanished or shrank becomes zeros, what grew is cut. A block of a large file that changed is
//! sent if the ledger has room for it; if not, it and the rest of that file become zeros, and the file is reported.

use std::{
    ffi::OsStr,
    io::{self, Read},
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use habackup::tar::{self, Header};

use super::{
    Body, body, damage,
    ledger::Ledger,
    note, path_in_tar,
    recording::{BLOCK, Content, Cursor, Database, Entry, Recording},
    stream::{Stream, Trouble},
    tell_of_wait, walk,
};
use crate::{findings::Findings, progress::Progress, text::shown};

/// One sending of a recorded tar.
pub(crate) struct Replay<'a> {
    recording: &'a mut Recording,
    // `None`: it is not compressed, so any content fits.
    ledger: Option<&'a Ledger>,
    root: PathBuf,
    cursor: Cursor,
    kept_at: usize,
    sums_at: usize,
    entry: Option<Entry>,
    // Header bytes, padding and the end marker on their way out.
    pending: Vec<u8>,
    pending_at: usize,
    bytes: Bytes,
    position: u64,
    finished: bool,
    ended: bool,
    findings: Findings,
    progress: Arc<Progress>,
}

/// Where the bytes of the entry under way come from.
enum Bytes {
    None,
    Kept { left: usize },
    Image { number: usize, left: u64 },
    Compared(Box<Compared>),
    // Cut and padded, not compared.
    Plain(Box<Body>),
    Zeros { left: u64 },
}

/// A large file, compared with what it was.
struct Compared {
    file: Stream,
    length: u64,
    at: u64,
    sums_from: usize,
    block: Vec<u8>,
    block_at: usize,
    // Everything from here on is zeros.
    is_lost: bool,
}

impl<'a> Replay<'a> {
    pub(super) fn new(
        recording: &'a mut Recording,
        root: &Path,
        ledger: Option<&'a Ledger>,
        progress: Arc<Progress>,
    ) -> Self {
        Self {
            findings: recording.findings.clone(),
            recording,
            ledger,
            root: root.to_owned(),
            cursor: Cursor::default(),
            kept_at: 0,
            sums_at: 0,
            entry: None,
            pending: Vec::with_capacity(4096),
            pending_at: 0,
            bytes: Bytes::None,
            position: 0,
            finished: false,
            ended: false,
            progress,
        }
    }

    /// Bytes given out so far.
    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    /// What was found in this pass and the recorded one.
    pub(crate) fn finish(mut self) -> Findings {
        self.findings.warn_all(self.recording.databases.iter().filter_map(Database::about_log));
        self.findings
    }

    fn advance(&mut self) {
        let Some(entry) = self.cursor.next(&self.recording.entries) else {
            self.ended = self.finished;
            if !self.finished {
                self.finished = true;
                super::put_end(self.position, &mut self.pending);
            }
            return;
        };
        let path = path_in_tar(&entry.relative);
        let header = Header {
            path: &path,
            kind: entry.kind,
            size: entry.size,
            mode: entry.mode,
            mtime: entry.mtime,
            link: &entry.link,
            uid: entry.owner.0,
            gid: entry.owner.1,
        };
        tar::encode(&header, &mut self.pending);
        self.bytes = match entry.content {
            Content::None => Bytes::None,
            Content::Kept => Bytes::Kept { left: entry.size as usize },
            Content::Image(number) => self.image(number, entry.size),
            Content::Checked | Content::Unchecked => self.open(&entry),
        };
        self.entry = Some(entry);
    }

    fn image(&mut self, number: usize, left: u64) -> Bytes {
        let snapshot = self.recording.databases.get_mut(number).and_then(|database| database.snapshot.as_mut());
        // One that broke was reported when it did.
        if snapshot.is_some_and(|snapshot| snapshot.rewind().is_ok()) {
            Bytes::Image { number, left }
        } else {
            Bytes::Zeros { left }
        }
    }

    fn open(&mut self, entry: &Entry) -> Bytes {
        let sums_from = self.sums_at;
        if entry.content == Content::Checked {
            self.sums_at += entry.size.div_ceil(BLOCK as u64) as usize;
        }
        let mut path = self.root.join(OsStr::from_bytes(&entry.relative));
        if walk::is_followed(&entry.relative) {
            path = path.canonicalize().unwrap_or(path);
        }
        match body::open(&path) {
            Ok((file, metadata)) => {
                let file = Stream::new(file, &metadata, entry.size);
                if entry.content == Content::Unchecked {
                    return Bytes::Plain(Box::new(Body::Stream(Box::new(file))));
                }
                Bytes::Compared(Box::new(Compared {
                    file,
                    length: entry.size,
                    at: 0,
                    sums_from,
                    block: Vec::new(),
                    block_at: 0,
                    is_lost: false,
                }))
            }
            Err(error) => {
                let what = if walk::is_gone(&error) {
                    "it was deleted".to_owned()
                } else {
                    format!("it is no longer readable ({})", walk::reason(&error))
                };
                self.findings.lost(
                    &entry.relative,
                    format!("{what} between measuring and sending: its copy in the archive is zeros"),
                );
                Bytes::Zeros { left: entry.size }
            }
        }
    }

    /// Header bytes first, then the content, then its padding; 0 when a turn brought no bytes.
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
        if matches!(self.bytes, Bytes::None) {
            self.advance();
            return 0;
        }
        let relative = self.entry.as_ref().map(|entry| entry.relative.clone()).unwrap_or_default();
        let count = Arc::clone(&self.progress).pulse.ask(&relative, || self.content(buffer));
        if count == 0 {
            self.end_content();
        }
        count
    }

    fn content(&mut self, buffer: &mut [u8]) -> usize {
        match &mut self.bytes {
            Bytes::None => 0,
            Bytes::Kept { left } => {
                let count = buffer.len().min(*left);
                buffer[..count].copy_from_slice(&self.recording.kept[self.kept_at..self.kept_at + count]);
                self.kept_at += count;
                *left -= count;
                count
            }
            Bytes::Zeros { left } => {
                let count = (buffer.len() as u64).min(*left) as usize;
                buffer[..count].fill(0);
                *left -= count as u64;
                count
            }
            Bytes::Plain(body) => {
                let (count, trouble) = body.fill(buffer);
                if let (Some(trouble), Some(entry)) = (trouble, &self.entry) {
                    note(&mut self.findings, &entry.relative, entry.size, &trouble);
                }
                count
            }
            Bytes::Image { number, left } => {
                if *left == 0 {
                    return 0;
                }
                let snapshot =
                    self.recording.databases.get_mut(*number).and_then(|database| database.snapshot.as_mut());
                let read = snapshot.map_or_else(
                    || Err(io::ErrorKind::UnexpectedEof.into()),
                    |snapshot| body::read_some(snapshot.as_mut(), buffer),
                );
                match read {
                    Ok(count) if count > 0 => {
                        *left -= count as u64;
                        count
                    }
                    other => {
                        let error = other.err().unwrap_or_else(|| io::ErrorKind::UnexpectedEof.into());
                        self.bytes = Bytes::Zeros { left: *left };
                        self.lose(format!("{}; the rest of its copy is zeros", walk::reason(&error)));
                        self.content(buffer)
                    }
                }
            }
            Bytes::Compared(file) => {
                if file.block_at == file.block.len() {
                    if file.at == file.length {
                        return 0;
                    }
                    if let (Some(reason), Some(entry)) =
                        (file.next_block(self.position, &self.recording.sums, self.ledger), &self.entry)
                    {
                        self.findings.lost(&entry.relative, reason);
                    }
                }
                let left = &file.block[file.block_at..];
                let count = buffer.len().min(left.len());
                buffer[..count].copy_from_slice(&left[..count]);
                file.block_at += count;
                count
            }
        }
    }

    fn lose(&mut self, reason: String) {
        if let Some(entry) = &self.entry {
            self.findings.lost(&entry.relative, reason);
        }
    }

    fn end_content(&mut self) {
        let size = self.entry.as_ref().map_or(0, |entry| entry.size);
        self.pending.resize(tar::padding(size), 0);
        match (std::mem::replace(&mut self.bytes, Bytes::None), self.entry.take()) {
            (Bytes::Compared(mut file), Some(entry)) if !file.is_lost => {
                if let Some(trouble) = file.file.changed() {
                    note(&mut self.findings, &entry.relative, size, &trouble);
                }
            }
            (Bytes::Image { number, .. }, Some(entry)) => {
                let sizes_only = self.recording.sizes_only;
                let Some(database) = self.recording.databases.get_mut(number) else { return };
                // The first pass told it if it read the database, as it does with small ones in any case.
                let report = self.findings.databases.iter_mut().find(|report| report.path == shown(&entry.relative));
                let is_told = !sizes_only || report.as_ref().is_some_and(|report| report.damaged);
                let problems = database
                    .snapshot
                    .as_ref()
                    .filter(|_| !is_told)
                    .map(|snapshot| snapshot.damage())
                    .unwrap_or_default();
                if let Some(reason) = damage::of_image(self.recording.history == entry.relative, problems) {
                    if let Some(report) = report {
                        report.damaged = true;
                    }
                    self.findings.damaged(&entry.relative, reason);
                }
                // It may come once more under another name.
                if database.blocks
                    && !self.cursor.clone().any(&self.recording.entries, Content::Image(number))
                    && let Some(since) = database.release()
                {
                    tell_of_wait(&mut self.findings, &entry.relative, since.elapsed());
                }
            }
            _ => {}
        }
    }
}

impl Compared {
    /// Reads the next block, which stands at `position` of the tar. Says why it and everything behind it is zeros, the
    /// first time it is.
    fn next_block(&mut self, position: u64, sums: &[u32], ledger: Option<&Ledger>) -> Option<String> {
        let wanted = (self.length - self.at).min(BLOCK as u64) as usize;
        let number = self.sums_from + (self.at / BLOCK as u64) as usize;
        self.block.clear();
        self.block.resize(wanted, 0);
        self.block_at = 0;
        let start = self.at;
        self.at += wanted as u64;
        if self.is_lost {
            return None;
        }
        let read = read_full(&mut self.file, &mut self.block);
        let same = sums.get(number) == Some(&crc32fast::hash(&self.block));
        if same || (read.is_ok() && ledger.is_none_or(|ledger| ledger.grants(position..position + wanted as u64))) {
            return None;
        }
        self.is_lost = true;
        self.block.fill(0);
        Some(match read {
            Err(Trouble::Unreadable { reason }) => {
                format!("{reason}; its bytes from {start} on in the archive are zeros")
            }
            Err(_) => {
                format!("it shrank between measuring and sending: its bytes from {start} on in the archive are zeros")
            }
            Ok(()) => {
                format!(
                    "it changed too much between measuring and sending: its bytes from {start} on in the archive are \
                     zeros"
                )
            }
        })
    }
}

/// Fills all of `buffer`.
fn read_full(file: &mut Stream, buffer: &mut [u8]) -> Result<(), Trouble> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read(&mut buffer[filled..])? {
            0 => return Err(Trouble::Shrank { missing: (buffer.len() - filled) as u64 }),
            count => filled += count,
        }
    }
    Ok(())
}

impl Read for Replay<'_> {
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
