//! Who may come in: the set-up code of the first visit, the password, sessions, and tokens for programs.
//!
//! What is kept is in one file that only this user can read, and nothing in it lets anybody in: the password is hashed
//! with Argon2id, and of sessions and tokens, which are random, there is a plain digest.

mod password;
mod throttle;

use std::{
    io,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use utoipa::ToSchema;
use zeroize::Zeroizing;

pub(crate) use self::{password::SHORTEST, throttle::Throttle};

/// A session ends after so long without a visit.
const SESSION: SignedDuration = SignedDuration::from_hours(30 * 24);
/// It is prolonged once a day, so that not every visit writes to the disk.
const PROLONGED: SignedDuration = SignedDuration::from_hours(24);
/// More sessions and tokens than these are not kept.
const MOST_SESSIONS: usize = 32;
const MOST_TOKENS: usize = 64;
/// Characters that nobody takes for one another.
const READABLE: &[u8; 32] = b"23456789ABCDEFGHJKMNPQRSTUVWXYZ+";

/// What somebody may do. Each includes those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Scope {
    /// See how things are.
    Read,
    /// Order what removes nothing by itself. A new backup can push out an older one, as the job's rules say.
    Act,
    /// Everything: also read what is in backups, delete them, and change settings.
    Admin,
}

/// A token as it is listed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct TokenInfo {
    /// Its name.
    pub name: String,
    /// What it permits.
    pub scope: Scope,
    /// When it was made.
    pub created: Timestamp,
}

/// Why an account can't be changed.
#[derive(Debug)]
pub(crate) enum AccountError {
    /// The user's text can't be used; a sentence.
    Invalid(String),
    /// The file can't be written.
    Disk(String),
}

/// Everybody who may come in.
pub(crate) struct Accounts {
    path: PathBuf,
    known: Mutex<Known>,
    code: Mutex<Option<String>>,
}

#[derive(Default, Clone, Serialize, Deserialize)]
struct Known {
    password: Option<password::Hash>,
    #[serde(default)]
    sessions: Vec<Session>,
    #[serde(default)]
    tokens: Vec<Token>,
}

#[derive(Clone, Serialize, Deserialize)]
struct Session {
    digest: String,
    until: Timestamp,
}

#[derive(Clone, Serialize, Deserialize)]
struct Token {
    name: String,
    digest: String,
    scope: Scope,
    created: Timestamp,
}

impl Accounts {
    /// Reads what is kept in this directory. Without a password there, the first visitor needs a code.
    pub(crate) fn open(directory: &Path) -> io::Result<Self> {
        let path = directory.join("accounts.json");
        let known: Known = match std::fs::read(&path) {
            Ok(text) => serde_json::from_slice(&text).map_err(|error| {
                io::Error::new(io::ErrorKind::InvalidData, format!("{} is damaged: {error}", path.display()))
            })?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Known::default(),
            Err(error) => {
                let why = engine::plain_reason(&error);
                return Err(io::Error::new(error.kind(), format!("{}: {why}", path.display())));
            }
        };
        let code = if known.password.is_none() { Some(new_code()?) } else { None };
        Ok(Self { path, known: Mutex::new(known), code: Mutex::new(code) })
    }

    /// What the first visitor has to enter; `None` once there is a password.
    pub(crate) fn code(&self) -> Option<String> {
        self.code.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether this is the code, however it is spaced.
    pub(crate) fn is_code(&self, entered: &str) -> bool {
        let plain = |text: &str| -> String {
            text.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_uppercase()).collect()
        };
        // Digests, so that the time it takes says nothing about how much was right.
        self.code().is_some_and(|code| digest(&plain(&code)) == digest(&plain(entered)))
    }

    /// Sets the password, ends every session, and needs no code from now on.
    pub(crate) fn set_password(&self, password: &str) -> Result<(), AccountError> {
        let hash = password::Hash::new(password)?;
        self.change(|known| {
            known.password = Some(hash);
            known.sessions.clear();
        })?;
        *self.code.lock().unwrap_or_else(PoisonError::into_inner) = None;
        Ok(())
    }

    /// Whether this is the password. Takes a moment and 19 MiB.
    pub(crate) fn is_password(&self, password: &str) -> bool {
        let hash = self.known.lock().unwrap_or_else(PoisonError::into_inner).password.clone();
        hash.is_some_and(|hash| hash.is(password))
    }

