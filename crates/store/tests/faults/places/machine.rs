//! Another machine that receives, with a local directory behind it.

use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use peer::{
    Identity, Known, Limits, Server,
    gate::{Gate, GateLimits},
};
use store::{
    local::Local,
    machine::{self, Receiver, ReceiverOptions},
};
use testkit::proxy::{Answer, Head};
use tokio::runtime::Runtime;

use crate::bench::{Connection, NAME, Place, Step};

pub struct Machine {
    _runtime: Runtime,
    address: SocketAddr,
    code: String,
    directory: tempfile::TempDir,
}

impl Machine {
    pub fn start() -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let directory = tempfile::tempdir().unwrap();
        let to = directory.path().join("to");
        std::fs::create_dir(&to).unwrap();
        let state = machine::state(&directory.path().join("there"));
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let (address, code) = runtime.block_on(async {
            let limits = GateLimits {
                tries: 50,
                life: Duration::from_mins(10),
                first_pause: Duration::from_millis(40),
                longest_pause: Duration::from_millis(200),
                ..GateLimits::default()
            };
            let gate = Arc::new(Gate::new(limits));
            let code = gate.renew().unwrap();
            let server = Server {
                identity: Identity::load_or_create(&state).unwrap(),
                name: "nas".into(),
                known: Arc::new(Known::new(&state)),
                gate,
                host: Arc::new(Receiver::new(
                    Arc::new(Local::open(&to).unwrap()),
                    &state,
                    ReceiverOptions { builder: None, append_only: false, on_event: Arc::new(|_| {}) },
                )),
                events: Arc::new(|_| {}),
                limits: Limits { answer_within: Duration::from_secs(2), ..Limits::default() },
            };
            let listener = Server::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            tokio::spawn(server.run(listener));
            (address, code)
        });
        Self { _runtime: runtime, address, code, directory }
    }

    fn to(&self) -> PathBuf {
        self.directory.path().join("to")
    }
}

impl Place for Machine {
    fn upstream(&self) -> SocketAddr {
        self.address
    }

    fn connection(&self, authority: &str) -> Connection {
        let mut connection = Connection::new(format!("haul://{authority}"));
        connection.state = self.directory.path().join("here");
        connection.environment.insert("HAUL_PAIRING_CODE".to_owned(), self.code.clone());
        connection
    }

    fn with_wrong_credentials(&self, authority: &str) -> Option<Connection> {
        let mut connection = self.connection(authority);
        connection.state = self.directory.path().join("stranger");
        connection.environment.insert("HAUL_PAIRING_CODE".to_owned(), "000-000".to_owned());
        Some(connection)
    }

    fn object(&self, name: &str) -> Option<Vec<u8>> {
        std::fs::read(self.to().join(name)).ok()
    }

    fn leftovers(&self) -> Vec<String> {
        let found =
            std::fs::read_dir(self.to()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        found.filter(|name| name != NAME).collect()
    }

    fn classify(&self) -> Option<fn(&Head) -> Step> {
        None
    }

    fn vanished(&self) -> Option<Answer> {
        None
    }
}
