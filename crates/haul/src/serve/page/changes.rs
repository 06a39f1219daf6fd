//! Changes of jobs and locations from the page. The parser of the configuration file has the last word; here each
//! field is looked at first, so that a mistake is told beside it.

use std::path::Path;

use keeper::{
    job::Job,
    schedule::{Hours, Schedule},
    status::Failure as Reason,
};
use store::{Address, Cancellation};
use web::backend::{
    Change, Configured, ConfiguredJob, ConfiguredLocation, Encryption, Invalid, JobSettings, Policy, What,
};
use zeroize::Zeroizing;

use super::{
    channels, kinds, quick,
    setup::{
        ELSEWHERE, destination, encrypted, grows, in_config_directory, in_every_backup, keep_key, set_location, sources,
    },
    typed::{invalid, of},
    written::Written,
};
use crate::{
    config::{Config, Named, ZONE_EXAMPLE, edit::Draft, time_zone},
    destination::Destination,
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
    let channels = config.channels().iter().map(|channel| channels::configured(&draft, &channel.wants.name));
    Ok(Configured {
        version: draft.version(),
        jobs: jobs.collect(),
        locations: locations.collect(),
        time_zone: draft.time_zone(),
        channels: channels.collect(),
        mqtt: config.mqtt().map(|_| channels::broker(&draft)),
    })
}

/// Everything that is wrong with a change, as far as nobody has to be asked.
pub(super) fn mistakes(draft: &Draft, change: &Change) -> Vec<Invalid> {
    if change.version.as_ref().is_some_and(|version| *version != draft.version()) {
        let failure = Failure::usage("the configuration file was changed meanwhile, so nothing was saved");
        return of(&failure.hint("look at what it says now; save again if you still want this")).into();
    }
    let config = draft.config();
    let has_job = |name: &str| config.jobs().iter().any(|job| job.name == name);
    let has_channel = |name: &str| config.channels().iter().any(|channel| channel.wants.name == name);
    let mut wrong = Vec::new();
    match &change.what {
        What::Job { name, is_new, settings, encryption } => {
            wrong.extend(check_name(name, *is_new, has_job(name), "automatic backup").err());
            wrong.extend(check(settings, &draft.job(name).unwrap_or_default(), draft.directory()));
            // That one is asked for when all else is right.
            let encryption = encryption.as_ref().filter(|encryption| **encryption != Encryption::HomeAssistants);
            wrong.extend(encryption.and_then(|encryption| encrypted(encryption).err()));
            wrong.extend(shared(draft, name, settings));
            let at = |name: &String| config.destination(name).and_then(Named::in_every_backup);
            if let Some(folder) = settings.destinations.iter().find_map(at).filter(|_| settings.everything) {
                wrong.push(invalid("destinations", in_every_backup(folder), Some(ELSEWHERE)));
            }
        }
        What::QuickJob { beside, schedule } => {
            wrong.extend(gone(draft.job(beside).is_some_and(|job| job.everything), "backup of everything", beside));
            wrong.extend(quick::mistake(schedule));
        }
        What::Location { name, is_new, location } => {
            wrong.extend(check_name(name, *is_new, config.destination(name).is_some(), "location").err());
            let is_of = |job: &Job| job.destinations.iter().any(|target| target.destination == *name);
            if config.jobs().iter().any(|job| job.making.everything && is_of(job)) {
                wrong.extend(grows(config, name, location, &sources(config)));
            }
            match destination(config, location) {
                Err(all) => wrong.extend(all),
                // As it is written: file systems may not answer.
                Ok((Destination { address: Address::Local(path), .. }, _held))
                    if *is_new && config.jobs().iter().any(|job| path.starts_with(&job.source)) =>
                {
                    wrong.push(in_config_directory());
                }
                Ok(_) => {}
            }
        }
        What::Channel { name, is_new, settings } => {
            wrong.extend(check_name(name, *is_new, has_channel(name), "channel").err());
            wrong.extend(channels::mistakes(draft, settings));
        }
        What::Broker { broker } => wrong.extend(channels::broker_mistakes(draft, broker)),
        What::TimeZone { name } => {
            let known = name.as_ref().map(|name| time_zone(name));
            wrong.extend(known.and_then(Result::err).map(|why| invalid("time_zone", why, Some(ZONE_EXAMPLE))));
        }
        What::RemoveJob { name } => wrong.extend(gone(has_job(name), "automatic backup", name)),
        What::RemoveLocation { name } => wrong.extend(gone(config.destination(name).is_some(), "location", name)),
        What::RemoveChannel { name } if channels::is_only_built_in(draft, name) => {
            wrong.push(of(
                &Failure::usage("Home Assistant is told without being asked for").hint("have it send nothing")
            ));
        }
        What::RemoveChannel { name } => wrong.extend(gone(has_channel(name), "channel", name)),
        What::RemoveBroker if config.mqtt().is_none() => wrong.push(of(&Failure::usage("there is no MQTT broker"))),
        What::RemoveBroker => {}
    }
    wrong
}

