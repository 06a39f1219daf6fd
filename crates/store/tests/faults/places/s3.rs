//! Buckets at two S3 servers: s3s-fs in this process, and moto.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use testkit::{
    moto::Moto,
    proxy::{Answer, Head},
    s3::{ACCESS_KEY, S3Server, SECRET_KEY},
};

use crate::bench::{Connection, NAME, Place, Step};

enum Server {
    Here(S3Server),
    Moto(Moto),
}

pub struct S3 {
    server: Server,
    files: tempfile::TempDir,
}

impl S3 {
    pub fn start() -> Self {
        Self { server: Server::Here(S3Server::start(&["backups"]).unwrap()), files: tempfile::tempdir().unwrap() }
    }

    pub fn moto() -> Option<Self> {
        let server = Moto::start(&["backups"]).unwrap()?;
        Some(Self { server: Server::Moto(server), files: tempfile::tempdir().unwrap() })
    }

    fn with_secret(&self, authority: &str, secret: &str) -> Connection {
        let file = self.files.path().join(secret);
        std::fs::write(&file, secret).unwrap();
        Connection::new("s3://backups/home")
            .with("endpoint", format!("http://{authority}"))
            .with("access_key_id", ACCESS_KEY)
            .with("secret_access_key_file", file.display().to_string())
    }
}

pub fn refusal(status: u16, code: &str) -> Answer {
    let body = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?><Error><Code>{code}</Code><Message>As told.</Message></Error>"
    );
    Answer::new(status).header("content-type", "application/xml").body(&body)
}

pub fn classify(head: &Head) -> Step {
    match head.method.as_str() {
        "POST" if head.target.ends_with("?uploads") || head.target.ends_with("?uploads=") => Step::Create,
        "PUT" if head.target.contains("partNumber=") => Step::Put,
        "POST" if head.target.contains("uploadId=") => Step::Commit,
        _ => Step::Other,
    }
}

/// An object's bytes, past the client under test.
fn fetch(server: SocketAddr, target: &str) -> Option<Vec<u8>> {
    let mut socket = TcpStream::connect(server).unwrap();
    write!(socket, "GET {target} HTTP/1.0\r\nHost: {server}\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer).unwrap();
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
    String::from_utf8_lossy(&answer[..end]).lines().next().unwrap().contains("200").then(|| answer.split_off(end))
}

impl Place for S3 {
    fn upstream(&self) -> SocketAddr {
        match &self.server {
            Server::Here(server) => server.address(),
            Server::Moto(server) => server.address(),
        }
    }

    fn connection(&self, authority: &str) -> Connection {
        self.with_secret(authority, SECRET_KEY)
    }

    fn with_wrong_credentials(&self, authority: &str) -> Option<Connection> {
        // Moto lets everybody in.
        matches!(self.server, Server::Here(_)).then(|| self.with_secret(authority, "wrong"))
    }

    fn object(&self, name: &str) -> Option<Vec<u8>> {
        match &self.server {
            Server::Here(server) => std::fs::read(server.directory().join("backups/home").join(name)).ok(),
            Server::Moto(server) => fetch(server.address(), &format!("/backups/home/{name}")),
        }
    }

    fn leftovers(&self) -> Vec<String> {
        let own = format!("home/{NAME}");
        let mut left = match &self.server {
            Server::Here(server) => server.keys("backups"),
            Server::Moto(server) => {
                let listed = server.ask("GET", "/backups").unwrap();
                listed
                    .split("<Key>")
                    .skip(1)
                    .filter_map(|rest| rest.split("</Key>").next())
                    .map(str::to_owned)
                    .collect()
            }
        };
        left.retain(|key| *key != own);
        left
    }

    fn unfinished(&self) -> usize {
        match &self.server {
            // Only the uploads: a part that this server was still writing when its upload was ended stays behind, and
            // no request could remove it.
            Server::Here(server) => {
                let names = std::fs::read_dir(server.directory())
                    .unwrap()
                    .map(|entry| entry.unwrap().file_name().into_string().unwrap());
                names.filter(|name| name.starts_with(".upload-") && name.contains(".json")).count()
            }
            Server::Moto(server) => server.unfinished("backups").unwrap(),
        }
    }

    fn stall(&self) -> Duration {
        Duration::from_secs(4)
    }

    fn classify(&self) -> Option<fn(&Head) -> Step> {
        Some(classify)
    }

    fn part_size(&self) -> Option<u64> {
        // The smallest that S3 knows.
        Some(5 << 20)
    }

    fn denied(&self) -> Answer {
        refusal(403, "AccessDenied")
    }

    fn full(&self) -> Answer {
        refusal(507, "XMinioStorageFull")
    }

    fn vanished(&self) -> Option<Answer> {
        Some(refusal(404, "NoSuchUpload"))
    }
}
