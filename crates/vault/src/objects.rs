//! The objects of a vault at their destination, for threads that may wait.

use std::{collections::HashSet, future::Future, ops::Range, sync::Arc, time::Duration};

use bytes::Bytes;
use store::{Cancellation, Context, Entry, Kind as ErrorKind, Operation, Store, StoreError, retry::RetryPolicy, small};
use tokio::runtime::Handle;

use crate::{
    group,
    id::{Id, Kind},
    packer::HEADER,
    record::{self, Place},
    seal::MasterKey,
};

/// Groups that lie so close in a pack are fetched in one request, …
const GAP: u64 = 64 << 10;
/// … of so many bytes at most.
const LARGEST_REQUEST: u64 = 4 << 20;
/// So long a tidying up may take.
const TIDYING: Duration = Duration::from_secs(20);

/// Reads and writes objects, and tries again what may succeed.
#[derive(Clone)]
pub(crate) struct Objects {
    store: Arc<dyn Store>,
    policy: RetryPolicy,
    /// For tidying up: after an interruption too.
    tidying: RetryPolicy,
    runtime: Handle,
}

impl Objects {
    /// At this destination. Must be called on the runtime that will wait for it.
    pub(crate) fn new(store: Arc<dyn Store>, context: &Context) -> Self {
        let mut brief = context.clone();
        brief.cancel = Cancellation::default();
        brief.tuning.give_up_after = brief.tuning.give_up_after.min(TIDYING);
        brief.tuning.first_contact = brief.tuning.give_up_after;
        let (policy, tidying) = (RetryPolicy::new(context), RetryPolicy::new(&brief));
        Self { store, policy, tidying, runtime: Handle::current() }
    }

    /// The destination as users know it.
    pub(crate) fn label(&self) -> String {
        self.store.label()
    }

