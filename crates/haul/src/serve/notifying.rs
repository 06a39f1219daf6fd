//! Tells every channel what it is to be told. A channel that can't be reached holds up nothing: each is told on a
//! thread of its own, and asked again later.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use jiff::{SignedDuration, Timestamp, Zoned};
use keeper::{
    notices::Notice,
    service::Service,
    status::Failure as Reason,
    task::{Outcome, Task},
};
use store::Cancellation;

use super::{alarm::Bell, worker::Worker};
use crate::notify::{Channel, Way};

/// A channel that could not be reached is asked again after this, then after twice as long,
const FIRST_RETRY: Duration = Duration::from_mins(1);
/// and so on up to this.
const LAST_RETRY: Duration = Duration::from_hours(4);
/// How long a program that ends waits for what is on its way.
const PATIENCE: Duration = Duration::from_secs(20);

/// What is under way.
#[derive(Clone)]
pub(super) struct Notifying {
    service: Arc<Service>,
    worker: Arc<Worker>,
    bell: Bell,
    cancel: Cancellation,
    state: Arc<Mutex<BTreeMap<String, State>>>,
}

#[derive(Default)]
struct State {
    /// How many threads are telling it something.
    telling: u32,
    failures: u32,
    retry: Option<Timestamp>,
}

impl Notifying {
    pub(super) fn new(service: &Arc<Service>, worker: &Arc<Worker>, bell: Bell) -> Self {
        Self {
            service: Arc::clone(service),
            worker: Arc::clone(worker),
            bell,
            cancel: Cancellation::default(),
            state: Arc::default(),
        }
    }

    fn state(&self) -> MutexGuard<'_, BTreeMap<String, State>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts telling what is due, and says when to look again.
    pub(super) fn step(&self, now: &Zoned) -> Option<Timestamp> {
        let (due, mut wake) = self.service.notices(now);
        if due.is_empty() {
            return wake;
        }
        let config = self.worker.config();
        for (name, notices) in due {
            let Some(channel) = config.channels().iter().find(|channel| channel.wants.name == name) else { continue };
            let mut all = self.state();
            let state = all.entry(name).or_default();
            match state.retry {
                _ if state.telling > 0 => {}
                Some(retry) if retry > now.timestamp() => wake = wake.into_iter().chain([retry]).min(),
                _ => {
                    state.telling += 1;
                    drop(all);
                    self.start(channel.clone(), move |own, channel| own.tell(channel, &notices));
                }
            }
        }
        wake
    }

    /// What could not be told may be told now.
    pub(super) fn try_again(&self) {
        self.state().values_mut().for_each(|state| state.retry = None);
    }

    fn tell(&self, channel: &Channel, notices: &[Notice]) -> Result<(), Reason> {
        for notice in notices {
            channel.tell(notice, &self.cancel)?;
            self.service.note_told(&channel.wants.name, notice);
        }
        Ok(())
    }

    /// Calls the addresses that want to know when a backup begins and ends.
    pub(super) fn pinging(&self, task: &Task) -> Vec<Pinging> {
        let Task::Backup { job, .. } = task else { return Vec::new() };
        let config = self.worker.config();
        let wanted = config.channels().iter().filter(|channel| {
            matches!(channel.way, Way::Ping(_)) && (channel.wants.jobs.is_empty() || channel.wants.jobs.contains(job))
        });
        wanted.map(|channel| self.ping(channel)).collect()
    }

    fn ping(&self, channel: &Channel) -> Pinging {
        let (end, ended) = std::sync::mpsc::channel();
        self.state().entry(channel.wants.name.clone()).or_default().telling += 1;
        self.start(channel.clone(), move |own, channel| {
            // That it begins is nothing without how it ends.
            let began = channel.ping_start(&own.cancel);
            match ended.recv() {
                Ok(outcome) => channel.ping_end(&outcome, &own.cancel),
                Err(_) => began,
            }
        });
        Pinging(end)
    }

    fn start(&self, channel: Channel, tell: impl FnOnce(&Self, &Channel) -> Result<(), Reason> + Send + 'static) {
        let own = self.clone();
        let name = channel.wants.name.clone();
        let started = std::thread::Builder::new().name("haul-notify".to_owned()).spawn(move || {
            let told = tell(&own, &channel);
            own.ended(&channel.wants.name, told);
        });
        if let Err(error) = started {
            let message = format!("can't start a thread: {}", engine::plain_reason(&error));
            self.ended(&name, Err(Reason { message, hint: None, passes: true }));
        }
    }

    fn ended(&self, name: &str, told: Result<(), Reason>) {
        let mut all = self.state();
        let state = all.entry(name.to_owned()).or_default();
        state.telling = state.telling.saturating_sub(1);
        if told.is_ok() {
            (state.failures, state.retry) = (0, None);
        } else {
            let wait = FIRST_RETRY.saturating_mul(1 << state.failures.min(12)).min(LAST_RETRY);
            let wait = SignedDuration::try_from(wait).unwrap_or(SignedDuration::MAX);
            state.failures = state.failures.saturating_add(1);
            state.retry = Timestamp::now().checked_add(wait).ok();
        }
        drop(all);
        if !self.cancel.is_cancelled() {
            self.service.note_channel(name, told.err());
        }
        self.bell.ring();
    }

    fn is_telling(&self) -> bool {
        self.state().values().any(|state| state.telling > 0)
    }

    /// Waits a while for what is on its way.
    pub(super) fn finish(&self, cancel: &Cancellation) {
        let begun = Instant::now();
        while self.is_telling() && begun.elapsed() < PATIENCE && !cancel.is_cancelled() {
            cancel.sleep(Duration::from_millis(20));
        }
    }

    /// Nothing more is told.
    pub(super) fn stop(&self) {
        self.cancel.cancel();
    }
}

/// A backup of which somebody was told that it begins.
pub(super) struct Pinging(std::sync::mpsc::Sender<Outcome>);

impl Pinging {
    pub(super) fn end(self, outcome: &Outcome) {
        let _ = self.0.send(outcome.clone());
    }
}
