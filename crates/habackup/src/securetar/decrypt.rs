//! Reads a container from its first byte to its last, and reports everything that is wrong with it by then. v3 is
//! authenticated before it is returned; v1 and v2 are returned as they are.

use std::io::{self, BufRead, Read};
use std::ops::Range;

use crate::format::Format;

use super::cbc_mode::{self, Decrypting};
use super::keys::CipherStart;
use super::message::{HEADROOM, MessageKey, TAG_FINAL, TAG_MESSAGE, plaintext};
use super::{
    BLOCK, Header, Keyring, MESSAGE, MESSAGE_OVERHEAD, Password, SecureTarError, SecureTarVersion, container_len,
    read_full,
};

/// How much of the content [`Expect::Archive`] checks.
pub(super) const FIRST_BYTES: usize = 512;

/// What v1 and v2 must decrypt to, because they have no other way to detect a wrong password. v3 does not need it.
#[derive(Clone, Copy, Debug)]
pub enum Expect<'a> {
    /// A gzip member or a tar header, as Home Assistant asks for.
    Archive,
    /// Exactly these first bytes (at most 512).
    Magic(&'a [u8]),
    /// No check: a wrong password then shows as bad padding at the end, or as nonsense.
    Anything,
}

impl Expect<'_> {
    pub(super) fn met_by(self, content: &[u8]) -> bool {
        match self {
            Self::Archive => matches!(Format::of(content), Format::Gzip | Format::Tar),
            Self::Magic(magic) => content.starts_with(magic),
            Self::Anything => true,
        }
    }
}

/// The plaintext of a container. The source must end where the container ends: what comes after is reported.
pub struct Decryptor<R: Read> {
    source: R,
    header: Header,
    body: Body,
    /// Plaintext not yet handed out, in the body's buffer.
    ready: Range<usize>,
    /// Returned once `ready` is used up.
    ending: Option<Result<(), SecureTarError>>,
    failed: bool,
}

enum Body {
    Cbc(Box<CbcReader>),
    Stream(StreamReader),
}

impl<R: Read> Decryptor<R> {
    /// Opens a container that holds an archive.
    pub fn open(source: R, password: &Password) -> Result<Self, SecureTarError> {
        Self::open_with(source, &mut Keyring::new(password.clone()), Expect::Archive)
    }

    /// Opens one of several containers, deriving only the keys not yet known.
    pub fn open_with(mut source: R, keyring: &mut Keyring, expect: Expect<'_>) -> Result<Self, SecureTarError> {
        let header = Header::read(&mut source)?;
        let body = match keyring.unlock(&header)?.cipher(&header).ok_or(SecureTarError::WrongPassword)? {
            CipherStart::Cbc { key, iv } => Body::Cbc(Box::new(CbcReader::new(&header, Decrypting::new(&key, &iv)))),
            CipherStart::Stream { key, header: nonce } => {
                Body::Stream(StreamReader::new(&header, MessageKey::new(&key, &nonce), &nonce))
            }
        };
        let mut opened = Self { source, header, body, ready: 0..0, ending: None, failed: false };
        if matches!(opened.body, Body::Cbc(_)) {
            opened.fill()?;
            if !expect.met_by(opened.body.bytes(&opened.ready)) {
                // A length that cannot be right needs no password to be seen.
                return Err(match opened.ending {
                    Some(Err(error @ (SecureTarError::Truncated { .. } | SecureTarError::AfterEnd { .. }))) => error,
                    _ => SecureTarError::WrongPassword,
                });
            }
        }
        Ok(opened)
    }

    /// The container's header.
    pub fn header(&self) -> &Header {
        &self.header
    }

    fn fill(&mut self) -> io::Result<()> {
        let Self { source, body, .. } = self;
        let filled = match body {
            Body::Cbc(cbc) => cbc.fill(source),
            Body::Stream(stream) => stream.fill(source),
        };
        self.failed = filled.is_err();
        (self.ready, self.ending) = filled?;
        Ok(())
    }
}

impl Body {
    fn bytes(&self, range: &Range<usize>) -> &[u8] {
        match self {
            Self::Cbc(cbc) => &cbc.buf[range.clone()],
            Self::Stream(stream) => &stream.buf[range.clone()],
        }
    }
}

impl<R: Read> BufRead for Decryptor<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.failed {
            return Err(io::Error::other("the encrypted data was already found damaged"));
        }
        while self.ready.is_empty() {
            match self.ending.take() {
                None => self.fill()?,
                Some(Ok(())) => {
                    self.ending = Some(Ok(()));
                    break;
                }
                Some(Err(error)) => {
                    self.failed = true;
                    return Err(error.into());
                }
            }
        }
        Ok(self.body.bytes(&self.ready))
    }

    fn consume(&mut self, amount: usize) {
        self.ready.start = (self.ready.start + amount).min(self.ready.end);
    }
}

impl<R: Read> Read for Decryptor<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if buf.is_empty() {
            return Ok(0);
        }
        let read = self.fill_buf()?.read(buf)?;
        self.consume(read);
        Ok(read)
    }
}

/// What `fill` found: plaintext in the buffer, and whether it was the last.
type Filled = (Range<usize>, Option<Result<(), SecureTarError>>);

struct CbcReader {
    cipher: Decrypting,
    version: SecureTarVersion,
    declared: Option<u64>,
    /// `held` bytes at `held_at` are decrypted and wait: the source may end, and then they hold the padding.
    buf: Vec<u8>,
    held_at: usize,
    held: usize,
    /// Bytes read, the header included.
    consumed: u64,
    header_len: u64,
}

