//! Detects damaged databases on this machine, as far as their first bytes show it.

/// Names under which nothing but a database is kept.
const DATABASES: [&[u8]; 3] = [b".db", b".sqlite", b".sqlite3"];

/// What is wrong with a file of that name, length and beginning that is too short for a database or does not begin like
/// one. `is_history`: it is the recorder's.
pub(super) fn of_file(relative: &[u8], is_history: bool, head: &[u8], length: u64) -> Option<String> {
    if length == 0 {
        // Integrations may make theirs in advance.
        return is_history.then(|| "it is empty: the history is gone".to_owned());
    }
    let what = if livesqlite::is_database(head) {
        Some(format!("the database was cut short: only {length} bytes are left"))
    } else if is_history || DATABASES.iter().any(|suffix| relative.ends_with(suffix)) {
        let zeros = head.iter().all(|byte| *byte == 0);
        match (zeros, is_history) {
            (true, _) => Some("it begins with zeros instead of a database's header".to_owned()),
            (false, true) => Some("it does not begin like a database".to_owned()),
            // A name alone proves nothing.
            (false, false) => None,
        }
    } else {
        None
    };
    what.map(|what| what + consequence(is_history))
}

/// Says what a finished image showed to be wrong.
pub(super) fn of_image(is_history: bool, problems: &[String]) -> Option<String> {
    let first = problems.first()?.trim_start_matches("the database is damaged: ");
    let more = match problems.len() - 1 {
        0 => String::new(),
        more => format!(" (and {more} more)"),
    };
    Some(format!("the database is damaged: {first}{more}") + consequence(is_history))
}

/// What Home Assistant does about it.
pub(super) fn consequence(is_history: bool) -> &'static str {
    if is_history { "; Home Assistant sets it aside and starts a new history when it notices" } else { "" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_can_be_no_database_is_recognised_by_its_name() {
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
            let said = of_file(name, name == b"home-assistant_v2.db", head, length);
            assert_eq!(said.is_some(), says.is_some(), "{name:?} {said:?}");
            assert!(said.unwrap_or_default().contains(says.unwrap_or_default()), "{name:?}");
        }
    }
}
