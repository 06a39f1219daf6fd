//! One request from its arrival to its answer. What holds for every route is done here, before and after it: the
//! host's name, the size and duration of the body, who asks, what came from another site, and how an answer is to be
//! treated by the browser.

use std::{
    io,
    sync::{Arc, RwLock},
    time::Duration,
};

use axum::{Router, body::Body, response::Response};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use http::{HeaderValue, Request, StatusCode, Uri, header, request::Parts};
use percent_encoding::percent_decode_str;
use tower_service::Service;
use zeroize::Zeroizing;

use crate::{
    api,
    auth::{Accounts, Throttle, random},
    backend::Backend,
    fields::Fields,
    pages,
    refusal::Refusal,
    shared::{Asked, Checked, Options, SLOW, Shared},
    visitor::{
        FORM_FIELD, FORM_HEADER, Hosts, NotAdmitted, Trust, USER, Visit, Visitor, is_foreign, is_safe, user_name,
    },
};

/// No form and no order is longer.
const LONGEST_BODY: usize = 256 << 10;
/// Tells whether the service answers, and nothing else.
const HEALTH: &str = "/healthz";
/// It has to arrive within this time.
const BODY_TIME: Duration = Duration::from_secs(30);

/// The pages and the API.
pub struct App {
    router: Router,
    shared: Arc<Shared>,
}

impl App {
    /// Reads the accounts. Fails when they can't be read.
    pub fn new(backend: Arc<dyn Backend>, options: Options) -> io::Result<Arc<Self>> {
        let base = options.base_path.trim_end_matches('/');
        let base = if base.is_empty() || base.starts_with('/') { base.to_owned() } else { format!("/{base}") };
        let shared = Arc::new(Shared {
            backend,
            accounts: Accounts::open(&options.state)?,
            throttle: Throttle::default(),
            hashing: tokio::sync::Semaphore::new(1),
            slow: Arc::new(tokio::sync::Semaphore::new(SLOW)),
            closing: tokio::sync::watch::Sender::new(false),
            established: RwLock::new(None),
            checked: Checked::default(),
            hosts: Hosts(options.hosts.clone()),
            process: Zeroizing::new(random().map_err(io::Error::other)?),
            options: Options { base_path: base, ..options },
        });
        let router = pages::routes().merge(api::routes());
        let router = router
            .fallback(|| async { Refusal::new(StatusCode::NOT_FOUND, "There is nothing at this address.") })
            .method_not_allowed_fallback(|| async {
                Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "This address does not take such a request.")
            })
            .with_state(shared.clone());
        Ok(Arc::new(Self { router, shared }))
    }

    /// What the first visitor has to enter, to be printed to the log. `None` once a password is set.
    pub fn setup_code(&self) -> Option<String> {
        self.shared.accounts.code()
    }

    /// Ends what would go on for ever: the streams of changes.
    pub(crate) fn close(&self) {
        self.shared.closing.send_replace(true);
    }

    /// Answers one request.
    pub async fn answer(&self, mut request: Request<Body>, visit: Visit) -> Response {
        let base = self.base(&request, visit.trust);
        if let Some(rest) = request.uri().path().strip_prefix(base.as_str()).filter(|_| !base.is_empty())
            && (rest.is_empty() || rest.starts_with('/'))
        {
            *request.uri_mut() = moved(request.uri(), rest);
        }
        let head = request.method() == http::Method::HEAD;
        let mut asked = Asked {
            visitor: Visitor::of(request.headers(), visit.trust, &self.shared.accounts, &self.shared.process),
            visit,
            user: user_name(request.headers(), visit.trust),
            base,
            path: request.uri().path().to_owned(),
            query: Fields::parse(request.uri().query().unwrap_or_default().as_bytes()),
            form: Fields::default(),
            body: Bytes::new(),
        };
        let user = request.headers().get(USER).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
        // Supervisor asks for this by itself, and it tells nothing.
        let is_open = visit.trust != Trust::Ingress || request.uri().path() == HEALTH;
        let admitted = match if is_open { Ok(()) } else { self.let_in(visit, user).await } {
            Ok(()) => self.admitted(request, &mut asked).await,
            Err(refusal) => Err(refusal),
        };
        let mut response = match admitted {
            Ok(request) => self.router.clone().call(request).await.unwrap_or_else(|never| match never {}),
            Err(refusal) => axum::response::IntoResponse::into_response(refusal),
        };
        if let Some(refusal) = response.extensions_mut().remove::<Refusal>() {
            response = self.refused(&asked, refusal);
        }
        if head {
            *response.body_mut() = Body::empty();
        }
        secured(response, visit.trust)
    }

    /// Whether Home Assistant sends it, and on behalf of an administrator. Its menu hides the page from all others, but
    /// does not keep them from asking.
    async fn let_in(&self, visit: Visit, user: String) -> Result<(), Refusal> {
        let ingress = self.shared.options.ingress.clone();
        let asked = tokio::task::spawn_blocking(move || {
            ingress.map_or(Err(NotAdmitted::Stranger), |ingress| ingress.admit(visit.peer, &user))
        });
        match asked.await.unwrap_or_else(|_| Err(NotAdmitted::Unknown("an error of its own".to_owned()))) {
            Ok(()) => Ok(()),
            Err(NotAdmitted::Stranger) => {
                Err(Refusal::new(StatusCode::FORBIDDEN, "This page is shown by Home Assistant only.")
                    .hint("Open Haul in Home Assistant's menu."))
            }
            Err(NotAdmitted::NotAdministrator) => Err(Refusal::new(
                StatusCode::FORBIDDEN,
                "Haul is for Home Assistant's administrators: backups hold every password of the home.",
            )
            .hint("Log in to Home Assistant as an administrator.")),
            Err(NotAdmitted::Unknown(why)) => Err(Refusal::new(
                StatusCode::SERVICE_UNAVAILABLE,
                format!("Haul could not ask Home Assistant who you are: {why}."),
            )
            .hint("Wait until Home Assistant has started, and load the page again.")),
        }
    }

    /// Everything that can be said against a request whatever it asks for.
    async fn admitted(&self, mut request: Request<Body>, asked: &mut Asked) -> Result<Request<Body>, Refusal> {
        let host =
            request.uri().host().map(str::to_owned).or_else(|| {
                request.headers().get(header::HOST).and_then(|value| value.to_str().ok()).map(str::to_owned)
            });
        let host = host.unwrap_or_default();
        // A browser can't open a Unix socket, and Home Assistant speaks for its browsers.
        if asked.visit.trust == Trust::LogIn && !self.shared.hosts.answers_to(&host) {
            return Err(Refusal::new(
                StatusCode::MISDIRECTED_REQUEST,
                "Haul does not know itself by the name in this address.",
            )
            .hint("Open the page by the machine's IP address, or start Haul with `haul serve --hosts NAME`."));
        }
        if percent_decode_str(&asked.path).decode_utf8().is_err() {
            return Err(Refusal::bad("This address is not valid text."));
        }
        if !is_safe(request.method()) {
            let foreign = asked.visit.trust == Trust::LogIn && is_foreign(request.headers(), &host, &self.shared.hosts);
            let (parts, body) = request.into_parts();
            let is_form = parts.headers.get(header::CONTENT_TYPE).is_some_and(|kind| {
                kind.to_str().is_ok_and(|kind| kind.starts_with("application/x-www-form-urlencoded"))
            });
            if foreign {
                return Err(Refusal::new(StatusCode::FORBIDDEN, "Another site asked for this, so it was not done.")
                    .hint("Open Haul's own page, and press the button there."));
            }
            asked.body = read(body, &parts).await?;
            if is_form {
                asked.form = Fields::parse(&asked.body);
            }
            let token = parts.headers.get(FORM_HEADER).and_then(|value| value.to_str().ok());
            let token = token.unwrap_or_else(|| asked.form.text(FORM_FIELD));
            if matches!(asked.visitor, Visitor::Browser { .. }) && token != asked.visitor.form() {
                return Err(Refusal::new(StatusCode::FORBIDDEN, "This form is no longer valid, so it was not sent.")
                    .hint("Go back, load the page again, and try once more."));
            }
            request = Request::from_parts(parts, Body::empty());
        }
        request.extensions_mut().insert(asked.clone());
        Ok(request)
    }

    fn refused(&self, asked: &Asked, refusal: Refusal) -> Response {
        let retry_after = refusal.retry_after;
        let unauthorized = refusal.status == StatusCode::UNAUTHORIZED;
        let mut response =
            if is_api(&asked.path) { api::refused(refusal) } else { pages::refused(&self.shared, asked, &refusal) };
        if let Some(seconds) = retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
        }
        if unauthorized && is_api(&asked.path) {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }

    /// What stands before every path: as configured, or as Home Assistant says.
    fn base(&self, request: &Request<Body>, trust: Trust) -> String {
        let told = request.headers().get("x-ingress-path").and_then(|value| value.to_str().ok());
        let told = told.filter(|path| trust == Trust::Ingress && path.starts_with('/') && !path.starts_with("//"));
        told.map_or_else(|| self.shared.options.base_path.clone(), |path| path.trim_end_matches('/').to_owned())
    }
}

