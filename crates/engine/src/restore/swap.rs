//! Puts an unpacked tree in its place by renames, keeping what was there.
//!
//! What belongs to the user is never inside a staging directory, not for a moment: a restore that
//! is killed leaves either the old directory, or the new one, or the old one under its kept name.
//! Every failure in between is taken back.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use rustix::fs::{self, AtFlags, CWD, FileType, Mode, OFlags, RenameFlags};
use rustix::io::Errno;
use store::local::synced;

use super::RestoreError;
use super::stage::{Stage, names};
use super::target::{Now, Target, stays};

const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
const KEPT_ATTEMPTS: u32 = 100;
/// SQLite's companions: with another database's they would be taken for this one's.
const COMPANIONS: [&str; 3] = ["-wal", "-shm", "-journal"];

/// A tree in its place.
pub(super) struct Placed {
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
pub(super) fn whole(stage: &Stage, target: &Target, now: &str) -> Result<Placed, RestoreError> {
    let kept = match (target.inside, target.now) {
        (true, Now::Filled) => children(stage, target, Some(now)),
        (true, _) => children(stage, target, None),
        (false, Now::Filled) => exchange(stage, target, now).map(Some),
        (false, before) => {
            let (from, tree) = stage.tree_place();
            let name = target.path.file_name().unwrap_or_default();
            if before == Now::Missing {
                rename_new(from, tree, stage.parent(), name)
            } else {
                // Replaces an empty directory, and only an empty one.
                fs::renameat(from, tree, stage.parent(), name).map_err(io::Error::from)
            }
            .map(|()| None)
            .map_err(Failed::from)
        }
    };
    let kept = kept.map_err(|failed| failed.at(target))?;
    match synced(fs::fsync(stage.parent()).map_err(io::Error::from)) {
        Ok(confirmed) => Ok(Placed { kept, confirmed }),
        // Too late for a failure that leaves everything as it was.
        Err(source) => Err(RestoreError::Unconfirmed { path: target.path.clone(), kept, source }),
    }
}

/// The old directory under its kept name, the new one under the old one's.
fn exchange(stage: &Stage, target: &Target, now: &str) -> Result<PathBuf, Failed> {
    let parent = stage.parent();
    let (from, tree) = stage.tree_place();
    let name = target.path.file_name().unwrap_or_default();
    // The new tree first takes the kept name, and then the two trade places in one step: the
    // target's name never stands empty.
    let kept = (0..KEPT_ATTEMPTS)
        .map(|attempt| target.kept_name(now, attempt))
        .find_map(|kept| match rename_new(from, tree, parent, &kept) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => None,
            result => Some(result.map(|()| kept)),
        })
        .unwrap_or_else(|| Err(Errno::EXIST.into()))?;
    let kept_path = stage.parent_path().join(&kept);
    match fs::renameat_with(parent, &kept, parent, name, RenameFlags::EXCHANGE) {
        Ok(()) => {}
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => trade_places(parent, &kept, name, from, tree, &kept_path)?,
        Err(error) => {
            // Back into the stage, which removes it.
            let _ = fs::renameat(parent, &kept, from, tree);
            return Err(error.into());
        }
    }
    Ok(kept_path)
}

/// For file systems that can't exchange two names at once.
fn trade_places(parent: &OwnedFd, kept: &OsStr, name: &OsStr, from: &OwnedFd, tree: &OsStr, kept_path: &Path) -> Result<(), Failed> {
    fs::renameat(parent, kept, from, tree)?;
    fs::renameat(parent, name, parent, kept)?;
    let Err(error) = fs::renameat(from, tree, parent, name) else { return Ok(()) };
    let back = fs::renameat(parent, kept, parent, name);
    Err(Failed { source: error.into(), stranded: back.is_err().then(|| Stranded { kept: Some(kept_path.to_owned()) }) })
}

/// Moves the children, for a target that can't be renamed itself.
fn children(stage: &Stage, target: &Target, now: Option<&str>) -> Result<Option<PathBuf>, Failed> {
    let directory = stage.parent();
    let tree = stage.tree()?;
    let kept = match now {
        Some(now) => Some(make_kept(directory, target, now)?),
        None => None,
    };
    let mut moves = Moves::default();
    let result = (|| -> io::Result<()> {
        if let Some((name, kept)) = &kept {
            for old in names(directory)? {
                if !stays(&old) && old != *name {
                    moves.rename(directory, kept, Path::new(&old))?;
                }
            }
        }
        for new in names(&tree)? {
            moves.rename(&tree, directory, Path::new(&new))?;
        }
        Ok(())
    })();
    let name = kept.as_ref().map(|(name, _)| name.as_os_str());
    finish(moves, result, directory, name, &target.path)
}

