//! What a network folder's client writes comes out as the bytes of one archive, in whatever way it sends them.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use bytes::Bytes;
use engine::remake::Piece;
use habackup::tar::{Header, Kind, Reader, encode};
use proptest::prelude::*;
use share::{Intake, NotABackup, Refused, Step};

/// A destination in memory.
#[derive(Default)]
struct Sent {
    bytes: Vec<u8>,
    late: Vec<std::ops::Range<u64>>,
    patched_unannounced: bool,
    /// Name, content with what follows it, and length of each member.
    parts: Vec<(String, Vec<u8>, Option<u64>)>,
}

impl Sent {
    fn take(&mut self, steps: Vec<Step>) {
        for step in steps {
            match step {
                Step::Append(bytes) => self.bytes.extend_from_slice(&bytes),
                Step::Late(range) => self.late.push(range),
                Step::Patch(offset, bytes) => {
                    let end = offset + bytes.len() as u64;
                    self.patched_unannounced |= !self.late.iter().any(|late| late.start <= offset && end <= late.end);
                    self.bytes[offset as usize..end as usize].copy_from_slice(&bytes);
                }
                Step::Part(Piece::Begin(name)) => self.parts.push((name, Vec::new(), None)),
                Step::Part(Piece::Content(bytes)) => self.last().1.extend_from_slice(&bytes),
                Step::Part(Piece::End(size)) => assert_eq!(self.last().2.replace(size), None),
            }
        }
    }

    fn last(&mut self) -> &mut (String, Vec<u8>, Option<u64>) {
        self.parts.last_mut().unwrap()
    }

    /// Name and content of each member, in order.
    fn members(&self) -> Vec<(&str, &[u8])> {
        let content = |part: &[u8], size: Option<u64>| {
            let size = size.unwrap() as usize;
            assert!(part.len() - size < 512 && part[size..].iter().all(|byte| *byte == 0));
            size
        };
        self.parts.iter().map(|(name, bytes, size)| (&name[..], from_body(&bytes[..content(bytes, *size)]))).collect()
    }
}

const PLAIN: Header<'_> =
    Header { path: b"", kind: Kind::File, size: 0, mode: 0o600, mtime: (0, 0), link: b"", uid: 0, gid: 0 };

/// A header as Python writes it for a file with a time that is no whole second.
fn header(name: &str, size: u64) -> Vec<u8> {
    let mut out = Vec::new();
    let header = Header { path: name.as_bytes(), size, mtime: (1_790_000_000, 500_000_000), ..PLAIN };
    encode(&header, &mut out);
    out
}

/// The writes by which Supervisor makes an archive of these members, and the archive.
fn supervisor(members: &[(&str, Vec<u8>, bool)]) -> (Vec<(u64, Vec<u8>)>, Vec<u8>) {
    let (mut writes, mut archive) = (Vec::new(), Vec::<u8>::new());
    let write = |archive: &mut Vec<u8>, writes: &mut Vec<(u64, Vec<u8>)>, offset: usize, bytes: &[u8]| {
        writes.push((offset as u64, bytes.to_vec()));
        archive.resize(archive.len().max(offset + bytes.len()), 0);
        archive[offset..offset + bytes.len()].copy_from_slice(bytes);
    };
    for (name, content, encrypted) in members {
        let begins = archive.len();
        let mut first = header(name, 0);
        let secure = |size: u8| [&b"SecureTar\x03\0\0\0\0\0\0"[..], &[size; 120]].concat();
        let mut body = if *encrypted { secure(0) } else { Vec::new() };
        body.extend_from_slice(content);
        let size = body.len() as u64;
        let at = begins + first.len();
        first.extend_from_slice(&body);
        first.resize(first.len().next_multiple_of(512), 0);
        for (index, piece) in first.chunks(100_000).enumerate() {
            write(&mut archive, &mut writes, begins + index * 100_000, piece);
        }
        if *encrypted {
            write(&mut archive, &mut writes, at, &secure(7));
        }
        write(&mut archive, &mut writes, begins, &header(name, size));
    }
    let mut last = Vec::new();
    encode(&Header { path: b"./backup.json", size: 3, mtime: (1, 0), ..PLAIN }, &mut last);
    last.extend_from_slice(b"{} ");
    last.resize(last.len().next_multiple_of(512) + 1024, 0);
    last.resize((archive.len() + last.len()).next_multiple_of(10_240) - archive.len(), 0);
    let offset = archive.len();
    write(&mut archive, &mut writes, offset, &last);
    (writes, archive)
}

