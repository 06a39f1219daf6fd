//! Damage of every kind is found and distinguished.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::io::{self, Read};

use common::{compressed, noise, records, threads};
use pargz::{IndexedInflater, InflateError, Inflater, Level, PIECE, PieceTable, TableError, read_range};

/// By stream, to the last byte of the source.
fn streamed(member: &[u8]) -> Result<Vec<u8>, InflateError> {
    let mut bytes = Vec::new();
    let mut inflater = Inflater::new(member);
    inflater.read_to_end(&mut bytes)?;
    inflater.finish()?.nothing_follows()?;
    Ok(bytes)
}

fn indexed(member: &Vec<u8>, table: &PieceTable, n: usize) -> Result<Vec<u8>, InflateError> {
    IndexedInflater::new(table)
        .threads(threads(n))
        .inflate(member, |reader| {
            let mut bytes = Vec::new();
            reader.read_to_end(&mut bytes).map(|_| bytes)
        })?
        .map_err(InflateError::from)
}

fn small() -> (Vec<u8>, Vec<u8>, PieceTable) {
    let data = records(1200, 1);
    let (member, summary) = compressed(&data, Level::Fast, 1);
    (data, member, summary.pieces)
}

#[test]
fn truncation_at_every_length_is_found() {
    let (_, member, table) = small();
    for length in 0..member.len() {
        let cut = member[..length].to_vec();
        match streamed(&cut) {
            Err(InflateError::Truncated { at }) => assert_eq!(at, length as u64),
            other => panic!("{length}: {other:?}"),
        }
        let result = indexed(&cut, &table, 2);
        assert!(matches!(result, Err(InflateError::Table(TableError::MemberLength { .. }))), "{length}");
    }
}

#[test]
fn every_flipped_bit_is_found_or_changes_nothing() {
    let (data, member, table) = small();
    for bit in 0..member.len() * 8 {
        let mut damaged = member.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        // Padding before a byte boundary, and time, hint and system in the header mean nothing.
        if let Ok(bytes) = streamed(&damaged) {
            assert!(bytes == data, "bit {bit} of byte {} by stream", bit / 8);
        }
        let by_table = indexed(&damaged, &table, 2);
        if let Ok(bytes) = by_table {
            assert!(bytes == data, "bit {bit} of byte {} by table", bit / 8);
            assert!(bit / 8 >= 10, "the header is known to the bit");
            assert!(bit / 8 < member.len() - 10, "and so is all behind the pieces");
        }
    }
}

#[test]
fn damage_in_a_large_member_is_found_on_any_number_of_threads() {
    let mut data = records(9 * PIECE + 5, 2);
    data.extend(noise(PIECE, 3));
    let (member, summary) = compressed(&data, Level::Fast, 2);
    for step in 1..40 {
        let mut damaged = member.clone();
        let offset = member.len() * step / 40;
        damaged[offset] ^= 0x55;
        let outcomes: Vec<_> =
            (1..=3).map(|n| indexed(&damaged, &summary.pieces, n).err().map(|error| error.to_string())).collect();
        assert!(outcomes.iter().all(|outcome| outcome.is_some() && *outcome == outcomes[0]), "{outcomes:?}");
        assert!(streamed(&damaged).is_err());
    }
}

#[test]
fn the_bytes_before_the_damage_are_still_handed_out() {
    let data = records(10 * PIECE, 4);
    let (mut member, summary) = compressed(&data, Level::Fast, 2);
    let last = member.len() - 100_000;
    member[last] ^= 1;
    let mut bytes = Vec::new();
    let mut failure = None;
    let result = IndexedInflater::new(&summary.pieces).threads(threads(2)).inflate(&member, |reader| {
        failure = reader.read_to_end(&mut bytes).err();
    });
    assert!(result.is_err());
    assert!(bytes == data[..8 * PIECE]);
    assert!(matches!(InflateError::from(failure.unwrap()), InflateError::Corrupt { .. } | InflateError::WrongChecksum));
}

