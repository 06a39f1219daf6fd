//! How long a pairing code lives, and how fast anybody may guess at it: one attempt at a time, and each wrong one makes
//! all later ones wait longer, whoever they come from.
//!
//! Attempts wait in a queue. What the queue waits for (a pause, or the attempt before) does not keep anybody from
//! making a new code.

use std::{
    sync::{Mutex, MutexGuard as Held, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{Mutex as Queue, MutexGuard},
    time::{Instant, sleep_until},
};

use crate::{code::Code, error::PeerError};

/// How patient a gate is.
#[derive(Clone, Copy, Debug)]
pub struct GateLimits {
    /// Wrong tries that end a code.
    pub tries: u32,
    /// How long a code is valid.
    pub life: Duration,
    /// The pause after the first wrong try; doubled by each further one, also over several codes.
    pub first_pause: Duration,
    /// The longest pause.
    pub longest_pause: Duration,
    /// How long one try may take until it has shown that it knows the code. Others wait for it.
    pub try_within: Duration,
}

impl Default for GateLimits {
    fn default() -> Self {
        Self {
            tries: 5,
            life: Duration::from_mins(15),
            first_pause: Duration::from_secs(1),
            longest_pause: Duration::from_mins(1),
            try_within: Duration::from_secs(5),
        }
    }
}

impl GateLimits {
    /// After so many wrong tries before the last one.
    fn pause(&self, wrong_before: u32) -> Duration {
        self.first_pause.saturating_mul(1 << wrong_before.min(20)).min(self.longest_pause)
    }
}

/// Keeps the one valid code of a receiver, or none.
pub struct Gate {
    limits: GateLimits,
    queue: Queue<()>,
    // Never held while anything is waited for.
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    code: Option<(Code, Instant)>,
    // Which code it is; a try belongs to one.
    number: u64,
    wrong: u32,
    wrong_in_a_row: u32,
    not_before: Option<Instant>,
}

/// What a wrong try led to.
#[derive(Debug, PartialEq, Eq)]
pub enum Wrong {
    /// The code is still valid, for so many tries.
    Left(u32),
    /// It is not; this one is, instead.
    Replaced(String),
}

impl Gate {
    /// Without a code.
    pub fn new(limits: GateLimits) -> Self {
        Self { limits, queue: Queue::default(), state: Mutex::default() }
    }

    /// Makes a new code, the only valid one from now on, and returns it as it is shown.
    pub fn renew(&self) -> Result<String, PeerError> {
        self.state().renew()
    }

    /// Waits until another try is allowed. `None`: no code is valid.
    pub async fn turn(&self) -> Option<Turn<'_>> {
        let queued = self.queue.lock().await;
        let due = self.state().not_before;
        if let Some(due) = due {
            sleep_until(due).await;
        }
        let mut state = self.state();
        if state.code.as_ref().is_some_and(|(_, born)| born.elapsed() >= self.limits.life) {
            state.code = None;
        }
        let code = state.code.as_ref()?.0.clone();
        Some(Turn { code, number: state.number, gate: self, _queued: queued })
    }

    fn state(&self) -> Held<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The right to one attempt, while nobody else has it.
pub struct Turn<'gate> {
    code: Code,
    number: u64,
    gate: &'gate Gate,
    _queued: MutexGuard<'gate, ()>,
}

impl Turn<'_> {
    /// The code that was valid when the turn began.
    pub fn code(&self) -> &Code {
        &self.code
    }

    /// Within which the other side has to show that it knows the code.
    pub fn within(&self) -> Duration {
        self.gate.limits.try_within
    }

    /// It was known over there: it has done its work. A newer one, made meanwhile, stays.
    pub fn right(self) {
        let mut state = self.gate.state();
        if state.number == self.number {
            *state = State { number: self.number, ..State::default() };
        }
    }

    /// It was not.
    pub fn wrong(self) -> Result<Wrong, PeerError> {
        let mut state = self.gate.state();
        let pause = self.gate.limits.pause(state.wrong_in_a_row);
        state.not_before = Some(Instant::now() + pause);
        state.wrong_in_a_row += 1;
        // A guess at a code that was replaced meanwhile says nothing about the new one.
        if state.number == self.number {
            state.wrong += 1;
        }
        if state.wrong < self.gate.limits.tries {
            return Ok(Wrong::Left(self.gate.limits.tries - state.wrong));
        }
        // Remove it first: if no new code can be made, none is valid.
        state.code = None;
        state.renew().map(Wrong::Replaced)
    }
}

