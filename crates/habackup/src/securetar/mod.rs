//! SecureTar, the encryption that Home Assistant wraps around inner archives. Writes versions 2 and 3, reads 1 to 3, as
//! a stream or at any position. The caller patches the header once the length is known ([`Container`] says where).
//!
//! All integers are big-endian. Version 1 has no magic, only a 16-byte salt, then the ciphertext. Versions 2 and 3:
//!
//! | offset | bytes | |
//! |---|---|---|
//! | 0 | 9 | `SecureTar` |
//! | 9 | 1 | version |
//! | 10 | 6 | zero |
//! | 16 | 8 | length of the plaintext in bytes |
//! | 24 | 8 | reserved, written as zero |
//! | 32 | 16 | v2: salt |
//! | 32 | 16, 16, 32, 16, 24 | v3: root salt, validation salt, validation key, stream salt, secretstream header |
//!
//! v1 and v2 are AES-128-CBC with PKCS#7 padding and no authentication; v3 is libsodium's
//! `crypto_secretstream_xchacha20poly1305` in messages of 1 MiB. Source: the Python package `securetar`.

mod cbc_mode;
mod decrypt;
mod encrypt;
mod key_form;
mod keys;
mod message;
mod random;

use std::io::{self, Read};

pub use decrypt::{Decryptor, Expect};
pub use encrypt::{Container, Encryptor};
pub use key_form::{CorrectedKey, key_in};
pub use keys::{Keyring, Keys, Password};
pub use random::RandomAccess;

/// Plaintext bytes of every v3 message but the last.
pub const MESSAGE: usize = 1 << 20;
/// Bytes a v3 message is longer than its plaintext: one for the tag, sixteen for the MAC.
pub const MESSAGE_OVERHEAD: usize = 17;
/// The offset of the 8-byte big-endian plaintext length in a v2 or v3 container.
pub const SIZE_FIELD_OFFSET: u64 = 16;

const MAGIC: &[u8; 9] = b"SecureTar";
const ID_LEN: usize = 16;
const V2_LEN: usize = 48;
const V3_LEN: usize = 136;
const BLOCK: usize = 16;

/// A version of the container.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SecureTarVersion {
    /// Until 2024. Read only.
    V1,
    /// Home Assistant before 2026.3.
    V2,
    /// Home Assistant from 2026.3 on.
    V3,
}

/// Why a container cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum SecureTarError {
    /// v3: certain. v1 and v2: what comes out is not what was expected, which a damaged beginning causes as well.
    #[error("the password is wrong")]
    WrongPassword,
    /// The magic is there, the version is not one of ours.
    #[error("this program does not know SecureTar version {0}")]
    UnknownVersion(u8),
    /// Version 1 has faults in its padding and is only read.
    #[error("Haul does not write SecureTar version 1")]
    WriteV1,
    /// The six bytes after the version.
    #[error("the reserved bytes of the SecureTar header are not zero")]
    ReservedBytes,
    /// `at` counts from the container's first byte.
    #[error("the encrypted data is cut short at byte {at}")]
    Truncated {
        /// Where the data ends.
        at: u64,
    },
    /// Bytes or whole messages after the end.
    #[error("data follows the end of the encrypted data at byte {at}")]
    AfterEnd {
        /// Where the data should end.
        at: u64,
    },
    /// v1 and v2 only: the ciphertext was changed near its end, or the end is missing.
    #[error("the padding at the end of the encrypted data is wrong")]
    BadPadding,
    /// The header's size field.
    #[error("the header declares {declared} bytes, but the encrypted data holds {actual}")]
    SizeMismatch {
        /// Plaintext bytes according to the header.
        declared: u64,
        /// Plaintext bytes found.
        actual: u64,
    },
    /// The header's size field against the container's length, before anything is decrypted.
    #[error("the header declares {declared} bytes, which does not fit an encrypted length of {container}")]
    LengthMismatch {
        /// Plaintext bytes according to the header.
        declared: u64,
        /// Bytes of the whole container.
        container: u64,
    },
    /// v3: the message, or its position, was changed. Counts from 0.
    #[error("encrypted message {message} was changed after it was written")]
    Tampered {
        /// Which message, from 0.
        message: u64,
    },
    /// v3: the data ends between two messages and the last one does not say that it is the last.
    #[error("the last of {messages} encrypted messages is not marked as the last")]
    MissingFinal {
        /// How many messages are there.
        messages: u64,
    },
    /// The nonces given for random access are not those of this container.
    #[error("the message nonces do not belong to this encrypted data")]
    WrongNonces,
    /// The operating system gave no salts, or Argon2 could not get its memory.
    #[error("could not generate a key: {0}")]
    KeyDerivation(String),
    /// The source or sink failed.
    #[error("{0}")]
    Io(#[source] io::Error),
}

/// Unpacks an error of ours that came through a [`Read`] or a [`crate::read_at::ReadAt`].
impl From<io::Error> for SecureTarError {
    fn from(error: io::Error) -> Self {
        error.downcast().unwrap_or_else(Self::Io)
    }
}

impl From<SecureTarError> for io::Error {
    fn from(error: SecureTarError) -> Self {
        match error {
            SecureTarError::Io(error) => error,
            other => io::Error::new(io::ErrorKind::InvalidData, other),
        }
    }
}

