//! The normal way to read: a read transaction of SQLite itself.
//!
//! SQLite takes the locks, recovers a WAL index and decides which commit is visible. The transaction keeps the main
//! file unchanged: in rollback modes nobody may write it, and in WAL mode a checkpoint may not pass our read mark. So
//! every page without a frame in the WAL is in the main file exactly as the snapshot needs it. Those pages are read
//! from the file directly, in large pieces; only pages that have a frame come from SQLite, through `sqlite_dbpage`.

use std::io;
use std::ops::Range;
use std::path::Path;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags, ffi};

use crate::OpenError;
use crate::companions::{SUFFIXES, companion};
use crate::header::{LOCK_BYTE, be32, page_size_field};
use crate::image::{Base, Image, Layer};
use crate::own_fd::{self, OwnFd};
use crate::page_cache::Visit;
use crate::page_set::PageSet;
use crate::pins::Pin;

/// Where SQLite's WAL readers lock in the `-shm` file: `WAL_READ_LOCK(0..5)`.
const SHM_READ_LOCKS: Range<u64> = 123..128;
/// Where a reader locks in the main file.
const SHARED_LOCKS: Range<u64> = LOCK_BYTE + 2..LOCK_BYTE + 512;
const ONE_PAGE: &str = "SELECT data FROM sqlite_dbpage WHERE pgno = ?1";
/// Bytes of header before each page in a WAL.
const FRAME_HEADER: u64 = 24;
const WAL_HEADER: usize = 32;

/// Fails unless this program's SQLite offers the `sqlite_dbpage` table; ask once, at start.
pub fn check_library() -> Result<(), OpenError> {
    let connection = Connection::open_in_memory().map_err(|error| OpenError::Io(plain(&error)))?;
    let has_it: bool = connection
        .query_row("SELECT sqlite_compileoption_used('ENABLE_DBPAGE_VTAB')", [], |row| row.get(0))
        .map_err(|error| OpenError::Io(plain(&error)))?;
    if has_it { Ok(()) } else { Err(OpenError::NoDbPage) }
}

/// SQLite did not give a snapshot.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// It would have to write something first (roll a journal back, make a `-shm`) and may not.
    MustWrite,
    /// Nothing else would help.
    Final(OpenError),
}

/// Opens `path` (absolute, symlinks resolved) and pins the latest commit. The result keeps the transaction open.
pub(crate) fn open(path: &Path, pin: &mut Pin, busy_timeout: Duration) -> Result<Image, Refusal> {
    let [wal_path, shm_path, journal_path] = SUFFIXES.map(|suffix| companion(path, suffix));
    let before = [path, &wal_path, &shm_path].map(own_fd::of).concat();
    // Before SQLite reads it: recovery of its index alone goes through the whole WAL.
    let wal_visit = Visit::begin(&wal_path);
    // A path that begins with '/' is never taken for a URI, whatever follows.
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(|error| refusal(&error))?;
    begin(&connection, busy_timeout).map_err(|error| refusal(&error))?;
    for file in [&wal_path, &shm_path, &journal_path] {
        pin.add(file);
    }
    let [main, wal, shm] = [path, &wal_path, &shm_path].map(|file| own_fd::opened_since(&before, file));
    let locks = visible([(main, SHARED_LOCKS), (shm, SHM_READ_LOCKS)]);
    #[expect(clippy::cast_possible_truncation, reason = "a page has at most 64 KiB")]
    let page_size = pragma(&connection, "PRAGMA page_size").map_err(|error| refusal(&error))? as u32;
    let pages = pragma(&connection, "PRAGMA page_count").map_err(|error| refusal(&error))? as u64;
    let mode: String =
        connection.query_row("PRAGMA journal_mode", [], |row| row.get(0)).map_err(|error| refusal(&error))?;
    let replaced = match (main, mode.as_str()) {
        (None, _) => Replaced::All,
        (Some(_), "wal") => wal.and_then(|fd| framed_pages(fd, page_size, pages)).map_or(Replaced::All, Replaced::Some),
        (Some(_), _) => Replaced::None,
    };
    if !matches!(replaced, Replaced::None) {
        // Now rather than in the middle of the stream.
        connection.prepare_cached(ONE_PAGE).map_err(|error| without_pages(&error))?;
    }
    let base = match (&replaced, main) {
        (Replaced::All, _) | (_, None) => Base::None,
        (_, Some(fd)) => Base::Lent(fd),
    };
    let transaction = Transaction { connection, replaced, locks, _wal_visit: wal_visit };
    Image::new(Box::new(transaction), base, page_size, pages).map_err(|error| Refusal::Final(error.into()))
}

