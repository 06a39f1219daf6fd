//! The Home Assistant that moves: which version it is, who may log in, and whether its directory holds what makes it this one and no other.

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
};

use engine::Identity;
use habackup::version::HaVersion;
use homeassistant::Secret;
use serde::{Deserialize, de::DeserializeOwned};

use crate::failure::{FAILED, Failure};

/// The login provider whose users have a name and a password in the directory itself.
const BY_PASSWORD: &str = "homeassistant";
/// The steps of the first page that an instance in use has behind it, as far as all versions have them.
const FIRST_STEPS: [&str; 2] = ["user", "core_config"];

/// What is known of the old one before anything is read.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) directory: PathBuf,
    pub(crate) version: HaVersion,
    /// Names that log in with a password, the owner's first. Empty when all log in by other means.
    pub(crate) logins: Vec<String>,
    /// What the user should know.
    pub(crate) notes: Vec<String>,
    tokens: BTreeSet<String>,
}

/// What Home Assistant stores under a key.
#[derive(Deserialize)]
struct Stored<T> {
    data: T,
}

#[derive(Deserialize)]
struct Auth {
    users: Vec<User>,
    #[serde(default)]
    credentials: Vec<Credential>,
    #[serde(default)]
    refresh_tokens: Vec<Token>,
}

#[derive(Deserialize)]
struct User {
    id: String,
    #[serde(default)]
    is_owner: bool,
    #[serde(default)]
    is_active: bool,
    #[serde(default)]
    system_generated: bool,
}

#[derive(Deserialize)]
struct Credential {
    user_id: String,
    auth_provider_type: String,
    #[serde(default)]
    data: CredentialData,
}

#[derive(Default, Deserialize)]
struct CredentialData {
    username: Option<String>,
}

#[derive(Deserialize)]
struct Token {
    id: String,
}

#[derive(Deserialize)]
struct Provider {
    users: Vec<Login>,
}

#[derive(Deserialize)]
struct Login {
    username: String,
}

#[derive(Deserialize)]
struct Onboarding {
    done: Vec<String>,
}

impl Source {
    /// Looks at the directory. A restore without users, or with users nobody can be, ends on the first page again: that is refused.
    pub(crate) fn look(directory: &Path, identity: &Identity) -> Result<Self, Failure> {
        let auth = directory.join(".storage/auth");
        let Some(Auth { users, credentials, refresh_tokens }) = read::<Auth>(&auth)? else {
            return Err(Failure::usage(format!("{} has no .storage/auth: a restore of it would bring no users", directory.display()))
                .hint("give the whole config directory, with what is hidden in it"));
        };
        let mut people: Vec<&User> = users.iter().filter(|user| user.is_active && !user.system_generated).collect();
        if people.is_empty() {
            return Err(Failure::new(FAILED, format!("{} holds no user who may log in", auth.display()))
                .hint("is this the right directory? finish its first page there, and try again"));
        }
        people.sort_by_key(|user| !user.is_owner);
        let provider = directory.join(".storage/auth_provider.homeassistant");
        let known: Option<BTreeSet<String>> = read::<Provider>(&provider)?.map(|provider| provider.users.into_iter().map(|user| user.username).collect());
        let mut logins = Vec::new();
        for person in people {
            let own = credentials.iter().filter(|credential| credential.user_id == person.id && credential.auth_provider_type == BY_PASSWORD);
            logins.extend(own.filter_map(|credential| credential.data.username.clone()));
        }
        let mut notes = Vec::new();
        let (with, without): (Vec<_>, Vec<_>) = logins.into_iter().partition(|name| known.as_ref().is_some_and(|known| known.contains(name)));
        if !without.is_empty() {
            notes.push(format!("{} has no password for {}, who will not be able to log in", provider.display(), super::words::any_of(&without)));
        }
        let done = read::<Onboarding>(&directory.join(".storage/onboarding"))?.map(|stored| stored.done).unwrap_or_default();
        if FIRST_STEPS.iter().any(|step| !done.iter().any(|done| done == step)) {
            notes.push("the first page of the old Home Assistant was never finished: the new one will show the rest of it".to_owned());
        }
        let tokens = refresh_tokens.into_iter().map(|token| token.id).collect();
        Ok(Self { directory: directory.to_owned(), version: identity.version.clone(), logins: with, notes, tokens })
    }

    /// Whether this token was made by the very users of this directory.
    pub(crate) fn knows(&self, token: &Secret) -> bool {
        token.token_id().is_some_and(|id| self.tokens.contains(&id))
    }
}

/// What is stored there; `None` when there is no such file.
fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, Failure> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => {
            let failure = Failure::new(FAILED, format!("can't read {}: {}", path.display(), engine::plain_reason(&error)));
            return Err(failure.hint("run haul as root, or as the user that runs Home Assistant"));
        }
    };
    match serde_json::from_slice::<Stored<T>>(&bytes) {
        Ok(stored) => Ok(Some(stored.data)),
        Err(error) => Err(Failure::new(FAILED, format!("{} is not as Home Assistant writes it: {error}", path.display()))
            .hint("Home Assistant itself would not start with it; `haul restore` brings the file back from a backup")),
    }
}
