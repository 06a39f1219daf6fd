//! The connection: opens it, watches it for silence, and opens it again when it broke.

use std::{
    collections::HashMap,
    io,
    net::{Shutdown, TcpStream},
    ops::Range,
    pin::{Pin, pin},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context as TaskContext, Poll},
    time::Duration,
};

use bytes::Bytes;
use russh::{
    AlgorithmKind, Preferred,
    client::{self, DisconnectReason, Handle, Handler},
    keys::PublicKeyOrCertificate,
};
use russh_sftp::client::{Config as SftpConfig, RawSftpSession, error::Error};
use tokio::{
    io::{AsyncRead, AsyncWrite, BufReader, ReadBuf},
    time::timeout,
};

use super::{
    error::Fault,
    login::Login,
    settings::{self, Target},
    trust::Trust,
};
use crate::{
    context::{Context, Options},
    error::{Kind, Operation, StoreError, reason},
};

/// Requests under way at once. With [`STEP`] that is as much as OpenSSH's channel takes before it wants to be waited
/// for.
pub(super) const UNDER_WAY: usize = 32;
/// Bytes per request. Servers that don't state their limits take half of it for certain.
pub(super) const STEP: u64 = 64 << 10;
const CERTAIN_STEP: u64 = 32 << 10;
/// Flushing gigabytes to a slow disk takes longer than any other answer.
const FLUSH_FACTOR: u32 = 10;
/// The library's own limit per request. Ours is [`Connection::ask`], which knows about the other requests.
const NO_LIMIT_SECONDS: u64 = 7 * 24 * 3600;

/// One connection with its SFTP session.
pub(super) struct Connection {
    pub(super) sftp: RawSftpSession,
    // The session ends with it.
    handle: Handle<Guard>,
    socket: TcpStream,
    extensions: HashMap<String, String>,
    stall: Duration,
    step: u64,
    answers: AtomicU64,
    broken: AtomicBool,
}

impl Connection {
    async fn open(target: &Target, trust: Trust, login: &Login, context: &Context) -> Result<Self, StoreError> {
        let label = target.label();
        let transient = |reason: String| {
            StoreError::remote(&label, Operation::Connect, Kind::Transient { retry_after: None }, reason)
        };
        let waiting = context.tuning.connect_timeout;
        let silent = |_| transient(format!("the server did not answer within {} s", waiting.as_secs()));

        let socket = peer::dial::connect((target.host.as_str(), target.port), waiting).await.map_err(&transient)?;
        // A second hold on the socket, to end it whatever the tasks that use it wait for.
        let (socket, ours) = twice(socket).map_err(|error| transient(reason(&error)))?;

        let message = Arc::new(Mutex::new(None));
        let config = Arc::new(config(&trust, context.tuning.stall));
        let guard = Guard { trust, message: Arc::clone(&message) };
        let handshake = timeout(waiting, client::connect_stream(config, socket, guard)).await.map_err(silent)?;
        let mut handle = handshake.map_err(|trouble| match trouble {
            Trouble::Refused(error) => *error,
            Trouble::Ssh(error) => greeting_failed(&label, &error),
        })?;
        // Keys may need a second of a core each, and some servers let wrong passwords wait.
        let proof = timeout(waiting.max(Duration::from_secs(20)), login.prove(&mut handle)).await.map_err(silent)?;
        if let Err(error) = proof {
            let message = message.lock().unwrap_or_else(PoisonError::into_inner).take();
            return Err(match message {
                Some(text) if error.is_transient() => {
                    let reason = format!("the server ended the login: {text}");
                    StoreError::remote(&label, Operation::Connect, Kind::Credentials, reason)
                        .advise("set the right key_file in haul.toml: a server hangs up after too many wrong keys")
                }
                _ => error,
            });
        }
        let closed = |_| {
            transient("the server accepted the login and then closed the session".to_owned()).advise(
                "the server's own log says why: often a chroot directory that does not belong to root, or a \
                    login shell that does not exist",
            )
        };
        let channel = timeout(waiting, handle.channel_open_session()).await.map_err(silent)?.map_err(closed)?;
        timeout(waiting, channel.request_subsystem(true, "sftp")).await.map_err(silent)?.map_err(closed)?;
        let limits =
            SftpConfig { request_timeout_secs: NO_LIMIT_SECONDS, max_packet_len: 1 << 20, ..SftpConfig::default() };
        let (stream, heard) = Overheard::new(channel.into_stream());
        // Read a packet at a time: if text comes instead of a number, more than four letters are needed.
        let sftp = RawSftpSession::new_with_config(BufReader::new(stream), limits);
        let version = match timeout(waiting, sftp.init()).await {
            Ok(Ok(version)) => version,
            silence_or_failure => {
                let refuse = |reason: String| StoreError::remote(&label, Operation::Connect, Kind::Protocol, reason);
                return Err(match (heard.text(), silence_or_failure) {
                    (Some(text), _) => refuse(format!("the server sent \"{text}\" where SFTP should begin")).advise(
                        "a start-up file of this account (.bashrc, .profile) prints that: make it print only on \
                         terminals, or use internal-sftp on the server",
                    ),
                    (None, Err(elapsed)) => silent(elapsed),
                    (None, _) => refuse("the server offers no SFTP".to_owned())
                        .advise("enable its SFTP subsystem, or allow it for this user"),
                });
            }
        };
        let mut connection = Self {
            sftp,
            handle,
            socket: ours,
            extensions: version.extensions,
            stall: context.tuning.stall,
            step: CERTAIN_STEP,
            answers: AtomicU64::new(0),
            broken: AtomicBool::new(false),
        };
        if connection.offers("limits@openssh.com")
            && let Ok(limits) = connection.ask(connection.sftp.limits()).await
        {
            let least = limits.max_write_len.min(limits.max_read_len);
            connection.step = if least == 0 { CERTAIN_STEP } else { STEP.min(least) };
        }
        Ok(connection)
    }

