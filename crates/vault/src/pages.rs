//! The pages of a database in a vault: where each is, and what its hash was.

use store::StoreError;

use crate::{
    draft::{DraftExtent, Spot},
    objects::{Objects, is_damaged, is_gone},
    record::{HASHES, MOST_PAGES, Run, RunAt},
    seal::{Hash, MasterKey},
};

/// A run that contradicts itself.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Broken;

/// A run's pages, with their places. `Broken`: it names a group that it does not have, or the pages don't fit into a
/// database.
pub(crate) fn resolved(run: &Run) -> Result<Vec<DraftExtent>, Broken> {
    let mut page = 0_u64;
    run.extents
        .iter()
        .map(|extent| {
            let first = page.checked_add(u64::from(extent.gap)).ok_or(Broken)?;
            page = first.checked_add(u64::from(extent.count)).filter(|end| *end <= MOST_PAGES).ok_or(Broken)?;
            if extent.group > 0 {
                extent.first.checked_add(extent.count).ok_or(Broken)?;
            }
            let spot = match extent.group.checked_sub(1) {
                None => None,
                Some(group) => Some(Spot::There(run.groups.place(group).ok_or(Broken)?)),
            };
            Ok(DraftExtent { page: first, count: extent.count, spot, first: extent.first })
        })
        .collect()
}

/// All pages that any of these has: where two have one, it is the upper's. Both are in order, and so is the result.
pub(crate) fn over(upper: &[DraftExtent], lower: &[DraftExtent]) -> Vec<DraftExtent> {
    let mut all = Vec::with_capacity(upper.len() + lower.len());
    let mut upper = upper.iter().peekable();
    // Pages before this one are there.
    let mut covered = 0;
    for extent in lower {
        let (mut page, end) = (extent.page.max(covered), extent.page + u64::from(extent.count));
        while page < end {
            // What lies above the page is taken whole.
            match upper.peek() {
                Some(above) if above.page <= page => {
                    covered = above.page + u64::from(above.count);
                    page = page.max(covered);
                    all.extend(upper.next());
                }
                next => {
                    let until = next.map_or(end, |next| next.page.min(end));
                    all.push(part_of(extent, page, until));
                    page = until;
                }
            }
        }
    }
    all.extend(upper);
    all
}

/// Only the pages before `pages`.
pub(crate) fn cut(extents: &mut Vec<DraftExtent>, pages: u64) {
    extents.retain(|extent| extent.page < pages);
    if let Some(last) = extents.last_mut() {
        *last = part_of(last, last.page, (last.page + u64::from(last.count)).min(pages));
    }
}

#[expect(clippy::cast_possible_truncation, reason = "a part of an extent is no longer than it")]
fn part_of(extent: &DraftExtent, from: u64, until: u64) -> DraftExtent {
    let first = if extent.spot.is_some() { extent.first + (from - extent.page) as u32 } else { 0 };
    DraftExtent { page: from, count: (until - from) as u32, spot: extent.spot, first }
}

/// The same extents, in order, in lists of so many pages; the last has what is left.
pub(crate) fn split(extents: Vec<DraftExtent>, pages: u64) -> Vec<Vec<DraftExtent>> {
    let (mut all, mut left) = (Vec::new(), 0);
    for extent in extents {
        let (mut page, end) = (extent.page, extent.page + u64::from(extent.count));
        while page < end {
            if left == 0 {
                all.push(Vec::new());
                left = pages;
            }
            let until = end.min(page + left);
            if let Some(list) = all.last_mut() {
                list.push(part_of(&extent, page, until));
            }
            left -= until - page;
            page = until;
        }
    }
    all
}

/// Where every page is, of runs whose newest comes first.
pub(crate) fn map(objects: &Objects, master: &MasterKey, runs: &[RunAt]) -> Result<Vec<DraftExtent>, StoreError> {
    let mut all = Vec::new();
    for run in runs {
        all = over(&all, &load(objects, master, run)?);
    }
    Ok(all)
}

fn load(objects: &Objects, master: &MasterKey, run: &RunAt) -> Result<Vec<DraftExtent>, StoreError> {
    resolved(&objects.group_record(master, run.at)?).map_err(|Broken| {
        objects.damaged(&crate::id::Kind::Pack.object(run.at.pack), "the pages of a database in it make no sense")
    })
}

/// The hashes of a database's pages as an earlier backup had them, asked for in the order of the pages.
pub(crate) struct Hashes {
    objects: Objects,
    master: MasterKey,
    /// Pages from here on were not there.
    pages: u64,
    runs: Vec<RunHashes>,
}

struct RunHashes {
    at: RunAt,
    extents: Vec<DraftExtent>,
    /// The current extent, and how many pages come before it.
    extent: usize,
    before: u64,
    /// The chunk that is loaded.
    chunk: Option<(usize, Vec<u8>)>,
}

