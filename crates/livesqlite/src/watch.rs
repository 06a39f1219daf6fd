//! Checks the pages of an image as they pass: is the database sound, and what of it may become zeros?
//!
//! Unused space is zeroed only in a sound database: whoever repairs a damaged one wants every byte. Damage shows while
//! the pages pass, so nothing is zeroed from that page on. A small database is read completely before its image begins
//! (`snapshot`).

use crate::bounds::page_number;
use crate::check::{self, Marks, Problems, Shape, Verdict};
use crate::free_pages::{FreeList, FreePages, trunk_len};
use crate::header::{Header, lock_page};
use crate::page_slack;

/// What is known of a database before its pages pass, and what they show.
#[derive(Debug)]
pub(crate) struct Watch {
    header: Header,
    shape: Shape,
    free: FreePages,
    clears_slack: bool,
    /// From this page on nothing is zeroed.
    zero_before: u64,
    /// `None`: the pages can't be judged, or have been.
    marks: Option<Box<Marks>>,
    /// The list of free pages is known and the header is sound, so that the pages can be judged.
    can_judge: bool,
    damage: Vec<String>,
}

impl Watch {
    /// `first`: page 1 of a database with `pages` pages.
    pub(crate) fn new(first: &[u8], header: Header, pages: u64, list: FreeList, zero_unused: bool) -> Self {
        let mut problems = Problems::default();
        let shape =
            Shape { pages: u32::try_from(pages).unwrap_or(u32::MAX), ..check::shape(first, &header, &mut problems) };
        let free = match list {
            FreeList::Known(free) => Some(free),
            FreeList::Broken => {
                problems.add("the list of free pages is broken".to_owned());
                None
            }
            FreeList::TooLong => None,
        };
        let can_judge = free.is_some() && problems.is_empty();
        let mut watch = Self {
            header,
            shape,
            free: free.unwrap_or_default(),
            clears_slack: page_slack::is_certain(first, pages),
            zero_before: if zero_unused && problems.is_empty() { u64::MAX } else { 0 },
            marks: None,
            can_judge,
            damage: problems.into_list(),
        };
        watch.begin();
        watch
    }

    /// The next page will be the first.
    pub(crate) fn begin(&mut self) {
        if self.can_judge {
            let free = (&self.free.leaves, &self.free.trunks);
            self.marks = Marks::new(self.shape, &self.header, Some(free)).map(Box::new);
        }
    }

    /// The next page, as it is in the database. Afterwards it is as it will be in the image.
    pub(crate) fn pass(&mut self, page: u64, bytes: &mut [u8]) {
        let number = page_number(page);
        let zeroes = page < self.zero_before;
        // SQLite never writes the lock page, and whatever a file holds there means nothing.
        if page == lock_page(self.header.page_size) || (zeroes && self.free.leaves.contains(number)) {
            bytes.fill(0);
            return;
        }
        let verdict = self.marks.as_mut().map_or(Verdict::Other, |marks| marks.page(number, bytes));
        match verdict {
            Verdict::Damaged => self.zero_before = self.zero_before.min(page),
            Verdict::Tree if zeroes && self.clears_slack => page_slack::clear(bytes, page == 1),
            Verdict::Other if zeroes && self.free.trunks.contains(number) => {
                // The bytes after `usable` belong to an extension, such as a checksum of the page.
                if let Some(len) = trunk_len(bytes).filter(|len| *len <= self.shape.usable) {
                    bytes[len..self.shape.usable].fill(0);
                }
            }
            Verdict::Tree | Verdict::Other => {}
        }
    }

    /// Are these pages zeros in the image, whatever is in them?
    pub(crate) fn are_zeros(&self, first: u64, end: u64) -> bool {
        end <= self.zero_before && (first..end).all(|page| self.free.leaves.contains(page_number(page)))
    }

    /// The last page has passed.
    pub(crate) fn end(&mut self) {
        let Some(marks) = self.marks.take() else { return };
        let mut problems = Problems::default();
        marks.finish(&self.header, &mut problems);
        self.damage = problems.into_list();
    }

    /// From now on nothing is zeroed.
    pub(crate) fn keep_all(&mut self) {
        self.zero_before = 0;
    }

