//! The bytes of one inner archive at any position, decrypted if needed, and as a stream.

use std::{
    io::{self, Read},
    ops::Range,
};

use habackup::{
    index::Sum,
    read_at::{ReadAt, Window},
    securetar::RandomAccess,
};
use pargz::Inflater;

use super::file::ArchiveFile;

/// Bytes fetched from the file at once.
const FETCH: usize = 1 << 20;

/// An inner archive, still compressed.
pub(super) enum Body<'f, 'a> {
    Plain(Window<&'f ArchiveFile<'a>>),
    Encrypted(Box<RandomAccess<Window<&'f ArchiveFile<'a>>>>),
}

impl ReadAt for Body<'_, '_> {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        match self {
            Self::Plain(window) => window.read_exact_at(buffer, offset),
            Self::Encrypted(plain) => plain.read_exact_at(buffer, offset),
        }
    }

    fn len(&self) -> u64 {
        match self {
            Self::Plain(window) => window.len(),
            Self::Encrypted(plain) => plain.len(),
        }
    }

    fn announce(&self, range: Range<u64>) {
        match self {
            Self::Plain(window) => window.announce(range),
            Self::Encrypted(plain) => plain.announce(range),
        }
    }
}

/// Bytes from a position on, read in order.
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

/// One gzip member and nothing after it but zeros: it reports the end only after it checked all of that.
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

/// An uncompressed inner archive and its checksum, if the index has one: it reports the end only if that was right.
pub(super) struct Summed<R> {
    source: R,
    expected: Option<Sum>,
    seen: u64,
    crc: crc32fast::Hasher,
}

impl<R: Read> Summed<R> {
    pub(super) fn new(source: R, expected: Option<Sum>) -> Self {
        Self { source, expected, seen: 0, crc: crc32fast::Hasher::new() }
    }
}

impl<R: Read> Read for Summed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.source.read(buffer)?;
        let Some(expected) = self.expected else { return Ok(count) };
        // The reader of the tar judges what follows.
        let summed = (expected.length - self.seen).min(count as u64);
        self.crc.update(&buffer[..summed as usize]);
        self.seen += summed;
        if count > 0 || buffer.is_empty() {
            return Ok(count);
        }
        if self.seen < expected.length {
            return Err(io::Error::other("it is shorter than when it was written"));
        }
        if self.crc.clone().finalize() != expected.crc32 {
            return Err(io::Error::other("its checksum is wrong: something in it has changed since it was written"));
        }
        Ok(0)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_end_is_reported_only_when_the_checksum_is_right() {
        let bytes = [7; 1000];
        let sum = Sum { length: 1000, crc32: crc32fast::hash(&bytes) };
        let read = |bytes: &[u8], sum| Summed::new(bytes, sum).read_to_end(&mut Vec::new());
        assert_eq!(read(&bytes, Some(sum)).unwrap(), 1000);
        assert_eq!(read(&[&bytes[..], &[0; 24]].concat(), Some(sum)).unwrap(), 1024);
        assert_eq!(read(&bytes[1..], None).unwrap(), 999);
        let mut changed = bytes;
        changed[500] ^= 1;
        assert!(read(&changed, Some(sum)).is_err());
        assert!(read(&bytes[1..], Some(sum)).is_err());
        // An error stays one.
        let mut summed = Summed::new(&changed[..], Some(sum));
        assert!(summed.read_to_end(&mut Vec::new()).is_err() && summed.read(&mut [0; 10]).is_err());
    }
}
