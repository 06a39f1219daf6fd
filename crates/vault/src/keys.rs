//! The master key, sealed once for every password and key file that opens the vault.

use argon2::{Algorithm, Argon2, Params, Version};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::{
    id::Id,
    packer::HEADER,
    record,
    seal::{MasterKey, ObjectKey},
};

/// Argon2id's cost, as for SecureTar 3: 16 MiB, 8 passes.
const KIB: u32 = 16 << 10;
const PASSES: u32 = 8;
/// More than this is asked of nobody's memory: whoever holds the storage can put keys there.
const MOST_KIB: u32 = 64 << 10;
const MOST_PASSES: u32 = 64;
/// Bytes of a key file.
pub const KEY_FILE: usize = 32;

/// What opens a vault.
#[derive(Clone)]
pub enum Secret {
    /// Typed by somebody.
    Password(Zeroizing<String>),
    /// Random bytes from a file: no time is spent on making it hard to guess.
    KeyFile(Zeroizing<[u8; KEY_FILE]>),
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// How a secret becomes a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Derivation {
    Argon2id { salt: [u8; 16], kib: u32, passes: u32 },
    KeyFile,
}

/// The content of a `key-` object; it is not sealed itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealedKey {
    /// What the user calls it.
    pub label: String,
    /// When it was made, in milliseconds since 1970.
    pub made: i64,
    derivation: Derivation,
    sealed: Vec<u8>,
}

/// Why no key could be sealed or opened.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeyError {
    /// It is not the one.
    #[error("the password is wrong")]
    Wrong,
    /// The object is none of ours, or of a later version.
    #[error("it is not a key that this version knows")]
    Unknown,
    /// The system has no random numbers.
    #[error("no random numbers: {0}")]
    Random(#[from] getrandom::Error),
    /// Argon2 refused.
    #[error("the password can't be used: {0}")]
    Argon2(argon2::Error),
}

impl SealedKey {
    /// Whether a password opens it; otherwise it is a key file.
    pub fn is_password(&self) -> bool {
        matches!(self.derivation, Derivation::Argon2id { .. })
    }

    /// Seals the master key with a secret. Gives the object's bytes.
    pub(crate) fn seal(
        id: Id,
        label: &str,
        made: i64,
        secret: &Secret,
        master: &MasterKey,
    ) -> Result<Vec<u8>, KeyError> {
        let derivation = match secret {
            Secret::Password(_) => {
                let mut salt = [0; 16];
                getrandom::fill(&mut salt)?;
                Derivation::Argon2id { salt, kib: KIB, passes: PASSES }
            }
            Secret::KeyFile(_) => Derivation::KeyFile,
        };
        let mut sealed = Vec::new();
        derivation.key(id, secret)?.seal(0, master.expose(), &mut sealed);
        let key = Self { label: label.to_owned(), made, derivation, sealed };
        Ok([&HEADER[..], &record::encode(&key)].concat())
    }

    /// The key of an object's bytes.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, KeyError> {
        bytes.strip_prefix(&HEADER).and_then(record::decode).ok_or(KeyError::Unknown)
    }

    /// The master key. [`KeyError::Wrong`]: the secret is another one.
    pub(crate) fn open(&self, id: Id, secret: &Secret) -> Result<MasterKey, KeyError> {
        let plain =
            Zeroizing::new(self.derivation.key(id, secret)?.open(0, &self.sealed).map_err(|_| KeyError::Wrong)?);
        plain.as_slice().try_into().map(MasterKey::new).map_err(|_| KeyError::Unknown)
    }
}

impl Derivation {
    fn key(&self, id: Id, secret: &Secret) -> Result<ObjectKey, KeyError> {
        let mut derived = Zeroizing::new([0; 32]);
        match (self, secret) {
            (Self::Argon2id { salt, kib, passes }, Secret::Password(password)) => {
                if *kib > MOST_KIB || *passes > MOST_PASSES {
                    return Err(KeyError::Unknown);
                }
                let params = Params::new(*kib, *passes, 1, Some(32)).map_err(KeyError::Argon2)?;
                Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
                    .hash_password_into(password.as_bytes(), salt, &mut derived[..])
                    .map_err(KeyError::Argon2)?;
            }
            (Self::KeyFile, Secret::KeyFile(bytes)) => derived.copy_from_slice(&bytes[..]),
            _ => return Err(KeyError::Wrong),
        }
        let mut hasher = blake3::Hasher::new_keyed(&derived);
        hasher.update(b"haul vault key").update(&id.0);
        Ok(ObjectKey::of_secret(Zeroizing::new(*hasher.finalize().as_bytes())))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    #[test]
    fn each_secret_opens_its_own_key_and_no_other() {
        let (master, id) = (MasterKey::new([5; 32]), Id([6; 16]));
        let password = Secret::Password(Zeroizing::new("Blue-Door".to_owned()));
        let file = Secret::KeyFile(Zeroizing::new([7; 32]));
        for (secret, other) in [(&password, &file), (&file, &password)] {
            let bytes = SealedKey::seal(id, "kitchen", 1, secret, &master).unwrap();
            let key = SealedKey::parse(&bytes).unwrap();
            assert_eq!(key.open(id, secret).unwrap().expose(), master.expose());
            assert!(matches!(key.open(id, other), Err(KeyError::Wrong)));
            assert!(matches!(key.open(Id([8; 16]), secret), Err(KeyError::Wrong)), "another object's name");
        }
        let wrong = Secret::Password(Zeroizing::new("blue-door".to_owned()));
        let key = SealedKey::parse(&SealedKey::seal(id, "", 1, &password, &master).unwrap()).unwrap();
        assert!(matches!(key.open(id, &wrong), Err(KeyError::Wrong)));
        assert!(matches!(SealedKey::parse(b"HaulVlt\x02"), Err(KeyError::Unknown)));
        let huge = SealedKey { derivation: Derivation::Argon2id { salt: [0; 16], kib: u32::MAX, passes: 1 }, ..key };
        assert!(matches!(huge.open(id, &password), Err(KeyError::Unknown)), "what it asks for is bounded");
    }
}
