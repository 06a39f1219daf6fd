//! The compressing threads. Each takes the next piece from the source, deflates it while the bytes are still in its
//! core's cache, and delivers it to the [`OrderedSink`]. There is no separate reader, writer or idle thread.

use std::{
    io::{self, Read, Write},
    num::NonZeroUsize,
    panic::resume_unwind,
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Instant,
};

use crate::{
    CompressError, Level, Meters, PIECE, PieceTable,
    codec::{Encoder, SLACK},
    format::{HEADER, TAIL_LEN, WINDOW, tail},
    ordered_sink::{Limit, OrderedSink, Piece},
    padding, stored,
};

/// Every so many pieces one is not primed with the bytes before it, so that inflation can start
/// there. On a recorder database every fourth costs 0.05 % of the output, every second 0.1 %, each 0.2 %.
pub(crate) const RESTART_EVERY: u32 = 4;

/// How many finished pieces per thread may wait for an earlier one.
const PARKED_PER_THREAD: usize = 2;

/// What [`Compressor::compress`] made.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Summary {
    /// Uncompressed bytes read.
    pub bytes_in: u64,
    /// Bytes written: the whole member.
    pub bytes_out: u64,
    /// CRC-32 of the uncompressed bytes.
    pub crc32: u32,
    /// The position of each piece in the output.
    pub pieces: PieceTable,
}

/// Compresses into ONE gzip member: how hard, on how many threads, watched and stopped by whom.
///
/// ```
/// let data = vec![7; 5 << 20];
/// let mut member = Vec::new();
/// let summary = pargz::Compressor::new().compress(&data[..], &mut member)?;
/// assert_eq!(summary.bytes_out, member.len() as u64);
/// # Ok::<(), pargz::CompressError>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Compressor<'a> {
    level: Level,
    threads: NonZeroUsize,
    meters: Option<&'a Meters>,
    cancel: Option<&'a AtomicBool>,
}

impl Default for Compressor<'_> {
    fn default() -> Self {
        Self::new()
    }
}

impl<'a> Compressor<'a> {
    /// The fast level on every core that this process may use.
    pub fn new() -> Self {
        let threads = thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        Self { level: Level::default(), threads, meters: None, cancel: None }
    }

    /// How hard to try.
    #[must_use]
    pub fn level(self, level: Level) -> Self {
        Self { level, ..self }
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

    /// Ends with [`CompressError::Cancelled`] soon after `cancel` is true; it is checked between reads and between
    /// pieces.
    #[must_use]
    pub fn cancel(self, cancel: &'a AtomicBool) -> Self {
        Self { cancel: Some(cancel), ..self }
    }

    /// The level that was chosen.
    pub fn get_level(&self) -> Level {
        self.level
    }

    /// The number of threads that was chosen.
    pub fn get_threads(&self) -> NonZeroUsize {
        self.threads
    }

    /// Compresses all of `source` into one gzip member, written in order to `sink` and flushed.
    ///
    /// Each thread takes about 3 MiB, and up to 2 MiB more while an early piece waits. The output depends on the
    /// source's bytes and the level, not on the number of threads or on how the source splits its reads. The header has
    /// no time and no name. After an error or a panic no thread is left running, and `sink` has received a prefix of
    /// the member.
    pub fn compress<R: Read + Send, W: Write + Send>(&self, source: R, sink: W) -> Result<Summary, CompressError> {
        run(source, sink, self, None)
    }

    /// As [`compress`](Self::compress), into a member of exactly the announced length: what the pieces leave of it is
    /// filled with empty deflate blocks, so that all readers see the same bytes as without. Fails with
    /// [`CompressError::TooLong`] before it writes more than was announced, and when fewer than [`MIN_PADDING`] bytes
    /// are left that can't be filled.
    pub fn compress_to_length<R: Read + Send, W: Write + Send>(
        &self,
        source: R,
        sink: W,
        announced: Announced<'_>,
    ) -> Result<Summary, CompressError> {
        run(source, sink, self, Some(announced))
    }
}

/// A member whose length was announced before it is made.
#[derive(Clone, Copy)]
pub struct Announced<'a> {
    /// Bytes of the whole member.
    pub length: u64,
    /// Called with every piece in order, before the piece is written: its number, from 0, and its compressed bytes.
    pub piece: &'a (dyn Fn(u64, u32) + Sync),
}

