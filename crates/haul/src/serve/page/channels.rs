//! Who is told, and the MQTT broker, from the page: what is asked, what the configuration file says then, and whether it
//! works. The parser of the file says what is wrong.

use std::{collections::BTreeMap, path::Path, sync::mpsc, time::Duration};

use keeper::{notices::Notice, status::Failure as Reason};
use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use store::Cancellation;
use web::backend::{ChannelSettings, ConfiguredChannel, Filled, FormKind, Invalid};
use zeroize::Zeroizing;

use super::{
    kinds::{self, Field, field, optional, secret},
    setup::{Held, receiver},
    typed::{each_invalid, invalid, of, typed},
    written::Written,
};
use crate::{
    config::{CHANNEL_KEYS, MQTT_KEYS, beside, edit::Draft},
    in_app::is_app,
    notify::{Channel, Way},
    serve::mqtt,
};

const NOTIFY: &str = "notify";
const MQTT: &str = "mqtt";
const EMAIL: &str = "email";
const HOME_ASSISTANT: &str = "home_assistant";
/// Fields whose content is kept in a file, and the keys that name it.
const SECRETS: &[(&str, &str)] = &[("token", "token_file"), ("password", "password_file")];
/// Keys that say where something is sent, and with it a secret.
const ADDRESSES: &[&str] = &["ntfy", "webhook", "home_assistant", "smtp", "url"];
/// Somebody waits at a form. A command of the user's own may take as long as it may otherwise.
const SOON: Duration = Duration::from_secs(10);
const COMMAND_TIME: Duration = Duration::from_secs(35);

/// A way to reach somebody, by its key in the configuration file.
struct Kind {
    id: &'static str,
    label: &'static str,
    about: &'static str,
    fields: &'static [Field],
}

const TOKEN: Field = secret(field("token", "Access token", "Only if the address asks for one.", ""));

const SERVICE: Field = optional(field(
    "service",
    "Service",
    "Empty: a notification, which disappears when the problem is over.",
    "notify.mobile_app_phone",
));

const KINDS: &[Kind] = &[
    Kind {
        id: Channel::SUPERVISOR,
        label: "This Home Assistant",
        about: "A notification here, or a message by its app on your phone.",
        fields: &[SERVICE],
    },
    Kind {
        id: "ntfy",
        label: "ntfy",
        about: "A message on your phone, by ntfy.sh or a server of your own.",
        fields: &[
            field(
                "ntfy",
                "Address of the topic",
                "Whoever knows the topic of a public server can read along, so let nobody guess it.",
                "https://ntfy.sh/my-backups-7f3kq",
            ),
            optional(TOKEN),
        ],
    },
    Kind {
        id: HOME_ASSISTANT,
        label: "Home Assistant at an address",
        about: "A notification there, or a message by its app on your phone.",
        fields: &[
            field("home_assistant", "Address", "As your browser shows it.", "http://192.168.1.10:8123"),
            secret(field(
                "token",
                "Long-lived access token",
                "You make one there, in your profile under Security.",
                "eyJ0eXAi…",
            )),
            SERVICE,
        ],
    },
    Kind {
        id: EMAIL,
        label: "E-mail",
        about: "Through the mail server of your provider.",
        fields: &[
            field(EMAIL, "To", "Several with commas between them.", "me@example.net"),
            field(
                "smtp",
                "Mail server",
                "smtps:// speaks TLS at once (port 465), smtp:// asks for it (port 587).",
                "smtps://mail.example.net",
            ),
            optional(field("user", "User", "Often your address.", "me@example.net")),
            optional(secret(field("password", "Password", "Best one for this alone, if your provider has them.", ""))),
            optional(field("from", "From", "Empty: the user, or the first receiver.", "haul@example.net")),
        ],
    },
    Kind {
        id: "webhook",
        label: "Webhook",
        about: "A JSON document is posted to an address.",
        fields: &[field("webhook", "Address", "", "https://example.net/hook"), optional(TOKEN)],
    },
    Kind {
        id: "ping",
        label: "Ping",
        about: "An address that is called when a backup begins and ends, as healthchecks.io offers. It also notices when \
                Haul itself is gone.",
        fields: &[field("ping", "Address", "", "https://hc-ping.com/5f0c…")],
    },
    Kind {
        id: ChannelSettings::COMMAND,
        label: "A command",
        about: "Haul runs it by a shell, with all rights that it has itself.",
        fields: &[field(
            ChannelSettings::COMMAND,
            "Command",
            "It gets the message in $HAUL_TITLE and $HAUL_MESSAGE, and as JSON on its standard input.",
            "notify-send \"$HAUL_TITLE\" \"$HAUL_MESSAGE\"",
        )],
    },
];