/// What comes before the ciphertext.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Plaintext bytes declared; version 1 does not say.
    pub plaintext_len: Option<u64>,
    /// Bytes 24 to 32. Home Assistant writes zeros and ignores them when reading, so nothing else notices a change.
    pub reserved: [u8; 8],
    cipher: CipherHeader,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum CipherHeader {
    V1 { salt: [u8; 16] },
    V2 { salt: [u8; 16] },
    V3(StreamHeader),
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct StreamHeader {
    root_salt: [u8; 16],
    validation_salt: [u8; 16],
    validation_key: [u8; 32],
    stream_salt: [u8; 16],
    secretstream: [u8; 24],
}

impl StreamHeader {
    /// The nonce part before the first message.
    fn first_nonce(&self) -> [u8; 8] {
        let mut nonce = [0; 8];
        nonce.copy_from_slice(&self.secretstream[16..]);
        nonce
    }
}

impl Header {
    /// Reads exactly the header. A source without the magic is taken for version 1, as Home Assistant does.
    pub fn read(source: &mut impl Read) -> Result<Self, SecureTarError> {
        let mut taken = 0;
        let id: [u8; ID_LEN] = take(source, &mut taken)?;
        if id[..MAGIC.len()] != *MAGIC {
            let cipher = CipherHeader::V1 { salt: id };
            return Ok(Self { plaintext_len: None, reserved: [0; 8], cipher });
        }
        let version = id[MAGIC.len()];
        if !matches!(version, 2 | 3) {
            return Err(SecureTarError::UnknownVersion(version));
        }
        if id[MAGIC.len() + 1..].iter().any(|byte| *byte != 0) {
            return Err(SecureTarError::ReservedBytes);
        }
        let plaintext_len = Some(u64::from_be_bytes(take(source, &mut taken)?));
        let reserved = take(source, &mut taken)?;
        let cipher = if version == 2 {
            CipherHeader::V2 { salt: take(source, &mut taken)? }
        } else {
            CipherHeader::V3(StreamHeader {
                root_salt: take(source, &mut taken)?,
                validation_salt: take(source, &mut taken)?,
                validation_key: take(source, &mut taken)?,
                stream_salt: take(source, &mut taken)?,
                secretstream: take(source, &mut taken)?,
            })
        };
        Ok(Self { plaintext_len, reserved, cipher })
    }

    /// The container's version.
    pub fn version(&self) -> SecureTarVersion {
        match self.cipher {
            CipherHeader::V1 { .. } => SecureTarVersion::V1,
            CipherHeader::V2 { .. } => SecureTarVersion::V2,
            CipherHeader::V3(_) => SecureTarVersion::V3,
        }
    }

    /// Bytes of the header: the ciphertext begins there.
    pub fn size(&self) -> u64 {
        match self.cipher {
            CipherHeader::V1 { .. } => ID_LEN as u64,
            CipherHeader::V2 { .. } => V2_LEN as u64,
            CipherHeader::V3(_) => V3_LEN as u64,
        }
    }

    /// Whether these message nonces (see [`Container`]) can belong to this container. They no longer do after Home
    /// Assistant changed the archive's encryption.
    pub fn fits_nonces(&self, nonces: &[[u8; 8]]) -> bool {
        match &self.cipher {
            CipherHeader::V3(stream) => nonces.first() == Some(&stream.first_nonce()),
            _ => nonces.is_empty(),
        }
    }

    fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(V3_LEN);
        let version = match self.cipher {
            CipherHeader::V1 { salt } => return salt.to_vec(),
            CipherHeader::V2 { .. } => 2,
            CipherHeader::V3(_) => 3,
        };
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&[version, 0, 0, 0, 0, 0, 0]);
        bytes.extend_from_slice(&self.plaintext_len.unwrap_or(0).to_be_bytes());
        bytes.extend_from_slice(&self.reserved);
        match &self.cipher {
            CipherHeader::V1 { salt } | CipherHeader::V2 { salt } => bytes.extend_from_slice(salt),
            CipherHeader::V3(stream) => {
                bytes.extend_from_slice(&stream.root_salt);
                bytes.extend_from_slice(&stream.validation_salt);
                bytes.extend_from_slice(&stream.validation_key);
                bytes.extend_from_slice(&stream.stream_salt);
                bytes.extend_from_slice(&stream.secretstream);
            }
        }
        bytes
    }
}

/// Length in bytes of a whole v2 or v3 container with `plaintext_len` bytes in it; saturates for absurd lengths.
/// `None` for version 1, whose padding depends on how it was written.
pub fn container_len(version: SecureTarVersion, plaintext_len: u64) -> Option<u64> {
    match version {
        SecureTarVersion::V1 => None,
        SecureTarVersion::V2 => {
            let padding = BLOCK as u64 - plaintext_len % BLOCK as u64;
            Some(plaintext_len.saturating_add(padding + V2_LEN as u64))
        }
        SecureTarVersion::V3 => {
            let overhead = message_count(plaintext_len) * MESSAGE_OVERHEAD as u64;
            Some(plaintext_len.saturating_add(overhead + V3_LEN as u64))
        }
    }
}

/// How many nonces [`Container`] will have for a container with `plaintext_len` bytes in it.
pub fn nonce_count(version: SecureTarVersion, plaintext_len: u64) -> u64 {
    if version == SecureTarVersion::V3 { message_count(plaintext_len) } else { 0 }
}

/// v3 messages that carry `plaintext_len` bytes; an empty plaintext is one empty message.
fn message_count(plaintext_len: u64) -> u64 {
    plaintext_len.div_ceil(MESSAGE as u64).max(1)
}

/// Reads the next `N` bytes of the header, `taken` bytes into it.
fn take<const N: usize>(source: &mut impl Read, taken: &mut u64) -> Result<[u8; N], SecureTarError> {
    let mut bytes = [0; N];
    let read = read_full(source, &mut bytes)?;
    *taken += read as u64;
    if read < N {
        return Err(SecureTarError::Truncated { at: *taken });
    }
    Ok(bytes)
}

/// Reads until `buf` is full or the source ends; says how many bytes came.
fn read_full(source: &mut impl Read, buf: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buf.len() {
        match source.read(&mut buf[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests;
