//! One remote copy: takes segments from the channel, sends parts, and ends with a checked object under its name or with
//! nothing.

use std::{
    ops::Range,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use md5::{Digest, Md5};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    task::JoinSet,
};

use super::{
    SEGMENT,
    check::{Fingerprint, compare},
    chunker::{Chunker, PartPlan, Ready},
    endings::{self, died, not_removed, tidy, uncompared},
};
use crate::{
    context::Context,
    error::{Kind, Operation, StoreError},
    parts::Part,
    retry::{RetryPolicy, Waiting},
    store::{Checked, Completed, Entry, Placement, Sink, Store, Upload},
};

/// Bytes of patches that wait in memory for the end. An archive of Supervisor has some kilobytes of them.
const MOST_PATCHED: usize = 32 << 20;

/// What goes over the crossing. Its last word is `Completed`; a channel that closes without it is an abort, never the
/// end of an archive.
pub(super) enum Message {
    Bytes(Bytes, OwnedSemaphorePermit),
    Late(Range<u64>),
    Patch(u64, Bytes),
    Completed(Option<Arc<Fingerprint>>),
}

/// A copy that arrived and was checked.
#[derive(Clone, Debug)]
pub struct Arrived {
    /// Its size.
    pub length: u64,
    /// By what it was compared.
    pub checked: Checked,
    /// What the user should know of it although it arrived.
    pub notes: Vec<String>,
    /// Why it could not be read back, if that was requested.
    pub uncompared: Option<String>,
}

/// Live figures of one copy, for the progress display.
pub struct UploadMeter {
    label: String,
    acknowledged: AtomicU64,
    // Set once everything was handed over and only the other side's work is awaited.
    finishing: AtomicBool,
    ended: AtomicBool,
    // Bytes of an archive that is sent for the second time.
    again: AtomicU64,
    policy: Mutex<Option<RetryPolicy>>,
}

impl UploadMeter {
    /// For the copy at the destination called `label`.
    pub fn new(label: String) -> Self {
        Self {
            label,
            acknowledged: AtomicU64::new(0),
            finishing: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            again: AtomicU64::new(0),
            policy: Mutex::default(),
        }
    }

    /// The destination.
    pub fn label(&self) -> &str {
        &self.label
    }

    /// Bytes that the other side has acknowledged.
    pub fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Ordering::Relaxed)
    }

    /// Whether all bytes are there and the copy is being checked and named.
    pub fn is_finishing(&self) -> bool {
        self.finishing.load(Ordering::Relaxed)
    }

    /// Whether this copy has ended, well or not.
    pub fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Relaxed)
    }

    /// Bytes to be sent in all, of an archive that is sent for the second time.
    pub fn again_of(&self) -> Option<u64> {
        Some(self.again.load(Ordering::Relaxed)).filter(|length| *length > 0)
    }

    /// What it waits for, if it waits.
    pub fn waiting(&self) -> Option<Waiting> {
        self.with_policy(RetryPolicy::waiting).flatten()
    }

    /// Whether the rate limit slows it down.
    pub fn is_limited(&self) -> bool {
        self.with_policy(RetryPolicy::is_limited).unwrap_or(false)
    }

    /// How many tries had to be repeated.
    pub fn retries(&self) -> u64 {
        self.with_policy(RetryPolicy::retries).unwrap_or(0)
    }

    fn with_policy<T>(&self, ask: impl FnOnce(&RetryPolicy) -> T) -> Option<T> {
        self.policy.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(ask)
    }

    pub(super) fn watch(&self, policy: RetryPolicy) {
        *self.policy.lock().unwrap_or_else(PoisonError::into_inner) = Some(policy);
    }

    pub(super) fn add(&self, bytes: u64) {
        self.acknowledged.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn finishing(&self) {
        self.finishing.store(true, Ordering::Relaxed);
    }

    /// The other side lost everything; it is sent again from the start.
    pub(super) fn restart(&self) {
        self.acknowledged.store(0, Ordering::Relaxed);
        self.finishing.store(false, Ordering::Relaxed);
        self.ended.store(false, Ordering::Relaxed);
    }

    /// It is sent once more, with its sizes.
    pub(super) fn again(&self, length: u64) {
        self.restart();
        self.again.store(length, Ordering::Relaxed);
    }

    pub(super) fn end(&self) {
        self.ended.store(true, Ordering::Relaxed);
    }
}

