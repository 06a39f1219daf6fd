//! From the destination that the user typed to a connection with it.
//!
//! A destination is a name from `haul.toml`, a URL or a path; followed by `/NAME.tar`, it is one archive there. `store`
//! implements the kinds of destinations; this module holds what all connections of one run share.

use std::{
    env,
    io::{self, BufRead, IsTerminal, Write, stderr, stdin},
    ops::Range,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use engine::{
    Progress,
    read::{ArchiveSource, Source},
};
use rustix::event::PollFlags;
use store::{
    Address, Bridge, Cancellation, Context, Entry, Limit, Options, Sink, Store, StoreError, Tuning,
    inbound::RemoteFile,
    retry::{Pause, RetryPolicy, Waiting},
    stdout::Stdout,
};

use crate::{
    args::{VerifyArg, WaitingArgs},
    config::{Common, Config},
    failure::{FAILED, Failure, INTERRUPTED, USAGE},
    output, password,
};

/// A destination, and perhaps one archive there.
#[derive(Clone, Debug)]
pub(crate) struct Destination {
    /// As the user typed it, without what may be a secret.
    pub(crate) typed: String,
    pub(crate) address: Address,
    pub(crate) options: Options,
    pub(crate) common: Common,
    /// The archive's name there.
    pub(crate) name: Option<String>,
}

impl Destination {
    /// The name of the archive that must have been given.
    pub(crate) fn archive(&self) -> Result<&str, Failure> {
        self.name.as_deref().ok_or_else(|| {
            Failure::usage(format!("{} is a destination; expected an archive", self.typed))
                .hint(format!("write {}/NAME.tar; `haul list {0}` shows the names", self.typed.trim_end_matches('/')))
        })
    }

    /// The destination without the archive's name, as the user would type it.
    pub(crate) fn destination_typed(&self) -> String {
        let name = self.name.as_deref().unwrap_or_default();
        match &self.address {
            Address::Local(_) => self.address.to_string(),
            _ => self
                .typed
                .strip_suffix(name)
                .map_or_else(|| self.address.to_string(), |rest| rest.trim_end_matches('/').to_owned()),
        }
    }

    /// The same, where reading keeps to the rate of sending, and shares it.
    #[must_use]
    pub(crate) fn reading_within_limit(mut self) -> Self {
        self.common.read_limit.clone_from(&self.common.limit);
        self
    }

    /// Whether its copy is read back: what was typed, else what it says of itself, else what the command's table says.
    pub(crate) fn is_read_back(&self, given: Option<VerifyArg>, config: &Config) -> bool {
        let (own, table) = (self.common.verify, config.is_from_table("verify"));
        let verify = if table { own.or(given) } else { given.or(own) };
        verify == Some(VerifyArg::ReadBack)
    }

    /// Refuses an archive's name where a whole destination is expected.
    pub(crate) fn require_whole(&self) -> Result<(), Failure> {
        match &self.name {
            Some(name) => Err(Failure::usage(format!("{} names an archive; expected a destination", self.typed))
                .hint(format!("leave out /{name}"))),
            None => Ok(()),
        }
    }

    /// The path of an archive of this machine, whatever its name ends in.
    pub(crate) fn local_archive(&self) -> Option<PathBuf> {
        let Address::Local(directory) = &self.address else { return None };
        Some(match &self.name {
            None => directory.clone(),
            // As it was typed, and not with a ./ in front.
            Some(name) if directory.as_os_str() == "." => PathBuf::from(name),
            Some(name) => directory.join(name),
        })
    }
}

/// A wait for a destination is reported when it lasts this long,
const SAY_AFTER: Duration = Duration::from_secs(1);
/// and again after this.
const SAY_AGAIN: Duration = Duration::from_secs(30);

/// Whether an archive goes to standard output, which takes one and no more.
pub(crate) fn uses_stdout(goals: &[Destination]) -> Result<bool, Failure> {
    match goals.iter().filter(|goal| goal.address == Address::Stdout).count() {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(Failure::usage("standard output is given more than once").hint("give --to - once")),
    }
}

/// Whether a name ends as every archive's does. Other commands recognise archives by that.
fn has_archive_ending(name: &str) -> bool {
    Path::new(name).extension().is_some_and(|extension| extension == "tar")
}

/// The longest name that a file system takes with the ending that marks a pinned archive.
const LONGEST_NAME: usize = 255 - ".pin".len();

/// Refuses a name under which no other command would find the archive again.
pub(crate) fn check_archive_name(name: &str) -> Result<(), Failure> {
    if !has_archive_ending(name) || name == ".tar" {
        return Err(Failure::usage(format!(
            "{name:?} does not end in .tar, so no other command would find the archive"
        ))
        .hint("give a name that ends in .tar"));
    }
    if name.len() > LONGEST_NAME {
        let message = format!("the name {name:?} has {} bytes; the limit is {LONGEST_NAME}", name.len());
        return Err(Failure::usage(message).hint("give a shorter name"));
    }
    Ok(())
}

/// Parses the destination that the user typed. It touches only the local file system, to distinguish directories from
/// archives.
pub(crate) fn resolve(config: &Config, text: &str) -> Result<Destination, Failure> {
    let (first, rest) = text.split_once('/').unwrap_or((text, ""));
    let Some(named) = config.destination(first) else {
        let address = Address::parse(text)?;
        if let Address::Local(path) = &address
            && !path.exists()
        {
            if let Some(near) = config.nearest_destination(first) {
                let message = format!("there is neither a destination nor a file {first:?}; did you mean {near:?}?");
                return Err(Failure::usage(message).hint("`haul destination list` shows the names in haul.toml"));
            }
            // A bare word is a destination's name, or a new file; making a directory of that name would hide the
            // mistake.
            if !text.contains('/') && !has_archive_ending(text) {
                let message =
                    format!("{text:?} is neither a directory on this machine nor a destination: {}", config.searched());
                return Err(Failure::usage(message).hint(format!(
                    "define it in haul.toml as [destinations.{text}], or give the path of an existing directory"
                )));
            }
        }
        let (address, name) = address.split_name();
        // `%2F` in an address: a name that leads somewhere else.
        if let Some(name) = name.as_deref().filter(|name| name.contains(['/', '\0'])) {
            return Err(
                Failure::usage(format!("{name:?} is not an archive name")).hint("an archive name contains no slash")
            );
        }
        let typed = if matches!(address, Address::Remote(_)) { store::address::shown(text) } else { text.to_owned() };
        return Ok(Destination { typed, address, options: Options::default(), common: Common::default(), name });
    };
    let steps: Vec<&str> = rest.split('/').filter(|step| !step.is_empty()).collect();
    let (folders, name) = match steps.split_last() {
        Some((last, folders)) if has_archive_ending(last) => (folders, Some((*last).to_owned())),
        _ => (steps.as_slice(), None),
    };
    let mut address = named.address.clone();
    match &mut address {
        Address::Local(path) => path.extend(folders),
        Address::Remote(url) => {
            if let (false, Ok(mut path)) = (folders.is_empty(), url.path_segments_mut()) {
                path.pop_if_empty().extend(folders);
            }
        }
        Address::Stdout => {}
    }
    Ok(Destination {
        typed: text.to_owned(),
        address,
        options: named.options.clone(),
        common: named.common.clone(),
        name,
    })
}

/// Opens vaults; asks for the password where somebody is there to answer.
pub(crate) fn opener() -> vault::Opener {
    vault::Opener { ask: Some(Arc::new(|question| password::prompt(question).map(Into::into))) }
}

/// What all connections of one run share.
#[derive(Clone)]
pub(crate) struct Network {
    pub(crate) bridge: Bridge,
    pub(crate) context: Context,
    /// `--give-up-after` of the command line or the environment, which beats what the file says of a destination.
    given: Option<Duration>,
    /// The rate of the command's table yields to that of a destination.
    yields: bool,
    /// A destination that does not answer within this time when it is first called is away.
    contact: Option<Duration>,
    connected: Arc<Connected>,
}

/// The connected destinations. Their notes are printed once, at the end of the command.
#[derive(Default)]
struct Connected(Mutex<Vec<Arc<dyn Store>>>);

impl Connected {
    fn add(&self, store: &Arc<dyn Store>) {
        let mut connected = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // A service connects again and again: what nobody uses any more stays only if it has something to say.
        connected.retain(|store| Arc::strong_count(store) > 1 || !store.notes().is_empty());
        connected.push(Arc::clone(store));
    }
}

impl Drop for Connected {
    fn drop(&mut self) {
        let connected = self.0.get_mut().unwrap_or_else(PoisonError::into_inner);
        let mut notes = Vec::new();
        for note in connected.iter().flat_map(|destination| destination.notes()) {
            if !notes.contains(&note) {
                notes.push(note);
            }
        }
        output::notes("note", notes.into_iter());
    }
}

impl Network {
    /// `give_up_after` is what the command line says of it.
    pub(crate) fn start(give_up_after: Option<Duration>, cancel: &Cancellation) -> Result<Self, Failure> {
        // Fails only when there is one already, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let bridge = Bridge::start().map_err(|error| {
            Failure::new(FAILED, format!("can't start the network's threads: {}", engine::plain_reason(&error)))
        })?;
        let tuning =
            Tuning { give_up_after: give_up_after.unwrap_or(Tuning::default().give_up_after), ..Tuning::default() };
        let mut context = Context::new(tuning, state_directory(), cancel.clone())?;
        if stdin().is_terminal() && stderr().is_terminal() {
            let cancel = cancel.clone();
            context.ask = Some(Arc::new(move |question| ask(question, &cancel)));
        }
        context.vaults = Some(Arc::new(opener()));
        Ok(Self { bridge, context, given: give_up_after, yields: false, contact: None, connected: Arc::default() })
    }

    /// What only the command's table says yields to what the destination says of itself.
    #[must_use]
    pub(crate) fn heeding(mut self, config: &Config) -> Self {
        if config.is_from_table("give_up_after") {
            self.given = None;
        }
        self
    }

    /// All uploads together keep to this rate (`--limit`).
    #[must_use]
    pub(crate) fn limited(mut self, rate: Option<u64>, config: &Config) -> Self {
        self.context.limit = rate.map(Limit::new);
        self.yields = config.is_from_table("limit");
        self
    }

    /// What does not answer within this time when it is first called is away.
    #[must_use]
    pub(crate) fn answering_within(mut self, contact: Option<Duration>) -> Self {
        self.contact = contact;
        self
    }

    /// What the engine needs of it.
    pub(crate) fn sockets(&self) -> store::outbound::Network<'_> {
        store::outbound::Network { bridge: &self.bridge, context: &self.context }
    }

    /// The shared context with what the file says of this destination.
    pub(crate) fn context_for(&self, destination: &Destination) -> Context {
        let mut context = self.context.clone();
        if let (None, Some(duration)) = (self.given, destination.common.give_up_after) {
            context.tuning.give_up_after = duration;
        }
        // Nobody waits for a sign of life longer than a destination may fail altogether.
        context.tuning.stall = context.tuning.stall.min(context.tuning.give_up_after);
        if (context.limit.is_none() || self.yields)
            && let Some(own) = &destination.common.limit
        {
            context.limit = Some(own.clone());
        }
        context.read_limit.clone_from(&destination.common.read_limit);
        if context.tuning.part_size.is_none() {
            context.tuning.part_size = destination.common.part_size;
        }
        context
    }

    /// Makes contact, patiently.
    pub(crate) fn connect(&self, destination: &Destination) -> Result<Arc<dyn Store>, Failure> {
        Ok(self.reach(destination, &self.context_for(destination))?)
    }

    /// As [`Self::connect`], to send something there: standard output will do.
    pub(crate) fn connect_to_send(&self, destination: &Destination) -> Result<Arc<dyn Sink>, Failure> {
        Ok(if destination.address == Address::Stdout { Arc::new(Stdout) } else { self.connect(destination)? })
    }

    /// As [`Self::connect`], to look at what is there: a directory that is missing was mistyped, and is not made.
    pub(crate) fn connect_to_look(&self, destination: &Destination) -> Result<Arc<dyn Store>, Failure> {
        let context = Context { only_looks: true, ..self.context_for(destination) };
        self.reach(destination, &context).map_err(|error| match error {
            StoreError::Missing(_) => Failure::from(error).hint("check the path"),
            StoreError::NotADirectory(_) => Failure::from(error).hint("give a directory with archives in it"),
            error if error.kind() == Some(store::Kind::NotFound) => Failure { code: USAGE, ..error.into() },
            error => error.into(),
        })
    }

    /// As [`Self::connect`] for somebody who waits for the answer and can ask again: one attempt, which takes no longer
    /// than this. A directory that is missing is not made if the caller `only_looks`.
    pub(crate) fn try_once(
        &self,
        destination: &Destination,
        within: Duration,
        only_looks: bool,
    ) -> Result<Arc<dyn Store>, StoreError> {
        let context = Context { only_looks, ..self.context_for(destination) };
        let policy = RetryPolicy::new(&context);
        let attempt = store::connect(&destination.address, &destination.options, &context);
        let late = || {
            let why = format!("it does not answer within {} s", within.as_secs());
            let kind = store::Kind::Transient { retry_after: None };
            StoreError::remote(destination.address.to_string(), store::Operation::Connect, kind, why)
        };
        // The clock is that of the runtime, where the caller need not be.
        let connected = async { policy.unless_cancelled(tokio::time::timeout(within, attempt)).await };
        let store = self.bridge.wait(connected)?.unwrap_or_else(|_| Err(late()))?;
        self.connected.add(&store);
        Ok(store)
    }

    fn reach(&self, destination: &Destination, context: &Context) -> Result<Arc<dyn Store>, StoreError> {
        let mut patience = context.clone();
        if let Some(contact) = self.contact {
            patience.tuning.give_up_after = patience.tuning.give_up_after.min(contact);
        }
        let policy = RetryPolicy::new(&patience);
        let label = destination.address.to_string();
        let store = self.patiently(
            &policy,
            policy.contact(&label, || store::connect(&destination.address, &destination.options, context)),
        )?;
        self.connected.add(&store);
        Ok(store)
    }

    /// Connects to all of them at the same time: a dead one must not delay the next.
    pub(crate) fn connect_all(&self, destinations: &[&Destination]) -> Vec<Result<Arc<dyn Sink>, Failure>> {
        std::thread::scope(|scope| {
            let trying: Vec<_> =
                destinations.iter().map(|destination| scope.spawn(|| self.connect_to_send(destination))).collect();
            let died = || Failure::new(FAILED, "connecting ended unexpectedly");
            trying.into_iter().map(|thread| thread.join().unwrap_or_else(|_| Err(died()))).collect()
        })
    }

    /// Makes a request to a connected destination, with retries.
    pub(crate) fn ask<T, F: Future<Output = Result<T, StoreError>>>(
        &self,
        destination: &Destination,
        question: impl FnMut() -> F,
    ) -> Result<T, Failure> {
        let policy = RetryPolicy::new(&self.context_for(destination));
        Ok(self.patiently(&policy, policy.retry(question))?)
    }

    /// What a destination has under a typed name, which may have appeared a moment ago.
    pub(crate) fn find(
        &self,
        destination: &Destination,
        store: &Arc<dyn Store>,
        name: &str,
    ) -> Result<Option<Entry>, Failure> {
        let policy = RetryPolicy::new(&self.context_for(destination));
        // A directory of this machine shows at once what it has.
        let is_here = matches!(destination.address, Address::Local(_));
        let found = async { if is_here { store.entry(name).await } else { policy.found(|| store.entry(name)).await } };
        Ok(self.patiently(&policy, found)?)
    }

    /// Waits for `work`, and says on standard error what for when that takes long: a command that is silent looks
    /// broken.
    fn patiently<T>(&self, policy: &RetryPolicy, work: impl Future<Output = T>) -> T {
        self.bridge.wait(async {
            let mut work = std::pin::pin!(work);
            let mut said: Option<(String, Instant)> = None;
            loop {
                if let Ok(done) = tokio::time::timeout(SAY_AFTER, &mut work).await {
                    return done;
                }
                let Some(Waiting { what: Pause::Retry(now), .. }) = policy.waiting() else { continue };
                if said.as_ref().is_none_or(|(reason, when)| *reason != now || when.elapsed() >= SAY_AGAIN) {
                    output::notes("waiting", std::iter::once(format!("{now}; trying again")));
                    said = Some((now, Instant::now()));
                }
            }
        })
    }
}

