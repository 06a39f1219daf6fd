//! A service that only says what it is told to: for tests of the pages and for looking at them.
#![allow(
    dead_code,
    clippy::assigning_clones,
    clippy::items_after_statements,
    clippy::unwrap_used,
    clippy::expect_used,
    missing_docs,
    unreachable_pub,
    reason = "not every user uses all of it"
)]

pub mod parts;
pub mod state;

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicUsize, Ordering},
};

use jiff::Timestamp;
use keeper::status::{ArchiveStatus, Event, Failure, Level, RunStatus, Status, TaskKind};
use store::Cancellation;
use tokio::sync::watch;
use web::backend::{
    Backend, Change, ChannelSettings, Choices, Configuration, Configured, ConfiguredChannel, ConfiguredJob,
    ConfiguredLocation, ContentEntry, ContentKind, Contents, Differences, Encryption, Established, Filled, FormField,
    FormKind, FoundDirectory, Inside, Invalid, JobKeys, JobSettings, Keep, LogLine, MoveFrom, MoveSeen, MoveTo,
    MoveWanted, NotSent, Order, Outlet, OwnBackups, Parts, PartsWanted, Policy, RestoreWanted, SetUp, SignIn, Storage,
    Wanted, What,
};

use zeroize::Zeroizing;

use self::{parts::Known, state::State};

pub struct Fake {
    pub state: Mutex<State>,
    pub orders: Mutex<Vec<Order>>,
    /// Changes of the configuration.
    pub made: Mutex<Vec<Change>>,
    /// What the next order fails with.
    pub failure: Mutex<Option<Failure>>,
    /// How many wait for a far folder.
    pub waiting: AtomicUsize,
    pub signing_in: Mutex<Option<SignIn>>,
    /// To whom keys were given.
    pub told: Mutex<Vec<String>>,
    /// Where to something was moved, with which token.
    pub moved: Mutex<Vec<(String, Option<Zeroizing<String>>)>>,
    /// What Supervisor was to restore.
    pub restored: Mutex<Vec<PartsWanted>>,
    pub log: Mutex<Vec<LogLine>>,
    /// The new machine changed its mind.
    pub refuses_moves: Mutex<bool>,
    /// The configuration file can't be understood.
    pub unreadable: Mutex<bool>,
    /// How Home Assistant backs itself up.
    pub own: Mutex<Option<Result<OwnBackups, Failure>>>,
    /// What every archive holds, if it is another thing than usual.
    pub inside: Mutex<Known>,
    /// There is one config directory, as in the app.
    pub one_directory: Mutex<bool>,
    /// Home Assistant's network storage.
    pub storages: Mutex<Result<Vec<Storage>, Failure>>,
    changes: watch::Sender<u64>,
    logged: watch::Sender<u64>,
}

impl Fake {
    pub fn new(state: State) -> Self {
        Self {
            state: Mutex::new(state),
            orders: Mutex::default(),
            made: Mutex::default(),
            failure: Mutex::default(),
            waiting: AtomicUsize::new(0),
            signing_in: Mutex::default(),
            told: Mutex::default(),
            moved: Mutex::default(),
            restored: Mutex::default(),
            log: Mutex::default(),
            refuses_moves: Mutex::default(),
            unreadable: Mutex::default(),
            own: Mutex::default(),
            inside: Mutex::default(),
            one_directory: Mutex::default(),
            storages: Mutex::new(Ok(Vec::new())),
            changes: watch::Sender::new(1),
            logged: watch::Sender::new(0),
        }
    }

    pub fn log_line(&self, text: &str) {
        let mut log = self.log.lock().unwrap();
        let number = log.len() as u64 + 1;
        log.push(LogLine { number, at: "2026-11-28T04:45:12Z".parse().unwrap(), text: text.to_owned() });
        self.logged.send_replace(number);
    }

