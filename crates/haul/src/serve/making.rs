//! A job's backup, with the user's commands around it.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        mpsc::{Sender, channel},
    },
};

use engine::{
    BackupOptions, Compress, CopyReport, SecureTar, Status,
    verdict::{Judgement, Verdict},
};
use habackup::securetar::Password;
use keeper::{
    job::Job,
    status::{Ending, Failure as Reason},
    task::{Arrived, Found, Outcome},
};
use store::{Checked, LateSizes};

use super::doing::{CONTACT, Doing};
use crate::{
    app::{self, App, Reached},
    args::{LimitArgs, PasswordArgs, SendingArgs, WaitingArgs},
    clock,
    command::backup::Goals,
    destination::{Destination, Network},
    failure::{FAILED, Failure, INTERRUPTED},
    hooks::{Hooks, NotPrepared, Prepared},
    mounted, output, password, text,
};

/// Haul as an app of Home Assistant, and the destinations that Supervisor reaches.
pub(super) type InApp = (Arc<App>, Reached);

/// What was wrong with a backup is logged up to so many lines.
const MOST_DETAILS: usize = 20;

pub(super) fn back_up(doing: &Doing<'_>, job: &Job, to: &[String], app: Option<&InApp>) -> Result<Outcome, Failure> {
    let (outcome, wrong) = with_hooks(doing, job, |read| {
        if job.making.everything { everything(doing, job, to, app) } else { make(doing, job, to, read) }
    })?;
    Ok(match wrong {
        None => outcome,
        Some(why) => {
            let message = format!("{}; {why}", outcome.message);
            Outcome { ending: Ending::Incomplete, message, ..outcome }
        }
    })
}

/// Runs the job's commands around something that says when it has read everything. Returns what was wrong with the one
/// after it, too.
pub(super) fn with_hooks<T>(
    doing: &Doing<'_>,
    job: &Job,
    work: impl FnOnce(Sender<()>) -> Result<T, Failure>,
) -> Result<(T, Option<String>), Failure> {
    let hooks = Hooks {
        before: job.hooks.before.as_deref(),
        after: job.hooks.after.as_deref(),
        time_limit: Some(job.hooks.time_limit),
        before_called: (
            "the command before the backup",
            "no backup was made; correct `before` of the automatic backup",
        ),
        after_called: ("the command after the backup", "what was stopped may still be stopped"),
        is_shown: false,
    };
    let tell = |what: &str| output::log_detail(&format!("{}: {what}", job.name));
    if hooks.before.is_some() {
        tell("the command before the backup runs");
    }
    let prepared = match Prepared::begin(&hooks, doing.cancel()) {
        Ok(prepared) => prepared,
        Err(NotPrepared::Failed(failure)) => return Err(failure),
        Err(NotPrepared::Interrupted) => return Err(Failure::new(INTERRUPTED, "interrupted; nothing was sent")),
    };
    let (read, is_read) = channel();
    let has_after = hooks.after.is_some();
    let (made, after) = std::thread::scope(|scope| {
        // What was stopped starts as soon as everything was read, however long that takes to arrive; at the latest when
        // there is nobody left who could say so.
        let after = std::thread::Builder::new().name("haul-after".to_owned()).spawn_scoped(scope, move || {
            let _ = is_read.recv();
            if has_after {
                tell("the command after the backup runs");
            }
            prepared.end()
        });
        let after = after.map_err(|error| {
            Failure::new(FAILED, format!("can't start a thread: {}", engine::plain_reason(&error)))
                .hint("the machine may be short of memory, or too many programs run")
        })?;
        let made = work(read);
        let after = after.join().unwrap_or_else(|_| Err("the command after the backup ended unexpectedly".to_owned()));
        Ok::<_, Failure>((made, after))
    })?;
    match (made, after) {
        (Ok(made), after) => Ok((made, after.err())),
        (Err(failure), Ok(())) => Err(failure),
        // What was stopped may still be stopped, which matters as much.
        (Err(failure), Err(why)) => Err(Failure { message: format!("{}; {why}", failure.message), ..failure }),
    }
}

/// The destinations of a backup that could be reached, and its key.
struct Way {
    password: Option<Password>,
    goals: Goals,
    /// Where each of them is, in the words of a report.
    rest: Vec<(String, Goal)>,
}

