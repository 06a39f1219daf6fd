//! The one error of a destination: which operation failed, where, why, and whether it is transient.

use std::{fmt, io, path::PathBuf, time::Duration};

use peer::without_number;

/// What was being done when a destination failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Connecting, authenticating, asking what the destination can do.
    Connect,
    /// Making the temporary file, starting an upload.
    Create,
    /// Writing bytes.
    Write,
    /// Asking the disk to keep what was written.
    Sync,
    /// Giving the finished file its name.
    Publish,
    /// Comparing what arrived with what was sent.
    Check,
    /// Listing what is there.
    List,
    /// Reading bytes.
    Read,
    /// Removing something.
    Delete,
}

impl Operation {
    /// The operation at `destination`, as it follows "could not".
    fn at(self, destination: impl fmt::Display) -> String {
        match self {
            Self::Connect => format!("connect to {destination}"),
            Self::Create => format!("create a file in {destination}"),
            Self::Write => format!("write to {destination}"),
            Self::Sync => format!("flush {destination} to the disk"),
            Self::Publish => format!("finish the archive at {destination}"),
            Self::Check => format!("check the copy at {destination}"),
            Self::List => format!("list {destination}"),
            Self::Read => format!("read {destination}"),
            Self::Delete => format!("delete {destination}"),
        }
    }
}

/// What a remote destination's refusal means for the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Transient: a broken connection, an overloaded server, a name that does not resolve. Worth another attempt, after
    /// `retry_after` if the server named a time.
    Transient {
        /// How long the server asked to wait.
        retry_after: Option<Duration>,
    },
    /// The current upload is lost on the other side and must start over; what was sent is gone.
    Lost,
    /// The name or password, key or token is wrong or has expired for good.
    Credentials,
    /// Known, but not allowed to do this.
    Permission,
    /// Not enough space; how many bytes are missing if the destination says so.
    Full {
        /// Bytes that don't fit.
        missing: Option<u64>,
    },
    /// The daily limit for uploads or downloads is used up: nothing works before tomorrow.
    DailyLimit,
    /// The destination, folder, bucket or object does not exist.
    NotFound,
    /// The name is taken, and nothing is overwritten unasked.
    Exists,
    /// What arrived is not what was sent.
    Mismatch,
    /// The other side is not what the address says, or speaks differently.
    Protocol,
    /// The address, an option or a file of keys can't be used.
    Invalid,
}

/// What is wrong with the key that a host showed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostKey {
    /// Nothing is known of this host. Its key has this fingerprint, which the setting `host_key` can name.
    Unknown(String),
    /// It should be another one.
    Wrong,
}

/// A remote destination could not carry out an operation.
#[derive(Clone, Debug)]
pub struct RemoteError {
    /// The destination as users know it; never holds a secret.
    pub destination: String,
    /// What was tried.
    pub operation: Operation,
    /// What it means.
    pub kind: Kind,
    /// Why, in plain words; never holds a secret.
    pub reason: String,
    /// What to do about it, if the destination knows better than the general advice.
    pub advice: Option<String>,
    /// What is wrong with its host's key, if that is why.
    pub host_key: Option<HostKey>,
}

impl fmt::Display for RemoteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            // Nothing was tried: the address or a setting can't be used.
            Kind::Invalid if self.destination.ends_with(':') => {
                write!(f, "can't use {:?}: {}", self.destination, self.reason)
            }
            Kind::Invalid => write!(f, "can't use {}: {}", self.destination, self.reason),
            // The destination keeps more than what was to be read or deleted.
            _ if self.operation == Operation::Read => {
                write!(f, "could not read from {}: {}", self.destination, self.reason)
            }
            _ if self.operation == Operation::Delete => {
                write!(f, "could not delete from {}: {}", self.destination, self.reason)
            }
            _ => write!(f, "could not {}: {}", self.operation.at(&self.destination), self.reason),
        }
    }
}

/// A destination could not carry out an operation; nothing stays behind under a final name.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The final name is taken, and nothing is overwritten unasked.
    #[error("{} exists already", .0.display())]
    Exists(PathBuf),
    /// The destination is not a directory that can take an archive.
    #[error("{} is not a directory", .0.display())]
    NotADirectory(PathBuf),
    /// The destination does not exist.
    #[error("{} does not exist", .0.display())]
    Missing(PathBuf),
    /// Anything the operating system refused.
    #[error("could not {}: {}", operation.at(path.display()), reason(source))]
    Io {
        /// What was tried.
        operation: Operation,
        /// The directory or file concerned.
        path: PathBuf,
        /// The operating system's error.
        source: io::Error,
    },
    /// A remote destination refused or broke.
    #[error("{0}")]
    Remote(Box<RemoteError>),
    /// The user stopped it.
    #[error("interrupted")]
    Cancelled,
}

impl StoreError {
    /// A remote destination's refusal.
    pub fn remote(destination: impl Into<String>, operation: Operation, kind: Kind, reason: impl Into<String>) -> Self {
        Self::Remote(Box::new(RemoteError {
            destination: destination.into(),
            operation,
            kind,
            reason: reason.into(),
            advice: None,
            host_key: None,
        }))
    }

    /// With what is wrong with the host's key.
    #[must_use]
    pub fn about_host_key(mut self, host_key: HostKey) -> Self {
        if let Self::Remote(error) = &mut self {
            error.host_key = Some(host_key);
        }
        self
    }

    /// With what to do about it.
    #[must_use]
    pub fn advise(mut self, advice: impl Into<String>) -> Self {
        if let Self::Remote(error) = &mut self {
            error.advice = Some(advice.into());
        }
        self
    }

