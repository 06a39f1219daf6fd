//! What the service does, one thing at a time: a task, and how it ended.

use std::{collections::BTreeMap, path::PathBuf};

use engine::{inventory::Item, samples::Samples};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    status::{CopyVerdict, Ending, Failure, Proof, TaskKind},
    sync::{Removal, Source},
};

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Task {
    /// Makes a backup.
    Backup {
        /// For this job.
        job: String,
        /// To these destinations.
        to: Vec<String>,
        /// The schedules that it counts for: see [`crate::facts::JobFacts::started`].
        counts_for: Vec<String>,
    },
    /// Lists a destination, and reads the beginnings of archives that are new there.
    Look {
        /// The destination.
        destination: String,
    },
    /// Sends an archive that another destination has.
    Copy {
        /// For this job.
        job: String,
        /// The archive.
        archive: String,
        /// Copies of it, the best source first.
        from: Vec<Source>,
        /// Where it goes.
        to: Location,
        /// How many bytes it has.
        size: u64,
    },
    /// Removes what retention does not keep.
    Remove {
        /// For this job.
        job: String,
        /// The destination.
        destination: String,
        /// What goes, and on account of what.
        removals: Vec<Removal>,
    },
    /// Reads a copy and checks it.
    Verify {
        /// For this job, whose key opens it.
        job: Option<String>,
        /// The copy.
        copy: Location,
    },
    /// Restores an archive for a test.
    Rehearse {
        /// For this job.
        job: String,
        /// Which copy.
        copy: Location,
    },
    /// Restores an archive into a directory of this machine.
    Restore(Restore),
    /// Has Home Assistant's Supervisor restore parts of an archive on this machine.
    RestoreParts(RestoreParts),
    /// Moves a running installation to another machine.
    Migrate(Migrate),
    /// Protects a copy from removal, or no longer.
    Pin {
        /// The copy.
        copy: Location,
        /// Whether it is to be protected.
        pinned: bool,
    },
    /// Removes one copy because somebody said so.
    Delete {
        /// The copy.
        copy: Location,
        /// Also if it is the only one.
        #[serde(default)]
        even_only: bool,
    },
}

/// A task that somebody asked for, until it is done.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Asked {
    /// The task.
    pub task: Task,
    /// How often it was begun.
    pub tries: u32,
    /// What its destination meant when it was asked for: address and identity.
    #[serde(default)]
    pub place: Option<(String, String)>,
    /// Of a copy that is to be deleted: the archive, should it be gone before that is known to be done.
    #[serde(default)]
    pub archive: Option<String>,
    /// Since the program began.
    #[serde(skip)]
    pub is_new: bool,
}

/// What is restored, and where to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Restore {
    /// The job that the archive belongs to, whose key opens it.
    pub job: Option<String>,
    /// Which copy is read.
    pub copy: Location,
    /// The directory, absolute.
    pub into: String,
    /// Only what fits one of these patterns; none: everything.
    pub only: Vec<String>,
    /// What is in the directory goes aside. Otherwise it must be new or empty.
    pub replace: bool,
    /// Whoever carries it out has a key for it by this number. Keys themselves are written down nowhere.
    pub key: Option<u64>,
}

/// What of an archive Home Assistant's Supervisor restores.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestoreParts {
    /// The job that the archive belongs to.
    pub job: Option<String>,
    /// The copy that is read.
    pub copy: Location,
    /// The archive's id, by which Supervisor knows it.
    pub slug: String,
    /// Supervisor's network storage that leads to the copy.
    pub storage: String,
    /// Home Assistant's configuration.
    pub home_assistant: bool,
    /// Apps by their ids, with their names.
    pub apps: BTreeMap<String, String>,
    /// Folders.
    pub folders: Vec<String>,
    /// When somebody said so; no two have the same.
    pub ordered: Timestamp,
    /// Whoever carries it out has the key for it by this number. Keys themselves are written down nowhere.
    pub key: u64,
}

/// What is moved, and where to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Migrate {
    /// The job whose source moves.
    pub job: String,
    /// The address of the new Home Assistant, which holds no secret.
    pub to: String,
    /// Whoever carries it out has what was typed for it by this number. Tokens and keys are written down nowhere.
    pub typed: u64,
}

