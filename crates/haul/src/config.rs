//! `haul.toml`: the user's named destinations, and options that need not be typed each time.
//!
//! An option has the same name everywhere: flag, environment variable and key. The file sets the default of the flag,
//! so a flag overrides the environment, and the environment overrides the file. The adapter interprets the keys of a
//! destination; this module only knows their names.

pub(crate) mod beside;
pub(crate) mod edit;
pub(crate) mod good;
mod grammar;
mod jobs;
mod mqtt;
mod named;
mod notify;
mod replacing;

use std::{
    collections::{BTreeMap, BTreeSet},
    env,
    ffi::OsString,
    io,
    path::{Path, PathBuf},
};

use clap::{
    Arg, ArgAction, ArgMatches, Command, CommandFactory, FromArgMatches,
    builder::BoolishValueParser,
    error::{ContextKind, ContextValue, ErrorKind},
    parser::ValueSource,
};
use jiff::tz::TimeZone;
use keeper::job::Job;
use store::{Address, Cancellation, Limit, Options, address::VAULT};
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

pub(crate) use self::{
    mqtt::{KEYS as MQTT_KEYS, Mqtt},
    named::{Common, Named},
    notify::KEYS as CHANNEL_KEYS,
};
use crate::{
    args::{Cli, VerifyArg},
    failure::Failure,
    in_app::is_app,
    notify::Channel,
    output,
    units::{duration, rate, size},
};

/// Commands whose options may come from the environment and from a table of the file.
const CONFIGURABLE: &[&str] = &["backup", "push", "prune", "receive", "serve"];
/// Commands that have no use for the file, and must work with a broken one.
const WITHOUT: &[&str] = &["completions", "man", "demo", "demo-recorder"];
/// Commands for which a file that is named but not there is one that the page has not written yet.
const UNWRITTEN: &[&str] = &["serve", "app", "status", "jobs"];
/// The command that says what is known even if the file has a mistake.
const IN_SPITE: &str = "status";
/// The command that nobody could mend the file for.
const APP: &str = "app";
/// Keys that every destination has, beside those of its kind.
const COMMON: &[&str] = &["url", "give_up_after", "verify", "part_size", "limit", "must_be_mounted"];
/// No configuration file is longer.
const LONGEST: u64 = 1 << 20;
/// The key of the time zone.
const TIME_ZONE: &str = "time_zone";
/// What it looks like.
pub(crate) const ZONE_EXAMPLE: &str = "write it as \"Europe/Berlin\" or \"UTC\"";
/// Farther than this from a known word is no slip of the finger.
const NEAR: usize = 3;

/// What the file says.
#[derive(Clone, Debug, Default)]
pub(crate) struct Config {
    destinations: BTreeMap<String, Named>,
    jobs: Vec<Job>,
    channels: Vec<Channel>,
    mqtt: Option<Mqtt>,
    zone: Option<TimeZone>,
    tables: BTreeMap<&'static str, Vec<Setting>>,
    // Options of this run that only the command's table says.
    from_table: BTreeSet<String>,
    // The file that was read, and what it said.
    path: Option<PathBuf>,
    text: Option<String>,
    // What is wrong with it, for a command that says something all the same.
    mistake: Option<Failure>,
}

/// A key of a command's table.
#[derive(Clone, Debug)]
struct Setting {
    /// The argument's id.
    id: String,
    values: Vec<String>,
}

impl Config {
    /// The destination of this name.
    pub(crate) fn destination(&self, name: &str) -> Option<&Named> {
        self.destinations.get(name)
    }

    /// All named destinations, by name.
    pub(crate) fn destinations(&self) -> impl Iterator<Item = (&str, &Named)> {
        self.destinations.iter().map(|(name, named)| (name.as_str(), named))
    }

    /// What is to happen by itself.
    pub(crate) fn jobs(&self) -> &[Job] {
        &self.jobs
    }

    /// Who is told.
    pub(crate) fn channels(&self) -> &[Channel] {
        &self.channels
    }

    /// The broker that Home Assistant listens to.
    pub(crate) fn mqtt(&self) -> Option<&Mqtt> {
        self.mqtt.as_ref()
    }

