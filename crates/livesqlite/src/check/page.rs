//! Checks one b-tree page: header, cell pointers, cells, free blocks. Format:
//! <https://www.sqlite.org/fileformat2.html#b_tree_pages>; bytes are accounted for as in `integrity_check`.

use crate::header::{HEADER_LEN, be16, be32, lock_page};

/// What all pages of one database have in common.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) size: usize,
    /// `size` less the reserved bytes at each page's end.
    pub(crate) usable: usize,
    /// Pages in the database, once that is known.
    pub(crate) pages: u32,
    pub(crate) auto_vacuum: bool,
}

impl Shape {
    pub(super) fn lock_page(&self) -> u64 {
        #[expect(clippy::cast_possible_truncation, reason = "a page has at most 64 KiB")]
        let size = self.size as u32;
        lock_page(size)
    }
}

/// The four kinds of b-tree pages by their first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tree {
    pub(super) leaf: bool,
    pub(super) table: bool,
}

impl Tree {
    pub(super) fn of(first_byte: u8) -> Option<Self> {
        match first_byte {
            2 => Some(Self { leaf: false, table: false }),
            5 => Some(Self { leaf: false, table: true }),
            10 => Some(Self { leaf: true, table: false }),
            13 => Some(Self { leaf: true, table: true }),
            _ => None,
        }
    }
}

/// A page number found in a b-tree page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reference {
    Child(u32),
    /// A row too long for its page continues in a chain of `pages` pages.
    Overflow {
        head: u32,
        pages: u32,
    },
}

/// Why a page cannot be a b-tree page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Flaw {
    #[error("its list of cells does not fit")]
    CellList,
    #[error("a cell lies outside its bounds")]
    Cell,
    #[error("its rows are out of order")]
    Order,
    #[error("its list of free space is broken")]
    FreeBlocks,
    #[error("its bytes do not add up")]
    Accounting,
}

/// Checks a b-tree page and reports every page number in it, those before the flaw included.
pub(super) fn inspect(
    bytes: &[u8],
    is_first: bool,
    tree: Tree,
    shape: &Shape,
    mut found: impl FnMut(Reference),
) -> Result<(), Flaw> {
    let at = if is_first { HEADER_LEN } else { 0 };
    let usable = shape.usable;
    let bytes = &bytes[..usable];
    let cells = usize::from(be16(bytes, at + 3));
    let content = match usize::from(be16(bytes, at + 5)) {
        0 => 65_536,
        start => start,
    };
    let list = at + if tree.leaf { 8 } else { 12 };
    let list_end = list + 2 * cells;
    if content > usable || list_end > content {
        return Err(Flaw::CellList);
    }
    if !tree.leaf {
        found(Reference::Child(be32(bytes, at + 8)));
    }
    let mut used = usize::from(bytes[at + 7]);
    let mut last_row = None;
    for pointer in bytes[list..list_end].as_chunks::<2>().0 {
        let start = usize::from(u16::from_be_bytes(*pointer));
        if start < content {
            return Err(Flaw::Cell);
        }
        let (size, row) = cell(bytes, start, tree, &mut found).ok_or(Flaw::Cell)?;
        used += size;
        if tree.table {
            if last_row.is_some_and(|last| row <= last) {
                return Err(Flaw::Order);
            }
            last_row = Some(row);
        }
    }
    used += free_blocks(bytes, usize::from(be16(bytes, at + 1)), content)?;
    if used == usable - content { Ok(()) } else { Err(Flaw::Accounting) }
}

/// Size of the cell at `start` in this page, and its row id in a table.
#[expect(clippy::cast_possible_truncation, reason = "a page has at most 64 KiB")]
fn cell(page: &[u8], start: usize, tree: Tree, found: &mut impl FnMut(Reference)) -> Option<(usize, i64)> {
    let mut at = start;
    if !tree.leaf {
        let child = page.get(at..at + 4)?;
        found(Reference::Child(be32(child, 0)));
        at += 4;
    }
    let mut row = 0;
    let mut local = 0;
    if tree.leaf || !tree.table {
        let payload = varint(page, &mut at)?;
        if tree.table {
            row = varint(page, &mut at)?;
        }
        let payload = u32::try_from(payload).ok()?;
        let (kept, overflow) = split(payload, page.len() as u32, tree.table)?;
        local = kept as usize;
        if overflow > 0 {
            let head = page.get(at + local..at + local + 4)?;
            found(Reference::Overflow { head: be32(head, 0), pages: overflow });
            local += 4;
        }
    } else {
        row = varint(page, &mut at)?;
    }
    let size = (at + local - start).max(4);
    (start + size <= page.len()).then_some((size, row))
}

