//! SIGTERM while something has to go on: what Supervisor restores from here is nowhere else.

use std::{
    sync::{Arc, OnceLock},
    time::Instant,
};

use jiff::Timestamp;
use keeper::service::Service;
use store::Cancellation;

use crate::{app::Leaving, output};

/// Decides whether a SIGTERM may wait. Until it knows by what, none may.
#[derive(Clone, Default)]
pub(crate) struct Leave(Arc<OnceLock<Waiting>>);

struct Waiting {
    leaving: Arc<Leaving>,
    service: Arc<Service>,
    cancel: Cancellation,
}

impl Leave {
    /// From now on it goes by this.
    pub(super) fn by(&self, leaving: Leaving, service: &Arc<Service>, cancel: &Cancellation) {
        let waiting = Waiting { leaving: Arc::new(leaving), service: Arc::clone(service), cancel: cancel.clone() };
        let _ = self.0.set(waiting);
    }

    /// Whether the program goes on for now: then it ends by itself.
    pub(crate) fn waits(&self) -> bool {
        let Some(Waiting { leaving, service, cancel }) = self.0.get().filter(|of| of.leaving.may_be_read()) else {
            return false;
        };
        let (leaving, service, cancel) = (Arc::clone(leaving), Arc::clone(service), cancel.clone());
        let thread = std::thread::Builder::new().name("haul-leaving".to_owned());
        thread.spawn(move || leave(&leaving, &service, &cancel)).is_ok()
    }
}

fn leave(leaving: &Leaving, service: &Service, cancel: &Cancellation) {
    let until = Instant::now() + leaving.patience();
    if leaving.is_read(cancel) {
        let seconds = leaving.patience().as_secs();
        service.leave(Timestamp::now() + leaving.patience());
        output::log(&format!(
            "Supervisor restores a backup that it reads from here: Haul stops when that has ended, in {seconds} s at the \
             latest"
        ));
        if leaving.await_end(until, cancel) {
            output::log("the restore has ended");
        } else if !cancel.is_cancelled() {
            output::log(&format!(
                "warning: the restore has not ended after {seconds} s, and Supervisor waits no longer for Haul; look \
                 whether everything works when it has ended, and restore again what is missing"
            ));
        }
    }
    cancel.cancel();
}
