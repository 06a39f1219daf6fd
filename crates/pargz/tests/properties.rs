//! What must hold for any data and any way of reading it.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::io::Read;

use common::{compressed, noise, records, threads};
use pargz::{Compressor, IndexedInflater, Inflater, Level, PIECE, PieceTable, read_range};
use proptest::prelude::*;

/// Runs of records, noise and zeros.
fn data() -> impl Strategy<Value = Vec<u8>> {
    let run = (0..3_u8, 0..700_000_usize, any::<u64>()).prop_map(|(kind, length, seed)| match kind {
        0 => records(length, seed),
        1 => noise(length, seed),
        _ => vec![seed as u8; length],
    });
    prop::collection::vec(run, 0..6).prop_map(|runs| runs.concat())
}

/// Bytes of any entropy: `kinds` different values from `first` on, so that both short and long codes occur.
fn of_entropy(length: usize, first: u8, kinds: u16, seed: u64) -> Vec<u8> {
    let random = noise(2 * length, seed);
    random
        .chunks_exact(2)
        .map(|pair| first.wrapping_add((u16::from_le_bytes([pair[0], pair[1]]) % kinds) as u8))
        .collect()
}

/// Reads or takes `data` in pieces of the given sizes, over and over.
struct Split<'a> {
    data: &'a [u8],
    sizes: std::iter::Cycle<std::slice::Iter<'a, usize>>,
}

impl<'a> Split<'a> {
    fn new(data: &'a [u8], sizes: &'a [usize]) -> Self {
        Self { data, sizes: sizes.iter().cycle() }
    }
}

impl Read for Split<'_> {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        let length = (*self.sizes.next().unwrap()).min(buf.len());
        self.data.read(&mut buf[..length])
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_split_of_reads_on_any_threads_gives_the_same_bytes(
        data in data(),
        sizes in prop::collection::vec(1..300_000_usize, 1..8),
        n in 1..5_usize,
        balanced in any::<bool>(),
    ) {
        let level = if balanced { Level::Balanced } else { Level::Fast };
        let (expected, summary) = compressed(&data, level, 1);
        let mut member = Vec::new();
        let options = Compressor::new().level(level).threads(threads(n));
        let again = options.compress(Split::new(&data, &sizes), &mut member).unwrap();
        prop_assert!(member == expected);
        prop_assert!(again == summary);

        // And back by the stream, the compressed bytes coming and the others going in any split.
        let mut inflater = Inflater::new(Split::new(&member, &sizes));
        let mut back = Vec::new();
        for size in sizes.iter().cycle() {
            let at = back.len();
            back.resize(at + size, 0);
            let length = inflater.read(&mut back[at..]).unwrap();
            back.truncate(at + length);
            if length == 0 {
                break;
            }
        }
        prop_assert!(back == data);
        inflater.finish().unwrap().nothing_follows().unwrap();
    }

    /// Sound and model weights compress by a few percent or not at all: a piece just fits its space, or just does not.
    #[test]
    fn several_pieces_of_any_entropy_come_back(
        runs in prop::collection::vec((0..1_500_000_usize, any::<u8>(), 1..=256_u16, any::<u64>()), 1..4),
        level in prop::sample::select(vec![Level::Fast, Level::Balanced, Level::Small]),
    ) {
        let data = runs.into_iter().map(|(length, first, kinds, seed)| of_entropy(length, first, kinds, seed)).collect::<Vec<_>>().concat();
        let (member, summary) = compressed(&data, level, 2);
        prop_assert!(member.len() <= data.len() + data.len() / 64 + 100);
        let mut back = Vec::new();
        Inflater::new(&member[..]).read_to_end(&mut back).unwrap();
        prop_assert!(back == data && summary.bytes_in == data.len() as u64);
    }

    #[test]
    fn any_range_is_the_same_part_of_the_data(data in data(), start in 0..3_000_000_u64, length in 0..2_000_000_u64) {
        let (member, summary) = compressed(&data, Level::Fast, 2);
        let mut part = Vec::new();
        read_range(&member, &summary.pieces, start..start + length).read_to_end(&mut part).unwrap();
        let from = (start as usize).min(data.len());
        let to = (start as usize + length as usize).min(data.len());
        prop_assert!(part == data[from..to]);
    }

    #[test]
    fn no_table_makes_reading_panic(
        piece_size in prop_oneof![Just(PIECE as u32), any::<u32>()],
        restart_every in prop_oneof![1..10_u32, any::<u32>()],
        header_len in prop_oneof![Just(10_u32), any::<u32>()],
        lengths in prop::collection::vec(prop_oneof![0..2_000_u32, any::<u32>()], 0..8),
        bytes_in in prop_oneof![0..(9 * PIECE as u64), any::<u64>()],
        fitting in any::<bool>(),
        tail in prop::collection::vec(any::<u8>(), 0..64),
    ) {
        let mut table = PieceTable { piece_size, restart_every, header_len, lengths, bytes_in, crc32: 0 };
        let mut member = compressed(&records(1500, 1), Level::Fast, 1).0;
        if fitting {
            // Get past the check as often as possible.
            member.truncate(member.len() - 10);
            member.extend_from_slice(&tail);
            member.extend_from_slice(&[3, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
            let total = member.len() as u32 - 20;
            table = PieceTable { piece_size: PIECE as u32, header_len: 10, restart_every: restart_every % 8 + 1, ..table };
            let pieces = bytes_in % (9 * PIECE as u64);
            table.bytes_in = pieces;
            let count = pieces.div_ceil(PIECE as u64) as u32;
            table.lengths = (0..count).map(|n| total / count + u32::from(n < total % count)).collect();
        }
        let result = IndexedInflater::new(&table).threads(threads(2)).inflate(&member, |_| ());
        prop_assert!(result.is_err());
        let mut part = Vec::new();
        let _ = read_range(&member, &table, 0..4 * PIECE as u64).read_to_end(&mut part);
    }

    #[test]
    fn no_bytes_make_the_stream_panic(mut member in prop::collection::vec(any::<u8>(), 0..3000), gzip in any::<bool>()) {
        if gzip {
            member.splice(0..0, [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3]);
        }
        let mut out = Vec::new();
        let _ = Inflater::new(&member[..]).take(1 << 24).read_to_end(&mut out);
    }

    #[test]
    fn no_damage_makes_the_stream_panic_or_lie(seed in any::<u64>(), changes in prop::collection::vec((any::<u16>(), any::<u8>()), 1..6)) {
        let data = records(40_000, seed);
        let mut member = compressed(&data, Level::Fast, 1).0;
        let length = member.len();
        for (offset, value) in changes {
            member[usize::from(offset) % length] = value;
        }
        let mut out = Vec::new();
        if Inflater::new(&member[..]).read_to_end(&mut out).is_ok() {
            prop_assert!(out == data);
        }
    }
}
