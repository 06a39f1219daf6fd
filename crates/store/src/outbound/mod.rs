//! Sends one archive to several destinations at once: it is read and compressed once, they share each byte, and a
//! failed one disturbs no other.
//!
//! Bytes come from a thread ([`Outbound::append`]); a local file takes them directly, remote destinations over bounded
//! channels of segments. A slow destination slows the archive down, unless there is a local copy: then it continues
//! from that copy once it is finished.
//!
//! Memory: a destination holds the parts under way, the one being filled and those held back for a late field (one
//! part, or the two that it touches), in parts of 8 MiB unless the archive is beyond 60 GB; the number of late fields
//! does not matter.

mod begin;
mod check;
mod chunker;
mod copies;
mod endings;
mod late;
mod original;
mod push;
mod remote_upload;

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::{Bytes, BytesMut};

use begin::undo;
pub use check::Fingerprint;
use check::Fingerprinting;
pub(crate) use copies::ALONE;
pub use copies::Outcome;
use copies::{FileCopy, RemoteCopy, SEGMENT, State, TOGETHER, directory, file_name};
pub use original::Original;
pub use push::{PushOptions, can_remember, push};
use remote_upload::Message;
pub use remote_upload::{Arrived, UploadMeter};

use crate::{
    bridge::Bridge,
    context::Context,
    error::{Kind, Operation, StoreError},
    local::{PendingFile, WriteMeter},
    retry::RetryPolicy,
    store::{Expected, Placement, Sink},
    twice::{Draft, LateSizes},
};

/// One destination of an archive.
#[expect(clippy::large_enum_variant, reason = "there is a handful of them")]
pub enum Target {
    /// A file of this machine.
    File(PathBuf),
    /// Any other destination, connected, and the object's name there.
    Remote {
        /// The destination.
        sink: Arc<dyn Sink>,
        /// The object.
        name: String,
        /// Retry policy and part size of its own.
        context: Option<Context>,
    },
}

/// What sockets need.
#[derive(Clone, Copy)]
pub struct Network<'a> {
    /// The runtime.
    pub bridge: &'a Bridge,
    /// Retry policy, interruption.
    pub context: &'a Context,
}

/// An archive on its way to its destinations.
pub struct Outbound {
    files: Vec<FileCopy>,
    remotes: Vec<RemoteCopy>,
    network: Option<(Bridge, Context)>,
    filling: BytesMut,
    // Of whole segments; the one being filled comes after.
    position: u64,
    // For reading back.
    fingerprint: Option<Fingerprinting>,
    // The user stopped it while it waited for a destination: bytes are missing there from then on.
    cancelled: bool,
}

impl Outbound {
    /// Prepares every copy: creates local files, checks remote names. A copy that can't be prepared is dropped; if none
    /// is left, the first failure is returned. `read_back`: compare every byte of every copy after arrival.
    pub fn prepare(targets: Vec<Target>, network: Option<Network<'_>>, read_back: bool) -> Result<Self, StoreError> {
        Self::prepare_each(targets.into_iter().map(|target| (target, read_back)).collect(), network)
    }

    /// As [`Self::prepare`]; each target with whether every byte of that copy is compared after arrival.
    pub fn prepare_each(targets: Vec<(Target, bool)>, network: Option<Network<'_>>) -> Result<Self, StoreError> {
        let (mut files, mut remotes) = (Vec::new(), Vec::new());
        let any_read_back = targets.iter().any(|(_, read_back)| *read_back);
        for (target, read_back) in targets {
            match target {
                Target::File(path) => {
                    let (file, failure) = match PendingFile::create(&path) {
                        Ok(file) => (Some(file), None),
                        Err(error) => (None, Some(error)),
                    };
                    files.push(FileCopy { path, read_back, file, failure });
                }
                Target::Remote { sink, name, context } => {
                    let Some(network) = &network else { continue };
                    let meter = Arc::new(UploadMeter::new(sink.label()));
                    let context = context.unwrap_or_else(|| network.context.clone());
                    let policy = RetryPolicy::new(&context);
                    meter.watch(policy.clone());
                    let state = match network.bridge.wait(look(&sink, &name, &policy)) {
                        Ok(()) => State::Prepared,
                        Err(error) => State::Failed(error),
                    };
                    remotes.push(RemoteCopy { sink, name, context, read_back, meter, policy, state, draft: None });
                }
            }
        }
        let mut outbound = Self {
            files,
            remotes,
            network: network.map(|network| (network.bridge.clone(), network.context.clone())),
            filling: BytesMut::new(),
            position: 0,
            fingerprint: any_read_back.then(Fingerprinting::default),
            cancelled: false,
        };
        outbound.fail_if_none_is_left()?;
        if outbound.has_file() {
            for destination in &mut outbound.remotes {
                if matches!(destination.state, State::Prepared)
                    && destination.sink.abilities().placement == Placement::Sequential
                {
                    destination.state = State::Deferred;
                }
            }
        }
        Ok(outbound)
    }

