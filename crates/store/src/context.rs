//! What all connections of one run share: the HTTP client, the retry policy, where sessions are kept, and where secrets
//! come from.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use async_trait::async_trait;

use crate::{
    cancellation::Cancellation,
    error::{Kind, Operation, StoreError},
    http,
    limit::Limit,
    secret::{Secret, without_newline},
    store::Store,
    tuning::Tuning,
};

/// Opens vaults: destinations that keep archives in another one, as what has changed.
#[async_trait]
pub trait Vaults: Send + Sync {
    /// The vault at `store`, with the settings of its destination.
    async fn open(
        &self,
        store: Arc<dyn Store>,
        options: &Options,
        context: &Context,
    ) -> Result<Arc<dyn Store>, StoreError>;
}

/// The user's home directory: `HOME`, else what the password database says. Services and some crons have no `HOME`.
pub fn home_directory() -> Option<PathBuf> {
    std::env::home_dir().filter(|home| home.is_absolute())
}

/// Where environment variables come from; tests bring their own.
pub type Environment = Arc<dyn Fn(&str) -> Option<String> + Send + Sync>;

/// Shows a question and returns the answer, if there is one.
pub type Ask = Arc<dyn Fn(&str) -> Option<String> + Send + Sync>;

/// Shared by all connections of one run.
#[derive(Clone)]
pub struct Context {
    /// For everything that speaks HTTP. Has no overall timeout; [`http::send`] watches for silence.
    pub http: reqwest::Client,
    /// Retry policy.
    pub tuning: Tuning,
    /// Sessions, tokens and keys of this user are kept here, mode 0600. Only made when something is written.
    pub state: PathBuf,
    /// Environment variables.
    pub environment: Environment,
    /// Says when the user wants to stop.
    pub cancel: Cancellation,
    /// The rate that uploads keep to.
    pub limit: Option<Limit>,
    /// The rate that reading keeps to; the same one as for uploads if both share a line.
    pub read_limit: Option<Limit>,
    /// Asks the person at the terminal for a line (a pairing code); `None` if nobody is there.
    pub ask: Option<Ask>,
    /// Opens vaults; `None` where there can't be any.
    pub vaults: Option<Arc<dyn Vaults>>,
    /// A missing folder is an error, and is not created: a command that only reads was given a mistyped name.
    pub only_looks: bool,
}

impl Context {
    /// Fails only when the system's certificates can't be loaded.
    pub fn new(tuning: Tuning, state: PathBuf, cancel: Cancellation) -> Result<Self, StoreError> {
        let http = http::client(&tuning)?;
        let environment: Environment = Arc::new(|name| {
            let set = std::env::var(name).ok().filter(|value| !value.is_empty());
            if name == "HOME" { set.or_else(|| Some(home_directory()?.to_string_lossy().into_owned())) } else { set }
        });
        Ok(Self {
            http,
            tuning,
            state,
            environment,
            cancel,
            limit: None,
            read_limit: None,
            ask: None,
            vaults: None,
            only_looks: false,
        })
    }

    /// An environment variable that is set and not empty.
    pub fn variable(&self, name: &str) -> Option<String> {
        (self.environment)(name)
    }

    /// Whether the user wants to stop.
    pub fn is_cancelled(&self) -> bool {
        self.cancel.is_cancelled()
    }
}

/// A destination's settings beside its address, by key, as the configuration file has them (`endpoint`, `region`,
/// `password_file`, …).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options(BTreeMap<String, String>);

impl Options {
    /// Takes the settings over; numbers and booleans as text.
    pub fn new(settings: BTreeMap<String, String>) -> Self {
        Self(settings)
    }

    /// A setting; `None` when it is not there.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }

    /// All keys, in alphabetical order.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// `true` or `false`.
    pub fn flag(&self, destination: &str, key: &str) -> Result<bool, StoreError> {
        match self.get(key) {
            None | Some("false") => Ok(false),
            Some("true") => Ok(true),
            Some(other) => Err(invalid(destination, format!("{key} is {other:?}, but must be true or false"))),
        }
    }

    /// A secret: from the file that `KEY_file` names, else from the environment variable. Files keep their trailing
    /// newline to themselves.
    pub fn secret(
        &self,
        destination: &str,
        key: &str,
        variable: &str,
        context: &Context,
    ) -> Result<Option<Secret>, StoreError> {
        let file_key = format!("{key}_file");
        let Some(path) = self.get(&file_key) else {
            return Ok(context.variable(variable).map(|text| Secret::new(without_newline(&text))));
        };
        let found = Secret::in_file(Path::new(path), &context.cancel);
        found.map(Some).map_err(|why| invalid(destination, format!("{file_key} {path} {why}")))
    }
}

/// A setting that can't be used.
pub fn invalid(destination: &str, reason: impl Into<String>) -> StoreError {
    StoreError::remote(destination, Operation::Connect, Kind::Invalid, reason)
}
