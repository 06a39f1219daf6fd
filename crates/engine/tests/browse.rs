//! What can be seen of an archive without unpacking it: names, one file, what differs from another archive.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod crafted;

use std::{
    io,
    num::NonZeroUsize,
    ops::ControlFlow,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use crafted::{Inner, Layout, PASSWORD, PLAIN, gzip};
use engine::{
    browse::{BrowseError, Browser, Comparison, Found, ItemKind, compare},
    read::{ArchiveSource, OpenError, Source},
};
use habackup::{
    securetar::{Password, SecureTarVersion},
    tar::Kind,
};
use store::Cancellation;
use testkit::noise::seeded;

/// An archive in memory that counts what is read of it.
struct Counted {
    bytes: Vec<u8>,
    read: AtomicU64,
}

impl Source for Counted {
    fn label(&self) -> String {
        "there/a.tar".into()
    }
    fn length(&self) -> u64 {
        self.bytes.len() as u64
    }
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.read.fetch_add(buffer.len() as u64, Ordering::Relaxed);
        let range = offset as usize..offset as usize + buffer.len();
        buffer.copy_from_slice(self.bytes.get(range).ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
    fn unchanged(&self) -> io::Result<()> {
        Ok(())
    }
}

fn counted(bytes: Vec<u8>) -> Arc<Counted> {
    Arc::new(Counted { bytes, read: AtomicU64::new(0) })
}

fn try_open(archive: &Arc<Counted>, password: Option<&str>) -> Result<Browser<'static>, OpenError> {
    let source = ArchiveSource::Remote(Arc::clone(archive) as Arc<dyn Source>);
    Browser::open(source, password.map(Password::new).as_ref(), NonZeroUsize::new(3).unwrap(), &|_, _| {})
}

fn open(archive: Vec<u8>) -> Browser<'static> {
    try_open(&counted(archive), Some(PASSWORD)).unwrap()
}

fn names(browser: &Browser<'_>, all: bool) -> Vec<String> {
    let mut names = Vec::new();
    let listed = browser.list(all, &Cancellation::default(), |item| {
        names.push(item.to_string());
        ControlFlow::Continue(())
    });
    listed.unwrap();
    names
}

fn cat(browser: &Browser<'_>, path: &str) -> (Vec<u8>, Result<Found, BrowseError>) {
    let mut out = Vec::new();
    let found = browser.cat(path.as_bytes(), &mut out, &Cancellation::default());
    (out, found)
}

/// What is reported when it can't be printed; then nothing is printed.
fn refused(browser: &Browser<'_>, path: &str) -> String {
    let (out, found) = cat(browser, path);
    assert!(out.is_empty());
    found.unwrap_err().to_string()
}

fn compared(a: &Browser<'_>, b: &Browser<'_>, all: bool) -> Comparison {
    compare(a, b, all, &Cancellation::default()).unwrap()
}

fn layouts() -> Vec<Layout> {
    let completed = [SecureTarVersion::V2, SecureTarVersion::V3].map(|version| PLAIN.completed(version));
    let packed = [PLAIN, PLAIN.uncompressed()]
        .into_iter()
        .chain(completed)
        .chain([PLAIN.completed(SecureTarVersion::V3).uncompressed()]);
    packed.flat_map(|layout| [layout, layout.without_index()]).collect()
}

fn lived_in() -> Inner {
    Inner::least()
        .directory("data/www", 0o750)
        .file("data/www/noise", &seeded(3_000_000, 1))
        .symlink("data/www/link", "noise")
        .file("data/empty", b"")
}

#[test]
fn every_layout_lists_the_same_names_and_gives_out_the_same_bytes() {
    for layout in layouts() {
        let browser = open(layout.archive(&lived_in()));
        assert_eq!(browser.is_indexed(), layout.index);
        let expected =
            [".HA_VERSION", ".storage", ".storage/auth", "configuration.yaml", "www", "www/noise", "www/link", "empty"];
        assert_eq!(names(&browser, false), expected);
        for (path, content) in
            [("www/noise", seeded(3_000_000, 1)), (".storage/auth", b"{\"users\":[]}".to_vec()), ("empty", Vec::new())]
        {
            let (out, found) = cat(&browser, path);
            let found = found.unwrap();
            assert!(out == content, "{path}");
            assert_eq!(
                (found.bytes, found.used_index, found.warnings),
                (content.len() as u64, layout.index, Vec::new()),
                "{path}"
            );
        }
        assert_eq!(refused(&browser, "www/link"), "www/link is a symbolic link to noise");
        assert_eq!(refused(&browser, "./www/"), "www is a directory, not a file");
        assert_eq!(refused(&browser, "auth"), "the archive does not contain auth; there is .storage/auth");
        assert_eq!(
            refused(&browser, "configuration.yml"),
            "the archive does not contain configuration.yml; there is configuration.yaml"
        );
    }
}

