//! Tells of changes as they happen. Nothing is sent while nothing changes, except for a sign of life.

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{
    extract::State,
    response::{Sse, sse},
};
use futures_util::{Stream, stream};
use keeper::status::{Level, Running};
use serde::Serialize;
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};
use utoipa::ToSchema;

use crate::{backend::Backend, shared::Shared};

/// Changes are told no more often than this.
const PAUSE: Duration = Duration::from_secs(1);
/// A sign of life, so that proxies keep the connection.
const ALIVE: Duration = Duration::from_secs(25);

/// What an event `change` says.
#[derive(Serialize, ToSchema)]
pub(crate) struct Change {
    /// Another number means that something else would be shown.
    version: u64,
    /// The worst of all jobs and problems.
    level: Level,
    /// One sentence: whether the user is safe, and since when.
    headline: String,
    /// What runs now.
    running: Vec<Running>,
}

/// Events named `change`
///
/// The first one comes at once. The stream is one of server-sent events; each event's data is a `Change`.
#[utoipa::path(get, path = "/api/v1/stream", tag = "status", responses(
    (status = 200, description = "Server-sent events", body = Change, content_type = "text/event-stream")))]
pub(crate) async fn stream(
    State(shared): State<Arc<Shared>>,
) -> Sse<impl Stream<Item = Result<sse::Event, Infallible>>> {
    let mut changes = shared.backend.changes();
    changes.mark_changed();
    let events = stream::unfold((shared, changes, Instant::now()), |(shared, mut changes, due)| async move {
        let event = next(&shared, &mut changes, due).await?;
        Some((Ok(event), (shared, changes, Instant::now() + PAUSE)))
    });
    Sse::new(events).keep_alive(sse::KeepAlive::new().interval(ALIVE))
}

/// The next event, not before it is due; `None` when the service ends.
async fn next(shared: &Arc<Shared>, changes: &mut watch::Receiver<u64>, due: Instant) -> Option<sse::Event> {
    let mut closing = shared.closing.subscribe();
    let news = async {
        changes.changed().await.ok()?;
        sleep_until(due).await;
        Some(())
    };
    tokio::select! {
        _ = closing.wait_for(|closing| *closing) => return None,
        news = news => news?,
    }
    let version = *changes.borrow_and_update();
    let status = shared.ask(<dyn Backend>::status).await.ok()?;
    let running = status.jobs.into_iter().flat_map(|job| job.running).collect();
    let change = Change { version, level: status.level, headline: status.headline, running };
    sse::Event::default().event("change").id(version.to_string()).json_data(change).ok()
}
