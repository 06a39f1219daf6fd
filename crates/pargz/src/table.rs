//! The positions of a member's pieces. Whoever keeps a table serialises it; a table from a file is untrusted until
//! [`PieceTable::check`] has passed.

use std::ops::Range;

use crate::{
    PIECE,
    error::TableError,
    format::{HEADER, TAIL_LEN},
    padding, stored,
};

/// Restart points may be at most this many pieces apart: it bounds the memory that inflating by an
/// untrusted table takes.
pub const MAX_RESTART_EVERY: u32 = 8;

/// Where the pieces of one gzip member lie, made by [`crate::Compressor::compress`].
///
/// The member is the header, the pieces one after another, padding where its length was announced, an empty last block
/// of two bytes, and the trailer of eight. Every piece ends at a byte boundary. The pieces whose number divides by
/// `restart_every` refer to nothing before them; the others may refer to the 32 KiB before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PieceTable {
    /// Uncompressed bytes per piece; always [`PIECE`].
    pub piece_size: u32,
    /// Inflation can start at every piece whose number (from 0) divides by this.
    pub restart_every: u32,
    /// Bytes of gzip header before piece 0.
    pub header_len: u32,
    /// Compressed bytes of each piece.
    pub lengths: Vec<u32>,
    /// Uncompressed bytes of the whole member.
    pub bytes_in: u64,
    /// CRC-32 of the uncompressed bytes.
    pub crc32: u32,
}

impl PieceTable {
    /// The length of the member this table describes, from its first byte to its last, without padding.
    pub fn member_len(&self) -> u64 {
        self.lengths.iter().map(|length| u64::from(*length)).sum::<u64>() + u64::from(self.header_len) + TAIL_LEN as u64
    }

    /// Whether this table can describe a member of `body_len` bytes, padding included. Everything that reads by a
    /// table checks it first; after that no size in it exceeds what this crate itself writes.
    pub fn check(&self, body_len: u64) -> Result<(), TableError> {
        if self.piece_size as usize != PIECE {
            return Err(TableError::PieceSize { found: self.piece_size });
        }
        if !(1..=MAX_RESTART_EVERY).contains(&self.restart_every) {
            return Err(TableError::RestartEvery { found: self.restart_every });
        }
        if self.header_len as usize != HEADER.len() {
            return Err(TableError::HeaderLen { found: self.header_len });
        }
        let needed = self.bytes_in.div_ceil(PIECE as u64);
        if self.lengths.len() as u64 != needed {
            return Err(TableError::PieceCount { found: self.lengths.len() as u64, needed });
        }
        for (piece, length) in self.lengths.iter().enumerate() {
            let longest = stored::len(self.piece_len(piece));
            if *length == 0 || *length as usize > longest {
                return Err(TableError::PieceLength { piece: piece as u64 });
            }
        }
        let described = self.member_len();
        if !body_len.checked_sub(described).is_some_and(padding::exists) {
            return Err(TableError::MemberLength { described, found: body_len });
        }
        Ok(())
    }

    /// Uncompressed bytes of one piece.
    pub(crate) fn piece_len(&self, piece: usize) -> usize {
        let start = piece as u64 * PIECE as u64;
        self.bytes_in.saturating_sub(start).min(PIECE as u64) as usize
    }

    /// How many groups there are: runs of pieces that begin at a restart point.
    pub(crate) fn groups(&self) -> usize {
        self.lengths.len().div_ceil(self.restart_every as usize)
    }

    /// The pieces of one group.
    pub(crate) fn group(&self, group: usize) -> Range<usize> {
        let start = group * self.restart_every as usize;
        start..(start + self.restart_every as usize).min(self.lengths.len())
    }

    /// The first piece of the group that `piece` is in: inflating can begin there.
    pub(crate) fn restart_before(&self, piece: usize) -> usize {
        piece - piece % self.restart_every as usize
    }

    /// Whether nothing after `piece` refers to it or to anything before its end.
    pub(crate) fn ends_group(&self, piece: usize) -> bool {
        piece + 1 == self.lengths.len() || (piece + 1).is_multiple_of(self.restart_every as usize)
    }

    /// The offset in the member at which `piece` begins.
    pub(crate) fn offset(&self, piece: usize) -> u64 {
        let before = self.lengths[..piece].iter();
        u64::from(self.header_len) + before.map(|length| u64::from(*length)).sum::<u64>()
    }
}
