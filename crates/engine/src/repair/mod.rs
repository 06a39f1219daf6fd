//! Writes a new archive with everything that can be kept of another one in any state, and a line for everything that
//! was done. It only reads the old one.
//!
//! Three passes: `inspect` says what the file is, a first look at every part says what is whole, and the second one
//! streams that into the new archive. Memory stays bounded as in a backup; beside that there are names of what is not
//! simply kept, and small files that hard links lead to.
//!
//! | module | owns |
//! |---|---|
//! | `bytes` | the archive out of what was packed around it |
//! | `parts` | the members of the outer archive, past damaged headers and sizes that lie |
//! | `decode` | an inner archive as a plain tar, as far as it can be read |
//! | `walker` | the members of that tar, past damage |
//! | `survey` | the first look: what is whole, and what becomes of the rest |
//! | `seen` | what the first look learns from contents |
//! | `description` | `backup.json` |
//! | `plan` | what goes into the new archive |
//! | `remade` | the second look: the new tar |
//! | `write` | the new archive |
//! | `notes` | the lines of the report |

mod bytes;
mod decode;
mod description;
mod notes;
mod parts;
mod plan;
mod remade;
mod seen;
mod survey;
mod walker;
mod write;

use std::{
    io,
    num::NonZeroUsize,
    path::{Path, PathBuf},
    sync::Arc,
};

use habackup::{
    readers::{Asked, Defect},
    securetar::Password,
    version::HaVersion,
};
use jiff::{Timestamp, Zoned, tz::TimeZone};
use pargz::Level;
use serde::Serialize;
use store::{Cancellation, StoreError, outbound::Network};

use notes::Notes;
pub use notes::{Counts, Note, NoteKind};

use crate::{
    error::BackupError,
    inspect::{InspectError, InspectOptions, Inspection, inspect},
    progress::{Phase, Progress},
    read::{ArchiveFile, ArchiveSource, OpenError},
    write::{
        destination::{CopyReport, Destination},
        layout::SecureTar,
    },
};

/// What becomes of the encryption.
#[derive(Clone, Debug)]
pub enum Encryption {
    /// As it is.
    Keep,
    /// Encrypt it.
    Add(Password),
    /// Another password.
    Change(Password),
    /// Do not encrypt it.
    Remove,
}

/// How the new archive is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recompress {
    /// Again, at this level.
    To(Level),
    /// Not at all.
    Stored,
}

/// The options of a repair.
#[derive(Debug)]
pub struct RepairOptions {
    /// Of the archive as it is.
    pub password: Option<Password>,
    /// Where the new one goes.
    pub destination: Destination,
    /// What becomes of its encryption.
    pub encryption: Encryption,
    /// Which encryption.
    pub securetar: SecureTar,
    /// Whether it is compressed otherwise.
    pub recompress: Option<Recompress>,
    /// Another name.
    pub rename: Option<String>,
    /// The version of Home Assistant, where nothing in the archive says it.
    pub ha_version: Option<HaVersion>,
    /// Threads to work with; `None` for one per core.
    pub threads: Option<NonZeroUsize>,
    /// Compares every byte of the copy after arrival.
    pub read_back: bool,
    /// The readers that the new archive is for.
    pub asked: Asked,
    /// The moment.
    pub now: Zoned,
}

impl RepairOptions {
    /// Changes nothing but what is damaged or missing, on all cores, by a clock in UTC.
    pub fn new(destination: Destination) -> Self {
        Self {
            password: None,
            destination,
            encryption: Encryption::Keep,
            securetar: SecureTar::Auto,
            recompress: None,
            rename: None,
            ha_version: None,
            threads: None,
            read_back: false,
            asked: Asked::default(),
            now: Timestamp::now().to_zoned(TimeZone::UTC),
        }
    }
}

/// What was done.
#[derive(Debug, Serialize)]
pub struct Repaired {
    /// Line by line.
    pub notes: Vec<Note>,
    /// Notes beyond those listed.
    pub more_notes: u64,
    /// All of them, listed or not, by their kind.
    pub counts: Counts,
    /// The new archive; `None`: nothing was to be done, and none was written.
    pub written: Option<Written>,
    /// What each reader makes of the new archive, if it is a file of this machine; of the old one, if none was written.
    pub result: Option<Inspection>,
}

/// The new archive.
#[derive(Debug, Serialize)]
pub struct Written {
    /// Where it is.
    pub copy: CopyReport,
    /// Bytes.
    pub size_bytes: u64,
    /// Members of the inner archives.
    pub members: u64,
    /// Wall-clock seconds.
    pub seconds: f64,
}

impl Repaired {
    fn of(notes: Notes, written: Option<Written>, result: Option<Inspection>) -> Self {
        Self { more_notes: notes.more(), counts: notes.counts, notes: notes.list, written, result }
    }

    /// Whether something could not be kept, or nothing shows whether it is as it was.
    pub fn is_incomplete(&self) -> bool {
        let uncompared = self.written.as_ref().is_some_and(|written| !written.copy.is_fine());
        self.counts.lost > 0 || self.counts.doubtful > 0 || self.counts.unrepaired > 0 || uncompared
    }
}

