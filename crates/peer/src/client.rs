//! The sender's end: connecting, pairing, and one connection over which requests follow each other without waiting for
//! answers.
//!
//! A connection that breaks fails every request on it; the next request dials again. What a request's failure means is
//! its caller's to know.

use std::{
    collections::HashMap,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use tokio::{
    io::{AsyncWriteExt, BufWriter, ReadHalf, WriteHalf},
    net::TcpStream,
    sync::{Mutex as AsyncMutex, oneshot},
    task::AbortHandle,
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::{
    code::Code,
    dial,
    error::PeerError,
    frame::{self, FRIEND, Frame, SLICE, STRANGER, in_time},
    identity::{Fingerprint, Identity},
    message::{Envelope, Hello, OLDEST, Reply, Request, VERSION},
    pairing::{self, Binding},
    tls,
};

type Line = TlsStream<TcpStream>;
type Answer = (Reply, Bytes);
/// Told of every slice before it leaves, and waited for.
pub type Pace<'a> = &'a (dyn Fn(u64) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>> + Send + Sync);

/// How to reach a receiver.
#[derive(Clone)]
pub struct Dialer {
    /// `host:port`.
    pub address: String,
    /// The sender's name.
    pub identity: Arc<Identity>,
    /// For a connection to be established.
    pub connect_timeout: Duration,
    /// For any byte to move after that.
    pub stall: Duration,
}

impl Dialer {
    /// The key of the machine that answers; it does not prove which machine that is.
    pub async fn look(&self) -> Result<Fingerprint, PeerError> {
        let (mut line, fingerprint) = self.dial(None, tls::PAIR).await?;
        let _ = timeout(self.stall, line.shutdown()).await;
        Ok(fingerprint)
    }

    /// Makes both machines known to each other; returns what the receiver calls itself, and its key.
    pub async fn pair(&self, code: &Code, own_name: &str) -> Result<(String, Fingerprint), PeerError> {
        let (mut line, receiver) = self.dial(None, tls::PAIR).await?;
        let exported = line.get_ref().1.export_keying_material([0; 32], pairing::EXPORTER, None);
        let exported = exported
            .map_err(|error| PeerError::Protocol(format!("the connection can't be used for pairing: {error}")))?;
        let binding = Binding { exported, sender: self.identity.fingerprint(), receiver };
        let name = pairing::begin(&mut line, &binding, code, own_name).await?;
        let _ = timeout(self.stall, line.shutdown()).await;
        Ok((name, receiver))
    }

    async fn dial(&self, expected: Option<Fingerprint>, protocol: &[u8]) -> Result<(Line, Fingerprint), PeerError> {
        let socket = dial::connect(&self.address, self.connect_timeout).await.map_err(PeerError::Unreachable)?;
        let _ = socket.set_nodelay(true);
        let connector = TlsConnector::from(tls::client(&self.identity, expected, protocol)?);
        let Ok(shaken) = timeout(self.connect_timeout, connector.connect(tls::nameless(), socket)).await else {
            return Err(PeerError::Unreachable("it accepts connections but does not answer".to_owned()));
        };
        let line = shaken.map_err(|error| {
            if tls::is_other_key(&error) {
                return PeerError::KeyChanged;
            }
            match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
                Some(_) => PeerError::Protocol("what answers there is not `haul receive`".to_owned()),
                None => frame::broken(&error),
            }
        })?;
        let session = line.get_ref().1;
        let fingerprint = tls::fingerprint(session.peer_certificates());
        match fingerprint {
            Some(fingerprint) if session.alpn_protocol() == Some(protocol) => Ok((line, fingerprint)),
            _ => Err(PeerError::Protocol("what answers there is not `haul receive`".to_owned())),
        }
    }
}

/// A receiver that was paired, and the connection to it while it holds.
pub struct Client {
    dialer: Dialer,
    receiver: Fingerprint,
    link: AsyncMutex<Option<Arc<Link>>>,
    dialled: AtomicU64,
}

impl Client {
    /// Dials nothing yet.
    pub fn new(dialer: Dialer, receiver: Fingerprint) -> Self {
        Self { dialer, receiver, link: AsyncMutex::new(None), dialled: AtomicU64::new(0) }
    }

    /// Sends a request and waits for its answer.
    pub async fn call(&self, request: Request, body: &[Bytes]) -> Result<Answer, PeerError> {
        self.send(request, body, &|_| Box::pin(std::future::ready(()))).await?.answer().await
    }

    /// Sends a request, dialling if there is no connection; the answer can be waited for later. Bytes leave when `pace`
    /// is done with their number.
    pub async fn send(&self, request: Request, body: &[Bytes], pace: Pace<'_>) -> Result<Pending, PeerError> {
        self.connect().await?.send(request, body, pace).await
    }

    /// Makes sure of a connection, and says which one it is: another number means another connection.
    pub async fn connection(&self) -> Result<u64, PeerError> {
        Ok(self.connect().await?.number)
    }

    async fn connect(&self) -> Result<Arc<Link>, PeerError> {
        let mut slot = self.link.lock().await;
        if let Some(link) = slot.as_ref().filter(|link| !link.is_broken()) {
            return Ok(Arc::clone(link));
        }
        *slot = None;
        let link = Arc::new(self.open().await?);
        *slot = Some(Arc::clone(&link));
        Ok(link)
    }

    async fn open(&self) -> Result<Link, PeerError> {
        let stall = self.dialer.stall;
        let (mut line, _) = self.dialer.dial(Some(self.receiver), tls::TALK).await?;
        frame::write(&mut line, &Hello { version: VERSION }, &[], stall).await?;
        let Some(frame) = frame::read(&mut line, STRANGER, stall, stall, || {}).await? else {
            return Err(PeerError::NotPaired);
        };
        let version = frame.head::<Hello>()?.version;
        if !(OLDEST..=VERSION).contains(&version) {
            return Err(PeerError::Protocol(format!(
                "it speaks version {version} of the protocol, but this machine speaks {VERSION}: install the same \
                 version of haul on both"
            )));
        }
        let number = self.dialled.fetch_add(1, Ordering::Relaxed) + 1;
        Ok(Link::start(line, number, stall))
    }
}

/// One connection.
struct Link {
    number: u64,
    stall: Duration,
    // Taken out while a message is written: one that is broken off in the middle leaves nothing that could be used
    // further.
    writer: AsyncMutex<Option<BufWriter<WriteHalf<Line>>>>,
    shared: Arc<Shared>,
    next: AtomicU64,
    reader: AbortHandle,
}

#[derive(Default)]
struct Shared {
    waiting: Mutex<HashMap<u64, oneshot::Sender<Answer>>>,
    broken: AtomicBool,
    why: Mutex<Option<String>>,
    moved: AtomicU64,
}

impl Shared {
    fn touch(&self) {
        self.moved.fetch_add(1, Ordering::Relaxed);
    }

    fn waiting(&self) -> std::sync::MutexGuard<'_, HashMap<u64, oneshot::Sender<Answer>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fail(&self, why: &str) {
        self.why.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(|| why.to_owned());
        self.broken.store(true, Ordering::Release);
        self.waiting().clear();
    }

    fn error(&self) -> PeerError {
        let why = self.why.lock().unwrap_or_else(PoisonError::into_inner).clone();
        PeerError::Broken(why.unwrap_or_else(|| "it ended".to_owned()))
    }
}

