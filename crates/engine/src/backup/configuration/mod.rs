//! What Home Assistant's configuration files say that matters to a backup: where the recorder keeps its history, what
//! is outside the config directory, and where a restored instance will answer.
//!
//! The address of a database holds a password and is never shown.

mod files;
mod outside;
mod yaml;

use std::{
    ffi::OsStr,
    os::unix::ffi::OsStrExt,
    path::{Component, Path, PathBuf},
};

use self::files::{Files, Located};
pub(crate) use self::outside::files_outside;
use crate::text::shown;
use habackup::settings::RECORDER;

/// What the config directory is called inside Home Assistant's containers.
const CONTAINER: [&str; 2] = ["/config", "/homeassistant"];

/// Where the recorder keeps its history.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum History {
    /// In a file of the config directory: its path there.
    Here(Vec<u8>),
    /// Somewhere that is in no backup of the directory, as a sentence.
    Elsewhere(String),
    /// That can't be known, and why.
    Unknown(String),
}

/// Reads the configuration as Home Assistant does, as far as the recorder is concerned.
pub(crate) fn history(config: &Path) -> History {
    let mut files = Files::new(config);
    // A directory without a configuration has Home Assistant's defaults.
    let Some(main) = files.main().filter(|_| config.join("configuration.yaml").exists()) else {
        return unknown(config, &files.gaps);
    };
    let mut recorders = files.get(&main, "recorder");
    recorders.extend(in_packages(&mut files, &main, "recorder"));
    let addresses: Vec<_> = recorders.iter().flat_map(|recorder| files.get(recorder, "db_url")).collect();
    match addresses.first() {
        Some(address) => match files.text(address) {
            Some(url) => of_url(&url, config),
            None => unknown(config, &files.gaps),
        },
        None if files.gaps.is_empty() => History::Here(RECORDER.to_vec()),
        None => unknown(config, &files.gaps),
    }
}

/// What packages say under `key`.
fn in_packages(files: &mut Files<'_>, main: &Located, key: &str) -> Vec<Located> {
    let core = files.get(main, "homeassistant");
    let packages: Vec<_> = core.iter().flat_map(|core| files.get(core, "packages")).collect();
    let packages: Vec<_> = packages.iter().flat_map(|packages| files.values(packages)).collect();
    packages.iter().flat_map(|package| files.get(package, key)).collect()
}

/// Where Home Assistant listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listening {
    /// Its port; `None` when only Home Assistant itself can know it.
    pub port: Option<u16>,
    /// Whether it has a certificate.
    pub tls: bool,
}

/// The port that it has where its configuration names none.
const USUAL_PORT: u16 = 8123;

/// What `http:` in the configuration says of that. `None` where there is no such section.
pub fn listening(config: &Path) -> Option<Listening> {
    let mut files = Files::new(config);
    let main = files.main()?;
    let mut sections = files.get(&main, "http");
    sections.extend(in_packages(&mut files, &main, "http"));
    if sections.is_empty() {
        return None;
    }
    let ports: Vec<_> = sections.iter().flat_map(|section| files.get(section, "server_port")).collect();
    let port = match ports.first() {
        Some(port) => files.text(port).and_then(|port| port.parse().ok()),
        None => Some(USUAL_PORT),
    };
    let tls = sections.iter().any(|section| !files.get(section, "ssl_certificate").is_empty());
    Some(Listening { port, tls })
}

/// How many items there are at the top of a YAML file; `None` when it is not YAML.
pub(crate) fn items(text: &str) -> Option<usize> {
    Some(match &yaml::parse(text)?.value {
        yaml::Value::Sequence(items) => items.len(),
        yaml::Value::Mapping(pairs) => pairs.len(),
        yaml::Value::Scalar(_) => 0,
    })
}

fn unknown(config: &Path, gaps: &[String]) -> History {
    if gaps.is_empty() || !config.join("configuration.yaml").exists() {
        return History::Here(RECORDER.to_vec());
    }
    let why = gaps.first().map(|gap| shown(gap.as_bytes())).unwrap_or_default();
    History::Unknown(format!(
        "Haul could not find out where the recorder keeps its history ({why}): if it is in another database, back that \
         up too"
    ))
}

fn of_url(url: &str, config: &Path) -> History {
    let kind = url.split(':').next().unwrap_or_default().split('+').next().unwrap_or_default().to_ascii_lowercase();
    match kind.as_str() {
        "sqlite" => of_file(url, config),
        "mysql" | "mariadb" => elsewhere("MariaDB/MySQL", "mariadb-dump"),
        "postgresql" | "postgres" => elsewhere("PostgreSQL", "pg_dump"),
        _ => elsewhere("an external database", "that database's own tool"),
    }
}

fn elsewhere(what: &str, tool: &str) -> History {
    History::Elsewhere(format!(
        "the recorder keeps its history in {what}: it is NOT in this backup; back it up with {tool} too"
    ))
}

/// `sqlite:////absolute`, or `sqlite:///relative` to where Home Assistant runs, which is the config directory.
fn of_file(url: &str, config: &Path) -> History {
    let path = url
        .split_once("://")
        .and_then(|(_, rest)| rest.strip_prefix('/'))
        .and_then(|path| path.split('?').next())
        .unwrap_or_default();
    if path.is_empty() || path == ":memory:" {
        return History::Elsewhere("the recorder keeps its history in memory only: no backup can hold it".to_owned());
    }
    let path = Path::new(path);
    let below = if path.is_relative() { plain(path) } else { inside(config, path) };
    match below {
        Some(below) => History::Here(below.into_os_string().as_encoded_bytes().to_vec()),
        None => History::Elsewhere(format!(
            "the recorder keeps its history in {}, outside the config directory: it is NOT in this backup; back up \
             that file too",
            shown(path.as_os_str().as_bytes())
        )),
    }
}

/// An absolute path relative to the config directory, by its own name or by that in the container.
fn inside(config: &Path, path: &Path) -> Option<PathBuf> {
    let tops = CONTAINER.iter().map(Path::new).chain([config]);
    tops.filter_map(|top| path.strip_prefix(top).ok()).find_map(plain)
}

/// Without steps that lead nowhere; `None` when it leads out.
fn plain(path: &Path) -> Option<PathBuf> {
    let mut out = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => out.push(name),
            Component::CurDir => {}
            Component::ParentDir => {
                out.file_name()?;
                out.pop();
            }
            Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    Some(out)
}

/// A file's name as a person knows it.
fn name(config: &Path, path: &Path) -> String {
    let path: &OsStr = path.strip_prefix(config).unwrap_or(path).as_os_str();
    shown(path.as_bytes())
}

#[cfg(test)]
mod tests;
