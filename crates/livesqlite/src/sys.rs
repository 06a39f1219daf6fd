//! System calls without a safe wrapper. All unsafe code of this crate is in this file, except for one borrowed
//! descriptor in `own_fd`.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::os::unix::thread::JoinHandleExt;
use std::ptr;
use std::thread::JoinHandle;

use crate::bounds::at_most;

/// Borrows a descriptor that somebody else owns.
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
    let mut flags = vec![0_u8; len.div_ceil(at_most(memory_page(), usize::MAX))];
    if len == 0 {
        return Ok(flags);
    }
    let offset = libc::off_t::try_from(offset).map_err(|_| io::ErrorKind::InvalidInput)?;
    // SAFETY: a fresh mapping at an address of the kernel's choice touches no memory of ours. PROT_NONE: it is never
    // read, so a file that shrinks meanwhile cannot raise SIGBUS. Unmapping closes no descriptor and so releases no
    // lock.
    let window = unsafe { libc::mmap(ptr::null_mut(), len, libc::PROT_NONE, libc::MAP_SHARED, fd.as_raw_fd(), offset) };
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

/// How many memory pages of a stretch of a file are in the page cache. `None` where the kernel (before 6.5) or a
/// sandbox does not say.
pub(crate) fn resident_pages(fd: BorrowedFd<'_>, offset: u64, length: u64) -> Option<u64> {
    const CACHESTAT: libc::c_long = 451;
    #[repr(C)]
    struct Range {
        offset: u64,
        length: u64,
    }
    #[repr(C)]
    #[derive(Default)]
    struct Answer {
        cached: u64,
        dirty: u64,
        writeback: u64,
        evicted: u64,
        recently_evicted: u64,
    }
    let range = Range { offset, length };
    let mut answer = Answer::default();
    // SAFETY: both structs have the layout of `struct cachestat_range` and `struct cachestat` of linux/mman.h and live
    // on this stack frame for the whole call, and the kernel writes only within `answer`. An unknown call number is an
    // error.
    let result = unsafe { libc::syscall(CACHESTAT, fd.as_raw_fd(), &raw const range, &raw mut answer, 0_u32) };
    (result == 0).then_some(answer.cached)
}

/// A byte-range lock that belongs to the open file description, so that closing other descriptors cannot drop it.
#[expect(clippy::cast_possible_truncation, reason = "the constants of `fcntl.h` fit its own fields")]
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

/// Notifies the holder of a lease that somebody waits for its end. The system ignores it by default, so a stray one
/// does no harm.
const LEASE_SIGNAL: libc::c_int = libc::SIGURG;
/// Numbers of Linux's `asm-generic/fcntl.h`, which the `libc` crate does not have everywhere.
const F_SETSIG: libc::c_int = 10;
const F_SETOWN_EX: libc::c_int = 15;
const F_OWNER_TID: libc::c_int = 0;

/// `struct f_owner_ex` of fcntl(2).
#[repr(C)]
struct FileOwner {
    kind: libc::c_int,
    id: libc::pid_t,
}

/// [`LEASE_SIGNAL`], and the signal that the kernel sends instead when it cannot queue that one.
fn lease_signals() -> libc::sigset_t {
    // SAFETY: a `sigset_t` is plain integers; `sigemptyset` and `sigaddset` write to that one value, and fail only for
    // unknown signals.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, LEASE_SIGNAL);
        libc::sigaddset(&raw mut set, libc::SIGIO);
        set
    }
}

/// Takes a read lease (fcntl(2), "Leases") for the calling thread; only that thread is notified of its end, by
/// [`wait_for_lease_signal`]. `Ok(false)`: somebody has the file open for writing. From now on, whoever opens it for
/// writing waits in the kernel until the lease has ended, at most `/proc/sys/fs/lease-break-time`.
pub(crate) fn take_lease(file: &File) -> io::Result<bool> {
    let signals = lease_signals();
    // SAFETY: reads one `sigset_t`, which lives across the call; only this thread's mask changes.
    let refused = unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const signals, ptr::null_mut()) };
    if refused != 0 {
        return Err(io::Error::from_raw_os_error(refused));
    }
    // SAFETY: asks for a number.
    let owner = FileOwner { kind: F_OWNER_TID, id: unsafe { libc::gettid() } };
    // SAFETY: F_SETSIG and F_SETLEASE take a number, F_SETOWN_EX reads one `f_owner_ex`, which lives across the call.
    let taken = unsafe {
        libc::fcntl(file.as_raw_fd(), F_SETSIG, LEASE_SIGNAL) == 0
            && libc::fcntl(file.as_raw_fd(), F_SETOWN_EX, &raw const owner) == 0
            && libc::fcntl(file.as_raw_fd(), libc::F_SETLEASE, libc::F_RDLCK) == 0
    };
    let error = io::Error::last_os_error();
    match error.raw_os_error() {
        _ if taken => Ok(true),
        Some(libc::EAGAIN) => Ok(false),
        _ => Err(error),
    }
}

/// Does the lease still hold, and does nobody wait for its end?
pub(crate) fn has_lease(file: &File) -> bool {
    // SAFETY: F_GETLEASE takes nothing and answers with a number.
    unsafe { libc::fcntl(file.as_raw_fd(), libc::F_GETLEASE) == libc::F_RDLCK }
}

/// Ends the lease. `false`: the kernel had already done so, because its holder took too long.
pub(crate) fn end_lease(file: &File) -> bool {
    // SAFETY: F_SETLEASE takes a number.
    unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETLEASE, libc::F_UNLCK) == 0 }
}

/// Sleeps until somebody waits for the end of a lease that this thread took, or [`wake`] is called.
pub(crate) fn wait_for_lease_signal() {
    let signals = lease_signals();
    // SAFETY: reads one `sigset_t`, which lives across the call; a null pointer says that nothing more is wanted.
    while unsafe { libc::sigwaitinfo(&raw const signals, ptr::null_mut()) } < 0 {}
}

/// Ends [`wait_for_lease_signal`] in a thread that took a lease.
pub(crate) fn wake<T>(thread: &JoinHandle<T>) {
    // SAFETY: the thread has not been joined, for its handle is still here, so its number is valid even if it has
    // ended.
    unsafe { libc::pthread_kill(thread.as_pthread_t(), LEASE_SIGNAL) };
}
