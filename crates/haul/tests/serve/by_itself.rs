//! The service, left alone.

use std::{fs, path::Path, process::Command, time::Instant};

use testkit::{
    noise::noise,
    proxy::Proxy,
    s3::{ACCESS_KEY, S3Server, SECRET_KEY},
    wait,
};

use crate::home::{Home, TWO};

#[test]
fn the_first_backup_is_made_at_once_and_every_copy_is_verified() {
    let home = Home::new(TWO);
    let _service = home.serve();
    home.settled(2);
    assert_eq!(home.archives("nas"), home.archives("off"));
    let status = home.status();
    assert_eq!(status["level"], "ok", "{status}");
    let headline = status["headline"].as_str().unwrap();
    assert!(headline.starts_with("2 whole copies, newest just now, both checked; next "), "{headline}");
}

#[test]
fn a_copy_that_is_lost_or_damaged_comes_back_from_the_other_place() {
    let home = Home::new(TWO);
    let service = home.serve();
    home.settled(2);
    let [name] = &home.archives("nas")[..] else { panic!("one archive") };
    let good = fs::read(home.path("off").join(name)).unwrap();
    fs::remove_file(home.path("nas").join(name)).unwrap();
    home.ask("POST", "sync").unwrap();
    wait::until("the copy is back", || home.path("nas").join(name).exists());
    home.settled(2);
    assert_eq!(fs::read(home.path("nas").join(name)).unwrap(), good);
    // Half of it: known at the next look.
    fs::write(home.path("nas").join(name), &good[..good.len() / 2]).unwrap();
    home.ask("POST", "sync").unwrap();
    wait::until("the half one is replaced", || {
        let names = home.archives("nas");
        names.len() == 1 && fs::read(home.path("nas").join(&names[0])).is_ok_and(|bytes| bytes == good)
    });
    drop(service);
}

#[test]
fn a_destination_that_was_away_catches_up() {
    let home = Home::new(TWO);
    fs::remove_dir(home.path("off")).unwrap();
    let _service = home.serve();
    home.settled(1);
    let status = home.status();
    assert_eq!(status["level"], "warning", "{status}");
    assert!(home.log().contains("off can't be reached"), "{}", home.log());
    fs::create_dir(home.path("off")).unwrap();
    home.ask("POST", "sync").unwrap();
    home.settled(2);
    assert_eq!(home.archives("nas"), home.archives("off"));
    assert_eq!(home.status()["level"], "ok");
    wait::until("the log says that it is back", || home.log().contains("Can be reached again: off"));
}

#[test]
fn a_catalog_that_is_lost_or_damaged_costs_no_backup_and_repeats_none() {
    let home = Home::new(TWO);
    drop({
        let service = home.serve();
        home.settled(2);
        service
    });
    let before = home.archives("nas");
    for damage in ["gone", "noise"] {
        for name in ["catalog.db", "catalog.db-wal", "catalog.db-shm"] {
            let _ = fs::remove_file(home.path("state").join(name));
        }
        if damage == "noise" {
            fs::write(home.path("state/catalog.db"), "this is no database, however long it may be".repeat(100))
                .unwrap();
        }
        let _service = home.serve();
        // Nobody verified these copies, as far as the new catalog knows.
        home.settled(2);
        assert_eq!(home.archives("nas"), before, "{damage}: {}", home.log());
    }
    assert!(home.log().contains("could not be read and is kept as"), "{}", home.log());
    // Remarks have the time in front like everything else.
    assert!(home.log().lines().all(|line| line.starts_with("20")), "{}", home.log());
}

#[test]
fn old_archives_go_when_newer_ones_are_verified() {
    let home = Home::new(&TWO.replace("last = 3", "last = 2"));
    for _ in 0..4 {
        let (code, said) = home.haul(&["run", "home"]);
        assert_eq!(code, 0, "{said}");
    }
    let _service = home.serve();
    wait::until("two are left at each", || home.archives("nas").len() == 2 && home.archives("off").len() == 2);
    home.settled(2);
    assert_eq!(home.archives("nas"), home.archives("off"));
}

