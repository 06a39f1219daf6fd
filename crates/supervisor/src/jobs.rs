//! What Supervisor is doing, as a tree of jobs with their errors.

use serde::{Deserialize, Deserializer};

use crate::{
    error::Error,
    lenient::or_default,
    text::sanitize,
    wire::{Ask, Supervisor},
};

/// What kind of work a job is, as far as it matters to backups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JobKind {
    /// A full or partial backup.
    Backup,
    /// A full or partial restore.
    Restore,
    /// Everything else.
    Other,
}

/// Something Supervisor does or did. It forgets a job when it restarts.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Job {
    /// Its id.
    #[serde(deserialize_with = "or_default")]
    pub uuid: String,
    /// What it is, in the words of 2026: `backup_manager_full_backup`, `backup_app_save`, …
    #[serde(deserialize_with = "words")]
    pub name: Option<String>,
    /// What it is about: the backup's slug, an app, a folder, a mount.
    #[serde(deserialize_with = "shown")]
    pub reference: Option<String>,
    /// Where it is, in the words of 2026: `home_assistant`, `apps`, `folders`, `finishing_file`, …
    #[serde(deserialize_with = "words")]
    pub stage: Option<String>,
    /// In percent. A backup's stays 0 until it has ended.
    #[serde(deserialize_with = "or_default")]
    pub progress: f64,
    /// None before it has begun.
    pub done: Option<bool>,
    /// When it was asked for.
    pub created: Option<String>,
    /// What failed. Without an error, a job that is done has succeeded.
    #[serde(deserialize_with = "or_default")]
    pub errors: Vec<JobError>,
    /// Its parts, in their order.
    #[serde(rename = "child_jobs", deserialize_with = "or_default")]
    pub children: Vec<Job>,
}

/// What failed in a job.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct JobError {
    /// The kind, such as `BackupError`.
    #[serde(rename = "type", deserialize_with = "shown")]
    pub kind: Option<String>,
    /// Supervisor's words, made fit to be shown.
    #[serde(deserialize_with = "shown")]
    pub message: Option<String>,
    /// In which stage.
    #[serde(deserialize_with = "words")]
    pub stage: Option<String>,
}

impl Job {
    /// What kind of work it is.
    pub fn kind(&self) -> JobKind {
        match self.name.as_deref().unwrap_or_default() {
            "backup_manager_full_backup" | "backup_manager_partial_backup" => JobKind::Backup,
            "backup_manager_full_restore" | "backup_manager_partial_restore" => JobKind::Restore,
            _ => JobKind::Other,
        }
    }

    /// Whether it is over.
    pub fn is_done(&self) -> bool {
        self.done == Some(true)
    }

    /// All that failed in it and in its parts, each with the part it failed in. An app or folder that could not be
    /// saved fails in its part alone: the backup goes on without it and ends as if nothing had happened.
    pub fn all_errors(&self) -> Vec<(&Job, &JobError)> {
        let mut all: Vec<_> = self.errors.iter().map(|error| (self, error)).collect();
        all.extend(self.children.iter().flat_map(Job::all_errors));
        all
    }

    /// The job with this id: itself or one of its parts.
    pub fn find(&self, uuid: &str) -> Option<&Job> {
        if self.uuid == uuid { Some(self) } else { self.children.iter().find_map(|child| child.find(uuid)) }
    }
}

#[derive(Deserialize)]
struct Jobs {
    #[serde(default, deserialize_with = "or_default")]
    jobs: Vec<Job>,
}

impl Supervisor {
    /// What Supervisor does, and did since it started; the newest first.
    pub async fn jobs(&self) -> Result<Vec<Job>, Error> {
        let jobs: Jobs = self.ask(Ask::get("list Supervisor's jobs", &["jobs", "info"], self.timeouts.answer)).await?;
        Ok(jobs.jobs)
    }

    /// One job with its parts. [`Kind::NotFound`](crate::Kind::NotFound) once Supervisor has restarted: nobody then
    /// knows how it ended.
    pub async fn job(&self, uuid: &str) -> Result<Job, Error> {
        self.ask(Ask::get("ask Supervisor about a job", &["jobs", uuid], self.timeouts.answer)).await
    }
}

/// Text that may be shown.
fn shown<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Ok(Option::<String>::deserialize(deserializer)?.map(|text| sanitize(&text)))
}

/// A name or stage in the words of 2026, when add-ons became apps.
fn words<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Ok(shown(deserializer)?.map(|text| text.replace("addon", "app")))
}
