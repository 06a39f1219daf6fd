//! Bytes that no compressor makes smaller, the same each time.

/// `length` of them.
pub fn noise(length: usize) -> Vec<u8> {
    seeded(length, 1)
}

/// The same, others for each `seed`.
pub fn seeded(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_be_bytes()[3]
    };
    std::iter::repeat_with(next).take(length).collect()
}
