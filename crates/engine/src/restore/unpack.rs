//! From the inner tar to the tree: which members belong to the config directory, which are wanted, and what becomes of
//! each. `tree` writes safely, `crate::read` reads the archive.

use std::{
    collections::BTreeSet,
    io::{self, Read, Write},
};

use habackup::{
    readers::Content,
    rules::NAME_MAX,
    tar::{Entry, EntryKind, TarError},
};
use livesqlite::check::ImageChecker;
use store::Cancellation;

use super::{
    select::{Nearest, Selection},
    tree::{Meta, Obstacle, Tree},
};
use crate::{
    findings::{Skipped, SkippedKind},
    read::scan::{BodyReader, Flow, Stopped, Tar, Torn, scan},
    text::shown,
    verdict::collect::note_unread,
};

/// A longer list of names helps nobody; further ones are only counted.
const MOST_NAMED: usize = 1000;

/// Why unpacking stopped.
#[derive(Debug)]
pub(super) enum Stop {
    /// The archive is broken; at this member, if any was reached.
    Archive {
        member: String,
        error: TarError,
    },
    /// The file system failed at this member.
    Target {
        member: String,
        source: io::Error,
    },
    /// It takes more bytes on the disk than it may.
    TooLarge {
        most: u64,
    },
    Cancelled,
}

impl From<Stopped<Torn>> for Stop {
    fn from(stopped: Stopped<Torn>) -> Self {
        match stopped {
            Stopped::Cancelled => Self::Cancelled,
            Stopped::Broken(Torn { last, error }) => Self::Archive { member: shown(&last.unwrap_or_default()), error },
        }
    }
}

/// What was unpacked so far.
#[derive(Default)]
pub(super) struct Unpacked {
    pub(super) entries: u64,
    pub(super) bytes: u64,
    /// What they take on the disk, about.
    pub(super) taken: u64,
    pub(super) left_out: Vec<Skipped>,
    pub(super) left_out_unnamed: u64,
    pub(super) warnings: Vec<String>,
    /// Mode of the config directory itself as the archive has it.
    pub(super) root_mode: Option<u32>,
    /// Members below `data/`, wanted or not.
    pub(super) seen: u64,
    /// Top-level members beside `data/`.
    pub(super) beside: BTreeSet<Vec<u8>>,
    /// What there is of the configuration, wanted or not.
    pub(super) content: Content,
    /// The patterns, by number, that something fits.
    pub(super) fitting: BTreeSet<usize>,
    /// Names near to patterns that may fit nothing.
    pub(super) nearest: Nearest,
}

impl Unpacked {
    pub(super) fn leave_out(&mut self, path: &[u8], reason: impl Into<String>) {
        if self.left_out.len() < MOST_NAMED {
            self.left_out.push(Skipped { kind: SkippedKind::LeftOut, path: shown(path), reason: reason.into() });
        } else {
            self.left_out_unnamed += 1;
        }
    }
}

/// What all passes of one restore share.
pub(super) struct Unpacker<'a> {
    pub(super) selection: &'a Selection,
    pub(super) cancel: &'a Cancellation,
    /// Check databases while they pass: for reads that no checksum covers.
    pub(super) check_databases: bool,
    /// What may be taken on the disk.
    pub(super) most: Option<u64>,
}