    /// The destination.
    pub(crate) fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    fn wait<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.block_on(work)
    }

    /// All objects.
    pub(crate) fn list(&self) -> Result<Vec<Entry>, StoreError> {
        self.wait(self.policy.retry(|| self.store.list()))
    }

    /// All objects. A destination that may not show yet what it has is asked again while one of these is missing.
    pub(crate) fn list_with(&self, names: &HashSet<String>) -> Result<Vec<Entry>, StoreError> {
        let are_there =
            |entries: &Vec<Entry>| entries.iter().filter(|entry| names.contains(&entry.name)).count() >= names.len();
        self.wait(self.policy.settled(|| self.store.list(), are_there))
    }

    /// Bytes of an object.
    pub(crate) fn range(&self, name: &str, range: Range<u64>) -> Result<Bytes, StoreError> {
        let length = range.end - range.start;
        let error = match self.wait(self.policy.retry_reading(length, || self.store.read(name, range.clone()))) {
            Ok(bytes) if bytes.len() as u64 == length => return Ok(bytes),
            Ok(bytes) => {
                let reason = format!("{name} gave {} bytes instead of {length}", bytes.len());
                StoreError::remote(self.label(), Operation::Read, ErrorKind::Protocol, reason)
            }
            Err(error @ StoreError::Cancelled) => return Err(error),
            Err(error) if error.is_transient() || error.kind() == Some(ErrorKind::NotFound) => return Err(error),
            Err(error) => error,
        };
        // Each destination has its own words for what lies behind the end.
        match self.wait(self.policy.retry(|| self.store.entry(name))) {
            Ok(Some(entry)) if entry.size < range.end => Err(self.damaged(name, "it is shorter than it was")),
            _ => Err(error),
        }
    }

    /// Bytes of a pack that something refers to: if it is missing, that is damaged.
    pub(crate) fn pack_range(&self, pack: Id, range: Range<u64>) -> Result<Bytes, StoreError> {
        let name = Kind::Pack.object(pack);
        self.range(&name, range).map_err(|error| match error.kind() {
            Some(ErrorKind::NotFound) => self.damaged(&name, "it is missing"),
            _ => error,
        })
    }

    /// Writes an object of a new name.
    pub(crate) async fn put(&self, name: &str, bytes: Bytes) -> Result<(), StoreError> {
        let length = bytes.len() as u64;
        let written = self.policy.retry(|| small::put(&*self.store, name, bytes.clone())).await;
        match written {
            // An attempt that seemed to fail may have arrived; nobody else has this name.
            Err(error) if error.kind() == Some(ErrorKind::Exists) => {
                match self.policy.retry(|| self.store.entry(name)).await? {
                    Some(entry) if entry.size == length => Ok(()),
                    _ => Err(error),
                }
            }
            other => other,
        }
    }

    /// Writes an object of a new name, and waits.
    pub(crate) fn put_whole(&self, name: &str, bytes: Vec<u8>) -> Result<(), StoreError> {
        self.wait(self.put(name, bytes.into()))
    }

    /// Writes a sealed record as an object of its own.
    pub(crate) fn put_record<T: serde::Serialize>(
        &self,
        master: &MasterKey,
        kind: Kind,
        id: Id,
        content: &T,
    ) -> Result<(), StoreError> {
        let mut bytes = HEADER.to_vec();
        let plain = record::encode(content);
        if plain.len() > group::LARGEST {
            let reason = format!("its description would have {} bytes, more than a vault can hold", plain.len());
            return Err(StoreError::remote(self.label(), Operation::Publish, ErrorKind::Protocol, reason));
        }
        let packed = group::pack(&plain, group::SMALL);
        master.object(kind, id).seal(bytes.len() as u64, &packed, &mut bytes);
        self.put_whole(&kind.object(id), bytes)
    }

    /// The record that is an object of its own.
    pub(crate) fn record<T: serde::de::DeserializeOwned>(
        &self,
        master: &MasterKey,
        kind: Kind,
        id: Id,
        size: u64,
    ) -> Result<T, StoreError> {
        self.opened(master, kind, id, &self.record_bytes(kind, id, size)?)
    }

    /// The bytes of an object that holds one record.
    pub(crate) fn record_bytes(&self, kind: Kind, id: Id, size: u64) -> Result<Bytes, StoreError> {
        let name = kind.object(id);
        if size > 2 * group::LARGEST as u64 {
            return Err(self.damaged(&name, "it is larger than any"));
        }
        self.range(&name, 0..size)
    }

    /// The record of an object's bytes.
    pub(crate) fn opened<T: serde::de::DeserializeOwned>(
        &self,
        master: &MasterKey,
        kind: Kind,
        id: Id,
        bytes: &[u8],
    ) -> Result<T, StoreError> {
        let name = kind.object(id);
        let sealed = self.after_header(&name, bytes)?;
        let plain = group::open(&master.object(kind, id), HEADER.len() as u64, sealed)
            .map_err(|error| self.damaged(&name, &error.to_string()))?;
        record::decode(&plain).ok_or_else(|| self.damaged(&name, "this version does not know what it holds"))
    }

    /// What follows an object's header.
    pub(crate) fn after_header<'b>(&self, name: &str, bytes: &'b [u8]) -> Result<&'b [u8], StoreError> {
        match bytes.strip_prefix(&HEADER) {
            Some(rest) => Ok(rest),
            None if bytes.starts_with(&HEADER[..7]) => {
                let reason = format!("{name} was made by a newer version of Haul");
                Err(StoreError::remote(self.label(), Operation::Read, ErrorKind::Protocol, reason)
                    .advise("update Haul on this machine"))
            }
            None => Err(self.damaged(name, "it does not begin like an object of a vault")),
        }
    }

    /// A group's content.
    pub(crate) fn group(&self, master: &MasterKey, place: Place) -> Result<Vec<u8>, StoreError> {
        let at = u64::from(place.at);
        if place.length as usize > group::LARGEST_SEALED {
            let name = Kind::Pack.object(place.pack);
            return Err(self.damaged(&name, "what should be in it is larger than anything in a vault"));
        }
        let sealed = self.pack_range(place.pack, at..at + u64::from(place.length))?;
        self.open_group(master, place, &sealed)
    }

    /// The content of a group that was fetched.
    pub(crate) fn open_group(&self, master: &MasterKey, place: Place, sealed: &[u8]) -> Result<Vec<u8>, StoreError> {
        group::open(&master.object(Kind::Pack, place.pack), u64::from(place.at), sealed)
            .map_err(|error| self.damaged(&Kind::Pack.object(place.pack), &error.to_string()))
    }

    /// A record that is a group of a pack.
    pub(crate) fn group_record<T: serde::de::DeserializeOwned>(
        &self,
        master: &MasterKey,
        place: Place,
    ) -> Result<T, StoreError> {
        record::decode(&self.group(master, place)?)
            .ok_or_else(|| self.damaged(&Kind::Pack.object(place.pack), "this version does not know what it holds"))
    }

    /// The contents of groups, each once, in the order of their places. What lies close together in a pack comes in one
    /// request.
    pub(crate) fn groups(
        &self,
        master: &MasterKey,
        places: &mut Vec<Place>,
        mut take: impl FnMut(Place, Vec<u8>),
    ) -> Result<(), StoreError> {
        places.sort_unstable();
        places.dedup();
        if places.iter().any(|place| place.length as usize > group::LARGEST_SEALED) {
            return Err(self.damaged("a backup", "it names a group that is larger than any"));
        }
        for together in requests(places) {
            let first = together[0];
            let end = together.iter().map(|place| u64::from(place.at) + u64::from(place.length)).max();
            let fetched = self.pack_range(first.pack, u64::from(first.at)..end.unwrap_or_default())?;
            for place in together {
                let from = (place.at - first.at) as usize;
                let sealed = fetched.get(from..from + place.length as usize).unwrap_or_default();
                take(*place, self.open_group(master, *place, sealed)?);
            }
        }
        Ok(())
    }

    /// Removes an object.
    pub(crate) fn delete(&self, name: &str) -> Result<(), StoreError> {
        self.wait(self.policy.retry(|| self.store.delete(name)))
    }

    /// Removes what nobody needs, also after an interruption. What can't be removed now is left to the next cleanup, and
    /// this is `false`.
    pub(crate) fn tidy(&self, name: &str) -> bool {
        let removing = async { tokio::time::timeout(TIDYING, self.tidying.retry(|| self.store.delete(name))).await };
        self.wait(removing).is_ok_and(|removed| removed.is_ok())
    }

    /// Whether an object is there. A destination that may not show yet what it has is asked again.
    pub(crate) fn is_there(&self, name: &str) -> Result<bool, StoreError> {
        Ok(self.wait(self.policy.settled(|| self.store.entry(name), Option::is_some))?.is_some())
    }

    /// Something in the vault is not as it was written.
    pub(crate) fn damaged(&self, name: &str, why: &str) -> StoreError {
        StoreError::remote(self.label(), Operation::Read, ErrorKind::Mismatch, format!("{name} can't be used: {why}"))
            .advise("`haul vault check` says which backups that costs")
    }
}

