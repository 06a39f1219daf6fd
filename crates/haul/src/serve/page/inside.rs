//! What archives hold: Home Assistant, apps and folders with their sizes, read once and kept in memory.

use std::{
    collections::BTreeMap,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use engine::inventory;
use habackup::{archive::Archive, manifest::Manifest, read_at::ReadAt};
use keeper::status::{ArchiveStatus, Failure as Reason};
use store::Cancellation;
use tokio::sync::watch;
use web::backend::{Inside, InsidePart};

use super::contents::Looking;
use crate::{config::Config, failure::Failure, serve::doing::reason, text};

/// Whoever looks at a page waits so long; what comes later appears by itself.
const PATIENCE: Duration = Duration::from_millis(1500);
/// After so long, what failed is tried again.
const AGAIN: Duration = Duration::from_secs(30);
/// So many are read at once.
const AT_ONCE: usize = 4;
/// So many are remembered.
const MOST: usize = 300;

/// What is known of archives, by their ids.
pub(in crate::serve) struct Insides {
    known: Mutex<BTreeMap<String, Known>>,
    ended: Condvar,
    /// Pages that show it are loaded again then.
    changes: watch::Sender<u64>,
}

enum Known {
    Reading,
    Read(Inside),
    Failed(Reason, Instant),
}

impl Insides {
    pub(in crate::serve) fn new(changes: watch::Sender<u64>) -> Arc<Self> {
        Arc::new(Self { known: Mutex::default(), ended: Condvar::new(), changes })
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What an archive holds. Nothing: it is being read, which takes longer than somebody waits.
    pub(super) fn of(self: &Arc<Self>, config: Config, archive: ArchiveStatus) -> Option<Result<Inside, Reason>> {
        let id = archive.id.clone();
        let mut known = self.lock();
        let is_over = |state: &Known| matches!(state, Known::Failed(_, when) if when.elapsed() > AGAIN);
        if known.get(&id).is_none_or(is_over) {
            let is_reading = |state: &&Known| matches!(state, Known::Reading);
            if known.values().filter(is_reading).count() >= AT_ONCE {
                return None;
            }
            while known.len() >= MOST {
                let Some(other) = known.iter().find(|(_, state)| !is_reading(state)).map(|(id, _)| id.clone()) else {
                    break;
                };
                known.remove(&other);
            }
            known.insert(id.clone(), Known::Reading);
            let insides = Arc::clone(self);
            std::thread::spawn(move || insides.read(&config, &archive));
        }
        let until = Instant::now() + PATIENCE;
        loop {
            match known.get(&id) {
                Some(Known::Read(inside)) => return Some(Ok(inside.clone())),
                Some(Known::Failed(why, _)) => return Some(Err(why.clone())),
                Some(Known::Reading) | None => {}
            }
            let left = until.checked_duration_since(Instant::now())?;
            known = self.ended.wait_timeout(known, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn read(&self, config: &Config, archive: &ArchiveStatus) {
        // However it ends, nobody waits for it any longer.
        let looking = Looking { config, archive, destination: None };
        let read = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| looking.inside(&Cancellation::default())));
        let state = match read {
            Ok(Ok(inside)) => Known::Read(inside),
            Ok(Err(failure)) => Known::Failed(reason(&failure), Instant::now()),
            Err(_) => {
                let failure = Failure::usage("an error of Haul's own").hint("report what its log says");
                Known::Failed(reason(&failure), Instant::now())
            }
        };
        self.lock().insert(archive.id.clone(), state);
        self.ended.notify_all();
        self.changes.send_modify(|number| *number += 1);
    }
}

/// What an archive says that it holds, and how much of it that takes.
pub(super) fn inside<S: ReadAt>(file: S, label: &str) -> Result<Inside, Failure> {
    let archive = Archive::open(file)
        .map_err(|error| Failure::new(crate::failure::FAILED, format!("{label} can't be read: {error}")))?;
    let unknown = || Failure::usage(format!("{label} does not say what is in it")).hint("look into it instead");
    let manifest = archive.manifest().ok_or_else(unknown)?;
    let sizes = archive.inner_archives().map(|member| (inventory::bare_name(&member.name).to_owned(), member.size));
    Ok(parts(manifest, &sizes.collect()))
}

fn parts(manifest: &Manifest, sizes: &BTreeMap<String, u64>) -> Inside {
    let size = |base: &str| sizes.get(base).copied();
    let text = |text: &str| Some(text::sanitize(text)).filter(|text| !text.is_empty());
    let home_assistant = manifest.home_assistant_version().map(|version| InsidePart {
        id: String::new(),
        name: "Home Assistant".to_owned(),
        version: text(version),
        size: size("homeassistant"),
    });
    let apps = manifest.addons().into_iter().map(|app| InsidePart {
        id: text::sanitize(app.slug),
        name: text(app.name).unwrap_or_else(|| text::sanitize(app.slug)),
        version: text(app.version),
        size: size(app.slug),
    });
    // Old descriptions list the configuration as a folder.
    let folders = manifest.folders().into_iter().filter(|folder| *folder != "homeassistant").map(|folder| InsidePart {
        id: text::sanitize(folder),
        name: text::sanitize(folder),
        version: None,
        size: size(&folder.replace('/', "_")),
    });
    Inside { home_assistant, apps: apps.collect(), folders: folders.collect() }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    #[test]
    fn what_the_description_does_not_say_is_left_out() {
        let description = br#"{"homeassistant": {"version": "2026.11.0"}, "folders": ["addons/local", "ssl"],
            "addons": [{"slug": "core_ssh", "name": "", "version": "9.1"}, {"name": "No slug"}]}"#;
        let sizes = [("core_ssh".to_owned(), 7), ("addons_local".to_owned(), 9)].into();
        let inside = parts(&Manifest::parse(description).unwrap(), &sizes);
        let told = |part: &InsidePart| (part.name.clone(), part.version.clone(), part.size);
        assert_eq!(inside.home_assistant.as_ref().map(told).unwrap().1.as_deref(), Some("2026.11.0"));
        assert_eq!(
            inside.apps.iter().map(told).collect::<Vec<_>>(),
            [("core_ssh".to_owned(), Some("9.1".to_owned()), Some(7))]
        );
        let folders: Vec<_> = inside.folders.iter().map(told).collect();
        assert_eq!(folders, [("addons/local".to_owned(), None, Some(9)), ("ssl".to_owned(), None, None)]);
    }
}
