//! Two machines over a real socket, with a line between them that can be cut: pairing, the conversation, and what each
//! side makes of the other saying no, too little, twice, late, never, or of somebody else speaking.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use peer::{
    Client, Dialer, Event, Fingerprint, Host, Identity, Known, Limits, Peer, PeerError, Refusal, RefusalKind, Reply,
    Request, Role, Server,
    code::Code,
    frame::{FRIEND, PREFIX},
    gate::{Gate, GateLimits},
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional},
    net::{TcpListener, TcpStream},
    sync::{Notify, Semaphore, mpsc},
    task::JoinHandle,
};

/// No test waits so long unless it fails.
const NEVER: Duration = Duration::from_mins(2);
const STALL: Duration = Duration::from_secs(1);

/// What the host does with requests: `Space` waits for a permit, `Delete` is refused, the rest is done at once. Each is
/// counted, and answered with the bytes that came.
struct Desk {
    permits: Semaphore,
    served: AtomicU32,
    came: Notify,
}

#[async_trait]
impl Host for Desk {
    async fn serve(&self, peer: &Peer, request: Request, body: Bytes) -> Result<(Reply, Bytes), Refusal> {
        self.served.fetch_add(1, Ordering::SeqCst);
        self.came.notify_one();
        assert_eq!(peer.name, "green");
        match request {
            Request::Space => self.permits.acquire().await.unwrap().forget(),
            Request::Delete { .. } => return Err(Refusal::new(RefusalKind::Permission, "it is write-protected")),
            _ => {}
        }
        Ok((Reply::Done, body))
    }
}

/// A receiver, a sender, and the line between them.
struct Machines {
    dir: TempDir,
    address: SocketAddr,
    known: Arc<Known>,
    gate: Arc<Gate>,
    desk: Arc<Desk>,
    events: Mutex<mpsc::UnboundedReceiver<Event>>,
    serving: JoinHandle<()>,
}

impl Machines {
    async fn start(limits: Limits) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let there = dir.path().join("there");
        std::fs::create_dir_all(&there).unwrap();
        std::fs::create_dir_all(dir.path().join("here")).unwrap();
        let gate = Gate::new(GateLimits { first_pause: Duration::ZERO, ..GateLimits::default() });
        let (known, gate) = (Arc::new(Known::new(&there)), Arc::new(gate));
        let desk = Arc::new(Desk { permits: Semaphore::new(0), served: AtomicU32::new(0), came: Notify::new() });
        let (tell, events) = mpsc::unbounded_channel();
        let server = Server {
            identity: Identity::load_or_create(&there).unwrap(),
            name: "nas".into(),
            known: Arc::clone(&known),
            gate: Arc::clone(&gate),
            host: Arc::clone(&desk) as _,
            events: Arc::new(move |event| drop(tell.send(event))),
            limits,
        };
        let listener = Server::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let serving = tokio::spawn(async move { server.run(listener).await.unwrap() });
        Self { dir, address, known, gate, desk, events: Mutex::new(events), serving }
    }

    fn identity(&self, name: &str) -> Arc<Identity> {
        let state = self.dir.path().join(name);
        std::fs::create_dir_all(&state).unwrap();
        Arc::new(Identity::load_or_create(&state).unwrap())
    }

    fn dialer_to(&self, address: SocketAddr, name: &str, stall: Duration) -> Dialer {
        Dialer { address: address.to_string(), identity: self.identity(name), connect_timeout: NEVER, stall }
    }

    fn dialer(&self) -> Dialer {
        self.dialer_to(self.address, "here", NEVER)
    }

    async fn pair(&self, dialer: &Dialer) -> Result<(String, Fingerprint), PeerError> {
        let code = Code::parse(&self.gate.renew().unwrap());
        dialer.pair(&code, "green").await
    }

    async fn paired(&self) -> Client {
        let (name, receiver) = self.pair(&self.dialer()).await.unwrap();
        assert_eq!(name, "nas");
        Client::new(self.dialer(), receiver)
    }

    fn told(&self) -> Vec<Event> {
        let mut events = self.events.lock().unwrap();
        std::iter::from_fn(|| events.try_recv().ok()).collect()
    }

    fn served(&self) -> u32 {
        self.desk.served.load(Ordering::SeqCst)
    }
}

