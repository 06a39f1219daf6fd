//! The receiver's end: who may connect, and the conversation with those who may.
//!
//! The receiver never sends first. An unknown machine gets the pairing exchange and nothing else: any other message
//! ends the connection, without an answer. Only few such connections are open at once, fewer from one address, and each
//! has little time.

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use rustls::ServerConfig;
use tokio::{
    io::{AsyncWriteExt, ReadHalf, WriteHalf},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    time::{interval_at, timeout},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use crate::{
    error::{PeerError, reason},
    frame::{self, FRIEND, Frame, STRANGER},
    gate::Gate,
    identity::{Fingerprint, Identity},
    known::{Known, Peer, Role},
    message::{Envelope, Hello, OLDEST, Refusal, Reply, Request, VERSION},
    pairing::{self, Binding, Outcome},
    tls,
};

type Line = TlsStream<TcpStream>;

/// What a receiver does for a machine that was paired.
#[async_trait]
pub trait Host: Send + Sync + 'static {
    /// Does what `peer` asks; a request's bytes are in `body`, and the answer's bytes beside the reply.
    async fn serve(&self, peer: &Peer, request: Request, body: Bytes) -> Result<(Reply, Bytes), Refusal>;
}

/// What happens at a receiver, for an observer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// This code is valid from now on.
    Code(String),
    /// A machine was paired.
    Paired(Peer),
    /// Somebody typed a wrong code; so many tries are left.
    WrongCode(u32),
    /// A known machine has connected.
    Connected(Peer),
    /// Something of this machine's own is amiss.
    Trouble(String),
}

/// Takes events; must not wait.
pub type Events = Arc<dyn Fn(Event) + Send + Sync>;

/// How many may come in, and how long they may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections that have not shown who they are.
    pub strangers: usize,
    /// The same from one address.
    pub strangers_each: usize,
    /// Connections of known machines.
    pub friends: usize,
    /// For a stranger's every word.
    pub answer_within: Duration,
    /// For a known machine to go on with what it began to say.
    pub stall: Duration,
    /// For a known machine to say anything.
    pub idle: Duration,
    /// How often a request that takes long says that it is being worked on.
    pub busy: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            strangers: 32,
            strangers_each: 8,
            friends: 32,
            answer_within: Duration::from_secs(10),
            stall: Duration::from_mins(1),
            idle: Duration::from_mins(30),
            busy: Duration::from_secs(5),
        }
    }
}

/// A receiver.
pub struct Server {
    /// This machine.
    pub identity: Identity,
    /// What it calls itself, for machines that know the code.
    pub name: String,
    /// The machines that may connect.
    pub known: Arc<Known>,
    /// The pairing code.
    pub gate: Arc<Gate>,
    /// Carries out their requests.
    pub host: Arc<dyn Host>,
    /// Observes what happens.
    pub events: Events,
    /// Bounds.
    pub limits: Limits,
}

impl Server {
    /// Opens the socket that [`Self::run`] takes; port 0 is any free one.
    pub async fn bind(address: &str) -> Result<TcpListener, PeerError> {
        TcpListener::bind(address)
            .await
            .map_err(|error| PeerError::Unreachable(format!("can't listen on {address}: {}", reason(&error))))
    }

    /// Accepts connections until dropped.
    pub async fn run(self, listener: TcpListener) -> Result<(), PeerError> {
        let config = tls::server(&self.identity)?;
        let strangers = Arc::new(Semaphore::new(self.limits.strangers));
        let friends = Arc::new(Semaphore::new(self.limits.friends));
        let addresses = Arc::new(Addresses::default());
        let server = Arc::new(self);
        loop {
            let (socket, from) = match listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Out of file descriptors, most likely; those in use come free.
                    (server.events)(Event::Trouble(format!("could not accept a connection: {}", reason(&error))));
                    tokio::time::sleep(Duration::from_secs(1)).await;
                    continue;
                }
            };
            // Full: new connections are refused, and the open ones run out of time soon.
            let Ok(stranger) = Arc::clone(&strangers).try_acquire_owned() else { continue };
            let Some(address) = Addresses::enter(&addresses, from, server.limits.strangers_each) else { continue };
            let visit =
                Visit { server: Arc::clone(&server), friends: Arc::clone(&friends), stranger: (stranger, address) };
            tokio::spawn(visit.receive(socket, Arc::clone(&config)));
        }
    }
}

/// How many strangers there are from each address.
#[derive(Default)]
struct Addresses(Mutex<HashMap<IpAddr, usize>>);

/// One stranger's slot; freed when dropped.
struct Slot(Arc<Addresses>, IpAddr);

impl Addresses {
    fn enter(this: &Arc<Self>, from: SocketAddr, most: usize) -> Option<Slot> {
        let mut counts = this.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(from.ip()).or_default();
        (*count < most).then(|| {
            *count += 1;
            Slot(Arc::clone(this), from.ip())
        })
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut counts = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.1) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.1);
            }
        }
    }
}

/// A slot among the few for strangers, in all and per address.
type Stranger = (OwnedSemaphorePermit, Slot);

struct Visit {
    server: Arc<Server>,
    friends: Arc<Semaphore>,
    stranger: Stranger,
}

