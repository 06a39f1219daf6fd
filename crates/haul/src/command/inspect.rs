//! `haul inspect`: what is in an archive, and what each of Home Assistant's readers will do with it.

use std::{path::Path, sync::Arc};

use engine::{
    Progress,
    inspect::{History, InspectError, InspectOptions, Inspection},
    read::ArchiveSource,
    verdict::Verdict as Worth,
};
use habackup::{
    readers::{Asked, Defect, Effect, Finding, Verdict, shared},
    securetar::Password,
};
use jiff::Timestamp;
use serde::Serialize;
use store::Cancellation;

use super::list::{self, moment};
use crate::{
    args::{InspectArgs, ReadersArgs},
    clock,
    config::Config,
    destination,
    failure::{DAMAGED, DONE, FAILED, Failure, INCOMPLETE, USAGE},
    keys, output, password,
    progress::{Display, Job},
    text,
};

/// Findings shown on the terminal; `--json` has all of them.
const SHOWN: usize = 30;

#[derive(Serialize)]
struct Document<'a> {
    status: &'static str,
    #[serde(serialize_with = "engine::serialize_path")]
    archive: &'a Path,
    #[serde(flatten)]
    inspection: &'a Inspection,
}

pub(crate) fn run(args: &InspectArgs, config: &Config, cancel: &Cancellation) -> Result<u8, Failure> {
    let offered = keys::offered(config, &args.archive, &args.password, cancel)?;
    let asked = asked(&args.readers)?;
    let progress = Arc::new(Progress::default());
    let source = destination::archive(config, &args.archive, &args.waiting, &progress, cancel)?;
    let archive = source.shown();
    let mut options = InspectOptions { password: offered.given().cloned(), asked, rows: args.rows };
    let mut inspection = look(&source, &options, args, &progress, cancel)?;
    let is_shut =
        |inspection: &Inspection| inspection.findings.iter().any(|finding| finding.defect == Defect::WrongPassword);
    // Only when it turns out to be needed.
    if inspection.locked && options.password.is_none() {
        let fits = |looked: &Result<Inspection, Failure>| !looked.as_ref().is_ok_and(is_shut);
        let found = offered.in_turn(cancel, fits, |key| {
            let options = InspectOptions { password: Some(key.clone()), ..options.clone() };
            look(&source, &options, args, &progress, cancel)
        });
        if let Some((looked, key)) = found {
            (inspection, options.password) = (looked?, Some(key));
        } else if let Some(asked) = password::ask() {
            options.password = Some(asked);
            inspection = look(&source, &options, args, &progress, cancel)?;
        }
    }
    if is_shut(&inspection)
        && let Some(corrected) = options.password.as_ref().and_then(Password::corrected)
    {
        options.password = Some(corrected.password.clone());
        let again = look(&source, &options, args, &progress, cancel)?;
        if !is_shut(&again) {
            password::say_how_it_fits(&corrected);
            inspection = again;
        }
    }
    if inspection.locked && options.password.is_none() || is_shut(&inspection) {
        output::notes("note", offered.advice().into_iter());
    }
    let code = match inspection.judgement.verdict {
        // As with every other command: nothing is known of the archive yet.
        _ if is_only(&inspection, Defect::PasswordNotGiven) => USAGE,
        _ if is_only(&inspection, Defect::WrongPassword) => FAILED,
        _ if !inspection.is_restored_everywhere() => DAMAGED,
        Worth::Whole => DONE,
        _ => INCOMPLETE,
    };
    if args.output.json {
        let status = if code == DONE { "good" } else { "bad" };
        output::json(&Document { status, archive: &archive, inspection: &inspection })?;
    } else {
        output::lines(&lines(&archive, &inspection))?;
    }
    Ok(code)
}

/// Which readers the user asks about.
pub(super) fn asked(args: &ReadersArgs) -> Result<Asked, Failure> {
    match &args.target {
        Some(text) => text
            .parse()
            .map(Asked::Target)
            .map_err(|error| Failure::usage(format!("{error}")).hint("a version looks like 2026.11.1")),
        None if args.all_readers => Ok(Asked::All),
        None => Ok(Asked::Able),
    }
}

fn look(
    source: &ArchiveSource,
    options: &InspectOptions,
    args: &InspectArgs,
    progress: &Arc<Progress>,
    cancel: &Cancellation,
) -> Result<Inspection, Failure> {
    let _display = Display::start(args.output.progress, Job::reading("inspecting"), Arc::clone(progress));
    Ok(engine::inspect::inspect(source.clone(), options, &|done, total| progress.report(done, total), cancel)?)
}

impl From<InspectError> for Failure {
    fn from(error: InspectError) -> Self {
        match error {
            InspectError::Open(error) => error.into(),
            InspectError::Cancelled => Self::new(crate::failure::INTERRUPTED, "interrupted"),
        }
    }
}

/// Whether readers that do not restore the archive all stop at this.
fn is_only(inspection: &Inspection, defect: Defect) -> bool {
    let mut stopped = inspection.verdicts.iter().filter(|verdict| !verdict.effect.is_restored()).peekable();
    stopped.peek().is_some() && stopped.all(|verdict| verdict.because == Some(defect))
}

