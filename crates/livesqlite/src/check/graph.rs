//! Records which page points to which, and judges whether that makes a database.
//!
//! A pass sees a page before it knows who uses it. But what a page *can* be is certain: below 2^24 pages, an overflow
//! page or a trunk of the free list begins with a page number and so with a zero byte, a b-tree page with 2, 5, 10 or
//! 13, and pointer maps and the lock page have fixed positions. Only leaves of the free list may hold anything, such as
//! stale b-tree pages, and which pages those are is known at the end. So every finding is kept until then with its
//! page, and findings in free pages are dropped.

#![expect(
    clippy::cast_possible_truncation,
    reason = "a graph has at most `MAX_PAGES` pages, and as many leaves and links"
)]

use super::page::{Flaw, Reference, Shape, Tree, inspect};
use super::pointer_map;
use super::problems::Problems;
use crate::header::{Header, be32};
use crate::page_set::PageSet;

/// Databases with more pages are not tracked.
pub(super) const MAX_PAGES: u64 = 2 << 20;
/// Entries kept in each list; when one is full, checks that need all of it are left out.
const MAX_LIST: usize = 1 << 18;

/// What a page can be, judged by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Tree(Tree),
    /// A b-tree page with a flaw; a free page at best.
    Flawed(Flaw),
    /// Overflow, trunk or free.
    Linked,
    Map,
    Lock,
    /// A free page at best.
    Unknown,
}

/// A row's overflow chain as its b-tree page describes it.
#[derive(Clone, Copy, Debug)]
struct Chain {
    owner: u32,
    head: u32,
    pages: u32,
}

/// A page that has the form of a free-list trunk with leaves. Overflow pages may have it by accident.
#[derive(Clone, Copy, Debug)]
pub(super) struct Trunk {
    pub(super) page: u32,
    pub(super) first_leaf: u32,
    pub(super) leaves: u32,
    pub(super) next: u32,
}

/// Everything noted while the pages pass by. Index 0 of the vectors is page 1.
#[derive(Debug)]
pub(super) struct Graph {
    shape: Shape,
    kinds: Vec<Kind>,
    /// The first four bytes: for overflow pages and trunks the next page.
    links: Vec<u32>,
    /// The b-tree page that claims this page as its child; 0 for none. Grows to the highest child seen.
    parents: Vec<u32>,
    /// Further claims, `(child, parent)`.
    rivals: Vec<(u32, u32)>,
    chains: Vec<Chain>,
    trunks: Vec<Trunk>,
    trunk_leaves: Vec<u32>,
    /// Pages whose pointer map is impossible at `.1`; judged when the number of pages is known.
    maps: Vec<(u32, u32)>,
    outside: Vec<u32>,
    /// No trunk was left out, so it is certain what is free.
    all_trunks: bool,
    /// No chain was left out, so it is certain what is overflow.
    all_chains: bool,
}

// The memory stated in the parent module: 2 + 4 + 4 bytes per page.
const _: () = assert!(size_of::<Kind>() == 2);

impl Graph {
    pub(super) fn new(shape: Shape) -> Self {
        Self {
            shape,
            kinds: Vec::new(),
            links: Vec::new(),
            parents: Vec::new(),
            rivals: Vec::new(),
            chains: Vec::new(),
            trunks: Vec::new(),
            trunk_leaves: Vec::new(),
            maps: Vec::new(),
            outside: Vec::new(),
            all_trunks: true,
            all_chains: true,
        }
    }

    /// Notes the next page.
    pub(super) fn page(&mut self, number: u32, bytes: &[u8]) {
        let kind = if u64::from(number) == self.shape.lock_page() {
            Kind::Lock
        } else if pointer_map::is_map(number, &self.shape) {
            self.map(number, bytes);
            Kind::Map
        } else {
            self.content(number, bytes)
        };
        self.kinds.push(kind);
        self.links.push(if kind == Kind::Linked { be32(bytes, 0) } else { 0 });
    }

