//! One look over the config directory before anything is written: how much there is, which databases block their writers, and what a restore would lose.

use std::{
    ffi::OsStr,
    fs,
    io::{self, Read},
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use habackup::{
    rules::{self, Loss, Rules},
    tar::Kind,
    version::HaVersion,
};

use crate::{
    error::BackupError,
    mounts, recorder,
    report::{Findings, shown},
    source::{DATABASE_HEAD, Found, RECORDER, Scope, Step, read_head},
};

/// No version is longer; whatever else stands in its place is not read to its end.
const LONGEST_VERSION: u64 = 100;
/// What a member costs in the inner tar beside its content: its header, and that of its exact time.
const HEADERS: u64 = 1536;

/// What a backup is going to do.
pub(crate) struct Plan {
    pub(crate) scope: Scope,
    /// Databases whose writers wait while they are read.
    pub(crate) first: Vec<Found>,
    /// The largest file.
    pub(crate) largest: Option<Found>,
    /// Bytes the inner tar will roughly have.
    pub(crate) bytes: u64,
    pub(crate) findings: Findings,
}

/// Looks at everything that goes in. Opens and closes files, so it must be over before the first database is opened.
pub(crate) fn plan(root: &Path, rules: Rules, own_outputs: Vec<(u64, u64)>, cancel: &AtomicBool) -> Result<Plan, BackupError> {
    let scope = Scope { root: root.to_owned(), rules: Arc::new(rules), mounts: Arc::new(mounts::to_leave_out(root)), own_outputs };
    let mut first = Vec::new();
    let mut largest: Option<Found> = None;
    let mut bytes = 0;
    let mut findings = Findings::default();
    let mut has_storage = false;
    let mut has_recorder = false;
    for step in scope.walk() {
        if cancel.load(Ordering::Relaxed) {
            return Err(BackupError::Cancelled);
        }
        let Step::Entry(found) = step else { continue };
        has_storage |= found.relative.starts_with(b".storage/");
        warn_of_losses(&found, &mut findings);
        bytes += HEADERS;
        if found.kind == Kind::File {
            bytes += found.metadata.len().next_multiple_of(512);
            has_recorder |= found.relative == RECORDER;
            if largest.as_ref().is_none_or(|largest| largest.metadata.len() < found.metadata.len()) {
                largest = Some(found.clone());
            }
            if blocks_writers(&found) {
                first.push(found);
            }
        }
    }
    if !has_storage {
        findings.warn(
            "there is no .storage directory (or it can't be read): a restore will lose users, integrations and settings; is this the right directory, and the right user?",
        );
    }
    let is_wanted = scope.rules.exclusion(RECORDER).is_none();
    if let Some(warning) = recorder::history_elsewhere(root).or_else(|| (is_wanted && !has_recorder).then(|| no_history(root))) {
        findings.warn(warning);
    }
    Ok(Plan { scope, first, largest, bytes, findings })
}

/// Why the recorder's database is not among the files.
fn no_history(root: &Path) -> String {
    let path = root.join(OsStr::from_bytes(RECORDER));
    match fs::read_link(&path) {
        Ok(target) => format!(
            "home-assistant_v2.db is a symbolic link to {}: the history itself is NOT in this backup; back that file up as well",
            shown(target.as_os_str().as_bytes())
        ),
        Err(_) => "there is no history in this backup: the directory has no home-assistant_v2.db".to_owned(),
    }
}

/// Says what Core's restore will not bring back, once per tree.
fn warn_of_losses(found: &Found, findings: &mut Findings) {
    let link = if found.kind == Kind::Symlink { fs::read_link(&found.path).unwrap_or_default() } else { PathBuf::new() };
    for loss in rules::what_restore_drops(&found.relative, found.kind, link.as_os_str().as_bytes()) {
        let said_above = match loss {
            Loss::NamedBackups => !found.relative.ends_with(b"/backups"),
            Loss::InBackups => true,
            Loss::RelativeLink | Loss::AbsoluteLink => false,
        };
        if !said_above {
            findings.warn(format!("{}: {loss}", shown(&found.relative)));
        }
    }
}

/// True for a database that is not in WAL mode. Only a file of whole pages can be one, which spares opening all the others.
fn blocks_writers(found: &Found) -> bool {
    if found.metadata.len() < 512 || !found.metadata.len().is_multiple_of(512) {
        return false;
    }
    let mut head = [0; DATABASE_HEAD];
    let read = crate::source::open(&found.path).and_then(|(mut file, _)| file.read_exact(&mut head));
    read.is_ok() && livesqlite::is_database(&head) && livesqlite::blocks_writers(&head)
}

/// Home Assistant's version: what the user says, else what the directory says.
pub(crate) fn version(root: &Path, said: Option<&str>) -> Result<HaVersion, BackupError> {
    let path = root.join(".HA_VERSION");
    let text = match said {
        Some(said) => return said.parse().map_err(|_| BackupError::VersionSaid(said.to_owned())),
        None => match read_head(&path, LONGEST_VERSION) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(BackupError::NoVersion { directory: root.to_owned(), instead: config_below(root) });
            }
            Err(source) => return Err(BackupError::Config { path, source }),
        },
    };
    let text = String::from_utf8_lossy(&text).into_owned();
    text.parse().map_err(|_| BackupError::StrangeVersion { path, text: shown(text.trim().as_bytes()) })
}

/// The config directory, when the user named the directory around it.
fn config_below(root: &Path) -> Option<PathBuf> {
    ["homeassistant", "config", ".homeassistant"].iter().map(|name| root.join(name)).find(|path| path.join(".HA_VERSION").is_file())
}
