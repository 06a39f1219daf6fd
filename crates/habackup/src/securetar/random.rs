//! Reads a container at any position, from several threads. v3 needs the nonces that its writer recorded; v1 and v2 can
//! be read from any block. The streaming reader reads in order and checks the whole length.

use std::fmt;
use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use zeroize::Zeroizing;

use super::cbc_mode::{self, Decrypting};
use super::decrypt::{Expect, FIRST_BYTES};
use super::keys::CipherStart;
use super::message::{HEADROOM, MessageKey, TAG_FINAL, TAG_MESSAGE, plaintext};
use super::{
    BLOCK, Header, Keyring, MESSAGE, MESSAGE_OVERHEAD, SecureTarError, SecureTarVersion, container_len, message_count,
};
use crate::read_at::ReadAt;
use crate::read_at::at_most;

/// Opened messages kept, 1 MiB each: reads that lie side by side share the message between them.
const KEPT_MESSAGES: usize = 4;

/// The plaintext of a container at any position. For v3, every message touched is authenticated as a whole, including
/// its position; so reading all of `0..len()` proves the container sound.
pub struct RandomAccess<S: ReadAt> {
    source: S,
    header: Header,
    len: u64,
    body: Body,
}

enum Body {
    Cbc(CbcBody),
    Stream(StreamBody),
}

impl<S: ReadAt> fmt::Debug for RandomAccess<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RandomAccess").field("header", &self.header).field("len", &self.len).finish_non_exhaustive()
    }
}

impl<S: ReadAt> RandomAccess<S> {
    /// `source` is exactly the container. `nonces` are those of [`super::Container`] (none for v1 and v2); they need
    /// not be trusted. A wrong password, a length that does not fit the header and foreign nonces are errors at once.
    pub fn open(
        source: S,
        keyring: &mut Keyring,
        expect: Expect<'_>,
        nonces: Vec<[u8; 8]>,
    ) -> Result<Self, SecureTarError> {
        let mut start = vec![0; at_most(source.len(), super::V3_LEN)];
        source.read_exact_at(&mut start, 0)?;
        let header = Header::read(&mut start.as_slice())?;
        let start = keyring.unlock(&header)?.cipher(&header).ok_or(SecureTarError::WrongPassword)?;
        let (body, len) = match start {
            CipherStart::Cbc { key, iv } => CbcBody::open(&source, &header, key, iv, expect)?,
            CipherStart::Stream { key, header: secretstream } => {
                let key = MessageKey::new(&key, &secretstream);
                StreamBody::open(&source, &header, key, nonces)?
            }
        };
        Ok(Self { source, header, len, body })
    }

    /// The container's header.
    pub fn header(&self) -> &Header {
        &self.header
    }
}

impl<S: ReadAt> ReadAt for RandomAccess<S> {
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let fits = offset.checked_add(buf.len() as u64).is_some_and(|end| end <= self.len);
        if !fits {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        match &self.body {
            Body::Cbc(cbc) => cbc.read(&self.source, buf, offset),
            Body::Stream(stream) => stream.read(&self.source, buf, offset),
        }
    }

    fn len(&self) -> u64 {
        self.len
    }

    fn announce(&self, range: Range<u64>) {
        let end = range.end.min(self.len);
        if range.start >= end {
            return;
        }
        let header = self.header.size();
        self.source.announce(match &self.body {
            // A block is decrypted with the one before it, which may be the end of the header.
            Body::Cbc(_) => {
                header + range.start.saturating_sub(2 * BLOCK as u64)..header + end.next_multiple_of(BLOCK as u64)
            }
            // Messages are opened whole.
            Body::Stream(_) => {
                let sealed = (MESSAGE + MESSAGE_OVERHEAD) as u64;
                header + range.start / MESSAGE as u64 * sealed..header + end.div_ceil(MESSAGE as u64) * sealed
            }
        });
    }
}

struct CbcBody {
    key: Zeroizing<[u8; 16]>,
    iv: [u8; 16],
    header_len: u64,
    /// The end, its padding removed, and the plaintext position it begins at.
    tail: Vec<u8>,
    tail_at: u64,
}

impl CbcBody {
    fn open(
        source: &impl ReadAt,
        header: &Header,
        key: Zeroizing<[u8; 16]>,
        iv: [u8; 16],
        expect: Expect<'_>,
    ) -> Result<(Body, u64), SecureTarError> {
        let version = header.version();
        let header_len = header.size();
        let container = source.len();
        let mut body = Self { key, iv, header_len, tail: Vec::new(), tail_at: 0 };
        // At least the header is there: it has been read.
        let blocks_len = (container - header_len) / BLOCK as u64 * BLOCK as u64;
        let expected = header.plaintext_len.and_then(|declared| container_len(version, declared));

        let mut first = vec![0; at_most(blocks_len, FIRST_BYTES)];
        body.decrypt(source, &mut first, 0)?;
        if blocks_len > 0 && !expect.met_by(&first) {
            return Err(SecureTarError::WrongPassword);
        }

        let tail_len = at_most(blocks_len, cbc_mode::tail_len(version));
        body.tail_at = blocks_len - tail_len as u64;
        let mut tail = vec![0; tail_len];
        body.decrypt(source, &mut tail, body.tail_at)?;
        let complete = header_len + blocks_len == container && blocks_len > 0;
        let actual =
            (complete && cbc_mode::strip(version, &mut tail).is_ok()).then(|| body.tail_at + tail.len() as u64);
        if version == SecureTarVersion::V1 && actual.is_none() {
            return Err(SecureTarError::Truncated { at: container });
        }
        cbc_mode::verdict(header.plaintext_len, actual, container, expected)?;
        body.tail = tail;
        let len = body.tail_at + body.tail.len() as u64;
        Ok((Body::Cbc(body), len))
    }

