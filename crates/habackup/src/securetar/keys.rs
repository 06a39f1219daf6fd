//! Derives keys from a password. This module holds every secret; all of them are wiped when dropped and none is ever
//! printed. Deriving a v3 root key costs 16 MiB and tens of milliseconds by design, so it is kept and shared.

use argon2::{Algorithm, Argon2, Params, Version};
use sha2::{Digest, Sha256};
use std::fmt;
use zeroize::{Zeroize, Zeroizing};

use super::{CipherHeader, Header, SecureTarError, SecureTarVersion, StreamHeader, key_form};

/// `opslimit` and `memlimit` of the Python package, in Argon2's own terms.
const ARGON2_PASSES: u32 = 8;
const ARGON2_KIB: u32 = 16 * 1024;
const PERSONAL: &[u8] = b"SecureTarv3";
const SHA256_ROUNDS: usize = 100;
/// Version, root key, root salt, validation salt, validation key.
const EXPORTED_V3: usize = 1 + 32 + 16 + 16 + 32;
/// Every further root key of an archive costs an Argon2 run; writers use one per archive, so a few are plenty.
const KEPT_KEYS: usize = 4;

/// The backup password.
#[derive(Clone)]
pub struct Password(pub(super) Zeroizing<String>);

impl Password {
    /// Takes the text as it is: no trimming, no Unicode normalisation (Home Assistant does neither).
    pub fn new(text: impl Into<String>) -> Self {
        Self(Zeroizing::new(text.into()))
    }

    /// The text itself, only for the code that passes it on.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether this is its text.
    pub fn is(&self, text: &str) -> bool {
        self.0.as_str() == text
    }

    /// Home Assistant's own key that this password means, if it was typed with a slip: small letters, spaces, quotes,
    /// other dashes.
    pub fn corrected(&self) -> Option<key_form::CorrectedKey> {
        key_form::corrected(&self.0)
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(..)")
    }
}

/// What a password becomes for one archive. Every container written with the same keys shares the root salt, so
/// Argon2 runs once; each still has a salt, and with it a key, of its own.
#[derive(Clone)]
pub struct Keys(Inner);

#[derive(Clone)]
enum Inner {
    Cbc(Zeroizing<[u8; 16]>),
    Stream { root: Zeroizing<[u8; 32]>, root_salt: [u8; 16], validation_salt: [u8; 16], validation_key: [u8; 32] },
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keys(..)")
    }
}

impl Keys {
    /// Keys for writing: a new root salt for v3.
    pub fn create(version: SecureTarVersion, password: &Password) -> Result<Self, SecureTarError> {
        match version {
            SecureTarVersion::V1 => Err(SecureTarError::WriteV1),
            SecureTarVersion::V2 => Ok(Self(Inner::Cbc(cbc_key(password)))),
            SecureTarVersion::V3 => {
                let (root_salt, validation_salt) = (random()?, random()?);
                let root = root_key(password, &root_salt)?;
                let validation_key = *derived_key(&root, &validation_salt);
                Ok(Self(Inner::Stream { root, root_salt, validation_salt, validation_key }))
            }
        }
    }

    /// Keys of no password, to see how fast `version` is: nothing that they write is for anybody to open.
    pub fn trial(version: SecureTarVersion) -> Result<Self, SecureTarError> {
        match version {
            SecureTarVersion::V1 => Err(SecureTarError::WriteV1),
            SecureTarVersion::V2 => Ok(Self(Inner::Cbc(Zeroizing::new(random()?)))),
            SecureTarVersion::V3 => {
                let (root, root_salt, validation_salt, validation_key) =
                    (Zeroizing::new(random()?), random()?, random()?, random()?);
                Ok(Self(Inner::Stream { root, root_salt, validation_salt, validation_key }))
            }
        }
    }

