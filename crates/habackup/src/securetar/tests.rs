#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::*;
use crate::read_at::ReadAt;
use dryoc::classic::crypto_secretstream_xchacha20poly1305::{
    State, crypto_secretstream_xchacha20poly1305_init_pull, crypto_secretstream_xchacha20poly1305_push,
};
use proptest::prelude::*;
use std::io::Write;
use std::sync::OnceLock;

const PASSWORD: &str = "secret";
const BOTH: [SecureTarVersion; 2] = [SecureTarVersion::V2, SecureTarVersion::V3];

fn password() -> Password {
    Password::new(PASSWORD)
}

/// One Argon2 run for all tests.
fn keys(version: SecureTarVersion) -> Keys {
    static KEYS: OnceLock<[Keys; 2]> = OnceLock::new();
    let both = KEYS.get_or_init(|| BOTH.map(|version| Keys::create(version, &password()).unwrap()));
    both[usize::from(version == SecureTarVersion::V3)].clone()
}

/// A keyring that already knows them.
fn keyring() -> Keyring {
    let mut keyring = Keyring::new(password());
    for version in BOTH {
        keyring.adopt(keys(version));
    }
    keyring
}

/// Looks like gzip as far as it is long enough.
fn content(len: usize) -> Vec<u8> {
    let mut bytes: Vec<u8> = (0..len as u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 11) as u8).collect();
    for (byte, magic) in bytes.iter_mut().zip([0x1f, 0x8b, 0x08]) {
        *byte = magic;
    }
    bytes
}

/// A finished container, its size put in.
fn seal(version: SecureTarVersion, plain: &[u8]) -> (Vec<u8>, Container) {
    let mut encryptor = Encryptor::with_keys(&keys(version), Vec::new()).unwrap();
    encryptor.write_all(plain).unwrap();
    let (mut container, sealed) = encryptor.finish().unwrap();
    put_size(&mut container, sealed.plaintext_len);
    assert_eq!(container.len() as u64, sealed.container_len);
    (container, sealed)
}

fn put_size(container: &mut [u8], size: u64) {
    container[SIZE_FIELD_OFFSET as usize..][..8].copy_from_slice(&size.to_be_bytes());
}

/// What comes out, and how it ends.
fn read(container: &[u8]) -> (Vec<u8>, Result<(), SecureTarError>) {
    let mut plain = Vec::new();
    let result = Decryptor::open_with(container, &mut keyring(), Expect::Anything)
        .and_then(|mut decryptor| decryptor.read_to_end(&mut plain).map_err(SecureTarError::from).map(drop));
    (plain, result)
}

fn read_anywhere(container: &[u8], nonces: &[[u8; 8]]) -> Result<Vec<u8>, SecureTarError> {
    let access = RandomAccess::open(container, &mut keyring(), Expect::Anything, nonces.to_vec())?;
    let mut plain = vec![0; usize::try_from(access.len()).unwrap()];
    access.read_exact_at(&mut plain, 0).map_err(SecureTarError::from)?;
    Ok(plain)
}

/// A v3 container of messages of our choice, declaring `size` bytes.
fn of_messages(messages: &[(&[u8], u8)], size: u64) -> Vec<u8> {
    let keys = keys(SecureTarVersion::V3);
    let header = keys.new_header().unwrap();
    let Some(keys::CipherStart::Stream { key, header: nonce }) = keys.cipher(&header) else { panic!("not v3") };
    let mut state = State::new();
    crypto_secretstream_xchacha20poly1305_init_pull(&mut state, &nonce, &key);
    let mut container = header.to_bytes();
    put_size(&mut container, size);
    for &(message, tag) in messages {
        let mut sealed = vec![0; message.len() + MESSAGE_OVERHEAD];
        crypto_secretstream_xchacha20poly1305_push(&mut state, &mut sealed, message, None, tag).unwrap();
        container.extend_from_slice(&sealed);
    }
    container
}