impl Link {
    fn start(line: Line, number: u64, stall: Duration) -> Self {
        let (read, write) = tokio::io::split(line);
        let shared = Arc::new(Shared::default());
        let reader = tokio::spawn(listen(read, Arc::clone(&shared), stall)).abort_handle();
        let writer = AsyncMutex::new(Some(BufWriter::with_capacity(SLICE, write)));
        Self { number, stall, writer, shared, next: AtomicU64::new(0), reader }
    }

    fn is_broken(&self) -> bool {
        self.shared.broken.load(Ordering::Acquire)
    }

    async fn send(self: Arc<Self>, request: Request, body: &[Bytes], pace: Pace<'_>) -> Result<Pending, PeerError> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let (tell, answer) = oneshot::channel();
        self.shared.waiting().insert(id, tell);
        if self.is_broken() {
            self.shared.waiting().remove(&id);
            return Err(self.shared.error());
        }
        let written = self.write(&Envelope { id, message: request }, body, pace).await;
        match written {
            Ok(()) => Ok(Pending { link: self, answer }),
            Err(error) => {
                self.shared.fail(&match &error {
                    PeerError::Broken(why) => why.clone(),
                    other => other.to_string(),
                });
                Err(error)
            }
        }
    }

    async fn write(&self, head: &Envelope<Request>, body: &[Bytes], pace: Pace<'_>) -> Result<(), PeerError> {
        let length = body.iter().map(Bytes::len).sum();
        let opening = frame::opening(head, length)?;
        let mut slot = self.writer.lock().await;
        let Some(mut writer) = slot.take() else {
            self.shared.fail("a message was cut off");
            return Err(self.shared.error());
        };
        in_time(self.stall, writer.write_all(&opening)).await?;
        for slice in body.iter().flat_map(|piece| piece.chunks(SLICE)) {
            pace(slice.len() as u64).await;
            in_time(self.stall, writer.write_all(slice)).await?;
            self.shared.touch();
        }
        in_time(self.stall, writer.flush()).await?;
        *slot = Some(writer);
        Ok(())
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

/// Passes every answer to the task that waits for it.
async fn listen(mut line: ReadHalf<Line>, shared: Arc<Shared>, stall: Duration) {
    // Tasks that wait for an answer decide whether silence is too long; between requests, any silence is fine.
    const FOR_EVER: Duration = Duration::from_hours(24 * 365);
    let why = loop {
        let frame = match frame::read(&mut line, FRIEND, FOR_EVER, stall, || shared.touch()).await {
            Ok(Some(frame)) => frame,
            Ok(None) => break "the other side closed it".to_owned(),
            Err(PeerError::Broken(why)) => break why,
            Err(error) => break error.to_string(),
        };
        if let Err(error) = deliver(&frame, &shared) {
            break error.to_string();
        }
    };
    shared.fail(&why);
}

fn deliver(frame: &Frame, shared: &Shared) -> Result<(), PeerError> {
    let Envelope { id, message } = frame.head::<Envelope<Reply>>()?;
    if message == Reply::Busy {
        return Ok(());
    }
    if let Some(waiting) = shared.waiting().remove(&id) {
        // A task that no longer waits misses nothing.
        let _ = waiting.send((message, frame.body.clone()));
    }
    Ok(())
}

/// An answer on its way.
pub struct Pending {
    link: Arc<Link>,
    answer: oneshot::Receiver<Answer>,
}

impl Pending {
    /// Waits for it; not longer than anything moves on the line. A refusal is an error.
    pub async fn answer(mut self) -> Result<Answer, PeerError> {
        let shared = &self.link.shared;
        loop {
            let before = shared.moved.load(Ordering::Relaxed);
            match timeout(self.link.stall, &mut self.answer).await {
                Ok(Ok((Reply::Refused(refusal), _))) => return Err(PeerError::Refused(Box::new(refusal))),
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(_)) => return Err(shared.error()),
                Err(_) if shared.moved.load(Ordering::Relaxed) == before => {
                    shared.fail("the other side stopped responding");
                    return Err(shared.error());
                }
                Err(_) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    const SOON: Duration = Duration::from_millis(200);

    async fn frame(bytes: &[u8]) -> Frame {
        frame::read(&mut &*bytes, FRIEND, SOON, SOON, || {}).await.unwrap().unwrap()
    }

    #[tokio::test]
    async fn an_answer_goes_once_to_whoever_waits_for_it_and_no_other_does_harm() {
        let shared = Shared::default();
        let (tell, mut first) = oneshot::channel();
        let (late, second) = oneshot::channel();
        shared.waiting().extend([(1, tell), (2, late)]);
        drop(second);
        let answer = async |id, message| frame(&frame::opening(&Envelope { id, message }, 0).unwrap()).await;
        // In progress; done; the same again, as another kind; to an unknown request; to a request that nobody waits for
        // any more.
        for (id, message) in [(1, Reply::Busy), (1, Reply::Done), (1, Reply::Gone), (9, Reply::Done), (2, Reply::Done)]
        {
            deliver(&answer(id, message).await, &shared).unwrap();
        }
        assert_eq!(first.try_recv().unwrap().0, Reply::Done);
        assert!(shared.waiting().is_empty() && !shared.broken.load(Ordering::Relaxed));
        // What is no answer ends the connection.
        for head in [&b"{}"[..], b"not at all", b"{\"id\":1,\"answer\":\"unheard-of\"}"] {
            let bytes = [&(head.len() as u32).to_be_bytes()[..], &[0; 4], head].concat();
            assert!(matches!(deliver(&frame(&bytes).await, &shared), Err(PeerError::Protocol(_))), "{head:?}");
        }
    }
}