    /// Keys for reading the container after `header`. Returns [`SecureTarError::WrongPassword`] for v3; with v1 and v2
    /// a wrong password shows only in what they decrypt to.
    pub fn unlock(header: &Header, password: &Password) -> Result<Self, SecureTarError> {
        match &header.cipher {
            CipherHeader::V1 { .. } | CipherHeader::V2 { .. } => Ok(Self(Inner::Cbc(cbc_key(password)))),
            CipherHeader::V3(stream) => {
                let root = root_key(password, &stream.root_salt)?;
                let keys = Self(Inner::Stream {
                    root,
                    root_salt: stream.root_salt,
                    validation_salt: stream.validation_salt,
                    validation_key: stream.validation_key,
                });
                if keys.opens(stream) { Ok(keys) } else { Err(SecureTarError::WrongPassword) }
            }
        }
    }

    /// The version a container written with these keys has.
    pub fn version(&self) -> SecureTarVersion {
        match self.0 {
            Inner::Cbc(_) => SecureTarVersion::V2,
            Inner::Stream { .. } => SecureTarVersion::V3,
        }
    }

    /// The keys as bytes, for a machine that is to write the archive: with those of v3 it can open only this archive;
    /// with those of v2, which has no salt before its key, every archive of the same password.
    pub fn export(&self) -> Zeroizing<Vec<u8>> {
        let mut bytes = Zeroizing::new(Vec::with_capacity(EXPORTED_V3));
        match &self.0 {
            Inner::Cbc(key) => {
                bytes.push(2);
                bytes.extend_from_slice(&key[..]);
            }
            Inner::Stream { root, root_salt, validation_salt, validation_key } => {
                bytes.push(3);
                for part in [&root[..], root_salt, validation_salt, validation_key] {
                    bytes.extend_from_slice(part);
                }
            }
        }
        bytes
    }

    /// What [`Self::export`] gave; `None` for anything else.
    pub fn import(bytes: &[u8]) -> Option<Self> {
        match bytes.split_first()? {
            (2, key) => {
                let mut own = Zeroizing::new([0; 16]);
                own.copy_from_slice(key.first_chunk::<16>().filter(|_| key.len() == 16)?);
                Some(Self(Inner::Cbc(own)))
            }
            (3, rest) => {
                let (first, rest) = rest.split_first_chunk::<32>()?;
                let (root_salt, rest) = rest.split_first_chunk()?;
                let (validation_salt, rest) = rest.split_first_chunk()?;
                let (validation_key, rest) = rest.split_first_chunk()?;
                let mut root = Zeroizing::new([0; 32]);
                root.copy_from_slice(first);
                let keys = Inner::Stream {
                    root,
                    root_salt: *root_salt,
                    validation_salt: *validation_salt,
                    validation_key: *validation_key,
                };
                rest.is_empty().then_some(Self(keys))
            }
            _ => None,
        }
    }

    /// Whether these are the keys for `header`, without deriving anything again.
    fn fits(&self, header: &Header) -> bool {
        match (&self.0, &header.cipher) {
            (Inner::Cbc(_), CipherHeader::V1 { .. } | CipherHeader::V2 { .. }) => true,
            (Inner::Stream { root_salt, .. }, CipherHeader::V3(stream)) => *root_salt == stream.root_salt,
            _ => false,
        }
    }

    /// Whether the validation key in the header comes from our root key. It is public, so comparing it needs no
    /// constant time.
    fn opens(&self, stream: &StreamHeader) -> bool {
        match &self.0 {
            Inner::Cbc(_) => false,
            Inner::Stream { root, .. } => *derived_key(root, &stream.validation_salt) == stream.validation_key,
        }
    }

    /// A header with new salts for a container to be written, its length still zero.
    pub(super) fn new_header(&self) -> Result<Header, SecureTarError> {
        let cipher = match &self.0 {
            Inner::Cbc(_) => CipherHeader::V2 { salt: random()? },
            Inner::Stream { root_salt, validation_salt, validation_key, .. } => CipherHeader::V3(StreamHeader {
                root_salt: *root_salt,
                validation_salt: *validation_salt,
                validation_key: *validation_key,
                stream_salt: random()?,
                secretstream: random()?,
            }),
        };
        Ok(Header { plaintext_len: Some(0), reserved: [0; 8], cipher })
    }

