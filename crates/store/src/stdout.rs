//! Standard output as a destination, for `| ssh host 'cat > backup.tar'`. In order, once, and never read again.

use std::{
    io::{self, Write},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use async_trait::async_trait;
use bytes::Bytes;

use crate::{
    error::{Kind, Operation, StoreError},
    parts::Part,
    store::{Abilities, Checked, Completed, Expected, Placement, Sink, Upload},
};

/// Bytes written at once where they keep to a rate.
const CHUNK: u64 = 64 << 10;
const LABEL: &str = "standard output";

/// Standard output.
pub struct Stdout;

#[async_trait]
impl Sink for Stdout {
    fn label(&self) -> String {
        LABEL.to_owned()
    }

    fn abilities(&self) -> Abilities {
        Abilities {
            placement: Placement::Sequential,
            multiple: 1,
            preferred: 1 << 20,
            concurrency: 1,
            needs_length: false,
            restarts: false,
            md5: false,
            resumable: false,
        }
    }

    async fn create(&self, _: &str, _: Expected) -> Result<Box<dyn Upload>, StoreError> {
        Ok(Box::new(StdoutUpload { written: Arc::default() }))
    }
}

struct StdoutUpload {
    written: Arc<AtomicU64>,
}

fn write(pieces: &[Bytes], written: &AtomicU64) -> io::Result<()> {
    let mut out = io::stdout().lock();
    for piece in pieces {
        out.write_all(piece)?;
        written.fetch_add(piece.len() as u64, Ordering::Relaxed);
    }
    out.flush()
}

fn failed(error: &io::Error) -> StoreError {
    let (kind, reason, advice) = match error.kind() {
        io::ErrorKind::BrokenPipe => (
            Kind::Protocol,
            "the program that reads it has ended".to_owned(),
            "find out why the program at the other end of the pipe ended",
        ),
        io::ErrorKind::StorageFull => {
            (Kind::Full { missing: None }, crate::error::reason(error), "free some space where standard output goes")
        }
        _ => (Kind::Protocol, crate::error::reason(error), "check where standard output goes"),
    };
    StoreError::remote(LABEL, Operation::Write, kind, reason).advise(advice)
}

#[async_trait]
impl Upload for StdoutUpload {
    async fn put(&self, part: &Part) -> Result<(), StoreError> {
        let mut left = part.data.skip(self.written.load(Ordering::Relaxed).saturating_sub(part.offset));
        let chunk = if part.activity.is_limited() { CHUNK } else { u64::MAX };
        while !left.is_empty() {
            let (now, written) = (left.take(chunk), Arc::clone(&self.written));
            left = left.skip(chunk);
            part.activity.pass(now.len()).await;
            // A pipe that nobody reads blocks; that must not hold up other destinations.
            let done = tokio::task::spawn_blocking(move || write(now.pieces(), &written)).await;
            done.unwrap_or_else(|error| Err(io::Error::other(error))).map_err(|error| failed(&error))?;
        }
        Ok(())
    }

    async fn patch(&self, _: u64, _: &[u8]) -> Result<(), StoreError> {
        Err(StoreError::remote(LABEL, Operation::Write, Kind::Invalid, "bytes already written can't be changed"))
    }

    async fn commit(&self, completed: &Completed) -> Result<Checked, StoreError> {
        let written = self.written.load(Ordering::Relaxed);
        if written == completed.length {
            return Ok(Checked::Size);
        }
        Err(StoreError::remote(
            LABEL,
            Operation::Check,
            Kind::Mismatch,
            format!("{written} bytes were accepted instead of {}", completed.length),
        ))
    }

    async fn abort(&self) -> Result<(), StoreError> {
        Ok(())
    }
}
