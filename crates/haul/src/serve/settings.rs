//! The configuration, as the service goes by it.

use std::collections::BTreeMap;

use keeper::{
    job::Job,
    settings::{Scope, Settings},
    status::ConfigurationStatus,
};

use store::{Address, Cancellation};

use super::looking::{Answer, Answers, Question};
use crate::{
    config::{Config, Named},
    failure::{FAILED, Failure},
    notify::Way,
    password,
};

/// What is asked before a configuration comes into force.
pub(super) fn key_questions(config: &Config) -> impl Iterator<Item = Question> {
    config.jobs().iter().filter_map(|job| job.making.password_file.clone()).map(Question::Key)
}

/// What is asked when it does.
pub(super) fn place_questions(config: &Config) -> impl Iterator<Item = Question> {
    let sources = config.jobs().iter().map(|job| Question::Source(job.source.clone()));
    sources.chain(config.destinations().filter_map(|(_, named)| match &named.address {
        Address::Local(path) => Some(Question::Place(path.clone())),
        _ => None,
    }))
}

/// Refuses a configuration with a key that can't be read: each backup would fail, at night, one after the other.
pub(super) fn check_keys(config: &Config, cancel: &Cancellation) -> Result<(), Failure> {
    config.jobs().iter().try_for_each(|job| match &job.making.password_file {
        // It may be on a disk that is mounted later: systemd tries again then.
        Some(path) => password::check(path, cancel).map_err(|failure| of_job(&job.name, failure)),
        None => Ok(()),
    })
}

/// The same of what was asked.
pub(super) fn check_answered_keys(config: &Config, answers: &Answers) -> Result<(), Failure> {
    config.jobs().iter().try_for_each(|job| {
        let Some(path) = &job.making.password_file else { return Ok(()) };
        let wrong = if let Some(Answer::Key(wrong)) = answers.get(&Question::Key(path.clone())) {
            wrong.clone()
        } else {
            let shown = engine::shown(path.as_os_str().as_encoded_bytes());
            Some(format!("can't read the password file {shown}: its file system does not answer"))
        };
        wrong.map_or(Ok(()), |wrong| Err(of_job(&job.name, Failure::new(FAILED, wrong))))
    })
}

fn of_job(job: &str, failure: Failure) -> Failure {
    Failure { code: FAILED, message: format!("[jobs.{job}]: {}", failure.message), ..failure }
}

/// Sources that are not there, or can't be read: a share may come later, so they are only told.
pub(super) fn unread_sources(config: &Config, answers: &Answers) -> Vec<String> {
    let line = |job: &Job| {
        let why = match answers.get(&Question::Source(job.source.clone())) {
            Some(Answer::Source { unread, .. }) => unread.clone()?,
            _ => "its file system does not answer".to_owned(),
        };
        let source = engine::shown(job.source.as_os_str().as_encoded_bytes());
        Some(format!("warning: {}: {source} can't be read: {why}", job.name))
    };
    config.jobs().iter().filter_map(line).collect()
}

/// What the service goes by; `answers` are those to [`place_questions`].
pub(super) fn settings(config: &Config, answers: &Answers) -> Settings {
    let jobs = config.jobs().to_vec();
    let all = || config.destinations().map(|(name, named)| (name.to_owned(), named));
    let destinations = all().map(|(name, named)| (name, named.address.to_string())).collect();
    let instance = |job: &Job| match answers.get(&Question::Source(job.source.clone())) {
        Some(Answer::Source { instance, .. }) => instance.clone(),
        _ => None,
    };
    let instances: BTreeMap<String, String> =
        jobs.iter().filter_map(|job| Some((job.name.clone(), instance(job)?))).collect();
    let real = |job: &Job| match answers.get(&Question::Source(job.source.clone())) {
        Some(Answer::Source { real, .. }) => real.clone(),
        _ => None,
    };
    let sources = jobs.iter().filter_map(|job| Some((job.name.clone(), real(job)?))).collect();
    let path = config.path().map(|path| engine::shown(path.as_os_str().as_encoded_bytes())).unwrap_or_default();
    let targets = || jobs.iter().flat_map(|job| &job.destinations).map(|target| &target.destination);
    let identities = all().map(|(name, named)| (name, named.identity())).collect();
    let options = all().map(|(name, named)| (name, named.said())).collect();
    let places: BTreeMap<String, String> =
        targets().filter_map(|name| Some((name.clone(), place(config.destination(name)?, answers)?))).collect();
    let unanswered = targets().filter(|name| !places.contains_key(*name)).cloned().collect();
    let beside_source = jobs.iter().flat_map(|job| {
        let disk = match answers.get(&Question::Source(job.source.clone())) {
            Some(Answer::Source { disk, .. }) => *disk,
            _ => None,
        };
        let is_beside = move |name: &&String| {
            let there = config.destination(name).and_then(|named| self::disk(named, answers));
            disk.is_some() && disk == there
        };
        let beside = job.destinations.iter().map(|target| &target.destination).filter(is_beside);
        beside.map(|name| (job.name.clone(), name.clone())).collect::<Vec<_>>()
    });
    let beside_source = beside_source.collect();
    // Whoever is called when a backup begins and ends hears nothing else.
    let (pings, channels): (Vec<_>, Vec<_>) =
        config.channels().iter().partition(|channel| matches!(channel.way, Way::Ping(_)));
    Settings {
        jobs,
        destinations,
        configuration: Some(ConfigurationStatus { path, problem: None }),
        instances,
        identities,
        options,
        places,
        unanswered,
        sources,
        beside_source,
        channels: channels.into_iter().map(|channel| channel.wants.clone()).collect(),
        pings: pings.into_iter().map(|channel| channel.wants.name.clone()).collect(),
        only: None,
        scope: Scope::Everything,
    }
}

/// What a directory is on, if it is there. The one below a disk or share that is not mounted now is not meant.
fn disk(named: &Named, answers: &Answers) -> Option<u64> {
    if named.common.must_be_mounted {
        return None;
    }
    let Address::Local(path) = &named.address else { return None };
    match answers.get(&Question::Place(path.clone())) {
        Some(Answer::Place { disk, .. }) => *disk,
        _ => None,
    }
}

/// The directory itself, whatever links lead there; `None`: it does not answer.
fn place(named: &Named, answers: &Answers) -> Option<String> {
    match &named.address {
        Address::Local(path) => match answers.get(&Question::Place(path.clone())) {
            Some(Answer::Place { real, .. }) => Some(Address::Local(real.clone()).plain()),
            _ => None,
        },
        address => Some(format!("{} {}", address.plain(), named.identity())),
    }
}
