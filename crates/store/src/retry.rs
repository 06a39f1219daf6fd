//! Retries transient failures, with growing, randomised pauses, until the call works or has failed for too long.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use crate::{
    context::Context,
    error::{Kind, Operation, StoreError},
    limit::Limit,
    parts::{Activity, Awaited},
    tuning::Tuning,
};

/// How often to ask a destination again that does not show yet what it has.
const LOOKS: u32 = 6;
/// The same where most likely there is nothing to show.
const GLANCES: u32 = 2;

/// So many chunks (of 64 KiB) are more than what a dead connection's buffers swallow.
const CHUNKS: u64 = 16;
/// However low the rate, less is not read at once: each request costs its own words.
const SMALLEST_READ: u64 = 64 << 10;

/// What a connection is waiting for, for the progress display.
#[derive(Clone, Debug)]
pub struct Waiting {
    /// For what.
    pub what: Pause,
    /// When the next try is due, or the wait ends.
    pub until: Instant,
}

/// Why nothing moves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pause {
    /// It did not work, for this reason; it is tried again.
    Retry(String),
    /// Everything was sent, and the server has not answered yet.
    Answer,
}

/// The retry policy of one destination, and since when nothing has worked there. Cheap to clone; clones share it.
#[derive(Clone)]
pub struct RetryPolicy {
    context: Context,
    shared: Arc<Mutex<State>>,
    awaited: Awaited,
}

#[derive(Default)]
struct State {
    // Since when nothing has worked.
    failing_since: Option<Instant>,
    last_success: Option<Instant>,
    retries: u64,
    waiting: Option<Waiting>,
}

impl RetryPolicy {
    /// As `context.tuning` says.
    pub fn new(context: &Context) -> Self {
        Self { context: context.clone(), shared: Arc::default(), awaited: Awaited::default() }
    }

    /// What is waited for right now.
    pub fn waiting(&self) -> Option<Waiting> {
        self.state()
            .waiting
            .clone()
            .or_else(|| self.awaited.until().map(|until| Waiting { what: Pause::Answer, until }))
    }

    /// For one part of an upload: keeps to the rate, and shows here that the answer to it is awaited.
    pub fn activity(&self) -> Activity {
        Activity::limited(self.context.limit.as_ref()).shown_to(&self.awaited)
    }

    /// Whether the rate limit slows the uploads down.
    pub fn is_limited(&self) -> bool {
        self.context.limit.as_ref().is_some_and(Limit::is_felt)
    }

    /// How many tries had to be repeated so far.
    pub fn retries(&self) -> u64 {
        self.state().retries
    }

    /// Repeats `attempt` until it succeeds, fails for good, or nothing has worked for too long.
    pub async fn retry<T, F: Future<Output = Result<T, StoreError>>>(
        &self,
        attempt: impl FnMut() -> F,
    ) -> Result<T, StoreError> {
        self.retry_moving(&Activity::default(), attempt).await
    }

    /// As [`Self::retry`], for attempts that read so many bytes: each takes its turn at the rate first. A wait for that is
    /// neither silence nor failure.
    pub async fn retry_reading<T, F: Future<Output = Result<T, StoreError>>>(
        &self,
        bytes: u64,
        attempt: impl FnMut() -> F,
    ) -> Result<T, StoreError> {
        self.attempts(bytes, &Activity::default(), attempt).await
    }

    /// Waits until so many bytes may be read.
    pub async fn may_read(&self, bytes: u64) -> Result<(), StoreError> {
        match &self.context.read_limit {
            Some(limit) => self.unless_cancelled(limit.pass(bytes, || {})).await,
            None => Ok(()),
        }
    }

    /// How much to read at once of what could be `most`: a second's worth of the rate, so that whoever shares it need not
    /// wait for long.
    pub fn read_at_once(&self, most: u64) -> u64 {
        let rate = self.context.read_limit.as_ref().map_or(most, Limit::rate);
        rate.clamp(SMALLEST_READ.min(most), most)
    }

