//! The messages between two paired machines: a request, its answer, and the reasons for a refusal.
//!
//! A request is a head (JSON, an [`Envelope`]) and a body (bytes as they are); so is an answer. Requests may follow
//! each other without waiting; answers come in the same order. Unknown fields are ignored, so that either side may be
//! the newer one.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The version of the protocol spoken here.
pub const VERSION: u32 = 1;
/// The oldest version still understood.
pub const OLDEST: u32 = 1;

/// The first message after the handshake, in both directions.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Hello {
    /// The newest version the speaker understands; the lower of both is spoken.
    pub version: u32,
}

/// A numbered message.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Envelope<T> {
    /// The request's number; its answer has the same.
    pub id: u64,
    /// The request itself.
    #[serde(flatten)]
    pub message: T,
}

/// What a sender may ask for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "kebab-case")]
pub enum Request {
    /// What the receiver's destination can do.
    Abilities,
    /// How much space there is.
    Space,
    /// Remove what was left unfinished there long ago.
    #[serde(rename = "sweep")]
    RemoveAbandoned,
    /// Everything that is there.
    List,
    /// One object.
    Entry {
        /// Its name.
        name: String,
    },
    /// Bytes of an object; they are the answer's body.
    Read {
        /// Its name.
        name: String,
        /// The first byte.
        start: u64,
        /// Behind the last byte.
        end: u64,
    },
    /// Remove an object.
    Delete {
        /// Its name.
        name: String,
    },
    /// Start an upload. Asked again with the same `upload`, it is the same one.
    Create {
        /// The sender's name for it, from which it can see later whether anybody still works on it.
        upload: String,
        /// The object's final name.
        name: String,
        /// About how many bytes will come.
        about: Option<u64>,
        /// How many exactly.
        exact: Option<u64>,
        /// How many at least.
        #[serde(default)]
        least: Option<u64>,
        /// Whether another process may want to continue it.
        keep: bool,
    },
    /// Start an upload of what an archive is made of; the receiver makes the archive. Asked again with the same
    /// `upload`, it is the same one.
    Make {
        /// The sender's name for it.
        upload: String,
        /// The archive's final name.
        name: String,
        /// About how many bytes will come.
        about: Option<u64>,
        /// How many the archive will have at least.
        least: Option<u64>,
        /// How the archive is made of them; holds secrets. This crate does not interpret it.
        recipe: Recipe,
    },
    /// Make something of the body, a sample, to see how long that takes; nothing of it stays.
    Try {
        /// As in `Make`.
        recipe: Recipe,
    },
    /// How far an upload got.
    Resume {
        /// The sender's name for it.
        upload: String,
    },
    /// A piece of a part, which is the body. Pieces of a part come in order.
    Put {
        /// The sender's name for the upload.
        upload: String,
        /// The part's number.
        index: u32,
        /// Where the part begins in the archive.
        offset: u64,
        /// The part's length.
        length: u64,
        /// Where the piece begins in the part.
        at: u64,
        /// Length of the archive, if known.
        total: Option<u64>,
        /// Whether the archive ends with this part.
        last: bool,
    },
    /// Overwrite bytes with the body.
    Patch {
        /// The sender's name for the upload.
        upload: String,
        /// Where.
        offset: u64,
    },
    /// Everything was put: make it visible.
    Commit {
        /// The sender's name for the upload.
        upload: String,
        /// The archive's length.
        length: u64,
        /// Number of parts.
        parts: u32,
        /// MD5 of all bytes in hexadecimal, if the destination reports one.
        md5: Option<String>,
    },
    /// Remove what was put.
    Abort {
        /// The sender's name for the upload.
        upload: String,
    },
    /// This sender's uploads that were neither committed nor aborted.
    Unfinished,
}

/// How an archive is to be made. Holds secrets, and is never shown.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Recipe(pub Value);

impl fmt::Debug for Recipe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Recipe(..)")
    }
}

