//! Writes pieces in order. Threads finish pieces in any order; whichever thread brings the piece that is due writes it,
//! and a bounded number of early pieces waits. Knows nothing of compression.

use std::{
    collections::VecDeque,
    io::Write,
    sync::{
        Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use crate::{CompressError, Meters};

/// A compressed piece on its way to the sink.
pub(crate) struct Piece {
    /// The compressed bytes are the first `length` of these.
    pub(crate) buffer: Vec<u8>,
    pub(crate) length: usize,
    /// Over the uncompressed bytes, which it also counts.
    pub(crate) crc: crc32fast::Hasher,
    pub(crate) bytes_in: usize,
}

/// The maximum length of all pieces together, and the callback for each.
#[derive(Clone, Copy)]
pub(crate) struct Limit<'a> {
    pub(crate) bytes: u64,
    pub(crate) piece: &'a (dyn Fn(u64, u32) + Sync),
}

/// The run is over before its end; why is kept in the sink.
#[derive(Debug)]
pub(crate) struct Stopped;

/// What has been written, in order.
#[derive(Default)]
pub(crate) struct Written {
    pub(crate) lengths: Vec<u32>,
    pub(crate) crc: crc32fast::Hasher,
    pub(crate) bytes_in: u64,
    pub(crate) bytes_out: u64,
}

pub(crate) struct OrderedSink<'a, W> {
    state: Mutex<State<W>>,
    moved: Condvar,
    /// Set under the lock, so that no waiting thread misses it; read anywhere.
    stopped: AtomicBool,
    /// How many pieces may be parked.
    max_parked: usize,
    limit: Option<Limit<'a>>,
    meters: &'a Meters,
}

struct State<W> {
    /// `None` while a thread is writing, or for ever once a write has failed.
    sink: Option<W>,
    /// The number of the piece that is being written, or is due.
    due: u64,
    /// Early pieces; index 0 is number `due + 1`.
    parked: VecDeque<Option<Piece>>,
    parked_count: usize,
    /// Buffers of written pieces, for use again.
    spare: Vec<Vec<u8>>,
    written: Written,
    failure: Option<CompressError>,
}

impl<'a, W: Write> OrderedSink<'a, W> {
    pub(crate) fn new(sink: W, max_parked: usize, limit: Option<Limit<'a>>, meters: &'a Meters) -> Self {
        Self {
            state: Mutex::new(State {
                sink: Some(sink),
                due: 0,
                parked: VecDeque::new(),
                parked_count: 0,
                spare: Vec::new(),
                written: Written::default(),
                failure: None,
            }),
            moved: Condvar::new(),
            stopped: AtomicBool::new(false),
            max_parked,
            limit,
            meters,
        }
    }

    /// Hands over piece `number`. The thread whose piece is due writes it and every parked one
    /// that follows; a thread that is early parks its piece, or waits if too many are parked.
    pub(crate) fn deliver(&self, number: u64, piece: Piece) -> Result<(), Stopped> {
        let mut state = self.lock();
        let mut waiting_since = None;
        // The thread with the due piece never waits here, so writing always continues.
        while !self.is_stopped() && number != state.due && state.parked_count >= self.max_parked {
            waiting_since.get_or_insert_with(std::time::Instant::now);
            state = wait(&self.moved, state);
        }
        if let Some(since) = waiting_since {
            self.meters.waiting_for_turn.add_since(since);
        }
        if self.is_stopped() {
            return Err(Stopped);
        }
        if number == state.due {
            return self.write_from(state, piece);
        }
        let index = (number - state.due - 1) as usize; // below max_parked + threads
        if state.parked.len() <= index {
            state.parked.resize_with(index + 1, || None);
        }
        state.parked[index] = Some(piece);
        state.parked_count += 1;
        Ok(())
    }

    /// Writes the due piece and what follows it, without holding the lock while the sink works.
    fn write_from<'s>(&'s self, mut state: MutexGuard<'s, State<W>>, mut piece: Piece) -> Result<(), Stopped> {
        loop {
            // Only the holder of the due piece takes the sink, and there is one of each number.
            let Some(mut sink) = state.sink.take() else {
                return Err(Stopped);
            };
            let (number, before) = (state.due, state.written.bytes_out);
            drop(state);
            if let Some(limit) = &self.limit {
                (limit.piece)(number, piece.length as u32);
                if before + piece.length as u64 > limit.bytes {
                    self.fail(CompressError::TooLong);
                    return Err(Stopped);
                }
            }
            let bytes = &piece.buffer[..piece.length];
            let result = self.meters.writing.time(|| sink.write_all(bytes));
            if let Err(error) = result {
                self.fail(CompressError::Sink(error));
                return Err(Stopped);
            }
            self.meters.gave(piece.length);

            state = self.lock();
            state.written.note(&piece);
            state.spare.push(piece.buffer);
            state.sink = Some(sink);
            state.due += 1;
            let next = state.parked.pop_front().flatten();
            if next.is_some() {
                state.parked_count -= 1;
            }
            self.moved.notify_all();
            if self.is_stopped() {
                return Err(Stopped);
            }
            match next {
                Some(next) => piece = next,
                None => return Ok(()),
            }
        }
    }

    /// A buffer of `length` bytes with anything in it.
    pub(crate) fn buffer(&self, length: usize) -> Vec<u8> {
        let spare = self.lock().spare.pop();
        spare.unwrap_or_else(|| vec![0; length])
    }

    /// Ends the run with `failure`, unless another one came first.
    pub(crate) fn fail(&self, failure: CompressError) {
        let mut state = self.lock();
        state.failure.get_or_insert(failure);
        self.stopped.store(true, Ordering::Relaxed);
        self.moved.notify_all();
    }

    /// Ends the run without a verdict: a thread is unwinding and its panic will be the verdict.
    pub(crate) fn stop(&self) {
        let _state = self.lock();
        self.stopped.store(true, Ordering::Relaxed);
        self.moved.notify_all();
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }

    /// After all threads have ended: the sink and what it was given.
    pub(crate) fn finish(self) -> Result<(W, Written), CompressError> {
        let stopped = self.is_stopped();
        let state = self.state.into_inner().unwrap_or_else(PoisonError::into_inner);
        if let Some(failure) = state.failure {
            return Err(failure);
        }
        match state.sink {
            Some(sink) if !stopped && state.parked_count == 0 => Ok((sink, state.written)),
            _ => Err(CompressError::Codec("a piece was lost".to_owned())),
        }
    }

    /// No code that can panic runs under this lock, so a poisoned one is still consistent.
    fn lock(&self) -> MutexGuard<'_, State<W>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn wait<'a, T>(condvar: &Condvar, guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
    condvar.wait(guard).unwrap_or_else(PoisonError::into_inner)
}

impl Written {
    fn note(&mut self, piece: &Piece) {
        self.lengths.push(piece.length as u32); // about 1 MiB
        self.crc.combine(&piece.crc);
        self.bytes_in += piece.bytes_in as u64;
        self.bytes_out += piece.length as u64;
    }
}
