//! Three questions: what, where to, when. Then the key, once.

use std::sync::Arc;

use askama::Template;
use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use http::{StatusCode, header};
use zeroize::Zeroizing;

use super::{Answer, Frame, Service, orders::said, redirect, show, view};
use crate::{
    backend::{Backend, Choices, Encryption, Invalid, Location, LocationField, LocationKind, SetUp},
    fields::Fields,
    refusal::Refusal,
    shared::{Asked, Shared},
    text::Clock,
};

/// What is proposed: as a schedule is written, in words, and why.
pub(crate) const SCHEDULES: &[(&str, &str, &str)] = &[
    ("daily 04:45", "Every night at 04:45", "Recommended."),
    ("every 6h", "Every six hours", "For people who change much."),
    ("sun 04:45", "Every Sunday at 04:45", "Saves space."),
    ("never", "Only when I say so", ""),
    ("other", "At other times", ""),
];

#[derive(Template)]
#[template(path = "setup.html")]
struct Form {
    frame: Frame,
    choices: Choices,
    typed: Fields,
    wrong: Option<Invalid>,
    /// What was tried at the location and worked.
    tried: Option<Vec<String>>,
}

impl Form {
    /// What was typed or, on the first visit, what is proposed.
    fn value<'a>(&'a self, name: &str, proposed: &'a str) -> &'a str {
        if self.typed.is_empty() { proposed } else { self.typed.text(name) }
    }

    fn is(&self, name: &str, value: &str, proposed: &str) -> bool {
        self.value(name, proposed) == value
    }

    fn first_directory(&self) -> &str {
        self.choices.directories.first().map_or("other", |directory| &directory.path)
    }

    fn first_kind(&self) -> &str {
        self.choices.kinds.first().map_or("", |kind| &kind.id)
    }

    fn field_name(kind: &LocationKind, field: &LocationField) -> String {
        format!("{}.{}", kind.id, field.id)
    }

    /// What is wrong with a field, if it is that one.
    fn wrong_with(&self, field: &str) -> Option<&Invalid> {
        self.wrong.as_ref().filter(|wrong| wrong.field.as_deref() == Some(field))
    }

    /// What is wrong with a location's field: only that of the chosen kind can be.
    fn wrong_in(&self, kind: &LocationKind, field: &LocationField) -> Option<&Invalid> {
        self.wrong_with(&field.id).filter(|_| self.is("kind", &kind.id, self.first_kind()))
    }

    /// What is wrong and belongs to no field that is shown.
    fn wrong_at_all(&self) -> Option<&Invalid> {
        let shown = |field: &str| {
            ["source", "kind", "schedule", "keep", "key"].contains(&field)
                || self.choices.kinds.iter().flat_map(|kind| &kind.fields).any(|known| known.id == field)
        };
        self.wrong.as_ref().filter(|wrong| !wrong.field.as_deref().is_some_and(shown))
    }
}

async fn page(
    shared: &Arc<Shared>,
    asked: &Asked,
    wrong: Option<Invalid>,
    tried: Option<Vec<String>>,
) -> Result<Response, Refusal> {
    let choices = shared.ask(<dyn Backend>::choices).await?;
    let is_wrong = wrong.is_some();
    let frame = Frame::new(asked, "Set up backups", "setup");
    let mut response = show(&Form { frame, choices, typed: asked.form.clone(), wrong, tried });
    if is_wrong {
        *response.status_mut() = StatusCode::UNPROCESSABLE_ENTITY;
    }
    Ok(response)
}

pub(super) async fn form(State(shared): Service, asked: Asked) -> Answer {
    page(&shared, &asked, None, None).await
}

pub(super) async fn filled(State(shared): Service, asked: Asked) -> Answer {
    let location = location(&asked.form);
    if asked.form.get("do") == Some("try") {
        let tried = shared.ask(move |backend| backend.try_location(&location)).await?;
        return match tried {
            Ok(tried) => page(&shared, &asked, None, Some(tried)).await,
            Err(wrong) => page(&shared, &asked, Some(wrong), None).await,
        };
    }
    let wanted = match wanted(&asked.form, location) {
        Ok(wanted) => wanted,
        Err(wrong) => return page(&shared, &asked, Some(wrong), None).await,
    };
    match shared.ask(move |backend| backend.set_up(&wanted)).await? {
        Ok(established) => {
            let has_key = established.key.is_some();
            shared.set_established(Some(established));
            Ok(if has_key { redirect(&asked, "/setup/key") } else { said(&asked, "/", "setup") })
        }
        Err(wrong) => page(&shared, &asked, Some(wrong), None).await,
    }
}

