//! One archive on its way from a network folder to its destination.
//!
//! A client waits for the answer to each write, and takes a server that is silent for half a minute for dead. So no
//! write waits longer than [`PATIENCE`]: when the destination is slow, its bytes wait in memory instead, and only when
//! that is full as well does a write fail.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use bytes::Bytes;
use engine::remake::{Piece, Pieces};
use store::{
    Cancellation, Context, Store, StoreError,
    outbound::{Network, Outbound, Target},
    store::Expected,
};
use tokio::sync::{Notify, watch};

use crate::{
    Shared,
    intake::{Intake, Refused, Step},
};

/// No call waits longer.
pub(crate) const PATIENCE: Duration = Duration::from_secs(9);
/// So much may wait in memory before a write waits as well.
const AHEAD: usize = 8 << 20;

const GIVEN_UP: &str = "it was given up";

/// What the thread that sends is told.
enum Order {
    Step(Step),
    Finish,
}

/// How it ended: bytes, or why not.
pub(crate) type Ended = Result<u64, String>;

/// An archive that grows.
pub(crate) struct Upload {
    intake: tokio::sync::Mutex<(Intake, Option<mpsc::Sender<Order>>)>,
    queue: Arc<Queue>,
    ended: watch::Receiver<Option<Ended>>,
    failed: Mutex<Option<String>>,
    /// Nobody wants it any more: not even what waits in memory is sent.
    dropped: Cancellation,
    length: AtomicU64,
    open: AtomicUsize,
    openings: AtomicUsize,
    finishing: AtomicBool,
}

/// Bytes that wait in memory.
struct Queue {
    bytes: AtomicUsize,
    room: Notify,
    begun: Instant,
    /// Bytes that the destination has taken.
    taken: AtomicU64,
    /// When it took the last ones, in seconds since it began.
    latest: AtomicU64,
}

impl Default for Queue {
    fn default() -> Self {
        Self { bytes: 0.into(), room: Notify::default(), begun: Instant::now(), taken: 0.into(), latest: 0.into() }
    }
}

impl Queue {
    fn add(&self, count: usize) {
        self.bytes.fetch_add(count, Ordering::AcqRel);
    }

    fn remove(&self, count: usize) {
        self.bytes.fetch_sub(count, Ordering::AcqRel);
        self.taken.fetch_add(count as u64, Ordering::AcqRel);
        self.latest.store(self.begun.elapsed().as_secs(), Ordering::Release);
        self.room.notify_waiters();
    }

    /// Why no more may wait.
    fn overflow(&self, most: usize) -> String {
        let (taken, seconds) = (self.taken.load(Ordering::Acquire), self.begun.elapsed().as_secs().max(1));
        let waits = format!("{} MiB waited in memory, and no more may", most >> 20);
        let waiting = self.bytes.load(Ordering::Acquire) as u64;
        // At the rate so far.
        let needed = waiting.saturating_mul(seconds).checked_div(taken).unwrap_or_default();
        let silent = seconds.saturating_sub(self.latest.load(Ordering::Acquire));
        // A slow one takes a part of some MiB, and nothing until that is sent.
        if needed < silent {
            return format!("the destination is away or took nothing for {silent} s: {waits}");
        }
        let rate = match taken / seconds / 1000 {
            slow @ 0..1000 => format!("{slow} kB"),
            fast => format!("{} MB", fast / 1000),
        };
        format!("the destination is too slow: it took {rate} a second, {waits}; those alone would take {needed} s")
    }

    /// Until less than `most` bytes wait.
    async fn below(&self, most: usize) {
        loop {
            let room = self.room.notified();
            if self.bytes.load(Ordering::Acquire) < most {
                return;
            }
            room.await;
        }
    }
}

/// Why a write failed.
pub(crate) enum Failed {
    /// The destination is too slow, or away.
    NoRoom,
    /// It can't be written, or is not what belongs here.
    Refused,
}

impl Upload {
    /// Begins one called `name`; whoever begins it has it open to write.
    pub(crate) fn begin(shared: &Arc<Shared>, store: Option<Arc<dyn Store>>, name: &str) -> Arc<Self> {
        let (orders, mut steps) = mpsc::channel();
        let (tell, ended) = watch::channel(None);
        let queue = Arc::new(Queue::default());
        let upload = Arc::new(Self {
            intake: tokio::sync::Mutex::new((Intake::default(), Some(orders))),
            queue: Arc::clone(&queue),
            ended,
            failed: Mutex::default(),
            dropped: Cancellation::default(),
            length: 0.into(),
            open: 1.into(),
            openings: 1.into(),
            finishing: false.into(),
        });
        let (shared, name, dropped) = (Arc::clone(shared), name.to_owned(), upload.dropped.clone());
        let sending = move || {
            let outcome = send(&shared, store, &name, &mut Incoming { orders: &mut steps, queue: &queue, dropped });
            // Nobody waits any more for what is still on its way here.
            drop(steps);
            queue.bytes.store(0, Ordering::Release);
            queue.room.notify_waiters();
            let _ = tell.send(Some(outcome));
        };
        if let Err(error) = thread::Builder::new().name("haul-share".to_owned()).spawn(sending) {
            upload.fail(format!("can't start a thread: {}", engine::plain_reason(&error)));
        }
        upload
    }