    /// The time zone that all times are meant in; nothing: the system's.
    pub(crate) fn time_zone(&self) -> Option<&TimeZone> {
        self.zone.as_ref()
    }

    /// The file that was read.
    pub(crate) fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// What is wrong with the file. Nothing of it is in here then.
    pub(crate) fn mistake(&self) -> Option<&Failure> {
        self.mistake.as_ref()
    }

    /// The file that was read, or where it would be looked for first.
    pub(crate) fn path_or_usual(&self) -> Option<PathBuf> {
        self.path.clone().or_else(|| usual_files().into_iter().next())
    }

    /// The configured name that looks most like this one, if any looks like it at all.
    pub(crate) fn nearest_destination(&self, name: &str) -> Option<&str> {
        nearest(name, self.destinations.keys().map(String::as_str))
    }

    /// Where destinations were looked up, for a message about one that is not among them.
    pub(crate) fn searched(&self) -> String {
        if let Some(path) = &self.path {
            return format!("{} defines no destination of that name", path.display());
        }
        let usual: Vec<String> = usual_files().iter().map(|path| path.display().to_string()).collect();
        format!("there is no configuration file ({})", usual.join(", "))
    }

    /// Whether an option's value comes from the command's table, because it is neither typed nor in the environment. A
    /// destination's own setting overrides it.
    pub(crate) fn is_from_table(&self, id: &str) -> bool {
        self.from_table.contains(id)
    }

    fn note_sources(&mut self, matches: &ArgMatches) {
        let Some((name, matches)) = matches.subcommand() else { return };
        let settings = self.tables.get(name).map_or(&[][..], Vec::as_slice);
        let default = |id: &str| {
            matches.try_contains_id(id).is_ok() && matches.value_source(id) == Some(ValueSource::DefaultValue)
        };
        self.from_table = settings.iter().map(|setting| setting.id.clone()).filter(|id| default(id)).collect();
    }

    /// `said`, else the first of the usual files that exists, else nothing.
    pub(crate) fn load(given: Option<&Path>) -> Result<Self, Failure> {
        let usual = usual_files();
        match given.or_else(|| usual.iter().map(PathBuf::as_path).find(|path| path.exists())) {
            Some(path) => Self::of(path, read(path)?),
            None => Ok(Self::default()),
        }
    }

    /// What this text says, read from there.
    pub(crate) fn of(path: &Path, text: String) -> Result<Self, Failure> {
        let config = Self::parse(path, &text)?;
        Ok(Self { path: Some(path.to_owned()), text: Some(text), ..config })
    }

    /// What the file says. What is no file, such as a pipe, could be waited for for ever.
    pub(crate) fn read(path: &Path) -> Result<String, Failure> {
        if std::fs::metadata(path).is_ok_and(|found| !found.is_file()) {
            return Err(Failure::usage(format!("the configuration file {} is no file", path.display())));
        }
        read(path)
    }

    /// What the file said.
    pub(crate) fn text(&self) -> Option<&str> {
        self.text.as_deref()
    }

    fn parse(path: &Path, text: &str) -> Result<Self, Failure> {
        let file = File { path, text };
        let root = DeTable::parse(text).map_err(|error| file.unparsed(&error))?.into_inner();
        let known: Vec<&str> = CONFIGURABLE
            .iter()
            .copied()
            .filter(|name| subcommand(&Cli::command(), name).is_some())
            .chain(["destinations", "jobs", "mqtt", "notify", TIME_ZONE])
            .collect();
        let mut config = Self::default();
        for (key, value) in &root {
            let name = key.get_ref().as_ref();
            let Some(known) = known.iter().find(|known| **known == name) else {
                let what = if value.get_ref().as_table().is_some() { "table" } else { "key" };
                return Err(file.unknown(key.span().start, what, name, known.iter().copied()));
            };
            if *known == TIME_ZONE {
                config.zone = Some(file.time_zone(value)?);
                continue;
            }
            let table = file.table(name, value)?;
            if *known == "destinations" {
                for (name, value) in table {
                    let text = name.get_ref().as_ref();
                    if text.is_empty() || text == "-" || text.starts_with('.') || text.contains(['/', '\\', ':']) {
                        return Err(file.wrong(
                            name.span().start,
                            format!("{text:?} can't be a destination's name; use letters and digits"),
                        ));
                    }
                    config.destinations.insert(text.to_owned(), file.destination(text, value)?);
                }
            } else if *known == "mqtt" {
                config.mqtt = Some(file.mqtt(value)?);
            } else if !matches!(*known, "jobs" | "notify") {
                config.tables.insert(known, file.settings(known, table)?);
            }
        }
        // Now that all destinations are known.
        if let Some(jobs) = root.get("jobs") {
            config.jobs = file.jobs(file.table("jobs", jobs)?, &config.destinations)?;
        }
        if let Some(channels) = root.get("notify") {
            config.channels = file.channels(file.table("notify", channels)?, &config.jobs)?;
        }
        if is_app() {
            config.tell_home_assistant();
        }
        Ok(config)
    }

