//! What the recorder's database holds, for the report: its first and last moment, and how many rows. No rule depends on
//! it.

use habackup::readers::Content;
use jiff::Timestamp;
use livesqlite::check::{Column, Counts};
use serde::{Serialize, Serializer};

/// Home Assistant's first commit was made on 2013-09-17: earlier moments are of clocks that were not set yet.
pub(crate) const STATES: Column = Column { table: "states", column: "last_updated_ts", since: 1_379_376_000 };

/// Rows of a table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Rows {
    /// Its name.
    pub table: String,
    /// How many.
    pub rows: u64,
}

/// The recorder's database.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct History {
    /// What is there of it.
    pub bytes: u64,
    /// Its size, where not all of it is there.
    pub whole_bytes: Option<u64>,
    /// Size of the log beside it, if it holds anything: its content is newer, and is not read.
    pub log_bytes: Option<u64>,
    /// When the first state was written that is in it, to the second (ISO 8601).
    #[serde(serialize_with = "in_iso")]
    pub first_state: Option<Timestamp>,
    /// When the last one was.
    #[serde(serialize_with = "in_iso")]
    pub last_state: Option<Timestamp>,
    /// Whether these come from all rows, or from those that could be read.
    pub all_states: bool,
    /// Why there are no such times.
    pub untold: Option<&'static str>,
    /// Rows of every table, if requested and known.
    pub rows: Option<Vec<Rows>>,
    /// Whether all rows could be counted.
    pub all_rows: bool,
}

pub(crate) fn of(content: &Content, counts: Option<Counts>, rows: bool) -> Option<History> {
    let database = content.database.as_ref()?;
    let log_bytes = content.log.filter(|bytes| *bytes > 0);
    let whole_bytes = (database.present < database.size).then_some(database.size);
    let history = History { bytes: database.present, whole_bytes, log_bytes, ..History::default() };
    if !database.is_one {
        return Some(history);
    }
    let Some(counts) = counts else {
        return Some(History { untold: Some("it has too many pages to track"), ..history });
    };
    let moment = |seconds: u32| Timestamp::from_second(seconds.into()).ok();
    let states = counts.tables.iter().find(|table| table.table == STATES.table).map(|table| table.rows);
    let untold = match (counts.span, states) {
        (Some(_), _) => None,
        (None, None) => Some("it has no table of states"),
        (None, Some(0)) => Some("it holds no states"),
        (None, Some(_)) if counts.has_column && !counts.whole_span => {
            Some("the database changed too late to be read in one pass")
        }
        (None, Some(_)) => Some("its states have no times in a known form, as before 2023.2"),
    };
    Some(History {
        first_state: counts.span.and_then(|span| moment(span.first)),
        last_state: counts.span.and_then(|span| moment(span.last)),
        all_states: counts.whole_span,
        untold,
        rows: rows
            .then(|| counts.tables.into_iter().map(|table| Rows { table: table.table, rows: table.rows }).collect()),
        all_rows: counts.all_rows,
        ..history
    })
}

#[expect(clippy::ref_option, reason = "serde hands it over so")]
fn in_iso<S: Serializer>(moment: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
    moment.map(|moment| moment.to_string()).serialize(serializer)
}
