//! Pointer-map pages of auto-vacuum databases: their positions and the entries they may hold. Format:
//! <https://www.sqlite.org/fileformat2.html#pointer_map_or_ptrmap_pages>.

use super::page::Shape;
use crate::header::be32;

/// Is page `number` (2 or more) a pointer-map page?
pub(super) fn is_map(number: u32, shape: &Shape) -> bool {
    if !shape.auto_vacuum || number < 2 {
        return false;
    }
    let lock = shape.lock_page();
    let number = u64::from(number);
    let regular = |page: u64| (page - 2).is_multiple_of(shape.usable as u64 / 5 + 1);
    // The map that would be at the lock page is one further.
    number != lock && (regular(number) || (number == lock + 1 && regular(lock)))
}

/// The first page after map `number` whose entry is impossible, among pages up to `last`.
pub(super) fn first_flaw(number: u32, bytes: &[u8], shape: &Shape, last: u32) -> Option<u32> {
    let entries = bytes[..shape.usable / 5 * 5].as_chunks::<5>().0;
    (number + 1..=last).zip(entries).find_map(|(page, entry)| {
        if u64::from(page) == shape.lock_page() || is_map(page, shape) {
            return None;
        }
        let parent = be32(entry, 1);
        // 1 root, 2 free, 3 first overflow, 4 further overflow, 5 inner or leaf page of a b-tree.
        let sound = match entry[0] {
            1 | 2 => parent == 0,
            3..=5 => parent >= 1 && parent <= last.max(number) && parent != page,
            _ => false,
        };
        (!sound).then_some(page)
    })
}

pub(super) fn impossible_entry(map: u32, page: u32) -> String {
    format!("the pointer map in page {map} has an impossible entry for page {page}")
}
