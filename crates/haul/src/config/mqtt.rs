//! `[mqtt]` of `haul.toml`: the broker by which Home Assistant learns of backups.

use std::path::PathBuf;

use toml::{Spanned, de::DeValue};
use url::Url;

use super::File;
use crate::failure::Failure;

pub(crate) const KEYS: &[&str] = &["url", "username", "password_file", "ca_file", "discovery_prefix", "topic"];
const EXAMPLE: &str = "for example: url = \"mqtt://192.168.1.10\"";
const PORT: u16 = 1883;
const PORT_WITH_TLS: u16 = 8883;
/// No topic of ours gets near MQTT's limit.
const LONGEST_TOPIC: usize = 200;

/// A broker, and where at it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mqtt {
    /// As [`Url`] writes it, without the brackets of an IPv6 address.
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) tls: bool,
    pub(crate) username: Option<String>,
    pub(crate) password_file: Option<PathBuf>,
    /// Who vouches for the broker, if not one of this machine's authorities.
    pub(crate) ca_file: Option<PathBuf>,
    /// Where Home Assistant looks for entities.
    pub(crate) discovery_prefix: String,
    /// What all topics of this service begin with.
    pub(crate) topic: String,
}

impl Mqtt {
    /// One at this address, with topics as usual.
    pub(crate) fn at(host: String, port: u16, tls: bool) -> Self {
        Self {
            host,
            port,
            tls,
            username: None,
            password_file: None,
            ca_file: None,
            discovery_prefix: "homeassistant".to_owned(),
            topic: "haul".to_owned(),
        }
    }

