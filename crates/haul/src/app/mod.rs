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
//! | `ingress` | who comes in through Home Assistant |
//! | `broker` | the MQTT broker that another app provides |
//! | `private` | files that nobody else reads |

mod broker;
mod expected;
mod ingress;
mod private;
mod sharing;
mod whole;

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use store::Cancellation;
use supervisor::{Info, OwnApp, Supervisor};

use self::{expected::Expected, ingress::Administrators};
pub(crate) use self::{
    sharing::{Hears, Reached, Sharing},
    whole::{Goals, back_up},
};
use crate::{
    args::AppArgs,
    destination::Network,
    failure::{FAILED, Failure},
    output,
};

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
        Ok(Self {
            supervisor: Arc::new(supervisor.map_err(failed)?),
            network,
            expected: Arc::default(),
            share: args.share,
            host: args.host,
            ingress: args.ingress,
            from: args.from,
        })
    }

    /// Who comes in through Home Assistant.
    pub(crate) fn administrators(&self) -> Arc<dyn web::Ingress> {
        Arc::new(Administrators::new(Arc::clone(&self.supervisor), self.network.bridge.clone(), self.from))
    }

    fn own(&self) -> Result<OwnApp, Failure> {
        self.network.bridge.wait(self.supervisor.own_app()).map_err(failed)
    }

    fn info(&self) -> Result<Info, Failure> {
        self.network.bridge.wait(self.supervisor.info()).map_err(failed)
    }
}

/// In the words of every command.
pub(crate) fn failed(error: supervisor::Error) -> Failure {
    let (message, hint) = (error.to_string(), error.advice);
    let failure = Failure::new(FAILED, message);
    if hint.is_empty() { failure } else { failure.hint(hint) }
}

/// Said in the log.
fn say(line: &str) {
    output::log(line);
}
