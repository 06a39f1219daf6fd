//! Each destination as a folder, and Supervisor's network storage that leads there: so Home Assistant has it among its
//! own locations.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    net::SocketAddr,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use data_encoding::HEXLOWER;
use share::{Access, Event, Folders, Server, Shared};
use store::{Cancellation, Limit, Secret};
use supervisor::mount::{self, Ours, Wanted};

use super::{App, Unanswered, private, say};
use crate::{
    config::{Config, Mqtt, Named},
    destination,
    failure::{FAILED, Failure, INTERRUPTED},
    folder, text,
};

/// Whom Supervisor logs in as.
const USER: &str = "haul";
const PASSWORD: &str = "share-password";
/// The default place for backups, as it was before Supervisor changed it by itself.
const DEFAULT: &str = "default-backup-mount";
/// Names of network storage that are Haul's begin with this.
pub(super) const PREFIX: &str = "haul_";
/// Supervisor is asked anew so often whether it has mounted what it should.
const LOOK_AGAIN: Duration = Duration::from_mins(5);
/// Something is not as it should be: sooner.
const SOON: Duration = Duration::from_secs(20);
/// A backup waits so long for Supervisor to mount: it gives up a mount after 35 s, and is asked again after `SOON`.
const PATIENCE: Duration = Duration::from_mins(2);
/// The longest name that Supervisor takes.
const LONGEST_NAME: usize = 60;

/// The folders, while the service runs.
pub(crate) struct Sharing {
    work: Arc<Work>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// Which destinations Supervisor reaches.
#[derive(Clone)]
pub(crate) struct Reached(Arc<Work>);

impl Reached {
    /// The network storage by which Supervisor reaches this destination, if it does.
    pub(crate) fn mount_of(&self, destination: &str) -> Option<String> {
        self.0.lock().mounted.get(destination).cloned()
    }

    /// Leaves the folder of this destination as it is, whatever the configuration says meanwhile: what Supervisor has
    /// unpacked in it is nowhere else.
    pub(crate) fn hold(&self, destination: &str) -> Held {
        *self.0.lock().held.entry(destination.to_owned()).or_default() += 1;
        Held { work: Arc::clone(&self.0), destination: destination.to_owned() }
    }

    /// Whether it is left as it is.
    pub(crate) fn is_held(&self, destination: &str) -> bool {
        self.0.lock().held.contains_key(destination)
    }

    /// Whether any is.
    pub(super) fn is_any_held(&self) -> bool {
        !self.0.lock().held.is_empty()
    }

    /// How long ago what a client has unpacked in one was used, if there is any.
    pub(super) fn unpacked(&self) -> Option<Duration> {
        self.0.folders.unpacked()
    }

    /// Has everything looked at anew: Supervisor's network storage may be what it was in a backup.
    pub(crate) fn look_again(&self) {
        self.0.lock().is_dirty = true;
        self.0.wake.notify_all();
    }

