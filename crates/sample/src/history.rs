//! The recorder's database: real tables and indices, filled in time order through them.
//!
//! The indices exist before the first row, as in a real installation: the pages of tables and indices
//! interleave, and the index over (entity, time) is half split. That is what a compressor meets in real
//! databases; indices made afterwards would be denser and lie in one piece. Values follow random walks,
//! attributes are shared through `state_attributes`, and the oldest states are purged at the end, so a free
//! list with old rows in its pages exists too.

use std::collections::HashMap;
use std::path::Path;

use rusqlite::{Connection, OptionalExtension as _, Statement, params};

use crate::Error;
use crate::entity_state::EntityState;
use crate::home::Home;
use crate::random::Random;

pub(crate) const SCHEMA: &str = include_str!("recorder_schema.sql");
pub(crate) const SCHEMA_VERSION: i64 = 53;

/// The newest recorded moment: 2026-11-20 00:00:00 UTC.
pub(crate) const NEWEST: f64 = 1_795_132_800.0;
/// The recorder keeps ten days of states.
pub(crate) const KEPT_SECONDS: f64 = 10.0 * 86_400.0;
/// Mean distance of two states in a busy home; a database that would hold more than ten days is denser.
const SECONDS_PER_STATE: f64 = 0.15;
/// Bytes of database per state, all tables and indices together (measured on databases made here).
const BYTES_PER_STATE: f64 = 214.0;
/// Rows before these identifiers were purged long ago.
const FIRST_STATE: i64 = 41_300_000;
const FIRST_ATTRIBUTES: i64 = 1_200_000;
/// Share of states that are purged at the end.
const PURGED: f64 = 0.01;

const INSERT_STATE: &str = "INSERT INTO states (state_id, state, last_changed_ts, last_reported_ts, \
     last_updated_ts, old_state_id, attributes_id, origin_idx, context_id_bin, metadata_id) \
     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 0, ?8, ?9)";
const INSERT_ATTRIBUTES: &str = "INSERT INTO state_attributes (attributes_id, hash, shared_attrs) VALUES (?1, ?2, ?3)";

/// Where a history stands, and when its next statistics are due.
pub(crate) struct Clock {
    pub(crate) now: f64,
    next_five: f64,
    next_hour: f64,
    /// Mean distance of two states.
    mean_gap: f64,
}

impl Clock {
    pub(crate) fn new(now: f64, mean_gap: f64) -> Self {
        Self { now, next_five: next(now, 300.0), next_hour: next(now, 3600.0), mean_gap }
    }
}

/// Creates the database at `path` and fills it to about `bytes`. Returns the rows of `states`.
pub(crate) fn create(path: &Path, home: &Home, random: &mut Random, bytes: u64) -> Result<u64, Error> {
    let database = Connection::open(path)?;
    // No other process sees the file yet: no journal, no sync. WAL mode is set at the end.
    database.execute_batch(
        "PRAGMA page_size = 4096; PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;
         PRAGMA locking_mode = EXCLUSIVE; PRAGMA cache_size = -98304; PRAGMA temp_store = MEMORY;
         PRAGMA foreign_keys = OFF;",
    )?;
    database.execute_batch(SCHEMA)?;
    database.execute_batch("BEGIN")?;
    let states = Filler::new(&database, home, random.clone())?.fill(bytes)?;
    random.next();
    database.execute_batch("COMMIT")?;
    database.execute_batch(
        "PRAGMA locking_mode = NORMAL; PRAGMA optimize; PRAGMA journal_mode = WAL;
         PRAGMA wal_checkpoint(TRUNCATE);",
    )?;
    database.close().map_err(|(_, error)| error)?;
    Ok(states)
}

/// 32-bit FNV-1a, the hash that the recorder looks up shared attributes by.
fn fnv1a_32(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

/// How a device's entities come to be written.
#[derive(Clone)]
struct Reporting {
    weights: u64,
    /// Probability that one entity has changed.
    change: f64,
    pushed: bool,
    /// In `Filler::entities`.
    entities: std::ops::Range<usize>,
}

pub(crate) struct Filler<'c> {
    pub(crate) database: &'c Connection,
    insert_state: Statement<'c>,
    insert_attributes: Statement<'c>,
    find_attributes: Statement<'c>,
    insert_long: Statement<'c>,
    insert_short: Statement<'c>,
    insert_event: Statement<'c>,
    random: Random,
    /// Weights are summed up so far, to draw by.
    devices: Vec<Reporting>,
    pub(crate) entities: Vec<EntityState>,
    /// Shared attributes that were stored, by their text.
    pub(crate) attributes: HashMap<String, i64>,
    pub(crate) next_attributes: i64,
    pub(crate) next_state: i64,
    pub(crate) call_service_data: Vec<i64>,
    text: String,
}

