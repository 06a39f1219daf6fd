//! Timeouts and part sizes.

use std::time::Duration;

/// How long to wait for what.
#[derive(Clone, Debug)]
pub struct Tuning {
    /// For a connection to be established.
    pub connect_timeout: Duration,
    /// For any byte to move after that. A server that is silent for longer counts as broken.
    pub stall: Duration,
    /// The first pause before another try; doubled each time.
    pub first_pause: Duration,
    /// The longest pause.
    pub longest_pause: Duration,
    /// How long a destination may fail without a single success before it is given up.
    pub give_up_after: Duration,
    /// At most so long before it has ever answered: a mistyped host should not take hours to be noticed.
    pub first_contact: Duration,
    /// Part size instead of the destination's own preference.
    pub part_size: Option<u64>,
}

impl Default for Tuning {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(20),
            stall: Duration::from_mins(1),
            first_pause: Duration::from_millis(500),
            longest_pause: Duration::from_mins(1),
            give_up_after: Duration::from_hours(6),
            first_contact: Duration::from_secs(90),
            part_size: None,
        }
    }
}
