//! Archives of which a few kilobytes expand to gigabytes of names.

use std::{
    fs,
    io::{Cursor, Read},
    process::{Command, Stdio},
};

use habackup::tar::{END, Header, Kind, encode, padding};

use super::Place;
use testkit::wait;

const MEMBERS: usize = 250;
const LONG: usize = 400_000;
/// What each command may take for them, in KiB.
const BOUND: u64 = 64 << 10;

/// A tar made while it is read.
struct Bomb {
    kind: &'static str,
    next: usize,
    ready: Cursor<Vec<u8>>,
}

impl Bomb {
    fn member(&self, number: usize) -> (Vec<u8>, Kind, Vec<u8>, &'static [u8]) {
        let long = || vec![b'n'; LONG];
        let file = |name: Vec<u8>| (name, Kind::File, Vec::new(), &b"x"[..]);
        match (number, self.kind) {
            (0, _) => (b"data".to_vec(), Kind::Directory, Vec::new(), b""),
            (1, _) => (b"data/.HA_VERSION".to_vec(), Kind::File, Vec::new(), b"2025.6.3\n"),
            (_, "names") => file([format!("data/{number}").into_bytes(), long()].concat()),
            // Each of them twice.
            (_, "repeated") => file([format!("data/{}", number / 2).into_bytes(), long()].concat()),
            (_, "logs") => file([format!("data/{number}").into_bytes(), long(), b"-wal".to_vec()].concat()),
            (_, "folders") => {
                ([format!("data/{number}").into_bytes(), long()].concat(), Kind::Directory, Vec::new(), b"")
            }
            (_, "escaping") => file([b"../".to_vec(), number.to_string().into_bytes(), long()].concat()),
            (_, "beside") => file([number.to_string().into_bytes(), long()].concat()),
            _ => (format!("data/{number}").into_bytes(), Kind::Symlink, long(), b""),
        }
    }
}

impl Read for Bomb {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.ready.read(buffer)?;
        if count > 0 || self.next > MEMBERS + 2 {
            return Ok(count);
        }
        let mut bytes = Vec::new();
        if self.next == MEMBERS + 2 {
            bytes.extend_from_slice(&END);
        } else {
            let (path, kind, link, body) = self.member(self.next);
            let size = body.len() as u64;
            encode(
                &Header {
                    path: &path,
                    kind,
                    size,
                    mode: 0o644,
                    mtime: (1_750_000_000, 0),
                    link: &link,
                    uid: 0,
                    gid: 0,
                },
                &mut bytes,
            );
            bytes.extend_from_slice(body);
            bytes.resize(bytes.len() + padding(size), 0);
        }
        self.next += 1;
        self.ready = Cursor::new(bytes);
        self.ready.read(buffer)
    }
}

fn archive(place: &Place, kind: &'static str) {
    let mut bomb = Bomb { kind, next: 0, ready: Cursor::default() };
    let mut gzip = Command::new("gzip")
        .arg("-1")
        .stdin(Stdio::piped())
        .stdout(fs::File::create(place.path("packed")).unwrap())
        .spawn()
        .unwrap();
    std::io::copy(&mut bomb, gzip.stdin.as_mut().unwrap()).unwrap();
    drop(gzip.stdin.take());
    assert!(gzip.wait().unwrap().success());
    let body = fs::read(place.path("packed")).unwrap();
    fs::remove_file(place.path("packed")).unwrap();
    let description = format!(
        "{{\"version\":2,\"slug\":\"0123abcd\",\"name\":\"{kind}\",\"date\":\"2025-06-20T10:00:00+00:00\",\"type\":\"partial\",\"protected\":false,\
         \"compressed\":true,\"homeassistant\":{{\"version\":\"2025.6.3\",\"exclude_database\":true,\"size\":0}},\"addons\":[],\"folders\":[],\
         \"repositories\":[],\"docker\":{{}},\"extra\":{{}},\"crypto\":null}}"
    );
    let mut out = Vec::new();
    for (path, body) in [(&b"./backup.json"[..], description.as_bytes()), (b"homeassistant.tar.gz", &body)] {
        let size = body.len() as u64;
        encode(
            &Header { path, kind: Kind::File, size, mode: 0o644, mtime: (1_750_000_000, 0), link: b"", uid: 0, gid: 0 },
            &mut out,
        );
        out.extend_from_slice(body);
        out.resize(out.len() + padding(size), 0);
    }
    out.extend_from_slice(&END);
    fs::write(place.path("bomb.tar"), out).unwrap();
}

/// The exit code and the most memory, in KiB, that a command takes; and all it says.
fn run(place: &Place, args: &[&str]) -> (Option<i32>, u64, String) {
    let said = place.path("said");
    let output = fs::File::create(&said).unwrap();
    let mut command: Command = place.command(args);
    let mut child = command.stdout(output.try_clone().unwrap()).stderr(output).stdin(Stdio::null()).spawn().unwrap();
    let peak = wait::peak_kib(&mut child);
    let code = child.wait().unwrap().code();
    let text = String::from_utf8(fs::read(&said).unwrap()).unwrap();
    fs::remove_file(said).unwrap();
    (code, peak, text)
}

#[test]
fn memory_stays_bounded_whatever_names_an_archive_has() {
    for kind in ["names", "repeated", "logs", "folders", "escaping", "beside", "links"] {
        let place = Place::new();
        archive(&place, kind);
        let commands: [&[&str]; 5] = [
            &["restore", "bomb.tar", "--into", "new"],
            &["verify", "bomb.tar", "--json"],
            &["inspect", "bomb.tar", "--json"],
            &["repair", "bomb.tar", "--to", "repaired.tar", "--json"],
            &["diff", "bomb.tar", "bomb.tar", "--all", "--json"],
        ];
        for command in commands {
            let (code, peak, said) = run(&place, command);
            assert!(peak > 0 && peak < BOUND, "{kind}, {command:?}: {peak} KiB");
            assert!(matches!(code, Some(0 | 3 | 4)), "{kind}, {command:?}: {said:.2000}");
            // Of each name the beginning.
            assert!(!said.contains(&"n".repeat(300)), "{kind}, {command:?}");
        }
        if kind == "names" || kind == "links" {
            let (code, _, said) = run(&place, &["verify", "repaired.tar"]);
            assert!(
                matches!(code, Some(0 | 3 | 4)) && !said.contains("longer than Linux allows"),
                "{kind}: {said:.2000}"
            );
        }
    }
}
