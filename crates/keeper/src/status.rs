//! What is known right now, as plain data: the command line prints it, the page draws it, messages are made from it.
//!
//! Sizes are in bytes, stretches of time in seconds, moments in UTC.

use std::collections::BTreeMap;

use engine::{SharedStr, inventory::Item};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// How good or bad something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    /// As it should be.
    Ok,
    /// Nothing is known yet.
    Unknown,
    /// Somebody should look at it.
    Warning,
    /// Backups are not safe.
    Error,
}

/// Everything at a glance.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Status {
    /// When this was put together.
    pub now: Timestamp,
    /// Haul's version.
    pub version: String,
    /// The worst of all jobs and problems.
    pub level: Level,
    /// One sentence: whether the user is safe, and since when.
    pub headline: String,
    /// By name.
    pub jobs: Vec<JobStatus>,
    /// By name.
    pub destinations: Vec<DestinationStatus>,
    /// What runs now and belongs to no job.
    #[serde(default)]
    pub running: Vec<Running>,
    /// What is wrong, the worst first.
    pub problems: Vec<Problem>,
    /// The configuration file, and why it is not in force if it is not.
    pub configuration: ConfigurationStatus,
}

/// The configuration file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ConfigurationStatus {
    /// Where it is, or would be.
    pub path: String,
    /// Why the file as it is now is not in force; the one before it is.
    pub problem: Option<String>,
}

/// One job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct JobStatus {
    /// Its name.
    pub name: String,
    /// The config directory.
    pub source: String,
    /// How it is.
    pub level: Level,
    /// One sentence about it.
    pub headline: String,
    /// What would make it safer, though nothing is wrong.
    #[serde(default)]
    pub advice: Option<String>,
    /// Its schedules as the user wrote them.
    pub schedules: Vec<String>,
    /// Nothing is done for it.
    pub paused: bool,
    /// Home Assistant's id of the instance, once known.
    pub instance: Option<String>,
    /// When the next backup begins.
    pub next: Option<Timestamp>,
    /// The last backup that was tried.
    pub last: Option<RunStatus>,
    /// When the newest whole backup was made, wherever it is.
    pub newest_whole: Option<Timestamp>,
    /// Bytes of that one.
    #[serde(default)]
    pub newest_size: Option<u64>,
    /// At how many destinations that one is.
    pub copies_of_newest: usize,
    /// How many of these copies were verified.
    pub verified_of_newest: usize,
    /// The last rehearsal that proved something.
    pub proven: Option<Proof>,
    /// What runs for it now.
    pub running: Vec<Running>,
    /// The names of its destinations.
    pub destinations: Vec<String>,
    /// The last 30 days, the oldest first.
    pub days: Vec<Day>,
}

/// What was proved by restoring.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Proof {
    /// When.
    pub at: Timestamp,
    /// Which archive.
    pub archive: String,
    /// Where the archive was read.
    pub destination: String,
    /// How: `unpacked`, `in memory` or `booted`.
    pub how: String,
    /// The version of Home Assistant that started from it.
    pub home_assistant: Option<String>,
    /// The sentence that says it.
    pub sentence: String,
}

/// The backups of one day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Day {
    /// By the local calendar.
    pub date: jiff::civil::Date,
    /// `Ok`: a whole backup was made; `Error`: it was tried and failed; `Unknown`: nothing was due or known.
    pub level: Level,
    /// Bytes of the largest archive of that day.
    pub size: u64,
}

/// What a task is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum TaskKind {
    /// A backup is made.
    Backup,
    /// A destination is listed.
    Look,
    /// A copy is sent from one destination to another.
    Copy,
    /// Old archives are removed.
    Remove,
    /// A copy is read and checked.
    Verify,
    /// A backup is restored for a test.
    Rehearse,
    /// A backup is restored.
    Restore,
    /// Home Assistant's Supervisor restores parts of a backup. It can't be stopped.
    RestoreParts,
    /// A running installation is moved to another machine.
    Migrate,
    /// A copy is protected from removal, or no longer.
    Pin,
}

/// How something ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Ending {
    /// Everything is as it should be.
    Done,
    /// Done, but something is missing or one of several copies failed.
    Incomplete,
    /// It failed.
    Failed,
    /// Somebody stopped it.
    Cancelled,
}

/// A task that ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RunStatus {
    /// Its number.
    pub id: i64,
    /// What it was.
    pub kind: TaskKind,
    /// For which job.
    pub job: Option<String>,
    /// At which destination.
    pub destination: Option<String>,
    /// Of which archive.
    pub archive: Option<String>,
    /// When it began.
    pub started: Timestamp,
    /// How long it took.
    pub seconds: f64,
    /// How it ended.
    pub ending: Ending,
    /// What happened, in one sentence.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
    /// Bytes of the archive.
    pub size: Option<u64>,
    /// What limited it.
    pub limited_by: Option<String>,
    /// When a failed one is tried again.
    pub retry: Option<Timestamp>,
}

/// How the message of a backup begins that could not be made yet because its Home Assistant is busy.
pub const WAITING: &str = "Waiting: ";

impl RunStatus {
    /// Whether it could not begin yet, which is no failure until it has lasted.
    pub fn is_waiting(&self) -> bool {
        self.ending == Ending::Failed && self.message.starts_with(WAITING)
    }
}

/// A task that runs now.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Running {
    /// Its number.
    pub id: i64,
    /// What it is.
    pub kind: TaskKind,
    /// For which job.
    pub job: Option<String>,
    /// At which destination.
    pub destination: Option<String>,
    /// Of which archive.
    pub archive: Option<String>,
    /// When it began.
    pub started: Timestamp,
    /// What it is doing, in words.
    pub doing: String,
    /// Bytes done.
    pub done: u64,
    /// Bytes to do, 0 while that is unknown.
    pub total: u64,
    /// Bytes a second.
    pub rate: u64,
    /// Seconds left, if known.
    pub left: Option<u64>,
    /// What limits it.
    pub limited_by: Option<String>,
}

