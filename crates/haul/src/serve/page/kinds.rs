//! The kinds of locations that the page can set up: what is asked, and what the configuration file says of it then.

use web::backend::{Location, LocationField, LocationKind};

/// One that is configured already.
pub(super) const EXISTING: &str = "existing";

/// What was filled in, by field.
type Answers<'a> = dyn Fn(&str) -> String + 'a;

/// What is asked for one setting.
#[derive(Clone, Copy)]
struct Field {
    id: &'static str,
    label: &'static str,
    help: &'static str,
    example: &'static str,
    is_secret: bool,
    is_required: bool,
}

/// A kind of location.
struct Kind {
    id: &'static str,
    label: &'static str,
    about: &'static str,
    fields: &'static [Field],
    /// The address, from the answers.
    url: fn(&Answers<'_>) -> String,
    /// The configuration's keys, and which answers they take. The content of secrets goes to files.
    keys: &'static [(&'static str, &'static str)],
}

const fn field(id: &'static str, label: &'static str, help: &'static str, example: &'static str) -> Field {
    Field { id, label, help, example, is_secret: false, is_required: true }
}

const fn optional(field: Field) -> Field {
    Field { is_required: false, ..field }
}

const fn secret(field: Field) -> Field {
    Field { is_secret: true, ..field }
}

const KINDS: &[Kind] = &[
    Kind {
        id: "local",
        label: "A folder on this machine",
        about: "A disk of its own, or a share of your NAS that is mounted here.",
        fields: &[field(
            "path",
            "Folder",
            "It must exist. Use a disk other than Home Assistant's own.",
            "/mnt/nas/backups",
        )],
        url: |answer| answer("path"),
        keys: &[],
    },
    Kind {
        id: "sftp",
        label: "SFTP (SSH)",
        about: "A NAS, a server or a storage box that you reach by SSH.",
        fields: &[
            field("host", "Host", "Its name or address; with another port as host:2222.", "nas.local"),
            field("user", "User", "", "backup"),
            field("path", "Folder", "Absolute, or ~/folder for one in the user's home.", "/volume1/backups"),
            optional(secret(field("password", "Password", "Leave it empty to use a key file.", ""))),
            optional(field("key_file", "Key file", "The private key on this machine.", "/root/.ssh/id_ed25519")),
            optional(field(
                "host_key",
                "Host key",
                "The server's fingerprint. The test shows it the first time; compare it before you paste it here.",
                "SHA256:…",
            )),
        ],
        url: |answer| format!("sftp://{}@{}/{}", encoded(&answer("user")), answer("host"), folder(&answer("path"))),
        keys: &[("password_file", "password"), ("key_file", "key_file"), ("host_key", "host_key")],
    },
    Kind {
        id: "s3",
        label: "S3 bucket",
        about: "Amazon S3, Backblaze B2, Wasabi, MinIO and others.",
        fields: &[
            field("bucket", "Bucket", "It must exist.", "my-backups"),
            optional(field("prefix", "Folder in the bucket", "", "home-assistant")),
            optional(field("endpoint", "Endpoint", "Empty for Amazon.", "https://s3.eu-central-003.backblazeb2.com")),
            optional(field("region", "Region", "", "eu-central-1")),
            field("access_key_id", "Access key ID", "", ""),
            secret(field("secret_access_key", "Secret access key", "", "")),
        ],
        url: |answer| format!("s3://{}/{}", answer("bucket"), answer("prefix").trim_matches('/')),
        keys: &[
            ("endpoint", "endpoint"),
            ("region", "region"),
            ("access_key_id", "access_key_id"),
            ("secret_access_key_file", "secret_access_key"),
        ],
    },
    Kind {
        id: "nextcloud",
        label: "Nextcloud",
        about: "A folder of your account. Create an app password for it under Settings, Security.",
        fields: &[
            field("host", "Server", "", "cloud.example.org"),
            field("user", "User", "", ""),
            secret(field("password", "App password", "", "")),
            field("path", "Folder", "", "Backups"),
        ],
        url: |answer| format!("nextclouds://{}/{}", bare_host(&answer("host")), answer("path").trim_matches('/')),
        keys: &[("user", "user"), ("password_file", "password")],
    },
    Kind {
        id: "webdav",
        label: "WebDAV",
        about: "Any other server that speaks WebDAV.",
        fields: &[
            field("url", "Address", "As the server shows it.", "https://dav.example.org/backups"),
            optional(field("user", "User", "", "")),
            optional(secret(field("password", "Password", "", ""))),
        ],
        url: |answer| {
            let url = answer("url");
            match (url.strip_prefix("https://"), url.strip_prefix("http://")) {
                (Some(rest), _) => format!("webdavs://{rest}"),
                (_, Some(rest)) => format!("webdav://{rest}"),
                (None, None) => url,
            }
        },
        keys: &[("user", "user"), ("password_file", "password")],
    },
];

fn encoded(text: &str) -> String {
    text.replace('%', "%25").replace('@', "%40").replace('/', "%2F").replace(':', "%3A")
}

/// An absolute path as an address has it: `/a` and `~/a` are both written after the slash that ends the host.
fn folder(path: &str) -> &str {
    path.strip_prefix('/').unwrap_or(path)
}

fn bare_host(host: &str) -> &str {
    let host = host.trim_start_matches("https://").trim_start_matches("http://");
    host.split_once("/remote.php").map_or(host, |(host, _)| host).trim_matches('/')
}

/// What the page shows.
pub(super) fn offered() -> Vec<LocationKind> {
    let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let shown = |field: &Field| LocationField {
        id: field.id.to_owned(),
        label: field.label.to_owned(),
        help: text(field.help),
        example: text(field.example),
        secret: field.is_secret,
        required: field.is_required,
    };
    let kind = |kind: &Kind| LocationKind {
        id: kind.id.to_owned(),
        label: kind.label.to_owned(),
        about: kind.about.to_owned(),
        fields: kind.fields.iter().map(shown).collect(),
    };
    KINDS.iter().map(kind).collect()
}

/// A location as the configuration file has it.
pub(super) struct Configured {
    /// What it is called if nothing else has that name.
    pub(super) name: String,
    /// Keys and values; `url` is the first.
    pub(super) settings: Vec<(String, String)>,
    /// Keys whose value is a file, and what goes into it.
    pub(super) secrets: Vec<(String, zeroize::Zeroizing<String>)>,
}

/// What is wrong with an answer: the field, and why.
pub(super) type Wrong = (String, String);

/// Understands what was filled in.
pub(super) fn configured(location: &Location) -> Result<Configured, Wrong> {
    let Some(kind) = KINDS.iter().find(|kind| kind.id == location.kind) else {
        return Err(("kind".to_owned(), "choose one of the kinds".to_owned()));
    };
    let raw = |id: &str| location.fields.iter().find(|(name, _)| name == id).map(|(_, text)| text.clone());
    for field in kind.fields {
        let answer = raw(field.id);
        let text = answer.as_ref().map_or("", |text| text.trim());
        if field.is_required && text.is_empty() {
            return Err((field.id.to_owned(), format!("{} is missing", field.label)));
        }
        if text.contains(char::is_control) {
            return Err((field.id.to_owned(), "it must be one line".to_owned()));
        }
    }
    let answer = |id: &str| raw(id).map_or_else(String::new, |text| text.trim().to_owned());
    let mut settings = vec![("url".to_owned(), (kind.url)(&answer))];
    let mut secrets = Vec::new();
    for (key, id) in kind.keys {
        let is_secret = kind.fields.iter().any(|field| field.id == *id && field.is_secret);
        match raw(id).filter(|text| !text.is_empty()) {
            Some(text) if is_secret => secrets.push(((*key).to_owned(), text)),
            Some(text) => settings.push(((*key).to_owned(), text.trim().to_owned())),
            None => {}
        }
    }
    let name = if kind.id == "local" { "backups" } else { kind.id };
    Ok(Configured { name: name.to_owned(), settings, secrets })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    type Case<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a str);

