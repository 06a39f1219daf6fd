//! What a backup will consist of, while its groups are still on their way; and the records that are made of it.

use std::collections::{BTreeMap, HashMap};

use crate::{
    id::Id,
    packer::Ticket,
    record::{Extent, GroupAt, Groups, Piece, PieceList, Place, Run, RunAt},
    seal::Hash,
};

/// Where a group is or will be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Spot {
    /// An earlier backup has it.
    There(Place),
    /// It is on its way.
    Coming(Ticket),
}

/// A piece on its way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DraftPiece {
    /// Its length.
    pub length: u32,
    /// Its keyed hash.
    pub hash: Hash,
    /// Its group.
    pub spot: Spot,
    /// Where it begins in the group's content.
    pub at: u32,
}

/// Consecutive pages that are written one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DraftExtent {
    /// The first page, from 0.
    pub page: u64,
    /// How many.
    pub count: u32,
    /// Their group; `None`: zeros.
    pub spot: Option<Spot>,
    /// Which page of the group the first one is.
    pub first: u32,
}

/// A stretch of the backup.
pub(crate) enum Draft {
    /// Bytes that are kept in place.
    Inline {
        /// Where they begin in the backup.
        at: u64,
        /// The bytes.
        bytes: Vec<u8>,
    },
    /// Pieces.
    Pieces(Vec<DraftPiece>),
    /// A database.
    Database(DraftDatabase),
}

/// A database on its way.
pub(crate) struct DraftDatabase {
    /// Its path in the backup.
    pub path: String,
    /// Bytes of a page.
    pub page_size: u32,
    /// How many pages.
    pub pages: u64,
    /// The runs below, of an earlier backup; the newest first.
    pub below: Vec<RunAt>,
    /// The pages that have changed, in order; or all of them.
    pub extents: Vec<DraftExtent>,
    /// The hashes of these pages.
    pub hashes: Vec<Ticket>,
}

/// Gathers the groups of a list or run, each once.
#[derive(Default)]
pub(crate) struct GroupTable {
    groups: Groups,
    packs: HashMap<Id, u32>,
    seen: HashMap<Place, u32>,
}

impl GroupTable {
    /// The group's index.
    pub(crate) fn index(&mut self, place: Place) -> u32 {
        let Self { groups, packs, seen } = self;
        *seen.entry(place).or_insert_with(|| {
            let pack = *packs.entry(place.pack).or_insert_with(|| {
                groups.packs.push(place.pack);
                index(groups.packs.len())
            });
            groups.groups.push(GroupAt { pack, at: place.at, length: place.length });
            index(groups.groups.len())
        })
    }

    /// The table.
    pub(crate) fn into_groups(self) -> Groups {
        self.groups
    }
}

fn index(length: usize) -> u32 {
    u32::try_from(length - 1).unwrap_or(u32::MAX)
}

/// The list of these pieces. `None`: a group has no place.
pub(crate) fn list(pieces: &[DraftPiece], place: impl Fn(Spot) -> Option<Place>) -> Option<PieceList> {
    let mut table = GroupTable::default();
    let pieces = pieces
        .iter()
        .map(|piece| {
            let group = table.index(place(piece.spot)?);
            Some(Piece { length: piece.length, hash: piece.hash, group, at: piece.at })
        })
        .collect::<Option<Vec<_>>>()?;
    Some(PieceList { groups: table.into_groups(), pieces })
}

/// The run of these extents. `None`: a group has no place, or the pages are not in order.
pub(crate) fn run(extents: &[DraftExtent], place: impl Fn(Spot) -> Option<Place>) -> Option<Run> {
    let mut table = GroupTable::default();
    let mut next = 0;
    let extents = extents
        .iter()
        .map(|extent| {
            let gap = u32::try_from(extent.page.checked_sub(next)?).ok()?;
            next = extent.page + u64::from(extent.count);
            let group = match extent.spot {
                Some(spot) => table.index(place(spot)?) + 1,
                None => 0,
            };
            Some(Extent { gap, count: extent.count, group, first: extent.first })
        })
        .collect::<Option<Vec<_>>>()?;
    Some(Run { groups: table.into_groups(), extents })
}

/// How many bytes of each pack are needed.
#[derive(Default)]
pub(crate) struct Usage(BTreeMap<Id, u32>);

impl Usage {
    /// This group, which must come once.
    pub(crate) fn add(&mut self, place: Place) {
        self.more(place.pack, place.length);
    }

    /// So many bytes more.
    pub(crate) fn more(&mut self, pack: Id, bytes: u32) {
        let used = self.0.entry(pack).or_default();
        *used = used.saturating_add(bytes);
    }

    /// All groups of a list or run.
    pub(crate) fn add_all(&mut self, groups: &Groups) {
        for index in 0..groups.groups.len() {
            if let Some(place) = u32::try_from(index).ok().and_then(|index| groups.place(index)) {
                self.add(place);
            }
        }
    }

    /// What something else needs.
    pub(crate) fn include(&mut self, other: &Self) {
        for (pack, bytes) in &other.0 {
            self.more(*pack, *bytes);
        }
    }

    /// The packs and their bytes.
    pub(crate) fn into_packs(self) -> Vec<(Id, u32)> {
        self.0.into_iter().collect()
    }
}

/// Adds a page to extents that are in order.
pub(crate) fn push(extents: &mut Vec<DraftExtent>, page: u64, spot: Option<Spot>, first: u32) {
    if let Some(last) = extents.last_mut()
        && last.page + u64::from(last.count) == page
        && last.spot == spot
        && (spot.is_none() || last.first + last.count == first)
        && last.count < u32::MAX
    {
        last.count += 1;
        return;
    }
    extents.push(DraftExtent { page, count: 1, spot, first });
}
