//! Restores a config directory from an archive: into a new or empty directory, or in place of one that is kept.
//!
//! It first unpacks everything into a staging directory, reads the archive to its last checksum and syncs; only then
//! does a rename make it the target. A restore that fails leaves nothing behind; the next restore removes what a killed
//! one left.
//!
//! | module | owns |
//! |---|---|
//! | `select` | which members are wanted |
//! | `unpack` | what becomes of each member |
//! | `tree` | writing below one directory and nowhere else |
//! | `gentle` | writing without filling the page cache |
//! | `running` | whether a Home Assistant is at work in the target |
//! | `target`, `stage`, `swap` | the existing directory, the staging directory, the renames between them |
//! | `renames`, `intent` | moving names so that it can be taken back, also after a kill |

mod gentle;
mod intent;
mod renames;
mod running;
mod select;
mod stage;
mod swap;
mod target;
mod tree;
mod unpack;

use std::{
    io,
    num::NonZeroUsize,
    ops::Range,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
    time::Instant,
};

use habackup::{
    archive::MANIFEST,
    index::{Folder, Index},
    manifest::Manifest,
    readers::{Content, Description, content_findings},
    rules::{Pattern, PatternError},
    securetar::Password,
    settings::RECORDER,
};
use jiff::{Timestamp, tz::TimeZone};
use rustix::{
    fs::{AtFlags, CWD, Gid, Mode, Uid, chownat, fchmod, fchown},
    io::Errno,
};
use serde::Serialize;

use crate::{
    findings::Skipped,
    read::{ArchiveSource, Broken, Member, OpenError, Opened, ProgressFn, Shape, join},
    text::{plain, shown},
    verdict::{Judgement, Verdict},
};

pub(crate) use select::{Nearest, tidy};
pub use stage::remove_abandoned;
pub(crate) use stage::{is_stage, remove_tree};
pub(crate) use unpack::{config_path, on_disk};

use select::Selection;
use stage::Stage;
use store::Cancellation;
use swap::Swapped;
use target::{Now, Target};
use tree::{Filled, Meta, Tree};
use unpack::{Stop, Unpacked, Unpacker};

/// The options of a restore.
#[derive(Clone, Debug)]
pub struct RestoreOptions {
    /// Patterns on paths inside the config directory (`*` does not cross `/`, `**` does); a directory takes all below
    /// it. Empty: everything.
    pub only: Vec<String>,
    /// Only the recorder's database.
    pub database_only: bool,
    /// Replace a directory that is not empty. The old content is kept beside it. With `only` or `database_only`, only
    /// those files are replaced.
    pub replace: bool,
    /// With `replace`, also while Home Assistant seems to be running there.
    pub force: bool,
    /// User and group that own what is restored, which takes root. `None`: if root restores, the owner of the existing
    /// directory, or of the directory that will hold the new one.
    pub owner: Option<(u32, u32)>,
    /// For encrypted archives.
    pub password: Option<Password>,
    /// Threads to inflate and decrypt on.
    pub threads: NonZeroUsize,
    /// Stops as soon as this shows to take more bytes on the disk.
    pub most: Option<u64>,
    /// By whose clock the old content that is kept is named.
    pub zone: TimeZone,
}

/// Everything of an archive that is not encrypted, into a new or empty directory, on all cores.
impl Default for RestoreOptions {
    fn default() -> Self {
        Self {
            only: Vec::new(),
            database_only: false,
            replace: false,
            force: false,
            owner: None,
            password: None,
            threads: crate::all_cores(),
            most: None,
            zone: TimeZone::UTC,
        }
    }
}

/// A finished restore.
#[derive(Clone, Debug, Serialize)]
pub struct Restoration {
    /// The config directory, absolute.
    #[serde(serialize_with = "crate::text::serialize_path")]
    pub into: PathBuf,
    /// Where what was there before is kept; never removed by this program.
    #[serde(serialize_with = "crate::text::serialize_optional_path")]
    pub kept: Option<PathBuf>,
    /// Files, directories and links restored.
    pub entries: u64,
    /// Bytes of their content.
    pub bytes: u64,
    /// What could not be restored as the archive has it, and why.
    pub left_out: Vec<Skipped>,
    /// Patterns of `only` that nothing in the archive fits.
    pub unmatched: Vec<String>,
    /// Inner archives that do not belong to the config directory and were left alone.
    pub other_archives: Vec<String>,
    /// What the archive is worth; only that its bytes are damaged shows as an error.
    pub judgement: Judgement,
    /// What the user should know.
    pub warnings: Vec<String>,
    /// Whether the archive was encrypted.
    pub protected: bool,
    /// Whether the archive's index was used.
    pub used_index: bool,
    /// Whether the archive was read to its end and its checksum compared; not when an index let single files be
    /// fetched.
    pub checked_whole: bool,
    /// Wall-clock seconds.
    pub seconds: f64,
}

