//! `tar::python` against Python's own `tarfile` (3.13 or newer, the rig's if the machine has none), and against bytes
//! of any kind.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr)]

use std::{
    env,
    fmt::Write as _,
    io,
    io::Write,
    path::PathBuf,
    process::{Command, Stdio},
};

use habackup::tar::{
    BLOCK, EntryKind,
    python::{End, Input, Walk},
};
use proptest::prelude::*;
use serde_json::Value;

const ASK: &str = r#"
import io, json, sys, tarfile
while head := sys.stdin.buffer.read(8):
    data = io.BytesIO(sys.stdin.buffer.read(int.from_bytes(head, "big")))
    seen = []
    try:
        with tarfile.open(fileobj=data, mode="r:") as tar:
            for member in tar:
                seen.append([member.name.encode(errors="surrogateescape").hex(), member.size if member.isreg() else 0, member.offset_data])
        end = ""
    except tarfile.ReadError as error:
        end = str(error)
    except Exception as error:
        end = None
    print(json.dumps([seen, end]))
"#;

struct Bytes<'a>(&'a [u8]);

impl Input for Bytes<'_> {
    fn fill(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let (now, rest) = self.0.split_at(buffer.len().min(self.0.len()));
        buffer[..now.len()].copy_from_slice(now);
        self.0 = rest;
        Ok(now.len())
    }

    fn pass(&mut self, count: u64) -> io::Result<u64> {
        let count = usize::try_from(count).unwrap_or(usize::MAX).min(self.0.len());
        self.0 = &self.0[count..];
        Ok(count as u64)
    }
}

/// Members and the text of the end, as the script prints them.
fn walk(bytes: &[u8]) -> (Vec<(String, u64, u64)>, String) {
    let mut walk = Walk::new(Bytes(bytes));
    let mut seen = Vec::new();
    loop {
        match walk.step() {
            Ok(member) => {
                let size = if matches!(member.kind, EntryKind::File | EntryKind::Other(_)) { member.size } else { 0 };
                let mut name = String::new();
                member.name.iter().for_each(|byte| write!(name, "{byte:02x}").unwrap());
                seen.push((name, size, member.data_offset));
            }
            Err(End::Clean { .. } | End::Silent(_)) => return (seen, String::new()),
            Err(End::Refused(text)) => return (seen, text.to_owned()),
            Err(End::Input(error)) => panic!("{error}"),
        }
    }
}

fn header(name: &str, kind: u8, size: usize) -> [u8; BLOCK] {
    let mut block = [0; BLOCK];
    block[..name.len()].copy_from_slice(name.as_bytes());
    block[100..108].copy_from_slice(b"0000644\0");
    block[108..116].copy_from_slice(b"0000000\0");
    block[116..124].copy_from_slice(b"0000000\0");
    block[124..136].copy_from_slice(format!("{size:011o}\0").as_bytes());
    block[136..148].copy_from_slice(b"15025261340\0");
    block[156] = kind;
    block[257..265].copy_from_slice(b"ustar\x0000");
    block[329..337].copy_from_slice(b"0000000\0");
    block[337..345].copy_from_slice(b"0000000\0");
    sealed(&mut block);
    block
}

fn sealed(block: &mut [u8]) {
    block[148..156].fill(b' ');
    let sum: u32 = block[..BLOCK].iter().map(|byte| u32::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

fn member(archive: &mut Vec<u8>, name: &str, kind: u8, body: &[u8]) {
    archive.extend(header(name, kind, body.len()));
    archive.extend(body);
    archive.resize(archive.len().next_multiple_of(BLOCK), 0);
}

/// Every kind of header that Home Assistant's archives have.
fn sample() -> Vec<u8> {
    let mut archive = Vec::new();
    member(&mut archive, "./backup.json", b'0', b"{}");
    member(&mut archive, "././@PaxHeader", b'x', b"22 mtime=1750413600.5\n16 size=00000700\n");
    member(&mut archive, "homeassistant.tar.gz", b'0', &[7; 700]);
    member(&mut archive, "././@LongLink", b'L', &[b"data/".as_slice(), &[b'n'; 180], b"\0"].concat());
    member(&mut archive, "data/nnn", b'0', b"long");
    member(&mut archive, "data/www/", b'5', b"");
    member(&mut archive, "pax_global_header", b'g', b"13 comment=x\n");
    member(&mut archive, "data/link", b'2', b"");
    member(&mut archive, "data/last", 0, b"last");
    archive.resize(archive.len() + 2 * BLOCK, 0);
    archive
}

/// The sample, changed in `count` ways that are always the same.
fn changed(count: u64) -> Vec<Vec<u8>> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = move |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    };
    let whole = sample();
    (0..count)
        .map(|number| {
            let mut bytes = whole.clone();
            if number % 3 == 0 {
                bytes.truncate(random(whole.len()));
                return bytes;
            }
            let block = random(whole.len() / BLOCK) * BLOCK;
            // Not the type: GNU's sparse files are a world of their own.
            let field = [(0, 100), (124, 12), (148, 8), (257, 8), (345, 155), (0, 60)][random(6)];
            let at = block + field.0 + random(field.1);
            bytes[at] = [0, b' ', b'0', b'7', b'9', 0x80, 0xff, b'a', b'/'][random(9)];
            if number % 3 == 1 && bytes[block + 257..block + 262] == *b"ustar" {
                sealed(&mut bytes[block..block + BLOCK]);
            }
            bytes
        })
        .collect()
}

