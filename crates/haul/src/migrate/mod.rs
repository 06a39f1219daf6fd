//! Moves one Home Assistant into another: checks both, sends, restores, follows the restart, reports.
//!
//! ```text
//! Move::look ─▶ [stop] ─▶ send ─▶ [start] ─▶ restore ─▶ "log in as …"
//! ```
//!
//! The engine makes the backup, with the new Home Assistant as its only destination (`sink`); the crate
//! `homeassistant` talks to a Home Assistant. This module orders the steps, and says what it means for the user when
//! one of them ends early.
//!
//! | module | owns |
//! |---|---|
//! | `source` | the old one: whether its directory is whole, who can log in |
//! | `target` | the new one, fresh or with a token |
//! | `sink` | the new one as a destination that takes one archive |
//! | `messages` | the sentences that combine several facts |

pub(crate) mod messages;
mod sink;
mod source;
mod target;

use std::{path::PathBuf, sync::Arc, time::Duration};

use engine::{BackupError, BackupOptions, BackupReport, Destination, Identity, Progress};
use homeassistant::{Begun, Kind, Restored, Secret, Stage, Tls};
use store::{Cancellation, retry::RetryPolicy};

use self::{
    messages::{Advice, Reached},
    sink::{HomeAssistantSink, Ledger},
};
pub(crate) use self::{source::Source, target::Target};
use crate::{
    args::ProgressArg,
    clock,
    destination::Network,
    failure::{FAILED, Failure},
    hooks::{Hooks, NotPrepared, Prepared},
    progress::{Display, Job, Steps},
};

/// How often to request a restore again if the instance is busy.
const RESTORE_TRIES: u32 = 30;
const RESTORE_PAUSE: std::time::Duration = std::time::Duration::from_secs(2);

/// What the user wants.
pub(crate) struct Wanted {
    pub(crate) config: PathBuf,
    pub(crate) to: String,
    pub(crate) password: Option<Secret>,
    pub(crate) token: Option<Secret>,
    pub(crate) tls: Tls,
    pub(crate) exclude_database: bool,
    pub(crate) exclude: Vec<String>,
    pub(crate) stop: Option<String>,
    pub(crate) start: Option<String>,
    pub(crate) progress: ProgressArg,
    /// Whoever else watches it.
    pub(crate) watched: Option<Arc<Progress>>,
    /// What is advised where it is asked for.
    pub(crate) advice: &'static Advice,
}

/// Why it can't be moved, and what of the user's words that is about.
#[derive(Debug)]
pub(crate) struct Unfit {
    pub(crate) about: About,
    pub(crate) failure: Failure,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum About {
    /// The old one, or this machine.
    Source,
    Address,
    Token,
    /// That everything may be replaced.
    Replace,
}

impl About {
    fn of(self, failure: Failure) -> Unfit {
        Unfit { about: self, failure }
    }
}

impl From<Failure> for Unfit {
    fn from(failure: Failure) -> Self {
        About::Source.of(failure)
    }
}

impl From<homeassistant::Error> for Unfit {
    fn from(error: homeassistant::Error) -> Self {
        let about = if error.kind == Kind::Credentials { About::Token } else { About::Address };
        about.of(error.into())
    }
}

impl From<Unfit> for Failure {
    fn from(unfit: Unfit) -> Self {
        unfit.failure
    }
}

/// Says what is being done while there are no figures, at the terminal and to whoever watches.
struct Saying<'a> {
    steps: Steps,
    watched: Option<&'a Progress>,
}

impl<'a> Saying<'a> {
    fn start(wanted: &'a Wanted) -> Self {
        Self { steps: Steps::start(wanted.progress), watched: wanted.watched.as_deref() }
    }

    fn say(&self, what: &str) {
        self.steps.say(what);
        if let Some(watched) = self.watched {
            watched.say(Some(what));
        }
    }
}

impl Drop for Saying<'_> {
    fn drop(&mut self) {
        if let Some(watched) = self.watched {
            watched.say(None);
        }
    }
}

/// A move from one Home Assistant to another that nothing speaks against.
pub(crate) struct Move {
    pub(crate) source: Source,
    pub(crate) target: Arc<Target>,
    identity: Identity,
    options: BackupOptions,
    wanted: Wanted,
    network: Network,
    cancel: Cancellation,
}

/// A backup that the new one has.
pub(crate) struct Sent {
    pub(crate) report: BackupReport,
    /// By what it is restored.
    pub(crate) backup_id: String,
    /// Why it had to be sent again, each time.
    pub(crate) breaks: Vec<String>,
    /// What the user should know of the old one.
    pub(crate) notes: Vec<String>,
}