#[test]
fn killed_at_any_moment_it_goes_on_and_leaves_no_half_copy() {
    let home = Home::new(TWO);
    // Begun again at once so often.
    for _ in 0..3 {
        let service = home.serve();
        drop(service);
    }
    let _service = home.serve();
    home.settled(2);
    for name in ["nas", "off"] {
        for archive in home.archives(name) {
            let (code, said) = home.haul(&["verify", &format!("{name}/{archive}")]);
            assert_eq!(code, 0, "{said}");
        }
    }
    assert_eq!(home.archives("nas"), home.archives("off"));
}

#[test]
fn a_configuration_that_is_wrong_is_told_and_the_old_one_stays() {
    let home = Home::new(TWO);
    let _service = home.serve();
    home.settled(2);
    home.configure(&TWO.replace("daily 04:45", "daily 25:00"));
    wait::until("it is told", || home.status()["configuration"]["problem"].is_string());
    let status = home.status();
    assert_eq!((&status["level"], &status["jobs"][0]["schedules"][0]), (&"warning".into(), &"daily 04:45".into()));
    wait::until("the log says it too", || home.log().contains("haul.toml, line 7"));
    home.configure(&TWO.replace("daily 04:45", "daily 05:15"));
    wait::until("the new one is in force", || home.status()["jobs"][0]["schedules"][0] == "daily 05:15");
    assert_eq!(home.status()["level"], "ok");
}

#[test]
fn what_can_not_pass_stops_and_says_so() {
    let home = Home::new(&TWO.replace("keep =", "password_file = \"missing\"\nkeep ="));
    // As one that is no file yet, such as a pipe: that is known only when it is read.
    fs::create_dir(home.path("missing")).unwrap();
    let _service = home.serve();
    wait::until("it has failed", || home.status()["level"] == "error");
    let status = home.status();
    let problem = &status["problems"][0];
    assert_eq!(problem["kind"], "backup-failed", "{status}");
    let (message, hint) = (problem["message"].as_str().unwrap(), problem["hint"].as_str().unwrap());
    assert!(message.contains("can't read the password file"), "{message}");
    assert!(hint.contains("does not try again before the next time it is due"), "{hint}");
    assert!(home.archives("nas").is_empty());
    // With the file, the next run succeeds.
    fs::remove_dir(home.path("missing")).unwrap();
    fs::write(home.path("missing"), "secret").unwrap();
    home.ask("POST", "jobs/home/run").unwrap();
    home.settled(2);
    assert_eq!(home.status()["level"], "ok");
}

#[test]
fn commands_run_around_a_backup_and_the_second_whatever_happens() {
    let hooks = "before = \"echo before >> order; test ! -e fail\"\nafter = \"echo after >> order\"\nkeep =";
    let home = Home::new(&TWO.replace("keep =", hooks));
    fs::write(home.path("fail"), "").unwrap();
    let (code, said) = home.haul(&["run", "home"]);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("the command before the backup failed (exit code 1)"), "{said}");
    assert!(home.archives("nas").is_empty());
    fs::remove_file(home.path("fail")).unwrap();
    assert_eq!(home.haul(&["run", "home"]).0, 0);
    assert_eq!(fs::read_to_string(home.path("order")).unwrap(), "before\nafter\nbefore\nafter\n");
    let slow = "before = \"sleep 600\"\nafter = \"echo woken >> order\"\nhook_timeout = \"1s\"\nkeep =";
    home.configure(&TWO.replace("keep =", slow));
    let (code, said) = home.haul(&["run", "home"]);
    assert!(code == 1 && said.contains("did not end within its time limit"), "{said}");
    assert!(fs::read_to_string(home.path("order")).unwrap().ends_with("woken\n"));
}

