//! One upload: written under a temporary name, continued on a new connection if the old one broke, renamed at the end.

use std::{
    collections::BTreeMap,
    ops::Range,
    sync::{Arc, Mutex as Lock, PoisonError, atomic::Ordering},
};

use async_trait::async_trait;
use futures_util::{StreamExt, TryStreamExt, stream};
use russh_sftp::protocol::{FileAttributes, OpenFlags};
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

use super::{
    client::{Connection, STEP, UNDER_WAY},
    error::Fault,
    shared::Shared,
};
use crate::{
    error::{Kind, Operation, StoreError},
    owner,
    parts::Part,
    store::{Checked, Completed, Expected, Session, Upload},
};

/// With less space than this, a refused write means a full disk: the protocol has no number for it.
const NO_SPACE: u64 = 1 << 20;

/// How often what has arrived is written down for another process: not with every part, each of which would cost a
/// sync.
const NOTED_EVERY: u64 = 16 << 20;

/// What another process needs to continue.
#[derive(Clone, Serialize, Deserialize)]
struct Memo {
    directory: String,
    temporary: String,
    name: String,
    /// Everything before this offset was acknowledged. The length of the file says less: writes overtake each other.
    #[serde(default)]
    complete: u64,
}

/// A file under its temporary name.
pub(super) struct SftpUpload {
    shared: Arc<Shared>,
    memo: Memo,
    resumable: bool,
    kept: u64,
    arrived: Lock<Arrived>,
    state: Mutex<State>,
}

/// The parts that were acknowledged.
#[derive(Default)]
struct Arrived {
    /// Everything before this offset.
    up_to: u64,
    /// What follows a gap: starts and ends.
    ahead: BTreeMap<u64, u64>,
}

impl Arrived {
    fn add(&mut self, range: Range<u64>) {
        self.ahead.insert(range.start, range.end);
        while let Some(entry) = self.ahead.first_entry().filter(|entry| *entry.key() <= self.up_to) {
            self.up_to = self.up_to.max(entry.remove());
        }
    }
}

#[derive(Default)]
struct State {
    // Open on this connection and no other.
    open: Option<(Arc<Connection>, String)>,
    // Asked for the rename at least once: the answer may have been lost.
    publishing: bool,
    published: bool,
}

impl SftpUpload {
    pub(super) async fn create(shared: Arc<Shared>, name: &str, expected: Expected) -> Result<Self, StoreError> {
        let failed = shared.failed(Operation::Create);
        let connection = shared.connection().await?;
        if shared.is_taken(&connection, &shared.path(name)?).await.map_err(&failed)? {
            return Err(exists(&shared, Operation::Create, name));
        }
        if let (Some(wanted), Some(free)) = (expected.needs(), shared.space(&connection).await)
            && wanted > free
        {
            let reason = format!("{free} bytes are free, but the archive needs {wanted}");
            return Err(StoreError::remote(
                shared.label(),
                Operation::Create,
                Kind::Full { missing: Some(wanted - free) },
                reason,
            ));
        }
        let temporary = if expected.resumable { owner::lasting_name() } else { owner::temporary_name() };
        let memo = Memo { directory: shared.directory.clone(), temporary, name: name.to_owned(), complete: 0 };
        let path = shared.path(&memo.temporary)?;
        let mut made = make(&connection, &path).await;
        if matches!(made, Err(Fault::Missing)) {
            // For the owner only, like the archives in it.
            let private = FileAttributes { permissions: Some(0o700), ..FileAttributes::empty() };
            match connection.ask(connection.sftp.mkdir(&shared.directory, private)).await {
                Ok(_) => {
                    shared.is_new.store(true, Ordering::Relaxed);
                    made = make(&connection, &path).await;
                }
                Err(fault) => made = Err(fault),
            }
        }
        let handle = match made {
            Ok(handle) => handle,
            Err(Fault::Denied) => {
                let denied = failed(Fault::Denied);
                return Err(match shared.pool.home_instead(&connection).await {
                    Some(home) => denied.advise(format!("this account may not write there. {home}")),
                    None => denied,
                });
            }
            Err(fault) => return Err(failed(fault)),
        };
        let state = Mutex::new(State { open: Some((connection, handle)), ..State::default() });
        Ok(Self { shared, memo, resumable: expected.resumable, kept: 0, arrived: Lock::default(), state })
    }

    pub(super) async fn resume(shared: Arc<Shared>, session: &Session) -> Result<Option<Self>, StoreError> {
        let Ok(memo) = serde_json::from_value::<Memo>(session.0.clone()) else { return Ok(None) };
        if memo.directory != shared.directory || !owner::is_temporary(&memo.temporary) {
            return Ok(None);
        }
        let connection = shared.connection().await?;
        let Some(found) = shared.attributes(&connection, &shared.path(&memo.temporary)?, Operation::Read).await? else {
            return Ok(None);
        };
        // What was under way when the other process ended may have arrived in any order, with holes.
        let kept = memo.complete.min(found.len());
        let arrived = Lock::new(Arrived { up_to: kept, ..Arrived::default() });
        Ok(Some(Self { shared, memo, resumable: true, kept, arrived, state: Mutex::default() }))
    }