impl<'c> Filler<'c> {
    fn new(database: &'c Connection, home: &Home, random: Random) -> Result<Self, Error> {
        insert_constants(database)?;
        let mut filler = Self::over(database, home, random)?;
        insert_metadata(database, home, &mut filler.entities)?;
        filler.call_service_data = insert_event_data(database, home)?;
        Ok(filler)
    }

    /// The home's devices over a database whose rows it knows nothing of yet.
    pub(crate) fn over(database: &'c Connection, home: &Home, mut random: Random) -> Result<Self, Error> {
        let mut devices = Vec::new();
        let mut entities = Vec::new();
        let mut total = 0;
        for device in &home.devices {
            total += u64::from(device.weight);
            let first = entities.len();
            for entity in &device.entities {
                entities.push(EntityState::new(entity, entities.len() as i64 + 1, &mut random));
            }
            let pushed = matches!(device.platform, "zha" | "shelly" | "esphome" | "mobile_app");
            devices.push(Reporting { weights: total, change: device.change, pushed, entities: first..entities.len() });
        }
        let statistics = |table: &str| {
            format!(
                "INSERT INTO {table} (created_ts, metadata_id, start_ts, mean, mean_weight, min, max, \
                 last_reset_ts, state, sum) VALUES (?1, ?2, ?3, ?4, NULL, ?5, ?6, NULL, ?7, ?8)"
            )
        };
        Ok(Self {
            database,
            insert_state: database.prepare(INSERT_STATE)?,
            insert_attributes: database.prepare(INSERT_ATTRIBUTES)?,
            find_attributes: database
                .prepare("SELECT attributes_id FROM state_attributes WHERE hash = ?1 AND shared_attrs = ?2")?,
            insert_long: database.prepare(&statistics("statistics"))?,
            insert_short: database.prepare(&statistics("statistics_short_term"))?,
            insert_event: database.prepare(
                "INSERT INTO events (origin_idx, time_fired_ts, data_id, context_id_bin, event_type_id) \
                 VALUES (0, ?1, ?2, ?3, ?4)",
            )?,
            random,
            devices,
            entities,
            attributes: HashMap::new(),
            next_attributes: FIRST_ATTRIBUTES,
            next_state: FIRST_STATE,
            call_service_data: Vec::new(),
            text: String::new(),
        })
    }

    fn fill(mut self, bytes: u64) -> Result<u64, Error> {
        let planned = (bytes as f64 / BYTES_PER_STATE).max(200.0);
        let span = (planned * SECONDS_PER_STATE).min(KEPT_SECONDS);
        let start = NEWEST - span;
        self.old_statistics(start, (planned / 4.0) as u64)?;
        let mut pages = self.database.prepare("PRAGMA page_count")?;
        let mut clock = Clock::new(start, span / planned);
        let mut refreshes = 0_u64;
        while !refreshes.is_multiple_of(1024) || pages.query_row([], |row| row.get::<_, i64>(0))? as u64 * 4096 < bytes
        {
            refreshes += 1;
            self.tick(&mut clock)?;
        }
        drop(pages);
        let states = (self.next_state - FIRST_STATE) as u64;
        // Enough that whole pages become free in a small database too.
        let purged = ((states as f64 * PURGED) as i64).max(600).min(states as i64 / 4);
        self.purge(FIRST_STATE + purged)?;
        Ok(states - purged as u64)
    }

    /// One device reports, time moves on to the next, and statistics that became due are written.
    pub(crate) fn tick(&mut self, clock: &mut Clock) -> Result<(), Error> {
        let written = self.refresh(clock.now)?;
        // Exponential gaps: refreshes of different devices know nothing of one another.
        clock.now += -self.random.unit().max(1e-12).ln() * clock.mean_gap * written.max(0.4);
        while clock.now >= clock.next_hour {
            self.statistics(clock.next_hour, 3600.0, false)?;
            clock.next_hour += 3600.0;
        }
        while clock.now >= clock.next_five {
            self.statistics(clock.next_five, 300.0, true)?;
            clock.next_five += 300.0;
        }
        Ok(())
    }

