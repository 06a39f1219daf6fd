//! What the pages and the API ask of the running service. The service implements it; tests and examples do, too.

use std::io::{self, Write};

use jiff::Timestamp;
use keeper::status::{ArchiveStatus, Event, Failure, RunStatus, Status};
use serde::Serialize;
use tokio::sync::watch;
use utoipa::ToSchema;
use zeroize::Zeroizing;

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
    /// Its number changes whenever something else would be shown. It ends with the service.
    fn changes(&self) -> watch::Receiver<u64>;
    /// In Prometheus's text format.
    fn metrics(&self) -> String;
    /// The configuration as text, without a secret.
    fn configuration(&self) -> Configuration;

    /// Does what a user ordered, or puts it in the queue: it does not wait for the end of a task. The page has checked
    /// that the job, run, archive or destination exists.
    fn order(&self, order: Order) -> Result<(), Failure>;

    // What takes as long as the destination needs. A client that goes away shows in a failed `write`.

    /// What one folder of an archive holds; the empty name is the config directory itself.
    fn contents(&self, archive: &str, folder: &str) -> Result<Contents, Failure>;
    /// What differs between two archives: paths, not bytes.
    fn compare(&self, old: &str, new: &str) -> Result<Differences, Failure>;
    /// Sends an archive, or one file out of it.
    fn send(&self, wanted: &Wanted, to: &mut dyn Outlet) -> Result<(), Failure>;

    // Set-up.

    /// What a user can choose from. Looks around on this machine, so it may take a second.
    fn choices(&self) -> Choices;
    /// Tries a location as `haul destination check` does; the answer is what was tried and worked.
    fn try_location(&self, location: &Location) -> Result<Vec<String>, Invalid>;
    /// Writes the configuration, makes a key if one is wanted, and begins the first backup. Nothing is changed when it
    /// fails.
    fn set_up(&self, wanted: &SetUp) -> Result<Established, Invalid>;
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

/// Where the bytes of an answer go.
pub trait Outlet: Write {
    /// To be called once, before the first byte; until then a failure can still be told in words.
    fn begin(&mut self, name: &str, size: Option<u64>) -> io::Result<()>;
}

/// What a user can choose from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Choices {
    /// Config directories that were found.
    pub directories: Vec<FoundDirectory>,
    /// What a location can be.
    pub kinds: Vec<LocationKind>,
    /// Locations that are configured already.
    pub existing: Vec<String>,
}

/// A config directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundDirectory {
    /// Its path on this machine.
    pub path: String,
    /// What it is, as `Home Assistant 2026.11.0, 1.2 GB, in the container homeassistant`.
    pub about: String,
}

/// A kind of location and what has to be known for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocationKind {
    /// As one word: `local`, `sftp`.
    pub id: String,
    /// As people call it.
    pub label: String,
    /// One sentence about it.
    pub about: String,
    /// What is asked for, in this order.
    pub fields: Vec<LocationField>,
}

/// Something that is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocationField {
    /// As one word, unlike every other field of this kind.
    pub id: String,
    /// As people call it.
    pub label: String,
    /// What it is, and where to find it.
    pub help: Option<String>,
    /// What it looks like.
    pub example: Option<String>,
    /// It is never shown again, and kept in a file that only this user can read.
    pub secret: bool,
    /// It can't be left out.
    pub required: bool,
}

/// A location as the user filled it in.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Location {
    /// One of [`LocationKind::id`].
    pub kind: String,
    /// By [`LocationField::id`]; what was left empty is not there.
    pub fields: Vec<(String, Zeroizing<String>)>,
}

/// How archives are encrypted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Encryption {
    /// With a key that is made now.
    NewKey,
    /// With this key.
    Key(Zeroizing<String>),
    /// Not at all.
    Nothing,
}

/// The three answers of a new user.
#[derive(Clone, PartialEq, Eq)]
pub struct SetUp {
    /// What: a config directory.
    pub source: String,
    /// Where to.
    pub location: Location,
    /// When, in the words of a schedule; empty: only when told.
    pub schedule: String,
    /// How many of the newest are kept; nothing: all.
    pub keep: Option<u32>,
    /// How they are encrypted.
    pub encryption: Encryption,
}

/// What came of it.
#[derive(Clone, PartialEq, Eq)]
pub struct Established {
    /// The new job.
    pub job: String,
    /// The key that archives are encrypted with: to be shown once.
    pub key: Option<Zeroizing<String>>,
}

/// What a user filled in can't be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invalid {
    /// The field: `source`, `kind`, `schedule`, `keep`, `key`, or a field of the location; nothing: all of it.
    pub field: Option<String>,
    /// Why.
    pub failure: Failure,
}
