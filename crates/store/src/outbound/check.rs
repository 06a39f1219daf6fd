//! Reading a copy back, byte by byte, against what was sent.

use sha2::{Digest, Sha256};

use crate::{
    error::{Kind, Operation, StoreError},
    patience::Patience,
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

    pub(super) fn replace(&mut self, index: usize, segment: &[u8]) {
        if let Some(digest) = self.digests.get_mut(index) {
            *digest = Sha256::digest(segment).into();
        }
    }
}

/// Reads all of `name` and compares.
pub(super) async fn compare(store: &dyn Store, name: &str, fingerprint: &Fingerprint, patience: &Patience) -> Result<Checked, StoreError> {
    let mut at = 0;
    while at < fingerprint.length {
        let end = (at + STRIDE).min(fingerprint.length);
        let bytes = patience.retry(|| store.read(name, at..end)).await?;
        let first = (at / GRAIN) as usize;
        for (n, grain) in bytes.chunks(GRAIN as usize).enumerate() {
            let found: [u8; 32] = Sha256::digest(grain).into();
            if fingerprint.digests.get(first + n) != Some(&found) {
                let place = at + n as u64 * GRAIN;
                let reason = format!("{name} was read back and differs from what was sent, in the mebibyte from byte {place} on");
                return Err(StoreError::remote(store.label(), Operation::Check, Kind::Mismatch, reason));
            }
        }
        at = end;
    }
    Ok(Checked::ReadBack)
}
