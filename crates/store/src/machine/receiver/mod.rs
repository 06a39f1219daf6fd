//! The receiver's side: carries out the requests of a paired machine at the receiver's own store.
//!
//! An upload belongs to the machine that started it. It outlives the connection it came over, and, where the store can
//! continue it, the receiver's process as well. Bytes are placed by their offset: what has arrived already is passed
//! over, a gap is refused.

mod pieces;
mod slot;

use std::{
    collections::{HashMap, HashSet},
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use async_trait::async_trait;
use bytes::Bytes;
use peer::{
    Fingerprint, Host, Peer, Refusal, RefusalKind, Reply, Request,
    message::{self, Object, Unfinished},
};
use slot::{Slot, State};
use tokio::sync::Semaphore;

use super::{
    arrival::{Arrivals, Arriving},
    building::{ArchiveBuilder, BuildUpload, Task},
    convert,
    piece::{Ended, Stretch},
    records::{Record, Records},
};
use crate::{
    error::StoreError,
    owner,
    store::{Completed, Expected, Store},
};

/// The longest name of an archive, with space for the suffix of the files beside it.
const LONGEST_NAME: usize = 251;
/// Unfinished uploads of one machine.
const MOST_UPLOADS: usize = 64;
/// If a destination accepts only whole parts, they are collected in memory, for all uploads together in so many bytes;
/// and none is larger.
const MEMORY: u64 = 256 << 20;
/// What memory is counted in.
const GRAIN: u64 = 1 << 20;
/// A part whose next piece has not come for so long loses its memory to another, and is sent again.
const STUCK: Duration = Duration::from_secs(30);
/// Archives made at once: each wants every core, and a few MiB for each of them.
const MOST_MAKINGS: usize = 2;
/// An upload whose sender was silent for so long gives way to another.
const SILENT: Duration = Duration::from_mins(15);
/// An archive in the making is abandoned when its sender was silent for so long.
const ABANDONED: Duration = Duration::from_hours(24);
/// How long a finished upload is remembered, should its sender not have heard of it.
const REMEMBERED: Duration = Duration::from_hours(1);

type Done = Result<(Reply, Bytes), Refusal>;

/// What a machine did at a receiver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// This archive, of so many bytes, has arrived.
    Arrived(u64),
    /// It could not be received, and why.
    Failed(String),
    /// It was deleted.
    Deleted,
    /// It was to be deleted, and this receiver keeps what it has.
    Kept,
}

/// Something that happened to an archive, for an observer of a receiver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReceiverEvent {
    /// The archive's name.
    pub name: String,
    /// The machine at the other end.
    pub from: String,
    /// What happened.
    pub kind: EventKind,
}

/// Takes what happens; must not wait.
pub type OnEvent = Arc<dyn Fn(ReceiverEvent) + Send + Sync>;

/// What a receiver does beyond storing.
pub struct ReceiverOptions {
    /// Makes archives for senders that want that.
    pub builder: Option<Arc<dyn ArchiveBuilder>>,
    /// Paired machines create archives and read; they can't delete existing ones, and so not replace, pin, unpin or
    /// prune them. A note beside each archive says who sent it, and when.
    pub append_only: bool,
    /// Observes what happens.
    pub on_event: OnEvent,
}

/// A store that paired machines may use.
#[derive(Clone)]
pub struct Receiver(Arc<Inner>);

struct Inner {
    store: Arc<dyn Store>,
    options: ReceiverOptions,
    records: Records,
    uploads: Mutex<HashMap<Key, Arc<Slot>>>,
    // Uploads that are being started.
    beginning: Mutex<HashSet<Key>>,
    arrivals: Arrivals,
    memory: Arc<Semaphore>,
}

/// Whose upload it is, and the sender's name for it.
type Key = (Fingerprint, String);

#[async_trait]
impl Host for Receiver {
    async fn serve(&self, peer: &Peer, request: Request, body: Bytes) -> Done {
        let (inner, peer) = (Arc::clone(&self.0), peer.clone());
        // A disk keeps its caller waiting; and what was begun is done to its end, also when the connection breaks
        // meanwhile.
        let runtime = tokio::runtime::Handle::current();
        let served = tokio::task::spawn_blocking(move || runtime.block_on(inner.serve(&peer, request, body)));
        served
            .await
            .unwrap_or_else(|_| Err(Refusal::new(RefusalKind::Passing { after: None }, "the receiver is about to end")))
    }
}

