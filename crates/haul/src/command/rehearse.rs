//! `haul rehearse`: restores an archive for a test.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use engine::{
    Progress,
    read::{ArchiveSource, OpenError},
    rehearse::{Boot, Difference, Rehearsal, RehearseError, RehearseOptions, Way},
};
use habackup::securetar::Password;
use serde::Serialize;
use store::Cancellation;

use super::list;
use crate::{
    args::RehearseArgs,
    clock,
    config::Config,
    destination,
    failure::{DAMAGED, DONE, FAILED, Failure, INCOMPLETE, INTERRUPTED, USAGE},
    keys, output,
    password::{self, Offered},
    progress::{Display, Job},
    rehearsal::Starter,
    text,
};

/// The directory of scratch directories, in Haul's state directory.
pub(crate) const SCRATCH: &str = "rehearse";
/// Findings shown on the terminal; `--json` has all of them.
const SHOWN: usize = 30;

#[derive(Serialize)]
struct Document<'a> {
    status: &'static str,
    #[serde(serialize_with = "engine::serialize_path")]
    archive: &'a Path,
    sentence: String,
    #[serde(flatten)]
    rehearsal: &'a Rehearsal,
    compared: Option<Compared>,
}

/// The other archive, and what shrank.
#[derive(Serialize)]
struct Compared {
    #[serde(serialize_with = "engine::serialize_path")]
    archive: PathBuf,
    #[serde(flatten)]
    rehearsal: Rehearsal,
    /// From the older to the newer of both.
    differences: Vec<Difference>,
}

pub(crate) fn run(args: &RehearseArgs, config: &Config, cancel: &Cancellation) -> Result<u8, Failure> {
    let options = options(args)?;
    let offered = keys::offered(config, &args.archive, &args.password, cancel)?;
    let (archive, rehearsal, fitted) = rehearsed(&args.archive, &offered, &options, args, config, cancel)?;
    let compared = match &args.compare {
        None => None,
        Some(other) => {
            let options = RehearseOptions { boot: None, ..options };
            let offered = keys::also(config, other, &offered, fitted);
            let (archive, other, _) = rehearsed(other, &offered, &options, args, config, cancel)?;
            let (before, now) = if other.counts.made > rehearsal.counts.made {
                (&rehearsal.counts, &other.counts)
            } else {
                (&other.counts, &rehearsal.counts)
            };
            let differences = now.compare(before);
            Some(Compared { archive, rehearsal: other, differences })
        }
    };
    let shrank = compared.as_ref().is_some_and(|compared| !compared.differences.is_empty());
    let code = match rehearsal.proved {
        false => DAMAGED,
        true if shrank => INCOMPLETE,
        true => DONE,
    };
    if args.output.json {
        let status = if rehearsal.proved { "proved" } else { "not-proved" };
        let sentence = rehearsal.sentence();
        output::json(&Document { status, archive: &archive, sentence, rehearsal: &rehearsal, compared })?;
    } else {
        output::lines(&lines(&archive, &rehearsal, compared.as_ref()))?;
    }
    Ok(code)
}

fn options(args: &RehearseArgs) -> Result<RehearseOptions, Failure> {
    if let Some(directory) = args.scratch.as_ref().filter(|directory| !directory.is_dir()) {
        let shown = engine::shown(directory.as_os_str().as_encoded_bytes());
        return Err(Failure::usage(format!("the scratch directory {shown} does not exist"))
            .hint("create it, or leave out --scratch")
            .about(shown, "it does not exist"));
    }
    Ok(RehearseOptions {
        scratch: args.scratch.clone().unwrap_or_else(|| destination::state_directory().join(SCRATCH)),
        max_size: args.max_size,
        in_memory: args.in_memory,
        keep_scratch: args.keep_scratch,
        threads: engine::all_cores(),
        boot: args.boot.as_ref().map(|command| {
            Arc::new(Starter {
                command: command.clone(),
                timeout: args.boot_timeout,
                isolated: !args.boot_with_network,
            }) as Arc<dyn Boot>
        }),
    })
}

/// One archive, and the password that fitted.
fn rehearsed(
    archive: &Path,
    offered: &Offered,
    options: &RehearseOptions,
    args: &RehearseArgs,
    config: &Config,
    cancel: &Cancellation,
) -> Result<(PathBuf, Rehearsal, Option<Password>), Failure> {
    let progress = Arc::new(Progress::default());
    let source: ArchiveSource = destination::archive(config, archive, &args.waiting, &progress, cancel)?;
    let (rehearsal, fitted) = password::unlock(offered, cancel, unopened, |password| {
        let _display = Display::start(args.output.progress, Job::reading("rehearsing"), Arc::clone(&progress));
        engine::rehearse::rehearse(&source, password, options, &progress, cancel)
    })?;
    Ok((source.shown(), rehearsal, fitted))
}

/// Why the archive did not open, if that is what failed.
fn unopened(error: &RehearseError) -> Option<&OpenError> {
    match error {
        RehearseError::Open(error) => Some(error),
        _ => None,
    }
}

