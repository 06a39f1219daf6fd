//! One backup, from the look around to the final name.

use std::{
    fmt::Write as _,
    fs::{self, File},
    io::{self, Read, Write},
    num::NonZeroUsize,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use habackup::{
    index::Pieces,
    manifest::{self, Draft, Manifest, WallTime},
    outer::{Outer, OuterError},
    rules::Rules,
    securetar::{Encryptor, Keys, Password, SIZE_FIELD_OFFSET, SecureTarError, SecureTarVersion},
    version::HaVersion,
};
use jiff::Zoned;
use pargz::{CompressError, Level, PieceTable};
use sha2::{Digest, Sha256};
use store::{
    Expected, Kind,
    outbound::{Network, Outbound, Target},
};

use crate::{
    destination::{self, Destination},
    error::{BackupError, plain},
    measure::{self, Lengths, Measured},
    page_cache::CacheGuard,
    pipeline::{self, InnerSink, Output},
    plan::{self, Plan},
    progress::{Phase, Progress},
    report::{ArchiveReport, BackupReport, Findings, Status},
    source::{Gathered, TarSource},
};

/// Home Assistant finds it under exactly this name.
const MANIFEST: &str = "./backup.json";
/// The last member: where everything in the inner archive is.
const INDEX: &str = "haul.index";

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
    /// Reads every copy back and compares all of it.
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
    loop {
        match attempt(options, network, &mut road, progress, cancel) {
            Err(Ended::Failed(BackupError::Store(error))) if error.kind() == Some(Kind::Lost) && begun < BEGINNINGS => progress.restart(),
            Err(Ended::Stale) if begun < BEGINNINGS => {
                road = Road { measured: None, holds_writers: true };
                progress.restart();
            }
            Err(Ended::Stale) => return Err(BackupError::Pipeline("a database changed each time between measuring and sending".to_owned())),
            Err(Ended::Failed(error)) => return Err(error),
            Ok(report) => return Ok(report),
        }
        begun += 1;
    }
}

/// What outlives an attempt: a source that was measured can be sent again.
struct Road {
    measured: Option<Measured>,
    holds_writers: bool,
}

/// Why an attempt ended without an archive.
enum Ended {
    Failed(BackupError),
    /// What was measured is no longer so.
    Stale,
}

