//! Pushes an existing archive to one destination; the same command continues where it stopped, even after a `kill -9`
//! or a reboot.
//!
//! What is needed for that is kept in the state directory (mode 0600) from the first part on, and removed when the copy
//! has arrived or has failed for good.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use peer::disk::replace_private;
use rustix::{
    fs::{FlockOperation, flock},
    io::Errno,
};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tokio::sync::{Semaphore, mpsc};

use super::{
    Arrived, Message, Network, UploadMeter, begin,
    check::compare,
    chunker::PartPlan,
    copies::{ALONE, BEGINNINGS, feed},
    endings::{self, died},
    look,
    original::Original,
    remote_upload::{RemoteUpload, Resuming, budget_for},
};
use crate::{
    context::Context,
    error::{Kind, Operation, StoreError},
    retry::RetryPolicy,
    store::{Checked, Entry, Expected, Placement, Session, Sink, Store, Upload},
};

/// What was not gone on with for so long is ended at every destination, so nothing can go on from its record.
const KEPT: Duration = Duration::from_hours(30 * 24);

/// What is pushed where.
pub struct PushOptions<'a> {
    /// The archive.
    pub archive: Original<'a>,
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

/// Sends the archive. If the user stops it, or Haul gives up waiting, what arrived stays for the next call; every other
/// failure leaves nothing.
pub fn push(
    options: &PushOptions<'_>,
    sink: &Arc<dyn Sink>,
    network: &Network<'_>,
    meter: &Arc<UploadMeter>,
) -> Result<Arrived, StoreError> {
    let state = PushState::claim(options, sink.as_ref(), network.context)?;
    let mut begun = 0;
    loop {
        begun += 1;
        match attempt(options, sink, network, meter, &state) {
            Err(error) if error.kind() == Some(Kind::Lost) && begun < BEGINNINGS => meter.restart(),
            result => {
                meter.end();
                return result;
            }
        }
    }
}

