//! Another machine as a destination: a real receiver on the loopback interface, with a local directory behind it.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use peer::{
    Client, Dialer, Event, Identity, Known, Limits, PeerError, Reply, Request, Server,
    code::Code,
    gate::{Gate, GateLimits},
};
use store::{
    Address, Cancellation, Completed, Context, Expected, Kind, Options, Part, Segments, Store, StoreError, Tuning,
    contract::{self, ContractOptions},
    local::Local,
    machine::{self, Receiver, ReceiverOptions},
    parts::Activity,
    retry::RetryPolicy,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    runtime::Runtime,
};

/// A receiver in a runtime of its own, which ends with all its connections as a killed process would.
struct Receiving {
    runtime: Option<Runtime>,
    address: SocketAddr,
    events: Arc<Mutex<Vec<Event>>>,
}

const QUICK_GATE: GateLimits = GateLimits {
    tries: 5,
    life: Duration::from_mins(1),
    first_pause: Duration::from_millis(40),
    longest_pause: Duration::from_millis(200),
    try_within: Duration::from_secs(5),
};

impl Receiving {
    fn start(to: &Path, state: &Path, at: &str) -> Self {
        let runtime = Runtime::new().unwrap();
        let events = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&events);
        let (to, state, at) = (to.to_owned(), machine::state(state), at.to_owned());
        let address = runtime.block_on(async {
            let gate = Arc::new(Gate::new(QUICK_GATE));
            let code = gate.renew().unwrap();
            log.lock().unwrap().push(Event::Code(code));
            let receiver = Receiver::new(
                Arc::new(Local::open(&to).unwrap()),
                &state,
                ReceiverOptions { builder: None, append_only: false, on_event: Arc::new(|_| {}) },
            );
            let server = Server {
                identity: Identity::load_or_create(&state).unwrap(),
                name: "nas".into(),
                known: Arc::new(Known::new(&state)),
                gate,
                host: Arc::new(receiver),
                events: Arc::new(move |event| log.lock().unwrap().push(event)),
                limits: Limits { answer_within: Duration::from_secs(5), ..Limits::default() },
            };
            let listener = Server::bind(&at).await.unwrap();
            let address = listener.local_addr().unwrap();
            tokio::spawn(server.run(listener));
            address
        });
        Self { runtime: Some(runtime), address, events }
    }

    fn code(&self) -> String {
        let is_code = |event: &Event| if let Event::Code(code) = event { Some(code.clone()) } else { None };
        self.events.lock().unwrap().iter().rev().find_map(is_code).unwrap()
    }

    /// As `kill -9` would, as far as a test can.
    fn kill(mut self) -> SocketAddr {
        self.runtime.take().unwrap().shutdown_timeout(Duration::from_secs(10));
        self.address
    }
}

impl Drop for Receiving {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

struct Rig {
    dir: tempfile::TempDir,
}

impl Rig {
    fn new() -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let rig = Self { dir: tempfile::tempdir().unwrap() };
        fs::create_dir(rig.to()).unwrap();
        rig
    }
    fn to(&self) -> PathBuf {
        self.dir.path().join("to")
    }
    fn state(&self, whose: &str) -> PathBuf {
        self.dir.path().join(whose)
    }
    fn receive(&self) -> Receiving {
        Receiving::start(&self.to(), &self.state("there"), "127.0.0.1:0")
    }
    fn files(&self) -> Vec<String> {
        fs::read_dir(self.to()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }
    fn context(&self, code: Option<String>) -> Context {
        context(&self.state("here"), code)
    }
}

fn context(state: &Path, code: Option<String>) -> Context {
    let tuning = Tuning {
        stall: Duration::from_secs(5),
        first_pause: Duration::from_millis(5),
        longest_pause: Duration::from_millis(100),
        first_contact: Duration::from_secs(20),
        give_up_after: Duration::from_mins(1),
        ..Tuning::default()
    };
    let mut context = Context::new(tuning, state.to_owned(), Cancellation::default()).unwrap();
    context.environment = Arc::new(move |name| code.clone().filter(|_| name == "HAUL_PAIRING_CODE"));
    context
}

async fn connect(address: SocketAddr, context: &Context) -> Result<Arc<dyn Store>, StoreError> {
    let address = Address::parse(&format!("haul://{address}")).unwrap();
    store::connect(&address, &Options::default(), context).await
}

fn bytes(length: usize) -> Bytes {
    let mut state = 0x9e37_79b9_u64;
    (0..length)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as u8
        })
        .collect::<Vec<_>>()
        .into()
}

