//! Sources and sinks that fail, wait or panic; cancelling. No run may hang or leave threads behind.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::{
    io::{self, Read, Write},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use common::{compressed, records, threads};
use pargz::{CompressError, Compressor, IndexedInflater, InflateError, Inflater, Level, PIECE, ReadAt};

/// Fails the test instead of hanging it.
fn within_a_minute<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let (done, wait) = mpsc::channel();
    let worker = thread::spawn(move || done.send(work()));
    let result = wait.recv_timeout(Duration::from_mins(1)).expect("the run hangs or panicked");
    worker.join().unwrap().unwrap();
    result
}

fn options(n: usize) -> Compressor<'static> {
    Compressor::new().level(Level::Fast).threads(threads(n))
}

/// Does `fault` once `left` bytes have passed, in either direction.
struct Faulty<F> {
    left: usize,
    fault: F,
}

impl<F: FnMut() -> io::Result<usize>> Read for Faulty<F> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let length = buf.len().min(self.left).min(100_000);
        if length == 0 {
            return (self.fault)();
        }
        self.left -= length;
        for (n, byte) in buf[..length].iter_mut().enumerate() {
            *byte = (n % 251) as u8;
        }
        Ok(length)
    }
}

impl<F: FnMut() -> io::Result<usize>> Write for Faulty<F> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let length = buf.len().min(self.left);
        if length == 0 {
            return (self.fault)();
        }
        self.left -= length;
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn endless() -> impl Read + Send {
    io::repeat(7)
}

#[test]
fn an_error_of_the_source_ends_the_run() {
    for n in 1..=4 {
        for left in [0, 10, PIECE, 5 * PIECE + 1] {
            let result = within_a_minute(move || {
                let source = Faulty { left, fault: || Err(io::Error::other("pulled out")) };
                options(n).compress(source, io::sink())
            });
            assert!(matches!(&result, Err(CompressError::Source(e)) if e.to_string() == "pulled out"), "{result:?}");
        }
    }
}

#[test]
fn an_error_of_the_sink_ends_the_run_and_the_reading() {
    for n in 1..=4 {
        for left in [0, 10, 200, 5000, 100_000] {
            let result = within_a_minute(move || {
                let sink = Faulty { left, fault: || Err(io::ErrorKind::StorageFull.into()) };
                options(n).compress(endless(), sink)
            });
            assert!(
                matches!(&result, Err(CompressError::Sink(e)) if e.kind() == io::ErrorKind::StorageFull),
                "{result:?}"
            );
        }
    }
}

#[test]
fn a_sink_that_takes_nothing_is_an_error() {
    let result = within_a_minute(|| {
        let sink = Faulty { left: 1000, fault: || Ok(0) };
        options(2).compress(endless(), sink)
    });
    assert!(matches!(&result, Err(CompressError::Sink(e)) if e.kind() == io::ErrorKind::WriteZero), "{result:?}");
}

#[test]
fn an_interrupted_read_is_tried_again() {
    let mut interrupted = 0;
    let source = Faulty {
        left: 1000,
        fault: || {
            interrupted += 1;
            if interrupted < 3 { Err(io::ErrorKind::Interrupted.into()) } else { Ok(0) }
        },
    };
    let summary = options(2).compress(source, io::sink()).unwrap();
    assert_eq!(summary.bytes_in, 1000);
}

#[test]
fn a_source_is_not_read_again_after_its_end() {
    let mut ends = 0;
    let source = Faulty {
        left: 2 * PIECE,
        fault: || {
            ends += 1;
            Ok(0)
        },
    };
    options(3).compress(source, io::sink()).unwrap();
    assert_eq!(ends, 1);
}

#[test]
fn a_source_that_claims_too_much_is_an_error() {
    let result = within_a_minute(|| {
        let source = Faulty { left: 0, fault: || Ok(usize::MAX) };
        options(2).compress(source, io::sink())
    });
    assert!(matches!(result, Err(CompressError::Source(_))), "{result:?}");
}

#[test]
fn a_panic_in_source_or_sink_comes_out_and_stops_all_threads() {
    for n in 1..=4 {
        let message = within_a_minute(move || {
            let source = Faulty { left: 3 * PIECE, fault: || panic!("source") };
            let run = || options(n).compress(source, io::sink());
            *catch_unwind(AssertUnwindSafe(run)).unwrap_err().downcast::<&str>().unwrap()
        });
        assert_eq!(message, "source");
        let message = within_a_minute(move || {
            let sink = Faulty { left: 3000, fault: || panic!("sink") };
            let run = || options(n).compress(endless(), sink);
            *catch_unwind(AssertUnwindSafe(run)).unwrap_err().downcast::<&str>().unwrap()
        });
        assert_eq!(message, "sink");
    }
}

