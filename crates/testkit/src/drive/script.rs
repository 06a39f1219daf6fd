//! The faults that a test can script.

/// Kinds of calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Call {
    /// A code for signing in.
    Code,
    /// Tokens for a code, or an access token for a refresh token.
    Token,
    /// Taking a token back.
    Revoke,
    /// Whose account it is, and how full.
    About,
    /// A page of a search.
    List,
    /// A file's metadata.
    Get,
    /// A file's bytes.
    Download,
    /// A folder.
    Make,
    /// A new name.
    Update,
    /// Removing a file.
    Delete,
    /// The beginning of an upload.
    Start,
    /// Bytes of an upload.
    Chunk,
    /// The question what an upload has kept.
    Status,
    /// Removing an upload.
    Cancel,
}

/// What goes wrong with one call.
#[derive(Clone, Debug)]
pub enum Fault {
    /// Takes the whole body, does nothing, and answers this.
    Status {
        /// The status.
        status: u16,
        /// `reason` of the error, for instance `userRateLimitExceeded`.
        reason: &'static str,
        /// Seconds for `Retry-After`.
        retry_after: Option<u64>,
    },
    /// Keeps only so many bytes of the chunk, rounded down to 256 KiB, and answers 308. Only for [`Call::Chunk`].
    Keep(u64),
    /// Keeps exactly so many bytes of the chunk, and answers 308. Only for [`Call::Chunk`].
    KeepExactly(u64),
    /// Takes so many bytes of the body, keeps what is whole of them, and drops the connection.
    Cut(u64),
    /// Carries out the request, and drops the connection instead of answering.
    Unanswered,
    /// Takes the whole body, does nothing, and says nothing either.
    Silent,
    /// The session is gone; the answer is this status, 404 or 410. For [`Call::Chunk`] and [`Call::Status`].
    Vanish(u16),
    /// The user has just taken the sign-in back.
    Revoke,
    /// The search finds nothing. Only for [`Call::List`].
    Empty,
    /// The search finds nothing, and says that it has not searched everywhere. Only for [`Call::List`].
    Incomplete,
    /// The access token has just expired.
    Expire,
    /// Changes a byte of what arrives. Only for [`Call::Chunk`].
    Corrupt,
    /// Says that it has more bytes than it was given. For [`Call::Chunk`] and [`Call::Status`].
    Boast(u64),
}

impl Fault {
    /// A status of an overloaded or broken server.
    pub fn status(status: u16) -> Self {
        Self::Status { status, reason: "backendError", retry_after: None }
    }

    /// A refusal for a reason (403).
    pub fn forbidden(reason: &'static str) -> Self {
        Self::Status { status: 403, reason, retry_after: None }
    }
}
