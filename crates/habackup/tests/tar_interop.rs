//! Python's `tarfile` and GNU tar read what this crate writes as it was meant, and the other way round.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod support;

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use habackup::tar::{self, EntryKind, Header, Kind, Reader};
use support::{gnu_tar, python};

struct Sample {
    path: Vec<u8>,
    kind: Kind,
    body: Vec<u8>,
    mode: u32,
    mtime: (i64, u32),
    link: Vec<u8>,
    owner: u64,
}

fn file(path: impl Into<Vec<u8>>, body: &[u8], mtime: (i64, u32)) -> Sample {
    Sample { path: path.into(), kind: Kind::File, body: body.to_vec(), mode: 0o644, mtime, link: Vec::new(), owner: 0 }
}

/// Names of any bytes, lengths around every limit, times before 1970 and finer than a second.
fn samples() -> Vec<Sample> {
    let directory = |path: &[u8]| Sample {
        path: path.to_vec(),
        kind: Kind::Directory,
        body: vec![],
        mode: 0o755,
        mtime: (1_700_000_000, 5_000_000),
        link: vec![],
        owner: 1000,
    };
    let symlink = |path: &[u8], link: Vec<u8>| Sample {
        path: path.to_vec(),
        kind: Kind::Symlink,
        body: vec![],
        mode: 0o777,
        mtime: (1_700_000_000, 0),
        link,
        owner: 0,
    };
    let long_directory = vec![b'd'; 100];
    let mut samples = vec![
        directory(b"data"),
        file("data/.HA_VERSION", b"2026.3.1", (1_700_000_000, 123_456_789)),
        file("data/empty", b"", (0, 0)),
        file("data/one block", &[7; 512], (1_700_000_000, 100_000_000)),
        file("data/old", b"before 1970", (-2, 500_000_000)),
        file("data/käse ☂", b"text", (1_700_000_000, 1)),
        file(*b"data/\xff\xfe\x80", b"no utf-8", (1_700_000_000, 0)),
        file("data/a=b\nc", b"records count their bytes", (1_700_000_000, 0)),
        file([&b"data/"[..], &[b'n'; 95]].concat(), b"100 bytes of name", (1_700_000_000, 0)),
        file([&b"data/"[..], &[b'n'; 96]].concat(), b"101 bytes of name", (1_700_000_000, 0)),
        symlink(b"data/link", b"../target".to_vec()),
        symlink(b"data/long link", vec![b't'; 101]),
        symlink(b"data/umlaut link", "ä".into()),
    ];
    let owned = Sample { owner: 3_000_000_000, mode: 0o600, ..file("data/owned", b"x", (1_700_000_000, 0)) };
    samples.push(owned);
    let mut deep = b"data".to_vec();
    for _ in 0..9 {
        deep.extend_from_slice(b"/");
        deep.extend_from_slice(&[b'x'; 100]);
        samples.push(directory(&deep));
    }
    // After everything in `data`: GNU tar sets a directory's time when it leaves it.
    samples.extend([directory(&long_directory[..99]), directory(&long_directory)]);
    samples
}

