//! Each call of a sender to a receiver × its possible results: refused for now, not done, done without an answer, done
//! twice, answered with something else.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use peer::{
    Host, Identity, Known, Limits, Peer, Refusal, RefusalKind, Reply, Request, Server,
    gate::{Gate, GateLimits},
};
use store::{
    Address, Bridge, Cancellation, Context, Expected, Kind, Options, Store, StoreError, Tuning,
    local::Local,
    machine::{self, Receiver, ReceiverOptions},
    outbound::{Network, Outbound, Outcome, Target},
    retry::RetryPolicy,
};

const NAME: &str = "a.tar";
const THEIRS: &[u8] = b"another machine's archive";

/// What lies at the receiver, by name.
type There = Vec<(String, Vec<u8>)>;

/// What comes of one call.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    Refused,
    Ignored,
    Unheard,
    Twice,
    Garbled,
    Gone,
    /// Another machine's archive has got the name a moment before.
    Taken,
}

/// The call, after so many of its kind, and what comes of it.
type Planned = (&'static str, u32, Fault);

/// A receiver at which the call of that name, after so many others, meets a fault.
struct Faulty {
    receiver: Receiver,
    fault: Arc<Mutex<Option<Planned>>>,
    taken: PathBuf,
}

fn name(request: &Request) -> &'static str {
    match request {
        Request::Abilities => "abilities",
        Request::RemoveAbandoned => "sweep",
        Request::Unfinished => "unfinished",
        Request::Entry { .. } => "entry",
        Request::Create { .. } => "create",
        Request::Resume { .. } => "resume",
        Request::Put { .. } => "put",
        Request::Patch { .. } => "patch",
        Request::Commit { .. } => "commit",
        Request::Abort { .. } => "abort",
        _ => "other",
    }
}

impl Faulty {
    fn met(&self, request: &Request) -> Option<Fault> {
        let mut fault = self.fault.lock().unwrap();
        let (_, left, found) = fault.as_mut().filter(|(call, ..)| *call == name(request))?;
        let found = *found;
        if *left > 0 {
            *left -= 1;
            return None;
        }
        *fault = None;
        Some(found)
    }
}

#[async_trait]
impl Host for Faulty {
    async fn serve(&self, peer: &Peer, request: Request, body: Bytes) -> Result<(Reply, Bytes), Refusal> {
        let fault = self.met(&request);
        match fault {
            None => {}
            Some(Fault::Refused) => return Err(Refusal::new(RefusalKind::Passing { after: None }, "it is busy")),
            Some(Fault::Ignored) => std::future::pending().await,
            Some(Fault::Unheard) => {
                let _ = self.receiver.serve(peer, request.clone(), body.clone()).await;
                std::future::pending::<()>().await;
            }
            Some(Fault::Twice) => drop(self.receiver.serve(peer, request.clone(), body.clone()).await),
            // No call is answered with this one.
            Some(Fault::Garbled) => return Ok((Reply::Tried { nanos: 1 }, Bytes::from_static(b"\xff\0{"))),
            Some(Fault::Gone) => return Ok((Reply::Gone, Bytes::new())),
            Some(Fault::Taken) => fs::write(&self.taken, THEIRS).unwrap(),
        }
        self.receiver.serve(peer, request, body).await
    }
}

/// One upload to a receiver with this fault: what came of it, and what lies there.
fn upload(planned: Planned, archive: &[u8]) -> (Result<Outcome, StoreError>, There) {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let dir = tempfile::tempdir().unwrap();
    let to = dir.path().join("to");
    fs::create_dir(&to).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let fault = Arc::new(Mutex::new(Some(planned)));
    let (address, code) =
        runtime.block_on(receive(&to, &machine::state(&dir.path().join("there")), Arc::clone(&fault)));
    let tuning = Tuning {
        stall: Duration::from_secs(1),
        first_pause: Duration::from_millis(5),
        longest_pause: Duration::from_millis(50),
        ..Tuning::default()
    };
    let mut context = Context::new(tuning, dir.path().join("here"), Cancellation::default()).unwrap();
    context.environment = Arc::new(move |name| Some(code.clone()).filter(|_| name == "HAUL_PAIRING_CODE"));
    let bridge = Bridge::start().unwrap();
    let address = Address::parse(&format!("haul://{address}")).unwrap();
    let options = Options::default();
    let connected =
        bridge.wait(RetryPolicy::new(&context).retry(|| async { store::connect(&address, &options, &context).await }));
    let outcome = connected.and_then(|store| send(store, archive, &Network { bridge: &bridge, context: &context }));
    assert_eq!(*fault.lock().unwrap(), None, "it was never asked for");
    let there = fs::read_dir(&to).unwrap().map(|entry| entry.unwrap());
    let there =
        there.map(|entry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap())).collect();
    runtime.shutdown_background();
    (outcome, there)
}

