//! Inspects a database that nothing writes to any more: is it sound, and which time does its history cover?

use std::path::Path;

use rusqlite::{Connection, OpenFlags};

use crate::Error;

/// What a recorder's database holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct History {
    /// What `PRAGMA integrity_check` says; `ok` when it is sound.
    pub integrity: String,
    /// Rows of `states`.
    pub states: u64,
    /// The last `state_id`; 0 when there is none.
    pub last_state_id: i64,
}

/// Reads `home-assistant_v2.db` in `dir`. Opens it for writing, as Home Assistant will: this is a test of the whole
/// database, its log included.
pub fn history(dir: &Path) -> Result<History, Error> {
    let database = Connection::open_with_flags(dir.join("home-assistant_v2.db"), OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    let integrity = database.query_row("PRAGMA integrity_check", (), |row| row.get(0))?;
    let (states, last) = database.query_row("SELECT count(*), coalesce(max(state_id), 0) FROM states", (), |row| {
        Ok((row.get::<_, i64>(0)?, row.get(1)?))
    })?;
    Ok(History { integrity, states: states.unsigned_abs(), last_state_id: last })
}