#[test]
fn every_size_around_a_block_and_a_message_comes_back() {
    for version in BOTH {
        for len in [0, 1, 15, 16, 17, MESSAGE - 1, MESSAGE, MESSAGE + 1, 2 * MESSAGE, 3 * MESSAGE + 5] {
            let plain = content(len);
            let (container, sealed) = seal(version, &plain);
            assert_eq!(container_len(version, len as u64), Some(sealed.container_len), "{version:?} {len}");
            let (out, result) = read(&container);
            assert!(out == plain && result.is_ok(), "{version:?} {len} {result:?}");
            assert!(read_anywhere(&container, &sealed.nonces).unwrap() == plain, "{version:?} {len}");
        }
    }
}

#[test]
fn a_container_without_its_size_is_not_taken_for_whole() {
    for version in BOTH {
        let (mut container, _) = seal(version, &content(100));
        put_size(&mut container, 0);
        let (_, result) = read(&container);
        assert!(matches!(result, Err(SecureTarError::SizeMismatch { declared: 0, actual: 100 })), "{result:?}");
    }
}

#[test]
fn a_wrong_password_is_reported_before_anything_is_read() {
    for version in BOTH {
        let (container, sealed) = seal(version, &content(4000));
        let wrong = Password::new("Secret");
        let opened = Decryptor::open(container.as_slice(), &wrong).map(drop);
        assert!(matches!(opened, Err(SecureTarError::WrongPassword)), "{version:?}");
        let mut keyring = Keyring::new(wrong);
        let opened = RandomAccess::open(container.as_slice(), &mut keyring, Expect::Archive, sealed.nonces);
        assert!(matches!(opened, Err(SecureTarError::WrongPassword)), "{version:?}");
    }
}

#[test]
fn a_second_container_shares_the_root_key_and_nothing_else() {
    let (first, _) = seal(SecureTarVersion::V3, &content(100));
    let (second, _) = seal(SecureTarVersion::V3, &content(100));
    assert_eq!(first[32..96], second[32..96]);
    assert_ne!(first[96..112], second[96..112]);
    assert_ne!(first[112..136], second[112..136]);
    assert_ne!(first[136..], second[136..]);
}

#[test]
fn keys_that_were_exported_write_what_the_password_opens() {
    for version in BOTH {
        let bytes = keys(version).export();
        let keys = Keys::import(&bytes).unwrap();
        assert_eq!(keys.version(), version);
        let mut encryptor = Encryptor::with_keys(&keys, Vec::new()).unwrap();
        encryptor.write_all(&content(5000)).unwrap();
        let (mut container, sealed) = encryptor.finish().unwrap();
        container[sealed.size_field_offset as usize..][..8].copy_from_slice(&sealed.size_field());
        let (plain, result) = read(&container);
        result.unwrap();
        assert_eq!(plain, content(5000));
        for cut in 0..bytes.len() {
            assert!(Keys::import(&bytes[..cut]).is_none(), "{cut}");
        }
        assert!(Keys::import(&[&bytes[..], &[0]].concat()).is_none());
    }
}

#[test]
fn keys_for_a_trial_do_the_same_work_and_open_nothing() {
    for version in BOTH {
        let keys = Keys::trial(version).unwrap();
        assert_eq!(keys.version(), version);
        assert_ne!(keys.export(), Keys::trial(version).unwrap().export());
        let mut encryptor = Encryptor::with_keys(&keys, Vec::new()).unwrap();
        encryptor.write_all(&content(5000)).unwrap();
        let (mut container, sealed) = encryptor.finish().unwrap();
        container[sealed.size_field_offset as usize..][..8].copy_from_slice(&sealed.size_field());
        let (plain, result) = read(&container);
        assert!(result.is_err() || plain != content(5000));
    }
}

