//! The configuration file as forms show and change it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use zeroize::Zeroizing;

use super::forms::{Encryption, Filled};

/// What the configuration file says of jobs and locations.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct Configured {
    /// Another one means that the file was changed meanwhile.
    pub version: String,
    /// By name.
    pub jobs: Vec<ConfiguredJob>,
    /// By name.
    pub locations: Vec<ConfiguredLocation>,
    /// By name.
    pub channels: Vec<ConfiguredChannel>,
    /// The time zone that it names; nothing: the system's.
    pub time_zone: Option<String>,
    /// What was filled in of the MQTT broker, without secrets, if there is one.
    pub mqtt: Option<BTreeMap<String, String>>,
}

/// A job in the configuration file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct ConfiguredJob {
    /// Its name.
    pub name: String,
    /// It rests until it is resumed.
    pub paused: bool,
    /// What it says.
    pub settings: JobSettings,
}

/// What a job says, by the keys of the configuration file. Keys that are not here stay as they are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct JobSettings {
    /// The config directory.
    pub source: String,
    /// With every app and folder, in the app on Home Assistant OS.
    pub everything: bool,
    /// Where backups go.
    pub destinations: Vec<String>,
    /// What holds for all of these.
    #[serde(flatten)]
    pub policy: Policy,
    /// The file with the encryption key; nothing: backups are not encrypted.
    pub password_file: Option<String>,
    /// Files with keys of earlier backups, which are tried where that one does not fit.
    pub earlier_password_files: Vec<String>,
    /// When a restore is tested, as `weekly`.
    pub rehearse: Option<String>,
    /// What differs at one location, by its name; nothing: as for all.
    pub at: BTreeMap<String, Policy>,
    /// A shell command before each backup; if it fails, none is made.
    pub before: Option<String>,
    /// A shell command after each backup, whatever happened.
    pub after: Option<String>,
    /// Either is ended after so long, as `10m`.
    pub hook_timeout: Option<String>,
    /// A shell command that starts Home Assistant on a restored backup.
    pub boot: Option<String>,
}

/// What may be said for all locations of a job, and for one of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Policy {
    /// When backups are made; none: when somebody says so.
    pub schedule: Vec<String>,
    /// What is kept; nothing: everything.
    pub keep: Keep,
    /// When a copy is read again, as `30d` or `never`.
    pub verify_every: Option<String>,
    /// How much of it is read then: `whole` or `samples`.
    pub verify_by: Option<String>,
    /// Bytes per second, as `2MB/s`.
    pub limit: Option<String>,
    /// When copies are sent and read, as `22:00-06:00`.
    pub hours: Option<String>,
}

impl JobSettings {
    /// What is run by a shell: whoever can set these can do what the service's user can.
    pub fn commands(&self) -> [&Option<String>; 3] {
        [&self.before, &self.after, &self.boot]
    }
}

/// The keys of a job's backups.
#[derive(Clone, PartialEq, Eq)]
pub struct JobKeys {
    /// The job's name.
    pub job: String,
    /// The one of its next backup; nothing: it is not encrypted.
    pub key: Option<Zeroizing<String>>,
    /// Those of earlier ones.
    pub earlier: Vec<Zeroizing<String>>,
    /// Why there are no more of those: a sentence for each that can't be read.
    pub unread: Vec<String>,
}

/// How many backups are kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Keep {
    /// The newest.
    pub last: Option<u32>,
    /// The last of a day.
    pub daily: Option<u32>,
    /// The last of a week.
    pub weekly: Option<u32>,
    /// The last of a month.
    pub monthly: Option<u32>,
    /// The last of a year.
    pub yearly: Option<u32>,
    /// All that are not older, as `7d`.
    pub within: Option<String>,
}

/// A location in the configuration file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct ConfiguredLocation {
    /// Its name.
    pub name: String,
    /// Its address.
    pub address: String,
    /// One of [`super::FormKind::id`]; nothing: it can only be changed in the file.
    pub kind: Option<String>,
    /// What was filled in, by [`super::FormField::id`], without secrets.
    pub fields: BTreeMap<String, String>,
    /// The jobs that use it.
    pub jobs: Vec<String>,
}

/// Somebody who is told when something changes, in the configuration file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct ConfiguredChannel {
    /// Its name.
    pub name: String,
    /// It is there without being set up, and can be silenced, not removed.
    pub built_in: bool,
    /// How it is reached: one of [`super::FormKind::id`]; nothing: it can only be changed in the file.
    pub kind: Option<String>,
    /// What was filled in, by [`super::FormField::id`], without secrets.
    pub fields: BTreeMap<String, String>,
    /// What it hears of: `nothing`, `errors`, `problems`, `backups` or `everything`; nothing: `problems`.
    pub on: Option<String>,
    /// Only of these jobs; none: of all.
    pub jobs: Vec<String>,
    /// What needs a look is told when it has lasted for so long, as `1h`.
    pub after: Option<String>,
}

/// Somebody who is to be told.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct ChannelSettings {
    /// How.
    pub way: Filled,
    /// As in [`ConfiguredChannel`].
    pub on: Option<String>,
    /// As in [`ConfiguredChannel`].
    pub jobs: Vec<String>,
    /// As in [`ConfiguredChannel`].
    pub after: Option<String>,
}

impl ChannelSettings {
    /// The kind that runs a command: whoever can set it can do what the service's user can.
    pub const COMMAND: &str = "command";
}

impl ConfiguredChannel {
    /// Whether it runs a command, as one of several lines does, which no form shows.
    pub(crate) fn is_command(&self) -> bool {
        self.kind.as_ref().is_none_or(|kind| kind == ChannelSettings::COMMAND)
    }
}

/// A change of the configuration file.
#[derive(Clone, PartialEq, Eq)]
pub struct Change {
    /// Only if the file is still of this version.
    pub version: Option<String>,
    /// What is changed.
    pub what: What,
}

/// What is changed.
#[derive(Clone, PartialEq, Eq)]
pub enum What {
    /// A job gets these settings; one that is not there yet is added.
    Job {
        /// Its name.
        name: String,
        /// There must be none of this name.
        is_new: bool,
        /// What it says from now on.
        settings: Box<JobSettings>,
        /// How its backups are encrypted; nothing: as `password_file` says.
        encryption: Option<Encryption>,
    },
    /// Backups of the configuration alone are made beside those of everything: by a job of their own, in a folder at each of
    /// the other's locations.
    QuickJob {
        /// The job that backs up everything.
        beside: String,
        /// When.
        schedule: String,
    },
    /// A job is no longer done. Its backups stay.
    RemoveJob {
        /// Its name.
        name: String,
    },
    /// A location gets these settings; one that is not there yet is added.
    Location {
        /// Its name.
        name: String,
        /// There must be none of this name.
        is_new: bool,
        /// What it is from now on.
        location: Filled,
    },
    /// All times are meant in this time zone.
    TimeZone {
        /// Its name; nothing: the system's.
        name: Option<String>,
    },
    /// A location is no longer used, by any job. What is there stays.
    RemoveLocation {
        /// Its name.
        name: String,
    },
    /// Somebody is told of this; one that is not there yet is added.
    Channel {
        /// Its name.
        name: String,
        /// There must be none of this name.
        is_new: bool,
        /// What it is from now on.
        settings: Box<ChannelSettings>,
    },
    /// Somebody is no longer told.
    RemoveChannel {
        /// Its name.
        name: String,
    },
    /// Home Assistant learns of backups by this MQTT broker.
    Broker {
        /// What it is from now on.
        broker: Filled,
    },
    /// Home Assistant no longer learns of them, and forgets the entities.
    RemoveBroker,
}