    fn content(&mut self, number: u32, bytes: &[u8]) -> Kind {
        let first = bytes[if number == 1 { 100 } else { 0 }];
        if let Some(tree) = Tree::of(first) {
            let shape = self.shape;
            return match inspect(bytes, number == 1, tree, &shape, |reference| self.reference(number, reference)) {
                Ok(()) => Kind::Tree(tree),
                Err(flaw) => Kind::Flawed(flaw),
            };
        }
        if first != 0 || number == 1 {
            return Kind::Unknown;
        }
        self.trunk(number, bytes);
        Kind::Linked
    }

    fn reference(&mut self, owner: u32, reference: Reference) {
        match reference {
            Reference::Child(child) if child < 2 || u64::from(child) > MAX_PAGES || child == owner => {
                push(&mut self.outside, owner);
            }
            Reference::Child(child) => {
                let index = child as usize - 1;
                if self.parents.len() <= index {
                    self.parents.resize(index + 1, 0);
                }
                if self.parents[index] == 0 {
                    self.parents[index] = owner;
                } else {
                    push(&mut self.rivals, (child, owner));
                }
            }
            Reference::Overflow { head, pages } => {
                self.all_chains &= push(&mut self.chains, Chain { owner, head, pages });
            }
        }
    }

    fn trunk(&mut self, page: u32, bytes: &[u8]) {
        let count = be32(bytes, 4) as usize;
        if count == 0 || count > self.shape.usable / 4 - 2 {
            return;
        }
        let leaves = bytes[8..8 + 4 * count].as_chunks::<4>().0;
        let in_bounds = |leaf: u32| leaf >= 2 && u64::from(leaf) <= MAX_PAGES;
        if !leaves.iter().all(|leaf| in_bounds(u32::from_be_bytes(*leaf))) {
            return;
        }
        if self.trunk_leaves.len() + count > MAX_PAGES as usize {
            self.all_trunks = false;
            return;
        }
        let first_leaf = self.trunk_leaves.len() as u32;
        self.trunk_leaves.extend(leaves.iter().map(|leaf| u32::from_be_bytes(*leaf)));
        self.all_trunks &=
            push(&mut self.trunks, Trunk { page, first_leaf, leaves: count as u32, next: be32(bytes, 0) });
    }

    fn map(&mut self, number: u32, bytes: &[u8]) {
        // A map may have entries for pages that no longer exist, so only the first flaw matters: if that page exists,
        // the map is wrong, and if not, neither do those after it.
        if let Some(page) = pointer_map::first_flaw(number, bytes, &self.shape, MAX_PAGES as u32) {
            push(&mut self.maps, (number, page));
        }
    }

    /// The stream has ended: judges everything.
    pub(super) fn finish(mut self, header: &Header, problems: &mut Problems) {
        self.shape.pages = self.kinds.len() as u32;
        let Some(mut used) = PageSet::new(u64::from(self.shape.pages)) else { return };
        used.insert(1);
        let free = match self.free_leaves(header, &mut used) {
            Ok(free) => free,
            Err(problem) => {
                // Without it nothing else can be judged.
                problems.add(problem);
                return;
            }
        };
        let free = free.as_ref();
        self.judge_pages(free, problems);
        self.judge_children(free, &mut used, problems);
        self.judge_chains(free, &mut used, problems);
        if problems.is_empty() && free.is_some() && self.all_chains {
            self.judge_unused(&used, problems);
        }
    }

    fn kind(&self, page: u32) -> Option<Kind> {
        self.kinds.get((page as usize).checked_sub(1)?).copied()
    }

    /// Follows the trunks from the header. `None` if the lists overflowed and the free pages are unknown.
    fn free_leaves(&self, header: &Header, used: &mut PageSet) -> Result<Option<PageSet>, String> {
        let Some(mut free) = PageSet::new(u64::from(self.shape.pages)) else { return Ok(None) };
        if !self.all_trunks {
            return Ok(None);
        }
        let (mut trunk, mut listed) = (header.first_trunk, 0_u64);
        while trunk != 0 {
            if self.kind(trunk) != Some(Kind::Linked) || !used.insert(trunk) {
                return Err(format!("page {trunk} cannot be part of the list of free pages"));
            }
            listed += 1;
            if let Ok(found) = self.trunks.binary_search_by_key(&trunk, |known| known.page) {
                let Trunk { first_leaf, leaves, .. } = self.trunks[found];
                for leaf in &self.trunk_leaves[first_leaf as usize..(first_leaf + leaves) as usize] {
                    let may_be = self.kind(*leaf).is_some_and(|kind| !matches!(kind, Kind::Map | Kind::Lock));
                    if !may_be || !used.insert(*leaf) {
                        return Err(format!("page {leaf} cannot be a free page"));
                    }
                    free.insert(*leaf);
                }
                listed += u64::from(leaves);
            }
            trunk = self.links[trunk as usize - 1];
        }
        let declared = u64::from(header.free_pages);
        if listed != declared {
            return Err(format!("the header declares {declared} free pages, but the list has {listed}"));
        }
        Ok(Some(free))
    }