    /// `host:port`, for messages.
    pub(crate) fn address(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

impl File<'_> {
    pub(super) fn mqtt(&self, value: &Spanned<DeValue<'_>>) -> Result<Mqtt, Failure> {
        let table = self.table("mqtt", value)?;
        let Some(url) = table.get("url") else {
            return Err(self.missing(table, "url", value.span().start, "[mqtt]").hint(EXAMPLE));
        };
        let wrong_url = |what: &str| self.wrong(url.span().start, format!("url: {what}")).hint(EXAMPLE);
        let parsed = Url::parse(&self.scalar("url", url)?).map_err(|_| wrong_url("it is not an address"))?;
        let tls = match parsed.scheme() {
            "mqtt" => false,
            "mqtts" => true,
            _ => return Err(wrong_url("it must begin with mqtt:// or mqtts://")),
        };
        if !parsed.username().is_empty() || parsed.password().is_some() {
            return Err(self
                .wrong(url.span().start, "url: who logs in does not belong into the address")
                .hint("use username and password_file for that"));
        }
        let is_bare = matches!(parsed.path(), "" | "/") && parsed.query().is_none() && parsed.fragment().is_none();
        if !is_bare {
            return Err(wrong_url("nothing can follow the host and the port"));
        }
        let host = parsed.host_str().filter(|host| !host.is_empty()).ok_or_else(|| wrong_url("it names no host"))?;
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let mut mqtt = Mqtt::at(host, parsed.port().unwrap_or(if tls { PORT_WITH_TLS } else { PORT }), tls);
        for (key, value) in table {
            let name = key.get_ref().as_ref();
            let text = self.scalar(name, value)?;
            let wrong = |reason: &str| Err(self.wrong(value.span().start, format!("{name}: {reason}")));
            match name {
                "url" => {}
                "username" => mqtt.username = Some(text),
                "password_file" if !table.contains_key("username") => {
                    return wrong("MQTT knows no password without a user");
                }
                "password_file" => mqtt.password_file = Some(PathBuf::from(self.resolved(&text))),
                "ca_file" if !tls => return wrong("it applies only to mqtts://"),
                "ca_file" => mqtt.ca_file = Some(PathBuf::from(self.resolved(&text))),
                "discovery_prefix" | "topic" => {
                    if let Some(reason) = unusable(&text) {
                        return wrong(reason);
                    }
                    *(if name == "topic" { &mut mqtt.topic } else { &mut mqtt.discovery_prefix }) = text;
                }
                _ => return Err(self.unknown(key.span().start, "key", name, KEYS.iter().copied())),
            }
        }
        Ok(mqtt)
    }
}

/// Why topics can't begin with this.
fn unusable(topic: &str) -> Option<&'static str> {
    if topic.is_empty() {
        Some("it can't be empty")
    } else if topic.len() > LONGEST_TOPIC {
        Some("it is too long")
    } else if topic.contains(|c: char| matches!(c, '+' | '#') || c.is_control()) {
        Some("it can't contain +, # or control characters")
    } else if topic.starts_with(['$', '/']) || topic.ends_with('/') {
        Some("it can't begin with $ or /, or end with /")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use std::path::Path;

    use super::*;
    use crate::config::Config;

    fn parsed(text: &str) -> Result<Config, Failure> {
        Config::parse(Path::new("/etc/haul.toml"), text)
    }

    #[test]
    fn an_address_is_enough() {
        for (url, address, tls) in [
            ("mqtt://broker", "broker:1883", false),
            ("mqtts://broker", "broker:8883", true),
            ("mqtt://192.168.1.10:18830/", "192.168.1.10:18830", false),
            ("mqtt://[fd00::1]", "[fd00::1]:1883", false),
        ] {
            let config = parsed(&format!("[mqtt]\nurl = \"{url}\"")).unwrap();
            let mqtt = config.mqtt().unwrap();
            assert_eq!((mqtt.address().as_str(), mqtt.tls), (address, tls), "{url}");
            assert_eq!((mqtt.topic.as_str(), mqtt.discovery_prefix.as_str()), ("haul", "homeassistant"));
        }
        let all = "[mqtt]\nurl = \"mqtts://b\"\nusername = \"haul\"\npassword_file = \"secrets/mqtt\"\nca_file = \
                   \"/etc/ca.pem\"\ntopic = \"home/haul\"\ndiscovery_prefix = \"ha\"";
        let config = parsed(all).unwrap();
        let mqtt = config.mqtt().unwrap();
        assert_eq!(mqtt.password_file.as_deref(), Some(Path::new("/etc/secrets/mqtt")));
        assert_eq!((mqtt.topic.as_str(), mqtt.discovery_prefix.as_str()), ("home/haul", "ha"));
        assert!(parsed("").unwrap().mqtt().is_none());
    }

    #[test]
    fn every_mistake_names_its_key_and_line() {
        let cases = [
            ("\n[mqtt]\ntopic = \"x\"", "line 2: [mqtt] has no url"),
            ("[mqtt]\nurl = \"http://b\"", "line 2: url: it must begin with mqtt:// or mqtts://"),
            ("[mqtt]\nurl = \"b:1883\"", "line 2: url: it must begin with mqtt:// or mqtts://"),
            ("[mqtt]\nurl = \"b\"", "line 2: url: it is not an address"),
            ("[mqtt]\nurl = \"mqtt://\"", "line 2: url: it names no host"),
            ("[mqtt]\nurl = \"mqtt://b:99999\"", "line 2: url: it is not an address"),
            ("[mqtt]\nurl = \"mqtt://me:secret@b\"", "line 2: url: who logs in does not belong into the address"),
            ("[mqtt]\nurl = \"mqtt://b/x\"", "line 2: url: nothing can follow the host and the port"),
            (
                "[mqtt]\nurl = \"mqtt://b\"\npassword_file = \"p\"",
                "line 3: password_file: MQTT knows no password without a user",
            ),
            ("[mqtt]\nurl = \"mqtt://b\"\nca_file = \"p\"", "line 3: ca_file: it applies only to mqtts://"),
            ("[mqtt]\nurl = \"mqtt://b\"\ntopic = \"a/#\"", "line 3: topic: it can't contain +, # or control"),
            ("[mqtt]\nurl = \"mqtt://b\"\ntopic = \"\"", "line 3: topic: it can't be empty"),
            ("[mqtt]\nurl = \"mqtt://b\"\ntopic = \"/a\"", "line 3: topic: it can't begin with $ or /"),
            ("[mqtt]\nurl = \"mqtt://b\"\nuser = \"x\"", "line 3: there is no key \"user\""),
            (
                "[mqtt]\nurl = \"mqtt://b\"\npasword_file = \"x\"",
                "line 3: there is no key \"pasword_file\"; did you mean \"password_file\"?",
            ),
            ("[mqtt]\nurl = [1]", "line 2: url must be a string, a number, true or false"),
            ("mqtt = 5", "line 1: mqtt must be a table, like [mqtt]"),
        ];
        for (text, expected) in cases {
            let failure = parsed(text).unwrap_err();
            let message = failure.message.strip_prefix("/etc/haul.toml, ").unwrap();
            assert!(message.starts_with(expected), "{text}: {message}");
            assert!(!message.contains("secret@"), "{message}");
        }
    }
}
