//! Servers that accept a file in one request only: a single long `PUT`, fed part by part. It can't resume after a
//! break.

use std::{
    future::Future,
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use bytes::Bytes;
use http::{Method, header::CONTENT_LENGTH};
use reqwest::Body;
use tokio::sync::Mutex;

use super::client::Client;
use crate::{
    error::{Kind, Operation, StoreError},
    http as web, owner,
    parts::{Activity, Part},
    store::{Checked, Completed, Upload},
    streamed::{self, Broken, StreamedUpload},
};

/// How long a server may need to notice that a request broke off, and how often to ask it.
const LOOKS: u32 = 5;
const LOOK: Duration = Duration::from_millis(100);
/// A server that is still working is asked ever less often, down to once in so many looks' time.
const SLOWEST: u32 = 50;

/// An upload in one request.
pub(crate) struct WholeUpload {
    client: Arc<Client>,
    name: String,
    temporary: String,
    exact: Option<u64>,
    upload: Mutex<StreamedUpload<(), Refused>>,
}

/// How a request ended badly.
struct Refused {
    error: StoreError,
    // A proxy stopped waiting; the server behind it is still working.
    may_work_on: bool,
}

impl From<StoreError> for Refused {
    fn from(error: StoreError) -> Self {
        Self { error, may_work_on: false }
    }
}

impl WholeUpload {
    pub(crate) fn new(client: Arc<Client>, name: &str, exact: Option<u64>) -> Self {
        Self {
            name: name.to_owned(),
            temporary: client.shown(owner::temporary_name()),
            client,
            exact,
            upload: Mutex::default(),
        }
    }

    fn lost(&self, reason: impl Into<String>) -> StoreError {
        self.client.error(Operation::Write, Kind::Lost, reason)
    }

    /// The request; it waits for its bytes.
    fn send(&self, body: streamed::Body) -> impl Future<Output = Result<(), Refused>> + Send + 'static {
        let client = Arc::clone(&self.client);
        let mut request = client.request(Method::PUT, client.child(&self.temporary)).body(Body::wrap_stream(body));
        if let Some(length) = self.exact {
            request = request.header(CONTENT_LENGTH, length);
        }
        async move {
            let response =
                request.send().await.map_err(|error| web::broken(client.label(), Operation::Write, &error))?;
            let may_work_on = matches!(response.status().as_u16(), 408 | 502 | 504 | 520..=529);
            if response.status().is_success() {
                Ok(())
            } else {
                Err(Refused { error: client.refusal(Operation::Write, response).await, may_work_on })
            }
        }
    }

    /// Waits for the answer. If none comes, or one that says nothing of the file, ask the server whether it has it.
    async fn finish(&self, upload: &mut StreamedUpload<(), Refused>, activity: &Activity) -> Result<(), StoreError> {
        let (begun, length) = (Instant::now(), upload.taken());
        let time = self.client.digesting(length);
        let _awaiting = activity.await_answer(time);
        let ended = web::quiet(self.client.label(), Operation::Write, activity, time, upload.finish()).await;
        let refused = match ended {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(Some(refused))) => refused,
            Ok(Err(None)) => Refused::from(self.lost("the request ended without an answer")),
            Err(error) => Refused::from(error),
        };
        if !(refused.error.is_transient()
            && self.has_arrived(length, refused.may_work_on.then_some(begun + time)).await?)
        {
            return Err(refused.error);
        }
        *upload = StreamedUpload::completed(length);
        Ok(())
    }

    /// Whether all is there although nobody said so; asked a few times, and until `end` of a server that may still be
    /// working.
    async fn has_arrived(&self, length: u64, end: Option<Instant>) -> Result<bool, StoreError> {
        let mut looks = 0;
        while looks < LOOKS || end.is_some_and(|end| Instant::now() < end) {
            match self.client.size(Operation::Write, self.client.child(&self.temporary)).await {
                Ok(Some(size)) if size == length => return Ok(true),
                Ok(_) => (),
                Err(error) if error.is_transient() => (),
                Err(error) => return Err(error),
            }
            looks += 1;
            tokio::time::sleep(LOOK * looks.min(SLOWEST)).await;
        }
        Ok(false)
    }

    async fn advance(&self, upload: &mut StreamedUpload<(), Refused>, part: &Part) -> Result<(), StoreError> {
        let fed = upload.feed(part, |body| self.send(body));
        let fed = web::quiet(self.client.label(), Operation::Write, &part.activity, self.client.stall(), fed).await?;
        let is_open = fed.map_err(|broken| match broken {
            Broken::Earlier => self.lost("the request broke off and can't be resumed"),
            Broken::Gap => self.lost("the parts are not consecutive"),
            Broken::Answered(Some(refused)) => refused.error,
            Broken::Answered(None) => self.lost("it answered before it had received everything"),
        })?;
        if !is_open || !part.last {
            return Ok(());
        }
        if let Some(exact) = self.exact.filter(|exact| *exact != upload.taken()) {
            return Err(self.client.error(
                Operation::Write,
                Kind::Mismatch,
                format!("got {} bytes instead of the {exact} announced", upload.taken()),
            ));
        }
        self.finish(upload, &part.activity).await
    }
}

/// Any failure ends this upload; what is transient elsewhere means here that it starts over.
fn final_error(error: StoreError) -> StoreError {
    if !error.is_transient() {
        return error;
    }
    match error {
        StoreError::Remote(mut error) => {
            error.kind = Kind::Lost;
            StoreError::Remote(error)
        }
        other => other,
    }
}

#[async_trait]
impl Upload for WholeUpload {
    async fn put(&self, part: &Part) -> Result<(), StoreError> {
        let mut upload = self.upload.lock().await;
        let result = self.advance(&mut upload, part).await;
        result.map_err(|error| {
            upload.break_off();
            final_error(error)
        })
    }

    async fn patch(&self, _: u64, _: &[u8]) -> Result<(), StoreError> {
        Err(self.client.error(Operation::Write, Kind::Invalid, "bytes already sent can't be changed"))
    }

    async fn commit(&self, completed: &Completed) -> Result<Checked, StoreError> {
        let mut upload = self.upload.lock().await;
        if upload.is_fresh() && completed.length == 0 {
            self.client.put(Operation::Write, self.client.child(&self.temporary), Bytes::new()).await?;
            *upload = StreamedUpload::completed(0);
        }
        if !upload.is_complete() {
            return Err(self.lost("the request broke off and can't be resumed"));
        }
        self.client.publish(&self.temporary, &self.name, completed.length).await
    }

    fn temporary(&self) -> Option<String> {
        Some(self.temporary.clone())
    }

    async fn abort(&self) -> Result<(), StoreError> {
        let mut upload = self.upload.lock().await;
        let ended = upload.is_complete() || upload.is_fresh();
        upload.break_off();
        let url = self.client.child(&self.temporary);
        self.client.delete(url.clone()).await?;
        if ended {
            return Ok(());
        }
        // A request that broke off may make its file only now.
        for _ in 0..LOOKS {
            tokio::time::sleep(LOOK).await;
            if !self.client.delete(url.clone()).await? {
                break;
            }
        }
        // Or much later.
        self.client.unwanted(&self.temporary);
        Ok(())
    }
}
