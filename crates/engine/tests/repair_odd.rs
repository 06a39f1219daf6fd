//! Repairing what is odd inside an archive: names that come twice, links to links, slashes, copies of configurations,
//! headers that are damaged.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod crafted;

use std::{
    collections::BTreeMap,
    io::{Cursor, Read},
    path::PathBuf,
    sync::Arc,
};

use crafted::{Bench, Inner, PASSWORD, PLAIN};
use engine::{
    Destination, Progress,
    repair::{NoteKind, RepairOptions, Repaired, repair},
};
use habackup::{
    archive::Archive,
    manifest::Manifest,
    securetar::{Password, SecureTarVersion},
    tar::{EntryKind, Reader},
};
use store::Cancellation;

/// The files of an inner archive.
type Files = BTreeMap<String, Vec<u8>>;

const AUTH: &str = "data/.storage/auth";

/// Nothing is asked for but what is needed.
fn keeping(good: PathBuf) -> RepairOptions {
    RepairOptions::new(Destination::Path(good))
}

/// Repairs an archive around an inner tar, and reads a part of what is written.
fn repaired(tar: &[u8], more: &[(&str, &[u8])], part: &str) -> (Repaired, Files) {
    let bench = Bench::new();
    let layout = PLAIN.uncompressed().without_index();
    let bad = bench.put(&layout.archive_of(tar, &[], &layout.manifest(), more));
    let good = bench.path("good.tar");
    let options = keeping(good.clone());
    let repaired =
        repair(&bad.as_path().into(), &options, None, &Arc::new(Progress::default()), &Cancellation::default())
            .unwrap();
    let outer = std::fs::read(good).map(|bytes| files(&bytes)).unwrap_or_default();
    let inner = outer.get(part).map(|bytes| files(bytes)).unwrap_or_default();
    (repaired, inner)
}

fn main_of(inner: &Inner) -> (Repaired, Files) {
    repaired(&inner.ended(), &[], "homeassistant.tar")
}

fn files(tar: &[u8]) -> Files {
    let mut reader = Reader::new(Cursor::new(tar));
    let mut files = Files::new();
    while let Some(entry) = reader.next_entry().unwrap() {
        let mut content = Vec::new();
        reader.read_to_end(&mut content).unwrap();
        let name = String::from_utf8(entry.path).unwrap();
        if entry.kind == EntryKind::File {
            assert!(files.insert(name, content).is_none(), "a name is there twice");
        }
    }
    files
}

/// The offset of the header of the first member of this name.
fn header(tar: &[u8], name: &str) -> usize {
    let mut reader = Reader::new(Cursor::new(tar));
    while let Some(entry) = reader.next_entry().unwrap() {
        if entry.path == name.as_bytes() {
            return entry.ustar_offset as usize;
        }
    }
    panic!("{name} is not there");
}

/// The texts of the notes about a member.
fn told<'r>(repaired: &'r Repaired, member: &str) -> Vec<(NoteKind, &'r str)> {
    repaired
        .notes
        .iter()
        .filter(|note| note.member.as_deref() == Some(member))
        .map(|note| (note.kind, note.what.as_str()))
        .collect()
}

#[test]
fn what_is_lost_is_reported_however_much_was_repaired() {
    let mut inner = Inner::least();
    for number in 0..2100 {
        inner = inner.file(&format!("data/._{number}"), b"\0\x05\x16\x07abc");
    }
    let tar = inner.file("data/last", &[7; 5000]).bytes;
    let (repaired, files) = repaired(&tar[..tar.len() - 2000], &[], "homeassistant.tar");
    assert!(repaired.is_incomplete() && !files.contains_key("data/last"));
    assert_eq!(told(&repaired, "data/last").len(), 1);
    assert_eq!((repaired.counts.left_out, repaired.more_notes), (2100, 100));
    let written = repaired.written.unwrap();
    assert_eq!(written.members, 4, "what is left out is not counted");
}