impl std::fmt::Debug for Announced<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Announced").field("length", &self.length).finish_non_exhaustive()
    }
}

/// From this much space on, [`Compressor::compress_to_length`] can fill it exactly; below, only some lengths are
/// possible.
pub const MIN_PADDING: u64 = padding::ALL_FROM;

/// The most bytes that a piece of `length` uncompressed bytes takes in a member.
pub const fn longest_piece(length: usize) -> usize {
    stored::len(length)
}

fn run<R: Read + Send, W: Write + Send>(
    source: R,
    mut sink: W,
    compressor: &Compressor<'_>,
    announced: Option<Announced<'_>>,
) -> Result<Summary, CompressError> {
    const AROUND: u64 = (HEADER.len() + TAIL_LEN) as u64;
    static NEVER: AtomicBool = AtomicBool::new(false);
    let unwatched = Meters::new();
    let meters = compressor.meters.unwrap_or(&unwatched);
    let limit = match announced {
        Some(announced) => Some(Limit {
            bytes: announced.length.checked_sub(AROUND).ok_or(CompressError::TooLong)?,
            piece: announced.piece,
        }),
        None => None,
    };
    write(&mut sink, &HEADER, meters)?;
    let threads = compressor.threads.get();
    let pipeline = Pipeline {
        source: Mutex::new(Source { reader: source, next: 0, window: Vec::new(), ended: false }),
        sink: OrderedSink::new(sink, threads * PARKED_PER_THREAD, limit, meters),
        level: compressor.level,
        meters,
        cancel: compressor.cancel.unwrap_or(&NEVER),
    };
    thread::scope(|scope| {
        let helpers: Vec<_> = (1..threads)
            .map_while(|_| {
                let builder = thread::Builder::new().name("compress".to_owned());
                // Fewer threads than allowed are slower, not wrong.
                builder.spawn_scoped(scope, || pipeline.work()).ok()
            })
            .collect();
        pipeline.work();
        for helper in helpers {
            if let Err(panic) = helper.join() {
                resume_unwind(panic);
            }
        }
    });
    let (mut sink, written) = pipeline.sink.finish()?;
    let padding = limit.map_or(0, |limit| limit.bytes - written.bytes_out); // the ordered sink has kept the limit
    if !padding::exists(padding) {
        return Err(CompressError::TooLong);
    }
    meters.writing.time(|| padding::write(padding, &mut sink)).map_err(CompressError::Sink)?;
    meters.gave(padding as usize);
    let crc32 = written.crc.finalize();
    write(&mut sink, &tail(crc32, written.bytes_in), meters)?;
    meters.writing.time(|| sink.flush()).map_err(CompressError::Sink)?;
    Ok(Summary {
        bytes_in: written.bytes_in,
        bytes_out: written.bytes_out + padding + AROUND,
        crc32,
        pieces: PieceTable {
            piece_size: PIECE as u32,
            restart_every: RESTART_EVERY,
            header_len: HEADER.len() as u32,
            lengths: written.lengths,
            bytes_in: written.bytes_in,
            crc32,
        },
    })
}

fn write(sink: &mut impl Write, bytes: &[u8], meters: &Meters) -> Result<(), CompressError> {
    meters.writing.time(|| sink.write_all(bytes)).map_err(CompressError::Sink)?;
    meters.gave(bytes.len());
    Ok(())
}

struct Pipeline<'a, R, W> {
    source: Mutex<Source<R>>,
    sink: OrderedSink<'a, W>,
    level: Level,
    meters: &'a Meters,
    cancel: &'a AtomicBool,
}

struct Source<R> {
    reader: R,
    /// The number of the next piece.
    next: u64,
    /// The last bytes of the piece before, if the next one is to be primed with them.
    window: Vec<u8>,
    ended: bool,
}