    /// A new session: the secret for the cookie.
    pub(crate) fn begin_session(&self, now: Timestamp) -> Result<Zeroizing<String>, AccountError> {
        let secret = Zeroizing::new(random().map_err(|error| AccountError::Disk(error.to_string()))?);
        self.change(|known| {
            known.sessions.retain(|session| session.until > now);
            let excess = (known.sessions.len() + 1).saturating_sub(MOST_SESSIONS);
            known.sessions.drain(..excess);
            known.sessions.push(Session { digest: digest(&secret), until: now + SESSION });
        })?;
        Ok(secret)
    }

    /// Whether this is the secret of a session that goes on.
    pub(crate) fn is_session(&self, secret: &str, now: Timestamp) -> bool {
        let sought = digest(secret);
        let until = {
            let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            known.sessions.iter().find(|session| session.digest == sought).map(|session| session.until)
        };
        let Some(until) = until.filter(|until| *until > now) else { return false };
        if until < now + (SESSION - PROLONGED) {
            // That it can't be prolonged is no reason to end it.
            let _ = self.change(|known| {
                known.sessions.iter_mut().filter(|session| session.digest == sought).for_each(|session| {
                    session.until = now + SESSION;
                });
            });
        }
        true
    }

    /// Ends a session.
    pub(crate) fn end_session(&self, secret: &str) {
        let ended = digest(secret);
        let _ = self.change(|known| known.sessions.retain(|session| session.digest != ended));
    }

    /// What the owner of this token may do.
    pub(crate) fn token(&self, secret: &str) -> Option<Scope> {
        let sought = digest(secret);
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.tokens.iter().find(|token| token.digest == sought).map(|token| token.scope)
    }

    /// All tokens, without their secrets.
    pub(crate) fn tokens(&self) -> Vec<TokenInfo> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let info = |token: &Token| TokenInfo { name: token.name.clone(), scope: token.scope, created: token.created };
        known.tokens.iter().map(info).collect()
    }

    /// A new token: its secret, which nobody can read again.
    pub(crate) fn add_token(
        &self,
        name: &str,
        scope: Scope,
        now: Timestamp,
    ) -> Result<Zeroizing<String>, AccountError> {
        let invalid = |sentence: &str| Err(AccountError::Invalid(sentence.to_owned()));
        let name = name.trim();
        if name.is_empty() || name.chars().count() > 60 {
            return invalid("Give the token a name of at most 60 characters.");
        }
        let known = self.tokens();
        if known.iter().any(|token| token.name == name) {
            return invalid("There is a token of this name already.");
        }
        if known.len() >= MOST_TOKENS {
            return invalid("There are too many tokens. Revoke one that is no longer used.");
        }
        let random = random().map_err(|error| AccountError::Disk(error.to_string()))?;
        let secret = Zeroizing::new(format!("haul_{random}"));
        let token = Token { name: name.to_owned(), digest: digest(&secret), scope, created: now };
        self.change(|known| known.tokens.push(token))?;
        Ok(secret)
    }

    /// Revokes a token; `false`: there is none of this name.
    pub(crate) fn revoke_token(&self, name: &str) -> Result<bool, AccountError> {
        if !self.tokens().iter().any(|token| token.name == name) {
            return Ok(false);
        }
        self.change(|known| known.tokens.retain(|token| token.name != name)).map(|()| true)
    }

    /// What is not on the disk does not hold.
    fn change(&self, change: impl FnOnce(&mut Known)) -> Result<(), AccountError> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let mut changed = known.clone();
        change(&mut changed);
        let written = serde_json::to_vec_pretty(&changed)
            .map_err(io::Error::other)
            .and_then(|text| peer::disk::replace_private(&self.path, &text));
        written.map_err(|error| {
            AccountError::Disk(format!("{} can't be written: {}", self.path.display(), engine::plain_reason(&error)))
        })?;
        *known = changed;
        Ok(())
    }
}

/// What a form has to bring along, so that no page of another site can send it.
pub(crate) fn form_token(secret: &str) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(Sha256::new().chain_update("haul form").chain_update(secret).finalize())
}

/// A secret that nobody can guess.
pub(crate) fn random() -> Result<String, getrandom::Error> {
    let mut bytes = Zeroizing::new([0; 32]);
    getrandom::fill(&mut *bytes)?;
    Ok(BASE64_URL_SAFE_NO_PAD.encode(*bytes))
}

fn digest(secret: &str) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(Sha256::digest(secret))
}

