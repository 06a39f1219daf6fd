//! What every destination does. A [`Sink`] accepts archives, a [`Store`] also keeps them. An adapter implements both,
//! or only the first, and an [`Upload`].
//!
//! An adapter makes ONE attempt per call and says by its error's [`Kind`](crate::Kind) whether another may succeed;
//! waiting and trying again is the caller's (`retry`). Every call may therefore come again with the same arguments, and
//! must then do no harm.

use std::{
    ops::Range,
    sync::{Arc, OnceLock},
    time::{Duration, SystemTime},
};

use async_trait::async_trait;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{error::StoreError, parts::Part};

/// In which order a destination accepts an archive's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placement {
    /// In order, and any of them may be overwritten before [`Upload::commit`].
    Random,
    /// In numbered parts, in any order, each once.
    Parts(PartRules),
    /// In order, and nothing can be changed afterwards.
    Sequential,
}

/// What a destination requires of its parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartRules {
    /// Every part but the last has at least so many bytes.
    pub smallest: u64,
    /// No part has more.
    pub largest: u64,
    /// There are at most so many.
    pub most: u32,
    /// All but the last must have the same size.
    pub equal: bool,
}

/// What a destination can do, and what it requires of its callers.
#[expect(clippy::struct_excessive_bools, reason = "each is an independent property of the destination")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Abilities {
    /// How bytes must come.
    pub placement: Placement,
    /// Every part but the last is a multiple of this many bytes (1: any).
    pub multiple: u64,
    /// The part size it works best with, before it must grow.
    pub preferred: u64,
    /// How many parts may be under way at once.
    pub concurrency: usize,
    /// Wants the archive's exact length before the first byte (plain `PUT`).
    pub needs_length: bool,
    /// Can't continue a broken upload at all: it starts over ([`Kind::Lost`](crate::Kind::Lost)).
    pub restarts: bool,
    /// Reports an MD5 of what arrived, so computing one of what is sent is worthwhile ([`Completed::md5`]). Sequential
    /// destinations only.
    pub md5: bool,
    /// An interrupted upload can be continued by another process ([`Upload::session`]).
    pub resumable: bool,
}

/// What is known of an archive before its first byte.
#[derive(Clone, Copy, Debug, Default)]
pub struct Expected {
    /// About how many bytes it may have at most, if known; for part sizes.
    pub about: Option<u64>,
    /// How many it will have at least; to check whether there is space.
    pub least: Option<u64>,
    /// Its exact length, when it is known.
    pub exact: Option<u64>,
    /// Whether another process may want to continue it: what is unfinished is then kept for a week.
    pub resumable: bool,
}

impl Expected {
    /// The space that it certainly needs.
    pub fn needs(&self) -> Option<u64> {
        self.exact.or(self.least)
    }

    /// Of an archive whose length is known.
    pub fn exactly(length: u64) -> Self {
        Self { about: Some(length), least: Some(length), exact: Some(length), resumable: false }
    }
}

/// An archive, complete: what the other side must have.
#[derive(Clone, Debug)]
pub struct Completed {
    /// Its length.
    pub length: u64,
    /// Number of parts that were put.
    pub parts: u32,
    /// MD5 of all bytes, for destinations that report one ([`Abilities::md5`]).
    pub md5: Option<[u8; 16]>,
}

/// An object at a destination.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// Its name, without the destination's own path.
    pub name: String,
    /// Its size in bytes.
    pub size: u64,
    /// When it was last changed.
    pub modified: Option<SystemTime>,
    /// It is a symbolic link; size and time are those of what it leads to.
    pub link: bool,
}

/// What an arrived archive was compared by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Checked {
    /// Its size.
    Size,
    /// A checksum of the whole that the destination computed.
    Checksum,
    /// Checksums of every part that the destination computed.
    PartChecksums,
    /// Every byte, read back.
    ReadBack,
}

/// Why a destination can't be read.
pub(crate) const NO_FOLDER: &str = "the folder does not exist";
/// What to do about that.
pub(crate) const CHECK_PATH: &str = "check the path; the first backup creates the folder";

/// The note about a folder that was created: it may have been mistyped.
pub(crate) fn made_folder(destination: &str) -> String {
    format!("{destination} did not exist; Haul created the folder")
}

/// What another process needs to continue an upload. Holds secrets: for a file of mode 0600 only.
#[derive(Clone, Serialize, Deserialize)]
pub struct Session(pub serde_json::Value);

/// A connected destination that accepts archives.
#[async_trait]
pub trait Sink: Send + Sync {
    /// The destination as users know it (`s3://bucket/prefix`); never holds a secret.
    fn label(&self) -> String;

    /// What it can do.
    fn abilities(&self) -> Abilities;

    /// Starts an object that will be called `name`. Nothing is to be seen under that name before [`Upload::commit`].
    /// Fails with [`Kind::Exists`](crate::Kind::Exists) when the name already exists, and with `Full` when `expected`
    /// can't fit.
    async fn create(&self, name: &str, expected: Expected) -> Result<Box<dyn Upload>, StoreError>;

    /// What a user should know of this destination, as far as the calls so far have shown it: whole sentences without a
    /// full stop.
    fn notes(&self) -> Vec<String> {
        Vec::new()
    }

