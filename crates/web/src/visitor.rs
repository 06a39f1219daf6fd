//! Who asks, what they may do, and whether another site made their browser ask.

use std::net::{IpAddr, SocketAddr};

use http::{HeaderMap, Method, header};

use crate::auth::{Accounts, Scope, form_token};

/// How a connection is to be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Trust {
    /// Whoever comes has to log in.
    #[default]
    LogIn,
    /// Only this machine's user can connect: a Unix socket that nobody else can open.
    Local,
    /// Home Assistant has asked who it is, and passes on only its administrators' requests.
    Ingress,
}

/// Knows Home Assistant's users, for connections that are trusted as [`Trust::Ingress`].
pub trait Ingress: Send + Sync {
    /// Whether a request from there, on behalf of the user with this id, is let in. May ask Home Assistant and wait.
    fn admit(&self, peer: Option<IpAddr>, user: &str) -> Result<(), NotAdmitted>;
}

/// Why a request that came through Home Assistant, or claims so, is turned away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotAdmitted {
    /// It does not come from Home Assistant.
    Stranger,
    /// The user is no administrator.
    NotAdministrator,
    /// Home Assistant could not be asked, and why.
    Unknown(String),
}

/// The header by which Home Assistant says who asks; nobody else can set it.
pub(crate) const USER: &str = "x-remote-user-id";
/// The headers by which it says what they are called, the better one first.
const NAMES: [&str; 2] = ["x-remote-user-display-name", "x-remote-user-name"];
/// A longer name is cut off.
const LONGEST_NAME: usize = 100;

/// What Home Assistant calls its user who asks.
pub(crate) fn user_name(headers: &HeaderMap, trust: Trust) -> String {
    if trust != Trust::Ingress {
        return String::new();
    }
    let said = |header: &str| std::str::from_utf8(headers.get(header)?.as_bytes()).ok().map(str::trim);
    let name = NAMES.into_iter().filter_map(said).find(|name| !name.is_empty()).unwrap_or_default();
    name.chars().filter(|c| !c.is_control() && !engine::reorders(*c)).take(LONGEST_NAME).collect()
}

/// What is known of a request besides itself.
#[derive(Clone, Copy, Debug, Default)]
pub struct Visit {
    /// How its connection is to be trusted.
    pub trust: Trust,
    /// Where it comes from; nothing: a Unix socket.
    pub peer: Option<IpAddr>,
}

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Visitor {
    Nobody,
    /// A program with a token.
    Token(Scope),
    /// A browser; what its forms bring along, and the session's secret, if it has one.
    Browser {
        form: String,
        session: Option<String>,
    },
    /// The command line on this machine.
    Local,
}

pub(crate) const COOKIE: &str = "haul_session";
/// The field of every form, and the header for scripts.
pub(crate) const FORM_FIELD: &str = "csrf";
pub(crate) const FORM_HEADER: &str = "x-haul-csrf";

impl Visitor {
    /// Who it is. `process` is a secret of this process, for browsers that Home Assistant lets in.
    pub(crate) fn of(headers: &HeaderMap, trust: Trust, accounts: &Accounts, process: &str) -> Self {
        match trust {
            Trust::Local => return Self::Local,
            Trust::Ingress => return Self::Browser { form: form_token(process), session: None },
            Trust::LogIn => {}
        }
        let bearer = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        if let Some(secret) = bearer.and_then(|value| value.strip_prefix("Bearer ")) {
            return accounts.token(secret.trim()).map_or(Self::Nobody, Self::Token);
        }
        match cookie(headers).filter(|secret| accounts.is_session(secret, jiff::Timestamp::now())) {
            Some(secret) => Self::Browser { form: form_token(secret), session: Some(secret.to_owned()) },
            None => Self::Nobody,
        }
    }

    pub(crate) fn scope(&self) -> Option<Scope> {
        match self {
            Self::Nobody => None,
            Self::Token(scope) => Some(*scope),
            Self::Browser { .. } | Self::Local => Some(Scope::Admin),
        }
    }

