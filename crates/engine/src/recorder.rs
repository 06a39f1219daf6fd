//! Where Home Assistant keeps its history, as far as the configuration files tell: a history outside the config directory is not in its backup.
//!
//! Home Assistant's YAML has tags of its own (`!secret`, `!include`), and only one key is of interest, so lines are read instead of documents. A value that is
//! not understood gives no warning. The value itself holds a password and is never shown.

use std::path::Path;

use crate::{report::shown, source::read_head};

/// No configuration file that a person wrote is longer.
const LONGEST: u64 = 1 << 20;

/// A sentence about a recorder that keeps its history elsewhere; `None` when it lives in the config directory or nothing is known.
pub(crate) fn history_elsewhere(config: &Path) -> Option<String> {
    let url = database_url(config)?;
    let kind = url.split(':').next().unwrap_or_default().split('+').next().unwrap_or_default().to_ascii_lowercase();
    match kind.as_str() {
        "sqlite" => outside_file(&url, config)
            .map(|path| format!("the recorder keeps its history in {path}, outside the config directory: it is NOT in this backup; back that file up as well")),
        "mysql" | "mariadb" => Some(elsewhere("MariaDB/MySQL", "mariadb-dump")),
        "postgresql" | "postgres" => Some(elsewhere("PostgreSQL", "pg_dump")),
        "mssql" | "oracle" => Some(elsewhere("an external database", "that database's own tool")),
        _ => None,
    }
}

fn elsewhere(what: &str, tool: &str) -> String {
    format!("the recorder keeps its history in {what}: it is NOT in this backup; save it with {tool} as well")
}

/// The path of an SQLite URL when it points out of the config directory.
fn outside_file(url: &str, config: &Path) -> Option<String> {
    let path = url.split_once("://")?.1.strip_prefix('/')?;
    let path = Path::new(path.split('?').next()?);
    // Inside a container the config directory is called /config, whatever it is called here.
    let inside = path.is_relative() || path.starts_with(config) || path.starts_with("/config") || path.starts_with("/homeassistant");
    (!inside).then(|| shown(path.as_os_str().as_encoded_bytes()))
}

fn read(path: &Path) -> Option<String> {
    read_head(path, LONGEST).ok().map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}

fn database_url(config: &Path) -> Option<String> {
    let main = read(&config.join("configuration.yaml"))?;
    let value = in_block(&main, "recorder").or_else(|| {
        let file = include(&main, "recorder")?;
        top_level(&read(&config.join(file))?, "db_url")
    });
    let value = value.or_else(|| in_packages(config))?;
    match value.strip_prefix("!secret") {
        Some(name) => top_level(&read(&config.join("secrets.yaml"))?, name.trim()),
        None => Some(value),
    }
}

/// Packages are whole configurations in files of their own, usually in `packages/`.
fn in_packages(config: &Path) -> Option<String> {
    let walk = walkdir::WalkDir::new(config.join("packages")).max_depth(3).sort_by_file_name();
    walk.into_iter()
        .flatten()
        .filter(|entry| entry.file_type().is_file() && entry.path().extension().is_some_and(|e| e == "yaml" || e == "yml"))
        .take(1000)
        .find_map(|entry| in_block(&read(entry.path())?, "recorder"))
}

/// `db_url` within the block that `key:` opens.
fn in_block(text: &str, key: &str) -> Option<String> {
    let mut depth = None;
    for line in text.lines() {
        let content = line.trim_start();
        if content.is_empty() || content.starts_with('#') {
            continue;
        }
        let indent = line.len() - content.len();
        match depth {
            Some(opened) if indent > opened => {
                if let Some(value) = value_of(content, "db_url") {
                    return Some(value);
                }
            }
            _ => depth = (value_of(content, key).as_deref() == Some("")).then_some(indent),
        }
    }
    None
}

/// The file that `key: !include file` names.
fn include(text: &str, key: &str) -> Option<String> {
    top_level(text, key)?.strip_prefix("!include ").map(|file| file.trim().to_owned())
}

fn top_level(text: &str, key: &str) -> Option<String> {
    text.lines().find_map(|line| value_of(line, key))
}

/// The value in `key: value`, without quotes and trailing comment.
fn value_of(line: &str, key: &str) -> Option<String> {
    let rest = line.strip_prefix(key)?.trim_start().strip_prefix(':')?;
    if !rest.is_empty() && !rest.starts_with([' ', '\t']) {
        return None;
    }
    let rest = rest.trim();
    for quote in ['"', '\''] {
        if let Some(quoted) = rest.strip_prefix(quote) {
            return quoted.split(quote).next().map(str::to_owned);
        }
    }
    let bare = if rest.starts_with('#') { "" } else { rest.split(" #").next().unwrap_or_default() };
    Some(bare.trim().to_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::fs;

    use super::*;

    fn config(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        dir
    }

    fn told(files: &[(&str, &str)]) -> Option<String> {
        history_elsewhere(config(files).path())
    }

    #[test]
    fn a_history_in_mariadb_behind_a_secret_is_told_without_its_password() {
        let told = told(&[
            ("configuration.yaml", "default_config:\n\nrecorder:\n  # keep\n  purge_keep_days: 30\n  db_url: !secret db\nhttp:\n"),
            ("secrets.yaml", "wifi: x\ndb: mysql://ha:hunter2@core-mariadb/ha?charset=utf8mb4\n"),
        ])
        .unwrap();
        assert!(told.contains("MariaDB") && !told.contains("hunter2"), "{told}");
    }

    #[test]
    fn includes_and_packages_are_followed() {
        let postgres = "postgresql+psycopg2://ha:x@db/ha";
        let included = told(&[("configuration.yaml", "recorder: !include recorder.yaml\n"), ("recorder.yaml", &format!("db_url: \"{postgres}\"\n"))]);
        assert!(included.unwrap().contains("PostgreSQL"));
        let packaged = told(&[
            ("configuration.yaml", "homeassistant:\n  packages: !include_dir_named packages\n"),
            ("packages/history.yaml", &format!("recorder:\n    db_url: '{postgres}' # ours\n")),
        ]);
        assert!(packaged.unwrap().contains("PostgreSQL"));
    }

    #[test]
    fn a_history_in_the_config_directory_is_no_news() {
        assert_eq!(told(&[]), None);
        assert_eq!(told(&[("configuration.yaml", "recorder:\n  commit_interval: 5\nother:\n  db_url: mysql://x\n")]), None);
        assert_eq!(told(&[("configuration.yaml", "recorder:\n  db_url: sqlite:////config/home-assistant_v2.db\n")]), None);
        assert_eq!(told(&[("configuration.yaml", "recorder:\n  #db_url: mysql://x\n")]), None);
    }

    #[test]
    fn an_sqlite_history_outside_is_told() {
        let told = told(&[("configuration.yaml", "recorder:\n  db_url: sqlite:////mnt/ram/ha.db\n")]).unwrap();
        assert!(told.contains("/mnt/ram/ha.db"), "{told}");
    }
}
