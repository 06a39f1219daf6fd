//! A real Home Assistant is started on what was restored of another, in its isolation.

use std::fs;

use testkit::rig::{self, Running, Version};

use crate::{Place, boot::wait_until};

/// As docs/JOBS.md says it: a root file system, in a user namespace of the command's own.
const BOOT: &str = r#"exec unshare --map-root-user --mount sh -ec '
mount --rbind /proc "$RIG/proc"
mount --rbind /dev "$RIG/dev"
mount --bind "$HAUL_REHEARSAL_CONFIG" "$RIG/config"
mount -t tmpfs tmpfs "$RIG/tmp"
mount -t tmpfs tmpfs "$RIG/media"
export HAUL_RIG_PORT="$HAUL_REHEARSAL_PORT" HOME=/tmp LANG=C.UTF-8 PATH=/opt/ha/bin:/usr/sbin:/usr/bin:/sbin:/bin
exec chroot "$RIG" /opt/ha/bin/hass --config /config --skip-pip'"#;

#[test]
fn home_assistant_itself_starts_from_a_backup_of_a_running_one() {
    if !rig::is_ready().unwrap() {
        return;
    }
    let place = Place::empty();
    let config = place.path("config");
    let running = Running::start(Version::TODAY, &config, Some("ada")).unwrap();
    // It writes some of its files a while after it answers.
    for name in [".storage/auth", ".storage/onboarding", ".storage/core.config_entries", "home-assistant_v2.db"] {
        wait_until(name, || config.join(name).exists());
    }
    let made = place.haul(&["backup", "config", "--to", "a.tar", "--progress", "none"]);
    assert_eq!(made.code, 0, "{made:?}");
    // The other one runs all the while, at the same port: nothing of it is seen inside.
    let mut command = place.command(&["rehearse", "a.tar", "--boot", BOOT, "--boot-timeout", "5m", "--json"]);
    command.env("RIG", Version::TODAY.root());
    let said = crate::Said::of(&command.output().unwrap());
    let document = said.json();
    drop(running);
    assert_eq!((said.code, &document["status"]), (0, &"proved".into()), "{document}");
    assert_eq!((&document["how"], &document["booted"]["said_running"]), (&"booted".into(), &true.into()), "{document}");
    assert_eq!(document["booted"]["home_assistant"], Version::TODAY.as_str(), "{document}");
    assert_eq!((&document["counts"]["users"], &document["counts"]["can_log_in"]), (&1.into(), &1.into()), "{document}");
    let sentence = document["sentence"].as_str().unwrap();
    assert!(sentence.starts_with("Proved: Home Assistant 2026.11.0 itself started from it in "), "{sentence}");
    rig::tell(&format!("{sentence} ({} errors in its log)", document["booted"]["errors"]));

    // Without its users it shows its first page, which is no proof.
    let other = place.path("other");
    assert_eq!(place.haul(&["restore", "a.tar", "--into", "other"]).code, 0);
    for name in ["auth", "auth_provider.homeassistant", "onboarding"] {
        fs::remove_file(other.join(".storage").join(name)).unwrap();
    }
    assert_eq!(place.haul(&["backup", "other", "--to", "b.tar", "--progress", "none"]).code, 3);
    let mut command = place.command(&["rehearse", "b.tar", "--boot", BOOT, "--boot-timeout", "5m"]);
    command.env("RIG", Version::TODAY.root());
    let said = crate::Said::of(&command.output().unwrap());
    assert!(said.code == 4 && said.out.contains("against it: Home Assistant asks for its first user"), "{said:?}");
    assert!(place.scratch().is_empty());
}
