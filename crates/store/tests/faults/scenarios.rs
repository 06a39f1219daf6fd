//! Transient failures: after each of these the archive is there, whole, and a break cost no more than a part.

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use store::{Limit, inbound::RemoteFile};
use testkit::proxy::{Answer, Death, Fate, Rule, Seen};

use crate::bench::{Bench, NAME, Step, whole};

fn no_watching(_: &store::outbound::UploadMeter, _: usize) {}

/// Uploads, and checks the result.
fn survive_at(bench: &Bench, store: &Arc<dyn store::Store>) {
    let ended = bench.upload(store, no_watching);
    if !bench.restarts(store, &ended) {
        bench.assert_arrived(store, &ended);
    }
}

pub fn connections_cut_at_random_twenty_times(bench: Bench) {
    let store = bench.connect();
    bench.proxy.cut_at_random(7, 20, whole().len() as u64 * 9 / 10);
    let ended = bench.upload(&store, no_watching);
    if !bench.restarts(&store, &ended) {
        bench.assert_arrived(&store, &ended);
        assert_eq!(bench.proxy.breaks(), 20);
    }
}

pub fn overload_passes(bench: Bench) {
    let store = bench.connect();
    for (n, status) in [500, 502, 503, 504, 429].into_iter().enumerate() {
        let answer = Answer::new(status).body("try again");
        let answer = if n % 2 == 0 { answer } else { answer.hasty() };
        bench.proxy.rule(Rule::when(bench.step(Step::Put)).after(n as u32 / 2).answer(answer));
    }
    for step in [Step::Create, Step::Commit] {
        bench.proxy.rule(Rule::when(bench.step(step)).answer(Answer::new(503)).times(2));
    }
    survive_at(&bench, &store);
}

/// The request that was answered so, and the first of the same kind after it.
fn answered_and_next(bench: &Bench, status: u16) -> Option<(Seen, Seen)> {
    let seen = bench.proxy.requests();
    let at = seen.iter().position(|seen| seen.fate == Fate::Answered(status)).expect("the answer was given");
    let refused = &seen[at];
    let again = |next: &&Seen| (&next.head.method, &next.head.target) == (&refused.head.method, &refused.head.target);
    seen[at + 1..].iter().find(again).map(|next| (refused.clone(), next.clone()))
}

pub fn seconds_to_wait_are_waited(bench: Bench) {
    let store = bench.connect();
    bench.proxy.rule(bench.second_put(&store).answer(Answer::new(429).header("Retry-After", "1")));
    survive_at(&bench, &store);
    if let Some((refused, next)) = answered_and_next(&bench, 429) {
        assert!(next.at - refused.at >= Duration::from_secs(1), "{:?}", next.at - refused.at);
    }
}

pub fn a_date_to_wait_for_is_waited_for(bench: Bench) {
    let store = bench.connect();
    let due = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs() as i64 + 3;
    let due = jiff::Timestamp::from_second(due).unwrap();
    let date = due.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
    bench.proxy.rule(bench.second_put(&store).answer(Answer::new(503).header("Retry-After", &date)));
    survive_at(&bench, &store);
    if let Some((_, next)) = answered_and_next(&bench, 503) {
        let after = SystemTime::now() - next.at.elapsed();
        assert!(after + Duration::from_millis(20) >= SystemTime::from(due), "it came back too early");
    }
}

/// Whoever waits for the rate is not silent.
pub fn an_upload_keeps_to_the_rate(bench: Bench) {
    let store = bench.connect();
    let mut context = bench.context();
    let limit = store::Limit::new(8_000_000);
    context.limit = Some(limit.clone());
    let ended = bench.upload_with(&store, &context, no_watching);
    bench.assert_arrived(&store, &ended);
    assert!(limit.is_felt(), "it was sent as if there were no limit");
    assert_eq!(ended.outcome.retries, 0);
}

