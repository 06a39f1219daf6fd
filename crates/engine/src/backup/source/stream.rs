//! The content of one open file, exactly as many bytes as announced, whatever happens to the file meanwhile. Holes of a
//! sparse file are zeros that are not read from the disk.

use std::{
    fs::{File, Metadata},
    io,
    os::unix::fs::{FileExt, MetadataExt},
};

use livesqlite::page_cache::ReadGuard;
use rustix::{
    fs::{SeekFrom, seek},
    io::Errno,
};

/// So many bytes are remembered, to distinguish a rewritten file from one that only grew.
const HEAD: u64 = 64 << 10;
/// What the system calls a block in a file's metadata.
const BLOCK: u64 = 512;

/// When a file was last written to, as far as its file system says.
pub(crate) type Modified = (i64, i64);

pub(crate) fn modified(metadata: &Metadata) -> Modified {
    (metadata.mtime(), metadata.mtime_nsec())
}

/// Whether fewer blocks belong to a file than its length takes.
pub(crate) fn may_have_holes(metadata: &Metadata) -> bool {
    metadata.blocks().saturating_mul(BLOCK) < metadata.len()
}

/// An open file. Every call may fail, and a read may return fewer bytes than requested.
pub(crate) trait Live {
    fn read_at(&mut self, buffer: &mut [u8], at: u64) -> io::Result<usize>;
    /// Where the next byte that is not in a hole is, from `at` on; `ENXIO` when there is none.
    fn data_from(&self, at: u64) -> io::Result<u64>;
    /// Where the next hole is, from `at` on; the end of the file counts as one.
    fn hole_from(&self, at: u64) -> io::Result<u64>;
    /// Length and time of the last change by now.
    fn state(&self) -> io::Result<(u64, Modified)>;
}

impl Live for File {
    fn read_at(&mut self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        FileExt::read_at(self, buffer, at)
    }

    fn data_from(&self, at: u64) -> io::Result<u64> {
        Ok(seek(self, SeekFrom::Data(at))?)
    }

    fn hole_from(&self, at: u64) -> io::Result<u64> {
        Ok(seek(self, SeekFrom::Hole(at))?)
    }

    fn state(&self) -> io::Result<(u64, Modified)> {
        let metadata = self.metadata()?;
        Ok((metadata.len(), modified(&metadata)))
    }
}

/// How often a file is looked at again that was written to and has the length that it had, and how long is between.
const LOOKS: u32 = 3;
const BETWEEN_LOOKS: std::time::Duration = std::time::Duration::from_millis(2);

/// A file whose pages leave the cache again if they were not in it before.
pub(crate) struct Guarded {
    file: File,
    cache: ReadGuard,
}

impl Live for Guarded {
    fn read_at(&mut self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        let count = Live::read_at(&mut self.file, buffer, at)?;
        self.cache.passed(&self.file, at + count as u64);
        Ok(count)
    }

    fn data_from(&self, at: u64) -> io::Result<u64> {
        self.file.data_from(at)
    }

    fn hole_from(&self, at: u64) -> io::Result<u64> {
        self.file.hole_from(at)
    }

    fn state(&self) -> io::Result<(u64, Modified)> {
        self.file.state()
    }
}

/// A piece of a file, to where it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Piece {
    Data(u64),
    Hole(u64),
}

impl Piece {
    fn end(self) -> u64 {
        match self {
            Self::Data(end) | Self::Hole(end) => end,
        }
    }
}

/// What became of a file while it was read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// It has fewer bytes than its header says; the rest is zeros.
    Shrank { missing: u64 },
    /// It was written to while it was read: the copy may be half old and half new.
    Torn,
    /// It was written to each time it was read, and the copy has fewer bytes than it has by now.
    Cut { length: u64 },
    /// It can't be read further; the rest is zeros.
    Unreadable { reason: String },
}

/// One read of a file from its first byte to the last that was announced. What is appended meanwhile is left for the
/// next backup.
pub(crate) struct Stream<F = Guarded> {
    file: F,
    length: u64,
    // Before the first byte was read.
    modified: Modified,
    at: u64,
    piece: Piece,
    is_sparse: bool,
    head: crc32fast::Hasher,
}

