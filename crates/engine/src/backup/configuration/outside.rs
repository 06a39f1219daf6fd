//! Finds files and directories outside the config directory that the configuration names: a new machine needs them too.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    rc::Rc,
};

use super::{
    files::{Files, Located},
    yaml::{Node, Value},
};
use crate::text::shown;

/// More paths than this are counted.
const MOST_NAMED: usize = 5;

/// A sentence about what the configuration needs from outside the directory.
pub(crate) fn files_outside(config: &Path) -> Option<String> {
    let mut files = Files::new(config);
    let main = files.main()?;
    let mut found = BTreeSet::new();
    includes(&main.node, &mut found);
    let mut settings: Vec<Located> = Vec::new();
    for (section, keys) in [
        ("http", &["ssl_certificate", "ssl_key", "ssl_peer_certificate"][..]),
        ("homeassistant", &["allowlist_external_dirs", "whitelist_external_dirs", "media_dirs"]),
    ] {
        let sections = files.get(&main, section);
        for key in keys {
            settings.extend(sections.iter().flat_map(|section| files.get(section, key)).collect::<Vec<_>>());
        }
    }
    for value in settings {
        for value in scalars(&value) {
            found.extend(files.text(&value));
        }
    }
    let outside: Vec<String> = found
        .iter()
        .map(Path::new)
        .filter(|path| leads_out(config, path))
        .map(|path| shown(path.as_os_str().as_encoded_bytes()))
        .collect();
    if outside.is_empty() {
        return None;
    }
    let more = outside.len().saturating_sub(MOST_NAMED);
    let named = outside.into_iter().take(MOST_NAMED).collect::<Vec<_>>().join(", ");
    let more = if more == 0 { String::new() } else { format!(" and {more} more") };
    Some(format!(
        "configuration.yaml needs {named}{more} outside the config directory: they are NOT in this backup, so copy \
         them to a new machine yourself"
    ))
}

/// What `!include …` names, in this file.
fn includes(node: &Node, found: &mut BTreeSet<String>) {
    match &node.value {
        Value::Scalar(path) if node.tag.as_deref().is_some_and(|tag| tag.starts_with("include")) => {
            found.insert(path.trim().to_owned());
        }
        Value::Scalar(_) => {}
        Value::Sequence(items) => items.iter().for_each(|item| includes(item, found)),
        Value::Mapping(pairs) => pairs.iter().for_each(|(_, value)| includes(value, found)),
    }
}

/// A single value, or those of a list or mapping.
fn scalars(at: &Located) -> Vec<Located> {
    let located = |node: &Rc<Node>| Located { node: Rc::clone(node), file: Rc::clone(&at.file) };
    match &at.node.value {
        Value::Scalar(_) => vec![at.clone()],
        Value::Sequence(items) => items.iter().map(located).collect(),
        Value::Mapping(pairs) => pairs.iter().map(|(_, value)| located(value)).collect(),
    }
}

fn leads_out(config: &Path, path: &Path) -> bool {
    if path.is_absolute() {
        super::inside(config, path).is_none()
    } else {
        super::plain(path).is_none() && path != PathBuf::new()
    }
}
