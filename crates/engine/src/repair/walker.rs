//! Walks the members of an inner tar past damage: it reads an invalid header as what it most likely said, and if it
//! says nothing, continues at the next valid one. Two walks over the same bytes give the same members the same numbers.

use std::{
    collections::VecDeque,
    io::{self, Read},
};

use habackup::tar::{BLOCK, Entry, Reader, TarError, is_header, padding, repaired_header};

use crate::read::scan::Walk;

/// How much is kept of what precedes a member: its own header, and those that say more about it.
const KEPT: usize = (1 << 20) + 8 * BLOCK;
/// An extended header that can't be read is searched for members up to this length: its size may be the damage.
const SEARCHED: usize = 64 << 10;

/// The bytes of an inner tar. It keeps what has passed since the last member, so that the walk can go back to a header.
struct SparseTape<'a> {
    source: Box<dyn Read + Send + 'a>,
    /// Read before the source.
    back: VecDeque<u8>,
    /// What passed since the end of the last member, up to [`KEPT`].
    kept: Vec<u8>,
    /// So many bytes pass before those.
    skip: usize,
}

impl SparseTape<'_> {
    /// Skips the rest of a body; what is kept begins after it and its padding.
    fn begin(&mut self, left: u64, padding: usize) -> io::Result<()> {
        io::copy(&mut self.by_ref().take(left), &mut io::sink())?;
        self.kept.clear();
        self.skip = padding;
        Ok(())
    }

    fn remember(&mut self, bytes: &[u8]) {
        let skipped = self.skip.min(bytes.len());
        self.skip -= skipped;
        let space = KEPT - self.kept.len();
        let bytes = &bytes[skipped..];
        self.kept.extend_from_slice(&bytes[..bytes.len().min(space)]);
    }

    /// What was kept, if that is all of it.
    fn whole(&mut self) -> Option<Vec<u8>> {
        let kept = std::mem::take(&mut self.kept);
        (kept.len() < KEPT).then_some(kept)
    }

    /// Has these bytes read before all others.
    fn put_back(&mut self, bytes: &[u8]) {
        for byte in bytes.iter().rev() {
            self.back.push_front(*byte);
        }
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

impl Read for SparseTape<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = if self.back.is_empty() { self.source.read(buffer)? } else { self.back.read(buffer)? };
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
    pub(super) repaired: bool,
    /// Its name may be cut: an unreadable header before it may have held the whole name.
    pub(super) nameless: bool,
    /// How often before it the walk lost its way.
    pub(super) breaks: u64,
    /// The member before it had a repaired header, and no header is where its size leads.
    pub(super) misfit: bool,
}

/// Why a body can't be read on.
pub(super) enum Broken {
    /// Another member begins in it: its header was damaged, and so was the size there.
    Overrun,
    /// There is no more of it.
    Cut,
    Io(io::Error),
}

impl From<io::Error> for Broken {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// For a second pass over what was whole before.
impl From<Broken> for io::Error {
    fn from(broken: Broken) -> Self {
        match broken {
            Broken::Io(error) => error,
            Broken::Overrun | Broken::Cut => changed(),
        }
    }
}

pub(super) fn changed() -> io::Error {
    io::Error::other("the archive changed while Haul read it")
}

pub(super) struct Walker<'a> {
    reader: Option<Reader<SparseTape<'a>>>,
    number: u64,
    /// Behind the body of the last member.
    padding: usize,
    /// The next header replaces an invalid one.
    repairing: bool,
    /// The next header follows an unreadable stretch; whether that began as an extended header.
    lost: Option<bool>,
    /// The started block of the body of a member with a repaired header.
    watch: Option<Vec<u8>>,
    /// The last member had a repaired header.
    after_repaired: bool,
    /// Unreadable stretches.
    pub(super) gaps: u64,
    /// Mended members in which another one began.
    overruns: u64,
    /// The last member had a repaired header, and no header is where its size leads.
    pub(super) misfit: bool,
    end: Option<End>,
}

impl<'a> Walker<'a> {
    pub(super) fn new(source: Box<dyn Read + Send + 'a>) -> Self {
        let tape = SparseTape { source, back: VecDeque::new(), kept: Vec::new(), skip: 0 };
        Self {
            reader: Some(Reader::new(tape)),
            number: 0,
            padding: 0,
            repairing: false,
            lost: None,
            watch: None,
            after_repaired: false,
            gaps: 0,
            overruns: 0,
            misfit: false,
            end: None,
        }
    }

    fn found(&mut self, entry: Entry) -> Step {
        let repaired = std::mem::take(&mut self.repairing);
        // A name that fills its field may be the beginning of a longer one in a lost header.
        let is_bare = entry.header_offset == entry.ustar_offset && entry.path.len() >= 100;
        let nameless = self.lost.take().is_some_and(|was_extension| was_extension || is_bare);
        self.watch = repaired.then(|| Vec::with_capacity(BLOCK));
        self.after_repaired = repaired;
        self.padding = padding(entry.size);
        self.number += 1;
        Step { number: self.number - 1, entry, repaired, nameless, breaks: self.breaks(), misfit: self.misfit }
    }

    fn breaks(&self) -> u64 {
        self.gaps + self.overruns
    }

