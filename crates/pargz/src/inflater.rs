//! Inflates any gzip member as a stream, whoever wrote it: the header in all its forms, the deflate blocks, the
//! checksum and the length. [`Finished`] handles what follows the member.

use std::{
    io::{self, Read},
    mem,
};

use crate::{
    InflateError,
    codec::{Decoder, Step},
    format::TRAILER_LEN,
};

/// Compressed bytes read at a time.
const INPUT: usize = 256 * 1024;
/// Uncompressed bytes made at a time for callers that ask for little.
const OUTPUT: usize = 256 * 1024;
/// Callers that ask for this much get it without a copy. Less would make the decoder move its
/// window about at every call.
const DIRECT: usize = 128 * 1024;
/// The decoder may take this many bytes more than belong to the stream; they are kept in front of
/// each new input so that they can be given back.
const KEPT: usize = 8;
/// Headers with names or extra fields beyond this length are taken for damage.
const LONGEST_HEADER: u64 = 256 * 1024;

const FLAG_CHECKSUM: u8 = 1 << 1;
const FLAG_EXTRA: u8 = 1 << 2;
const FLAG_NAME: u8 = 1 << 3;
const FLAG_COMMENT: u8 = 1 << 4;
const FLAGS_RESERVED: u8 = 0b1110_0000;

/// Reads exactly one gzip member from a stream, strictly.
///
/// The reader reports its end only after it checked the member's checksum and length. Any damage is an [`io::Error`],
/// which [`InflateError::from`] turns back, and stays one. Memory is about 600 KiB whatever the member says. Bytes
/// after the member are not read before [`Inflater::finish`].
pub struct Inflater<R> {
    input: Input<R>,
    decoder: Decoder,
    stage: Stage,
    /// Bytes made ahead; those in `ready` are still to be read.
    output: Vec<u8>,
    ready: std::ops::Range<usize>,
    crc: crc32fast::Hasher,
    bytes_out: u64,
}

enum Stage {
    Header,
    Body,
    Ended,
    Failed(InflateError),
}

/// What follows a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Behind {
    /// Nothing, or zeros.
    Nothing,
    /// Another member; what is read next comes from it.
    Member,
    /// Something else.
    Garbage,
}

/// What is left when a member has been read to its end.
#[derive(Debug)]
pub struct Finished<R> {
    /// The source, read to somewhere after the member.
    pub source: R,
    /// Bytes already taken from the source that follow the member.
    pub leftover: Vec<u8>,
    /// Compressed length of the member, header and trailer included.
    pub bytes_in: u64,
    /// Uncompressed length.
    pub bytes_out: u64,
    /// CRC-32 of the uncompressed bytes.
    pub crc32: u32,
}

impl<R: Read> Inflater<R> {
    /// Reads nothing yet.
    pub fn new(source: R) -> Self {
        Self {
            input: Input { source, buffer: Vec::new(), at: 0, filled: 0, consumed: 0 },
            decoder: Decoder::new(),
            stage: Stage::Header,
            output: Vec::new(),
            ready: 0..0,
            crc: crc32fast::Hasher::new(),
            bytes_out: 0,
        }
    }

    /// Compressed bytes used so far, header included.
    pub fn bytes_in(&self) -> u64 {
        self.input.consumed
    }

    /// Uncompressed bytes made so far; some of them may not have been read yet.
    pub fn bytes_out(&self) -> u64 {
        self.bytes_out
    }

    /// Inflates and checks what has not been read yet, and gives the source back.
    pub fn finish(mut self) -> Result<Finished<R>, InflateError> {
        let mut output = mem::take(&mut self.output);
        output.resize(OUTPUT, 0);
        while self.make(&mut output)? > 0 {}
        let Input { source, buffer, at, filled, consumed } = self.input;
        Ok(Finished {
            source,
            leftover: buffer[at..filled].to_vec(),
            bytes_in: consumed,
            bytes_out: self.bytes_out,
            crc32: self.crc.finalize(),
        })
    }

