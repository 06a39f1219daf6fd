//! Writers, cleanups, deleters and readers of one vault, at a destination where everything goes wrong that can: they
//! die after any call or sleep before it while the others go on, lists are stale, answers are lost, requests arrive
//! twice or late, clocks are wrong. Every backup that was committed comes out, always; and in the end nothing is left
//! that none needs.
//!
//! `HAUL_SCHEDULES` says how many schedules run, `HAUL_SEED` the first one's number.
#![allow(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    clippy::print_stdout,
    reason = "a test fails by panicking, and says which schedules it ran"
)]

mod home;
mod steps;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    ops::Range,
    sync::{Arc, LazyLock, Mutex},
    time::{Duration, SystemTime},
};

use async_trait::async_trait;
use bytes::Bytes;
use home::{Home, Random};
use steps::{Fault, Step, Weather, a_step, some_faults};
use store::{
    Abilities, Cancellation, Checked, Completed, Context, Entry, Expected, Kind, Operation, Part, Placement, Session,
    Sink, Store, StoreError, Tuning, Upload, parts::Activity,
};
use tokio::runtime::Runtime;
use vault::{KEY_FILE, Secret, Vault, VaultStore, prune};

const HOUR: u64 = 3600;
const DAY: u64 = 24 * HOUR;
/// No list is older.
const STALE: u64 = 600;
/// Calls of a backup, and some more.
const CALLS: usize = 24;

struct Object {
    bytes: Bytes,
    at: u64,
    listed_from: u64,
    skew: i64,
}

struct State {
    now: u64,
    weather: Weather,
    random: Random,
    objects: BTreeMap<String, Object>,
    /// Deleted, and perhaps listed until then.
    ghosts: BTreeMap<String, (u64, u64, u64)>,
    late: Vec<(u64, usize, String, Bytes)>,
    /// The `writer-` object of each machine, and those that cleanups took for dead.
    writers: BTreeMap<usize, String>,
    given_up: BTreeSet<String>,
    /// The last snapshot of each machine.
    snapshots: BTreeMap<usize, String>,
    /// Snapshots of backups that had been given up: they count when the backup has ended well.
    unconfirmed: BTreeSet<String>,
    homes: [Home; 2],
    made: usize,
    expected: BTreeMap<String, Vec<u8>>,
    committed: BTreeSet<String>,
    log: String,
    done: Done,
    /// Something is there or gone that what comes out depends on.
    has_changed: bool,
}

#[derive(Clone, Copy, Debug, Default)]
struct Done {
    backups: u64,
    succeeded: u64,
    given_up: u64,
    sleeps: u64,
    removed: u64,
    read: u64,
}

impl State {
    fn put(&mut self, machine: usize, name: &str, bytes: Bytes) -> bool {
        if self.objects.contains_key(name) {
            return false;
        }
        if name.starts_with("writer-") {
            self.writers.insert(machine, name.to_owned());
        }
        if name.starts_with("snapshot-") {
            self.has_changed = true;
            self.snapshots.insert(machine, name.to_owned());
        }
        if name.starts_with("snapshot-") && self.writers.get(&machine).is_some_and(|own| self.given_up.contains(own)) {
            self.unconfirmed.insert(name.to_owned());
        }
        let lags = self.weather == Weather::StaleLists && self.random.one_in(3);
        let listed_from = self.now + if lags { self.random.below(STALE as usize) as u64 } else { 0 };
        let wrong = self.weather == Weather::WrongClocks && self.random.one_in(4);
        let skew = if wrong { (self.random.below(40) as i64 - 20) * DAY as i64 } else { 0 };
        self.objects.insert(name.to_owned(), Object { bytes, at: self.now, listed_from, skew });
        true
    }

    fn delete(&mut self, name: &str, is_cleanup: bool) {
        if is_cleanup && name.starts_with("writer-") {
            self.given_up.insert(name.to_owned());
        }
        if let Some(object) = self.objects.remove(name) {
            self.has_changed |= !name.starts_with("writer-");
            let lags = self.weather == Weather::StaleLists && self.random.one_in(3);
            let until = self.now + if lags { self.random.below(STALE as usize) as u64 } else { 0 };
            self.ghosts.insert(name.to_owned(), (until, object.bytes.len() as u64, object.at));
        }
    }

