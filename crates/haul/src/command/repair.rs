//! `haul repair`: writes a new archive with everything that can be kept of another one, and lists everything that was
//! done.

use std::{path::Path, sync::Arc};

use engine::{
    Level, Progress, SecureTar,
    inspect::Inspection,
    read::OpenError,
    repair::{Encryption, Note, NoteKind, Recompress, RepairError, RepairOptions, Repaired},
};
use serde::Serialize;
use store::Cancellation;

use super::{
    backup::{Goals, checked, copy_notes, location},
    inspect::{asked, found, verdicts},
};
use crate::{
    args::{RecompressArg, RepairArgs, SecureTarArg},
    clock,
    config::Config,
    destination::{self, Network},
    failure::{DAMAGED, DONE, FAILED, Failure, INCOMPLETE, INTERRUPTED},
    keys, mounted, output, password,
    progress::{Display, Job},
    text,
};

/// Notes of one kind shown on the terminal; `--json` has all of them.
const SHOWN: usize = 40;

#[derive(Serialize)]
struct Document<'a> {
    status: &'static str,
    #[serde(serialize_with = "engine::serialize_path")]
    archive: &'a Path,
    #[serde(flatten)]
    repaired: &'a Repaired,
}

pub(crate) fn run(args: &RepairArgs, config: &Config, cancel: &Cancellation) -> Result<u8, Failure> {
    let ha_version = match &args.ha_version {
        Some(text) => Some(
            text.parse().map_err(|error| Failure::usage(format!("{error}")).hint("a version looks like 2026.11.1"))?,
        ),
        None => None,
    };
    let offered = keys::offered(config, &args.archive, &args.password, cancel)?;
    let encryption = encryption(args, cancel)?;
    let progress = Arc::new(Progress::default());
    let source = destination::archive(config, &args.archive, &args.sending.waiting, &progress, cancel)?;
    let archive = source.shown();
    let mut goals = Goals::of(
        std::slice::from_ref(&args.to),
        &args.sending,
        config,
        |goal| mounted::check(goal, None, false),
        cancel,
    )?;
    if goals.uses_stdout {
        return Err(Failure::usage(
            "a repaired archive can't go to standard output, because Haul corrects it at the end",
        )
        .hint("give a file or a directory"));
    }
    let Some(destination) = goals.destinations.pop() else { return Err(Failure::usage("no destination was given")) };
    let mut options = RepairOptions {
        password: None,
        destination,
        encryption,
        securetar: match args.securetar {
            SecureTarArg::Auto => SecureTar::Auto,
            SecureTarArg::V2 => SecureTar::V2,
            SecureTarArg::V3 => SecureTar::V3,
        },
        recompress: args.recompress.map(|how| match how {
            RecompressArg::Fast => Recompress::To(Level::Fast),
            RecompressArg::Balanced => Recompress::To(Level::Balanced),
            RecompressArg::Small => Recompress::To(Level::Small),
            RecompressArg::None => Recompress::Stored,
        }),
        rename: args.rename.clone(),
        ha_version,
        threads: args.threads,
        read_back: false,
        asked: asked(&args.readers)?,
        now: clock::now(),
    };
    let sockets = goals.network.as_ref().map(Network::sockets);
    let (repaired, _) = password::unlock(&offered, cancel, unopened, |password| {
        options.password = password.cloned();
        let _display = Display::start(args.output.progress, Job::reading("repairing"), Arc::clone(&progress));
        engine::repair::repair(&source, &options, sockets.as_ref(), &progress, cancel)
    })?;
    let (status, code) = outcome(&repaired);
    let done = |failure: Failure| {
        if repaired.written.is_some() { failure.hint("the repair itself is complete") } else { failure }
    };
    if args.output.json {
        output::json(&Document { status, archive: &archive, repaired: &repaired }).map_err(done)?;
    } else {
        output::lines(&lines(&archive, &repaired)).map_err(done)?;
        copy_notes(repaired.written.as_ref().map_or(&[], |written| std::slice::from_ref(&written.copy)));
    }
    Ok(code)
}

/// Why the archive did not open, if that is what failed.
fn unopened(error: &RepairError) -> Option<&OpenError> {
    match error {
        RepairError::Open(error) => Some(error),
        _ => None,
    }
}