impl Stream {
    /// The first `length` bytes of an open file. `metadata`: as it was before the first byte is read.
    pub(crate) fn new(file: File, metadata: &Metadata, length: u64) -> Self {
        let cache = ReadGuard::new(&file, length);
        Self::of(Guarded { file, cache }, length, modified(metadata), may_have_holes(metadata))
    }
}

impl<F: Live> Stream<F> {
    fn of(file: F, length: u64, modified: Modified, is_sparse: bool) -> Self {
        Self { file, length, modified, at: 0, piece: Piece::Data(0), is_sparse, head: crc32fast::Hasher::new() }
    }

    /// Bytes that are still to come.
    pub(crate) fn left(&self) -> u64 {
        self.length - self.at
    }

    /// Fills some of `buffer`, which is not empty, with the next bytes. None come when all were given out; an error is
    /// final.
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Trouble> {
        if self.left() == 0 {
            return Ok(0);
        }
        if self.at == self.piece.end() {
            self.piece =
                if self.is_sparse { piece(&self.file, self.at, self.length) } else { Piece::Data(self.length) };
        }
        let wanted = (buffer.len() as u64).min(self.piece.end() - self.at) as usize;
        let buffer = &mut buffer[..wanted];
        let count = match self.piece {
            Piece::Hole(_) => {
                buffer.fill(0);
                wanted
            }
            Piece::Data(_) => match uninterrupted(|| self.file.read_at(buffer, self.at)) {
                Ok(0) => return Err(Trouble::Shrank { missing: self.left() }),
                Ok(count) => count,
                Err(error) => return Err(Trouble::Unreadable { reason: super::walk::reason(&error) }),
            },
        };
        if self.at < HEAD {
            self.head.update(&buffer[..count.min((HEAD - self.at) as usize)]);
        }
        self.at += count as u64;
        Ok(count)
    }

    /// What became of the file by the end of the read.
    pub(crate) fn changed(&mut self) -> Option<Trouble> {
        // Everything was read; that this one question fails takes nothing from it.
        let (mut length, mut modified) = self.file.state().ok()?;
        // A file system may show the time of an append before it shows the length.
        for _ in 0..LOOKS {
            if modified == self.modified || length != self.length {
                break;
            }
            std::thread::sleep(BETWEEN_LOOKS);
            (length, modified) = self.file.state().ok()?;
        }
        if modified == self.modified && length == self.length {
            return None;
        }
        // Appending leaves the beginning unchanged.
        let is_longer = length > self.length && self.head_stands();
        (!is_longer).then_some(Trouble::Torn)
    }

    /// Whether the file still begins as it did.
    fn head_stands(&mut self) -> bool {
        let mut head = vec![0; self.length.min(HEAD) as usize];
        let mut at = 0;
        while at < head.len() {
            match uninterrupted(|| self.file.read_at(&mut head[at..], at as u64)) {
                Ok(count) if count > 0 => at += count,
                _ => return false,
            }
        }
        crc32fast::hash(&head) == self.head.clone().finalize()
    }
}

/// What is at `at` of a file, before `length`. If the file system does not say, or no longer holds it, it counts as
/// data: reading it shows.
fn piece(file: &impl Live, at: u64, length: u64) -> Piece {
    let hole_to = match file.data_from(at) {
        Ok(data) if data > at => data,
        // Nothing but a hole up to its end, which may be nearer than it was.
        Err(error) if error.raw_os_error() == Some(Errno::NXIO.raw_os_error()) => {
            file.state().map_or(at, |(now, _)| now)
        }
        Ok(_) => at,
        Err(_) => return Piece::Data(length),
    };
    if hole_to > at {
        return Piece::Hole(hole_to.min(length));
    }
    match file.hole_from(at) {
        Ok(hole) if hole > at => Piece::Data(hole.min(length)),
        _ => Piece::Data(length),
    }
}

/// How many of a file's bytes lie in holes. More of them than a search soon finds are not counted.
pub(crate) fn bytes_in_holes(file: &impl Live, length: u64) -> u64 {
    const MOST_PIECES: usize = 10_000;
    let (mut at, mut holes) = (0, 0);
    for _ in 0..MOST_PIECES {
        if at >= length {
            break;
        }
        let next = piece(file, at, length);
        if let Piece::Hole(end) = next {
            holes += end - at;
        }
        at = next.end();
    }
    holes
}

fn uninterrupted(mut call: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

#[cfg(test)]
mod tests;