#[test]
fn a_consumer_that_ignores_an_error_does_not_hide_it() {
    let (_, mut member, table) = small();
    let last = member.len() - 1;
    member[last] ^= 1;
    let result = IndexedInflater::new(&table).threads(threads(2)).inflate(&member, |reader| {
        let _ = io::copy(reader, &mut io::sink());
        let again = reader.read(&mut [0; 10]);
        assert!(again.is_err(), "an error stays an error");
    });
    assert!(matches!(result, Err(InflateError::WrongLength)), "{result:?}");
}

#[test]
fn what_a_consumer_leaves_unread_is_checked_all_the_same() {
    let data = records(6 * PIECE, 5);
    let (mut member, summary) = compressed(&data, Level::Fast, 2);
    let last = member.len() - 5;
    member[last] ^= 1;
    let result = IndexedInflater::new(&summary.pieces).threads(threads(2)).inflate(&member, |_| ());
    assert!(matches!(result, Err(InflateError::WrongChecksum)), "{result:?}");
}

#[test]
fn a_wrong_checksum_and_a_wrong_length_are_distinguished() {
    let (_, member, _) = small();
    let end = member.len();
    let mut damaged = member.clone();
    damaged[end - 8] ^= 1;
    assert!(matches!(streamed(&damaged), Err(InflateError::WrongChecksum)));
    damaged = member;
    damaged[end - 1] ^= 1;
    assert!(matches!(streamed(&damaged), Err(InflateError::WrongLength)));
}

#[test]
fn a_second_member_has_an_error_of_its_own() {
    let (_, member, _) = small();
    let length = member.len() as u64;
    let mut two = member.clone();
    two.extend_from_slice(&member);
    assert!(matches!(streamed(&two), Err(InflateError::SecondMember { at }) if at == length));
    let mut apart = member.clone();
    apart.extend_from_slice(&[0; 700]);
    apart.extend_from_slice(&member);
    assert!(matches!(streamed(&apart), Err(InflateError::SecondMember { at }) if at == length + 700));
}

#[test]
fn zeros_may_follow_and_nothing_else() {
    let (data, member, _) = small();
    let mut padded = member.clone();
    padded.extend_from_slice(&vec![0; 600_000]);
    assert!(streamed(&padded).unwrap() == data);
    for end in [b"x".as_slice(), &[0x1f], &[0x1f, 0x8c]] {
        let mut dirty = padded.clone();
        dirty.extend_from_slice(end);
        let offset = padded.len() as u64;
        assert!(matches!(streamed(&dirty), Err(InflateError::Garbage { at }) if at == offset), "{end:?}");
    }
}

#[test]
fn other_data_is_not_called_gzip() {
    assert!(matches!(streamed(b"SQLite format 3\0"), Err(InflateError::NotGzip)));
    assert!(matches!(streamed(b"\x1f\x8c"), Err(InflateError::NotGzip)));
    assert!(matches!(streamed(b""), Err(InflateError::Truncated { at: 0 })));
}

/// A stored block around `data`, so that only the header is under test.
fn with_header(header: &[u8], data: &[u8]) -> Vec<u8> {
    let mut member = header.to_vec();
    member.push(1);
    member.extend_from_slice(&(data.len() as u16).to_le_bytes());
    member.extend_from_slice(&(!(data.len() as u16)).to_le_bytes());
    member.extend_from_slice(data);
    member.extend_from_slice(&crc32fast::hash(data).to_le_bytes());
    member.extend_from_slice(&(data.len() as u32).to_le_bytes());
    member
}

