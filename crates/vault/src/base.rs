//! What an earlier backup has, for the next one to refer to.

use std::collections::HashMap;

use store::StoreError;

use crate::{
    draft::Usage,
    id::Id,
    objects::Objects,
    record::{self, Part, PieceList, Place, RunAt, Snapshot},
    seal::{Hash, MasterKey},
};

/// The backup before.
#[derive(Default)]
pub(crate) struct Base {
    /// Which one; `None`: there is none.
    pub(crate) id: Option<Id>,
    pieces: HashMap<Hash, (Place, u32, u32)>,
    lists: HashMap<Hash, (Place, Usage)>,
    databases: HashMap<String, (u32, u64, Vec<RunAt>)>,
}

impl Base {
    /// Reads what is needed of this backup.
    pub(crate) fn load(objects: &Objects, master: &MasterKey, id: Id, snapshot: &Snapshot) -> Result<Self, StoreError> {
        let hasher = master.hasher();
        let mut base = Self { id: Some(id), ..Self::default() };
        let mut lists = Vec::new();
        for part in &snapshot.parts {
            match part {
                Part::Inline(_) => {}
                Part::Pieces { list, .. } => lists.push(*list),
                Part::Database { path, page_size, pages, runs } => {
                    base.databases.insert(path.clone(), (*page_size, *pages, runs.clone()));
                }
            }
        }
        objects.groups(master, &mut lists, |place, bytes| {
            // A list that is not understood is written anew.
            let Some(content) = record::decode::<PieceList>(&bytes) else { return };
            for piece in &content.pieces {
                if let Some(place) = content.groups.place(piece.group) {
                    base.pieces.insert(piece.hash, (place, piece.at, piece.length));
                }
            }
            let mut usage = Usage::default();
            usage.add(place);
            usage.add_all(&content.groups);
            base.lists.insert(hasher.hash(&bytes), (place, usage));
        })?;
        Ok(base)
    }

    /// A piece of this hash and length, and where in its group.
    pub(crate) fn piece(&self, hash: &Hash, length: u32) -> Option<(Place, u32)> {
        self.pieces.get(hash).filter(|(.., known)| *known == length).map(|(place, at, _)| (*place, *at))
    }

    /// A list with these bytes, and what it needs.
    pub(crate) fn list(&self, hash: &Hash) -> Option<(Place, &Usage)> {
        self.lists.get(hash).map(|(place, usage)| (*place, usage))
    }

    /// How many pages a database had, and its runs.
    pub(crate) fn database(&self, path: &str, page_size: u32) -> Option<(u64, &[RunAt])> {
        let (size, pages, runs) = self.databases.get(path)?;
        (*size == page_size).then_some((*pages, runs))
    }
}
