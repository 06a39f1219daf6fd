//! Set-up from the page: config directories that are here, a location tried and written down, the first job.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use keeper::{schedule::Schedule, status::Failure as Reason};
use peer::disk::replace_private;
use store::{
    Address, Cancellation, Options,
    contract::{self, ContractOptions},
    retry::RetryPolicy,
};
use web::backend::{Choices, Encryption, Established, FoundDirectory, Invalid, Location, SetUp};
use zeroize::Zeroizing;

use super::kinds::{self, Configured};
use crate::{
    config::{
        Config,
        edit::{Draft, NewJob},
    },
    destination::{Destination, Network},
    failure::Failure,
    serve::doing::{CONTACT, reason},
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
/// The directory beside the configuration file that holds what must not stand in it.
const SECRETS: &str = "secrets";
/// Home Assistant's own keys: so many groups of four of these.
const KEY_GROUPS: usize = 7;
const KEY_LETTERS: &[u8; 32] = b"ABCDEFGHJKLMNPQRSTUVWXYZ23456789";

/// What a user can choose from.
pub(super) fn choices(config: &Config) -> Choices {
    let home = store::home_directory().map(|home| home.join(".homeassistant"));
    let mut directories: Vec<PathBuf> = USUAL.iter().map(PathBuf::from).chain(home).collect();
    directories.extend(in_containers());
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

/// Bind mounts of running containers at `/config`, as far as their processes show them.
fn in_containers() -> Vec<PathBuf> {
    let mut found = Vec::new();
    let Ok(processes) = fs::read_dir("/proc") else { return found };
    for process in processes.flatten() {
        if !process.file_name().to_string_lossy().bytes().all(|byte| byte.is_ascii_digit()) {
            continue;
        }
        let Ok(mounts) = fs::read_to_string(process.path().join("mountinfo")) else { continue };
        // Source within its file system, and where it is mounted in the container.
        let source = mounts.lines().find_map(|line| {
            let mut fields = line.split(' ').skip(3);
            let (source, point) = (fields.next()?, fields.next()?);
            (point == "/config" && source != "/").then(|| PathBuf::from(source))
        });
        if let Some(source) = source.filter(|source| !found.contains(source)) {
            found.push(source);
        }
    }
    found
}

fn invalid(field: &str, message: impl Into<String>, hint: Option<&str>) -> Invalid {
    let failure = Reason { message: message.into(), hint: hint.map(str::to_owned), passes: false };
    Invalid { field: Some(field.to_owned()), failure }
}

fn of(failure: &Failure) -> Invalid {
    Invalid { field: None, failure: reason(failure) }
}

/// Tries a location as `haul destination check` does.
pub(super) fn try_location(config: &Config, location: &Location) -> Result<Vec<String>, Invalid> {
    let (destination, _held) = destination(config, location)?;
    let cancel = Cancellation::default();
    let checked = (|| -> Result<Vec<String>, Failure> {
        let network = Network::start(None, &cancel)?.answering_within(Some(CONTACT));
        let store = network.connect(&destination)?;
        let policy = RetryPolicy::new(&network.context_for(&destination));
        let mut lines = vec![format!("{} answers", store.label())];
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
    checked.map_err(|failure| of(&failure))
}

/// A directory that holds secrets only as long as they are tried.
struct Held(PathBuf);

impl Drop for Held {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A location as a destination, with its secrets in files for now.
fn destination(config: &Config, location: &Location) -> Result<(Destination, Option<Held>), Invalid> {
    if location.kind == kinds::EXISTING {
        let name = location.fields.first().map(|(_, text)| text.to_string()).unwrap_or_default();
        return crate::destination::resolve(config, &name).map(|found| (found, None)).map_err(|failure| of(&failure));
    }
    let Configured { settings, secrets, .. } =
        kinds::configured(location).map_err(|(field, why)| invalid(&field, why, None))?;
    let url = &settings[0].1;
    let address = Address::parse(url).map_err(|error| of(&error.into()))?;
    if let Address::Local(path) = &address
        && !path.is_dir()
    {
        let hint = "create the folder, or mount the disk or share that it is on";
        return Err(invalid("path", format!("{} is not an existing folder", path.display()), Some(hint)));
    }
    let mut options: BTreeMap<String, String> = settings.into_iter().skip(1).collect();
    let mut held = None;
    for (key, secret) in secrets {
        let directory = if let Some(Held(path)) = &held {
            path.clone()
        } else {
            let name = format!("trying-{:016x}", u64::from_ne_bytes(random().map_err(|failure| of(&failure))?));
            let path = crate::destination::state_directory().join(name);
            held = Some(Held(path.clone()));
            path
        };
        let file = directory.join(&key);
        replace_private(&file, secret.as_bytes()).map_err(|error| cannot_write(&file, &error))?;
        options.insert(key, file.to_string_lossy().into_owned());
    }
    let common = crate::config::Common::default();
    let typed = address.to_string();
    Ok((Destination { typed, address, options: Options::new(options), common, name: None }, held))
}

fn cannot_write(path: &Path, error: &std::io::Error) -> Invalid {
    let failure = Failure::new(
        crate::failure::FAILED,
        format!("can't write {}: {}", path.display(), engine::plain_reason(error)),
    )
    .hint("make its directory writable for this user");
    of(&failure)
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

/// Writes the configuration. Returns what came of it and the configuration that is then in force.
pub(super) fn set_up(path: &Path, wanted: &SetUp) -> Result<(Established, Config), Invalid> {
    let source = Path::new(wanted.source.trim());
    if !source.is_absolute() {
        return Err(invalid("source", "give the whole path of the directory, from /", None));
    }
    if !source.join(".HA_VERSION").is_file() {
        let hint = "it is the one with configuration.yaml and .HA_VERSION; this program must be allowed to read it";
        return Err(invalid("source", format!("{} is not a config directory", source.display()), Some(hint)));
    }
    if !wanted.schedule.trim().is_empty() {
        Schedule::parse(&wanted.schedule).map_err(|why| invalid("schedule", why, None))?;
    }
    if wanted.keep == Some(0) {
        return Err(invalid("keep", "keep at least one backup, or leave it empty to keep all", None));
    }
    let key = match &wanted.encryption {
        Encryption::Nothing => None,
        Encryption::NewKey => Some(new_key().map_err(|failure| of(&failure))?),
        Encryption::Key(key) if key.trim().is_empty() => {
            return Err(invalid("key", "enter the key, or choose another way", None));
        }
        Encryption::Key(key) if key.contains(char::is_control) => {
            return Err(invalid("key", "the key must be one line", None));
        }
        Encryption::Key(key) => Some(key.clone()),
    };
    let mut draft = Draft::open(path).map_err(|failure| of(&failure))?;
    let config = draft.config().clone();
    let (_tried, _held) = destination(&config, &wanted.location)?;
    let directory = draft.directory().join(SECRETS);
    let mut written = Written(Vec::new());
    let destination = if wanted.location.kind == kinds::EXISTING {
        wanted.location.fields.first().map(|(_, text)| text.to_string()).unwrap_or_default()
    } else {
        let Configured { name, mut settings, secrets } =
            kinds::configured(&wanted.location).map_err(|(field, why)| invalid(&field, why, None))?;
        let name = free_name(&name, |name| config.destination(name).is_some());
        for (key, secret) in secrets {
            let file = format!("{name}-{}", key.trim_end_matches("_file").replace('_', "-"));
            written.keep(&directory, &file, &secret)?;
            settings.push((key, format!("{SECRETS}/{file}")));
        }
        draft.add_destination(&name, &settings);
        name
    };
    let job = free_name("home", |name| config.jobs().iter().any(|job| job.name == name));
    let password_file = key
        .as_ref()
        .map(|key| {
            let file = format!("{job}-key");
            written.keep(&directory, &file, key).map(|()| format!("{SECRETS}/{file}"))
        })
        .transpose()?;
    draft.add_job(
        &job,
        &NewJob {
            source: &source.to_string_lossy(),
            schedule: wanted.schedule.trim(),
            destinations: &[&destination],
            password_file: password_file.as_deref(),
            keep: wanted.keep,
            rehearse: Some("weekly"),
        },
    );
    let config = draft.save().map_err(|failure| of(&failure))?;
    written.0.clear();
    Ok((Established { job, key }, config))
}

/// Files that go again unless everything is written.
struct Written(Vec<PathBuf>);

impl Written {
    fn keep(&mut self, directory: &Path, name: &str, secret: &str) -> Result<(), Invalid> {
        let path = directory.join(name);
        let write = || {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
            // One that is there belongs to something else.
            let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
            std::io::Write::write_all(&mut file, secret.as_bytes())?;
            file.sync_all()
        };
        write().map_err(|error| cannot_write(&path, &error))?;
        self.0.push(path);
        Ok(())
    }
}

impl Drop for Written {
    fn drop(&mut self) {
        for path in &self.0 {
            let _ = fs::remove_file(path);
        }
    }
}

fn free_name(wanted: &str, is_taken: impl Fn(&str) -> bool) -> String {
    let names = std::iter::once(wanted.to_owned()).chain((2..).map(|number: u32| format!("{wanted}{number}")));
    let mut names = names.skip_while(|name| is_taken(name));
    names.next().unwrap_or_default()
}
