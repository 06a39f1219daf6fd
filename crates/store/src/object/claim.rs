//! Claims: tiny objects that say whose an unfinished upload is, because the store itself only knows that there is one.
//!
//! A claim's name is a temporary one (`owner`), its content the key and the upload. It is written once, as soon as the
//! upload has begun, and removed after it has ended, so the next run can find from the claim whatever a killed run
//! left. Buckets that keep versions keep each of them: it is not rewritten without need.
//!
//! A key that may not delete could not remove claims. As soon as that is known, none are made any more.

use object_store::{ObjectStore, ObjectStoreExt, PutOptions, path::Path};
use serde::{Deserialize, Serialize};

use super::{bucket::Bucket, wire::Call};
use crate::{
    error::{Kind, Operation, StoreError},
    owner,
};

/// A claim is a few hundred bytes.
const LONGEST: u64 = 16 << 10;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Claim {
    /// Its own name.
    #[serde(skip)]
    pub(super) name: String,
    /// The key of the object.
    pub(super) key: String,
    /// The store's name of the upload, once it has begun.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) upload_id: Option<String>,
}

impl Claim {
    pub(super) fn new(key: &Path, resumable: bool) -> Self {
        // What another process may continue outlives the one that began it.
        let name = if resumable { owner::lasting_name() } else { owner::temporary_name() };
        Self { name, key: key.as_ref().to_owned(), upload_id: None }
    }

    /// Removes it, if that is allowed.
    pub(super) async fn remove(&self, bucket: &Bucket) -> Result<(), StoreError> {
        match bucket.remove(&self.name).await {
            Err(error) if error.kind() == Some(Kind::Permission) => Ok(()),
            done => done,
        }
    }

    /// Writes it, or rewrites it.
    pub(super) async fn write(&self, bucket: &Bucket) -> Result<(), StoreError> {
        let text = serde_json::to_vec(self).unwrap_or_default();
        let key = bucket.key(&self.name, Operation::Create)?;
        let call = Call::new(Operation::Create).with_headers(bucket.multipart.checksum(&text));
        bucket.wire.ask(call, bucket.objects.put_opts(&key, text.into(), PutOptions::default())).await?;
        Ok(())
    }

    /// `None`: it is gone, or nobody's.
    pub(super) async fn read(bucket: &Bucket, name: &str, size: u64) -> Result<Option<Self>, StoreError> {
        if size > LONGEST {
            return Ok(None);
        }
        let key = bucket.key(name, Operation::Read)?;
        let work = async { bucket.objects.get(&key).await?.bytes().await };
        match bucket.wire.ask(Call::new(Operation::Read), work).await {
            Ok(text) => {
                Ok(serde_json::from_slice::<Self>(&text).ok().map(|claim| Self { name: name.to_owned(), ..claim }))
            }
            Err(error) if error.kind() == Some(Kind::NotFound) => Ok(None),
            Err(error) => Err(error),
        }
    }
}
