//! What verifying finds: everything. A sound archive gives no finding, any change of it gives one.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod crafted;

use std::io::Read;

use crafted::{Bench, Inner, Layout, PASSWORD, PLAIN};
use engine::{
    read::OpenError,
    verdict::Verdict,
    verify::{Severity, Verification, VerifyError},
};
use habackup::securetar::SecureTarVersion;

const V2: Layout = Layout { protection: Some(SecureTarVersion::V2), ..PLAIN };
const V3: Layout = Layout { protection: Some(SecureTarVersion::V3), ..PLAIN };

fn verify(layout: Layout, archive: &[u8]) -> Result<Verification, VerifyError> {
    Bench::new().verify(archive, layout.protection.map(|_| PASSWORD))
}

fn found(result: &Result<Verification, VerifyError>) -> bool {
    result.as_ref().map_or(true, |verification| !verification.findings.is_empty())
}

fn is_bad(result: &Result<Verification, VerifyError>) -> bool {
    result.as_ref().map_or(true, |verification| !verification.is_good())
}

fn messages(verification: &Verification) -> Vec<String> {
    verification
        .findings
        .iter()
        .map(|finding| format!("{:?} {}: {}", finding.severity, finding.member, finding.message))
        .collect()
}

/// The findings of an archive with these members besides the usual ones.
fn findings_of(inner: &Inner) -> Vec<String> {
    messages(&verify(PLAIN, &PLAIN.archive(inner)).unwrap())
}

#[test]
fn a_sound_archive_of_any_layout_gives_no_finding() {
    for layout in [PLAIN, V2, V3] {
        for layout in [layout, layout.without_index(), layout.uncompressed(), layout.uncompressed().without_index()] {
            let verification = verify(layout, &layout.archive(&Inner::config())).unwrap();
            assert_eq!(messages(&verification), [""; 0]);
            assert_eq!((verification.entries, verification.bytes), (7, 41 + 1));
            assert_eq!(verification.used_index, layout.index);
            assert_eq!(verification.manifest.name, "Nightly");
        }
    }
}

#[test]
fn a_truncation_at_any_byte_is_found() {
    for (layout, step) in [(PLAIN, 1), (PLAIN.without_index(), 7), (V2, 7)] {
        let archive = layout.archive(&Inner::config());
        for length in (0..archive.len()).step_by(step) {
            let result = verify(layout, &archive[..length]);
            assert!(is_bad(&result) || (!layout.index && found(&result)), "cut at {length} of {}", archive.len());
        }
    }
}

#[test]
fn all_that_was_padded_behind_the_end_is_read() {
    let archive = PLAIN.archive(&Inner::config());
    let mut padded = archive.clone();
    padded.resize(archive.len() + (3 << 20), 0);
    let verification = verify(PLAIN, &padded).unwrap();
    assert!(verification.is_good(), "{:?}", messages(&verification));
    assert!(
        messages(&verification).iter().any(|message| message.contains("extra bytes follow its end")),
        "{:?}",
        messages(&verification)
    );
    let middle = archive.len() + (2 << 20);
    padded[middle] = 1;
    let verification = verify(PLAIN, &padded).unwrap();
    assert!(
        messages(&verification).contains(&format!("Damage : data follows the end of the archive, at byte {middle}")),
        "{:?}",
        messages(&verification)
    );
}

#[test]
fn a_truncation_of_v3_is_found() {
    let archive = V3.archive(&Inner::config());
    for length in (0..archive.len()).step_by(97) {
        assert!(is_bad(&verify(V3, &archive[..length])), "cut at {length} of {}", archive.len());
    }
}

/// Nothing else covers the content of files there: neither gzip nor encryption has a checksum.
#[test]
fn a_changed_byte_of_an_uncompressed_archive_is_found_by_its_index() {
    for layout in [PLAIN.uncompressed(), V2.uncompressed(), V3.uncompressed()] {
        let archive = layout.archive(&Inner::config().file("data/notes.txt", &[b'n'; 3000]));
        let verification = verify(layout, &archive).unwrap();
        assert!(verification.is_good() && verification.without_checksum.is_empty(), "{:?}", messages(&verification));
        let body = body_of(&archive, "homeassistant.tar");
        for at in body.step_by(if layout.protection.is_some() { 997 } else { 61 }) {
            assert!(is_bad(&flipped(layout, &archive, at, 1)), "{:?} changed at {at}", layout.protection);
        }
    }
}

