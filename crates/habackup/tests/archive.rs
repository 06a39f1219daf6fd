//! Outer archives: laid out with late sizes, opened again here and in Python, and the problems of bad ones.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod support;

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use habackup::archive::{Archive, ArchiveError};
use habackup::manifest::{Draft, Manifest};
use habackup::outer::{Outer, OuterError, Placement, archive_len, header_difference};
use habackup::problem::{Problem, Severity};
use habackup::read_at::ReadAt;
use habackup::tar::{self, Header, Kind};
use proptest::collection::vec;
use proptest::prelude::*;
use support::{gnu_tar, python};

const TIME: (i64, u32) = (1_700_000_000, 123_456_000);

fn manifest() -> Vec<u8> {
    let date = "2026-11-22T00:41:00.123456+00:00".parse().unwrap();
    Manifest::new(&Draft {
        name: "Test",
        date,
        home_assistant: "2026.3.1",
        exclude_database: false,
        protected: false,
        compressed: true,
    })
    .to_json()
}

/// An archive as Haul lays it out; `late` decides how the big member's size becomes known.
fn own(body: &[u8], late: bool) -> Vec<u8> {
    own_at(body, late, TIME)
}

fn own_at(body: &[u8], late: bool, mtime: (i64, u32)) -> Vec<u8> {
    let outer = Outer::new(Vec::new(), mtime).member("./backup.json", &manifest()).unwrap();
    let mut member = if late {
        outer.begin_late("homeassistant.tar.gz")
    } else {
        outer.begin_known("homeassistant.tar.gz", body.len() as u64)
    }
    .unwrap();
    for piece in body.chunks(1000) {
        member.write_all(piece).unwrap();
    }
    let (outer, ended) = member.end().unwrap();
    assert_eq!(ended.size, body.len() as u64);
    assert_eq!(ended.patch.is_some(), late);
    let (bytes, length) = outer.member("haul.index", b"index").unwrap().finish().unwrap();
    assert_eq!(length, bytes.len() as u64);
    assert_eq!(length % 10_240, 0);
    let members =
        [("./backup.json", manifest().len() as u64), ("homeassistant.tar.gz", body.len() as u64), ("haul.index", 5)];
    assert_eq!(archive_len(&members, mtime), length, "the length is known from the sizes");
    bytes
}

fn texts(problems: &[Problem], severity: Severity) -> Vec<String> {
    problems.iter().filter(|problem| problem.severity == severity).map(ToString::to_string).collect()
}

/// A tar archive of foreign make.
fn foreign(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut out = Vec::new();
    for &(name, body) in members {
        let size = <[u8]>::len(body) as u64;
        tar::encode(
            &Header {
                path: name.as_bytes(),
                kind: Kind::File,
                size,
                mode: 0o644,
                mtime: TIME,
                link: b"",
                uid: 0,
                gid: 0,
            },
            &mut out,
        );
        out.extend_from_slice(body);
        out.resize(out.len() + tar::padding(size), 0);
    }
    out.extend_from_slice(&tar::END);
    out
}

#[test]
fn a_late_size_gives_the_same_archive_as_a_known_one() {
    for length in [0, 1, 511, 512, 513, 100_000] {
        let body = vec![b'x'; length];
        assert_eq!(own(&body, true), own(&body, false));
    }
}

#[test]
fn an_own_archive_opens_without_a_problem() {
    let bytes = own(b"content", true);
    let archive = Archive::open(&bytes).unwrap();
    assert_eq!(archive.problems(), []);
    let names: Vec<&str> = archive.members().iter().map(|member| member.name.as_str()).collect();
    assert_eq!(names, ["./backup.json", "homeassistant.tar.gz", "haul.index"]);
    let inner: Vec<&str> = archive.inner_archives().map(|member| member.name.as_str()).collect();
    assert_eq!(inner, ["homeassistant.tar.gz"]);
    let member = archive.home_assistant().unwrap();
    assert_eq!((member.size, member.ustar_size, member.pax_size), (7, 7, None));
    let mut body = String::new();
    archive.body(member).read_to_string(&mut body).unwrap();
    assert_eq!(body, "content");
    let mut middle = [0; 3];
    archive.body(member).read_exact_at(&mut middle, 4).unwrap();
    assert_eq!(&middle, b"ent");
    assert!(archive.body(member).read_exact_at(&mut middle, 5).is_err());
    assert_eq!(archive.manifest().unwrap().name(), Some("Test"));
    assert_eq!(archive.tail().unwrap().length, bytes.len() as u64);
}

