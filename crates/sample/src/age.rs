//! Lets time pass in a sample, as a running Home Assistant would: states, events and statistics come at the rate of the
//! last ten days, the nightly purge removes what is older, and once a month the database is repacked.
//!
//! Everything lands in the file that was there: a purge leaves free pages, and new rows fill them. That is what decides
//! how much of a database differs from one backup to the next, so the purge works in Home Assistant's own steps.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::Path;
use std::time::{Duration, SystemTime};

use rusqlite::{Connection, OptionalExtension as _, params};

use crate::Error;
use crate::history::{Clock, Filler, KEPT_SECONDS, NEWEST};
use crate::home::Home;
use crate::moment::Moment;
use crate::random::Random;
use crate::{storage, zigbee};

/// Home Assistant purges at 4:12 in the night.
const PURGE_AT: f64 = 4.0 * 3600.0 + 12.0 * 60.0;
const DAY: f64 = 86_400.0;
/// Rows that Home Assistant deletes by one statement, and such statements before it looks at shared attributes.
const BATCH: usize = 4_000;
const STATE_BATCHES: usize = 20;
const EVENT_BATCHES: usize = 15;

/// What happened while time passed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Aged {
    /// Rows that `states` gained.
    pub written: u64,
    /// Rows that it lost again.
    pub purged: u64,
    /// Nights with a purge.
    pub purges: u64,
    /// Nights in which the database was repacked.
    pub repacks: u64,
    /// Size of `home-assistant_v2.db` at the end.
    pub database_bytes: u64,
}

/// Moves the sample at `dir` on to the moment that lies `to` after 2026-11-20 00:00 UTC, where about
/// [`create`](crate::create) ends. Nothing happens if it is there already. The same sample ages in the same way.
pub fn age(dir: &Path, to: Duration) -> Result<Aged, Error> {
    // The entities are the same for every seed.
    let home = Home::new(&mut Random::new(1));
    let path = dir.join("home-assistant_v2.db");
    let database = Connection::open_with_flags(&path, rusqlite::OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    // Nobody else has it open, and whoever stops in the middle makes a new one.
    database.execute_batch(
        "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA locking_mode = EXCLUSIVE;
         PRAGMA cache_size = -524288; PRAGMA foreign_keys = OFF;",
    )?;
    database.set_prepared_statement_cache_capacity(32);
    let begin = newest(&database)?;
    let end = NEWEST + to.as_secs_f64();
    let mut aged = Aged::default();
    let mut random = Random::new(begin.to_bits());
    let mut filler = Filler::over(&database, &home, random.clone())?;
    resume(&mut filler, &home).map_err(|error| match error {
        rusqlite::Error::QueryReturnedNoRows => Error::Foreign(path.clone()),
        other => other.into(),
    })?;
    run(&mut filler, begin, end, &mut aged)?;
    if begin < end {
        let now = Moment::new(&database, end)?;
        let days = ((end / DAY).floor() - (begin / DAY).floor()) as u64;
        let states: Vec<(&str, &str)> =
            home.entities().zip(&filler.entities).map(|((_, entity), state)| (&*entity.id, &*state.text)).collect();
        storage::age(dir, &states, &now, days, &mut random)?;
        zigbee::age(&dir.join("zigbee.db"), end)?;
    }
    drop(filler);
    database.flush_prepared_statement_cache();
    database
        .execute_batch("PRAGMA locking_mode = NORMAL; PRAGMA journal_mode = WAL; PRAGMA wal_checkpoint(TRUNCATE);")?;
    database.close().map_err(|(_, error)| error)?;
    let file = File::open(&path).map_err(Error::at(&path))?;
    if begin < end {
        file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs_f64(end)).map_err(Error::at(&path))?;
    }
    aged.database_bytes = file.metadata().map_err(Error::at(&path))?.len();
    Ok(aged)
}

/// Where the history ends.
fn newest(database: &Connection) -> Result<f64, Error> {
    Ok(database.query_row(
        "SELECT max((SELECT coalesce(max(last_updated_ts), 0) FROM states),
             (SELECT coalesce(max(start_ts), 0) + 300 FROM statistics_short_term))",
        [],
        |row| row.get(0),
    )?)
}