#[test]
fn modes_and_times_are_reported_where_they_are_known() {
    for (layout, known) in [(PLAIN, false), (PLAIN.without_index(), true)] {
        let mut auth = None;
        let listed = open(layout.archive(&lived_in())).list(false, &Cancellation::default(), |item| {
            if item.path == b".storage/auth" {
                auth = Some((item.kind, item.size, item.mode, item.mtime));
                return ControlFlow::Break(());
            }
            assert!(auth.is_none(), "it goes on after it was told to stop");
            ControlFlow::Continue(())
        });
        listed.unwrap();
        assert_eq!(auth, Some((ItemKind::File, 12, known.then_some(0o600), known.then_some(crafted::MTIME))));
    }
}

#[test]
fn no_more_is_read_than_up_to_the_file() {
    let large = seeded(24 << 20, 3);
    let inner = Inner::least().file("data/early", b"early").file("data/large", &large).file("data/late", b"late");
    for layout in [
        PLAIN.without_index(),
        PLAIN.uncompressed().without_index(),
        PLAIN.completed(SecureTarVersion::V3).without_index(),
    ] {
        let archive = counted(layout.archive(&inner));
        let (out, found) = cat(&try_open(&archive, Some(PASSWORD)).unwrap(), "early");
        found.unwrap();
        assert_eq!(out, b"early");
        // What is read ahead is bounded by what is under way between the threads.
        let read = archive.read.load(Ordering::Relaxed);
        assert!(read < 12 << 20, "{read} bytes");
    }
    let archive = counted(PLAIN.archive(&inner));
    let browser = try_open(&archive, None).unwrap();
    assert_eq!(names(&browser, false).len(), 7);
    let (out, _) = cat(&browser, "late");
    assert_eq!(out, b"late");
    let read = archive.read.load(Ordering::Relaxed);
    assert!(read < 6 << 20, "{read} bytes");
}

#[test]
fn other_inner_archives_are_looked_into_when_asked() {
    let ssl = Inner::default().directory("./", 0o755).file("./fullchain.pem", b"-----BEGIN").ended();
    let layout = PLAIN.without_index();
    let inner = lived_in().file("homeassistant.json", b"{}");
    let browser =
        open(layout.archive_of(&inner.ended(), &inner.files, &layout.manifest(), &[("ssl.tar.gz", &gzip(&ssl).0)]));
    assert_eq!(browser.other_archives(), ["ssl.tar.gz"]);
    assert_eq!(names(&browser, false).len(), 8);
    let all = names(&browser, true);
    assert_eq!(all[8..], ["homeassistant.tar.gz: homeassistant.json", "ssl.tar.gz: fullchain.pem"]);
    for (path, content) in
        [("ssl.tar.gz: fullchain.pem", "-----BEGIN"), ("ssl.tar.gz:fullchain.pem", "-----BEGIN"), (&all[8], "{}")]
    {
        assert_eq!(cat(&browser, path).0, content.as_bytes(), "{path}");
    }
    assert_eq!(
        refused(&browser, "ssl.tar.gz: chain.pem"),
        "the archive does not contain ssl.tar.gz: chain.pem; there is ssl.tar.gz: fullchain.pem"
    );
    let other = open(PLAIN.archive(&lived_in()));
    assert!(compared(&browser, &other, false).is_same());
    let removed: Vec<String> =
        compared(&browser, &other, true).removed.into_iter().map(|difference| difference.path).collect();
    assert_eq!(removed, all[8..]);
}

