//! Inflates a whole member on all cores. Any free thread inflates a group of pieces (a group begins at a restart
//! point), a bounded number of groups ahead of the consumer. The caller's thread consumes, and inflates itself if the
//! next group is not ready.

use std::{
    collections::BTreeMap,
    io::{self, Read},
    num::NonZeroUsize,
    panic::resume_unwind,
    sync::{
        Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Instant,
};

use crate::{
    InflateError, Meters, PIECE, PieceTable, ReadAt,
    format::{FINAL_BLOCK, HEADER, TAIL_LEN, tail},
    padding::Comparison,
    pieces::{PieceInflater, read_at},
};

/// Inflated bytes that one thread may hold; with a piece's compressed bytes beside them a thread
/// stays below 8 MiB.
const AHEAD_PER_THREAD: usize = 7 << 20;

/// Bytes of padding checked at once.
const STEP: u64 = 256 << 10;

/// Inflates a member of [`crate::Compressor`] by its table, on many threads.
///
/// ```
/// use std::io::Read;
///
/// let mut member = Vec::new();
/// let summary = pargz::Compressor::new().compress(&b"one and one"[..], &mut member)?;
/// let text = pargz::IndexedInflater::new(&summary.pieces).inflate(&member, |reader| {
///     let mut text = String::new();
///     reader.read_to_string(&mut text).map(|_| text)
/// })??;
/// assert_eq!(text, "one and one");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct IndexedInflater<'a> {
    table: &'a PieceTable,
    threads: NonZeroUsize,
    meters: Option<&'a Meters>,
    cancel: Option<&'a AtomicBool>,
}

impl<'a> IndexedInflater<'a> {
    /// On every core that this process may use.
    pub fn new(table: &'a PieceTable) -> Self {
        let threads = thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        Self { table, threads, meters: None, cancel: None }
    }

    /// Exactly this many threads work, the caller's own among them.
    #[must_use]
    pub fn threads(self, threads: NonZeroUsize) -> Self {
        Self { threads, ..self }
    }

    /// Counts into `meters` while it works.
    #[must_use]
    pub fn meters(self, meters: &'a Meters) -> Self {
        Self { meters: Some(meters), ..self }
    }

    /// Ends with [`InflateError::Cancelled`] soon after `cancel` is true.
    #[must_use]
    pub fn cancel(self, cancel: &'a AtomicBool) -> Self {
        Self { cancel: Some(cancel), ..self }
    }

    /// Inflates `body`, which is the member from its first byte to its last and nothing else.
    ///
    /// `consume` is called on the caller's thread with a reader that yields the uncompressed bytes in order; what it
    /// leaves unread is inflated and checked all the same. Everything is checked: the header to the bit, that every
    /// restart point is one, that every group of pieces ends exactly where the table says, the final block, CRC-32 and
    /// length, against both the table and the trailer; the reader reports its end only after that. The first damage in
    /// the order of the data ends the reading: the reader returns it as an [`io::Error`] (which
    /// [`InflateError::from`] turns back), and so does this function, whatever `consume` made of it. At most 8 MiB per
    /// thread are held for members with restart points every 4 pieces.
    pub fn inflate<S: ReadAt + ?Sized, T>(
        &self,
        body: &S,
        consume: impl FnOnce(&mut dyn Read) -> T,
    ) -> Result<T, InflateError> {
        static NEVER: AtomicBool = AtomicBool::new(false);
        let unwatched = Meters::new();
        let table = self.table;
        table.check(body.len())?;
        check_header(body)?;
        let threads = self.threads.get().min(table.groups().max(1));
        let group_len = table.restart_every as usize * PIECE;
        let scheduler = Scheduler {
            body,
            table,
            offsets: group_offsets(table),
            ahead: threads.max(threads * AHEAD_PER_THREAD / group_len),
            meters: self.meters.unwrap_or(&unwatched),
            cancel: self.cancel.unwrap_or(&NEVER),
            state: Mutex::new(State {
                next: 0,
                released: 0,
                ready: BTreeMap::new(),
                spare: Vec::new(),
                stopped: false,
            }),
            changed: Condvar::new(),
        };
        thread::scope(|scope| {
            let helpers: Vec<_> = (1..threads)
                .map_while(|_| {
                    let builder = thread::Builder::new().name("inflate".to_owned());
                    // Fewer threads than allowed are slower, not wrong.
                    builder.spawn_scoped(scope, || scheduler.work()).ok()
                })
                .collect();
            let result = serve(&scheduler, consume);
            for helper in helpers {
                if let Err(panic) = helper.join() {
                    resume_unwind(panic);
                }
            }
            result
        })
    }
}