    /// What can't be in a sound database; complete when the last page has passed.
    pub(crate) fn damage(&self) -> &[String] {
        &self.damage
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::header::MAGIC;
    use crate::page_set::PageSet;

    /// The first page of a database whose pages have `reserved` bytes at their end.
    fn first_page(pages: u32, reserved: u8) -> Vec<u8> {
        let mut page = vec![0; 512];
        page[..16].copy_from_slice(MAGIC);
        page[16..24].copy_from_slice(&[2, 0, 1, 1, reserved, 64, 32, 32]);
        page[28..32].copy_from_slice(&pages.to_be_bytes());
        page[47] = 4;
        page[59] = 1;
        page[HEADER_LEN] = 13;
        page[HEADER_LEN + 5..HEADER_LEN + 7].copy_from_slice(&(512 - u16::from(reserved)).to_be_bytes());
        page
    }

    const HEADER_LEN: usize = crate::header::HEADER_LEN;

    fn watch(first: &[u8], pages: u64, free: FreePages) -> Watch {
        Watch::new(first, Header::parse(first).unwrap(), pages, FreeList::Known(free), true)
    }

    fn set(pages: u64, members: &[u32]) -> PageSet {
        let mut set = PageSet::new(pages).unwrap();
        for page in members {
            assert!(set.insert(*page));
        }
        set
    }

    #[test]
    fn the_end_of_a_trunk_page_becomes_zeros_but_not_its_reserved_bytes() {
        for reserved in [0, 8, 32] {
            let first = first_page(3, reserved);
            let mut watch = watch(&first, 3, FreePages { leaves: set(3, &[3]), trunks: set(3, &[2]) });
            watch.pass(1, &mut first.clone());
            let mut trunk = vec![0xee; 512];
            trunk[..12].copy_from_slice(&[0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 3]);
            watch.pass(2, &mut trunk);
            let usable = 512 - usize::from(reserved);
            assert_eq!(trunk[8..12], [0, 0, 0, 3]);
            assert!(
                trunk[12..usable].iter().all(|byte| *byte == 0) && trunk[usable..].iter().all(|byte| *byte == 0xee),
                "{reserved}"
            );
            watch.pass(3, &mut vec![0xee; 512]);
            watch.end();
            assert_eq!(watch.damage(), Vec::<String>::new());
        }
    }

    #[test]
    fn nothing_is_zeroed_from_the_page_on_with_which_damage_shows() {
        let first = first_page(5, 0);
        let mut watch = watch(&first, 5, FreePages { leaves: set(5, &[2, 4, 5]), trunks: set(5, &[]) });
        let mut pages = [first, vec![0xee; 512], vec![0xee; 512], vec![0xee; 512], vec![0xee; 512]];
        for again in [false, true] {
            let mut image = pages.clone();
            for (number, page) in (1..).zip(&mut image) {
                watch.pass(number, page);
            }
            assert!(!again || image == pages);
            assert_eq!(image[1], [0; 512]);
            assert!(image[2..].iter().flatten().all(|byte| *byte == 0xee));
            watch.end();
            assert_eq!(watch.damage(), ["page 3 is damaged: it is of no known kind"]);
            // The second time it is the same image.
            pages = image;
            watch.begin();
        }
        assert!(watch.are_zeros(2, 3) && !watch.are_zeros(4, 5));
    }

    #[test]
    fn a_free_page_that_is_in_use_keeps_its_bytes_and_is_reported() {
        let mut first = first_page(3, 0);
        // The schema is an inner page with one child: page 3.
        first[HEADER_LEN..HEADER_LEN + 12].copy_from_slice(&[5, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 3]);
        let mut watch = watch(&first, 3, FreePages { leaves: set(3, &[3]), trunks: set(3, &[2]) });
        watch.pass(1, &mut first);
        watch.pass(2, &mut vec![0; 512]);
        let mut page = vec![0xee; 512];
        watch.pass(3, &mut page);
        assert_eq!(page, [0xee; 512]);
        watch.end();
        assert_eq!(watch.damage(), ["page 1 points to page 3, which is on the list of free pages"]);
    }

    #[test]
    fn a_broken_list_or_header_is_damage_and_keeps_everything() {
        let first = first_page(2, 0);
        let mut broken = Watch::new(&first, Header::parse(&first).unwrap(), 2, FreeList::Broken, true);
        let mut odd = first.clone();
        odd[18] = 9;
        let mut impossible = watch(&odd, 2, FreePages { leaves: set(2, &[2]), trunks: set(2, &[]) });
        for watch in [&mut broken, &mut impossible] {
            let mut page = vec![0xee; 512];
            watch.pass(2, &mut page);
            watch.end();
            assert_eq!(page, [0xee; 512]);
            assert_eq!(watch.damage().len(), 1);
        }
    }

    #[test]
    fn any_bytes_are_taken() {
        let mut seed = 1_u64;
        let first = first_page(20_001, 0);
        let mut watch = watch(&first, 20_001, FreePages::default());
        for number in 1..20_002 {
            let mut page: Vec<u8> = (0..512)
                .map(|_| {
                    seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    (seed >> 56) as u8
                })
                .collect();
            page[0] = [2, 5, 10, 13][page[0] as usize % 4];
            page[3] = 0;
            watch.pass(number, &mut page);
        }
        watch.end();
        assert!(watch.damage().len() > 20);
    }
}
