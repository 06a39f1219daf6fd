//! One upload into a bucket: its parts, the moment it gets its name, and what another process needs to continue.

use std::{
    collections::BTreeMap,
    ops::Range,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::{Duration, SystemTime},
};

use async_trait::async_trait;
use object_store::path::Path;
use serde::{Deserialize, Serialize};

use super::{
    abandoned::Unsettled,
    bucket::{Bucket, Found},
    claim::Claim,
    multipart::{Arrived, bare, digest, is_md5, whole_tag},
};
use crate::{
    error::{Kind, Operation, StoreError},
    parts::Part,
    store::{Checked, Completed, Session, Upload},
};

/// How often to look for an object that must be there before the store's word for it has to do. Pauses grow in between.
const LOOKS: u32 = 6;
/// A claim of this age counts as fresh for some days more.
const FRESH: Duration = Duration::from_hours(24);

/// What a session holds.
#[derive(Serialize, Deserialize)]
pub(super) struct ResumeState {
    name: String,
    upload_id: String,
    /// Name of the claim, which is also the object's mark.
    claim: String,
    /// There is no claim: the key could not remove it.
    #[serde(default)]
    unclaimed: bool,
    parts: Vec<Done>,
}

impl ResumeState {
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
    bucket: Bucket,
    unsettled: Unsettled,
    name: String,
    key: Path,
    id: String,
    claim: Claim,
    // The claim is a mark only, and no object.
    unclaimed: bool,
    parts: Mutex<BTreeMap<u32, Done>>,
    kept: Vec<Range<u64>>,
    // The object may be there, whatever the answer was.
    tried: AtomicBool,
    // The store confirmed that it is there.
    completed: AtomicBool,
    // How often it was not seen all the same.
    unseen: AtomicU32,
    // It is there, and was compared.
    checked: Mutex<Option<Checked>>,
}

impl ObjectUpload {
    pub(super) fn new(
        bucket: Bucket,
        unsettled: Unsettled,
        name: &str,
        key: Path,
        id: String,
        claim: Claim,
        unclaimed: bool,
    ) -> Self {
        Self {
            bucket,
            unsettled,
            name: name.to_owned(),
            key,
            id,
            claim,
            unclaimed,
            parts: Mutex::default(),
            kept: Vec::new(),
            tried: AtomicBool::new(false),
            completed: AtomicBool::new(false),
            unseen: AtomicU32::new(0),
            checked: Mutex::default(),
        }
    }

    /// Takes over what another process left, if the store still has it.
    pub(super) async fn resume(
        bucket: Bucket,
        unsettled: Unsettled,
        state: ResumeState,
    ) -> Result<Option<Self>, StoreError> {
        let key = bucket.key(&state.name, Operation::Create)?;
        // A run that died after its last word to the store may have finished without knowing.
        let finished = bucket
            .look(&state.name, Operation::Create)
            .await?
            .is_some_and(|found| found.mark.as_ref() == Some(&state.claim));
        // Whoever ended it removed its claim.
        let claimed =
            if finished || state.unclaimed { None } else { bucket.look(&state.claim, Operation::Create).await? };
        if !finished && !state.unclaimed && claimed.is_none() {
            return Ok(None);
        }
        let there = match bucket.multipart.parts(&key, &state.upload_id).await {
            _ if finished => None,
            Ok(there) => Some(there),
            Err(error) if matches!(error.kind(), Some(Kind::Lost | Kind::NotFound)) => return Ok(None),
            // It does not say: try what the session says, and let commit compare.
            Err(error) if matches!(error.kind(), Some(Kind::Protocol | Kind::Permission)) => None,
            Err(error) => return Err(error),
        };
        let is_there = |done: &Done| {
            let same = |(index, tag, size): &(u32, String, u64)| {
                *index == done.index && bare(tag) == bare(&done.tag) && *size == done.length
            };
            there.as_ref().is_none_or(|there| there.iter().any(same))
        };
        let mut parts: Vec<Done> = state.parts.into_iter().filter(is_there).collect();
        parts.sort_by_key(|part| part.offset);
        parts.dedup_by_key(|part| part.index);
        let kept = parts.iter().map(|part| part.offset..part.offset + part.length).collect();
        let claim = Claim { name: state.claim, key: key.as_ref().to_owned(), upload_id: Some(state.upload_id.clone()) };
        let age = claimed.and_then(|found| SystemTime::now().duration_since(found.entry.modified?).ok());
        if age.is_some_and(|age| age > FRESH) {
            claim.write(&bucket).await?;
        }
        let mut upload = Self::new(bucket, unsettled, &state.name, key, state.upload_id, claim, state.unclaimed);
        upload.kept = kept;
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
        self.bucket.wire.error(operation, kind, reason)
    }

