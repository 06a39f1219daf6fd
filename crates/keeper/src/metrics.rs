//! What is known, in Prometheus's text format.
//!
//! Names by convention: base units, moments as `…_timestamp_seconds`. One series per job and per destination; nothing
//! that grows with the number of archives. What is not known has no series.

use std::fmt::Write;

use jiff::Timestamp;

use crate::status::{DestinationStatus, JobStatus, Level, Status};

/// A family of gauges: its name, what it is, and the value that it takes of each.
type Family<T> = (&'static str, &'static str, fn(&T) -> Option<f64>);

const OF_JOBS: &[Family<JobStatus>] = &[
    ("haul_job_paused", "Whether nothing is done for the job.", |job| Some(flag(job.paused))),
    ("haul_job_running", "Tasks that run for the job now.", |job| Some(job.running.len() as f64)),
    ("haul_job_healthy", "0 when the job has a problem that makes its backups unsafe.", |job| {
        Some(flag(job.level < Level::Error))
    }),
    ("haul_backup_next_timestamp_seconds", "When the next backup begins.", |job| Some(seconds(job.next?))),
    ("haul_backup_newest_whole_timestamp_seconds", "When the newest whole backup was made.", |job| {
        Some(seconds(job.newest_whole?))
    }),
    ("haul_backup_newest_copies", "Destinations that hold the newest whole backup.", |job| {
        Some(job.copies_of_newest as f64)
    }),
    ("haul_backup_newest_verified_copies", "Of these, those whose copy was verified.", |job| {
        Some(job.verified_of_newest as f64)
    }),
    ("haul_backup_last_started_timestamp_seconds", "When the last backup that ended had begun.", |job| {
        Some(seconds(job.last.as_ref()?.started))
    }),
    ("haul_backup_last_duration_seconds", "How long it took.", |job| Some(job.last.as_ref()?.seconds)),
    ("haul_backup_last_size_bytes", "The size of its archive.", |job| Some(job.last.as_ref()?.size? as f64)),
    ("haul_backup_proven_timestamp_seconds", "When a rehearsal last proved that a backup restores.", |job| {
        Some(seconds(job.proven.as_ref()?.at))
    }),
];

const OF_DESTINATIONS: &[Family<DestinationStatus>] = &[
    ("haul_destination_up", "Whether the destination could be reached when it was last tried.", |place| {
        (place.seen.is_some() || place.away_since.is_some()).then(|| flag(place.away_since.is_none()))
    }),
    ("haul_destination_seen_timestamp_seconds", "When it was last listed.", |place| Some(seconds(place.seen?))),
    ("haul_destination_archives", "Archives that it holds.", |place| Some(place.archives as f64)),
    ("haul_destination_whole_archives", "Of these, those that are whole.", |place| Some(place.whole as f64)),
    ("haul_destination_size_bytes", "Bytes of all archives there.", |place| Some(place.size as f64)),
    ("haul_destination_free_bytes", "Free space, if the destination says it.", |place| Some(place.free? as f64)),
    ("haul_destination_newest_whole_timestamp_seconds", "When its newest whole archive was made.", |place| {
        Some(seconds(place.newest_whole?))
    }),
];

/// The text of a scrape.
pub fn text(status: &Status) -> String {
    let mut text = String::new();
    head(&mut text, "haul_build_info", "Haul's version.");
    let _ = writeln!(text, "haul_build_info{{version=\"{}\"}} 1", escaped(&status.version));
    head(&mut text, "haul_problems", "What is wrong and not over, by how bad it is.");
    for (name, level) in [("warning", Level::Warning), ("error", Level::Error)] {
        let count = status.problems.iter().filter(|problem| problem.level == level).count();
        let _ = writeln!(text, "haul_problems{{level=\"{name}\"}} {count}");
    }
    families(&mut text, OF_JOBS, "job", &status.jobs.iter().map(|job| (job.name.as_str(), job)));
    let places = status.destinations.iter().map(|place| (place.name.as_str(), place));
    families(&mut text, OF_DESTINATIONS, "destination", &places);
    text
}

fn families<'s, T: 's>(
    text: &mut String,
    families: &[Family<T>],
    label: &str,
    all: &(impl Iterator<Item = (&'s str, &'s T)> + Clone),
) {
    for (name, help, value) in families {
        let values: Vec<(&str, f64)> = all.clone().filter_map(|(of, it)| Some((of, value(it)?))).collect();
        if !values.is_empty() {
            head(text, name, help);
        }
        for (of, value) in values {
            let _ = writeln!(text, "{name}{{{label}=\"{}\"}} {value}", escaped(of));
        }
    }
}

fn head(text: &mut String, name: &str, help: &str) {
    let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} gauge");
}

fn escaped(label: &str) -> String {
    label.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

fn flag(is: bool) -> f64 {
    f64::from(u8::from(is))
}

fn seconds(moment: Timestamp) -> f64 {
    moment.as_millisecond() as f64 / 1e3
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::status::ConfigurationStatus;

    #[test]
    fn what_is_known_is_there_and_what_is_not_has_no_series() {
        let place = DestinationStatus {
            name: "a \"b\"\\".to_owned(),
            address: "/b".to_owned(),
            level: Level::Ok,
            headline: String::new(),
            seen: Some(Timestamp::from_millisecond(1_795_000_000_500).unwrap()),
            away_since: None,
            away: None,
            free: None,
            archives: 2,
            whole: 1,
            size: 10_000_000_000,
            newest_whole: None,
            leaving: Vec::new(),
            waiting_for_consent: Vec::new(),
        };
        let status = Status {
            now: Timestamp::UNIX_EPOCH,
            version: "1.0".to_owned(),
            level: Level::Ok,
            headline: String::new(),
            jobs: Vec::new(),
            destinations: vec![place],
            problems: Vec::new(),
            configuration: ConfigurationStatus { path: String::new(), problem: None },
        };
        let text = text(&status);
        for line in [
            "# TYPE haul_destination_up gauge",
            "haul_destination_up{destination=\"a \\\"b\\\"\\\\\"} 1",
            "haul_destination_size_bytes{destination=\"a \\\"b\\\"\\\\\"} 10000000000",
            "haul_destination_seen_timestamp_seconds{destination=\"a \\\"b\\\"\\\\\"} 1795000000.5",
            "haul_problems{level=\"error\"} 0",
            "haul_build_info{version=\"1.0\"} 1",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
        assert!(!text.contains("free_bytes") && !text.contains("newest_whole") && !text.contains("haul_job"), "{text}");
    }
}