    /// One device reports: some of its entities have changed, a fraction of a millisecond apart.
    /// Returns the number of states written.
    fn refresh(&mut self, now: f64) -> Result<f64, Error> {
        let total = self.devices.last().map_or(1, |device| device.weights);
        let ticket = self.random.below(total);
        let index = self.devices.partition_point(|device| device.weights <= ticket);
        let Reporting { change, pushed, entities, .. } = self.devices[index].clone();
        let mut at = now;
        let mut written = 0.0;
        for entity in entities {
            if self.random.chance(change) {
                self.state(entity, microseconds(at))?;
                written += 1.0;
            }
            // Pushed values arrive one by one, polled ones within one pass of the event loop.
            at += self.random.unit() * if pushed { 0.35 } else { 0.004 };
        }
        if self.random.chance(0.012) {
            self.call_service(microseconds(at))?;
        }
        Ok(written)
    }

    fn state(&mut self, index: usize, at: f64) -> Result<(), Error> {
        let changed = self.entities[index].step(&mut self.random, at);
        let attributes_id = self.attributes_of(index)?;
        let id = self.next_state;
        self.next_state += 1;
        // Most integrations report unchanged values too; the row then carries the time of the last report.
        let reported = self.random.chance(0.6).then(|| microseconds(at + self.random.unit() * 25.0));
        let context = self.random.ulid(at);
        let entity = &mut self.entities[index];
        if changed {
            entity.last_changed = at;
        }
        self.insert_state.execute(params![
            id,
            entity.text,
            (!changed).then_some(entity.last_changed),
            reported,
            at,
            entity.last_state,
            attributes_id,
            &context[..],
            entity.metadata_id,
        ])?;
        entity.last_state = Some(id);
        Ok(())
    }

    /// The row of `state_attributes` for what the entity shows now; a new one only where no equal one is.
    fn attributes_of(&mut self, index: usize) -> Result<i64, Error> {
        let entity = &mut self.entities[index];
        if let Some(id) = entity.fixed_attributes {
            return Ok(id);
        }
        self.text.clear();
        entity.attributes(&mut self.random, &mut self.text);
        if let Some(id) = self.attributes.get(&self.text) {
            return Ok(*id);
        }
        let hash = fnv1a_32(self.text.as_bytes());
        let (stays, recurs) = (entity.attributes_stay(), entity.attributes_recur());
        // What comes again may be in the database since before this history was taken up.
        let stored = if stays || recurs {
            self.find_attributes.query_row(params![hash, self.text], |row| row.get(0)).optional()?
        } else {
            None
        };
        let id = if let Some(id) = stored {
            id
        } else {
            let id = self.next_attributes;
            self.next_attributes += 1;
            self.insert_attributes.execute(params![id, hash, self.text])?;
            id
        };
        if stays {
            entity.fixed_attributes = Some(id);
        } else if recurs {
            self.attributes.insert(self.text.clone(), id);
        }
        Ok(id)
    }

    fn call_service(&mut self, at: f64) -> Result<(), Error> {
        let data = *self.random.pick(&self.call_service_data);
        let context = self.random.ulid(at);
        let kind = 1 + self.random.below(4) as i64;
        self.insert_event.execute(params![at, data, &context[..], kind])?;
        Ok(())
    }

    /// Statistics of every measuring entity for the period that ends at `end`. Where both kinds are written,
    /// the hourly rows come first and only look, the five-minute rows begin a new period.
    fn statistics(&mut self, end: f64, seconds: f64, reset: bool) -> Result<(), Error> {
        let hourly = seconds > 300.0;
        let created = microseconds(end + 9.2 + self.random.unit() * 1.5);
        for entity in &mut self.entities {
            let Some(id) = entity.statistics_id else { continue };
            let row = entity.statistics(&mut self.random, reset);
            let insert = if hourly { &mut self.insert_long } else { &mut self.insert_short };
            insert.execute(params![created, id, end - seconds, row.mean, row.least, row.most, row.state, row.sum])?;
        }
        Ok(())
    }

    /// Hourly statistics are kept for ever: the years before the kept states.
    fn old_statistics(&mut self, start: f64, rows: u64) -> Result<(), Error> {
        let measuring = self.entities.iter().filter(|entity| entity.statistics_id.is_some()).count() as u64;
        let hours = rows / measuring.max(1);
        let first = next(start, 3600.0) - hours as f64 * 3600.0;
        for hour in 0..hours {
            let end = first + hour as f64 * 3600.0;
            for entity in &mut self.entities {
                if entity.statistics_id.is_some() {
                    for _ in 0..3 {
                        entity.step(&mut self.random, end);
                    }
                }
            }
            self.statistics(end, 3600.0, true)?;
        }
        Ok(())
    }

