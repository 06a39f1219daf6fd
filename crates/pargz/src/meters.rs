//! Live counters of one run: for a progress display, and to see where the time goes.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

/// Counters of one run of [`crate::Compressor::compress`] or [`crate::IndexedInflater`]; any thread may read
/// them while it works. Times of several threads add up, so on two threads each can reach twice
/// the elapsed time.
#[derive(Debug, Default)]
pub struct Meters {
    pub(crate) reading: Clock,
    pub(crate) working: Clock,
    pub(crate) writing: Clock,
    pub(crate) waiting_for_source: Clock,
    pub(crate) waiting_for_turn: Clock,
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
}

impl Meters {
    /// All at zero.
    pub fn new() -> Self {
        Self::default()
    }

    /// Back to zero, for another run.
    pub fn reset(&self) {
        for clock in [&self.reading, &self.working, &self.writing, &self.waiting_for_source, &self.waiting_for_turn] {
            clock.0.store(0, Ordering::Relaxed);
        }
        self.bytes_in.store(0, Ordering::Relaxed);
        self.bytes_out.store(0, Ordering::Relaxed);
    }

    /// Time inside the source: reads of uncompressed bytes when compressing, of compressed bytes
    /// when inflating.
    pub fn reading(&self) -> Duration {
        self.reading.total()
    }

    /// Time the threads spent compressing or inflating, checksums included.
    pub fn working(&self) -> Duration {
        self.working.total()
    }

    /// Time inside the sink when compressing; time the consumer kept its reader waiting when
    /// inflating.
    pub fn writing(&self) -> Duration {
        self.writing.total()
    }

    /// Time threads were idle because another one was reading the source.
    pub fn waiting_for_source(&self) -> Duration {
        self.waiting_for_source.total()
    }

    /// Time threads were idle because earlier pieces had to leave (or to be consumed) first.
    pub fn waiting_for_turn(&self) -> Duration {
        self.waiting_for_turn.total()
    }

    /// Bytes taken from the source so far.
    pub fn bytes_in(&self) -> u64 {
        self.bytes_in.load(Ordering::Relaxed)
    }

    /// Bytes given to the sink or to the consumer so far.
    pub fn bytes_out(&self) -> u64 {
        self.bytes_out.load(Ordering::Relaxed)
    }

    pub(crate) fn took(&self, bytes: usize) {
        self.bytes_in.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(crate) fn gave(&self, bytes: usize) {
        self.bytes_out.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

/// A sum of nanoseconds.
#[derive(Debug, Default)]
pub(crate) struct Clock(AtomicU64);

impl Clock {
    fn total(&self) -> Duration {
        Duration::from_nanos(self.0.load(Ordering::Relaxed))
    }

    pub(crate) fn add_since(&self, start: Instant) {
        let nanos = start.elapsed().as_nanos() as u64;
        self.0.fetch_add(nanos, Ordering::Relaxed);
    }

    /// Runs `work` and adds its time.
    pub(crate) fn time<T>(&self, work: impl FnOnce() -> T) -> T {
        let start = Instant::now();
        let result = work();
        self.add_since(start);
        result
    }
}