const BROKER: Kind = Kind {
    id: MQTT,
    label: "MQTT broker",
    about: "Usually the one that Home Assistant uses already.",
    fields: &[
        field("url", "Address", "mqtts:// speaks TLS.", "mqtt://192.168.1.10"),
        optional(field("username", "User", "", "haul")),
        optional(secret(field("password", "Password", "", ""))),
        optional(field(
            "ca_file",
            "Certificate",
            "A file on this machine (PEM) that vouches for a broker of your own.",
            "/etc/haul/ca.pem",
        )),
        optional(field("topic", "Topic", "What Haul's topics begin with.", "haul")),
        optional(field(
            "discovery_prefix",
            "Discovery prefix",
            "As in Home Assistant's MQTT settings.",
            "homeassistant",
        )),
    ],
};

impl Kind {
    fn offered(&self) -> FormKind {
        FormKind {
            id: self.id.to_owned(),
            label: self.label.to_owned(),
            about: self.about.to_owned(),
            fields: kinds::shown(self.fields),
            signs_in: false,
        }
    }

    fn has(&self, id: &str) -> bool {
        self.fields.iter().any(|field| field.id == id)
    }
}

/// What a channel can be.
pub(super) fn kinds() -> Vec<FormKind> {
    let is_there = |kind: &&Kind| kind.id != Channel::SUPERVISOR || is_app();
    KINDS.iter().filter(is_there).map(Kind::offered).collect()
}

/// What has to be known of a broker.
pub(super) fn broker_kind() -> FormKind {
    BROKER.offered()
}

/// The key that says what a field asks for.
fn key_of(id: &str) -> &str {
    SECRETS.iter().find(|(known, _)| *known == id).map_or(id, |(_, key)| key)
}

/// The field that asks for a key.
fn id_of(key: &str) -> &str {
    SECRETS.iter().find(|(_, known)| *known == key).map_or(key, |(id, _)| id)
}

type Texts = Vec<(String, Vec<String>)>;

/// What a table of the configuration file is to say.
struct Entry<'a> {
    /// Where it is.
    table: Vec<&'a str>,
    /// All keys that it may have.
    keys: &'static [&'static str],
    kind: &'static Kind,
    filled: &'a Filled,
    /// What is said besides how it is reached.
    more: Texts,
}

/// A secret that was typed, or the path of one that stays.
enum Secret {
    Typed(Zeroizing<String>),
    Kept(String),
}

/// Keeps a secret that was typed, and gives its path.
type Keep<'k> = dyn FnMut(&Draft, &str, &str) -> Result<String, Invalid> + 'k;

impl<'a> Entry<'a> {
    fn channel(name: &'a str, settings: &'a ChannelSettings) -> Result<Self, Invalid> {
        let kind = KINDS.iter().find(|kind| kind.id == settings.way.kind);
        let kind = kind.ok_or_else(|| invalid("kind", "choose one of the kinds", None))?;
        let said = [("on", settings.on.as_slice()), ("jobs", &settings.jobs), ("after", settings.after.as_slice())];
        let more = said.into_iter().filter(|(_, texts)| !texts.is_empty());
        let more = more.map(|(key, texts)| (key.to_owned(), texts.to_vec())).collect();
        Ok(Self { table: vec![NOTIFY, name], keys: CHANNEL_KEYS, kind, filled: &settings.way, more })
    }

    fn broker(filled: &'a Filled) -> Self {
        Self { table: vec![MQTT], keys: MQTT_KEYS, kind: &BROKER, filled, more: Vec::new() }
    }

    /// What files with its secrets are called after.
    fn owner(&self) -> String {
        self.table.join("-")
    }

