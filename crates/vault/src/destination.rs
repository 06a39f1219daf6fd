//! The vault as a destination like any other: backups are written to it, listed, read by ranges and deleted.

use std::{
    collections::HashMap,
    ops::Range,
    sync::{Arc, Mutex as StdMutex, PoisonError},
};

use async_trait::async_trait;
use bytes::Bytes;
use store::{
    Abilities, Checked, Completed, Context, Entry, Expected, Kind as ErrorKind, Operation, Part, Placement, Session,
    Sink, Store, StoreError, Upload,
};
use tokio::{
    runtime::Handle,
    sync::{Mutex, mpsc, oneshot},
    task::{JoinError, JoinHandle, JoinSet, spawn_blocking},
};

use crate::{
    id::{Id, Kind},
    keys::Secret,
    packer::Packed,
    prune,
    read::Reader,
    segment::Segmenter,
    vault::{self, Beginning, Uncommitted, Vault},
    write::{Writer, Written},
};

/// Packs that are uploaded at once; each has 8 MiB.
const UPLOADS: usize = 3;
/// Bytes on their way to the writing thread: so many parts.
const WAITING: usize = 4;
/// Backups whose positions are kept for reading.
const READERS: usize = 4;

/// A vault as a destination.
pub struct VaultStore {
    vault: Vault,
    label: String,
    readers: StdMutex<HashMap<Id, Arc<Reader>>>,
}

impl VaultStore {
    /// Opens the vault that is at `store`.
    pub async fn open(store: Arc<dyn Store>, context: &Context, secret: Secret) -> Result<Self, StoreError> {
        let context = context.clone();
        let vault = blocking(move || Vault::open(store, &context, &secret)).await?;
        Ok(Self::of(vault))
    }

    /// Makes a vault at `store`, which must be empty.
    pub async fn init(
        store: Arc<dyn Store>,
        context: &Context,
        secret: Secret,
        label: String,
    ) -> Result<Self, StoreError> {
        let context = context.clone();
        let vault = blocking(move || Vault::init(store, &context, &secret, &label)).await?;
        Ok(Self::of(vault))
    }

    /// Lets `work` wait for the vault.
    pub async fn work<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Vault) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let vault = self.vault.clone();
        blocking(move || work(&vault)).await
    }

    /// Of an open vault.
    pub fn of(vault: Vault) -> Self {
        Self { label: vault.label(), vault, readers: StdMutex::default() }
    }

    /// The vault.
    pub fn vault(&self) -> &Vault {
        &self.vault
    }

    fn reader(&self, id: Id, snapshot: Arc<crate::record::Snapshot>) -> Arc<Reader> {
        let mut readers = self.readers.lock().unwrap_or_else(PoisonError::into_inner);
        if !readers.contains_key(&id) && readers.len() >= READERS {
            readers.clear();
        }
        let reader = || Arc::new(Reader::new(self.vault.objects.clone(), self.vault.master.clone(), snapshot));
        Arc::clone(readers.entry(id).or_insert_with(reader))
    }
}

#[async_trait]
impl Sink for VaultStore {
    fn label(&self) -> String {
        self.label.clone()
    }

    fn abilities(&self) -> Abilities {
        Abilities {
            placement: Placement::Random,
            multiple: 1,
            preferred: 1 << 20,
            concurrency: 1,
            needs_length: false,
            restarts: true,
            md5: false,
            resumable: false,
        }
    }

    async fn create(&self, name: &str, _: Expected) -> Result<Box<dyn Upload>, StoreError> {
        if self.entry(name).await?.is_some() {
            let reason = format!("there is a backup called {name} already");
            return Err(StoreError::remote(self.label(), Operation::Create, ErrorKind::Exists, reason));
        }
        Ok(Box::new(VaultUpload::begin(self.vault.clone(), name.to_owned())))
    }

    fn notes(&self) -> Vec<String> {
        let mut notes = self.vault.objects.store().notes();
        notes.extend(self.vault.notes());
        notes
    }

    fn takes_plain(&self) -> bool {
        true
    }

    fn store(self: Arc<Self>) -> Option<Arc<dyn Store>> {
        Some(self)
    }
}

#[async_trait]
impl Store for VaultStore {
    async fn resume(&self, _: &Session) -> Result<Option<Box<dyn Upload>>, StoreError> {
        Ok(None)
    }

    async fn list(&self) -> Result<Vec<Entry>, StoreError> {
        let vault = self.vault.clone();
        let snapshots = blocking(move || vault.snapshots()).await?;
        // Two machines may have used one name: the newest counts.
        let newest: HashMap<String, Entry> = snapshots
            .into_iter()
            .map(|(_, snapshot)| {
                let entry = Entry {
                    name: snapshot.name.clone(),
                    size: snapshot.length(),
                    modified: vault::finished(&snapshot),
                    link: false,
                };
                (snapshot.name.clone(), entry)
            })
            .collect();
        Ok(newest.into_values().collect())
    }

