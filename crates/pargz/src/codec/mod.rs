//! Turns one piece into deflate blocks, and deflate blocks into bytes. Chooses between the libraries; knows nothing of
//! threads, files or gzip.

#[cfg(feature = "isal")]
#[allow(unsafe_code, reason = "the only calls into C; every block carries its argument")]
mod isal;
mod step;
mod zlib;

#[cfg(feature = "isal")]
use isal::{IsalDeflate, IsalInflate};
pub(crate) use step::{Damaged, Step};
use zlib::ZlibDeflate;
#[cfg(not(feature = "isal"))]
use zlib::ZlibInflate;

use crate::{CompressError, Level, stored};

/// When a piece looks random, this much of it is compressed on trial …
const TRIAL: usize = 32 * 1024;
/// … and the rest only if the trial saves at least one part in this many.
const WORTH: usize = 64;

/// How much longer than [`stored::len`] an output buffer must be: the libraries want some bytes
/// to spare before they call a piece complete.
pub(crate) const SLACK: usize = 64;

enum Backend {
    #[cfg(feature = "isal")]
    Isal(IsalDeflate),
    Zlib(ZlibDeflate),
}

/// Makes deflate blocks of pieces. The result depends on the level, the dictionary and the piece
/// alone, never on what the encoder did before.
pub(crate) struct Encoder(Backend);

impl Encoder {
    pub(crate) fn new(level: Level) -> Self {
        // On a recorder database, one core: ISA-L 1 reaches 2.050:1; ISA-L 2 2.069:1 for a seventh of the speed; ISA-L
        // 3 2.133:1 for 40 %; zlib-rs 6 2.188:1 at an eighth of the speed. ISA-L behind zlib reaches 2.08:1 there, so
        // level 1 is within the 2 % that `Fast` promises.
        #[cfg(feature = "isal")]
        let backend = match level {
            Level::Fast => Backend::Isal(IsalDeflate::new(1)),
            Level::Balanced => Backend::Isal(IsalDeflate::new(3)),
            Level::Small => Backend::Zlib(ZlibDeflate::new(6)),
        };
        #[cfg(not(feature = "isal"))]
        let backend = Backend::Zlib(ZlibDeflate::new(match level {
            Level::Fast => 1,
            Level::Balanced => 3,
            Level::Small => 6,
        }));
        Self(backend)
    }

    /// Writes `piece` as complete deflate blocks that end at a byte boundary, none of them the
    /// last, to the front of `out`; never more than [`stored::len`] bytes. Matches may reach into
    /// `dictionary`, which is empty or one window. `out` has [`SLACK`] bytes more than that.
    pub(crate) fn encode(&mut self, dictionary: &[u8], piece: &[u8], out: &mut [u8]) -> Result<usize, CompressError> {
        let bound = stored::len(piece.len());
        if self.is_worth_it(piece, out)? {
            let space = &mut out[..bound + SLACK];
            if let Some(length) = self.deflate(dictionary, piece, space)?
                && length <= bound
            {
                return Ok(length);
            }
        }
        Ok(stored::write(piece, out))
    }

    fn is_worth_it(&mut self, piece: &[u8], out: &mut [u8]) -> Result<bool, CompressError> {
        if !stored::looks_random(piece) {
            return Ok(true);
        }
        let middle = piece.len() / 2;
        let trial = &piece[middle..(middle + TRIAL).min(piece.len())];
        let length = self.deflate(&[], trial, out)?;
        Ok(length.is_some_and(|length| length < trial.len() - trial.len() / WORTH))
    }

    /// `None` when `out` is too short.
    fn deflate(&mut self, dictionary: &[u8], piece: &[u8], out: &mut [u8]) -> Result<Option<usize>, CompressError> {
        match &mut self.0 {
            #[cfg(feature = "isal")]
            Backend::Isal(isal) => isal.piece(dictionary, piece, out),
            Backend::Zlib(zlib) => zlib.piece(dictionary, piece, out),
        }
        .map_err(CompressError::Codec)
    }
}

#[cfg(feature = "isal")]
type AnyInflate = IsalInflate;
#[cfg(not(feature = "isal"))]
type AnyInflate = ZlibInflate;

/// Inflates raw deflate streams, one after another.
pub(crate) struct Decoder(AnyInflate);

impl Decoder {
    pub(crate) fn new() -> Self {
        Self(AnyInflate::new())
    }

    /// Forgets everything: the next byte begins a new stream.
    pub(crate) fn reset(&mut self) {
        self.0.reset();
    }

    /// Inflates as far as `input` and `output` allow. Neither progress nor an end means that it needs more input,
    /// provided that `output` had space.
    pub(crate) fn inflate(&mut self, input: &[u8], output: &mut [u8]) -> Result<Step, Damaged> {
        self.0.step(input, output)
    }
}
