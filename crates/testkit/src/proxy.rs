//! A proxy on loopback between a real client and a real server, which breaks connections by a script.
//!
//! It controls how and when a connection dies, falls silent, is refused or slow, and, for HTTP, which requests get
//! another answer than the server's. It does not interpret the bytes. It counts everything that passes, so that a test
//! can say what a break may cost.
//!
//! ```no_run
//! # use testkit::proxy::{Answer, Death, Proxy, Rule};
//! # let server = "127.0.0.1:9000".parse().unwrap();
//! let proxy = Proxy::http(server).unwrap();
//! proxy.cut_at([1_000_000, 2_500_000], Death::Reset);
//! proxy.rule(Rule::when(|head| head.method == "PUT").after(2).times(3).answer(Answer::new(503).header("retry-after", "1")));
//! let client_connects_to = proxy.address();
//! ```

mod line;
mod request;

use std::{
    collections::VecDeque,
    io,
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{
    net::{TcpListener, TcpSocket},
    runtime::Runtime,
    sync::watch,
};

pub use request::Head;

/// How a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Death {
    /// At once, with an RST: a process that was killed, a firewall that lost its table.
    Reset,
    /// In order, with a FIN: a proxy or load balancer that had enough.
    Close,
}

/// What is sent instead of the server's answer. The connection is closed afterwards.
#[derive(Clone, Debug)]
pub struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    body: String,
    is_hasty: bool,
}

impl Answer {
    /// An empty answer with this status, once the request's body has been read.
    pub fn new(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: String::new(), is_hasty: false }
    }

    /// With one more header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// With this body.
    #[must_use]
    pub fn body(mut self, text: &str) -> Self {
        text.clone_into(&mut self.body);
        self
    }

    /// Given as soon as the head of the request is there, while its body is still on its way.
    #[must_use]
    pub fn hasty(mut self) -> Self {
        self.is_hasty = true;
        self
    }

    /// Its status.
    pub fn status(&self) -> u16 {
        self.status
    }

    fn to_bytes(&self) -> Vec<u8> {
        let mut head = format!("HTTP/1.1 {} Scripted\r\nconnection: close\r\n", self.status);
        for (name, value) in &self.headers {
            head.extend([name, ": ", value, "\r\n"]);
        }
        format!("{head}content-length: {}\r\n\r\n{}", self.body.len(), self.body).into_bytes()
    }
}

/// What is done with a request that a rule concerns.
#[derive(Clone, Debug)]
enum Act {
    Answer(Answer),
    Lose(Death),
    Hold,
    Ignore,
    Cut(Death),
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It went to the server, and the answer was left as it was.
    Forwarded,
    /// It was answered here with this status; the server never saw it.
    Answered(u16),
    /// It went to the server, whose answer never reached the client.
    Unheard,
    /// It ended here without an answer.
    Dropped,
}

type Predicate = Box<dyn Fn(&Head) -> bool + Send>;

/// Some requests, and what happens to them. Rules are tried in the order in which they were added; the first that
/// matches a request gets it.
pub struct Rule {
    wants: Predicate,
    skip: u32,
    times: u32,
    act: Act,
}

impl Rule {
    /// For requests of which `wants` is true. Answers `503` once, unless configured otherwise.
    pub fn when(wants: impl Fn(&Head) -> bool + Send + 'static) -> Self {
        Self { wants: Box::new(wants), skip: 0, times: 1, act: Act::Answer(Answer::new(503)) }
    }

    /// Lets the first `count` of them pass.
    #[must_use]
    pub fn after(mut self, count: u32) -> Self {
        self.skip = count;
        self
    }

    /// Concerns so many of them and then no more.
    #[must_use]
    pub fn times(mut self, count: u32) -> Self {
        self.times = count;
        self
    }

    /// Concerns all of them.
    #[must_use]
    pub fn always(self) -> Self {
        self.times(u32::MAX)
    }

    /// Answers instead of the server.
    #[must_use]
    pub fn answer(mut self, answer: Answer) -> Self {
        self.act = Act::Answer(answer);
        self
    }

    /// Lets the server do the work, and breaks the connection when it begins to answer.
    #[must_use]
    pub fn lose_answer(mut self, death: Death) -> Self {
        self.act = Act::Lose(death);
        self
    }

    /// Lets the server do the work, and keeps its answer while the connection stays open.
    #[must_use]
    pub fn hold_answer(mut self) -> Self {
        self.act = Act::Hold;
        self
    }

    /// Says nothing and reads no further than the head.
    #[must_use]
    pub fn ignore(mut self) -> Self {
        self.act = Act::Ignore;
        self
    }

    /// Breaks the connection when the head is there; the server never sees the request.
    #[must_use]
    pub fn cut(mut self, death: Death) -> Self {
        self.act = Act::Cut(death);
        self
    }
}

