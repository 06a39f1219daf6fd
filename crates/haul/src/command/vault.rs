//! `haul vault`: making a vault, looking at it, checking it, and its keys.

use std::{fs::OpenOptions, io::Write, os::unix::fs::OpenOptionsExt, path::Path, sync::Arc};

use jiff::Timestamp;
use serde::Serialize;
use store::{Address, Cancellation, Kind, Store, StoreError, address::VAULT};
use vault::{AskPassword, Id, KEY_FILE, Opener, Secret, Vault, VaultStore, check::Report, prune};
use zeroize::Zeroizing;

use crate::{
    args::{VaultArgs, VaultCheckArgs, VaultCommand, VaultKeysArgs},
    command::list::table,
    config::Config,
    destination::{self, Destination, Network},
    failure::{DAMAGED, DONE, FAILED, Failure},
    output, text,
};

pub(crate) fn run(command: &VaultCommand, config: &Config, cancel: &Cancellation) -> Result<u8, Failure> {
    match command {
        VaultCommand::Init(args) => init(args, config, cancel),
        VaultCommand::Info(args) => info(args, config, cancel),
        VaultCommand::Check(args) => check(args, config, cancel),
        VaultCommand::Keys(args) => keys(args, config, cancel),
        VaultCommand::Compact(args) => compact(args, config, cancel),
    }
}

/// Where a vault is, or is to be.
struct Spot {
    network: Network,
    destination: Destination,
    /// The same without the vault.
    under: Destination,
}

impl Spot {
    fn resolve(args: &VaultArgs, config: &Config, cancel: &Cancellation) -> Result<Self, Failure> {
        let destination = destination::resolve(config, &args.destination)?;
        destination.require_whole()?;
        let Some(address) = destination.address.beneath_vault() else {
            return Err(Failure::usage(format!("{} is not a vault", destination.typed))
                .hint(format!("write {VAULT} before its address")));
        };
        let network = Network::start(args.waiting.give_up_after, cancel)?.heeding(config);
        let under = Destination { address, ..destination.clone() };
        Ok(Self { network, destination, under })
    }

    fn secret(&self) -> Result<Secret, Failure> {
        self.secret_by(&destination::opener())
    }

    /// What a new vault is to be opened with. Whoever types it types it twice: nobody could open it after a slip.
    fn new_secret(&self) -> Result<Secret, Failure> {
        let mut opener = destination::opener();
        opener.ask = opener.ask.map(|ask| -> AskPassword {
            Arc::new(move |question| {
                let mut question = question.to_owned();
                loop {
                    let first = ask(&question)?;
                    if ask("Again: ")? == first {
                        return Some(first);
                    }
                    "These two are not the same. Password: ".clone_into(&mut question);
                }
            })
        });
        self.secret_by(&opener)
    }

    fn secret_by(&self, opener: &Opener) -> Result<Secret, Failure> {
        let context = self.network.context_for(&self.destination);
        Ok(opener.secret(&self.destination.typed, &self.destination.options, &context)?)
    }
}

/// A vault's destination, connected.
struct Place {
    spot: Spot,
    beneath: Arc<dyn Store>,
}

impl Place {
    fn connect(args: &VaultArgs, config: &Config, cancel: &Cancellation) -> Result<Self, Failure> {
        let spot = Spot::resolve(args, config, cancel)?;
        let beneath = spot.network.connect_to_look(&spot.under)?;
        Ok(Self { spot, beneath })
    }

    fn label(&self) -> String {
        format!("{VAULT}{}", self.beneath.label())
    }

    fn open(&self) -> Result<VaultStore, Failure> {
        let Spot { network, destination, .. } = &self.spot;
        let (secret, context) = (self.spot.secret()?, network.context_for(destination));
        let opening = VaultStore::open(Arc::clone(&self.beneath), &context, secret);
        Ok(network.bridge.wait(opening)?)
    }

    fn work<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Vault) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, Failure> {
        self.within(&self.open()?, work)
    }

    fn within<T: Send + 'static>(
        &self,
        vault: &VaultStore,
        work: impl FnOnce(&Vault) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, Failure> {
        Ok(self.spot.network.bridge.wait(vault.work(work))?)
    }
}

#[derive(Serialize)]
struct Made {
    vault: String,
}

