//! A small seeded generator (SplitMix64), so that the same seed gives the same directory on every
//! machine. Not for secrets.

/// The stream of one seed.
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A whole number below `bound` (which must not be 0).
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        // The bias of a multiply-shift is 2^-40 for the bounds used here.
        ((u128::from(self.next()) * u128::from(bound)) >> 64) as u64
    }

    /// Between 0 (included) and 1 (excluded).
    pub(crate) fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// True with probability `p`.
    pub(crate) fn chance(&mut self, p: f64) -> bool {
        self.unit() < p
    }

    /// Roughly normal, mean 0 and standard deviation 1 (sum of four uniforms).
    pub(crate) fn normal(&mut self) -> f64 {
        let sum: f64 = (0..4).map(|_| self.unit()).sum();
        (sum - 2.0) * 1.732
    }

    pub(crate) fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len() as u64) as usize]
    }

    pub(crate) fn bytes(&mut self, out: &mut [u8]) {
        for chunk in out.chunks_mut(8) {
            let word = self.next().to_le_bytes();
            chunk.copy_from_slice(&word[..chunk.len()]);
        }
    }

    /// `digits` lower-case hexadecimal digits, as Home Assistant writes identifiers.
    pub(crate) fn hex(&mut self, digits: usize) -> String {
        (0..digits).map(|_| char::from(b"0123456789abcdef"[self.below(16) as usize])).collect()
    }

    /// A time-ordered 16-byte identifier: 48 bits of milliseconds, then 80 random bits.
    pub(crate) fn ulid(&mut self, seconds: f64) -> [u8; 16] {
        let mut id = [0; 16];
        let millis = ((seconds * 1000.0) as u64).to_be_bytes();
        id[..6].copy_from_slice(&millis[2..]);
        self.bytes(&mut id[6..]);
        id
    }

    /// The same as 26 letters and digits (Crockford's base 32), as the registries print it.
    pub(crate) fn ulid_text(&mut self, seconds: f64) -> String {
        let value = u128::from_be_bytes(self.ulid(seconds));
        (0..26)
            .rev()
            .map(|i| char::from(b"0123456789ABCDEFGHJKMNPQRSTVWXYZ"[(value >> (5 * i)) as usize & 31]))
            .collect()
    }
}
