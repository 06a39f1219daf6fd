//! Any bytes as a SecureTar container. For version 3 the root salt is a fixed one, so that Argon2 runs once; for
//! versions 2 and 3 reading at any position must agree with the stream.
#![no_main]

use std::{cell::RefCell, io::Read, sync::LazyLock};

use habackup::{
    read_at::ReadAt,
    securetar::{Decryptor, Expect, Keyring, Password, RandomAccess, SecureTarVersion},
};
use haul_fuzz::choice;
use libfuzzer_sys::fuzz_target;

/// That of the vectors.
const PASSWORD: &str = "correct horse";
const VECTOR: &[u8] = include_bytes!("../../crates/habackup/tests/vectors/securetar/v3-tar.securetar");

static ROOT_SALT: LazyLock<[u8; 16]> = LazyLock::new(|| {
    let container = VECTOR.windows(9).position(|window| window == b"SecureTar").expect("a container");
    VECTOR[container + 32..container + 48].try_into().expect("sixteen bytes")
});

thread_local! {
    static KEYRING: RefCell<Keyring> = RefCell::new(Keyring::new(Password::new(PASSWORD)));
}

fuzz_target!(|data: &[u8]| {
    let Some((mode, rest)) = choice(data) else { return };
    let mut bytes = rest.to_vec();
    if bytes.starts_with(b"SecureTar\x03") {
        let Some(salt) = bytes.get_mut(32..48) else { return };
        salt.copy_from_slice(&*ROOT_SALT);
    }
    let expect = match mode & 3 {
        0 => Expect::Archive,
        1 => Expect::Magic(b"HaulIdx\0"),
        _ => Expect::Anything,
    };
    KEYRING.with_borrow_mut(|keyring| {
        let streamed = Decryptor::open_with(&bytes[..], keyring, expect).ok().map(|mut container| {
            let mut plain = Vec::new();
            let whole = container.read_to_end(&mut plain).is_ok();
            (container.header().version(), plain, whole)
        });
        let mut nonces = Vec::new();
        if bytes.starts_with(b"SecureTar\x03")
            && let Some(nonce) = bytes.get(128..136)
        {
            nonces.push(nonce.try_into().expect("eight bytes"));
        }
        let Ok(anywhere) = RandomAccess::open(&bytes, keyring, expect, nonces) else { return };
        let mut plain = vec![0; usize::try_from(anywhere.len()).expect("no longer than the input")];
        assert!(plain.len() <= bytes.len());
        let read = anywhere.read_exact_at(&mut plain, 0);
        if let (Some((version, streamed, true)), Ok(())) = (streamed, read) {
            assert!(version == SecureTarVersion::V1 || streamed == plain);
        }
    });
});
