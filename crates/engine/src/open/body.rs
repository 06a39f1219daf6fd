//! The bytes of one inner archive at any place, decrypted where needed, and as a stream.

use std::{
    io::{self, Read},
    ops::Range,
};

use habackup::{
    index::Index,
    read_at::{ReadAt, Window},
    securetar::RandomAccess,
};
use pargz::{Inflater, PieceTable};

use super::file::ArchiveFile;

/// Bytes fetched from the file at once.
const FETCH: usize = 1 << 20;

/// An inner archive, still compressed.
pub(super) enum Body<'f, 'a> {
    Plain(Window<&'f ArchiveFile<'a>>),
    Sealed(Box<RandomAccess<Window<&'f ArchiveFile<'a>>>>),
}

impl ReadAt for Body<'_, '_> {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        match self {
            Self::Plain(window) => window.read_exact_at(buffer, offset),
            Self::Sealed(plain) => plain.read_exact_at(buffer, offset),
        }
    }

    fn len(&self) -> u64 {
        match self {
            Self::Plain(window) => window.len(),
            Self::Sealed(plain) => plain.len(),
        }
    }

    fn announce(&self, range: Range<u64>) {
        match self {
            Self::Plain(window) => window.announce(range),
            Self::Sealed(plain) => plain.announce(range),
        }
    }
}

impl pargz::ReadAt for Body<'_, '_> {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        ReadAt::read_exact_at(self, buffer, offset)
    }

    fn len(&self) -> u64 {
        ReadAt::len(self)
    }

    fn announce(&self, range: Range<u64>) {
        ReadAt::announce(self, range);
    }
}

/// The compressor's view of an index; `None` for an uncompressed inner archive.
pub(super) fn table(index: &Index) -> Option<PieceTable> {
    index.pieces().map(|pieces| PieceTable {
        piece_size: pieces.piece_size,
        restart_every: pieces.restart_every,
        header_len: pieces.header_len,
        lengths: pieces.lengths.clone(),
        bytes_in: pieces.bytes_in,
        crc32: pieces.crc32,
    })
}

/// Bytes at a place, read in order.
pub(crate) struct Stream<S> {
    source: S,
    position: u64,
    end: u64,
    buffer: Vec<u8>,
    taken: usize,
}

impl<S: ReadAt> Stream<S> {
    pub(crate) fn new(source: S) -> Self {
        let end = source.len();
        Self { source, position: 0, end, buffer: Vec::new(), taken: 0 }
    }

    pub(crate) fn range(mut self, range: Range<u64>) -> Self {
        self.end = self.end.min(range.end);
        self.position = range.start.min(self.end);
        self
    }

    /// From the start again, to the same end.
    pub(crate) fn rewound(self) -> Self {
        Self { source: self.source, position: 0, end: self.end, buffer: Vec::new(), taken: 0 }
    }

    fn fetch(&mut self, length: usize) -> io::Result<()> {
        let length = (self.end - self.position).min(length as u64) as usize;
        self.buffer.resize(length, 0);
        self.taken = length;
        self.source.read_exact_at(&mut self.buffer, self.position)?;
        self.position += length as u64;
        self.taken = 0;
        Ok(())
    }
}

impl<S: ReadAt> Read for Stream<S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.taken == self.buffer.len() {
            if self.position == self.end || buffer.is_empty() {
                return Ok(0);
            }
            if buffer.len() >= FETCH / 4 {
                // Large reads need no buffer between.
                let length = (self.end - self.position).min(buffer.len() as u64) as usize;
                self.source.read_exact_at(&mut buffer[..length], self.position)?;
                self.position += length as u64;
                return Ok(length);
            }
            self.fetch(FETCH)?;
        }
        let count = buffer.len().min(self.buffer.len() - self.taken);
        buffer[..count].copy_from_slice(&self.buffer[self.taken..self.taken + count]);
        self.taken += count;
        Ok(count)
    }
}

/// One gzip member and nothing after it but zeros: the end is only said when all of that was checked.
pub(super) struct Strict<R: Read> {
    state: State<R>,
}

enum State<R: Read> {
    Reading(Box<Inflater<R>>),
    Ended,
    Failed,
}

impl<R: Read> Strict<R> {
    pub(super) fn new(source: R) -> Self {
        Self { state: State::Reading(Box::new(Inflater::new(source))) }
    }
}

impl<R: Read> Read for Strict<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.state {
            State::Ended => return Ok(0),
            State::Failed => return Err(io::Error::other("the compressed data was already found damaged")),
            State::Reading(inflater) => {
                let count = inflater.read(buffer)?;
                if count > 0 || buffer.is_empty() {
                    return Ok(count);
                }
            }
        }
        if let State::Reading(inflater) = std::mem::replace(&mut self.state, State::Failed) {
            inflater.finish()?.nothing_follows()?;
            self.state = State::Ended;
        }
        Ok(0)
    }
}