    /// Whether they may say which commands are run: who logged in with the password, this machine's user, and a program
    /// that may do everything. Whoever Home Assistant lets in has shown no password of Haul's.
    pub(crate) fn may_set_commands(&self) -> bool {
        match self {
            Self::Nobody => false,
            Self::Token(scope) => *scope == Scope::Admin,
            Self::Browser { session, .. } => session.is_some(),
            Self::Local => true,
        }
    }

    /// What the forms of a page for this visitor bring along.
    pub(crate) fn form(&self) -> &str {
        match self {
            Self::Browser { form, .. } => form,
            _ => "",
        }
    }
}

fn cookie(headers: &HeaderMap) -> Option<&str> {
    let pairs = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    pairs.flat_map(|value| value.split(';')).find_map(|pair| pair.trim().strip_prefix(COOKIE)?.strip_prefix('='))
}

/// Names that this server answers to: a site of somebody else can point its own name at this machine, but then a
/// browser says that name.
#[derive(Clone, Debug, Default)]
pub(crate) struct Hosts(pub(crate) Vec<String>);

impl Hosts {
    /// An address has no name that could be pointed elsewhere.
    pub(crate) fn answers_to(&self, host: &str) -> bool {
        let name = without_port(host);
        name.eq_ignore_ascii_case("localhost")
            || name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().is_ok()
            || self.are_told(host)
    }

    /// Whether the user said that this is a name of this machine.
    fn are_told(&self, host: &str) -> bool {
        self.0.iter().any(|known| without_port(known).eq_ignore_ascii_case(without_port(host)))
    }
}

fn without_port(host: &str) -> &str {
    if host.parse::<SocketAddr>().is_err() && host.parse::<IpAddr>().is_ok() {
        return host;
    }
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    }
}

/// Whether a request that changes something was made by a page of another site, as far as the browser says.
pub(crate) fn is_foreign(headers: &HeaderMap, host: &str, hosts: &Hosts) -> bool {
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    if text("sec-fetch-site").is_some_and(|site| site != "same-origin" && site != "none") {
        return true;
    }
    // Behind a proxy the scheme may differ, and the name if the user told it.
    let is_own = |name: &str| name == host || hosts.are_told(name);
    text("origin").is_some_and(|origin| origin.split_once("://").is_none_or(|(_, name)| !is_own(name)))
}

/// Methods that change nothing.
pub(crate) fn is_safe(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    #[test]
    fn only_names_that_nobody_else_can_point_here_are_answered_to() {
        let hosts = Hosts(vec!["haul.example.org".to_owned(), "nas:8745".to_owned()]);
        for host in [
            "localhost",
            "LOCALHOST:8745",
            "127.0.0.1:8745",
            "[::1]:8745",
            "[::1]",
            "192.168.1.5",
            "haul.example.org",
            "Haul.example.org:443",
            "nas",
        ] {
            assert!(hosts.answers_to(host), "{host}");
        }
        for host in ["", "evil.example", "evil.example:8745", "localhost.evil.example", "haul.example.org.evil"] {
            assert!(!hosts.answers_to(host), "{host}");
        }
    }

    #[test]
    fn a_page_of_another_site_is_recognised() {
        let foreign = |name: &'static str, value: &'static str| {
            let hosts = Hosts(vec!["haul.example.org".to_owned()]);
            is_foreign(
                &HeaderMap::from_iter([(name.parse().unwrap(), value.parse().unwrap())]),
                "localhost:8745",
                &hosts,
            )
        };
        for (name, value) in [
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-site", "same-site"),
            ("origin", "http://evil.example"),
            ("origin", "http://localhost:1234"),
            ("origin", "null"),
        ] {
            assert!(foreign(name, value), "{name}: {value}");
        }
        for (name, value) in [
            ("sec-fetch-site", "same-origin"),
            ("sec-fetch-site", "none"),
            ("origin", "http://localhost:8745"),
            ("origin", "https://haul.example.org"),
        ] {
            assert!(!foreign(name, value), "{name}: {value}");
        }
    }
}