fn content(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) as u8
    })
    .take(length)
    .collect()
}

fn sample() -> (Vec<(u64, Vec<u8>)>, Vec<u8>) {
    supervisor(&[
        ("./homeassistant.tar.gz", content(300_000, 1), true),
        ("./core_ssh.tar.gz", content(700, 2), true),
        ("./share.tar.gz", content(512, 3), false),
        ("./media.tar.gz", content(250_001, 4), false),
    ])
}

/// Without what is written down late in encrypted content: whoever reads parts wants none of those.
fn from_body(content: &[u8]) -> &[u8] {
    if content.starts_with(b"SecureTar") { &content[136..] } else { content }
}

/// Name and content of each member of a complete archive.
fn members_of(archive: &[u8]) -> Vec<(&'static str, &[u8])> {
    let mut reader = Reader::new(archive);
    let mut members = Vec::new();
    while let Some(entry) = reader.next_entry().unwrap() {
        let name: &'static str = String::from_utf8(entry.path.clone()).unwrap().leak();
        members.push((name, from_body(&archive[entry.data_offset as usize..][..entry.size as usize])));
    }
    members
}

fn write(intake: &mut Intake, sent: &mut Sent, offset: u64, bytes: &[u8]) -> Result<(), Refused> {
    let mut steps = Vec::new();
    let result = intake.write(offset, Bytes::copy_from_slice(bytes), &mut steps);
    sent.take(steps);
    result
}

fn finish(intake: &mut Intake, sent: &mut Sent) -> Result<(), Refused> {
    let mut steps = Vec::new();
    let result = intake.finish(&mut steps);
    sent.take(steps);
    result
}

#[test]
fn what_supervisor_writes_comes_out_as_it_is() {
    let (writes, archive) = sample();
    let (mut intake, mut sent) = (Intake::default(), Sent::default());
    for (offset, bytes) in &writes {
        assert!(!intake.is_complete());
        write(&mut intake, &mut sent, *offset, bytes).unwrap();
    }
    finish(&mut intake, &mut sent).unwrap();
    assert!(sent.bytes == archive && !sent.patched_unannounced);
    assert_eq!(sent.late.len(), 4, "one for each member whose size came late");
    assert_eq!(sent.members(), members_of(&archive));
}

#[test]
fn a_part_without_a_byte_is_empty_and_the_next_one_is_whole() {
    for first in [true, false] {
        let full = ("./homeassistant.tar", content(30_000, 1), false);
        let empty = ("./core_ssh.tar", Vec::new(), false);
        let members = if first { [empty, full] } else { [full, empty] };
        let (writes, archive) = supervisor(&members);
        let (mut intake, mut sent) = (Intake::default(), Sent::default());
        for (offset, bytes) in &writes {
            write(&mut intake, &mut sent, *offset, bytes).unwrap();
        }
        finish(&mut intake, &mut sent).unwrap();
        assert!(sent.bytes == archive);
        assert_eq!(sent.members(), members_of(&archive));
    }
}

#[test]
fn every_cut_is_known_to_be_one() {
    let (writes, _) = sample();
    for count in 0..writes.len() {
        let (mut intake, mut sent) = (Intake::default(), Sent::default());
        for (offset, bytes) in &writes[..count] {
            write(&mut intake, &mut sent, *offset, bytes).unwrap();
        }
        assert!(matches!(finish(&mut intake, &mut sent), Err(Refused::Incomplete(_))), "after {count} writes");
    }
}

