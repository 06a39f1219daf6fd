//! What a folder remembers of its destination in files: the last list, and the parts of archives that clients look at
//! to see what an archive is. Losing any of it costs time only.

use std::{
    collections::{BTreeMap, HashSet},
    fs::{self, DirBuilder, File, OpenOptions},
    hash::{DefaultHasher, Hash, Hasher},
    io::{self, Read, Write},
    ops::Range,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, UNIX_EPOCH},
};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use store::Entry;

/// Bytes of one archive. Linux asks for 1 MiB wherever a member begins, although the header of a member is 512 bytes.
const EACH: u64 = 8 << 20;
/// Bytes of all archives.
const ALL: u64 = 256 << 20;
/// Bytes of a list.
const LIST: u64 = 16 << 20;
/// The list's file.
const LIST_NAME: &str = "list";
/// What is being written.
const UNFINISHED: &str = ".new";

/// A directory with what is remembered.
pub(crate) struct Kept {
    directory: PathBuf,
    index: Mutex<Index>,
    written: AtomicU64,
}

/// Pieces by their archive's key and their offset.
#[derive(Default)]
struct Index {
    pieces: BTreeMap<(u64, u64), u64>,
    all: u64,
}

impl Index {
    fn of(&self, key: u64) -> impl DoubleEndedIterator<Item = (u64, u64)> + '_ {
        self.pieces.range((key, 0)..=(key, u64::MAX)).map(|((_, begins), length)| (*begins, *length))
    }

    fn remove(&mut self, key: u64, begins: u64) {
        self.all -= self.pieces.remove(&(key, begins)).unwrap_or_default();
    }
}

#[derive(Serialize, Deserialize)]
struct List {
    /// The destination it is of.
    destination: String,
    entries: Vec<Listed>,
}

#[derive(Serialize, Deserialize)]
struct Listed {
    name: String,
    size: u64,
    modified: Option<Duration>,
    link: bool,
}

