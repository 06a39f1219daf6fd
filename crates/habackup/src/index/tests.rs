#![allow(clippy::unwrap_used)]

use super::*;
use pargz::PieceTable;
use proptest::prelude::*;

fn pieces() -> PieceTable {
    PieceTable {
        piece_size: 1 << 20,
        restart_every: 4,
        header_len: 10,
        lengths: vec![300, 200, 100],
        bytes_in: (2 << 20) + 5,
        crc32: 0xDEAD_BEEF,
    }
}

fn files() -> Vec<FileEntry> {
    let entry = |path: &str, kind, header_offset, data_offset, size| FileEntry {
        path: path.into(),
        kind,
        header_offset,
        data_offset,
        size,
        folder: None,
    };
    vec![
        entry("data", Kind::Directory, 0, 512, 0),
        entry("data/.storage", Kind::Directory, 512, 1024, 0),
        entry("data/.storage/auth", Kind::File, 1024, 2560, 700),
        entry("data/.storage/core.config", Kind::File, 3584, 5120, 1),
        entry("data/link", Kind::Symlink, 5632, 6144, 0),
        entry("data/home-assistant_v2.db", Kind::File, 9216, 10752, 30 << 30),
    ]
}

fn sample() -> Vec<u8> {
    let mut builder = IndexBuilder::new("homeassistant.tar.gz");
    for file in files() {
        assert!(builder.push(&file));
    }
    builder.describe(b"{}");
    builder.finish(Some(&pieces()), &[[1; 8], [2; 8]])
}

/// With the checksum corrected, so that the content after it is reached.
fn resum(bytes: &mut [u8]) {
    let end = bytes.len() - wire::CHECKSUM;
    let len = (bytes.len() as u64).to_le_bytes();
    bytes[wire::PREFIX - 8..wire::PREFIX].copy_from_slice(&len);
    let sum = wire::checksum(&bytes[..end]);
    bytes[end..].copy_from_slice(&sum);
}

#[test]
fn what_goes_in_comes_out() {
    let index = Index::parse(&sample()).unwrap();
    assert_eq!(index.member(), "homeassistant.tar.gz");
    assert_eq!(index.pieces(), Some(&pieces()));
    assert_eq!(index.nonces(), [[1; 8], [2; 8]]);
    assert_eq!(index.len(), 6);
    assert_eq!(index.files().collect::<Vec<_>>(), files());
    assert_eq!((index.describes(b"{ \"protected\": true }"), index.describes(b"{\"a\":1}")), (Some(true), Some(false)));
    assert_eq!(index.description(), Some(b"{}".as_slice()));
}

#[test]
fn an_uncompressed_plain_archive_has_files_only() {
    let index = Index::parse(&IndexBuilder::new("homeassistant.tar").finish(None, &[])).unwrap();
    assert!(index.pieces().is_none() && index.nonces().is_empty() && index.is_empty());
    assert_eq!(index.files().next(), None);
    assert_eq!((index.describes(b"{}"), index.description()), (None, None));
}

#[test]
fn an_uncompressed_archive_has_its_checksum_here() {
    let mut builder = IndexBuilder::new("homeassistant.tar");
    let sum = Sum { length: 10_240, crc32: 0xdead_beef };
    for sum in [None, Some(sum)] {
        builder.sum(sum);
        let bytes = builder.finish(None, &[]);
        assert_eq!(Index::parse(&bytes).unwrap().sum(), sum);
        assert_eq!(bytes.len(), builder.finished_len(None, 0));
    }
    let mut longer = builder.finish(None, &[]);
    let end = longer.len() - wire::CHECKSUM;
    longer[end - 20] += 1;
    longer.insert(end, 0);
    resum(&mut longer);
    assert!(matches!(Index::parse(&longer), Err(IndexError::Malformed(_))));
}

#[test]
fn a_directory_keeps_its_mode_and_time() {
    let mut builder = IndexBuilder::new("homeassistant.tar.gz");
    let mut files = files();
    files[0].folder = Some(Folder { mode: 0o755, mtime: (1_763_700_000, 999_999_999) });
    // One whose properties are not known, and one from before 1970.
    files.push(FileEntry {
        path: b"data/old".to_vec(),
        kind: Kind::Directory,
        header_offset: 64 << 30,
        data_offset: (64 << 30) + 512,
        size: 0,
        folder: None,
    });
    files[6].folder = Some(Folder { mode: 0, mtime: (i64::MIN, 0) });
    for file in &files {
        assert!(builder.push(file));
    }
    let bytes = builder.finish(None, &[]);
    assert_eq!(bytes.len(), builder.finished_len(None, 0));
    assert_eq!(Index::parse(&bytes).unwrap().files().collect::<Vec<_>>(), files);
}

