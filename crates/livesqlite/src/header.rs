//! The 100-byte database header: the few fields that this crate reads, checked before use. Format:
//! <https://www.sqlite.org/fileformat2.html#the_database_header>.

use crate::OpenError;

/// The first 16 bytes of every database file.
pub(crate) const MAGIC: &[u8; 16] = b"SQLite format 3\0";
/// Bytes in the database header.
pub(crate) const HEADER_LEN: usize = 100;
/// SQLite locks bytes from here on; the page that contains it never holds data.
pub(crate) const LOCK_BYTE: u64 = 0x4000_0000;

/// Does a file that begins with these bytes claim to be a SQLite database? 16 bytes are enough.
pub fn is_database(first_bytes: &[u8]) -> bool {
    first_bytes.starts_with(MAGIC)
}

/// Must writers of this database wait while it is read? True for every journal mode but WAL.
/// Wants the file's first 20 bytes; with fewer the answer is `true`, the careful one.
pub fn blocks_writers(first_bytes: &[u8]) -> bool {
    !(first_bytes.len() >= 20 && first_bytes[18] == 2 && first_bytes[19] == 2)
}

/// Reads a big-endian `u32` at `at`; the caller has checked the length.
pub(crate) fn be32(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// Reads a big-endian `u16` at `at`; the caller has checked the length.
pub(crate) fn be16(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

/// Turns the header's 16-bit page size field into bytes: a power of two in 512..=65536.
pub(crate) fn page_size_field(raw: u16) -> Option<u32> {
    match raw {
        1 => Some(65_536),
        n if n >= 512 && n.is_power_of_two() => Some(u32::from(n)),
        _ => None,
    }
}

/// The page that contains the lock byte, counted from 1.
pub(crate) fn lock_page(page_size: u32) -> u64 {
    LOCK_BYTE / u64::from(page_size) + 1
}

/// What page 1 says about the whole file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Header {
    pub(crate) page_size: u32,
    /// Both version bytes say write-ahead log.
    pub(crate) wal: bool,
    /// Pages as declared; meaningful only when `declared_is_current`.
    pub(crate) declared_pages: u32,
    /// The version that wrote the size also wrote the last change counter.
    pub(crate) declared_is_current: bool,
    /// Counts the transactions of a database in a rollback mode.
    pub(crate) change_counter: u32,
    pub(crate) first_trunk: u32,
    pub(crate) free_pages: u32,
}

impl Header {
    /// Reads the header; `page` is the file's beginning, at least [`HEADER_LEN`] bytes.
    pub(crate) fn parse(page: &[u8]) -> Result<Self, OpenError> {
        if !is_database(page) {
            return Err(OpenError::NotADatabase);
        }
        if page.len() < HEADER_LEN {
            return Err(OpenError::corrupt("the file ends inside the header"));
        }
        let page_size = page_size_field(be16(page, 16))
            .ok_or_else(|| OpenError::corrupt("the page size in the header is impossible"))?;
        if page[21..24] != [64, 32, 32] {
            return Err(OpenError::corrupt("the payload fractions in the header are wrong"));
        }
        let declared_pages = be32(page, 28);
        Ok(Self {
            page_size,
            wal: page[18] == 2 && page[19] == 2,
            declared_pages,
            declared_is_current: declared_pages != 0 && page[24..28] == page[92..96],
            change_counter: be32(page, 24),
            first_trunk: be32(page, 32),
            free_pages: be32(page, 36),
        })
    }

    /// SQLite's own rule for the number of pages, given how many the file holds.
    pub(crate) fn pages(&self, in_file: u64) -> u64 {
        if self.declared_is_current { u64::from(self.declared_pages) } else { in_file }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_magic_needs_all_its_bytes() {
        assert!(is_database(b"SQLite format 3\0rest"));
        assert!(!is_database(b"SQLite format 3"));
        assert!(!is_database(b"SQLite format 2\0"));
        assert!(!is_database(b""));
    }

    #[test]
    fn only_wal_lets_writers_go_on() {
        let mut head = MAGIC.to_vec();
        head.extend([16, 0, 2, 2]);
        assert!(!blocks_writers(&head));
        head[18] = 1;
        assert!(blocks_writers(&head));
        assert!(blocks_writers(&head[..18]));
    }

    #[test]
    fn page_sizes_are_powers_of_two_and_one_means_65536() {
        assert_eq!(page_size_field(1), Some(65_536));
        assert_eq!(page_size_field(512), Some(512));
        assert_eq!(page_size_field(32_768), Some(32_768));
        for bad in [0, 2, 256, 513, 65_535] {
            assert_eq!(page_size_field(bad), None);
        }
    }
}
