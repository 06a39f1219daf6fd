//! Real connections.

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpSocket, TcpStream, UnixListener, UnixStream},
    sync::oneshot,
};
use web::{Listener, Trust, serve};

use crate::{Site, fake::state::State};

async fn exchange(mut stream: impl AsyncReadExt + AsyncWriteExt + Unpin, request: &str) -> String {
    // What is refused early may not be read to its end.
    let _ = stream.write_all(request.as_bytes()).await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn over_the_network_one_logs_in_and_over_the_own_socket_not() {
    let site = Site::new(State::good());
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("haul.sock");
    let network = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = network.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let served = tokio::spawn(serve(Listener::Tcp(network), Trust::LogIn, site.app.clone(), async {
        let _ = stopped.await;
    }));
    let local = Listener::Unix(UnixListener::bind(&socket).unwrap());
    let own = tokio::spawn(serve(local, Trust::Local, site.app.clone(), std::future::pending()));

    let ask = "GET /api/v1/status HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let answer = exchange(TcpStream::connect(address).await.unwrap(), ask).await;
    assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
    let answer = exchange(UnixStream::connect(&socket).await.unwrap(), ask).await;
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("\"headline\""), "{answer}");
    let order = "POST /api/v1/sync HTTP/1.1\r\nHost: haul\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    let answer = exchange(UnixStream::connect(&socket).await.unwrap(), order).await;
    assert!(answer.starts_with("HTTP/1.1 202 "), "{answer}");

    // A head that is too long, and a body that says so beforehand.
    let long = format!("GET / HTTP/1.1\r\nHost: localhost\r\nX: {}\r\n\r\n", "x".repeat(100_000));
    let answer = exchange(TcpStream::connect(address).await.unwrap(), &long).await;
    assert!(answer.starts_with("HTTP/1.1 431 ") || answer.is_empty(), "{answer}");
    let long = "POST /login HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9000000\r\nConnection: close\r\n\r\n";
    let answer = exchange(TcpStream::connect(address).await.unwrap(), long).await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");

    // Whoever listens to changes does not keep the service from ending.
    let mut listening = UnixStream::connect(&socket).await.unwrap();
    listening.write_all(b"GET /api/v1/stream HTTP/1.1\r\nHost: haul\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut told = vec![0; 4096];
    assert!(listening.read(&mut told).await.unwrap() > 0);
    stop.send(()).unwrap();
    served.await.unwrap();
    assert!(TcpStream::connect(address).await.is_err());
    told.clear();
    listening.read_to_end(&mut told).await.unwrap();
    assert!(told.ends_with(b"0\r\n\r\n"), "the stream ends as it should: {}", String::from_utf8_lossy(&told));
    own.abort();
}

#[tokio::test]
async fn who_opens_many_connections_keeps_out_nobody_else() {
    let site = Site::new(State::good());
    let network = TcpListener::bind("0.0.0.0:0").await.unwrap();
    let port = network.local_addr().unwrap().port();
    let served = tokio::spawn(serve(Listener::Tcp(network), Trust::LogIn, site.app.clone(), std::future::pending()));
    let mut held = Vec::new();
    for _ in 0..200 {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        // Half a head.
        let _ = stream.write_all(b"GET / HTTP/1.1\r\nHost: local").await;
        held.push(stream);
    }
    let other = TcpSocket::new_v4().unwrap();
    other.bind("127.0.0.2:0".parse().unwrap()).unwrap();
    let other = other.connect(([127, 0, 0, 1], port).into()).await.unwrap();
    let ask = "GET /api/v1/status HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let answer = exchange(other, ask).await;
    assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
    let mut last = held.pop().unwrap();
    assert!(!matches!(last.read(&mut [0; 1]).await, Ok(1..)), "it was closed");
    served.abort();
}
