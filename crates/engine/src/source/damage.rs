//! Damage of databases on this machine, as far as their first bytes show it.

use super::RECORDER;

/// Names under which nothing but a database is kept.
const DATABASES: [&[u8]; 3] = [b".db", b".sqlite", b".sqlite3"];

/// What is wrong with a file of that name, length and beginning that is too short for a database or does not begin like one.
pub(super) fn of_database(relative: &[u8], head: &[u8], length: u64) -> Option<String> {
    let is_recorder = relative == RECORDER;
    let what = if length == 0 {
        // Integrations may make theirs in advance.
        is_recorder.then(|| "it is empty".to_owned())
    } else if livesqlite::is_database(head) {
        Some(format!("the database was cut short: only {length} bytes of it are left"))
    } else if is_recorder || DATABASES.iter().any(|suffix| relative.ends_with(suffix)) {
        let zeros = head.iter().all(|byte| *byte == 0);
        match (zeros, is_recorder) {
            (true, _) => Some("it begins with zeros instead of a database's header".to_owned()),
            (false, true) => Some("it does not begin like a database".to_owned()),
            // A name alone proves nothing.
            (false, false) => None,
        }
    } else {
        None
    };
    what.map(|what| what + &consequence(relative))
}

/// What Home Assistant does about it, when it is the recorder's.
pub(super) fn consequence(relative: &[u8]) -> String {
    if relative == RECORDER { "; at its next start, Home Assistant will put it aside and begin a new history".to_owned() } else { String::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_can_be_no_database_is_told_by_its_name() {
        for (name, head, length, says) in [
            (&b"home-assistant_v2.db"[..], &b""[..], 0, Some("it is empty")),
            (b"home-assistant_v2.db", &[0; 20], 4096, Some("begins with zeros")),
            (b"home-assistant_v2.db", b"something else", 14, Some("does not begin like a database")),
            (b"home-assistant_v2.db", b"SQLite format 3\0....", 100, Some("only 100 bytes")),
            (b"zigbee.db", b"", 0, None),
            (b"zigbee.db", &[0; 20], 4096, Some("begins with zeros")),
            (b"zigbee.db", b"something else", 14, None),
            (b"www/h.bin", b"SQLite format 3\0....", 100, Some("only 100 bytes")),
            (b"www/zeros.bin", &[0; 20], 4096, None),
        ] {
            let said = of_database(name, head, length);
            assert_eq!(said.is_some(), says.is_some(), "{name:?} {said:?}");
            assert!(said.unwrap_or_default().contains(says.unwrap_or_default()), "{name:?}");
        }
    }
}
