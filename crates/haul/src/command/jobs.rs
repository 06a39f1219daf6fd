//! `haul jobs`, `haul run`, `haul status`: the jobs of `haul.toml`, done or looked at.

use std::time::Duration;

use jiff::{Timestamp, Zoned, tz::TimeZone};
use keeper::{
    service::Order,
    status::{Ending, Level, RunStatus, Running, Status, TaskKind},
};
use store::Cancellation;

use super::list::{moment, table};
use crate::{
    args::{JobArgs, RunArgs, StatusArgs},
    config::{Config, edit::Draft},
    destination,
    failure::{DAMAGED, DONE, FAILED, Failure, INCOMPLETE, INTERRUPTED},
    output,
    progress::Steps,
    serve::{
        self,
        control::Control,
        lock::{self, Locked},
    },
    text,
};

/// How often a command that waits for the service asks how far it is.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

pub(crate) fn jobs(args: &StatusArgs, config: &Config) -> Result<u8, Failure> {
    let now = Zoned::now();
    let status = serve::glance(config, &now)?;
    if args.json {
        output::json(&status.jobs)?;
        return Ok(DONE);
    }
    if status.jobs.is_empty() {
        output::lines(&["There are no jobs: define one as [jobs.NAME] in haul.toml".to_owned()])?;
        return Ok(DONE);
    }
    let mut rows = vec![["JOB", "SOURCE", "SCHEDULE", "NEXT", "DESTINATIONS"].map(str::to_owned)];
    rows.extend(status.jobs.iter().map(|job| {
        let next = match (job.paused, job.next) {
            (true, _) => "paused".to_owned(),
            (false, Some(next)) if next <= now.timestamp() => "now".to_owned(),
            (false, Some(next)) => moment(next, &TimeZone::system()),
            (false, None) => "-".to_owned(),
        };
        let schedule = if job.schedules.is_empty() { "-".to_owned() } else { job.schedules.join("; ") };
        [job.name.clone(), job.source.clone(), schedule, next, job.destinations.join(", ")]
    }));
    output::lines(&table(&rows))?;
    Ok(DONE)
}

pub(crate) fn status(args: &StatusArgs, config: &Config) -> Result<u8, Failure> {
    let status = serve::glance(config, &Zoned::now())?;
    if args.json {
        output::json(&status)?;
    } else {
        output::lines(&overview(&status))?;
    }
    Ok(match status.level {
        Level::Ok | Level::Unknown => DONE,
        Level::Warning => INCOMPLETE,
        Level::Error => DAMAGED,
    })
}

fn overview(status: &Status) -> Vec<String> {
    let zone = TimeZone::system();
    let mut lines = vec![text::sanitize(&status.headline)];
    for job in &status.jobs {
        lines.push(String::new());
        lines.push(text::sanitize(&format!("{}: {}", job.name, job.headline)));
        for running in &job.running {
            let percent = running.done.saturating_mul(100).checked_div(running.total);
            let done = percent.map_or_else(String::new, |percent| format!(", {}%", percent.min(100)));
            lines.push(text::sanitize(&format!("  running   {}{done}", running.doing)));
        }
        if let Some(last) = &job.last {
            lines.push(text::sanitize(&format!("  last run  {}: {}", moment(last.started, &zone), last.message)));
        }
        if let Some(proven) = &job.proven {
            lines.push(text::sanitize(&format!("  proven    {}: {}", moment(proven.at, &zone), proven.sentence)));
        }
    }
    if !status.destinations.is_empty() {
        lines.push(String::new());
        let mut rows = vec![["DESTINATION", "BACKUPS", "SIZE", "FREE", "NEWEST WHOLE", ""].map(str::to_owned)];
        rows.extend(status.destinations.iter().map(|place| {
            let newest = place.newest_whole.map_or_else(|| "-".to_owned(), |newest| moment(newest, &zone));
            let remark = if place.level == Level::Ok { String::new() } else { place.headline.clone() };
            [
                place.name.clone(),
                place.archives.to_string(),
                text::bytes(place.size),
                place.free.map_or_else(|| "-".to_owned(), text::bytes),
                newest,
                remark,
            ]
        }));
        lines.extend(table(&rows));
    }
    for problem in &status.problems {
        lines.push(String::new());
        let word = if problem.level == Level::Error { "problem" } else { "note" };
        lines.push(text::sanitize(&format!("{word}: {}", problem.message)));
        lines.extend(problem.hint.as_ref().map(|hint| text::sanitize(&format!("  {hint}"))));
    }
    lines
}

