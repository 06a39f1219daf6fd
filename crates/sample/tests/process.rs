//! A recorder in its own process, with a shell instead of the recorder.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::path::Path;
use std::process::Command;

use sample::RecorderProcess;

fn shell(script: &str, dir: &Path) -> Command {
    let mut command = Command::new("sh");
    command.arg("-c").arg(script).arg(dir);
    command
}

#[test]
fn a_process_is_ready_once_its_log_has_a_commit_and_answers_when_its_input_closes() {
    let dir = tempfile::tempdir().unwrap();
    let script = r#"sleep 0.05; echo commit > "$0/home-assistant_v2.db-wal"; cat > /dev/null
        echo '{"commits":3,"rows":9,"busy_errors":1,"first_state_id":5,"last_state_id":13,"p50_us":70,"p99_us":90,"max_us":95}'"#;
    let process = RecorderProcess::start(shell(script, dir.path()), dir.path()).unwrap();
    assert!(dir.path().join("home-assistant_v2.db-wal").exists());
    let summary = process.stop().unwrap();
    assert_eq!((summary.commits, summary.rows, summary.busy_errors), (3, 9, 1));
    assert_eq!((summary.first_state_id, summary.last_state_id, summary.max_us), (5, 13, 95));
}

#[test]
fn a_process_that_ends_before_its_first_commit_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let error = RecorderProcess::start(shell("exit 7", dir.path()), dir.path()).unwrap_err();
    assert!(error.to_string().contains("ended before its first commit"), "{error}");
}

#[test]
fn a_process_that_fails_at_the_end_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let script = r#"echo commit > "$0/home-assistant_v2.db-wal"; cat > /dev/null; exit 1"#;
    let process = RecorderProcess::start(shell(script, dir.path()), dir.path()).unwrap();
    let error = process.stop().unwrap_err();
    assert!(error.to_string().contains("the recorder failed"), "{error}");
}
