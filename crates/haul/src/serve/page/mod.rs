//! What the page and the API ask of the service.

mod changes;
mod channels;
mod containers;
mod contents;
mod fresh;
mod inside;
mod insides;
mod kinds;
mod migrate;
mod parts;
mod quick;
mod restore;
mod setup;
mod sign_in;
mod typed;
mod unreached;
mod written;

use std::{path::Path, sync::Arc};

use homeassistant::Secret;
use jiff::{Timestamp, tz::TimeZone};
use keeper::{
    job::Job,
    service::{Order as Wanting, Service},
    status::{ArchiveStatus, CopyStatus, Event, Failure as Reason, Level, RunStatus, Status},
    task::{Location as At, Migrate},
};
use store::Cancellation;
use tokio::sync::watch;
use web::backend::{
    Backend, Change, ChannelSettings, Choices, Configuration, Configured, Contents, Differences, Encryption,
    Established, Filled, FormKind, Inside, Invalid, JobKeys, LogLine, MoveSeen, MoveWanted, NotSent, Order, Outlet,
    OwnBackups, Parts, PartsWanted, RestoreWanted, SetUp, SignIn, Storage, Wanted, What,
};

use self::contents::Looking;
pub(super) use self::{insides::Insides, restore::restored, sign_in::SigningIn, written::forget_unfinished};
use super::{configuration::Configuration as InForce, doing::reason, migrating::Agreed, worker::Worker};
use zeroize::Zeroizing;

use crate::{
    clock,
    config::edit::Draft,
    failure::Failure,
    log_lines,
    password::{self, Keys},
};

/// What to do when no key that is known opens a backup.
const WHICH_KEY: &str = "enter the encryption key that this backup was made with; it is in the emergency kit (Haul's \
                         or Home Assistant's) that you saved then";

/// The service, as the page sees it.
pub(super) struct Page {
    pub(super) service: Arc<Service>,
    pub(super) worker: Arc<Worker>,
    pub(super) changes: watch::Receiver<u64>,
    pub(super) file: Arc<InForce>,
    pub(super) signing: Arc<SigningIn>,
    pub(super) insides: Arc<Insides>,
}

/// Removes what an earlier service may have left in the state directory.
pub(super) fn clean(state: &Path) {
    setup::forget_tried(state);
}

impl Page {
    fn find(&self, id: &str) -> Result<ArchiveStatus, Reason> {
        self.archive(id).ok_or_else(|| Reason {
            message: "This backup is no longer known".to_owned(),
            hint: Some("look at the list of backups".to_owned()),
            passes: false,
        })
    }

    /// With the copies that can be reached, if there are some; with all of them if one was chosen.
    fn find_near(&self, id: &str, destination: Option<&str>) -> Result<ArchiveStatus, Reason> {
        let mut archive = self.find(id)?;
        if destination.is_none() {
            let away = self.away();
            let is_near = |copy: &CopyStatus| !away.iter().any(|away| copy.destination == *away);
            if archive.copies.iter().any(is_near) {
                archive.copies.retain(is_near);
            }
        }
        Ok(archive)
    }

    /// Destinations that can't be reached.
    fn away(&self) -> Vec<String> {
        let places = self.status().destinations.into_iter();
        places.filter(|place| place.away_since.is_some()).map(|place| place.name).collect()
    }

    fn edit(&self, change: impl FnOnce(&mut Draft) -> Result<(), Failure>) -> Result<(), Reason> {
        let changed = |path: &Path| {
            let mut draft = Draft::open(path)?;
            change(&mut draft)?;
            Ok::<_, Failure>(((), draft.save()?))
        };
        self.file.change(changed).map_err(|failure| reason(&failure))
    }

    fn want(&self, wanting: Wanting) -> Result<(), Reason> {
        self.service.order(wanting, Timestamp::now())
    }

