//! `haul cat`: prints one file of an archive on standard output, and nothing else.

use std::{
    io::{self, IsTerminal, Write, stdout},
    os::unix::ffi::OsStrExt,
    sync::Arc,
};

use engine::{Progress, browse::BrowseError};
use store::Cancellation;

use crate::{
    args::CatArgs,
    browse::{self, Watch},
    config::Config,
    destination,
    failure::{DAMAGED, DONE, Failure},
    keys, output,
};

pub(crate) fn run(args: &CatArgs, config: &Config, cancel: &Cancellation) -> Result<u8, Failure> {
    let offered = keys::offered(config, &args.archive, &args.password, cancel)?;
    let progress = Arc::new(Progress::default());
    let source = destination::archive(config, &args.archive, &args.waiting, &progress, cancel)?;
    let report = |done, total| progress.report(done, total);
    let (browser, _) = browse::unlock(&source, &offered, &report, cancel)?;
    browse::streamed(&browser, "up to the file");
    let watch = Watch::start(args.progress, "reading", &progress);
    let mut out = Out { watch, text_only: stdout().is_terminal() && !args.force, begun: false, end: None };
    let found = browser.cat(args.path.as_bytes(), &mut out, cancel);
    let Out { watch, begun, end, .. } = out;
    drop(watch);
    match end {
        // A reader that stopped has what it wanted.
        Some(End::Closed) => return Ok(DONE),
        Some(End::Failed(failure)) => return Err(failure),
        None => {}
    }
    match found {
        Ok(found) => {
            output::notes("note", found.warnings.into_iter());
            Ok(DONE)
        }
        Err(error @ BrowseError::Damaged { .. }) => {
            let hint = if begun {
                "only the beginning of the file was printed"
            } else {
                "nothing was printed; `haul verify` lists everything that is wrong"
            };
            Err(Failure::new(DAMAGED, error.to_string()).hint(hint))
        }
        Err(error) => Err(error.into()),
    }
}

/// Why nothing more is printed.
enum End {
    Closed,
    Failed(Failure),
}

/// Standard output.
struct Out {
    watch: Watch,
    text_only: bool,
    begun: bool,
    end: Option<End>,
}

impl Write for Out {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.watch.make_way();
        let end = if self.text_only && !is_text(bytes) {
            let failure = Failure::usage("the file is not text, and standard output is a terminal");
            End::Failed(failure.hint("redirect the output with > FILE, or use --force to print it anyway"))
        } else {
            match output::bytes_out(bytes) {
                Ok(true) => {
                    self.begun = true;
                    return Ok(bytes.len());
                }
                Ok(false) => End::Closed,
                Err(failure) => End::Failed(failure),
            }
        };
        self.end = Some(end);
        Err(io::ErrorKind::Other.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Whether a terminal shows these bytes without being steered by them. They may begin and end inside of a character.
fn is_text(bytes: &[u8]) -> bool {
    let begin = bytes.iter().take(3).take_while(|byte| **byte & 0xc0 == 0x80).count();
    let bytes = &bytes[begin..];
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) if error.error_len().is_none() => {
            std::str::from_utf8(&bytes[..error.valid_up_to()]).unwrap_or_default()
        }
        Err(_) => return false,
    };
    !text.chars().any(|character| character.is_control() && !matches!(character, '\n' | '\r' | '\t'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_does_not_steer_a_terminal_is_text() {
        for text in ["", "a: b\n\tc\r\n", "Büro ☂", "{}"] {
            assert!(is_text(text.as_bytes()), "{text}");
        }
        // Cut inside of a character, at either end.
        assert!(is_text(&"☂ and ☂".as_bytes()[1..]) && is_text(&"☂ and ☂".as_bytes()[..8]));
        for bytes in [&b"SQLite format 3\0"[..], b"\x1b[2J", b"\x1f\x8b", b"caf\xe9 au lait", "\u{9b}2J".as_bytes()] {
            assert!(!is_text(bytes), "{bytes:?}");
        }
    }
}
