//! Moves an unpacked tree to its final name by renames, and keeps the old content.
//!
//! What belongs to the user is never inside a staging directory, not for a moment: a restore that
//! is killed leaves either the old directory, or the new one, or the old one under its kept name.
//! Every failure in between is taken back; after a kill the next restore does that (`intent`).

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{self, AtFlags, CWD, FileType, Mode, OFlags, RenameFlags};
use rustix::io::Errno;
use store::local::synced;

use super::RestoreError;
use super::intent::{Intent, Way};
use super::renames::{DIRECTORY, Moves, kind, names, open_below, rename_new};
use super::stage::Stage;
use super::target::{Now, Target, stays};

const KEPT_ATTEMPTS: u32 = 100;
/// SQLite's companions: with another database's they would be taken for this one's.
const COMPANIONS: [&str; 3] = ["-wal", "-shm", "-journal"];

/// A tree under its final name.
pub(super) struct Swapped {
    /// Where what was there before is kept.
    pub(super) kept: Option<PathBuf>,
    /// Whether the file system confirmed that the new names are on the disk; some can't.
    pub(super) confirmed: bool,
}

/// A swap that failed. Everything is as it was, except what `stranded` says.
struct Failed {
    source: io::Error,
    /// What could not be put back.
    stranded: Option<Stranded>,
}

struct Stranded {
    /// Where some or all of what was there before is now.
    kept: Option<PathBuf>,
}

impl<E: Into<io::Error>> From<E> for Failed {
    fn from(error: E) -> Self {
        Self { source: error.into(), stranded: None }
    }
}

impl Failed {
    fn at(self, target: &Target) -> RestoreError {
        let path = target.path.clone();
        match self.stranded {
            None => RestoreError::Target { path, source: self.source },
            Some(Stranded { kept }) => RestoreError::Stranded { path, kept, source: self.source },
        }
    }
}

/// Makes the tree the target.
pub(super) fn whole(stage: &Stage, target: &Target, now: &str) -> Result<Swapped, RestoreError> {
    let swapped = match (target.inside, target.now) {
        (true, Now::Filled) => children(stage, target, Some(now)),
        (true, _) => children(stage, target, None),
        (false, Now::Filled) => exchange(stage, target, now).map(|kept| Swapped { kept: Some(kept), confirmed: true }),
        (false, before) => {
            let (from, tree) = stage.tree_location();
            let name = target.path.file_name().unwrap_or_default();
            if before == Now::Missing {
                rename_new(from, tree, stage.parent(), name)
            } else {
                // Replaces an empty directory, and only an empty one.
                fs::renameat(from, tree, stage.parent(), name).map_err(io::Error::from)
            }
            .map(|()| Swapped { kept: None, confirmed: true })
            .map_err(Failed::from)
        }
    };
    let Swapped { kept, confirmed } = swapped.map_err(|failed| failed.at(target))?;
    match synced(fs::fsync(stage.parent()).map_err(io::Error::from)) {
        Ok(on_disk) => Ok(Swapped { kept, confirmed: confirmed && on_disk }),
        // Too late for a failure that leaves everything as it was.
        Err(source) => Err(RestoreError::Unconfirmed { path: target.path.clone(), kept, source }),
    }
}

/// The old directory under its kept name, the new one under the old one's.
fn exchange(stage: &Stage, target: &Target, now: &str) -> Result<PathBuf, Failed> {
    let parent = stage.parent();
    let (from, tree) = stage.tree_location();
    let name = target.path.file_name().unwrap_or_default();
    let mut intent = intend(Way::Whole, stage, target)?;
    // The new tree first takes the kept name, and then the two are exchanged in one step: the target's name always
    // exists.
    let kept = kept_name(parent, target, now, |kept| {
        kept.clone_into(&mut intent.kept);
        intent.write(stage.directory())?;
        rename_new(from, tree, parent, kept)
    })?;
    let kept_path = stage.parent_path().join(&kept);
    match fs::renameat_with(parent, &kept, parent, name, RenameFlags::EXCHANGE) {
        Ok(()) => {}
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {
            exchange_by_renames(parent, &kept, name, from, tree, &kept_path)?;
        }
        Err(error) => {
            // Back into the stage, which removes it.
            let _ = fs::renameat(parent, &kept, from, tree);
            return Err(error.into());
        }
    }
    // The tree has its final name. If this fails, whoever finds the intent finds nothing to undo.
    let _ = Intent::forget(stage.directory());
    Ok(kept_path)
}