    /// The copies of an archive, all or at one destination.
    fn copies(&self, archive: &str, destination: Option<&str>) -> Result<Vec<At>, Reason> {
        let copies = self.find(archive)?.copies.into_iter();
        let wanted = copies.filter(|copy| destination.is_none_or(|name| copy.destination == name));
        Ok(wanted.map(|copy| at(&copy)).collect())
    }

    /// With the key of Home Assistant's own backups, as it is now, if that is wanted.
    fn with_own_key(&self, encryption: &Encryption) -> Result<Encryption, Invalid> {
        if *encryption != Encryption::HomeAssistants {
            return Ok(encryption.clone());
        }
        let (app, _) = self.worker.app().ok_or_else(setup::no_own_key)?;
        let key = app.own_key(&Cancellation::default()).map_err(|failure| typed::of(&failure))?;
        let key = key.filter(|key| !key.expose().trim().is_empty()).ok_or_else(setup::no_own_key)?;
        Ok(Encryption::Key(Zeroizing::new(key.expose().to_owned())))
    }

    fn each(&self, archive: &str, destination: Option<&str>, want: impl Fn(At) -> Wanting) -> Result<(), Reason> {
        let copies = self.copies(archive, destination)?;
        self.all_reached(&copies)?;
        copies.into_iter().try_for_each(|copy| self.want(want(copy)))
    }

    /// Where a copy is out of reach, that waits.
    fn pin(&self, archive: &str, pinned: bool) -> Result<(), Reason> {
        let mut copies = self.copies(archive, None)?.into_iter();
        copies.try_for_each(|copy| self.want(Wanting::Pin { copy, pinned }))
    }

    /// Refuses what can't be done everywhere, before it is begun anywhere.
    fn all_reached(&self, copies: &[At]) -> Result<(), Reason> {
        let away = self.away();
        let Some(copy) = copies.iter().find(|copy| away.contains(&copy.destination)) else { return Ok(()) };
        Err(Reason {
            message: format!("{} can't be reached, so nothing was done anywhere", copy.destination),
            hint: Some("do it again when it is back, or choose a copy elsewhere".to_owned()),
            passes: true,
        })
    }
}

fn at(copy: &CopyStatus) -> At {
    At { destination: copy.destination.to_string(), name: copy.name.to_string() }
}

impl Backend for Page {
    fn status(&self) -> Status {
        self.service.status(&clock::now())
    }

    fn archives(&self) -> Vec<ArchiveStatus> {
        self.service.archives(&clock::now())
    }

    fn archive(&self, id: &str) -> Option<ArchiveStatus> {
        self.archives().into_iter().find(|archive| archive.id == id)
    }

    fn events(&self, before: Option<i64>, most: usize) -> Vec<Event> {
        self.service.events(before, most)
    }

    fn runs(&self, before: Option<i64>, most: usize) -> Vec<RunStatus> {
        self.service.runs(None, before, most)
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.changes.clone()
    }

    fn log(&self, after: u64, most: usize) -> Vec<LogLine> {
        log_lines::kept().newest(after, most)
    }

    fn logged(&self) -> watch::Receiver<u64> {
        log_lines::kept().changes()
    }

    fn zone(&self) -> TimeZone {
        clock::zone()
    }

    fn metrics(&self) -> String {
        self.service.metrics(&clock::now())
    }

    fn configuration(&self) -> Configuration {
        let status = self.status().configuration;
        // Secrets are in files of their own, and the parser refuses them in addresses; `boot`, `before` and `after` are
        // the user's own words.
        let text = std::fs::read_to_string(self.file.path()).unwrap_or_default();
        Configuration {
            path: self.file.path().display().to_string(),
            text,
            problem: status.problem,
            time_zone: clock::name(),
        }
    }