#[test]
fn no_secret_is_printed() {
    let keyring = keyring();
    let printed = format!("{:?} {:?} {:?}", password(), keys(SecureTarVersion::V3), keyring);
    assert_eq!(printed, "Password(..) Keys(..) Keyring(..)");
}

#[test]
fn version_one_is_not_written() {
    assert!(matches!(Keys::create(SecureTarVersion::V1, &password()), Err(SecureTarError::WriteV1)));
}

#[test]
fn a_cut_at_any_byte_is_reported() {
    for version in BOTH {
        let (container, sealed) = seal(version, &content(700));
        for len in 0..container.len() {
            let (_, result) = read(&container[..len]);
            assert!(
                matches!(result, Err(SecureTarError::Truncated { at }) if at == len as u64),
                "{version:?} {len}: {result:?}"
            );
            assert!(read_anywhere(&container[..len], &sealed.nonces).is_err(), "{version:?} {len}");
        }
    }
}

#[test]
fn a_cut_in_or_between_long_messages_is_reported() {
    let (container, _) = seal(SecureTarVersion::V3, &content(2 * MESSAGE + 10));
    let second = 136 + MESSAGE + MESSAGE_OVERHEAD;
    for len in [second - 1, second, second + 1, second + MESSAGE + MESSAGE_OVERHEAD] {
        let (out, result) = read(&container[..len]);
        assert!(matches!(result, Err(SecureTarError::Truncated { at }) if at == len as u64), "{len}: {result:?}");
        assert_eq!(out.len() % MESSAGE, 0, "only whole authentic messages come out");
    }
}

#[test]
fn anything_behind_the_end_is_reported() {
    for version in BOTH {
        for len in [1, 16, 100, 3 * MESSAGE] {
            for plain_len in [100, 2 * MESSAGE] {
                let (mut container, _) = seal(version, &content(plain_len));
                let end = container.len();
                container.resize(end + len, 0xAA);
                let (_, result) = read(&container);
                let said = matches!(result, Err(SecureTarError::AfterEnd { at }) if at == end as u64);
                assert!(said, "{version:?} {plain_len} + {len}: {result:?}");
            }
        }
    }
}

#[test]
fn every_flipped_bit_is_found_in_v3() {
    let (container, sealed) = seal(SecureTarVersion::V3, &content(60));
    // Root and validation salts would cost an Argon2 run each; the vectors have them.
    for at in (0..32).chain(64..container.len()) {
        let mut damaged = container.clone();
        damaged[at] ^= 1 << (at % 8);
        let (_, result) = read(&damaged);
        if (24..32).contains(&at) {
            let header = Header::read(&mut &damaged[..]).unwrap();
            assert!(result.is_ok() && header.reserved != [0; 8], "byte {at}");
        } else {
            assert!(result.is_err(), "byte {at}");
            assert!(read_anywhere(&damaged, &sealed.nonces).is_err(), "byte {at}");
        }
    }
}

#[test]
fn a_changed_message_is_named_by_its_number() {
    let (container, sealed) = seal(SecureTarVersion::V3, &content(3 * MESSAGE));
    let mut damaged = container.clone();
    damaged[136 + MESSAGE + MESSAGE_OVERHEAD + 1000] ^= 1;
    let (out, result) = read(&damaged);
    assert!(matches!(result, Err(SecureTarError::Tampered { message: 1 })), "{result:?}");
    assert_eq!(out.len(), MESSAGE);
    let result = read_anywhere(&damaged, &sealed.nonces);
    assert!(matches!(result, Err(SecureTarError::Tampered { message: 1 })), "{result:?}");
}

#[test]
fn messages_in_another_order_are_not_taken() {
    let (container, sealed) = seal(SecureTarVersion::V3, &content(3 * MESSAGE));
    let length = MESSAGE + MESSAGE_OVERHEAD;
    let mut swapped = container.clone();
    swapped[136..136 + length].copy_from_slice(&container[136 + length..136 + 2 * length]);
    swapped[136 + length..136 + 2 * length].copy_from_slice(&container[136..136 + length]);
    assert!(matches!(read(&swapped).1, Err(SecureTarError::Tampered { message: 0 })));
    assert!(read_anywhere(&swapped, &sealed.nonces).is_err());
}

