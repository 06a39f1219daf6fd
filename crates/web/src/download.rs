//! Archives and single files on their way to the browser.

use std::{
    io::{self, Write},
    sync::{Arc, LazyLock},
};

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use bytes::{Bytes, BytesMut};
use futures_util::stream;
use http::{HeaderName, HeaderValue, StatusCode, header};
use tokio::sync::{Semaphore, mpsc, oneshot};

use crate::{
    backend::{NotSent, Outlet, Wanted},
    fields::segment,
    refusal::Refusal,
    shared::{Shared, Waiting},
};

/// So many at once: each reads from a destination, with the buffers that takes.
const MOST: usize = 4;
static RUNNING: LazyLock<Arc<Semaphore>> = LazyLock::new(|| Arc::new(Semaphore::new(MOST)));
/// Bytes that are sent together.
const PIECE: usize = 128 << 10;

/// What is told before the first byte.
struct Start {
    name: String,
    size: Option<u64>,
}

/// A piece of the file, or its end. A channel that closes without an end is a file that broke off.
enum Piece {
    Data(Bytes),
    End,
}

/// The answer with the file, or why there is none.
pub(crate) async fn send(shared: &Arc<Shared>, wanted: Wanted) -> Result<Response, Refusal> {
    let permit = RUNNING.clone().try_acquire_owned().map_err(|_| Refusal {
        retry_after: Some(30),
        ..Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "Other downloads are running. Try again when they are done.")
    })?;
    let (starting, started) = oneshot::channel();
    let (pieces, arriving) = mpsc::channel(4);
    let backend = shared.backend.clone();
    let waiting = Waiting::default();
    let cancel = waiting.0.clone();
    tokio::task::spawn_blocking(move || {
        let mut outlet = ChannelOutlet { starting: Some(starting), pieces, buffer: BytesMut::new() };
        let sent = backend.send(&wanted, &mut outlet, &cancel);
        outlet.end(sent);
        drop(permit);
    });
    let broken = || Refusal::broken("Haul could not read this because of an error of its own.");
    let start = started.await.map_err(|_| broken())??;
    let body = stream::unfold(Some((arriving, waiting)), |arriving| async move {
        let (mut arriving, waiting) = arriving?;
        match arriving.recv().await {
            Some(Piece::Data(data)) => Some((Ok(data), Some((arriving, waiting)))),
            Some(Piece::End) => None,
            None => Some((Err(io::Error::from(io::ErrorKind::UnexpectedEof)), None)),
        }
    });
    let ascii: String =
        start.name.chars().map(|c| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '_' }).collect();
    let disposition = format!("attachment; filename=\"{ascii}\"; filename*=UTF-8''{}", segment(&start.name));
    let mut response = Body::from_stream(body).into_response();
    let headers = response.headers_mut();
    let mut set =
        |name: HeaderName, value: &str| HeaderValue::from_str(value).map(|value| headers.insert(name, value)).is_ok();
    set(header::CONTENT_TYPE, "application/octet-stream");
    set(header::CONTENT_DISPOSITION, &disposition);
    if let Some(size) = start.size {
        set(header::CONTENT_LENGTH, &size.to_string());
    }
    Ok(response)
}

struct ChannelOutlet {
    starting: Option<oneshot::Sender<Result<Start, Refusal>>>,
    pieces: mpsc::Sender<Piece>,
    buffer: BytesMut,
}

impl ChannelOutlet {
    fn pass_on(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let data = self.buffer.split().freeze();
        self.pieces.blocking_send(Piece::Data(data)).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }

    fn end(mut self, sent: Result<(), NotSent>) {
        match (self.starting.take(), sent) {
            (Some(starting), Err(failure)) => drop(starting.send(Err(failure.into()))),
            // Nothing was sent and nothing failed: `begin` was never called.
            (Some(_), Ok(())) | (None, Err(_)) => {}
            (None, Ok(())) => {
                if self.pass_on().is_ok() {
                    let _ = self.pieces.blocking_send(Piece::End);
                }
            }
        }
    }
}

impl Write for ChannelOutlet {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let taken = data.len().min(PIECE - self.buffer.len());
        self.buffer.extend_from_slice(&data[..taken]);
        if self.buffer.len() >= PIECE {
            self.pass_on()?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.pass_on()
    }
}

impl Outlet for ChannelOutlet {
    fn begin(&mut self, name: &str, size: Option<u64>) -> io::Result<()> {
        let start = Start { name: name.to_owned(), size };
        self.starting.take().and_then(|starting| starting.send(Ok(start)).ok()).ok_or(io::ErrorKind::BrokenPipe.into())
    }
}
