//! Whether Home Assistant, or anything else that writes, runs in the directory that a restore would replace. When a
//! Home Assistant stops, it writes its settings from memory over the restored ones; and two processes would use one
//! database.
//!
//! Looks only. The one lock that it takes, shared, it lets go at once; a Home Assistant that starts in that very moment
//! says that another one runs.

use std::{
    ffi::{OsStr, OsString},
    fs,
    os::unix::{ffi::OsStrExt, fs::MetadataExt},
    path::{Path, PathBuf},
};

use rustix::{
    fs::{CWD, FlockOperation, Mode, OFlags, flock, openat},
    io::Errno,
};

use crate::text::shown;

/// Locked by Home Assistant 2025.10 and later for as long as it runs.
const RUN_LOCK: &str = ".ha_run.lock";
/// Held open by those that write a log; with `MariaDB` it may be all that they hold open.
const LOG: &str = "home-assistant.log";
const DATABASE: &[u8] = b".db";

/// What shows that somebody is at work in `directory`, as the end of a sentence.
pub(super) fn sign_of_life(directory: &Path) -> Option<String> {
    if is_locked(&directory.join(RUN_LOCK)) {
        return Some(format!("a process holds the lock {RUN_LOCK}"));
    }
    let watched = watched(directory);
    if watched.is_empty() {
        return None;
    }
    // First the files that identify a running instance; without permission to look at other users' processes, the locks
    // show it.
    if let Some((process, name)) =
        fs::read_dir("/proc").into_iter().flatten().flatten().find_map(|process| writes(&process.path(), &watched))
    {
        return Some(format!("{process} has {name} open"));
    }
    let in_use = watched.iter().find(|file| {
        file.path.as_os_str().as_bytes().ends_with(DATABASE) && livesqlite::is_in_use(&file.path).unwrap_or(false)
    })?;
    Some(format!("a process has {} open", shown(in_use.name.as_bytes())))
}

/// A file that a running Home Assistant has open for writing.
struct Watched {
    path: PathBuf,
    name: OsString,
    inode: (u64, u64),
}

fn watched(directory: &Path) -> Vec<Watched> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let wanted = entries.filter(|entry| entry.file_name().as_bytes().ends_with(DATABASE) || entry.file_name() == LOG);
    wanted
        .filter_map(|entry| {
            let metadata = entry.metadata().ok().filter(fs::Metadata::is_file)?;
            Some(Watched { path: entry.path(), name: entry.file_name(), inode: (metadata.dev(), metadata.ino()) })
        })
        .collect()
}

fn is_locked(path: &Path) -> bool {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    openat(CWD, path, flags, Mode::empty())
        .is_ok_and(|file| flock(&file, FlockOperation::NonBlockingLockShared) == Err(Errno::WOULDBLOCK))
}

/// The process, by name and number, and the file of `watched` that it has open for writing.
fn writes(process: &Path, watched: &[Watched]) -> Option<(String, String)> {
    let id: u32 = process.file_name()?.to_str()?.parse().ok()?;
    if id == std::process::id() {
        return None;
    }
    fs::read_dir(process.join("fd")).ok()?.flatten().find_map(|descriptor| {
        // By name first: asking a file on a dead network share for its inode may never end.
        let target = fs::read_link(descriptor.path()).ok()?;
        let name = target.file_name()?;
        if !watched.iter().any(|file| file.name == name) {
            return None;
        }
        let metadata = fs::metadata(descriptor.path()).ok()?;
        let file = watched.iter().find(|file| file.inode == (metadata.dev(), metadata.ino()))?;
        is_for_writing(process, &descriptor.file_name()).then(|| {
            let command = fs::read(process.join("comm")).unwrap_or_default();
            (format!("{} (process {id})", shown(command.trim_ascii_end())), shown(file.name.as_bytes()))
        })
    })
}

/// Whether a descriptor was opened for writing: processes that only read do not matter.
fn is_for_writing(process: &Path, descriptor: &OsStr) -> bool {
    let Ok(text) = fs::read_to_string(process.join("fdinfo").join(descriptor)) else { return true };
    let flags = text
        .lines()
        .find_map(|line| line.strip_prefix("flags:"))
        .and_then(|flags| u32::from_str_radix(flags.trim(), 8).ok());
    flags.is_none_or(|flags| OFlags::from_bits_retain(flags).intersects(OFlags::WRONLY | OFlags::RDWR))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::{
        io::Read,
        process::{Child, Command, Stdio},
    };

    use super::*;

    /// A process of its own that runs `script` in the directory and then waits.
    fn play(directory: &Path, script: &str) -> Child {
        let script = format!("{script}; echo up; exec sleep 600");
        let mut child =
            Command::new("sh").args(["-c", &script]).current_dir(directory).stdout(Stdio::piped()).spawn().unwrap();
        child.stdout.as_mut().unwrap().read_exact(&mut [0; 3]).unwrap();
        child
    }

    #[test]
    fn who_is_at_work_there_is_seen_and_who_only_reads_is_not() {
        for (script, sign) in [
            ("exec 3>>home-assistant_v2.db", Some("has home-assistant_v2.db open")),
            ("exec 3<>zigbee.db", Some("has zigbee.db open")),
            ("exec 3>>home-assistant.log", Some("has home-assistant.log open")),
            ("exec 3<home-assistant_v2.db", None),
            ("exec 3>>other.txt", None),
            (":", None),
        ] {
            let directory = tempfile::tempdir().unwrap();
            for name in ["home-assistant_v2.db", "zigbee.db", "home-assistant.log", "other.txt", RUN_LOCK] {
                fs::write(directory.path().join(name), b"").unwrap();
            }
            let mut child = play(directory.path(), script);
            let found = sign_of_life(directory.path());
            child.kill().unwrap();
            child.wait().unwrap();
            match sign {
                Some(sign) => assert!(found.as_ref().is_some_and(|found| found.ends_with(sign)), "{script}: {found:?}"),
                None => assert_eq!(found, None, "{script}"),
            }
            assert_eq!(sign_of_life(directory.path()), None, "{script}: it has ended");
        }
    }

    #[test]
    fn the_lock_of_a_running_one_is_seen_and_not_taken_from_it() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(sign_of_life(directory.path()), None, "no lock file");
        let lock = fs::File::create(directory.path().join(RUN_LOCK)).unwrap();
        assert_eq!(sign_of_life(directory.path()), None, "one that nobody holds");
        flock(&lock, FlockOperation::NonBlockingLockExclusive).unwrap();
        assert_eq!(sign_of_life(directory.path()).unwrap(), "a process holds the lock .ha_run.lock");
        assert!(matches!(flock(&lock, FlockOperation::NonBlockingLockExclusive), Ok(())));
    }
}
