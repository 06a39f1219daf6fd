//! The Home Assistant of a job moves to another machine, because somebody said so.

use std::sync::Arc;

use engine::{Progress, verdict::Verdict};
use homeassistant::{Secret, Tls};
use keeper::{
    job::Job,
    status::Ending,
    task::{Found, Outcome},
};
use store::Cancellation;
use web::backend::MoveTo;

use super::{doing::Doing, making};
use crate::{
    args::ProgressArg,
    destination::Network,
    failure::{FAILED, Failure},
    migrate::{Move, Target, Unfit, Wanted, messages},
    text,
};

/// What somebody typed. It is kept in memory alone.
#[derive(Clone)]
pub(super) struct Typed {
    pub(super) to: String,
    pub(super) token: Option<Secret>,
    /// What the archive is encrypted with.
    pub(super) password: Option<Secret>,
    pub(super) replace: bool,
    pub(super) insecure: bool,
    pub(super) exclude_database: bool,
}

/// What was typed, and the new one as it was then.
pub(super) struct Agreed {
    pub(super) typed: Typed,
    pub(super) to: MoveTo,
}

/// Checks both sides. Nothing is sent.
pub(super) fn look(
    job: &Job,
    typed: &Typed,
    watched: Option<Arc<Progress>>,
    cancel: &Cancellation,
) -> Result<Move, Unfit> {
    let wanted = Wanted {
        config: job.source.clone(),
        to: typed.to.clone(),
        password: typed.password.clone(),
        token: typed.token.clone(),
        tls: Tls { insecure: typed.insecure },
        exclude_database: typed.exclude_database,
        exclude: Vec::new(),
        stop: None,
        start: None,
        progress: ProgressArg::None,
        watched,
        advice: &messages::PAGE,
    };
    let moving = Move::look(wanted, Network::start(None, cancel)?, cancel)?;
    moving.target.may_be_replaced(typed.replace)?;
    Ok(moving)
}

/// The new one as it is now.
pub(super) fn seen(target: &Target) -> MoveTo {
    MoveTo {
        address: target.address().to_owned(),
        version: target.version().map(|version| version.to_string()),
        installation: target.installation().map(text::sanitize),
        fresh: target.is_fresh(),
        about: messages::about_new(target),
    }
}

/// Nobody agreed to what it has become.
pub(super) fn is_as_agreed(before: &MoveTo, now: &MoveTo) -> Result<(), Failure> {
    if before == now {
        return Ok(());
    }
    let message = format!("{} has changed: it was {}, and is {}", now.address, before.about, now.about);
    Err(Failure::new(FAILED, message).hint("check it again; nothing was sent"))
}

pub(super) fn run(doing: &Doing<'_>, job: &Job, agreed: Option<Agreed>) -> Result<Outcome, Failure> {
    match agreed.map(|agreed| begin(doing, job, &agreed)) {
        None => Err(Failure::new(FAILED, "what was typed for it is no longer there").hint("begin again")),
        // How far it got is what matters then.
        Some(Err(failure)) if doing.cancel().is_cancelled() => {
            Ok(Outcome { message: failure.message, hint: failure.hint, ..Outcome::cancelled() })
        }
        Some(ended) => ended,
    }
}

fn begin(doing: &Doing<'_>, job: &Job, agreed: &Agreed) -> Result<Outcome, Failure> {
    let progress = Arc::clone(&doing.started.progress);
    let mut moving = look(job, &agreed.typed, Some(progress), doing.cancel())?;
    is_as_agreed(&agreed.to, &seen(&moving.target))?;
    let (sent, wrong) = making::with_hooks(doing, job, |_until_sent| moving.send())?;
    let restored = moving.restore(&sent)?;
    let (up, log_in) = (messages::up_again(&restored), messages::log_in(&moving.source, &restored));
    let mut outcome = Outcome::done(text::sanitize(&format!("{up}: {log_in}")), Found::Nothing);
    outcome.size = Some(sent.report.archive.size_bytes);
    let judgement = &sent.report.judgement;
    let lacking = (judgement.verdict != Verdict::Whole).then(|| format!("what was sent is {}", judgement.headline()));
    let notes: Vec<String> = lacking.into_iter().chain(wrong).map(|note| text::sanitize(&note)).collect();
    if !notes.is_empty() {
        (outcome.ending, outcome.hint) = (Ending::Incomplete, Some(notes.join("; ")));
    }
    Ok(outcome)
}
