//! Compares two archives, entry by entry. If both have an index, it reads only files with the same name and size;
//! contents are compared by digests. For each entry it holds the name, a row of 40 bytes and, if its content was read,
//! 32 bytes of digest, whatever the size of the archives. Rows are sorted once and then merged. Modes and times are not
//! compared, because an index does not hold them.

use std::{cmp::Ordering, mem, ops::Range, thread};

use habackup::{
    index::FileEntry,
    rules::PATH_MAX,
    tar::{Entry, padding},
};
use serde::Serialize;
use sha2::{Digest, Sha256};
use store::Cancellation;

use super::{BrowseError, Browser, Described, Item, ItemKind, damaged, heed, named, walk::Content};
use crate::read::{
    Member, join,
    scan::{Flow, Tar, scan},
};

/// How two archives differ. Each list is sorted by path.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Comparison {
    /// What only the second has.
    pub added: Vec<Difference>,
    /// What only the first has.
    pub removed: Vec<Difference>,
    /// What both have, but not the same.
    pub changed: Vec<Difference>,
    /// Entries that are the same in both.
    pub same: u64,
}

impl Comparison {
    /// Whether nothing differs.
    pub fn is_same(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty() && self.changed.is_empty()
    }
}

/// One entry that differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// Its name, printable.
    pub path: String,
    /// What it is in the first archive.
    pub before: Option<State>,
    /// What it is in the second archive.
    pub after: Option<State>,
}

/// What an entry is in one of the archives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct State {
    /// Its kind.
    #[serde(rename = "type")]
    pub kind: ItemKind,
    /// Bytes of content.
    pub size: u64,
}

/// Stands for a digest that was not read, and for a row that is not wanted.
const NONE: u32 = u32::MAX;

/// One entry of an archive.
#[derive(Clone, Copy)]
struct Row {
    /// Where its path begins among the names.
    name: usize,
    length: u32,
    /// The inner archive's number from 1 on; 0 for the config directory.
    archive: u32,
    /// Its number in the index.
    order: u32,
    /// The number of its digest.
    digest: u32,
    size: u64,
    kind: ItemKind,
}

impl Row {
    fn state(&self) -> State {
        State { kind: self.kind, size: self.size }
    }

    /// Whether only the content shows if it is the same as the other.
    fn is_like(&self, other: &Self) -> bool {
        self.kind == other.kind && self.size == other.size && has_content(self.kind, self.size)
    }
}

/// The entries of an archive, sorted by inner archive and path.
#[derive(Default)]
struct Table {
    names: Vec<u8>,
    archives: Vec<Box<str>>,
    rows: Vec<Row>,
    /// Of contents, or of where links point.
    digests: Vec<[u8; 32]>,
}

impl Table {
    fn push(&mut self, item: &Item<'_>, order: usize, digest: u32) {
        let archive = item.archive.map_or(0, |name| {
            if self.archives.last().is_none_or(|last| **last != *name) {
                self.archives.push(name.into());
            }
            self.archives.len() as u32
        });
        let name = self.names.len();
        match item.path.get(..PATH_MAX + 1) {
            None => self.names.extend_from_slice(item.path),
            // No system can have such a name: enough to distinguish it from others is kept, with as much of it as is
            // shown.
            Some(beginning) => {
                self.names.extend_from_slice(beginning);
                self.names.extend_from_slice(&Sha256::digest(item.path));
            }
        }
        // No archive has four billion files.
        let (length, order) = ((self.names.len() - name) as u32, order as u32);
        self.rows.push(Row { name, length, archive, order, digest, size: item.size, kind: item.kind });
    }

    fn keep(&mut self, digest: [u8; 32]) -> u32 {
        self.digests.push(digest);
        self.digests.len() as u32 - 1
    }

    /// The last entry of a name counts.
    fn sort(&mut self) {
        let mut rows = mem::take(&mut self.rows);
        rows.sort_by(|a, b| self.key(a).cmp(&self.key(b)));
        rows.dedup_by(|later, kept| {
            let again = self.key(later) == self.key(kept);
            if again {
                *kept = *later;
            }
            again
        });
        self.rows = rows;
    }

    fn archive(&self, row: &Row) -> Option<&str> {
        self.archives.get((row.archive as usize).checked_sub(1)?).map(|name| &**name)
    }

    fn path(&self, row: &Row) -> &[u8] {
        &self.names[row.name..row.name + row.length as usize]
    }

    /// The inner archive without what says how it is packed, empty for the config directory; and the path in it.
    fn key(&self, row: &Row) -> (&str, &[u8]) {
        let archive = self.archive(row).unwrap_or_default();
        (archive.strip_suffix(".gz").unwrap_or(archive), self.path(row))
    }