impl Drop for Machines {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// Passes connections on, each until it is cut.
struct Line {
    address: SocketAddr,
    cut: Arc<Notify>,
}

impl Line {
    async fn to(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let line = Self { address: listener.local_addr().unwrap(), cut: Arc::default() };
        let cut = Arc::clone(&line.cut);
        tokio::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                let cut = Arc::clone(&cut);
                tokio::spawn(async move {
                    let mut far = TcpStream::connect(target).await.unwrap();
                    tokio::select! {
                        _ = copy_bidirectional(&mut near, &mut far) => {}
                        () = cut.notified() => {}
                    }
                });
            }
        });
        line
    }
}

fn name(text: &str) -> Request {
    Request::Entry { name: text.to_owned() }
}

#[tokio::test]
async fn a_code_makes_two_machines_known_to_each_other_and_serves_once() {
    let machines = Machines::start(Limits::default()).await;
    let code = machines.gate.renew().unwrap();
    let dialer = machines.dialer();
    let (name, receiver) = dialer.pair(&Code::parse(&code), "green").await.unwrap();
    assert_eq!((name.as_str(), receiver), ("nas", dialer.look().await.unwrap()));
    let known = machines.known.find(&dialer.identity.fingerprint(), Role::Sender).unwrap().unwrap();
    assert_eq!(known.name, "green");
    assert_eq!(machines.told(), [Event::Paired(known)]);
    // The same words once more, by somebody who watched.
    let other = machines.dialer_to(machines.address, "other", NEVER);
    let refused = other.pair(&Code::parse(&code), "other").await.unwrap_err();
    assert!(matches!(refused, PeerError::NoPairing), "{refused}");
    assert!(machines.known.find(&other.identity.fingerprint(), Role::Sender).unwrap().is_none());
}

#[tokio::test]
async fn without_a_code_or_with_a_wrong_one_nobody_becomes_known() {
    let machines = Machines::start(Limits::default()).await;
    let dialer = machines.dialer();
    let refused = dialer.pair(&Code::parse("babab-babab"), "green").await.unwrap_err();
    assert!(matches!(refused, PeerError::NoPairing), "{refused}");
    let first = machines.gate.renew().unwrap();
    for left in [4, 3, 2, 1, 0] {
        let refused = dialer.pair(&Code::parse("babab-babab"), "green").await.unwrap_err();
        assert!(matches!(refused, PeerError::WrongCode), "{refused}");
        assert_eq!(machines.told()[0], Event::WrongCode(left));
    }
    // The fifth ends the code, whoever knows it.
    assert!(matches!(dialer.pair(&Code::parse(&first), "green").await, Err(PeerError::WrongCode)));
    assert!(machines.known.list().unwrap().is_empty());
}

#[tokio::test]
async fn a_machine_that_was_not_paired_is_asked_nothing_and_told_nothing() {
    let machines = Machines::start(Limits::default()).await;
    let receiver = machines.dialer().look().await.unwrap();
    let client = Client::new(machines.dialer(), receiver);
    assert!(matches!(client.call(Request::List, &[]).await, Err(PeerError::NotPaired)));
    assert_eq!((machines.served(), machines.told()), (0, Vec::new()));
}

#[tokio::test]
async fn a_machine_that_was_forgotten_is_a_stranger_in_the_middle_of_its_connection() {
    let machines = Machines::start(Limits::default()).await;
    let client = machines.paired().await;
    client.call(Request::List, &[]).await.unwrap();
    machines.known.forget("green").unwrap();
    assert!(matches!(client.call(Request::List, &[]).await, Err(PeerError::Broken(_))));
    assert!(matches!(client.call(Request::List, &[]).await, Err(PeerError::NotPaired)));
    assert_eq!(machines.served(), 1);
}

#[tokio::test]
async fn another_key_at_the_same_address_is_noticed_before_anything_is_said() {
    let machines = Machines::start(Limits::default()).await;
    let _ = machines.paired().await;
    let client = Client::new(machines.dialer(), Identity::ephemeral().unwrap().fingerprint());
    assert!(matches!(client.call(Request::List, &[]).await, Err(PeerError::KeyChanged)));
    assert_eq!(machines.served(), 0);
}

