//! Compression as a `Write`: the same bytes, and every way in which it can end.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod common;

use std::{
    io::{self, Write},
    sync::mpsc,
    time::Duration,
};

use common::{compressed, inputs, threads};
use pargz::{CompressError, Compressor, Level, PIECE};

/// Takes so many bytes, then says that the disk is full.
struct Small(usize);

impl Write for Small {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0 == 0 {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let length = bytes.len().min(self.0);
        self.0 -= length;
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_writer_makes_the_same_member() {
    for (name, data) in inputs() {
        for (n, step) in [(1, 1000), (2, PIECE), (3, 3 * PIECE + 1)] {
            let (expected, summary) = compressed(&data, Level::Fast, n);
            let mut writer = Compressor::new().threads(threads(n)).writer(Vec::new()).unwrap();
            for chunk in data.chunks(step) {
                writer.write_all(chunk).unwrap();
                writer.flush().unwrap();
            }
            let (member, again) = writer.finish().unwrap();
            assert!(member == expected, "{name} in steps of {step}");
            assert_eq!(again, summary);
        }
    }
}

#[test]
fn an_error_of_the_sink_reaches_the_next_write_or_the_end() {
    let data = common::noise(20 * PIECE, 1);
    let mut writer = Compressor::new().threads(threads(2)).writer(Small(PIECE)).unwrap();
    let error = writer.write_all(&data).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    assert!(writer.finish().is_err(), "it stays an error");

    let mut writer = Compressor::new().threads(threads(2)).writer(Small(5)).unwrap();
    writer.write_all(b"short").unwrap();
    assert!(matches!(writer.finish(), Err(CompressError::Sink(error)) if error.kind() == io::ErrorKind::StorageFull));
}

#[test]
fn a_dropped_writer_ends_its_threads_and_the_member_stays_incomplete() {
    struct Told(Vec<u8>, mpsc::Sender<Vec<u8>>);
    impl Write for Told {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.write(bytes)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    impl Drop for Told {
        fn drop(&mut self) {
            self.1.send(std::mem::take(&mut self.0)).unwrap();
        }
    }
    let (sender, receiver) = mpsc::channel();
    let mut writer = Compressor::new().writer(Told(Vec::new(), sender)).unwrap();
    writer.write_all(&common::records(3 * PIECE, 1)).unwrap();
    drop(writer);
    let written = receiver.recv_timeout(Duration::from_mins(1)).unwrap();
    let mut inflater = pargz::Inflater::new(&written[..]);
    assert!(io::copy(&mut inflater, &mut io::sink()).is_err());
}