    fn answer(&self, id: &str) -> Option<String> {
        typed(self.filled, id).map(|text| text.to_string())
    }

    /// All but the secrets.
    fn settings(&self) -> Texts {
        let one = |id: &str| self.answer(id).map(|text| (id.to_owned(), vec![text]));
        let own: Texts = match self.kind.id {
            Channel::SUPERVISOR => {
                let here = (HOME_ASSISTANT.to_owned(), vec![Channel::SUPERVISOR.to_owned()]);
                [here].into_iter().chain(one("service")).collect()
            }
            EMAIL => {
                let to = self.answer(EMAIL).unwrap_or_default();
                let to = to.split(',').map(|to| to.trim().to_owned()).filter(|to| !to.is_empty()).collect();
                let smtp = self.answer("smtp").map(|server| smtp(&server, self.answer("user").as_deref()));
                let smtp = smtp.map(|smtp| ("smtp".to_owned(), vec![smtp]));
                [(EMAIL.to_owned(), to)].into_iter().chain(smtp).chain(one("from")).collect()
            }
            MQTT => {
                let url = self.answer("url").map(|url| if url.contains("://") { url } else { format!("mqtt://{url}") });
                let others = ["username", "ca_file", "topic", "discovery_prefix"].into_iter().filter_map(one);
                url.map(|url| ("url".to_owned(), vec![url])).into_iter().chain(others).collect()
            }
            _ => self.kind.fields.iter().filter(|field| !field.is_secret).filter_map(|field| one(field.id)).collect(),
        };
        own.into_iter().filter(|(_, texts)| !texts.is_empty()).chain(self.more.iter().cloned()).collect()
    }

    /// Its secrets, by key. What logs in nobody is not kept.
    fn secrets(&self, draft: &Draft) -> Vec<(&'static str, Secret)> {
        let is_of_user = |id: &str| id == "password";
        let has_user = self.answer("user").or_else(|| self.answer("username")).is_some();
        let secret = |(id, key): &(&'static str, &'static str)| {
            if !self.kind.has(id) {
                return None;
            }
            if let Some(text) = typed(self.filled, id) {
                return Some((*key, Secret::Typed(text)));
            }
            let kept = self.before(draft).into_iter().find(|(known, _)| known == key)?.1.into_iter().next()?;
            (has_user || !is_of_user(id)).then_some((*key, Secret::Kept(kept)))
        };
        SECRETS.iter().filter_map(secret).collect()
    }

    /// What the file says of what keeps its secrets.
    fn before(&self, draft: &Draft) -> Texts {
        match &self.filled.keeps {
            Some(name) if self.table[0] == NOTIFY => draft.table(&[NOTIFY, name]),
            Some(_) => draft.table(&[MQTT]),
            None => Vec::new(),
        }
    }

    fn mistakes(&self, draft: &Draft) -> Vec<Invalid> {
        let mut wrong = each_invalid(kinds::mistakes(self.kind.fields, self.filled));
        let (settings, secrets) = (self.settings(), self.secrets(draft));
        if self.kind.id == EMAIL {
            let has_password = !secrets.is_empty();
            match self.answer("user") {
                Some(_) if !has_password => {
                    wrong.push(invalid("password", "the password of this user is missing", None));
                }
                None if has_password => wrong.push(invalid("user", "whose password is this?", None)),
                _ => {}
            }
        }
        let mut all: Texts = settings.iter().filter(|(key, _)| key != "jobs").cloned().collect();
        // Whose file it is does not matter here.
        all.extend(secrets.iter().map(|(key, _)| ((*key).to_owned(), vec!["file".to_owned()])));
        if self.kind.id == EMAIL && !wrong.is_empty() {
            // Whether user and password go together was judged already.
            all.retain(|(key, _)| !matches!(key.as_str(), "smtp" | "password_file"));
            all.extend(self.answer("smtp").map(|server| ("smtp".to_owned(), vec![smtp(&server, None)])));
        }
        // The rest is judged as if what is missing were there.
        let missing = wrong.iter().filter_map(|wrong| beside::stand_in(key_of(wrong.field.as_deref()?)));
        let missing = missing.filter(|(key, _)| all.iter().all(|(known, _)| known != key));
        all.extend(missing.collect::<Texts>());
        let is_known = |wrong: &[Invalid], field: Option<&str>| {
            wrong.iter().any(|known| field.is_none() || known.field.as_deref() == field)
        };
        let label = |key: &str| self.kind.fields.iter().find(|field| field.id == id_of(key)).map(|field| field.label);
        for (key, mut failure) in beside::mistakes(&self.table, &all) {
            let field = key.map(|key| id_of(&key).to_owned());
            if !is_known(&wrong, field.as_deref()) {
                failure.message = beside::in_form(&failure.message, label);
                failure.hint = failure.hint.map(|hint| beside::in_form(&hint, label));
                wrong.push(Invalid { field, ..of(&failure) });
            }
        }
        for job in self.more.iter().filter(|(key, _)| key == "jobs").flat_map(|(_, jobs)| jobs) {
            if draft.config().jobs().iter().all(|known| known.name != *job) {
                wrong.push(invalid("jobs", format!("there is no automatic backup {job:?} any more"), None));
            }
        }
        if wrong.is_empty() {
            wrong.extend(self.secrets_stay(draft, &settings, &secrets));
        }
        wrong
    }

