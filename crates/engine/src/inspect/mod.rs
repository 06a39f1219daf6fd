//! Finds out what each of Home Assistant's readers will do with an archive in any state: gathers the facts in one pass
//! and passes them to [`habackup::readers`].
//!
//! `verify` asks whether every byte is as it was written; `inspect` asks what a restore does. So damage stops nothing
//! here: what follows it is read as Home Assistant's own readers would read it.
//!
//! | module | owns |
//! |---|---|
//! | `nature` | what a file is that may be no archive at all |
//! | `outer` | the outer tar and its members |
//! | `inner` | one inner archive: encryption, compression, the tar in it |
//! | `python` | the tar in an inner archive, as Python's `tarfile` goes through it |
//! | `gzip` | a gzip stream as Python's two modes read it |
//! | `history` | from when to when the recorder's database goes, and its rows |

mod gzip;
pub(crate) mod history;
mod inner;
mod nature;
mod outer;
mod python;

use std::{cell::Cell, io, time::Instant};

use habackup::{
    manifest::Manifest,
    readers::{self, Asked, Content, Facts, Finding, Inner, Verdict},
    securetar::{Keyring, Password, SecureTarVersion},
};
pub use history::{History, Rows};
use livesqlite::check::Counts;
use serde::Serialize;
use store::Cancellation;

use crate::{
    read::{ArchiveFile, ArchiveSource, OpenError, ProgressFn},
    verdict::{Judgement, Summary},
};

/// The options of an inspection.
#[derive(Clone, Debug, Default)]
pub struct InspectOptions {
    /// For encrypted archives.
    pub password: Option<Password>,
    /// Which readers to check.
    pub asked: Asked,
    /// Whether to report the rows of each table of the history.
    pub rows: bool,
}

/// One inner archive, for a report.
#[derive(Clone, Debug, Serialize)]
pub struct PartSeen {
    /// Its name in the outer archive.
    pub name: String,
    /// Bytes there.
    pub bytes: u64,
    /// How it is encrypted.
    pub encrypted: Option<&'static str>,
    /// Files, directories and links in it, as far as it is readable.
    pub entries: Option<u64>,
    /// Bytes of their content.
    pub content_bytes: Option<u64>,
}

/// What an archive holds and what becomes of it.
#[derive(Clone, Debug, Serialize)]
pub struct Inspection {
    /// Bytes of the file.
    pub bytes: u64,
    /// What `backup.json` says.
    pub manifest: Summary,
    /// The folders and add-ons that it announces.
    pub announced: Vec<String>,
    /// The inner archives.
    pub parts: Vec<PartSeen>,
    /// The recorder's database.
    pub history: Option<History>,
    /// Whether the password was needed and not given.
    pub locked: bool,
    /// What it is worth.
    pub judgement: Judgement,
    /// Everything that any reader minds.
    pub findings: Vec<Finding>,
    /// What each reader makes of it.
    pub verdicts: Vec<Verdict>,
    /// Wall-clock seconds.
    pub seconds: f64,
}

impl Inspection {
    /// Whether every reader that was checked restores the content. Only Supervisor restores a backup without a
    /// configuration.
    pub fn is_restored_everywhere(&self) -> bool {
        self.verdicts.iter().all(|verdict| verdict.effect.is_restored())
    }
}

/// Why an archive could not be read.
#[derive(Debug, thiserror::Error)]
pub enum InspectError {
    /// Its bytes can't be read.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The user stopped it.
    #[error("interrupted")]
    Cancelled,
}

/// What the gathering modules need.
struct Job<'a> {
    file: &'a ArchiveFile<'a>,
    cancel: &'a Cancellation,
    keyring: Option<Keyring>,
    /// What the recorder's database holds, which no rule asks for.
    counts: Cell<Option<Counts>>,
}

