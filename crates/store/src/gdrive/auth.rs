//! Access to Drive: signing a device in (OAuth 2.0 for TV and limited-input devices, RFC 8628), the file that keeps the
//! result, and access tokens made from it as needed.
//!
//! The file holds the client's id and secret and the refresh token, so that nothing has to be given again. Access
//! tokens live for an hour and are kept in memory only: a backup writes nothing to the local disk.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use peer::disk::replace_private;
use reqwest::Response;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tokio::sync::Mutex;

use super::settings::Settings;
use crate::{
    context::Context,
    error::{Kind, Operation, StoreError, reason},
    files, http,
    parts::Activity,
    secret::Secret,
};

/// No file with a sign-in is longer.
const LONGEST: u64 = 1 << 20;
/// Only what Haul itself put there can be seen with it.
const SCOPE: &str = "https://www.googleapis.com/auth/drive.file";
const GRANT_DEVICE: &str = "urn:ietf:params:oauth:grant-type:device_code";
/// Signing in concerns an account, not a folder.
const PLACE: &str = "Google Drive";
/// An access token that lives no longer than this is replaced before it is used.
const ALMOST_OVER: Duration = Duration::from_mins(1);
/// No answer about tokens is longer.
const MOST: u64 = 64 << 10;
/// RFC 8628, 3.2: if the server does not say how often it may be polled.
const USUAL_INTERVAL: u64 = 5;
/// A sign-in that ends within this time probably had to: those of a project in testing live for 7 days.
const TESTING: Duration = Duration::from_hours(8 * 24);
/// RFC 8628, 3.5: how much longer to wait after `slow_down`.
const SLOWER: Duration = Duration::from_secs(5);

/// How a user gets a client id.
pub const HOW_TO_GET_A_CLIENT: &str = "create one once: at console.cloud.google.com create a project, enable the \
    Google Drive API in it, set up the OAuth consent screen and publish it (while it is in testing, every sign-in \
    expires after 7 days), then create an OAuth client ID of the type \"TVs and Limited Input devices\"; \
put its secret into a file that only you can read, and run `haul auth gdrive --client-id ID --client-secret-file FILE`";
const SIGN_IN: &str = "sign in on Haul's page, under Settings > Locations, or with `haul auth gdrive`";
pub(super) const SIGN_IN_AGAIN: &str =
    "sign in again on Haul's page, under Settings > Locations, or with `haul auth gdrive`";

/// The application in whose name the user signs in.
#[derive(Clone, Debug)]
pub struct Client {
    /// Its id; not a secret.
    pub id: String,
    /// Its secret.
    pub secret: Secret,
}

/// What a device needs to ask for its tokens, and what its user must do meanwhile.
#[derive(Clone, Debug)]
pub struct DeviceCode {
    /// What the user types.
    pub user_code: String,
    /// Where the user goes to type it.
    pub verification_url: String,
    /// How long to wait between two questions.
    pub interval: Duration,
    /// How long the code lives.
    pub expires: Duration,
    secret: Secret,
}

/// What became of a question for tokens.
#[derive(Debug)]
pub enum Answer {
    /// The user has not typed the code yet.
    Pending,
    /// Asked too often: wait longer from now on.
    SlowDown,
    /// Signed in.
    Granted(Grant),
}

/// What signing in gives: enough to work from now on without the user. Holds secrets.
#[derive(Clone, Debug)]
pub struct Grant {
    /// The application it was given to.
    pub client: Client,
    /// From which access tokens are made.
    pub refresh_token: Secret,
    /// When it was given, in seconds since 1970.
    pub signed_in: Option<u64>,
}

/// Signing a device in.
pub struct SignIn {
    context: Context,
    oauth: String,
    client: Client,
}

#[derive(Deserialize)]
struct DeviceAnswer {
    device_code: String,
    user_code: String,
    // Google's name for it came before the standard's.
    #[serde(alias = "verification_uri")]
    verification_url: String,
    #[serde(default)]
    interval: Option<u64>,
    expires_in: u64,
}

#[derive(Deserialize)]
struct TokenAnswer {
    access_token: String,
    #[serde(default)]
    refresh_token: Option<String>,
    #[serde(default)]
    expires_in: Option<u64>,
}

#[derive(Default, Deserialize)]
struct Refusal {
    #[serde(default)]
    error: String,
}

