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
fn a_folder_of_the_systems_disk_that_is_mounted_is_no_share_and_one_that_is_gone_is_away() {
    let place = Place::new();
    let (share, nas) = (place.path("share"), place.path("share/nas"));
    fs::create_dir_all(&nas).unwrap();
    let bind = Command::new("mount").arg("--bind").args([&share, &share]).status();
    if !bind.is_ok_and(|status| status.success()) {
        return;
    }
    // Unmounted at last.
    let _share = Mounted(share);
    place.write_config("[destinations.nas]\nurl = \"../../share/nas/ha\"\nmust_be_mounted = true\n");
    let refused = |why: &str| {
        let (code, said) = place.refused(&["backup", "config", "--to", "nas"]);
        assert!(code == 1 && said.contains(why) && !said.contains("mkdir"), "{code} {said}");
    };
    refused("nothing is mounted at");
    fs::create_dir(nas.join("ha")).unwrap();
    refused("is on a disk of this machine's own data");
    assert!(place.names("share/nas/ha").is_empty());

    let mount = Mounted::at(nas.clone()).unwrap();
    let (code, said) = place.refused(&["backup", "config", "--to", "nas"]);
    assert!(code == 2 && said.contains("mkdir"), "its folder is missing there: {code} {said}");
    fs::create_dir(nas.join("ha")).unwrap();
    place.done(&["backup", "config", "--to", "nas", "--name", "first"]);
    drop(mount);
    refused("is on a disk of this machine's own data");

    // Without the key, what was seen counts, also when the folder is gone with its share, and stays known.
    fs::remove_dir(nas.join("ha")).unwrap();
    place.write_config("");
    let ha = nas.join("ha");
    let (code, said) = place.refused(&["backup", "config", "--to", ha.to_str().unwrap()]);
    assert!(
        code == 1 && said.contains("had backups on a mount at") && said.contains("does not exist"),
        "{code} {said}"
    );
    fs::create_dir(&ha).unwrap();
    place.done(&["backup", "config", "--to", ha.to_str().unwrap(), "--force", "--name", "second"]);
    for name in place.names("share/nas/ha") {
        fs::remove_file(ha.join(name)).unwrap();
    }
    let (code, said) = place.refused(&["backup", "config", "--to", ha.to_str().unwrap()]);
    assert!(code == 1 && said.contains("holds no backup"), "{code} {said}");
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