    /// Like [`Self::retry`], for connecting to `destination`: an attempt without an answer ends when the time for
    /// connecting is over.
    pub async fn contact<T, F: Future<Output = Result<T, StoreError>>>(
        &self,
        destination: &str,
        mut attempt: impl FnMut() -> F,
    ) -> Result<T, StoreError> {
        let deadline = Instant::now() + self.budget(&self.state());
        self.retry(|| {
            let trying = tokio::time::timeout(deadline.saturating_duration_since(Instant::now()), attempt());
            async {
                trying.await.unwrap_or_else(|_| {
                    Err(StoreError::remote(
                        destination,
                        Operation::Connect,
                        Kind::Transient { retry_after: None },
                        "it does not answer",
                    ))
                })
            }
        })
        .await
    }

    /// How long nothing may work.
    fn budget(&self, state: &State) -> Duration {
        let Tuning { give_up_after, first_contact, .. } = self.context.tuning;
        if state.last_success.is_some() { give_up_after } else { first_contact.min(give_up_after) }
    }

    /// As [`Self::retry`], but pauses do not grow from one try to the next while each moves bytes: a line that is cut
    /// again and again is no server that needs rest.
    pub async fn retry_moving<T, F: Future<Output = Result<T, StoreError>>>(
        &self,
        activity: &Activity,
        attempt: impl FnMut() -> F,
    ) -> Result<T, StoreError> {
        self.attempts(0, activity, attempt).await
    }

    /// `reads`: so many bytes, in each attempt.
    async fn attempts<T, F: Future<Output = Result<T, StoreError>>>(
        &self,
        reads: u64,
        activity: &Activity,
        mut attempt: impl FnMut() -> F,
    ) -> Result<T, StoreError> {
        let mut tries = 0;
        let mut moved = activity.count();
        loop {
            self.may_read(reads).await?;
            let begun = Instant::now();
            let error = match self.unless_cancelled(attempt()).await? {
                Ok(done) => {
                    let mut state = self.state();
                    state.failing_since = None;
                    state.last_success = Some(Instant::now());
                    return Ok(done);
                }
                Err(error) if error.is_transient() => error,
                Err(error) => return Err(error),
            };
            let now_moved = activity.count();
            let has_moved = now_moved > moved + CHUNKS;
            if has_moved {
                tries = 0;
            }
            moved = now_moved;
            let mut pause = pause(&self.context.tuning, tries, error.retry_after(), scatter());
            tries += 1;
            {
                let now = Instant::now();
                let mut state = self.state();
                let budget = self.budget(&state);
                // A try that ended in silence has failed since it began; one that moved bytes, and whatever another has
                // done meanwhile, was no failure.
                let started = if has_moved { now } else { begun.max(state.last_success.unwrap_or(begun)) };
                let failing = now.duration_since(*state.failing_since.get_or_insert(started));
                let left = budget.saturating_sub(failing);
                let asked = error.retry_after().filter(|asked| *asked > left);
                if left.is_zero() || asked.is_some() {
                    return Err(given_up(error, failing, asked, state.last_success.is_some()));
                }
                // The last try comes when the time is up, and not before.
                pause = pause.min(left);
                state.retries += 1;
                state.waiting = Some(Waiting { what: Pause::Retry(error.to_string()), until: now + pause });
            }
            let slept = self.unless_cancelled(tokio::time::sleep(pause)).await;
            self.state().waiting = None;
            slept?;
        }
    }

    /// Asks until the answer is `enough`. A destination that may lag is asked [`LOOKS`] times more, for half a minute
    /// in all; returns the last answer.
    pub async fn settled<T, F: Future<Output = Result<T, StoreError>>>(
        &self,
        ask: impl FnMut() -> F,
        enough: impl Fn(&T) -> bool,
    ) -> Result<T, StoreError> {
        self.looking(LOOKS, ask, enough).await
    }

    /// What is there under a name that somebody typed: it may be mistyped, or have appeared a moment ago. So the
    /// destination is asked [`GLANCES`] times more.
    pub async fn found<T, F: Future<Output = Result<Option<T>, StoreError>>>(
        &self,
        ask: impl FnMut() -> F,
    ) -> Result<Option<T>, StoreError> {
        self.looking(GLANCES, ask, Option::is_some).await
    }

