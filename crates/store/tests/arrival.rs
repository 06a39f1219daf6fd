//! What a commit returned is the truth: whatever later lists show, nothing that arrived is deleted, missing or failed.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common {
    pub mod lagging;
    #[path = "mod.rs"]
    pub mod memory;
}

use std::{
    ops::Range,
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use common::{
    lagging::{Hides, Hiding},
    memory::{Memory, context, parts},
};
use store::{
    Abilities, Bridge, Checked, Completed, Context, Entry, Expected, Kind, Operation, Part, Placement, Session, Sink,
    Store, StoreError, Upload,
    contract::{self, ContractOptions},
    inbound::RemoteFile,
    local::Local,
    outbound::{Arrived, Network, Original, Outbound, PushOptions, Target, UploadMeter, push},
};
use testkit::noise::noise;

struct Run {
    bridge: Bridge,
    context: Context,
    dir: tempfile::TempDir,
}

impl Run {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut context = context(&dir.path().join("state"));
        context.tuning.first_pause = Duration::from_millis(1);
        context.tuning.longest_pause = Duration::from_millis(5);
        context.tuning.give_up_after = Duration::from_millis(200);
        Self { bridge: Bridge::start().unwrap(), context, dir }
    }

    fn network(&self) -> Network<'_> {
        Network { bridge: &self.bridge, context: &self.context }
    }

    /// As a backup does.
    fn send(&self, store: Arc<dyn Store>, whole: &[u8], read_back: bool) -> Result<Arrived, StoreError> {
        let target = Target::Remote { sink: store, name: "a.tar".into(), context: None };
        let mut outbound = Outbound::prepare(vec![target], Some(self.network()), read_back).unwrap();
        outbound.begin(Expected { about: Some(whole.len() as u64), ..Expected::default() }).unwrap();
        let _ = whole.chunks(300_000).try_for_each(|chunk| outbound.append(chunk));
        outbound.finish().pop().unwrap().result
    }

    fn push(&self, store: &Arc<dyn Store>, file: &Path, read_back: bool) -> Result<Arrived, StoreError> {
        let options = PushOptions { archive: Original::File(file), name: "a.tar", read_back };
        push(&options, &(store.clone() as _), &self.network(), &Arc::new(UploadMeter::new(store.label())))
    }
}

#[test]
fn what_a_destination_shows_late_has_arrived_all_the_same() {
    let whole = noise(2_500_000);
    for placement in [Placement::Random, parts(), Placement::Sequential] {
        for looks in [1, 5] {
            for read_back in [false, true] {
                let (run, memory) = (Run::new(), Memory::new(placement));
                let place: Arc<dyn Store> = Arc::new(Hiding::new(Arc::new(memory.clone()), Hides::Committed(looks)));
                let arrived = run.send(Arc::clone(&place), &whole, read_back).unwrap();
                assert!(
                    arrived.notes.is_empty() && arrived.uncompared.is_none(),
                    "{placement:?}, {looks}: {arrived:?}"
                );
                assert_eq!(arrived.checked == Checked::ReadBack, read_back);
                assert!(memory.object("a.tar").unwrap() == whole);

                let (run, memory) = (Run::new(), Memory::new(placement));
                let place: Arc<dyn Store> = Arc::new(Hiding::new(Arc::new(memory.clone()), Hides::Committed(looks)));
                let file = run.dir.path().join("source.tar");
                std::fs::write(&file, &whole).unwrap();
                assert!(run.push(&place, &file, read_back).unwrap().notes.is_empty());
                assert!(memory.object("a.tar").unwrap() == whole);
            }
        }
    }
}

