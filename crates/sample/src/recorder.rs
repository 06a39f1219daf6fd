//! A running recorder: a thread that writes to the sample's database as Home Assistant does, and replaces
//! files of `.storage` by writing beside and renaming.
//!
//! POSIX locks belong to the process: run it in a process of its own ([`crate::RecorderProcess`]) wherever
//! the same process also reads the database by other means than SQLite.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rusqlite::{Connection, ErrorCode, params};

use crate::Error;
use crate::history::microseconds;
use crate::random::Random;

/// States per commit.
const STATES: usize = 3;
/// Commits between two replacements of `.storage` files.
const STORAGE_EVERY: u64 = 50;

/// What a recorder did until it was stopped.
#[derive(Clone, Debug, Default)]
pub struct Recorded {
    /// Transactions that succeeded.
    pub commits: u64,
    /// Rows of `states` they hold.
    pub rows: u64,
    /// How often SQLite answered "busy" or "locked"; each was tried again, so no row is lost by it.
    pub busy_errors: u64,
    /// One entry per commit, in order: microseconds from BEGIN to the end of COMMIT, waiting included.
    pub latencies_us: Vec<u32>,
    /// The first `state_id` written, if any.
    pub first_state_id: Option<i64>,
    /// The last `state_id` written, if any.
    pub last_state_id: Option<i64>,
}

/// A thread that records until it is stopped. Dropping it stops it too, without a result.
#[derive(Debug)]
pub struct Recorder {
    stop: Sender<()>,
    thread: JoinHandle<Result<Recorded, Error>>,
}

impl Recorder {
    /// Opens the database of the sample at `dir` and commits a few states every `interval`, the first at once.
    pub fn start(dir: &Path, interval: Duration) -> Result<Self, Error> {
        let mut writer = Writer::open(dir)?;
        let (stop, stopped) = mpsc::channel();
        let thread = std::thread::Builder::new()
            .name("recorder".to_owned())
            .spawn(move || {
                let mut due = Instant::now();
                loop {
                    writer.commit()?;
                    // A late commit does not shorten the pauses after it.
                    due = (due + interval).max(Instant::now());
                    match stopped.recv_timeout(due.saturating_duration_since(Instant::now())) {
                        Err(RecvTimeoutError::Timeout) => {}
                        Ok(()) | Err(RecvTimeoutError::Disconnected) => return writer.close(),
                    }
                }
            })
            .map_err(|error| Error::Recorder(format!("could not be started: {error}")))?;
        Ok(Self { stop, thread })
    }

    /// Stops after the current commit.
    pub fn stop(self) -> Result<Recorded, Error> {
        drop(self.stop);
        self.thread.join().map_err(|_| Error::Recorder("stopped in a panic".to_owned()))?
    }
}

struct Writer {
    database: Connection,
    storage: PathBuf,
    log: PathBuf,
    /// Entities and their attributes as the newest states have them.
    entities: Vec<(i64, Option<i64>, Option<i64>)>,
    random: Random,
    recorded: Recorded,
}

impl Writer {
    fn open(dir: &Path) -> Result<Self, Error> {
        let path = dir.join("home-assistant_v2.db");
        let database = Connection::open_with_flags(
            path,
            rusqlite::OpenFlags::SQLITE_OPEN_READ_WRITE | rusqlite::OpenFlags::SQLITE_OPEN_NO_MUTEX,
        )?;
        // As Home Assistant sets up its connection, except that it waits for locks and this one counts them.
        database.execute_batch(
            "PRAGMA journal_mode = WAL; PRAGMA cache_size = -16384; PRAGMA synchronous = NORMAL;
             PRAGMA foreign_keys = ON;",
        )?;
        database.busy_timeout(Duration::ZERO)?;
        let entities = database
            .prepare(
                "SELECT metadata_id, (SELECT attributes_id FROM states WHERE states.metadata_id = m.metadata_id
                 ORDER BY last_updated_ts DESC LIMIT 1) FROM states_meta AS m",
            )?
            .query_map([], |row| Ok((row.get(0)?, row.get(1)?, None)))?
            .collect::<Result<_, _>>()?;
        Ok(Self {
            database,
            storage: dir.join(".storage"),
            log: dir.join("home-assistant.log"),
            entities,
            random: Random::new(std::process::id().into()),
            recorded: Recorded::default(),
        })
    }

    /// One transaction of a few states, tried until SQLite takes it.
    fn commit(&mut self) -> Result<(), Error> {
        let begun = Instant::now();
        loop {
            match self.insert() {
                Ok((first, last)) => {
                    let micros = u32::try_from(begun.elapsed().as_micros()).unwrap_or(u32::MAX);
                    self.recorded.latencies_us.push(micros);
                    self.recorded.commits += 1;
                    self.recorded.rows += STATES as u64;
                    self.recorded.first_state_id.get_or_insert(first);
                    self.recorded.last_state_id = Some(last);
                    break;
                }
                Err(error)
                    if matches!(
                        error.sqlite_error_code(),
                        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked)
                    ) =>
                {
                    self.recorded.busy_errors += 1;
                    std::thread::sleep(Duration::from_millis(1));
                }
                Err(error) => return Err(error.into()),
            }
        }
        if self.recorded.commits.is_multiple_of(STORAGE_EVERY) {
            self.replace_storage()?;
        }
        Ok(())
    }

    fn insert(&mut self) -> rusqlite::Result<(i64, i64)> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |age| age.as_secs_f64());
        let transaction = self.database.transaction()?;
        let mut written = [(0, 0); STATES];
        {
            let mut insert = transaction.prepare_cached(
                "INSERT INTO states (state, last_updated_ts, old_state_id, attributes_id, origin_idx, \
                 context_id_bin, metadata_id) VALUES (?1, ?2, ?3, ?4, 0, ?5, ?6)",
            )?;
            for (i, written) in written.iter_mut().enumerate() {
                let index = self.random.below(self.entities.len() as u64) as usize;
                let (metadata_id, attributes_id, last) = &self.entities[index];
                let state = format!("{:.1}", 20.0 + self.random.unit() * 5.0);
                let at = microseconds(now + i as f64 * 0.000_2);
                let context = self.random.ulid(at);
                insert.execute(params![state, at, last, attributes_id, &context[..], metadata_id])?;
                *written = (index, transaction.last_insert_rowid());
            }
        }
        transaction.commit()?;
        // Only now: after a rollback these rows do not exist.
        for (index, id) in written {
            self.entities[index].2 = Some(id);
        }
        Ok((written[0].1, written[STATES - 1].1))
    }

    /// `.storage` files are written under a temporary name and renamed; the log only grows.
    fn replace_storage(&mut self) -> Result<(), Error> {
        let temporary = self.storage.join(format!("tmp{}", self.random.hex(8)));
        let target = self.storage.join("core.restore_state");
        let text = std::fs::read(&target).map_err(Error::at(&target))?;
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&temporary)
            .and_then(|mut file| file.write_all(&text))
            .and_then(|()| std::fs::rename(&temporary, &target))
            .map_err(Error::at(&temporary))?;
        OpenOptions::new()
            .append(true)
            .create(true)
            .open(&self.log)
            .and_then(|mut log| writeln!(log, "INFO (MainThread) [homeassistant.helpers.storage] Writing data"))
            .map_err(Error::at(&self.log))
    }

    fn close(self) -> Result<Recorded, Error> {
        self.database.close().map_err(|(_, error)| error)?;
        Ok(self.recorded)
    }
}