/// Whether it was deleted meanwhile.
pub(crate) fn is_gone(error: &StoreError) -> bool {
    error.kind() == Some(ErrorKind::NotFound)
}

/// Whether it is not what was written.
pub(crate) fn is_damaged(error: &StoreError) -> bool {
    error.kind() == Some(ErrorKind::Mismatch)
}

/// Whether something in the vault is not as it was written, or not there.
pub(crate) fn is_damage(error: &StoreError) -> bool {
    matches!(error.kind(), Some(ErrorKind::Mismatch | ErrorKind::NotFound | ErrorKind::Protocol))
}

/// What is fetched together: runs of sorted places that lie close to each other.
fn requests(places: &[Place]) -> impl Iterator<Item = &[Place]> {
    let mut rest = places;
    std::iter::from_fn(move || {
        let first = rest.first()?;
        let mut end = u64::from(first.at) + u64::from(first.length);
        let count = 1 + rest[1..]
            .iter()
            .take_while(|next| {
                let until = u64::from(next.at) + u64::from(next.length);
                let is_close = next.pack == first.pack
                    && u64::from(next.at) <= end + GAP
                    && until - u64::from(first.at) <= LARGEST_REQUEST;
                end = end.max(until);
                is_close
            })
            .count();
        let (together, others) = rest.split_at(count);
        rest = others;
        Some(together)
    })
}
