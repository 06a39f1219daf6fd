//! The end of a problem, in words.

use jiff::Timestamp;

use crate::status::{Event, Level};

/// The event that says that a problem is over.
pub(crate) fn event(key: &str, at: Timestamp) -> Event {
    let mut parts = key.split(':');
    let kind = parts.next().unwrap_or_default();
    let what = match kind {
        "backup-failed" => "Backups succeed again",
        "waiting" => "Haul no longer waits for Home Assistant",
        "no-backup" => "There is a backup at its locations",
        "overdue" => "There is a recent whole backup again",
        "destination-away" => "Can be reached again",
        "copy-damaged" => "The damaged copy is gone, was replaced, or has changed since",
        "not-proven" => "A rehearsal proved again that the backup restores",
        "configuration" => "The configuration is in order again",
        "incomplete" => "Backups are complete again",
        "trouble" => "What Haul does there succeeds again",
        "removals-wait" => "No removal waits for consent any more",
        "blocked" => "A missing copy is there, or no longer wanted",
        "unchecked" => "The copy was checked, or is gone",
        "shared" => "Nothing else uses the same place any more",
        "restore-silent" => "There is news of the restore again, or it has ended",
        "stopping" => "Haul runs again",
        "state" => "Haul can write down what it does again",
        "notify-failed" => "Messages arrive again",
        "mqtt-failed" => "The trouble with MQTT is over",
        _ => "A problem is over",
    };
    let rest: Vec<&str> = parts.collect();
    let (job, destination) = match kind {
        "destination-away" | "trouble" | "removals-wait" => (None, rest.first()),
        // What follows is a channel, a broker or an archive.
        "notify-failed" | "mqtt-failed" | "restore-silent" => (None, None),
        _ => (rest.first(), rest.get(1)),
    };
    Event {
        id: 0,
        at,
        level: Level::Ok,
        kind: format!("{kind}-over"),
        job: job.map(|job| (*job).to_owned()),
        destination: destination.map(|destination| (*destination).to_owned()),
        message: match rest.first() {
            Some(of) => format!("{what}: {of}"),
            None => what.to_owned(),
        },
        hint: None,
        problem: Some(key.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::PROBLEM_KINDS;

    #[test]
    fn the_end_of_each_kind_has_words_of_its_own() {
        for kind in PROBLEM_KINDS {
            let event = event(&format!("{kind}:home:nas"), Timestamp::UNIX_EPOCH);
            assert!(!event.message.starts_with("A problem"), "{kind}");
        }
    }
}
