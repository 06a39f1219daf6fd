//! A configuration with two destinations, and the service on it.

use std::{
    fs,
    io::{Read, Write},
    os::unix::net::UnixStream,
    path::PathBuf,
    process::{Child, Command, Output, Stdio},
};

use serde_json::Value;
use testkit::wait;

/// Two local destinations and a job that keeps three.
pub(crate) const TWO: &str = "[destinations.nas]\nurl = \"nas\"\n[destinations.off]\nurl = \"off\"\n[jobs.home]\nsource = \
    \"config\"\nschedule = \"daily 04:45\"\ndestinations = [\"nas\", \"off\"]\nkeep = { last = 3 }\n";

pub(crate) struct Home {
    dir: tempfile::TempDir,
}

/// The service while it runs; killed when dropped.
pub(crate) struct Service(pub(crate) Child);

impl Drop for Service {
    fn drop(&mut self) {
        // What another program started, such as strace, would go on without it.
        let id = self.0.id();
        let within = fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap_or_default();
        for process in within.split_whitespace() {
            let _ = Command::new("kill").args(["-9", process]).status();
        }
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Home {
    pub(crate) fn new(configuration: &str) -> Self {
        let home = Self { dir: tempfile::tempdir().unwrap() };
        for name in ["nas", "off", "state"] {
            fs::create_dir(home.path(name)).unwrap();
        }
        let config = home.path("config");
        sample::create(&config, &sample::Options { database_bytes: 100_000, seed: 3 }).unwrap();
        fs::write(config.join(".storage/core.uuid"), r#"{"version":1,"key":"core.uuid","data":{"uuid":"a1b2c3"}}"#)
            .unwrap();
        home.configure(configuration);
        home
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn configure(&self, text: &str) {
        let fresh = self.path("haul.toml.new");
        fs::write(&fresh, text).unwrap();
        fs::rename(fresh, self.path("haul.toml")).unwrap();
    }

    /// `through` is another program, with its arguments, that starts this one.
    fn command(&self, through: &[&str], args: &[&str]) -> Command {
        let words = [through, &[env!("CARGO_BIN_EXE_haul")], args].concat();
        let mut command = Command::new(words[0]);
        command
            .args(&words[1..])
            .current_dir(self.dir.path())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap())
            .env("HOME", self.dir.path())
            .env("HAUL_STATE", self.path("state"))
            .env("HAUL_CONFIG", self.path("haul.toml"))
            .env("TZ", "Europe/Berlin")
            .stdin(Stdio::null());
        command
    }

    /// Exit code, and all output.
    pub(crate) fn haul(&self, args: &[&str]) -> (i32, String) {
        self.haul_in(&[], args)
    }

    pub(crate) fn haul_in(&self, through: &[&str], args: &[&str]) -> (i32, String) {
        let Output { status, stdout, stderr } = self.command(through, args).output().unwrap();
        let text = format!("{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
        (status.code().unwrap_or(-1), text)
    }

    /// Starts a command.
    pub(crate) fn begin(&self, args: &[&str]) -> Child {
        self.command(&[], args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// Starts the service without a page.
    pub(crate) fn serve(&self) -> Service {
        self.serve_at("none")
    }

    pub(crate) fn serve_at(&self, listen: &str) -> Service {
        self.serve_in(&[], listen)
    }

    pub(crate) fn serve_in(&self, through: &[&str], listen: &str) -> Service {
        let log = fs::OpenOptions::new().create(true).append(true).open(self.path("log")).unwrap();
        let mut command = self.command(through, &["serve", "--listen", listen]);
        let service = Service(command.stdout(Stdio::null()).stderr(log).spawn().unwrap());
        wait::until("the service answers", || {
            self.path("state/haul.sock").exists() && self.ask("GET", "status").is_some()
        });
        service
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    /// What the service answers at `/api/v1/PATH`.
    pub(crate) fn ask(&self, method: &str, path: &str) -> Option<Value> {
        serde_json::from_str(&self.text(method, &format!("/api/v1/{path}"))?).ok()
    }

    /// The same for a request that says something.
    pub(crate) fn tell(&self, path: &str, what: &Value) -> Value {
        let answer = self.request("POST", &format!("/api/v1/{path}"), &what.to_string()).expect("the service answers");
        serde_json::from_str(&answer).unwrap_or_else(|_| panic!("{answer}"))
    }

    /// The body of what it answers.
    pub(crate) fn text(&self, method: &str, path: &str) -> Option<String> {
        self.request(method, path, "")
    }

    fn request(&self, method: &str, path: &str, body: &str) -> Option<String> {
        let mut socket = UnixStream::connect(self.path("state/haul.sock")).ok()?;
        let length = body.len();
        write!(socket, "{method} {path} HTTP/1.0\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n{body}").ok()?;
        let mut answer = String::new();
        socket.read_to_string(&mut answer).ok()?;
        answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned())
    }

    /// Status and answer of a call of `/api/v1/PATH` that says something.
    pub(crate) fn send(&self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let (code, answer) = self.exchange(method, &format!("/api/v1/{path}"), "application/json", &body);
        (code, serde_json::from_str(&answer).unwrap_or_default())
    }

    /// Status and page that a form is answered with.
    pub(crate) fn post(&self, path: &str, form: &str) -> (u16, String) {
        self.exchange("POST", path, "application/x-www-form-urlencoded", form)
    }

    fn exchange(&self, method: &str, path: &str, kind: &str, body: &str) -> (u16, String) {
        let mut socket = UnixStream::connect(self.path("state/haul.sock")).unwrap();
        let length = body.len();
        write!(
            socket,
            "{method} {path} HTTP/1.0\r\nHost: localhost\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\r\n{body}"
        )
        .unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }

    /// The newest event of this kind that says so, once there is one.
    pub(crate) fn told(&self, kind: &str, says: &str) -> Value {
        let event = || {
            let events = self.ask("GET", "events").unwrap();
            let events = events["events"].as_array().or(events.as_array()).unwrap().clone();
            events.into_iter().find(|event| {
                event["kind"] == kind && event["message"].as_str().is_some_and(|text| text.contains(says))
            })
        };
        wait::until(format!("an event says {says:?}\n{}", self.log()), || event().is_some());
        event().unwrap()
    }

    pub(crate) fn status(&self) -> Value {
        self.ask("GET", "status").expect("the service answers")
    }

    /// Waits until the job's newest whole backup has so many copies, all verified, and nothing runs.
    pub(crate) fn settled(&self, copies: u64) {
        wait::until(format!("{copies} copies are there and checked\n{}", self.log()), || {
            let Some(status) = self.ask("GET", "status") else { return false };
            let job = &status["jobs"][0];
            job["copies_of_newest"] == copies
                && job["verified_of_newest"] == copies
                && job["running"] == serde_json::json!([])
        });
    }

    /// Archives at a destination.
    pub(crate) fn archives(&self, name: &str) -> Vec<String> {
        let names =
            fs::read_dir(self.path(name)).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.filter(|name| !name.starts_with('.')).collect();
        names.sort();
        names
    }
}
