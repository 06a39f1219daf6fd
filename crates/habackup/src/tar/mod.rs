//! The tar format. [`encode`] makes headers, [`Reader`] walks an untrusted stream; both work on bytes alone.
//!
//! Written: POSIX ustar with PAX records where ustar cannot say it (sub-second times, names that are long or not ASCII,
//! sizes from 8 GiB inside an inner archive; members of the outer one have such sizes in base-256 alone). Read: that,
//! plus GNU long names, GNU base-256 numbers and the old ustar prefix, as Python's `tarfile` and GNU tar understand
//! them.

mod damaged;
mod encode;
mod fields;
mod gather;
mod pax;
pub mod python;
mod reader;

pub use damaged::{is_header, repaired_header};
pub(crate) use encode::{Form, SIZE_TO_CHECKSUM, encode_as, patch_size};
pub use encode::{Header, Kind, encode};
pub use gather::{Gathered, HeaderBlocks};
pub use reader::{Entry, EntryKind, Part, Reader, Tail, TarError};

/// Bytes of a header block; bodies are padded to a multiple of it.
pub const BLOCK: usize = 512;

/// The end-of-archive marker: two zero blocks.
pub const END: [u8; 2 * BLOCK] = [0; 2 * BLOCK];

/// Largest size an octal ustar field holds: 8 GiB − 1.
pub const USTAR_SIZE_MAX: u64 = 0o777_7777_7777;

/// Zero bytes that follow a body of `size` bytes.
#[expect(clippy::cast_possible_truncation, reason = "less than a block")]
pub const fn padding(size: u64) -> usize {
    (size.wrapping_neg() % BLOCK as u64) as usize
}

/// As readers take it that know these three: all else is a file.
impl From<EntryKind> for Kind {
    fn from(kind: EntryKind) -> Self {
        match kind {
            EntryKind::Directory => Self::Directory,
            EntryKind::Symlink => Self::Symlink,
            _ => Self::File,
        }
    }
}
