//! Lists every entry of an archive, one after the other: nothing is collected.

use std::collections::HashMap;

use habackup::{
    index::{FileEntry, Index},
    tar::{EntryKind, Kind, Reader},
};
use store::Cancellation;

use super::{BrowseError, Browser, Described, Item, damaged, heed, torn};
use crate::read::{ArchiveSource, Member, scan::Flow};

/// The maximum number of links whose targets are looked up: each costs a piece of the archive, and all are kept while
/// it is listed.
const MOST_LINKS: usize = 100;

/// Where links point, by where their headers are.
type Targets = HashMap<u64, Vec<u8>>;

impl Browser<'_> {
    /// Hands every entry to `each`, in the order of the archive, until that says it is enough: those of the config
    /// directory, with `all` also those that lie beside it and in other inner archives.
    pub fn list(
        &self,
        all: bool,
        cancel: &Cancellation,
        mut each: impl FnMut(&Item<'_>) -> Flow,
    ) -> Result<(), BrowseError> {
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

    fn list_one(
        &self,
        member: &Member,
        all: bool,
        cancel: &Cancellation,
        each: &mut impl FnMut(&Item<'_>) -> Flow,
    ) -> Result<Flow, BrowseError> {
        let mut tell = |path: &[u8], entry: &dyn Described| {
            let (archive, path) = self.location(member, path);
            if path.is_empty() || (archive.is_some() && !all) {
                Flow::Continue(())
            } else {
                each(&entry.describe(archive, path))
            }
        };
        let Some(index) = self.index_of(member) else {
            return self.stream(member, cancel, |entry, _| Ok(tell(&entry.path, entry)));
        };
        // The list itself does not depend on them.
        let targets = self.targets(member, index, cancel).unwrap_or_default();
        for file in index.files() {
            heed(cancel)?;
            let link = targets.get(&file.header_offset).map(Vec::as_slice);
            if tell(&file.path, &Listed { file: &file, link }).is_break() {
                return Ok(Flow::Break(()));
            }
        }
        Ok(Flow::Continue(()))
    }

    /// Where the links point, which the index does not know. From afar that would cost a request for each.
    fn targets(&self, member: &Member, index: &Index, cancel: &Cancellation) -> Result<Targets, BrowseError> {
        let links = index.files().filter(|file| file.kind == Kind::Symlink).take(MOST_LINKS);
        let wanted: Vec<_> = links.map(|file| file.header_offset..file.data_offset).collect();
        let mut targets = Targets::new();
        if wanted.is_empty() || !matches!(self.source, ArchiveSource::Path(_)) {
            return Ok(targets);
        }
        let ranges = self.opened.ranges(member, index).map_err(|broken| damaged(member, broken))?;
        ranges.each(
            &wanted,
            |error| torn(&[], &error),
            |source, range| {
                heed(cancel)?;
                let entry = Reader::new(source).next_entry().map_err(|error| torn(&[], &error))?;
                if let Some(entry) = entry.filter(|entry| entry.kind == EntryKind::Symlink) {
                    targets.insert(range.start, entry.link);
                }
                Ok(())
            },
        )?;
        Ok(targets)
    }
}

/// An entry of the index, with what its header says of a link.
struct Listed<'l> {
    file: &'l FileEntry,
    link: Option<&'l [u8]>,
}

impl Described for Listed<'_> {
    fn describe<'i>(&'i self, archive: Option<&'i str>, path: &'i [u8]) -> Item<'i> {
        Item { link: self.link, ..self.file.describe(archive, path) }
    }
}
