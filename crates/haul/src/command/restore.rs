//! `haul restore`.

use std::{path::Path, sync::Arc};

use engine::{
    Progress,
    read::{ArchiveSource, OpenError},
    restore::{Restoration, RestoreError, RestoreOptions},
    verdict::Verdict,
};
use serde::Serialize;
use store::Cancellation;

use crate::{
    args::{ProgressArg, RestoreArgs},
    clock,
    config::Config,
    destination,
    failure::{DONE, Failure, INCOMPLETE},
    keys, output,
    password::{self, Offered},
    progress::{Display, Job},
    text,
};

#[derive(Serialize)]
struct Document<'a> {
    status: &'static str,
    #[serde(serialize_with = "engine::serialize_path")]
    archive: &'a Path,
    #[serde(flatten)]
    restoration: &'a Restoration,
}

pub(crate) fn run(args: &RestoreArgs, config: &Config, cancel: &Cancellation) -> Result<u8, Failure> {
    let options = RestoreOptions {
        only: args.only.clone(),
        database_only: args.database_only,
        replace: args.replace,
        force: args.force,
        owner: args.owner,
        zone: clock::zone(),
        ..RestoreOptions::default()
    };
    let offered = keys::offered(config, &args.archive, &args.password, cancel)?;
    let progress = Arc::new(Progress::default());
    let archive = destination::archive(config, &args.archive, &args.waiting, &progress, cancel)?;
    let restoration = restore(&archive, &args.into, (&options, &offered), args.output.progress, &progress, cancel)?;
    // The restored part of an incomplete archive may still be all that the user wanted.
    let is_whole = restoration.judgement.verdict == Verdict::Whole || !args.only.is_empty() || args.database_only;
    let complete = is_whole && restoration.left_out.is_empty() && restoration.unmatched.is_empty();
    let printed = if args.output.json {
        let status = if complete { "complete" } else { "incomplete" };
        output::json(&Document { status, archive: &archive.shown(), restoration: &restoration })
    } else {
        print(&restoration)
    };
    // The files are there even if the report could not be printed.
    printed.map_err(|failure| {
        failure.hint(format!(
            "the restore itself is complete: {}",
            engine::shown(restoration.into.as_os_str().as_encoded_bytes())
        ))
    })?;
    Ok(if complete { DONE } else { INCOMPLETE })
}

/// For the demo.
pub(crate) fn simple(archive: &Path, into: &Path, cancel: &Cancellation) -> Result<(), Failure> {
    let (options, offered) = (RestoreOptions::default(), Offered::default());
    print(&restore(&archive.into(), into, (&options, &offered), ProgressArg::Auto, &Arc::default(), cancel)?)
}

fn restore(
    archive: &ArchiveSource,
    into: &Path,
    (options, offered): (&RestoreOptions, &Offered),
    how: ProgressArg,
    progress: &Arc<Progress>,
    cancel: &Cancellation,
) -> Result<Restoration, Failure> {
    let (restoration, _) = password::unlock(offered, cancel, unopened, |password| {
        let _display = Display::start(how, Job::reading("restoring"), Arc::clone(progress));
        let options = RestoreOptions { password: password.cloned(), ..options.clone() };
        engine::restore::restore(archive.clone(), into, &options, &|done, total| progress.report(done, total), cancel)
    })?;
    Ok(restoration)
}

/// Why the archive did not open, if that is what failed.
fn unopened(error: &RestoreError) -> Option<&OpenError> {
    match error {
        RestoreError::Open(error) => Some(error),
        _ => None,
    }
}

fn print(restoration: &Restoration) -> Result<(), Failure> {
    let mut lines = vec![
        format!(
            "Restored {} ({}) in {}",
            text::count(restoration.entries, "entry", "entries"),
            text::bytes(restoration.bytes),
            text::duration(restoration.seconds)
        ),
        format!("  to    {}", restoration.into.display()),
    ];
    if let Some(kept) = &restoration.kept {
        lines.push(format!("  kept  {} holds the previous content; remove it when all is well", kept.display()));
    }
    if !restoration.other_archives.is_empty() {
        lines.push(format!(
            "  not part of the config directory, not restored: {}",
            restoration.other_archives.join(", ")
        ));
    }
    output::lines(&lines)?;
    output::notes(
        "left out",
        restoration.left_out.iter().map(|skipped| format!("{}: {}", skipped.path, skipped.reason)),
    );
    output::notes(
        "note",
        restoration.unmatched.iter().map(|pattern| format!("nothing in the archive matches --only {pattern}")),
    );
    output::notes("note", restoration.warnings.iter().cloned());
    Ok(())
}
