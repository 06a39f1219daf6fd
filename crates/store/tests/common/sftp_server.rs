//! An SFTP server whose every packet the tests see: SSH by a server in this process, behind it OpenSSH's own
//! `sftp-server`, and between the two a proxy that can refuse a request, hold it, delay it, or let it be done and lose
//! the answer.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test fails by panicking, and prints what it skips or measures"
)]

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet, VecDeque},
    fs, io,
    os::{fd::OwnedFd, unix::net::UnixStream},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{Arc, Mutex},
    time::Duration,
};

use russh::{
    Channel, ChannelId, Disconnect, MethodKind, MethodSet,
    keys::decode_secret_key,
    server::{Auth, ChannelOpenHandle, Config, Handler, Msg, Response, Session, run_stream},
};
use store::{Address, Context, Options, Store, StoreError};
use testkit::sshd::{self, make_key};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpListener,
};

const PROGRAM: &str = "/usr/lib/openssh/sftp-server";
pub const USER: &str = "keeper";
pub const PASSWORD: &str = "pässword: 1";

/// How a server asks for the password.
#[derive(Clone, Copy, PartialEq)]
pub enum Asks {
    Outright,
    /// By keyboard-interactive, as servers with PAM do.
    Questions,
}

impl Asks {
    fn methods(self) -> MethodSet {
        MethodSet::from(
            &[if self == Self::Outright { MethodKind::Password } else { MethodKind::KeyboardInteractive }][..],
        )
    }

    /// As OpenSSH refuses: what may be tried is the same as before.
    fn refuses(self) -> Auth {
        Auth::Reject { proceed_with_methods: Some(self.methods()), partial_success: false }
    }
}

/// Requests, by their number in the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Call {
    Open = 3,
    Close = 4,
    Read = 5,
    Write = 6,
    Lstat = 7,
    Fstat = 8,
    Opendir = 11,
    Readdir = 12,
    Remove = 13,
    Realpath = 16,
    Stat = 17,
    Rename = 18,
    /// `fsync@openssh.com`, `statvfs@openssh.com`, `limits@openssh.com`.
    Extended = 200,
}

/// What becomes of one request.
#[derive(Clone, Copy, Debug)]
pub enum Fault {
    /// Nothing is done, and this status is answered.
    Refused(u32),
    /// It is done, and the connection ends before the answer.
    Unheard,
    /// The connection ends before it is done.
    Cut,
    /// Nothing is done, and nothing answered.
    Silent,
    /// It is done after a while.
    Late(Duration),
}

const STATUS: u8 = 101;

