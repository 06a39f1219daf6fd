//! The page's address, and the socket in the state directory by which commands reach the service.

use std::{
    fs, io,
    net::SocketAddr,
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};

use jiff::tz::TimeZone;
use tokio::{
    net::{TcpListener, UnixListener},
    runtime::Runtime,
    sync::watch,
};
use web::{App, Listener, Options, Trust, serve};

use super::{Running, page::Page};
use crate::{
    args::ServeArgs,
    destination,
    failure::{FAILED, Failure},
};

/// The socket's name in the state directory.
pub(crate) const SOCKET: &str = "haul.sock";
/// What switches the page off.
const NONE: &str = "none";
/// Answers that are under way when the service ends get so long.
const LAST_ANSWERS: Duration = Duration::from_millis(700);

/// The page, while it answers.
pub(super) struct Listening {
    runtime: Runtime,
    app: Arc<App>,
    address: Option<SocketAddr>,
    socket: PathBuf,
    stop: watch::Sender<bool>,
}

impl Listening {
    pub(super) fn start(args: &ServeArgs, running: &Running) -> Result<Self, Failure> {
        let state = destination::state_directory();
        let socket = state.join(SOCKET);
        let failed = |what: &str, error: &io::Error| {
            Failure::new(FAILED, format!("can't {what}: {}", engine::plain_reason(error)))
        };
        let page = Page {
            service: Arc::clone(&running.service),
            worker: Arc::clone(&running.worker),
            changes: running.changes.clone(),
            path: running.path.clone().unwrap_or_default(),
            editing: Mutex::new(()),
        };
        let options = Options {
            state,
            base_path: args.base_path.clone(),
            hosts: args.hosts.clone(),
            https: args.https,
            zone: TimeZone::system(),
        };
        let app = App::new(Arc::new(page), options)
            .map_err(|error| failed("read the page's accounts in the state directory", &error))?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .max_blocking_threads(8)
            .thread_keep_alive(Duration::from_secs(2))
            .thread_name("haul-page")
            .enable_all()
            .build()
            .map_err(|error| failed("start the page's threads", &error))?;
        let (stop, stopped) = watch::channel(false);
        let mut address = None;
        if args.listen != NONE {
            let listener = runtime.block_on(TcpListener::bind(&args.listen)).map_err(|error| {
                let hint = if error.kind() == io::ErrorKind::AddrInUse {
                    "another program listens there: choose another port with --listen"
                } else {
                    "give an address of this machine and a port, for example --listen 127.0.0.1:8745, or --listen none"
                };
                failed(&format!("listen on {}", args.listen), &error).hint(hint)
            })?;
            address = listener.local_addr().ok();
            runtime.spawn(serve(Listener::Tcp(listener), Trust::LogIn, Arc::clone(&app), until(stopped.clone())));
        }
        // Nobody else has this state directory, so one that is there is a leftover.
        let _ = fs::remove_file(&socket);
        let within = runtime.enter();
        let listener = UnixListener::bind(&socket)
            .and_then(|listener| fs::set_permissions(&socket, fs::Permissions::from_mode(0o600)).map(|()| listener))
            .map_err(|error| failed(&format!("listen on {}", socket.display()), &error))?;
        runtime.spawn(serve(Listener::Unix(listener), Trust::Local, Arc::clone(&app), until(stopped)));
        drop(within);
        Ok(Self { runtime, app, address, socket, stop })
    }

    /// What the log says of it.
    pub(super) fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        match self.address {
            Some(address) => lines.push(format!("haul serve is running; the page is at http://{address}")),
            None => lines.push("haul serve is running, without a page".to_owned()),
        }
        if let (Some(code), Some(_)) = (self.app.setup_code(), self.address) {
            lines.push(format!("the page asks for this code at the first visit: {code}"));
        }
        lines
    }

    pub(super) fn stop(self) {
        let _ = self.stop.send(true);
        self.runtime.shutdown_timeout(LAST_ANSWERS);
        let _ = fs::remove_file(&self.socket);
    }
}

async fn until(mut stopped: watch::Receiver<bool>) {
    let _ = stopped.wait_for(|stopped| *stopped).await;
}
