//! How often somebody may try to come in.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// So many attempts cost no pause: people mistype.
const FREE: u32 = 3;
/// The longest pause.
const LONGEST: Duration = Duration::from_mins(5);
/// An address is forgotten so long after its last pause.
const FORGOTTEN: Duration = Duration::from_hours(1);
/// No more addresses are remembered.
const MOST: usize = 1024;

/// Attempts by address; each pause after one is twice as long as the one before.
#[derive(Default)]
pub(crate) struct Throttle {
    failed: Mutex<HashMap<IpAddr, Attempts>>,
}

struct Attempts {
    number: u32,
    until: Instant,
}

impl Throttle {
    /// Counts an attempt, before anything is compared: many at once gain nothing. The error says how long to wait.
    pub(crate) fn attempt(&self, address: Option<IpAddr>, now: Instant) -> Result<(), Duration> {
        let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        let address = network(address);
        if !failed.contains_key(&address) && failed.len() >= MOST {
            failed.retain(|_, attempts| now < attempts.until + FORGOTTEN);
            // All are at it: the one whose pause ends first gives way.
            if failed.len() >= MOST {
                let first = failed.iter().min_by_key(|(_, attempts)| attempts.until).map(|(address, _)| *address);
                first.map(|address| failed.remove(&address));
            }
        }
        let attempts = failed.entry(address).or_insert(Attempts { number: 0, until: now });
        if now < attempts.until {
            return Err(attempts.until - now);
        }
        if now > attempts.until + FORGOTTEN {
            attempts.number = 0;
        }
        attempts.number = attempts.number.saturating_add(1);
        let pause = attempts
            .number
            .checked_sub(FREE)
            .map_or(Duration::ZERO, |over| Duration::from_secs(1 << over.min(16)).min(LONGEST));
        attempts.until = now + pause;
        Ok(())
    }

    /// It was right.
    pub(crate) fn forget(&self, address: Option<IpAddr>) {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner).remove(&network(address));
    }
}

/// Everybody with IPv6 has 2^64 addresses.
fn network(address: Option<IpAddr>) -> IpAddr {
    match address.map(|address| address.to_canonical()) {
        Some(IpAddr::V6(address)) => IpAddr::V6((address.to_bits() >> 64 << 64).into()),
        Some(address) => address,
        None => IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    #[test]
    fn pauses_grow_up_to_a_bound_and_end_with_success() {
        let throttle = Throttle::default();
        let known = "192.0.2.1".parse().unwrap();
        let address = Some(known);
        let mut now = Instant::now();
        let mut pauses = Vec::new();
        for _ in 0..14 {
            throttle.attempt(address, now).unwrap();
            let until = throttle.failed.lock().unwrap()[&known].until;
            if until > now {
                assert_eq!(throttle.attempt(address, now), Err(until - now));
            }
            pauses.push((until - now).as_secs());
            now = until;
        }
        assert_eq!(pauses[..6], [0, 0, 1, 2, 4, 8]);
        assert_eq!(pauses.last(), Some(&300));
        assert!(throttle.attempt(Some("192.0.2.2".parse().unwrap()), now).is_ok(), "others need not wait");
        throttle.attempt(address, now).unwrap();
        throttle.forget(address);
        assert!(throttle.attempt(address, now).is_ok());
    }

    #[test]
    fn memory_is_bounded_and_a_network_is_one_visitor() {
        let throttle = Throttle::default();
        let now = Instant::now();
        for number in 0..5000_u32 {
            let _ = throttle.attempt(Some(IpAddr::V4(number.into())), now);
        }
        assert!(throttle.failed.lock().unwrap().len() <= MOST);
        for last in 1..=3 {
            throttle.attempt(Some(format!("2001:db8::{last}").parse().unwrap()), now).unwrap();
        }
        assert!(throttle.attempt(Some("2001:db8::ffff".parse().unwrap()), now).is_err());
    }
}