impl Receiver {
    /// For `store`; what is under way is noted in the directory `state`.
    pub fn new(store: Arc<dyn Store>, state: &Path, options: ReceiverOptions) -> Self {
        let memory = Arc::new(Semaphore::new((MEMORY / GRAIN) as usize));
        let records = Records::new(state.join("receiving"));
        Self(Arc::new(Inner {
            store,
            options,
            records,
            uploads: Mutex::default(),
            beginning: Mutex::default(),
            arrivals: Arrivals::default(),
            memory,
        }))
    }

    /// Removes what nobody has continued for a week.
    pub async fn tidy(&self) -> u32 {
        let inner = &self.0;
        let mut removed = inner.stop_idle();
        for (record, age) in inner.records.all() {
            if age <= owner::STALE
                || record.destination != inner.store.label()
                || inner.known(&record.owner, &record.upload).is_some()
            {
                continue;
            }
            if let (None, Some(session)) = (&record.finished, &record.session) {
                match inner.store.resume(session).await {
                    Ok(Some(upload)) if upload.abort().await.is_ok() => removed += 1,
                    Ok(None) => {}
                    _ => continue,
                }
            }
            inner.records.remove(&record.owner, &record.upload);
        }
        removed + inner.store.remove_abandoned().await.unwrap_or_default()
    }
}

fn refused(error: &StoreError) -> Refusal {
    convert::refusal(error)
}

fn done() -> (Reply, Bytes) {
    (Reply::Done, Bytes::new())
}

fn listed(items: &impl serde::Serialize) -> Done {
    let text = serde_json::to_vec(items).map_err(|error| Refusal::invalid(error.to_string()))?;
    if text.len() > peer::frame::FRIEND.body {
        return Err(Refusal::new(RefusalKind::Protocol, "there are more files than one answer can hold"));
    }
    Ok((Reply::Listed, text.into()))
}

/// A name that is valid at every destination: nothing hidden, nothing that leads elsewhere.
fn checked_name(name: &str) -> Result<(), Refusal> {
    let fine = !name.is_empty()
        && name.len() <= 255
        && !name.starts_with('.')
        && !name.contains(|c: char| c == '/' || c == '\\' || c.is_control());
    if fine { Ok(()) } else { Err(Refusal::invalid(format!("{name:?} can't be the name of an archive"))) }
}

impl Inner {
    async fn serve(&self, peer: &Peer, request: Request, body: Bytes) -> Done {
        let (store, owner) = (&self.store, peer.fingerprint);
        let reply = match request {
            Request::Abilities => {
                let reported = convert::abilities_of(&store.abilities());
                Reply::Abilities(message::Abilities {
                    makes: self.options.builder.is_some(),
                    append_only: self.options.append_only,
                    ..reported
                })
            }
            Request::Space => Reply::Space { free: store.space().await.map_err(|error| refused(&error))? },
            Request::RemoveAbandoned => {
                Reply::Removed { count: store.remove_abandoned().await.map_err(|error| refused(&error))? }
            }
            Request::List => {
                let entries = store.list().await.map_err(|error| refused(&error))?;
                return listed(&entries.into_iter().map(convert::object).collect::<Vec<Object>>());
            }
            Request::Entry { name } => {
                checked_name(&name)?;
                Reply::Entry { object: store.entry(&name).await.map_err(|error| refused(&error))?.map(convert::object) }
            }
            Request::Read { name, start, end } => {
                checked_name(&name)?;
                if start > end || end - start > peer::frame::FRIEND.body as u64 {
                    return Err(Refusal::invalid("a range of this length can't be read at once"));
                }
                return Ok((Reply::Done, store.read(&name, start..end).await.map_err(|error| refused(&error))?));
            }
            Request::Delete { name } => {
                checked_name(&name)?;
                return self.delete(name, peer).await;
            }
            Request::Create { upload, name, about, exact, least, keep } => {
                let resumable = self.store.abilities().resumable;
                // Continued by this receiver's next process, if need be, whether or not the sender's next one wants to.
                let created =
                    self.create(owner, upload, name.clone(), Expected { about, least, exact, resumable }, keep).await;
                return created.inspect_err(|refusal| self.tell_failure(&mut None, name, peer, refusal));
            }
            Request::Make { upload, name, about, least, recipe } => {
                let expected = Expected { about, least, ..Expected::default() };
                let made = self.make(owner, upload, Task { name: name.clone(), expected, recipe: recipe.0 }).await;
                return made.inspect_err(|refusal| self.tell_failure(&mut None, name, peer, refusal));
            }
            Request::Try { recipe } => {
                let builder = self.builder()?;
                let started = Instant::now();
                builder.try_out(&recipe.0, &body).map_err(|error| refused(&error))?;
                Reply::Tried { nanos: started.elapsed().as_nanos() as u64 }
            }
            Request::Unfinished => return self.unfinished(owner),
            Request::Resume { upload } => match self.slot(owner, &upload, None).await? {
                Some(slot) => Reply::Upload { kept: slot.state.lock().await.kept.clone() },
                None => Reply::Gone,
            },
            Request::Put { upload, index, offset, length, at, total, last } => {
                let Some(slot) = self.slot(owner, &upload, None).await? else { return Ok((Reply::Gone, Bytes::new())) };
                return self.put(&slot, Stretch { index, offset, length, at, total, last }, body, peer).await;
            }
            Request::Patch { upload, offset } => {
                let Some(slot) = self.slot(owner, &upload, None).await? else { return Ok((Reply::Gone, Bytes::new())) };
                let state = slot.state.lock().await;
                state.upload.patch(offset, &body).await.map_err(|error| refused(&error))?;
                Reply::Done
            }
            Request::Commit { upload, length, parts, md5 } => {
                let Some(slot) = self.slot(owner, &upload, Some(length)).await? else {
                    return Ok((Reply::Gone, Bytes::new()));
                };
                let completed = Completed { length, parts, md5: md5.as_deref().and_then(convert::digest) };
                return self.commit(&slot, &completed, peer).await;
            }
            Request::Abort { upload } => return self.abort(owner, &upload).await,
        };
        Ok((reply, Bytes::new()))
    }