#[test]
fn what_carries_no_checksum_is_reported() {
    for layout in [PLAIN, V2, V3] {
        for layout in [layout, layout.uncompressed()] {
            let archive = layout.without_index().archive(&Inner::config());
            let verification = verify(layout, &archive).unwrap();
            let expected =
                if layout.compressed || layout.protection == V3.protection { &[][..] } else { &["homeassistant.tar"] };
            assert_eq!(verification.without_checksum, expected, "{:?} {}", layout.protection, layout.compressed);
        }
    }
}

/// Home Assistant keeps the index when it encrypts or decrypts an archive; its checksum is that of what is inside.
#[test]
fn the_checksum_holds_after_home_assistant_encrypted_the_archive_anew() {
    let inner = Inner::config().file("data/notes.txt", &[b'n'; 3000]);
    let old = PLAIN.uncompressed().archive(&inner);
    let index = old[body_of(&old, "haul.index")].to_vec();
    let new = V2.uncompressed().without_index();
    let mut tar = inner.ended();
    for expected in [true, false] {
        let archive = new.archive_of(&tar, &[], &new.manifest(), &[("haul.index", &index)]);
        let verification = verify(V2, &archive).unwrap();
        assert_eq!(verification.is_good(), expected, "{:?}", messages(&verification));
        assert_eq!(verification.without_checksum, [""; 0]);
        let at = tar.windows(10).position(|bytes| bytes == [b'n'; 10]).unwrap();
        tar[at] = b'm';
    }
}

/// Where the member of that name has its body.
fn body_of(archive: &[u8], name: &str) -> std::ops::Range<usize> {
    let archive = habackup::archive::Archive::open(archive.to_vec()).unwrap();
    let member = archive.member(name).unwrap();
    member.data_offset as usize..(member.data_offset + member.size) as usize
}

fn flipped(layout: Layout, archive: &[u8], at: usize, flip: u8) -> Result<Verification, VerifyError> {
    let mut changed = archive.to_vec();
    changed[at] ^= flip;
    verify(layout, &changed)
}

/// The inner tar, if the compressed data of this archive is in order.
fn inflated(archive: &[u8]) -> Option<Vec<u8>> {
    let mut tar = Vec::new();
    pargz::Inflater::new(&archive[body_of(archive, "homeassistant.tar.gz")]).read_to_end(&mut tar).ok()?;
    Some(tar)
}

#[test]
fn any_changed_byte_is_found() {
    let archive = PLAIN.archive(&Inner::config());
    let tar = inflated(&archive);
    let (gzip, index) = (body_of(&archive, "homeassistant.tar.gz"), body_of(&archive, "haul.index"));
    let manifest = body_of(&archive, "./backup.json");
    for flip in [0xff, 0x01] {
        for at in 0..archive.len() {
            let result = flipped(PLAIN, &archive, at, flip);
            if !is_bad(&result) {
                let mut changed = archive.clone();
                changed[at] ^= flip;
                // A run of zeros is the same from whatever distance it is repeated: another way to write the very same
                // content.
                let same = gzip.contains(&at) && inflated(&changed) == tar;
                // A later version of the index, or of Home Assistant in the description: no damage, but said.
                let said = found(&result) && (at == index.start + 8 || manifest.contains(&at));
                assert!(same || said, "changed at {at} of {}, gzip at {gzip:?}, index at {index:?}", archive.len());
            }
        }
    }
}

#[test]
fn any_changed_byte_under_encryption_without_authentication_is_found() {
    let archive = V2.archive(&Inner::config());
    let index = body_of(&archive, "haul.index");
    for at in 0..archive.len() {
        let result = flipped(V2, &archive, at, 0xff);
        assert!(found(&result), "changed at {at} of {}", archive.len());
        // An index that does not open may as well be one that Home Assistant copied when it changed the archive's
        // encryption: no damage.
        assert!(
            is_bad(&result) || (index.start + 32..index.start + 64).contains(&at),
            "changed at {at} of {}, index at {index:?}",
            archive.len()
        );
    }
}

