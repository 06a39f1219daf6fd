//! What every scenario needs: a destination behind a proxy, one upload through it, and what may be left afterwards.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::PathBuf,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use store::{
    Address, Bridge, Cancellation, Context, Expected, Options, Placement, Store, StoreError, Tuning,
    outbound::{Network, Outbound, Outcome, Target, UploadMeter},
};
use testkit::proxy::{Answer, Fate, Head, Proxy, Rule};

pub const NAME: &str = "backup.tar";
const LATE: usize = 5000;
const MIB: u64 = 1 << 20;

/// What a request is for, in the eyes of a scenario.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// It begins an upload.
    Create,
    /// It carries bytes of the archive.
    Put,
    /// It makes the archive visible.
    Commit,
    /// Anything else.
    Other,
}

/// How to reach a destination; enough for another process as well.
#[derive(Clone, Serialize, Deserialize)]
pub struct Connection {
    pub address: String,
    pub options: BTreeMap<String, String>,
    pub environment: BTreeMap<String, String>,
    pub state: PathBuf,
}

impl Connection {
    pub fn new(address: impl Into<String>) -> Self {
        Self {
            address: address.into(),
            options: BTreeMap::new(),
            environment: BTreeMap::new(),
            state: "/nonexistent".into(),
        }
    }

    #[must_use]
    pub fn with(mut self, key: &str, value: impl Into<String>) -> Self {
        self.options.insert(key.to_owned(), value.into());
        self
    }

    pub fn context(&self, tuning: Tuning, cancel: Cancellation) -> Context {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut context = Context::new(tuning, self.state.clone(), cancel).unwrap();
        let environment = self.environment.clone();
        context.environment = Arc::new(move |name| environment.get(name).cloned());
        context
    }

    pub async fn connect(&self, context: &Context) -> Result<Arc<dyn Store>, StoreError> {
        store::connect(&Address::parse(&self.address).unwrap(), &Options::new(self.options.clone()), context).await
    }
}

/// A server that was started for one test, and what the suite must know of it.
pub trait Place: Send + Sync {
    /// Where the server listens.
    fn upstream(&self) -> SocketAddr;

    /// How to reach it when `authority` (`host:port`) leads there.
    fn connection(&self, authority: &str) -> Connection;

    /// The same with a wrong password or key. `None`: it lets everybody in.
    fn with_wrong_credentials(&self, authority: &str) -> Option<Connection>;

    /// An object as the server has it.
    fn object(&self, name: &str) -> Option<Vec<u8>>;

    /// Whatever else lies there: unfinished uploads, parts, temporary names.
    fn leftovers(&self) -> Vec<String>;

    /// Uploads that were begun and not ended, and are to be seen nowhere. One whose beginning nobody heard of may stay.
    fn unfinished(&self) -> usize {
        0
    }

    /// Whether a cleanup can end what another process began ([`Self::unfinished`]).
    fn ends_what_others_began(&self) -> bool {
        true
    }

    /// How long the server may take for anything it does, on a busy machine and not optimised.
    fn stall(&self) -> Duration {
        Duration::from_secs(1)
    }

    /// What a request is for. `None`: the line does not speak HTTP in the clear.
    fn classify(&self) -> Option<fn(&Head) -> Step>;

    /// A part size smaller than the destination's own preference.
    fn part_size(&self) -> Option<u64> {
        Some(MIB)
    }

    /// How the server says that this is not allowed.
    fn denied(&self) -> Answer {
        Answer::new(403)
    }

    /// How it says that there is not enough space.
    fn full(&self) -> Answer {
        Answer::new(507)
    }

    /// How it says that it does not know this upload any more.
    fn vanished(&self) -> Option<Answer>;
}

/// One test's destination, proxy and policy.
pub struct Bench {
    pub proxy: Proxy,
    pub place: Box<dyn Place>,
    pub bridge: Bridge,
    pub cancel: Cancellation,
    pub tuning: Tuning,
}

/// What came of an upload.
pub struct Ended {
    pub outcome: Outcome,
    pub took: Duration,
}

impl Bench {
    pub fn new(place: Box<dyn Place>) -> Self {
        let upstream = place.upstream();
        let proxy = if place.classify().is_some() { Proxy::http(upstream) } else { Proxy::raw(upstream) };
        let tuning = Tuning {
            connect_timeout: Duration::from_secs(2),
            first_pause: Duration::from_millis(10),
            longest_pause: Duration::from_millis(200),
            stall: place.stall(),
            give_up_after: Duration::from_secs(30),
            first_contact: Duration::from_secs(10),
            part_size: place.part_size(),
        };
        Self { proxy: proxy.unwrap(), place, bridge: Bridge::start().unwrap(), cancel: Cancellation::default(), tuning }
    }

    pub fn connection(&self) -> Connection {
        self.place.connection(&self.proxy.address().to_string())
    }

    pub fn context(&self) -> Context {
        self.connection().context(self.tuning.clone(), self.cancel.clone())
    }

    pub fn connect(&self) -> Arc<dyn Store> {
        let context = self.context();
        self.bridge
            .wait(
                store::retry::RetryPolicy::new(&context).retry(|| async { self.connection().connect(&context).await }),
            )
            .unwrap()
    }

