//! The configuration, as the service goes by it.

use std::collections::BTreeMap;

use keeper::{
    settings::{Scope, Settings},
    status::ConfigurationStatus,
};

use store::{Address, Cancellation};

use crate::{
    config::{Config, Named},
    failure::{FAILED, Failure},
    notify::Way,
    password,
};

/// Keys of a destination that say where it is; all others say how it is reached.
const WHERE: &[&str] = &["endpoint", "account", "api_url"];

/// Refuses a configuration with a key that can't be read: each backup would fail, at night, one after the other.
pub(super) fn check_keys(config: &Config, cancel: &Cancellation) -> Result<(), Failure> {
    for job in config.jobs() {
        if let Some(path) = &job.making.password_file {
            // It may be on a disk that is mounted later: systemd tries again then.
            password::check(path, cancel).map_err(|failure| Failure {
                code: FAILED,
                message: format!("[jobs.{}]: {}", job.name, failure.message),
                ..failure
            })?;
        }
    }
    Ok(())
}

/// Sources that are not there, or can't be read: a share may come later, so they are only told.
pub(super) fn unread_sources(config: &Config) -> impl Iterator<Item = String> {
    config.jobs().iter().filter_map(|job| {
        let error = std::fs::read_dir(&job.source).err()?;
        let source = engine::shown(job.source.as_os_str().as_encoded_bytes());
        Some(format!("warning: {}: {source} can't be read: {}", job.name, engine::plain_reason(&error)))
    })
}

/// What the service goes by.
pub(crate) fn settings(config: &Config) -> Settings {
    let jobs = config.jobs().to_vec();
    let named = |name: &str| config.destination(name).map(|named| named.address.to_string());
    let destinations = jobs
        .iter()
        .flat_map(|job| &job.destinations)
        .filter_map(|target| Some((target.destination.clone(), named(&target.destination)?)))
        .collect();
    let instances: BTreeMap<String, String> =
        jobs.iter().filter_map(|job| Some((job.name.clone(), engine::instance_id(&job.source)?))).collect();
    let path = config.path().map(|path| engine::shown(path.as_os_str().as_encoded_bytes())).unwrap_or_default();
    let targets = || jobs.iter().flat_map(|job| &job.destinations).map(|target| &target.destination);
    let identities = targets().filter_map(|name| Some((name.clone(), identity(config.destination(name)?)))).collect();
    let places = targets().filter_map(|name| Some((name.clone(), place(config.destination(name)?)))).collect();
    // Whoever is called when a backup begins and ends hears nothing else.
    let (pings, channels): (Vec<_>, Vec<_>) =
        config.channels().iter().partition(|channel| matches!(channel.way, Way::Ping(_)));
    Settings {
        jobs,
        destinations,
        configuration: Some(ConfigurationStatus { path, problem: None }),
        instances,
        identities,
        places,
        channels: channels.into_iter().map(|channel| channel.wants.clone()).collect(),
        pings: pings.into_iter().map(|channel| channel.wants.name.clone()).collect(),
        only: None,
        scope: Scope::Everything,
    }
}

/// What tells it from others with the same address. Which account opens it and how fast it is does not.
fn identity(named: &Named) -> String {
    let says_where = |key: &&str| WHERE.contains(key);
    let said =
        named.options.keys().filter(says_where).filter_map(|key| Some(format!("{key}={}", named.options.get(key)?)));
    said.collect::<Vec<_>>().join(" ")
}

/// The directory itself, whatever links lead there.
fn place(named: &Named) -> String {
    match &named.address {
        Address::Local(path) => {
            let real = path.canonicalize().unwrap_or_else(|_| path.clone());
            real.to_string_lossy().into_owned()
        }
        address => format!("{address} {}", identity(named)),
    }
}