/// For uploads that another process may continue: what is there already, and what to do after each part.
pub(super) struct Resuming {
    pub(super) kept: Vec<Range<u64>>,
    /// Parts arrive whole or not at all; otherwise the destination itself knows how much of a part it has.
    pub(super) whole_parts: bool,
    /// There is a record by which another process finds it.
    pub(super) may_stay: bool,
    pub(super) save: Box<dyn Fn() + Send + Sync>,
}

impl Resuming {
    fn has(&self, part: &Part) -> bool {
        let covers = |kept: &&Range<u64>| kept.start <= part.offset && part.end() <= kept.end;
        // The last part also ends the upload, so a destination that knows its position gets it in any case.
        (self.whole_parts || !part.last) && self.kept.iter().any(|kept| covers(&kept))
    }
}

/// One upload, from its first part to its check.
pub(super) struct RemoteUpload {
    pub(super) sink: Arc<dyn Sink>,
    pub(super) name: String,
    pub(super) upload: Arc<dyn Upload>,
    pub(super) plan: PartPlan,
    pub(super) concurrency: usize,
    pub(super) policy: RetryPolicy,
    pub(super) context: Context,
    pub(super) meter: Arc<UploadMeter>,
    /// What the sender waits for; closed as soon as nothing more is wanted.
    pub(super) budget: Arc<Semaphore>,
    /// Whether every byte is compared after arrival.
    pub(super) read_back: bool,
    /// Only for an archive that exists already.
    pub(super) resuming: Option<Resuming>,
}

/// The budget for what is under way, one part being filled, those held back, and a little so that filling never stops
/// for a single segment.
pub(super) fn budget_for(part: u64, concurrency: usize, held: u64) -> usize {
    ((part.saturating_mul(concurrency as u64 + 1 + held)).div_ceil(SEGMENT as u64) + 2).max(4) as usize
}

/// How many parts a destination usually holds back: the one with the late field.
pub(super) fn held_at_first(placement: Placement) -> u64 {
    u64::from(matches!(placement, Placement::Parts(_)))
}

impl RemoteUpload {
    /// Runs to the end. Whatever the end is, nothing half-done stays on the other side if that can be reached.
    pub(super) async fn run(self, messages: mpsc::UnboundedReceiver<Message>) -> Result<Arrived, StoreError> {
        let mut sending = Sending::new(&self);
        let sent = self.send(messages, &mut sending).await;
        // A thread that waits for the budget must learn at once that there will be none, and nothing may arrive after
        // the cleanup.
        self.budget.close();
        sending.tasks.shutdown().await;
        let result = match sent {
            Ok((completed, fingerprint)) => self.arrive(&completed, fingerprint.as_deref()).await,
            Err(error) => Err(error),
        };
        let stays = |error: &StoreError| {
            self.resuming.as_ref().is_some_and(|resuming| resuming.may_stay)
                && self.upload.session().is_some()
                && error.may_continue_later()
        };
        if result.as_ref().is_err_and(|error| !stays(error)) {
            endings::abort(&self.context, &*self.upload).await;
        }
        self.meter.end();
        result
    }

