//! Changes `haul.toml` for the user: comments and order stay, the result is read by the same parser before it counts,
//! the file is replaced in one step, and a change that somebody made meanwhile is never overwritten.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use sha2::{Digest, Sha256};
use toml_edit::{DocumentMut, InlineTable, Item, Table, TableLike, Value, value};
use web::backend::{JobSettings, Keep, Policy};

use super::{Config, TIME_ZONE, replacing::replace};
use crate::failure::{FAILED, Failure};

/// Keys of a destination that are true or false.
const FLAGS: &[&str] = &["must_be_mounted"];

/// The file while it is changed.
pub(crate) struct Draft {
    /// As it was given: what it says is relative to this, as for whoever reads the file.
    path: PathBuf,
    /// The file itself, where the path leads.
    file: PathBuf,
    before: Option<String>,
    document: DocumentMut,
    config: Config,
}

impl Draft {
    /// What is there now. A file that does not exist is empty.
    pub(crate) fn open(path: &Path) -> Result<Self, Failure> {
        // A link to it stays a link.
        let file = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let path = path.to_owned();
        let before = match fs::read_to_string(&file) {
            Ok(text) => Some(text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(unusable(&file, "read", &error)),
        };
        let text = before.as_deref().unwrap_or_default();
        // Said with line and advice by the parser that everybody knows.
        let config = Config::parse(&path, text)?;
        let document = text
            .parse::<DocumentMut>()
            .map_err(|error| Failure::new(FAILED, format!("can't change {}: {}", path.display(), error.message())))?;
        Ok(Self { path, file, before, document, config })
    }

    /// What it said before it was changed.
    pub(crate) fn config(&self) -> &Config {
        &self.config
    }

    /// The time zone, as it is written there.
    pub(crate) fn time_zone(&self) -> Option<String> {
        self.document.get(TIME_ZONE).map(texts)?.into_iter().next()
    }

    /// Makes the file name this one, or none.
    pub(crate) fn set_time_zone(&mut self, name: Option<&str>) {
        let is_new = self.document.get(TIME_ZONE).is_none() && !self.document.is_empty();
        put(self.document.as_table_mut(), TIME_ZONE, name.map(str::to_owned).as_slice());
        if let Some(zone) = self.document.get_mut(TIME_ZONE).and_then(Item::as_value_mut).filter(|_| is_new) {
            // An empty line before the tables.
            zone.decor_mut().set_suffix("\n");
        }
    }

    /// Pauses a job, or resumes it.
    pub(crate) fn pause(&mut self, job: &str, paused: bool) -> Result<(), Failure> {
        let table = self.document.get_mut("jobs").and_then(Item::as_table_like_mut);
        let job_table = table.and_then(|jobs| jobs.get_mut(job)).and_then(Item::as_table_like_mut);
        let Some(table) = job_table else {
            return Err(Failure::usage(format!("{} defines no job {job:?}", self.path.display()))
                .hint("`haul jobs` lists the jobs"));
        };
        if paused {
            table.insert("paused", value(true));
        } else {
            table.remove("paused");
        }
        Ok(())
    }

    /// Another one means that the file was changed.
    pub(crate) fn version(&self) -> String {
        let digest = Sha256::digest(self.before.as_deref().unwrap_or_default());
        format!("{:016x}", digest.iter().take(8).fold(0_u64, |number, byte| number << 8 | u64::from(*byte)))
    }

    /// What a job says, as it is written there.
    pub(crate) fn job(&self, name: &str) -> Option<JobSettings> {
        let job = self.document.get("jobs")?.as_table_like()?.get(name)?.as_table_like()?;
        let all = |key: &str| job.get(key).map(texts).unwrap_or_default();
        let one = |key: &str| all(key).into_iter().next();
        let at = job.get("at").and_then(Item::as_table_like);
        let at = at.into_iter().flat_map(TableLike::iter);
        Some(JobSettings {
            source: one("source").unwrap_or_default(),
            everything: one("everything").as_deref() == Some("true"),
            destinations: all("destinations"),
            policy: policy(job),
            password_file: one("password_file"),
            earlier_password_files: all("earlier_password_files"),
            rehearse: one("rehearse"),
            at: at.filter_map(|(place, differs)| Some((place.to_owned(), policy(differs.as_table_like()?)))).collect(),
            before: one("before"),
            after: one("after"),
            hook_timeout: one("hook_timeout"),
            boot: one("boot"),
        })
    }

    /// Makes a job say this; what it says besides stays.
    pub(crate) fn set_job(&mut self, name: &str, settings: &JobSettings) {
        let job = child(self.tables("jobs"), name);
        put(job, "source", std::slice::from_ref(&settings.source));
        if !settings.everything {
            job.remove("everything");
        } else if job.get("everything").map(texts).unwrap_or_default() != ["true"] {
            replace_value(job, "everything", Value::from(true));
        }
        put_list(job, "destinations", &settings.destinations);
        put(job, "password_file", settings.password_file.as_slice());
        if settings.earlier_password_files.is_empty() {
            job.remove("earlier_password_files");
        } else {
            put_list(job, "earlier_password_files", &settings.earlier_password_files);
        }
        put_policy(job, &settings.policy);
        for (key, text) in [
            ("rehearse", &settings.rehearse),
            ("before", &settings.before),
            ("after", &settings.after),
            ("hook_timeout", &settings.hook_timeout),
            ("boot", &settings.boot),
        ] {
            put(job, key, text.as_slice());
        }
        self.set_at(name, settings);
    }

    /// What differs at destinations; at those that are gone, nothing.
    fn set_at(&mut self, job: &str, settings: &JobSettings) {
        let job = child(self.tables("jobs"), job);
        let known = job.get("at").and_then(Item::as_table_like);
        let known: Vec<String> =
            known.into_iter().flat_map(TableLike::iter).map(|(place, _)| place.to_owned()).collect();
        let is_there = |place: &&String| settings.destinations.contains(place);
        let differs = |place: &str| settings.at.get(place).cloned().unwrap_or_default();
        let new = settings.at.keys().filter(|place| !known.contains(place) && differs(place) != Policy::default());
        let places: Vec<&String> = known.iter().chain(new).filter(is_there).collect();
        if job.get("at").is_none_or(|at| !at.is_table_like()) && !places.is_empty() {
            let mut table = Table::new();
            table.set_implicit(true);
            job.insert("at", Item::Table(table));
        }
        let Some(at) = job.get_mut("at").and_then(Item::as_table_like_mut) else { return };
        for place in known.iter().filter(|place| !is_there(place)) {
            at.remove(place);
        }
        for place in places {
            let table = child(at, place);
            put_policy(table, &differs(place));
            // A table that says nothing may stay, if it did so before.
            if table.is_empty() && !settings.at.contains_key(place) {
                at.remove(place);
            }
        }
        if at.is_empty() {
            job.remove("at");
        }
    }

    /// Removes a job.
    pub(crate) fn remove_job(&mut self, name: &str) {
        self.tables("jobs").remove(name);
    }

    /// What is written of a destination: keys and texts.
    pub(crate) fn destination(&self, name: &str) -> Vec<(String, String)> {
        let table = self.document.get("destinations").and_then(Item::as_table_like);
        let Some(table) = table.and_then(|all| all.get(name)?.as_table_like()) else { return Vec::new() };
        table.iter().filter_map(|(key, item)| Some((key.to_owned(), texts(item).into_iter().next()?))).collect()
    }

    /// Makes a destination say this; of these keys, the others go.
    pub(crate) fn set_destination(&mut self, name: &str, settings: &[(String, String)], others: &[&str]) {
        let table = child(self.tables("destinations"), name);
        for key in others.iter().filter(|key| settings.iter().all(|(set, _)| set != *key)) {
            table.remove(key);
        }
        for (key, text) in settings {
            if !FLAGS.contains(&key.as_str()) {
                put(table, key, std::slice::from_ref(text));
            } else if table.get(key).map(texts).unwrap_or_default() != [text.as_str()] {
                replace_value(table, key, Value::from(text == "true"));
            }
        }
    }

    /// Adds a destination that says what another one says, at another address.
    pub(crate) fn copy_destination(&mut self, from: &str, to: &str, url: &str) {
        let all = self.tables("destinations");
        let Some(mut copy) = all.get(from).cloned() else { return };
        if let Some(table) = copy.as_table_mut() {
            table.decor_mut().clear();
        }
        if let Some(table) = copy.as_table_like_mut() {
            replace_value(table, "url", Value::from(url));
        }
        all.insert(to, copy);
    }

    /// What is written in a table of texts, such as `["notify", "phone"]` or `["mqtt"]`.
    pub(crate) fn table(&self, path: &[&str]) -> Vec<(String, Vec<String>)> {
        let mut table: Option<&dyn TableLike> = Some(self.document.as_table());
        for name in path {
            table = table.and_then(|table| table.get(name)?.as_table_like());
        }
        table.into_iter().flat_map(TableLike::iter).map(|(key, item)| (key.to_owned(), texts(item))).collect()
    }

    /// Makes such a table say just this, of these keys.
    pub(crate) fn set_table(&mut self, path: &[&str], settings: &[(String, Vec<String>)], keys: &[&str]) {
        let table = match path {
            [name] => child(self.document.as_table_mut(), name),
            [tables, name] => child(self.tables(tables), name),
            _ => unreachable!("tables are not nested deeper"),
        };
        for key in keys.iter().filter(|key| settings.iter().all(|(set, _)| set != *key)) {
            table.remove(key);
        }
        for (key, texts) in settings {
            put(table, key, texts);
        }
    }

    /// Removes such a table.
    pub(crate) fn remove_table(&mut self, path: &[&str]) {
        match path {
            [name] => drop(self.document.remove(name)),
            [tables, name] => drop(self.tables(tables).remove(name)),
            _ => unreachable!("tables are not nested deeper"),
        }
    }

    /// What the file would say.
    pub(crate) fn preview(&self) -> Result<Config, Failure> {
        Config::parse(&self.path, &self.document.to_string())
    }

    /// Removes a destination, also from the jobs that use it.
    pub(crate) fn remove_destination(&mut self, name: &str) -> Result<(), Failure> {
        let jobs: Vec<String> = self.config.jobs().iter().map(|job| job.name.clone()).collect();
        for job in jobs {
            let Some(mut settings) = self.job(&job).filter(|job| job.destinations.iter().any(|used| used == name))
            else {
                continue;
            };
            settings.destinations.retain(|used| used != name);
            if settings.destinations.is_empty() {
                let message = format!("the job {job:?} has no other location than {name:?}");
                return Err(Failure::usage(message).hint("add another location to the job, or remove the job first"));
            }
            self.set_job(&job, &settings);
        }
        self.tables("destinations").remove(name);
        Ok(())
    }

    /// A table of tables, which needs no line of its own.
    fn tables(&mut self, name: &str) -> &mut dyn toml_edit::TableLike {
        let implicit = || {
            let mut table = Table::new();
            table.set_implicit(true);
            Item::Table(table)
        };
        if self.document.get(name).is_none_or(|item| !item.is_table_like()) {
            self.document.insert(name, implicit());
        }
        match self.document.get_mut(name).and_then(Item::as_table_like_mut) {
            Some(table) => table,
            None => unreachable!("it was just made"),
        }
    }

    /// The directory that paths of the file are relative to.
    pub(crate) fn directory(&self) -> &Path {
        self.path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
    }

    /// Writes it, and returns what it says now.
    pub(crate) fn save(self) -> Result<Config, Failure> {
        let mut text = self.document.to_string();
        // The document knows one kind of line end; an editor of Windows wrote the other.
        if self
            .before
            .as_deref()
            .is_some_and(|before| before.contains("\r\n") && !before.replace("\r\n", "").contains('\n'))
        {
            text = text.replace("\r\n", "\n").replace('\n', "\r\n");
        }
        let config = Config::of(&self.path, text)?;
        let text = config.text().unwrap_or_default();
        let is_written = replace(&self.file, self.before.as_deref(), text.as_bytes())
            .map_err(|error| unusable(&self.file, "write", &error))?;
        if !is_written {
            let message =
                format!("{} was changed by somebody else meanwhile; nothing was written", self.path.display());
            return Err(Failure::new(FAILED, message).hint("look at the file, and try again"));
        }
        Ok(config)
    }
}

/// What may be said of a job, and of one of its destinations.
fn policy(table: &dyn TableLike) -> Policy {
    let all = |key: &str| table.get(key).map(texts).unwrap_or_default();
    let one = |key: &str| all(key).into_iter().next();
    let keep = table.get("keep").and_then(Item::as_table_like);
    let rule = |key: &str| keep.and_then(|keep| texts(keep.get(key)?).into_iter().next());
    let count = |key: &str| rule(key)?.parse().ok();
    Policy {
        schedule: all("schedule"),
        keep: Keep {
            last: count("last"),
            daily: count("daily"),
            weekly: count("weekly"),
            monthly: count("monthly"),
            yearly: count("yearly"),
            within: rule("within"),
        },
        verify_every: one("verify_every"),
        verify_by: one("verify_by"),
        limit: one("limit"),
        hours: one("hours"),
    }
}

fn put_policy(table: &mut dyn TableLike, new: &Policy) {
    let Policy { schedule, keep, verify_every, verify_by, limit, hours } = new;
    put(table, "schedule", schedule);
    put_keep(table, keep);
    for (key, text) in [("verify_every", verify_every), ("verify_by", verify_by), ("limit", limit), ("hours", hours)] {
        put(table, key, text.as_slice());
    }
}

/// Writes what is kept; rules that are the same stay as they are written.
fn put_keep(table: &mut dyn TableLike, new: &Keep) {
    if *new == Keep::default() {
        table.remove("keep");
        return;
    }
    let is_changed = table.get("keep").is_some() && policy(table).keep != *new;
    if table.get("keep").is_none_or(|keep| !keep.is_table_like()) {
        table.insert("keep", value(InlineTable::new()));
    }
    let Keep { last, daily, weekly, monthly, yearly, within } = new;
    let Some(keep) = table.get_mut("keep").and_then(Item::as_table_like_mut) else { return };
    for (key, count) in [("last", last), ("daily", daily), ("weekly", weekly), ("monthly", monthly), ("yearly", yearly)]
    {
        let same = keep.get(key).map(texts).unwrap_or_default() == texts_of(count.as_ref());
        match count {
            _ if same => {}
            Some(count) => replace_value(keep, key, Value::from(i64::from(*count))),
            None => drop(keep.remove(key)),
        }
    }
    put(keep, "within", within.as_slice());
    if is_changed {
        keep.fmt();
    }
}

/// The table of this name, made if it is not there.
fn child<'t>(tables: &'t mut dyn TableLike, name: &str) -> &'t mut dyn TableLike {
    if tables.get(name).is_none_or(|item| !item.is_table_like()) {
        tables.insert(name, Item::Table(Table::new()));
    }
    match tables.get_mut(name).and_then(Item::as_table_like_mut) {
        Some(table) => table,
        None => unreachable!("it was just made"),
    }
}

