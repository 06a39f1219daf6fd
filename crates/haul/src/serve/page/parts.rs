//! Whether Supervisor can restore parts of a backup on this machine: what speaks against it is said beside the field.

use std::{collections::BTreeMap, os::unix::fs::MetadataExt, path::Path, sync::Arc};

use habackup::manifest;
use jiff::Timestamp;
use keeper::{
    job::Job,
    status::{ArchiveStatus, CopyStatus},
    task::{Location, RestoreParts},
};
use store::{Address, Cancellation};
use supervisor::SavedApp;
use web::backend::{AppPart, FolderPart, History, HomeAssistantPart, Invalid, Parts, PartsWanted};

use super::contents::Looking;
use crate::{
    app::{self, App, Ordered, Reached, Restorable},
    config::Config,
    failure::{FAILED, Failure},
    password,
    serve::doing::reason,
    text,
};

/// Apps that are built on the machine.
const LOCAL_APPS: &str = "addons/local";

fn invalid(field: Option<&str>, failure: &Failure) -> Invalid {
    Invalid { field: field.map(str::to_owned), failure: reason(failure), offer: None }
}

/// An archive, as far as it matters where its copies are.
pub(super) struct At<'a> {
    pub(super) config: &'a Config,
    pub(super) app: Option<&'a (Arc<App>, Reached)>,
    pub(super) archive: &'a ArchiveStatus,
    /// Only from there; nothing: from the best location that Supervisor reaches.
    pub(super) destination: Option<&'a str>,
}

/// A copy that Supervisor reaches.
struct Found<'a> {
    app: &'a Arc<App>,
    copy: &'a CopyStatus,
    slug: &'a str,
    /// By this network storage.
    storage: String,
}

impl Found<'_> {
    fn restorable(&self, at: &At<'_>, cancel: &Cancellation) -> Result<Restorable, Failure> {
        let copy = app::Copy {
            slug: self.slug,
            name: &self.copy.name,
            size: self.copy.size,
            protected: at.archive.item.protected,
            storage: &self.storage,
        };
        self.app.restorable(&copy, cancel)
    }
}