    /// Bytes that have come.
    pub(crate) fn length(&self) -> u64 {
        self.length.load(Ordering::Acquire)
    }

    /// How it ended, if it has.
    pub(crate) fn outcome(&self) -> Option<Ended> {
        self.ended.borrow().clone()
    }

    /// Why it can't succeed any more.
    pub(crate) fn failure(&self) -> Option<String> {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn fail(&self, why: impl Into<String>) {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(|| why.into());
    }

    /// Takes a write.
    pub(crate) async fn write(&self, offset: u64, bytes: Bytes, most: usize) -> Result<(), Failed> {
        if let Some(Err(why)) = self.outcome() {
            self.fail(why);
        }
        if self.failure().is_some() {
            return Err(Failed::Refused);
        }
        // As many as come while it waits wait in order.
        let mut guard = self.intake.lock().await;
        let _ = tokio::time::timeout(PATIENCE, self.queue.below(AHEAD)).await;
        if self.queue.bytes.load(Ordering::Acquire) + bytes.len() > most {
            self.fail(self.queue.overflow(most));
            guard.1 = None;
            return Err(Failed::NoRoom);
        }
        let mut steps = Vec::new();
        let taken = guard.0.write(offset, bytes, &mut steps);
        self.length.store(guard.0.length(), Ordering::Release);
        self.pass_on(&mut guard.1, steps);
        taken.map_err(|refused: Refused| {
            self.fail(refused.to_string());
            guard.1 = None;
            Failed::Refused
        })
    }

    fn pass_on(&self, orders: &mut Option<mpsc::Sender<Order>>, steps: Vec<Step>) {
        let Some(sender) = orders else { return };
        for step in steps {
            if let Step::Append(bytes) = &step {
                self.queue.add(bytes.len());
            }
            if sender.send(Order::Step(step)).is_err() {
                // It has failed, and says why.
                *orders = None;
                return;
            }
        }
    }

    /// Whether everything has come, and the destination is completing it.
    pub(crate) fn is_finishing(&self) -> bool {
        self.finishing.load(Ordering::Acquire)
    }

    /// One more handle leads here, which does not write.
    pub(crate) fn opened(&self) {
        self.open.fetch_add(1, Ordering::AcqRel);
        self.openings.fetch_add(1, Ordering::AcqRel);
    }

    /// A handle that writes leads here, unless another one is open: two writers of one file would mix it up.
    pub(crate) fn opened_to_write(&self) -> bool {
        let is_first = self.open.compare_exchange(0, 1, Ordering::AcqRel, Ordering::Acquire).is_ok();
        if is_first {
            self.openings.fetch_add(1, Ordering::AcqRel);
        }
        is_first
    }

    /// How many there were so far.
    pub(crate) fn openings(&self) -> usize {
        self.openings.load(Ordering::Acquire)
    }

    /// A handle is closed: whether it was the last.
    pub(crate) fn closed(&self) -> bool {
        self.open.fetch_sub(1, Ordering::AcqRel) == 1
    }

    /// Whether nobody has it open.
    pub(crate) fn is_left(&self) -> bool {
        self.open.load(Ordering::Acquire) == 0
    }

    /// Completes it if everything is there. `false`: it isn't.
    pub(crate) async fn finish(&self) -> bool {
        let mut guard = self.intake.lock().await;
        let mut steps = Vec::new();
        if guard.1.is_none() || guard.0.finish(&mut steps).is_err() {
            return false;
        }
        self.pass_on(&mut guard.1, steps);
        if let Some(sender) = guard.1.take() {
            self.finishing.store(true, Ordering::Release);
            // A thread that has ended has said why.
            let _ = sender.send(Order::Finish);
        }
        true
    }

    /// Gives it up: nothing stays anywhere.
    pub(crate) async fn abort(&self, why: &str) {
        self.fail(why);
        self.dropped.cancel();
        self.intake.lock().await.1 = None;
    }

    /// Waits for its end.
    pub(crate) async fn end(&self) -> Ended {
        let mut ended = self.ended.clone();
        match ended.wait_for(Option::is_some).await {
            Ok(outcome) => outcome.clone().unwrap_or(Ok(0)),
            Err(_) => Err("the upload ended unexpectedly".to_owned()),
        }
    }

    /// Why it is not complete.
    pub(crate) async fn lacks(&self) -> String {
        // A destination's own reason comes first; that it was told to stop is none.
        if let Some(Err(why)) = self.outcome().filter(|ended| ended.as_ref().err().is_none_or(|why| why != GIVEN_UP)) {
            return why;
        }
        let mut guard = self.intake.lock().await;
        match (self.failure(), guard.0.finish(&mut Vec::new())) {
            (Some(why), _) => why,
            (None, Err(refused)) => refused.to_string(),
            (None, Ok(())) => GIVEN_UP.to_owned(),
        }
    }
}

/// What comes.
struct Incoming<'a> {
    orders: &'a mut mpsc::Receiver<Order>,
    queue: &'a Queue,
    dropped: Cancellation,
}