    fn order(&self, order: Order) -> Result<(), Reason> {
        match order {
            Order::BackUp { job } => self.want(Wanting::BackUp { job }),
            Order::Sync => self.want(Wanting::Sync),
            Order::Cancel { run } => self.want(Wanting::Cancel { run }),
            Order::Pause { job } => self.edit(|draft| draft.pause(&job, true)),
            Order::Resume { job } => self.edit(|draft| draft.pause(&job, false)),
            Order::Verify { archive, destination } => self.each(&archive, destination.as_deref(), Wanting::Verify),
            Order::Rehearse { archive } => {
                let found = self.find(&archive)?;
                let away = self.away();
                let is_worse = |copy: &CopyStatus| {
                    let is_bad = copy.verdict.as_ref().is_some_and(|verdict| !verdict.whole);
                    (is_bad, away.iter().any(|away| copy.destination == *away))
                };
                let copy = found.copies.iter().min_by_key(|copy| is_worse(copy));
                let copy = copy.map(at);
                let Some((job, copy)) = found.job.zip(copy) else {
                    return Err(Reason {
                        message: "This backup belongs to no automatic backup, so Haul does not know its key".to_owned(),
                        hint: Some("use `haul rehearse` for it".to_owned()),
                        passes: false,
                    });
                };
                self.want(Wanting::Rehearse { job, copy: Some(copy) })
            }
            Order::RehearseNewest { job } => self.want(Wanting::Rehearse { job, copy: None }),
            Order::Pin { archive } => self.pin(&archive, true),
            Order::Unpin { archive } => self.pin(&archive, false),
            Order::Note { archive, text } => self.want(Wanting::Note { archive, text }),
            Order::Delete { archive, destination, name, even_the_only_copy } => {
                let mut copies = self.copies(&archive, destination.as_deref())?;
                copies.retain(|copy| name.as_ref().is_none_or(|name| copy.name == *name));
                let all = self.find(&archive)?.copies.len();
                if copies.len() == all && !even_the_only_copy {
                    return Err(Reason {
                        message: "No other copy of this backup is left then".to_owned(),
                        hint: Some("say that you want to delete the only copy".to_owned()),
                        passes: false,
                    });
                }
                self.all_reached(&copies)?;
                copies
                    .into_iter()
                    .try_for_each(|copy| self.want(Wanting::Delete { copy, even_only: even_the_only_copy }))
            }
            Order::AgreeToRemovals { destination } => self.want(Wanting::AgreeToRemovals { destination }),
        }
    }

    fn inside(&self, archive: &str) -> Option<Result<Inside, Reason>> {
        match self.find_near(archive, None) {
            Ok(archive) => self.insides.of(self.worker.config(), archive),
            Err(gone) => Some(Err(gone)),
        }
    }

    fn contents(&self, archive: &str, folder: &str, cancel: &Cancellation) -> Result<Contents, Reason> {
        let (config, archive) = (self.worker.config(), self.find(archive)?);
        Looking { config: &config, archive: &archive, destination: None }.contents(folder, cancel)
    }

    fn compare(&self, old: &str, new: &str, cancel: &Cancellation) -> Result<Differences, Reason> {
        let (config, old, new) = (self.worker.config(), self.find(old)?, self.find(new)?);
        contents::differences(
            &Looking { config: &config, archive: &old, destination: None },
            &Looking { config: &config, archive: &new, destination: None },
            cancel,
        )
    }

    fn send(&self, wanted: &Wanted, to: &mut dyn Outlet, cancel: &Cancellation) -> Result<(), NotSent> {
        let config = self.worker.config();
        match wanted {
            Wanted::Archive { archive, destination } => {
                let archive = self.find(archive)?;
                Looking { config: &config, archive: &archive, destination: destination.as_deref() }
                    .archive(to, cancel)
                    .map_err(NotSent::from)
            }
            Wanted::File { archive, path } => {
                let archive = self.find(archive)?;
                Looking { config: &config, archive: &archive, destination: None }.file(path, to, cancel)
            }
        }
    }

