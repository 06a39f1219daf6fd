//! `haul get`: an archive from a place into a file of this machine.
//!
//! The bytes grow in a hidden file beside the target, whose name says which object of which size and time they belong to. An interrupted fetch so goes on where it
//! stopped, and never with something else. The final name appears when everything is there and on the disk.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::{FileExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::UNIX_EPOCH,
};

use engine::Progress;
use habackup::{
    archive::{Archive, ArchiveError},
    manifest::{Manifest, Stamp},
    problem::Severity,
};
use rustix::fs::{FlockOperation, flock};
use serde::Serialize;
use store::{
    Entry, Kind, Limit, StoreError,
    inbound::RemoteFile,
    local::{remove_leftovers, rename_without_replacing, sync_directory, synced},
    owner,
};

use crate::{
    args::GetArgs,
    config::Config,
    destination::{self, Network},
    failure::{DAMAGED, DONE, FAILED, Failure, INTERRUPTED},
    output,
    progress::{Display, Job},
    text,
};

#[derive(Serialize)]
struct Document<'a> {
    status: &'static str,
    archive: String,
    #[serde(serialize_with = "engine::serialize_path")]
    path: &'a Path,
    size_bytes: u64,
    /// What an earlier run had fetched already.
    earlier_bytes: u64,
    seconds: f64,
    damage: Option<String>,
    missing: Option<String>,
}

/// Bytes asked for at once.
const CHUNK: u64 = 1 << 20;
/// What the disk had not taken before a power cut is fetched again.
const STEP_BACK: u64 = 8 << 20;

pub(crate) fn run(args: &GetArgs, config: &Config, cancel: &Arc<AtomicBool>) -> Result<u8, Failure> {
    let from = destination::resolve(config, &args.archive)?;
    let name = from.archive()?;
    let target = target(&args.to, name)?;
    let network = Network::start(args.waiting.give_up_after, cancel)?;
    let store = network.connect_to_look(&from)?;
    if !store.abilities().readable {
        return Err(Failure::usage(format!("{} can't be read from", store.label())).hint("give a place that keeps archives"));
    }
    let Some(entry) = network.find(&from, &store, name)? else {
        return Err(Failure::usage(format!("{} holds no {name}", store.label())).hint(format!("`haul list {}` shows what there is", from.place_typed())));
    };
    let started = std::time::Instant::now();
    let unfinished = Unfinished::open(&target, &store.label(), &entry)?;
    let remote = RemoteFile::of(&network.bridge, &network.context_for(&from), Arc::clone(&store), entry);
    let begun = unfinished.have;
    let progress = Arc::new(Progress::default());
    progress.fetch(remote.patience().clone());
    let display = Display::start(args.output.progress, Job::reading("fetching"), Arc::clone(&progress));
    let copied = unfinished.copy(&remote, args.limit.map(Limit::new).as_ref(), &progress, cancel);
    drop(display);
    copied?;
    let (damage, stamp) = unfinished.look();
    unfinished.publish(&target)?;
    let done = |failure: Failure| failure.hint(format!("the fetch itself is done: {}", engine::shown(target.as_os_str().as_encoded_bytes())));
    let seconds = started.elapsed().as_secs_f64();
    let missing = stamp.filter(|stamp| !stamp.is_whole()).map(|stamp| text::tame(&engine::verdict::incomplete(&stamp.missing, stamp.essential)));
    let code = if damage.is_some() { DAMAGED } else { DONE };
    if args.output.json {
        let status = if damage.is_some() { "damaged" } else { "complete" };
        let (archive, size_bytes) = (remote.label(), remote.len());
        output::json(&Document { status, archive, path: &target, size_bytes, earlier_bytes: begun, seconds, damage, missing }).map_err(done)?;
        return Ok(code);
    }
    let mut lines = vec![format!("Fetched {} ({}) in {}", remote.label(), text::bytes(remote.len()), text::duration(seconds))];
    lines.push(format!("  to    {}", target.display()));
    if begun > 0 {
        lines.push(format!("  went on after the {} that an earlier run had fetched", text::bytes(begun)));
    }
    output::lines(&lines).map_err(done)?;
    output::notes("note", missing.into_iter());
    output::notes("note", damage.map(|reason| format!("the archive is not whole, there as here: {reason}")).into_iter());
    Ok(code)
}

fn target(to: &Path, name: &str) -> Result<PathBuf, Failure> {
    let target = if to.is_dir() { to.join(name) } else { to.to_owned() };
    if to.as_os_str().as_encoded_bytes().ends_with(b"/") && !to.is_dir() {
        return Err(no_directory(to));
    }
    destination::check_archive_name(&target.file_name().unwrap_or_default().to_string_lossy())?;
    if fs::symlink_metadata(&target).is_ok() {
        return Err(Failure::new(FAILED, format!("{} exists already", target.display())).hint("nothing is overwritten: choose another name or directory"));
    }
    let directory = directory_of(&target);
    if !directory.is_dir() {
        return Err(no_directory(&directory));
    }
    Ok(target)
}

fn no_directory(path: &Path) -> Failure {
    let shown = engine::shown(path.as_os_str().as_encoded_bytes());
    // With a slash behind it, a file is not found.
    let is_there = fs::symlink_metadata(path.components().as_path()).is_ok();
    let (reason, hint) = if is_there {
        ("is not a directory", "give an existing directory, or a new file".to_owned())
    } else {
        ("does not exist", format!("create it first: mkdir -p {shown}"))
    };
    Failure::usage(format!("{shown} {reason}")).hint(hint).about(shown, format!("it {reason}"))
}

fn directory_of(path: &Path) -> PathBuf {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).map_or_else(|| PathBuf::from("."), Path::to_owned)
}

