//! The one error of this crate: what failed and why, and what to do about it.

/// What a failure means for the caller's next step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Nothing answers: Supervisor restarts, or this is no app. May pass.
    Unreachable,
    /// The connection broke or fell silent after a request was sent, which may have arrived. May pass.
    Broken,
    /// Supervisor or Home Assistant Core is starting or stopping. May pass.
    NotReady,
    /// A backup, a restore or another change is under way. May pass.
    Busy,
    /// Supervisor failed by an error of its own (500). May pass.
    Failing,
    /// There is no token, or it is not accepted.
    Token,
    /// The app may not do that.
    Forbidden,
    /// What was named is not there.
    NotFound,
    /// What was to be created is there already.
    Exists,
    /// The mount was accepted, and mounting failed.
    MountFailed,
    /// The backup's location is a mount that does not answer.
    MountDown,
    /// Not enough space on the data disk.
    Full,
    /// The backup's password is wrong.
    WrongPassword,
    /// This system can't do that, or its version is too old.
    Unsupported,
    /// Supervisor says no, for another reason.
    Refused,
    /// Something answered that is not Supervisor, or speaks differently than it should.
    Protocol,
    /// A name or setting that can't be used; nothing was sent.
    Invalid,
}

/// Something that could not be done with Supervisor.
#[derive(Clone, Debug, thiserror::Error)]
#[error("could not {operation}: {reason}")]
pub struct Error {
    /// What was tried, as in "create the mount `haul_nas`".
    pub operation: String,
    /// What it means.
    pub kind: Kind,
    /// Why, in plain words; never holds a secret.
    pub reason: String,
    /// What to do about it.
    pub advice: String,
    /// What Supervisor itself answered, made fit to be shown; without a secret that was sent.
    pub said: Option<Box<str>>,
    /// The job that failed, if there was one.
    pub job: Option<Box<str>>,
}

impl Error {
    pub(crate) fn new(operation: &str, kind: Kind, reason: impl Into<String>) -> Self {
        Self {
            operation: operation.to_owned(),
            kind,
            reason: reason.into(),
            advice: advice(kind).to_owned(),
            said: None,
            job: None,
        }
    }

    pub(crate) fn advise(mut self, advice: impl Into<String>) -> Self {
        self.advice = advice.into();
        self
    }

    /// True when the same may succeed a little later.
    pub fn is_transient(&self) -> bool {
        matches!(self.kind, Kind::Unreachable | Kind::Broken | Kind::NotReady | Kind::Busy | Kind::Failing)
    }

    /// True when the request may have been carried out all the same: look before asking again.
    pub fn may_have_happened(&self) -> bool {
        matches!(self.kind, Kind::Broken | Kind::Failing | Kind::Protocol)
    }
}

/// What usually helps.
fn advice(kind: Kind) -> &'static str {
    match kind {
        Kind::Unreachable | Kind::NotReady => "wait until Supervisor and Home Assistant have started, then try again",
        Kind::Broken => "look whether it happened after all before you try again",
        Kind::Busy => "wait until the backup, restore or update that is under way has ended, then try again",
        Kind::Failing | Kind::Refused => "its log says more, under Settings > System > Logs > Supervisor",
        Kind::Token => "restart the app, so that Supervisor gives it a new token",
        Kind::Forbidden => "update the app, and restart it; its installation lacks a right that this version needs",
        Kind::NotFound => "look at the list again: somebody else may have removed it",
        Kind::Exists => "use another name, or remove the one that is there",
        Kind::MountFailed => {
            "check that the server answers at its address and port; the reason is under Settings > System > Logs > Host"
        }
        Kind::MountDown => {
            "check that its server answers, then reload it under Settings > System > Storage, or back up elsewhere"
        }
        Kind::Full => "free some space on the data disk, or back up to a network storage",
        Kind::WrongPassword => {
            "give the password that the backup was made with; Home Assistant's own is its encryption key under \
             Settings > System > Backups"
        }
        Kind::Unsupported => "update Home Assistant Operating System and Supervisor",
        Kind::Protocol => "check that the address is Supervisor's, and update Haul if Supervisor is newer",
        Kind::Invalid => "correct it and try again",
    }
}
