//! WebDAV servers: Apache, which accepts partial writes; wsgidav, which accepts only whole files; a fake that accepts
//! partial writes by `PATCH`. And Nextcloud's chunks.

use std::{net::SocketAddr, path::PathBuf};

use testkit::{
    apache::{self, Apache},
    nextcloud::{self, Nextcloud, Pieces},
    proxy::{Answer, Head},
    wsgidav::{self, Wsgidav},
};
use tokio::runtime::Runtime;

use crate::bench::{Connection, NAME, Place, Step};

/// The server, and how its files are seen from behind.
enum Server {
    Apache(Apache),
    Wsgidav(Wsgidav),
    Patched(Nextcloud, #[expect(dead_code, reason = "the server lives in it")] Runtime),
    Chunks(Nextcloud, #[expect(dead_code, reason = "the server lives in it")] Runtime),
}

pub struct WebDav {
    server: Server,
    secrets: tempfile::TempDir,
}

fn fake(start: impl Future<Output = std::io::Result<Nextcloud>>) -> (Nextcloud, Runtime) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    (runtime.block_on(start).unwrap(), runtime)
}

impl WebDav {
    fn new(server: Server) -> Self {
        Self { server, secrets: tempfile::tempdir().unwrap() }
    }

    pub fn apache() -> Option<Self> {
        Apache::start().map(|server| Self::new(Server::Apache(server)))
    }

    pub fn wsgidav() -> Option<Self> {
        Wsgidav::start().map(|server| Self::new(Server::Wsgidav(server)))
    }

    pub fn patched() -> Self {
        let (server, runtime) = fake(Nextcloud::plain(Pieces::Patched));
        Self::new(Server::Patched(server, runtime))
    }

    pub fn chunks() -> Self {
        let (server, runtime) = fake(Nextcloud::start(""));
        Self::new(Server::Chunks(server, runtime))
    }

    fn with_password(&self, authority: &str, password: &str) -> Connection {
        let (address, user) = match &self.server {
            Server::Apache(_) => (format!("webdav://{authority}/dav/backups"), apache::USER),
            Server::Wsgidav(_) => (format!("webdav://{authority}/backups"), wsgidav::USER),
            Server::Patched(..) => {
                (format!("webdav://{authority}/remote.php/dav/files/ha%20ul/backups"), nextcloud::USER)
            }
            Server::Chunks(..) => (format!("nextcloud://{authority}/backups"), nextcloud::USER),
        };
        let file = self.secrets.path().join(if password == "wrong" { "wrong" } else { "right" });
        std::fs::write(&file, password).unwrap();
        Connection::new(address)
            .with("user", user)
            .with("password_file", file.display().to_string())
            .with("allow_http", "true")
    }

    fn directory(&self) -> Option<PathBuf> {
        match &self.server {
            Server::Apache(server) => Some(server.files().join("backups")),
            Server::Wsgidav(server) => Some(server.files().join("backups")),
            Server::Patched(..) | Server::Chunks(..) => None,
        }
    }

    fn fake(&self) -> Option<&Nextcloud> {
        match &self.server {
            Server::Patched(server, _) | Server::Chunks(server, _) => Some(server),
            Server::Apache(_) | Server::Wsgidav(_) => None,
        }
    }
}

fn classify(head: &Head) -> Step {
    let is_empty = head.header("content-length") == Some("0");
    match head.method.as_str() {
        "MKCOL" => Step::Create,
        "PUT" if is_empty => Step::Create,
        "PUT" | "PATCH" => Step::Put,
        "MOVE" => Step::Commit,
        _ => Step::Other,
    }
}

impl Place for WebDav {
    fn upstream(&self) -> SocketAddr {
        let authority = match &self.server {
            Server::Apache(server) => server.authority(),
            Server::Wsgidav(server) => server.authority(),
            Server::Patched(server, _) | Server::Chunks(server, _) => server.authority(),
        };
        authority.parse().unwrap()
    }

    fn connection(&self, authority: &str) -> Connection {
        let password = match &self.server {
            Server::Apache(_) => apache::PASSWORD,
            Server::Wsgidav(_) => wsgidav::PASSWORD,
            Server::Patched(..) | Server::Chunks(..) => nextcloud::PASSWORD,
        };
        self.with_password(authority, password)
    }

    fn with_wrong_credentials(&self, authority: &str) -> Option<Connection> {
        Some(self.with_password(authority, "wrong"))
    }

    fn object(&self, name: &str) -> Option<Vec<u8>> {
        match self.fake() {
            Some(server) => {
                server.file(&format!("/files/{}/backups/{name}", nextcloud::USER)).map(|bytes| bytes.to_vec())
            }
            None => std::fs::read(self.directory()?.join(name)).ok(),
        }
    }

    fn leftovers(&self) -> Vec<String> {
        if let Some(server) = self.fake() {
            // What is not a folder, or lies among the uploads.
            let upload = |path: &String| {
                path.strip_prefix("/uploads/").is_some_and(|rest| rest.trim_end_matches('/').contains('/'))
            };
            let odd = |path: &String| upload(path) || !(path.ends_with('/') || path.ends_with(NAME));
            return server.paths().into_iter().filter(odd).collect();
        }
        let found =
            self.directory().into_iter().filter_map(|directory| std::fs::read_dir(directory).ok()).flatten().flatten();
        // Apache keeps what it knows of files in `.DAV`.
        found
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .filter(|name| name != NAME && name != ".DAV")
            .collect()
    }

    fn classify(&self) -> Option<fn(&Head) -> Step> {
        Some(classify)
    }

    fn vanished(&self) -> Option<Answer> {
        match self.server {
            Server::Chunks(..) => Some(Answer::new(404)),
            Server::Apache(_) | Server::Patched(..) => Some(Answer::new(412)),
            Server::Wsgidav(_) => None,
        }
    }
}
