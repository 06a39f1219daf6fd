//! `haul backup`.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use engine::{
    BackupOptions, BackupReport, Compress, CopyReport, Destination, Division, Level, Progress, SecureTar, Skipped,
    SkippedKind, Status, verdict::Verdict,
};

use store::{Address, Cancellation, Checked, StoreError};

use crate::{
    args::{BackupArgs, CompressArg, LevelArg, ProgressArg, SecureTarArg, SendingArgs},
    clock,
    config::Config,
    destination::{self, Network},
    failure::{DONE, Failure, INCOMPLETE, INTERRUPTED},
    gentle, mounted, output, password,
    progress::{Display, Job},
    shrunk, text,
};

pub(crate) fn run(args: &BackupArgs, config: &Config, cancel: &Cancellation) -> Result<u8, Failure> {
    let password = password::for_new_archive(&args.password, cancel)?;
    let is_mounted = |goal: &destination::Destination| mounted::check(goal, Some(&args.config_dir), args.force);
    let goals = Goals::of(&args.to, &args.sending, config, is_mounted, cancel)?;
    if goals.uses_stdout {
        output::keep_stdout_free()?;
    }
    if args.gentle {
        gentle::step_back();
    }
    let job = Job { verb: "backing up", encrypted: password.is_some(), names_limit: true };
    let options = BackupOptions {
        config: args.config_dir.clone(),
        destinations: goals.destinations,
        name: args.name.clone(),
        password,
        securetar: match args.securetar {
            SecureTarArg::Auto => SecureTar::Auto,
            SecureTarArg::V2 => SecureTar::V2,
            SecureTarArg::V3 => SecureTar::V3,
        },
        exclude_database: args.exclude_database,
        exclude: args.exclude.clone(),
        compress: match args.compress {
            CompressArg::Here => Compress::Here,
            CompressArg::There => Compress::There,
            CompressArg::Auto => Compress::Auto,
        },
        compressed: !args.uncompressed && !matches!(args.level, LevelArg::None),
        level: match args.level {
            LevelArg::Fast | LevelArg::None => Level::Fast,
            LevelArg::Balanced => Level::Balanced,
            LevelArg::Small => Level::Small,
        },
        threads: if args.gentle { std::num::NonZeroUsize::new(1) } else { args.threads },
        ha_version: args.ha_version.clone(),
        digest: args.output.json,
        // Each destination says it for itself.
        read_back: false,
        force: args.force,
        when_read: None,
        now: clock::now(),
    };
    let progress = Arc::new(Progress::default());
    let display = Display::start(args.output.progress, job, Arc::clone(&progress));
    let outcome = engine::backup(&options, goals.network.as_ref().map(Network::sockets).as_ref(), &progress, cancel);
    drop(display);
    let mut report = outcome?;
    let written = report.copies.iter().filter_map(|copy| copy.path.as_deref());
    written.for_each(|path| mounted::remember(path, Some(&args.config_dir)));
    // Without the history it is smaller because the user excluded it.
    if !args.exclude_database {
        let (size, sockets) = (report.archive.size_bytes, goals.network.as_ref().map(Network::sockets));
        report.warnings.extend(shrunk::notes(
            &options.destinations,
            &report.copies,
            size,
            sockets,
            options.password.as_ref(),
            cancel,
        ));
    }
    if !goals.unreachable.is_empty() {
        report.status = Status::Incomplete;
        report.copies.extend(goals.unreachable);
    }
    let printed = if args.output.json { output::json(&report) } else { print(&report) };
    // The archive is there even if the report could not be printed.
    printed.map_err(|failure| {
        failure
            .hint(format!("the backup itself is complete: {}", report.copies.first().map(location).unwrap_or_default()))
    })?;
    Ok(match report.status {
        // What is missing is missing because the user wanted to stop.
        _ if was_interrupted(cancel, &report.copies) => INTERRUPTED,
        Status::Complete => DONE,
        Status::Incomplete => INCOMPLETE,
    })
}

/// Where a backup is to go, connected.
pub(crate) struct Goals {
    pub(crate) destinations: Vec<Destination>,
    /// Those that could not be reached, while others could.
    pub(crate) unreachable: Vec<CopyReport>,
    pub(crate) network: Option<Network>,
    pub(crate) uses_stdout: bool,
}

impl Goals {
    /// `is_mounted` refuses directories whose mount is missing.
    pub(crate) fn of(
        to: &[String],
        sending: &SendingArgs,
        config: &Config,
        is_mounted: impl Fn(&destination::Destination) -> Result<(), Failure>,
        cancel: &Cancellation,
    ) -> Result<Self, Failure> {
        let wanted = to.iter().map(|text| destination::resolve(config, text)).collect::<Result<Vec<_>, _>>()?;
        Self::reach(&wanted, sending, config, is_mounted, None, cancel)
    }

