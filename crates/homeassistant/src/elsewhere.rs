//! Another port of the same host, where a restored instance may answer: the restored configuration may name another
//! port.

use std::time::Duration;

use tokio::net::TcpStream;
use url::Host;

use crate::{look::Instance, wire::Wire};

/// A connection within the home is established long before.
const A_MOMENT: Duration = Duration::from_secs(5);

/// An address of the same host at which nothing answered before the restore.
#[derive(Clone)]
pub struct Elsewhere(pub(crate) Wire);

impl Elsewhere {
    /// As people write it.
    pub fn address(&self) -> &str {
        &self.0.address
    }

    /// Whether still nothing answers there. Anything that answers before the restore is another instance, such as the
    /// old one on the same machine.
    pub async fn is_free(&self) -> bool {
        let base = self.0.base();
        let Some(port) = base.port_or_known_default() else { return false };
        let connecting = async {
            match base.host() {
                Some(Host::Domain(name)) => TcpStream::connect((name, port)).await,
                Some(Host::Ipv4(address)) => TcpStream::connect((address, port)).await,
                Some(Host::Ipv6(address)) => TcpStream::connect((address, port)).await,
                None => Err(std::io::ErrorKind::InvalidInput.into()),
            }
        };
        !matches!(tokio::time::timeout(A_MOMENT, connecting).await, Ok(Ok(_)))
    }
}

impl Instance {
    /// The same host at another port, with or without a certificate. `None` when that is where the instance answers
    /// already.
    pub fn at_port(&self, port: u16, tls: bool) -> Option<Elsewhere> {
        let mut base = self.wire.base().clone();
        if base.port_or_known_default() == Some(port) {
            return None;
        }
        base.set_scheme(if tls { "https" } else { "http" }).ok()?;
        base.set_port(Some(port)).ok()?;
        Some(Elsewhere(self.wire.moved(base)))
    }
}
