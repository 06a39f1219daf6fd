//! How Home Assistant backs itself up without Haul, and its key: what a new user sees and may take over.

use std::time::Duration;

use jiff::{Timestamp, civil::Time};
use store::Cancellation;
use supervisor::{BackupConfig, Job, JobKind, Retention, Schedule, Secret};
use web::backend::{OwnBackups, OwnPlace};

use super::App;
use crate::{
    failure::{FAILED, Failure},
    text::sanitize,
};

/// Somebody waits for a page.
const SOON: Duration = Duration::from_secs(5);
/// Home Assistant's own time, unless its users choose one. It then begins within the hour after it.
const USUAL: Time = Time::constant(4, 45, 0, 0);
/// How long before it Haul's backups are proposed: Supervisor makes one at a time.
const BEFORE: i64 = 2 * 60;
const DAY: i64 = 24 * 60;
/// What it can put into its backups besides its own configuration and apps.
const FOLDERS: [&str; 3] = ["share", "media", "ssl"];
const DAYS: [(&str, &str); 7] = [
    ("mon", "Monday"),
    ("tue", "Tuesday"),
    ("wed", "Wednesday"),
    ("thu", "Thursday"),
    ("fri", "Friday"),
    ("sat", "Saturday"),
    ("sun", "Sunday"),
];
/// What integrations are called that have locations for backups.
const NAMES: &[(&str, &str)] = &[
    ("aws_s3", "Amazon S3"),
    ("cloud", "Home Assistant Cloud"),
    ("cloudflare_r2", "Cloudflare R2"),
    ("idrive_e2", "IDrive e2"),
    ("onedrive", "OneDrive"),
    ("onedrive_for_business", "OneDrive for Business"),
    ("sftp_storage", "SFTP"),
    ("synology_dsm", "Synology"),
    ("webdav", "WebDAV"),
];

impl App {
    /// How Home Assistant backs itself up.
    pub(crate) fn own_backups(&self, cancel: &Cancellation) -> Result<OwnBackups, Failure> {
        let mut own = self.backup_config(cancel).map(|config| told(&config))?;
        // One that is under way has not failed yet.
        let asking = async { tokio::time::timeout(SOON, self.supervisor.jobs()).await };
        let jobs = self.network.bridge.wait(cancel.unless_cancelled(asking));
        let is_backup = |job: &Job| job.kind() == JobKind::Backup && !job.is_done();
        // Without an answer, nobody knows of a failure either.
        if jobs.and_then(Result::ok).and_then(Result::ok).is_none_or(|jobs| jobs.iter().any(is_backup)) {
            own.attempted = own.completed;
        }
        Ok(own)
    }

    /// The key of its backups, if there is one.
    pub(crate) fn own_key(&self, cancel: &Cancellation) -> Result<Option<Secret>, Failure> {
        self.backup_config(cancel).map(|config| config.create_backup.password)
    }

    fn backup_config(&self, cancel: &Cancellation) -> Result<BackupConfig, Failure> {
        let asking = async { tokio::time::timeout(SOON, self.supervisor.core().backup_config()).await };
        match self.network.bridge.wait(cancel.unless_cancelled(asking)) {
            Some(Ok(config)) => config.map_err(|error| super::Unanswered::Failed(error).into()),
            Some(Err(_)) => {
                let late = format!("Home Assistant does not say within {} s how it makes backups", SOON.as_secs());
                Err(Failure::new(FAILED, late).hint("try again when it has started"))
            }
            None => Err(super::Unanswered::Stopped.into()),
        }
    }
}

