//! What Supervisor can restore of an archive on this machine, and a restore from the order to its end.
//!
//! A full restore stops every app, this one too, and with it the storage that Supervisor reads from. So Supervisor is
//! asked for parts, and never for this app. It goes on without this app: what was ordered is noted in the state
//! directory, and followed from there after a restart.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use engine::Progress;
use habackup::securetar::Password;
use jiff::Timestamp;
use keeper::{
    status::Ending,
    task::{Found, Outcome, RestoreParts},
};
use serde::{Deserialize, Serialize};
use store::Cancellation;
use supervisor::{Apps, BackupDetails, Content, Job, JobKind, Kind, Place, Restore, Secret};

use super::{
    App, Reached, Unanswered, private,
    storage::{Changes, Storage},
    whole::{LOOK, SOON},
};
use crate::{
    destination,
    failure::{FAILED, Failure},
    text,
};

/// What was ordered, in the state directory. It stays there until the next order: if how it ended can't be written down,
/// or that is lost, it is followed again.
const NOTE: &str = "restore-by-supervisor.json";
/// Nothing new is heard of it for so long: then that is said.
const QUIET: Duration = Duration::from_mins(2);
/// Nothing new is heard of it for so long: it is followed no longer, because no backup is made meanwhile.
const LOST: Duration = Duration::from_hours(12);
/// An order whose answer was lost shows among the jobs within this time, if it arrived.
const SHOWS: Duration = Duration::from_secs(5);
/// What network storage there is afterwards is asked so often.
const ASKED: u32 = 3;
/// It makes room for the parts there.
const NO_ROOM: &str = "free some space on the machine's data disk, then try again";
const LOOK_FIRST: &str = "look whether everything works before you restore it again";
const AS_THEN: &str = "Home Assistant is as it was then: log in with a password of that time if it asks, and look at \
    Settings > System > Repairs";
const REPLACED: &str = "network storage comes back as it is in the backup: change it under Settings > System > Storage if \
    you want it otherwise";
const LOST_STORAGE: &str = "look under Settings > System > Storage, and set it up again there";
const LOG: &str = "Supervisor's log says more, under Settings > System > Logs > Supervisor";

/// A copy of an archive at one of Haul's locations.
pub(crate) struct Copy<'a> {
    /// Its id.
    pub(crate) slug: &'a str,
    /// Its name at its location.
    pub(crate) name: &'a str,
    pub(crate) size: u64,
    pub(crate) protected: bool,
    /// Supervisor's network storage that leads to it.
    pub(crate) storage: &'a str,
}

/// An archive as Supervisor can restore it.
pub(crate) struct Restorable {
    pub(crate) details: BackupDetails,
    /// The id of this app.
    pub(crate) own: String,
}

/// What only the order itself needs; it is kept in memory.
pub(crate) struct Ordered {
    /// That of [`RestoreParts`]: numbers begin anew with each process.
    pub(crate) at: Timestamp,
    pub(crate) key: Option<Password>,
}

impl App {
    /// What Supervisor can restore of this copy, after a look that it is this one.
    pub(crate) fn restorable(&self, copy: &Copy<'_>, cancel: &Cancellation) -> Result<Restorable, Failure> {
        let own = self.ask(cancel, self.supervisor.own_app())?.slug;
        if own.is_empty() {
            return Err(Failure::new(FAILED, "Supervisor does not say which app this is").hint("restart the app"));
        }
        let mut details = self.known(copy, cancel)?;
        if details.is_err() {
            // It looks at its places only when it is told to.
            self.ask(cancel, self.supervisor.reload_backups())?;
            details = self.known(copy, cancel)?;
        }
        Ok(Restorable { details: details?, own })
    }

