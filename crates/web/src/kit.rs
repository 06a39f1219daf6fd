//! The emergency kit: what its owner needs if nothing of this machine is left. It holds the keys.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use askama::Template;
use axum::response::{IntoResponse, Response};
use http::{StatusCode, header};
use keeper::status::{DestinationStatus, Failure};
use zeroize::Zeroizing;

use crate::{
    backend::{Backend, JobKeys, Storage},
    refusal::Refusal,
    shared::{Asked, Shared},
    visitor::{Trust, Visitor},
};

/// Why nobody gets it.
pub(crate) enum NotAllowed {
    /// There were too many attempts; how long to wait.
    Wait(Duration),
    /// Not the password.
    Wrong,
}

/// Whether this is the owner, who has entered the password again. This machine's user can read the files anyway, and so
/// can an administrator of Home Assistant, in a backup of the app: there is no other password there.
pub(crate) async fn is_owner(
    shared: &Arc<Shared>,
    asked: &Asked,
    password: Zeroizing<String>,
) -> Result<Result<(), NotAllowed>, Refusal> {
    if asked.visitor == Visitor::Local || asked.is_in_app() {
        return Ok(Ok(()));
    }
    if let Err(wait) = shared.throttle.attempt(asked.visit.peer, Instant::now()) {
        return Ok(Err(NotAllowed::Wait(wait)));
    }
    if !shared.hashed(move |accounts| accounts.is_password(&password)).await? {
        return Ok(Err(NotAllowed::Wrong));
    }
    shared.throttle.forget(asked.visit.peer);
    Ok(Ok(()))
}

/// The same for programs.
pub(crate) async fn allow(shared: &Arc<Shared>, asked: &Asked, password: Zeroizing<String>) -> Result<(), Refusal> {
    match is_owner(shared, asked, password).await? {
        Ok(()) => Ok(()),
        Err(NotAllowed::Wait(wait)) => {
            let seconds = wait.as_secs() + 1;
            let refusal = Refusal::new(StatusCode::TOO_MANY_REQUESTS, "There were too many attempts.");
            Err(Refusal { retry_after: Some(seconds), ..refusal.hint(format!("Try again in {seconds} seconds.")) })
        }
        Err(NotAllowed::Wrong) => {
            let message = "This is not the password of the page.";
            Err(Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, message))
        }
    }
}

#[derive(Template)]
#[template(path = "kit.txt", escape = "none")]
struct Kit {
    jobs: Vec<JobKeys>,
    date: String,
    /// Each with what is behind its folder.
    locations: Vec<(DestinationStatus, Option<String>)>,
    /// There is no shell to type a command into.
    in_app: bool,
    /// What to write into `haul.toml` first.
    lines: Vec<String>,
    /// One of them is a Google Drive.
    signs_in: bool,
    /// One of them is a machine that knows only those it has been paired with.
    pairs: bool,
}

/// What a new `haul.toml` has to say of a location that its address alone does not lead to.
pub(crate) fn lines(location: &DestinationStatus) -> Option<String> {
    if location.options.is_empty() {
        return None;
    }
    let is_bare = |text: &str| text.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c));
    // Its escapes are those of TOML.
    let quoted = |text: &str| serde_json::Value::from(text).to_string();
    let name = if is_bare(&location.name) { location.name.clone() } else { quoted(&location.name) };
    let url = ("url", location.address.as_str());
    let options = location.options.iter().map(|(key, value)| (key.as_str(), value.as_str()));
    let said = std::iter::once(url).chain(options).map(|(key, value)| format!("\n{key} = {}", quoted(value)));
    Some(format!("[destinations.{name}]{}", said.collect::<String>()))
}

/// What is behind a location that is a folder of Home Assistant's network storage, for somebody who has a new machine.
pub(crate) fn behind(location: &DestinationStatus, storages: &Result<Vec<Storage>, Failure>) -> Option<String> {
    let is_in = |folder: &str| {
        location.address.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    match storages {
        Ok(storages) => {
            let Storage { folder, behind } = storages.iter().find(|storage| is_in(&storage.folder))?;
            Some(format!("{folder} is network storage: {behind}."))
        }
        Err(_) if is_in("/share") || is_in("/media") => Some(
            "Home Assistant did not say which server and share are behind this folder. Write them down here, if \
             there are some."
                .to_owned(),
        ),
        Err(_) => None,
    }
}

/// Asks Home Assistant what its folders are, in its app.
pub(crate) async fn storages(shared: &Arc<Shared>, asked: &Asked) -> Result<Result<Vec<Storage>, Failure>, Refusal> {
    if !asked.is_in_app() {
        return Ok(Ok(Vec::new()));
    }
    shared.ask_slowly(<dyn Backend>::storages).await
}

/// The kit as a file.
pub(crate) async fn download(shared: &Arc<Shared>, asked: &Asked) -> Result<Response, Refusal> {
    let to = match (asked.visit.trust, asked.visit.peer) {
        (Trust::Ingress, _) if asked.user.is_empty() => "through Home Assistant".to_owned(),
        (Trust::Ingress, _) => format!("by {} through Home Assistant", asked.user),
        (_, Some(address)) => format!("by {address}"),
        (_, None) => "on this machine".to_owned(),
    };
    let (keys, status) = shared.ask(move |backend| (backend.keys(&to), backend.status())).await?;
    let clock = shared.clock();
    let date = clock.full(&clock.now);
    let lines = status.destinations.iter().filter_map(lines).collect();
    let any = |scheme: &str| status.destinations.iter().any(|location| location.address.starts_with(scheme));
    let (signs_in, pairs) = (any("gdrive:"), any("haul:"));
    let storages = storages(shared, asked).await?;
    let locations = status.destinations.into_iter().map(|location| {
        let behind = behind(&location, &storages);
        (location, behind)
    });
    let locations = locations.collect();
    let text = Kit { jobs: keys?, in_app: asked.is_in_app(), date, locations, lines, signs_in, pairs };
    let text = text.render().map_err(|error| Refusal::broken(error.to_string()))?;
    let headers = [
        (header::CONTENT_TYPE, "text/plain; charset=utf-8"),
        (header::CONTENT_DISPOSITION, "attachment; filename=\"haul-emergency-kit.txt\""),
        (header::CACHE_CONTROL, "no-store"),
    ];
    Ok((headers, text).into_response())
}
