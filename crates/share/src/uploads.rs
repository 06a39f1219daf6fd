//! Archives on their way from a folder to its destination.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use smb_server::{SmbError, SmbResult};
use tokio::task::JoinSet;

use crate::{
    Event, Shared, names,
    place::{Place, away, reason},
    reading::Reading,
    scratch::Content,
    upload::{PATIENCE, Upload},
};

/// A client that lost its connection may go on for so long.
const RECONNECT: Duration = Duration::from_mins(1);
/// What others are about to do is looked for again after this time.
const SOON: Duration = Duration::from_millis(20);
/// Archives that may be written at the same time.
const UPLOADS: usize = 4;
/// Bytes of a file in memory that are sent on at once.
const PIECE: u64 = 1 << 20;

/// Those of one folder.
#[derive(Clone)]
pub(crate) struct Uploads {
    shared: Arc<Shared>,
    place: Arc<Place>,
    all: Arc<Mutex<BTreeMap<String, Arc<Upload>>>>,
}

impl Uploads {
    pub(crate) fn new(shared: &Arc<Shared>, place: &Arc<Place>) -> Self {
        Self { shared: Arc::clone(shared), place: Arc::clone(place), all: Arc::default() }
    }

    /// All of them, by name.
    pub(crate) fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Upload>>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One of them.
    pub(crate) fn get(&self, name: &str) -> Option<Arc<Upload>> {
        self.lock().get(name).cloned()
    }

    /// Bytes of one archive that may wait in memory.
    pub(crate) fn memory(&self) -> usize {
        self.shared.memory
    }

    fn say(&self, event: Event) {
        (self.shared.on_event)(event);
    }

    /// Gives up what is not complete.
    pub(crate) async fn end(&self, why: &str) {
        let (finishing, growing): (Vec<_>, Vec<_>) =
            self.lock().clone().into_iter().partition(|(_, upload)| upload.is_finishing());
        let mut ending = JoinSet::new();
        for (name, upload) in growing {
            if self.lock().remove(&name).is_none() {
                continue;
            }
            let (uploads, why) = (self.clone(), why.to_owned());
            ending.spawn(async move {
                // One that nobody writes any more lacks something.
                let why = if upload.is_left() { upload.lacks().await } else { why };
                uploads.ended(&name, &upload, &why).await;
            });
        }
        ending.join_all().await;
        // Those that are called back as well leave nothing behind, which takes them a moment.
        if self.shared.context.is_cancelled() {
            let ended = async {
                for (_, upload) in finishing {
                    let _ = upload.end().await;
                }
            };
            let _ = tokio::time::timeout(PATIENCE, ended).await;
        }
    }

    /// The last handle of an upload was closed. Whether everything had been written.
    pub(crate) async fn left(&self, name: String, upload: Arc<Upload>) -> bool {
        if upload.outcome().is_none() && upload.finish().await {
            let uploads = self.clone();
            let ended = tokio::spawn(async move { uploads.arrived(name, upload).await });
            // A client takes a server for dead that is silent for longer.
            let _ = tokio::time::timeout(PATIENCE, ended).await;
            return true;
        }
        let uploads = self.clone();
        // A client whose connection broke opens it again; one that breaks twice has as much time again.
        let openings = upload.openings();
        tokio::spawn(async move {
            if upload.failure().is_none() && upload.outcome().is_none() {
                tokio::time::sleep(RECONNECT).await;
            }
            let is_given_up = {
                // Nobody finds it there to open it once more.
                let mut all = uploads.lock();
                let is_left = upload.is_left() && upload.openings() == openings;
                is_left && all.remove(&name).is_some()
            };
            if is_given_up {
                let why = upload.lacks().await;
                uploads.ended(&name, &upload, &why).await;
            }
        });
        false
    }

