//! A Nextcloud in memory: WebDAV below `remote.php/dav`, and chunked upload v2 with the rules of the real one (names and number of chunks, `Destination` on
//! each request, `OC-Total-Length` compared, no `.part` names, quota). [`Nextcloud::plain`] is the same as an ordinary WebDAV server of many tempers.

mod files;
mod reply;

use std::{
    collections::VecDeque,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    response::Response,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use tokio::{net::TcpListener, task::JoinHandle};

use files::Files;
pub use files::Pieces;

/// The user it knows; a space, so that addresses must be escaped.
pub const USER: &str = "ha ul";
/// How the same user may log in too.
pub const MAIL: &str = "haul@example.org";
/// That user's app password.
pub const PASSWORD: &str = "abcde-fghij";
/// The largest body that is taken.
const LARGEST: usize = 1 << 30;

/// What goes wrong once.
#[derive(Clone, Copy, Debug)]
pub enum Trouble {
    /// Nothing is done, and this is answered.
    Before(u16),
    /// It is done, and this is answered.
    After(u16),
    /// A `MOVE` of chunks is accepted (202) and done a moment later.
    Later(Duration),
}

/// A running server. Ends when dropped.
pub struct Nextcloud {
    address: SocketAddr,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

struct Shared {
    // `/nextcloud`, where it does not live at the root.
    base: String,
    files: Mutex<Files>,
    script: Mutex<VecDeque<(&'static str, Trouble)>>,
    requests: Mutex<Vec<String>>,
    later: Mutex<Option<(Instant, HeaderMap, String)>>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Nextcloud {
    /// A Nextcloud at the root of its host, or below `base` (`/cloud`).
    pub async fn start(base: &str) -> std::io::Result<Self> {
        Self::with(base, Files::nextcloud()).await
    }

    /// An ordinary WebDAV server: every name may be used, and pieces of files are treated as told.
    pub async fn plain(pieces: Pieces) -> std::io::Result<Self> {
        Self::with("", Files::plain(pieces)).await
    }

    async fn with(base: &str, files: Files) -> std::io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let shared =
            Arc::new(Shared { base: base.to_owned(), files: Mutex::new(files), script: Mutex::default(), requests: Mutex::default(), later: Mutex::default() });
        let app = Router::new().fallback(serve).with_state(Arc::clone(&shared));
        let task = tokio::spawn(async move {
            let _ = axum::serve(listener, app).await;
        });
        Ok(Self { address, shared, task })
    }

    /// `127.0.0.1:PORT`
    pub fn authority(&self) -> String {
        self.address.to_string()
    }

    /// The next request of this method meets trouble; several wait in line.
    pub fn meet(&self, method: &'static str, trouble: Trouble) {
        locked(&self.shared.script).push_back((method, trouble));
    }

    /// How many bytes fit altogether.
    pub fn set_quota(&self, bytes: u64) {
        locked(&self.shared.files).quota = Some(bytes);
    }

    /// Whether a `Range` is answered with everything.
    pub fn ignore_ranges(&self) {
        locked(&self.shared.files).ignores_ranges = true;
    }

    /// Puts a file there by the back door, changed `age` ago.
    pub fn place(&self, path: &str, bytes: &[u8], age: Duration) {
        locked(&self.shared.files).place(path, bytes, age);
    }

    /// A file's bytes; paths begin with `/files/` or `/uploads/`.
    pub fn file(&self, path: &str) -> Option<Bytes> {
        locked(&self.shared.files).file(path)
    }

    /// All paths, folders with a slash at their end.
    pub fn paths(&self) -> Vec<String> {
        locked(&self.shared.files).paths()
    }

    /// Removes a file or folder by the back door.
    pub fn lose(&self, path: &str) {
        locked(&self.shared.files).remove(path);
    }

    /// Every request so far, as `METHOD path`.
    pub fn requests(&self) -> Vec<String> {
        locked(&self.shared.requests).clone()
    }
}

impl Drop for Nextcloud {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let method = parts.method.as_str().to_owned();
    locked(&shared.requests).push(format!("{method} {}", parts.uri.path()));
    let Some(path) = parts.uri.path().strip_prefix(&shared.base) else { return reply::error(StatusCode::NOT_FOUND, "not here") };
    if path == "/status.php" {
        return Response::new(Body::from(r#"{"installed":true,"maintenance":false,"productname":"Nextcloud"}"#));
    }
    let is_known = [USER, MAIL].map(|user| format!("Basic {}", STANDARD.encode(format!("{user}:{PASSWORD}"))));
    if parts.headers.get("authorization").is_none_or(|given| is_known.iter().all(|known| given != known.as_str())) {
        let mut response = reply::error(StatusCode::UNAUTHORIZED, "No public access to this resource");
        response.headers_mut().insert("www-authenticate", http::HeaderValue::from_static(r#"Basic realm="Nextcloud", charset="UTF-8""#));
        return response;
    }
    if path == "/ocs/v2.php/cloud/user" && parts.headers.contains_key("ocs-apirequest") {
        return Response::new(Body::from(format!(r#"{{"ocs":{{"meta":{{"statuscode":200}},"data":{{"id":"{USER}"}}}}}}"#)));
    }
    let Some(path) = path.strip_prefix("/remote.php/dav") else { return reply::error(StatusCode::NOT_FOUND, "not here") };
    let Ok(body) = axum::body::to_bytes(body, LARGEST).await else { return reply::error(StatusCode::BAD_REQUEST, "the body broke off") };
    let trouble = {
        let mut script = locked(&shared.script);
        let next = script.iter().position(|(of, _)| *of == method);
        next.and_then(|index| script.remove(index)).map(|(_, trouble)| trouble)
    };
    finish_what_was_put_off(&shared);
    match trouble {
        Some(Trouble::Before(status)) => reply::troubled(status),
        Some(Trouble::After(status)) => {
            let _ = act(&shared, &method, path, &parts.headers, &body);
            reply::troubled(status)
        }
        Some(Trouble::Later(wait)) => {
            *locked(&shared.later) = Some((Instant::now() + wait, parts.headers, path.to_owned()));
            reply::empty(StatusCode::ACCEPTED)
        }
        None => act(&shared, &method, path, &parts.headers, &body),
    }
}

fn finish_what_was_put_off(shared: &Shared) {
    let due = {
        let mut later = locked(&shared.later);
        if later.as_ref().is_some_and(|(when, ..)| *when <= Instant::now()) { later.take() } else { None }
    };
    if let Some((_, headers, path)) = due {
        act(shared, "MOVE", &path, &headers, &Bytes::new());
    }
}

fn act(shared: &Shared, method: &str, path: &str, headers: &HeaderMap, body: &Bytes) -> Response {
    let root = format!("{}/remote.php/dav", shared.base);
    locked(&shared.files).act(&root, method, path, headers, body)
}
