//! One copy of the archive: a local file, or an upload to a destination.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    task::JoinHandle,
};

use super::{
    begin::{self, Creating, undo},
    check::{self, Fingerprint, GRAIN},
    chunker::PartPlan,
    endings,
    original::Original,
    remote_upload::{Arrived, Message, RemoteUpload, UploadMeter, budget_for, held_at_first},
};
use crate::{
    bridge::Bridge,
    context::Context,
    error::{Kind, Operation, StoreError},
    inbound::RemoteFile,
    local::{Local, PendingFile, parent},
    retry::RetryPolicy,
    store::{Checked, Expected, Sink, Store, Upload},
    twice::{Draft, ROOM},
};

/// Bytes per segment: the grain of memory, and of the digests for reading back.
pub(super) const SEGMENT: usize = GRAIN as usize;
/// Parts under way at once to the only remote destination, and to each of several: this bounds the memory.
pub(crate) const ALONE: usize = 3;
pub(super) const TOGETHER: usize = 2;
/// How long a local file waits for a destination to begin; a slower one gets its copy from that file.
const HURRY: Duration = Duration::from_secs(10);
/// How often an upload begins at most, if the other side loses it.
pub(super) const BEGINNINGS: u32 = 5;

pub(super) struct FileCopy {
    pub(super) path: PathBuf,
    pub(super) read_back: bool,
    pub(super) file: Option<PendingFile>,
    pub(super) failure: Option<StoreError>,
}

pub(super) struct RemoteCopy {
    pub(super) sink: Arc<dyn Sink>,
    pub(super) name: String,
    pub(super) context: Context,
    pub(super) read_back: bool,
    pub(super) meter: Arc<UploadMeter>,
    pub(super) policy: RetryPolicy,
    pub(super) state: State,
    // What is sent first, if the archive is sent twice.
    pub(super) draft: Option<Draft>,
}

pub(super) enum State {
    Prepared,
    Live {
        sender: mpsc::UnboundedSender<Message>,
        budget: Arc<Semaphore>,
        task: JoinHandle<Result<Arrived, StoreError>>,
        detached_at: Option<u64>,
    },
    // As deferred; the upload is being begun meanwhile.
    Beginning {
        creating: Creating,
        expected: Expected,
    },
    // Sent from the finished local copy.
    Deferred,
    Failed(StoreError),
}

impl FileCopy {
    pub(super) fn publish(self, fingerprint: Option<&Fingerprint>, network: Option<&(Bridge, Context)>) -> Outcome {
        let (name, label) = (file_name(&self.path), directory(&self.path));
        let result = match (self.file, self.failure) {
            (_, Some(error)) => Err(error),
            (Some(file), None) => file.publish().and_then(|published| {
                let mut arrived =
                    Arrived { length: published.length, checked: Checked::Size, notes: Vec::new(), uncompared: None };
                if let (Some(fingerprint), Some((bridge, context)), true) = (fingerprint, network, self.read_back) {
                    let compared = Local::open(parent(&self.path)).and_then(|store| {
                        let compared =
                            bridge.wait(check::compare(&store, &name, fingerprint, &RetryPolicy::new(context)));
                        compared.map_err(|error| match error.kind() {
                            Some(Kind::Mismatch) if bridge.wait(store.delete(&name)).is_err() => {
                                endings::not_removed(error, &name, &label)
                            }
                            _ => error,
                        })
                    });
                    match compared {
                        Ok(checked) => arrived.checked = checked,
                        Err(error) if error.kind() == Some(Kind::Mismatch) => return Err(error),
                        Err(error) => arrived.uncompared = Some(endings::uncompared(&name, &label, &error)),
                    }
                }
                Ok(arrived)
            }),
            (None, None) => Err(StoreError::Cancelled),
        };
        Outcome { label, name, path: Some(self.path), result, retries: 0 }
    }
}

impl RemoteCopy {
    /// Begins the upload. Unless `patient`, a destination that does not answer soon waits for the finished local copy.
    pub(super) fn start(&mut self, expected: Expected, parts_at_once: usize, patient: bool, bridge: &Bridge) {
        let (sink, name, policy, context) =
            (self.taking(), self.name.clone(), self.policy.clone(), self.context.clone());
        let mut creating: Creating =
            bridge.spawn(async move { begin::create(&sink, &name, expected, &policy, &context).await });
        let created = bridge.wait(async {
            if patient {
                Some((&mut creating).await)
            } else {
                tokio::time::timeout(self.hurry(), &mut creating).await.ok()
            }
        });
        match created {
            Some(created) => {
                let created = created.unwrap_or_else(|error| Err(endings::died(&self.sink.label(), &error)));
                self.go_on(created, expected, parts_at_once, bridge);
            }
            None => self.state = State::Beginning { creating, expected },
        }
    }

