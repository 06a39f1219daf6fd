//! Damaged and hostile tar streams: found, never believed, never expensive.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::io::{self, Read};

use habackup::tar::{self, Entry, EntryKind, Header, Kind, Part, Reader, Tail, TarError};
use proptest::collection::vec;
use proptest::prelude::*;

fn put(out: &mut Vec<u8>, path: &[u8], kind: Kind, body: &[u8], mtime: (i64, u32)) {
    let header = Header { path, kind, size: body.len() as u64, mode: 0o644, mtime, link: b"target", uid: 0, gid: 0 };
    tar::encode(&header, out);
    out.extend_from_slice(body);
    out.resize(out.len() + tar::padding(body.len() as u64), 0);
}

fn archive() -> Vec<u8> {
    let mut out = Vec::new();
    put(&mut out, b"data", Kind::Directory, b"", (1, 5));
    put(&mut out, b"data/a", Kind::File, &[b'a'; 700], (1, 5));
    put(&mut out, &[b'n'; 200], Kind::File, &[b'b'; 512], (1, 0));
    put(&mut out, b"data/link", Kind::Symlink, b"", (1, 0));
    out.extend_from_slice(&tar::END);
    out
}

type Contents = Vec<(Entry, Vec<u8>)>;

/// Reads everything, bodies included.
fn read_all(source: impl Read) -> Result<(Contents, Tail), TarError> {
    let mut reader = Reader::new(source);
    let mut entries = Vec::new();
    while let Some(entry) = reader.next_entry()? {
        let mut body = Vec::new();
        reader.read_to_end(&mut body).map_err(|error| error.downcast::<TarError>().unwrap_or_else(TarError::Io))?;
        entries.push((entry, body));
    }
    Ok((entries, reader.finish()?))
}

fn is_sound(bytes: &[u8]) -> bool {
    matches!(read_all(bytes), Ok((_, Tail { marker_blocks: 2, .. })))
}

#[test]
fn a_cut_at_any_length_is_found() {
    let whole = archive();
    assert!(is_sound(&whole));
    for length in 0..whole.len() {
        assert!(!is_sound(&whole[..length]), "cut to {length}");
    }
}

#[test]
fn a_cut_is_found_by_skipping_as_by_reading() {
    let whole = archive();
    for length in 0..whole.len() {
        let mut reader = Reader::new(&whole[..length]);
        let sound = loop {
            match reader.next_entry() {
                Ok(Some(_)) => {}
                Ok(None) => break reader.ended_properly(),
                Err(_) => break false,
            }
        };
        assert!(!sound, "cut to {length}");
    }
}

#[test]
fn a_cut_names_the_part_it_is_in() {
    let whole = archive();
    let part = |length: usize| match read_all(&whole[..length]) {
        Err(TarError::Truncated { part, offset }) => Some((part, offset == length as u64)),
        _ => None,
    };
    // data: PAX header, its records, header. data/a: the same, then 700 bytes in two blocks.
    assert_eq!(part(100), Some((Part::Header, true)));
    assert_eq!(part(512), Some((Part::Header, true)));
    assert_eq!(part(1024), Some((Part::Header, true)));
    assert_eq!(part(6 * 512), Some((Part::Body, true)));
    assert_eq!(part(6 * 512 + 699), Some((Part::Body, true)));
    assert_eq!(part(6 * 512 + 700), Some((Part::Padding, true)));
    assert_eq!(part(whole.len() - 1000), Some((Part::EndMarker, true)));
    assert_eq!(part(whole.len() - 1), Some((Part::EndMarker, true)));
    assert!(matches!(read_all(&whole[..whole.len() - 512]), Ok((_, Tail { marker_blocks: 1, .. }))));
    assert!(matches!(read_all(&whole[..whole.len() - 1024]), Ok((_, Tail { marker_blocks: 0, .. }))));
}

#[test]
fn a_flipped_bit_outside_the_bodies_is_found_or_harmless() {
    let whole = archive();
    let (entries, _) = read_all(&whole[..]).unwrap();
    for at in 0..whole.len() {
        if entries.iter().any(|(entry, _)| (entry.data_offset..entry.data_offset + entry.size).contains(&(at as u64))) {
            continue;
        }
        let mut changed = whole.clone();
        changed[at] ^= 0x10;
        let mut reader = Reader::new(&changed[..]);
        let found = loop {
            match reader.next_entry() {
                Ok(Some(_)) => {}
                Ok(None) => {
                    break reader.stained_padding().is_some() || reader.finish().is_err() || !reader.ended_properly();
                }
                Err(_) => break true,
            }
        };
        // The records of a PAX header have no checksum of their own: a changed time or letter goes unnoticed.
        let in_records =
            entries.iter().any(|(entry, _)| (entry.header_offset + 512..entry.ustar_offset).contains(&(at as u64)));
        // A checksum may be padded with spaces as well as with zeros, and its last byte closes it in one of two ways.
        let block = entries.iter().find(|(entry, _)| {
            [entry.header_offset, entry.ustar_offset].iter().any(|start| (*start..start + 512).contains(&(at as u64)))
        });
        let in_checksum = block.is_some() && matches!(at % 512, 148 | 155);
        assert!(found || in_records || in_checksum, "byte {at}");
    }
}

