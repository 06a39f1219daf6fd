//! One gzip member from all cores, and back.
//!
//! [`compress`] cuts its source into pieces of [`PIECE`] bytes, deflates them on as many threads
//! as it is allowed, and writes ONE ordinary gzip member that every reader of gzip accepts. Beside
//! the member it hands back a [`PieceTable`]: where each piece lies and at which pieces inflation
//! can start. With the table [`inflate_indexed`] reads the member back on all cores and
//! [`read_range`] fetches bytes from its middle; without it [`Inflater`] reads any gzip member as
//! a stream, strictly. [`compress_to_length`] makes a member of a length that was announced.
//!
//! The crate knows nothing of what the bytes mean. A map of it:
//!
//! | module | owns |
//! |---|---|
//! | `compress`, `line` | the road of the compressing threads; the order in which pieces leave it |
//! | `codec` | one piece to deflate blocks and back, over `isal` (feature `isal`) or `zlib` |
//! | `stored` | stored blocks, and the test that tells when nothing else would help |
//! | `filling` | blocks that hold nothing, to reach a length that was announced |
//! | `table` | where the pieces lie; the check of a table from an untrusted file |
//! | `inflater` | any gzip member as a stream |
//! | `pieces`, `indexed`, `range` | reading back by the table: one piece, all cores, the middle |
//! | `format`, `error`, `meters` | the bytes around the deflate stream; errors; live counters |

mod codec;
mod compress;
mod error;
mod filling;
mod format;
mod indexed;
mod inflater;
#[cfg(feature = "isal")]
#[allow(unsafe_code, reason = "the only calls into C; every block carries its argument")]
mod isal;
mod line;
mod meters;
mod pieces;
mod range;
mod stored;
mod table;
mod zlib;

use std::num::NonZeroUsize;

pub use compress::{Announced, LEAST_FILLING, Summary, compress, compress_to_length, longest_piece};
pub use error::{CompressError, InflateError, TableError};
pub use indexed::inflate_indexed;
pub use inflater::{Behind, Finished, Inflater};
pub use meters::Meters;
pub use pieces::ReadAt;
pub use range::{RangeReader, announce_range, read_range};
pub use table::{MAX_RESTART_EVERY, PieceTable};

/// Uncompressed bytes in a piece; only the last piece of a member may be shorter.
///
/// One mebibyte keeps the cost of a piece (a flush, a new Huffman table, priming) below half a
/// percent and lets a piece with its output stay in a core's own cache.
pub const PIECE: usize = 1 << 20;

/// How hard to try. The same level gives the same bytes whatever the number of threads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Level {
    /// As fast as the machine moves data; the ratio is within 2 % of ISA-L behind zlib.
    #[default]
    Fast,
    /// A little smaller for a little more time.
    Balanced,
    /// As small as deflate gets at a bearable price; several times slower than `Fast`.
    Small,
}

/// What [`compress`] is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// How hard to try.
    pub level: Level,
    /// Exactly this many threads work, the caller's own among them.
    pub threads: NonZeroUsize,
}

impl Default for Options {
    /// The fast level on every core this process may use.
    fn default() -> Self {
        Self { level: Level::Fast, threads: std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN) }
    }
}
