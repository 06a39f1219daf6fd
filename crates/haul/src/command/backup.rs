//! `haul backup`.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, atomic::AtomicBool},
};

use engine::{BackupOptions, BackupReport, Level, Progress, SecureTar, Status};

use jiff::Zoned;

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
        destination: args.to.clone(),
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
    let outcome = engine::backup(&options, &progress, cancel);
    drop(display);
    let report = outcome?;
    let told = if args.output.json { output::json(&report) } else { print(&report) };
    // The archive is there whether or not anybody could be told.
    told.map_err(|failure| failure.hint(format!("the backup itself is done: {}", engine::shown(report.archive.path.as_os_str().as_encoded_bytes()))))?;
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
        Status::Incomplete => "Backed up, but NOT everything:",
    };
    lines.push(format!("{head} {} ({}) in {}", text::count(report.entries, "entry", "entries"), text::bytes(report.bytes_in), text::duration(report.seconds)));
    lines.push(format!("  to    {}", archive.path.display()));
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
    output::notes("not saved", report.skipped.iter().map(|skipped| format!("{}: {}", skipped.path, skipped.reason)));
    output::notes("note", report.warnings.iter().cloned());
    Ok(())
}

/// For the demo: an ordinary backup.
pub(crate) fn simple(config: &Path, to: PathBuf, cancel: &Arc<AtomicBool>) -> Result<BackupReport, Failure> {
    let options = BackupOptions {
        config: config.to_owned(),
        destination: to,
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
    Ok(engine::backup(&options, &progress, cancel)?)
}
