//! Compresses into one gzip member on all cores, and back.
//!
//! [`Compressor`] cuts its source into pieces of [`PIECE`] bytes, deflates them on as many threads as allowed, and
//! writes ONE ordinary gzip member that every gzip reader accepts. It also returns a [`PieceTable`]: the position of
//! each piece, and the pieces at which inflation can start. With the table, [`IndexedInflater`] reads the member on all
//! cores, and [`read_range`] reads bytes from its middle; without it, [`Inflater`] reads any gzip member as a stream,
//! strictly.
//!
//! ```
//! use std::io::{Read, Write};
//!
//! // As a `Write`, in front of any other …
//! let mut gzip = pargz::Compressor::new().writer(Vec::new())?;
//! gzip.write_all(b"hello, hello, hello")?;
//! let (member, summary) = gzip.finish()?;
//!
//! // … back as a stream, whoever wrote it …
//! let mut text = String::new();
//! let mut inflater = pargz::Inflater::new(&member[..]);
//! inflater.read_to_string(&mut text)?;
//! inflater.finish()?.nothing_follows()?;
//! assert_eq!(text, "hello, hello, hello");
//!
//! // … or from its middle, by the table.
//! let mut middle = String::new();
//! pargz::read_range(&member, &summary.pieces, 7..12).read_to_string(&mut middle)?;
//! assert_eq!(middle, "hello");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The crate knows nothing of what the bytes mean. A map of it:
//!
//! | module | owns |
//! |---|---|
//! | `compress`, `ordered_sink` | the compressing threads; the order in which pieces are written |
//! | `writer` | compression as a `Write` |
//! | `codec` | one piece to deflate blocks and back, over `isal` (feature `isal`) or `zlib` |
//! | `stored` | stored blocks, and the test that recognises when nothing else would help |
//! | `padding` | empty blocks, to reach a length that was announced |
//! | `table` | where the pieces lie; the check of a table from an untrusted file |
//! | `inflater` | any gzip member as a stream |
//! | `pieces`, `indexed`, `range` | reading back by the table: one piece, all cores, the middle |
//! | `read_at` | bytes that can be read at any position; the caller brings them |
//! | `format`, `error`, `meters` | the bytes around the deflate stream; errors; live counters |

mod codec;
mod compress;
mod error;
mod format;
mod indexed;
mod inflater;
mod meters;
mod ordered_sink;
mod padding;
mod pieces;
mod range;
mod read_at;
mod stored;
mod table;
mod writer;

pub use compress::{Announced, Compressor, MIN_PADDING, Summary, longest_piece};
pub use error::{CompressError, InflateError, TableError};
pub use indexed::IndexedInflater;
pub use inflater::{Behind, Finished, Inflater};
pub use meters::Meters;
pub use range::{RangeReader, announce_range, read_range};
pub use read_at::ReadAt;
pub use table::{MAX_RESTART_EVERY, PieceTable};
pub use writer::Writer;

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

/// The README's example is a test.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
