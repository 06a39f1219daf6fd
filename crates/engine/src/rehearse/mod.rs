//! Proof that an archive restores: it is restored, and what came out is looked at.
//!
//! The restore is the real one, into a scratch directory. If that is not possible, the same look is taken at what
//! passes in memory. Whether Home Assistant itself starts from it is for the caller to try ([`Boot`]).
//!
//! | module | owns |
//! |---|---|
//! | `scratch` | the directory that is unpacked into, and that nothing of it stays |
//! | `tree` | that directory, gone through as an archive is |
//! | `look` | everything that is checked, whichever way it comes |
//! | `stored` | what Home Assistant's own files say |
//! | `counts` | numbers to be compared with those of the next archive |
//! | `report` | the result, and the sentence about it |

mod counts;
mod look;
mod report;
mod scratch;
mod stored;
mod tree;

use std::{
    io,
    num::NonZeroUsize,
    path::{Path, PathBuf},
    sync::Arc,
    time::Instant,
};

use habackup::{
    manifest::{Manifest, Stamp, WallTime},
    securetar::Password,
};
use jiff::Timestamp;
use store::Cancellation;

pub use counts::{Counts, Difference};
pub use look::Database;
pub use report::{Booted, Finding, Rehearsal, Way};

use crate::{
    backup::free_space,
    progress::{Phase, Progress},
    read::{ArchiveSource, Broken, Member, OpenError, Opened, scan::Stopped, scan::Tar},
    restore::{RestoreError, RestoreOptions, config_path, on_disk, restore},
    text::{in_units, plain, shown},
    verdict::{Judgement, Verdict},
};
use look::{Looked, Seen, look, look_at_tree};
use scratch::Scratch;

/// What a scratch directory is called in the directory of scratch directories.
const CONFIG: &str = "config";

/// The options of a rehearsal.
#[derive(Clone)]
pub struct RehearseOptions {
    /// Where scratch directories are made.
    pub scratch: PathBuf,
    /// No more than so many bytes are unpacked there.
    pub max_size: u64,
    /// Unpacks nothing, starts nothing, and checks what passes in memory.
    pub in_memory: bool,
    /// Leaves the unpacked configuration where it is.
    pub keep_scratch: bool,
    /// Threads to inflate and decrypt on.
    pub threads: NonZeroUsize,
    /// Starts Home Assistant on the unpacked configuration.
    pub boot: Option<Arc<dyn Boot>>,
}

/// Starts Home Assistant on an unpacked configuration, waits until it runs, looks at it, and ends it.
pub trait Boot: Send + Sync {
    /// `config` is the configuration, which may be changed.
    fn boot(&self, config: &Path, progress: &Progress, cancel: &Cancellation) -> Result<Booted, BootError>;
}

/// Why Home Assistant could not even be tried: this says nothing of the archive.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct BootError {
    /// What happened, in one sentence.
    pub message: String,
    /// What to do about it.
    pub hint: String,
}

