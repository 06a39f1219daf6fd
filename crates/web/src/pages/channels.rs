//! Who is told, and the MQTT broker: added, changed, tried, removed.

use std::sync::Arc;

use askama::Template;
use axum::{
    extract::{Path, State},
    response::Response,
};

use super::{
    Answer, Frame, Service,
    forms::{Outcome, Typed, location},
    jobs::{Remove, removing},
    orders::said,
    show_as, view,
};
use crate::{
    backend::{Backend, Change, ChannelSettings, Choices, Configured, ConfiguredChannel, Filled, Invalid, What},
    fields::{Fields, segment},
    refusal::Refusal,
    shared::{Asked, Shared, permit_commands},
};

/// What somebody can be told: as it is written, and in words.
pub(crate) const LEVELS: &[(&str, &str)] = &[
    ("nothing", "nothing"),
    ("errors", "only when backups are not safe"),
    ("problems", "also when something needs a look"),
    ("backups", "also about every backup"),
    ("everything", "also about copies, removals and tests"),
];
/// What is told unless the file says otherwise.
const USUAL: &str = "problems";

#[derive(Template)]
#[template(path = "channel.html")]
struct Form {
    frame: Frame,
    /// Nothing: a new one.
    name: Option<String>,
    version: String,
    jobs: Vec<String>,
    /// Why its messages do not arrive.
    trouble: Option<String>,
    /// It can be silenced, not removed.
    built_in: bool,
    typed: Typed,
}

impl Form {
    fn action(&self) -> String {
        let named = self.name.as_ref().map(|name| format!("/settings/channels/{}", segment(name)));
        named.unwrap_or_else(|| "/settings/channel".to_owned())
    }

    fn wrong_at_all(&self) -> Vec<&Invalid> {
        self.typed.wrong_beside(&["name", "kind", "on", "jobs", "after"])
    }
}

#[derive(Template)]
#[template(path = "mqtt.html")]
struct Broker {
    frame: Frame,
    version: String,
    /// There is one already.
    is_set: bool,
    trouble: Option<String>,
    typed: Typed,
}

impl Broker {
    fn wrong_at_all(&self) -> Vec<&Invalid> {
        self.typed.wrong_beside(&["kind"])
    }
}

/// What is wrong with a channel or the broker, as its problem says.
async fn trouble(shared: &Arc<Shared>, key: String) -> Result<Option<String>, Refusal> {
    let problems = shared.ask(|backend| backend.status().problems).await?;
    Ok(problems.into_iter().find(|problem| problem.key == key).map(|problem| problem.message))
}

/// A form as the configuration file has it.
fn filled(channel: &ConfiguredChannel) -> Fields {
    let kind = channel.kind.clone().unwrap_or_default();
    let answers = channel.fields.iter().map(|(id, text)| (format!("{kind}.{id}"), text.clone()));
    let jobs = channel.jobs.iter().map(|job| ("jobs".to_owned(), job.clone()));
    let others = [
        ("kind", kind.clone()),
        ("on", channel.on.clone().unwrap_or_else(|| USUAL.to_owned())),
        ("after", channel.after.clone().unwrap_or_default()),
    ];
    Fields::of(answers.chain(jobs).chain(others.map(|(name, text)| (name.to_owned(), text))))
}