/// Whether a program asks.
fn is_api(path: &str) -> bool {
    path.starts_with("/api/") || path == "/metrics" || path == HEALTH
}

fn moved(uri: &Uri, path: &str) -> Uri {
    let path = if path.is_empty() { "/" } else { path };
    let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    format!("{path}{query}").parse().unwrap_or_else(|_| uri.clone())
}

async fn read(body: Body, parts: &Parts) -> Result<Bytes, Refusal> {
    let long = || {
        Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, format!("The request is longer than {} kB.", LONGEST_BODY / 1000))
            .hint("Send less at once.")
    };
    let announced = parts.headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    if announced.is_some_and(|length: u64| length > LONGEST_BODY as u64) {
        return Err(long());
    }
    let mut stream = body.into_data_stream();
    let reading = async {
        let mut whole = BytesMut::new();
        while let Some(piece) = stream.next().await {
            let piece = piece.map_err(|_| Refusal::bad("The request broke off."))?;
            if whole.len() + piece.len() > LONGEST_BODY {
                return Err(long());
            }
            whole.extend_from_slice(&piece);
        }
        Ok(whole.freeze())
    };
    tokio::time::timeout(BODY_TIME, reading)
        .await
        .unwrap_or_else(|_| Err(Refusal::new(StatusCode::REQUEST_TIMEOUT, "The request took too long to arrive.")))
}

/// How a browser has to treat every answer.
fn secured(mut response: Response, trust: Trust) -> Response {
    // Home Assistant shows the page in a frame of its own.
    let policy = if trust == Trust::Ingress {
        "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; connect-src 'self'; \
         form-action 'self'; base-uri 'none'; frame-ancestors 'self'"
    } else {
        "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; connect-src 'self'; \
         form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    };
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, policy),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        // Nothing is told to other sites. With `no-referrer`, our own forms would come from an origin called `null`.
        (header::REFERRER_POLICY, "same-origin"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.insert("cross-origin-resource-policy", HeaderValue::from_static("same-origin"));
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}