fn lines(archive: &Path, rehearsal: &Rehearsal, compared: Option<&Compared>) -> Vec<String> {
    let mut lines = vec![text::sanitize(&rehearsal.sentence())];
    contents(archive, rehearsal, &mut lines);
    let against = rehearsal.findings.iter().take(SHOWN).map(|finding| {
        let kind = if finding.disproves { "against it" } else { "note" };
        format!("  {kind}: {}", text::sanitize(&finding.to_string()))
    });
    lines.extend(against);
    if rehearsal.findings.len() > SHOWN {
        lines.push(format!("  and {} more (--json lists them)", rehearsal.findings.len() - SHOWN));
    }
    booted(rehearsal, &mut lines);
    if let Some(kept) = &rehearsal.kept {
        lines.push(format!("  kept: {}", engine::shown(kept.as_os_str().as_encoded_bytes())));
    }
    if let Some(compared) = compared {
        lines.push(format!("Compared with {}:", engine::shown(compared.archive.as_os_str().as_encoded_bytes())));
        if !compared.rehearsal.proved {
            lines.push(format!("  {}", text::sanitize(&compared.rehearsal.sentence())));
        }
        if compared.differences.is_empty() {
            lines.push("  nothing shrank suspiciously".to_owned());
        }
        lines.extend(compared.differences.iter().map(|difference| format!("  shrank: {difference}")));
    }
    lines
}

fn booted(rehearsal: &Rehearsal, lines: &mut Vec<String>) {
    let Some(booted) = &rehearsal.booted else { return };
    let how = if booted.isolated { "without network or devices" } else { "with your network and devices" };
    let said = match (&booted.failure, booted.said_running) {
        (Some(_), _) => "it did not come up",
        (None, true) => "it said that it runs",
        (None, false) => "it answered as one that runs",
    };
    lines.push(format!(
        "  Home Assistant was started {how}; {said}; {} in its log",
        text::count(booted.errors, "error", "errors")
    ));
    if !booted.output.is_empty() {
        lines.push("  The end of what it printed:".to_owned());
        lines.extend(booted.output.iter().map(|line| format!("    {}", text::sanitize(line))));
    }
}

fn contents(archive: &Path, rehearsal: &Rehearsal, lines: &mut Vec<String>) {
    let version =
        rehearsal.home_assistant.as_ref().map_or(String::new(), |version| format!(", Home Assistant {version}"));
    let how = if rehearsal.way == Way::InMemory { "read" } else { "restored" };
    lines.push(format!(
        "  {}{}: {} ({}) {how} in {}",
        engine::shown(archive.as_os_str().as_encoded_bytes()),
        text::sanitize(&version),
        text::count(rehearsal.entries, "entry", "entries"),
        text::bytes(rehearsal.bytes),
        text::duration(rehearsal.seconds)
    ));
    if rehearsal.entries == 0 {
        return;
    }
    let counts = &rehearsal.counts;
    lines.push(format!(
        "  {} ({} can log in), {}, {}, {}, {}",
        text::count(counts.users, "user", "users"),
        counts.can_log_in,
        text::count(counts.integrations, "integration", "integrations"),
        text::count(counts.devices, "device", "devices"),
        text::count(counts.entities, "entity", "entities"),
        text::count(counts.areas, "area", "areas"),
    ));
    lines.push(format!(
        "  {}, {}, {}, {} in .storage",
        text::count(counts.automations, "automation", "automations"),
        text::count(counts.scripts, "script", "scripts"),
        text::count(counts.scenes, "scene", "scenes"),
        text::count(counts.settings_files, "file", "files"),
    ));
    let rows: Vec<String> = [
        (counts.states, "state", "states"),
        (counts.events, "event", "events"),
        (counts.statistics, "statistic", "statistics"),
    ]
    .into_iter()
    .filter_map(|(rows, singular, plural)| Some(text::count(rows?, singular, plural)))
    .collect();
    if !rows.is_empty() {
        let newest = counts.newest_state.map_or(String::new(), |newest| {
            format!("; the newest state is of {}", list::moment(newest, &clock::zone()))
        });
        lines.push(format!("  history: {}{newest}", rows.join(", ")));
    }
    for database in &rehearsal.databases {
        let state = match (database.problems.is_empty(), database.by_sqlite) {
            (true, true) => "sound, says SQLite",
            (true, false) => "sound, page by page",
            (false, _) => "DAMAGED",
        };
        lines.push(format!("  {}: {}, {state}", text::sanitize(&database.path), text::bytes(database.bytes)));
    }
}

impl From<RehearseError> for Failure {
    fn from(error: RehearseError) -> Self {
        let message = error.to_string();
        let failed = |hint: &str| Self::new(FAILED, &message).hint(hint);
        match error {
            RehearseError::Open(error) => error.into(),
            RehearseError::Restore(error) => error.into(),
            RehearseError::Cancelled => Self::new(INTERRUPTED, "interrupted; nothing was left behind"),
            RehearseError::NoConfig => {
                Self::new(DAMAGED, message).hint("a backup of add-ons or folders alone does not include it")
            }
            RehearseError::Scratch { path, source } => {
                failed("choose another directory with --scratch, or check in memory with --in-memory")
                    .about(engine::shown(path.as_os_str().as_encoded_bytes()), engine::plain_reason(&source))
            }
            RehearseError::InsideConfig { .. } => Self::new(USAGE, &message)
                .hint("the next backup would hold the scratch directory: choose another one with --scratch"),
            RehearseError::DoesNotFit { .. } => {
                failed("free some space, choose another directory with --scratch, or raise --max-size")
            }
            RehearseError::Boot(error) => failed(&error.hint),
        }
    }
}
