//! For destinations that need an archive's sizes first (`Placement::Sequential`), and archives whose sizes are known
//! last: what is sent twice. The first time it becomes a [`Draft`], uncorrected, under temporary names. The draft is
//! then read back, with the corrections, and sent under the archive's own name, as `outbound` sends what exists already.
//!
//! A draft is one object of unknown length. Where each object needs its length first, it is one object for each part:
//! so there a broken connection costs a part, and not the archive.

use std::{
    ops::Range,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt, stream};

use crate::{
    error::{Kind, Operation, StoreError},
    owner,
    parts::Part,
    retry::RetryPolicy,
    store::{Abilities, Checked, Completed, Entry, Expected, Placement, Session, Sink, Store, Upload},
};

/// Bytes of each object of a draft, where each needs its length first: they wait in memory.
const PIECE: u64 = 8 << 20;
/// Objects that are removed at once.
const AT_ONCE: usize = 4;
/// What a destination without enough room for both needs.
pub(crate) const ROOM: &str = "an archive whose sizes are known last is sent there twice, and needs twice its room until \
    the second copy is whole: free some space there, or add a location that takes it at once";

/// How a destination takes an archive whose sizes are known last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LateSizes {
    /// As it comes.
    AtOnce,
    /// It is sent twice.
    Twice,
    /// Not at all.
    Never,
}

impl LateSizes {
    /// Of this destination.
    pub fn at(sink: &Arc<dyn Sink>) -> Self {
        let abilities = sink.abilities();
        if abilities.placement != Placement::Sequential && !abilities.needs_length {
            Self::AtOnce
        } else if Arc::clone(sink).store().is_some_and(|store| store.draft_name().is_some()) {
            Self::Twice
        } else {
            Self::Never
        }
    }
}

/// What was sent first. As a destination, it takes one archive; as a store, it gives its corrected bytes back.
#[derive(Clone)]
pub(crate) struct Draft(Arc<Inner>);

struct Inner {
    store: Arc<dyn Store>,
    /// Of its only object, or of the first.
    name: String,
    in_pieces: bool,
    content: Mutex<Content>,
}

#[derive(Default)]
struct Content {
    /// Where each object ends in the archive, those included that may be there.
    ends: Vec<u64>,
    corrections: Vec<(u64, Bytes)>,
}

impl Content {
    fn length(&self) -> u64 {
        self.ends.last().copied().unwrap_or_default()
    }
}

impl Draft {
    /// `None`: the destination can't keep one.
    pub(crate) fn at(sink: &Arc<dyn Sink>) -> Option<Self> {
        let store = Arc::clone(sink).store()?;
        let (name, in_pieces) = (store.draft_name()?, store.abilities().needs_length);
        Some(Self(Arc::new(Inner { store, name, in_pieces, content: Mutex::default() })))
    }

    /// As an object.
    pub(crate) fn as_entry(&self) -> Entry {
        Entry { name: self.0.name.clone(), size: self.content().length(), modified: None, link: false }
    }

    /// Nobody needs it any more: removes all of it, and says whether that is done. What is left counts as abandoned.
    pub(crate) async fn remove(&self, policy: &RetryPolicy) -> bool {
        self.give_up();
        let removed = self.clear(|name| async move { policy.retry(|| self.0.store.delete(&name)).await });
        removed.await.is_ok()
    }

    /// What is not removed counts as abandoned.
    fn give_up(&self) {
        for name in self.names() {
            owner::give_up(&name);
        }
    }

    /// Removes what is left of what was given up.
    async fn clear<F: Future<Output = Result<(), StoreError>>>(
        &self,
        delete: impl Fn(String) -> F,
    ) -> Result<(), StoreError> {
        let left: Vec<String> = self.names().into_iter().filter(|name| owner::is_given_up(name)).collect();
        let deleting = stream::iter(left).map(|name| {
            let deleted = delete(name.clone());
            async move { deleted.await.map(|()| owner::is_gone(&name)) }
        });
        let mut deleting = std::pin::pin!(deleting.buffer_unordered(AT_ONCE));
        let mut all = Ok(());
        while let Some(deleted) = deleting.next().await {
            match deleted {
                // The others would fail like that, too.
                Err(error) if error.is_transient() => return Err(error),
                deleted => all = all.and(deleted),
            }
        }
        all
    }

    fn content(&self) -> MutexGuard<'_, Content> {
        self.0.content.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn names(&self) -> Vec<String> {
        let pieces = self.content().ends.len();
        (0..pieces).map(|piece| self.name_of(piece)).collect()
    }

    fn name_of(&self, piece: usize) -> String {
        owner::numbered(&self.0.name, piece as u32)
    }

    /// From now on there may be an object that ends there.
    fn may_end_at(&self, piece: usize, end: u64) {
        let mut content = self.content();
        if content.ends.len() == piece {
            content.ends.push(end);
        }
    }

    fn refuse(&self, kind: Kind, reason: impl Into<String>) -> StoreError {
        StoreError::remote(self.0.store.label(), Operation::Write, kind, reason)
    }
}

#[async_trait]
impl Sink for Draft {
    fn label(&self) -> String {
        self.0.store.label()
    }

    fn abilities(&self) -> Abilities {
        let abilities = self.0.store.abilities();
        let whole = Abilities { placement: Placement::Random, concurrency: 1, resumable: false, ..abilities };
        if self.0.in_pieces {
            Abilities { preferred: PIECE, needs_length: false, restarts: false, md5: false, ..whole }
        } else {
            whole
        }
    }

