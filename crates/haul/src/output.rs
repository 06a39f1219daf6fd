//! The only module that writes to standard output and standard error.
//!
//! A reader that goes away (`haul … | head`) ends the printing, not the program with a backtrace.

use std::{
    io::{IsTerminal, StdoutLock, Write, stderr, stdout},
    sync::{
        OnceLock,
        atomic::{AtomicBool, AtomicU8, Ordering},
    },
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::{FileType, fstat},
};
use serde::Serialize;
use store::Cancellation;

use crate::{
    clock,
    failure::{FAILED, Failure, INTERRUPTED},
    log_lines,
    text::sanitize,
};

/// More notes of one kind than this are counted, not shown.
const MOST: usize = 20;

/// Set when standard output carries an archive: what else would go there goes to standard error.
static STDOUT_IS_TAKEN: AtomicBool = AtomicBool::new(false);

/// Leaves standard output to an archive.
pub(crate) fn keep_stdout_free() -> Result<(), Failure> {
    if stdout().is_terminal() {
        return Err(Failure::usage("standard output is a terminal, and an archive is binary data")
            .hint("pipe it somewhere: haul backup … --to - | ssh host 'cat > backup.tar'"));
    }
    STDOUT_IS_TAKEN.store(true, Ordering::Relaxed);
    Ok(())
}

/// A pipe that can be written to takes so much at once (pipe(7)).
const PIPE: usize = 4096;
/// How long a reader gets to read on when the user wants to stop, so that no document is cut.
const GRACE: Timespec = Timespec { tv_sec: 0, tv_nsec: 500_000_000 };

/// Ends the wait for a reader that does not read standard output.
static CANCEL: OnceLock<Cancellation> = OnceLock::new();

/// From now on the user can end a wait for the reader of standard output.
pub(crate) fn heed(cancel: &Cancellation) {
    let _ = CANCEL.set(cancel.clone());
}

/// What `--json` requested.
static DOCUMENT: AtomicU8 = AtomicU8::new(UNASKED);
const UNASKED: u8 = 0;
const WANTED: u8 = 1;
const PRINTED: u8 = 2;

/// Says that `--json` was given: whatever comes, one document is printed.
pub(crate) fn expect_json() {
    let _ = DOCUMENT.compare_exchange(UNASKED, WANTED, Ordering::Relaxed, Ordering::Relaxed);
}

/// One JSON document on standard output.
pub(crate) fn json(document: &impl Serialize) -> Result<(), Failure> {
    DOCUMENT.store(PRINTED, Ordering::Relaxed);
    let mut text = serde_json::to_string_pretty(document)
        .map_err(|error| Failure::new(FAILED, format!("the report could not be written: {error}")))?;
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
    let is_file = fstat(&out).is_ok_and(|found| FileType::from_raw_mode(found.st_mode).is_file());
    for piece in bytes.chunks(if is_file { bytes.len().max(1) } else { PIPE }) {
        if !is_taken(&out).map_err(|error| unwritable(&error))? {
            return Err(Failure::new(INTERRUPTED, "interrupted"));
        }
        match out.write_all(piece).and_then(|()| out.flush()) {
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => return Ok(false),
            Err(error) => return Err(unwritable(&error)),
            Ok(()) => {}
        }
    }
    Ok(true)
}

/// Waits until standard output takes a piece; false when the user has enough of waiting.
fn is_taken(out: &StdoutLock<'_>) -> std::io::Result<bool> {
    let Some(cancel) = CANCEL.get() else { return Ok(true) };
    Ok(cancel.ready(out, PollFlags::OUT)? || poll(&mut [PollFd::new(out, PollFlags::OUT)], Some(&GRACE)) == Ok(1))
}

/// Nothing can be printed.
pub(crate) fn unwritable(error: &std::io::Error) -> Failure {
    Failure::new(FAILED, format!("can't write to standard output: {}", engine::plain_reason(error)))
        .hint("check whether there is space where it goes")
}

/// A line of the log, on standard error, with the time in front unless the journal adds it; also kept for the page.
pub(crate) fn log(text: &str) {
    let (now, text) = (clock::now(), sanitize(text));
    write_log(&now, &text);
    log_lines::kept().push(now.timestamp(), &text);
}