/// What came of a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "kebab-case")]
pub enum Reply {
    /// Done; if a body was requested, it is the answer's body.
    Done,
    /// What the destination can do.
    Abilities(Abilities),
    /// How much space there is.
    Space {
        /// In bytes; none when there is no limit.
        free: Option<u64>,
    },
    /// How many unfinished things were removed.
    #[serde(rename = "swept")]
    Removed {
        /// That many.
        count: u32,
    },
    /// A list of [`Object`] or [`Unfinished`] is the body.
    Listed,
    /// The object, if there is one.
    Entry {
        /// It.
        object: Option<Object>,
    },
    /// The upload exists; these bytes are there.
    Upload {
        /// In order, as start and end.
        kept: Vec<(u64, u64)>,
    },
    /// There is no such upload.
    Gone,
    /// It is visible now.
    Committed {
        /// What it was compared by, in the sender's own terms.
        checked: String,
        /// What was made, after `Make`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        made: Option<Value>,
        /// What the user should know of it nevertheless.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        notes: Vec<String>,
    },
    /// What `Try` took.
    Tried {
        /// In nanoseconds.
        nanos: u64,
    },
    /// It could not be done.
    Refused(Refusal),
    /// It is being worked on; the answer comes later.
    Busy,
}

/// What a destination can do, as the sender's driver needs to know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "each is an independent yes or no of the destination")]
pub struct Abilities {
    /// In which order it takes bytes.
    pub placement: Placement,
    /// Every part but the last is a multiple of this.
    pub multiple: u64,
    /// The part size it works best with.
    pub preferred: u64,
    /// Wants the length first.
    pub needs_length: bool,
    /// Can't continue a broken upload.
    pub restarts: bool,
    /// Gives an MD5.
    pub md5: bool,
    /// Can be continued by another process.
    pub resumable: bool,
    /// The sender can't delete what is there.
    #[serde(default)]
    pub append_only: bool,
    /// The receiver can make the archive itself ([`Request::Make`]).
    #[serde(default)]
    pub makes: bool,
}

/// In which order a destination accepts bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Placement {
    /// In order, and any may be overwritten.
    Random,
    /// In parts.
    Parts {
        /// Least bytes of a part.
        smallest: u64,
        /// Most bytes of a part.
        largest: u64,
        /// Most parts.
        most: u32,
        /// All of one size.
        equal: bool,
    },
    /// In order, for good.
    Sequential,
}

/// An object at the receiver's destination.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Object {
    /// Its name.
    pub name: String,
    /// Its size in bytes.
    pub size: u64,
    /// When it was last changed, in milliseconds since 1970.
    pub modified: Option<u64>,
    /// It is a symbolic link.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub link: bool,
}

/// An upload that was neither committed nor aborted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unfinished {
    /// The sender's name for it.
    pub upload: String,
    /// Whether another process may want to continue it.
    pub keep: bool,
    /// Seconds since anything was done with it.
    pub idle: u64,
}

/// Why a request could not be done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// What it means.
    pub kind: RefusalKind,
    /// In plain words.
    pub reason: String,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub advice: Option<String>,
}

/// What a refusal means for the sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RefusalKind {
    /// It may pass.
    Passing {
        /// After so many milliseconds, if that is known.
        after: Option<u64>,
    },
    /// The upload must start over.
    Lost,
    /// The receiver's own credentials are wrong.
    Credentials,
    /// The receiver may not.
    Permission,
    /// Not enough space.
    Full {
        /// So many bytes don't fit.
        missing: Option<u64>,
    },
    /// Not there.
    NotFound,
    /// The name is taken.
    Exists,
    /// What arrived is not what was sent.
    Mismatch,
    /// The receiver's destination speaks another protocol version.
    Protocol,
    /// The request can't be understood or makes no sense.
    Invalid,
}

impl Refusal {
    /// For a reason.
    pub fn new(kind: RefusalKind, reason: impl Into<String>) -> Self {
        Self { kind, reason: reason.into(), advice: None }
    }

    /// A request that makes no sense.
    pub fn invalid(reason: impl Into<String>) -> Self {
        Self::new(RefusalKind::Invalid, reason)
    }
}
