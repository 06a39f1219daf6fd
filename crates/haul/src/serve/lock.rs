//! One process at a time works with a state directory: the service, or a command that does its work without it.

use std::{
    fs::{File, OpenOptions},
    io::{Read, Seek, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::Path,
};

use rustix::{
    fs::{FlockOperation, flock},
    io::Errno,
};

use crate::failure::{FAILED, Failure};

const FILE: &str = "serve.lock";
/// The processes that had it, one after the other.
const OWNERS: &str = "owners";

/// The state directory is ours as long as this lives.
pub(crate) struct Lock(#[expect(dead_code, reason = "held for its lock")] File);

/// Whose it is.
pub(crate) enum Locked {
    Ours(Lock),
    /// Another process has it; its number, if it said so.
    Another(Option<u32>),
}

/// Takes the state directory, which is made if it is missing.
pub(crate) fn take(directory: &Path) -> Result<Locked, Failure> {
    let shown = engine::shown(directory.as_os_str().as_encoded_bytes());
    let wrong = |error: std::io::Error| {
        let reason = engine::plain_reason(&error);
        Failure::new(FAILED, format!("can't use the state directory {shown}: {reason}"))
            .hint("make it writable, or name another one in the environment variable HAUL_STATE")
            .about(&shown, reason)
    };
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(wrong)?;
    let path = directory.join(FILE);
    let opened = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&path);
    let mut file = match opened {
        // A disk that has become read-only is no reason to make no backup, and to lock is not to write.
        Err(error) if error.kind() == std::io::ErrorKind::ReadOnlyFilesystem => File::open(&path).map_err(|_| error),
        opened => opened,
    }
    .map_err(wrong)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {
            // For the message of whoever comes second; of no other use.
            let _ = file.set_len(0).and_then(|()| file.write_all(std::process::id().to_string().as_bytes()));
            store::owner::succeed(&directory.join(OWNERS));
            Ok(Locked::Ours(Lock(file)))
        }
        Err(Errno::WOULDBLOCK) => {
            let mut text = String::new();
            let _ = file.rewind().and_then(|()| file.read_to_string(&mut text));
            Ok(Locked::Another(text.trim().parse().ok()))
        }
        Err(error) => Err(wrong(error.into())),
    }
}

/// Whether a process works with the directory now.
pub(crate) fn is_held(directory: &Path) -> bool {
    let Ok(file) = File::open(directory.join(FILE)) else { return false };
    flock(&file, FlockOperation::NonBlockingLockShared) == Err(Errno::WOULDBLOCK)
}

/// Takes it for the service itself.
pub(crate) fn for_service(directory: &Path) -> Result<Lock, Failure> {
    match take(directory)? {
        Locked::Ours(lock) => Ok(lock),
        Locked::Another(process) => {
            let shown = engine::shown(directory.as_os_str().as_encoded_bytes());
            let who = process.map_or_else(String::new, |process| format!(" (process {process})"));
            Err(Failure::new(FAILED, format!("another haul{who} is working with the state directory {shown}"))
                .hint("stop that one first, or give this one a state directory of its own in HAUL_STATE"))
        }
    }
}