/// For file systems that can't exchange two names at once.
fn exchange_by_renames(
    parent: &OwnedFd,
    kept: &OsStr,
    name: &OsStr,
    from: &OwnedFd,
    tree: &OsStr,
    kept_path: &Path,
) -> Result<(), Failed> {
    fs::renameat(parent, kept, from, tree)?;
    fs::renameat(parent, name, parent, kept)?;
    let Err(error) = fs::renameat(from, tree, parent, name) else { return Ok(()) };
    let back = fs::renameat(parent, kept, parent, name);
    Err(Failed { source: error.into(), stranded: back.is_err().then(|| Stranded { kept: Some(kept_path.to_owned()) }) })
}

/// Moves the children, for a target that can't be renamed itself.
fn children(stage: &Stage, target: &Target, now: Option<&str>) -> Result<Swapped, Failed> {
    let directory = stage.parent();
    let tree = stage.tree()?;
    let kept = now.map(|now| make_kept(Way::Children, stage, target, now)).transpose()?;
    let mut moves = Moves::default();
    let result = (|| {
        if let Some((name, kept)) = &kept {
            let mut before = names(directory)?;
            // A database before its log, so that it is never without.
            before.sort();
            for old in before {
                if !stays(&old) && old != *name {
                    moves.rename(directory, kept, Path::new(&old))?;
                }
            }
        }
        old_is_aside(stage, &moves)?;
        for new in names(&tree)? {
            moves.rename(&tree, directory, Path::new(&new))?;
        }
        moves.confirm()
    })();
    let name = kept.as_ref().map(|(name, _)| name.as_os_str());
    finish(moves, result, directory, name, &target.path)
}

/// Moves only what the tree holds into the target; what that replaces is kept beside it.
pub(super) fn parts(stage: &Stage, target: &Target, now: &str) -> Result<Swapped, RestoreError> {
    let failed = |source: io::Error| RestoreError::Target { path: target.path.clone(), source };
    let tree = stage.tree().map_err(failed)?;
    let into = fs::openat(CWD, &target.path, DIRECTORY, Mode::empty()).map_err(|error| failed(error.into()))?;
    let plan = plan_parts(&tree, &into, &target.path)?;
    target.mounts_in_the_way(&plan.aside.iter().chain(&plan.incoming).collect::<Vec<_>>())?;
    let kept =
        if plan.aside.is_empty() { None } else { Some(make_kept(Way::Parts, stage, target, now).map_err(failed)?) };
    let mut moves = Moves::default();
    let result = (|| {
        // First every old file moves aside, then every new one moves in, a database after its write-ahead log: if this
        // is interrupted at any point, no database is beside another database's log.
        if let Some((_, kept)) = &kept {
            for path in &plan.aside {
                moves.rename(&into, kept, path)?;
            }
        }
        old_is_aside(stage, &moves)?;
        for path in plan.incoming.iter().rev() {
            moves.rename(&tree, &into, path)?;
        }
        moves.confirm()
    })();
    let name = kept.as_ref().map(|(name, _)| name.as_os_str());
    finish(moves, result, stage.parent(), name, stage.parent_path()).map_err(|failed| failed.at(target))
}

/// Between the old and the new: from here on nothing is to be taken back by a later restore.
fn old_is_aside(stage: &Stage, moves: &Moves<'_>) -> io::Result<()> {
    moves.confirm()?;
    Intent::forget(stage.directory())
}

