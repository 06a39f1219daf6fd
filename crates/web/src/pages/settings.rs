//! The configuration as it is, the password, and tokens for programs.

use std::{sync::Arc, time::Instant};

use askama::Template;
use axum::extract::State;
use jiff::Timestamp;
use keeper::status::{Failure, Problem};
use zeroize::Zeroizing;

use super::{
    Answer, Frame, Service,
    channels::LEVELS,
    log_in::{too_many, waiting, with_session, wrongly},
    orders::said,
    show, view,
};
use crate::{
    auth::{AccountError, SHORTEST, Scope, TokenInfo},
    backend::{Change, Configuration, Configured, ConfiguredChannel, ConfiguredJob, Invalid, What},
    kit::{self, NotAllowed},
    refusal::Refusal,
    shared::{Asked, Shared},
    text::Clock,
};

/// What names of time zones begin with.
const AREAS: &[&str] =
    &["Africa", "America", "Antarctica", "Asia", "Atlantic", "Australia", "Europe", "Indian", "Pacific", "UTC"];

#[derive(Template)]
#[template(path = "settings.html")]
struct Settings {
    frame: Frame,
    clock: Clock,
    configuration: Configuration,
    /// Nothing: the file can't be read or understood.
    configured: Option<Configured>,
    /// Channels whose messages do not arrive, and why.
    troubles: Vec<(String, String)>,
    /// Why the MQTT broker can't be reached.
    mqtt_trouble: Option<String>,
    tokens: Vec<TokenInfo>,
    /// A token that was made just now.
    made: Option<Zeroizing<String>>,
    name: String,
    scope: String,
    shortest: usize,
    wrong_token: Option<String>,
    wrong_old: Option<String>,
    wrong_password: Option<String>,
    wrong_kit: Option<String>,
    /// Why there are no quick backups.
    wrong_quick: Option<String>,
    /// What was typed as a time zone and is none, and why.
    wrong_zone: Option<(String, String)>,
}

impl Settings {
    fn trouble(&self, channel: &str) -> Option<&String> {
        self.troubles.iter().find(|(name, _)| name == channel).map(|(_, trouble)| trouble)
    }

    /// The automatic backup of everything, if there is none of the configuration alone beside it.
    fn without_quick(&self) -> Option<&str> {
        let jobs = &self.configured.as_ref().filter(|_| self.frame.in_app)?.jobs;
        let is_alone = |job: &&ConfiguredJob| {
            let is_quick = |other: &ConfiguredJob| !other.settings.everything;
            job.settings.everything
                && !jobs.iter().any(|other| is_quick(other) && other.settings.source == job.settings.source)
        };
        jobs.iter().find(is_alone).map(|job| job.name.as_str())
    }

    /// Time zones to choose from, without old names for the same ones.
    fn zones() -> impl Iterator<Item = String> {
        let all = jiff::tz::db().available().map(|name| name.to_string());
        all.filter(|name| AREAS.contains(&name.split('/').next().unwrap_or_default()))
    }

    /// How a channel is reached, and what it hears.
    fn way(channel: &ConfiguredChannel) -> String {
        let way = match channel.kind.as_deref() {
            Some("ntfy") => "ntfy",
            Some("home_assistant" | "supervisor") => "Home Assistant",
            Some("email") => "e-mail",
            Some("webhook") => "webhook",
            Some("ping") => "ping",
            _ => "a command",
        };
        let to = channel.fields.get("email").map(|to| format!(" to {to}")).unwrap_or_default();
        let of = if channel.jobs.is_empty() { String::new() } else { format!(" · {}", channel.jobs.join(", ")) };
        let level = LEVELS.iter().find(|(level, _)| channel.on.as_deref() == Some(level));
        let level = level.map(|(_, words)| format!(" · {words}")).unwrap_or_default();
        format!("{way}{to}{of}{level}")
    }
}

async fn settings(shared: &Arc<Shared>, asked: &Asked) -> Result<Settings, Refusal> {
    let (configuration, configured, problems) =
        shared.ask(|backend| (backend.configuration(), backend.configured().ok(), backend.status().problems)).await?;
    let named = |problem: &Problem| {
        let name = problem.key.strip_prefix("notify-failed:")?;
        Some((name.to_owned(), problem.message.clone()))
    };
    let mqtt = problems.iter().find(|problem| problem.kind == "mqtt-failed");
    Ok(Settings {
        frame: Frame::new(asked, "Settings", "settings"),
        clock: shared.clock(),
        configuration,
        configured,
        troubles: problems.iter().filter_map(named).collect(),
        mqtt_trouble: mqtt.map(|problem| problem.message.clone()),
        tokens: shared.accounts.tokens(),
        made: None,
        name: String::new(),
        scope: "read".to_owned(),
        shortest: SHORTEST,
        wrong_token: None,
        wrong_old: None,
        wrong_password: None,
        wrong_kit: None,
        wrong_quick: None,
        wrong_zone: None,
    })
}

