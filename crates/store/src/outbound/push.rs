//! An archive that exists already, to one place; continued where it stopped, by the same command, also after a `kill -9` or a reboot.
//!
//! What is needed for that is kept in the state directory (mode 0600) from the first part on, and removed when the copy has arrived or has failed for good.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tokio::sync::{Semaphore, mpsc};

use super::{
    ALONE, Arrived, Fingerprint, LegMeter, Message, Network, SEGMENT,
    cut::PartPlan,
    feed,
    leg::{Keeping, Leg, brief},
    look,
};
use crate::{
    context::Context,
    error::{Kind, Operation, StoreError},
    patience::Patience,
    store::{Expected, Placement, Session, Store, Upload},
};

/// How often an upload that the other side lost is begun anew.
const BEGINNINGS: u32 = 5;

/// What is pushed where.
pub struct PushOptions<'a> {
    /// The archive.
    pub file: &'a Path,
    /// Its name there.
    pub name: &'a str,
    /// Compare every byte after arrival.
    pub read_back: bool,
}

/// What another process needs to go on.
#[derive(Serialize, Deserialize)]
struct Record {
    length: u64,
    modified: (i64, i64),
    part_size: u64,
    session: Session,
}

/// Sends the archive. An interruption or an end of patience leaves what arrived for the next call; every other failure leaves nothing.
pub fn push(options: &PushOptions<'_>, store: &Arc<dyn Store>, network: &Network<'_>, meter: &Arc<LegMeter>) -> Result<Arrived, StoreError> {
    let mut begun = 0;
    loop {
        begun += 1;
        match attempt(options, store, network, meter) {
            Err(error) if error.kind() == Some(Kind::Lost) && begun < BEGINNINGS => meter.restart(),
            result => {
                meter.end();
                return result;
            }
        }
    }
}

fn attempt(options: &PushOptions<'_>, store: &Arc<dyn Store>, network: &Network<'_>, meter: &Arc<LegMeter>) -> Result<Arrived, StoreError> {
    let unreadable = |source| StoreError::Io { operation: Operation::Read, path: options.file.to_owned(), source };
    let metadata = fs::metadata(options.file).map_err(unreadable)?;
    let length = metadata.len();
    let (bridge, context) = (network.bridge, network.context);
    let patience = Patience::new(context);
    meter.watch(patience.clone());
    let abilities = store.abilities();
    let plan = PartPlan::new(&abilities, Some(length), context.tuning.part_size);
    let memory = Memory::of(options, store.as_ref(), context);
    let record = |session| Record { length, modified: (metadata.mtime(), metadata.mtime_nsec()), part_size: plan.size(0), session };

    let expected = Expected { resumable: abilities.resumable, ..Expected::exactly(length) };
    let upload: Arc<dyn Upload> = bridge.wait(async {
        if let Some(upload) = memory.continued(store.as_ref(), &record, &patience, context).await? {
            return Ok(upload);
        }
        look(store.as_ref(), options.name, &patience).await?;
        patience.retry(|| store.create(options.name, expected)).await.map(Arc::from)
    })?;
    let save = {
        let (memory, upload) = (memory.clone(), Arc::clone(&upload));
        let record = Arc::new(Mutex::new(record(Session(serde_json::Value::Null))));
        move || {
            if let Some(session) = upload.session() {
                let mut record = record.lock().unwrap_or_else(PoisonError::into_inner);
                if record.session.0 != session.0 {
                    record.session = session;
                    // Without it the upload still arrives; only an interruption would cost more.
                    let _ = memory.save(&record);
                }
            }
        }
    };
    save();
    let kept = upload.kept();
    let concurrency = abilities.concurrency.clamp(1, ALONE);
    let room = (plan.size(0) * (concurrency as u64 + 1)).div_ceil(SEGMENT as u64) + 2;
    let leg = Leg {
        store: Arc::clone(store),
        name: options.name.to_owned(),
        upload,
        plan,
        concurrency,
        patience,
        context: context.clone(),
        meter: Arc::clone(meter),
        keeping: Some(Keeping { kept, whole_parts: matches!(abilities.placement, Placement::Parts(_)), save: Box::new(save) }),
    };
    let (sender, receiver) = mpsc::unbounded_channel();
    let room = Arc::new(Semaphore::new(room as usize));
    let closing = Arc::clone(&room);
    let task = bridge.spawn(async move {
        let result = leg.run(receiver).await;
        closing.close();
        result
    });
    let read = feed(options.file, 0, &sender, &room, bridge);
    let fingerprint = match (&read, options.read_back) {
        (Ok(()), true) => Some(Arc::new(Fingerprint::of(options.file).map_err(unreadable)?)),
        _ => None,
    };
    if read.is_ok() {
        let _ = sender.send(Message::Sealed(fingerprint));
    }
    drop(sender);
    let result = bridge.wait(task).unwrap_or(Err(StoreError::Cancelled));
    if !may_continue(&result) {
        memory.forget();
    }
    read.map_err(unreadable)?;
    result
}

