//! Passwords and secrets in addresses: how they are given, and that they are never shown.

use std::{fs, os::fd::OwnedFd, path::Path};

use rustix::process::Signal;

use super::{Place, command, pipe, said, signal, start, text, told};
use testkit::wait;

#[test]
fn passwords_work_by_file_and_environment_and_are_never_shown() {
    let place = Place::new();
    fs::write(place.dir.path().join("pw"), "hunter2-very-secret\n").unwrap();
    let backup = place.haul(&["backup", "config", "--to", "out/e.tar", "--password-file", "pw", "--json"]);
    assert_eq!(said(&backup).0, 0, "{}", said(&backup).1);
    let by_environment = command(&["verify", "out/e.tar"])
        .current_dir(place.dir.path())
        .env("HAUL_PASSWORD", "hunter2-very-secret")
        .output()
        .unwrap();
    assert_eq!(said(&by_environment).0, 0, "{}", said(&by_environment).1);
    let wrong = command(&["verify", "out/e.tar"])
        .current_dir(place.dir.path())
        .env("HAUL_PASSWORD", "guess-of-mine")
        .output()
        .unwrap();
    assert_eq!((said(&wrong).0, said(&wrong).1.contains("the password is wrong")), (1, true), "{}", said(&wrong).1);
    let none = place.haul(&["restore", "out/e.tar", "--into", "back"]);
    assert_eq!(said(&none).0, 2);
    assert!(
        said(&none).1.contains("a password is needed\n  give it with --password-file FILE or in HAUL_PASSWORD"),
        "{}",
        said(&none).1
    );
    assert!(!place.dir.path().join("back").exists());
    for output in [backup, by_environment, wrong, none] {
        let all = text(&output.stdout) + &text(&output.stderr);
        assert!(!all.contains("hunter2") && !all.contains("guess-of-mine"), "{all}");
    }
}

/// Opens a pipe for writing once somebody reads it.
fn writer_of(path: &Path) -> OwnedFd {
    use rustix::{
        fs::{Mode, OFlags, open},
        io::Errno,
    };
    wait::found("somebody reads the pipe", || {
        let opened = open(path, OFlags::WRONLY | OFlags::NONBLOCK, Mode::empty());
        opened.map_or_else(|error| (error != Errno::NXIO).then(|| panic!("{error}")), Some)
    })
}

#[test]
fn a_password_comes_through_a_pipe_and_a_silent_one_is_left_when_the_user_stops() {
    let place = Place::new();
    let path = place.dir.path().join("pw");
    pipe(&path);
    let args = ["backup", "config", "--to", "out/p.tar", "--password-file", "pw"];
    let child = start(&place, &args);
    let silent = writer_of(&path);
    signal(&child, Signal::TERM);
    assert_eq!(said(&wait::ended(child)), (130, "haul: interrupted\n".to_owned()));
    drop(silent);
    assert!(place.left().is_empty());
    let child = start(&place, &args);
    fs::write(&path, "hunter2\n").unwrap();
    let (code, told) = said(&wait::ended(child));
    assert_eq!(code, 0, "{told}");
    let verify = command(&["verify", "out/p.tar"])
        .current_dir(place.dir.path())
        .env("HAUL_PASSWORD", "hunter2")
        .output()
        .unwrap();
    assert_eq!(said(&verify).0, 0, "{}", said(&verify).1);
}

#[test]
fn a_password_means_the_same_by_file_and_environment_and_can_be_typed() {
    let place = Place::new();
    let with = |args: &[&str], password: &str| {
        said(&command(args).current_dir(place.dir.path()).env("HAUL_PASSWORD", password).output().unwrap())
    };
    fs::write(place.dir.path().join("pw"), "\u{feff}hunter2\r\n").unwrap();
    assert_eq!(with(&["backup", "config", "--to", "out/n.tar"], "hunter2\n").0, 0);
    assert_eq!(said(&place.haul(&["verify", "out/n.tar", "--password-file", "pw"])).0, 0);
    for untypable in ["hun\nter2", "hunter2\t", "\u{7}hunter2"] {
        let (code, told) = with(&["backup", "config", "--to", "out/u.tar"], untypable);
        assert!(
            code == 2 && told.contains("which can't be typed into Home Assistant") && !told.contains("ter2"),
            "{told}"
        );
        // Somebody may have made an archive with it all the same.
        let (code, told) = with(&["verify", "out/n.tar"], untypable);
        assert!(code == 1 && told.contains("the password is wrong"), "{told}");
    }
    let (code, told) = with(&["backup", "config", "--to", "out/s.tar"], "hunter2 ");
    assert!(code == 0 && told.contains("note: the password begins or ends with a space"), "{told}");
    assert_eq!(place.left().len(), 2);
}