/// Supervisor has emptied a folder by now, perhaps, and reads from there what belongs into it.
pub(super) fn is_read(location: &str) -> Invalid {
    let message = format!("Supervisor is restoring a backup from the location {location}, so it can't be changed");
    of(&Failure::usage(message).hint("wait until the restore has ended, then try again"))
}

fn gone(is_there: bool, what: &str, name: &str) -> Option<Invalid> {
    (!is_there).then(|| of(&Failure::usage(format!("there is no {what} {name:?}"))))
}

/// Makes the change. Returns a key that was made, and the configuration that is then in force.
pub(super) fn change(path: &Path, change: &Change) -> Result<(Option<Zeroizing<String>>, Config), Vec<Invalid>> {
    let mut draft = Draft::open(path).map_err(|failure| of(&failure))?;
    let wrong = mistakes(&draft, change);
    if !wrong.is_empty() {
        return Err(wrong);
    }
    let mut written = Written::default();
    let mut key = None;
    let config = draft.config().clone();
    match &change.what {
        What::Job { name, settings, encryption, .. } => {
            let before = draft.job(name).unwrap_or_default();
            let mut settings = JobSettings::clone(settings);
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
        What::QuickJob { beside, schedule } => {
            let beside = draft.job(beside).unwrap_or_default();
            quick::add(&mut draft, &beside, schedule)?;
        }
        What::RemoveJob { name } => draft.remove_job(name),
        What::Location { name, location, .. } => {
            set_location(&mut draft, &config, name, location, &sources(&config), &mut written)?;
        }
        What::TimeZone { name } => draft.set_time_zone(name.as_deref()),
        What::RemoveLocation { name } => {
            for (_, path) in draft.destination(name).iter().filter(|(key, _)| key.ends_with("_file")) {
                written.drop_secret(&draft, name, path);
            }
            draft.remove_destination(name).map_err(|failure| of(&failure))?;
        }
        What::Channel { name, settings, .. } => channels::set(&mut draft, name, settings, &mut written)?,
        What::RemoveChannel { name } => channels::remove(&mut draft, name, &mut written),
        What::Broker { broker } => channels::set_broker(&mut draft, broker, &mut written)?,
        What::RemoveBroker => channels::remove_broker(&mut draft, &mut written),
    }
    let config = draft.save().map_err(|failure| of(&failure))?;
    written.stay(&config);
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
        (true, true) => Err(invalid("name", format!("this name is taken by another {what}"), None)),
        (false, false) => Err(of(&Failure::usage(format!("there is no {what} {name:?} any more")))),
        _ => Ok(()),
    }
}