    /// Whether the server can do more than the protocol says.
    pub(super) fn offers(&self, extension: &str) -> bool {
        self.extensions.contains_key(extension)
    }

    /// Bytes per request.
    pub(super) fn step(&self) -> u64 {
        self.step
    }

    fn is_usable(&self) -> bool {
        !self.broken.load(Ordering::Relaxed) && !self.handle.is_closed()
    }

    /// Nothing more is expected from this connection; whoever still waits for it is woken.
    fn give_up(&self) {
        self.broken.store(true, Ordering::Relaxed);
        let _ = self.socket.shutdown(Shutdown::Both);
    }

    /// Waits for an answer, as long as the server answers anything at all.
    pub(super) async fn ask<T>(&self, request: impl Future<Output = Result<T, Error>>) -> Result<T, Fault> {
        self.ask_within(self.stall, request).await
    }

    /// Waits for what takes long on the server.
    pub(super) async fn ask_patiently<T>(&self, request: impl Future<Output = Result<T, Error>>) -> Result<T, Fault> {
        self.ask_within(self.stall * FLUSH_FACTOR, request).await
    }

    async fn ask_within<T>(
        &self,
        stall: Duration,
        request: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Fault> {
        let mut request = pin!(request);
        loop {
            let before = self.answers.load(Ordering::Relaxed);
            let Ok(answer) = timeout(stall, &mut request).await else {
                // On a slow connection many requests wait for their turn while others are answered.
                if self.answers.load(Ordering::Relaxed) != before {
                    continue;
                }
                self.give_up();
                return Err(Fault::Broken(format!("the server sent nothing for {} s", stall.as_secs())));
            };
            let answer = answer.map_err(Fault::from);
            if let Err(Fault::Broken(_)) = &answer {
                self.give_up();
            } else {
                self.answers.fetch_add(1, Ordering::Relaxed);
            }
            return answer;
        }
    }

    /// Writes one request's worth.
    pub(super) async fn write(&self, handle: &str, offset: u64, bytes: Bytes) -> Result<(), Fault> {
        self.ask(self.sftp.write(handle, offset, bytes.to_vec())).await?;
        Ok(())
    }

    /// Reads a range of at most one request's length; a server may answer with less at a time.
    pub(super) async fn read_exactly(&self, handle: &str, range: Range<u64>) -> Result<Vec<u8>, Fault> {
        let mut found = Vec::new();
        loop {
            let at = range.start + found.len() as u64;
            let data = self.ask(self.sftp.read(handle, at, (range.end - at) as u32)).await?.data;
            if data.is_empty() || data.len() as u64 > range.end - at {
                return Err(Fault::Refused("an answer of the wrong length".to_owned()));
            }
            if found.is_empty() {
                found = data;
            } else {
                found.extend_from_slice(&data);
            }
            if found.len() as u64 == range.end - range.start {
                return Ok(found);
            }
        }
    }

    /// Closes a file without anybody waiting for it.
    pub(super) fn close_later(self: &Arc<Self>, handle: String) {
        let connection = Arc::clone(self);
        tokio::spawn(async move { connection.ask(connection.sftp.close(handle)).await });
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let _ = self.socket.shutdown(Shutdown::Both);
    }
}

fn twice(socket: tokio::net::TcpStream) -> std::io::Result<(tokio::net::TcpStream, TcpStream)> {
    socket.set_nodelay(true)?;
    let ours = socket.into_std()?;
    Ok((tokio::net::TcpStream::from_std(ours.try_clone()?)?, ours))
}

fn config(trust: &Trust, stall: Duration) -> client::Config {
    let mut preferred = Preferred::DEFAULT;
    preferred.key = trust.preferred(&preferred.key).into();
    client::Config {
        preferred,
        // A connection that is quiet because we have nothing to send must not be dropped by a router, nor a dead one be
        // held.
        keepalive_interval: Some(stall / 3),
        keepalive_max: 3,
        nodelay: true,
        ..client::Config::default()
    }
}

fn greeting_failed(label: &str, error: &russh::Error) -> StoreError {
    let (kind, reason) = match error {
        russh::Error::NoCommonAlgo { kind, ours, theirs } => {
            let what = match kind {
                AlgorithmKind::Kex => "key exchange",
                AlgorithmKind::Key => "host key",
                AlgorithmKind::Cipher => "cipher",
                AlgorithmKind::Compression => "compression",
                AlgorithmKind::Mac => "checksum (MAC)",
            };
            let reason = format!(
                "the server offers no safe {what}: it has {}, but Haul needs one of {}",
                theirs.join(", "),
                ours.join(", ")
            );
            return StoreError::remote(label, Operation::Connect, Kind::Protocol, reason)
                .advise("update the server's SSH, or enable the newer ones there");
        }
        russh::Error::KexInit | russh::Error::Version => {
            (Kind::Protocol, "the server does not follow the SSH protocol")
        }
        _ => (Kind::Transient { retry_after: None }, "the connection broke during the greeting"),
    };
    StoreError::remote(label, Operation::Connect, kind, reason)
}

/// The beginning of what a server sends, kept in case it turns out not to be SFTP.
#[derive(Clone, Default)]
struct Heard(Arc<Mutex<Vec<u8>>>);

impl Heard {
    /// More is not shown.
    const MOST: usize = 80;