    /// Sends every part.
    async fn send(
        &self,
        mut messages: mpsc::UnboundedReceiver<Message>,
        sending: &mut Sending<'_>,
    ) -> Result<(Completed, Option<Arc<Fingerprint>>), StoreError> {
        let abilities = self.sink.abilities();
        let mut chunker = Chunker::new(self.plan, abilities.placement);
        let mut digest = abilities.md5.then(Md5::new);
        let (mut patches, mut waiting) = (Vec::new(), 0);
        let mut budget = budget_for(self.plan.size(0), self.concurrency, held_at_first(abilities.placement));
        let fingerprint = loop {
            match sending.unless_failed(messages.recv()).await? {
                // The sender gave up; so does this copy.
                None => return Err(StoreError::Cancelled),
                Some(Message::Late(range)) => chunker.late(range),
                Some(Message::Patch(offset, bytes)) => {
                    let Some(ready) = chunker.patch(offset, &bytes) else {
                        return Err(self.refuse(Kind::Protocol, "Haul tried to change bytes that were already sent"));
                    };
                    for ready in ready {
                        sending.start(ready).await?;
                    }
                    if matches!(abilities.placement, Placement::Random | Placement::Sequential) {
                        waiting += bytes.len();
                        if waiting > MOST_PATCHED {
                            let reason = "the archive has more members than Haul can correct there";
                            return Err(self.refuse(Kind::Invalid, reason));
                        }
                        patches.push((offset, bytes));
                    }
                }
                Some(Message::Completed(fingerprint)) => break fingerprint.filter(|_| self.read_back),
                Some(Message::Bytes(bytes, permit)) => {
                    if let Some(digest) = &mut digest {
                        digest.update(&bytes);
                    }
                    let ready = chunker.push(bytes, permit);
                    if let Some(most) = chunker.outgrown() {
                        return Err(self.outgrown(most));
                    }
                    for ready in ready {
                        sending.start(ready).await?;
                    }
                    // An archive beyond the expected size continues in larger parts, and a late field may touch two
                    // parts: none may need more than the budget.
                    let held = held_at_first(abilities.placement).max(chunker.held() as u64);
                    let wanted = budget_for(chunker.filling_size(), self.concurrency, held);
                    self.budget.add_permits(wanted.saturating_sub(budget));
                    budget = budget.max(wanted);
                }
            }
        };
        let (rest, parts) = chunker.seal();
        let length = rest.last().map_or(0, |(part, _)| part.end());
        for ready in rest {
            sending.start(ready).await?;
        }
        sending.drain().await?;
        self.meter.finishing();
        match abilities.placement {
            Placement::Random => {
                for (offset, bytes) in &patches {
                    self.policy.retry(|| self.upload.patch(*offset, bytes)).await?;
                }
            }
            Placement::Sequential if !patches.is_empty() => {
                return Err(self.refuse(Kind::Protocol, "bytes already sent can't be changed"));
            }
            Placement::Parts(_) | Placement::Sequential => {}
        }
        Ok((Completed { length, parts, md5: digest.map(|digest| digest.finalize().into()) }, fingerprint))
    }

    fn refuse(&self, kind: Kind, reason: &str) -> StoreError {
        StoreError::remote(self.sink.label(), Operation::Write, kind, reason)
    }

    /// The destination requires parts of one size, and does not accept enough of them.
    fn outgrown(&self, most: u64) -> StoreError {
        let (part, label) = (self.plan.size(0) >> 20, self.sink.label());
        let reason = format!("the archive is larger than the {} GiB that fit into parts of {part} MiB", most >> 30);
        let advice = format!("set part_size to {}MiB or more for this destination in haul.toml", part * 2);
        StoreError::remote(label, Operation::Write, Kind::Full { missing: None }, reason).advise(&advice)
    }

    /// Publishes and checks.
    async fn arrive(&self, completed: &Completed, fingerprint: Option<&Fingerprint>) -> Result<Arrived, StoreError> {
        let checked = self.policy.retry(|| self.upload.commit(completed)).await?;
        let mut arrived = Arrived { length: completed.length, checked, notes: self.upload.notes(), uncompared: None };
        if let Some(store) = Arc::clone(&self.sink).store() {
            self.look(store.as_ref(), &mut arrived).await?;
            if let Some(fingerprint) = fingerprint {
                self.read_back(store.as_ref(), fingerprint, &mut arrived).await?;
            }
        }
        Ok(arrived)
    }