/// An archive at a destination.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Location {
    /// The destination's name in the configuration file.
    pub destination: String,
    /// The archive's name there.
    pub name: String,
}

/// Where the source of each job really is, by the job's name.
pub type Sources = BTreeMap<String, PathBuf>;

impl Restore {
    /// Whether it replaces some of what a job reads, as far as that is not known to be elsewhere. What is replaced is the
    /// source of its own job.
    fn replaces(&self, job: &str, sources: &Sources) -> bool {
        let own = self.job.as_ref().and_then(|own| sources.get(own));
        let is_apart =
            own.zip(sources.get(job)).is_some_and(|(own, other)| !own.starts_with(other) && !other.starts_with(own));
        self.replace && !is_apart
    }
}

impl Task {
    /// What it is.
    pub fn kind(&self) -> TaskKind {
        match self {
            Self::Backup { .. } => TaskKind::Backup,
            Self::Look { .. } => TaskKind::Look,
            Self::Copy { .. } => TaskKind::Copy,
            Self::Remove { .. } | Self::Delete { .. } => TaskKind::Remove,
            Self::Verify { .. } => TaskKind::Verify,
            Self::Rehearse { .. } => TaskKind::Rehearse,
            Self::Restore(_) => TaskKind::Restore,
            Self::RestoreParts(_) => TaskKind::RestoreParts,
            Self::Migrate(_) => TaskKind::Migrate,
            Self::Pin { .. } => TaskKind::Pin,
        }
    }

    /// For which job it is done.
    pub fn job(&self) -> Option<&str> {
        match self {
            Self::Backup { job, .. }
            | Self::Copy { job, .. }
            | Self::Remove { job, .. }
            | Self::Rehearse { job, .. }
            | Self::Migrate(Migrate { job, .. }) => Some(job),
            Self::Verify { job, .. }
            | Self::Restore(Restore { job, .. })
            | Self::RestoreParts(RestoreParts { job, .. }) => job.as_deref(),
            Self::Look { .. } | Self::Pin { .. } | Self::Delete { .. } => None,
        }
    }

    /// The destination that it occupies; a backup occupies none, because it is made when it is due.
    pub fn destination(&self) -> Option<&str> {
        match self {
            Self::Backup { .. } | Self::Migrate(_) => None,
            Self::Look { destination } | Self::Remove { destination, .. } => Some(destination),
            Self::Copy { to: copy, .. }
            | Self::Verify { copy, .. }
            | Self::Rehearse { copy, .. }
            | Self::Restore(Restore { copy, .. })
            | Self::RestoreParts(RestoreParts { copy, .. })
            | Self::Pin { copy, .. }
            | Self::Delete { copy, .. } => Some(&copy.destination),
        }
    }

    /// Whether it stays asked for until it has ended. A backup or rehearsal that is cut off is begun again without that,
    /// a restore or a move never. What Supervisor restores goes on without this program, so its end is still to be told.
    pub fn is_asked_to_its_end(&self) -> bool {
        matches!(self, Self::Verify { .. } | Self::Pin { .. } | Self::Delete { .. } | Self::RestoreParts(_))
    }

    /// Whether both say whether the same copy is protected.
    pub fn pins_the_same(&self, other: &Self) -> bool {
        matches!((self, other), (Self::Pin { copy, .. }, Self::Pin { copy: same, .. }) if copy == same)
    }

    /// The archive that it is about, by its name.
    pub fn archive(&self) -> Option<&str> {
        match self {
            Self::Copy { to: copy, .. }
            | Self::Verify { copy, .. }
            | Self::Rehearse { copy, .. }
            | Self::Restore(Restore { copy, .. })
            | Self::RestoreParts(RestoreParts { copy, .. })
            | Self::Pin { copy, .. }
            | Self::Delete { copy, .. } => Some(&copy.name),
            Self::Backup { .. } | Self::Look { .. } | Self::Remove { .. } | Self::Migrate(_) => None,
        }
    }