    /// The backup as Supervisor knows it, or what of that is not as it should be.
    fn known(&self, copy: &Copy<'_>, cancel: &Cancellation) -> Result<Result<BackupDetails, Failure>, Failure> {
        let Copy { slug, name, storage, .. } = copy;
        let unknown = || {
            let message = format!("Supervisor does not find {name} in the network storage {storage}");
            Failure::new(FAILED, message)
                .hint("look whether the storage works, under Settings > System > Storage, and try again")
        };
        let details = match self.ask(cancel, self.supervisor.backup(slug)) {
            Ok(details) => details,
            Err(Unanswered::Failed(error)) if error.kind == Kind::NotFound => return Ok(Err(unknown())),
            Err(error) => return Err(error.into()),
        };
        let place = Place::Mount((*storage).to_owned());
        let Some(there) = details.backup.copies().into_iter().find(|there| there.place == place) else {
            return Ok(Err(unknown()));
        };
        if let Some(size) = there.size.filter(|size| *size != copy.size) {
            let (is, should) = (text::bytes(size), text::bytes(copy.size));
            let message = format!(
                "Supervisor has another file with the id of {name} in {storage}: {is} ({size} bytes) instead of {should}"
            );
            return Ok(Err(Failure::new(FAILED, message)
                .hint("move the other one to another folder, or restore from another location")));
        }
        if there.protected.is_some_and(|protected| protected != copy.protected) {
            let is = if copy.protected { "not encrypted, but it is" } else { "encrypted, but it is not" };
            return Ok(Err(Failure::new(FAILED, format!("Supervisor takes {name} for {is}"))
                .hint("restart Supervisor or the machine, and try again")));
        }
        Ok(Ok(details))
    }

    /// Refuses while Supervisor would refuse.
    pub(crate) fn may_restore(&self, cancel: &Cancellation) -> Result<(), Failure> {
        let info = self.ask(cancel, self.supervisor.info())?;
        let jobs = self.ask(cancel, self.supervisor.jobs())?;
        let under_way = jobs.iter().find(|job| job.kind() != JobKind::Other && !job.is_done());
        let message = match (under_way.map(Job::kind), info.state.as_deref()) {
            (Some(JobKind::Backup), _) => "Supervisor is making a backup, and restores nothing meanwhile",
            (Some(_), _) => "Supervisor is restoring a backup already",
            (None, Some("freeze")) => {
                "Supervisor holds everything still for a backup that another program makes, and restores nothing meanwhile"
            }
            (None, None | Some("running")) => return Ok(()),
            (None, Some(_)) => "Supervisor has not started completely yet",
        };
        Err(Failure::new(FAILED, message).hint("wait until that has ended, then try again"))
    }
}

/// What was ordered, for whoever follows it after a restart.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Note {
    ordered: Timestamp,
    /// Jobs that were there before.
    before: Vec<String>,
    /// Supervisor's network storage then.
    storage: Storage,
    /// The job, once it is known.
    job: Option<String>,
    /// The last news of it, and when that came.
    #[serde(default)]
    news: Option<(News, Timestamp)>,
}

/// How far it is: the stage, and how many parts have begun and ended.
type News = (Option<String>, usize, usize);

impl Note {
    fn path() -> PathBuf {
        destination::state_directory().join(NOTE)
    }

    /// The note of this order, if it was given.
    fn of(wanted: &RestoreParts) -> Option<Self> {
        let note: Self = serde_json::from_slice(&std::fs::read(Self::path()).ok()?).ok()?;
        (note.ordered == wanted.ordered).then_some(note)
    }

    fn keep(&self) -> Result<(), Failure> {
        let bytes = serde_json::to_vec(self).unwrap_or_default();
        private::write(&Self::path(), &bytes).map_err(|error| {
            let why = engine::plain_reason(&error);
            Failure::new(FAILED, format!("can't write to the state directory: {why}"))
                .hint("make room on the data disk; nothing was restored")
        })
    }
}

/// Has Supervisor restore it, and follows that to its end. `ordered` is gone after a restart of this app.
pub(crate) fn restore(
    app: Option<&(Arc<App>, Reached)>,
    wanted: &RestoreParts,
    ordered: Option<Ordered>,
    progress: &Arc<Progress>,
    cancel: &Cancellation,
) -> Result<Outcome, Failure> {
    let unknown = |failure| not_well(&format!("it is not known whether {} was restored", wanted.copy.name), failure);
    let (app, reached) = app.ok_or_else(|| unknown(no_app()))?;
    let _held = reached.hold(&wanted.copy.destination);
    let run = Run { app, wanted, progress, cancel };
    let ordered = ordered.filter(|ordered| ordered.at == wanted.ordered);
    let (mut note, doubt) = match (Note::of(wanted), ordered) {
        (Some(note), _) => (note, None),
        (None, Some(ordered)) => run
            .begin(ordered.key)
            // Only here, nothing can have begun.
            .map_err(|failure| not_well(&format!("{} was not restored", wanted.copy.name), failure))?,
        (None, None) => {
            let message = "Haul was stopped, and has no note of what it asked Supervisor";
            return Err(unknown(Failure::new(FAILED, message).hint(LOOK_FIRST)));
        }
    };
    let ended = run.follow(&mut note, doubt);
    progress.say(None);
    progress.complain(None);
    if cancel.is_cancelled() {
        // This app is stopped, and Supervisor is not.
        return Ok(Outcome::cancelled());
    }
    // With every restore, Supervisor brings back its network storage as it is in the backup.
    let changes = run.changes(&note);
    reached.look_again();
    match ended {
        Ok(job) => Ok(outcome(wanted, &job, &changes)),
        Err(failure) => {
            let all: Vec<&str> = std::iter::once(failure.message.as_str()).chain(changes.all()).collect();
            Err(unknown(Failure { message: all.join("; "), ..failure }))
        }
    }
}