/// A request that passed.
#[derive(Clone, Debug)]
pub struct Seen {
    /// When its head was complete.
    pub at: Instant,
    /// The head.
    pub head: Head,
    /// What became of it.
    pub fate: Fate,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Protocol {
    Raw,
    Http,
}

/// What is still to happen.
#[derive(Default)]
struct Script {
    // Ascending positions in the sum of all uploaded bytes.
    cuts: VecDeque<(u64, Death)>,
    hushes: VecDeque<u64>,
    silent_connections: u32,
    bytes_per_second: Option<u64>,
    rules: Vec<Rule>,
    seen: Vec<Seen>,
}

/// What happens after some more bytes of a connection.
enum Next {
    Pass,
    Cut(Death),
    Hush,
}

struct Shared {
    upstream: SocketAddr,
    protocol: Protocol,
    script: Mutex<Script>,
    up: AtomicU64,
    down: AtomicU64,
    connections: AtomicU64,
    breaks: AtomicU64,
    listens: AtomicBool,
    // Counts how often the line went down: living connections end with each change.
    severed: watch::Sender<(u64, Death)>,
}

impl Shared {
    fn script(&self) -> MutexGuard<'_, Script> {
        self.script.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many of `length` bytes that came from the client still pass, and what happens then.
    fn uploaded(&self, length: u64) -> (u64, Next) {
        let mut script = self.script();
        let from = self.up.load(Ordering::Relaxed);
        let due = |at: Option<u64>| at.filter(|at| *at <= from + length).map(|at| at.saturating_sub(from));
        let cut = due(script.cuts.front().map(|(at, _)| *at));
        let hush = due(script.hushes.front().copied());
        let (passes, next) = match (cut, hush) {
            (None, None) => (length, Next::Pass),
            (Some(cut), hush) if hush.is_none_or(|hush| cut <= hush) => {
                let death = script.cuts.pop_front().map_or(Death::Reset, |(_, death)| death);
                (cut, Next::Cut(death))
            }
            (cut, hush) => {
                script.hushes.pop_front();
                (hush.or(cut).unwrap_or(length), Next::Hush)
            }
        };
        self.up.store(from + passes, Ordering::Relaxed);
        if !matches!(next, Next::Pass) {
            self.breaks.fetch_add(1, Ordering::Relaxed);
        }
        (passes, next)
    }

    fn act_for(&self, head: &Head) -> Option<Act> {
        let mut script = self.script();
        let mut act = None;
        for rule in &mut script.rules {
            if rule.times == 0 || !(rule.wants)(head) {
                continue;
            }
            if rule.skip > 0 {
                rule.skip -= 1;
                continue;
            }
            rule.times -= u32::from(rule.times != u32::MAX);
            act = Some(rule.act.clone());
            break;
        }
        let fate = match &act {
            None => Fate::Forwarded,
            Some(Act::Answer(answer)) => Fate::Answered(answer.status),
            Some(Act::Lose(_) | Act::Hold) => Fate::Unheard,
            Some(Act::Ignore | Act::Cut(_)) => Fate::Dropped,
        };
        if act.is_some() {
            self.breaks.fetch_add(1, Ordering::Relaxed);
        }
        script.seen.push(Seen { at: Instant::now(), head: head.clone(), fate });
        act
    }
}

/// A running proxy; ends, with all its connections, when dropped.
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    is_up: watch::Sender<bool>,
    // Keeps the port while nothing listens there.
    _port: TcpSocket,
    runtime: Option<Runtime>,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Proxy {
    /// In front of a server of any protocol.
    pub fn raw(upstream: SocketAddr) -> io::Result<Self> {
        Self::start(upstream, Protocol::Raw)
    }

    /// In front of a server that speaks HTTP/1.1 in the clear.
    pub fn http(upstream: SocketAddr) -> io::Result<Self> {
        Self::start(upstream, Protocol::Http)
    }

    fn start(upstream: SocketAddr, protocol: Protocol) -> io::Result<Self> {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).thread_name("proxy").enable_all().build()?;
        let guard = runtime.enter();
        let port = bind(([127, 0, 0, 1], 0).into())?;
        let address = port.local_addr()?;
        let listener = listen(address)?;
        let shared = Arc::new(Shared {
            upstream,
            protocol,
            script: Mutex::default(),
            up: AtomicU64::new(0),
            down: AtomicU64::new(0),
            connections: AtomicU64::new(0),
            breaks: AtomicU64::new(0),
            listens: AtomicBool::new(true),
            severed: watch::Sender::new((0, Death::Reset)),
        });
        let (is_up, watching) = watch::channel(true);
        runtime.spawn(accept(Arc::clone(&shared), address, listener, watching));
        drop(guard);
        Ok(Self { address, shared, is_up, _port: port, runtime: Some(runtime) })
    }

