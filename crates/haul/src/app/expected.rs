//! Archives that Haul has asked Supervisor for: whoever writes one of these names to one of these folders has it made
//! anew.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc},
};

use engine::{
    Progress,
    remake::{Pieces, Remade, RemakeOptions, remake},
};
use habackup::manifest::Manifest;
use share::Remaker;
use store::{Cancellation, OnCancel};

use crate::{destination::Network, failure::Failure};

/// What a backup brings with it that is written by somebody else.
type Complaints = Box<dyn Fn(&Manifest) -> Vec<String> + Send>;

/// An archive that Haul has asked for.
pub(super) struct Order {
    pub(super) options: RemakeOptions,
    pub(super) network: Option<Network>,
    /// What of it is missing, asked when everything else has come.
    pub(super) complaints: Complaints,
    pub(super) progress: Arc<Progress>,
    pub(super) cancel: Cancellation,
}

/// All archives that Haul has asked for and that have not begun to come.
#[derive(Default)]
pub(super) struct Expected(Mutex<BTreeMap<Key, Waiting>>);

/// By folder and name.
type Key = (String, String);

/// Names of what is ordered begin so: what comes after its order was given up, or after a restart, is not to stay as it
/// comes, which is not encrypted.
pub(super) const ORDERED: &str = "haul_everything_";

struct Waiting {
    order: Order,
    done: mpsc::Sender<Result<Remade, Failure>>,
}

/// Takes the order back when nobody waits for it any more: what has begun to come is given up then.
pub(super) struct Promise {
    expected: Arc<Expected>,
    key: Key,
    cancel: Cancellation,
    _linked: OnCancel,
    pub(super) done: mpsc::Receiver<Result<Remade, Failure>>,
}

impl Promise {
    /// Whether it has begun to come: then its end is told.
    pub(super) fn has_begun(&self) -> bool {
        !self.expected.lock().contains_key(&self.key)
    }
}

impl Drop for Promise {
    fn drop(&mut self) {
        self.expected.lock().remove(&self.key);
        self.cancel.cancel();
    }
}

impl Expected {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<Key, Waiting>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for an archive of this name in this folder.
    pub(super) fn order(self: &Arc<Self>, folder: &str, name: &str, mut order: Order) -> Promise {
        let (done, outcome) = mpsc::channel();
        let key = (folder.to_owned(), name.to_owned());
        // It ends with whoever ordered it, and before.
        let cancel = Cancellation::default();
        let stop = cancel.clone();
        let linked = order.cancel.on_cancel(move || stop.cancel());
        order.cancel = cancel.clone();
        self.lock().insert(key.clone(), Waiting { order, done });
        Promise { expected: Arc::clone(self), key, cancel, _linked: linked, done: outcome }
    }

    /// What makes archives of one folder anew.
    pub(super) fn of(self: &Arc<Self>, folder: &str) -> Arc<dyn Remaker> {
        Arc::new(Folder { expected: Arc::clone(self), name: folder.to_owned() })
    }
}

struct Folder {
    expected: Arc<Expected>,
    name: String,
}

impl Remaker for Folder {
    fn takes(&self, name: &str) -> bool {
        name.starts_with(ORDERED)
    }

    fn remake(&self, name: &str, pieces: &mut dyn Pieces) -> Result<u64, String> {
        let waiting = self.expected.lock().remove(&(self.name.clone(), name.to_owned()));
        let Some(Waiting { order, done }) = waiting else {
            return Err("it was ordered by Haul, which does not wait for it any more".to_owned());
        };
        let Order { options, network, complaints, progress, cancel } = order;
        let sockets = network.as_ref().map(Network::sockets);
        let made = remake(&options, pieces, &complaints, sockets.as_ref(), &progress, &cancel);
        let answer = match &made {
            Ok(remade) => Ok(remade.size),
            Err(error) => Err(error.to_string()),
        };
        // Whoever ordered it may have given up.
        let _ = done.send(made.map_err(Failure::from));
        answer
    }
}
