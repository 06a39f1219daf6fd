//! The kinds of locations that the page can set up: what is asked, and what the configuration file says of it then.

use std::collections::BTreeMap;

use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use web::backend::{Filled, FormField, FormKind};

use crate::in_app;

/// Kinds that need more than answers, and the fields that others have to know.
pub(super) const LOCAL: &str = "local";
pub(super) const SFTP: &str = "sftp";
pub(super) const GDRIVE: &str = "gdrive";
pub(super) const MACHINE: &str = "machine";
pub(super) const CLIENT_ID: &str = "client_id";
pub(super) const CLIENT_SECRET: &str = "client_secret";
pub(super) const CODE: &str = "code";
pub(super) const HOST_KEY: &str = "host_key";
pub(super) const MOUNTED: &str = "must_be_mounted";
pub(super) const WEBDAV: &str = "webdav";
/// A flag that is no setting: a folder that is not there is made.
pub(super) const NEW_FOLDER: &str = "new_folder";
/// What a flag says.
pub(super) const YES: &str = "true";
pub(super) const NO: &str = "false";

/// One that is configured already.
pub(super) const EXISTING: &str = "existing";

/// What was filled in, by field.
type Answers<'a> = dyn Fn(&str) -> String + 'a;

/// What is asked for one setting.
#[derive(Clone, Copy)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub(super) struct Field {
    pub(super) id: &'static str,
    pub(super) label: &'static str,
    help: &'static str,
    example: &'static str,
    pub(super) is_secret: bool,
    is_required: bool,
    /// It is yes or no.
    is_flag: bool,
    /// What a flag says unless somebody changes it.
    is_on: bool,
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
    /// What a person does elsewhere lets it in.
    signs_in: bool,
}

pub(super) const fn field(id: &'static str, label: &'static str, help: &'static str, example: &'static str) -> Field {
    Field { id, label, help, example, is_secret: false, is_required: true, is_flag: false, is_on: false }
}

pub(super) const fn optional(field: Field) -> Field {
    Field { is_required: false, ..field }
}

const fn flag(field: Field) -> Field {
    Field { is_flag: true, is_required: false, ..field }
}

const fn on(field: Field) -> Field {
    Field { is_on: true, ..field }
}

pub(super) const fn secret(field: Field) -> Field {
    Field { is_secret: true, ..field }
}

const MAKE_FOLDER: Field = flag(field(
    NEW_FOLDER,
    "Make this folder if it does not exist",
    "Without this, a folder that is mistyped is noticed.",
    "",
));