    /// In an app, Home Assistant is told without being asked for.
    pub(crate) fn tell_home_assistant(&mut self) {
        if self.channels.iter().all(|channel| channel.wants.name != Channel::HERE) {
            self.channels.push(Channel::here());
            self.channels.sort_by(|a, b| a.wants.name.cmp(&b.wants.name));
        }
    }

    /// The command line with the file's options as defaults, and the environment's above them.
    fn apply(&self, command: Command, typed: &ArgMatches) -> Command {
        let Some((name, typed)) = typed.subcommand() else { return command };
        if !CONFIGURABLE.contains(&name) {
            return command;
        }
        let settings = self.tables.get(name).map_or(&[][..], Vec::as_slice);
        let command = with_environment(command, name);
        let Some(about) = subcommand(&command, name).cloned() else { return command };
        let explicit = |arg: &Arg| {
            let id = arg.get_id().as_str();
            let known = typed.try_contains_id(id).is_ok();
            (known && typed.value_source(id) == Some(ValueSource::CommandLine))
                || arg.get_env().and_then(env::var_os).is_some()
        };
        let mut command = command;
        for setting in settings {
            let Some(arg) = about.get_arguments().find(|arg| arg.get_id() == setting.id.as_str()) else { continue };
            let conflicting = |other: &&Arg| conflict(&about, arg, other) || conflict(&about, other, arg);
            // The password itself in the environment beats a file with another one.
            let password = setting.id == "password_file" && env::var_os("HAUL_PASSWORD").is_some();
            if password || is_from_environment(arg) || about.get_arguments().filter(conflicting).any(explicit) {
                continue;
            }
            let values = setting.values.iter().map(|value| leaked(value));
            command = command
                .mut_subcommand(name, |sub| sub.mut_arg(&setting.id, |arg| arg.required(false).default_values(values)));
        }
        command
    }
}

/// What was typed, with what the environment and the file add to it.
pub(crate) fn command_line() -> Result<(Cli, Config), Failure> {
    let arguments: Vec<OsString> = env::args_os().collect();
    // Known before the rest is understood, and whatever is wrong with it.
    if arguments.iter().take_while(|argument| *argument != "--").any(|argument| argument == "--json") {
        output::expect_json();
    }
    // A required value may be in the file, and the file's name on the command line.
    let Ok(early) = Cli::command().ignore_errors(true).try_get_matches_from(&arguments) else {
        return Ok((parsed(with_every_environment(Cli::command()), &arguments)?.0, Config::default()));
    };
    let needs_file = early.subcommand_name().is_some_and(|name| !WITHOUT.contains(&name));
    let mut config = if needs_file {
        let given = early.get_one::<PathBuf>("config");
        match given
            .filter(|path| early.subcommand_name().is_some_and(|name| UNWRITTEN.contains(&name)) && !path.exists())
        {
            // The page writes it.
            Some(path) => Config { path: Some(path.clone()), ..Config::default() },
            None => match Config::load(given.map(PathBuf::as_path)) {
                Err(mistake) if early.subcommand_name() == Some(IN_SPITE) => {
                    Config { mistake: Some(mistake), ..Config::default() }
                }
                Err(mistake) if early.subcommand_name() == Some(APP) => {
                    good::put_back(given.map(PathBuf::as_path), mistake)?
                }
                loaded => loaded?,
            },
        }
    } else {
        Config::default()
    };
    let (cli, matches) = parsed(config.apply(Cli::command(), &early), &arguments)?;
    config.note_sources(&matches);
    Ok((cli, config))
}

