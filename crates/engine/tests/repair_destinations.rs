//! Repairs an archive of many inner archives, each with a size that is known at its end, straight to a destination that
//! takes parts.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

#[path = "../../store/tests/common/mod.rs"]
mod common;

use std::{
    num::NonZeroUsize,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use common::{Memory, context, parts};
use engine::{
    Destination, Progress, SecureTar,
    repair::{Encryption, RepairError, RepairOptions, Repaired, repair},
};
use habackup::{
    archive::Archive,
    outer::Outer,
    readers::Asked,
    tar::{END, Header, Kind, encode, padding},
};
use store::{Bridge, Context, outbound::Network};
use testkit::noise::noise;

fn tar(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, content) in members {
        let (path, size) = (name.as_bytes(), content.len() as u64);
        encode(
            &Header { path, kind: Kind::File, size, mode: 0o644, mtime: (1_700_000_000, 0), link: b"", uid: 0, gid: 0 },
            &mut out,
        );
        out.extend_from_slice(content);
        out.resize(out.len() + padding(size), 0);
    }
    out.extend_from_slice(&END);
    let mut packed = Vec::new();
    pargz::Compressor::new().threads(NonZeroUsize::MIN).compress(&out[..], &mut packed).unwrap();
    packed
}

/// A full backup with so many add-ons of about 3 MB each.
fn archive(directory: &Path, addons: usize) -> PathBuf {
    let addon = |n: usize| serde_json::json!({ "slug": format!("a{n}"), "name": format!("A{n}"), "version": "1.0", "size": 1.0 });
    let json = serde_json::json!({
        "version": 2, "slug": "0badcafe", "name": "full", "date": "2026-01-01T00:00:00+00:00", "type": "full", "supervisor_version": "2025.06.0",
        "crypto": null, "protected": false, "compressed": true, "homeassistant": { "version": "2025.6.3", "exclude_database": false, "size": 1.0 },
        "folders": [], "repositories": [], "docker": { "registries": {} }, "extra": {}, "addons": (0..addons).map(addon).collect::<Vec<_>>(),
    });
    let mut outer =
        Outer::new(Vec::new(), (1_700_000_000, 0)).member("./backup.json", json.to_string().as_bytes()).unwrap();
    for n in 0..addons {
        let about =
            serde_json::json!({ "system": { "slug": format!("a{n}"), "name": format!("A{n}"), "version": "1.0" } })
                .to_string();
        outer = outer
            .member(&format!("a{n}.tar.gz"), &tar(&[("addon.json", about.as_bytes()), ("data/x", &noise(3_000_000))]))
            .unwrap();
    }
    let main =
        [("data/.HA_VERSION", &b"2025.6.3"[..]), ("data/configuration.yaml", b"x:"), ("data/.storage/auth", b"{}")];
    let (bytes, _) = outer.member("homeassistant.tar.gz", &tar(&main)).unwrap().finish().unwrap();
    let path = directory.join("full.tar");
    std::fs::write(&path, bytes).unwrap();
    path
}

fn repaired(archive: &Path, memory: &Memory, bridge: &Bridge, context: &Context) -> Result<Repaired, RepairError> {
    let options = RepairOptions {
        asked: Asked::default(),
        password: None,
        destination: Destination::Remote {
            sink: Arc::new(memory.clone()),
            name: Some("good.tar".into()),
            context: None,
        },
        encryption: Encryption::Keep,
        securetar: SecureTar::Auto,
        recompress: None,
        rename: Some("renamed".into()),
        ha_version: None,
        threads: NonZeroUsize::new(2),
        read_back: true,
        now: jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC),
    };
    let network = Network { bridge, context };
    repair(&archive.into(), &options, Some(&network), &Arc::new(Progress::default()), &context.cancel)
}

#[test]
fn many_inner_archives_arrive_at_a_destination_that_takes_parts() {
    let dir = tempfile::tempdir().unwrap();
    let (archive, bridge, mut context, memory) =
        (archive(dir.path(), 10), Bridge::start().unwrap(), context(&dir.path().join("state")), Memory::new(parts()));
    context.tuning.part_size = Some(1 << 20);
    let repaired = repaired(&archive, &memory, &bridge, &context).unwrap();
    assert!(repaired.written.unwrap().copy.is_fine());
    let good = dir.path().join("good.tar");
    std::fs::write(&good, memory.object("good.tar").unwrap()).unwrap();
    let opened = Archive::open(std::fs::File::open(good).unwrap()).unwrap();
    assert!(opened.problems().is_empty(), "{:?}", opened.problems());
    let sent = memory.world.lock().unwrap().puts.len();
    let length = memory.object("good.tar").unwrap().len();
    assert_eq!(sent, length.div_ceil(1 << 20), "each part once");
}

#[test]
fn a_repair_to_a_destination_that_takes_nothing_ends_when_it_is_stopped() {
    let dir = tempfile::tempdir().unwrap();
    let (archive, bridge, context, memory) =
        (archive(dir.path(), 10), Bridge::start().unwrap(), context(&dir.path().join("state")), Memory::new(parts()));
    memory.world.lock().unwrap().pause = Duration::from_hours(1);
    let stopping = context.cancel.clone();
    std::thread::scope(|scope| {
        let repairing = scope.spawn(|| repaired(&archive, &memory, &bridge, &context));
        std::thread::sleep(Duration::from_millis(500));
        stopping.cancel();
        assert!(matches!(repairing.join().unwrap(), Err(RepairError::Cancelled | RepairError::Write(_))));
    });
    let world = memory.world.lock().unwrap();
    assert!(world.objects.is_empty() && world.unfinished.is_empty());
}