    fn digest(&self, row: &Row) -> Option<&[u8; 32]> {
        self.digests.get(row.digest as usize)
    }
}

/// An empty file is like any other, and so is a directory.
fn has_content(kind: ItemKind, size: u64) -> bool {
    match kind {
        ItemKind::File => size > 0,
        ItemKind::Directory => false,
        ItemKind::Symlink | ItemKind::HardLink | ItemKind::Other => true,
    }
}

/// Compares the config directories of two archives, with `all` everything in them.
pub fn compare(a: &Browser<'_>, b: &Browser<'_>, all: bool, cancel: &Cancellation) -> Result<Comparison, BrowseError> {
    let (mut left, mut right) = both(|| a.gather(all, true, cancel), || b.gather(all, true, cancel))?;
    let (wanted_left, wanted_right) = unread(&left, &right);
    both(|| a.read(all, &mut left, &wanted_left, cancel), || b.read(all, &mut right, &wanted_right, cancel))?;
    Ok(tell(&left, &right))
}

/// Two jobs at the same time; the first one's error comes first.
fn both<A: Send, B: Send>(
    a: impl FnOnce() -> Result<A, BrowseError> + Send,
    b: impl FnOnce() -> Result<B, BrowseError> + Send,
) -> Result<(A, B), BrowseError> {
    let died = || BrowseError::Damaged { member: String::new(), message: "reading ended unexpectedly".into() };
    let (a, b) = thread::scope(|scope| {
        let a = scope.spawn(a);
        let b = b();
        (a.join().unwrap_or_else(|_| Err(died())), b)
    });
    Ok((a?, b?))
}

/// Numbers of rows by their position in the index; [`NONE`] if the content is not wanted.
struct Wanted {
    rows: Vec<u32>,
    any: bool,
}

impl Wanted {
    fn of(table: &Table) -> Self {
        Self { rows: vec![NONE; table.rows.iter().map(|row| row.order as usize + 1).max().unwrap_or(0)], any: false }
    }

    fn add(&mut self, table: &Table, row: usize) {
        if table.rows[row].digest == NONE {
            self.rows[table.rows[row].order as usize] = row as u32;
            self.any = true;
        }
    }

    fn row(&self, order: usize) -> Option<usize> {
        self.rows.get(order).filter(|row| **row != NONE).map(|row| *row as usize)
    }
}

/// What must be read because the other has the like of it.
fn unread(left: &Table, right: &Table) -> (Wanted, Wanted) {
    let (mut wanted_left, mut wanted_right) = (Wanted::of(left), Wanted::of(right));
    merge(left, right, |before, after| {
        if let (Some(before), Some(after)) = (before, after)
            && left.rows[before].is_like(&right.rows[after])
        {
            wanted_left.add(left, before);
            wanted_right.add(right, after);
        }
    });
    (wanted_left, wanted_right)
}

