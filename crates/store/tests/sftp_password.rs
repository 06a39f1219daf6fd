//! SFTP with a password, which a real OpenSSH server checks against the machine's own users. So the SSH side is a
//! server in this process that lets one user in by password alone; behind it is OpenSSH's own `sftp-server`.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

#[path = "common/sftp_server.rs"]
mod sftp_server;

use std::{fs, time::Duration};

use sftp_server::{Asks, PASSWORD, SftpServer};
use store::{
    Context, Kind, Tuning,
    contract::{self, ContractOptions},
};

fn context() -> Context {
    let _ = rustls::crypto::ring::default_provider().install_default();
    Context::new(
        Tuning { stall: Duration::from_secs(20), ..Tuning::default() },
        "/nonexistent".into(),
        store::Cancellation::default(),
    )
    .unwrap()
}

async fn keeps_the_contract(asks: Asks) {
    let Some(place) = SftpServer::start(asks).await else { return };
    let store = place.connect(PASSWORD, context()).await.unwrap();
    let quick = ContractOptions { settle: Duration::ZERO, longest: Duration::from_mins(2) };
    let findings = contract::check(store.as_ref(), &quick, &mut |_| {}).await.findings;
    let broken: Vec<_> = findings.iter().filter(|finding| !finding.is_fine()).collect();
    assert!(broken.is_empty(), "{broken:#?}");
    assert_eq!(fs::read_dir(place.root()).unwrap().count(), 0);
    let how = if asks == Asks::Outright { "password" } else { "answer" };
    assert!(place.seen.lock().unwrap().iter().all(|seen| seen == how));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_destination_behind_a_password_keeps_the_contract() {
    keeps_the_contract(Asks::Outright).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_asks_for_the_password_is_answered() {
    keeps_the_contract(Asks::Questions).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_password_is_tried_once_and_never_shown() {
    for asks in [Asks::Outright, Asks::Questions] {
        let Some(place) = SftpServer::start(asks).await else { return };
        let error = place.connect("not it", context()).await.map(drop).expect_err("was let in");
        assert_eq!(error.kind(), Some(Kind::Credentials), "{error}");
        let said = format!("{error} {error:?}");
        assert!(said.contains("did not accept the password") && !said.contains("not it"), "{said}");
        assert_eq!(place.seen.lock().unwrap().len(), 1);
    }
}
