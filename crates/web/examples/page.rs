//! The pages over a service that is made up: `page STATE ADDRESS DIRECTORY`, where the state is `good`, `busy`,
//! `trouble`, `fresh`, `many` or `hostile`. With `open` as a fourth word, nobody has to log in.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "an example")]

#[path = "../tests/fake/mod.rs"]
mod fake;

use std::{net::IpAddr, sync::Arc, time::Duration};

use fake::{Fake, state::State};
use web::{App, Ingress, Listener, NotAdmitted, Options, Trust, serve};

/// No Home Assistant is there to ask.
struct Everybody;

impl Ingress for Everybody {
    fn admit(&self, _peer: Option<IpAddr>, _user: &str) -> Result<(), NotAdmitted> {
        Ok(())
    }
}

#[tokio::main]
async fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let word = |number: usize, otherwise: &str| arguments.get(number).map_or(otherwise.to_owned(), Clone::clone);
    let state = match word(0, "good").as_str() {
        "busy" => State::busy(),
        "trouble" => State::trouble(),
        "fresh" => State::fresh(),
        "many" => State::many(),
        "hostile" => State::hostile(),
        _ => State::good(),
    };
    let backend = Arc::new(Fake::new(state));
    let options = Options {
        state: word(2, "/tmp/haul-page").into(),
        base_path: String::new(),
        hosts: Vec::new(),
        https: false,
        ingress: Some(Arc::new(Everybody)),
    };
    let app = App::new(backend.clone(), options).unwrap();
    let listener = tokio::net::TcpListener::bind(word(1, "127.0.0.1:8745")).await.unwrap();
    println!("http://{}", listener.local_addr().unwrap());
    if let Some(code) = app.setup_code() {
        println!("set-up code: {code}");
    }
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(Duration::from_secs(1)).await;
            backend.go_on();
        }
    });
    let trust = if word(3, "") == "open" { Trust::Ingress } else { Trust::LogIn };
    serve(Listener::Tcp(listener), trust, app, std::future::pending()).await;
}