/// The growing file, locked by whoever fetches.
struct Unfinished {
    path: PathBuf,
    file: File,
    /// Bytes at its beginning that an earlier run left.
    have: u64,
}

impl Unfinished {
    fn open(target: &Path, place: &str, entry: &Entry) -> Result<Self, Failure> {
        let directory = directory_of(target);
        let object = habackup::manifest::slug(&entry.name, place);
        let modified = entry.modified.and_then(|modified| modified.duration_since(UNIX_EPOCH).ok()).map_or(0, |since| since.as_micros());
        let state = habackup::manifest::slug(&format!("{} {modified}", entry.size), &entry.name);
        let path = directory.join(format!("{}{object}-{state}", owner::FETCHED));
        remove_others(&directory, &format!("{}{object}-", owner::FETCHED), &path);
        let failed = |error: io::Error| cannot_write(&path, &error);
        // An archive holds every secret of its house.
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&path).map_err(failed)?;
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            return Err(
                Failure::new(FAILED, format!("another haul is fetching {} into {}", entry.name, directory.display())).hint("wait until that one has ended")
            );
        }
        // Begun by an earlier version, or under a laxer hand.
        let _ = file.set_permissions(fs::Permissions::from_mode(0o600));
        // After the lock is held: what is gone on with here may be old.
        remove_leftovers(&directory);
        let have = file.metadata().map_err(failed)?.len().min(entry.size).saturating_sub(STEP_BACK);
        Ok(Self { path, file, have })
    }

    fn copy(&self, remote: &RemoteFile, limit: Option<&Limit>, progress: &Progress, cancel: &AtomicBool) -> Result<(), Failure> {
        let mut buffer = vec![0; CHUNK as usize];
        let mut at = self.have;
        while at < remote.len() {
            if cancel.load(Ordering::Relaxed) {
                return Err(interrupted());
            }
            let piece = &mut buffer[..CHUNK.min(remote.len() - at) as usize];
            if let Some(limit) = limit {
                limit.pass_blocking(piece.len() as u64, || cancel.load(Ordering::Relaxed));
            }
            remote.read_exact_at(piece, at).map_err(|error| unreadable(error, remote))?;
            self.file.write_all_at(piece, at).map_err(|error| cannot_write(&self.path, &error))?;
            at += piece.len() as u64;
            progress.report(at, Some(remote.len()));
        }
        let unchanged = remote.unchanged();
        if unchanged.is_err() {
            // Half of one and half of another is of no use to the next run.
            let _ = fs::remove_file(&self.path);
        }
        unchanged?;
        self.file.set_len(remote.len()).and_then(|()| synced(self.file.sync_all())).map_err(|error| cannot_write(&self.path, &error))?;
        Ok(())
    }

    /// What is wrong with the archive's outer structure, and what its maker says of it.
    fn look(&self) -> (Option<String>, Option<Stamp>) {
        match Archive::open(&self.file) {
            Ok(archive) => {
                let damage = archive.problems().iter().find(|problem| problem.severity == Severity::Damaged);
                let damage = damage.map(ToString::to_string).or_else(|| archive.tail().is_none().then(|| "it is cut short".to_owned()));
                (damage, archive.manifest().and_then(Manifest::stamp))
            }
            Err(ArchiveError::Io(error)) => (Some(engine::plain_reason(&error)), None),
            Err(error) => (Some(error.to_string()), None),
        }
    }

    fn publish(&self, target: &Path) -> Result<(), Failure> {
        match rename_without_replacing(&self.path, target) {
            Err(StoreError::Exists(_)) => Err(Failure::new(FAILED, format!("{} appeared meanwhile", target.display()))
                .hint("what was fetched is kept: the same command with another name goes on with it")),
            Err(StoreError::Io { source, .. }) => Err(cannot_write(target, &source)),
            Err(error) => Err(error.into()),
            Ok(()) => match sync_directory(&directory_of(target)) {
                Ok(_) => Ok(()),
                Err(error) => {
                    Err(Failure::new(FAILED, format!("{} is there, but the disk did not confirm its name: {}", target.display(), engine::plain_reason(&error)))
                        .hint("check the disk; `haul verify` reads the file"))
                }
            },
        }
    }
}

/// What was fetched of an object that has been replaced since.
fn remove_others(directory: &Path, prefix: &str, own: &Path) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        if path == own || !entry.file_name().to_string_lossy().starts_with(prefix) {
            continue;
        }
        let Ok(file) = OpenOptions::new().write(true).open(&path) else { continue };
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok() {
            let _ = fs::remove_file(&path);
        }
    }
}

fn cannot_write(path: &Path, error: &io::Error) -> Failure {
    let (shown, reason) = (engine::shown(path.as_os_str().as_encoded_bytes()), engine::plain_reason(error));
    let hint = match fs::metadata(path) {
        Ok(found) if found.len() > 0 => "what was fetched is kept: the same command goes on with it",
        _ => "nothing was fetched; check the directory's permissions and its disk",
    };
    Failure::new(FAILED, format!("can't write {shown}: {reason}")).hint(hint).about(shown, reason)
}

fn interrupted() -> Failure {
    Failure::new(INTERRUPTED, "interrupted; the same command goes on where it stopped")
}

fn unreadable(error: io::Error, remote: &RemoteFile) -> Failure {
    match error.downcast::<StoreError>() {
        Ok(StoreError::Cancelled) => interrupted(),
        Ok(error) if matches!(error.kind(), Some(Kind::Passing { .. })) => {
            Failure::from(error).hint("what was fetched is kept: the same command goes on where it stopped")
        }
        Ok(error) => error.into(),
        Err(error) => Failure::new(FAILED, format!("can't read {}: {}", remote.label(), engine::plain_reason(&error)))
            .hint("what was fetched is kept: the same command goes on with it"),
    }
}