#[test]
fn an_end_that_is_not_marked_or_comes_too_early_is_reported() {
    let full = content(MESSAGE);
    for (messages, size) in [(vec![(&full[..], 0)], MESSAGE), (vec![(&full[..], 0), (&b"x"[..], 0)], MESSAGE + 1)] {
        let (_, result) = read(&of_messages(&messages, size as u64));
        assert!(matches!(result, Err(SecureTarError::MissingFinal { .. })), "{result:?}");
    }
    let (out, result) = read(&of_messages(&[(&full, 3), (&full, 3)], 2 * MESSAGE as u64));
    assert!(matches!(result, Err(SecureTarError::AfterEnd { .. })), "{result:?}");
    assert_eq!(out.len(), MESSAGE);
    let (_, result) = read(&of_messages(&[(&full, 1), (&full, 3)], 2 * MESSAGE as u64));
    assert!(matches!(result, Err(SecureTarError::Tampered { message: 0 })), "{result:?}");
}

#[test]
fn declared_sizes_that_do_not_fit_are_reported() {
    for version in BOTH {
        for plain_len in [100usize, MESSAGE, MESSAGE + 1] {
            let (container, sealed) = seal(version, &content(plain_len));
            for declared in [0, 1, plain_len as u64 - 1, plain_len as u64 + 1, 2 * plain_len as u64, 1 << 40, u64::MAX]
            {
                let mut changed = container.clone();
                put_size(&mut changed, declared);
                let (out, result) = read(&changed);
                let said = matches!(result, Err(SecureTarError::SizeMismatch { declared: d, actual })
                    if d == declared && actual == plain_len as u64);
                assert!(said && out.len() == plain_len, "{version:?} {declared}: {result:?}");
                assert!(read_anywhere(&changed, &sealed.nonces).is_err());
            }
        }
    }
}

#[test]
fn bad_padding_is_reported() {
    let keys = keys(SecureTarVersion::V2);
    for padding in [[0u8; 16], [17; 16], [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 3]] {
        let header = keys.new_header().unwrap();
        let Some(keys::CipherStart::Cbc { key, iv }) = keys.cipher(&header) else { panic!("not v2") };
        let mut plain = content(16);
        plain.extend_from_slice(&padding);
        let mut container = header.to_bytes();
        put_size(&mut container, 20);
        let mut sealed = vec![0; plain.len()];
        cbc_mode::Encrypting::new(&key, &iv).blocks(&plain, &mut sealed);
        container.extend_from_slice(&sealed);
        let (out, result) = read(&container);
        assert!(matches!(result, Err(SecureTarError::BadPadding)), "{result:?}");
        assert_eq!(out, content(16));
        assert!(matches!(read_anywhere(&container, &[]), Err(SecureTarError::BadPadding)));
    }
}

#[test]
fn foreign_or_changed_nonces_are_refused() {
    let (container, sealed) = seal(SecureTarVersion::V3, &content(3 * MESSAGE));
    let (_, other) = seal(SecureTarVersion::V3, &content(3 * MESSAGE));
    let mut changed = sealed.nonces.clone();
    changed[1][0] ^= 1;
    for nonces in [&other.nonces[..], &sealed.nonces[..2], &[]] {
        assert!(matches!(read_anywhere(&container, nonces), Err(SecureTarError::WrongNonces)));
    }
    assert!(matches!(read_anywhere(&container, &changed), Err(SecureTarError::WrongNonces)));
}