/// An archive to read: a file of this machine, or an object that is fetched by ranges as it is needed.
pub(crate) fn archive(
    config: &Config,
    typed: &Path,
    waiting: &WaitingArgs,
    progress: &Arc<Progress>,
    cancel: &Cancellation,
) -> Result<ArchiveSource, Failure> {
    // A name that is no text can only be a file's.
    let Some(text) = typed.to_str() else { return Ok(typed.into()) };
    let destination = resolve(config, text)?;
    if let Some(path) = destination.local_archive() {
        return Ok(ArchiveSource::Path(path));
    }
    let name = destination.archive()?;
    let network = Network::start(waiting.give_up_after, cancel)?;
    let store = network.connect_to_look(&destination)?;
    let file = RemoteFile::open(&network.bridge, &network.context_for(&destination), store, name)?;
    progress.fetch(file.policy().clone());
    Ok(ArchiveSource::Remote(Arc::new(Far(file))))
}

/// A remote object, as the engine and the archive format read it.
pub(crate) struct Far(pub(crate) RemoteFile);

impl Source for Far {
    fn label(&self) -> String {
        self.0.label()
    }

    fn length(&self) -> u64 {
        self.0.len()
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.0.read_exact_at(buffer, offset)
    }

    fn announce(&self, range: Range<u64>) {
        self.0.announce(range);
    }