/// Why a restore failed. Nothing is left behind and nothing was changed, except for [`RestoreError::Stranded`] and
/// [`RestoreError::Unconfirmed`].
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The archive can't be read at all.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The archive holds no config directory.
    #[error("the archive holds no Home Assistant config directory")]
    NoConfig,
    /// The archive is damaged.
    #[error("the archive is damaged{}: {message}", at(member))]
    Damaged {
        /// Where the damage showed; empty when it is not in one member.
        member: String,
        /// What it is.
        message: String,
    },
    /// A pattern that can match nothing.
    #[error(transparent)]
    Pattern(#[from] PatternError),
    /// No member fits the patterns.
    #[error("nothing in the archive matches {}{}", .patterns.join(", "), offer(near))]
    NothingMatched {
        /// The patterns.
        patterns: Vec<String>,
        /// Names that are near.
        near: Vec<String>,
    },
    /// The target holds something.
    #[error("{} is not empty", .0.display())]
    NotEmpty(PathBuf),
    /// Somebody is at work in the directory that would be replaced.
    #[error("Home Assistant seems to be running in {}: {sign}", path.display())]
    Running {
        /// The directory.
        path: PathBuf,
        /// What shows it.
        sign: String,
    },
    /// What is there would be replaced by less.
    #[error("the archive is {headline}; Haul does not replace {} with it", path.display())]
    Less {
        /// The directory.
        path: PathBuf,
        /// What is missing in the archive.
        headline: String,
    },
    /// Only root may give files away.
    #[error("only root can restore files for user {uid}, group {gid}")]
    Owner {
        /// The user.
        uid: u32,
        /// The group.
        gid: u32,
    },
    /// The target is something else.
    #[error("{} is not a directory", path.display())]
    NotADirectory {
        /// The target.
        path: PathBuf,
    },
    /// Something is mounted in what would be moved.
    #[error("{} inside {}", mounted(mounts), path.display())]
    Mounts {
        /// The target.
        path: PathBuf,
        /// The mount points, absolute.
        mounts: Vec<PathBuf>,
    },
    /// There is a symbolic link on the way to the target.
    #[error("{} is a symbolic link, and Haul does not restore through one", path.display())]
    LinkInTheWay {
        /// The link.
        path: PathBuf,
    },
    /// The file system is full.
    #[error("there is not enough space for {what} in {}", path.display())]
    NoSpace {
        /// The directory.
        path: PathBuf,
        /// What did not fit.
        what: String,
    },
    /// It takes more space than was allowed.
    #[error("it takes more than {}", crate::text::in_units(*most))]
    TooLarge {
        /// Bytes.
        most: u64,
    },
    /// The target can't be written.
    #[error("can't write {}: {}", path.display(), plain(source))]
    Target {
        /// The directory or file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The swap failed halfway, and taking it back failed as well.
    #[error("can't move the restored files into {}: {}; and Haul could not put everything back as it \
        was", path.display(), plain(source))]
    Stranded {
        /// The directory.
        path: PathBuf,
        /// Where some or all of what was there before is now.
        kept: Option<PathBuf>,
        /// Why.
        source: io::Error,
    },
    /// The archive is restored, but the disk may not hold it yet.
    #[error("{} is restored, but the disk did not confirm the last step: {}", path.display(), plain(source))]
    Unconfirmed {
        /// The directory.
        path: PathBuf,
        /// Where what was there before is kept.
        kept: Option<PathBuf>,
        /// Why.
        source: io::Error,
    },
    /// The user stopped it.
    #[error("interrupted")]
    Cancelled,
}

fn at(member: &str) -> String {
    if member.is_empty() { String::new() } else { format!(" at {member}") }
}

/// As many as help somebody.
fn mounted(mounts: &[PathBuf]) -> String {
    const NAMED: usize = 3;
    let mut names: Vec<String> = mounts.iter().take(NAMED).map(|mount| mount.display().to_string()).collect();
    if mounts.len() > NAMED {
        names.push(format!("{} more", mounts.len() - NAMED));
    }
    match names.split_last() {
        Some((last, [])) => format!("{last} is mounted"),
        Some((last, others)) => format!("{} and {last} are mounted", others.join(", ")),
        None => "nothing is mounted".to_owned(),
    }
}

fn offer(near: &[String]) -> String {
    if near.is_empty() { String::new() } else { format!("; there is {}", near.join(", ")) }
}

/// Restores the config directory of `archive`, a path or something far away, into `into`.
pub fn restore(
    archive: impl Into<ArchiveSource>,
    into: &Path,
    options: &RestoreOptions,
    progress: ProgressFn<'_>,
    cancel: &Cancellation,
) -> Result<Restoration, RestoreError> {
    let source = archive.into();
    let started = Instant::now();
    let selection = selection(options)?;
    let mut target = Target::look(into)?;
    let mut said = Vec::new();
    if nobody_at_work(&target, options).is_ok() {
        said = stage::put_right(target.beside(), &target.name_beside())
            .map_err(|source| RestoreError::Target { path: into.to_owned(), source })?;
        target = Target::look(into)?;
    }
    allows(&target, &selection, into, options)?;
    let owner = owner(&target, options)?;
    let opened = Opened::open(&source, options.password.as_ref(), progress)?;
    let job = Job { opened: &opened, options, selection: &selection, target: &target, owner, cancel };
    let member = opened.outside.home_assistant().ok_or(RestoreError::NoConfig)?;
    let stage = Stage::new(target.beside()).map_err(|source| job.target_failed(String::new(), source))?;
    let unpacked = job.unpack(member, &stage);
    // Checked before anything is moved to its final name, too: half of one archive and half of another may fit by
    // chance.
    opened.reached(&source)?;
    let result = unpacked?;
    job.no_less_than_before(&result.done.content)?;
    let swapped = job.install(&stage, &result)?;
    drop(stage);
    let mut report = job.report(member, result, swapped, started);
    report.warnings.splice(0..0, said);
    Ok(report)
}

/// Whether a restore into `into` can begin, as far as the directory says.
pub fn check(into: &Path, options: &RestoreOptions) -> Result<(), RestoreError> {
    allows(&Target::look(into)?, &selection(options)?, into, options)
}

fn allows(target: &Target, selection: &Selection, into: &Path, options: &RestoreOptions) -> Result<(), RestoreError> {
    if target.now == Now::Filled && !options.replace {
        return Err(RestoreError::NotEmpty(into.to_owned()));
    }
    nobody_at_work(target, options)?;
    if target.now == Now::Filled && selection.is_everything() {
        target.any_mounts_in_the_way()?;
    }
    Ok(())
}

/// Refuses to replace what somebody is at work in.
fn nobody_at_work(target: &Target, options: &RestoreOptions) -> Result<(), RestoreError> {
    if target.now != Now::Filled || options.force {
        return Ok(());
    }
    running::sign_of_life(&target.path)
        .map_or(Ok(()), |sign| Err(RestoreError::Running { path: target.path.clone(), sign }))
}

/// Whom everything is given to, if that is somebody else.
fn owner(target: &Target, options: &RestoreOptions) -> Result<Option<(Uid, Gid)>, RestoreError> {
    let ours = (rustix::process::geteuid(), rustix::process::getegid());
    let wanted = options.owner.map_or(target.owner, |(uid, gid)| (Uid::from_raw(uid), Gid::from_raw(gid)));
    match options.owner {
        _ if wanted == ours => Ok(None),
        _ if ours.0.is_root() => Ok(Some(wanted)),
        Some((uid, gid)) => Err(RestoreError::Owner { uid, gid }),
        None => Ok(None),
    }
}

fn selection(options: &RestoreOptions) -> Result<Selection, PatternError> {
    if options.database_only {
        return Ok(Selection::Database);
    }
    if options.only.is_empty() {
        return Ok(Selection::Everything);
    }
    options
        .only
        .iter()
        .map(|pattern| Pattern::new(pattern.as_bytes()))
        .collect::<Result<_, _>>()
        .map(Selection::Fitting)
}

struct Job<'a> {
    opened: &'a Opened<'a>,
    options: &'a RestoreOptions,
    selection: &'a Selection,
    target: &'a Target,
    owner: Option<(Uid, Gid)>,
    cancel: &'a Cancellation,
}

