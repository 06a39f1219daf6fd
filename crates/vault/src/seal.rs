//! Encryption: one master key for a vault, a key of its own for every object, and sections that are sealed where they lie.
//!
//! An object's key is `BLAKE3-keyed(master key, "haul vault object" ‖ kind ‖ id)`. So what is in an object opens only as
//! that object of that kind of that vault, and only at its own position: the nonce is the section's offset.

use dryoc::classic::crypto_aead_xchacha20poly1305_ietf::{
    crypto_aead_xchacha20poly1305_ietf_decrypt, crypto_aead_xchacha20poly1305_ietf_encrypt,
};
use zeroize::Zeroizing;

use crate::id::{Id, Kind};

/// What sealing adds to a section.
pub(crate) const TAG: usize = 16;

/// The section was changed, belongs elsewhere, or was sealed by another vault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it was changed or is damaged")]
pub(crate) struct Unsealed;

/// A hash of content, of use only within one vault.
pub(crate) type Hash = [u8; 16];

/// The key of everything.
#[derive(Clone)]
pub(crate) struct MasterKey(Zeroizing<[u8; 32]>);

impl std::fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MasterKey(..)")
    }
}

impl MasterKey {
    /// A new one.
    pub(crate) fn random() -> Result<Self, getrandom::Error> {
        let mut bytes = Zeroizing::new([0; 32]);
        getrandom::fill(&mut bytes[..])?;
        Ok(Self(bytes))
    }

    /// From its bytes.
    pub(crate) fn new(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The bytes, for sealing them.
    pub(crate) fn expose(&self) -> &[u8; 32] {
        &self.0
    }

    /// Which vault it is; says nothing of the key.
    pub(crate) fn vault(&self) -> Id {
        let mut id = [0; 16];
        id.copy_from_slice(&blake3::keyed_hash(&self.0, b"haul vault id").as_bytes()[..16]);
        Id(id)
    }

    /// The key of one object.
    pub(crate) fn object(&self, kind: Kind, id: Id) -> ObjectKey {
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        hasher.update(b"haul vault object").update(kind.word().as_bytes()).update(&id.0);
        ObjectKey(Zeroizing::new(*hasher.finalize().as_bytes()))
    }

    /// What finds content that is there already.
    pub(crate) fn hasher(&self) -> ContentHasher {
        ContentHasher(Zeroizing::new(*blake3::keyed_hash(&self.0, b"haul vault content").as_bytes()))
    }
}

/// Opens and seals the sections of one object.
#[derive(Clone)]
pub(crate) struct ObjectKey(Zeroizing<[u8; 32]>);

impl ObjectKey {
    /// The key that a password or key file gives.
    pub(crate) fn of_secret(secret: Zeroizing<[u8; 32]>) -> Self {
        Self(secret)
    }

    /// Appends the sealed section to `out`. `at`: where in the object it begins; each position is used once.
    pub(crate) fn seal(&self, at: u64, plain: &[u8], out: &mut Vec<u8>) {
        let from = out.len();
        out.resize(from + plain.len() + TAG, 0);
        let sealed = crypto_aead_xchacha20poly1305_ietf_encrypt(&mut out[from..], plain, None, &nonce(at), &self.0);
        debug_assert!(sealed.is_ok(), "the lengths fit");
    }

    /// The section's content.
    pub(crate) fn open(&self, at: u64, sealed: &[u8]) -> Result<Vec<u8>, Unsealed> {
        let mut plain = vec![0; sealed.len().checked_sub(TAG).ok_or(Unsealed)?];
        crypto_aead_xchacha20poly1305_ietf_decrypt(&mut plain, sealed, None, &nonce(at), &self.0)
            .map_err(|_| Unsealed)?;
        Ok(plain)
    }
}

fn nonce(at: u64) -> [u8; 24] {
    let mut nonce = [0; 24];
    nonce[..8].copy_from_slice(&at.to_le_bytes());
    nonce
}

/// Hashes content under a key, so that whoever holds the storage learns nothing from it.
#[derive(Clone)]
pub(crate) struct ContentHasher(Zeroizing<[u8; 32]>);

impl ContentHasher {
    /// The hash of these bytes.
    pub(crate) fn hash(&self, bytes: &[u8]) -> Hash {
        let mut hash = [0; 16];
        hash.copy_from_slice(&blake3::keyed_hash(&self.0, bytes).as_bytes()[..16]);
        hash
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    #[test]
    fn a_section_opens_only_as_what_and_where_it_was_sealed() {
        let (one, other) = (MasterKey::new([1; 32]), MasterKey::new([2; 32]));
        let (id, stranger) = (Id([3; 16]), Id([4; 16]));
        let mut sealed = Vec::new();
        one.object(Kind::Pack, id).seal(8, b"states", &mut sealed);
        assert_eq!(one.object(Kind::Pack, id).open(8, &sealed).unwrap(), b"states");
        for key in [one.object(Kind::Pack, stranger), one.object(Kind::Snapshot, id), other.object(Kind::Pack, id)] {
            assert_eq!(key.open(8, &sealed), Err(Unsealed));
        }
        assert_eq!(one.object(Kind::Pack, id).open(9, &sealed), Err(Unsealed));
        for bit in 0..sealed.len() * 8 {
            let mut flipped = sealed.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(one.object(Kind::Pack, id).open(8, &flipped), Err(Unsealed));
        }
        assert_eq!(one.object(Kind::Pack, id).open(8, &sealed[..15]), Err(Unsealed));
    }
}