#[test]
fn what_has_left_is_not_changed() {
    let (writes, _) = sample();
    let (mut intake, mut sent) = (Intake::default(), Sent::default());
    for (offset, bytes) in &writes[..3] {
        write(&mut intake, &mut sent, *offset, bytes).unwrap();
    }
    let mut other = writes[1].1[..4096].to_vec();
    write(&mut intake, &mut sent, writes[1].0, &other).unwrap();
    other[7] ^= 1;
    let offset = writes[1].0;
    assert_eq!(write(&mut intake, &mut sent, offset, &other), Err(Refused::Changed(offset + 7)));
}

#[test]
fn what_is_no_backup_is_refused_at_its_first_block() {
    let (mut intake, mut sent) = (Intake::default(), Sent::default());
    assert_eq!(write(&mut intake, &mut sent, 0, &[b'x'; 4096]), Err(Refused::NotABackup(NotABackup::NoHeader(0))));
    // A tar archive without what Home Assistant reads first is complete for others.
    let (mut intake, mut sent) = (Intake::default(), Sent::default());
    let mut other = Vec::new();
    encode(&Header { path: b"a", kind: Kind::Directory, mtime: (1, 0), ..PLAIN }, &mut other);
    other.resize(10_240, 0);
    write(&mut intake, &mut sent, 0, &other).unwrap();
    assert_eq!(finish(&mut intake, &mut sent), Err(Refused::Incomplete(10_240)));
    // Nothing but zeros follows the end.
    assert_eq!(write(&mut intake, &mut sent, 10_240, b"x"), Err(Refused::NotABackup(NotABackup::AfterEnd(10_240))));
}

#[test]
fn too_much_that_comes_early_is_a_gap() {
    let (mut intake, mut sent) = (Intake::default(), Sent::default());
    let piece = vec![0; 1 << 20];
    let refused = (1..100).find_map(|number| write(&mut intake, &mut sent, number << 20, &piece).err());
    assert_eq!(refused, Some(Refused::Gap(0)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// A client splits its writes, sends some twice, and has several under way.
    #[test]
    fn pieces_in_any_order_and_twice_make_the_same_archive(
        size in 1_usize..70_000,
        swaps in prop::collection::vec((0_usize..8, any::<bool>()), 0..40),
    ) {
        let (writes, archive) = sample();
        let (mut intake, mut sent) = (Intake::default(), Sent::default());
        let mut swaps = swaps.into_iter().cycle();
        for (offset, bytes) in &writes {
            // Pieces of one write may come in any order; the next write waits for its answer.
            let mut pieces: Vec<(u64, &[u8])> =
                bytes.chunks(size).enumerate().map(|(index, piece)| (offset + (index * size) as u64, piece)).collect();
            for index in 0..pieces.len() {
                let Some((distance, twice)) = swaps.next() else { break };
                let other = (index + distance).min(pieces.len() - 1);
                pieces.swap(index, other);
                if twice && *offset >= intake.length() {
                    pieces.push(pieces[index]);
                }
            }
            for (offset, piece) in pieces {
                write(&mut intake, &mut sent, offset, piece).unwrap();
            }
        }
        finish(&mut intake, &mut sent).unwrap();
        prop_assert!(sent.members() == members_of(&archive));
        prop_assert!(sent.bytes == archive && !sent.patched_unannounced);
    }

    /// Whatever comes, nothing panics.
    #[test]
    fn any_writes_at_all(writes in prop::collection::vec((0_u64..9_000, prop::collection::vec(any::<u8>(), 0..2_000)), 0..30), begins in any::<bool>()) {
        let (mut intake, mut sent) = (Intake::default(), Sent::default());
        if begins {
            let _ = write(&mut intake, &mut sent, 0, &header("./a.tar.gz", 0));
        }
        for (offset, bytes) in writes {
            let _ = write(&mut intake, &mut sent, offset, &bytes);
        }
        let _ = finish(&mut intake, &mut sent);
    }
}
