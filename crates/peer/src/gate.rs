//! How long a pairing code lives, and how fast it may be guessed at: one try at a time, each wrong one makes all that follow wait longer, whoever they come from.

use std::time::Duration;

use tokio::{
    sync::{Mutex, MutexGuard},
    time::{Instant, sleep_until},
};

use crate::{code::Code, error::PeerError};

/// How patient a gate is.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// Wrong tries that end a code.
    pub tries: u32,
    /// How long a code is valid.
    pub life: Duration,
    /// The pause after the first wrong try; doubled by each further one, also over several codes.
    pub first_pause: Duration,
    /// The longest pause.
    pub longest_pause: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { tries: 5, life: Duration::from_mins(15), first_pause: Duration::from_secs(1), longest_pause: Duration::from_mins(1) }
    }
}

/// Keeps the one valid code of a receiver, or none.
pub struct Gate {
    patience: Patience,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    code: Option<(Code, Instant)>,
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
    pub fn new(patience: Patience) -> Self {
        Self { patience, state: Mutex::default() }
    }

    /// Makes a new code, the only valid one from now on, and returns it as it is shown.
    pub async fn renew(&self) -> Result<String, PeerError> {
        renew(&mut *self.state.lock().await)
    }

    /// Waits until another try is allowed. `None`: no code is valid.
    pub async fn turn(&self) -> Option<Turn<'_>> {
        let mut state = self.state.lock().await;
        if let Some(due) = state.not_before {
            sleep_until(due).await;
        }
        if state.code.as_ref().is_some_and(|(_, born)| born.elapsed() >= self.patience.life) {
            state.code = None;
        }
        let code = state.code.as_ref()?.0.clone();
        Some(Turn { code, state, patience: self.patience })
    }
}

/// The right to one try, while nobody else has it.
pub struct Turn<'gate> {
    code: Code,
    state: MutexGuard<'gate, State>,
    patience: Patience,
}

impl Turn<'_> {
    /// The code that is valid.
    pub fn code(&self) -> &Code {
        &self.code
    }

    /// It was known over there: it has done its work.
    pub fn right(mut self) {
        *self.state = State::default();
    }

    /// It was not.
    pub fn wrong(mut self) -> Result<Wrong, PeerError> {
        let state = &mut *self.state;
        let pause = self.patience.first_pause.saturating_mul(1 << state.wrong_in_a_row.min(20)).min(self.patience.longest_pause);
        state.not_before = Some(Instant::now() + pause);
        state.wrong_in_a_row += 1;
        state.wrong += 1;
        if state.wrong < self.patience.tries {
            return Ok(Wrong::Left(self.patience.tries - state.wrong));
        }
        // Gone first: should no new one come about, none is valid.
        state.code = None;
        renew(state).map(Wrong::Replaced)
    }
}

fn renew(state: &mut State) -> Result<String, PeerError> {
    let code = Code::random()?;
    let shown = code.shown();
    state.code = Some((code, Instant::now()));
    state.wrong = 0;
    Ok(shown)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const QUICK: Patience =
        Patience { tries: 5, life: Duration::from_millis(300), first_pause: Duration::from_millis(10), longest_pause: Duration::from_millis(60) };

    #[tokio::test]
    async fn each_wrong_try_makes_the_next_wait_longer() {
        let gate = Gate::new(Patience { life: Duration::from_mins(1), ..QUICK });
        gate.renew().await.unwrap();
        let started = Instant::now();
        for (tries, waited) in [0, 10, 30, 70].into_iter().enumerate() {
            let turn = gate.turn().await.unwrap();
            assert!(started.elapsed().as_millis() >= waited);
            assert_eq!(turn.wrong().unwrap(), Wrong::Left(4 - tries as u32));
        }
    }

    #[tokio::test]
    async fn a_code_dies_after_five_wrong_tries_and_the_pause_stays() {
        let gate = Gate::new(Patience { life: Duration::from_mins(1), ..QUICK });
        let first = gate.renew().await.unwrap();
        for _ in 0..4 {
            gate.turn().await.unwrap().wrong().unwrap();
        }
        let Wrong::Replaced(second) = gate.turn().await.unwrap().wrong().unwrap() else { panic!("the code still lives") };
        assert_ne!(first, second);
        let died = Instant::now();
        let turn = gate.turn().await.unwrap();
        assert!(died.elapsed().as_millis() >= 55, "{:?}", died.elapsed());
        assert!(*turn.code() == Code::parse(&second));
    }

    #[tokio::test]
    async fn a_code_dies_of_age() {
        let gate = Gate::new(QUICK);
        gate.renew().await.unwrap();
        assert!(gate.turn().await.is_some());
        tokio::time::sleep(QUICK.life).await;
        assert!(gate.turn().await.is_none());
    }

    #[tokio::test]
    async fn a_code_serves_once() {
        let gate = Gate::new(QUICK);
        assert!(gate.turn().await.is_none());
        gate.renew().await.unwrap();
        gate.turn().await.unwrap().right();
        assert!(gate.turn().await.is_none());
    }
}
