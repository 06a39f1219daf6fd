//! Deflate in Rust (zlib-rs): the levels ISA-L does not reach, and all of them on machines without
//! ISA-L's build tools.

use zlib_rs::{Deflate, DeflateFlush};
#[cfg(any(test, not(feature = "isal")))]
use zlib_rs::{Inflate, InflateFlush, Status};

#[cfg(any(test, not(feature = "isal")))]
use crate::codec::{Damaged, Step};

const WINDOW_BITS: u8 = 15;

/// Deflates pieces, one after another, each on its own.
pub(crate) struct ZlibDeflate(Deflate);

impl ZlibDeflate {
    pub(crate) fn new(level: i32) -> Self {
        Self(Deflate::new(level, false, WINDOW_BITS))
    }

    /// See [`crate::codec::Encoder::deflate`].
    pub(crate) fn piece(&mut self, dictionary: &[u8], input: &[u8], out: &mut [u8]) -> Result<Option<usize>, String> {
        self.0.reset();
        if !dictionary.is_empty() {
            self.0.set_dictionary(dictionary).map_err(|error| error.as_str().to_owned())?;
        }
        self.0.compress(input, out, DeflateFlush::SyncFlush).map_err(|error| error.as_str().to_owned())?;
        let written = self.0.total_out() as usize;
        // A full buffer may mean that more was to come.
        let complete = self.0.total_in() == input.len() as u64 && written < out.len();
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

#[cfg(all(test, feature = "isal"))]
mod tests {
    #![allow(clippy::unwrap_used)]

    use crate::{codec::Encoder, isal::IsalInflate, stored};

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
            // Other bytes are the checksum's business.
            if by_isal.as_ref() == Some(&text) && by_isal != by_zlib {
                laxer.push(bit);
            }
        }
        assert!(laxer.is_empty(), "bits {laxer:?} of {}", member.len() * 8);
    }
}
