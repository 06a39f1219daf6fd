//! The Home Assistant that Haul is an app of. Supervisor leads to it, so nothing has to be set up.

use std::sync::OnceLock;

use jiff::Timestamp;
use keeper::{notices::Notice, status::Failure as Reason};
use store::Cancellation;
use supervisor::{Kind, Supervisor};

use super::web::action;
use crate::{destination::Network, failure::reason};

/// As long as the process.
static SUPERVISOR: OnceLock<Supervisor> = OnceLock::new();

/// From now on, this is an app of Home Assistant, with this Supervisor.
pub(crate) fn this_is_an_app(supervisor: &Supervisor) {
    let _ = SUPERVISOR.set(supervisor.clone());
    crate::in_app::this_is_an_app();
}

/// Tells Home Assistant's users.
pub(super) fn tell(
    service: Option<&str>,
    notice: &Notice,
    now: Timestamp,
    cancel: &Cancellation,
) -> Result<(), Reason> {
    let supervisor = SUPERVISOR.get().ok_or_else(|| Reason {
        message: "this is no app of Home Assistant, so no Supervisor leads to it".to_owned(),
        hint: Some("give Home Assistant's address as home_assistant, and a token_file".to_owned()),
        passes: false,
    })?;
    let (action, data) = action(service, notice, now);
    let network = Network::start(None, cancel).map_err(|failure| reason(&failure))?;
    let told = network.bridge.wait(cancel.unless_cancelled(async { supervisor.core().act(&action, data).await }));
    let Some(told) = told else {
        return Err(Reason { message: "interrupted".to_owned(), hint: None, passes: true });
    };
    told.map_err(|error| Reason {
        message: error.to_string(),
        hint: Some(match error.kind {
            Kind::NotFound => "look for the action's name in Home Assistant, under Developer tools".to_owned(),
            _ => error.advice.clone(),
        }),
        passes: error.is_transient(),
    })
}
