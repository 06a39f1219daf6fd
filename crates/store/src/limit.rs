//! A rate limit: a bucket that fills at that rate, and from which every byte that is sent or read takes its share.
//!
//! It applies where bytes are sent (`parts::Activity`), in small pieces, so that the connection is used evenly and not
//! in bursts of whole parts. Reading takes its turn before each request (`RetryPolicy::retry_reading`), which then asks
//! for no more than a second's worth.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Slower than this, servers and routers take a connection for dead.
pub const SLOWEST: u64 = 16_000;
/// The bucket holds what may leave in this time; it is what a pause may be made up for by.
const DEPTH: Duration = Duration::from_millis(250);
/// A waiting sender reports at least so often that it still moves.
const NAP: Duration = Duration::from_millis(500);

/// Shared by all uploads and readers that keep to it together. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Limit {
    own: Arc<Bucket>,
    /// What it keeps to together with others.
    all: Option<Arc<Bucket>>,
}

#[derive(Debug)]
struct Bucket {
    rate: u64,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// When the bytes that were let go have left, at this rate.
    until: Instant,
    /// When somebody last had to wait.
    waited: Option<Instant>,
}

impl PartialEq for Limit {
    fn eq(&self, other: &Self) -> bool {
        self.own.rate == other.own.rate
    }
}

impl Limit {
    /// `rate` in bytes a second.
    pub fn new(rate: u64) -> Self {
        let state = Mutex::new(State { until: Instant::now(), waited: None });
        Self { own: Arc::new(Bucket { rate: rate.max(1), state }), all: None }
    }

    /// The same, and whatever keeps to it keeps to `all` as well, together with everything else that does.
    #[must_use]
    pub fn within(&self, all: &Self) -> Self {
        Self { own: Arc::clone(&self.own), all: Some(Arc::clone(&all.own)) }
    }

    /// Bytes a second.
    pub fn rate(&self) -> u64 {
        self.own.rate
    }

    fn buckets(&self) -> impl Iterator<Item = &Bucket> {
        std::iter::once(&self.own).chain(&self.all).map(Arc::as_ref)
    }

    /// Whether it is what has slowed them down lately.
    pub fn is_felt(&self) -> bool {
        let is_recent = |waited: Instant| waited.elapsed() < Duration::from_mins(1);
        self.buckets().any(|bucket| bucket.state().waited.is_some_and(is_recent))
    }

    /// Waits until so many bytes more may pass. `napped` is called while it waits.
    pub async fn pass(&self, bytes: u64, napped: impl Fn()) {
        let mut wait = self.take(bytes, Instant::now());
        while !wait.is_zero() {
            let nap = wait.min(NAP);
            tokio::time::sleep(nap).await;
            wait -= nap;
            napped();
        }
    }

    /// Takes the bytes from the buckets, and says how long to wait before they leave.
    fn take(&self, bytes: u64, now: Instant) -> Duration {
        self.buckets().map(|bucket| bucket.take(bytes, now)).max().unwrap_or_default()
    }
}

impl Bucket {
    fn take(&self, bytes: u64, now: Instant) -> Duration {
        let mut state = self.state();
        let wait = state.until.saturating_duration_since(now);
        // What was not used in the meantime is lost, but for the bucket's depth.
        let begun = state.until.max(now.checked_sub(DEPTH).unwrap_or(now));
        state.until = begun + Duration::from_secs_f64(bytes as f64 / self.rate as f64);
        if !wait.is_zero() {
            state.waited = Some(now);
        }
        wait
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_leave_at_the_rate_and_pauses_are_not_made_up_for() {
        let limit = Limit::new(100_000);
        let start = Instant::now() + Duration::from_secs(10);
        let at = |millis| start + Duration::from_millis(millis);
        let near = |wait: Duration, millis: u64| {
            assert!(
                wait.abs_diff(Duration::from_millis(millis)) < Duration::from_millis(1),
                "{wait:?} and not {millis}"
            );
        };
        near(limit.take(100_000, at(0)), 0);
        // The bucket's depth was there from the start.
        near(limit.take(50_000, at(0)), 750);
        near(limit.take(50_000, at(0)), 1250);
        assert!(limit.own.state().waited.is_some() && limit.is_felt());
        // After a long pause there is no more than the depth to be made up for.
        near(limit.take(25_000, at(60_000)), 0);
        near(limit.take(100_000, at(60_000)), 0);
        near(limit.take(1, at(60_000)), 1000);
    }

    #[test]
    fn rates_within_another_do_not_add_up() {
        let start = Instant::now() + Duration::from_secs(10);
        let all = Limit::new(200_000);
        let [slow, fast] = [Limit::new(100_000).within(&all), Limit::new(200_000).within(&all)];
        let wait = |limit: &Limit| limit.take(100_000, start).as_millis();
        // Less what the bucket holds. Both at once are no faster than the faster of them.
        assert_eq!([wait(&fast), wait(&slow), wait(&fast), wait(&slow)], [0, 250, 750, 1250]);
        // Each alone is no faster than its own.
        let later = start + Duration::from_mins(1);
        assert_eq!(slow.take(100_000, later).as_millis(), 0);
        assert_eq!(slow.take(100_000, later).as_millis(), 750);
        assert!(slow.is_felt() && all.is_felt());
    }
}
