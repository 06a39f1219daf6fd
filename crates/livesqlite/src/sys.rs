//! The system calls that have no safe wrapper here. All unsafe code of this crate is in this file, but for one loan of a
//! descriptor in `own_fd`.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::ptr;

/// Lends a descriptor that somebody else owns.
///
/// # Safety
/// `fd` must be open, and stay open, for as long as the result is used.
pub(crate) unsafe fn lend<'a>(fd: RawFd) -> BorrowedFd<'a> {
    // SAFETY: the caller's promise is exactly what `borrow_raw` asks for.
    unsafe { BorrowedFd::borrow_raw(fd) }
}

/// Bytes in a page of memory, the unit of the page cache.
pub(crate) fn memory_page() -> u64 {
    // SAFETY: reads a constant of the system.
    let size = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    u64::try_from(size).unwrap_or(4096)
}

/// Which memory pages of a stretch of a file are in the page cache: one byte each, bit 0 set = resident.
/// `offset` must be a multiple of the memory page size. Nothing is read from disk.
pub(crate) fn resident(fd: BorrowedFd<'_>, offset: u64, len: usize) -> io::Result<Vec<u8>> {
    let mut flags = vec![0_u8; len.div_ceil(memory_page() as usize)];
    if len == 0 {
        return Ok(flags);
    }
    // SAFETY: a fresh mapping at an address of the kernel's choice touches no memory of ours. PROT_NONE: it is never read,
    // so a file that shrinks meanwhile cannot raise SIGBUS. Unmapping closes no descriptor and so releases no lock.
    let window = unsafe { libc::mmap(ptr::null_mut(), len, libc::PROT_NONE, libc::MAP_SHARED, fd.as_raw_fd(), offset as libc::off_t) };
    if window == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: `window` is a live mapping of `len` bytes and `flags` has one byte for each of its pages.
    let answer = unsafe { libc::mincore(window, len, flags.as_mut_ptr()) };
    let failure = (answer != 0).then(io::Error::last_os_error);
    // SAFETY: exactly the mapping made above, and no reference into it was ever formed.
    unsafe { libc::munmap(window, len) };
    failure.map_or(Ok(flags), Err)
}

/// A byte-range lock that belongs to the open file description, so that closing other descriptors cannot drop it.
fn range(kind: libc::c_int, start: u64, len: u64) -> libc::flock {
    // SAFETY: `flock` is plain integers; all zeros is a valid value (and OFD locks want `l_pid` zero).
    let mut lock: libc::flock = unsafe { std::mem::zeroed() };
    lock.l_type = kind as libc::c_short;
    lock.l_whence = libc::SEEK_SET as libc::c_short;
    lock.l_start = start as libc::off_t;
    lock.l_len = len as libc::off_t;
    lock
}

/// What [`set_lock`] does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lock {
    Shared,
    Exclusive,
    None,
}

/// Takes or releases an OFD lock without waiting. `Ok(false)`: somebody else holds a lock in the way.
pub(crate) fn set_lock(file: &File, what: Lock, start: u64, len: u64) -> io::Result<bool> {
    let kind = match what {
        Lock::Shared => libc::F_RDLCK,
        Lock::Exclusive => libc::F_WRLCK,
        Lock::None => libc::F_UNLCK,
    };
    let lock = range(kind, start, len);
    // SAFETY: F_OFD_SETLK reads one `flock`, which lives across the call.
    if unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLK, &raw const lock) } == 0 {
        return Ok(true);
    }
    let error = io::Error::last_os_error();
    match error.raw_os_error() {
        Some(libc::EAGAIN | libc::EACCES) => Ok(false),
        _ => Err(error),
    }
}

/// Would an exclusive lock on this range meet a lock of anybody else (other processes, and SQLite's own in this one)?
pub(crate) fn is_locked(file: &File, start: u64, len: u64) -> io::Result<bool> {
    let mut lock = range(libc::F_WRLCK, start, len);
    // SAFETY: F_OFD_GETLK reads and writes one `flock`, which lives across the call.
    if unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_GETLK, &raw mut lock) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(libc::c_int::from(lock.l_type) != libc::F_UNLCK)
}
