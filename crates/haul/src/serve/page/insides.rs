//! What archives hold: Home Assistant, apps and folders with their sizes, read once and kept in memory.

use std::{
    collections::BTreeMap,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use keeper::status::{ArchiveStatus, Failure as Reason};
use store::Cancellation;
use tokio::sync::watch;
use web::backend::Inside;

use super::contents::Looking;
use crate::{config::Config, failure::Failure, serve::doing::reason};

/// Whoever looks at a page waits so long; what comes later appears by itself.
const PATIENCE: Duration = Duration::from_millis(1500);
/// After so long, what failed is tried again.
const AGAIN: Duration = Duration::from_secs(30);
/// So many are read at once.
const AT_ONCE: usize = 4;
/// So many are remembered.
const MOST: usize = 300;

/// What is known of archives, by their ids.
pub(in crate::serve) struct Insides {
    known: Mutex<BTreeMap<String, Known>>,
    ended: Condvar,
    /// Pages that show it are loaded again then.
    changes: watch::Sender<u64>,
}

enum Known {
    Reading,
    Read(Inside),
    Failed(Reason, Instant),
}

impl Insides {
    pub(in crate::serve) fn new(changes: watch::Sender<u64>) -> Arc<Self> {
        Arc::new(Self { known: Mutex::default(), ended: Condvar::new(), changes })
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What an archive holds. Nothing: it is being read, which takes longer than somebody waits.
    pub(super) fn of(self: &Arc<Self>, config: Config, archive: ArchiveStatus) -> Option<Result<Inside, Reason>> {
        let id = archive.id.clone();
        let mut known = self.lock();
        let is_over = |state: &Known| matches!(state, Known::Failed(_, when) if when.elapsed() > AGAIN);
        if known.get(&id).is_none_or(is_over) {
            let is_reading = |state: &&Known| matches!(state, Known::Reading);
            if known.values().filter(is_reading).count() >= AT_ONCE {
                return None;
            }
            while known.len() >= MOST {
                let Some(other) = known.iter().find(|(_, state)| !is_reading(state)).map(|(id, _)| id.clone()) else {
                    break;
                };
                known.remove(&other);
            }
            known.insert(id.clone(), Known::Reading);
            let insides = Arc::clone(self);
            std::thread::spawn(move || insides.read(&config, &archive));
        }
        let until = Instant::now() + PATIENCE;
        loop {
            match known.get(&id) {
                Some(Known::Read(inside)) => return Some(Ok(inside.clone())),
                Some(Known::Failed(why, _)) => return Some(Err(why.clone())),
                Some(Known::Reading) | None => {}
            }
            let left = until.checked_duration_since(Instant::now())?;
            known = self.ended.wait_timeout(known, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn read(&self, config: &Config, archive: &ArchiveStatus) {
        // However it ends, nobody waits for it any longer.
        let looking = Looking { config, archive, destination: None };
        let read = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| looking.inside(&Cancellation::default())));
        let state = match read {
            Ok(Ok(inside)) => Known::Read(inside),
            Ok(Err(failure)) => Known::Failed(reason(&failure), Instant::now()),
            Err(_) => {
                let failure = Failure::usage("an error of Haul's own").hint("report what its log says");
                Known::Failed(reason(&failure), Instant::now())
            }
        };
        self.lock().insert(archive.id.clone(), state);
        self.ended.notify_all();
        self.changes.send_modify(|number| *number += 1);
    }
}