    fn pass(&mut self, seconds: u64) {
        let end = self.now + seconds;
        while let Some(first) = (0..self.late.len()).min_by_key(|index| self.late[*index].0)
            && self.late[first].0 <= end
        {
            let (at, machine, name, bytes) = self.late.remove(first);
            self.now = at;
            let _ = writeln!(self.log, "    {name} arrives late");
            self.put(machine, &name, bytes);
        }
        self.now = end;
    }
}

/// What befalls one machine during the current step.
#[derive(Default)]
struct Plan {
    call: usize,
    faults: Vec<(usize, Fault)>,
    is_dead: bool,
    is_cleanup: bool,
    /// Sees everything as it is.
    is_honest: bool,
    clock: i64,
}

/// The destination as one machine sees it.
#[derive(Clone)]
struct Place {
    machine: usize,
    world: Arc<World>,
    plan: Arc<Mutex<Plan>>,
}

struct World {
    state: Mutex<State>,
    inner: Arc<Runtime>,
    others: [Mutex<Option<Machine>>; 2],
    honest: Mutex<Option<Vault>>,
}

enum Fate {
    Works,
    WorksTwice,
    /// `true`: all the same it has happened.
    Fails(bool, StoreError),
    Late(StoreError),
}

impl Place {
    fn error(kind: Kind) -> StoreError {
        StoreError::remote("sim", Operation::Read, kind, "the simulator says so")
    }

    fn fate(&self, call: &str) -> Fate {
        let (fault, is_dead) = {
            let mut plan = self.plan.lock().unwrap();
            if plan.is_honest {
                return Fate::Works;
            }
            let now = plan.call;
            plan.call += 1;
            let found = plan.faults.iter().position(|(at, _)| *at == now);
            (found.map(|index| plan.faults.remove(index).1), plan.is_dead)
        };
        let dead = || Self::error(Kind::Permission);
        if is_dead {
            return Fate::Fails(false, dead());
        }
        {
            let mut state = self.world.state.lock().unwrap();
            let seconds = if state.random.one_in(8) { 60 } else { 1 };
            state.pass(seconds);
            let (now, machine) = (state.now, self.machine);
            let _ = writeln!(state.log, "  {now} machine {machine}: {call} {fault:?}");
        }
        match fault {
            None => Fate::Works,
            Some(Fault::Twice) => Fate::WorksTwice,
            Some(Fault::Lost) => Fate::Fails(true, Self::error(Kind::Transient { retry_after: None })),
            Some(Fault::Fails(happens)) => Fate::Fails(happens, dead()),
            Some(Fault::Late) => Fate::Late(dead()),
            Some(Fault::Dies(happens)) => {
                self.plan.lock().unwrap().is_dead = true;
                Fate::Fails(happens, dead())
            }
            Some(Fault::Sleeps(steps)) => {
                let world = Arc::clone(&self.world);
                std::thread::spawn(move || world.meanwhile(steps)).join().unwrap();
                Fate::Works
            }
        }
    }

    fn act<T>(&self, call: &str, act: impl Fn(&mut State) -> Result<T, StoreError>) -> Result<T, StoreError> {
        match self.fate(call) {
            Fate::Works => act(&mut self.world.state.lock().unwrap()),
            Fate::WorksTwice => {
                let mut state = self.world.state.lock().unwrap();
                let first = act(&mut state);
                let _ = act(&mut state);
                first
            }
            Fate::Fails(happens, error) => {
                if happens {
                    let _ = act(&mut self.world.state.lock().unwrap());
                }
                Err(error)
            }
            Fate::Late(error) => Err(error),
        }
    }