    /// What it sent, if that was meant for people. SFTP begins with a length, whose first byte is zero.
    fn text(&self) -> Option<String> {
        let bytes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_text =
            bytes.iter().take(4).all(|byte| byte.is_ascii_graphic() || byte.is_ascii_whitespace() || *byte >= 0x80);
        let text = String::from_utf8_lossy(&bytes);
        let line = text.trim().lines().next().unwrap_or_default();
        let line: String = line.chars().filter(|c| !c.is_control()).collect();
        (is_text && !line.is_empty()).then_some(line)
    }
}

/// A stream of which the beginning is remembered.
struct Overheard<S> {
    stream: S,
    heard: Heard,
}

impl<S> Overheard<S> {
    fn new(stream: S) -> (Self, Heard) {
        let heard = Heard::default();
        (Self { stream, heard: heard.clone() }, heard)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Overheard<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut TaskContext<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(context, buffer);
        let mut heard = self.heard.0.lock().unwrap_or_else(PoisonError::into_inner);
        let space = Heard::MOST.saturating_sub(heard.len());
        heard.extend(buffer.filled()[before..].iter().take(space));
        drop(heard);
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Overheard<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut TaskContext<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut TaskContext<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut TaskContext<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// Judges the host's key.
struct Guard {
    trust: Trust,
    // The server's last message.
    message: Arc<Mutex<Option<String>>>,
}

/// Why a connection could not be made.
#[derive(Debug)]
enum Trouble {
    Ssh(russh::Error),
    Refused(Box<StoreError>),
}

impl From<russh::Error> for Trouble {
    fn from(error: russh::Error) -> Self {
        Self::Ssh(error)
    }
}

impl Handler for Guard {
    type Error = Trouble;

    async fn check_server_key(&mut self, key: &PublicKeyOrCertificate) -> Result<bool, Trouble> {
        self.trust.judge(&key.public_key()).map_err(|error| Trouble::Refused(Box::new(error)))?;
        Ok(true)
    }

    async fn disconnected(&mut self, reason: DisconnectReason<Trouble>) -> Result<(), Trouble> {
        match reason {
            DisconnectReason::ReceivedDisconnect(info) => {
                let text = info.message.chars().filter(|c| !c.is_control()).take(200).collect();
                *self.message.lock().unwrap_or_else(PoisonError::into_inner) = Some(text);
                Ok(())
            }
            DisconnectReason::Error(error) => Err(error),
        }
    }
}

/// A destination's current connection.
pub(super) struct ConnectionPool {
    target: Target,
    options: Options,
    login: Login,
    context: Context,
    current: tokio::sync::Mutex<Option<Arc<Connection>>>,
}

impl ConnectionPool {
    pub(super) fn new(target: Target, options: &Options, context: &Context) -> Result<Self, StoreError> {
        let login = Login::new(&target, options, context)?;
        Ok(Self {
            target,
            options: options.clone(),
            login,
            context: context.clone(),
            current: tokio::sync::Mutex::new(None),
        })
    }

    pub(super) fn target(&self) -> &Target {
        &self.target
    }

    /// The connection, reopened if the last one broke.
    pub(super) async fn get(&self) -> Result<Arc<Connection>, StoreError> {
        let mut current = self.current.lock().await;
        if let Some(connection) = current.as_ref().filter(|connection| connection.is_usable()) {
            return Ok(Arc::clone(connection));
        }
        *current = None;
        let trust = Trust::read(&self.target, &self.options, &self.context)?;
        let connection = Arc::new(Connection::open(&self.target, trust, &self.login, &self.context).await?);
        *current = Some(Arc::clone(&connection));
        Ok(connection)
    }

    /// What to write instead, where an absolute path does not work: many servers give an account its home directory and
    /// nothing else.
    pub(super) async fn home_instead(&self, connection: &Connection) -> Option<String> {
        let below = self.target.path.strip_prefix('/')?;
        let home = connection.ask(connection.sftp.realpath(".")).await.ok()?.files.into_iter().next()?.filename;
        if home == "/" || self.target.path.starts_with(&format!("{}/", home.trim_end_matches('/'))) {
            return None;
        }
        Some(format!(
            "this account's home directory is {home}; for a path in it, write {}/~/{below}",
            self.target.server()
        ))
    }

    /// The destination's directory as an absolute path. It, or at least its parent, must exist.
    pub(super) async fn directory(&self) -> Result<String, StoreError> {
        let label = self.target.label();
        let failed = |fault: Fault| fault.at(&label, Operation::Connect);
        let connection = self.get().await?;
        let path = if self.target.path.starts_with('/') {
            self.target.path.clone()
        } else {
            let home = connection.ask(connection.sftp.realpath(".")).await.map_err(failed)?.files.into_iter().next();
            let home = home.ok_or_else(|| failed(Fault::Refused("no home directory".to_owned())))?.filename;
            match self.target.path.as_str() {
                "." => home,
                below => format!("{}/{below}", home.trim_end_matches('/')),
            }
        };
        let nowhere =
            |what: &str| StoreError::remote(&label, Operation::Connect, Kind::NotFound, format!("{what} there"));
        let make_it = "create the directory on the server first; Haul creates only the last component of the path";
        match connection.ask(connection.sftp.stat(&path)).await {
            Ok(found) if found.attrs.is_dir() => Ok(path),
            Ok(_) => Err(nowhere(&format!("{path} is not a directory")).advise(make_it)),
            Err(Fault::Missing) => match connection.ask(connection.sftp.stat(settings::parent(&path))).await {
                Ok(found) if found.attrs.is_dir() => Ok(path),
                Ok(_) | Err(Fault::Missing) => {
                    let advice = self
                        .home_instead(&connection)
                        .await
                        .map_or_else(|| make_it.to_owned(), |home| format!("{make_it}. {home}"));
                    Err(nowhere(&format!("neither {path} nor the directory above it is")).advise(advice))
                }
                Err(fault) => Err(failed(fault)),
            },
            Err(fault) => Err(failed(fault)),
        }
    }
}
