//! For the people who work on Haul: `cargo xtask layers` and `cargo xtask app` check, `cargo xtask licences` prints the
//! licences of what the program is made of, `cargo xtask test` runs every test.
//!
//! Cargo already forbids circles between crates. `layers` checks the rest: which crate may depend on which, and what must
//! never be used below.

mod app;
mod circles;
mod licences;
mod tests;
mod yaml;

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{Write, stderr, stdout},
    path::Path,
    process::{Command, ExitCode},
};

use anyhow::{Context, Result, anyhow, bail};
use serde_json::Value;

/// Which of our crates each crate may depend on (its tests may use `sample` and `testkit` as well).
const MAY_KNOW: &[(&str, &[&str])] = &[
    ("pargz", &[]),
    ("livesqlite", &[]),
    ("habackup", &["pargz"]),
    ("peer", &[]),
    ("homeassistant", &[]),
    ("supervisor", &[]),
    ("store", &["peer"]),
    ("vault", &["store"]),
    ("sample", &[]),
    ("testkit", &[]),
    ("engine", &["habackup", "livesqlite", "pargz", "store"]),
    ("share", &["engine", "habackup", "store"]),
    ("keeper", &["engine", "store"]),
    ("web", &["engine", "keeper", "peer", "store"]),
    (
        "haul",
        &[
            "engine",
            "habackup",
            "homeassistant",
            "keeper",
            "peer",
            "sample",
            "share",
            "store",
            "supervisor",
            "vault",
            "web",
        ],
    ),
    ("xtask", &[]),
];
/// These crates are synchronous: nothing below them may use sockets or a runtime. Only `store` connects the two.
const SYNCHRONOUS: &[&str] = &["pargz", "livesqlite", "habackup", "sample"];
/// These know `store`, and with it a runtime, but not by name.
const UNAWARE: &[&str] = &["engine", "keeper"];
const RUNTIMES: &[&str] = &["tokio", "async-std", "smol", "reqwest", "hyper"];
/// The small modules that may talk to C or to the kernel by hand; each block carries its argument.
const MAY_BE_UNSAFE: &[&str] = &[
    "crates/pargz/src/codec/isal.rs",
    "crates/livesqlite/src/own_fd.rs",
    "crates/livesqlite/src/sys.rs",
    "crates/engine/src/restore/gentle.rs",
    "crates/haul/src/gentle.rs",
    "crates/haul/src/lookups.rs",
    "crates/haul/src/rehearsal/isolation.rs",
];
/// What such a block begins with, written so that this file has none.
const BLOCK: &str = concat!("unsafe", " {");
/// More lines than this and a file has more than one idea.
const MOST_LINES: usize = 700;
/// Each runs as many tests at a time as there are cores; half of them wait for something else.
const TESTS_AT_A_TIME: usize = 2;
/// Crates whose modules take from each other in one direction.
const WITHOUT_CIRCLES: &[&str] = &[
    "engine",
    "habackup",
    "haul",
    "homeassistant",
    "keeper",
    "livesqlite",
    "pargz",
    "peer",
    "sample",
    "share",
    "store",
    "supervisor",
    "testkit",
    "vault",
    "web",
];

fn main() -> ExitCode {
    let result = match std::env::args().nth(1).as_deref() {
        Some("layers") => layers(),
        Some("app") => app(),
        Some("licences") => licences(),
        Some("test") => tests::run(&std::env::args().skip(2).collect::<Vec<_>>(), TESTS_AT_A_TIME),
        _ => Err(anyhow!("usage: cargo xtask layers|app|licences|test [ARGUMENTS OF cargo test]")),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(stderr(), "{error}");
            ExitCode::FAILURE
        }
    }
}

fn metadata(more: &[&str]) -> Result<Value> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let output = Command::new(cargo)
        .args(["metadata", "--format-version", "1", "--locked"])
        .args(more)
        .output()
        .context("cargo metadata did not start")?;
    serde_json::from_slice(&output.stdout).context("cargo metadata gave no JSON")
}

fn licences() -> Result<()> {
    let text = licences::text(&metadata(&["--filter-platform", "x86_64-unknown-linux-gnu"])?)?;
    stdout().write_all(text.as_bytes()).context("can't print")
}