/// Moves only what the tree holds into the target; what that replaces is kept beside it.
pub(super) fn parts(stage: &Stage, target: &Target, now: &str) -> Result<Placed, RestoreError> {
    let failed = |source: io::Error| RestoreError::Target { path: target.path.clone(), source };
    let tree = stage.tree().map_err(failed)?;
    let into = fs::openat(CWD, &target.path, DIRECTORY, Mode::empty()).map_err(|error| failed(error.into()))?;
    let plan = plan_parts(&tree, &into, &target.path)?;
    let kept = if plan.aside.is_empty() { None } else { Some(make_kept(stage.parent(), target, now).map_err(failed)?) };
    let mut moves = Moves::default();
    let mut confirmed = false;
    let result = (|| -> io::Result<()> {
        // First everything old steps aside, then everything new comes in, a database after its
        // write-ahead log: whenever this is cut short, no database stands beside a log not its own.
        if let Some((_, kept)) = &kept {
            for path in &plan.aside {
                moves.rename(&into, kept, path)?;
            }
        }
        for path in plan.place.iter().rev() {
            moves.rename(&tree, &into, path)?;
        }
        confirmed = synced(fs::syncfs(&into).map_err(io::Error::from))?;
        Ok(())
    })();
    let name = kept.as_ref().map(|(name, _)| name.as_os_str());
    let kept = finish(moves, result, stage.parent(), name, stage.parent_path()).map_err(|failed| failed.at(target))?;
    Ok(Placed { kept, confirmed })
}

fn finish(moves: Moves<'_>, result: io::Result<()>, parent: &OwnedFd, kept: Option<&OsStr>, parent_path: &Path) -> Result<Option<PathBuf>, Failed> {
    let kept_path = kept.map(|name| parent_path.join(name));
    let Err(source) = result else { return Ok(kept_path) };
    let all_back = moves.take_back();
    if let Some(name) = kept {
        // Empty again; if not, it holds what could not be moved back, and stays.
        let _ = fs::unlinkat(parent, name, AtFlags::REMOVEDIR);
    }
    Err(Failed { source, stranded: (!all_back).then_some(Stranded { kept: kept_path }) })
}

struct Plan {
    aside: BTreeSet<PathBuf>,
    place: BTreeSet<PathBuf>,
}

fn plan_parts(tree: &OwnedFd, into: &OwnedFd, into_path: &Path) -> Result<Plan, RestoreError> {
    let failed = |source: io::Error| RestoreError::Target { path: into_path.to_owned(), source };
    let mut plan = Plan { aside: BTreeSet::new(), place: BTreeSet::new() };
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
                    plan.place.insert(path);
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

fn kind(directory: &OwnedFd, name: &OsStr) -> io::Result<Option<FileType>> {
    match fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(FileType::from_raw_mode(stat.st_mode))),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn make_kept(parent: &OwnedFd, target: &Target, now: &str) -> io::Result<(OsString, OwnedFd)> {
    for attempt in 0..KEPT_ATTEMPTS {
        let name = target.kept_name(now, attempt);
        match fs::mkdirat(parent, &name, Mode::RWXU) {
            Err(Errno::EXIST) => {}
            other => {
                other?;
                let directory = fs::openat(parent, &name, DIRECTORY, Mode::empty())?;
                return Ok((name, directory));
            }
        }
    }
    Err(Errno::EXIST.into())
}

/// Renames that can be taken back.
#[derive(Default)]
struct Moves<'a> {
    done: Vec<(&'a OwnedFd, &'a OwnedFd, PathBuf)>,
}

impl<'a> Moves<'a> {
    /// Moves `path` below `from` to the same path below `to`, whose directories are made.
    fn rename(&mut self, from: &'a OwnedFd, to: &'a OwnedFd, path: &Path) -> io::Result<()> {
        let name = path.file_name().unwrap_or_default();
        let above = path.parent().unwrap_or(Path::new(""));
        rename_new(&open_below(from, above, false)?, name, &open_below(to, above, true)?, name)?;
        self.done.push((from, to, path.to_owned()));
        Ok(())
    }

    /// Whether all of them were.
    fn take_back(self) -> bool {
        let mut all = true;
        for (from, to, path) in self.done.into_iter().rev() {
            let name = path.file_name().unwrap_or_default();
            let above = path.parent().unwrap_or(Path::new(""));
            // What can't be moved back stays under its kept name.
            all &= open_below(to, above, false)
                .and_then(|to| Ok((to, open_below(from, above, false)?)))
                .and_then(|(to, from)| rename_new(&to, name, &from, name))
                .is_ok();
        }
        all
    }
}

/// Opens a directory below another without following a symbolic link.
fn open_below(directory: &OwnedFd, path: &Path, make: bool) -> io::Result<OwnedFd> {
    let mut current = directory.try_clone()?;
    for part in path {
        let part = OsString::from_vec(part.as_bytes().to_vec());
        current = match fs::openat(&current, &part, DIRECTORY, Mode::empty()) {
            Err(Errno::NOENT) if make => {
                fs::mkdirat(&current, &part, Mode::RWXU)?;
                fs::openat(&current, &part, DIRECTORY, Mode::empty())?
            }
            other => other?,
        };
    }
    Ok(current)
}

/// A rename that never replaces anything, where the file system can promise it.
fn rename_new(from: &OwnedFd, name: &OsStr, to: &OwnedFd, new: &OsStr) -> io::Result<()> {
    match fs::renameat_with(from, name, to, new, RenameFlags::NOREPLACE) {
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => match kind(to, new)? {
            Some(_) => Err(Errno::EXIST.into()),
            None => Ok(fs::renameat(from, name, to, new)?),
        },
        other => Ok(other?),
    }
}
