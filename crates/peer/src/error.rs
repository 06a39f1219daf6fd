//! Why two machines could not talk to each other.

use std::{io, path::PathBuf};

use crate::message::Refusal;

/// What went wrong between two machines; never holds a secret.
#[derive(Debug, thiserror::Error)]
pub enum PeerError {
    /// No connection came about; it may later.
    #[error("{0}")]
    Unreachable(String),
    /// The connection ended too early; another may hold.
    #[error("the connection broke: {0}")]
    Broken(String),
    /// The other side ended the conversation without a word: it knows nothing of this machine.
    #[error("it does not know this machine")]
    NotPaired,
    /// It is not the machine that was paired.
    #[error("its key is not that of the paired machine")]
    KeyChanged,
    /// The code was not the one shown over there.
    #[error("the pairing code is wrong, or the connection is not a direct one")]
    WrongCode,
    /// No code is valid over there.
    #[error("it accepts no pairing code at the moment")]
    NoPairing,
    /// It says what can't be understood.
    #[error("{0}")]
    Protocol(String),
    /// It understood, and could not.
    #[error("{}", .0.reason)]
    Refused(Box<Refusal>),
    /// A file of this machine's own can't be used.
    #[error("{} can't be used: {reason}", path.display())]
    State {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
}

impl PeerError {
    /// True when another try may succeed.
    pub fn is_passing(&self) -> bool {
        matches!(self, Self::Unreachable(_) | Self::Broken(_))
    }

    pub(crate) fn state(path: &std::path::Path, error: &io::Error) -> Self {
        Self::State { path: path.to_owned(), reason: reason(error) }
    }
}

/// The system's reason without its number.
pub(crate) fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => "it ended in the middle".to_owned(),
        _ => without_number(&error.to_string()).to_lowercase(),
    }
}

/// What the system says about an error, without the number that ends it.
pub fn without_number(text: &str) -> &str {
    text.split_once(" (os error").map_or(text, |(message, _)| message)
}
