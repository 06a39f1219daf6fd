//! The MQTT broker that another app provides: nothing has to be set up for it.

use std::{io, path::Path};

use store::Cancellation;
use supervisor::Mqtt as Provided;

use super::{App, private};
use crate::{
    config::Mqtt,
    destination,
    failure::{FAILED, Failure},
};

/// Its password, for the connection, which reads it from a file as it reads those of others.
const PASSWORD: &str = "mqtt-password";

impl App {
    /// The broker, if there is one.
    pub(super) fn broker(&self, cancel: &Cancellation) -> Result<Option<Mqtt>, Failure> {
        let Some(provided) = self.ask(cancel, self.supervisor.mqtt())? else { return Ok(None) };
        settings(&provided, &destination::state_directory()).map(Some).map_err(|error| {
            let why = engine::plain_reason(&error);
            Failure::new(FAILED, format!("can't keep the MQTT broker's password in the state directory: {why}"))
        })
    }
}

fn settings(provided: &Provided, state: &Path) -> io::Result<Mqtt> {
    let mut settings = Mqtt::at(provided.host.clone(), provided.port, provided.ssl);
    settings.username = provided.username.clone().filter(|name| !name.is_empty());
    let password = provided.password.as_ref().filter(|_| settings.username.is_some());
    if let Some(password) = password {
        let path = state.join(PASSWORD);
        // It is asked for again and again, and written once.
        if std::fs::read(&path).ok().as_deref() != Some(password.expose().as_bytes()) {
            private::write(&path, password.expose().as_bytes())?;
        }
        settings.password_file = Some(path);
    }
    Ok(settings)
}