/// Bytes of a payload kept in the page, and the number of overflow pages for the rest.
pub(super) fn split(payload: u32, usable: u32, table_leaf: bool) -> Option<(u32, u32)> {
    let least = (usable - 12) * 32 / 255 - 23;
    let most = if table_leaf { usable - 35 } else { (usable - 12) * 64 / 255 - 23 };
    if payload <= most {
        return Some((payload, 0));
    }
    if payload > i32::MAX as u32 {
        return None;
    }
    let fitting = least + (payload - least) % (usable - 4);
    let kept = if fitting <= most { fitting } else { least };
    Some((kept, (payload - kept).div_ceil(usable - 4)))
}

/// Total size of the free blocks, which are sorted and never adjacent.
fn free_blocks(page: &[u8], first: usize, content: usize) -> Result<usize, Flaw> {
    let (mut at, mut least, mut total) = (first, content, 0);
    while at != 0 {
        if at < least || at + 4 > page.len() {
            return Err(Flaw::FreeBlocks);
        }
        let size = usize::from(be16(page, at + 2));
        if size < 4 || at + size > page.len() {
            return Err(Flaw::FreeBlocks);
        }
        total += size;
        least = at + size + 4;
        at = usize::from(be16(page, at));
    }
    Ok(total)
}

/// SQLite's variable-length integer: seven bits per byte, the ninth byte whole.
pub(super) fn varint(page: &[u8], at: &mut usize) -> Option<i64> {
    let mut value = 0_i64;
    for step in 0..9 {
        let byte = *page.get(*at)?;
        *at += 1;
        if step == 8 {
            return Some(value << 8 | i64::from(byte));
        }
        value = value << 7 | i64::from(byte & 0x7f);
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    const SHAPE: Shape = Shape { size: 512, usable: 512, pages: 0, auto_vacuum: false };

    fn inspect_all(page: &[u8]) -> Option<(Result<(), Flaw>, Vec<Reference>)> {
        let mut found = Vec::new();
        let tree = Tree::of(page[0])?;
        let result = inspect(page, false, tree, &SHAPE, |reference| found.push(reference));
        Some((result, found))
    }

    /// A table leaf with two small rows, 1 and 2, at the page's end.
    fn leaf() -> Vec<u8> {
        let mut page = vec![0; 512];
        page[..12].copy_from_slice(&[13, 0, 0, 0, 2, 1, 244, 0, 1, 250, 1, 244]);
        page[506..].copy_from_slice(&[4, 1, 2, 3, 4, 5]);
        page[500..506].copy_from_slice(&[4, 2, 2, 3, 4, 5]);
        page
    }

    #[test]
    fn a_sound_leaf_is_accepted() {
        assert_eq!(inspect_all(&leaf()), Some((Ok(()), vec![])));
    }

    #[test]
    fn each_kind_of_damage_is_distinguished() {
        let flawed = |at: usize, value: u8| {
            let mut page = leaf();
            page[at] = value;
            inspect_all(&page).unwrap().0
        };
        assert_eq!(flawed(3, 200), Err(Flaw::CellList));
        assert_eq!(flawed(9, 255), Err(Flaw::Cell));
        assert_eq!(flawed(501, 1), Err(Flaw::Order));
        assert_eq!(flawed(507, 3), Err(Flaw::Order));
        assert_eq!(flawed(2, 100), Err(Flaw::FreeBlocks));
        assert_eq!(flawed(7, 1), Err(Flaw::Accounting));
        assert_eq!(flawed(500, 3), Err(Flaw::Accounting));
    }

    #[test]
    fn varints_have_at_most_nine_bytes() {
        let mut at = 0;
        assert_eq!(varint(&[0x81, 0x00], &mut at), Some(128));
        assert_eq!(at, 2);
        assert_eq!(varint(&[0xff; 9], &mut 0), Some(-1));
        assert_eq!(varint(&[0xff; 8], &mut 0), None);
    }

    #[test]
    fn long_payloads_are_split_as_the_format_says() {
        assert_eq!(split(477, 512, true), Some((477, 0)));
        assert_eq!(split(478, 512, true), Some((39, 1)));
        assert_eq!(split(100_000, 4096, true), Some((1792, 24)));
        assert_eq!(split(u32::MAX, 4096, true), None);
    }

    proptest! {
        #[test]
        fn no_page_makes_it_panic(mut page in prop::collection::vec(any::<u8>(), 512), kind in 0_usize..4) {
            page[0] = [2, 5, 10, 13][kind];
            page[3] = 0;
            prop_assert!(inspect_all(&page).is_some());
        }
    }
}