impl Browser<'_> {
    /// Every entry: by the index without its content, from a stream with it.
    fn gather(&self, all: bool, by_index: bool, cancel: &Cancellation) -> Result<Table, BrowseError> {
        let gathered = self.members(all).and_then(|members| {
            let mut table = Table::default();
            for member in members {
                match self.index_of(member).filter(|_| by_index) {
                    Some(index) => {
                        for (order, file) in index.files().enumerate() {
                            heed(cancel)?;
                            if let Some(item) = self.item(member, &file.path, &file, all) {
                                table.push(&item, order, NONE);
                            }
                        }
                    }
                    None => self.stream_into(member, all, &mut table, cancel)?,
                }
            }
            table.sort();
            Ok(table)
        });
        self.settled(gathered)
    }

    fn item<'i>(&self, member: &'i Member, path: &'i [u8], entry: &'i dyn Described, all: bool) -> Option<Item<'i>> {
        let (archive, path) = self.location(member, path);
        (!path.is_empty() && (archive.is_none() || all)).then(|| entry.describe(archive, path))
    }

    fn stream_into(
        &self,
        member: &Member,
        all: bool,
        table: &mut Table,
        cancel: &Cancellation,
    ) -> Result<(), BrowseError> {
        let walked = self.stream(member, cancel, |entry, content| {
            if let Some(item) = self.item(member, &entry.path, entry, all) {
                let digest = if has_content(item.kind, item.size) { table.keep(digest(entry, content)?) } else { NONE };
                table.push(&item, 0, digest);
            }
            Ok(Flow::Continue(()))
        });
        walked.map(drop)
    }

    /// Reads the content of what is wanted of all that an index lists.
    fn read(&self, all: bool, table: &mut Table, wanted: &Wanted, cancel: &Cancellation) -> Result<(), BrowseError> {
        if !wanted.any {
            return Ok(());
        }
        let read = self.config().and_then(|member| self.read_stretches(member, table, wanted, cancel));
        match self.settled(read) {
            // An index that turns out to be wrong costs a second try without it.
            Err(BrowseError::Damaged { .. }) => {
                *table = self.gather(all, false, cancel)?;
                Ok(())
            }
            other => other,
        }
    }

    fn read_stretches(
        &self,
        member: &Member,
        table: &mut Table,
        wanted: &Wanted,
        cancel: &Cancellation,
    ) -> Result<(), BrowseError> {
        let Some(index) = self.index_of(member) else { return Ok(()) };
        let wrong = || BrowseError::Damaged { member: member.name.clone(), message: "the index is wrong".into() };
        let stretch = |(order, file): (usize, FileEntry)| -> Option<Range<u64>> {
            wanted.row(order).map(|_| file.header_offset..file.data_offset + file.size + padding(file.size) as u64)
        };
        let stretches = join(index.files().enumerate().filter_map(stretch));
        let mut files = index.files().enumerate().peekable();
        let mut missing = wanted.rows.iter().filter(|row| **row != NONE).count();
        let inner = self.opened.ranges(member, index).map_err(|broken| damaged(member, broken))?;
        inner.each(
            &stretches,
            |_| wrong(),
            |reader, stretch| {
                while files.next_if(|(_, file)| file.header_offset < stretch.start).is_some() {}
                let walked = scan(&mut Tar::stretch(reader), cancel, |entry, content| {
                    // The index lists what the archive holds in the archive's order.
                    let is_listed =
                        |file: &FileEntry| self.location(member, &file.path) == self.location(member, &entry.path);
                    let listed = files.next_if(|(_, file)| is_listed(file));
                    // Gaps between what is wanted are read through and hold other entries.
                    let Some(row) = listed.and_then(|(order, _)| wanted.row(order)) else {
                        return Ok(Flow::Continue(()));
                    };
                    if table.rows[row].state() != (State { kind: entry.kind.into(), size: entry.size }) {
                        return Err(wrong());
                    }
                    table.rows[row].digest = table.keep(digest(entry, content)?);
                    missing -= 1;
                    Ok(Flow::Continue(()))
                });
                walked.map(drop)
            },
        )?;
        if missing > 0 { Err(wrong()) } else { Ok(()) }
    }
}

/// Of the content, or of where a link points. No secret: an archive could aim at collisions of anything weaker.
fn digest(entry: &Entry, content: &mut Content<'_, '_>) -> Result<[u8; 32], BrowseError> {
    let mut hasher = Sha256::new();
    hasher.update(&entry.link);
    loop {
        let bytes = content.next()?;
        if bytes.is_empty() {
            return Ok(hasher.finalize().into());
        }
        hasher.update(bytes);
    }
}

/// Hands over the numbers of all rows in order, those of the same name together.
fn merge(left: &Table, right: &Table, mut each: impl FnMut(Option<usize>, Option<usize>)) {
    let (mut before, mut after) = (0, 0);
    loop {
        let order = match (left.rows.get(before), right.rows.get(after)) {
            (None, None) => return,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(one), Some(other)) => left.key(one).cmp(&right.key(other)),
        };
        let (has_before, has_after) = (order.is_le(), order.is_ge());
        each(has_before.then_some(before), has_after.then_some(after));
        before += usize::from(has_before);
        after += usize::from(has_after);
    }
}

fn tell(left: &Table, right: &Table) -> Comparison {
    let mut comparison = Comparison::default();
    merge(left, right, |before, after| {
        let (before, after) = (before.map(|row| &left.rows[row]), after.map(|row| &right.rows[row]));
        let difference = |table: &Table, row: &Row| {
            let path = named(table.archive(row), table.path(row));
            Difference { path, before: before.map(Row::state), after: after.map(Row::state) }
        };
        match (before, after) {
            (Some(one), Some(other)) => {
                let equal = !has_content(one.kind, one.size) || left.digest(one) == right.digest(other);
                if one.state() == other.state() && equal {
                    comparison.same += 1;
                } else {
                    comparison.changed.push(difference(left, one));
                }
            }
            (Some(one), None) => comparison.removed.push(difference(left, one)),
            (None, Some(other)) => comparison.added.push(difference(right, other)),
            (None, None) => {}
        }
    });
    comparison
}