impl Move {
    /// Checks both sides. It sends nothing to the new one, and reads of the old one only what identifies it.
    pub(crate) fn look(wanted: Wanted, network: Network, cancel: &Cancellation) -> Result<Self, Unfit> {
        let options = options(&wanted);
        let identity = engine::identity(&options).map_err(|error| match error {
            BackupError::NoVersion { instead: None, .. } | BackupError::StrangeVersion { .. } => Failure::usage(
                error.to_string(),
            )
            .hint("give the config directory: the one with configuration.yaml and the hidden .HA_VERSION and .storage"),
            other => Failure::from(other),
        })?;
        let source = Source::look(&wanted.config, &identity)?;
        let steps = Saying::start(&wanted);
        let shown = crate::text::sanitize(&homeassistant::without_login(&wanted.to));
        steps.say(&format!("checking {shown}"));
        let looking = Target::look(&wanted, network.context.tuning.give_up_after);
        let target = network.bridge.wait(RetryPolicy::new(&network.context).unless_cancelled(looking));
        let mut target = target.map_err(|error| messages::ended(&error, Reached::Nothing, &shown, wanted.advice))??;
        target.suits(&source)?;
        let expecting =
            network.bridge.wait(RetryPolicy::new(&network.context).unless_cancelled(target.expect(&source)));
        expecting.map_err(|error| messages::ended(&error, Reached::Nothing, &shown, wanted.advice))?;
        drop(steps);
        Ok(Self { source, target: Arc::new(target), identity, options, wanted, network, cancel: cancel.clone() })
    }

    /// Sends the backup, while the old one runs or is stopped for it.
    pub(crate) fn send(&mut self) -> Result<Sent, Failure> {
        let Some(stop) = &self.wanted.stop else { return self.send_now() };
        let steps = Saying::start(&self.wanted);
        steps.say("stopping the old Home Assistant");
        let hooks = Hooks {
            before: Some(stop),
            after: self.wanted.start.as_deref(),
            time_limit: None,
            before_called: ("the stop command", "nothing was sent; the new Home Assistant is as it was"),
            after_called: ("the start command", "the old Home Assistant may still be stopped"),
            is_shown: true,
        };
        let stopped = match Prepared::begin(&hooks, &self.cancel) {
            Ok(stopped) => stopped,
            Err(NotPrepared::Failed(failure)) => return Err(failure),
            Err(NotPrepared::Interrupted) => {
                let failure = messages::interrupted(Reached::Nothing, self.target.address(), self.wanted.advice);
                return Err(if self.wanted.start.is_some() {
                    failure
                } else {
                    with_hint(failure, "the old Home Assistant may have stopped")
                });
            }
        };
        drop(steps);
        let sent = self.send_now();
        let steps = Saying::start(&self.wanted);
        if self.wanted.start.is_some() {
            steps.say("starting the old Home Assistant again");
        }
        let started = stopped.end();
        drop(steps);
        match (sent, started) {
            (Ok(mut sent), started) => {
                sent.notes.extend(started.err());
                Ok(sent)
            }
            (Err(failure), Ok(())) if self.wanted.start.is_none() => {
                Err(with_hint(failure, "the old Home Assistant is still stopped"))
            }
            (Err(failure), Ok(())) => Err(failure),
            (Err(failure), Err(why)) => {
                crate::output::notes("note", std::iter::once(why));
                Err(failure)
            }
        }
    }

    fn send_now(&mut self) -> Result<Sent, Failure> {
        let ledger = Arc::new(Ledger::default());
        let Identity { slug, name, date, .. } = self.identity.clone();
        let expected = homeassistant::Expected { agent: self.target.agent().to_owned(), slug, name, date, size: None };
        let store = HomeAssistantSink::new(Arc::clone(&self.target), expected, Arc::clone(&ledger));
        let mut context = self.network.context.clone();
        // It has answered: from now on Haul waits for it as long as for any destination that has worked.
        context.tuning.first_contact = context.tuning.give_up_after;
        self.options.destinations =
            vec![Destination::Remote { sink: Arc::new(store), name: None, context: Some(context) }];
        let progress = self.wanted.watched.clone().unwrap_or_default();
        let job = Job { verb: "sending", encrypted: self.options.password.is_some(), names_limit: true };
        let display = Display::start(self.wanted.progress, job, Arc::clone(&progress));
        let outcome = engine::backup(&self.options, Some(&self.network.sockets()), &progress, &self.cancel);
        drop(display);
        let report = outcome.map_err(|error| self.not_sent(error, &ledger))?;
        let Some(backup_id) = ledger.backup_id() else {
            return Err(Failure::new(FAILED, "the upload ended without an answer from Home Assistant"));
        };
        Ok(Sent { report, backup_id, breaks: ledger.breaks(), notes: Vec::new() })
    }

