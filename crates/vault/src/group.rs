//! A group: content that is compressed and sealed together, 128 KiB of it as a rule.

use crate::seal::{ObjectKey, TAG, Unsealed};

/// So much plain content is gathered before it is sealed.
pub(crate) const FULL: usize = 128 << 10;
/// The same of a database's pages: they have more in common, and are read by the dozen.
pub(crate) const FULL_OF_PAGES: usize = 256 << 10;
/// zstd's level for a first backup, which is to be as fast as the engine's archives, …
pub(crate) const FAST: i32 = 1;
/// … and for what changes later, which is little.
pub(crate) const SMALL: i32 = 3;
/// The most that a group may hold: one piece of a large file, and the largest page of a database many times.
pub(crate) const LARGEST: usize = 4 << 20;
/// The most that a sealed group has.
pub(crate) const LARGEST_SEALED: usize = LARGEST + HEAD + TAG;

/// How a group's bytes are packed.
const STORED: u8 = 0;
const ZSTD: u8 = 1;
/// Method and length of what comes out.
const HEAD: usize = 5;

/// Why a group can't be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum GroupError {
    /// The seal is broken.
    #[error("it was changed or is damaged")]
    Unsealed,
    /// What was sealed is no group.
    #[error("it holds something that this version does not know")]
    Malformed,
}

impl From<Unsealed> for GroupError {
    fn from(_: Unsealed) -> Self {
        Self::Unsealed
    }
}

/// Packs content by zstd's level; what does not get smaller stays as it is.
pub(crate) fn pack(plain: &[u8], level: i32) -> Vec<u8> {
    let length = u32::try_from(plain.len()).unwrap_or(u32::MAX).to_le_bytes();
    let mut out = Vec::with_capacity(HEAD + zstd::zstd_safe::compress_bound(plain.len()));
    out.push(ZSTD);
    out.extend_from_slice(&length);
    out.resize(out.capacity(), 0);
    match zstd::bulk::compress_to_buffer(plain, &mut out[HEAD..], level) {
        Ok(written) if written < plain.len() => out.truncate(HEAD + written),
        _ => return stored(plain),
    }
    out
}

/// Packs content that can't get smaller, such as hashes.
pub(crate) fn stored(plain: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEAD + plain.len());
    out.push(STORED);
    out.extend_from_slice(&u32::try_from(plain.len()).unwrap_or(u32::MAX).to_le_bytes());
    out.extend_from_slice(plain);
    out
}

/// The content of a sealed group that lies at `at`.
pub(crate) fn open(key: &ObjectKey, at: u64, sealed: &[u8]) -> Result<Vec<u8>, GroupError> {
    unpack(key.open(at, sealed)?)
}

fn unpack(mut packed: Vec<u8>) -> Result<Vec<u8>, GroupError> {
    let (method, length) = match packed.first_chunk::<HEAD>() {
        Some([method, length @ ..]) => (*method, u32::from_le_bytes(*length) as usize),
        None => return Err(GroupError::Malformed),
    };
    if length > LARGEST {
        return Err(GroupError::Malformed);
    }
    match method {
        STORED if packed.len() == HEAD + length => {
            packed.drain(..HEAD);
            Ok(packed)
        }
        ZSTD => {
            let plain = zstd::bulk::decompress(&packed[HEAD..], length).map_err(|_| GroupError::Malformed)?;
            if plain.len() == length { Ok(plain) } else { Err(GroupError::Malformed) }
        }
        _ => Err(GroupError::Malformed),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    #[test]
    fn content_comes_out_as_it_went_in() {
        let random: Vec<u8> = (0..5000_u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
        let same = vec![7; 300_000];
        for plain in [&b""[..], b"x", &same, &random] {
            assert_eq!(unpack(pack(plain, 1)).unwrap(), plain);
            assert_eq!(unpack(stored(plain)).unwrap(), plain);
        }
        assert!(pack(&same, 3).len() < 200);
    }

    #[test]
    fn what_is_no_group_is_refused() {
        let packed = pack(&[7; 1000], 1);
        let mut longer = packed.clone();
        longer[1] = 255;
        let mut endless = packed.clone();
        endless[4] = 255;
        let mut unknown = packed.clone();
        unknown[0] = 9;
        let mut short = stored(b"abc");
        short.pop();
        for bytes in [vec![], vec![1, 0, 0], longer, endless, unknown, short, packed[..8].to_vec()] {
            assert_eq!(unpack(bytes.clone()), Err(GroupError::Malformed), "{bytes:?}");
        }
    }
}