/// One destination.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct DestinationStatus {
    /// Its name.
    pub name: String,
    /// Its address, without secrets.
    pub address: String,
    /// What else `haul.toml` says of how it is reached, such as an endpoint; of secrets only the files.
    #[serde(default)]
    pub options: BTreeMap<String, String>,
    /// How it is.
    pub level: Level,
    /// One sentence about it.
    pub headline: String,
    /// When it was last listed.
    pub seen: Option<Timestamp>,
    /// Since when it can't be reached.
    pub away_since: Option<Timestamp>,
    /// Why it can't be reached, and what to do about that.
    pub away: Option<Failure>,
    /// Free space, if it says so.
    pub free: Option<u64>,
    /// How many archives it holds.
    pub archives: usize,
    /// How many of them are whole.
    pub whole: usize,
    /// Bytes of all archives.
    pub size: u64,
    /// When its newest whole archive was made.
    pub newest_whole: Option<Timestamp>,
    /// Names of what will be removed next.
    pub leaving: Vec<String>,
    /// Names of what would be removed, which is so much that somebody has to agree first.
    pub waiting_for_consent: Vec<String>,
}

/// What went wrong, and what to do next.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Failure {
    /// What happened, in one sentence.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
    /// Whether trying again may help.
    pub passes: bool,
}

/// What can be wrong, each as one word.
pub const PROBLEM_KINDS: [&str; 19] = [
    "backup-failed",
    "waiting",
    "overdue",
    "no-backup",
    "incomplete",
    "not-proven",
    "blocked",
    "copy-damaged",
    "unchecked",
    "shared",
    "destination-away",
    "trouble",
    "removals-wait",
    "restore-silent",
    "stopping",
    "configuration",
    "state",
    "notify-failed",
    "mqtt-failed",
];

/// What is wrong and not over.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// Stays the same as long as it is the same problem.
    pub key: String,
    /// What kind it is: one of [`PROBLEM_KINDS`].
    pub kind: String,
    /// How bad it is.
    pub level: Level,
    /// Of which job.
    pub job: Option<String>,
    /// At which destination.
    pub destination: Option<String>,
    /// Since when.
    pub since: Timestamp,
    /// What is wrong, in one sentence.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl Problem {
    /// Whether it has lasted when it begins: nobody waits any longer with telling it.
    pub(crate) fn has_lasted(&self) -> bool {
        self.level >= Level::Error || self.kind == "restore-silent"
    }

    /// What is wrong, in a few words without a name.
    pub fn title(&self) -> &'static str {
        match self.kind.as_str() {
            "backup-failed" => "The last backup failed",
            "overdue" => "No recent backup",
            "waiting" => "Waiting for Home Assistant",
            "no-backup" if self.level < Level::Error => "No backup at the new locations yet",
            "no-backup" => "No backup is left",
            "incomplete" => "The last backup lacks something",
            "not-proven" => "Not proven to restore",
            "blocked" => "A copy is missing and can't be made",
            "copy-damaged" => "A copy is damaged",
            "unchecked" => "A copy can't be checked",
            "shared" => "Two use one place",
            "destination-away" => "A location can't be reached",
            "trouble" => "Something failed at a location",
            "removals-wait" => "Removing backups needs your consent",
            "restore-silent" => "No news of a restore",
            "stopping" => "Haul is being stopped",
            "configuration" => "The configuration has a mistake",
            "state" => "Haul can't write down what it does",
            "notify-failed" => "A message does not arrive",
            "mqtt-failed" => "Home Assistant is not told by MQTT",
            _ => "Something is wrong",
        }
    }
}

/// One archive and all its copies.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ArchiveStatus {
    /// Stays the same wherever copies are: for links.
    pub id: String,
    /// What its copies say of themselves; the best of them.
    #[schema(value_type = Object)]
    pub item: Item,
    /// The job that it belongs to.
    pub job: Option<String>,
    /// Where it is.
    pub copies: Vec<CopyStatus>,
    /// The user's note.
    pub note: Option<String>,
}

/// A copy of an archive.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct CopyStatus {
    /// The destination's name.
    #[schema(value_type = String)]
    pub destination: SharedStr,
    /// The archive's name there.
    #[schema(value_type = String)]
    pub name: SharedStr,
    /// Its size there.
    pub size: u64,
    /// When it was last read and checked.
    pub verified: Option<Timestamp>,
    /// What that said.
    pub verdict: Option<CopyVerdict>,
    /// It is protected from removal.
    pub pinned: bool,
    /// It will be protected, or no longer, as soon as the destination can be reached.
    pub pinning: Option<bool>,
    /// It will be removed next.
    pub leaving: bool,
}

/// What reading a copy showed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CopyVerdict {
    /// Nothing is missing or damaged.
    pub whole: bool,
    /// Its bytes are not what was written.
    pub damaged: bool,
    /// The engine's sentence.
    #[schema(value_type = String)]
    pub sentence: SharedStr,
    /// Not every byte was read.
    pub samples: bool,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Event {
    /// Its number: later ones have greater ones.
    pub id: i64,
    /// When.
    pub at: Timestamp,
    /// How bad it is.
    pub level: Level,
    /// What kind of event, as one word.
    pub kind: String,
    /// Of which job.
    pub job: Option<String>,
    /// At which destination.
    pub destination: Option<String>,
    /// What happened, in one sentence.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
    /// The key of the problem that begins or ends with it.
    #[serde(default)]
    pub problem: Option<String>,
}