    fn seen(&self, state: &mut State) -> Vec<Entry> {
        let (now, plan) = (state.now, self.plan.lock().unwrap());
        let dated = |at: u64, skew: i64| {
            let age = now as i64 - at as i64 + plan.clock - skew;
            let (wall, seconds) = (SystemTime::now(), Duration::from_secs(age.unsigned_abs()));
            Some(if age >= 0 { wall - seconds } else { wall + seconds })
        };
        let entry =
            |name: &str, size, at, skew| Entry { name: name.to_owned(), size, modified: dated(at, skew), link: false };
        let State { objects, ghosts, random, .. } = state;
        let mut all = Vec::new();
        for (name, object) in objects.iter() {
            if plan.is_honest || object.listed_from <= now || random.one_in(2) {
                all.push(entry(name, object.bytes.len() as u64, object.at, object.skew));
            }
        }
        if !plan.is_honest {
            for (name, (until, size, at)) in ghosts.iter() {
                if *until > now && random.one_in(2) {
                    all.push(entry(name, *size, *at, 0));
                }
            }
        }
        all
    }
}

#[async_trait]
impl Sink for Place {
    fn label(&self) -> String {
        "sim".to_owned()
    }

    fn abilities(&self) -> Abilities {
        Abilities {
            placement: Placement::Random,
            multiple: 1,
            preferred: 1 << 20,
            concurrency: 1,
            needs_length: false,
            restarts: true,
            md5: false,
            resumable: false,
        }
    }

    async fn create(&self, name: &str, _: Expected) -> Result<Box<dyn Upload>, StoreError> {
        if self.world.state.lock().unwrap().objects.contains_key(name) {
            return Err(Self::error(Kind::Exists));
        }
        Ok(Box::new(Putting { place: self.clone(), name: name.to_owned(), bytes: Mutex::default() }))
    }
}

struct Putting {
    place: Place,
    name: String,
    bytes: Mutex<Bytes>,
}

#[async_trait]
impl Upload for Putting {
    async fn put(&self, part: &Part) -> Result<(), StoreError> {
        *self.bytes.lock().unwrap() = part.data.to_bytes();
        Ok(())
    }

    async fn patch(&self, _: u64, _: &[u8]) -> Result<(), StoreError> {
        Err(Place::error(Kind::Invalid))
    }

    async fn commit(&self, _: &Completed) -> Result<Checked, StoreError> {
        let (place, bytes) = (&self.place, self.bytes.lock().unwrap().clone());
        let put = |state: &mut State| {
            if state.put(place.machine, &self.name, bytes.clone()) {
                Ok(Checked::Size)
            } else {
                Err(Place::error(Kind::Exists))
            }
        };
        match place.fate(&format!("put {}", self.name)) {
            Fate::Works | Fate::WorksTwice => put(&mut place.world.state.lock().unwrap()),
            Fate::Fails(happens, error) => {
                if happens {
                    let _ = put(&mut place.world.state.lock().unwrap());
                }
                Err(error)
            }
            Fate::Late(error) => {
                let mut state = place.world.state.lock().unwrap();
                let due = state.now + state.random.below(STALE as usize) as u64;
                state.late.push((due, place.machine, self.name.clone(), bytes));
                Err(error)
            }
        }
    }

    async fn abort(&self) -> Result<(), StoreError> {
        Ok(())
    }
}

#[async_trait]
impl Store for Place {
    async fn resume(&self, _: &Session) -> Result<Option<Box<dyn Upload>>, StoreError> {
        Ok(None)
    }

    async fn list(&self) -> Result<Vec<Entry>, StoreError> {
        self.act("list", |state| Ok(self.seen(state)))
    }

    async fn entry(&self, name: &str) -> Result<Option<Entry>, StoreError> {
        self.act(&format!("look for {name}"), |state| {
            Ok(state.objects.get(name).map(|object| Entry {
                name: name.to_owned(),
                size: object.bytes.len() as u64,
                modified: None,
                link: false,
            }))
        })
    }

    async fn read(&self, name: &str, range: Range<u64>) -> Result<Bytes, StoreError> {
        self.act(&format!("read {name}"), |state| {
            let object = state.objects.get(name).ok_or_else(|| Self::error(Kind::NotFound))?;
            Ok(object.bytes.slice(range.start as usize..range.end as usize))
        })
    }

