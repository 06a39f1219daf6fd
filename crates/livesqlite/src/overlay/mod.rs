//! Reads databases that SQLite itself could read only after writing: a WAL database that nobody has open (SQLite would
//! create or rebuild the `-shm`), and, where SQLite therefore refuses, a hot rollback journal or a WAL on a read-only
//! mount. Nothing is written: the image is the main file with the right pages laid over it.
//!
//! No SQLite connection is open meanwhile, so a descriptor of our own on the main file is safe, and the locks on it are
//! of the kind that belongs to the descriptor.

mod guard;
mod journal;
mod lock;
mod wal;

pub(crate) use lock::try_exclusive;

use std::collections::HashMap;
use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use crate::OpenError;
use crate::bounds::page_number;
use crate::companions::{SUFFIXES, companion, open_regular};
use crate::header::{HEADER_LEN, Header};
use crate::image::{Base, Image, Layer};
use crate::lock_wait::LockWait;
use crate::own_fd;
use crate::page_cache::Visit;
use crate::page_set::PageSet;
use guard::Guard;

/// Replaced pages kept in memory at most: 4 GiB of 4096-byte pages in the journal or WAL, about 36 MB here.
const MAX_REPLACED: usize = 1 << 20;

/// Page number → where its bytes begin in the journal or WAL.
type PageMap = HashMap<u32, u64>;

/// Opens a WAL database that nobody has open, without writing to disk and without keeping newcomers waiting. `None`:
/// somebody has it open, or one of the two cannot be guaranteed; SQLite knows what to do then, and what to say about an
/// invalid file. `metadata` is that of the intended file.
pub(crate) fn open_idle(path: &Path, metadata: &Metadata) -> Option<Image> {
    idle(path, metadata).ok().flatten()
}

fn idle(path: &Path, metadata: &Metadata) -> Result<Option<Image>, OpenError> {
    let [wal_path, shm_path, journal_path] = SUFFIXES.map(|suffix| companion(path, suffix));
    // Descriptors of this process: to close ours would drop the locks on theirs. A second name: others could keep
    // another `-shm` beside that.
    if !own_fd::of(path).is_empty()
        || metadata.nlink() > 1
        || fs::symlink_metadata(&journal_path).is_ok()
        || lock::has_wal_owner(&shm_path)?
    {
        return Ok(None);
    }
    let main = open_regular(path)?;
    let opened = main.metadata()?;
    if (opened.dev(), opened.ino()) != (metadata.dev(), metadata.ino()) {
        return Ok(None);
    }
    // The lock before the guard: from here on nobody deletes a `-shm`, including the guard's, or changes the journal
    // mode.
    if !read_header(&main)?.wal || !lock::try_shared(&main)? {
        return Ok(None);
    }
    let Some(guard) = Guard::take(&main, &shm_path)? else { return Ok(None) };
    let header = read_header(&main)?;
    if !header.wal || fs::symlink_metadata(&journal_path).is_ok() {
        return Ok(None);
    }
    logged(main, &header, &wal_path, Keeper::Guard(guard)).map(Some)
}

/// Opens the database at `path` without SQLite. Waits for the shared lock.
pub(crate) fn open(path: &Path, wait: &LockWait) -> Result<Image, OpenError> {
    let main = open_regular(path)?;
    lock::shared(&main, wait)?;
    if let Some(hot) = hot_journal(path, &main)? {
        return rolled_back(main, hot);
    }
    let header = read_header(&main)?;
    if !header.wal {
        return finish(main, Overlay::new(None, PageMap::new(), 0, Keeper::Lock, None), header.page_size, None);
    }
    let (wal_path, shm_path) = (companion(path, "-wal"), companion(path, "-shm"));
    if lock::has_wal_owner(&shm_path)? {
        return Err(OpenError::locked("another program has the database open and SQLite could not join it"));
    }
    // Taken before the WAL is parsed, so that a change while parsing is noticed as well.
    let watched = [path, &wal_path, &shm_path].map(|file| Watched::new(file.to_owned())).into();
    logged(main, &header, &wal_path, Keeper::Nobody(watched))
}

fn read_header(main: &File) -> Result<Header, OpenError> {
    let mut head = [0; HEADER_LEN];
    let read = read_up_to(main, &mut head, 0)?;
    Header::parse(&head[..read])
}

/// A rollback journal that must be played back before the main file means anything.
fn hot_journal(path: &Path, main: &File) -> Result<Option<(File, journal::Journal)>, OpenError> {
    let file = match open_regular(&companion(path, "-journal")) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    // Whoever holds RESERVED is alive and the journal belongs to it; our shared lock keeps it off the main file.
    if lock::is_reserved(main)? {
        return Ok(None);
    }
    let mut head = [0; HEADER_LEN];
    let read = read_up_to(main, &mut head, 0)?;
    let page_size = Header::parse(&head[..read]).map(|header| header.page_size).ok();
    let len = file.metadata()?.len();
    let parsed = journal::parse(&file, len, page_size, MAX_REPLACED)?;
    Ok(parsed.filter(|found| found.depends_on.as_ref().is_none_or(|name| name.exists())).map(|found| (file, found)))
}

