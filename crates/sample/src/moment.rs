//! A moment in the ways that the registries write it.

use rusqlite::Connection;

use crate::Error;

pub(crate) struct Moment {
    pub(crate) seconds: f64,
    /// For instance `2026-12-04T00:00:00`, in UTC.
    pub(crate) text: String,
}

impl Moment {
    /// So many seconds after 1970.
    pub(crate) fn new(database: &Connection, seconds: f64) -> Result<Self, Error> {
        let text =
            database.query_row("SELECT strftime('%Y-%m-%dT%H:%M:%S', ?1, 'unixepoch')", [seconds], |row| row.get(0))?;
        Ok(Self { seconds, text })
    }
}