impl State {
    fn renew(&mut self) -> Result<String, PeerError> {
        let code = Code::random()?;
        let shown = code.shown();
        self.code = Some((code, Instant::now()));
        self.number += 1;
        self.wrong = 0;
        Ok(shown)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::{
        future::Future,
        pin::pin,
        task::{Context, Poll, Waker},
    };

    use super::*;

    const QUICK: GateLimits = GateLimits {
        tries: 5,
        life: Duration::from_mins(1),
        first_pause: Duration::from_millis(1),
        longest_pause: Duration::from_millis(4),
        try_within: Duration::from_millis(10),
    };
    /// Nobody waits for the end of such a pause.
    const SLOW: GateLimits =
        GateLimits { first_pause: Duration::from_hours(1), longest_pause: Duration::from_hours(1), ..QUICK };

    fn is_waiting<T>(work: &mut (impl Future<Output = T> + Unpin)) -> bool {
        matches!(pin!(work).poll(&mut Context::from_waker(Waker::noop())), Poll::Pending)
    }

    #[test]
    fn each_wrong_try_makes_the_next_wait_longer() {
        let limits = GateLimits::default();
        let pauses: Vec<u64> = [0, 1, 2, 5, 6, 7, 100].into_iter().map(|wrong| limits.pause(wrong).as_secs()).collect();
        assert_eq!(pauses, [1, 2, 4, 32, 60, 60, 60]);
    }

    #[tokio::test]
    async fn a_code_dies_after_five_wrong_tries_and_the_pause_stays() {
        let gate = Gate::new(QUICK);
        let first = gate.renew().unwrap();
        for tries in 0..4 {
            assert_eq!(gate.turn().await.unwrap().wrong().unwrap(), Wrong::Left(4 - tries));
        }
        let Wrong::Replaced(second) = gate.turn().await.unwrap().wrong().unwrap() else {
            panic!("the code still lives")
        };
        assert_ne!(first, second);
        assert!(gate.state().not_before.is_some() && gate.state().wrong_in_a_row == 5);
        assert!(*gate.turn().await.unwrap().code() == Code::parse(&second));
    }

    #[tokio::test]
    async fn a_new_code_waits_for_nobody_and_counts_no_guess_at_the_old_one() {
        let gate = Gate::new(SLOW);
        let first = gate.renew().unwrap();
        let turn = gate.turn().await.unwrap();
        // One has the turn, another waits for it.
        let mut next = Box::pin(gate.turn());
        assert!(is_waiting(&mut next));
        let second = gate.renew().unwrap();
        assert!(*turn.code() == Code::parse(&first) && first != second);
        assert_eq!(turn.wrong().unwrap(), Wrong::Left(5));
        // The other one waits for the end of the pause.
        assert!(is_waiting(&mut next));
        let third = gate.renew().unwrap();
        assert!(gate.state().code.as_ref().is_some_and(|(code, _)| *code == Code::parse(&third)));
    }

    #[tokio::test]
    async fn who_knew_the_old_code_leaves_the_new_one_valid() {
        let gate = Gate::new(QUICK);
        gate.renew().unwrap();
        let turn = gate.turn().await.unwrap();
        let second = gate.renew().unwrap();
        turn.right();
        assert!(*gate.turn().await.unwrap().code() == Code::parse(&second));
    }

    #[tokio::test]
    async fn a_code_dies_of_age() {
        let gate = Gate::new(GateLimits { life: Duration::ZERO, ..QUICK });
        gate.renew().unwrap();
        assert!(gate.turn().await.is_none());
    }

    #[tokio::test]
    async fn a_code_serves_once() {
        let gate = Gate::new(QUICK);
        assert!(gate.turn().await.is_none());
        gate.renew().unwrap();
        gate.turn().await.unwrap().right();
        assert!(gate.turn().await.is_none());
    }
}
