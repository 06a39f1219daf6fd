//! How a copy ends that did not arrive: the message, and the cleanup.

use std::time::Duration;

use crate::{
    cancellation::Cancellation,
    context::Context,
    error::{Kind, Operation, StoreError},
    owner,
    retry::RetryPolicy,
    store::Upload,
};

/// How long cleanup may take after a failure or an interruption, even at a silent destination.
const TIDYING: Duration = Duration::from_secs(20);

/// The message about a copy that was to be read back and could not be.
pub(super) fn uncompared(name: &str, label: &str, error: &StoreError) -> String {
    format!(
        "{name} arrived at {label}, but Haul could not read it back and compare it ({error}); `haul verify` does that \
         later"
    )
}

/// A copy that differs from what was sent and stays where it is, because it could not be deleted.
pub(super) fn not_removed(error: StoreError, name: &str, label: &str) -> StoreError {
    error.advise(format!(
        "the copy could not be deleted: delete {name} from {label} yourself, then try again; if it happens again, \
         check the network and the server's disk"
    ))
}

/// Tries to remove something and says whether it is gone; what can't be removed now is left to the next run.
pub(super) async fn tidy<F: Future<Output = Result<(), StoreError>>>(
    context: &Context,
    remove: impl FnMut() -> F,
) -> bool {
    tokio::time::timeout(TIDYING, brief(context).retry(remove)).await.is_ok_and(|removed| removed.is_ok())
}

/// Aborts an upload. What can't be removed now is nobody's from now on: otherwise it would stay as long as this process
/// lives.
pub(super) async fn abort(context: &Context, upload: &dyn Upload) {
    if !tidy(context, || upload.abort()).await
        && let Some(name) = upload.temporary().filter(|name| owner::is_own(name))
    {
        owner::give_up(&name);
    }
}

/// Retry policy for tidying up: works after an interruption too, and does not take long.
pub(super) fn brief(context: &Context) -> RetryPolicy {
    let mut context = context.clone();
    context.cancel = Cancellation::default();
    // A destination that was just given up is not waited for as long again.
    context.tuning.give_up_after = context.tuning.give_up_after.min(TIDYING);
    context.tuning.first_contact = context.tuning.give_up_after;
    RetryPolicy::new(&context)
}

/// The task that sent it is gone.
pub(super) fn died(label: &str, error: &dyn std::error::Error) -> StoreError {
    StoreError::remote(label, Operation::Write, Kind::Protocol, format!("sending ended unexpectedly: {error}"))
}