    /// The cipher's initial state for `header`. `None` if the keys are of another version.
    pub(super) fn cipher(&self, header: &Header) -> Option<CipherStart> {
        match (&self.0, &header.cipher) {
            (Inner::Cbc(key), CipherHeader::V1 { salt } | CipherHeader::V2 { salt }) => {
                Some(CipherStart::Cbc { key: key.clone(), iv: cbc_iv(key, salt) })
            }
            (Inner::Stream { root, .. }, CipherHeader::V3(stream)) => {
                Some(CipherStart::Stream { key: derived_key(root, &stream.stream_salt), header: stream.secretstream })
            }
            _ => None,
        }
    }
}

/// Key and start value of one container's cipher.
pub(super) enum CipherStart {
    Cbc { key: Zeroizing<[u8; 16]>, iv: [u8; 16] },
    Stream { key: Zeroizing<[u8; 32]>, header: [u8; 24] },
}

/// A password and the keys it became so far: reading an archive's containers one after the other derives each root
/// key once.
pub struct Keyring {
    password: Password,
    known: Vec<Keys>,
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keyring(..)")
    }
}

impl Keyring {
    /// Nothing is derived yet.
    pub fn new(password: Password) -> Self {
        Self { password, known: Vec::new() }
    }

    /// The keys for `header`; see [`Keys::unlock`].
    pub fn unlock(&mut self, header: &Header) -> Result<Keys, SecureTarError> {
        if let Some(keys) = self.known.iter().find(|keys| keys.fits(header)) {
            return match &header.cipher {
                CipherHeader::V3(stream) if !keys.opens(stream) => Err(SecureTarError::WrongPassword),
                _ => Ok(keys.clone()),
            };
        }
        let keys = Keys::unlock(header, &self.password)?;
        self.adopt(keys.clone());
        Ok(keys)
    }

    /// Keeps keys for reading what they wrote.
    pub(super) fn adopt(&mut self, keys: Keys) {
        if self.known.len() == KEPT_KEYS {
            self.known.remove(0);
        }
        self.known.push(keys);
    }
}

/// v1 and v2: half of a hundred times SHA-256 over the password.
fn cbc_key(password: &Password) -> Zeroizing<[u8; 16]> {
    let digest = sha256_rounds(password.0.as_bytes());
    let mut key = Zeroizing::new([0; 16]);
    key.copy_from_slice(&digest[..16]);
    key
}

fn cbc_iv(key: &[u8; 16], salt: &[u8; 16]) -> [u8; 16] {
    let mut seed = Zeroizing::new([0; 32]);
    seed[..16].copy_from_slice(key);
    seed[16..].copy_from_slice(salt);
    let digest = sha256_rounds(&*seed);
    let mut iv = [0; 16];
    iv.copy_from_slice(&digest[..16]);
    iv
}

fn sha256_rounds(first: &[u8]) -> Zeroizing<[u8; 32]> {
    let mut digest: Zeroizing<[u8; 32]> = Zeroizing::new(Sha256::digest(first).into());
    for _ in 1..SHA256_ROUNDS {
        let next: [u8; 32] = Sha256::digest(*digest).into();
        digest.zeroize();
        *digest = next;
    }
    digest
}

/// v3's root key: Argon2id, version 0x13, one lane.
fn root_key(password: &Password, salt: &[u8; 16]) -> Result<Zeroizing<[u8; 32]>, SecureTarError> {
    let failed = |error: argon2::Error| SecureTarError::KeyDerivation(error.to_string());
    let params = Params::new(ARGON2_KIB, ARGON2_PASSES, 1, Some(32)).map_err(failed)?;
    let mut key = Zeroizing::new([0; 32]);
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into(password.0.as_bytes(), salt, &mut *key)
        .map_err(failed)?;
    Ok(key)
}

/// v3's other keys: BLAKE2b-256 of nothing, keyed with the root key.
fn derived_key(root: &[u8; 32], salt: &[u8; 16]) -> Zeroizing<[u8; 32]> {
    let hash = blake2b_simd::Params::new().hash_length(32).key(root).salt(salt).personal(PERSONAL).hash(b"");
    let mut key = Zeroizing::new([0; 32]);
    key.copy_from_slice(hash.as_bytes());
    key
}

fn random<const N: usize>() -> Result<[u8; N], SecureTarError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| SecureTarError::KeyDerivation(error.to_string()))?;
    Ok(bytes)
}
