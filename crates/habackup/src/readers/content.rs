//! What a configuration needs to be restored as it was, and what Core's way of copying leaves behind.
//!
//! No reader checks any of this: a restore reports success, and the loss shows when Home Assistant starts.

use super::facts::{Content, ContentEnd, Database, Facts, GzipEnd, Inner, Journal, Link, truthy};
use super::{Defect, Description, Effect, Finding};
use crate::manifest::stamp;
use crate::problem::shown;

const HIDDEN: &str =
    "it was packed or copied with `*`, which leaves out hidden files, or somebody chose the files by hand";
const FROM_ANOTHER: &str = "nothing can replace it; take it from another backup";

pub(super) fn find(facts: &Facts, found: &mut Vec<Finding>) {
    let Some(content) = facts.main.as_ref().and_then(|main| main.content.as_ref()) else { return };
    if !content.data || content.data_is_link {
        return;
    }
    // Files after the end of a broken archive are not missing: another finding already says that it breaks off.
    let first_of_several = content.gzip == GzipEnd::SecondMember && facts.main.as_ref().is_some_and(Inner::is_sealed);
    let whole = matches!(content.end, ContentEnd::Clean | ContentEnd::Unmarked) && !first_of_several;
    judge(content, facts.description.as_ref(), whole, found);
}

/// What of a configuration that was seen to its end a restore would lose or change, by what `backup.json` says of it.
pub fn content_findings(content: &Content, description: Option<&Description>) -> Vec<Finding> {
    let mut found = Vec::new();
    judge(content, description, true, &mut found);
    found
}

fn judge(content: &Content, description: Option<&Description>, whole: bool, found: &mut Vec<Finding>) {
    if content.below_data == 0 {
        let finding = Finding::new(
            Defect::ConfigEmpty,
            "the configuration in it is empty",
            "the wrong folder was backed up, or nothing was mounted there",
            FROM_ANOTHER,
        )
        .at("data");
        found.push(finding.all(&Effect::Loses("everything: it empties the configuration".into()), None));
        return;
    }
    if whole {
        files(content, found);
    }
    damaged_settings(content, found);
    database(description, content, whole, found);
    links(content, found);
}

fn loses(found: &mut Vec<Finding>, defect: Defect, member: &str, what: &str, why: &'static str, lost: &str) {
    found.push(Finding::new(defect, what, why, FROM_ANOTHER).at(member).all(&Effect::Loses(lost.to_owned()), None));
}

fn files(content: &Content, found: &mut Vec<Finding>) {
    if content.storage {
        match (content.auth, content.auth_provider) {
            (Some(0), _) => {
                let why = "it was packed while Home Assistant wrote it";
                loses(
                    found,
                    Defect::NoAuth,
                    "data/.storage/auth",
                    "it is empty",
                    why,
                    "the users' rights and every device's login",
                );
            }
            (None, _) | (_, false) => {
                let member = if content.auth.is_none() {
                    "data/.storage/auth"
                } else {
                    "data/.storage/auth_provider.homeassistant"
                };
                loses(
                    found,
                    Defect::NoAuth,
                    member,
                    "it is missing",
                    HIDDEN,
                    "the users or their passwords: nobody can log in",
                );
            }
            _ => {}
        }
        if !content.config_entries {
            loses(
                found,
                Defect::NoConfigEntries,
                "data/.storage/core.config_entries",
                "it is missing",
                HIDDEN,
                "all integrations that were set up in the browser",
            );
        }
        if !content.onboarding {
            loses(
                found,
                Defect::NoOnboarding,
                "data/.storage/onboarding",
                "it is missing",
                HIDDEN,
                "the record of its setup: Home Assistant shows the welcome page again",
            );
        }
    } else {
        let lost = "users, integrations and devices: Home Assistant starts as a new installation";
        loses(found, Defect::NoStorage, "data/.storage", "it is missing", HIDDEN, lost);
    }
    if content.version.is_none() {
        let why = "it was packed or copied with `*`; Home Assistant takes the configuration for a very old one and \
            converts it";
        let finding = Finding::new(Defect::NoVersion, "it is missing", why, "`haul repair` writes it from backup.json")
            .at("data/.HA_VERSION");
        found.push(finding.all(&Effect::Changes("Home Assistant does not know which version made it".into()), None));
    }
    let (what, lost) = match content.configuration {
        None => ("it is missing", "the settings in configuration.yaml"),
        Some(Some(_)) => (
            "it is a symbolic link, and Core does not restore it as a link",
            "configuration.yaml, if the link's target is missing",
        ),
        Some(None) => ("", ""),
    };
    if !what.is_empty() {
        let why = "the wrong folder was backed up, or the file is elsewhere and linked";
        loses(found, Defect::NoConfiguration, "data/configuration.yaml", what, why, lost);
    }
    if content.pending_restore {
        let why = "the backup was made by hand while a restore was about to begin; the next start would continue it";
        let finding = Finding::new(
            Defect::PendingRestore,
            "the configuration contains the request for another restore",
            why,
            "`haul repair` leaves it out",
        )
        .at("data/.HA_RESTORE");
        let effect = Effect::Loses("the next start: it tries another restore and fails".into());
        found.push(finding.all(&effect, None));
    }
}

fn damaged_settings(content: &Content, found: &mut Vec<Finding>) {
    for (path, damage) in &content.damaged_settings {
        // Another finding says so already.
        if path == b"data/.storage/auth" && content.auth == Some(0) {
            continue;
        }
        let finding = Finding::new(
            Defect::SettingsDamaged,
            format!("it {}", damage.what),
            "the power failed while it was written, or the disk is bad; Home Assistant sets it aside and continues \
             without it",
            FROM_ANOTHER,
        );
        found.push(finding.at(path).all(&Effect::Loses(damage.lost.to_owned()), None));
    }
}

