//! A storage that lost or changed something: it is found and named, and costs what it must and nothing else.

use super::*;

/// A problem that `haul vault check` found: the object, and the backups that it costs.
type Problem = (String, Vec<String>);

impl Place {
    /// Changes a byte in the middle of an object.
    fn flip(&self, object: &str) {
        let path = self.path("vault").join(object);
        let mut bytes = fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(&path, bytes).unwrap();
    }

    /// Makes this machine one that has never seen the vault.
    fn forget(&self) {
        fs::remove_dir_all(self.path(".local/state/haul/vault")).unwrap();
    }

    /// Exit code of a check, what it prints, and the problems.
    fn check(&self, more: &[&str]) -> (i32, String, Vec<Problem>) {
        let args = [&["vault", "check", "vault+vault"], more].concat();
        let output = self.command(&args).output().unwrap();
        let report = self.command(&[&args[..], &["--json"]].concat()).output().unwrap();
        assert_eq!(output.status, report.status);
        let report: Value = serde_json::from_slice(&report.stdout).unwrap();
        let problems = report["problems"].as_array().unwrap().iter().map(|problem| {
            let backups = problem["backups"].as_array().unwrap().iter().map(|name| name.as_str().unwrap().to_owned());
            (problem["object"].as_str().unwrap().to_owned(), backups.collect())
        });
        (output.status.code().unwrap(), text(&output.stdout), problems.collect())
    }

    /// With `one.tar`, `two.tar` and a pack that only the second needs.
    fn with_two() -> (Self, String) {
        let place = Self::with_vault();
        place.backup("one.tar");
        let before = place.objects("pack");
        place.write("config/automations.yaml", "- alias: new\n");
        place.backup("two.tar");
        let mut added = place.objects("pack");
        added.retain(|pack| !before.contains(pack));
        assert_eq!(added.len(), 1);
        (place, added.remove(0))
    }
}

#[test]
fn a_flipped_byte_is_found_and_costs_the_backups_that_need_it() {
    let (place, added) = Place::with_two();
    let first = place.objects("pack").into_iter().find(|pack| *pack != added).unwrap();
    assert_eq!(place.check(&["--read-data"]).0, 0);
    place.flip(&added);
    let (code, said, problems) = place.check(&["--read-data"]);
    assert_eq!((code, &problems), (4, &vec![(added.clone(), vec!["two.tar".to_owned()])]), "{said}");
    assert_eq!(said.matches(&added).count(), 1, "{said}");
    place.done(&["verify", "vault+vault/one.tar"]);
    let (code, said) = place.refused(&["get", "vault+vault/two.tar", "--to", "two.tar"]);
    assert!(code != 0 && said.contains(&added) && said.contains("haul vault check"), "{code} {said}");
    assert!(!place.path("two.tar").exists());
    place.flip(&added);
    assert_eq!(place.check(&["--read-data"]).0, 0);
    place.flip(&first);
    let (code, said, problems) = place.check(&["--read-data"]);
    assert_eq!((code, problems.len(), &problems[0].0), (4, 1, &first), "{said}");
    assert!(problems[0].1.contains(&"one.tar".to_owned()), "{said}");
}

#[test]
fn a_missing_pack_is_found_without_reading() {
    let (place, added) = Place::with_two();
    fs::remove_file(place.path("vault").join(&added)).unwrap();
    let (code, said, problems) = place.check(&[]);
    assert_eq!((code, problems), (4, vec![(added, vec!["two.tar".to_owned()])]), "{said}");
    place.done(&["verify", "vault+vault/one.tar"]);
    let (code, said) = place.refused(&["get", "vault+vault/two.tar", "--to", "two.tar"]);
    assert!(code != 0 && said.contains("is missing"), "{code} {said}");
    // The next backup does not rely on what is gone.
    place.backup("three.tar");
    place.done(&["verify", "vault+vault/three.tar"]);
}

#[test]
fn the_next_backup_sends_again_what_was_lost_with_all_packs() {
    let place = Place::with_vault();
    place.backup("one.tar");
    // On a machine that remembers the backup, and on one that does not.
    for name in ["two.tar", "three.tar"] {
        for pack in place.objects("pack") {
            fs::remove_file(place.path("vault").join(pack)).unwrap();
        }
        place.backup(name);
        place.done(&["verify", &format!("vault+vault/{name}")]);
        place.forget();
    }
}

#[test]
fn a_damaged_pack_does_not_end_backups() {
    let place = Place::with_vault();
    place.backup("one.tar");
    for pack in place.objects("pack") {
        let path = place.path("vault").join(pack);
        let mut bytes = fs::read(&path).unwrap();
        bytes[8..].fill(0);
        fs::write(&path, bytes).unwrap();
    }
    place.forget();
    place.backup("two.tar");
    place.done(&["verify", "vault+vault/two.tar"]);
    place.backup("three.tar");
    place.done(&["verify", "vault+vault/three.tar"]);
}

#[test]
fn a_damaged_description_costs_one_backup() {
    let place = Place::with_vault();
    place.backup("one.tar");
    let first = place.objects("snapshot").remove(0);
    place.backup("two.tar");
    place.flip(&first);
    let (code, said, problems) = place.check(&[]);
    assert_eq!((code, &problems), (4, &vec![(first.clone(), Vec::new())]), "{said}");
    place.forget();
    assert_eq!(place.listed(), ["two.tar"]);
    place.done(&["verify", "vault+vault/two.tar"]);
    place.backup("three.tar");
    // What it needs is not known: so nothing may go.
    let (code, said) = place.refused(&["vault", "compact", "vault+vault"]);
    assert!(code == 1 && said.contains(&first), "{code} {said}");
    fs::remove_file(place.path("vault").join(&first)).unwrap();
    assert_eq!(place.check(&["--read-data"]).0, 0);
    place.done(&["vault", "compact", "vault+vault"]);
}

#[test]
fn an_object_of_a_later_version_is_refused() {
    let place = Place::with_vault();
    place.backup("one.tar");
    let path = place.path("vault").join(place.objects("snapshot").remove(0));
    let mut bytes = fs::read(&path).unwrap();
    bytes[7] = 2;
    fs::write(&path, bytes).unwrap();
    place.forget();
    let (code, said) = place.refused(&["list", "vault+vault"]);
    assert!(code == 1 && said.contains("newer version") && said.contains("update Haul"), "{code} {said}");
}