fn parts(bytes: &Bytes, size: usize) -> Vec<Part> {
    let count = bytes.len().div_ceil(size);
    let part = |index: usize| {
        let data = Segments::from(bytes.slice(index * size..bytes.len().min((index + 1) * size)));
        let last = index + 1 == count;
        Part {
            index: index as u32,
            offset: (index * size) as u64,
            data,
            total: last.then_some(bytes.len() as u64),
            last,
            activity: Activity::default(),
        }
    };
    (0..count).map(part).collect()
}

fn completed(bytes: &Bytes, parts: usize) -> Completed {
    Completed { length: bytes.len() as u64, parts: parts as u32, md5: None }
}

#[test]
fn a_receiver_keeps_the_contract() {
    let rig = Rig::new();
    fs::write(rig.to().join("other.tar"), "keep").unwrap();
    let receiving = rig.receive();
    Runtime::new().unwrap().block_on(async {
        let store = connect(receiving.address, &rig.context(Some(receiving.code()))).await.unwrap();
        let options = ContractOptions { settle: Duration::ZERO, longest: Duration::from_mins(1) };
        let findings = contract::check(store.as_ref(), &options, &mut |_| {}).await.findings;
        let broken: Vec<_> = findings.iter().filter(|finding| !finding.is_fine()).collect();
        assert!(broken.is_empty(), "{broken:#?}");
        assert_eq!(rig.files(), ["other.tar"]);
        // Paired once, the code is not needed again, and does not work again.
        assert!(connect(receiving.address, &rig.context(None)).await.is_ok());
        let stranger = context(&rig.state("stranger"), Some(receiving.code()));
        let error = connect(receiving.address, &stranger).await.err().unwrap();
        assert_eq!(error.kind(), Some(Kind::Credentials), "{error}");
    });
}

fn dialer(address: SocketAddr, identity: Identity) -> Dialer {
    Dialer {
        address: address.to_string(),
        identity: Arc::new(identity),
        connect_timeout: Duration::from_secs(5),
        stall: Duration::from_secs(5),
    }
}

#[test]
fn a_stranger_gets_nothing() {
    let rig = Rig::new();
    let receiving = rig.receive();
    Runtime::new().unwrap().block_on(async {
        let dialer = dialer(receiving.address, Identity::ephemeral().unwrap());
        let shown = dialer.look().await.unwrap();
        for request in [Request::Abilities, Request::List, Request::Space] {
            let error = Client::new(dialer.clone(), shown).call(request, &[]).await.err().unwrap();
            assert!(matches!(error, PeerError::NotPaired), "{error}");
        }
        // Without TLS: an alert at most.
        for words in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0; 64], b"\x16\x03\x01\x00\x02\x01\x00"] {
            let mut socket = TcpStream::connect(receiving.address).await.unwrap();
            socket.write_all(words).await.unwrap();
            let mut heard = Vec::new();
            let _ = tokio::time::timeout(Duration::from_secs(10), socket.read_to_end(&mut heard)).await.unwrap();
            assert!(heard.len() <= 7, "{heard:?}");
        }
    });
    assert_eq!(receiving.events.lock().unwrap().len(), 1, "only the code was told");
}

#[test]
fn strangers_who_say_nothing_do_not_keep_friends_out() {
    let rig = Rig::new();
    let receiving = rig.receive();
    Runtime::new().unwrap().block_on(async {
        let context = rig.context(Some(receiving.code()));
        connect(receiving.address, &context).await.unwrap();
        let mut silent = Vec::new();
        for _ in 0..100 {
            silent.push(TcpStream::connect(receiving.address).await.unwrap());
        }
        // Those from one address share few slots, and lose them soon.
        let policy = RetryPolicy::new(&context);
        assert!(policy.retry(|| connect(receiving.address, &context)).await.is_ok());
    });
}

