//! Programs that tests start: on a free port, awaited, and stopped when the test ends.

use std::{
    env,
    fs::File,
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

/// A server's process.
pub(crate) struct Server(Child);

impl Server {
    /// Starts it and waits until it listens. Its output goes into `log`.
    pub(crate) fn start(mut command: Command, port: u16, log: &Path) -> Option<Self> {
        let output = File::create(log).ok()?;
        let child = command.stdin(Stdio::null()).stdout(output.try_clone().ok()?).stderr(output).spawn().ok()?;
        let mut server = Self(child);
        let until = Instant::now() + Duration::from_mins(1);
        while Instant::now() < until {
            if TcpStream::connect_timeout(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)), Duration::from_secs(1))
                .is_ok()
            {
                return Some(server);
            }
            assert!(
                matches!(server.0.try_wait(), Ok(None)),
                "the server ended: {}",
                std::fs::read_to_string(log).unwrap_or_default()
            );
            thread::sleep(Duration::from_millis(50));
        }
        panic!("the server does not listen: {}", std::fs::read_to_string(log).unwrap_or_default());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A port at which nothing listens.
pub(crate) fn free_port() -> Option<u16> {
    Some(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).ok()?.local_addr().ok()?.port())
}

/// Skips a test, unless nothing may be skipped.
#[expect(clippy::print_stderr, reason = "a skipped test says so")]
pub(crate) fn missing<T>(program: &str) -> Option<T> {
    assert!(env::var("CI").as_deref() != Ok("true"), "{program} is not installed");
    eprintln!("skipped: {program} is not installed");
    None
}