    /// True if a destination can't be corrected afterwards and takes the bytes live: all sizes must be right from the
    /// first byte.
    pub fn needs_sizes(&self) -> bool {
        self.files.iter().any(|copy| copy.file.as_ref().is_some_and(|file| !file.is_rewritable()))
            || self.prepared().any(|destination| destination.sink.abilities().placement == Placement::Sequential)
    }

    /// True if a destination needs the exact length of the archive before its first byte.
    pub fn needs_length(&self) -> bool {
        self.prepared().any(|destination| destination.sink.abilities().needs_length)
    }

    fn prepared(&self) -> impl Iterator<Item = &RemoteCopy> {
        self.remotes.iter().filter(|destination| matches!(destination.state, State::Prepared))
    }

    /// Device and inode of the growing local files, so that a backup of their directory can leave them out.
    pub fn identities(&self) -> Vec<(u64, u64)> {
        self.files.iter().filter_map(|copy| copy.file.as_ref()?.identity().ok()).collect()
    }

    /// Live figures of the local copies.
    pub fn writers(&self) -> Vec<Arc<WriteMeter>> {
        self.files.iter().filter_map(|copy| Some(copy.file.as_ref()?.meter())).collect()
    }

    /// Live figures of the remote copies.
    pub fn meters(&self) -> Vec<Arc<UploadMeter>> {
        self.remotes.iter().map(|destination| Arc::clone(&destination.meter)).collect()
    }

    /// From now on, the local copy at `path` leaves so many bytes of its file system free; it has failed when that is
    /// certain not to be possible. Fails when no copy is left.
    pub fn keep_free(&mut self, path: &Path, bytes: u64, expected: Expected) -> Result<(), StoreError> {
        for copy in self.files.iter_mut().filter(|copy| copy.path == path) {
            if let Some(file) = &mut copy.file
                && let Err(source) = file.keep_free(bytes, expected.needs().unwrap_or(0))
            {
                copy.failure = Some(StoreError::Io { operation: Operation::Create, path: copy.path.clone(), source });
                copy.file = None;
            }
        }
        self.fail_if_none_is_left()
    }

    /// To be called before [`Self::begin`] if sizes in the archive are known last, and nobody measures them. A
    /// destination that needs them first is sent the archive twice then, or has failed if that can't be; so has a local
    /// file that can't be corrected. Fails when no copy is left.
    pub fn sizes_come_last(&mut self) -> Result<(), StoreError> {
        let never = |label| {
            let reason = "it needs the sizes in an archive before its first byte, and those of this one are known last";
            StoreError::remote(label, Operation::Create, Kind::Invalid, reason)
        };
        for copy in &mut self.files {
            if copy.file.take_if(|file| !file.is_rewritable()).is_some() {
                let advice = "choose another directory, or mount this one so that files can be corrected";
                copy.failure = Some(never(directory(&copy.path)).advise(advice));
            }
        }
        let has_file = self.has_file();
        for copy in &mut self.remotes {
            match copy.state {
                State::Prepared => {}
                // From which file?
                State::Deferred if !has_file => copy.state = State::Prepared,
                _ => continue,
            }
            match LateSizes::at(&copy.sink) {
                LateSizes::AtOnce => {}
                LateSizes::Twice => {
                    copy.draft = Draft::at(&copy.sink);
                    // What is read back must be what was sent.
                    self.fingerprint.get_or_insert_default();
                }
                LateSizes::Never => {
                    let advice = "choose another destination, or copy the finished archive there with `haul push`";
                    copy.state = State::Failed(never(copy.sink.label()).advise(advice));
                }
            }
        }
        self.fail_if_none_is_left()
    }

