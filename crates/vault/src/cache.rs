//! What this machine remembers of a vault in its state directory, so that it need not be fetched again: descriptions of
//! backups, the hashes of a database's pages, the newest backup that was seen. Losing it costs time and nothing else.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::PathBuf,
};

use crate::{
    id::{Id, Kind},
    seal::Hash,
};

/// What a file of hashes begins with: what it is, the backup, its pages.
const HEAD: usize = 8 + 16 + 8;
const MAGIC: &[u8; 8] = b"HaulShe\x01";

/// One vault's part of the state directory.
#[derive(Clone, Debug)]
pub(crate) struct Cache {
    directory: PathBuf,
}

impl Cache {
    /// Below this state directory. It is made when something is kept.
    pub(crate) fn of(state: &std::path::Path, vault: Id) -> Self {
        Self { directory: state.join("vault").join(vault.to_string()) }
    }

    /// A description that was kept.
    pub(crate) fn snapshot(&self, id: Id) -> Option<Vec<u8>> {
        fs::read(self.directory.join(Kind::Snapshot.object(id))).ok()
    }

    /// Keeps a description, sealed as it is.
    pub(crate) fn keep_snapshot(&self, id: Id, bytes: &[u8]) {
        let _ = self.write(&Kind::Snapshot.object(id), bytes);
    }

    /// Forgets what is no longer there.
    pub(crate) fn forget_others(&self, is_there: impl Fn(Id) -> bool) {
        for entry in fs::read_dir(&self.directory).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let of = name.to_str().and_then(Kind::of);
            if of.is_some_and(|(kind, id)| kind == Kind::Snapshot && !is_there(id)) {
                let _ = fs::remove_file(entry.path());
            }
        }
    }

    /// When the newest backup that was ever seen was finished.
    pub(crate) fn newest(&self) -> Option<i64> {
        fs::read_to_string(self.directory.join("newest")).ok()?.trim().parse().ok()
    }

    /// A backup is the newest now.
    pub(crate) fn keep_newest(&self, finished: i64) {
        if self.newest() != Some(finished) {
            let _ = self.write("newest", finished.to_string().as_bytes());
        }
    }

    fn write(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let (path, mut file) = self.create(name)?;
        let written = file.write_all(bytes).and_then(|()| fs::rename(&path, self.directory.join(name)));
        if written.is_err() {
            let _ = fs::remove_file(&path);
        }
        written
    }

    /// A new file beside the one of this name.
    fn create(&self, name: &str) -> io::Result<(PathBuf, File)> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.directory)?;
        let unique = Id::random().map_err(io::Error::other)?;
        let path = self.directory.join(format!("{name}.new-{unique}"));
        let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path)?;
        Ok((path, file))
    }

    /// The hashes that a database's pages had in this backup, from its first page on.
    pub(crate) fn sheet(&self, database: &Hash, backup: Id, pages: u64) -> Option<Sheet> {
        let mut file = File::open(self.directory.join(name(database))).ok()?;
        let mut head = [0; HEAD];
        file.read_exact(&mut head).ok()?;
        (head == head_of(backup, pages)).then(|| Sheet(BufReader::with_capacity(64 << 10, file)))
    }

    /// Takes the hashes of a database as its pages pass.
    pub(crate) fn new_sheet(&self, database: &Hash) -> Option<NewSheet> {
        let name = name(database);
        let (temporary, mut file) = self.create(&name).ok()?;
        let path = self.directory.join(name);
        file.write_all(&[0; HEAD]).ok()?;
        Some(NewSheet { temporary, path, file: BufWriter::with_capacity(64 << 10, file), pages: 0, is_whole: true })
    }
}

fn name(database: &Hash) -> String {
    format!("pages-{}", Id(*database))
}

fn head_of(backup: Id, pages: u64) -> [u8; HEAD] {
    let mut head = [0; HEAD];
    head[..8].copy_from_slice(MAGIC);
    head[8..24].copy_from_slice(&backup.0);
    head[24..].copy_from_slice(&pages.to_le_bytes());
    head
}

/// Hashes of pages, in order.
pub(crate) struct Sheet(BufReader<File>);

impl Sheet {
    /// The next page's. Nothing where it ends too early: such a page counts as new.
    pub(crate) fn next(&mut self) -> Option<Hash> {
        let mut hash = [0; 16];
        self.0.read_exact(&mut hash).is_ok().then_some(hash)
    }
}

/// Hashes on their way into the cache. One that is dropped leaves nothing.
pub(crate) struct NewSheet {
    temporary: PathBuf,
    path: PathBuf,
    file: BufWriter<File>,
    pages: u64,
    is_whole: bool,
}

impl NewSheet {
    /// The next page's.
    pub(crate) fn push(&mut self, hash: &Hash) {
        self.pages += 1;
        self.is_whole &= self.file.write_all(hash).is_ok();
    }

    /// They are those of this backup.
    pub(crate) fn keep(mut self, backup: Id) {
        let written = (|| {
            self.file.flush()?;
            let file = self.file.get_mut();
            file.seek(SeekFrom::Start(0))?;
            file.write_all(&head_of(backup, self.pages))?;
            fs::rename(&self.temporary, &self.path)
        })();
        self.is_whole &= written.is_ok();
    }
}

impl Drop for NewSheet {
    fn drop(&mut self) {
        // After it was kept, nothing has this name.
        let _ = fs::remove_file(&self.temporary);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    #[test]
    fn hashes_count_for_the_backup_that_they_are_of() {
        let state = tempfile::tempdir().unwrap();
        let cache = Cache::of(state.path(), Id([1; 16]));
        let (backup, other) = (Id([2; 16]), Id([3; 16]));
        assert!(cache.sheet(&[9; 16], backup, 2).is_none());
        let mut new = cache.new_sheet(&[9; 16]).unwrap();
        new.push(&[4; 16]);
        new.push(&[5; 16]);
        new.keep(backup);
        assert!(cache.sheet(&[9; 16], other, 2).is_none() && cache.sheet(&[9; 16], backup, 3).is_none());
        let mut sheet = cache.sheet(&[9; 16], backup, 2).unwrap();
        assert_eq!((sheet.next(), sheet.next(), sheet.next()), (Some([4; 16]), Some([5; 16]), None));
        // What is given up leaves nothing, and the one before stays.
        drop(cache.new_sheet(&[9; 16]).unwrap());
        assert_eq!(fs::read_dir(state.path().join("vault").join(Id([1; 16]).to_string())).unwrap().count(), 1);
        cache.keep_snapshot(backup, b"sealed");
        cache.forget_others(|id| id == backup);
        assert_eq!(cache.snapshot(backup).unwrap(), b"sealed");
        cache.forget_others(|_| false);
        assert_eq!(cache.snapshot(backup), None);
    }
}
