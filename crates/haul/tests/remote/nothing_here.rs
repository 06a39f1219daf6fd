//! A backup to somewhere else writes nothing here, and needs little memory.

use std::{
    fs,
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    time::Duration,
};

use store::{
    Secret,
    gdrive::auth::{Client, Grant, TokenFile},
};
use testkit::{
    drive::{CLIENT_ID, CLIENT_SECRET, Drive},
    s3::S3Server,
};

use crate::{Place, text, watch};

const DATABASE: u64 = 60 << 20;

/// Whoever has the databases open, as Home Assistant has while it runs. Ends when dropped.
struct Owner(Child);

impl Owner {
    fn of(place: &Place) -> Self {
        let script = "import sqlite3,sys\nopen=[sqlite3.connect(path) for path in sys.argv[1:]]\n[one.execute('pragma user_version=1') for one in open]\nprint('open',flush=True)\nsys.stdin.read()";
        let mut command = Command::new("python3");
        command.args(["-c", script]).args(["home-assistant_v2.db", "zigbee.db"]).current_dir(place.path("config"));
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "open\n");
        Self(child)
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Readers note in the index of a log, memory that they share with the writers, how far they see. The kernel counts that as a page written if it has just
/// brought the same page to the disk on the writer's account; nothing else may be counted.
fn assert_nothing_written(cost: &watch::Cost) {
    const NOTES: u64 = 2 * 4 * 4096;
    eprintln!("{} bytes written", cost.written);
    assert!(cost.written <= NOTES, "{} bytes", cost.written);
}

#[test]
fn a_backup_to_a_bucket_writes_nothing_here() {
    let (place, server) = (Place::lived_in(DATABASE), S3Server::start(&["bucket"]).unwrap());
    let _owner = Owner::of(&place);
    let before = place.listing();
    for (args, name) in [(&[][..], "fast.tar"), (&["--uncompressed"], "plain.tar")] {
        let goal = format!("s3://bucket/home/{name}");
        let cost = watch::run(&mut place.with_s3(&server.url(), &[&["backup", "config", "--to", &goal], args].concat()));
        assert!(cost.status.success(), "{}", cost.stderr);
        assert_nothing_written(&cost);
        place.assert_unchanged_since(&before);
        assert!(place.done(&server, &["verify", &goal]).contains("Good"));
    }
    // The account works: an archive beside the config directory is in it.
    let cost = watch::run(&mut place.command(&["backup", "config", "--to", "out"]));
    assert!(cost.status.success(), "{}", cost.stderr);
    assert!(cost.written > 1 << 20, "{} bytes", cost.written);
}

#[test]
fn a_backup_into_a_pipe_writes_nothing_here_though_it_is_measured_first() {
    let place = Place::lived_in(DATABASE);
    let _owner = Owner::of(&place);
    let before = place.listing();
    let cost = watch::run(&mut place.command(&["backup", "config", "--to", "-"]));
    assert!(cost.status.success(), "{}", cost.stderr);
    assert_nothing_written(&cost);
    place.assert_unchanged_since(&before);
    fs::write(place.path("out/piped.tar"), &cost.stdout).unwrap();
    let verdict = place.command(&["verify", "out/piped.tar"]).output().unwrap();
    assert!(text(&verdict.stdout).contains("Good"), "{}", crate::said(&verdict));
}

#[test]
fn a_backup_to_a_drive_writes_nothing_here() {
    let (place, drive) = (Place::lived_in(DATABASE), Drive::start());
    let _owner = Owner::of(&place);
    let client = Client { id: CLIENT_ID.to_owned(), secret: Secret::new(CLIENT_SECRET) };
    TokenFile::new(&place.path("state/haul/gdrive-token.json")).save(&Grant { client, refresh_token: Secret::new(drive.sign_in()) }).unwrap();
    let before = place.listing();
    let mut command = place.command(&["backup", "config", "--to", "gdrive://Backups"]);
    let address = drive.address();
    command.env("HAUL_GDRIVE_API_URL", Drive::api_url(address)).env("HAUL_GDRIVE_UPLOAD_URL", Drive::upload_url(address));
    command.env("HAUL_GDRIVE_OAUTH_URL", Drive::oauth_url(address));
    let cost = watch::run(&mut command);
    assert!(cost.status.success(), "{}", cost.stderr);
    assert_nothing_written(&cost);
    place.assert_unchanged_since(&before);
    // The folder and what is in it.
    assert_eq!((drive.files().len(), drive.open_sessions()), (2, 0));
}

#[test]
fn nothing_is_written_here_while_home_assistant_writes_either() {
    let (place, server) = (Place::lived_in(DATABASE), S3Server::start(&["bucket"]).unwrap());
    let _owner = Owner::of(&place);
    let life = sample::Recorder::start(&place.path("config"), Duration::from_millis(20)).unwrap();
    std::thread::sleep(Duration::from_secs(1));
    let before: Vec<_> = place.listing().into_keys().collect();
    for goal in ["s3://bucket/home", "-"] {
        let cost = watch::run(&mut place.with_s3(&server.url(), &["backup", "config", "--to", goal]));
        assert!(cost.status.success(), "{}", cost.stderr);
        assert_nothing_written(&cost);
        assert_eq!(place.listing().into_keys().collect::<Vec<_>>(), before);
    }
    let recorded = life.stop().unwrap();
    assert!(recorded.commits > 0 && recorded.busy_errors == 0);
}

#[test]
fn beside_databases_that_nobody_has_open_nothing_is_written_either() {
    let (place, server) = (Place::lived_in(DATABASE), S3Server::start(&["bucket"]).unwrap());
    let before = place.listing();
    for goal in ["s3://bucket/home", "-"] {
        let cost = watch::run(&mut place.with_s3(&server.url(), &["backup", "config", "--to", goal]));
        assert!(cost.status.success(), "{}", cost.stderr);
        // Nobody else writes to the same pages either.
        assert_eq!(cost.written, 0);
        place.assert_unchanged_since(&before);
    }
}

#[test]
fn memory_stays_bounded_whatever_the_places() {
    let (place, server) = (Place::lived_in(300 << 20), S3Server::start(&["bucket"]).unwrap());
    let cases: [(&[&str], u64); 3] = [(&["s3://bucket/a"], 128), (&["s3://bucket/b", "s3://bucket/c", "s3://bucket/d"], 192), (&["-"], 128)];
    for (goals, limit_mib) in cases {
        let mut args = vec!["backup", "config"];
        args.extend(goals.iter().flat_map(|goal| ["--to", goal]));
        let cost = watch::run(&mut place.with_s3(&server.url(), &args));
        assert!(cost.status.success(), "{}", cost.stderr);
        // Shown by `cargo test -- --nocapture`.
        eprintln!("{} KiB at most to {goals:?}", cost.peak_kib);
        assert!(cost.peak_kib > 0 && cost.peak_kib <= limit_mib << 10, "{} KiB to {goals:?}", cost.peak_kib);
    }
}
