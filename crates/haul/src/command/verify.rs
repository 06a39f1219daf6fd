//! `haul verify`.

use std::{path::Path, sync::Arc};

use engine::{
    Progress,
    read::{ArchiveSource, OpenError},
    verdict::{Judgement, Verdict},
    verify::{Finding, Severity, Verification, VerifyError, VerifyOptions},
};
use serde::Serialize;
use store::Cancellation;

use crate::{
    args::{ProgressArg, VerifyArgs},
    config::Config,
    destination,
    failure::{DAMAGED, DONE, Failure, INCOMPLETE},
    keys, output,
    password::{self, Offered},
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
    verification: &'a Verification,
}

pub(crate) fn run(args: &VerifyArgs, config: &Config, cancel: &Cancellation) -> Result<u8, Failure> {
    let offered = keys::offered(config, &args.archive, &args.password, cancel)?;
    let progress = Arc::new(Progress::default());
    let source = destination::archive(config, &args.archive, &args.waiting, &progress, cancel)?;
    let archive = source.shown();
    let verification = verify(&source, &offered, args.output.progress, &progress, cancel)?;
    if args.output.json {
        let status = if code(&verification) == DONE { "good" } else { "bad" };
        output::json(&Document { status, archive: &archive, verification: &verification })?;
    } else {
        print(&archive, &verification)?;
        output::notes("tip", rescue(&args.archive, &verification).into_iter());
    }
    Ok(code(&verification))
}

/// What may still be done about damage.
fn rescue(archive: &Path, verification: &Verification) -> Option<String> {
    let what = match verification.judgement.verdict {
        Verdict::Damaged | Verdict::Unrestorable => "saves what can be saved, and lists what is lost",
        Verdict::Wrapper => "writes a sound archive with all of it",
        Verdict::Whole | Verdict::Incomplete => return None,
    };
    Some(format!("`haul repair {} --to repaired.tar` {what}", engine::shown(archive.as_os_str().as_encoded_bytes())))
}

fn code(verification: &Verification) -> u8 {
    match verification.judgement.verdict {
        Verdict::Whole => DONE,
        // Only its maker knew: what is there is as it was written, and Home Assistant takes all of it.
        Verdict::Incomplete if verification.is_good() => INCOMPLETE,
        // Every file can be restored.
        Verdict::Wrapper => INCOMPLETE,
        _ => DAMAGED,
    }
}

/// What an archive is worth, for others.
pub(crate) fn quietly(archive: &ArchiveSource, offered: &Offered, cancel: &Cancellation) -> Result<Judgement, Failure> {
    verify(archive, offered, ProgressArg::None, &Arc::default(), cancel).map(|verification| verification.judgement)
}

/// For the demo.
pub(crate) fn simple(archive: &Path, cancel: &Cancellation) -> Result<u8, Failure> {
    let verification = verify(&archive.into(), &Offered::default(), ProgressArg::Auto, &Arc::default(), cancel)?;
    print(archive, &verification)?;
    Ok(code(&verification))
}

fn verify(
    archive: &ArchiveSource,
    offered: &Offered,
    how: ProgressArg,
    progress: &Arc<Progress>,
    cancel: &Cancellation,
) -> Result<Verification, Failure> {
    let (verification, _) = password::unlock(offered, cancel, unopened, |password| {
        let _display = Display::start(how, Job::reading("verifying"), Arc::clone(progress));
        let options = VerifyOptions { password: password.cloned(), threads: engine::all_cores() };
        engine::verify::verify(archive.clone(), &options, &|done, total| progress.report(done, total), cancel)
    })?;
    Ok(verification)
}

/// Why the archive did not open, if that is what failed.
fn unopened(error: &VerifyError) -> Option<&OpenError> {
    match error {
        VerifyError::Open(error) => Some(error),
        VerifyError::Cancelled => None,
    }
}

fn print(archive: &Path, verification: &Verification) -> Result<(), Failure> {
    let mut lines = Vec::new();
    let judgement = &verification.judgement;
    let verdict = match judgement.verdict {
        Verdict::Whole => {
            let history = if judgement.without_history { "; it does not hold the history" } else { "" };
            if verification.without_checksum.is_empty() {
                format!("Good: every byte is intact, and Home Assistant restores it{history}")
            } else {
                let unknown = "Its files have no checksums, so nothing shows whether their contents are intact";
                format!("Good: Home Assistant restores it{history}. {unknown}")
            }
        }
        _ => text::sanitize(&judgement.headline()),
    };
    lines.push(format!("{}: {verdict}", archive.display()));
    for finding in verification.findings.iter().take(SHOWN) {
        lines.push(format!("  {}", sentence(finding)));
    }
    if verification.findings.len() > SHOWN {
        lines.push(format!("  and {} more (--json lists them)", verification.findings.len() - SHOWN));
    }
    let lock = verification.protected.map_or(String::new(), |kind| format!(", encrypted ({kind})"));
    lines.push(format!(
        "  {} ({}){lock}, {}, read in {}",
        text::count(verification.entries, "entry", "entries"),
        text::bytes(verification.bytes),
        text::count(verification.databases.len() as u64, "database", "databases"),
        text::duration(verification.seconds)
    ));
    output::lines(&lines)
}

fn sentence(finding: &Finding) -> String {
    let kind = match finding.severity {
        Severity::Damage | Severity::Wrapper => "damaged",
        Severity::WouldNotRestore => "would not restore",
        Severity::Loss => "lost",
        Severity::Warning => "note",
    };
    if finding.member.is_empty() {
        format!("{kind}: {}", finding.message)
    } else {
        format!("{kind}: {}: {}", finding.member, finding.message)
    }
}