    /// Reads what is left of a body in which another member may begin.
    fn pass(&mut self) -> io::Result<()> {
        let mut buffer = vec![0; if self.watch.is_some() { STEP } else { 0 }];
        while self.watch.is_some() {
            match self.read(&mut buffer) {
                Ok(0) | Err(Broken::Overrun | Broken::Cut) => break,
                Ok(_) => {}
                Err(Broken::Io(error)) => return Err(error),
            }
        }
        self.watch = None;
        Ok(())
    }

    /// Behind a header that did not hold, or an extended one at `extension` that makes no sense.
    fn go_on(&mut self, extension: Option<u64>) -> io::Result<()> {
        let Some(reader) = self.reader.take() else { return Ok(()) };
        let offset = reader.offset();
        let mut tape = reader.into_inner();
        let kept = tape.whole().unwrap_or_default();
        let head = kept.len().saturating_sub(BLOCK);
        let last: Option<&[u8; BLOCK]> =
            kept[head..].try_into().ok().filter(|_| !self.repairing && extension.is_none());
        if let Some(block) = last.and_then(repaired_header) {
            self.repairing = true;
            tape.put_back(&block);
            // What precedes its own header still applies to it.
            tape.put_back(&kept[..head]);
        } else {
            self.misfit |= self.after_repaired && !self.repairing && self.lost.is_none() && extension.is_none();
            self.repairing = false;
            self.gaps += 1;
            self.lost = Some(extension.is_some() || self.lost.unwrap_or_default());
            let behind = extension.map(|at| (at + BLOCK as u64 + kept.len() as u64).saturating_sub(offset) as usize);
            if let Some(body) = behind.and_then(|behind| kept.get(behind..)).filter(|body| body.len() <= SEARCHED) {
                tape.put_back(body);
            }
            self.search(&mut tape)?;
        }
        self.reader = Some(Reader::new(tape));
        Ok(())
    }

    /// Comes to the next header that holds.
    fn search(&mut self, tape: &mut SparseTape<'_>) -> io::Result<()> {
        loop {
            match tape.block()? {
                Some(block) if is_header(&block) => {
                    tape.put_back(&block);
                    return Ok(());
                }
                Some(_) => tape.kept.clear(),
                None => {
                    self.end = Some(End::Cut);
                    return Ok(());
                }
            }
        }
    }

    /// Goes back to a member that begins in the body of a mended one.
    fn turn_back(&mut self, behind: &[u8]) {
        let (Some(block), Some(reader)) = (self.watch.take(), self.reader.take()) else { return };
        let mut tape = reader.into_inner();
        tape.put_back(behind);
        tape.put_back(&block);
        self.overruns += 1;
        self.padding = 0;
        self.after_repaired = false;
        self.reader = Some(Reader::new(tape));
    }

    pub(super) fn ended(&self) -> Option<End> {
        self.end
    }
}

impl Walk for Walker<'_> {
    type Member = Step;
    type Broken = Broken;

    fn step(&mut self) -> Result<Option<Step>, Broken> {
        self.pass()?;
        self.misfit = false;
        while self.end.is_none() {
            let Some(reader) = &mut self.reader else { break };
            let padded = std::mem::take(&mut self.padding);
            let next = reader.skip_body_with(|tape, left| tape.begin(left, padded)).and_then(|()| reader.next_entry());
            match next {
                Ok(Some(entry)) => return Ok(Some(self.found(entry))),
                Ok(None) => self.end = Some(if reader.ended_properly() { End::Marked } else { End::Unmarked }),
                Err(TarError::Io(error)) => return Err(error.into()),
                Err(TarError::Truncated { .. } | TarError::Stopped) => self.end = Some(End::Cut),
                // No reader sees what follows a single block of zeros.
                Err(TarError::Garbage { .. }) => self.end = Some(End::Marked),
                Err(TarError::Checksum { .. } | TarError::BadField { .. }) => self.go_on(None)?,
                Err(TarError::BadExtension { offset, .. }) => self.go_on(Some(offset))?,
            }
        }
        Ok(None)
    }

    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Broken> {
        let Some(reader) = &mut self.reader else { return Err(Broken::Cut) };
        let count = reader.read(buffer).map_err(|error| match error.downcast::<TarError>() {
            Ok(_) => {
                self.end = Some(End::Cut);
                Broken::Cut
            }
            Err(error) => Broken::Io(error),
        })?;
        if let Some(behind) = self.watch.as_mut().and_then(|block| header_within(block, &buffer[..count])) {
            self.turn_back(&buffer[behind..count]);
            return Err(Broken::Overrun);
        }
        Ok(count)
    }
}

/// Adds the next bytes of a body; returns where they continue after a block that is a header, which is left in `block`.
fn header_within(block: &mut Vec<u8>, bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    while at < bytes.len() {
        let count = (BLOCK - block.len()).min(bytes.len() - at);
        block.extend_from_slice(&bytes[at..at + count]);
        at += count;
        if block.len() == BLOCK {
            if <&[u8; BLOCK]>::try_from(&block[..]).is_ok_and(is_header) {
                return Some(at);
            }
            block.clear();
        }
    }
    None
}

/// Bytes read at once to come to the end.
const STEP: usize = 256 << 10;

impl Walker<'_> {
    /// Reads what follows the end, so that checksums are checked; returns whether there is anything but zeros.
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