/// Looks at `archive`: a path, or something far away.
pub fn inspect(
    archive: impl Into<ArchiveSource>,
    options: &InspectOptions,
    progress: ProgressFn<'_>,
    cancel: &Cancellation,
) -> Result<Inspection, InspectError> {
    let started = Instant::now();
    let source = archive.into();
    let path = source.shown();
    let file = ArchiveFile::open(&source, progress).map_err(|source| OpenError::Read { path: path.clone(), source })?;
    let mut job =
        Job { file: &file, cancel, keyring: options.password.clone().map(Keyring::new), counts: Cell::default() };
    let gathered = gather(&mut job, options.password.is_some(), &options.asked, |_, _| None);
    if cancel.is_cancelled() {
        return Err(InspectError::Cancelled);
    }
    // Unreadable bytes must not look like damage.
    if let Some(error) = file.failure() {
        return Err(OpenError::of(path, error).into());
    }
    let facts = gathered.map_err(|error| OpenError::of(path, error))?;
    let findings = readers::findings(&facts);
    let verdicts = readers::verdicts(&facts, &findings);
    let content = facts.main.as_ref().and_then(|main| main.content.as_ref());
    let history = content.and_then(|content| history::of(content, job.counts.take(), options.rows));
    Ok(Inspection { history, ..report(&facts, findings, verdicts, started) })
}

/// The facts about an archive of which inner archives were read already: `read` gives what was found in the one that
/// begins there, if all of it could be read, and as the configuration or not.
pub(crate) fn facts(
    file: &ArchiveFile<'_>,
    password: Option<&Password>,
    cancel: &Cancellation,
    read: impl FnMut(u64, bool) -> Option<Content>,
) -> io::Result<Facts> {
    let mut job = Job { file, cancel, keyring: password.cloned().map(Keyring::new), counts: Cell::default() };
    gather(&mut job, password.is_some(), &Asked::default(), read)
}

fn gather(
    job: &mut Job<'_>,
    password: bool,
    asked: &Asked,
    mut read: impl FnMut(u64, bool) -> Option<Content>,
) -> io::Result<Facts> {
    let mut facts =
        Facts { length: habackup::read_at::ReadAt::len(job.file), password, asked: asked.clone(), ..Facts::default() };
    let members = outer::look(job, &mut facts)?;
    facts.nature = nature::of(job, &facts.outer)?;
    let protected = facts.description.as_ref().is_some_and(readers::Description::protected);
    let main = outer::main(&members, facts.description.as_ref());
    for (index, member) in members.iter().enumerate().filter(|(_, member)| outer::is_inner(member)) {
        let configuration = main == Some(index);
        let inner = match read(member.data_offset, configuration) {
            Some(content) => inner::known(job.file, member, protected, content)?,
            None => inner::look(job, member, protected, configuration)?,
        };
        if configuration {
            facts.main = Some(inner);
        } else {
            facts.parts.push(inner);
        }
    }
    Ok(facts)
}

fn report(facts: &Facts, findings: Vec<Finding>, verdicts: Vec<Verdict>, started: Instant) -> Inspection {
    let manifest = facts
        .description
        .as_ref()
        .and_then(|description| description.value.as_ref().ok())
        .and_then(|value| Manifest::parse(value.to_string().as_bytes()).ok());
    let announced = manifest.as_ref().map(|manifest| {
        let folders = manifest.folders().into_iter().map(str::to_owned);
        folders.chain(manifest.addons().into_iter().map(|addon| format!("{} {}", addon.name, addon.version))).collect()
    });
    let judgement = Judgement::of_archive(&findings, &verdicts, manifest.as_ref().and_then(Manifest::stamp).as_ref());
    Inspection {
        judgement,
        bytes: facts.length,
        manifest: manifest.as_ref().map(Summary::of).unwrap_or_default(),
        announced: announced.unwrap_or_default(),
        parts: facts.main.iter().chain(&facts.parts).map(part).collect(),
        history: None,
        locked: facts
            .main
            .as_ref()
            .or(facts.parts.first())
            .is_some_and(|asking| asking.is_sealed() && asking.sealing.opens.is_none()),
        findings,
        verdicts,
        seconds: started.elapsed().as_secs_f64(),
    }
}

fn part(inner: &Inner) -> PartSeen {
    PartSeen {
        name: inner.name.clone(),
        bytes: inner.size,
        encrypted: match inner.shape {
            readers::Shape::Encrypted(SecureTarVersion::V1) => Some("SecureTar 1"),
            readers::Shape::Encrypted(SecureTarVersion::V2) => Some("SecureTar 2"),
            readers::Shape::Encrypted(SecureTarVersion::V3) => Some("SecureTar 3"),
            readers::Shape::SealedUnknown => Some("a newer SecureTar"),
            _ => None,
        },
        entries: inner.content.as_ref().map(|content| content.entries - content.tops),
        content_bytes: inner.content.as_ref().map(|content| content.bytes),
    }
}
