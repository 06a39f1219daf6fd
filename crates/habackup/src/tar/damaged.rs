//! Recognises damaged headers, for readers that want what follows them anyway, and guesses what a damaged one said.

use super::{
    BLOCK,
    fields::{self, CHECKSUM, GID, MAGIC, MODE, MTIME, NAME, SIZE, TYPE, UID},
};

/// Whether a block is a header with a checksum that holds.
pub fn is_header(block: &[u8; BLOCK]) -> bool {
    block[MAGIC].starts_with(b"ustar") && fields::checksum_holds(block)
}

/// What a damaged header block may have said: with a correct checksum, and zero for numbers that are not numbers.
/// `None` if it cannot have been a header.
pub fn repaired_header(block: &[u8; BLOCK]) -> Option<[u8; BLOCK]> {
    let name = fields::text(&block[NAME]);
    let is_name = !name.is_empty() && !name.iter().any(|byte| *byte < b' ' || *byte == 0x7f);
    let is_kind = matches!(block[TYPE], 0 | b'0'..=b'7' | b'x' | b'g' | b'L' | b'K');
    if !is_name || !is_kind || !block[MAGIC].starts_with(b"ustar") {
        return None;
    }
    let mut block = *block;
    for field in [MODE, UID, GID, SIZE, MTIME] {
        if fields::read_number(&block[field.clone()]).is_none_or(|number| number < 0) {
            fields::write_octal(&mut block[field], 0);
        }
    }
    block[CHECKSUM].fill(b' ');
    fields::seal(&mut block);
    Some(block)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tar::{Header, Kind, encode};

    fn header() -> [u8; BLOCK] {
        let mut out = Vec::new();
        encode(
            &Header {
                path: b"data/a",
                kind: Kind::File,
                size: 5,
                mode: 0o644,
                mtime: (1, 0),
                link: b"",
                uid: 0,
                gid: 0,
            },
            &mut out,
        );
        let mut block = [0; BLOCK];
        block.copy_from_slice(&out);
        block
    }

    #[test]
    fn a_damaged_header_says_what_it_said() {
        let whole = header();
        assert!(is_header(&whole));
        let mut damaged = whole;
        damaged[CHECKSUM.start] ^= 1;
        assert!(!is_header(&damaged));
        assert_eq!(repaired_header(&damaged), Some(whole));
    }

    #[test]
    fn a_size_that_is_no_number_becomes_zero() {
        let mut damaged = header();
        damaged[SIZE].copy_from_slice(b"sixty kilob\0");
        let repaired_header = repaired_header(&damaged);
        assert!(repaired_header.is_some_and(|block| is_header(&block) && fields::read_number(&block[SIZE]) == Some(0)));
    }

    #[test]
    fn content_is_no_header() {
        assert_eq!(repaired_header(&[0; BLOCK]), None);
        assert_eq!(repaired_header(&[0x55; BLOCK]), None);
        assert!(!is_header(&[0; BLOCK]));
    }
}