    /// Asks once more what is there now. The destination has confirmed the archive; if it does not show it yet, that
    /// changes nothing.
    async fn look(&self, store: &dyn Store, arrived: &mut Arrived) -> Result<(), StoreError> {
        let name = &self.name;
        let there = |found: &Option<Entry>| found.as_ref().is_some_and(|entry| entry.size == arrived.length);
        match self.policy.settled(|| store.entry(name), there).await {
            Ok(None) => {
                arrived.notes.push(format!("{name} arrived at {}, whose list does not show it yet", store.label()));
            }
            Ok(Some(entry)) if entry.size != arrived.length => {
                let reason = format!("{name} arrived, but it has {} bytes instead of {}", entry.size, arrived.length);
                let advice = "Haul left it there, because it may be another archive of that name: check it with `haul \
                    verify` before you delete it";
                return Err(StoreError::remote(store.label(), Operation::Check, Kind::Mismatch, reason).advise(advice));
            }
            Ok(Some(_)) => {}
            Err(error) => arrived
                .notes
                .push(format!("{name} arrived at {}, but Haul could not check it afterwards: {error}", store.label())),
        }
        Ok(())
    }

    /// A copy that differs is removed. One that can't be read is not: the destination has confirmed it.
    async fn read_back(
        &self,
        store: &dyn Store,
        fingerprint: &Fingerprint,
        arrived: &mut Arrived,
    ) -> Result<(), StoreError> {
        match compare(store, &self.name, fingerprint, &self.policy).await {
            Ok(checked) => arrived.checked = checked,
            Err(error) if error.kind() == Some(Kind::Mismatch) => {
                let removed = tidy(&self.context, || store.delete(&self.name)).await;
                return Err(if removed { error } else { not_removed(error, &self.name, &store.label()) });
            }
            // An archive that exists already is compared by the next call.
            Err(error) if self.resuming.is_some() && error.may_continue_later() => return Err(error),
            Err(error) => arrived.uncompared = Some(uncompared(&self.name, &store.label(), &error)),
        }
        Ok(())
    }
}

/// The parts under way.
struct Sending<'a> {
    task: &'a RemoteUpload,
    tasks: JoinSet<Result<(), StoreError>>,
}

impl<'a> Sending<'a> {
    fn new(task: &'a RemoteUpload) -> Self {
        Self { task, tasks: JoinSet::new() }
    }

    /// Sends a part as soon as fewer than the allowed number are under way.
    async fn start(&mut self, (mut part, budget): Ready<OwnedSemaphorePermit>) -> Result<(), StoreError> {
        part.activity = self.task.policy.activity();
        if self.task.resuming.as_ref().is_some_and(|resuming| resuming.has(&part)) {
            self.task.meter.add(part.data.len());
            return Ok(());
        }
        while self.tasks.len() >= self.task.concurrency {
            self.one().await?;
        }
        let (upload, policy, meter) =
            (Arc::clone(&self.task.upload), self.task.policy.clone(), Arc::clone(&self.task.meter));
        self.tasks.spawn(async move {
            put(upload.as_ref(), &part, &policy).await?;
            meter.add(part.data.len());
            // The memory is free again only now: until here it might have had to be sent once more.
            drop((part, budget));
            Ok(())
        });
        Ok(())
    }

    async fn drain(&mut self) -> Result<(), StoreError> {
        while !self.tasks.is_empty() {
            self.one().await?;
        }
        Ok(())
    }

    async fn one(&mut self) -> Result<(), StoreError> {
        match self.tasks.join_next().await {
            None => Ok(()),
            Some(Ok(result)) => {
                if let (Ok(()), Some(resuming)) = (&result, &self.task.resuming) {
                    (resuming.save)();
                }
                result
            }
            Some(Err(error)) => Err(died(&self.task.sink.label(), &error)),
        }
    }

    /// Waits for the next message, unless a part fails first.
    async fn unless_failed<T>(&mut self, next: impl Future<Output = T>) -> Result<T, StoreError> {
        tokio::pin!(next);
        loop {
            tokio::select! {
                biased;
                message = &mut next => return Ok(message),
                done = self.one(), if !self.tasks.is_empty() => done?,
            }
        }
    }
}

/// One part, until it has arrived.
pub(super) async fn put(upload: &dyn Upload, part: &Part, policy: &RetryPolicy) -> Result<(), StoreError> {
    policy.retry_moving(&part.activity, || upload.put(part)).await
}
