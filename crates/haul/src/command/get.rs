//! `haul get`: fetches an archive from a destination into a local file.
//!
//! The bytes grow in a hidden file beside the target ([`unfinished`]), so that an interrupted download continues where
//! it stopped. The final name appears when everything is there and on the disk.

mod unfinished;

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use engine::Progress;
use habackup::manifest::Stamp;
use serde::Serialize;
use store::{Cancellation, Kind, Limit, StoreError, inbound::RemoteFile};

use self::unfinished::Unfinished;
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

pub(crate) fn run(args: &GetArgs, config: &Config, cancel: &Cancellation) -> Result<u8, Failure> {
    let mut from = destination::resolve(config, &args.archive)?;
    from.common.read_limit = args.limit.map(Limit::new);
    let name = from.archive()?;
    let target = target(&args.to, name)?;
    let network = Network::start(args.waiting.give_up_after, cancel)?;
    let store = network.connect_to_look(&from)?;
    let Some(entry) = network.find(&from, &store, name)? else {
        return Err(Failure::usage(format!("{} holds no {name}", store.label()))
            .hint(format!("`haul list {}` shows what there is", from.destination_typed())));
    };
    let started = std::time::Instant::now();
    let mut unfinished = Unfinished::open(&target, &store.label(), &entry)?;
    let remote = RemoteFile::of(&network.bridge, &network.context_for(&from), Arc::clone(&store), entry);
    let progress = Arc::new(Progress::default());
    progress.fetch(remote.policy().clone());
    let display = Display::start(args.output.progress, Job::reading("fetching"), Arc::clone(&progress));
    let copied = unfinished.copy(&remote, &progress, cancel);
    drop(display);
    let begun = copied?;
    let (damage, stamp) = unfinished.look();
    unfinished.publish(&target)?;
    let done = |failure: Failure| {
        failure
            .hint(format!("the download itself is complete: {}", engine::shown(target.as_os_str().as_encoded_bytes())))
    };
    let seconds = started.elapsed().as_secs_f64();
    let missing = missing(stamp);
    let code = if damage.is_some() { DAMAGED } else { DONE };
    if args.output.json {
        let status = if damage.is_some() { "damaged" } else { "complete" };
        let (archive, size_bytes) = (remote.label(), remote.len());
        output::json(&Document {
            status,
            archive,
            path: &target,
            size_bytes,
            earlier_bytes: begun,
            seconds,
            damage,
            missing,
        })
        .map_err(done)?;
        return Ok(code);
    }
    let mut lines =
        vec![format!("Fetched {} ({}) in {}", remote.label(), text::bytes(remote.len()), text::duration(seconds))];
    lines.push(format!("  to    {}", target.display()));
    if begun > 0 {
        lines.push(format!("  continued after the {} that an earlier run had fetched", text::bytes(begun)));
    }
    output::lines(&lines).map_err(done)?;
    output::notes("note", missing.into_iter());
    output::notes(
        "note",
        damage
            .map(|reason| format!("the archive is not whole, neither at the destination nor in this copy: {reason}"))
            .into_iter(),
    );
    Ok(code)
}

/// What its maker knew was missing in an archive.
pub(super) fn missing(stamp: Option<Stamp>) -> Option<String> {
    stamp
        .filter(|stamp| !stamp.is_whole())
        .map(|stamp| text::sanitize(&engine::verdict::incomplete(&stamp.missing, stamp.essential)))
}

fn target(to: &Path, name: &str) -> Result<PathBuf, Failure> {
    let target = if to.is_dir() { to.join(name) } else { to.to_owned() };
    if to.as_os_str().as_encoded_bytes().ends_with(b"/") && !to.is_dir() {
        return Err(no_directory(to));
    }
    destination::check_archive_name(&target.file_name().unwrap_or_default().to_string_lossy())?;
    if fs::symlink_metadata(&target).is_ok() {
        return Err(Failure::new(FAILED, format!("{} exists already", target.display()))
            .hint("Haul overwrites nothing: choose another name or directory"));
    }
    let directory = directory_of(&target);
    if !directory.is_dir() {
        return Err(no_directory(&directory));
    }
    Ok(target)
}

fn no_directory(path: &Path) -> Failure {
    let shown = engine::shown(path.as_os_str().as_encoded_bytes());
    // With a slash after its name, a file is not found.
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

fn interrupted() -> Failure {
    Failure::new(INTERRUPTED, "interrupted; run the same command again to continue")
}

fn unreadable(error: io::Error, remote: &RemoteFile) -> Failure {
    match error.downcast::<StoreError>() {
        Ok(StoreError::Cancelled) => interrupted(),
        Ok(error) if matches!(error.kind(), Some(Kind::Transient { .. })) => {
            Failure::from(error).hint("Haul keeps what it has fetched: run the same command again to continue")
        }
        Ok(error) => error.into(),
        Err(error) => Failure::new(FAILED, format!("can't read {}: {}", remote.label(), engine::plain_reason(&error)))
            .hint("Haul keeps what it has fetched: run the same command again to continue"),
    }
}
