//! The sentences of a migration that combine several facts.

use homeassistant::Restored;
use store::StoreError;

use super::{Source, Target};
use crate::{
    failure::{Failure, INTERRUPTED},
    text,
};

/// More names than this are counted.
const MOST_NAMES: usize = 5;

/// What is advised in other words at a terminal and on the page, which has no options.
#[derive(Debug)]
pub(crate) struct Advice {
    /// The new one is set up, and no token was given.
    pub(crate) no_token: &'static str,
    /// It is set up, and nobody said that it may be replaced.
    pub(crate) replace: &'static str,
    /// The token is one of the old one's own.
    pub(crate) own_token: &'static str,
    /// Its certificate is not trusted; nothing: as the client says.
    pub(crate) certificate: Option<&'static str>,
    /// It has too little space.
    pub(crate) full: &'static str,
    /// Stopped while the backup was on its way.
    pub(crate) again: &'static str,
    /// Stopped before it was confirmed.
    pub(crate) over: &'static str,
}

pub(crate) const COMMAND: Advice = Advice {
    no_token: "if nothing in it matters, reinstall it and leave its welcome page as it is; to replace its content, use \
        --replace with an administrator's --token-file",
    replace: "use --replace if you mean that, or give a fresh instance; nothing was sent",
    own_token: "give another --to; if that instance got these users from an earlier restore, create a new token there",
    certificate: None,
    full: "free some space there, or leave out the history with --exclude-database; nothing was sent",
    again: "run the same command again; if Home Assistant is busy, wait a minute",
    over: "the same command starts over",
};

pub(crate) const PAGE: Advice = Advice {
    no_token: "if nothing in it matters, reinstall it and leave its welcome page as it is; to replace its content, \
        enter a token of an administrator there",
    replace: "say that everything there may be replaced, or name a fresh one; nothing was sent",
    own_token: "enter another address; if that instance got these users from an earlier restore, create a new token \
        there",
    certificate: Some(
        "its certificate is not trusted here: check the host name, install its authority's certificate on this \
         machine, or say that any certificate will do",
    ),
    full: "free some space there, or leave out the history; nothing was sent",
    again: "begin again; if Home Assistant is busy, wait a minute",
    over: "begin again: all of it is sent anew",
};

/// Both, before anything is done.
pub(crate) fn introduced(source: &Source, target: &Target) -> Vec<String> {
    vec![
        format!("From  {}: {}", engine::shown(source.directory.as_os_str().as_encoded_bytes()), about_old(source)),
        format!("To    {}: {}", target.address(), about_new(target)),
    ]
}

/// The old one: its version and who can log in.
pub(crate) fn about_old(source: &Source) -> String {
    let who = match source.logins.as_slice() {
        [] => "no user with a password".to_owned(),
        [one] => format!("user {}", text::sanitize(one)),
        several => format!("users {}", joined(several, "and")),
    };
    format!("Home Assistant {}, {who}", source.version)
}

/// The new one: its version, how it was installed, and whether it holds anything.
pub(crate) fn about_new(target: &Target) -> String {
    let version = target.version().map_or_else(|| "of unknown version".to_owned(), |version| version.to_string());
    let kind = if target.is_fresh() { "fresh" } else { "set up already" };
    let installation = target.installation().map_or_else(String::new, |name| format!(" ({})", text::sanitize(name)));
    format!("Home Assistant {version}{installation}, {kind}")
}

/// The restore is done.
pub(crate) fn up_again(restored: &Restored) -> String {
    let version = restored.version.as_ref().map_or_else(String::new, |version| format!(" {}", text::sanitize(version)));
    format!("Home Assistant{version} is up again after {}", text::duration(restored.took.as_secs_f64()))
}

/// What to do then.
pub(crate) fn log_in(source: &Source, restored: &Restored) -> String {
    let who = if source.logins.is_empty() { "before".to_owned() } else { any_of(&source.logins) };
    format!("log in as {who} at {}", restored.address)
}

/// `ada`, `ada or bob`, `ada, bob or carl`.
pub(crate) fn any_of(names: &[String]) -> String {
    joined(names, "or")
}

/// The same with another last word.
pub(crate) fn joined(names: &[String], word: &str) -> String {
    let mut names: Vec<String> = names.iter().map(|name| text::sanitize(name)).collect();
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
pub(crate) fn interrupted(reached: Reached, address: &str, advice: &Advice) -> Failure {
    let (what, hint) = match reached {
        Reached::Nothing => (format!("interrupted; nothing was sent to {address}"), None),
        Reached::Sending => {
            (format!("interrupted while sending to {address}; nothing was restored"), Some(advice.again))
        }
        Reached::Unanswered => {
            (format!("interrupted before {address} confirmed the backup; nothing was restored"), Some(advice.over))
        }
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
pub(crate) fn ended(error: &StoreError, reached: Reached, address: &str, advice: &Advice) -> Failure {
    match error {
        StoreError::Cancelled => interrupted(reached, address, advice),
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
            let failure = interrupted(reached, "http://new:8123", &COMMAND);
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
