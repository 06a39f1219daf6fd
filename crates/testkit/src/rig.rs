//! The real Home Assistants that `tests/rig` prepares: whether they can be used here, the scripts that drive them, and
//! a running instance.

use std::{
    env, io,
    io::{BufRead, BufReader, Write},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use rustix::process::{Pid, Signal, geteuid, kill_process};

/// A Home Assistant of the rig, by its version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Version(&'static str);

impl Version {
    /// Knows SecureTar 2 alone.
    pub const OLD: Self = Self("2025.6.3");
    /// Reads and writes SecureTar 3, and keeps its port in `.storage/http`.
    pub const TODAY: Self = Self("2026.11.0");
    /// All of them.
    pub const ALL: [Self; 2] = [Self::OLD, Self::TODAY];

    /// As Home Assistant writes it.
    pub fn as_str(self) -> &'static str {
        self.0
    }

    /// The root that it is installed in.
    pub fn root(self) -> PathBuf {
        env::var_os("HAUL_RIG").map_or_else(|| PathBuf::from("/var/cache/haul/rigs"), PathBuf::from).join(self.0)
    }

    /// One of the scripts in `tests/rig`, for this version.
    pub fn script(self, name: &str) -> Command {
        let mut command = script(name);
        command.env("HAUL_RIG_VERSION", self.0);
        command
    }
}

/// Whether they are there. Says so where it is missing; in CI, and where `HAUL_REQUIRE_RIG` is set, that is an error.
pub fn is_ready() -> io::Result<bool> {
    let why = if geteuid().is_root() {
        let check = script("prepare").arg("--check").output()?;
        if check.status.success() {
            return Ok(true);
        }
        String::from_utf8_lossy(&check.stdout).trim().to_owned()
    } else {
        "it needs root".to_owned()
    };
    let required = env::var("CI").is_ok_and(|ci| ci == "true") || env::var_os("HAUL_REQUIRE_RIG").is_some();
    if required {
        return Err(io::Error::other(format!("no real Home Assistant to test against: {why}")));
    }
    tell(&format!("skipped, no real Home Assistant to test against: {why}"));
    Ok(false)
}

/// A killed test run takes its Home Assistants along.
fn script(name: &str) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "TERM"]).arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/rig").join(name));
    command
}

/// Past the test harness, which would swallow it: what really happened is worth seeing.
pub fn tell(what: &str) {
    let _ = writeln!(io::stderr(), "{what}");
}

/// A Home Assistant of the rig; ends when dropped, and with this process.
pub struct Running {
    /// Its config directory.
    pub config: PathBuf,
    /// Where it answers, without a slash at the end.
    pub url: String,
    child: Child,
}

impl Running {
    /// Starts one, fresh or with this user already set up, whose token is in `CONFIG.token`. Returns when it answers.
    pub fn start(version: Version, config: &Path, user: Option<&str>) -> io::Result<Self> {
        let mut command = version.script("instance");
        if let Some(user) = user {
            command.args(["--user", user]);
        }
        Self::spawn(config, &mut command)
    }

    /// Starts a fresh one that goes to the port of what is restored in it, as on a machine of its own.
    pub fn start_following_the_port(version: Version, config: &Path) -> io::Result<Self> {
        Self::spawn(config, version.script("instance").arg("--follow-port"))
    }

    fn spawn(config: &Path, command: &mut Command) -> io::Result<Self> {
        command.arg(config).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn()?;
        let mut line = String::new();
        let out = child.stdout.take().ok_or_else(|| io::Error::other("the rig has no output"))?;
        BufReader::new(out).read_line(&mut line)?;
        let url = line.split_whitespace().find(|word| word.starts_with("http://"));
        let url = url.ok_or_else(|| io::Error::other(format!("the rig did not say where it listens: {line}")))?;
        Ok(Self { config: config.to_owned(), url: url.trim_end_matches([',', '/']).to_owned(), child })
    }

    /// Where it listens.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.url.trim_start_matches("http://").parse().map_err(io::Error::other)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // The script stops its Home Assistant on request; a kill would leave that running.
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            let _ = kill_process(pid, Signal::TERM);
        }
        let _ = self.child.wait();
    }
}
