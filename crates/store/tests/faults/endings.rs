//! Permanent failures: the upload stops, says at which destination, why and what to do, and leaves nothing.

use std::{
    io::Write as _,
    process::{Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use store::{
    Bridge, Cancellation, Kind, Store, StoreError, Tuning,
    outbound::{Network, Target, UploadMeter},
};
use testkit::{
    proxy::{Answer, Death, Fate},
    wait,
};

use crate::bench::{Bench, Connection, Ended, NAME, send, whole};

const CHILD: &str = "HAUL_FAULTS_CHILD";

fn no_watching(_: &UploadMeter, _: usize) {}

/// The error names the destination, and says nothing twice.
fn assert_says(error: &StoreError, store: &Arc<dyn Store>) {
    let said = error.to_string();
    assert!(said.contains(&store.label()), "{said}");
    assert!(!said.contains('\n') && !said.contains("Some(") && said.len() < 400, "{said}");
}

fn advice(error: &StoreError) -> Option<&str> {
    match error {
        StoreError::Remote(error) => error.advice.as_deref(),
        _ => None,
    }
}

/// One request of this step is refused for good: no other try, nothing stays.
fn stops_at(bench: &Bench, answer: Answer, status: u16, kinds: &[Kind]) {
    let store = bench.connect();
    bench.proxy.rule(bench.second_put(&store).answer(answer));
    let Ended { outcome, took } = bench.upload(&store, no_watching);
    let error = outcome.result.unwrap_err();
    assert!(kinds.contains(&error.kind().unwrap()), "{error} {:?}", error.kind());
    assert_says(&error, &store);
    assert_eq!(outcome.retries, 0);
    assert!(took < Duration::from_secs(15), "{took:?}");
    assert_eq!(bench.proxy.requests().iter().filter(|seen| seen.fate == Fate::Answered(status)).count(), 1);
    bench.assert_nothing_there();
}

pub fn wrong_credentials_stop_at_once(bench: Bench) {
    let Some(connection) = bench.place.with_wrong_credentials(&bench.proxy.address().to_string()) else {
        panic!("it lets everybody in")
    };
    let context = connection.context(bench.tuning.clone(), bench.cancel.clone());
    let policy = store::retry::RetryPolicy::new(&context);
    let work = policy.retry(|| async {
        let store = connection.connect(&context).await?;
        store
            .create(NAME, store::Expected { exact: Some(3), about: Some(3), ..store::Expected::default() })
            .await
            .map(|_| ())
    });
    let error = bench.bridge.wait(work).unwrap_err();
    assert!(matches!(error.kind(), Some(Kind::Credentials)), "{error} {:?}", error.kind());
    assert_eq!(policy.retries(), 0);
    assert!(advice(&error).is_some(), "says what to do: {error}");
    bench.assert_nothing_there();
}

pub fn a_denied_permission_stops_at_once(bench: Bench) {
    stops_at(&bench, bench.place.denied(), 403, &[Kind::Permission]);
}

pub fn a_full_destination_stops_at_once(bench: Bench) {
    let answer = bench.place.full();
    let status = answer.status();
    stops_at(&bench, answer, status, &[Kind::Full { missing: None }]);
}

pub fn an_upload_that_vanished_is_lost(bench: Bench) {
    let Some(answer) = bench.place.vanished() else { panic!("it knows no unfinished uploads") };
    let status = answer.status();
    stops_at(&bench, answer, status, &[Kind::Lost]);
}

pub fn an_interruption_leaves_nothing(bench: Bench) {
    let store = bench.connect();
    bench.proxy.throttle(Some(6_000_000));
    let cancel = bench.cancel.clone();
    let ended = bench.once_uploaded(4_000_000, || cancel.cancel(), || bench.upload(&store, no_watching));
    assert!(matches!(ended.outcome.result, Err(StoreError::Cancelled)), "{:?}", ended.outcome);
    assert!(ended.took < Duration::from_secs(20), "{:?}", ended.took);
    bench.assert_nothing_there();
}

pub fn an_interruption_ends_a_wait(bench: Bench) {
    let store = bench.connect();
    let mut tuning = bench.tuning.clone();
    tuning.first_pause = Duration::from_mins(1);
    tuning.longest_pause = Duration::from_mins(1);
    tuning.give_up_after = Duration::from_hours(1);
    let context = bench.connection().context(tuning, bench.cancel.clone());
    bench.proxy.cut_at([bench.proxy.uploaded() + 4_000_000], Death::Reset);
    let cancel = bench.cancel.clone();
    let ended = bench.once_uploaded(
        4_000_000,
        || {
            std::thread::sleep(Duration::from_millis(300));
            cancel.cancel();
        },
        || bench.upload_with(&store, &context, no_watching),
    );
    assert!(!bench.restarts(&store, &ended) || store.abilities().restarts);
    if !store.abilities().restarts {
        assert!(matches!(ended.outcome.result, Err(StoreError::Cancelled)), "{:?}", ended.outcome);
    }
    assert!(ended.took < Duration::from_secs(20), "{:?}", ended.took);
    bench.assert_nothing_there();
}

pub fn patience_ends_and_says_so(mut bench: Bench) {
    bench.tuning.give_up_after = Duration::from_millis(1500);
    let store = bench.connect();
    // Slow enough that the line is down before everything has gone over it.
    bench.proxy.throttle(Some(20_000_000));
    let ended =
        bench.once_uploaded(whole().len() as u64 / 2, || bench.proxy.down(), || bench.upload(&store, no_watching));
    let error = ended.outcome.result.unwrap_err();
    assert_says(&error, &store);
    if !store.abilities().restarts {
        assert!(error.is_transient(), "{error}");
        assert!(error.to_string().contains("gave up"), "{error}");
        assert!(advice(&error).is_some(), "says what to do: {error}");
    }
    assert!(bench.place.object(NAME).is_none());
    // Nothing could be removed while nobody listened; a later run does.
    bench.proxy.up();
    sweep_until_clean(&bench, &store);
}

/// The process lives on, and what its failed upload left is nobody's: the next cleanup removes it. The destination
/// accepts a new upload.
fn sweep_until_clean(bench: &Bench, store: &Arc<dyn Store>) {
    let place = &bench.place;
    wait::until("nothing is left", || {
        bench.bridge.wait(store.remove_abandoned()).unwrap();
        place.leftovers().is_empty() && (place.unfinished() == 0 || !place.ends_what_others_began())
    });
    let ended = bench.upload(store, no_watching);
    ended.outcome.result.unwrap();
    assert!(bench.place.object(NAME).unwrap() == *whole());
}

pub fn what_a_killed_process_left_is_swept(bench: Bench) {
    bench.proxy.throttle(Some(6_000_000));
    let connection = serde_json::to_string(&bench.connection()).unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["child", "--exact", "--ignored", "--nocapture", "--test-threads=1"])
        .env(CHILD, &connection)
        .env("HAUL_FAULTS_PART", bench.tuning.part_size.unwrap_or(0).to_string())
        .stdout(Stdio::null())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap();
    let started = Instant::now();
    while bench.proxy.uploaded() < 9_000_000 {
        assert!(started.elapsed() < Duration::from_mins(1), "the child uploads");
        assert!(child.try_wait().unwrap().is_none(), "the child lives");
        std::thread::sleep(Duration::from_millis(5));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    bench.proxy.throttle(None);
    assert!(bench.place.object(NAME).is_none(), "there is something under the final name");
    let left = bench.place.leftovers();
    let store = bench.connect();
    // A server may need a moment to see that its client has gone.
    let started = Instant::now();
    let mut swept = 0;
    while started.elapsed() < Duration::from_secs(10) {
        swept += bench.bridge.wait(store.remove_abandoned()).unwrap();
        if bench.place.leftovers().is_empty()
            && (bench.place.unfinished() == 0 || !bench.place.ends_what_others_began())
        {
            break;
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    assert!(left.is_empty() || swept > 0, "{left:?} was left, and {swept} things swept");
    assert_eq!(bench.place.leftovers(), Vec::<String>::new());
    assert!(!bench.place.ends_what_others_began() || bench.place.unfinished() == 0);
    assert!(bench.place.object(NAME).is_none());
    let ended = bench.upload(&store, no_watching);
    ended.outcome.result.unwrap();
    assert_eq!(bench.place.leftovers(), Vec::<String>::new());
}

/// Uploads until it is killed.
pub fn child() {
    let Ok(connection) = std::env::var(CHILD) else { return };
    let connection: Connection = serde_json::from_str(&connection).unwrap();
    let part_size = std::env::var("HAUL_FAULTS_PART").ok().and_then(|size| size.parse().ok()).filter(|size| *size > 0);
    let context = connection.context(Tuning { part_size, ..Tuning::default() }, Cancellation::default());
    let bridge = Bridge::start().unwrap();
    let store = bridge.wait(connection.connect(&context)).unwrap();
    let targets = vec![Target::Remote { sink: store, name: NAME.into(), context: None }];
    let outcome = send(targets, &Network { bridge: &bridge, context: &context }, no_watching).remove(0);
    let _ = writeln!(std::io::stderr(), "the child was not killed: {outcome:?}");
}

pub fn a_broken_destination_does_not_disturb_another(mut bench: Bench) {
    bench.tuning.give_up_after = Duration::from_millis(700);
    let store = bench.connect();
    let beside = tempfile::tempdir().unwrap();
    let other: Arc<dyn Store> = Arc::new(store::local::Local::open(beside.path()).unwrap());
    let context = bench.context();
    bench.proxy.cut_at([bench.proxy.uploaded() + 2_000_000], Death::Reset);
    bench.proxy.cut_at((0..500).map(|_| 0), Death::Reset);
    let targets = vec![
        Target::Remote { sink: other, name: NAME.into(), context: None },
        Target::Remote { sink: store.clone(), name: NAME.into(), context: None },
    ];
    let outcomes = bench.once_uploaded(
        2_000_000,
        || bench.proxy.down(),
        || send(targets, &Network { bridge: &bench.bridge, context: &context }, no_watching),
    );
    outcomes[0].result.as_ref().unwrap();
    assert!(std::fs::read(beside.path().join(NAME)).unwrap() == *whole());
    assert_says(outcomes[1].result.as_ref().unwrap_err(), &store);
    assert!(bench.place.object(NAME).is_none());
}
