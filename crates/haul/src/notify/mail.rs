//! E-mail.

use std::{path::PathBuf, time::Instant};

use keeper::status::Failure as Reason;
use lettre::{
    Message, SmtpTransport, Transport,
    message::{Mailbox, header::ContentType},
    transport::smtp::{
        authentication::Credentials,
        client::{Certificate, CertificateStore, Tls, TlsParameters},
    },
};

use super::{TIME_LIMIT, innermost, secret};

/// Where mail goes, and through whom.
#[derive(Clone, Debug)]
pub(crate) struct Mail {
    pub(crate) to: Vec<Mailbox>,
    pub(crate) from: Mailbox,
    /// The server's name and port.
    pub(crate) server: (String, u16),
    /// TLS from the first byte (`smtps`); else it is asked for, and demanded when there is a password.
    pub(crate) tls: bool,
    pub(crate) user: Option<String>,
    pub(crate) password_file: Option<PathBuf>,
}

impl Mail {
    /// Hands a message to the server.
    pub(super) fn send(&self, subject: &str, text: &str) -> Result<(), Reason> {
        let (host, port) = &self.server;
        let unusable = |why: String, hint: &str| Reason {
            message: format!("mail through {host} can't be sent: {why}"),
            hint: Some(hint.to_owned()),
            passes: true,
        };
        let mut message = Message::builder()
            .from(self.from.clone())
            .subject(subject)
            .date(std::time::SystemTime::now())
            .header(ContentType::TEXT_PLAIN);
        for to in &self.to {
            message = message.to(to.clone());
        }
        let message = message
            .body(format!("{text}\n"))
            .map_err(|error| unusable(error.to_string(), "check the addresses that it goes to and comes from"))?;
        let _ = rustls::crypto::ring::default_provider().install_default();
        let parameters =
            self.parameters().map_err(|error| unusable(innermost(&error), "check the mail server's name"))?;
        let tls = match (self.tls, &self.password_file) {
            (true, _) => Tls::Wrapper(parameters),
            (false, Some(_)) => Tls::Required(parameters),
            (false, None) => Tls::Opportunistic(parameters),
        };
        let mut transport = SmtpTransport::builder_dangerous(host).port(*port).tls(tls).timeout(Some(TIME_LIMIT));
        if let (Some(user), Some(path)) = (&self.user, &self.password_file) {
            transport = transport.credentials(Credentials::new(user.clone(), secret(path)?.expose().to_owned()));
        }
        let begun = Instant::now();
        let sent = transport.build().send(&message);
        sent.map(|_| ()).map_err(|error| {
            let hint = if error.is_permanent() {
                "check the addresses, the user and the password"
            } else if error.is_tls() {
                "smtps:// speaks TLS at once (usually port 465), smtp:// asks for it (usually port 587)"
            } else {
                "check the mail server and its port"
            };
            let reason = if begun.elapsed() >= TIME_LIMIT {
                format!("it did not answer within {} s", TIME_LIMIT.as_secs())
            } else {
                innermost(&error)
            };
            unusable(reason, hint)
        })
    }

    /// Whom to trust: what this machine trusts, else the list that is built in.
    fn parameters(&self) -> Result<TlsParameters, lettre::transport::smtp::Error> {
        let host = &self.server.0;
        TlsParameters::new(host.clone()).or_else(|_| {
            let mut builder = TlsParameters::builder(host.clone()).certificate_store(CertificateStore::None);
            for authority in webpki_root_certs::TLS_SERVER_ROOT_CERTS {
                builder = builder.add_root_certificate(Certificate::from_der(authority.to_vec())?);
            }
            builder.build()
        })
    }
}
