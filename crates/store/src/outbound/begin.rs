//! Begins an upload, and aborts it if nobody wants it any more.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::oneshot,
    task::{JoinHandle, JoinSet},
    time::timeout,
};

use super::endings::{self, died};
use crate::{
    context::Context,
    error::StoreError,
    retry::RetryPolicy,
    store::{Expected, Sink, Upload},
};

/// An upload that is being begun. It runs in its own task: dropping it midway would leave something behind at the
/// destination.
pub(super) type Creating = JoinHandle<Result<Box<dyn Upload>, StoreError>>;

/// How long a destination may take to answer that it has begun, once the user has stopped it.
const LAST_WORD: Duration = Duration::from_millis(500);

/// Begins an upload. If the user stops it, an upload that has begun is aborted; if the destination does not answer
/// soon, that happens behind the caller, or, if the process ends before, the next one removes it.
pub(super) async fn create(
    sink: &Arc<dyn Sink>,
    name: &str,
    expected: Expected,
    policy: &RetryPolicy,
    context: &Context,
) -> Result<Box<dyn Upload>, StoreError> {
    // Each attempt runs in its own task, because the retry policy drops what it waits for when the user stops it. It
    // ends with the upload that nobody was there to take.
    let mut tries = JoinSet::new();
    let created = policy
        .retry(|| {
            let (sink, name, (sender, begun)) = (Arc::clone(sink), name.to_owned(), oneshot::channel());
            let label = sink.label();
            tries.spawn(async move { sender.send(sink.create(&name, expected).await).err().and_then(Result::ok) });
            async move { begun.await.unwrap_or_else(|error| Err(died(&label, &error))) }
        })
        .await;
    if matches!(created, Err(StoreError::Cancelled)) {
        match timeout(LAST_WORD, unheard(&mut tries)).await {
            Ok(Some(upload)) => endings::abort(context, &*upload).await,
            Ok(None) => {}
            Err(_) => {
                let context = context.clone();
                tokio::spawn(async move {
                    if let Some(upload) = unheard(&mut tries).await {
                        endings::abort(&context, &*upload).await;
                    }
                });
            }
        }
    }
    created
}

/// The upload that has begun after all.
async fn unheard(tries: &mut JoinSet<Option<Box<dyn Upload>>>) -> Option<Box<dyn Upload>> {
    while let Some(ended) = tries.join_next().await {
        if let Ok(Some(upload)) = ended {
            return Some(upload);
        }
    }
    None
}

/// Aborts an upload that nobody needs any more. A destination that is silent for so long is not waited for.
pub(super) async fn undo(creating: Creating, context: Context, longest: Duration) {
    let undone = tokio::spawn(async move {
        if let Ok(Ok(upload)) = creating.await {
            endings::abort(&context, &*upload).await;
        }
    });
    let _ = timeout(longest, undone).await;
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use std::{
        ops::Range,
        sync::{
            Arc,
            atomic::{AtomicU32, Ordering},
        },
    };

    use super::*;
    use crate::{
        cancellation::Cancellation,
        error::{Kind, Operation},
        parts::Part,
        store::{Abilities, Checked, Completed, Placement, Session},
        tuning::Tuning,
    };
    use async_trait::async_trait;

    /// A destination at which the user stops the program while it begins an upload.
    #[derive(Clone)]
    struct Slow {
        cancel: Cancellation,
        /// How many answers fail first.
        hiccups: Arc<AtomicU32>,
        answers: bool,
        /// Uploads that are there.
        begun: Arc<AtomicU32>,
    }

    #[async_trait]
    impl Sink for Slow {
        fn label(&self) -> String {
            "slow://".to_owned()
        }
        fn abilities(&self) -> Abilities {
            Abilities {
                placement: Placement::Sequential,
                multiple: 1,
                preferred: 1,
                concurrency: 1,
                needs_length: false,
                restarts: false,
                md5: false,
                resumable: false,
            }
        }
        async fn create(&self, _: &str, _: Expected) -> Result<Box<dyn Upload>, StoreError> {
            if self.hiccups.load(Ordering::Relaxed) > 0 {
                self.hiccups.fetch_sub(1, Ordering::Relaxed);
                return Err(StoreError::remote(
                    "slow://",
                    Operation::Create,
                    Kind::Transient { retry_after: None },
                    "hiccup",
                ));
            }
            self.begun.fetch_add(1, Ordering::Relaxed);
            self.cancel.cancel();
            if !self.answers {
                std::future::pending::<()>().await;
            }
            // Longer than the retry policy takes to see that the user wants to stop.
            tokio::time::sleep(Duration::from_millis(400)).await;
            Ok(Box::new(self.clone()))
        }
    }

    #[async_trait]
    impl Upload for Slow {
        async fn put(&self, _: &Part) -> Result<(), StoreError> {
            Ok(())
        }
        async fn patch(&self, _: u64, _: &[u8]) -> Result<(), StoreError> {
            Ok(())
        }
        async fn commit(&self, _: &Completed) -> Result<Checked, StoreError> {
            Ok(Checked::Size)
        }
        async fn abort(&self) -> Result<(), StoreError> {
            self.begun.fetch_sub(1, Ordering::Relaxed);
            Ok(())
        }
        fn session(&self) -> Option<Session> {
            None
        }
        fn kept(&self) -> Vec<Range<u64>> {
            Vec::new()
        }
    }

    /// How many uploads stay when the user stops it.
    async fn left(hiccups: u32, answers: bool) -> u32 {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let cancel = Cancellation::default();
        let tuning = Tuning { first_pause: Duration::from_millis(1), ..Tuning::default() };
        let context = Context::new(tuning, "/nonexistent".into(), cancel.clone()).unwrap();
        let begun = Arc::default();
        let slow = Slow { cancel, hiccups: Arc::new(AtomicU32::new(hiccups)), answers, begun: Arc::clone(&begun) };
        let sink: Arc<dyn Sink> = Arc::new(slow);
        let created = create(&sink, "a.tar", Expected::default(), &RetryPolicy::new(&context), &context).await;
        assert!(matches!(created, Err(StoreError::Cancelled)));
        begun.load(Ordering::Relaxed)
    }

    #[tokio::test(start_paused = true)]
    async fn what_begins_while_the_user_stops_it_is_taken_back() {
        for hiccups in [0, 2] {
            assert_eq!(left(hiccups, true).await, 0);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_destination_that_never_says_that_it_has_begun_is_not_waited_for() {
        assert_eq!(left(0, false).await, 1);
    }
}
