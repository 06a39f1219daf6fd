//! Finds receivers on the local network (multicast DNS, RFC 6762). A receiver announces a random number and a port: no
//! name, no version, no key.

use std::{
    collections::{BTreeMap, HashMap},
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use data_encoding::HEXLOWER;
use mdns_sd::{ServiceDaemon, ServiceEvent, ServiceInfo};
use tokio::time::{Instant, timeout_at};

use crate::error::PeerError;

const SERVICE: &str = "_haul._tcp.local.";

fn failed(error: &mdns_sd::Error) -> PeerError {
    PeerError::Unreachable(format!("the local network can't be searched: {error}"))
}

/// An announcement; taken back when dropped.
pub struct Announcement {
    daemon: ServiceDaemon,
    name: String,
}

impl Announcement {
    /// Announces a receiver at this port on every address of this machine.
    pub fn start(port: u16) -> Result<Self, PeerError> {
        let mut random = [0; 8];
        getrandom::fill(&mut random)
            .map_err(|_| PeerError::Protocol("the operating system gave no random numbers".to_owned()))?;
        let id = HEXLOWER.encode(&random);
        let daemon = ServiceDaemon::new().map_err(|error| failed(&error))?;
        let info = ServiceInfo::new(SERVICE, &id, &format!("{id}.local."), "", port, HashMap::new())
            .map_err(|error| failed(&error))?
            .enable_addr_auto();
        let name = info.get_fullname().to_owned();
        daemon.register(info).map_err(|error| failed(&error))?;
        Ok(Self { daemon, name })
    }
}

impl Drop for Announcement {
    fn drop(&mut self) {
        // The daemon says goodbye on its own thread; nobody has to wait for it.
        let _ = self.daemon.unregister(&self.name);
        let _ = self.daemon.shutdown();
    }
}

/// The receivers that answer within this time, one address each.
pub async fn search(within: Duration) -> Result<Vec<SocketAddr>, PeerError> {
    let daemon = ServiceDaemon::new().map_err(|error| failed(&error))?;
    let events = daemon.browse(SERVICE).map_err(|error| failed(&error))?;
    let until = Instant::now() + within;
    let mut found = BTreeMap::new();
    while let Ok(Ok(event)) = timeout_at(until, events.recv_async()).await {
        if let ServiceEvent::ServiceResolved(service) = event
            && let Some(address) = best(service.addresses.iter().map(mdns_sd::ScopedIp::to_ip_addr))
        {
            found.insert(service.fullname.clone(), SocketAddr::new(address, service.port));
        }
    }
    let _ = daemon.shutdown();
    Ok(found.into_values().collect())
}

/// The address that needs the least to be reached: IPv4, else IPv6 beyond the link, whose addresses need an interface
/// besides.
fn best(addresses: impl Iterator<Item = IpAddr>) -> Option<IpAddr> {
    let usable = |address: &IpAddr| match address {
        IpAddr::V4(_) => true,
        IpAddr::V6(v6) => !v6.is_unicast_link_local(),
    };
    addresses.filter(usable).min_by_key(|address| (address.is_ipv6(), address.is_loopback(), *address))
}
