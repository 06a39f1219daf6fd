//! `tests/vault/export.py`, which knows docs/VAULT.md and nothing of Haul, reads what Haul wrote.

use super::*;

/// A week of changes, and then a database that was repacked and is smaller.
const CHANGES: [&str; 2] = [
    "UPDATE states SET state = 'changed' WHERE state_id % 97 = 0",
    "DELETE FROM states WHERE state_id % 3 = 0; VACUUM",
];

fn export(python: &str, place: &Place, args: &[&str]) -> Command {
    let mut command = Command::new(python);
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/vault/export.py")).arg("vault").args(args);
    command.current_dir(place.dir.path()).env("HAUL_VAULT_PASSWORD", PASSWORD).stdin(Stdio::null());
    command
}

fn succeeds(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", text(&output.stderr));
    text(&output.stdout)
}

fn change(python: &str, place: &Place, sql: &str) {
    const SCRIPT: &str =
        "import sqlite3, sys\nsqlite3.connect(sys.argv[1], isolation_level=None).executescript(sys.argv[2])";
    let database = place.path("config/home-assistant_v2.db");
    succeeds(Command::new(python).args(["-c", SCRIPT]).arg(database).arg(sql));
}

#[test]
fn another_program_reads_every_backup_to_the_byte() {
    let Some(python) = testkit::python::with_what_a_vault_needs() else { return };
    let place = Place::with_vault();
    let names = ["one.tar", "two.tar", "three.tar"];
    place.write("config/large.txt", &"0123456789abcdef".repeat(300_000));
    place.backup(names[0]);
    for ((name, sql), removed) in names[1..].iter().zip(CHANGES).zip(["scenes.yaml", "scripts.yaml"]) {
        change(&python, &place, sql);
        place.write("config/automations.yaml", &format!("- alias: {name}\n"));
        place.write("config/large.txt", &"0123456789abcdef".repeat(300_000 - name.len()));
        fs::remove_file(place.path("config").join(removed)).unwrap();
        place.backup(name);
    }
    place.says("vault keys vault+vault --add-key-file key");
    let listed = succeeds(&mut export(&python, &place, &["--list"]));
    for name in names {
        assert!(listed.contains(name), "{listed}");
        place.says(&format!("get vault+vault/{name} --to ours-{name}"));
        let theirs = format!("theirs-{name}");
        succeeds(&mut export(&python, &place, &[name, &theirs]));
        assert!(fs::read(place.path(&theirs)).unwrap() == fs::read(place.path(&format!("ours-{name}"))).unwrap());
        assert!(place.says(&format!("verify {theirs}")).contains("every byte is intact"));
        let with_key = format!("with-key-{name}");
        let mut command = export(&python, &place, &[name, &with_key, "--key-file", "key"]);
        succeeds(command.env_remove("HAUL_VAULT_PASSWORD"));
        assert!(fs::read(place.path(&with_key)).unwrap() == fs::read(place.path(&theirs)).unwrap());
    }
}

#[test]
fn another_program_refuses_a_wrong_password_and_damage() {
    let Some(python) = testkit::python::with_what_a_vault_needs() else { return };
    let place = Place::with_vault();
    place.backup("one.tar");
    let (_, said) = refused(export(&python, &place, &["--list"]).env("HAUL_VAULT_PASSWORD", "sesam öffne nicht"));
    assert!(said.contains("the password opens none of the keys"), "{said}");
    let pack = place.path("vault").join(place.objects("pack").remove(0));
    let mut bytes = fs::read(&pack).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&pack, bytes).unwrap();
    let (_, said) = refused(&mut export(&python, &place, &["one.tar", "out.tar"]));
    assert!(said.contains("is damaged"), "{said}");
    assert!(!place.path("out.tar").exists());
}
