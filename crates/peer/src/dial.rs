//! Connects to a name, by whichever of its addresses answers first.
//!
//! A name may have an address that leads nowhere (an IPv6 address without IPv6, a machine that moved): packets to it
//! are dropped, and nothing says so. The addresses are therefore tried one after the other at short intervals, all at
//! the same time in the end, as browsers do it (RFC 8305).

use std::{net::SocketAddr, time::Duration};

use tokio::{
    net::{TcpStream, ToSocketAddrs, lookup_host},
    task::JoinSet,
    time::{Instant, sleep_until, timeout},
};

use crate::error::reason;

/// How long one address has for itself before the next is tried as well.
const HEAD_START: Duration = Duration::from_millis(300);

/// Connects within that time, or says in plain words why not, and which addresses it tried.
pub async fn connect(target: impl ToSocketAddrs, within: Duration) -> Result<TcpStream, String> {
    let Ok(found) = timeout(within, lookup_host(target)).await else {
        return Err("looking up its name timed out".to_owned());
    };
    let addresses =
        by_turns(found.map_err(|error| format!("its name does not resolve: {}", reason(&error)))?.collect());
    race(&addresses, within).await
}

/// Both families in turn, beginning with the one that the system prefers; no address twice.
fn by_turns(found: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let first_is_v6 = found.first().is_some_and(SocketAddr::is_ipv6);
    let (mut preferred, mut others): (Vec<_>, Vec<_>) =
        found.into_iter().partition(|address| address.is_ipv6() == first_is_v6);
    preferred.reverse();
    others.reverse();
    let mut ordered: Vec<SocketAddr> = Vec::new();
    loop {
        let next = [preferred.pop(), others.pop()];
        if next.iter().all(Option::is_none) {
            return ordered;
        }
        for address in next.into_iter().flatten() {
            if !ordered.contains(&address) {
                ordered.push(address);
            }
        }
    }
}

async fn race(addresses: &[SocketAddr], within: Duration) -> Result<TcpStream, String> {
    let mut running = JoinSet::new();
    let mut failed = Vec::new();
    let mut waiting = addresses.iter().copied();
    let mut next_at = Instant::now();
    loop {
        if (running.is_empty() || Instant::now() >= next_at)
            && let Some(address) = waiting.next()
        {
            running.spawn(async move { (address, timeout(within, TcpStream::connect(address)).await) });
            next_at = Instant::now() + HEAD_START;
        }
        if running.is_empty() {
            break;
        }
        tokio::select! {
            done = running.join_next() => match done {
                Some(Ok((_, Ok(Ok(socket))))) => return Ok(socket),
                Some(Ok((address, Ok(Err(error))))) => failed.push((address, reason(&error))),
                Some(Ok((address, Err(_)))) => failed.push((address, format!("no answer within {} s", within.as_secs().max(1)))),
                Some(Err(_)) | None => {}
            },
            () = sleep_until(next_at), if waiting.len() > 0 => {}
        }
    }
    Err(summary(&failed))
}

fn summary(failed: &[(SocketAddr, String)]) -> String {
    match failed {
        [] => "its name does not resolve".to_owned(),
        [(address, why)] => format!("{why} ({address})"),
        several => several.iter().map(|(address, why)| format!("{address}: {why}")).collect::<Vec<_>>().join("; "),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn families_take_turns() {
        let found = ["[::1]:1", "[::2]:1", "[::1]:1", "127.0.0.1:1", "127.0.0.2:1"].map(address);
        let ordered = ["[::1]:1", "127.0.0.1:1", "[::2]:1", "127.0.0.2:1"].map(address);
        assert_eq!(by_turns(found.to_vec()), ordered);
    }

    /// A listener whose queue is full swallows the packets of the next connection.
    fn hole() -> (tokio::net::TcpListener, SocketAddr, Vec<std::net::TcpStream>) {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind(address("127.0.0.1:0")).unwrap();
        let socket = socket.listen(0).unwrap();
        let at = socket.local_addr().unwrap();
        let mut filling = Vec::new();
        while let Ok(stream) = std::net::TcpStream::connect_timeout(&at, Duration::from_millis(200)) {
            filling.push(stream);
        }
        (socket, at, filling)
    }

    #[tokio::test]
    async fn a_dead_first_address_does_not_keep_the_second_from_answering() {
        let (_hole, dead, _filling) = hole();
        let living = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let there = living.local_addr().unwrap();
        let socket = race(&[dead, there], Duration::from_mins(1)).await.unwrap();
        assert_eq!(socket.peer_addr().unwrap(), there);
    }

    #[tokio::test]
    async fn every_address_that_failed_is_named() {
        let (_hole, dead, _filling) = hole();
        let closed = { std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap() };
        let why = race(&[closed, dead], Duration::from_millis(500)).await.unwrap_err();
        assert!(
            why.contains(&format!("{closed}: connection refused"))
                && why.contains(&format!("{dead}: no answer within")),
            "{why}"
        );
        assert!(connect("no-such-host.invalid:1", Duration::from_secs(20)).await.is_err());
    }
}
