//! SFTP with a password, which a real OpenSSH server checks against the machine's own users. So the SSH side is a server in this process that lets one user in by
//! password alone; behind it is OpenSSH's own `sftp-server`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr)]

use std::{
    borrow::Cow,
    collections::BTreeMap,
    fs,
    os::{fd::OwnedFd, unix::net::UnixStream},
    path::Path,
    process::{Command, Stdio},
    sync::{Arc, Mutex},
    time::Duration,
};

use russh::{
    Channel, ChannelId, MethodKind, MethodSet,
    keys::decode_secret_key,
    server::{Auth, ChannelOpenHandle, Config, Handler, Msg, Response, Session, run_stream},
};
use store::{
    Address, Context, Kind, Options, Store, StoreError, Tuning,
    contract::{self, ContractOptions},
};
use testkit::sshd::{self, make_key};
use tokio::net::TcpListener;

const PROGRAM: &str = "/usr/lib/openssh/sftp-server";
const USER: &str = "keeper";
const PASSWORD: &str = "pässword: 1";

/// How a server asks for the password.
#[derive(Clone, Copy, PartialEq)]
enum Asks {
    Outright,
    /// By keyboard-interactive, as servers with PAM do.
    Questions,
}

impl Asks {
    fn methods(self) -> MethodSet {
        MethodSet::from(&[if self == Self::Outright { MethodKind::Password } else { MethodKind::KeyboardInteractive }][..])
    }

    /// As OpenSSH refuses: what may be tried is the same as before.
    fn refuses(self) -> Auth {
        Auth::Reject { proceed_with_methods: Some(self.methods()), partial_success: false }
    }
}

struct Place {
    port: u16,
    files: tempfile::TempDir,
    /// What was tried to get in.
    seen: Arc<Mutex<Vec<String>>>,
}

impl Place {
    async fn start(asks: Asks) -> Option<Self> {
        if !sshd::is_installed() || !Path::new(PROGRAM).exists() {
            assert!(std::env::var("CI").is_err(), "openssh-server is needed");
            eprintln!("skipped: openssh-server is not installed");
            return None;
        }
        let files = tempfile::tempdir().unwrap();
        fs::create_dir(files.path().join("root")).unwrap();
        let key = files.path().join("host");
        make_key(&key, "ed25519", "").unwrap();
        let config = Arc::new(Config {
            methods: asks.methods(),
            auth_rejection_time: Duration::from_millis(10),
            keys: vec![decode_secret_key(&fs::read_to_string(&key).unwrap(), None).unwrap()],
            ..Config::default()
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        fs::write(files.path().join("known_hosts"), format!("[127.0.0.1]:{port} {}", fs::read_to_string(key.with_extension("pub")).unwrap())).unwrap();
        let seen = Arc::new(Mutex::default());
        let log = Arc::clone(&seen);
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let guest = Guest { asks, seen: Arc::clone(&log), channels: BTreeMap::new() };
                if let Ok(session) = run_stream(Arc::clone(&config), socket, guest).await {
                    tokio::spawn(session);
                }
            }
        });
        Some(Self { port, files, seen })
    }

    async fn connect(&self, password: &str) -> Result<Arc<dyn Store>, StoreError> {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let path = |name: &str| self.files.path().join(name).display().to_string();
        let mut context = Context::new(Tuning { stall: Duration::from_secs(20), ..Tuning::default() }, "/nonexistent".into(), Arc::default()).unwrap();
        context.environment = Arc::new(|_| None);
        fs::write(path("password"), password).unwrap();
        let options = [("password_file", path("password")), ("known_hosts", path("known_hosts"))];
        let options = options.map(|(key, value)| (key.to_owned(), value));
        let address = Address::parse(&format!("sftp://{USER}@127.0.0.1:{}{}", self.port, path("root"))).unwrap();
        store::connect(&address, &Options::new(BTreeMap::from(options)), &context).await
    }
}