fn init(args: &VaultArgs, config: &Config, cancel: &Cancellation) -> Result<u8, Failure> {
    let spot = Spot::resolve(args, config, cancel)?;
    let secret = spot.new_secret()?;
    if let Secret::Password(password) = &secret {
        refuse_short(password)?;
    }
    if let Address::Local(path) = &spot.under.address {
        std::fs::create_dir_all(path).map_err(|error| {
            Failure::new(FAILED, format!("can't create {}: {}", path.display(), engine::plain_reason(&error)))
                .hint("check the path and its permissions")
        })?;
    }
    let beneath = spot.network.connect(&spot.under)?;
    let context = spot.network.context_for(&spot.destination);
    let making = VaultStore::init(beneath, &context, secret, "first".to_owned());
    let label = spot.network.bridge.wait(making)?.vault().label();
    if args.json {
        output::json(&Made { vault: label })?;
    } else {
        output::lines(&[
            format!("Made a vault at {label}."),
            "Without its password nobody can restore from it, you included: keep a copy of it somewhere else."
                .to_owned(),
        ])?;
    }
    Ok(DONE)
}

/// Somebody who holds the storage can try passwords as long as they like.
fn refuse_short(password: &str) -> Result<(), Failure> {
    if password.chars().count() >= 8 {
        return Ok(());
    }
    Err(Failure::usage("the password of a vault has at least 8 characters")
        .hint("use several words, or a password that a manager made"))
}

#[derive(Serialize)]
struct Info {
    vault: String,
    backups: usize,
    first: Option<String>,
    last: Option<String>,
    /// Of all backups together.
    plain_bytes: u64,
    /// At the destination.
    stored_bytes: u64,
}

fn info(args: &VaultArgs, config: &Config, cancel: &Cancellation) -> Result<u8, Failure> {
    let place = Place::connect(args, config, cancel)?;
    let report = place.work(vault::check::sizes)?;
    let info = Info {
        vault: place.label(),
        backups: report.backups,
        first: report.first.as_ref().map(|snapshot| snapshot.name.clone()),
        last: report.last.as_ref().map(|snapshot| snapshot.name.clone()),
        plain_bytes: report.plain,
        stored_bytes: report.stored,
    };
    if args.json {
        output::json(&info)?;
        return Ok(DONE);
    }
    let mut lines = vec![format!("{}: {}", info.vault, text::count(info.backups as u64, "backup", "backups"))];
    if let (Some(first), Some(last)) = (&info.first, &info.last) {
        lines.push(format!("from {first}"));
        lines.push(format!("to   {last}"));
        lines.push(format!(
            "{} of backups are stored in {}",
            text::bytes(info.plain_bytes),
            text::bytes(info.stored_bytes)
        ));
    }
    output::lines(&lines)?;
    Ok(DONE)
}

fn check(args: &VaultCheckArgs, config: &Config, cancel: &Cancellation) -> Result<u8, Failure> {
    let place = Place::connect(&args.vault, config, cancel)?;
    let every_byte = args.read_data;
    let report: Report = place.work(move |vault| vault::check::check(vault, every_byte))?;
    if args.vault.json {
        output::json(&report)?;
    } else {
        let mut lines: Vec<String> = report
            .problems
            .iter()
            .map(|problem| match problem.backups.as_slice() {
                [] => format!("{}: {}", problem.object, problem.what),
                backups => format!("{}: {}; it costs {}", problem.object, problem.what, backups.join(", ")),
            })
            .collect();
        let looked = if every_byte {
            format!("every byte was read ({})", text::bytes(report.read))
        } else {
            "contents were not read; --read-data does that".to_owned()
        };
        lines.push(match report.problems.len() {
            0 => format!(
                "{} and {} are sound: {looked}",
                text::count(report.backups as u64, "backup", "backups"),
                text::count(report.packs as u64, "pack", "packs")
            ),
            count => format!("{} found; {looked}", text::count(count as u64, "problem", "problems")),
        });
        output::lines(&lines)?;
    }
    Ok(if report.problems.is_empty() { DONE } else { DAMAGED })
}

#[derive(Serialize)]
struct KeyLine {
    key: String,
    label: String,
    kind: &'static str,
    made: String,
}

