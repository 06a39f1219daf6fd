//! Records which page points to which in one byte per page: for large databases, and while an image is made.
//!
//! A sound database uses each page exactly once. So for each page it is enough to know what it looks like and what kind
//! of page points to it; `graph` also records which page that is. Pages on the free list may still point anywhere. If
//! the list is known in advance, they are skipped. Otherwise pointers are judged only if the free pages turn out to be
//! blank, as in every image of this crate.

#![expect(clippy::cast_possible_truncation, reason = "pages are numbered by 32 bits")]

use super::graph::Trunk;
use super::page::{Flaw, Reference, Shape, Tree, inspect};
use super::pointer_map;
use super::problems::Problems;
use crate::header::{HEADER_LEN, Header, be32};
use crate::page_set::PageSet;

/// Databases with more pages are not examined: beyond 2^25 pages the number of a page, with which others begin, can
/// look like the first byte of a b-tree page. 128 GiB of 4096-byte pages.
pub(crate) const MAX_PAGES: u64 = 2 << 24;
/// From here on such a number can begin with 1 as well as 0.
const LONG_NUMBERS: u64 = 1 << 24;
/// Pages remembered because they look like nothing that is in use.
const MAX_FLAWS: usize = 1 << 16;
/// Free pages and trunks remembered where the list is not known beforehand.
const MAX_LISTED: usize = 4 << 20;

/// What a page looks like.
const KIND: u8 = 0b11;
const TABLE: u8 = 1;
const INDEX: u8 = 2;
/// It begins with the number of a page: overflow or trunk.
const LINKED: u8 = 3;
/// … and that number is not zero.
const HAS_NEXT: u8 = 1 << 2;
/// What points to it.
const OF_TABLE: u8 = 1 << 3;
const OF_INDEX: u8 = 1 << 4;
const OF_LINK: u8 = 1 << 5;
const USED: u8 = OF_TABLE | OF_INDEX | OF_LINK;
/// On the list of free pages, and part of that list.
const FREE: u8 = 1 << 6;
const TRUNK: u8 = 1 << 7;

/// What a page was found to be as it passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// A b-tree page whose cells and free blocks account for every byte.
    Tree,
    /// Nothing is wrong with it.
    Other,
    /// With it, the database is damaged.
    Damaged,
}

/// What is noted while the pages of a database pass by in order.
#[derive(Debug)]
pub(crate) struct Marks {
    shape: Shape,
    /// One for each page; the first is unused.
    pages: Vec<u8>,
    /// The list of free pages is known.
    knows_free: bool,
    /// B-tree pages with a flaw, and pages of no kind (`None`).
    flaws: Vec<(u32, Option<Flaw>)>,
    /// Nothing was left out of `flaws`, `trunks` and `listed`.
    is_complete: bool,
    trunks: Vec<Trunk>,
    listed: Vec<u32>,
    /// What pages say of each other.
    problems: Problems,
    /// Overflow pages that rows say they have.
    promised: u64,
    /// References of the page at hand.
    found: Vec<Reference>,
}

impl Marks {
    /// `None` for databases that are too large. `free`: leaves and trunks of the list of free pages, where they are
    /// known.
    pub(crate) fn new(shape: Shape, header: &Header, free: Option<(&PageSet, &PageSet)>) -> Option<Self> {
        let count = u64::from(shape.pages);
        if count == 0 || count > MAX_PAGES {
            return None;
        }
        let mut marks = Self {
            shape,
            pages: vec![0; count as usize + 1],
            knows_free: free.is_some(),
            flaws: Vec::new(),
            is_complete: true,
            trunks: Vec::new(),
            listed: Vec::new(),
            problems: Problems::default(),
            promised: 0,
            found: Vec::new(),
        };
        match free {
            Some((leaves, trunks)) => {
                for (set, mark) in [(leaves, FREE), (trunks, TRUNK)] {
                    let mut next = 1;
                    while let Some(page) = set.next_in(next, count + 1) {
                        marks.pages[page as usize] |= mark;
                        next = page + 1;
                    }
                }
            }
            None if header.first_trunk != 0 => marks.link(1, header.first_trunk),
            None => {}
        }
        Some(marks)
    }