    /// Why nothing arrived, with the new instance's own text if it gave one.
    fn not_sent(&self, error: BackupError, ledger: &Ledger) -> Failure {
        let breaks = ledger.breaks();
        match (error, ledger.last_error()) {
            (BackupError::Cancelled, _) => {
                let reached = match ledger.way() {
                    _ if ledger.backup_id().is_some() => Reached::Sent,
                    (false, _) => Reached::Nothing,
                    (true, false) => Reached::Sending,
                    (true, true) => Reached::Unanswered,
                };
                messages::interrupted(reached, self.target.address(), self.wanted.advice)
            }
            (BackupError::Store(_), Some(last)) => {
                crate::output::notes(
                    "sent again",
                    breaks.iter().take(breaks.len().saturating_sub(1)).cloned().collect::<Vec<_>>().into_iter(),
                );
                let mut failure = Failure::from(last);
                if breaks.len() > 1 {
                    failure.message = format!("{}, the last of {} tries", failure.message, breaks.len());
                }
                with_hint(failure, "nothing was restored")
            }
            (error, _) => error.into(),
        }
    }

    /// Restores what was sent, and waits until the new one is up again.
    pub(crate) fn restore(&self, sent: &Sent) -> Result<Restored, Failure> {
        let steps = Saying::start(&self.wanted);
        let (address, advice) = (self.target.address(), self.wanted.advice);
        let policy = RetryPolicy::new(&self.network.context);
        if self.cancel.is_cancelled() {
            return Err(messages::interrupted(Reached::Sent, address, advice));
        }
        steps.say("restoring: Home Assistant is reading the backup");
        let elsewhere = self.network.bridge.wait(policy.unless_cancelled(self.target.elsewhere()));
        let elsewhere = elsewhere.map_err(|error| messages::ended(&error, Reached::Sent, address, advice))?;
        let request = self.target.request(&sent.backup_id, self.wanted.password.clone(), !self.wanted.exclude_database);
        let begun = self.network.bridge.wait(policy.unless_cancelled(self.ask_to_restore(&request)));
        // An interruption now may well be too late.
        let begun = begun.map_err(|error| messages::ended(&error, Reached::Restoring, address, advice))?;
        if let Begun::Unheard(_) = begun.map_err(|error| with_hint(error.into(), "the backup remains there"))? {
            steps.say("restoring: no answer, as happens when Home Assistant restarts at once");
        }
        let following = self.target.follow(&elsewhere, |stage, waited| steps.say(&described(stage, waited)));
        let restored = self.network.bridge.wait(policy.unless_cancelled(following));
        Ok(restored.map_err(|error| messages::ended(&error, Reached::Restoring, address, advice))??)
    }

    async fn ask_to_restore(&self, request: &homeassistant::RestoreRequest) -> Result<Begun, homeassistant::Error> {
        let mut tries = 0;
        loop {
            match self.target.restore(request).await {
                Err(error) if error.is_transient() && tries < RESTORE_TRIES => {
                    tries += 1;
                    tokio::time::sleep(RESTORE_PAUSE).await;
                }
                answer => return answer,
            }
        }
    }
}

/// The same end, with the current state after the advice.
fn with_hint(mut failure: Failure, state: &str) -> Failure {
    let advice = failure.hint.take().map_or_else(String::new, |hint| format!("{hint}; "));
    failure.hint(format!("{advice}{state}"))
}

/// A stage of the restart, as users know it, with the time that the restore has taken so far.
fn described(stage: &Stage, waited: Duration) -> String {
    let what = match stage {
        Stage::Working(Some(what)) if what == "core_restart" => "Home Assistant is about to restart",
        Stage::Working(_) => "Home Assistant is unpacking the backup",
        Stage::Down => "Home Assistant is down, and unpacks the backup when it starts",
        Stage::Starting => "it is starting",
    };
    let so_far = match waited.as_secs() / 60 {
        0 => String::new(),
        minutes => format!(" ({minutes} min so far)"),
    };
    format!("restoring: {what}{so_far}")
}

fn options(wanted: &Wanted) -> BackupOptions {
    BackupOptions {
        password: wanted.password.as_ref().map(|password| habackup::securetar::Password::new(password.expose())),
        exclude_database: wanted.exclude_database,
        exclude: wanted.exclude.clone(),
        now: clock::now(),
        ..BackupOptions::new(wanted.config.clone(), Vec::new())
    }
}
