//! What is known, on disk: one SQLite database in the state directory.
//!
//! It is a cache. What the destinations hold can be listed again, and a job's last run shows in its archives; so a
//! catalog that is lost, damaged or newer than this program costs a look at every destination, and no backup. One
//! process writes it (the service holds a lock). Every write is one transaction.

use std::{collections::BTreeMap, os::unix::fs::OpenOptionsExt, path::Path};

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, params};
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    facts::{Copy, DestinationFacts, JobFacts, Known},
    status::{Event, RunStatus},
    task::Task,
};

/// The schema that this program writes.
const SCHEMA: i64 = 1;
/// Runs and events beyond these are forgotten, the oldest first: some years of hourly backups at several destinations.
const MOST_RUNS: i64 = 60_000;
const MOST_EVENTS: i64 = 20_000;
/// How long a reader waits for the writer.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(5);
/// Forgetting is due after so many new ones.
const FORGET_EVERY: i64 = 500;

/// Every change of the schema, in order; the first makes an empty database one of schema 1.
const MIGRATIONS: &[&str] = &["
    CREATE TABLE job (name TEXT PRIMARY KEY, facts TEXT NOT NULL) WITHOUT ROWID;
    CREATE TABLE destination (name TEXT PRIMARY KEY, facts TEXT NOT NULL) WITHOUT ROWID;
    CREATE TABLE copy (
        destination TEXT NOT NULL, name TEXT NOT NULL, facts TEXT NOT NULL, PRIMARY KEY (destination, name)
    ) WITHOUT ROWID;
    CREATE TABLE note (archive TEXT PRIMARY KEY, text TEXT NOT NULL) WITHOUT ROWID;
    CREATE TABLE run (
        id INTEGER PRIMARY KEY AUTOINCREMENT, started INTEGER NOT NULL, task TEXT NOT NULL, ended TEXT
    );
    CREATE TABLE event (id INTEGER PRIMARY KEY AUTOINCREMENT, at INTEGER NOT NULL, event TEXT NOT NULL);
    CREATE TABLE problem (key TEXT PRIMARY KEY, since INTEGER NOT NULL, told INTEGER) WITHOUT ROWID;
"];

/// Why the catalog can't be used.
#[derive(Debug, thiserror::Error)]
#[error("can't use {path}: {source}")]
pub struct CatalogError {
    path: String,
    source: rusqlite::Error,
}

/// The open catalog.
pub struct Catalog {
    connection: Connection,
    path: String,
}

/// Opening one that was there before.
enum Opened {
    Ready,
    /// It is of no use: damaged, or of a newer program.
    Useless,
}

impl Catalog {
    /// Opens or creates it. One that is damaged or newer than this program is put aside under another name, which is
    /// returned.
    pub fn open(path: &Path) -> Result<(Self, Option<String>), CatalogError> {
        let catalog = Self::connect(path)?;
        match catalog.prepare() {
            Ok(Opened::Ready) => return Ok((catalog, None)),
            Ok(Opened::Useless) => {}
            Err(error) if is_damaged(&error) => {}
            Err(source) => return Err(catalog.error(source)),
        }
        drop(catalog);
        let aside = path.with_extension("unusable");
        for (from, to) in [(path.to_owned(), aside.clone()), (with(path, "-wal"), with(&aside, "-wal"))] {
            if let Err(error) = std::fs::rename(&from, &to)
                && error.kind() != std::io::ErrorKind::NotFound
            {
                let source = rusqlite::Error::ToSqlConversionFailure(Box::new(error));
                return Err(CatalogError { path: engine::shown(path.as_os_str().as_encoded_bytes()), source });
            }
        }
        let _ = std::fs::remove_file(with(path, "-shm"));
        let catalog = Self::connect(path)?;
        catalog.prepare().map_err(|source| catalog.error(source))?;
        Ok((catalog, Some(engine::shown(aside.as_os_str().as_encoded_bytes()))))
    }

    /// Opens one that another process may be writing, to look into it.
    pub fn open_to_read(path: &Path) -> Result<Self, CatalogError> {
        let shown = engine::shown(path.as_os_str().as_encoded_bytes());
        let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY | rusqlite::OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags)
            .and_then(|connection| connection.busy_timeout(PATIENCE).map(|()| connection))
            .map_err(|source| CatalogError { path: shown.clone(), source })?;
        Ok(Self { connection, path: shown })
    }

    /// One that is kept in memory only.
    pub fn in_memory() -> Result<Self, CatalogError> {
        let path = "the catalog in memory".to_owned();
        let connection = Connection::open_in_memory().map_err(|source| CatalogError { path: path.clone(), source })?;
        let catalog = Self { connection, path };
        catalog.prepare().map_err(|source| catalog.error(source))?;
        Ok(catalog)
    }

    fn connect(path: &Path) -> Result<Self, CatalogError> {
        let shown = engine::shown(path.as_os_str().as_encoded_bytes());
        let error = |source| CatalogError { path: shown.clone(), source };
        // SQLite gives its other files the same mode.
        std::fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)
            .map_err(|source| error(rusqlite::Error::ToSqlConversionFailure(Box::new(source))))?;
        let connection = Connection::open(path).map_err(error)?;
        Ok(Self { connection, path: shown })
    }

    fn error(&self, source: rusqlite::Error) -> CatalogError {
        CatalogError { path: self.path.clone(), source }
    }

    fn prepare(&self) -> rusqlite::Result<Opened> {
        // A cache need not survive a power cut to its last row, and an SD card is written less.
        self.connection.execute_batch(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA cache_size = -1024; PRAGMA \
             journal_size_limit = 1048576;",
        )?;
        let schema: i64 = self.connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
        let Ok(done) = usize::try_from(schema) else { return Ok(Opened::Useless) };
        let Some(missing) = MIGRATIONS.get(done..) else { return Ok(Opened::Useless) };
        if missing.is_empty() {
            return Ok(Opened::Ready);
        }
        let transaction = self.connection.unchecked_transaction()?;
        for migration in missing {
            transaction.execute_batch(migration)?;
        }
        transaction.pragma_update(None, "user_version", SCHEMA)?;
        transaction.commit()?;
        Ok(Opened::Ready)
    }

    /// Everything that is known. A row that can't be read is forgotten.
    pub fn load(&self) -> Result<Known, CatalogError> {
        let known = || -> rusqlite::Result<Known> {
            let mut known = Known {
                jobs: self.table("SELECT name, facts FROM job")?,
                destinations: self.table("SELECT name, facts FROM destination")?,
            };
            let mut rows = self.connection.prepare("SELECT destination, name, facts FROM copy")?;
            let mut rows = rows.query([])?;
            while let Some(row) = rows.next()? {
                let (destination, name, facts): (String, String, String) = (row.get(0)?, row.get(1)?, row.get(2)?);
                if let (Some(of), Some(copy)) = (known.destinations.get_mut(&destination), read::<Copy>(&facts)) {
                    of.copies.insert(name, copy);
                }
            }
            Ok(known)
        };
        known().map_err(|source| self.error(source))
    }

    fn table<T: DeserializeOwned>(&self, query: &str) -> rusqlite::Result<BTreeMap<String, T>> {
        let mut statement = self.connection.prepare(query)?;
        let rows = statement.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?)))?;
        let mut all = BTreeMap::new();
        for row in rows {
            let (name, facts) = row?;
            all.extend(read(&facts).map(|facts| (name, facts)));
        }
        Ok(all)
    }

    /// Keeps what is known of a job.
    pub fn put_job(&self, name: &str, facts: &JobFacts) -> Result<(), CatalogError> {
        self.write("INSERT OR REPLACE INTO job VALUES (?1, ?2)", params![name, text(facts)])
    }

    /// Keeps what is known of a destination, without its copies.
    pub fn put_destination(&self, name: &str, facts: &DestinationFacts) -> Result<(), CatalogError> {
        self.write("INSERT OR REPLACE INTO destination VALUES (?1, ?2)", params![name, text(facts)])
    }

    /// Keeps what is known of a destination and all its copies, `before` being what was known so far.
    pub fn put_listing(
        &self,
        name: &str,
        facts: &DestinationFacts,
        before: &BTreeMap<String, Copy>,
    ) -> Result<(), CatalogError> {
        let written = || -> rusqlite::Result<()> {
            let transaction = self.connection.unchecked_transaction()?;
            transaction.execute("INSERT OR REPLACE INTO destination VALUES (?1, ?2)", params![name, text(facts)])?;
            for gone in before.keys().filter(|old| !facts.copies.contains_key(*old)) {
                transaction.execute("DELETE FROM copy WHERE destination = ?1 AND name = ?2", params![name, gone])?;
            }
            for (at, copy) in facts.copies.iter().filter(|(at, copy)| before.get(*at) != Some(copy)) {
                transaction
                    .execute("INSERT OR REPLACE INTO copy VALUES (?1, ?2, ?3)", params![name, at, text(copy)])?;
            }
            transaction.commit()
        };
        written().map_err(|source| self.error(source))
    }

    /// Forgets jobs and destinations that are not among these.
    pub fn retain(&self, known: &Known) -> Result<(), CatalogError> {
        let (jobs, destinations) =
            (text(&known.jobs.keys().collect::<Vec<_>>()), { text(&known.destinations.keys().collect::<Vec<_>>()) });
        let written = || -> rusqlite::Result<()> {
            let transaction = self.connection.unchecked_transaction()?;
            transaction
                .execute("DELETE FROM job WHERE name NOT IN (SELECT value FROM json_each(?1))", params![jobs])?;
            for query in [
                "DELETE FROM copy WHERE destination NOT IN (SELECT value FROM json_each(?1))",
                "DELETE FROM destination WHERE name NOT IN (SELECT value FROM json_each(?1))",
            ] {
                transaction.execute(query, params![destinations])?;
            }
            transaction.commit()
        };
        written().map_err(|source| self.error(source))
    }

    /// Notes that a task begins; returns its number.
    pub fn begin_run(&self, task: &Task, now: Timestamp) -> Result<i64, CatalogError> {
        self.write("INSERT INTO run (started, task) VALUES (?1, ?2)", params![now.as_second(), text(task)])?;
        let id = self.connection.last_insert_rowid();
        if id % FORGET_EVERY == 0 {
            self.write("DELETE FROM run WHERE id <= ?1", params![id - MOST_RUNS])?;
        }
        Ok(id)
    }

    /// Notes how it ended.
    pub fn end_run(&self, run: &RunStatus) -> Result<(), CatalogError> {
        self.write("UPDATE run SET ended = ?2 WHERE id = ?1", params![run.id, text(run)])
    }

    /// Forgets a run that is of no interest, such as a look at a destination that showed nothing new.
    pub fn drop_run(&self, id: i64) -> Result<(), CatalogError> {
        self.write("DELETE FROM run WHERE id = ?1", params![id])
    }

    /// Tasks that began and never ended, because the program did before: their number, beginning and task.
    pub fn unfinished(&self) -> Result<Vec<(i64, Timestamp, Task)>, CatalogError> {
        let all = || -> rusqlite::Result<Vec<_>> {
            let mut statement =
                self.connection.prepare("SELECT id, started, task FROM run WHERE ended IS NULL ORDER BY id")?;
            let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get::<_, String>(2)?)))?;
            let mut all = Vec::new();
            for row in rows {
                let (id, started, task) = row?;
                all.extend(read(&task).map(|task| (id, moment(started), task)));
            }
            Ok(all)
        };
        all().map_err(|source| self.error(source))
    }

    /// Runs that ended, the newest first; of this job, if one is named; numbered below `before`.
    pub fn runs(&self, job: Option<&str>, before: Option<i64>, most: usize) -> Result<Vec<RunStatus>, CatalogError> {
        self.documents(
            "SELECT ended FROM run WHERE ended IS NOT NULL AND id < ?1 AND (?2 IS NULL OR ended ->> 'job' = ?2) ORDER \
             BY id DESC LIMIT ?3",
            params![before.unwrap_or(i64::MAX), job, limit(most)],
        )
    }

    /// Keeps an event; its number is made here.
    pub fn add_event(&self, event: &Event) -> Result<i64, CatalogError> {
        self.write("INSERT INTO event (at, event) VALUES (?1, ?2)", params![event.at.as_second(), text(event)])?;
        let id = self.connection.last_insert_rowid();
        if id % FORGET_EVERY == 0 {
            self.write("DELETE FROM event WHERE id <= ?1", params![id - MOST_EVENTS])?;
        }
        Ok(id)
    }

    /// Events, the newest first, numbered below `before`.
    pub fn events(&self, before: Option<i64>, most: usize) -> Result<Vec<Event>, CatalogError> {
        self.documents(
            "SELECT json_set(event, '$.id', id) FROM event WHERE id < ?1 ORDER BY id DESC LIMIT ?2",
            params![before.unwrap_or(i64::MAX), limit(most)],
        )
    }

    /// Since when each problem exists.
    pub fn problems(&self) -> Result<BTreeMap<String, Timestamp>, CatalogError> {
        let all = || -> rusqlite::Result<BTreeMap<_, _>> {
            let mut statement = self.connection.prepare("SELECT key, since FROM problem")?;
            let rows = statement.query_map([], |row| Ok((row.get(0)?, moment(row.get(1)?))))?;
            rows.collect()
        };
        all().map_err(|source| self.error(source))
    }

    /// Keeps since when there is a problem.
    pub fn put_problem(&self, key: &str, since: Timestamp) -> Result<(), CatalogError> {
        self.write(
            "INSERT INTO problem (key, since) VALUES (?1, ?2) ON CONFLICT DO NOTHING",
            params![key, since.as_second()],
        )
    }

    /// It is over.
    pub fn drop_problem(&self, key: &str) -> Result<(), CatalogError> {
        self.write("DELETE FROM problem WHERE key = ?1", params![key])
    }

    /// The user's note about an archive.
    pub fn note(&self, archive: &str) -> Result<Option<String>, CatalogError> {
        self.connection
            .query_row("SELECT text FROM note WHERE archive = ?1", params![archive], |row| row.get(0))
            .optional()
            .map_err(|source| self.error(source))
    }

    /// All notes, by archive.
    pub fn notes(&self) -> Result<BTreeMap<String, String>, CatalogError> {
        let all = || -> rusqlite::Result<BTreeMap<_, _>> {
            let mut statement = self.connection.prepare("SELECT archive, text FROM note")?;
            let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
            rows.collect()
        };
        all().map_err(|source| self.error(source))
    }

    /// Keeps a note; an empty one is removed.
    pub fn put_note(&self, archive: &str, note: &str) -> Result<(), CatalogError> {
        if note.is_empty() {
            return self.write("DELETE FROM note WHERE archive = ?1", params![archive]);
        }
        self.write("INSERT OR REPLACE INTO note VALUES (?1, ?2)", params![archive, note])
    }

    fn write(&self, statement: &str, values: &[&dyn rusqlite::ToSql]) -> Result<(), CatalogError> {
        self.connection.execute(statement, values).map(|_| ()).map_err(|source| self.error(source))
    }

    fn documents<T: DeserializeOwned>(
        &self,
        query: &str,
        values: &[&dyn rusqlite::ToSql],
    ) -> Result<Vec<T>, CatalogError> {
        let all = || -> rusqlite::Result<Vec<T>> {
            let mut statement = self.connection.prepare(query)?;
            let rows = statement.query_map(values, |row| row.get::<_, String>(0))?;
            let mut all = Vec::new();
            for row in rows {
                all.extend(read(&row?));
            }
            Ok(all)
        };
        all().map_err(|source| self.error(source))
    }
}

fn with(path: &Path, ending: &str) -> std::path::PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

fn is_damaged(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(rusqlite::ErrorCode::DatabaseCorrupt | rusqlite::ErrorCode::NotADatabase))
        || matches!(error, rusqlite::Error::SqliteFailure(failure, _) if failure.code == rusqlite::ErrorCode::Unknown)
}

/// Plain data always has a form in JSON.
fn text<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

fn read<T: DeserializeOwned>(text: &str) -> Option<T> {
    serde_json::from_str(text).ok()
}

fn moment(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap_or(Timestamp::UNIX_EPOCH)
}

fn limit(most: usize) -> i64 {
    i64::try_from(most).unwrap_or(i64::MAX)
}
