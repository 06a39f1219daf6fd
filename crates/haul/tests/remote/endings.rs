//! How uploads end: well, at some destinations only, by Ctrl-C, by `kill -9`.

use std::{
    fs,
    io::Read,
    os::unix::fs::PermissionsExt,
    process::{Child, Stdio},
};

use rustix::process::Signal;
use testkit::{moto::Moto, proxy::Proxy, s3::S3Server, sshd, wait};

use crate::{Place, names, said, signal, text};

/// A line so slow that an upload is under way for long enough to be met there.
const SLOW: u64 = 4 << 20;

/// Each of its connections uploads so many bytes a second.
fn slow_line(server: &S3Server, bytes_per_second: u64) -> Proxy {
    let line = Proxy::raw(server.address()).unwrap();
    line.throttle(Some(bytes_per_second));
    line
}

#[test]
fn a_destination_that_refuses_does_not_disturb_the_others() {
    if !sshd::is_installed() {
        assert!(std::env::var("CI").as_deref() != Ok("true"), "openssh-server is not installed");
        eprintln!("skipped: openssh-server is not installed");
        return;
    }
    let (place, server, ssh) =
        (Place::noisy(12 << 20), S3Server::start(&["bucket"]).unwrap(), sshd::Sshd::start("").unwrap());
    sshd::make_key(&place.path("stranger"), "ed25519", "").unwrap();
    fs::write(place.path("known_hosts"), ssh.known_host("ed25519").unwrap()).unwrap();
    let toml = format!(
        "[destinations.closed]\nurl = \"sftp://root@127.0.0.1:{}{}\"\nkey_file = \"{}\"\nknown_hosts = \"{}\"\n",
        ssh.port(),
        ssh.root().display(),
        place.path("stranger").display(),
        place.path("known_hosts").display()
    );
    fs::write(place.path("haul.toml"), toml).unwrap();
    let args =
        ["--config", "haul.toml", "backup", "config", "--to", "out", "--to", "s3://bucket/home", "--to", "closed"];
    let output = place.with_s3(&server.url(), &args).output().unwrap();
    assert_eq!(output.status.code(), Some(3), "{}", said(&output));
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    let stands: Vec<&str> = out.lines().filter(|line| line.starts_with("  to ")).collect();
    assert!(
        stands.len() == 2
            && stands[0].contains("out/Haul_backup_")
            && stands[1].contains("s3://bucket/home/Haul_backup_"),
        "{out}"
    );
    let failed: Vec<&str> = err.lines().filter(|line| line.contains("failed")).collect();
    assert!(failed.len() == 1 && failed[0].contains("sftp://root@127.0.0.1"), "{err}");
    let name = names(&place.path("out")).remove(0);
    for archive in [format!("out/{name}"), format!("s3://bucket/home/{name}")] {
        assert!(place.done(&server, &["verify", &archive]).contains("Good"));
    }
    assert!(names(&ssh.root()).is_empty());
}

/// A backup whose upload has begun and can't be over soon.
fn under_way(place: &Place, server: &S3Server, line: &Proxy) -> Child {
    let mut command = place.with_s3(&line.url(), &["backup", "config", "--to", "s3://bucket/home"]);
    let child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    wait::until("an upload is under way", || server.unfinished() > 0 && line.uploaded() > 6 << 20);
    child
}

#[test]
fn an_interrupted_upload_leaves_nothing() {
    let (place, server) = (Place::noisy(80 << 20), S3Server::start(&["bucket"]).unwrap());
    let line = slow_line(&server, SLOW);
    let mut child = under_way(&place, &server, &line);
    signal(&child, Signal::INT);
    let mut message = String::new();
    child.stderr.take().unwrap().read_to_string(&mut message).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130), "{message}");
    assert!(message.contains("interrupted; nothing was left behind"), "{message}");
    assert_eq!((server.unfinished(), server.keys("bucket")), (0, Vec::new()));
}

#[test]
fn what_a_killed_upload_left_goes_with_the_next_backup() {
    let (place, server) = (Place::noisy(80 << 20), S3Server::start(&["bucket"]).unwrap());
    let line = slow_line(&server, SLOW);
    let mut child = under_way(&place, &server, &line);
    signal(&child, Signal::KILL);
    child.wait().unwrap();
    assert!(server.unfinished() > 0 && server.keys("bucket").len() == 1, "{:?}", server.keys("bucket"));

    fs::remove_file(place.path("config/noise.bin")).unwrap();
    place.done(&server, &["backup", "config", "--to", "s3://bucket/home/next.tar"]);
    assert_eq!((server.unfinished(), server.keys("bucket")), (0, vec!["home/next.tar".to_owned()]));
}