    /// As [`Self::of`], of destinations that are known. One that does not answer within `contact` is left out.
    pub(crate) fn reach(
        wanted: &[destination::Destination],
        sending: &SendingArgs,
        config: &Config,
        is_mounted: impl Fn(&destination::Destination) -> Result<(), Failure>,
        contact: Option<Duration>,
        cancel: &Cancellation,
    ) -> Result<Self, Failure> {
        for name in wanted.iter().filter_map(|goal| goal.name.as_deref()) {
            destination::check_archive_name(name)?;
        }
        let uses_stdout = destination::uses_stdout(wanted)?;
        let read_back = |goal: &destination::Destination| goal.is_read_back(sending.verify, config);
        let needs_network = wanted.iter().any(|goal| read_back(goal) || !matches!(goal.address, Address::Local(_)));
        let network = needs_network
            .then(|| Network::start(sending.waiting.give_up_after, cancel))
            .transpose()?
            .map(|network| network.heeding(config).limited(sending.limit.limit, config).answering_within(contact));
        let mut goals = Self { destinations: Vec::new(), unreachable: Vec::new(), network: None, uses_stdout };
        let mut first_failure = None;
        let far: Vec<_> = wanted.iter().filter(|goal| goal.local_archive().is_none()).collect();
        let mut connected = network.as_ref().map(|network| network.connect_all(&far)).unwrap_or_default().into_iter();
        for goal in wanted {
            let reached = match (goal.local_archive(), &network) {
                (Some(path), _) => is_mounted(goal).map(|()| Destination::Path(path)),
                (None, Some(network)) => match connected.next() {
                    None => continue,
                    Some(connected) => connected.map(|sink| Destination::Remote {
                        sink,
                        name: goal.name.clone(),
                        context: Some(network.context_for(goal)),
                    }),
                },
                (None, None) => continue,
            };
            let destination = match reached {
                Ok(destination) => destination,
                Err(failure) if failure.code == INTERRUPTED || wanted.len() == 1 => return Err(failure),
                Err(failure) => {
                    goals.unreachable.push(CopyReport::unreachable(
                        &goal.typed,
                        &failure.message,
                        failure.hint.as_deref(),
                    ));
                    first_failure.get_or_insert(failure);
                    continue;
                }
            };
            goals.destinations.push(if read_back(goal) {
                Destination::ReadBack(Box::new(destination))
            } else {
                destination
            });
        }
        match first_failure {
            Some(failure) if goals.destinations.is_empty() => Err(failure),
            _ => Ok(Self { network, ..goals }),
        }
    }
}

/// The final report: where each copy is, how fast and why not faster, and everything the user should know.
pub(crate) fn print(report: &BackupReport) -> Result<(), Failure> {
    let mut lines = Vec::new();
    let archive = &report.archive;
    let head = match report.status {
        Status::Complete => "Backed up",
        Status::Incomplete if report.copies.iter().any(|copy| copy.error.is_some()) => "Backed up, but NOT everywhere:",
        Status::Incomplete if report.skipped.iter().any(|skipped| skipped.kind == SkippedKind::Lost) => {
            "Backed up, but NOT everything:"
        }
        Status::Incomplete => "Backed up, but some of it is damaged:",
    };
    let worth = match report.judgement.verdict {
        Verdict::Whole if !report.judgement.without_history => String::new(),
        _ => format!("; {}", report.judgement.headline()),
    };
    lines.push(format!(
        "{head} {} ({}) in {}{worth}",
        text::count(report.entries, "entry", "entries"),
        text::bytes(report.bytes_in),
        text::duration(report.seconds)
    ));
    for copy in report.copies.iter().filter(|copy| copy.error.is_none()) {
        lines.push(format!("  to    {}{}", location(copy), checked(copy)));
    }
    let lock = if archive.protected { ", encrypted" } else { "" };
    lines.push(format!(
        "  size  {}{}{lock}",
        text::bytes(archive.size_bytes),
        compression(report.bytes_in, archive.size_bytes)
    ));
    let rate = report.bytes_in as f64 / report.seconds.max(0.001);
    lines.push(format!("  rate  {}/s, limited by {}", text::bytes(rate as u64), report.limited_by.as_str()));
    lines.extend(report.division.as_ref().map(divided));
    for database in &report.databases {
        let free = match database.free_pages * u64::from(database.page_size) {
            0 => String::new(),
            free => format!(", {} of it free and left out", text::bytes(free)),
        };
        let size = text::bytes(database.pages * u64::from(database.page_size));
        let what = if database.history { "history " } else { "database" };
        let image = if database.damaged { "image of a DAMAGED database" } else { "consistent image" };
        lines.push(format!("  {what}  {}: {image}, {size}{free}", database.path));
    }
    output::lines(&lines)?;
    copy_notes(&report.copies);
    faults(&report.skipped);
    output::notes("note", report.warnings.iter().cloned());
    Ok(())
}

