//! What is known, on disk: one SQLite database in the state directory.
//!
//! It is a cache. What the destinations hold can be listed again, and a job's last run shows in its archives; so a
//! catalog that is lost, damaged or newer than this program costs a look at every destination, and no backup. One
//! process writes it (the service holds a lock). Every write is one transaction.

pub(crate) mod adrift;

use std::{
    collections::BTreeMap,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use engine::samples::Samples;
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, params};
use serde::{Serialize, de::DeserializeOwned};

use self::adrift::Adrift;
use crate::{
    facts::{Copies, Copy, DestinationFacts, JobFacts, Known},
    metrics::{Counted, Counter, Counters},
    notices::Told,
    status::{Event, RunStatus},
    task::{Asked, Location, Task},
};

/// The schema that this program writes.
const SCHEMA: i64 = 4;
/// Runs and events beyond these are forgotten, the oldest first: some years of hourly backups at several destinations.
const MOST_RUNS: i64 = 60_000;
const MOST_EVENTS: i64 = 20_000;
/// Checksums of the blocks of so many copies are kept, at most 20 kB each.
const MOST_SAMPLES: i64 = 500;
/// How long a reader waits for the writer.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(5);
/// Forgetting is due after so many new ones.
const FORGET_EVERY: i64 = 500;

/// Every change of the schema, in order; the first makes an empty database one of schema 1.
const MIGRATIONS: &[&str] = &[
    "
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
",
    "
    ALTER TABLE problem DROP COLUMN told;
    CREATE TABLE channel (name TEXT PRIMARY KEY, told TEXT NOT NULL) WITHOUT ROWID;
    CREATE TABLE counter (of TEXT PRIMARY KEY, counted TEXT NOT NULL) WITHOUT ROWID;
",
    "
    CREATE TABLE sample (destination TEXT NOT NULL, name TEXT NOT NULL, sums BLOB NOT NULL, UNIQUE (destination, name));
",
    "
    CREATE TABLE asked (number INTEGER PRIMARY KEY, asked TEXT NOT NULL);
",
];

/// Why the catalog can't be used.
#[derive(Debug, thiserror::Error)]
#[error("can't use {path}: {}", reason(source))]
pub struct CatalogError {
    path: String,
    source: rusqlite::Error,
}

