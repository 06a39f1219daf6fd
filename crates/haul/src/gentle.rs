//! `--gentle`: gives way to everything else on the machine.

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
