//! The parts of an index: variable-length numbers, sections, the checksum, a bounded cursor.

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::IndexError;

/// Magic, major, minor, two reserved bytes, length of the whole index.
pub(super) const PREFIX: usize = 20;
pub(super) const CHECKSUM: usize = 16;
/// Kind and length before each section.
pub(super) const SECTION: usize = 1 + 8;

pub(super) const SECTION_MEMBER: u8 = 1;
pub(super) const SECTION_PIECES: u8 = 2;
pub(super) const SECTION_NONCES: u8 = 3;
pub(super) const SECTION_FILES: u8 = 4;
pub(super) const SECTION_FOLDERS: u8 = 5;
pub(super) const SECTION_DESCRIPTION: u8 = 6;
pub(super) const SECTION_COPY: u8 = 7;
pub(super) const SECTION_SUM: u8 = 8;

/// The first half of SHA-256.
pub(super) fn checksum(bytes: &[u8]) -> [u8; CHECKSUM] {
    let digest = Sha256::digest(bytes);
    let mut half = [0; CHECKSUM];
    half.copy_from_slice(&digest[..CHECKSUM]);
    half
}

/// The checksum of a description, whoever wrote it: without the field that changes when Home Assistant changes the
/// encryption.
pub(super) fn description_sum(json: &[u8]) -> [u8; CHECKSUM] {
    let Ok(Value::Object(mut fields)) = serde_json::from_slice(json) else { return checksum(json) };
    fields.remove("protected");
    checksum(Value::Object(fields).to_string().as_bytes())
}

/// LEB128: seven bits a byte, the lowest first, the high bit says that more follows.
#[expect(clippy::cast_possible_truncation, reason = "the lowest seven bits are wanted")]
pub(super) fn put_number(mut number: u64, out: &mut Vec<u8>) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// Small numbers of either sign stay small.
pub(super) fn zigzag(number: i64) -> u64 {
    (number << 1 ^ number >> 63) as u64
}

pub(super) fn unzigzag(number: u64) -> i64 {
    (number >> 1) as i64 ^ -((number & 1) as i64)
}

/// A kind, the length of what follows as a little-endian u64.
pub(super) fn put_section(kind: u8, len: usize, out: &mut Vec<u8>) {
    out.push(kind);
    out.extend_from_slice(&(len as u64).to_le_bytes());
}

/// What is left to read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cursor<'a>(pub(super) &'a [u8]);

impl<'a> Cursor<'a> {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn bytes(&mut self, len: u64) -> Result<&'a [u8], IndexError> {
        let split = usize::try_from(len).ok().and_then(|len| self.0.split_at_checked(len));
        let (head, rest) = split.ok_or(IndexError::Malformed("a part is longer than what contains it"))?;
        self.0 = rest;
        Ok(head)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], IndexError> {
        let mut array = [0; N];
        array.copy_from_slice(self.bytes(N as u64)?);
        Ok(array)
    }

    pub(super) fn u8(&mut self) -> Result<u8, IndexError> {
        Ok(u8::from_le_bytes(self.array()?))
    }

    pub(super) fn u32(&mut self) -> Result<u32, IndexError> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    pub(super) fn u64(&mut self) -> Result<u64, IndexError> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    pub(super) fn number(&mut self) -> Result<u64, IndexError> {
        let mut number = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.u8()?;
            let bits = u64::from(byte & 0x7f);
            if bits << shift >> shift != bits {
                break;
            }
            number |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(IndexError::Malformed("a number does not fit into 64 bits"))
    }
}