/// The open catalog.
pub struct Catalog {
    connection: Connection,
    path: String,
    file: Option<PathBuf>,
    adrift: Option<Adrift>,
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
        let aside = Self::put_aside(path)?;
        let catalog = Self::connect(path)?;
        catalog.prepare().map_err(|source| catalog.error(source))?;
        Ok((catalog, Some(aside)))
    }

    /// Gives the file another name, which is returned.
    fn put_aside(path: &Path) -> Result<String, CatalogError> {
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
        Ok(engine::shown(aside.as_os_str().as_encoded_bytes()))
    }

    /// Opens one that another process may be writing, to look into it.
    pub fn open_to_read(path: &Path) -> Result<Self, CatalogError> {
        let shown = engine::shown(path.as_os_str().as_encoded_bytes());
        let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY | rusqlite::OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags)
            .and_then(|connection| connection.busy_timeout(PATIENCE).map(|()| connection))
            .map_err(|source| CatalogError { path: shown.clone(), source })?;
        Ok(Self { connection, path: shown, file: Some(path.to_owned()), adrift: None })
    }

    /// One that is kept in memory only.
    pub fn in_memory() -> Result<Self, CatalogError> {
        let path = "the catalog in memory".to_owned();
        let connection = Connection::open_in_memory().map_err(|source| CatalogError { path: path.clone(), source })?;
        let catalog = Self { connection, path, file: None, adrift: None };
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
        Ok(Self { connection, path: shown, file: Some(path.to_owned()), adrift: None })
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
        // What is damaged somewhere inside would be noticed when it is too late to put it aside.
        let check: String = self.connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
        if check != "ok" {
            return Ok(Opened::Useless);
        }
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
            let mut rows = self.connection.prepare("SELECT facts FROM copy WHERE destination = ?1")?;
            for (destination, facts) in &mut known.destinations {
                let mut rows = rows.query([destination])?;
                let mut copies = Vec::new();
                while let Some(row) = rows.next()? {
                    copies.extend(read::<Copy>(&row.get::<_, String>(0)?));
                }
                facts.copies = copies.into_iter().collect();
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

    /// Does all of it or nothing.
    pub fn at_once<T>(&self, write: impl FnOnce() -> Result<T, CatalogError>) -> Result<T, CatalogError> {
        let transaction = self.connection.unchecked_transaction().map_err(|source| self.error(source))?;
        let written = write()?;
        transaction.commit().map_err(|source| self.error(source))?;
        Ok(written)
    }

    /// Keeps everything anew, in [`Catalog::at_once`]: what could not be written before may be missing.
    pub fn put_everything(&self, known: &Known) -> Result<(), CatalogError> {
        self.write("DELETE FROM copy", &[])?;
        for (name, facts) in &known.jobs {
            self.put_job(name, facts)?;
        }
        for (name, facts) in &known.destinations {
            self.put_listing(name, facts, &Copies::new())?;
        }
        Ok(())
    }

    /// In [`Catalog::at_once`]: keeps what is known of a destination and all its copies, `before` being what was known so far.
    pub fn put_listing(&self, name: &str, facts: &DestinationFacts, before: &Copies) -> Result<(), CatalogError> {
        self.put_destination(name, facts)?;
        for gone in before.iter().map(|old| &old.item.name).filter(|old| !facts.copies.contains(old)) {
            self.write("DELETE FROM copy WHERE destination = ?1 AND name = ?2", params![name, gone.as_str()])?;
        }
        for copy in facts.copies.iter().filter(|copy| before.get(&copy.item.name) != Some(copy)) {
            let at = copy.item.name.as_str();
            self.write("INSERT OR REPLACE INTO copy VALUES (?1, ?2, ?3)", params![name, at, text(copy)])?;
        }
        Ok(())
    }

    /// What the next verification by samples of a copy goes by.
    pub fn samples(&self, copy: &Location) -> Result<Option<Samples>, CatalogError> {
        let query = "SELECT sums FROM sample WHERE destination = ?1 AND name = ?2";
        let sums = self.connection.query_row(query, [&copy.destination, &copy.name], |row| row.get::<_, Vec<u8>>(0));
        sums.optional().map(|sums| Samples::from_bytes(&sums?)).map_err(|source| self.error(source))
    }

    /// Keeps that, or forgets it.
    pub fn put_samples(&self, copy: &Location, samples: Option<&Samples>) -> Result<(), CatalogError> {
        let Location { destination, name } = copy;
        let Some(samples) = samples else {
            return self.write("DELETE FROM sample WHERE destination = ?1 AND name = ?2", params![destination, name]);
        };
        let count = || self.connection.query_row("SELECT count(*) FROM sample", [], |row| row.get::<_, i64>(0));
        if count().map_err(|source| self.error(source))? >= MOST_SAMPLES {
            let gone = "DELETE FROM sample WHERE (destination, name) NOT IN (SELECT destination, name FROM copy)";
            self.write(gone, &[])?;
        }
        // Where there are too many, new ones are not sampled: in turn, each would be forgotten just before it is needed.
        let put = "INSERT OR REPLACE INTO sample SELECT ?1, ?2, ?3 WHERE (SELECT count(*) FROM sample) < ?4 OR EXISTS                    (SELECT 1 FROM sample WHERE destination = ?1 AND name = ?2)";
        self.write(put, params![destination, name, samples.to_bytes(), MOST_SAMPLES])
    }

    /// Gives back the memory in which SQLite keeps pages of the file.
    pub fn rest(&self) {
        // Should it fail, that costs memory and nothing else.
        let _ = self.connection.execute_batch("PRAGMA shrink_memory");
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
                "DELETE FROM sample WHERE destination NOT IN (SELECT value FROM json_each(?1))",
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
            let beyond = "DELETE FROM run WHERE id <= (SELECT id FROM run ORDER BY id DESC LIMIT 1 OFFSET ?1)";
            self.write(beyond, params![MOST_RUNS])?;
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

    /// What somebody asked for, in order.
    pub fn asked(&self) -> Result<Vec<Asked>, CatalogError> {
        if !self.is_of(4)? {
            return Ok(Vec::new());
        }
        self.documents("SELECT asked FROM asked ORDER BY number", &[])
    }

    /// In [`Catalog::at_once`]: keeps just that.
    pub fn put_asked(&self, all: &[Asked]) -> Result<(), CatalogError> {
        self.write("DELETE FROM asked", &[])?;
        all.iter().try_for_each(|asked| self.write("INSERT INTO asked (asked) VALUES (?1)", params![text(asked)]))
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

    /// What each channel was told.
    pub fn told(&self) -> Result<BTreeMap<String, Told>, CatalogError> {
        if !self.is_of(2)? {
            return Ok(BTreeMap::new());
        }
        self.table("SELECT name, told FROM channel").map_err(|source| self.error(source))
    }

    /// Keeps what a channel was told.
    pub fn put_told(&self, channel: &str, told: &Told) -> Result<(), CatalogError> {
        self.write("INSERT OR REPLACE INTO channel VALUES (?1, ?2)", params![channel, text(told)])
    }

    /// Forgets a channel.
    pub fn drop_told(&self, channel: &str) -> Result<(), CatalogError> {
        self.write("DELETE FROM channel WHERE name = ?1", params![channel])
    }

    /// What was done so far.
    pub fn counters(&self) -> Result<Counters, CatalogError> {
        if !self.is_of(2)? {
            return Ok(Counters::default());
        }
        let all: BTreeMap<String, Counted> =
            self.table("SELECT of, counted FROM counter").map_err(|source| self.error(source))?;
        Ok(all.into_iter().filter_map(|(of, counted)| Some((read(&of)?, counted))).collect())
    }

    /// Keeps what was done so far of one kind.
    pub fn put_counter(&self, of: &Counter, counted: &Counted) -> Result<(), CatalogError> {
        self.write("INSERT OR REPLACE INTO counter VALUES (?1, ?2)", params![text(of), text(counted)])
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

    /// Whether it has what this schema has. One that is only read may be older.
    fn is_of(&self, schema: i64) -> Result<bool, CatalogError> {
        let own = self.connection.query_row("PRAGMA user_version", [], |row| row.get::<_, i64>(0));
        own.map(|own| own >= schema).map_err(|source| self.error(source))
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

/// In the words of the system, without numbers of errors, as everywhere else.
fn reason(error: &rusqlite::Error) -> String {
    match error {
        rusqlite::Error::ToSqlConversionFailure(source) => match source.downcast_ref() {
            Some(error) => engine::plain_reason(error),
            None => source.to_string(),
        },
        // The text of one that can't be opened repeats the path.
        rusqlite::Error::SqliteFailure(failure, text)
            if text.is_none() || failure.code == rusqlite::ErrorCode::CannotOpen =>
        {
            rusqlite::ffi::code_to_str(failure.extended_code).to_owned()
        }
        error => error.to_string(),
    }
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
