//! Two archives, entry by entry. Where both have an index, only what lies under the same name with the same size is read; contents pass by as digests, so that
//! what is held is a line per entry, whatever the archives weigh. Modes and times are not compared: an index does not hold them.

use std::{
    cmp::Ordering,
    collections::{BTreeMap, btree_map},
    iter::Peekable,
    sync::atomic::AtomicBool,
    thread,
};

use habackup::tar::{Entry, padding};
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::{
    BrowseError, Browser, Described, Item, ItemKind, damaged, heed, named,
    walk::{Content, Flow, walk},
};
use crate::open::{Member, join};

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

/// The inner archive without what says how it is packed, empty for the config directory; and the path in it.
type Key = (String, Vec<u8>);
type Map = BTreeMap<Key, Known>;

#[derive(Clone, Debug)]
struct Known {
    /// The inner archive, as it is called.
    archive: Option<Box<str>>,
    kind: ItemKind,
    size: u64,
    /// Of the content, or of where a link points; `None`: not read yet.
    digest: Option<[u8; 32]>,
}

impl Known {
    fn of(item: &Item<'_>) -> Self {
        Self { archive: item.archive.map(Box::from), kind: item.kind, size: item.size, digest: None }
    }

    fn state(&self) -> State {
        State { kind: self.kind, size: self.size }
    }

    /// Whether only the content tells if it is the same as the other.
    fn is_like(&self, other: &Self) -> bool {
        self.kind == other.kind && self.size == other.size && has_content(self.kind, self.size)
    }

    fn is(&self, other: &Self) -> bool {
        let equal = self.digest == other.digest || !has_content(self.kind, self.size);
        self.kind == other.kind && self.size == other.size && equal
    }
}

