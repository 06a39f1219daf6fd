//! The page's address, and the socket in the state directory by which commands reach the service.

use std::{
    fs, io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use rustix::fs::{Mode, fchmod};
use tokio::{
    net::{TcpListener, UnixListener, UnixSocket},
    runtime::{Handle, Runtime},
    sync::watch,
};
use web::{App, Listener, Options, Trust, serve};

use super::{
    NONE, Running,
    page::{self, Insides, Page, SigningIn},
};
use crate::{
    app::App as HomeAssistant,
    args::ServeArgs,
    destination,
    failure::{FAILED, Failure},
    output,
};

/// The socket's name in the state directory.
pub(crate) const SOCKET: &str = "haul.sock";
/// Linux takes no longer path of a socket.
const LONGEST_SOCKET: usize = 107;
/// Answers that are under way when the service ends get so long.
const LAST_ANSWERS: Duration = Duration::from_millis(700);

/// The page, while it answers.
pub(super) struct Listening {
    runtime: Runtime,
    app: Arc<App>,
    address: Option<SocketAddr>,
    ingress: Option<SocketAddr>,
    socket: PathBuf,
    stop: watch::Sender<bool>,
}

impl Listening {
    pub(super) fn start(
        args: &ServeArgs,
        home_assistant: Option<&HomeAssistant>,
        running: &Running,
    ) -> Result<Self, Failure> {
        let state = destination::state_directory();
        let socket = state.join(SOCKET);
        page::clean(&state);
        let failed = |what: &str, error: &io::Error| {
            Failure::new(FAILED, format!("can't {what}: {}", engine::plain_reason(error)))
        };
        let page = Page {
            service: Arc::clone(&running.service),
            worker: Arc::clone(&running.worker),
            changes: running.changes.clone(),
            file: Arc::clone(&running.configuration),
            signing: SigningIn::new(&running.service),
            insides: Insides::new(running.counting.clone()),
        };
        let options = Options {
            state,
            base_path: args.base_path.clone(),
            hosts: args.hosts.clone(),
            https: args.https,
            ingress: home_assistant.map(HomeAssistant::administrators),
        };
        let app = App::new(Arc::new(page), options)
            .map_err(|error| failed("read the page's accounts in the state directory", &error))?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            // Four downloads and four slow questions leave half of them to answer at once.
            .max_blocking_threads(16)
            .thread_keep_alive(Duration::from_secs(2))
            .thread_name("haul-page")
            .enable_all()
            .build()
            .map_err(|error| failed("start the page's threads", &error))?;
        let (stop, stopped) = watch::channel(false);
        let (mut address, mut ingress) = (None, None);
        if args.listen != NONE {
            // A port alone means this machine.
            let listen = match args.listen.parse::<u16>() {
                Ok(port) => format!("127.0.0.1:{port}"),
                Err(_) => args.listen.clone(),
            };
            let listener = runtime.block_on(TcpListener::bind(&listen)).map_err(|error| {
                let hint = if error.kind() == io::ErrorKind::AddrInUse {
                    "another program listens there: choose another port with --listen"
                } else {
                    "give an address of this machine and a port, for example --listen 127.0.0.1:8745, or --listen none"
                };
                if error.kind() == io::ErrorKind::InvalidInput {
                    return Failure::usage(format!("{:?} is not an address with a port", args.listen)).hint(hint);
                }
                failed(&format!("listen on {}", args.listen), &error).hint(hint)
            })?;
            address = listener.local_addr().ok();
            runtime.spawn(serve(Listener::Tcp(listener), Trust::LogIn, Arc::clone(&app), until(stopped.clone())));
        }
        if let Some(home_assistant) = home_assistant {
            let listener = runtime.block_on(TcpListener::bind(home_assistant.ingress)).map_err(|error| {
                failed(&format!("listen on {}", home_assistant.ingress), &error)
                    .hint("restart the app; if it happens again, another program uses that port")
            })?;
            ingress = listener.local_addr().ok();
            runtime.spawn(serve(Listener::Tcp(listener), Trust::Ingress, Arc::clone(&app), until(stopped.clone())));
        }
        if socket.as_os_str().len() > LONGEST_SOCKET {
            let shown = engine::shown(socket.as_os_str().as_encoded_bytes());
            let message = format!("the path of the socket {shown} is longer than {LONGEST_SOCKET} bytes");
            return Err(Failure::new(FAILED, message).hint("name a shorter state directory in HAUL_STATE"));
        }
        // Nobody else has this state directory, so one that is there is a leftover.
        let _ = fs::remove_file(&socket);
        let within = runtime.enter();
        match listen_privately(&socket) {
            Ok(listener) => {
                runtime.spawn(serve(Listener::Unix(listener), Trust::Local, Arc::clone(&app), until(stopped)));
            }
            // Commands do not find the service then; backups do not need that.
            Err(error) if is_no_place(error.kind()) || is_read_only(&destination::state_directory()) => {
                let (at, why) = (socket.display(), engine::plain_reason(&error));
                output::log(&format!("warning: commands do not reach the service: can't listen on {at}: {why}"));
            }
            Err(error) => return Err(failed(&format!("listen on {}", socket.display()), &error)),
        }
        drop(within);
        Ok(Self { runtime, app, address, ingress, socket, stop })
    }

    /// What the log says of it.
    pub(super) fn tell(&self) {
        match self.address {
            Some(address) => output::log(&format!("haul serve is running; the page is at http://{address}")),
            None if self.ingress.is_some() => {
                let at = self.ingress.map(|address| address.port()).unwrap_or_default();
                output::log(&format!("Haul is running; Home Assistant shows its page, from port {at}"));
            }
            None => output::log("haul serve is running, without a page"),
        }
        if let (Some(code), Some(_)) = (self.app.setup_code(), self.address) {
            output::log_secret(&format!("the page asks for this code at the first visit: {code}"));
        }
    }

    /// For what else waits for the network.
    pub(super) fn runtime(&self) -> &Handle {
        self.runtime.handle()
    }

    /// The page's address, if it is known how others reach it.
    pub(super) fn public_address(&self, args: &ServeArgs) -> Option<String> {
        public_address(self.address?, args)
    }

    pub(super) fn stop(self) {
        let _ = self.stop.send(true);
        self.runtime.shutdown_timeout(LAST_ANSWERS);
        let _ = fs::remove_file(&self.socket);
    }
}

fn public_address(address: SocketAddr, args: &ServeArgs) -> Option<String> {
    let path = args.base_path.trim_end_matches('/');
    let is_reachable = !address.ip().is_loopback() && !address.ip().is_unspecified();
    match args.hosts.first() {
        // A proxy answers at the usual port.
        Some(host) if args.https => Some(format!("https://{host}{path}/")),
        Some(host) => Some(format!("http://{host}:{}{path}/", address.port())),
        None if is_reachable && !args.https => Some(format!("http://{address}{path}/")),
        None => None,
    }
}

/// A socket that was left there is in use as far as bind(2) says.
fn is_read_only(directory: &Path) -> bool {
    rustix::fs::access(directory, rustix::fs::Access::WRITE_OK) == Err(rustix::io::Errno::ROFS)
}

/// Whether nothing can be put on a disk.
fn is_no_place(why: io::ErrorKind) -> bool {
    matches!(why, io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::ReadOnlyFilesystem)
}

/// Nobody else can connect, at no moment: on Linux, the mode of a socket that has no name yet is that of its file.
fn listen_privately(path: &Path) -> io::Result<UnixListener> {
    const WAITING: u32 = 1024;
    let socket = UnixSocket::new_stream()?;
    fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
    socket.bind(path)?;
    socket.listen(WAITING)
}

async fn until(mut stopped: watch::Receiver<bool>) {
    let _ = stopped.wait_for(|stopped| *stopped).await;
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_page_s_address_is_told_only_if_others_can_use_it() {
        let address = |listen: &str, host: Option<&str>, https: bool, base_path: &str| {
            let args = ServeArgs {
                listen: listen.to_owned(),
                base_path: base_path.to_owned(),
                hosts: host.into_iter().map(str::to_owned).collect(),
                https,
            };
            public_address(listen.parse().unwrap(), &args)
        };
        assert_eq!(address("127.0.0.1:8745", None, false, ""), None);
        assert_eq!(address("0.0.0.0:8745", None, false, ""), None);
        assert_eq!(address("10.0.0.2:8745", None, false, "").unwrap(), "http://10.0.0.2:8745/");
        assert_eq!(address("[fd00::2]:8745", None, false, "/haul").unwrap(), "http://[fd00::2]:8745/haul/");
        assert_eq!(address("0.0.0.0:8745", Some("nas.lan"), false, "").unwrap(), "http://nas.lan:8745/");
        assert_eq!(address("127.0.0.1:8745", Some("haul.example"), true, "/b").unwrap(), "https://haul.example/b/");
        assert_eq!(address("10.0.0.2:8745", None, true, ""), None);
    }

    #[test]
    fn the_socket_is_private_from_its_first_moment() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("haul.sock");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let _within = runtime.enter();
        let _listener = listen_privately(&path).unwrap();
        // Nothing has changed its mode since it got its name.
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }
}