    /// Continues after a member whose end was read, or whose checksum or length was wrong; after any other damage its
    /// end is unknown. Counts start from zero. The buffers are reused, so there may be millions of members.
    pub fn next_member(&mut self) -> Result<Behind, InflateError> {
        match &self.stage {
            Stage::Ended | Stage::Failed(InflateError::WrongChecksum | InflateError::WrongLength) => {}
            Stage::Failed(error) => return Err(error.again()),
            Stage::Header | Stage::Body => return Ok(Behind::Member),
        }
        let first = loop {
            match self.input.next()? {
                None => return Ok(Behind::Nothing),
                Some(0) => {}
                Some(byte) => break byte,
            }
        };
        if first != MAGIC[0] || self.input.next()? != Some(MAGIC[1]) {
            return Ok(Behind::Garbage);
        }
        self.input.give_back(MAGIC.len());
        self.input.consumed = 0;
        self.decoder.reset();
        self.ready = 0..0;
        self.crc = crc32fast::Hasher::new();
        self.bytes_out = 0;
        self.stage = Stage::Header;
        Ok(Behind::Member)
    }

    /// Makes the next uncompressed bytes; none at the checked end of the member.
    fn make(&mut self, out: &mut [u8]) -> Result<usize, InflateError> {
        let result = self.try_make(out);
        if let Err(error) = &result {
            self.stage = Stage::Failed(error.again());
        }
        result
    }

    fn try_make(&mut self, out: &mut [u8]) -> Result<usize, InflateError> {
        loop {
            match &self.stage {
                Stage::Header => {
                    read_header(&mut self.input)?;
                    self.stage = Stage::Body;
                }
                Stage::Body => {
                    let step = self.step(out)?;
                    self.crc.update(&out[..step.produced]);
                    self.bytes_out += step.produced as u64;
                    if step.ended {
                        // What came before a bad end is still worth having.
                        self.stage = match self.check_trailer() {
                            Ok(()) => Stage::Ended,
                            Err(error) => Stage::Failed(error),
                        };
                    }
                    if step.produced > 0 {
                        return Ok(step.produced);
                    }
                }
                Stage::Ended => return Ok(0),
                Stage::Failed(error) => return Err(error.again()),
            }
        }
    }

    /// One step of the decoder; fetches input when it runs dry.
    fn step(&mut self, out: &mut [u8]) -> Result<Step, InflateError> {
        loop {
            let at = self.input.consumed;
            let step = self.decoder.inflate(self.input.available(), out).map_err(|_| InflateError::Corrupt { at })?;
            self.input.advance(step.consumed);
            if step.ended {
                self.input.give_back(step.unused);
            }
            if step.ended || step.produced > 0 {
                return Ok(step);
            }
            if self.input.available().is_empty() {
                self.input.fill()?;
            } else if step.consumed == 0 {
                // Space, input, and no progress: no decoder should do that, but none may loop for ever.
                return Err(InflateError::Corrupt { at });
            }
        }
    }

    fn check_trailer(&mut self) -> Result<(), InflateError> {
        let mut trailer = [0; TRAILER_LEN];
        for byte in &mut trailer {
            *byte = self.input.byte()?;
        }
        let expected = crate::format::trailer(self.crc.clone().finalize(), self.bytes_out);
        if trailer[..4] != expected[..4] {
            return Err(InflateError::WrongChecksum);
        }
        if trailer != expected {
            return Err(InflateError::WrongLength);
        }
        Ok(())
    }
}

impl<R: Read> Read for Inflater<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if buf.is_empty() {
            return Ok(0);
        }
        if self.ready.is_empty() {
            if buf.len() >= DIRECT {
                return Ok(self.make(buf)?);
            }
            let mut output = mem::take(&mut self.output);
            output.resize(OUTPUT, 0);
            let made = self.make(&mut output);
            self.output = output;
            self.ready = 0..made?;
        }
        let length = buf.len().min(self.ready.len());
        let start = self.ready.start;
        buf[..length].copy_from_slice(&self.output[start..start + length]);
        self.ready.start += length;
        Ok(length)
    }
}

impl<R: Read> Finished<R> {
    /// Reads the source to its end. Zeros may follow a member, nothing else: another member is an
    /// error of its own, since many readers stop
    /// after the first and never say so.
    pub fn nothing_follows(mut self) -> Result<(), InflateError> {
        let mut at = self.bytes_in;
        let mut bytes = mem::take(&mut self.leftover);
        loop {
            if let Some(dirty) = bytes.iter().position(|byte| *byte != 0) {
                let found = at + dirty as u64;
                let mut rest = bytes.split_off(dirty);
                // The two bytes of the magic may come in two reads.
                if rest.len() < 2 {
                    let mut more = (&mut self.source).take(1);
                    more.read_to_end(&mut rest).map_err(InflateError::Io)?;
                }
                return Err(if rest.starts_with(&MAGIC) {
                    InflateError::SecondMember { at: found }
                } else {
                    InflateError::Garbage { at: found }
                });
            }
            at += bytes.len() as u64;
            bytes.clear();
            let mut more = (&mut self.source).take(INPUT as u64);
            more.read_to_end(&mut bytes).map_err(InflateError::Io)?;
            if bytes.is_empty() {
                return Ok(());
            }
        }
    }
}