    /// What takes the bytes now.
    fn taking(&self) -> Arc<dyn Sink> {
        self.draft.clone().map_or_else(|| Arc::clone(&self.sink), |draft| Arc::new(draft))
    }

    /// How long a destination may take before it is put off.
    pub(super) fn hurry(&self) -> Duration {
        self.context.tuning.stall.min(HURRY)
    }

    /// The upload has begun, or could not.
    pub(super) fn go_on(
        &mut self,
        created: Result<Box<dyn Upload>, StoreError>,
        expected: Expected,
        parts_at_once: usize,
        bridge: &Bridge,
    ) {
        let upload = match created {
            Ok(upload) => Arc::from(upload),
            Err(error) => {
                self.meter.end();
                self.state = State::Failed(error);
                return;
            }
        };
        let (sink, read_back) = (self.taking(), self.read_back && self.draft.is_none());
        let abilities = sink.abilities();
        let plan = PartPlan::new(&abilities, expected.exact.or(expected.about), self.context.tuning.part_size);
        let concurrency = abilities.concurrency.clamp(1, parts_at_once);
        let budget =
            Arc::new(Semaphore::new(budget_for(plan.size(0), concurrency, held_at_first(abilities.placement))));
        let task = RemoteUpload {
            sink,
            name: self.name.clone(),
            upload,
            plan,
            concurrency,
            policy: self.policy.clone(),
            context: self.context.clone(),
            meter: Arc::clone(&self.meter),
            budget: Arc::clone(&budget),
            read_back,
            resuming: None,
        };
        let (sender, receiver) = mpsc::unbounded_channel();
        let task = bridge.spawn(task.run(receiver));
        self.state = State::Live { sender, budget, task, detached_at: None };
    }

    /// Takes a segment, or leaves the stream if it is behind and a local copy is being made. Fails if the user stops it
    /// meanwhile.
    pub(super) fn take(
        &mut self,
        segment: &Bytes,
        offset: u64,
        may_detach: bool,
        bridge: &Bridge,
    ) -> Result<(), StoreError> {
        let State::Live { sender, budget, detached_at, .. } = &mut self.state else { return Ok(()) };
        if detached_at.is_some() {
            return Ok(());
        }
        match Arc::clone(budget).try_acquire_owned() {
            Ok(permit) => {
                let _ = sender.send(Message::Bytes(segment.clone(), permit));
            }
            Err(tokio::sync::TryAcquireError::NoPermits) if may_detach => *detached_at = Some(offset),
            Err(_) => {
                if let Some(permit) = wait_for_budget(budget, &self.policy, bridge)? {
                    let _ = sender.send(Message::Bytes(segment.clone(), permit));
                }
            }
        }
        Ok(())
    }

    pub(super) fn finish(
        mut self,
        copy: Option<&Path>,
        fingerprint: Option<&Arc<Fingerprint>>,
        bridge: &Bridge,
    ) -> Outcome {
        let meter = Arc::clone(&self.meter);
        let (label, name) = (self.sink.label(), self.name.clone());
        let result = if self.draft.is_some() {
            self.arrive_twice(fingerprint, bridge)
        } else {
            self.arrive(copy.map(Original::File), fingerprint, bridge)
        };
        Outcome { label, name, path: None, result, retries: meter.retries() }
    }

    /// Ends the draft, and sends the archive from that.
    fn arrive_twice(&mut self, fingerprint: Option<&Arc<Fingerprint>>, bridge: &Bridge) -> Result<Arrived, StoreError> {
        let state = std::mem::replace(&mut self.state, State::Deferred);
        let first = self.end(state, None, fingerprint, bridge);
        let Some(draft) = self.draft.take() else { return first };
        let mut result = first.and_then(|first| {
            self.meter.again(first.length);
            let store: Arc<dyn Store> = Arc::new(draft.clone());
            let file = RemoteFile::of(bridge, &self.context, store, draft.as_entry()).retrying(&self.policy);
            self.arrive(Some(Original::Draft(&file)), fingerprint, bridge)
        });
        self.meter.end();
        let is_removed = bridge.wait(draft.remove(&endings::brief(&self.context)));
        match &mut result {
            Ok(arrived) if !is_removed => arrived.notes.push(format!(
                "what {} got first could not be removed; that is tried again before the next archive is sent there",
                self.sink.label()
            )),
            Err(error) if error.is_full() => return result.map_err(|error| error.advise(ROOM)),
            _ => {}
        }
        result
    }

    /// Beside another copy, an upload that the other side lost starts over from that.
    fn arrive(
        &mut self,
        copy: Option<Original<'_>>,
        fingerprint: Option<&Arc<Fingerprint>>,
        bridge: &Bridge,
    ) -> Result<Arrived, StoreError> {
        let mut begun = 1;
        loop {
            let state = std::mem::replace(&mut self.state, State::Deferred);
            match self.end(state, copy, fingerprint, bridge) {
                Err(error) if error.kind() == Some(Kind::Lost) && copy.is_some() && begun < BEGINNINGS => {
                    self.meter.restart();
                }
                result => return result,
            }
            begun += 1;
        }
    }