    async fn delete(&self, name: &str) -> Result<(), StoreError> {
        let is_cleanup = self.plan.lock().unwrap().is_cleanup;
        self.act(&format!("delete {name}"), |state| {
            state.delete(name, is_cleanup);
            Ok(())
        })
    }

    async fn space(&self) -> Result<Option<u64>, StoreError> {
        Ok(None)
    }

    async fn remove_abandoned(&self) -> Result<u32, StoreError> {
        Ok(0)
    }
}

/// A machine with an open vault.
struct Machine {
    vault: Vault,
    place: Place,
}

static CONTEXT: LazyLock<Context> = LazyLock::new(|| {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let tuning = Tuning {
        first_pause: Duration::ZERO,
        longest_pause: Duration::ZERO,
        give_up_after: Duration::from_mins(1),
        ..Tuning::default()
    };
    // Nothing is there, and nothing can be: what a machine remembers is not what is tried here.
    Context::new(tuning, "/dev/null/none".into(), Cancellation::default()).unwrap()
});

fn secret() -> Secret {
    Secret::KeyFile([7; KEY_FILE].into())
}

impl Machine {
    fn open(runtime: &Runtime, world: &Arc<World>, number: usize, is_honest: bool) -> Self {
        let plan = Arc::new(Mutex::new(Plan { is_honest: true, ..Plan::default() }));
        let place = Place { machine: number, world: Arc::clone(world), plan };
        let store: Arc<dyn Store> = Arc::new(place.clone());
        let vault = runtime.block_on(async {
            let opening = tokio::task::spawn_blocking(move || {
                if store_is_empty(&store) {
                    Vault::init(store, &CONTEXT, &secret(), "")
                } else {
                    Vault::open(store, &CONTEXT, &secret())
                }
            });
            opening.await.unwrap().unwrap()
        });
        place.plan.lock().unwrap().is_honest = is_honest;
        Self { vault, place }
    }

    /// Does one step. The vault's answer does not matter: what is there does.
    fn act(&self, runtime: &Runtime, step: &Step, faults: Vec<(usize, Fault)>) {
        let world = &self.place.world;
        let clock = {
            let mut state = world.state.lock().unwrap();
            let wrong = state.weather == Weather::WrongClocks && state.random.one_in(2);
            let days = if wrong { state.random.below(30) as i64 - 10 } else { 0 };
            let (now, machine) = (state.now, self.place.machine);
            let _ = writeln!(state.log, "{now} machine {machine}: {step:?}");
            days * DAY as i64
        };
        *self.place.plan.lock().unwrap() =
            Plan { faults, is_cleanup: matches!(step, Step::Collect), clock, ..Plan::default() };
        match step {
            Step::Sleep(seconds) => world.state.lock().unwrap().pass(*seconds),
            Step::Collect => {
                let vault = self.vault.clone();
                let cleaned = runtime.block_on(async {
                    tokio::task::spawn_blocking(move || prune::collect(&vault, prune::GRACE)).await.unwrap()
                });
                let mut state = world.state.lock().unwrap();
                let _ = writeln!(state.log, "  {cleaned:?}");
                state.done.removed += cleaned.map_or(0, |cleaned| cleaned.removed as u64);
            }
            Step::Delete => {
                let name = {
                    let mut state = world.state.lock().unwrap();
                    let count = state.committed.len();
                    if count == 0 {
                        return;
                    }
                    let index = state.random.below(count);
                    let name = state.committed.iter().nth(index).unwrap().clone();
                    state.committed.remove(&name);
                    name
                };
                let vault = self.vault.clone();
                let deleted =
                    runtime.block_on(async { tokio::task::spawn_blocking(move || vault.delete(&name)).await.unwrap() });
                let _ = writeln!(world.state.lock().unwrap().log, "  {deleted:?}");
            }
            Step::Read => {
                let known = world.state.lock().unwrap().committed.clone();
                let store = VaultStore::of(self.vault.clone());
                for name in known {
                    let read = runtime.block_on(async {
                        let entry = store.entry(&name).await.ok()??;
                        store.read(&name, 0..entry.size).await.ok()
                    });
                    let mut state = world.state.lock().unwrap();
                    if let Some(read) = read {
                        state.done.read += 1;
                        assert!(state.expected[&name] == read, "{name} came out as something else");
                    }
                }
            }
            Step::BackUp(instance) => {
                let (name, archive) = {
                    let mut state = world.state.lock().unwrap();
                    state.made += 1;
                    state.done.backups += 1;
                    let name = format!("{:03}.tar", state.made);
                    let State { homes, random, expected, .. } = &mut *state;
                    homes[*instance].change(random);
                    let archive = homes[*instance].archive(*instance);
                    expected.insert(name.clone(), archive.clone());
                    (name, archive)
                };
                let store = VaultStore::of(self.vault.clone());
                let done = runtime.block_on(back_up(&store, &name, archive));
                let mut state = world.state.lock().unwrap();
                let _ = writeln!(state.log, "  {name}: {done:?}");
                let own = state.writers.remove(&self.place.machine);
                if own.is_some_and(|own| state.given_up.contains(&own)) {
                    state.done.given_up += 1;
                }
                if done.is_ok() {
                    state.committed.insert(name);
                    state.done.succeeded += 1;
                    // Whatever it went through, it counts now.
                    let object = state.snapshots.remove(&self.place.machine).unwrap();
                    state.unconfirmed.remove(&object);
                }
            }
        }
    }
}