const KINDS: &[Kind] = &[
    Kind {
        id: LOCAL,
        label: "A folder on this machine",
        about: "A disk of its own, or a share of your NAS that is mounted here.",
        fields: &[
            field(
                "path",
                "Folder",
                "Outside of the config directory; best on a disk other than Home Assistant's own.",
                "/mnt/nas/backups",
            ),
            MAKE_FOLDER,
            on(flag(field(
                MOUNTED,
                "Only while its disk is there",
                "If the folder is on a disk or share of its own, Haul writes there only while that is mounted.",
                "",
            ))),
        ],
        url: |answer| answer("path"),
        keys: &[(MOUNTED, MOUNTED)],
        signs_in: false,
    },
    Kind {
        id: SFTP,
        label: "SFTP (SSH)",
        about: "A NAS, a server or a storage box that you reach by SSH.",
        fields: &[
            field("host", "Host", "Its address or name; with another port as host:2222.", "192.168.1.20"),
            field("user", "User", "", "backup"),
            field("path", "Folder", "Absolute, or ~/folder for one in the user's home.", "/volume1/backups"),
            MAKE_FOLDER,
            optional(secret(field("password", "Password", "Leave it empty to use a key file.", ""))),
            optional(field("key_file", "Key file", "The private key on this machine.", "/root/.ssh/id_ed25519")),
            optional(field(
                HOST_KEY,
                "Host key",
                "The server's fingerprint. The test shows it the first time, and asks whether to trust it.",
                "SHA256:…",
            )),
        ],
        url: |answer| format!("sftp://{}@{}/{}", encoded(&answer("user")), answer("host"), folder(&answer("path"))),
        keys: &[("password_file", "password"), ("key_file", "key_file"), (HOST_KEY, HOST_KEY)],
        signs_in: false,
    },
    Kind {
        id: "s3",
        label: "S3 bucket",
        about: "Amazon S3, Backblaze B2, Wasabi, MinIO and others.",
        fields: &[
            field("bucket", "Bucket", "It must exist.", "my-backups"),
            optional(field("prefix", "Folder in the bucket", "", "home-assistant")),
            optional(field("endpoint", "Endpoint", "Empty for Amazon.", "https://s3.eu-central-003.backblazeb2.com")),
            optional(field("region", "Region", "Only if the provider names one.", "eu-central-1")),
            field("access_key_id", "Access key ID", "The provider shows it when you make an access key.", "AKIA…"),
            secret(field(
                "secret_access_key",
                "Secret access key",
                "It comes with the ID, and is shown only once.",
                "",
            )),
        ],
        url: |answer| format!("s3://{}/{}", answer("bucket"), answer("prefix").trim_matches('/')),
        keys: &[
            ("endpoint", "endpoint"),
            ("region", "region"),
            ("access_key_id", "access_key_id"),
            ("secret_access_key_file", "secret_access_key"),
        ],
        signs_in: false,
    },
    Kind {
        id: "nextcloud",
        label: "Nextcloud",
        about: "A folder of your account. Create an app password for it under Settings, Security.",
        fields: &[
            field("host", "Server", "", "cloud.example.org"),
            field("user", "User", "", "ada"),
            secret(field("password", "App password", "", "Ab3dE-fGh1j-…")),
            field("path", "Folder", "", "Backups"),
            MAKE_FOLDER,
        ],
        url: |answer| format!("nextclouds://{}/{}", bare_host(&answer("host")), answer("path").trim_matches('/')),
        keys: &[("user", "user"), ("password_file", "password")],
        signs_in: false,
    },
    Kind {
        id: WEBDAV,
        label: "WebDAV",
        about: "Any other server that speaks WebDAV.",
        fields: &[
            field("url", "Address of the folder", "As the server shows it.", "https://dav.example.org/backups"),
            MAKE_FOLDER,
            optional(field("user", "User", "Empty: the server asks for none.", "ada")),
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
        signs_in: false,
    },
    Kind {
        id: MACHINE,
        label: "Another machine with Haul",
        about: "It runs haul receive, which shows a pairing code.",
        fields: &[
            optional(field("host", "Machine", "Empty: Haul looks for it on this network.", "192.168.1.20")),
            optional(field(
                CODE,
                "Pairing code",
                "Needed once: haul receive shows it there, and it is valid for 15 minutes.",
                "lusab-babad",
            )),
        ],
        url: |answer| format!("haul://{}", answer("host").trim_start_matches("haul://").trim_matches('/')),
        keys: &[],
        signs_in: false,
    },
    Kind {
        id: GDRIVE,
        label: "Google Drive",
        about: "A folder in your Google Drive. You can open it at drive.google.com; Haul sees nothing else of your Drive.",
        fields: &[
            optional(field(
                "path",
                "Folder",
                "Empty: a folder called Haul. Google shows Haul only what its client (below) has made. So the backups \
                 of the Google Drive add-on are listed only if you gave the add-on a client of your own, and give Haul \
                 the same: then its folder, usually Home Assistant Backups, can be named here.",
                "Home Assistant",
            )),
            optional(field(
                CLIENT_ID,
                "Client ID",
                "Needed once: at console.cloud.google.com create a project, enable the Google Drive API in it, publish \
                 its OAuth consent screen, and create an OAuth client ID of the type “TVs and Limited Input devices”. \
                 Empty if this machine has signed in before.",
                "123-abc.apps.googleusercontent.com",
            )),
            optional(secret(field(CLIENT_SECRET, "Client secret", "It comes with the client ID.", "GOCSPX-…"))),
        ],
        url: |answer| drive(answer("path").trim_matches('/')),
        // The client is kept with the sign-in.
        keys: &[],
        signs_in: true,
    },
];

fn encoded(text: &str) -> String {
    text.replace('%', "%25").replace('@', "%40").replace('/', "%2F").replace(':', "%3A")
}

/// An absolute path as an address has it: `/a` and `~/a` are both written after the slash that ends the host.
fn folder(path: &str) -> &str {
    path.strip_prefix('/').unwrap_or(path)
}

/// A folder of a Drive, as an address. Its first step stands where others have a host.
fn drive(folder: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-._/".contains(c);
    if folder.chars().all(is_plain) {
        return format!("gdrive://{folder}");
    }
    let steps: Vec<String> =
        folder.split('/').map(|step| utf8_percent_encode(step, NON_ALPHANUMERIC).to_string()).collect();
    format!("gdrive:///{}", steps.join("/"))
}

fn bare_host(host: &str) -> &str {
    let host = host.trim_start_matches("https://").trim_start_matches("http://");
    host.split_once("/remote.php").map_or(host, |(host, _)| host).trim_matches('/')
}

/// Fields, as the page shows them.
pub(super) fn shown(fields: &[Field]) -> Vec<FormField> {
    let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let shown = |field: &Field| FormField {
        id: field.id.to_owned(),
        label: field.label.to_owned(),
        help: text(field.help),
        example: text(field.example),
        secret: field.is_secret,
        required: field.is_required,
        flag: field.is_flag,
        on: field.is_on,
    };
    fields.iter().map(shown).collect()
}

/// What the page shows.
pub(super) fn offered() -> Vec<FormKind> {
    let kind = |kind: &Kind| FormKind {
        id: kind.id.to_owned(),
        label: kind.label.to_owned(),
        about: kind.about.to_owned(),
        fields: shown(kind.fields),
        signs_in: kind.signs_in,
    };
    let mut kinds: Vec<FormKind> = KINDS.iter().map(kind).collect();
    if let Some(local) = kinds.iter_mut().find(|kind| kind.id == LOCAL && in_app::is_app()) {
        "A folder of Home Assistant’s network storage, such as your NAS.".clone_into(&mut local.about);
        if let Some(path) = local.fields.iter_mut().find(|field| field.id == "path") {
            path.help = Some("Below /share/NAME, where NAME is the name of the network storage.".to_owned());
            path.example = Some("/share/nas/everything".to_owned());
        }
    }
    kinds
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

/// What is wrong with each answer by itself.
pub(super) fn mistakes(fields: &[Field], filled: &Filled) -> Vec<Wrong> {
    let wrong = |field: &Field| {
        let answer = filled.fields.iter().find(|(name, _)| name == field.id);
        let text = answer.map_or("", |(_, text)| text.trim());
        let stays = field.is_secret && filled.keeps.is_some();
        let why = if field.is_required && text.is_empty() && !stays {
            format!("{} is missing", field.label)
        } else if text.contains(char::is_control) {
            "it must be one line".to_owned()
        } else if field.is_flag && !["", YES, NO].contains(&text) {
            format!("it must be {YES} or {NO}")
        } else {
            return None;
        };
        Some((field.id.to_owned(), why))
    };
    fields.iter().filter_map(wrong).collect()
}

/// Understands what was filled in.
pub(super) fn configured(location: &Filled) -> Result<Configured, Vec<Wrong>> {
    let Some(kind) = KINDS.iter().find(|kind| kind.id == location.kind) else {
        return Err(vec![("kind".to_owned(), "choose one of the kinds".to_owned())]);
    };
    let wrong = mistakes(kind.fields, location);
    if !wrong.is_empty() {
        return Err(wrong);
    }
    let raw = |id: &str| location.fields.iter().find(|(name, _)| name == id).map(|(_, text)| text.clone());
    let answer = |id: &str| raw(id).map_or_else(String::new, |text| text.trim().to_owned());
    let mut settings = vec![("url".to_owned(), (kind.url)(&answer))];
    let mut secrets = Vec::new();
    for (key, id) in kind.keys {
        let is_secret = kind.fields.iter().any(|field| field.id == *id && field.is_secret);
        let is_no = |text: &str| text == NO && kind.fields.iter().any(|field| field.id == *id && field.is_flag);
        match raw(id).filter(|text| !text.is_empty() && !is_no(text)) {
            Some(text) if is_secret => secrets.push(((*key).to_owned(), text)),
            Some(text) => settings.push(((*key).to_owned(), text.trim().to_owned())),
            None => {}
        }
    }
    let name = if kind.id == LOCAL { "backups" } else { kind.id };
    Ok(Configured { name: name.to_owned(), settings, secrets })
}

/// Whether there can be a folder that is to be made first.
pub(super) fn makes_folders(kind: &str) -> bool {
    let kind = KINDS.iter().find(|known| known.id == kind);
    kind.is_some_and(|kind| kind.fields.iter().any(|field| field.id == NEW_FOLDER))
}

/// The field that says which machine is called.
pub(super) fn host_field(kind: &str) -> Option<&'static str> {
    let kind = KINDS.iter().find(|known| known.id == kind)?;
    kind.fields.iter().map(|field| field.id).find(|id| ["host", "url", "endpoint"].contains(id))
}

/// The field to look at if the login is refused, and what to check.
pub(super) fn login(kind: &str) -> Option<(&'static str, String)> {
    let known = KINDS.iter().find(|known| known.id == kind)?;
    let is_of_login = |id: &str| ["user", "password", "key_file", "access_key_id", "secret_access_key"].contains(&id);
    let labels: Vec<&str> =
        known.fields.iter().filter(|field| is_of_login(field.id)).map(|field| field.label).collect();
    let field = known.fields.iter().find(|field| field.is_secret && is_of_login(field.id))?;
    let key = if kind == SFTP { "; the public key must be in ~/.ssh/authorized_keys there" } else { "" };
    Some((field.id, format!("check {}{key}", labels.join(" and "))))
}

/// Keys of the configuration file that this kind may set.
pub(super) fn keys(kind: &str) -> Vec<&'static str> {
    let kind = KINDS.iter().find(|known| known.id == kind);
    kind.map(|kind| kind.keys.iter().map(|(key, _)| *key).collect()).unwrap_or_default()
}