#[test]
fn of_what_a_command_prints_the_end_is_shown_if_it_fails_and_nothing_it_leaves_running_is_waited_for() {
    let floods = "yes a line of no use | head -n 200000; head -c 50000000 /dev/zero; echo; echo the last words; sleep \
                  300 & echo $! > left; exit 7";
    let home = Home::new(&TWO.replace("keep =", &format!("before = \"{floods}\"\nkeep =")));
    let (code, said) = home.haul(&["run", "home"]);
    assert!(code == 1 && said.contains("the command before the backup failed (exit code 7)"), "{said}");
    assert!(said.contains("the command before the backup printed: the last words"), "{said}");
    assert!(said.len() < 20_000, "{} bytes", said.len());
    let left = fs::read_to_string(home.path("left")).unwrap();
    assert!(Path::new("/proc").join(left.trim()).exists(), "it goes on without Haul");
    let ended = Command::new("kill").arg(left.trim()).status().unwrap();
    assert!(ended.success());
    // Of one that succeeds, nothing.
    home.configure(&TWO.replace("keep =", "before = \"echo hello\"\nafter = \"echo bye >&2\"\nkeep ="));
    let (code, said) = home.haul(&["run", "home"]);
    assert!(code == 0 && !said.contains("hello") && !said.contains("bye"), "{said}");
    home.configure(&TWO.replace("keep =", "after = \"echo no such container >&2; exit 1\"\nkeep ="));
    let (code, said) = home.haul(&["run", "home"]);
    assert!(code == 3 && said.contains("the command after the backup printed: no such container"), "{said}");
}

#[test]
fn the_command_after_a_backup_needs_nobody_to_print_to() {
    let hooks = "before = \"touch stopped; while ! test -e go; do sleep 0.05; done\"\nafter = \"for n in 1 2 3; do echo \
                 woken; done; touch woken\"\nkeep =";
    let home = Home::new(&TWO.replace("keep =", hooks));
    let mut running = home.begin(&["run", "home"]);
    wait::until("the command before runs", || home.path("stopped").exists());
    running.kill().unwrap();
    running.wait().unwrap();
    fs::write(home.path("go"), "").unwrap();
    wait::until("what was stopped starts, though nobody told it to", || home.path("woken").exists());
}

#[test]
fn what_is_read_far_away_keeps_to_the_rate_of_the_job_too() {
    const RATE: u64 = 1_000_000;
    let server = S3Server::start(&["far"]).unwrap();
    let line = Proxy::http(server.address()).unwrap();
    let url = line.url();
    let home = Home::new(&format!(
        "[destinations.far]\nurl = \"s3://far/ha\"\nendpoint = \"{url}\"\nallow_http = true\naccess_key_id = \
         \"{ACCESS_KEY}\"\nsecret_access_key_file = \"secret\"\nverify = \"read-back\"\n[jobs.home]\nsource = \
         \"config\"\nschedule = \"daily 04:45\"\ndestinations = [\"far\"]\nlimit = \"1MB/s\"\n"
    ));
    fs::write(home.path("secret"), SECRET_KEY).unwrap();
    fs::write(home.path("config/noise.bin"), noise(2_000_000)).unwrap();
    let started = Instant::now();
    let (code, said) = home.haul(&["run", "home"]);
    assert_eq!(code, 0, "{said}");
    let key = server.keys("far").into_iter().find(|key| engine::inventory::is_archive_name(key)).unwrap();
    let size = fs::metadata(server.directory().join("far").join(key)).unwrap().len();
    assert!(size > 2_000_000 && line.downloaded() > size, "sent, and read back: {} bytes", line.downloaded());
    // But for the last piece of either, and for what the bucket holds at first.
    let kept = 2 * size - (64 << 10) - (1 << 20);
    assert!(
        kept as f64 <= RATE as f64 * (started.elapsed().as_secs_f64() + 0.25),
        "{size} bytes, {:?}",
        started.elapsed()
    );
}

