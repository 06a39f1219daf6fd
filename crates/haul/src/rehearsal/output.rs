//! What a command prints: its end is kept for the report, and errors in the form of Home Assistant's log are counted.

use std::{
    collections::VecDeque,
    fs::File,
    io::{BufRead, BufReader, PipeReader, Read},
    path::Path,
    sync::{Arc, Condvar, Mutex, PoisonError},
    thread,
    time::{Duration, SystemTime},
};

/// Lines that are kept, and bytes of each.
const LINES: usize = 12;
const LONGEST_LINE: u64 = 400;

/// How long to wait for the rest of what was printed, once everything that could print was ended.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// What was printed so far.
#[derive(Clone, Default)]
pub(super) struct Printed(Arc<(Mutex<Kept>, Condvar)>);

#[derive(Default)]
struct Kept {
    lines: VecDeque<String>,
    errors: u64,
    is_all: bool,
}

impl Printed {
    /// Reads until everybody who could print is gone.
    pub(super) fn follow(pipe: PipeReader) -> Self {
        let printed = Self::default();
        let kept = Arc::clone(&printed.0);
        thread::spawn(move || {
            let mut reader = BufReader::new(pipe);
            while let Some(line) = next_line(&mut reader) {
                let mut kept = kept.0.lock().unwrap_or_else(PoisonError::into_inner);
                kept.errors += u64::from(is_error(&line));
                if !line.trim().is_empty() {
                    kept.lines.push_back(line);
                }
                if kept.lines.len() > LINES {
                    kept.lines.pop_front();
                }
            }
            kept.0.lock().unwrap_or_else(PoisonError::into_inner).is_all = true;
            kept.1.notify_all();
        });
        printed
    }

    /// Waits until all was read that was printed: a command can be known to have ended before its last words are.
    pub(super) fn wait(&self) {
        let kept = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.0.1.wait_timeout_while(kept, LAST_WORDS, |kept| !kept.is_all));
    }

    /// The last lines.
    pub(super) fn end(&self) -> Vec<String> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner).lines.iter().cloned().collect()
    }

    /// Errors, in what was printed or in the log that was written since; most print what they write there.
    pub(super) fn errors(&self, config: &Path, since: SystemTime) -> u64 {
        let printed = self.0.0.lock().unwrap_or_else(PoisonError::into_inner).errors;
        printed.max(in_log(&config.join("home-assistant.log"), since))
    }
}

fn in_log(path: &Path, since: SystemTime) -> u64 {
    // A link may lead to what never ends.
    let found = std::fs::symlink_metadata(path).ok().filter(std::fs::Metadata::is_file);
    let is_new = found.and_then(|found| found.modified().ok()).is_some_and(|when| when >= since);
    let Some(file) = File::open(path).ok().filter(|_| is_new) else { return 0 };
    let mut reader = BufReader::new(file);
    std::iter::from_fn(|| next_line(&mut reader)).filter(|line| is_error(line)).count() as u64
}

/// The beginning of the next line; the rest of a long one is passed over.
fn next_line(reader: &mut impl BufRead) -> Option<String> {
    let mut line = Vec::new();
    reader.by_ref().take(LONGEST_LINE).read_until(b'\n', &mut line).ok().filter(|count| *count > 0)?;
    if line.last() != Some(&b'\n') {
        reader.skip_until(b'\n').ok()?;
    }
    Some(String::from_utf8_lossy(line.trim_ascii_end()).into_owned())
}

/// `2026-11-28 05:00:00.000 ERROR (MainThread) [homeassistant.setup] …`.
fn is_error(line: &str) -> bool {
    line.contains(" ERROR (") || line.contains(" CRITICAL (")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use std::io::Write;

    use super::*;

    #[test]
    fn the_end_is_kept_and_errors_are_counted() {
        let (reader, mut writer) = std::io::pipe().unwrap();
        let printed = Printed::follow(reader);
        for number in 0..100 {
            writeln!(writer, "2026-11-28 05:00:00.000 ERROR (MainThread) [x] number {number}\n").unwrap();
        }
        writeln!(writer, "WARNING: no ERROR\n{}", "x".repeat(100_000)).unwrap();
        drop(writer);
        printed.wait();
        let end = printed.end();
        assert_eq!((end.len(), end[LINES - 1].len()), (LINES, 400));
        assert!(end[LINES - 3].ends_with("number 99"), "{end:?}");
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(printed.errors(folder.path(), SystemTime::UNIX_EPOCH), 100);
        std::fs::write(folder.path().join("home-assistant.log"), "a CRITICAL (x) b\n".repeat(101)).unwrap();
        assert_eq!(printed.errors(folder.path(), SystemTime::UNIX_EPOCH), 101);
        assert_eq!(printed.errors(folder.path(), SystemTime::now() + std::time::Duration::from_hours(1)), 100);
    }
}
