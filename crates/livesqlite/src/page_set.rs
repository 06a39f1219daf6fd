//! A set of page numbers, one bit each. Page numbers count from 1, as SQLite's do.

/// More pages than this are not tracked: 64 Mi bits are 8 MiB of memory, and 256 GiB of 4 KiB pages.
pub(crate) const MAX_PAGES: u64 = 64 << 20;

/// A set of the page numbers `1..=pages`.
#[derive(Clone, Debug, Default)]
pub(crate) struct PageSet {
    words: Vec<u64>,
}

impl PageSet {
    /// An empty set that can hold `1..=pages`; above [`MAX_PAGES`] there is none.
    #[expect(clippy::cast_possible_truncation, reason = "at most `MAX_PAGES`")]
    pub(crate) fn new(pages: u64) -> Option<Self> {
        (pages <= MAX_PAGES).then(|| Self { words: vec![0; (pages as usize + 1).div_ceil(64)] })
    }

    /// Adds a page and says whether it was new. A page outside the set's bounds is not added, and not new.
    pub(crate) fn insert(&mut self, page: u32) -> bool {
        let (word, bit) = (page as usize / 64, 1_u64 << (page % 64));
        match self.words.get_mut(word) {
            Some(w) if *w & bit == 0 => {
                *w |= bit;
                true
            }
            _ => false,
        }
    }

    /// Is the page in the set?
    pub(crate) fn contains(&self, page: u32) -> bool {
        self.words.get(page as usize / 64).is_some_and(|w| w & (1 << (page % 64)) != 0)
    }

    /// The first member in `from..end`.
    pub(crate) fn next_in(&self, from: u64, end: u64) -> Option<u64> {
        let mut word = (from / 64) as usize;
        let mut bits = self.words.get(word)? & (u64::MAX << (from % 64));
        loop {
            if bits != 0 {
                let page = word as u64 * 64 + u64::from(bits.trailing_zeros());
                return (page < end).then_some(page);
            }
            word += 1;
            if word as u64 * 64 >= end {
                return None;
            }
            bits = *self.words.get(word)?;
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn members_are_found_in_order_and_only_within_the_range() {
        let mut set = PageSet::new(1000).unwrap();
        for page in [1, 63, 64, 65, 640, 1000] {
            assert!(set.insert(page));
            assert!(!set.insert(page));
        }
        assert!(!set.insert(5000));
        assert_eq!(set.next_in(1, 1001), Some(1));
        assert_eq!(set.next_in(2, 63), None);
        assert_eq!(set.next_in(2, 64), Some(63));
        assert_eq!(set.next_in(66, 2000), Some(640));
        assert_eq!(set.next_in(641, 1000), None);
        assert_eq!(set.next_in(641, u64::MAX), Some(1000));
        assert!(set.contains(64) && !set.contains(66) && !set.contains(u32::MAX));
    }

    #[test]
    fn too_many_pages_are_refused_instead_of_allocated() {
        assert!(PageSet::new(MAX_PAGES + 1).is_none());
    }
}
