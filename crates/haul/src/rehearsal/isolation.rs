//! A place that a rehearsed Home Assistant can't reach out of: no network but a loopback of its own, no devices, no
//! sockets of other programs, no process but its own, temporary files of its own, and all others to read and not to
//! change. Nor can it undo that: it has no right to mount ([`privileges`]).
//!
//! Linux's namespaces do this, as in a container. They take root, or user namespaces that the system allows. The
//! process that enters must have one thread; what it starts afterwards is inside.

use std::{
    env,
    ffi::CString,
    fs, io,
    net::UdpSocket,
    os::{
        fd::AsRawFd,
        unix::{
            ffi::OsStrExt,
            fs::{FileTypeExt, MetadataExt, symlink},
            process::CommandExt,
        },
    },
    path::{Path, PathBuf},
    process::Command,
};

use rustix::{
    fs::{Mode, OFlags, open},
    process::{getegid, geteuid, setsid},
};

use super::privileges;

/// What programs need of `/dev`, and what leads to no hardware.
const HARMLESS: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];
const LINKS: [(&str, &str); 5] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("ptmx", "pts/ptmx"),
];
/// Where programs put their sockets.
const SOCKETS: [&str; 2] = ["/run", "/var/run"];
/// How deep sockets are looked for, and among how many entries.
const DEEPEST: usize = 6;
const MOST_ENTRIES: usize = 1_000_000;
/// What may be written to beside the scratch directory. It is empty, in memory, and gone afterwards.
const TEMPORARY: [&str; 2] = ["/tmp", "/var/tmp"];
const TEMPORARY_OPTIONS: &str = "mode=1777,size=1g";
/// What Home Assistant's containers call the config directory, and configurations with them.
const CONTAINER: [&str; 2] = ["/config", "/homeassistant"];

