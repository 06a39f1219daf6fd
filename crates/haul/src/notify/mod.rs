//! Channels by which people and machines are told: what `[notify.NAME]` of `haul.toml` says, and how a notice gets
//! there. What is told to whom is decided in [`keeper::notices`].

mod command;
mod here;
mod mail;
mod web;

use std::time::Duration;

use jiff::Timestamp;
use keeper::{
    notices::{self, Notice},
    status::{Ending, Failure as Reason, Level},
    task::Outcome,
};
use serde_json::{Value, json};
use store::Cancellation;

pub(crate) use self::{here::this_is_an_app, mail::Mail, web::Site};
use crate::text;

/// One message takes no longer.
const TIME_LIMIT: Duration = Duration::from_secs(30);

/// What needs a look may pass by itself within this time.
pub(crate) const USUAL_PATIENCE: Duration = Duration::from_hours(1);

/// A channel as it is configured.
#[derive(Clone, Debug)]
pub(crate) struct Channel {
    /// What it wants to hear.
    pub(crate) wants: notices::Channel,
    /// How it is reached.
    pub(crate) way: Way,
}

/// How somebody is reached.
#[derive(Clone, Debug)]
pub(crate) enum Way {
    /// A topic of an ntfy server.
    Ntfy(Site),
    /// A JSON document is posted there.
    Webhook(Site),
    /// Home Assistant's notifications, or one of its services such as `notify.mobile_app_phone`.
    HomeAssistant { site: Site, service: Option<String> },
    /// The same of the one that Haul is an app of.
    Here { service: Option<String> },
    /// E-mail.
    Email(Mail),
    /// A command that gets the document on its standard input.
    Command(String),
    /// An address that is called when a backup begins and ends, as healthchecks.io offers.
    Ping(Site),
}

impl Channel {
    /// What tells the users of this Home Assistant, unless the configuration says otherwise.
    pub(crate) const HERE: &str = "home-assistant";
    /// What stands for its address there.
    pub(crate) const SUPERVISOR: &str = "supervisor";

    /// The notifications of the Home Assistant that Haul is an app of.
    pub(crate) fn here() -> Self {
        let wants = notices::Channel {
            name: Self::HERE.to_owned(),
            wanted: notices::Wanted::Problems,
            jobs: Vec::new(),
            after: USUAL_PATIENCE,
            takes_back: true,
        };
        Self { wants, way: Way::Here { service: None } }
    }

    /// Tells it.
    pub(crate) fn tell(&self, notice: &Notice, cancel: &Cancellation) -> Result<(), Reason> {
        let now = Timestamp::now();
        let told = match &self.way {
            Way::Ntfy(site) => site.ntfy(notice, now, cancel),
            Way::Webhook(site) => site.webhook(&document(notice, now), cancel),
            Way::HomeAssistant { site, service } => site.home_assistant(service.as_deref(), notice, now, cancel),
            Way::Email(mail) => mail.send(&notice.title(), &body(notice, now)),
            Way::Command(line) => command::run(line, notice, &document(notice, now), cancel),
            Way::Here { service } => here::tell(service.as_deref(), notice, now, cancel),
            // A test must not say that a backup succeeded.
            Way::Ping(site) => site.ping("/log", &body(notice, now), cancel),
        };
        told.map_err(|reason| Reason { message: text::sanitize(&reason.message), ..reason })
    }

    /// Calls a ping's address when a backup begins.
    pub(crate) fn ping_start(&self, cancel: &Cancellation) -> Result<(), Reason> {
        let Way::Ping(site) = &self.way else { return Ok(()) };
        site.ping("/start", "", cancel)
    }

    /// Calls a ping's address when a backup has ended.
    pub(crate) fn ping_end(&self, outcome: &Outcome, cancel: &Cancellation) -> Result<(), Reason> {
        let Way::Ping(site) = &self.way else { return Ok(()) };
        let path = match outcome.ending {
            Ending::Done => "",
            Ending::Incomplete | Ending::Failed => "/fail",
            Ending::Cancelled => "/log",
        };
        site.ping(path, &with_hint(&outcome.message, outcome.hint.as_deref()), cancel)
    }
}

/// Everything about a notice, for programs.
fn document(notice: &Notice, now: Timestamp) -> Value {
    let problem = notice.problem();
    json!({
        "haul": env!("CARGO_PKG_VERSION"),
        "at": now,
        "kind": notice.kind(),
        "level": notice.level(),
        "title": notice.title(),
        "message": notice.message(now),
        "hint": notice.hint(),
        "job": notice.job(),
        "destination": notice.destination(),
        "problem": problem.map(|problem| json!({
            "key": problem.key, "kind": problem.kind, "since": problem.since,
        })),
    })
}

/// What a person reads.
fn body(notice: &Notice, now: Timestamp) -> String {
    with_hint(&notice.message(now), notice.hint())
}

fn with_hint(message: &str, hint: Option<&str>) -> String {
    let message = text::sanitize(message);
    hint.map_or_else(|| message.clone(), |hint| format!("{message}\n{}", text::sanitize(hint)))
}

/// A secret out of its file.
fn secret(path: &std::path::Path) -> Result<store::Secret, Reason> {
    let shown = engine::shown(path.as_os_str().as_encoded_bytes());
    store::Secret::in_file(path, &Cancellation::default()).map_err(|why| Reason {
        message: format!("{shown} {why}"),
        hint: Some("the file must hold one line with the token or password".to_owned()),
        passes: false,
    })
}

/// The last of an error's reasons says most, and no address.
fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    let mut reason = error;
    while let Some(source) = reason.source() {
        reason = source;
    }
    match reason.downcast_ref::<std::io::Error>() {
        Some(error) => engine::plain_reason(error),
        None => reason.to_string(),
    }
}

/// How loud a notice is.
fn is_loud(notice: &Notice) -> bool {
    notice.level() >= Level::Error
}
