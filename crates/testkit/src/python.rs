//! A Python that has the libraries that a test needs.

use std::process::Command;

use crate::rig::tell;

/// The interpreter that `HAUL_PYTHON` names, if its `securetar`, by which Home Assistant writes and reads archives, has
/// this; says so if not.
///
/// # Panics
/// In CI, which must not skip.
pub fn with_securetar(name: &str) -> Option<String> {
    that_runs(&format!("import securetar; securetar.{name}"), "a current securetar")
}

/// The interpreter that `HAUL_PYTHON` names, if `tests/vault/export.py` runs with it; says so if not.
///
/// # Panics
/// In CI, which must not skip.
pub fn with_what_a_vault_needs() -> Option<String> {
    that_runs("import nacl.bindings, zstandard, blake3", "PyNaCl, zstandard and blake3")
}

fn that_runs(code: &str, what: &str) -> Option<String> {
    let python = std::env::var("HAUL_PYTHON").unwrap_or_else(|_| "python3".into());
    let found = Command::new(&python).args(["-c", code]).output();
    if found.is_ok_and(|output| output.status.success()) {
        return Some(python);
    }
    assert!(
        std::env::var_os("CI").is_none_or(|ci| ci != "true"),
        "{python} cannot import {what}, and CI must not skip"
    );
    tell(&format!("SKIPPED: {python} cannot import {what}; set HAUL_PYTHON to a Python that can"));
    None
}