#[test]
fn what_was_stopped_starts_before_the_slowest_upload_has_ended() {
    let server = S3Server::start(&["far"]).unwrap();
    let url = server.url();
    let home = Home::new(&format!(
        "[destinations.far]\nurl = \"s3://far/ha\"\nendpoint = \"{url}\"\nallow_http = true\naccess_key_id = \
         \"{ACCESS_KEY}\"\nsecret_access_key_file = \"secret\"\n[destinations.nas]\nurl = \"nas\"\n[jobs.home]\nsource = \
         \"config\"\nschedule = \"daily 04:45\"\ndestinations = [\"nas\", \"far\"]\nlimit = \"64kB/s\"\nuncompressed = true\nafter = \"echo after >> \
         order\"\n"
    ));
    fs::write(home.path("secret"), SECRET_KEY).unwrap();
    // Ten minutes of sending.
    fs::write(home.path("config/large.bin"), vec![7; 40 << 20]).unwrap();
    let _service = home.serve();
    wait::until("the command after the backup ran", || home.path("order").exists());
    let status = home.status();
    assert_eq!(status["jobs"][0]["running"][0]["kind"], "backup", "{status}");
    assert!(!server.keys("far").iter().any(|key| engine::inventory::is_archive_name(key)), "nothing has arrived");
}

#[test]
fn a_rehearsal_proves_that_the_newest_backup_restores() {
    let home = Home::new(&TWO.replace("keep =", "rehearse = \"weekly\"\nkeep ="));
    let _service = home.serve();
    wait::until("it is proved", || home.status()["jobs"][0]["proven"].is_object());
    let status = home.status();
    let sentence = status["jobs"][0]["proven"]["sentence"].as_str().unwrap();
    assert!(sentence.starts_with("Proved: "), "{sentence}");
    let left = fs::read_dir(home.path("state/rehearse")).map_or(0, Iterator::count);
    assert_eq!(left, 0, "nothing of it stays");
}

#[test]
fn an_archive_passes_from_one_far_place_to_another() {
    let server = S3Server::start(&["one", "two"]).unwrap();
    let bucket = |name: &str| {
        let url = server.url();
        format!(
            "[destinations.{name}]\nurl = \"s3://{name}/ha\"\nendpoint = \"{url}\"\nallow_http = true\naccess_key_id = \
             \"{ACCESS_KEY}\"\nsecret_access_key_file = \"secret\"\n"
        )
    };
    let job = "[jobs.home]\nsource = \"config\"\nschedule = \"daily 04:45\"\ndestinations = [\"one\", \"two\"]\n";
    let home = Home::new(&format!("{}{}{job}", bucket("one"), bucket("two")));
    fs::write(home.path("secret"), SECRET_KEY).unwrap();
    let _service = home.serve();
    home.settled(2);
    let keys = server.keys("two");
    let [key] = &keys[..] else { panic!("{keys:?}") };
    let sent = server.directory().join("two").join(key);
    let good = fs::read(&sent).unwrap();
    fs::remove_file(&sent).unwrap();
    home.ask("POST", "sync").unwrap();
    wait::until("it is back", || fs::read(&sent).is_ok_and(|bytes| bytes == good));
    home.settled(2);
    assert_eq!(server.unfinished(), 0);
}

