//! What every handler can use, and what it is told of a request.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::Duration,
};

use axum::extract::FromRequestParts;
use bytes::Bytes;
use http::{StatusCode, request::Parts};
use jiff::Timestamp;
use store::Cancellation;
use tokio::sync::watch;
use zeroize::Zeroizing;

use crate::{
    auth::{Accounts, Scope, Throttle},
    backend::{Backend, Configured, Established, MoveSeen, MoveWanted},
    fields::Fields,
    refusal::Refusal,
    text::Clock,
    visitor::{Hosts, Ingress, Trust, Visit, Visitor},
};

/// How pages are served.
#[derive(Clone)]
pub struct Options {
    /// Where accounts are kept.
    pub state: PathBuf,
    /// What stands before every path, as `/haul`; empty: nothing.
    pub base_path: String,
    /// Names by which this machine is called, besides `localhost` and its addresses.
    pub hosts: Vec<String>,
    /// Browsers come by https only, through a proxy.
    pub https: bool,
    /// Who is let in through Home Assistant; nothing: nobody.
    pub ingress: Option<Arc<dyn Ingress>>,
}

/// What every handler can use.
pub(crate) struct Shared {
    pub(crate) backend: Arc<dyn Backend>,
    pub(crate) accounts: Accounts,
    pub(crate) throttle: Throttle,
    /// One password is hashed at a time: each takes 19 MiB.
    pub(crate) hashing: tokio::sync::Semaphore,
    /// Questions that may take minutes: the threads of others are not for them.
    pub(crate) slow: Arc<tokio::sync::Semaphore>,
    /// Whether streams are to end.
    pub(crate) closing: watch::Sender<bool>,
    /// A key that was made and not yet put away by the user.
    pub(crate) established: RwLock<Option<Established>>,
    /// Moves to other machines that were checked, and not begun.
    pub(crate) checked: Checked,
    pub(crate) options: Options,
    pub(crate) hosts: Hosts,
    /// What only this process knows.
    pub(crate) process: Zeroizing<String>,
}

/// What was typed for a move and what was seen then, under a name that nobody can guess: a form can't bring back a token
/// that is shown to nobody.
#[derive(Default)]
pub(crate) struct Checked(Mutex<Vec<(String, MoveWanted, MoveSeen)>>);

/// So many are kept, and for so long.
const MOST_CHECKED: usize = 8;
const CHECKED_FOR: Duration = Duration::from_mins(15);

impl Checked {
    /// It is begun, or nobody wants it any more.
    pub(crate) fn take(&self, name: &str) -> Option<(MoveWanted, MoveSeen)> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let at = kept.iter().position(|(known, ..)| known == name)?;
        let (_, wanted, seen) = kept.remove(at);
        Some((wanted, seen))
    }
}

/// So many of the slow questions are answered at once.
pub(crate) const SLOW: usize = 4;

/// Somebody waits for an answer; dropped with a connection that closes.
#[derive(Default)]
pub(crate) struct Waiting(pub(crate) Cancellation);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

/// What was asked, by whom.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) visitor: Visitor,
    pub(crate) visit: Visit,
    /// What Home Assistant calls its user who asks; empty if nobody says it.
    pub(crate) user: String,
    /// What stands before every path of a page.
    pub(crate) base: String,
    pub(crate) path: String,
    pub(crate) query: Fields,
    /// What a form says; empty for everything else.
    pub(crate) form: Fields,
    pub(crate) body: Bytes,
}

impl Asked {
    /// Whether Home Assistant shows the page, as it does an app's.
    pub(crate) fn is_in_app(&self) -> bool {
        self.visit.trust == Trust::Ingress
    }
}