fn parsed(mut command: Command, arguments: &[OsString]) -> Result<(Cli, ArgMatches), Failure> {
    let matches = command.try_get_matches_from_mut(arguments).map_err(|error| answered(&error))?;
    let cli = Cli::from_arg_matches(&matches).map_err(|error| answered(&error.format(&mut command)))?;
    if wants_json(&matches) {
        output::expect_json();
    }
    Ok((cli, matches))
}

/// Prints the requested help, or what is wrong with the command line, and ends the program.
fn answered(error: &clap::Error) -> Failure {
    if !error.use_stderr() {
        return match error.print() {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => output::unwritable(&error),
            _ => std::process::exit(error.exit_code()),
        };
    }
    let text = error.render().to_string();
    let what = match error.kind() {
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => "no command was given",
        _ => text.lines().next().map(|line| line.strip_prefix("error: ").unwrap_or(line)).unwrap_or_default(),
    };
    let advice = one_at_a_time(error);
    let usual = "`haul help` lists the commands, `haul help COMMAND` the options of one";
    output::failed_document(&Failure::usage(what).hint(advice.as_deref().unwrap_or(usual)));
    let Some(advice) = advice else { error.exit() };
    let _ = error.print();
    output::notes("tip", std::iter::once(advice));
    std::process::exit(error.exit_code())
}

/// Advice if the shell expands a pattern to several archives where one is expected, as in `haul verify /backups/*.tar`.
fn one_at_a_time(error: &clap::Error) -> Option<String> {
    let Some(ContextValue::String(extra)) = error.get(ContextKind::InvalidArg) else { return None };
    let is_archive = error.kind() == ErrorKind::UnknownArgument
        && !extra.starts_with('-')
        && Path::new(extra).extension().is_some_and(|extension| extension == "tar");
    let command =
        is_archive.then(env::args).and_then(|mut typed| typed.nth(1)).filter(|command| !command.starts_with('-'))?;
    Some(format!("give one archive at a time: for archive in DIR/*.tar; do haul {command} \"$archive\"; done"))
}

/// Typed, in the environment or in the file.
fn wants_json(matches: &ArgMatches) -> bool {
    match matches.subcommand() {
        Some((_, matches)) => wants_json(matches),
        None => matches.try_get_one::<bool>("json").ok().flatten().copied().unwrap_or(false),
    }
}

fn with_every_environment(command: Command) -> Command {
    CONFIGURABLE.iter().fold(command, |command, name| {
        if subcommand(&command, name).is_some() { with_environment(command, name) } else { command }
    })
}

/// Lets every option of a command come from `HAUL_OPTION` as well.
fn with_environment(command: Command, name: &str) -> Command {
    command.mut_subcommand(name, |sub| {
        sub.mut_args(|arg| {
            let Some(key) = key(&arg).filter(|_| arg.get_long().is_some()) else { return arg };
            let variable = variable(name, &key);
            match arg.get_action() {
                ArgAction::SetTrue => arg.env(variable).value_parser(BoolishValueParser::new()),
                // One variable holds several values: one a line, or with commas between them.
                ArgAction::Append => {
                    // What help says of options with one value.
                    let text = env::var(variable).unwrap_or_default();
                    let help =
                        arg.get_help().map(|help| format!("{help} [env: {variable}={text}]")).unwrap_or_default();
                    let arg = arg.help(help).hide_default_value(true);
                    if text.is_empty() {
                        return arg;
                    }
                    let separator = if text.contains('\n') { '\n' } else { ',' };
                    let values: Vec<_> =
                        text.split(separator).map(str::trim).filter(|value| !value.is_empty()).map(leaked).collect();
                    arg.required(false).default_values(values)
                }
                _ => arg.env(variable),
            }
        })
    })
}

/// The environment variable of an option; one of its own where another command means something else by the same word.
fn variable(command: &str, key: &str) -> &'static str {
    match (command, key) {
        ("receive", "name") => "HAUL_RECEIVE_NAME",
        ("prune", "verify") => "HAUL_PRUNE_VERIFY",
        _ => leaked(&format!("HAUL_{}", key.to_uppercase())),
    }
}

