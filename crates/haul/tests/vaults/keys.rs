//! The passwords and key files that open a vault.

use super::*;

#[test]
fn a_wrong_password_is_said_at_once() {
    let place = Place::with_vault();
    let before = names(&place.path("vault"));
    let commands: [&[&str]; 4] = [
        &["list", "vault+vault"],
        &["backup", "config", "--to", "vault+vault"],
        &["vault", "check", "vault+vault"],
        &["restore", "vault+vault/one.tar", "--into", "restored"],
    ];
    for args in commands {
        let (code, said) = refused(place.command(args).env("HAUL_VAULT_PASSWORD", "sesam öffne nicht"));
        assert!(code == 1 && said.contains("password is wrong"), "{args:?}: {code} {said}");
        assert!(said.contains("HAUL_VAULT_PASSWORD") && !said.contains("öffne"), "{said}");
        let (code, said) = refused(place.command(args).env_remove("HAUL_VAULT_PASSWORD"));
        assert!(code == 1 && said.contains("needs its password"), "{args:?}: {code} {said}");
    }
    assert_eq!(names(&place.path("vault")), before);
    assert!(!place.path("restored").exists());
}

#[test]
fn a_second_password_opens_it_and_a_removed_one_no_longer_does() {
    let place = Place::with_vault();
    place.backup("one.tar");
    place.write("new", "another long one\n");
    place.write("short", "1234567\n");
    let (code, said) = place.refused(&["vault", "keys", "vault+vault", "--add", "--new-password-file", "short"]);
    assert!(code == 2 && said.contains("at least 8 characters"), "{code} {said}");
    let (code, said) = place.refused(&["vault", "keys", "vault+vault", "--add"]);
    assert!(code == 2 && said.contains("--new-password-file"), "{code} {said}");
    place.says("vault keys vault+vault --add --new-password-file new --label second");
    let keys = place.json(&["vault", "keys", "vault+vault"]);
    let keys = keys.as_array().unwrap();
    let key = |label: &str| {
        let found = keys.iter().find(|key| key["label"] == label).unwrap();
        found["key"].as_str().unwrap().to_owned()
    };
    assert!(keys.len() == 2 && keys.iter().all(|key| key["kind"] == "password"), "{keys:?}");
    place.done(&["vault", "keys", "vault+vault", "--remove", &key("first")]);
    let (code, said) = place.refused(&["list", "vault+vault"]);
    assert!(code == 1 && said.contains("password is wrong"), "{code} {said}");
    let new = |args: &[&str]| {
        let mut command = place.command(args);
        command.env("HAUL_VAULT_PASSWORD", "another long one");
        command
    };
    assert!(new(&["verify", "vault+vault/one.tar"]).status().unwrap().success());
    // Nobody locks himself out.
    let (code, said) = refused(&mut new(&["vault", "keys", "vault+vault", "--remove", &key("second")]));
    assert!(code != 0 && said.contains("only key") && said.contains("add another"), "{code} {said}");
    let (code, said) = refused(&mut new(&["vault", "keys", "vault+vault", "--remove", &key("first")]));
    assert!(code != 0 && said.contains("no such key"), "{code} {said}");
    let (code, said) = refused(&mut new(&["vault", "keys", "vault+vault", "--remove", "second"]));
    assert!(code == 2 && said.contains("lists them"), "{code} {said}");
}

#[test]
fn a_key_file_opens_it_without_a_password() {
    let place = Place::with_vault();
    place.backup("one.tar");
    place.says("vault keys vault+vault --add-key-file key --label machine");
    let key = fs::read_to_string(place.path("key")).unwrap();
    assert!(key.trim_end().len() == 64, "{key:?}");
    let (code, said) = place.refused(&["vault", "keys", "vault+vault", "--add-key-file", "key"]);
    assert!(code == 1 && said.contains("new file"), "{code} {said}");
    assert_eq!(fs::read_to_string(place.path("key")).unwrap(), key, "an existing file was written over");
    let toml = format!(
        "[destinations.history]\nurl = \"vault+{}\"\nvault_key_file = \"key\"\n",
        place.path("vault").display()
    );
    place.write("haul.toml", &toml);
    let named = |args: &[&str]| {
        let mut command = place.command(args);
        command.args(["--config", "haul.toml"]).env_remove("HAUL_VAULT_PASSWORD");
        command
    };
    assert!(named(&["verify", "history/one.tar"]).status().unwrap().success());
    place.write("key", &"0".repeat(64));
    let (code, said) = refused(&mut named(&["list", "history"]));
    assert!(code == 1 && said.contains("vault_key_file"), "{code} {said}");
    place.write("key", "not hexadecimal");
    let (code, said) = refused(&mut named(&["list", "history"]));
    assert!(code != 0 && said.contains("key") && !said.contains("not hexadecimal"), "{code} {said}");
}

/// Runs a command at a terminal of its own, and types each answer when it has asked the question.
const AT_A_TERMINAL: &str = "
import os, pty, sys
pid, terminal = pty.fork()
if pid == 0:
    os.execv(sys.argv[2], sys.argv[2:])
said = b''
for turn in sys.argv[1].split('|'):
    question, answer = turn.encode().split(b'=')
    while question not in said:
        said += os.read(terminal, 4096)
    said = said.split(question, 1)[1]
    os.write(terminal, answer + b'\\n')
try:
    while os.read(terminal, 4096):
        pass
except OSError:
    pass
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
";

#[test]
fn whoever_types_a_new_password_types_it_twice() {
    let place = Place::new();
    let turns = "Password=long enuogh|Again=long enough|Password=long enough|Again=long enough";
    let mut typing = Command::new("python3");
    typing.args(["-c", AT_A_TERMINAL, turns, env!("CARGO_BIN_EXE_haul"), "vault", "init"]);
    typing.arg(format!("vault+{}", place.path("vault").display())).current_dir(place.dir.path());
    typing.env("HOME", place.dir.path()).env_remove("HAUL_VAULT_PASSWORD").stdin(Stdio::null());
    let output = typing.output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    let mut list = place.command(&["list", "vault+vault"]);
    assert!(list.env("HAUL_VAULT_PASSWORD", "long enough").status().unwrap().success());
}
