//! Requests the restore of a fresh instance, once. Whether it succeeds shows after the restart.

use serde_json::{Value, json};

use crate::{
    answers::Refusal,
    error::{Error, Kind, Operation},
    look::Instance,
    secret::Secret,
    text::sanitize,
    vendor::Vendor,
    wire::Wire,
};

/// What to restore.
#[derive(Clone, Debug)]
pub struct RestoreRequest {
    /// The backup.
    pub backup_id: String,
    /// The agent that keeps it.
    pub agent: String,
    /// Its password, if it needs one.
    pub password: Option<Secret>,
    /// With the history, if the backup holds it.
    pub database: bool,
    /// Add-ons by slug; only where there is a Supervisor.
    pub addons: Vec<String>,
    /// Folders; only where there is a Supervisor.
    pub folders: Vec<String>,
}

impl RestoreRequest {
    /// Home Assistant with its history.
    pub fn new(backup_id: impl Into<String>, agent: impl Into<String>) -> Self {
        Self {
            backup_id: backup_id.into(),
            agent: agent.into(),
            password: None,
            database: true,
            addons: Vec::new(),
            folders: Vec::new(),
        }
    }

    pub(crate) fn to_json(&self) -> Value {
        let mut request =
            json!({ "backup_id": self.backup_id, "agent_id": self.agent, "restore_database": self.database });
        // Core refuses the very keys that Supervisors need.
        if !self.addons.is_empty() {
            request["restore_addons"] = json!(self.addons);
        }
        if !self.folders.is_empty() {
            request["restore_folders"] = json!(self.folders);
        }
        if let Some(password) = &self.password {
            request["password"] = json!(password.expose());
        }
        request
    }
}

/// How the restore was taken.
#[derive(Clone, Debug)]
pub enum Begun {
    /// Home Assistant accepted.
    Said,
    /// The connection ended before an answer, as happens when it restarts at once. The restart shows what became of it.
    Unheard(Error),
}

impl Instance {
    /// Starts the restore on a fresh instance.
    pub async fn restore(&self, request: &RestoreRequest) -> Result<Begun, Error> {
        let request = self.wire.post(self.wire.url("api/onboarding/backup/restore")).json(&request.to_json());
        let answer = match self.wire.exchange(Operation::Restore, request, self.wire.timeouts.answer).await {
            Ok(answer) => answer,
            Err(error) if error.kind == Kind::Broken => return Ok(Begun::Unheard(error)),
            Err(error) => return Err(error),
        };
        if answer.status.is_success() {
            return Ok(Begun::Said);
        }
        self.while_fresh(Operation::Restore, &answer)?;
        let refusal = answer.refusal(&self.wire.address, Operation::Restore);
        // A proxy that lost Home Assistant on the way: it may well be restarting.
        if matches!(refusal.kind, Kind::Proxy(vendor) if vendor != Vendor::HomeAssistant)
            && matches!(answer.status.as_u16(), 502..=504 | 520..=524)
        {
            return Ok(Begun::Unheard(refusal));
        }
        match serde_json::from_slice::<Refusal>(&answer.body) {
            Ok(said) => Err(refused(&self.wire, &said.code, answer.said())),
            Err(_) => Err(refusal),
        }
    }
}

/// Home Assistant's own codes.
fn refused(wire: &Wire, code: &str, said: String) -> Error {
    let error = if code == "incorrect_password" {
        wire.error(Operation::Restore, Kind::WrongPassword, "the backup's password is wrong")
    } else if said.contains("manager busy") {
        wire.error(Operation::Restore, Kind::Busy, "it is busy with another backup, upload or restore")
            .advise("try again in a few minutes")
    } else if said.contains("not found") {
        wire.error(Operation::Restore, Kind::NotFound, format!("it does not find the backup ({said})"))
    } else {
        let what = if said.is_empty() { sanitize(code, 60) } else { said.clone() };
        wire.error(Operation::Restore, Kind::Refused, format!("Home Assistant says: {what}"))
            .advise("its log says more")
    };
    if said.is_empty() { error } else { error.quoting(said) }
}
