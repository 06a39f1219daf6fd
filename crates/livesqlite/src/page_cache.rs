//! Limits what a read leaves in the page cache: nothing that was not there before.
//!
//! Home Assistant's working set is in the cache and must stay; a large database would push it out. So before a stretch
//! of a file is read, this module asks the kernel which pages are resident; after the read, it drops the others.
//! `cachestat` (Linux 6.5) answers for a whole stretch at once, `mincore` for each page. If neither answers, everything
//! stays. (For files that this process may not write, `mincore` calls every page resident.)

use std::collections::VecDeque;
use std::fs::File;
use std::num::NonZeroU64;
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use rustix::fs::{Advice, fadvise};

use crate::bounds::at_most;
use crate::companions::open_regular;
use crate::sys;

/// Bytes judged, read ahead and dropped together. A multiple of the largest folio (2 MiB), or the kernel would keep the
/// folios that a window cuts in two.
pub(crate) const WINDOW: u64 = 8 << 20;

/// Follows one sequential read of one file.
#[derive(Debug, Default)]
pub(crate) struct Footprint {
    /// Everything before this offset has been judged (a multiple of [`WINDOW`]).
    judged_to: u64,
    /// Stretches that were not resident and have not been dropped yet.
    cold: VecDeque<Range<u64>>,
}

impl Footprint {
    /// The reader is about to read up to `end`. Judges one window further than that, so that the kernel's own
    /// read-ahead never runs into a window that was not judged, and starts reading the cold stretches from disk.
    pub(crate) fn before(&mut self, fd: BorrowedFd<'_>, end: u64, file_len: u64) {
        let target = (end + WINDOW).min(file_len);
        while self.judged_to < target {
            let from = self.judged_to;
            let len = WINDOW.min(file_len - from);
            self.judged_to += WINDOW;
            for range in cold(&Linux, fd, from, len).unwrap_or_default() {
                advise(fd, &range, Advice::WillNeed);
                self.cold.push_back(range);
            }
        }
    }

    /// The reader is done with everything before `end`: drops what was cold there.
    pub(crate) fn after(&mut self, fd: BorrowedFd<'_>, end: u64) {
        while self.cold.front().is_some_and(|range| range.end <= end) {
            let Some(range) = self.cold.pop_front() else { return };
            advise(fd, &range, Advice::DontNeed);
        }
    }
}

/// A visit to a small file that is read in no particular order: judged whole at its beginning, restored at its end.
///
/// It opens the file, so use it only for files that nobody locks: a WAL or a rollback journal, never a main file or a
/// `-shm`.
#[derive(Debug)]
pub(crate) struct Visit {
    file: File,
    footprint: Footprint,
}

impl Visit {
    /// `None` if the file is not there or cannot be opened.
    pub(crate) fn begin(path: &Path) -> Option<Self> {
        let file = open_regular(path).ok()?;
        let len = file.metadata().ok()?.len();
        let mut footprint = Footprint::default();
        for from in (0..len).step_by(at_most(WINDOW, usize::MAX)) {
            footprint.cold.extend(cold(&Linux, file.as_fd(), from, WINDOW.min(len - from))?);
        }
        Some(Self { file, footprint })
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        self.footprint.after(self.file.as_fd(), u64::MAX);
    }
}

/// Files smaller than this are not worth the system calls of a [`ReadGuard`].
const WORTH_IT: u64 = 256 << 10;
/// Bytes for which a [`ReadGuard`] decides at once.
const STEP: u64 = 4 << 20;

/// Reads any file, mostly from start to end, and drops what was not resident before as it passes.
#[derive(Debug)]
pub struct ReadGuard {
    /// One for each step: nothing of it was resident.
    cold: Vec<bool>,
    dropped: u64,
    length: u64,
}

impl ReadGuard {
    /// Looks at what is resident of a file of `length` bytes that is about to be read. All of it at once: later,
    /// read-ahead would blur the answer.
    pub fn new(file: &File, length: u64) -> Self {
        Self::asking(&Linux, file, length)
    }

    fn asking(kernel: &impl Kernel, file: &File, length: u64) -> Self {
        if length < WORTH_IT {
            return Self { cold: Vec::new(), dropped: 0, length: 0 };
        }
        // Advice may be ignored; nothing depends on it.
        let _ = fadvise(file, 0, None, Advice::Sequential);
        let is_cold = |from: u64| {
            let len = STEP.min(length - from);
            let whole = from..(from + len).next_multiple_of(sys::memory_page());
            cold(kernel, file.as_fd(), from, len).is_some_and(|cold| cold == [whole])
        };
        Self { cold: (0..length).step_by(at_most(STEP, usize::MAX)).map(is_cold).collect(), dropped: 0, length }
    }

    /// Everything before `position` was read.
    pub fn passed(&mut self, file: &File, position: u64) {
        let end = position >= self.length;
        while self.dropped < self.length && (self.dropped + STEP <= position || end) {
            let step = self.dropped..self.dropped + STEP;
            if self.cold.get(at_most(step.start / STEP, self.cold.len())) == Some(&true) {
                advise(file.as_fd(), &step, Advice::DontNeed);
            }
            self.dropped = step.end;
        }
    }
}

/// Advice only: a refusal costs speed, not truth.
fn advise(fd: BorrowedFd<'_>, range: &Range<u64>, advice: Advice) {
    let _ = fadvise(fd, range.start, NonZeroU64::new(range.end - range.start), advice);
}