    /// The object under the final name, if it is this upload's.
    async fn own(&self) -> Result<Option<Found>, StoreError> {
        match self.bucket.look(&self.name, Operation::Publish).await? {
            Some(found) if found.mark.as_ref() == Some(&self.claim.name) => Ok(Some(found)),
            Some(_) => Err(self.taken()),
            None => Ok(None),
        }
    }

    /// Gives the object its name, even if an earlier attempt already did and its answer was lost. `None`: the store
    /// confirms that it is there, and does not show it.
    async fn publish(&self, parts: &[Arrived]) -> Result<Option<Found>, StoreError> {
        if self.completed.load(Ordering::Relaxed) {
            return self.completed_one().await;
        }
        if let Some(found) = self.own().await? {
            return Ok(Some(found));
        }
        let echoes = self.tried.swap(true, Ordering::Relaxed);
        let finished = self.bucket.multipart.finish(&self.key, &self.id, &self.claim.name, parts).await;
        match finished {
            // A refusal may be the echo of a success: the upload is gone because it is an object now, which some stores
            // show a little later.
            Err(error) if !error.is_transient() => match self.own().await? {
                Some(found) => Ok(Some(found)),
                None if echoes
                    && error.kind() == Some(Kind::Lost)
                    && self.unseen.fetch_add(1, Ordering::Relaxed) < LOOKS =>
                {
                    Err(self.not_seen_yet())
                }
                None => Err(error),
            },
            Err(error) => Err(error),
            Ok(()) => {
                self.completed.store(true, Ordering::Relaxed);
                self.completed_one().await
            }
        }
    }

    /// The object that the store has put together for us. Some show it a little later, and some lose its mark; nobody
    /// else can have put it there.
    async fn completed_one(&self) -> Result<Option<Found>, StoreError> {
        let found = self.bucket.look(&self.name, Operation::Publish).await?;
        match found {
            Some(found) if found.mark.as_ref().is_some_and(|mark| *mark != self.claim.name) => Err(self.taken()),
            None if self.unseen.fetch_add(1, Ordering::Relaxed) < LOOKS => Err(self.not_seen_yet()),
            found => Ok(found),
        }
    }

    fn not_seen_yet(&self) -> StoreError {
        self.error(Operation::Check, Kind::Transient { retry_after: None }, "the archive is not visible yet")
    }

    fn taken(&self) -> StoreError {
        self.error(Operation::Publish, Kind::Exists, format!("{} exists already", self.name))
    }

    /// What the arrived object was compared by, or why it is not what was sent.
    fn compare(found: &Found, completed: &Completed, parts: &[Arrived]) -> Result<Checked, String> {
        if found.size != completed.length {
            return Err(format!("{} bytes arrived instead of {}", found.size, completed.length));
        }
        if parts.is_empty() {
            return Ok(Checked::Size);
        }
        let proven = parts.iter().filter(|part| part.proven).count();
        if proven < parts.len() {
            let odd = parts.iter().position(|part| !part.proven && is_md5(&part.tag));
            // Where no checksum is ours, the store's tags are something else; where some are, all must be.
            return match odd {
                Some(index) if proven > 0 => {
                    Err(format!("the checksum of part {} differs from that of the data sent", index + 1))
                }
                _ => Ok(Checked::Size),
            };
        }
        let tag = found.tag.as_deref().map(bare).unwrap_or_default().to_lowercase();
        let follows_the_rule = tag.split_once('-').is_some_and(|(md5, count)| is_md5(md5) && !count.is_empty());
        match whole_tag(parts) {
            Some(expected) if follows_the_rule && tag != expected => {
                Err("the checksum of the archive differs from that of the data sent".to_owned())
            }
            _ => Ok(Checked::PartChecksums),
        }
    }