    fn restore(&self, wanted: &RestoreWanted, cancel: &Cancellation) -> Result<(), Invalid> {
        let at_all = |failure| Invalid { field: None, failure, offer: None };
        let archive = self.find_near(&wanted.archive, wanted.destination.as_deref()).map_err(at_all)?;
        let keep = |key| self.worker.keys.keep(key);
        let plan = restore::plan(&self.worker.config(), &archive, wanted, keep, cancel)?;
        let key = plan.key;
        self.want(Wanting::Restore(plan)).map_err(|failure| {
            key.map(|key| self.worker.keys.take(key));
            at_all(failure)
        })
    }

    fn parts(&self, archive: &str, destination: Option<&str>, cancel: &Cancellation) -> Result<Parts, Reason> {
        let archive = self.find_near(archive, destination)?;
        let at = parts::At { config: &self.worker.config(), app: self.worker.app(), archive: &archive, destination };
        at.parts(cancel).map_err(|failure| reason(&failure))
    }

    fn restore_parts(&self, wanted: &PartsWanted, cancel: &Cancellation) -> Result<(), Invalid> {
        let at_all = |failure| Invalid { field: None, failure, offer: None };
        let destination = wanted.destination.as_deref();
        let archive = self.find_near(&wanted.archive, destination).map_err(at_all)?;
        let at = parts::At { config: &self.worker.config(), app: self.worker.app(), archive: &archive, destination };
        let plan = at.plan(wanted, |ordered| self.worker.parts.keep(ordered), cancel)?;
        let key = plan.key;
        self.want(Wanting::RestoreParts(plan)).map_err(|failure| {
            self.worker.parts.take(key);
            at_all(failure)
        })
    }

    fn look_before_move(&self, wanted: &MoveWanted, cancel: &Cancellation) -> Result<MoveSeen, Invalid> {
        migrate::look(&self.worker.config(), wanted, cancel).map(|(_, seen)| seen)
    }

    fn migrate(&self, wanted: &MoveWanted, agreed: Option<&MoveSeen>, cancel: &Cancellation) -> Result<(), Invalid> {
        let (typed, seen) = migrate::look(&self.worker.config(), wanted, cancel)?;
        if let Some(agreed) = agreed {
            migrate::is_as_agreed(&agreed.to, &seen.to)?;
        }
        let (job, to) = (wanted.job.clone(), seen.to.address.clone());
        let typed = self.worker.moves.keep(Agreed { typed, to: seen.to });
        self.want(Wanting::Migrate(Migrate { job, to, typed })).map_err(|failure| {
            self.worker.moves.take(typed);
            Invalid { field: None, failure, offer: None }
        })
    }

    fn choices(&self) -> Choices {
        setup::choices(&self.worker.config())
    }

    fn own_backups(&self, cancel: &Cancellation) -> Option<Result<OwnBackups, Reason>> {
        let (app, _) = self.worker.app().filter(|_| self.worker.config().jobs().is_empty())?;
        Some(app.own_backups(cancel).map_err(|failure| reason(&failure)))
    }

    fn try_location(&self, location: &Filled, cancel: &Cancellation) -> Result<Vec<String>, Vec<Invalid>> {
        setup::try_location(&self.worker.config(), location, cancel)
    }

    fn sign_in(&self, location: &Filled) -> Result<SignIn, Invalid> {
        self.signing.begin(&self.worker.config(), location)
    }

    fn signing_in(&self) -> Option<SignIn> {
        self.signing.state()
    }

    fn end_sign_in(&self) {
        self.signing.end();
    }

    fn mistakes_of_set_up(&self, wanted: &SetUp) -> Vec<Invalid> {
        setup::mistakes(&self.worker.config(), wanted)
    }