pub(super) async fn show_all(State(shared): Service, asked: Asked) -> Answer {
    Ok(show(&settings(&shared, &asked).await?))
}

pub(super) async fn change_time_zone(State(shared): Service, asked: Asked) -> Answer {
    let typed = asked.form.text("time_zone").trim().to_owned();
    let name = Some(typed.clone()).filter(|name| !name.is_empty());
    let change = Change { version: asked.form.get("version").map(str::to_owned), what: What::TimeZone { name } };
    match shared.ask(move |backend| backend.change(&change)).await? {
        Ok(_) => Ok(said(&asked, "/settings", "saved")),
        Err(wrong) => {
            let page = Settings { wrong_zone: Some((typed, all(&wrong))), ..settings(&shared, &asked).await? };
            Ok(wrongly(show(&page)))
        }
    }
}

/// All that is wrong, in one line.
fn all(wrong: &[Invalid]) -> String {
    let said = |wrong: &Invalid| {
        let Failure { message, hint, .. } = &wrong.failure;
        hint.as_ref().map_or_else(|| message.clone(), |hint| format!("{message}; {hint}"))
    };
    wrong.iter().map(said).collect::<Vec<_>>().join("; ")
}

pub(super) async fn add_quick(State(shared): Service, asked: Asked) -> Answer {
    let text = |name: &str| asked.form.text(name).to_owned();
    let what = What::QuickJob { beside: text("beside"), schedule: text("quick_schedule") };
    let change = Change { version: asked.form.get("version").map(str::to_owned), what };
    match shared.ask(move |backend| backend.change(&change)).await? {
        Ok(_) => Ok(said(&asked, "/settings", "quick")),
        Err(wrong) => {
            let page = Settings { wrong_quick: Some(all(&wrong)), ..settings(&shared, &asked).await? };
            Ok(wrongly(show(&page)))
        }
    }
}

pub(super) async fn add_token(State(shared): Service, asked: Asked) -> Answer {
    let (name, scope) = (asked.form.text("name").to_owned(), asked.form.text("scope").to_owned());
    let rights = match scope.as_str() {
        "act" => Scope::Act,
        "admin" => Scope::Admin,
        _ => Scope::Read,
    };
    match shared.accounts.add_token(&name, rights, Timestamp::now()) {
        Ok(made) => Ok(show(&Settings { made: Some(made), ..settings(&shared, &asked).await? })),
        Err(AccountError::Invalid(wrong)) => {
            let page = Settings { name, scope, wrong_token: Some(wrong), ..settings(&shared, &asked).await? };
            Ok(wrongly(show(&page)))
        }
        Err(other) => Err(other.into()),
    }
}

pub(super) async fn revoke_token(State(shared): Service, asked: Asked) -> Answer {
    if !shared.accounts.revoke_token(asked.form.text("name"))? {
        return Err(Refusal::not_found("token"));
    }
    Ok(said(&asked, "/settings", "revoke"))
}

pub(super) async fn kit(State(shared): Service, asked: Asked) -> Answer {
    let password = Zeroizing::new(asked.form.text("owner").to_owned());
    let (wrong, wait) = match kit::is_owner(&shared, &asked, password).await? {
        Ok(()) => return kit::download(&shared, &asked).await,
        Err(NotAllowed::Wait(wait)) => (waiting(wait), Some(wait)),
        Err(NotAllowed::Wrong) => ("This is not the current password.".to_owned(), None),
    };
    let page = show(&Settings { wrong_kit: Some(wrong), ..settings(&shared, &asked).await? });
    Ok(match wait {
        Some(wait) => too_many(page, wait),
        None => wrongly(page),
    })
}

pub(super) async fn change_password(State(shared): Service, asked: Asked) -> Answer {
    let text = |name| Zeroizing::new(asked.form.text(name).to_owned());
    let (old, new) = (text("old"), text("password"));
    if let Err(wait) = shared.throttle.attempt(asked.visit.peer, Instant::now()) {
        let page = Settings { wrong_old: Some(waiting(wait)), ..settings(&shared, &asked).await? };
        return Ok(too_many(show(&page), wait));
    }
    if !shared.hashed(move |accounts| accounts.code().is_some() || accounts.is_password(&old)).await? {
        let wrong = Some("This is not the current password.".to_owned());
        return Ok(wrongly(show(&Settings { wrong_old: wrong, ..settings(&shared, &asked).await? })));
    }
    shared.throttle.forget(asked.visit.peer);
    if *new != *text("again") {
        let wrong = Some("The two passwords are not the same.".to_owned());
        return Ok(wrongly(show(&Settings { wrong_password: wrong, ..settings(&shared, &asked).await? })));
    }
    match shared.hashed(move |accounts| accounts.set_password(&new)).await? {
        Ok(()) => with_session(&shared, &asked, said(&asked, "/settings", "password")),
        Err(AccountError::Invalid(wrong)) => {
            Ok(wrongly(show(&Settings { wrong_password: Some(wrong), ..settings(&shared, &asked).await? })))
        }
        Err(other) => Err(other.into()),
    }
}