/// Ten characters of which nobody mixes up two: 49 bits, and few attempts a minute.
fn new_code() -> io::Result<String> {
    let mut code = String::new();
    while code.len() < 11 {
        let mut byte = [0];
        getrandom::fill(&mut byte).map_err(io::Error::other)?;
        match READABLE[usize::from(byte[0] % 32)] {
            b'+' => {}
            character => code.push(char::from(character)),
        }
        if code.len() == 5 {
            code.push('-');
        }
    }
    Ok(code)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn at(hours: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + hours * 3600).unwrap()
    }

    #[test]
    fn the_first_visitor_needs_the_code_and_later_ones_the_password() {
        let state = tempfile::tempdir().unwrap();
        let accounts = Accounts::open(state.path()).unwrap();
        let code = accounts.code().unwrap();
        assert_eq!(code.len(), 11);
        assert!(accounts.is_code(&code.to_lowercase().replace('-', " ")));
        assert!(!accounts.is_code("") && !accounts.is_code("22222-22222"));
        assert!(!accounts.is_password(""));

        accounts.set_password("correct horse").unwrap();
        assert!(accounts.code().is_none() && !accounts.is_code(&code));
        let again = Accounts::open(state.path()).unwrap();
        assert!(again.code().is_none());
        assert!(again.is_password("correct horse") && !again.is_password("correct horse "));
        let file = std::fs::metadata(state.path().join("accounts.json")).unwrap();
        assert_eq!(file.permissions().mode() & 0o777, 0o600);
        let text = std::fs::read_to_string(state.path().join("accounts.json")).unwrap();
        assert!(!text.contains("correct"));
    }

    #[test]
    fn sessions_end_when_nobody_comes_and_with_the_password() {
        let state = tempfile::tempdir().unwrap();
        let accounts = Accounts::open(state.path()).unwrap();
        accounts.set_password("correct horse").unwrap();
        let secret = accounts.begin_session(at(0)).unwrap();
        assert!(accounts.is_session(&secret, at(29 * 24)), "and it is prolonged by that");
        assert!(accounts.is_session(&secret, at(58 * 24)));
        assert!(!accounts.is_session(&secret, at(89 * 24)));
        assert!(!accounts.is_session("", at(0)));

        let secret = accounts.begin_session(at(0)).unwrap();
        assert!(Accounts::open(state.path()).unwrap().is_session(&secret, at(1)), "it outlives a restart");
        accounts.set_password("another horse").unwrap();
        assert!(!accounts.is_session(&secret, at(1)));

        let secrets: Vec<_> = (0..40).map(|_| accounts.begin_session(at(0)).unwrap()).collect();
        assert_eq!(secrets.iter().filter(|secret| accounts.is_session(secret, at(1))).count(), MOST_SESSIONS);
        accounts.end_session(&secrets[39]);
        assert!(!accounts.is_session(&secrets[39], at(1)) && accounts.is_session(&secrets[38], at(1)));
    }

    #[test]
    fn tokens_are_known_by_name_and_shown_once() {
        let state = tempfile::tempdir().unwrap();
        let accounts = Accounts::open(state.path()).unwrap();
        let secret = accounts.add_token(" grafana ", Scope::Read, at(0)).unwrap();
        assert_eq!(accounts.token(&secret), Some(Scope::Read));
        assert_eq!(accounts.token("haul_"), None);
        assert_eq!(accounts.tokens()[0].name, "grafana");
        assert!(matches!(accounts.add_token("grafana", Scope::Act, at(0)), Err(AccountError::Invalid(_))));
        assert!(matches!(accounts.add_token("  ", Scope::Act, at(0)), Err(AccountError::Invalid(_))));
        assert!(accounts.revoke_token("grafana").unwrap() && !accounts.revoke_token("grafana").unwrap());
        assert_eq!(accounts.token(&secret), None);
    }

    #[test]
    fn what_can_not_be_written_does_not_hold_and_what_can_not_be_read_is_not_replaced() {
        let state = tempfile::tempdir().unwrap();
        std::fs::write(state.path().join("accounts.json"), "{").unwrap();
        assert!(Accounts::open(state.path()).is_err_and(|error| error.to_string().contains("is damaged")));
        std::fs::remove_file(state.path().join("accounts.json")).unwrap();
        let accounts = Accounts::open(state.path()).unwrap();
        std::fs::create_dir(state.path().join("accounts.json")).unwrap();
        assert!(matches!(accounts.set_password("correct horse"), Err(AccountError::Disk(_))));
        assert!(accounts.code().is_some() && !accounts.is_password("correct horse"));
    }
}