#[test]
fn a_push_that_was_killed_continues_where_it_stopped() {
    // Unlike the other server it says of each part that arrived which one it is.
    let Some(server) = Moto::start(&["bucket"]).unwrap() else { return };
    let place = Place::noisy(80 << 20);
    assert!(place.command(&["backup", "config", "--to", "out/a.tar"]).output().unwrap().status.success());
    let length = fs::metadata(place.path("out/a.tar")).unwrap().len();
    let args = ["push", "out/a.tar", "--to", "s3://bucket/home"];
    let line = Proxy::raw(server.address()).unwrap();
    line.throttle(Some(SLOW));
    let mut child = place.with_s3(&line.url(), &args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let records = || {
        fs::read_dir(place.path("state/haul"))
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path())
            .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
            .collect::<Vec<_>>()
    };
    let parts = || {
        records()
            .iter()
            .map(|record| fs::read_to_string(record).unwrap_or_default().matches("\"tag\"").count())
            .sum::<usize>()
    };
    wait::until("some parts arrived", || parts() >= 3);
    signal(&child, Signal::KILL);
    child.wait().unwrap();
    assert_eq!(server.unfinished("bucket").unwrap(), 1);
    assert_eq!(fs::metadata(records().remove(0)).unwrap().permissions().mode() & 0o777, 0o600);

    line.throttle(None);
    let sent_before = line.uploaded();
    let output = place.with_s3(&line.url(), &args).output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    let sent = line.uploaded() - sent_before;
    assert!(sent < length - (16 << 20), "{sent} of {length} bytes were sent again");
    eprintln!("{sent} of {length} bytes were sent again");
    let verdict = place.with_s3(&server.url(), &["verify", "s3://bucket/home/a.tar"]).output().unwrap();
    assert!(verdict.status.success(), "{}", said(&verdict));
    assert_eq!(server.unfinished("bucket").unwrap(), 0);
    assert_eq!(server.ask("GET", "/bucket").unwrap().matches("<Key>").count(), 1);
    assert!(records().is_empty(), "nothing is kept that nobody needs");
}

#[test]
fn everything_works_from_a_bucket() {
    let (place, server) = (Place::noisy(24 << 20), S3Server::start(&["bucket"]).unwrap());
    let haul = |args: &[&str]| place.done(&server, args);
    haul(&["backup", "config", "--to", "s3://bucket/home/one.tar"]);
    haul(&["backup", "config", "--to", "s3://bucket/home", "--verify", "read-back"]);
    haul(&["backup", "config", "--to", "s3://bucket/home/two.tar", "--to", "out/two.tar", "--verify", "read-back"]);
    assert!(haul(&["verify", "s3://bucket/home/one.tar"]).contains("Good: every byte"));
    haul(&["restore", "s3://bucket/home/one.tar", "--into", "few", "--only", "configuration.yaml"]);
    assert_eq!(fs::read(place.path("few/configuration.yaml")).unwrap(), b"default_config:\n");
    haul(&["restore", "s3://bucket/home/two.tar", "--into", "all"]);
    assert!(fs::read(place.path("all/noise.bin")).unwrap() == fs::read(place.path("config/noise.bin")).unwrap());
    haul(&["get", "s3://bucket/home/one.tar", "--to", "out"]);
    assert!(haul(&["verify", "out/one.tar"]).contains("Good"));
    assert!(haul(&["list", "s3://bucket/home"]).contains("3 archives"));
    haul(&["pin", "s3://bucket/home/one.tar"]);
    assert!(haul(&["list", "s3://bucket/home"]).contains("pinned"));
    let plan = haul(&["prune", "s3://bucket/home", "--keep-last", "1", "--dry-run"]);
    assert!(plan.contains("1 archive to remove") && plan.contains("pinned"), "{plan}");
    haul(&["prune", "s3://bucket/home", "--keep-last", "1", "--yes"]);
    assert!(haul(&["list", "s3://bucket/home"]).contains("2 archives"));
    haul(&["unpin", "s3://bucket/home/one.tar"]);
    haul(&["rm", "s3://bucket/home/one.tar", "--yes"]);
    assert_eq!((server.unfinished(), server.keys("bucket").len()), (0, 1));
    assert!(names(&place.path("state")).is_empty(), "nothing is kept that nobody needs");
}

#[test]
fn an_archive_that_is_much_smaller_than_the_last_one_at_a_remote_destination_is_reported() {
    let (place, server) = (Place::noisy(400_000), S3Server::start(&["bucket"]).unwrap());
    let said = |name: &str| {
        let output = place
            .with_s3(&server.url(), &["backup", "config", "--to", "s3://bucket/home", "--name", name])
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
        text(&output.stderr)
    };
    assert!(!said("first").contains("the last one at this destination"));
    assert!(!said("same").contains("the last one at this destination"));
    fs::remove_file(place.path("config/noise.bin")).unwrap();
    let told = said("small");
    assert!(
        told.contains("the last one at this destination")
            && told.contains("everything else")
            && told.contains("instead of 400 kB"),
        "{told}"
    );
}
