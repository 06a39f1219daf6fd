//! Errors in the form of Home Assistant's log are counted in what it prints and in what it writes.

use std::{fs::File, io::BufReader, path::Path, time::SystemTime};

use crate::printed::{Printed, next_line};

/// Errors, in what was printed or in the log that was written since; most print what they write there.
pub(super) fn errors(printed: &Printed, config: &Path, since: SystemTime) -> u64 {
    printed.counted().max(in_log(&config.join("home-assistant.log"), since))
}

fn in_log(path: &Path, since: SystemTime) -> u64 {
    // A link may lead to what never ends.
    let found = std::fs::symlink_metadata(path).ok().filter(std::fs::Metadata::is_file);
    let is_new = found.and_then(|found| found.modified().ok()).is_some_and(|when| when >= since);
    let Some(file) = File::open(path).ok().filter(|_| is_new) else { return 0 };
    let mut reader = BufReader::new(file);
    std::iter::from_fn(|| next_line(&mut reader)).filter(|line| is_error(line)).count() as u64
}

/// `2026-11-28 05:00:00.000 ERROR (MainThread) [homeassistant.setup] …`.
pub(super) fn is_error(line: &str) -> bool {
    line.contains(" ERROR (") || line.contains(" CRITICAL (")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use std::io::Write;

    use super::*;

    #[test]
    fn errors_are_counted_once_where_they_are_printed_and_written() {
        let (printed, mut writer) = Printed::counting(is_error).unwrap();
        for number in 0..100 {
            writeln!(writer, "2026-11-28 05:00:00.000 ERROR (MainThread) [x] number {number}\n").unwrap();
        }
        writeln!(writer, "WARNING: no ERROR").unwrap();
        drop(writer);
        printed.wait();
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(errors(&printed, folder.path(), SystemTime::UNIX_EPOCH), 100);
        std::fs::write(folder.path().join("home-assistant.log"), "a CRITICAL (x) b\n".repeat(101)).unwrap();
        assert_eq!(errors(&printed, folder.path(), SystemTime::UNIX_EPOCH), 101);
        assert_eq!(errors(&printed, folder.path(), SystemTime::now() + std::time::Duration::from_hours(1)), 100);
    }
}
