//! One upload to another machine.
//!
//! A part is sent in pieces that follow each other without waiting. On a new connection, the sender first asks how far
//! the receiver got, so that it sends nothing twice.

use std::{
    ops::Range,
    sync::{Arc, OnceLock},
};

use async_trait::async_trait;
use bytes::Bytes;
use data_encoding::HEXLOWER;
use peer::{Client, PeerError, Reply, Request};
use serde_json::Value;
use tokio::sync::Mutex;

use super::Connection;
use crate::{
    error::{Operation, StoreError},
    parts::{Part, Segments},
    store::{Checked, Completed, Session, Upload},
};

/// Bytes in one message.
const PIECE: u64 = 1 << 20;

/// An upload to a receiver.
pub(super) struct MachineUpload {
    client: Arc<Client>,
    connection: Connection,
    id: String,
    // The destination accepts bytes in order and each piece separately; otherwise a part counts as a whole.
    in_order: bool,
    resumable: bool,
    kept: Vec<(u64, u64)>,
    // Where the result is reported.
    made: Arc<OnceLock<Value>>,
    notes: OnceLock<Vec<String>>,
    state: Mutex<State>,
}

struct State {
    // The connection on which `there` was learned; 0 before the first.
    connection: u64,
    // How many bytes the receiver has.
    there: u64,
}

impl MachineUpload {
    pub(super) fn new(
        client: Arc<Client>,
        connection: Connection,
        id: String,
        in_order: bool,
        resumable: bool,
        kept: Vec<(u64, u64)>,
    ) -> Self {
        let there = kept.last().map_or(0, |(_, end)| *end);
        Self {
            client,
            connection,
            id,
            in_order,
            resumable,
            kept,
            made: Arc::default(),
            notes: OnceLock::new(),
            state: Mutex::new(State { connection: 0, there }),
        }
    }

    /// For the source of an archive; the result is reported in `made`.
    pub(super) fn of_job(client: Arc<Client>, connection: Connection, id: String, made: Arc<OnceLock<Value>>) -> Self {
        Self { made, ..Self::new(client, connection, id, true, false, Vec::new()) }
    }

    async fn ask(&self, operation: Operation, request: Request, body: &[Bytes]) -> Result<Reply, StoreError> {
        self.client
            .call(request, body)
            .await
            .map(|(reply, _)| reply)
            .map_err(|error| self.connection.failed(operation, &error))
    }

    /// Learns how far the upload got, once for each connection.
    async fn catch_up(&self, state: &mut State) -> Result<(), StoreError> {
        let connection =
            self.client.connection().await.map_err(|error| self.connection.failed(Operation::Write, &error))?;
        if connection != state.connection {
            match self.ask(Operation::Write, Request::Resume { upload: self.id.clone() }, &[]).await? {
                Reply::Upload { kept } => *state = State { connection, there: kept.last().map_or(0, |(_, end)| *end) },
                Reply::Gone => return Err(self.connection.lost()),
                _ => return Err(self.connection.misunderstood(Operation::Write)),
            }
        }
        Ok(())
    }

    async fn send(&self, part: &Part, skipped: u64) -> Result<(), StoreError> {
        let failed = |error: PeerError| self.connection.failed(Operation::Write, &error);
        let length = part.data.len();
        let mut rest: Segments = part.data.skip(skipped);
        let mut at = skipped;
        let mut answers = Vec::new();
        loop {
            let piece = rest.take(PIECE);
            let request = Request::Put {
                upload: self.id.clone(),
                index: part.index,
                offset: part.offset,
                length,
                at,
                total: part.total,
                last: part.last,
            };
            answers.push(
                self.client
                    .send(request, piece.pieces(), &|bytes| Box::pin(part.activity.pass(bytes)))
                    .await
                    .map_err(failed)?,
            );
            at += piece.len();
            rest = rest.skip(PIECE);
            if at >= length {
                break;
            }
        }
        for answer in answers {
            match answer.answer().await.map_err(failed)?.0 {
                Reply::Done => part.activity.touch(),
                Reply::Gone => return Err(self.connection.lost()),
                _ => return Err(self.connection.misunderstood(Operation::Write)),
            }
        }
        Ok(())
    }
}

#[async_trait]
impl Upload for MachineUpload {
    async fn put(&self, part: &Part) -> Result<(), StoreError> {
        let mut state = self.state.lock().await;
        self.catch_up(&mut state).await?;
        if !self.in_order {
            return self.send(part, 0).await;
        }
        if state.there < part.offset {
            // What it had acknowledged is gone.
            return Err(self.connection.lost());
        }
        let skipped = (state.there - part.offset).min(part.data.len());
        if skipped < part.data.len() {
            self.send(part, skipped).await?;
            state.there = part.end();
        }
        Ok(())
    }

    async fn patch(&self, offset: u64, bytes: &[u8]) -> Result<(), StoreError> {
        let request = Request::Patch { upload: self.id.clone(), offset };
        match self.ask(Operation::Write, request, &[Bytes::copy_from_slice(bytes)]).await? {
            Reply::Done => Ok(()),
            Reply::Gone => Err(self.connection.lost()),
            _ => Err(self.connection.misunderstood(Operation::Write)),
        }
    }

    async fn commit(&self, completed: &Completed) -> Result<Checked, StoreError> {
        let md5 = completed.md5.map(|md5| HEXLOWER.encode(&md5));
        let request =
            Request::Commit { upload: self.id.clone(), length: completed.length, parts: completed.parts, md5 };
        match self.ask(Operation::Publish, request, &[]).await? {
            Reply::Committed { checked, made, notes } => {
                let _ = self.notes.set(notes);
                if let Some(made) = made {
                    // OnEvent twice, it is the same.
                    let _ = self.made.set(made);
                }
                super::convert::checked(&checked).ok_or_else(|| self.connection.misunderstood(Operation::Publish))
            }
            Reply::Gone => Err(self.connection.lost()),
            _ => Err(self.connection.misunderstood(Operation::Publish)),
        }
    }

    fn notes(&self) -> Vec<String> {
        self.notes.get().cloned().unwrap_or_default()
    }

    fn temporary(&self) -> Option<String> {
        Some(self.id.clone())
    }

    async fn abort(&self) -> Result<(), StoreError> {
        self.ask(Operation::Delete, Request::Abort { upload: self.id.clone() }, &[]).await.map(drop)
    }

    fn session(&self) -> Option<Session> {
        self.resumable.then(|| Session(serde_json::json!({ "upload": self.id })))
    }

    fn kept(&self) -> Vec<Range<u64>> {
        self.kept.iter().map(|(start, end)| *start..*end).collect()
    }
}
