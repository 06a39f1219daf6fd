//! A directory that must be mounted.

use super::*;

/// A directory with nothing but a share of its own in it.
struct Mounted(PathBuf);

impl Mounted {
    fn at(path: PathBuf) -> Option<Self> {
        fs::create_dir_all(&path).unwrap();
        Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=20m", "tmpfs"])
            .arg(&path)
            .status()
            .is_ok_and(|status| status.success())
            .then_some(Self(path))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn a_directory_whose_share_is_gone_is_not_written_to() {
    let place = Place::new();
    place.write_config("[destinations.nas]\nurl = \"../../nas\"\nmust_be_mounted = true\n");
    fs::create_dir(place.path("nas")).unwrap();
    let (code, said) = place.refused(&["backup", "config", "--to", "nas"]);
    assert!(code == 1 && said.contains("must_be_mounted"), "{code} {said}");
    let (_, said) = place.refused(&["backup", "config", "--to", "nas", "--force"]);
    assert!(said.contains("must_be_mounted"), "{said}");
    assert!(place.names("nas").is_empty());
    // Another destination is not affected.
    let output = place.haul(&["backup", "config", "--to", "nas", "--to", "out"]);
    assert!(
        output.status.code() == Some(3) && text(&output.stderr).contains("must_be_mounted"),
        "{}",
        text(&output.stderr)
    );
    let Some(mount) = Mounted::at(place.path("nas")) else { return };
    place.done(&["backup", "config", "--to", "nas", "--name", "first"]);
    // Without the key: what was seen counts.
    place.write_config("");
    let nas = place.path("nas");
    let nas = nas.to_str().unwrap();
    place.done(&["backup", "config", "--to", nas, "--name", "second"]);
    place.done(&["backup", "config", "--to", &format!("{nas}/third.tar")]);
    drop(mount);
    let (code, said) = place.refused(&["backup", "config", "--to", nas]);
    assert!(code == 1 && said.contains("had backups on a mount at") && said.contains("--force"), "{code} {said}");
    let (code, said) = place.refused(&["backup", "config", "--to", &format!("{nas}/fourth.tar")]);
    assert!(code == 1 && said.contains("nothing is mounted there"), "{code} {said}");
    place.done(&["backup", "config", "--to", nas, "--force", "--name", "fifth"]);
    place.done(&["backup", "config", "--to", nas, "--name", "sixth"]);
}

#[test]
fn only_a_directory_can_be_required_to_be_mounted() {
    let place = Place::new();
    for (key, says) in [
        ("url = \"sftp://me@nas/x\"\nmust_be_mounted = true", "only to directories"),
        ("url = \"/x\"\nmust_be_mounted = 1", "true or false"),
    ] {
        place.write_config(&format!("[destinations.x]\n{key}\n"));
        let (code, said) = place.refused(&["destination", "list"]);
        assert!(code == 2 && said.contains(says), "{code} {said}");
    }
}