impl SignIn {
    /// For the client that the settings name, else for the one of an earlier sign-in.
    pub fn new(settings: &Settings, context: &Context) -> Result<Self, StoreError> {
        let client = match (&settings.client_id, &settings.client_secret) {
            (Some(id), Some(secret)) => Client { id: id.clone(), secret: secret.clone() },
            (Some(_), None) => {
                return Err(
                    refused(Kind::Invalid, "a client id was given without its secret").advise(HOW_TO_GET_A_CLIENT)
                );
            }
            _ => match TokenFile::new(&settings.token_file).load()? {
                Some(grant) => grant.client,
                None => {
                    return Err(
                        refused(Kind::Invalid, "signing in needs a client id of your own").advise(HOW_TO_GET_A_CLIENT)
                    );
                }
            },
        };
        Ok(Self { context: context.clone(), oauth: settings.oauth_url.clone(), client })
    }

    /// Asks for a code that the user must type.
    pub async fn start(&self) -> Result<DeviceCode, StoreError> {
        let form = [("client_id", self.client.id.as_str()), ("scope", SCOPE)];
        let answer = post(&self.context, &format!("{}/device/code", self.oauth), &form).await?;
        if !answer.status().is_success() {
            let (error, refusal) = read_refusal(&self.context, answer).await;
            return Err(client_refused(&refusal).unwrap_or(error));
        }
        let answer: DeviceAnswer = read(&self.context, answer).await?;
        Ok(DeviceCode {
            user_code: answer.user_code,
            verification_url: answer.verification_url,
            interval: Duration::from_secs(answer.interval.unwrap_or(USUAL_INTERVAL)),
            expires: Duration::from_secs(answer.expires_in),
            secret: Secret::new(answer.device_code),
        })
    }

    /// Asks once whether the user has typed the code.
    pub async fn poll(&self, code: &DeviceCode) -> Result<Answer, StoreError> {
        let form = [
            ("client_id", self.client.id.as_str()),
            ("client_secret", self.client.secret.expose()),
            ("device_code", code.secret.expose()),
            ("grant_type", GRANT_DEVICE),
        ];
        let answer = post(&self.context, &format!("{}/token", self.oauth), &form).await?;
        if answer.status().is_success() {
            let tokens: TokenAnswer = read(&self.context, answer).await?;
            let refresh_token =
                tokens.refresh_token.ok_or_else(|| refused(Kind::Protocol, "it gave no refresh token"))?;
            return Ok(Answer::Granted(Grant {
                client: self.client.clone(),
                refresh_token: Secret::new(refresh_token),
                signed_in: now(),
            }));
        }
        let (error, refusal) = read_refusal(&self.context, answer).await;
        match refusal.as_str() {
            "authorization_pending" => Ok(Answer::Pending),
            "slow_down" | "rate_limit_exceeded" => Ok(Answer::SlowDown),
            "access_denied" => {
                Err(refused(Kind::Permission, "access was denied on the page").advise("start again and allow it"))
            }
            "expired_token" | "invalid_grant" => Err(expired()),
            other => Err(client_refused(other).unwrap_or(error)),
        }
    }

    /// Asks until the user has typed the code, the code has died, or the user stops.
    pub async fn wait(&self, code: &DeviceCode) -> Result<Grant, StoreError> {
        let (begun, mut interval) = (Instant::now(), code.interval);
        while begun.elapsed() < code.expires {
            let rest = tokio::time::sleep(interval);
            self.context.cancel.unless_cancelled(rest).await.ok_or(StoreError::Cancelled)?;
            match self.poll(code).await {
                Ok(Answer::Granted(grant)) => return Ok(grant),
                Ok(Answer::Pending) => {}
                Ok(Answer::SlowDown) => interval += SLOWER,
                // The user is still typing; a line that breaks meanwhile is no reason to begin again.
                Err(error) if error.is_transient() => {}
                Err(error) => return Err(error),
            }
        }
        Err(expired())
    }
}

/// Where a sign-in is kept: JSON, mode 0600.
pub struct TokenFile {
    path: PathBuf,
}

#[derive(Serialize, Deserialize)]
struct Stored {
    client_id: String,
    client_secret: String,
    refresh_token: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    signed_in: Option<u64>,
}

impl TokenFile {
    /// Touches nothing.
    pub fn new(path: &Path) -> Self {
        Self { path: path.to_owned() }
    }

