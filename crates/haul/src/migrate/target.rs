//! The new Home Assistant: fresh, or set up and used with a token. This module hides the difference.

use std::{fmt, time::Duration};

use bytes::Bytes;
use futures_util::Stream;
use habackup::version::HaVersion;
use homeassistant::{
    Agent, Arrival, Begun, Elsewhere, Error, Expected, Instance, Kind, Manager, Phase, RestoreRequest, Secret,
    Timeouts, Upload, Way, local_agent,
};

use super::{
    About, Unfit, Wanted,
    messages::{self, Advice},
    source::Source,
};
use crate::failure::{FAILED, Failure};

/// What accepts backups there: Home Assistant itself, or its Supervisor.
const SUPERVISOR: &str = "hassio.local";
/// Versions that stop an upload after 16 MiB.
const LIMITED: [&str; 2] = ["2026.7.", "2026.8."];

/// One that can take the backup.
pub(crate) struct Target {
    instance: Instance,
    agent: String,
    /// `None`: it is fresh, and takes a backup from anybody.
    token: Option<Secret>,
    installation: Option<String>,
    is_unchecked: bool,
    /// Where it may answer once it has restored the backup.
    elsewhere: Vec<Elsewhere>,
    /// An address where it might have answered, and another one answers already.
    taken: Option<String>,
    advice: &'static Advice,
}

impl Target {
    /// Looks at what answers there. Refuses whatever can't take a backup; nothing is sent.
    pub(crate) async fn look(wanted: &Wanted, give_up_after: Duration) -> Result<Self, Unfit> {
        let Wanted { tls, advice, .. } = *wanted;
        let instance = Instance::look(&wanted.to, tls, timeouts(give_up_after)).await.map_err(|mut error| {
            if error.kind == Kind::Certificate {
                error.advice = advice.certificate.map(str::to_owned).or(error.advice);
            }
            Unfit::from(error)
        })?;
        let address = instance.seen().address.clone();
        let is_unchecked = tls.insecure && address.starts_with("https");
        match &instance.seen().phase {
            Phase::Fresh { installation, agent, manager } => {
                idle(&address, manager)?;
                let (agent, installation) = ((*agent).to_owned(), installation.clone());
                Ok(Self {
                    instance,
                    agent,
                    token: None,
                    installation,
                    is_unchecked,
                    elsewhere: Vec::new(),
                    taken: None,
                    advice,
                })
            }
            Phase::Preparing => {
                Err(About::Address.of(Failure::new(FAILED, format!("{address} is still downloading Home Assistant"))
                    .hint("wait until its welcome page offers to create a home or restore a backup")))
            }
            phase @ (Phase::Begun | Phase::SetUp) => {
                let what =
                    if *phase == Phase::Begun { "somebody has started to set it up" } else { "it is set up already" };
                let Some(token) = wanted.token.clone() else {
                    return Err(About::Token.of(no_token(&address, what, advice)));
                };
                let (admin, agents) = instance.admin(token.clone()).await?;
                let manager = admin.info().await?;
                let agent = own_agent(&address, &agents)?;
                idle(&address, &manager)?;
                Ok(Self {
                    instance,
                    agent,
                    token: Some(token),
                    installation: None,
                    is_unchecked,
                    elsewhere: Vec::new(),
                    taken: None,
                    advice,
                })
            }
        }
    }

    /// Checks where it may answer after the restore. The old instance on the same machine is not it, nor is anything
    /// else that answers there before.
    pub(crate) async fn expect(&mut self, source: &Source) {
        for listening in source.listening(self.version().as_ref()) {
            let Some(elsewhere) = listening.port.and_then(|port| self.instance.at_port(port, listening.tls)) else {
                continue;
            };
            if elsewhere.is_free().await {
                self.elsewhere.push(elsewhere);
            } else {
                self.taken.get_or_insert_with(|| elsewhere.address().to_owned());
            }
        }
    }