/// Somebody at the door.
struct Guest {
    asks: Asks,
    seen: Arc<Mutex<Vec<String>>>,
    channels: BTreeMap<ChannelId, Channel<Msg>>,
}

impl Guest {
    fn judge(&self, how: &str, user: &str, password: &str) -> Auth {
        self.seen.lock().unwrap().push(how.to_owned());
        if (user, password) == (USER, PASSWORD) { Auth::Accept } else { self.asks.refuses() }
    }
}

impl Handler for Guest {
    type Error = russh::Error;

    async fn auth_password(&mut self, user: &str, password: &str) -> Result<Auth, Self::Error> {
        Ok(if self.asks == Asks::Outright { self.judge("password", user, password) } else { self.asks.refuses() })
    }

    async fn auth_keyboard_interactive<'a>(&'a mut self, user: &str, _: &str, response: Option<Response<'a>>) -> Result<Auth, Self::Error> {
        let Some(mut response) = response else {
            let prompts = Cow::Owned(vec![("Password: ".into(), false)]);
            return Ok(Auth::Partial { name: "".into(), instructions: "".into(), prompts });
        };
        let answer = response.next().unwrap_or_default();
        Ok(self.judge("answer", user, &String::from_utf8_lossy(&answer)))
    }

    async fn channel_open_session(&mut self, channel: Channel<Msg>, reply: ChannelOpenHandle, _: &mut Session) -> Result<(), Self::Error> {
        self.channels.insert(channel.id(), channel);
        reply.accept().await;
        Ok(())
    }

    async fn subsystem_request(&mut self, id: ChannelId, name: &str, session: &mut Session) -> Result<(), Self::Error> {
        let Some(channel) = self.channels.remove(&id).filter(|_| name == "sftp") else { return session.channel_failure(id) };
        session.channel_success(id)?;
        let (ours, theirs) = UnixStream::pair()?;
        let end = || Ok::<_, std::io::Error>(Stdio::from(OwnedFd::from(theirs.try_clone()?)));
        // It ends with its input.
        let mut child = Command::new(PROGRAM).stdin(end()?).stdout(end()?).spawn()?;
        drop(theirs);
        ours.set_nonblocking(true)?;
        let mut ours = tokio::net::UnixStream::from_std(ours)?;
        tokio::spawn(async move {
            let _ = tokio::io::copy_bidirectional(&mut channel.into_stream(), &mut ours).await;
            drop(ours);
            let _ = tokio::task::spawn_blocking(move || child.wait()).await;
        });
        Ok(())
    }
}

async fn keeps_the_contract(asks: Asks) {
    let Some(place) = Place::start(asks).await else { return };
    let store = place.connect(PASSWORD).await.unwrap();
    let quick = ContractOptions { settle: Duration::ZERO, longest: Duration::from_mins(2) };
    let findings = contract::check(store.as_ref(), &quick, &mut |_| {}).await;
    let broken: Vec<_> = findings.iter().filter(|finding| !finding.is_fine()).collect();
    assert!(broken.is_empty(), "{broken:#?}");
    assert_eq!(fs::read_dir(place.files.path().join("root")).unwrap().count(), 0);
    let how = if asks == Asks::Outright { "password" } else { "answer" };
    assert!(place.seen.lock().unwrap().iter().all(|seen| seen == how));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_place_behind_a_password_keeps_the_contract() {
    keeps_the_contract(Asks::Outright).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_asks_for_the_password_is_answered() {
    keeps_the_contract(Asks::Questions).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_password_is_tried_once_and_never_shown() {
    for asks in [Asks::Outright, Asks::Questions] {
        let Some(place) = Place::start(asks).await else { return };
        let error = place.connect("not it").await.map(drop).expect_err("was let in");
        assert_eq!(error.kind(), Some(Kind::Credentials), "{error}");
        let said = format!("{error} {error:?}");
        assert!(said.contains("did not accept the password") && !said.contains("not it"), "{said}");
        assert_eq!(place.seen.lock().unwrap().len(), 1);
    }
}