/// Keys whose value is a file with a secret.
pub(super) fn is_secret(kind: &str, key: &str) -> bool {
    let kind = KINDS.iter().find(|known| known.id == kind);
    let id = kind.and_then(|kind| Some((kind, kind.keys.iter().find(|(known, _)| *known == key)?.1)));
    id.is_some_and(|(kind, id)| kind.fields.iter().any(|field| field.id == id && field.is_secret))
}

/// The field that asks for a key of the configuration file.
pub(super) fn field_of(kind: &str, key: &str) -> Option<&'static str> {
    let kind = KINDS.iter().find(|known| known.id == kind)?;
    kind.keys.iter().find(|(known, _)| *known == key).map(|(_, id)| *id)
}

/// The kind that can say what the configuration file says of a location, and the answers, without secrets.
pub(super) fn answers(settings: &[(String, String)]) -> Option<(&'static str, BTreeMap<String, String>)> {
    let url = settings.iter().find(|(key, _)| key == "url").map(|(_, url)| url.as_str())?;
    let (kind, mut answers) = match url.split_once("://") {
        None => (LOCAL, vec![("path", url.to_owned())]),
        Some(("sftp", rest)) => {
            let (login, path) = rest.split_once('/')?;
            let (user, host) = login.rsplit_once('@')?;
            let path = if path.starts_with('~') { path.to_owned() } else { format!("/{path}") };
            (SFTP, vec![("host", host.to_owned()), ("user", decoded(user)), ("path", path)])
        }
        Some(("s3", rest)) => {
            let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
            ("s3", vec![("bucket", bucket.to_owned()), ("prefix", prefix.to_owned())])
        }
        Some(("nextclouds", rest)) => {
            let (host, path) = rest.split_once('/')?;
            ("nextcloud", vec![("host", host.to_owned()), ("path", path.to_owned())])
        }
        Some(("gdrive", rest)) => {
            let path = percent_decode_str(rest.trim_matches('/')).decode_utf8().ok()?.into_owned();
            (GDRIVE, vec![("path", path)])
        }
        Some(("haul", rest)) => (MACHINE, vec![("host", rest.trim_matches('/').to_owned())]),
        Some(("webdavs", rest)) => ("webdav", vec![("url", format!("https://{rest}"))]),
        Some(("webdav", rest)) => ("webdav", vec![("url", format!("http://{rest}"))]),
        Some(_) => return None,
    };
    let known = KINDS.iter().find(|known| known.id == kind)?;
    for (key, id) in known.keys.iter().filter(|(key, _)| !is_secret(kind, key)) {
        let said = settings.iter().find(|(said, _)| said == key);
        answers.extend(said.map(|(_, text)| (*id, text.clone())));
    }
    let answers = answers.into_iter().filter(|(_, text)| !text.is_empty());
    Some((kind, answers.map(|(id, text)| (id.to_owned(), text)).collect()))
}

