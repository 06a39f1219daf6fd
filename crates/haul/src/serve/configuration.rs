//! The configuration file while the service runs, and the one way in which what it says comes into force: whether
//! somebody edited the file or changed it on the page.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, OnceLock, PoisonError, TryLockError},
};

use jiff::{SignedDuration, Timestamp};
use keeper::{service::Service, status::ConfigurationStatus};
use tokio::sync::watch;

use super::{
    looking::Looking,
    notifying::Notifying,
    settings::{check_answered_keys, key_questions, place_questions, settings, unread_sources},
    worker::Worker,
};
use crate::{
    app::Sharing,
    clock,
    config::{Config, Mqtt, good},
    failure::{FAILED, Failure},
    output,
};

/// A file in which jobs or destinations are missing counts when it stays like that for so long: editors and scripts
/// write in steps.
const SETTLED: SignedDuration = SignedDuration::from_secs(2);

/// What a configuration is put into force for.
pub(super) struct Configuration {
    pub(super) service: Arc<Service>,
    pub(super) worker: Arc<Worker>,
    pub(super) notifying: Notifying,
    /// The broker that the configuration in force names.
    pub(super) mqtt: watch::Sender<Option<Mqtt>>,
    pub(super) looking: Looking,
    /// The file, or where it would be; nothing: there is none to write.
    pub(super) path: Option<PathBuf>,
    /// Who reads or changes it takes turns.
    pub(super) read: Mutex<Read>,
    /// In an app of Home Assistant: the folders of its destinations.
    pub(super) sharing: OnceLock<Sharing>,
    /// And the broker that counts where the file names none.
    pub(super) broker: Mutex<Option<Mqtt>>,
}

/// The file as it was read last.
#[derive(Default)]
pub(super) struct Read {
    pub(super) text: Option<String>,
    /// What it says since when, while it may be half written.
    pub(super) unsettled: Option<(Option<String>, Timestamp)>,
}

impl Configuration {
    /// The file, or where it would be.
    pub(super) fn path(&self) -> &Path {
        self.path.as_deref().unwrap_or(Path::new(""))
    }

    /// Reads the file again if it has changed. One that is wrong changes nothing. Returns when to look again whether it
    /// is complete.
    pub(super) fn reload(&self, now: Timestamp) -> Option<Timestamp> {
        let path = self.path.as_deref()?;
        let mut read = match self.read.try_lock() {
            Ok(read) => read,
            Err(TryLockError::Poisoned(read)) => read.into_inner(),
            // Whoever changes it may wait for a disk, and rings when that is done.
            Err(TryLockError::WouldBlock) => return None,
        };
        let found = Config::read(path);
        let text = found.as_ref().ok();
        if text == read.text.as_ref() && !self.looking.was_late() {
            read.unsettled = None;
            return None;
        }
        let text = text.cloned();
        let loaded = found.and_then(|text| loaded(path, text));
        // What settled once is only looked at again because of what was answered late.
        let is_half = text != read.text
            && match &loaded {
                Ok(new) => lacks(new, &self.worker.config()),
                Err(_) => text.as_deref().is_none_or(|text| text.trim().is_empty()),
            };
        if is_half {
            let since = read.unsettled.as_ref().filter(|(before, _)| *before == text).map(|(_, since)| *since);
            // A clock that was put back begins anew.
            let since = since.filter(|since| *since <= now).unwrap_or(now);
            if now.duration_since(since) < SETTLED {
                read.unsettled = Some((text, since));
                return Some(since + SETTLED);
            }
        }
        (read.text, read.unsettled) = (text, None);
        let loaded = loaded.and_then(|config| {
            let answers = self.looking.ask(key_questions(&config));
            check_answered_keys(&config, &answers).map(|()| config)
        });
        match loaded {
            Ok(config) => self.put_into_force(config, "the configuration was read again"),
            Err(failure) => {
                let path = engine::shown(path.as_os_str().as_encoded_bytes());
                self.service.configuration_problem(ConfigurationStatus { path, problem: Some(said(failure)) });
            }
        }
        None
    }

    /// Changes the file, and puts into force what it says then.
    pub(super) fn change<T, E>(&self, change: impl FnOnce(&Path) -> Result<(T, Config), E>) -> Result<T, E> {
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        let changed = change(self.path()).map(|(made, config)| {
            *read = Read { text: config.text().map(str::to_owned), unsettled: None };
            self.put_into_force(config, "the configuration was changed on the page or by the API");
            made
        });
        drop(read);
        // What somebody else wrote meanwhile was not looked at.
        self.service.show_anew();
        changed
    }

    /// From now on a configuration counts for these folders too.
    pub(super) fn share(&self, sharing: Sharing) {
        let _ = self.sharing.set(sharing);
    }

    /// This broker counts where the file names none; nothing: there is none any more.
    pub(super) fn offer(&self, broker: Option<Mqtt>) {
        *self.broker.lock().unwrap_or_else(PoisonError::into_inner) = broker;
        self.call_broker();
    }

    /// Gives up what is not complete in the folders.
    pub(super) fn end_sharing(&self) {
        if let Some(sharing) = self.sharing.get() {
            sharing.stop();
        }
    }

    fn call_broker(&self) {
        // Whoever else calls one waits until this one is called.
        let offered = self.broker.lock().unwrap_or_else(PoisonError::into_inner);
        let mqtt = self.worker.config().mqtt().cloned().or_else(|| offered.clone());
        self.mqtt.send_if_modified(|known| std::mem::replace(known, mqtt.clone()) != mqtt);
    }

    fn put_into_force(&self, config: Config, why: &str) {
        let answers = self.looking.ask(place_questions(&config));
        let (settings, unread) = (settings(&config, &answers), unread_sources(&config, &answers));
        let before = clock::name();
        clock::set(config.time_zone().cloned());
        let zone = clock::name();
        if let Some(sharing) = self.sharing.get() {
            good::remember(&config);
            sharing.configure(config.clone());
        }
        self.worker.configure(config);
        // After that: whoever offers a broker meanwhile goes by the new configuration too.
        self.call_broker();
        self.service.configure(settings);
        self.notifying.try_again();
        output::log(why);
        if zone != before {
            output::log(&format!("the time zone is {zone}, it was {before}: schedules and all times are meant in it"));
        }
        for line in &unread {
            output::log(line);
        }
    }
}

/// What is wrong with the file, and what to do about it.
fn said(failure: Failure) -> String {
    match failure.hint {
        Some(hint) => format!("{}; {hint}", failure.message),
        None => failure.message,
    }
}

/// What the file says. An empty one says nothing: whoever wants no jobs says so by what else is in it.
fn loaded(path: &Path, text: String) -> Result<Config, Failure> {
    if text.trim().is_empty() {
        let shown = engine::shown(path.as_os_str().as_encoded_bytes());
        return Err(Failure::new(FAILED, format!("the configuration file {shown} is empty; what was in force stays")));
    }
    Config::of(path, text)
}

/// Whether a job or a destination is gone.
fn lacks(new: &Config, old: &Config) -> bool {
    let has_job = |name: &str| new.jobs().iter().any(|job| job.name == name);
    old.jobs().iter().any(|job| {
        !has_job(&job.name) || job.destinations.iter().any(|target| new.destination(&target.destination).is_none())
    })
}