#[test]
fn zeros_after_the_end_are_fine_and_anything_else_is_not() {
    let mut bytes = archive();
    let end = bytes.len() as u64;
    bytes.resize(bytes.len() + 70_000, 0);
    assert_eq!(read_all(&bytes[..]).unwrap().1, Tail { marker_blocks: 2, zeros_after: 70_000, length: end + 70_000 });
    bytes.push(1);
    assert!(matches!(read_all(&bytes[..]), Err(TarError::Garbage { offset }) if offset == end + 70_000));
}

#[test]
fn an_entry_after_a_single_zero_block_is_garbage_because_python_stops_there() {
    let mut bytes = vec![0; 512];
    bytes.extend_from_slice(&archive());
    assert!(matches!(read_all(&bytes[..]), Err(TarError::Garbage { offset: 512 })));
}

#[test]
fn nothing_is_read_after_an_error() {
    let mut bytes = archive();
    bytes[0] ^= 1;
    let mut reader = Reader::new(&bytes[..]);
    assert!(matches!(reader.next_entry(), Err(TarError::Checksum { offset: 0 })));
    assert!(matches!(reader.next_entry(), Err(TarError::Stopped)));
    assert!(matches!(reader.finish(), Err(TarError::Stopped)));
}

fn reseal(block: &mut [u8]) {
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|&byte| u32::from(byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

/// One header block of a given type, size field and name.
fn block(kind: u8, size: &[u8; 12], name: &[u8]) -> Vec<u8> {
    let mut block = Vec::new();
    put(&mut block, name, Kind::File, b"", (1, 0));
    block[156] = kind;
    block[124..136].copy_from_slice(size);
    reseal(&mut block);
    block
}

#[test]
fn impossible_sizes_are_refused() {
    let negative = [0xff; 12];
    let mut huge = [0; 12];
    huge[0] = 0x80;
    huge[4] = 0x7f;
    huge[5..].fill(0xff);
    for size in [negative, huge, *b"99999999999\0", [0xc0; 12]] {
        assert!(
            matches!(read_all(&block(b'0', &size, b"x")[..]), Err(TarError::BadField { field: "size", offset: 0 })),
            "{size:?}"
        );
    }
}

#[test]
fn extensions_of_more_than_a_mebibyte_are_refused_unread() {
    for kind in *b"xgLK" {
        let bytes = block(kind, b"00004000001\0", b"x");
        assert!(matches!(read_all(&bytes[..]), Err(TarError::BadExtension { offset: 0, .. })));
    }
}

#[test]
fn an_extension_with_nothing_after_it_is_found() {
    let whole = archive();
    let mut bytes = whole[..1024].to_vec();
    bytes.extend_from_slice(&tar::END);
    assert!(matches!(read_all(&bytes[..]), Err(TarError::BadExtension { offset: 0, .. })));
    assert!(matches!(read_all(&whole[..1024]), Err(TarError::Truncated { part: Part::Header, .. })));
}

#[test]
fn two_extended_headers_in_a_row_are_refused() {
    let whole = archive();
    let bytes = [&whole[..1024], &whole[..]].concat();
    assert!(matches!(read_all(&bytes[..]), Err(TarError::BadExtension { offset: 1024, .. })));
}

#[test]
fn sizes_that_disagree_are_reported() {
    let mut bytes = Vec::new();
    put(&mut bytes, b"x", Kind::File, b"", (1, 5));
    bytes.truncate(512);
    let records = b"12 size=600\n";
    bytes[124..136].copy_from_slice(b"00000000014\0");
    reseal(&mut bytes[..512]);
    bytes.extend_from_slice(records);
    bytes.resize(1024, 0);
    bytes.extend_from_slice(&block(b'0', b"00000000005\0", b"x"));
    bytes.resize(bytes.len() + 1024, b'b');
    let entry = Reader::new(&bytes[..]).next_entry().unwrap().unwrap();
    assert_eq!((entry.size, entry.ustar_size, entry.pax_size), (600, 5, Some(600)));
    assert!(entry.sizes_disagree());
}

#[test]
fn kinds_without_content_have_no_body_whatever_they_declare() {
    for (kind, expected) in [
        (b'1', EntryKind::HardLink),
        (b'2', EntryKind::Symlink),
        (b'3', EntryKind::Char),
        (b'4', EntryKind::Block),
        (b'5', EntryKind::Directory),
        (b'6', EntryKind::Fifo),
    ] {
        let bytes = [block(kind, b"00000001000\0", b"x"), tar::END.to_vec()].concat();
        let (entries, _) = read_all(&bytes[..]).unwrap();
        assert_eq!((entries[0].0.kind, entries[0].0.size, entries[0].0.ustar_size), (expected, 0, 512));
    }
    let old_directory = [block(0, b"00000000000\0", b"x/"), tar::END.to_vec()].concat();
    assert_eq!(read_all(&old_directory[..]).unwrap().0[0].0.kind, EntryKind::Directory);
}

/// Gives its bytes in pieces of varying length, with interruptions.
struct Dribble<'a>(&'a [u8], usize);

impl Read for Dribble<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.1 = self.1.wrapping_mul(31).wrapping_add(7);
        if self.1.is_multiple_of(5) {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let count = (self.1 % 97 + 1).min(buffer.len());
        self.0.read(&mut buffer[..count])
    }
}

