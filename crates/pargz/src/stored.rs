//! Deflate's stored blocks: for pieces that do not compress, with a cheap test that recognises such a piece before time
//! is spent on it.

/// The longest stored block.
const BLOCK: usize = 65_535;
/// Header of a stored block at a byte boundary: type, length, length inverted.
const BLOCK_HEADER: usize = 5;

/// Where the test looks: this many windows, evenly spread over the piece …
const WINDOWS: usize = 16;
/// … each of so many bytes. 16 KiB in all take about 15 µs, under one percent of a piece's time.
const WINDOW: usize = 1024;

/// Bytes that `length` bytes take in stored blocks. No piece of ours is ever longer.
pub(crate) const fn len(length: usize) -> usize {
    length + BLOCK_HEADER * length.div_ceil(BLOCK)
}

/// Writes `input` in stored blocks to the front of `out`, which has space for [`len`] bytes. Returns the bytes written.
pub(crate) fn write(input: &[u8], out: &mut [u8]) -> usize {
    let mut at = 0;
    for block in input.chunks(BLOCK) {
        let length = block.len() as u16; // at most BLOCK
        out[at] = 0;
        out[at + 1..at + 3].copy_from_slice(&length.to_le_bytes());
        out[at + 3..at + 5].copy_from_slice(&(!length).to_le_bytes());
        at += BLOCK_HEADER;
        out[at..at + block.len()].copy_from_slice(block);
        at += block.len();
    }
    at
}

/// Whether the bytes are spread so evenly over all values that a Huffman code has nothing to gain:
/// compressed, encrypted or random data. Long repeats can hide in such data, so the answer only
/// says that it is worth compressing a small part first.
pub(crate) fn looks_random(piece: &[u8]) -> bool {
    if piece.len() < WINDOWS * WINDOW {
        return false;
    }
    let mut counts = [0u32; 256];
    let stride = (piece.len() - WINDOW) / (WINDOWS - 1);
    for window in 0..WINDOWS {
        let start = window * stride;
        for byte in &piece[start..start + WINDOW] {
            counts[usize::from(*byte)] += 1;
        }
    }
    let squares: u64 = counts.iter().map(|n| u64::from(*n) * u64::from(*n)).sum();
    let total = (WINDOWS * WINDOW) as u64;
    // Even bytes give total²/256 + total. A quarter more is about 7.8 bits per byte: JPEG, video
    // and archives stay below it, base64 (6 bits) is at four times, text far above.
    squares * 256 * 4 < (total * total + total * 256) * 5
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(length: usize) -> Vec<u8> {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        std::iter::repeat_with(|| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 32) as u8
        })
        .take(length)
        .collect()
    }

    #[test]
    fn noise_looks_random_and_text_does_not() {
        assert!(looks_random(&noise(1 << 20)));
        let hex: Vec<u8> = noise(1 << 20).iter().map(|b| b"0123456789abcdef"[usize::from(b & 15)]).collect();
        assert!(!looks_random(&hex));
        assert!(!looks_random(&vec![0; 1 << 20]));
    }

    #[test]
    fn a_short_piece_is_never_called_random() {
        assert!(!looks_random(&noise(1000)));
    }

    #[test]
    fn the_length_is_what_is_written() {
        for length in [0, 1, 65_534, 65_535, 65_536, 131_070, 131_071, 1 << 20] {
            let mut out = vec![0; len(length)];
            assert_eq!(write(&noise(length), &mut out), len(length));
        }
    }
}