    /// Pages that only a free page can look like. If the free pages are unknown, only page 1 is certain.
    fn judge_pages(&self, free: Option<&PageSet>, problems: &mut Problems) {
        let is_used = |page: u32| page == 1 || free.is_some_and(|free| !free.contains(page));
        for (index, kind) in self.kinds.iter().enumerate() {
            let page = index as u32 + 1;
            match kind {
                Kind::Flawed(flaw) if is_used(page) => problems.add(format!("page {page} is damaged: {flaw}")),
                Kind::Unknown if is_used(page) => {
                    problems.add(format!("page {page} is damaged: it is of no known kind"));
                }
                Kind::Tree(tree) if page == 1 && !tree.table => problems.add("page 1 is not the schema".to_owned()),
                _ => {}
            }
        }
        for owner in &self.outside {
            if is_used(*owner) {
                problems.add(format!("page {owner} points outside the database"));
            }
        }
        for (map, page) in &self.maps {
            if *page <= self.shape.pages {
                problems.add(pointer_map::impossible_entry(*map, *page));
            }
        }
    }

    fn judge_children(&self, free: Option<&PageSet>, used: &mut PageSet, problems: &mut Problems) {
        let Some(free) = free else { return };
        let first = self.parents.iter().enumerate().filter(|(_, parent)| **parent != 0);
        let first = first.map(|(index, parent)| (index as u32 + 1, *parent));
        for (child, parent) in first.chain(self.rivals.iter().copied()) {
            if free.contains(parent) {
                continue;
            }
            let Some(Kind::Tree(above)) = self.kind(parent) else { continue };
            match self.kind(child) {
                None => problems.add(format!("page {parent} points outside the database")),
                Some(Kind::Tree(below)) if below.table == above.table && !free.contains(child) => {}
                Some(Kind::Flawed(_)) => continue,
                Some(_) => problems.add(format!("page {parent} points to page {child}, which is something else")),
            }
            if !used.insert(child) && u64::from(child) <= u64::from(self.shape.pages) {
                problems.add(format!("page {child} is used twice"));
            }
        }
    }

    fn judge_chains(&self, free: Option<&PageSet>, used: &mut PageSet, problems: &mut Problems) {
        let Some(free) = free else { return };
        for Chain { owner, head, pages } in &self.chains {
            if free.contains(*owner) || !matches!(self.kind(*owner), Some(Kind::Tree(_))) {
                continue;
            }
            let mut page = *head;
            let mut left = *pages;
            while left > 0 && self.kind(page) == Some(Kind::Linked) && used.insert(page) {
                page = self.links[page as usize - 1];
                left -= 1;
            }
            if left > 0 || page != 0 {
                problems.add(format!("a long row that begins in page {owner} is broken at page {page}"));
            }
        }
    }

    /// A page without a pointer to it can only be the root of a b-tree, which the schema names.
    fn judge_unused(&self, used: &PageSet, problems: &mut Problems) {
        for (index, kind) in self.kinds.iter().enumerate() {
            let page = index as u32 + 1;
            if *kind == Kind::Linked && !used.contains(page) {
                problems.add(format!("page {page} belongs to nothing"));
            }
        }
    }
}

/// Returns whether it fitted.
fn push<T>(list: &mut Vec<T>, item: T) -> bool {
    let fits = list.len() < MAX_LIST;
    if fits {
        list.push(item);
    }
    fits
}