const MAGIC: [u8; 2] = [0x1f, 0x8b];
const METHOD_DEFLATE: u8 = 8;

/// The compressed bytes, buffered.
struct Input<R> {
    source: R,
    buffer: Vec<u8>,
    /// `buffer[at..filled]` is still to be used.
    at: usize,
    filled: usize,
    /// Bytes used since the beginning of the member.
    consumed: u64,
}

impl<R: Read> Input<R> {
    fn available(&self) -> &[u8] {
        &self.buffer[self.at..self.filled]
    }

    fn advance(&mut self, length: usize) {
        self.at += length;
        self.consumed += length as u64;
    }

    fn give_back(&mut self, length: usize) {
        self.at -= length; // at most KEPT, and so many are in front of `at`
        self.consumed -= length as u64;
    }

    /// Reads more, when all is used. The end of the source is an error: only a member that is not
    /// yet complete asks for more.
    fn fill(&mut self) -> Result<(), InflateError> {
        let kept = self.filled.min(KEPT);
        self.buffer.copy_within(self.filled - kept..self.filled, 0);
        self.buffer.resize(KEPT + INPUT, 0);
        self.at = kept;
        self.filled = kept;
        loop {
            match self.source.read(&mut self.buffer[kept..]) {
                Ok(0) => return Err(InflateError::Truncated { at: self.consumed }),
                Ok(length) if length <= self.buffer.len() - kept => {
                    self.filled += length;
                    return Ok(());
                }
                Ok(_) => {
                    let error = io::Error::other("it claims more bytes than were asked for");
                    return Err(InflateError::Io(error));
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(InflateError::Io(error)),
            }
        }
    }

    /// Where there may be none.
    fn next(&mut self) -> Result<Option<u8>, InflateError> {
        match self.byte() {
            Ok(byte) => Ok(Some(byte)),
            Err(InflateError::Truncated { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn byte(&mut self) -> Result<u8, InflateError> {
        if self.available().is_empty() {
            self.fill()?;
        }
        let byte = self.buffer[self.at];
        self.advance(1);
        Ok(byte)
    }
}

/// Reads a gzip header (RFC 1952, 2.3).
fn read_header<R: Read>(input: &mut Input<R>) -> Result<(), InflateError> {
    for expected in MAGIC {
        if input.byte()? != expected {
            return Err(InflateError::NotGzip);
        }
    }
    let mut header = Header { input, crc: crc32fast::Hasher::new() };
    header.crc.update(&MAGIC);
    header.read()
}

struct Header<'a, R> {
    input: &'a mut Input<R>,
    crc: crc32fast::Hasher,
}

impl<R: Read> Header<'_, R> {
    fn read(mut self) -> Result<(), InflateError> {
        if self.byte()? != METHOD_DEFLATE {
            return Err(self.damaged());
        }
        let flags = self.byte()?;
        if flags & FLAGS_RESERVED != 0 {
            return Err(self.damaged());
        }
        // Time, level hint and system say nothing about the data.
        for _ in 0..6 {
            self.byte()?;
        }
        if flags & FLAG_EXTRA != 0 {
            let length = u16::from_le_bytes([self.byte()?, self.byte()?]);
            for _ in 0..length {
                self.byte()?;
            }
        }
        for flag in [FLAG_NAME, FLAG_COMMENT] {
            if flags & flag != 0 {
                while self.byte()? != 0 {}
            }
        }
        if flags & FLAG_CHECKSUM != 0 {
            let expected = self.crc.clone().finalize() as u16;
            if u16::from_le_bytes([self.byte()?, self.byte()?]) != expected {
                return Err(self.damaged());
            }
        }
        Ok(())
    }

    fn byte(&mut self) -> Result<u8, InflateError> {
        if self.input.consumed >= LONGEST_HEADER {
            return Err(self.damaged());
        }
        let byte = self.input.byte()?;
        self.crc.update(&[byte]);
        Ok(byte)
    }

    fn damaged(&self) -> InflateError {
        InflateError::Corrupt { at: self.input.consumed.saturating_sub(1) }
    }
}