    /// Starts the uploads. Fails when no copy is left.
    pub fn begin(&mut self, expected: Expected) -> Result<(), StoreError> {
        let remotes = self.remotes.iter().filter(|destination| matches!(destination.state, State::Prepared)).count();
        let Some((bridge, _)) = self.network.clone() else { return Ok(()) };
        let (at_once, patient) = (if remotes > 1 { TOGETHER } else { ALONE }, !self.has_file());
        // All at once: a slow destination must not delay the others.
        std::thread::scope(|scope| {
            for destination in
                self.remotes.iter_mut().filter(|destination| matches!(destination.state, State::Prepared))
            {
                scope.spawn(|| destination.start(expected, at_once, patient, &bridge));
            }
        });
        self.fail_if_none_is_left()
    }

    /// Appends bytes. Waits while a destination's memory budget is used up, unless there is a local copy. Fails if no
    /// copy is left; [`Self::finish`] says why.
    pub fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        for copy in &mut self.files {
            if let Some(file) = &mut copy.file
                && let Err(source) = file.append(bytes)
            {
                copy.failure = Some(StoreError::Io { operation: Operation::Write, path: copy.path.clone(), source });
                copy.file = None;
            }
        }
        if !self.remotes.is_empty() || self.fingerprint.is_some() {
            let mut rest = bytes;
            while !rest.is_empty() {
                if self.filling.is_empty() {
                    // Exactly one segment each: what is left of an allocation would be copied when it grows.
                    self.filling = BytesMut::with_capacity(SEGMENT);
                }
                let (taken, left) = rest.split_at(rest.len().min(SEGMENT - self.filling.len()));
                self.filling.extend_from_slice(taken);
                rest = left;
                if self.filling.len() == SEGMENT {
                    self.hand_over();
                }
            }
        }
        if self.cancelled {
            return Err(io::Error::other(StoreError::Cancelled));
        }
        if self.is_alive() { Ok(()) } else { Err(io::Error::other("every destination failed")) }
    }

    /// The `length` bytes from `offset` on will be patched. Call it before or right after they are appended.
    pub fn late(&mut self, offset: u64, length: u64) {
        let range = offset..offset + length;
        if let Some(fingerprint) = &mut self.fingerprint {
            fingerprint.late(range.clone());
        }
        self.tell(|| Message::Late(range.clone()));
    }

    /// Replaces bytes appended before, and announced by [`Self::late`].
    pub fn patch(&mut self, offset: u64, bytes: &[u8]) {
        for copy in &mut self.files {
            if let Some(file) = &mut copy.file {
                file.patch(offset, bytes);
            }
        }
        // Bytes that no destination has yet are corrected when they are handed over.
        let (from, to) =
            (offset.max(self.position), (offset + bytes.len() as u64).min(self.position + self.filling.len() as u64));
        if from < to {
            self.filling[(from - self.position) as usize..(to - self.position) as usize]
                .copy_from_slice(&bytes[(from - offset) as usize..(to - offset) as usize]);
        }
        if let Some(fingerprint) = &mut self.fingerprint {
            fingerprint.patch(offset, bytes);
        }
        let bytes = Bytes::copy_from_slice(bytes);
        self.tell(|| Message::Patch(offset, bytes.clone()));
    }

    /// The archive is complete: publishes and checks every copy, and says what became of each, in the order local,
    /// remote.
    pub fn finish(mut self) -> Vec<Outcome> {
        if !self.filling.is_empty() {
            self.hand_over();
        }
        if self.cancelled {
            return self.cancel();
        }
        let fingerprint = self.fingerprint.take().map(|fingerprint| Arc::new(fingerprint.finish()));
        self.tell(|| Message::Completed(fingerprint.clone()));
        let mut outcomes: Vec<Outcome> =
            self.files.drain(..).map(|copy| copy.publish(fingerprint.as_deref(), self.network.as_ref())).collect();
        let copy = outcomes.iter().find(|outcome| outcome.result.is_ok()).and_then(|outcome| outcome.path.clone());
        let Some((bridge, _)) = self.network.take() else { return outcomes };
        // All at once: a slow destination must not delay the others.
        let remotes: Vec<RemoteCopy> = self.remotes.drain(..).collect();
        outcomes.extend(std::thread::scope(|scope| {
            let running: Vec<_> = remotes
                .into_iter()
                .map(|destination| scope.spawn(|| destination.finish(copy.as_deref(), fingerprint.as_ref(), &bridge)))
                .collect();
            running.into_iter().filter_map(|thread| thread.join().ok()).collect::<Vec<_>>()
        }));
        outcomes
    }

    /// Gives up: nothing stays anywhere, as far as it can be reached. Says what had failed by then.
    pub fn abort(mut self) -> Vec<StoreError> {
        let mut failures: Vec<StoreError> = self.files.drain(..).filter_map(|copy| copy.failure).collect();
        if let Some((bridge, _)) = self.network.take() {
            let (mut ending, mut undoing) = (Vec::new(), Vec::new());
            for destination in self.remotes.drain(..) {
                let hurry = destination.hurry();
                match destination.state {
                    // Without its sender it gives up; all of them do so at once.
                    State::Live { task, .. } => ending.push(task),
                    State::Failed(error) => failures.push(error),
                    State::Beginning { creating, .. } => {
                        undoing.push(bridge.spawn(undo(creating, destination.context, hurry)));
                    }
                    State::Prepared | State::Deferred => {}
                }
            }
            for task in ending {
                match bridge.wait(task) {
                    Ok(Err(StoreError::Cancelled) | Ok(_)) | Err(_) => {}
                    Ok(Err(error)) => failures.push(error),
                }
            }
            for task in undoing {
                let _ = bridge.wait(task);
            }
        }
        failures
    }

    /// What becomes of the copies when the user stopped it.
    fn cancel(mut self) -> Vec<Outcome> {
        let outcome = |label, name, path| Outcome { label, name, path, result: Err(StoreError::Cancelled), retries: 0 };
        let files = self
            .files
            .iter()
            .map(|copy| outcome(directory(&copy.path), file_name(&copy.path), Some(copy.path.clone())));
        let outcomes = files
            .chain(
                self.remotes
                    .iter()
                    .map(|destination| outcome(destination.sink.label(), destination.name.clone(), None)),
            )
            .collect();
        self.files.clear();
        self.abort();
        outcomes
    }

    /// Sends the full segment to every remote copy.
    fn hand_over(&mut self) {
        let segment = self.filling.split().freeze();
        if let Some(fingerprint) = &mut self.fingerprint {
            fingerprint.push(&segment);
        }
        let has_file = self.has_file();
        if let Some((bridge, _)) = &self.network {
            for destination in &mut self.remotes {
                self.cancelled |= destination.take(&segment, self.position, has_file, bridge).is_err();
            }
        }
        self.position += segment.len() as u64;
    }

    fn tell(&self, message: impl Fn() -> Message) {
        for destination in &self.remotes {
            if let State::Live { sender, detached_at: None, .. } = &destination.state {
                // A failed copy says why when it is asked for its outcome.
                let _ = sender.send(message());
            } else if let State::Live { sender, .. } = &destination.state {
                // What is still in its memory needs the corrections; the rest comes from the local copy, which has
                // them. The end comes later.
                if !matches!(message(), Message::Completed(_)) {
                    let _ = sender.send(message());
                }
            }
        }
    }

    fn has_file(&self) -> bool {
        self.files.iter().any(|copy| copy.file.is_some())
    }

    fn is_alive(&self) -> bool {
        self.has_file()
            || self.remotes.iter().any(|destination| match &destination.state {
                State::Prepared => true,
                State::Live { task, detached_at, .. } => !task.is_finished() && detached_at.is_none(),
                State::Beginning { .. } | State::Deferred | State::Failed(_) => false,
            })
    }

    fn fail_if_none_is_left(&mut self) -> Result<(), StoreError> {
        if self.is_alive() {
            return Ok(());
        }
        let of_files = self.files.iter_mut().find_map(|copy| copy.failure.take());
        let of_remotes = || {
            self.remotes.iter_mut().find_map(|destination| {
                match std::mem::replace(&mut destination.state, State::Prepared) {
                    State::Failed(error) => Some(error),
                    _ => None,
                }
            })
        };
        Err(of_files.or_else(of_remotes).unwrap_or(StoreError::Cancelled))
    }
}

/// Is the name free, and the destination cleaned up?
async fn look(sink: &Arc<dyn Sink>, name: &str, policy: &RetryPolicy) -> Result<(), StoreError> {
    let Some(store) = Arc::clone(sink).store() else { return Ok(()) };
    if policy.retry(|| store.entry(name)).await?.is_some() {
        let reason = format!("{name} exists already");
        return Err(StoreError::remote(store.label(), Operation::Create, Kind::Exists, reason));
    }
    // What can't be tidied up today stays for the next run; it is no reason to make no backup.
    let _ = policy.unless_cancelled(store.remove_abandoned()).await?;
    Ok(())
}
