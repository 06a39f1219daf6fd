//! A backup is restored into a directory of this machine, because somebody said so.

use std::{path::Path, sync::Arc};

use engine::{
    restore::{RestoreError, RestoreOptions, restore},
    verdict::Verdict,
};
use habackup::securetar::Password;
use keeper::{
    status::Ending,
    task::{Found, Outcome, Restore},
};

use super::{copies::Readable, doing::Doing};
use crate::{clock, failure::Failure, password, text};

/// So many things that are missing are named.
const NAMED: usize = 3;

/// `key` is one that somebody typed; without one, that of the job.
pub(super) fn run(doing: &Doing<'_>, wanted: &Restore, key: Option<Password>) -> Result<Outcome, Failure> {
    let readable = Readable::open_in_haste(doing, &wanted.copy)?;
    let making = wanted.job.as_deref().map(|job| doing.job(job)).transpose()?.map(|job| &job.making);
    let source = readable.source()?;
    let progress = Arc::clone(&doing.started.progress);
    let report = |done, total| progress.report(done, total);
    let attempt = |password| {
        let (only, replace) = (wanted.only.clone(), wanted.replace);
        let options = RestoreOptions { only, replace, password, zone: clock::zone(), ..RestoreOptions::default() };
        restore(source.clone(), Path::new(&wanted.into), &options, &report, doing.cancel())
    };
    let does_not_fit = |error: &RestoreError| matches!(error, RestoreError::Open(why) if password::does_not_fit(why));
    let restored = match key {
        Some(key) => attempt(Some(key)),
        None => password::of_job_in_turn(making, doing.cancel(), does_not_fit, attempt)?,
    }?;
    let into = engine::shown(restored.into.as_os_str().as_encoded_bytes());
    let kept = restored.kept.as_ref().map(|kept| engine::shown(kept.as_os_str().as_encoded_bytes()));
    let message = format!(
        "{} was restored into {into}: {} ({}){}",
        wanted.copy.name,
        text::count(restored.entries, "entry", "entries"),
        text::bytes(restored.bytes),
        kept.map_or_else(String::new, |kept| format!("; {kept} holds what was there before"))
    );
    let mut missing: Vec<String> =
        restored.left_out.iter().map(|left| format!("{}: {}", left.path, left.reason)).collect();
    missing.extend(restored.unmatched.iter().map(|pattern| format!("nothing in the backup fits {pattern}")));
    // The part of an incomplete archive that was asked for may be all that was wanted.
    if restored.judgement.verdict != Verdict::Whole && wanted.only.is_empty() {
        missing.insert(0, restored.judgement.headline());
    }
    let unread = if restored.checked_whole { "" } else { "; only these files were read, not the whole backup" };
    let message = format!("{message}{unread}");
    let mut outcome = Outcome::done(text::sanitize(&message), Found::Nothing);
    outcome.size = Some(restored.bytes);
    if !missing.is_empty() {
        let more = missing.len().saturating_sub(NAMED);
        missing.truncate(NAMED);
        let more = if more > 0 { format!("; and {more} more") } else { String::new() };
        outcome.ending = Ending::Incomplete;
        outcome.hint = Some(text::sanitize(&format!("not everything is there: {}{more}", missing.join("; "))));
    }
    Ok(outcome)
}