    async fn looking<T, F: Future<Output = Result<T, StoreError>>>(
        &self,
        most: u32,
        mut ask: impl FnMut() -> F,
        enough: impl Fn(&T) -> bool,
    ) -> Result<T, StoreError> {
        let mut looks = 0;
        loop {
            let answer = self.retry(&mut ask).await?;
            if looks == most || enough(&answer) {
                return Ok(answer);
            }
            let pause = pause(&self.context.tuning, looks, None, scatter());
            looks += 1;
            self.state().waiting = Some(Waiting {
                what: Pause::Retry("the destination does not show the archive yet".to_owned()),
                until: Instant::now() + pause,
            });
            let slept = self.unless_cancelled(tokio::time::sleep(pause)).await;
            self.state().waiting = None;
            slept?;
        }
    }

    /// `work`, unless the user wants to stop first.
    pub async fn unless_cancelled<T>(&self, work: impl Future<Output = T>) -> Result<T, StoreError> {
        self.context.cancel.unless_cancelled(work).await.ok_or(StoreError::Cancelled)
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Says since when nothing worked, beside what went wrong the last time.
fn given_up(error: StoreError, failing: Duration, asked: Option<Duration>, ever_worked: bool) -> StoreError {
    let StoreError::Remote(mut error) = error else { return error };
    let (never, advice) = if ever_worked {
        ("", "check the connection and the other side, and try again; --give-up-after sets how long to wait for them")
    } else {
        ("; no attempt succeeded", "check the address, and that the other side is running")
    };
    error.reason = match asked {
        Some(asked) => format!(
            "{} (it asks to wait {}, which is longer than --give-up-after allows)",
            error.reason,
            duration_text(asked)
        ),
        None => format!("{} (gave up after {}{never})", error.reason, duration_text(failing)),
    };
    error.advice.get_or_insert_with(|| advice.to_owned());
    StoreError::Remote(error)
}

fn duration_text(time: Duration) -> String {
    match time.as_secs() {
        0 => "less than a second".to_owned(),
        seconds @ 1..=119 => format!("{seconds} s"),
        seconds @ 120..=7199 => format!("{} min", seconds / 60),
        seconds => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
    }
}

/// The pause before attempt number `tries + 1`: doubled each time up to a bound, randomised over its upper half so that
/// many clients don't come back at once; never shorter than the server asked for. `scatter` is between 0 and 1.
fn pause(tuning: &Tuning, tries: u32, asked: Option<Duration>, scatter: f64) -> Duration {
    let full = tuning.first_pause.saturating_mul(1 << tries.min(20)).min(tuning.longest_pause);
    let scattered = full.mul_f64(0.5 + scatter / 2.0);
    asked.map_or(scattered, |asked| asked.max(scattered))
}

fn scatter() -> f64 {
    let mut bytes = [0; 2];
    let _ = getrandom::fill(&mut bytes);
    f64::from(u16::from_le_bytes(bytes)) / f64::from(u16::MAX)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::{
        future::{pending, ready},
        pin::Pin,
    };

    use super::*;
    use crate::{
        cancellation::Cancellation,
        error::{Kind, Operation},
    };

    fn policy(give_up_after: Duration) -> (RetryPolicy, Cancellation) {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let tuning = Tuning {
            first_pause: Duration::from_millis(1),
            give_up_after,
            first_contact: give_up_after,
            ..Tuning::default()
        };
        let cancel = Cancellation::default();
        (RetryPolicy::new(&Context::new(tuning, "/nonexistent".into(), cancel.clone()).unwrap()), cancel)
    }

    fn transient() -> StoreError {
        StoreError::remote("there", Operation::Write, Kind::Transient { retry_after: None }, "hiccup")
    }

    #[tokio::test]
    async fn what_passes_is_tried_again_and_what_does_not_is_not() {
        let (policy, _) = policy(Duration::from_mins(1));
        let mut tries = 0;
        let done = policy.retry(|| {
            tries += 1;
            let result = if tries < 4 { Err(transient()) } else { Ok(tries) };
            async { result }
        });
        assert_eq!(done.await.unwrap(), 4);
        assert_eq!(policy.retries(), 3);
        let fatal = policy
            .retry(|| async { Err::<(), _>(StoreError::remote("there", Operation::Write, Kind::Credentials, "no")) });
        assert_eq!(fatal.await.unwrap_err().kind(), Some(Kind::Credentials));
        assert_eq!(policy.retries(), 3);
    }

    #[tokio::test]
    async fn patience_ends() {
        let (policy, _) = policy(Duration::from_millis(30));
        let started = Instant::now();
        let error = policy.retry(|| async { Err::<(), _>(transient()) }).await.unwrap_err();
        assert!(error.is_transient());
        assert_eq!(
            error.to_string(),
            "could not write to there: hiccup (gave up after less than a second; no attempt succeeded)"
        );
        assert!(started.elapsed() < Duration::from_secs(5));
    }

    #[tokio::test]
    async fn every_wait_ends_when_the_user_stops() {
        const NEVER: Duration = Duration::from_hours(1);
        type Wait<'p> = Pin<Box<dyn Future<Output = Result<(), StoreError>> + 'p>>;
        type Make = for<'p> fn(&'p RetryPolicy) -> Wait<'p>;
        let waits: [(&str, Make); 6] = [
            ("for an answer", |policy| Box::pin(policy.retry(pending::<Result<(), StoreError>>))),
            ("for the next try", |policy| Box::pin(policy.retry(|| ready(Err(transient()))))),
            ("for first contact", |policy| Box::pin(policy.contact("there", pending::<Result<(), StoreError>>))),
            ("for a place to show what it has", |policy| {
                Box::pin(async { policy.settled(|| ready(Ok(false)), |is_there| *is_there).await.map(drop) })
            }),
            ("for a name that was typed", |policy| {
                Box::pin(async { policy.found(|| ready(Ok(None::<()>))).await.map(drop) })
            }),
            ("for a rate", |policy| {
                Box::pin(async {
                    let limit = Limit::new(1);
                    let passing = async {
                        limit.pass(3600, || {}).await;
                        limit.pass(3600, || {}).await;
                    };
                    policy.unless_cancelled(passing).await
                })
            }),
        ];
        for (what, wait) in waits {
            let (mut policy, cancel) = policy(NEVER);
            (policy.context.tuning.first_pause, policy.context.tuning.longest_pause) = (NEVER, NEVER);
            // The wait comes first, and nothing else would end it for an hour.
            let (waited, ()) = tokio::join!(wait(&policy), async { cancel.cancel() });
            assert!(matches!(waited, Err(StoreError::Cancelled)), "{what}: {waited:?}");
        }
    }

    #[test]
    fn whoever_gives_up_says_after_how_long() {
        let said = |seconds| given_up(transient(), Duration::from_secs(seconds), None, true).to_string();
        assert_eq!(said(90), "could not write to there: hiccup (gave up after 90 s)");
        assert_eq!(said(600), "could not write to there: hiccup (gave up after 10 min)");
        assert_eq!(said(6 * 3600 + 130), "could not write to there: hiccup (gave up after 6 h 2 min)");
    }

    #[tokio::test]
    async fn who_asks_to_wait_longer_than_it_may_fail_is_not_waited_for() {
        let (policy, _) = policy(Duration::from_secs(5));
        let busy = || async {
            Err::<(), _>(StoreError::remote(
                "there",
                Operation::Write,
                Kind::Transient { retry_after: Some(Duration::from_mins(10)) },
                "busy",
            ))
        };
        let error = policy.retry(busy).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "could not write to there: busy (it asks to wait 10 min, which is longer than --give-up-after allows)"
        );
    }

    #[tokio::test]
    async fn a_silent_destination_is_given_up_when_its_time_is_up() {
        let (policy, _) = policy(Duration::from_millis(1100));
        let mut tries = 0;
        let error = policy.contact("there", || {
            tries += 1;
            std::future::pending::<Result<(), StoreError>>()
        });
        assert_eq!(
            error.await.unwrap_err().to_string(),
            "could not connect to there: it does not answer (gave up after 1 s; no attempt succeeded)"
        );
        assert_eq!(tries, 1);
    }

    #[test]
    fn pauses_grow_to_a_bound_and_honour_what_the_server_asks() {
        let tuning = Tuning::default();
        assert_eq!(pause(&tuning, 0, None, 1.0), tuning.first_pause);
        assert_eq!(pause(&tuning, 3, None, 1.0), tuning.first_pause * 8);
        assert_eq!(pause(&tuning, 30, None, 0.0), tuning.longest_pause / 2);
        assert_eq!(pause(&tuning, 0, Some(Duration::from_secs(90)), 0.3), Duration::from_secs(90));
    }
}
