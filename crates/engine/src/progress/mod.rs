//! The live figures of a running job: its threads write them, the progress display reads them.
//!
//! Plain counters instead of callbacks: showing progress can never slow or stop the job.

pub(crate) mod pulse;
mod stage;

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use store::{
    local::WriteMeter,
    outbound::UploadMeter,
    retry::{RetryPolicy, Waiting},
};

use pulse::Pulse;
pub use stage::{Stage, StageReport};

/// What the job is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Walking the config directory to see what there is.
    Planning,
    /// The same bytes are not sent yet: Haul measures them for a destination that must know the archive's sizes in
    /// advance.
    Measuring,
    /// Bytes are moving.
    Running,
    /// The disk is taking the last bytes, the archive gets its name.
    Finishing,
    /// The finished file is read again for its digest.
    Rereading,
    /// What was restored for a test is checked.
    Checking,
    /// Home Assistant is starting from what was restored for a test.
    Starting,
}

/// Shared between a job and the progress display.
pub struct Progress {
    started: Instant,
    phase: AtomicU8,
    total: AtomicU64,
    done: AtomicU64,
    threads: AtomicU64,
    // How long looking around took.
    planned_nanos: AtomicU64,
    // When everything was made and only the rest was sent to destinations; 0 before.
    made_nanos: AtomicU64,
    // Reading the config directory.
    pub(crate) reading: Clock,
    // Everything after compression: encryption, layout, and the wait for the destination.
    pub(crate) sinking: Clock,
    // Of that, the wait for the destination.
    pub(crate) append: Clock,
    pub(crate) pipeline: pargz::Meters,
    outputs: Mutex<Outputs>,
    // Done means: the only destination has acknowledged it.
    sending: AtomicBool,
    // What the job is at where no figures say it.
    step: Mutex<Option<String>>,
    // What somebody should look at while it goes on, and what to do about it.
    complaint: Mutex<Option<(String, String)>>,
    // What this machine is doing.
    pub(crate) pulse: Arc<Pulse>,
}

/// The outputs that take the archive's bytes.
#[derive(Default)]
struct Outputs {
    files: Vec<Arc<WriteMeter>>,
    uploads: Vec<Arc<UploadMeter>>,
    // The retry policy of the destination that is read from.
    reading: Option<RetryPolicy>,
}

impl Default for Progress {
    fn default() -> Self {
        Self {
            started: Instant::now(),
            phase: AtomicU8::new(0),
            total: AtomicU64::new(0),
            done: AtomicU64::new(0),
            threads: AtomicU64::new(1),
            planned_nanos: AtomicU64::new(0),
            made_nanos: AtomicU64::new(0),
            reading: Clock::default(),
            sinking: Clock::default(),
            append: Clock::default(),
            pipeline: pargz::Meters::default(),
            outputs: Mutex::default(),
            sending: AtomicBool::new(false),
            step: Mutex::default(),
            complaint: Mutex::default(),
            pulse: Arc::default(),
        }
    }
}

/// Time and bytes of one stage of the pipeline.
#[derive(Debug, Default)]
pub(crate) struct Clock {
    nanos: AtomicU64,
    bytes: AtomicU64,
}

impl Clock {
    pub(crate) fn add(&self, started: Instant) {
        self.nanos.fetch_add(started.elapsed().as_nanos() as u64, Ordering::Relaxed);
    }

    pub(crate) fn add_bytes(&self, started: Instant, bytes: usize) {
        self.add(started);
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    fn reset(&self) {
        self.nanos.store(0, Ordering::Relaxed);
        self.bytes.store(0, Ordering::Relaxed);
    }

    fn seconds(&self) -> f64 {
        self.nanos.load(Ordering::Relaxed) as f64 / 1e9
    }

    fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }
}

