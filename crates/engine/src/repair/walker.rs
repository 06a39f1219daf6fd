//! The members of an inner tar, past damage: a header that does not hold is taken for what it most likely said, and where it said nothing the walk goes on at the next one
//! that does. Two walks over the same bytes meet the same members under the same numbers.

use std::io::{self, Read};

use habackup::tar::{BLOCK, Entry, Reader, TarError, is_header, mended};

/// What is kept of the bytes before the place where reading stands, to go back to a header.
struct Tape<'a> {
    source: Box<dyn Read + Send + 'a>,
    /// Read before the source.
    back: Vec<u8>,
    /// The last block that was read.
    last: [u8; BLOCK],
    filled: usize,
}

impl Tape<'_> {
    fn remember(&mut self, bytes: &[u8]) {
        // Bodies are read in blocks or large pieces, headers in blocks: only the end of what passed matters.
        let bytes = &bytes[bytes.len().saturating_sub(BLOCK)..];
        let kept = BLOCK - bytes.len();
        self.last.copy_within(BLOCK - kept.., 0);
        self.last[kept..].copy_from_slice(bytes);
        self.filled = (self.filled + bytes.len()).min(BLOCK);
    }

    fn block(&mut self) -> io::Result<Option<[u8; BLOCK]>> {
        let mut block = [0; BLOCK];
        let mut filled = 0;
        while filled < BLOCK {
            match self.read(&mut block[filled..]) {
                Ok(0) => return Ok(None),
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Some(block))
    }
}

impl Read for Tape<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = if self.back.is_empty() {
            self.source.read(buffer)?
        } else {
            let count = self.back.len().min(buffer.len());
            buffer[..count].copy_from_slice(&self.back[..count]);
            self.back.drain(..count);
            count
        };
        self.remember(&buffer[..count]);
        Ok(count)
    }
}

/// How a walk ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// At the end marker.
    Marked,
    /// Behind a member, where the bytes end.
    Unmarked,
    /// In the middle of a member or header.
    Cut,
}

/// A member as it comes.
pub(super) struct Step {
    pub(super) number: u64,
    pub(super) entry: Entry,
    /// Its header was damaged.
    pub(super) mended: bool,
}

pub(super) struct Walker<'a> {
    reader: Option<Reader<Tape<'a>>>,
    number: u64,
    /// The next header stands in the place of one that did not hold.
    mending: bool,
    /// Stretches of which nothing could be told.
    pub(super) gaps: u64,
    end: Option<End>,
}

impl<'a> Walker<'a> {
    pub(super) fn new(source: Box<dyn Read + Send + 'a>) -> Self {
        let tape = Tape { source, back: Vec::new(), last: [0; BLOCK], filled: 0 };
        Self { reader: Some(Reader::new(tape)), number: 0, mending: false, gaps: 0, end: None }
    }

    /// The next member; none at the end.
    pub(super) fn step(&mut self) -> io::Result<Option<Step>> {
        while self.end.is_none() {
            let Some(reader) = &mut self.reader else { break };
            match reader.next_entry() {
                Ok(Some(entry)) => {
                    let mended = std::mem::take(&mut self.mending);
                    self.number += 1;
                    return Ok(Some(Step { number: self.number - 1, entry, mended }));
                }
                Ok(None) => self.end = Some(if reader.ended_properly() { End::Marked } else { End::Unmarked }),
                Err(TarError::Io(error)) => return Err(error),
                Err(TarError::Truncated { .. } | TarError::Stopped) => self.end = Some(End::Cut),
                // What follows a single block of zeros is seen by nobody.
                Err(TarError::Garbage { .. }) => self.end = Some(End::Marked),
                Err(TarError::Checksum { .. } | TarError::BadField { .. } | TarError::BadExtension { .. }) => self.go_on()?,
            }
        }
        Ok(None)
    }

    /// Behind a header that did not hold.
    fn go_on(&mut self) -> io::Result<()> {
        let Some(reader) = self.reader.take() else { return Ok(()) };
        let mut tape = reader.into_inner();
        let guess = (!self.mending && tape.filled == BLOCK).then(|| mended(&tape.last)).flatten();
        if let Some(block) = guess {
            self.mending = true;
            tape.back.splice(..0, block);
        } else {
            self.mending = false;
            self.gaps += 1;
            loop {
                match tape.block()? {
                    Some(block) if is_header(&block) => {
                        tape.back.splice(..0, block);
                        break;
                    }
                    Some(_) => {}
                    None => {
                        self.end = Some(End::Cut);
                        break;
                    }
                }
            }
        }
        self.reader = Some(Reader::new(tape));
        Ok(())
    }

    /// From the body of the last member; `None` where it ends too early.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        let Some(reader) = &mut self.reader else { return Ok(None) };
        match reader.read(buffer) {
            Ok(count) => Ok(Some(count)),
            Err(error) if error.get_ref().and_then(|inner| inner.downcast_ref::<TarError>()).is_some() => {
                self.end = Some(End::Cut);
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    pub(super) fn ended(&self) -> Option<End> {
        self.end
    }
}

/// Bytes read at once to come to the end.
const STEP: usize = 256 << 10;

impl Walker<'_> {
    /// Reads what stands behind the end, so that checksums are met; whether there is anything but zeros.
    pub(super) fn drain(&mut self) -> io::Result<bool> {
        let Some(mut tape) = self.reader.take().map(Reader::into_inner) else { return Ok(false) };
        let mut buffer = vec![0; STEP];
        let mut some = false;
        loop {
            match tape.read(&mut buffer) {
                Ok(0) => return Ok(some),
                Ok(count) => some |= buffer[..count].iter().any(|byte| *byte != 0),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}
