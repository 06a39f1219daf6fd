//! Passwords: Argon2id with a salt of their own.

use argon2::{Algorithm, Argon2, Params, Version};
use base64::{Engine, prelude::BASE64_STANDARD_NO_PAD};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::AccountError;

/// Fewer characters are too few.
pub(crate) const SHORTEST: usize = 8;
/// More are cut off by no browser, but nobody types them.
const LONGEST: usize = 1024;
/// What OWASP recommends: 19 MiB, two passes, one lane.
const KIB: u32 = 19 * 1024;
const PASSES: u32 = 2;

/// What is kept of a password.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Hash {
    kib: u32,
    passes: u32,
    salt: String,
    digest: String,
}

impl Hash {
    pub(super) fn new(password: &str) -> Result<Self, AccountError> {
        let invalid = |sentence: String| AccountError::Invalid(sentence);
        if password.chars().count() < SHORTEST {
            return Err(invalid(format!("The password is too short. Use at least {SHORTEST} characters.")));
        }
        if password.len() > LONGEST {
            return Err(invalid(format!("The password is too long. Use at most {LONGEST} characters.")));
        }
        let mut salt = [0; 16];
        getrandom::fill(&mut salt).map_err(|error| AccountError::Disk(error.to_string()))?;
        let hash = derive(password, &salt, KIB, PASSES)
            .ok_or_else(|| AccountError::Disk("there is not enough memory to hash the password".to_owned()))?;
        let text = |bytes: &[u8]| BASE64_STANDARD_NO_PAD.encode(bytes);
        Ok(Self { kib: KIB, passes: PASSES, salt: text(&salt), digest: text(&hash) })
    }

    pub(super) fn is(&self, password: &str) -> bool {
        let salt = BASE64_STANDARD_NO_PAD.decode(&self.salt).unwrap_or_default();
        let kept = BASE64_STANDARD_NO_PAD.decode(&self.digest).unwrap_or_default();
        let derived = derive(password, &salt, self.kib, self.passes);
        // Digests, so that the time it takes says nothing about how much was right.
        derived.is_some_and(|derived| Sha256::digest(derived) == Sha256::digest(&kept))
    }
}

fn derive(password: &str, salt: &[u8], kib: u32, passes: u32) -> Option<[u8; 32]> {
    let mut hash = [0; 32];
    let params = Params::new(kib, passes, 1, Some(hash.len())).ok()?;
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into(password.as_bytes(), salt, &mut hash)
        .ok()?;
    Some(hash)
}
