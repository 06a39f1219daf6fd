//! The last lines of the service's log, kept in memory so that the page can show them.

use std::{
    collections::VecDeque,
    sync::{LazyLock, Mutex, PoisonError},
};

use jiff::Timestamp;
use tokio::sync::watch;
use web::backend::LogLine;

/// Older lines go when there are more, or more bytes.
const MOST_LINES: usize = 500;
const MOST_BYTES: usize = 64 << 10;
/// The rest of a longer line is only on standard error.
const LONGEST: usize = 2 << 10;

static KEPT: LazyLock<LogLines> = LazyLock::new(LogLines::default);

/// Those of this process.
pub(crate) fn kept() -> &'static LogLines {
    &KEPT
}

#[derive(Default)]
pub(crate) struct LogLines {
    lines: Mutex<VecDeque<LogLine>>,
    /// The number of the last one.
    last: watch::Sender<u64>,
}

impl LogLines {
    pub(crate) fn push(&self, at: Timestamp, text: &str) {
        let mut end = text.len().min(LONGEST);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        let mut text = text.get(..end).map_or_else(String::new, |kept| {
            if kept.len() < text.len() { format!("{kept}…") } else { kept.to_owned() }
        });
        text.shrink_to_fit();
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let number = lines.back().map_or(1, |last| last.number + 1);
        lines.push_back(LogLine { number, at, text });
        let mut bytes: usize = lines.iter().map(|line| line.text.len()).sum();
        while lines.len() > MOST_LINES || bytes > MOST_BYTES {
            bytes -= lines.pop_front().map_or(bytes, |line| line.text.len());
        }
        drop(lines);
        self.last.send_replace(number);
    }

    /// The newest first: at most so many, with higher numbers than `after`.
    pub(crate) fn newest(&self, after: u64, most: usize) -> Vec<LogLine> {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.iter().rev().take_while(|line| line.number > after).take(most).cloned().collect()
    }

    /// Changes with every line.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.last.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn however_much_is_logged_little_is_kept_and_that_is_the_newest() {
        let lines = LogLines::default();
        let changes = lines.changes();
        for number in 1..=600 {
            lines.push(Timestamp::UNIX_EPOCH, &format!("line {number}"));
        }
        assert!(changes.has_changed().is_ok_and(|changed| changed));
        let kept = lines.newest(0, usize::MAX);
        assert_eq!((kept.len(), kept[0].text.as_str(), kept[499].number), (MOST_LINES, "line 600", 101));
        assert_eq!(lines.newest(598, 10).iter().map(|line| line.number).collect::<Vec<_>>(), [600, 599]);
        assert_eq!(lines.newest(0, 1).len(), 1);
        // Of two bytes each, and one that no limit falls between.
        let long = format!("x{}", "ü".repeat(10_000));
        for _ in 0..100 {
            lines.push(Timestamp::UNIX_EPOCH, &long);
        }
        let kept = lines.newest(0, usize::MAX);
        assert!(kept.iter().map(|line| line.text.len()).sum::<usize>() <= MOST_BYTES);
        assert!(kept.len() > 25 && kept[0].text.ends_with("ü…"));
    }
}
