//! Changes of jobs and locations from the page. The parser of the configuration file has the last word; here each
//! field is looked at first, so that a mistake is told beside it.

use std::path::Path;

use keeper::{
    schedule::{Hours, Schedule},
    status::Failure as Reason,
};
use store::Cancellation;
use web::backend::{
    AtSettings, Change, Configured, ConfiguredJob, ConfiguredLocation, Encryption, Invalid, JobSettings, What,
};
use zeroize::Zeroizing;

use super::{
    kinds,
    setup::{Written, encrypted, keep_key, set_location, sources},
    typed::{invalid, of},
};
use crate::{
    config::{Config, ZONE_EXAMPLE, edit::Draft, time_zone},
    failure::Failure,
    password,
    serve::doing::reason,
    units::{duration, rate, span},
};

/// What the file says.
pub(super) fn configured(path: &Path) -> Result<Configured, Reason> {
    let draft = Draft::open(path).map_err(|failure| reason(&failure))?;
    let config = draft.config();
    let jobs = config.jobs().iter().map(|job| ConfiguredJob {
        name: job.name.clone(),
        paused: job.paused,
        settings: draft.job(&job.name).unwrap_or_default(),
    });
    let locations = config.destinations().map(|(name, named)| {
        let (kind, fields) = kinds::answers(&draft.destination(name)).unzip();
        let users = config.jobs().iter().filter(|job| job.target(name).is_some());
        ConfiguredLocation {
            name: name.to_owned(),
            address: named.address.to_string(),
            kind: kind.map(str::to_owned),
            fields: fields.unwrap_or_default(),
            jobs: users.map(|job| job.name.clone()).collect(),
        }
    });
    Ok(Configured {
        version: draft.version(),
        jobs: jobs.collect(),
        locations: locations.collect(),
        time_zone: draft.time_zone(),
    })
}

/// Makes the change. Returns a key that was made, and the configuration that is then in force.
pub(super) fn change(path: &Path, change: &Change) -> Result<(Option<Zeroizing<String>>, Config), Invalid> {
    let mut draft = Draft::open(path).map_err(|failure| of(&failure))?;
    if change.version.as_ref().is_some_and(|version| *version != draft.version()) {
        let failure = Failure::usage("the configuration file was changed meanwhile, so nothing was saved");
        return Err(of(&failure.hint("look at what it says now; save again if you still want this")));
    }
    let mut written = Written::default();
    let mut key = None;
    let config = draft.config().clone();
    match &change.what {
        What::Job { name, is_new, settings, encryption } => {
            let known = config.jobs().iter().any(|job| job.name == *name);
            check_name(name, *is_new, known, "job")?;
            let before = draft.job(name).unwrap_or_default();
            let mut settings = JobSettings::clone(settings);
            check(&settings, &before, draft.directory())?;
            if let Some(encryption) = encryption {
                key = encrypted(encryption)?;
                // Earlier archives keep their key, and are checked with it.
                if let Some(old) = before.password_file.filter(|old| !settings.earlier_password_files.contains(old)) {
                    settings.earlier_password_files.insert(0, old);
                }
                settings.password_file =
                    key.as_ref().map(|key| keep_key(&draft, name, key, &mut written)).transpose()?;
            }
            draft.set_job(name, &settings);
        }
        What::RemoveJob { name } => {
            if config.jobs().iter().all(|job| job.name != *name) {
                return Err(of(&Failure::usage(format!("there is no job {name:?}"))));
            }
            draft.remove_job(name);
        }
        What::Location { name, is_new, location } => {
            check_name(name, *is_new, config.destination(name).is_some(), "location")?;
            set_location(&mut draft, &config, name, location, &sources(&config), &mut written)?;
        }
        What::TimeZone { name } => {
            if let Some(name) = name {
                time_zone(name).map_err(|why| invalid("time_zone", why, Some(ZONE_EXAMPLE)))?;
            }
            draft.set_time_zone(name.as_deref());
        }
        What::RemoveLocation { name } => {
            if config.destination(name).is_none() {
                return Err(of(&Failure::usage(format!("there is no location {name:?}"))));
            }
            draft.remove_destination(name).map_err(|failure| of(&failure))?;
        }
    }
    let config = draft.save().map_err(|failure| of(&failure))?;
    written.stay();
    // Shown only if Haul made it.
    let is_made = matches!(&change.what, What::Job { encryption: Some(Encryption::NewKey), .. });
    Ok((key.filter(|_| is_made), config))
}

