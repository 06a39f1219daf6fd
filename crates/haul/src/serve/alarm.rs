//! Waits for a moment of the wall clock, a ring, or a change of the configuration file, whichever is first; without
//! waking up in between.
//!
//! The moment is meant by the wall clock: a machine that slept through it wakes the wait, and so does a clock that is
//! set.

use std::{io, os::fd::OwnedFd, path::Path, sync::Arc};

use jiff::Timestamp;
use rustix::{
    event::{EventfdFlags, PollFd, PollFlags, eventfd, poll},
    fs::inotify,
    io::Errno,
    time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime},
};

/// The moment that is waited for if none is named: the clock may be set meanwhile.
const FAR: i64 = 365 * 86_400;

/// What can be waited for.
pub(crate) struct Alarm {
    bell: Arc<OwnedFd>,
    clock: OwnedFd,
    // None where the kernel grants no more of them: changes are then noticed at the next step.
    files: Option<OwnedFd>,
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
    /// `watched`: the configuration file, whose directory is watched, because editors replace files.
    pub(crate) fn new(watched: Option<&Path>) -> io::Result<Self> {
        let bell = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let clock = timerfd_create(TimerfdClockId::Realtime, TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK)?;
        let files = watched.and_then(|path| {
            let files = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK).ok()?;
            let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
            let what = inotify::WatchFlags::CLOSE_WRITE
                | inotify::WatchFlags::MOVED_TO
                | inotify::WatchFlags::MOVED_FROM
                | inotify::WatchFlags::DELETE;
            inotify::add_watch(&files, directory, what).ok()?;
            Some(files)
        });
        Ok(Self { bell: Arc::new(bell), clock, files })
    }

    pub(crate) fn bell(&self) -> Bell {
        Bell(Arc::clone(&self.bell))
    }

    /// Returns at the moment, when it rings, when something happens to the file, or when the clock is set.
    pub(crate) fn wait(&self, until: Option<Timestamp>) -> io::Result<()> {
        let far = Timestamp::now().as_second().saturating_add(FAR);
        let (seconds, nanos) =
            until.map_or((far, 0), |until| (until.as_second(), i64::from(until.subsec_nanosecond())));
        let zero = Timespec { tv_sec: 0, tv_nsec: 0 };
        // Zero would mean no alarm at all.
        let value = Timespec { tv_sec: seconds.max(1), tv_nsec: nanos.max(0) };
        let how = TimerfdTimerFlags::ABSTIME | TimerfdTimerFlags::CANCEL_ON_SET;
        timerfd_settime(&self.clock, how, &Itimerspec { it_interval: zero, it_value: value })?;
        let mut awaited = vec![PollFd::new(&*self.bell, PollFlags::IN), PollFd::new(&self.clock, PollFlags::IN)];
        awaited.extend(self.files.as_ref().map(|files| PollFd::new(files, PollFlags::IN)));
        match poll(&mut awaited, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        drop(awaited);
        // What they say does not matter, only that they are silent again. A clock that was set is an error here.
        let mut buffer = [0_u8; 8];
        let _ = rustix::io::read(&*self.bell, &mut buffer);
        let _ = rustix::io::read(&self.clock, &mut buffer);
        if let Some(files) = &self.files {
            let mut events = [0_u8; 4096];
            while rustix::io::read(files, &mut events).is_ok_and(|length| length > 0) {}
        }
        Ok(())
    }
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
        let alarm = Alarm::new(Some(&file)).unwrap();
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
}