#[test]
fn the_empty_message_of_an_empty_container_is_authenticated_too() {
    let (mut container, sealed) = seal(SecureTarVersion::V3, b"");
    *container.last_mut().unwrap() ^= 1;
    assert!(matches!(read_anywhere(&container, &sealed.nonces), Err(SecureTarError::Tampered { message: 0 })));
}

#[test]
fn threads_may_read_the_same_container() {
    for version in BOTH {
        let plain = content(5 * MESSAGE + 77);
        let (container, sealed) = seal(version, &plain);
        let access = RandomAccess::open(container.as_slice(), &mut keyring(), Expect::Archive, sealed.nonces).unwrap();
        std::thread::scope(|scope| {
            for thread in 0..3usize {
                let (access, plain) = (&access, &plain);
                scope.spawn(move || {
                    let mut part = vec![0; 700_001];
                    for start in (thread * 1000..plain.len() - part.len()).step_by(450_000) {
                        access.read_exact_at(&mut part, start as u64).unwrap();
                        assert!(part == plain[start..start + part.len()], "{version:?} {start}");
                    }
                });
            }
        });
        assert!(access.read_exact_at(&mut [0], plain.len() as u64).is_err());
        assert!(access.read_exact_at(&mut [0; 2], u64::MAX).is_err());
    }
}

/// Takes `left` bytes, then fails.
struct FullDisk {
    left: usize,
}

