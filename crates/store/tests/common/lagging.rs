//! Destinations that show less than they hold: one whose list and names lag behind what it has confirmed, and one whose
//! list lacks entries.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

use std::{
    collections::HashMap,
    ops::Range,
    sync::{Arc, Mutex},
};

use async_trait::async_trait;
use bytes::Bytes;
use store::{
    Abilities, Checked, Completed, Entry, Expected, Kind, Operation, Part, Session, Sink, Store, StoreError, Upload,
};

/// What a destination hides.
#[derive(Clone, Copy)]
pub enum Hides {
    /// After a commit, the archive, from so many looks; and as many still see one that was deleted.
    Committed(u32),
    /// Every second entry of its list.
    HalfTheList,
}

#[derive(Clone)]
pub struct Hiding {
    inner: Arc<dyn Store>,
    hides: Hides,
    looks: Arc<Mutex<HashMap<String, u32>>>,
    ghosts: Arc<Mutex<HashMap<String, (Entry, u32)>>>,
}

impl Hiding {
    pub fn new(inner: Arc<dyn Store>, hides: Hides) -> Self {
        Self { inner, hides, looks: Arc::default(), ghosts: Arc::default() }
    }

    /// Whether this look does not show `name` yet.
    fn hidden(&self, name: &str) -> bool {
        match self.looks.lock().unwrap().get_mut(name) {
            Some(left) if *left > 0 => {
                *left -= 1;
                true
            }
            _ => false,
        }
    }

    /// What this look still shows although it is gone.
    fn ghost(&self, name: &str) -> Option<Entry> {
        match self.ghosts.lock().unwrap().get_mut(name) {
            Some((entry, left)) if *left > 0 => {
                *left -= 1;
                Some(entry.clone())
            }
            _ => None,
        }
    }

    fn upload(&self, inner: Box<dyn Upload>, name: &str) -> Box<dyn Upload> {
        Box::new(HidingUpload { inner, place: self.clone(), name: name.to_owned() })
    }
}

#[async_trait]
impl Sink for Hiding {
    fn label(&self) -> String {
        self.inner.label()
    }
    fn abilities(&self) -> Abilities {
        self.inner.abilities()
    }
    async fn create(&self, name: &str, expected: Expected) -> Result<Box<dyn Upload>, StoreError> {
        Ok(self.upload(self.inner.create(name, expected).await?, name))
    }
    fn store(self: Arc<Self>) -> Option<Arc<dyn Store>> {
        Some(self)
    }
}

#[async_trait]
impl Store for Hiding {
    async fn resume(&self, session: &Session) -> Result<Option<Box<dyn Upload>>, StoreError> {
        let name = session.0["shown as"].as_str().unwrap().to_owned();
        let inner = Session(session.0["inner"].clone());
        Ok(self.inner.resume(&inner).await?.map(|upload| self.upload(upload, &name)))
    }
    async fn list(&self) -> Result<Vec<Entry>, StoreError> {
        let found = self.inner.list().await?;
        match self.hides {
            Hides::Committed(_) => {
                let mut shown: Vec<Entry> = found.into_iter().filter(|entry| !self.hidden(&entry.name)).collect();
                let gone: Vec<String> = self.ghosts.lock().unwrap().keys().cloned().collect();
                shown.extend(gone.iter().filter_map(|name| self.ghost(name)));
                Ok(shown)
            }
            Hides::HalfTheList => Ok(found.into_iter().step_by(2).collect()),
        }
    }
    async fn entry(&self, name: &str) -> Result<Option<Entry>, StoreError> {
        if let Some(ghost) = self.ghost(name) {
            return Ok(Some(ghost));
        }
        if self.hidden(name) { Ok(None) } else { self.inner.entry(name).await }
    }
    async fn read(&self, name: &str, range: Range<u64>) -> Result<Bytes, StoreError> {
        if self.hidden(name) {
            return Err(StoreError::remote(self.label(), Operation::Read, Kind::NotFound, "not yet"));
        }
        self.inner.read(name, range).await
    }
    async fn delete(&self, name: &str) -> Result<(), StoreError> {
        let before = self.inner.entry(name).await?;
        self.inner.delete(name).await?;
        self.looks.lock().unwrap().remove(name);
        if let (Some(entry), Hides::Committed(looks)) = (before, self.hides) {
            self.ghosts.lock().unwrap().insert(name.to_owned(), (entry, looks));
        }
        Ok(())
    }
    async fn space(&self) -> Result<Option<u64>, StoreError> {
        self.inner.space().await
    }
    async fn remove_abandoned(&self) -> Result<u32, StoreError> {
        self.inner.remove_abandoned().await
    }
}

struct HidingUpload {
    inner: Box<dyn Upload>,
    place: Hiding,
    name: String,
}

#[async_trait]
impl Upload for HidingUpload {
    async fn put(&self, part: &Part) -> Result<(), StoreError> {
        self.inner.put(part).await
    }
    async fn patch(&self, offset: u64, bytes: &[u8]) -> Result<(), StoreError> {
        self.inner.patch(offset, bytes).await
    }
    async fn commit(&self, completed: &Completed) -> Result<Checked, StoreError> {
        let checked = self.inner.commit(completed).await?;
        self.place.ghosts.lock().unwrap().remove(&self.name);
        if let Hides::Committed(looks) = self.place.hides {
            self.place.looks.lock().unwrap().entry(self.name.clone()).or_insert(looks);
        }
        Ok(checked)
    }
    async fn abort(&self) -> Result<(), StoreError> {
        self.inner.abort().await
    }
    fn session(&self) -> Option<Session> {
        self.inner.session().map(|inner| Session(serde_json::json!({ "shown as": self.name, "inner": inner.0 })))
    }
    fn kept(&self) -> Vec<Range<u64>> {
        self.inner.kept()
    }
    fn notes(&self) -> Vec<String> {
        self.inner.notes()
    }
}