/// Whether the default of an option that may be given several times came from the environment.
fn is_from_environment(arg: &Arg) -> bool {
    matches!(arg.get_action(), ArgAction::Append)
        && key(arg).is_some_and(|key| env::var_os(format!("HAUL_{}", key.to_uppercase())).is_some())
}

/// The key that an argument has in the file; help and the like have none.
fn key(arg: &Arg) -> Option<String> {
    let usable =
        matches!(arg.get_action(), ArgAction::Set | ArgAction::Append | ArgAction::SetTrue) && !arg.is_hide_set();
    match arg.get_long() {
        Some(long) => usable.then(|| long.replace('-', "_")),
        None => (usable && arg.is_positional()).then(|| arg.get_id().to_string()),
    }
}

fn conflict(command: &Command, one: &Arg, other: &Arg) -> bool {
    command.get_arg_conflicts_with(one).iter().any(|arg| arg.get_id() == other.get_id())
}

fn subcommand<'c>(command: &'c Command, name: &str) -> Option<&'c Command> {
    command.find_subcommand(name)
}

/// Defaults live as long as the program; there is a handful of them.
fn leaked(text: &str) -> &'static str {
    Box::leak(text.to_owned().into_boxed_str())
}

/// Whether the value of a destination's key is a path.
fn is_path(key: &str) -> bool {
    key.ends_with("_file") || key == "known_hosts"
}

fn usual_files() -> Vec<PathBuf> {
    let absolute = |name| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let own = absolute("XDG_CONFIG_HOME").or_else(|| store::home_directory().map(|home| home.join(".config")));
    own.into_iter().chain([PathBuf::from("/etc")]).map(|directory| directory.join("haul/haul.toml")).collect()
}

fn read(path: &Path) -> Result<String, Failure> {
    // Nothing catches signals yet: Ctrl-C ends the program by itself.
    let text = store::files::read_short(path, LONGEST, &Cancellation::default());
    text.map(|text| text.to_string()).map_err(|error| {
        let (shown, reason) = (engine::shown(path.as_os_str().as_encoded_bytes()), engine::plain_reason(&error));
        Failure::usage(format!("can't read the configuration file {shown}: {reason}"))
            .hint("name another one with --config FILE")
            .about(shown, reason)
    })
}

/// The file while it is read, for messages that say where.
struct File<'t> {
    path: &'t Path,
    text: &'t str,
}

