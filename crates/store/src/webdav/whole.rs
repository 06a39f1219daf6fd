//! Servers that accept a file in one request only: a single long `PUT`, fed part by part. It can't resume after a
//! break.

use std::{
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream;
use http::{Method, header::CONTENT_LENGTH};
use reqwest::Body;
use tokio::{
    sync::{Mutex, mpsc},
    task::JoinHandle,
};

use super::client::Client;
use crate::{
    error::{Kind, Operation, StoreError},
    http as web, owner,
    parts::{Activity, Part},
    store::{Checked, Completed, Upload},
};

/// Bytes handed over at once.
const CHUNK: u64 = 64 << 10;
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
    state: Mutex<State>,
}

enum State {
    Fresh,
    Open(Transfer),
    Complete(u64),
    // With the reason, for later callers.
    Broken,
}

/// The request under way. Dropping it breaks the request off.
struct Transfer {
    pieces: mpsc::Sender<Piece>,
    answer: JoinHandle<Result<(), Refused>>,
    taken: u64,
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

enum Piece {
    Bytes(Bytes),
    End,
}

impl Drop for Transfer {
    fn drop(&mut self) {
        self.answer.abort();
    }
}

impl WholeUpload {
    pub(crate) fn new(client: Arc<Client>, name: &str, exact: Option<u64>) -> Self {
        Self {
            name: name.to_owned(),
            temporary: client.shown(owner::temporary_name()),
            client,
            exact,
            state: Mutex::new(State::Fresh),
        }
    }

    fn lost(&self, reason: impl Into<String>) -> StoreError {
        self.client.error(Operation::Write, Kind::Lost, reason)
    }

    /// Starts the request; it waits for its bytes.
    fn open(&self) -> Transfer {
        let (pieces, incoming) = mpsc::channel(1);
        let client = Arc::clone(&self.client);
        let mut request =
            client.request(Method::PUT, client.child(&self.temporary)).body(Body::wrap_stream(body(incoming)));
        if let Some(length) = self.exact {
            request = request.header(CONTENT_LENGTH, length);
        }
        let answer = tokio::spawn(async move {
            let response =
                request.send().await.map_err(|error| web::broken(client.label(), Operation::Write, &error))?;
            let may_work_on = matches!(response.status().as_u16(), 408 | 502 | 504 | 520..=529);
            if response.status().is_success() {
                Ok(())
            } else {
                Err(Refused { error: client.refusal(Operation::Write, response).await, may_work_on })
            }
        });
        Transfer { pieces, answer, taken: 0 }
    }

    /// Feeds what the request does not have yet.
    async fn feed(&self, transfer: &mut Transfer, part: &Part) -> Result<(), StoreError> {
        if !(part.offset..=part.end()).contains(&transfer.taken) {
            return Err(self.lost("the parts are not consecutive"));
        }
        let mut rest = part.data.skip(transfer.taken - part.offset);
        while !rest.is_empty() {
            let piece = rest.take(CHUNK).to_bytes();
            let length = piece.len() as u64;
            part.activity.pass(length).await;
            self.hand_over(transfer, piece, &part.activity).await?;
            transfer.taken += length;
            rest = rest.skip(length);
        }
        Ok(())
    }

    async fn hand_over(&self, transfer: &mut Transfer, piece: Bytes, activity: &Activity) -> Result<(), StoreError> {
        let Transfer { pieces, answer, .. } = transfer;
        let handed = async {
            tokio::select! {
                biased;
                early = &mut *answer => Some(early),
                taken = pieces.send(Piece::Bytes(piece)) => match taken {
                    Ok(()) => None,
                    // The connection let go of the body; the answer says why.
                    Err(_) => Some(answer.await),
                },
            }
        };
        let early = web::quiet(self.client.label(), Operation::Write, activity, self.client.stall(), handed).await?;
        activity.touch();
        match early {
            None => Ok(()),
            Some(Ok(Err(refused))) => Err(refused.error),
            Some(_) => Err(self.lost("it answered before it had received everything")),
        }
    }

