//! Versions, the app itself, the other apps, and the MQTT broker that one of them may be.

use std::net::IpAddr;

use serde::Deserialize;

use crate::{
    error::{Error, Kind},
    lenient::or_default,
    secret::Secret,
    wire::{Ask, Supervisor},
};

/// What runs here.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Info {
    /// Supervisor's version, such as 2026.08.0.
    pub supervisor: Option<String>,
    /// The version of Home Assistant Core.
    pub homeassistant: Option<String>,
    /// The version of Home Assistant Operating System; none on another system.
    pub hassos: Option<String>,
    /// The operating system's name.
    pub operating_system: Option<String>,
    /// The kind of machine, such as `green` or `raspberrypi5-64`.
    pub machine: Option<String>,
    /// The processor, such as `aarch64`.
    pub arch: Option<String>,
    /// The time zone, such as `Europe/Berlin`.
    pub timezone: Option<String>,
    /// The machine's name.
    pub hostname: Option<String>,
    /// What Supervisor is doing: `startup`, `running`, or `freeze` during a backup.
    pub state: Option<String>,
    /// What the system can do.
    #[serde(deserialize_with = "or_default")]
    pub features: Vec<String>,
}

impl Info {
    /// Whether this system can have network storage.
    pub fn can_mount(&self) -> bool {
        self.features.iter().any(|feature| feature == "mount")
    }
}

/// The app that asks.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct OwnApp {
    /// Its name among the apps, such as `a1b2c3d4_haul`.
    #[serde(deserialize_with = "or_default")]
    pub slug: String,
    /// Its name as people read it.
    pub name: Option<String>,
    /// Its version.
    pub version: Option<String>,
    /// Its name in the apps' network.
    pub hostname: Option<String>,
    ip_address: Option<String>,
    /// Where its page is, below Home Assistant's address; with a slash at its end.
    pub ingress_url: Option<String>,
    /// The same without what the app adds: what a request's `X-Ingress-Path` says.
    pub ingress_entry: Option<String>,
    /// The port on which it has to answer for its page.
    pub ingress_port: Option<u16>,
    /// Whether it shares the machine's network.
    #[serde(deserialize_with = "or_default")]
    pub host_network: bool,
}

impl OwnApp {
    /// Its address in the apps' network, which changes when it is installed anew; none while it does not run.
    pub fn address(&self) -> Option<IpAddr> {
        self.ip_address.as_deref()?.parse().ok().filter(|address: &IpAddr| !address.is_unspecified())
    }
}

/// An installed app.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct App {
    /// Its name among the apps.
    #[serde(deserialize_with = "or_default")]
    pub slug: String,
    /// Its name as people read it.
    pub name: Option<String>,
    /// Its version.
    pub version: Option<String>,
    /// `started`, `stopped`, `error`, …
    pub state: Option<String>,
    /// Whether its image is built on this machine: then the image is in each backup, by way of the data disk.
    #[serde(deserialize_with = "or_default")]
    pub build: bool,
}

#[derive(Deserialize)]
struct Apps {
    /// The second word is that of version 2 of the API.
    #[serde(default, alias = "apps", deserialize_with = "or_default")]
    addons: Vec<App>,
}

/// The MQTT broker that an app provides.
#[derive(Clone, Debug, Deserialize)]
pub struct Mqtt {
    /// Its host.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Whom to log in as.
    #[serde(default)]
    pub username: Option<String>,
    /// With which password.
    #[serde(default)]
    pub password: Option<Secret>,
    /// Whether it speaks TLS.
    #[serde(default, deserialize_with = "or_default")]
    pub ssl: bool,
}

impl Supervisor {
    /// Versions and machine.
    pub async fn info(&self) -> Result<Info, Error> {
        self.ask(Ask::get("ask Supervisor for its version", &["info"], self.timeouts.answer)).await
    }

    /// What Supervisor knows of the app that asks.
    pub async fn own_app(&self) -> Result<OwnApp, Error> {
        // The words of version 1 of the API work on every Supervisor.
        self.ask(Ask::get("ask Supervisor about this app", &["addons", "self", "info"], self.timeouts.answer)).await
    }

    /// The installed apps.
    pub async fn apps(&self) -> Result<Vec<App>, Error> {
        let apps: Apps = self.ask(Ask::get("list the apps", &["addons"], self.timeouts.answer)).await?;
        Ok(apps.addons)
    }

    /// The MQTT broker, if an app provides one.
    pub async fn mqtt(&self) -> Result<Option<Mqtt>, Error> {
        let ask = Ask::get("ask Supervisor for the MQTT broker", &["services", "mqtt"], self.timeouts.answer);
        match self.ask(ask).await {
            Ok(mqtt) => Ok(Some(mqtt)),
            Err(error) if error.kind == Kind::Refused && error.said.as_deref() == Some("Service not enabled") => {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}
