//! Data and shorthands for the integration tests.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used)]

use std::num::NonZeroUsize;

use pargz::{Compressor, Level, PIECE, Summary};

pub(crate) fn threads(n: usize) -> NonZeroUsize {
    NonZeroUsize::new(n).unwrap()
}

/// Compresses in memory.
pub(crate) fn compressed(data: &[u8], level: Level, n: usize) -> (Vec<u8>, Summary) {
    let mut member = Vec::new();
    let summary = Compressor::new().level(level).threads(threads(n)).compress(data, &mut member).unwrap();
    (member, summary)
}

/// Reproducible random bytes (xorshift).
pub(crate) fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    })
    .take(length)
    .collect()
}

/// Records shaped like those of a recorder's states table.
pub(crate) fn records(length: usize, seed: u64) -> Vec<u8> {
    let random = noise(length / 8 + 64, seed);
    let mut bytes = Vec::with_capacity(length + 128);
    let mut time = 1_700_000_000.0_f64;
    for chunk in random.chunks_exact(8).cycle() {
        if bytes.len() >= length {
            break;
        }
        time += f64::from(chunk[0]) / 16.0;
        bytes.extend_from_slice(&[11, 0, 1, 0, 7, 7]);
        bytes.push(chunk[1] & 63);
        bytes.extend_from_slice(&time.to_be_bytes());
        bytes.extend_from_slice(format!("{}.{}", chunk[2] % 30, chunk[3] % 100).as_bytes());
        bytes.extend_from_slice(&chunk[4..]);
        bytes.extend_from_slice(b"\x00\x00unavailable"[..usize::from(chunk[5] % 13)].as_ref());
    }
    bytes.truncate(length);
    bytes
}

/// One of each kind, the last one long and mixed.
pub(crate) fn inputs() -> Vec<(&'static str, Vec<u8>)> {
    let mut mixed = records(3 * PIECE + 77, 3);
    mixed.extend(noise(2 * PIECE, 4));
    mixed.extend(vec![0; PIECE + 5]);
    mixed.extend(records(2 * PIECE, 5));
    vec![
        ("nothing", Vec::new()),
        ("one byte", vec![7]),
        ("a few bytes", b"the quick brown fox".to_vec()),
        ("a window", records(32 * 1024, 6)),
        ("one byte short of a piece", records(PIECE - 1, 7)),
        ("a piece", records(PIECE, 8)),
        ("a byte more than a piece", records(PIECE + 1, 9)),
        ("a group", records(4 * PIECE, 10)),
        ("zeros", vec![0; 5 * PIECE]),
        ("noise", noise(2 * PIECE + 99, 11)),
        ("mixed", mixed),
    ]
}
