//! What a command of the user's prints: its end is kept for whoever wants to know why it failed, however much it is.

use std::{
    collections::VecDeque,
    io::{self, BufRead, BufReader, PipeReader, PipeWriter, Read},
    sync::{Arc, Condvar, Mutex, PoisonError},
    thread,
    time::Duration,
};

/// Lines that are kept, and bytes of each.
const LINES: usize = 12;
const LONGEST_LINE: u64 = 400;

/// How long to wait for the rest of what was printed, once the command has ended: what it left in the background may
/// hold its output for ever.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// What was printed so far. Cheap to clone; clones share it.
#[derive(Clone, Default)]
pub(crate) struct Printed(Arc<(Mutex<Kept>, Condvar)>);

#[derive(Default)]
struct Kept {
    lines: VecDeque<String>,
    counted: u64,
    is_all: bool,
}

impl Printed {
    /// Something to print into; its lines are read until everybody who holds it is gone.
    pub(crate) fn pipe() -> io::Result<(Self, PipeWriter)> {
        Self::counting(|_| false)
    }

    /// As [`Self::pipe`]; lines like these are counted.
    pub(crate) fn counting(counts: fn(&str) -> bool) -> io::Result<(Self, PipeWriter)> {
        let (reader, writer) = io::pipe()?;
        let printed = Self::default();
        let kept = Arc::clone(&printed.0);
        thread::Builder::new().name("haul-printed".to_owned()).spawn(move || follow(reader, &kept, counts))?;
        Ok((printed, writer))
    }

    /// Waits until all was read that was printed: a command can be known to have ended before its last words are.
    pub(crate) fn wait(&self) {
        let kept = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.0.1.wait_timeout_while(kept, LAST_WORDS, |kept| !kept.is_all));
    }

    /// The last lines.
    pub(crate) fn end(&self) -> Vec<String> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner).lines.iter().cloned().collect()
    }

    /// How many lines counted.
    pub(crate) fn counted(&self) -> u64 {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner).counted
    }
}

fn follow(pipe: PipeReader, kept: &(Mutex<Kept>, Condvar), counts: fn(&str) -> bool) {
    let mut reader = BufReader::new(pipe);
    while let Some(line) = next_line(&mut reader) {
        let mut kept = kept.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.counted += u64::from(counts(&line));
        if !line.trim().is_empty() {
            kept.lines.push_back(line);
        }
        if kept.lines.len() > LINES {
            kept.lines.pop_front();
        }
    }
    kept.0.lock().unwrap_or_else(PoisonError::into_inner).is_all = true;
    kept.1.notify_all();
}

/// The beginning of the next line; the rest of a long one is passed over.
pub(crate) fn next_line(reader: &mut impl BufRead) -> Option<String> {
    let mut line = Vec::new();
    reader.by_ref().take(LONGEST_LINE).read_until(b'\n', &mut line).ok().filter(|count| *count > 0)?;
    if line.last() != Some(&b'\n') {
        reader.skip_until(b'\n').ok()?;
    }
    Some(String::from_utf8_lossy(line.trim_ascii_end()).into_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use std::io::Write;

    use super::*;

    #[test]
    fn the_end_is_kept_and_some_lines_are_counted() {
        let (printed, mut writer) = Printed::counting(|line| line.starts_with("number")).unwrap();
        for number in 0..100 {
            writeln!(writer, "number {number}\n").unwrap();
        }
        writeln!(writer, "no number\n{}", "x".repeat(100_000)).unwrap();
        drop(writer);
        printed.wait();
        let end = printed.end();
        assert_eq!((end.len(), end[LINES - 1].len(), printed.counted()), (LINES, 400, 100));
        assert_eq!(end[LINES - 3], "number 99", "{end:?}");
    }

    #[test]
    fn whoever_holds_the_output_is_not_waited_for() {
        let (printed, mut writer) = Printed::pipe().unwrap();
        writeln!(writer, "words").unwrap();
        // As long as this holds it, more may come.
        printed.wait();
        assert_eq!(printed.end(), ["words"]);
        drop(writer);
    }
}
