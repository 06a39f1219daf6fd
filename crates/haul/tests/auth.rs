//! Signing in from the command line, against a fake of Google's servers.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{
    fs,
    io::{BufRead, BufReader, Read},
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Output, Stdio},
};

use testkit::drive::{CLIENT_ID, CLIENT_SECRET, Drive};

fn haul(drive: &Drive, home: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_haul"));
    command.args(args).env_clear().env("HOME", home).env("XDG_STATE_HOME", home.join("state"));
    let address = drive.address();
    command
        .env("HAUL_GDRIVE_API_URL", Drive::api_url(address))
        .env("HAUL_GDRIVE_UPLOAD_URL", Drive::upload_url(address));
    command.env("HAUL_GDRIVE_OAUTH_URL", Drive::oauth_url(address));
    command
}

fn words(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[test]
fn a_machine_is_signed_in_shown_and_signed_out() {
    let (drive, home) = (Drive::start(), tempfile::tempdir().unwrap());
    let secret = home.path().join("secret");
    fs::write(&secret, CLIENT_SECRET).unwrap();
    let mut child = haul(
        &drive,
        home.path(),
        &["auth", "gdrive", "--client-id", CLIENT_ID, "--client-secret-file", secret.to_str().unwrap()],
    )
    .stdout(Stdio::piped())
    .spawn()
    .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    lines.read_line(&mut line).unwrap();
    assert!(line.contains("https://www.google.com/device"), "{line}");
    line.clear();
    lines.read_line(&mut line).unwrap();
    drive.approve(line.split_whitespace().last().unwrap());
    let mut rest = String::new();
    lines.read_to_string(&mut rest).unwrap();
    assert!(child.wait().unwrap().success());
    let file = home.path().join("state/haul/gdrive-token.json");
    assert!(rest.contains("Signed in to Google Drive of tester@example.org, 16.1 GB free"), "{rest}");
    assert!(rest.contains(file.to_str().unwrap()), "{rest}");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);

    let status = haul(&drive, home.path(), &["auth", "gdrive", "--status"]).output().unwrap();
    assert!(status.status.success(), "{}", words(&status));
    for secret in drive.secrets() {
        assert!(!words(&status).contains(&secret) && !rest.contains(&secret));
    }
    let forgotten = haul(&drive, home.path(), &["auth", "gdrive", "--forget"]).output().unwrap();
    assert!(forgotten.status.success(), "{}", words(&forgotten));
    assert!(!file.exists());
    let status = haul(&drive, home.path(), &["auth", "gdrive", "--status"]).output().unwrap();
    assert_eq!(status.status.code(), Some(1));
    assert!(words(&status).contains("nobody has signed in on this machine"), "{}", words(&status));
}

#[test]
fn without_a_client_it_says_how_to_make_one() {
    let (drive, home) = (Drive::start(), tempfile::tempdir().unwrap());
    let output = haul(&drive, home.path(), &["auth", "gdrive"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(words(&output).contains("signing in needs a client id of your own"), "{}", words(&output));
    assert!(words(&output).contains("console.cloud.google.com"), "{}", words(&output));
}
