//! Space that must stay free.

use std::io;

/// More would take the space that others on the same disk need.
#[derive(Debug, thiserror::Error)]
#[error("it would leave less than {} MB free on the disk that Home Assistant writes to", .0 / 1_000_000)]
pub struct Reserved(u64);

impl Reserved {
    pub(super) fn error(bytes: u64) -> io::Error {
        io::Error::new(io::ErrorKind::StorageFull, Self(bytes))
    }
}
