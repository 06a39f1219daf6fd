//! How long to wait for what. Nothing here sends a second time by itself; the caller decides about that.

use std::time::Duration;

/// How long to wait for what.
#[derive(Clone, Debug)]
pub struct Timeouts {
    /// For a connection to be established.
    pub connect: Duration,
    /// For any byte to move after that.
    pub stall: Duration,
    /// For the answer once the last byte has left: Home Assistant then reads, copies or unpacks the whole backup.
    pub answer: Duration,
    /// For an instance that answers already to be done with starting.
    pub ready: Duration,
    /// The first pause between two looks at an instance that restarts; it grows.
    pub first_look: Duration,
    /// The longest pause between two looks.
    pub longest_look: Duration,
    /// For the whole way through the restart.
    pub restart: Duration,
    /// How often a lasting stage is reported again.
    pub again: Duration,
    /// For all of a restored instance to be loaded, once it asks to log in.
    pub loaded: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(20),
            stall: Duration::from_mins(1),
            answer: Duration::from_mins(30),
            ready: Duration::from_mins(1),
            first_look: Duration::from_millis(500),
            longest_look: Duration::from_secs(5),
            restart: Duration::from_hours(1),
            again: Duration::from_mins(1),
            loaded: Duration::from_mins(3),
        }
    }
}

impl Timeouts {
    /// The pause after so many looks.
    pub(crate) fn pause(&self, looks: u32) -> Duration {
        self.first_look.saturating_mul(1 << (looks / 8).min(10)).min(self.longest_look)
    }
}

/// A time as people say it.
pub(crate) fn duration_text(time: Duration) -> String {
    match time.as_secs() {
        seconds @ 0..=119 => format!("{seconds} s"),
        seconds => format!("{} min", seconds / 60),
    }
}
