//! What a vault writes down, in postcard's bytes: where the content of a backup is.
//!
//! A backup is a rope of parts. A part is a few bytes that are kept in place, a list of pieces, or a database, which is
//! a stack of runs: the newest that has a page says where it is. Each list and run names the packs that it needs, so
//! that it can be shared by backups.

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{id::Id, seal::Hash};

/// Where a group is: in which pack, from which byte, how many.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Place {
    /// The pack.
    pub pack: Id,
    /// Its first byte there.
    pub at: u32,
    /// Its sealed length.
    pub length: u32,
}

/// The same, in a list or run: `pack` is an index into its table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct GroupAt {
    /// Index of the pack in the table.
    pub pack: u32,
    /// Its first byte there.
    pub at: u32,
    /// Its sealed length.
    pub length: u32,
}

/// The groups that a list or run refers to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Groups {
    /// The packs, each once.
    pub packs: Vec<Id>,
    /// The groups, each once.
    pub groups: Vec<GroupAt>,
}

impl Groups {
    /// Where a group is.
    pub(crate) fn place(&self, group: u32) -> Option<Place> {
        let found = self.groups.get(group as usize)?;
        Some(Place { pack: *self.packs.get(found.pack as usize)?, at: found.at, length: found.length })
    }
}

/// Some bytes of the backup that are found by what they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Piece {
    /// Its length.
    pub length: u32,
    /// Its keyed hash.
    pub hash: Hash,
    /// Index of its group.
    pub group: u32,
    /// Where it begins in the group's content.
    pub at: u32,
}

/// Pieces in order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PieceList {
    /// Where they are.
    pub groups: Groups,
    /// The pieces.
    pub pieces: Vec<Piece>,
}

/// Consecutive pages of a database that lie one after the other in a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Extent {
    /// Pages between the end of the extent before (or the first page) and this one.
    pub gap: u32,
    /// How many pages.
    pub count: u32,
    /// 0: the pages are zeros. Otherwise the index of the group plus one.
    pub group: u32,
    /// Which page of the group the first one is.
    pub first: u32,
}

/// Versions of some pages of a database, in the order of the pages.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Run {
    /// Where they are.
    pub groups: Groups,
    /// The pages.
    pub extents: Vec<Extent>,
}

/// A run, and the hashes of its pages in groups of their own, [`HASHES`] in each but the last: whoever reads the pages
/// does not need them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RunAt {
    /// Where the run's [`Run`] is.
    pub at: Place,
    /// How many pages it has.
    pub pages: u64,
    /// Where their hashes are.
    pub hashes: Vec<Place>,
    /// The packs that it needs, its own place and that of the hashes too, and how many bytes of each.
    pub packs: Vec<(Id, u32)>,
}

/// No database has more pages.
pub(crate) const MOST_PAGES: u64 = 1 << 32;
/// No backup has more bytes: sums of positions in it never overflow.
const LONGEST: u64 = 1 << 60;

/// Page hashes in one group.
pub(crate) const HASHES: usize = 1 << 16;

/// A stretch of the backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Part {
    /// The bytes themselves.
    Inline(Vec<u8>),
    /// Pieces, in a list that lies at this place.
    Pieces {
        /// Bytes in all.
        length: u64,
        /// The list.
        list: Place,
    },
    /// A database.
    Database {
        /// Its path in the backup.
        path: String,
        /// Bytes of a page.
        page_size: u32,
        /// How many pages.
        pages: u64,
        /// The newest first.
        runs: Vec<RunAt>,
    },
}

impl Part {
    /// How many bytes of the backup it is.
    pub(crate) fn length(&self) -> u64 {
        match self {
            Self::Inline(bytes) => bytes.len() as u64,
            Self::Pieces { length, .. } => *length,
            Self::Database { page_size, pages, .. } => u64::from(*page_size).saturating_mul(*pages),
        }
    }
}

/// One backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// The name under which it is listed.
    pub name: String,
    /// When it was finished, in milliseconds since 1970.
    pub finished: i64,
    /// Home Assistant's id of the instance, if the backup says it.
    pub instance: Option<String>,
    /// Every pack that is needed, and how many bytes of it.
    pub packs: Vec<(Id, u32)>,
    /// What it consists of.
    pub(crate) parts: Vec<Part>,
}

impl Snapshot {
    /// Whether it is more than a note beside a backup, such as a pin, which needs no pack.
    pub fn is_backup(&self) -> bool {
        !self.packs.is_empty()
    }

    /// Whether it can be a backup. Whoever has the password of the vault can write anything.
    pub(crate) fn makes_sense(&self) -> bool {
        let is_sound = |part: &Part| match part {
            Part::Database { page_size, pages, .. } => {
                (512..=1 << 16).contains(page_size) && page_size.is_power_of_two() && *pages <= MOST_PAGES
            }
            Part::Inline(_) | Part::Pieces { .. } => true,
        };
        let is_name = !self.name.contains(['/', '\0']) && !["", ".", ".."].contains(&self.name.as_str());
        is_name && self.parts.iter().all(is_sound) && self.length() <= LONGEST
    }

    /// Its length in bytes.
    pub fn length(&self) -> u64 {
        self.parts.iter().map(Part::length).fold(0, u64::saturating_add)
    }
}

/// What a running backup relies on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Reliance {
    /// These packs.
    pub packs: Vec<Id>,
}

/// Packs that no backup needed when this was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DoomedPacks {
    /// They go when still none does.
    pub packs: Vec<Id>,
}

/// The bytes of a record.
pub(crate) fn encode<T: Serialize>(record: &T) -> Vec<u8> {
    // Nothing in a record can fail to be written to memory.
    postcard::to_stdvec(record).unwrap_or_default()
}

/// A record of these bytes, all of them; `None`: it is none.
pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    match postcard::take_from_bytes(bytes) {
        Ok((record, [])) => Some(record),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_has_one_form() {
        let list = PieceList {
            groups: Groups { packs: vec![Id([1; 16])], groups: vec![GroupAt { pack: 0, at: 8, length: 300 }] },
            pieces: vec![Piece { length: 512, hash: [2; 16], group: 0, at: 0 }],
        };
        let mut bytes = encode(&list);
        let wanted = [&[1][..], &[1; 16], &[1, 0, 8, 0xac, 2], &[1, 0x80, 4], &[2; 16], &[0, 0]].concat();
        assert_eq!(bytes, wanted);
        assert_eq!(decode::<PieceList>(&bytes), Some(list));
        bytes.push(0);
        assert_eq!(decode::<PieceList>(&bytes), None, "something follows");
        bytes.truncate(20);
        assert_eq!(decode::<PieceList>(&bytes), None, "something is missing");
    }
}
