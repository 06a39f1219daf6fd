//! A bucket, or the part of it below a prefix, as a [`Store`].

use std::{
    ops::Range,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::SystemTime,
};

use async_trait::async_trait;
use bytes::Bytes;
use object_store::{Attribute, GetOptions, ObjectMeta, ObjectStore, ObjectStoreExt, path::Path};

use super::{
    claim::Claim,
    multipart::{MARK, Multipart},
    sweep,
    upload::{Memory, ObjectUpload},
    wire::{Call, Wire},
};
use crate::{
    context::invalid,
    error::{Kind, Operation, StoreError},
    owner,
    store::{Abilities, Entry, Expected, Placement, Session, Sink, Store, Upload},
};

/// What all uploads of a place share. Cheap to clone.
#[derive(Clone)]
pub(super) struct Place {
    pub(super) wire: Wire,
    pub(super) objects: Arc<dyn ObjectStore>,
    pub(super) multipart: Arc<dyn Multipart>,
    /// Without slashes at its ends; may be empty.
    pub(super) prefix: String,
    pub(super) preferred: u64,
    /// Claims of uploads of which nobody knows whether they were begun, each with when it was tried, by our clock.
    pub(super) unsettled: Arc<Mutex<Vec<(Claim, SystemTime)>>>,
    /// The key may not delete, as was seen when it should have.
    pub(super) keeps_everything: Arc<AtomicBool>,
}

/// An object as the store knows it.
pub(super) struct Found {
    pub(super) size: u64,
    pub(super) tag: Option<String>,
    /// The mark of the upload that made it.
    pub(super) mark: Option<String>,
    pub(super) entry: Entry,
}

impl Place {
    pub(super) fn key(&self, name: &str, operation: Operation) -> Result<Path, StoreError> {
        if name.is_empty() || name.contains('/') || name == "." || name == ".." {
            return Err(self.wire.error(operation, Kind::Invalid, format!("{name:?} is no name for an archive")));
        }
        let text = if self.prefix.is_empty() { name.to_owned() } else { format!("{}/{name}", self.prefix) };
        Path::parse(text).map_err(|_| self.wire.error(operation, Kind::Invalid, format!("{name:?} can't be a name there")))
    }

    /// One request that fails for every reason that later ones would: no connection, wrong keys, no bucket.
    pub(super) async fn greet(&self) -> Result<(), StoreError> {
        self.objects(Operation::Connect).await.map(drop)
    }

    /// Everything right below the prefix, unfinished things included.
    pub(super) async fn objects(&self, operation: Operation) -> Result<Vec<(String, ObjectMeta)>, StoreError> {
        let prefix = (!self.prefix.is_empty()).then(|| Path::parse(&self.prefix)).transpose();
        let prefix = prefix.map_err(|_| invalid(self.wire.place(), "the path can't be a prefix there"))?;
        let found = self.wire.ask(Call::new(operation), self.objects.list_with_delimiter(prefix.as_ref())).await?;
        let name = |meta: &ObjectMeta| {
            let key = meta.location.as_ref();
            let name = if self.prefix.is_empty() { key } else { key.strip_prefix(&self.prefix)?.strip_prefix('/')? };
            (!name.is_empty() && !name.contains('/')).then(|| name.to_owned())
        };
        Ok(found.objects.into_iter().filter_map(|meta| Some((name(&meta)?, meta))).collect())
    }

