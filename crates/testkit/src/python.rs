//! A Python that has the library by which Home Assistant writes and reads archives.

use std::process::Command;

use crate::rig::tell;

/// The interpreter that `HAUL_PYTHON` names, if its `securetar` has this; says so if not.
///
/// # Panics
/// In CI, which must not skip.
pub fn with_securetar(name: &str) -> Option<String> {
    let python = std::env::var("HAUL_PYTHON").unwrap_or_else(|_| "python3".into());
    let found = Command::new(&python).args(["-c", &format!("import securetar; securetar.{name}")]).output();
    if found.is_ok_and(|output| output.status.success()) {
        return Some(python);
    }
    assert!(
        std::env::var_os("CI").is_none_or(|ci| ci != "true"),
        "{python} cannot import securetar, and CI must not skip"
    );
    tell(&format!("SKIPPED: {python} cannot import a current securetar; set HAUL_PYTHON to a Python that can"));
    None
}
