//! The new Home Assistant as a destination of the backup pipeline: it accepts one archive, in one request, and can't
//! resume. After a break, Haul asks whether the archive arrived after all; if not, it sends all of it again.

use std::{
    future::Future,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use homeassistant::{Arrival, Error, Kind as Cause, Progress};
use store::{
    Abilities, Checked, Completed, Expected, Kind, Operation, Part, Placement, Sink, StoreError, Upload,
    streamed::{self, Broken, StreamedUpload},
};
use tokio::sync::Mutex as Waiting;

use super::target::Target;
use crate::text;

/// The pause before another beginning, and between two questions whether it arrived.
const PAUSE: Duration = Duration::from_secs(2);
/// How often to check its list for the backup that it accepted.
const LISTINGS: u32 = 5;
/// How often to ask while the other side processes what it got: it reads all of it, which takes time.
const QUESTIONS: u32 = 900;

/// What became of the uploads so far, for the report.
#[derive(Default)]
pub(crate) struct Ledger(Mutex<Account>);

#[derive(Default)]
struct Account {
    backup_id: Option<String>,
    breaks: Vec<Error>,
    failure: Option<Error>,
    is_on_its_way: bool,
    is_all_sent: bool,
    is_to_pause: bool,
}

impl Ledger {
    /// By what it is restored, once it is there.
    pub(crate) fn backup_id(&self) -> Option<String> {
        self.account().backup_id.clone()
    }

    /// Why uploads had to start over.
    pub(crate) fn breaks(&self) -> Vec<String> {
        self.account().breaks.iter().map(ToString::to_string).collect()
    }

    /// What ended it for good, or broke it the last time.
    pub(crate) fn last_error(&self) -> Option<Error> {
        let account = self.account();
        account.failure.clone().or_else(|| account.breaks.last().cloned())
    }

    /// Whether anything of it left, and whether all of it did.
    pub(crate) fn way(&self) -> (bool, bool) {
        let account = self.account();
        (account.is_on_its_way, account.is_all_sent)
    }

    fn account(&self) -> MutexGuard<'_, Account> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A Home Assistant that takes one archive.
pub(crate) struct HomeAssistantSink {
    target: Arc<Target>,
    expected: homeassistant::Expected,
    ledger: Arc<Ledger>,
}

impl HomeAssistantSink {
    /// `expected` is what the archive will be called there.
    pub(crate) fn new(target: Arc<Target>, expected: homeassistant::Expected, ledger: Arc<Ledger>) -> Self {
        Self { target, expected, ledger }
    }

    /// Refuses what is certain not to fit: the backup, and beside it what is unpacked, which is no less.
    async fn check_space(&self, expected: &homeassistant::Expected) -> Result<(), StoreError> {
        let (Some(size), Some(free)) = (expected.size, self.target.free_space().await) else { return Ok(()) };
        let needed = size.saturating_mul(2);
        if free >= needed {
            return Ok(());
        }
        let reason = format!(
            "it has {} free, and needs at least {} for the backup and the unpacked files",
            text::bytes(free),
            text::bytes(needed)
        );
        let full = refusal(self.target.address(), Kind::Full { missing: Some(needed - free) }, reason);
        Err(full.advise(self.target.advice().full))
    }

    /// After a break: the reason once, so that it is seen and there is a pause; then whether it arrived.
    async fn is_there(&self, expected: &homeassistant::Expected) -> Result<bool, StoreError> {
        let pause = {
            let mut account = self.ledger.account();
            std::mem::take(&mut account.is_to_pause).then(|| account.breaks.last().cloned()).flatten()
        };
        if let Some(why) = pause {
            return Err(transient(&why));
        }
        match self.target.did_it_arrive(expected).await {
            Ok(Arrival::Yes { backup_id }) => {
                self.ledger.account().backup_id = Some(backup_id);
                Ok(true)
            }
            Ok(Arrival::No | Arrival::OtherSize { .. }) => Ok(false),
            Ok(Arrival::Underway) => Err(refusal(
                self.target.address(),
                Kind::Transient { retry_after: Some(PAUSE) },
                "it is still busy with the previous request",
            )),
            Err(error) if error.is_transient() => Err(transient(&error)),
            Err(error) => Err(lasting(&self.ledger, error)),
        }
    }
}

#[async_trait]
impl Sink for HomeAssistantSink {
    fn label(&self) -> String {
        self.target.address().to_owned()
    }

    fn abilities(&self) -> Abilities {
        Abilities {
            placement: Placement::Sequential,
            multiple: 1,
            preferred: 1 << 20,
            concurrency: 1,
            needs_length: true,
            restarts: true,
            md5: false,
            resumable: false,
        }
    }

    async fn create(&self, name: &str, expected: Expected) -> Result<Box<dyn Upload>, StoreError> {
        let known = homeassistant::Expected { size: expected.exact, ..self.expected.clone() };
        let had_breaks = !self.ledger.account().breaks.is_empty();
        let is_there = had_breaks && self.is_there(&known).await?;
        if !is_there {
            self.check_space(&known).await?;
        }
        // Whatever comes is then ignored.
        let upload = if is_there { StreamedUpload::completed(u64::MAX) } else { StreamedUpload::default() };
        let (target, ledger) = (Arc::clone(&self.target), Arc::clone(&self.ledger));
        Ok(Box::new(HomeAssistantUpload {
            target,
            ledger,
            name: name.to_owned(),
            expected: known,
            upload: Waiting::new(upload),
        }))
    }
}

/// One archive on its way.
struct HomeAssistantUpload {
    target: Arc<Target>,
    ledger: Arc<Ledger>,
    name: String,
    expected: homeassistant::Expected,
    upload: Waiting<StreamedUpload<String, Error>>,
}

impl HomeAssistantUpload {
    /// The request; it waits for its bytes.
    fn send(&self, body: streamed::Body) -> impl Future<Output = Result<String, Error>> + Send + 'static {
        let upload = homeassistant::Upload {
            file_name: self.name.clone(),
            length: self.expected.size,
            stream: body,
            progress: Progress::default(),
        };
        let target = Arc::clone(&self.target);
        let mut account = self.ledger.account();
        (account.is_on_its_way, account.is_all_sent) = (true, false);
        async move { target.upload(upload).await }
    }

    /// Whether it arrived although no answer did.
    async fn arrived(&self) -> Option<String> {
        for _ in 0..QUESTIONS {
            match self.target.did_it_arrive(&self.expected).await {
                Ok(Arrival::Yes { backup_id }) => return Some(backup_id),
                Ok(Arrival::Underway) => tokio::time::sleep(PAUSE).await,
                // If it can't be asked now, it is asked again before the next start.
                Ok(Arrival::No | Arrival::OtherSize { .. }) | Err(_) => return None,
            }
        }
        None
    }

    async fn advance(&self, upload: &mut StreamedUpload<String, Error>, part: &Part) -> Result<(), StoreError> {
        let error = match upload.feed(part, |body| self.send(body)).await {
            Ok(true) if part.last => {
                self.ledger.account().is_all_sent = true;
                match upload.finish().await {
                    Ok(backup_id) => {
                        self.ledger.account().backup_id = Some(backup_id);
                        return Ok(());
                    }
                    Err(error) => error,
                }
            }
            Ok(_) => return Ok(()),
            Err(Broken::Earlier) => return Err(self.lost("the upload broke off and can't be resumed")),
            Err(Broken::Gap) => return Err(self.lost("the parts are not consecutive")),
            Err(Broken::Answered(error)) => error,
        };
        upload.break_off();
        let Some(error) = error else { return Err(self.lost("it answered before it had received everything")) };
        let is_all_sent = self.ledger.account().is_all_sent;
        // A proxy that lost patience while Home Assistant was reading, or a line that broke then.
        let may_be_there = is_all_sent && (error.is_transient() || matches!(error.kind, Cause::Proxy(_)));
        if may_be_there && let Some(backup_id) = self.arrived().await {
            self.ledger.account().backup_id = Some(backup_id);
            *upload = StreamedUpload::completed(u64::MAX);
            return Ok(());
        }
        if !error.is_transient() {
            return Err(lasting(&self.ledger, error));
        }
        let lost = self.lost(error.reason.clone());
        let mut account = self.ledger.account();
        account.breaks.push(error);
        account.is_to_pause = true;
        Err(lost)
    }

    fn lost(&self, reason: impl Into<String>) -> StoreError {
        refusal(self.target.address(), Kind::Lost, reason)
    }
}

#[async_trait]
impl Upload for HomeAssistantUpload {
    async fn put(&self, part: &Part) -> Result<(), StoreError> {
        let mut upload = self.upload.lock().await;
        self.advance(&mut upload, part).await
    }

    async fn patch(&self, _: u64, _: &[u8]) -> Result<(), StoreError> {
        Err(refusal(self.target.address(), Kind::Invalid, "bytes already sent can't be changed"))
    }

    async fn commit(&self, completed: &Completed) -> Result<Checked, StoreError> {
        if !self.upload.lock().await.is_complete() {
            return Err(self.lost("the upload broke off and can't be resumed"));
        }
        let expected = homeassistant::Expected { size: Some(completed.length), ..self.expected.clone() };
        // An instance that does not show its list accepted all the announced bytes.
        for _ in 0..LISTINGS {
            match self.target.did_it_arrive(&expected).await {
                Ok(Arrival::OtherSize { size, .. }) => {
                    let reason = format!("it has {size} bytes instead of {}", completed.length);
                    let advice = "nothing was restored; remove the backup there under Settings > System > Backups, and \
                        try again";
                    return Err(refusal(self.target.address(), Kind::Mismatch, reason).advise(advice));
                }
                Ok(Arrival::No | Arrival::Underway) => tokio::time::sleep(PAUSE).await,
                Ok(Arrival::Yes { .. }) | Err(_) => return Ok(Checked::Size),
            }
        }
        let refusal = refusal(self.target.address(), Kind::Mismatch, "it accepted the backup, but does not list it");
        Err(refusal.advise("nothing was restored; check its log"))
    }

    async fn abort(&self) -> Result<(), StoreError> {
        self.upload.lock().await.break_off();
        Ok(())
    }
}

fn refusal(address: &str, kind: Kind, reason: impl Into<String>) -> StoreError {
    StoreError::remote(address, Operation::Write, kind, reason)
}

/// Worth another try, in a moment.
fn transient(error: &Error) -> StoreError {
    refusal(&error.address, Kind::Transient { retry_after: Some(PAUSE) }, error.reason.clone())
}

/// No further attempt will do better. The user gets the instance's own text.
fn lasting(ledger: &Ledger, error: Error) -> StoreError {
    let shown = refusal(&error.address, Kind::Protocol, error.reason.clone());
    ledger.account().failure = Some(error);
    shown
}