/// One text or several, as the parser takes them.
fn texts(item: &Item) -> Vec<String> {
    let text = |value: &Value| match value {
        Value::String(text) => text.value().clone(),
        other => other.to_string().trim().to_owned(),
    };
    match item.as_value() {
        Some(Value::Array(values)) => values.iter().map(text).collect(),
        Some(value) => vec![text(value)],
        None => Vec::new(),
    }
}

fn texts_of(number: Option<&u32>) -> Vec<String> {
    number.iter().map(ToString::to_string).collect()
}

/// Writes one text or several, or nothing; what is the same already stays as it is written.
fn put(table: &mut dyn TableLike, key: &str, new: &[String]) {
    if table.get(key).map(texts).unwrap_or_default() == new {
        return;
    }
    match new {
        [] => drop(table.remove(key)),
        [text] => replace_value(table, key, Value::from(text)),
        several => replace_value(table, key, Value::Array(several.iter().collect())),
    }
}

/// The same for what is a list however many there are.
fn put_list(table: &mut dyn TableLike, key: &str, new: &[String]) {
    if table.get(key).map(texts).unwrap_or_default() != new {
        replace_value(table, key, Value::Array(new.iter().collect()));
    }
}

/// A comment behind the value stays.
fn replace_value(table: &mut dyn TableLike, key: &str, mut new: Value) {
    match table.get_mut(key).and_then(Item::as_value_mut) {
        Some(old) => {
            *new.decor_mut() = old.decor().clone();
            *old = new;
        }
        None => drop(table.insert(key, value(new))),
    }
}