/// A line of the log that only who reads standard error may see.
pub(crate) fn log_secret(text: &str) {
    write_log(&clock::now(), &sanitize(text));
}

fn write_log(now: &jiff::Zoned, text: &str) {
    let line = if std::env::var_os("JOURNAL_STREAM").is_some() {
        text.to_owned()
    } else {
        format!("{} {text}", now.strftime("%Y-%m-%d %H:%M:%S"))
    };
    // A closed standard error is no reason to stop.
    let _ = writeln!(stderr().lock(), "{line}");
}

/// The same as [`log`] of what only a log is told: a command's user sees it otherwise, or not at all.
pub(crate) fn log_detail(text: &str) {
    if IS_LOG.load(Ordering::Relaxed) {
        log(text);
    }
}

/// Set when standard error is a log: everything there has one form.
static IS_LOG: AtomicBool = AtomicBool::new(false);

/// From now on remarks are lines of the log.
pub(crate) fn keep_log() {
    IS_LOG.store(true, Ordering::Relaxed);
}

/// Remarks on standard error, each with its kind in front.
pub(crate) fn notes(kind: &str, notes: impl ExactSizeIterator<Item = String>) {
    let total = notes.len();
    if IS_LOG.load(Ordering::Relaxed) {
        notes.take(MOST).for_each(|note| log(&format!("{kind}: {note}")));
        if total > MOST {
            log(&format!("{kind}: and {} more like these", total - MOST));
        }
        return;
    }
    let mut out = stderr().lock();
    for note in notes.take(MOST) {
        // Standard error that is closed takes nothing away from the result.
        let _ = writeln!(out, "{}: {}", paint(kind, "33"), sanitize(&note));
    }
    if total > MOST {
        let _ = writeln!(out, "{}: and {} more like these", paint(kind, "33"), total - MOST);
    }
}

/// What a command of the user's has printed. It may be anything, so of a log only who reads standard error sees it.
pub(crate) fn printed(by: &str, lines: Vec<String>) {
    let kind = format!("{by} printed");
    if IS_LOG.load(Ordering::Relaxed) {
        for line in &lines {
            log_secret(&format!("{kind}: {line}"));
        }
    } else {
        notes(&kind, lines.into_iter());
    }
}

/// What a script gets of a command that failed; `docs/SCRIPTS.md` describes it.
#[derive(Serialize)]
struct Failed<'a> {
    status: &'static str,
    error: Trouble<'a>,
}

#[derive(Serialize)]
struct Trouble<'a> {
    what: String,
    #[serde(rename = "where")]
    subject: Option<&'a str>,
    why: Option<&'a str>,
    hint: Option<&'a str>,
    exit_code: u8,
    done: &'a [String],
}

/// A command's failure: as text, and as the document that `--json` promises.
pub(crate) fn failure(failure: &Failure) {
    failed_document(failure);
    print_failure(failure);
}

/// The document of a failed command, if one was requested and none was printed before.
pub(crate) fn failed_document(failure: &Failure) {
    if DOCUMENT.load(Ordering::Relaxed) == WANTED {
        let (subject, why) =
            failure.about.as_deref().map(|(subject, reason)| (subject.as_str(), reason.as_str())).unzip();
        let status = if failure.code == INTERRUPTED { "interrupted" } else { "failed" };
        let (what, hint) = (sanitize(&failure.message), failure.hint.as_deref());
        // Standard error says it as well.
        let _ = json(&Failed {
            status,
            error: Trouble { what, subject, why, hint, exit_code: failure.code, done: &failure.done },
        });
    }
}

/// A failure as text, on standard error.
pub(crate) fn print_failure(failure: &Failure) {
    let mut out = stderr().lock();
    let _ = writeln!(out, "{}: {}", paint("haul", "31"), failure.message);
    if let Some(hint) = &failure.hint {
        let _ = writeln!(out, "  {hint}");
    }
}

fn paint(text: &str, color: &str) -> String {
    if stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none() {
        format!("\x1b[{color}m{text}\x1b[0m")
    } else {
        text.to_owned()
    }
}
