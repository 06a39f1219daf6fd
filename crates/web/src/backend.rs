//! What the pages and the API ask of the running service. The service implements it; tests and examples do, too.

mod forms;
mod own;
mod parts;
mod settings;

use std::io::{self, Write};

use jiff::{Timestamp, tz::TimeZone};
use keeper::status::{ArchiveStatus, Event, Failure, RunStatus, Status};
use serde::Serialize;
use store::Cancellation;
use tokio::sync::watch;
use utoipa::ToSchema;
use zeroize::Zeroizing;

pub use self::{
    forms::{Choices, Encryption, Established, Filled, FormField, FormKind, FoundDirectory, Invalid, SetUp, SignIn},
    own::{OwnBackups, OwnPlace, Storage},
    parts::{AppPart, FolderPart, History, HomeAssistantPart, Inside, InsidePart, Parts, PartsWanted},
    settings::{
        Change, ChannelSettings, Configured, ConfiguredChannel, ConfiguredJob, ConfiguredLocation, JobKeys,
        JobSettings, Keep, Policy, What,
    },
};

/// The running service. No call is made from a thread of the runtime, so each may block.
pub trait Backend: Send + Sync + 'static {
    // What is known. These answer within milliseconds; none asks a destination.

    /// Everything at a glance.
    fn status(&self) -> Status;
    /// All archives, the newest first.
    fn archives(&self) -> Vec<ArchiveStatus>;
    /// One of them.
    fn archive(&self, id: &str) -> Option<ArchiveStatus>;
    /// What happened, the newest first: at most so many, older than the event of that number.
    fn events(&self, before: Option<i64>, most: usize) -> Vec<Event>;
    /// Tasks that ended, the newest first: at most so many, older than the run of that number.
    fn runs(&self, before: Option<i64>, most: usize) -> Vec<RunStatus>;
    /// In which all times are meant.
    fn zone(&self) -> TimeZone;
    /// Its number changes whenever something else would be shown. It ends with the service.
    fn changes(&self) -> watch::Receiver<u64>;
    /// The last lines of the log, the newest first: at most so many, with higher numbers than `after`.
    fn log(&self, after: u64, most: usize) -> Vec<LogLine>;
    /// Changes with every line of the log.
    fn logged(&self) -> watch::Receiver<u64>;
    /// In Prometheus's text format.
    fn metrics(&self) -> String;
    /// The configuration as text, without a secret.
    fn configuration(&self) -> Configuration;

    /// Does what a user ordered, or puts it in the queue: it does not wait for the end of a task. The page has checked
    /// that the job, run, archive or destination exists.
    fn order(&self, order: Order) -> Result<(), Failure>;

    // What takes as long as the destination needs. It is cancelled when the client goes away.

    /// What an archive holds, as it says itself; nothing: it is still being read, and a change tells when that has ended.
    fn inside(&self, archive: &str) -> Option<Result<Inside, Failure>>;
    /// What one folder of an archive holds; the empty name is the config directory itself.
    fn contents(&self, archive: &str, folder: &str, cancel: &Cancellation) -> Result<Contents, Failure>;
    /// What differs between two archives: paths, not bytes.
    fn compare(&self, old: &str, new: &str, cancel: &Cancellation) -> Result<Differences, Failure>;
    /// Sends an archive, or one file out of it.
    fn send(&self, wanted: &Wanted, to: &mut dyn Outlet, cancel: &Cancellation) -> Result<(), NotSent>;

    /// Begins to restore an archive into a directory of the machine that Haul runs on. The end of it is an event.
    fn restore(&self, wanted: &RestoreWanted, cancel: &Cancellation) -> Result<(), Invalid>;

    /// What of an archive Home Assistant's Supervisor can restore on this machine. Nothing is changed.
    fn parts(&self, archive: &str, destination: Option<&str>, cancel: &Cancellation) -> Result<Parts, Failure>;
    /// Has Supervisor restore parts of an archive on this machine. The end of it is an event.
    fn restore_parts(&self, wanted: &PartsWanted, cancel: &Cancellation) -> Result<(), Invalid>;

    /// Looks at both sides of a move to another machine. Nothing is sent.
    fn look_before_move(&self, wanted: &MoveWanted, cancel: &Cancellation) -> Result<MoveSeen, Invalid>;
    /// Begins to move a job's Home Assistant to another machine, if the new one is still as somebody agreed to. The end of
    /// it is an event.
    fn migrate(&self, wanted: &MoveWanted, agreed: Option<&MoveSeen>, cancel: &Cancellation) -> Result<(), Invalid>;

    // Set-up.

    /// What a user can choose from. Looks around on this machine, so it may take a second.
    fn choices(&self) -> Choices;
    /// How Home Assistant backs itself up, or why it does not say so; nothing: this is no app of it, or Haul is set up
    /// already. Somebody waits for the answer.
    fn own_backups(&self, cancel: &Cancellation) -> Option<Result<OwnBackups, Failure>>;
    /// Tries a location as `haul destination check` does; the answer is what was tried and worked.
    fn try_location(&self, location: &Filled, cancel: &Cancellation) -> Result<Vec<String>, Vec<Invalid>>;
    /// Begins a sign-in for a location whose provider wants to see a person; if one waits already, it is that one.
    fn sign_in(&self, location: &Filled) -> Result<SignIn, Invalid>;
    /// The sign-in that waits or has ended.
    fn signing_in(&self) -> Option<SignIn>;
    /// Ends it, and forgets how it ended.
    fn end_sign_in(&self);
    /// Writes the configuration, makes a key if one is wanted, and begins the first backup. Nothing is changed when it
    /// fails.
    fn set_up(&self, wanted: &SetUp) -> Result<Established, Vec<Invalid>>;
    /// What is wrong with it, as far as that can be known without asking anybody.
    fn mistakes_of_set_up(&self, wanted: &SetUp) -> Vec<Invalid>;

    // Settings.

    /// Jobs and locations as the configuration file has them now.
    fn configured(&self) -> Result<Configured, Failure>;
    /// Home Assistant's folders that are network storage; none where this is no app of it.
    fn storages(&self, cancel: &Cancellation) -> Result<Vec<Storage>, Failure>;
    /// The keys of all jobs, for somebody who proved to be the owner; `to` says where they go. The events tell of it.
    fn keys(&self, to: &str) -> Result<Vec<JobKeys>, Failure>;
    /// Changes the configuration file. Nothing is changed when it fails. Returns a key that was made for it.
    fn change(&self, change: &Change) -> Result<Option<Zeroizing<String>>, Vec<Invalid>>;
    /// What is wrong with it, as far as that can be known without asking anybody.
    fn mistakes(&self, change: &Change) -> Vec<Invalid>;
    /// What a channel can be, and what has to be known for it.
    fn channel_kinds(&self) -> Vec<FormKind>;
    /// What has to be known of an MQTT broker.
    fn broker_kind(&self) -> FormKind;
    /// Sends a test message by a channel; the answer says what happened.
    fn try_channel(&self, channel: &ChannelSettings, cancel: &Cancellation) -> Result<Vec<String>, Vec<Invalid>>;
    /// Connects to an MQTT broker; the answer says what happened.
    fn try_broker(&self, broker: &Filled, cancel: &Cancellation) -> Result<Vec<String>, Vec<Invalid>>;
}

