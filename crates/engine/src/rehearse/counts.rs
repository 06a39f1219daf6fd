//! What a rehearsed configuration holds, in numbers that are kept and compared with those of the next archive: a backup
//! that is whole and suddenly much smaller is as suspicious as a damaged one.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::inspect::History;

/// Numbers of what a configuration holds. The names of the fields are stable.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Counts {
    /// When the backup was made.
    pub made: Option<Timestamp>,
    /// People with an active account.
    pub users: u64,
    /// Of these, owners.
    pub owners: u64,
    /// Of these, users who can log in.
    pub can_log_in: u64,
    /// Entries of integrations.
    pub integrations: u64,
    /// Devices.
    pub devices: u64,
    /// Entities.
    pub entities: u64,
    /// Areas.
    pub areas: u64,
    /// Automations in `automations.yaml`.
    pub automations: u64,
    /// Scripts in `scripts.yaml`.
    pub scripts: u64,
    /// Scenes in `scenes.yaml`.
    pub scenes: u64,
    /// Files of `.storage` that are well-formed JSON.
    pub settings_files: u64,
    /// SQLite databases.
    pub databases: u64,
    /// Rows of the history's table of states; nothing if there is no history, or it can't be counted.
    pub states: Option<u64>,
    /// Rows of events.
    pub events: Option<u64>,
    /// Rows of long-term statistics.
    pub statistics: Option<u64>,
    /// Rows of short-term statistics.
    pub statistics_short_term: Option<u64>,
    /// When the newest state was recorded.
    pub newest_state: Option<Timestamp>,
}

/// Something that shrank suspiciously since an earlier archive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// What, as a word or two.
    pub what: String,
    /// How much there was.
    pub before: String,
    /// How much there is.
    pub now: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}, before {}", self.what, self.now, self.before)
    }
}

impl Counts {
    /// What is suspiciously less than it was in an archive from before.
    pub fn compare(&self, before: &Self) -> Vec<Difference> {
        let mut found = Vec::new();
        let mut differ = |what: &str, before: String, now: String| {
            found.push(Difference { what: what.to_owned(), before, now });
        };
        for (what, before, now) in [
            ("users", before.users, self.users),
            ("owners", before.owners, self.owners),
            ("users who can log in", before.can_log_in, self.can_log_in),
            ("integrations", before.integrations, self.integrations),
            ("devices", before.devices, self.devices),
            ("entities", before.entities, self.entities),
            ("areas", before.areas, self.areas),
            ("automations", before.automations, self.automations),
            ("scripts", before.scripts, self.scripts),
            ("scenes", before.scenes, self.scenes),
            ("settings files", before.settings_files, self.settings_files),
            ("databases", before.databases, self.databases),
        ] {
            // Fewer by more than a tenth.
            if u128::from(now) * 10 < u128::from(before) * 9 {
                differ(what, before.to_string(), now.to_string());
            }
        }
        for (what, before, now) in [
            ("states", before.states, self.states),
            ("events", before.events, self.events),
            ("statistics", before.statistics, self.statistics),
            ("short-term statistics", before.statistics_short_term, self.statistics_short_term),
        ] {
            let Some(before) = before.filter(|rows| *rows > 0) else { continue };
            match now {
                None => differ(what, before.to_string(), "unknown".to_owned()),
                // The recorder removes old rows every night, so a few less mean nothing.
                Some(now) if now < before / 2 => differ(what, before.to_string(), now.to_string()),
                Some(_) => {}
            }
        }
        // Within an hour nothing may have happened in a quiet house.
        let is_later = self.made.zip(before.made).is_some_and(|(now, then)| now.duration_since(then).as_hours() >= 1);
        if let (Some(then), Some(now)) = (before.newest_state, self.newest_state)
            && (now < then && self.made > before.made || now == then && is_later)
        {
            differ("newest recorded state", then.to_string(), now.to_string());
        }
        found
    }

    /// Takes over what was counted in the history.
    pub(super) fn take_history(&mut self, history: &History) {
        let rows = |name: &str| {
            let tables = history.rows.as_ref()?;
            tables.iter().find(|table| table.table == name).map(|table| table.rows)
        };
        self.states = rows("states");
        self.events = rows("events");
        self.statistics = rows("statistics");
        self.statistics_short_term = rows("statistics_short_term");
        self.newest_state = history.last_state;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    fn counts() -> Counts {
        Counts {
            made: Some("2026-11-20T04:45:00Z".parse().unwrap()),
            users: 5,
            owners: 1,
            can_log_in: 4,
            integrations: 41,
            devices: 100,
            entities: 900,
            states: Some(1_000_000),
            events: Some(100),
            newest_state: Some("2026-11-20T04:44:59Z".parse().unwrap()),
            databases: 2,
            ..Counts::default()
        }
    }

    fn said(now: &Counts, before: &Counts) -> Vec<String> {
        now.compare(before).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_shrinks_suspiciously_is_named_and_what_grows_or_varies_is_not() {
        let before = counts();
        let later = Counts {
            made: Some("2026-11-21T04:45:00Z".parse().unwrap()),
            newest_state: Some("2026-11-21T04:44:59Z".parse().unwrap()),
            ..counts()
        };
        assert!(said(&before, &before).is_empty(), "the same archive twice");
        assert!(said(&later, &before).is_empty());
        let fine = Counts {
            users: 6,
            integrations: 37,
            devices: 90,
            states: Some(500_000),
            events: Some(50),
            ..later.clone()
        };
        assert!(said(&fine, &before).is_empty(), "a tenth fewer, and half of the rows");
        let less = Counts {
            users: 3,
            owners: 0,
            integrations: 36,
            devices: 0,
            states: Some(499_999),
            events: None,
            databases: 1,
            newest_state: before.newest_state,
            ..later
        };
        assert_eq!(
            said(&less, &before),
            [
                "users: 3, before 5",
                "owners: 0, before 1",
                "integrations: 36, before 41",
                "devices: 0, before 100",
                "databases: 1, before 2",
                "states: 499999, before 1000000",
                "events: unknown, before 100",
                "newest recorded state: 2026-11-20T04:44:59Z, before 2026-11-20T04:44:59Z",
            ]
        );
        assert!(said(&Counts { users: u64::MAX, ..Counts::default() }, &Counts::default()).is_empty());
    }

    #[test]
    fn what_was_stored_by_another_version_is_read() {
        let text = serde_json::to_string(&counts()).unwrap();
        assert_eq!(serde_json::from_str::<Counts>(&text).unwrap(), counts());
        let older: Counts = serde_json::from_str(r#"{"users":2,"since_removed":true}"#).unwrap();
        assert_eq!((older.users, older.made, older.states), (2, None, None));
    }
}
