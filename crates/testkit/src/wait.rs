//! Waiting for what must happen. The bound is no measure: it only turns a test that would hang into one that fails.

use std::{
    fmt::Display,
    process::{Child, Output},
    thread,
    time::{Duration, Instant},
};

const BOUND: Duration = Duration::from_mins(3);
/// Between two looks.
const STEP: Duration = Duration::from_millis(2);

/// Looks until `look` finds something.
///
/// # Panics
/// When nothing is found in three minutes.
pub fn found<T>(what: impl Display, mut look: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + BOUND;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < until, "waited in vain until {what}");
        thread::sleep(STEP);
    }
}

/// Looks until it is so.
pub fn until(what: impl Display, mut is_so: impl FnMut() -> bool) {
    found(what, || is_so().then_some(()));
}

/// The same for a task, whose runtime must go on meanwhile.
///
/// # Panics
/// When it is not so in three minutes.
pub async fn until_async(what: impl Display, mut is_so: impl FnMut() -> bool) {
    let until = Instant::now() + BOUND;
    while !is_so() {
        assert!(Instant::now() < until, "waited in vain until {what}");
        tokio::time::sleep(STEP).await;
    }
}

/// The output of a program that must end by itself. One that hangs is ended.
///
/// # Panics
/// When it does not end in three minutes.
pub fn ended(mut child: Child) -> Output {
    let until = Instant::now() + BOUND;
    while child.try_wait().ok().flatten().is_none() {
        if Instant::now() > until {
            let _ = child.kill();
            panic!("it hangs");
        }
        thread::sleep(STEP);
    }
    child.wait_with_output().unwrap_or_else(|error| panic!("its output: {error}"))
}

/// The most memory a running program had in use, in KiB, once it has ended.
pub fn peak_kib(child: &mut Child) -> u64 {
    let status = format!("/proc/{}/status", child.id());
    let mut peak = 0;
    until("it has ended", || {
        peak = peak.max(high_water(&std::fs::read_to_string(&status).unwrap_or_default()));
        child.try_wait().ok().flatten().is_some()
    });
    peak
}

/// The high-water mark in the text of `/proc/PID/status`.
pub fn high_water(status: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}
