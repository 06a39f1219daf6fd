//! A location's form: added, changed, tried, removed.

use std::sync::Arc;

use super::{
    Answer, Frame, Service,
    forms::{Outcome, Pressed, Typed, location, pressed},
    jobs::{Remove, removing},
    orders::said,
    show_as, view,
};
use crate::{
    backend::{Backend, Change, Configured, Invalid, SignIn, What},
    fields::{Fields, segment},
    refusal::Refusal,
    shared::{Asked, Shared},
};
use askama::Template;
use axum::{
    extract::{Path, State},
    response::Response,
};

#[derive(Template)]
#[template(path = "location.html")]
struct Form {
    frame: Frame,
    /// Nothing: a new one.
    name: Option<String>,
    version: String,
    address: String,
    typed: Typed,
}

impl Form {
    fn action(&self) -> String {
        let named = self.name.as_ref().map(|name| format!("/settings/locations/{}", segment(name)));
        named.unwrap_or_else(|| "/settings/location".to_owned())
    }

    fn wrong_at_all(&self) -> Vec<&Invalid> {
        self.typed.wrong_beside(&["name", "kind"])
    }
}

async fn page(
    shared: &Arc<Shared>,
    asked: &Asked,
    name: Option<String>,
    fields: Option<Fields>,
    outcome: Outcome,
) -> Answer {
    let configured = shared.configured().await?;
    let (mut choices, signing_in) = shared.ask(|backend| (backend.choices(), backend.signing_in())).await?;
    choices.existing.clear();
    let mut address = String::new();
    let mut fields = fields.unwrap_or_default();
    if let Some(name) = &name {
        let known = configured.locations.into_iter().find(|known| known.name == *name);
        let known = known.ok_or_else(|| Refusal::not_found("location"))?;
        let kind = known.kind.unwrap_or_default();
        // Another kind is another location.
        choices.kinds.retain(|offered| offered.id == kind);
        if fields.is_empty() {
            let answers = known.fields.into_iter().map(|(id, text)| (format!("{kind}.{id}"), text));
            fields = Fields::of(answers.chain([("kind".to_owned(), kind.clone())]));
        }
        address = known.address;
    }
    let has_secret = choices.kinds.iter().flat_map(|kind| &kind.fields).any(|field| field.secret);
    let keeps = name.is_some() && has_secret;
    let typed = Typed { keeps, signing_in, ..Typed::of(choices, fields, outcome) };
    let title = name.clone().unwrap_or_else(|| "New location".to_owned());
    let frame = Frame::new(asked, title, "settings");
    // A form that is sent again after a change by hand was looked at again.
    Ok(show_as(typed.status(), &Form { frame, name, version: configured.version, address, typed }))
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

async fn save(shared: &Arc<Shared>, asked: &Asked, known: Option<String>) -> Answer {
    if let Some(Pressed { fields, outcome }) = pressed(shared, &asked.form, known.as_deref()).await? {
        return page(shared, asked, known, Some(fields), outcome).await;
    }
    let location = location(&asked.form, known.as_deref());
    let name = known.clone().unwrap_or_else(|| asked.form.text("name").trim().to_owned());
    let what = What::Location { name, is_new: known.is_none(), location };
    let change = Change { version: asked.form.get("version").map(str::to_owned), what };
    match shared.ask(move |backend| backend.change(&change)).await? {
        Ok(_) => Ok(said(asked, "/settings", "saved")),
        Err(wrong) => page(shared, asked, known, Some(asked.form.clone()), Err(wrong)).await,
    }
}

async fn removal(shared: &Arc<Shared>, asked: &Asked, name: String, wrong: Vec<Invalid>) -> Answer {
    let Configured { version, locations, .. } = shared.configured().await?;
    let known = locations.into_iter().find(|known| known.name == name);
    let known = known.ok_or_else(|| Refusal::not_found("location"))?;
    let status = shared.ask(<dyn Backend>::status).await?;
    let holds = status.destinations.iter().find(|place| place.name == name).map_or(0, |place| place.archives);
    let mut lines = Vec::new();
    if !known.jobs.is_empty() {
        lines.push(format!("It is used by {}, which then has one copy less of each backup.", known.jobs.join(" and ")));
    }
    if asked.is_in_app() {
        lines.push(
            "It disappears from Home Assistant's backup locations. If Home Assistant's automatic backups go there, \
             choose another one first."
                .to_owned(),
        );
    }
    if holds == 0 {
        lines.push("What is stored there stays.".to_owned());
    } else {
        lines.push(match holds {
            1 => "The backup there stays, but Haul no longer shows, checks or removes it.".to_owned(),
            _ => format!("The {holds} backups there stay, but Haul no longer shows, checks or removes them."),
        });
    }
    Ok(removing(&Remove {
        frame: Frame::new(asked, "Remove a location", "settings"),
        action: format!("/settings/locations/{}/remove", segment(&name)),
        name,
        version,
        lines,
        wrong,
    }))
}

pub(super) async fn ask_to_remove(State(shared): Service, Path(name): Path<String>, asked: Asked) -> Answer {
    removal(&shared, &asked, name, Vec::new()).await
}

pub(super) async fn remove(State(shared): Service, Path(name): Path<String>, asked: Asked) -> Answer {
    let version = asked.form.get("version").map(str::to_owned);
    let change = Change { version, what: What::RemoveLocation { name: name.clone() } };
    let done: Result<_, Vec<Invalid>> = shared.ask(move |backend| backend.change(&change)).await?;
    let response: Response = match done {
        Ok(_) => said(&asked, "/settings", "removed"),
        Err(wrong) => removal(&shared, &asked, name, wrong).await?,
    };
    Ok(response)
}