fn write(samples: &[Sample]) -> Vec<u8> {
    let mut out = Vec::new();
    for sample in samples {
        let header = Header {
            path: &sample.path,
            kind: sample.kind,
            size: sample.body.len() as u64,
            mode: sample.mode,
            mtime: sample.mtime,
            link: &sample.link,
            uid: sample.owner,
            gid: sample.owner,
        };
        tar::encode(&header, &mut out);
        out.extend_from_slice(&sample.body);
        out.resize(out.len() + tar::padding(sample.body.len() as u64), 0);
    }
    out.extend_from_slice(&tar::END);
    out
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

const LIST: &str = r#"
import os, sys, tarfile
for t in tarfile.open(fileobj=sys.stdin.buffer, mode="r|"):
    kind = "d" if t.isdir() else "l" if t.issym() else "f" if t.isreg() else "?"
    mtime = t.pax_headers.get("mtime", str(int(t.mtime)))
    print(kind, os.fsencode(t.name).hex() or "-", os.fsencode(t.linkname).hex() or "-", t.size, oct(t.mode)[2:], t.uid, t.gid, mtime, t.uname or "-", t.gname or "-")
"#;

/// A listing in the format of `LIST`.
fn list(archive: &[u8]) -> String {
    let mut reader = Reader::new(archive);
    let mut text = String::new();
    while let Some(entry) = reader.next_entry().unwrap() {
        let kind = match entry.kind {
            EntryKind::Directory => "d",
            EntryKind::Symlink => "l",
            EntryKind::File => "f",
            _ => "?",
        };
        let dash = |bytes: &[u8]| if bytes.is_empty() { "-".to_owned() } else { hex(bytes) };
        let (path, link) = (dash(&entry.path), dash(&entry.link));
        let mtime = decimal(entry.mtime);
        writeln!(text, "{kind} {path} {link} {} {:o} {} {} {mtime} - -", entry.size, entry.mode, entry.uid, entry.gid)
            .unwrap();
    }
    assert!(reader.ended_properly());
    reader.finish().unwrap();
    text
}

fn decimal((seconds, nanos): (i64, u32)) -> String {
    let total = i128::from(seconds) * 1_000_000_000 + i128::from(nanos);
    let sign = if total < 0 { "-" } else { "" };
    let text = format!("{sign}{}.{:09}", total.unsigned_abs() / 1_000_000_000, total.unsigned_abs() % 1_000_000_000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[test]
fn python_lists_what_was_written() {
    let archive = write(&samples());
    let python = String::from_utf8(python(LIST, &[], &archive)).unwrap();
    assert_eq!(python, list(&archive));
    assert_eq!(python.lines().count(), samples().len());
}

#[test]
fn gnu_tar_extracts_what_was_written() {
    let samples = samples();
    let target = tempfile::tempdir().unwrap();
    gnu_tar(&["-xpf", "-", "--no-same-owner"], target.path(), &write(&samples));
    compare_extracted(&samples, target.path());
}

#[test]
fn python_extracts_what_was_written() {
    let samples = samples();
    let target = tempfile::tempdir().unwrap();
    let program = r#"
import os, sys, tarfile
os.geteuid = lambda: 1  # keeps our own owner: the archive holds a strange one
tarfile.open(fileobj=sys.stdin.buffer, mode="r|").extractall(sys.argv[1], filter="tar")
"#;
    python(program, &[target.path()], &write(&samples));
    for sample in samples.iter().filter(|sample| sample.kind == Kind::File) {
        let path = target.path().join(Path::new(OsStr::from_bytes(&sample.path)));
        assert_eq!(std::fs::read(path).unwrap(), sample.body);
    }
}

fn compare_extracted(samples: &[Sample], root: &Path) {
    for sample in samples {
        let path = root.join(Path::new(OsStr::from_bytes(&sample.path)));
        let metadata = std::fs::symlink_metadata(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert_eq!((metadata.mtime(), metadata.mtime_nsec() as u32), sample.mtime, "{}", path.display());
        match sample.kind {
            Kind::Directory => assert!(metadata.is_dir()),
            Kind::Symlink => assert_eq!(std::fs::read_link(&path).unwrap().as_os_str().as_bytes(), sample.link),
            Kind::File => {
                assert_eq!(std::fs::read(&path).unwrap(), sample.body);
                assert_eq!(metadata.permissions().mode() & 0o7777, sample.mode);
            }
        }
    }
}

/// Only the headers of such files are made; the readers are shown the header and nothing after it.
#[test]
fn sizes_from_8_gib_are_read_by_python_and_gnu_tar() {
    for size in [tar::USTAR_SIZE_MAX, tar::USTAR_SIZE_MAX + 1, 9 << 30, 1 << 50] {
        let header =
            Header { path: b"big", kind: Kind::File, size, mode: 0o644, mtime: (1, 0), link: b"", uid: 0, gid: 0 };
        let mut bytes = Vec::new();
        tar::encode(&header, &mut bytes);
        let entry = Reader::new(&bytes[..]).next_entry().unwrap().unwrap();
        assert_eq!((entry.size, entry.ustar_size), (size, size));
        assert_eq!(entry.pax_size, (size > tar::USTAR_SIZE_MAX).then_some(size));
        assert!(!entry.sizes_disagree());
        let program = "import sys, tarfile; print(tarfile.open(fileobj=sys.stdin.buffer, mode='r|').next().size)";
        assert_eq!(String::from_utf8(python(program, &[], &bytes)).unwrap().trim(), size.to_string());
        let directory = tempfile::tempdir().unwrap();
        let big = directory.path().join("big.tar");
        // A sparse file as long as the archive claims, so that GNU tar can skip the body.
        let archive = std::fs::File::create(&big).unwrap();
        if size > 1 << 40 {
            continue;
        }
        std::os::unix::fs::FileExt::write_all_at(&archive, &bytes, 0).unwrap();
        archive.set_len(bytes.len() as u64 + size + tar::padding(size) as u64 + 1024).unwrap();
        let listed = gnu_tar(&["-tvf", "big.tar", "--seek"], directory.path(), b"");
        assert!(String::from_utf8(listed).unwrap().contains(&format!(" {size} ")));
    }
}

const PYTHON_WRITES: &str = r#"
import io, os, sys, tarfile
form = {"pax": tarfile.PAX_FORMAT, "gnu": tarfile.GNU_FORMAT, "ustar": tarfile.USTAR_FORMAT}[sys.argv[1]]
out = tarfile.open(fileobj=sys.stdout.buffer, mode="w|", format=form)
def add(name, body=b"", kind=tarfile.REGTYPE, link="", mtime=1700000000):
    t = tarfile.TarInfo(name); t.size = len(body); t.type = kind; t.linkname = link; t.mtime = mtime; t.mode = 0o640
    out.addfile(t, io.BytesIO(body))
add("data", kind=tarfile.DIRTYPE)
add("data/plain", b"x" * 1000)
add("data/\udcff", b"bytes")
add("data/" + "p" * 90 + "/" + "n" * 90, b"prefix")
add("data/link", kind=tarfile.SYMTYPE, link="t" * 100)
if form != tarfile.USTAR_FORMAT:
    add("data/" + "long" * 100, b"long")
    add("data/long link", kind=tarfile.SYMTYPE, link="t" * 300)
if form == tarfile.PAX_FORMAT:
    add("data/fraction", b"y", mtime=1700000000.25)
    add("data/tiny", b"y", mtime=0.00001)
out.close()
"#;

#[test]
fn pythons_three_formats_are_read_as_python_reads_them() {
    for format in ["pax", "gnu", "ustar"] {
        let archive = python(PYTHON_WRITES, &[Path::new(format)], b"");
        let expected = String::from_utf8(python(LIST, &[], &archive)).unwrap().replace(" 1e-05 ", " 0.00001 ");
        // Python prints a fraction it read from a PAX header as that stood there; nothing else differs.
        assert_eq!(list(&archive).replace("1700000000.250", "1700000000.25"), expected, "{format}");
    }
}

#[test]
fn gnu_tars_formats_are_read_as_python_reads_them() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("data");
    std::fs::create_dir_all(root.join("p".repeat(90))).unwrap();
    std::fs::write(root.join("plain"), vec![b'x'; 1000]).unwrap();
    std::fs::write(root.join("p".repeat(90)).join("n".repeat(90)), b"prefix").unwrap();
    std::fs::write(root.join(OsStr::from_bytes(b"\xff")), b"bytes").unwrap();
    std::os::unix::fs::symlink("target", root.join("link")).unwrap();
    std::fs::hard_link(root.join("plain"), root.join("zz hard link")).unwrap();
    let numeric = ["--numeric-owner", "--sort=name"];
    for format in ["posix", "gnu", "oldgnu", "ustar", "v7"] {
        if format != "ustar" && format != "v7" {
            std::fs::write(root.join("l".repeat(200)), b"long").unwrap();
            let _ = std::os::unix::fs::symlink("t".repeat(200), root.join("long link"));
        } else {
            let _ = std::fs::remove_file(root.join("l".repeat(200)));
            let _ = std::fs::remove_file(root.join("long link"));
        }
        if format == "v7" {
            std::fs::remove_dir_all(root.join("p".repeat(90))).unwrap();
        }
        let archive =
            gnu_tar(&[&["-cf", "-", "--format", format, "data"], &numeric[..]].concat(), directory.path(), b"");
        assert_eq!(list(&archive), String::from_utf8(python(LIST, &[], &archive)).unwrap(), "{format}");
    }
}

#[test]
fn gnu_tars_sparse_files_are_named_and_passed_over() {
    let directory = tempfile::tempdir().unwrap();
    let sparse = std::fs::File::create(directory.path().join("a-holes")).unwrap();
    for place in 0..40 {
        std::os::unix::fs::FileExt::write_all_at(&sparse, b"data", place << 20).unwrap();
    }
    std::fs::write(directory.path().join("b-after"), b"after").unwrap();
    for arguments in [
        &["--format=gnu"][..],
        &["--format=posix", "--sparse-version=1.0"],
        &["--format=posix", "--sparse-version=0.1"],
        &["--format=posix", "--sparse-version=0.0"],
    ] {
        let archive = gnu_tar(&[&["-cSf", "-", "a-holes", "b-after"], arguments].concat(), directory.path(), b"");
        let mut reader = Reader::new(&archive[..]);
        let holes = reader.next_entry().unwrap().unwrap();
        assert_eq!((holes.kind, &holes.path[..]), (EntryKind::GnuSparse, &b"a-holes"[..]), "{arguments:?}");
        let after = reader.next_entry().unwrap().unwrap();
        let mut body = String::new();
        reader.read_to_string(&mut body).unwrap();
        assert_eq!((after.kind, body.as_str()), (EntryKind::File, "after"));
        assert!(reader.next_entry().unwrap().is_none());
    }
}
