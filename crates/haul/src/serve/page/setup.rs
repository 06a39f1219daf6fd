//! Set-up from the page: config directories that are here, a location tried and written down, the first job.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use keeper::schedule::Schedule;
use peer::disk::replace_private;
use store::{
    Address, Cancellation, Kind, Options, Store,
    contract::{self, ContractOptions},
    machine,
    retry::RetryPolicy,
};
use url::Url;
use web::backend::{
    Choices, Encryption, Established, Filled, FoundDirectory, Invalid, JobSettings, Keep, Policy, SetUp,
};
use zeroize::Zeroizing;

use super::{
    containers,
    fresh::{free_name, make_one},
    kinds::{self, Configured},
    quick, sign_in,
    typed::{each_invalid, invalid, known_options, makes_folder, of, typed},
    unreached::{no_address, not_reached},
    written::{Written, cannot_write},
};
use crate::{
    config::{Config, edit::Draft},
    destination::{Destination, Network},
    failure::Failure,
    in_app, mounted,
};

/// Where Home Assistant's configuration usually is.
const USUAL: &[&str] = &[
    "/config",
    "/homeassistant",
    "/usr/share/hassio/homeassistant",
    "/var/lib/homeassistant",
    "/srv/homeassistant",
    "/home/homeassistant/.homeassistant",
    "/opt/homeassistant/config",
    "/docker/homeassistant",
];
/// How names of directories in the state directory begin whose secrets are tried.
const TRYING: &str = "trying-";
/// Somebody waits for the answer to a form; what does not answer within this time is away.
const SOON: Duration = Duration::from_secs(10);
/// The same where the answer is of use, but need not be.
const AT_ONCE: Duration = Duration::from_secs(5);
/// What is said of a folder for which it makes no difference whether its disk is mounted.
const ON_OWN_DISK: &str = "this folder is on this machine's own disk, so \"Only while its disk is there\" makes no \
                           difference: if the disk dies, the copies there are lost too";
/// Where backups of everything can go instead.
pub(super) const ELSEWHERE: &str = "use a folder of a network storage (in Home Assistant, Settings > System > Storage, for \
                                    Share), or another kind of location";
/// Home Assistant's own keys: so many groups of four of these.
const KEY_GROUPS: usize = 7;
const KEY_LETTERS: &[u8; 32] = b"ABCDEFGHJKLMNPQRSTUVWXYZ23456789";

/// What a user can choose from.
pub(super) fn choices(config: &Config) -> Choices {
    let home = store::home_directory().map(|home| home.join(".homeassistant"));
    let mut directories: Vec<PathBuf> = USUAL.iter().map(PathBuf::from).chain(home).collect();
    directories.extend(containers::config_directories());
    let mut found: Vec<FoundDirectory> = Vec::new();
    for directory in directories {
        let Ok(directory) = directory.canonicalize() else { continue };
        let Ok(version) = fs::read_to_string(directory.join(".HA_VERSION")) else { continue };
        let path = engine::shown(directory.as_os_str().as_encoded_bytes());
        if found.iter().all(|known| known.path != path) {
            let about = format!("Home Assistant {}", crate::text::sanitize(version.trim()));
            found.push(FoundDirectory { path, about });
        }
    }
    let existing = config.destinations().map(|(name, _)| name.to_owned()).collect();
    Choices { directories: found, kinds: kinds::offered(), existing }
}

