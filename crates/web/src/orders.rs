//! Orders from forms and from the API alike: checked against what there is, then passed on.

use std::sync::Arc;

use http::StatusCode;
use keeper::status::{ArchiveStatus, CopyStatus};

use crate::{
    backend::{Backend, Order},
    refusal::Refusal,
    shared::Shared,
};

/// A note is no longer than this.
const LONGEST_NOTE: usize = 2000;

/// Does it, or says why not.
pub(crate) async fn carry_out(shared: &Arc<Shared>, order: Order) -> Result<(), Refusal> {
    shared
        .ask(move |backend| {
            check(backend, &order)?;
            backend.order(order).map_err(Refusal::from)
        })
        .await?
}

/// Whether no copy would be left that could be whole, if those at `destination` (nothing: all) with this name (nothing:
/// any) were removed.
pub(crate) fn removes_the_last(archive: &ArchiveStatus, destination: Option<&str>, name: Option<&str>) -> bool {
    let goes = |copy: &&CopyStatus| {
        destination.is_none_or(|destination| copy.destination == destination)
            && name.is_none_or(|name| copy.name == name)
    };
    let sound = |copy: &&CopyStatus| copy.verdict.as_ref().is_none_or(|verdict| !verdict.damaged);
    let some_sound = archive.copies.iter().any(|copy| sound(&copy));
    // Of an archive that is damaged everywhere, the last copy counts all the same: it may be all there is.
    let counts = |copy: &&CopyStatus| !some_sound || sound(copy);
    archive.copies.iter().filter(counts).all(|copy| goes(&copy))
}

fn check(backend: &dyn Backend, order: &Order) -> Result<(), Refusal> {
    match order {
        Order::Sync => Ok(()),
        Order::BackUp { job } | Order::Pause { job } | Order::Resume { job } | Order::RehearseNewest { job } => {
            exists(backend.status().jobs.iter().any(|known| known.name == *job), "job")
        }
        Order::Cancel { run } => {
            let status = backend.status();
            let mut all = status.jobs.iter().flat_map(|job| &job.running).chain(&status.running);
            let runs = all.any(|running| running.id == *run);
            exists(runs, "running task")
        }
        Order::AgreeToRemovals { destination } => {
            let status = backend.status();
            let known = status.destinations.iter().find(|known| known.name == *destination);
            exists(known.is_some(), "location")?;
            if known.is_some_and(|known| known.waiting_for_consent.is_empty()) {
                return Err(Refusal::new(StatusCode::CONFLICT, "Nothing waits to be removed there."));
            }
            Ok(())
        }
        Order::Rehearse { archive } | Order::Pin { archive } | Order::Unpin { archive } => {
            found(backend, archive).map(drop)
        }
        Order::Note { archive, text } => {
            found(backend, archive)?;
            if text.len() > LONGEST_NOTE {
                let message = format!("The note is too long. Use at most {LONGEST_NOTE} characters.");
                return Err(Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, message));
            }
            Ok(())
        }
        Order::Verify { archive, destination } => {
            let archive = found(backend, archive)?;
            is_there(&archive, destination.as_deref())
        }
        Order::Delete { archive, destination, name, even_the_only_copy } => {
            let archive = found(backend, archive)?;
            is_there(&archive, destination.as_deref())?;
            if name.as_ref().is_some_and(|name| archive.copies.iter().all(|copy| copy.name != *name)) {
                return Err(Refusal::new(StatusCode::NOT_FOUND, "No copy of this backup has that name."));
            }
            if !even_the_only_copy && removes_the_last(&archive, destination.as_deref(), name.as_deref()) {
                return Err(Refusal::new(StatusCode::CONFLICT, "No other copy of this backup would be left.")
                    .hint("Say that you mean the only copy, too: `even_the_only_copy`."));
            }
            Ok(())
        }
    }
}

pub(crate) fn exists(exists: bool, what: &str) -> Result<(), Refusal> {
    if exists { Ok(()) } else { Err(Refusal::not_found(what)) }
}

pub(crate) fn found(backend: &dyn Backend, archive: &str) -> Result<ArchiveStatus, Refusal> {
    backend.archive(archive).ok_or_else(|| Refusal::not_found("backup"))
}

fn is_there(archive: &ArchiveStatus, destination: Option<&str>) -> Result<(), Refusal> {
    let there = |destination: &str| archive.copies.iter().any(|copy| copy.destination == destination);
    if destination.is_none_or(there) {
        return Ok(());
    }
    Err(Refusal::new(StatusCode::NOT_FOUND, "There is no copy of this backup at that location."))
}