    fn unchanged(&self) -> io::Result<()> {
        self.0.unchanged().map_err(io::Error::other)
    }
}

impl habackup::read_at::ReadAt for Far {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.0.read_exact_at(buffer, offset)
    }

    fn len(&self) -> u64 {
        self.0.len()
    }
}

/// Asks before something is removed. Without a terminal nobody can answer, so the flag must say it.
pub(crate) fn confirm(question: &str, cancel: &Cancellation) -> Result<bool, Failure> {
    if !stdin().is_terminal() || !stderr().is_terminal() {
        return Err(Failure::usage("there is no terminal to ask at").hint("add --yes if you are sure"));
    }
    let answer = ask(&format!("{question} [y/N]"), cancel);
    if cancel.is_cancelled() {
        return Err(Failure::new(INTERRUPTED, "interrupted; nothing was changed"));
    }
    Ok(answer.is_some_and(|answer| matches!(answer.to_lowercase().as_str(), "y" | "yes")))
}

/// The variable that names another state directory.
const STATE: &str = "HAUL_STATE";
/// The state directory of the system's service. Root's commands are to find the service, so it is theirs as well.
const SYSTEM_STATE: &str = "/var/lib/haul";

/// Refuses a state directory that would be another one wherever Haul is started.
pub(crate) fn check_state_directory() -> Result<(), Failure> {
    match env::var_os(STATE).map(PathBuf::from) {
        Some(path) if path.is_relative() && !path.as_os_str().is_empty() => {
            let shown = engine::shown(path.as_os_str().as_encoded_bytes());
            let message = format!("the environment variable {STATE} names {shown}, which is not a path from / on");
            Err(Failure::usage(message).hint("give the whole path of a directory, such as /var/lib/haul, or unset it"))
        }
        _ => Ok(()),
    }
}