    /// Whether archives should come neither compressed nor encrypted: it does both itself, after it has compared them with
    /// earlier ones.
    fn takes_plain(&self) -> bool {
        false
    }

    /// The same destination as one that keeps archives; `None`: nothing can be read back, as behind standard output.
    fn store(self: Arc<Self>) -> Option<Arc<dyn Store>> {
        None
    }
}

/// A destination that keeps archives: they can be listed, read and deleted.
#[async_trait]
pub trait Store: Sink {
    /// Finds an upload that another process left. `None`: it is gone.
    async fn resume(&self, session: &Session) -> Result<Option<Box<dyn Upload>>, StoreError>;

    /// Every object here, each once, unfinished ones and the insides of folders left out, in no particular order.
    async fn list(&self) -> Result<Vec<Entry>, StoreError>;

    /// One object; `None` if there is none.
    async fn entry(&self, name: &str) -> Result<Option<Entry>, StoreError>;

    /// Bytes of an object; exactly the range, which is inside it. Callers ask for some MiB at a time.
    async fn read(&self, name: &str, range: Range<u64>) -> Result<Bytes, StoreError>;

    /// Removes an object; one that is not there is fine.
    async fn delete(&self, name: &str) -> Result<(), StoreError>;

    /// Free space in bytes; `None` if the destination does not say or has no limit.
    async fn space(&self) -> Result<Option<u64>, StoreError>;

    /// Removes what killed runs left unfinished (`owner::is_abandoned`), and says how much that was.
    async fn remove_abandoned(&self) -> Result<u32, StoreError>;

    /// What the owner of archives here should know, asked of the destination itself; in addition to [`Sink::notes`].
    /// Unknown facts are left out.
    async fn remarks(&self) -> Vec<String> {
        Vec::new()
    }

    /// A name for what is sent first of an archive that is sent twice: until it is deleted, this process may create, read
    /// and delete objects of this name and of those that follow it (`owner::numbered`), and no list shows them. Where
    /// [`Abilities::needs_length`] is not set, one may also be created without its length. `None`: there is no such thing.
    fn draft_name(&self) -> Option<String> {
        None
    }

    /// Whether what is there can't be deleted from here.
    fn append_only(&self) -> bool {
        false
    }

    /// The destination as one that makes archives itself; `None`: it accepts finished ones.
    fn compressor(&self) -> Option<Arc<dyn RemoteCompressor>> {
        None
    }
}

/// A destination with cores of its own: it can be sent the source of an archive. The store does not interpret the
/// recipe, which may hold secrets.
#[async_trait]
pub trait RemoteCompressor: Send + Sync {
    /// What it is called.
    fn name(&self) -> String;

    /// Lets it make something of a sample, of 4 MiB at most, and says how long it worked. Nothing of that stays.
    async fn try_out(&self, recipe: &Value, sample: &[Bytes]) -> Result<Duration, StoreError>;

    /// A destination that accepts the source of one archive.
    fn job(&self, recipe: Value) -> CompressionJob;
}

/// One archive that is made elsewhere.
pub struct CompressionJob {
    /// Takes, in order, what it is made of, under the archive's name. Checking the archive is the compressor's own.
    pub sink: Arc<dyn Sink>,
    /// What was made, once the upload is committed, in its maker's form.
    pub made: Arc<OnceLock<Value>>,
}

/// One upload of an object. Dropping it leaves what was sent to the next cleanup; call [`Self::abort`] to give up.
#[async_trait]
pub trait Upload: Send + Sync {
    /// Sends one part. Called again with the same part after a transient error; what of it already arrived must not be
    /// there twice. In order and one at a time, unless the destination has [`Placement::Parts`].
    async fn put(&self, part: &Part) -> Result<(), StoreError>;

    /// Overwrites bytes that were put. Only at [`Placement::Random`].
    async fn patch(&self, offset: u64, bytes: &[u8]) -> Result<(), StoreError>;

    /// All parts were put: makes the object visible under its name, compares what the destination reports with
    /// `completed`, and returns by what. Never replaces an object. A difference is
    /// [`Kind::Mismatch`](crate::Kind::Mismatch), and nothing then stays under the name. The result counts for
    /// everybody: what can't be compared (the destination shows no size, no checksum, not even the name yet) is no
    /// difference.
    async fn commit(&self, completed: &Completed) -> Result<Checked, StoreError>;

    /// The name of `owner` under which it is at the destination while it is unfinished, if it has one there.
    fn temporary(&self) -> Option<String> {
        None
    }

    /// What the user should know of a committed upload, such as something that could not be tidied up. Never a reason
    /// to doubt the archive.
    fn notes(&self) -> Vec<String> {
        Vec::new()
    }

    /// Removes everything that was put. Not an error when there is nothing.
    async fn abort(&self) -> Result<(), StoreError>;

    /// What another process needs to continue; `None` if the destination can't.
    fn session(&self) -> Option<Session> {
        None
    }

    /// After [`Store::resume`]: which bytes are there already, in order and not overlapping. At `Parts` these are the
    /// ranges of whole parts.
    fn kept(&self) -> Vec<Range<u64>> {
        Vec::new()
    }
}