    fn set_up(&self, wanted: &SetUp) -> Result<Established, Vec<Invalid>> {
        let wrong = self.mistakes_of_set_up(wanted);
        if !wrong.is_empty() {
            return Err(wrong);
        }
        setup::prepare(&self.worker.config(), &wanted.location)?;
        let is_home_assistants = wanted.encryption == Encryption::HomeAssistants;
        let wanted = &SetUp { encryption: self.with_own_key(&wanted.encryption)?, ..wanted.clone() };
        let established = self.file.change(|path| {
            let (established, config) = setup::set_up(path, wanted)?;
            sign_in::keep_or_say(&config, &wanted.location);
            Ok::<_, Vec<Invalid>>((established, config))
        })?;
        let established = Established { is_home_assistants, ..established };
        self.signing.forget();
        // The first backup is due at once, unless backups are only made when somebody says so.
        if wanted.schedule.trim().is_empty() {
            let _ = self.want(Wanting::BackUp { job: established.job.clone() });
        }
        Ok(established)
    }

    fn configured(&self) -> Result<Configured, Reason> {
        changes::configured(self.file.path())
    }

    fn storages(&self, cancel: &Cancellation) -> Result<Vec<Storage>, Reason> {
        let Some((app, _)) = self.worker.app() else { return Ok(Vec::new()) };
        app.storages(cancel).map_err(|failure| reason(&failure))
    }

    fn keys(&self, to: &str) -> Result<Vec<JobKeys>, Reason> {
        let config = self.worker.config();
        let exposed = |secret: Secret| Zeroizing::new(secret.expose().to_owned());
        let keys = |job: &Job| {
            let Keys { now, earlier, unread } = password::of_job(&job.making, &Cancellation::default());
            JobKeys {
                job: job.name.clone(),
                key: now.map(exposed),
                earlier: earlier.into_iter().map(exposed).collect(),
                unread: unread.into_iter().map(|failure| failure.message).collect(),
            }
        };
        let all = config.jobs().iter().map(keys).collect();
        let message = format!("the emergency kit with the encryption keys was downloaded {to}");
        self.service.happened(Level::Ok, "emergency-kit", &message, Timestamp::now());
        Ok(all)
    }

    fn mistakes(&self, change: &Change) -> Vec<Invalid> {
        let changed = match &change.what {
            What::Location { name, is_new: false, .. } | What::RemoveLocation { name } => Some(name),
            _ => None,
        };
        let is_read = |name: &&String| self.worker.app().is_some_and(|(_, reached)| reached.is_held(name));
        if let Some(name) = changed.filter(is_read) {
            return vec![changes::is_read(name)];
        }
        match Draft::open(self.file.path()) {
            Ok(draft) => changes::mistakes(&draft, change),
            Err(failure) => typed::of(&failure).into(),
        }
    }

    fn channel_kinds(&self) -> Vec<FormKind> {
        channels::kinds()
    }

    fn broker_kind(&self) -> FormKind {
        channels::broker_kind()
    }

    fn try_channel(&self, channel: &ChannelSettings, cancel: &Cancellation) -> Result<Vec<String>, Vec<Invalid>> {
        channels::try_out(self.file.path(), channel, cancel)
    }

    fn try_broker(&self, broker: &Filled, cancel: &Cancellation) -> Result<Vec<String>, Vec<Invalid>> {
        channels::try_broker(self.file.path(), broker, cancel)
    }

    fn change(&self, change: &Change) -> Result<Option<Zeroizing<String>>, Vec<Invalid>> {
        let wrong = self.mistakes(change);
        if !wrong.is_empty() {
            return Err(wrong);
        }
        if let What::Location { location, .. } = &change.what {
            setup::prepare(&self.worker.config(), location)?;
        }
        let mut change = change.clone();
        if let What::Job { encryption: Some(encryption), .. } = &mut change.what {
            *encryption = self.with_own_key(encryption)?;
        }
        let key = self.file.change(|path| {
            let (key, config) = changes::change(path, &change)?;
            if let What::Location { location, .. } = &change.what {
                sign_in::keep_or_say(&config, location);
            }
            Ok::<_, Vec<Invalid>>((key, config))
        })?;
        if matches!(change.what, What::Location { .. }) {
            self.signing.forget();
        }
        Ok(key)
    }
}
