//! Translates a failure of the protocol into an error of the destination.

use russh_sftp::{client::error::Error, protocol::StatusCode};

use crate::error::{Kind, Operation, StoreError};

/// How one request failed.
#[derive(Clone, Debug)]
pub(super) enum Fault {
    /// The connection is of no use any more.
    Broken(String),
    /// There is no such file or directory.
    Missing,
    /// Not allowed.
    Denied,
    /// The end of a file or list.
    End,
    /// The server can't do this at all.
    Unsupported,
    /// The server's file system takes no such call, or no such name (OpenSSH's answer to `EINVAL` and names that are
    /// too long).
    Invalid,
    /// No space is left.
    Full,
    /// Anything else the server refused, with its text.
    Refused(String),
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        match error {
            Error::Status(status) => match status.status_code {
                StatusCode::NoSuchFile => Self::Missing,
                StatusCode::PermissionDenied => Self::Denied,
                StatusCode::Eof => Self::End,
                StatusCode::OpUnsupported => Self::Unsupported,
                StatusCode::NoConnection | StatusCode::ConnectionLost => {
                    Self::Broken("the server lost its connection".to_owned())
                }
                StatusCode::BadMessage => Self::Invalid,
                StatusCode::Ok | StatusCode::Failure => Self::from_text(&status.error_message),
            },
            Error::Timeout => Self::Broken("the server did not answer".to_owned()),
            Error::Limited(what) => Self::Refused(what),
            Error::IO(_) | Error::UnexpectedPacket | Error::UnexpectedBehavior(_) => {
                Self::Broken("the connection broke".to_owned())
            }
        }
    }
}

impl Fault {
    /// Version 3 of the protocol has no number for a full disk, but some servers say so.
    fn from_text(text: &str) -> Self {
        let lower = text.to_lowercase();
        if ["no space", "quota", "disk full", "disk is full"].iter().any(|hint| lower.contains(hint)) {
            return Self::Full;
        }
        let plain: String = text.chars().filter(|c| !c.is_control()).take(200).collect();
        Self::Refused(if plain.is_empty() { "failure".to_owned() } else { plain })
    }

    /// As an error of the destination.
    pub(super) fn at(self, destination: &str, operation: Operation) -> StoreError {
        let (kind, reason) = match self {
            Self::Broken(reason) => (Kind::Transient { retry_after: None }, reason),
            Self::Missing => (Kind::NotFound, "it does not exist".to_owned()),
            Self::Denied => (Kind::Permission, "permission denied".to_owned()),
            Self::End => (Kind::Protocol, "the file ended too early".to_owned()),
            Self::Unsupported => (Kind::Protocol, "the server can't do that".to_owned()),
            Self::Invalid => {
                (Kind::Protocol, "the server's file system does not accept that, or a name that long".to_owned())
            }
            Self::Full => {
                (Kind::Full { missing: None }, "no space left on the server, or its quota is used up".to_owned())
            }
            Self::Refused(text) => {
                (Kind::Protocol, format!("the server refused it with \"{text}\" and gave no reason"))
            }
        };
        StoreError::remote(destination, operation, kind, reason)
    }
}