    fn uploads(&self) -> MutexGuard<'_, HashMap<(Fingerprint, String), Arc<Slot>>> {
        self.uploads.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn known(&self, owner: &Fingerprint, upload: &str) -> Option<Arc<Slot>> {
        self.uploads().get(&(*owner, upload.to_owned())).cloned()
    }

    /// The upload, from this process or from one before it. `complete`: the length that its sender believes to be
    /// there, and wants made visible.
    async fn slot(
        &self,
        owner: Fingerprint,
        upload: &str,
        complete: Option<u64>,
    ) -> Result<Option<Arc<Slot>>, Refusal> {
        if let Some(slot) = self.known(&owner, upload) {
            slot.touch();
            return Ok(Some(slot));
        }
        let Some(record) = self.record(&owner, upload)? else { return Ok(None) };
        if record.finished.is_some() {
            return Ok(Some(self.ended(record)));
        }
        let Some(session) = &record.session else { return Ok(None) };
        let resumed = self.store.resume(session).await.map_err(|error| refused(&error))?;
        let Some(continued) = resumed else {
            return match complete {
                Some(length) => self.after_the_end(record, length).await,
                None => Ok(None),
            };
        };
        let kept = continued.kept().into_iter().map(|range| (range.start, range.end)).collect();
        Ok(Some(self.keep(State::new(continued.into(), record, kept), None)))
    }

    fn record(&self, owner: &Fingerprint, upload: &str) -> Result<Option<Record>, Refusal> {
        let record = self.records.load(owner, upload).map_err(|error| {
            let reason = format!("the receiver's records can't be read: {}", crate::error::reason(&error));
            Refusal::new(RefusalKind::Protocol, reason)
        })?;
        Ok(record.filter(|record| record.destination == self.store.label()))
    }

    /// Nothing is there to be continued: either it became visible just before the receiver ended, or it is gone.
    async fn after_the_end(&self, mut record: Record, length: u64) -> Result<Option<Arc<Slot>>, Refusal> {
        // The name was free when the upload began, and nothing but an upload's end gives it away: this one's, unless
        // another has ended there.
        let is_others = |other: &Record| {
            other.finished.is_some()
                && other.name == record.name
                && (other.owner, &other.upload) != (record.owner, &record.upload)
        };
        if self.records.all().iter().any(|(other, _)| other.destination == record.destination && is_others(other)) {
            return Ok(None);
        }
        let entry = self.store.entry(&record.name).await.map_err(|error| refused(&error))?;
        record.finished = entry
            .filter(|entry| entry.size == length)
            .map(|_| (length, convert::checked_word(crate::Checked::Size).to_owned()));
        Ok(record.finished.is_some().then(|| self.ended(record)))
    }