impl Shared {
    /// Asks the service something, away from the runtime's threads.
    pub(crate) async fn ask<T: Send + 'static>(
        self: &Arc<Self>,
        question: impl FnOnce(&dyn Backend) -> T + Send + 'static,
    ) -> Result<T, Refusal> {
        let backend = self.backend.clone();
        tokio::task::spawn_blocking(move || question(&*backend)).await.map_err(|_| {
            Refusal::broken("Haul could not answer because of an error of its own.")
                .hint("Look at its log, and report what it says there.")
        })
    }

    /// What the configuration file says.
    pub(crate) async fn configured(self: &Arc<Self>) -> Result<Configured, Refusal> {
        self.ask(<dyn Backend>::configured).await?.map_err(Refusal::from)
    }

    /// Asks what takes as long as a destination needs; not all at once, and no longer than somebody waits for it.
    pub(crate) async fn ask_slowly<T: Send + 'static>(
        self: &Arc<Self>,
        question: impl FnOnce(&dyn Backend, &Cancellation) -> T + Send + 'static,
    ) -> Result<T, Refusal> {
        let turn = self.slow.clone().acquire_owned().await;
        let turn = turn.map_err(|_| Refusal::broken("Haul could not answer because it ends."))?;
        let waiting = Waiting::default();
        let cancel = waiting.0.clone();
        self.ask(move |backend| {
            let _turn = turn;
            question(backend, &cancel)
        })
        .await
    }

    /// Asks what needs the hash of a password.
    pub(crate) async fn hashed<T: Send + 'static>(
        self: &Arc<Self>,
        question: impl FnOnce(&Accounts) -> T + Send + 'static,
    ) -> Result<T, Refusal> {
        let broken = || Refusal::broken("Haul could not check the password because of an error of its own.");
        let _turn = self.hashing.acquire().await.map_err(|_| broken())?;
        let shared = self.clone();
        tokio::task::spawn_blocking(move || question(&shared.accounts)).await.map_err(|_| broken())
    }

    /// Keeps what was checked for a while.
    pub(crate) fn keep_checked(self: &Arc<Self>, name: String, wanted: MoveWanted, seen: MoveSeen) {
        let mut kept = self.checked.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= MOST_CHECKED {
            kept.remove(0);
        }
        kept.push((name.clone(), wanted, seen));
        let shared = Arc::downgrade(self);
        tokio::spawn(async move {
            tokio::time::sleep(CHECKED_FOR).await;
            shared.upgrade().map(|shared| shared.checked.take(&name))
        });
    }

    pub(crate) fn clock(&self) -> Clock {
        Clock { now: Timestamp::now(), zone: self.backend.zone() }
    }

    /// Names the cookie's way and duration.
    pub(crate) fn cookie(&self, base: &str, secret: &str, seconds: u64) -> String {
        let path = if base.is_empty() { "/" } else { base };
        let secure = if self.options.https { "; Secure" } else { "" };
        let name = crate::visitor::COOKIE;
        format!("{name}={secret}; Path={path}; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}")
    }

    /// A key that waits to be put away.
    pub(crate) fn established(&self) -> Option<Established> {
        self.established.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn set_established(&self, established: Option<Established>) {
        *self.established.write().unwrap_or_else(PoisonError::into_inner) = established;
    }
}

impl<S: Sync> FromRequestParts<S> for Asked {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Refusal> {
        parts.extensions.get::<Self>().cloned().ok_or_else(|| Refusal::broken("This request was not admitted."))
    }
}

/// Lets through who may say which commands are run, if that is about a command.
pub(crate) fn permit_commands(asked: &Asked, is_command: bool) -> Result<(), Refusal> {
    if !is_command || asked.visitor.may_set_commands() {
        return Ok(());
    }
    Err(Refusal::new(StatusCode::FORBIDDEN, "Only who has logged in with the password may change commands.")
        .hint("Leave commands as they are, or use a token that may do everything."))
}

/// Lets through who may do so much.
pub(crate) fn permit(asked: &Asked, needed: Scope) -> Result<(), Refusal> {
    match asked.visitor.scope() {
        Some(scope) if scope >= needed => Ok(()),
        Some(_) => Err(Refusal::new(StatusCode::FORBIDDEN, "This token does not permit that.")
            .hint("Make one with more rights on the page, under Settings.")),
        None => Err(Refusal::new(StatusCode::UNAUTHORIZED, "You are not logged in.")
            .hint("Send a token in the header `Authorization: Bearer …`; the page makes one under Settings.")),
    }
}