#[test]
fn python_and_gnu_tar_read_an_own_archive() {
    let bytes = own(&vec![b'y'; 3000], true);
    let program = r#"
import sys, tarfile, io
data = sys.stdin.buffer.read()
with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as outer:
    for t in outer:
        print(t.name, t.size, t.mtime, sorted(t.pax_headers), len(outer.extractfile(t).read()))
    print(outer.extractfile("./backup.json").read()[:15])
"#;
    let length = manifest().len();
    let expected = format!(
        "./backup.json {length} 1700000000.123456 ['mtime'] {length}\nhomeassistant.tar.gz 3000 1700000000.123456 \
         ['mtime'] 3000\nhaul.index 5 1700000000.123456 ['mtime'] 5\nb'{{\"compressed\":t'\n",
    );
    assert_eq!(String::from_utf8(python(program, &[], &bytes)).unwrap(), expected);
    let directory = tempfile::tempdir().unwrap();
    gnu_tar(&["-xf", "-"], directory.path(), &bytes);
    assert_eq!(std::fs::read(directory.path().join("backup.json")).unwrap(), manifest());
    assert_eq!(std::fs::read(directory.path().join("homeassistant.tar.gz")).unwrap(), vec![b'y'; 3000]);
}

/// Keeps the headers and counts the rest, so that members can be larger than memory.
#[derive(Default)]
struct Sparse {
    length: u64,
    kept: Vec<(u64, Vec<u8>)>,
}

impl Placement for Sparse {
    fn append(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        if bytes.len() < 1 << 20 && bytes.iter().any(|&byte| byte != 0) {
            self.kept.push((self.length, bytes.to_vec()));
        }
        self.length += bytes.len() as u64;
        Ok(())
    }
    fn patch(&mut self, offset: u64, bytes: &[u8]) -> std::io::Result<()> {
        self.kept.push((offset, bytes.to_vec()));
        Ok(())
    }
}

/// An archive with a member of so many zeros, as a sparse file; `late` as in [`own`].
fn sparse(size: u64, late: bool, directory: &Path) -> PathBuf {
    let outer = Outer::new(Sparse::default(), TIME).member("./backup.json", &manifest()).unwrap();
    let mut member =
        if late { outer.begin_late("homeassistant.tar.gz") } else { outer.begin_known("homeassistant.tar.gz", size) }
            .unwrap();
    let piece = vec![0; 64 << 20];
    let mut left = size;
    while left > 0 {
        let count = left.min(piece.len() as u64) as usize;
        member.write_all(&piece[..count]).unwrap();
        left -= count as u64;
    }
    let (outer, ended) = member.end().unwrap();
    assert_eq!(ended.size, size);
    let (sparse, length) = outer.member("haul.index", b"index").unwrap().finish().unwrap();
    let path = directory.join("big.tar");
    let file = std::fs::File::create(&path).unwrap();
    file.set_len(length).unwrap();
    for (offset, bytes) in &sparse.kept {
        std::os::unix::fs::FileExt::write_all_at(&file, bytes, *offset).unwrap();
    }
    path
}

