//! The Home Assistant that moves: its version, who can log in, and whether its directory holds its users and settings.

use std::{
    collections::BTreeSet,
    io,
    path::{Path, PathBuf},
};

use engine::{Identity, Listening};
use habackup::version::HaVersion;
use homeassistant::Secret;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;

use crate::{
    failure::{FAILED, Failure},
    listening::StoredHttp,
    stored::{self, Stored},
};

/// The login provider whose users have a name and a password in the directory itself.
const BY_PASSWORD: &str = "homeassistant";
/// The onboarding steps that an instance in use has completed, as far as all versions have them.
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
    /// What it wrote down of where it listens.
    stored_http: StoredHttp,
    tokens: BTreeSet<String>,
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
    /// Whatever the provider keeps there.
    #[serde(default)]
    data: Value,
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
    /// Checks the directory. A restore without users, or with users nobody can log in as, ends at onboarding again:
    /// that is refused.
    pub(crate) fn look(directory: &Path, identity: &Identity) -> Result<Self, Failure> {
        let auth = directory.join(".storage/auth");
        let Some(Auth { users, credentials, refresh_tokens }) = read::<Auth>(&auth)? else {
            return Err(Failure::usage(format!(
                "{} has no .storage/auth: a restore would bring no users",
                directory.display()
            ))
            .hint("give the whole config directory, including its hidden files"));
        };
        let mut people: Vec<&User> = users.iter().filter(|user| user.is_active && !user.system_generated).collect();
        if people.is_empty() {
            return Err(Failure::new(FAILED, format!("{} holds no user who can log in", auth.display())).hint(
                "check that this is the right directory; if so, finish onboarding in the old Home Assistant and \
                    try again",
            ));
        }
        people.sort_by_key(|user| !user.is_owner);
        let provider = directory.join(".storage/auth_provider.homeassistant");
        let known: Option<BTreeSet<String>> =
            read::<Provider>(&provider)?.map(|provider| provider.users.into_iter().map(|user| user.username).collect());
        let mut logins = Vec::new();
        for person in people {
            let own = credentials
                .iter()
                .filter(|credential| credential.user_id == person.id && credential.auth_provider_type == BY_PASSWORD);
            logins.extend(own.filter_map(|credential| credential.data.get("username")?.as_str().map(str::to_owned)));
        }
        let mut notes = Vec::new();
        let (with, without): (Vec<_>, Vec<_>) =
            logins.into_iter().partition(|name| known.as_ref().is_some_and(|known| known.contains(name)));
        if !without.is_empty() {
            notes.push(format!(
                "{} has no password for {}, so they can't log in",
                provider.display(),
                super::messages::any_of(&without)
            ));
        }
        let done = read::<Onboarding>(&directory.join(".storage/onboarding"))
            .ok()
            .flatten()
            .map(|stored| stored.done)
            .unwrap_or_default();
        if FIRST_STEPS.iter().any(|step| !done.iter().any(|done| done == step)) {
            notes.push(
                "onboarding was never finished in the old Home Assistant: the new one will show the rest of it"
                    .to_owned(),
            );
        }
        if directory.join(".storage/hassio").exists() {
            let what = "add-ons, their data and the folders share, ssl and media are outside the config directory and \
                do not move";
            notes.push(what.to_owned());
        }
        // Only for a hint: anything else there is no reason to stop.
        let stored_http = StoredHttp::read(directory);
        let tokens = refresh_tokens.into_iter().map(|token| token.id).collect();
        Ok(Self {
            directory: directory.to_owned(),
            version: identity.version.clone(),
            logins: with,
            notes,
            stored_http,
            tokens,
        })
    }

    /// Where Home Assistant `version` listens with what is restored, the likeliest first. Unknown versions may be of
    /// either kind.
    pub(crate) fn listening(&self, version: Option<&HaVersion>) -> Vec<Listening> {
        self.stored_http.listening(&self.directory, version)
    }

    /// Whether this token was made by the very users of this directory.
    pub(crate) fn knows(&self, token: &Secret) -> bool {
        token.token_id().is_some_and(|id| self.tokens.contains(&id))
    }
}