    /// Refuses what is known to end badly: an older version, or the very instance that the backup is of.
    pub(crate) fn suits(&self, source: &Source) -> Result<(), Unfit> {
        let address = self.address();
        if self.token.as_ref().is_some_and(|token| source.knows(token)) {
            let failure = Failure::usage(format!(
                "{address} seems to be the Home Assistant that runs from {}: the token is one of its own",
                source.directory.display()
            ));
            return Err(About::Address.of(failure.hint(self.advice.own_token)));
        }
        if let Some(version) = self.version()
            && version < source.version
        {
            let failure = Failure::new(
                FAILED,
                format!(
                    "{address} runs Home Assistant {version} and would refuse a backup from the newer {}",
                    source.version
                ),
            );
            return Err(About::Address.of(failure.hint(format!("update it to {} or newer first", source.version))));
        }
        Ok(())
    }

    /// Whether what is there may be replaced. A fresh one holds nothing.
    pub(crate) fn may_be_replaced(&self, is_wanted: bool) -> Result<(), Unfit> {
        if self.is_fresh() || is_wanted {
            return Ok(());
        }
        let failure = Failure::usage(format!(
            "{} is set up already, and a restore replaces everything in it: users, devices, history",
            self.address()
        ));
        Err(About::Replace.of(failure.hint(self.advice.replace)))
    }

    /// What is advised where it is asked for.
    pub(crate) fn advice(&self) -> &'static Advice {
        self.advice
    }

    /// What the user should know of it.
    pub(crate) fn notes(&self) -> Vec<String> {
        let seen = self.instance.seen();
        let mut notes = Vec::new();
        if self.is_unchecked {
            notes.push("its certificate is not checked: anyone on the path can read everything".to_owned());
        }
        if let Some(version) =
            self.version().filter(|version| LIMITED.iter().any(|limited| version.as_str().starts_with(limited)))
        {
            notes.push(format!(
                "Home Assistant {version} has a bug that limits uploads to 16 MiB: update it first if \
                the backup is larger"
            ));
        }
        if let Some(elsewhere) = self.elsewhere.first() {
            notes.push(format!(
                "the restored configuration uses another port: after the restore Home Assistant answers at {}",
                elsewhere.address()
            ));
        }
        if let Some(taken) = &self.taken {
            notes.push(format!(
                "the restored configuration uses another port, where something else answers now: {taken}; Haul follows \
                 the restore at {} only",
                self.address()
            ));
        }
        if let Some(from) = &seen.redirected_from {
            notes.push(format!("{from} redirects to {}; Haul uses that address", seen.address));
        }
        if let Some(proxy) = seen.proxy {
            notes.push(format!(
                "it is behind {proxy}; if that causes trouble, give Home Assistant's own address in the home network"
            ));
        }
        if self.version().is_none() {
            let why =
                seen.no_socket.as_ref().map_or_else(|| "it does not tell".to_owned(), |error| error.reason.clone());
            notes.push(format!("its version is unknown ({why}): it must not be older than the old Home Assistant"));
        }
        notes
    }

    /// Where it is.
    pub(crate) fn address(&self) -> &str {
        &self.instance.seen().address
    }

    /// Its version, if it reports one that can be parsed.
    pub(crate) fn version(&self) -> Option<HaVersion> {
        self.instance.seen().version.as_deref()?.parse().ok()
    }

    /// The agent that keeps the backup there.
    pub(crate) fn agent(&self) -> &str {
        &self.agent
    }

    /// How it was installed, if it says so.
    pub(crate) fn installation(&self) -> Option<&str> {
        self.installation.as_deref()
    }

    /// Whether it holds nothing yet.
    pub(crate) fn is_fresh(&self) -> bool {
        self.token.is_none()
    }

    /// Uploads; one attempt.
    pub(crate) async fn upload<S, E>(&self, upload: Upload<S>) -> Result<String, Error>
    where
        S: Stream<Item = Result<Bytes, E>> + Send + 'static,
        E: fmt::Display + Send + 'static,
    {
        match &self.token {
            None => self.instance.upload(&self.agent, upload).await,
            Some(token) => self.instance.admin(token.clone()).await?.0.upload(&self.agent, upload).await,
        }
    }

    /// Whether an upload arrived.
    pub(crate) async fn did_it_arrive(&self, expected: &Expected) -> Result<Arrival, Error> {
        match &self.token {
            None => self.instance.did_it_arrive(expected).await,
            Some(token) => self.instance.admin(token.clone()).await?.0.did_it_arrive(expected).await,
        }
    }

    /// Free bytes on its disk, if known: with a token, and if a Supervisor reports them.
    pub(crate) async fn free_space(&self) -> Option<u64> {
        let token = self.token.as_ref().filter(|_| self.agent == SUPERVISOR)?;
        self.instance.admin(token.clone()).await.ok()?.0.free_space().await.ok()?
    }

    /// Starts the restore.
    pub(crate) async fn restore(&self, request: &RestoreRequest) -> Result<Begun, Error> {
        match &self.token {
            None => self.instance.restore(request).await,
            Some(token) => self.instance.admin(token.clone()).await?.0.restore(request).await,
        }
    }

    /// A request for what this one restores.
    pub(crate) fn request(&self, backup_id: &str, password: Option<Secret>, has_database: bool) -> RestoreRequest {
        // The Supervisor wants to hear what is in the backup. Core would keep its own history for a `false`, beside the
        // devices of another home.
        let database = has_database || self.agent != SUPERVISOR;
        RestoreRequest { password, database, ..RestoreRequest::new(backup_id, &self.agent) }
    }

    /// Follows the restart.
    pub(crate) async fn follow(
        &self,
        elsewhere: &[Elsewhere],
        on_stage: impl FnMut(&homeassistant::Stage, Duration) + Send,
    ) -> Result<homeassistant::Restored, Error> {
        let way = self.token.clone().map_or(Way::FirstPage, Way::Token);
        self.instance.follow_restart(&way, elsewhere, on_stage).await
    }

    /// Where it may answer next, without what answers by now, as the old one does when it was stopped meanwhile and
    /// started again.
    pub(crate) async fn elsewhere(&self) -> Vec<Elsewhere> {
        let mut free = Vec::new();
        for elsewhere in &self.elsewhere {
            if elsewhere.is_free().await {
                free.push(elsewhere.clone());
            }
        }
        free
    }
}