    fn end(
        &mut self,
        mut state: State,
        copy: Option<Original<'_>>,
        fingerprint: Option<&Arc<Fingerprint>>,
        bridge: &Bridge,
    ) -> Result<Arrived, StoreError> {
        let no_copy = |label: String| {
            StoreError::remote(label, Operation::Write, Kind::Lost, "the rest depends on the local copy, which failed")
        };
        let mut from = None;
        if let State::Beginning { creating, expected } = state {
            state = State::Deferred;
            if copy.is_none() {
                bridge.wait(undo(creating, self.context.clone(), self.hurry()));
            } else if let Ok(Ok(upload)) = bridge.wait(creating) {
                self.go_on(Ok(upload), expected, ALONE, bridge);
                state = std::mem::replace(&mut self.state, State::Deferred);
                from = Some(0);
            }
        }
        if let (State::Deferred, Some(original)) = (&state, copy) {
            let length = original.version()?.length;
            self.start(Expected::exactly(length), ALONE, true, bridge);
            state = std::mem::replace(&mut self.state, State::Deferred);
            from = Some(0);
        }
        match state {
            State::Live { sender, budget, task, detached_at } => {
                if let Some(offset) = detached_at.or(from) {
                    let Some(original) = copy else {
                        drop(sender);
                        let _ = bridge.wait(task);
                        return Err(no_copy(self.sink.label()));
                    };
                    // A destination that has failed meanwhile closes its budget, which ends the reading; its task knows
                    // why.
                    let sent = original.version().and_then(|version| {
                        let expected = fingerprint.filter(|_| original.is_draft()).map(|fingerprint| &**fingerprint);
                        feed(original, version.length, offset, expected, &sender, &budget, &self.policy, bridge)
                    });
                    match sent {
                        Ok(()) => drop(sender.send(Message::Completed(fingerprint.cloned()))),
                        Err(error) => {
                            drop(sender);
                            let _ = bridge.wait(task);
                            return Err(error);
                        }
                    }
                }
                drop(sender);
                bridge.wait(task).unwrap_or_else(|error| Err(endings::died(&self.sink.label(), &error)))
            }
            State::Failed(error) => Err(error),
            State::Prepared => Err(StoreError::Cancelled),
            State::Beginning { .. } | State::Deferred => Err(no_copy(self.sink.label())),
        }
    }
}

/// `None` if the destination wants nothing more.
pub(super) fn wait_for_budget(
    budget: &Arc<Semaphore>,
    policy: &RetryPolicy,
    bridge: &Bridge,
) -> Result<Option<OwnedSemaphorePermit>, StoreError> {
    bridge.wait(policy.unless_cancelled(Arc::clone(budget).acquire_owned())).map(Result::ok)
}

/// Sends an archive of `length` bytes from `offset` on, while the destination wants it. `expected`: what it has to be.
#[expect(clippy::too_many_arguments, reason = "each is something else")]
pub(super) fn feed(
    original: Original<'_>,
    length: u64,
    offset: u64,
    expected: Option<&Fingerprint>,
    sender: &mpsc::UnboundedSender<Message>,
    budget: &Arc<Semaphore>,
    policy: &RetryPolicy,
    bridge: &Bridge,
) -> Result<(), StoreError> {
    let opened = original.open()?;
    let mut at = offset;
    while at < length {
        let Some(permit) = wait_for_budget(budget, policy, bridge)? else { return Ok(()) };
        let mut segment = vec![0; (length - at).min(SEGMENT as u64) as usize];
        opened.read_exact_at(&mut segment, at)?;
        if expected.is_some_and(|expected| expected.difference(at, &segment).is_some()) {
            let reason = format!("what was sent first differs when it is read back, after byte {at}");
            return Err(StoreError::remote(original.label(), Operation::Check, Kind::Mismatch, reason)
                .advise("check the network and the server's disk"));
        }
        at += segment.len() as u64;
        if sender.send(Message::Bytes(segment.into(), permit)).is_err() {
            return Ok(());
        }
        opened.has_read(at);
    }
    Ok(())
}

pub(super) fn file_name(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

pub(super) fn directory(path: &Path) -> String {
    parent(path).display().to_string()
}

/// What became of one copy.
#[derive(Debug)]
pub struct Outcome {
    /// The destination, as users know it.
    pub label: String,
    /// The object's name there.
    pub name: String,
    /// The file, for a local copy.
    pub path: Option<PathBuf>,
    /// How it ended.
    pub result: Result<Arrived, StoreError>,
    /// Tries that had to be repeated.
    pub retries: u64,
}