    /// A secret that nobody typed again is not sent to another host than before.
    fn secrets_stay(&self, draft: &Draft, settings: &Texts, secrets: &[(&str, Secret)]) -> Option<Invalid> {
        let host = |texts: &Texts| {
            let address = texts.iter().find(|(key, _)| ADDRESSES.contains(&key.as_str()));
            address.and_then(|(_, texts)| texts.first()).and_then(|address| receiver(address, None))
        };
        let (key, _) = secrets.iter().find(|(_, secret)| matches!(secret, Secret::Kept(_)))?;
        let (id, _) = SECRETS.iter().find(|(_, known)| known == key)?;
        let hint = "enter it again if it is to be sent there";
        let before = host(&self.before(draft));
        (before.is_none() || before != host(settings))
            .then(|| invalid(id, "this was kept for another host", Some(hint)))
    }

    /// Writes it into the draft. Returns the paths of secrets that are of no more use.
    fn write(&self, draft: &mut Draft, keep: &mut Keep<'_>) -> Result<Vec<String>, Invalid> {
        let before = draft.table(&self.table);
        let mut settings = self.settings();
        if let Some(smtp) = self.same_smtp(draft) {
            settings.iter_mut().filter(|(key, _)| key == "smtp").for_each(|(_, texts)| texts.clone_from(&smtp));
        }
        for (key, secret) in self.secrets(draft) {
            let path = match secret {
                Secret::Typed(text) => keep(draft, key, &text)?,
                Secret::Kept(path) => path,
            };
            settings.push((key.to_owned(), vec![path]));
        }
        draft.set_table(&self.table, &settings, self.keys);
        let is_secret = |key: &str| SECRETS.iter().any(|(_, known)| *known == key);
        let gone = before.into_iter().filter(|entry| is_secret(&entry.0) && !settings.contains(entry));
        Ok(gone.filter_map(|(_, paths)| paths.into_iter().next()).collect())
    }

    /// The mail server as it is written, if it means what was filled in: a user can be written in many ways.
    fn same_smtp(&self, draft: &Draft) -> Option<Vec<String>> {
        let before = self.before(draft);
        let shown = answers(self.kind, &before);
        let is_same = |id: &str| shown.get(id).cloned() == self.answer(id);
        let (_, texts) = before.into_iter().find(|(key, _)| key == "smtp")?;
        (is_same("smtp") && is_same("user")).then_some(texts)
    }

    fn set(&self, draft: &mut Draft, written: &mut Written) -> Result<(), Vec<Invalid>> {
        let owner = self.owner();
        let gone = self.write(draft, &mut |draft, key, secret| written.keep_secret(draft, &owner, key, secret))?;
        for path in &gone {
            written.drop_secret(draft, &owner, path);
        }
        Ok(())
    }
}

fn smtp(server: &str, user: Option<&str>) -> String {
    let (scheme, host) = server.split_once("://").unwrap_or_else(|| {
        (if server.ends_with(":587") || server.ends_with(":25") { "smtp" } else { "smtps" }, server)
    });
    let user = user.map(|user| format!("{}@", utf8_percent_encode(user, NON_ALPHANUMERIC)));
    format!("{scheme}://{}{host}", user.unwrap_or_default())
}