#[test]
fn a_backup_of_add_ons_alone_says_what_it_holds() {
    let ssl = gzip(&Inner::default().file("fullchain.pem", b"x").ended()).0;
    let archive =
        habackup::outer::Outer::new(Vec::new(), crafted::MTIME).member("./backup.json", &PLAIN.manifest()).unwrap();
    let browser = open(archive.member("ssl.tar.gz", &ssl).unwrap().finish().unwrap().0);
    assert_eq!(
        refused(&browser, "fullchain.pem"),
        "the archive holds no Home Assistant config directory; there is ssl.tar.gz"
    );
    assert_eq!(names(&browser, true), ["ssl.tar.gz: fullchain.pem"]);
    assert!(compared(&browser, &browser, true).is_same());
}

#[test]
fn names_that_lead_out_or_steer_a_terminal_are_shown_for_what_they_are() {
    let odd = "data/www/\x1b[2Jx";
    let inner = lived_in().file("data/../../escaped", b"1").file("/data/escaped", b"2").file(odd, b"3").member(
        b"data/caf\xe9",
        Kind::File,
        b"4",
        0o644,
        b"",
    );
    for layout in [PLAIN, PLAIN.without_index()] {
        let browser = open(layout.archive(&inner));
        let listed = names(&browser, false);
        assert_eq!(listed[8..], ["www/\\x1b[2Jx", "caf\\xe9"]);
        assert_eq!(
            names(&browser, true)[8..10],
            ["homeassistant.tar.gz: data/../../escaped", "homeassistant.tar.gz: /data/escaped"]
        );
        assert_eq!((cat(&browser, &listed[8]).0, cat(&browser, &listed[9]).0), (b"3".to_vec(), b"4".to_vec()));
        assert_eq!(cat(&browser, "www/\x1b[2Jx").0, b"3");
        assert!(refused(&browser, "\x1b[2J").contains("does not contain \\x1b[2J;"));
        assert!(refused(&browser, "../../escaped").starts_with("the archive does not contain ../../escaped"));
    }
}

#[test]
fn what_is_no_regular_file_is_named() {
    let inner = Inner::least().file("data/a", b"a").odd("data/b", b'1', "data/a").odd("data/pipe", b'6', "").odd(
        "data/device",
        b'3',
        "",
    );
    let browser = open(PLAIN.without_index().archive(&inner));
    assert_eq!(refused(&browser, "b"), "b is another name of a, not a file");
    assert_eq!(refused(&browser, "pipe"), "pipe is a named pipe, not a file");
    assert_eq!(refused(&browser, "device"), "device is a device, not a file");
}

#[test]
fn damage_is_reported_and_a_small_file_is_printed_whole_or_not_at_all() {
    let inner = Inner::least().file("data/noise", &seeded(3_000_000, 5)).file("data/small", &seeded(900_000, 6));
    // Wrong bytes can't be distinguished from right ones before the end of the archive unless they are authenticated;
    // these are.
    for layout in
        [PLAIN.completed(SecureTarVersion::V3), PLAIN.completed(SecureTarVersion::V3).uncompressed().without_index()]
    {
        let mut archive = layout.archive(&inner);
        // In the second half of the last file.
        let at = archive.len() - 300_000;
        archive[at] ^= 1;
        let browser = open(archive);
        assert!(cat(&browser, "noise").1.is_ok(), "what lies before the damage");
        let (out, found) = cat(&browser, "small");
        assert!(out.is_empty() && matches!(found, Err(BrowseError::Damaged { .. })), "{found:?}");
    }
}

#[test]
fn an_archive_that_is_cut_short_gives_out_what_is_there() {
    let inner = Inner::least().file("data/early", b"early").file("data/noise", &seeded(3_000_000, 5));
    for layout in [PLAIN, PLAIN.completed(SecureTarVersion::V3)] {
        let mut archive = layout.archive(&inner);
        archive.truncate(archive.len() / 2);
        let browser = open(archive);
        assert_eq!(cat(&browser, "early").0, b"early");
        let (out, found) = cat(&browser, "noise");
        assert!(matches!(found, Err(BrowseError::Damaged { .. })), "{found:?}");
        assert!(seeded(3_000_000, 5).starts_with(&out), "no wrong byte");
        let listed = browser.list(false, &Cancellation::default(), |_| ControlFlow::Continue(()));
        assert!(matches!(listed, Err(BrowseError::Damaged { .. })));
        assert!(compare(&browser, &browser, false, &Cancellation::default()).is_err());
    }
}

