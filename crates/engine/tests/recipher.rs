//! Archives after Home Assistant Core decrypted them for a download, or encrypted them for a location that requires it:
//! Core's way of doing so, with Python's own `tarfile` and `securetar`. Without a Python that has it (`HAUL_PYTHON`)
//! the tests say so and pass, except in CI.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod crafted;

use std::{
    io::Write,
    path::Path,
    process::{Command, Stdio},
};

use crafted::{Bench, Inner, Layout, PASSWORD, PLAIN, everything};
use habackup::{archive::Archive, securetar::SecureTarVersion};

const NEW: &str = "another password";

fn python() -> Option<String> {
    testkit::python::with_securetar("SecureTarEncryptStream")
}

/// What Core makes of an archive.
fn recipher(python: &str, mode: &str, password: &str, version: SecureTarVersion, archive: &[u8]) -> Vec<u8> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recipher.py");
    let number = if version == SecureTarVersion::V3 { "3" } else { "2" };
    let mut command = Command::new(python);
    command.arg(script).args([mode, password, number]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    let archive = archive.to_vec();
    let sender = std::thread::spawn(move || input.write_all(&archive).unwrap());
    let output = child.wait_with_output().unwrap();
    sender.join().unwrap();
    assert!(output.status.success());
    output.stdout
}

/// An inner archive whose size changes by more than a block when it is encrypted.
fn inner() -> Inner {
    let noise: Vec<u8> = (0..2_500_000_u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 11) as u8).collect();
    Inner::config().file("data/home-assistant.log.1", &noise)
}

/// Nothing is wrong with it, and all of it is restored.
fn whole(what: &str, archive: &[u8], password: Option<&str>) {
    let bench = Bench::new();
    let verification = bench.verify(archive, password).unwrap_or_else(|error| panic!("{what}: {error}"));
    assert!(verification.is_good(), "{what}: {:?}", verification.findings);
    assert!(
        !verification.findings.iter().any(|finding| finding.message.contains("destroys")),
        "{what}: {:?}",
        verification.findings
    );
    assert_eq!(verification.manifest.name, "Nightly", "{what}");
    assert_eq!(verification.manifest.protected, password.is_some(), "{what}");
    let mut options = everything();
    options.password = password.map(habackup::securetar::Password::new);
    bench.restore(archive, &options).unwrap_or_else(|error| panic!("{what}: {error}"));
    assert_eq!(bench.read("configuration.yaml"), b"default_config:\n", "{what}");
    let members = Archive::open(archive).unwrap();
    assert!(members.members().iter().all(|member| member.pax_size.is_none()), "{what}");
}

#[test]
fn an_archive_is_whole_after_core_changed_its_encryption_however_often() {
    let Some(python) = python() else { return };
    let inner = inner();
    for version in [SecureTarVersion::V2, SecureTarVersion::V3] {
        for layout in [PLAIN, PLAIN.uncompressed(), PLAIN.without_index()] {
            let what = |layout: Layout, does: &str| {
                format!("{version:?}, compressed {}, index {}: {does}", layout.compressed, layout.index)
            };
            let completed = layout.completed(version).archive(&inner);
            let opened = recipher(&python, "decrypt", PASSWORD, version, &completed);
            whole(&what(layout, "decrypted"), &opened, None);
            let again = recipher(&python, "encrypt", NEW, version, &opened);
            whole(&what(layout, "encrypted again"), &again, Some(NEW));
            whole(&what(layout, "and decrypted"), &recipher(&python, "decrypt", NEW, version, &again), None);
            let plain = layout.archive(&inner);
            whole(&what(layout, "encrypted"), &recipher(&python, "encrypt", NEW, version, &plain), Some(NEW));
        }
    }
}
