//! `zigbee.db`: a second database, like the Zigbee integration's. Its last rows are still in the write-ahead log at the
//! end, so a copy of the main file alone would miss them.

use std::path::Path;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, params};

use crate::Error;
use crate::home::Home;
use crate::random::Random;

const SCHEMA: &str = "
    CREATE TABLE devices_v14 (ieee ieee NOT NULL, nwk INTEGER NOT NULL, status INTEGER NOT NULL, last_seen REAL NOT \
    NULL);
    CREATE UNIQUE INDEX devices_idx_v14 ON devices_v14 (ieee);
    CREATE TABLE endpoints_v14 (ieee ieee NOT NULL, endpoint_id INTEGER NOT NULL, profile_id INTEGER NOT NULL,
        device_type INTEGER NOT NULL, status INTEGER NOT NULL,
        FOREIGN KEY(ieee) REFERENCES devices_v14(ieee) ON DELETE CASCADE);
    CREATE UNIQUE INDEX endpoint_idx_v14 ON endpoints_v14 (ieee, endpoint_id);
    CREATE TABLE attributes_cache_v14 (ieee ieee NOT NULL, endpoint_id INTEGER NOT NULL, cluster_type INTEGER NOT NULL,
        cluster_id INTEGER NOT NULL, attr_id INTEGER NOT NULL, manufacturer_code INTEGER, value BLOB NOT NULL,
        last_updated REAL NOT NULL, FOREIGN KEY(ieee) REFERENCES devices_v14(ieee) ON DELETE CASCADE);
    CREATE UNIQUE INDEX attributes_cache_idx_v14 ON attributes_cache_v14 (ieee, endpoint_id, cluster_type, cluster_id, \
    attr_id);
    PRAGMA user_version = 14;";

pub(crate) fn create(path: &Path, home: &Home, random: &mut Random) -> Result<(), Error> {
    let mut database = Connection::open(path)?;
    // Without this setting, SQLite removes the log when the last connection closes.
    database.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    database.execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF;")?;
    database.execute_batch(SCHEMA)?;
    let zigbee: Vec<String> = home
        .devices
        .iter()
        .filter(|device| matches!(device.platform, "zha" | "hue"))
        .map(|_| {
            let digits = random.hex(16);
            (0..8).map(|i| &digits[2 * i..2 * i + 2]).collect::<Vec<_>>().join(":")
        })
        .collect();
    let seen = crate::history::NEWEST;
    let transaction = database.transaction()?;
    for ieee in &zigbee {
        let nwk = random.below(65_000) as i64;
        transaction.execute("INSERT INTO devices_v14 VALUES (?1, ?2, 2, ?3)", params![ieee, nwk, seen])?;
        transaction.execute("INSERT INTO endpoints_v14 VALUES (?1, 1, 260, 770, 1)", [ieee])?;
    }
    transaction.commit()?;
    database.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
    let transaction = database.transaction()?;
    for ieee in &zigbee {
        for (cluster, attribute) in [(0, 4), (0, 5), (1, 33), (1026, 0), (1029, 0), (1030, 0)] {
            let value = random.below(30_000) as i64;
            let at = seen - random.unit() * 9_000.0;
            transaction.execute(
                "INSERT INTO attributes_cache_v14 VALUES (?1, 1, 0, ?2, ?3, NULL, ?4, ?5)",
                params![ieee, cluster, attribute, value, at],
            )?;
        }
    }
    transaction.commit()?;
    database.close().map_err(|(_, error)| error)?;
    Ok(())
}

/// Every device has reported again by `now`; the rows stay in the log, as they do at first.
pub(crate) fn age(path: &Path, now: f64) -> Result<(), Error> {
    let database = Connection::open_with_flags(path, rusqlite::OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    database.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    database.execute("UPDATE devices_v14 SET last_seen = ?1", [now])?;
    database.execute(
        "UPDATE attributes_cache_v14 SET value = (value * 31 + cast(?1 AS INTEGER) / 3600) % 30000, last_updated = ?1",
        [now],
    )?;
    database.close().map_err(|(_, error)| error)?;
    Ok(())
}