    /// Ends the body and waits for the answer. With an announced length, the answer may come before the end. If none
    /// comes, or one that says nothing of the file, ask the server whether it has it.
    async fn finish(&self, transfer: &mut Transfer, activity: &Activity) -> Result<(), StoreError> {
        let (begun, length) = (Instant::now(), transfer.taken);
        let time = self.client.digesting(length);
        let _awaiting = activity.await_answer(time);
        let Transfer { pieces, answer, .. } = transfer;
        let ended = async {
            tokio::select! {
                biased;
                early = &mut *answer => early,
                _ = pieces.send(Piece::End) => answer.await,
            }
        };
        let refused = match web::quiet(self.client.label(), Operation::Write, activity, time, ended).await {
            Ok(Ok(Ok(()))) => return Ok(()),
            Ok(Ok(Err(refused))) => refused,
            Ok(Err(_)) => Refused::from(self.lost("the request ended without an answer")),
            Err(error) => Refused::from(error),
        };
        if !(refused.error.is_transient()
            && self.has_arrived(length, refused.may_work_on.then_some(begun + time)).await?)
        {
            return Err(refused.error);
        }
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

    /// Any failure ends this upload; what is transient elsewhere means here that it starts over.
    fn broken(state: &mut State, error: StoreError) -> StoreError {
        *state = State::Broken;
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

    async fn advance(&self, state: &mut State, part: &Part) -> Result<(), StoreError> {
        match state {
            State::Complete(length) if part.end() <= *length => return Ok(()),
            State::Complete(_) | State::Broken => return Err(self.lost("the request broke off and can't be resumed")),
            State::Fresh => *state = State::Open(self.open()),
            State::Open(_) => (),
        }
        let State::Open(transfer) = state else { return Ok(()) };
        self.feed(transfer, part).await?;
        if part.last {
            if let Some(exact) = self.exact.filter(|exact| *exact != transfer.taken) {
                return Err(self.client.error(
                    Operation::Write,
                    Kind::Mismatch,
                    format!("got {} bytes instead of the {exact} announced", transfer.taken),
                ));
            }
            self.finish(transfer, &part.activity).await?;
            *state = State::Complete(transfer.taken);
        }
        Ok(())
    }
}

/// The request's body. If nobody feeds it any more before its end, it fails, so that the server can't take a piece for
/// the whole.
fn body(incoming: mpsc::Receiver<Piece>) -> impl futures_util::Stream<Item = io::Result<Bytes>> {
    stream::unfold(Some(incoming), |incoming| async {
        let mut incoming = incoming?;
        match incoming.recv().await {
            Some(Piece::Bytes(bytes)) => Some((Ok(bytes), Some(incoming))),
            Some(Piece::End) => None,
            None => Some((Err(io::Error::other("the upload was aborted")), None)),
        }
    })
}

#[async_trait]
impl Upload for WholeUpload {
    async fn put(&self, part: &Part) -> Result<(), StoreError> {
        let mut state = self.state.lock().await;
        let result = self.advance(&mut state, part).await;
        result.map_err(|error| Self::broken(&mut state, error))
    }

    async fn patch(&self, _: u64, _: &[u8]) -> Result<(), StoreError> {
        Err(self.client.error(Operation::Write, Kind::Invalid, "bytes already sent can't be changed"))
    }

    async fn commit(&self, completed: &Completed) -> Result<Checked, StoreError> {
        let mut state = self.state.lock().await;
        if matches!(*state, State::Fresh) && completed.length == 0 {
            self.client.put(Operation::Write, self.client.child(&self.temporary), Bytes::new()).await?;
            *state = State::Complete(0);
        }
        if !matches!(*state, State::Complete(_)) {
            return Err(self.lost("the request broke off and can't be resumed"));
        }
        self.client.publish(&self.temporary, &self.name, completed.length).await
    }

    async fn abort(&self) -> Result<(), StoreError> {
        let mut state = self.state.lock().await;
        let ended = matches!(*state, State::Complete(_) | State::Fresh);
        *state = State::Broken;
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
