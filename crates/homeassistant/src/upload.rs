//! Uploads a backup as the first part of a form, streamed and never whole in memory, and finds out who is to blame if
//! the upload breaks.

use std::{
    fmt, io,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use reqwest::{Body, RequestBuilder};

use crate::{
    answers::Uploaded,
    error::{Error, Kind, Operation},
    look::Instance,
    proxy::Answer,
    text::sanitize,
    timeouts::duration_text,
    wire::Wire,
};

/// Bytes handed to the connection at once: few enough that even a slow connection shows progress.
const CHUNK: usize = 64 << 10;
/// How often a silent connection is checked.
const LOOK: Duration = Duration::from_millis(500);

/// How many bytes of a backup the connection has taken so far. Cheap to clone; clones share it.
#[derive(Clone, Debug, Default)]
pub struct Progress(Arc<AtomicU64>);

impl Progress {
    /// Bytes so far.
    pub fn bytes(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A backup on its way.
pub struct Upload<S> {
    /// Its bare file name.
    pub file_name: String,
    /// Its length, if it is known. Without it the body is sent in chunks.
    pub length: Option<u64>,
    /// Its bytes.
    pub stream: S,
    /// Counts what left.
    pub progress: Progress,
}

impl Instance {
    /// Uploads to a fresh instance; the id by which the backup is restored. One attempt: when it fails, ask
    /// [`Self::did_it_arrive`] before another.
    pub async fn upload<S, E>(&self, agent: &str, upload: Upload<S>) -> Result<String, Error>
    where
        S: Stream<Item = Result<Bytes, E>> + Send + 'static,
        E: fmt::Display + Send + 'static,
    {
        let mut url = self.wire.url("api/onboarding/backup/upload");
        url.query_pairs_mut().append_pair("agent_id", agent);
        let answer = send(&self.wire, self.wire.post(url), upload).await?;
        self.while_fresh(Operation::Upload, &answer)?;
        uploaded(&self.wire, &answer)
    }
}

/// What the answer to an upload means.
pub(crate) fn uploaded(wire: &Wire, answer: &Answer) -> Result<String, Error> {
    wire.parsed::<Uploaded>(Operation::Upload, answer).map(|uploaded| uploaded.backup_id)
}

/// Sends a backup and waits for the answer, whatever its status.
pub(crate) async fn send<S, E>(wire: &Wire, request: RequestBuilder, upload: Upload<S>) -> Result<Answer, Error>
where
    S: Stream<Item = Result<Bytes, E>> + Send + 'static,
    E: fmt::Display + Send + 'static,
{
    if !is_bare(&upload.file_name) {
        return Err(wire.error(
            Operation::Upload,
            Kind::Invalid,
            format!("{:?} is not a valid file name", upload.file_name),
        ));
    }
    let boundary = boundary().map_err(|error| wire.error(Operation::Upload, Kind::Invalid, error.to_string()))?;
    let pulse = Arc::new(Pulse { sent: upload.progress.clone(), ..Pulse::default() });
    let form = Form::new(upload, &boundary, Arc::clone(&pulse));
    let mut request = request.header(CONTENT_TYPE, format!("multipart/form-data; boundary={boundary}"));
    if let Some(length) = form.whole_length() {
        request = request.header(CONTENT_LENGTH, length);
    }
    let answered = watch(wire, &pulse, request.body(Body::wrap_stream(form)).send()).await?;
    match answered {
        Ok(response) => wire.read(Operation::Upload, response).await,
        Err(error) => Err(pulse.fault(wire).unwrap_or_else(|| after(wire.broken(Operation::Upload, &error), &pulse))),
    }
}

/// Waits for an answer, but not while nothing moves that should.
async fn watch<T>(wire: &Wire, pulse: &Pulse, work: impl Future<Output = T>) -> Result<T, Error> {
    tokio::pin!(work);
    let (mut seen, mut since) = (pulse.taken(), Instant::now());
    loop {
        if let Ok(done) = tokio::time::timeout(LOOK.min(wire.timeouts.stall), &mut work).await {
            return Ok(done);
        }
        let now = pulse.taken();
        // The source may take as long as it likes; whoever reads from it judges that.
        if now != seen || pulse.waits_for_source.load(Ordering::Relaxed) {
            (seen, since) = (now, Instant::now());
        }
        let is_sent = pulse.is_sent.load(Ordering::Relaxed);
        let most = if is_sent { wire.timeouts.answer } else { wire.timeouts.stall };
        if since.elapsed() >= most {
            let reason = if is_sent {
                "accepted the whole backup, then gave no answer for"
            } else {
                "accepted no more data for"
            };
            return Err(after(
                wire.error(Operation::Upload, Kind::Broken, format!("it {reason} {}", duration_text(most))),
                pulse,
            ));
        }
    }
}

/// An error of a line, with how far the upload was.
fn after(mut error: Error, pulse: &Pulse) -> Error {
    let sent = pulse.sent.bytes();
    if error.kind == Kind::Broken && sent > 0 {
        let how_far = if sent < 10 << 20 { format!("{} KiB", sent >> 10) } else { format!("{} MiB", sent >> 20) };
        let all = if pulse.is_sent.load(Ordering::Relaxed) { "all, " } else { "" };
        error.reason = format!("{} (after {all}{how_far})", error.reason);
        error.advice.get_or_insert_with(|| {
            "check the connection and that Home Assistant keeps running; a proxy in between that limits the size or \
             time of uploads often ends them without an error"
                .to_owned()
        });
    }
    error
}

/// State shared by the body and the task that waits for the answer.
#[derive(Default)]
struct Pulse {
    sent: Progress,
    mouthfuls: AtomicU64,
    waits_for_source: AtomicBool,
    is_sent: AtomicBool,
    fault: Mutex<Option<String>>,
}

impl Pulse {
    fn taken(&self) -> u64 {
        self.mouthfuls.load(Ordering::Relaxed)
    }

    /// The source's own failure, if that ended the upload.
    fn fault(&self, wire: &Wire) -> Option<Error> {
        let reason = self.fault.lock().unwrap_or_else(PoisonError::into_inner).clone()?;
        Some(wire.error(Operation::Upload, Kind::Source, reason))
    }
}

/// The form: what precedes the file, the file, what follows it.
struct Form<S> {
    head: Bytes,
    rest: Bytes,
    file: Option<Pin<Box<S>>>,
    tail: Bytes,
    length: Option<u64>,
    read: u64,
    pulse: Arc<Pulse>,
}

impl<S> Form<S> {
    fn new(upload: Upload<S>, boundary: &str, pulse: Arc<Pulse>) -> Self {
        let name = &upload.file_name;
        let head = format!(
            "--{boundary}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"{name}\"\r\nContent-Type: \
             application/x-tar\r\n\r\n"
        );
        let tail = format!("\r\n--{boundary}--\r\n");
        Self {
            head: head.into(),
            rest: Bytes::new(),
            file: Some(Box::pin(upload.stream)),
            tail: tail.into(),
            length: upload.length,
            read: 0,
            pulse,
        }
    }

    fn whole_length(&self) -> Option<u64> {
        self.length.map(|length| length + (self.head.len() + self.tail.len()) as u64)
    }

    fn fail(&mut self, reason: String) -> io::Error {
        self.file = None;
        *self.pulse.fault.lock().unwrap_or_else(PoisonError::into_inner) = Some(reason);
        io::Error::other("the source failed")
    }
}

impl<S, E> Stream for Form<S>
where
    S: Stream<Item = Result<Bytes, E>> + Send,
    E: fmt::Display,
{
    type Item = io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let form = &mut *self;
        form.pulse.mouthfuls.fetch_add(1, Ordering::Relaxed);
        if !form.head.is_empty() {
            return Poll::Ready(Some(Ok(std::mem::take(&mut form.head))));
        }
        loop {
            if !form.rest.is_empty() {
                let piece = form.rest.split_to(form.rest.len().min(CHUNK));
                form.pulse.sent.0.fetch_add(piece.len() as u64, Ordering::Relaxed);
                return Poll::Ready(Some(Ok(piece)));
            }
            let Some(file) = &mut form.file else {
                form.pulse.is_sent.store(true, Ordering::Relaxed);
                let tail = std::mem::take(&mut form.tail);
                return Poll::Ready((!tail.is_empty()).then_some(Ok(tail)));
            };
            let next = file.poll_next_unpin(context);
            form.pulse.waits_for_source.store(next.is_pending(), Ordering::Relaxed);
            match std::task::ready!(next) {
                Some(Ok(piece)) => {
                    form.read += piece.len() as u64;
                    if let Some(length) = form.length.filter(|length| form.read > *length) {
                        return Poll::Ready(Some(Err(
                            form.fail(format!("the backup is longer than the {length} bytes that were announced"))
                        )));
                    }
                    form.rest = piece;
                }
                Some(Err(error)) => return Poll::Ready(Some(Err(form.fail(sanitize(&error.to_string(), 500))))),
                None => match form.length.filter(|length| form.read < *length) {
                    Some(length) => {
                        let reason = format!("the backup ended after {} of {length} bytes", form.read);
                        return Poll::Ready(Some(Err(form.fail(reason))));
                    }
                    None => form.file = None,
                },
            }
        }
    }
}

/// A name that is put between quotes in a header and becomes a file name on the other side.
fn is_bare(name: &str) -> bool {
    !matches!(name, "" | "." | "..")
        && name.len() <= 255
        && !name.chars().any(|c| c.is_control() || matches!(c, '/' | '\\' | '"'))
}

/// A line that no backup contains.
fn boundary() -> Result<String, getrandom::Error> {
    let mut random = [0; 16];
    getrandom::fill(&mut random)?;
    Ok(format!("haul{:032x}", u128::from_be_bytes(random)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use futures_util::stream;
    use proptest::prelude::*;

    use super::*;

    fn collect(
        pieces: Vec<Result<Vec<u8>, &'static str>>,
        length: Option<u64>,
    ) -> (Vec<u8>, Option<u64>, Option<String>, u64) {
        let pulse = Arc::new(Pulse::default());
        let pieces = stream::iter(pieces.into_iter().map(|piece| piece.map(Bytes::from)));
        let upload = Upload { file_name: "a.tar".into(), length, stream: pieces, progress: Progress::default() };
        let form = Form::new(upload, "edge", Arc::clone(&pulse));
        let announced = form.whole_length();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let got = runtime.block_on(form.collect::<Vec<_>>());
        let bytes = got.into_iter().filter_map(Result::ok).flatten().collect();
        let fault = pulse.fault.lock().unwrap().clone();
        (bytes, announced, fault, pulse.sent.bytes())
    }

    #[test]
    fn what_the_source_says_is_kept_apart_from_what_the_line_does() {
        assert_eq!(collect(vec![Ok(vec![1]), Err("the disk is broken")], None).2.unwrap(), "the disk is broken");
        assert_eq!(collect(vec![Ok(vec![1])], Some(2)).2.unwrap(), "the backup ended after 1 of 2 bytes");
        assert_eq!(
            collect(vec![Ok(vec![1, 2, 3])], Some(2)).2.unwrap(),
            "the backup is longer than the 2 bytes that were announced"
        );
    }

    #[test]
    fn only_bare_names_are_sent() {
        for good in ["home.tar", "Mein Haus – 1.tar", ".hidden.tar"] {
            assert!(is_bare(good), "{good}");
        }
        for bad in ["", ".", "..", "a/b", "a\\b", "a\"b", "a\nb"] {
            assert!(!is_bare(bad), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn a_form_is_as_long_as_announced_and_holds_the_file_whole(pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200_000), 0..4)) {
            let file = pieces.concat();
            let (bytes, announced, fault, sent) = collect(pieces.into_iter().map(Ok).collect(), Some(file.len() as u64));
            prop_assert_eq!(fault, None);
            prop_assert_eq!(announced, Some(bytes.len() as u64));
            prop_assert_eq!(sent, file.len() as u64);
            let begin = bytes.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
            prop_assert_eq!(&bytes[begin..begin + file.len()], &file[..]);
            prop_assert_eq!(&bytes[begin + file.len()..], b"\r\n--edge--\r\n");
        }
    }
}
