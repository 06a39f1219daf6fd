//! Finds the pages on the free list: they hold deleted data that no reader uses. Format:
//! <https://www.sqlite.org/fileformat2.html#the_freelist>.

use std::io;

use crate::header::{Header, be32, lock_page};
use crate::page_set::PageSet;

/// The free list of a database.
#[derive(Debug, Default)]
pub(crate) struct FreePages {
    /// Nothing in these pages is used.
    pub(crate) leaves: PageSet,
    /// These list the leaves; what follows the list is not used.
    pub(crate) trunks: PageSet,
}

/// What is known of a free list.
#[derive(Debug)]
pub(crate) enum FreeList {
    Known(FreePages),
    /// It is not what the header promises: a loop, a page outside the file, a page listed twice, a wrong count.
    Broken,
    /// The database has more pages than are tracked.
    TooLong,
}

/// Bytes of a trunk page that mean something: the next trunk, the number of leaves, the leaves. `None` if that is more
/// than the page.
pub(crate) fn trunk_len(page: &[u8]) -> Option<usize> {
    let len = (be32(page, 4) as usize).checked_mul(4)?.checked_add(8)?;
    (len <= page.len()).then_some(len)
}

/// Walks the trunk pages of a database of `pages` pages, which `read` gets.
pub(crate) fn find(
    header: &Header,
    pages: u64,
    mut read: impl FnMut(u32, &mut [u8]) -> io::Result<()>,
) -> io::Result<FreeList> {
    let (Some(mut leaves), Some(mut trunks)) = (PageSet::new(pages), PageSet::new(pages)) else {
        return Ok(FreeList::TooLong);
    };
    let lock = lock_page(header.page_size);
    let usable = |page: u32| page > 1 && u64::from(page) <= pages && u64::from(page) != lock;
    let mut page = vec![0; header.page_size as usize];
    let mut listed = 0_u64;
    let mut trunk = header.first_trunk;
    while trunk != 0 {
        if !usable(trunk) || leaves.contains(trunk) || !trunks.insert(trunk) {
            return Ok(FreeList::Broken);
        }
        listed += 1;
        read(trunk, &mut page)?;
        let Some(len) = trunk_len(&page) else { return Ok(FreeList::Broken) };
        for leaf in page[8..len].as_chunks::<4>().0 {
            let leaf = u32::from_be_bytes(*leaf);
            if !usable(leaf) || trunks.contains(leaf) || !leaves.insert(leaf) {
                return Ok(FreeList::Broken);
            }
            listed += 1;
        }
        trunk = be32(&page, 0);
    }
    Ok(if listed == u64::from(header.free_pages) {
        FreeList::Known(FreePages { leaves, trunks })
    } else {
        FreeList::Broken
    })
}
