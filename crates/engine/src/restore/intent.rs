//! Records what a restore is about to do during its swap, so that the next restore can undo it if this one is killed.
//!
//! Before the first rename, the intent is written into the staging directory and synced. It stays while the old files
//! are moved aside; during that time, undoing the swap is right, because nothing new is at the target yet. Once the
//! last old file is aside, the intent is removed: from then on somebody may use the new files.
//!
//! Nothing here deletes or replaces what this program did not create, whatever happened to the directories meanwhile:
//! names move only to free names, and inodes identify directories.

use std::{
    ffi::{OsStr, OsString},
    fs::File,
    io::{self, Read, Write},
    os::{fd::OwnedFd, unix::ffi::OsStrExt},
    path::{Path, PathBuf},
};

use rustix::{
    fs::{self, AtFlags, FileType, Mode, OFlags},
    io::Errno,
};
use store::local::synced;

use super::renames::{DIRECTORY, Moves, kind, names, open_below, rename_new};
use crate::text::shown;

const FILE: &str = "intent";
const FORM: &str = "haul restore 1";
/// Two names of at most 255 bytes, and numbers.
const LONGEST: u64 = 1024;

/// How what was there before goes aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// The directory itself, replaced by a new one.
    Whole,
    /// Its children, one by one, into a directory of the kept name.
    Children,
    /// Some of what is in it, at any depth, to the same paths below the kept name.
    Parts,
}

const WAYS: [(Way, &str); 3] = [(Way::Whole, "whole"), (Way::Children, "children"), (Way::Parts, "parts")];

/// What a restore is about to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Intent {
    pub(super) way: Way,
    /// The target's name beside the staging directory; empty: the directory that holds both.
    pub(super) target: OsString,
    /// The name for what was there before, beside the staging directory.
    pub(super) kept: OsString,
    /// Inode of the directory that is there now.
    pub(super) old: u64,
    /// Inode of the unpacked tree.
    pub(super) new: u64,
}