async fn page(
    shared: &Arc<Shared>,
    asked: &Asked,
    name: Option<String>,
    fields: Option<Fields>,
    outcome: Outcome,
) -> Answer {
    let Configured { version, jobs, channels, .. } = shared.configured().await?;
    let mut kinds = shared.ask(<dyn Backend>::channel_kinds).await?;
    kinds.retain(|kind| kind.id != ChannelSettings::COMMAND || asked.visitor.may_set_commands());
    let mut fields = fields.unwrap_or_default();
    let (mut problem, mut built_in) = (None, false);
    if let Some(name) = &name {
        let known = channels.iter().find(|known| known.name == *name).ok_or_else(|| Refusal::not_found("channel"))?;
        // Another kind is another channel.
        kinds.retain(|offered| known.kind.as_ref() == Some(&offered.id));
        if fields.is_empty() {
            fields = filled(known);
        }
        problem = trouble(shared, format!("notify-failed:{name}")).await?;
        built_in = known.built_in;
    }
    let has_secret = kinds.iter().flat_map(|kind| &kind.fields).any(|field| field.secret);
    let choices = Choices { kinds, ..Choices::default() };
    let typed = Typed { keeps: name.is_some() && has_secret, ..Typed::of(choices, fields, outcome) };
    let frame = Frame::new(asked, name.clone().unwrap_or_else(|| "New notification".to_owned()), "settings");
    let jobs = jobs.into_iter().map(|job| job.name).collect();
    Ok(show_as(typed.status(), &Form { frame, name, version, jobs, trouble: problem, built_in, typed }))
}

pub(super) async fn add(State(shared): Service, asked: Asked) -> Answer {
    page(&shared, &asked, None, None, Ok(None)).await
}

pub(super) async fn form(State(shared): Service, Path(name): Path<String>, asked: Asked) -> Answer {
    page(&shared, &asked, Some(name), None, Ok(None)).await
}

pub(super) async fn added(State(shared): Service, asked: Asked) -> Answer {
    save(&shared, &asked, None).await
}

pub(super) async fn changed(State(shared): Service, Path(name): Path<String>, asked: Asked) -> Answer {
    save(&shared, &asked, Some(name)).await
}

/// What was filled in.
fn settings(form: &Fields, keeps: Option<&str>, on_before: Option<&str>) -> ChannelSettings {
    let text = |name: &str| form.get(name).map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
    ChannelSettings {
        way: location(form, keeps),
        // What is usual need not be written; who wrote it sees it there again.
        on: text("on").filter(|on| on != USUAL || on_before == Some(USUAL)),
        jobs: form.iter().filter(|(name, _)| *name == "jobs").map(|(_, job)| job.to_owned()).collect(),
        after: text("after"),
    }
}

async fn save(shared: &Arc<Shared>, asked: &Asked, known: Option<String>) -> Answer {
    let before = shared.configured().await?.channels.into_iter().find(|before| Some(&before.name) == known.as_ref());
    permit_commands(asked, before.as_ref().is_some_and(ConfiguredChannel::is_command))?;
    let on_before = before.and_then(|before| before.on);
    let settings = settings(&asked.form, known.as_deref(), on_before.as_deref());
    permit_commands(asked, settings.way.kind == ChannelSettings::COMMAND)?;
    if asked.form.text("do") == "try" {
        let tried = shared.ask_slowly(move |backend, cancel| backend.try_channel(&settings, cancel)).await?;
        return page(shared, asked, known, Some(asked.form.clone()), tried.map(Some)).await;
    }
    let name = known.clone().unwrap_or_else(|| asked.form.text("name").trim().to_owned());
    let what = What::Channel { name, is_new: known.is_none(), settings: Box::new(settings) };
    let change = Change { version: asked.form.get("version").map(str::to_owned), what };
    match shared.ask(move |backend| backend.change(&change)).await? {
        Ok(_) => Ok(said(asked, "/settings", "saved")),
        Err(wrong) => page(shared, asked, known, Some(asked.form.clone()), Err(wrong)).await,
    }
}

async fn removal(shared: &Arc<Shared>, asked: &Asked, name: String, wrong: Vec<Invalid>) -> Answer {
    let Configured { version, channels, .. } = shared.configured().await?;
    let known = channels.iter().find(|known| known.name == name).ok_or_else(|| Refusal::not_found("channel"))?;
    permit_commands(asked, known.is_command())?;
    Ok(removing(&Remove {
        frame: Frame::new(asked, "Tell nobody any more", "settings"),
        action: format!("/settings/channels/{}/remove", segment(&name)),
        name,
        version,
        lines: vec!["It sends nothing any more. A password or token that Haul keeps for it is deleted.".to_owned()],
        wrong,
    }))
}

