//! Three questions: what, where to, when. Then the key, once.

use std::sync::Arc;

use askama::Template;
use axum::{extract::State, response::Response};
use http::StatusCode;
use keeper::status::Failure;
use zeroize::Zeroizing;

use super::{
    Answer, Frame, Service,
    forms::{Outcome, Pressed, Typed, encryption, location, noted, pressed, with_more, wrong},
    orders::said,
    redirect, show, show_as, view,
};
use crate::{
    backend::{Backend, Choices, Encryption, Filled, FoundDirectory, Invalid, OwnBackups, SetUp, SignIn},
    fields::Fields,
    kit,
    refusal::Refusal,
    shared::{Asked, Shared},
    text::Clock,
};

/// What is proposed: as a schedule is written, in words, and why.
pub(crate) const SCHEDULES: &[(&str, &str, &str)] = &[
    ("daily 04:45", "Every night at 04:45", "Recommended."),
    ("every 6h", "Every six hours", "For people who change much."),
    ("sun 04:45", "Every Sunday at 04:45", "Saves space."),
    ("never", "Only when I start it", ""),
    ("other", "At other times", ""),
];

/// When quick backups are proposed: as a schedule is written, and in words.
pub(crate) const QUICK: &[(&str, &str)] = &[("hourly", "Every hour"), ("every 6h", "Every six hours")];

/// How many are kept where nothing else is known.
const USUAL_KEEP: &str = "7";

#[derive(Template)]
#[template(path = "setup.html")]
struct Form {
    frame: Frame,
    clock: Clock,
    typed: Typed,
    /// How Home Assistant backs itself up, or why it does not say so.
    own: Option<Result<OwnBackups, Failure>>,
    /// How many Haul might keep.
    keep: String,
}

impl Form {
    fn first_directory(&self) -> &str {
        self.typed.choices.directories.first().map_or("other", |directory| &directory.path)
    }

    fn first_content() -> &'static str {
        "yes"
    }

    /// The one to back up, where there is no choice.
    fn only_directory(&self) -> Option<&FoundDirectory> {
        only_directory(&self.typed.choices).filter(|_| self.frame.in_app)
    }

    fn known(&self) -> Option<&OwnBackups> {
        self.own.as_ref().and_then(|own| own.as_ref().ok())
    }

    /// When Haul might make backups.
    fn schedule(&self) -> &str {
        self.known().and_then(|own| own.schedule.as_deref()).unwrap_or(SCHEDULES[0].0)
    }

    /// The answer that says so.
    fn chosen_schedule(&self) -> &str {
        let known = SCHEDULES.iter().map(|(value, ..)| *value).find(|value| *value == self.schedule());
        known.unwrap_or("other")
    }

    fn other_schedule(&self) -> &str {
        if self.chosen_schedule() == "other" { self.schedule() } else { "" }
    }

    /// How they might be encrypted.
    fn encryption(&self) -> &'static str {
        if self.known().is_some_and(|own| own.has_key) { "home-assistant" } else { "new" }
    }

    /// What is wrong and belongs to no field that is shown.
    fn wrong_at_all(&self) -> Vec<&Invalid> {
        self.typed.wrong_beside(&["source", "quick", "kind", "schedule", "keep", "key"])
    }
}

/// The only config directory that is here.
pub(super) fn only_directory(choices: &Choices) -> Option<&FoundDirectory> {
    match &choices.directories[..] {
        [only] => Some(only),
        _ => None,
    }
}

async fn page(shared: &Arc<Shared>, asked: &Asked, fields: Fields, outcome: Outcome) -> Result<Response, Refusal> {
    let (choices, signing_in) = shared.ask(|backend| (backend.choices(), backend.signing_in())).await?;
    let frame = Frame::new(asked, "Set up backups", "setup");
    let typed = Typed { signing_in, ..Typed::of(choices, fields, outcome) };
    let own = shared.ask_slowly(<dyn Backend>::own_backups).await?.filter(|_| asked.is_in_app());
    let keep = match own.as_ref().and_then(|own| own.as_ref().ok()).filter(|own| own.when.is_some()) {
        Some(own) => own.keep.map(|keep| keep.to_string()).unwrap_or_default(),
        None => USUAL_KEEP.to_owned(),
    };
    Ok(show_as(typed.status(), &Form { frame, clock: shared.clock(), typed, own, keep }))
}