#[test]
fn reads_of_any_length_give_the_same_entries() {
    let whole = archive();
    assert_eq!(read_all(Dribble(&whole, 3)).unwrap(), read_all(&whole[..]).unwrap());
}

fn name() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![vec(1_u8.., 1..20), vec(b'a'..=b'c', 90..110), vec(1_u8.., 150..400)].prop_map(|mut name| {
        while name.ends_with(b"/") {
            name.pop();
        }
        name.push(b'x');
        name
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn what_is_written_is_read_back(
        entries in vec((name(), 0_u8..3, vec(any::<u8>(), 0..1500), any::<u32>(), (any::<i64>(), 0_u32..1_000_000_000), name(), any::<u64>(), any::<u64>()), 0..6)
    ) {
        let mut bytes = Vec::new();
        for (path, kind, body, mode, mtime, link, uid, gid) in &entries {
            let kind = [Kind::File, Kind::Directory, Kind::Symlink][usize::from(*kind)];
            let header = Header { path, kind, size: body.len() as u64, mode: *mode, mtime: *mtime, link, uid: *uid, gid: *gid };
            tar::encode(&header, &mut bytes);
            if kind == Kind::File {
                bytes.extend_from_slice(body);
                bytes.resize(bytes.len() + tar::padding(body.len() as u64), 0);
            }
        }
        bytes.extend_from_slice(&tar::END);
        let (read, tail) = read_all(&bytes[..]).unwrap();
        prop_assert_eq!(tail.length, bytes.len() as u64);
        prop_assert_eq!(read.len(), entries.len());
        for ((path, kind, body, mode, mtime, link, uid, gid), (entry, content)) in entries.iter().zip(&read) {
            let expected = [EntryKind::File, EntryKind::Directory, EntryKind::Symlink][usize::from(*kind)];
            prop_assert_eq!((&entry.path, entry.kind, entry.mode), (path, expected, mode & 0o7777));
            prop_assert_eq!((entry.mtime, entry.uid, entry.gid), (*mtime, *uid, *gid));
            if expected == EntryKind::File {
                prop_assert_eq!(content, body);
            }
            if expected == EntryKind::Symlink {
                prop_assert_eq!(&entry.link, link);
            }
            prop_assert!(!entry.sizes_disagree());
        }
    }

    /// With its checksums made right again, so that the fields behind them are reached.
    #[test]
    fn changed_bytes_never_panic(changes in vec((0_usize..5632, any::<u8>()), 1..8), sealed in any::<bool>()) {
        let mut bytes = archive();
        let headers: Vec<usize> = (0..bytes.len()).step_by(512).filter(|&at| bytes[at + 257..].starts_with(b"ustar")).collect();
        for (at, value) in changes {
            let length = bytes.len();
            bytes[at % length] = value;
        }
        if sealed {
            for at in headers {
                reseal(&mut bytes[at..at + 512]);
            }
        }
        if let Ok((entries, _)) = read_all(&bytes[..]) {
            prop_assert!(entries.iter().map(|(_, body)| body.len()).sum::<usize>() <= bytes.len());
        }
    }

    #[test]
    fn random_bytes_never_panic(bytes in vec(any::<u8>(), 0..3000)) {
        let _ = read_all(&bytes[..]);
    }
}
