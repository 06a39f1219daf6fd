//! One upload in numbered chunks: a folder accepts them in any order, and a `MOVE` makes them one file under its final
//! name.

use std::{
    collections::BTreeMap,
    ops::Range,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use async_trait::async_trait;
use http::Method;
use serde_json::json;
use url::Url;

use crate::{
    error::{Kind, Operation, StoreError},
    http as web, owner,
    parts::Part,
    store::{Checked, Completed, Expected, Session, Upload},
    webdav::{Client, below, folder_below},
};

/// How long to wait before asking again whether the chunks have become a file.
const ASSEMBLING: Duration = Duration::from_secs(2);
const TOTAL: &str = "OC-Total-Length";

/// An upload in chunks.
pub(super) struct ChunkedUpload {
    client: Arc<Client>,
    // The folder of the chunks.
    transfer: Url,
    identity: String,
    name: String,
    resumable: bool,
    // By number: the position of each chunk in the archive.
    chunks: Mutex<BTreeMap<u32, Range<u64>>>,
    at_start: Vec<Range<u64>>,
    // Once the server was asked to assemble, an absent folder may mean that it has.
    asked: AtomicBool,
    // It promised to go on by itself.
    promised: AtomicBool,
    // It may be assembling although it did not say so: until then, only ask.
    busy_until: Mutex<Option<Instant>>,
}

impl ChunkedUpload {
    /// Makes the folder.
    pub(super) async fn create(
        client: Arc<Client>,
        uploads: &Url,
        name: &str,
        expected: Expected,
    ) -> Result<Self, StoreError> {
        let identity = transfer_of(&client.beginning(expected.resumable));
        let upload = Self::of(client, uploads, identity, name, expected.resumable, BTreeMap::new());
        let mut request = upload.request(b"MKCOL", upload.transfer.clone())?;
        if let Some(total) = expected.exact {
            request = request.header(TOTAL, total);
        }
        let response = match upload.client.send(Operation::Create, request, &crate::parts::Activity::default()).await {
            Ok(response) => response,
            Err(error) => {
                upload.client.not_heard(expected.resumable, temporary_of(&upload.identity));
                return Err(error);
            }
        };
        match response.status().as_u16() {
            // 405: it is there; the answer to an earlier attempt was lost.
            200..=299 | 405 => Ok(upload),
            404 | 409 => Err(upload
                .client
                .error(Operation::Create, Kind::Protocol, "this user has no folder for uploads")
                .advise("use the account name as user (Settings, Personal info), not an e-mail address")),
            _ => {
                let error = upload.client.refusal(Operation::Create, response).await;
                // A proxy that stopped waiting does not say whether it was done.
                if error.is_transient() {
                    upload.client.not_heard(expected.resumable, temporary_of(&upload.identity));
                }
                Err(error)
            }
        }
    }

    fn of(
        client: Arc<Client>,
        uploads: &Url,
        identity: String,
        name: &str,
        resumable: bool,
        chunks: BTreeMap<u32, Range<u64>>,
    ) -> Self {
        Self {
            transfer: folder_below(uploads, &[&identity]),
            client,
            identity,
            name: name.to_owned(),
            resumable,
            at_start: chunks.values().cloned().collect(),
            chunks: Mutex::new(chunks),
            asked: AtomicBool::new(false),
            promised: AtomicBool::new(false),
            busy_until: Mutex::default(),
        }
    }

    /// Finds it again; `None` when it is gone. Only chunks that are there with the size they were sent with count.
    pub(super) async fn resume(
        client: Arc<Client>,
        uploads: &Url,
        session: &Session,
    ) -> Result<Option<Self>, StoreError> {
        let text = |key: &str| session.0.get(key).and_then(|value| value.as_str()).map(str::to_owned);
        let (Some(name), Some(identity)) = (text("name"), text("transfer")) else { return Ok(None) };
        if client.check_name(&name).is_err()
            || client.check_name(&identity).is_err()
            || !owner::is_temporary(&temporary_of(&identity))
        {
            return Ok(None);
        }
        let sent: BTreeMap<u32, Range<u64>> =
            session.0.get("chunks").cloned().and_then(|chunks| serde_json::from_value(chunks).ok()).unwrap_or_default();
        let Some(there) = client.children(Operation::Create, folder_below(uploads, &[&identity])).await? else {
            return Ok(None);
        };
        let sizes: BTreeMap<String, u64> =
            there.into_iter().filter_map(|chunk| Some((chunk.name().to_owned(), chunk.size?))).collect();
        let is_there = |number: u32, range: &Range<u64>| {
            sizes.get(&chunk_name(number)) == Some(&(range.end.saturating_sub(range.start)))
        };
        let mut chunks: BTreeMap<u32, Range<u64>> =
            sent.into_iter().filter(|(number, range)| is_there(*number, range)).collect();
        // A file of sessions that was tampered with may hold anything.
        let mut end = 0;
        chunks.retain(|_, range| {
            let follows = range.start >= end && range.end > range.start;
            end = if follows { range.end } else { end };
            follows
        });
        Ok(Some(Self::of(client, uploads, identity, &name, true, chunks)))
    }

    fn chunks(&self) -> MutexGuard<'_, BTreeMap<u32, Range<u64>>> {
        self.chunks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Every request names the final address, by which the server knows where the bytes will live.
    fn request(&self, method: &'static [u8], url: Url) -> Result<reqwest::RequestBuilder, StoreError> {
        let method = Method::from_bytes(method)
            .map_err(|_| self.client.error(Operation::Write, Kind::Invalid, "the request has no name"))?;
        Ok(self.client.request(method, url).header("Destination", self.client.child(&self.name).as_str()))
    }

    fn lost(&self, operation: Operation) -> StoreError {
        self.client.error(operation, Kind::Lost, "the data sent so far is gone")
    }

    fn assembling(&self) -> StoreError {
        self.client.error(
            Operation::Publish,
            Kind::Transient { retry_after: Some(ASSEMBLING) },
            "it is still assembling the chunks",
        )
    }

    fn busy_until(&self) -> Option<Instant> {
        *self.busy_until.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives it time in proportion to the size, without asking for the same work again.
    fn let_it_work(&self, length: u64) {
        *self.busy_until.lock().unwrap_or_else(PoisonError::into_inner) =
            Some(Instant::now() + self.client.digesting(length));
    }

    async fn is_transfer_there(&self) -> Result<bool, StoreError> {
        Ok(self.client.describe(Operation::Publish, self.transfer.clone(), "0").await?.is_some())
    }

    /// Whether an earlier request to assemble has done its work.
    async fn is_done(&self, length: u64) -> Result<bool, StoreError> {
        if !self.asked.load(Ordering::Relaxed) || self.is_transfer_there().await? {
            return Ok(false);
        }
        Ok(self.client.size(Operation::Publish, self.client.child(&self.name)).await? == Some(length))
    }

    async fn assemble(&self, length: u64) -> Result<(), StoreError> {
        let from = below(&self.transfer, &[".file"]);
        // Before the answer, which may get lost.
        self.asked.store(true, Ordering::Relaxed);
        let asked_before = self.busy_until().is_some();
        let response = match self
            .client
            .rename(from, self.client.child(&self.name).as_str(), &[(TOTAL, length.to_string())])
            .await
        {
            Ok(response) => response,
            Err(error) => {
                self.let_it_work(length);
                return Err(error);
            }
        };
        match response.status().as_u16() {
            202 => {
                self.promised.store(true, Ordering::Relaxed);
                Err(self.assembling())
            }
            // A proxy stopped waiting, or the server is still working: another request would start the same work again.
            423 | 502 | 504 | 520..=529 => {
                self.let_it_work(length);
                Err(self.assembling())
            }
            // What an earlier request has half done.
            404 | 500 if asked_before && self.is_transfer_there().await? => {
                self.let_it_work(length);
                Err(self.assembling())
            }
            207 => Err(self.client.error(Operation::Publish, Kind::Protocol, "it could not assemble the chunks")),
            200..=299 => Ok(()),
            404 | 409 | 412 if self.is_done(length).await? => Ok(()),
            404 if !self.is_transfer_there().await? => Err(self.lost(Operation::Publish)),
            412 => Err(self.client.error(Operation::Publish, Kind::Exists, format!("{} exists already", self.name))),
            // The chunks do not add up, or one is too small.
            400 => match self.client.refusal(Operation::Check, response).await {
                StoreError::Remote(mut error) => {
                    error.kind = Kind::Mismatch;
                    Err(StoreError::Remote(error))
                }
                other => Err(other),
            },
            _ => Err(self.client.refusal(Operation::Publish, response).await),
        }
    }
}

/// Five digits, so that order by name is order by number.
fn chunk_name(number: u32) -> String {
    format!("{number:05}")
}

#[async_trait]
impl Upload for ChunkedUpload {
    async fn put(&self, part: &Part) -> Result<(), StoreError> {
        let number = part.index + 1;
        let request = self.request(b"PUT", below(&self.transfer, &[&chunk_name(number)]))?;
        let request = match part.total {
            Some(total) => request.header(TOTAL, total),
            None => request,
        };
        let response = self
            .client
            .send(Operation::Write, web::with_body(request, &part.data, &part.activity), &part.activity)
            .await?;
        match response.status().as_u16() {
            // 412: the server forgot what it noted about this upload.
            404 | 409 | 410 | 412 => return Err(self.lost(Operation::Write)),
            200..=299 => (),
            _ => return Err(self.client.refusal(Operation::Write, response).await),
        }
        self.chunks().insert(number, part.offset..part.end());
        Ok(())
    }

    async fn patch(&self, _: u64, _: &[u8]) -> Result<(), StoreError> {
        Err(self.client.error(Operation::Write, Kind::Invalid, "bytes already sent can't be changed"))
    }

    async fn commit(&self, completed: &Completed) -> Result<Checked, StoreError> {
        if !self.is_done(completed.length).await? {
            let is_busy = self.busy_until().is_some_and(|until| Instant::now() < until);
            if is_busy || self.promised.load(Ordering::Relaxed) {
                return Err(self.assembling());
            }
            self.assemble(completed.length).await?;
        }
        self.client.compare(&self.name, completed.length).await
    }

    fn temporary(&self) -> Option<String> {
        Some(temporary_of(&self.identity))
    }

    async fn abort(&self) -> Result<(), StoreError> {
        self.client.delete(self.transfer.clone()).await.map(|_| ())
    }

    fn session(&self) -> Option<Session> {
        self.resumable
            .then(|| Session(json!({ "name": self.name, "transfer": self.identity, "chunks": *self.chunks() })))
    }

    fn kept(&self) -> Vec<Range<u64>> {
        self.at_start.clone()
    }
}

/// Nextcloud refuses names that end in `.part`, so a transfer's folder bears the bare middle of an unfinished thing's
/// name.
pub(super) fn transfer_of(temporary: &str) -> String {
    temporary.trim_start_matches('.').trim_end_matches(".part").to_owned()
}

/// The reverse of [`transfer_of`].
pub(super) fn temporary_of(transfer: &str) -> String {
    format!(".{transfer}.part")
}