#[tokio::test]
async fn requests_follow_each_other_and_each_answer_belongs_to_its_request() {
    let machines = Machines::start(Limits::default()).await;
    let client = machines.paired().await;
    let mut answers = Vec::new();
    for n in 0..50_u8 {
        let body = [Bytes::from(vec![n; 1000]), Bytes::from(vec![n; usize::from(n)])];
        answers.push(client.send(name("a"), &body, &|_| Box::pin(std::future::ready(()))).await.unwrap());
    }
    // Asked for in another order than they come.
    for (n, answer) in answers.into_iter().enumerate().rev() {
        let (reply, body) = answer.answer().await.unwrap();
        assert_eq!((reply, body), (Reply::Done, Bytes::from(vec![n as u8; 1000 + n])));
    }
    assert_eq!((machines.served(), client.connection().await.unwrap()), (50, 1));
}

#[tokio::test]
async fn a_no_is_an_answer_and_the_connection_stays() {
    let machines = Machines::start(Limits::default()).await;
    let client = machines.paired().await;
    let no = client.call(Request::Delete { name: "a".into() }, &[]).await.unwrap_err();
    let PeerError::Refused(refusal) = no else { panic!("{no}") };
    assert_eq!((refusal.kind, refusal.reason.as_str()), (RefusalKind::Permission, "it is write-protected"));
    client.call(Request::List, &[]).await.unwrap();
    assert_eq!(client.connection().await.unwrap(), 1);
}

#[tokio::test]
async fn an_answer_that_takes_long_is_waited_for_as_long_as_the_other_side_says_it_works() {
    let limits = Limits { busy: STALL / 10, ..Limits::default() };
    let machines = Machines::start(limits).await;
    let (_, receiver) = machines.pair(&machines.dialer()).await.unwrap();
    let client = Client::new(machines.dialer_to(machines.address, "here", STALL), receiver);
    let waiting = client.call(Request::Space, &[]);
    tokio::pin!(waiting);
    // Several times as long as silence is borne.
    for _ in 0..4 {
        assert!(tokio::time::timeout(STALL, &mut waiting).await.is_err());
    }
    machines.desk.permits.add_permits(1);
    assert_eq!(waiting.await.unwrap().0, Reply::Done);
}

#[tokio::test]
async fn an_answer_that_never_comes_is_given_up_and_the_next_request_dials_again() {
    let machines = Machines::start(Limits { busy: NEVER, ..Limits::default() }).await;
    let (_, receiver) = machines.pair(&machines.dialer()).await.unwrap();
    let client = Client::new(machines.dialer_to(machines.address, "here", STALL), receiver);
    let error = client.call(Request::Space, &[]).await.unwrap_err();
    assert_eq!(error.to_string(), "the connection broke: the other side stopped responding");
    client.call(Request::List, &[]).await.unwrap();
    assert_eq!(client.connection().await.unwrap(), 2);
}

#[tokio::test]
async fn a_line_that_is_cut_fails_all_that_is_under_way_once_and_the_next_one_carries() {
    let machines = Machines::start(Limits::default()).await;
    let (_, receiver) = machines.pair(&machines.dialer()).await.unwrap();
    let line = Line::to(machines.address).await;
    let client = Arc::new(Client::new(machines.dialer_to(line.address, "here", NEVER), receiver));
    for round in 1..=3 {
        let asked: Vec<_> = (0..3)
            .map(|_| {
                let client = Arc::clone(&client);
                tokio::spawn(async move { client.call(Request::Space, &[]).await })
            })
            .collect();
        machines.desk.came.notified().await;
        line.cut.notify_waiters();
        for asked in asked {
            let error = asked.await.unwrap().unwrap_err();
            assert!(matches!(error, PeerError::Broken(_)) && error.is_passing(), "{error}");
        }
        assert_eq!(client.connection().await.unwrap(), round + 1);
    }
    client.call(Request::List, &[]).await.unwrap();
}

