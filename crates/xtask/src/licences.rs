//! Prints the licences of everything that the program is made of: whoever passes it on has to pass them on too.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
    fs,
    path::Path,
};

use anyhow::{Context, Result};
use serde_json::Value;

/// How files that hold licences and notices begin.
const NAMES: &[&str] = &["license", "licence", "copying", "copyright", "notice", "unlicense"];
/// Where sources of others lie within a package, besides its own directory.
const BUNDLED: &[&str] = &["isa-l", "sqlite3"];
const HEAD: &str = "\
Haul is under the MIT licence (LICENSE). It contains the works of others: their list comes first, then
the texts of their licences. The programs in Haul's packages also contain the GNU C Library, which is
under LGPL-2.1-or-later; Haul's sources are what is needed to link them with another version of it.\n\n";

/// Everything of `metadata` that gets into the package `haul`.
pub(crate) fn text(metadata: &Value) -> Result<String> {
    let packages: BTreeMap<&str, &Value> = metadata["packages"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|one| Some((one["id"].as_str()?, one)))
        .collect();
    let nodes: BTreeMap<&str, &Value> = metadata["resolve"]["nodes"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|node| Some((node["id"].as_str()?, node)))
        .collect();
    let program = packages.iter().find(|(_, package)| package["name"] == "haul").context("there is no package haul")?;
    let mut inside = BTreeSet::new();
    let mut open = vec![*program.0];
    while let Some(id) = open.pop() {
        if inside.insert(id) {
            let needs = nodes.get(id).and_then(|node| node["deps"].as_array()).into_iter().flatten();
            open.extend(needs.filter(|need| is_linked(need)).filter_map(|need| need["pkg"].as_str()));
        }
    }
    let mut list = BTreeSet::new();
    let mut texts: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for package in inside.iter().filter_map(|id| packages.get(id)).filter(|package| !package["source"].is_null()) {
        let field = |name: &str| package[name].as_str().unwrap_or_default();
        let called = format!("{} {}", field("name"), field("version"));
        list.insert(format!("{called}: {}. {}", field("license"), field("repository")));
        let directory = Path::new(field("manifest_path")).parent().context("a manifest without a directory")?;
        for text in files(directory).into_iter().chain(BUNDLED.iter().flat_map(|name| files(&directory.join(name)))) {
            texts.entry(text).or_default().insert(called.clone());
        }
    }
    let mut all = HEAD.to_owned();
    for line in list {
        writeln!(all, "{}", line.trim_end())?;
    }
    for (text, of) in texts {
        let of: Vec<String> = of.into_iter().collect();
        writeln!(all, "\n{}\n{}\n\n{}", "-".repeat(100), of.join(", "), text.trim())?;
    }
    Ok(all)
}

/// Not only for the build or for tests.
fn is_linked(need: &Value) -> bool {
    need["dep_kinds"].as_array().into_iter().flatten().any(|kind| kind["kind"].is_null())
}

fn files(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let mut paths: Vec<_> = entries
        .filter(|entry| {
            let name = entry.file_name().to_string_lossy().to_lowercase();
            NAMES.iter().any(|beginning| name.starts_with(beginning)) && entry.path().is_file()
        })
        .map(|entry| entry.path())
        .collect();
    paths.sort();
    paths.iter().filter_map(|path| fs::read_to_string(path).ok()).collect()
}