    async fn entry(&self, name: &str) -> Result<Option<Entry>, StoreError> {
        Ok(self.list().await?.into_iter().find(|entry| entry.name == name))
    }

    async fn read(&self, name: &str, range: Range<u64>) -> Result<Bytes, StoreError> {
        let (vault, wanted) = (self.vault.clone(), name.to_owned());
        let found = blocking(move || vault.known_or_find(&wanted)).await?;
        let Some((id, snapshot)) = found else {
            let reason = format!("there is no {name}");
            return Err(StoreError::remote(self.label(), Operation::Read, ErrorKind::NotFound, reason));
        };
        let reader = self.reader(id, snapshot);
        blocking(move || reader.read(range)).await
    }

    async fn delete(&self, name: &str) -> Result<(), StoreError> {
        let (vault, name) = (self.vault.clone(), name.to_owned());
        blocking(move || vault.delete(&name)).await
    }

    async fn space(&self) -> Result<Option<u64>, StoreError> {
        self.vault.objects.store().space().await
    }

    async fn remarks(&self) -> Vec<String> {
        self.vault.objects.store().remarks().await
    }

    async fn remove_abandoned(&self) -> Result<u32, StoreError> {
        let removed = self.vault.objects.store().remove_abandoned().await?;
        if self.append_only() {
            return Ok(removed);
        }
        let vault = self.vault.clone();
        let cleaned = blocking(move || prune::collect(&vault, prune::GRACE)).await?;
        Ok(removed.saturating_add(u32::try_from(cleaned.removed).unwrap_or(u32::MAX)))
    }

    fn append_only(&self) -> bool {
        self.vault.objects.store().append_only()
    }
}

/// What the writing thread is told.
enum Message {
    Bytes(Bytes),
    /// All bytes have come: so many, and these replace earlier ones.
    End {
        length: u64,
        patches: Vec<(u64, Bytes)>,
    },
}

/// One backup on its way.
struct VaultUpload {
    label: String,
    progress: Mutex<Progress>,
    /// When it is dropped, nothing more is uploaded.
    wanted: StdMutex<Option<oneshot::Sender<()>>>,
}

struct Progress {
    taken: u64,
    patches: Vec<(u64, Bytes)>,
    /// `None`: it has ended or was given up.
    messages: Option<mpsc::Sender<Message>>,
    writing: Writing,
}

enum Writing {
    On(JoinHandle<Result<(), StoreError>>),
    Ended(Result<(), StoreError>),
}

impl VaultUpload {
    fn begin(vault: Vault, name: String) -> Self {
        let (messages, incoming) = mpsc::channel(WAITING);
        let (wanted, unwanted) = oneshot::channel();
        let label = vault.label();
        let runtime = Handle::current();
        let writing = Writing::On(spawn_blocking(move || write(&vault, &name, incoming, unwanted, &runtime)));
        let progress = Progress { taken: 0, patches: Vec::new(), messages: Some(messages), writing };
        Self { label, progress: Mutex::new(progress), wanted: StdMutex::new(Some(wanted)) }
    }

    async fn send(progress: &mut Progress, label: &str, message: Message) -> Result<(), StoreError> {
        let sent = match &progress.messages {
            Some(messages) => messages.send(message).await.is_ok(),
            None => false,
        };
        if sent { Ok(()) } else { Err(Self::end(progress).await.err().unwrap_or_else(|| ended(label))) }
    }

    /// How the writing thread has ended; the same every time.
    async fn end(progress: &mut Progress) -> Result<(), StoreError> {
        progress.messages = None;
        if let Writing::On(writing) = &mut progress.writing {
            progress.writing = Writing::Ended(joined(writing.await));
        }
        match &progress.writing {
            Writing::Ended(Err(error)) => Err(error.again()),
            _ => Ok(()),
        }
    }
}

fn ended(label: &str) -> StoreError {
    StoreError::remote(label, Operation::Write, ErrorKind::Lost, "this upload has ended")
}

#[async_trait]
impl Upload for VaultUpload {
    async fn put(&self, part: &Part) -> Result<(), StoreError> {
        let mut progress = self.progress.lock().await;
        let Some(again) = progress.taken.checked_sub(part.offset) else {
            return Err(StoreError::remote(&self.label, Operation::Write, ErrorKind::Lost, "a part is missing"));
        };
        // A part that comes again may have been taken in part.
        for piece in part.data.skip(again).pieces() {
            part.activity.pass(piece.len() as u64).await;
            Self::send(&mut progress, &self.label, Message::Bytes(piece.clone())).await?;
            progress.taken += piece.len() as u64;
        }
        Ok(())
    }

    async fn patch(&self, offset: u64, bytes: &[u8]) -> Result<(), StoreError> {
        self.progress.lock().await.patches.push((offset, Bytes::copy_from_slice(bytes)));
        Ok(())
    }

