//! A destination in memory that keeps the rules of every placement, and breaks on request.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::expect_used)]

use std::{
    collections::{BTreeMap, VecDeque},
    ops::Range,
    sync::{Arc, Mutex, mpsc},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use store::{
    Abilities, Cancellation, Checked, Completed, Context, Entry, Expected, Kind, Operation, Part, PartRules, Placement,
    Session, Sink, Store, StoreError, Tuning, Upload,
};

/// What the next call shall do instead of its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    Fail(Kind),
    /// The work is done, but the answer is lost.
    DoneButSilent,
}

pub const HICCUP: Fault = Fault::Fail(Kind::Transient { retry_after: None });

#[derive(Default)]
pub struct World {
    pub objects: BTreeMap<String, Vec<u8>>,
    pub unfinished: BTreeMap<u32, BTreeMap<u64, Vec<u8>>>,
    pub faults: VecDeque<Option<Fault>>,
    pub puts: Vec<u32>,
    pub next: u32,
    pub pause: Duration,
    /// Hears of each part that comes.
    pub heard: Option<mpsc::Sender<()>>,
    pub corrupt: bool,
    /// Says nothing when an upload is to begin.
    pub silent: bool,
    /// So many wait for it to say something.
    pub waiting: u32,
    /// Reads fail, as if the line were cut.
    pub unreadable: bool,
}

#[derive(Clone)]
pub struct Memory {
    pub world: Arc<Mutex<World>>,
    pub abilities: Abilities,
    /// Keeps what is sent first of an archive that is sent twice.
    pub drafts: bool,
}

pub fn parts() -> Placement {
    Placement::Parts(PartRules { smallest: 1 << 20, largest: 1 << 30, most: 10_000, equal: false })
}

impl Memory {
    pub fn new(placement: Placement) -> Self {
        let abilities = Abilities {
            placement,
            multiple: 1,
            preferred: 2 << 20,
            concurrency: if matches!(placement, Placement::Parts(_)) { 4 } else { 1 },
            needs_length: false,
            restarts: false,
            md5: placement == Placement::Sequential,
            resumable: true,
        };
        Self { world: Arc::default(), abilities, drafts: false }
    }

    /// From now on no part is ever taken. Hears of the first one that comes.
    pub fn stuck(&self) -> mpsc::Receiver<()> {
        let (heard, parts) = mpsc::channel();
        let mut world = self.world.lock().unwrap();
        (world.pause, world.heard) = (Duration::from_hours(1), Some(heard));
        parts
    }

    pub fn object(&self, name: &str) -> Option<Vec<u8>> {
        self.world.lock().unwrap().objects.get(name).cloned()
    }

    pub fn script(&self, faults: impl IntoIterator<Item = Option<Fault>>) {
        self.world.lock().unwrap().faults.extend(faults);
    }

    fn fault(&self) -> Option<Fault> {
        self.world.lock().unwrap().faults.pop_front().flatten()
    }
}

pub fn refuse(kind: Kind) -> StoreError {
    StoreError::remote("memory://", Operation::Write, kind, "as told")
}

