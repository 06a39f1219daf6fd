//! Helpers with which the tests query an instance.

#![allow(dead_code)]

use std::time::Duration;

use bytes::Bytes;
use homeassistant::{Instance, Progress, Timeouts, Tls, Upload};

pub(crate) fn timeouts() -> Timeouts {
    let _ = rustls::crypto::ring::default_provider().install_default();
    Timeouts {
        connect: Duration::from_secs(5),
        stall: Duration::from_secs(2),
        answer: Duration::from_secs(3),
        ready: Duration::from_millis(300),
        first_look: Duration::from_millis(20),
        longest_look: Duration::from_millis(50),
        restart: Duration::from_secs(2),
        again: Duration::from_millis(300),
        loaded: Duration::from_millis(200),
    }
}

pub(crate) async fn look(url: &str) -> Result<Instance, homeassistant::Error> {
    Instance::look(url, Tls::default(), timeouts()).await
}

pub(crate) fn file(
    bytes: &[u8],
    with_length: bool,
) -> Upload<impl futures_util::Stream<Item = Result<Bytes, String>> + Send + 'static> {
    let pieces: Vec<_> = bytes.chunks(100_000).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
    let length = with_length.then_some(bytes.len() as u64);
    Upload {
        file_name: "home.tar".into(),
        length,
        stream: futures_util::stream::iter(pieces),
        progress: Progress::default(),
    }
}
