//! What the page and the API ask of the service.

mod contents;
mod kinds;
mod setup;

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use jiff::{Timestamp, Zoned};
use keeper::{
    service::{Order as Wanting, Service},
    status::{ArchiveStatus, Event, Failure as Reason, RunStatus, Status},
    task::Location as At,
};
use tokio::sync::watch;
use web::backend::{
    Backend, Choices, Configuration, Contents, Differences, Established, Invalid, Location, Order, Outlet, SetUp,
    Wanted,
};

use self::contents::Looking;
use super::{doing::reason, settings::settings, worker::Worker};
use crate::config::{Config, edit::Draft};

/// The service, as the page sees it.
pub(super) struct Page {
    pub(super) service: Arc<Service>,
    pub(super) worker: Arc<Worker>,
    pub(super) changes: watch::Receiver<u64>,
    /// The configuration file, or where it would be.
    pub(super) path: PathBuf,
    /// Who changes the file takes turns.
    pub(super) editing: Mutex<()>,
}

impl Page {
    fn find(&self, id: &str) -> Result<ArchiveStatus, Reason> {
        self.archive(id).ok_or_else(|| Reason {
            message: "This backup is no longer known".to_owned(),
            hint: Some("look at the list of backups".to_owned()),
            passes: false,
        })
    }

    fn edit(&self, change: impl FnOnce(&mut Draft) -> Result<(), crate::failure::Failure>) -> Result<(), Reason> {
        let _turn = self.editing.lock().unwrap_or_else(PoisonError::into_inner);
        let changed = Draft::open(&self.path).and_then(|mut draft| {
            change(&mut draft)?;
            draft.save()
        });
        self.put_into_force(changed.map_err(|failure| reason(&failure))?);
        Ok(())
    }

    fn put_into_force(&self, config: Config) {
        let settings = settings(&config);
        self.worker.configure(config);
        self.service.configure(settings);
    }

    fn want(&self, wanting: Wanting) -> Result<(), Reason> {
        self.service.order(wanting, Timestamp::now())
    }

    /// The copies of an archive, all or at one destination.
    fn copies(&self, archive: &str, destination: Option<&str>) -> Result<Vec<At>, Reason> {
        let copies = self.find(archive)?.copies.into_iter();
        let wanted = copies.filter(|copy| destination.is_none_or(|name| copy.destination == name));
        Ok(wanted.map(|copy| At { destination: copy.destination, name: copy.name }).collect())
    }

    fn each(&self, archive: &str, destination: Option<&str>, want: impl Fn(At) -> Wanting) -> Result<(), Reason> {
        self.copies(archive, destination)?.into_iter().try_for_each(|copy| self.want(want(copy)))
    }
}

impl Backend for Page {
    fn status(&self) -> Status {
        self.service.status(&Zoned::now())
    }

    fn archives(&self) -> Vec<ArchiveStatus> {
        self.service.archives(&Zoned::now())
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

    fn metrics(&self) -> String {
        keeper::metrics::text(&self.status())
    }

    fn configuration(&self) -> Configuration {
        let status = self.status().configuration;
        // Secrets are in files of their own, and the parser refuses them in addresses; `boot`, `before` and `after` are
        // the user's own words.
        let text = std::fs::read_to_string(&self.path).unwrap_or_default();
        Configuration { path: self.path.display().to_string(), text, problem: status.problem }
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
                let copy = self.copies(&archive, None)?.into_iter().next();
                let Some((job, copy)) = found.job.zip(copy) else {
                    return Err(Reason {
                        message: "This backup belongs to no job, so Haul does not know its key".to_owned(),
                        hint: Some("use `haul rehearse` for it".to_owned()),
                        passes: false,
                    });
                };
                self.want(Wanting::Rehearse { job, copy: Some(copy) })
            }
            Order::RehearseNewest { job } => self.want(Wanting::Rehearse { job, copy: None }),
            Order::Pin { archive } => self.each(&archive, None, |copy| Wanting::Pin { copy, pinned: true }),
            Order::Unpin { archive } => self.each(&archive, None, |copy| Wanting::Pin { copy, pinned: false }),
            Order::Note { archive, text } => self.want(Wanting::Note { archive, text }),
            Order::Delete { archive, destination, even_the_only_copy } => {
                let copies = self.copies(&archive, destination.as_deref())?;
                let all = self.find(&archive)?.copies.len();
                if copies.len() == all && !even_the_only_copy {
                    return Err(Reason {
                        message: "No other copy of this backup is left then".to_owned(),
                        hint: Some("say that you want to delete the only copy".to_owned()),
                        passes: false,
                    });
                }
                copies
                    .into_iter()
                    .try_for_each(|copy| self.want(Wanting::Delete { copy, even_only: even_the_only_copy }))
            }
            Order::AgreeToRemovals { destination } => self.want(Wanting::AgreeToRemovals { destination }),
        }
    }

    fn contents(&self, archive: &str, folder: &str) -> Result<Contents, Reason> {
        let (config, archive) = (self.worker.config(), self.find(archive)?);
        Looking { config: &config, archive: &archive, destination: None }.contents(folder)
    }

    fn compare(&self, old: &str, new: &str) -> Result<Differences, Reason> {
        let (config, old, new) = (self.worker.config(), self.find(old)?, self.find(new)?);
        contents::differences(
            &Looking { config: &config, archive: &old, destination: None },
            &Looking { config: &config, archive: &new, destination: None },
        )
    }

    fn send(&self, wanted: &Wanted, to: &mut dyn Outlet) -> Result<(), Reason> {
        let config = self.worker.config();
        match wanted {
            Wanted::Archive { archive, destination } => {
                let archive = self.find(archive)?;
                Looking { config: &config, archive: &archive, destination: destination.as_deref() }.archive(to)
            }
            Wanted::File { archive, path } => {
                let archive = self.find(archive)?;
                Looking { config: &config, archive: &archive, destination: None }.file(path, to)
            }
        }
    }

    fn choices(&self) -> Choices {
        setup::choices(&self.worker.config())
    }

    fn try_location(&self, location: &Location) -> Result<Vec<String>, Invalid> {
        setup::try_location(&self.worker.config(), location)
    }

    fn set_up(&self, wanted: &SetUp) -> Result<Established, Invalid> {
        let _turn = self.editing.lock().unwrap_or_else(PoisonError::into_inner);
        let (established, config) = setup::set_up(&self.path, wanted)?;
        self.put_into_force(config);
        // The first backup is due at once, unless backups are only made when somebody says so.
        if wanted.schedule.trim().is_empty() {
            let _ = self.want(Wanting::BackUp { job: established.job.clone() });
        }
        Ok(established)
    }
}