impl Way {
    fn find(doing: &Doing<'_>, job: &Job, to: &[String]) -> Result<Self, Failure> {
        let config = &doing.force.config;
        let password = PasswordArgs { password_file: job.making.password_file.clone() };
        let password = password::for_new_archive(&password, doing.cancel())?;
        let wanted = to
            .iter()
            .map(|name| Ok(doing.destination(Some(&job.name), name)?.reading_within_limit()))
            .collect::<Result<Vec<Destination>, Failure>>()?;
        let sending = SendingArgs {
            verify: None,
            limit: LimitArgs { limit: None },
            waiting: WaitingArgs { give_up_after: None },
        };
        let is_mounted = |goal: &Destination| mounted::check(goal, Some(&job.source), false);
        // With one destination there is nothing to go on with meanwhile.
        let contact = (wanted.len() > 1).then_some(CONTACT);
        let goals = Goals::reach(&wanted, &sending, config, is_mounted, contact, doing.cancel())?;
        let reached = to.iter().filter(|name| goals.unreachable.iter().all(|copy| copy.destination != **name));
        let rest = reached.cloned().zip(goals.destinations.iter().map(goal)).collect();
        Ok(Self { password, goals, rest })
    }
}

/// What became of each copy, by its destination.
fn by_destination(
    source: &Path,
    mut rest: Vec<(String, Goal)>,
    copies: &[CopyReport],
    unreachable: &[CopyReport],
) -> Vec<(String, Result<Arrived, Reason>)> {
    copies.iter().filter_map(|copy| copy.path.as_deref()).for_each(|path| mounted::remember(path, Some(source)));
    let mut found: Vec<(String, Result<Arrived, Reason>)> = Vec::new();
    for copy in copies {
        let Some(at) = rest.iter().position(|(_, goal)| goal.is_of(copy)) else { continue };
        found.push((rest.remove(at).0, arrived(copy)));
    }
    found.extend(unreachable.iter().map(|copy| (copy.destination.clone(), arrived(copy))));
    found
}

/// Supervisor writes it, with every app and folder.
fn everything(doing: &Doing<'_>, job: &Job, to: &[String], app: Option<&InApp>) -> Result<Outcome, Failure> {
    let begun = std::time::Instant::now();
    let (app, reached) = app.ok_or_else(|| {
        Failure::new(FAILED, "only the app on Home Assistant OS can back up apps and folders")
            .hint("remove `everything = true` from it in haul.toml, or run Haul as an app")
    })?;
    let Way { password, mut goals, mut rest } = Way::find(doing, job, to)?;
    // Sizes are known last. A destination that needs them first gets a copy afterwards; alone, it gets it twice.
    let takes = |how: LateSizes| goals.destinations.iter().position(|destination| destination.late_sizes() == how);
    let twice = match takes(LateSizes::AtOnce) {
        Some(_) => None,
        None => takes(LateSizes::Twice),
    };
    let (mut later, mut to_twice) = (Vec::new(), None);
    for at in (0..goals.destinations.len()).rev() {
        if twice == Some(at) {
            to_twice = Some(rest[at].0.clone());
        } else if goals.destinations[at].late_sizes() != LateSizes::AtOnce {
            goals.destinations.remove(at);
            later.push(rest.remove(at).0);
        }
    }
    let candidates: Vec<&str> = rest.iter().map(|(name, _)| name.as_str()).collect();
    if candidates.is_empty() {
        let why = "no location of this automatic backup takes an archive whose sizes are known last";
        return Err(Failure::new(FAILED, why)
            .hint("add another one, such as a directory; the locations that there are get copies of it"));
    }
    let folder = reached.await_one(&candidates, doing.cancel());
    if doing.cancel().is_cancelled() {
        return Err(Failure::new(INTERRUPTED, "interrupted"));
    }
    let folder = folder.ok_or_else(|| {
        Failure::new(FAILED, "Home Assistant reaches none of the locations of this automatic backup yet")
            .hint("the log says why; it is tried again every few seconds")
    })?;
    let unreachable = std::mem::take(&mut goals.unreachable);
    let way = app::Goals { folder, destinations: goals.destinations, network: goals.network };
    let remade = app::back_up((app, reached), job, way, password, &doing.started.progress, doing.cancel())?;
    let copies = by_destination(&job.source, rest, &remade.copies, &unreachable);
    let made = Made {
        size: remade.size,
        seconds: begun.elapsed().as_secs_f64(),
        judgement: &remade.judgement,
        is_complete: remade.judgement.verdict == Verdict::Whole,
        limited_by: None,
        details: remade.judgement.missing.first().cloned(),
    };
    let mut outcome = outcome(made, &unreachable, copies, engine::instance_id(&job.source));
    if let Some(name) = to_twice {
        outcome.message = format!("{}; sent to {name} twice, because its sizes were known last", outcome.message);
    }
    if !later.is_empty() {
        // That is how it is meant to be: no trouble with them.
        outcome.message = format!("{}; {} gets a copy of it next", outcome.message, later.join(" and "));
    }
    Ok(outcome)
}