impl Visit {
    async fn receive(self, socket: TcpStream, config: Arc<ServerConfig>) {
        let _ = socket.set_nodelay(true);
        let within = self.server.limits.answer_within;
        let Ok(Ok(mut line)) = timeout(within, TlsAcceptor::from(config).accept(socket)).await else { return };
        let session = line.get_ref().1;
        let Some(fingerprint) = tls::fingerprint(session.peer_certificates()) else { return };
        let result = match session.alpn_protocol() {
            Some(protocol) if protocol == tls::TALK => {
                let Self { server, friends, stranger } = self;
                let result = talk(&server, &friends, stranger, line, fingerprint).await;
                return trouble(&server, result);
            }
            Some(protocol) if protocol == tls::PAIR => {
                let result = self.pair(&mut line, fingerprint).await;
                let _ = timeout(within, line.shutdown()).await;
                result
            }
            _ => Ok(()),
        };
        trouble(&self.server, result);
    }

    async fn pair(&self, line: &mut Line, sender: Fingerprint) -> Result<(), PeerError> {
        let server = &self.server;
        let exported = line.get_ref().1.export_keying_material([0; 32], pairing::EXPORTER, None);
        let Ok(exported) = exported else { return Ok(()) };
        let binding = Binding { exported, sender, receiver: server.identity.fingerprint() };
        let note = |name: &str| server.known.add(name, sender, Role::Sender, None);
        match pairing::answer(line, &binding, &server.gate, &server.name, note).await? {
            Outcome::Paired(_) => {
                if let Some(peer) = server.known.find(&sender, Role::Sender)? {
                    (server.events)(Event::Paired(peer));
                }
            }
            Outcome::Wrong(crate::gate::Wrong::Left(left)) => (server.events)(Event::WrongCode(left)),
            Outcome::Wrong(crate::gate::Wrong::Replaced(code)) => {
                (server.events)(Event::WrongCode(0));
                (server.events)(Event::Code(code));
            }
            Outcome::Nothing => {}
        }
        Ok(())
    }
}

/// Broken connections concern their sender; files of this machine concern us.
fn trouble(server: &Server, result: Result<(), PeerError>) {
    if let Err(error @ PeerError::State { .. }) = result {
        (server.events)(Event::Trouble(error.to_string()));
    }
}

/// Admits a known machine, and frees its slot among the strangers.
async fn talk(
    server: &Arc<Server>,
    friends: &Arc<Semaphore>,
    stranger: Stranger,
    mut line: Line,
    sender: Fingerprint,
) -> Result<(), PeerError> {
    let within = server.limits.answer_within;
    // Read from unknown machines too: unread bytes would make the end of the connection look like a failure.
    let hello = frame::read(&mut line, STRANGER, within, within, || {}).await;
    let peer = server.known.find(&sender, Role::Sender)?;
    let (Some(peer), Ok(Some(hello))) = (peer, hello) else {
        let _ = timeout(within, line.shutdown()).await;
        return Ok(());
    };
    let version = hello.head::<Hello>()?.version.min(VERSION);
    frame::write(&mut line, &Hello { version }, &[], within).await?;
    let slot = Arc::clone(friends).try_acquire_owned();
    let (true, Ok(_slot)) = (version >= OLDEST, slot) else { return Ok(()) };
    drop(stranger);
    server.known.saw(&sender, Role::Sender, None, Duration::from_mins(1))?;
    (server.events)(Event::Connected(peer));
    converse(server, line, &sender).await
}

/// Requests read ahead while one is worked on.
const AHEAD: usize = 4;

async fn converse(server: &Arc<Server>, line: Line, sender: &Fingerprint) -> Result<(), PeerError> {
    let limits = server.limits;
    let (read, mut write) = tokio::io::split(line);
    let (ahead, mut requests) = mpsc::channel(AHEAD);
    let reader = tokio::spawn(read_ahead(read, ahead, limits));
    let result = async {
        while let Some(frame) = requests.recv().await {
            // Checked again each time: a machine that was forgotten is a stranger at once.
            let Some(peer) = server.known.find(sender, Role::Sender)? else { break };
            answer(server, &peer, frame, &mut write).await?;
        }
        Ok(())
    }
    .await;
    reader.abort();
    let _ = timeout(limits.answer_within, write.shutdown()).await;
    result
}

async fn read_ahead(mut line: ReadHalf<Line>, ahead: mpsc::Sender<Frame>, limits: Limits) {
    while let Ok(Some(frame)) = frame::read(&mut line, FRIEND, limits.idle, limits.stall, || {}).await {
        if ahead.send(frame).await.is_err() {
            break;
        }
    }
}

async fn answer(server: &Server, peer: &Peer, frame: Frame, line: &mut WriteHalf<Line>) -> Result<(), PeerError> {
    let Envelope { id, message } = frame.head::<Envelope<Request>>()?;
    let stall = server.limits.stall;
    let work = server.host.serve(peer, message, frame.body);
    tokio::pin!(work);
    let mut tick = interval_at(tokio::time::Instant::now() + server.limits.busy, server.limits.busy);
    let outcome = loop {
        tokio::select! {
            outcome = &mut work => break outcome,
            _ = tick.tick() => frame::write(line, &Envelope { id, message: Reply::Busy }, &[], stall).await?,
        }
    };
    let (message, body) = outcome.unwrap_or_else(|refusal| (Reply::Refused(refusal), Bytes::new()));
    frame::write(line, &Envelope { id, message }, &body, stall).await
}
