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

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_haul"));
        command
            .args(args)
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
        let Output { status, stdout, stderr } = self.command(args).output().unwrap();
        let text = format!("{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
        (status.code().unwrap_or(-1), text)
    }

    /// Starts the service without a page.
    pub(crate) fn serve(&self) -> Service {
        self.serve_at("none")
    }

    pub(crate) fn serve_at(&self, listen: &str) -> Service {
        let log = fs::OpenOptions::new().create(true).append(true).open(self.path("log")).unwrap();
        let mut command = self.command(&["serve", "--listen", listen]);
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

    /// The body of what it answers.
    pub(crate) fn text(&self, method: &str, path: &str) -> Option<String> {
        let mut socket = UnixStream::connect(self.path("state/haul.sock")).ok()?;
        write!(socket, "{method} {path} HTTP/1.0\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n").ok()?;
        let mut answer = String::new();
        socket.read_to_string(&mut answer).ok()?;
        answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned())
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
