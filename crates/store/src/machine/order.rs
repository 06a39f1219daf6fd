//! The sender's view of a receiver that makes the archive itself: a place that takes, in order, what an archive is made of.

use std::{
    ops::Range,
    sync::{Arc, OnceLock},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use peer::{Reply, Request, message::Recipe};
use serde_json::Value;

use super::{Machine, upload::MachineUpload};
use crate::{
    error::{Kind, Operation, StoreError},
    store::{Abilities, Entry, Expected, Order, Placement, Session, Store, Upload, Workshop},
};

/// As large as the pieces that go over the line allow without waiting for too many answers.
const PART: u64 = 8 << 20;

/// A receiver with cores of its own.
pub(super) struct Far(pub(super) Arc<Machine>);

#[async_trait]
impl Workshop for Far {
    fn name(&self) -> String {
        self.0.line.name.clone()
    }

    async fn try_out(&self, recipe: &Value, sample: &[Bytes]) -> Result<Duration, StoreError> {
        let request = Request::Try { recipe: Recipe(recipe.clone()) };
        let answer = self.0.client.call(request, sample).await.map_err(|error| self.0.line.failed(Operation::Write, &error))?;
        match answer.0 {
            Reply::Tried { nanos } => Ok(Duration::from_nanos(nanos)),
            _ => Err(self.0.line.misunderstood(Operation::Write)),
        }
    }

    fn order(&self, recipe: Value) -> Order {
        let made: Arc<OnceLock<Value>> = Arc::default();
        Order { store: Arc::new(Ordered { machine: Arc::clone(&self.0), recipe: Recipe(recipe), made: Arc::clone(&made) }), made }
    }
}

/// Where what one archive is made of goes. What was made is looked at through the receiver as a place, and not here.
struct Ordered {
    machine: Arc<Machine>,
    recipe: Recipe,
    made: Arc<OnceLock<Value>>,
}

impl Ordered {
    fn unreadable(&self, operation: Operation) -> StoreError {
        StoreError::remote(&self.machine.line.label, operation, Kind::Invalid, "what an archive is made of can't be seen again")
    }
}

#[async_trait]
impl Store for Ordered {
    fn label(&self) -> String {
        self.machine.line.label.clone()
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
            readable: false,
        }
    }

    async fn create(&self, name: &str, expected: Expected) -> Result<Box<dyn Upload>, StoreError> {
        let machine = &self.machine;
        let upload = machine.name_upload(name, false);
        let (about, least, recipe) = (expected.about, expected.least, self.recipe.clone());
        let request = Request::Make { upload: upload.clone(), name: name.to_owned(), about, least, recipe };
        machine.create(name, request).await?;
        Ok(Box::new(MachineUpload::of_order(Arc::clone(&machine.client), machine.line.clone(), upload, Arc::clone(&self.made))))
    }

    async fn resume(&self, _: &Session) -> Result<Option<Box<dyn Upload>>, StoreError> {
        Ok(None)
    }

    async fn list(&self) -> Result<Vec<Entry>, StoreError> {
        Err(self.unreadable(Operation::List))
    }

    async fn entry(&self, _: &str) -> Result<Option<Entry>, StoreError> {
        Err(self.unreadable(Operation::Read))
    }

    async fn read(&self, _: &str, _: Range<u64>) -> Result<Bytes, StoreError> {
        Err(self.unreadable(Operation::Read))
    }

    async fn delete(&self, _: &str) -> Result<(), StoreError> {
        Err(self.unreadable(Operation::Delete))
    }

    async fn space(&self) -> Result<Option<u64>, StoreError> {
        Ok(None)
    }

    async fn sweep(&self) -> Result<u32, StoreError> {
        Ok(0)
    }
}