#[test]
fn what_a_destination_does_not_show_at_all_is_reported_and_never_deleted() {
    let whole = noise(3_000_000);
    for read_back in [false, true] {
        let (run, memory) = (Run::new(), Memory::new(parts()));
        let place: Arc<dyn Store> = Arc::new(Hiding::new(Arc::new(memory.clone()), Hides::Committed(u32::MAX)));
        let arrived = run.send(place, &whole, read_back).unwrap();
        assert!(arrived.notes[0].contains("whose list does not show it yet"), "{arrived:?}");
        assert_eq!(arrived.uncompared.is_some(), read_back, "{arrived:?}");
        assert!(memory.object("a.tar").unwrap() == whole);
    }
}

#[tokio::test]
async fn a_destination_that_lags_behind_keeps_the_contract() {
    let directory = tempfile::tempdir().unwrap();
    let place = Hiding::new(Arc::new(Local::open(directory.path()).unwrap()), Hides::Committed(3));
    let options = ContractOptions { settle: Duration::from_secs(2), longest: Duration::from_mins(1) };
    for finding in contract::check(&place, &options, &mut |_| ()).await.findings {
        assert!(finding.is_fine(), "{finding:?}");
    }
}

#[tokio::test]
async fn a_list_that_lacks_entries_is_found_out() {
    let directory = tempfile::tempdir().unwrap();
    for name in ["a.tar", "b.tar", "c.tar"] {
        std::fs::write(directory.path().join(name), "somebody's").unwrap();
    }
    let place = Hiding::new(Arc::new(Local::open(directory.path()).unwrap()), Hides::HalfTheList);
    let options = ContractOptions { settle: Duration::from_millis(20), longest: Duration::from_mins(1) };
    let findings = contract::check(&place, &options, &mut |_| ()).await.findings;
    assert!(findings.iter().any(|finding| !finding.is_fine()));
    assert_eq!(
        std::fs::read_dir(directory.path()).unwrap().count(),
        3,
        "nothing was removed that was not the check's own"
    );
}

#[test]
fn a_name_given_a_moment_ago_is_found() {
    let (run, memory) = (Run::new(), Memory::new(parts()));
    let place: Arc<dyn Store> = Arc::new(Hiding::new(Arc::new(memory), Hides::Committed(9)));
    assert!(
        !run.send(Arc::clone(&place), &noise(1000), false).unwrap().notes.is_empty(),
        "seven looks did not show it"
    );
    assert_eq!(RemoteFile::open(&run.bridge, &run.context, place, "a.tar").unwrap().len(), 1000);
}

/// What a destination does at one of the calls after the bytes.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Answer {
    Good,
    /// Refuses for good.
    No,
    /// Fails so many times, as if the line were cut, though the work is done.
    Late(u32),
    /// Never answers well.
    Never,
    /// Says another size, or sends fewer bytes than it was asked for.
    Short,
    /// Does the latter only the first time.
    ShortOnce,
    /// Bytes differ the first time they are read.
    WrongOnce,
}

#[derive(Clone)]
struct Moody {
    inner: Memory,
    commit: Answer,
    entry: Answer,
    read: Answer,
    calls: Arc<Mutex<[u32; 3]>>,
    deleted: Arc<Mutex<u32>>,
    notes: bool,
    /// Keeps what it has, whoever asks.
    keeps: bool,
}

impl Moody {
    fn new(commit: Answer, entry: Answer, read: Answer) -> Self {
        Self {
            inner: Memory::new(parts()),
            commit,
            entry,
            read,
            calls: Arc::default(),
            deleted: Arc::default(),
            notes: false,
            keeps: false,
        }
    }

    /// An error, if this is what comes now; and how often this call came before.
    fn answer(&self, call: usize, answer: Answer) -> Result<u32, StoreError> {
        let before = {
            let calls = &mut self.calls.lock().unwrap()[call];
            *calls += 1;
            *calls - 1
        };
        let error = |kind| Err(StoreError::remote("moody://", Operation::Check, kind, "as told"));
        match answer {
            Answer::No => error(Kind::Permission),
            Answer::Never => error(Kind::Transient { retry_after: None }),
            Answer::Late(times) if before < times => error(Kind::Transient { retry_after: None }),
            _ => Ok(before),
        }
    }
}

