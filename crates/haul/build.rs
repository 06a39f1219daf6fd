//! Says what `haul --version` tells beside the number of the release: the commit and the codec.
#![allow(clippy::print_stdout, reason = "this is how a build script speaks")]

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

fn main() {
    // Without this line every change of a source file would run the script again.
    println!("cargo::rerun-if-changed=build.rs");
    let codec = if env::var_os("CARGO_FEATURE_ISAL").is_some() { "ISA-L" } else { "zlib-rs" };
    // A build for the edit loop would be made anew after each commit, and its commit says little.
    let root = env::var_os("CARGO_MANIFEST_DIR").map(|package| PathBuf::from(package).join("../.."));
    // Who builds where there is no repository, or no git, says it.
    println!("cargo::rerun-if-env-changed=HAUL_COMMIT");
    let given = || env::var("HAUL_COMMIT").ok().filter(|commit| !commit.is_empty());
    let commit = root
        .filter(|_| env::var("PROFILE").as_deref() == Ok("release"))
        .and_then(|root| given().or_else(|| commit(&root)));
    println!(
        "cargo::rustc-env=HAUL_BUILD={}",
        commit.map_or_else(|| codec.to_owned(), |commit| format!("{commit}, {codec}"))
    );
}

/// The commit that is checked out at `root`. None in a source without its repository, even if it lies in another one,
/// and without git.
pub(crate) fn commit(root: &Path) -> Option<String> {
    if !root.join(".git").exists() {
        return None;
    }
    let ask = |words: &[&str]| {
        let output = Command::new("git").arg("-C").arg(root).args(words).output().ok()?;
        let said = String::from_utf8(output.stdout).ok()?.trim().to_owned();
        (output.status.success() && !said.is_empty()).then_some(said)
    };
    // What another commit changes: which branch is checked out, and the log of where it stood.
    for name in ["HEAD", "logs/HEAD"] {
        if let Some(path) =
            ask(&["rev-parse", "--git-path", name]).map(|path| root.join(path)).filter(|path| path.exists())
        {
            println!("cargo::rerun-if-changed={}", path.display());
        }
    }
    ask(&["rev-parse", "--short=7", "HEAD"])
}