    /// Whether both can't run at the same time: one backup or rehearsal at a time, and one task at each destination. A
    /// restore and a move wait for neither, because somebody waits for them; only what a restore reads must stay, and what
    /// it replaces must not be read. A directory is not read twice at once. While Supervisor restores, it makes no backup,
    /// and what it replaces is nobody else's.
    pub fn excludes(&self, other: &Self, sources: &Sources) -> bool {
        if let (Self::RestoreParts(parts), task) | (task, Self::RestoreParts(parts)) = (self, other) {
            return match task {
                Self::Remove { destination, .. } => *destination == parts.copy.destination,
                Self::Delete { copy, .. } => copy.destination == parts.copy.destination,
                Self::Backup { .. } | Self::Migrate(_) | Self::Restore(_) | Self::RestoreParts(_) => true,
                _ => false,
            };
        }
        if let (Self::Restore(restore), task) | (task, Self::Restore(restore)) = (self, other) {
            return match task {
                Self::Remove { destination, .. } => *destination == restore.copy.destination,
                Self::Delete { copy, .. } => copy.destination == restore.copy.destination,
                Self::Backup { job, .. } | Self::Migrate(Migrate { job, .. }) => restore.replaces(job, sources),
                Self::Restore(other) => {
                    other.into == restore.into
                        || (other.replace && other.job.as_ref().is_some_and(|job| restore.replaces(job, sources)))
                }
                _ => false,
            };
        }
        if let (Self::Migrate(migrate), task) | (task, Self::Migrate(migrate)) = (self, other) {
            return match task {
                Self::Backup { job, .. } => *job == migrate.job,
                Self::Migrate(other) => other.to == migrate.to || other.job == migrate.job,
                _ => false,
            };
        }
        let heavy = |task: &Self| matches!(task, Self::Backup { .. } | Self::Rehearse { .. });
        (heavy(self) && heavy(other)) || (self.destination().is_some() && self.destination() == other.destination())
    }
}

/// How a task ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// How.
    pub ending: Ending,
    /// What happened, in one sentence.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
    /// For one that failed: whether trying again may help.
    pub passes: bool,
    /// Bytes of the archive, or sent, or freed.
    pub size: Option<u64>,
    /// What limited it.
    pub limited_by: Option<String>,
    /// What was learned.
    pub found: Found,
    /// Of a copy that was verified: what the next verification by samples goes by.
    pub samples: Option<Samples>,
}

/// What a task learned.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Found {
    /// Nothing.
    #[default]
    Nothing,
    /// A backup was made; what became of each copy.
    Made {
        /// Home Assistant's id of the instance.
        instance: Option<String>,
        /// Each destination, and what is there or why nothing is.
        copies: Vec<(String, Result<Arrived, Failure>)>,
    },
    /// Everything at a destination that is or looks like an archive.
    Listed {
        /// The address, without secrets.
        address: String,
        /// The copies; what was known of them before is kept by the service.
        items: Vec<(Item, Option<Timestamp>)>,
        /// Free space.
        free: Option<u64>,
        /// Whether nothing can be removed from here.
        append_only: bool,
    },
    /// A copy arrived.
    Sent(Arrived),
    /// These are gone.
    Removed(Vec<String>),
    /// What reading a copy showed.
    Verified(CopyVerdict),
    /// A rehearsal proved something.
    Proved {
        /// What.
        proof: Proof,
        /// What it counted.
        counts: serde_json::Value,
    },
    /// A copy is protected, or no longer.
    Pinned(bool),
}

/// A copy that arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arrived {
    /// Its name there.
    pub name: String,
    /// Whether the destination compared checksums of all its bytes.
    pub compared: bool,
}

impl Outcome {
    /// It is done.
    pub fn done(message: impl Into<String>, found: Found) -> Self {
        Self {
            ending: Ending::Done,
            message: message.into(),
            hint: None,
            passes: true,
            size: None,
            limited_by: None,
            found,
            samples: None,
        }
    }

    /// It failed.
    pub fn failed(failure: Failure) -> Self {
        Self {
            ending: Ending::Failed,
            message: failure.message,
            hint: failure.hint,
            passes: failure.passes,
            size: None,
            limited_by: None,
            found: Found::Nothing,
            samples: None,
        }
    }

    /// Somebody stopped it.
    pub fn cancelled() -> Self {
        Self { ending: Ending::Cancelled, message: "stopped".to_owned(), ..Self::done("", Found::Nothing) }
    }

    /// Why it failed.
    pub fn failure(&self) -> Option<Failure> {
        (self.ending == Ending::Failed).then(|| Failure {
            message: self.message.clone(),
            hint: self.hint.clone(),
            passes: self.passes,
        })
    }
}
