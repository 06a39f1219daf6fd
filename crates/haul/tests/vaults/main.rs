//! What a user does with a vault, as typed; and that a program without a line of ours reads what is in it.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod damage;
mod keys;
mod reader;

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use serde_json::Value;

const PASSWORD: &str = "sesam öffne dich";

struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    /// With a sample's config directory and no vault.
    fn new() -> Self {
        let place = Self { dir: tempfile::tempdir().unwrap() };
        let config = place.path("config");
        sample::create(&config, &sample::Options { database_bytes: 2 << 20, seed: 7 }).unwrap();
        for name in ["auth", "auth_provider.homeassistant", "core.config_entries", "onboarding"] {
            assert!(config.join(".storage").join(name).exists(), "the sample has no {name}");
        }
        place
    }

    /// With an empty vault in the directory `vault`.
    fn with_vault() -> Self {
        let place = Self::new();
        let said = place.done(&["vault", "init", "vault+vault"]);
        assert!(said.contains("nobody can restore"), "{said}");
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, name: &str, content: &str) {
        fs::create_dir_all(self.path(name).parent().unwrap()).unwrap();
        fs::write(self.path(name), content).unwrap();
    }

    /// With these arguments; a vault is one in the place's directory.
    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_haul"));
        for arg in args {
            match arg.strip_prefix("vault+") {
                Some(vault) => command.arg(format!("vault+{}", self.path(vault).display())),
                None => command.arg(arg),
            };
        }
        command.current_dir(self.dir.path()).stdin(Stdio::null()).env_clear();
        command.env("PATH", std::env::var_os("PATH").unwrap()).env("HOME", self.dir.path()).env("TZ", "UTC");
        command.env("HAUL_VAULT_PASSWORD", PASSWORD);
        command
    }

    /// Standard output of a command that must succeed.
    fn done(&self, args: &[&str]) -> String {
        let output = self.command(args).output().unwrap();
        assert!(output.status.success(), "{args:?}: {} {}", text(&output.stdout), text(&output.stderr));
        text(&output.stdout)
    }

    fn json(&self, args: &[&str]) -> Value {
        serde_json::from_str(&self.done(&[args, &["--json"]].concat())).unwrap()
    }

    fn refused(&self, args: &[&str]) -> (i32, String) {
        refused(&mut self.command(args))
    }

    /// Backs up into the vault under this name.
    fn backup(&self, name: &str) {
        self.done(&["backup", "config", "--to", &format!("vault+vault/{name}"), "--progress", "none"]);
    }

    /// The names of the objects of this kind.
    fn objects(&self, kind: &str) -> Vec<String> {
        names(&self.path("vault")).into_iter().filter(|name| name.starts_with(kind)).collect()
    }

    fn stored(&self) -> u64 {
        names(&self.path("vault")).iter().map(|name| self.path("vault").join(name).metadata().unwrap().len()).sum()
    }

    fn listed(&self) -> Vec<String> {
        let listed = self.json(&["list", "vault+vault"]);
        let archives = listed["archives"].as_array().unwrap();
        archives.iter().map(|archive| archive["name"].as_str().unwrap().to_owned()).collect()
    }

    /// What a command prints that must succeed; spaces separate its words.
    fn says(&self, args: &str) -> String {
        self.done(&args.split(' ').collect::<Vec<_>>())
    }
}

/// Exit code and standard error of a command that must fail.
fn refused(command: &mut Command) -> (i32, String) {
    let output: Output = command.output().unwrap();
    assert!(!output.status.success(), "{command:?}: {}", text(&output.stdout));
    (output.status.code().unwrap(), text(&output.stderr))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_owned()).unwrap()
}

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_vault_is_made_in_an_empty_folder_alone() {
    let place = Place::new();
    place.write("full/notes.txt", "mine");
    let (code, said) = place.refused(&["vault", "init", "vault+full"]);
    assert!(code == 1 && said.contains("notes.txt") && said.contains("give an empty one"), "{code} {said}");
    assert_eq!(names(&place.path("full")), ["notes.txt"]);
    let (code, said) = place.refused(&["vault", "init", place.path("plain").to_str().unwrap()]);
    assert!(code == 2 && said.contains("vault+"), "{code} {said}");
    place.done(&["vault", "init", "vault+vault"]);
    let before = names(&place.path("vault"));
    let (code, said) = place.refused(&["vault", "init", "vault+vault"]);
    assert!(code == 1 && said.contains("there is a vault already"), "{code} {said}");
    assert_eq!(names(&place.path("vault")), before);
    // What is no vault is not taken for an empty one.
    let (code, said) = place.refused(&["list", "vault+full"]);
    assert!(code != 0 && said.contains("there is no vault") && said.contains("haul vault init"), "{code} {said}");
    let (code, said) = place.refused(&["vault", "check", "vault+nowhere"]);
    assert!(code != 0 && said.contains("nowhere"), "{code} {said}");
    assert!(!place.path("nowhere").exists(), "a check made a folder");
}