/// The octal field ends at 8 GiB; from there on the size is in base-256, in the same field.
#[test]
fn a_member_of_any_size_is_read_by_all() {
    let directory = tempfile::tempdir().unwrap();
    for size in [(8 << 30) - 1, 8 << 30, 9 << 30] {
        for late in [true, false] {
            let path = sparse(size, late, directory.path());
            let archive = Archive::open(std::fs::File::open(&path).unwrap()).unwrap();
            assert_eq!(archive.problems(), []);
            let member = archive.home_assistant().unwrap();
            assert_eq!((member.size, member.ustar_size, member.pax_size), (size, size, None));
            assert_eq!(
                member.data_offset - member.header_offset,
                3 * 512,
                "the header has the same length at any size"
            );
            let program = "import sys, tarfile; print([(t.name, t.size, *t.pax_headers) for t in \
                tarfile.open(sys.argv[1], 'r:')])";
            let seen = String::from_utf8(python(program, &[&path], b"")).unwrap();
            let names = [("./backup.json", manifest().len() as u64), ("homeassistant.tar.gz", size), ("haul.index", 5)];
            let expected = names.map(|(name, size)| format!("('{name}', {size}, 'mtime')")).join(", ");
            assert_eq!(seen.trim(), format!("[{expected}]"));
            let listed = String::from_utf8(gnu_tar(&["-tvf", "big.tar"], directory.path(), b"")).unwrap();
            assert!(listed.contains(&format!(" {size} ")) && listed.contains(" 5 "), "{listed}");
        }
    }
}

/// What Core does with an archive that it sends to a location with another encryption setting: every member's header
/// copied with its PAX records, its size changed.
const REWRITE: &str = r#"
import copy, io, sys, tarfile
grow = int(sys.argv[1])
data = io.BytesIO(sys.stdin.buffer.read())
with tarfile.open(fileobj=data, mode="r|") as old, tarfile.open(fileobj=sys.stdout.buffer, mode="w|") as new:
    for member in old:
        body = old.extractfile(member).read() + (b"" if member.name == "haul.index" else b" " * grow)
        changed = copy.deepcopy(member)
        changed.size = len(body)
        new.addfile(changed, io.BytesIO(body))
"#;

#[test]
fn an_archive_survives_core_changing_the_size_of_its_members() {
    for mtime in [
        TIME,
        (1_700_000_000, 0),
        (1_700_000_001, 500_000_000),
        (1_700_000_000, 999_999_999),
        (1_700_000_000, 500_000_001),
    ] {
        for late in [true, false] {
            let bytes = own_at(&vec![b'y'; 3000], late, mtime);
            for grow in [0_u64, 7, 600] {
                let rewritten = python(REWRITE, &[Path::new(&grow.to_string())], &bytes);
                let archive = Archive::open(&rewritten).unwrap();
                assert_eq!(archive.problems(), [], "at {mtime:?}, {grow} bytes longer");
                assert_eq!(archive.manifest().unwrap().name(), Some("Test"));
                assert_eq!(archive.home_assistant().unwrap().size, 3000 + grow);
                assert_eq!(archive.member("haul.index").unwrap().size, 5);
                // Unchanged sizes: unchanged bytes, so nothing of Haul's own checks is lost.
                assert!(grow > 0 || rewritten == bytes, "at {mtime:?}");
            }
        }
    }
}

/// As Core rewrites it, a member of 8 GiB or more gets a record for its size and zero in the header.
#[test]
fn a_header_that_core_rewrote_from_8_gib_on_is_no_damage() {
    let program = r#"
import copy, io, sys, tarfile
with tarfile.open(sys.argv[1], "r|") as old:
    for member in old:
        sys.stdout.buffer.write(copy.deepcopy(member).tobuf(tarfile.PAX_FORMAT))
"#;
    let directory = tempfile::tempdir().unwrap();
    let path = sparse(9 << 30, true, directory.path());
    let headers = python(program, &[&path], b"");
    let mut rest = headers.as_slice();
    for (name, size) in
        [("./backup.json", manifest().len() as u64), ("homeassistant.tar.gz", 9 << 30), ("haul.index", 5)]
    {
        let (header, others) = rest.split_at(3 * 512);
        assert_eq!(header_difference(header, name, size, TIME), Some(0), "{name}");
        rest = others;
    }
    assert!(rest.is_empty());
}