fn encryption(args: &RepairArgs, cancel: &Cancellation) -> Result<Encryption, Failure> {
    if !args.encrypt && !args.change_password {
        if args.new_password_file.is_some() {
            return Err(Failure::usage("a new password was given, but neither --encrypt nor --change-password")
                .hint("use --encrypt or --change-password"));
        }
        return Ok(if args.decrypt { Encryption::Remove } else { Encryption::Keep });
    }
    let new = password::new(args.new_password_file.as_deref(), cancel)?;
    Ok(if args.encrypt { Encryption::Add(new) } else { Encryption::Change(new) })
}

/// How it ended, in a word and a number.
fn outcome(repaired: &Repaired) -> (&'static str, u8) {
    let good = repaired.result.as_ref().is_none_or(Inspection::is_restored_everywhere);
    match (&repaired.written, good, repaired.is_incomplete()) {
        (None, true, _) => ("nothing_to_do", DONE),
        (None, false, _) => ("nothing_can_be_done", DAMAGED),
        (Some(_), false, _) => ("bad", DAMAGED),
        (Some(_), true, true) => ("incomplete", INCOMPLETE),
        (Some(_), true, false) => ("good", DONE),
    }
}

fn lines(archive: &Path, repaired: &Repaired) -> Vec<String> {
    let mut lines = Vec::new();
    let Some(written) = &repaired.written else {
        let good = repaired.result.as_ref().is_none_or(Inspection::is_restored_everywhere);
        let head = if good { "there is nothing to repair" } else { "none of its problems can be repaired" };
        lines.push(format!("{}: {head}; nothing was written", archive.display()));
        rest(repaired, &mut lines);
        return lines;
    };
    let head = if repaired.is_incomplete() { "Repaired, but NOT everything:" } else { "Repaired" };
    let members = text::count(written.members, "entry", "entries");
    lines.push(format!("{head} {} ({members}) in {}", archive.display(), text::duration(written.seconds)));
    lines.push(format!("  to    {}{}", location(&written.copy), checked(&written.copy)));
    lines.push(format!("  size  {}", text::bytes(written.size_bytes)));
    let kinds = [
        (NoteKind::Repaired, "done"),
        (NoteKind::LeftOut, "left out"),
        (NoteKind::Doubtful, "doubtful"),
        (NoteKind::Lost, "LOST"),
    ];
    // Looking at the new archive says it better.
    let unrepaired = repaired.result.is_none().then_some((NoteKind::Unrepaired, "can't be repaired"));
    for (kind, word) in kinds.into_iter().chain(unrepaired) {
        let mut notes = repaired.notes.iter().filter(|note| note.kind == kind);
        lines.extend(notes.by_ref().take(SHOWN).map(|note| line_of(word, note)));
        let more = notes.count();
        if more > 0 {
            lines.push(format!(
                "{word}: and {} more like these (--json lists them)",
                text::count(more as u64, "line", "lines")
            ));
        }
    }
    if repaired.more_notes > 0 {
        lines.push(format!("and {} more that are not listed", text::count(repaired.more_notes, "line", "lines")));
    }
    rest(repaired, &mut lines);
    lines
}

fn line_of(word: &str, note: &Note) -> String {
    match note.member.as_deref() {
        None | Some("") => format!("{word}: {}", note.what),
        Some(member) => format!("{word}: {member}: {}", note.what),
    }
}

/// What can't be repaired, and what readers make of it.
fn rest(repaired: &Repaired, lines: &mut Vec<String>) {
    let Some(result) = &repaired.result else { return };
    for finding in result
        .findings
        .iter()
        .filter(|finding| finding.outcomes.iter().any(|outcome| !outcome.effect.is_restored()))
        .take(SHOWN)
    {
        let mut found_lines = found(finding).into_iter();
        lines.extend(found_lines.next().map(|head| format!("can't be repaired: {head}")));
        lines.extend(found_lines);
    }
    lines.extend(verdicts(&result.verdicts));
}

impl From<RepairError> for Failure {
    fn from(error: RepairError) -> Self {
        let message = error.to_string();
        match error {
            RepairError::Open(error) => error.into(),
            RepairError::Write(error) => error.into(),
            RepairError::Hopeless { advice, .. } => Self::new(DAMAGED, message).hint(advice),
            RepairError::NoVersion(_) => {
                Self::usage(message).hint("give the version, for example --ha-version 2026.11.1")
            }
            RepairError::Encryption { advice, .. } => Self::new(FAILED, message).hint(advice),
            RepairError::Cancelled => Self::new(INTERRUPTED, "interrupted; nothing was left behind"),
        }
    }
}
