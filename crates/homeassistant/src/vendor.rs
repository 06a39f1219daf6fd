//! The servers that can have made an answer.

use std::fmt;

/// The server that made an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Vendor {
    /// Home Assistant itself.
    HomeAssistant,
    /// nginx or what is built on it (Nginx Proxy Manager, OpenResty, Home Assistant's NGINX add-on).
    Nginx,
    /// Caddy.
    Caddy,
    /// Traefik.
    Traefik,
    /// Cloudflare's network or a tunnel of theirs.
    Cloudflare,
    /// Apache.
    Apache,
    /// A server that does not name itself.
    Unknown,
}

impl fmt::Display for Vendor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::HomeAssistant => "Home Assistant",
            Self::Nginx => "nginx",
            Self::Caddy => "Caddy",
            Self::Traefik => "Traefik",
            Self::Cloudflare => "Cloudflare",
            Self::Apache => "Apache",
            Self::Unknown => "a server in between",
        })
    }
}