#[test]
fn a_member_with_another_size_than_announced_is_an_error() {
    let mut member = Outer::new(Vec::new(), TIME).begin_known("x", 5).unwrap();
    member.write_all(b"four").unwrap();
    assert!(matches!(member.end(), Err(OuterError::WrongSize { announced: 5, written: 4, .. })));
}

#[test]
fn a_body_can_be_patched_only_where_it_was_written() {
    let mut member = Outer::new(Vec::new(), TIME).begin_late("x").unwrap();
    member.write_all(b"0123456789").unwrap();
    member.patch(3, b"abc").unwrap();
    assert!(member.patch(8, b"abc").is_err());
    assert!(member.patch(u64::MAX, b"abc").is_err());
    let (bytes, _) = member.end().unwrap().0.finish().unwrap();
    let archive = Archive::open(bytes).unwrap();
    let mut body = String::new();
    archive.body(archive.member("x").unwrap()).read_to_string(&mut body).unwrap();
    assert_eq!(body, "012abc6789");
}

/// As Core does when it encrypts an upload: new headers around the members, the index passed on.
#[test]
fn headers_that_python_wrote_anew_are_no_damage() {
    let program = r#"
import io, sys, tarfile
source = tarfile.open(fileobj=io.BytesIO(sys.stdin.buffer.read()), mode="r:")
target = tarfile.open(fileobj=sys.stdout.buffer, mode="w|", format=tarfile.PAX_FORMAT)
for t in source:
    body = source.extractfile(t).read()
    target.addfile(t, io.BytesIO(body))
target.close()
"#;
    let bytes = python(program, &[], &own(b"content", true));
    let archive = Archive::open(bytes).unwrap();
    assert_eq!(archive.members().len(), 3);
    assert_eq!(archive.problems(), []);
}

#[test]
fn supervisors_order_is_as_good() {
    let bytes = foreign(&[("homeassistant.tar.gz", b"x"), ("./backup.json", &manifest())]);
    assert_eq!(Archive::open(&bytes).unwrap().problems(), []);
}

#[test]
fn a_cut_at_any_length_is_found() {
    let whole = foreign(&[("./backup.json", &manifest()), ("homeassistant.tar.gz", &[b'x'; 700])]);
    for length in 0..whole.len() {
        match Archive::open(&whole[..length].to_vec()) {
            Ok(archive) => assert!(!texts(archive.problems(), Severity::Damaged).is_empty(), "cut to {length}"),
            Err(ArchiveError::Empty | ArchiveError::NotTar(_)) => {}
            Err(error) => panic!("cut to {length}: {error}"),
        }
    }
}

#[test]
fn a_cut_archive_still_shows_what_is_whole() {
    let whole = own(&[b'x'; 7000], true);
    let archive = Archive::open(whole[..6000].to_vec()).unwrap();
    assert_eq!(archive.manifest().unwrap().name(), Some("Test"));
    assert_eq!(
        texts(archive.problems(), Severity::Damaged),
        ["homeassistant.tar.gz: the archive ends at byte 6000, inside a file's content"]
    );
    assert!(archive.tail().is_none());
    let mut rest = Vec::new();
    archive.body(archive.home_assistant().unwrap()).read_to_end(&mut rest).unwrap();
    assert!(!rest.is_empty() && rest.iter().all(|&byte| byte == b'x'));
}

/// An archive with zeros after it, however many its length claims, and `last` as the last of them. Counts what is read.
struct Padded {
    archive: Vec<u8>,
    length: u64,
    last: u8,
    read: AtomicU64,
}

impl ReadAt for Padded {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.read.fetch_add(buffer.len() as u64, Ordering::Relaxed);
        assert!(offset + buffer.len() as u64 <= self.length);
        for (at, byte) in (offset..).zip(buffer) {
            *byte = if at + 1 == self.length {
                self.last
            } else {
                self.archive.get(at as usize).copied().unwrap_or_default()
            };
        }
        Ok(())
    }

    fn len(&self) -> u64 {
        self.length
    }
}