/// What is stored there; `None` when there is no such file.
fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, Failure> {
    let bytes = match stored::bytes(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => {
            let failure =
                Failure::new(FAILED, format!("can't read {}: {}", path.display(), engine::plain_reason(&error)));
            return Err(failure.hint("run haul as root, or as the user that runs Home Assistant"));
        }
    };
    match serde_json::from_slice::<Stored<T>>(&bytes) {
        Ok(stored) => Ok(Some(stored.data)),
        // Where, but not what: the parser would repeat the text, which may be a secret.
        Err(error) => {
            let (file, line, column) = (path.display(), error.line(), error.column());
            Err(Failure::new(
                FAILED,
                format!("{file} is not in the form that Home Assistant writes (line {line}, column {column})"),
            )
            .hint(
                "Home Assistant itself would set it aside and start fresh; `haul restore` brings the file back \
                    from a backup",
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::fs;

    use super::*;

    const AUTH: &str = r#"{"version":1,"key":"auth","data":{"users":[
        {"id":"s","is_owner":false,"is_active":true,"name":"Supervisor","system_generated":true},
        {"id":"c","is_owner":false,"is_active":true,"name":"Carl","system_generated":false,"local_only":true},
        {"id":"g","is_owner":false,"is_active":false,"name":"Gone","system_generated":false},
        {"id":"t","is_owner":false,"is_active":true,"name":"Tablet","system_generated":false},
        {"id":"a","is_owner":true,"is_active":true,"name":"Ada","system_generated":false}],
        "credentials":[
        {"id":"1","user_id":"c","auth_provider_type":"homeassistant","data":{"username":"carl"}},
        {"id":"2","user_id":"g","auth_provider_type":"homeassistant","data":{"username":"gone"}},
        {"id":"3","user_id":"t","auth_provider_type":"trusted_networks","data":{"user":"t"}},
        {"id":"4","user_id":"a","auth_provider_type":"homeassistant","data":{"username":"ada"}},
        {"id":"5","user_id":"s","auth_provider_type":"homeassistant","data":{"username":"system"}}],
        "refresh_tokens":[{"id":"03546f36","user_id":"a"}]}}"#;
    const LOGINS: &str = r#"{"data":{"users":[{"username":"carl","password":"x"},{"username":"ada","password":"y"},{"username":"nobody","password":"z"}]}}"#;

    fn directory(files: &[(&str, &str)]) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join(".storage")).unwrap();
        for (name, text) in files {
            fs::write(directory.path().join(".storage").join(name), text).unwrap();
        }
        directory
    }

    fn looked(directory: &Path) -> Result<Source, Failure> {
        let version = "2026.11.0".parse().unwrap();
        Source::look(directory, &Identity { version, name: String::new(), slug: String::new(), date: String::new() })
    }

    fn look(files: &[(&str, &str)]) -> Result<Source, Failure> {
        looked(directory(files).path())
    }

    #[test]
    fn those_who_can_log_in_are_named_the_owner_first() {
        let done = r#"{"data":{"done":["user","core_config"]}}"#;
        let source = look(&[("auth", AUTH), ("auth_provider.homeassistant", LOGINS), ("onboarding", done)]).unwrap();
        assert_eq!(source.logins, ["ada", "carl"]);
        assert!(source.notes.is_empty(), "{:?}", source.notes);
    }

    /// What `.storage/http` and the configuration say, and where an older and a newer Home Assistant then listen.
    #[test]
    fn the_restored_one_listens_where_its_version_looks() {
        let copy = r#"{"version":1,"data":{"server_port":8124,"cors_allowed_origins":[]}}"#;
        let ruling = r#"{"version":3,"data":{"stable":{"server_port":8125,"error":null},"pending":null,"yaml_migration_done":true}}"#;
        let trying = r#"{"data":{"stable":{"server_port":8125},"pending":{"server_port":443,"ssl_certificate":"/ssl/a.pem","error":null},"yaml_migration_done":true}}"#;
        let given_up = r#"{"data":{"stable":{"server_port":8125},"pending":{"server_port":443,"error":"not_promoted"},"yaml_migration_done":true}}"#;
        let not_yet = r#"{"data":{"stable":{"server_port":8125},"pending":null,"yaml_migration_done":false}}"#;
        let yaml = "http:\n  server_port: 8126\n";
        for (stored, yaml, older, newer) in [
            ("", "", &[][..], &[][..]),
            ("", yaml, &[(8126, false)], &[(8126, false)]),
            (copy, "", &[], &[(8124, false)]),
            (copy, yaml, &[(8126, false)], &[(8126, false), (8124, false)]),
            (ruling, yaml, &[(8126, false)], &[(8125, false)]),
            (trying, yaml, &[(8126, false)], &[(443, true), (8125, false)]),
            (given_up, "", &[], &[(8125, false)]),
            (not_yet, yaml, &[(8126, false)], &[(8126, false), (8125, false)]),
            ("{}", yaml, &[(8126, false)], &[(8126, false)]),
        ] {
            let directory = directory(&[("auth", AUTH), ("http", stored)]);
            fs::write(directory.path().join("configuration.yaml"), yaml).unwrap();
            let source = looked(directory.path()).unwrap();
            let at = |version: &str| -> Vec<(u16, bool)> {
                source
                    .listening(Some(&version.parse().unwrap()))
                    .into_iter()
                    .map(|listening| (listening.port.unwrap(), listening.tls))
                    .collect()
            };
            assert_eq!((&at("2026.7.4")[..], &at("2026.8.0")[..]), (older, newer), "{stored} {yaml}");
        }
    }

    #[test]
    fn a_token_of_these_very_users_is_known() {
        let source = look(&[("auth", AUTH), ("auth_provider.homeassistant", LOGINS)]).unwrap();
        assert!(source.knows(&Secret::new("eyJhbGciOiJIUzI1NiJ9.eyJpc3MiOiIwMzU0NmYzNiIsImlhdCI6MX0.c2lnbmF0dXJl")));
        assert!(!source.knows(&Secret::new("eyJhbGciOiJIUzI1NiJ9.eyJpc3MiOiJvdGhlciJ9.c2lnbmF0dXJl")));
        assert!(!source.knows(&Secret::new("no token")));
    }

    #[test]
    fn what_can_not_be_read_is_refused_and_not_repeated() {
        let secret = r#"{"data":{"users":"hunter2"}}"#;
        for text in ["", "{}", secret, "\u{0}"] {
            let failure = look(&[("auth", text)]).unwrap_err();
            assert!(
                failure.message.contains(".storage/auth is not in the form that Home Assistant writes"),
                "{}",
                failure.message
            );
            assert!(!failure.message.contains("hunter2"), "{}", failure.message);
        }
        assert!(look(&[]).unwrap_err().message.ends_with("has no .storage/auth: a restore would bring no users"));
    }
}
