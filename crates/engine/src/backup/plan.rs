//! One look at the config directory before anything is written: how much there is, which databases block their writers,
//! and what a restore would lose.

use std::{
    ffi::OsStr,
    fs,
    io::{self, Read},
    os::unix::{ffi::OsStrExt, fs::MetadataExt},
    path::{Path, PathBuf},
    sync::Arc,
};

use habackup::{
    rules::{self, Loss, Rules},
    settings::RECORDER,
    tar::Kind,
    version::HaVersion,
};
use store::Cancellation;

use crate::{
    backup::{
        configuration::{self, History},
        largest::Largest,
        source::{self, DATABASE_HEAD, Found, Outputs, Scope, Step, read_head},
    },
    error::BackupError,
    findings::Findings,
    mounts,
    progress::pulse::Pulse,
    text::{in_units, shown},
    write::destination::ZEROS_SHRINK,
};

/// No version is longer; anything longer is not read to its end.
const LONGEST_VERSION: u64 = 100;
/// A file with so many bytes in holes is named.
const MANY_HOLES: u64 = 100_000_000_000;
/// What a member costs in the inner tar beside its content: its header, and that of its exact time.
const HEADERS: u64 = 1536;

/// What a backup is going to do.
pub(crate) struct Plan {
    pub(crate) scope: Scope,
    /// Databases whose writers wait while they are read.
    pub(crate) first: Vec<Found>,
    /// The file that takes most space on the disk.
    pub(crate) largest: Option<Found>,
    /// Bytes the inner tar will roughly have.
    pub(crate) bytes: u64,
    /// How many of them are zeros that take no space on the disk.
    pub(crate) holes: u64,
    pub(crate) findings: Findings,
}

/// Looks at everything that goes in. Opens and closes files, so it must be over before the first database is opened.
pub(crate) fn plan(
    root: &Path,
    mut rules: Rules,
    outputs: Outputs,
    pulse: &Arc<Pulse>,
    cancel: &Cancellation,
) -> Result<Plan, BackupError> {
    let recorder = configuration::history(root);
    let history = if let History::Here(path) = &recorder { path.clone() } else { Vec::new() };
    rules.history_is(&history);
    let mounts = Arc::new(mounts::to_leave_out(root, cancel));
    let scope =
        Scope { root: root.to_owned(), rules: Arc::new(rules), mounts, history, outputs, pulse: Arc::clone(pulse) };
    let mut first = Vec::new();
    let mut largest: Option<(u64, Found)> = None;
    let mut parts = Largest::default();
    let mut bytes = 0;
    let mut holes = 0;
    let mut findings = Findings::default();
    let mut has_storage = false;
    let mut has_history = false;
    let mut ages = Ages::default();
    for step in scope.walk() {
        if cancel.is_cancelled() {
            return Err(BackupError::Cancelled);
        }
        let Step::Entry(found) = step else { continue };
        if found.kind == Kind::File && found.path != root.join(OsStr::from_bytes(&found.relative)) {
            let target = shown(found.path.as_os_str().as_bytes());
            findings.warn(format!(
                "{} is a symbolic link, which a restore would lose: the archive holds its target instead, {target}",
                shown(&found.relative)
            ));
        }
        has_storage |= found.relative.starts_with(b".storage/");
        warn_of_losses(&found, &mut findings);
        bytes += HEADERS;
        if found.kind == Kind::File {
            bytes += found.metadata.len().next_multiple_of(512);
            has_history |= found.relative == scope.history;
            ages.see(&found);
            let empty = pulse.ask(&found.relative, || bytes_in_holes(&found));
            findings.warn_all(about_holes(&found, empty));
            holes += empty;
            let on_disk = found.metadata.len().saturating_sub(empty);
            parts.add(&found.relative, on_disk);
            if largest.as_ref().is_none_or(|(most, _)| *most < on_disk) {
                largest = Some((on_disk, found.clone()));
            }
            if pulse.ask(&found.relative, || blocks_writers(&found)) {
                first.push(found);
            }
        }
    }
    if !has_storage {
        findings.warn(
            "this backup holds nothing from .storage (it is missing, empty, excluded or unreadable): a restore will \
             lose users, integrations and settings; check that this is the right directory and the right user",
        );
    }
    findings.warn_all(scope.rules.unused().map(|pattern| {
        format!(
            "--exclude {} has no effect: it matches nothing, or only what Haul leaves out anyway",
            shown(pattern.to_string().as_bytes())
        )
    }));
    findings.history.clone_from(&scope.history);
    match linked_history(&scope, &recorder).filter(|_| !has_history) {
        Some((history, why)) => findings.lost(history, why),
        None => findings.warn_all(about_history(&scope, &recorder, has_history, &ages)),
    }
    findings.warn_all(configuration::files_outside(root));
    findings.warn_all(parts.note());
    Ok(Plan { scope, first, largest: largest.map(|(_, found)| found), bytes, holes, findings })
}