/// Whether what arrived is worth keeping for the next call.
pub(super) fn may_continue(result: &Result<Arrived, StoreError>) -> bool {
    matches!(result, Err(error) if error.is_passing() || matches!(error, StoreError::Cancelled))
}

/// Where the record of one push lives.
#[derive(Clone)]
struct Memory {
    path: PathBuf,
}

impl Memory {
    fn of(options: &PushOptions<'_>, store: &dyn Store, context: &Context) -> Self {
        let file = fs::canonicalize(options.file).unwrap_or_else(|_| options.file.to_owned());
        let identity = format!("{}\0{}\0{}", file.display(), store.label(), options.name);
        let digest = Sha256::digest(identity.as_bytes());
        let number = digest[..8].iter().fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
        Self { path: context.state.join(format!("push-{number:016x}.json")) }
    }

    /// The upload an earlier call began, if the archive is still the same and the place still has it.
    async fn continued(
        &self,
        store: &dyn Store,
        record: &impl Fn(Session) -> Record,
        patience: &Patience,
        context: &Context,
    ) -> Result<Option<Arc<dyn Upload>>, StoreError> {
        let Some(found) = fs::read(&self.path).ok().and_then(|bytes| serde_json::from_slice::<Record>(&bytes).ok()) else { return Ok(None) };
        let upload: Option<Arc<dyn Upload>> = match patience.retry(|| store.resume(&found.session)).await {
            Ok(upload) => upload.map(Arc::from),
            Err(error) if error.kind() == Some(Kind::Lost) => None,
            Err(error) => return Err(error),
        };
        let wanted = record(Session(serde_json::Value::Null));
        let same = (found.length, found.modified, found.part_size) == (wanted.length, wanted.modified, wanted.part_size);
        match upload {
            Some(upload) if same => Ok(Some(upload)),
            other => {
                // Another archive by now: what arrived of the old one is of no use.
                if let Some(upload) = other {
                    let _ = brief(context).retry(|| upload.abort()).await;
                }
                self.forget();
                Ok(None)
            }
        }
    }

    fn save(&self, record: &Record) -> io::Result<()> {
        if let Some(directory) = self.path.parent() {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        }
        let fresh = self.path.with_extension("new");
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
        file.write_all(&serde_json::to_vec(record)?)?;
        file.sync_all()?;
        fs::rename(&fresh, &self.path)
    }

    fn forget(&self) {
        let _ = fs::remove_file(&self.path);
    }
}

impl Fingerprint {
    /// Of a file as it is now.
    fn of(path: &Path) -> io::Result<Self> {
        let mut fingerprint = Self::default();
        let mut file = File::open(path)?;
        let mut segment = Vec::with_capacity(SEGMENT);
        loop {
            segment.clear();
            io::Read::read_to_end(&mut io::Read::take(&mut file, SEGMENT as u64), &mut segment)?;
            if segment.is_empty() {
                return Ok(fingerprint);
            }
            fingerprint.push(&segment);
        }
    }
}