pub(crate) fn run(args: &RunArgs, config: &Config, cancel: &Cancellation) -> Result<u8, Failure> {
    let Some(job) = config.jobs().iter().find(|job| job.name == args.job) else {
        let known: Vec<&str> = config.jobs().iter().map(|job| job.name.as_str()).collect();
        let failure = Failure::usage(format!("there is no job {:?}", args.job));
        return Err(if known.is_empty() {
            failure.hint("define it as [jobs.NAME] in haul.toml")
        } else {
            failure.hint(format!("known: {}", known.join(", ")))
        });
    };
    match lock::take(&destination::state_directory())? {
        Locked::Ours(lock) => here(args, config.only(&job.name), lock, cancel),
        Locked::Another(_) => beside(args, &Control::open()?, cancel),
    }
}

/// Without the service: does what it would do, until there is nothing more to do now.
fn here(args: &RunArgs, config: Config, lock: lock::Lock, cancel: &Cancellation) -> Result<u8, Failure> {
    let mut running = serve::Running::start(config, lock, false)?;
    let bell = running.bell();
    let _waking = cancel.on_cancel(move || bell.ring());
    let refused = |reason: keeper::status::Failure| {
        let failure = Failure::new(FAILED, reason.message);
        if let Some(hint) = reason.hint { failure.hint(hint) } else { failure }
    };
    running.service.order(Order::BackUp { job: args.job.clone() }, Timestamp::now()).map_err(refused)?;
    let begun = Timestamp::now();
    let made = loop {
        if cancel.is_cancelled() {
            running.stop();
            return Err(Failure::new(INTERRUPTED, "interrupted; nothing was left behind"));
        }
        running.step()?;
        let last = running.service.runs(Some(&args.job), None, 50);
        let made = last.into_iter().find(|run| run.kind == TaskKind::Backup && run.started >= begun);
        if let Some(made) = made.filter(|_| args.no_sync || running.service.running() == 0) {
            break made;
        }
        running.wait(None)?;
    };
    running.stop();
    report(args, &made)
}

/// The service makes it; this shows how far it is.
fn beside(args: &RunArgs, service: &Control, cancel: &Cancellation) -> Result<u8, Failure> {
    let begun = Timestamp::now();
    service.order(&format!("jobs/{}/run", args.job))?;
    let steps = Steps::start(args.progress);
    let mut said = String::new();
    loop {
        if cancel.is_cancelled() {
            drop(steps);
            let hint = format!("the service goes on with it; the page or `haul status` shows how far {} is", args.job);
            return Err(Failure::new(INTERRUPTED, "no longer waiting for the backup").hint(hint));
        }
        let made = service
            .runs()?
            .into_iter()
            .find(|run| run.kind == TaskKind::Backup && run.job.as_deref() == Some(&args.job) && run.started >= begun);
        if let Some(made) = made {
            drop(steps);
            return report(args, &made);
        }
        let status = service.status()?;
        let jobs = status.jobs.iter().filter(|job| job.name == args.job);
        let running = jobs.flat_map(|job| &job.running).find(|running| running.kind == TaskKind::Backup);
        let text = running.map_or_else(|| "waiting for other tasks".to_owned(), doing);
        if text != said {
            steps.say(&text::sanitize(&text));
            said = text;
        }
        cancel.sleep(LOOK_AGAIN);
    }
}

/// What a task is doing, and how far it is.
fn doing(running: &Running) -> String {
    let percent = running.done.saturating_mul(100).checked_div(running.total);
    let Some(percent) = percent.filter(|_| running.rate > 0) else { return running.doing.clone() };
    let done = format!(" {}%", percent.min(100));
    let limit = running.limited_by.as_ref().map_or_else(String::new, |limit| format!(", limited by {limit}"));
    format!("{}{done}, {}/s{limit}", running.doing, text::bytes(running.rate))
}

pub(crate) fn pause(args: &JobArgs, config: &Config, paused: bool) -> Result<u8, Failure> {
    let Some(path) = config.path() else {
        return Err(Failure::usage("there is no haul.toml, so there are no jobs").hint("`haul serve` sets one up"));
    };
    // The service notices it by itself.
    let mut draft = Draft::open(path)?;
    draft.pause(&args.job, paused)?;
    draft.save()?;
    let what = if paused { "is paused: nothing is done for it until `haul resume`" } else { "goes on" };
    output::lines(&[format!("The job {} {what}", args.job)])?;
    Ok(DONE)
}

fn report(args: &RunArgs, made: &RunStatus) -> Result<u8, Failure> {
    if args.json {
        output::json(made)?;
    }
    match made.ending {
        Ending::Failed => {
            let failure = Failure::new(FAILED, made.message.clone());
            return Err(match &made.hint {
                Some(hint) => failure.hint(hint),
                None => failure,
            });
        }
        Ending::Cancelled => return Err(Failure::new(INTERRUPTED, "the backup was stopped")),
        Ending::Done | Ending::Incomplete => {}
    }
    if !args.json {
        output::lines(&[text::sanitize(&format!("{}: {}", args.job, made.message))])?;
        output::notes("note", made.hint.iter().cloned().collect::<Vec<_>>().into_iter());
    }
    Ok(if made.ending == Ending::Done { DONE } else { INCOMPLETE })
}
