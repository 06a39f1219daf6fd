//! Haul as an app of Home Assistant: what Supervisor is asked, and what it is given.
//!
//! ```text
//! Supervisor ─▶ network storage ─▶ sharing ─┬─ as it is ──▶ destination
//!      ▲                                    └─ expected ──▶ made anew ─▶ every destination of the job
//!      └── whole: "write a backup of this name" ── expected
//! ```
//!
//! | module | owns |
//! |---|---|
//! | `sharing` | each destination as a folder, and Supervisor's network storage that leads there |
//! | `expected` | archives that Haul has asked for, from the order to their end |
//! | `whole` | a job's backup of everything |
//! | `restore` | what of a backup Supervisor can restore, and a restore from the order to its end |
//! | `storage` | what network storage was before a restore, and is after it |
//! | `leaving` | what goes on when this app is to stop |
//! | `ingress` | who comes in through Home Assistant |
//! | `broker` | the MQTT broker that another app provides |
//! | `own` | how Home Assistant backs itself up without Haul |
//! | `behind` | what is behind folders that are network storage |
//! | `private` | files that nobody else reads |

mod behind;
mod broker;
mod expected;
mod ingress;
mod leaving;
mod own;
mod private;
mod restore;
mod sharing;
mod storage;
mod whole;

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use store::Cancellation;
use supervisor::Supervisor;

use self::{expected::Expected, ingress::Administrators};
pub(crate) use self::{
    leaving::Leaving,
    restore::{Copy, Ordered, Restorable, no_app, restore},
    sharing::{Hears, Reached, Sharing},
    whole::{Goals, back_up},
};
use crate::{
    args::AppArgs,
    destination::Network,
    failure::{FAILED, Failure, INTERRUPTED},
    output,
};

/// Before Supervisor ends it by force, the app ends by itself.
const TO_END: Duration = Duration::from_secs(20);

/// Supervisor, as this app knows it.
pub(crate) struct App {
    supervisor: Arc<Supervisor>,
    network: Network,
    expected: Arc<Expected>,
    /// Where destinations are served as folders.
    share: SocketAddr,
    /// Whoever mounts them.
    host: IpAddr,
    /// Where the page is served for Home Assistant.
    pub(crate) ingress: SocketAddr,
    /// Supervisor's own address.
    from: IpAddr,
    /// A restore may keep it from ending for so long.
    patience: Duration,
    /// A restore of which nothing new is heard for so long needs a look.
    silence: Duration,
}

impl App {
    /// What the environment of an app says.
    pub(crate) fn from_environment(args: &AppArgs, cancel: &Cancellation) -> Result<Self, Failure> {
        let network = Network::start(None, cancel)?;
        let supervisor = match &args.supervisor {
            Some(address) => {
                let token = std::env::var("SUPERVISOR_TOKEN").unwrap_or_default();
                Supervisor::at(address, supervisor::Secret::new(token), supervisor::Timeouts::default())
            }
            None => Supervisor::from_environment(|name| std::env::var(name).ok()).ok_or_else(|| {
                Failure::usage("this is no app of Home Assistant: Supervisor has given no token")
                    .hint("use `haul serve` everywhere else")
            })?,
        };
        let supervisor = supervisor.map_err(Unanswered::Failed)?;
        crate::notify::this_is_an_app(&supervisor);
        Ok(Self {
            supervisor: Arc::new(supervisor),
            network,
            expected: Arc::default(),
            share: args.share,
            host: args.host,
            ingress: args.ingress,
            from: args.from,
            patience: Duration::from_secs(args.timeout).saturating_sub(TO_END),
            silence: Duration::from_secs(args.silence),
        })
    }

    /// Who comes in through Home Assistant.
    pub(crate) fn administrators(&self) -> Arc<dyn web::Ingress> {
        Arc::new(Administrators::new(Arc::clone(&self.supervisor), self.network.bridge.clone(), self.from))
    }

    /// Asks Supervisor. Whoever is to stop does not wait for its answer.
    fn ask<T>(
        &self,
        cancel: &Cancellation,
        question: impl Future<Output = Result<T, supervisor::Error>>,
    ) -> Result<T, Unanswered> {
        match self.network.bridge.wait(cancel.unless_cancelled(question)) {
            Some(answer) => answer.map_err(Unanswered::Failed),
            None => Err(Unanswered::Stopped),
        }
    }
}

/// Why there is no answer.
enum Unanswered {
    /// Nobody waits for it any more.
    Stopped,
    Failed(supervisor::Error),
}

impl Unanswered {
    /// Whether the same may succeed a little later.
    fn is_transient(&self) -> bool {
        matches!(self, Self::Failed(error) if error.is_transient())
    }
}

impl From<Unanswered> for Failure {
    fn from(unanswered: Unanswered) -> Self {
        match unanswered {
            Unanswered::Stopped => Self::new(INTERRUPTED, "interrupted"),
            Unanswered::Failed(error) => Self::new(FAILED, error.to_string()).hint(error.advice),
        }
    }
}

/// Writes a line to the log.
fn say(line: &str) {
    output::log(line);
}