fn attempt(
    options: &PushOptions<'_>,
    sink: &Arc<dyn Sink>,
    network: &Network<'_>,
    meter: &Arc<UploadMeter>,
    state: &PushState,
) -> Result<Arrived, StoreError> {
    let version = options.archive.version()?;
    let length = version.length;
    let (bridge, context) = (network.bridge, network.context);
    let policy = RetryPolicy::new(context);
    meter.watch(policy.clone());
    let abilities = sink.abilities();
    let plan = PartPlan::new(&abilities, Some(length), context.tuning.part_size);
    let record = |session| Record { length, modified: version.modified, part_size: plan.size(0), session };

    // Without a record, nobody finds what is left there.
    let may_stay = abilities.resumable && state.lock.is_some();
    let expected = Expected { resumable: may_stay, ..Expected::exactly(length) };
    let begun = bridge.wait(async {
        if let Some(store) = Arc::clone(sink).store() {
            match state.continued(store.as_ref(), &record, &policy, context).await? {
                Earlier::Upload(upload) => return Ok(Some(upload)),
                // It may have arrived in the very moment in which it was cut off, or while it was compared.
                Earlier::Gone if is_there(options, store.as_ref(), length, &policy, context).await? => return Ok(None),
                Earlier::Gone | Earlier::None => state.forget(),
            }
        }
        look(sink, options.name, &policy).await?;
        begin::create(sink, options.name, expected, &policy, context).await.map(|upload| Some(Arc::from(upload)))
    })?;
    let Some(upload): Option<Arc<dyn Upload>> = begun else {
        state.forget();
        meter.add(length);
        return Ok(Arrived { length, checked: Checked::ReadBack, notes: Vec::new(), uncompared: None });
    };
    let save = {
        let (state, upload) = (state.clone(), Arc::clone(&upload));
        let record = Arc::new(Mutex::new(record(Session(serde_json::Value::Null))));
        move || {
            if let Some(session) = upload.session() {
                let mut record = record.lock().unwrap_or_else(PoisonError::into_inner);
                if record.session.0 != session.0 {
                    record.session = session;
                    // Without it the upload still arrives; only an interruption would cost more.
                    let _ = state.save(&record);
                }
            }
        }
    };
    save();
    let (kept, sent) = (upload.kept(), Arc::clone(&upload));
    let concurrency = abilities.concurrency.clamp(1, ALONE);
    let budget = Arc::new(Semaphore::new(budget_for(plan.size(0), concurrency, 0)));
    let task = RemoteUpload {
        sink: Arc::clone(sink),
        name: options.name.to_owned(),
        upload,
        plan,
        concurrency,
        policy: policy.clone(),
        context: context.clone(),
        meter: Arc::clone(meter),
        budget: Arc::clone(&budget),
        read_back: options.read_back,
        resuming: Some(Resuming {
            kept,
            whole_parts: matches!(abilities.placement, Placement::Parts(_)),
            may_stay,
            save: Box::new(save),
        }),
    };
    let (sender, receiver) = mpsc::unbounded_channel();
    let task = bridge.spawn(task.run(receiver));
    let read = feed(options.archive, length, 0, None, &sender, &budget, &policy, bridge);
    // A failure must not leave before the sending task has ended.
    let (read, fingerprint) =
        match read.and_then(|()| options.read_back.then(|| options.archive.fingerprint(context)).transpose()) {
            Ok(fingerprint) => (Ok(()), fingerprint.map(Arc::new)),
            Err(error) => (Err(error), None),
        };
    let changed = !options.archive.is_still(version);
    if read.is_ok() && !changed {
        let _ = sender.send(Message::Completed(fingerprint));
    }
    drop(sender);
    let result = bridge.wait(task).unwrap_or_else(|error| Err(died(&sink.label(), &error)));
    if changed {
        // Half of one archive and half of another: of no use to the next call.
        bridge.wait(endings::abort(context, &*sent));
        state.forget();
        let reason = format!("{} changed while Haul sent it", options.archive.label());
        return Err(StoreError::remote(sink.label(), Operation::Write, Kind::Mismatch, reason)
            .advise("send it again when nothing writes to it any more"));
    }
    if !result.as_ref().is_err_and(StoreError::may_continue_later) {
        state.forget();
    }
    read.and(result)
}