#[test]
fn what_was_made_with_a_line_break_at_the_end_of_the_variable_still_opens() {
    let place = Place::new();
    let options = engine::BackupOptions {
        password: Some(habackup::securetar::Password::new("hunter2\n")),
        ..engine::BackupOptions::new(place.config(), vec![engine::Destination::Path(place.out().join("b.tar"))])
    };
    engine::backup(&options, None, &std::sync::Arc::default(), &std::sync::Arc::default()).unwrap();
    for (password, code) in [("hunter2\n", 0), ("hunter2", 1)] {
        let output = command(&["verify", "out/b.tar"])
            .current_dir(place.dir.path())
            .env("HAUL_PASSWORD", password)
            .output()
            .unwrap();
        let (found, told) = said(&output);
        assert!(found == code && !told.contains("hunter2"), "{told}");
    }
}

#[test]
fn a_password_that_is_taken_for_a_backup_is_not_printed() {
    let place = Place::new();
    for content in ["hunter2\n", "{\"password\": \"hunter2\"}", "<key>hunter2</key>"] {
        fs::write(place.out().join("pw.tar"), content).unwrap();
        let (code, text) = told(&place.haul(&["inspect", "out/pw.tar"]));
        assert!(code == 4 && text.contains("saved as a backup") && !text.contains("hunter2"), "{text}");
    }
    fs::write(place.out().join("pw.tar"), "401: Unauthorized").unwrap();
    let (_, text) = told(&place.haul(&["inspect", "out/pw.tar"]));
    assert!(text.contains("401: Unauthorized"), "{text}");
}

#[test]
fn a_password_that_is_missing_or_wrong_is_no_damage() {
    let place = Place::new();
    fs::write(place.dir.path().join("pw"), "hunter2").unwrap();
    fs::write(place.dir.path().join("other"), "hunter3").unwrap();
    for format in ["v2", "v3"] {
        let archive = format!("out/{format}.tar");
        assert_eq!(
            told(&place.haul(&["backup", "config", "--to", &archive, "--password-file", "pw", "--securetar", format]))
                .0,
            0
        );
        let passwords: [(&[&str], i32); 3] =
            [(&[], 2), (&["--password-file", "other"], 1), (&["--password-file", "pw"], 0)];
        for (command, (password, expected)) in
            ["verify", "inspect"].into_iter().flat_map(|command| passwords.map(|password| (command, password)))
        {
            let (code, text) = told(&place.haul(&[&[command, archive.as_str()], password].concat()));
            assert_eq!(code, expected, "{command} {password:?}: {text}");
            assert!(!text.contains("accepts no password"), "{text}");
        }
        let (_, text) = told(&place.haul(&["inspect", &archive, "--target", "2026.11.0"]));
        assert!(text.contains("its password is needed") && text.contains("asks for its password"), "{text}");
        let (_, text) = told(&place.haul(&["inspect", &archive, "--target", "2026.11.0", "--password-file", "other"]));
        assert!(text.contains("the password is wrong") && text.contains("does not accept this password"), "{text}");
    }
}

#[test]
fn a_secret_in_an_address_is_never_printed() {
    let place = Place::new();
    let addresses = [
        "azure://cont/x?sig=hunter2",
        "webdav://127.0.0.1:1/x?password=hunter2",
        "https://nas/x?token=hunter2",
        "sftp://me@127.0.0.1:1/x?hunter2",
        "s3://bucket/x?hunter2",
        "gdrive://x?hunter2",
        "haul://127.0.0.1:1/?hunter2",
        "me:hunter2@nas:/x",
        "s3:https://id:hunter2@nas/x?hunter2",
    ];
    for address in addresses {
        let escaped = format!("[destinations.off]\nurl = \"{address}\"\n");
        fs::write(place.dir.path().join("haul.toml"), escaped).unwrap();
        let commands: [&[&str]; 7] = [
            &["list", address],
            &["list", address, "--json"],
            &["backup", "config", "--to", address],
            &["backup", "config", "--to", address, "--json"],
            &["verify", address],
            &["--config", "haul.toml", "list", "off"],
            &["--config", "haul.toml", "destination", "list", "--json"],
        ];
        for args in commands {
            let output = wait::ended(start(
                &place,
                &[args, &["--give-up-after", "1s"][..if args.contains(&"destination") { 0 } else { 2 }]].concat(),
            ));
            let all = text(&output.stdout) + &text(&output.stderr);
            assert!(!all.contains("hunter2") && !all.is_empty(), "{args:?}: {all}");
        }
    }
    let output = wait::ended(start(&place, &["migrate", "config", "--to", "ftp://nas/?token=hunter2"]));
    assert!(!text(&output.stderr).contains("hunter2"), "{}", text(&output.stderr));
}