impl File<'_> {
    fn wrong(&self, at: usize, what: impl AsRef<str>) -> Failure {
        let line = self.text.as_bytes().iter().take(at).filter(|byte| **byte == b'\n').count() + 1;
        Failure::usage(format!("{}, line {line}: {}", self.path.display(), what.as_ref().trim_end()))
    }

    fn unknown<'k>(&self, at: usize, what: &str, name: &str, known: impl Iterator<Item = &'k str> + Clone) -> Failure {
        let all: Vec<&str> = known.clone().collect();
        let failure = match nearest(name, known) {
            Some(near) => self.wrong(at, format!("there is no {what} {name:?}; did you mean {near:?}?")),
            None => self.wrong(at, format!("there is no {what} {name:?}")),
        };
        if name == TIME_ZONE {
            return failure.hint("write time_zone at the top of the file, above the first [table]");
        }
        failure.hint(format!("known: {}", all.join(", ")))
    }

    fn time_zone(&self, value: &Spanned<DeValue<'_>>) -> Result<TimeZone, Failure> {
        let at = value.span().start;
        let named = value.get_ref().as_str().ok_or_else(|| "time_zone must be a string".to_owned());
        named.and_then(time_zone).map_err(|wrong| self.wrong(at, wrong).hint(ZONE_EXAMPLE))
    }

    /// A table lacks a key, or has it with a slip of the pen.
    fn missing(&self, table: &DeTable<'_>, key: &str, at: usize, name: &str) -> Failure {
        let near =
            table.iter().map(|(given, _)| given).find(|given| nearest(given.get_ref(), [key].into_iter()).is_some());
        match near {
            Some(given) => self.wrong(
                given.span().start,
                format!("there is no key {:?}; did you mean {key:?}?", given.get_ref().as_ref()),
            ),
            None => self.wrong(at, format!("{name} has no {key}")),
        }
    }

    fn table<'v, 'i>(&self, name: &str, value: &'v Spanned<DeValue<'i>>) -> Result<&'v DeTable<'i>, Failure> {
        value
            .get_ref()
            .as_table()
            .ok_or_else(|| self.wrong(value.span().start, format!("{name} must be a table, like [{name}]")))
    }

    /// Text, a number or a boolean, as text.
    fn scalar(&self, key: &str, value: &Spanned<DeValue<'_>>) -> Result<String, Failure> {
        match value.get_ref() {
            DeValue::String(text)
                if (is_path(key) || key.ends_with("_files") || matches!(key, "url" | "source"))
                    && text.contains(char::is_control) =>
            {
                Err(self
                    .wrong(value.span().start, format!("{key} contains a control character"))
                    .hint("between double quotes, \\t is a tab: write a path in single quotes, '…'"))
            }
            DeValue::String(text) => Ok(text.to_string()),
            DeValue::Boolean(flag) => Ok(flag.to_string()),
            DeValue::Integer(number) if number.radix() == 10 => Ok(number.as_str().replace('_', "")),
            DeValue::Float(number) => Ok(number.as_str().to_owned()),
            DeValue::Datetime(_) => Err(self
                .wrong(value.span().start, format!("the value of {key} is not in quotes"))
                .hint("write it in quotes")),
            _ => Err(self.wrong(value.span().start, format!("{key} must be a string, a number, true or false"))),
        }
    }

    fn destination(&self, name: &str, value: &Spanned<DeValue<'_>>) -> Result<Named, Failure> {
        let table = self.table(&format!("destinations.{name}"), value)?;
        let Some(url) = table.get("url") else {
            return Err(self
                .missing(table, "url", value.span().start, &format!("[destinations.{name}]"))
                .hint("for example: url = \"s3://bucket/backups\""));
        };
        let text = self.scalar("url", url)?;
        let (over, place) = text.strip_prefix(VAULT).map_or(("", &*text), |place| (VAULT, place));
        let text = if place.contains("://") { text } else { format!("{over}{}", self.resolved(place)) };
        let address = Address::parse(&text).map_err(|error| self.wrong(url.span().start, error.to_string()))?;
        if address == Address::Stdout {
            return Err(self.wrong(url.span().start, "standard output needs no name; use --to -"));
        }
        let mut settings = BTreeMap::new();
        let mut common = Common::default();
        for (key, value) in table {
            let name = key.get_ref().as_ref();
            let text = self.scalar(name, value)?;
            let wrong = |reason: String| self.wrong(value.span().start, format!("{name}: {reason}"));
            match name {
                "url" => {}
                "give_up_after" => common.give_up_after = Some(duration(&text).map_err(wrong)?),
                "part_size" => common.part_size = Some(size(&text).map_err(wrong)?),
                "limit" => common.limit = Some(Limit::new(rate(&text).map_err(wrong)?)),
                "must_be_mounted" if !matches!(address, Address::Local(_)) => {
                    return Err(wrong("it applies only to directories".to_owned()));
                }
                "must_be_mounted" => {
                    common.must_be_mounted =
                        value.get_ref().as_bool().ok_or_else(|| wrong("it must be true or false".to_owned()))?;
                }
                "verify" => {
                    let verify = <VerifyArg as clap::ValueEnum>::from_str(&text, false);
                    common.verify =
                        Some(verify.map_err(|_| wrong(format!("{text:?} is neither \"auto\" nor \"read-back\"")))?);
                }
                _ => {
                    let known = store::keys(&address);
                    if !known.contains(&name) {
                        let known = COMMON.iter().chain(&known).copied();
                        return Err(self.unknown(key.span().start, "key", name, known));
                    }
                    settings.insert(name.to_owned(), if is_path(name) { self.resolved(&text) } else { text });
                }
            }
        }
        Ok(Named { address, options: Options::new(settings), common })
    }

    /// A path of the file: `~/` is the home directory, and what is not absolute is meant from where the file is.
    fn resolved(&self, path: &str) -> String {
        let home = path.strip_prefix("~/").and_then(|rest| Some(store::home_directory()?.join(rest)));
        let resolved = home.unwrap_or_else(|| self.path.parent().unwrap_or(Path::new("")).join(path));
        resolved.to_string_lossy().into_owned()
    }

    /// A command's table, each value tried on the command line itself.
    fn settings(&self, name: &'static str, table: &DeTable<'_>) -> Result<Vec<Setting>, Failure> {
        let command = Cli::command();
        let about = subcommand(&command, name).ok_or_else(|| self.wrong(0, format!("there is no command {name}")))?;
        let keys: Vec<(String, &Arg)> = about.get_arguments().filter_map(|arg| Some((key(arg)?, arg))).collect();
        let mut settings = Vec::new();
        for (key, value) in table {
            let text = key.get_ref().as_ref();
            let Some((_, arg)) = keys.iter().find(|(known, _)| known == text) else {
                let failure = self.unknown(key.span().start, "key", text, keys.iter().map(|(known, _)| known.as_str()));
                return Err(match owners(&command, text).as_slice() {
                    [] => failure,
                    owners => self.wrong(
                        key.span().start,
                        format!("{text:?} is not a key of [{name}]; it belongs to {}", owners.join(" or ")),
                    ),
                });
            };
            let several = matches!(arg.get_action(), ArgAction::Append);
            let values = match value.get_ref() {
                DeValue::Array(items) if several => {
                    items.iter().map(|item| self.scalar(text, item)).collect::<Result<_, _>>()?
                }
                _ => vec![self.scalar(text, value)?],
            };
            let flag = matches!(arg.get_action(), ArgAction::SetTrue);
            if flag && !matches!(value.get_ref(), DeValue::Boolean(_)) {
                return Err(self.wrong(value.span().start, format!("{text} must be true or false")));
            }
            for value_text in values.iter().filter(|_| !flag) {
                if let Some(reason) = refused(name, arg, value_text) {
                    return Err(
                        self.wrong(value.span().start, format!("invalid value {value_text:?} for {text}{reason}"))
                    );
                }
            }
            settings.push(Setting { id: arg.get_id().to_string(), values });
        }
        Ok(settings)
    }
}