fn unusable(path: &Path, what: &str, error: &io::Error) -> Failure {
    let (shown, reason) = (engine::shown(path.as_os_str().as_encoded_bytes()), engine::plain_reason(error));
    Failure::new(FAILED, format!("can't {what} the configuration file {shown}: {reason}"))
        .hint("make it writable for this user, or change it by hand")
        .about(shown, reason)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    use super::*;

    const TEXT: &str = "# my backups\n[destinations.nas] # in the cellar\nurl = \"/nas\"\n\n[jobs.home]\nsource = \
        \"/config\"   # the house\ndestinations = [ \"nas\" ]\n# the end\n";

    #[test]
    fn comments_and_order_stay() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("haul.toml");
        fs::write(&path, TEXT).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let mut draft = Draft::open(&path).unwrap();
        draft.pause("home", true).unwrap();
        assert!(draft.save().unwrap().jobs()[0].paused);
        let paused = fs::read_to_string(&path).unwrap();
        assert!(
            paused.contains("# in the cellar") && paused.contains("# the house") && paused.ends_with("# the end\n")
        );
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o640);
        let mut draft = Draft::open(&path).unwrap();
        draft.pause("home", false).unwrap();
        draft.save().unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), TEXT);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "nothing else stays");
    }

    #[test]
    fn paths_are_relative_to_a_link_as_for_whoever_reads_the_file() {
        let directory = tempfile::tempdir().unwrap();
        let [etc, conf] = ["etc", "conf"].map(|name| directory.path().join(name));
        for path in [&etc, &conf] {
            fs::create_dir(path).unwrap();
        }
        let (link, target) = (etc.join("haul.toml"), conf.join("haul.toml"));
        fs::write(&target, TEXT.replace("/nas", "nas")).unwrap();
        std::os::unix::fs::symlink(&target, &link).unwrap();
        let mut draft = Draft::open(&link).unwrap();
        assert_eq!(draft.directory(), etc);
        draft.pause("home", true).unwrap();
        let saved = draft.save().unwrap();
        let address = |config: &Config| config.destination("nas").unwrap().address.to_string();
        assert_eq!(address(&saved), address(&Config::of(&link, fs::read_to_string(&target).unwrap()).unwrap()));
        assert_eq!(address(&saved), etc.join("nas").display().to_string());
        assert_eq!(saved.path().unwrap(), link);
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink() && saved.jobs()[0].paused);
    }

    #[test]
    fn line_ends_stay() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("haul.toml");
        let before = "# mine\r\n[destinations.nas]\r\nurl = \"/nas\"\r\n[jobs.home]\r\nsource = \"/config\"\r\ndestinations = \
                      [\"nas\"]\r\n";
        fs::write(&path, before).unwrap();
        for (paused, added) in [(true, "paused = true\r\n"), (false, "")] {
            let mut draft = Draft::open(&path).unwrap();
            draft.pause("home", paused).unwrap();
            draft.save().unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), format!("{before}{added}"));
        }
    }

    #[test]
    fn only_what_is_changed_is_written_anew() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("haul.toml");
        let text = "# mine\n[jobs.home]   # the house\nsource = \"/config\" # all of it\nschedule = [ \"daily 04:45\" ] \
                    # early\ndestinations = [\"nas\",  \"off\"]\nlevel = \"small\"\nkeep = { last = 3, daily = 7 } # \
                    enough\n[jobs.home.at.off] # far\nlimit = \"1MB/s\"\n\n# in the cellar\n[destinations.nas]\nurl = \
                    \"/nas\" # slow\n[destinations.off]\nurl = \"/off\"\n";
        fs::write(&path, text).unwrap();
        let mut draft = Draft::open(&path).unwrap();
        let mut job = draft.job("home").unwrap();
        draft.set_job("home", &job);
        draft.set_destination("nas", &[("url".to_owned(), "/nas".to_owned())], &[]);
        draft.save().unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), text, "what says the same stays, to the last blank");

        let mut draft = Draft::open(&path).unwrap();
        let version = draft.version();
        job.policy.schedule = vec!["every 6h".to_owned(), "sun 03:00".to_owned()];
        job.policy.keep = Keep { last: Some(5), ..Keep::default() };
        job.destinations = vec!["nas".to_owned()];
        job.policy.verify_every = Some("7d".to_owned());
        draft.set_job("home", &job);
        draft.save().unwrap();
        let expected = "# mine\n[jobs.home]   # the house\nsource = \"/config\" # all of it\nschedule = [\"every 6h\", \
                        \"sun 03:00\"] # early\ndestinations = [\"nas\"]\nlevel = \"small\"\nkeep = { last = 5 } # \
                        enough\nverify_every = \"7d\"\n\n# in the cellar\n[destinations.nas]\nurl = \"/nas\" # \
                        slow\n[destinations.off]\nurl = \"/off\"\n";
        assert_eq!(fs::read_to_string(&path).unwrap(), expected);

        let mut draft = Draft::open(&path).unwrap();
        assert_ne!(draft.version(), version);
        assert!(draft.remove_destination("nas").unwrap_err().message.contains("no other location"));
        draft.remove_destination("off").unwrap();
        draft.remove_job("home");
        draft.save().unwrap();
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(text.trim_start(), "# in the cellar\n[destinations.nas]\nurl = \"/nas\" # slow\n");
    }

    #[test]
    fn a_time_zone_comes_and_goes_above_all_tables() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("haul.toml");
        let set = |zone| {
            let mut draft = Draft::open(&path).unwrap();
            draft.set_time_zone(zone);
            draft.save().unwrap();
            (Draft::open(&path).unwrap().time_zone(), fs::read_to_string(&path).unwrap())
        };
        let text = "# mine\n[destinations.nas]\nurl = \"/nas\"\n";
        fs::write(&path, text).unwrap();
        assert_eq!(set(None), (None, text.to_owned()));
        let expected = format!("time_zone = \"Europe/Berlin\"\n\n{text}");
        assert_eq!(set(Some("Europe/Berlin")), (Some("Europe/Berlin".to_owned()), expected.clone()));
        assert_eq!(set(Some("UTC")).1, expected.replace("Europe/Berlin", "UTC"));
        assert_eq!(set(None), (None, format!("\n{text}")));
        fs::remove_file(&path).unwrap();
        assert_eq!(set(Some("UTC")).1, "time_zone = \"UTC\"\n", "the page may write it before anything else");
    }

    #[test]
    fn what_somebody_else_changed_is_not_overwritten() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("haul.toml");
        fs::write(&path, TEXT).unwrap();
        let mut draft = Draft::open(&path).unwrap();
        draft.pause("home", true).unwrap();
        let other = format!("{TEXT}# by hand\n");
        fs::write(&path, &other).unwrap();
        assert!(draft.save().unwrap_err().message.contains("by somebody else"));
        assert_eq!(fs::read_to_string(&path).unwrap(), other);
    }

    #[test]
    fn a_new_job_begins_a_file_and_what_can_not_be_is_not_written() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("deep/haul.toml");
        let mut draft = Draft::open(&path).unwrap();
        draft.set_destination("nas", &[("url".to_owned(), "/nas".to_owned())], &[]);
        let job = JobSettings {
            source: "/config".to_owned(),
            destinations: vec!["nas".to_owned()],
            policy: Policy {
                schedule: vec!["daily 04:45".to_owned()],
                keep: Keep { last: Some(3), ..Keep::default() },
                ..Policy::default()
            },
            rehearse: Some("weekly".to_owned()),
            ..JobSettings::default()
        };
        draft.set_job("home", &job);
        draft.save().unwrap();
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(
            text,
            "[destinations.nas]\nurl = \"/nas\"\n\n[jobs.home]\nsource = \"/config\"\ndestinations = \
             [\"nas\"]\nschedule = \"daily 04:45\"\nkeep = { last = 3 }\nrehearse = \"weekly\"\n"
        );
        let mut draft = Draft::open(&path).unwrap();
        draft.set_job("other", &JobSettings { destinations: vec!["gone".to_owned()], ..job });
        assert!(draft.save().is_err());
        assert_eq!(fs::read_to_string(&path).unwrap(), text);
    }
}