/// Several readers of several files keep to one rate together, and none takes the wait for it for silence.
pub fn reading_keeps_to_the_rate(bench: Bench) {
    const RATE: u64 = 65_536;
    const PIECE: u64 = 65_536;
    let store = bench.connect();
    let ended = bench.upload(&store, no_watching);
    bench.assert_arrived(&store, &ended);
    let mut context = bench.context();
    // No longer than what is waited for.
    context.tuning.stall = bench.place.stall().min(Duration::from_secs(4));
    context.read_limit = Some(Limit::new(RATE));
    let files: Vec<RemoteFile> =
        (0..2).map(|_| RemoteFile::open(&bench.bridge, &context, Arc::clone(&store), NAME).unwrap()).collect();
    let before = bench.proxy.downloaded();
    let started = Instant::now();
    std::thread::scope(|scope| {
        for reader in 0..6 {
            let file = &files[reader % 2];
            scope.spawn(move || {
                let at = reader * 2_000_000;
                let mut buffer = vec![0; 40_000];
                file.read_exact_at(&mut buffer, at as u64).unwrap();
                assert!(buffer[..] == whole()[at..at + buffer.len()]);
            });
        }
    });
    let taken = started.elapsed().as_secs_f64();
    let fetched: u64 = files.iter().map(RemoteFile::fetched).sum();
    assert_eq!(fetched, 6 * PIECE, "a jump is one piece");
    // The last piece came when all before it had passed, but for what the bucket held at first.
    assert!((fetched - PIECE) as f64 <= RATE as f64 * (taken + 0.25), "{fetched} bytes in {taken} s");
    assert!(bench.proxy.downloaded() - before >= fetched);
    assert!(files.iter().all(|file| file.policy().retries() == 0));
}

pub fn silence_is_noticed(bench: Bench) {
    // Right after the connection stands; in the middle of a body; after it.
    bench.proxy.silent_connections(1);
    let store = bench.connect();
    bench.proxy.hush_at(whole().len() as u64 / 3);
    bench.proxy.rule(Rule::when(bench.step(Step::Put)).after(2).hold_answer());
    bench.proxy.rule(Rule::when(bench.step(Step::Commit)).hold_answer());
    survive_at(&bench, &store);
}

pub fn work_that_was_done_unheard_is_not_done_twice(bench: Bench) {
    let store = bench.connect();
    for step in [Step::Create, Step::Put, Step::Commit] {
        bench.proxy.rule(Rule::when(bench.step(step)).lose_answer(Death::Reset));
        bench.proxy.rule(Rule::when(bench.step(step)).lose_answer(Death::Close));
    }
    survive_at(&bench, &store);
}

pub fn nobody_listens_for_a_while(bench: Bench) {
    let store = bench.connect();
    bench.once_uploaded(
        whole().len() as u64 / 2,
        || bench.proxy.down_for(Duration::from_millis(800)),
        || survive_at(&bench, &store),
    );
}

/// Three connections may die when the line goes down; the rest is [`crate::names`]'.
pub fn a_name_that_does_not_resolve_for_a_while(bench: Bench) {
    // The only name to which passwords go in the clear.
    let host = "localhost";
    let connection = bench.place.connection(&format!("{host}:{}", bench.proxy.address().port()));
    let mut context = connection.context(bench.tuning.clone(), bench.cancel.clone());
    let names = crate::names::Names::new(host);
    context.http = names.client();
    names.fail(3);
    let policy = store::retry::RetryPolicy::new(&context);
    let store = bench.bridge.wait(policy.retry(|| async { connection.connect(&context).await })).unwrap();
    assert!(policy.retries() >= 3, "{}", policy.retries());
    let ended = bench.once_uploaded(
        whole().len() as u64 / 2,
        || {
            names.fail(4);
            bench.proxy.sever(Death::Reset);
        },
        || bench.upload_with(&store, &context, no_watching),
    );
    if !bench.restarts(&store, &ended) {
        assert!(bench.place.object(crate::bench::NAME).expect("the archive is there") == *whole());
        assert_eq!(bench.place.leftovers(), Vec::<String>::new());
    }
}