fn layers() -> Result<()> {
    let metadata = metadata(&[])?;
    let root = metadata["workspace_root"].as_str().context("no workspace_root")?;
    let mut problems = crate_problems(&metadata);
    problems.extend(file_problems(Path::new(root))?);
    for name in WITHOUT_CIRCLES {
        problems.extend(circles::circles(name, &Path::new(root).join("crates").join(name).join("src"))?);
    }
    told(&problems)
}

fn app() -> Result<()> {
    let metadata = metadata(&["--no-deps"])?;
    told(&app::problems(Path::new(metadata["workspace_root"].as_str().context("no workspace_root")?))?)
}

fn told(problems: &[String]) -> Result<()> {
    if problems.is_empty() {
        return Ok(());
    }
    bail!("{}", problems.join("\n"))
}

fn crate_problems(metadata: &Value) -> Vec<String> {
    let names: BTreeMap<&str, &str> = list(&metadata["packages"])
        .filter_map(|package| Some((package["id"].as_str()?, package["name"].as_str()?)))
        .collect();
    let mut knows: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for node in list(&metadata["resolve"]["nodes"]) {
        let Some(name) = node["id"].as_str().and_then(|id| names.get(id)) else { continue };
        for dependency in list(&node["deps"]) {
            // `kind` is null for an ordinary dependency; tests and build scripts have their own liberties.
            let ordinary = list(&dependency["dep_kinds"]).any(|kind| kind["kind"].is_null());
            if let (true, Some(known)) = (ordinary, dependency["pkg"].as_str().and_then(|id| names.get(id))) {
                knows.entry(name).or_default().insert(known);
            }
        }
    }
    let ours: BTreeSet<&str> = MAY_KNOW.iter().map(|(name, _)| *name).collect();
    let mut problems = Vec::new();
    for member in list(&metadata["workspace_members"]).filter_map(|id| names.get(id.as_str()?)) {
        if !ours.contains(member) {
            problems.push(format!("{member} has no place in the layers: give it one in crates/xtask/src/main.rs"));
        }
    }
    for (name, allowed) in MAY_KNOW {
        for known in
            knows.get(name).into_iter().flatten().filter(|known| ours.contains(*known) && !allowed.contains(known))
        {
            problems.push(format!("{name} must not know {known}"));
        }
    }
    for name in SYNCHRONOUS {
        let below = reachable(name, &knows);
        for runtime in RUNTIMES.iter().filter(|runtime| below.contains(*runtime)) {
            problems.push(format!("{runtime} came in below {name}, which is synchronous"));
        }
    }
    for name in UNAWARE {
        for runtime in RUNTIMES.iter().filter(|runtime| knows.get(name).is_some_and(|known| known.contains(*runtime))) {
            problems.push(format!("{name} must leave {runtime} to store"));
        }
    }
    problems
}

fn reachable<'a>(from: &'a str, knows: &BTreeMap<&'a str, BTreeSet<&'a str>>) -> BTreeSet<&'a str> {
    let mut found = BTreeSet::new();
    let mut open = vec![from];
    while let Some(name) = open.pop() {
        for &next in knows.get(name).into_iter().flatten() {
            if found.insert(next) {
                open.push(next);
            }
        }
    }
    found
}

fn file_problems(root: &Path) -> Result<Vec<String>> {
    let mut problems = Vec::new();
    let mut open = vec![root.join("crates")];
    while let Some(directory) = open.pop() {
        for entry in std::fs::read_dir(&directory)? {
            let path = entry?.path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path)?;
                let name = path.strip_prefix(root)?.to_string_lossy().into_owned();
                if text.lines().count() > MOST_LINES {
                    problems.push(format!("{name} has more than {MOST_LINES} lines: which two ideas are in it?"));
                }
                let is_unsafe = text.lines().any(|line| !line.trim_start().starts_with("//") && line.contains(BLOCK));
                if is_unsafe && !MAY_BE_UNSAFE.contains(&name.as_str()) && !name.contains("/tests/") {
                    problems.push(format!("{name} is not one of the modules that may be unsafe"));
                }
            }
        }
    }
    Ok(problems)
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}