fn finish(
    moves: Moves<'_>,
    result: io::Result<bool>,
    parent: &OwnedFd,
    kept: Option<&OsStr>,
    parent_path: &Path,
) -> Result<Swapped, Failed> {
    let kept_path = kept.map(|name| parent_path.join(name));
    let source = match result {
        Ok(confirmed) => return Ok(Swapped { kept: kept_path, confirmed }),
        Err(source) => source,
    };
    let all_back = moves.take_back();
    if let Some(name) = kept {
        // Empty again; if not, it holds what could not be moved back, and stays.
        let _ = fs::unlinkat(parent, name, AtFlags::REMOVEDIR);
    }
    Err(Failed { source, stranded: (!all_back).then_some(Stranded { kept: kept_path }) })
}

struct Plan {
    aside: BTreeSet<PathBuf>,
    incoming: BTreeSet<PathBuf>,
}

fn plan_parts(tree: &OwnedFd, into: &OwnedFd, into_path: &Path) -> Result<Plan, RestoreError> {
    let failed = |source: io::Error| RestoreError::Target { path: into_path.to_owned(), source };
    let mut plan = Plan { aside: BTreeSet::new(), incoming: BTreeSet::new() };
    let mut waiting = vec![PathBuf::new()];
    while let Some(below) = waiting.pop() {
        let new = open_below(tree, &below, false).map_err(failed)?;
        let old = open_below(into, &below, false).map_err(failed)?;
        for name in names(&new).map_err(failed)? {
            let path = below.join(&name);
            let is_new = kind(&new, &name).map_err(failed)?;
            match (is_new, kind(&old, &name).map_err(failed)?) {
                (Some(FileType::Directory), Some(FileType::Directory)) => waiting.push(path),
                (Some(FileType::Directory), Some(FileType::Symlink)) => {
                    return Err(RestoreError::LinkInTheWay { path: into_path.join(path) });
                }
                (_, now) => {
                    if now.is_some() {
                        plan.aside.insert(path.clone());
                    }
                    if is_new == Some(FileType::RegularFile) && is_database(&new, &name) {
                        companions(&old, &path, &mut plan.aside).map_err(failed)?;
                    }
                    plan.incoming.insert(path);
                }
            }
        }
    }
    Ok(plan)
}

fn companions(old: &OwnedFd, path: &Path, aside: &mut BTreeSet<PathBuf>) -> io::Result<()> {
    for suffix in COMPANIONS {
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(suffix);
        if kind(old, &name)?.is_some() {
            aside.insert(path.with_file_name(name));
        }
    }
    Ok(())
}

fn is_database(directory: &OwnedFd, name: &OsStr) -> bool {
    let mut start = [0_u8; 16];
    fs::openat(directory, name, OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
        .is_ok_and(|file| std::fs::File::from(file).read_exact(&mut start).is_ok())
        && livesqlite::is_database(&start)
}

/// What is about to be done; the name for what is there now is still to be found.
fn intend(way: Way, stage: &Stage, target: &Target) -> io::Result<Intent> {
    let (old, new) = (fs::stat(&target.path)?.st_ino, fs::fstat(stage.tree()?)?.st_ino);
    Ok(Intent { way, target: target.name_beside(), kept: OsString::new(), old, new })
}

/// Takes the first free name for what was there before: `take` says that one is taken by
/// [`io::ErrorKind::AlreadyExists`].
fn kept_name(
    parent: &OwnedFd,
    target: &Target,
    now: &str,
    mut take: impl FnMut(&OsStr) -> io::Result<()>,
) -> io::Result<OsString> {
    for attempt in 0..KEPT_ATTEMPTS {
        let name = target.kept_name(now, attempt);
        if kind(parent, &name)?.is_some() {
            continue;
        }
        match take(&name) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            other => return other.map(|()| name),
        }
    }
    Err(Errno::EXIST.into())
}

/// Makes a directory for what steps aside, after writing down that it will.
fn make_kept(way: Way, stage: &Stage, target: &Target, now: &str) -> io::Result<(OsString, OwnedFd)> {
    let parent = stage.parent();
    let mut intent = intend(way, stage, target)?;
    let name = kept_name(parent, target, now, |name| {
        name.clone_into(&mut intent.kept);
        intent.write(stage.directory())?;
        Ok(fs::mkdirat(parent, name, Mode::RWXU)?)
    })?;
    let directory = fs::openat(parent, &name, DIRECTORY, Mode::empty())?;
    Ok((name, directory))
}
