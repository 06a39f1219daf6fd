//! `[notify.NAME]` of `haul.toml`: who is told when something changes.

use std::path::PathBuf;

use keeper::{
    job::Job,
    notices::{self, Wanted},
};
use lettre::{Address, message::Mailbox};
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};
use url::Url;

use super::File;
use crate::{
    failure::Failure,
    notify::{Channel, Mail, Site, USUAL_PATIENCE, Way},
    units::duration,
};

/// Keys that say how a channel is reached; each has one of them.
const WAYS: &[&str] = &["ntfy", "webhook", "home_assistant", "email", "command", "ping"];
pub(crate) const KEYS: &[&str] = &[
    "ntfy",
    "webhook",
    "home_assistant",
    "email",
    "command",
    "ping",
    "on",
    "jobs",
    "after",
    "token_file",
    "service",
    "smtp",
    "from",
    "password_file",
];
const SUBMISSION: u16 = 587;
const SUBMISSIONS: u16 = 465;

type Value<'i> = Spanned<DeValue<'i>>;

impl File<'_> {
    /// All channels, once the jobs are known.
    pub(super) fn channels(&self, table: &DeTable<'_>, jobs: &[Job]) -> Result<Vec<Channel>, Failure> {
        let mut channels = Vec::new();
        for (name, value) in table {
            channels.push(self.channel(name.get_ref().as_ref(), value, jobs)?);
        }
        channels.sort_by(|a, b| a.wants.name.cmp(&b.wants.name));
        Ok(channels)
    }

    fn channel(&self, name: &str, value: &Value<'_>, jobs: &[Job]) -> Result<Channel, Failure> {
        let table = self.table(&format!("notify.{name}"), value)?;
        let mut wants = notices::Channel {
            name: name.to_owned(),
            wanted: Wanted::Problems,
            jobs: Vec::new(),
            after: USUAL_PATIENCE,
            takes_back: false,
        };
        for (key, value) in table {
            let key_name = key.get_ref().as_ref();
            let wrong = |reason: String| self.wrong(value.span().start, format!("{key_name}: {reason}"));
            match key_name {
                "on" => {
                    wants.wanted = match self.scalar(key_name, value)?.as_str() {
                        "nothing" => Wanted::Nothing,
                        "errors" => Wanted::Errors,
                        "problems" => Wanted::Problems,
                        "backups" => Wanted::Backups,
                        "everything" => Wanted::Everything,
                        other => {
                            let known = "nothing, errors, problems, backups, everything";
                            return Err(wrong(format!("{other:?} is not one of {known}")));
                        }
                    }
                }
                "after" => wants.after = duration(&self.scalar(key_name, value)?).map_err(wrong)?,
                "jobs" => {
                    for (job, at) in self.several(key_name, value)? {
                        if !jobs.iter().any(|known| known.name == job) {
                            return Err(self.unknown(at, "job", &job, jobs.iter().map(|known| known.name.as_str())));
                        }
                        wants.jobs.push(job);
                    }
                }
                _ if KEYS.contains(&key_name) => {}
                _ => return Err(self.unknown(key.span().start, "key", key_name, KEYS.iter().copied())),
            }
        }
        let ways: Vec<&str> = WAYS.iter().copied().filter(|way| table.get(*way).is_some()).collect();
        let at = value.span().start;
        let [way] = ways[..] else {
            let message = if ways.is_empty() {
                format!("[notify.{name}] does not say how it is reached")
            } else {
                format!("[notify.{name}] has {}; a channel has one of them", ways.join(" and "))
            };
            return Err(self.wrong(at, message).hint(format!("give one of {}", WAYS.join(", "))));
        };
        let belongs: &[&str] = match way {
            "ntfy" | "webhook" => &["token_file"],
            "home_assistant" => &["token_file", "service"],
            "email" => &["smtp", "from", "password_file"],
            _ => &[],
        };
        let common = ["on", "jobs", "after"];
        for (key, _) in table {
            let key_name = key.get_ref().as_ref();
            if key_name != way && !belongs.contains(&key_name) && !common.contains(&key_name) {
                let message = format!("{key_name} does not belong to a channel with {way}");
                return Err(self.wrong(key.span().start, message));
            }
        }
        let way = match way {
            "ntfy" => Way::Ntfy(self.site(name, table, way)?),
            "webhook" => Way::Webhook(self.site(name, table, way)?),
            "ping" => Way::Ping(self.site(name, table, way)?),
            "command" => Way::Command(self.given(table, way)?.unwrap_or_default()),
            "email" => Way::Email(self.mail(name, at, table)?),
            _ if self.given(table, way)?.as_deref() == Some(Channel::SUPERVISOR) => {
                if let Some(value) = table.get("token_file") {
                    let message = "token_file: Supervisor needs no token";
                    return Err(self.wrong(value.span().start, message).hint("leave it out"));
                }
                Way::Here { service: self.service(table)? }
            }
            _ => {
                let site = self.site(name, table, way)?;
                if site.token_file.is_none() {
                    return Err(self.wrong(at, format!("[notify.{name}] has no token_file")).hint(
                        "make a long-lived token on the Security tab of your profile in Home Assistant, and write \
                         it into a file",
                    ));
                }
                Way::HomeAssistant { site, service: self.service(table)? }
            }
        };
        wants.takes_back = matches!(&way, Way::HomeAssistant { service: None, .. } | Way::Here { service: None });
        Ok(Channel { wants, way })
    }

    fn given(&self, table: &DeTable<'_>, key: &str) -> Result<Option<String>, Failure> {
        table.get(key).map(|value| self.scalar(key, value)).transpose()
    }

    fn path(&self, table: &DeTable<'_>, key: &str) -> Result<Option<PathBuf>, Failure> {
        Ok(self.given(table, key)?.map(|path| PathBuf::from(self.resolved(&path))))
    }

    fn url(&self, table: &DeTable<'_>, key: &str, schemes: &[&str]) -> Result<Option<Url>, Failure> {
        let Some(value) = table.get(key) else { return Ok(None) };
        let text = self.scalar(key, value)?;
        let wrong = |what: String| self.wrong(value.span().start, format!("{key}: {what}"));
        let url = Url::parse(&text).map_err(|error| wrong(format!("this is no address: {error}")))?;
        if !schemes.contains(&url.scheme()) || url.host_str().is_none_or(str::is_empty) {
            return Err(wrong(format!("an address begins with {}", schemes.join(":// or ") + "://")));
        }
        if url.password().is_some() {
            let wrong = wrong("a password does not belong into an address".to_owned());
            return Err(match key {
                "ping" => wrong,
                "smtp" => wrong.hint("use password_file for that"),
                _ => wrong.hint("use token_file for that"),
            });
        }
        Ok(Some(url))
    }

    fn site(&self, name: &str, table: &DeTable<'_>, way: &str) -> Result<Site, Failure> {
        let at = table.get(way).map_or(0, |value| value.span().start);
        let missing = || self.wrong(at, format!("[notify.{name}] has no address"));
        let url = self.url(table, way, &["https", "http"])?.ok_or_else(missing)?;
        if way == "ntfy" && url.path().trim_matches('/').is_empty() {
            return Err(self
                .wrong(at, "ntfy: the address names no topic")
                .hint("it ends with the topic, for example https://ntfy.example.net/my-backups"));
        }
        Ok(Site { url, token_file: self.path(table, "token_file")? })
    }

    /// `notify.mobile_app_phone`
    fn service(&self, table: &DeTable<'_>) -> Result<Option<String>, Failure> {
        let Some(service) = self.given(table, "service")? else { return Ok(None) };
        let is_name = |part: &str| !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        if service.split_once('.').is_some_and(|(domain, name)| is_name(domain) && is_name(name)) {
            return Ok(Some(service));
        }
        let at = table.get("service").map_or(0, |value| value.span().start);
        Err(self
            .wrong(at, format!("service: {service:?} is no service of Home Assistant"))
            .hint("for example: service = \"notify.mobile_app_phone\""))
    }

    fn mail(&self, name: &str, at: usize, table: &DeTable<'_>) -> Result<Mail, Failure> {
        let Some(smtp) = self.url(table, "smtp", &["smtps", "smtp"])? else {
            return Err(self
                .wrong(at, format!("[notify.{name}] has no smtp"))
                .hint("for example: smtp = \"smtps://me%40example.net@mail.example.net\""));
        };
        let user = Some(smtp.username()).filter(|user| !user.is_empty());
        let user = user.map(|user| percent_encoding::percent_decode_str(user).decode_utf8_lossy().into_owned());
        let password_file = self.path(table, "password_file")?;
        let smtp_at = table.get("smtp").map_or(at, |value| value.span().start);
        if user.is_some() != password_file.is_some() {
            let message = "smtp with a user needs password_file, and password_file needs a user in smtp";
            return Err(self.wrong(smtp_at, message).hint("for example: smtp = \"smtps://me@mail.example.net\""));
        }
        if smtp.query().is_some() || smtp.fragment().is_some() || !matches!(smtp.path(), "" | "/") {
            return Err(self
                .wrong(smtp_at, "smtp: nothing may follow the host and port of a mail server")
                .hint("for example: smtp = \"smtps://me%40example.net@mail.example.net\""));
        }
        let host = smtp.host_str().unwrap_or_default().to_owned();
        let to = table.get("email").map(|value| self.several("email", value)).transpose()?.unwrap_or_default();
        let to = to
            .into_iter()
            .map(|(text, at)| self.mailbox("email", &text, at))
            .collect::<Result<Vec<Mailbox>, Failure>>()?;
        let from = if let Some(value) = table.get("from") {
            self.mailbox("from", &self.scalar("from", value)?, value.span().start)?
        } else {
            let own = user.as_deref().filter(|user| user.contains('@')).map(str::to_owned);
            let from = own.or_else(|| to.first().map(|to| to.email.to_string())).unwrap_or_default();
            self.mailbox("from", &from, smtp_at)?
        };
        let tls = smtp.scheme() == "smtps";
        let port = smtp.port().unwrap_or(if tls { SUBMISSIONS } else { SUBMISSION });
        Ok(Mail { to, from, server: (host, port), tls, user, password_file })
    }

    fn mailbox(&self, key: &str, text: &str, at: usize) -> Result<Mailbox, Failure> {
        let address = text.parse::<Mailbox>().or_else(|_| text.parse::<Address>().map(|only| Mailbox::new(None, only)));
        address.map_err(|_| {
            self.wrong(at, format!("{key}: {text:?} is no e-mail address")).hint("for example: me@example.net")
        })
    }
}