#[test]
fn cancelling_ends_an_endless_run() {
    for n in 1..=3 {
        let result = within_a_minute(move || {
            let cancel = AtomicBool::new(false);
            thread::scope(|scope| {
                scope.spawn(|| {
                    thread::sleep(Duration::from_millis(30));
                    cancel.store(true, Ordering::Relaxed);
                });
                options(n).cancel(&cancel).compress(endless(), io::sink())
            })
        });
        assert!(matches!(result, Err(CompressError::Cancelled)), "{result:?}");
    }
}

/// Remembers how many pieces were taken from the source beyond those the sink has finished.
#[test]
fn a_slow_sink_holds_the_source_back() {
    static TAKEN: AtomicUsize = AtomicUsize::new(0);
    struct Counted;
    impl Read for Counted {
        fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
            let taken = TAKEN.fetch_add(buf.len(), Ordering::Relaxed);
            Ok(if taken > 60 * PIECE { 0 } else { buf.len() })
        }
    }
    struct Slow(usize, usize);
    impl Write for Slow {
        fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
            thread::sleep(Duration::from_millis(3));
            self.0 += 1;
            self.1 = self.1.max((TAKEN.load(Ordering::Relaxed) / PIECE).saturating_sub(self.0));
            Ok(buf.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut sink = Slow(0, 0);
    options(2).compress(Counted, &mut sink).unwrap();
    // Two in work, four parked, one being written.
    assert!(sink.1 <= 7, "{} pieces ahead", sink.1);
}

/// The member in memory, with a fault at some read.
struct FaultyBody {
    bytes: Vec<u8>,
    reads_left: Mutex<usize>,
    fault: fn() -> io::Result<()>,
}

impl ReadAt for FaultyBody {
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let mut left = self.reads_left.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if *left == 0 {
            (self.fault)()?;
        } else {
            *left -= 1;
        }
        drop(left);
        self.bytes.read_exact_at(buf, offset)
    }

    fn len(&self) -> u64 {
        self.bytes.len() as u64
    }
}

#[test]
fn a_body_that_cannot_be_read_ends_inflating() {
    let (bytes, summary) = compressed(&records(12 * PIECE, 1), Level::Fast, 2);
    for n in 1..=3 {
        for reads in [0, 1, 5, 13] {
            let (bytes, table) = (bytes.clone(), summary.pieces.clone());
            let result = within_a_minute(move || {
                let fault = || Err(io::ErrorKind::ConnectionReset.into());
                let body = FaultyBody { bytes, reads_left: Mutex::new(reads), fault };
                IndexedInflater::new(&table).threads(threads(n)).inflate(&body, |_| ())
            });
            assert!(
                matches!(&result, Err(InflateError::Io(e)) if e.kind() == io::ErrorKind::ConnectionReset),
                "{result:?}"
            );
        }
    }
}

#[test]
fn a_panic_in_body_or_consumer_comes_out_and_stops_all_threads() {
    let (bytes, summary) = compressed(&records(12 * PIECE, 1), Level::Fast, 2);
    for n in 1..=3 {
        let (body, table) = (bytes.clone(), summary.pieces.clone());
        within_a_minute(move || {
            let body = FaultyBody { bytes: body, reads_left: Mutex::new(6), fault: || panic!("body") };
            let run = || IndexedInflater::new(&table).threads(threads(n)).inflate(&body, |_| ());
            catch_unwind(AssertUnwindSafe(run)).unwrap_err();
        });
        let (body, table) = (bytes.clone(), summary.pieces.clone());
        let message = within_a_minute(move || {
            let run = || {
                IndexedInflater::new(&table).threads(threads(n)).inflate(&body, |reader| {
                    reader.read_exact(&mut [0; 100]).unwrap();
                    panic!("consumer");
                })
            };
            *catch_unwind(AssertUnwindSafe(run)).map(|_: Result<(), _>| ()).unwrap_err().downcast::<&str>().unwrap()
        });
        assert_eq!(message, "consumer");
    }
}

#[test]
fn cancelling_ends_inflating() {
    let (bytes, summary) = compressed(&records(12 * PIECE, 1), Level::Fast, 2);
    let cancel = AtomicBool::new(false);
    let result = IndexedInflater::new(&summary.pieces).threads(threads(2)).cancel(&cancel).inflate(&bytes, |reader| {
        reader.read_exact(&mut [0; 100]).unwrap();
        cancel.store(true, Ordering::Relaxed);
        io::copy(reader, &mut io::sink()).is_err()
    });
    assert!(matches!(result, Err(InflateError::Cancelled)), "{result:?}");
}

#[test]
fn an_error_under_the_streaming_inflater_is_passed_on() {
    let (bytes, _) = compressed(&records(PIECE, 1), Level::Fast, 1);
    let broken = Faulty { left: 0, fault: || Err(io::ErrorKind::ConnectionReset.into()) };
    let mut inflater = Inflater::new(bytes[..1000].chain(broken));
    let error = io::copy(&mut inflater, &mut io::sink()).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    assert!(matches!(InflateError::from(error), InflateError::Io(_)));
    assert!(inflater.read(&mut [0; 10]).is_err(), "an error stays an error");
}
