//! The sentences of a migration that are made of more than one fact.

use store::StoreError;

use crate::failure::{Failure, INTERRUPTED};

/// More names than this are counted.
const MOST_NAMES: usize = 5;

/// `ada`, `ada or bob`, `ada, bob or carl`.
pub(crate) fn any_of(names: &[String]) -> String {
    joined(names, "or")
}

/// The same with another last word.
pub(crate) fn joined(names: &[String], word: &str) -> String {
    let mut names: Vec<String> = names.iter().map(|name| crate::text::tame(name)).collect();
    if names.len() > MOST_NAMES {
        let others = names.len() - MOST_NAMES + 1;
        names.truncate(MOST_NAMES - 1);
        names.push(format!("{others} others"));
    }
    match names.split_last() {
        None => String::new(),
        Some((only, [])) => only.clone(),
        Some((last, first)) => format!("{} {word} {last}", first.join(", ")),
    }
}

/// How far a migration got, for whoever has to look after the new one when it ends early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reached {
    /// Nothing was sent.
    Nothing,
    /// The backup is on its way.
    Sending,
    /// Every byte has left, and no answer has come.
    Unanswered,
    /// The backup is there.
    Sent,
    /// The restore was asked for.
    Restoring,
}

/// Ctrl-C: what that means for the new one at this moment.
pub(crate) fn interrupted(reached: Reached, place: &str) -> Failure {
    let (what, hint) = match reached {
        Reached::Nothing => (format!("interrupted; nothing was sent to {place}"), None),
        Reached::Sending => (format!("interrupted while sending; {place} keeps nothing of it, and nothing was restored"), Some("the same command begins anew")),
        Reached::Unanswered => {
            (format!("interrupted before {place} said whether the backup arrived; nothing was restored"), Some("the same command begins anew"))
        }
        Reached::Sent => (format!("interrupted; the backup is at {place}, and nothing was restored"), Some(BY_HAND)),
        Reached::Restoring => (
            format!("interrupted; {place} is restoring and goes on without haul"),
            Some("look there in a few minutes: when it is done, it asks the old users to log in"),
        ),
    };
    let failure = Failure::new(INTERRUPTED, what);
    match hint {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}

/// What to do with a backup that was only uploaded.
pub(crate) const BY_HAND: &str = "restore it there under Settings > System > Backups, once any user is set up; or let haul do all of it";

/// An end that came from waiting, which only an interruption has.
pub(crate) fn ended(error: &StoreError, reached: Reached, place: &str) -> Failure {
    match error {
        StoreError::Cancelled => interrupted(reached, place),
        other => Failure::new(crate::failure::FAILED, other.to_string()),
    }
}
