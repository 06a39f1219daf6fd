//! The pages. Each is a template, filled from what the service says; each button is a form that works without script.

mod archive;
mod backups;
pub(crate) mod channels;
mod events;
mod forms;
mod home;
pub(crate) mod jobs;
mod locations;
mod log;
mod log_in;
mod migrate;
mod orders;
mod parts;
mod recovery;
mod restore;
mod settings;
pub(crate) mod setup;
mod view;

use std::sync::Arc;

use askama::Template;
use axum::{
    Router,
    extract::{Request, State},
    middleware::{Next, from_fn},
    response::{Html, IntoResponse, Response},
    routing::{get, post},
};
use http::{HeaderValue, StatusCode, header};

use crate::{
    assets::{VERSION, asset},
    auth::Scope,
    refusal::Refusal,
    shared::{Asked, Shared, permit},
};

/// Name, path and words of each part.
pub(crate) const TABS: &[(&str, &str, &str)] = &[
    ("home", "/", "Home"),
    ("backups", "/backups", "Backups"),
    ("events", "/events", "Events"),
    ("settings", "/settings", "Settings"),
    ("recovery", "/recovery", "Recovery"),
];

type Answer = Result<Response, Refusal>;
type Service = State<Arc<Shared>>;

pub(crate) fn routes() -> Router<Arc<Shared>> {
    let open = Router::new()
        .route("/assets/{name}", get(asset))
        .route("/welcome", get(log_in::welcome).post(log_in::first_visit))
        .route("/login", get(log_in::form).post(log_in::log_in));
    let inside = Router::new()
        .route("/", get(home::home))
        .route("/backups", get(backups::list))
        .route("/backups/{id}", get(archive::details))
        .route("/backups/{id}/contents", get(archive::contents))
        .route("/backups/{id}/compare", get(archive::compare))
        .route("/backups/{id}/download", get(archive::download))
        .route("/backups/{id}/file", get(archive::file))
        .route("/backups/{id}/delete", get(archive::ask_to_delete).post(archive::delete))
        .route("/backups/{id}/restore", get(restore::form).post(restore::restore))
        .route("/backups/{id}/restore-parts", get(parts::form).post(parts::restore))
        .route("/backups/{id}/{order}", post(orders::archive))
        .route("/jobs/{name}/migrate", get(migrate::form).post(migrate::pressed))
        .route("/jobs/{name}/{order}", post(orders::job))
        .route("/runs/{id}/cancel", post(orders::cancel))
        .route("/destinations/{name}/agree", post(orders::agree))
        .route("/sync", post(orders::sync))
        .route("/events", get(events::list))
        .route("/log", get(log::list))
        .route("/log.txt", get(log::text))
        .route("/settings", get(settings::show_all))
        // A form that was wrong is shown at its own address, which is loaded again when something changes.
        .route("/settings/time-zone", get(settings::show_all).post(settings::change_time_zone))
        .route("/settings/tokens", get(settings::show_all).post(settings::add_token))
        .route("/settings/tokens/revoke", post(settings::revoke_token))
        .route("/settings/password", get(settings::show_all).post(settings::change_password))
        .route("/settings/kit", get(settings::show_all).post(settings::kit))
        .route("/settings/quick", get(settings::show_all).post(settings::add_quick))
        .route("/settings/job", get(jobs::add).post(jobs::added))
        .route("/settings/jobs/{name}", get(jobs::form).post(jobs::changed))
        .route("/settings/jobs/{name}/remove", get(jobs::ask_to_remove).post(jobs::remove))
        .route("/settings/channel", get(channels::add).post(channels::added))
        .route("/settings/channels/{name}", get(channels::form).post(channels::changed))
        .route("/settings/channels/{name}/remove", get(channels::ask_to_remove).post(channels::remove))
        .route("/settings/mqtt", get(channels::broker).post(channels::set_broker))
        .route("/settings/mqtt/remove", get(channels::ask_to_remove_broker).post(channels::remove_broker))
        .route("/settings/location", get(locations::add).post(locations::added))
        .route("/settings/locations/{name}", get(locations::form).post(locations::changed))
        .route("/settings/locations/{name}/remove", get(locations::ask_to_remove).post(locations::remove))
        .route("/recovery", get(recovery::recovery))
        .route("/setup", get(setup::form).post(setup::filled))
        .route("/setup/key", get(setup::key).post(setup::put_away))
        .route("/setup/kit", get(setup::kit))
        .route("/logout", post(log_in::log_out))
        .route_layer(from_fn(inside_only));
    open.merge(inside)
}

/// A page shows everything, so only who may do everything gets one.
async fn inside_only(asked: Asked, request: Request, next: Next) -> Answer {
    permit(&asked, Scope::Admin)?;
    Ok(next.run(request).await)
}

/// The same around every page.
pub(crate) struct Frame {
    /// What stands before every path.
    base: String,
    /// What every form brings along.
    csrf: String,
    title: String,
    /// The part of the page that is open.
    tab: &'static str,
    /// What was just done.
    done: Option<&'static str>,
    /// The visitor is logged in.
    inside: bool,
    /// There is a session that can be ended.
    session: bool,
    /// Home Assistant shows the page, as an app's.
    in_app: bool,
    version: &'static str,
}

impl Frame {
    fn new(asked: &Asked, title: impl Into<String>, tab: &'static str) -> Self {
        Self {
            base: asked.base.clone(),
            csrf: asked.visitor.form().to_owned(),
            title: title.into(),
            tab,
            done: asked.query.get("done").and_then(orders::done),
            inside: asked.visitor.scope().is_some(),
            session: matches!(asked.visitor, crate::visitor::Visitor::Browser { session: Some(_), .. }),
            in_app: asked.is_in_app(),
            version: VERSION.as_str(),
        }
    }
}

#[derive(Template)]
#[template(path = "refused.html")]
struct Refused<'a> {
    frame: Frame,
    refusal: &'a Refusal,
}

/// Says it as a page; who is not logged in is led to where that can be done.
pub(crate) fn refused(shared: &Shared, asked: &Asked, refusal: &Refusal) -> Response {
    if refusal.status == StatusCode::UNAUTHORIZED {
        let page = if shared.accounts.code().is_some() { "/welcome" } else { "/login" };
        return redirect(asked, page);
    }
    let title = refusal.status.canonical_reason().unwrap_or("Not done");
    show_as(refusal.status, &Refused { frame: Frame::new(asked, title, ""), refusal })
}

fn show(page: &impl Template) -> Response {
    match page.render() {
        Ok(text) => Html(text).into_response(),
        Err(error) => Refusal::broken(format!("The page can't be drawn: {error}.")).into_response(),
    }
}

fn show_as(status: StatusCode, page: &impl Template) -> Response {
    let mut response = show(page);
    *response.status_mut() = status;
    response
}

/// Leads to another page of ours, which is loaded anew.
fn redirect(asked: &Asked, page: &str) -> Response {
    let address = HeaderValue::from_str(&format!("{}{page}", asked.base)).unwrap_or(HeaderValue::from_static("/"));
    (StatusCode::SEE_OTHER, [(header::LOCATION, address)]).into_response()
}