/// What came of reading an inner archive: of unpacking it, then of the bytes below the tar.
type Read = Result<(Result<(), Stop>, Result<(), Broken>), Broken>;

/// Directories on the way to what is wanted, as the index describes them.
type Folders = Vec<(Vec<u8>, Folder)>;

/// The result of unpacking, before it is moved to its final name.
struct Outcome {
    done: Unpacked,
    /// The file system's error.
    written: Filled,
    used_index: bool,
    checked_whole: bool,
}

impl Job<'_> {
    fn target_failed(&self, what: String, source: io::Error) -> RestoreError {
        let full = [Errno::NOSPC, Errno::DQUOT].map(|errno| Some(errno.raw_os_error()));
        let path = self.target.path.clone();
        if full.contains(&source.raw_os_error()) {
            let what = if what.is_empty() { "the config directory".to_owned() } else { what };
            return RestoreError::NoSpace { path, what };
        }
        RestoreError::Target { path, source }
    }

    /// Unpacks by the best way there is. An index that turns out to be wrong costs a second try without it.
    fn unpack(&self, member: &Member, stage: &Stage) -> Result<Outcome, RestoreError> {
        if let Some(index) = self.opened.index_of(member) {
            let tried = if self.selection.is_everything() {
                self.whole(member, Some(index), stage)
            } else {
                self.by_ranges(member, index, stage)
            };
            match tried {
                Err(RestoreError::Damaged { .. }) => {
                    stage.reset().map_err(|source| self.target_failed(String::new(), source))?;
                }
                other => return other,
            }
        }
        self.whole(member, None, stage)
    }

    fn tree(&self, stage: &Stage) -> Result<Tree, RestoreError> {
        let root = stage.tree().map_err(|source| self.target_failed(String::new(), source))?;
        Ok(Tree::new(root, self.owner, !stage.sync_tells_all()))
    }

    fn unpacker(&self, check_databases: bool) -> Unpacker<'_> {
        Unpacker { selection: self.selection, cancel: self.cancel, check_databases, most: self.options.most }
    }

    /// All of a member: on all threads by the index, or as a stream.
    fn whole(&self, member: &Member, index: Option<&Index>, stage: &Stage) -> Result<Outcome, RestoreError> {
        let stop = AtomicBool::new(false);
        let mut tree = self.tree(stage)?;
        let mut done = Unpacked { nearest: self.nearest(), ..Unpacked::default() };
        let unpack = |reader: &mut dyn std::io::Read| {
            let result = self.unpacker(false).run(reader, true, &mut tree, &mut done);
            stop.store(result.is_err(), Ordering::Relaxed);
            result
        };
        let read = match index {
            Some(index) => self.opened.read_indexed(member, index, self.options.threads, &stop, unpack),
            None => self.opened.read_streaming(member, self.options.threads, &stop, unpack),
        };
        self.settle(read, member)?;
        if done.seen == 0 {
            return Err(RestoreError::NoConfig);
        }
        let outcome = self.finish(tree, done, index.is_some(), true)?;
        if outcome.done.entries == 0 && outcome.done.left_out.is_empty() && !self.selection.is_everything() {
            return Err(self.nothing_matched(outcome.done.nearest));
        }
        Ok(outcome)
    }

    /// Only the stretches of the archive that hold what is wanted.
    fn by_ranges(&self, member: &Member, index: &Index, stage: &Stage) -> Result<Outcome, RestoreError> {
        let mut nearest = self.nearest();
        let (ranges, folders) = self.ranges(index, &mut nearest);
        if ranges.is_empty() {
            return Err(self.nothing_matched(nearest));
        }
        let mut tree = self.tree(stage)?;
        let mut done = Unpacked::default();
        for (path, Folder { mode, mtime }) in folders {
            if path.is_empty() {
                done.root_mode = Some(mode);
            } else {
                // What can't be a directory's name can't be a wanted file's either.
                let _ = tree.directory(&path, Meta { mode, mtime }, true);
            }
        }
        let inner = self.opened.ranges(member, index).map_err(|broken| damaged(member, broken))?;
        let read = inner.each(
            &ranges,
            |error| Stop::Archive { member: String::new(), error },
            |reader, _| self.unpacker(true).run(reader, false, &mut tree, &mut done),
        );
        self.settle(Ok((read, Ok(()))), member)?;
        if done.entries == 0 {
            // The index says that there is something.
            return Err(RestoreError::Damaged { member: String::new(), message: "the index is wrong".into() });
        }
        self.finish(tree, done, true, false)
    }

    /// Stretches of the inner tar to read, neighbours joined, and the modes of the directories on the way. An older
    /// index does not know those: then they are read from the tar.
    fn ranges(&self, index: &Index, nearest: &mut Nearest) -> (Vec<Range<u64>>, Folders) {
        let mut wanted = Vec::new();
        let mut folders = Vec::new();
        let mut parents: Vec<(Vec<u8>, Range<u64>, Option<Folder>)> = Vec::new();
        for file in index.files() {
            let Ok(Some(path)) = config_path(&file.path) else { continue };
            let end = file.data_offset + file.size + habackup::tar::padding(file.size) as u64;
            let range = file.header_offset..end;
            parents.retain(|(parent, ..)| {
                parent.is_empty() || (path.starts_with(parent) && path.get(parent.len()) == Some(&b'/'))
            });
            if self.selection.wants(path) {
                for (parent, range, folder) in parents.drain(..) {
                    match folder {
                        Some(folder) => folders.push((parent, folder)),
                        None => wanted.push(range),
                    }
                }
                wanted.push(range);
            } else if file.kind == habackup::tar::Kind::Directory {
                parents.push((path.to_vec(), range, file.folder));
            }
            nearest.consider(path);
        }
        (join(wanted), folders)
    }

    fn nearest(&self) -> Nearest {
        Nearest::new(self.patterns().into_iter().map(String::into_bytes))
    }

    fn patterns(&self) -> Vec<String> {
        if self.options.database_only {
            vec![String::from_utf8_lossy(RECORDER).into_owned()]
        } else {
            self.options.only.clone()
        }
    }

    fn nothing_matched(&self, nearest: Nearest) -> RestoreError {
        RestoreError::NothingMatched { patterns: self.patterns(), near: nearest.names() }
    }

    fn settle(&self, read: Read, member: &Member) -> Result<(), RestoreError> {
        let (unpacked, rest) = read.map_err(|broken| damaged(member, broken))?;
        match unpacked {
            Ok(()) => rest.map_err(|broken| damaged(member, broken)),
            Err(Stop::Cancelled) => Err(RestoreError::Cancelled),
            Err(Stop::TooLarge { most }) => Err(RestoreError::TooLarge { most }),
            Err(Stop::Archive { member, error }) => Err(RestoreError::Damaged { member, message: error.to_string() }),
            Err(Stop::Target { member, source }) => Err(self.target_failed(member, source)),
        }
    }

    fn finish(
        &self,
        tree: Tree,
        mut done: Unpacked,
        used_index: bool,
        checked_whole: bool,
    ) -> Result<Outcome, RestoreError> {
        let mut written = tree.finish().map_err(|source| self.target_failed(String::new(), source))?;
        for (path, reason) in std::mem::take(&mut written.refusals) {
            done.entries = done.entries.saturating_sub(1);
            done.leave_out(&path, reason);
        }
        Ok(Outcome { done, written, used_index, checked_whole })
    }

    /// An archive without users, settings or history replaces a whole directory only if the user says so.
    fn no_less_than_before(&self, content: &Content) -> Result<(), RestoreError> {
        if self.target.now != Now::Filled || self.options.force {
            return Ok(());
        }
        let judgement = self.judge(content);
        if judgement.essential {
            return Err(RestoreError::Less { path: self.target.path.clone(), headline: judgement.headline() });
        }
        Ok(())
    }

    fn install(&self, stage: &Stage, outcome: &Outcome) -> Result<Swapped, RestoreError> {
        let failed = |source| self.target_failed(String::new(), source);
        let root = stage.tree().map_err(failed)?;
        // Where owners or modes are not kept, that was noted with the files.
        if let Some((uid, gid)) = self.owner {
            let _ = fchown(&root, Some(uid), Some(gid));
        }
        let mode = self.target.mode.or(outcome.done.root_mode).unwrap_or(0o755);
        let _ = fchmod(&root, Mode::from_raw_mode(mode & 0o777));
        let on_disk = stage.sync().map_err(failed)?;
        if self.cancel.is_cancelled() {
            return Err(RestoreError::Cancelled);
        }
        // It may have been started since the first look.
        nobody_at_work(self.target, self.options)?;
        if self.target.now == Now::Filled && self.selection.is_everything() {
            self.target.any_mounts_in_the_way()?;
        }
        let now = Timestamp::now().to_zoned(self.options.zone.clone()).strftime("%Y-%m-%d_%H.%M.%S").to_string();
        let swapped = if self.target.now == Now::Filled && !self.selection.is_everything() {
            swap::parts(stage, self.target, &now)
        } else {
            swap::whole(stage, self.target, &now)
        }?;
        // A mount point stays itself in a swap; its owner changes only when the user says so.
        if let (true, Some((uid, gid))) =
            (self.target.inside && self.selection.is_everything() && self.options.owner.is_some(), self.owner)
        {
            let _ = chownat(CWD, &self.target.path, Some(uid), Some(gid), AtFlags::empty());
        }
        Ok(Swapped { confirmed: swapped.confirmed && on_disk && outcome.written.confirmed, ..swapped })
    }

    fn unmatched(&self, done: &Unpacked) -> Vec<String> {
        let patterns = self.options.only.iter().enumerate().filter(|_| !self.options.database_only);
        patterns
            .filter(|(number, _)| !done.fitting.contains(number))
            .map(|(_, pattern)| shown(pattern.as_bytes()))
            .collect()
    }

    fn owner_note(&self) -> Option<String> {
        let (uid, gid) = self.owner?;
        let why = match self.options.owner {
            Some(_) => "as --owner says".to_owned(),
            None => format!("like {}; --owner UID:GID changes that", self.target.model().display()),
        };
        Some(format!("the restored files belong to user {}, group {}, {why}", uid.as_raw(), gid.as_raw()))
    }

    fn report(&self, member: &Member, outcome: Outcome, swapped: Swapped, started: Instant) -> Restoration {
        let Outcome { done, written, used_index, checked_whole } = outcome;
        let unmatched = self.unmatched(&done);
        let mut warnings = done.warnings;
        if done.left_out_unnamed > 0 {
            warnings.push(format!("{} more entries were left out and are not listed", done.left_out_unnamed));
        }
        if written.keeps_metadata {
            warnings.extend(self.owner_note());
        } else {
            warnings.push("the target's file system does not keep owners or modes".to_owned());
        }
        if !swapped.confirmed {
            warnings.push(
                "the target's file system can't confirm that everything is on the disk; wait a while before \
                you switch it off"
                    .to_owned(),
            );
        }
        let judgement = self.judge(&done.content);
        if judgement.verdict != Verdict::Whole {
            warnings.insert(0, format!("the archive is {}", judgement.headline()));
        }
        let others = self.opened.outside.inner().filter(|other| other.name != member.name);
        Restoration {
            into: self.target.path.clone(),
            kept: swapped.kept,
            entries: done.entries,
            bytes: done.bytes,
            left_out: done.left_out,
            unmatched,
            other_archives: others.map(|other| other.name.clone()).collect(),
            judgement,
            warnings,
            protected: member.shape == Shape::Encrypted,
            used_index,
            checked_whole,
            seconds: started.elapsed().as_secs_f64(),
        }
    }
}

impl Job<'_> {
    /// What of a whole configuration is not restored. Nobody expects all of it of a part.
    fn judge(&self, content: &Content) -> Judgement {
        if !self.selection.is_everything() {
            return Judgement::default();
        }
        let outside = &self.opened.outside;
        let found = content_findings(content, Some(&Description::parse(MANIFEST, &outside.manifest_text)));
        Judgement::of(&found, outside.manifest.as_ref().and_then(Manifest::stamp).as_ref())
    }
}

fn damaged(member: &Member, Broken(message): Broken) -> RestoreError {
    RestoreError::Damaged { member: member.name.clone(), message }
}