impl<E: Into<BackupError>> From<E> for Ended {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

fn attempt(
    options: &BackupOptions,
    network: Option<&Network<'_>>,
    road: &mut Road,
    progress: &Arc<Progress>,
    cancel: &Arc<AtomicBool>,
) -> Result<BackupReport, Ended> {
    let root = config_root(&options.config)?;
    let version = plan::version(&root, options.ha_version.as_deref())?;
    let date = WallTime::from(&options.now);
    let name = options.name.clone().unwrap_or_else(|| format!("Haul backup {version}"));
    let manifest = describe(options, &name, date, &version)?;
    let rules = rules(options)?;
    let file_name = manifest::file_name(&name, &date);
    let targets: Vec<Target> = options.destinations.iter().map(|destination| destination.target(&file_name)).collect();
    let paths: Vec<PathBuf> = targets.iter().filter_map(destination::path).collect();
    let mut outbound = Outbound::prepare(targets, network.copied(), options.read_back)?;
    let layout = Layout { options, version: &version, json: manifest.to_json() };
    let plan = |outbound: &Outbound| -> Result<Plan, BackupError> {
        let mut plan = plan::plan(&root, rules, outbound.identities(), cancel)?;
        for path in &paths {
            warn_of_nesting(&root, path, &mut plan);
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
        let least = plan.bytes / if options.compressed { MOST_SAVED } else { 2 };
        let expected = Expected { about: Some(plan.bytes), least: Some(least), ..Expected::default() };
        (Work::Once(Box::new(plan)), expected)
    };
    outbound.begin(expected)?;
    let output = Output::new(outbound, Arc::clone(progress));
    let made = write_archive(&layout, work, output, progress, cancel)?;
    progress.enter(Phase::Finishing);
    if options.read_back {
        // Reading everything back takes long, and nobody's database shall wait for it; should the copy be lost that late, its source is measured anew.
        road.measured = None;
    }
    let copies = destination::settle(made.output.into_outbound().finish())?;

    let encrypted = options.password.is_some();
    let stages = progress.stages(encrypted);
    let limited_by = progress.limited_by(encrypted);
    let mut findings = made.findings;
    let path = copies.iter().find_map(|copy| copy.path.clone());
    let sha256 = path.as_deref().filter(|_| options.digest).and_then(|path| {
        progress.enter(Phase::Rereading);
        // The archive stands: that it can't be read again is for the user to hear, not a reason to call it a failure.
        digest(path).map_err(|error| findings.warn(format!("the archive could not be read back for its SHA-256: {}", plain(&error)))).ok()
    });
    let status = if copies.iter().any(|copy| copy.error.is_some()) { Status::Incomplete } else { findings.status() };
    let (entries, length) = (findings.entries, made.length);
    let (skipped, warnings, databases) = findings.into_lists();
    Ok(BackupReport {
        status,
        archive: ArchiveReport {
            file_name,
            path,
            size_bytes: length,
            sha256,
            slug: manifest.slug().unwrap_or_default().to_owned(),
            name,
            protected: encrypted,
        },
        copies,
        entries,
        bytes_in: made.bytes_in,
        seconds: progress.elapsed().as_secs_f64(),
        limited_by,
        stages,
        skipped,
        warnings,
        databases,
    })
}

/// An archive that is complete but for its name.
struct Made {
    output: Output,
    bytes_in: u64,
    length: u64,
    findings: Findings,
}

/// What of an archive is known before its source is read.
struct Layout<'a> {
    options: &'a BackupOptions,
    version: &'a HaVersion,
    json: Vec<u8>,
}

/// Where the inner archive comes from.
enum Work<'a> {
    /// From the source; its size is put in afterwards.
    Once(Box<Plan>),
    /// From a source that was measured; all sizes are announced.
    Measured(&'a mut Measured, Lengths),
}

impl Layout<'_> {
    fn inner_name(&self) -> &'static str {
        if self.options.compressed { "homeassistant.tar.gz" } else { "homeassistant.tar" }
    }

    fn mtime(&self) -> (i64, u32) {
        let now = self.options.now.timestamp();
        (now.as_second(), now.subsec_nanosecond().unsigned_abs())
    }

    /// `None`: not encrypted.
    fn container(&self) -> Option<SecureTarVersion> {
        self.options.password.as_ref().map(|_| container_version(self.options.securetar, self.version))
    }

    fn compression(&self) -> Option<pargz::Options> {
        let threads = self.options.threads.unwrap_or_else(all_cores);
        self.options.compressed.then_some(pargz::Options { level: self.options.level, threads })
    }

    fn measure(&self, plan: Plan, holds_writers: bool, progress: &Arc<Progress>, cancel: &Arc<AtomicBool>) -> Result<Measured, BackupError> {
        measure::measure(plan, self.inner_name(), self.compression(), holds_writers, progress, cancel).map_err(|error| match Broken::from(error) {
            Broken::Inside(reason) => BackupError::Pipeline(reason),
            // Nothing is written while measuring.
            Broken::Cancelled | Broken::Write(_) | Broken::Stale => BackupError::Cancelled,
        })
    }

    fn lengths(&self, measured: &Measured) -> Lengths {
        measured.lengths((MANIFEST, self.json.len() as u64), self.inner_name(), INDEX, self.container(), self.mtime())
    }
}

