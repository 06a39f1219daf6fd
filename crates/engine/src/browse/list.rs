//! Every entry of an archive, one after the other: nothing is gathered.

use std::sync::atomic::AtomicBool;

use super::{BrowseError, Browser, Described, Item, heed, walk::Flow};
use crate::open::Member;

impl Browser<'_> {
    /// Hands every entry to `each`, in the order of the archive, until that says it is enough: those of the config directory, with `all` also those that
    /// lie beside it and in other inner archives.
    pub fn list(&self, all: bool, cancel: &AtomicBool, mut each: impl FnMut(&Item<'_>) -> Flow) -> Result<(), BrowseError> {
        let listed = self.members(all).and_then(|members| {
            for member in members {
                if self.list_one(member, all, cancel, &mut each)?.is_break() {
                    break;
                }
            }
            Ok(())
        });
        self.settled(listed)
    }

    fn list_one(&self, member: &Member, all: bool, cancel: &AtomicBool, each: &mut impl FnMut(&Item<'_>) -> Flow) -> Result<Flow, BrowseError> {
        let mut tell = |path: &[u8], entry: &dyn Described| {
            let (archive, path) = self.place(member, path);
            if path.is_empty() || (archive.is_some() && !all) { Flow::Continue(()) } else { each(&entry.describe(archive, path)) }
        };
        if let Some(index) = self.index_of(member) {
            for file in index.files() {
                heed(cancel)?;
                if tell(&file.path, &file).is_break() {
                    return Ok(Flow::Break(()));
                }
            }
            return Ok(Flow::Continue(()));
        }
        self.stream(member, cancel, |entry, _| Ok(tell(&entry.path, entry)))
    }
}