    /// What is kept; `None` when there is no such file.
    pub fn load(&self) -> Result<Option<Grant>, StoreError> {
        let bytes = match files::read(&self.path, LONGEST) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(self.failed("can't be read", &error)),
        };
        let Ok(stored) = serde_json::from_slice::<Stored>(&bytes) else {
            return Err(refused(Kind::Invalid, format!("{} does not hold a sign-in", self.path.display()))
                .advise(SIGN_IN_AGAIN));
        };
        let client = Client { id: stored.client_id, secret: Secret::new(stored.client_secret) };
        Ok(Some(Grant { client, refresh_token: Secret::new(stored.refresh_token), signed_in: stored.signed_in }))
    }

    /// Keeps a sign-in: the file is whole or unchanged, and nobody else can read it at any moment.
    pub fn save(&self, grant: &Grant) -> Result<(), StoreError> {
        let stored = Stored {
            client_id: grant.client.id.clone(),
            client_secret: grant.client.secret.expose().to_owned(),
            refresh_token: grant.refresh_token.expose().to_owned(),
            signed_in: grant.signed_in,
        };
        let text = serde_json::to_vec(&stored).map_err(|error| self.failed("can't be written", &error.into()))?;
        replace_private(&self.path, &zeroize::Zeroizing::new(text))
            .map_err(|error| self.failed("can't be written", &error))
    }

    /// Removes the file; says whether there was one.
    pub fn remove(&self) -> Result<bool, StoreError> {
        match fs::remove_file(&self.path) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(self.failed("can't be removed", &error)),
        }
    }

    fn failed(&self, what: &str, error: &io::Error) -> StoreError {
        refused(Kind::Invalid, format!("{} {what}: {}", self.path.display(), reason(error)))
    }
}

/// Takes a sign-in back at Google, so that its tokens are worth nothing any more.
pub async fn revoke(settings: &Settings, context: &Context, grant: &Grant) -> Result<(), StoreError> {
    let answer =
        post(context, &format!("{}/revoke", settings.oauth_url), &[("token", grant.refresh_token.expose())]).await?;
    // 400: it was worth nothing already.
    if answer.status().is_success() || answer.status().as_u16() == 400 {
        return Ok(());
    }
    Err(read_refusal(context, answer).await.0)
}

/// Makes access tokens from a sign-in, and remembers the last one.
pub(super) struct Tokens {
    context: Context,
    oauth: String,
    file: TokenFile,
    state: Mutex<State>,
}

struct State {
    grant: Grant,
    access: Option<Access>,
}

struct Access {
    token: Secret,
    over: Instant,
}

impl Tokens {
    pub(super) fn new(destination: &str, settings: &Settings, context: &Context) -> Result<Self, StoreError> {
        let failed = |reason: String| StoreError::remote(destination, Operation::Connect, Kind::Credentials, reason);
        let file = TokenFile::new(&settings.token_file);
        let Some(mut grant) = file.load()? else {
            let advice = if settings.client_id.is_some() {
                SIGN_IN.to_owned()
            } else {
                format!("{SIGN_IN}; it needs a client id of your own: {HOW_TO_GET_A_CLIENT}")
            };
            return Err(failed("nobody has signed in on this machine".to_owned()).advise(advice));
        };
        if settings.client_id.as_ref().is_some_and(|id| *id != grant.client.id) {
            return Err(failed(format!(
                "the sign-in in {} belongs to another client id",
                settings.token_file.display()
            ))
            .advise(SIGN_IN_AGAIN));
        }
        if let Some(secret) = &settings.client_secret {
            grant.client.secret = secret.clone();
        }
        Ok(Self {
            context: context.clone(),
            oauth: settings.oauth_url.clone(),
            file,
            state: Mutex::new(State { grant, access: None }),
        })
    }

    /// An access token that should work; `refused` is one that did not.
    pub(super) async fn access(
        &self,
        destination: &str,
        operation: Operation,
        refused: Option<&Secret>,
    ) -> Result<Secret, StoreError> {
        let mut state = self.state.lock().await;
        if let Some(access) = &state.access {
            let is_refused = refused.is_some_and(|refused| refused.expose() == access.token.expose());
            if !is_refused && access.over.saturating_duration_since(Instant::now()) > ALMOST_OVER {
                return Ok(access.token.clone());
            }
        }
        let tokens = self.refresh(&state.grant).await.map_err(|error| moved(error, destination, operation))?;
        let token = Secret::new(tokens.access_token);
        let lives = Duration::from_secs(tokens.expires_in.unwrap_or(3600));
        state.access = Some(Access { token: token.clone(), over: Instant::now() + lives });
        if let Some(next) = tokens.refresh_token.filter(|next| next != state.grant.refresh_token.expose()) {
            state.grant.refresh_token = Secret::new(next);
            self.file.save(&state.grant)?;
        }
        Ok(token)
    }