    fn ended(&self, record: Record) -> Arc<Slot> {
        let length = record.finished.as_ref().map_or(0, |(length, _)| *length);
        self.keep(State::new(Arc::new(Ended), record, vec![(0, length)]), None)
    }

    fn keep(&self, state: State, build: Option<Arc<BuildUpload>>) -> Arc<Slot> {
        let key = (state.record.owner, state.record.upload.clone());
        let slot = Arc::new(Slot {
            keep: state.record.keep,
            touched: Mutex::new(Instant::now()),
            build,
            state: tokio::sync::Mutex::new(state),
        });
        // Another connection may have been faster; then there is one upload, and it is that one.
        Arc::clone(self.uploads().entry(key).or_insert(slot))
    }

    async fn create(&self, owner: Fingerprint, upload: String, name: String, expected: Expected, keep: bool) -> Done {
        let _beginning = match self.admit(owner, &upload, &name).await? {
            Admitted::Known(reply) => return Ok((reply, Bytes::new())),
            Admitted::Fresh(beginning) => beginning,
        };
        self.check_space(&expected).await?;
        let started = self.store.create(&name, expected).await.map_err(|error| refused(&error))?;
        let destination = self.store.label();
        let record = Record {
            destination,
            owner,
            upload,
            keep,
            name,
            session: started.session(),
            finished: None,
            made: None,
            notes: Vec::new(),
        };
        self.note(&record);
        self.keep(State::new(started.into(), record, Vec::new()), None);
        Ok((Reply::Upload { kept: Vec::new() }, Bytes::new()))
    }

    /// Nobody should send for hours what can't be kept.
    async fn check_space(&self, expected: &Expected) -> Result<(), Refusal> {
        if let (Some(needed), Ok(Some(free))) = (expected.needs(), self.store.space().await)
            && needed > free
        {
            let missing = needed - free;
            return Err(Refusal::new(
                RefusalKind::Full { missing: Some(missing) },
                format!("the receiver lacks {} MB of free space", missing.div_ceil(1_000_000)),
            ));
        }
        Ok(())
    }

    /// Where paired machines only add archives, they give no name to anything else: a pin would keep an archive for
    /// ever, and a note of arrival is the receiver's.
    fn checked_archive(&self, name: &str) -> Result<(), Refusal> {
        checked_name(name)?;
        let is_archive =
            Path::new(name).extension().is_some_and(|extension| extension == "tar") && name.len() <= LONGEST_NAME;
        if self.options.append_only && !is_archive {
            let reason = format!("the receiver takes only archives (.tar), so {name} can't be stored there");
            return Err(Refusal {
                advice: Some(convert::APPEND_ONLY.to_owned()),
                ..Refusal::new(RefusalKind::Permission, reason)
            });
        }
        Ok(())
    }

    /// Deletes an archive, if senders may do that.
    async fn delete(&self, name: String, peer: &Peer) -> Done {
        let from = peer.name.clone();
        if self.options.append_only {
            let reason =
                format!("the receiver is append-only: {name} can't be deleted, replaced or unpinned from this machine");
            (self.options.on_event)(ReceiverEvent { name, from, kind: EventKind::Kept });
            return Err(Refusal {
                advice: Some(convert::APPEND_ONLY.to_owned()),
                ..Refusal::new(RefusalKind::Permission, reason)
            });
        }
        let was_there = self.store.entry(&name).await.is_ok_and(|entry| entry.is_some());
        self.store.delete(&name).await.map_err(|error| refused(&error))?;
        if was_there {
            (self.options.on_event)(ReceiverEvent { name, from, kind: EventKind::Deleted });
        }
        Ok(done())
    }

    /// Reports that an archive could not be received; transient failures are not reported, and each reason only once.
    fn tell_failure(&self, last: &mut Option<String>, name: String, peer: &Peer, refusal: &Refusal) {
        if matches!(refusal.kind, RefusalKind::Passing { .. }) || last.as_ref() == Some(&refusal.reason) {
            return;
        }
        *last = Some(refusal.reason.clone());
        (self.options.on_event)(ReceiverEvent {
            name,
            from: peer.name.clone(),
            kind: EventKind::Failed(refusal.reason.clone()),
        });
    }