/// A failure whose sentence begins with what it means.
fn not_well(what: &str, failure: Failure) -> Failure {
    Failure { message: text::sanitize(&format!("{what}: {}", failure.message)), ..failure }
}

/// Where there is no Supervisor.
pub(crate) fn no_app() -> Failure {
    Failure::usage("Haul runs here without Supervisor").hint("restore with `haul restore`")
}

struct Run<'a> {
    app: &'a Arc<App>,
    wanted: &'a RestoreParts,
    progress: &'a Arc<Progress>,
    cancel: &'a Cancellation,
}

impl Run<'_> {
    /// Gives the order. What is returned in doubt leaves it open whether it arrived.
    fn begin(&self, key: Option<Password>) -> Result<(Note, Option<Failure>), Failure> {
        let RestoreParts { slug, storage: place, home_assistant, apps, folders, ordered, .. } = self.wanted;
        self.progress.say(Some("asking Supervisor"));
        let before = self.app.ask(self.cancel, self.app.supervisor.jobs())?;
        let storage = self.storage()?;
        let before = before.into_iter().map(|job| job.uuid).collect();
        let mut note = Note { ordered: *ordered, before, storage, job: None, news: None };
        note.keep()?;
        let how =
            Restore { password: key.map(|key| Secret::new(key.expose())), place: Some(Place::Mount(place.clone())) };
        let content = Content {
            homeassistant: *home_assistant,
            apps: Apps::These(apps.keys().cloned().collect()),
            folders: folders.clone(),
        };
        match self.app.ask(self.cancel, self.app.supervisor.restore_partial(slug, &how, &content)) {
            Ok(begun) => {
                note.job = Some(begun.job).filter(|job| !job.is_empty());
                // Without it, the job is found as the one that was not there before.
                let _ = note.keep();
                Ok((note, None))
            }
            Err(Unanswered::Failed(error)) => {
                let may_have_happened = error.may_have_happened();
                let hint = if error.kind == Kind::Full { NO_ROOM.to_owned() } else { error.advice };
                let failure = Failure::new(FAILED, error.reason).hint(hint);
                if may_have_happened { Ok((note, Some(failure))) } else { Err(failure) }
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Waits for the end of Supervisor's job, however long nothing is heard of it: it may go on all the same.
    fn follow(&self, note: &mut Note, doubt: Option<Failure>) -> Result<Job, Failure> {
        let (begun, mut heard, mut since) = (Instant::now(), Instant::now(), Instant::now());
        // An earlier program heard it last.
        let earlier = note.news.as_ref().map(|(_, at)| Timestamp::now().duration_since(*at));
        let mut earlier = earlier.and_then(|time| Duration::try_from(time).ok()).unwrap_or_default();
        while !self.cancel.is_cancelled() {
            let is_silent = since.elapsed().saturating_add(earlier) >= self.app.silence;
            self.progress.complain(is_silent.then(|| silent(self.wanted, self.app.silence)));
            if since.elapsed() > LOST {
                let message = format!("Supervisor has said nothing new of it for {} hours", LOST.as_secs() / 3600);
                return Err(Failure::new(FAILED, message).hint(LOOK_FIRST));
            }
            let asked = match &note.job {
                Some(job) => self.app.ask(self.cancel, self.app.supervisor.job(job)).map(Some),
                None => self.find(note),
            };
            match asked {
                Ok(Some(job)) => {
                    heard = Instant::now();
                    if job.is_done() {
                        return Ok(job);
                    }
                    let (begun, ended) = parts(&job);
                    let now = (job.stage.clone(), begun, ended);
                    let is_news = note.news.as_ref().is_none_or(|(before, _)| *before != now);
                    if is_news {
                        (since, earlier) = (Instant::now(), Duration::ZERO);
                        note.news = Some((now, Timestamp::now()));
                        self.progress.complain(None);
                    }
                    if is_news || note.job.is_none() {
                        note.job.get_or_insert_with(|| job.uuid.clone());
                        let _ = note.keep();
                    }
                    self.progress.say(Some(&doing(self.wanted, &job, since.elapsed().saturating_add(earlier))));
                }
                Ok(None) if begun.elapsed() < SHOWS => {}
                Ok(None) => {
                    return Err(doubt.unwrap_or_else(|| {
                        let message = "Haul was stopped while it asked Supervisor, which knows of no restore now";
                        Failure::new(FAILED, message).hint(LOOK_FIRST)
                    }));
                }
                Err(Unanswered::Failed(error)) if error.kind == Kind::NotFound => {
                    let message = "Supervisor was restarted and does not know any more how the restore ended";
                    return Err(Failure::new(FAILED, message).hint(LOOK_FIRST));
                }
                Err(Unanswered::Stopped) => break,
                // Whatever it is: that the restore is lost sight of would be worse than to ask in vain.
                Err(Unanswered::Failed(_)) if heard.elapsed() > QUIET => {
                    let silent = minutes(heard.elapsed());
                    self.progress.say(Some(&format!("no answer from Supervisor for {silent}; it is asked again")));
                }
                Err(Unanswered::Failed(_)) => {}
            }
            self.cancel.sleep((begun.elapsed() / 2).clamp(SOON, LOOK));
        }
        Err(Unanswered::Stopped.into())
    }

    /// Supervisor's network storage.
    fn storage(&self) -> Result<Storage, Unanswered> {
        Ok(self.app.ask(self.cancel, self.app.supervisor.mounts())?.mounts.into())
    }

    /// What became of network storage.
    fn changes(&self, note: &Note) -> Changes {
        for attempt in 0..ASKED {
            if attempt > 0 {
                self.cancel.sleep(LOOK);
            }
            if let Ok(now) = self.storage() {
                return note.storage.changes(&now);
            }
        }
        if note.storage.is_empty() { Changes::default() } else { Changes::unknown() }
    }

    /// The job of an order whose answer was lost: the first restore of this backup that was not there before. A later one
    /// is somebody else's.
    fn find(&self, note: &Note) -> Result<Option<Job>, Unanswered> {
        let jobs = self.app.ask(self.cancel, self.app.supervisor.jobs())?;
        let is_it = |job: &Job| {
            job.kind() == JobKind::Restore
                && !job.uuid.is_empty()
                && !note.before.contains(&job.uuid)
                && job.reference.as_ref().is_none_or(|slug| *slug == self.wanted.slug)
        };
        // The newest is the first of them.
        Ok(jobs.into_iter().rfind(is_it))
    }
}

/// How far it is, and how long nothing new was heard of that.
fn doing(wanted: &RestoreParts, job: &Job, quiet: Duration) -> String {
    let stage = job.stage.as_deref().unwrap_or_default();
    let part = at_work(job).and_then(|part| name(wanted, part));
    let doing = match (stage, part) {
        ("apps", Some(app)) => format!("Supervisor restores the app {app}"),
        ("apps", None) => "Supervisor restores the apps".to_owned(),
        ("folders", Some(folder)) => format!("Supervisor restores the folder {folder}"),
        ("folders", None) => "Supervisor restores the folders".to_owned(),
        ("home_assistant", _) => "Supervisor restores Home Assistant, which is stopped meanwhile".to_owned(),
        ("app_repositories", _) => "Supervisor adds the apps' repositories".to_owned(),
        ("supervisor_config", _) => "Supervisor restores its network storage".to_owned(),
        ("await_app_restarts", _) => "Supervisor starts the apps".to_owned(),
        ("await_home_assistant_restart", _) => "Supervisor starts Home Assistant".to_owned(),
        ("", _) => "Supervisor looks at the backup".to_owned(),
        (other, _) => format!("Supervisor is at {}", other.replace('_', " ")),
    };
    if quiet > QUIET { format!("{doing}; nothing new from it for {}", minutes(quiet)) } else { doing }
}

/// A part as people call it.
fn name(wanted: &RestoreParts, part: &Job) -> Option<String> {
    if part.name.as_deref() == Some("backup_restore_homeassistant") {
        return Some("Home Assistant".to_owned());
    }
    let id = part.reference.as_ref().filter(|id| **id != wanted.slug)?;
    Some(wanted.apps.get(id).unwrap_or(id).clone())
}

fn outcome(wanted: &RestoreParts, job: &Job, changes: &Changes) -> Outcome {
    let archive = &wanted.copy.name;
    let mut all: Vec<&str> = Vec::new();
    all.extend(wanted.home_assistant.then_some("Home Assistant"));
    all.extend(wanted.apps.values().chain(&wanted.folders).map(String::as_str));
    let failed = complaints(wanted, job);
    if failed.is_empty() {
        let storage = changes.all().collect::<Vec<_>>().join("; ");
        let now = if storage.is_empty() { storage } else { format!(", and now {storage}") };
        let message = format!("Supervisor restored {} from {archive}{now}", all.join(", "));
        let mut outcome = Outcome::done(text::sanitize(&message), Found::Nothing);
        let then = wanted.home_assistant.then_some(AS_THEN);
        outcome.hint = match (&*changes.lost, &*changes.replaced) {
            ([], []) => then.map(str::to_owned),
            ([], _) => Some([REPLACED].into_iter().chain(then).collect::<Vec<_>>().join("; ")),
            _ => {
                outcome.ending = Ending::Incomplete;
                Some([LOST_STORAGE].into_iter().chain(then).collect::<Vec<_>>().join("; "))
            }
        };
        return outcome;
    }
    let what = failed.iter().map(String::as_str).chain(changes.all()).collect::<Vec<_>>().join("; ");
    let emptied = emptied(wanted, job);
    if job.errors.is_empty() {
        let message = text::sanitize(&format!("Supervisor did not restore all of {archive}: {what}"));
        let mut outcome = Outcome::done(message, Found::Nothing);
        outcome.ending = Ending::Incomplete;
        outcome.hint = Some(format!("{emptied}the rest is restored; {LOG}; then restore what failed again"));
        return outcome;
    }
    Outcome::failed(keeper::status::Failure {
        message: text::sanitize(&format!("Supervisor broke off the restore of {archive}: {what}")),
        hint: Some(format!("{emptied}parts of it may be restored: look whether everything works; {LOG}")),
        passes: false,
    })
}

/// What somebody should look at when nothing new is heard of it for so long, and what to do about it.
fn silent(wanted: &RestoreParts, time: Duration) -> (String, String) {
    let (archive, time) = (&wanted.copy.name, minutes(time));
    let message = format!("Supervisor has said nothing new for {time} about the restore of {archive}");
    let hint = format!(
        "a large folder or app takes long; {LOG}; if nothing happens there either, restart the machine, and \
         {LOOK_FIRST}"
    );
    (text::sanitize(&message), hint)
}

/// Supervisor empties a folder before it reads what belongs into it.
fn emptied(wanted: &RestoreParts, job: &Job) -> String {
    let failed: BTreeSet<&str> = job.all_errors().into_iter().filter_map(|(of, _)| of.reference.as_deref()).collect();
    let folders = wanted.folders.iter().map(String::as_str).filter(|folder| failed.contains(folder));
    match &*folders.collect::<Vec<_>>() {
        [] => String::new(),
        [folder] => format!("the folder {folder} may be empty or incomplete now; "),
        folders => format!("the folders {} may be empty or incomplete now; ", folders.join(", ")),
    }
}

/// What failed, in Supervisor's own words; a part's failure is not said again for the whole.
fn complaints(wanted: &RestoreParts, job: &Job) -> Vec<String> {
    let mut said: BTreeMap<String, Option<String>> = BTreeMap::new();
    let mut order = Vec::new();
    for (of, error) in job.all_errors() {
        let words = error.message.as_deref().or(error.kind.as_deref()).unwrap_or("it failed").to_owned();
        let name = name(wanted, of);
        let known = said.entry(words.clone()).or_insert_with(|| {
            order.push(words);
            None
        });
        *known = known.take().or(name);
    }
    let line = |words: &String| match said.get(words) {
        Some(Some(name)) => format!("{name}: {words}"),
        _ => words.clone(),
    };
    order.iter().map(line).collect()
}

/// How many parts of it have begun, and how many have ended.
fn parts(job: &Job) -> (usize, usize) {
    job.children.iter().fold((0, 0), |(all, done), child| {
        let (begun, ended) = parts(child);
        (all + begun + 1, done + ended + usize::from(child.is_done()))
    })
}

/// The part that is at work, and that is no group of parts.
fn at_work(job: &Job) -> Option<&Job> {
    let part = job.children.iter().find(|child| !child.is_done())?;
    Some(at_work(part).unwrap_or(part))
}

fn minutes(time: Duration) -> String {
    match time.as_secs() / 60 {
        0 => "less than a minute".to_owned(),
        1 => "a minute".to_owned(),
        minutes => format!("{minutes} minutes"),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use keeper::task::Location;
    use serde_json::{Value, json};

    use super::*;

    fn wanted() -> RestoreParts {
        RestoreParts {
            job: None,
            copy: Location { destination: "nas".to_owned(), name: "a.tar".to_owned() },
            slug: "f00df00d".to_owned(),
            storage: "haul_nas".to_owned(),
            home_assistant: true,
            apps: [("core_ssh".to_owned(), "Terminal & SSH".to_owned())].into(),
            folders: vec!["ssl".to_owned()],
            ordered: Timestamp::UNIX_EPOCH,
            key: 0,
        }
    }

    fn job(stage: &str, children: &Value, errors: &Value) -> Job {
        serde_json::from_value(json!({
            "uuid": "1", "name": "backup_manager_partial_restore", "reference": "f00df00d", "stage": stage,
            "done": true, "child_jobs": children, "errors": errors,
        }))
        .unwrap()
    }

    #[test]
    fn it_says_what_supervisor_is_at_and_how_long_nothing_new_was_heard() {
        // As versions before 2026.07 call it.
        let parts = json!([
            { "name": "backup_restore_folders", "done": true },
            { "name": "backup_restore_addons", "done": false, "child_jobs": [
                { "name": "backup_addon_restore", "reference": "core_mosquitto", "done": true },
                { "name": "backup_addon_restore", "reference": "core_ssh", "done": false },
            ] },
        ]);
        let job = job("addons", &parts, &json!([]));
        let says = |quiet| doing(&wanted(), &job, Duration::from_secs(quiet));
        assert_eq!(says(3), "Supervisor restores the app Terminal & SSH");
        let long = "Supervisor restores the app Terminal & SSH; nothing new from it for 12 minutes";
        assert_eq!(says(12 * 60 + 5), long);
        let other = self::job("new_things", &json!([]), &json!([]));
        assert_eq!(doing(&wanted(), &other, Duration::ZERO), "Supervisor is at new things");
    }

    #[test]
    fn each_failure_is_said_once_with_the_part_that_it_belongs_to() {
        let broken = json!([{ "type": "HomeAssistantError", "message": "Can't stop Core" }]);
        let core = json!([{ "name": "backup_restore_homeassistant", "done": true, "errors": broken }]);
        let ended = outcome(&wanted(), &job("home_assistant", &core, &broken), &Changes::default());
        assert_eq!(ended.ending, Ending::Failed);
        assert_eq!(ended.message, "Supervisor broke off the restore of a.tar: Home Assistant: Can't stop Core");

        let folder = json!([{ "name": "backup_restore_folders", "done": true, "child_jobs": [
            { "name": "backup_folder_restore", "reference": "ssl", "done": true,
              "errors": [{ "type": "BackupError", "message": null }] },
        ] }]);
        let ended = outcome(&wanted(), &job("apps", &folder, &json!([])), &Changes::default());
        assert_eq!(ended.ending, Ending::Incomplete);
        assert_eq!(ended.message, "Supervisor did not restore all of a.tar: ssl: BackupError");
        let hint = ended.hint.unwrap();
        assert!(hint.starts_with("the folder ssl may be empty or incomplete now; the rest is restored"), "{hint}");

        let ended = outcome(&wanted(), &job("apps", &json!([]), &json!([])), &Changes::default());
        let all = "Supervisor restored Home Assistant, Terminal & SSH, ssl from a.tar";
        assert_eq!((ended.ending, ended.message.as_str()), (Ending::Done, all));
        assert!(ended.hint.unwrap().contains("log in with a password of that time"));
    }
}
