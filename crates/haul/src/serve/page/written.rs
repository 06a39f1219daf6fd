//! Secrets in files of their own, beside the configuration file, and what is left of a change that was cut off.

use std::{
    ffi::OsStr,
    fs::{self, File},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use store::owner::{is_abandoned, is_temporary, temporary_name};
use web::backend::Invalid;

use super::typed::of;
use crate::{
    config::{Config, edit::Draft},
    failure::Failure,
};

/// The directory beside the configuration file that holds what must not stand in it.
const SECRETS: &str = "secrets";

/// Files that go again unless everything is written; those that they replace go then.
#[derive(Default)]
pub(super) struct Written {
    new: Vec<PathBuf>,
    old: Vec<PathBuf>,
    /// Names both, so that the next start removes what a killed one leaves.
    list: Option<(PathBuf, File)>,
}

impl Written {
    /// Under this name, or one like it: a file that is there belongs to something else, perhaps to an earlier set-up.
    pub(super) fn keep(&mut self, directory: &Path, name: &str, secret: &str) -> Result<String, Invalid> {
        let create = |path: &Path| {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
            fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
        };
        let mut number = 1;
        loop {
            let file = if number == 1 { name.to_owned() } else { format!("{name}-{number}") };
            let path = directory.join(&file);
            match create(&path) {
                Ok(mut open) => {
                    self.new.push(path.clone());
                    // Not before it is certainly ours.
                    self.note(directory, &file)
                        .and_then(|()| open.write_all(secret.as_bytes()))
                        .and_then(|()| open.sync_all())
                        .map_err(|error| cannot_write(&path, &error))?;
                    return Ok(file);
                }
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => number += 1,
                Err(error) => return Err(cannot_write(&path, &error)),
            }
        }
    }

    /// Of what has this name, for this key. Returns the path, as the configuration file has it.
    pub(super) fn keep_secret(&mut self, draft: &Draft, of: &str, key: &str, secret: &str) -> Result<String, Invalid> {
        let wanted = format!("{of}-{}", key.trim_end_matches("_file").replace('_', "-"));
        let file = self.keep(&draft.directory().join(SECRETS), &wanted, secret)?;
        Ok(format!("{SECRETS}/{file}"))
    }

    /// One of what has this name is of no use once everything is written. Somebody else's file stays.
    pub(super) fn drop_secret(&mut self, draft: &Draft, of: &str, path: &str) {
        if let Some(file) = path.strip_prefix(&format!("{SECRETS}/")).filter(|file| file.starts_with(&format!("{of}-")))
        {
            self.old.push(draft.directory().join(path));
            // Without it only the next start knows less.
            let _ = self.note(&draft.directory().join(SECRETS), file);
        }
    }

    fn note(&mut self, directory: &Path, file: &str) -> io::Result<()> {
        let (_, list) = match &mut self.list {
            Some(list) => list,
            list => {
                let path = directory.join(temporary_name());
                let open = fs::OpenOptions::new().append(true).create_new(true).mode(0o600).open(&path)?;
                list.insert((path, open))
            }
        };
        writeln!(list, "{file}")?;
        list.sync_all()
    }

    /// Everything is written. What the file still names, for something else, stays.
    pub(super) fn stay(&mut self, config: &Config) {
        let text = config.text().unwrap_or_default();
        let is_named = |path: &PathBuf| path.file_name().and_then(OsStr::to_str).is_none_or(|file| names(text, file));
        self.new = std::mem::take(&mut self.old);
        self.new.retain(|path| !is_named(path));
    }
}

impl Drop for Written {
    fn drop(&mut self) {
        for path in self.new.iter().chain(self.list.as_ref().map(|(path, _)| path)) {
            let _ = fs::remove_file(path);
        }
    }
}

/// Removes what a process left that was killed while it changed the configuration file: the text that should have
/// replaced it, and secrets that it does not name. Only what the names of such things, and its own lists, say is Haul's.
pub(in crate::serve) fn forget_unfinished(file: &Path) {
    let directory = |path: &Path| path.parent().map(Path::to_owned).unwrap_or_default();
    // It may be a link.
    let real = file.canonicalize();
    for path in unfinished(&directory(real.as_deref().unwrap_or(file))) {
        let _ = fs::remove_file(path);
    }
    // Who can't read it does not know what it names.
    let Ok(text) = fs::read_to_string(file) else { return };
    let secrets = directory(file).join(SECRETS);
    for list in unfinished(&secrets) {
        let Ok(files) = fs::read_to_string(&list) else { continue };
        for file in files.lines().filter(|file| !file.contains('/') && !names(&text, file)) {
            let _ = fs::remove_file(secrets.join(file));
        }
        let _ = fs::remove_file(list);
    }
}

/// What nobody works on any more, of what has a name that only Haul gives.
fn unfinished(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let is_left = |entry: &fs::DirEntry| {
        let name = entry.file_name();
        let age = entry.metadata().and_then(|about| about.modified()).ok().and_then(|at| at.elapsed().ok());
        name.to_str().is_some_and(|name| is_temporary(name) && is_abandoned(name, age))
    };
    entries.filter(is_left).map(|entry| entry.path()).collect()
}

pub(super) fn cannot_write(path: &Path, error: &std::io::Error) -> Invalid {
    let failure = Failure::new(
        crate::failure::FAILED,
        format!("can't write {}: {}", path.display(), engine::plain_reason(error)),
    )
    .hint("make its directory writable for this user");
    of(&failure)
}

/// Whether a text has this name, and not as a part of a longer one.
fn names(text: &str, file: &str) -> bool {
    let is_part = |letter: char| letter.is_alphanumeric() || matches!(letter, '-' | '_' | '.');
    let ends = text
        .match_indices(file)
        .map(|(at, _)| (text[..at].chars().next_back(), text[at + file.len()..].chars().next()));
    ends.into_iter().any(|(before, after)| !before.is_some_and(is_part) && !after.is_some_and(is_part))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    #[test]
    fn a_secret_that_is_left_over_is_in_nobody_s_way_and_stays() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join("secrets").join(name);
        fs::create_dir(directory.path().join("secrets")).unwrap();
        fs::write(at("home-key"), "an older one").unwrap();
        {
            let mut written = Written::default();
            let name = written.keep(&directory.path().join("secrets"), "home-key", "new").unwrap();
            assert_eq!((name.as_str(), fs::read_to_string(at("home-key-2")).unwrap().as_str()), ("home-key-2", "new"));
        }
        assert!(!at("home-key-2").exists(), "not everything was written");
        assert_eq!(fs::read_to_string(at("home-key")).unwrap(), "an older one");
    }

    #[test]
    fn a_secret_that_something_else_names_stays() {
        let text = "token_file = \"secrets/notify-a-token-2\"\npassword_file = './secrets/home-key'\n";
        assert!(names(text, "notify-a-token-2") && names(text, "home-key"));
        assert!(!names(text, "notify-a-token") && !names(text, "key") && !names(text, "token-2"));
    }

    #[test]
    fn what_a_killed_change_left_goes_and_nothing_else() {
        // No process has this number, and no boot.
        let dead = temporary_name().replace(&format!("-{}-", std::process::id()), "-4194305-");
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        fs::create_dir(at("secrets")).unwrap();
        for name in ["haul.toml", "haul.toml.new", "secrets/by-hand", "secrets/nas-password", "secrets/nas-password-2"]
        {
            fs::write(at(name), "password_file = \"secrets/nas-password\"").unwrap();
        }
        fs::write(at(&dead), "half of").unwrap();
        fs::write(at("secrets").join(&dead), "nas-password\nnas-password-2\nnever-made\n../haul.toml\n").unwrap();
        // Another service is at work there.
        let alive = temporary_name();
        fs::write(at(&alive), "half of").unwrap();
        fs::write(at("secrets").join(&alive), "by-hand\n").unwrap();
        forget_unfinished(&at("haul.toml"));
        let all = ["haul.toml", "haul.toml.new", "secrets/by-hand", "secrets/nas-password", &alive];
        assert!(all.iter().all(|name| at(name).exists()) && at("secrets").join(&alive).exists());
        assert!(!at("secrets/nas-password-2").exists() && !at(&dead).exists() && !at("secrets").join(&dead).exists());
    }

    #[test]
    fn a_change_lists_its_secrets_while_it_is_under_way() {
        let directory = tempfile::tempdir().unwrap();
        let lists = || {
            let entries = fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap());
            let lists = entries.filter(|entry| is_temporary(entry.file_name().to_str().unwrap()));
            lists.map(|entry| fs::read_to_string(entry.path()).unwrap()).collect::<Vec<_>>()
        };
        let mut written = Written::default();
        written.keep(directory.path(), "nas-password", "secret").unwrap();
        written.keep(directory.path(), "nas-password", "other").unwrap();
        assert_eq!(lists(), ["nas-password\nnas-password-2\n"]);
        drop(written);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    }
}
