//! A client of a simulated Supervisor.

#![allow(dead_code, reason = "not every test needs all of it")]

use std::time::Duration;

use serde_json::json;
use supervisor::{Secret, Supervisor, Timeouts, mount::Wanted};
use testkit::supervisor::{Supervisor as Server, TOKEN, World};

/// The password of the mount that tests create.
pub(crate) const PASSWORD: &str = "sesame-of-the-mount";
/// The password of the backup that is there.
pub(crate) const KEY: &str = "key-of-the-backup";
/// The backup that is there.
pub(crate) const SLUG: &str = "f00df00d";

/// A client that waits as long as it takes.
pub(crate) fn client(server: &Server) -> Supervisor {
    with_patience(&server.url(), Duration::from_mins(2))
}

/// A client that gives up soon.
pub(crate) fn impatient(server: &Server) -> Supervisor {
    with_patience(&server.url(), Duration::from_millis(300))
}

pub(crate) fn with_patience(address: &str, patience: Duration) -> Supervisor {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let timeouts = Timeouts { answer: patience, mount: patience, files: patience, ..Timeouts::default() };
    Supervisor::at(address, Secret::new(TOKEN), timeouts).unwrap()
}

/// A Supervisor with a mount of ours, and an encrypted full backup on the data disk and there.
pub(crate) fn world() -> World {
    let mut mount = testkit::supervisor::mount("haul_nas", "172.30.33.5", "nas");
    mount.insert("port".to_owned(), json!(8746));
    let copy = json!({ "protected": true, "size_bytes": 4_096_000 });
    World {
        mounts: vec![mount],
        backups: vec![json!({
            "slug": SLUG, "name": "Nightly", "date": "2026-11-27T04:45:00.000000+00:00", "type": "full", "size": 3.91,
            "size_bytes": 4_096_000, "location": null, "locations": [null, "haul_nas"],
            "location_attributes": { ".local": copy, "haul_nas": copy }, "protected": true, "compressed": true,
            "content": { "homeassistant": true, "addons": ["core_ssh"], "folders": ["ssl"] },
            "homeassistant_version": "2026.11.0", "password": KEY,
        })],
        ..World::default()
    }
}

/// The mount of that world, as it is wanted.
pub(crate) fn wanted(name: &str) -> Wanted {
    Wanted {
        name: name.to_owned(),
        server: "172.30.33.5".to_owned(),
        port: Some(8746),
        share: "nas".to_owned(),
        user: "homeassistant".to_owned(),
        password: Secret::new(PASSWORD),
        is_renewed: false,
    }
}
