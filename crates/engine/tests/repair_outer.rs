//! Repairing what is around the parts: the gzip streams they are compressed in, the headers between them, what the
//! whole archive was packed in.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use engine::{
    Destination, Progress,
    repair::{NoteKind, RepairError, RepairOptions, Repaired, repair},
};
use habackup::tar::{BLOCK, Header, Kind, Reader, encode, padding};
use store::Cancellation;
use testkit::noise::seeded;

const MAIN: &str = "homeassistant.tar.gz";

fn member(name: &str, content: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let size = content.len() as u64;
    encode(
        &Header {
            path: name.as_bytes(),
            kind: Kind::File,
            size,
            mode: 0o644,
            mtime: (1_700_000_000, 0),
            link: b"",
            uid: 0,
            gid: 0,
        },
        &mut out,
    );
    out.extend_from_slice(content);
    out.resize(out.len() + padding(size), 0);
    out
}

fn tar(members: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut out: Vec<u8> = members.iter().flat_map(|(name, content)| member(name, content)).collect();
    out.resize(out.len() + 2 * BLOCK, 0);
    out
}

/// Blocks that are stored as they are.
fn deflated(content: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut pieces = content.chunks(0xffff).peekable();
    while let Some(piece) = pieces.next() {
        let length = piece.len() as u16;
        out.push(u8::from(pieces.peek().is_none()));
        out.extend_from_slice(&length.to_le_bytes());
        out.extend_from_slice(&(!length).to_le_bytes());
        out.extend_from_slice(piece);
    }
    out
}

fn gz(content: &[u8]) -> Vec<u8> {
    let mut out = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];
    out.extend_from_slice(&deflated(content));
    out.extend_from_slice(&crc32fast::hash(content).to_le_bytes());
    out.extend_from_slice(&(content.len() as u32).to_le_bytes());
    out
}

/// With a checksum that is another one's.
fn unequal(mut member: Vec<u8>) -> Vec<u8> {
    let place = member.len() - 8;
    member[place] ^= 1;
    member
}

/// Bytes that no packing makes smaller, and no search takes for zeros.
fn configuration(more: &[u8]) -> Vec<u8> {
    tar(&[
        ("data/.HA_VERSION", b"2025.6.3".to_vec()),
        ("data/configuration.yaml", b"default_config:\n".to_vec()),
        ("data/.storage/core.config", b"{}".to_vec()),
        ("data/blob", more.to_vec()),
    ])
}

fn folder(file: &str) -> Vec<u8> {
    gz(&tar(&[(file, seeded(9000, 7))]))
}

fn description(folders: &[&str]) -> Vec<u8> {
    let description = serde_json::json!({
        "version": 2, "slug": "abcd1234", "type": "partial", "name": "Test", "date": "2025-06-20T10:00:00+00:00", "compressed": true, "protected": false,
        "homeassistant": {"version": "2025.6.3", "exclude_database": true}, "folders": folders, "addons": [], "repositories": [], "extra": {},
    });
    description.to_string().into_bytes()
}

/// An archive of a configuration alone.
fn archive(main: Vec<u8>) -> Vec<u8> {
    tar(&[("./backup.json", description(&[])), (MAIN, main)])
}

/// Three parts, and the description last.
fn large() -> Vec<u8> {
    let main = gz(&configuration(b"x"));
    tar(&[
        (MAIN, main),
        ("media.tar.gz", folder("m")),
        ("share.tar.gz", folder("s")),
        ("./backup.json", description(&["media", "share"])),
    ])
}

/// The offset of a member's header.
fn place(archive: &[u8], name: &str) -> usize {
    (0..archive.len()).step_by(BLOCK).find(|at| archive[*at..].starts_with(name.as_bytes())).unwrap()
}

struct Outcome {
    repaired: Result<Repaired, RepairError>,
    good: PathBuf,
    _folder: tempfile::TempDir,
}

impl Outcome {
    fn of(bad: &[u8]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (path, good) = (folder.path().join("bad.tar"), folder.path().join("good.tar"));
        fs::write(&path, bad).unwrap();
        let options = RepairOptions::new(Destination::Path(good.clone()));
        let repaired =
            repair(&path.as_path().into(), &options, None, &Arc::new(Progress::default()), &Cancellation::default());
        Self { repaired, good, _folder: folder }
    }

