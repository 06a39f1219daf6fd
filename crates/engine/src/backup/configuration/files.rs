//! Reads Home Assistant's YAML files as one configuration: follows its include tags and looks up its secrets.

use std::{
    path::{Path, PathBuf},
    rc::Rc,
};

use super::yaml::{self, Node, Value};
use crate::backup::source::read_head;

/// No configuration file that a person wrote is longer.
const LONGEST: u64 = 1 << 20;
/// More files than this are not opened for one question.
const MOST_FILES: usize = 2000;
/// How many files may include each other in a chain.
const LONGEST_CHAIN: usize = 20;

/// A value, and the file that holds it.
#[derive(Clone)]
pub(super) struct Located {
    pub(super) node: Rc<Node>,
    pub(super) file: Rc<Path>,
}

/// The configuration files of one directory.
pub(super) struct Files<'a> {
    root: &'a Path,
    opened: usize,
    /// What prevented an answer, such as a file that is not YAML.
    pub(super) gaps: Vec<String>,
}

impl<'a> Files<'a> {
    pub(super) fn new(root: &'a Path) -> Self {
        Self { root, opened: 0, gaps: Vec::new() }
    }

    /// `configuration.yaml`.
    pub(super) fn main(&mut self) -> Option<Located> {
        self.load(&self.root.join("configuration.yaml"))
    }

    /// Every value under `key`; several if they come from packages or merged files.
    pub(super) fn get(&mut self, at: &Located, key: &str) -> Vec<Located> {
        self.pick(at, &|name| name == key, LONGEST_CHAIN)
    }

    /// Every value of a mapping, whatever its key.
    pub(super) fn values(&mut self, at: &Located) -> Vec<Located> {
        self.pick(at, &|_| true, LONGEST_CHAIN)
    }

    fn pick(&mut self, at: &Located, wanted: &dyn Fn(&str) -> bool, chain: usize) -> Vec<Located> {
        let Some(chain) = chain.checked_sub(1) else { return Vec::new() };
        match (&at.node.value, at.node.tag.as_deref()) {
            (Value::Mapping(pairs), _) => {
                let mut found = Vec::new();
                for (key, value) in pairs {
                    let value = Located { node: Rc::clone(value), file: Rc::clone(&at.file) };
                    match key.text() {
                        Some("<<") => found.extend(self.pick(&value, wanted, chain)),
                        Some(name) if wanted(name) => found.push(value),
                        _ => {}
                    }
                }
                found
            }
            // What `<<: [*a, *b]` merges.
            (Value::Sequence(items), None) => {
                let values = items.iter().map(|item| Located { node: Rc::clone(item), file: Rc::clone(&at.file) });
                values.flat_map(|value| self.pick(&value, wanted, chain)).collect()
            }
            (Value::Scalar(name), Some("include")) => {
                let path = self.beside(at, name);
                self.load(&path).map(|value| self.pick(&value, wanted, chain)).unwrap_or_default()
            }
            (Value::Scalar(name), Some("include_dir_named")) => {
                let files = Self::below(&self.beside(at, name));
                let is_wanted = |path: &PathBuf| path.file_stem().and_then(|stem| stem.to_str()).is_some_and(wanted);
                files.into_iter().filter(is_wanted).filter_map(|path| self.load(&path)).collect()
            }
            (Value::Scalar(name), Some("include_dir_merge_named")) => {
                let files = Self::below(&self.beside(at, name));
                let values: Vec<Located> = files.into_iter().filter_map(|path| self.load(&path)).collect();
                values.iter().flat_map(|value| self.pick(value, wanted, chain)).collect()
            }
            _ => Vec::new(),
        }
    }

    /// The text of a value. `None`, and a gap, if only Home Assistant itself can know it.
    pub(super) fn text(&mut self, at: &Located) -> Option<String> {
        let mut at = at.clone();
        for _ in 0..LONGEST_CHAIN {
            let text = at.node.text()?;
            match at.node.tag.as_deref() {
                None => return Some(text.trim().to_owned()),
                Some("include") => at = self.load(&self.beside(&at, text))?,
                Some("secret") => at = self.secret(&at, text.trim())?,
                Some("env_var") => {
                    self.gaps.push(format!(
                        "it is in the environment variable {}",
                        text.split_whitespace().next().unwrap_or_default()
                    ));
                    return None;
                }
                Some(tag) => {
                    self.gaps.push(format!("the tag !{tag} is unknown"));
                    return None;
                }
            }
        }
        None
    }

    /// Secrets are looked up beside the file that names them, then in each directory above it up to the top.
    fn secret(&mut self, at: &Located, name: &str) -> Option<Located> {
        let directories: Vec<PathBuf> =
            at.file.ancestors().skip(1).take_while(|path| path.starts_with(self.root)).map(Path::to_owned).collect();
        for directory in directories {
            let path = directory.join("secrets.yaml");
            if path.exists()
                && let Some(found) = self.load(&path).and_then(|secrets| self.get(&secrets, name).into_iter().next())
            {
                return Some(found);
            }
        }
        self.gaps.push(format!("the secret {name} is not defined"));
        None
    }

    /// The path that is meant by a name in a file. What the container calls /config is the directory itself.
    fn beside(&self, at: &Located, name: &str) -> PathBuf {
        let name = Path::new(name.trim());
        super::inside(self.root, name)
            .map_or_else(|| at.file.parent().unwrap_or(self.root).join(name), |below| self.root.join(below))
    }

    fn load(&mut self, path: &Path) -> Option<Located> {
        self.opened += 1;
        if self.opened > MOST_FILES {
            return None;
        }
        let Ok(bytes) = read_head(path, LONGEST) else {
            self.gaps.push(format!("{} can't be read", super::name(self.root, path)));
            return None;
        };
        let text = String::from_utf8_lossy(&bytes);
        let Some(node) = yaml::parse(&text) else {
            // What doesn't speak of the recorder has no answer to give.
            if text.contains("recorder") || text.contains("db_url") {
                self.gaps.push(format!("Haul can't parse {} as YAML", super::name(self.root, path)));
            }
            return None;
        };
        Some(Located { node, file: Rc::from(path) })
    }

    /// The YAML files that Home Assistant's directory tags take in: at any depth, hidden ones and secrets left aside.
    fn below(directory: &Path) -> Vec<PathBuf> {
        let hidden =
            |entry: &walkdir::DirEntry| entry.depth() > 0 && entry.file_name().as_encoded_bytes().starts_with(b".");
        let walk = walkdir::WalkDir::new(directory)
            .follow_links(true)
            .max_depth(8)
            .sort_by_file_name()
            .into_iter()
            .filter_entry(move |entry| !hidden(entry));
        walk.flatten()
            .filter(|entry| {
                entry.path().extension().is_some_and(|extension| extension == "yaml")
                    && entry.file_name() != "secrets.yaml"
            })
            .filter(|entry| entry.file_type().is_file())
            .map(walkdir::DirEntry::into_path)
            .take(MOST_FILES)
            .collect()
    }
}