impl Write for FullDisk {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.left == 0 {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let taken = bytes.len().min(self.left);
        self.left -= taken;
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn after_a_failed_write_nothing_can_be_finished() {
    for version in BOTH {
        let mut encryptor = Encryptor::with_keys(&keys(version), FullDisk { left: 5000 }).unwrap();
        let error = encryptor.write_all(&content(2 * MESSAGE)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        assert!(encryptor.write_all(b"more").is_err());
        assert!(encryptor.finish().is_err());
    }
}

/// Hands out one byte, then is interrupted, then one byte…
struct Hesitant<'a>(&'a [u8], bool);

impl Read for Hesitant<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.1 = !self.1;
        if self.1 {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let len = buf.len().min(777);
        self.0.read(&mut buf[..len])
    }
}

#[test]
fn a_source_in_small_parts_is_read_like_one() {
    for version in BOTH {
        let plain = content(MESSAGE + 100);
        let (container, _) = seal(version, &plain);
        let mut out = Vec::new();
        let source = Hesitant(&container, false);
        Decryptor::open_with(source, &mut keyring(), Expect::Archive).unwrap().read_to_end(&mut out).unwrap();
        assert!(out == plain, "{version:?}");
    }
}

#[test]
fn an_archive_is_recognised_by_gzip_or_by_tar() {
    let mut tar = vec![0; 512];
    assert!(!Expect::Archive.met_by(&tar));
    tar[257..262].copy_from_slice(b"ustar");
    assert!(Expect::Archive.met_by(&tar));
    assert!(!Expect::Archive.met_by(&tar[..261]));
    assert!(!Expect::Archive.met_by(&[0x1f, 0x8b]));
    assert!(Expect::Magic(b"ab").met_by(b"abc") && !Expect::Magic(b"ab").met_by(b"a"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn how_the_writes_are_split_does_not_show(
        len in prop_oneof![0usize..200, MESSAGE - 3..MESSAGE + 4, 2 * MESSAGE..2 * MESSAGE + 4],
        splits in proptest::collection::vec(1usize..700_000, 1..8),
        v3: bool,
    ) {
        let keys = keys(BOTH[usize::from(v3)]);
        let header = keys.new_header().unwrap();
        let plain = content(len);
        let mut whole = Encryptor::with_header(&keys, &header, Vec::new()).unwrap();
        whole.write_all(&plain).unwrap();
        let mut parts = Encryptor::with_header(&keys, &header, Vec::new()).unwrap();
        let mut rest = &plain[..];
        for size in splits.iter().cycle() {
            if rest.is_empty() { break }
            let (part, after) = rest.split_at(rest.len().min(*size));
            parts.write_all(part).unwrap();
            parts.flush().unwrap();
            rest = after;
        }
        prop_assert!(whole.finish().unwrap() == parts.finish().unwrap());
    }

    #[test]
    fn any_range_reads_as_in_the_stream(start in 0usize..3_000_000, len in 0usize..2_000_000, v3: bool) {
        static SEALED: OnceLock<[(Vec<u8>, Container); 2]> = OnceLock::new();
        let plain = content(2 * MESSAGE + 12_345);
        let both = SEALED.get_or_init(|| BOTH.map(|version| seal(version, &plain)));
        let (container, sealed) = &both[usize::from(v3)];
        let access = RandomAccess::open(container.as_slice(), &mut keyring(), Expect::Archive, sealed.nonces.clone()).unwrap();
        let mut part = vec![0; len];
        let result = access.read_exact_at(&mut part, start as u64);
        match plain.get(start..start + len) {
            Some(wanted) => prop_assert!(result.is_ok() && part == wanted),
            None => prop_assert!(result.is_err()),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// No panic, no endless loop, and for v3 nothing but the truth.
    #[test]
    fn mutated_containers_are_survived(
        cut in 0usize..400, flips in proptest::collection::vec((0usize..400, 1u8..), 0..4),
        tail in proptest::collection::vec(any::<u8>(), 0..40), v3: bool,
    ) {
        let plain = content(200);
        let (mut container, sealed) = seal(BOTH[usize::from(v3)], &plain);
        container.truncate(cut);
        container.extend_from_slice(&tail);
        for (at, bits) in flips {
            // The root salt is left alone: every other one is an Argon2 run.
            if at < container.len() && !(32..64).contains(&at) {
                container[at] ^= bits;
            }
        }
        let (out, result) = read(&container);
        let anywhere = read_anywhere(&container, &sealed.nonces);
        if v3 && container.starts_with(b"SecureTar\x03") {
            prop_assert!(result.is_err() || out == plain);
            prop_assert!(anywhere.is_err() || anywhere.unwrap() == plain);
        }
    }

    #[test]
    fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..200), version in 2u8..4) {
        let (_, result) = read(&bytes);
        prop_assert!(bytes.len() < 32 || bytes.len() % 16 == 0 || result.is_err());
        let mut container = b"SecureTar\0\0\0\0\0\0\0".to_vec();
        container[9] = version;
        container.extend_from_slice(&bytes);
        if version == 3 && container.len() >= 48 {
            let (known, _) = seal(SecureTarVersion::V3, b"");
            container[32..48].copy_from_slice(&known[32..48]);
        }
        prop_assert!(read(&container).1.is_err());
    }
}

#[test]
fn a_length_that_was_announced_stands_in_the_header_from_the_start_and_must_be_kept() {
    for version in BOTH {
        for len in [0, 1, 15, 16, 17, MESSAGE - 1, MESSAGE, MESSAGE + 1] {
            let plain = content(len);
            let mut encryptor = Encryptor::with_known_size(&keys(version), len as u64, Vec::new()).unwrap();
            encryptor.write_all(&plain).unwrap();
            let (container, sealed) = encryptor.finish().unwrap();
            assert_eq!(container[SIZE_FIELD_OFFSET as usize..][..8], sealed.size_field());
            assert_eq!(Some(container.len() as u64), container_len(version, len as u64));
            assert_eq!(sealed.nonces.len() as u64, nonce_count(version, len as u64));
            let (back, end) = read(&container);
            assert!(back == plain && end.is_ok());
        }
        let mut encryptor = Encryptor::with_known_size(&keys(version), 5, Vec::new()).unwrap();
        encryptor.write_all(b"four").unwrap();
        assert!(matches!(encryptor.finish(), Err(SecureTarError::SizeMismatch { declared: 5, actual: 4 })));
    }
}