    fn location(kind: &str, fields: &[(&str, &str)]) -> Location {
        let fields = fields.iter().map(|(id, text)| ((*id).to_owned(), (*text).to_owned().into())).collect();
        Location { kind: kind.to_owned(), fields }
    }

    #[test]
    fn answers_become_addresses_that_haul_understands() {
        let cases: &[Case<'_>] = &[
            ("local", &[("path", "/mnt/nas")], "/mnt/nas"),
            ("sftp", &[("host", "nas:2222"), ("user", "me"), ("path", "/v/b")], "sftp://me@nas:2222/v/b"),
            ("sftp", &[("host", "nas"), ("user", "me"), ("path", "~/b")], "sftp://me@nas/~/b"),
            (
                "s3",
                &[("bucket", "b"), ("prefix", "/ha/"), ("access_key_id", "k"), ("secret_access_key", "s")],
                "s3://b/ha",
            ),
            (
                "nextcloud",
                &[("host", "https://c.org/"), ("user", "me"), ("password", "x"), ("path", "Backups")],
                "nextclouds://c.org/Backups",
            ),
            ("webdav", &[("url", "https://d.org/x")], "webdavs://d.org/x"),
        ];
        for (kind, fields, url) in cases {
            let configured =
                configured(&location(kind, fields)).map_err(|(field, why)| format!("{field}: {why}")).unwrap();
            assert_eq!(configured.settings[0].1, *url);
            store::Address::parse(url).unwrap();
            assert!(configured.settings.iter().all(|(_, value)| value != "x" && value != "s"), "no secret in the file");
        }
    }

    #[test]
    fn every_key_is_one_that_the_destination_has() {
        for kind in KINDS {
            let fields: Vec<(&str, &str)> = kind.fields.iter().map(|field| (field.id, "x")).collect();
            let configured = configured(&location(kind.id, &fields)).map_err(|wrong| wrong.1).unwrap();
            let Ok(address @ store::Address::Remote(_)) = store::Address::parse(&configured.settings[0].1) else {
                continue;
            };
            let keys = configured
                .settings
                .iter()
                .skip(1)
                .map(|(key, _)| key)
                .chain(configured.secrets.iter().map(|(key, _)| key));
            for key in keys {
                assert!(store::keys(&address).contains(&key.as_str()), "{}: {key}", kind.id);
            }
        }
    }

    #[test]
    fn what_is_missing_is_named_beside_its_field() {
        let Err((field, why)) = configured(&location("s3", &[("bucket", "b")])) else { panic!("refused") };
        assert_eq!((field.as_str(), why.as_str()), ("access_key_id", "Access key ID is missing"));
    }
}
