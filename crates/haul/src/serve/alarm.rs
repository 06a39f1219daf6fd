//! Waits for a moment of the wall clock, a ring, or a change of the configuration file, whichever is first; without
//! waking up in between.
//!
//! The moment is meant by the wall clock: a machine that slept through it wakes the wait, and so does a clock that is
//! set.

use std::{
    fs, io,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    sync::Arc,
};

use jiff::Timestamp;
use rustix::{
    event::{EventfdFlags, PollFd, PollFlags, eventfd, poll},
    fs::inotify,
    io::Errno,
    time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime},
};

/// The moment that is waited for if none is named: the clock may be set meanwhile.
const FAR: i64 = 365 * 86_400;
/// Links are followed so far, as Linux does.
const MOST_LINKS: usize = 40;

/// What can be waited for.
pub(crate) struct Alarm {
    bell: Arc<OwnedFd>,
    clock: OwnedFd,
    // None where the kernel grants no more of them: changes are then noticed at the next step.
    files: Option<Files>,
}

/// Watches a file, wherever it is or would be.
struct Files {
    notices: OwnedFd,
    path: PathBuf,
    watched: Vec<i32>,
}

/// Rings an alarm.
#[derive(Clone)]
pub(crate) struct Bell(Arc<OwnedFd>);

impl Bell {
    pub(crate) fn ring(&self) {
        // A counter that is full rings as well.
        let _ = rustix::io::write(&*self.0, &1_u64.to_ne_bytes());
    }
}

impl Alarm {
    /// `watched`: the configuration file.
    pub(crate) fn new(watched: Option<&Path>) -> io::Result<Self> {
        let bell = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let clock = timerfd_create(TimerfdClockId::Realtime, TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK)?;
        Ok(Self { bell: Arc::new(bell), clock, files: watched.and_then(Files::new) })
    }

    pub(crate) fn bell(&self) -> Bell {
        Bell(Arc::clone(&self.bell))
    }

