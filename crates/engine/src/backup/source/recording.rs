//! What one pass over the source remembers, so that a second gives the same tar: every header, the content of small
//! files, a checksum of each block of large ones, and the open snapshots. `TarSource` and `replay` are the passes.
//!
//! Memory: about 40 bytes per entry and as much for the index, 4 bytes per 256 KiB of large files, and [`MOST_KEPT`] of
//! content.

use std::{os::unix::fs::MetadataExt, path::PathBuf, sync::Arc, time::Instant};

use habackup::{
    index::IndexBuilder,
    tar::{Header, Kind},
};
use livesqlite::Snapshot;
use store::Cancellation;

use super::{Imaging, walk::Found};
use crate::{
    findings::Findings,
    progress::pulse::{self, Pulse},
};

/// Content of small files and small databases that is kept for the next pass.
const MOST_KEPT: usize = 32 << 20;
/// Large files are compared in blocks of this size.
pub(super) const BLOCK: usize = 256 << 10;

/// Where the bytes of an entry come from the next time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Content {
    /// It has none.
    None,
    /// They are kept here, in the order of the entries.
    Kept,
    /// The file again; each block has its checksum here, in the order of the entries.
    Checked,
    /// The file again, whatever is in it by then.
    Unchecked,
    /// The snapshot of that number.
    Image(usize),
}

/// One entry as it was written.
#[derive(Debug)]
pub(super) struct Entry {
    /// Below the config directory.
    pub(super) relative: Vec<u8>,
    pub(super) kind: Kind,
    pub(super) size: u64,
    pub(super) mode: u32,
    pub(super) mtime: (i64, u32),
    pub(super) owner: (u64, u64),
    pub(super) link: Vec<u8>,
    pub(super) content: Content,
}

/// A database that went in as an image.
pub(super) struct Database {
    path: PathBuf,
    inode: (u64, u64),
    pub(super) length: u64,
    // Changes with every commit in a rollback mode.
    counter: u32,
    // `None` while its writers are let work, and for good when it broke.
    pub(super) snapshot: Option<Box<Snapshot>>,
    // Its writers have been waiting since then, if they are.
    pub(super) blocked_since: Option<Instant>,
    pub(super) blocks: bool,
    // Its image in the first pass, which reported it.
    pub(super) broken: bool,
}

/// A database changed between the passes, so that what was measured does not hold.
#[derive(Debug)]
pub(crate) struct Stale;

/// A pass over the source, to be given again.
pub(crate) struct Recording {
    pub(super) entries: Vec<u8>,
    previous: Vec<u8>,
    pub(super) kept: Vec<u8>,
    pub(super) sums: Vec<u32>,
    sum: crc32fast::Hasher,
    summed: usize,
    pub(super) databases: Vec<Database>,
    // Snapshots that block their writers stay open too.
    holds_writers: bool,
    // The recorder's database.
    pub(super) history: Vec<u8>,
    // Only sizes are of interest; no content is read but that of small files.
    pub(super) sizes_only: bool,
    pub(crate) findings: Findings,
    pub(crate) index: IndexBuilder,
    /// Bytes of the tar.
    pub(crate) length: u64,
}

impl Recording {
    pub(super) fn new(history: &[u8], holds_writers: bool, sizes_only: bool) -> Self {
        Self {
            entries: Vec::new(),
            previous: Vec::new(),
            kept: Vec::new(),
            sums: Vec::new(),
            sum: crc32fast::Hasher::new(),
            summed: 0,
            databases: Vec::new(),
            holds_writers,
            history: history.to_vec(),
            sizes_only,
            findings: Findings::default(),
            index: IndexBuilder::new(""),
            length: 0,
        }
    }