/// Haul waits for nothing longer than the user wants to wait for any destination.
fn timeouts(give_up_after: Duration) -> Timeouts {
    let usual = Timeouts::default();
    Timeouts { restart: usual.restart.min(give_up_after), ..usual }
}

fn idle(address: &str, manager: &Manager) -> Result<(), Unfit> {
    let what = match manager.state.as_str() {
        "create_backup" => "is making a backup",
        "receive_backup" => "is taking another backup",
        "restore_backup" => "is restoring a backup",
        "blocked" => "is still starting",
        _ => return Ok(()),
    };
    let failure = Failure::new(FAILED, format!("{address} {what} at the moment"));
    Err(About::Address.of(failure.hint("try again when that is done")))
}

fn no_token(address: &str, what: &str, advice: &Advice) -> Failure {
    Failure::new(FAILED, format!("{address} does not accept a backup without a login: {what}")).hint(advice.no_token)
}

fn own_agent(address: &str, agents: &[Agent]) -> Result<String, Unfit> {
    let none = || {
        let ids: Vec<String> = agents.iter().map(|agent| agent.agent_id.clone()).collect();
        let only = messages::joined(&ids, "and");
        let failure = Failure::new(FAILED, format!("{address} keeps no backups on its own disk, only on {only}"));
        About::Address.of(failure.hint("check under Settings > System > Backups whether local backups work there"))
    };
    local_agent(agents).map(str::to_owned).ok_or_else(none)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_restart_is_waited_for_as_long_as_the_user_says_and_an_hour_at_most() {
        assert_eq!(timeouts(Duration::from_secs(90)).restart, Duration::from_secs(90));
        assert_eq!(timeouts(Duration::from_hours(6)).restart, Duration::from_hours(1));
    }
}