    fn arrived(&self, completed: &Completed) -> Result<Vec<Arrived>, StoreError> {
        let parts = self.parts();
        let complete = (0..completed.parts)
            .map(|index| parts.get(&index).map(|part| Arrived { tag: part.tag.clone(), proven: part.proven }))
            .collect();
        let complete: Option<Vec<Arrived>> = complete;
        let length: u64 = parts.range(..completed.parts).map(|(_, part)| part.length).sum();
        let complete = complete
            .ok_or_else(|| self.error(Operation::Publish, Kind::Lost, "some of the archive's parts are missing"))?;
        if length != completed.length {
            let reason = format!("{length} bytes were sent instead of {}", completed.length);
            return Err(self.error(Operation::Check, Kind::Mismatch, reason));
        }
        Ok(complete)
    }

    async fn release(&self) -> Result<(), StoreError> {
        if !self.unclaimed {
            self.claim.remove(&self.bucket).await?;
        }
        self.unsettled.settle(&self.bucket).await;
        Ok(())
    }
}

#[async_trait]
impl Upload for ObjectUpload {
    async fn put(&self, part: &Part) -> Result<(), StoreError> {
        let data = part.data.clone();
        let md5 = tokio::task::spawn_blocking(move || digest(&data)).await;
        let md5 = md5.map_err(|_| {
            self.error(Operation::Write, Kind::Transient { retry_after: None }, "the program is ending")
        })?;
        let arrived = self.bucket.multipart.put(&self.key, &self.id, part, md5).await?;
        let mut parts = self.parts();
        if !arrived.proven && is_md5(&arrived.tag) && parts.values().any(|part| part.proven) {
            let reason = format!("part {} arrived damaged", part.index + 1);
            return Err(self.error(Operation::Write, Kind::Transient { retry_after: None }, reason));
        }
        let done = Done {
            index: part.index,
            offset: part.offset,
            length: part.data.len(),
            tag: arrived.tag,
            proven: arrived.proven,
        };
        parts.insert(part.index, done);
        Ok(())
    }

    async fn patch(&self, _: u64, _: &[u8]) -> Result<(), StoreError> {
        Err(self.error(Operation::Write, Kind::Protocol, "bytes already sent can't be changed"))
    }

    async fn commit(&self, completed: &Completed) -> Result<Checked, StoreError> {
        let earlier = *self.checked();
        let checked = if let Some(checked) = earlier {
            checked
        } else {
            let parts = self.arrived(completed)?;
            match self.publish(&parts).await?.map(|found| Self::compare(&found, completed, &parts)) {
                Some(Ok(checked)) => checked,
                None if parts.iter().all(|part| part.proven) => Checked::PartChecksums,
                None => Checked::Size,
                Some(Err(reason)) => {
                    let reason = match self.bucket.remove(&self.name).await {
                        Err(error) if error.kind() == Some(Kind::Permission) => {
                            format!("{reason}, and this key may not remove it")
                        }
                        done => done.map(|()| reason)?,
                    };
                    self.release().await?;
                    return Err(self.error(Operation::Check, Kind::Mismatch, reason));
                }
            }
        };
        *self.checked() = Some(checked);
        self.release().await?;
        Ok(checked)
    }

    fn temporary(&self) -> Option<String> {
        Some(self.claim.name.clone())
    }

    async fn abort(&self) -> Result<(), StoreError> {
        if self.checked().is_none() {
            // A commit whose answer was lost may have succeeded after all.
            if self.tried.load(Ordering::Relaxed)
                && self
                    .bucket
                    .look(&self.name, Operation::Delete)
                    .await?
                    .is_some_and(|found| found.mark.as_ref() == Some(&self.claim.name))
            {
                self.bucket.remove(&self.name).await?;
            }
            self.bucket.multipart.cancel(&self.key, &self.id).await?;
        }
        self.release().await
    }

    fn session(&self) -> Option<Session> {
        let state = ResumeState {
            name: self.name.clone(),
            upload_id: self.id.clone(),
            claim: self.claim.name.clone(),
            unclaimed: self.unclaimed,
            parts: self.parts().values().cloned().collect(),
        };
        serde_json::to_value(state).ok().map(Session)
    }

    fn kept(&self) -> Vec<Range<u64>> {
        self.kept.clone()
    }
}