    /// The next entry, without content so far.
    pub(super) fn push(&mut self, relative: &[u8], header: &Header<'_>) {
        let shared = relative.iter().zip(&self.previous).take_while(|(a, b)| a == b).count();
        self.previous.truncate(shared);
        self.previous.extend_from_slice(&relative[shared..]);
        let out = &mut self.entries;
        put(shared as u64, out);
        put_bytes(&relative[shared..], out);
        out.push(kind_byte(header.kind));
        put(header.size, out);
        put(u64::from(header.mode), out);
        out.extend_from_slice(&header.mtime.0.to_le_bytes());
        put(u64::from(header.mtime.1), out);
        put(header.uid, out);
        put(header.gid, out);
        put_bytes(header.link, out);
        out.push(0);
    }

    /// Where the content of the entry that was pushed last comes from.
    fn set_content(&mut self, content: Content) {
        self.entries.pop();
        match content {
            Content::None => self.entries.push(0),
            Content::Kept => self.entries.push(1),
            Content::Checked => self.entries.push(2),
            Content::Unchecked => self.entries.push(3),
            Content::Image(number) => put(4 + number as u64, &mut self.entries),
        }
    }

    /// The whole content of the last entry. Kept if there is space.
    pub(super) fn keep(&mut self, bytes: &[u8]) {
        if self.kept.len() + bytes.len() <= MOST_KEPT {
            self.kept.extend_from_slice(bytes);
            self.set_content(Content::Kept);
        } else if self.sizes_only {
            self.set_content(Content::Unchecked);
        } else {
            self.set_content(Content::Checked);
            self.sum(bytes);
            self.end_sum();
        }
    }

    /// Whether so many bytes more would be kept.
    pub(super) fn has_space(&self, length: u64) -> bool {
        self.kept.len() as u64 + length <= MOST_KEPT as u64
    }

    /// The last entry's content is read again the next time; until then, every byte of it goes through [`Self::sum`].
    pub(super) fn stream(&mut self) {
        self.set_content(if self.sizes_only { Content::Unchecked } else { Content::Checked });
    }

    pub(super) fn sum(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let (head, rest) = bytes.split_at(bytes.len().min(BLOCK - self.summed));
            self.sum.update(head);
            self.summed += head.len();
            if self.summed == BLOCK {
                self.end_sum();
            }
            bytes = rest;
        }
    }

    /// The content ends here.
    pub(super) fn end_sum(&mut self) {
        if self.summed > 0 {
            self.sums.push(std::mem::take(&mut self.sum).finalize());
            self.summed = 0;
        }
    }

    /// The open snapshot of this very file, under whatever name it went in.
    pub(super) fn held(&self, found: &Found) -> Option<usize> {
        let inode = (found.metadata.dev(), found.metadata.ino());
        self.databases.iter().position(|database| database.inode == inode && database.snapshot.is_some())
    }

    /// The last entry's content is that snapshot's.
    pub(super) fn image_of(&mut self, number: usize) {
        self.set_content(Content::Image(number));
    }

    /// The last entry's content is this snapshot's, which is being read and comes back by [`Self::give_back`].
    pub(super) fn image(&mut self, found: &Found, snapshot: &Snapshot) -> usize {
        let number = self.databases.len();
        self.set_content(Content::Image(number));
        self.databases.push(Database {
            path: found.path.clone(),
            inode: (found.metadata.dev(), found.metadata.ino()),
            length: snapshot.len(),
            counter: snapshot.info().change_counter,
            snapshot: None,
            blocked_since: None,
            blocks: snapshot.blocks_writers(),
            broken: false,
        });
        number
    }

    /// The image is through. `None`: it broke.
    pub(super) fn give_back(&mut self, number: usize, snapshot: Option<Box<Snapshot>>, imaging: Option<&mut Imaging>) {
        let Some(database) = self.databases.get_mut(number) else { return };
        database.broken |= snapshot.is_none();
        if !database.blocks || self.holds_writers {
            database.snapshot = snapshot;
            if let Some(imaging) = imaging {
                // They still wait; the report comes when they no longer do.
                database.blocked_since = imaging.blocked_since.take();
            }
        }
    }

    /// Opens again what was let go for the sake of its writers. Says when one of them wrote meanwhile.
    pub(super) fn reopen(&mut self, pulse: &Pulse, cancel: &Cancellation) -> Result<(), Stale> {
        let sizes_only = self.sizes_only;
        for database in self.databases.iter_mut().filter(|database| database.snapshot.is_none() && !database.broken) {
            let name = database.path.file_name().unwrap_or_default().as_encoded_bytes();
            let (opened, _) = pulse.open_database(name, |waiting| {
                let options =
                    livesqlite::Options::default().cancel(Arc::clone(cancel.flag())).waiting(waiting).hold(true);
                Snapshot::open(&database.path, &options)
            });
            let Ok(snapshot) = opened else { return Err(Stale) };
            let same_content =
                sizes_only || (snapshot.info().change_counter == database.counter && snapshot.blocks_writers());
            if snapshot.len() != database.length || !same_content {
                return Err(Stale);
            }
            database.blocked_since = snapshot.blocks_writers().then(Instant::now);
            database.snapshot = Some(Box::new(snapshot));
        }
        Ok(())
    }
}