/// The consumer's side: reads through `consume`, then to the end.
fn serve<S: ReadAt + ?Sized, T>(
    scheduler: &Scheduler<'_, S>,
    consume: impl FnOnce(&mut dyn Read) -> T,
) -> Result<T, InflateError> {
    // Also when `consume` panics: the helpers must not wait for it.
    let _stop = StopOnDrop(scheduler);
    let mut reader = OrderedReader::new(scheduler);
    let result = consume(&mut reader);
    reader.drain()?;
    Ok(result)
}

fn check_header<S: ReadAt + ?Sized>(body: &S) -> Result<(), InflateError> {
    let mut header = HEADER;
    read_at(body, &mut header, 0)?;
    if header[..2] != HEADER[..2] {
        return Err(InflateError::NotGzip);
    }
    match header.iter().zip(HEADER).position(|(a, b)| *a != b) {
        Some(at) => Err(InflateError::Corrupt { at: at as u64 }),
        None => Ok(()),
    }
}

/// Where each group begins in the member. `table` has passed its check, so nothing overflows.
fn group_offsets(table: &PieceTable) -> Vec<u64> {
    let mut at = u64::from(table.header_len);
    let groups = table.lengths.chunks(table.restart_every as usize);
    groups
        .map(|pieces| {
            let start = at;
            at += pieces.iter().map(|length| u64::from(*length)).sum::<u64>();
            start
        })
        .collect()
}

/// An inflated group.
struct Group {
    bytes: Vec<u8>,
    crc: crc32fast::Hasher,
}

/// Where threads take groups to inflate and leave them for the consumer.
struct Scheduler<'a, S: ?Sized> {
    body: &'a S,
    table: &'a PieceTable,
    offsets: Vec<u64>,
    /// How many groups may be inflated, or under way, or in the consumer's hands at a time.
    ahead: usize,
    meters: &'a Meters,
    cancel: &'a AtomicBool,
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    /// The next group that no thread has taken.
    next: usize,
    /// Groups the consumer is done with.
    released: usize,
    /// Inflated and waiting, including damage: the consumer meets it in its order.
    ready: BTreeMap<usize, Result<Group, InflateError>>,
    /// Buffers of released groups, for use again.
    spare: Vec<Vec<u8>>,
    stopped: bool,
}