impl Progress {
    /// What the job is at.
    pub fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Relaxed) {
            0 => Phase::Planning,
            1 => Phase::Running,
            2 => Phase::Finishing,
            3 => Phase::Rereading,
            5 => Phase::Checking,
            6 => Phase::Starting,
            _ => Phase::Measuring,
        }
    }

    /// Bytes to do, as far as known; 0 while that is unknown. It may turn out to be a little more or less.
    pub fn total(&self) -> u64 {
        self.total.load(Ordering::Relaxed)
    }

    /// Bytes done.
    pub fn done(&self) -> u64 {
        if self.sending.load(Ordering::Relaxed) {
            return self.outputs().uploads.first().map_or(0, |upload| upload.acknowledged());
        }
        self.done.load(Ordering::Relaxed)
    }

    /// Time since the job began.
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// Time since bytes began to move.
    pub fn running(&self) -> Duration {
        self.elapsed().saturating_sub(Duration::from_nanos(self.planned_nanos.load(Ordering::Relaxed)))
    }

    /// What the job is at from now on.
    pub fn enter(&self, phase: Phase) {
        let begins = match phase {
            Phase::Measuring => true,
            Phase::Running => matches!(self.phase(), Phase::Planning | Phase::Measuring),
            _ => false,
        };
        if begins {
            self.planned_nanos.store(self.elapsed().as_nanos() as u64, Ordering::Relaxed);
        }
        self.made_nanos
            .store(if phase == Phase::Finishing { self.elapsed().as_nanos() as u64 } else { 0 }, Ordering::Relaxed);
        let number = match phase {
            Phase::Planning => 0,
            Phase::Running => 1,
            Phase::Finishing => 2,
            Phase::Rereading => 3,
            Phase::Measuring => 4,
            Phase::Checking => 5,
            Phase::Starting => 6,
        };
        self.phase.store(number, Ordering::Relaxed);
    }

    pub(crate) fn set_total(&self, bytes: u64) {
        self.total.store(bytes, Ordering::Relaxed);
    }

    /// For jobs that report their position by a call: bytes done, and bytes in all once that is known.
    pub fn report(&self, done: u64, total: Option<u64>) {
        self.enter(Phase::Running);
        self.done.store(done, Ordering::Relaxed);
        if let Some(total) = total {
            self.set_total(total);
        }
    }

    pub(crate) fn add_done(&self, bytes: u64) {
        self.done.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn set_threads(&self, threads: usize) {
        self.threads.store(threads as u64, Ordering::Relaxed);
    }

    pub(crate) fn watch(&self, files: Vec<Arc<WriteMeter>>, uploads: Vec<Arc<UploadMeter>>) {
        *self.outputs() = Outputs { files, uploads, reading: None };
    }

    /// The remote copies on their way.
    pub fn uploads(&self) -> Vec<Arc<UploadMeter>> {
        self.outputs().uploads.clone()
    }

    /// For a job whose only work is to send `length` bytes to one destination.
    pub fn send(&self, upload: &Arc<UploadMeter>, length: u64) {
        self.done.store(0, Ordering::Relaxed);
        self.set_total(length);
        self.enter(Phase::Running);
        *self.outputs() = Outputs { uploads: vec![Arc::clone(upload)], ..Outputs::default() };
        self.sending.store(true, Ordering::Relaxed);
    }

    /// For a job that reads from a destination: its retry policy.
    pub fn fetch(&self, policy: RetryPolicy) {
        self.outputs().reading = Some(policy);
    }

    /// What Haul waits for at a destination right now.
    pub fn waiting(&self) -> Option<Waiting> {
        let outputs = self.outputs();
        outputs.uploads.iter().find_map(|upload| upload.waiting()).or_else(|| outputs.reading.as_ref()?.waiting())
    }

    /// What blocks the job on this machine, once it takes long: a lock, a disk or a share that does not answer.
    pub fn standstill(&self) -> Option<String> {
        self.pulse.standstill()
    }

    /// What the job is at, in its own words, as long as no figures say it.
    pub fn say(&self, step: Option<&str>) {
        *self.step.lock().unwrap_or_else(PoisonError::into_inner) = step.map(str::to_owned);
    }

    /// What it said last.
    pub fn step(&self) -> Option<String> {
        self.step.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What somebody should look at while the job goes on, and what to do about it; nothing: not any more.
    pub fn complain(&self, of: Option<(String, String)>) {
        *self.complaint.lock().unwrap_or_else(PoisonError::into_inner) = of;
    }

    /// What it complains of.
    pub fn complaint(&self) -> Option<(String, String)> {
        self.complaint.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What the user should know while the job runs.
    pub fn remark(&self) -> Option<String> {
        self.pulse.remark()
    }

    fn outputs(&self) -> MutexGuard<'_, Outputs> {
        self.outputs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// So many bytes begin to move, in a phase of their own.
    pub(crate) fn begin(&self, phase: Phase, total: u64) {
        self.done.store(0, Ordering::Relaxed);
        self.set_total(total);
        self.enter(phase);
    }

    /// Starts everything over except the clock: the report's stages are about the attempt that succeeded.
    pub(crate) fn restart(&self) {
        self.done.store(0, Ordering::Relaxed);
        for clock in [&self.reading, &self.sinking, &self.append] {
            clock.reset();
        }
        self.pipeline.reset();
        *self.outputs() = Outputs::default();
        self.enter(Phase::Planning);
    }

    /// Where the time went so far.
    pub fn stages(&self, encrypted: bool) -> Vec<StageReport> {
        let wall = self.running().as_secs_f64();
        let idle = |busy: f64| (wall - busy).max(0.0);
        let pipeline = &self.pipeline;
        let read = self.reading.seconds();
        let sealed = (self.sinking.seconds() - self.append.seconds()).max(0.0);
        let (write, written) = self.writing();
        let blocked = (pipeline.waiting_for_source() + pipeline.waiting_for_turn()).as_secs_f64();
        let mut stages = vec![StageReport {
            name: Stage::Reading,
            busy_seconds: read,
            blocked_seconds: idle(read),
            bytes: self.reading.bytes(),
        }];
        let compressing = pipeline.working().as_secs_f64();
        if compressing > 0.0 {
            stages.push(StageReport {
                name: Stage::Compressing,
                busy_seconds: compressing,
                blocked_seconds: blocked,
                bytes: self.sinking.bytes(),
            });
        }
        if encrypted {
            stages.push(StageReport {
                name: Stage::Encrypting,
                busy_seconds: sealed,
                blocked_seconds: self.append.seconds(),
                bytes: self.sinking.bytes(),
            });
        }
        stages.push(StageReport {
            name: Stage::Writing,
            busy_seconds: write,
            blocked_seconds: idle(write),
            bytes: written,
        });
        stages
    }

    /// Seconds and bytes of the slowest output: a file's own writing, or the wait for remote destinations to free
    /// memory.
    fn writing(&self) -> (f64, u64) {
        let outputs = self.outputs();
        let file = outputs.files.iter().map(|meter| meter.busy_nanos() as f64 / 1e9).fold(0.0, f64::max);
        let blocked = if outputs.uploads.is_empty() { 0.0 } else { self.append.seconds() };
        (file.max(blocked), self.append.bytes())
    }

    /// The stage that the others wait for.
    ///
    /// A stage that works on one thread limits when it is busy nearly all the time; compressing has all threads, so its
    /// share is taken of all of them.
    pub fn limited_by(&self, encrypted: bool) -> Stage {
        let wall = self.running().as_secs_f64().max(1e-9);
        let threads = self.threads.load(Ordering::Relaxed).max(1) as f64;
        let stage = busiest(&self.stages(encrypted), wall, threads);
        // A small archive is complete, and waits in memory, long before a slow destination has all of it.
        let made = self.made_nanos.load(Ordering::Relaxed);
        let sending =
            if made == 0 { 0.0 } else { self.elapsed().saturating_sub(Duration::from_nanos(made)).as_secs_f64() };
        let waits = stage == Stage::Writing || sending > wall / 2.0;
        if waits && self.uploads().iter().any(|upload| upload.is_limited()) { Stage::Limit } else { stage }
    }
}

fn busiest(stages: &[StageReport], wall: f64, threads: f64) -> Stage {
    let share = |stage: &StageReport| match stage.name {
        Stage::Compressing => stage.busy_seconds / (wall * threads),
        _ => stage.busy_seconds / wall,
    };
    stages.iter().max_by(|a, b| share(a).total_cmp(&share(b))).map_or(Stage::Reading, |stage| stage.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stage(name: Stage, busy_seconds: f64) -> StageReport {
        StageReport { name, busy_seconds, blocked_seconds: 0.0, bytes: 0 }
    }

    #[test]
    fn an_attempt_that_begins_anew_counts_from_nothing() {
        let progress = Progress::default();
        progress.begin(Phase::Running, 100);
        let long_ago = Instant::now().checked_sub(Duration::from_secs(50)).unwrap_or_else(Instant::now);
        progress.reading.add_bytes(long_ago, 70);
        progress.append.add_bytes(long_ago, 70);
        progress.add_done(70);
        progress.restart();
        progress.begin(Phase::Running, 100);
        assert_eq!((progress.done(), progress.total()), (0, 100));
        assert!(
            progress.stages(true).iter().all(|stage| stage.busy_seconds < 1.0 && stage.bytes == 0),
            "{:?}",
            progress.stages(true)
        );
    }

    #[test]
    fn compressing_on_two_threads_limits_only_when_both_are_busy() {
        let stages = [stage(Stage::Reading, 7.0), stage(Stage::Compressing, 10.0), stage(Stage::Writing, 2.0)];
        assert_eq!(busiest(&stages, 10.0, 2.0), Stage::Reading);
        assert_eq!(busiest(&stages, 10.0, 1.0), Stage::Compressing);
    }
}
