//! The end that makes the archive: one thread per archive runs the ordinary pipeline on the bytes that arrive.

use std::{
    convert::Infallible,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        mpsc::{Receiver, Sender, SyncSender, channel, sync_channel},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use bytes::Bytes;
use serde_json::Value;
use store::{
    Bridge, Cancellation, Checked, Context, Expected, Kind, LateSizes, Operation, StoreError,
    machine::{self, Made, Making, Task},
    outbound::{Network, Outbound},
};

use super::{
    choice::try_out,
    recipe::{MadeReport, Recipe},
    stream::{Delivery, Piece},
};
use crate::{
    backup::assemble::{Work, write_archive},
    error::BackupError,
    progress::Progress,
    write::{
        broken::Ended,
        destination::{self, Destination},
        layout::Layout,
        pipeline::{Output, all_cores},
    },
};

/// Messages, of 4 MiB at most, that wait for the compressor.
const AHEAD: usize = 2;
/// What a sender's word about the length can bring about in memory has an end: it decides how large the parts are.
/// Beyond it they grow as they are needed.
const LARGEST: u64 = 1 << 39;
/// How long the end of this machine's own work waits for archives to be given up.
const ENDING: Duration = Duration::from_secs(20);

/// Makes archives, of what paired machines send, at a destination of this machine.
pub struct ArchiveBuilder {
    destination: Destination,
    label: String,
    bridge: Bridge,
    context: Context,
    jobs: Mutex<Jobs>,
    // Ends when no thread works any more.
    ended: Mutex<Receiver<Infallible>>,
}

/// What is under way.
struct Jobs {
    // Each thread has a clone as long as it works. None when this machine is about to end.
    working: Option<Sender<Infallible>>,
    jobs: Vec<Weak<Job>>,
}

impl ArchiveBuilder {
    /// For a destination that users know as `label`. `None` if the destination must know an archive's length in
    /// advance: then only the machine with the data can make the archive.
    pub fn new(destination: Destination, label: String, bridge: Bridge, context: Context) -> Option<Self> {
        let is_fit = destination.late_sizes() == LateSizes::AtOnce;
        is_fit.then(|| {
            let (working, ended) = channel();
            let jobs = Mutex::new(Jobs { working: Some(working), jobs: Vec::new() });
            Self { destination, label, bridge, context, jobs, ended: Mutex::new(ended) }
        })
    }

    /// Gives up what is under way, takes on nothing more, and waits until nothing is left, but not for ever.
    pub fn close(&self) {
        let jobs = {
            let mut jobs = lock(&self.jobs);
            jobs.working = None;
            std::mem::take(&mut jobs.jobs)
        };
        for job in jobs.iter().filter_map(Weak::upgrade) {
            job.stop();
        }
        let _ = lock(&self.ended).recv_timeout(ENDING);
    }

    /// Notes a job, unless this machine is about to end.
    fn enter(&self, job: &Arc<Job>) -> Result<(), StoreError> {
        let mut jobs = lock(&self.jobs);
        if jobs.working.is_none() {
            return Err(ending(&self.label));
        }
        jobs.jobs.retain(|job| job.strong_count() > 0);
        jobs.jobs.push(Arc::downgrade(job));
        Ok(())
    }

    fn layout(&self, recipe: &Value) -> Result<(Recipe, Layout), StoreError> {
        let understood = Recipe::from_json(recipe).and_then(|recipe| Some((recipe.layout(None)?, recipe)));
        let Some((layout, recipe)) = understood else {
            let reason = "the sender asks for something that this version of haul does not support";
            return Err(StoreError::remote(&self.label, Operation::Create, Kind::Protocol, reason)
                .advise("install the same version of haul on both machines"));
        };
        Ok((recipe, layout))
    }
}

/// The sender keeps asking until this machine is back, and then starts over.
fn ending(label: &str) -> StoreError {
    StoreError::remote(label, Operation::Write, Kind::Transient { retry_after: None }, "the receiver is about to end")
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl machine::ArchiveBuilder for ArchiveBuilder {
    fn start(&self, task: Task) -> Result<Arc<dyn Making>, StoreError> {
        let (recipe, layout) = self.layout(&task.recipe)?;
        let Some(working) = lock(&self.jobs).working.clone() else { return Err(ending(&self.label)) };
        let (sender, pieces) = sync_channel(AHEAD);
        let (begun, has_begun) = sync_channel(1);
        let cancel = Cancellation::default();
        let mut context = self.context.clone();
        context.cancel = cancel.clone();
        context.ask = None;
        let work = Workbench {
            destination: self.destination.clone(),
            name: task.name,
            expected: Expected { about: task.expected.about.map(|about| about.min(LARGEST)), ..task.expected },
            layout,
            read_back: recipe.read_back,
            bridge: self.bridge.clone(),
            context,
            cancel: cancel.clone(),
            _working: working,
        };
        let delivery = Delivery::new(pieces);
        let spawned = thread::Builder::new().name("haul-make".to_owned()).spawn(move || work.run(delivery, &begun));
        let thread = spawned.map_err(|source| {
            StoreError::remote(
                &self.label,
                Operation::Create,
                Kind::Transient { retry_after: None },
                source.to_string(),
            )
        })?;
        let job = Arc::new(Job {
            label: self.label.clone(),
            cancel,
            sender: Mutex::new(Some(sender)),
            thread: Mutex::new(Some(thread)),
            ended: Mutex::new(None),
        });
        self.enter(&job)?;
        if has_begun.recv().is_err() {
            return Err(job.failure());
        }
        Ok(job)
    }

    fn try_out(&self, recipe: &Value, sample: &[u8]) -> Result<(), StoreError> {
        let (_, layout) = self.layout(recipe)?;
        let failed = |reason| StoreError::remote(&self.label, Operation::Write, Kind::Protocol, reason);
        try_out(&layout, sample, &Cancellation::default()).map(drop).map_err(failed)
    }
}

/// What the thread needs.
struct Workbench {
    destination: Destination,
    name: String,
    expected: Expected,
    layout: Layout,
    read_back: bool,
    bridge: Bridge,
    context: Context,
    cancel: Cancellation,
    _working: Sender<Infallible>,
}

impl Workbench {
    /// From the first byte to the checked archive; `begun` hears when the destination has taken it on.
    fn run(self, delivery: Delivery, begun: &SyncSender<()>) -> Result<Made, BackupError> {
        // After a stop, the first to notice waits for bytes, for the disk or for a socket, and each names it
        // differently.
        self.make(delivery, begun)
            .map_err(|error| if self.cancel.is_cancelled() { BackupError::Cancelled } else { error })
    }

    fn make(&self, delivery: Delivery, begun: &SyncSender<()>) -> Result<Made, BackupError> {
        let network = Network { bridge: &self.bridge, context: &self.context };
        let target = self.destination.target(&self.name);
        let mut outbound = Outbound::prepare(vec![target], Some(network), self.read_back)?;
        outbound.begin(self.expected)?;
        let _ = begun.send(());
        let progress = Arc::new(Progress::default());
        progress.set_threads(self.layout.compression.map_or_else(all_cores, |options| options.get_threads()).get());
        let output = Output::new(outbound, Arc::clone(&progress));
        let made = write_archive(&self.layout, Work::Delivered(delivery), output, &progress, &self.cancel).map_err(
            |ended| match ended {
                Ended::Failed(error) => error,
                Ended::Stale => BackupError::Cancelled,
            },
        )?;
        let copies = destination::settle(made.output.into_outbound().finish())?;
        let checked = copies.first().and_then(|copy| copy.checked).unwrap_or(Checked::Size);
        let report = serde_json::to_value(MadeReport { size: made.length }).unwrap_or_default();
        Ok(Made { size: made.length, checked, report })
    }
}

/// One archive under way.
struct Job {
    label: String,
    cancel: Cancellation,
    sender: Mutex<Option<SyncSender<Piece>>>,
    thread: Mutex<Option<JoinHandle<Result<Made, BackupError>>>>,
    ended: Mutex<Option<Result<Made, StoreError>>>,
}

impl Job {
    /// Waits for the thread, and reports how it ended to everybody who asks.
    fn outcome(&self) -> Result<Made, StoreError> {
        let mut ended = lock(&self.ended);
        let thread = lock(&self.thread).take();
        if let Some(thread) = thread {
            let joined =
                thread.join().unwrap_or_else(|_| Err(BackupError::Pipeline("its maker ended unexpectedly".to_owned())));
            *ended = Some(joined.map_err(|error| self.reported(error)));
        }
        match &*ended {
            Some(Ok(made)) => Ok(made.clone()),
            Some(Err(error)) => Err(error.again()),
            None => Err(self.reported(BackupError::Cancelled)),
        }
    }

    fn failure(&self) -> StoreError {
        lock(&self.sender).take();
        match self.outcome() {
            Err(error) => error,
            // The archive is complete, without what comes now.
            Ok(_) => StoreError::remote(&self.label, Operation::Write, Kind::Lost, "the archive is finished there"),
        }
    }

    /// For the sender. What has ended here is not tried again as it was.
    fn reported(&self, error: BackupError) -> StoreError {
        match error {
            BackupError::Cancelled => ending(&self.label),
            BackupError::Store(error) if !error.is_transient() => error,
            other => StoreError::remote(&self.label, Operation::Write, Kind::Protocol, other.to_string())
                .advise("the receiving machine aborted the archive: fix what failed there, and try again"),
        }
    }
}

impl Making for Job {
    fn put(&self, bytes: Bytes) -> Result<(), StoreError> {
        // Taken out of the lock: a destination that is slow keeps this waiting, and stopping must not wait for it.
        let sender = lock(&self.sender).clone();
        match sender.map(|sender| sender.send(Piece::Bytes(bytes))) {
            Some(Ok(())) => Ok(()),
            _ => Err(self.failure()),
        }
    }

    fn finish(&self, length: u64) -> Result<Made, StoreError> {
        // Out of the lock, as above.
        let sender = lock(&self.sender).take();
        if let Some(sender) = sender {
            // A thread that has ended says why.
            let _ = sender.send(Piece::End(length));
        }
        self.outcome()
    }

    fn stop(&self) {
        self.cancel.cancel();
        lock(&self.sender).take();
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        self.stop();
    }
}