impl<'a> At<'a> {
    fn looking(&self, found: &'a Found<'_>) -> Looking<'a> {
        Looking { config: self.config, archive: self.archive, destination: Some(&found.copy.destination) }
    }

    /// The copies that Supervisor reaches, each with its network storage.
    fn mounted(&self) -> impl Iterator<Item = (&'a CopyStatus, String)> + use<'a> {
        let reached = self.app.map(|(_, reached)| reached);
        let with_storage = move |copy: &'a CopyStatus| Some((copy, reached?.mount_of(&copy.destination)?));
        self.archive.copies.iter().filter_map(with_storage)
    }

    /// The best copy that Supervisor reaches.
    fn found(&self) -> Result<Found<'a>, Failure> {
        let (app, _) = self.app.ok_or_else(app::no_app)?;
        let slug = self.archive.item.slug.as_deref().ok_or_else(|| {
            Failure::usage("this backup has no id, so Supervisor can't have it").hint("look at it with `haul inspect`")
        })?;
        let wanted = |copy: &&CopyStatus| self.destination.is_none_or(|name| copy.destination == *name);
        let is_damaged = |copy: &CopyStatus| copy.verdict.as_ref().is_some_and(|verdict| verdict.damaged);
        let copies: Vec<&'a CopyStatus> = self.archive.copies.iter().filter(wanted).collect();
        let best = self
            .mounted()
            .filter(|(copy, _)| wanted(copy))
            .min_by_key(|found: &(&CopyStatus, String)| is_damaged(found.0));
        if let Some((copy, storage)) = best {
            return Ok(Found { app, copy, slug, storage });
        }
        let names: Vec<&str> = copies.iter().map(|copy| &*copy.destination).collect();
        if names.is_empty() {
            return Err(Failure::usage("no location has this backup").hint("look at the list of backups"));
        }
        Err(Failure::new(FAILED, format!("Supervisor does not reach {} as a network storage", names.join(" or "))).hint(
            "the log says why, if it is to be reached; it is tried again every few seconds. Or download this backup, \
             and upload it in Home Assistant under Settings > System > Backups",
        ))
    }

    /// What of it can be restored.
    pub(super) fn parts(&self, cancel: &Cancellation) -> Result<Parts, Failure> {
        let found = self.found()?;
        let restorable = found.restorable(self, cancel)?;
        let needs_key = match self.looking(&found).opens(None, &[], cancel) {
            Ok(_) => false,
            Err((true, _)) => true,
            Err((false, failure)) => return Err(failure),
        };
        Ok(self.shown(&found.copy.destination, &restorable, needs_key))
    }

    fn shown(&self, destination: &str, restorable: &Restorable, needs_key: bool) -> Parts {
        let Restorable { details, own } = restorable;
        let home_assistant = details.homeassistant.as_ref().map(|version| HomeAssistantPart {
            version: version.clone(),
            history: match details.homeassistant_exclude_database {
                Some(true) => History::Kept,
                _ if self.archive.item.history => History::Restored,
                _ => History::Removed,
            },
            excluded: details.extra.as_ref().and_then(manifest::excluded).map(text::sanitize),
        });
        let folders = details.folders.iter().map(|name| FolderPart {
            name: name.clone(),
            why_not: self.holds_a_location(Path::new("/").join(name).as_path(), destination),
            note: (name == LOCAL_APPS)
                .then(|| "Does not bring the apps back on Supervisor 2026.06 or later; reinstall them.".to_owned()),
        });
        Parts {
            destination: destination.to_owned(),
            home_assistant,
            apps: details.apps.iter().filter(|app| !is_haul(&app.slug, own)).map(shown).collect(),
            folders: folders.collect(),
            reached: self.mounted().map(|(copy, _)| copy.destination.to_string()).collect(),
            holds_haul: details.apps.iter().any(|app| is_haul(&app.slug, own)),
            needs_key,
            is_strange: self.is_strange(destination),
        }
    }

    /// Not encrypted where automatic backups are: nothing shows who made it.
    fn is_strange(&self, destination: &str) -> bool {
        let is_encrypted = |job: &Job| job.target(destination).is_some() && job.making.password_file.is_some();
        !self.archive.item.protected && self.config.jobs().iter().any(is_encrypted)
    }

    /// Supervisor takes network storage in a folder off, empties the folder, and then reads what belongs into it.
    fn holds_a_location(&self, folder: &Path, read: &str) -> Option<String> {
        let locations = self.config.destinations().filter_map(|(name, named)| match &named.address {
            Address::Local(path) => Some((name, &**path)),
            _ => None,
        });
        why_not(folder, locations, read)
    }

    /// What is to be done, once everything that can be looked at says that it can be. `keep` keeps what only the order
    /// needs, and gives its number.
    pub(super) fn plan(
        &self,
        wanted: &PartsWanted,
        keep: impl FnOnce(Ordered) -> u64,
        cancel: &Cancellation,
    ) -> Result<RestoreParts, Invalid> {
        let found = self.found().map_err(|failure| invalid(None, &failure))?;
        let restorable = found.restorable(self, cancel).map_err(|failure| invalid(None, &failure))?;
        let known = self.shown(&found.copy.destination, &restorable, false);
        let (apps, folders) = chosen(&known, wanted)?;
        if known.is_strange && !wanted.unencrypted {
            let message = format!("this backup is not encrypted, and automatic backups at {} are", known.destination);
            let hint = "say that you know where it is from; anybody who can write there may have put it there";
            return Err(invalid(Some("unencrypted"), &Failure::usage(message).hint(hint)));
        }
        let typed = wanted.key.as_ref().map(|key| password::typed(key));
        let (key, _) = self.looking(&found).opens(typed, &[], cancel).map_err(|(is_key, failure)| {
            if is_key {
                let hint = super::WHICH_KEY;
                return invalid(Some("key"), &failure.hint(hint));
            }
            invalid(None, &failure)
        })?;
        found.app.may_restore(cancel).map_err(|failure| invalid(None, &failure))?;
        let at = Timestamp::now();
        Ok(RestoreParts {
            job: self.archive.job.clone().filter(|name| self.config.jobs().iter().any(|job| job.name == *name)),
            copy: Location { destination: found.copy.destination.to_string(), name: found.copy.name.to_string() },
            slug: found.slug.to_owned(),
            storage: found.storage.clone(),
            home_assistant: wanted.home_assistant,
            apps,
            folders,
            ordered: at,
            key: keep(Ordered { at, key: key.filter(|_| self.archive.item.protected) }),
        })
    }
}

