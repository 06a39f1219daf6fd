//! A connection to a broker: opened, logged in, and whole packets both ways.

use std::{error::Error, io, sync::Arc, time::Duration};

use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use rustls_platform_verifier::BuilderVerifierExt;
use store::{Cancellation, Secret, files};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::TlsConnector;
use zeroize::Zeroizing;

use super::packet::{self, Connect, Frames, Packet};
use crate::config::Mqtt;

/// The broker hears from us at least so often, so it notices in one and a half of these that we are gone.
pub(super) const KEEP_ALIVE: Duration = Duration::from_mins(3);
/// A broker that takes longer to answer, or to take a message, is away.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);
/// Whoever says goodbye waits so long for the other one.
pub(super) const GOODBYE: Duration = Duration::from_secs(2);

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// A broker that let us in.
pub(super) struct Connection {
    stream: Box<dyn Stream>,
    frames: Frames,
}

impl Connection {
    /// The error is a clause about the broker.
    pub(super) async fn open(settings: &Mqtt, client: &str, will: Option<(&str, &str)>) -> Result<Self, String> {
        let opened = timeout(PATIENCE, async {
            let stream = connected(settings).await?;
            let mut connection = Self { stream, frames: Frames::default() };
            connection.log_in(settings, client, will).await?;
            Ok(connection)
        });
        opened.await.unwrap_or_else(|_| Err("does not answer".to_owned()))
    }

    async fn log_in(&mut self, settings: &Mqtt, client: &str, will: Option<(&str, &str)>) -> Result<(), String> {
        let password = password(settings).await?;
        let login = Connect {
            client,
            keep_alive: KEEP_ALIVE.as_secs() as u16,
            username: settings.username.as_deref(),
            password: password.as_ref().map(Secret::expose),
            will,
        };
        self.send(&Zeroizing::new(packet::connect(&login))).await?;
        match self.read().await? {
            Packet::ConnAck(0) => Ok(()),
            Packet::ConnAck(code) => Err(refusal(code, settings)),
            _ => Err("does not answer as an MQTT broker".to_owned()),
        }
    }

    /// The next packet. May be given up at any time: nothing is lost.
    pub(super) async fn read(&mut self) -> Result<Packet, String> {
        loop {
            let next = self.frames.next().map_err(|_| "does not speak MQTT 3.1.1".to_owned())?;
            if let Some(packet) = next {
                return Ok(packet);
            }
            match self.stream.read_buf(&mut self.frames.buffer).await {
                Ok(0) => return Err("closed the connection".to_owned()),
                Ok(_) => {}
                Err(error) => return Err(lost(&error)),
            }
        }
    }

    pub(super) async fn send(&mut self, bytes: &[u8]) -> Result<(), String> {
        let sent = timeout(PATIENCE, async {
            self.stream.write_all(bytes).await?;
            self.stream.flush().await
        });
        match sent.await {
            Ok(sent) => sent.map_err(|error| lost(&error)),
            Err(_) => Err("takes no more messages".to_owned()),
        }
    }

    /// Says goodbye, so that the broker does not say that we are gone.
    pub(super) async fn close(mut self) {
        let goodbye = timeout(GOODBYE, async {
            self.send(packet::DISCONNECT).await?;
            self.stream.shutdown().await.map_err(|error| lost(&error))?;
            // It may still be sending. If that failed because nobody is here, it would not read on, and miss the rest.
            // It closes in turn.
            while self.read().await.is_ok() {}
            Ok::<(), String>(())
        });
        let _ = goodbye.await;
    }
}

async fn connected(settings: &Mqtt) -> Result<Box<dyn Stream>, String> {
    let unreachable = |error: &io::Error| format!("can't be reached: {}", engine::plain_reason(error));
    let stream =
        TcpStream::connect((settings.host.as_str(), settings.port)).await.map_err(|error| unreachable(&error))?;
    let _ = stream.set_nodelay(true);
    if !settings.tls {
        return Ok(Box::new(stream));
    }
    let config = tls(settings)?;
    let name = ServerName::try_from(settings.host.clone()).map_err(|_| "has no valid name".to_owned())?;
    let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await;
    Ok(Box::new(stream.map_err(|error| untrusted(&error))?))
}