    pub fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner));
        self.changes.send_modify(|version| *version += 1);
    }

    pub fn ordered(&self) -> Vec<Order> {
        std::mem::take(&mut self.orders.lock().unwrap())
    }

    /// Lets what runs go on a little; what is done ends.
    pub fn go_on(&self) {
        let mut changed = false;
        let mut state = self.state.lock().unwrap();
        for job in &mut state.status.jobs {
            for running in &mut job.running {
                running.done += running.rate;
                running.left = Some(running.total.saturating_sub(running.done) / running.rate.max(1));
                changed = true;
            }
            job.running.retain(|running| running.done < running.total);
        }
        drop(state);
        if changed {
            self.changes.send_modify(|version| *version += 1);
        }
    }

    fn get<T>(&self, get: impl FnOnce(&State) -> T) -> T {
        get(&self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn failure(message: &str, hint: &str) -> Failure {
    Failure { message: message.to_owned(), hint: Some(hint.to_owned()), passes: false }
}

fn wrong(field: &str, failure: Failure) -> Invalid {
    Invalid { field: Some(field.to_owned()), failure, offer: None }
}

fn value<'f>(filled: &'f Filled, id: &str) -> Option<&'f str> {
    filled.fields.iter().find(|(field, _)| field == id).map(|(_, value)| value.as_str())
}

fn channel_mistakes(channel: &ChannelSettings) -> Vec<Invalid> {
    let mut mistakes = Vec::new();
    if channel.way.kind == "ntfy" && value(&channel.way, "ntfy").is_none() {
        mistakes.push(wrong("ntfy", failure("Address is missing", "write one")));
    }
    if channel.after.as_deref() == Some("soon") {
        mistakes.push(wrong("after", failure("soon is no time", "write 1h")));
    }
    mistakes
}

impl Backend for Fake {
    fn status(&self) -> Status {
        self.get(|state| Status { now: Timestamp::now(), ..state.status.clone() })
    }

    fn archives(&self) -> Vec<ArchiveStatus> {
        self.get(|state| state.archives.clone())
    }

    fn archive(&self, id: &str) -> Option<ArchiveStatus> {
        self.get(|state| state.archives.iter().find(|archive| archive.id == id).cloned())
    }

    fn events(&self, before: Option<i64>, most: usize) -> Vec<Event> {
        let older = |event: &&Event| before.is_none_or(|before| event.id < before);
        self.get(|state| state.events.iter().filter(older).take(most).cloned().collect())
    }

