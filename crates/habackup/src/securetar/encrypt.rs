//! Writes a container. The header is written first with a length of zero, because the length is known last; the owner
//! of the sink patches it afterwards. For a sink that cannot be patched, the length is announced and then kept.

use dryoc::classic::crypto_secretstream_xchacha20poly1305::{
    State, crypto_secretstream_xchacha20poly1305_init_pull, crypto_secretstream_xchacha20poly1305_push,
};
use std::io::{self, Write};

use super::cbc_mode::{self, Encrypting};
use super::keys::CipherStart;
use super::message::{TAG_FINAL, TAG_MESSAGE, next_nonce};
use super::{
    BLOCK, CipherHeader, Header, Keys, MESSAGE, MESSAGE_OVERHEAD, Password, SIZE_FIELD_OFFSET, SecureTarError,
    SecureTarVersion,
};

/// What is known once a container is complete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Container {
    /// Plaintext bytes: to be written as a big-endian u64 at `size_field_offset`.
    pub plaintext_len: u64,
    /// From the container's first byte.
    pub size_field_offset: u64,
    /// Bytes of the whole container.
    pub container_len: u64,
    /// v3: the nonce part before each message, for [`super::RandomAccess`]. Not secret. Empty for v2.
    pub nonces: Vec<[u8; 8]>,
}

impl Container {
    /// The bytes that belong at `size_field_offset`.
    pub fn size_field(&self) -> [u8; 8] {
        self.plaintext_len.to_be_bytes()
    }
}

/// Encrypts what is written into it. Without [`Encryptor::finish`] the container has no end, which every reader
/// reports.
pub struct Encryptor<W: Write> {
    sink: W,
    /// What the header already says of the plaintext's length.
    announced: Option<u64>,
    plaintext_len: u64,
    /// Bytes the sink took, the header included.
    written: u64,
    failed: bool,
    body: Body,
}

enum Body {
    Cbc(Box<CbcWriter>),
    Stream(StreamWriter),
}

impl<W: Write> Encryptor<W> {
    /// Derives keys from the password and writes the header.
    pub fn new(version: SecureTarVersion, password: &Password, sink: W) -> Result<Self, SecureTarError> {
        Self::with_keys(&Keys::create(version, password)?, sink)
    }

    /// A container of the keys' version, with salts of its own under the shared root key. Writes the header.
    pub fn with_keys(keys: &Keys, sink: W) -> Result<Self, SecureTarError> {
        Self::with_header(keys, &keys.new_header()?, sink)
    }

    /// As [`Encryptor::with_keys`], for exactly `plaintext_len` bytes: the header is complete from the start, and
    /// [`Encryptor::finish`] fails when another number of bytes was written.
    pub fn with_known_size(keys: &Keys, plaintext_len: u64, sink: W) -> Result<Self, SecureTarError> {
        let header = Header { plaintext_len: Some(plaintext_len), ..keys.new_header()? };
        let encryptor = Self::with_header(keys, &header, sink)?;
        Ok(Self { announced: Some(plaintext_len), ..encryptor })
    }

    pub(super) fn with_header(keys: &Keys, header: &Header, mut sink: W) -> Result<Self, SecureTarError> {
        let body = match (keys.cipher(header), &header.cipher) {
            (Some(CipherStart::Cbc { key, iv }), CipherHeader::V2 { .. }) => {
                Body::Cbc(Box::new(CbcWriter::new(&key, &iv)))
            }
            (Some(CipherStart::Stream { key, header }), CipherHeader::V3(_)) => {
                Body::Stream(StreamWriter::new(&key, &header))
            }
            _ => return Err(SecureTarError::WriteV1),
        };
        sink.write_all(&header.to_bytes())?;
        Ok(Self { sink, announced: None, plaintext_len: 0, written: header.size(), failed: false, body })
    }

    /// Writes the end and returns the sink, positioned after the container. It does not flush the sink.
    pub fn finish(self) -> Result<(W, Container), SecureTarError> {
        self.refuse_after_failure()?;
        if let Some(declared) = self.announced.filter(|declared| *declared != self.plaintext_len) {
            return Err(SecureTarError::SizeMismatch { declared, actual: self.plaintext_len });
        }
        let Self { mut sink, plaintext_len, mut written, body, .. } = self;
        let mut out = Counted { sink: &mut sink, written: &mut written };
        let nonces = match body {
            Body::Cbc(mut cbc) => {
                cbc.finish(&mut out)?;
                Vec::new()
            }
            Body::Stream(mut stream) => {
                stream.finish(&mut out)?;
                stream.nonces
            }
        };
        Ok((sink, Container { plaintext_len, size_field_offset: SIZE_FIELD_OFFSET, container_len: written, nonces }))
    }

    /// The sink, for asking it questions. Writing to it would spoil the container.
    pub fn sink(&self) -> &W {
        &self.sink
    }

    /// A message that was half written cannot be written again: the cipher has moved on.
    fn refuse_after_failure(&self) -> io::Result<()> {
        if self.failed {
            Err(io::Error::other("the encrypted data is incomplete after an earlier failure"))
        } else {
            Ok(())
        }
    }
}

