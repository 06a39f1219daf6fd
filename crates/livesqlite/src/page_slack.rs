//! Finds unused space inside b-tree pages: remains of rows and index entries that were deleted or moved to another
//! page.
//!
//! No reader uses it, but it is archived: on a recorder database the gaps alone are 5 % of the file and, being remains,
//! compress badly (2.6 % of the compressed size). Format: <https://www.sqlite.org/fileformat2.html#b_tree_pages>.

use crate::header::{HEADER_LEN, be16, be32};

/// The offset of the largest root page for a pointer map; not zero means auto-vacuum.
const AUTO_VACUUM: usize = 52;
/// Bytes at the end of each page that belong to an extension, such as a checksum of the page.
const RESERVED: usize = 20;
/// From this many pages on, the number of the next page, which overflow and trunk pages begin with, can look like a
/// b-tree page's type.
const FIRST_AMBIGUOUS: u64 = 2 << 24;

/// Can a b-tree page of this database be recognised by its first byte? Not with pointer maps, nor in files of more than
/// 2^25 pages. Pages with reserved bytes stay unchanged too: a checksum there would cover the gaps.
pub(crate) fn is_certain(first_page: &[u8], pages: u64) -> bool {
    pages < FIRST_AMBIGUOUS && first_page[RESERVED] == 0 && be32(first_page, AUTO_VACUUM) == 0
}

/// Zeros the unused space of `page`, which was found to be a sound b-tree page
/// ([`Verdict::Tree`](crate::check::Verdict)); `is_first` for the page with the database header in front.
pub(crate) fn clear(page: &mut [u8], is_first: bool) {
    let header = if is_first { HEADER_LEN } else { 0 };
    let pointers = header + if matches!(page[header], 2 | 5) { 12 } else { 8 };
    let gap = pointers + 2 * be16(page, header + 3) as usize;
    // Zero means 65536, which does not fit into 16 bits.
    let content = match be16(page, header + 5) {
        0 => 65_536,
        start => start as usize,
    };
    page[gap..content].fill(0);
    // The free blocks between cells; each begins with the position of the next and its own size.
    let mut block = be16(page, header + 1) as usize;
    while block != 0 {
        let (next, len) = (be16(page, block) as usize, be16(page, block + 2) as usize);
        page[block + 4..block + len].fill(0);
        block = next;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A leaf page of 512 bytes with two cells, a gap of remains and one freeblock.
    fn leaf() -> Vec<u8> {
        let mut page = vec![0xEE; 512];
        page[0] = 13;
        page[1..3].copy_from_slice(&440_u16.to_be_bytes());
        page[3..5].copy_from_slice(&2_u16.to_be_bytes());
        page[5..7].copy_from_slice(&400_u16.to_be_bytes());
        page[8..10].copy_from_slice(&400_u16.to_be_bytes());
        page[10..12].copy_from_slice(&480_u16.to_be_bytes());
        page[7] = 10;
        page[400..402].copy_from_slice(&[38, 1]);
        page[480..482].copy_from_slice(&[30, 2]);
        page[440..442].copy_from_slice(&0_u16.to_be_bytes());
        page[442..444].copy_from_slice(&30_u16.to_be_bytes());
        page
    }

    #[test]
    fn the_gap_and_the_freeblock_become_zeros_and_nothing_else() {
        let before = leaf();
        let mut after = before.clone();
        clear(&mut after, false);
        for (at, (was, is)) in before.iter().zip(&after).enumerate() {
            let unused = (12..400).contains(&at) || (444..470).contains(&at);
            assert_eq!(*is, if unused { 0 } else { *was }, "at {at}");
        }
    }
}
