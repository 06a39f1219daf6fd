//! The receiver's side of archives that are made here: a builder that knows archives makes one, on its own thread, from
//! bytes that arrive in order.

use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use bytes::Bytes;
use serde_json::Value;

use crate::{
    error::StoreError,
    parts::Part,
    store::{Checked, Completed, Expected, Upload},
};

/// What is to be made.
pub struct Task {
    /// The archive's name.
    pub name: String,
    /// About how much it will be made of.
    pub expected: Expected,
    /// How, in a form that only the builder understands. Holds secrets.
    pub recipe: Value,
}

/// Makes archives at the receiver's own destination. All calls may block.
pub trait ArchiveBuilder: Send + Sync {
    /// Starts one: when this returns, its destination has accepted it.
    fn start(&self, task: Task) -> Result<Arc<dyn Making>, StoreError>;

    /// Makes something of a sample, for the time that takes. Nothing stays.
    fn try_out(&self, recipe: &Value, sample: &[u8]) -> Result<(), StoreError>;
}

/// An archive being made. Dropped, it leaves nothing.
pub trait Making: Send + Sync {
    /// Takes the next bytes.
    fn put(&self, bytes: Bytes) -> Result<(), StoreError>;

    /// All `length` bytes have come: the archive gets its name and is checked.
    fn finish(&self, length: u64) -> Result<Made, StoreError>;

    /// Ends it, soon, with nothing left. Can be called at any time, also while another call waits.
    fn stop(&self);
}

/// An archive that was made.
#[derive(Clone)]
pub struct Made {
    /// Its size.
    pub size: u64,
    /// What it was compared by at its destination.
    pub checked: Checked,
    /// The builder's notes.
    pub report: Value,
}

/// A making as an upload.
pub(super) struct BuildUpload {
    making: Arc<dyn Making>,
    made: OnceLock<Made>,
}

impl BuildUpload {
    pub(super) fn new(making: Arc<dyn Making>) -> Self {
        Self { making, made: OnceLock::new() }
    }

    pub(super) fn stop(&self) {
        self.making.stop();
    }

    /// Once it is committed.
    pub(super) fn made(&self) -> Option<&Made> {
        self.made.get()
    }
}

#[async_trait]
impl Upload for BuildUpload {
    async fn put(&self, part: &Part) -> Result<(), StoreError> {
        part.data.pieces().iter().try_for_each(|piece| self.making.put(piece.clone()))
    }

    async fn patch(&self, _: u64, _: &[u8]) -> Result<(), StoreError> {
        Err(crate::context::invalid("haul", "data already sent for an archive can't be changed"))
    }

    async fn commit(&self, completed: &Completed) -> Result<Checked, StoreError> {
        let made = self.making.finish(completed.length)?;
        let checked = made.checked;
        let _ = self.made.set(made);
        Ok(checked)
    }

    async fn abort(&self) -> Result<(), StoreError> {
        self.making.stop();
        Ok(())
    }
}