fn begin(connection: &Connection, busy_timeout: Duration) -> rusqlite::Result<()> {
    connection.busy_timeout(busy_timeout)?;
    // The last one out must not checkpoint: that would write to the database.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    connection.execute_batch("BEGIN")?;
    // Reads page 1 without parsing the schema: this is where the locks are taken and the snapshot is chosen.
    pragma(connection, "PRAGMA user_version")?;
    // From here on a schema that cannot be parsed is no obstacle. Not earlier: it would also excuse a truncated file.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_WRITABLE_SCHEMA, true)?;
    // Pages pass through once; SQLite need not keep them.
    connection.execute_batch("PRAGMA cache_size = 8; PRAGMA mmap_size = 0; PRAGMA cell_size_check = OFF")
}

fn pragma(connection: &Connection, sql: &str) -> rusqlite::Result<i64> {
    connection.query_row(sql, [], |row| row.get(0))
}

/// Pages that must come from SQLite.
#[derive(Debug)]
enum Replaced {
    None,
    Some(PageSet),
    All,
}

/// The pages that have a frame anywhere in the WAL file: more than the snapshot sees, never fewer, since nobody can
/// overwrite the frames it sees while its read mark holds. `None` if the WAL cannot be parsed.
#[expect(clippy::cast_possible_truncation, reason = "the two halves of 32 bits, which SQLite keeps a size of 65536 in")]
fn framed_pages(wal: OwnFd, page_size: u32, pages: u64) -> Option<PageSet> {
    let mut set = PageSet::new(pages)?;
    let fd = wal.lend();
    let len = rustix::fs::fstat(fd).ok()?.st_size as u64;
    if len < WAL_HEADER as u64 {
        return Some(set);
    }
    let mut head = [0; WAL_HEADER];
    read_exact_at(wal, &mut head, 0).ok()?;
    let declared = be32(&head, 8);
    if declared != page_size || page_size_field((declared & 0xffff | declared >> 16) as u16) != Some(page_size) {
        return None;
    }
    let stride = FRAME_HEADER + u64::from(page_size);
    let mut frame = [0; 4];
    let mut at = WAL_HEADER as u64;
    while at + stride <= len {
        read_exact_at(wal, &mut frame, at).ok()?;
        set.insert(be32(&frame, 0));
        at += stride;
    }
    Some(set)
}