#[test]
fn directories_described_too_often_or_not_to_the_end_are_refused() {
    let mut builder = IndexBuilder::new("homeassistant.tar.gz");
    let folder = Some(Folder { mode: 0o755, mtime: (1, 2) });
    assert!(builder.push(&FileEntry {
        path: b"data".to_vec(),
        kind: Kind::Directory,
        header_offset: 0,
        data_offset: 512,
        size: 0,
        folder
    }));
    let whole = builder.finish(None, &[]);
    let end = whole.len() - wire::CHECKSUM;
    // The section is the last one, and begins with its length.
    for (length, bytes) in [
        (5_u64, [0xEE, 0x03, 2, 2, 0].as_slice()),
        (3, &[0xEE, 0x03, 2]),
        (8, &[0xEE, 0x03, 2, 0xFF, 0xFF, 0xFF, 0xFF, 0x7F]),
    ] {
        let mut bytes = [&whole[..end - 4 - 8], &length.to_le_bytes(), bytes, &[0; wire::CHECKSUM]].concat();
        resum(&mut bytes);
        assert!(matches!(Index::parse(&bytes), Err(IndexError::Malformed(_))), "{length}");
    }
}

#[test]
fn entries_that_go_backwards_are_left_out() {
    let mut builder = IndexBuilder::new("x");
    let mut file =
        FileEntry { path: b"a".to_vec(), kind: Kind::File, header_offset: 0, data_offset: 512, size: 1, folder: None };
    assert!(builder.push(&file));
    assert!(!builder.push(&file));
    (file.header_offset, file.data_offset) = (1024, 512);
    assert!(!builder.push(&file));
    (file.data_offset, file.size) = (1536, u64::MAX);
    assert!(!builder.push(&file));
    (file.size, file.path) = (0, vec![b'x'; MAX_PATH + 1]);
    assert!(!builder.push(&file));
    assert_eq!(Index::parse(&builder.finish(None, &[])).unwrap().len(), 1);
}

#[test]
fn a_file_costs_about_25_bytes() {
    let mut builder = IndexBuilder::new("homeassistant.tar.gz");
    let mut position = 0;
    for n in 0..10_000u64 {
        let path = format!("data/custom_components/integration_{}/translations/{}.json", n / 40, n % 40).into_bytes();
        let file = FileEntry {
            path,
            kind: Kind::File,
            header_offset: position,
            data_offset: position + 1536,
            size: 3000 + n % 500,
            folder: None,
        };
        position = file.data_offset + file.size.next_multiple_of(512);
        assert!(builder.push(&file));
    }
    let len = builder.finish(None, &[]).len();
    assert!(len < 250_000, "{len}");
}

#[test]
fn a_newer_version_is_named() {
    let mut bytes = sample();
    bytes[8] = 2;
    assert_eq!(Index::parse(&bytes), Err(IndexError::NewerVersion(2)));
    resum(&mut bytes);
    assert_eq!(Index::parse(&bytes), Err(IndexError::NewerVersion(2)));
}

#[test]
fn sections_of_a_newer_minor_version_are_passed_over() {
    let mut bytes = sample();
    bytes[9] = 7;
    let end = bytes.len() - wire::CHECKSUM;
    let mut section = Vec::new();
    wire::put_section(200, 3, &mut section);
    section.extend_from_slice(b"new");
    bytes.splice(end..end, section);
    resum(&mut bytes);
    assert_eq!(Index::parse(&bytes).unwrap().len(), 6);
}

#[test]
fn every_cut_and_every_flipped_byte_is_found() {
    let bytes = sample();
    for len in 0..bytes.len() {
        assert!(Index::parse(&bytes[..len]).is_err(), "{len}");
    }
    for at in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[at] ^= 0x10;
        assert!(Index::parse(&damaged).is_err(), "{at}");
    }
    assert_eq!(Index::parse(b"ustar"), Err(IndexError::NotAnIndex));
}

