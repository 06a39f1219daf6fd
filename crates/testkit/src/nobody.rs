//! An address at which nobody answers.

use std::net::{Ipv4Addr, SocketAddr};

use tokio::net::TcpSocket;

/// Holds a port without listening there: a port that was only free a moment ago may be another test's by now, and a
/// server that was dropped may not be gone yet.
pub struct Nobody {
    socket: TcpSocket,
}

impl Nobody {
    /// At a port of this machine.
    pub fn new() -> std::io::Result<Self> {
        let socket = TcpSocket::new_v4()?;
        socket.bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
        Ok(Self { socket })
    }

    /// Where nobody answers.
    pub fn url(&self) -> std::io::Result<String> {
        Ok(format!("http://{}", self.socket.local_addr()?))
    }
}
