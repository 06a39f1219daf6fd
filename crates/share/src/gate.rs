//! Who may connect at all: the server behind it can't be told, so everybody else is turned away before.

use std::{
    convert::Infallible,
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};

use crate::CONNECTIONS;

/// Bytes on their way in each direction: as long as a request may be.
const BUFFER: usize = 1 << 20;
/// After an error that won't pass by asking again at once, such as too many open files.
const PAUSE: Duration = Duration::from_millis(100);

/// Listens, and passes on the connections from addresses that are allowed.
pub(crate) struct Gate {
    listener: TcpListener,
    allowed: Vec<IpAddr>,
}

impl Gate {
    pub(crate) async fn bind(listen: SocketAddr, allowed: Vec<IpAddr>) -> io::Result<Self> {
        Ok(Self { listener: TcpListener::bind(listen).await?, allowed })
    }

    pub(crate) fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Passes connections on to the server `behind` it.
    pub(crate) async fn run(self, behind: SocketAddr) -> Infallible {
        let free = Arc::new(Semaphore::new(CONNECTIONS));
        loop {
            let Ok((mut client, peer)) = self.listener.accept().await else {
                tokio::time::sleep(PAUSE).await;
                continue;
            };
            if !self.allowed.contains(&peer.ip().to_canonical()) {
                continue;
            }
            let Ok(permit) = Arc::clone(&free).try_acquire_owned() else { continue };
            tokio::spawn(async move {
                let _permit = permit;
                let Ok(mut server) = TcpStream::connect(behind).await else { return };
                // An answer is small and waited for.
                let _ = (client.set_nodelay(true), server.set_nodelay(true));
                let _ = tokio::io::copy_bidirectional_with_sizes(&mut client, &mut server, BUFFER, BUFFER).await;
            });
        }
    }
}