#[test]
fn sections_twice_missing_or_zero_are_refused() {
    let prefix = || sample()[..wire::PREFIX].to_vec();
    let close = |mut bytes: Vec<u8>| {
        bytes.extend_from_slice(&[0; wire::CHECKSUM]);
        resum(&mut bytes);
        Index::parse(&bytes)
    };
    assert_eq!(close(prefix()), Err(IndexError::Malformed("a section is missing")));
    let mut twice = prefix();
    for _ in 0..2 {
        wire::put_section(wire::SECTION_NONCES, 0, &mut twice);
    }
    assert_eq!(close(twice), Err(IndexError::Malformed("a section appears twice")));
    let mut zero = prefix();
    wire::put_section(0, 0, &mut zero);
    assert_eq!(close(zero), Err(IndexError::Malformed("a section has the number zero")));
    let mut huge = prefix();
    huge.push(wire::SECTION_NONCES);
    huge.extend_from_slice(&u64::MAX.to_le_bytes());
    assert_eq!(close(huge), Err(IndexError::Malformed("a part is longer than what contains it")));
}

#[test]
fn a_piece_table_that_does_not_add_up_is_refused() {
    let wrong = |change: fn(&mut PieceTable)| {
        let mut pieces = pieces();
        change(&mut pieces);
        Index::parse(&IndexBuilder::new("x").finish(Some(&pieces), &[])).is_err()
    };
    assert!(wrong(|pieces| pieces.piece_size = 0));
    assert!(wrong(|pieces| pieces.restart_every = 0));
    assert!(wrong(|pieces| pieces.lengths.truncate(2)));
    assert!(wrong(|pieces| pieces.bytes_in = u64::MAX));
    assert!(!wrong(|pieces| (pieces.lengths, pieces.bytes_in) = (vec![5], 0)));
}

#[test]
fn paths_that_unfold_to_more_than_any_tree_has_are_refused() {
    let mut table = Vec::new();
    wire::put_number(0, &mut table);
    wire::put_number(MAX_PATH as u64, &mut table);
    table.resize(table.len() + MAX_PATH, b'a');
    table.extend_from_slice(&[0, 0, 0, 0]);
    for _ in 0..5000 {
        wire::put_number(MAX_PATH as u64, &mut table);
        table.extend_from_slice(&[0, 0, 0, 0, 0]);
    }
    let mut bytes = sample()[..wire::PREFIX].to_vec();
    wire::put_section(wire::SECTION_MEMBER, 0, &mut bytes);
    wire::put_section(wire::SECTION_FILES, 8 + table.len(), &mut bytes);
    bytes.extend_from_slice(&5001u64.to_le_bytes());
    bytes.extend_from_slice(&table);
    bytes.extend_from_slice(&[0; wire::CHECKSUM]);
    resum(&mut bytes);
    assert_eq!(Index::parse(&bytes), Err(IndexError::Malformed("the paths are too long")));
}

fn entries() -> impl Strategy<Value = Vec<FileEntry>> {
    let kind = prop_oneof![Just(Kind::File), Just(Kind::Directory), Just(Kind::Symlink)];
    let entry = (
        proptest::collection::vec(prop_oneof![Just(b'/'), any::<u8>()], 0..20),
        kind,
        0u64..1 << 40,
        0u64..5000,
        0u64..1 << 40,
    );
    proptest::collection::vec(entry, 0..30).prop_map(|entries| {
        let mut position = 0;
        let mut files = Vec::new();
        for (path, kind, gap, headers, size) in entries {
            let header_offset = position + gap;
            let data_offset = header_offset + headers;
            position = data_offset + size + crate::tar::padding(size) as u64;
            files.push(FileEntry { path, kind, header_offset, data_offset, size, folder: None });
        }
        files
    })
}

