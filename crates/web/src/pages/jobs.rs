//! A job's form: added, changed, removed.

use std::sync::Arc;

use askama::Template;
use axum::{
    extract::{Path, State},
    response::Response,
};

use super::{
    Answer, Frame, Service,
    forms::{Typed, encryption, noted, status, with_more, wrong},
    orders::said,
    redirect,
    setup::only_directory,
    show_as, view,
};
use crate::{
    backend::{
        Backend, Change, Configured, ConfiguredLocation, Encryption, Established, Invalid, JobSettings, Keep, Policy,
        What,
    },
    fields::{Fields, segment},
    refusal::Refusal,
    shared::{Asked, Shared},
};

/// Rules of what is kept, their words, and an example.
pub(crate) const RULES: &[(&str, &str, &str)] = &[
    ("last", "How many of the newest", "3"),
    ("daily", "One per day, for how many days", "7"),
    ("weekly", "One per week, for how many weeks", "4"),
    ("monthly", "One per month, for how many months", "12"),
    ("yearly", "One per year, for how many years", "5"),
    ("within", "All of the last days or weeks", "7d or 2w"),
];

#[derive(Template)]
#[template(path = "job.html")]
struct Form {
    frame: Frame,
    /// Nothing: a new one.
    name: Option<String>,
    version: String,
    places: Vec<ConfiguredLocation>,
    /// The config directory, where there is only one.
    only: Option<String>,
    /// The visitor may say which commands are run.
    commands: bool,
    typed: Typed,
}

impl Form {
    fn action(&self) -> String {
        let named = self.name.as_ref().map(|name| format!("/settings/jobs/{}", segment(name)));
        named.unwrap_or_else(|| "/settings/job".to_owned())
    }

    /// Whether there is nothing to choose: it is typed only where that is no config directory that Haul has found.
    fn is_only_directory(&self) -> bool {
        self.frame.in_app && self.only.as_deref() == Some(self.typed.value("source", ""))
    }

    fn first_content() -> &'static str {
        "no"
    }

    /// The name of a field about one location.
    fn at(place: &str, key: &str) -> String {
        at(place, key)
    }

    /// Whether something differs at a location.
    fn differs(&self, place: &str) -> bool {
        let about = at(place, "");
        let mut wrong = self.typed.wrong.iter().filter_map(|wrong| wrong.field.as_deref());
        self.typed.fields.iter().any(|(name, value)| name.starts_with(&about) && !value.trim().is_empty())
            || wrong.any(|field| field.starts_with(&about))
    }

    fn first_encryption(&self) -> &'static str {
        if self.name.is_some() { "keep" } else { "new" }
    }

    fn wrong_at_all(&self) -> Vec<&Invalid> {
        let rules = RULES.iter().map(|(rule, ..)| *rule);
        let others = [
            "name",
            "source",
            "destinations",
            "limit",
            "hours",
            "schedule",
            "rehearse",
            "verify_every",
            "verify_by",
            "key",
        ];
        let commands: &[&str] = if self.commands { &["before", "after", "hook_timeout", "boot"] } else { &[] };
        let shown: Vec<&str> = others.into_iter().chain(rules).chain(commands.iter().copied()).collect();
        let is_at = |wrong: &&Invalid| {
            let field = wrong.field.as_deref().unwrap_or_default();
            self.places.iter().any(|place| field.starts_with(&at(&place.name, "")))
        };
        self.typed.wrong_beside(&shown).into_iter().filter(|wrong| !is_at(wrong)).collect()
    }
}

/// The name of a field about one location.
fn at(place: &str, key: &str) -> String {
    format!("at.{place}.{key}")
}

async fn page(
    shared: &Arc<Shared>,
    asked: &Asked,
    configured: Configured,
    name: Option<String>,
    fields: Fields,
    wrong: Vec<Invalid>,
) -> Answer {
    let choices = shared.ask(<dyn Backend>::choices).await?;
    let only = only_directory(&choices).map(|only| only.path.clone());
    let mut fields = fields;
    if let Some(only) = only.as_ref().filter(|_| asked.is_in_app() && !fields.is_set("source")) {
        fields.set("source", only);
    }
    let typed = Typed::plain(fields, wrong);
    let commands = asked.visitor.may_set_commands();
    let title = name.clone().unwrap_or_else(|| "New automatic backup".to_owned());
    let frame = Frame::new(asked, title, "settings");
    let (version, places) = (configured.version, configured.locations);
    Ok(show_as(typed.status(), &Form { frame, name, version, places, only, commands, typed }))
}

