//! One backup, from the look around to the final name.

use std::{
    fmt::Write as _,
    fs::File,
    io::{self, Read},
    num::NonZeroUsize,
    path::{Path, PathBuf},
    sync::{Arc, atomic::AtomicBool},
};

use habackup::securetar::Password;
use jiff::Zoned;
use pargz::Level;
use sha2::{Digest, Sha256};
use store::{
    Expected, Kind,
    outbound::{Network, Outbound, Target},
};

use crate::{
    away::{self, Choice},
    destination::{self, Destination},
    error::{BackupError, plain},
    intent::Intent,
    layout::{Ended, Work, write_archive},
    measure::Measured,
    page_cache::CacheGuard,
    pipeline::Output,
    plan::Plan,
    progress::{Phase, Progress},
    report::{ArchiveReport, BackupReport, CopyReport, Findings, Status},
};

/// Which encryption format to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecureTar {
    /// By Home Assistant's version.
    Auto,
    /// Read by every Home Assistant.
    V2,
    /// Read by Home Assistant 2026.3 and later.
    V3,
}

/// Which machine compresses and encrypts, where the destination is another one that can.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compress {
    /// This one.
    Here,
    /// The other one.
    There,
    /// Whichever makes the backup faster, by measured rates.
    Auto,
}

/// What is backed up, how, and where to.
#[expect(clippy::struct_excessive_bools, reason = "each is an independent yes or no of the user")]
#[derive(Debug)]
pub struct BackupOptions {
    /// Home Assistant's config directory.
    pub config: PathBuf,
    /// Where to; all of them get the same archive.
    pub destinations: Vec<Destination>,
    /// The backup's name in Home Assistant; `None` for the usual one.
    pub name: Option<String>,
    /// Encrypts when given.
    pub password: Option<Password>,
    /// Which encryption.
    pub securetar: SecureTar,
    /// Which machine compresses and encrypts.
    pub compress: Compress,
    /// Leaves the recorder's database out.
    pub exclude_database: bool,
    /// Patterns to leave out.
    pub exclude: Vec<String>,
    /// False: the inner archive is a plain tar.
    pub compressed: bool,
    /// How hard to compress.
    pub level: Level,
    /// Threads to work with; `None` for one per core.
    pub threads: Option<NonZeroUsize>,
    /// Home Assistant's version, when the directory does not say it.
    pub ha_version: Option<String>,
    /// Reads the finished archive again for its SHA-256, when one copy is a file of this machine.
    pub digest: bool,
    /// Reads every copy back and compares all of it; [`Destination::ReadBack`] says it of one.
    pub read_back: bool,
    /// The moment of the backup, in the zone its name shall show.
    pub now: Zoned,
}

/// No installation compresses better than to this part of itself: more room than that is certainly needed.
const MOST_SAVED: u64 = 8;
/// How often an archive is begun anew because the only place it goes to lost what it had got.
const BEGINNINGS: u32 = 5;

/// Makes one archive. Every copy that arrived stands under its final name, whole and checked, when this returns; of every other nothing is left, as far as its
/// place can be reached. An error means that no copy arrived. `network` may be missing when all destinations are paths.
pub fn backup(options: &BackupOptions, network: Option<&Network<'_>>, progress: &Arc<Progress>, cancel: &Arc<AtomicBool>) -> Result<BackupReport, BackupError> {
    livesqlite::check_library().map_err(|_| BackupError::Library)?;
    let mut begun = 1;
    let mut road = Road { measured: None, holds_writers: false };
    let choice = away::choose(options, network, cancel)?;
    loop {
        let attempted = match &choice {
            Choice::There(there) => there.0.attempt(options, progress, cancel),
            Choice::Here(_) => attempt(options, network, &mut road, progress, cancel),
        };
        match attempted {
            Err(Ended::Failed(BackupError::Store(error))) if error.kind() == Some(Kind::Lost) && begun < BEGINNINGS => progress.restart(),
            Err(Ended::Stale) if begun < BEGINNINGS => {
                road = Road { measured: None, holds_writers: true };
                progress.restart();
            }
            Err(Ended::Stale) => return Err(BackupError::Pipeline("a database changed each time between measuring and sending".to_owned())),
            Err(Ended::Failed(error)) => return Err(error),
            Ok(report) => return Ok(choice.noted(report)),
        }
        begun += 1;
    }
}

/// What outlives an attempt: a source that was measured can be sent again.
struct Road {
    measured: Option<Measured>,
    holds_writers: bool,
}

