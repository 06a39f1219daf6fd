//! This machine's key and self-signed certificate, made once and kept in a file of mode 0600. The certificate holds
//! neither a name nor a location.

use std::{
    fmt, fs, io,
    os::unix::fs::{DirBuilderExt, MetadataExt},
    path::Path,
};

use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};
use rcgen::{CertificateParams, DistinguishedName, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::{disk::create_private, error::PeerError};

const FILE: &str = "machine.pem";

/// What a machine is known by: the SHA-256 of its certificate.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// Of a certificate.
    pub fn of(certificate: &CertificateDer<'_>) -> Self {
        Self(Sha256::digest(certificate).into())
    }

    /// The hash itself.
    pub fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The first eight bytes, for people: `3f54 dcc1 0a2b 9e77`.
    pub fn short(&self) -> String {
        self.0[..8].chunks(2).map(|pair| format!("{:02x}{:02x}", pair[0], pair[1])).collect::<Vec<_>>().join(" ")
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Fingerprint {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Fingerprint {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bytes = HEXLOWER_PERMISSIVE.decode(text.as_bytes()).ok().and_then(|bytes| bytes.try_into().ok());
        bytes.map(Self).ok_or_else(|| serde::de::Error::custom("a fingerprint has 64 hexadecimal digits"))
    }
}

/// A machine's own key and certificate.
pub struct Identity {
    certificate: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
    fingerprint: Fingerprint,
}

impl Identity {
    /// This machine's, from the state directory; made there the first time.
    pub fn load_or_create(state: &Path) -> Result<Self, PeerError> {
        let path = state.join(FILE);
        loop {
            match fs::File::open(&path) {
                Ok(file) => {
                    let metadata = file.metadata().map_err(|error| PeerError::state(&path, &error))?;
                    if metadata.mode() & 0o077 != 0 {
                        return Err(PeerError::State {
                            path,
                            reason: "other users of this machine can read it; run chmod 600 on it".to_owned(),
                        });
                    }
                    let text = Zeroizing::new(
                        io::read_to_string(io::Read::take(file, 64 << 10))
                            .map_err(|error| PeerError::state(&path, &error))?,
                    );
                    return Self::from_pem(&text).ok_or_else(|| PeerError::State {
                        path,
                        reason: "it does not hold a key and a certificate; remove it, and pair the machines again"
                            .to_owned(),
                    });
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    create(state, &path).map_err(|error| PeerError::state(&path, &error))?;
                }
                Err(error) => return Err(PeerError::state(&path, &error)),
            }
        }
    }

    /// One that is kept nowhere.
    pub fn ephemeral() -> Result<Self, PeerError> {
        let pem = generate().map_err(|error| PeerError::Protocol(format!("could not generate a key: {error}")))?;
        Self::from_pem(&pem).ok_or_else(|| PeerError::Protocol("could not generate a key".to_owned()))
    }

    fn from_pem(text: &str) -> Option<Self> {
        let certificate = CertificateDer::from_pem_slice(text.as_bytes()).ok()?;
        let key = PrivateKeyDer::from_pem_slice(text.as_bytes()).ok()?;
        let fingerprint = Fingerprint::of(&certificate);
        Some(Self { certificate, key, fingerprint })
    }

    /// What others know this machine by.
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    pub(crate) fn certificate(&self) -> CertificateDer<'static> {
        self.certificate.clone()
    }

    pub(crate) fn key(&self) -> PrivateKeyDer<'static> {
        self.key.clone_key()
    }
}

fn generate() -> Result<Zeroizing<String>, rcgen::Error> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::new(Vec::new())?;
    params.distinguished_name = DistinguishedName::new();
    let certificate = params.self_signed(&key)?;
    let key = Zeroizing::new(key.serialize_pem());
    Ok(Zeroizing::new(format!("{}{}", key.as_str(), certificate.pem())))
}

/// Makes the file in one step; one that another process made meanwhile stays.
fn create(state: &Path, path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(state)?;
    let pem = generate().map_err(io::Error::other)?;
    let temporary = state.join(format!("{FILE}.{:x}", std::process::id()));
    let _ = fs::remove_file(&temporary);
    let written = (|| {
        create_private(&temporary, pem.as_bytes())?;
        match fs::hard_link(&temporary, path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            // Some file systems have no hard links.
            Err(_) if !path.exists() => fs::rename(&temporary, path),
            other => other,
        }
    })();
    let _ = fs::remove_file(&temporary);
    written
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_key_is_made_once_and_nobody_else_may_read_it() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("deep/state");
        let first = Identity::load_or_create(&state).unwrap().fingerprint();
        assert_eq!(Identity::load_or_create(&state).unwrap().fingerprint(), first);
        assert_eq!(fs::metadata(state.join(FILE)).unwrap().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(&state).unwrap().count(), 1);
        fs::set_permissions(state.join(FILE), fs::Permissions::from_mode(0o644)).unwrap();
        assert!(Identity::load_or_create(&state).err().unwrap().to_string().contains("chmod 600"));
    }

    #[test]
    fn the_certificate_says_nothing_about_the_machine() {
        let identity = Identity::ephemeral().unwrap();
        let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
        let text = String::from_utf8_lossy(&identity.certificate).into_owned();
        assert!(!text.contains(host.trim()) && !text.contains("rcgen"), "{text}");
    }

    #[test]
    fn a_fingerprint_survives_its_text() {
        let print = Identity::ephemeral().unwrap().fingerprint();
        let text = serde_json::to_string(&print).unwrap();
        assert_eq!(serde_json::from_str::<Fingerprint>(&text).unwrap(), print);
        assert!(serde_json::from_str::<Fingerprint>("\"zz\"").is_err());
    }
}