    /// Waits until one that is finishing has arrived, and is in the list, or has failed.
    pub(crate) async fn settled(&self, name: &str, upload: &Arc<Upload>) {
        let _ = upload.end().await;
        while self.get(name).is_some_and(|now| Arc::ptr_eq(&now, upload)) {
            tokio::time::sleep(SOON).await;
        }
    }

    async fn arrived(&self, name: String, upload: Arc<Upload>) {
        let ended = upload.end().await;
        if let Ok(size) = ended {
            // So that nobody misses it between the upload and the list.
            self.place.has_arrived(&name, size).await;
        }
        self.lock().remove(&name);
        self.say(match ended {
            Ok(size) => Event::Arrived { name, size },
            Err(reason) => Event::Failed { name, reason },
        });
    }

    /// Nothing of it stays anywhere.
    pub(crate) async fn give_up(&self, name: &str, upload: &Arc<Upload>, why: &str) {
        if self.lock().remove(name).is_none() {
            return;
        }
        let (uploads, upload, name, why) = (self.clone(), Arc::clone(upload), name.to_owned(), why.to_owned());
        let ended = tokio::spawn(async move { uploads.ended(&name, &upload, &why).await });
        // A destination that is away takes longer, and the client does not wait for that.
        let _ = tokio::time::timeout(PATIENCE, ended).await;
    }

    /// It is out of the list, and ends.
    async fn ended(&self, name: &str, upload: &Arc<Upload>, why: &str) {
        upload.abort(why).await;
        let _ = upload.end().await;
        self.say(Event::Failed { name: name.to_owned(), reason: why.to_owned() });
    }

    /// Begins one, open to write.
    pub(crate) async fn begin(&self, name: &str) -> SmbResult<Arc<Upload>> {
        if !names::is_archive(name) {
            return Err(SmbError::NameInvalid);
        }
        // Whoever makes it anew needs no connection.
        let is_remade = self.shared.remaker.as_ref().is_some_and(|remaker| remaker.takes(name));
        let store = if is_remade {
            None
        } else {
            // Asked in any case, however fresh the list is: a disk may have gone that its directory was on.
            let connected = self.place.store().await;
            Some(connected.inspect_err(|error| {
                self.say(Event::Failed { name: name.to_owned(), reason: reason(error) });
            })?)
        };
        let mut uploads = self.lock();
        if uploads.len() >= UPLOADS || uploads.contains_key(name) {
            return Err(SmbError::Sharing);
        }
        let upload = Upload::begin(&self.shared, store, name);
        uploads.insert(name.to_owned(), Arc::clone(&upload));
        Ok(upload)
    }

    /// Sends a file that a client has put into a directory, under the name that it gives it now.
    pub(crate) async fn adopt(&self, content: Arc<Content>, name: &str) -> SmbResult<()> {
        if self.get(name).is_some() || self.place.entry(name).await?.is_some() {
            return Err(SmbError::Exists);
        }
        let upload = self.begin(name).await?;
        let (uploads, name) = (self.clone(), name.to_owned());
        let sent = tokio::spawn(async move {
            let (reading, mut at) = (Reading::new(&uploads.place), 0);
            while at < content.length() {
                let Ok(bytes) = content.read(&reading, at, PIECE).await else { break };
                let count = bytes.len() as u64;
                if count == 0 || upload.write(at, bytes, uploads.memory()).await.is_err() {
                    break;
                }
                at += count;
            }
            upload.closed();
            if uploads.left(name.clone(), Arc::clone(&upload)).await {
                return true;
            }
            // Nobody goes on with it.
            let why = upload.lacks().await;
            uploads.give_up(&name, &upload, &why).await;
            false
        });
        match tokio::time::timeout(PATIENCE, sent).await {
            Ok(Ok(false)) => Err(SmbError::AccessDenied),
            Ok(Err(_)) => Err(away("it could not be sent")),
            // What becomes of it after that stands in Haul's messages.
            Ok(Ok(true)) | Err(_) => Ok(()),
        }
    }
}
