//! One part of an archive that grows, as a reader.
//!
//! How long a part is, is known behind its end, and zeros that fill its last block come before that. So the last bytes
//! that came are held back until the end is known.

use std::{
    collections::VecDeque,
    io::{self, Read},
};

use bytes::Bytes;

/// No more follows a part's content.
const FILL: usize = habackup::tar::BLOCK - 1;

/// An archive's members while it grows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// A member of this name begins.
    Begin(String),
    /// The next bytes of its content; up to 511 zeros may follow it.
    Content(Bytes),
    /// It has ended, and had so many bytes.
    End(u64),
}

/// Where the members come from.
pub trait Pieces: Send {
    /// Waits for the next piece. `None`: the archive is complete. An error says why it never will be.
    fn next(&mut self) -> Result<Option<Piece>, String>;
}

/// Waits for the next member's name.
pub(super) fn begin(pieces: &mut dyn Pieces) -> Result<Option<String>, String> {
    match pieces.next()? {
        None => Ok(None),
        Some(Piece::Begin(name)) => Ok(Some(name)),
        Some(Piece::Content(_) | Piece::End(_)) => Err(OUT_OF_ORDER.to_owned()),
    }
}

const OUT_OF_ORDER: &str = "its parts came out of order";

/// The content of the member that has begun.
pub(super) struct PartReader<'a> {
    pieces: &'a mut dyn Pieces,
    held: VecDeque<Bytes>,
    waiting: usize,
    given: u64,
    size: Option<u64>,
    failed: Option<String>,
}

impl<'a> PartReader<'a> {
    pub(super) fn new(pieces: &'a mut dyn Pieces) -> Self {
        Self { pieces, held: VecDeque::new(), waiting: 0, given: 0, size: None, failed: None }
    }

    /// Everything was read: its bytes, or why not.
    pub(super) fn finish(&mut self) -> Result<u64, String> {
        let mut rest = [0; 4096];
        while self.read(&mut rest).map_err(|error| error.to_string())? > 0 {}
        Ok(self.given)
    }

    /// Bytes that certainly belong to it.
    fn available(&self) -> u64 {
        match self.size {
            Some(size) => size - self.given,
            None => self.waiting.saturating_sub(FILL) as u64,
        }
    }

    fn fetch(&mut self) -> Result<(), String> {
        match self.pieces.next()? {
            Some(Piece::Content(bytes)) if bytes.is_empty() => Ok(()),
            Some(Piece::Content(bytes)) => {
                self.waiting += bytes.len();
                self.held.push_back(bytes);
                Ok(())
            }
            Some(Piece::End(size)) => {
                let came = self.given + self.waiting as u64;
                if size < self.given || size > came {
                    return Err(format!("a part of {came} bytes is said to have {size}"));
                }
                self.size = Some(size);
                Ok(())
            }
            Some(Piece::Begin(_)) | None => Err(OUT_OF_ORDER.to_owned()),
        }
    }
}

impl Read for PartReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if let Some(why) = &self.failed {
            return Err(io::Error::other(why.clone()));
        }
        while self.available() == 0 && self.size.is_none() {
            if let Err(why) = self.fetch() {
                self.failed = Some(why.clone());
                return Err(io::Error::other(why));
            }
        }
        let most = self.available().min(buffer.len() as u64) as usize;
        let Some(first) = self.held.front_mut().filter(|_| most > 0) else { return Ok(0) };
        let count = most.min(first.len());
        buffer[..count].copy_from_slice(&first.split_to(count));
        if first.is_empty() {
            self.held.pop_front();
        }
        self.waiting -= count;
        self.given += count as u64;
        Ok(count)
    }
}
