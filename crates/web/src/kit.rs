//! The emergency kit: what its owner needs if nothing of this machine is left. It holds the keys.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use askama::Template;
use axum::response::{IntoResponse, Response};
use http::{StatusCode, header};
use zeroize::Zeroizing;

use crate::{
    backend::JobKeys,
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

/// Whether this is the owner, who has entered the password again. This machine's user can read the files anyway.
pub(crate) async fn is_owner(
    shared: &Arc<Shared>,
    asked: &Asked,
    password: Zeroizing<String>,
) -> Result<Result<(), NotAllowed>, Refusal> {
    if asked.visitor == Visitor::Local {
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
    locations: Vec<(String, String)>,
}

/// The kit as a file.
pub(crate) async fn download(shared: &Arc<Shared>, asked: &Asked) -> Result<Response, Refusal> {
    let to = match (asked.visit.trust, asked.visit.peer) {
        (Trust::Ingress, _) => "through Home Assistant".to_owned(),
        (_, Some(address)) => format!("by {address}"),
        (_, None) => "on this machine".to_owned(),
    };
    let (keys, status) = shared.ask(move |backend| (backend.keys(&to), backend.status())).await?;
    let clock = shared.clock();
    let date = clock.full(&clock.now);
    let locations = status.destinations.into_iter().map(|location| (location.name, location.address)).collect();
    let text = Kit { jobs: keys?, date, locations };
    let text = text.render().map_err(|error| Refusal::broken(error.to_string()))?;
    let headers = [
        (header::CONTENT_TYPE, "text/plain; charset=utf-8"),
        (header::CONTENT_DISPOSITION, "attachment; filename=\"haul-emergency-kit.txt\""),
        (header::CACHE_CONTROL, "no-store"),
    ];
    Ok((headers, text).into_response())
}
