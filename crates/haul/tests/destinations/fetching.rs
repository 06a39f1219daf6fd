//! `haul get`: what it continues, and what it does not trust.

use super::*;
use testkit::wait;

#[test]
fn a_fetch_that_was_killed_continues_where_it_stopped() {
    let place = Place::new();
    let file = fs::File::create(place.path("out/large.tar")).unwrap();
    file.write_all_at(b"no tar at all", 0).unwrap();
    file.set_len(400 << 20).unwrap();
    fs::create_dir(place.path("here")).unwrap();
    let mut child = place
        .command(&["get", "out/large.tar", "--to", "here"])
        .stderr(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let grown = || {
        fs::read_dir(place.path("here"))
            .unwrap()
            .flatten()
            .any(|entry| entry.metadata().is_ok_and(|metadata| metadata.len() > 64 << 20))
    };
    wait::until("something has arrived", grown);
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!place.path("here/large.tar").exists());
    let output = place.haul(&["get", "out/large.tar", "--to", "here"]);
    // It is fetched as it is; a message and the exit code say that it is not an archive.
    assert_eq!(output.status.code(), Some(4), "{}", text(&output.stderr));
    assert!(text(&output.stdout).contains("that an earlier run had fetched"), "{}", text(&output.stdout));
    assert_eq!(place.names("here"), ["large.tar"]);
    assert_eq!(fs::metadata(place.path("here/large.tar")).unwrap().len(), 400 << 20);
    let (code, said) = place.refused(&["get", "out/large.tar", "--to", "here"]);
    assert_eq!(code, 1);
    assert!(said.contains("exists already"), "{said}");
}

/// Fetches until some megabytes are there, and is killed. Returns the hidden file with them.
fn killed_fetch(place: &Place) -> PathBuf {
    let mut child = place
        .command(&["get", "out/mine.tar", "--to", "here", "--limit", "8MB/s"])
        .stderr(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let grown = || {
        let entries = fs::read_dir(place.path("here")).unwrap().flatten();
        entries.map(|entry| entry.path()).find(|path| fs::metadata(path).is_ok_and(|metadata| metadata.len() > 4 << 20))
    };
    let path = wait::found("something has arrived", grown);
    child.kill().unwrap();
    child.wait().unwrap();
    path
}

#[test]
fn a_fetch_neither_follows_nor_trusts_what_others_put_in_its_way() {
    use std::os::unix::fs::{MetadataExt, chown, symlink};
    let place = Place::new();
    let whole: Vec<u8> = (0..40_000_000_u32).map(|at| (at >> 8) as u8 ^ at as u8).collect();
    fs::write(place.path("out/mine.tar"), &whole).unwrap();
    fs::create_dir(place.path("here")).unwrap();
    let victim = place.path("victim");
    fs::write(&victim, "precious").unwrap();
    let hidden = killed_fetch(&place);
    let is_root = fs::metadata(&hidden).unwrap().uid() == 0;
    for planted in ["a link", "a pipe", "a second name", "junk", "a flipped byte", "another user's"] {
        if !hidden.exists() {
            assert_eq!(killed_fetch(&place), hidden);
        }
        let begun = fs::read(&hidden).unwrap();
        if !planted.ends_with("byte") {
            fs::remove_file(&hidden).unwrap();
        }
        match planted {
            "a link" => symlink(&victim, &hidden).unwrap(),
            "a pipe" => {
                use rustix::fs::{CWD, FileType, Mode, mknodat};
                mknodat(CWD, &hidden, FileType::Fifo, Mode::from_raw_mode(0o666), 0).unwrap();
            }
            "a second name" => fs::hard_link(&victim, &hidden).unwrap(),
            "junk" => fs::write(&hidden, vec![b'x'; 22_000_000]).unwrap(),
            "a flipped byte" => fs::OpenOptions::new()
                .write(true)
                .open(&hidden)
                .unwrap()
                .write_all_at(&[!begun[1_500_000]], 1_500_000)
                .unwrap(),
            _ if is_root => {
                fs::write(&hidden, &begun).unwrap();
                chown(&hidden, Some(12345), None).unwrap();
            }
            _ => {}
        }
        let output = place.haul(&["get", "out/mine.tar", "--to", "here"]);
        // It is fetched as it is, and is no archive.
        assert_eq!(output.status.code(), Some(4), "{planted}: {}", text(&output.stderr));
        let went_on = text(&output.stdout).contains("that an earlier run had fetched");
        assert_eq!(went_on, planted == "a flipped byte", "{planted}: {}", text(&output.stdout));
        let target = place.path("here/mine.tar");
        let found = fs::symlink_metadata(&target).unwrap();
        assert!(
            found.is_file() && found.mode() & 0o777 == 0o600 && found.uid() == fs::metadata(&victim).unwrap().uid(),
            "{planted}"
        );
        assert!(fs::read(&target).unwrap() == whole, "{planted}");
        assert_eq!(fs::read_to_string(&victim).unwrap(), "precious", "{planted}");
        assert_eq!(place.names("here"), ["mine.tar"], "{planted}");
        fs::remove_file(&target).unwrap();
    }
    // What can't be taken away is named.
    let hidden = killed_fetch(&place);
    fs::remove_file(&hidden).unwrap();
    fs::create_dir(&hidden).unwrap();
    let (code, said) = place.refused(&["get", "out/mine.tar", "--to", "here"]);
    assert!(
        code == 1 && said.contains(&format!("can't use {}", hidden.strip_prefix(place.path("")).unwrap().display())),
        "{said}"
    );
}