    /// Records the next page; a page after the last one belongs to nothing.
    pub(crate) fn page(&mut self, number: u32, bytes: &[u8]) -> Verdict {
        let Some(mark) = self.pages.get(number as usize).copied() else { return Verdict::Other };
        if mark & FREE != 0 || (self.knows_free && mark & TRUNK != 0) || u64::from(number) == self.shape.lock_page() {
            return Verdict::Other;
        }
        let before = self.problems.count();
        if pointer_map::is_map(number, &self.shape) {
            if let Some(page) = pointer_map::first_flaw(number, bytes, &self.shape, self.shape.pages) {
                self.problems.add(pointer_map::impossible_entry(number, page));
            }
        } else {
            let kind = self.content(number, bytes);
            self.pages[number as usize] |= kind;
            if kind == TABLE || kind == INDEX {
                return if self.problems.count() == before { Verdict::Tree } else { Verdict::Damaged };
            }
            if kind == 0 {
                return Verdict::Damaged;
            }
        }
        if self.problems.count() == before { Verdict::Other } else { Verdict::Damaged }
    }

    /// What it looks like; 0 for nothing that can be in use.
    fn content(&mut self, number: u32, bytes: &[u8]) -> u8 {
        let first = bytes[if number == 1 { HEADER_LEN } else { 0 }];
        let Some(tree) = Tree::of(first) else {
            let is_number = first == 0 || (first == 1 && u64::from(self.shape.pages) >= LONG_NUMBERS);
            if !is_number || number == 1 {
                self.flaw(number, None);
                return 0;
            }
            return self.linked(number, bytes);
        };
        if number == 1 && !tree.table {
            self.problems.add("page 1 is not the schema".to_owned());
        }
        let mut found = std::mem::take(&mut self.found);
        found.clear();
        let result = inspect(bytes, number == 1, tree, &self.shape, |reference| found.push(reference));
        let kind = match result {
            Ok(()) => {
                for reference in &found {
                    self.reference(number, tree, *reference);
                }
                if tree.table { TABLE } else { INDEX }
            }
            Err(flaw) => {
                self.flaw(number, Some(flaw));
                0
            }
        };
        self.found = found;
        kind
    }

    fn linked(&mut self, number: u32, bytes: &[u8]) -> u8 {
        if !self.knows_free {
            self.trunk(number, bytes);
        }
        match be32(bytes, 0) {
            0 => LINKED,
            next => {
                self.link(number, next);
                LINKED | HAS_NEXT
            }
        }
    }

    fn trunk(&mut self, page: u32, bytes: &[u8]) {
        let count = be32(bytes, 4) as usize;
        if count == 0 || count > self.shape.usable / 4 - 2 {
            return;
        }
        let leaves = bytes[8..8 + 4 * count].as_chunks::<4>().0.iter().map(|leaf| u32::from_be_bytes(*leaf));
        if !leaves.clone().all(|leaf| leaf >= 2 && leaf <= self.shape.pages) {
            return;
        }
        if self.listed.len() + self.trunks.len() + count > MAX_LISTED {
            self.is_complete = false;
            return;
        }
        self.trunks.push(Trunk {
            page,
            first_leaf: self.listed.len() as u32,
            leaves: count as u32,
            next: be32(bytes, 0),
        });
        self.listed.extend(leaves);
    }

    fn flaw(&mut self, number: u32, flaw: Option<Flaw>) {
        if self.flaws.len() < MAX_FLAWS {
            self.flaws.push((number, flaw));
        } else {
            self.is_complete = false;
        }
    }

    fn reference(&mut self, owner: u32, tree: Tree, reference: Reference) {
        match reference {
            Reference::Child(child) if child < 2 || child > self.shape.pages || child == owner => {
                self.problems.add(format!("page {owner} points outside the database"));
            }
            Reference::Child(child) => self.claim(owner, child, if tree.table { OF_TABLE } else { OF_INDEX }),
            Reference::Overflow { head, pages } => {
                self.promised += u64::from(pages);
                self.link(owner, head);
            }
        }
    }

    fn link(&mut self, owner: u32, page: u32) {
        if page < 2 || page > self.shape.pages || page == owner {
            self.problems.add(format!("the chain of pages behind page {owner} is broken at page {page}"));
        } else {
            self.claim(owner, page, OF_LINK);
        }
    }

    fn claim(&mut self, owner: u32, page: u32, by: u8) {
        let mark = &mut self.pages[page as usize];
        if *mark & (FREE | TRUNK) != 0 {
            self.problems.add(format!("page {owner} points to page {page}, which is on the list of free pages"));
        } else if *mark & USED != 0 {
            self.problems.add(format!("page {page} is used twice"));
        }
        *mark |= by;
    }