proptest! {
    #[test]
    fn any_table_comes_back(files in entries(), nonces in proptest::collection::vec(any::<[u8; 8]>(), 0..5)) {
        let mut builder = IndexBuilder::new("m");
        for file in &files {
            prop_assert!(builder.push(file));
        }
        let index = Index::parse(&builder.finish(None, &nonces)).unwrap();
        prop_assert_eq!(index.files().collect::<Vec<_>>(), files);
        prop_assert_eq!(index.nonces(), &nonces[..]);
        // What was added later is as if it had been known from the start.
        let bare = Index::parse(&builder.finish(None, &[])).unwrap();
        builder.describe(b"{}");
        let sum = Sum { length: 1, crc32: 2 };
        builder.sum(Some(sum));
        prop_assert_eq!(bare.completed(b"{}", None, Some(sum), &nonces), builder.finish(None, &nonces));
    }

    #[test]
    fn numbers_come_back(number in any::<u64>(), shift in 0u32..64) {
        let mut bytes = Vec::new();
        wire::put_number(number >> shift, &mut bytes);
        prop_assert_eq!(wire::Cursor(&bytes).number(), Ok(number >> shift));
        prop_assert!(wire::Cursor(&bytes[..bytes.len() - 1]).number().is_err());
    }

    /// Whatever follows a right checksum: no panic, and the walk ends after as many entries as the index declares.
    #[test]
    fn mutated_indexes_are_survived(
        changes in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..6),
        cut in proptest::option::of(any::<proptest::sample::Index>()),
    ) {
        let mut bytes = sample();
        if let Some(cut) = cut {
            bytes.truncate(wire::PREFIX + wire::CHECKSUM + cut.index(bytes.len() - wire::PREFIX - wire::CHECKSUM));
        }
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        resum(&mut bytes);
        if let Ok(index) = Index::parse(&bytes) {
            prop_assert_eq!(index.files().count() as u64, index.len());
        }
    }

    #[test]
    fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let mut whole = sample()[..wire::PREFIX].to_vec();
        whole.extend_from_slice(&bytes);
        whole.extend_from_slice(&[0; wire::CHECKSUM]);
        resum(&mut whole);
        let _ = Index::parse(&whole);
        let _ = Index::parse(&bytes);
    }
}

/// The bytes docs/FORMAT.md takes apart: a change here is a change of the format.
#[test]
fn the_documented_example_is_what_is_written() {
    let mut builder = IndexBuilder::new("a.tar.gz");
    let entry = |path: &str, kind, header_offset, size| FileEntry {
        path: path.into(),
        kind,
        header_offset,
        data_offset: header_offset + 512,
        size,
        folder: None,
    };
    assert!(builder.push(&FileEntry {
        folder: Some(Folder { mode: 0o755, mtime: (1, 0) }),
        ..entry("data", Kind::Directory, 0, 0)
    }));
    assert!(builder.push(&entry("data/x", Kind::File, 512, 300)));
    let pieces = PieceTable {
        piece_size: 1 << 20,
        restart_every: 4,
        header_len: 10,
        lengths: vec![90],
        bytes_in: 2560,
        crc32: 0x0403_0201,
    };
    builder.describe(b"{}");
    let bytes = builder.finish(Some(&pieces), &[]);
    let hex = bytes.iter().fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"));
    let expected = "4861756c49647800 01 03 0000 b100000000000000
        01 0800000000000000 612e7461722e677a
        02 1c00000000000000 00001000 04000000 0a000000 01020304 000a000000000000 5a000000
        04 1d00000000000000 0200000000000000
        00 04 64617461 01 00 8004 00
        04 02 2f78 00 00 8004 ac02
        05 0400000000000000 ee03 02 00
        06 1000000000000000 44136fa355b3678a1146ad16f7e8649e
        07 0200000000000000 7b7d";
    let expected: String = expected.split_whitespace().collect();
    assert_eq!(&hex[..hex.len() - 32], expected);
    assert_eq!(bytes.len(), 0xb1);
}

#[test]
fn the_length_is_known_before_the_pieces_and_nonces_are() {
    let mut builder = IndexBuilder::new("homeassistant.tar.gz");
    builder.describe(b"{}");
    for file in files() {
        assert!(builder.push(&file));
        let counted = PieceTable { lengths: vec![1; 3], ..pieces() };
        for (pieces, nonces) in [(None, 0), (Some(&counted), 0), (Some(&counted), 3), (None, 1)] {
            let len = builder.finished_len(pieces.map(|pieces| pieces.lengths.len()), nonces);
            assert_eq!(builder.finish(pieces, &vec![[7; 8]; nonces]).len(), len);
        }
    }
}