/// Lays the archive out; when that breaks, every copy is given up.
fn write_archive(layout: &Layout<'_>, work: Work<'_>, mut output: Output, progress: &Arc<Progress>, cancel: &Arc<AtomicBool>) -> Result<Made, Ended> {
    match lay_out(layout, work, &mut output, progress, cancel) {
        Ok((bytes_in, length, findings)) => Ok(Made { output, bytes_in, length, findings }),
        Err(broken) => {
            let failures = output.into_outbound().abort();
            Err(match broken {
                Broken::Stale => return Err(Ended::Stale),
                Broken::Cancelled => BackupError::Cancelled,
                Broken::Inside(reason) => BackupError::Pipeline(reason),
                Broken::Write(_) if cancel.load(Ordering::Relaxed) => BackupError::Cancelled,
                Broken::Write(source) => destination::all_failed(failures).unwrap_or_else(|| BackupError::Pipeline(plain(&source))),
            }
            .into())
        }
    }
}

/// `./backup.json`, the inner archive, the index. Gives the bytes of the inner tar, the archive's length, and what was found on the way.
fn lay_out(
    layout: &Layout<'_>,
    work: Work<'_>,
    output: &mut Output,
    progress: &Arc<Progress>,
    cancel: &Arc<AtomicBool>,
) -> Result<(u64, u64, Findings), Broken> {
    let outer = Outer::new(output, layout.mtime());
    let outer = outer.member(MANIFEST, &layout.json)?;
    let inner_name = layout.inner_name();
    let keys = match (&layout.options.password, layout.container()) {
        (Some(password), Some(version)) => Some(Keys::create(version, password)?),
        _ => None,
    };
    let announced = match &work {
        Work::Once(_) => None,
        Work::Measured(measured, lengths) => Some((measured.inner, *lengths)),
    };

    let mut member = match announced {
        Some((_, lengths)) => outer.begin_known(inner_name, lengths.member)?,
        None => outer.begin_late(inner_name)?,
    };
    let mut sink = match (&keys, announced) {
        (Some(keys), Some((inner, _))) => InnerSink::Sealed(Box::new(Encryptor::with_known_size(keys, inner, member)?)),
        (Some(keys), None) => {
            member.late(SIZE_FIELD_OFFSET, 8);
            InnerSink::Sealed(Box::new(Encryptor::with_keys(keys, member)?))
        }
        (None, _) => InnerSink::Plain(Box::new(member)),
    };
    let (bytes_in, findings, index, (outer, _)) = match work {
        Work::Once(plan) => {
            let mut source = TarSource::new(inner_name, &plan.scope, plan.first, plan.findings, Arc::clone(progress), Arc::clone(cancel));
            let pieces = if let Some(compression) = layout.compression() {
                progress.set_threads(compression.threads.get());
                Some(pipeline::compress(&mut source, &mut sink, &compression, progress, cancel)?)
            } else {
                pipeline::copy(&mut source, &mut sink, progress, cancel)?;
                None
            };
            let (member, nonces) = sink.finish(true)?;
            let bytes_in = source.position();
            let Gathered { findings, index } = source.finish();
            (bytes_in, findings, index.finish(pieces.map(index_pieces).as_ref(), &nonces), member.end()?)
        }
        Work::Measured(measured, _) => {
            let sent = measured.send(&mut sink, progress, cancel)?;
            let (member, nonces) = sink.finish(false)?;
            (measured.tar_len(), sent.findings, measured.index(sent.pieces.map(index_pieces).as_ref(), &nonces), member.end()?)
        }
    };
    let outer = outer.member(INDEX, &sealed(index, keys.as_ref())?)?;
    let (_, length) = outer.finish()?;
    match announced {
        Some((_, Lengths { total, .. })) if total != length => Err(Broken::Inside(format!("the archive has {length} bytes instead of {total}"))),
        _ => Ok((bytes_in, length, findings)),
    }
}

/// File names are private too: in an encrypted archive the index is a container of its own, opened by the same password.
fn sealed(index: Vec<u8>, keys: Option<&Keys>) -> Result<Vec<u8>, Broken> {
    let Some(keys) = keys else { return Ok(index) };
    let mut encryptor = Encryptor::with_keys(keys, Vec::with_capacity(index.len() + 4096))?;
    encryptor.write_all(&index)?;
    let (mut container, done) = encryptor.finish()?;
    let at = done.size_field_offset as usize;
    container[at..at + 8].copy_from_slice(&done.size_field());
    Ok(container)
}