pub(super) async fn form(State(shared): Service, asked: Asked) -> Answer {
    page(&shared, &asked, Fields::default(), Ok(None)).await
}

pub(super) async fn filled(State(shared): Service, asked: Asked) -> Answer {
    if let Some(Pressed { fields, outcome }) = pressed(&shared, &asked.form, None).await? {
        return page(&shared, &asked, fields, outcome).await;
    }
    let mut wrong = Vec::new();
    let wanted = wanted(&asked.form, location(&asked.form, None), &mut wrong);
    if !wrong.is_empty() {
        let more = shared.ask(move |backend| backend.mistakes_of_set_up(&wanted)).await?;
        return page(&shared, &asked, asked.form.clone(), Err(with_more(wrong, more))).await;
    }
    match shared.ask(move |backend| backend.set_up(&wanted)).await? {
        Ok(established) => {
            let has_key = established.key.is_some();
            shared.set_established(Some(established));
            Ok(if has_key { redirect(&asked, "/setup/key") } else { said(&asked, "/", "setup") })
        }
        Err(wrong) => page(&shared, &asked, asked.form.clone(), Err(wrong)).await,
    }
}

/// What was filled in, as far as it can be understood.
fn wanted(form: &Fields, location: Filled, mistakes: &mut Vec<Invalid>) -> SetUp {
    let source = match form.text("source") {
        "other" => form.text("other_source").trim(),
        found => found,
    };
    if source.is_empty() {
        mistakes.push(wrong("source", "Say which directory is to be backed up."));
    }
    if location.kind.is_empty() {
        mistakes.push(wrong("kind", "Choose where backups go."));
    }
    let schedule = match form.text("schedule") {
        "other" => form.text("other_schedule").trim(),
        "never" => "",
        chosen => chosen,
    };
    if schedule.is_empty() && form.text("schedule") != "never" {
        mistakes.push(wrong("schedule", "Say when backups are made, as `daily 04:45` or `every 6h`."));
    }
    let keep = match form.text("keep").trim() {
        "" => Ok(None),
        number => match number.parse() {
            Ok(number) if (1..=100_000).contains(&number) => Ok(Some(number)),
            _ => Err(wrong("keep", "Write a whole number from 1 on, or nothing to keep all.")),
        },
    };
    let keep = noted(mistakes, keep);
    let encryption = noted(mistakes, encryption(form)).unwrap_or(Encryption::NewKey);
    let everything = form.text("everything") == "yes";
    // Beside a backup of the configuration alone, it would be the same.
    let quick = (everything && form.is_set("quick")).then(|| form.text("quick_schedule").to_owned());
    SetUp { source: source.to_owned(), everything, quick, location, schedule: schedule.to_owned(), keep, encryption }
}

#[derive(Template)]
#[template(path = "key.html")]
struct Key {
    frame: Frame,
    /// Nothing: it is Home Assistant's own.
    key: Option<Zeroizing<String>>,
}

pub(super) async fn key(State(shared): Service, asked: Asked) -> Answer {
    match shared.established().filter(|established| established.key.is_some()) {
        Some(established) => {
            let key = established.key.filter(|_| !established.is_home_assistants);
            Ok(show(&Key { frame: Frame::new(&asked, "Encryption key", "setup"), key }))
        }
        None => Ok(redirect(&asked, "/")),
    }
}

/// From here on nobody can see the key.
pub(super) async fn put_away(State(shared): Service, asked: Asked) -> Answer {
    shared.set_established(None);
    Ok(said(&asked, "/", "key"))
}

pub(super) async fn kit(State(shared): Service, asked: Asked) -> Answer {
    if shared.established().and_then(|established| established.key).is_none() {
        return Err(Refusal::new(StatusCode::NOT_FOUND, "The emergency kit was shown already.")
            .hint("You get it again under Settings, with your password."));
    }
    kit::download(&shared, &asked).await
}
