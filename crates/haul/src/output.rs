//! The one place that writes to standard output and standard error.
//!
//! A reader that goes away (`haul … | head`) ends the printing, not the program with a backtrace.

use std::{
    io::{IsTerminal, Write, stderr, stdout},
    sync::atomic::{AtomicBool, Ordering},
};

use serde::Serialize;

use crate::failure::{FAILED, Failure};

/// More notes of one kind than this are counted, not shown.
const MOST: usize = 20;

/// Set when standard output carries an archive: what else would go there goes to standard error.
static STDOUT_IS_TAKEN: AtomicBool = AtomicBool::new(false);

/// Leaves standard output to an archive.
pub(crate) fn keep_stdout_free() -> Result<(), Failure> {
    if stdout().is_terminal() {
        return Err(Failure::usage("standard output is a terminal, and an archive is no text")
            .hint("pipe it somewhere: haul backup … --to - | ssh host 'cat > backup.tar'"));
    }
    STDOUT_IS_TAKEN.store(true, Ordering::Relaxed);
    Ok(())
}

/// One JSON document on standard output.
pub(crate) fn json(document: &impl Serialize) -> Result<(), Failure> {
    let mut text = serde_json::to_string_pretty(document).map_err(|error| Failure::new(FAILED, format!("the report could not be written: {error}")))?;
    text.push('\n');
    text_out(&text)
}

/// Lines on standard output.
pub(crate) fn lines(lines: &[String]) -> Result<(), Failure> {
    text_out(&(lines.join("\n") + "\n"))
}

/// Any text on standard output.
pub(crate) fn text_out(text: &str) -> Result<(), Failure> {
    bytes_out(text.as_bytes()).map(drop)
}

/// Any bytes on standard output. Says whether somebody still reads there.
pub(crate) fn bytes_out(bytes: &[u8]) -> Result<bool, Failure> {
    if STDOUT_IS_TAKEN.load(Ordering::Relaxed) {
        // Standard error that is closed takes nothing away from the result.
        let _ = stderr().lock().write_all(bytes);
        return Ok(true);
    }
    let mut out = stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(Failure::new(FAILED, format!("can't write to standard output: {}", engine::plain_reason(&error)))),
        Ok(()) => Ok(true),
    }
}

/// Remarks on standard error, each with its kind in front.
pub(crate) fn notes(kind: &str, notes: impl ExactSizeIterator<Item = String>) {
    let total = notes.len();
    let mut out = stderr().lock();
    for note in notes.take(MOST) {
        // Standard error that is closed takes nothing away from the result.
        let _ = writeln!(out, "{}: {}", paint(kind, "33"), crate::text::tame(&note));
    }
    if total > MOST {
        let _ = writeln!(out, "{}: and {} more like these", paint(kind, "33"), total - MOST);
    }
}

/// A command's bad end, on standard error.
pub(crate) fn failure(failure: &Failure) {
    let mut out = stderr().lock();
    let _ = writeln!(out, "{}: {}", paint("haul", "31"), failure.message);
    if let Some(hint) = &failure.hint {
        let _ = writeln!(out, "  {hint}");
    }
}

fn paint(text: &str, color: &str) -> String {
    if stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none() { format!("\x1b[{color}m{text}\x1b[0m") } else { text.to_owned() }
}