#[test]
fn a_short_password_is_refused_before_anything_is_made() {
    let place = Place::new();
    let (code, said) = refused(place.command(&["vault", "init", "vault+vault"]).env("HAUL_VAULT_PASSWORD", "1234567"));
    assert!(code == 2 && said.contains("at least 8 characters"), "{code} {said}");
    let (code, said) = refused(place.command(&["vault", "init", "vault+vault"]).env_remove("HAUL_VAULT_PASSWORD"));
    assert!(code != 0 && said.contains("needs its password") && said.contains("vault_password_file"), "{code} {said}");
    assert!(!place.path("vault").exists(), "a folder was made");
    // Characters, not bytes.
    refused(place.command(&["vault", "init", "vault+vault"]).env("HAUL_VAULT_PASSWORD", "ääääää7"));
}

#[test]
fn a_vault_shares_a_backup_with_no_other_destination() {
    let place = Place::with_vault();
    fs::create_dir(place.path("plain")).unwrap();
    let (code, said) = place.refused(&["backup", "config", "--to", "vault+vault", "--to", "plain"]);
    assert!(code == 2 && said.contains("by itself") && said.contains("compresses"), "{code} {said}");
    assert!(place.objects("snapshot").is_empty() && names(&place.path("plain")).is_empty());
}

#[test]
fn every_command_takes_a_vault() {
    let place = Place::with_vault();
    place.backup("one.tar");
    let first = place.stored();
    place.write("config/automations.yaml", "- alias: new\n");
    place.backup("two.tar");
    assert!(place.stored() - first < first / 10, "{first} became {}", place.stored());
    let mut listed = place.listed();
    listed.sort();
    assert_eq!(listed, ["one.tar", "two.tar"]);
    assert!(place.says("ls vault+vault/two.tar").contains("configuration.yaml"));
    assert_eq!(place.says("cat vault+vault/two.tar automations.yaml"), "- alias: new\n");
    assert!(place.says("inspect vault+vault/two.tar").contains("whole"));
    assert!(place.says("verify vault+vault/two.tar").contains("every byte is intact"));
    let (code, _) = place.refused(&["cat", "vault+vault/two.tar", "nothing.yaml"]);
    assert!(code != 0);
    let difference = place.command(&["diff", "vault+vault/one.tar", "vault+vault/two.tar"]).output().unwrap();
    assert!(text(&difference.stdout).contains("automations.yaml"), "{difference:?}");
    place.says("restore vault+vault/one.tar --into restored");
    let restored = fs::read_to_string(place.path("restored/automations.yaml")).unwrap();
    assert_ne!(restored, "- alias: new\n");
    place.says("get vault+vault/two.tar --to two.tar");
    assert!(place.says("verify two.tar").contains("every byte is intact"));
    // The same name again is another backup, not a replacement.
    let (code, said) = place.refused(&["backup", "config", "--to", "vault+vault/two.tar"]);
    assert!(code == 1 && said.contains("two.tar"), "{code} {said}");
}

#[test]
fn what_is_pinned_stays_and_what_is_removed_goes_in_two_steps() {
    let place = Place::with_vault();
    place.backup("one.tar");
    place.says("pin vault+vault/one.tar");
    for (number, name) in ["two.tar", "three.tar"].into_iter().enumerate() {
        // Nothing that any other backup needs.
        place.write("config/large.txt", &number.to_string().repeat(300_000));
        place.backup(name);
    }
    // A pin is no backup.
    let info = place.json(&["vault", "info", "vault+vault"]);
    assert_eq!(info["backups"], 3, "{info}");
    assert_eq!(info["last"], "three.tar", "{info}");
    assert_eq!(place.json(&["vault", "check", "vault+vault"])["backups"], 3);
    place.says("prune vault+vault --keep-last 1 --yes");
    let mut listed = place.listed();
    listed.sort();
    assert_eq!(listed, ["one.tar", "three.tar"]);
    let before = place.objects("pack");
    let compacted = place.json(&["vault", "compact", "vault+vault"]);
    assert_eq!(compacted["removed_packs"], 0, "{compacted}");
    assert_eq!(place.objects("pack"), before, "a pack went on the first day");
    for name in ["one.tar", "three.tar"] {
        place.done(&["verify", &format!("vault+vault/{name}")]);
    }
    place.says("unpin vault+vault/one.tar");
    place.says("rm vault+vault/one.tar --yes");
    assert_eq!(place.listed(), ["three.tar"]);
    assert!(place.says("vault check vault+vault --read-data").contains("1 backup and"));
}

#[test]
fn a_pin_does_not_stand_for_the_backup_before() {
    // Without an id of the instance, a pin and a backup are of the same one: none.
    let place = Place::with_vault();
    fs::remove_file(place.path("config/.storage/core.uuid")).unwrap();
    place.backup("one.tar");
    place.says("pin vault+vault/one.tar");
    let first = place.stored();
    place.backup("two.tar");
    assert!(place.stored() - first < first / 10, "{first} became {}", place.stored());
}