/// Why an archive could not be rehearsed.
#[derive(Debug, thiserror::Error)]
pub enum RehearseError {
    /// It can't be read at all.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// It holds no config directory.
    #[error("the archive holds no Home Assistant config directory")]
    NoConfig,
    /// The scratch directory.
    #[error("can't use {} as scratch space: {}", path.display(), plain(source))]
    Scratch {
        /// Where it was to be.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The scratch directory would be part of the next backup.
    #[error("{} is inside the config directory {}", path.display(), config.display())]
    InsideConfig {
        /// Where it was to be.
        path: PathBuf,
        /// The configuration around it.
        config: PathBuf,
    },
    /// Home Assistant can't be started on what is not unpacked.
    #[error("the archive can't be unpacked in {}: {why}", path.display())]
    DoesNotFit {
        /// Where.
        path: PathBuf,
        /// Why not.
        why: String,
    },
    /// Unpacking failed for another reason.
    #[error(transparent)]
    Restore(RestoreError),
    /// Home Assistant could not be tried.
    #[error(transparent)]
    Boot(#[from] BootError),
    /// The user stopped it.
    #[error("interrupted")]
    Cancelled,
}

/// What an archive says of itself.
struct Outside {
    description: Vec<u8>,
    stamp: Option<Stamp>,
    made: Option<Timestamp>,
    /// What unpacking takes on a disk, if that is known beforehand.
    on_disk: Option<u64>,
}

/// Restores `archive` for a test, and looks at what comes out.
pub fn rehearse(
    archive: &ArchiveSource,
    password: Option<&Password>,
    options: &RehearseOptions,
    progress: &Progress,
    cancel: &Cancellation,
) -> Result<Rehearsal, RehearseError> {
    let job = Job { archive, password, options, progress, cancel, started: Instant::now() };
    let report = |done, total| progress.report(done, total);
    let opened = Opened::open(archive, password, &report)?;
    let member = opened.outside.home_assistant().ok_or(RehearseError::NoConfig)?;
    let outside = outside(&opened, member);
    if options.in_memory {
        return job.in_memory(&opened, member, &outside, None);
    }
    let (most, limit) = job.space();
    let mut why =
        outside.on_disk.filter(|needed| *needed > most).map(|needed| format!("it takes {}, {limit}", in_units(needed)));
    if why.is_none() {
        why = match job.unpacked(most, &limit, &outside)? {
            Unpacked::Looked(rehearsal) => return Ok(*rehearsal),
            Unpacked::DoesNotFit(why) => Some(why),
        };
    }
    if options.boot.is_some() {
        return Err(RehearseError::DoesNotFit { path: options.scratch.clone(), why: why.unwrap_or_default() });
    }
    job.in_memory(&opened, member, &outside, why)
}

struct Job<'a> {
    archive: &'a ArchiveSource,
    password: Option<&'a Password>,
    options: &'a RehearseOptions,
    progress: &'a Progress,
    cancel: &'a Cancellation,
    started: Instant,
}

enum Unpacked {
    Looked(Box<Rehearsal>),
    /// And why.
    DoesNotFit(String),
}

impl Job<'_> {
    /// How many bytes may be unpacked, and the sentence about that.
    fn space(&self) -> (u64, String) {
        let there = self.options.scratch.ancestors().find(|path| path.exists());
        match there.and_then(free_space::available) {
            Some(free) if free < self.options.max_size => (free, format!("and {} may be used there", in_units(free))),
            _ => (self.options.max_size, format!("and the limit is {}", in_units(self.options.max_size))),
        }
    }

    fn unpacked(&self, most: u64, limit: &str, outside: &Outside) -> Result<Unpacked, RehearseError> {
        let scratch = Scratch::new(&self.options.scratch, self.options.keep_scratch)?;
        let config = scratch.path().join(CONFIG);
        let restore_options = RestoreOptions {
            password: self.password.cloned(),
            threads: self.options.threads,
            most: Some(most),
            ..RestoreOptions::default()
        };
        let report = |done, total| self.progress.report(done, total);
        let restored = match restore(self.archive.clone(), &config, &restore_options, &report, self.cancel) {
            Ok(restored) => restored,
            Err(RestoreError::Damaged { member, message }) => {
                let damage = if member.is_empty() { message } else { format!("at {member}: {message}") };
                return Ok(Unpacked::Looked(Box::new(self.damaged(Way::Unpacked, &damage))));
            }
            Err(RestoreError::TooLarge { .. }) => {
                return Ok(Unpacked::DoesNotFit(format!("it takes more than {}, {limit}", in_units(most))));
            }
            Err(RestoreError::NoSpace { .. }) => return Ok(Unpacked::DoesNotFit("the disk is full".to_owned())),
            Err(RestoreError::Cancelled) => return Err(RehearseError::Cancelled),
            Err(RestoreError::Open(error)) => return Err(error.into()),
            Err(RestoreError::NoConfig) => return Err(RehearseError::NoConfig),
            Err(RestoreError::Target { path, source }) => return Err(RehearseError::Scratch { path, source }),
            Err(error) => return Err(RehearseError::Restore(error)),
        };
        self.progress.begin(Phase::Checking, restored.bytes);
        let (seen, unreadable) = look_at_tree(&config, self.progress, self.cancel);
        self.go_on()?;
        let looked = seen.finish(outside);
        let mut rehearsal = self.report(Way::Unpacked, None, looked);
        (rehearsal.entries, rehearsal.bytes) = (restored.entries, restored.bytes);
        rehearsal.findings.extend(unreadable);
        rehearsal.findings.extend(restored.left_out.iter().map(|left| {
            let path = left.path.strip_prefix("data/").unwrap_or(&left.path);
            Finding::note(path, format!("it is not restored: {}", left.reason))
        }));
        if let Some(boot) = &self.options.boot {
            let booted = boot.boot(&config, self.progress, self.cancel);
            // Whatever came of it then is no verdict.
            self.go_on()?;
            rehearsal.booted = Some(booted?);
        }
        match scratch.finish() {
            Ok(kept) => rehearsal.kept = kept.map(|kept| kept.join(CONFIG)),
            Err(error) => rehearsal.findings.push(Finding::note(
                "",
                format!(
                    "the scratch directory in {} can't be removed: {}",
                    self.options.scratch.display(),
                    plain(&error)
                ),
            )),
        }
        Ok(Unpacked::Looked(Box::new(rehearsal.settled(self.started))))
    }