    fn temporary(&self) -> Result<String, StoreError> {
        self.shared.path(&self.memo.temporary)
    }

    fn lost(&self, reason: &str) -> StoreError {
        StoreError::remote(self.shared.label(), Operation::Write, Kind::Lost, reason)
    }

    /// The open file, on the current connection; true if the connection had to be reopened.
    async fn file(
        &self,
        state: &mut State,
        operation: Operation,
    ) -> Result<Option<(Arc<Connection>, String, bool)>, StoreError> {
        let connection = self.shared.connection().await?;
        if let Some((on, handle)) = &state.open
            && Arc::ptr_eq(on, &connection)
        {
            return Ok(Some((connection, handle.clone(), false)));
        }
        state.open = None;
        match connection.ask(connection.sftp.open(self.temporary()?, OpenFlags::WRITE, FileAttributes::empty())).await {
            Ok(opened) => {
                state.open = Some((Arc::clone(&connection), opened.handle.clone()));
                Ok(Some((connection, opened.handle, true)))
            }
            Err(Fault::Missing) => Ok(None),
            Err(fault) => Err(fault.at(&self.shared.label(), operation)),
        }
    }

    async fn file_for_writing(&self, state: &mut State) -> Result<(Arc<Connection>, String, bool), StoreError> {
        let file = self.file(state, Operation::Write).await?;
        file.ok_or_else(|| self.lost("the unfinished file is gone"))
    }

    /// After a new beginning: everything before `part` must still be there.
    async fn expect_up_to(&self, part: &Part, connection: &Connection, handle: &str) -> Result<(), StoreError> {
        let failed = self.shared.failed(Operation::Write);
        let size = connection.ask(connection.sftp.fstat(handle)).await.map_err(failed)?.attrs.len();
        if size < part.offset {
            return Err(self.lost("the server has lost a part of the unfinished file"));
        }
        // A server that states a full disk in a number of a newer protocol breaks the session instead.
        if size < part.end() && self.shared.space(connection).await.is_some_and(|free| free < STEP) {
            return Err(Fault::Full.at(&self.shared.label(), Operation::Write));
        }
        Ok(())
    }

    /// Writes in steps, many under way at once.
    async fn write(&self, connection: &Connection, handle: &str, part: &Part) -> Result<(), StoreError> {
        let step = connection.step() as usize;
        let mut offset = part.offset;
        let mut steps = Vec::new();
        for piece in part.data.pieces() {
            for from in (0..piece.len()).step_by(step) {
                let bytes = piece.slice(from..piece.len().min(from + step));
                let length = bytes.len() as u64;
                steps.push(async move {
                    part.activity.pass(length).await;
                    connection.write(handle, offset, bytes).await.inspect(|()| part.activity.touch())
                });
                offset += length;
            }
        }
        match stream::iter(steps).buffer_unordered(UNDER_WAY).try_collect::<()>().await {
            Ok(()) => Ok(()),
            Err(fault) => Err(self.explained(connection, fault).await.at(&self.shared.label(), Operation::Write)),
        }
    }

    /// A bare "failure" while writing is a full disk more often than anything else.
    async fn explained(&self, connection: &Connection, fault: Fault) -> Fault {
        if matches!(fault, Fault::Refused(_)) && self.shared.space(connection).await.is_some_and(|free| free < NO_SPACE)
        {
            return Fault::Full;
        }
        fault
    }

    /// The temporary file is gone. If our rename was under way, this is how a lost answer looks.
    async fn published_unheard(&self, state: &mut State, completed: &Completed) -> Result<Checked, StoreError> {
        let connection = self.shared.connection().await?;
        let found =
            self.shared.attributes(&connection, &self.shared.path(&self.memo.name)?, Operation::Publish).await?;
        match found {
            Some(found) if state.publishing && found.len() == completed.length => {
                state.published = true;
                Ok(Checked::Size)
            }
            Some(_) => Err(exists(&self.shared, Operation::Publish, &self.memo.name)),
            None => Err(self.lost("the unfinished file is gone")),
        }
    }

    async fn rename(
        &self,
        state: &mut State,
        connection: &Connection,
        completed: &Completed,
    ) -> Result<Checked, StoreError> {
        let failed = self.shared.failed(Operation::Publish);
        let (from, to) = (self.temporary()?, self.shared.path(&self.memo.name)?);
        // Some servers' rename replaces.
        if self.shared.is_taken(connection, &to).await.map_err(&failed)? {
            return Err(exists(&self.shared, Operation::Publish, &self.memo.name));
        }
        state.publishing = true;
        if let Err(fault) = connection.ask(connection.sftp.rename(&from, &to)).await {
            if let Fault::Broken(_) = fault {
                return Err(failed(fault));
            }
            // The refusal does not say why: look.
            if !self.shared.is_taken(connection, &from).await.map_err(&failed)? {
                return self.published_unheard(state, completed).await;
            }
            if self.shared.is_taken(connection, &to).await.map_err(&failed)? {
                return Err(exists(&self.shared, Operation::Publish, &self.memo.name));
            }
            return Err(failed(fault));
        }
        state.published = true;
        Ok(Checked::Size)
    }
}