/// Why a folder can't be restored from the location `read`, given where locations are.
fn why_not<'p>(folder: &Path, locations: impl Iterator<Item = (&'p str, &'p Path)>, read: &str) -> Option<String> {
    let mut inside = locations.map(|(name, path)| (name, Inside::of(path, folder)));
    inside.find_map(|(name, inside)| match inside {
        // Whether it is emptied or taken off: nothing could be read any more.
        Inside::Mounted if name == read => Some(format!(
            "the location {name}, from which this backup is read, is in it, and Supervisor takes network storage off \
             before it empties a folder; read the backup from a location elsewhere"
        )),
        Inside::Not | Inside::Mounted => None,
        Inside::Emptied => Some(format!("the location {name} is in it, and Supervisor empties it first")),
    })
}

/// What a place has to do with a folder that is emptied.
#[derive(Debug, PartialEq, Eq)]
enum Inside {
    Not,
    /// In it, on a file system of its own, which is taken off before and put back afterwards.
    Mounted,
    /// In it, and emptied with it.
    Emptied,
}

impl Inside {
    fn of(place: &Path, folder: &Path) -> Self {
        // It may be a link, or not be there yet.
        let there = place.ancestors().find_map(|path| path.canonicalize().ok()).unwrap_or_default();
        let folder = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
        let device = |path: &Path| std::fs::metadata(path).ok().map(|found| found.dev());
        match there.starts_with(&folder) || place.starts_with(&folder) {
            false => Self::Not,
            true if device(&folder).is_none_or(|of| device(&there) == Some(of)) => Self::Emptied,
            true => Self::Mounted,
        }
    }
}

/// Whether an app is Haul, from whichever repository: a second one would remove the network storage of this one, and
/// run the jobs of then.
fn is_haul(app: &str, own: &str) -> bool {
    // The repository comes first.
    let name = |slug: &str| slug.split_once('_').map(|(_, name)| name.to_owned());
    app == own || name(app).is_some_and(|app| Some(app) == name(own))
}

fn shown(app: &SavedApp) -> AppPart {
    let name = app.name.as_deref().filter(|name| !name.is_empty()).unwrap_or(&app.slug);
    AppPart { slug: app.slug.clone(), name: text::sanitize(name), version: app.version.as_deref().map(text::sanitize) }
}