impl Database {
    /// The note about its log once everything was sent.
    pub(super) fn about_log(&self) -> Option<String> {
        let name = self.path.file_name()?.as_encoded_bytes();
        self.snapshot.as_ref().and_then(|_| pulse::about_log(name, &self.path))
    }

    /// All its bytes were read: waiting writers need not wait for the rest of the archive. Returns since when they
    /// waited.
    pub(super) fn release(&mut self) -> Option<Instant> {
        self.snapshot = None;
        self.blocked_since.take()
    }
}

/// Goes through the entries of a recording. Keeps the path of the one before, of which each shares a part.
#[derive(Clone, Default)]
pub(super) struct Cursor {
    at: usize,
    path: Vec<u8>,
}

impl Cursor {
    pub(super) fn next(&mut self, entries: &[u8]) -> Option<Entry> {
        if self.at >= entries.len() {
            return None;
        }
        let shared = self.number(entries) as usize;
        self.path.truncate(shared);
        let rest = self.bytes(entries);
        self.path.extend_from_slice(&rest);
        let kind = match self.byte(entries) {
            0 => Kind::File,
            1 => Kind::Directory,
            _ => Kind::Symlink,
        };
        let size = self.number(entries);
        let mode = self.number(entries) as u32;
        let mut seconds = [0; 8];
        for byte in &mut seconds {
            *byte = self.byte(entries);
        }
        let mtime = (i64::from_le_bytes(seconds), self.number(entries) as u32);
        let owner = (self.number(entries), self.number(entries));
        let link = self.bytes(entries);
        let content = match self.number(entries) {
            0 => Content::None,
            1 => Content::Kept,
            2 => Content::Checked,
            3 => Content::Unchecked,
            number => Content::Image((number - 4) as usize),
        };
        Some(Entry { relative: self.path.clone(), kind, size, mode, mtime, owner, link, content })
    }

    /// Whether another entry has this content.
    pub(super) fn any(mut self, entries: &[u8], content: Content) -> bool {
        std::iter::from_fn(|| self.next(entries)).any(|entry| entry.content == content)
    }

    fn byte(&mut self, entries: &[u8]) -> u8 {
        let byte = entries.get(self.at).copied().unwrap_or_default();
        self.at += 1;
        byte
    }

    fn number(&mut self, entries: &[u8]) -> u64 {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte(entries);
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                break;
            }
        }
        number
    }

    fn bytes(&mut self, entries: &[u8]) -> Vec<u8> {
        let length = self.number(entries) as usize;
        let bytes = entries.get(self.at..self.at + length).unwrap_or_default().to_vec();
        self.at += length;
        bytes
    }
}

