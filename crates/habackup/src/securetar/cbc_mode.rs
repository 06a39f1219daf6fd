//! The AES-CBC part of versions 1 and 2: whole blocks, padding, and where a container of either version must end.

use aes::Aes128;
use cbc::cipher::{Array, BlockModeDecrypt, BlockModeEncrypt, InOutBuf, KeyIvInit};

use super::{BLOCK, SecureTarError, SecureTarVersion};

/// Bytes worked on at a time: enough to make calls rare, little enough for the second-level cache.
pub(super) const CHUNK: usize = 256 * 1024;

type Block = Array<u8, cbc::cipher::consts::U16>;

pub(super) struct Encrypting(cbc::Encryptor<Aes128>);
pub(super) struct Decrypting(cbc::Decryptor<Aes128>);

impl Encrypting {
    pub(super) fn new(key: &[u8; 16], iv: &[u8; 16]) -> Self {
        Self(cbc::Encryptor::new(key.into(), iv.into()))
    }

    /// Encrypts `plain`, whole blocks, into as many bytes of `out`.
    pub(super) fn blocks(&mut self, plain: &[u8], out: &mut [u8]) {
        let (plain, rest) = Block::slice_as_chunks(plain);
        let (out, _) = Block::slice_as_chunks_mut(out);
        debug_assert!(rest.is_empty() && plain.len() == out.len());
        if let Ok(blocks) = InOutBuf::new(plain, out) {
            self.0.encrypt_blocks_inout(blocks);
        }
    }
}

impl Decrypting {
    pub(super) fn new(key: &[u8; 16], iv: &[u8; 16]) -> Self {
        Self(cbc::Decryptor::new(key.into(), iv.into()))
    }

    /// Decrypts whole blocks in place.
    pub(super) fn blocks(&mut self, bytes: &mut [u8]) {
        let (blocks, rest) = Block::slice_as_chunks_mut(bytes);
        debug_assert!(rest.is_empty());
        self.0.decrypt_blocks(blocks);
    }
}

/// How much of the decrypted end decides what is padding.
pub(super) fn tail_len(version: SecureTarVersion) -> usize {
    if version == SecureTarVersion::V1 { 3 * BLOCK } else { BLOCK }
}

/// Takes the padding out of the last [`tail_len`] decrypted bytes (fewer in a short container).
pub(super) fn strip(version: SecureTarVersion, tail: &mut Vec<u8>) -> Result<(), SecureTarError> {
    if version == SecureTarVersion::V1 {
        strip_v1(tail);
        return Ok(());
    }
    let padding = padding_len(tail).ok_or(SecureTarError::BadPadding)?;
    tail.truncate(tail.len() - padding);
    Ok(())
}

/// Version 1 padded every write by itself that was not a multiple of 16 bytes, and nothing else. Writes came in
/// 10,240 bytes, then the rest of the compressed data, then, for gzip, the checksum and the length in a write of 4
/// bytes each. So a gzip member ends `…rest (padded or not) | crc, 12 × 0c | length, 12 × 0c`, and an uncompressed tar
/// has no padding. Without undoing this the member has no trailer where it belongs.
///
/// If a rest of whole blocks has a last byte that happens to look like padding (about one in 4,000 files), it is cut
/// too far; the gzip reader then reports it. Nothing in the format distinguishes the two.
fn strip_v1(tail: &mut Vec<u8>) {
    let Some(trailer) = tail.len().checked_sub(2 * BLOCK) else { return };
    let (crc, length) = tail[trailer..].split_at(BLOCK);
    if padding_len(crc) != Some(BLOCK - 4) || padding_len(length) != Some(BLOCK - 4) {
        return;
    }
    let fields = [&crc[..4], &length[..4]].concat();
    tail.truncate(trailer);
    let padding = padding_len(tail).filter(|padding| *padding < BLOCK).unwrap_or(0);
    tail.truncate(tail.len() - padding);
    tail.extend_from_slice(&fields);
}

/// The PKCS#7 padding at the end of `bytes`, if there is a proper one.
fn padding_len(bytes: &[u8]) -> Option<usize> {
    let last = *bytes.last()?;
    let len = usize::from(last);
    let start = bytes.len().checked_sub(len)?;
    ((1..=BLOCK).contains(&len) && bytes[start..].iter().all(|byte| *byte == last)).then_some(len)
}

/// What to say about a container that ended after `actual` plaintext bytes (`None`: its padding is wrong) and
/// `container` bytes in all, of which `declared` plaintext bytes belong into `expected`.
pub(super) fn verdict(
    declared: Option<u64>,
    actual: Option<u64>,
    container: u64,
    expected: Option<u64>,
) -> Result<(), SecureTarError> {
    match (actual, expected) {
        (Some(actual), _) if declared.is_none_or(|declared| declared == actual) => Ok(()),
        // The end is sound but at an unexpected offset: the size field is wrong.
        (Some(actual), _) => Err(SecureTarError::SizeMismatch { declared: declared.unwrap_or(actual), actual }),
        (None, Some(expected)) if container < expected => Err(SecureTarError::Truncated { at: container }),
        (None, Some(expected)) if container > expected => Err(SecureTarError::AfterEnd { at: expected }),
        (None, _) => Err(SecureTarError::BadPadding),
    }
}