    /// Checked before anything is started; returns an upload that was started before. One that is being started counts
    /// as well.
    async fn admit(&self, owner: Fingerprint, upload: &str, name: &str) -> Result<Admitted<'_>, Refusal> {
        self.checked_archive(name)?;
        if !owner::is_temporary(upload) || upload.len() > 128 {
            return Err(Refusal::invalid("an upload needs a name of the usual form"));
        }
        if let Some(slot) = self.slot(owner, upload, None).await? {
            return Ok(Admitted::Known(Reply::Upload { kept: slot.state.lock().await.kept.clone() }));
        }
        self.forget_finished();
        let key = (owner, upload.to_owned());
        let uploads = self.uploads();
        let mut beginning = self.beginning.lock().unwrap_or_else(PoisonError::into_inner);
        if uploads.contains_key(&key) || beginning.contains(&key) {
            // Asked on another connection, because the answer on the first was long in coming.
            return Err(Refusal::new(RefusalKind::Passing { after: None }, "this upload is being started already"));
        }
        if uploads.keys().chain(beginning.iter()).filter(|(of, _)| *of == owner).count() >= MOST_UPLOADS {
            return Err(Refusal::new(
                RefusalKind::Passing { after: None },
                "this machine has too many unfinished uploads there",
            ));
        }
        beginning.insert(key.clone());
        Ok(Admitted::Fresh(Beginning { all: &self.beginning, key }))
    }

    fn builder(&self) -> Result<&Arc<dyn ArchiveBuilder>, Refusal> {
        self.options.builder.as_ref().ok_or_else(|| {
            Refusal::new(RefusalKind::Protocol, "this receiver stores archives but does not create them")
        })
    }

    async fn make(&self, owner: Fingerprint, upload: String, task: Task) -> Done {
        let builder = self.builder()?;
        let _beginning = match self.admit(owner, &upload, &task.name).await? {
            Admitted::Known(reply) => return Ok((reply, Bytes::new())),
            Admitted::Fresh(beginning) => beginning,
        };
        self.check_space(&task.expected).await?;
        if !self.has_free_hands() {
            return Err(Refusal::new(
                RefusalKind::Passing { after: None },
                "it is already creating as many archives as it can",
            ));
        }
        let name = task.name.clone();
        let making = builder.start(task).map_err(|error| refused(&error))?;
        let build = Arc::new(BuildUpload::new(making));
        let record = Record {
            destination: self.store.label(),
            owner,
            upload,
            keep: false,
            name,
            session: None,
            finished: None,
            made: None,
            notes: Vec::new(),
        };
        let taking = Arc::clone(&build);
        self.keep(State::new(taking, record, Vec::new()), Some(build));
        Ok((Reply::Upload { kept: Vec::new() }, Bytes::new()))
    }

    /// Whether one more archive can be made. If there are enough, one whose sender has fallen silent gives way; if that
    /// sender returns, it starts over.
    fn has_free_hands(&self) -> bool {
        let mut uploads = self.uploads();
        let making = || uploads.iter().filter(|(_, slot)| slot.is_making());
        if making().count() < MOST_MAKINGS {
            return true;
        }
        // One that is at work for its sender right now is not silent.
        let silent = making()
            .filter(|(_, slot)| slot.idle() > SILENT && slot.state.try_lock().is_ok())
            .max_by_key(|(_, slot)| slot.idle());
        let Some(key) = silent.map(|(key, _)| key.clone()) else { return false };
        if let Some(build) = uploads.remove(&key).as_ref().and_then(|slot| slot.build.as_ref()) {
            build.stop();
        }
        true
    }

    /// Ends what is being made for senders that have not been heard of for long.
    fn stop_idle(&self) -> u32 {
        let mut uploads = self.uploads();
        let before = uploads.len();
        uploads.retain(|_, slot| match &slot.build {
            Some(build) if slot.is_making() && slot.idle() > ABANDONED && slot.state.try_lock().is_ok() => {
                build.stop();
                false
            }
            _ => true,
        });
        (before - uploads.len()) as u32
    }

    /// Without a note an upload is lost with this process, and only then.
    fn note(&self, record: &Record) {
        if record.session.is_some() || record.made.is_some() {
            let _ = self.records.save(record);
        }
    }

    fn forget_finished(&self) {
        self.uploads().retain(|_, slot| match slot.state.try_lock() {
            Ok(state) => state.record.finished.is_none() || slot.idle() < REMEMBERED,
            Err(_) => true,
        });
    }

    /// What came of a step of an upload, which may be worth a line in the log.
    fn reported(&self, done: Done, state: &mut State, peer: &Peer) -> Done {
        let name = state.record.name.clone();
        done.inspect_err(|refusal| self.tell_failure(&mut state.failed, name, peer, refusal))
    }

    async fn commit(&self, slot: &Slot, completed: &Completed, peer: &Peer) -> Done {
        let mut state = slot.state.lock().await;
        if state.record.finished.is_none() {
            let name = state.record.name.clone();
            let arriving = match self.note_arrival(&name, peer).await {
                Ok(arriving) => arriving,
                Err(refusal) => return self.reported(Err(refusal), &mut state, peer),
            };
            let committed = match state.upload.commit(completed).await {
                Ok(checked) => checked,
                Err(error) => {
                    if let Some(arriving) = arriving {
                        arriving.failed(&error).await;
                    }
                    return self.reported(Err(refused(&error)), &mut state, peer);
                }
            };
            drop(arriving);
            let checked = convert::checked_word(committed).to_owned();
            state.record.notes = state.upload.notes();
            let made = slot.build.as_ref().and_then(|build| build.made());
            state.record.finished = Some((completed.length, checked));
            state.record.made = made.map(|made| made.report.clone());
            self.note(&state.record);
            let size = made.map_or(completed.length, |made| made.size);
            (self.options.on_event)(ReceiverEvent {
                name: state.record.name.clone(),
                from: peer.name.clone(),
                kind: EventKind::Arrived(size),
            });
        }
        match &state.record.finished {
            Some((length, checked)) if *length == completed.length => {
                let (made, notes) = (state.record.made.clone(), state.record.notes.clone());
                Ok((Reply::Committed { checked: checked.clone(), made, notes }, Bytes::new()))
            }
            Some((length, _)) => Err(Refusal::new(
                RefusalKind::Mismatch,
                format!("{length} bytes arrived instead of {}", completed.length),
            )),
            None => Err(Refusal::invalid("the upload has not ended")),
        }
    }

    async fn note_arrival<'a>(&'a self, name: &str, peer: &Peer) -> Result<Option<Arriving<'a>>, Refusal> {
        if self.options.append_only { self.arrivals.note(&*self.store, name, peer).await.map(Some) } else { Ok(None) }
    }

    async fn abort(&self, owner: Fingerprint, upload: &str) -> Done {
        if let Some(slot) = self.slot(owner, upload, None).await? {
            if let Some(build) = &slot.build {
                build.stop();
            }
            let state = slot.state.lock().await;
            if state.record.finished.is_none() {
                state.upload.abort().await.map_err(|error| refused(&error))?;
            }
            self.uploads().remove(&(owner, upload.to_owned()));
        }
        self.records.remove(&owner, upload);
        Ok(done())
    }

    fn unfinished(&self, owner: Fingerprint) -> Done {
        let is_finished = |slot: &Slot| slot.state.try_lock().is_ok_and(|state| state.record.finished.is_some());
        let mut found: HashMap<String, Unfinished> = HashMap::new();
        for (record, age) in self.records.all() {
            if record.owner == owner && record.finished.is_none() && record.destination == self.store.label() {
                found.insert(
                    record.upload.clone(),
                    Unfinished { upload: record.upload, keep: record.keep, idle: age.as_secs() },
                );
            }
        }
        for ((of, upload), slot) in self.uploads().iter() {
            if *of == owner && !is_finished(slot) {
                found.insert(
                    upload.clone(),
                    Unfinished { upload: upload.clone(), keep: slot.keep, idle: slot.idle().as_secs() },
                );
            }
        }
        listed(&found.into_values().collect::<Vec<_>>())
    }
}

/// Whether an upload is to be started.
enum Admitted<'a> {
    Known(Reply),
    Fresh(Beginning<'a>),
}

/// An upload that is being started; no longer when dropped.
struct Beginning<'a> {
    all: &'a Mutex<HashSet<Key>>,
    key: Key,
}

impl Drop for Beginning<'_> {
    fn drop(&mut self) {
        self.all.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.key);
    }
}
