//! One inner archive, member after member: the loop that all share who look into one.
//!
//! A [`Walk`] decides what counts as a member, and what stops the reader. [`Tar`] is the strict one. `inspect` walks as
//! Python's tarfile does, because it says what Home Assistant's readers would see; `repair` continues past damage.

use std::{
    io::{self, Read},
    ops::ControlFlow,
};

use habackup::tar::{Entry, Reader, Tail, TarError};
use store::Cancellation;

/// Bytes read at once: a piece of the compressor fits, and stays in the core's cache.
const BUFFER: usize = 256 << 10;

/// A way through an inner archive.
pub(crate) trait Walk {
    type Member;
    /// Why it goes no further.
    type Broken;

    /// The next member; none at the end.
    fn step(&mut self) -> Result<Option<Self::Member>, Self::Broken>;

    /// From the body of that member; 0 at its end.
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Self::Broken>;
}

/// Why a scan stopped.
pub(crate) enum Stopped<B> {
    Cancelled,
    Broken(B),
}

/// For callers that need no more than that.
impl<B: Into<io::Error>> From<Stopped<B>> for io::Error {
    fn from(stopped: Stopped<B>) -> Self {
        match stopped {
            Stopped::Cancelled => io::ErrorKind::Interrupted.into(),
            Stopped::Broken(broken) => broken.into(),
        }
    }
}

/// Whether the next member is wanted.
pub(crate) type Flow = ControlFlow<()>;

/// The body of the current member of a scan.
pub(crate) struct BodyReader<'s, W> {
    walk: &'s mut W,
    buffer: &'s mut [u8],
    cancel: &'s Cancellation,
}

impl<W: Walk> BodyReader<'_, W> {
    /// The next bytes; none at the end.
    pub(crate) fn next(&mut self) -> Result<&[u8], Stopped<W::Broken>> {
        if self.cancel.is_cancelled() {
            return Err(Stopped::Cancelled);
        }
        let count = self.walk.read(self.buffer).map_err(Stopped::Broken)?;
        Ok(&self.buffer[..count])
    }
}

/// Hands every member to `visit`, until that says it is enough. What it leaves of a body is passed over.
pub(crate) fn scan<W: Walk, E: From<Stopped<W::Broken>>>(
    walk: &mut W,
    cancel: &Cancellation,
    mut visit: impl FnMut(&W::Member, &mut BodyReader<'_, W>) -> Result<Flow, E>,
) -> Result<Flow, E> {
    let mut buffer = vec![0; BUFFER];
    while let Some(member) = walk.step().map_err(Stopped::Broken)? {
        let mut body = BodyReader { walk: &mut *walk, buffer: &mut buffer, cancel };
        if cancel.is_cancelled() {
            return Err(Stopped::Cancelled.into());
        }
        if visit(&member, &mut body)?.is_break() {
            return Ok(Flow::Break(()));
        }
        while !body.next()?.is_empty() {}
    }
    Ok(Flow::Continue(()))
}

/// A tar in which everything must be sound.
pub(crate) struct Tar<R> {
    reader: Reader<R>,
    is_whole: bool,
    last: Option<Vec<u8>>,
    tail: Option<Tail>,
}

/// Where it is not.
pub(crate) struct Torn {
    /// The member that was reached, if any was.
    pub(crate) last: Option<Vec<u8>>,
    pub(crate) error: TarError,
}

impl<R: Read> Tar<R> {
    /// It must end as an archive does, and nothing may follow: the checksum of compressed data comes at the very end.
    pub(crate) fn whole(source: R) -> Self {
        Self { reader: Reader::new(source), is_whole: true, last: None, tail: None }
    }

    /// A stretch of one.
    pub(crate) fn stretch(source: R) -> Self {
        Self { is_whole: false, ..Self::whole(source) }
    }

    /// What follows the last member of a whole one, once that was reached.
    pub(crate) fn tail(&self) -> Option<&Tail> {
        self.tail.as_ref()
    }

    /// See [`Reader::stained_padding`].
    pub(crate) fn stained_padding(&self) -> Option<u64> {
        self.reader.stained_padding()
    }

    fn torn(&mut self, error: TarError) -> Torn {
        Torn { last: self.last.take(), error }
    }
}

impl<R: Read> Walk for Tar<R> {
    type Member = Entry;
    type Broken = Torn;

    fn step(&mut self) -> Result<Option<Entry>, Torn> {
        let entry = self.reader.next_entry().map_err(|error| self.torn(error))?;
        match &entry {
            Some(entry) => self.last = Some(entry.path.clone()),
            None if self.is_whole => self.tail = Some(self.reader.finish().map_err(|error| self.torn(error))?),
            None => {}
        }
        Ok(entry)
    }

    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Torn> {
        self.reader.read(buffer).map_err(|error| self.torn(unwrap(error)))
    }
}

/// The error of a tar reader that came through [`Read`].
fn unwrap(error: io::Error) -> TarError {
    error.downcast::<TarError>().unwrap_or_else(TarError::Io)
}
