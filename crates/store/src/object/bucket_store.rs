//! A bucket, or the part of it below a prefix, as a [`Store`].

use std::{
    ops::Range,
    sync::{Arc, atomic::Ordering},
    time::SystemTime,
};

use async_trait::async_trait;
use bytes::Bytes;
use object_store::{ObjectStoreExt, path::Path};

use super::{
    abandoned::{self, Unsettled},
    bucket::{Bucket, described},
    claim::Claim,
    upload::{ObjectUpload, ResumeState},
    wire::Call,
};
use crate::{
    error::{Kind, Operation, StoreError},
    owner,
    store::{Abilities, Entry, Expected, Placement, Session, Sink, Store, Upload},
};

/// A bucket that keeps archives.
struct BucketStore {
    bucket: Bucket,
    preferred: u64,
    unsettled: Unsettled,
}

/// Makes contact with a bucket: one request that fails for every reason that later ones would (no connection, wrong
/// keys, no bucket).
pub(super) async fn open(bucket: Bucket, preferred: u64) -> Result<Arc<dyn Store>, StoreError> {
    bucket.objects(Operation::Connect).await?;
    Ok(Arc::new(BucketStore { bucket, preferred, unsettled: Unsettled::default() }))
}

impl BucketStore {
    /// The upload's id, and whether it has no claim.
    async fn begin(&self, key: &Path, claim: &mut Claim) -> Result<(String, bool), StoreError> {
        let id = self.bucket.multipart.begin(key, &claim.name).await?;
        claim.upload_id = Some(id.clone());
        let unclaimed = self.bucket.keeps_everything.load(Ordering::Relaxed);
        if !unclaimed {
            claim.write(&self.bucket).await?;
        }
        Ok((id, unclaimed))
    }
}

#[async_trait]
impl Sink for BucketStore {
    fn label(&self) -> String {
        self.bucket.wire.destination().to_owned()
    }

    fn abilities(&self) -> Abilities {
        Abilities {
            placement: Placement::Parts(self.bucket.multipart.rules()),
            multiple: 1,
            preferred: self.preferred,
            concurrency: crate::outbound::ALONE,
            needs_length: false,
            restarts: false,
            md5: false,
            resumable: true,
        }
    }

    async fn create(&self, name: &str, expected: Expected) -> Result<Box<dyn Upload>, StoreError> {
        let key = self.bucket.key(name, Operation::Create)?;
        if owner::is_temporary(name) {
            return Err(self.bucket.wire.error(
                Operation::Create,
                Kind::Invalid,
                format!("{name} is reserved for unfinished uploads"),
            ));
        }
        if self.bucket.look(name, Operation::Create).await?.is_some() {
            return Err(self.bucket.wire.error(Operation::Create, Kind::Exists, format!("{name} exists already")));
        }
        let (mut claim, now) = (Claim::new(&key, expected.resumable), SystemTime::now());
        match self.begin(&key, &mut claim).await {
            Ok((id, unclaimed)) => Ok(Box::new(ObjectUpload::new(
                self.bucket.clone(),
                self.unsettled.clone(),
                name,
                key,
                id,
                claim,
                unclaimed,
            ))),
            Err(error) => {
                self.unsettled.leave(claim, now);
                if !error.is_transient() {
                    self.unsettled.settle(&self.bucket).await;
                }
                Err(error)
            }
        }
    }

    fn notes(&self) -> Vec<String> {
        let kept = "this key may not delete: nobody can delete archives with it, but neither can prune and rm, and a \
            small hidden marker may stay behind";
        if self.bucket.keeps_everything.load(Ordering::Relaxed) { vec![kept.to_owned()] } else { Vec::new() }
    }

    fn store(self: Arc<Self>) -> Option<Arc<dyn Store>> {
        Some(self)
    }
}

#[async_trait]
impl Store for BucketStore {
    async fn resume(&self, session: &Session) -> Result<Option<Box<dyn Upload>>, StoreError> {
        let Some(state) = ResumeState::from_session(session) else { return Ok(None) };
        let upload = ObjectUpload::resume(self.bucket.clone(), self.unsettled.clone(), state).await?;
        Ok(upload.map(|upload| Box::new(upload) as Box<dyn Upload>))
    }

    async fn list(&self) -> Result<Vec<Entry>, StoreError> {
        let found = self.bucket.objects(Operation::List).await?;
        Ok(found
            .into_iter()
            .filter(|(name, _)| !owner::is_temporary(name))
            .map(|(name, meta)| described(name, &meta))
            .collect())
    }

    async fn entry(&self, name: &str) -> Result<Option<Entry>, StoreError> {
        Ok(self.bucket.look(name, Operation::Read).await?.map(|found| found.entry))
    }

    async fn read(&self, name: &str, range: Range<u64>) -> Result<Bytes, StoreError> {
        if range.is_empty() {
            return Ok(Bytes::new());
        }
        let key = self.bucket.key(name, Operation::Read)?;
        let bytes = self
            .bucket
            .wire
            .ask(Call::new(Operation::Read), self.bucket.objects.get_range(&key, range.clone()))
            .await?;
        if bytes.len() as u64 != range.end - range.start {
            let reason = format!("received {} bytes instead of {}", bytes.len(), range.end - range.start);
            return Err(self.bucket.wire.error(Operation::Read, Kind::Protocol, reason));
        }
        Ok(bytes)
    }

    async fn delete(&self, name: &str) -> Result<(), StoreError> {
        self.bucket.remove(name).await
    }

    async fn space(&self) -> Result<Option<u64>, StoreError> {
        Ok(None)
    }

    async fn remove_abandoned(&self) -> Result<u32, StoreError> {
        abandoned::remove(&self.bucket).await
    }

    fn append_only(&self) -> bool {
        self.bucket.keeps_everything.load(Ordering::Relaxed)
    }

    async fn remarks(&self) -> Vec<String> {
        let mut remarks = Vec::new();
        // Keys that may only store archives often may not ask this.
        if self.bucket.multipart.keeps_versions().await.unwrap_or(false) {
            remarks.push(
                "the bucket keeps versions: removed archives stay there as old versions, and you pay for them, until a \
                 lifecycle rule removes them \
                 (NoncurrentVersionExpiration; at Backblaze, \"Keep only the last version\")"
                    .to_owned(),
            );
        }
        remarks
    }
}