/// Tries a location as `haul destination check` does.
pub(super) fn try_location(
    config: &Config,
    location: &Filled,
    cancel: &Cancellation,
) -> Result<Vec<String>, Vec<Invalid>> {
    let (destination, _held) = destination(config, location)?;
    let network = network(location, cancel)?;
    let is_missing = make_folder(location, &destination)?
        || makes_folder(location) && {
            let looked = network.try_once(&destination, SOON, true);
            looked.is_err_and(|error| error.kind() == Some(Kind::NotFound))
        };
    let store = reach(&network, &destination, location, SOON)?;
    let checked = (|| -> Result<Vec<String>, Failure> {
        let policy = RetryPolicy::new(&network.context_for(&destination));
        let mut lines = vec![format!("{} answers", store.label())];
        if is_missing {
            lines.push("the folder did not exist, so Haul made it".to_owned());
        }
        lines.extend(about_mount(config, location, &destination));
        if store.append_only() {
            lines.push("it keeps whatever it gets, so nothing was written there to try it".to_owned());
            lines.extend(store.notes());
            return Ok(lines);
        }
        let mut broken = Vec::new();
        let mut show = |finding: &contract::Finding| match &finding.outcome {
            contract::Outcome::Kept => lines.push(finding.rule.to_string()),
            contract::Outcome::Broken(why) => broken.push(format!("{}: {why}", finding.rule)),
            contract::Outcome::NotApplicable(_) => {}
        };
        let options = ContractOptions::default();
        network.bridge.wait(policy.unless_cancelled(contract::check(&*store, &options, &mut show)))?;
        if let Some(first) = broken.first() {
            return Err(Failure::usage(format!(
                "{} does not keep a rule that backups rely on: {first}",
                store.label()
            ))
            .hint("check the server's version, its proxy and the account's rights"));
        }
        if let Some(free) = network.ask(&destination, || store.space())? {
            lines.push(format!("{} are free", crate::text::bytes(free)));
        }
        lines.extend(store.notes());
        Ok(lines)
    })();
    checked.map_err(|failure| of(&failure).into())
}

/// Connects. A folder that is not there is most likely mistyped: only who says so gets it made.
fn reach(
    network: &Network,
    destination: &Destination,
    location: &Filled,
    within: Duration,
) -> Result<Arc<dyn Store>, Invalid> {
    let only_looks = kinds::makes_folders(&location.kind) && !makes_folder(location);
    network.try_once(destination, within, only_looks).map_err(|error| not_reached(location, error))
}

/// The connection for a location that is being set up.
fn network(location: &Filled, cancel: &Cancellation) -> Result<Network, Invalid> {
    let mut network = Network::start(None, cancel).map_err(|failure| of(&failure))?;
    // Nobody is at a terminal: the code was typed into the form, if there is one.
    network.context.ask = None;
    if location.kind == kinds::MACHINE {
        let (code, others) = (typed(location, kinds::CODE), network.context.environment.clone());
        network.context.environment = Arc::new(move |name| {
            if name == machine::CODE_VARIABLE { code.as_ref().map(|code| code.to_string()) } else { others(name) }
        });
    }
    Ok(network)
}

/// Does what has to be done elsewhere before a location can be written down: pairs with another machine, asks about a
/// host's key that nobody knows, makes its folder, or looks whether it is there. A host that is away is no reason not to write it
/// down.
pub(super) fn prepare(config: &Config, location: &Filled) -> Result<(), Vec<Invalid>> {
    let kind = location.kind.as_str();
    let must_answer = kind == kinds::MACHINE && (location.keeps.is_none() || typed(location, kinds::CODE).is_some());
    let asks_for_key = kind == kinds::SFTP && typed(location, kinds::HOST_KEY).is_none();
    let asks_for_folder = kinds::makes_folders(kind) && !makes_folder(location);
    if !(must_answer || asks_for_key || asks_for_folder || kind == kinds::LOCAL) {
        return Ok(());
    }
    let (destination, _held) = destination(config, location)?;
    make_folder(location, &destination)?;
    let known = location.keeps.as_ref().and_then(|name| config.destination(name));
    if !must_answer && !asks_for_key && known.is_some_and(|known| known.address == destination.address) {
        return Ok(());
    }
    let network = network(location, &Cancellation::default())?;
    let within = if must_answer { SOON } else { AT_ONCE };
    let Err(error) = network.try_once(&destination, within, asks_for_folder) else { return Ok(()) };
    let is_no_folder = asks_for_folder && error.kind() == Some(Kind::NotFound);
    let wrong = not_reached(location, error);
    if must_answer || is_no_folder || wrong.field.as_deref() == Some(kinds::HOST_KEY) {
        return Err(wrong.into());
    }
    Ok(())
}

/// What is said of a folder that is on a disk or share of its own.
fn about_mount(config: &Config, location: &Filled, destination: &Destination) -> Option<String> {
    let (Address::Local(path), kinds::LOCAL) = (&destination.address, location.kind.as_str()) else { return None };
    if typed(location, kinds::MOUNTED).is_some_and(|said| *said == kinds::NO) {
        return None;
    }
    let Some(point) = mounted::own_mount(path, &sources(config)) else {
        return Some(ON_OWN_DISK.to_owned());
    };
    let point = engine::shown(point.as_os_str().as_encoded_bytes());
    Some(format!("{point} is a disk or share of its own: Haul writes there only while it is mounted"))
}

