//! What a read leaves behind in the page cache: nothing that was not there before.
//!
//! Home Assistant's working set is in the cache and must stay; the rest of a large database would push it out. So before a
//! window of the file is read, the kernel is asked which of its memory pages are resident; after the reader has passed,
//! the others are dropped again. Where the kernel does not say, everything stays.

use std::collections::VecDeque;
use std::fs::File;
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use rustix::fs::Advice;

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
    /// The reader is about to read up to `end`. Judges one window further than that, so that the kernel's own read-ahead
    /// never runs into a window that was not judged, and starts reading the cold stretches from disk.
    pub(crate) fn before(&mut self, fd: BorrowedFd<'_>, end: u64, file_len: u64) {
        let target = (end + WINDOW).min(file_len);
        while self.judged_to < target {
            let from = self.judged_to;
            let len = WINDOW.min(file_len - from);
            self.judged_to += WINDOW;
            let Ok(flags) = sys::resident(fd, from, len as usize) else { continue };
            for range in cold_runs(&flags, from, sys::memory_page()) {
                // Advice only: a refusal costs speed, not truth.
                let _ = rustix::fs::fadvise(fd, range.start, std::num::NonZeroU64::new(range.end - range.start), Advice::WillNeed);
                self.cold.push_back(range);
            }
        }
    }

    /// The reader is done with everything before `end`: drops what was cold there.
    pub(crate) fn after(&mut self, fd: BorrowedFd<'_>, end: u64) {
        while self.cold.front().is_some_and(|range| range.end <= end) {
            let Some(range) = self.cold.pop_front() else { return };
            // As above, advice.
            let _ = rustix::fs::fadvise(fd, range.start, std::num::NonZeroU64::new(range.end - range.start), Advice::DontNeed);
        }
    }
}

/// A visit to a small file that is read in no particular order: judged whole at its beginning, restored at its end.
///
/// It opens the file, so it is for files that nobody locks: a WAL or a rollback journal, never a main file or a `-shm`.
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
        let memory_page = sys::memory_page();
        for from in (0..len).step_by(WINDOW as usize) {
            let flags = sys::resident(file.as_fd(), from, WINDOW.min(len - from) as usize).ok()?;
            footprint.cold.extend(cold_runs(&flags, from, memory_page));
        }
        Some(Self { file, footprint })
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        self.footprint.after(self.file.as_fd(), u64::MAX);
    }
}

/// The stretches of a window whose memory pages are not resident, as file offsets.
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
    use super::*;

    #[test]
    fn cold_pages_are_gathered_into_runs() {
        let runs = cold_runs(&[0, 0, 1, 0, 1, 1, 0], 40_960, 4096);
        assert_eq!(runs, [40_960..49_152, 53_248..57_344, 65_536..69_632]);
        assert!(cold_runs(&[1, 1], 0, 4096).is_empty());
    }
}
