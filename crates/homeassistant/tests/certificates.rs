//! Instances with a certificate: one that is not trusted here, one that is taken as it is, and one that came with the
//! restored configuration.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod common;

use std::{net::SocketAddr, sync::Arc};

use common::{file, look, timeouts};
use homeassistant::{Instance, Kind, Phase, Secret, Stage, Tls, Way};
use rustls::{
    ServerConfig,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
};
use testkit::home_assistant::{Fake, Mind, TOKEN};
use testkit::proxy::Proxy;
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use tokio_rustls::TlsAcceptor;

/// A server with a certificate of its own making in front of `inner`; ends with the handle.
async fn with_certificate(inner: SocketAddr, at: &str) -> (SocketAddr, JoinHandle<()>) {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let own = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(own.signing_key.serialize_der()));
    let config =
        ServerConfig::builder().with_no_client_auth().with_single_cert(vec![own.cert.der().clone()], key).unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind(at).await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let (Ok(mut outer), Ok(mut inner)) = (acceptor.accept(socket).await, TcpStream::connect(inner).await)
                else {
                    return;
                };
                let _ = copy_bidirectional(&mut outer, &mut inner).await;
            });
        }
    });
    (address, serving)
}

#[tokio::test]
async fn a_certificate_that_is_not_trusted_is_refused_unless_that_is_allowed() {
    let fake = Fake::start(Mind::default());
    let (address, _serving) = with_certificate(fake.address, "127.0.0.1:0").await;
    let url = format!("https://localhost:{}", address.port());
    let error = look(&url).await.unwrap_err();
    assert_eq!(error.kind, Kind::Certificate, "{error}");
    assert!(error.advice.unwrap().contains("--insecure"));

    let instance = Instance::look(&url, Tls { insecure: true }, timeouts()).await.unwrap();
    assert_eq!(instance.seen().version.as_deref(), Some("2026.11.0"));
    assert_eq!(instance.upload("hassio.local", file(&vec![1; 1 << 20], true)).await.unwrap(), "1a2b3c4d");
    fake.think(|mind| mind.user_made = None);
    let instance = Instance::look(&url, Tls { insecure: true }, timeouts()).await.unwrap();
    assert_eq!(instance.seen().phase, Phase::SetUp);
    instance.admin(Secret::new(TOKEN)).await.unwrap();
}

#[tokio::test]
async fn http_against_a_certificate_gets_the_advice_to_use_https() {
    let fake = Fake::start(Mind::default());
    let (address, _serving) = with_certificate(fake.address, "127.0.0.1:0").await;
    let error = look(&format!("http://localhost:{}", address.port())).await.unwrap_err();
    assert_eq!(error.kind, Kind::Unreachable, "{error}");
    assert_eq!(error.advice.unwrap(), format!("if it uses a certificate, write https://localhost:{}", address.port()));
}

#[tokio::test]
async fn a_restored_configuration_may_bring_a_certificate() {
    let fake = Fake::start(Mind::default());
    // The instance's own port: first in the clear, then with a certificate.
    let clear = Proxy::raw(fake.address).unwrap();
    let (inner, port) = (fake.address, clear.address());
    let instance = look(&format!("http://{port}")).await.unwrap();
    drop(clear);
    fake.think(|mind| mind.user_made = None);
    let (down, is_down) = tokio::sync::oneshot::channel();
    let serving = tokio::spawn(async move {
        is_down.await.unwrap();
        with_certificate(inner, &port.to_string()).await
    });
    let mut down = Some(down);
    let restored = instance.follow_restart(&Way::FirstPage, &[], |stage, _| {
        if let (Stage::Down, Some(down)) = (stage, down.take()) {
            down.send(()).unwrap();
        }
    });
    assert_eq!(restored.await.unwrap().address, format!("https://{port}"));
    drop(serving);
}
