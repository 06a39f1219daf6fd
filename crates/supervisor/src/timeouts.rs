//! How long to wait for what. Nothing here sends a second time by itself; the caller decides about that.

use std::time::Duration;

/// How long to wait for what.
#[derive(Clone, Debug)]
pub struct Timeouts {
    /// For a connection to be established.
    pub connect: Duration,
    /// For an ordinary answer. Before a backup begins, Supervisor looks at its location, 30 s at the most.
    pub answer: Duration,
    /// For a change of a mount: systemd gets 90 s to unmount and 90 s to mount, and a look afterwards takes 30 s.
    pub mount: Duration,
    /// For what reads every backup, or deletes one on a server that is slow.
    pub files: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            answer: Duration::from_mins(1),
            mount: Duration::from_mins(5),
            files: Duration::from_mins(10),
        }
    }
}

/// A time as people say it.
pub(crate) fn duration_text(time: Duration) -> String {
    match time.as_secs() {
        0 => format!("{} ms", time.as_millis()),
        seconds @ 1..=119 => format!("{seconds} s"),
        seconds => format!("{} min", seconds / 60),
    }
}