/// What is wrong with a folder of this machine for a backup of everything.
pub(super) fn grows(config: &Config, name: &str, location: &Filled, sources: &[PathBuf]) -> Option<Invalid> {
    if location.kind == kinds::EXISTING {
        let (_, name) = location.fields.first()?;
        let folder = config.destination(name)?.in_every_backup()?;
        return Some(invalid("kind", in_every_backup(folder), Some(ELSEWHERE)));
    }
    let typed = typed(location, "path").filter(|_| location.kind == kinds::LOCAL)?;
    let path = Path::new(typed.as_str());
    let folder = in_app::folder_of(path)?;
    if must_be_mounted(config, name, location, path, sources).unwrap_or(true) {
        return None;
    }
    if mounted::own_mount(path, sources).is_some() {
        let message = "without its storage, this folder is on this machine's own disk, where each backup of everything \
                       would contain all earlier ones";
        return Some(invalid(kinds::MOUNTED, message, Some("tick this")));
    }
    Some(invalid("path", in_every_backup(folder), Some(ELSEWHERE)))
}

/// Why a folder can't have backups of everything.
pub(super) fn in_every_backup(folder: &str) -> String {
    format!(
        "this folder is on this machine's own disk, in {folder}, which each backup of everything contains: each would \
         contain all earlier ones"
    )
}

pub(super) fn sources(config: &Config) -> Vec<PathBuf> {
    config.jobs().iter().map(|job| job.source.clone()).collect()
}

/// Whether a folder is written to only while its disk is mounted: what was said of it, as far as there is one.
fn must_be_mounted(
    config: &Config,
    name: &str,
    location: &Filled,
    path: &Path,
    sources: &[PathBuf],
) -> Result<bool, Invalid> {
    let known = config.destination(name).map(|known| known.common.must_be_mounted);
    let said = typed(location, kinds::MOUNTED).map(|said| *said == kinds::YES);
    match (said, known) {
        (Some(false), _) | (None, Some(false)) => Ok(false),
        // The disk may be away just now.
        (_, Some(true)) => Ok(true),
        (_, None) => Ok(mounted::own_mount(path, sources).is_some()),
        (Some(true), Some(false)) if mounted::own_mount(path, sources).is_some() => Ok(true),
        (Some(true), Some(false)) => {
            let message = "this folder is not on a disk or share of its own, or nothing is mounted there now";
            Err(invalid(kinds::MOUNTED, message, Some("mount it first")))
        }
    }
}

