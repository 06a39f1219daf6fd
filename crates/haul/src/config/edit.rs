//! Changes `haul.toml` for the user: comments and order stay, the result is read by the same parser before it counts,
//! the file is replaced in one step, and a change that somebody made meanwhile is never overwritten.

use std::{
    fs,
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use toml_edit::{Array, DocumentMut, InlineTable, Item, Table, Value, value};

use super::Config;
use crate::failure::{FAILED, Failure};

/// The mode of a file that did not exist: it may name accounts and hosts.
const MODE: u32 = 0o600;

/// The file while it is changed.
pub(crate) struct Draft {
    path: PathBuf,
    before: Option<String>,
    document: DocumentMut,
    config: Config,
}

impl Draft {
    /// What is there now. A file that does not exist is empty.
    pub(crate) fn open(path: &Path) -> Result<Self, Failure> {
        // The file itself: a link to it stays a link.
        let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let before = match fs::read_to_string(&path) {
            Ok(text) => Some(text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(unusable(&path, "read", &error)),
        };
        let text = before.as_deref().unwrap_or_default();
        // Said with line and advice by the parser that everybody knows.
        let config = Config::parse(&path, text)?;
        let document = text
            .parse::<DocumentMut>()
            .map_err(|error| Failure::new(FAILED, format!("can't change {}: {}", path.display(), error.message())))?;
        Ok(Self { path, before, document, config })
    }

    /// What it said before it was changed.
    pub(crate) fn config(&self) -> &Config {
        &self.config
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

    /// Adds a destination.
    pub(crate) fn add_destination(&mut self, name: &str, settings: &[(String, String)]) {
        let mut table = Table::new();
        for (key, text) in settings {
            table.insert(key, value(text));
        }
        self.tables("destinations").insert(name, Item::Table(table));
    }

    /// Adds a job.
    pub(crate) fn add_job(&mut self, name: &str, job: &NewJob<'_>) {
        let mut table = Table::new();
        table.insert("source", value(job.source));
        if !job.schedule.is_empty() {
            table.insert("schedule", value(job.schedule));
        }
        table.insert("destinations", value(job.destinations.iter().copied().collect::<Array>()));
        if let Some(file) = job.password_file {
            table.insert("password_file", value(file));
        }
        if let Some(keep) = job.keep {
            let rules: InlineTable =
                [("last", i64::from(keep))].into_iter().map(|(k, v)| (k, Value::from(v))).collect();
            table.insert("keep", value(rules));
        }
        if let Some(rehearse) = job.rehearse {
            table.insert("rehearse", value(rehearse));
        }
        self.tables("jobs").insert(name, Item::Table(table));
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
        let text = self.document.to_string();
        let config = Config { path: Some(self.path.clone()), ..Config::parse(&self.path, &text)? };
        let now = match fs::read_to_string(&self.path) {
            Ok(text) => Some(text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(unusable(&self.path, "read", &error)),
        };
        if now != self.before {
            let message =
                format!("{} was changed by somebody else meanwhile; nothing was written", self.path.display());
            return Err(Failure::new(FAILED, message).hint("look at the file, and try again"));
        }
        replace(&self.path, text.as_bytes()).map_err(|error| unusable(&self.path, "write", &error))?;
        Ok(config)
    }
}

/// A new job.
pub(crate) struct NewJob<'a> {
    pub(crate) source: &'a str,
    pub(crate) schedule: &'a str,
    pub(crate) destinations: &'a [&'a str],
    pub(crate) password_file: Option<&'a str>,
    pub(crate) keep: Option<u32>,
    pub(crate) rehearse: Option<&'a str>,
}

/// Replaces a file in one step; owner and mode stay.
fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    let before = fs::metadata(path).ok();
    let mut fresh = path.as_os_str().to_owned();
    fresh.push(format!(".new-{}", std::process::id()));
    let fresh = PathBuf::from(fresh);
    let written = (|| {
        let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(MODE).open(&fresh)?;
        if let Some(before) = &before {
            file.set_permissions(fs::Permissions::from_mode(before.mode() & 0o7777))?;
            // Only root may give a file away; whoever may not owns the new one.
            let _ = std::os::unix::fs::fchown(&file, Some(before.uid()), Some(before.gid()));
        }
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&fresh, path)
    })();
    if written.is_err() {
        let _ = fs::remove_file(&fresh);
    }
    written
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
        draft.add_destination("nas", &[("url".to_owned(), "/nas".to_owned())]);
        let job = NewJob {
            source: "/config",
            schedule: "daily 04:45",
            destinations: &["nas"],
            password_file: None,
            keep: Some(3),
            rehearse: Some("weekly"),
        };
        draft.add_job("home", &job);
        draft.save().unwrap();
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(
            text,
            "[destinations.nas]\nurl = \"/nas\"\n\n[jobs.home]\nsource = \"/config\"\nschedule = \"daily \
             04:45\"\ndestinations = [\"nas\"]\nkeep = { last = 3 }\nrehearse = \"weekly\"\n"
        );
        let mut draft = Draft::open(&path).unwrap();
        draft.add_job("other", &NewJob { destinations: &["gone"], ..job });
        assert!(draft.save().is_err());
        assert_eq!(fs::read_to_string(&path).unwrap(), text);
    }
}