/// Takes up every entity where its newest rows left it.
fn resume(filler: &mut Filler<'_>, home: &Home) -> rusqlite::Result<()> {
    let database = filler.database;
    let one = |sql: &str| database.query_row(sql, [], |row| row.get::<_, i64>(0));
    filler.next_state = one("SELECT max(state_id) + 1 FROM states")?;
    filler.next_attributes = one("SELECT max(attributes_id) + 1 FROM state_attributes")?;
    filler.call_service_data = database
        .prepare("SELECT data_id FROM event_data ORDER BY data_id")?
        .query_map([], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    let mut state = database.prepare(
        "SELECT state_id, state, coalesce(last_changed_ts, last_updated_ts), attributes_id FROM states
         WHERE metadata_id = ?1 ORDER BY last_updated_ts DESC LIMIT 1",
    )?;
    let mut sum = database.prepare(
        "SELECT coalesce(sum, 0) FROM statistics_short_term WHERE metadata_id = ?1 ORDER BY start_ts DESC LIMIT 1",
    )?;
    let mut metadata = database.prepare("SELECT metadata_id FROM states_meta WHERE entity_id = ?1")?;
    let mut statistics = database.prepare("SELECT id FROM statistics_meta WHERE statistic_id = ?1")?;
    for ((_, entity), now) in home.entities().zip(&mut filler.entities) {
        now.metadata_id = metadata.query_row([&entity.id], |row| row.get(0))?;
        now.statistics_id = statistics.query_row([&entity.id], |row| row.get(0)).optional()?;
        let counted = match now.statistics_id {
            Some(id) => sum.query_row([id], |row| row.get(0)).optional()?.unwrap_or(0.0),
            None => 0.0,
        };
        let last = state.query_row([now.metadata_id], |row| {
            now.last_state = Some(row.get(0)?);
            now.last_changed = row.get(2)?;
            now.fixed_attributes = if now.attributes_stay() { row.get(3)? } else { None };
            row.get(1)
        });
        // Nothing in ten days: it goes on from where the home began.
        if let Some(text) = last.optional()? {
            now.resume(text, counted);
        }
    }
    Ok(())
}

fn run(filler: &mut Filler<'_>, begin: f64, end: f64, aged: &mut Aged) -> Result<(), Error> {
    let database = filler.database;
    let (rows, oldest) =
        database.query_row("SELECT count(*), coalesce(min(last_updated_ts), 0) FROM states", [], |row| {
            Ok((row.get::<_, i64>(0)?, row.get::<_, f64>(1)?))
        })?;
    let held = (begin - oldest).max(KEPT_SECONDS);
    // A sample that does not hold ten days yet stays as large as it is, whatever it holds.
    let most = (begin - oldest < KEPT_SECONDS * 0.999).then_some(rows);
    let mut clock = Clock::new(begin, held / rows.max(1) as f64);
    let mut purge_at = ((begin - PURGE_AT) / DAY).floor() * DAY + PURGE_AT + DAY;
    let mut run_at = (begin / 300.0).ceil() * 300.0;
    let mut statistics_run = database.prepare(
        "INSERT INTO statistics_runs (start) VALUES (strftime('%Y-%m-%d %H:%M:%S.000000', ?1, 'unixepoch'))",
    )?;
    let first = filler.next_state;
    database.execute_batch("BEGIN")?;
    while clock.now < end {
        filler.tick(&mut clock)?;
        while run_at <= clock.now {
            statistics_run.execute([run_at])?;
            run_at += 300.0;
        }
        if clock.now >= purge_at {
            let kept = most.map_or(0, |most| filler.next_state - most);
            aged.purged += purge(database, purge_at - KEPT_SECONDS, kept)?;
            aged.purges += 1;
            forget_purged(filler)?;
            database.execute_batch("COMMIT")?;
            if is_repacked_in(database, purge_at)? {
                database.execute_batch("VACUUM")?;
                aged.repacks += 1;
            }
            database.execute_batch("BEGIN")?;
            purge_at += DAY;
        }
    }
    database.execute_batch("COMMIT")?;
    aged.written = (filler.next_state - first).unsigned_abs();
    Ok(())
}

/// Home Assistant repacks after the purge of each month's second Sunday.
fn is_repacked_in(database: &Connection, night: f64) -> Result<bool, Error> {
    Ok(database.query_row(
        "SELECT strftime('%w', ?1, 'unixepoch') = '0' AND strftime('%d', ?1, 'unixepoch') BETWEEN '08' AND '14'",
        [night],
        |row| row.get(0),
    )?)
}

/// Home Assistant's nightly purge of what is older than `before`, and of states before the one numbered `first_kept`.
/// Returns the number of states that went.
///
/// Home Assistant would also remove event data that nothing refers to; the sample's few calls come again and again.
fn purge(database: &Connection, before: f64, first_kept: i64) -> Result<u64, Error> {
    let limit = database
        .query_row("SELECT last_updated_ts FROM states WHERE state_id >= ?1 LIMIT 1", [first_kept], |row| row.get(0))
        .optional()?;
    let before = limit.filter(|_| first_kept > 0).map_or(before, |limit: f64| limit.max(before));
    let mut purged = 0;
    loop {
        let mut attributes = BTreeSet::new();
        let mut more = false;
        for _ in 0..STATE_BATCHES {
            let states = state_batch(database, before, &mut attributes)?;
            purged += states as u64;
            more = states == BATCH;
            if !more {
                break;
            }
        }
        unused_attributes(database, &attributes)?;
        for _ in 0..EVENT_BATCHES {
            let full = delete_batch(database, "events", "event_id", "time_fired_ts < ?1", before)?;
            if !full {
                break;
            }
            more = true;
        }
        let run = "start < strftime('%Y-%m-%d %H:%M:%S', ?1, 'unixepoch')";
        more |= delete_batch(database, "statistics_runs", "run_id", run, before)?;
        more |= delete_batch(database, "statistics_short_term", "id", "start_ts < ?1", before)?;
        if !more {
            return Ok(purged);
        }
    }
}

/// The oldest states, by one statement's worth: what refers to them first, then they themselves.
fn state_batch(database: &Connection, before: f64, attributes: &mut BTreeSet<i64>) -> Result<usize, Error> {
    let mut states = database
        .prepare_cached("SELECT state_id, attributes_id FROM states WHERE last_updated_ts < ?1 LIMIT ?2")?
        .query_map(params![before, BATCH as i64], |row| {
            attributes.insert(row.get(1)?);
            row.get::<_, i64>(0)
        })?
        .collect::<Result<Vec<_>, _>>()?;
    // The order in which SQLite works off a list.
    states.sort_unstable();
    let mut disconnect = database.prepare_cached("UPDATE states SET old_state_id = NULL WHERE old_state_id = ?1")?;
    for id in &states {
        disconnect.execute([id])?;
    }
    let mut delete = database.prepare_cached("DELETE FROM states WHERE state_id = ?1")?;
    for id in &states {
        delete.execute([id])?;
    }
    Ok(states.len())
}

fn unused_attributes(database: &Connection, candidates: &BTreeSet<i64>) -> Result<(), Error> {
    let mut delete = database.prepare_cached(
        "DELETE FROM state_attributes WHERE attributes_id = ?1
         AND NOT EXISTS (SELECT 1 FROM states WHERE attributes_id = ?1)",
    )?;
    for id in candidates {
        delete.execute([id])?;
    }
    Ok(())
}

/// Deletes the first rows that meet `condition`; true if there may be more.
fn delete_batch(database: &Connection, table: &str, key: &str, condition: &str, before: f64) -> Result<bool, Error> {
    let sql = format!("DELETE FROM {table} WHERE {key} IN (SELECT {key} FROM {table} WHERE {condition} LIMIT ?2)");
    Ok(database.prepare_cached(&sql)?.execute(params![before, BATCH as i64])? == BATCH)
}

/// No new row may refer to one that went.
fn forget_purged(filler: &mut Filler<'_>) -> Result<(), Error> {
    let mut state = filler.database.prepare_cached("SELECT 1 FROM states WHERE state_id = ?1")?;
    let mut attributes = filler.database.prepare_cached("SELECT 1 FROM state_attributes WHERE attributes_id = ?1")?;
    for entity in &mut filler.entities {
        if entity.last_state.is_some_and(|id| !state.exists([id]).unwrap_or(false)) {
            entity.last_state = None;
        }
        if entity.fixed_attributes.is_some_and(|id| !attributes.exists([id]).unwrap_or(false)) {
            entity.fixed_attributes = None;
        }
    }
    filler.attributes.clear();
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    #[test]
    fn the_second_sunday_of_a_month_is_when_it_repacks() {
        let database = Connection::open_in_memory().unwrap();
        let nights = (0..61).filter(|day| {
            // From 2026-12-01 on.
            is_repacked_in(&database, NEWEST + (11.0 + f64::from(*day)) * DAY + PURGE_AT).unwrap()
        });
        assert_eq!(nights.map(|day| day + 1).collect::<Vec<_>>(), [13, 31 + 10], "13 December and 10 January");
    }
}