/// Removes secrets that a killed service was trying.
pub(super) fn forget_tried(state: &Path) {
    for entry in fs::read_dir(state).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(TRYING) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// A directory that holds secrets only as long as they are tried.
pub(super) struct Held(PathBuf);

impl Held {
    /// Writes one into it, and makes it first if it is not there.
    pub(super) fn put(held: &mut Option<Self>, key: &str, secret: &str) -> Result<PathBuf, Invalid> {
        let Self(directory) = if let Some(held) = held {
            held
        } else {
            let number = u64::from_ne_bytes(random().map_err(|failure| of(&failure))?);
            held.insert(Self(crate::destination::state_directory().join(format!("{TRYING}{number:016x}"))))
        };
        let file = directory.join(key);
        replace_private(&file, secret.as_bytes()).map_err(|error| cannot_write(&file, &error))?;
        Ok(file)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Refuses to send a secret that was typed for one host to another one: whoever means that types it again.
fn secrets_stay(
    config: &Config,
    location: &Filled,
    settings: &[(String, String)],
    typed: &[(String, Zeroizing<String>)],
) -> Result<(), Invalid> {
    let Some(known) = location.keeps.as_ref().and_then(|name| config.destination(name)) else { return Ok(()) };
    let said = |key: &str| settings.iter().find(|(known, _)| known == key).map(|(_, text)| text.as_str());
    let before = receiver(&known.address.to_string(), known.options.get("endpoint"));
    let is_same = before.is_some() && before == receiver(said("url").unwrap_or_default(), said("endpoint"));
    let kept = known
        .options
        .keys()
        .find(|key| kinds::is_secret(&location.kind, key) && typed.iter().all(|(typed, _)| typed != key));
    match kept.and_then(|key| kinds::field_of(&location.kind, key)) {
        Some(field) if !is_same => {
            let hint = "enter it again if it is to be sent there";
            Err(invalid(field, "this was kept for another host", Some(hint)))
        }
        _ => Ok(()),
    }
}

/// Who gets what is sent to log in: of a bucket the endpoint, else the provider. It is read as the one that connects reads
/// it. Nothing: that is no address, and not the same as any other.
pub(super) fn receiver(url: &str, endpoint: Option<&str>) -> Option<(String, Option<String>, Option<u16>)> {
    let url = Url::parse(endpoint.unwrap_or(url)).ok()?;
    if endpoint.is_none() && url.scheme() == "s3" {
        return Some((url.scheme().to_owned(), None, None));
    }
    let host = url.host_str().filter(|host| !host.is_empty())?;
    Some((url.scheme().to_owned(), Some(host.to_owned()), url.port_or_known_default()))
}

/// A location as a destination, with its secrets in files for now.
pub(super) fn destination(config: &Config, location: &Filled) -> Result<(Destination, Option<Held>), Vec<Invalid>> {
    if location.kind == kinds::EXISTING {
        let name = location.fields.first().map(|(_, text)| text.to_string()).unwrap_or_default();
        if config.destination(&name).is_none() {
            return Err(invalid("kind", format!("there is no location {name:?} any more"), None).into());
        }
        let found = crate::destination::resolve(config, &name).map_err(|failure| of(&failure))?;
        return Ok((found, None));
    }
    let Configured { settings, secrets, .. } = kinds::configured(location).map_err(each_invalid)?;
    let url = &settings[0].1;
    let address = Address::parse(url).map_err(|error| no_address(&location.kind, error))?;
    secrets_stay(config, location, &settings, &secrets)?;
    // As the file means it: beside it.
    let beside = config.path().and_then(Path::parent).unwrap_or(Path::new(""));
    let address = match address {
        Address::Local(path) => Address::Local(beside.join(path)),
        other => other,
    };
    if let Address::Local(path) = &address
        && !path.is_dir()
        && !makes_folder(location)
    {
        let hint = "correct it, tick the box below to have it made, or mount the disk or share that it is on";
        return Err(invalid("path", format!("{} is not an existing folder", path.display()), Some(hint)).into());
    }
    let mut options = known_options(config, location);
    options.extend(settings.into_iter().skip(1).filter(|(key, _)| key != kinds::MOUNTED));
    if location.kind == kinds::GDRIVE {
        sign_in::check(&mut options)?;
    }
    let mut held = None;
    for (key, secret) in secrets {
        let file = Held::put(&mut held, &key, &secret)?;
        options.insert(key, file.to_string_lossy().into_owned());
    }
    let known = location.keeps.as_ref().and_then(|name| config.destination(name));
    let common = known.map(|known| known.common.clone()).unwrap_or_default();
    let typed = address.to_string();
    Ok((Destination { typed, address, options: Options::new(options), common, name: None }, held))
}

/// Makes the folder of this machine that is to be made, once nothing else is wrong. Whether it was missing. Folders
/// elsewhere are made by whoever connects first.
fn make_folder(location: &Filled, destination: &Destination) -> Result<bool, Invalid> {
    let Address::Local(path) = &destination.address else { return Ok(false) };
    if location.kind != kinds::LOCAL || !makes_folder(location) || path.is_dir() {
        return Ok(false);
    }
    let is_on_mount = typed(location, kinds::MOUNTED).is_none_or(|said| *said != kinds::NO);
    make_one(path, is_on_mount).map(|()| true)
}

fn random<const N: usize>() -> Result<[u8; N], Failure> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| {
        Failure::new(crate::failure::FAILED, format!("the system gives no random numbers: {error}"))
    })?;
    Ok(bytes)
}

/// A key like Home Assistant's own: seven groups of four letters and digits that are not mistaken for each other.
fn new_key() -> Result<Zeroizing<String>, Failure> {
    let bytes: [u8; KEY_GROUPS * 4] = random()?;
    let letters: Vec<u8> = bytes.iter().map(|byte| KEY_LETTERS[usize::from(byte % 32)]).collect();
    let groups: Vec<&str> = letters.chunks(4).filter_map(|group| std::str::from_utf8(group).ok()).collect();
    Ok(Zeroizing::new(groups.join("-")))
}

/// Where a path really leads.
fn real(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}

/// Everything that is wrong with what was filled in, as far as nobody has to be asked.
pub(super) fn mistakes(known: &Config, wanted: &SetUp) -> Vec<Invalid> {
    let source = Path::new(wanted.source.trim());
    let mut wrong: Vec<Invalid> = check_source(known, source).err().into_iter().collect();
    if !wanted.schedule.trim().is_empty() {
        wrong.extend(Schedule::parse(&wanted.schedule).err().map(|why| invalid("schedule", why, None)));
    }
    wrong.extend(wanted.quick.as_deref().and_then(quick::mistake));
    if wanted.keep == Some(0) {
        wrong.push(invalid("keep", "keep at least one backup, or leave it empty to keep all", None));
    }
    // That one is asked for when all else is right.
    if wanted.encryption != Encryption::HomeAssistants {
        wrong.extend(encrypted(&wanted.encryption).err());
    }
    if wanted.everything {
        wrong.extend(grows(known, "", &wanted.location, &[source.to_owned()]));
    }
    match destination(known, &wanted.location) {
        Err(all) => wrong.extend(all),
        Ok((Destination { address: Address::Local(path), .. }, _held))
            if wanted.location.kind == kinds::LOCAL && real(&path).starts_with(real(source)) =>
        {
            wrong.push(in_config_directory());
        }
        Ok(_) => {}
    }
    wrong
}

/// A backup there goes with what it is of.
pub(super) fn in_config_directory() -> Invalid {
    let hint = "a disk of its own, or a share of your NAS, is still there when Home Assistant's disk is not";
    invalid("path", "this folder is in the config directory itself", Some(hint))
}

/// Writes the configuration. Returns what came of it and the configuration that is then in force.
pub(super) fn set_up(path: &Path, wanted: &SetUp) -> Result<(Established, Config), Vec<Invalid>> {
    let source = Path::new(wanted.source.trim());
    let mut draft = Draft::open(path).map_err(|failure| of(&failure))?;
    let config = draft.config().clone();
    let wrong = mistakes(&config, wanted);
    if !wrong.is_empty() {
        return Err(wrong);
    }
    let key = encrypted(&wanted.encryption)?;
    let mut written = Written::default();
    let destination = if wanted.location.kind == kinds::EXISTING {
        wanted.location.fields.first().map(|(_, text)| text.to_string()).unwrap_or_default()
    } else {
        let Configured { name, .. } = kinds::configured(&wanted.location).map_err(each_invalid)?;
        let name = free_name(&name, |name| config.destination(name).is_some());
        let mut sources = sources(&config);
        sources.push(source.to_owned());
        set_location(&mut draft, &config, &name, &wanted.location, &sources, &mut written)?;
        name
    };
    let usual = if wanted.everything { "everything" } else { "home" };
    let job = free_name(usual, |name| config.jobs().iter().any(|job| job.name == name));
    let password_file = key.as_ref().map(|key| keep_key(&draft, &job, key, &mut written)).transpose()?;
    let schedule = wanted.schedule.trim();
    let settings = JobSettings {
        source: source.to_string_lossy().into_owned(),
        everything: wanted.everything,
        destinations: vec![destination],
        policy: Policy {
            schedule: (!schedule.is_empty()).then(|| schedule.to_owned()).into_iter().collect(),
            keep: Keep { last: wanted.keep, ..Keep::default() },
            ..Policy::default()
        },
        password_file,
        rehearse: Some("weekly".to_owned()),
        ..JobSettings::default()
    };
    draft.set_job(&job, &settings);
    if let Some(schedule) = &wanted.quick {
        quick::add(&mut draft, &settings, schedule)?;
    }
    let config = draft.save().map_err(|failure| of(&failure))?;
    written.stay(&config);
    Ok((Established { job, key, is_home_assistants: false }, config))
}

/// Whether this is a config directory that no job has; if not, which one may be meant.
fn check_source(known: &Config, source: &Path) -> Result<(), Invalid> {
    if !source.is_absolute() {
        return Err(invalid("source", "give the whole path of the directory, from /", None));
    }
    if source.join(".HA_VERSION").is_file() {
        let Some(job) = known.jobs().iter().find(|job| real(&job.source) == real(source)) else { return Ok(()) };
        // Pressing the button twice makes one of it.
        let hint = "add another location to it, or change it, in Settings";
        let message = format!("the automatic backup {:?} has this directory already", job.name);
        return Err(invalid("source", message, Some(hint)));
    }
    let shown = source.display();
    let entries = match fs::read_dir(source) {
        Ok(entries) => entries,
        Err(error) => {
            let hint = "it is the one with configuration.yaml and .HA_VERSION; this program must be allowed to read it";
            let why = engine::plain_reason(&error);
            return Err(invalid("source", format!("{shown} can't be read: {why}"), Some(hint)));
        }
    };
    let within = entries.flatten().map(|entry| entry.path()).find(|path| path.join(".HA_VERSION").is_file());
    let hint = match within {
        Some(within) => format!("did you mean {}?", within.display()),
        None => "it is the one with configuration.yaml and .HA_VERSION".to_owned(),
    };
    Err(invalid("source", format!("{shown} is not a config directory: it has no .HA_VERSION"), Some(&hint)))
}

/// The key that backups get, if they get one.
pub(super) fn encrypted(encryption: &Encryption) -> Result<Option<Zeroizing<String>>, Invalid> {
    match encryption {
        Encryption::HomeAssistants => Err(no_own_key()),
        Encryption::Nothing => Ok(None),
        Encryption::NewKey => new_key().map(Some).map_err(|failure| of(&failure)),
        Encryption::Key(key) if key.trim().is_empty() => {
            Err(invalid("key", "enter the encryption key, or choose another way", None))
        }
        Encryption::Key(key) if key.contains(char::is_control) => {
            Err(invalid("key", "the encryption key must be one line", None))
        }
        Encryption::Key(key) => Ok(Some(key.clone())),
    }
}

/// There is no key of Home Assistant's to take over.
pub(super) fn no_own_key() -> Invalid {
    invalid("key", "Home Assistant has no encryption key that Haul could take over", Some("choose another way"))
}

/// A file of its own for each key: older backups need theirs.
pub(super) fn keep_key(draft: &Draft, job: &str, key: &str, written: &mut Written) -> Result<String, Invalid> {
    written.keep_secret(draft, job, "key", key)
}

/// Writes a location down, and its secrets into files of their own.
pub(super) fn set_location(
    draft: &mut Draft,
    config: &Config,
    name: &str,
    location: &Filled,
    sources: &[PathBuf],
    written: &mut Written,
) -> Result<(), Vec<Invalid>> {
    let kinds::Configured { mut settings, secrets, .. } = kinds::configured(location).map_err(each_invalid)?;
    // What was there is looked for, so that nothing is saved that can't be.
    let (found, _held) = destination(config, location)?;
    if let (Address::Local(path), kinds::LOCAL) = (&found.address, location.kind.as_str()) {
        settings.retain(|(key, _)| key != kinds::MOUNTED);
        if must_be_mounted(config, name, location, path, sources)? {
            settings.push((kinds::MOUNTED.to_owned(), kinds::YES.to_owned()));
        }
    }
    for (key, secret) in secrets {
        let file = written.keep_secret(draft, name, &key, &secret)?;
        if let Some((_, before)) = draft.destination(name).into_iter().find(|(known, _)| *known == key) {
            written.drop_secret(draft, name, &before);
        }
        settings.push((key, file));
    }
    let mut others = kinds::keys(&location.kind);
    others.retain(|key| location.keeps.is_none() || !kinds::is_secret(&location.kind, key));
    draft.set_destination(name, &settings, &others);
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    #[test]
    fn secrets_that_a_killed_service_was_trying_go() {
        let state = tempfile::tempdir().unwrap();
        let at = |name: &str| state.path().join(name);
        for name in ["trying-00ff", "rehearse"] {
            fs::create_dir(at(name)).unwrap();
            fs::write(at(name).join("password"), "secret").unwrap();
        }
        forget_tried(state.path());
        assert!(!at("trying-00ff").exists() && at("rehearse/password").exists());
    }

    #[test]
    fn whoever_gets_a_secret_is_read_as_it_is_connected_to() {
        let kept = receiver("s3://b/x", Some("https://m.example"));
        assert!(kept.is_some() && kept == receiver("s3://other", Some("https://M.example:443/")));
        for other in [
            r"https://evil.example\@m.example",
            "https://evil.example?@m.example",
            "https://evil.example#@m.example",
            "http://m.example",
            "https://m.example:9000",
            "m.example",
        ] {
            assert_ne!(receiver("s3://b/x", Some(other)), kept, "{other}");
        }
        assert_eq!(receiver("m.example", None), None);
        assert!(receiver("s3://b", None).is_some() && receiver("s3://b", None) == receiver("s3://c/d", None));
    }
}