/// What a user orders.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// Makes a backup now.
    BackUp {
        /// The job's name.
        job: String,
    },
    /// Looks at every destination and brings it to what its jobs say.
    Sync,
    /// Stops a running task.
    Cancel {
        /// The run's number.
        run: i64,
    },
    /// Does nothing for a job until it is resumed.
    Pause {
        /// The job's name.
        job: String,
    },
    /// Ends a pause.
    Resume {
        /// The job's name.
        job: String,
    },
    /// Reads copies and checks them.
    Verify {
        /// The archive's id.
        archive: String,
        /// Only there; nothing: wherever it is.
        destination: Option<String>,
    },
    /// Restores an archive for a test.
    Rehearse {
        /// The archive's id.
        archive: String,
    },
    /// Restores the newest archive of a job for a test.
    RehearseNewest {
        /// The job's name.
        job: String,
    },
    /// Protects an archive from removal.
    Pin {
        /// The archive's id.
        archive: String,
    },
    /// Ends that.
    Unpin {
        /// The archive's id.
        archive: String,
    },
    /// Replaces the user's note.
    Note {
        /// The archive's id.
        archive: String,
        /// Empty: no note.
        text: String,
    },
    /// Removes copies of an archive.
    Delete {
        /// The archive's id.
        archive: String,
        /// Only there; nothing: everywhere.
        destination: Option<String>,
        /// Only the copy of this name; nothing: all there. A damaged copy and the one sent in its place are at one
        /// destination for a while.
        name: Option<String>,
        /// Even if no whole copy is left.
        even_the_only_copy: bool,
    },
    /// Removes what waited for consent.
    AgreeToRemovals {
        /// The destination's name.
        destination: String,
    },
}