/// One thread's uncompressed bytes: a window's worth of the piece before, then the piece.
struct Raw {
    bytes: Vec<u8>,
    number: u64,
    length: usize,
}

impl Raw {
    fn dictionary(&self) -> &[u8] {
        if restarts(self.number) { &[] } else { &self.bytes[..WINDOW] }
    }

    fn piece(&self) -> &[u8] {
        &self.bytes[WINDOW..WINDOW + self.length]
    }
}

fn restarts(number: u64) -> bool {
    number.is_multiple_of(u64::from(RESTART_EVERY))
}

impl<R: Read, W: Write> Pipeline<'_, R, W> {
    /// What every thread does until the source ends or the run stops.
    fn work(&self) {
        let _guard = StopOnPanic(&self.sink);
        let mut raw = Raw { bytes: Vec::new(), number: 0, length: 0 };
        let mut encoder = None;
        while self.take(&mut raw) {
            let encoder = encoder.get_or_insert_with(|| Encoder::new(self.level));
            match self.encode(encoder, &raw) {
                Ok(piece) => {
                    if self.sink.deliver(raw.number, piece).is_err() {
                        return;
                    }
                }
                Err(error) => return self.sink.fail(error),
            }
        }
    }

    /// Fills `raw` with the next piece; `false` at the end, whatever its reason.
    fn take(&self, raw: &mut Raw) -> bool {
        let asked = Instant::now();
        // A poisoned lock means that the source panicked: it is not touched again.
        let Ok(mut source) = self.source.lock() else {
            return false;
        };
        self.meters.waiting_for_source.add_since(asked);
        if source.ended {
            return false;
        }
        if raw.bytes.is_empty() {
            // Allocated only once there is a piece to take.
            raw.bytes = vec![0; WINDOW + PIECE];
        }
        let reading = Instant::now();
        let result = self.fill(&mut source.reader, &mut raw.bytes[WINDOW..]);
        self.meters.reading.add_since(reading);
        match result {
            Ok(length) => raw.length = length,
            Err(error) => {
                source.ended = true;
                self.sink.fail(error);
                return false;
            }
        }
        raw.number = source.next;
        if !restarts(raw.number) {
            raw.bytes[..WINDOW].copy_from_slice(&source.window);
        }
        source.next += 1;
        source.ended = raw.length < PIECE;
        if !source.ended && !restarts(source.next) {
            source.window.clear();
            source.window.extend_from_slice(&raw.bytes[PIECE..]);
        }
        raw.length > 0
    }

    /// Reads until the piece is full or the source ends.
    fn fill(&self, reader: &mut R, piece: &mut [u8]) -> Result<usize, CompressError> {
        let mut filled = 0;
        while filled < piece.len() {
            if self.cancel.load(Ordering::Relaxed) {
                return Err(CompressError::Cancelled);
            }
            if self.sink.is_stopped() {
                // Another thread knows why.
                return Ok(0);
            }
            match reader.read(&mut piece[filled..]) {
                Ok(0) => break,
                Ok(length) if length <= piece.len() - filled => {
                    filled += length;
                    self.meters.took(length);
                }
                Ok(_) => {
                    let error = io::Error::other("it claims more bytes than were asked for");
                    return Err(CompressError::Source(error));
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(CompressError::Source(error)),
            }
        }
        Ok(filled)
    }

    fn encode(&self, encoder: &mut Encoder, raw: &Raw) -> Result<Piece, CompressError> {
        let mut buffer = self.sink.buffer(stored::len(PIECE) + SLACK);
        self.meters.working.time(|| {
            let mut crc = crc32fast::Hasher::new();
            crc.update(raw.piece());
            let length = encoder.encode(raw.dictionary(), raw.piece(), &mut buffer)?;
            Ok(Piece { buffer, length, crc, bytes_in: raw.length })
        })
    }
}

/// A thread that panics must not leave the others waiting for its piece.
struct StopOnPanic<'a, 'b, W: Write>(&'a OrderedSink<'b, W>);

impl<W: Write> Drop for StopOnPanic<'_, '_, W> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.stop();
        }
    }
}
