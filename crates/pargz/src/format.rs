//! The bytes around a deflate stream in a gzip member (RFC 1952), as this crate writes them. `inflater` reads the
//! headers of other writers.

/// What every member of ours begins with: deflate, no flags, no time, no level hint, unknown
/// system. Nothing in it depends on when or where it was written.
pub(crate) const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];

/// An empty last block with fixed codes. It comes alone, at a byte boundary after the pieces, so that all pieces are
/// made the same way and none needs to know that it is the last.
pub(crate) const FINAL_BLOCK: [u8; 2] = [0x03, 0x00];

/// CRC-32 and length modulo 2^32, both little endian.
pub(crate) const TRAILER_LEN: usize = 8;

/// Everything after the last piece.
pub(crate) const TAIL_LEN: usize = FINAL_BLOCK.len() + TRAILER_LEN;

/// How far back a match may reach, and so how much a piece is primed with.
pub(crate) const WINDOW: usize = 32 * 1024;

/// The trailer for `length` uncompressed bytes with the checksum `crc32`.
pub(crate) fn trailer(crc32: u32, length: u64) -> [u8; TRAILER_LEN] {
    let mut bytes = [0; TRAILER_LEN];
    bytes[..4].copy_from_slice(&crc32.to_le_bytes());
    bytes[4..].copy_from_slice(&(length as u32).to_le_bytes());
    bytes
}

/// The final block and the trailer.
pub(crate) fn tail(crc32: u32, length: u64) -> [u8; TAIL_LEN] {
    let mut bytes = [0; TAIL_LEN];
    bytes[..FINAL_BLOCK.len()].copy_from_slice(&FINAL_BLOCK);
    bytes[FINAL_BLOCK.len()..].copy_from_slice(&trailer(crc32, length));
    bytes
}