    async fn refresh(&self, grant: &Grant) -> Result<TokenAnswer, StoreError> {
        let form = [
            ("client_id", grant.client.id.as_str()),
            ("client_secret", grant.client.secret.expose()),
            ("refresh_token", grant.refresh_token.expose()),
            ("grant_type", "refresh_token"),
        ];
        let answer = post(&self.context, &format!("{}/token", self.oauth), &form).await?;
        if answer.status().is_success() {
            return read(&self.context, answer).await;
        }
        let (error, refusal) = read_refusal(&self.context, answer).await;
        Err(match refusal.as_str() {
            "invalid_grant" => over(grant.signed_in, now()),
            other => client_refused(other).unwrap_or_else(|| match error.kind() {
                Some(Kind::Credentials) => error.advise(SIGN_IN_AGAIN),
                _ => error,
            }),
        })
    }
}

/// A sign-in that is worth nothing any more. While the project is in testing, each ends after a week.
fn over(signed_in: Option<u64>, now: Option<u64>) -> StoreError {
    let error = refused(Kind::Credentials, "the sign-in has expired or was revoked");
    let is_young = signed_in.zip(now).is_some_and(|(signed_in, now)| now.saturating_sub(signed_in) < TESTING.as_secs());
    if !is_young {
        return error.advise(SIGN_IN_AGAIN);
    }
    error.advise(format!(
        "if nobody revoked it, the project is still in testing, where every sign-in expires after 7 days: publish it \
         at console.cloud.google.com (OAuth consent screen), then {SIGN_IN_AGAIN}"
    ))
}

fn now() -> Option<u64> {
    SystemTime::now().duration_since(UNIX_EPOCH).ok().map(|since| since.as_secs())
}

/// The same error, for the destination and the operation that needed the token.
fn moved(mut error: StoreError, destination: &str, operation: Operation) -> StoreError {
    if let StoreError::Remote(remote) = &mut error {
        destination.clone_into(&mut remote.destination);
        remote.operation = operation;
    }
    error
}

async fn post(context: &Context, url: &str, form: &[(&str, &str)]) -> Result<Response, StoreError> {
    http::send(PLACE, Operation::Connect, context.http.post(url).form(form), &Activity::default(), context.tuning.stall)
        .await
}

async fn read<T: DeserializeOwned>(context: &Context, answer: Response) -> Result<T, StoreError> {
    let body = http::read_body(PLACE, Operation::Connect, answer, MOST, context.tuning.stall).await?;
    serde_json::from_slice(&body).map_err(|_| refused(Kind::Protocol, "its sign-in does not work like Google's"))
}

/// What a refusing answer means by its status, and the word in it that says more.
async fn read_refusal(context: &Context, answer: Response) -> (StoreError, String) {
    let (status, headers) = (answer.status(), answer.headers().clone());
    let body = http::read_body(PLACE, Operation::Connect, answer, MOST, context.tuning.stall).await.unwrap_or_default();
    let word = serde_json::from_slice::<Refusal>(&body).unwrap_or_default().error;
    // Only text that can't hold a secret is repeated.
    let known = word.len() < 40 && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
    let word = if known { word } else { String::new() };
    (http::refused(PLACE, Operation::Connect, status, &headers, &word), word)
}

fn client_refused(word: &str) -> Option<StoreError> {
    let why = match word {
        "invalid_client" => {
            "the client id or its secret is wrong, or the client is not of the type \"TVs and Limited Input devices\""
        }
        "unauthorized_client" => {
            "the client is not allowed to sign in devices; it must be of the type \"TVs and Limited Input devices\""
        }
        "deleted_client" | "disabled_client" => "the client id was deleted or disabled",
        "admin_policy_enforced" => "the account's administrator does not allow it",
        "org_internal" => {
            let error = refused(Kind::Credentials, "the client is only for accounts of its own organisation");
            return Some(error.advise(
                "sign in with an account of that organisation, or set the user type to External at \
                     console.cloud.google.com (OAuth consent screen)",
            ));
        }
        _ => return None,
    };
    Some(refused(Kind::Credentials, why).advise(HOW_TO_GET_A_CLIENT))
}

fn expired() -> StoreError {
    refused(Kind::Credentials, "nobody typed the code in time").advise("start again")
}

fn refused(kind: Kind, why: impl Into<String>) -> StoreError {
    StoreError::remote(PLACE, Operation::Connect, kind, why)
}