pub(super) async fn add(State(shared): Service, asked: Asked) -> Answer {
    let configured = shared.configured().await?;
    // What the first one has is likely, the places too.
    let first = configured.jobs.first().map(|job| job.settings.source.clone()).unwrap_or_default();
    let mut fields = vec![
        ("source", first),
        ("schedule", "daily 04:45".to_owned()),
        ("last", "3".to_owned()),
        ("daily", "7".to_owned()),
        ("weekly", "4".to_owned()),
        ("rehearse", "weekly".to_owned()),
        ("everything", "no".to_owned()),
        ("encryption", "new".to_owned()),
    ];
    // Two jobs of one Home Assistant must not share a place.
    if configured.jobs.is_empty() {
        fields.extend(configured.locations.iter().map(|place| ("destinations", place.name.clone())));
    }
    page(&shared, &asked, configured, None, Fields::of(fields), Vec::new()).await
}

pub(super) async fn form(State(shared): Service, Path(name): Path<String>, asked: Asked) -> Answer {
    let configured = shared.configured().await?;
    let job =
        configured.jobs.iter().find(|job| job.name == name).ok_or_else(|| Refusal::not_found("automatic backup"))?;
    let fields = filled(&job.settings);
    page(&shared, &asked, configured, Some(name), fields, Vec::new()).await
}

/// What can differ at one location, besides what is kept.
const POLICY: &[&str] = &["verify_every", "verify_by", "limit", "hours"];

/// The form as the configuration file has it.
fn filled(settings: &JobSettings) -> Fields {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let mut fields = vec![
        ("source".to_owned(), settings.source.clone()),
        ("everything".to_owned(), if settings.everything { "yes" } else { "no" }.to_owned()),
        ("password_file".to_owned(), text(&settings.password_file)),
        ("rehearse".to_owned(), text(&settings.rehearse)),
        ("before".to_owned(), text(&settings.before)),
        ("after".to_owned(), text(&settings.after)),
        ("hook_timeout".to_owned(), text(&settings.hook_timeout)),
        ("boot".to_owned(), text(&settings.boot)),
        ("encryption".to_owned(), "keep".to_owned()),
    ];
    fields.extend(filled_policy(&settings.policy, str::to_owned));
    for (place, differs) in &settings.at {
        fields.extend(filled_policy(differs, |key| at(place, key)));
    }
    fields.extend(settings.destinations.iter().map(|name| ("destinations".to_owned(), name.clone())));
    Fields::of(fields)
}

/// What may be said of all locations, and of one. `named` gives the fields' names.
fn filled_policy(policy: &Policy, named: impl Fn(&str) -> String) -> Vec<(String, String)> {
    let count = |number: Option<u32>| number.map(|number| number.to_string()).unwrap_or_default();
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let keep = &policy.keep;
    let counts = [keep.last, keep.daily, keep.weekly, keep.monthly, keep.yearly].map(count);
    let rules = RULES.iter().map(|(rule, ..)| *rule).zip(counts.into_iter().chain([text(&keep.within)]));
    let texts = [&policy.verify_every, &policy.verify_by, &policy.limit, &policy.hours].map(text);
    let fields = rules.chain(POLICY.iter().copied().zip(texts)).chain([("schedule", policy.schedule.join("\n"))]);
    fields.map(|(key, text)| (named(key), text)).collect()
}

/// What was filled in of the same.
fn policy(form: &Fields, named: impl Fn(&str) -> String, mistakes: &mut Vec<Invalid>) -> Policy {
    let text = |key: &str| text(form, &named(key));
    let mut count = |key: &str| {
        let number = text(key).map(|text| text.parse::<u32>()).transpose();
        noted(mistakes, number.map_err(|_| wrong(&named(key), "Write a whole number, or nothing.")))
    };
    let lines = form.text(&named("schedule")).lines().map(str::trim).filter(|line| !line.is_empty());
    Policy {
        schedule: lines.map(str::to_owned).collect(),
        keep: Keep {
            last: count("last"),
            daily: count("daily"),
            weekly: count("weekly"),
            monthly: count("monthly"),
            yearly: count("yearly"),
            within: text("within"),
        },
        verify_every: text("verify_every"),
        verify_by: text("verify_by"),
        limit: text("limit"),
        hours: text("hours"),
    }
}

fn text(form: &Fields, name: &str) -> Option<String> {
    form.get(name).map(|text| text.trim().replace("\r\n", "\n")).filter(|text| !text.is_empty())
}

