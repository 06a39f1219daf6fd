//! A piece of an upload as a receiver sees it, and an upload that accepts no more pieces.

use async_trait::async_trait;
use peer::{Refusal, RefusalKind};

use crate::{
    error::StoreError,
    parts::{Activity, Part, Segments},
    store::{Checked, Completed, Upload},
};

/// Where a piece belongs.
pub(super) struct Stretch {
    pub(super) index: u32,
    pub(super) offset: u64,
    pub(super) length: u64,
    pub(super) at: u64,
    pub(super) total: Option<u64>,
    pub(super) last: bool,
}

impl Stretch {
    pub(super) fn part(&self, offset: u64, data: Segments) -> Part {
        Part { index: self.index, offset, data, total: self.total, last: self.last, activity: Activity::default() }
    }
}

pub(super) fn gap() -> Refusal {
    // After a connection that broke in the middle; the sender asks what is there and continues from it.
    Refusal::new(RefusalKind::Passing { after: None }, "pieces of the archive are missing before this one")
}

/// An upload that came to its end in an earlier process.
pub(super) struct Ended;

#[async_trait]
impl Upload for Ended {
    async fn put(&self, _: &Part) -> Result<(), StoreError> {
        Ok(())
    }

    async fn patch(&self, _: u64, _: &[u8]) -> Result<(), StoreError> {
        Ok(())
    }

    async fn commit(&self, _: &Completed) -> Result<Checked, StoreError> {
        Ok(Checked::Size)
    }

    async fn abort(&self) -> Result<(), StoreError> {
        Ok(())
    }
}
