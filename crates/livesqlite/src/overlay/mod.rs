//! The ways in where SQLite itself refuses to read, because it would have to write first: a hot rollback journal, or a
//! WAL database on a read-only mount where nobody keeps a `-shm`. Nothing is written here either: the image is the main
//! file with the right pages laid over it.
//!
//! No SQLite connection is open meanwhile, so a descriptor of our own on the main file is safe, and the locks on it are
//! of the kind that belongs to the descriptor.

mod journal;
mod lock;
mod wal;

pub(crate) use lock::try_exclusive;

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use crate::OpenError;
use crate::cache::Visit;
use crate::companions::{companion, open_regular};
use crate::header::{HEADER_LEN, Header};
use crate::image::{Base, Image, Layer};
use crate::page_set::PageSet;
use crate::patience::Patience;

/// Replaced pages kept in memory at most: 4 GiB of 4096-byte pages in the journal or WAL, about 36 MB here.
const MAX_REPLACED: usize = 1 << 20;

/// Page number → where its bytes begin in the journal or WAL.
type PageMap = HashMap<u32, u64>;

/// Opens the database at `path` without SQLite. Waits for the shared lock.
pub(crate) fn open(path: &Path, patience: &Patience) -> Result<Image, OpenError> {
    let main = open_regular(path)?;
    lock::shared(&main, patience)?;
    if let Some(hot) = hot_journal(path, &main)? {
        return rolled_back(main, hot);
    }
    let mut head = [0; HEADER_LEN];
    let read = read_up_to(&main, &mut head, 0)?;
    let header = Header::parse(&head[..read])?;
    if header.wal { logged(path, main, &header) } else { as_it_is(main, &header) }
}

/// A rollback journal that must be played back before the main file means anything.
fn hot_journal(path: &Path, main: &File) -> Result<Option<(File, journal::Journal)>, OpenError> {
    let file = match open_regular(&companion(path, "-journal")) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    // Whoever holds RESERVED is alive and the journal is its own business; our shared lock keeps it off the main file.
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
    let layer = Overlay::new(Some(file), found.pages, pages, Vec::new(), None);
    finish(main, layer, found.page_size, Some(pages))
}

fn logged(path: &Path, main: File, header: &Header) -> Result<Image, OpenError> {
    let (wal_path, shm_path) = (companion(path, "-wal"), companion(path, "-shm"));
    if lock::has_wal_owner(&shm_path)? {
        return Err(OpenError::locked("another program has the database open and SQLite could not join it"));
    }
    let visit = Visit::begin(&wal_path);
    let file = match open_regular(&wal_path) {
        Ok(file) => Some(file),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error.into()),
    };
    // Taken before the WAL is parsed, so that a change while parsing is noticed as well.
    let watched = vec![Watched::new(path.to_owned()), Watched::new(wal_path), Watched::new(shm_path)];
    let parsed = match &file {
        Some(file) => wal::parse(file, file.metadata()?.len(), MAX_REPLACED)?,
        None => None,
    };
    match parsed {
        Some(log) => {
            let layer = Overlay::new(file, log.pages, u64::from(log.database_pages), watched, visit);
            finish(main, layer, log.page_size, Some(u64::from(log.database_pages)))
        }
        None => finish(main, Overlay::new(None, PageMap::new(), 0, watched, None), header.page_size, None),
    }
}

fn as_it_is(main: File, header: &Header) -> Result<Image, OpenError> {
    finish(main, Overlay::new(None, PageMap::new(), 0, Vec::new(), None), header.page_size, None)
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

/// Pages of a journal or WAL over the main file.
struct Overlay {
    file: Option<File>,
    pages: PageMap,
    /// The keys of `pages`, to find the next one quickly; none above the bound of `PageSet`, then the map is asked.
    which: Option<PageSet>,
    watched: Vec<Watched>,
    _visit: Option<Visit>,
}

impl Overlay {
    fn new(file: Option<File>, pages: PageMap, database_pages: u64, watched: Vec<Watched>, visit: Option<Visit>) -> Self {
        let mut which = PageSet::new(database_pages);
        if let Some(set) = &mut which {
            for page in pages.keys() {
                set.insert(*page);
            }
        }
        Self { file, pages, which, watched, _visit: visit }
    }
}

impl Layer for Overlay {
    fn next_replaced(&self, from: u64, end: u64) -> Option<u64> {
        match &self.which {
            Some(set) => set.next_in(from, end),
            None => (from..end).find(|page| self.pages.contains_key(&(*page as u32))),
        }
    }

    fn read_page(&mut self, page: u32, out: &mut [u8]) -> io::Result<()> {
        let (Some(file), Some(at)) = (&self.file, self.pages.get(&page)) else {
            return Err(io::Error::other("a page of the journal is missing"));
        };
        file.read_exact_at(out, *at)
    }

    fn still_valid(&self) -> io::Result<()> {
        if self.watched.iter().all(Watched::unchanged) {
            return Ok(());
        }
        Err(io::Error::other("another program began to use the database while it was read without SQLite"))
    }
}
