//! What a user wants done by itself: one table `[jobs.NAME]` of the configuration file, understood.

use std::{path::PathBuf, time::Duration};

use engine::retention::Rules;

use crate::schedule::{Hours, Schedule};

/// One source, its destinations, and when.
#[derive(Clone, Debug)]
pub struct Job {
    /// Its name in the configuration file.
    pub name: String,
    /// The config directory.
    pub source: PathBuf,
    /// When it makes a backup; nothing: only when told.
    pub schedules: Vec<Schedule>,
    /// A run may begin up to so much later than its schedule says, the same for each moment, so that many machines do
    /// not call on one server at once.
    pub jitter: Duration,
    /// Nothing is made, removed or copied until it is resumed.
    pub paused: bool,
    /// Where its backups are kept; at least one.
    pub destinations: Vec<Target>,
    /// How archives are made.
    pub making: Making,
    /// Commands around a backup.
    pub hooks: Hooks,
    /// When an archive is rehearsed.
    pub rehearse: Option<Schedule>,
    /// The command that starts Home Assistant on a rehearsed archive.
    pub boot: Option<String>,
    /// With no whole backup for so long there is a problem, even if nothing failed.
    pub overdue_after: Duration,
    /// More removals than this at one destination at once wait until somebody agrees.
    pub most_removals: usize,
}

/// One destination of a job.
#[derive(Clone, Debug)]
pub struct Target {
    /// The destination's name in the configuration file.
    pub destination: String,
    /// What is kept there; nothing: everything.
    pub keep: Option<Rules>,
    /// When backups go there, if not whenever the job makes one.
    pub schedules: Option<Vec<Schedule>>,
    /// How long a verified copy is believed; nothing: it is verified after its arrival only.
    pub verify_every: Option<Duration>,
    /// After the first time, each verification reads a tenth of a copy, another one each time.
    pub by_samples: bool,
    /// Bytes a second to and from there.
    pub limit: Option<u64>,
    /// The hours in which copies are sent, verified and repaired; a backup is made whenever it is due.
    pub hours: Option<Hours>,
}

/// How archives are made: as the options of `haul backup`.
#[derive(Clone, Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a key of the configuration file")]
pub struct Making {
    /// The file with the encryption key; nothing: not encrypted.
    pub password_file: Option<PathBuf>,
    /// Files with keys of earlier archives.
    pub earlier_password_files: Vec<PathBuf>,
    /// The backup's name in Home Assistant.
    pub title: Option<String>,
    /// Patterns of what is left out.
    pub exclude: Vec<String>,
    /// Leaves out the history.
    pub exclude_database: bool,
    /// Spares processor and disk.
    pub gentle: bool,
    /// `fast`, `balanced` or `small`.
    pub level: engine::Level,
    /// Does not compress at all.
    pub uncompressed: bool,
    /// With every app and folder: Home Assistant's Supervisor writes the backup, and it is made anew while it comes.
    pub everything: bool,
}

/// Commands around a backup, run by `sh -c`.
#[derive(Clone, Debug, Default)]
pub struct Hooks {
    /// Before it; if it fails, no backup is made.
    pub before: Option<String>,
    /// After it, whatever happened, also after a `before` that failed.
    pub after: Option<String>,
    /// Either is ended after so long.
    pub time_limit: Duration,
}

impl Job {
    /// Its destination of this name.
    pub fn target(&self, destination: &str) -> Option<&Target> {
        self.destinations.iter().find(|target| target.destination == destination)
    }
}