impl<S: ReadAt + ?Sized> Scheduler<'_, S> {
    /// What every helper does until all groups are taken or the run stops.
    fn work(&self) {
        let _stop = StopOnPanic(self);
        let mut inflater = PieceInflater::new();
        loop {
            let mut state = self.lock();
            let mut waiting_since = None;
            while !state.stopped && state.next < self.offsets.len() && !self.may_take(&state) {
                waiting_since.get_or_insert_with(Instant::now);
                state = self.wait(state);
            }
            if let Some(since) = waiting_since {
                self.meters.waiting_for_turn.add_since(since);
            }
            if state.stopped || state.next >= self.offsets.len() {
                return;
            }
            self.inflate_next(state, &mut inflater);
        }
    }

    fn may_take(&self, state: &State) -> bool {
        state.next < self.offsets.len() && state.next < state.released + self.ahead
    }

    /// Takes the next group, inflates it without holding the lock, and leaves it for the consumer.
    fn inflate_next(&self, mut state: MutexGuard<'_, State>, inflater: &mut PieceInflater) {
        let group = state.next;
        state.next += 1;
        let buffer = state.spare.pop().unwrap_or_default();
        drop(state);
        let result = self.inflate(group, buffer, inflater);
        self.lock().ready.insert(group, result);
        self.changed.notify_all();
    }

    fn inflate(&self, group: usize, mut bytes: Vec<u8>, inflater: &mut PieceInflater) -> Result<Group, InflateError> {
        let pieces = self.table.group(group);
        let length = pieces.clone().map(|piece| self.table.piece_len(piece)).sum();
        bytes.resize(length, 0);
        inflater.restart();
        let mut offset = self.offsets[group];
        let mut crc = crc32fast::Hasher::new();
        for (piece, out) in pieces.zip(bytes.chunks_mut(PIECE)) {
            if self.cancel.load(Ordering::Relaxed) {
                return Err(InflateError::Cancelled);
            }
            inflater.inflate(self.body, self.table, piece, offset, out, self.meters)?;
            // While the bytes are still in this core's cache.
            self.meters.working.time(|| crc.update(out));
            offset += u64::from(self.table.lengths[piece]);
        }
        Ok(Group { bytes, crc })
    }

    /// The consumer's next group. Inflates on the caller's thread rather than idly waiting.
    fn fetch(&self, group: usize, inflater: &mut PieceInflater) -> Result<Group, InflateError> {
        let mut state = self.lock();
        loop {
            if self.cancel.load(Ordering::Relaxed) {
                return Err(InflateError::Cancelled);
            }
            if let Some(result) = state.ready.remove(&group) {
                return result;
            }
            if state.stopped {
                // Only a helper's panic gets here; it is passed on when the helper is joined.
                return Err(InflateError::Cancelled);
            }
            if self.may_take(&state) {
                self.inflate_next(state, inflater);
                state = self.lock();
            } else {
                let since = Instant::now();
                state = self.wait(state);
                self.meters.waiting_for_turn.add_since(since);
            }
        }
    }

    fn release(&self, buffer: Vec<u8>) {
        let mut state = self.lock();
        state.released += 1;
        state.spare.push(buffer);
        self.changed.notify_all();
    }

    fn stop(&self) {
        self.lock().stopped = true;
        self.changed.notify_all();
    }

    /// No code that can panic runs under this lock, so a poisoned one is still consistent.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'g>(&self, state: MutexGuard<'g, State>) -> MutexGuard<'g, State> {
        self.changed.wait(state).unwrap_or_else(PoisonError::into_inner)
    }
}

struct StopOnDrop<'a, 'b, S: ReadAt + ?Sized>(&'a Scheduler<'b, S>);

impl<S: ReadAt + ?Sized> Drop for StopOnDrop<'_, '_, S> {
    fn drop(&mut self) {
        self.0.stop();
    }
}

struct StopOnPanic<'a, 'b, S: ReadAt + ?Sized>(&'a Scheduler<'b, S>);

impl<S: ReadAt + ?Sized> Drop for StopOnPanic<'_, '_, S> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.stop();
        }
    }
}

/// The reader that the consumer sees.
struct OrderedReader<'a, 'b, S: ?Sized> {
    scheduler: &'a Scheduler<'b, S>,
    inflater: PieceInflater,
    /// The group to fetch next.
    next: usize,
    bytes: Vec<u8>,
    /// How much of `bytes` has been read.
    at: usize,
    crc: crc32fast::Hasher,
    /// The verdict, once there is one: everything checked, or the damage.
    end: Option<Result<(), InflateError>>,
    /// When the consumer last got bytes and went to work on them.
    handed_over: Instant,
}

impl<'a, 'b, S: ReadAt + ?Sized> OrderedReader<'a, 'b, S> {
    fn new(scheduler: &'a Scheduler<'b, S>) -> Self {
        Self {
            scheduler,
            inflater: PieceInflater::new(),
            next: 0,
            bytes: Vec::new(),
            at: 0,
            crc: crc32fast::Hasher::new(),
            end: None,
            handed_over: Instant::now(),
        }
    }