    /// A rule's predicate for the requests of one step.
    pub fn step(&self, step: Step) -> impl Fn(&Head) -> bool + Send + 'static {
        let classify = self.place.classify();
        move |head| classify.is_some_and(|classify| classify(head) == step)
    }

    /// The second request for bytes, where there is more than one.
    pub fn second_put(&self, store: &Arc<dyn Store>) -> Rule {
        Rule::when(self.step(Step::Put)).after(u32::from(!store.abilities().restarts))
    }

    /// Uploads the archive; `during` is asked before every mebibyte.
    pub fn upload(&self, store: &Arc<dyn Store>, during: impl FnMut(&UploadMeter, usize)) -> Ended {
        self.upload_with(store, &self.context(), during)
    }

    pub fn upload_with(
        &self,
        store: &Arc<dyn Store>,
        context: &Context,
        during: impl FnMut(&UploadMeter, usize),
    ) -> Ended {
        let started = Instant::now();
        let targets = vec![Target::Remote { sink: store.clone(), name: NAME.into(), context: None }];
        let outcome = send(targets, &Network { bridge: &self.bridge, context }, during).remove(0);
        Ended { outcome, took: started.elapsed() }
    }

    /// The archive is there, byte by byte, nothing else is, and what was sent twice is bounded.
    pub fn assert_arrived(&self, store: &Arc<dyn Store>, ended: &Ended) {
        let done = ended
            .outcome
            .result
            .as_ref()
            .unwrap_or_else(|error| panic!("{error} (after {} tries)", ended.outcome.retries));
        assert_eq!(done.length, whole().len() as u64);
        assert!(
            self.place.object(NAME).expect("the archive is there") == *whole(),
            "what arrived differs from what was sent"
        );
        self.assert_tidy();
        let part =
            self.tuning.part_size.unwrap_or(store.abilities().preferred).max(match store.abilities().placement {
                Placement::Parts(rules) => rules.smallest,
                Placement::Random | Placement::Sequential => 1,
            });
        let words = MIB + 8192 * self.proxy.requests().len() as u64;
        let bound = whole().len() as u64 + self.proxy.breaks() * part + words;
        let sent = self.proxy.uploaded();
        assert!(
            sent <= bound,
            "{sent} bytes were sent for {}, and {} breaks explain only {bound}",
            whole().len(),
            self.proxy.breaks()
        );
    }

    /// Neither the archive nor anything else is there.
    pub fn assert_nothing_there(&self) {
        assert!(self.place.object(NAME).is_none(), "there is something under the final name");
        self.assert_tidy();
    }

    fn assert_tidy(&self) {
        assert_eq!(self.place.leftovers(), Vec::<String>::new());
        // Nobody can end what was begun without its name having been heard.
        let is_beginning = self.step(Step::Create);
        let unheard =
            self.proxy.requests().iter().filter(|seen| seen.fate == Fate::Unheard && is_beginning(&seen.head)).count();
        assert!(self.place.unfinished() <= unheard, "{} unfinished uploads stay", self.place.unfinished());
    }

    /// True for destinations that can't continue a broken upload: a break then ends it, and leaves nothing.
    pub fn restarts(&self, store: &Arc<dyn Store>, ended: &Ended) -> bool {
        if let (true, Err(error)) = (store.abilities().restarts, &ended.outcome.result) {
            assert_eq!(error.kind(), Some(store::Kind::Lost), "{error}");
            self.assert_nothing_there();
            return true;
        }
        false
    }

    /// Does `work` once so many bytes were uploaded, from a thread of its own.
    pub fn once_uploaded<T: Send>(&self, bytes: u64, work: impl FnOnce() + Send, meanwhile: impl FnOnce() -> T) -> T {
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while self.proxy.uploaded() < bytes {
                    if done.load(Ordering::Relaxed) {
                        return;
                    }
                    std::thread::sleep(Duration::from_millis(2));
                }
                work();
            });
            let result = meanwhile();
            done.store(true, Ordering::Relaxed);
            result
        })
    }
}

/// Sends the archive, with a late field where one is possible.
pub fn send(targets: Vec<Target>, network: &Network<'_>, mut during: impl FnMut(&UploadMeter, usize)) -> Vec<Outcome> {
    let whole = whole();
    let mut outbound = Outbound::prepare(targets, Some(*network), false).unwrap();
    let late = !outbound.needs_sizes();
    let exact = outbound.needs_length().then_some(whole.len() as u64);
    let meters = outbound.meters();
    if outbound.begin(Expected { about: Some(whole.len() as u64), exact, ..Expected::default() }).is_ok() {
        let mut first = whole[..LATE + 10].to_vec();
        if late {
            first[LATE..].fill(b'?');
        }
        if outbound.append(&first).is_ok() {
            if late {
                outbound.late(LATE as u64, 10);
            }
            for (n, chunk) in whole[first.len()..].chunks(MIB as usize).enumerate() {
                during(&meters[0], n);
                if outbound.append(chunk).is_err() {
                    break;
                }
            }
            if late {
                outbound.patch(LATE as u64, &whole[LATE..LATE + 10]);
            }
        }
    }
    outbound.finish()
}

/// The archive: bytes that no two offsets share by chance.
pub fn whole() -> &'static Vec<u8> {
    static WHOLE: OnceLock<Vec<u8>> = OnceLock::new();
    WHOLE.get_or_init(|| {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut bytes = Vec::with_capacity(16 << 20);
        while bytes.len() < 15_000_000 {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            bytes.extend_from_slice(&state.to_le_bytes());
        }
        bytes.extend_from_slice(b"end");
        bytes
    })
}