fn rolled_back(main: File, (file, found): (File, journal::Journal)) -> Result<Image, OpenError> {
    let pages = u64::from(found.original_pages);
    let layer = Overlay::new(Some(file), found.pages, pages, Keeper::Lock, None);
    finish(main, layer, found.page_size, Some(pages))
}

/// The main file and the commits in its log, if there is one.
fn logged(main: File, header: &Header, wal_path: &Path, keeper: Keeper) -> Result<Image, OpenError> {
    let visit = Visit::begin(wal_path);
    let file = match open_regular(wal_path) {
        Ok(file) => Some(file),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error.into()),
    };
    let parsed = match &file {
        Some(file) => wal::parse(file, file.metadata()?.len(), MAX_REPLACED)?,
        None => None,
    };
    match parsed {
        Some(log) => {
            let layer = Overlay::new(file, log.pages, u64::from(log.database_pages), keeper, visit);
            finish(main, layer, log.page_size, Some(u64::from(log.database_pages)))
        }
        None => finish(main, Overlay::new(None, PageMap::new(), 0, keeper, None), header.page_size, None),
    }
}

/// Checks page 1 of the finished picture against what the journal or WAL promised.
fn finish(main: File, mut layer: Overlay, page_size: u32, pages: Option<u64>) -> Result<Image, OpenError> {
    let in_file = main.metadata()?.len() / u64::from(page_size);
    let mut first = vec![0; page_size as usize];
    if layer.next_replaced(1, 2).is_some() {
        layer.read_page(1, &mut first)?;
    } else {
        read_up_to(&main, &mut first, 0)?;
    }
    let header = Header::parse(&first)?;
    if header.page_size != page_size {
        return Err(OpenError::corrupt("journal and database disagree on the page size"));
    }
    let available = pages.unwrap_or(in_file);
    let pages = header.pages(available);
    if pages == 0 || pages > available {
        return Err(OpenError::corrupt(format!("the header declares {pages} pages, but there are {available}")));
    }
    Ok(Image::new(Box::new(layer), Base::Owned(main), page_size, pages)?)
}

/// Reads until `out` is full or the file ends.
fn read_up_to(file: &File, out: &mut [u8], at: u64) -> io::Result<usize> {
    let mut done = 0;
    while done < out.len() {
        match file.read_at(&mut out[done..], at + done as u64) {
            Ok(0) => break,
            Ok(read) => done += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}

/// A file whose change would make the image worthless, where no lock of ours can prevent it.
struct Watched {
    path: PathBuf,
    before: Option<(u64, u64, i64, i64, i64, i64)>,
}

impl Watched {
    fn new(path: PathBuf) -> Self {
        let before = Self::look(&path);
        Self { path, before }
    }

    fn look(path: &Path) -> Option<(u64, u64, i64, i64, i64, i64)> {
        let m = std::fs::metadata(path).ok()?;
        Some((m.ino(), m.size(), m.mtime(), m.mtime_nsec(), m.ctime(), m.ctime_nsec()))
    }

    fn unchanged(&self) -> bool {
        Self::look(&self.path) == self.before
    }
}

/// What keeps the files still while they are read.
enum Keeper {
    /// The shared lock is enough: in a rollback mode nobody writes against it.
    Lock,
    Guard(Guard),
    /// No lock would be respected; then a change must at least not go unnoticed.
    Nobody(Vec<Watched>),
}

impl Keeper {
    fn has_kept(&self) -> bool {
        match self {
            Self::Lock => true,
            Self::Guard(guard) => guard.has_kept(),
            Self::Nobody(watched) => watched.iter().all(Watched::unchanged),
        }
    }
}

/// Pages of a journal or WAL over the main file.
struct Overlay {
    file: Option<File>,
    pages: PageMap,
    /// The keys of `pages`, to find the next one quickly; beyond the bound of `PageSet` there are none, and the map is
    /// searched.
    which: Option<PageSet>,
    keeper: Keeper,
    _visit: Option<Visit>,
}

impl Overlay {
    fn new(file: Option<File>, pages: PageMap, database_pages: u64, keeper: Keeper, visit: Option<Visit>) -> Self {
        let mut which = PageSet::new(database_pages);
        if let Some(set) = &mut which {
            for page in pages.keys() {
                set.insert(*page);
            }
        }
        Self { file, pages, which, keeper, _visit: visit }
    }
}

impl Layer for Overlay {
    fn next_replaced(&self, from: u64, end: u64) -> Option<u64> {
        match &self.which {
            Some(set) => set.next_in(from, end),
            None => (from..end).find(|page| self.pages.contains_key(&page_number(*page))),
        }
    }

    fn read_page(&mut self, page: u32, out: &mut [u8]) -> io::Result<()> {
        let (Some(file), Some(at)) = (&self.file, self.pages.get(&page)) else {
            return Err(io::Error::other("a page of the journal is missing"));
        };
        file.read_exact_at(out, *at)
    }

    fn still_valid(&self) -> io::Result<()> {
        if self.keeper.has_kept() {
            return Ok(());
        }
        Err(io::Error::other("another program began to use the database while it was read without SQLite"))
    }
}
