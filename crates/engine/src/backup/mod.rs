//! One backup, from the first look at the config directory to the archive's final name.
//!
//! | module | owns |
//! |---|---|
//! | `options`, `intent` | what the user says; what is settled before anything is read |
//! | `plan`, `configuration`, `largest`, `free_space` | what there is, what a restore would lose, what makes it large, how much space must stay free |
//! | `source` | the inner tar as a byte stream that never fails |
//! | `measure` | every length of an archive before its first byte, for destinations that can't be corrected |
//! | `assemble` | the archive put together |
//! | `away` | archives that another machine makes of what this one reads |
//! | `closing`, `report` | the report of a complete archive |

mod assemble;
pub(crate) mod away;
mod closing;
pub(crate) mod configuration;
pub(crate) mod free_space;
pub(crate) mod intent;
mod largest;
mod measure;
pub(crate) mod options;
mod plan;
pub(crate) mod report;
mod source;

use std::{path::PathBuf, sync::Arc};

use store::{
    Cancellation, Expected, Kind,
    outbound::{Network, Outbound, Target},
};

use self::{
    assemble::{Work, write_archive},
    away::Choice,
    closing::{Finished, report},
    intent::Intent,
    measure::Measured,
    options::BackupOptions,
    report::BackupReport,
};
use crate::{
    error::BackupError,
    mounts,
    progress::{Phase, Progress},
    write::{
        broken::Ended,
        destination::{self, expected_of},
        pipeline::Output,
    },
};

/// How often Haul begins an archive at most, if its only destination loses what it has received.
const BEGINNINGS: u32 = 5;

/// Makes one archive. When this returns, every copy that arrived has its final name, whole and checked; nothing is left
/// of any other copy, as far as its destination can be reached. An error means that no copy arrived. `network` may be
/// missing if all destinations are paths.
pub fn backup(
    options: &BackupOptions,
    network: Option<&Network<'_>>,
    progress: &Arc<Progress>,
    cancel: &Cancellation,
) -> Result<BackupReport, BackupError> {
    livesqlite::check_library().map_err(|_| BackupError::Library)?;
    let for_vault = options.for_vault()?;
    let options = for_vault.as_ref().unwrap_or(options);
    let mut begun = 1;
    let mut attempts = Attempts { measured: None, holds_writers: false };
    let choice = away::choose(options, network, cancel)?;
    loop {
        let attempted = match &choice {
            Choice::There(there) => there.0.attempt(options, progress, cancel),
            Choice::Here(_) => attempt(options, network, &mut attempts, progress, cancel),
        };
        match attempted {
            Err(Ended::Failed(BackupError::Store(error))) if error.kind() == Some(Kind::Lost) && begun < BEGINNINGS => {
                progress.restart();
            }
            Err(Ended::Stale) if begun < BEGINNINGS => {
                attempts = Attempts { measured: None, holds_writers: true };
                progress.restart();
            }
            Err(Ended::Stale) => {
                return Err(BackupError::Pipeline(
                    "a database changed every time between measuring and sending".to_owned(),
                ));
            }
            Err(Ended::Failed(error)) => return Err(error),
            Ok(report) => return Ok(choice.noted(report)),
        }
        begun += 1;
    }
}

/// What outlives an attempt: a source that was measured can be sent again.
struct Attempts {
    measured: Option<Measured>,
    holds_writers: bool,
}

fn attempt(
    options: &BackupOptions,
    network: Option<&Network<'_>>,
    attempts: &mut Attempts,
    progress: &Arc<Progress>,
    cancel: &Cancellation,
) -> Result<BackupReport, Ended> {
    let intent = Intent::of(options)?;
    let targets: Vec<Target> =
        options.destinations.iter().map(|destination| destination.target(&intent.file_name)).collect();
    let paths: Vec<PathBuf> = targets.iter().filter_map(destination::path).collect();
    let read_back: Vec<bool> =
        options.destinations.iter().map(|destination| options.read_back || destination.is_read_back()).collect();
    for path in &paths {
        mounts::ask_for(path)?;
    }
    let mut outbound =
        Outbound::prepare_each(targets.into_iter().zip(read_back.iter().copied()).collect(), network.copied())?;
    let layout = intent.layout(options)?;
    let plan = |outbound: &Outbound| intent.plan(outbound.identities(), &paths, progress, cancel);
    let (work, expected) = if outbound.needs_sizes() || outbound.needs_length() {
        let measured = match attempts.measured.take() {
            Some(measured) => measured,
            None => layout.measure(plan(&outbound)?, attempts.holds_writers, progress, cancel)?,
        };
        let measured = attempts.measured.insert(measured);
        let lengths = layout.lengths(measured);
        progress.begin(Phase::Running, measured.tar_len());
        (Work::Measured(measured, lengths), Expected::exactly(lengths.total))
    } else {
        let plan = plan(&outbound)?;
        progress.begin(Phase::Running, plan.bytes);
        let expected = expected_of(plan.bytes, plan.holes, options.compressed);
        (Work::Once(Box::new(plan)), expected)
    };
    for path in paths.iter().filter(|_| !options.force) {
        if let Some(bytes) = free_space::reserve(&intent.root, path) {
            outbound.keep_free(path, bytes, expected)?;
        }
    }
    // From here on, a destination that is not ready makes everything wait; the progress display needs the reason.
    progress.watch(outbound.writers(), outbound.meters());
    outbound.begin(expected)?;
    let output = Output::new(outbound, Arc::clone(progress));
    let made = write_archive(&layout, work, output, progress, cancel)?;
    if let Some(told) = &options.when_read {
        // Who does not want to know any more need not.
        let _ = told.send(());
    }
    progress.enter(Phase::Finishing);
    if read_back.contains(&true) {
        // Reading everything back takes long, and no database should wait for it; if the copy is lost that late, its
        // source is measured again.
        attempts.measured = None;
    }
    let copies = destination::settle(made.output.into_outbound().finish())?;
    let finished =
        Finished { bytes_in: made.bytes_in, length: made.length, findings: made.findings, copies, elsewhere: false };
    Ok(report(options, intent, finished, progress))
}
