//! Connections, and what one client may cost.

use std::{
    collections::{HashMap, hash_map::Entry},
    convert::Infallible,
    future::Future,
    io,
    net::{IpAddr, Ipv6Addr},
    pin::{Pin, pin},
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::body::Body;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, UnixListener},
    sync::{Semaphore, watch},
    time::{Instant, Sleep, sleep},
};

use crate::{
    app::App,
    visitor::{Trust, Visit},
};

/// More connections wait until one ends.
const MOST_CONNECTIONS: usize = 128;
/// More from one address, or from one network of IPv6, are closed.
const MOST_FROM_ONE: usize = 32;
/// A request's head has to arrive within this time, and an idle connection is closed after it.
const HEAD_TIME: Duration = Duration::from_secs(10);
/// A client that takes no byte for so long is gone.
const STALLED: Duration = Duration::from_mins(5);
/// Heads are no longer than this.
const LONGEST_HEAD: usize = 32 << 10;
const MOST_HEADERS: usize = 64;
/// What is sent when the service ends gets so long.
const LAST_ANSWERS: Duration = Duration::from_secs(5);

/// Where connections come from.
#[derive(Debug)]
pub enum Listener {
    /// Whoever reaches this address.
    Tcp(TcpListener),
    /// Whoever may open this socket. Its permissions are the caller's.
    Unix(UnixListener),
}

/// Answers until told to stop; then it finishes what it is answering, for a few seconds at most.
pub async fn serve(listener: Listener, trust: Trust, app: Arc<App>, stop: impl Future<Output = ()>) {
    let connections = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    let guests = Guests::default();
    let (stopping, stopped) = watch::channel(false);
    let mut stop = pin!(stop);
    loop {
        let accepted = async {
            let permit = connections.clone().acquire_owned().await;
            (listener.accept().await, permit)
        };
        let (accepted, permit) = tokio::select! {
            () = &mut stop => break,
            accepted = accepted => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                let Some(guest) = Guest::admit(&guests, peer) else { continue };
                let (app, stopped) = (app.clone(), stopped.clone());
                tokio::spawn(async move {
                    connection(stream, Visit { trust, peer }, app, stopped).await;
                    drop((permit, guest));
                });
            }
            // Too many open files, or a client that is gone already: neither is over sooner by asking again at once.
            Err(_) => sleep(Duration::from_millis(100)).await,
        }
    }
    drop(listener);
    app.close();
    let _ = stopping.send(true);
    let _ = tokio::time::timeout(LAST_ANSWERS, connections.acquire_many(MOST_CONNECTIONS as u32)).await;
}

/// How many connections come from where.
type Guests = Arc<Mutex<HashMap<IpAddr, usize>>>;

/// A connection that is counted as long as it lasts.
struct Guest {
    guests: Guests,
    from: Option<IpAddr>,
}

impl Guest {
    /// Nothing if too many come from there.
    fn admit(guests: &Guests, peer: Option<IpAddr>) -> Option<Self> {
        let from = peer.map(network);
        if let Some(from) = from {
            let mut all = guests.lock().unwrap_or_else(PoisonError::into_inner);
            let count = all.entry(from).or_insert(0);
            if *count >= MOST_FROM_ONE {
                return None;
            }
            *count += 1;
        }
        Some(Self { guests: guests.clone(), from })
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let Some(from) = self.from else { return };
        let mut all = self.guests.lock().unwrap_or_else(PoisonError::into_inner);
        if let Entry::Occupied(mut count) = all.entry(from) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }
}

/// Everybody has a whole network of IPv6 addresses.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into(),
        address @ IpAddr::V4(_) => address,
    }
}

async fn connection(stream: Box<dyn Stream>, visit: Visit, app: Arc<App>, mut stopped: watch::Receiver<bool>) {
    let service = service_fn(move |request: http::Request<Incoming>| {
        let app = app.clone();
        async move { Ok::<_, Infallible>(app.answer(request.map(Body::new), visit).await) }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD_TIME).max_buf_size(LONGEST_HEAD).max_headers(MOST_HEADERS);
    let mut connection = pin!(http.serve_connection(TokioIo::new(Patient::new(stream)), service));
    tokio::select! {
        _ = connection.as_mut() => return,
        _ = stopped.wait_for(|stopped| *stopped) => connection.as_mut().graceful_shutdown(),
    }
    let _ = tokio::time::timeout(LAST_ANSWERS, connection).await;
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

impl Listener {
    async fn accept(&self) -> io::Result<(Box<dyn Stream>, Option<IpAddr>)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                stream.set_nodelay(true)?;
                Ok((Box::new(stream), Some(peer.ip())))
            }
            Self::Unix(listener) => {
                let (stream, _) = listener.accept().await?;
                Ok((Box::new(stream), None))
            }
        }
    }
}

/// A connection that ends when the other side takes nothing for too long.
struct Patient {
    stream: Box<dyn Stream>,
    waiting: Option<Pin<Box<Sleep>>>,
}

impl Patient {
    fn new(stream: Box<dyn Stream>) -> Self {
        Self { stream, waiting: None }
    }

    /// The clock runs only while a write waits.
    fn bounded<T>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.waiting = None;
            return written;
        }
        let waiting = self.waiting.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(Instant::now() + STALLED)));
        ready!(waiting.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for Patient {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Patient {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, buffer);
        self.bounded(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, buffers);
        self.bounded(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        self.bounded(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