fn database(description: Option<&Description>, content: &Content, whole: bool, found: &mut Vec<Finding>) {
    const NAME: &str = "data/home-assistant_v2.db";
    const LOG: &str = "data/home-assistant_v2.db-wal";
    let section = description.and_then(|description| description.get("homeassistant"));
    let known = description.and_then(|description| description.get("extra")).is_some_and(stamp::knows_history);
    let excluded = known || section.and_then(|section| section.get("exclude_database")).is_some_and(truthy);
    match &content.database {
        None if !whole || (excluded && content.log.is_none_or(|size| size == 0)) => {}
        None if content.log.is_some_and(|size| size > 0) => {
            loses(
                found,
                Defect::WalWithoutDatabase,
                LOG,
                "its database is missing",
                "`*.db` was excluded",
                "the history",
            );
        }
        None => {
            let why = "it was left out without a note in backup.json, or the history is in another database";
            let what = "it is missing, and backup.json does not say that it was left out";
            loses(found, Defect::DatabaseMissing, NAME, what, why, "the history");
        }
        Some(database) => {
            let log = content.log.is_some_and(|size| size > 0);
            broken(database, log, NAME, found);
            // A header of 32 bytes, then frames of a page with 24 bytes before it.
            let cut = content
                .log
                .and_then(|size| size.checked_sub(32))
                .is_some_and(|frames| database.page_size > 0 && frames % (database.page_size + 24) != 0);
            if cut {
                let why = "it was copied while it was written; what follows the cut is lost";
                loses(found, Defect::DatabaseDamaged, LOG, "it ends inside a page", why, "the newest history");
            }
            if content.log.is_none() && whole {
                without_log(database, LOG, found);
            }
        }
    }
    if let Some(path) = content.damaged_databases.first() {
        let finding = Finding::new(
            Defect::OtherDatabaseDamaged,
            "this database is damaged",
            "it was copied while it was written, or the disk is bad; a restore brings it back as it is",
            "`sqlite3 .recover` may save some of it",
        );
        found.push(
            finding.at(path).all(&Effect::Unnoticed("the content of an integration's damaged database".into()), None),
        );
    }
}

fn broken(database: &Database, log: bool, name: &str, found: &mut Vec<Finding>) {
    let what = if database.size == 0 {
        "it is empty".to_owned()
    } else if database.present < database.size {
        format!("it has only {} of its {} bytes", database.present, database.size)
    } else if !database.is_one {
        "it is not a database".to_owned()
    } else if let Some(problem) = database.problems.first() {
        format!("it is damaged: {}", problem.trim_start_matches("the database is damaged: "))
    } else {
        return;
    };
    let finding = Finding::new(
        Defect::DatabaseDamaged,
        what,
        "it was copied while it was written, it was cut short, or the disk is bad; Home Assistant sets it aside as \
         `….corrupt…` and starts a new one",
        "`haul repair` keeps it unless it was cut short; `sqlite3 .recover` may save some of it",
    );
    // With a log beside it, it need not be whole by itself.
    let effect = if log {
        Effect::Unnoticed("the history, if its log does not complete it".into())
    } else {
        Effect::Loses("the history".into())
    };
    found.push(finding.at(name).all(&effect, None));
}

fn without_log(database: &Database, log: &str, found: &mut Vec<Finding>) {
    let finding = Finding::new(
        Defect::DatabaseWithoutWal,
        "it is missing, so a restore of the history alone fails (\"Backup file … does not exist\")",
        "the database was copied without it, or had been closed; if it was in use, the newest history is missing",
        "`haul repair` adds an empty one",
    )
    .at(log);
    let effect = match database.journal {
        Journal::Wal => Effect::Unnoticed("the newest history, if the database was in use when it was copied".into()),
        Journal::Other => Effect::Changes("the history alone can't be restored".into()),
    };
    found.push(finding.cores(&effect, None));
}

fn links(content: &Content, found: &mut Vec<Finding>) {
    for (kind, lost) in [
        (Link::Relative, "relative symbolic links vanish"),
        (Link::Absolute, "absolute symbolic links become copies of their targets, or vanish"),
    ] {
        let mut of_kind = content.links.iter().filter(|(_, link)| *link == kind);
        if let Some((path, _)) = of_kind.next() {
            let others = of_kind.count();
            let what = if others == 0 {
                "it is a symbolic link".to_owned()
            } else {
                format!("it is a symbolic link, as are {others} more")
            };
            let finding = Finding::new(
                Defect::Symlink,
                what,
                "Core copies a link's target, and looks for it beside the place where it unpacked the archive",
                "replace the link with its target",
            )
            .at(path);
            found.push(finding.cores(&Effect::Changes(lost.into()), None));
        }
    }
    if let Some(path) = content.in_backups.first() {
        let finding = Finding::new(
            Defect::Backups,
            "it is called 'backups' or is in such a folder; Core restores nothing of that name",
            "an integration keeps its own backups there",
            "extract it with `haul restore --only` and copy it by hand",
        );
        found.push(
            finding
                .at(path)
                .cores(&Effect::Changes(format!("{} is not restored", shown(&String::from_utf8_lossy(path)))), None),
        );
    }
    if let Some(path) = content.apple.first() {
        let finding = Finding::new(
            Defect::AppleDouble,
            "macOS left a file of its own in the configuration",
            "the configuration was on a Mac, or on a disk that a Mac wrote to",
            "delete it",
        );
        found.push(finding.at(path));
    }
}