/// Names what is not in the archive, or not as it should be.
pub(crate) fn faults(skipped: &[Skipped]) {
    for kind in [SkippedKind::Damaged, SkippedKind::Lost, SkippedKind::Doubtful, SkippedKind::LeftOut] {
        let of_kind = skipped.iter().filter(|skipped| skipped.kind == kind);
        let lines: Vec<String> = of_kind.map(|skipped| format!("{}: {}", skipped.path, skipped.reason)).collect();
        output::notes(kind.label(), lines.into_iter());
    }
}

/// How many bytes went in for one that came out; nothing where the archive is no smaller.
fn compression(bytes_in: u64, bytes_out: u64) -> String {
    if bytes_out == 0 || bytes_out >= bytes_in {
        return String::new();
    }
    format!(", {:.2}:1 compression", bytes_in as f64 / bytes_out as f64)
}

/// Which machine compressed and encrypted, and why.
fn divided(division: &Division) -> String {
    let machine = &division.machine;
    let made = format!("by {}", if division.there { machine.as_str() } else { "this machine" });
    let Some(rates) = &division.rates else { return format!("  made  {made}") };
    let rate = |rate: f64| text::bytes(rate as u64);
    format!(
        "  made  {made}: this machine compresses {}/s, the network carries {}/s, {machine} compresses {}/s",
        rate(rates.here),
        rate(rates.line),
        rate(rates.there)
    )
}

/// Where a copy is, as one text.
pub(crate) fn location(copy: &CopyReport) -> String {
    match &copy.path {
        Some(path) => engine::shown(path.as_os_str().as_encoded_bytes()),
        // What was written there has no name.
        None if copy.destination == Address::Stdout.to_string() => copy.destination.clone(),
        None => format!("{}/{}", copy.destination.trim_end_matches('/'), copy.name),
    }
}

/// Whether copies are missing because the user stopped it, while others were complete.
fn was_interrupted(cancel: &Cancellation, copies: &[CopyReport]) -> bool {
    let interrupted = StoreError::Cancelled.to_string();
    cancel.is_cancelled() && copies.iter().any(|copy| copy.error.as_ref() == Some(&interrupted))
}

/// What the user should know of the copies: those that failed and what to do about it, those that could not be
/// compared, and remarks.
pub(crate) fn copy_notes(copies: &[CopyReport]) {
    let failed: Vec<String> = copies.iter().filter_map(failed).collect();
    output::notes("failed", failed.into_iter());
    output::notes(
        "not compared",
        copies.iter().filter_map(|copy| copy.uncompared.clone()).collect::<Vec<_>>().into_iter(),
    );
    output::notes("note", copies.iter().flat_map(|copy| copy.notes.clone()).collect::<Vec<_>>().into_iter());
}

/// Where a copy failed, why, and what to do about that.
fn failed(copy: &CopyReport) -> Option<String> {
    let error = copy.error.as_ref()?;
    // Most errors name the destination themselves.
    let prefix = if error.contains(copy.destination.trim_end_matches('/')) {
        String::new()
    } else {
        format!("{}: ", copy.destination)
    };
    let advice = copy.advice.as_ref().map_or_else(String::new, |advice| format!("; {advice}"));
    Some(format!("{prefix}{error}{advice}"))
}

/// How it was checked, and what it took.
pub(crate) fn checked(copy: &CopyReport) -> String {
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
pub(crate) fn simple(config: &Path, to: PathBuf, cancel: &Cancellation) -> Result<BackupReport, Failure> {
    let options = BackupOptions { now: clock::now(), ..BackupOptions::new(config, vec![Destination::Path(to)]) };
    let progress = Arc::new(Progress::default());
    let job = Job { verb: "backing up", encrypted: false, names_limit: true };
    let _display = Display::start(ProgressArg::Auto, job, Arc::clone(&progress));
    Ok(engine::backup(&options, None, &progress, cancel)?)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    #[test]
    fn a_copy_that_failed_is_reported_with_its_destination() {
        let of = |error: &str, advice| failed(&CopyReport::unreachable("s3://bucket/ha/", error, advice)).unwrap();
        assert_eq!(of("interrupted", None), "s3://bucket/ha/: interrupted");
        assert_eq!(
            of("could not write to s3://bucket/ha: no room", Some("make room")),
            "could not write to s3://bucket/ha: no room; make room"
        );
    }
}