impl Kept {
    /// Opens a directory, which is made if it is missing.
    pub(crate) fn open(directory: &Path) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        let mut index = Index::default();
        for found in fs::read_dir(directory)? {
            let found = found?;
            match found.file_name().to_str().map(parse) {
                Some(Some((key, begins, length))) => {
                    index.pieces.insert((key, begins), length);
                    index.all += length;
                }
                _ if found.file_name().as_encoded_bytes().ends_with(UNFINISHED.as_bytes()) => {
                    let _ = fs::remove_file(found.path());
                }
                _ => {}
            }
        }
        Ok(Self { directory: directory.to_owned(), index: Mutex::new(index), written: AtomicU64::default() })
    }

    /// The last list, and the destination it is of.
    pub(crate) fn list(&self) -> Option<(String, Vec<Entry>)> {
        let mut text = Vec::new();
        File::open(self.directory.join(LIST_NAME)).ok()?.take(LIST).read_to_end(&mut text).ok()?;
        let list: List = serde_json::from_slice(&text).ok()?;
        let entry = |listed: Listed| Entry {
            name: listed.name,
            size: listed.size,
            modified: listed.modified.and_then(|since| UNIX_EPOCH.checked_add(since)),
            link: listed.link,
        };
        Some((list.destination, list.entries.into_iter().map(entry).collect()))
    }

    /// Remembers a list, and forgets what is not in it.
    pub(crate) fn set_list(&self, destination: &str, entries: &[Entry]) -> io::Result<()> {
        let listed = |entry: &Entry| Listed {
            name: entry.name.clone(),
            size: entry.size,
            modified: entry.modified.and_then(|time| time.duration_since(UNIX_EPOCH).ok()),
            link: entry.link,
        };
        let list = List { destination: destination.to_owned(), entries: entries.iter().map(listed).collect() };
        let text = serde_json::to_vec(&list)?;
        if text.len() as u64 <= LIST {
            self.write(LIST_NAME, &[&text])?;
        }
        let there: HashSet<u64> = entries.iter().map(key).collect();
        self.forget(|key| !there.contains(&key));
        Ok(())
    }

    /// Forgets everything.
    pub(crate) fn clear(&self) {
        let _ = fs::remove_file(self.directory.join(LIST_NAME));
        self.forget(|_| true);
    }

    fn forget(&self, is_gone: impl Fn(u64) -> bool) {
        let mut index = self.lock();
        let gone: Vec<(u64, u64)> = index.pieces.keys().filter(|(key, _)| is_gone(*key)).copied().collect();
        for (key, begins) in gone {
            if let Some(length) = index.pieces.get(&(key, begins)) {
                let _ = fs::remove_file(self.directory.join(name(key, begins, *length)));
            }
            index.remove(key, begins);
        }
    }

    /// The bytes of an archive from an offset on, as many as there are.
    pub(crate) fn read(&self, archive: &Entry, offset: u64) -> Option<Bytes> {
        let key = key(archive);
        let found = self.lock().of(key).rfind(|(begins, length)| (*begins..begins + length).contains(&offset));
        let (begins, length) = found?;
        let path = self.directory.join(name(key, begins, length));
        let piece = fs::read(&path).ok().and_then(|bytes| checked(bytes, archive, length));
        if piece.is_none() {
            let _ = fs::remove_file(path);
            self.lock().remove(key, begins);
        }
        Some(piece?.slice((offset - begins) as usize..))
    }

    /// Whether these bytes of an archive would still have room.
    pub(crate) fn has_room(&self, archive: &Entry, range: &Range<u64>) -> bool {
        let (index, length) = (self.lock(), range.end - range.start);
        let own: u64 = index.of(key(archive)).map(|(_, length)| length).sum();
        own + length <= EACH && index.all + length <= ALL
    }

    /// Remembers bytes of an archive.
    pub(crate) fn add(&self, archive: &Entry, begins: u64, bytes: &[u8]) -> io::Result<()> {
        let (key, length) = (key(archive), bytes.len() as u64);
        match self.lock().pieces.get(&(key, begins)).copied() {
            Some(known) if known >= length => return Ok(()),
            Some(shorter) => drop(fs::remove_file(self.directory.join(name(key, begins, shorter)))),
            None => {}
        }
        let identity = identity(archive);
        let sum = checksum(&[bytes, &identity]).to_le_bytes();
        self.write(&name(key, begins, length), &[bytes, &identity, &sum])?;
        let mut index = self.lock();
        index.remove(key, begins);
        index.pieces.insert((key, begins), length);
        index.all += length;
        Ok(())
    }

    /// Under its name there is all of it or nothing; after a power failure its checksum tells.
    fn write(&self, name: &str, parts: &[&[u8]]) -> io::Result<()> {
        let unfinished = format!("{}{UNFINISHED}", self.written.fetch_add(1, Ordering::Relaxed));
        let unfinished = self.directory.join(unfinished);
        let write = || {
            let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&unfinished)?;
            parts.iter().try_for_each(|part| file.write_all(part))?;
            fs::rename(&unfinished, self.directory.join(name))
        };
        write().inspect_err(|_| drop(fs::remove_file(&unfinished)))
    }

    fn lock(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn key(archive: &Entry) -> u64 {
    let mut hasher = DefaultHasher::new();
    (&archive.name, archive.size, archive.modified).hash(&mut hasher);
    hasher.finish()
}

/// What tells archives apart whose keys are the same.
fn identity(archive: &Entry) -> Vec<u8> {
    format!("{}\0{}\0{:?}", archive.name, archive.size, archive.modified).into_bytes()
}

fn name(key: u64, begins: u64, length: u64) -> String {
    format!("{key:016x}-{begins:x}-{length:x}")
}

fn parse(name: &str) -> Option<(u64, u64, u64)> {
    let mut numbers = name.split('-').map(|number| u64::from_str_radix(number, 16).ok());
    let parsed = (numbers.next()??, numbers.next()??, numbers.next()??);
    numbers.next().is_none().then_some(parsed)
}

fn checksum(parts: &[&[u8]]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    for part in parts {
        hasher.update(part);
    }
    hasher.finalize()
}

fn checked(bytes: Vec<u8>, archive: &Entry, length: u64) -> Option<Bytes> {
    let (content, sum) = bytes.split_last_chunk::<4>()?;
    let (_, of) = content.split_at_checked(length as usize)?;
    let is_right = of == identity(archive) && checksum(&[content]) == u32::from_le_bytes(*sum);
    is_right.then(|| Bytes::from(bytes).slice(..length as usize))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    fn archive(name: &str, size: u64) -> Entry {
        Entry { name: name.to_owned(), size, modified: UNIX_EPOCH.checked_add(Duration::new(7, 9)), link: false }
    }

    #[test]
    fn a_list_and_pieces_are_there_after_a_start_and_nobody_else_reads_them() {
        let home = tempfile::tempdir().unwrap();
        let directory = home.path().join("kept");
        let kept = Kept::open(&directory).unwrap();
        assert!(kept.list().is_none());
        let entries = [archive("a.tar", 10_000), archive("b.tar", 5)];
        kept.set_list("s3://bucket", &entries).unwrap();
        kept.add(&entries[0], 100, b"some bytes").unwrap();
        // A start that was killed while it wrote.
        fs::write(directory.join("7.new"), "half").unwrap();
        let kept = Kept::open(&directory).unwrap();
        assert_eq!(kept.list().unwrap(), ("s3://bucket".to_owned(), entries.to_vec()));
        assert_eq!(kept.read(&entries[0], 105).unwrap(), &b"bytes"[..]);
        assert!(kept.read(&entries[0], 99).is_none() && kept.read(&entries[0], 110).is_none());
        // One that has another size or time is another one.
        assert!(kept.read(&archive("a.tar", 10_001), 105).is_none());
        assert!(kept.read(&Entry { modified: None, ..entries[0].clone() }, 105).is_none());
        for found in fs::read_dir(&directory).unwrap() {
            assert_eq!(found.unwrap().metadata().unwrap().mode() & 0o777, 0o600);
        }
        assert_eq!(fs::metadata(&directory).unwrap().mode() & 0o777, 0o700);
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 2);
    }

    #[test]
    fn what_is_gone_is_forgotten_and_what_is_damaged_is_not_believed() {
        let home = tempfile::tempdir().unwrap();
        let kept = Kept::open(home.path()).unwrap();
        let entries = [archive("a.tar", 10_000), archive("b.tar", 500)];
        kept.add(&entries[0], 0, &[1; 300]).unwrap();
        kept.add(&entries[1], 0, &[2; 300]).unwrap();
        kept.set_list("x", &entries[1..]).unwrap();
        assert!(kept.read(&entries[0], 0).is_none() && kept.read(&entries[1], 0).is_some());
        let piece = home.path().join(name(key(&entries[1]), 0, 300));
        let mut bytes = fs::read(&piece).unwrap();
        bytes[17] ^= 1;
        fs::write(&piece, &bytes).unwrap();
        assert!(kept.read(&entries[1], 0).is_none() && !piece.exists());
        // A power failure leaves an empty file.
        kept.add(&entries[1], 0, &[2; 300]).unwrap();
        fs::write(&piece, "").unwrap();
        assert!(kept.read(&entries[1], 0).is_none() && !piece.exists());
        assert_eq!(kept.lock().all, 0);
    }

    #[test]
    fn there_is_room_for_so_much_and_no_more() {
        let home = tempfile::tempdir().unwrap();
        let kept = Kept::open(home.path()).unwrap();
        let one = archive("a.tar", 1 << 40);
        assert!(kept.has_room(&one, &(0..EACH)) && !kept.has_room(&one, &(0..EACH + 1)));
        kept.add(&one, 0, &[0; 10]).unwrap();
        assert!(!kept.has_room(&one, &(0..EACH)) && kept.has_room(&archive("b.tar", 1), &(0..EACH)));
        kept.lock().all = ALL;
        assert!(!kept.has_room(&archive("b.tar", 1), &(0..1)));
        kept.lock().all = 10;
        kept.clear();
        assert!(kept.has_room(&one, &(0..EACH)));
    }
}