    /// The one of these by which Supervisor reaches us first. After a start and after a change, mounting takes it a
    /// while; if it reaches none in time, one that is served, if there is any.
    pub(crate) fn await_one(&self, destinations: &[&str], cancel: &Cancellation) -> Option<String> {
        let work = Arc::clone(&self.0);
        let _waking = cancel.on_cancel(move || {
            drop(work.lock());
            work.wake.notify_all();
        });
        let until = Instant::now() + PATIENCE;
        let mut state = self.0.lock();
        loop {
            let first =
                |of: &BTreeMap<String, String>| destinations.iter().find(|name| of.contains_key(**name)).copied();
            if let Some(name) = first(&state.mounted) {
                return Some(name.to_owned());
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() || destinations.is_empty() || state.is_ending || cancel.is_cancelled() {
                return first(&state.served).map(str::to_owned);
            }
            state = self.0.wake.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// A folder that stays as it is until this goes.
pub(crate) struct Held {
    work: Arc<Work>,
    destination: String,
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut state = self.work.lock();
        if let Some(count) = state.held.get_mut(&self.destination) {
            *count -= 1;
        }
        state.held.retain(|_, count| *count > 0);
        // What the configuration says by now.
        state.is_dirty = true;
        self.work.wake.notify_all();
    }
}

/// Whoever is told.
pub(crate) struct Hears {
    /// What happened in a folder, and whether it is bad news.
    pub(crate) changed: Changed,
    /// Whether a destination's archive is protected from removal.
    pub(crate) is_kept: IsKept,
    /// The broker that Supervisor knows of, each time it was asked.
    pub(crate) broker: Box<dyn Fn(Option<Mqtt>) + Send + Sync>,
}

type Changed = Arc<dyn Fn(&str, bool) + Send + Sync>;
type IsKept = Arc<dyn Fn(&str, &str) -> bool + Send + Sync>;

struct Work {
    app: Arc<App>,
    folders: Folders,
    address: SocketAddr,
    password: supervisor::Secret,
    hears: Hears,
    state: Mutex<State>,
    wake: Condvar,
    cancel: Cancellation,
}

struct State {
    config: Config,
    /// What each folder was made of.
    served: BTreeMap<String, String>,
    /// How often each is held as it is.
    held: BTreeMap<String, usize>,
    /// Network storage that works, by destination.
    mounted: BTreeMap<String, String>,
    /// The password is a new one, and these have not been told.
    renewed: bool,
    is_told: BTreeSet<String>,
    is_dirty: bool,
    is_ending: bool,
    /// Destinations that can't take a stream, and what they were made of.
    unfit: BTreeMap<String, String>,
    /// What this pass and the one before warned of: it is said once.
    warned: (BTreeSet<String>, BTreeSet<String>),
}

impl Sharing {
    /// Serves what the configuration names, and keeps Supervisor's network storage in step with it.
    pub(crate) fn start(app: &Arc<App>, config: Config, hears: Hears, cancel: &Cancellation) -> Result<Self, Failure> {
        let (password, renewed) = password()?;
        let access = Access { user: USER, password: &password, allowed: Some(vec![app.host]) };
        let bound = app.network.bridge.wait(Server::bind(app.share, &access));
        let (server, address) = bound.map_err(|error| {
            let why = engine::plain_reason(&error);
            Failure::new(FAILED, format!("can't listen on {}: {why}", app.share))
                .hint("restart the app; if it happens again, another program uses that port")
        })?;
        let folders = server.folders();
        let work = Arc::new(Work {
            app: Arc::clone(app),
            folders,
            address,
            password: supervisor::Secret::new(password.expose()),
            hears,
            state: Mutex::new(State {
                config,
                served: BTreeMap::new(),
                held: BTreeMap::new(),
                mounted: BTreeMap::new(),
                renewed,
                is_told: BTreeSet::new(),
                is_dirty: true,
                is_ending: false,
                unfit: BTreeMap::new(),
                warned: Default::default(),
            }),
            wake: Condvar::new(),
            cancel: cancel.clone(),
        });
        app.network.bridge.spawn(async move {
            if let Err(error) = server.run().await {
                let why = engine::plain_reason(&error);
                say(&format!("error: Home Assistant reaches no location any more: {why}; restart the app"));
            }
        });
        let working = Arc::clone(&work);
        let thread = std::thread::Builder::new().name("haul-app".to_owned()).spawn(move || working.run());
        let thread = thread.map_err(|error| {
            let why = engine::plain_reason(&error);
            Failure::new(FAILED, format!("can't start a thread: {why}"))
        })?;
        Ok(Self { work, thread: Mutex::new(Some(thread)) })
    }

    /// Goes by this from now on.
    pub(crate) fn configure(&self, config: Config) {
        let mut state = self.work.lock();
        state.config = config;
        state.is_dirty = true;
        self.work.wake.notify_all();
    }

    /// For whoever has Supervisor write there.
    pub(crate) fn folders(&self) -> Reached {
        Reached(Arc::clone(&self.work))
    }

    /// Gives up what is not complete. The network storage stays: the app will be back.
    pub(crate) fn stop(&self) {
        self.work.lock().is_ending = true;
        self.work.wake.notify_all();
        self.work.app.network.bridge.wait(self.work.folders.clone().end("Haul was stopped"));
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            let _ = thread.join();
        }
    }
}

impl Work {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self) {
        let mut pause = Duration::ZERO;
        loop {
            let mut state = self.lock();
            let until = Instant::now() + pause;
            while !state.is_dirty && !state.is_ending && Instant::now() < until {
                let left = until.saturating_duration_since(Instant::now());
                state = self.wake.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
            }
            if state.is_ending || self.cancel.is_cancelled() {
                return;
            }
            state.is_dirty = false;
            let config = state.config.clone();
            drop(state);
            let is_served = self.serve(&config);
            let is_mounted = self.mount(&config);
            match self.app.broker(&self.cancel) {
                Ok(broker) => (self.hears.broker)(broker),
                Err(failure) => self.warn(failure),
            }
            let warned = &mut self.lock().warned;
            warned.1 = std::mem::take(&mut warned.0);
            pause = if is_served && is_mounted { LOOK_AGAIN } else { SOON };
        }
    }

    /// Says what is wrong, unless the pass before has said the same. A stop is nothing wrong.
    fn warn(&self, failure: impl Into<Failure>) {
        let failure = failure.into();
        if failure.code == INTERRUPTED {
            return;
        }
        let hint = failure.hint.map(|hint| format!("; {hint}")).unwrap_or_default();
        let line = format!("warning: {}{hint}", failure.message);
        let is_new = {
            let warned = &mut self.lock().warned;
            warned.0.insert(line.clone()) && !warned.1.contains(&line)
        };
        if is_new {
            say(&line);
        }
    }

    /// Makes the folders what the configuration says, and says whether all are.
    fn serve(&self, config: &Config) -> bool {
        let wanted: BTreeMap<String, String> =
            config.destinations().map(|(name, named)| (name.to_owned(), made_of(named))).collect();
        let (served, unfit, held) = {
            let mut state = self.lock();
            state.unfit.retain(|name, of| wanted.get(name) == Some(of));
            (state.served.clone(), state.unfit.clone(), state.held.clone())
        };
        let stays = |name: &str| held.contains_key(name) && served.contains_key(name);
        let mut all = true;
        let differing = served.iter().filter(|(name, of)| wanted.get(*name) != Some(of)).map(|(name, _)| name);
        for name in differing.filter(|name| !stays(name)) {
            self.app.network.bridge.wait(self.folders.remove(name));
            let mut state = self.lock();
            state.served.remove(name);
            state.mounted.remove(name);
        }
        folder::forget_others(|name| wanted.contains_key(name) || held.contains_key(name));
        let missing = wanted.iter().filter(|(name, of)| served.get(*name) != Some(of) && !unfit.contains_key(*name));
        for (name, of) in missing.filter(|(name, _)| !stays(name)) {
            match self.shared(config, name) {
                // Not a place for a stream.
                Ok(None) => drop(self.lock().unfit.insert(name.clone(), of.clone())),
                Ok(Some(shared)) => match self.app.network.bridge.wait(self.folders.add(shared)) {
                    Ok(()) => drop(self.lock().served.insert(name.clone(), of.clone())),
                    Err(error) => {
                        let why = engine::plain_reason(&error);
                        self.warn(Failure::new(FAILED, format!("{name} can't be served to Home Assistant: {why}")));
                        all = false;
                    }
                },
                Err(failure) => {
                    let message = format!("{name} can't be served to Home Assistant: {}", failure.message);
                    self.warn(Failure { message, ..failure });
                    all = false;
                }
            }
        }
        all
    }

    fn shared(&self, config: &Config, name: &str) -> Result<Option<Shared>, Failure> {
        let destination = destination::resolve(config, name)?;
        let network = &self.app.network;
        let changed = Arc::clone(&self.hears.changed);
        let tell = move |line: &str, is_bad: bool| changed(line, is_bad);
        let Some(shared) = folder::of(name, &destination, network, tell)? else { return Ok(None) };
        let (of, changed) = (name.to_owned(), Arc::clone(&self.hears.changed));
        let on_event = Arc::new(move |event: Event| {
            let (line, is_bad) = (format!("{of}: {}", happened(&event)), matches!(event, Event::Failed { .. }));
            // It is written down before the client hears of it, and a slow disk holds up no other client.
            tokio::task::block_in_place(|| changed(&line, is_bad));
        });
        let remaker = Some(self.app.expected.of(name));
        let (of, is_kept) = (name.to_owned(), Arc::clone(&self.hears.is_kept));
        let keeps = Arc::new(move |archive: &str| is_kept(&of, archive));
        Ok(Some(Shared { keeps, remaker, on_event, ..shared }))
    }

    /// Where Supervisor reaches the folders. The app's own address is another one when it is installed anew.
    fn server(&self) -> Result<String, Failure> {
        if !self.address.ip().is_unspecified() {
            return Ok(self.address.ip().to_string());
        }
        let own = self.app.ask(&self.cancel, self.app.supervisor.own_app())?.address();
        own.map(|address| address.to_string()).ok_or_else(|| {
            Failure::new(FAILED, "Supervisor does not know this app's address yet").hint("it is asked again soon")
        })
    }

    /// Makes Supervisor's network storage what the folders are, and says whether it is.
    fn mount(&self, config: &Config) -> bool {
        let address = match self.server() {
            Ok(address) => address,
            Err(failure) => {
                let message = format!("Home Assistant can't use the locations yet: {}", failure.message);
                self.warn(Failure { message, ..failure });
                return false;
            }
        };
        let (renewed, told, unfit) = {
            let state = self.lock();
            (state.renewed, state.is_told.clone(), state.unfit.clone())
        };
        // One that can't be served just now keeps its storage, and every other one its name.
        let fit = config.destinations().map(|(name, _)| name).filter(|name| !unfit.contains_key(*name));
        let names = mount_names(fit);
        let wanted: Vec<Wanted> = names
            .iter()
            .map(|(destination, name)| Wanted {
                name: name.clone(),
                server: address.clone(),
                port: Some(self.address.port()),
                share: destination.clone(),
                user: USER.to_owned(),
                password: self.password.clone(),
                is_renewed: renewed && !told.contains(name),
            })
            .collect();
        let ours = Ours::at([address]);
        let (app, cancel) = (&self.app, &self.cancel);
        let before = destination::state_directory().join(DEFAULT);
        // An earlier pass, or an app that was killed, could not set it back.
        if let Ok(default) = std::fs::read_to_string(&before) {
            let default = Some(default.trim()).filter(|default| !default.is_empty());
            if let Err(error) = app.ask(cancel, mount::restore_default(&app.supervisor, default, &ours)) {
                self.warn(error);
                return false;
            }
            let _ = std::fs::remove_file(&before);
        }
        let kept = mount::keep(&app.supervisor, &wanted, &ours, |default| {
            // Whatever it is, an app that is killed in between finds it there.
            let _ = private::write(&before, default.unwrap_or_default().as_bytes());
        });
        match app.ask(cancel, kept) {
            Ok(kept) => {
                let mut state = self.lock();
                state.is_told.extend(kept.working.iter().cloned());
                state.mounted = names.into_iter().filter(|(_, name)| kept.working.contains(name)).collect();
                drop(state);
                self.wake.notify_all();
                let is_complete = kept.is_complete();
                for error in kept.failed.into_iter().map(|failed| failed.error).chain(kept.default) {
                    self.warn(Unanswered::Failed(error));
                }
                if is_complete {
                    let _ = std::fs::remove_file(&before);
                }
                is_complete
            }
            Err(error) => {
                // Whoever waits for one waits until Supervisor answers again.
                self.lock().mounted.clear();
                self.warn(error);
                false
            }
        }
    }
}

/// All that a folder goes by: when it changes, the folder is made anew.
fn made_of(named: &Named) -> String {
    let limit = named.common.limit.as_ref().map(Limit::rate);
    format!("{} {:?} {limit:?} {:?}", named.address.plain(), named.said(), named.common.give_up_after)
}

/// The name of Supervisor's storage for each destination: letters, digits and `_` alone.
fn mount_names<'n>(destinations: impl Iterator<Item = &'n str>) -> BTreeMap<String, String> {
    let mut names = BTreeMap::new();
    let mut taken = BTreeSet::new();
    for destination in destinations {
        let plain = mount_name(destination);
        let name = (1..).map(|number| {
            if number == 1 {
                plain.clone()
            } else {
                format!("{}_{number}", &plain[..plain.len().min(LONGEST_NAME - 4)])
            }
        });
        if let Some(name) = name.into_iter().find(|name| taken.insert(name.clone())) {
            names.insert(destination.to_owned(), name);
        }
    }
    names
}

fn mount_name(destination: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
    PREFIX.chars().chain(destination.chars().map(plain)).take(LONGEST_NAME).collect()
}

/// The password of the folders: one for all of them, made at the first start. Whether it is new.
fn password() -> Result<(Secret, bool), Failure> {
    let path = destination::state_directory().join(PASSWORD);
    let shown = path.display();
    match std::fs::read_to_string(&path) {
        Ok(text) if !text.trim().is_empty() => return Ok((Secret::new(text.trim()), false)),
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => {
            return Err(Failure::new(FAILED, format!("can't read {shown}: {}", engine::plain_reason(&error)))
                .hint("remove it, and Haul makes a new password for its folders"));
        }
    }
    let mut bytes = [0; 16];
    let text = getrandom::fill(&mut bytes).map(|()| HEXLOWER.encode(&bytes)).map_err(io::Error::other);
    let kept = text.and_then(|text| private::write(&path, text.as_bytes()).map(|()| text));
    match kept {
        Ok(text) => Ok((Secret::new(text), true)),
        Err(error) => Err(Failure::new(FAILED, format!("can't write {shown}: {}", engine::plain_reason(&error)))
            .hint("make room in the state directory")),
    }
}

fn happened(event: &Event) -> String {
    match event {
        Event::Arrived { name, size } => {
            format!("Home Assistant wrote {} ({})", text::sanitize(name), text::bytes(*size))
        }
        Event::Failed { name, reason } => {
            format!("Home Assistant could not write {}: {}", text::sanitize(name), text::sanitize(reason))
        }
        Event::Deleted { name } => format!("Home Assistant deleted {}", text::sanitize(name)),
        Event::Kept { name } => format!("{} is kept; Home Assistant asked to delete it", text::sanitize(name)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_destination_has_a_storage_of_a_name_that_supervisor_takes() {
        let names = mount_names(["nas", "nas-1", "nas_1", "Größe"].into_iter());
        let names: Vec<(&str, &str)> = names.iter().map(|(of, name)| (of.as_str(), name.as_str())).collect();
        assert_eq!(
            names,
            [("Größe", "haul_Gr__e"), ("nas", "haul_nas"), ("nas-1", "haul_nas_1"), ("nas_1", "haul_nas_1_2")]
        );
        let long = ["a".repeat(70), "a".repeat(80)];
        let names = mount_names(long.iter().map(String::as_str));
        assert!(names.len() == 2 && names.values().all(|name| name.len() <= LONGEST_NAME), "{names:?}");
    }
}
