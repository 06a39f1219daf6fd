//! A directory at an OpenSSH server.

use std::{net::SocketAddr, process::Command};

use testkit::{
    proxy::{Answer, Head},
    sshd::{self, Sshd},
};

use crate::bench::{Connection, NAME, Place, Step};

pub struct Sftp {
    server: Sshd,
    home: tempfile::TempDir,
}

impl Sftp {
    pub fn start() -> Option<Self> {
        if !sshd::is_installed() {
            assert!(std::env::var("CI").is_err(), "openssh-server is needed");
            eprintln!("skipped: openssh-server is not installed");
            return None;
        }
        let home = tempfile::tempdir().unwrap();
        std::fs::create_dir(home.path().join(".ssh")).unwrap();
        let server = Sshd::start("").unwrap();
        sshd::make_key(&home.path().join("stranger"), "ed25519", "").unwrap();
        Some(Self { server, home })
    }

    fn with_key(&self, authority: &str, key: &std::path::Path) -> Connection {
        // Known by the address of the proxy, which is what the client sees.
        let known = self.server.known_host("ed25519").unwrap();
        let (_, key_of_host) = known.split_once(' ').unwrap();
        let (host, port) = authority.rsplit_once(':').unwrap();
        std::fs::write(self.home.path().join(".ssh/known_hosts"), format!("[{host}]:{port} {key_of_host}")).unwrap();
        let user = String::from_utf8(Command::new("id").arg("-un").output().unwrap().stdout).unwrap();
        let address = format!("sftp://{}@{authority}{}", user.trim(), self.server.root().display());
        let mut connection = Connection::new(address).with("key_file", key.display().to_string());
        connection.environment.insert("HOME".to_owned(), self.home.path().display().to_string());
        connection
    }
}

impl Place for Sftp {
    fn upstream(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.server.port()))
    }

    fn connection(&self, authority: &str) -> Connection {
        self.with_key(authority, &self.server.user_key())
    }

    fn with_wrong_credentials(&self, authority: &str) -> Option<Connection> {
        Some(self.with_key(authority, &self.home.path().join("stranger")))
    }

    fn object(&self, name: &str) -> Option<Vec<u8>> {
        std::fs::read(self.server.root().join(name)).ok()
    }

    fn leftovers(&self) -> Vec<String> {
        let found = std::fs::read_dir(self.server.root())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap());
        found.filter(|name| name != NAME).collect()
    }

    fn classify(&self) -> Option<fn(&Head) -> Step> {
        None
    }

    fn vanished(&self) -> Option<Answer> {
        None
    }
}