#[async_trait]
impl Sink for Memory {
    fn label(&self) -> String {
        "memory://".into()
    }
    fn abilities(&self) -> Abilities {
        self.abilities
    }
    async fn create(&self, name: &str, _: Expected) -> Result<Box<dyn Upload>, StoreError> {
        self.world.lock().unwrap().waiting += 1;
        while self.world.lock().unwrap().silent {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let mut world = self.world.lock().unwrap();
        world.waiting -= 1;
        if world.objects.contains_key(name) {
            return Err(refuse(Kind::Exists));
        }
        world.next += 1;
        let id = world.next;
        world.unfinished.insert(id, BTreeMap::new());
        Ok(Box::new(MemoryUpload { store: self.clone(), id, name: name.into(), kept: vec![] }))
    }
    fn store(self: Arc<Self>) -> Option<Arc<dyn Store>> {
        Some(self)
    }
}

#[async_trait]
impl Store for Memory {
    async fn resume(&self, session: &Session) -> Result<Option<Box<dyn Upload>>, StoreError> {
        let id = session.0["id"].as_u64().unwrap() as u32;
        let name = session.0["name"].as_str().unwrap().to_owned();
        let Some(parts) = self.world.lock().unwrap().unfinished.get(&id).cloned() else { return Ok(None) };
        let kept = parts.iter().map(|(offset, bytes)| *offset..offset + bytes.len() as u64).collect();
        Ok(Some(Box::new(MemoryUpload { store: self.clone(), id, name, kept })))
    }
    async fn list(&self) -> Result<Vec<Entry>, StoreError> {
        let world = self.world.lock().unwrap();
        Ok(world
            .objects
            .iter()
            .map(|(name, bytes)| Entry { name: name.clone(), size: bytes.len() as u64, modified: None, link: false })
            .collect())
    }
    async fn entry(&self, name: &str) -> Result<Option<Entry>, StoreError> {
        Ok(self.list().await?.into_iter().find(|entry| entry.name == name))
    }
    async fn read(&self, name: &str, range: Range<u64>) -> Result<Bytes, StoreError> {
        if self.world.lock().unwrap().unreadable {
            return Err(refuse(Kind::Transient { retry_after: None }));
        }
        let bytes = self.object(name).ok_or_else(|| refuse(Kind::NotFound))?;
        Ok(Bytes::copy_from_slice(&bytes[range.start as usize..range.end as usize]))
    }
    async fn delete(&self, name: &str) -> Result<(), StoreError> {
        self.world.lock().unwrap().objects.remove(name);
        Ok(())
    }
    async fn space(&self) -> Result<Option<u64>, StoreError> {
        Ok(None)
    }
    fn draft_name(&self) -> Option<String> {
        self.drafts.then(store::owner::temporary_name)
    }
    async fn remove_abandoned(&self) -> Result<u32, StoreError> {
        Ok(0)
    }
}

struct MemoryUpload {
    store: Memory,
    id: u32,
    name: String,
    kept: Vec<Range<u64>>,
}

#[async_trait]
impl Upload for MemoryUpload {
    async fn put(&self, part: &Part) -> Result<(), StoreError> {
        let (pause, heard) = {
            let world = self.store.world.lock().unwrap();
            (world.pause, world.heard.clone())
        };
        let _ = heard.map(|heard| heard.send(()));
        tokio::time::sleep(pause).await;
        let fault = self.store.fault();
        if let Some(Fault::Fail(kind)) = fault {
            return Err(refuse(kind));
        }
        let mut world = self.store.world.lock().unwrap();
        world.puts.push(part.index);
        let parts = world.unfinished.get_mut(&self.id).ok_or_else(|| refuse(Kind::Lost))?;
        if !matches!(self.store.abilities.placement, Placement::Parts(_)) {
            let there: u64 = parts.values().map(|bytes| bytes.len() as u64).sum();
            assert!(
                part.offset == there || parts.contains_key(&part.offset),
                "part at {} comes when {there} bytes are there",
                part.offset
            );
        }
        parts.insert(part.offset, part.data.to_bytes().to_vec());
        if fault == Some(Fault::DoneButSilent) { Err(refuse(Kind::Transient { retry_after: None })) } else { Ok(()) }
    }
    async fn patch(&self, offset: u64, bytes: &[u8]) -> Result<(), StoreError> {
        assert_eq!(self.store.abilities.placement, Placement::Random);
        let mut world = self.store.world.lock().unwrap();
        let parts = world.unfinished.get_mut(&self.id).unwrap();
        for (n, byte) in bytes.iter().enumerate() {
            let at = offset + n as u64;
            let (start, part) = parts.range_mut(..=at).next_back().unwrap();
            part[(at - start) as usize] = *byte;
        }
        Ok(())
    }
    async fn commit(&self, completed: &Completed) -> Result<Checked, StoreError> {
        let mut world = self.store.world.lock().unwrap();
        let mut bytes: Vec<u8> = world.unfinished.remove(&self.id).unwrap().into_values().flatten().collect();
        assert_eq!(bytes.len() as u64, completed.length);
        if let Some(md5) = completed.md5 {
            use md5::Digest;
            assert_eq!(<[u8; 16]>::from(md5::Md5::digest(&bytes)), md5);
        }
        if world.corrupt {
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
        }
        world.objects.insert(self.name.clone(), bytes);
        Ok(Checked::Size)
    }
    async fn abort(&self) -> Result<(), StoreError> {
        self.store.world.lock().unwrap().unfinished.remove(&self.id);
        Ok(())
    }
    fn session(&self) -> Option<Session> {
        Some(Session(serde_json::json!({ "id": self.id, "name": self.name })))
    }
    fn kept(&self) -> Vec<Range<u64>> {
        self.kept.clone()
    }
}

/// Short pauses, and a state directory of its own.
pub fn context(state: &std::path::Path) -> Context {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let tuning = Tuning {
        first_pause: Duration::from_millis(5),
        longest_pause: Duration::from_millis(100),
        stall: Duration::from_secs(2),
        give_up_after: Duration::from_secs(20),
        first_contact: Duration::from_secs(5),
        ..Tuning::default()
    };
    Context::new(tuning, state.to_owned(), Cancellation::default()).unwrap()
}