fn tls(settings: &Mqtt) -> Result<ClientConfig, String> {
    let unusable = |error: &dyn Error| format!("can't be reached with TLS: {error}");
    let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| unusable(&error))?;
    let mut roots = RootCertStore::empty();
    if let Some(path) = &settings.ca_file {
        let shown = engine::shown(path.as_os_str().as_encoded_bytes());
        let text = files::read_short(path, 1 << 20, &Cancellation::default()).map_err(|error| {
            format!("is not trusted: ca_file {shown} can't be read: {}", engine::plain_reason(&error))
        })?;
        roots.add_parsable_certificates(CertificateDer::pem_slice_iter(text.as_bytes()).flatten());
        if roots.is_empty() {
            return Err(format!("is not trusted: ca_file {shown} holds no certificate"));
        }
        return Ok(builder.with_root_certificates(roots).with_no_client_auth());
    }
    // As for destinations: this machine's list of authorities, or the built-in one where there is none.
    if let Ok(builder) = builder.clone().with_platform_verifier() {
        return Ok(builder.with_no_client_auth());
    }
    if ["SSL_CERT_FILE", "SSL_CERT_DIR"].iter().all(|name| std::env::var_os(name).is_none()) {
        roots.add_parsable_certificates(webpki_root_certs::TLS_SERVER_ROOT_CERTS.iter().cloned());
    }
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

async fn password(settings: &Mqtt) -> Result<Option<Secret>, String> {
    let Some(path) = settings.password_file.clone() else { return Ok(None) };
    let shown = engine::shown(path.as_os_str().as_encoded_bytes());
    let read = tokio::task::spawn_blocking(move || Secret::in_file(&path, &Cancellation::default()));
    let read = read.await.map_err(|error| error.to_string()).flatten();
    read.map(Some).map_err(|why| format!("is not asked: the password file {shown} {why}"))
}

fn refusal(code: u8, settings: &Mqtt) -> String {
    match code {
        1 => "does not speak MQTT 3.1.1".to_owned(),
        2 => "refuses the client's name".to_owned(),
        3 => "is not ready yet".to_owned(),
        4 | 5 if settings.username.is_none() => "lets nobody in without a login: set a user and a password".to_owned(),
        4 | 5 => "refuses the login: check the user and the password".to_owned(),
        _ => format!("refuses the connection (code {code})"),
    }
}

fn lost(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe | io::ErrorKind::UnexpectedEof => {
            "closed the connection".to_owned()
        }
        _ => format!("is lost: {}", engine::plain_reason(error)),
    }
}

fn untrusted(error: &io::Error) -> String {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::InvalidCertificate(reason)) => format!(
            "is not trusted: its certificate is not valid ({reason}); if an authority of your own issued it, name that \
             one's certificate in ca_file"
        ),
        Some(rustls::Error::InvalidMessage(_)) => "does not speak TLS: use mqtt:// or another port".to_owned(),
        _ => lost(error),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use std::{
        io::{Read, Write},
        net::TcpListener,
        sync::mpsc,
    };

    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn the_last_words_arrive_whatever_is_still_on_its_way_to_us() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let settings = Mqtt {
            host: "127.0.0.1".to_owned(),
            port: listener.local_addr().unwrap().port(),
            tls: false,
            username: None,
            password_file: None,
            ca_file: None,
            discovery_prefix: "homeassistant".to_owned(),
            topic: "haul".to_owned(),
        };
        let ((sent, is_sent), (closed, is_closed)) = (mpsc::channel(), mpsc::channel());
        let broker = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut login = [0; 64];
            assert!(stream.read(&mut login).unwrap() > 0);
            stream.write_all(&[0x20, 2, 0, 0]).unwrap();
            // Nobody reads these before the end.
            stream.write_all(&packet::publish("a", &"x".repeat(60_000), false)).unwrap();
            sent.send(()).unwrap();
            // It is slow: whoever does not wait for it is gone by now.
            let _ = is_closed.recv_timeout(Duration::from_millis(300));
            // A real one sends us our own words, and stops reading when that fails.
            stream.write_all(&packet::publish("a", "b", false))?;
            let mut rest = Vec::new();
            stream.read_to_end(&mut rest).map(|_| rest)
        });
        let mut connection = Connection::open(&settings, "c", Some(("haul/status", "offline"))).await.unwrap();
        is_sent.recv().unwrap();
        connection.send(&packet::publish("a", "b", true)).await.unwrap();
        connection.close().await;
        let _ = closed.send(());
        let mut expected = packet::publish("a", "b", true);
        expected.extend_from_slice(packet::DISCONNECT);
        assert_eq!(broker.join().unwrap().unwrap(), expected);
    }
}
