//! A job's backup, with the user's commands around it.

use engine::{BackupOptions, BackupReport, Compress, CopyReport, SecureTar, Status};
use jiff::Zoned;
use keeper::{
    job::Job,
    status::{Ending, Failure as Reason},
    task::{Arrived, Found, Outcome},
};
use store::Checked;

use super::doing::{CONTACT, Doing};
use crate::{
    args::{LimitArgs, PasswordArgs, SendingArgs, WaitingArgs},
    command::backup::Goals,
    destination::{Destination, Network},
    failure::Failure,
    hooks::{Hooks, NotPrepared, Prepared},
    mounted, password, text,
};

pub(super) fn back_up(doing: &Doing<'_>, job: &Job, to: &[String]) -> Result<Outcome, Failure> {
    let hooks = Hooks {
        before: job.hooks.before.as_deref(),
        after: job.hooks.after.as_deref(),
        time_limit: Some(job.hooks.time_limit),
        before_called: ("the command before the backup", "no backup was made; correct `before` of the job"),
        after_called: ("the command after the backup", "what was stopped may still be stopped"),
    };
    let prepared = match Prepared::begin(&hooks, doing.cancel()) {
        Ok(prepared) => prepared,
        Err(NotPrepared::Failed(failure)) => return Err(failure),
        Err(NotPrepared::Interrupted) => return Ok(Outcome::cancelled()),
    };
    let made = make(doing, job, to);
    let after = prepared.end();
    let mut outcome = made?;
    if let Err(why) = after {
        outcome.ending = Ending::Incomplete;
        outcome.message = format!("{}; {why}", outcome.message);
    }
    Ok(outcome)
}

fn make(doing: &Doing<'_>, job: &Job, to: &[String]) -> Result<Outcome, Failure> {
    let config = &doing.force.config;
    let password = PasswordArgs { password_file: job.making.password_file.clone() };
    let password = password::for_new_archive(&password, doing.cancel())?;
    let wanted =
        to.iter().map(|name| doing.destination(Some(&job.name), name)).collect::<Result<Vec<Destination>, _>>()?;
    let sending =
        SendingArgs { verify: None, limit: LimitArgs { limit: None }, waiting: WaitingArgs { give_up_after: None } };
    let is_mounted = |goal: &Destination| mounted::check(goal, Some(&job.source), false);
    // With one destination there is nothing to go on with meanwhile.
    let contact = (wanted.len() > 1).then_some(CONTACT);
    let goals = Goals::reach(&wanted, &sending, config, is_mounted, contact, doing.cancel())?;
    let reached: Vec<&str> = to
        .iter()
        .map(String::as_str)
        .filter(|name| goals.unreachable.iter().all(|copy| copy.destination != **name))
        .collect();
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
        now: Zoned::now(),
        ..BackupOptions::new(&job.source, Vec::new())
    };
    let network = goals.network.as_ref().map(Network::sockets);
    let report = engine::backup(&options, network.as_ref(), &doing.started.progress, doing.cancel())?;
    report.copies.iter().filter_map(|copy| copy.path.as_deref()).for_each(mounted::remember);
    let instance = engine::instance_id(&job.source);
    let mut copies: Vec<(String, Result<Arrived, Reason>)> = Vec::new();
    let mut rest: Vec<&str> = reached;
    for copy in &report.copies {
        let Some(at) = rest.iter().position(|name| is_at(doing, job, name, copy)) else { continue };
        copies.push((rest.remove(at).to_owned(), arrived(copy)));
    }
    copies.extend(goals.unreachable.iter().map(|copy| (copy.destination.clone(), arrived(copy))));
    Ok(outcome(&report, &goals.unreachable, copies, instance))
}

/// Whether a copy is the one at this destination.
fn is_at(doing: &Doing<'_>, job: &Job, name: &str, copy: &CopyReport) -> bool {
    let Ok(destination) = doing.destination(Some(&job.name), name) else { return false };
    match (&copy.path, destination.local_archive()) {
        (Some(path), Some(directory)) => path.parent() == Some(&directory),
        (None, None) => copy.destination.trim_end_matches('/') == destination.address.to_string().trim_end_matches('/'),
        _ => false,
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
    report: &BackupReport,
    unreachable: &[CopyReport],
    copies: Vec<(String, Result<Arrived, Reason>)>,
    instance: Option<String>,
) -> Outcome {
    let there: Vec<&str> = copies.iter().filter(|(_, copy)| copy.is_ok()).map(|(name, _)| name.as_str()).collect();
    let missing: Vec<&str> = copies.iter().filter(|(_, copy)| copy.is_err()).map(|(name, _)| name.as_str()).collect();
    let mut message = format!(
        "backed up {} to {} in {}",
        text::bytes(report.archive.size_bytes),
        there.join(" and "),
        text::duration(report.seconds)
    );
    let is_whole = report.judgement.verdict == engine::verdict::Verdict::Whole;
    if !is_whole {
        message = format!("{message}; {}", text::sanitize(&report.judgement.headline()));
    }
    if !missing.is_empty() {
        message = format!("{message}; not to {}, which gets it later", missing.join(" and "));
    }
    let ending = if report.status == Status::Complete && unreachable.is_empty() && missing.is_empty() {
        Ending::Done
    } else {
        Ending::Incomplete
    };
    let hint = report.skipped.first().map(|skipped| format!("{}: {}", skipped.path, skipped.reason));
    Outcome {
        ending,
        hint: hint.filter(|_| !is_whole).or_else(|| report.warnings.first().cloned()),
        size: Some(report.archive.size_bytes),
        limited_by: Some(report.limited_by.as_str().to_owned()),
        ..Outcome::done(message, Found::Made { instance, copies })
    }
}
