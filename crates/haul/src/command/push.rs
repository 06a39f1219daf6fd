//! `haul push`: sends an existing archive to other destinations.

use std::sync::Arc;

use engine::{CopyReport, Progress};
use habackup::{
    archive::{Archive, ArchiveError},
    problem::Severity,
};
use serde::Serialize;
use store::{
    Address, Cancellation, Context, Sink, StoreError,
    outbound::{Original, Outcome, PushOptions, UploadMeter},
};

use super::{
    backup::{checked, copy_notes, location},
    get::missing,
};
use crate::{
    args::PushArgs,
    config::Config,
    destination::{self, Destination, Network},
    failure::{DONE, Failure, INCOMPLETE, INTERRUPTED},
    mounted, output,
    progress::{Display, Job},
    text,
};

#[derive(Serialize)]
struct Document<'a> {
    #[serde(serialize_with = "engine::serialize_path")]
    archive: &'a std::path::Path,
    size_bytes: u64,
    seconds: f64,
    copies: &'a [CopyReport],
}

pub(crate) fn run(args: &PushArgs, config: &Config, cancel: &Cancellation) -> Result<u8, Failure> {
    let unreadable = |error: std::io::Error| {
        Failure::usage(format!("can't read {}: {}", args.archive.display(), engine::plain_reason(&error)))
            .hint("give an archive on this machine")
    };
    let metadata = std::fs::metadata(&args.archive).map_err(unreadable)?;
    if !metadata.is_file() {
        return Err(
            Failure::usage(format!("{} is not a file", args.archive.display())).hint("give an archive, NAME.tar")
        );
    }
    let remark = remark(&args.archive);
    let own_name = args.archive.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let goals = args.to.iter().map(|text| destination::resolve(config, text)).collect::<Result<Vec<_>, _>>()?;
    for goal in goals.iter().filter(|goal| goal.address != Address::Stdout) {
        destination::check_archive_name(goal.name.as_deref().unwrap_or(&own_name)).map_err(|failure| {
            failure
                .hint(format!("give the name it should have there: --to {}/NAME.tar", goal.typed.trim_end_matches('/')))
        })?;
    }
    if destination::uses_stdout(&goals)? {
        output::keep_stdout_free()?;
    }
    let network = Network::start(args.sending.waiting.give_up_after, cancel)?
        .heeding(config)
        .limited(args.sending.limit.limit, config);
    let progress = Arc::new(Progress::default());
    let started = std::time::Instant::now();
    let (mut copies, mut failures) = (Vec::new(), Vec::new());
    let connected = network.connect_all(&goals.iter().collect::<Vec<_>>());
    for (goal, sink) in goals.iter().zip(connected) {
        let name = goal.name.clone().unwrap_or_else(|| own_name.clone());
        let read_back = goal.is_read_back(args.sending.verify, config);
        let pushed = mounted::check(goal, None, false)
            .and(sink)
            .and_then(|sink| push(args, goal, (&sink, &name, read_back), &network, &progress, metadata.len()));
        match pushed {
            Ok(outcome) => {
                if let Some(archive) = goal.local_archive() {
                    mounted::remember(&archive, None);
                }
                copies.push(CopyReport::from(outcome));
            }
            Err(failure) if failure.code == INTERRUPTED => return Err(stopped(failure, &copies)),
            Err(failure) => failures.push((goal, failure)),
        }
    }
    if copies.is_empty()
        && let Some((_, failure)) = failures.pop()
    {
        for (_, earlier) in &failures {
            output::print_failure(earlier);
        }
        return Err(failure);
    }
    copies.extend(
        failures
            .iter()
            .map(|(goal, failure)| CopyReport::unreachable(&goal.typed, &failure.message, failure.hint.as_deref())),
    );
    let seconds = started.elapsed().as_secs_f64();
    let done = |failure: Failure| failure.hint("the push itself is complete");
    if args.output.json {
        output::json(&Document { archive: &args.archive, size_bytes: metadata.len(), seconds, copies: &copies })
            .map_err(done)?;
    } else {
        let mut lines = vec![format!(
            "Pushed {} ({}) in {}",
            args.archive.display(),
            text::bytes(metadata.len()),
            text::duration(seconds)
        )];
        for copy in copies.iter().filter(|copy| copy.error.is_none()) {
            lines.push(format!("  to    {}{}", location(copy), checked(copy)));
        }
        output::lines(&lines).map_err(done)?;
        copy_notes(&copies);
    }
    output::notes("note", remark.into_iter());
    Ok(if copies.iter().all(CopyReport::is_fine) { DONE } else { INCOMPLETE })
}