    /// Members of the new archive, without the index that it has of its own.
    fn names(&self) -> Vec<String> {
        names(&self.good).into_iter().filter(|name| name != habackup::index::MEMBER).collect()
    }

    fn notes(&self) -> String {
        let notes = self.repaired.as_ref().unwrap().notes.iter();
        let lines: Vec<String> = notes
            .map(|note| format!("{:?} {}: {}", note.kind, note.member.as_deref().unwrap_or_default(), note.what))
            .collect();
        lines.join("\n")
    }

    fn has(&self, kind: NoteKind, part: &str) -> bool {
        self.repaired.as_ref().unwrap().notes.iter().any(|note| note.kind == kind && note.what.contains(part))
    }
}

fn names(archive: &Path) -> Vec<String> {
    let mut reader = Reader::new(fs::File::open(archive).unwrap());
    let mut names = Vec::new();
    while let Some(entry) = reader.next_entry().unwrap() {
        names.push(String::from_utf8(entry.path).unwrap().trim_start_matches("./").to_owned());
    }
    names
}

#[test]
fn a_hundred_thousand_gzip_members_take_no_more_than_one() {
    let blob = vec![0; 100_000 * 64];
    let plain = configuration(&blob);
    let main: Vec<u8> = plain.chunks(64).flat_map(gz).collect();
    let outcome = Outcome::of(&archive(main));
    assert!(outcome.has(NoteKind::Repaired, "compressed in"), "{}", outcome.notes());
    assert!(!outcome.repaired.as_ref().unwrap().is_incomplete(), "{}", outcome.notes());
}

#[test]
fn a_wrong_checksum_in_one_gzip_member_costs_nothing_of_the_others() {
    let plain = configuration(&seeded(5000, 3));
    for cut in [2 * BLOCK, 2 * BLOCK + 100] {
        let main = [unequal(gz(&plain[..cut])), gz(&plain[cut..])].concat();
        let outcome = Outcome::of(&archive(main));
        assert!(outcome.has(NoteKind::Doubtful, "checksum"), "{}", outcome.notes());
        assert!(!outcome.has(NoteKind::Lost, ""), "{}", outcome.notes());
    }
}

#[test]
fn parts_behind_a_header_of_zeros_are_kept_and_the_gap_is_reported() {
    for length in [BLOCK, 4096] {
        let mut bad = large();
        let at = place(&bad, "media.tar.gz");
        bad[at..at + length].fill(0);
        let outcome = Outcome::of(&bad);
        assert!(outcome.has(NoteKind::Lost, "the member it described is lost"), "{}", outcome.notes());
        let names = outcome.names();
        assert!(names.contains(&MAIN.to_owned()) && names.contains(&"share.tar.gz".to_owned()), "{names:?}");
    }
}

#[test]
fn another_archive_behind_the_end_is_no_part_of_this_one() {
    let bad = [large(), large()].concat();
    let outcome = Outcome::of(&bad);
    assert!(outcome.has(NoteKind::Lost, "another archive"), "{}", outcome.notes());
    assert_eq!(outcome.names().iter().filter(|name| *name == MAIN).count(), 1);
}

#[test]
fn a_damaged_header_costs_its_member_and_not_the_one_before() {
    for (name, kept) in
        [("media.tar.gz", "share.tar.gz"), ("share.tar.gz", "media.tar.gz"), ("./backup.json", "share.tar.gz")]
    {
        let mut bad = large();
        let at = place(&bad, name);
        bad[at..at + BLOCK].copy_from_slice(&seeded(BLOCK, 11));
        let outcome = Outcome::of(&bad);
        assert!(
            outcome.has(NoteKind::Lost, "is damaged; the member it described is lost"),
            "{name}: {}",
            outcome.notes()
        );
        assert!(!outcome.notes().contains("size in its header"), "{name}: {}", outcome.notes());
        assert!(outcome.names().contains(&kept.to_owned()), "{name}: {:?}", outcome.names());
    }
}