fn exists(shared: &Shared, operation: Operation, name: &str) -> StoreError {
    StoreError::remote(shared.label(), operation, Kind::Exists, format!("{name} exists already"))
}

/// A new file, for its owner only.
async fn make(connection: &Connection, path: &str) -> Result<String, Fault> {
    let private = FileAttributes { permissions: Some(0o600), ..FileAttributes::empty() };
    let flags = OpenFlags::WRITE | OpenFlags::CREATE | OpenFlags::EXCLUDE;
    Ok(connection.ask(connection.sftp.open(path, flags, private)).await?.handle)
}

#[async_trait]
impl Upload for SftpUpload {
    async fn put(&self, part: &Part) -> Result<(), StoreError> {
        let mut state = self.state.lock().await;
        let (connection, handle, anew) = self.file_for_writing(&mut state).await?;
        if anew {
            self.expect_up_to(part, &connection, &handle).await?;
        }
        self.write(&connection, &handle, part).await?;
        self.arrived.lock().unwrap_or_else(PoisonError::into_inner).add(part.offset..part.end());
        Ok(())
    }

    async fn patch(&self, offset: u64, bytes: &[u8]) -> Result<(), StoreError> {
        let mut state = self.state.lock().await;
        let (connection, handle, _) = self.file_for_writing(&mut state).await?;
        let mut at = offset;
        for piece in bytes.chunks(connection.step() as usize) {
            let written = connection.write(&handle, at, piece.to_vec().into()).await;
            written.map_err(self.shared.failed(Operation::Write))?;
            at += piece.len() as u64;
        }
        Ok(())
    }

    async fn commit(&self, completed: &Completed) -> Result<Checked, StoreError> {
        let mut state = self.state.lock().await;
        if state.published {
            return Ok(Checked::Size);
        }
        let Some((connection, handle, _)) = self.file(&mut state, Operation::Publish).await? else {
            return self.published_unheard(&mut state, completed).await;
        };
        if connection.offers("fsync@openssh.com") {
            let flushed = connection.ask_patiently(connection.sftp.fsync(&handle)).await;
            match flushed {
                // File systems that can't flush have nothing to lose.
                Ok(_) | Err(Fault::Unsupported | Fault::Invalid) => {}
                Err(fault) => {
                    return Err(self.explained(&connection, fault).await.at(&self.shared.label(), Operation::Sync));
                }
            }
        }
        let size = connection
            .ask(connection.sftp.fstat(&handle))
            .await
            .map_err(self.shared.failed(Operation::Check))?
            .attrs
            .len();
        state.open = None;
        // An error of closing is one of writing.
        if let Err(fault) = connection.ask(connection.sftp.close(&handle)).await {
            return Err(self.explained(&connection, fault).await.at(&self.shared.label(), Operation::Sync));
        }
        if size != completed.length {
            let _ = connection.ask(connection.sftp.remove(self.temporary()?)).await;
            let reason = format!("{size} bytes arrived instead of {}", completed.length);
            return Err(StoreError::remote(self.shared.label(), Operation::Check, Kind::Mismatch, reason));
        }
        self.rename(&mut state, &connection, completed).await
    }

    fn temporary(&self) -> Option<String> {
        Some(self.memo.temporary.clone())
    }

    async fn abort(&self) -> Result<(), StoreError> {
        let mut state = self.state.lock().await;
        if state.published {
            return Ok(());
        }
        let connection = self.shared.connection().await?;
        if let Some((on, handle)) = state.open.take()
            && Arc::ptr_eq(&on, &connection)
        {
            // Servers on some systems can't remove a file that is open.
            let _ = connection.ask(connection.sftp.close(handle)).await;
        }
        match connection.ask(connection.sftp.remove(self.temporary()?)).await {
            Ok(_) | Err(Fault::Missing) => Ok(()),
            Err(fault) => Err(fault.at(&self.shared.label(), Operation::Delete)),
        }
    }

    fn session(&self) -> Option<Session> {
        if !self.resumable {
            return None;
        }
        let up_to = self.arrived.lock().unwrap_or_else(PoisonError::into_inner).up_to;
        serde_json::to_value(Memo { complete: up_to - up_to % NOTED_EVERY, ..self.memo.clone() }).ok().map(Session)
    }

    fn kept(&self) -> Vec<Range<u64>> {
        if self.kept == 0 { Vec::new() } else { vec![Range { start: 0, end: self.kept }] }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_has_no_gap_before_it_counts() {
        let mut arrived = Arrived::default();
        for (range, up_to) in [(10..20, 0), (30..40, 0), (0..10, 20), (0..10, 20), (20..30, 40), (35..50, 50)] {
            arrived.add(range.clone());
            assert_eq!(arrived.up_to, up_to, "{range:?}");
        }
        assert!(arrived.ahead.is_empty());
    }
}
