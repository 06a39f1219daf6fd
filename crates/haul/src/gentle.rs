//! Gives way to everything else on the machine: `--gentle`, and a service that rests.

/// Lowest CPU priority, and the disk only when nobody else wants it. Threads started later inherit both. Best effort:
/// if the system refuses, only the priority suffers.
pub(crate) fn step_back() {
    let _ = rustix::process::nice(19);
    idle_disk_priority();
}

#[expect(unsafe_code, reason = "ioprio_set(2) has no safe wrapper in the crates at hand")]
fn idle_disk_priority() {
    const WHO_PROCESS: libc::c_int = 1;
    const THIS_ONE: libc::c_int = 0;
    const CLASS_IDLE: libc::c_int = 3 << 13;
    // SAFETY: three integers and no memory; a system without the call answers with an error.
    let _ = unsafe { libc::syscall(libc::SYS_ioprio_set, WHO_PROCESS, THIS_ONE, CLASS_IDLE) };
}

/// Has all threads take their memory from one place. With a place for each, all of them keep what was needed for a
/// moment, and [`return_memory`] reaches only the first.
pub(crate) fn share_memory() {
    #[cfg(target_env = "gnu")]
    one_arena();
}

/// Gives memory that was needed for a moment back to the system: a service rests for hours.
pub(crate) fn return_memory() {
    #[cfg(target_env = "gnu")]
    trim();
}

#[cfg(target_env = "gnu")]
#[expect(unsafe_code, reason = "mallopt(3) has no safe wrapper")]
fn one_arena() {
    // SAFETY: it takes two integers, locks the allocator itself, and changes nothing that is in use.
    let _ = unsafe { libc::mallopt(libc::M_ARENA_MAX, 1) };
}

#[cfg(target_env = "gnu")]
#[expect(unsafe_code, reason = "malloc_trim(3) has no safe wrapper")]
fn trim() {
    // SAFETY: it takes an integer, locks the allocator itself, and touches no memory that is in use.
    let _ = unsafe { libc::malloc_trim(0) };
}
