//! Containers made by the Python package, whole and broken; `vectors/securetar/README.md` describes them.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use habackup::read_at::ReadAt;
use habackup::securetar::{
    Decryptor, Expect, Header, Keyring, Password, RandomAccess, SecureTarError, SecureTarVersion,
};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

struct Vector {
    name: String,
    fields: BTreeMap<String, String>,
    container: Vec<u8>,
}

impl Vector {
    fn password(&self) -> Password {
        Password::new(self.fields["password"].as_str())
    }

    fn judge(&self, result: &Result<Vec<u8>, SecureTarError>) {
        let found = match result {
            Ok(_) => "success",
            Err(SecureTarError::WrongPassword) => "wrong password",
            Err(SecureTarError::UnknownVersion(_)) => "unknown version",
            Err(SecureTarError::ReservedBytes) => "reserved bytes",
            Err(SecureTarError::Truncated { .. }) => "truncated",
            Err(SecureTarError::AfterEnd { .. }) => "after end",
            Err(SecureTarError::BadPadding) => "bad padding",
            Err(SecureTarError::SizeMismatch { .. }) => "size mismatch",
            Err(SecureTarError::Tampered { .. }) => "tampered",
            Err(SecureTarError::MissingFinal { .. }) => "missing final",
            Err(other) => panic!("{}: {other}", self.name),
        };
        assert_eq!(found, self.fields["expect"], "{}", self.name);
        if let Ok(plain) = result {
            let digest = Sha256::digest(plain).iter().fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"));
            assert_eq!(digest, self.fields["sha256"], "{}", self.name);
        }
    }
}

fn vectors() -> Vec<Vector> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/securetar");
    let mut vectors = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "securetar") {
            continue;
        }
        let bytes = std::fs::read(&path).unwrap();
        let end = bytes.windows(5).position(|window| window == b"\n---\n").unwrap();
        let text = std::str::from_utf8(&bytes[..end]).unwrap();
        let fields = text.lines().map(|line| line.split_once(": ").unwrap_or((line.trim_end_matches(':'), "")));
        let fields = fields.map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        vectors.push(Vector { name, fields, container: bytes[end + 5..].to_vec() });
    }
    assert!(vectors.len() > 50);
    vectors
}

fn streamed(container: &[u8], password: &Password) -> Result<Vec<u8>, SecureTarError> {
    let mut plain = Vec::new();
    let mut decryptor = Decryptor::open(container, password)?;
    decryptor.read_to_end(&mut plain)?;
    Ok(plain)
}

#[test]
fn every_vector_gets_the_answer_it_asks_for() {
    for vector in vectors() {
        vector.judge(&streamed(&vector.container, &vector.password()));
    }
}

/// Random access sees fewer bytes, so it may name a failure differently; it must not miss one.
#[test]
fn random_access_takes_and_refuses_the_same_vectors() {
    for vector in vectors() {
        let mut nonces = Vec::new();
        if Header::read(&mut &vector.container[..]).is_ok_and(|header| header.version() == SecureTarVersion::V3) {
            // One message each: its nonce is the end of the header.
            nonces.push(vector.container[128..136].try_into().unwrap());
        }
        let mut keyring = Keyring::new(vector.password());
        let opened = RandomAccess::open(vector.container.as_slice(), &mut keyring, Expect::Archive, nonces);
        let read = opened.map_err(std::io::Error::from).and_then(|access| {
            let mut plain = vec![0; access.len() as usize];
            access.read_exact_at(&mut plain, 0)?;
            Ok(plain)
        });
        if vector.fields["expect"] == "success" {
            vector.judge(&Ok(read.unwrap()));
        } else {
            assert!(read.is_err(), "{}", vector.name);
        }
    }
}
