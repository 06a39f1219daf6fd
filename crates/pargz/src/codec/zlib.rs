//! Deflate in Rust (zlib-rs): the levels that ISA-L does not have, and all levels on machines without ISA-L's build
//! tools.

use zlib_rs::{Deflate, DeflateFlush};
#[cfg(any(test, not(feature = "isal")))]
use zlib_rs::{Inflate, InflateFlush, Status};

#[cfg(any(test, not(feature = "isal")))]
use super::step::{Damaged, Step};

const WINDOW_BITS: u8 = 15;

/// Deflates pieces, one after another, each on its own.
pub(crate) struct ZlibDeflate {
    level: i32,
    deflate: Deflate,
}

impl ZlibDeflate {
    pub(crate) fn new(level: i32) -> Self {
        Self { level, deflate: Deflate::new(level, false, WINDOW_BITS) }
    }

    /// See [`crate::codec::Encoder::deflate`].
    pub(crate) fn piece(&mut self, dictionary: &[u8], input: &[u8], out: &mut [u8]) -> Result<Option<usize>, String> {
        let deflate = &mut self.deflate;
        deflate.reset();
        if !dictionary.is_empty() {
            deflate.set_dictionary(dictionary).map_err(|error| error.as_str().to_owned())?;
        }
        deflate.compress(input, out, DeflateFlush::SyncFlush).map_err(|error| error.as_str().to_owned())?;
        let written = deflate.total_out() as usize;
        // A full buffer may mean that more was to come.
        let complete = deflate.total_in() == input.len() as u64 && written < out.len();
        if !complete {
            // zlib-rs 0.6.8 panics when a stream that has output pending is reset and used again.
            *deflate = Deflate::new(self.level, false, WINDOW_BITS);
        }
        Ok(complete.then_some(written))
    }
}

/// Inflates one raw deflate stream after another.
#[cfg(any(test, not(feature = "isal")))]
pub(crate) struct ZlibInflate(Inflate);

#[cfg(any(test, not(feature = "isal")))]
impl ZlibInflate {
    pub(crate) fn new() -> Self {
        Self(Inflate::new(false, WINDOW_BITS))
    }

    pub(crate) fn reset(&mut self) {
        self.0.reset(false);
    }

    /// See [`crate::codec::Decoder::inflate`].
    pub(crate) fn step(&mut self, input: &[u8], output: &mut [u8]) -> Result<Step, Damaged> {
        let (taken, given) = (self.0.total_in(), self.0.total_out());
        let status = self.0.decompress(input, output, InflateFlush::NoFlush).map_err(|_| Damaged)?;
        Ok(Step {
            consumed: (self.0.total_in() - taken) as usize,
            produced: (self.0.total_out() - given) as usize,
            ended: status == Status::StreamEnd,
            unused: 0,
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// Every length of output that is too short, then one that is long enough, from one compressor.
    #[test]
    fn a_piece_that_did_not_fit_leaves_nothing_behind() {
        // Literals of eight and nine bits: what is compressed is longer than what it was made of.
        let mut seed = 1_u32;
        let piece: Vec<u8> = std::iter::repeat_with(|| {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            144 + (seed >> 24) as u8 % 112
        })
        .take(200_000)
        .collect();
        for level in [1, 3, 6] {
            let mut fresh = vec![0; 2 * piece.len()];
            let length = ZlibDeflate::new(level).piece(&[], &piece, &mut fresh).unwrap().unwrap();
            let mut zlib = ZlibDeflate::new(level);
            for short in [0, 1, 10, 100, length / 2, length - 1, length] {
                assert_eq!(
                    zlib.piece(&[], &piece, &mut vec![0; short]),
                    Ok(None),
                    "level {level}, {short} of {length}"
                );
                let mut again = vec![0; fresh.len()];
                assert_eq!(zlib.piece(&[], &piece, &mut again), Ok(Some(length)), "level {level}, after {short}");
                assert!(again == fresh);
            }
        }
    }
}

#[cfg(all(test, feature = "isal"))]
mod strictness {
    #![allow(clippy::unwrap_used)]

    use crate::{
        codec::{Encoder, isal::IsalInflate},
        stored,
    };

    use super::*;

    const ENDED: [u8; 2] = crate::format::FINAL_BLOCK;

    fn all(mut step: impl FnMut(&[u8], &mut [u8]) -> Result<Step, Damaged>, input: &[u8]) -> Option<Vec<u8>> {
        let mut out = vec![0; 64 * 1024];
        let first = step(input, &mut out).ok()?;
        (first.ended && first.consumed - first.unused == input.len()).then(|| out[..first.produced].to_vec())
    }

    /// Home Assistant reads with zlib. What ISA-L lets pass and zlib refuses would be verified here
    /// and not restored there.
    #[test]
    fn isa_l_accepts_no_damage_that_zlib_refuses() {
        let mut text = Vec::new();
        for n in 0..120_u32 {
            text.extend_from_slice(format!("sensor.t{} {} on;", n % 7, n * 37 % 101).as_bytes());
        }
        let mut member = vec![0; stored::len(text.len()) + 64];
        let length = Encoder::new(crate::Level::Fast).encode(&[], &text, &mut member).unwrap();
        member.truncate(length);
        member.extend_from_slice(&ENDED);
        let (mut isal, mut zlib) = (IsalInflate::new(), ZlibInflate::new());
        let mut laxer = Vec::new();
        for bit in 0..member.len() * 8 {
            let mut damaged = member.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            isal.reset();
            zlib.reset();
            let by_isal = all(|i, o| isal.step(i, o), &damaged);
            let by_zlib = all(|i, o| zlib.step(i, o), &damaged);
            // The checksum covers the other bytes.
            if by_isal.as_ref() == Some(&text) && by_isal != by_zlib {
                laxer.push(bit);
            }
        }
        assert!(laxer.is_empty(), "bits {laxer:?} of {}", member.len() * 8);
    }
}