/// Enters such a place. `scratch` can be written to; `config`, which is in it, is the configuration.
pub(super) fn enter(scratch: &Path, config: &Path) -> io::Result<()> {
    // Afterwards there are none.
    let named = named_sockets();
    let spaces = libc::CLONE_NEWNET | libc::CLONE_NEWNS | libc::CLONE_NEWPID | libc::CLONE_NEWIPC | libc::CLONE_NEWUTS;
    let (uid, gid) = (geteuid().as_raw(), getegid().as_raw());
    if unshare(spaces).is_err() {
        unshare(spaces | libc::CLONE_NEWUSER)?;
        fs::write("/proc/self/setgroups", "deny")?;
        fs::write("/proc/self/uid_map", format!("{uid} {uid} 1"))?;
        fs::write("/proc/self/gid_map", format!("{gid} {gid} 1"))?;
    }
    // Nothing that is mounted here shows elsewhere.
    mount(None, Path::new("/"), None, libc::MS_REC | libc::MS_PRIVATE)?;
    let working = env::current_dir();
    // By its descriptor it can be reached when it is among the temporary files that are covered now.
    let held = open(scratch, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let temporary = TEMPORARY.map(Path::new).into_iter().filter(|path| path.is_dir() && !path.is_symlink());
    let temporary: Vec<&Path> = temporary.collect();
    for path in &temporary {
        tmpfs(path, TEMPORARY_OPTIONS)?;
    }
    fs::create_dir_all(scratch)?;
    bind(Path::new(&format!("/proc/self/fd/{}", held.as_raw_fd())), scratch)?;
    drop(held);
    hide_sockets(&named)?;
    change_mounts(Path::new("/"), true, READ_ONLY | NO_SET_UID | NO_DEVICES, 0)?;
    for path in temporary.into_iter().chain([scratch]) {
        change_mounts(path, false, 0, READ_ONLY)?;
    }
    for name in CONTAINER.map(Path::new) {
        if name.is_dir() && !config.starts_with(name) {
            bind(config, name)?;
        }
    }
    hide_devices(scratch)?;
    raise_loopback()?;
    // The old way there leads below what was mounted meanwhile.
    working.and_then(env::set_current_dir).or_else(|_| env::set_current_dir(config))
}

/// Lets what `command` starts be the first process of its place, which ends with this one. This process has one thread.
#[expect(unsafe_code, reason = "what makes the place and gives up rights needs those that an exec may take away")]
pub(super) fn first_inside(command: &mut Command) {
    let prepare = || {
        own_processes()?;
        // Who has the terminal could type there.
        setsid()?;
        privileges::give_up()?;
        last_steps()
    };
    // SAFETY: no other thread of this process could have held a lock when it was forked, so that anything may be called.
    unsafe { command.pre_exec(prepare) };
}

/// Lets what `command` starts end with this process.
#[expect(unsafe_code, reason = "only between fork and exec can a process ask to die with the one that made it")]
pub(super) fn mortal(command: &mut Command) {
    // SAFETY: the closure allocates nothing and calls only the system.
    unsafe { command.pre_exec(last_steps) };
}

/// Shows only the processes of this place. What else is at `/proc` belongs to the whole machine: root could change the
/// kernel's settings there without any further right.
fn own_processes() -> io::Result<()> {
    let processes = Path::new("/proc");
    mount_new("proc", processes, libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC, "")?;
    for entry in fs::read_dir(processes)? {
        let entry = entry?;
        let is_process = entry.file_name().as_bytes().iter().all(u8::is_ascii_digit);
        let found = entry.metadata()?;
        if !is_process && (found.is_dir() || found.is_file() && found.mode() & 0o222 != 0) {
            let path = entry.path();
            mount(Some(&path), &path, None, libc::MS_BIND | libc::MS_REC)?;
            change_mounts(&path, true, READ_ONLY, 0)?;
        }
    }
    Ok(())
}

/// Covers the sockets of programs that run here, such as the bus of the system or the daemon of containers.
fn hide_sockets(named: &[PathBuf]) -> io::Result<()> {
    for socket in named {
        if fs::symlink_metadata(socket).is_ok_and(|found| found.file_type().is_socket()) {
            hide(socket)?;
        }
    }
    let mut seen = 0;
    let mut open: Vec<(PathBuf, usize)> = SOCKETS.iter().map(|path| (PathBuf::from(path), 0)).collect();
    while let Some((directory, depth)) = open.pop() {
        // What can't be listed can't be reached from inside either.
        for entry in fs::read_dir(&directory).into_iter().flatten().flatten() {
            seen += 1;
            if seen > MOST_ENTRIES {
                return Err(io::Error::other("there are too many files to find all sockets among them"));
            }
            let Ok(kind) = entry.file_type() else { continue };
            if kind.is_socket() {
                hide(&entry.path())?;
            } else if kind.is_dir() && depth < DEEPEST {
                open.push((entry.path(), depth + 1));
            }
        }
    }
    Ok(())
}

/// The sockets that somebody in this network listens at, wherever they are.
fn named_sockets() -> Vec<PathBuf> {
    const PATH: usize = 7;
    let list = fs::read("/proc/net/unix").unwrap_or_default();
    String::from_utf8_lossy(&list)
        .lines()
        .filter_map(|line| line.split_whitespace().nth(PATH))
        .filter(|path| path.starts_with('/'))
        .map(PathBuf::from)
        .collect()
}

fn hide(socket: &Path) -> io::Result<()> {
    match bind(Path::new("/dev/null"), socket) {
        // It is gone in the meantime, or out of reach from inside as well.
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied) => Ok(()),
        other => other,
    }
}

/// A `/dev` without hardware, made in the scratch directory and then moved.
fn hide_devices(scratch: &Path) -> io::Result<()> {
    let devices = scratch.join("dev");
    fs::create_dir(&devices)?;
    tmpfs(&devices, "mode=755,size=1m")?;
    for name in HARMLESS {
        let origin = Path::new("/dev").join(name);
        if origin.exists() {
            let here = devices.join(name);
            fs::write(&here, "")?;
            bind(&origin, &here)?;
            change_mounts(&here, false, 0, NO_DEVICES)?;
        }
    }
    fs::create_dir(devices.join("shm"))?;
    tmpfs(&devices.join("shm"), "mode=1777")?;
    fs::create_dir(devices.join("pts"))?;
    // Home Assistant needs no terminal; not every place has them.
    let _ = mount_new("devpts", &devices.join("pts"), libc::MS_NOSUID | libc::MS_NOEXEC, "newinstance,ptmxmode=0666");
    for (name, target) in LINKS {
        symlink(target, devices.join(name))?;
    }
    mount(Some(&devices), Path::new("/dev"), None, libc::MS_MOVE)?;
    fs::remove_dir(&devices)
}