    /// Makes more bytes available; `false` when all are read and everything is checked.
    fn advance(&mut self) -> Result<bool, InflateError> {
        if let Some(end) = &self.end {
            return match end {
                Ok(()) => Ok(false),
                Err(error) => Err(error.again()),
            };
        }
        self.scheduler.meters.writing.add_since(self.handed_over);
        let result = self.next_group();
        self.handed_over = Instant::now();
        match result {
            Ok(true) => return Ok(true),
            Ok(false) => self.end = Some(Ok(())),
            Err(error) => {
                let copy = error.again();
                self.end = Some(Err(error));
                return Err(copy);
            }
        }
        Ok(false)
    }

    fn next_group(&mut self) -> Result<bool, InflateError> {
        if self.next > 0 && !self.bytes.is_empty() {
            self.scheduler.release(std::mem::take(&mut self.bytes));
        }
        self.at = 0;
        if self.next == self.scheduler.offsets.len() {
            self.check_tail()?;
            return Ok(false);
        }
        let group = self.scheduler.fetch(self.next, &mut self.inflater)?;
        self.next += 1;
        self.crc.combine(&group.crc);
        self.scheduler.meters.gave(group.bytes.len());
        self.bytes = group.bytes;
        Ok(true)
    }

    /// The final block and the trailer, against the table and against what was inflated.
    fn check_tail(&self) -> Result<(), InflateError> {
        let table = self.scheduler.table;
        self.check_padding()?;
        let at = self.scheduler.body.len() - TAIL_LEN as u64; // the table's check found space for it
        let mut found = [0; TAIL_LEN];
        read_at(self.scheduler.body, &mut found, at)?;
        self.scheduler.meters.took(HEADER.len() + TAIL_LEN);
        if found[..FINAL_BLOCK.len()] != FINAL_BLOCK {
            return Err(InflateError::Corrupt { at });
        }
        let crc32 = self.crc.clone().finalize();
        let expected = tail(crc32, table.bytes_in);
        if table.crc32 != crc32 || found[2..6] != expected[2..6] {
            return Err(InflateError::WrongChecksum);
        }
        // The pieces were each checked to have the length the table gives them.
        if found != expected {
            return Err(InflateError::WrongLength);
        }
        Ok(())
    }

    /// The padding between the last piece and the final block holds no data, and must be exactly what the writer puts
    /// there.
    fn check_padding(&self) -> Result<(), InflateError> {
        let body = self.scheduler.body;
        let start = self.scheduler.table.member_len() - TAIL_LEN as u64;
        let mut left = body.len() - TAIL_LEN as u64 - start; // the table's check found that many
        let mut padding = Comparison::new(left).ok_or(InflateError::Corrupt { at: start })?;
        let mut bytes = vec![0; left.min(STEP) as usize];
        let mut at = start;
        while left > 0 {
            if self.scheduler.cancel.load(Ordering::Relaxed) {
                return Err(InflateError::Cancelled);
            }
            let count = left.min(STEP) as usize;
            self.scheduler.meters.reading.time(|| read_at(body, &mut bytes[..count], at))?;
            self.scheduler.meters.took(count);
            if let Some(wrong) = padding.take(&bytes[..count]) {
                return Err(InflateError::Corrupt { at: start + wrong });
            }
            at += count as u64;
            left -= count as u64;
        }
        Ok(())
    }

    fn drain(mut self) -> Result<(), InflateError> {
        while self.advance()? {}
        Ok(())
    }
}

impl<S: ReadAt + ?Sized> Read for OrderedReader<'_, '_, S> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if buf.is_empty() {
            return Ok(0);
        }
        if self.at == self.bytes.len() && !self.advance()? {
            return Ok(0);
        }
        let length = buf.len().min(self.bytes.len() - self.at);
        buf[..length].copy_from_slice(&self.bytes[self.at..self.at + length]);
        self.at += length;
        Ok(length)
    }
}
