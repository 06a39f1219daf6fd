//! Another machine that runs `haul receive`.
//!
//! `peer` has the connection and its protocol. [`Machine`] is the sender's view of a receiver as a [`Store`];
//! [`Receiver`] carries out the requests of paired machines at the receiver's own store. The destination accepts bytes
//! as the store behind the receiver does.

mod arrival;
mod building;
mod compressor;
mod contact;
mod convert;
mod piece;
mod receiver;
mod records;
mod upload;

use std::{
    collections::HashMap,
    ops::Range,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use peer::{
    Client, PeerError, Reply, Request,
    message::{Object, Unfinished},
};
use serde::de::DeserializeOwned;
use url::Url;

pub use arrival::ArrivalNote;
pub use building::{ArchiveBuilder, Made, Making, Task};
pub use contact::{VARIABLE as CODE_VARIABLE, own_name};
pub use receiver::{EventKind, OnEvent, Receiver, ReceiverEvent, ReceiverOptions};

use crate::{
    context::{Context, Options},
    error::{Kind, Operation, StoreError},
    owner,
    scheme::Scheme,
    store::{Abilities, Entry, Expected, Placement, RemoteCompressor, Session, Sink, Store, Upload},
};
use upload::MachineUpload;

/// Another machine that runs `haul receive`.
pub(crate) const SCHEME: Scheme = Scheme {
    names: &["haul"],
    example: "haul://host",
    service: "another machine that runs `haul receive`",
    keys: &[],
    connect: |url, options, context| Box::pin(connect(url, options, context)),
};

/// How much one request reads.
const READ: u64 = 2 << 20;

/// Where this machine's key, the machines it knows, and what it is receiving are kept, inside the state directory.
pub fn state(context_state: &Path) -> PathBuf {
    context_state.join("machines")
}

/// Makes contact, pairs if the receiver is not known yet, and asks what it can do.
async fn connect(url: &Url, _options: &Options, context: &Context) -> Result<Arc<dyn Store>, StoreError> {
    let (client, connection) = contact::make(url, context).await?;
    let machine = Machine { client: Arc::new(client), connection, creating: Mutex::default() };
    let (reply, _) = machine.ask(Operation::Connect, Request::Abilities).await?;
    let Reply::Abilities(abilities) = reply else { return Err(machine.connection.misunderstood(Operation::Connect)) };
    machine.connection.seen();
    Ok(Arc::new(Connected {
        abilities: convert::abilities(&abilities),
        makes: abilities.makes,
        append_only: abilities.append_only,
        machine: Arc::new(machine),
    }))
}

/// What errors name: the receiver as the user knows it.
#[derive(Clone)]
struct Connection {
    label: String,
    name: String,
    contact: Arc<contact::Seen>,
}

impl Connection {
    fn failed(&self, operation: Operation, error: &PeerError) -> StoreError {
        convert::failed(&self.label, &self.name, operation, error)
    }

    fn misunderstood(&self, operation: Operation) -> StoreError {
        self.failed(operation, &PeerError::Protocol("the receiver's answer does not fit the request".to_owned()))
    }

    fn lost(&self) -> StoreError {
        StoreError::remote(&self.label, Operation::Write, Kind::Lost, "the receiver no longer has this upload")
    }

    fn seen(&self) {
        self.contact.note();
    }
}

/// The connection to a receiver.
struct Machine {
    client: Arc<Client>,
    connection: Connection,
    // Uploads whose creation was requested but not answered: a repeated request uses the same name, so it gets the same
    // upload.
    creating: Mutex<HashMap<String, String>>,
}

impl Machine {
    async fn ask(&self, operation: Operation, request: Request) -> Result<(Reply, Bytes), StoreError> {
        self.client.call(request, &[]).await.map_err(|error| self.connection.failed(operation, &error))
    }

    async fn listed<T: DeserializeOwned>(&self, operation: Operation, request: Request) -> Result<Vec<T>, StoreError> {
        match self.ask(operation, request).await? {
            (Reply::Listed, body) => {
                serde_json::from_slice(&body).map_err(|_| self.connection.misunderstood(operation))
            }
            _ => Err(self.connection.misunderstood(operation)),
        }
    }

    fn creating(&self) -> std::sync::MutexGuard<'_, HashMap<String, String>> {
        self.creating.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The name of the upload that will be the object `name`.
    fn name_upload(&self, name: &str, lasting: bool) -> String {
        let fresh = || if lasting { owner::lasting_name() } else { owner::temporary_name() };
        self.creating().entry(name.to_owned()).or_insert_with(fresh).clone()
    }

    /// Asks for an upload that will be the object `name`; gives what is there of it.
    async fn create(&self, name: &str, request: Request) -> Result<Vec<(u64, u64)>, StoreError> {
        let created = self.ask(Operation::Create, request).await;
        if !created.as_ref().is_err_and(StoreError::is_transient) {
            self.creating().remove(name);
        }
        match created?.0 {
            Reply::Upload { kept } => Ok(kept),
            _ => Err(self.connection.misunderstood(Operation::Create)),
        }
    }

    fn upload(&self, id: String, placement: Placement, resumable: bool, kept: Vec<(u64, u64)>) -> Box<dyn Upload> {
        Box::new(MachineUpload::new(
            Arc::clone(&self.client),
            self.connection.clone(),
            id,
            placement == Placement::Random,
            resumable,
            kept,
        ))
    }
}

/// A receiver as a destination.
struct Connected {
    machine: Arc<Machine>,
    abilities: Abilities,
    makes: bool,
    append_only: bool,
}

#[async_trait]
impl Sink for Connected {
    fn label(&self) -> String {
        self.machine.connection.label.clone()
    }

    fn abilities(&self) -> Abilities {
        self.abilities
    }

    async fn create(&self, name: &str, expected: Expected) -> Result<Box<dyn Upload>, StoreError> {
        let machine = &self.machine;
        let upload = machine.name_upload(name, expected.resumable);
        let request = Request::Create {
            upload: upload.clone(),
            name: name.to_owned(),
            about: expected.about,
            exact: expected.exact,
            least: expected.least,
            keep: expected.resumable,
        };
        let kept = machine.create(name, request).await?;
        Ok(machine.upload(upload, self.abilities.placement, self.abilities.resumable, kept))
    }

    fn store(self: Arc<Self>) -> Option<Arc<dyn Store>> {
        Some(self)
    }
}

#[async_trait]
impl Store for Connected {
    async fn resume(&self, session: &Session) -> Result<Option<Box<dyn Upload>>, StoreError> {
        let Some(upload) = session.0.get("upload").and_then(|upload| upload.as_str()) else { return Ok(None) };
        match self.machine.ask(Operation::Create, Request::Resume { upload: upload.to_owned() }).await?.0 {
            Reply::Upload { kept } => Ok(Some(self.machine.upload(
                upload.to_owned(),
                self.abilities.placement,
                self.abilities.resumable,
                kept,
            ))),
            Reply::Gone => Ok(None),
            _ => Err(self.machine.connection.misunderstood(Operation::Create)),
        }
    }

    async fn list(&self) -> Result<Vec<Entry>, StoreError> {
        let objects: Vec<Object> = self.machine.listed(Operation::List, Request::List).await?;
        Ok(objects.into_iter().map(convert::entry).collect())
    }

    async fn entry(&self, name: &str) -> Result<Option<Entry>, StoreError> {
        match self.machine.ask(Operation::Read, Request::Entry { name: name.to_owned() }).await?.0 {
            Reply::Entry { object } => Ok(object.map(convert::entry)),
            _ => Err(self.machine.connection.misunderstood(Operation::Read)),
        }
    }

    async fn read(&self, name: &str, range: Range<u64>) -> Result<Bytes, StoreError> {
        let failed = |error: PeerError| self.machine.connection.failed(Operation::Read, &error);
        let mut pending = Vec::new();
        let mut start = range.start;
        while start < range.end {
            let end = range.end.min(start + READ);
            let request = Request::Read { name: name.to_owned(), start, end };
            pending.push((
                end - start,
                self.machine.client.send(request, &[], &|_| Box::pin(std::future::ready(()))).await.map_err(failed)?,
            ));
            start = end;
        }
        let one = pending.len() == 1;
        let mut bytes = BytesMut::new();
        for (length, answer) in pending {
            let (_, body) = answer.answer().await.map_err(failed)?;
            if body.len() as u64 != length {
                return Err(self.machine.connection.misunderstood(Operation::Read));
            }
            if one {
                return Ok(body);
            }
            bytes.extend_from_slice(&body);
        }
        Ok(bytes.freeze())
    }

    async fn delete(&self, name: &str) -> Result<(), StoreError> {
        self.machine.ask(Operation::Delete, Request::Delete { name: name.to_owned() }).await.map(drop)
    }

    async fn space(&self) -> Result<Option<u64>, StoreError> {
        match self.machine.ask(Operation::Connect, Request::Space).await?.0 {
            Reply::Space { free } => Ok(free),
            _ => Err(self.machine.connection.misunderstood(Operation::Connect)),
        }
    }

    async fn remove_abandoned(&self) -> Result<u32, StoreError> {
        let unfinished: Vec<Unfinished> = self.machine.listed(Operation::List, Request::Unfinished).await?;
        let mut count = 0;
        for Unfinished { upload, idle, .. } in unfinished {
            if owner::is_abandoned(&upload, Some(Duration::from_secs(idle))) {
                self.machine.ask(Operation::Delete, Request::Abort { upload }).await?;
                count += 1;
            }
        }
        match self.machine.ask(Operation::Delete, Request::RemoveAbandoned).await?.0 {
            Reply::Removed { count: there } => Ok(count + there),
            _ => Err(self.machine.connection.misunderstood(Operation::Delete)),
        }
    }

    fn append_only(&self) -> bool {
        self.append_only
    }

    fn compressor(&self) -> Option<Arc<dyn RemoteCompressor>> {
        self.makes.then(|| Arc::new(compressor::Far(Arc::clone(&self.machine))) as Arc<dyn RemoteCompressor>)
    }
}