/// What anybody who relies on the copies should know of the archive, as far as its description and its outer structure
/// show. It is sent as it is anyway.
fn remark(archive: &std::path::Path) -> Option<String> {
    let what = match Archive::open(std::fs::File::open(archive).ok()?) {
        Ok(opened) => remark_of(&opened)?,
        // Sending reads it as well, and reports it.
        Err(ArchiveError::Io(_)) => return None,
        Err(error) => format!("not a Home Assistant backup, or a damaged one: {error}"),
    };
    Some(text::sanitize(&format!("the archive is {what}")))
}

fn remark_of(archive: &Archive<std::fs::File>) -> Option<String> {
    if let Some(damage) = archive.problems().iter().find(|problem| problem.severity == Severity::Damaged) {
        return Some(format!("damaged: {damage}"));
    }
    if archive.tail().is_none() {
        return Some("damaged: it is cut short".to_owned());
    }
    match archive.manifest() {
        None => Some("not a Home Assistant backup: it has no backup.json".to_owned()),
        Some(manifest) => missing(manifest.stamp()),
    }
}

/// An interruption, with the copies that were complete before it.
fn stopped(mut failure: Failure, copies: &[CopyReport]) -> Failure {
    let done: Vec<String> = copies.iter().map(location).collect();
    if !done.is_empty() {
        failure.message = format!("{}; complete before that: {}", failure.message, done.join(", "));
    }
    failure.after(done)
}

fn push(
    args: &PushArgs,
    goal: &Destination,
    (sink, name, read_back): (&Arc<dyn Sink>, &str, bool),
    network: &Network,
    progress: &Arc<Progress>,
    length: u64,
) -> Result<Outcome, Failure> {
    let meter = Arc::new(UploadMeter::new(sink.label()));
    progress.send(&meter, length);
    let job = Job { verb: "sending", encrypted: false, names_limit: args.sending.limit.limit.is_some() };
    let display = Display::start(args.output.progress, job, Arc::clone(progress));
    let context = network.context_for(goal);
    let sockets = store::outbound::Network { bridge: &network.bridge, context: &context };
    let arrived = store::outbound::push(
        &PushOptions { archive: Original::File(&args.archive), name, read_back },
        sink,
        &sockets,
        &meter,
    );
    drop(display);
    match arrived {
        Ok(arrived) => Ok(Outcome {
            label: sink.label(),
            name: name.to_owned(),
            path: None,
            result: Ok(arrived),
            retries: meter.retries(),
        }),
        Err(error) if sink.abilities().resumable && error.may_continue_later() => Err(to_be_continued(error, &context)),
        Err(error) => Err(error.into()),
    }
}

/// The same command continues where it stopped, if its progress was recorded.
fn to_be_continued(error: StoreError, context: &Context) -> Failure {
    let remembered = store::outbound::can_remember(context);
    let lost =
        format!("the same command starts over: Haul could not record its progress in {}", context.state.display());
    match (error, remembered) {
        (StoreError::Cancelled, true) => {
            Failure::new(INTERRUPTED, "interrupted; run the same command again to continue")
        }
        (StoreError::Cancelled, false) => Failure::new(INTERRUPTED, "interrupted").hint(lost),
        (error, true) => {
            let kept = "the destination keeps what has arrived: run the same command again to continue";
            // A line that broke needs nothing else; a sign-in or a limit does.
            let is_transient = error.is_transient();
            let failure = Failure::from(error);
            match failure.hint.clone().filter(|_| !is_transient) {
                Some(first) => failure.hint(format!("{first}; {kept}")),
                None => failure.hint(kept),
            }
        }
        (error, false) => Failure::from(error).hint(lost),
    }
}
