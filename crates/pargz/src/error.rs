//! What can go wrong, one type per direction.

use std::io;

use thiserror::Error;

/// Why compressing stopped.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CompressError {
    /// The source failed to read.
    #[error("the source could not be read: {0}")]
    Source(#[source] io::Error),
    /// The sink failed to write.
    #[error("the compressed bytes could not be written: {0}")]
    Sink(#[source] io::Error),
    /// The caller raised the cancel flag.
    #[error("compressing was cancelled")]
    Cancelled,
    /// The member would not have the length that was announced.
    #[error("the compressed data does not fit the length that was announced")]
    TooLong,
    /// The compressor refused to work; a defect of the program or of the library under it.
    #[error("the compressor failed: {0}")]
    Codec(String),
}

/// Why a gzip member cannot be read. `at` is an offset in the compressed bytes, from the first
/// byte of the member: how far reading had come when the damage showed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum InflateError {
    /// The first bytes are not those of a gzip member.
    #[error("this is not gzip data")]
    NotGzip,
    /// The compressed bytes end too early.
    #[error("the compressed data ends early, after {at} bytes")]
    Truncated {
        /// Where the bytes end.
        at: u64,
    },
    /// The compressed bytes contradict the format or the piece table.
    #[error("the compressed data is damaged near byte {at}")]
    Corrupt {
        /// Near this offset.
        at: u64,
    },
    /// The uncompressed bytes are not those that were compressed.
    #[error("the data does not match its checksum")]
    WrongChecksum,
    /// There are more or fewer uncompressed bytes than the member declares.
    #[error("the data does not have its declared length")]
    WrongLength,
    /// Behind the member another one begins, which many readers silently ignore.
    #[error("a second gzip member begins at byte {at}")]
    SecondMember {
        /// Where the second member begins.
        at: u64,
    },
    /// Something other than a member or zeros follows the member.
    #[error("foreign data follows the compressed data at byte {at}")]
    Garbage {
        /// The first byte that is not zero.
        at: u64,
    },
    /// The piece table cannot belong to this member.
    #[error(transparent)]
    Table(#[from] TableError),
    /// The caller raised the cancel flag.
    #[error("reading was cancelled")]
    Cancelled,
    /// The compressed bytes could not be read.
    #[error("the compressed data could not be read: {0}")]
    Io(#[source] io::Error),
}

impl InflateError {
    /// The same error again: a reader that failed keeps failing in the same way.
    pub(crate) fn again(&self) -> Self {
        match self {
            Self::NotGzip => Self::NotGzip,
            Self::Truncated { at } => Self::Truncated { at: *at },
            Self::Corrupt { at } => Self::Corrupt { at: *at },
            Self::WrongChecksum => Self::WrongChecksum,
            Self::WrongLength => Self::WrongLength,
            Self::SecondMember { at } => Self::SecondMember { at: *at },
            Self::Garbage { at } => Self::Garbage { at: *at },
            Self::Table(error) => Self::Table(error.clone()),
            Self::Cancelled => Self::Cancelled,
            // An io::Error cannot be cloned; its kind and its text can.
            Self::Io(error) => Self::Io(io::Error::new(error.kind(), error.to_string())),
        }
    }
}

impl From<InflateError> for io::Error {
    /// For use behind `Read`: [`InflateError::from`] finds the error again.
    fn from(error: InflateError) -> Self {
        let kind = match &error {
            InflateError::Io(inner) => inner.kind(),
            InflateError::Truncated { .. } => io::ErrorKind::UnexpectedEof,
            // Not `Interrupted`: callers retry that one for ever.
            InflateError::Cancelled => io::ErrorKind::Other,
            _ => io::ErrorKind::InvalidData,
        };
        Self::new(kind, error)
    }
}

impl From<io::Error> for InflateError {
    /// The verdict inside an error that came out of a reader of this crate, or `Io` around any
    /// other.
    fn from(error: io::Error) -> Self {
        match error.downcast::<Self>() {
            Ok(inner) => inner,
            Err(other) => Self::Io(other),
        }
    }
}

/// Why a piece table cannot belong to a member.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum TableError {
    /// Pieces of another size than this version writes.
    #[error("the index names pieces of {found} bytes, which this version does not know")]
    PieceSize {
        /// What the table says.
        found: u32,
    },
    /// Restart points that are absent or too far apart to be inflated within bounds.
    #[error("the index names a restart point at every {found} pieces, which is out of bounds")]
    RestartEvery {
        /// What the table says.
        found: u32,
    },
    /// A header of another length than this version writes.
    #[error("the index names a gzip header of {found} bytes, which this version does not write")]
    HeaderLen {
        /// What the table says.
        found: u32,
    },
    /// More or fewer pieces than the uncompressed length needs.
    #[error("the index lists {found} pieces where {needed} are needed")]
    PieceCount {
        /// Pieces listed.
        found: u64,
        /// Pieces needed.
        needed: u64,
    },
    /// A piece that is empty or longer than any piece can be.
    #[error("the index gives piece {piece} an impossible length")]
    PieceLength {
        /// Counted from 0.
        piece: u64,
    },
    /// Pieces that together are longer or shorter than the compressed data.
    #[error("the index describes {described} compressed bytes where there are {found}")]
    MemberLength {
        /// What the pieces add up to.
        described: u64,
        /// The length of the compressed data.
        found: u64,
    },
}