/// What is wrong with a channel, as far as nobody has to be asked.
pub(super) fn mistakes(draft: &Draft, settings: &ChannelSettings) -> Vec<Invalid> {
    let name = settings.way.keeps.as_deref().unwrap_or("new");
    Entry::channel(name, settings).map_or_else(Vec::from, |entry| entry.mistakes(draft))
}

/// The same of a broker.
pub(super) fn broker_mistakes(draft: &Draft, broker: &Filled) -> Vec<Invalid> {
    Entry::broker(broker).mistakes(draft)
}

/// Writes a channel into the draft.
pub(super) fn set(
    draft: &mut Draft,
    name: &str,
    settings: &ChannelSettings,
    written: &mut Written,
) -> Result<(), Vec<Invalid>> {
    Entry::channel(name, settings)?.set(draft, written)
}

/// Writes the broker into the draft.
pub(super) fn set_broker(draft: &mut Draft, broker: &Filled, written: &mut Written) -> Result<(), Vec<Invalid>> {
    Entry::broker(broker).set(draft, written)
}

/// Removes a channel, and its secrets if they are ours.
pub(super) fn remove(draft: &mut Draft, name: &str, written: &mut Written) {
    remove_table(draft, &[NOTIFY, name], written);
}

/// The same of the broker.
pub(super) fn remove_broker(draft: &mut Draft, written: &mut Written) {
    remove_table(draft, &[MQTT], written);
}

fn remove_table(draft: &mut Draft, table: &[&str], written: &mut Written) {
    let before = draft.table(table).into_iter();
    for (_, paths) in before.filter(|(key, _)| SECRETS.iter().any(|(_, known)| known == key)) {
        for path in &paths {
            written.drop_secret(draft, &table.join("-"), path);
        }
    }
    draft.remove_table(table);
}

/// A channel as its form shows it.
pub(super) fn configured(draft: &Draft, name: &str) -> ConfiguredChannel {
    let table = draft.table(&[NOTIFY, name]);
    let texts =
        |key: &str| table.iter().find(|(known, _)| known == key).map(|(_, texts)| texts.clone()).unwrap_or_default();
    let one = |key: &str| texts(key).into_iter().next();
    // A form has one line for it.
    let fits =
        |kind: &&Kind| table.iter().any(|(key, texts)| key == kind.id && texts.iter().all(|t| !t.contains('\n')));
    let is_built_in = name == Channel::HERE && is_app();
    let is_here = one(HOME_ASSISTANT).map_or(is_built_in && table.is_empty(), |at| at == Channel::SUPERVISOR);
    let kind = KINDS.iter().find(|kind| if is_here { kind.id == Channel::SUPERVISOR } else { fits(kind) });
    ConfiguredChannel {
        name: name.to_owned(),
        built_in: is_built_in,
        kind: kind.map(|kind| kind.id.to_owned()),
        fields: kind.map(|kind| answers(kind, &table)).unwrap_or_default(),
        on: one("on"),
        jobs: texts("jobs"),
        after: one("after"),
    }
}

/// Whether the file says nothing of a channel that is there all the same.
pub(super) fn is_only_built_in(draft: &Draft, name: &str) -> bool {
    name == Channel::HERE && is_app() && draft.table(&[NOTIFY, name]).is_empty()
}

/// The broker as its form shows it.
pub(super) fn broker(draft: &Draft) -> BTreeMap<String, String> {
    answers(&BROKER, &draft.table(&[MQTT]))
}

/// What would have to be filled in to get this, without secrets.
fn answers(kind: &Kind, table: &Texts) -> BTreeMap<String, String> {
    let mut answers: BTreeMap<String, String> = table
        .iter()
        .filter(|(key, _)| kind.fields.iter().any(|field| field.id == key && !field.is_secret))
        .map(|(key, texts)| (key.clone(), texts.join(", ")))
        .collect();
    if let Some(url) = answers.get("smtp").and_then(|smtp| url::Url::parse(smtp).ok())
        && !url.username().is_empty()
    {
        let user = percent_decode_str(url.username()).decode_utf8_lossy().into_owned();
        let mut server = url;
        let _ = server.set_username("");
        answers.insert("smtp".to_owned(), server.to_string());
        answers.insert("user".to_owned(), user);
    }
    answers
}

