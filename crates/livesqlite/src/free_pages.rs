//! Which pages are leaves of the free list: their content is deleted data that no reader ever looks at.
//! Format: <https://www.sqlite.org/fileformat2.html#the_freelist>.

use std::io;

use crate::header::{Header, be32, lock_page};
use crate::image::Image;
use crate::page_set::PageSet;

/// Walks the trunk pages of the image and returns the leaves. `None` when the list is not exactly what the header
/// promises (a loop, a page outside the file, a page listed twice, a wrong count): such a file is left as it is.
pub(crate) fn leaves(image: &mut Image, header: &Header) -> io::Result<Option<PageSet>> {
    let pages = image.pages();
    let Some(mut seen) = PageSet::new(pages) else { return Ok(None) };
    let Some(mut leaves) = PageSet::new(pages) else { return Ok(None) };
    let size = image.page_size() as usize;
    let lock = lock_page(image.page_size());
    let usable = |page: u32| page > 1 && u64::from(page) <= pages && u64::from(page) != lock;
    let mut page = vec![0; size];
    let mut listed = 0_u64;
    let mut trunk = header.first_trunk;
    while trunk != 0 {
        if !usable(trunk) || !seen.insert(trunk) {
            return Ok(None);
        }
        listed += 1;
        image.read_page(trunk, &mut page)?;
        let count = be32(&page, 4) as usize;
        if count > size / 4 - 2 {
            return Ok(None);
        }
        for slot in 0..count {
            let leaf = be32(&page, 8 + slot * 4);
            if !usable(leaf) || !seen.insert(leaf) {
                return Ok(None);
            }
            leaves.insert(leaf);
        }
        listed += count as u64;
        trunk = be32(&page, 0);
    }
    Ok((listed == u64::from(header.free_pages)).then_some(leaves))
}