    /// Where clients connect.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Breaks the connection that carries the byte at each of these positions, counted over everything that was
    /// uploaded since the start.
    pub fn cut_at(&self, positions: impl IntoIterator<Item = u64>, death: Death) {
        let mut script = self.shared.script();
        script.cuts.extend(positions.into_iter().map(|at| (at, death)));
        script.cuts.make_contiguous().sort_unstable_by_key(|(at, _)| *at);
    }

    /// Breaks `times` connections at random positions of the next `span` uploaded bytes, in both ways of dying in turn.
    /// The same seed gives the same positions.
    pub fn cut_at_random(&self, seed: u64, times: u32, span: u64) {
        let start = self.uploaded();
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        for n in 0..times {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            self.cut_at([start + state % span.max(1)], if n % 2 == 0 { Death::Reset } else { Death::Close });
        }
    }

    /// The proxy accepts the next `count` connections, but never reads from them or answers.
    pub fn silent_connections(&self, count: u32) {
        self.shared.script().silent_connections += count;
    }

    /// The connection that carries the byte at this position of all that is uploaded takes nothing more and says
    /// nothing more.
    pub fn hush_at(&self, position: u64) {
        let mut script = self.shared.script();
        script.hushes.push_back(position);
        script.hushes.make_contiguous().sort_unstable();
    }

    /// How fast each connection may upload; `None`: as fast as it can.
    pub fn throttle(&self, bytes_per_second: Option<u64>) {
        self.shared.script().bytes_per_second = bytes_per_second;
    }

    /// Adds a rule for requests. Only where the line speaks HTTP.
    pub fn rule(&self, rule: Rule) {
        self.shared.script().rules.push(rule);
    }

    /// Forgets everything that was still to happen. Connections that are silent already stay so.
    pub fn calm(&self) {
        let mut script = self.shared.script();
        let seen = std::mem::take(&mut script.seen);
        *script = Script { seen, ..Script::default() };
    }

    /// Breaks all open connections.
    pub fn sever(&self, death: Death) {
        self.shared.severed.send_modify(|severed| *severed = (severed.0 + 1, death));
    }

    /// From now on nothing listens: open connections break, new ones are refused.
    pub fn down(&self) {
        self.is_up.send_replace(false);
        self.settle(false);
        self.sever(Death::Reset);
    }

    /// Listens again.
    pub fn up(&self) {
        self.is_up.send_replace(true);
        self.settle(true);
    }

    /// Waits until it is so.
    fn settle(&self, listens: bool) {
        let started = Instant::now();
        while self.shared.listens.load(Ordering::Relaxed) != listens && started.elapsed() < Duration::from_secs(5) {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// [`Self::down`], and [`Self::up`] by itself after a while.
    pub fn down_for(&self, time: Duration) {
        self.down();
        let is_up = self.is_up.clone();
        if let Some(runtime) = &self.runtime {
            runtime.spawn(async move {
                tokio::time::sleep(time).await;
                is_up.send_replace(true);
            });
        }
    }

    /// Bytes that clients sent.
    pub fn uploaded(&self) -> u64 {
        self.shared.up.load(Ordering::Relaxed)
    }

    /// Bytes that the server sent.
    pub fn downloaded(&self) -> u64 {
        self.shared.down.load(Ordering::Relaxed)
    }

    /// Connections that were accepted.
    pub fn connections(&self) -> u64 {
        self.shared.connections.load(Ordering::Relaxed)
    }

    /// How often something was done as the script says.
    pub fn breaks(&self) -> u64 {
        self.shared.breaks.load(Ordering::Relaxed)
    }

    /// Every request so far, in order. Only where the line speaks HTTP.
    pub fn requests(&self) -> Vec<Seen> {
        self.shared.script().seen.clone()
    }
}

fn bind(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    bind(address)?.listen(64)
}

async fn accept(shared: Arc<Shared>, address: SocketAddr, first: TcpListener, mut is_up: watch::Receiver<bool>) {
    let mut listener = Some(first);
    loop {
        if !*is_up.borrow_and_update() {
            listener = None;
        } else if listener.is_none() {
            listener = listen(address).ok();
        }
        shared.listens.store(listener.is_some(), Ordering::Relaxed);
        let Some(open) = &listener else {
            if is_up.changed().await.is_err() {
                return;
            }
            continue;
        };
        tokio::select! {
            changed = is_up.changed() => if changed.is_err() { return },
            accepted = open.accept() => if let Ok((client, _)) = accepted {
                shared.connections.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(line::carry(Arc::clone(&shared), client));
            },
        }
    }
}