#[test]
fn a_link_to_a_link_to_a_large_file_is_that_file() {
    let large: Vec<u8> = (0..2_000_000_u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    for content in [&large[..], b"small"] {
        let inner = Inner::least()
            .file("data/a", content)
            .odd("data/b", b'1', "data/a")
            .odd("data/c", b'1', "data/b")
            .odd("data/d", b'1', "data/c");
        let (repaired, files) = main_of(&inner);
        assert!(!repaired.is_incomplete());
        for name in ["data/b", "data/c", "data/d"] {
            assert!(files[name] == content, "{name}");
        }
    }
}

#[test]
fn a_link_beside_a_name_that_comes_twice_is_what_it_led_to() {
    for first in [vec![1; 3], vec![1; 2 << 20]] {
        let inner = Inner::least()
            .file("data/a", &first)
            .odd("data/b", b'1', "data/a")
            .odd("data/c", b'1', "data/b")
            .file("data/a", b"two");
        let (repaired, files) = main_of(&inner);
        assert!(!repaired.is_incomplete(), "{:?}", repaired.notes);
        assert!(files["data/b"] == first && files["data/c"] == first && files["data/a"] == b"two");
    }
}

#[test]
fn a_link_to_itself_does_not_cost_the_file_and_one_to_a_folder_is_reported_once() {
    let inner =
        Inner::least().file("data/a", b"one").odd("data/a", b'1', "data/a").odd("data/s", b'1', "data/.storage");
    let (repaired, files) = main_of(&inner);
    assert_eq!(files["data/a"], b"one");
    assert_eq!(told(&repaired, "data/a").len(), 1, "{:?}", repaired.notes);
    assert!(matches!(told(&repaired, "data/s")[..], [(NoteKind::Lost, _)]), "{:?}", repaired.notes);
}

#[test]
fn an_old_copy_inside_the_configuration_is_not_taken_for_it() {
    let inner = Inner::default()
        .directory("data", 0o755)
        .file("data/.HA_VERSION", b"2026.3.0")
        .file("data/automations.yaml", b"precious");
    let inner = inner
        .file("data/old/.HA_VERSION", b"2020.1.0")
        .file("data/old/configuration.yaml", b"a:")
        .file("data/old/.storage/auth", b"{}");
    // Cut before what else the configuration has.
    let (repaired, files) = repaired(&inner.bytes, &[], "homeassistant.tar");
    assert!(repaired.is_incomplete());
    assert_eq!(files["data/automations.yaml"], b"precious");
    assert_eq!(files["data/.HA_VERSION"], b"2026.3.0");
    assert_eq!(files["data/old/.HA_VERSION"], b"2020.1.0");
}

#[test]
fn a_leading_slash_costs_nothing() {
    let inner = Inner::default()
        .directory("/data", 0o755)
        .file("/data/.HA_VERSION", b"2026.3.0")
        .directory("/data/.storage", 0o700);
    let inner =
        inner.file("/data/.storage/auth", b"{\"users\":[]}").file("/data/configuration.yaml", b"default_config:\n");
    let share = Inner::default().file("/share/x", b"1").file("./share/y", b"2").file("/../z", b"3").ended();
    let (first, files) = repaired(&inner.ended(), &[("share.tar", &share)], "homeassistant.tar");
    assert_eq!(files[AUTH], b"{\"users\":[]}");
    assert_eq!((first.counts.lost, told(&first, "/../z").len()), (1, 1), "{:?}", first.notes);
    let (_, files) = repaired(&inner.ended(), &[("share.tar", &share)], "share.tar");
    assert_eq!(
        files.iter().map(|(name, body)| (name.as_str(), &body[..])).collect::<Vec<_>>(),
        [("./share/y", &b"2"[..]), ("share/x", b"1")]
    );
}

#[test]
fn of_two_databases_the_last_whole_one_is_kept() {
    let mut database = vec![0; 8192];
    database[..16].copy_from_slice(b"SQLite format 3\0");
    database[16..18].copy_from_slice(&[0x10, 0]);
    database[28..32].copy_from_slice(&2_u32.to_be_bytes());
    let name = "data/home-assistant_v2.db";
    let inner = Inner::least().file(name, &database).file(name, &database[..4096]);
    let (repaired, files) = main_of(&inner);
    assert!(files[name] == database);
    assert!(
        told(&repaired, name).iter().any(|(kind, what)| *kind == NoteKind::Lost && what.contains("last whole one")),
        "{:?}",
        repaired.notes
    );
}

#[test]
fn a_tar_behind_a_damaged_header_does_not_overwrite_what_stood_before() {
    let nested = Inner::default().file(AUTH, b"OLD").file("data/new", b"OLD").file("stray", b"OLD").bytes;
    let mut tar = Inner::least().file("data/old.tar", &nested).file("data/last", b"last").ended();
    let at = header(&tar, "data/old.tar");
    tar[at + 257..at + 262].fill(0xff);
    let (repaired, files) = repaired(&tar, &[], "homeassistant.tar");
    assert_eq!(files[AUTH], b"{\"users\":[]}");
    assert_eq!(files["data/last"], b"last");
    assert!(!files.contains_key("stray"), "nobody knows where it comes from");
    assert!(matches!(told(&repaired, AUTH)[..], [(NoteKind::Lost, _)]), "{:?}", repaired.notes);
    assert_eq!(told(&repaired, "stray").len(), 1, "{:?}", repaired.notes);
}

/// A name that only an extended header can hold.
fn long(end: &str) -> String {
    format!("data/{}/{}{end}", "d".repeat(60), "n".repeat(150))
}

#[test]
fn what_stood_before_a_damaged_header_still_says_its_name() {
    let mut tar = Inner::least().file(&long("1"), b"one").file(&long("2"), b"two").ended();
    for at in [header(&tar, &long("1")), header(&tar, &long("2"))] {
        tar[at + 150] ^= 1;
    }
    let (repaired, files) = repaired(&tar, &[], "homeassistant.tar");
    assert_eq!((&files[&long("1")][..], &files[&long("2")][..]), (&b"one"[..], &b"two"[..]));
    assert_eq!(repaired.counts.doubtful, 2, "{:?}", repaired.notes);
}

#[test]
fn names_whose_ends_are_gone_do_not_fall_together_without_a_word() {
    let sound = Inner::least().file(&long("1"), b"one").file(&long("2"), b"two").file("data/last", b"last").ended();
    // Within what the extended header says, and its own header.
    for place in [512, 257] {
        let mut tar = sound.clone();
        for end in ["1", "2"] {
            let at = header(&sound, &long(end)) - 1024 + place;
            tar[at] = 0xff;
        }
        let (repaired, files) = repaired(&tar, &[], "homeassistant.tar");
        assert!(
            files["data/last"] == b"last" && files.len() == 5 && files.values().any(|body| body == b"one"),
            "{:?}",
            files.keys()
        );
        let cut: Vec<_> = repaired
            .notes
            .iter()
            .filter(|note| note.member.as_ref().is_some_and(|name| name.contains("nnn")))
            .map(|note| note.kind)
            .collect();
        assert!(cut.contains(&NoteKind::Doubtful) && cut.contains(&NoteKind::Lost), "{:?}", repaired.notes);
    }
}

#[test]
fn a_damaged_size_swallows_nothing() {
    let body = [b'z'; 1500];
    let mut inner = Inner::least();
    for number in 0..5 {
        inner = inner.file(&format!("data/z{number}"), &body);
    }
    let sound = inner.ended();
    let at = header(&sound, "data/z1");
    // As large as three members, larger than the archive, and smaller than it was.
    for size in ["00000010000", "00100000000", "00000000100"] {
        let mut tar = sound.clone();
        tar[at + 124..at + 135].copy_from_slice(size.as_bytes());
        let (repaired, files) = repaired(&tar, &[], "homeassistant.tar");
        assert!(
            [0, 2, 3, 4].iter().all(|number| files[&format!("data/z{number}")] == body),
            "{size}: {:?}",
            repaired.notes
        );
        assert!(!files.contains_key("data/z1"));
        assert!(matches!(told(&repaired, "data/z1")[..], [(NoteKind::Lost, _)]), "{size}: {:?}", repaired.notes);
    }
}

/// A damaged `backup.json` is found again in the index; without an index its beginning counts.
#[test]
fn the_content_of_a_damaged_description_is_not_lost() {
    let inner = Inner::least();
    let whole = "it was missing or damaged; its content comes from the copy in haul.index";
    let cut = "it was cut short; what is left is kept, and the rest is derived from the archive";
    for (layout, what) in [
        (PLAIN, whole),
        (PLAIN.completed(SecureTarVersion::V2), whole),
        (PLAIN.completed(SecureTarVersion::V3), whole),
        (PLAIN.without_index(), cut),
    ] {
        let bench = Bench::new();
        let mut archive = layout.archive(&inner);
        let said = Archive::open(&archive).unwrap().manifest().unwrap().to_json();
        let at = archive.windows(said.len()).position(|bytes| bytes == said).unwrap();
        // Behind the name, which comes after the date; the slug is derived from both.
        let end = said.windows(6).position(|bytes| bytes == b"\"slug\"").unwrap();
        archive[at + end..at + said.len()].fill(b' ');
        let good = bench.path("good.tar");
        let options = RepairOptions { password: layout.protection.map(|_| Password::new(PASSWORD)), ..keeping(good) };
        let repaired = repair(
            &bench.put(&archive).as_path().into(),
            &options,
            None,
            &Arc::new(Progress::default()),
            &Cancellation::default(),
        )
        .unwrap();
        assert!(repaired.notes.iter().any(|note| note.what == what), "{:?}", repaired.notes);
        assert!(!repaired.is_incomplete(), "{:?}", repaired.notes);
        let (before, after) = (Manifest::parse(&said).unwrap(), &repaired.result.as_ref().unwrap().manifest);
        assert_eq!(
            (before.name(), before.date(), before.slug()),
            (Some(&*after.name), Some(&*after.date), Some(&*after.slug))
        );
        assert_eq!(after.protected, layout.protection.is_some());
    }
}