    /// Returns at the moment, when it rings, when something happens to the file, or when the clock is set.
    pub(crate) fn wait(&mut self, until: Option<Timestamp>) -> io::Result<()> {
        let far = Timestamp::now().as_second().saturating_add(FAR);
        let (seconds, nanos) =
            until.map_or((far, 0), |until| (until.as_second(), i64::from(until.subsec_nanosecond())));
        let zero = Timespec { tv_sec: 0, tv_nsec: 0 };
        // Zero would mean no alarm at all.
        let value = Timespec { tv_sec: seconds.max(1), tv_nsec: nanos.max(0) };
        let how = TimerfdTimerFlags::ABSTIME | TimerfdTimerFlags::CANCEL_ON_SET;
        match timerfd_settime(&self.clock, how, &Itimerspec { it_interval: zero, it_value: value }) {
            Ok(_) => {}
            // The clock was set since the last wait.
            Err(Errno::CANCELED) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
        let mut awaited = vec![PollFd::new(&*self.bell, PollFlags::IN), PollFd::new(&self.clock, PollFlags::IN)];
        awaited.extend(self.files.as_ref().map(|files| PollFd::new(&files.notices, PollFlags::IN)));
        match poll(&mut awaited, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        drop(awaited);
        // What they say does not matter, only that they are silent again. A clock that was set is an error here.
        let mut buffer = [0_u8; 8];
        let _ = rustix::io::read(&*self.bell, &mut buffer);
        let _ = rustix::io::read(&self.clock, &mut buffer);
        if let Some(files) = &mut self.files {
            let (mut events, mut any) = ([0_u8; 4096], false);
            while rustix::io::read(&files.notices, &mut events).is_ok_and(|length| length > 0) {
                any = true;
            }
            if any {
                files.watch();
            }
        }
        Ok(())
    }
}

impl Files {
    fn new(path: &Path) -> Option<Self> {
        let notices = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK).ok()?;
        let mut files = Self { notices, path: path.to_owned(), watched: Vec::new() };
        files.watch();
        Some(files)
    }

    /// Watches the directories where something would change the file, because editors replace files; and the file
    /// itself, which may be mounted here from a directory that is not.
    fn watch(&mut self) {
        let in_directory = inotify::WatchFlags::CREATE
            | inotify::WatchFlags::CLOSE_WRITE
            | inotify::WatchFlags::MOVED_TO
            | inotify::WatchFlags::MOVED_FROM
            | inotify::WatchFlags::DELETE;
        let add = |path: &Path, what| inotify::add_watch(&self.notices, path, what).ok();
        let mut now: Vec<i32> =
            directories(&self.path).iter().filter_map(|directory| add(directory, in_directory)).collect();
        now.extend(add(&self.path, inotify::WatchFlags::CLOSE_WRITE));
        // Other directories would tell of what is nobody's business.
        for watch in self.watched.drain(..).filter(|watch| !now.contains(watch)) {
            // Of a directory that is gone, none is left.
            let _ = inotify::remove_watch(&self.notices, watch);
        }
        self.watched = now;
    }
}

/// Where the file is; if it is a link, also where it leads. What does not exist yet would appear in the nearest
/// directory that does.
fn directories(file: &Path) -> Vec<PathBuf> {
    let (mut found, mut file) = (Vec::new(), file.to_owned());
    for _ in 0..MOST_LINKS {
        let nearest = file.ancestors().skip(1).find(|path| path.as_os_str().is_empty() || path.is_dir());
        let directory = nearest.filter(|path| !path.as_os_str().is_empty()).unwrap_or(Path::new("."));
        found.push(directory.to_owned());
        let Ok(target) = fs::read_link(&file) else { break };
        file = file.parent().unwrap_or(Path::new("")).join(target);
    }
    found
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_moment_that_has_passed_a_ring_and_a_replaced_file_end_the_wait() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("haul.toml");
        std::fs::write(&file, "").unwrap();
        let mut alarm = Alarm::new(Some(&file)).unwrap();
        alarm.wait(Some(Timestamp::UNIX_EPOCH)).unwrap();
        alarm.wait(Some(Timestamp::now() + jiff::SignedDuration::from_millis(5))).unwrap();
        let bell = alarm.bell();
        bell.ring();
        bell.ring();
        alarm.wait(None).unwrap();
        let other = directory.path().join("other");
        std::fs::write(&other, "x").unwrap();
        std::fs::rename(&other, &file).unwrap();
        alarm.wait(None).unwrap();
    }
    /// Whether what was done ends the wait before a moment that is far away.
    fn is_noticed(alarm: &mut Alarm, done: impl FnOnce()) -> bool {
        // What happened before is over.
        alarm.bell().ring();
        alarm.wait(None).unwrap();
        done();
        let files = alarm.files.as_ref().unwrap();
        let zero = Timespec { tv_sec: 0, tv_nsec: 0 };
        poll(&mut [PollFd::new(&files.notices, PollFlags::IN)], Some(&zero)).unwrap() == 1
    }

    #[test]
    fn a_file_is_watched_where_it_would_be_where_it_leads_and_wherever_that_is_moved() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        let mut alarm = Alarm::new(Some(&at("a/b/haul.toml"))).unwrap();
        assert!(is_noticed(&mut alarm, || fs::create_dir(at("a")).unwrap()));
        assert!(is_noticed(&mut alarm, || fs::create_dir(at("a/b")).unwrap()));
        assert!(is_noticed(&mut alarm, || fs::write(at("a/b/haul.toml"), "1").unwrap()));
        assert!(!is_noticed(&mut alarm, || fs::write(at("other"), "1").unwrap()), "it is nobody's business now");

        // A link to a file elsewhere.
        for name in ["one", "two"] {
            fs::create_dir(at(name)).unwrap();
            fs::write(at(name).join("haul.toml"), name).unwrap();
        }
        let link = |to: &str| {
            std::os::unix::fs::symlink(at(to), at("a/b/new")).unwrap();
            fs::rename(at("a/b/new"), at("a/b/haul.toml")).unwrap();
        };
        let change = |name: &str| fs::write(at(name).join("haul.toml"), "changed").unwrap();
        assert!(is_noticed(&mut alarm, || link("one/haul.toml")));
        assert!(is_noticed(&mut alarm, || change("one")));
        assert!(is_noticed(&mut alarm, || link("two/haul.toml")));
        assert!(is_noticed(&mut alarm, || change("two")));
        assert!(!is_noticed(&mut alarm, || change("one")));

        // The file itself, whose directory is another one.
        let mut alarm = Alarm::new(Some(&at("hard"))).unwrap();
        assert!(is_noticed(&mut alarm, || fs::hard_link(at("one/haul.toml"), at("hard")).unwrap()));
        assert!(is_noticed(&mut alarm, || change("one")), "as through a mount");
    }
}
