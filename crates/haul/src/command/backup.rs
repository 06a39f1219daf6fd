//! `haul backup`.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, atomic::AtomicBool},
};

use engine::{BackupOptions, BackupReport, CopyReport, Destination, Level, Progress, SecureTar, Status};

use jiff::Zoned;
use store::Checked;

use crate::{
    args::{BackupArgs, LevelArg, ProgressArg, SecureTarArg},
    failure::{DONE, Failure, INCOMPLETE},
    gentle, output, password,
    progress::{Display, Job},
    text,
};

pub(crate) fn run(args: &BackupArgs, cancel: &Arc<AtomicBool>) -> Result<u8, Failure> {
    let password = password::given(&args.password)?;
    if args.gentle {
        gentle::step_back();
    }
    let job = Job { verb: "backing up", encrypted: password.is_some(), names_limit: true };
    let options = BackupOptions {
        config: args.config_dir.clone(),
        destinations: vec![Destination::Path(args.to.clone())],
        read_back: false,
        name: args.name.clone(),
        password,
        securetar: match args.securetar {
            SecureTarArg::Auto => SecureTar::Auto,
            SecureTarArg::V2 => SecureTar::V2,
            SecureTarArg::V3 => SecureTar::V3,
        },
        exclude_database: args.exclude_database,
        exclude: args.exclude.clone(),
        compressed: !args.uncompressed,
        level: match args.level {
            LevelArg::Fast => Level::Fast,
            LevelArg::Balanced => Level::Balanced,
            LevelArg::Small => Level::Small,
        },
        threads: if args.gentle { std::num::NonZeroUsize::new(1) } else { args.threads },
        ha_version: args.ha_version.clone(),
        digest: args.output.json,
        now: Zoned::now(),
    };
    let progress = Arc::new(Progress::default());
    let display = Display::start(args.output.progress, job, Arc::clone(&progress));
    let outcome = engine::backup(&options, None, &progress, cancel);
    drop(display);
    let report = outcome?;
    let told = if args.output.json { output::json(&report) } else { print(&report) };
    // The archive is there whether or not anybody could be told.
    told.map_err(|failure| failure.hint(format!("the backup itself is done: {}", report.copies.first().map(place).unwrap_or_default())))?;
    Ok(match report.status {
        Status::Complete => DONE,
        Status::Incomplete => INCOMPLETE,
    })
}

/// The closing report: what stands where, how fast and why not faster, and everything the user should know.
pub(crate) fn print(report: &BackupReport) -> Result<(), Failure> {
    let mut lines = Vec::new();
    let archive = &report.archive;
    let head = match report.status {
        Status::Complete => "Backed up",
        Status::Incomplete if report.copies.iter().any(|copy| copy.error.is_some()) => "Backed up, but NOT everywhere:",
        Status::Incomplete => "Backed up, but NOT everything:",
    };
    lines.push(format!("{head} {} ({}) in {}", text::count(report.entries, "entry", "entries"), text::bytes(report.bytes_in), text::duration(report.seconds)));
    for copy in report.copies.iter().filter(|copy| copy.error.is_none()) {
        lines.push(format!("  to    {}{}", place(copy), retried(copy)));
    }
    let ratio = report.bytes_in as f64 / archive.size_bytes.max(1) as f64;
    let lock = if archive.protected { ", encrypted" } else { "" };
    lines.push(format!("  size  {}, 1/{ratio:.2} of what went in{lock}", text::bytes(archive.size_bytes)));
    let rate = report.bytes_in as f64 / report.seconds.max(0.001);
    lines.push(format!("  rate  {}/s, limited by {}", text::bytes(rate as u64), report.limited_by.as_str()));
    for database in &report.databases {
        let free = match database.free_pages * u64::from(database.page_size) {
            0 => String::new(),
            free => format!(", {} of it free and left out", text::bytes(free)),
        };
        let size = text::bytes(database.pages * u64::from(database.page_size));
        lines.push(format!("  database  {}: consistent image, {size}{free}", database.path));
    }
    output::lines(&lines)?;
    let failed: Vec<&CopyReport> = report.copies.iter().filter(|copy| copy.error.is_some()).collect();
    output::notes("failed", failed.iter().filter_map(|copy| copy.error.clone()).collect::<Vec<_>>().into_iter());
    output::notes("not saved", report.skipped.iter().map(|skipped| format!("{}: {}", skipped.path, skipped.reason)));
    output::notes("note", report.warnings.iter().cloned());
    Ok(())
}

/// Where a copy stands, in one piece.
fn place(copy: &CopyReport) -> String {
    match &copy.path {
        Some(path) => engine::shown(path.as_os_str().as_encoded_bytes()),
        None => format!("{}/{}", copy.place.trim_end_matches('/'), copy.name),
    }
}

fn retried(copy: &CopyReport) -> String {
    let checked = match copy.checked {
        Some(Checked::Checksum | Checked::PartChecksums) => ", checksums compared",
        Some(Checked::ReadBack) => ", read back and compared",
        Some(Checked::Size) | None => "",
    };
    match copy.retries {
        0 => checked.to_owned(),
        retries => format!("{checked}, {} repeated", text::count(retries, "try", "tries")),
    }
}

/// For the demo: an ordinary backup.
pub(crate) fn simple(config: &Path, to: PathBuf, cancel: &Arc<AtomicBool>) -> Result<BackupReport, Failure> {
    let options = BackupOptions {
        config: config.to_owned(),
        destinations: vec![Destination::Path(to)],
        read_back: false,
        name: None,
        password: None,
        securetar: SecureTar::Auto,
        exclude_database: false,
        exclude: Vec::new(),
        compressed: true,
        level: Level::Fast,
        threads: None,
        ha_version: None,
        digest: false,
        now: Zoned::now(),
    };
    let progress = Arc::new(Progress::default());
    let job = Job { verb: "backing up", encrypted: false, names_limit: true };
    let _display = Display::start(ProgressArg::Auto, job, Arc::clone(&progress));
    Ok(engine::backup(&options, None, &progress, cancel)?)
}
