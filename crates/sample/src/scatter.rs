//! Changes pages of the recorder's database at random: the worst case for whoever stores what differs.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use crate::Error;
use crate::random::Random;

const PAGE: usize = 4096;
const INDEX_LEAF: u8 = 10;
const TABLE_LEAF: u8 = 13;

/// Flips one bit of one row in `share` of all pages of the database in `dir`, evenly spread over its leaf pages. Every
/// page stays a valid one; what the rows say is no longer what Home Assistant wrote. Returns the number of pages.
pub fn scatter(dir: &Path, share: f64) -> Result<u64, Error> {
    let path = dir.join("home-assistant_v2.db");
    let file = OpenOptions::new().read(true).write(true).open(&path).map_err(Error::at(&path))?;
    let pages = file.metadata().map_err(Error::at(&path))?.len() / PAGE as u64;
    let wanted = (pages as f64 * share) as usize;
    let mut random = Random::new(pages);
    let mut changed = std::collections::HashSet::new();
    let mut page = vec![0; PAGE];
    // Enough tries for any database that has rows at all.
    for _ in 0..pages * 4 {
        if changed.len() == wanted {
            break;
        }
        let number = 1 + random.below(pages - 1);
        let at = number * PAGE as u64;
        file.read_exact_at(&mut page, at).map_err(Error::at(&path))?;
        if let Some(last) = last_byte_of_a_row(&page)
            && changed.insert(number)
        {
            file.write_all_at(&[page[last] ^ 1], at + last as u64).map_err(Error::at(&path))?;
        }
    }
    Ok(changed.len() as u64)
}

/// Where the first row of a leaf page ends, if it is short enough to be in the page as a whole.
fn last_byte_of_a_row(page: &[u8]) -> Option<usize> {
    let kind = page[0];
    if !matches!(kind, INDEX_LEAF | TABLE_LEAF) || page[3..5] == [0, 0] || is_of_the_schema(page) {
        return None;
    }
    let mut at = usize::from(u16::from_be_bytes([page[8], page[9]]));
    let (mut length, more) = (usize::from(page[at] & 0x7f), page[at] >= 0x80);
    at += 1;
    if more {
        let low = page[at];
        if low >= 0x80 {
            return None;
        }
        length = length << 7 | usize::from(low);
        at += 1;
    }
    if kind == TABLE_LEAF {
        // The row's number.
        at += page[at..].iter().position(|byte| *byte < 0x80)? + 1;
    }
    // Longer ones may go on elsewhere.
    (length > 0 && length < 450).then_some(at + length - 1).filter(|last| *last < PAGE)
}

/// Without its schema nothing of a database can be read.
fn is_of_the_schema(page: &[u8]) -> bool {
    page.windows(7).any(|bytes| bytes == b"CREATE ")
}