fn keys(args: &VaultKeysArgs, config: &Config, cancel: &Cancellation) -> Result<u8, Failure> {
    let place = Place::connect(&args.vault, config, cancel)?;
    // Once: the key that opens it may be the one that goes.
    let vault = place.open()?;
    let label = args.label.clone().unwrap_or_default();
    if args.add {
        let password = new_password(args.new_password_file.as_deref(), cancel)?;
        refuse_short(&password)?;
        place.within(&vault, move |vault| vault.add_key(&Secret::Password(password), &label))?;
    } else if let Some(path) = &args.add_key_file {
        let (key, line) = new_key()?;
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(|error| {
            Failure::new(FAILED, format!("can't create {}: {}", path.display(), engine::plain_reason(&error)))
                .hint("give the name of a new file")
        })?;
        let written = file.write_all(line.as_bytes()).and_then(|()| file.sync_all());
        let added = match written {
            Ok(()) => place.within(&vault, move |vault| vault.add_key(&Secret::KeyFile(key), &label)).map(drop),
            Err(error) => {
                Err(Failure::new(FAILED, format!("can't write {}: {}", path.display(), engine::plain_reason(&error))))
            }
        };
        if added.is_err() {
            let _ = std::fs::remove_file(path);
        }
        added?;
    } else if let Some(key) = &args.remove {
        let Some(id) = Id::parse(key) else {
            return Err(Failure::usage(format!("{key:?} is not a key")).hint("`haul vault keys DEST` lists them"));
        };
        place.within(&vault, move |vault| vault.remove_key(id))?;
    }
    let keys = place.within(&vault, Vault::keys)?;
    let lines: Vec<KeyLine> = keys
        .iter()
        .map(|(id, key)| KeyLine {
            key: id.to_string(),
            label: key.label.clone(),
            kind: if key.is_password() { "password" } else { "key file" },
            made: Timestamp::from_millisecond(key.made).map_or_else(|_| String::new(), |made| made.to_string()),
        })
        .collect();
    if args.vault.json {
        output::json(&lines)?;
    } else {
        let rows: Vec<[String; 4]> = lines
            .into_iter()
            .map(|line| [line.key, line.kind.to_owned(), line.made, crate::text::sanitize(&line.label)])
            .collect();
        output::lines(&table(&rows))?;
    }
    Ok(DONE)
}

fn new_password(file: Option<&Path>, cancel: &Cancellation) -> Result<Zeroizing<String>, Failure> {
    let Some(path) = file else {
        let opener = destination::opener();
        let typed = opener.ask.and_then(|ask| {
            let first = ask("New password: ")?;
            Some((first, ask("Again: ")?))
        });
        return match typed {
            Some((first, second)) if first == second => Ok(first),
            Some(_) => Err(Failure::usage("the two passwords are not the same").hint("try again")),
            None => Err(Failure::usage("there is no new password").hint("give it with --new-password-file")),
        };
    };
    let secret = store::Secret::in_file(path, cancel)
        .map_err(|why| Failure::usage(format!("{} {why}", path.display())).hint("give a file with one line"))?;
    Ok(Zeroizing::new(secret.expose().to_owned()))
}

type NewKey = (Zeroizing<[u8; KEY_FILE]>, Zeroizing<String>);

fn new_key() -> Result<NewKey, Failure> {
    let mut key = Zeroizing::new([0; KEY_FILE]);
    getrandom::fill(&mut key[..])
        .map_err(|error| Failure::new(FAILED, format!("the system has no random numbers: {error}")))?;
    let mut line = Zeroizing::new(String::with_capacity(2 * KEY_FILE + 1));
    for byte in key.iter() {
        use std::fmt::Write;
        let _ = write!(line, "{byte:02x}");
    }
    line.push('\n');
    Ok((key, line))
}

#[derive(Serialize)]
struct Compacted {
    removed_packs: usize,
    removed_bytes: u64,
    waiting_packs: usize,
    backup_running: bool,
}

fn compact(args: &VaultArgs, config: &Config, cancel: &Cancellation) -> Result<u8, Failure> {
    let place = Place::connect(args, config, cancel)?;
    if place.beneath.append_only() {
        return Err(Failure::from(StoreError::remote(
            place.label(),
            store::Operation::Delete,
            Kind::Permission,
            "it is append-only",
        ))
        .hint("compact it where it is kept"));
    }
    let cleaned = place.work(|vault| prune::collect(vault, prune::GRACE))?;
    if args.json {
        output::json(&Compacted {
            removed_packs: cleaned.removed,
            removed_bytes: cleaned.bytes,
            waiting_packs: cleaned.doomed,
            backup_running: cleaned.waits,
        })?;
        return Ok(DONE);
    }
    let line = if cleaned.waits {
        "A backup is running, or was killed within the last week: nothing was removed.".to_owned()
    } else {
        format!(
            "Removed {} ({}); {} can go in a day.",
            text::count(cleaned.removed as u64, "pack", "packs"),
            text::bytes(cleaned.bytes),
            text::count(cleaned.doomed as u64, "pack", "packs")
        )
    };
    output::lines(&[line])?;
    Ok(DONE)
}