/// Why there is no new archive.
#[derive(Debug, thiserror::Error)]
pub enum RepairError {
    /// The old one can't be read.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// There is nothing to make an archive of.
    #[error("{} can't be repaired: {what}", archive.display())]
    Hopeless {
        /// The archive.
        archive: PathBuf,
        /// What it is.
        what: String,
        /// What helps.
        advice: String,
    },
    /// Neither `backup.json` nor `.HA_VERSION` says it.
    #[error("nothing in {} says which version of Home Assistant made it", .0.display())]
    NoVersion(PathBuf),
    /// The options do not fit the archive.
    #[error("{} {what}", archive.display())]
    Encryption {
        /// The archive.
        archive: PathBuf,
        /// What is in the way.
        what: &'static str,
        /// What to ask for.
        advice: &'static str,
    },
    /// The new one can't be written.
    #[error(transparent)]
    Write(#[from] BackupError),
    /// The user stopped it.
    #[error("interrupted")]
    Cancelled,
}

impl From<StoreError> for RepairError {
    fn from(error: StoreError) -> Self {
        Self::Write(error.into())
    }
}

/// Writes a new archive of all that can be kept. Nothing is written where nothing is to be done.
pub fn repair(
    source: &ArchiveSource,
    options: &RepairOptions,
    network: Option<&Network<'_>>,
    progress: &Arc<Progress>,
    cancel: &Cancellation,
) -> Result<Repaired, RepairError> {
    if let Some(reason) = options.rename.as_deref().and_then(habackup::manifest::check_name) {
        let name = options.rename.clone().unwrap_or_default();
        return Err(BackupError::Name { name, reason: reason.to_owned() }.into());
    }
    if let Destination::Path(path) = options.destination.inner()
        && path
            .symlink_metadata()
            .is_ok_and(|found| !found.is_dir() && !found.is_symlink() || path.exists() && !path.is_dir())
    {
        return Err(StoreError::Exists(path.clone()).into());
    }
    let outcome = attempt(source, options, network, progress, cancel);
    outcome.map_err(|error| if cancel.is_cancelled() { RepairError::Cancelled } else { error })
}

fn attempt(
    source: &ArchiveSource,
    options: &RepairOptions,
    network: Option<&Network<'_>>,
    progress: &Arc<Progress>,
    cancel: &Cancellation,
) -> Result<Repaired, RepairError> {
    let report = |done, total| progress.report(done, total);
    let before = look(source, options.password.clone(), &options.asked, progress, cancel)?;
    let archive = source.shown();
    refuse(&archive, &before)?;
    let read = |source: io::Error| OpenError::of(archive.clone(), source);
    let file = ArchiveFile::open(source, &report).map_err(read)?;
    let mut notes = Notes::default();
    let unwrapped = plan::unwrapped(&file, &before, &mut notes, cancel).map_err(read)?;
    let bytes = unwrapped.map_err(|unfit| RepairError::Hopeless {
        archive: archive.clone(),
        what: unfit.what,
        advice: unfit.advice.to_owned(),
    })?;
    let planned = plan::plan(&bytes, notes, &archive, options, &before, cancel);
    // Unreadable bytes must not look like damage.
    if let Some(error) = file.failure() {
        return Err(read(error).into());
    }
    let plan = planned?;
    if !plan.notes.is_change() {
        return Ok(Repaired::of(plan.notes, None, Some(before)));
    }
    progress.begin(Phase::Running, plan.bytes());
    let (written, notes) = write::write(&bytes, &plan, &before.findings, options, network, progress, cancel)?;
    if let Some(error) = file.failure() {
        return Err(read(error).into());
    }
    let password = match &options.encryption {
        Encryption::Keep => options.password.clone(),
        Encryption::Add(password) | Encryption::Change(password) => Some(password.clone()),
        Encryption::Remove => None,
    };
    let result = match &written.copy.path {
        Some(path) => Some(look(&path.as_path().into(), password, &options.asked, progress, cancel)?),
        None => None,
    };
    Ok(Repaired::of(notes, Some(written), result))
}

fn look(
    source: &ArchiveSource,
    password: Option<Password>,
    asked: &Asked,
    progress: &Arc<Progress>,
    cancel: &Cancellation,
) -> Result<Inspection, RepairError> {
    let options = InspectOptions { password, asked: asked.clone(), ..InspectOptions::default() };
    inspect(source.clone(), &options, &|done, total| progress.report(done, total), cancel).map_err(
        |error| match error {
            InspectError::Open(error) => error.into(),
            InspectError::Cancelled => RepairError::Cancelled,
        },
    )
}

/// What is no archive, and none of its pieces.
fn refuse(archive: &Path, inspection: &Inspection) -> Result<(), RepairError> {
    const NOTHING: [Defect; 4] = [Defect::EmptyFile, Defect::ZerosOnly, Defect::ErrorPage, Defect::NotHomeAssistant];
    match inspection.findings.iter().find(|finding| NOTHING.contains(&finding.defect)) {
        None => Ok(()),
        Some(finding) => Err(RepairError::Hopeless {
            archive: archive.to_owned(),
            what: finding.what.clone(),
            advice: finding.repair.to_owned(),
        }),
    }
}
