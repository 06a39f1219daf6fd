//! Reads a gzip stream as Python's `tarfile` does: further members only if the mode reads them, checksums when it
//! reaches them, and the end of the input as the mode treats it. It records what it met.

use std::io::{self, Read};

use habackup::readers::{Failing, GzipEnd};

use crate::read::lenient::{DecodeStatus, Gunzip, SharedStatus, Until};

/// How Python opened it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// `r:gz`, for what is not encrypted: all members, and an error where one breaks off.
    Seeking,
    /// `r|gz`, for what is decrypted on the way: the first member, and an early end is an end.
    Streaming,
}

/// Passed through [`io::Error`], to distinguish it from an error of the file.
#[derive(Debug, thiserror::Error)]
#[error("the rest of the inner archive is unreadable")]
pub(super) struct Failed(pub(super) Failing);

/// The uncompressed bytes.
pub(super) struct Gzip<R: Read> {
    content: Gunzip<R>,
    mode: Mode,
    status: SharedStatus,
}

impl<R: Read> Gzip<R> {
    /// `status` says afterwards how it [`ended`].
    pub(super) fn new(source: R, mode: Mode, status: &SharedStatus) -> Self {
        // The tar in it ends before a checksum that is wrong, so that no reader comes to see what follows.
        let until = if mode == Mode::Seeking { Until::WrongChecksum } else { Until::FirstMember };
        Self { content: Gunzip::new(source, until, status), mode, status: status.clone() }
    }
}

impl<R: Read> Read for Gzip<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.content.read(buffer)?;
        if count > 0 || buffer.is_empty() {
            return Ok(count);
        }
        let failing = self.status.get().uninflated.and_then(|uninflated| match (uninflated.is_cut, self.mode) {
            (true, Mode::Seeking) => Some(Failing::Eof),
            (true, Mode::Streaming) => None,
            (false, _) => Some(Failing::Zlib),
        });
        failing.map_or(Ok(0), |failing| Err(io::Error::other(Failed(failing))))
    }
}

/// How a gzip stream ended that was read.
pub(super) fn ended(status: &DecodeStatus) -> GzipEnd {
    match &status.uninflated {
        Some(uninflated) if uninflated.is_cut => GzipEnd::Truncated,
        Some(_) => GzipEnd::Corrupt,
        None if status.unequal => GzipEnd::Unequal,
        None if status.trailing => GzipEnd::Garbage,
        None if status.several => GzipEnd::SecondMember,
        None if status.members > 0 => GzipEnd::Sound,
        None => GzipEnd::None,
    }
}