    fn in_memory(
        &self,
        opened: &Opened<'_>,
        member: &Member,
        outside: &Outside,
        why: Option<String>,
    ) -> Result<Rehearsal, RehearseError> {
        let (seen, damage) = self.read(opened, member)?;
        if damage.is_some() {
            // Unreadable bytes must not look like damage.
            opened.reached(self.archive)?;
        }
        if let Some(damage) = damage {
            return Ok(Rehearsal { instead: why, ..self.damaged(Way::InMemory, &damage) });
        }
        Ok(self.report(Way::InMemory, why, seen.finish(outside)).settled(self.started))
    }

    /// Reads the whole configuration, by the index if that is right. What is damaged, if anything is.
    fn read(&self, opened: &Opened<'_>, member: &Member) -> Result<(Seen, Option<String>), RehearseError> {
        let flag = self.cancel.flag();
        let pass = |reader: &mut dyn io::Read| {
            let (seen, read) = look(&mut Tar::whole(reader), self.cancel);
            let torn = match read {
                Err(Stopped::Broken(torn)) => {
                    let at = torn.last.map_or_else(String::new, |last| format!("at {}: ", shown(&last)));
                    Some(format!("{at}{}", torn.error))
                }
                Ok(()) | Err(Stopped::Cancelled) => None,
            };
            (seen, torn)
        };
        if let Some(index) = opened.index_of(member) {
            let read = opened.read_indexed(member, index, self.options.threads, flag, pass);
            self.go_on()?;
            // Where the two differ, either may be wrong.
            if let Ok(((seen, None), Ok(()))) = read {
                return Ok((seen, None));
            }
        }
        let read = opened.read_streaming(member, self.options.threads, flag, pass);
        self.go_on()?;
        match read {
            Ok(((seen, torn), rest)) => Ok((seen, torn.or_else(|| rest.err().map(|Broken(why)| why)))),
            Err(Broken(why)) => Ok((look(&mut Tar::whole(io::empty()), self.cancel).0, Some(why))),
        }
    }

    fn go_on(&self) -> Result<(), RehearseError> {
        if self.cancel.is_cancelled() { Err(RehearseError::Cancelled) } else { Ok(()) }
    }

    fn report(&self, way: Way, instead: Option<String>, looked: Looked) -> Rehearsal {
        let mut findings = looked.findings;
        if looked.has_strange_configuration {
            findings.push(Finding::against("configuration.yaml", "Haul can't parse it as YAML"));
        }
        Rehearsal {
            proved: false,
            way,
            instead,
            judgement: looked.judgement,
            counts: looked.counts,
            databases: looked.databases,
            findings,
            home_assistant: looked.version,
            booted: None,
            entries: looked.entries,
            bytes: looked.bytes,
            kept: None,
            seconds: self.started.elapsed().as_secs_f64(),
        }
    }

    fn damaged(&self, way: Way, damage: &str) -> Rehearsal {
        let mut judgement = Judgement::default();
        judgement.at_least(Verdict::Damaged);
        Rehearsal {
            proved: false,
            way,
            instead: None,
            judgement,
            counts: Counts::default(),
            databases: Vec::new(),
            findings: vec![Finding::against("", format!("the archive is damaged {damage}"))],
            home_assistant: None,
            booted: None,
            entries: 0,
            bytes: 0,
            kept: None,
            seconds: self.started.elapsed().as_secs_f64(),
        }
    }
}

fn outside(opened: &Opened<'_>, member: &Member) -> Outside {
    let manifest = opened.outside.manifest.as_ref();
    let on_disk = opened.index_of(member).map(|index| {
        let inside = index.files().filter(|file| matches!(config_path(&file.path), Ok(Some(_))));
        inside.fold(0_u64, |sum, file| sum.saturating_add(on_disk(file.size)))
    });
    Outside {
        description: opened.outside.manifest_text.clone(),
        stamp: manifest.and_then(Manifest::stamp),
        made: manifest.and_then(Manifest::date).and_then(|date| date.parse::<WallTime>().ok()?.timestamp()),
        on_disk,
    }
}