/// What was filled in. What the form does not show is as `before`.
fn settings(asked: &Asked, before: &JobSettings, mistakes: &mut Vec<Invalid>) -> JobSettings {
    let (form, may_set_commands) = (&asked.form, asked.visitor.may_set_commands());
    let source = text(form, "source").ok_or_else(|| wrong("source", "Say which directory is to be backed up."));
    let source = noted(mistakes, source);
    let all = policy(form, str::to_owned, mistakes);
    let chosen = form.iter().filter(|(name, _)| *name == "destinations");
    let destinations: Vec<String> = chosen.map(|(_, name)| name.to_owned()).collect();
    let mut differs = std::collections::BTreeMap::new();
    for name in &destinations {
        differs.insert(name.clone(), policy(form, |key| at(name, key), mistakes));
    }
    differs.retain(|_, policy| *policy != Policy::default());
    // A command is the same if only blanks around it differ, which a form loses.
    let command = |name: &str, before: &Option<String>| match text(form, name) {
        _ if !may_set_commands => before.clone(),
        Some(text) if before.as_ref().is_some_and(|before| before.trim() == text) => before.clone(),
        new => new,
    };
    JobSettings {
        source,
        everything: if asked.is_in_app() { form.text("everything") == "yes" } else { before.everything },
        destinations,
        policy: all,
        password_file: text(form, "password_file"),
        earlier_password_files: before.earlier_password_files.clone(),
        rehearse: text(form, "rehearse"),
        at: differs,
        before: command("before", &before.before),
        after: command("after", &before.after),
        hook_timeout: command("hook_timeout", &before.hook_timeout),
        boot: command("boot", &before.boot),
    }
}

pub(super) async fn added(State(shared): Service, asked: Asked) -> Answer {
    save(&shared, &asked, None).await
}

pub(super) async fn changed(State(shared): Service, Path(name): Path<String>, asked: Asked) -> Answer {
    save(&shared, &asked, Some(name)).await
}

async fn save(shared: &Arc<Shared>, asked: &Asked, known: Option<String>) -> Answer {
    let name = known.clone().unwrap_or_else(|| asked.form.text("name").trim().to_owned());
    let before = shared.configured().await?.jobs.into_iter().find(|job| job.name == name);
    let before = before.map(|job| job.settings).unwrap_or_default();
    let mut wrong = Vec::new();
    let settings = Box::new(settings(asked, &before, &mut wrong));
    let encryption = noted(&mut wrong, encryption(&asked.form));
    let has_new_key = matches!(encryption, Some(Encryption::Key(_) | Encryption::HomeAssistants));
    let what = What::Job { name: name.clone(), is_new: known.is_none(), settings, encryption };
    let change = Change { version: asked.form.get("version").map(str::to_owned), what };
    let done = if wrong.is_empty() {
        shared.ask(move |backend| backend.change(&change)).await?
    } else {
        Err(with_more(wrong, shared.ask(move |backend| backend.mistakes(&change)).await?))
    };
    match done {
        Ok(Some(key)) => {
            shared.set_established(Some(Established { job: name, key: Some(key), is_home_assistants: false }));
            Ok(redirect(asked, "/setup/key"))
        }
        Ok(None) => Ok(said(asked, "/settings", if has_new_key { "saved-key" } else { "saved" })),
        Err(wrong) => {
            let configured = shared.configured().await?;
            page(shared, asked, configured, known, asked.form.clone(), wrong).await
        }
    }
}

#[derive(Template)]
#[template(path = "remove.html")]
pub(super) struct Remove {
    pub(super) frame: Frame,
    pub(super) name: String,
    pub(super) version: String,
    pub(super) action: String,
    pub(super) lines: Vec<String>,
    pub(super) wrong: Vec<Invalid>,
}

fn removal(asked: &Asked, configured: Configured, name: String, wrong: Vec<Invalid>) -> Answer {
    let job =
        configured.jobs.iter().find(|job| job.name == name).ok_or_else(|| Refusal::not_found("automatic backup"))?;
    let line = format!(
        "Nothing is backed up, copied, checked or removed for it any more. The backups at {} stay where they are.",
        job.settings.destinations.join(" and ")
    );
    Ok(removing(&Remove {
        frame: Frame::new(asked, "Remove an automatic backup", "settings"),
        action: format!("/settings/jobs/{}/remove", segment(&name)),
        name,
        version: configured.version,
        lines: vec![line],
        wrong,
    }))
}

pub(super) fn removing(remove: &Remove) -> Response {
    show_as(status(&remove.wrong), remove)
}

pub(super) async fn ask_to_remove(State(shared): Service, Path(name): Path<String>, asked: Asked) -> Answer {
    removal(&asked, shared.configured().await?, name, Vec::new())
}

pub(super) async fn remove(State(shared): Service, Path(name): Path<String>, asked: Asked) -> Answer {
    let version = asked.form.get("version").map(str::to_owned);
    let change = Change { version, what: What::RemoveJob { name: name.clone() } };
    match shared.ask(move |backend| backend.change(&change)).await? {
        Ok(_) => Ok(said(&asked, "/settings", "removed")),
        Err(wrong) => removal(&asked, shared.configured().await?, name, wrong),
    }
}