fn make(doing: &Doing<'_>, job: &Job, to: &[String], read: Sender<()>) -> Result<Outcome, Failure> {
    let Way { password, goals, rest } = Way::find(doing, job, to)?;
    let options = BackupOptions {
        destinations: goals.destinations,
        name: job.making.title.clone(),
        password,
        securetar: SecureTar::Auto,
        exclude_database: job.making.exclude_database,
        exclude: job.making.exclude.clone(),
        compress: Compress::Here,
        compressed: !job.making.uncompressed,
        level: job.making.level,
        threads: if job.making.gentle { std::num::NonZeroUsize::new(1) } else { None },
        when_read: Some(read),
        now: clock::now(),
        ..BackupOptions::new(&job.source, Vec::new())
    };
    let network = goals.network.as_ref().map(Network::sockets);
    let report = engine::backup(&options, network.as_ref(), &doing.started.progress, doing.cancel())?;
    // The end of it says the gravest only.
    let skipped = report.skipped.iter().map(|skipped| format!("{}: {}", skipped.path, skipped.reason));
    // The page and `haul status` advise it as long as it is so, not each backup.
    let warnings = || report.warnings.iter().filter(|warning| *warning != engine::ON_ONE_DISK).cloned();
    for what in skipped.chain(warnings()).take(MOST_DETAILS) {
        output::log_detail(&format!("note: {}: {what}", job.name));
    }
    let copies = by_destination(&job.source, rest, &report.copies, &goals.unreachable);
    let skipped = report.skipped.first().map(|skipped| format!("{}: {}", skipped.path, skipped.reason));
    let made = Made {
        size: report.archive.size_bytes,
        seconds: report.seconds,
        judgement: &report.judgement,
        is_complete: report.status == Status::Complete,
        limited_by: Some(report.limited_by.as_str().to_owned()),
        details: skipped,
    };
    let outcome = outcome(made, &goals.unreachable, copies, engine::instance_id(&job.source));
    Ok(Outcome { hint: outcome.hint.or_else(|| warnings().next()), ..outcome })
}

/// An archive that was made.
struct Made<'a> {
    size: u64,
    seconds: f64,
    judgement: &'a Judgement,
    is_complete: bool,
    limited_by: Option<String>,
    /// The first thing that is wrong with it.
    details: Option<String>,
}

/// Where a copy goes.
enum Goal {
    Directory(PathBuf),
    Label(String),
}

fn goal(destination: &engine::Destination) -> Goal {
    match destination {
        engine::Destination::Path(path) => Goal::Directory(path.clone()),
        engine::Destination::Remote { sink, .. } => Goal::Label(sink.label()),
        engine::Destination::ReadBack(of) => goal(of),
    }
}

impl Goal {
    fn is_of(&self, copy: &CopyReport) -> bool {
        match (self, &copy.path) {
            (Self::Directory(directory), Some(path)) => path.parent() == Some(directory),
            // One that failed has no path.
            (Self::Directory(directory), None) => std::path::Path::new(&copy.destination) == directory,
            (Self::Label(label), None) => copy.destination == *label,
            (Self::Label(_), Some(_)) => false,
        }
    }
}

fn arrived(copy: &CopyReport) -> Result<Arrived, Reason> {
    match &copy.error {
        Some(error) => Err(Reason { message: error.clone(), hint: copy.advice.clone(), passes: true }),
        None => Ok(Arrived {
            name: copy.path.as_ref().and_then(|path| path.file_name()?.to_str()).unwrap_or(&copy.name).to_owned(),
            compared: matches!(copy.checked, Some(Checked::Checksum | Checked::PartChecksums | Checked::ReadBack)),
        }),
    }
}

fn outcome(
    made: Made<'_>,
    unreachable: &[CopyReport],
    copies: Vec<(String, Result<Arrived, Reason>)>,
    instance: Option<String>,
) -> Outcome {
    let there: Vec<&str> = copies.iter().filter(|(_, copy)| copy.is_ok()).map(|(name, _)| name.as_str()).collect();
    let missing: Vec<&str> = copies.iter().filter(|(_, copy)| copy.is_err()).map(|(name, _)| name.as_str()).collect();
    let mut message =
        format!("backed up {} to {} in {}", text::bytes(made.size), there.join(" and "), text::duration(made.seconds));
    let is_whole = made.judgement.verdict == Verdict::Whole;
    if !is_whole {
        message = format!("{message}; {}", text::sanitize(&made.judgement.headline()));
    }
    if !missing.is_empty() {
        message = format!("{message}; not to {}, which gets it later", missing.join(" and "));
    }
    let ending = if made.is_complete && unreachable.is_empty() && missing.is_empty() {
        Ending::Done
    } else {
        Ending::Incomplete
    };
    let away = copies.iter().find_map(|(name, copy)| {
        let failure = copy.as_ref().err()?;
        Some(format!("{name}: {}", failure.message))
    });
    Outcome {
        ending,
        hint: made.details.filter(|_| !is_whole).or(away),
        size: Some(made.size),
        limited_by: made.limited_by,
        ..Outcome::done(message, Found::Made { instance, copies })
    }
}