#[test]
fn any_changed_byte_of_a_v3_container_is_found() {
    let archive = V3.archive(&Inner::config());
    let (inner, index) = (body_of(&archive, "homeassistant.tar.gz"), body_of(&archive, "haul.index"));
    let heads = (inner.start..inner.start + 140).chain(index.start..index.start + 140).step_by(3);
    for at in heads.chain((0..archive.len()).step_by(131)) {
        let result = flipped(V3, &archive, at, 0xff);
        assert!(found(&result), "changed at {at} of {}, inner at {inner:?}, index at {index:?}", archive.len());
        assert!(
            is_bad(&result) || (index.start + 32..index.start + 96).contains(&at),
            "changed at {at}, index at {index:?}"
        );
    }
}

#[test]
fn any_changed_byte_without_an_index_is_found_but_in_a_few_fields_that_mean_nothing() {
    let layout = PLAIN.without_index();
    let archive = layout.archive(&Inner::config());
    let gzip = body_of(&archive, "homeassistant.tar.gz");
    let tar = inflated(&archive);
    // Time, extra flags and system in the gzip header: no reader uses them.
    let header = gzip.start + 4..gzip.start + 10;
    for at in (0..archive.len()).filter(|at| !header.contains(at)) {
        if !found(&flipped(layout, &archive, at, 0xff)) {
            let mut changed = archive.clone();
            changed[at] ^= 0xff;
            assert!(gzip.contains(&at) && inflated(&changed) == tar, "changed at {at}, gzip at {gzip:?}");
        }
    }
}

#[test]
fn what_follows_the_compressed_data_is_found_unless_it_is_zeros() {
    let tar = Inner::config().ended();
    let (gzip, _) = crafted::gzip(&tar);
    let layout = PLAIN.without_index();
    let archive = |body: &[u8]| {
        let outer = habackup::outer::Outer::new(Vec::new(), crafted::MTIME)
            .member("./backup.json", &layout.manifest())
            .unwrap();
        outer.member("homeassistant.tar.gz", body).unwrap().finish().unwrap().0
    };
    assert_eq!(messages(&verify(layout, &archive(&[gzip.as_slice(), &[0; 700]].concat())).unwrap()), [""; 0]);
    let second = verify(layout, &archive(&[gzip.as_slice(), &gzip].concat())).unwrap();
    assert!(messages(&second)[0].contains("a second gzip member begins"), "{:?}", messages(&second));
    let garbage = verify(layout, &archive(&[gzip.as_slice(), b"\0\0x"].concat())).unwrap();
    assert!(messages(&garbage)[0].contains("foreign data follows"), "{:?}", messages(&garbage));
    let mut wrong_sum = gzip.clone();
    let at = wrong_sum.len() - 6;
    wrong_sum[at] ^= 1;
    assert!(messages(&verify(layout, &archive(&wrong_sum)).unwrap())[0].contains("checksum"));
}

#[test]
fn an_inner_archive_cut_where_home_assistant_sees_its_end_is_found() {
    let inner = Inner::config();
    for layout in [PLAIN, PLAIN.without_index(), PLAIN.uncompressed().without_index()] {
        for (cut, name) in [
            (0, "at the end marker"),
            (512, "inside the end marker"),
            (-512, "before the last block"),
            (-300, "inside a block"),
        ] {
            let length = (inner.bytes.len() as i64 + cut) as usize;
            let archive = layout.archive_of(&inner.ended()[..length], &inner.files, &layout.manifest(), &[]);
            assert!(is_bad(&verify(layout, &archive)), "{name}");
        }
    }
}