/// The apps with their names, and the folders, if all that was chosen can be restored.
fn chosen(known: &Parts, wanted: &PartsWanted) -> Result<(BTreeMap<String, String>, Vec<String>), Invalid> {
    let no = |message: String, hint: &str| Err(invalid(Some("parts"), &Failure::usage(message).hint(hint)));
    if !wanted.home_assistant && wanted.apps.is_empty() && wanted.folders.is_empty() {
        return no("nothing is chosen".to_owned(), "choose what is to be restored");
    }
    if wanted.home_assistant && known.home_assistant.is_none() {
        return no("Home Assistant's configuration is not in this backup".to_owned(), "choose something else");
    }
    let mut apps = BTreeMap::new();
    for slug in &wanted.apps {
        let Some(app) = known.apps.iter().find(|app| app.slug == *slug) else {
            let message = format!("the app {} is not among those that can be restored here", text::sanitize(slug));
            return no(message, "choose from the list; Haul itself is not in it");
        };
        apps.insert(slug.clone(), app.name.clone());
    }
    let mut folders: Vec<String> = Vec::new();
    for name in &wanted.folders {
        match known.folders.iter().find(|folder| folder.name == *name) {
            Some(FolderPart { why_not: None, .. }) if folders.contains(name) => {}
            Some(FolderPart { why_not: None, .. }) => folders.push(name.clone()),
            Some(FolderPart { why_not: Some(why), .. }) => {
                return no(format!("the folder {name} can't be restored from here: {why}"), "leave it out");
            }
            None => {
                let message = format!("the folder {} is not in this backup", text::sanitize(name));
                return no(message, "choose from the list");
            }
        }
    }
    Ok((apps, folders))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_location_in_a_folder_goes_with_what_is_in_it_unless_it_is_mounted_there() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        std::fs::create_dir_all(at("share/nas")).unwrap();
        symlink(at("share/nas"), at("link")).unwrap();
        for (place, goes) in
            [("share/nas", true), ("share/not/yet", true), ("share", true), ("link", true), ("shared", false)]
        {
            let is = if goes { Inside::Emptied } else { Inside::Not };
            assert_eq!(Inside::of(&at(place), &at("share")), is, "{place}");
        }
        assert_eq!(Inside::of(Path::new("/proc/self"), Path::new("/")), Inside::Mounted, "it is another file system");
    }

    #[test]
    fn a_folder_is_not_restored_from_network_storage_in_it() {
        // Another file system in the folder, as /share/nas is in /share; and no location is at /share here.
        let locations = || [("nas", Path::new("/proc/self")), ("drive", Path::new("/nowhere/at/all"))].into_iter();
        let why = why_not(Path::new("/"), locations().take(1), "nas").unwrap();
        assert!(why.contains("read the backup from a location elsewhere"), "{why}");
        assert_eq!(why_not(Path::new("/"), locations().take(1), "drive"), None, "it is only away for a while");
        assert_eq!(why_not(Path::new("/sys"), locations(), "nas"), None);
        let why = why_not(Path::new("/nowhere"), locations(), "nas").unwrap();
        assert!(why.contains("the location drive is in it"), "{why}");
    }

    #[test]
    fn haul_is_haul_from_whichever_repository() {
        for (app, is) in [("a1b2c3d4_haul", true), ("local_haul", true), ("core_ssh", false), ("b_long_haul", false)] {
            assert_eq!(is_haul(app, "a1b2c3d4_haul"), is, "{app}");
        }
        assert!(is_haul("haul", "haul") && !is_haul("ssh", "haul"));
    }

    #[test]
    fn only_what_the_list_has_is_restored_and_haul_itself_never() {
        let folder = |name: &str, why_not: Option<&str>| FolderPart {
            name: name.to_owned(),
            why_not: why_not.map(str::to_owned),
            note: None,
        };
        let ssh = AppPart { slug: "core_ssh".to_owned(), name: "Terminal & SSH".to_owned(), version: None };
        let known = Parts {
            apps: vec![ssh],
            folders: vec![folder("ssl", None), folder("share", Some("a location is in it"))],
            holds_haul: true,
            ..Parts::default()
        };
        let wanted = |home_assistant, apps: &[&str], folders: &[&str]| {
            let all = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
            PartsWanted { home_assistant, apps: all(apps), folders: all(folders), ..PartsWanted::default() }
        };
        for (wanted, says) in [
            (wanted(false, &[], &[]), "nothing is chosen"),
            (wanted(true, &[], &[]), "configuration is not in this backup"),
            (wanted(false, &["a1b2c3d4_haul"], &[]), "the app a1b2c3d4_haul is not among those"),
            (wanted(false, &[], &["share"]), "can't be restored from here: a location is in it"),
            (wanted(false, &[], &["media"]), "is not in this backup"),
        ] {
            let wrong = chosen(&known, &wanted).unwrap_err();
            assert!(wrong.field.as_deref() == Some("parts") && wrong.failure.message.contains(says), "{wrong:?}");
        }
        // Said twice, it is asked for once: Supervisor refuses doubles.
        let (apps, folders) = chosen(&known, &wanted(false, &["core_ssh", "core_ssh"], &["ssl", "ssl"])).unwrap();
        assert_eq!((apps.len(), apps["core_ssh"].as_str(), folders), (1, "Terminal & SSH", vec!["ssl".to_owned()]));
    }
}
