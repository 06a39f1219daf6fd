//! Sends requests: through the connection pool that all HTTP destinations share, one attempt each, with a body that
//! shows progress, and with the server's own text if it refuses. `object_store` makes and signs the requests.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use ::http::{HeaderMap, Method, Response};
use async_trait::async_trait;
use bytes::Bytes;
use object_store::{
    ClientOptions,
    client::{HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpService},
};

use super::error;
use crate::{
    context::Context,
    error::{Kind, Operation, StoreError},
    http,
    parts::{Activity, Segments},
};

/// Answers are read whole: ranges of some MiB and pages of a listing. No honest one is longer.
const LONGEST_ANSWER: u64 = 32 << 20;

tokio::task_local! {
    static CALL: Arc<Call>;
}

/// One call: its purpose, what is sent with it, and the server's objection.
#[derive(Debug)]
pub(super) struct Call {
    operation: Operation,
    body: Option<Segments>,
    activity: Activity,
    headers: HeaderMap,
    // The last refusal; only matters when the call as a whole fails.
    refusal: Mutex<Option<StoreError>>,
}

impl Call {
    pub(super) fn new(operation: Operation) -> Self {
        Self {
            operation,
            body: None,
            activity: Activity::default(),
            headers: HeaderMap::new(),
            refusal: Mutex::default(),
        }
    }

    /// With a body that is sent in chunks, instead of the same bytes in the request.
    pub(super) fn with_body(mut self, body: &Segments, activity: &Activity) -> Self {
        self.body = Some(body.clone());
        self.activity = activity.clone();
        self
    }

    /// With headers that need no signature.
    pub(super) fn with_headers(mut self, headers: HeaderMap) -> Self {
        self.headers = headers;
        self
    }

    fn refuse(&self, error: StoreError) -> HttpError {
        let text = error.to_string();
        *self.refusal.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
        HttpError::new(HttpErrorKind::Unknown, std::io::Error::other(text))
    }

    fn take_refusal(&self) -> Option<StoreError> {
        self.refusal.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// The connection to one destination. Cheap to clone.
#[derive(Clone)]
pub(super) struct Wire {
    http: reqwest::Client,
    destination: Arc<str>,
    // The store's own host; all others are only asked for credentials.
    host: Arc<str>,
    stall: Duration,
}

impl fmt::Debug for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Wire({})", self.destination)
    }
}

impl Wire {
    pub(super) fn new(context: &Context, destination: &str, host: &str) -> Self {
        Self {
            http: context.http.clone(),
            destination: destination.into(),
            host: host.into(),
            stall: context.tuning.stall,
        }
    }

    pub(super) fn destination(&self) -> &str {
        &self.destination
    }

    /// The kind of store, as people call it.
    fn kind(&self) -> &'static str {
        match self.destination.split(':').next() {
            Some("azblob") => "Azure Blob Storage",
            Some("gs") => "Google Cloud Storage",
            _ => "S3",
        }
    }

    /// An error of this destination.
    pub(super) fn error(&self, operation: Operation, kind: Kind, reason: impl Into<String>) -> StoreError {
        StoreError::remote(&*self.destination, operation, kind, reason)
    }

    /// Does what `work` asks of the library, and says in our terms why it failed.
    pub(super) async fn ask<T>(
        &self,
        call: Call,
        work: impl Future<Output = object_store::Result<T>>,
    ) -> Result<T, StoreError> {
        let operation = call.operation;
        let call = Arc::new(call);
        CALL.scope(Arc::clone(&call), work)
            .await
            .map_err(|error| call.take_refusal().unwrap_or_else(|| self.own_failure(operation, &error)))
    }

    /// Sends a request of our own making; a refusal is an error.
    pub(super) async fn send(&self, call: Call, request: HttpRequest) -> Result<Response<Bytes>, StoreError> {
        let call = Arc::new(call);
        match self.exchange(&call, request).await {
            Ok(response) if response.status().is_success() => Ok(response),
            _ => Err(call
                .take_refusal()
                .unwrap_or_else(|| self.error(call.operation, Kind::Protocol, "its answer is not valid"))),
        }
    }

    // The library failed without the server's help: an answer it could not read, or a key it could not use.
    fn own_failure(&self, operation: Operation, error: &object_store::Error) -> StoreError {
        let mut cause: &dyn std::error::Error = error;
        while let Some(next) = cause.source() {
            cause = next;
        }
        // A parser's own message helps nobody.
        let cause = cause.to_string();
        let is_for_people = !cause.contains("::") && !cause.contains('`');
        let reason = if is_for_people {
            format!("its answer is not valid: {cause}")
        } else {
            "its answer is not valid".to_owned()
        };
        self.error(operation, Kind::Protocol, reason)
    }

    async fn exchange(&self, call: &Call, request: HttpRequest) -> Result<Response<Bytes>, HttpError> {
        let (parts, body) = request.into_parts();
        let url: reqwest::Url =
            parts.uri.to_string().parse().map_err(|error| HttpError::new(HttpErrorKind::Unknown, error))?;
        let own = url.host_str().is_some_and(|host| host.ends_with(&*self.host));
        let mut request = self.http.request(parts.method.clone(), url).headers(parts.headers);
        request = match &call.body {
            Some(segments) if own && parts.method == Method::PUT => request.body(http::body(segments, &call.activity)),
            _ => match body.as_bytes() {
                Some(bytes) => request.body(bytes.clone()),
                None => request.body(reqwest::Body::wrap(body)),
            },
        };
        if own {
            request = request.headers(call.headers.clone());
        }
        let answer = http::send(&self.destination, call.operation, request, &call.activity, self.stall).await;
        let answer = answer.map_err(|error| call.refuse(error))?;
        let (status, headers) = (answer.status(), answer.headers().clone());
        let query = answer.url().query().unwrap_or_default().to_owned();
        let body = http::read_body(&self.destination, call.operation, answer, LONGEST_ANSWER, self.stall)
            .await
            .map_err(|error| call.refuse(error))?;
        if !status.is_success() || error::hides_in_success(&parts.method, &body) {
            let error = error::understand(&self.destination, call.operation, own, status, &headers, &body);
            if status.is_success() {
                return Err(call.refuse(error));
            }
            call.refuse(error);
        }
        if own && status.is_success() && error::is_foreign(&parts.method, &query, &headers, &body) {
            let error =
                self.error(call.operation, Kind::Protocol, format!("what answers there is not {}", self.kind()));
            return Err(call.refuse(
                error.advise("check the endpoint; a network's login page or a proxy may have answered instead"),
            ));
        }
        let mut response = Response::new(body);
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        Ok(response)
    }
}

#[async_trait]
impl HttpService for Wire {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let call = CALL.try_with(Arc::clone).unwrap_or_else(|_| Arc::new(Call::new(Operation::Connect)));
        self.exchange(&call, request).await.map(|response| response.map(Into::into))
    }
}

impl HttpConnector for Wire {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(self.clone()))
    }
}