/// Whether another job of the same Home Assistant has its backups at one of the locations.
fn shared(draft: &Draft, name: &str, settings: &JobSettings) -> Option<Invalid> {
    let (config, source) = (draft.config(), draft.directory().join(&settings.source));
    let is_used = |job: &Job, place: &Named| {
        job.destinations.iter().filter_map(|used| config.destination(&used.destination)).any(|at| at.is_plainly(place))
    };
    config.jobs().iter().filter(|job| job.name != name && job.source == source).find_map(|job| {
        let places = settings.destinations.iter();
        let place = places.into_iter().find(|place| config.destination(place).is_some_and(|at| is_used(job, at)))?;
        let message = format!(
            "{place} has the backups of {:?}, which are of the same Home Assistant, and each would remove what the \
             other keeps",
            job.name
        );
        let hint = "add a location with a folder of its own, and choose that";
        Some(invalid("destinations", message, Some(hint)))
    })
}

/// What can be said of each field by itself. What stays as it is was accepted before.
fn check(settings: &JobSettings, before: &JobSettings, directory: &Path) -> Vec<Invalid> {
    let mut wrong = Vec::new();
    let source = directory.join(&settings.source);
    if settings.source != before.source && !source.join(".HA_VERSION").is_file() {
        let hint = "it is the one with configuration.yaml and .HA_VERSION; this program must be allowed to read it";
        wrong.push(invalid("source", format!("{} is not a config directory", source.display()), Some(hint)));
    }
    if let Some(file) = settings.password_file.as_ref().filter(|_| settings.password_file != before.password_file) {
        let checked = password::check(&directory.join(file), &Cancellation::default());
        wrong.extend(checked.err().map(|failure| invalid("key", failure.message, failure.hint.as_deref())));
    }
    if settings.destinations.is_empty() {
        wrong.push(invalid("destinations", "choose at least one location", None));
    }
    let mut says = |field: &str, said: Result<(), String>| {
        wrong.extend(said.err().map(|why| invalid(field, why, None)));
    };
    if let Some(text) = &settings.rehearse {
        says("rehearse", Schedule::parse(text).map(drop));
    }
    if let Some(text) = &settings.hook_timeout {
        says("hook_timeout", duration(text).map(drop));
    }
    wrong.extend(check_policy("", &settings.policy));
    for (place, differs) in &settings.at {
        if !settings.destinations.contains(place) {
            wrong.push(invalid("destinations", format!("choose {place:?}, too, or let nothing differ there"), None));
        }
        wrong.extend(check_policy(&format!("at.{place}."), differs));
    }
    wrong
}

/// The same of what may be said of all locations, and of one: `before` stands before its fields' names.
fn check_policy(before: &str, policy: &Policy) -> Vec<Invalid> {
    let mut wrong = Vec::new();
    let mut says = |field: &str, said: Result<(), String>| {
        wrong.extend(said.err().map(|why| invalid(&format!("{before}{field}"), why, None)));
    };
    let schedules = policy.schedule.iter().map(|text| Schedule::parse(text).map(drop));
    says("schedule", schedules.collect());
    if let Some(text) = policy.verify_every.as_ref().filter(|text| *text != "never") {
        says("verify_every", duration(text).map(drop));
    }
    if policy.verify_by.as_ref().is_some_and(|text| !matches!(text.as_str(), "whole" | "samples")) {
        says("verify_by", Err("write whole or samples".to_owned()));
    }
    if let Some(text) = &policy.limit {
        says("limit", rate(text).map(drop));
    }
    if let Some(text) = &policy.hours {
        says("hours", Hours::parse(text).map(drop));
    }
    let keep = &policy.keep;
    if let Some(text) = &keep.within {
        says("within", span(text).map(drop));
    }
    let counts = [keep.last, keep.daily, keep.weekly, keep.monthly, keep.yearly];
    if keep.within.is_none() && counts.iter().any(Option::is_some) && counts.iter().all(|count| count.unwrap_or(0) == 0)
    {
        says("last", Err("nothing would be kept; leave all of them empty to keep everything".to_owned()));
    }
    wrong
}
