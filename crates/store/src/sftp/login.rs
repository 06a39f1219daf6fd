//! Logs in: keys from files, the agent, a password. If the server refuses one, the next is tried; if none works, the
//! error names what was tried.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use russh::{
    MethodKind,
    client::{AuthResult, Handle, Handler, KeyboardInteractiveAuthResponse},
    keys::{self, HashAlg, PrivateKey, PrivateKeyWithHashAlg, agent::AgentIdentity, agent::client::AgentClient},
};

use super::settings::Target;
use crate::{
    cancellation::Cancellation,
    context::{Context, Options, invalid},
    error::{Kind, Operation, StoreError, reason},
    files,
    secret::Secret,
};

/// No file with a key is longer.
const LONGEST_KEY: u64 = 1 << 20;
/// Keys to try if none is named.
const USUAL_KEYS: &[&str] = &[".ssh/id_ed25519", ".ssh/id_ecdsa", ".ssh/id_rsa"];
/// Most servers hang up after six tries; a crowded agent must not use them all up.
const MOST_AGENT_KEYS: usize = 5;
/// Rounds of questions by keyboard-interactive.
const MOST_ROUNDS: usize = 5;

/// What can be shown to the server.
pub(super) struct Login {
    label: String,
    user: String,
    key_file: Option<PathBuf>,
    home: Option<String>,
    passphrase: Option<Secret>,
    password: Option<Secret>,
    agent: Option<String>,
    cancel: Cancellation,
}

/// The state after an attempt.
enum Progress {
    Done,
    /// Refused, or the server also requires another proof.
    Refused,
}

impl Login {
    pub(super) fn new(target: &Target, options: &Options, context: &Context) -> Result<Self, StoreError> {
        let label = target.label();
        let home = context.variable("HOME");
        Ok(Self {
            user: target.user.clone(),
            key_file: options.get("key_file").map(|path| expanded(path, home.as_deref())),
            home,
            passphrase: options.secret(&label, "passphrase", "HAUL_SFTP_PASSPHRASE", context)?,
            password: options.secret(&label, "password", "HAUL_SFTP_PASSWORD", context)?,
            agent: context.variable("SSH_AUTH_SOCK"),
            cancel: context.cancel.clone(),
            label,
        })
    }

    /// Ends with a session that may do something, or with the reason why not.
    pub(super) async fn prove<H: Handler>(&self, handle: &mut Handle<H>) -> Result<(), StoreError> {
        let mut tried = Vec::new();
        let files: Vec<PathBuf> = match (&self.key_file, &self.home) {
            (Some(named), _) => vec![named.clone()],
            (None, Some(home)) => USUAL_KEYS.iter().map(|name| Path::new(home).join(name)).collect(),
            (None, None) => Vec::new(),
        };
        // What was named comes first, what merely happens to be there last.
        if self.key_file.is_some() && self.with_files(handle, &files, &mut tried).await? {
            return Ok(());
        }
        if self.with_password(handle, &mut tried).await? {
            return Ok(());
        }
        if self.key_file.is_none()
            && (self.with_agent(handle, &mut tried).await? || self.with_files(handle, &files, &mut tried).await?)
        {
            return Ok(());
        }
        let reason = match tried.as_slice() {
            [] => "there is no key, agent or password to log in with".to_owned(),
            tried => format!("the server did not accept {}", tried.join(", nor ")),
        };
        let advice = format!(
            "add the public key to ~/.ssh/authorized_keys of {} on the server, or name key_file or password_file in \
             haul.toml (~/.ssh/config is not read)",
            self.user
        );
        Err(StoreError::remote(&self.label, Operation::Connect, Kind::Credentials, reason).advise(advice))
    }