#[async_trait]
impl Sink for Moody {
    fn label(&self) -> String {
        "moody://".into()
    }
    fn abilities(&self) -> Abilities {
        self.inner.abilities()
    }
    async fn create(&self, name: &str, expected: Expected) -> Result<Box<dyn Upload>, StoreError> {
        let inner = self.inner.create(name, expected).await?;
        Ok(Box::new(MoodyUpload { inner, place: self.clone(), committed: Mutex::default() }))
    }
    fn store(self: Arc<Self>) -> Option<Arc<dyn Store>> {
        Some(self)
    }
}

#[async_trait]
impl Store for Moody {
    async fn resume(&self, _: &Session) -> Result<Option<Box<dyn Upload>>, StoreError> {
        Ok(None)
    }
    async fn list(&self) -> Result<Vec<Entry>, StoreError> {
        self.inner.list().await
    }
    async fn entry(&self, name: &str) -> Result<Option<Entry>, StoreError> {
        let entry = self.inner.entry(name).await?;
        let Some(mut entry) = entry else { return Ok(None) };
        let before = self.answer(1, self.entry)?;
        if self.entry == Answer::Short || self.entry == Answer::ShortOnce && before == 0 {
            entry.size -= 1;
        }
        Ok(Some(entry))
    }
    async fn read(&self, name: &str, range: Range<u64>) -> Result<Bytes, StoreError> {
        let before = self.answer(2, self.read)?;
        let bytes = self.inner.read(name, range).await?;
        Ok(match self.read {
            Answer::Short => bytes.slice(..bytes.len() - 1),
            Answer::ShortOnce if before == 0 => bytes.slice(..bytes.len() - 1),
            Answer::WrongOnce if before == 0 => bytes.iter().rev().copied().collect(),
            _ => bytes,
        })
    }
    async fn delete(&self, name: &str) -> Result<(), StoreError> {
        *self.deleted.lock().unwrap() += 1;
        if self.keeps {
            return Err(StoreError::remote("moody://", Operation::Delete, Kind::Permission, "as told"));
        }
        self.inner.delete(name).await
    }
    async fn space(&self) -> Result<Option<u64>, StoreError> {
        Ok(None)
    }
    async fn remove_abandoned(&self) -> Result<u32, StoreError> {
        Ok(0)
    }
}

struct MoodyUpload {
    inner: Box<dyn Upload>,
    place: Moody,
    committed: Mutex<Option<Checked>>,
}

#[async_trait]
impl Upload for MoodyUpload {
    async fn put(&self, part: &Part) -> Result<(), StoreError> {
        self.inner.put(part).await
    }
    async fn patch(&self, offset: u64, bytes: &[u8]) -> Result<(), StoreError> {
        self.inner.patch(offset, bytes).await
    }
    async fn commit(&self, completed: &Completed) -> Result<Checked, StoreError> {
        let known = *self.committed.lock().unwrap();
        if !matches!(self.place.commit, Answer::No | Answer::Never) && known.is_none() {
            let checked = self.inner.commit(completed).await?;
            *self.committed.lock().unwrap() = Some(checked);
        }
        self.place.answer(0, self.place.commit)?;
        Ok(Checked::Size)
    }
    async fn abort(&self) -> Result<(), StoreError> {
        self.inner.abort().await
    }
    fn notes(&self) -> Vec<String> {
        if self.place.notes { vec!["a mark could not be removed".to_owned()] } else { Vec::new() }
    }
}

/// What shall become of a copy.
#[derive(Debug, PartialEq)]
enum Fate {
    /// Arrived and compared as far as that was asked for.
    Arrived,
    /// Arrived, with a note.
    Noted,
    /// Arrived, and could not be compared.
    Uncompared,
    /// Failed, and nothing is there.
    Gone,
    /// Failed, and left alone.
    Left,
}