/// The two questions. `None`: it does not say (an old kernel, a sandbox, a file of somebody else).
trait Kernel {
    /// How many memory pages of the stretch are resident.
    fn count(&self, fd: BorrowedFd<'_>, from: u64, len: u64) -> Option<u64>;
    /// For each memory page of the stretch, one byte; bit 0 is set where it is resident.
    fn flags(&self, fd: BorrowedFd<'_>, from: u64, len: u64) -> Option<Vec<u8>>;
}

struct Linux;

impl Kernel for Linux {
    fn count(&self, fd: BorrowedFd<'_>, from: u64, len: u64) -> Option<u64> {
        sys::resident_pages(fd, from, len)
    }

    fn flags(&self, fd: BorrowedFd<'_>, from: u64, len: u64) -> Option<Vec<u8>> {
        sys::resident(fd, from, at_most(len, usize::MAX)).ok()
    }
}

/// The parts of a stretch that are not resident, in whole memory pages, as file offsets. `None` if unknown.
fn cold(kernel: &impl Kernel, fd: BorrowedFd<'_>, from: u64, len: u64) -> Option<Vec<Range<u64>>> {
    let memory_page = sys::memory_page();
    let pages = len.div_ceil(memory_page);
    match kernel.count(fd, from, len) {
        Some(0) => Some(std::iter::once(from..from + pages * memory_page).collect()),
        Some(resident) if resident >= pages => Some(Vec::new()),
        _ => kernel.flags(fd, from, len).map(|flags| cold_runs(&flags, from, memory_page)),
    }
}

fn cold_runs(flags: &[u8], base: u64, memory_page: u64) -> Vec<Range<u64>> {
    let mut runs: Vec<Range<u64>> = Vec::new();
    for (index, flag) in flags.iter().enumerate() {
        if flag & 1 == 1 {
            continue;
        }
        let start = base + index as u64 * memory_page;
        match runs.last_mut() {
            Some(run) if run.end == start => run.end += memory_page,
            _ => runs.push(start..start + memory_page),
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::single_range_in_vec_init)]
    use std::io::Write;
    use std::os::unix::fs::FileExt;

    use super::*;

    #[test]
    fn cold_pages_are_gathered_into_runs() {
        let runs = cold_runs(&[0, 0, 1, 0, 1, 1, 0], 40_960, 4096);
        assert_eq!(runs, [40_960..49_152, 53_248..57_344, 65_536..69_632]);
        assert!(cold_runs(&[1, 1], 0, 4096).is_empty());
    }

    /// Answers as configured.
    struct Told {
        count: Option<u64>,
        flags: Option<&'static [u8]>,
    }

    impl Kernel for Told {
        fn count(&self, _: BorrowedFd<'_>, _: u64, _: u64) -> Option<u64> {
            self.count
        }

        fn flags(&self, _: BorrowedFd<'_>, _: u64, _: u64) -> Option<Vec<u8>> {
            self.flags.map(<[u8]>::to_vec)
        }
    }

    /// Each question × no answer, none, some, all.
    #[test]
    fn what_the_kernel_does_not_tell_stays() {
        let file = tempfile::tempfile().unwrap();
        let page = sys::memory_page();
        let half: &[u8] = &[1, 0];
        let table = [
            (None, None, None),
            (None, Some(half), Some(vec![page..2 * page])),
            (None, Some(&[1, 1]), Some(vec![])),
            (None, Some(&[0, 0]), Some(vec![0..2 * page])),
            (Some(0), None, Some(vec![0..2 * page])),
            (Some(1), None, None),
            (Some(1), Some(half), Some(vec![page..2 * page])),
            (Some(2), None, Some(vec![])),
            (Some(2), Some(half), Some(vec![])),
        ];
        for (count, flags, expected) in table {
            assert_eq!(cold(&Told { count, flags }, file.as_fd(), 0, page + 1), expected, "{count:?} {flags:?}");
        }
    }

    /// As Linux was before 6.5, and as a sandbox makes it.
    struct WithoutCachestat;

    impl Kernel for WithoutCachestat {
        fn count(&self, _: BorrowedFd<'_>, _: u64, _: u64) -> Option<u64> {
            None
        }

        fn flags(&self, fd: BorrowedFd<'_>, from: u64, len: u64) -> Option<Vec<u8>> {
            Linux.flags(fd, from, len)
        }
    }

    fn resident(file: &File, length: u64) -> usize {
        sys::resident(file.as_fd(), 0, length as usize).unwrap().iter().filter(|flag| **flag & 1 == 1).count()
    }

    fn read_through(kernel: &impl Kernel, file: &File, length: u64) {
        let mut guard = ReadGuard::asking(kernel, file, length);
        let mut buffer = vec![0; 1 << 20];
        let mut at = 0;
        while at < length {
            at += file.read_at(&mut buffer, at).unwrap() as u64;
            guard.passed(file, at);
        }
    }

    fn keeps_and_drops(kernel: &impl Kernel) {
        let length = (24 << 20) + 100;
        // Beside this program, which is on a disk.
        let program = std::env::current_exe().unwrap();
        let mut file = tempfile::tempfile_in(program.parent().unwrap()).unwrap();
        file.write_all(&vec![1; length as usize]).unwrap();
        file.sync_all().unwrap();
        let all = resident(&file, length);
        read_through(kernel, &file, length);
        assert_eq!(resident(&file, length), all, "a file in use stays cached");
        fadvise(&file, 0, None, Advice::DontNeed).unwrap();
        if resident(&file, length) > 0 {
            return; // a file system that keeps its files in memory
        }
        read_through(kernel, &file, length);
        assert!(resident(&file, length) < all / 20);
        fadvise(&file, 0, None, Advice::DontNeed).unwrap();
        read_through(&Told { count: None, flags: None }, &file, length);
        assert_eq!(resident(&file, length), all, "nobody knows what was there");
    }

    #[test]
    fn what_was_not_cached_is_not_cached_afterwards_and_what_was_stays() {
        keeps_and_drops(&Linux);
        keeps_and_drops(&WithoutCachestat);
    }
}