#[test]
fn a_wrong_code_is_refused_costs_time_and_ends_the_code() {
    let rig = Rig::new();
    let receiving = rig.receive();
    let first = receiving.code();
    Runtime::new().unwrap().block_on(async {
        let started = Instant::now();
        for tried in 1..=5 {
            let error = connect(receiving.address, &rig.context(Some("babab-babab".into()))).await.err().unwrap();
            assert!(error.to_string().contains("pairing code is wrong"), "{error}");
            assert_eq!(error.kind(), Some(Kind::Credentials));
            assert!(tried < 5 || started.elapsed() >= Duration::from_millis(40 + 80 + 160 + 200));
        }
        assert_ne!(receiving.code(), first, "a new code was told");
        let error = connect(receiving.address, &rig.context(Some(first))).await.err().unwrap();
        assert_eq!(error.kind(), Some(Kind::Credentials));
        assert!(Known::new(&machine::state(&rig.state("there"))).list().unwrap().is_empty());
        connect(receiving.address, &rig.context(Some(receiving.code()))).await.unwrap();
    });
    let known = Known::new(&machine::state(&rig.state("here"))).list().unwrap();
    assert_eq!((known.len(), known[0].name.as_str()), (1, "nas"));
}

#[test]
fn nobody_at_the_terminal_means_no_pairing_and_says_what_to_do() {
    let rig = Rig::new();
    let receiving = rig.receive();
    let error = Runtime::new().unwrap().block_on(connect(receiving.address, &rig.context(None))).err().unwrap();
    let StoreError::Remote(error) = error else { panic!("{error}") };
    assert!(error.advice.unwrap().contains("HAUL_PAIRING_CODE"));
}

#[test]
fn a_person_may_mistype_twice() {
    let rig = Rig::new();
    let receiving = rig.receive();
    let mut context = rig.context(None);
    let (code, asked) = (receiving.code(), Arc::new(AtomicU64::new(0)));
    let count = Arc::clone(&asked);
    context.ask = Some(Arc::new(move |question| {
        assert!(question.contains("Pairing code"), "{question}");
        Some(if count.fetch_add(1, Ordering::Relaxed) < 2 {
            "oops".to_owned()
        } else {
            code.to_uppercase().replace('-', " ")
        })
    }));
    assert!(Runtime::new().unwrap().block_on(connect(receiving.address, &context)).is_ok());
    assert_eq!(asked.load(Ordering::Relaxed), 3);
}

#[test]
fn another_key_at_the_known_address_is_refused() {
    let rig = Rig::new();
    let receiving = rig.receive();
    let runtime = Runtime::new().unwrap();
    runtime.block_on(connect(receiving.address, &rig.context(Some(receiving.code())))).unwrap();
    let address = receiving.kill();
    let impostor = Receiving::start(&rig.to(), &rig.state("impostor"), &address.to_string());
    let error = runtime.block_on(connect(impostor.address, &rig.context(Some(impostor.code())))).err().unwrap();
    assert_eq!(error.kind(), Some(Kind::Credentials));
    assert!(error.to_string().contains("its key is not that"), "{error}");
    assert_eq!(impostor.events.lock().unwrap().len(), 1);
}

#[test]
fn a_forgotten_machine_is_a_stranger_at_once() {
    let rig = Rig::new();
    let receiving = rig.receive();
    Runtime::new().unwrap().block_on(async {
        let store = connect(receiving.address, &rig.context(Some(receiving.code()))).await.unwrap();
        store.list().await.unwrap();
        // By another process, as `haul peers forget` does.
        let known = Known::new(&machine::state(&rig.state("there")));
        let name = known.list().unwrap()[0].name.clone();
        assert_eq!(known.forget(&name).unwrap().len(), 1);
        assert!(store.list().await.err().unwrap().is_transient(), "the connection at hand is closed");
        let error = store.list().await.err().unwrap();
        assert_eq!(error.kind(), Some(Kind::Credentials), "{error}");
    });
}

/// Passes bytes on, and cuts the line each time a budget of bytes is used up.
async fn cutting_proxy(to: SocketAddr, budgets: Arc<Mutex<Vec<u64>>>, cuts: Arc<AtomicU64>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((near, _)) = listener.accept().await {
            let far = TcpStream::connect(to).await.unwrap();
            let budget = budgets.lock().unwrap().pop();
            let cuts = Arc::clone(&cuts);
            tokio::spawn(async move {
                let (mut near_in, mut near_out) = near.into_split();
                let (mut far_in, mut far_out) = far.into_split();
                let there = async {
                    let mut left = budget.unwrap_or(u64::MAX);
                    let mut buffer = vec![0; 20_000];
                    while let Ok(count @ 1..) = near_in.read(&mut buffer).await {
                        let passed = (count as u64).min(left);
                        if far_out.write_all(&buffer[..passed as usize]).await.is_err() {
                            return;
                        }
                        left -= passed;
                        if left == 0 {
                            cuts.fetch_add(1, Ordering::Relaxed);
                            return;
                        }
                    }
                };
                let back = async { tokio::io::copy(&mut far_in, &mut near_out).await };
                tokio::select! { () = there => {}, _ = back => {} }
            });
        }
    });
    address
}

