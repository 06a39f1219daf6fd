//! One connection through the proxy, from accept to its natural or scripted end.

use std::{
    sync::{Arc, Mutex, PoisonError, atomic::Ordering},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, Interest},
    net::{
        TcpStream,
        tcp::{ReadHalf, WriteHalf},
    },
};

use super::{
    Act, Death, Next, Protocol, Shared,
    request::{Event, Follower},
};

/// Bytes read at once.
const CHUNK: usize = 64 << 10;
/// How long the other side may take to notice a FIN.
const PATIENCE: Duration = Duration::from_secs(5);

/// How a connection ends.
enum End {
    /// Both sides are done, or one has gone.
    Natural,
    Cut(Death),
    /// With this text instead.
    Say(Vec<u8>),
}

/// What is to happen to the answer that comes next.
#[derive(Clone, Copy)]
enum Swallow {
    Cut(Death),
    Hold,
}

/// What the direction towards the server reports to the other one.
#[derive(Default)]
struct Ahead(Mutex<Option<Swallow>>);

impl Ahead {
    fn set(&self, swallow: Swallow) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(swallow);
    }

    fn get(&self) -> Option<Swallow> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) async fn carry(shared: Arc<Shared>, client: TcpStream) {
    let is_silent = {
        let mut script = shared.script();
        let is_silent = script.silent_connections > 0;
        script.silent_connections -= u32::from(is_silent);
        is_silent
    };
    if is_silent {
        shared.breaks.fetch_add(1, Ordering::Relaxed);
        tokio::select! {
            () = gone(&client) => {}
            _ = severed(&shared) => {}
        }
        return;
    }
    let Ok(mut server) = TcpStream::connect(shared.upstream).await else { return die(client, Death::Reset).await };
    let mut client = client;
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let end = {
        let ahead = Ahead::default();
        let (mut from_client, mut to_client) = client.split();
        let (mut from_server, mut to_server) = server.split();
        tokio::select! {
            end = upward(&shared, &mut from_client, &mut to_server, &ahead) => end,
            end = downward(&shared, &mut from_server, &mut to_client, &ahead) => end,
            death = severed(&shared) => {
                shared.breaks.fetch_add(1, Ordering::Relaxed);
                End::Cut(death)
            }
        }
    };
    match end {
        End::Natural => {
            let _ = client.shutdown().await;
        }
        End::Cut(death) => {
            // The server learns of it first, so that anybody who asks it afterwards gets the right answer.
            drop(server);
            die(client, death).await;
        }
        End::Say(text) => {
            drop(server);
            if client.write_all(&text).await.is_ok() {
                die(client, Death::Close).await;
            }
        }
    }
}

/// Passes on what the client says.
async fn upward(shared: &Shared, client: &mut ReadHalf<'_>, server: &mut WriteHalf<'_>, ahead: &Ahead) -> End {
    let mut follower = Follower::default();
    // The present request goes nowhere, and is answered with this when it has ended.
    let mut instead: Option<Vec<u8>> = None;
    let mut buffer = vec![0; CHUNK];
    loop {
        let pace = shared.script().bytes_per_second;
        let most = pace.map_or(CHUNK, |pace| (pace / 50).clamp(1, CHUNK as u64) as usize);
        let read = match client.read(&mut buffer[..most]).await {
            Ok(0) => {
                let _ = server.shutdown().await;
                // The answer may still be on its way.
                return std::future::pending().await;
            }
            Ok(read) => read,
            Err(_) => return End::Natural,
        };
        let (passes, next) = shared.uploaded(read as u64);
        let bytes = &buffer[..passes as usize];
        let end = match shared.protocol {
            Protocol::Raw => send(server, bytes).await,
            Protocol::Http => requests(shared, client, server, ahead, &mut follower, &mut instead, bytes).await,
        };
        if let Some(end) = end {
            return end;
        }
        match next {
            Next::Pass => {}
            Next::Cut(death) => return End::Cut(death),
            Next::Hush => {
                ahead.set(Swallow::Hold);
                return hush(client).await;
            }
        }
        if let Some(pace) = pace {
            tokio::time::sleep(Duration::from_secs_f64(passes as f64 / pace as f64)).await;
        }
    }
}