fn told(config: &BackupConfig) -> OwnBackups {
    let create = &config.create_backup;
    let has_key = create.password.as_ref().is_some_and(|key| !key.expose().trim().is_empty());
    let place = |id: &String| OwnPlace {
        name: name(id),
        is_here: matches!(id.as_str(), "hassio.local" | "backup.local"),
        is_encrypted: has_key && config.agents.get(id).and_then(|agent| agent.protected).unwrap_or(true),
    };
    let retention = |id: &String| config.agents.get(id).and_then(|agent| agent.retention).unwrap_or(config.retention);
    let moment = |text: &Option<String>| text.as_ref().and_then(|text| text.parse::<Timestamp>().ok());
    let time = config.schedule.time.as_deref().map_or(Some(USUAL), |time| time.parse().ok());
    let time = time.filter(|_| config.automatic_backups_configured);
    let days = time.and_then(|_| days(&config.schedule));
    let mut lacks = vec![
        (create.include_database == Some(false), "the history"),
        (!create.include_all_addons, if create.include_addons.is_empty() { "apps" } else { "some apps" }),
    ];
    lacks.extend(FOLDERS.map(|folder| (create.include_folders.iter().all(|there| there != folder), folder)));
    // As many as there are within so many days.
    let a_week = days.as_ref().map_or(7, Vec::len) as u32;
    let number =
        |kept: Retention| kept.copies.or_else(|| kept.days.map(|days| days.saturating_mul(a_week).div_ceil(7).max(1)));
    let all: Vec<Retention> = if create.agent_ids.is_empty() {
        vec![config.retention]
    } else {
        create.agent_ids.iter().map(retention).collect()
    };
    // As many as where most are kept; all, if they are anywhere.
    let keep = all.iter().map(|kept| number(*kept)).collect::<Option<Vec<u32>>>().and_then(|all| all.into_iter().max());
    OwnBackups {
        when: days.as_ref().zip(time).map(|(days, time)| words(days, time)),
        places: create.agent_ids.iter().map(place).collect(),
        keeps: keeps(&create.agent_ids, retention, config.retention),
        lacks: lacks.into_iter().filter(|(is, _)| *is).map(|(_, what)| what.to_owned()).collect(),
        attempted: moment(&config.last_attempted_automatic_backup),
        completed: moment(&config.last_completed_automatic_backup),
        has_key,
        keep,
        schedule: days.zip(time).map(|(days, time)| before(&days, time)),
    }
}

/// How many are kept, in words; nothing: all, everywhere.
fn keeps(places: &[String], at: impl Fn(&String) -> Retention, usual: Retention) -> Option<String> {
    let words = |kept: Retention| match (kept.copies, kept.days) {
        (Some(1), _) => "the newest".to_owned(),
        (Some(copies), _) => format!("the newest {copies}"),
        (None, Some(1)) => "for a day".to_owned(),
        (None, Some(days)) => format!("for {days} days"),
        (None, None) => "all".to_owned(),
    };
    let mut said: Vec<(String, Vec<String>)> = Vec::new();
    for (kept, place) in places.iter().map(|place| (words(at(place)), name(place))) {
        match said.iter_mut().find(|(known, _)| *known == kept) {
            Some((_, places)) => places.push(place),
            None => said.push((kept, vec![place])),
        }
    }
    match &said[..] {
        [] => Some(words(usual)),
        [(kept, _)] => Some(kept.clone()),
        _ => {
            let each = said.iter().map(|(kept, places)| format!("{kept} at {}", places.join(", ")));
            Some(each.collect::<Vec<_>>().join("; "))
        }
    }
    .filter(|kept| kept != "all")
}

/// The days of the week, from Monday on, on which there is a backup.
fn days(schedule: &Schedule) -> Option<Vec<usize>> {
    let named = |day: &String| DAYS.iter().position(|(short, _)| short == day);
    let mut days: Vec<usize> = match schedule.recurrence.as_deref() {
        Some("daily") => (0..DAYS.len()).collect(),
        Some("custom_days") => schedule.days.iter().filter_map(named).collect(),
        _ => Vec::new(),
    };
    days.sort_unstable();
    days.dedup();
    (!days.is_empty()).then_some(days)
}

fn words(days: &[usize], time: Time) -> String {
    let time = time.strftime("%H:%M");
    if days.len() == DAYS.len() {
        return format!("daily at {time}");
    }
    let names: Vec<&str> = days.iter().map(|day| DAYS[*day].1).collect();
    format!("{} at {time}", names.join(", "))
}

/// A schedule of Haul's, as often and somewhat earlier.
fn before(days: &[usize], time: Time) -> String {
    let minutes = i64::from(time.hour()) * 60 + i64::from(time.minute()) - BEFORE;
    let minute = minutes.rem_euclid(DAY);
    let at = format!("{:02}:{:02}", minute / 60, minute % 60);
    if days.len() == DAYS.len() {
        return format!("daily {at}");
    }
    let is_day_before = usize::from(minutes < 0);
    let mut days: Vec<usize> = days.iter().map(|day| (day + DAYS.len() - is_day_before) % DAYS.len()).collect();
    days.sort_unstable();
    let names: Vec<&str> = days.iter().map(|day| DAYS[*day].0).collect();
    format!("{} {at}", names.join(","))
}