#[test]
fn a_line_cut_twenty_times_costs_nothing_but_time() {
    let rig = Rig::new();
    let receiving = rig.receive();
    Runtime::new().unwrap().block_on(async {
        let budgets = Arc::new(Mutex::new(Vec::new()));
        let cuts = Arc::new(AtomicU64::new(0));
        let address = cutting_proxy(receiving.address, Arc::clone(&budgets), Arc::clone(&cuts)).await;
        let context = rig.context(Some(receiving.code()));
        let store = connect(address, &context).await.unwrap();
        // Anywhere: in the handshake, in a head, in a body, between messages.
        let mut state = 7_u64;
        let mut random = |most: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            1 + (state >> 33) % most
        };
        let scattered: Vec<u64> = (0..20).map(|n| if n % 4 == 0 { random(3000) } else { random(3_000_000) }).collect();
        *budgets.lock().unwrap() = scattered;
        drop(store);
        let store = RetryPolicy::new(&context).retry(|| connect(address, &context)).await.unwrap();

        let bytes = bytes(60_000_123);
        let policy = RetryPolicy::new(&context);
        let upload = policy.retry(|| store.create("cut.tar", Expected::default())).await.unwrap();
        let parts = parts(&bytes, 4 << 20);
        for part in &parts {
            policy.retry(|| upload.put(part)).await.unwrap();
        }
        policy.retry(|| upload.patch(5, b"patched")).await.unwrap();
        let completed = completed(&bytes, parts.len());
        policy.retry(|| upload.commit(&completed)).await.unwrap();
        assert_eq!(cuts.load(Ordering::Relaxed), 20);
        let mut expected = bytes.to_vec();
        expected[5..12].copy_from_slice(b"patched");
        assert!(fs::read(rig.to().join("cut.tar")).unwrap() == expected);
        assert_eq!(rig.files(), ["cut.tar"]);
    });
}

#[test]
fn an_upload_continues_after_the_receiver_was_started_anew() {
    let rig = Rig::new();
    let mut receiving = Some(rig.receive());
    let runtime = Runtime::new().unwrap();
    let address = receiving.as_ref().unwrap().address;
    let context = rig.context(Some(receiving.as_ref().unwrap().code()));
    let store = runtime.block_on(connect(address, &context)).unwrap();
    let bytes = bytes(20_000_001);
    let parts = parts(&bytes, 1 << 20);
    let policy = RetryPolicy::new(&context);
    let upload = runtime.block_on(store.create("again.tar", Expected::default())).unwrap();
    for (n, part) in parts.iter().enumerate() {
        if n % 6 == 3 {
            receiving.take().unwrap().kill();
            assert!(runtime.block_on(upload.put(part)).err().unwrap().is_transient());
            let new = Receiving::start(&rig.to(), &rig.state("there"), &address.to_string());
            // Somebody else's backup into the same directory removes what is dead, and this is not.
            Local::open(&rig.to()).map(|local| runtime.block_on(local.remove_abandoned()).unwrap()).unwrap();
            receiving = Some(new);
        }
        runtime.block_on(policy.retry(|| upload.put(part))).unwrap();
    }
    receiving.take().unwrap().kill();
    let receiving = Receiving::start(&rig.to(), &rig.state("there"), &address.to_string());
    let completed = completed(&bytes, parts.len());
    runtime.block_on(policy.retry(|| upload.commit(&completed))).unwrap();
    assert!(fs::read(rig.to().join("again.tar")).unwrap() == bytes);
    // The answer to a commit may get lost, and the receiver may end before it is asked again.
    receiving.kill();
    let _receiving = Receiving::start(&rig.to(), &rig.state("there"), &address.to_string());
    runtime.block_on(policy.retry(|| upload.commit(&completed))).unwrap();
    assert_eq!(rig.files(), ["again.tar"]);
}

