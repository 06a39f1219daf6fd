//! `haul jobs`, `haul run`, `haul status`: the jobs of `haul.toml`, done or looked at.

use std::{
    fs,
    io::{self, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::Path,
    time::Duration,
};

use jiff::{Timestamp, Zoned};
use keeper::{
    facts::Known,
    service::Order,
    settings::Scope,
    status::{Ending, Level, RunStatus, Running, Status, TaskKind},
};
use store::Cancellation;

use super::list::{moment, table};
use crate::{
    args::{JobArgs, JobsArgs, ProgressArg, RehearseArgs, RunArgs, StatusArgs},
    clock,
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

/// The mode of the file for node_exporter, which is another user.
const TEXTFILE: u32 = 0o644;
/// How often a command that waits for the service asks how far it is.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

pub(crate) fn jobs(args: &JobsArgs, config: &Config) -> Result<u8, Failure> {
    let now = clock::now();
    let status = serve::glance(config, &now, true)?;
    if args.json {
        output::json(&status.jobs)?;
        return Ok(DONE);
    }
    if status.jobs.is_empty() {
        output::lines(&["There are no jobs: define one as [jobs.NAME] in haul.toml".to_owned()])?;
        return Ok(DONE);
    }
    let no_service = no_service();
    let when = if no_service.is_some() { "DUE" } else { "NEXT" };
    let mut rows = vec![["JOB", "SOURCE", "SCHEDULE", when, "DESTINATIONS"].map(str::to_owned)];
    rows.extend(status.jobs.iter().map(|job| {
        let next = match (job.paused, job.next) {
            (true, _) => "paused".to_owned(),
            (false, Some(next)) if next <= now.timestamp() => "now".to_owned(),
            (false, Some(next)) => moment(next, &clock::zone()),
            (false, None) => "-".to_owned(),
        };
        let schedule = if job.schedules.is_empty() { "-".to_owned() } else { job.schedules.join("; ") };
        [job.name.clone(), job.source.clone(), schedule, next, job.destinations.join(", ")]
    }));
    output::lines(&table(&rows))?;
    output::notes("note", no_service.into_iter());
    Ok(DONE)
}

/// What is to be said if no service runs.
fn no_service() -> Option<String> {
    let is_running = lock::is_held(&destination::state_directory());
    (!is_running).then(|| "the service is not running: nothing happens by itself but what calls `haul run`".to_owned())
}

pub(crate) fn status(args: &StatusArgs, config: &Config) -> Result<u8, Failure> {
    if args.alive {
        return alive();
    }
    let now = clock::now();
    if let Some(mistake) = config.mistake() {
        return in_spite_of(mistake, args, &now);
    }
    let status = serve::glance(config, &now, false)?;
    if let Some(path) = &args.textfile {
        textfile(path, config, &now)?;
    }
    if args.json {
        output::json(&status)?;
    } else {
        output::lines(&overview(&status))?;
        output::notes("note", no_service().filter(|_| !status.jobs.is_empty()).into_iter());
    }
    Ok(match status.level {
        Level::Ok => DONE,
        Level::Unknown | Level::Warning => INCOMPLETE,
        Level::Error => DAMAGED,
    })
}

/// The configuration has a mistake: says what is known all the same, and then the mistake.
fn in_spite_of(mistake: &Failure, args: &StatusArgs, now: &Zoned) -> Result<u8, Failure> {
    let service = lock::is_held(&destination::state_directory()).then(Control::open);
    let status = service.and_then(|service| service.and_then(|service| service.status()).ok());
    let mut failure = mistake.clone();
    if let Some(status) = status {
        if let Some(path) = &args.textfile {
            textfile(path, &Config::default(), now)?;
        }
        let printed = if args.json { output::json(&status) } else { output::lines(&overview(&status)) };
        printed?;
        if status.level == Level::Error {
            failure.code = DAMAGED;
        }
    } else if !args.json {
        output::lines(&last_known(&serve::remembered().unwrap_or_default()))?;
    }
    Err(failure)
}

/// What the catalog says of the destinations; what should be there, only the configuration could say.
fn last_known(known: &Known) -> Vec<String> {
    let zone = clock::zone();
    let when = |moment_of: Option<Timestamp>| moment_of.map_or_else(|| "-".to_owned(), |at| moment(at, &zone));
    let mut rows = vec![["DESTINATION", "BACKUPS", "SIZE", "NEWEST WHOLE", "LOOKED AT"].map(str::to_owned)];
    rows.extend(known.destinations.iter().map(|(name, facts)| {
        let newest = facts.copies.iter().filter(|copy| copy.is_whole()).map(|copy| copy.item.date).max();
        [
            name.clone(),
            facts.copies.iter().count().to_string(),
            text::bytes(facts.copies.iter().map(|copy| copy.item.size).sum()),
            when(newest),
            when(facts.listed),
        ]
    }));
    let headline = if lock::is_held(&destination::state_directory()) {
        "haul.toml has a mistake, and the service does not answer"
    } else {
        "haul.toml has a mistake, and the service is not running: no backup is made until both are put right"
    };
    let mut lines = vec![headline.to_owned()];
    if !known.destinations.is_empty() {
        lines.extend([
            String::new(),
            "What is known from before, whatever haul.toml says now:".to_owned(),
            String::new(),
        ]);
        lines.extend(table(&rows));
    }
    lines
}

/// Whether there is a service that answers, however the backups are.
fn alive() -> Result<u8, Failure> {
    if !lock::is_held(&destination::state_directory()) {
        return Err(Failure::new(FAILED, "the service is not running").hint("start it with `haul serve`"));
    }
    Control::open()?.status()?;
    output::lines(&["The service is running".to_owned()])?;
    Ok(DONE)
}

fn overview(status: &Status) -> Vec<String> {
    let zone = clock::zone();
    let mut lines = vec![text::sanitize(&status.headline)];
    if status.jobs.is_empty() {
        lines.push("  `haul serve` and its page set one up; or define [jobs.NAME] in haul.toml".to_owned());
    }
    for job in &status.jobs {
        lines.push(String::new());
        lines.push(text::sanitize(&format!("{}: {}", job.name, job.headline)));
        if let Some(advice) = &job.advice {
            lines.push(text::sanitize(&format!("  advice    {advice}")));
        }
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
    if !config.jobs().iter().any(|job| job.name == args.job) {
        let known: Vec<&str> = config.jobs().iter().map(|job| job.name.as_str()).collect();
        let failure = Failure::usage(format!("there is no job {:?}", args.job));
        return Err(if config.path().is_none() {
            no_file(config)
        } else if known.is_empty() {
            failure.hint("define it as [jobs.NAME] in haul.toml")
        } else {
            failure.hint(format!("known: {}", known.join(", ")))
        });
    }
    let done = match ours_or_theirs(args.progress, cancel)? {
        Whose::Ours(lock) => here(args, config.clone(), lock, cancel),
        Whose::Theirs(service) => beside(args, &service, cancel),
    };
    // Also after a failure, which is what somebody who watches wants to see most.
    if let Some(path) = &args.textfile {
        let written = textfile(path, config, &clock::now());
        if done.is_ok() {
            written?;
        }
    }
    done
}

/// Who does it.
enum Whose {
    Ours(lock::Lock),
    Theirs(Control),
}

/// Takes the state directory, or finds the service that has it. Another `haul run` is waited for.
fn ours_or_theirs(progress: ProgressArg, cancel: &Cancellation) -> Result<Whose, Failure> {
    let mut steps = None;
    loop {
        if let Locked::Ours(lock) = lock::take(&destination::state_directory())? {
            return Ok(Whose::Ours(lock));
        }
        if let Ok(service) = Control::open()
            && service.status().is_ok()
        {
            return Ok(Whose::Theirs(service));
        }
        let steps = steps.get_or_insert_with(|| Steps::start(progress));
        steps.say("waiting for another haul that works with this state directory");
        if cancel.is_cancelled() {
            return Err(Failure::new(INTERRUPTED, "interrupted; nothing was begun"));
        }
        cancel.sleep(LOOK_AGAIN);
    }
}

/// The backup that was asked for, once it has ended.
fn last(status: &Status, args: &RunArgs, begun: Timestamp) -> Option<RunStatus> {
    let job = status.jobs.iter().find(|job| job.name == args.job)?;
    job.last.clone().filter(|last| last.started >= begun)
}

/// Without the service: does what it would do, until there is nothing more to do now.
fn here(args: &RunArgs, config: Config, lock: lock::Lock, cancel: &Cancellation) -> Result<u8, Failure> {
    let mut running = serve::Running::start(config, lock, false, |settings| {
        settings.only = Some(args.job.clone());
        settings.scope = if args.no_sync { Scope::Backups } else { Scope::Everything };
    })?;
    let bell = running.bell();
    let _waking = cancel.on_cancel(move || bell.ring());
    running.service.order(Order::BackUp { job: args.job.clone() }, Timestamp::now()).map_err(refused)?;
    let begun = Timestamp::now();
    let made = loop {
        if cancel.is_cancelled() {
            running.service.withdraw();
            running.stop();
            return Err(Failure::new(INTERRUPTED, "interrupted; nothing was left behind"));
        }
        running.step();
        let made = last(&running.service.status(&clock::now()), args, begun);
        if let Some(made) = made.filter(|_| args.no_sync || running.service.running() == 0) {
            break made;
        }
        running.wait(None)?;
    };
    running.finish_telling(cancel);
    running.stop();
    report(args, &made, &running.service.status(&clock::now()))
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
        let status = service.status()?;
        if let Some(made) = last(&status, args, begun) {
            drop(steps);
            return report(args, &made, &status);
        }
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

/// The job whose newest backup is to be rehearsed; `None`: it is an archive.
pub(crate) fn rehearsed<'a>(args: &'a RehearseArgs, config: &Config) -> Result<Option<&'a str>, Failure> {
    let Some(name) = args.archive.to_str().filter(|_| !args.archive.exists()) else { return Ok(None) };
    let jobs: Vec<&str> = config.jobs().iter().map(|job| job.name.as_str()).collect();
    if jobs.contains(&name) {
        return Ok(Some(name));
    }
    if jobs.is_empty() || name.contains(['/', '.', ':']) || config.destination(name).is_some() {
        return Ok(None);
    }
    let message = format!("{name:?} is neither an archive nor a job");
    let hint = format!("give a file, DEST/NAME.tar, or a job (known: {})", jobs.join(", "));
    Err(Failure::usage(message).hint(hint))
}

/// Rehearses a job's newest whole backup, as the service does by itself.
pub(crate) fn rehearse(job: &str, args: &RehearseArgs, config: &Config, cancel: &Cancellation) -> Result<u8, Failure> {
    if !args.is_plain() {
        let message = format!("{job} is a job, so key, scratch directory and `boot` are those of the job");
        return Err(Failure::usage(message).hint("leave out these options, or give an archive"));
    }
    let output = &args.output;
    let begun = Timestamp::now();
    let is_it =
        |run: &RunStatus| run.kind == TaskKind::Rehearse && run.job.as_deref() == Some(job) && run.started >= begun;
    let steps = Steps::start(output.progress);
    steps.say("rehearsing");
    let done = match ours_or_theirs(output.progress, cancel)? {
        Whose::Ours(lock) => {
            let mut running = serve::Running::start(config.clone(), lock, false, |settings| {
                (settings.only, settings.scope) = (Some(job.to_owned()), Scope::Orders);
            })?;
            let bell = running.bell();
            let _waking = cancel.on_cancel(move || bell.ring());
            let mut is_ordered = false;
            let done = loop {
                if cancel.is_cancelled() {
                    running.service.withdraw();
                    running.stop();
                    return Err(Failure::new(INTERRUPTED, "interrupted; nothing was left behind"));
                }
                running.step();
                // What there is must be known first.
                if running.service.running() == 0 {
                    if let Some(done) = running.service.runs(Some(job), None, 20).into_iter().find(is_it) {
                        break done;
                    }
                    if !is_ordered {
                        let order = Order::Rehearse { job: job.to_owned(), copy: None };
                        running.service.order(order, Timestamp::now()).map_err(refused)?;
                        is_ordered = true;
                        continue;
                    }
                }
                running.wait(None)?;
            };
            running.finish_telling(cancel);
            running.stop();
            done
        }
        Whose::Theirs(service) => {
            service.order(&format!("jobs/{job}/rehearse"))?;
            loop {
                if let Some(done) = service.runs()?.into_iter().find(is_it) {
                    break done;
                }
                if cancel.is_cancelled() {
                    return Err(Failure::new(INTERRUPTED, "no longer waiting for the rehearsal")
                        .hint("the service goes on with it; `haul status` shows the result"));
                }
                cancel.sleep(LOOK_AGAIN);
            }
        }
    };
    drop(steps);
    if output.json {
        output::json(&done)?;
    } else {
        output::lines(&[text::sanitize(&done.message)])?;
        output::notes("note", done.hint.iter().cloned().collect::<Vec<_>>().into_iter());
    }
    Ok(match done.ending {
        Ending::Done => DONE,
        Ending::Incomplete => INCOMPLETE,
        Ending::Failed => DAMAGED,
        Ending::Cancelled => INTERRUPTED,
    })
}

fn no_file(config: &Config) -> Failure {
    Failure::usage(format!("{}, so there are no jobs", config.searched()))
        .hint("`haul serve` and its page set one up; or name the file with --config FILE")
}

fn refused(reason: keeper::status::Failure) -> Failure {
    let failure = Failure::new(FAILED, reason.message);
    if let Some(hint) = reason.hint { failure.hint(hint) } else { failure }
}

/// What is known, for node_exporter: it reads all files of a directory, at any moment.
fn textfile(path: &Path, config: &Config, now: &Zoned) -> Result<(), Failure> {
    let text = serve::metrics(config, now)?;
    let write = || -> io::Result<()> {
        let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        // It takes what ends in .prom.
        let fresh = directory.join(format!(".{name}.{}", std::process::id()));
        // What was left there, or put there by somebody else, is not written through.
        let _ = fs::remove_file(&fresh);
        let done =
            fs::OpenOptions::new().write(true).create_new(true).mode(TEXTFILE).open(&fresh).and_then(|mut file| {
                // Whatever the umask is.
                file.set_permissions(fs::Permissions::from_mode(TEXTFILE))?;
                file.write_all(text.as_bytes())?;
                fs::rename(&fresh, path)
            });
        if done.is_err() {
            let _ = fs::remove_file(&fresh);
        }
        done
    };
    write().map_err(|error| {
        let (shown, reason) = (engine::shown(path.as_os_str().as_encoded_bytes()), engine::plain_reason(&error));
        Failure::new(FAILED, format!("can't write {shown}: {reason}"))
            .hint("give --textfile a file in a directory that exists and that you may write to")
    })
}

pub(crate) fn pause(args: &JobArgs, config: &Config, paused: bool) -> Result<u8, Failure> {
    let Some(path) = config.path() else {
        return Err(no_file(config));
    };
    // The service notices it by itself.
    let mut draft = Draft::open(path)?;
    draft.pause(&args.job, paused)?;
    draft.save()?;
    let what = if paused { "is paused: nothing is done for it until `haul resume`" } else { "goes on" };
    output::lines(&[format!("The job {} {what}", args.job)])?;
    Ok(DONE)
}

fn report(args: &RunArgs, made: &RunStatus, status: &Status) -> Result<u8, Failure> {
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
    // What was known to be away was not even tried.
    let of_job = status.jobs.iter().filter(|job| job.name == args.job).flat_map(|job| &job.destinations);
    let places = of_job.filter_map(|name| status.destinations.iter().find(|place| place.name == *name));
    let away: Vec<String> = places
        .filter_map(|place| {
            let failure = place.away.as_ref()?;
            Some(format!("{} gets this backup later; it can't be reached: {}", place.name, failure.message))
        })
        .collect();
    let is_everywhere = away.is_empty();
    output::notes("note", away.into_iter());
    Ok(if made.ending == Ending::Done && is_everywhere { DONE } else { INCOMPLETE })
}