/// Sends a test message as the channel would send others.
pub(super) fn try_out(
    path: &Path,
    settings: &ChannelSettings,
    cancel: &Cancellation,
) -> Result<Vec<String>, Vec<Invalid>> {
    let mut draft = Draft::open(path).map_err(|failure| of(&failure))?;
    let wrong = mistakes(&draft, settings);
    if !wrong.is_empty() {
        return Err(wrong);
    }
    let name = settings.way.keeps.as_deref().unwrap_or("new");
    let entry = Entry::channel(name, settings)?;
    let mut held = None;
    entry.write(&mut draft, &mut |_, key, secret| Held::put(&mut held, key, secret).map(|path| shown(&path)))?;
    let config = draft.preview().map_err(|failure| of(&failure))?;
    let channel = config.channels().iter().find(|channel| channel.wants.name == name).cloned();
    let channel = channel.ok_or_else(|| invalid("kind", "choose one of the kinds", None))?;
    tell(channel, cancel).map_err(|failure| {
        let is_token = failure.hint.as_ref().is_some_and(|hint| hint.contains("token")) && entry.kind.has("token");
        let field = match entry.kind.id {
            _ if is_token => "token",
            EMAIL => "smtp",
            id => id,
        };
        Invalid { field: Some(field.to_owned()), failure, offer: None }
    })?;
    Ok(vec!["a test message was sent; look whether it arrived".to_owned()])
}

fn shown(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// Whoever does not answer is not waited for longer than somebody looks at a form.
fn tell(channel: Channel, cancel: &Cancellation) -> Result<(), Reason> {
    let within = if matches!(channel.way, Way::Command(_)) { COMMAND_TIME } else { SOON };
    let (tell, told) = mpsc::channel();
    let own = cancel.clone();
    let thread = std::thread::Builder::new().name("haul-notify".to_owned());
    let reason = |message: String, hint: &str| Reason { message, hint: Some(hint.to_owned()), passes: true };
    let started = thread.spawn(move || {
        let _ = tell.send(channel.tell(&Notice::Test, &own));
    });
    started.map_err(|error| {
        let why = format!("can't start a thread: {}", engine::plain_reason(&error));
        reason(why, "the machine may be short of memory, or too many programs run")
    })?;
    told.recv_timeout(within).unwrap_or_else(|_| {
        cancel.cancel();
        Err(reason(format!("it did not answer within {} s", within.as_secs()), "check the address"))
    })
}

/// Connects to the broker as the service would.
pub(super) fn try_broker(path: &Path, broker: &Filled, cancel: &Cancellation) -> Result<Vec<String>, Vec<Invalid>> {
    let mut draft = Draft::open(path).map_err(|failure| of(&failure))?;
    let wrong = broker_mistakes(&draft, broker);
    if !wrong.is_empty() {
        return Err(wrong);
    }
    let mut held = None;
    Entry::broker(broker)
        .write(&mut draft, &mut |_, key, secret| Held::put(&mut held, key, secret).map(|path| shown(&path)))?;
    let config = draft.preview().map_err(|failure| of(&failure))?;
    let settings = config.mqtt().ok_or_else(|| invalid("url", "Address is missing", None))?;
    let trying = cancel.unless_cancelled(tokio::time::timeout(SOON, mqtt::try_out(settings)));
    let tried = tokio::runtime::Handle::current().block_on(trying);
    let late = || Err(format!("does not answer within {} s", SOON.as_secs()));
    let tried = tried.and_then(Result::ok).unwrap_or_else(late);
    tried.map_err(|why| {
        let field = match () {
            () if why.contains("without a login") => "username",
            () if why.contains("refuses the login") || why.contains("the password file") => "password",
            () if why.contains("not trusted") => "ca_file",
            () => "url",
        };
        invalid(field, format!("the broker at {} {why}", settings.address()), None).into()
    })
}

#[cfg(test)]
mod tests;