impl Intent {
    /// Writes the intent into a staging directory. It is on the disk when this returns, if the file system can sync.
    pub(super) fn write(&self, stage: &OwnedFd) -> io::Result<()> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut file = File::from(fs::openat(stage, FILE, flags, Mode::RUSR | Mode::WUSR)?);
        file.write_all(&self.to_bytes())?;
        synced(file.sync_all())?;
        synced(fs::fsync(stage).map_err(io::Error::from))?;
        Ok(())
    }

    /// Removes it: nothing is to be taken back from here on.
    pub(super) fn forget(stage: &OwnedFd) -> io::Result<()> {
        match fs::unlinkat(stage, FILE, AtFlags::empty()) {
            Err(Errno::NOENT) => return Ok(()),
            other => other?,
        }
        synced(fs::fsync(stage).map_err(io::Error::from))?;
        Ok(())
    }

    /// The intent in a staging directory. One that was not written to its end was never followed, and counts as none.
    pub(super) fn read(stage: &OwnedFd) -> io::Result<Option<Self>> {
        let file = match fs::openat(stage, FILE, OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty()) {
            Err(Errno::NOENT) => return Ok(None),
            other => File::from(other?),
        };
        let mut bytes = Vec::new();
        file.take(LONGEST).read_to_end(&mut bytes)?;
        Ok(Self::parse(&bytes))
    }

    fn to_bytes(&self) -> Vec<u8> {
        let way = WAYS.iter().find(|(way, _)| *way == self.way).map_or("", |(_, name)| name);
        let numbers = format!("{}\0{}", self.old, self.new);
        [FORM.as_bytes(), way.as_bytes(), self.target.as_bytes(), self.kept.as_bytes(), numbers.as_bytes(), b""]
            .join(&0)
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let fields: Vec<&[u8]> = bytes.split(|byte| *byte == 0).collect();
        let [form, way, target, kept, old, new, b""] = fields[..] else { return None };
        let number = |field| std::str::from_utf8(field).ok()?.parse().ok();
        let is_name = |name: &[u8]| !name.is_empty() && name != b"." && name != b".." && !name.contains(&b'/');
        if form != FORM.as_bytes() || !is_name(kept) || !(target.is_empty() || is_name(target)) {
            return None;
        }
        Some(Self {
            way: WAYS.iter().find(|(_, name)| name.as_bytes() == way)?.0,
            target: OsStr::from_bytes(target).to_owned(),
            kept: OsStr::from_bytes(kept).to_owned(),
            old: number(old)?,
            new: number(new)?,
        })
    }

    /// Undoes what was done of it. `tree` is where the killed restore had unpacked to, below `parent`. Returns a
    /// description of what it undid, if anything.
    pub(super) fn take_back(
        &self,
        tree: (&OwnedFd, &OsStr),
        parent: &OwnedFd,
        parent_path: &Path,
    ) -> io::Result<Option<String>> {
        match self.way {
            Way::Whole => self.whole(tree, parent, parent_path),
            Way::Children | Way::Parts => self.pieces(parent, parent_path),
        }
    }

    fn whole(
        &self,
        (stage, tree): (&OwnedFd, &OsStr),
        parent: &OwnedFd,
        parent_path: &Path,
    ) -> io::Result<Option<String>> {
        let (target, kept) = (directory(parent, &self.target)?, directory(parent, &self.kept)?);
        if target == Some(self.old) && kept == Some(self.new) {
            // The new tree under the name that is meant for the old one: back into the stage, which is removed.
            rename_new(parent, &self.kept, stage, tree)?;
            return Ok(None);
        }
        if kind(parent, &self.target)?.is_none() && kept == Some(self.old) {
            rename_new(parent, &self.kept, parent, &self.target)?;
            return Ok(Some(back(&parent_path.join(&self.target))));
        }
        Ok(None)
    }

    fn pieces(&self, parent: &OwnedFd, parent_path: &Path) -> io::Result<Option<String>> {
        let path = if self.target.is_empty() { parent_path.to_owned() } else { parent_path.join(&self.target) };
        let found =
            if self.target.is_empty() { Some(fs::fstat(parent)?.st_ino) } else { directory(parent, &self.target)? };
        if found != Some(self.old) {
            return Ok(None);
        }
        let kept = match fs::openat(parent, &self.kept, DIRECTORY, Mode::empty()) {
            Err(Errno::NOENT) => return Ok(None),
            other => other?,
        };
        let into = open_below(parent, Path::new(&self.target), false)?;
        let Plan { moves, emptied, in_the_way } = self.plan(&kept, &into)?;
        if in_the_way {
            let kept = parent_path.join(&self.kept);
            return Ok(Some(format!(
                "an earlier restore into {} was stopped halfway; some of the previous content is in {}",
                shown(path.as_os_str().as_bytes()),
                shown(kept.as_os_str().as_bytes())
            )));
        }
        let mut renames = Moves::default();
        // A database after its write-ahead log: it is never beside another database's log.
        for path in moves.iter().rev() {
            if let Err(error) = renames.rename(&kept, &into, path) {
                renames.take_back();
                return Err(error);
            }
        }
        renames.confirm()?;
        for path in emptied.iter().rev() {
            let above = open_below(&kept, path.parent().unwrap_or(Path::new("")), false)?;
            let _ = fs::unlinkat(above, path.file_name().unwrap_or_default(), AtFlags::REMOVEDIR);
        }
        let _ = fs::unlinkat(parent, &self.kept, AtFlags::REMOVEDIR);
        Ok((!moves.is_empty()).then(|| back(&path)))
    }

    /// What goes back where. All of it or nothing: half of an old configuration beside half of one that somebody made
    /// since may fit by chance.
    fn plan(&self, kept: &OwnedFd, into: &OwnedFd) -> io::Result<Plan> {
        let mut plan = Plan { moves: Vec::new(), emptied: Vec::new(), in_the_way: false };
        let mut waiting = vec![PathBuf::new()];
        while let Some(below) = waiting.pop() {
            let (old, now) = (open_below(kept, &below, false)?, open_below(into, &below, false)?);
            for name in names(&old)? {
                let path = below.join(&name);
                match (kind(&old, &name)?, kind(&now, &name)?) {
                    (_, None) => plan.moves.push(path),
                    // Made on the way to what was moved.
                    (Some(FileType::Directory), Some(FileType::Directory)) if self.way == Way::Parts => {
                        plan.emptied.push(path.clone());
                        waiting.push(path);
                    }
                    _ => plan.in_the_way = true,
                }
            }
        }
        plan.moves.sort();
        Ok(plan)
    }
}

struct Plan {
    moves: Vec<PathBuf>,
    /// Directories that are empty afterwards, outermost first.
    emptied: Vec<PathBuf>,
    /// Something exists under the name that the old file would get back.
    in_the_way: bool,
}

fn back(target: &Path) -> String {
    format!(
        "an earlier restore into {} was stopped halfway; Haul first put the previous content back",
        shown(target.as_os_str().as_bytes())
    )
}

/// Inode of the directory under this name on the file system of `parent`. Its device need not be written down, which
/// may change from boot to boot.
fn directory(parent: &OwnedFd, name: &OsStr) -> io::Result<Option<u64>> {
    let stat = match fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => return Ok(None),
        other => other?,
    };
    let is_directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
    Ok((is_directory && stat.st_dev == fs::fstat(parent)?.st_dev).then_some(stat.st_ino))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_intent_is_read_as_it_was_written_and_half_of_one_is_none() {
        let intent = Intent {
            way: Way::Parts,
            target: OsStr::from_bytes(b"con\xfffig\n").into(),
            kept: "kept".into(),
            old: 7,
            new: u64::MAX,
        };
        let bytes = intent.to_bytes();
        assert_eq!(Intent::parse(&bytes), Some(intent.clone()));
        for length in 0..bytes.len() {
            assert_eq!(Intent::parse(&bytes[..length]), None, "{length}");
        }
        for (target, kept) in [("..", "kept"), ("a/b", "kept"), ("a", ""), ("a", "..")] {
            assert_eq!(
                Intent::parse(&Intent { target: target.into(), kept: kept.into(), ..intent.clone() }.to_bytes()),
                None,
                "{target} {kept}"
            );
        }
    }
}
