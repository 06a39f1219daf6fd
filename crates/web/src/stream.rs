//! Tells of changes and lines of the log as they come, and of progress while something runs. Nothing else is sent, except
//! for a sign of life. Who may no longer know it is told nothing more.

use std::{convert::Infallible, future::pending, sync::Arc, time::Duration};

use axum::{
    extract::State,
    response::{Sse, sse},
};
use futures_util::{Stream, stream};
use http::HeaderMap;
use keeper::status::{Level, Running};
use serde::Serialize;
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};
use utoipa::ToSchema;

use crate::{
    backend::Backend,
    shared::{Asked, Shared},
    visitor::{Trust, Visitor},
};

/// Changes are told no more often than this.
const PAUSE: Duration = Duration::from_secs(1);
/// What runs gets on in the meantime.
const PROGRESS: Duration = Duration::from_secs(2);
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

/// What an event `log` says.
#[derive(Serialize, ToSchema)]
pub(crate) struct Logged {
    /// The number of the last line.
    last: u64,
}

/// What there is to tell.
enum News {
    Change,
    Log,
}

/// Events named `change` and `log`
///
/// The stream is one of server-sent events. The first one, a `change`, comes at once; its data is a `Change`. The data of a
/// `log` is the number of the last line of the log, as `{"last": 42}`: `/api/v1/log?after=41` has the line.
#[utoipa::path(get, path = "/api/v1/stream", tag = "status", responses(
    (status = 200, description = "Server-sent events", body = Change, content_type = "text/event-stream")))]
pub(crate) async fn stream(
    State(shared): State<Arc<Shared>>,
    asked: Asked,
    headers: HeaderMap,
) -> Sse<impl Stream<Item = Result<sse::Event, Infallible>>> {
    let mut changes = shared.backend.changes();
    changes.mark_changed();
    let log = shared.backend.logged();
    let told = Told { shared, headers, trust: asked.visit.trust, changes, log, progress: None };
    let events = stream::unfold((told, Instant::now()), |(mut told, due)| async move {
        let event = told.next(due).await?;
        Some((Ok(event), (told, Instant::now() + PAUSE)))
    });
    Sse::new(events).keep_alive(sse::KeepAlive::new().interval(ALIVE))
}

/// Somebody who is told.
struct Told {
    shared: Arc<Shared>,
    /// Who that is.
    headers: HeaderMap,
    trust: Trust,
    changes: watch::Receiver<u64>,
    log: watch::Receiver<u64>,
    /// When it is to be told how far everything is; nothing runs: never.
    progress: Option<Instant>,
}

impl Told {
    /// The next event, not before it is due; `None` when the service ends, or who listens has logged out.
    async fn next(&mut self, due: Instant) -> Option<sse::Event> {
        let shared = self.shared.clone();
        let mut closing = shared.closing.subscribe();
        let progress = self.progress;
        let progress = async {
            match progress {
                Some(at) => sleep_until(at).await,
                None => pending().await,
            }
        };
        let news = async {
            let other = async {
                tokio::select! {
                    changed = self.changes.changed() => changed.map(|()| News::Change).ok(),
                    logged = self.log.changed() => logged.map(|()| News::Log).ok(),
                }
            };
            // There may be something else each time.
            let news = tokio::select! {
                biased;
                () = progress => News::Change,
                other = other => other?,
            };
            sleep_until(due).await;
            Some(news)
        };
        let news = tokio::select! {
            _ = closing.wait_for(|closing| *closing) => return None,
            news = news => news?,
        };
        Visitor::of(&self.headers, self.trust, &shared.accounts, &shared.process).scope()?;
        if matches!(news, News::Log) {
            let last = *self.log.borrow_and_update();
            return sse::Event::default().event("log").json_data(Logged { last }).ok();
        }
        let version = *self.changes.borrow_and_update();
        let status = shared.ask(<dyn Backend>::status).await.ok()?;
        let running: Vec<Running> = status.jobs.into_iter().flat_map(|job| job.running).collect();
        self.progress = (!running.is_empty()).then(|| Instant::now() + PROGRESS);
        let change = Change { version, level: status.level, headline: status.headline, running };
        sse::Event::default().event("change").id(version.to_string()).json_data(change).ok()
    }
}
