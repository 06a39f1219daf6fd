//! The one error of this crate: which operation failed at which instance, why, what that means, and what to do about
//! it.

use std::fmt;

use crate::vendor::Vendor;

/// What was being done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Finding out what answers at the address.
    Look,
    /// Sending a backup.
    Upload,
    /// Asking for the backups that are there.
    Ask,
    /// Starting a restore.
    Restore,
    /// Signing in with a token.
    SignIn,
    /// Following the instance through its restart.
    Follow,
    /// Reading a token or password from its file.
    Secret,
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Look => "find Home Assistant at",
            Self::Upload => "upload to",
            Self::Ask => "list the backups on",
            Self::Restore => "restore the backup on",
            Self::SignIn => "sign in to",
            Self::Follow => "follow the restore on",
            Self::Secret => "use the file",
        })
    }
}

/// What a failure means for the caller's next step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Nothing answers. May pass.
    Unreachable,
    /// The connection broke or fell silent with something under way, which may have arrived. May pass.
    Broken,
    /// Home Assistant is starting, or has another backup under way. May pass.
    Busy,
    /// A proxy or another server in between refused.
    Proxy(Vendor),
    /// The address sends its visitors elsewhere.
    Elsewhere,
    /// Something answers, and it is not Home Assistant.
    NotHomeAssistant,
    /// The certificate is not trusted.
    Certificate,
    /// The token is wrong, has expired or is not an administrator's.
    Credentials,
    /// Its first page is over: somebody has started to set it up.
    AlreadySetUp,
    /// Too old for the request.
    TooOld,
    /// The backup's password is wrong.
    WrongPassword,
    /// The backup is not there.
    NotFound,
    /// Not enough space there.
    Full,
    /// Home Assistant itself says no.
    Refused,
    /// The restore began and failed.
    RestoreFailed,
    /// It came up again as if nothing had been restored.
    RestoreLost,
    /// It restored the backup, and only its core started.
    OnlyCore,
    /// It did not come up again in the time it was given.
    TimedOut,
    /// What was to be uploaded could not be read to its end; the other side is not to blame.
    Source,
    /// It speaks differently than it should.
    Protocol,
    /// An address, name or file that can't be used.
    Invalid,
}

/// Something that could not be done with a Home Assistant.
#[derive(Clone, Debug, thiserror::Error)]
#[error("could not {operation} {address}: {reason}")]
pub struct Error {
    /// The instance's address; never holds a secret.
    pub address: String,
    /// What was tried.
    pub operation: Operation,
    /// What it means.
    pub kind: Kind,
    /// Why, in plain words; never holds a secret.
    pub reason: String,
    /// What to do about it.
    pub advice: Option<String>,
    /// What Home Assistant itself answered, word for word.
    pub quoted: Option<String>,
}

impl Error {
    pub(crate) fn new(address: impl Into<String>, operation: Operation, kind: Kind, reason: impl Into<String>) -> Self {
        Self { address: address.into(), operation, kind, reason: reason.into(), advice: None, quoted: None }
    }

    pub(crate) fn advise(mut self, advice: impl Into<String>) -> Self {
        self.advice = Some(advice.into());
        self
    }

    pub(crate) fn quoting(mut self, said: impl Into<String>) -> Self {
        self.quoted = Some(said.into());
        self
    }

    /// True when the same may succeed a little later.
    pub fn is_transient(&self) -> bool {
        matches!(self.kind, Kind::Unreachable | Kind::Broken | Kind::Busy)
    }
}
