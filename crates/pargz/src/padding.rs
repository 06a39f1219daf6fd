//! Padding: empty deflate blocks that bring a member to a length that was announced before it was compressed. They come
//! between the last piece and the final block, so they change neither the uncompressed bytes nor the checksum nor the
//! positions of the pieces.
//!
//! An empty stored block takes 5 bytes at a byte boundary; after an empty block with fixed codes, which takes 10 bits,
//! the two take 6. Fives and sixes make every length from 20 on, and for each length there is one padding: first the
//! sixes, at most four of them. So a reader can compare every byte.

use std::io::{self, Write};

/// An empty stored block.
const FIVE: [u8; 5] = [0, 0, 0, 0xff, 0xff];
/// An empty block with fixed codes, then an empty stored block that begins in the middle of a byte.
const SIX: [u8; 6] = [0x02, 0, 0, 0, 0xff, 0xff];

/// Every padding of at least so many bytes can be made.
pub(crate) const ALL_FROM: u64 = 20;

/// Blocks given out or compared at once.
const BATCH: u64 = 4096;

/// The number of sixes; `None` when no padding has this length.
fn sixes(length: u64) -> Option<u64> {
    let sixes = length % 5;
    (sixes * 6 <= length).then_some(sixes)
}

/// Whether there is a padding of this length.
pub(crate) fn exists(length: u64) -> bool {
    sixes(length).is_some()
}

/// Writes the padding of `length` bytes, for which [`exists`] holds.
pub(crate) fn write(length: u64, mut sink: impl Write) -> io::Result<()> {
    let sixes = sixes(length).ok_or(io::ErrorKind::InvalidInput)?;
    sink.write_all(&SIX.repeat(sixes as usize))?; // four at most
    let mut fives = (length - sixes * 6) / 5;
    let batch = FIVE.repeat(fives.min(BATCH) as usize);
    while fives > 0 {
        let count = fives.min(BATCH);
        sink.write_all(&batch[..count as usize * FIVE.len()])?;
        fives -= count;
    }
    Ok(())
}

/// Compares what is written into it with the padding of one length.
pub(crate) struct Comparison {
    sixes: u64,
    at: u64,
}

impl Comparison {
    /// For the padding of `length` bytes; `None` if that length is not possible.
    pub(crate) fn new(length: u64) -> Option<Self> {
        Some(Self { sixes: sixes(length)?, at: 0 })
    }

    /// Takes the next bytes; the offset in the padding of the first that is wrong.
    pub(crate) fn take(&mut self, bytes: &[u8]) -> Option<u64> {
        let wrong = bytes.iter().zip(self.at..).find(|(byte, at)| **byte != self.expected(*at));
        self.at += bytes.len() as u64;
        wrong.map(|(_, at)| at)
    }

    fn expected(&self, at: u64) -> u8 {
        match at.checked_sub(self.sixes * 6) {
            None => SIX[(at % 6) as usize],
            Some(at) => FIVE[(at % 5) as usize],
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_length_from_twenty_on_can_be_filled() {
        let possible: Vec<u64> = (0..ALL_FROM).filter(|length| exists(*length)).collect();
        assert_eq!(possible, [0, 5, 6, 10, 11, 12, 15, 16, 17, 18]);
        for length in
            (0..300).chain([5 * BATCH - 1, 5 * BATCH, 5 * BATCH + 1, 1 << 20]).filter(|length| exists(*length))
        {
            let mut bytes = Vec::new();
            write(length, &mut bytes).unwrap();
            assert_eq!(bytes.len() as u64, length);
            assert_eq!(Comparison::new(length).unwrap().take(&bytes), None);
        }
        assert!((ALL_FROM..1000).all(exists));
    }

    #[test]
    fn a_changed_byte_is_found_where_it_is() {
        let mut bytes = Vec::new();
        write(233, &mut bytes).unwrap();
        for at in 0..bytes.len() {
            bytes[at] ^= 1;
            let mut comparison = Comparison::new(233).unwrap();
            let (head, rest) = bytes.split_at(at / 2);
            assert_eq!(comparison.take(head).or_else(|| comparison.take(rest)), Some(at as u64));
            bytes[at] ^= 1;
        }
    }
}