/// What people call a place.
fn name(id: &str) -> String {
    match id.split_once('.').unwrap_or((id, "")) {
        ("hassio" | "backup", "local") => "this machine".to_owned(),
        ("hassio", mount) => sanitize(mount),
        (domain, _) => {
            let known = NAMES.iter().find(|(known, _)| *known == domain).map(|(_, name)| (*name).to_owned());
            known.unwrap_or_else(|| {
                let words = domain.split('_').map(|word| {
                    let mut letters = word.chars();
                    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
                });
                sanitize(&words.collect::<Vec<String>>().join(" "))
            })
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use keeper::schedule::Schedule as Ours;
    use serde_json::{Value, json};

    use super::*;

    fn said(config: Value) -> OwnBackups {
        told(&serde_json::from_value(config).unwrap())
    }

    #[test]
    fn what_is_proposed_is_as_often_and_never_at_the_same_time() {
        for (recurrence, days, time, words, proposed) in [
            ("daily", json!([]), json!(null), "daily at 04:45", "daily 02:45"),
            ("daily", json!([]), json!("01:30:00"), "daily at 01:30", "daily 23:30"),
            ("custom_days", json!(["thu", "mon"]), json!("03:00:00"), "Monday, Thursday at 03:00", "mon,thu 01:00"),
            ("custom_days", json!(["mon", "tue"]), json!("00:15:00"), "Monday, Tuesday at 00:15", "mon,sun 22:15"),
        ] {
            let own = said(json!({
                "automatic_backups_configured": true,
                "schedule": { "recurrence": recurrence, "days": days, "time": time },
            }));
            assert_eq!((own.when.as_deref(), own.schedule.as_deref()), (Some(words), Some(proposed)));
            Ours::parse(proposed).unwrap();
        }
        for never in [
            json!({ "automatic_backups_configured": true, "schedule": { "recurrence": "never" } }),
            json!({ "automatic_backups_configured": true, "schedule": { "recurrence": "custom_days", "days": [] } }),
            json!({ "automatic_backups_configured": false, "schedule": { "recurrence": "daily" } }),
            json!({}),
        ] {
            let own = said(never);
            assert_eq!((own.when, own.schedule), (None, None));
        }
    }

    #[test]
    fn as_many_are_kept() {
        let kept = |retention: Value, days: Value| {
            let own = said(json!({
                "automatic_backups_configured": true, "retention": retention,
                "schedule": { "recurrence": if days == json!([]) { "daily" } else { "custom_days" }, "days": days },
            }));
            (own.keep, own.keeps)
        };
        assert_eq!(kept(json!({ "copies": 3, "days": null }), json!([])), (Some(3), Some("the newest 3".to_owned())));
        assert_eq!(kept(json!({ "days": 30 }), json!([])), (Some(30), Some("for 30 days".to_owned())));
        assert_eq!(kept(json!({ "days": 30 }), json!(["mon"])), (Some(5), Some("for 30 days".to_owned())));
        assert_eq!(kept(json!({}), json!([])), (None, None));
    }

    #[test]
    fn each_place_may_keep_another_number_of_them() {
        let kept = |agents: Value| {
            let own = said(json!({
                "automatic_backups_configured": true, "retention": { "copies": 3, "days": null }, "agents": agents,
                "schedule": { "recurrence": "daily" },
                "create_backup": { "agent_ids": ["hassio.local", "hassio.nas"], "include_folders": ["media", "ssl"] },
            }));
            assert_eq!(own.lacks, ["apps", "share"]);
            (own.keep, own.keeps.unwrap_or_default())
        };
        assert_eq!(kept(json!({ "hassio.nas": { "retention": null } })), (Some(3), "the newest 3".to_owned()));
        let more = json!({ "hassio.nas": { "retention": { "copies": null, "days": 30 } } });
        assert_eq!(kept(more), (Some(30), "the newest 3 at this machine; for 30 days at nas".to_owned()));
        let all = json!({ "hassio.nas": { "retention": { "copies": null, "days": null } } });
        assert_eq!(kept(all), (None, "the newest 3 at this machine; all at nas".to_owned()));
    }

    #[test]
    fn places_have_names_and_each_is_encrypted_or_not() {
        let own = said(json!({
            "agents": { "google_drive.ab12": { "protected": false } },
            "create_backup": {
                "agent_ids": ["hassio.local", "hassio.nas", "google_drive.ab12", "cloud.cloud"],
                "password": "AAAA", "include_database": false, "include_addons": ["core_ssh"],
            },
        }));
        let places: Vec<_> =
            own.places.iter().map(|place| (place.name.as_str(), place.is_here, place.is_encrypted)).collect();
        assert_eq!(
            places,
            [
                ("this machine", true, true),
                ("nas", false, true),
                ("Google Drive", false, false),
                ("Home Assistant Cloud", false, true)
            ]
        );
        assert_eq!(own.lacks, ["the history", "some apps", "share", "media", "ssl"]);
        let own = said(json!({ "create_backup": { "agent_ids": ["hassio.local"], "password": null } }));
        assert!(!own.has_key && !own.places[0].is_encrypted);
    }
}
