//! What forms are made of: what is asked, what was answered, and what is wrong with that.

use jiff::Timestamp;
use keeper::status::Failure;
use serde::Serialize;
use utoipa::ToSchema;
use zeroize::Zeroizing;

/// What a user can choose from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Choices {
    /// Config directories that were found.
    pub directories: Vec<FoundDirectory>,
    /// What a location can be.
    pub kinds: Vec<FormKind>,
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

/// A kind of location or channel, and what has to be known for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct FormKind {
    /// As one word: `local`, `sftp`.
    pub id: String,
    /// As people call it.
    pub label: String,
    /// One sentence about it.
    pub about: String,
    /// What is asked for, in this order.
    pub fields: Vec<FormField>,
    /// A person has to sign in at the provider first.
    pub signs_in: bool,
}

/// Something that is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub struct FormField {
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
    /// It is `true` or `false`.
    pub flag: bool,
    /// What a flag is unless somebody says otherwise.
    pub on: bool,
}

impl FormField {
    /// What a flag says at first.
    pub(crate) fn preset(&self) -> &'static str {
        if self.on { "true" } else { "false" }
    }
}

/// A sign-in that a person ends at the provider.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum SignIn {
    /// The person has not typed the code yet.
    Waiting {
        /// Where to type it.
        address: String,
        /// What to type.
        code: String,
        /// Until when that is possible.
        until: Timestamp,
    },
    /// Signed in.
    Done {
        /// As whom.
        message: String,
    },
    /// It came to nothing.
    Failed {
        /// Why.
        message: String,
        /// What to do about it.
        hint: Option<String>,
    },
}

/// A location, a channel or a broker as the user filled it in.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Filled {
    /// One of [`FormKind::id`].
    pub kind: String,
    /// By [`FormField::id`]; what was left empty is not there.
    pub fields: Vec<(String, Zeroizing<String>)>,
    /// Secrets that are not there are those of what has this name.
    pub keeps: Option<String>,
}

impl Filled {
    /// The kind of an MQTT broker, of which there is one, and its name.
    pub const BROKER: &str = "mqtt";
}

/// How archives are encrypted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Encryption {
    /// With a key that is made now.
    NewKey,
    /// With this key.
    Key(Zeroizing<String>),
    /// With the key of Home Assistant's own backups, in the app. Nobody has to see it for that.
    HomeAssistants,
    /// Not at all.
    Nothing,
}

/// The three answers of a new user.
#[derive(Clone, PartialEq, Eq)]
pub struct SetUp {
    /// What: a config directory.
    pub source: String,
    /// With every app and folder, in the app on Home Assistant OS.
    pub everything: bool,
    /// When backups of the configuration alone are made beside those of everything; nothing: never.
    pub quick: Option<String>,
    /// Where to.
    pub location: Filled,
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
    /// It is Home Assistant's own, and stands in the emergency kit alone.
    pub is_home_assistants: bool,
}

/// What a user filled in can't be used: one mistake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invalid {
    /// The field: `source`, `quick`, `kind`, `schedule`, `keep`, `key`, or a field of the location; of a restore `destination`,
    /// `into`, `replace`, `only` or `key`; of a move `to`, `token`, `replace` or `key`; nothing: all of it.
    pub field: Option<String>,
    /// Why.
    pub failure: Failure,
    /// What the field would have to say, if the user agrees.
    pub offer: Option<String>,
}

impl From<Invalid> for Vec<Invalid> {
    fn from(only: Invalid) -> Self {
        vec![only]
    }
}
