//! A gzip stream as Python's `tarfile` reads it: members beyond the first only where the mode reads them, checksums where it comes to them, and the end of the input as the
//! mode takes it. What was met stays to be asked for.

use std::{
    cell::Cell,
    io::{self, Read},
    rc::Rc,
};

use habackup::readers::{Failing, GzipEnd};
use pargz::{Behind, InflateError, Inflater};

/// How Python opened it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// `r:gz`, for what is not encrypted: all members, and an error where one breaks off.
    Seeking,
    /// `r|gz`, for what is decrypted on the way: the first member, and an early end is an end.
    Streaming,
}

/// Passed through [`io::Error`], to be told from an error of the file.
#[derive(Debug, thiserror::Error)]
#[error("the rest of the inner archive is unreadable")]
pub(super) struct Failed(pub(super) Failing);

type Source<'s> = Box<dyn Read + 's>;

/// The uncompressed bytes.
pub(super) struct Gzip<'s> {
    member: Option<Inflater<Source<'s>>>,
    mode: Mode,
    end: Rc<Cell<GzipEnd>>,
    /// Said again, whoever asks again.
    failed: Option<Failing>,
}

impl<'s> Gzip<'s> {
    /// `end` tells afterwards how it ended.
    pub(super) fn new(source: Source<'s>, mode: Mode, end: Rc<Cell<GzipEnd>>) -> Self {
        Self { member: Some(Inflater::new(source)), mode, end, failed: None }
    }

    /// Goes on behind a member that ended well.
    fn behind(&mut self) -> io::Result<()> {
        let Some(mut member) = self.member.take() else { return Ok(()) };
        match member.next_member()? {
            Behind::Nothing if self.end.get() == GzipEnd::None => self.end.set(GzipEnd::Sound),
            Behind::Nothing => {}
            Behind::Garbage => self.end.set(GzipEnd::Garbage),
            Behind::Member => {
                self.end.set(GzipEnd::SecondMember);
                self.member = Some(member).filter(|_| self.mode == Mode::Seeking);
            }
        }
        Ok(())
    }

    fn fail(&mut self, error: io::Error) -> io::Result<usize> {
        self.member = None;
        let (end, failing) = match InflateError::from(error) {
            InflateError::Truncated { .. } => (GzipEnd::Truncated, (self.mode == Mode::Seeking).then_some(Failing::Eof)),
            // The tar in it ends before them, so that no reader comes to see them.
            InflateError::WrongChecksum | InflateError::WrongLength => (GzipEnd::Unequal, None),
            InflateError::Io(error) => return Err(error),
            _ => (GzipEnd::Corrupt, Some(Failing::Zlib)),
        };
        self.end.set(end);
        self.failed = failing;
        self.ended()
    }

    fn ended(&self) -> io::Result<usize> {
        self.failed.map_or(Ok(0), |failing| Err(io::Error::other(Failed(failing))))
    }
}

impl Read for Gzip<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        while let Some(member) = &mut self.member {
            match member.read(buffer) {
                Ok(0) => self.behind()?,
                Ok(count) => return Ok(count),
                Err(error) => return self.fail(error),
            }
        }
        self.ended()
    }
}
