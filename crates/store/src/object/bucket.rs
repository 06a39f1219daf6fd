//! The objects of a bucket, or of the part of it below a prefix: finds, reads and removes them by name.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use object_store::{Attribute, GetOptions, ObjectMeta, ObjectStore, path::Path};

use super::{
    multipart::{MARK, Multipart},
    wire::{Call, Wire},
};
use crate::{
    context::invalid,
    error::{Kind, Operation, StoreError},
    store::Entry,
};

/// A bucket, below a prefix. Cheap to clone.
#[derive(Clone)]
pub(super) struct Bucket {
    pub(super) wire: Wire,
    pub(super) objects: Arc<dyn ObjectStore>,
    pub(super) multipart: Arc<dyn Multipart>,
    /// Without slashes at its ends; may be empty.
    pub(super) prefix: String,
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

impl Bucket {
    pub(super) fn key(&self, name: &str, operation: Operation) -> Result<Path, StoreError> {
        if name.is_empty() || name.contains('/') || name == "." || name == ".." {
            return Err(self.wire.error(operation, Kind::Invalid, format!("{name:?} is not a valid archive name")));
        }
        let text = if self.prefix.is_empty() { name.to_owned() } else { format!("{}/{name}", self.prefix) };
        Path::parse(text)
            .map_err(|_| self.wire.error(operation, Kind::Invalid, format!("{name:?} is not a valid name there")))
    }

    /// Everything right below the prefix, unfinished things included.
    pub(super) async fn objects(&self, operation: Operation) -> Result<Vec<(String, ObjectMeta)>, StoreError> {
        let prefix = (!self.prefix.is_empty()).then(|| Path::parse(&self.prefix)).transpose();
        let prefix = prefix.map_err(|_| invalid(self.wire.destination(), "the path is not a valid prefix there"))?;
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
}

pub(super) fn described(name: String, meta: &ObjectMeta) -> Entry {
    Entry { name, size: meta.size, modified: Some(meta.last_modified.into()), link: false }
}
