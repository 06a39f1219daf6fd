//! One archive on its way into a bucket: its parts, the moment it gets its name, and what another process needs to go on.

use std::{
    collections::BTreeMap,
    ops::Range,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use async_trait::async_trait;
use object_store::path::Path;
use serde::{Deserialize, Serialize};

use super::{
    claim::Claim,
    multipart::{Arrived, bare, digest, is_md5, whole_tag},
    place::{Found, Place},
};
use crate::{
    error::{Kind, Operation, StoreError},
    parts::Part,
    store::{Checked, Sealed, Session, Upload},
};

/// What a session holds.
#[derive(Serialize, Deserialize)]
pub(super) struct Memory {
    name: String,
    upload_id: String,
    /// Name of the claim, which is also the object's mark.
    claim: String,
    parts: Vec<Done>,
}

impl Memory {
    pub(super) fn from_session(session: &Session) -> Option<Self> {
        serde_json::from_value(session.0.clone()).ok()
    }
}

/// A part that is there.
#[derive(Clone, Serialize, Deserialize)]
struct Done {
    index: u32,
    offset: u64,
    length: u64,
    tag: String,
    proven: bool,
}

pub(super) struct ObjectUpload {
    place: Place,
    name: String,
    key: Path,
    id: String,
    claim: Claim,
    parts: Mutex<BTreeMap<u32, Done>>,
    kept: Vec<Range<u64>>,
    // The object may be there, whatever the answer was.
    tried: AtomicBool,
    // It is there, and was compared.
    checked: Mutex<Option<Checked>>,
}

impl ObjectUpload {
    pub(super) fn new(place: Place, name: &str, key: Path, id: String, claim: Claim, kept: Vec<Range<u64>>) -> Self {
        Self { place, name: name.to_owned(), key, id, claim, parts: Mutex::default(), kept, tried: AtomicBool::new(false), checked: Mutex::default() }
    }

    /// Takes over what another process left, if the store still has it.
    pub(super) async fn resume(place: Place, memory: Memory) -> Result<Option<Self>, StoreError> {
        let key = place.key(&memory.name, Operation::Create)?;
        // A run that died after its last word to the store may have finished without knowing.
        let finished = place.look(&memory.name, Operation::Create).await?.is_some_and(|found| found.mark.as_ref() == Some(&memory.claim));
        // Whoever ended it, took its claim away.
        if !finished && place.look(&memory.claim, Operation::Create).await?.is_none() {
            return Ok(None);
        }
        let there = match place.multipart.parts(&key, &memory.upload_id).await {
            _ if finished => None,
            Ok(there) => Some(there),
            Err(error) if matches!(error.kind(), Some(Kind::Lost | Kind::NotFound)) => return Ok(None),
            // It won't tell: what the session says is tried, and commit compares.
            Err(error) if matches!(error.kind(), Some(Kind::Protocol | Kind::Permission)) => None,
            Err(error) => return Err(error),
        };
        let is_there = |done: &Done| {
            let same = |(index, tag, size): &(u32, String, u64)| *index == done.index && bare(tag) == bare(&done.tag) && *size == done.length;
            there.as_ref().is_none_or(|there| there.iter().any(same))
        };
        let mut parts: Vec<Done> = memory.parts.into_iter().filter(is_there).collect();
        parts.sort_by_key(|part| part.offset);
        parts.dedup_by_key(|part| part.index);
        let kept = parts.iter().map(|part| part.offset..part.offset + part.length).collect();
        let claim = Claim { name: memory.claim, key: key.as_ref().to_owned(), upload_id: Some(memory.upload_id.clone()) };
        // Written anew, it is fresh again.
        claim.write(&place).await?;
        let mut upload = Self::new(place, &memory.name, key, memory.upload_id, claim, kept);
        upload.parts = Mutex::new(parts.into_iter().map(|part| (part.index, part)).collect());
        Ok(Some(upload))
    }

    fn parts(&self) -> MutexGuard<'_, BTreeMap<u32, Done>> {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn checked(&self) -> MutexGuard<'_, Option<Checked>> {
        self.checked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn error(&self, operation: Operation, kind: Kind, reason: impl Into<String>) -> StoreError {
        self.place.wire.error(operation, kind, reason)
    }

    /// The object under the final name, if it is this upload's.
    async fn own(&self) -> Result<Option<Found>, StoreError> {
        match self.place.look(&self.name, Operation::Publish).await? {
            Some(found) if found.mark.as_ref() == Some(&self.claim.name) => Ok(Some(found)),
            Some(_) => Err(self.error(Operation::Publish, Kind::Exists, format!("{} exists already", self.name))),
            None => Ok(None),
        }
    }

    /// Gives the object its name, also when an earlier try already did and nobody heard the answer.
    async fn publish(&self, parts: &[Arrived]) -> Result<Found, StoreError> {
        if let Some(found) = self.own().await? {
            return Ok(found);
        }
        self.tried.store(true, Ordering::Relaxed);
        let finished = self.place.multipart.finish(&self.key, &self.id, &self.claim.name, parts).await;
        match finished {
            // A refusal may be the echo of a success: the upload is gone because it is an object now.
            Err(error) if !error.is_passing() => self.own().await?.ok_or(error),
            Err(error) => Err(error),
            Ok(()) => {
                let missing = || self.error(Operation::Check, Kind::Passing { retry_after: None }, "the archive can't be seen yet");
                self.own().await?.ok_or_else(missing)
            }
        }
    }

    /// What the arrived object was compared by, or why it is not what was sent.
    fn compare(found: &Found, sealed: &Sealed, parts: &[Arrived]) -> Result<Checked, String> {
        if found.size != sealed.length {
            return Err(format!("{} bytes arrived instead of {}", found.size, sealed.length));
        }
        if parts.is_empty() {
            return Ok(Checked::Size);
        }
        let proven = parts.iter().filter(|part| part.proven).count();
        if proven < parts.len() {
            let odd = parts.iter().position(|part| !part.proven && is_md5(&part.tag));
            // Where no checksum is ours, the store's tags are something else; where some are, all must be.
            return match odd {
                Some(index) if proven > 0 => Err(format!("part {} has another checksum there than here", index + 1)),
                _ => Ok(Checked::Size),
            };
        }
        let tag = found.tag.as_deref().map(bare).unwrap_or_default().to_lowercase();
        let follows_the_rule = tag.split_once('-').is_some_and(|(md5, count)| is_md5(md5) && !count.is_empty());
        match whole_tag(parts) {
            Some(expected) if follows_the_rule && tag != expected => Err("the whole has another checksum there than here".to_owned()),
            _ => Ok(Checked::PartChecksums),
        }
    }

    fn arrived(&self, sealed: &Sealed) -> Result<Vec<Arrived>, StoreError> {
        let parts = self.parts();
        let complete = (0..sealed.parts).map(|index| parts.get(&index).map(|part| Arrived { tag: part.tag.clone(), proven: part.proven })).collect();
        let complete: Option<Vec<Arrived>> = complete;
        let length: u64 = parts.range(..sealed.parts).map(|(_, part)| part.length).sum();
        let complete = complete.ok_or_else(|| self.error(Operation::Publish, Kind::Lost, "not all of the archive's parts are there"))?;
        if length != sealed.length {
            let reason = format!("{length} bytes were sent instead of {}", sealed.length);
            return Err(self.error(Operation::Check, Kind::Mismatch, reason));
        }
        Ok(complete)
    }

    async fn release(&self) -> Result<(), StoreError> {
        self.place.remove(&self.claim.name).await?;
        self.place.settle().await;
        Ok(())
    }
}

#[async_trait]
impl Upload for ObjectUpload {
    async fn put(&self, part: &Part) -> Result<(), StoreError> {
        let data = part.data.clone();
        let md5 = tokio::task::spawn_blocking(move || digest(&data)).await;
        let md5 = md5.map_err(|_| self.error(Operation::Write, Kind::Passing { retry_after: None }, "the program is ending"))?;
        let arrived = self.place.multipart.put(&self.key, &self.id, part, md5).await?;
        let mut parts = self.parts();
        if !arrived.proven && is_md5(&arrived.tag) && parts.values().any(|part| part.proven) {
            let reason = format!("part {} arrived damaged", part.index + 1);
            return Err(self.error(Operation::Write, Kind::Passing { retry_after: None }, reason));
        }
        let done = Done { index: part.index, offset: part.offset, length: part.data.len(), tag: arrived.tag, proven: arrived.proven };
        parts.insert(part.index, done);
        Ok(())
    }

    async fn patch(&self, _: u64, _: &[u8]) -> Result<(), StoreError> {
        Err(self.error(Operation::Write, Kind::Protocol, "what was put can't be changed there"))
    }

    async fn commit(&self, sealed: &Sealed) -> Result<Checked, StoreError> {
        let earlier = *self.checked();
        let checked = if let Some(checked) = earlier {
            checked
        } else {
            let parts = self.arrived(sealed)?;
            let found = self.publish(&parts).await?;
            match Self::compare(&found, sealed, &parts) {
                Ok(checked) => checked,
                Err(reason) => {
                    self.place.remove(&self.name).await?;
                    self.release().await?;
                    return Err(self.error(Operation::Check, Kind::Mismatch, reason));
                }
            }
        };
        *self.checked() = Some(checked);
        self.release().await?;
        Ok(checked)
    }

    async fn abort(&self) -> Result<(), StoreError> {
        if self.checked().is_none() {
            // A commit whose answer was lost may have succeeded after all.
            if self.tried.load(Ordering::Relaxed)
                && self.place.look(&self.name, Operation::Delete).await?.is_some_and(|found| found.mark.as_ref() == Some(&self.claim.name))
            {
                self.place.remove(&self.name).await?;
            }
            self.place.multipart.cancel(&self.key, &self.id).await?;
        }
        self.release().await
    }

    fn session(&self) -> Option<Session> {
        let memory =
            Memory { name: self.name.clone(), upload_id: self.id.clone(), claim: self.claim.name.clone(), parts: self.parts().values().cloned().collect() };
        serde_json::to_value(memory).ok().map(Session)
    }

    fn kept(&self) -> Vec<Range<u64>> {
        self.kept.clone()
    }
}