    /// What to do about it, where more is known than what a local disk or directory asks for.
    pub fn advice(&self) -> Option<String> {
        match self {
            Self::Remote(error) => Some(error.advice.clone().unwrap_or_else(|| usual_advice(error.kind).to_owned())),
            Self::Exists(_) => Some("Haul overwrites nothing: choose another name, or give a directory".to_owned()),
            Self::NotADirectory(_) => Some("give an existing directory, or a file name that ends in .tar".to_owned()),
            Self::Missing(path) => Some(format!("create it first: mkdir -p {}", path.display())),
            Self::Io { source, .. } if is_reserved(source) => Some(
                "free some space there, choose another --to, or use that space with --force; nothing was left behind"
                    .to_owned(),
            ),
            Self::Io { .. } if self.is_full() => {
                Some("free some space there, or choose another destination; nothing was left behind".to_owned())
            }
            Self::Io { source, .. } if source.kind() == io::ErrorKind::ReadOnlyFilesystem => Some(
                "mount it so that it can be written to; the installed service may write there if `systemctl edit haul` \
                 says so, with ReadWritePaths= in [Service]"
                    .to_owned(),
            ),
            Self::Io { .. } => {
                Some("check the destination's permissions and mount; nothing was left behind".to_owned())
            }
            Self::Cancelled => None,
        }
    }

    /// The same error, for another caller.
    #[must_use]
    pub fn again(&self) -> Self {
        match self {
            Self::Exists(path) => Self::Exists(path.clone()),
            Self::NotADirectory(path) => Self::NotADirectory(path.clone()),
            Self::Missing(path) => Self::Missing(path.clone()),
            Self::Io { operation, path, source } => {
                let source = source
                    .raw_os_error()
                    .map_or_else(|| io::Error::new(source.kind(), source.to_string()), io::Error::from_raw_os_error);
                Self::Io { operation: *operation, path: path.clone(), source }
            }
            Self::Remote(error) => Self::Remote(error.clone()),
            Self::Cancelled => Self::Cancelled,
        }
    }

    /// What it means, for errors of remote destinations and their local counterparts.
    pub fn kind(&self) -> Option<Kind> {
        match self {
            Self::Remote(error) => Some(error.kind),
            Self::Exists(_) => Some(Kind::Exists),
            Self::Missing(_) => Some(Kind::NotFound),
            Self::Io { source, .. } if source.kind() == io::ErrorKind::NotFound => Some(Kind::NotFound),
            Self::Io { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => Some(Kind::Permission),
            Self::Io { .. } if self.is_full() => Some(Kind::Full { missing: None }),
            Self::NotADirectory(_) | Self::Io { .. } | Self::Cancelled => None,
        }
    }

    /// True when another try may succeed.
    pub fn is_transient(&self) -> bool {
        matches!(self.kind(), Some(Kind::Transient { .. }))
    }

    /// True when what was sent is still there and the same upload may go on later: the line broke, the user stopped it,
    /// somebody must sign in again, or it is tomorrow.
    pub fn may_continue_later(&self) -> bool {
        self.is_transient()
            || matches!(self, Self::Cancelled)
            || matches!(self.kind(), Some(Kind::Credentials | Kind::DailyLimit))
    }

    /// How long the other side asked to wait.
    pub fn retry_after(&self) -> Option<Duration> {
        match self.kind() {
            Some(Kind::Transient { retry_after }) => retry_after,
            _ => None,
        }
    }

    /// True when the disk or the quota is full.
    pub fn is_full(&self) -> bool {
        match self {
            Self::Io { source, .. } => {
                matches!(
                    source.kind(),
                    io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
                )
            }
            Self::Remote(error) => matches!(error.kind, Kind::Full { .. }),
            _ => false,
        }
    }
}

/// Whether there is space, but not enough.
fn is_reserved(error: &io::Error) -> bool {
    matches!(error.get_ref(), Some(inner) if inner.is::<crate::local::reserved::Reserved>())
}

/// What usually helps if a remote destination refuses.
fn usual_advice(kind: Kind) -> &'static str {
    match kind {
        Kind::Transient { .. } => {
            "it did not recover in time; nothing was left behind; try again later, or allow more time with \
             --give-up-after"
        }
        Kind::Lost => "the other side lost what had been sent; try again",
        Kind::Credentials => "check the user name and the password, key or token file",
        Kind::Permission => "the account is not allowed to do this: check its permissions",
        Kind::DailyLimit => "try again tomorrow",
        Kind::Full { .. } => "free some space there, or choose another destination",
        Kind::NotFound => "check the address; the folder or bucket must exist",
        Kind::Exists => "Haul overwrites nothing: give another name, as DEST/NAME.tar",
        Kind::Mismatch => {
            "the copy was removed; try again, and if it happens again, check the network and the server's disk"
        }
        Kind::Protocol => "check the address, and that the right server answers there",
        Kind::Invalid => "correct the address or the setting",
    }
}

/// The system's reason without its number, as a person would say it.
pub(crate) fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::StorageFull if is_reserved(error) => error.to_string(),
        io::ErrorKind::StorageFull => "no space left on the disk".to_owned(),
        io::ErrorKind::QuotaExceeded => "the disk quota is used up".to_owned(),
        io::ErrorKind::FileTooLarge => "the file system can't hold a file this large".to_owned(),
        io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        io::ErrorKind::ReadOnlyFilesystem => "it is mounted read-only".to_owned(),
        _ => without_number(&error.to_string()).to_lowercase(),
    }
}
