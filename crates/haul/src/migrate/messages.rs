//! The sentences of a migration that combine several facts.

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
    let mut names: Vec<String> = names.iter().map(|name| crate::text::sanitize(name)).collect();
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

/// How far a migration got, for whoever has to look after the new instance if it ends early.
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
    /// The restore was requested.
    Restoring,
}

/// Ctrl-C: what that means for the new one at this moment.
pub(crate) fn interrupted(reached: Reached, address: &str) -> Failure {
    let (what, hint) = match reached {
        Reached::Nothing => (format!("interrupted; nothing was sent to {address}"), None),
        Reached::Sending => (
            format!("interrupted while sending to {address}; nothing was restored"),
            Some("run the same command again; if Home Assistant is busy, wait a minute"),
        ),
        Reached::Unanswered => (
            format!("interrupted before {address} confirmed the backup; nothing was restored"),
            Some("the same command starts over"),
        ),
        Reached::Sent => (format!("interrupted; the backup is on {address}, and nothing was restored"), Some(BY_HAND)),
        Reached::Restoring => (
            format!("interrupted; {address} is restoring and continues without haul"),
            Some("open it in a few minutes: when the restore is done, the old users can log in"),
        ),
    };
    let failure = Failure::new(INTERRUPTED, what);
    match hint {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}

/// What to do with a backup that was only uploaded.
pub(crate) const BY_HAND: &str =
    "restore it there under Settings > System > Backups, or from the welcome page if it still shows that";

/// An end that came from waiting, which only an interruption has.
pub(crate) fn ended(error: &StoreError, reached: Reached, address: &str) -> Failure {
    match error {
        StoreError::Cancelled => interrupted(reached, address),
        other => Failure::new(crate::failure::FAILED, other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_listed_as_people_list_them_and_many_are_counted() {
        let names = |count: usize| {
            ["ada", "bob", "carl", "dora", "emil", "fritz", "gerd"][..count]
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
        };
        assert_eq!(any_of(&names(1)), "ada");
        assert_eq!(any_of(&names(2)), "ada or bob");
        assert_eq!(joined(&names(3), "and"), "ada, bob and carl");
        assert_eq!(any_of(&names(5)), "ada, bob, carl, dora or emil");
        assert_eq!(any_of(&names(7)), "ada, bob, carl, dora or 3 others");
        assert_eq!(any_of(&["\x1b[2J".to_owned()]), "\u{fffd}[2J");
    }

    #[test]
    fn every_early_end_says_what_it_means_for_the_new_one() {
        let said = |reached| {
            let failure = interrupted(reached, "http://new:8123");
            assert_eq!(failure.code, INTERRUPTED);
            failure.message
        };
        assert_eq!(said(Reached::Nothing), "interrupted; nothing was sent to http://new:8123");
        assert_eq!(said(Reached::Sending), "interrupted while sending to http://new:8123; nothing was restored");
        assert_eq!(
            said(Reached::Unanswered),
            "interrupted before http://new:8123 confirmed the backup; nothing was restored"
        );
        assert_eq!(said(Reached::Sent), "interrupted; the backup is on http://new:8123, and nothing was restored");
        assert_eq!(said(Reached::Restoring), "interrupted; http://new:8123 is restoring and continues without haul");
    }
}