#[test]
fn members_that_home_assistant_refuses_or_drops_are_named() {
    let inner = Inner::config()
        .odd("data/hard", b'1', "data/configuration.yaml")
        .odd("data/hard-to-nothing", b'1', "data/nothing")
        .odd("data/pipe", b'6', "")
        .odd("data/device", b'3', "")
        .file("data/../../up", b"")
        .file("data/configuration.yaml", b"again")
        .symlink("data/relative", "configuration.yaml")
        .file("data/custom/backups/x", b"")
        .file("stray", b"");
    let findings = findings_of(&inner);
    for expected in [
        "Warning data/hard: it is a hard link to data/configuration.yaml",
        "WouldNotRestore data/hard-to-nothing: it is a hard link to data/nothing, which is missing",
        "WouldNotRestore data/pipe: it is a named pipe",
        "Warning data/device: it is a device",
        "WouldNotRestore data/../../up: it points outside the archive",
        "Loss data/configuration.yaml: the archive holds it more than once",
        "Warning data/relative: it is a symbolic link",
        "Warning data/custom/backups/x: it is called 'backups' or is in such a folder",
        "Warning stray: is outside data/, so it is not restored",
    ] {
        assert!(findings.iter().any(|finding| finding.starts_with(expected)), "{expected}: {findings:#?}");
    }
    // A hard link and the like can't be in an index of ours: that is named too.
    assert!(
        findings.iter().any(|finding| finding.starts_with("Wrapper haul.index: the index does not list")),
        "{findings:#?}"
    );
}

#[test]
fn a_member_is_judged_by_where_it_is_unpacked() {
    let layout = PLAIN.without_index();
    let judged = |inner: &Inner| {
        verify(layout, &layout.archive_of(&inner.ended(), &[], &layout.manifest(), &[])).unwrap().judgement.verdict
    };
    assert_eq!(judged(&Inner::config().file("data/../b", b"")), Verdict::Whole, "it goes up and down again");
    assert_eq!(judged(&Inner::config().file("data/../../b", b"")), Verdict::Unrestorable);
    for data in ["data", "./data", ".//data"] {
        assert_eq!(judged(&Inner::default().symlink(data, "elsewhere")), Verdict::Unrestorable, "{data}");
    }
}

#[test]
fn a_config_directory_that_would_come_back_empty_is_named() {
    let findings = findings_of(&Inner::default().file("data/configuration.yaml", b""));
    assert!(findings.iter().any(|finding| finding.starts_with("Loss data/.storage: it is missing")), "{findings:?}");
    assert!(
        findings.iter().any(|finding| finding.starts_with("Warning data/.HA_VERSION: it is missing")),
        "{findings:?}"
    );
    let findings = findings_of(&Inner::default().file("configuration.yaml", b""));
    assert!(
        findings.iter().any(|finding| finding.starts_with("WouldNotRestore : the configuration is not below 'data/'")),
        "{findings:?}"
    );
}

#[test]
fn a_description_that_does_not_fit_what_is_there_is_named() {
    let inner = Inner::config();
    let archive =
        |manifest: &[u8]| verify(PLAIN, &PLAIN.archive_of(&inner.ended(), &inner.files, manifest, &[])).unwrap();
    let text = |replace: &str, by: &str| String::from_utf8(PLAIN.manifest()).unwrap().replace(replace, by).into_bytes();
    for (manifest, expected) in [
        (text("2026.3.0", "2026.3.1"), "Warning data/.HA_VERSION: says 2026.3.0, backup.json says 2026.3.1"),
        (
            text("\"protected\":false", "\"protected\":true"),
            "Warning homeassistant.tar.gz: backup.json says that it is encrypted, but it is not",
        ),
        (PLAIN.manifest_with("2026.3.0", false), "Loss data/home-assistant_v2.db: it is missing"),
    ] {
        let found = messages(&archive(&manifest));
        assert!(found.iter().any(|finding| finding.starts_with(expected)), "{expected}: {found:#?}");
    }
}

#[test]
fn a_description_that_was_changed_afterwards_is_damage() {
    for layout in [PLAIN, PLAIN.completed(SecureTarVersion::V2)] {
        let mut archive = layout.archive(&Inner::config());
        assert!(verify(layout, &archive).unwrap().is_good());
        let at = archive.windows(7).position(|bytes| bytes == b"Nightly").unwrap();
        archive[at + 6] = b'z';
        let found = messages(&verify(layout, &archive).unwrap());
        assert_eq!(found[0], "Damage ./backup.json: has changed since it was written", "{found:?}");
    }
}

