//! What the address says: user, host, and directory.

use percent_encoding::percent_decode_str;
use url::Url;

use crate::{
    context::{Context, invalid},
    error::StoreError,
    redact,
};

/// The port when the address names none.
const PORT: u16 = 22;

/// An address, understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) user: String,
    pub(super) host: String,
    pub(super) port: u16,
    /// As sent to the server: absolute, or, after `/~/`, relative to the home directory.
    pub(super) path: String,
}

impl Target {
    pub(super) fn parse(url: &Url, context: &Context) -> Result<Self, StoreError> {
        let destination = &redact::url(url);
        let decoded = |text: &str| percent_decode_str(text).decode_utf8().map(std::borrow::Cow::into_owned);
        let text = |part: &str| {
            decoded(part).map_err(|_| invalid(destination, "the address contains characters that are not UTF-8"))
        };
        let host = url
            .host_str()
            .filter(|host| !host.is_empty())
            .ok_or_else(|| invalid(destination, "the address lacks a host: sftp://user@host/path"))?;
        let host = text(host.trim_start_matches('[').trim_end_matches(']'))?.to_lowercase();
        if host.starts_with('-')
            || host.contains(|c: char| c.is_whitespace() || c.is_control() || "/@'\"`$;&|<>(),*?!".contains(c))
        {
            return Err(invalid(destination, "the host name is not valid"));
        }
        let user = match url.username() {
            "" => context.variable("USER").or_else(|| context.variable("LOGNAME")),
            user => Some(text(user)?),
        };
        let user = user.ok_or_else(|| invalid(destination, "the address lacks a user: sftp://user@host/path"))?;
        if url.query().is_some() || url.fragment().is_some() {
            return Err(
                invalid(destination, "the address contains ? or #").advise("write %3F for ? and %23 for # in a path")
            );
        }
        let path = text(url.path())?;
        let path = match path.strip_prefix("/~") {
            Some("" | "/") => ".".to_owned(),
            Some(rest) if rest.starts_with('/') => rest.trim_matches('/').to_owned(),
            _ if path.trim_matches('/').is_empty() => {
                let shown = if path.is_empty() {
                    "sftp://user@host/path, or sftp://user@host/~/path below the home directory"
                } else {
                    "a directory, not /"
                };
                return Err(invalid(destination, "the address lacks a directory").advise(format!("name {shown}")));
            }
            _ => format!("/{}", path.trim_matches('/')),
        };
        if path.contains('\0') {
            return Err(invalid(destination, "the path contains a zero byte"));
        }
        Ok(Self { user, host, port: url.port().unwrap_or(PORT), path })
    }

    /// The destination as users know it.
    pub(super) fn label(&self) -> String {
        let path = match self.path.as_str() {
            "." => "/~",
            absolute if absolute.starts_with('/') => absolute,
            relative => return format!("{}/~/{relative}", self.server()),
        };
        format!("{}{path}", self.server())
    }

    /// Without the directory.
    pub(super) fn server(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        let port = if self.port == PORT { String::new() } else { format!(":{}", self.port) };
        format!("sftp://{}@{host}{port}", self.user)
    }

    /// The name under which `known_hosts` knows the host.
    pub(super) fn known_as(&self) -> String {
        if self.port == PORT { self.host.clone() } else { format!("[{}]:{}", self.host, self.port) }
    }
}

/// The directory above; `.` above a bare name.
pub(super) fn parent(path: &str) -> &str {
    match path.trim_end_matches('/').rsplit_once('/') {
        Some(("", _)) => "/",
        Some((parent, _)) => parent,
        None => ".",
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use std::sync::Arc;

    use super::*;
    use crate::tuning::Tuning;

    fn parse(text: &str) -> Result<Target, StoreError> {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut context =
            Context::new(Tuning::default(), "/nonexistent".into(), crate::Cancellation::default()).unwrap();
        context.environment = Arc::new(|name| (name == "USER").then(|| "ida".to_owned()));
        Target::parse(&Url::parse(text).unwrap(), &context)
    }

    #[test]
    fn user_host_port_and_path_are_understood() {
        let target = parse("sftp://bo%20b@NAS.local:2222/srv/my%20backups/").unwrap();
        assert_eq!(
            (target.user.as_str(), target.host.as_str(), target.port, target.path.as_str()),
            ("bo b", "nas.local", 2222, "/srv/my backups")
        );
        assert_eq!(target.label(), "sftp://bo b@nas.local:2222/srv/my backups");
        assert_eq!(target.known_as(), "[nas.local]:2222");
        let home = parse("sftp://nas/~/backups").unwrap();
        assert_eq!(
            (home.user.as_str(), home.port, home.path.as_str(), home.known_as().as_str()),
            ("ida", 22, "backups", "nas")
        );
        assert_eq!(home.label(), "sftp://ida@nas/~/backups");
        assert_eq!(parse("sftp://[::1]/~").unwrap().path, ".");
        assert_eq!(parse("sftp://[::1]:2200/a").unwrap().known_as(), "[::1]:2200");
        assert_eq!(parse("sftp://nas/~other/x").unwrap().path, "/~other/x");
    }

    #[test]
    fn an_address_without_a_directory_says_so() {
        for text in ["sftp://nas", "sftp://nas/"] {
            assert!(parse(text).unwrap_err().to_string().contains("lacks a directory"));
        }
    }

    #[test]
    fn the_directory_above_is_found() {
        assert_eq!((parent("/a/b"), parent("/a"), parent("a"), parent("a/b")), ("/a", "/", ".", "a"));
    }
}