/// Seven bits a byte, the lowest first.
fn put(mut number: u64, out: &mut Vec<u8>) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

fn put_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    put(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}

fn kind_byte(kind: Kind) -> u8 {
    match kind {
        Kind::File => 0,
        Kind::Directory => 1,
        Kind::Symlink => 2,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn header(kind: Kind, size: u64, link: &[u8]) -> Header<'_> {
        Header {
            path: b"",
            kind,
            size,
            mode: 0o4755,
            mtime: (-5, 999_999_999),
            link,
            uid: 1000,
            gid: u64::from(u32::MAX),
        }
    }

    #[test]
    fn entries_come_back_as_they_went_in() {
        let mut recording = Recording::new(b"", false, false);
        recording.push(b"", &header(Kind::Directory, 0, b""));
        recording.push(b"a/long/path", &header(Kind::File, u64::MAX, b""));
        recording.stream();
        recording.push(b"a/long/other", &header(Kind::Symlink, 0, b"to/there"));
        recording.push(b"a/x", &header(Kind::File, 3, b""));
        recording.keep(b"abc");
        recording.push(b"\xff", &header(Kind::File, 0, b""));
        recording.image_of(300);
        let mut cursor = Cursor::default();
        let mut entries = Vec::new();
        while let Some(entry) = cursor.next(&recording.entries) {
            assert_eq!(
                (entry.mode, entry.mtime, entry.owner),
                (0o4755, (-5, 999_999_999), (1000, u64::from(u32::MAX)))
            );
            entries.push((entry.relative, entry.kind, entry.size, entry.link, entry.content));
        }
        let expected = [
            (&b""[..], Kind::Directory, 0, &b""[..], Content::None),
            (b"a/long/path", Kind::File, u64::MAX, b"", Content::Checked),
            (b"a/long/other", Kind::Symlink, 0, b"to/there", Content::None),
            (b"a/x", Kind::File, 3, b"", Content::Kept),
            (b"\xff", Kind::File, 0, b"", Content::Image(300)),
        ];
        assert_eq!(
            entries,
            expected.map(|(path, kind, size, link, content)| (path.to_vec(), kind, size, link.to_vec(), content))
        );
        assert_eq!(recording.kept, b"abc");
    }

    #[test]
    fn an_entry_costs_less_than_a_hundred_bytes() {
        let mut recording = Recording::new(b"", false, false);
        for n in 0..10_000 {
            let path = format!("custom_components/integration_{}/translations/{}.json", n / 40, n % 40);
            recording.push(
                path.as_bytes(),
                &Header { mtime: (1_700_000_000, 123_456_789), ..header(Kind::File, 3000, b"") },
            );
            recording.stream();
        }
        assert!(recording.entries.len() < 10_000 * 50, "{}", recording.entries.len());
    }

    #[test]
    fn blocks_are_summed_however_they_come() {
        let bytes: Vec<u8> = (0..2 * BLOCK + 77).map(|n| (n * n % 251) as u8).collect();
        let mut whole = Recording::new(b"", false, false);
        whole.sum(&bytes);
        whole.end_sum();
        let mut parts = Recording::new(b"", false, false);
        bytes.chunks(100_003).for_each(|part| parts.sum(part));
        parts.end_sum();
        assert_eq!(whole.sums.len(), 3);
        assert_eq!(whole.sums, parts.sums);
        let expected: Vec<u32> = bytes.chunks(BLOCK).map(crc32fast::hash).collect();
        assert_eq!(whole.sums, expected);
    }

    #[test]
    fn no_more_content_is_kept_than_there_is_space() {
        let mut recording = Recording::new(b"", false, false);
        for _ in 0..40 {
            recording.push(b"x", &header(Kind::File, 1 << 20, b""));
            recording.keep(&vec![7; 1 << 20]);
        }
        assert_eq!((recording.kept.len(), recording.sums.len()), (MOST_KEPT, 8 * 4));
    }
}
