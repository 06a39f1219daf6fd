//! A rehearsal of a job's newest backup.

use std::{num::NonZeroUsize, sync::Arc};

use engine::{
    read::OpenError,
    rehearse::{Boot, Counts, RehearseError, RehearseOptions, Way, rehearse as restore_for_a_test},
};
use habackup::securetar::Password;
use jiff::Timestamp;
use keeper::{
    job::Job,
    status::{Ending, Proof},
    task::{Found, Location, Outcome},
};

use super::{copies, doing::Doing};
use crate::{
    command::rehearse::SCRATCH,
    destination,
    failure::{DAMAGED, Failure},
    password,
    rehearsal::Starter,
    text,
};

/// No more is unpacked; what is larger is read in memory.
const MAX_SIZE: u64 = 64 << 30;

pub(super) fn rehearse(doing: &Doing<'_>, job: &Job, at: &Location) -> Result<Outcome, Failure> {
    let readable = copies::Readable::open(doing, Some(&job.name), at)?;
    let options = RehearseOptions {
        scratch: destination::state_directory().join(SCRATCH),
        max_size: MAX_SIZE,
        in_memory: false,
        keep_scratch: false,
        // Nobody waits for it, so it leaves the cores to others.
        threads: NonZeroUsize::MIN,
        boot: job.boot.as_ref().map(|command| Starter::isolated(command) as Arc<dyn Boot>),
    };
    let source = readable.source()?;
    let restore = |key: Option<Password>| {
        restore_for_a_test(&source, key.as_ref(), &options, &doing.started.progress, doing.cancel())
    };
    let does_not_fit = |error: &RehearseError| matches!(error, RehearseError::Open(why) if password::does_not_fit(why));
    let rehearsal = match password::of_job_in_turn(Some(&job.making), doing.cancel(), does_not_fit, restore)? {
        Err(RehearseError::Open(error @ OpenError::WrongPassword)) => return Ok(copies::never(error)),
        rehearsal => rehearsal?,
    };
    let sentence = text::sanitize(&rehearsal.sentence());
    if !rehearsal.proved {
        return Err(Failure::new(DAMAGED, format!("{} at {}: {sentence}", at.name, at.destination))
            .hint(format!("`haul rehearse {}/{}` shows everything that is wrong", at.destination, at.name)));
    }
    let before: Option<Counts> =
        doing.started.counts.as_ref().and_then(|counts| serde_json::from_value(counts.clone()).ok());
    let shrank: Vec<String> = before
        .map(|before| rehearsal.counts.compare(&before))
        .unwrap_or_default()
        .into_iter()
        .map(|difference| format!("{}: {}, before {}", difference.what, difference.now, difference.before))
        .collect();
    let proof = Proof {
        at: Timestamp::now(),
        archive: at.name.clone(),
        destination: at.destination.clone(),
        how: match rehearsal.way {
            Way::Unpacked => "unpacked",
            Way::InMemory => "in memory",
            Way::Booted => "booted",
        }
        .to_owned(),
        home_assistant: rehearsal.booted.as_ref().and_then(|booted| booted.home_assistant.clone()),
        sentence: sentence.clone(),
    };
    let counts = serde_json::to_value(&rehearsal.counts).unwrap_or_default();
    let mut outcome = Outcome::done(format!("{}: {sentence}", at.name), Found::Proved { proof, counts });
    if !shrank.is_empty() {
        outcome.ending = Ending::Incomplete;
        outcome.hint = Some(format!("there is less than at the last rehearsal: {}", shrank.join("; ")));
    }
    Ok(outcome)
}