    fn runs(&self, _: Option<i64>, most: usize) -> Vec<RunStatus> {
        self.get(|state| state.status.jobs.iter().filter_map(|job| job.last.clone()).take(most).collect())
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    fn log(&self, after: u64, most: usize) -> Vec<LogLine> {
        let log = self.log.lock().unwrap();
        log.iter().rev().take_while(|line| line.number > after).take(most).cloned().collect()
    }

    fn logged(&self) -> watch::Receiver<u64> {
        self.logged.subscribe()
    }

    fn zone(&self) -> jiff::tz::TimeZone {
        jiff::tz::TimeZone::UTC
    }

    fn metrics(&self) -> String {
        "# TYPE haul_up gauge\nhaul_up 1\n".to_owned()
    }

    fn configuration(&self) -> Configuration {
        self.get(|state| Configuration {
            path: state.status.configuration.path.clone(),
            text: state.configuration.clone(),
            problem: state.status.configuration.problem.clone(),
            time_zone: "UTC".to_owned(),
        })
    }

    fn order(&self, order: Order) -> Result<(), Failure> {
        if let Some(failure) = self.failure.lock().unwrap().take() {
            return Err(failure);
        }
        self.orders.lock().unwrap().push(order.clone());
        self.change(|state| match &order {
            Order::BackUp { job } => {
                let running = state::running(7, TaskKind::Backup, job, 0, 1_400_000_000);
                state.status.jobs.iter_mut().filter(|known| known.name == *job).for_each(|known| {
                    known.running = vec![running.clone()];
                });
            }
            Order::Cancel { run } => {
                state.status.jobs.iter_mut().for_each(|job| job.running.retain(|running| running.id != *run));
            }
            Order::Pause { job } | Order::Resume { job } => {
                let paused = matches!(order, Order::Pause { .. });
                state.status.jobs.iter_mut().filter(|known| known.name == *job).for_each(|known| known.paused = paused);
            }
            Order::Pin { archive } | Order::Unpin { archive } => {
                let pinned = matches!(order, Order::Pin { .. });
                let archives = state.archives.iter_mut().filter(|known| known.id == *archive);
                archives.for_each(|known| {
                    known.item.pinned = pinned;
                    known.copies.iter_mut().for_each(|copy| copy.pinned = pinned);
                });
            }
            Order::Note { archive, text } => {
                let archives = state.archives.iter_mut().filter(|known| known.id == *archive);
                archives.for_each(|known| known.note = Some(text.clone()).filter(|text| !text.is_empty()));
            }
            Order::Delete { archive, destination, name, .. } => {
                let is_it = |wanted: &Option<String>, is: &str| wanted.as_ref().is_none_or(|wanted| wanted == is);
                let goes = |copy: &keeper::status::CopyStatus| {
                    is_it(destination, &copy.destination) && is_it(name, &copy.name)
                };
                let archives = state.archives.iter_mut().filter(|known| known.id == *archive);
                archives.for_each(|known| known.copies.retain(|copy| !goes(copy)));
                state.archives.retain(|known| !known.copies.is_empty());
            }
            Order::AgreeToRemovals { destination } => {
                let known = state.status.destinations.iter_mut().filter(|known| known.name == *destination);
                known.for_each(|known| known.waiting_for_consent.clear());
            }
            _ => {}
        });
        Ok(())
    }

    fn contents(&self, _: &str, folder: &str, cancel: &Cancellation) -> Result<Contents, Failure> {
        if folder == "far" {
            self.waiting.fetch_add(1, Ordering::SeqCst);
            while !cancel.is_cancelled() {
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
            self.waiting.fetch_sub(1, Ordering::SeqCst);
        }
        let entry = |name: &str, kind, size| ContentEntry {
            name: name.to_owned(),
            kind,
            size,
            modified: Some("2026-11-27T21:14:00Z".parse().unwrap()),
        };
        use ContentKind::{File, Folder, Other};
        let entries = match folder {
            "" => vec![
                entry(".storage", Folder, Some(3_100_000)),
                entry("blueprints", Folder, Some(18_400)),
                entry("custom_components", Folder, Some(48_000_000)),
                entry("www", Folder, Some(212_000_000)),
                entry(".HA_VERSION", File, Some(9)),
                entry("automations.yaml", File, Some(24_310)),
                entry("configuration.yaml", File, Some(4112)),
                entry("home-assistant_v2.db", File, Some(1_070_000_000)),
                entry("latest", Other, None),
                entry("secrets.yaml", File, Some(612)),
                entry("<b>bold</b>\u{202e}lmay.exe", File, Some(1)),
            ],
            "empty" => Vec::new(),
            "missing" => return Err(failure("There is no folder `missing` in this backup.", "Go back to the list.")),
            _ => vec![entry("auth", File, Some(18_112)), entry("core.config_entries", File, Some(91_223))],
        };
        Ok(Contents { entries, more: if folder == "www" { 12_000 } else { 0 } })
    }

    fn compare(&self, _: &str, _: &str, _: &Cancellation) -> Result<Differences, Failure> {
        let paths = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Ok(Differences {
            added: paths(&["www/floorplan.svg", "custom_components/better_thermostat/manifest.json"]),
            removed: paths(&["www/old<script>.js"]),
            changed: paths(&["automations.yaml", ".storage/core.config_entries", "home-assistant_v2.db"]),
            same: 361,
            more: 0,
        })
    }

    fn send(&self, wanted: &Wanted, to: &mut dyn Outlet, _: &Cancellation) -> Result<(), NotSent> {
        let gone = |_| failure("The other side is gone.", "");
        match wanted {
            Wanted::File { path, .. } if path == "missing" => {
                let missing = failure("There is no file `missing` in this backup.", "Look at the list.");
                return Err(NotSent::NoSuchFile(missing));
            }
            Wanted::File { path, .. } if path == "broken" => {
                to.begin("broken", Some(1_000_000)).map_err(gone)?;
                to.write_all(&vec![0; 300_000]).map_err(gone)?;
                return Err(failure("The location is away.", "Try again.").into());
            }
            Wanted::File { path, .. } => {
                let name = path.rsplit('/').next().unwrap_or(path);
                to.begin(name, Some(14)).map_err(gone)?;
                to.write_all(b"homeassistant:").map_err(gone)?;
            }
            Wanted::Archive { .. } => {
                to.begin("Haul_backup \"ü\".tar", None).map_err(gone)?;
                to.write_all(&vec![7; 1_000_000]).map_err(gone)?;
            }
        }
        Ok(())
    }

    fn own_backups(&self, _: &Cancellation) -> Option<Result<OwnBackups, Failure>> {
        self.own.lock().unwrap().clone()
    }

    fn choices(&self) -> Choices {
        let field = |id: &str, label: &str, example: &str, secret, required| FormField {
            id: id.to_owned(),
            label: label.to_owned(),
            help: (id == "host").then(|| "Its key is shown and remembered at the first visit.".to_owned()),
            example: (!example.is_empty()).then(|| example.to_owned()),
            secret,
            required,
            flag: false,
            on: false,
        };
        let kind = |id: &str, label: &str, about: &str, fields| FormKind {
            id: id.to_owned(),
            label: label.to_owned(),
            about: about.to_owned(),
            signs_in: id == "drive",
            fields,
        };
        let mut choices = Choices {
            directories: vec![
                FoundDirectory {
                    path: "/srv/homeassistant".to_owned(),
                    about: "Home Assistant 2026.11.0, 1.4 GB, in the container homeassistant".to_owned(),
                },
                FoundDirectory {
                    path: "/home/ada/.homeassistant".to_owned(),
                    about: "Home Assistant 2025.6.3, 212 MB, not running".to_owned(),
                },
            ],
            kinds: vec![
                kind(
                    "local",
                    "A directory",
                    "A disk of this machine, or one that is mounted here.",
                    vec![field("path", "Directory", "/mnt/backups", false, true)],
                ),
                kind(
                    "sftp",
                    "SSH (SFTP)",
                    "Any machine that you can log in to by SSH.",
                    vec![
                        field("host", "Host", "nas.local", false, true),
                        field("user", "User", "backup", false, true),
                        field("password", "Password", "", true, false),
                        field("path", "Directory there", "backups/ha", false, true),
                    ],
                ),
                kind(
                    "s3",
                    "S3",
                    "Amazon, Backblaze, Wasabi, MinIO, Garage and others.",
                    vec![
                        field("bucket", "Bucket", "my-backups", false, true),
                        field("key", "Access key", "", false, true),
                        field("secret", "Secret key", "", true, true),
                        field("endpoint", "Endpoint", "https://s3.eu-central-003.backblazeb2.com", false, false),
                    ],
                ),
            ],
            existing: Vec::new(),
        };
        choices.directories.truncate(2 - usize::from(*self.one_directory.lock().unwrap()));
        choices
    }

    fn restore(&self, wanted: &RestoreWanted, _: &Cancellation) -> Result<(), Invalid> {
        let wrong = |field: &str, failure| Err(Invalid { field: Some(field.to_owned()), failure, offer: None });
        if wanted.into == "/full" && !wanted.replace {
            return wrong("into", failure("/full is not empty", "name a directory that is new or empty"));
        }
        if wanted.key.as_ref().is_some_and(|key| key.as_str() == "wrong") {
            return wrong(
                "key",
                failure("this encryption key is wrong", "enter the key that this backup was made with"),
            );
        }
        Ok(())
    }

    fn inside(&self, _: &str) -> Option<Result<Inside, Failure>> {
        self.get(|state| self.inside.lock().unwrap().of(state))
    }

    fn storages(&self, _: &Cancellation) -> Result<Vec<Storage>, Failure> {
        self.storages.lock().unwrap().clone()
    }

    fn parts(&self, _: &str, destination: Option<&str>, _: &Cancellation) -> Result<Parts, Failure> {
        self.get(|state| parts::known(state, destination))
    }

    fn restore_parts(&self, wanted: &PartsWanted, _: &Cancellation) -> Result<(), Invalid> {
        if let Some(failure) = self.failure.lock().unwrap().take() {
            return Err(Invalid { field: None, failure, offer: None });
        }
        parts::check(wanted)?;
        self.restored.lock().unwrap().push(wanted.clone());
        Ok(())
    }

    fn look_before_move(&self, wanted: &MoveWanted, _: &Cancellation) -> Result<MoveSeen, Invalid> {
        let wrong = |field: &str, failure| Err(Invalid { field: Some(field.to_owned()), failure, offer: None });
        let is_used = wanted.to.contains("used");
        match wanted.token.as_ref().map(|token| token.as_str()) {
            _ if wanted.to.contains("away") => {
                return wrong("to", failure("nothing answers at http://away:8123", "check that it is on"));
            }
            None if is_used => return wrong("token", failure("it is set up already", "enter a token")),
            Some("wrong") => return wrong("token", failure("it does not accept the token", "create another one")),
            _ if is_used && !wanted.replace => {
                return wrong("replace", failure("it is set up already", "say that everything may be replaced"));
            }
            _ => {}
        }
        let about =
            if is_used { "Home Assistant 2026.11.0, set up already" } else { "Home Assistant 2026.11.0, fresh" };
        Ok(MoveSeen {
            from: MoveFrom {
                config: "/srv/homeassistant".to_owned(),
                version: "2026.11.0".to_owned(),
                logins: vec!["ada".to_owned()],
                about: "Home Assistant 2026.11.0, user ada".to_owned(),
            },
            to: MoveTo {
                address: wanted.to.clone(),
                version: Some("2026.11.0".to_owned()),
                installation: None,
                fresh: !is_used,
                about: about.to_owned(),
            },
            notes: vec!["add-ons and their data do not move".to_owned()],
        })
    }

    fn migrate(&self, wanted: &MoveWanted, _: Option<&MoveSeen>, cancel: &Cancellation) -> Result<(), Invalid> {
        let seen = self.look_before_move(wanted, cancel)?;
        if *self.refuses_moves.lock().unwrap() {
            return Err(wrong("to", failure("it is another one now", "check again")));
        }
        self.moved.lock().unwrap().push((seen.to.address, wanted.token.clone()));
        Ok(())
    }

    fn try_location(&self, location: &Filled, _: &Cancellation) -> Result<Vec<String>, Vec<Invalid>> {
        match (location.kind.as_str(), value(location, "host")) {
            ("sftp", None) => {
                Err(wrong("host", failure("The host is missing.", "Write its name or address, as nas.local.")).into())
            }
            ("sftp", Some("away")) => {
                let hint = "Check that the machine is on, and the name is right.";
                Err(wrong("host", failure("Nobody answers at away:22.", hint)).into())
            }
            ("local" | "sftp" | "s3", _) => {
                Ok(["A file was written, read back and removed.", "412 GB are free."].map(str::to_owned).to_vec())
            }
            _ => Err(wrong("kind", failure("There is no such kind.", "Choose one.")).into()),
        }
    }

    fn channel_kinds(&self) -> Vec<FormKind> {
        let field = |id: &str, label: &str, secret| FormField {
            id: id.to_owned(),
            label: label.to_owned(),
            help: None,
            example: None,
            secret,
            required: !secret,
            flag: false,
            on: false,
        };
        let kind = |id: &str, fields| FormKind {
            id: id.to_owned(),
            label: id.to_owned(),
            about: "A message.".to_owned(),
            fields,
            signs_in: false,
        };
        vec![
            kind("ntfy", vec![field("ntfy", "Address", false), field("token", "Token", true)]),
            kind("command", vec![field("command", "Command", false)]),
        ]
    }

    fn broker_kind(&self) -> FormKind {
        let field = |id: &str, label: &str, secret| FormField {
            id: id.to_owned(),
            label: label.to_owned(),
            help: Some("As Home Assistant has it.".to_owned()),
            example: None,
            secret,
            required: false,
            flag: false,
            on: false,
        };
        FormKind {
            id: "mqtt".to_owned(),
            label: "MQTT broker".to_owned(),
            about: String::new(),
            fields: vec![field("url", "Address", false), field("password", "Password", true)],
            signs_in: false,
        }
    }

    fn try_channel(&self, channel: &ChannelSettings, _: &Cancellation) -> Result<Vec<String>, Vec<Invalid>> {
        let mistakes = channel_mistakes(channel);
        if mistakes.is_empty() { Ok(vec!["a test message was sent".to_owned()]) } else { Err(mistakes) }
    }

    fn try_broker(&self, broker: &Filled, _: &Cancellation) -> Result<Vec<String>, Vec<Invalid>> {
        match value(broker, "url") {
            Some("mqtt://away") => Err(wrong("url", failure("the broker at away:1883 does not answer", "look")).into()),
            _ => Ok(vec!["the broker lets haul in".to_owned()]),
        }
    }

    fn sign_in(&self, _: &Filled) -> Result<SignIn, Invalid> {
        let state = SignIn::Waiting {
            address: "https://www.google.com/device".to_owned(),
            code: "ABCD-EFGH".to_owned(),
            until: Timestamp::MAX,
        };
        *self.signing_in.lock().unwrap() = Some(state.clone());
        Ok(state)
    }

    fn signing_in(&self) -> Option<SignIn> {
        self.signing_in.lock().unwrap().clone()
    }

    fn end_sign_in(&self) {
        *self.signing_in.lock().unwrap() = None;
    }

    fn mistakes_of_set_up(&self, wanted: &SetUp) -> Vec<Invalid> {
        let mut mistakes = Vec::new();
        if wanted.source == "/nowhere" {
            let hint = "Choose the directory that holds configuration.yaml.";
            mistakes.push(wrong("source", failure("/nowhere does not exist.", hint)));
        }
        if wanted.schedule.contains("25:00") {
            let hint = "Write it like `daily 04:45`.";
            mistakes.push(wrong("schedule", failure("`daily 25:00` is no time of day.", hint)));
        }
        mistakes
    }

    fn set_up(&self, wanted: &SetUp) -> Result<Established, Vec<Invalid>> {
        let mistakes = self.mistakes_of_set_up(wanted);
        if !mistakes.is_empty() {
            return Err(mistakes);
        }
        self.try_location(&wanted.location, &Cancellation::default())?;
        self.change(|state| {
            let good = State::good();
            state.status = good.status;
            state.status.jobs.truncate(1);
            state.status.level = Level::Unknown;
            state.status.headline = "The first backup is being made.".to_owned();
            state.status.jobs[0].running = vec![state::running(7, TaskKind::Backup, "home", 0, 1_400_000_000)];
        });
        let key = matches!(wanted.encryption, web::backend::Encryption::NewKey)
            .then(|| "9K4T-7QXM-2PRW-HD6V-N3JC-8YFB-5ZGL".to_owned().into());
        let is_home_assistants = wanted.encryption == Encryption::HomeAssistants;
        let key = key.or(is_home_assistants.then(|| "ABCD-EFGH-JKLM-NPQR".to_owned().into()));
        Ok(Established { job: "home".to_owned(), key, is_home_assistants })
    }

    fn configured(&self) -> Result<Configured, Failure> {
        if *self.unreadable.lock().unwrap() {
            return Err(failure("haul.toml, line 3: it is wrong", "correct it"));
        }
        let fields =
            |pairs: &[(&str, &str)]| pairs.iter().map(|(id, text)| ((*id).to_owned(), (*text).to_owned())).collect();
        let place = |name: &str, address: &str, kind: Option<&str>, pairs: &[(&str, &str)]| ConfiguredLocation {
            name: name.to_owned(),
            address: address.to_owned(),
            kind: kind.map(str::to_owned),
            fields: fields(pairs),
            jobs: vec!["home".to_owned()],
        };
        let sftp = [("host", "box.example.org"), ("user", "ada"), ("path", "backups/ha")];
        Ok(Configured {
            version: "v1".to_owned(),
            time_zone: None,
            jobs: vec![ConfiguredJob {
                name: "home".to_owned(),
                paused: false,
                settings: JobSettings {
                    source: "/srv/homeassistant".to_owned(),
                    destinations: vec!["nas".to_owned(), "offsite".to_owned()],
                    policy: Policy {
                        schedule: vec!["daily 04:45".to_owned(), "every 6h".to_owned()],
                        keep: Keep { last: Some(3), daily: Some(7), ..Keep::default() },
                        ..Policy::default()
                    },
                    password_file: Some("secrets/key".to_owned()),
                    rehearse: Some("weekly".to_owned()),
                    ..JobSettings::default()
                },
            }],
            locations: vec![
                place("nas", "/mnt/nas/backups", Some("local"), &[("path", "/mnt/nas/backups")]),
                place("offsite", "sftp://ada@box.example.org/backups/ha", Some("sftp"), &sftp),
                place("drive", "gdrive:/Backups", None, &[]),
            ],
            channels: vec![
                ConfiguredChannel {
                    name: "phone".to_owned(),
                    kind: Some("ntfy".to_owned()),
                    fields: fields(&[("ntfy", "https://ntfy.example.org/secret-topic")]),
                    on: Some("backups".to_owned()),
                    ..ConfiguredChannel::default()
                },
                ConfiguredChannel {
                    name: "script".to_owned(),
                    kind: Some("command".to_owned()),
                    fields: fields(&[("command", "wall < /dev/null")]),
                    ..ConfiguredChannel::default()
                },
            ],
            mqtt: Some(fields(&[("url", "mqtt://broker")])),
        })
    }

    fn keys(&self, to: &str) -> Result<Vec<JobKeys>, Failure> {
        self.told.lock().unwrap().push(to.to_owned());
        let key = |text: &str| Zeroizing::new(text.to_owned());
        let (now, earlier) = (key("9K4T-7QXM-2PRW-HD6V-N3JC-8YFB-5ZGL"), vec![key("AAAA-BBBB-CCCC-DDDD")]);
        Ok(vec![JobKeys { job: "home".to_owned(), key: Some(now), earlier, unread: Vec::new() }])
    }

    fn mistakes(&self, change: &Change) -> Vec<Invalid> {
        let wrong = |field: Option<&str>, message: &str| Invalid {
            field: field.map(str::to_owned),
            failure: failure(message, "Look at it again."),
            offer: None,
        };
        if change.version.as_ref().is_some_and(|version| version != "v1") {
            return wrong(None, "The configuration file was changed meanwhile.").into();
        }
        match &change.what {
            What::Job { settings, .. } if settings.policy.schedule.iter().any(|text| text.contains("25:00")) => {
                wrong(Some("schedule"), "`daily 25:00` is no time of day.").into()
            }
            What::Location { location, .. } => {
                self.try_location(location, &Cancellation::default()).err().unwrap_or_default()
            }
            What::RemoveLocation { name } if name == "nas" => {
                wrong(None, "The job `home` has no other location.").into()
            }
            What::Channel { settings, .. } => channel_mistakes(settings),
            What::Broker { broker } if value(broker, "url").is_none() => {
                wrong(Some("url"), "Address is missing.").into()
            }
            _ => Vec::new(),
        }
    }

    fn change(&self, change: &Change) -> Result<Option<Zeroizing<String>>, Vec<Invalid>> {
        let mistakes = self.mistakes(change);
        if !mistakes.is_empty() {
            return Err(mistakes);
        }
        self.made.lock().unwrap().push(change.clone());
        let makes_key = matches!(&change.what, What::Job { encryption: Some(Encryption::NewKey), .. });
        Ok(makes_key.then(|| "9K4T-7QXM-2PRW-HD6V-N3JC-8YFB-5ZGL".to_owned().into()))
    }
}