    /// What the nightly purge does: rows go, their pages stay as free pages.
    fn purge(&self, first_kept: i64) -> Result<(), Error> {
        self.database.execute(
            "UPDATE states SET old_state_id = NULL WHERE old_state_id < ?1 AND state_id >= ?1",
            [first_kept],
        )?;
        self.database.execute("DELETE FROM states WHERE state_id < ?1", [first_kept])?;
        Ok(())
    }
}

/// Python keeps time in microseconds; the stored float has no more than that.
pub(crate) fn microseconds(at: f64) -> f64 {
    (at * 1e6).round() / 1e6
}

fn next(at: f64, period: f64) -> f64 {
    (at / period).floor() * period + period
}

fn insert_constants(database: &Connection) -> Result<(), Error> {
    let mut change = database.prepare("INSERT INTO schema_changes (schema_version, changed) VALUES (?1, ?2)")?;
    for (version, moment) in [
        (48, "2025-01-03 07:11:02.114213"),
        (50, "2025-04-05 18:40:29.902117"),
        (SCHEMA_VERSION, "2026-07-02 06:02:51.340180"),
    ] {
        change.execute(params![version, moment])?;
    }
    let mut migration = database.prepare("INSERT INTO migration_changes (migration_id, version) VALUES (?1, ?2)")?;
    for (name, version) in [
        ("state_context_id_as_binary", 2),
        ("event_context_id_as_binary", 2),
        ("event_type_id_migration", 1),
        ("entity_id_migration", 1),
        ("event_id_post_migration", 2),
        ("entity_id_post_migration", 1),
    ] {
        migration.execute(params![name, version])?;
    }
    let mut run = database
        .prepare("INSERT INTO recorder_runs (start, \"end\", closed_incorrect, created) VALUES (?1, ?2, ?3, ?1)")?;
    run.execute(params!["2026-11-05 05:59:41.220187", "2026-11-12 20:14:10.771003", false])?;
    run.execute(params!["2026-11-12 20:15:02.905518", None::<&str>, true])?;
    let mut statistics_run = database.prepare("INSERT INTO statistics_runs (start) VALUES (?1)")?;
    for hour in 0..24 {
        for minute in (0..60).step_by(5) {
            statistics_run.execute([format!("2026-11-19 {hour:02}:{minute:02}:00.000000")])?;
        }
    }
    let mut event_type = database.prepare("INSERT INTO event_types (event_type) VALUES (?1)")?;
    for name in [
        "call_service",
        "automation_triggered",
        "script_started",
        "zha_event",
        "homeassistant_started",
        "panels_updated",
    ] {
        event_type.execute([name])?;
    }
    Ok(())
}

/// `states_meta` and `statistics_meta`; returns each entity's identifier there.
fn insert_metadata(database: &Connection, home: &Home, entities: &mut [EntityState]) -> Result<(), Error> {
    let mut states = database.prepare("INSERT INTO states_meta (metadata_id, entity_id) VALUES (?1, ?2)")?;
    let mut statistics = database.prepare(
        "INSERT INTO statistics_meta (id, statistic_id, source, unit_of_measurement, unit_class, has_mean, \
         has_sum, name, mean_type) VALUES (?1, ?2, 'recorder', ?3, ?4, ?5, ?6, NULL, ?7)",
    )?;
    let mut next_id = 0;
    for ((_, entity), state) in home.entities().zip(entities) {
        states.execute(params![state.metadata_id, entity.id])?;
        let Some(class) = entity.state_class else { continue };
        next_id += 1;
        let mean = class == "measurement";
        statistics.execute(params![
            next_id,
            entity.id,
            entity.unit,
            entity.unit_class,
            mean,
            !mean,
            i64::from(mean)
        ])?;
        state.statistics_id = Some(next_id);
    }
    Ok(())
}

fn insert_event_data(database: &Connection, home: &Home) -> Result<Vec<i64>, Error> {
    let mut insert = database.prepare("INSERT INTO event_data (data_id, hash, shared_data) VALUES (?1, ?2, ?3)")?;
    let mut ids = Vec::new();
    for (_, entity) in home.entities() {
        let domain = entity.id.split('.').next().unwrap_or("light");
        for service in ["turn_on", "turn_off", "toggle"] {
            let text = format!(
                r#"{{"domain":"{domain}","service":"{service}","service_data":{{"entity_id":["{}"]}}}}"#,
                entity.id
            );
            let id = ids.len() as i64 + 1;
            insert.execute(params![id, fnv1a_32(text.as_bytes()), text])?;
            ids.push(id);
        }
    }
    Ok(ids)
}