pub(super) async fn ask_to_remove(State(shared): Service, Path(name): Path<String>, asked: Asked) -> Answer {
    removal(&shared, &asked, name, Vec::new()).await
}

pub(super) async fn remove(State(shared): Service, Path(name): Path<String>, asked: Asked) -> Answer {
    let before = shared.configured().await?.channels;
    permit_commands(&asked, before.iter().any(|known| known.name == name && known.is_command()))?;
    let version = asked.form.get("version").map(str::to_owned);
    let change = Change { version, what: What::RemoveChannel { name: name.clone() } };
    match shared.ask(move |backend| backend.change(&change)).await? {
        Ok(_) => Ok(said(&asked, "/settings", "removed")),
        Err(wrong) => removal(&shared, &asked, name, wrong).await,
    }
}

async fn broker_page(shared: &Arc<Shared>, asked: &Asked, fields: Option<Fields>, outcome: Outcome) -> Answer {
    let Configured { version, mqtt, .. } = shared.configured().await?;
    let kind = shared.ask(<dyn Backend>::broker_kind).await?;
    let is_set = mqtt.is_some();
    let known = mqtt.unwrap_or_default().into_iter().map(|(id, text)| (format!("{}.{id}", Filled::BROKER), text));
    let fields = fields.unwrap_or_else(|| Fields::of(known));
    let choices = Choices { kinds: vec![kind], ..Choices::default() };
    let typed = Typed { keeps: is_set, ..Typed::of(choices, fields, outcome) };
    let problem = trouble(shared, "mqtt-failed".to_owned()).await?;
    let frame = Frame::new(asked, "Home Assistant by MQTT", "settings");
    Ok(show_as(typed.status(), &Broker { frame, version, is_set, trouble: problem, typed }))
}

pub(super) async fn broker(State(shared): Service, asked: Asked) -> Answer {
    broker_page(&shared, &asked, None, Ok(None)).await
}

pub(super) async fn set_broker(State(shared): Service, asked: Asked) -> Answer {
    let keeps = shared.configured().await?.mqtt.map(|_| Filled::BROKER);
    let broker = location(&asked.form, keeps);
    if asked.form.text("do") == "try" {
        let tried = shared.ask_slowly(move |backend, cancel| backend.try_broker(&broker, cancel)).await?;
        return broker_page(&shared, &asked, Some(asked.form.clone()), tried.map(Some)).await;
    }
    let version = asked.form.get("version").map(str::to_owned);
    let change = Change { version, what: What::Broker { broker } };
    match shared.ask(move |backend| backend.change(&change)).await? {
        Ok(_) => Ok(said(&asked, "/settings", "saved")),
        Err(wrong) => broker_page(&shared, &asked, Some(asked.form.clone()), Err(wrong)).await,
    }
}

async fn broker_removal(shared: &Arc<Shared>, asked: &Asked, wrong: Vec<Invalid>) -> Answer {
    let Configured { version, mqtt, .. } = shared.configured().await?;
    mqtt.ok_or_else(|| Refusal::not_found("broker"))?;
    let lines = "Haul takes its devices and entities back from Home Assistant. A password that it keeps is deleted.";
    Ok(removing(&Remove {
        frame: Frame::new(asked, "Remove the MQTT broker", "settings"),
        action: "/settings/mqtt/remove".to_owned(),
        name: "the MQTT broker".to_owned(),
        version,
        lines: vec![lines.to_owned()],
        wrong,
    }))
}

pub(super) async fn ask_to_remove_broker(State(shared): Service, asked: Asked) -> Answer {
    broker_removal(&shared, &asked, Vec::new()).await
}

pub(super) async fn remove_broker(State(shared): Service, asked: Asked) -> Answer {
    let version = asked.form.get("version").map(str::to_owned);
    let change = Change { version, what: What::RemoveBroker };
    let done = shared.ask(move |backend| backend.change(&change)).await?;
    let response: Response = match done {
        Ok(_) => said(&asked, "/settings", "removed"),
        Err(wrong) => broker_removal(&shared, &asked, wrong).await?,
    };
    Ok(response)
}