    /// The last page has passed: judges everything.
    pub(crate) fn finish(mut self, header: &Header, problems: &mut Problems) {
        let list = if self.knows_free { Ok(List::Blank) } else { self.read_list(header) };
        let list = match list {
            Ok(list) => list,
            Err(problem) => {
                // Without it nothing else can be judged.
                problems.add(problem);
                return;
            }
        };
        for (page, flaw) in &self.flaws {
            // If the free pages are unknown, only page 1 is certain.
            let in_use = list != List::Unknown && self.pages[*page as usize] & FREE == 0;
            if *page == 1 || in_use {
                problems.add(match flaw {
                    Some(flaw) => format!("page {page} is damaged: {flaw}"),
                    None => format!("page {page} is damaged: it is of no known kind"),
                });
            }
        }
        if list == List::Blank {
            self.judge_use(problems);
        }
    }

    /// Marks the pages of the free list, whose trunks were found on the way.
    fn read_list(&mut self, header: &Header) -> Result<List, String> {
        if !self.is_complete {
            return Ok(List::Unknown);
        }
        let declared = u64::from(header.free_pages);
        let (mut trunk, mut count, mut list) = (header.first_trunk, 0_u64, List::Blank);
        while trunk != 0 {
            let mark = self.pages.get(trunk as usize).copied().unwrap_or(0);
            if mark & KIND != LINKED || mark & (FREE | TRUNK) != 0 {
                return Err(format!("page {trunk} cannot be part of the list of free pages"));
            }
            self.pages[trunk as usize] |= TRUNK;
            count += 1;
            let Ok(found) = self.trunks.binary_search_by_key(&trunk, |known| known.page) else {
                if mark & HAS_NEXT == 0 {
                    break;
                }
                // A trunk that lists nothing was not kept, so the rest of the list is unknown.
                return Ok(List::Unknown);
            };
            let Trunk { first_leaf, leaves, next, .. } = self.trunks[found];
            for leaf in &self.listed[first_leaf as usize..(first_leaf + leaves) as usize] {
                let is_fixed = u64::from(*leaf) == self.shape.lock_page() || pointer_map::is_map(*leaf, &self.shape);
                let mark = &mut self.pages[*leaf as usize];
                if is_fixed || *mark & (FREE | TRUNK) != 0 {
                    return Err(format!("page {leaf} cannot be a free page"));
                }
                if matches!(*mark & KIND, TABLE | INDEX) || *mark & HAS_NEXT != 0 {
                    list = List::Stale;
                }
                *mark |= FREE;
            }
            count += u64::from(leaves);
            trunk = next;
        }
        if count != declared {
            return Err(format!("the header declares {declared} free pages, but the list has {count}"));
        }
        Ok(list)
    }

    /// Is each page what the pages that point to it expect, and does each belong to something?
    fn judge_use(self, problems: &mut Problems) {
        problems.append(self.problems);
        let knows_all = problems.is_empty() && self.is_complete;
        let mut linked = 0_u64;
        for (page, mark) in self.pages.iter().enumerate().skip(2) {
            let (kind, used) = (mark & KIND, mark & USED);
            if mark & FREE != 0 {
                if used != 0 && !self.knows_free {
                    problems.add(format!("page {page} is used, but it is on the list of free pages"));
                }
                continue;
            }
            let expected = [(OF_TABLE, TABLE), (OF_INDEX, INDEX), (OF_LINK, LINKED)];
            let is_other = expected.iter().any(|(by, expected)| used & by != 0 && kind != *expected);
            if is_other && self.flaws.binary_search_by_key(&page, |(flawed, _)| *flawed as usize).is_err() {
                problems.add(format!("page {page} is something else than the pages that point to it say"));
            }
            if kind == LINKED && mark & TRUNK == 0 {
                linked += 1;
                // A page without a pointer to it can only be the root of a b-tree, which the schema names.
                if used == 0 && knows_all {
                    problems.add(format!("page {page} belongs to nothing"));
                }
            }
        }
        if knows_all && problems.is_empty() && linked != self.promised {
            problems.add(format!(
                "the long rows should have {} more pages of their own, but there are {linked}",
                self.promised
            ));
        }
    }
}

/// What is known of the list of free pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum List {
    /// The pages on it are known, and point to nothing.
    Blank,
    /// They are known, but their pointers are among the marks.
    Stale,
    /// The free pages are unknown.
    Unknown,
}
