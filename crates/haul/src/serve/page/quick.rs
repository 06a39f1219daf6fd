//! Quick backups beside those of everything: of the configuration alone, more often, at the same locations.

use keeper::schedule::Schedule;
use store::Address;
use web::backend::{Invalid, JobSettings, Keep, Policy};

use super::{
    fresh::{free_name, make_one},
    kinds::{self, MOUNTED},
    typed::invalid,
};
use crate::config::edit::Draft;

/// The job's usual name, and its folder in that of the other one: two jobs of one Home Assistant can't share a folder.
const QUICK: &str = "quick";
/// What is kept of backups that are made every hour, and of others: two days of them, and a week of days.
const HOURLY: &str = "hourly";
const KEPT_HOURLY: u32 = 48;
const KEPT: u32 = 8;
const DAYS: u32 = 7;

/// What is wrong with a schedule.
pub(super) fn mistake(schedule: &str) -> Option<Invalid> {
    Schedule::parse(schedule).err().map(|why| invalid(QUICK, why, Some("choose how often")))
}

/// Adds one beside a job, to a file that has the job and its locations.
pub(super) fn add(draft: &mut Draft, beside: &JobSettings, schedule: &str) -> Result<(), Invalid> {
    let mut settings = JobSettings {
        source: beside.source.clone(),
        policy: Policy {
            schedule: vec![schedule.to_owned()],
            keep: Keep {
                last: Some(if schedule == HOURLY { KEPT_HOURLY } else { KEPT }),
                daily: Some(DAYS),
                ..Keep::default()
            },
            ..beside.policy.clone()
        },
        password_file: beside.password_file.clone(),
        rehearse: Some("weekly".to_owned()),
        ..JobSettings::default()
    };
    for place in &beside.destinations {
        let Some(name) = location(draft, place)? else { continue };
        if let Some(differs) = beside.at.get(place) {
            let differs = Policy { schedule: Vec::new(), keep: Keep::default(), ..differs.clone() };
            settings.at.insert(name.clone(), differs);
        }
        settings.destinations.push(name);
    }
    if settings.destinations.is_empty() {
        let message = "another machine with Haul has one folder for all backups of this one, and quick backups need a \
                       folder of their own";
        return Err(invalid(QUICK, message, Some("add another kind of location, and choose that")));
    }
    let job = free_name(QUICK, |name| draft.job(name).is_some());
    draft.set_job(&job, &settings);
    Ok(())
}

/// Adds a location for a folder in that of another one, and makes the folder if it is on this machine. Nothing: there are
/// no folders.
fn location(draft: &mut Draft, of: &str) -> Result<Option<String>, Invalid> {
    let known = draft.destination(of);
    let said = |wanted: &str| known.iter().find(|(key, _)| key == wanted).map(|(_, text)| text.as_str());
    let Some(url) = said("url").and_then(below) else { return Ok(None) };
    if let Ok(Address::Local(path)) = Address::parse(&url) {
        let path = draft.directory().join(path);
        if !path.is_dir() {
            let is_on_mount = said(MOUNTED) == Some(kinds::YES);
            make_one(&path, is_on_mount).map_err(|wrong| Invalid { field: Some(QUICK.to_owned()), ..wrong })?;
        }
    }
    let name = free_name(&format!("{of}-{QUICK}"), |name| !draft.destination(name).is_empty());
    draft.copy_destination(of, &name, &url);
    Ok(Some(name))
}

/// The address of the folder in the folder that has this address.
fn below(url: &str) -> Option<String> {
    let folder = url.trim_end_matches('/');
    match url.split_once("://") {
        Some(("haul", _)) => None,
        Some(("gdrive", rest)) if rest.trim_matches('/').is_empty() => Some(format!("gdrive://Haul/{QUICK}")),
        _ => Some(format!("{folder}/{QUICK}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_in_a_location_has_an_address_of_its_own() {
        for (url, folder) in [
            ("/share/nas/everything", Some("/share/nas/everything/quick")),
            ("nas/", Some("nas/quick")),
            ("sftp://me@nas/~/b", Some("sftp://me@nas/~/b/quick")),
            ("s3://bucket", Some("s3://bucket/quick")),
            ("gdrive://", Some("gdrive://Haul/quick")),
            ("gdrive:///My%20home", Some("gdrive:///My%20home/quick")),
            ("haul://nas", None),
        ] {
            assert_eq!(below(url).as_deref(), folder, "{url}");
        }
    }
}