impl<W: Write> Write for Encryptor<W> {
    fn write(&mut self, plain: &[u8]) -> io::Result<usize> {
        self.refuse_after_failure()?;
        let Self { sink, written, .. } = self;
        let mut out = Counted { sink, written };
        let result = match &mut self.body {
            Body::Cbc(cbc) => cbc.write(plain, &mut out),
            Body::Stream(stream) => stream.write(plain, &mut out),
        };
        self.failed = result.is_err();
        result?;
        self.plaintext_len += plain.len() as u64;
        Ok(plain.len())
    }

    /// Flushes the sink. An incomplete message stays here: where messages end is part of the format.
    fn flush(&mut self) -> io::Result<()> {
        self.sink.flush()
    }
}

struct Counted<'a, W> {
    sink: &'a mut W,
    written: &'a mut u64,
}

impl<W: Write> Counted<'_, W> {
    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.sink.write_all(bytes)?;
        *self.written += bytes.len() as u64;
        Ok(())
    }
}

struct CbcWriter {
    cipher: Encrypting,
    /// The first `partial_len` bytes, always less than a block, still wait for the rest of theirs.
    partial: [u8; BLOCK],
    partial_len: usize,
    out: Vec<u8>,
}

impl CbcWriter {
    fn new(key: &[u8; 16], iv: &[u8; 16]) -> Self {
        Self { cipher: Encrypting::new(key, iv), partial: [0; BLOCK], partial_len: 0, out: vec![0; cbc_mode::CHUNK] }
    }

    fn write(&mut self, mut plain: &[u8], out: &mut Counted<'_, impl Write>) -> io::Result<()> {
        if self.partial_len > 0 {
            let (head, rest) = plain.split_at(plain.len().min(BLOCK - self.partial_len));
            self.partial[self.partial_len..][..head.len()].copy_from_slice(head);
            self.partial_len += head.len();
            plain = rest;
            if self.partial_len < BLOCK {
                return Ok(());
            }
            self.partial_len = 0;
            self.put_partial(out)?;
        }
        let (whole, rest) = plain.split_at(plain.len() - plain.len() % BLOCK);
        for chunk in whole.chunks(cbc_mode::CHUNK) {
            let sealed = &mut self.out[..chunk.len()];
            self.cipher.blocks(chunk, sealed);
            out.put(sealed)?;
        }
        self.partial[..rest.len()].copy_from_slice(rest);
        self.partial_len = rest.len();
        Ok(())
    }

    fn put_partial(&mut self, out: &mut Counted<'_, impl Write>) -> io::Result<()> {
        let mut sealed = [0; BLOCK];
        self.cipher.blocks(&self.partial, &mut sealed);
        out.put(&sealed)
    }

    #[expect(clippy::cast_possible_truncation, reason = "a block has 16 bytes")]
    fn finish(&mut self, out: &mut Counted<'_, impl Write>) -> io::Result<()> {
        let padding = BLOCK - self.partial_len;
        self.partial[self.partial_len..].fill(padding as u8);
        self.put_partial(out)
    }
}

struct StreamWriter {
    state: State,
    /// At most one message. A full one waits for the next byte: it might be the last, which is sealed differently.
    pending: Vec<u8>,
    sealed: Vec<u8>,
    inonce: [u8; 8],
    nonces: Vec<[u8; 8]>,
}

impl StreamWriter {
    fn new(key: &[u8; 32], header: &[u8; 24]) -> Self {
        let mut state = State::new();
        crypto_secretstream_xchacha20poly1305_init_pull(&mut state, header, key);
        let mut inonce = [0; 8];
        inonce.copy_from_slice(&header[16..]);
        Self {
            state,
            pending: Vec::with_capacity(MESSAGE),
            sealed: vec![0; MESSAGE + MESSAGE_OVERHEAD],
            inonce,
            nonces: Vec::new(),
        }
    }

    fn write(&mut self, mut plain: &[u8], out: &mut Counted<'_, impl Write>) -> io::Result<()> {
        while !plain.is_empty() {
            if self.pending.is_empty() && plain.len() > MESSAGE {
                // Straight from the caller's buffer.
                let (message, rest) = plain.split_at(MESSAGE);
                self.seal(message, TAG_MESSAGE, out)?;
                plain = rest;
                continue;
            }
            if self.pending.len() == MESSAGE {
                self.seal_pending(TAG_MESSAGE, out)?;
            }
            let (head, rest) = plain.split_at(plain.len().min(MESSAGE - self.pending.len()));
            self.pending.extend_from_slice(head);
            plain = rest;
        }
        Ok(())
    }

    fn seal_pending(&mut self, tag: u8, out: &mut Counted<'_, impl Write>) -> io::Result<()> {
        let mut message = std::mem::take(&mut self.pending);
        let result = self.seal(&message, tag, out);
        message.clear();
        self.pending = message;
        result
    }

    fn seal(&mut self, message: &[u8], tag: u8, out: &mut Counted<'_, impl Write>) -> io::Result<()> {
        let sealed = &mut self.sealed[..message.len() + MESSAGE_OVERHEAD];
        crypto_secretstream_xchacha20poly1305_push(&mut self.state, sealed, message, None, tag)
            .map_err(|error| io::Error::other(error.to_string()))?;
        self.nonces.push(self.inonce);
        self.inonce = next_nonce(self.inonce, &sealed[1 + message.len()..]);
        out.put(sealed)
    }

    fn finish(&mut self, out: &mut Counted<'_, impl Write>) -> io::Result<()> {
        self.seal_pending(TAG_FINAL, out)
    }
}
