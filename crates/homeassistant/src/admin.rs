//! An instance that is set up, used with an administrator's long-lived token: upload, restore, and its events.

use std::fmt;

use bytes::Bytes;
use futures_util::Stream;
use serde_json::json;

use crate::{
    answers::{Agent, Agents, Arrival, Event, Expected, Manager},
    error::{Error, Operation},
    look::Instance,
    restore::{Begun, RestoreRequest},
    secret::Secret,
    socket::{Outcome, Socket},
    upload::{self, Upload},
    wire::Wire,
};

/// The unit in which the Supervisor reports free space.
const GIB: f64 = 1_073_741_824.0;

/// An administrator of an instance. Opens a connection per question: none has to last through a long upload.
pub struct Admin<'a> {
    wire: &'a Wire,
    token: Secret,
}

impl Instance {
    /// Signs in once, so that a wrong token shows before a byte is sent, and asks which agent keeps backups there.
    pub async fn admin(&self, token: Secret) -> Result<(Admin<'_>, Vec<Agent>), Error> {
        let admin = Admin { wire: &self.wire, token };
        let agents: Agents = admin.ask(Operation::SignIn, "backup/agents/info").await?;
        Ok((admin, agents.agents))
    }
}

impl Admin<'_> {
    /// Uploads a backup; the id by which it is restored.
    pub async fn upload<S, E>(&self, agent: &str, upload: Upload<S>) -> Result<String, Error>
    where
        S: Stream<Item = Result<Bytes, E>> + Send + 'static,
        E: fmt::Display + Send + 'static,
    {
        let mut url = self.wire.url("api/backup/upload");
        url.query_pairs_mut().append_pair("agent_id", agent);
        let request = self.wire.signed(Operation::Upload, self.wire.post(url), &self.token)?;
        upload::uploaded(self.wire, &upload::send(self.wire, request, upload).await?)
    }

    /// What the backup manager says, with all backups.
    pub async fn info(&self) -> Result<Manager, Error> {
        self.ask(Operation::Ask, "backup/info").await
    }

    /// Free bytes on its disk, if a Supervisor reports them; nobody else does.
    pub async fn free_space(&self) -> Result<Option<u64>, Error> {
        let mut socket = self.signed_in(Operation::Ask).await?;
        let question = json!({ "type": "supervisor/api", "endpoint": "/host/info", "method": "get" });
        let answer = socket.command(question, self.wire.timeouts.stall).await?;
        socket.close().await;
        let Outcome::Done(host) = answer else { return Ok(None) };
        Ok(host["disk_free"].as_f64().filter(|free| *free >= 0.0).map(|free| (free * GIB) as u64))
    }

    /// Whether an interrupted upload arrived after all.
    pub async fn did_it_arrive(&self, expected: &Expected) -> Result<Arrival, Error> {
        Ok(self.info().await?.find(expected))
    }

    /// Starts a restore, which replaces what the instance holds.
    pub async fn restore(&self, request: &RestoreRequest) -> Result<Begun, Error> {
        let mut socket = self.signed_in(Operation::Restore).await?;
        let mut command = request.to_json();
        command["type"] = json!("backup/restore");
        match socket.command(command, self.wire.timeouts.answer).await {
            Ok(Outcome::Done(_)) => Ok(Begun::Said),
            Ok(Outcome::Refused(refusal)) => Err(socket.refused(&refusal)),
            // It usually restarts before it answers.
            Ok(Outcome::Gone) => Ok(Begun::Unheard(socket.gone())),
            Err(error) if error.is_transient() => Ok(Begun::Unheard(error)),
            Err(error) => Err(error),
        }
    }

    /// Everything its backup manager does from now on, beginning with what it does now.
    pub async fn events(&self) -> Result<Events, Error> {
        let mut socket = self.signed_in(Operation::Follow).await?;
        socket.begin(json!({ "type": "backup/subscribe_events" })).await?;
        Ok(Events(socket))
    }

    async fn ask<T: serde::de::DeserializeOwned>(&self, operation: Operation, command: &str) -> Result<T, Error> {
        let mut socket = self.signed_in(operation).await?;
        let answer = socket.call(command).await;
        socket.close().await;
        answer
    }

    async fn signed_in(&self, operation: Operation) -> Result<Socket, Error> {
        signed_in(self.wire, operation, &self.token).await
    }
}

pub(crate) async fn signed_in(wire: &Wire, operation: Operation, token: &Secret) -> Result<Socket, Error> {
    let mut socket = Socket::open(wire, operation).await?;
    socket.sign_in(token).await?;
    Ok(socket)
}

/// What a backup manager does, as it happens.
pub struct Events(Socket);

impl Events {
    /// The next event; `None` when the connection ends, as it does in a restart.
    pub async fn next(&mut self) -> Result<Option<Event>, Error> {
        while let Some(event) = self.0.event().await? {
            if let Ok(event) = serde_json::from_value::<Event>(event) {
                return Ok(Some(event));
            }
        }
        Ok(None)
    }
}