/// Passes on requests, each as the rules say.
async fn requests(
    shared: &Shared,
    client: &ReadHalf<'_>,
    server: &mut WriteHalf<'_>,
    ahead: &Ahead,
    follower: &mut Follower,
    instead: &mut Option<Vec<u8>>,
    mut bytes: &[u8],
) -> Option<End> {
    while !bytes.is_empty() {
        let (used, event) = follower.next(bytes);
        let (piece, rest) = bytes.split_at(used);
        bytes = rest;
        match event {
            Event::More => {}
            Event::Body if instead.is_some() => {}
            Event::Body => {
                if let Some(end) = send(server, piece).await {
                    return Some(end);
                }
            }
            Event::Head(head, raw) => {
                match shared.act_for(&head) {
                    None => {}
                    Some(Act::Answer(answer)) if answer.is_hasty => return Some(End::Say(answer.to_bytes())),
                    Some(Act::Answer(answer)) => *instead = Some(answer.to_bytes()),
                    Some(Act::Cut(death)) => return Some(End::Cut(death)),
                    Some(Act::Ignore) => return Some(hush(client).await),
                    Some(Act::Lose(death)) => ahead.set(Swallow::Cut(death)),
                    Some(Act::Hold) => ahead.set(Swallow::Hold),
                }
                if instead.is_none()
                    && let Some(end) = send(server, &raw).await
                {
                    return Some(end);
                }
            }
        }
        if follower.is_between()
            && let Some(text) = instead.take()
        {
            return Some(End::Say(text));
        }
    }
    None
}

/// Passes on what the server says.
async fn downward(shared: &Shared, server: &mut ReadHalf<'_>, client: &mut WriteHalf<'_>, ahead: &Ahead) -> End {
    let mut buffer = vec![0; CHUNK];
    loop {
        let read = match server.read(&mut buffer).await {
            Ok(0) => return End::Natural,
            Ok(read) => read,
            Err(_) => return End::Cut(Death::Reset),
        };
        match ahead.get() {
            Some(Swallow::Cut(death)) => return End::Cut(death),
            Some(Swallow::Hold) => continue,
            None => {}
        }
        shared.down.fetch_add(read as u64, Ordering::Relaxed);
        if client.write_all(&buffer[..read]).await.is_err() {
            return End::Natural;
        }
    }
}

async fn send(server: &mut WriteHalf<'_>, bytes: &[u8]) -> Option<End> {
    // A server that answers and closes before it has read everything has its say first: the other direction ends the
    // connection.
    if server.write_all(bytes).await.is_err() {
        tokio::time::sleep(PATIENCE).await;
        return Some(End::Natural);
    }
    None
}

/// Reads nothing more, until the client has gone.
async fn hush(client: &ReadHalf<'_>) -> End {
    loop {
        match client.ready(Interest::READABLE).await {
            Ok(ready) if !ready.is_read_closed() => tokio::time::sleep(Duration::from_millis(20)).await,
            _ => return End::Natural,
        }
    }
}

/// The same for a connection on which nothing was sent.
async fn gone(client: &TcpStream) {
    loop {
        match client.ready(Interest::READABLE).await {
            Ok(ready) if !ready.is_read_closed() => tokio::time::sleep(Duration::from_millis(20)).await,
            _ => return,
        }
    }
}

async fn severed(shared: &Shared) -> Death {
    let mut watching = shared.severed.subscribe();
    match watching.changed().await {
        Ok(()) => watching.borrow().1,
        Err(_) => Death::Reset,
    }
}

async fn die(mut client: TcpStream, death: Death) {
    match death {
        Death::Reset => {
            let _ = client.set_zero_linger();
        }
        Death::Close => {
            // What is still unread would turn the FIN into an RST, so it is read for a while.
            let _ = client.shutdown().await;
            let mut rest = vec![0; CHUNK];
            let drained = async { while client.read(&mut rest).await.is_ok_and(|read| read > 0) {} };
            let _ = tokio::time::timeout(PATIENCE, drained).await;
        }
    }
}
