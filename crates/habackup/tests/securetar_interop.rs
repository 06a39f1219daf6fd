//! Both ways between this crate and the Python package `securetar`, which encrypts with libsodium and OpenSSL. Needs a
//! Python that has it: `HAUL_PYTHON`, or `python3`. Without one the tests say so and pass, except in CI.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr)]

use habackup::read_at::{ReadAt, Window};
use habackup::securetar::{
    Decryptor, Encryptor, Expect, Keyring, Keys, Password, RandomAccess, SecureTarVersion, container_len,
};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::process::Command;

const PASSWORD: &str = "pässword with spaces";
const MIB: usize = 1 << 20;
const SIZES: [usize; 9] = [0, 1, 15, 16, 17, MIB - 1, MIB, MIB + 1, 3 * MIB + 5];

/// The interpreter, or `None` after saying why the test is skipped.
fn python() -> Option<String> {
    let python = std::env::var("HAUL_PYTHON").unwrap_or_else(|_| "python3".into());
    let found = Command::new(&python).args(["-c", "import securetar; securetar.SecureTarEncryptStream"]).output();
    if found.is_ok_and(|output| output.status.success()) {
        return Some(python);
    }
    assert!(
        std::env::var_os("CI").is_none_or(|ci| ci != "true"),
        "{python} cannot import securetar, and CI must not skip"
    );
    eprintln!("SKIPPED: {python} cannot import a current securetar; set HAUL_PYTHON to a Python that can");
    None
}

fn run(python: &str, mode: &str, target: &Path) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/securetar_interop.py");
    let output = Command::new(python).arg(script).args([mode, PASSWORD]).arg(target).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Looks like gzip as far as it is long enough.
fn content(len: usize) -> Vec<u8> {
    let mut bytes: Vec<u8> = (0..len as u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    for (byte, magic) in bytes.iter_mut().zip([0x1f, 0x8b, 0x08]) {
        *byte = magic;
    }
    bytes
}

fn expect(len: usize) -> Expect<'static> {
    if len < 3 { Expect::Anything } else { Expect::Archive }
}

#[test]
fn what_we_encrypt_python_decrypts() {
    let Some(python) = python() else { return };
    let folder = tempfile::tempdir().unwrap();
    for version in [SecureTarVersion::V2, SecureTarVersion::V3] {
        let keys = Keys::create(version, &Password::new(PASSWORD)).unwrap();
        for len in SIZES {
            let name = format!("{len}.{}", if version == SecureTarVersion::V2 { "v2" } else { "v3" });
            let file = std::fs::File::create(folder.path().join(name)).unwrap();
            let mut encryptor = Encryptor::with_keys(&keys, file).unwrap();
            encryptor.write_all(&content(len)).unwrap();
            let (mut file, sealed) = encryptor.finish().unwrap();
            assert_eq!(Some(file.stream_position().unwrap()), container_len(version, len as u64));
            file.seek(SeekFrom::Start(sealed.size_field_offset)).unwrap();
            file.write_all(&sealed.size_field()).unwrap();
        }
    }
    run(&python, "decrypt", folder.path());
    for len in SIZES {
        for version in ["v2", "v3"] {
            let out = std::fs::read(folder.path().join(format!("{len}.{version}.out"))).unwrap();
            assert!(out == content(len), "{version}, {len} bytes");
        }
    }
}

#[test]
fn what_python_encrypts_we_decrypt() {
    let Some(python) = python() else { return };
    let folder = tempfile::tempdir().unwrap();
    for len in SIZES {
        std::fs::write(folder.path().join(format!("{len}.plain")), content(len)).unwrap();
    }
    run(&python, "encrypt", folder.path());
    let mut keyring = Keyring::new(Password::new(PASSWORD));
    for version in ["v2", "v3"] {
        for len in SIZES {
            let sealed = std::fs::File::open(folder.path().join(format!("{len}.{version}"))).unwrap();
            let mut plain = Vec::new();
            Decryptor::open_with(sealed, &mut keyring, expect(len)).unwrap().read_to_end(&mut plain).unwrap();
            assert!(plain == content(len), "{version}, {len} bytes");
        }
    }
}

#[test]
fn python_v2_reads_the_same_at_any_position() {
    let Some(python) = python() else { return };
    let folder = tempfile::tempdir().unwrap();
    let plain = content(MIB + 1);
    std::fs::write(folder.path().join("x.plain"), &plain).unwrap();
    run(&python, "encrypt", folder.path());
    let sealed = std::fs::File::open(folder.path().join("x.v2")).unwrap();
    let mut keyring = Keyring::new(Password::new(PASSWORD));
    let access = RandomAccess::open(sealed, &mut keyring, Expect::Archive, Vec::new()).unwrap();
    for range in [0..1, 15..33, 70_000..400_001, MIB - 3..MIB + 1] {
        let mut part = vec![0; range.len()];
        access.read_exact_at(&mut part, range.start as u64).unwrap();
        assert!(part == plain[range]);
    }
}

#[test]
fn the_inner_archives_of_a_python_archive_open_with_one_keyring() {
    let Some(python) = python() else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("archive.tar");
    run(&python, "archive", &path);
    let archive = std::fs::read(path).unwrap();
    let starts: Vec<usize> =
        (0..archive.len()).step_by(512).filter(|at| archive[*at..].starts_with(b"SecureTar")).collect();
    assert_eq!(starts.len(), 2);
    let mut keyring = Keyring::new(Password::new(PASSWORD));
    for start in starts {
        let declared = u64::from_be_bytes(archive[start + 16..start + 24].try_into().unwrap());
        let len = container_len(SecureTarVersion::V3, declared).unwrap();
        let window = Window::new(&archive, start as u64, len).unwrap();
        let mut sealed = vec![0; window.len() as usize];
        window.read_exact_at(&mut sealed, 0).unwrap();
        let mut plain = Vec::new();
        Decryptor::open_with(&sealed[..], &mut keyring, Expect::Archive).unwrap().read_to_end(&mut plain).unwrap();
        assert!(plain.starts_with(&[0x1f, 0x8b, 0x08]));
    }
}
