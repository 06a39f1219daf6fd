//! The proxy does what its script says, and nothing else.
#![allow(clippy::unwrap_used)]

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use testkit::proxy::{Answer, Death, Fate, Proxy, Rule};

/// A server that answers `ok` to every request once it has its body, and counts them.
fn server() -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let served = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&served);
    thread::spawn(move || {
        for connection in listener.incoming() {
            let (mut connection, counter) = (connection.unwrap(), Arc::clone(&counter));
            thread::spawn(move || {
                while let Ok(text) = head(&mut connection) {
                    let length: u64 = text
                        .to_lowercase()
                        .split("content-length: ")
                        .nth(1)
                        .map_or(0, |rest| rest.lines().next().unwrap().parse().unwrap());
                    if io::copy(&mut Read::take(&mut connection, length), &mut io::sink()).unwrap_or(0) < length {
                        return;
                    }
                    counter.fetch_add(1, Ordering::SeqCst);
                    let _ = connection.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
                }
            });
        }
    });
    (address, served)
}

fn head(connection: &mut TcpStream) -> io::Result<String> {
    let mut text = Vec::new();
    while !text.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        connection.read_exact(&mut byte)?;
        text.push(byte[0]);
    }
    Ok(String::from_utf8(text).unwrap())
}

/// Sends a request with a body of that length; gives the answer's head, or how it failed.
fn ask(address: SocketAddr, method: &str, length: usize) -> io::Result<String> {
    let mut connection = TcpStream::connect(address)?;
    connection.set_read_timeout(Some(Duration::from_secs(1)))?;
    connection.write_all(format!("{method} /x HTTP/1.1\r\nContent-Length: {length}\r\n\r\n").as_bytes())?;
    let sent = connection.write_all(&vec![7; length]);
    head(&mut connection).and_then(|text| sent.map(|()| text))
}

#[test]
fn without_a_script_everything_passes_and_is_counted() {
    let (upstream, served) = server();
    let proxy = Proxy::http(upstream).unwrap();
    assert!(ask(proxy.address(), "PUT", 100_000).unwrap().contains("200"));
    assert!(proxy.uploaded() > 100_000 && proxy.uploaded() < 100_100, "{}", proxy.uploaded());
    assert!(proxy.downloaded() >= 40);
    assert_eq!(
        (served.load(Ordering::SeqCst), proxy.connections(), proxy.breaks(), proxy.requests().len()),
        (1, 1, 0, 1)
    );
}

#[test]
fn a_connection_dies_at_the_given_byte_and_the_next_one_lives() {
    for death in [Death::Reset, Death::Close] {
        let (upstream, served) = server();
        let proxy = Proxy::raw(upstream).unwrap();
        proxy.cut_at([50_000], death);
        let kind = ask(proxy.address(), "PUT", 100_000).unwrap_err().kind();
        match death {
            Death::Reset => {
                assert!(matches!(kind, io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe), "{kind:?}");
            }
            Death::Close => assert_eq!(kind, io::ErrorKind::UnexpectedEof),
        }
        assert_eq!((proxy.uploaded(), proxy.breaks(), served.load(Ordering::SeqCst)), (50_000, 1, 0));
        assert!(ask(proxy.address(), "PUT", 100_000).unwrap().contains("200"));
    }
}

#[test]
fn requests_meet_the_rule_that_wants_them_and_only_so_often() {
    let (upstream, served) = server();
    let proxy = Proxy::http(upstream).unwrap();
    proxy.rule(
        Rule::when(|head| head.method == "PUT").after(1).times(2).answer(Answer::new(429).header("Retry-After", "3")),
    );
    let status = |method| ask(proxy.address(), method, 10).unwrap();
    assert!(status("PUT").contains("200"));
    assert!(status("PUT").contains("429") && status("POST").contains("200"));
    let refused = status("PUT");
    assert!(refused.contains("429") && refused.contains("Retry-After: 3"));
    assert!(status("PUT").contains("200"));
    assert_eq!(served.load(Ordering::SeqCst), 3);
    let fates: Vec<Fate> = proxy.requests().iter().map(|seen| seen.fate).collect();
    assert_eq!(fates, [Fate::Forwarded, Fate::Answered(429), Fate::Forwarded, Fate::Answered(429), Fate::Forwarded]);
}

#[test]
fn a_hasty_answer_does_not_wait_for_the_body() {
    let (upstream, served) = server();
    let proxy = Proxy::http(upstream).unwrap();
    proxy.rule(Rule::when(|_| true).answer(Answer::new(507).hasty()));
    let mut connection = TcpStream::connect(proxy.address()).unwrap();
    connection.write_all(b"PUT /x HTTP/1.1\r\nContent-Length: 1000\r\n\r\n").unwrap();
    assert!(head(&mut connection).unwrap().contains("507"));
    assert_eq!(served.load(Ordering::SeqCst), 0);
}

#[test]
fn lost_answers_are_lost_after_the_work_was_done() {
    let (upstream, served) = server();
    let proxy = Proxy::http(upstream).unwrap();
    proxy.rule(Rule::when(|_| true).lose_answer(Death::Close));
    proxy.rule(Rule::when(|_| true).hold_answer());
    assert_eq!(ask(proxy.address(), "PUT", 10).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    assert_eq!(served.load(Ordering::SeqCst), 1);
    assert_eq!(ask(proxy.address(), "PUT", 10).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    assert_eq!(served.load(Ordering::SeqCst), 2);
    assert!(ask(proxy.address(), "PUT", 10).unwrap().contains("200"));
}

#[test]
fn silence_is_silence_and_a_line_that_is_down_refuses() {
    let (upstream, served) = server();
    let proxy = Proxy::http(upstream).unwrap();
    proxy.silent_connections(1);
    proxy.hush_at(20);
    for _ in 0..2 {
        assert_eq!(ask(proxy.address(), "PUT", 10).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    }
    assert_eq!(served.load(Ordering::SeqCst), 0);
    proxy.down_for(Duration::from_millis(300));
    assert!(ask(proxy.address(), "PUT", 10).is_err());
    testkit::wait::until("the line is up again", || ask(proxy.address(), "PUT", 10).is_ok());
}