fn location(form: &Fields) -> Location {
    let kind = form.text("kind").to_owned();
    let of_kind = |(name, value): (&str, &str)| {
        let field = name.strip_prefix(kind.as_str())?.strip_prefix('.')?;
        (!value.is_empty()).then(|| (field.to_owned(), Zeroizing::new(value.to_owned())))
    };
    let fields = form.iter().filter_map(of_kind).collect();
    Location { kind, fields }
}

fn wanted(form: &Fields, location: Location) -> Result<SetUp, Invalid> {
    let wrong = |field: &str, message: &str| Invalid {
        field: Some(field.to_owned()),
        failure: keeper::status::Failure { message: message.to_owned(), hint: None, passes: false },
    };
    let source = match form.text("source") {
        "other" => form.text("other_source").trim(),
        found => found,
    };
    if source.is_empty() {
        return Err(wrong("source", "Say which directory is to be backed up."));
    }
    if location.kind.is_empty() {
        return Err(wrong("kind", "Choose where backups go."));
    }
    let schedule = match form.text("schedule") {
        "other" => form.text("other_schedule").trim(),
        "never" => "",
        chosen => chosen,
    };
    if schedule.is_empty() && form.text("schedule") != "never" {
        return Err(wrong("schedule", "Say when backups are made, as `daily 04:45` or `every 6h`."));
    }
    let keep = match form.text("keep").trim() {
        "" => None,
        number => match number.parse() {
            Ok(number) if (1..=100_000).contains(&number) => Some(number),
            _ => return Err(wrong("keep", "Write a whole number from 1 on, or nothing to keep all.")),
        },
    };
    let encryption = match form.text("encryption") {
        "key" if form.text("key").trim().is_empty() => return Err(wrong("key", "Enter your key.")),
        "key" => Encryption::Key(Zeroizing::new(form.text("key").trim().to_owned())),
        "nothing" => Encryption::Nothing,
        _ => Encryption::NewKey,
    };
    Ok(SetUp { source: source.to_owned(), location, schedule: schedule.to_owned(), keep, encryption })
}

#[derive(Template)]
#[template(path = "key.html")]
struct Key {
    frame: Frame,
    key: Zeroizing<String>,
}

pub(super) async fn key(State(shared): Service, asked: Asked) -> Answer {
    match shared.established().and_then(|established| established.key) {
        Some(key) => Ok(show(&Key { frame: Frame::new(&asked, "Encryption key", "setup"), key })),
        None => Ok(redirect(&asked, "/")),
    }
}

/// From here on nobody can see the key.
pub(super) async fn put_away(State(shared): Service, asked: Asked) -> Answer {
    shared.set_established(None);
    Ok(said(&asked, "/", "setup"))
}

#[derive(Template)]
#[template(path = "kit.txt", escape = "none")]
struct Kit {
    job: String,
    key: Zeroizing<String>,
    date: String,
    locations: Vec<(String, String)>,
}

pub(super) async fn kit(State(shared): Service, _: Asked) -> Answer {
    let Some((job, key)) = shared.established().and_then(|known| Some((known.job, known.key?))) else {
        return Err(Refusal::new(StatusCode::NOT_FOUND, "The emergency kit was shown already.")
            .hint("The key is in the file that `password_file` in haul.toml names."));
    };
    let Clock { now, zone } = shared.clock();
    let date = now.to_zoned(zone).strftime("%-d %B %Y").to_string();
    let status = shared.ask(<dyn Backend>::status).await?;
    let locations = status.destinations.into_iter().map(|location| (location.name, location.address)).collect();
    let text = Kit { job, key, date, locations };
    let text = askama::Template::render(&text).map_err(|error| Refusal::broken(error.to_string()))?;
    let headers = [
        (header::CONTENT_TYPE, "text/plain; charset=utf-8"),
        (header::CONTENT_DISPOSITION, "attachment; filename=\"haul-emergency-kit.txt\""),
    ];
    Ok((headers, text).into_response())
}