impl Incoming<'_> {
    /// `None`: it was given up.
    fn order(&mut self) -> Option<Order> {
        self.orders.recv().ok().filter(|_| !self.dropped.is_cancelled())
    }
}

/// As the parts of an archive.
impl Pieces for Incoming<'_> {
    fn next(&mut self) -> Result<Option<Piece>, String> {
        loop {
            match self.order() {
                Some(Order::Step(Step::Part(piece))) => return Ok(Some(piece)),
                // Its parts have been taken.
                Some(Order::Step(Step::Append(bytes))) => self.queue.remove(bytes.len()),
                Some(Order::Step(Step::Late(_) | Step::Patch(..))) => {}
                Some(Order::Finish) => return Ok(None),
                None => return Err(GIVEN_UP.to_owned()),
            }
        }
    }
}

/// Sends what comes, on a thread of its own.
fn send(shared: &Shared, store: Option<Arc<dyn Store>>, name: &str, incoming: &mut Incoming<'_>) -> Ended {
    if let Some(remaker) = shared.remaker.as_ref().filter(|remaker| remaker.takes(name)) {
        return remaker.remake(name, incoming);
    }
    let plain = |error: &StoreError| error.to_string();
    let target = match (&shared.directory, store) {
        (Some(directory), _) => Target::File(directory.join(name)),
        (None, Some(store)) => Target::Remote { sink: store as _, name: name.to_owned(), context: None },
        (None, None) => return Err("the destination is not connected".to_owned()),
    };
    // A destination that is away is waited for until nobody wants this any more.
    let (all, this) = (&shared.context.cancel, incoming.dropped.clone());
    let _ends_with_all = all.on_cancel(move || this.cancel());
    let context = Context { cancel: incoming.dropped.clone(), ..shared.context.clone() };
    let network = Network { bridge: &shared.bridge, context: &context };
    let mut outbound = Outbound::prepare(vec![target], Some(network), false).map_err(|error| plain(&error))?;
    let begun = outbound.sizes_come_last().and_then(|()| outbound.begin(Expected::default()));
    if let Err(error) = begun {
        outbound.abort();
        return Err(plain(&error));
    }
    while let Some(order) = incoming.order() {
        match order {
            Order::Step(Step::Append(bytes)) => {
                let appended = outbound.append(&bytes);
                incoming.queue.remove(bytes.len());
                if let Err(error) = appended {
                    let failures = outbound.abort();
                    return Err(failures.first().map_or_else(|| error.to_string(), plain));
                }
            }
            Order::Step(Step::Late(range)) => outbound.late(range.start, range.end - range.start),
            Order::Step(Step::Patch(offset, bytes)) => outbound.patch(offset, &bytes),
            Order::Step(Step::Part(_)) => {}
            Order::Finish => {
                let outcomes = outbound.finish();
                return match outcomes.into_iter().next() {
                    Some(outcome) => outcome.result.map(|arrived| arrived.length).map_err(|error| plain(&error)),
                    None => Err("nothing was sent".to_owned()),
                };
            }
        }
    }
    outbound.abort();
    Err(GIVEN_UP.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_destination_that_is_too_slow_is_told_from_one_that_is_away() {
        let ago = |seconds| Instant::now().checked_sub(Duration::from_secs(seconds)).unwrap_or_else(Instant::now);
        let mut queue = Queue { begun: ago(100), ..Queue::default() };
        queue.add(64 << 20);
        assert_eq!(
            queue.overflow(64 << 20),
            "the destination is away or took nothing for 100 s: 64 MiB waited in memory, and no more may"
        );
        queue.taken = 20_000_000.into();
        assert_eq!(
            queue.overflow(64 << 20),
            "the destination is too slow: it took 200 kB a second, 64 MiB waited in memory, and no more may; those alone \
             would take 335 s"
        );
        queue.latest = 60.into();
        assert!(queue.overflow(64 << 20).contains("too slow"), "a part is on its way for 40 s");
        queue.taken = 2_000_000_000.into();
        assert!(queue.overflow(64 << 20).contains("took nothing for 40 s"), "all would have gone in 4 s");
        queue.latest = 100.into();
        assert!(queue.overflow(1 << 20).contains("took 20 MB a second, 1 MiB waited"));
    }
}
