//! What happened.

use askama::Template;
use axum::extract::State;
use keeper::status::Event;

use super::{Answer, Frame, Service, show, view};
use crate::{shared::Asked, text::Clock};

/// What one page lists.
const PAGE: usize = 50;

#[derive(Template)]
#[template(path = "events.html")]
struct Log {
    frame: Frame,
    clock: Clock,
    events: Vec<Event>,
    /// Whether these are the newest.
    newest: bool,
    /// Where the older ones begin.
    older: Option<i64>,
}

pub(super) async fn list(State(shared): Service, asked: Asked) -> Answer {
    let before: Option<i64> = asked.query.get("before").and_then(|before| before.parse().ok());
    let mut events = shared.ask(move |backend| backend.events(before, PAGE + 1)).await?;
    let older = (events.len() > PAGE).then(|| events[PAGE - 1].id);
    events.truncate(PAGE);
    let frame = Frame::new(&asked, "Events", "events");
    Ok(show(&Log { frame, clock: shared.clock(), events, newest: before.is_none(), older }))
}
