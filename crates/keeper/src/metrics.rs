//! What is known, in Prometheus's text format.
//!
//! Names by convention: base units, moments as `…_timestamp_seconds`. One series per job and per destination; nothing
//! that grows with the number of archives. What is not known has no series.

use std::{collections::BTreeMap, fmt::Write};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::status::{DestinationStatus, Ending, JobStatus, Level, RunStatus, Status, TaskKind};

/// `job` is the name that Prometheus gives to what it scrapes.
const JOB: &str = "backup_job";

/// A family of gauges: its name, what it is, and the value that it takes of each.
type Family<T> = (&'static str, &'static str, fn(&T) -> Option<f64>);

const OF_JOBS: &[Family<JobStatus>] = &[
    ("haul_job_paused", "Whether nothing is done for the job.", |job| Some(flag(job.paused))),
    ("haul_job_destinations", "Destinations that the job has.", |job| Some(job.destinations.len() as f64)),
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

/// What is counted by itself.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Counter {
    kind: TaskKind,
    job: Option<String>,
    destination: Option<String>,
    ending: Ending,
}

/// How much there was of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Counted {
    tasks: u64,
    seconds: f64,
    bytes: u64,
}

/// Everything that was done so far. It grows with jobs and destinations, not with time.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Counters(BTreeMap<Counter, Counted>);

impl FromIterator<(Counter, Counted)> for Counters {
    fn from_iter<I: IntoIterator<Item = (Counter, Counted)>>(all: I) -> Self {
        Self(all.into_iter().collect())
    }
}

impl Counters {
    /// Counts a task that ended; returns where it stands now.
    pub(crate) fn count(&mut self, run: &RunStatus) -> (Counter, Counted) {
        let of =
            Counter { kind: run.kind, job: run.job.clone(), destination: run.destination.clone(), ending: run.ending };
        let so_far = self.0.entry(of.clone()).or_default();
        so_far.tasks += 1;
        so_far.seconds += run.seconds;
        so_far.bytes = so_far.bytes.saturating_add(run.size.unwrap_or(0));
        (of, *so_far)
    }

    /// With zeros for what every job will do sooner or later: a counter that begins with 1 shows no increase.
    fn of(&self, status: &Status) -> BTreeMap<Counter, Counted> {
        let mut all = BTreeMap::new();
        for job in &status.jobs {
            for ending in [Ending::Done, Ending::Incomplete, Ending::Failed] {
                let counter =
                    Counter { kind: TaskKind::Backup, job: Some(job.name.clone()), destination: None, ending };
                all.insert(counter, Counted::default());
            }
        }
        all.extend(self.0.iter().map(|(counter, counted)| (counter.clone(), *counted)));
        all
    }
}

/// A family of counters: its name, what it is, and the value.
type Sums = (&'static str, &'static str, fn(&Counted) -> f64);

const OF_TASKS: &[Sums] = &[
    ("haul_tasks_total", "Tasks that ended, by kind and ending.", |counted| counted.tasks as f64),
    ("haul_task_seconds_total", "How long they took together.", |counted| counted.seconds),
    ("haul_task_bytes_total", "Bytes of the archives that they were about.", |counted| counted.bytes as f64),
];

/// The text of a scrape.
pub fn text(status: &Status, counters: &Counters) -> String {
    let mut text = String::new();
    head(&mut text, "haul_build_info", "Haul's version.");
    let _ = writeln!(text, "haul_build_info{{version=\"{}\"}} 1", escaped(&status.version));
    head(&mut text, "haul_problems", "What is wrong and not over, by how bad it is.");
    for (name, level) in [("warning", Level::Warning), ("error", Level::Error)] {
        let count = status.problems.iter().filter(|problem| problem.level == level).count();
        let _ = writeln!(text, "haul_problems{{level=\"{name}\"}} {count}");
    }
    families(&mut text, OF_JOBS, JOB, &status.jobs.iter().map(|job| (job.name.as_str(), job)));
    let places = status.destinations.iter().map(|place| (place.name.as_str(), place));
    families(&mut text, OF_DESTINATIONS, "destination", &places);
    let counters = counters.of(status);
    for (name, help, value) in OF_TASKS {
        if counters.is_empty() {
            break;
        }
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} counter");
        for (Counter { kind, job, destination, ending }, counted) in &counters {
            let labels = [
                ("kind", word(kind)),
                (JOB, job.clone().unwrap_or_default()),
                ("destination", destination.clone().unwrap_or_default()),
                ("ending", word(ending)),
            ];
            let labels = labels.iter().filter(|(_, value)| !value.is_empty());
            let labels: Vec<String> = labels.map(|(label, value)| format!("{label}=\"{}\"", escaped(value))).collect();
            let _ = writeln!(text, "{name}{{{}}} {}", labels.join(","), value(counted));
        }
    }
    text
}

/// The name that a kind or ending has everywhere.
fn word(of: &impl Serialize) -> String {
    serde_json::to_value(of).ok().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
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
            options: BTreeMap::new(),
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
            running: Vec::new(),
            problems: Vec::new(),
            configuration: ConfigurationStatus { path: String::new(), problem: None },
        };
        let mut counters = Counters::default();
        let run = RunStatus {
            id: 1,
            kind: TaskKind::Copy,
            job: Some("home".to_owned()),
            destination: Some("nas".to_owned()),
            archive: None,
            started: Timestamp::UNIX_EPOCH,
            seconds: 1.5,
            ending: Ending::Done,
            message: String::new(),
            hint: None,
            size: Some(1000),
            limited_by: None,
            retry: None,
        };
        counters.count(&run);
        counters.count(&run);
        let text = text(&status, &counters);
        for line in [
            "# TYPE haul_destination_up gauge",
            "haul_destination_up{destination=\"a \\\"b\\\"\\\\\"} 1",
            "haul_destination_size_bytes{destination=\"a \\\"b\\\"\\\\\"} 10000000000",
            "haul_destination_seen_timestamp_seconds{destination=\"a \\\"b\\\"\\\\\"} 1795000000.5",
            "haul_problems{level=\"error\"} 0",
            "# TYPE haul_tasks_total counter",
            "haul_tasks_total{kind=\"copy\",backup_job=\"home\",destination=\"nas\",ending=\"done\"} 2",
            "haul_task_bytes_total{kind=\"copy\",backup_job=\"home\",destination=\"nas\",ending=\"done\"} 2000",
            "haul_task_seconds_total{kind=\"copy\",backup_job=\"home\",destination=\"nas\",ending=\"done\"} 3",
            "haul_build_info{version=\"1.0\"} 1",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
        assert!(!text.contains("free_bytes") && !text.contains("newest_whole") && !text.contains("haul_job"), "{text}");
    }
}