impl Hashes {
    /// Of these runs, the newest first.
    pub(crate) fn of(objects: Objects, master: MasterKey, runs: &[RunAt], pages: u64) -> Result<Self, StoreError> {
        let runs = runs
            .iter()
            .map(|run| {
                let extents = load(&objects, &master, run)?;
                Ok(RunHashes { at: run.clone(), extents, extent: 0, before: 0, chunk: None })
            })
            .collect::<Result<_, StoreError>>()?;
        Ok(Self { objects, master, pages, runs })
    }

    /// The hash that the page had.
    pub(crate) fn at(&mut self, page: u64) -> Result<Option<Hash>, StoreError> {
        if page >= self.pages {
            return Ok(None);
        }
        for run in &mut self.runs {
            if let Some(number) = run.number(page) {
                return run.hash(number, &self.objects, &self.master).map(Some);
            }
        }
        Ok(None)
    }
}

impl RunHashes {
    /// Which of the run's pages this one is.
    fn number(&mut self, page: u64) -> Option<u64> {
        while let Some(extent) = self.extents.get(self.extent) {
            if page < extent.page {
                return None;
            }
            let into = page - extent.page;
            if into < u64::from(extent.count) {
                return Some(self.before + into);
            }
            self.before += u64::from(extent.count);
            self.extent += 1;
        }
        // Nobody asks for an earlier page.
        self.chunk = None;
        None
    }

    #[expect(clippy::cast_possible_truncation, reason = "what does not fit is not there")]
    fn hash(&mut self, number: u64, objects: &Objects, master: &MasterKey) -> Result<Hash, StoreError> {
        let (wanted, at) = ((number / HASHES as u64) as usize, (number % HASHES as u64) as usize * 16);
        let chunk = match self.chunk.take() {
            Some((index, chunk)) if index == wanted => chunk,
            _ => match self.at.hashes.get(wanted) {
                Some(place) => match objects.group(master, *place) {
                    // It is not asked for again for each of its pages.
                    Err(error) if is_gone(&error) || is_damaged(&error) => Vec::new(),
                    chunk => chunk?,
                },
                None => Vec::new(),
            },
        };
        let hash = chunk.get(at..at + 16).and_then(|bytes| bytes.try_into().ok());
        self.chunk = Some((wanted, chunk));
        hash.ok_or_else(|| {
            objects.damaged(&crate::id::Kind::Pack.object(self.at.at.pack), "hashes of pages are missing in it")
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unnecessary_wraps, reason = "the form of what is compared")]
    use super::*;
    use crate::{draft::push, id::Id, record::Place};

    fn spot(number: u8) -> Option<Spot> {
        Some(Spot::There(Place { pack: Id([number; 16]), at: 8, length: 9 }))
    }

    /// Every page with what it is.
    fn pages(extents: &[DraftExtent]) -> Vec<(u64, Option<Spot>, u32)> {
        extents
            .iter()
            .flat_map(|extent| {
                (0..extent.count).map(|into| {
                    let first = if extent.spot.is_some() { extent.first + into } else { 0 };
                    (extent.page + u64::from(into), extent.spot, first)
                })
            })
            .collect()
    }

    fn extents(of: impl IntoIterator<Item = (u64, u8, u32)>) -> Vec<DraftExtent> {
        let mut all = Vec::new();
        for (page, group, first) in of {
            push(&mut all, page, if group == 0 { None } else { spot(group) }, first);
        }
        all
    }

    proptest::proptest! {
        #[test]
        fn the_upper_page_counts(upper in proptest::collection::btree_map(0_u64..60, 0_u8..3, 0..40), lower in proptest::collection::btree_map(0_u64..60, 3_u8..5, 0..60), most in 0_u64..70) {
            let of = |map: &std::collections::BTreeMap<u64, u8>| {
                extents(map.iter().zip(0..).map(|((page, group), first)| (*page, *group, if *group == 0 { 0 } else { first })))
            };
            let (above, below) = (of(&upper), of(&lower));
            let mut wanted: std::collections::BTreeMap<u64, _> = pages(&below).into_iter().map(|page| (page.0, page)).collect();
            wanted.extend(pages(&above).into_iter().map(|page| (page.0, page)));
            let mut all = over(&above, &below);
            proptest::prop_assert_eq!(pages(&all), wanted.values().copied().collect::<Vec<_>>());
            let parts = split(all.clone(), 1 + most % 7);
            proptest::prop_assert_eq!(pages(&parts.concat()), pages(&all));
            for part in parts.iter().rev().skip(1) {
                proptest::prop_assert_eq!(pages(part).len() as u64, 1 + most % 7);
            }
            cut(&mut all, most);
            proptest::prop_assert_eq!(pages(&all), wanted.into_values().filter(|page| page.0 < most).collect::<Vec<_>>());
        }
    }
}
