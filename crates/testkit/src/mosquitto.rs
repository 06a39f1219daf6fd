//! A real MQTT broker, Eclipse Mosquitto, on a free port, and its own programs to listen and to publish.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
};

use serde_json::Value;
use tempfile::TempDir;

use crate::process::{Server, free_port, missing};

const PROGRAM: &str = "/usr/sbin/mosquitto";

/// A broker; ends when dropped.
pub struct Mosquitto {
    directory: TempDir,
    port: u16,
    has_tls: bool,
    login: Option<(String, String)>,
    server: Option<Server>,
}

impl Mosquitto {
    /// A broker at which everybody may do everything; it does not run yet. `None`: it is not installed.
    pub fn new() -> Option<Self> {
        if !Path::new(PROGRAM).exists() {
            return missing("mosquitto");
        }
        let directory = TempDir::new().ok()?;
        Some(Self { directory, port: free_port()?, has_tls: false, login: None, server: None })
    }

    /// The same for this login alone.
    #[must_use]
    pub fn with_login(mut self, username: &str, password: &str) -> Self {
        self.login = Some((username.to_owned(), password.to_owned()));
        self
    }

    /// The same with TLS for `localhost`; [`Self::certificate`] vouches for it.
    #[must_use]
    pub fn with_tls(mut self) -> Self {
        self.has_tls = true;
        self
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// What its clients have to trust.
    pub fn certificate(&self) -> PathBuf {
        self.directory.path().join("certificate.pem")
    }

    /// Starts it, with nothing kept from before.
    ///
    /// # Panics
    /// When it does not start.
    pub fn start(&mut self) {
        let started = self.configuration().and_then(|configuration| {
            let mut command = Command::new(PROGRAM);
            command.arg("-c").arg(configuration);
            Server::start(command, self.port, &self.directory.path().join("log"))
        });
        self.server = Some(started.unwrap_or_else(|| panic!("mosquitto does not start")));
    }

    fn configuration(&self) -> Option<PathBuf> {
        let at = self.directory.path();
        // Started as root, it would become somebody who can't read these files.
        let mut lines = vec![format!("listener {} 127.0.0.1\nuser root\npersistence false", self.port)];
        if let Some((username, password)) = &self.login {
            let file = at.join("passwords");
            let made =
                Command::new("mosquitto_passwd").args(["-b", "-c"]).arg(&file).args([username, password]).status();
            made.ok().filter(ExitStatus::success)?;
            lines.push(format!("allow_anonymous false\npassword_file {}", file.display()));
        } else {
            lines.push("allow_anonymous true".to_owned());
        }
        if self.has_tls {
            if !self.certificate().exists() {
                let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).ok()?;
                fs::write(self.certificate(), made.cert.pem()).ok()?;
                fs::write(at.join("key.pem"), made.signing_key.serialize_pem()).ok()?;
            }
            let (certificate, key) = (self.certificate(), at.join("key.pem"));
            lines.push(format!("certfile {}\nkeyfile {}", certificate.display(), key.display()));
        }
        let file = at.join("configuration");
        fs::write(&file, lines.join("\n") + "\n").ok()?;
        Some(file)
    }

    /// Ends it at once.
    pub fn stop(&mut self) {
        self.server = None;
    }

    fn client(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.args(["-V", "5", "-h", "localhost", "-p", &self.port.to_string()]);
        if let Some((username, password)) = &self.login {
            command.args(["-u", username, "-P", password]);
        }
        if self.has_tls {
            command.arg("--cafile").arg(self.certificate());
        }
        command
    }

    /// Publishes a message.
    ///
    /// # Panics
    /// When the broker does not take it.
    pub fn publish(&self, topic: &str, payload: &str, is_retained: bool) {
        let mut command = self.client("mosquitto_pub");
        command.args(["-q", "1", "-t", topic, "-m", payload]);
        if is_retained {
            command.arg("-r");
        }
        assert!(command.status().is_ok_and(|status| status.success()), "{topic} could not be published");
    }

    /// Listens to everything from now on, and to what the broker keeps.
    ///
    /// # Panics
    /// When it can't be started.
    pub fn listen(&self) -> Listener {
        let heard = TempDir::new().and_then(|directory| {
            let file = fs::File::create(directory.path().join("heard"))?;
            let mut command = self.client("mosquitto_sub");
            command.args(["-t", "#", "-F", "%j"]).stdin(Stdio::null()).stdout(file);
            Ok((command.spawn()?, directory))
        });
        let (child, directory) = heard.unwrap_or_else(|error| panic!("mosquitto_sub does not start: {error}"));
        Listener { child, directory }
    }
}

/// Somebody who hears everything; ends when dropped.
pub struct Listener {
    child: Child,
    directory: TempDir,
}

/// A message that was heard.
#[derive(Clone, Debug, PartialEq)]
pub struct Heard {
    /// Its topic.
    pub topic: String,
    /// Its payload.
    pub payload: String,
    /// The broker had kept it.
    pub is_retained: bool,
}

impl Listener {
    /// Every message so far, the oldest first.
    pub fn all(&self) -> Vec<Heard> {
        let text = fs::read_to_string(self.directory.path().join("heard")).unwrap_or_default();
        let heard = |line: &str| {
            let message: Value = serde_json::from_str(line).ok()?;
            Some(Heard {
                topic: message["topic"].as_str()?.to_owned(),
                payload: message["payload"].as_str().unwrap_or_default().to_owned(),
                is_retained: message["retain"] == 1,
            })
        };
        text.lines().filter_map(heard).collect()
    }

    /// The last message of each topic.
    pub fn last(&self) -> BTreeMap<String, String> {
        self.all().into_iter().map(|message| (message.topic, message.payload)).collect()
    }

    /// The last message of a topic, as JSON; null before there is one.
    pub fn json(&self, topic: &str) -> Value {
        let last = self.last();
        last.get(topic).and_then(|payload| serde_json::from_str(payload).ok()).unwrap_or_default()
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