impl CbcReader {
    fn new(header: &Header, cipher: Decrypting) -> Self {
        let header_len = header.size();
        Self {
            cipher,
            version: header.version(),
            declared: header.plaintext_len,
            buf: vec![0; cbc_mode::CHUNK],
            held_at: 0,
            held: 0,
            consumed: header_len,
            header_len,
        }
    }

    fn fill(&mut self, source: &mut impl Read) -> io::Result<Filled> {
        self.buf.copy_within(self.held_at..self.held_at + self.held, 0);
        let space = self.buf.len() - self.held;
        let read = read_full(source, &mut self.buf[self.held..])?;
        self.consumed += read as u64;
        let end = self.held + read - read % BLOCK;
        self.cipher.blocks(&mut self.buf[self.held..end]);
        let tail_at = end.saturating_sub(cbc_mode::tail_len(self.version));
        if read == space {
            (self.held_at, self.held) = (tail_at, end - tail_at);
            return Ok((0..tail_at, None));
        }
        Ok(self.last(tail_at, end))
    }

    /// The source has ended; `buf[..end]` are its last decrypted blocks.
    fn last(&mut self, tail_at: usize, end: usize) -> Filled {
        let mut tail = self.buf[tail_at..end].to_vec();
        let whole = (self.consumed - self.header_len) / BLOCK as u64 * BLOCK as u64;
        let complete = self.header_len + whole == self.consumed && whole > 0;
        let mut actual = None;
        if complete && cbc_mode::strip(self.version, &mut tail).is_ok() {
            actual = Some(whole - (end - tail_at - tail.len()) as u64);
        }
        let verdict = if actual.is_none() && self.version == SecureTarVersion::V1 {
            Err(SecureTarError::Truncated { at: self.consumed })
        } else {
            let expected = self.declared.and_then(|declared| container_len(self.version, declared));
            cbc_mode::verdict(self.declared, actual, self.consumed, expected)
        };
        self.buf[tail_at..tail_at + tail.len()].copy_from_slice(&tail);
        // Behind a bad end even the last block is suspect.
        let ready = if actual.is_some() { 0..tail_at + tail.len() } else { 0..tail_at };
        (ready, Some(verdict))
    }
}

struct StreamReader {
    key: MessageKey,
    inonce: [u8; 8],
    /// Number of the next message.
    index: u64,
    /// One encrypted message after its headroom.
    buf: Vec<u8>,
    /// Bytes read, the header included.
    consumed: u64,
    /// Bytes the container has if the header's size is right.
    expected: u64,
    declared: u64,
    plaintext: u64,
}

impl StreamReader {
    fn new(header: &Header, key: MessageKey, secretstream: &[u8; 24]) -> Self {
        let declared = header.plaintext_len.unwrap_or(0);
        let mut inonce = [0; 8];
        inonce.copy_from_slice(&secretstream[16..]);
        Self {
            key,
            inonce,
            index: 0,
            buf: vec![0; HEADROOM + MESSAGE + MESSAGE_OVERHEAD],
            consumed: header.size(),
            expected: container_len(SecureTarVersion::V3, declared).unwrap_or(u64::MAX),
            declared,
            plaintext: 0,
        }
    }

    fn fill(&mut self, source: &mut impl Read) -> io::Result<Filled> {
        let read = read_full(source, &mut self.buf[HEADROOM..])?;
        let at_end = HEADROOM + read < self.buf.len();
        let Some((tag, next)) = self.key.open(self.index, self.inonce, &mut self.buf[..HEADROOM + read]) else {
            self.consumed += read as u64;
            return Ok(self.not_authentic(read));
        };
        self.consumed += read as u64;
        self.inonce = next;
        self.index += 1;
        let ready = plaintext(HEADROOM + read);
        self.plaintext += ready.len() as u64;
        let ending = match tag {
            TAG_FINAL => Some(self.after_final(source)?),
            // No writer uses other tags; only somebody with the key can have changed one.
            TAG_MESSAGE if !at_end => None,
            TAG_MESSAGE => Some(Err(SecureTarError::MissingFinal { messages: self.index })),
            _ => Some(Err(SecureTarError::Tampered { message: self.index - 1 })),
        };
        Ok((ready, ending))
    }

    fn after_final(&mut self, source: &mut impl Read) -> io::Result<Result<(), SecureTarError>> {
        if read_full(source, &mut [0])? > 0 {
            return Ok(Err(SecureTarError::AfterEnd { at: self.consumed }));
        }
        if self.plaintext != self.declared {
            return Ok(Err(SecureTarError::SizeMismatch { declared: self.declared, actual: self.plaintext }));
        }
        Ok(Ok(()))
    }

    /// Finds the simplest correct description of `read` bytes at the end of `consumed` that are not a message.
    fn not_authentic(&mut self, read: usize) -> Filled {
        let short = self.consumed < self.expected;
        let at_end = HEADROOM + read < self.buf.len();
        if at_end && short {
            return (0..0, Some(Err(SecureTarError::Truncated { at: self.consumed })));
        }
        if read == 0 {
            return (0..0, Some(Err(SecureTarError::MissingFinal { messages: self.index })));
        }
        // A last message followed by other data reads as one longer message.
        let surplus = self.consumed - self.expected.min(self.consumed);
        if let Some(len) = usize::try_from(surplus).ok().and_then(|surplus| read.checked_sub(surplus)) {
            let opened = self.key.open(self.index, self.inonce, &mut self.buf[..HEADROOM + len]);
            if surplus > 0 && opened.is_some_and(|(tag, _)| tag == TAG_FINAL) {
                return (plaintext(HEADROOM + len), Some(Err(SecureTarError::AfterEnd { at: self.expected })));
            }
        }
        (0..0, Some(Err(SecureTarError::Tampered { message: self.index })))
    }
}