fn check_name(name: &str, is_new: bool, is_known: bool, what: &str) -> Result<(), Invalid> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    if is_new && (name.is_empty() || name.len() > 60 || !name.chars().all(is_plain)) {
        return Err(invalid("name", "use letters, digits, - and _ for the name", None));
    }
    match (is_new, is_known) {
        (true, true) => Err(invalid("name", format!("there is a {what} of this name already"), None)),
        (false, false) => Err(of(&Failure::usage(format!("there is no {what} {name:?} any more")))),
        _ => Ok(()),
    }
}

/// What can be said of each field by itself. What stays as it is was accepted before.
fn check(settings: &JobSettings, before: &JobSettings, directory: &Path) -> Result<(), Invalid> {
    let wrong = |field: &str, why: String| invalid(field, why, None);
    if settings.source != before.source {
        let source = directory.join(&settings.source);
        if !source.join(".HA_VERSION").is_file() {
            let hint = "it is the one with configuration.yaml and .HA_VERSION; this program must be allowed to read it";
            return Err(invalid("source", format!("{} is not a config directory", source.display()), Some(hint)));
        }
    }
    if let Some(file) = settings.password_file.as_ref().filter(|_| settings.password_file != before.password_file) {
        password::check(&directory.join(file), &Cancellation::default())
            .map_err(|failure| invalid("key", failure.message, failure.hint.as_deref()))?;
    }
    if settings.destinations.is_empty() {
        return Err(invalid("destinations", "choose at least one location", None));
    }
    if let Some(text) = &settings.rehearse {
        Schedule::parse(text).map_err(|why| wrong("rehearse", why))?;
    }
    if let Some(text) = &settings.hook_timeout {
        duration(text).map_err(|why| wrong("hook_timeout", why))?;
    }
    let JobSettings { schedule, keep, verify_every, verify_by, limit, hours, .. } = settings.clone();
    check_policy("", &AtSettings { schedule, keep, verify_every, verify_by, limit, hours })?;
    for (place, differs) in &settings.at {
        if !settings.destinations.contains(place) {
            return Err(invalid("destinations", format!("choose {place:?}, too, or let nothing differ there"), None));
        }
        check_policy(&format!("at.{place}."), differs)?;
    }
    Ok(())
}

/// The same of what may be said of all locations, and of one: `before` stands before its fields' names.
fn check_policy(before: &str, policy: &AtSettings) -> Result<(), Invalid> {
    let wrong = |field: &str, why: String| invalid(&format!("{before}{field}"), why, None);
    for text in &policy.schedule {
        Schedule::parse(text).map_err(|why| wrong("schedule", why))?;
    }
    if let Some(text) = policy.verify_every.as_ref().filter(|text| *text != "never") {
        duration(text).map_err(|why| wrong("verify_every", why))?;
    }
    if policy.verify_by.as_ref().is_some_and(|text| !matches!(text.as_str(), "whole" | "samples")) {
        return Err(wrong("verify_by", "write whole or samples".to_owned()));
    }
    if let Some(text) = &policy.limit {
        rate(text).map_err(|why| wrong("limit", why))?;
    }
    if let Some(text) = &policy.hours {
        Hours::parse(text).map_err(|why| wrong("hours", why))?;
    }
    let keep = &policy.keep;
    if let Some(text) = &keep.within {
        span(text).map_err(|why| wrong("within", why))?;
    }
    let counts = [keep.last, keep.daily, keep.weekly, keep.monthly, keep.yearly];
    if keep.within.is_none() && counts.iter().any(Option::is_some) && counts.iter().all(|count| count.unwrap_or(0) == 0)
    {
        let why = "nothing would be kept; leave all of them empty to keep everything";
        return Err(wrong("last", why.to_owned()));
    }
    Ok(())
}
