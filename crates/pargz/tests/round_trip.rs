//! What is compressed comes back, by every way of reading.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::{io::Read, num::NonZeroUsize};

use common::{compressed, inputs, threads};
use pargz::{Compressor, IndexedInflater, Inflater, Level, Meters, PIECE, read_range};

const LEVELS: [Level; 3] = [Level::Fast, Level::Balanced, Level::Small];

#[test]
fn every_kind_of_data_comes_back_at_every_level() {
    for (name, data) in inputs() {
        for level in LEVELS {
            let (member, summary) = compressed(&data, level, 2);
            assert_eq!(summary.bytes_in, data.len() as u64, "{name}");
            assert_eq!(summary.bytes_out, member.len() as u64, "{name}");
            assert_eq!(summary.pieces.member_len(), member.len() as u64, "{name}");
            summary.pieces.check(member.len() as u64).unwrap();

            let mut streamed = Vec::new();
            let mut inflater = Inflater::new(&member[..]);
            inflater.read_to_end(&mut streamed).unwrap();
            assert!(streamed == data, "{name} {level:?} streamed");
            let finished = inflater.finish().unwrap();
            assert_eq!(finished.bytes_in, member.len() as u64);
            assert_eq!(finished.bytes_out, data.len() as u64);
            assert_eq!(finished.crc32, crc32fast::hash(&data));
            finished.nothing_follows().unwrap();

            for n in 1..=3 {
                let back = IndexedInflater::new(&summary.pieces)
                    .threads(NonZeroUsize::new(n).unwrap())
                    .inflate(&member, |reader| {
                        let mut bytes = Vec::new();
                        reader.read_to_end(&mut bytes).map(|_| bytes)
                    })
                    .unwrap()
                    .unwrap();
                assert!(back == data, "{name} {level:?} indexed on {n} threads");
            }
        }
    }
}

#[test]
fn the_bytes_do_not_depend_on_the_number_of_threads() {
    for (name, data) in inputs() {
        for level in LEVELS {
            let (one, table) = compressed(&data, level, 1);
            for n in 2..=4 {
                let (more, other) = compressed(&data, level, n);
                assert!(one == more, "{name} {level:?} on {n} threads");
                assert_eq!(table, other);
            }
        }
    }
}

#[test]
fn any_range_is_found_from_the_restart_point_before_it() {
    let (_, data) = inputs().pop().unwrap();
    let (member, summary) = compressed(&data, Level::Fast, 2);
    let length = data.len() as u64;
    let piece = PIECE as u64;
    let offsets = [0, 1, piece - 1, piece, piece + 1, 4 * piece - 1, 4 * piece, 5 * piece + 7, length];
    for start in offsets {
        for take in [0, 1, 1000, piece, 3 * piece, u64::MAX] {
            let end = start.saturating_add(take);
            let mut bytes = Vec::new();
            let mut reader = read_range(&member, &summary.pieces, start..end);
            reader.read_to_end(&mut bytes).unwrap();
            let expected = &data[start.min(length) as usize..end.min(length) as usize];
            assert!(bytes == expected, "{start}..{end}");
        }
    }
}

#[test]
fn incompressible_data_grows_by_the_stored_overhead_alone() {
    let data = common::noise(5 * PIECE + 12_345, 1);
    let (member, _) = compressed(&data, Level::Fast, 2);
    let blocks = 5 * 17 + 1;
    assert_eq!(member.len(), 10 + data.len() + blocks * 5 + 10);
}

#[test]
fn repeats_hidden_in_random_data_are_found() {
    let block = common::noise(2 * 1024, 2);
    let data = block.repeat(1024);
    let (member, _) = compressed(&data, Level::Fast, 2);
    assert!(member.len() < data.len() / 10);
}

#[test]
fn the_meters_count_every_byte() {
    let (_, data) = inputs().pop().unwrap();
    let meters = Meters::new();
    let mut member = Vec::new();
    let options = Compressor::new().level(Level::Fast).threads(threads(2));
    options.meters(&meters).compress(&data[..], &mut member).unwrap();
    assert_eq!(meters.bytes_in(), data.len() as u64);
    assert_eq!(meters.bytes_out(), member.len() as u64);
    assert!(!meters.working().is_zero());
}
