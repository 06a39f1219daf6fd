//! One long request, fed part by part, for destinations that take an archive in order and in one piece. It can't be
//! resumed after a break. What the request is and what its answer means is the destination's business.

use std::{future::Future, io, pin::Pin};

use bytes::Bytes;
use futures_util::{Stream, stream};
use tokio::{sync::mpsc, task::JoinHandle};

use crate::parts::Part;

/// Bytes handed over at once: few enough that even a slow connection shows progress.
const CHUNK: u64 = 64 << 10;

/// The body of the request. If nobody feeds it any more before its end, it fails, so that the server can't mistake the
/// beginning for the whole.
pub type Body = Pin<Box<dyn Stream<Item = io::Result<Bytes>> + Send>>;

/// An upload in one request, which is answered with a `T` or refused with an `E`.
pub struct StreamedUpload<T, E>(State<T, E>);

enum State<T, E> {
    Fresh,
    Open(Request<T, E>),
    /// So many bytes are there.
    Complete(u64),
    Broken,
}

/// The request under way. Dropping it breaks it off.
struct Request<T, E> {
    pieces: mpsc::Sender<Piece>,
    answer: JoinHandle<Result<T, E>>,
    taken: u64,
}

enum Piece {
    Bytes(Bytes),
    End,
}

/// Why the request takes no more bytes.
#[derive(Debug, PartialEq, Eq)]
pub enum Broken<E> {
    /// It broke off before.
    Earlier,
    /// The part does not follow what was sent.
    Gap,
    /// The answer came before the end: a refusal, or one that says nothing of the bytes that were still to come.
    Answered(Option<E>),
}

impl<T, E> Drop for Request<T, E> {
    fn drop(&mut self) {
        self.answer.abort();
    }
}

impl<T, E> Default for StreamedUpload<T, E> {
    fn default() -> Self {
        Self(State::Fresh)
    }
}

impl<T: Send + 'static, E: Send + 'static> StreamedUpload<T, E> {
    /// One whose first bytes, `length` of them, are at the destination already: parts of them are ignored.
    pub fn completed(length: u64) -> Self {
        Self(State::Complete(length))
    }

    /// Feeds what the request does not have yet of a part; `send` starts the request before the first one. Says whether
    /// the request waits for more: after the last part for [`Self::finish`].
    pub async fn feed<F>(&mut self, part: &Part, send: impl FnOnce(Body) -> F) -> Result<bool, Broken<E>>
    where
        F: Future<Output = Result<T, E>> + Send + 'static,
    {
        match &self.0 {
            State::Complete(length) if part.end() <= *length => return Ok(false),
            State::Complete(_) | State::Broken => return Err(Broken::Earlier),
            State::Fresh => {
                let (pieces, incoming) = mpsc::channel(1);
                let answer = tokio::spawn(send(body(incoming)));
                self.0 = State::Open(Request { pieces, answer, taken: 0 });
            }
            State::Open(_) => {}
        }
        let State::Open(request) = &mut self.0 else { return Ok(false) };
        if !(part.offset..=part.end()).contains(&request.taken) {
            return Err(Broken::Gap);
        }
        let mut rest = part.data.skip(request.taken - part.offset);
        while !rest.is_empty() {
            let piece = rest.take(CHUNK).to_bytes();
            let length = piece.len() as u64;
            part.activity.pass(length).await;
            if let Some(early) = request.hand_over(Piece::Bytes(piece)).await {
                // There is no second answer to wait for.
                self.0 = State::Broken;
                return Err(Broken::Answered(early.and_then(Result::err)));
            }
            request.taken += length;
            part.activity.touch();
            rest = rest.skip(length);
        }
        Ok(true)
    }

    /// Ends the body and waits for the answer, which may well be quicker than the end if the length was announced.
    /// `None` if the request ends without an answer.
    pub async fn finish(&mut self) -> Result<T, Option<E>> {
        let State::Open(request) = &mut self.0 else { return Err(None) };
        let early = request.hand_over(Piece::End).await;
        let answer = match early {
            Some(early) => early,
            None => (&mut request.answer).await.ok(),
        };
        let taken = request.taken;
        self.0 = if matches!(answer, Some(Ok(_))) { State::Complete(taken) } else { State::Broken };
        match answer {
            Some(answer) => answer.map_err(Some),
            None => Err(None),
        }
    }

    /// Bytes that the request has taken.
    pub fn taken(&self) -> u64 {
        match &self.0 {
            State::Fresh | State::Broken => 0,
            State::Open(request) => request.taken,
            State::Complete(length) => *length,
        }
    }

    /// Ends it for good.
    pub fn break_off(&mut self) {
        self.0 = State::Broken;
    }

    /// Whether nothing of it was sent.
    pub fn is_fresh(&self) -> bool {
        matches!(self.0, State::Fresh)
    }

