//! The pages and the API over a service that is made up: who may do what, what is shown, and what is said when
//! something is wrong.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod access;
mod channels;
mod connections;
#[path = "../fake/mod.rs"]
mod fake;
mod forms;
mod inside;
mod log_in;
mod own;
mod shown;

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
};

use axum::body::{Body, to_bytes};
use http::{HeaderMap, Request, StatusCode, header};
use web::{App, Ingress, NotAdmitted, Options, Trust, Visit};

use crate::fake::{Fake, state::State};

pub(crate) const HOST: &str = "localhost:8745";
/// Where requests come from.
const PEER: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7));
pub(crate) const PASSWORD: &str = "correct horse battery";

/// The pages, as a browser reaches them.
pub(crate) struct Site {
    pub(crate) app: Arc<App>,
    pub(crate) service: Arc<Fake>,
    _state: tempfile::TempDir,
}

/// An answer, read to its end.
pub(crate) struct Got {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Got {
    pub(crate) fn header(&self, name: header::HeaderName) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    /// The value of the first hidden field of this name.
    pub(crate) fn hidden(&self, name: &str) -> String {
        let (_, rest) = self.text.split_once(&format!("name=\"{name}\" value=\"")).unwrap();
        rest.split_once('"').unwrap().0.to_owned()
    }
}

/// Home Assistant's users: everybody may come in but those who say otherwise.
struct Users;

impl Ingress for Users {
    fn admit(&self, peer: Option<IpAddr>, user: &str) -> Result<(), NotAdmitted> {
        match user {
            _ if peer != Some(PEER) => Err(NotAdmitted::Stranger),
            "guest" => Err(NotAdmitted::NotAdministrator),
            "early" => Err(NotAdmitted::Unknown("it is starting".to_owned())),
            _ => Ok(()),
        }
    }
}

impl Site {
    pub(crate) fn new(state: State) -> Self {
        Self::with(state, |_| {})
    }

    pub(crate) fn with(state: State, set: impl FnOnce(&mut Options)) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let service = Arc::new(Fake::new(state));
        let mut options = Options {
            state: directory.path().to_owned(),
            base_path: String::new(),
            hosts: vec!["haul.example.org".to_owned()],
            https: false,
            ingress: Some(Arc::new(Users)),
        };
        set(&mut options);
        Self { app: App::new(service.clone(), options).unwrap(), service, _state: directory }
    }

    pub(crate) fn archive(&self, number: usize) -> keeper::status::ArchiveStatus {
        self.service.state.lock().unwrap().archives[number].clone()
    }

    pub(crate) async fn answer(&self, request: Request<Body>, trust: Trust) -> axum::response::Response {
        self.app.answer(request, Visit { trust, peer: Some(PEER) }).await
    }

    pub(crate) async fn send(&self, request: Request<Body>, trust: Trust) -> Got {
        let (parts, body) = self.answer(request, trust).await.into_parts();
        let text = String::from_utf8_lossy(&to_bytes(body, 64 << 20).await.unwrap()).into_owned();
        Got { status: parts.status, headers: parts.headers, text }
    }

    /// As somebody who need not log in.
    pub(crate) async fn get(&self, path: &str) -> Got {
        self.send(request("GET", path, &[], ""), Trust::Local).await
    }

    pub(crate) async fn post(&self, path: &str, form: &str) -> Got {
        self.send(request("POST", path, &[("content-type", FORM)], form), Trust::Local).await
    }

    pub(crate) async fn api(&self, method: &str, path: &str, body: &str) -> Got {
        self.send(request(method, path, &[], body), Trust::Local).await
    }

    /// The first visit; returns the cookie.
    pub(crate) async fn log_in(&self) -> String {
        let code = self.app.setup_code().unwrap();
        let form = format!("code={code}&password={PASSWORD}&again={PASSWORD}").replace(' ', "+");
        let got = self.send(request("POST", "/welcome", &[("content-type", FORM)], &form), Trust::LogIn).await;
        assert_eq!((got.status, got.header(header::LOCATION)), (StatusCode::SEE_OTHER, "/"), "{}", got.text);
        got.header(header::SET_COOKIE).split(';').next().unwrap().to_owned()
    }
}

pub(crate) const FORM: &str = "application/x-www-form-urlencoded";

pub(crate) fn request(method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Request<Body> {
    let mut request = Request::builder().method(method).uri(path);
    if !headers.iter().any(|(name, _)| *name == "host") {
        request = request.header("host", HOST);
    }
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(Body::from(body.to_owned())).unwrap()
}