/// How many bytes of a file are in holes.
fn bytes_in_holes(found: &Found) -> u64 {
    if !source::may_have_holes(&found.metadata) {
        return 0;
    }
    source::open(&found.path).map_or(0, |(file, metadata)| source::bytes_in_holes(&file, metadata.len()))
}

/// A backup holds zeros for holes, and even the best compression needs a thousandth of them.
fn about_holes(found: &Found, empty: u64) -> Option<String> {
    (empty >= MANY_HOLES).then(|| {
        format!(
            "{} is {} long, and {} of that are holes: as zeros they take about {} in the archive, and some time; \
             --exclude leaves it out",
            shown(&found.relative),
            in_units(found.metadata.len()),
            in_units(empty),
            in_units(empty / ZEROS_SHRINK)
        )
    })
}

/// What is to be known about the history in this backup.
fn about_history(scope: &Scope, recorder: &History, has_history: bool, ages: &Ages) -> Option<String> {
    match recorder {
        History::Elsewhere(note) | History::Unknown(note) => Some(note.clone()),
        History::Here(path) if scope.rules.exclusion_with_parents(path).is_some() => None,
        History::Here(path) if !has_history => {
            Some(format!("this backup holds no history: the directory has no {}", shown(path)))
        }
        History::Here(path) => ages.idle().map(|days| {
            let days = if days == 1 { "a day".to_owned() } else { format!("{days} days") };
            format!(
                "{} was last written {days} before the rest of Home Assistant's data: check whether the history is \
                 kept elsewhere or the recorder has stopped",
                shown(path)
            )
        }),
    }
}

/// When the recorder's usual database and Home Assistant's settings were last written, in seconds since 1970.
#[derive(Default)]
struct Ages {
    history: i64,
    settings: i64,
}

impl Ages {
    fn see(&mut self, found: &Found) {
        let modified = found.metadata.mtime();
        if found.relative == RECORDER || found.relative.strip_suffix(b"-wal") == Some(RECORDER) {
            self.history = self.history.max(modified);
        } else if found.relative.starts_with(b".storage/") {
            self.settings = self.settings.max(modified);
        }
    }

    /// For how many whole days the database was left alone while Home Assistant worked.
    fn idle(&self) -> Option<i64> {
        const DAY: i64 = 86_400;
        let days = (self.settings - self.history) / DAY;
        (self.history > 0 && days > 0).then_some(days)
    }
}

/// A recorder's database that is a link: its file is not in the backup, though the user did not ask for that.
fn linked_history<'a>(scope: &Scope, recorder: &'a History) -> Option<(&'a [u8], String)> {
    let History::Here(history) = recorder else { return None };
    let target = fs::read_link(scope.root.join(OsStr::from_bytes(history))).ok()?;
    if scope.rules.exclusion_with_parents(history).is_some() {
        return None;
    }
    let target = shown(target.as_os_str().as_bytes());
    Some((
        history,
        format!(
            "it is a symbolic link to {target}: the history itself is NOT in this backup; back up that file too, or \
             set db_url to its path"
        ),
    ))
}

/// Says what Core's restore will not bring back, once per tree.
fn warn_of_losses(found: &Found, findings: &mut Findings) {
    let link =
        if found.kind == Kind::Symlink { fs::read_link(&found.path).unwrap_or_default() } else { PathBuf::new() };
    for loss in rules::what_restore_drops(&found.relative, found.kind, link.as_os_str().as_bytes()) {
        let reported_above = match loss {
            Loss::NamedBackups => !found.relative.ends_with(b"/backups"),
            Loss::InBackups => true,
            Loss::RelativeLink | Loss::AbsoluteLink => false,
        };
        if !reported_above {
            findings.warn(format!("{}: {loss}", shown(&found.relative)));
        }
    }
}

/// True for a database that is not in WAL mode. Only a file of whole pages can be one, which spares opening all the
/// others.
fn blocks_writers(found: &Found) -> bool {
    if found.metadata.len() < 512 || !found.metadata.len().is_multiple_of(512) {
        return false;
    }
    let mut head = [0; DATABASE_HEAD];
    let read = source::open(&found.path).and_then(|(mut file, _)| file.read_exact(&mut head));
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
    ["homeassistant", "config", ".homeassistant"]
        .iter()
        .map(|name| root.join(name))
        .find(|path| path.join(".HA_VERSION").is_file())
}