fn tmpfs(at: &Path, options: &str) -> io::Result<()> {
    mount_new("tmpfs", at, libc::MS_NOSUID | libc::MS_NODEV, options)
}

fn bind(from: &Path, to: &Path) -> io::Result<()> {
    mount(Some(from), to, None, libc::MS_BIND)
}

fn mount_new(kind: &str, at: &Path, flags: libc::c_ulong, options: &str) -> io::Result<()> {
    mount(Some(Path::new(kind)), at, Some((kind, options)), flags)
}

fn text(path: &Path) -> io::Result<CString> {
    Ok(CString::new(path.as_os_str().as_bytes())?)
}

/// mount(2). `new`: kind and options of a file system that is mounted for the first time.
#[expect(unsafe_code, reason = "the features of `rustix` that this crate has do not include mounts")]
fn mount(from: Option<&Path>, to: &Path, new: Option<(&str, &str)>, flags: libc::c_ulong) -> io::Result<()> {
    let from = from.map(text).transpose()?;
    let to = text(to)?;
    let new =
        new.map(|(kind, options)| Ok::<_, io::Error>((CString::new(kind)?, CString::new(options)?))).transpose()?;
    let pointer = |text: Option<&CString>| text.map_or(std::ptr::null(), |text| text.as_ptr());
    let (kind, options) = (pointer(new.as_ref().map(|new| &new.0)), pointer(new.as_ref().map(|new| &new.1)));
    // SAFETY: all pointers are null or lead to strings that end in a zero and outlive the call.
    let done = unsafe { libc::mount(pointer(from.as_ref()), to.as_ptr(), kind, flags, options.cast()) };
    result(done)
}

/// As `struct mount_attr` of mount_setattr(2).
#[repr(C)]
struct Attributes {
    set: u64,
    clear: u64,
    propagation: u64,
    user_namespace: u64,
}

const READ_ONLY: u64 = 1;
const NO_SET_UID: u64 = 2;
const NO_DEVICES: u64 = 4;

/// Sets and clears attributes of what is mounted there; `below`: and of everything below.
#[expect(unsafe_code, reason = "mount_setattr(2) has no wrapper")]
fn change_mounts(at: &Path, below: bool, set: u64, clear: u64) -> io::Result<()> {
    const RECURSIVE: libc::c_uint = 0x8000;
    let at = text(at)?;
    let attributes = Attributes { set, clear, propagation: 0, user_namespace: 0 };
    let flags = if below { RECURSIVE } else { 0 };
    // SAFETY: the path ends in a zero; the attributes have the layout and the size that are passed; both outlive the
    // call, which only reads them.
    let done = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            libc::AT_FDCWD,
            at.as_ptr(),
            flags,
            &raw const attributes,
            size_of::<Attributes>(),
        )
    };
    result(if done == 0 { 0 } else { -1 })
}

#[expect(unsafe_code, reason = "`rustix` leaves unshare(2) to callers that know how many threads they have")]
fn unshare(spaces: libc::c_int) -> io::Result<()> {
    // SAFETY: flags and no memory. Descriptors stay shared as they are: no flag for them is ever passed.
    result(unsafe { libc::unshare(spaces) })
}

/// A new loopback is down.
#[expect(unsafe_code, reason = "SIOCSIFFLAGS has no wrapper")]
fn raise_loopback() -> io::Result<()> {
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    // SAFETY: an `ifreq` of zeros is a valid one: integers, and arrays of them.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (slot, byte) in request.ifr_name.iter_mut().zip(b"lo") {
        *slot = *byte as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING | libc::IFF_LOOPBACK) as libc::c_short;
    // SAFETY: the socket is open, and the request is one that this call reads and that outlives it.
    result(unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS as _, &raw mut request) })
}

/// Between fork and exec: ends with its parent, and takes no open file along that somebody left to this program.
#[expect(unsafe_code, reason = "`rustix` has no close_range(2)")]
fn last_steps() -> io::Result<()> {
    const FIRST: libc::c_uint = 3;
    // SAFETY: two system calls on integers. Descriptors are marked and not closed.
    let done = unsafe {
        if libc::syscall(libc::SYS_close_range, FIRST, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC) != 0 {
            return Err(io::Error::last_os_error());
        }
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL)
    };
    result(done)
}

fn result(done: libc::c_int) -> io::Result<()> {
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
