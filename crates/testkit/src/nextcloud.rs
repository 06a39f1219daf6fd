//! A Nextcloud in memory: WebDAV below `remote.php/dav`, and chunked upload v2 with the rules of the real one (names
//! and number of chunks, `Destination` on each request, `OC-Total-Length` compared, no `.part` names, quota).
//! [`Nextcloud::plain`] is an ordinary WebDAV server with many variants.

mod files;
mod reply;

use std::{
    collections::VecDeque,
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
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
    /// None: it is done.
    Pass,
    /// It is done, and this is answered.
    After(u16),
    /// A `MOVE` of chunks is accepted (202) and done a moment later.
    Later(Duration),
    /// A `MOVE` of chunks finishes a moment later, and this is the answer at once, as from a proxy that does not wait.
    /// Another `MOVE` meanwhile starts the work again.
    Busy(Duration, u16),
    /// It is done, and answered, only after a while, whether the other side still waits or not.
    Slow(Duration),
    /// A list stops after its first entry and ends with an error after its last element, as in golang.org/x/net/webdav.
    CutList,
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
    // How long a MOVE that is repeated takes, from its last repetition on.
    busy: Mutex<Option<(Duration, u16)>>,
    refuses_dots: AtomicBool,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Nextcloud {
    /// A Nextcloud at the root of its host, or below `base` (`/cloud`).
    pub async fn start(base: &str) -> std::io::Result<Self> {
        Self::with(base, Files::nextcloud()).await
    }

    /// An ordinary WebDAV server: it allows every name, and treats parts of files as configured.
    pub async fn plain(pieces: Pieces) -> std::io::Result<Self> {
        Self::with("", Files::plain(pieces)).await
    }

    async fn with(base: &str, files: Files) -> std::io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            base: base.to_owned(),
            files: Mutex::new(files),
            script: Mutex::default(),
            requests: Mutex::default(),
            later: Mutex::default(),
            busy: Mutex::default(),
            refuses_dots: AtomicBool::new(false),
        });
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

    /// It refuses names that begin with a dot, whatever the request.
    pub fn refuse_dots(&self) {
        self.shared.refuses_dots.store(true, Ordering::Relaxed);
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
    let Some(path) = parts.uri.path().strip_prefix(&shared.base) else {
        return reply::error(StatusCode::NOT_FOUND, "not here");
    };
    if path == "/status.php" {
        return Response::new(Body::from(r#"{"installed":true,"maintenance":false,"productname":"Nextcloud"}"#));
    }
    let is_known = [USER, MAIL].map(|user| format!("Basic {}", STANDARD.encode(format!("{user}:{PASSWORD}"))));
    if parts.headers.get("authorization").is_none_or(|given| is_known.iter().all(|known| given != known.as_str())) {
        let mut response = reply::error(StatusCode::UNAUTHORIZED, "No public access to this resource");
        response
            .headers_mut()
            .insert("www-authenticate", http::HeaderValue::from_static(r#"Basic realm="Nextcloud", charset="UTF-8""#));
        return response;
    }
    if path == "/ocs/v2.php/cloud/user" && parts.headers.contains_key("ocs-apirequest") {
        return Response::new(Body::from(format!(
            r#"{{"ocs":{{"meta":{{"statuscode":200}},"data":{{"id":"{USER}"}}}}}}"#
        )));
    }
    let Some(path) = path.strip_prefix("/remote.php/dav") else {
        return reply::error(StatusCode::NOT_FOUND, "not here");
    };
    let Ok(body) = axum::body::to_bytes(body, LARGEST).await else {
        return reply::error(StatusCode::BAD_REQUEST, "the body broke off");
    };
    let trouble = {
        let mut script = locked(&shared.script);
        let next = script.iter().position(|(of, _)| *of == method);
        next.and_then(|index| script.remove(index)).map(|(_, trouble)| trouble)
    };
    finish_what_was_put_off(&shared);
    if shared.refuses_dots.load(Ordering::Relaxed) && path.rsplit('/').next().is_some_and(|name| name.starts_with('.'))
    {
        return reply::error(StatusCode::FORBIDDEN, "not such a name");
    }
    if let (Some((wait, status)), "MOVE") = (*locked(&shared.busy), method.as_str())
        && let Some((until, ..)) = locked(&shared.later).as_mut()
    {
        *until = Instant::now() + wait;
        return reply::troubled(status);
    }
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
        Some(Trouble::Busy(wait, status)) => {
            *locked(&shared.busy) = Some((wait, status));
            *locked(&shared.later) = Some((Instant::now() + wait, parts.headers, path.to_owned()));
            reply::troubled(status)
        }
        Some(Trouble::Slow(wait)) => {
            let (headers, path, shared) = (parts.headers, path.to_owned(), Arc::clone(&shared));
            let work = tokio::spawn(async move {
                tokio::time::sleep(wait).await;
                act(&shared, &method, &path, &headers, &body)
            });
            work.await.unwrap_or_else(|_| reply::troubled(500))
        }
        Some(Trouble::CutList) => cut(act(&shared, &method, path, &parts.headers, &body)).await,
        None | Some(Trouble::Pass) => act(&shared, &method, path, &parts.headers, &body),
    }
}

async fn cut(response: Response) -> Response {
    let (parts, body) = response.into_parts();
    let text = axum::body::to_bytes(body, LARGEST).await.unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let end = "</d:response>";
    let first = text.find(end).map_or(text.len(), |at| at + end.len());
    let mut cut = Response::new(Body::from(format!("{}</d:multistatus>Internal Server Error", &text[..first])));
    *cut.status_mut() = parts.status;
    cut.headers_mut().insert("content-type", http::HeaderValue::from_static("application/xml; charset=utf-8"));
    cut
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
