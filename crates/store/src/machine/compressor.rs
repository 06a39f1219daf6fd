//! The sender's view of a receiver that makes the archive itself: a destination that accepts, in order, the source of
//! an archive.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use peer::{Reply, Request, message::Recipe};
use serde_json::Value;

use super::{Machine, upload::MachineUpload};
use crate::{
    error::{Operation, StoreError},
    store::{Abilities, CompressionJob, Expected, Placement, RemoteCompressor, Sink, Upload},
};

/// As large as the pieces that go over the connection allow without waiting for too many answers.
const PART: u64 = 8 << 20;

/// A receiver with cores of its own.
pub(super) struct Far(pub(super) Arc<Machine>);

#[async_trait]
impl RemoteCompressor for Far {
    fn name(&self) -> String {
        self.0.connection.name.clone()
    }

    async fn try_out(&self, recipe: &Value, sample: &[Bytes]) -> Result<Duration, StoreError> {
        let request = Request::Try { recipe: Recipe(recipe.clone()) };
        let answer = self
            .0
            .client
            .call(request, sample)
            .await
            .map_err(|error| self.0.connection.failed(Operation::Write, &error))?;
        match answer.0 {
            Reply::Tried { nanos } => Ok(Duration::from_nanos(nanos)),
            _ => Err(self.0.connection.misunderstood(Operation::Write)),
        }
    }

    fn job(&self, recipe: Value) -> CompressionJob {
        let made: Arc<OnceLock<Value>> = Arc::default();
        CompressionJob {
            sink: Arc::new(JobSink { machine: Arc::clone(&self.0), recipe: Recipe(recipe), made: Arc::clone(&made) }),
            made,
        }
    }
}

/// The sink for the source of one archive. The finished archive is read through the receiver as a destination, not
/// here.
struct JobSink {
    machine: Arc<Machine>,
    recipe: Recipe,
    made: Arc<OnceLock<Value>>,
}

#[async_trait]
impl Sink for JobSink {
    fn label(&self) -> String {
        self.machine.connection.label.clone()
    }

    fn abilities(&self) -> Abilities {
        Abilities {
            placement: Placement::Random,
            multiple: 1,
            preferred: PART,
            concurrency: 1,
            needs_length: false,
            restarts: false,
            md5: false,
            resumable: false,
        }
    }

    async fn create(&self, name: &str, expected: Expected) -> Result<Box<dyn Upload>, StoreError> {
        let machine = &self.machine;
        let upload = machine.name_upload(name, false);
        let (about, least, recipe) = (expected.about, expected.least, self.recipe.clone());
        let request = Request::Make { upload: upload.clone(), name: name.to_owned(), about, least, recipe };
        machine.create(name, request).await?;
        Ok(Box::new(MachineUpload::of_job(
            Arc::clone(&machine.client),
            machine.connection.clone(),
            upload,
            Arc::clone(&self.made),
        )))
    }
}