fn key(item: &Item<'_>) -> Key {
    let archive = item.archive.map_or("", |name| name.strip_suffix(".gz").unwrap_or(name));
    (archive.to_owned(), item.path.to_vec())
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
pub fn compare(a: &Browser<'_>, b: &Browser<'_>, all: bool, cancel: &AtomicBool) -> Result<Comparison, BrowseError> {
    let (mut left, mut right) = both(|| a.gather(all, cancel), || b.gather(all, cancel))?;
    let (wanted_left, wanted_right) = (unread(&left, &right), unread(&right, &left));
    both(|| a.read(all, &mut left, &wanted_left, cancel), || b.read(all, &mut right, &wanted_right, cancel))?;
    Ok(tell(left, right))
}

/// Two jobs at the same time; the first one's error is told first.
fn both<A: Send, B: Send>(a: impl FnOnce() -> Result<A, BrowseError> + Send, b: impl FnOnce() -> Result<B, BrowseError> + Send) -> Result<(A, B), BrowseError> {
    let died = || BrowseError::Damaged { member: String::new(), message: "reading ended unexpectedly".into() };
    let (a, b) = thread::scope(|scope| {
        let a = scope.spawn(a);
        let b = b();
        (a.join().unwrap_or_else(|_| Err(died())), b)
    });
    Ok((a?, b?))
}

/// What must be read because the other has the like of it.
fn unread(own: &Map, other: &Map) -> Vec<Key> {
    let wanted = own.iter().filter(|(key, known)| known.digest.is_none() && other.get(*key).is_some_and(|other| known.is_like(other)));
    wanted.map(|(key, _)| key.clone()).collect()
}

impl Browser<'_> {
    /// Every entry: by the index without its content, from a stream with it.
    fn gather(&self, all: bool, cancel: &AtomicBool) -> Result<Map, BrowseError> {
        let gathered = self.members(all).and_then(|members| {
            let mut map = Map::new();
            for member in members {
                match self.index_of(member) {
                    Some(index) => {
                        for file in index.files() {
                            heed(cancel)?;
                            self.note(member, &file.path, &file, all, &mut map);
                        }
                    }
                    None => self.stream_into(member, all, &mut map, cancel)?,
                }
            }
            Ok(map)
        });
        self.settled(gathered)
    }

    /// The last entry of a name counts.
    fn note(&self, member: &Member, path: &[u8], entry: &dyn Described, all: bool, map: &mut Map) -> Option<Key> {
        let (archive, path) = self.place(member, path);
        if path.is_empty() || (archive.is_some() && !all) {
            return None;
        }
        let item = entry.describe(archive, path);
        let key = key(&item);
        map.insert(key.clone(), Known::of(&item));
        Some(key)
    }

    fn stream_into(&self, member: &Member, all: bool, map: &mut Map, cancel: &AtomicBool) -> Result<(), BrowseError> {
        let walked = self.stream(member, cancel, |entry, content| {
            if let Some(key) = self.note(member, &entry.path, entry, all, map) {
                let digest = digest(entry, content)?;
                if let Some(known) = map.get_mut(&key) {
                    known.digest = Some(digest);
                }
            }
            Ok(Flow::Continue(()))
        });
        walked.map(drop)
    }

    /// Reads the content of what is wanted of all that an index lists.
    fn read(&self, all: bool, map: &mut Map, wanted: &[Key], cancel: &AtomicBool) -> Result<(), BrowseError> {
        if wanted.is_empty() {
            return Ok(());
        }
        let read = self.config().and_then(|member| match self.read_stretches(member, map, wanted, cancel) {
            // An index that turns out to be wrong costs a second try without it.
            Err(BrowseError::Damaged { .. }) => {
                map.retain(|_, known| known.archive.as_deref().is_some_and(|archive| archive != member.name));
                self.stream_into(member, all, map, cancel)
            }
            other => other,
        });
        self.settled(read)
    }

    fn read_stretches(&self, member: &Member, map: &mut Map, wanted: &[Key], cancel: &AtomicBool) -> Result<(), BrowseError> {
        let Some(index) = self.index_of(member) else { return Ok(()) };
        let wrong = || BrowseError::Damaged { member: member.name.clone(), message: "the index is wrong".into() };
        let mut ranges = Vec::new();
        for file in index.files() {
            let (archive, path) = self.place(member, &file.path);
            let key = key(&file.describe(archive, path));
            if wanted.binary_search(&key).is_ok() {
                ranges.push(file.header_offset..file.data_offset + file.size + padding(file.size) as u64);
            }
        }
        let inner = self.opened.ranges(member, index).map_err(|broken| damaged(member, broken))?;
        inner.each(
            &join(ranges),
            |_| wrong(),
            |reader, _| {
                let walked = walk(reader, false, cancel, |entry, content| {
                    let (archive, path) = self.place(member, &entry.path);
                    let item = entry.describe(archive, path);
                    let key = key(&item);
                    // Gaps between what is wanted are read through and hold other entries.
                    if wanted.binary_search(&key).is_ok() {
                        let known = map.get_mut(&key).filter(|known| known.kind == item.kind && known.size == item.size).ok_or_else(wrong)?;
                        known.digest = Some(digest(entry, content)?);
                    }
                    Ok(Flow::Continue(()))
                });
                walked.map(drop)
            },
        )?;
        let missed = wanted.iter().any(|key| map.get(key).is_none_or(|known| known.digest.is_none()));
        if missed { Err(wrong()) } else { Ok(()) }
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

fn tell(left: Map, right: Map) -> Comparison {
    let mut told = Comparison::default();
    let (mut left, mut right) = (left.into_iter().peekable(), right.into_iter().peekable());
    loop {
        let order = match (left.peek(), right.peek()) {
            (None, None) => return told,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some((left, _)), Some((right, _))) => left.cmp(right),
        };
        let before = next(&mut left, order != Ordering::Greater);
        let after = next(&mut right, order != Ordering::Less);
        if let (Some((_, before)), Some((_, after))) = (&before, &after)
            && before.is(after)
        {
            told.same += 1;
            continue;
        }
        let Some(((_, path), known)) = before.as_ref().or(after.as_ref()) else { return told };
        let state = |entry: &Option<(Key, Known)>| entry.as_ref().map(|(_, known)| known.state());
        let difference = Difference { path: named(known.archive.as_deref(), path), before: state(&before), after: state(&after) };
        match order {
            Ordering::Less => told.removed.push(difference),
            Ordering::Greater => told.added.push(difference),
            Ordering::Equal => told.changed.push(difference),
        }
    }
}

fn next(entries: &mut Peekable<btree_map::IntoIter<Key, Known>>, wanted: bool) -> Option<(Key, Known)> {
    if wanted { entries.next() } else { None }
}