/// A running server; ends when dropped.
pub struct SftpServer {
    pub port: u16,
    pub files: tempfile::TempDir,
    /// What was tried to get in.
    pub seen: Arc<Mutex<Vec<String>>>,
    script: Arc<Mutex<VecDeque<(Call, Fault)>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for SftpServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl SftpServer {
    pub async fn start(asks: Asks) -> Option<Self> {
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
        fs::write(
            files.path().join("known_hosts"),
            format!("[127.0.0.1]:{port} {}", fs::read_to_string(key.with_extension("pub")).unwrap()),
        )
        .unwrap();
        let (seen, script) = (Arc::new(Mutex::default()), Arc::new(Mutex::default()));
        let (log, faults) = (Arc::clone(&seen), Arc::clone(&script));
        let task = tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let guest =
                    Guest { asks, seen: Arc::clone(&log), script: Arc::clone(&faults), channels: BTreeMap::new() };
                if let Ok(session) = run_stream(Arc::clone(&config), socket, guest).await {
                    tokio::spawn(session);
                }
            }
        });
        Some(Self { port, files, seen, script, task })
    }

    /// Where archives lie.
    pub fn root(&self) -> PathBuf {
        self.files.path().join("root")
    }

    /// The names there.
    pub fn names(&self) -> Vec<String> {
        let mut names: Vec<String> =
            fs::read_dir(self.root()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// The next requests of this kind meet these faults, one each.
    pub fn meet(&self, call: Call, faults: impl IntoIterator<Item = Fault>) {
        self.script.lock().unwrap().extend(faults.into_iter().map(|fault| (call, fault)));
    }

    /// From here on nothing goes wrong.
    pub fn calm(&self) {
        self.script.lock().unwrap().clear();
    }

    /// How many faults were not met.
    pub fn unmet(&self) -> usize {
        self.script.lock().unwrap().len()
    }

    pub async fn connect(&self, password: &str, mut context: Context) -> Result<Arc<dyn Store>, StoreError> {
        let path = |name: &str| self.files.path().join(name).display().to_string();
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
    script: Arc<Mutex<VecDeque<(Call, Fault)>>>,
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

    async fn auth_keyboard_interactive<'a>(
        &'a mut self,
        user: &str,
        _: &str,
        response: Option<Response<'a>>,
    ) -> Result<Auth, Self::Error> {
        let Some(mut response) = response else {
            let prompts = Cow::Owned(vec![("Password: ".into(), false)]);
            return Ok(Auth::Partial { name: "".into(), instructions: "".into(), prompts });
        };
        let answer = response.next().unwrap_or_default();
        Ok(self.judge("answer", user, &String::from_utf8_lossy(&answer)))
    }

    async fn channel_open_session(
        &mut self,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Self::Error> {
        self.channels.insert(channel.id(), channel);
        reply.accept().await;
        Ok(())
    }

    async fn subsystem_request(&mut self, id: ChannelId, name: &str, session: &mut Session) -> Result<(), Self::Error> {
        let Some(channel) = self.channels.remove(&id).filter(|_| name == "sftp") else {
            return session.channel_failure(id);
        };
        session.channel_success(id)?;
        let (ours, theirs) = UnixStream::pair()?;
        let end = || Ok::<_, io::Error>(Stdio::from(OwnedFd::from(theirs.try_clone()?)));
        // It ends with its input.
        let mut child = Command::new(PROGRAM).stdin(end()?).stdout(end()?).spawn()?;
        drop(theirs);
        ours.set_nonblocking(true)?;
        let ours = tokio::net::UnixStream::from_std(ours)?;
        let (script, handle) = (Arc::clone(&self.script), session.handle());
        tokio::spawn(async move {
            let _ = between(channel.into_stream(), ours, &script).await;
            let _ = handle.disconnect(Disconnect::ByApplication, String::new(), String::new()).await;
            let _ = tokio::task::spawn_blocking(move || child.wait()).await;
        });
        Ok(())
    }
}

/// One packet, without its length.
async fn packet(from: &mut (impl AsyncRead + Unpin)) -> io::Result<Vec<u8>> {
    let length = from.read_u32().await?;
    let mut packet = vec![0; length as usize];
    from.read_exact(&mut packet).await?;
    Ok(packet)
}

async fn hand_on(packet: &[u8], to: &tokio::sync::Mutex<impl AsyncWrite + Unpin>) -> io::Result<()> {
    let mut to = to.lock().await;
    to.write_all(&[&(packet.len() as u32).to_be_bytes()[..], packet].concat()).await?;
    to.flush().await
}

/// Hands packets on both ways, until one side ends or the script says so.
async fn between(
    client: impl AsyncRead + AsyncWrite,
    server: tokio::net::UnixStream,
    script: &Mutex<VecDeque<(Call, Fault)>>,
) -> io::Result<()> {
    let (mut from_client, to_client) = tokio::io::split(client);
    let (mut from_server, to_server) = server.into_split();
    let (to_client, to_server) = (tokio::sync::Mutex::new(to_client), tokio::sync::Mutex::new(to_server));
    // Requests whose answers nobody hears.
    let unheard = Mutex::new(BTreeSet::new());
    let requests = async {
        loop {
            let request = packet(&mut from_client).await?;
            let id = request.get(1..5).map(<[u8]>::to_vec).unwrap_or_default();
            let fault = {
                let mut script = script.lock().unwrap();
                let next = script.iter().position(|(call, _)| *call as u8 == request[0]);
                next.and_then(|next| script.remove(next)).map(|(_, fault)| fault)
            };
            match fault {
                None => hand_on(&request, &to_server).await?,
                Some(Fault::Refused(code)) => {
                    let words = b"as told";
                    let answer =
                        [&[STATUS][..], &id, &code.to_be_bytes(), &(words.len() as u32).to_be_bytes(), words, &[0; 4]]
                            .concat();
                    hand_on(&answer, &to_client).await?;
                }
                Some(Fault::Unheard) => {
                    unheard.lock().unwrap().insert(id);
                    hand_on(&request, &to_server).await?;
                }
                Some(Fault::Cut) => return Ok(()),
                Some(Fault::Silent) => {}
                Some(Fault::Late(wait)) => {
                    tokio::time::sleep(wait).await;
                    hand_on(&request, &to_server).await?;
                }
            }
        }
    };
    let answers = async {
        loop {
            let answer = packet(&mut from_server).await?;
            if answer.get(1..5).is_some_and(|id| unheard.lock().unwrap().contains(id)) {
                return Ok(());
            }
            hand_on(&answer, &to_client).await?;
        }
    };
    tokio::select! {
        ended = requests => ended,
        ended = answers => ended,
    }
}
