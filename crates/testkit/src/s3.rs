//! An S3 server in this process: `s3s-fs` on its own directory, on a free port of the loopback, with one pair of keys.

use std::{io, net::SocketAddr, path::Path, thread};

use http::{HeaderMap, HeaderName, HeaderValue, Request};
use hyper::{
    body::Incoming,
    server::conn::http1,
    service::{Service, service_fn},
};
use hyper_util::rt::{TokioIo, TokioTimer};
use s3s::{auth::SimpleAuth, service::S3ServiceBuilder};
use s3s_fs::FileSystem;
use tempfile::TempDir;
use tokio::{net::TcpListener, sync::oneshot};

/// The key that the server knows.
pub const ACCESS_KEY: &str = "AKIAHAULTEST";
/// Its secret.
pub const SECRET_KEY: &str = "the-secret-of-the-test-key";

/// A running server; ends when dropped.
pub struct S3Server {
    address: SocketAddr,
    directory: TempDir,
    _stop: oneshot::Sender<()>,
}

impl S3Server {
    /// Starts a server that has these buckets and asks for signatures.
    pub fn start(buckets: &[&str]) -> io::Result<Self> {
        Self::start_with(buckets, false)
    }

    /// The same with Google's dialect: bearer tokens, which are not checked, and Google's names of metadata and
    /// conditions.
    pub fn start_as_google(buckets: &[&str]) -> io::Result<Self> {
        Self::start_with(buckets, true)
    }

    fn start_with(buckets: &[&str], as_google: bool) -> io::Result<Self> {
        let directory = tempfile::tempdir()?;
        for bucket in buckets {
            std::fs::create_dir(directory.path().join(bucket))?;
        }
        let files = FileSystem::new(directory.path()).map_err(|error| io::Error::other(format!("{error:?}")))?;
        let mut builder = S3ServiceBuilder::new(files);
        if !as_google {
            builder.set_auth(SimpleAuth::from_single(ACCESS_KEY, SECRET_KEY));
        }
        let service = builder.build();
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let (stop, mut stopped) = oneshot::channel::<()>();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        thread::spawn(move || {
            runtime.block_on(async move {
                let Ok(listener) = TcpListener::from_std(listener) else { return };
                loop {
                    let (socket, _) = tokio::select! {
                        accepted = listener.accept() => match accepted {
                            Ok(accepted) => accepted,
                            Err(_) => continue,
                        },
                        _ = &mut stopped => break,
                    };
                    let service = service.clone();
                    let translating = service_fn(move |mut request: Request<Incoming>| {
                        if as_google {
                            from_google(request.headers_mut());
                        }
                        let answer = Service::call(&service, request);
                        async move {
                            let mut answer = answer.await?;
                            if as_google {
                                rename(answer.headers_mut(), "x-amz-meta-", "x-goog-meta-");
                            }
                            Ok::<_, s3s::HttpError>(answer)
                        }
                    });
                    let connection = http1::Builder::new()
                        .timer(TokioTimer::new())
                        .serve_connection(TokioIo::new(socket), translating);
                    tokio::spawn(connection);
                }
            });
            runtime.shutdown_background();
        });
        Ok(Self { address, directory, _stop: stop })
    }

    /// `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The directory with one folder for each bucket; parts of unfinished uploads lie beside them.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// How many unfinished uploads and parts of such there are.
    pub fn unfinished(&self) -> usize {
        let names = std::fs::read_dir(self.directory.path())
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.file_name().to_string_lossy().into_owned());
        names.filter(|name| name.starts_with(".upload")).count()
    }

    /// All keys of a bucket, unfinished things and claims included.
    pub fn keys(&self, bucket: &str) -> Vec<String> {
        let root = self.directory.path().join(bucket);
        let mut found = Vec::new();
        let mut open = vec![root.clone()];
        while let Some(directory) = open.pop() {
            for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
                let path = entry.path();
                if path.is_dir() {
                    open.push(path);
                } else if let Ok(key) = path.strip_prefix(&root) {
                    found.push(key.to_string_lossy().into_owned());
                }
            }
        }
        found.sort();
        found
    }
}

fn from_google(headers: &mut HeaderMap) {
    headers.remove("authorization");
    rename(headers, "x-goog-meta-", "x-amz-meta-");
    if headers.remove("x-goog-if-generation-match").is_some_and(|value| value.as_bytes() == b"0") {
        headers.insert("if-none-match", HeaderValue::from_static("*"));
    }
}

fn rename(headers: &mut HeaderMap, from: &str, to: &str) {
    let renamed =
        headers.iter().filter_map(|(name, value)| Some((name.as_str().strip_prefix(from)?.to_owned(), value.clone())));
    for (rest, value) in renamed.collect::<Vec<_>>() {
        headers.remove(format!("{from}{rest}"));
        if let Ok(name) = HeaderName::from_bytes(format!("{to}{rest}").as_bytes()) {
            headers.insert(name, value);
        }
    }
}
