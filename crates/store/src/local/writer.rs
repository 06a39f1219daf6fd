//! Writes a file in order on its own thread, past the page cache if the file system allows it.
//!
//! The archive is never read again here, so caching it would only push out what Home Assistant needs, and copying it
//! into the cache costs more CPU time than encrypting it. With `O_DIRECT` the thread sleeps while the device reads the
//! memory itself. Where that is refused (tmpfs, some network and FUSE mounts) the bytes go through the cache and are
//! dropped from it as soon as they are on the disk.

use std::{
    fs::File,
    io,
    os::unix::fs::FileExt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    thread::JoinHandle,
    time::Instant,
};

use rustix::fs::{Advice, OFlags, fadvise, fcntl_getfl, fcntl_setfl};

use super::{
    aligned::{ALIGN, AlignedBuffer},
    synced,
};

/// Bytes per write: large enough for SD cards and network mounts, small enough to keep several waiting.
const CHUNK: usize = 1 << 20;
/// Buffers in all. One is being filled, one is being written, two absorb a hiccup of the device.
const BUFFERS: usize = 4;
/// Through the cache: how much may be waiting there before it is pushed to the disk.
const WINDOW: u64 = 8 << 20;

/// Live figures of the writing thread.
#[derive(Debug, Default)]
pub struct WriteMeter {
    busy_nanos: AtomicU64,
    bytes: AtomicU64,
}

impl WriteMeter {
    /// Nanoseconds spent writing.
    pub fn busy_nanos(&self) -> u64 {
        self.busy_nanos.load(Ordering::Relaxed)
    }

    /// Bytes the operating system has taken.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }
}

/// Hands full buffers to the writing thread; waits when all of them are on their way.
pub(crate) struct SequentialWriter {
    current: AlignedBuffer,
    // Dropped first by `finish`, which ends the thread's loop.
    full: Option<mpsc::SyncSender<AlignedBuffer>>,
    empty: mpsc::Receiver<AlignedBuffer>,
    thread: Option<JoinHandle<io::Result<()>>>,
}

impl SequentialWriter {
    pub(crate) fn start(file: File, meter: Arc<WriteMeter>) -> io::Result<Self> {
        let (full, full_in) = mpsc::sync_channel::<AlignedBuffer>(BUFFERS);
        let (empty_out, empty) = mpsc::sync_channel::<AlignedBuffer>(BUFFERS);
        for _ in 1..BUFFERS {
            // The channel was made to hold them all.
            let _ = empty_out.send(AlignedBuffer::new(CHUNK));
        }
        let thread = std::thread::Builder::new().name("haul-write".into()).spawn(move || {
            let mut output = Output { file, written: 0, on_disk: 0, direct: true, meter };
            output.direct = set_direct(&output.file, true);
            for mut buffer in full_in {
                output.write(buffer.bytes())?;
                buffer.clear();
                if empty_out.send(buffer).is_err() {
                    break;
                }
            }
            output.finish();
            Ok(())
        })?;
        Ok(Self { current: AlignedBuffer::new(CHUNK), full: Some(full), empty, thread: Some(thread) })
    }

    pub(crate) fn append(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let taken = self.current.take(bytes);
            bytes = &bytes[taken..];
            if self.current.is_full() {
                self.hand_over()?;
            }
        }
        Ok(())
    }

    fn hand_over(&mut self) -> io::Result<()> {
        // The thread closes both channels only if a write failed: `finish` then says why.
        let Ok(next) = self.empty.recv() else { return Err(self.failure()) };
        let full = std::mem::replace(&mut self.current, next);
        match &self.full {
            Some(sender) if sender.send(full).is_ok() => Ok(()),
            _ => Err(self.failure()),
        }
    }

    fn failure(&mut self) -> io::Error {
        match self.join() {
            Err(error) => error,
            Ok(()) => io::Error::other("the writing thread ended early"),
        }
    }

    fn join(&mut self) -> io::Result<()> {
        self.full = None;
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(result)) => result,
            Some(Err(_)) => Err(io::Error::other("the writing thread stopped unexpectedly")),
            None => Err(io::Error::other("an earlier write failed")),
        }
    }

    /// Waits until every byte was taken by the operating system. The file is in ordinary (cached) mode afterwards.
    pub(crate) fn finish(mut self) -> io::Result<()> {
        if !self.current.bytes().is_empty() {
            self.hand_over()?;
        }
        self.join()
    }
}

impl Drop for SequentialWriter {
    fn drop(&mut self) {
        self.full = None;
        if let Some(thread) = self.thread.take() {
            // Whoever drops an unfinished writer already reports why.
            let _ = thread.join();
        }
    }
}

/// The thread's side.
struct Output {
    file: File,
    written: u64,
    // Only through the cache: everything before it was handed to the disk and dropped.
    on_disk: u64,
    direct: bool,
    meter: Arc<WriteMeter>,
}

impl Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let started = Instant::now();
        if self.direct && !bytes.len().is_multiple_of(ALIGN) {
            // The tail: the last write of all.
            self.leave_direct();
        }
        match self.file.write_all_at(bytes, self.written) {
            // Some file systems accept the flag and refuse the write.
            Err(error) if self.direct && error.raw_os_error() == Some(libc::EINVAL) => {
                self.leave_direct();
                self.file.write_all_at(bytes, self.written)?;
            }
            other => other?,
        }
        self.written += bytes.len() as u64;
        if !self.direct && self.written - self.on_disk >= WINDOW {
            self.push_out()?;
        }
        self.meter.bytes.store(self.written, Ordering::Relaxed);
        self.meter.busy_nanos.fetch_add(started.elapsed().as_nanos() as u64, Ordering::Relaxed);
        Ok(())
    }

    fn leave_direct(&mut self) {
        set_direct(&self.file, false);
        self.direct = false;
        self.on_disk = self.written;
    }

    /// Writes back what waits in the cache and forgets it there. Waiting here is what keeps the amount of dirty memory
    /// bounded.
    fn push_out(&mut self) -> io::Result<()> {
        synced(rustix::fs::fdatasync(&self.file).map_err(io::Error::from))?;
        // Advice: a file system that ignores it loses nothing.
        let _ = fadvise(&self.file, self.on_disk, None, Advice::DontNeed);
        self.on_disk = self.written;
        Ok(())
    }

    fn finish(&self) {
        if self.direct {
            set_direct(&self.file, false);
        }
    }
}

/// Turns writing past the cache on or off; says whether it is on.
fn set_direct(file: &File, on: bool) -> bool {
    let Ok(flags) = fcntl_getfl(file) else { return false };
    let wanted = if on { flags | OFlags::DIRECT } else { flags - OFlags::DIRECT };
    fcntl_setfl(file, wanted).is_ok() && on
}