#[test]
fn what_somebody_padded_to_any_length_opens_at_once() {
    let archive = own(b"content", true);
    let plain = archive.len() as u64;
    let usual = Padded { archive: archive.clone(), length: plain, last: 0, read: AtomicU64::new(0) };
    assert!(Archive::open(&usual).unwrap().unread().is_empty());
    for length in [plain + 20_480, 100 << 30, 1 << 63, u64::MAX - 1] {
        let padded = Padded { length, read: AtomicU64::new(0), archive: archive.clone(), ..usual };
        let opened = Archive::open(&padded).unwrap();
        assert!(padded.read.load(Ordering::Relaxed) <= usual.read.load(Ordering::Relaxed) + 10_240 + 512);
        assert_eq!(opened.problems().len(), 1);
        assert_eq!(texts(opened.problems(), Severity::Notice).len(), 1, "{:?}", opened.problems());
        assert_eq!(opened.unread().end, length - 512);
        assert!(opened.tail().is_some_and(|tail| tail.length == length && tail.zeros_after <= 10_240 + 512));
        let stained = Padded { last: 1, read: AtomicU64::new(0), archive: archive.clone(), ..padded };
        let problems = texts(Archive::open(&stained).unwrap().problems(), Severity::Damaged);
        assert_eq!(problems, [format!("there is data after the end of the archive, at byte {}", length - 1)]);
    }
}

#[test]
fn any_flipped_bit_in_an_own_archive_outside_the_bodies_is_found() {
    let whole = own(&[b'x'; 700], true);
    let bodies: Vec<_> = Archive::open(&whole)
        .unwrap()
        .members()
        .iter()
        .map(|member| member.data_offset..member.data_offset + member.size)
        .collect();
    for at in 0..whole.len() {
        if bodies.iter().any(|body| body.contains(&(at as u64))) {
            continue;
        }
        for bit in 0..8 {
            let mut changed = whole.clone();
            changed[at] ^= 1 << bit;
            if let Ok(archive) = Archive::open(&changed) {
                assert!(
                    archive.problems().iter().any(|problem| problem.severity > Severity::Notice),
                    "byte {at} bit {bit}"
                );
            }
        }
    }
}

#[test]
fn mistakes_people_make_are_named() {
    let manifest = manifest();
    let refused = |members: &[(&str, &[u8])]| {
        texts(Archive::open(&foreign(members)).unwrap().problems(), Severity::Refused).join("\n")
    };
    assert!(
        refused(&[("backup.json", &manifest), ("homeassistant.tar.gz", b"x")])
            .contains("must be named './backup.json'")
    );
    assert!(
        refused(&[("./backup.json", &manifest), ("./homeassistant.tar.gz", b"x")]).contains("must not begin with './'")
    );
    assert!(
        refused(&[("./._backup.json", b"x"), ("./backup.json", &manifest), ("homeassistant.tar.gz", b"x")])
            .contains("macOS")
    );
    assert!(refused(&[("./backup.json", &manifest)]).contains("homeassistant.tar.gz: the member is missing"));
    assert!(
        refused(&[("./backup.json", &manifest), ("homeassistant.tar", b"x")])
            .contains("it is called homeassistant.tar;")
    );
    assert!(refused(&[("homeassistant.tar.gz", b"x")]).contains("there is no backup.json"));
    assert!(refused(&[("./backup.json", b"[]")]).contains("not a JSON object"));
    assert!(
        refused(&[("./backup.json", &manifest), ("homeassistant.tar.gz", b"x"), ("homeassistant.tar.gz", b"x")])
            .contains("two members")
    );
    assert!(
        refused(&[("./backup.json", &manifest), ("homeassistant.tar.gz", b"x"), ("../escaped", b"x")])
            .contains("points outside the archive")
    );
    let twice: &[(&str, &[u8])] =
        &[("./backup.json", &manifest), ("./backup.json", &manifest), ("homeassistant.tar.gz", b"x")];
    assert!(
        texts(Archive::open(&foreign(twice)).unwrap().problems(), Severity::Notice)
            .join("\n")
            .contains("readers use the last one")
    );
    let damaged = texts(Archive::open(&foreign(&[("./backup.json", b"{")])).unwrap().problems(), Severity::Damaged);
    assert!(damaged[0].contains("backup.json is not JSON"));
}

