//! Prometheus: what the service says is as it wants it, and the rules and the dashboard in the repository speak of
//! nothing else.

use std::{
    collections::BTreeSet,
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use testkit::wait;

use crate::home::{Home, TWO};

fn monitoring(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../monitoring").join(name)
}

/// Runs promtool; nothing if it is missing.
fn promtool(args: &[&str], input: &str) -> Option<(bool, String)> {
    let started =
        Command::new("promtool").args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let Ok(mut process) = started else {
        assert!(std::env::var("CI").is_err(), "promtool is missing: it is in Debian's package prometheus");
        let _ = writeln!(std::io::stderr(), "skipped: promtool is missing (Debian's package prometheus)");
        return None;
    };
    process.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = process.wait_with_output().unwrap();
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    Some((output.status.success(), text))
}

/// Names of metrics in a text.
fn names(text: &str) -> BTreeSet<String> {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let words = text.split(|c: char| !is_word(c)).filter(|word| word.starts_with("haul_"));
    words.map(str::to_owned).collect()
}

#[test]
fn the_alert_rules_do_what_their_examples_say() {
    for args in [["check", "rules", "alerts.yaml"], ["test", "rules", "alerts_test.yaml"]] {
        let path = monitoring(args[2]);
        let Some((fine, text)) = promtool(&[args[0], args[1], path.to_str().unwrap()], "") else { return };
        assert!(fine, "{text}");
    }
}

#[test]
fn rules_and_dashboard_speak_of_what_the_service_says() {
    let home = Home::new(TWO);
    let service = home.serve();
    home.settled(2);
    assert!(home.ask("POST", "jobs/home/rehearse").is_some());
    wait::until("it is proven", || !home.status()["jobs"][0]["proven"].is_null());
    let metrics = home.text("GET", "/metrics").unwrap();
    drop(service);
    let said: BTreeSet<String> = metrics
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE "))
        .filter_map(|line| line.split(' ').next())
        .map(str::to_owned)
        .collect();
    for file in ["alerts.yaml", "grafana.json"] {
        let wanted = names(&fs::read_to_string(monitoring(file)).unwrap());
        let unknown: Vec<&String> = wanted.iter().filter(|name| !said.contains(*name)).collect();
        assert!(unknown.is_empty() && wanted.len() > 5, "{file}: {unknown:?} is not among\n{metrics}");
    }
    let Some((fine, text)) = promtool(&["check", "metrics"], &metrics) else { return };
    assert!(fine, "{text}\n{metrics}");
}
