//! Whether backups are safe, and what to do if not.

use askama::Template;
use axum::extract::State;
use keeper::status::Status;

use super::{Answer, Frame, Service, redirect, show, view};
use crate::{backend::Backend, shared::Asked, text::Clock};

#[derive(Template)]
#[template(path = "home.html")]
struct Home {
    frame: Frame,
    clock: Clock,
    status: Status,
}

pub(super) async fn home(State(shared): Service, asked: Asked) -> Answer {
    let status = shared.ask(<dyn Backend>::status).await?;
    if shared.established().is_some_and(|established| established.key.is_some()) {
        return Ok(redirect(&asked, "/setup/key"));
    }
    if status.jobs.is_empty() && status.configuration.problem.is_none() {
        return Ok(redirect(&asked, "/setup"));
    }
    Ok(show(&Home { frame: Frame::new(&asked, "Home", "home"), clock: shared.clock(), status }))
}
