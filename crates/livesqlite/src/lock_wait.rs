//! How long to wait for another process's lock, and the flag that ends the wait early.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::OpenError;

/// A raised flag is seen after this at the latest.
const STEP: Duration = Duration::from_millis(25);
/// Longer waits are cut to this, so that their end is a valid time.
const LONGEST: Duration = Duration::from_hours(24);

/// How long a snapshot that is opened may wait, for all locks of others together.
#[derive(Debug)]
pub(crate) struct LockWait {
    deadline: Instant,
    cancel: Option<Arc<AtomicBool>>,
    waiting: Option<Arc<AtomicBool>>,
}

impl LockWait {
    pub(crate) fn new(length: Duration, cancel: Option<Arc<AtomicBool>>) -> Self {
        Self { deadline: Instant::now() + length.min(LONGEST), cancel, waiting: None }
    }

    /// Raises this flag when somebody is waited for.
    pub(crate) fn telling(self, waiting: Option<Arc<AtomicBool>>) -> Self {
        Self { waiting, ..self }
    }

    /// Somebody is waited for.
    pub(crate) fn tell(&self) {
        if let Some(waiting) = &self.waiting {
            waiting.store(true, Ordering::Relaxed);
        }
    }

    /// How long to wait before asking again; zero when the wait is over.
    pub(crate) fn step(&self) -> Result<Duration, OpenError> {
        if self.cancel.as_ref().is_some_and(|flag| flag.load(Ordering::Relaxed)) {
            return Err(OpenError::Cancelled);
        }
        Ok(self.deadline.saturating_duration_since(Instant::now()).min(STEP))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn waiting_goes_in_short_steps_until_time_or_flag_ends_it() {
        assert_eq!(LockWait::new(Duration::MAX, None).step().unwrap(), STEP);
        assert_eq!(LockWait::new(Duration::ZERO, None).step().unwrap(), Duration::ZERO);
        let flag = Arc::new(AtomicBool::new(false));
        let wait = LockWait::new(Duration::MAX, Some(flag.clone()));
        assert_eq!(wait.step().unwrap(), STEP);
        flag.store(true, Ordering::Relaxed);
        assert!(matches!(wait.step(), Err(OpenError::Cancelled)));
    }
}