fn attempt(
    options: &BackupOptions,
    network: Option<&Network<'_>>,
    road: &mut Road,
    progress: &Arc<Progress>,
    cancel: &Arc<AtomicBool>,
) -> Result<BackupReport, Ended> {
    let intent = Intent::of(options)?;
    let targets: Vec<Target> = options.destinations.iter().map(|destination| destination.target(&intent.file_name)).collect();
    let paths: Vec<PathBuf> = targets.iter().filter_map(destination::path).collect();
    let read_back: Vec<bool> = options.destinations.iter().map(|destination| options.read_back || destination.is_read_back()).collect();
    let mut outbound = Outbound::prepare_each(targets.into_iter().zip(read_back.iter().copied()).collect(), network.copied())?;
    let layout = intent.layout(options)?;
    let plan = |outbound: &Outbound| -> Result<Plan, BackupError> {
        let mut plan = intent.plan(outbound.identities(), cancel)?;
        for path in &paths {
            intent.warn_of_nesting(path, &mut plan);
        }
        Ok(plan)
    };
    let (work, expected) = if outbound.needs_sizes() || outbound.needs_length() {
        let measured = match road.measured.take() {
            Some(measured) => measured,
            None => layout.measure(plan(&outbound)?, road.holds_writers, progress, cancel)?,
        };
        let measured = road.measured.insert(measured);
        let lengths = layout.lengths(measured);
        progress.begin(Phase::Running, measured.tar_len());
        (Work::Measured(measured, lengths), Expected::exactly(lengths.total))
    } else {
        let plan = plan(&outbound)?;
        progress.begin(Phase::Running, plan.bytes);
        let expected = expected_of(plan.bytes, options.compressed);
        (Work::Once(Box::new(plan)), expected)
    };
    outbound.begin(expected)?;
    let output = Output::new(outbound, Arc::clone(progress));
    let made = write_archive(&layout, work, output, progress, cancel)?;
    progress.enter(Phase::Finishing);
    if read_back.contains(&true) {
        // Reading everything back takes long, and nobody's database shall wait for it; should the copy be lost that late, its source is measured anew.
        road.measured = None;
    }
    let copies = destination::settle(made.output.into_outbound().finish())?;
    let finished = Finished { bytes_in: made.bytes_in, length: made.length, findings: made.findings, copies, elsewhere: false };
    Ok(report(options, intent, finished, progress))
}

/// What is certain of an archive's length, from the length of what it is made of.
pub(crate) fn expected_of(bytes: u64, compressed: bool) -> Expected {
    let least = bytes / if compressed { MOST_SAVED } else { 2 };
    Expected { about: Some(bytes), least: Some(least), ..Expected::default() }
}

/// An archive that stands.
pub(crate) struct Finished {
    /// Bytes of the inner tar.
    pub(crate) bytes_in: u64,
    pub(crate) length: u64,
    pub(crate) findings: Findings,
    pub(crate) copies: Vec<CopyReport>,
    /// Another machine made it of what this one read.
    pub(crate) elsewhere: bool,
}

/// Everything the user is told.
pub(crate) fn report(options: &BackupOptions, intent: Intent, finished: Finished, progress: &Progress) -> BackupReport {
    let Finished { bytes_in, length, mut findings, copies, elsewhere } = finished;
    let protected = options.password.is_some();
    // What another machine encrypts takes no time here.
    let encrypted = protected && !elsewhere;
    let stages = progress.stages(encrypted);
    let limited_by = progress.limited_by(encrypted);
    let path = copies.iter().find_map(|copy| copy.path.clone());
    let sha256 = path.as_deref().filter(|_| options.digest).and_then(|path| {
        progress.enter(Phase::Rereading);
        // The archive stands: that it can't be read again is for the user to hear, not a reason to call it a failure.
        digest(path).map_err(|error| findings.warn(format!("the archive could not be read back for its SHA-256: {}", plain(&error)))).ok()
    });
    let status = if copies.iter().any(|copy| copy.error.is_some()) { Status::Incomplete } else { findings.status() };
    let entries = findings.entries;
    let (skipped, warnings, databases) = findings.into_lists();
    let slug = intent.manifest.slug().unwrap_or_default().to_owned();
    BackupReport {
        status,
        archive: ArchiveReport { file_name: intent.file_name, path, size_bytes: length, sha256, slug, name: intent.name, protected },
        copies,
        division: None,
        entries,
        bytes_in,
        seconds: progress.elapsed().as_secs_f64(),
        limited_by,
        stages,
        skipped,
        warnings,
        databases,
    }
}

/// One thread per core this process may use.
pub fn all_cores() -> NonZeroUsize {
    std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN)
}

/// SHA-256 of what is on the disk: the file was dropped from the page cache, so this reads it back from there.
fn digest(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let mut cache = CacheGuard::new(&file, file.metadata()?.len());
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    let mut position = 0;
    loop {
        let count = file.read(&mut buffer)?;
        if count == 0 {
            break;
        }
        hasher.update(&buffer[..count]);
        position += count as u64;
        cache.passed(&file, position);
    }
    Ok(hasher.finalize().iter().fold(String::with_capacity(64), |mut text, byte| {
        // Writing to a string can't fail.
        let _ = write!(text, "{byte:02x}");
        text
    }))
}