#[test]
fn a_database_is_checked_and_its_empty_log_asked_for() {
    let mut broken = b"SQLite format 3\0".to_vec();
    broken.resize(8192, 7);
    let layout = PLAIN;
    let inner = Inner::config().file("data/home-assistant_v2.db", &broken);
    let archive = layout.archive_of(&inner.ended(), &inner.files, &layout.manifest_with("2026.3.0", false), &[]);
    let verification = verify(layout, &archive).unwrap();
    let found = messages(&verification);
    assert!(found[0].starts_with("Loss data/home-assistant_v2.db: the database is damaged"), "{found:?}");
    assert!(
        found.iter().any(|finding| finding.starts_with("Warning data/home-assistant_v2.db-wal: it is missing")),
        "{found:?}"
    );
    assert!(!verification.databases[0].sound);
}

#[test]
fn a_wrong_index_is_damage_of_the_index_alone() {
    let mut inner = Inner::config();
    let right = inner.ended();
    inner.files[1].size += 1;
    inner.files.truncate(2);
    let verification = verify(PLAIN, &PLAIN.archive_of(&right, &inner.files, &PLAIN.manifest(), &[])).unwrap();
    assert_eq!(
        messages(&verification),
        ["Wrapper haul.index: the index does not list what the archive holds, first at data/.HA_VERSION"]
    );
    assert_eq!(verification.entries, 7);

    // Pieces of another compression: the index does not fit the gzip member.
    let other = Inner::config().file("data/more", &[1; 100]);
    let (_, pieces) = crafted::gzip(&other.ended());
    let (gzip, _) = crafted::gzip(&right);
    let index = habackup::index::IndexBuilder::new("homeassistant.tar.gz").finish(Some(&pieces), &[]);
    let outer =
        habackup::outer::Outer::new(Vec::new(), crafted::MTIME).member("./backup.json", &PLAIN.manifest()).unwrap();
    let outer = outer.member("homeassistant.tar.gz", &gzip).unwrap().member("haul.index", &index).unwrap();
    let verification = verify(PLAIN, &outer.finish().unwrap().0).unwrap();
    assert_eq!(
        messages(&verification),
        ["Wrapper haul.index: the index does not match the archive, which is intact without it"]
    );
    assert!(!verification.used_index);
}

#[test]
fn an_archive_encrypted_anew_by_home_assistant_is_sound_without_its_index() {
    let inner = Inner::config();
    for index_of in [PLAIN, V3] {
        let old = index_of.archive(&inner);
        let index = old[body_of(&old, "haul.index")].to_vec();
        let new = V3.without_index();
        let archive = new.archive_of(&inner.ended(), &[], &new.manifest(), &[("haul.index", &index)]);
        let verification = verify(V3, &archive).unwrap();
        assert!(verification.is_good(), "{:?}", messages(&verification));
        assert!(!verification.used_index);
    }
}

#[test]
fn a_wrong_password_is_an_error_of_its_own() {
    for layout in [V2, V3, V2.without_index(), V3.without_index()] {
        let archive = layout.archive(&Inner::config());
        let bench = Bench::new();
        assert!(matches!(bench.verify(&archive, Some("wrong")), Err(VerifyError::Open(OpenError::WrongPassword))));
        assert!(matches!(bench.verify(&archive, None), Err(VerifyError::Open(OpenError::PasswordNeeded(_)))));
    }
}

#[test]
fn other_inner_archives_are_read_to_their_end_too() {
    let inner = Inner::config();
    let (mut addon, _) = crafted::gzip(&Inner::default().file("addon.json", b"{}").ended());
    let layout = PLAIN.without_index();
    let archive =
        |addon: &[u8]| layout.archive_of(&inner.ended(), &[], &layout.manifest(), &[("core_ssh.tar.gz", addon)]);
    let verification = verify(layout, &archive(&addon)).unwrap();
    // That backup.json does not announce it is all that is wrong with it.
    let is_announced = |message: &String| !message.contains("backup.json does not list it");
    assert!(
        !messages(&verification).iter().any(is_announced) && verification.entries == 8,
        "{:?}",
        messages(&verification)
    );
    let at = addon.len() - 6;
    addon[at] ^= 0x10;
    let verification = verify(layout, &archive(&addon)).unwrap();
    assert!(
        verification
            .findings
            .iter()
            .any(|finding| finding.severity == Severity::Damage && finding.member.starts_with("core_ssh")),
        "{:?}",
        messages(&verification)
    );
}