    pub(super) async fn look(&self, name: &str, operation: Operation) -> Result<Option<Found>, StoreError> {
        let key = self.key(name, operation)?;
        let options = GetOptions { head: true, ..GetOptions::default() };
        match self.wire.ask(Call::new(operation), self.objects.get_opts(&key, options)).await {
            Ok(found) => Ok(Some(Found {
                size: found.meta.size,
                tag: found.meta.e_tag.clone(),
                mark: found.attributes.get(&Attribute::Metadata(MARK.into())).map(|mark| mark.as_ref().to_owned()),
                entry: described(name.to_owned(), &found.meta),
            })),
            Err(error) if error.kind() == Some(Kind::NotFound) => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(super) async fn remove(&self, name: &str) -> Result<(), StoreError> {
        let key = self.key(name, Operation::Delete)?;
        match self.multipart.remove(&key).await {
            Err(error) if error.kind() == Some(Kind::NotFound) => Ok(()),
            Err(error) if error.kind() == Some(Kind::Permission) => {
                self.keeps_everything.store(true, Ordering::Relaxed);
                Err(error)
            }
            done => done,
        }
    }

    /// Remembers a claim whose upload may have been begun without our knowing.
    fn leave(&self, claim: Claim, tried: SystemTime) {
        self.unsettled.lock().unwrap_or_else(PoisonError::into_inner).push((claim, tried));
    }

    /// Removes what lost answers left. Does what it can: the rest is the next sweep's.
    pub(super) async fn settle(&self) {
        let claims = std::mem::take(&mut *self.unsettled.lock().unwrap_or_else(PoisonError::into_inner));
        if !claims.is_empty() && sweep::settle(self, &claims).await.is_err() {
            self.unsettled.lock().unwrap_or_else(PoisonError::into_inner).extend(claims);
        }
    }

    /// The upload's id, and whether it has no claim.
    async fn begin(&self, key: &Path, claim: &mut Claim) -> Result<(String, bool), StoreError> {
        let id = self.multipart.begin(key, &claim.name).await?;
        claim.upload_id = Some(id.clone());
        let unclaimed = self.keeps_everything.load(Ordering::Relaxed);
        if !unclaimed {
            claim.write(self).await?;
        }
        Ok((id, unclaimed))
    }
}

fn described(name: String, meta: &ObjectMeta) -> Entry {
    Entry { name, size: meta.size, modified: Some(meta.last_modified.into()), link: false }
}

#[async_trait]
impl Sink for Place {
    fn label(&self) -> String {
        self.wire.place().to_owned()
    }

    fn abilities(&self) -> Abilities {
        Abilities {
            placement: Placement::Parts(self.multipart.rules()),
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
        let key = self.key(name, Operation::Create)?;
        if owner::is_temporary(name) {
            return Err(self.wire.error(Operation::Create, Kind::Invalid, format!("{name} is kept for what is unfinished")));
        }
        if self.look(name, Operation::Create).await?.is_some() {
            return Err(self.wire.error(Operation::Create, Kind::Exists, format!("{name} exists already")));
        }
        let (mut claim, now) = (Claim::new(&key, expected.resumable), SystemTime::now());
        match self.begin(&key, &mut claim).await {
            Ok((id, unclaimed)) => Ok(Box::new(ObjectUpload::new(self.clone(), name, key, id, claim, unclaimed))),
            Err(error) => {
                self.leave(claim, now);
                if !error.is_passing() {
                    self.settle().await;
                }
                Err(error)
            }
        }
    }

    fn notes(&self) -> Vec<String> {
        let kept =
            "this key may not delete: the archives are safe from it, but neither prune nor rm can remove any, and a hidden marker of some bytes may stay";
        if self.keeps_everything.load(Ordering::Relaxed) { vec![kept.to_owned()] } else { Vec::new() }
    }

    fn store(self: Arc<Self>) -> Option<Arc<dyn Store>> {
        Some(self)
    }
}

#[async_trait]
impl Store for Place {
    async fn resume(&self, session: &Session) -> Result<Option<Box<dyn Upload>>, StoreError> {
        let Some(memory) = Memory::from_session(session) else { return Ok(None) };
        let upload = ObjectUpload::resume(self.clone(), memory).await?;
        Ok(upload.map(|upload| Box::new(upload) as Box<dyn Upload>))
    }

    async fn list(&self) -> Result<Vec<Entry>, StoreError> {
        let found = self.objects(Operation::List).await?;
        Ok(found.into_iter().filter(|(name, _)| !owner::is_temporary(name)).map(|(name, meta)| described(name, &meta)).collect())
    }

    async fn entry(&self, name: &str) -> Result<Option<Entry>, StoreError> {
        Ok(self.look(name, Operation::Read).await?.map(|found| found.entry))
    }

    async fn read(&self, name: &str, range: Range<u64>) -> Result<Bytes, StoreError> {
        if range.is_empty() {
            return Ok(Bytes::new());
        }
        let key = self.key(name, Operation::Read)?;
        let bytes = self.wire.ask(Call::new(Operation::Read), self.objects.get_range(&key, range.clone())).await?;
        if bytes.len() as u64 != range.end - range.start {
            let reason = format!("{} bytes came instead of {}", bytes.len(), range.end - range.start);
            return Err(self.wire.error(Operation::Read, Kind::Protocol, reason));
        }
        Ok(bytes)
    }

    async fn delete(&self, name: &str) -> Result<(), StoreError> {
        self.remove(name).await
    }

    async fn space(&self) -> Result<Option<u64>, StoreError> {
        Ok(None)
    }

    async fn sweep(&self) -> Result<u32, StoreError> {
        sweep::sweep(self).await
    }

    fn append_only(&self) -> bool {
        self.keeps_everything.load(Ordering::Relaxed)
    }

    async fn remarks(&self) -> Vec<String> {
        let mut remarks = Vec::new();
        // Keys that may only store archives are often not told.
        if self.multipart.keeps_versions().await.unwrap_or(false) {
            remarks.push(
                "the bucket keeps versions: removed archives stay there as old versions, and are paid for, until a lifecycle rule removes them \
                 (NoncurrentVersionExpiration; at Backblaze, \"Keep only the last version\")"
                    .to_owned(),
            );
        }
        remarks
    }
}