#[test]
fn every_answer_after_the_last_byte_has_its_outcome() {
    use Answer::{Good, Late, Never, No, Short, ShortOnce, WrongOnce};
    let table = [
        // commit, entry, read; without and with reading back
        (Good, Good, Good, Fate::Arrived, Fate::Arrived),
        (No, Good, Good, Fate::Gone, Fate::Gone),
        (Late(2), Good, Good, Fate::Arrived, Fate::Arrived),
        (Never, Good, Good, Fate::Gone, Fate::Gone),
        (Good, No, Good, Fate::Noted, Fate::Noted),
        (Good, Late(3), Good, Fate::Arrived, Fate::Arrived),
        (Good, Never, Good, Fate::Noted, Fate::Noted),
        (Good, Short, Good, Fate::Left, Fate::Left),
        (Good, ShortOnce, Good, Fate::Arrived, Fate::Arrived),
        (Good, Good, No, Fate::Arrived, Fate::Uncompared),
        (Good, Good, Late(3), Fate::Arrived, Fate::Arrived),
        (Good, Good, Never, Fate::Arrived, Fate::Uncompared),
        (Good, Good, Short, Fate::Arrived, Fate::Uncompared),
        (Good, Good, ShortOnce, Fate::Arrived, Fate::Arrived),
        (Good, Good, WrongOnce, Fate::Arrived, Fate::Arrived),
    ];
    let whole = noise(3_000_000);
    for (commit, entry, read, plain, compared) in table {
        for (read_back, wanted) in [(false, plain), (true, compared)] {
            let (run, place) = (Run::new(), Moody::new(commit, entry, read));
            let result = run.send(Arc::new(place.clone()), &whole, read_back);
            let is_there = place.inner.object("a.tar").is_some();
            let fate = match &result {
                Ok(arrived) if arrived.uncompared.is_some() => Fate::Uncompared,
                Ok(arrived) if !arrived.notes.is_empty() => Fate::Noted,
                Ok(_) => Fate::Arrived,
                Err(_) if is_there => Fate::Left,
                Err(_) => Fate::Gone,
            };
            assert_eq!(fate, wanted, "commit {commit:?}, entry {entry:?}, read {read:?}, {read_back}: {result:?}");
            assert_eq!(is_there, result.is_ok() || wanted == Fate::Left);
            assert_eq!(*place.deleted.lock().unwrap(), 0, "nothing was proven wrong: {result:?}");
            assert!(place.inner.world.lock().unwrap().unfinished.is_empty());
        }
    }
}

#[test]
fn what_differs_twice_is_removed() {
    let (run, place) = (Run::new(), Moody::new(Answer::Good, Answer::Good, Answer::Good));
    place.inner.world.lock().unwrap().corrupt = true;
    let error = run.send(Arc::new(place.clone()), &noise(3_000_000), true).unwrap_err();
    assert_eq!(error.kind(), Some(Kind::Mismatch));
    assert!(place.inner.object("a.tar").is_none());
    assert_eq!(*place.deleted.lock().unwrap(), 1);
}

#[test]
fn what_could_not_be_tidied_up_is_a_note() {
    let (run, mut place) = (Run::new(), Moody::new(Answer::Good, Answer::Good, Answer::Good));
    place.notes = true;
    assert_eq!(run.send(Arc::new(place), &noise(1000), true).unwrap().notes, ["a mark could not be removed"]);
}

#[test]
fn what_differs_and_can_not_be_removed_is_not_called_removed() {
    let (run, mut place) = (Run::new(), Moody::new(Answer::Good, Answer::Good, Answer::Good));
    place.keeps = true;
    place.inner.world.lock().unwrap().corrupt = true;
    let error = run.send(Arc::new(place.clone()), &noise(3_000_000), true).unwrap_err();
    assert_eq!(error.kind(), Some(Kind::Mismatch));
    assert!(place.inner.object("a.tar").is_some());
    assert!(error.advice().unwrap().contains("could not be deleted: delete a.tar from moody:// yourself"), "{error:?}");
}
