//! Replays the tar of a recorded pass, byte for byte as far as the directory is unchanged: same entries, same headers,
//! same sizes.
//!
//! It never fails. Data that vanished or shrank becomes zeros, data that grew is cut. A changed block of a large file
//! is sent if the ledger has space for it; otherwise it and the rest of that file become zeros, and the file is
//! reported.

use std::{
    ffi::OsStr,
    io::{self, Read},
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use habackup::tar::Header;
use livesqlite::Snapshot;

use super::{
    Body, body, damage,
    ledger::Ledger,
    note,
    outgoing::{self, Members, Outgoing},
    path_in_tar,
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
    outgoing: Outgoing,
    bytes: Bytes,
    findings: Findings,
}

/// Where the bytes of the entry under way come from.
enum Bytes {
    Kept { left: usize },
    Compared(Box<Compared>),
    // Not compared.
    Body(Body),
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
            outgoing: Outgoing::new(progress),
            bytes: Bytes::Body(Body::Empty),
        }
    }

    /// Bytes given out so far.
    pub(crate) fn position(&self) -> u64 {
        self.outgoing.position()
    }

    /// What was found in this pass and the recorded one.
    pub(crate) fn finish(mut self) -> Findings {
        self.findings.warn_all(self.recording.databases.iter().filter_map(Database::about_log));
        std::mem::take(&mut self.findings)
    }

    fn image(&mut self, number: usize, entry: &Entry) -> Body {
        let database = self.recording.databases.get_mut(number);
        let is_told = database.as_ref().is_some_and(|database| database.broken);
        if let Some(mut snapshot) = database.and_then(|database| database.snapshot.take())
            && snapshot.rewind().is_ok()
        {
            return Body::image(snapshot);
        }
        if !is_told {
            self.findings.lost(&entry.relative, "it could not be read again: its copy in the archive is zeros");
        }
        Body::Zeros { left: entry.size }
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
                    return Bytes::Body(Body::Stream(Box::new(file)));
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
                Bytes::Body(Body::Zeros { left: entry.size })
            }
        }
    }

    fn content(&mut self, buffer: &mut [u8]) -> usize {
        let Some(entry) = &self.entry else { return 0 };
        match &mut self.bytes {
            Bytes::Kept { left } => {
                let count = buffer.len().min(*left);
                buffer[..count].copy_from_slice(&self.recording.kept[self.kept_at..self.kept_at + count]);
                self.kept_at += count;
                *left -= count;
                count
            }
            Bytes::Body(body) => {
                let (count, trouble) = body.fill(buffer);
                if let Some(trouble) = trouble {
                    note(&mut self.findings, &entry.relative, entry.size, &trouble);
                }
                count
            }
            Bytes::Compared(file) => {
                if file.block_at == file.block.len() {
                    if file.at == file.length {
                        return 0;
                    }
                    let position = self.outgoing.position();
                    if let Some(reason) = file.next_block(position, &self.recording.sums, self.ledger) {
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

    /// The image of an entry went out to its end.
    fn end_image(&mut self, number: usize, snapshot: Box<Snapshot>, entry: &Entry) {
        let sizes_only = self.recording.sizes_only;
        let Some(database) = self.recording.databases.get_mut(number) else { return };
        // The first pass reported it if it read the database, as it does with small ones in any case.
        let report = self.findings.databases.iter_mut().find(|report| report.path == shown(&entry.relative));
        let is_told = !sizes_only || report.as_ref().is_some_and(|report| report.damaged);
        let problems = if is_told { &[] } else { snapshot.damage() };
        if let Some(reason) = damage::of_image(self.recording.history == entry.relative, problems) {
            if let Some(report) = report {
                report.damaged = true;
            }
            self.findings.damaged(&entry.relative, reason);
        }
        database.snapshot = Some(snapshot);
        // It may come once more under another name.
        if database.blocks
            && !self.cursor.clone().any(&self.recording.entries, Content::Image(number))
            && let Some(since) = database.release()
        {
            tell_of_wait(&mut self.findings, &entry.relative, since.elapsed());
        }
    }
}

/// A sending that breaks off in the middle of an image leaves the snapshot to the next one.
impl Drop for Replay<'_> {
    fn drop(&mut self) {
        let bytes = std::mem::replace(&mut self.bytes, Bytes::Body(Body::Empty));
        if let (Bytes::Body(Body::Image { snapshot, .. }), Some(Content::Image(number))) =
            (bytes, self.entry.as_ref().map(|entry| entry.content))
            && let Some(database) = self.recording.databases.get_mut(number)
        {
            database.snapshot = Some(snapshot);
        }
    }
}

impl Members for Replay<'_> {
    fn outgoing(&mut self) -> &mut Outgoing {
        &mut self.outgoing
    }

    fn has_body(&self) -> bool {
        !matches!(self.bytes, Bytes::Body(Body::Empty))
    }

    fn advance(&mut self) {
        let Some(entry) = self.cursor.next(&self.recording.entries) else { return self.outgoing.end() };
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
        self.outgoing.begin(&header);
        self.bytes = match entry.content {
            Content::None => Bytes::Body(Body::Empty),
            Content::Kept => Bytes::Kept { left: entry.size as usize },
            Content::Image(number) => Bytes::Body(self.image(number, &entry)),
            Content::Checked | Content::Unchecked => self.open(&entry),
        };
        self.entry = Some(entry);
    }

    fn fill(&mut self, buffer: &mut [u8]) -> usize {
        let relative = self.entry.as_ref().map(|entry| entry.relative.clone()).unwrap_or_default();
        Arc::clone(&self.outgoing.progress).pulse.ask(&relative, || self.content(buffer))
    }

    fn end_body(&mut self) {
        let bytes = std::mem::replace(&mut self.bytes, Bytes::Body(Body::Empty));
        let Some(entry) = self.entry.take() else { return };
        self.outgoing.pad(entry.size);
        match (bytes, entry.content) {
            (Bytes::Compared(mut file), _) if !file.is_lost => {
                if let Some(trouble) = file.file.changed() {
                    note(&mut self.findings, &entry.relative, entry.size, &trouble);
                }
            }
            (Bytes::Body(Body::Image { snapshot, .. }), Content::Image(number)) => {
                self.end_image(number, snapshot, &entry);
            }
            _ => {}
        }
    }
}

impl Read for Replay<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        Ok(outgoing::read(self, buffer))
    }
}

impl Compared {
    /// Reads the next block, at `position` of the tar. The first time that it and everything after it become zeros, it
    /// returns the reason.
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
