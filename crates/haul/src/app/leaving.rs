//! What goes on when this app is to stop: what a restore by Supervisor reads from here is nowhere else.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use store::Cancellation;
use supervisor::{Job, JobKind};

use super::{App, Reached, whole::LOOK};

/// Supervisor says within this time what it is doing, or is taken for gone.
const ANSWER: Duration = Duration::from_secs(5);
/// Without an answer: what was used within this time is in use.
const USED: Duration = Duration::from_mins(1);

/// A restore of everything.
const FULL: &str = "backup_manager_full_restore";

/// Whether a restore reads from here.
pub(crate) struct Leaving {
    app: Arc<App>,
    reached: Reached,
}

impl Leaving {
    pub(crate) fn new(app: &Arc<App>, reached: Reached) -> Self {
        Self { app: Arc::clone(app), reached }
    }

    /// Whether one may: known at once.
    pub(crate) fn may_be_read(&self) -> bool {
        self.reached.is_any_held() || self.reached.unpacked().is_some()
    }

    /// How long it may go on before Supervisor ends it by force.
    pub(crate) fn patience(&self) -> Duration {
        self.app.patience
    }

    /// Whether one does, as Supervisor says.
    pub(crate) fn is_read(&self, cancel: &Cancellation) -> bool {
        let (is_followed, unpacked) = (self.reached.is_any_held(), self.reached.unpacked());
        if !is_followed && unpacked.is_none() {
            return false;
        }
        let supervisor = &self.app.supervisor;
        let asking = async { tokio::try_join!(supervisor.jobs(), supervisor.own_app()) };
        let asking = async { tokio::time::timeout(ANSWER, asking).await };
        match self.app.network.bridge.wait(cancel.unless_cancelled(asking)) {
            None => false,
            Some(Ok(Ok((jobs, own)))) => {
                let restores = jobs.iter().find(|job| job.kind() == JobKind::Restore && !job.is_done());
                match restores {
                    // It waits for this app to end; one of everything stops all apps before it reads anything.
                    Some(job) => job.name.as_deref() != Some(FULL) && !is_at(job, &own.slug),
                    // Whoever follows it has yet to write down how it ended.
                    None => is_followed,
                }
            }
            Some(Ok(Err(_)) | Err(_)) => is_followed || unpacked.is_some_and(|used| used < USED),
        }
    }

    /// Waits as long as one does, until then at most. Whether it has ended.
    pub(crate) fn await_end(&self, until: Instant, cancel: &Cancellation) -> bool {
        while self.is_read(cancel) {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() || cancel.is_cancelled() {
                return false;
            }
            cancel.sleep(left.min(LOOK));
        }
        !cancel.is_cancelled()
    }
}

/// Whether it is at an app.
fn is_at(job: &Job, app: &str) -> bool {
    let mut parts = job.children.iter().filter(|part| !part.is_done());
    parts.any(|part| !app.is_empty() && part.reference.as_deref() == Some(app) || is_at(part, app))
}
