//! The configuration, as the service goes by it.

use std::collections::BTreeMap;

use keeper::{settings::Settings, status::ConfigurationStatus};

use crate::config::Config;

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
    Settings { jobs, destinations, configuration: Some(ConfigurationStatus { path, problem: None }), instances }
}
