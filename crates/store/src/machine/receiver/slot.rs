//! An upload that this process knows.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::{Mutex as AsyncMutex, OwnedSemaphorePermit};

use crate::{
    machine::{building::BuildUpload, records::Record},
    parts::Segments,
    store::Upload,
};

/// An upload that is known to this process.
pub(super) struct Slot {
    pub(super) keep: bool,
    pub(super) touched: Mutex<Instant>,
    // Of an archive that is made here; can be stopped while `state` is busy.
    pub(super) build: Option<Arc<BuildUpload>>,
    pub(super) state: AsyncMutex<State>,
}

pub(super) struct State {
    pub(super) upload: Arc<dyn Upload>,
    pub(super) record: Record,
    // What is there: one range from 0, or at `Parts` one for each part.
    pub(super) kept: Vec<(u64, u64)>,
    pub(super) collected: Collected,
    // Why it failed the last time, so that each reason is reported once.
    pub(super) failed: Option<String>,
}

/// A part that is not complete yet, and the memory it will need.
#[derive(Default)]
pub(super) struct Collected {
    pub(super) data: Segments,
    pub(super) memory: Option<OwnedSemaphorePermit>,
}

impl State {
    pub(super) fn new(upload: Arc<dyn Upload>, record: Record, kept: Vec<(u64, u64)>) -> Self {
        Self { upload, record, kept, collected: Collected::default(), failed: None }
    }
}

impl Slot {
    pub(super) fn touch(&self) {
        *self.touched.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// Whether an archive is being made of it.
    pub(super) fn is_making(&self) -> bool {
        self.build.as_ref().is_some_and(|build| build.made().is_none())
    }

    pub(super) fn idle(&self) -> Duration {
        self.touched.lock().unwrap_or_else(PoisonError::into_inner).elapsed()
    }
}
