//! What an append-only receiver records beside each archive: which machine sent it, and when it arrived. Retention goes
//! by that, not by what the sender wrote into the archive.
//!
//! The note is there before the archive gets its name, so that no archive of a paired machine is ever without one.

use std::{
    sync::{Mutex, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use peer::{Peer, Refusal, RefusalKind};
use serde::{Deserialize, Serialize};

use super::convert;
use crate::{
    error::{Kind, StoreError},
    small,
    store::{Entry, Store},
};

/// The end of a note's name. No longer than the mark of a pinned archive, for which names reserve space.
const SUFFIX: &str = ".via";
/// Anything longer is not a note.
const LONGEST: u64 = 4096;

/// How an archive came to a receiver.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArrivalNote {
    /// What the sender calls itself.
    pub from: String,
    /// The fingerprint of its key.
    pub key: String,
    /// When it arrived, in seconds since 1970 by the receiver's clock.
    pub arrived: u64,
}

impl ArrivalNote {
    /// What the note of this archive is called.
    pub fn name(archive: &str) -> String {
        format!("{archive}{SUFFIX}")
    }

    fn now(peer: &Peer) -> Self {
        let arrived = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        Self { from: peer.name.clone(), key: peer.fingerprint.to_string(), arrived }
    }

    /// Reads the note that was listed; `None`: there is something else under its name.
    pub async fn read(store: &dyn Store, entry: &Entry) -> Result<Option<Self>, StoreError> {
        if entry.size > LONGEST {
            return Ok(None);
        }
        let text = store.read(&entry.name, 0..entry.size).await?;
        Ok(serde_json::from_slice(&text).ok())
    }
}

/// Names of archives that are about to appear.
#[derive(Default)]
pub(super) struct Arrivals(Mutex<Vec<String>>);

/// A lock on one of them.
pub(super) struct Arriving<'a> {
    all: &'a Arrivals,
    store: &'a dyn Store,
    archive: String,
}

impl Drop for Arriving<'_> {
    fn drop(&mut self) {
        self.all.0.lock().unwrap_or_else(PoisonError::into_inner).retain(|name| *name != self.archive);
    }
}

impl Arrivals {
    /// Notes that `archive` arrives now. To be kept until the archive has its name.
    pub(super) async fn note<'a>(
        &'a self,
        store: &'a dyn Store,
        archive: &str,
        peer: &Peer,
    ) -> Result<Arriving<'a>, Refusal> {
        {
            let mut names = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if names.iter().any(|name| name == archive) {
                return Err(Refusal::new(
                    RefusalKind::Passing { after: None },
                    "an archive of this name is already arriving",
                ));
            }
            names.push(archive.to_owned());
        }
        let arriving = Arriving { all: self, store, archive: archive.to_owned() };
        let is_there = store.entry(archive).await.map_err(|error| convert::refusal(&error))?.is_some();
        if is_there {
            // Somebody else's, or its sender comes back because an answer got lost; there was a note of it before.
            return Ok(arriving);
        }
        let note = ArrivalNote::now(peer);
        match put(store, archive, &note).await {
            Err(error) if error.kind() == Some(Kind::Exists) => arriving.again(&note).await?,
            put => put.map_err(|error| convert::refusal(&error))?,
        }
        Ok(arriving)
    }
}

impl Arriving<'_> {
    /// There is a note without an archive: an earlier attempt of the same machine failed, and only now counts.
    async fn again(&self, note: &ArrivalNote) -> Result<(), Refusal> {
        let failed = |error: StoreError| convert::refusal(&error);
        let name = ArrivalNote::name(&self.archive);
        let before = match self.store.entry(&name).await.map_err(failed)? {
            Some(entry) => ArrivalNote::read(self.store, &entry).await.map_err(failed)?,
            None => None,
        };
        if before.is_none_or(|before| before.key != note.key) {
            return Err(Refusal::new(
                RefusalKind::Exists,
                format!("another machine's archive has the name {}", self.archive),
            ));
        }
        self.store.delete(&name).await.map_err(failed)?;
        put(self.store, &self.archive, note).await.map_err(failed)
    }

    /// The archive did not get its name. The note goes only where the archive can't appear after all; one that stays
    /// does no harm.
    pub(super) async fn failed(self, error: &StoreError) {
        if error.kind() == Some(Kind::Mismatch) && matches!(self.store.entry(&self.archive).await, Ok(None)) {
            let _ = self.store.delete(&ArrivalNote::name(&self.archive)).await;
        }
    }
}

async fn put(store: &dyn Store, archive: &str, note: &ArrivalNote) -> Result<(), StoreError> {
    let text = serde_json::to_vec(note).unwrap_or_default();
    small::put(store, &ArrivalNote::name(archive), Bytes::from(text)).await
}