/// Whether the destination has exactly this archive under exactly this name.
async fn is_there(
    options: &PushOptions<'_>,
    store: &dyn Store,
    length: u64,
    policy: &RetryPolicy,
    context: &Context,
) -> Result<bool, StoreError> {
    let same_size = |found: &Option<Entry>| found.as_ref().is_some_and(|entry| entry.size == length);
    if !same_size(&policy.settled(|| store.entry(options.name), same_size).await?) {
        return Ok(false);
    }
    let fingerprint = options.archive.fingerprint(context)?;
    match compare(store, options.name, &fingerprint, policy).await {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == Some(Kind::Mismatch) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Whether an interruption of this push leaves something that the same command can go on from, as far as the state
/// directory is concerned.
pub fn can_remember(context: &Context) -> bool {
    let directory = &context.state;
    let _ = fs::DirBuilder::new().recursive(true).mode(0o700).create(directory);
    rustix::fs::access(directory.as_path(), rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK).is_ok()
}

/// Where the record of one push lives.
#[derive(Clone)]
struct PushState {
    path: PathBuf,
    // None where nothing can be kept.
    lock: Option<Arc<Lock>>,
}

/// Two that send the same archive to the same name would get into each other's way. Removed with its holder.
struct Lock {
    path: PathBuf,
    _file: File,
}

impl Drop for Lock {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// What an earlier call left.
enum Earlier {
    None,
    Upload(Arc<dyn Upload>),
    /// A record of this very archive, whose upload is no longer there.
    Gone,
}

impl PushState {
    /// Identifies who sends this archive there. If the state directory is not writable, only resuming is lost.
    fn claim(options: &PushOptions<'_>, sink: &dyn Sink, context: &Context) -> Result<Self, StoreError> {
        let identity = format!("{}\0{}\0{}", options.archive.identity(), sink.label(), options.name);
        let digest = Sha256::digest(identity.as_bytes());
        let number = digest[..8].iter().fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
        let path = context.state.join(format!("push-{number:016x}.json"));
        let lock = path.with_extension("lock");
        let _ = fs::DirBuilder::new().recursive(true).mode(0o700).create(&context.state);
        forget_old(&context.state);
        loop {
            let Ok(file) = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&lock) else {
                return Ok(Self { path, lock: None });
            };
            if flock(&file, FlockOperation::NonBlockingLockExclusive) == Err(Errno::WOULDBLOCK) {
                let reason = format!("another haul process is already sending {} there", options.archive.label());
                return Err(StoreError::remote(sink.label(), Operation::Create, Kind::Exists, reason)
                    .advise("wait until it has ended"));
            }
            // Its last holder may have removed it just now.
            if file.metadata().is_ok_and(|metadata| metadata.nlink() > 0) {
                return Ok(Self { path, lock: Some(Arc::new(Lock { path: lock, _file: file })) });
            }
        }
    }

    /// The upload that an earlier call began, if the archive is unchanged and the destination still has it.
    async fn continued(
        &self,
        store: &dyn Store,
        record: &impl Fn(Session) -> Record,
        policy: &RetryPolicy,
        context: &Context,
    ) -> Result<Earlier, StoreError> {
        let Some(found) = fs::read(&self.path).ok().and_then(|bytes| serde_json::from_slice::<Record>(&bytes).ok())
        else {
            return Ok(Earlier::None);
        };
        let upload: Option<Arc<dyn Upload>> = match policy.retry(|| store.resume(&found.session)).await {
            Ok(upload) => upload.map(Arc::from),
            Err(error) if error.kind() == Some(Kind::Lost) => None,
            Err(error) => return Err(error),
        };
        let wanted = record(Session(serde_json::Value::Null));
        let same_archive = (found.length, found.modified) == (wanted.length, wanted.modified);
        match upload {
            Some(upload) if same_archive && found.part_size == wanted.part_size => Ok(Earlier::Upload(upload)),
            None if same_archive => Ok(Earlier::Gone),
            other => {
                // Another archive by now: what arrived of the old one is of no use.
                if let Some(upload) = other {
                    endings::abort(context, &*upload).await;
                }
                Ok(Earlier::None)
            }
        }
    }

    fn save(&self, record: &Record) -> io::Result<()> {
        replace_private(&self.path, &serde_json::to_vec(record)?)
    }

    fn forget(&self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// Removes the records of pushes that nobody went on with, for example because another copy took their place.
fn forget_old(state: &Path) {
    for entry in fs::read_dir(state).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let is_record = name.to_str().and_then(|name| name.strip_prefix("push-")?.strip_suffix(".json")).is_some();
        let modified = entry.metadata().and_then(|metadata| metadata.modified()).ok().filter(|_| is_record);
        // A clock that was put back makes nothing old.
        if modified.and_then(|modified| modified.elapsed().ok()).is_some_and(|age| age > KEPT) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use std::time::SystemTime;

    use super::*;

    #[test]
    fn only_old_records_are_forgotten() {
        let state = tempfile::tempdir().unwrap();
        let old = SystemTime::now() - KEPT - Duration::from_hours(1);
        let names = ["push-1.json", "push-2.json", "push-1.lock", "catalog.json"];
        for name in names {
            let file = File::create(state.path().join(name)).unwrap();
            if name != "push-2.json" {
                file.set_modified(old).unwrap();
            }
        }
        forget_old(state.path());
        forget_old(&state.path().join("nowhere"));
        assert_eq!(names.map(|name| state.path().join(name).exists()), [false, true, true, true]);
    }
}