    async fn with_files<H: Handler>(
        &self,
        handle: &mut Handle<H>,
        files: &[PathBuf],
        tried: &mut Vec<String>,
    ) -> Result<bool, StoreError> {
        for path in files {
            let Some(key) = self.load(path, tried).await? else { continue };
            let hash = if key.algorithm().is_rsa() { self.rsa_hash(handle).await? } else { None };
            let result =
                handle.authenticate_publickey(&self.user, PrivateKeyWithHashAlg::new(Arc::new(key), hash)).await;
            tried.push(format!("the key {}", path.display()));
            if let Progress::Done = self.progress(handle, result)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// A key; `None` when it is one of the usual ones and not there or locked.
    async fn load(&self, path: &Path, tried: &mut Vec<String>) -> Result<Option<PrivateKey>, StoreError> {
        let named = self.key_file.is_some();
        let (file, cancel) = (path.to_owned(), self.cancel.clone());
        let read = tokio::task::spawn_blocking(move || files::read_short(&file, LONGEST_KEY, &cancel)).await;
        let text = match read.unwrap_or_else(|died| Err(io::Error::other(died))) {
            Ok(text) => text,
            Err(error) if !named && error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => {
                return Err(invalid(
                    &self.label,
                    format!("the key {} can't be read: {}", path.display(), reason(&error)),
                ));
            }
        };
        let passphrase = self.passphrase.clone();
        // Deriving the key of an encrypted file takes a second of a core.
        let decoded = tokio::task::spawn_blocking(move || {
            // Without encryption, a passphrase is ignored, or refused by some formats.
            keys::decode_secret_key(&text, None).or_else(|error| match &passphrase {
                Some(passphrase) => keys::decode_secret_key(&text, Some(passphrase.expose())),
                None => Err(error),
            })
        })
        .await;
        let locked = |how: &str| format!("the key {} is encrypted, and {how}", path.display());
        match decoded {
            Ok(Ok(key)) => Ok(Some(key)),
            Ok(Err(_)) if self.passphrase.is_some() && named => {
                Err(invalid(&self.label, locked("the passphrase is wrong, or the key is damaged")))
            }
            Ok(Err(keys::Error::KeyIsEncrypted)) if named => {
                Err(invalid(&self.label, locked("no passphrase was given")).advise(
                    "name a file with the passphrase as passphrase_file in haul.toml, set HAUL_SFTP_PASSPHRASE, or \
                    add the key to an agent",
                ))
            }
            Ok(Err(keys::Error::KeyIsEncrypted)) => {
                tried.push(locked("could not be opened (passphrase_file, HAUL_SFTP_PASSPHRASE)"));
                Ok(None)
            }
            Ok(Err(_)) | Err(_) if named => {
                Err(invalid(&self.label, format!("{} is not a usable private key", path.display())))
            }
            Ok(Err(_)) | Err(_) => Ok(None),
        }
    }

    async fn with_agent<H: Handler>(
        &self,
        handle: &mut Handle<H>,
        tried: &mut Vec<String>,
    ) -> Result<bool, StoreError> {
        let Some(socket) = &self.agent else { return Ok(false) };
        // An agent that is gone is no reason not to try the rest.
        let Ok(mut agent) = AgentClient::connect_uds(socket).await else { return Ok(false) };
        let Ok(identities) = agent.request_identities().await else { return Ok(false) };
        for identity in identities.into_iter().take(MOST_AGENT_KEYS) {
            let AgentIdentity::PublicKey { key, comment } = identity else { continue };
            let hash = if key.algorithm().is_rsa() { self.rsa_hash(handle).await? } else { None };
            let name = if comment.is_empty() { key.fingerprint(HashAlg::Sha256).to_string() } else { comment };
            // The agent's own refusal concerns this key only.
            let Ok(result) = handle.authenticate_publickey_with(&self.user, key, hash, &mut agent).await else {
                continue;
            };
            tried.push(format!("the agent's key {name}"));
            if let Progress::Done = self.progress(handle, Ok(result))? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    async fn with_password<H: Handler>(
        &self,
        handle: &mut Handle<H>,
        tried: &mut Vec<String>,
    ) -> Result<bool, StoreError> {
        let Some(password) = &self.password else { return Ok(false) };
        tried.push("the password".to_owned());
        let result = handle.authenticate_password(&self.user, password.expose()).await;
        let asks = matches!(&result, Ok(AuthResult::Failure { remaining_methods, .. }) if remaining_methods.contains(&MethodKind::KeyboardInteractive));
        if let Progress::Done = self.progress(handle, result)? {
            return Ok(true);
        }
        if asks { self.with_questions(handle, password).await } else { Ok(false) }
    }

    /// Keyboard-interactive, as far as the one question is for the password.
    async fn with_questions<H: Handler>(&self, handle: &mut Handle<H>, password: &Secret) -> Result<bool, StoreError> {
        let mut answer = handle.authenticate_keyboard_interactive_start(&self.user, None).await;
        for _ in 0..MOST_ROUNDS {
            let prompts = match answer {
                Ok(KeyboardInteractiveAuthResponse::Success) => return Ok(true),
                Ok(KeyboardInteractiveAuthResponse::Failure { .. }) => return Ok(false),
                Ok(KeyboardInteractiveAuthResponse::InfoRequest { prompts, .. }) => prompts,
                Err(error) => return Err(self.broke(&error)),
            };
            // A question whose answer would be shown is not for the password.
            let answers = prompts
                .iter()
                .map(|prompt| if prompt.echo { String::new() } else { password.expose().to_owned() })
                .collect();
            answer = handle.authenticate_keyboard_interactive_respond(answers).await;
        }
        Ok(false)
    }

    async fn rsa_hash<H: Handler>(&self, handle: &Handle<H>) -> Result<Option<HashAlg>, StoreError> {
        match handle.best_supported_rsa_hash().await {
            Ok(Some(hash)) => Ok(hash),
            // A server that does not say can do the newer one, or is too old to be trusted with the oldest.
            Ok(None) => Ok(Some(HashAlg::Sha256)),
            Err(error) => Err(self.broke(&error)),
        }
    }

    fn progress<H: Handler>(
        &self,
        handle: &Handle<H>,
        result: Result<AuthResult, russh::Error>,
    ) -> Result<Progress, StoreError> {
        match result {
            Ok(AuthResult::Success) => Ok(Progress::Done),
            // A broken connection looks like a refusal after which nothing is left to try.
            Ok(AuthResult::Failure { remaining_methods, .. }) if handle.is_closed() && remaining_methods.is_empty() => {
                Err(self.broke(&russh::Error::HUP))
            }
            Ok(AuthResult::Failure { .. }) => Ok(Progress::Refused),
            Err(error) => Err(self.broke(&error)),
        }
    }

    fn broke(&self, _: &russh::Error) -> StoreError {
        StoreError::remote(
            &self.label,
            Operation::Connect,
            Kind::Transient { retry_after: None },
            "the connection broke while logging in",
        )
    }
}

/// `~/` at the beginning means the home directory.
pub(super) fn expanded(path: &str, home: Option<&str>) -> PathBuf {
    match (path.strip_prefix("~/"), home) {
        (Some(rest), Some(home)) => Path::new(home).join(rest),
        _ => PathBuf::from(path),
    }
}