#[test]
fn machines_do_not_touch_each_others_uploads() {
    let rig = Rig::new();
    let receiving = rig.receive();
    Runtime::new().unwrap().block_on(async {
        let one = connect(receiving.address, &rig.context(Some(receiving.code()))).await.unwrap();
        let bytes = bytes(3_000_000);
        let upload = one.create("mine.tar", Expected { resumable: true, ..Expected::default() }).await.unwrap();
        upload.put(&parts(&bytes, 1 << 20)[0]).await.unwrap();
        let session = upload.session().unwrap();

        let known = Known::new(&machine::state(&rig.state("there")));
        let other = Identity::ephemeral().unwrap();
        known.add("other", other.fingerprint(), peer::Role::Sender, None).unwrap();
        let dialer = dialer(receiving.address, other);
        let other = Client::new(dialer.clone(), dialer.look().await.unwrap());
        let id = session.0["upload"].as_str().unwrap().to_owned();
        assert_eq!(other.call(Request::Resume { upload: id.clone() }, &[]).await.unwrap().0, Reply::Gone);
        other.call(Request::Abort { upload: id }, &[]).await.unwrap();
        assert!(one.resume(&session).await.unwrap().is_some());
    });
}

#[test]
fn what_a_killed_sender_left_is_removed_by_its_next_run() {
    let rig = Rig::new();
    let receiving = rig.receive();
    Runtime::new().unwrap().block_on(async {
        let context = rig.context(Some(receiving.code()));
        let store = connect(receiving.address, &context).await.unwrap();
        let name = store::owner::temporary_name();
        let fields: Vec<&str> = name.split('-').collect();
        let dead = format!("{}-{}-{}-{}-7-{}", fields[0], fields[1], fields[2], u32::MAX, fields[5]);
        let identity = Identity::load_or_create(&machine::state(&context.state)).unwrap();
        let dialer = dialer(receiving.address, identity);
        let client = Client::new(dialer.clone(), dialer.look().await.unwrap());
        let create = Request::Create {
            upload: dead,
            name: "dead.tar".into(),
            about: None,
            exact: None,
            least: None,
            keep: false,
        };
        client.call(create, &[]).await.unwrap();
        let kept = store.create("kept.tar", Expected { resumable: true, ..Expected::default() }).await.unwrap();
        let living = store.create("living.tar", Expected::default()).await.unwrap();
        assert_eq!(rig.files().len(), 3);
        assert_eq!(store.remove_abandoned().await.unwrap(), 1);
        assert_eq!(rig.files().len(), 2);
        kept.abort().await.unwrap();
        living.abort().await.unwrap();
        assert!(rig.files().is_empty());
    });
}

#[test]
fn names_that_lead_elsewhere_are_refused() {
    let rig = Rig::new();
    fs::write(rig.dir.path().join("secret"), "secret").unwrap();
    let receiving = rig.receive();
    Runtime::new().unwrap().block_on(async {
        let store = connect(receiving.address, &rig.context(Some(receiving.code()))).await.unwrap();
        for name in ["../secret", "", ".", "..", ".hidden", "a/b", "a\\b", "a\nb"] {
            assert_eq!(store.entry(name).await.err().unwrap().kind(), Some(Kind::Invalid), "{name:?}");
            assert_eq!(store.read(name, 0..1).await.err().unwrap().kind(), Some(Kind::Invalid), "{name:?}");
            assert_eq!(store.delete(name).await.err().unwrap().kind(), Some(Kind::Invalid), "{name:?}");
            assert_eq!(
                store.create(name, Expected::default()).await.err().unwrap().kind(),
                Some(Kind::Invalid),
                "{name:?}"
            );
        }
        assert_eq!(fs::read(rig.dir.path().join("secret")).unwrap(), b"secret");
    });
}

#[test]
fn a_code_typed_at_the_wrong_machine_is_worth_nothing_at_the_right_one() {
    // The wrong one took part in the exchange, and holds a proof that only a guess of the code could test.
    let rig = Rig::new();
    let receiving = rig.receive();
    let impostor = Receiving::start(&rig.to(), &rig.state("impostor"), "127.0.0.1:0");
    Runtime::new().unwrap().block_on(async {
        let dialer = dialer(impostor.address, Identity::ephemeral().unwrap());
        let error = dialer.pair(&Code::parse(&receiving.code()), "green").await.err().unwrap();
        assert!(matches!(error, PeerError::WrongCode), "{error}");
        connect(receiving.address, &rig.context(Some(receiving.code()))).await.unwrap();
    });
}