    fn read(&self, source: &impl ReadAt, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let in_body = at_most(self.tail_at.saturating_sub(offset), buf.len());
        let (body, tail) = buf.split_at_mut(in_body);
        let tail_start = at_most((offset + in_body as u64).saturating_sub(self.tail_at), self.tail.len());
        if !tail.is_empty() {
            tail.copy_from_slice(&self.tail[tail_start..tail_start + tail.len()]);
        }
        let mut position = offset;
        let mut scratch = Vec::new();
        for piece in body.chunks_mut(cbc_mode::CHUNK) {
            let first = position / BLOCK as u64 * BLOCK as u64;
            let skip = at_most(position - first, BLOCK);
            scratch.resize((skip + piece.len()).next_multiple_of(BLOCK), 0);
            self.decrypt(source, &mut scratch, first)?;
            piece.copy_from_slice(&scratch[skip..skip + piece.len()]);
            position += piece.len() as u64;
        }
        Ok(())
    }

    /// Fills `blocks` with the plaintext at `first`; both are multiples of a block.
    fn decrypt(&self, source: &impl ReadAt, blocks: &mut [u8], first: u64) -> io::Result<()> {
        let mut previous = self.iv;
        if first > 0 {
            source.read_exact_at(&mut previous, self.header_len + first - BLOCK as u64)?;
        }
        source.read_exact_at(blocks, self.header_len + first)?;
        Decrypting::new(&self.key, &previous).blocks(blocks);
        Ok(())
    }
}

struct StreamBody {
    key: MessageKey,
    header_len: u64,
    plaintext_len: u64,
    /// One for each message.
    nonces: Vec<[u8; 8]>,
    kept: Mutex<Kept>,
}

/// A message after its headroom, its plaintext decrypted in place.
type Opened = Arc<Vec<u8>>;

#[derive(Default)]
struct Kept {
    /// Oldest first, at most [`KEPT_MESSAGES`].
    messages: Vec<(u64, Opened)>,
    /// A buffer to use again.
    spare: Option<Vec<u8>>,
}

impl StreamBody {
    fn open(
        source: &impl ReadAt,
        header: &Header,
        key: MessageKey,
        nonces: Vec<[u8; 8]>,
    ) -> Result<(Body, u64), SecureTarError> {
        let container = source.len();
        let declared = header.plaintext_len.unwrap_or(0);
        if container_len(SecureTarVersion::V3, declared) != Some(container) {
            return Err(SecureTarError::LengthMismatch { declared, container });
        }
        if nonces.len() as u64 != message_count(declared) || !header.fits_nonces(&nonces) {
            return Err(SecureTarError::WrongNonces);
        }
        let header_len = header.size();
        let body = Self { key, header_len, plaintext_len: declared, nonces, kept: Mutex::default() };
        if declared == 0 {
            // One message, which no read would ever touch.
            body.message(source, 0)?;
        }
        Ok((Body::Stream(body), declared))
    }

    fn read(&self, source: &impl ReadAt, mut buf: &mut [u8], mut offset: u64) -> io::Result<()> {
        while !buf.is_empty() {
            let index = offset / MESSAGE as u64;
            let skip = at_most(offset % MESSAGE as u64, MESSAGE);
            let opened = self.message(source, index)?;
            let plain = &opened[plaintext(opened.len())][skip..];
            let count = plain.len().min(buf.len());
            let (head, rest) = buf.split_at_mut(count);
            head.copy_from_slice(&plain[..count]);
            buf = rest;
            offset += count as u64;
        }
        Ok(())
    }

    /// The lock is not held while a message is read and opened: two threads may open the same one, none waits.
    fn message(&self, source: &impl ReadAt, index: u64) -> io::Result<Opened> {
        let mut buf = {
            let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some((_, opened)) = kept.messages.iter().find(|(number, _)| *number == index) {
                return Ok(opened.clone());
            }
            kept.spare.take().unwrap_or_default()
        };
        self.open_message(source, index, &mut buf)?;
        let opened = Arc::new(buf);
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.messages.len() == KEPT_MESSAGES {
            let (_, oldest) = kept.messages.remove(0);
            if let Ok(buf) = Arc::try_unwrap(oldest) {
                kept.spare = Some(buf);
            }
        }
        kept.messages.push((index, opened.clone()));
        Ok(opened)
    }

    fn open_message(&self, source: &impl ReadAt, index: u64, buf: &mut Vec<u8>) -> io::Result<()> {
        let start = index * MESSAGE as u64;
        let len = at_most(self.plaintext_len - start, MESSAGE);
        buf.resize(HEADROOM + len + MESSAGE_OVERHEAD, 0);
        let sealed_len = (MESSAGE + MESSAGE_OVERHEAD) as u64;
        source.read_exact_at(&mut buf[HEADROOM..], self.header_len + index * sealed_len)?;
        let tampered = SecureTarError::Tampered { message: index };
        let number = at_most(index, self.nonces.len());
        let (tag, next_nonce) = self.key.open(index, self.nonces[number], buf).ok_or(tampered)?;
        match self.nonces.get(number + 1) {
            // The chain holds: what follows this message is what followed it when it was written.
            Some(next) if tag == TAG_MESSAGE && *next == next_nonce => Ok(()),
            Some(_) if tag == TAG_MESSAGE => Err(SecureTarError::WrongNonces.into()),
            None if tag == TAG_FINAL => Ok(()),
            None => Err(SecureTarError::MissingFinal { messages: index + 1 }.into()),
            Some(_) => Err(SecureTarError::AfterEnd { at: self.header_len + (index + 1) * sealed_len }.into()),
        }
    }
}
