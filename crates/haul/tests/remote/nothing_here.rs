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
    sshd::{self, Sshd},
    wsgidav::{self, Wsgidav},
};

use crate::{Place, names, receiving::Receiving, text, watch};

const DATABASE: u64 = 60 << 20;

/// Whoever has the databases open, as Home Assistant has while it runs. Ends when dropped.
struct Owner(Child);

impl Owner {
    fn of(place: &Place) -> Self {
        let script = "import sqlite3,sys\nopen=[sqlite3.connect(path) for path in sys.argv[1:]]\n[one.execute('pragma \
            user_version=1') for one in open]\nprint('open',flush=True)\nsys.stdin.read()";
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

/// Readers note in the index of a log, memory that they share with the writers, how far they see. The kernel counts
/// that as a page written if it has just brought the same page to the disk on the writer's account. Now and then, on a
/// busy machine, it counts one page where there is no such index at all and no file or directory has changed. Nothing
/// else may be counted: for one database an index of SQLite's own would be more.
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
        let cost =
            watch::run(&mut place.with_s3(&server.url(), &[&["backup", "config", "--to", &goal], args].concat()));
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
    TokenFile::new(&place.path("state/haul/gdrive-token.json"))
        .save(&Grant { client, refresh_token: Secret::new(drive.sign_in()), signed_in: None })
        .unwrap();
    let command = |args: &[&str]| {
        let (mut command, address) = (place.command(args), drive.address());
        command
            .env("HAUL_GDRIVE_API_URL", Drive::api_url(address))
            .env("HAUL_GDRIVE_UPLOAD_URL", Drive::upload_url(address));
        command.env("HAUL_GDRIVE_OAUTH_URL", Drive::oauth_url(address));
        command
    };
    // The folder's id is kept here once, when it is first seen.
    drive.insert_folder("Backups", &[("haul_folder", "Backups")], Duration::from_hours(1));
    let listed = command(&["list", "gdrive://Backups"]).output().unwrap();
    assert!(listed.status.success(), "{}", crate::said(&listed));
    let before = place.listing();
    let cost = watch::run(&mut command(&["backup", "config", "--to", "gdrive://Backups"]));
    assert!(cost.status.success(), "{}", cost.stderr);
    assert_nothing_written(&cost);
    place.assert_unchanged_since(&before);
    // The folder and what is in it.
    assert_eq!((drive.files().len(), drive.open_sessions()), (2, 0));
}

/// The archive is the other machine's to write; here it only passes.
#[test]
fn a_backup_to_another_machine_writes_nothing_here() {
    let place = Place::lived_in(DATABASE);
    let _owner = Owner::of(&place);
    let there = place.path("there");
    fs::create_dir(&there).unwrap();
    let mut receive = place.command(&["receive", "--to", "there", "--listen", "127.0.0.1:0", "--name", "nas"]);
    receive.env("XDG_STATE_HOME", place.path("nas")).env("HOME", place.path("nas"));
    let receiving = Receiving::start(&mut receive, "Receiving into there as nas");
    // The keys that pairing leaves are to stay here.
    let paired = place.command(&["list", &receiving.url]).env("HAUL_PAIRING_CODE", &receiving.code).output().unwrap();
    assert!(paired.status.success(), "{}", crate::said(&paired));
    let before = place.listing();
    for (args, name) in [(&[][..], "Fast"), (&["--uncompressed"], "Plain"), (&["--compress", "there"], "There")] {
        let cost = watch::run(
            &mut place.command(&[&["backup", "config", "--to", &receiving.url, "--name", name], args].concat()),
        );
        assert!(cost.status.success(), "{}", cost.stderr);
        assert_nothing_written(&cost);
        place.assert_unchanged_since(&before);
    }
    assert_arrived(&place, 3);
}

#[test]
fn a_backup_over_sftp_writes_nothing_here() {
    if !sshd::is_installed() {
        assert!(std::env::var("CI").as_deref() != Ok("true"), "openssh-server is needed");
        eprintln!("skipped: openssh-server is not installed");
        return;
    }
    let (place, server) = (Place::lived_in(DATABASE), Sshd::start("").unwrap());
    let _owner = Owner::of(&place);
    let (there, known) = (place.path("there"), place.path("known_hosts"));
    fs::create_dir(&there).unwrap();
    fs::write(&known, server.known_host("ed25519").unwrap()).unwrap();
    let url = format!("sftp://root@127.0.0.1:{}{}", server.port(), there.display());
    let (key, known) = (server.user_key().display().to_string(), known.display().to_string());
    leaves_nothing_here(&place, &["url", &url, "key_file", &key, "known_hosts", &known]);
}

#[test]
fn a_backup_to_a_web_server_writes_nothing_here_though_it_is_measured_first() {
    let Some(server) = Wsgidav::start() else { return };
    let place = Place::lived_in(DATABASE);
    let _owner = Owner::of(&place);
    let (there, password) = (place.path("there"), place.path("password"));
    std::os::unix::fs::symlink(server.files(), &there).unwrap();
    fs::write(&password, wsgidav::PASSWORD).unwrap();
    let (url, password) = (format!("webdav://{}/", server.authority()), password.display().to_string());
    leaves_nothing_here(&place, &["url", &url, "user", wsgidav::USER, "password_file", &password]);
}

/// A backup to the destination with these settings, whose files are in `there`.
fn leaves_nothing_here(place: &Place, settings: &[&str]) {
    let settings: Vec<String> = settings.chunks(2).map(|pair| format!("{} = {:?}", pair[0], pair[1])).collect();
    fs::write(place.path("haul.toml"), format!("[destinations.far]\n{}\n", settings.join("\n"))).unwrap();
    let before = place.listing();
    let cost = watch::run(&mut place.command(&["--config", "haul.toml", "backup", "config", "--to", "far"]));
    assert!(cost.status.success(), "{}", cost.stderr);
    assert_nothing_written(&cost);
    place.assert_unchanged_since(&before);
    assert_arrived(place, 1);
}

/// So many good archives lie in `there`, and nothing else does.
fn assert_arrived(place: &Place, archives: usize) {
    let found = names(&place.path("there"));
    assert_eq!(found.len(), archives, "{found:?}");
    for name in found {
        let verdict = place.command(&["verify", &format!("there/{name}")]).output().unwrap();
        assert!(text(&verdict.stdout).contains("Good"), "{}", crate::said(&verdict));
    }
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
    // Whoever joins may hold SQLite's write lock for a moment; a lock that lasts would show as many times as it is tried.
    assert!(recorded.commits > 0 && recorded.busy_errors <= 2, "{} busy", recorded.busy_errors);
}

#[test]
fn beside_databases_that_nobody_has_open_nothing_is_written_either() {
    let (place, server) = (Place::lived_in(DATABASE), S3Server::start(&["bucket"]).unwrap());
    let before = place.listing();
    for goal in ["s3://bucket/home", "-"] {
        let cost = watch::run(&mut place.with_s3(&server.url(), &["backup", "config", "--to", goal]));
        assert!(cost.status.success(), "{}", cost.stderr);
        assert_nothing_written(&cost);
        place.assert_unchanged_since(&before);
    }
}

#[test]
fn memory_stays_bounded_whatever_the_destinations() {
    let (place, server) = (Place::lived_in(300 << 20), S3Server::start(&["bucket"]).unwrap());
    let cases: [(&[&str], u64); 3] =
        [(&["s3://bucket/a"], 128), (&["s3://bucket/b", "s3://bucket/c", "s3://bucket/d"], 192), (&["-"], 128)];
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
