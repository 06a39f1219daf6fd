//! Another S3 server: Python's moto in its own process. It is stricter than `s3s-fs` about part sizes, and lists
//! unfinished uploads.

use std::{
    env,
    io::{self, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

/// How long Python may take to load it on a busy machine.
const PATIENCE: Duration = Duration::from_secs(90);

/// A running server; killed when dropped.
pub struct Moto {
    address: SocketAddr,
    process: Child,
}

impl Moto {
    /// Starts a server that has these buckets. `None` if Python or moto is missing, which standard error says; fails if
    /// `CI` is set.
    pub fn start(buckets: &[&str]) -> io::Result<Option<Self>> {
        let python = env::var("HAUL_PYTHON").unwrap_or_else(|_| "python3".to_owned());
        let found = Command::new(&python)
            .args(["-c", "import moto.server"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        if !found.is_ok_and(|status| status.success()) {
            if env::var("CI").is_ok_and(|value| value == "true") {
                return Err(io::Error::other("moto is missing: set HAUL_PYTHON to a Python that has it"));
            }
            let _ = writeln!(io::stderr(), "skipped: moto is missing (HAUL_PYTHON names a Python that has it)");
            return Ok(None);
        }
        // Free a moment ago; the system assigns it to nobody else that soon.
        let address = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?;
        let script = "import sys; from moto.server import main; main(['-H', '127.0.0.1', '-p', sys.argv[1]])";
        let process = Command::new(&python)
            .args(["-c", script, &address.port().to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let moto = Self { address, process };
        let started = Instant::now();
        while TcpStream::connect(address).is_err() {
            if started.elapsed() > PATIENCE {
                return Err(io::Error::other("moto does not start"));
            }
            thread::sleep(Duration::from_millis(50));
        }
        for bucket in buckets {
            moto.ask("PUT", &format!("/{bucket}"))?;
        }
        Ok(Some(moto))
    }

    /// `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Makes a bucket with Object Lock: what is in it can be hidden, and for a day neither removed nor replaced.
    pub fn make_locked(&self, bucket: &str) -> io::Result<()> {
        self.send("PUT", &format!("/{bucket}"), "x-amz-bucket-object-lock-enabled: true\r\n", "")?;
        let rule = "<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled><Rule><DefaultRetention><Mode>COMPLIANCE</Mode><Days>1</Days></DefaultRetention></Rule></ObjectLockConfiguration>";
        self.send("PUT", &format!("/{bucket}?object-lock"), "", rule).map(drop)
    }

    /// Sends a request without a body past the client under test, and returns the answer's text.
    pub fn ask(&self, method: &str, target: &str) -> io::Result<String> {
        self.send(method, target, "", "")
    }

    fn send(&self, method: &str, target: &str, headers: &str, body: &str) -> io::Result<String> {
        let mut socket = TcpStream::connect(self.address)?;
        write!(
            socket,
            "{method} {target} HTTP/1.0\r\nHost: {}\r\n{headers}Content-Length: {}\r\n\r\n{body}",
            self.address,
            body.len()
        )?;
        let mut answer = Vec::new();
        socket.read_to_end(&mut answer)?;
        Ok(String::from_utf8_lossy(&answer).into_owned())
    }

    /// How many uploads of a bucket are unfinished.
    pub fn unfinished(&self, bucket: &str) -> io::Result<usize> {
        Ok(self.ask("GET", &format!("/{bucket}?uploads"))?.matches("<Upload>").count())
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
