//! Who comes in through Home Assistant: its administrators, as it says itself. That its menu hides the page from all
//! others keeps nobody from asking.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use store::Bridge;
use supervisor::Supervisor;
use web::{Ingress, NotAdmitted};

/// An answer counts for so long: a page is made of many requests.
const FRESH: Duration = Duration::from_mins(1);
/// More users are not remembered.
const MOST: usize = 100;

pub(super) struct Administrators {
    supervisor: Arc<Supervisor>,
    bridge: Bridge,
    from: IpAddr,
    known: Mutex<BTreeMap<String, (Instant, bool)>>,
}

impl Administrators {
    /// `from`: Supervisor's own address; nobody else speaks for Home Assistant.
    pub(super) fn new(supervisor: Arc<Supervisor>, bridge: Bridge, from: IpAddr) -> Self {
        Self { supervisor, bridge, from, known: Mutex::default() }
    }
}

impl Ingress for Administrators {
    fn admit(&self, peer: Option<IpAddr>, user: &str) -> Result<(), NotAdmitted> {
        if peer.map(|peer| peer.to_canonical()) != Some(self.from) {
            return Err(NotAdmitted::Stranger);
        }
        if user.is_empty() {
            return Err(NotAdmitted::NotAdministrator);
        }
        let known = || self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = known().get(user).filter(|(when, _)| when.elapsed() < FRESH).map(|(_, may)| *may);
        let may = if let Some(may) = fresh {
            may
        } else {
            let asked = self.bridge.wait(self.supervisor.core().is_administrator(user));
            let may = asked.map_err(|error| NotAdmitted::Unknown(error.reason))?;
            let mut known = known();
            if known.len() >= MOST {
                known.clear();
            }
            known.insert(user.to_owned(), (Instant::now(), may));
            may
        };
        if may { Ok(()) } else { Err(NotAdmitted::NotAdministrator) }
    }
}