fn store_is_empty(store: &Arc<dyn Store>) -> bool {
    tokio::runtime::Handle::current().block_on(store.list()).unwrap().is_empty()
}

async fn back_up(store: &VaultStore, name: &str, archive: Vec<u8>) -> Result<(), StoreError> {
    let upload = store.create(name, Expected::default()).await?;
    let length = archive.len() as u64;
    let part = Part {
        index: 0,
        offset: 0,
        data: Bytes::from(archive).into(),
        total: None,
        last: true,
        activity: Activity::default(),
    };
    let sent = match upload.put(&part).await {
        Ok(()) => upload.commit(&Completed { length, parts: 1, md5: None }).await.map(drop),
        Err(error) => Err(error),
    };
    if sent.is_err() {
        let _ = upload.abort().await;
    }
    sent
}

impl World {
    /// While one machine sleeps before a call, the others do this.
    fn meanwhile(self: &Arc<Self>, steps: Vec<Step>) {
        self.state.lock().unwrap().done.sleeps += 1;
        for step in steps {
            let which = self.state.lock().unwrap().random.below(2);
            let mut other = self.others[which].lock().unwrap();
            let other = other.get_or_insert_with(|| Machine::open(&self.inner, self, 2 + which, false));
            other.act(&self.inner, &step, Vec::new());
            self.all_come_out();
        }
    }

    /// Every backup that is there comes out as it went in, and none is missing.
    fn all_come_out(self: &Arc<Self>) {
        if !std::mem::take(&mut self.state.lock().unwrap().has_changed) {
            return;
        }
        let mut honest = self.honest.lock().unwrap();
        let vault = honest.get_or_insert_with(|| Machine::open(&self.inner, self, 9, true).vault).clone();
        let own = vault.clone();
        let listed = self.inner.block_on(async { tokio::task::spawn_blocking(move || own.snapshots()).await.unwrap() });
        let listed = listed.unwrap();
        // None was opened before: what is there now counts.
        let store = VaultStore::of(vault);
        for (id, snapshot) in &listed {
            let (state_unconfirmed, wanted) = {
                let state = self.state.lock().unwrap();
                (state.unconfirmed.contains(&format!("snapshot-{id}")), state.expected[&snapshot.name].clone())
            };
            if state_unconfirmed {
                continue;
            }
            let got = self.inner.block_on(store.read(&snapshot.name, 0..snapshot.length()));
            let is_whole = got.as_ref().is_ok_and(|got| *got == wanted);
            assert!(
                is_whole,
                "{} does not come out: {:?}\n{}",
                snapshot.name,
                got.err(),
                self.state.lock().unwrap().log
            );
        }
        let state = self.state.lock().unwrap();
        for name in &state.committed {
            let is_there = listed.iter().any(|(_, snapshot)| snapshot.name == *name);
            assert!(is_there, "{name} is gone\n{}", state.log);
        }
    }
}