#[tokio::test]
async fn nobody_listening_and_nobody_speaking_the_protocol_are_told_apart() {
    let machines = Machines::start(Limits::default()).await;
    let receiver = machines.dialer().look().await.unwrap();
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let deaf = free.local_addr().unwrap();
    let impatient = |address| Dialer { connect_timeout: STALL, ..machines.dialer_to(address, "here", STALL) };
    // Accepts and says nothing.
    let silent = Client::new(impatient(deaf), receiver).call(Request::List, &[]).await.unwrap_err();
    assert_eq!(silent.to_string(), "it accepts connections but does not answer");
    // Something else.
    let web = tokio::spawn(async move {
        let (mut socket, _) = free.accept().await.unwrap();
        while let Ok((mut next, _)) = free.accept().await {
            let _ = socket.shutdown().await;
            let _ = next.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n").await;
            socket = next;
        }
    });
    let other = Client::new(impatient(deaf), receiver).call(Request::List, &[]).await.unwrap_err();
    assert_eq!(other.to_string(), "what answers there is not `haul receive`");
    web.abort();
    let _ = web.await;
    let nobody = Client::new(impatient(deaf), receiver).call(Request::List, &[]).await.unwrap_err();
    assert!(matches!(nobody, PeerError::Unreachable(_)) && nobody.is_passing(), "{nobody}");
}

#[tokio::test]
async fn what_is_no_protocol_ends_its_own_connection_and_no_other() {
    let machines = Machines::start(Limits::default()).await;
    let client = machines.paired().await;
    client.call(Request::List, &[]).await.unwrap();
    for bytes in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0; 600], &[0x16, 0x03, 0x01, 0xff, 0xff]] {
        let mut socket = TcpStream::connect(machines.address).await.unwrap();
        socket.write_all(bytes).await.unwrap();
        socket.shutdown().await.unwrap();
        let mut said = Vec::new();
        let _ = socket.read_to_end(&mut said).await;
        assert!(said.len() < 64, "{said:?}");
    }
    client.call(Request::List, &[]).await.unwrap();
    assert_eq!(client.connection().await.unwrap(), 1);
}

#[tokio::test]
async fn a_body_of_the_largest_size_arrives_and_a_larger_one_is_never_sent() {
    let machines = Machines::start(Limits::default()).await;
    let client = machines.paired().await;
    let largest = Bytes::from(vec![7; FRIEND.body]);
    assert_eq!(client.call(name("a"), std::slice::from_ref(&largest)).await.unwrap().1, largest);
    let more = Bytes::from(vec![7; FRIEND.body + PREFIX]);
    assert!(client.call(name("a"), &[more]).await.is_err());
    // Whatever came of it, the next request works.
    client.call(Request::List, &[]).await.unwrap();
}

#[tokio::test]
async fn strangers_take_no_slot_of_friends_and_leave_theirs_when_they_go() {
    let limits = Limits { strangers: 2, strangers_each: 2, ..Limits::default() };
    let machines = Machines::start(limits).await;
    let client = machines.paired().await;
    client.call(Request::List, &[]).await.unwrap();
    // Both slots are taken by whoever says nothing; a third is sent away at once.
    let idle =
        [TcpStream::connect(machines.address).await.unwrap(), TcpStream::connect(machines.address).await.unwrap()];
    let mut third = TcpStream::connect(machines.address).await.unwrap();
    assert_eq!(third.read(&mut [0; 8]).await.unwrap_or(0), 0);
    client.call(Request::List, &[]).await.unwrap();
    drop(idle);
    let other = Dialer { identity: machines.identity("other"), ..machines.dialer() };
    loop {
        // Seen as gone a moment after they are.
        match other.look().await {
            Ok(_) => break,
            Err(error) => assert!(error.is_passing(), "{error}"),
        }
    }
}

#[tokio::test]
async fn a_friend_too_many_is_turned_away_and_comes_in_when_another_has_left() {
    let machines = Machines::start(Limits { friends: 1, ..Limits::default() }).await;
    let first = machines.paired().await;
    first.call(Request::List, &[]).await.unwrap();
    let second = Client::new(machines.dialer(), machines.dialer().look().await.unwrap());
    let refused = second.call(Request::List, &[]).await.unwrap_err();
    assert!(refused.is_passing(), "{refused}");
    drop(first);
    loop {
        match second.call(Request::List, &[]).await {
            Ok(_) => break,
            Err(error) => assert!(error.is_passing(), "{error}"),
        }
    }
}
