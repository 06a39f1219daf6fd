//! The index, the last member of Haul's archives: the pieces of the compressed inner archive, the nonces of its
//! encrypted messages, and the position of every file. This module defines its bytes (docs/FORMAT.md); callers use it
//! to fetch one file or to inflate on all cores. An archive without a readable index is complete: the index only
//! repeats what the archive holds.

mod build;
mod parse;
mod wire;

pub use build::IndexBuilder;
pub use parse::{Files, Index};

use crate::tar::Kind;

/// Name of the outer member that holds the index, as a [`crate::securetar`] container when the archive is protected.
pub const MEMBER: &str = "haul.index";
/// The first bytes of every index, whatever its version.
pub const MAGIC: &[u8; 8] = b"HaulIdx\0";
/// Largest index read, in bytes: some ten million files.
pub const MAX_LEN: u64 = 1 << 28;

/// Changed when older readers would misunderstand the bytes.
const MAJOR: u8 = 1;
/// Changed when sections are added, which older readers skip.
const MINOR: u8 = 3;
/// Longest path, the bound of the tar reader too.
const MAX_PATH: usize = 1 << 20;

/// The checksum of an uncompressed inner archive; a compressed one has it in its [`pargz::PieceTable`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum {
    /// Bytes of the inner tar.
    pub length: u64,
    /// Their CRC-32.
    pub crc32: u32,
}

/// One entry of the inner archive. Offsets count from the first byte of the uncompressed inner tar.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileEntry {
    /// The name in the tar, `data/` included, without the slash that ends a directory's.
    pub path: Vec<u8>,
    /// What it is.
    pub kind: Kind,
    /// Where its first header block is, extended headers included.
    pub header_offset: u64,
    /// Where its content begins, after the last header block.
    pub data_offset: u64,
    /// Bytes of content.
    pub size: u64,
    /// What a directory's header says beside its name, so that it need not be fetched for a file below it. `None` for
    /// all else, and in older indexes.
    pub folder: Option<Folder>,
}

/// A directory's own properties.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Folder {
    /// Permission bits.
    pub mode: u32,
    /// Seconds and nanoseconds since 1970.
    pub mtime: (i64, u32),
}

/// Why an index cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IndexError {
    /// The magic is missing.
    #[error("this is not a Haul index")]
    NotAnIndex,
    /// Written by a later program.
    #[error("the index has version {0}; this program reads versions up to {MAJOR}")]
    NewerVersion(u8),
    /// Longer than any index made, see [`MAX_LEN`].
    #[error("the index is {0} bytes long, more than {MAX_LEN}")]
    TooLong(u64),
    /// The checksum does not fit: damaged or cut short.
    #[error("the index is damaged: its checksum is wrong")]
    Checksum,
    /// The checksum fits, the content makes no sense.
    #[error("the index is invalid: {0}")]
    Malformed(&'static str),
}

#[cfg(test)]
mod tests;