fn decoded(text: &str) -> String {
    text.replace("%3A", ":").replace("%2F", "/").replace("%40", "@").replace("%25", "%")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    type Case<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a str);

    fn location(kind: &str, fields: &[(&str, &str)]) -> Filled {
        let fields = fields.iter().map(|(id, text)| ((*id).to_owned(), (*text).to_owned().into())).collect();
        Filled { kind: kind.to_owned(), fields, keeps: None }
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
            ("gdrive", &[("path", "Backups/ha")], "gdrive://Backups/ha"),
            ("gdrive", &[("path", "My home/ä")], "gdrive:///My%20home/%C3%A4"),
            ("gdrive", &[("client_id", "c"), ("client_secret", "s")], "gdrive://"),
            ("machine", &[("host", "haul://nas:9/"), ("code", "lusab-babad")], "haul://nas:9"),
            ("machine", &[], "haul://"),
        ];
        for (kind, fields, url) in cases {
            let configured = configured(&location(kind, fields)).map_err(|wrong| format!("{wrong:?}")).unwrap();
            assert_eq!(configured.settings[0].1, *url);
            store::Address::parse(url).unwrap();
            // And back: the same answers lead to the same address.
            let (found, answers) = super::answers(&configured.settings).unwrap();
            let fields: Vec<(&str, &str)> = answers.iter().map(|(id, text)| (id.as_str(), text.as_str())).collect();
            assert!(fields.iter().all(|(id, _)| !["password", "secret_access_key"].contains(id)), "{fields:?}");
            let again = Filled { keeps: Some("it".to_owned()), ..location(found, &fields) };
            let again = super::configured(&again).map_err(|wrong| format!("{wrong:?}")).unwrap();
            assert_eq!((found, &again.settings), (*kind, &configured.settings));
            assert!(configured.settings.iter().all(|(_, value)| value != "x" && value != "s"), "no secret in the file");
        }
    }

    #[test]
    fn every_key_is_one_that_the_destination_has() {
        for kind in KINDS {
            let fields: Vec<(&str, &str)> =
                kind.fields.iter().map(|field| (field.id, if field.is_flag { YES } else { "x" })).collect();
            let configured = configured(&location(kind.id, &fields)).map_err(|wrong| format!("{wrong:?}")).unwrap();
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
        let Err(wrong) = configured(&location("s3", &[("bucket", "b")])) else { panic!("refused") };
        let wrong: Vec<(&str, &str)> = wrong.iter().map(|(field, why)| (field.as_str(), why.as_str())).collect();
        assert_eq!(
            wrong,
            [("access_key_id", "Access key ID is missing"), ("secret_access_key", "Secret access key is missing")]
        );
    }
}
