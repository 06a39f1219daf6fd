//! Tells everything that works or waits that the user wants to stop.
//!
//! Work looks at it between two pieces. A wait never does: it is woken, on a runtime by the token, on a thread by
//! [`Cancellation::on_cancel`].

use std::{
    future::Future,
    io,
    os::fd::AsFd,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    task::{Context, Wake, Waker},
    time::Duration,
};

use rustix::{
    event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll},
    io::Errno,
};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

/// Says that the user wants to stop. Cheap to clone; clones share it.
#[derive(Clone, Debug, Default)]
pub struct Cancellation {
    flag: Arc<AtomicBool>,
    token: CancellationToken,
}

impl Cancellation {
    /// Ends all work and all waits.
    pub fn cancel(&self) {
        self.flag.store(true, Ordering::Relaxed);
        self.token.cancel();
    }

    /// Whether the user wants to stop.
    pub fn is_cancelled(&self) -> bool {
        self.flag.load(Ordering::Relaxed)
    }

    /// The same for code that knows only a flag: libraries that compute, and a signal's handler, which may only set it.
    /// That wakes nobody, so whoever sets it calls [`Self::cancel`] as well.
    pub fn flag(&self) -> &Arc<AtomicBool> {
        &self.flag
    }

    /// Waits until the user wants to stop.
    pub async fn cancelled(&self) {
        self.token.cancelled().await;
    }

    /// `work`, unless the user wants to stop first.
    pub async fn unless_cancelled<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            () = self.cancelled() => None,
            done = work => Some(done),
        }
    }

    /// Lets the canceller call `wake`: at once if that was already. Not any more once the result is dropped.
    pub fn on_cancel(&self, wake: impl Fn() + Send + Sync + 'static) -> OnCancel {
        let waker = Waker::from(Arc::new(Call(wake)));
        let mut cancelled = Box::pin(self.token.clone().cancelled_owned());
        if cancelled.as_mut().poll(&mut Context::from_waker(&waker)).is_ready() {
            waker.wake();
        }
        OnCancel { _cancelled: cancelled }
    }

    /// Waits, on a thread, for so long or until the user wants to stop.
    pub fn sleep(&self, time: Duration) {
        let (wake, woken) = mpsc::channel();
        let _waking = self.on_cancel(move || {
            let _ = wake.send(());
        });
        let _ = woken.recv_timeout(time);
    }

    /// Waits, on a thread, until `fd` can be read or written without waiting. False if the user wants to stop first;
    /// but a ready `fd` counts, because cleanup after a stop reads and writes as well.
    pub fn ready(&self, fd: impl AsFd, direction: PollFlags) -> io::Result<bool> {
        const AT_ONCE: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };
        if poll(&mut [PollFd::new(&fd, direction)], Some(&AT_ONCE)) == Ok(1) {
            return Ok(true);
        }
        let bell = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        let rung = Arc::clone(&bell);
        let _ringing = self.on_cancel(move || {
            // A new one has space for this.
            let _ = rustix::io::write(&*rung, &1_u64.to_ne_bytes());
        });
        loop {
            let mut awaited = [PollFd::new(&fd, direction), PollFd::new(&*bell, PollFlags::IN)];
            match poll(&mut awaited, None) {
                Ok(_) => return Ok(!awaited[0].revents().is_empty()),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// A call that cancelling makes, as long as this lives.
#[must_use = "dropped, it is not called"]
pub struct OnCancel {
    _cancelled: Pin<Box<WaitForCancellationFutureOwned>>,
}

struct Call<F>(F);

impl<F: Fn() + Send + Sync + 'static> Wake for Call<F> {
    fn wake(self: Arc<Self>) {
        (self.0)();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use std::{
        io::{Write, pipe},
        sync::mpsc,
        thread,
    };

    use super::*;

    #[test]
    fn a_call_is_made_once_whether_it_was_asked_for_before_or_after() {
        let cancel = Cancellation::default();
        let (calls, called) = mpsc::channel();
        let call = |what: &'static str| {
            let calls = calls.clone();
            cancel.on_cancel(move || calls.send(what).unwrap())
        };
        let _before = call("before");
        drop(call("dropped"));
        assert!(!cancel.is_cancelled());
        cancel.cancel();
        cancel.cancel();
        assert!(cancel.is_cancelled() && cancel.flag().load(Ordering::Relaxed));
        let _after = call("after");
        assert_eq!(called.try_iter().collect::<Vec<_>>(), ["before", "after"]);
    }

    #[test]
    fn a_thread_that_waits_for_a_pipe_is_woken() {
        let cancel = Cancellation::default();
        let (reader, mut writer) = pipe().unwrap();
        let waiting = thread::spawn({
            let cancel = cancel.clone();
            move || (cancel.ready(&reader, PollFlags::IN).unwrap(), reader)
        });
        cancel.cancel();
        let (ready, reader) = waiting.join().unwrap();
        assert!(!ready);
        // What has come counts, whatever the user wants.
        writer.write_all(b"x").unwrap();
        assert!(cancel.ready(&reader, PollFlags::IN).unwrap());
    }
}