#[test]
fn a_large_copy_is_verified_by_samples_and_damage_is_found_all_the_same() {
    let server = S3Server::start(&["far"]).unwrap();
    let url = server.url();
    let configuration = format!(
        "[destinations.far]\nurl = \"s3://far/ha\"\nendpoint = \"{url}\"\nallow_http = true\naccess_key_id = \
         \"{ACCESS_KEY}\"\nsecret_access_key_file = \"secret\"\n[destinations.nas]\nurl = \"nas\"\n[jobs.home]\nsource = \
         \"config\"\nschedule = \"daily 04:45\"\ndestinations = [\"nas\", \"far\"]\nuncompressed = true\nverify_every = \
         \"1s\"\nverify_by = \"samples\"\n"
    );
    let home = Home::new(&configuration);
    fs::write(home.path("secret"), SECRET_KEY).unwrap();
    fs::write(home.path("config/large.bin"), vec![7; 40 << 20]).unwrap();
    let _service = home.serve();
    let verdict = || {
        let archives = home.ask("GET", "archives").unwrap();
        let copies = archives["archives"][0]["copies"].as_array().cloned().unwrap_or_default();
        copies.into_iter().find(|copy| copy["destination"] == "far").map(|copy| copy["verdict"].clone())
    };
    let is_sampled = || verdict().is_some_and(|verdict| verdict["samples"] == true && verdict["whole"] == true);
    wait::until(format!("it is checked by samples\n{}", home.log()), is_sampled);
    let sentence = verdict().unwrap()["sentence"].as_str().unwrap().to_owned();
    assert!(sentence.contains("samples are as they were when all of it was good"), "{sentence}");
    let [key] = &server.keys("far")[..] else { panic!("{:?}", server.keys("far")) };
    let sent = server.directory().join("far").join(key);
    let good = fs::read(&sent).unwrap();
    let mut damaged = good.clone();
    damaged.iter_mut().skip(1 << 20).step_by(1 << 20).for_each(|byte| *byte ^= 1);
    fs::write(&sent, damaged).unwrap();
    wait::until("the damage is found, and repaired from the other place", || {
        let is_good =
            |key: &String| fs::read(server.directory().join("far").join(key)).is_ok_and(|bytes| bytes == good);
        home.log().contains("DAMAGED") && server.keys("far").iter().all(is_good)
    });
}

#[test]
fn a_file_that_is_written_in_steps_forgets_nothing() {
    let home = Home::new(TWO);
    let _service = home.serve();
    home.settled(2);
    let problem = || home.status()["configuration"]["problem"].as_str().unwrap_or_default().to_owned();
    let verified = |status: &serde_json::Value| status["jobs"][0]["verified_of_newest"] == 2;
    // As an editor that moves the old file away, or one that truncates it.
    for empty in [false, true] {
        if empty {
            fs::write(home.path("haul.toml"), "\n").unwrap();
            wait::until("an empty file is a problem", || problem().contains("is empty; what was in force stays"));
        } else {
            fs::rename(home.path("haul.toml"), home.path("haul.toml~")).unwrap();
            wait::until("a missing file is a problem", || !problem().is_empty());
        }
        assert!(verified(&home.status()), "{}", home.status());
        fs::write(home.path("haul.toml"), TWO).unwrap();
        wait::until("the file is good again", || problem().is_empty());
        assert!(verified(&home.status()), "{}", home.status());
    }
    assert_eq!(home.archives("nas").len(), 1, "nothing was repeated");
    // No jobs, said on purpose.
    fs::write(home.path("haul.toml"), "[destinations.nas]\nurl = \"nas\"\n").unwrap();
    wait::until("there are no jobs any more", || home.status()["jobs"] == serde_json::json!([]));
}

#[test]
fn a_backup_that_a_shutdown_ends_is_made_at_the_next_start() {
    let before = |command: &str| format!("{TWO}before = {command:?}\n");
    let home = Home::new(&before("touch begun; exec sleep 4"));
    let mut service = home.serve();
    wait::until("it begins", || home.path("begun").exists() || home.path("config/begun").exists());
    let pid = rustix::process::Pid::from_child(&service.0);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert!(service.0.wait().unwrap().success());
    assert!(home.archives("nas").is_empty());
    home.configure(&before("true"));
    let _service = home.serve();
    home.settled(2);
}

#[test]
fn a_clock_that_is_set_and_threads_that_can_not_be_started_end_nothing() {
    if !testkit::strace::can_trace() {
        return;
    }
    let home = Home::new(TWO);
    let clock = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "inject=timerfd_settime:error=ECANCELED:when=2+2"];
    let service = home.serve_in(&clock, "none");
    home.settled(2);
    drop(service);
    // Two threads listen for signals and answer commands; then come those of tasks.
    let threads = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "inject=clone3:error=EAGAIN:when=4+2"];
    let home = Home::new(TWO);
    let _service = home.serve_in(&threads, "none");
    wait::until("it is told", || home.log().contains("can't start a thread: "));
    assert!(home.ask("GET", "status").is_some());
}