fn schedule(outer: &Runtime, inner: Arc<Runtime>, seed: u64) -> Done {
    let mut random = Random(seed.wrapping_mul(0x2545_f491_4f6c_dd1d));
    let weather = [Weather::Fine, Weather::StaleLists, Weather::WrongClocks][random.below(3)];
    let state = State {
        now: 1000 * DAY,
        weather,
        random: Random(seed ^ 0x5555),
        objects: BTreeMap::new(),
        ghosts: BTreeMap::new(),
        late: Vec::new(),
        writers: BTreeMap::new(),
        given_up: BTreeSet::new(),
        snapshots: BTreeMap::new(),
        unconfirmed: BTreeSet::new(),
        homes: [Home::default(), Home::default()],
        made: 0,
        expected: BTreeMap::new(),
        committed: BTreeSet::new(),
        log: format!("seed {seed}: {weather:?}\n"),
        done: Done::default(),
        has_changed: false,
    };
    let world = Arc::new(World {
        state: Mutex::new(state),
        inner,
        others: [Mutex::new(None), Mutex::new(None)],
        honest: Mutex::new(None),
    });
    let mut machines: [Option<Machine>; 2] = [None, None];
    for _ in 0..6 + random.below(10) {
        let (which, step) = (random.below(2), a_step(&mut random));
        let faults = some_faults(&mut random, weather);
        let machine = machines[which].get_or_insert_with(|| Machine::open(outer, &world, which, false));
        machine.act(outer, &step, faults);
        if machine.place.plan.lock().unwrap().is_dead {
            machines[which] = None;
        }
        world.all_come_out();
    }
    // The weather clears up, and nobody writes any more.
    {
        let mut state = world.state.lock().unwrap();
        state.weather = Weather::Fine;
        state.pass(STALE);
        state.pass(8 * DAY);
        state.objects.values_mut().for_each(|object| object.skew = 0);
    }
    let machine = Machine::open(outer, &world, 0, false);
    for _ in 0..3 {
        machine.act(outer, &Step::Collect, Vec::new());
        world.all_come_out();
        world.state.lock().unwrap().pass(2 * DAY);
    }
    let vault = machine.vault.clone();
    let left = outer.block_on(async { tokio::task::spawn_blocking(move || vault.snapshots()).await.unwrap() });
    let needed: BTreeSet<String> = left
        .unwrap()
        .iter()
        .flat_map(|(id, snapshot)| {
            snapshot.packs.iter().map(|(pack, _)| format!("pack-{pack}")).chain([format!("snapshot-{id}")])
        })
        .collect();
    // They have the world, and it has them.
    world.others.iter().for_each(|other| *other.lock().unwrap() = None);
    *world.honest.lock().unwrap() = None;
    let state = world.state.lock().unwrap();
    for name in state.objects.keys() {
        assert!(needed.contains(name) || name.starts_with("key-"), "nobody needs {name}\n{}", state.log);
    }
    state.done
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

#[test]
fn every_committed_backup_comes_out_whatever_happens() {
    let number = |name: &str, usual| std::env::var(name).map_or(usual, |value| value.parse().unwrap());
    let (first, count) = (number("HAUL_SEED", 1), number("HAUL_SCHEDULES", 200));
    let (outer, inner) = (runtime(), Arc::new(runtime()));
    let mut all = Done::default();
    for seed in first..first + count {
        let done =
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| schedule(&outer, Arc::clone(&inner), seed)));
        if (seed + 1 - first).is_multiple_of(5000) {
            println!("{} schedules", seed + 1 - first);
        }
        let Ok(done) = done else { panic!("schedule {seed} fails: HAUL_SEED={seed} HAUL_SCHEDULES=1") };
        all.backups += done.backups;
        all.succeeded += done.succeeded;
        all.given_up += done.given_up;
        all.sleeps += done.sleeps;
        all.removed += done.removed;
        all.read += done.read;
    }
    println!("{count} schedules: {all:?}");
    assert!(all.succeeded * 3 > all.backups && all.removed * 20 > all.backups, "hardly anything happened: {all:?}");
}
