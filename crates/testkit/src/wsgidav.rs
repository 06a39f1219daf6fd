//! A real WebDAV server that accepts only whole files: wsgidav.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use tempfile::TempDir;

use crate::process::{Server, free_port};

/// The user it knows.
pub const USER: &str = "haul";
/// That user's password; the colon and the umlaut are there on purpose.
pub const PASSWORD: &str = "pässword: 1";

/// A running wsgidav over a directory of its own. Ends when dropped.
pub struct Wsgidav {
    port: u16,
    directory: TempDir,
    _server: Server,
}

fn python() -> String {
    env::var("HAUL_PYTHON").unwrap_or_else(|_| "python3".to_owned())
}

/// Whether the Python that `HAUL_PYTHON` names has it.
pub fn is_installed() -> bool {
    Command::new(python())
        .args(["-c", "import wsgidav, cheroot"])
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

impl Wsgidav {
    /// `None`: it is not installed; standard error says so.
    pub fn start() -> Option<Self> {
        if !is_installed() {
            return crate::process::missing("wsgidav");
        }
        let directory = TempDir::new().ok()?;
        fs::create_dir(directory.path().join("files")).ok()?;
        let port = free_port()?;
        let config = directory.path().join("wsgidav.json");
        let settings = serde_json::json!({
            "host": "127.0.0.1",
            "port": port,
            "server": "cheroot",
            "provider_mapping": { "/": directory.path().join("files") },
            "http_authenticator": { "accept_basic": true, "accept_digest": false, "default_to_digest": false },
            "simple_dc": { "user_mapping": { "*": { USER: { "password": PASSWORD } } } },
            "lock_storage": true,
            "verbose": 1,
        });
        fs::write(&config, settings.to_string()).ok()?;
        let mut command = Command::new(python());
        command.args(["-m", "wsgidav.server.server_cli", "--config"]).arg(&config);
        let server = Server::start(command, port, &directory.path().join("log"))?;
        Some(Self { port, directory, _server: server })
    }

    /// `127.0.0.1:PORT`
    pub fn authority(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Where its files lie.
    pub fn files(&self) -> PathBuf {
        self.directory.path().join("files")
    }

    /// What it logged.
    pub fn log(&self) -> String {
        read(&self.directory.path().join("log"))
    }
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}