/// The configuration file as anybody who is logged in may see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Configuration {
    /// Where it is, or would be.
    pub path: String,
    /// Its text; secrets in it are replaced.
    pub text: String,
    /// Why it is not in force.
    pub problem: Option<String>,
    /// The time zone that all times are meant in.
    pub time_zone: String,
}

/// A line of the log. No password or key is in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct LogLine {
    /// One more than that of the line before.
    pub number: u64,
    /// When it was written.
    pub at: Timestamp,
    /// What happened; it begins with `warning: ` or `error: ` if it is bad.
    pub text: String,
}

/// What a folder of an archive holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct Contents {
    /// Folders first, then by name.
    pub entries: Vec<ContentEntry>,
    /// How many more there are.
    pub more: u64,
}

/// A file or folder in an archive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct ContentEntry {
    /// Its name in its folder.
    pub name: String,
    /// What it is.
    pub kind: ContentKind,
    /// Bytes; of a folder, of everything below it, if known.
    pub size: Option<u64>,
    /// When it was changed.
    pub modified: Option<Timestamp>,
}

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ContentKind {
    /// It can be opened.
    Folder,
    /// It can be downloaded.
    File,
    /// A link or something else without content of its own.
    Other,
}

/// What differs between two archives.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct Differences {
    /// Only in the newer one.
    pub added: Vec<String>,
    /// Only in the older one.
    pub removed: Vec<String>,
    /// In both, and not the same.
    pub changed: Vec<String>,
    /// How many are the same.
    pub same: u64,
    /// How many differences are not in the lists.
    pub more: u64,
}

/// What is to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// The archive as it is.
    Archive {
        /// Its id.
        archive: String,
        /// From there; nothing: wherever it is nearest.
        destination: Option<String>,
    },
    /// One file out of it.
    File {
        /// The archive's id.
        archive: String,
        /// The file's path in the config directory.
        path: String,
    },
}

/// What is to be restored, and where to.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct RestoreWanted {
    /// The archive's id.
    pub archive: String,
    /// From there; nothing: wherever it is nearest.
    pub destination: Option<String>,
    /// The directory, new or empty; nothing: a new one of Haul's own. Of no meaning with `replace`.
    pub into: String,
    /// Only what fits one of these patterns; none: everything.
    pub only: Vec<String>,
    /// Takes the place of what the archive's job backs up; what is there is kept beside it.
    pub replace: bool,
    /// The encryption key; nothing: that of the job.
    pub key: Option<Zeroizing<String>>,
}

/// What is to be moved, and where to.
#[derive(Clone, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a tick of its own")]
pub struct MoveWanted {
    /// The job whose source moves.
    pub job: String,
    /// The address of the new Home Assistant.
    pub to: String,
    /// A long-lived token of an administrator there, if it is set up already.
    pub token: Option<Zeroizing<String>>,
    /// What is there may be replaced.
    pub replace: bool,
    /// The backup is encrypted on its way, with `key` or the key of the job.
    pub encrypt: bool,
    /// The key to encrypt with.
    pub key: Option<Zeroizing<String>>,
    /// Any certificate will do.
    pub insecure: bool,
    /// Leaves out the history.
    pub exclude_database: bool,
}

/// Both sides of a move, and what to know of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct MoveSeen {
    /// The old one.
    pub from: MoveFrom,
    /// The new one.
    pub to: MoveTo,
    /// What to know first.
    pub notes: Vec<String>,
}

/// The Home Assistant that moves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct MoveFrom {
    /// Its config directory.
    pub config: String,
    /// Its version.
    pub version: String,
    /// Who can log in with a password, the owner first.
    pub logins: Vec<String>,
    /// All of it in a few words.
    pub about: String,
}

/// The Home Assistant that it moves into.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct MoveTo {
    /// Where it is, after redirects.
    pub address: String,
    /// Its version, if it tells.
    pub version: Option<String>,
    /// How it was installed, if it tells.
    pub installation: Option<String>,
    /// It holds nothing yet. Otherwise everything in it is replaced.
    pub fresh: bool,
    /// All of it in a few words.
    pub about: String,
}

/// Why nothing was sent, or not all of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotSent {
    /// There is no such file in the archive.
    NoSuchFile(Failure),
    /// It could not be read.
    Failed(Failure),
}

impl From<Failure> for NotSent {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

/// Where the bytes of an answer go.
pub trait Outlet: Write {
    /// To be called once, before the first byte; until then a failure can still be told in words.
    fn begin(&mut self, name: &str, size: Option<u64>) -> io::Result<()>;
}
