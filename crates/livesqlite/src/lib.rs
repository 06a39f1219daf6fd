//! A consistent image, as a sized byte stream, of a SQLite database that others are writing.
//!
//! [`Snapshot`] opens a database read-only, pins one read transaction and yields the whole file as it was at that
//! moment, while other processes go on committing. Nothing is copied to disk and nothing is locked longer than the
//! read.
//!
//! POSIX locks belong to a process, so two rules hold for the program around this crate: before it opens a file that
//! may be part of a database it asks [`is_pinned`], and it keeps no SQLite connection of its own to a database it
//! images.
//!
//! ```
//! use livesqlite::{Options, Snapshot, check::ImageChecker};
//! use std::io::Read;
//!
//! # let folder = tempfile::tempdir()?;
//! # let path = folder.path().join("live.db");
//! # rusqlite::Connection::open(&path)?.execute_batch("PRAGMA journal_mode = wal; CREATE TABLE t(x); INSERT INTO t VALUES (1)")?;
//! let mut snapshot = Snapshot::open(&path, &Options::default())?;
//! // Known before the first byte is read, and true to the last, whatever is committed meanwhile.
//! let announced = snapshot.len();
//! let mut image = Vec::new();
//! snapshot.read_to_end(&mut image)?;
//! assert_eq!(image.len() as u64, announced);
//! assert!(snapshot.damage().is_empty());
//!
//! // The image can be checked on its way to anywhere, without SQLite.
//! let mut checker = ImageChecker::new();
//! checker.push(&image);
//! assert!(checker.finish().is_empty());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The SQLite that the program is built with needs the `sqlite_dbpage` table: build with
//! `LIBSQLITE3_FLAGS=SQLITE_ENABLE_DBPAGE_VTAB`, and ask [`check_library`] once at start.
//!
//! | module | owns |
//! |---|---|
//! | `snapshot` | the public reader: how the database is opened, and when everything is released |
//! | `sqlite` | the normal way in: a read transaction of SQLite itself |
//! | `overlay` | databases for which SQLite would have to write or refuses to read: a WAL database that nobody has open, a hot rollback journal, a WAL on a read-only mount |
//! | `image` | the main file and the pages that replace some of it, as one stream of bytes |
//! | `watch` | a look at the pages as they pass: damage, and zeros for what is unused |
//! | `free_pages` | which bytes belong to free pages |
//! | `page_slack` | which bytes of a b-tree page belong to no row |
//! | [`page_cache`] | what a read may leave in the page cache; also for readers of other files |
//! | `companions` | names and kinds of the files beside a database |
//! | `in_use` | whether somebody has a database open |
//! | `leftovers` | removing what SQLite had to make in order to read |
//! | `pins` | the process-wide list of files that nobody in this process may open |
//! | `lock_wait` | how long to wait for a lock |
//! | `header`, `page_set` | the database header; a set of page numbers |
//! | `error` | why a database could not be opened |
//! | `bounds` | narrowing a number |
//! | `own_fd` | finding the descriptors that SQLite opened, and checking that its locks still hold |
//! | `sys` | unsafe code: `cachestat`, `mmap`/`mincore`, file locks and leases |
//! | [`check`] | a one-pass structural check of an image |
//! | [`integrity`] | all that SQLite itself checks in a database that nobody uses |

#![cfg_attr(not(test), warn(clippy::cast_possible_truncation))]

#[cfg(not(target_os = "linux"))]
compile_error!(
    "livesqlite works on Linux only: it needs file leases, locks that belong to a descriptor, and /proc/self/fd"
);

pub mod check;
pub mod integrity;
pub mod page_cache;

mod bounds;
mod companions;
mod error;
mod free_pages;
mod header;
mod image;
mod in_use;
mod leftovers;
mod lock_wait;
mod overlay;
mod own_fd;
mod page_set;
mod page_slack;
mod pins;
mod snapshot;
mod sqlite;
mod sys;
mod watch;

pub use error::OpenError;
pub use header::{blocks_writers, is_database};
pub use in_use::is_in_use;
pub use pins::is_pinned;
pub use snapshot::{Info, JournalMode, Options, Snapshot};
pub use sqlite::check_library;

/// The examples of the README are tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