/// Where sessions, tokens and keys of this user are kept. Not made here.
pub(crate) fn state_directory() -> PathBuf {
    // The XDG specification wants a relative path to be ignored.
    let absolute = |name| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let system = || {
        let path = PathBuf::from(SYSTEM_STATE);
        (rustix::process::geteuid().is_root() && path.is_dir()).then_some(path)
    };
    absolute(STATE)
        .or_else(|| Some(absolute("XDG_STATE_HOME")?.join("haul")))
        .or_else(system)
        .or_else(|| Some(store::home_directory()?.join(".local/state/haul")))
        .unwrap_or_else(|| PathBuf::from(SYSTEM_STATE))
}

fn ask(question: &str, cancel: &Cancellation) -> Option<String> {
    // Destinations that are tried at the same time take turns at the terminal.
    static TERMINAL: Mutex<()> = Mutex::new(());
    let _turn = TERMINAL.lock().unwrap_or_else(PoisonError::into_inner);
    let mut out = stderr().lock();
    write!(out, "{question} ").and_then(|()| out.flush()).ok()?;
    // A terminal gives a line at a time, so nothing of it can be in the buffer already.
    if !cancel.ready(stdin(), PollFlags::IN).ok()? {
        let _ = writeln!(out);
        return None;
    }
    let mut answer = String::new();
    stdin().lock().read_line(&mut answer).ok()?;
    let answer = answer.trim();
    (!answer.is_empty()).then(|| answer.to_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn at(address: &str, verify: Option<VerifyArg>) -> Destination {
        let common = Common { verify, ..Common::default() };
        Destination {
            typed: address.to_owned(),
            address: Address::parse(address).unwrap(),
            options: Options::default(),
            common,
            name: None,
        }
    }

    #[test]
    fn a_destination_is_read_back_when_it_says_so_unless_something_else_was_typed() {
        let config = Config::default();
        let (thorough, plain) = (at("/a", Some(VerifyArg::ReadBack)), at("/b", None));
        assert!(thorough.is_read_back(None, &config) && !plain.is_read_back(None, &config));
        assert!(!thorough.is_read_back(Some(VerifyArg::Auto), &config), "what was typed counts");
        assert!(plain.is_read_back(Some(VerifyArg::ReadBack), &config));
    }

    #[test]
    fn what_nobody_uses_any_more_is_let_go_however_often_it_is_connected_with() {
        let directory = tempfile::tempdir().unwrap();
        let network = Network::start(None, &Cancellation::default()).unwrap();
        let connect = || network.try_once(&at(directory.path().to_str().unwrap(), None), Duration::from_secs(9), true);
        let used = connect().unwrap();
        for _ in 0..5 {
            drop(connect().unwrap());
        }
        let kept = network.connected.0.lock().unwrap();
        assert!(kept.len() == 2 && kept.iter().any(|store| Arc::ptr_eq(store, &used)), "{}", kept.len());
    }

    #[test]
    fn a_mistyped_name_in_a_directory_is_asked_for_once() {
        let directory = tempfile::tempdir().unwrap();
        let mut network = Network::start(None, &Cancellation::default()).unwrap();
        // The next question waits for this one.
        network.context.tuning.first_pause = Duration::from_hours(1);
        network.context.tuning.longest_pause = Duration::from_hours(1);
        let destination = at(directory.path().to_str().unwrap(), None);
        let store = network.connect_to_look(&destination).unwrap();
        let (answer, answered) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            answer.send(network.find(&destination, &store, "nothing.tar").is_ok_and(|found| found.is_none()))
        });
        assert!(answered.recv_timeout(Duration::from_mins(1)).unwrap());
    }

    #[test]
    fn what_a_destination_says_of_giving_up_yields_to_what_was_typed_only() {
        let cancel = Cancellation::default();
        let mut own = at("/a", None);
        own.common.give_up_after = Some(Duration::from_mins(5));
        let give_up_after =
            |network: &Network, destination: &Destination| network.context_for(destination).tuning.give_up_after;
        let typed = Network::start(Some(Duration::from_hours(2)), &cancel).unwrap();
        assert_eq!(give_up_after(&typed, &own), Duration::from_hours(2));
        let from_table = Network { given: None, ..typed.clone() };
        assert_eq!(give_up_after(&from_table, &own), Duration::from_mins(5));
        assert_eq!(
            give_up_after(&from_table, &at("/b", None)),
            Duration::from_hours(2),
            "the table's holds for the others"
        );
    }

    #[test]
    fn a_destinations_rate_yields_to_what_was_typed_only() {
        let cancel = Cancellation::default();
        let network = Network::start(None, &cancel).unwrap();
        let mut own = at("/a", None);
        own.common.limit = Some(Limit::new(100_000));
        let rate = |network: &Network, destination: &Destination| {
            network.context_for(destination).limit.map(|limit| limit.rate())
        };
        assert_eq!((rate(&network, &own), rate(&network, &at("/b", None))), (Some(100_000), None));
        let typed = network.limited(Some(50_000), &Config::default());
        assert_eq!((rate(&typed, &own), rate(&typed, &at("/b", None))), (Some(50_000), Some(50_000)));
        let from_table = Network { yields: true, ..typed };
        assert_eq!((rate(&from_table, &own), rate(&from_table, &at("/b", None))), (Some(100_000), Some(50_000)));
    }
}