    async fn create(&self, _: &str, expected: Expected) -> Result<Box<dyn Upload>, StoreError> {
        let twice = |bytes: Option<u64>| bytes.map(|bytes| bytes.saturating_mul(2));
        let expected = Expected { about: expected.about, least: twice(expected.least), exact: None, resumable: false };
        let whole =
            if self.0.in_pieces { None } else { Some(Arc::from(self.0.store.create(&self.0.name, expected).await?)) };
        Ok(Box::new(DraftUpload { draft: self.clone(), under_way: Mutex::new(whole) }))
    }
}

#[async_trait]
impl Store for Draft {
    async fn resume(&self, _: &Session) -> Result<Option<Box<dyn Upload>>, StoreError> {
        Ok(None)
    }

    async fn list(&self) -> Result<Vec<Entry>, StoreError> {
        Ok(vec![self.as_entry()])
    }

    async fn entry(&self, _: &str) -> Result<Option<Entry>, StoreError> {
        Ok(Some(self.as_entry()))
    }

    async fn read(&self, _: &str, range: Range<u64>) -> Result<Bytes, StoreError> {
        let ends = self.content().ends.clone();
        let mut bytes = BytesMut::with_capacity((range.end - range.start) as usize);
        let mut begins = 0;
        for (piece, end) in ends.into_iter().enumerate() {
            let (from, to) = (range.start.max(begins), range.end.min(end));
            if from < to {
                let name = self.name_of(piece);
                let piece = self.0.store.read(&name, from - begins..to - begins).await?;
                if piece.len() as u64 != to - from {
                    let reason = format!("received {} bytes of {name} instead of {}", piece.len(), to - from);
                    return Err(self.refuse(Kind::Transient { retry_after: None }, reason));
                }
                bytes.extend_from_slice(&piece);
            }
            begins = end;
        }
        for (offset, corrected) in &self.content().corrections {
            let (from, to) = (range.start.max(*offset), range.end.min(offset + corrected.len() as u64));
            if from < to {
                bytes[(from - range.start) as usize..(to - range.start) as usize]
                    .copy_from_slice(&corrected[(from - offset) as usize..(to - offset) as usize]);
            }
        }
        Ok(bytes.freeze())
    }

    async fn delete(&self, _: &str) -> Result<(), StoreError> {
        Err(self.refuse(Kind::Invalid, "a draft is removed as a whole"))
    }

    async fn space(&self) -> Result<Option<u64>, StoreError> {
        self.0.store.space().await
    }

    async fn remove_abandoned(&self) -> Result<u32, StoreError> {
        Ok(0)
    }
}

/// A draft on its way.
struct DraftUpload {
    draft: Draft,
    /// Of the object that is being sent.
    under_way: Mutex<Option<Arc<dyn Upload>>>,
}

impl DraftUpload {
    fn under_way(&self) -> MutexGuard<'_, Option<Arc<dyn Upload>>> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends a part as an object of its own.
    async fn put_piece(&self, part: &Part) -> Result<(), StoreError> {
        let (index, length) = (part.index as usize, part.data.len());
        let (store, name) = (&self.draft.0.store, self.draft.name_of(index));
        self.draft.may_end_at(index, part.end());
        let upload: Arc<dyn Upload> = match store.create(&name, Expected::exactly(length)).await {
            Ok(upload) => Arc::from(upload),
            // An earlier attempt got so far, and its answer was lost.
            Err(error) if error.kind() == Some(Kind::Exists) => {
                return match store.entry(&name).await? {
                    Some(entry) if entry.size == length => Ok(()),
                    _ => Err(error),
                };
            }
            Err(error) => return Err(error),
        };
        *self.under_way() = Some(Arc::clone(&upload));
        let whole = Part { index: 0, offset: 0, total: Some(length), last: true, ..part.clone() };
        let sent = async {
            upload.put(&whole).await?;
            upload.commit(&Completed { length, parts: 1, md5: None }).await
        };
        if let Err(error) = sent.await {
            if upload.abort().await.is_err()
                && let Some(name) = upload.temporary()
            {
                owner::give_up(&name);
            }
            return Err(again(error));
        }
        *self.under_way() = None;
        Ok(())
    }
}

/// What is lost of one object is still in memory.
fn again(error: StoreError) -> StoreError {
    match error {
        StoreError::Remote(mut error) if error.kind == Kind::Lost => {
            error.kind = Kind::Transient { retry_after: None };
            StoreError::Remote(error)
        }
        other => other,
    }
}

#[async_trait]
impl Upload for DraftUpload {
    async fn put(&self, part: &Part) -> Result<(), StoreError> {
        let whole = self.under_way().clone().filter(|_| !self.draft.0.in_pieces);
        match whole {
            Some(whole) => whole.put(part).await,
            None if part.data.is_empty() => Ok(()),
            None => self.put_piece(part).await,
        }
    }

    async fn patch(&self, offset: u64, bytes: &[u8]) -> Result<(), StoreError> {
        self.draft.content().corrections.push((offset, Bytes::copy_from_slice(bytes)));
        Ok(())
    }

    async fn commit(&self, completed: &Completed) -> Result<Checked, StoreError> {
        let whole = self.under_way().clone().filter(|_| !self.draft.0.in_pieces);
        let Some(whole) = whole else { return Ok(Checked::Size) };
        self.draft.may_end_at(0, completed.length);
        whole.commit(completed).await
    }

    fn temporary(&self) -> Option<String> {
        self.under_way().as_ref().and_then(|upload| upload.temporary())
    }

    async fn abort(&self) -> Result<(), StoreError> {
        self.draft.give_up();
        let under_way = self.under_way().clone();
        if let Some(upload) = under_way {
            upload.abort().await?;
        }
        self.draft.clear(|name| async move { self.draft.0.store.delete(&name).await }).await
    }
}