#[test]
fn encryption_that_contradicts_the_description_is_named() {
    let plain = manifest();
    let protected =
        String::from_utf8(plain.clone()).unwrap().replace(r#""protected":false"#, r#""protected":true"#).into_bytes();
    let refused = |manifest: &[u8], body: &[u8]| {
        let bytes = foreign(&[("./backup.json", manifest), ("homeassistant.tar.gz", body)]);
        texts(Archive::open(&bytes).unwrap().problems(), Severity::Refused).join("\n")
    };
    assert!(refused(&protected, b"\x1f\x8b\x08 and so on").contains("says it is encrypted, but it is not"));
    assert!(refused(&plain, b"SecureTar\x02 and so on").contains("it is encrypted, but"));
    assert_eq!(refused(&plain, b"\x1f\x8b\x08 and so on"), "");
    assert_eq!(refused(&protected, b"SecureTar\x03 and so on"), "");
    assert_eq!(refused(&protected, b"sixteen bytes of IV"), "");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn changed_bytes_never_panic(changes in vec((any::<prop::sample::Index>(), any::<u8>()), 1..6), cut in any::<Option<prop::sample::Index>>()) {
        let mut bytes = own(&[b'x'; 700], true);
        for (at, value) in changes {
            let length = bytes.len();
            bytes[at.index(length)] = value;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        if let Ok(archive) = Archive::open(&bytes) {
            for member in archive.members() {
                let mut body = Vec::new();
                archive.body(member).read_to_end(&mut body).unwrap();
                prop_assert!(body.len() <= bytes.len());
            }
        }
    }

    /// Descriptions of any shape are judged, not stumbled over.
    #[test]
    fn any_description_can_be_checked(pieces in vec(prop::sample::select(vec![
        "null", "true", "3", "-1.5e300", "\"a\"", "\"\"", "[]", "[1]", "[{}]", "[{\"slug\":1}]", "{}", "{\"version\":2}", "[\"share\",\"../x\"]",
    ]), 12)) {
        let keys = ["slug", "name", "date", "type", "version", "compressed", "protected", "homeassistant", "folders", "addons", "repositories", "extra"];
        let fields: Vec<String> = keys.iter().zip(&pieces).map(|(key, value)| format!("\"{key}\":{value}")).collect();
        let json = format!("{{{}}}", fields.join(","));
        let manifest = Manifest::parse(json.as_bytes()).unwrap();
        prop_assert!(!manifest.check().is_empty());
        let _ = manifest.inner_archives();
        let _ = Archive::open(foreign(&[("./backup.json", json.as_bytes())])).unwrap();
    }
}

#[test]
fn what_is_no_archive_is_refused_with_the_reason() {
    assert!(matches!(Archive::open(Vec::new()), Err(ArchiveError::Empty)));
    assert!(matches!(Archive::open(b"\x1f\x8b\x08rest".to_vec()), Err(ArchiveError::Compressed("gzip"))));
    assert!(matches!(Archive::open(b"PK\x03\x04rest".to_vec()), Err(ArchiveError::Compressed("zip"))));
    assert!(matches!(Archive::open(vec![b'x'; 2000]), Err(ArchiveError::NotTar(_))));
    assert!(matches!(Archive::open(b"<html>".to_vec()), Err(ArchiveError::NotTar(_))));
    let long = vec![b' '; (16 << 20) + 1];
    assert!(matches!(Archive::open(foreign(&[("./backup.json", &long)])), Err(ArchiveError::ManifestTooLarge(_))));
}