/// The tables that have this key.
fn owners(command: &Command, wanted: &str) -> Vec<String> {
    let has = |name: &&&str| {
        subcommand(command, name)
            .is_some_and(|about| about.get_arguments().any(|arg| key(arg).as_deref() == Some(wanted)))
    };
    CONFIGURABLE.iter().filter(has).map(|name| format!("[{name}]")).collect()
}

/// Why the command line would not take this value.
fn refused(command: &str, arg: &Arg, value: &str) -> Option<String> {
    let typed = match arg.get_long() {
        Some(long) => format!("--{long}={value}"),
        None => value.to_owned(),
    };
    let error = Cli::command().try_get_matches_from(["haul", command, &typed]).err()?;
    if !matches!(error.kind(), ErrorKind::InvalidValue | ErrorKind::ValueValidation) {
        return None;
    }
    let possible: Vec<String> = arg
        .get_possible_values()
        .iter()
        .filter(|value| !value.is_hide_set())
        .map(|value| value.get_name().to_owned())
        .collect();
    if !possible.is_empty() {
        return Some(format!("; it is one of {}", possible.join(", ")));
    }
    Some(std::error::Error::source(&error).map_or_else(String::new, |source| format!(": {source}")))
}

/// The time zone of this name.
pub(crate) fn time_zone(name: &str) -> Result<TimeZone, String> {
    if let Some(zone) = TimeZone::get(name).ok().filter(|zone| !zone.is_unknown()) {
        return Ok(zone);
    }
    let all: Vec<String> = jiff::tz::db().available().map(|name| name.to_string()).collect();
    let near = nearest(name, all.iter().map(String::as_str));
    let near = near.map_or_else(String::new, |near| format!("; did you mean {near:?}?"));
    Err(format!("there is no time zone {name:?}{near}"))
}

fn nearest<'k>(name: &str, known: impl Iterator<Item = &'k str>) -> Option<&'k str> {
    let scored = known.map(|known| (strsim::damerau_levenshtein(known, name), known));
    // A short word is soon three letters from anything.
    scored.min().filter(|(distance, known)| *distance <= NEAR.min(known.len().max(2) / 2)).map(|(_, known)| known)
}

#[cfg(test)]
mod tests;