impl Unpacker<'_> {
    /// Unpacks what is wanted of a tar stream. `whole`: the stream must end as an archive does; otherwise it is a
    /// stretch of one.
    pub(super) fn run(
        &self,
        source: &mut dyn Read,
        whole: bool,
        tree: &mut Tree,
        done: &mut Unpacked,
    ) -> Result<(), Stop> {
        let mut tar = if whole { Tar::whole(source) } else { Tar::stretch(source) };
        let scanned = scan(&mut tar, self.cancel, |entry, body| {
            match config_path(&entry.path) {
                Err(reason) => done.leave_out(&entry.path, reason),
                Ok(None) => {
                    let top = entry.path.split(|byte| *byte == b'/').find(|part| !part.is_empty() && *part != b".");
                    if let Some(top) = top.filter(|_| done.beside.len() < MOST_NAMED) {
                        done.beside.insert(top[..top.len().min(NAME_MAX)].to_vec());
                    }
                }
                Ok(Some(path)) => {
                    done.seen += 1;
                    note_unread(&mut done.content, path, entry.kind.into(), entry.size, &entry.link);
                    done.nearest.consider(path);
                    self.entry(entry, path, body, tree, done)?;
                }
            }
            Ok(Flow::Continue(()))
        });
        scanned.map(drop)
    }

    fn entry(
        &self,
        entry: &Entry,
        path: &[u8],
        body: &mut BodyReader<'_, Tar<&mut dyn Read>>,
        tree: &mut Tree,
        done: &mut Unpacked,
    ) -> Result<(), Stop> {
        let meta = Meta { mode: entry.mode, mtime: entry.mtime };
        let wanted = self.selection.wants(path);
        if wanted {
            self.selection.note(path, &mut done.fitting);
        }
        if path.is_empty() {
            if entry.kind == EntryKind::Directory {
                done.root_mode = Some(entry.mode);
            } else {
                done.leave_out(&entry.path, "the config directory itself is not stored as a directory");
            }
            return Ok(());
        }
        if wanted {
            self.take(entry, done)?;
        }
        let result = match entry.kind {
            EntryKind::Directory => tree.directory(path, meta, !wanted),
            _ if !wanted => return Ok(()),
            EntryKind::File => return self.file(entry, path, body, tree, done),
            EntryKind::Symlink => tree.symlink(path, &entry.link, entry.mtime),
            EntryKind::HardLink => match config_path(&entry.link) {
                Ok(Some(target)) => tree.hard_link(path, target),
                _ => Err(Obstacle::Refused("a hard link to something outside the config directory".into())),
            },
            EntryKind::Fifo => Err(Obstacle::Refused("a named pipe".into())),
            EntryKind::Char | EntryKind::Block => Err(Obstacle::Refused("a device".into())),
            EntryKind::GnuSparse => Err(Obstacle::Refused("a GNU sparse file".into())),
            EntryKind::Other(_) => Err(Obstacle::Refused("of an unknown kind".into())),
        };
        match result {
            Ok(()) => done.entries += u64::from(wanted),
            Err(obstacle) => settle(obstacle, &entry.path, wanted, done)?,
        }
        Ok(())
    }

    /// Notes what a member takes on the disk, before it is written.
    fn take(&self, entry: &Entry, done: &mut Unpacked) -> Result<(), Stop> {
        let content = if entry.kind == EntryKind::File { entry.size } else { 0 };
        done.taken = done.taken.saturating_add(on_disk(content));
        match self.most {
            Some(most) if done.taken > most => Err(Stop::TooLarge { most }),
            _ => Ok(()),
        }
    }

    fn file(
        &self,
        entry: &Entry,
        path: &[u8],
        body: &mut BodyReader<'_, Tar<&mut dyn Read>>,
        tree: &mut Tree,
        done: &mut Unpacked,
    ) -> Result<(), Stop> {
        let mut file = match tree.file(path, entry.size) {
            Ok(file) => file,
            Err(obstacle) => return settle(obstacle, &entry.path, true, done),
        };
        let mut checker = None;
        loop {
            let bytes = body.next()?;
            if bytes.is_empty() {
                break;
            }
            if self.check_databases && file.written() == 0 && livesqlite::is_database(bytes) {
                checker = Some(ImageChecker::new());
            }
            if let Some(checker) = &mut checker {
                checker.push(bytes);
            }
            file.write_all(bytes).map_err(|source| Stop::Target { member: shown(&entry.path), source })?;
        }
        let written = file.written();
        let closed = tree.close(file, Meta { mode: entry.mode, mtime: entry.mtime });
        match closed {
            Ok(()) => {}
            Err(obstacle) => return settle(obstacle, &entry.path, true, done),
        }
        for problem in checker.map(ImageChecker::finish).unwrap_or_default().into_iter().take(3) {
            done.warnings.push(format!("the database {} is damaged: {problem}", shown(path)));
        }
        done.entries += 1;
        done.bytes += written;
        Ok(())
    }
}

/// What a file, directory or link with so much content takes on a disk, with its entry.
pub(crate) fn on_disk(content: u64) -> u64 {
    const BLOCK: u64 = 4096;
    content.checked_next_multiple_of(BLOCK).and_then(|blocks| blocks.checked_add(BLOCK / 8)).unwrap_or(u64::MAX)
}

fn settle(obstacle: Obstacle, path: &[u8], wanted: bool, done: &mut Unpacked) -> Result<(), Stop> {
    match obstacle {
        Obstacle::Refused(reason) => {
            if wanted {
                done.leave_out(path, reason);
            }
            Ok(())
        }
        Obstacle::Io(source) => Err(Stop::Target { member: shown(path), source }),
    }
}

/// The path below the config directory; `None` for members beside it, which only the Supervisor understands.
pub(crate) fn config_path(path: &[u8]) -> Result<Option<&[u8]>, &'static str> {
    if path.first() == Some(&b'/') {
        return Err("an absolute name");
    }
    if path.split(|byte| *byte == b'/').any(|part| part == b"..") {
        return Err("a name with .. in it");
    }
    let mut rest = path;
    loop {
        let (part, after) = match rest.iter().position(|byte| *byte == b'/') {
            Some(slash) => (&rest[..slash], &rest[slash + 1..]),
            None => (rest, &rest[rest.len()..]),
        };
        match part {
            b"" | b"." if !rest.is_empty() => rest = after,
            b"data" => return Ok(Some(strip_slashes(after))),
            _ => return Ok(None),
        }
    }
}

fn strip_slashes(mut path: &[u8]) -> &[u8] {
    while let Some(rest) = path.strip_prefix(b"/").or_else(|| path.strip_prefix(b"./")) {
        path = rest;
    }
    path
}