/// A Python whose `tarfile` is as Home Assistant's.
fn python() -> Option<Command> {
    let rig = env::var_os("HAUL_RIG").map_or_else(|| PathBuf::from("/var/cache/haul/rigs"), PathBuf::from);
    let mut in_rig = Command::new("chroot");
    in_rig.arg(rig.join("2026.11.0")).arg("/opt/ha/bin/python3");
    let own = [env::var("HAUL_PYTHON").unwrap_or_else(|_| "python3".into()), "python3".into()].map(Command::new);
    own.into_iter().chain([in_rig]).find_map(|mut python| {
        let new_enough = Command::new(python.get_program())
            .args(python.get_args())
            .args(["-c", "import sys; sys.exit(sys.version_info < (3, 13))"])
            .output();
        new_enough.is_ok_and(|output| output.status.success()).then(|| {
            python.args(["-c", ASK]);
            python
        })
    })
}

#[test]
fn a_tar_is_walked_as_python_walks_it() {
    let Some(mut python) = python() else {
        eprintln!("SKIPPED: there is no Python 3.13, neither here nor in the rig");
        return;
    };
    let archives: Vec<Vec<u8>> = std::iter::once(sample()).chain(changed(1500)).collect();
    let mut child = python.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    let sent = archives.clone();
    let sender = std::thread::spawn(move || {
        for bytes in &sent {
            input.write_all(&[&(bytes.len() as u64).to_be_bytes(), bytes.as_slice()].concat()).unwrap();
        }
    });
    let output = child.wait_with_output().unwrap();
    sender.join().unwrap();
    let (mut compared, mut differ) = (0, Vec::new());
    for (bytes, line) in archives.iter().zip(String::from_utf8(output.stdout).unwrap().lines()) {
        let said: Value = serde_json::from_str(line).unwrap();
        // Other exceptions end a reader as well, but with a text of their own.
        let Some(end) = said[1].as_str() else { continue };
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let seen: Vec<_> = said[0]
            .as_array()
            .unwrap()
            .iter()
            .map(|member| (text(&member[0]), member[1].as_u64().unwrap_or(u64::MAX), member[2].as_u64().unwrap()))
            .collect();
        compared += 1;
        let ours = walk(bytes);
        if ours != (seen.clone(), end.to_owned()) {
            differ.push(format!(
                "Python: {} members, '{end}': {seen:?}; we: {} members, '{}': {:?}",
                seen.len(),
                ours.0.len(),
                ours.1,
                ours.0
            ));
        }
    }
    assert!(compared > archives.len() * 9 / 10, "only {compared} were read");
    assert!(differ.is_empty(), "{} of {compared} differ:\n{}", differ.len(), differ[..differ.len().min(5)].join("\n"));
}

proptest! {
    #[test]
    fn any_bytes_come_to_an_end(bytes in prop::collection::vec(any::<u8>(), 0..4096), at in 0_usize..6000, zeros in 0_usize..2000) {
        walk(&bytes);
        let mut mixed = sample();
        let at = at.min(mixed.len());
        mixed.splice(at..at, bytes.iter().copied().chain(std::iter::repeat_n(0, zeros)));
        let (members, _) = walk(&mixed);
        prop_assert!(members.len() <= mixed.len() / BLOCK);
    }

    #[test]
    fn the_beginning_of_an_archive_has_the_beginning_of_its_members(cut in 0_usize..10_000) {
        let whole = sample();
        let (members, _) = walk(&whole);
        let (fewer, _) = walk(&whole[..cut.min(whole.len())]);
        prop_assert_eq!(&members[..fewer.len()], fewer.as_slice());
    }
}