async fn receive(to: &Path, state: &Path, fault: Arc<Mutex<Option<Planned>>>) -> (std::net::SocketAddr, String) {
    let gate = Arc::new(Gate::new(GateLimits::default()));
    let code = gate.renew().unwrap();
    let receiver = Receiver::new(
        Arc::new(Local::open(to).unwrap()),
        state,
        ReceiverOptions { builder: None, append_only: false, on_event: Arc::new(|_| {}) },
    );
    let server = Server {
        identity: Identity::load_or_create(state).unwrap(),
        name: "nas".into(),
        known: Arc::new(Known::new(state)),
        gate,
        host: Arc::new(Faulty { receiver, fault, taken: to.join(NAME) }),
        events: Arc::new(|_| {}),
        // It never says that it is at work: silence is silence.
        limits: Limits { busy: Duration::from_hours(1), ..Limits::default() },
    };
    let listener = Server::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(server.run(listener));
    (address, code)
}

fn send(store: Arc<dyn Store>, archive: &[u8], network: &Network<'_>) -> Result<Outcome, StoreError> {
    let mut outbound = Outbound::prepare(
        vec![Target::Remote { sink: store, name: NAME.into(), context: None }],
        Some(*network),
        false,
    )?;
    outbound.begin(Expected { about: Some(archive.len() as u64), ..Expected::default() })?;
    // The first bytes are known last.
    let _ = outbound.append(&[b"????", &archive[4..]].concat());
    outbound.late(0, 4);
    outbound.patch(0, &archive[..4]);
    Ok(outbound.finish().remove(0))
}

#[test]
fn whatever_comes_of_a_call_the_archive_arrives_or_it_is_reported_why_not_and_nothing_half_stays() {
    use Fault::{Garbled, Gone, Ignored, Refused, Taken, Twice, Unheard};
    let archive: Vec<u8> = (0..9_000_000_u32).map(|at| (at * 7 + at / 251) as u8).collect();
    // Each call that an upload is made of, the second look at the name being the one after its end; and what it ends
    // with when the answer is something else.
    let calls: [(&str, u32, Option<Kind>); 10] = [
        ("abilities", 0, Some(Kind::Protocol)),
        ("entry", 0, Some(Kind::Protocol)),
        // What can't be tidied up today is no reason to make no backup.
        ("unfinished", 0, None),
        ("sweep", 0, None),
        ("create", 0, Some(Kind::Protocol)),
        ("resume", 0, Some(Kind::Protocol)),
        ("put", 3, Some(Kind::Protocol)),
        ("patch", 0, Some(Kind::Protocol)),
        ("commit", 0, Some(Kind::Protocol)),
        // The receiver has said that it has the archive.
        ("entry", 1, None),
    ];
    let passing =
        [Refused, Ignored, Unheard, Twice].map(|fault| calls.map(|(call, after, _)| (call, after, fault, None)));
    let garbled = calls.map(|(call, after, end)| (call, after, Garbled, end));
    let lost = ["resume", "put", "patch", "commit"].map(|call| (call, 0, Gone, Some(Kind::Lost)));
    let mut rows = passing.concat();
    rows.extend(
        garbled
            .into_iter()
            .chain(lost)
            .chain([("create", 0, Taken, Some(Kind::Exists)), ("commit", 0, Taken, Some(Kind::Exists))]),
    );
    // Most of them wait for a silence to be long enough.
    let rows = Mutex::new(rows);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                loop {
                    let Some(row) = rows.lock().unwrap().pop() else { break };
                    check(row, &archive);
                }
            });
        }
    });
}

fn check((call, after, fault, end): (&'static str, u32, Fault, Option<Kind>), archive: &[u8]) {
    let case = format!("{call} {after} {fault:?}");
    let (outcome, there) = upload((call, after, fault), archive);
    let result = outcome.and_then(|outcome| outcome.result);
    let names: Vec<&str> = there.iter().map(|(name, _)| name.as_str()).collect();
    match end {
        None => {
            assert_eq!(result.unwrap_or_else(|error| panic!("{case}: {error}")).length, archive.len() as u64, "{case}");
            assert_eq!(names, [NAME], "{case}");
            assert!(there[0].1 == archive, "{case}: what arrived differs");
        }
        Some(kind) => {
            let error = result.expect_err(&case);
            let said = error.to_string();
            assert_eq!(error.kind(), Some(kind), "{case}: {said}");
            assert!(said.contains("haul://127.0.0.1") && !said.contains('\n') && said.len() < 300, "{case}: {said}");
            let is_theirs = fault == Fault::Taken;
            assert_eq!(names, if is_theirs { vec![NAME] } else { vec![] }, "{case}");
            assert!(!is_theirs || there[0].1 == THEIRS, "{case}: another machine's archive was changed");
        }
    }
}
