//! Backups as it writes them, with the library that it uses.

use std::{
    io::Write,
    path::Path,
    process::{Command, Stdio},
};

use serde_json::{Value, json};

/// The Python that writes one; it says how.
pub const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/supervisor/write.py");

/// What a backup holds, with changes.
pub fn spec(name: &str, changes: Value) -> Value {
    let mut spec = json!({
        "slug": "a1b2c3d4", "name": name, "date": "2026-11-28T04:45:00.123456+00:00", "full": true, "compressed": false,
        "password": null, "homeassistant": true, "excludes_database": false, "folders": ["share", "ssl"], "extra": {},
        "apps": [
            { "slug": "core_ssh", "name": "Terminal & SSH", "version": "9.17.0" },
            { "slug": "core_mosquitto", "name": "Mosquitto broker", "version": "6.5.1" },
        ],
    });
    if let Value::Object(changes) = changes {
        spec.as_object_mut().unwrap().extend(changes);
    }
    spec
}

/// Writes a backup.
pub fn write(python: &str, to: &Path, config: &Path, spec: &Value) {
    let mut command = Command::new(python);
    command.arg(SCRIPT).args([to, config]).stdin(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(spec.to_string().as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
