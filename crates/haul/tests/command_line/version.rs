//! What `haul --version` prints, and where its commit comes from.

use std::{path::Path, process::Command};

use super::{Place, text};

#[expect(dead_code, reason = "the build script's own main")]
#[path = "../../build.rs"]
mod build;

#[test]
fn the_version_names_the_codec() {
    let said = text(&Place::new().haul(&["--version"]).stdout);
    let codec = if cfg!(feature = "isal") { "ISA-L" } else { "zlib-rs" };
    let build =
        said.strip_prefix(concat!("haul ", env!("CARGO_PKG_VERSION"), " (")).and_then(|rest| rest.strip_suffix(")\n"));
    assert_eq!(build.and_then(|build| build.rsplit(", ").next()), Some(codec), "{said:?}");
}

#[test]
fn only_a_source_in_its_own_repository_has_a_commit() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(build::commit(dir.path()), None, "no repository");
    if !git(dir.path(), &["init", "--quiet"]) {
        return assert_eq!(build::commit(Path::new(env!("CARGO_MANIFEST_DIR"))), None, "no git");
    }
    assert_eq!(build::commit(dir.path()), None, "no commit yet");
    assert!(git(dir.path(), &["commit", "--quiet", "--allow-empty", "--message", "One"]));
    let one = build::commit(dir.path()).unwrap();
    assert!(one.len() >= 7 && one.bytes().all(|byte| byte.is_ascii_hexdigit()), "{one}");
    assert!(git(dir.path(), &["commit", "--quiet", "--allow-empty", "--message", "Two"]));
    assert_ne!(build::commit(dir.path()).unwrap(), one);
    let inside = dir.path().join("packaged");
    std::fs::create_dir(&inside).unwrap();
    assert_eq!(build::commit(&inside), None, "a source that lies in another repository");
}

fn git(root: &Path, words: &[&str]) -> bool {
    let author = ["-c", "user.name=Haul", "-c", "user.email=haul@example.org"];
    Command::new("git").arg("-C").arg(root).args(author).args(words).status().is_ok_and(|status| status.success())
}
