//! Waiting until something is on the disk, also on file systems that can't tell.

use std::io;

use rustix::io::Errno;

/// What came of a sync. `Ok(false)`: this file system has no such call (some network shares, FUSE, 9p, sandboxes); it has not failed.
pub fn synced(result: io::Result<()>) -> io::Result<bool> {
    match result {
        Ok(()) => Ok(true),
        Err(error) if matches!(Errno::from_io_error(&error), Some(Errno::INVAL | Errno::OPNOTSUPP | Errno::NOSYS)) => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_system_that_has_no_sync_has_not_failed() {
        for errno in [Errno::INVAL, Errno::OPNOTSUPP, Errno::NOTSUP, Errno::NOSYS] {
            assert!(matches!(synced(Err(errno.into())), Ok(false)), "{errno}");
        }
        for errno in [Errno::IO, Errno::NOSPC, Errno::DQUOT] {
            assert!(synced(Err(errno.into())).is_err(), "{errno}");
        }
    }
}