#[test]
fn a_folder_of_a_far_destination_that_is_not_there_yet_is_made() {
    let Some(server) = testkit::wsgidav::Wsgidav::start() else { return };
    let home = Home::new(&format!(
        "[destinations.nas]\nurl = \"nas\"\n[destinations.dav]\nurl = \"webdav://{}@{}/not-yet\"\nallow_http = \
         true\npassword_file = \"dav\"\n[jobs.home]\nsource = \"config\"\ndestinations = [\"nas\", \"dav\"]\n",
        testkit::wsgidav::USER,
        server.authority()
    ));
    fs::write(home.path("dav"), testkit::wsgidav::PASSWORD).unwrap();
    let (code, said) = home.haul(&["run", "home"]);
    assert!(code == 0 && said.contains("to nas and dav in "), "{said}");
    assert_eq!(fs::read_dir(server.files().join("not-yet")).unwrap().count(), 1);
}

#[test]
fn a_copy_with_another_key_is_said_and_one_whose_beginning_is_gone_is_replaced() {
    let text = TWO.replace("keep =", "password_file = \"key\"\nverify_every = \"1s\"\nkeep =");
    let home = Home::new(&text);
    fs::write(home.path("key"), "the first key").unwrap();
    assert_eq!(home.haul(&["run", "home"]).0, 0);
    let old = home.archives("nas").remove(0);
    fs::write(home.path("key"), "another key").unwrap();
    let _service = home.serve();
    let problems = |home: &Home| -> Vec<String> {
        let status = home.status();
        let all = status["problems"].as_array().unwrap().iter();
        all.map(|problem| format!("{} {}", problem["kind"].as_str().unwrap(), problem["message"].as_str().unwrap()))
            .collect()
    };
    wait::until("it is said of both copies", || problems(&home).iter().filter(|it| it.contains(&old)).count() == 2);
    let said = problems(&home);
    assert!(said.iter().all(|it| it.starts_with("unchecked ") && it.contains("the password is wrong")), "{said:?}");
    // With the first key again, one loses its beginning: the same size, and dated as before.
    fs::write(home.path("key"), "the first key").unwrap();
    home.configure(&text.replace("1s", "2s"));
    wait::until("they are checked", || problems(&home).is_empty());
    let path = home.path("nas").join(&old);
    let good = fs::read(&path).unwrap();
    let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    let modified = file.metadata().unwrap().modified().unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, &[0x55; 4096], 0).unwrap();
    file.set_modified(modified).unwrap();
    wait::until("a sound one takes its place", || {
        home.archives("nas").iter().any(|name| fs::read(home.path("nas").join(name)).is_ok_and(|bytes| bytes == good))
    });
}

#[test]
fn a_key_that_nobody_can_read_is_said_before_anything_starts() {
    let with_key = format!("{TWO}password_file = \"key\"\n");
    let home = Home::new(&with_key);
    let (code, said) = home.haul(&["serve", "--listen", "none"]);
    let why = "[jobs.home]: can't read the password file";
    assert!(code == 1 && said.contains(why) && said.contains("no such file or directory"), "{said}");
    assert!(home.archives("nas").is_empty());
    home.configure(TWO);
    let _service = home.serve();
    home.settled(2);
    home.configure(&with_key);
    let problem = || home.status()["configuration"]["problem"].as_str().unwrap_or_default().to_owned();
    wait::until("what is wrong is said, and what was in force stays", || problem().contains(why));
    fs::write(home.path("key"), "correct horse").unwrap();
    home.configure(&format!("{with_key}source_is = \"nowhere\"\n"));
    wait::until("another mistake is said instead", || problem().contains("there is no key \"source_is\""));
    home.configure(&with_key.replace("\"config\"", "\"nowhere\""));
    wait::until("it is good", || problem().is_empty());
    wait::until("a source that is not there is told at once", || home.log().contains("nowhere can't be read: no such"));
}