    async fn commit(&self, completed: &Completed) -> Result<Checked, StoreError> {
        let mut progress = self.progress.lock().await;
        // One that was interrupted and comes again waits for the same end.
        if progress.messages.is_some() {
            let message = Message::End { length: completed.length, patches: progress.patches.clone() };
            Self::send(&mut progress, &self.label, message).await?;
        }
        Self::end(&mut progress).await.map(|()| Checked::Size)
    }

    async fn abort(&self) -> Result<(), StoreError> {
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner).take();
        let mut progress = self.progress.lock().await;
        // The writing thread removes what it has written when nothing more comes.
        let _ = Self::end(&mut progress).await;
        Ok(())
    }
}

/// The writing thread: cuts, compresses and seals, and makes it one of the vault's backups. When that fails, nothing
/// stays, unless the backup may be there all the same.
fn write(
    vault: &Vault,
    name: &str,
    mut incoming: mpsc::Receiver<Message>,
    unwanted: oneshot::Receiver<()>,
    runtime: &Handle,
) -> Result<(), StoreError> {
    let beginning = vault.begin()?;
    let made = Arc::new(StdMutex::new(Vec::new()));
    let (packs, outgoing) = mpsc::channel(1);
    let uploading = runtime.spawn(upload(vault.clone(), outgoing, Arc::clone(&made), unwanted));
    let written = take(vault, &beginning, &mut incoming, packs);
    // Whoever sends gets no further from here on.
    incoming.close();
    let done = match (joined(runtime.block_on(uploading)), written) {
        (Err(error), _) | (Ok(()), Err(error)) => Err(error.into()),
        (Ok(()), Ok(written)) => {
            let made = made.lock().unwrap_or_else(PoisonError::into_inner);
            vault.commit(name, written, &beginning, &made).map(drop)
        }
    };
    if let Err(Uncommitted { may_be_there: false, .. }) = done {
        let made = made.lock().unwrap_or_else(PoisonError::into_inner);
        // A cleanup finds what stays.
        let _ = made.iter().all(|id| vault.objects.tidy(&Kind::Pack.object(*id)));
    }
    beginning.end();
    done.map_err(|Uncommitted { error, .. }| error)
}

/// Takes all bytes of the backup; its packs are handed over when this returns.
fn take(
    vault: &Vault,
    beginning: &Beginning,
    incoming: &mut mpsc::Receiver<Message>,
    packs: mpsc::Sender<Packed>,
) -> Result<Written, StoreError> {
    let mut writer =
        Writer::new(&vault.objects, &vault.master, beginning.chooser(), vault::threads(), packs, vault.cache.clone())?;
    let mut segmenter = Segmenter::default();
    let mut taken = 0;
    loop {
        match incoming.blocking_recv() {
            Some(Message::Bytes(bytes)) => {
                taken += bytes.len() as u64;
                segmenter.push(&bytes, &mut writer)?;
            }
            Some(Message::End { length, patches }) => {
                segmenter.finish(&mut writer)?;
                if taken != length {
                    let reason = format!("{taken} bytes came instead of {length}");
                    return Err(StoreError::remote(vault.label(), Operation::Write, ErrorKind::Mismatch, reason));
                }
                for (offset, bytes) in patches {
                    if !writer.patch(offset, &bytes) {
                        let reason = format!("{} bytes at {offset} can't be changed any more", bytes.len());
                        return Err(StoreError::remote(vault.label(), Operation::Write, ErrorKind::Protocol, reason));
                    }
                }
                return writer.finish();
            }
            None => return Err(StoreError::Cancelled),
        }
    }
}

/// Uploads packs as they come, some at once, until nobody wants the backup any more.
async fn upload(
    vault: Vault,
    mut packs: mpsc::Receiver<Packed>,
    made: Arc<StdMutex<Vec<Id>>>,
    unwanted: oneshot::Receiver<()>,
) -> Result<(), StoreError> {
    let mut under_way = JoinSet::new();
    let all = async {
        while let Some(Packed { id, bytes }) = packs.recv().await {
            made.lock().unwrap_or_else(PoisonError::into_inner).push(id);
            let objects = vault.objects.clone();
            under_way.spawn(async move { objects.put(&Kind::Pack.object(id), bytes).await });
            // Nothing is taken that would have to wait here, in memory.
            if under_way.len() >= UPLOADS
                && let Some(done) = under_way.join_next().await
            {
                joined(done)?;
            }
        }
        while let Some(done) = under_way.join_next().await {
            joined(done)?;
        }
        Ok(())
    };
    let done = tokio::select! {
        done = all => done,
        _ = unwanted => Err(StoreError::Cancelled),
    };
    // None arrives after it was removed.
    under_way.shutdown().await;
    done
}

/// Runs what waits on a thread that may.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    joined(spawn_blocking(work).await)
}

fn joined<T>(ended: Result<Result<T, StoreError>, JoinError>) -> Result<T, StoreError> {
    match ended {
        Ok(done) => done,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(_) => Err(StoreError::Cancelled),
    }
}