#[test]
fn an_empty_last_member_is_nothing_to_repair() {
    let sound = tar(&[("./backup.json", description(&[])), (MAIN, gz(&configuration(b"x"))), ("note.txt", Vec::new())]);
    let outcome = Outcome::of(&sound);
    assert!(outcome.repaired.as_ref().unwrap().written.is_none(), "{}", outcome.notes());
}

#[test]
fn what_is_wrong_with_the_packing_around_an_archive_is_reported() {
    let whole = archive(gz(&configuration(&seeded(3000, 5))));
    let half = whole.len() / 2;
    let in_two = Outcome::of(&[gz(&whole[..half]), gz(&whole[half..])].concat());
    assert!(!in_two.repaired.as_ref().unwrap().is_incomplete(), "{}", in_two.notes());
    assert_eq!(in_two.names(), ["backup.json", MAIN]);
    let wrong = Outcome::of(&unequal(gz(&whole)));
    assert!(wrong.has(NoteKind::Doubtful, "the checksum of its packing"), "{}", wrong.notes());
    let packed = gz(&whole);
    let cut = Outcome::of(&packed[..packed.len() - 9]);
    assert!(cut.has(NoteKind::Lost, "its packing can't be read"), "{}", cut.notes());
}

#[test]
fn members_of_a_packed_archive_are_found_without_unpacking_it_for_each() {
    let extra: Vec<(String, Vec<u8>)> =
        (0..4000).map(|number| (format!("e{number}.bin"), seeded(2000, number))).collect();
    let mut members = vec![("./backup.json", description(&[])), (MAIN, gz(&configuration(b"x")))];
    members.extend(extra.iter().map(|(name, content)| (name.as_str(), content.clone())));
    let outcome = Outcome::of(&gz(&tar(&members)));
    assert_eq!(outcome.names().len(), 4002, "{}", outcome.notes());
}

/// A zip, each file deflated.
fn zip(files: &[(&str, &[u8])]) -> Vec<u8> {
    let (mut out, mut directory) = (Vec::new(), Vec::new());
    for (name, content) in files {
        let (packed, start) = (deflated(content), out.len() as u32);
        let mut common = vec![20, 0, 0, 0, 8, 0, 0, 0, 0, 0];
        common.extend_from_slice(&crc32fast::hash(content).to_le_bytes());
        common.extend_from_slice(&(packed.len() as u32).to_le_bytes());
        common.extend_from_slice(&(content.len() as u32).to_le_bytes());
        common.extend_from_slice(&(name.len() as u16).to_le_bytes());
        common.extend_from_slice(&[0; 2]);
        out.extend_from_slice(b"PK\x03\x04");
        out.extend_from_slice(&common);
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(&packed);
        directory.extend_from_slice(b"PK\x01\x02\x14\x00");
        directory.extend_from_slice(&common);
        directory.extend_from_slice(&[0; 10]);
        directory.extend_from_slice(&start.to_le_bytes());
        directory.extend_from_slice(name.as_bytes());
    }
    let (count, start) = (files.len() as u16, out.len() as u32);
    out.extend_from_slice(&directory);
    out.extend_from_slice(b"PK\x05\x06\0\0\0\0");
    out.extend_from_slice(&[count.to_le_bytes(), count.to_le_bytes()].concat());
    out.extend_from_slice(&(directory.len() as u32).to_le_bytes());
    out.extend_from_slice(&start.to_le_bytes());
    out.extend_from_slice(&[0; 2]);
    out
}

#[test]
fn the_one_archive_in_a_zip_is_taken_and_of_several_none() {
    let whole = archive(gz(&configuration(b"x")));
    for first in ["folder/", "readme.txt"] {
        let outcome = Outcome::of(&zip(&[(first, b""), ("folder/backup.tar", &whole)]));
        assert_eq!(outcome.names(), ["backup.json", MAIN], "{first}");
        assert!(!outcome.repaired.as_ref().unwrap().is_incomplete(), "{}", outcome.notes());
    }
    let several = Outcome::of(&zip(&[("a.tar", &whole), ("b.tar", &whole)]));
    let Err(RepairError::Hopeless { what, .. }) = several.repaired else { panic!("one of several archives was taken") };
    assert!(what.contains("a.tar, b.tar"), "{what}");
}
