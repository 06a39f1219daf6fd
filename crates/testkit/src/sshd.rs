//! A real OpenSSH server on a free port, with its own host keys, user keys and configuration.

use std::{
    fs, io,
    net::{TcpListener, TcpStream},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use tempfile::TempDir;

const PROGRAM: &str = "/usr/sbin/sshd";
const READY_WITHIN: Duration = Duration::from_secs(20);

/// Whether the server and the programs around it are installed.
pub fn is_installed() -> bool {
    Path::new(PROGRAM).exists()
        && Command::new("ssh-keygen").arg("-?").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
}

/// A running server; ends when dropped.
pub struct Sshd {
    directory: TempDir,
    port: u16,
    child: Option<Child>,
    settings: String,
}

impl Sshd {
    /// Starts one to which the current user may log in with [`Self::user_key`]. `settings` are further lines of its
    /// configuration.
    pub fn start(settings: &str) -> io::Result<Self> {
        let directory = tempfile::tempdir()?;
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let mut server = Self { directory, port, child: None, settings: settings.to_owned() };
        for kind in ["ed25519", "ecdsa"] {
            make_key(&server.path(&format!("host_{kind}")), kind, "")?;
        }
        make_key(&server.user_key(), "ed25519", "")?;
        fs::copy(server.path("user.pub"), server.path("authorized_keys"))?;
        fs::create_dir(server.root())?;
        server.run()?;
        Ok(server)
    }

    /// The directory to store things in.
    pub fn root(&self) -> PathBuf {
        self.path("root")
    }

    /// A private key that is let in.
    pub fn user_key(&self) -> PathBuf {
        self.path("user")
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// A file beside the server's own.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// A line of `known_hosts` for the host key of this kind (`ed25519`, `ecdsa`).
    pub fn known_host(&self, kind: &str) -> io::Result<String> {
        Ok(format!("[127.0.0.1]:{} {}", self.port, fs::read_to_string(self.path(&format!("host_{kind}.pub")))?))
    }

    /// Lets a further key in.
    pub fn let_in(&self, public: &Path) -> io::Result<()> {
        let known = fs::read_to_string(self.path("authorized_keys"))?;
        fs::write(self.path("authorized_keys"), known + &fs::read_to_string(public)?)
    }

    /// Makes new host keys and starts again on the same port.
    pub fn change_host_keys(&mut self) -> io::Result<()> {
        self.stop();
        for kind in ["ed25519", "ecdsa"] {
            fs::remove_file(self.path(&format!("host_{kind}")))?;
            make_key(&self.path(&format!("host_{kind}")), kind, "")?;
        }
        self.run()
    }

    /// Kills the processes that serve connections, as a crash or a broken connection would; the server itself
    /// continues. Returns how many.
    pub fn kill_sessions(&self) -> io::Result<usize> {
        let Some(child) = &self.child else { return Ok(0) };
        let mut killed = 0;
        for process in descendants(child.id()) {
            // A process that ended by itself meanwhile is fine.
            killed += usize::from(
                Command::new("kill").arg("-9").arg(process.to_string()).stderr(Stdio::null()).status()?.success(),
            );
        }
        Ok(killed)
    }

    /// Stops or continues the processes that serve connections (`STOP`, `CONT`).
    pub fn signal_sessions(&self, signal: &str) -> io::Result<()> {
        let Some(child) = &self.child else { return Ok(()) };
        for process in descendants(child.id()) {
            Command::new("kill").arg(format!("-{signal}")).arg(process.to_string()).stderr(Stdio::null()).status()?;
        }
        Ok(())
    }

    fn run(&mut self) -> io::Result<()> {
        // A server started as root wants this directory.
        let _ = fs::create_dir_all("/run/sshd");
        let at = self.directory.path().display();
        let config = format!(
            "Port {port}\nListenAddress 127.0.0.1\nHostKey {at}/host_ed25519\nHostKey \
             {at}/host_ecdsa\nAuthorizedKeysFile {at}/authorized_keys\n\
             PidFile none\nStrictModes no\nUsePAM no\nPasswordAuthentication no\nKbdInteractiveAuthentication \
             no\nPermitRootLogin yes\nUseDNS no\n\
             MaxStartups 100\nSubsystem sftp internal-sftp\n{settings}\n",
            port = self.port,
            settings = self.settings
        );
        fs::write(self.path("sshd_config"), config)?;
        let log = fs::File::create(self.path("log"))?;
        let mut command = Command::new(PROGRAM);
        command.args(["-D", "-e", "-f"]).arg(self.path("sshd_config"));
        self.child = Some(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn()?);
        let started = Instant::now();
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            if started.elapsed() > READY_WITHIN {
                return Err(io::Error::other(fs::read_to_string(self.path("log"))?));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    fn stop(&mut self) {
        let _ = self.kill_sessions();
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        // What was stopped can't be killed by a signal it would have to handle, but by this one.
        self.stop();
    }
}

/// A key pair without a password, or with one.
pub fn make_key(path: &Path, kind: &str, password: &str) -> io::Result<()> {
    let mut command = Command::new("ssh-keygen");
    command.args(["-q", "-t", kind, "-N", password, "-C", "test", "-f"]).arg(path);
    let made = command.stdin(Stdio::null()).output()?;
    if !made.status.success() {
        return Err(io::Error::other(String::from_utf8_lossy(&made.stderr).into_owned()));
    }
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))
}

/// All processes below one.
fn descendants(of: u32) -> Vec<u32> {
    let mut found = Vec::new();
    let mut open = vec![of];
    while let Some(parent) = open.pop() {
        for task in fs::read_dir(format!("/proc/{parent}/task")).into_iter().flatten().flatten() {
            let children = fs::read_to_string(task.path().join("children")).unwrap_or_default();
            for child in children.split_whitespace().filter_map(|child| child.parse().ok()) {
                found.push(child);
                open.push(child);
            }
        }
    }
    found
}