fn index_pieces(table: PieceTable) -> Pieces {
    Pieces {
        piece_size: table.piece_size,
        restart_every: table.restart_every,
        header_len: table.header_len,
        lengths: table.lengths,
        bytes_in: table.bytes_in,
        crc32: table.crc32,
    }
}

fn container_version(choice: SecureTar, version: &HaVersion) -> SecureTarVersion {
    match choice {
        SecureTar::V3 => SecureTarVersion::V3,
        SecureTar::Auto if version.uses_securetar_v3() => SecureTarVersion::V3,
        SecureTar::Auto | SecureTar::V2 => SecureTarVersion::V2,
    }
}

/// The directory itself, whatever links led to it.
fn config_root(config: &Path) -> Result<PathBuf, BackupError> {
    let failed = |source| BackupError::Config { path: config.to_owned(), source };
    let root = fs::canonicalize(config).map_err(failed)?;
    if !root.is_dir() {
        return Err(BackupError::NotADirectory(config.to_owned()));
    }
    fs::read_dir(&root).map_err(failed)?;
    Ok(root)
}

fn rules(options: &BackupOptions) -> Result<Rules, BackupError> {
    let mut rules = Rules::new(!options.exclude_database);
    for pattern in &options.exclude {
        rules.exclude(pattern.as_bytes()).map_err(|error| BackupError::Pattern { pattern: pattern.clone(), reason: error.to_string() })?;
    }
    Ok(rules)
}

/// Core keeps its backups in `backups/` and leaves them out; anywhere else in the directory each archive would hold all earlier ones.
fn warn_of_nesting(root: &Path, archive: &Path, plan: &mut Plan) {
    let directory = archive.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let Ok(directory) = directory.canonicalize() else { return };
    let Ok(below) = directory.strip_prefix(root) else { return };
    if below != Path::new("backups") && plan.scope.rules.exclusion_with_parents(below.as_os_str().as_encoded_bytes()).is_none() {
        let name = directory.display();
        plan.findings
            .warn(format!("{name} is inside the config directory, so each archive will hold the earlier ones: choose another place, or add --exclude for it"));
    }
}

fn describe(options: &BackupOptions, name: &str, date: WallTime, version: &HaVersion) -> Result<Manifest, BackupError> {
    if let Some(reason) = manifest::check_name(name) {
        return Err(BackupError::Name { name: name.to_owned(), reason: reason.to_owned() });
    }
    Ok(Manifest::new(&Draft {
        name,
        date,
        home_assistant: version.as_str(),
        exclude_database: options.exclude_database,
        protected: options.password.is_some(),
        compressed: options.compressed,
    }))
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

/// What broke on the road, before it is known to the user by the archive's name.
#[derive(Debug)]
pub(crate) enum Broken {
    Write(io::Error),
    Cancelled,
    Inside(String),
    /// A database changed since it was measured; nothing of the inner archive was sent.
    Stale,
}

impl From<io::Error> for Broken {
    fn from(error: io::Error) -> Self {
        Self::Write(error)
    }
}

impl From<OuterError> for Broken {
    fn from(error: OuterError) -> Self {
        match error {
            OuterError::Io(source) => Self::Write(source),
            OuterError::WrongSize { .. } => Self::Inside(error.to_string()),
        }
    }
}

impl From<SecureTarError> for Broken {
    fn from(error: SecureTarError) -> Self {
        match error {
            SecureTarError::Io(source) => Self::Write(source),
            other => Self::Inside(other.to_string()),
        }
    }
}

impl From<CompressError> for Broken {
    fn from(error: CompressError) -> Self {
        match error {
            CompressError::Sink(source) => Self::Write(source),
            CompressError::Cancelled => Self::Cancelled,
            // The source pads what it can't read and never fails.
            CompressError::Source(source) => Self::Inside(source.to_string()),
            CompressError::Codec(reason) => Self::Inside(reason),
        }
    }
}