fn lines(archive: &Path, inspection: &Inspection) -> Vec<String> {
    let mut lines = vec![format!("{}: {}, {}", archive.display(), text::bytes(inspection.bytes), headline(inspection))];
    contents(inspection, &mut lines);
    for finding in inspection.findings.iter().take(SHOWN) {
        lines.push(String::new());
        lines.extend(found(finding));
    }
    if inspection.findings.len() > SHOWN {
        lines.push(format!("and {} more (--json lists them)", inspection.findings.len() - SHOWN));
    }
    lines.push(String::new());
    lines.extend(verdicts(&inspection.verdicts));
    lines
}

fn headline(inspection: &Inspection) -> String {
    match inspection.judgement.verdict {
        _ if inspection.locked => "not examined: its password is needed".to_owned(),
        _ if is_only(inspection, Defect::WrongPassword) => "not examined: the password is wrong".to_owned(),
        _ => text::sanitize(&inspection.judgement.headline()),
    }
}

fn contents(inspection: &Inspection, lines: &mut Vec<String>) {
    let manifest = &inspection.manifest;
    let shown = |text: &str| engine::shown(text.as_bytes());
    if !manifest.name.is_empty() || !manifest.date.is_empty() {
        let version = if manifest.home_assistant.is_empty() {
            String::new()
        } else {
            format!(", Home Assistant {}", shown(&manifest.home_assistant))
        };
        let date = match manifest.date.parse::<Timestamp>() {
            Ok(date) => format!(" of {}", moment(date, &clock::zone())),
            Err(_) if manifest.date.is_empty() => String::new(),
            Err(_) => format!(" of {}", shown(&manifest.date)),
        };
        lines.push(format!("  \"{}\"{date}{version}", shown(&manifest.name)));
    }
    for part in &inspection.parts {
        let lock = part.encrypted.map_or(String::new(), |kind| format!(", encrypted ({kind})"));
        let inside = match (part.entries, part.content_bytes) {
            (Some(entries), Some(bytes)) => {
                format!(": {} ({})", text::count(entries, "entry", "entries"), text::bytes(bytes))
            }
            _ => String::new(),
        };
        lines.push(format!("  {}, {}{lock}{inside}", shown(&part.name), text::bytes(part.bytes)));
    }
    match &inspection.history {
        Some(database) => history(database, lines),
        None if manifest.database_excluded => lines.push("  history: left out on purpose".to_owned()),
        None => {}
    }
}

fn history(history: &History, lines: &mut Vec<String>) {
    let zone = clock::zone();
    let span = match (history.first_state.zip(history.last_state), history.untold) {
        (Some((first, last)), _) => {
            let partly = if history.all_states { "" } else { ", as far as it is readable" };
            format!(", states from {} to {}{partly}", moment(first, &zone), moment(last, &zone))
        }
        (None, Some(why)) => format!("; its time span is unknown: {why}"),
        (None, None) => String::new(),
    };
    let log = history
        .log_bytes
        .map_or(String::new(), |bytes| format!("; its {} write-ahead log holds newer data", text::bytes(bytes)));
    let of = history.whole_bytes.map_or(String::new(), |bytes| format!(" of {}", text::bytes(bytes)));
    lines.push(format!("  history: {}{of}{span}{log}", text::bytes(history.bytes)));
    let Some(rows) = &history.rows else { return };
    let table: Vec<[String; 2]> =
        rows.iter().map(|rows| [engine::shown(rows.table.as_bytes()), text::count(rows.rows, "row", "rows")]).collect();
    lines.extend(list::table(&table).into_iter().map(|line| format!("    {line}")));
    if !history.all_rows {
        lines.push("    These are the rows that Haul could reach; the database is damaged or cut short.".to_owned());
    }
}

pub(super) fn found(finding: &Finding) -> Vec<String> {
    let prefix = finding.member.as_ref().map_or(String::new(), |member| format!("{member}: "));
    let mut lines = vec![
        format!("{prefix}{} [{}]", finding.what, finding.defect.id()),
        format!("  why: {}", finding.why),
        format!("  repair: {}", finding.repair),
    ];
    let answers = finding.outcomes.iter().map(|outcome| {
        let says = outcome.says.as_ref().map_or(String::new(), |says| format!(", “{says}”"));
        (outcome.reader, format!("{}{says}", outcome.effect.sentence(outcome.says.is_some(), Some(finding.defect))))
    });
    lines.extend(shared(answers).into_iter().map(|line| format!("  {line}")));
    // Whatever of it comes from the archive.
    lines.iter().map(|line| text::sanitize(line)).collect()
}

/// The verdict of each reader. The finding shows what the reader says.
pub(super) fn verdicts(verdicts: &[Verdict]) -> Vec<String> {
    shared(verdicts.iter().map(|each| (each.reader, text::sanitize(&verdict(each)))))
}

fn verdict(verdict: &Verdict) -> String {
    let because = verdict.because.map_or(String::new(), |defect| format!(" [{}]", defect.id()));
    let others = match &verdict.effect {
        Effect::Changes(first) | Effect::Unnoticed(first) | Effect::Loses(first) => verdict
            .losses
            .iter()
            .filter(|loss| *loss != first)
            .fold(String::new(), |text, loss| text + "; also " + loss),
        _ => String::new(),
    };
    format!("{}{others}{because}", verdict.effect.sentence(verdict.says.is_some(), verdict.because))
}
