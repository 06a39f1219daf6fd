//! Reads a copy back, byte by byte, and compares it with what was sent.

use std::{collections::BTreeMap, ops::Range};

use bytes::Bytes;
use sha2::{Digest, Sha256};

use super::late::LateRanges;
use crate::{
    error::{Kind, Operation, StoreError},
    retry::RetryPolicy,
    store::{Checked, Store},
};

/// Bytes per digest.
pub(crate) const GRAIN: u64 = 1 << 20;
/// Bytes per request when reading back.
const STRIDE: u64 = 4 * GRAIN;

/// SHA-256 of every mebibyte of an archive: 32 bytes of memory for each.
#[derive(Debug, Default)]
pub struct Fingerprint {
    pub(super) digests: Vec<[u8; 32]>,
    pub(super) length: u64,
}

impl Fingerprint {
    pub(super) fn push(&mut self, segment: &[u8]) {
        self.digests.push(Sha256::digest(segment).into());
        self.length += segment.len() as u64;
    }
}

/// A fingerprint that grows with its archive. Only the mebibytes with late bytes are kept, until those have come.
#[derive(Debug, Default)]
pub(super) struct Fingerprinting {
    fingerprint: Fingerprint,
    late: LateRanges,
    waiting: BTreeMap<u64, Bytes>,
}

impl Fingerprinting {
    pub(super) fn late(&mut self, range: Range<u64>) {
        self.late.open(range);
    }

    /// The next mebibyte, or the last that is shorter.
    pub(super) fn push(&mut self, segment: &Bytes) {
        let start = self.fingerprint.length;
        if self.late.touches(start..start + segment.len() as u64) {
            self.waiting.insert(start, segment.clone());
        }
        self.fingerprint.push(segment);
    }

    /// Overwrites bytes that were pushed; of those that come later, the pusher has the right ones.
    pub(super) fn patch(&mut self, offset: u64, bytes: &[u8]) {
        let patched = offset..offset + bytes.len() as u64;
        self.late.close(&patched);
        let Self { fingerprint, late, waiting } = self;
        waiting.retain(|start, segment| {
            let end = start + segment.len() as u64;
            let (from, to) = (patched.start.max(*start), patched.end.min(end));
            if from < to {
                let mut own = segment.to_vec();
                own[(from - start) as usize..(to - start) as usize]
                    .copy_from_slice(&bytes[(from - offset) as usize..(to - offset) as usize]);
                if let Some(digest) = fingerprint.digests.get_mut((start / GRAIN) as usize) {
                    *digest = Sha256::digest(&own).into();
                }
                *segment = own.into();
            }
            late.touches(*start..end)
        });
    }

    pub(super) fn finish(self) -> Fingerprint {
        self.fingerprint
    }
}

/// Reads all of `name` and compares. A stretch that differs is read a second time before anything is reported: the
/// error may have been in the reading.
pub(super) async fn compare(
    store: &dyn Store,
    name: &str,
    fingerprint: &Fingerprint,
    policy: &RetryPolicy,
) -> Result<Checked, StoreError> {
    // Whole grains, and at least one.
    let stride = policy.read_at_once(STRIDE).next_multiple_of(GRAIN);
    let mut at = 0;
    while at < fingerprint.length {
        let end = (at + stride).min(fingerprint.length);
        let mut differs = None;
        for _ in 0..2 {
            let bytes = policy.retry_reading(end - at, || exactly(store, name, at..end)).await?;
            differs = fingerprint.difference(at, &bytes);
            if differs.is_none() {
                break;
            }
        }
        if let Some(destination) = differs {
            let reason = format!(
                "{name} was read back and differs from the data sent, in the mebibyte that begins at byte {destination}"
            );
            return Err(StoreError::remote(store.label(), Operation::Check, Kind::Mismatch, reason));
        }
        at = end;
    }
    Ok(Checked::ReadBack)
}

/// A destination that returns another number of bytes than requested has not answered.
async fn exactly(store: &dyn Store, name: &str, range: Range<u64>) -> Result<Bytes, StoreError> {
    let wanted = range.end - range.start;
    let bytes = store.read(name, range).await?;
    if bytes.len() as u64 == wanted {
        return Ok(bytes);
    }
    let reason = format!("received {} bytes of {name} instead of {wanted}", bytes.len());
    Err(StoreError::remote(store.label(), Operation::Read, Kind::Transient { retry_after: None }, reason))
}

impl Fingerprint {
    /// Where the first mebibyte begins in which these bytes, from `at` on, are others.
    pub(super) fn difference(&self, at: u64, bytes: &[u8]) -> Option<u64> {
        let first = (at / GRAIN) as usize;
        let differs = |(n, grain): (usize, &[u8])| {
            let found: [u8; 32] = Sha256::digest(grain).into();
            (self.digests.get(first + n) != Some(&found)).then_some(at + n as u64 * GRAIN)
        };
        bytes.chunks(GRAIN as usize).enumerate().find_map(differs)
    }
}
