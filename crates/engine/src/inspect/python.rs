//! An inner archive as Python's `tarfile` goes through it: what it takes for a member and where it stops is what Home
//! Assistant's readers come to see, and not what a strict reader or one that mends would.

use std::io::{self, Read};

use habackup::{
    readers::{ContentEnd, Failing},
    tar::python::{End, Input, Member, Walk},
};

use super::gzip::Failed;
use crate::read::scan;

/// Bytes passed over at once.
const BUFFER: usize = 256 << 10;

/// Goes through a tar.
pub(super) struct Python<R>(Walk<Forward<R>>);

impl<R: Read> Python<R> {
    pub(super) fn new(source: R) -> Self {
        Self(Walk::new(Forward { source, scratch: Vec::new() }))
    }
}

impl<R: Read> scan::Walk for Python<R> {
    type Member = Member;
    /// Where it stops, well or not; an error is one of the file.
    type Broken = io::Result<ContentEnd>;

    fn step(&mut self) -> Result<Option<Member>, Self::Broken> {
        Err(match self.0.step() {
            Ok(member) => return Ok(Some(member)),
            Err(End::Clean { marked: true }) => Ok(ContentEnd::Clean),
            Err(End::Clean { marked: false }) => Ok(ContentEnd::Unmarked),
            Err(End::Silent(text)) => Ok(ContentEnd::Silent(text)),
            Err(End::Refused(text)) => Ok(ContentEnd::Failed(Failing::Read(text))),
            Err(End::Input(error)) => failed(error),
        })
    }

    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Self::Broken> {
        match self.0.read(buffer) {
            // A short read may hide why it is short, which the next one says.
            Ok(0) if self.0.left() > 0 => Err(Ok(ContentEnd::Failed(Failing::Read("unexpected end of data")))),
            read => read.map_err(failed),
        }
    }
}

fn failed(error: io::Error) -> io::Result<ContentEnd> {
    is_failed(&error).map(ContentEnd::Failed).ok_or(error)
}

/// Why Python stops, if it is not an error of the file.
pub(super) fn is_failed(error: &io::Error) -> Option<Failing> {
    error.get_ref()?.downcast_ref::<Failed>().map(|failed| failed.0)
}

/// A stream as the walk wants it.
struct Forward<R> {
    source: R,
    scratch: Vec<u8>,
}

impl<R: Read> Input for Forward<R> {
    fn fill(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.source.read(&mut buffer[filled..]) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // What came before is still worth having; the error comes again.
                Err(_) if filled > 0 => break,
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }

    fn pass(&mut self, count: u64) -> io::Result<u64> {
        self.scratch.resize(BUFFER, 0);
        let mut scratch = std::mem::take(&mut self.scratch);
        let mut passed = 0;
        while passed < count {
            let wanted = (count - passed).min(scratch.len() as u64) as usize;
            let read = self.fill(&mut scratch[..wanted])?;
            passed += read as u64;
            if read < wanted {
                break;
            }
        }
        self.scratch = scratch;
        Ok(passed)
    }
}