    /// Whether all of it is there.
    pub fn is_complete(&self) -> bool {
        matches!(self.0, State::Complete(_))
    }
}

impl<T, E> Request<T, E> {
    /// `None` when the piece was taken, else the answer; in it `None` if the request died.
    async fn hand_over(&mut self, piece: Piece) -> Option<Option<Result<T, E>>> {
        tokio::select! {
            biased;
            early = &mut self.answer => Some(early.ok()),
            taken = self.pieces.send(piece) => match taken {
                Ok(()) => None,
                // The connection let go of the body; the answer says why.
                Err(_) => Some((&mut self.answer).await.ok()),
            },
        }
    }
}

fn body(incoming: mpsc::Receiver<Piece>) -> Body {
    Box::pin(stream::unfold(Some(incoming), |incoming| async {
        let mut incoming = incoming?;
        match incoming.recv().await {
            Some(Piece::Bytes(bytes)) => Some((Ok(bytes), Some(incoming))),
            Some(Piece::End) => None,
            None => Some((Err(io::Error::other("the upload was aborted")), None)),
        }
    }))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use std::sync::{Arc, Mutex};

    use futures_util::StreamExt;

    use super::*;
    use crate::parts::{Activity, Segments};

    type Upload = StreamedUpload<u64, &'static str>;

    fn part(offset: u64, bytes: &[u8], last: bool) -> Part {
        let data = Segments::from(Bytes::copy_from_slice(bytes));
        Part { index: 0, offset, data, last, total: None, activity: Activity::default() }
    }

    /// Takes everything, and answers how much that was.
    async fn count(mut body: Body) -> Result<u64, &'static str> {
        let mut count = 0;
        while let Some(piece) = body.next().await {
            count += piece.map_err(|_| "it was aborted")?.len() as u64;
        }
        Ok(count)
    }

    #[tokio::test]
    async fn parts_arrive_in_order_and_one_that_comes_twice_once() {
        let (mut upload, large) = (Upload::default(), vec![7; 200_000]);
        assert!(upload.is_fresh());
        assert_eq!(upload.feed(&part(0, &large, false), count).await, Ok(true));
        assert_eq!(upload.feed(&part(0, &large, false), count).await, Ok(true), "it has all of that");
        assert_eq!(upload.feed(&part(200_001, b"x", false), count).await, Err(Broken::Gap));
        assert_eq!(upload.feed(&part(199_999, b"xyz", true), count).await, Ok(true), "the rest of it");
        assert_eq!((upload.taken(), upload.finish().await), (200_002, Ok(200_002)));
        assert!(upload.is_complete());
        assert_eq!(upload.feed(&part(199_999, b"xyz", true), count).await, Ok(false));
        assert_eq!(upload.feed(&part(200_002, b"x", true), count).await, Err(Broken::Earlier));
    }

    #[tokio::test]
    async fn an_answer_before_the_end_is_told() {
        for (answer, told) in [(Err("no"), Some("no")), (Ok(3), None)] {
            let mut upload = Upload::default();
            // The channel holds a piece, so the first may be taken.
            let answered = async {
                loop {
                    if let Err(error) =
                        upload.feed(&part(upload.taken(), b"abc", false), |_| std::future::ready(answer)).await
                    {
                        return error;
                    }
                }
            };
            assert_eq!(answered.await, Broken::Answered(told));
            assert_eq!(upload.feed(&part(0, b"abc", false), count).await, Err(Broken::Earlier));
            assert_eq!(upload.finish().await, Err(None));
        }
    }

    #[tokio::test]
    async fn a_request_that_dies_has_no_answer() {
        let mut upload = Upload::default();
        let dies = |mut body: Body| async move {
            while body.next().await.is_some() {}
            std::panic::resume_unwind(Box::new("dead"))
        };
        assert_eq!(upload.feed(&part(0, b"abc", true), dies).await, Ok(true));
        assert_eq!(upload.finish().await, Err(None));
        assert_eq!((upload.finish().await, upload.is_complete()), (Err(None), false));
    }

    #[tokio::test]
    async fn whoever_stops_before_the_end_never_sends_a_whole_body() {
        let ends = Arc::new(Mutex::new(None));
        let (mut upload, seen) = (Upload::default(), Arc::clone(&ends));
        let (ended, end) = tokio::sync::oneshot::channel();
        // The body outlives the request, as at a server that reads on.
        let send = |body: Body| {
            let reading = tokio::spawn(async move {
                *seen.lock().unwrap() = Some(count(body).await);
                ended.send(()).unwrap();
            });
            async { reading.await.map_or(Err("dead"), |()| Ok(0)) }
        };
        assert_eq!(upload.feed(&part(0, b"abc", false), send).await, Ok(true));
        upload.break_off();
        end.await.unwrap();
        assert_eq!(*ends.lock().unwrap(), Some(Err("it was aborted")));
    }
}