#[test]
fn headers_of_all_forms_are_understood() {
    let mut full = vec![0x1f, 0x8b, 8, 0b1_1110, 1, 2, 3, 4, 2, 3];
    full.extend_from_slice(&[3, 0, 9, 9, 9]);
    full.extend_from_slice(b"name\0comment\0");
    let crc = crc32fast::hash(&full) as u16;
    full.extend_from_slice(&crc.to_le_bytes());
    let member = with_header(&full, b"body");
    assert_eq!(streamed(&member).unwrap(), b"body");
    for length in 0..member.len() {
        assert!(matches!(streamed(&member[..length]), Err(InflateError::Truncated { .. })), "{length}");
    }
    let end = full.len();
    full[end - 1] ^= 1;
    assert!(matches!(streamed(&with_header(&full, b"body")), Err(InflateError::Corrupt { .. })));
}

#[test]
fn unknown_methods_reserved_flags_and_endless_names_are_damage() {
    let method = with_header(&[0x1f, 0x8b, 7, 0, 0, 0, 0, 0, 0, 3], b"");
    assert!(matches!(streamed(&method), Err(InflateError::Corrupt { at: 2 })));
    let reserved = with_header(&[0x1f, 0x8b, 8, 0x20, 0, 0, 0, 0, 0, 3], b"");
    assert!(matches!(streamed(&reserved), Err(InflateError::Corrupt { at: 3 })));
    let mut endless = vec![0x1f, 0x8b, 8, 8, 0, 0, 0, 0, 0, 3];
    endless.resize(1 << 20, b'n');
    assert!(matches!(streamed(&endless), Err(InflateError::Corrupt { .. })));
}

#[test]
fn a_hostile_table_is_refused_before_anything_is_allocated() {
    let (_, member, table) = small();
    let refused = |change: &dyn Fn(&mut PieceTable)| {
        let mut hostile = table.clone();
        change(&mut hostile);
        assert!(matches!(indexed(&member, &hostile, 2), Err(InflateError::Table(_))), "{hostile:?}");
        let error = read_range(&member, &hostile, 0..10).read(&mut [0; 10]);
        if hostile.bytes_in > 0 {
            assert!(matches!(InflateError::from(error.unwrap_err()), InflateError::Table(_)));
        }
    };
    refused(&|t| t.piece_size = 0);
    refused(&|t| t.piece_size = u32::MAX);
    refused(&|t| t.restart_every = 0);
    refused(&|t| t.restart_every = u32::MAX);
    refused(&|t| t.header_len = 0);
    refused(&|t| t.header_len = u32::MAX);
    refused(&|t| t.lengths.clear());
    refused(&|t| t.lengths[0] = 0);
    refused(&|t| t.lengths[0] = u32::MAX);
    refused(&|t| t.lengths[0] += 1);
    refused(&|t| t.lengths.push(1));
    refused(&|t| t.bytes_in = 0);
    refused(&|t| t.bytes_in = u64::MAX);
}

#[test]
fn a_table_that_lies_about_the_inside_is_found_out() {
    let data = records(9 * PIECE + 100, 6);
    let (member, summary) = compressed(&data, Level::Fast, 2);
    let lies = |change: &dyn Fn(&mut PieceTable)| {
        let mut lying = summary.pieces.clone();
        change(&mut lying);
        assert!(indexed(&member, &lying, 2).is_err());
    };
    lies(&|t| t.crc32 ^= 1);
    lies(&|t| t.bytes_in -= 1);
    lies(&|t| t.bytes_in += 1);
    lies(&|t| t.restart_every = 3);
    lies(&|t| t.restart_every = 1);
    lies(&|t| (t.lengths[0], t.lengths[1]) = (t.lengths[0] - 100, t.lengths[1] + 100));
    lies(&|t| (t.lengths[3], t.lengths[4]) = (t.lengths[3] - 1, t.lengths[4] + 1));
    lies(&|t| t.lengths.swap(1, 6));
    // Fewer restart points than there are is no lie.
    let mut modest = summary.pieces.clone();
    modest.restart_every = 8;
    assert!(indexed(&member, &modest, 2).unwrap() == data);
}