#[test]
fn an_index_that_is_wrong_costs_a_second_try_without_it() {
    let inner = lived_in();
    let shifted = Inner::least()
        .file("data/more", b"x")
        .directory("data/www", 0o750)
        .file("data/www/noise", &seeded(3_000_000, 1));
    let archive = PLAIN.archive_of(&inner.ended(), &shifted.files, &PLAIN.manifest(), &[]);
    let browser = open(archive);
    let (out, found) = cat(&browser, "www/noise");
    assert!(!found.unwrap().used_index && out == seeded(3_000_000, 1));
    let comparison = compared(&browser, &open(PLAIN.without_index().archive(&inner)), false);
    assert!(comparison.is_same(), "{comparison:?}");
}

#[test]
fn a_wrong_password_and_none_are_distinguished() {
    for layout in [PLAIN.completed(SecureTarVersion::V2), PLAIN.completed(SecureTarVersion::V3).without_index()] {
        let archive = counted(layout.archive(&lived_in()));
        assert!(matches!(try_open(&archive, Some("no")), Err(OpenError::WrongPassword)));
        assert!(matches!(try_open(&archive, None), Err(OpenError::PasswordNeeded(_))));
    }
}

#[test]
fn the_same_content_is_the_same_however_it_is_packed() {
    let packed: Vec<Browser<'_>> = layouts().into_iter().map(|layout| open(layout.archive(&lived_in()))).collect();
    for one in &packed {
        for other in [&packed[0], &packed[1], &packed[4]] {
            let comparison = compared(one, other, true);
            assert!(comparison.is_same() && comparison.same == 8, "{comparison:?}");
        }
    }
}

#[test]
fn every_kind_of_difference_is_found_with_and_without_an_index() {
    let before = Inner::least()
        .file("data/gone", b"123")
        .file("data/same-size", b"abc")
        .file("data/grown", b"1")
        .symlink("data/link", "here");
    let before = before.file("data/turned", b"").directory("data/dir", 0o700).file("data/z", b"z");
    let after = Inner::least()
        .file("data/z", b"z")
        .file("data/same-size", b"abd")
        .file("data/grown", b"12")
        .symlink("data/link", "there");
    let after = after.directory("data/turned", 0o755).directory("data/dir", 0o755).directory("data/new", 0o755);
    for a in [PLAIN, PLAIN.without_index()] {
        for b in [PLAIN.completed(SecureTarVersion::V3), PLAIN.uncompressed().without_index()] {
            let found = compared(&open(a.archive(&before)), &open(b.archive(&after)), false);
            let paths = |list: &[engine::browse::Difference]| {
                list.iter().map(|difference| difference.path.clone()).collect::<Vec<_>>()
            };
            assert_eq!(paths(&found.added), ["new"]);
            assert_eq!(paths(&found.removed), ["gone"]);
            assert_eq!(paths(&found.changed), ["grown", "link", "same-size", "turned"]);
            assert_eq!(found.same, 6);
            let grown = &found.changed[0];
            assert_eq!((grown.before.unwrap().size, grown.after.unwrap().size), (1, 2));
        }
    }
}

#[test]
fn what_differs_in_size_is_not_read() {
    let (large, larger) = (seeded(24 << 20, 3), seeded((24 << 20) + 1, 4));
    let archive =
        |content: &[u8]| counted(PLAIN.archive(&Inner::least().file("data/large", content).file("data/late", b"late")));
    let (a, b) = (archive(&large), archive(&larger));
    let found = compared(&try_open(&a, None).unwrap(), &try_open(&b, None).unwrap(), false);
    assert_eq!((found.changed.len(), found.same), (1, 5));
    for archive in [a, b] {
        let read = archive.read.load(Ordering::Relaxed);
        assert!(read < 7 << 20, "{read} bytes");
    }
}

#[test]
fn whoever_stops_it_is_heard() {
    let browser = open(PLAIN.without_index().archive(&lived_in()));
    let stopped = Cancellation::default();
    stopped.cancel();
    assert!(matches!(browser.list(false, &stopped, |_| ControlFlow::Continue(())), Err(BrowseError::Cancelled)));
    assert!(matches!(browser.cat(b"empty", &mut Vec::new(), &stopped), Err(BrowseError::Cancelled)));
    assert!(matches!(compare(&browser, &browser, false, &stopped), Err(BrowseError::Cancelled)));
}
