//! A simulated Home Assistant: what breaks, what is interrupted, and what must not happen then.

use std::{
    fs,
    path::Path,
    process::{Child, Output, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use testkit::{
    home_assistant::{Fake, Mind},
    proxy::{Answer, Death, Proxy, Rule},
    wait,
};

use crate::{PASSWORD, Place, noise, run, said, text, watch};

/// One that restores what it gets.
fn fresh() -> Fake {
    Fake::start(Mind { restores_users: true, ..Mind::default() })
}

fn small() -> Place {
    Place::lived_in("2026.11.0", 1 << 20)
}

fn config(place: &Place) -> std::path::PathBuf {
    place.path("config")
}

/// Signals it, and waits for its end.
fn end_by(child: Child, signal: Signal) -> Output {
    kill_process(Pid::from_child(&child), signal).unwrap();
    child.wait_with_output().unwrap()
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

#[test]
fn not_one_byte_is_written_here() {
    let (place, fake) = (Place::lived_in("2026.11.0", 40 << 20), fresh());
    for args in [&[][..], &["--exclude-database"]] {
        fake.think(|mind| (mind.user_made, mind.restores) = (Some(false), Vec::new()));
        let cost = watch::run(&mut place.migrate(&config(&place), &fake.url(), args));
        assert!(cost.status.success(), "{}{}", text(&cost.stdout), cost.stderr);
        // A page or two is the kernel's own account of others; the archive would be megabytes.
        assert!(cost.written <= 16 << 10, "{} bytes", cost.written);
        assert!(cost.peak_kib <= 128 << 10, "{} KiB", cost.peak_kib);
    }
    assert_eq!(fake.mind().uploads.len(), 2);
}

#[test]
fn an_encrypted_backup_is_restored_with_its_password_and_one_without_a_history_says_so() {
    let (place, fake) = (small(), fresh());
    let (code, said) =
        run(place.migrate(&config(&place), &fake.url(), &["--exclude-database"]).env("HAUL_PASSWORD", PASSWORD));
    assert_eq!(code, 0, "{said}");
    let wish = &fake.mind().restores[0];
    assert_eq!(
        (&wish["agent_id"], &wish["password"], &wish["restore_database"]),
        (&"hassio.local".into(), &PASSWORD.into(), &false.into()),
        "{wish}"
    );
    let (headers, _) = &fake.mind().uploads[0];
    assert!(headers.contains_key("content-length"), "its length is announced");
    assert!(!said.contains(PASSWORD), "{said}");
}

#[test]
fn an_answer_that_gets_lost_does_not_send_it_again() {
    let (place, fake) = (small(), fresh());
    let line = Proxy::http(fake.address).unwrap();
    line.rule(Rule::when(|head| head.method == "POST").lose_answer(Death::Reset));
    let (code, said) = run(&mut place.migrate(&config(&place), &line.url(), &[]));
    assert_eq!((code, fake.mind().uploads.len()), (0, 1), "{said}");
    assert!(said.contains("restored: log in as demo"), "{said}");
}

#[test]
fn one_that_still_reads_when_the_line_breaks_is_asked_until_it_is_done() {
    let (place, fake) = (small(), fresh());
    fake.think(|mind| mind.reads_for = Duration::from_secs(5));
    let line = Proxy::http(fake.address).unwrap();
    let child = place
        .migrate(&config(&place), &line.url(), &["--progress", "plain"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    wait::until("it has everything", || !fake.mind().uploads.is_empty());
    line.down();
    std::thread::sleep(Duration::from_millis(500));
    line.up();
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), fake.mind().uploads.len()), (Some(0), 1), "{}", said(&output));
    assert!(said(&output).contains("restored: log in as demo"), "{}", said(&output));
}

#[test]
fn a_line_that_never_holds_ends_with_its_reason() {
    let (place, fake) = (small(), fresh());
    let line = Proxy::http(fake.address).unwrap();
    line.cut_at((1..40).map(|n| n * 60_000), Death::Reset);
    let (code, said) = run(&mut place.migrate(&config(&place), &line.url(), &[]));
    assert_eq!((code, fake.mind().uploads.len(), fake.mind().restores.len()), (1, 0, 0), "{said}");
    assert!(
        said.contains("could not upload to")
            && said.contains("the last of 5 tries")
            && said.contains("nothing was restored"),
        "{said}"
    );
}

#[test]
fn a_proxy_that_limits_bodies_is_reported_at_once_and_nothing_is_restored() {
    let (place, fake) = (small(), fresh());
    let line = Proxy::http(fake.address).unwrap();
    let page = "<html><hr><center>nginx/1.26.3</center></html>";
    for answer in [Answer::new(413).body(page), Answer::new(413).body(page).hasty()] {
        line.rule(Rule::when(|head| head.method == "POST").answer(answer));
        let (code, said) = run(&mut place.migrate(&config(&place), &line.url(), &[]));
        assert_eq!((code, fake.mind().uploads.len(), fake.mind().restores.len()), (1, 0, 0), "{said}");
        assert!(said.contains("set client_max_body_size 0; for it in nginx"), "{said}");
        assert!(!said.contains("sent again"), "{said}");
    }
}

#[test]
fn the_start_command_runs_whatever_happens() {
    let (place, fake) = (small(), fresh());
    let line = Proxy::http(fake.address).unwrap();
    let order = place.path("order");
    let commands = ["--stop-command", "echo stop >> order", "--start-command", "echo start >> order"];
    line.rule(Rule::when(|head| head.method == "POST").always().answer(Answer::new(413)));
    let (code, said) = run(&mut place.migrate(&config(&place), &line.url(), &commands));
    assert_eq!((code, read(&order).as_str()), (1, "stop\nstart\n"), "{said}");
    line.calm();

    let failing = ["--stop-command", "echo no >&2; exit 7", "--start-command", "echo start >> order"];
    fs::remove_file(&order).unwrap();
    let (code, said) = run(&mut place.migrate(&config(&place), &line.url(), &failing));
    assert_eq!((code, read(&order).as_str()), (1, "start\n"), "{said}");
    assert!(said.contains("the stop command failed (exit code 7)") && fake.mind().uploads.is_empty(), "{said}");

    line.throttle(Some(40_000));
    for (signal, code) in [(Signal::INT, Some(130)), (Signal::TERM, Some(130)), (Signal::KILL, None)] {
        fs::remove_file(&order).unwrap();
        let sent = line.uploaded();
        let mut command = place.migrate(&config(&place), &line.url(), &commands);
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        wait::until("it sends", || line.uploaded() > sent + 20_000);
        assert_eq!(read(&order), "stop\n");
        let output = end_by(child, signal);
        assert_eq!(output.status.code(), code, "{}", crate::said(&output));
        wait::until("the old one is started again", || read(&order) == "stop\nstart\n");
    }
    assert!(fake.mind().uploads.is_empty() && fake.mind().restores.is_empty());
}

#[test]
fn a_stop_command_that_takes_its_time_can_be_interrupted() {
    let (place, fake) = (small(), fresh());
    let commands = ["--stop-command", "echo stop >> order; sleep 100", "--start-command", "echo start >> order"];
    let child = place
        .migrate(&config(&place), &fake.url(), &commands)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    wait::until("it is being stopped", || read(&place.path("order")) == "stop\n");
    let output = end_by(child, Signal::INT);
    assert_eq!((output.status.code(), read(&place.path("order")).as_str()), (Some(130), "stop\nstart\n"));
    assert!(said(&output).contains(&format!("interrupted; nothing was sent to {}", fake.url())), "{}", said(&output));
}

#[test]
fn an_interruption_says_what_it_means_for_the_new_one() {
    let (place, fake) = (small(), Fake::start(Mind::default()));
    // More than all buffers on the way hold.
    fs::write(place.path("config/noise.bin"), noise(16 << 20)).unwrap();
    let line = Proxy::http(fake.address).unwrap();
    let begin = || {
        place.migrate(&config(&place), &line.url(), &[]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    line.throttle(Some(40_000));
    let child = begin();
    wait::until("it sends", || line.uploaded() > 20_000);
    let output = end_by(child, Signal::INT);
    assert_eq!(output.status.code(), Some(130));
    assert!(
        said(&output).contains(&format!("interrupted while sending to {}; nothing was restored", line.url())),
        "{}",
        said(&output)
    );
    line.throttle(None);

    let child = begin();
    wait::until("it is asked to restore", || !fake.mind().restores.is_empty());
    std::thread::sleep(Duration::from_millis(200));
    let output = end_by(child, Signal::INT);
    assert_eq!(output.status.code(), Some(130));
    assert!(
        said(&output).contains(&format!("interrupted; {} is restoring and continues without haul", line.url())),
        "{}",
        said(&output)
    );
}

#[test]
fn a_script_reads_one_document() {
    let (place, fake) = (small(), fresh());
    let output = place.migrate(&config(&place), &fake.url(), &["--json", "--progress", "none"]).output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{}", said(&output));
    let document: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&document["status"], &document["from"]["logins"]), (&"restored".into(), &serde_json::json!(["demo"])));
    assert_eq!((&document["to"]["agent"], &document["to"]["fresh"]), (&"hassio.local".into(), &true.into()));
    assert_eq!(document["sent"]["backup_id"], document["sent"]["backup"]["archive"]["slug"]);
    assert_eq!(document["restored"]["address"], fake.url());
}
