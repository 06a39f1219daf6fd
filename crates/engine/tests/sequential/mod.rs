//! A destination that accepts bytes only in order and needs the exact length in advance. What it received becomes a
//! file; between measuring and sending it lets a test act.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used)]

use std::{
    fs,
    path::PathBuf,
    sync::{Arc, Mutex},
};

use async_trait::async_trait;
use engine::{BackupError, BackupOptions, BackupReport, Destination, Progress};
use store::{
    Abilities, Bridge, Cancellation, Checked, Completed, Context, Expected, Kind, Operation, Part, Placement, Sink,
    StoreError, Tuning, Upload, outbound::Network,
};

type Hook = Box<dyn FnMut(u32) + Send>;

pub(crate) struct Line {
    into: PathBuf,
    /// Called with the number of the sending, from 1, when everything was measured and nothing was sent.
    between: Mutex<Hook>,
    begun: Arc<Mutex<Vec<u64>>>,
    /// So many sendings are lost after this many bytes.
    loses: (u32, u64),
}

impl Line {
    pub(crate) fn new(into: PathBuf, between: impl FnMut(u32) + Send + 'static) -> Self {
        Self { into, between: Mutex::new(Box::new(between)), begun: Arc::default(), loses: (0, 0) }
    }

    pub(crate) fn losing(self, sendings: u32, after: u64) -> Self {
        Self { loses: (sendings, after), ..self }
    }

    /// The lengths that were announced, one for each sending.
    pub(crate) fn announced(&self) -> Arc<Mutex<Vec<u64>>> {
        Arc::clone(&self.begun)
    }
}

struct Sending {
    path: PathBuf,
    announced: u64,
    breaks_after: Option<u64>,
    bytes: Mutex<Vec<u8>>,
}

fn failed(kind: Kind, reason: &str) -> StoreError {
    StoreError::remote("line", Operation::Write, kind, reason)
}

#[async_trait]
impl Sink for Line {
    fn label(&self) -> String {
        "line".to_owned()
    }

    fn abilities(&self) -> Abilities {
        Abilities {
            placement: Placement::Sequential,
            multiple: 1,
            preferred: 1 << 20,
            concurrency: 1,
            needs_length: true,
            restarts: true,
            md5: false,
            resumable: false,
        }
    }

    async fn create(&self, name: &str, expected: Expected) -> Result<Box<dyn Upload>, StoreError> {
        let announced = expected.exact.ok_or_else(|| failed(Kind::Invalid, "no length"))?;
        let number = {
            let mut begun = self.begun.lock().unwrap();
            begun.push(announced);
            begun.len() as u32
        };
        (self.between.lock().unwrap())(number);
        let breaks_after = (number <= self.loses.0).then_some(self.loses.1);
        Ok(Box::new(Sending { path: self.into.join(name), announced, breaks_after, bytes: Mutex::default() }))
    }
}

#[async_trait]
impl Upload for Sending {
    async fn put(&self, part: &Part) -> Result<(), StoreError> {
        let mut bytes = self.bytes.lock().unwrap();
        assert_eq!(part.offset, bytes.len() as u64, "in order");
        if self.breaks_after.is_some_and(|limit| part.end() > limit) {
            return Err(failed(Kind::Lost, "the line broke"));
        }
        bytes.extend_from_slice(&part.data.to_bytes());
        assert!(bytes.len() as u64 <= self.announced);
        Ok(())
    }

    async fn patch(&self, _: u64, _: &[u8]) -> Result<(), StoreError> {
        panic!("nothing can be changed afterwards");
    }

    async fn commit(&self, completed: &Completed) -> Result<Checked, StoreError> {
        let bytes = self.bytes.lock().unwrap();
        assert_eq!(
            (completed.length, bytes.len() as u64),
            (self.announced, self.announced),
            "exactly what was announced"
        );
        fs::write(&self.path, &*bytes).unwrap();
        Ok(Checked::Size)
    }

    async fn abort(&self) -> Result<(), StoreError> {
        Ok(())
    }
}

/// A backup to the line alone.
pub(crate) fn send(options: BackupOptions, line: Line) -> Result<BackupReport, BackupError> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let bridge = Bridge::start().unwrap();
    let cancel = Cancellation::default();
    let context = Context::new(Tuning::default(), std::env::temp_dir(), cancel.clone()).unwrap();
    let destination = Destination::Remote { sink: Arc::new(line), name: Some("sent.tar".to_owned()), context: None };
    let options = BackupOptions { destinations: vec![destination], ..options };
    engine::backup(
        &options,
        Some(&Network { bridge: &bridge, context: &context }),
        &Arc::new(Progress::default()),
        &cancel,
    )
}