fn read_exact_at(fd: OwnFd, out: &mut [u8], at: u64) -> io::Result<()> {
    let mut done = 0;
    while done < out.len() {
        match rustix::io::pread(fd.lend(), &mut out[done..], at + done as u64) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(read) => done += read,
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Those that the kernel lists now. A file system that keeps locks elsewhere (FUSE, a network) never lists them, so
/// that one which is missing later proves nothing there.
fn visible(locks: [(Option<OwnFd>, Range<u64>); 2]) -> Vec<(OwnFd, Range<u64>)> {
    let known = locks.into_iter().filter_map(|(fd, range)| fd.map(|fd| (fd, range)));
    known.filter(|(fd, range)| fd.holds_read_lock(range) == Some(true)).collect()
}

/// An open read transaction. Dropping it closes the connection and with it every lock.
struct Transaction {
    connection: Connection,
    replaced: Replaced,
    /// Read locks, by where they begin, that the kernel listed when they had just been taken.
    locks: Vec<(OwnFd, Range<u64>)>,
    _wal_visit: Option<Visit>,
}

impl Layer for Transaction {
    fn next_replaced(&self, from: u64, end: u64) -> Option<u64> {
        match &self.replaced {
            Replaced::None => None,
            Replaced::Some(set) => set.next_in(from, end),
            Replaced::All => (from < end).then_some(from),
        }
    }

    fn read_page(&mut self, page: u32, out: &mut [u8]) -> io::Result<()> {
        let mut statement = self.connection.prepare_cached(ONE_PAGE).map_err(|error| plain(&error))?;
        let mut rows = statement.query([page]).map_err(|error| plain(&error))?;
        let row = rows.next().map_err(|error| plain(&error))?;
        let row = row.ok_or_else(|| io::Error::other("a page of the snapshot is missing"))?;
        let data = row.get_ref(0).map_err(|error| plain(&error))?.as_blob().map_err(io::Error::other)?;
        if data.len() != out.len() {
            return Err(io::Error::other("a page of the snapshot has a wrong size"));
        }
        out.copy_from_slice(data);
        Ok(())
    }

    fn still_valid(&self) -> io::Result<()> {
        if self.locks.iter().any(|(fd, range)| fd.holds_read_lock(range) == Some(false)) {
            return Err(io::Error::other(
                "the read lock was lost while reading: something in this process opened the file",
            ));
        }
        Ok(())
    }
}

/// SQLite's error as an I/O error, with SQLite's text.
fn plain(error: &rusqlite::Error) -> io::Error {
    io::Error::other(text_of(error))
}

fn text_of(error: &rusqlite::Error) -> String {
    match error {
        rusqlite::Error::SqliteFailure(code, None) => code.to_string(),
        rusqlite::Error::SqliteFailure(_, Some(message)) => message.clone(),
        other => other.to_string(),
    }
}

fn refusal(error: &rusqlite::Error) -> Refusal {
    let text = text_of(error);
    let rusqlite::Error::SqliteFailure(code, _) = error else {
        return Refusal::Final(OpenError::Io(plain(error)));
    };
    match code.code {
        ErrorCode::ReadOnly | ErrorCode::CannotOpen | ErrorCode::PermissionDenied => Refusal::MustWrite,
        ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked | ErrorCode::FileLockingProtocolFailed => {
            Refusal::Final(OpenError::Locked { reason: text })
        }
        ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => Refusal::Final(OpenError::Corrupt { reason: text }),
        ErrorCode::SystemIoFailure if is_shared_memory(code.extended_code) => Refusal::MustWrite,
        _ => Refusal::Final(OpenError::Io(plain(error))),
    }
}

fn without_pages(error: &rusqlite::Error) -> Refusal {
    match text_of(error) {
        missing if missing.contains("no such table") => Refusal::Final(OpenError::NoDbPage),
        reason => Refusal::Final(OpenError::Corrupt { reason }),
    }
}

fn is_shared_memory(extended: i32) -> bool {
    [ffi::SQLITE_IOERR_SHMOPEN, ffi::SQLITE_IOERR_SHMSIZE, ffi::SQLITE_IOERR_SHMLOCK, ffi::SQLITE_IOERR_SHMMAP]
        .contains(&extended)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::free_pages::FreeList;
    use crate::header::Header;
    use crate::lock_wait::LockWait;
    use crate::watch::Watch;

    /// All of an image as it is in the database.
    fn whole(image: &mut Image) -> Vec<u8> {
        let mut bytes = vec![0; image.page_size() as usize * image.pages() as usize];
        let mut first = vec![0; image.page_size() as usize];
        image.read_page(1, &mut first).unwrap();
        let mut watch = Watch::new(&first, Header::parse(&first).unwrap(), image.pages(), FreeList::TooLong, false);
        image.fill(1, &mut bytes, &mut watch).unwrap();
        bytes
    }

    /// If the kernel never lists a lock, the file system keeps its locks elsewhere.
    #[test]
    fn only_a_lock_that_was_listed_once_can_be_lost() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().canonicalize().unwrap().join("a.db");
        Connection::open(&path).unwrap().execute_batch("CREATE TABLE t(x)").unwrap();
        let connection = Connection::open_with_flags(&path, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
        let main = own_fd::opened_since(&[], &path);
        let unlisted = visible([(main, SHARED_LOCKS), (None, SHM_READ_LOCKS)]);
        begin(&connection, Duration::ZERO).unwrap();
        let listed = visible([(main, SHARED_LOCKS), (None, SHM_READ_LOCKS)]);
        assert_eq!((unlisted.len(), listed.len()), (0, 1));
        // Closing any descriptor of the file drops the lock.
        let mut transaction = Transaction { connection, replaced: Replaced::None, locks: listed, _wal_visit: None };
        transaction.still_valid().unwrap();
        drop(std::fs::File::open(&path).unwrap());
        assert!(transaction.still_valid().is_err());
        transaction.locks = unlisted;
        transaction.still_valid().unwrap();
    }

    /// If `/proc` is missing or the WAL cannot be parsed, every page comes from SQLite.
    #[test]
    fn all_pages_can_come_through_sqlite() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().canonicalize().unwrap().join("a.db");
        let db = Connection::open(&path).unwrap();
        db.execute_batch("PRAGMA journal_mode=WAL; CREATE TABLE t(x); INSERT INTO t VALUES (randomblob(50000))")
            .unwrap();
        let mut pin = Pin::take(&path.metadata().unwrap(), &LockWait::new(Duration::ZERO, None)).unwrap();
        let mut direct = open(&path, &mut pin, Duration::ZERO).unwrap();
        let (page_size, pages) = (direct.page_size(), direct.pages());
        let wanted = whole(&mut direct);
        drop(direct);
        let connection = Connection::open_with_flags(&path, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
        begin(&connection, Duration::ZERO).unwrap();
        let all = Transaction { connection, replaced: Replaced::All, locks: Vec::new(), _wal_visit: None };
        let mut slow = Image::new(Box::new(all), Base::None, page_size, pages).unwrap();
        let image = whole(&mut slow);
        slow.still_valid().unwrap();
        assert!(image == wanted && image.len() > 50_000);
    }
}
