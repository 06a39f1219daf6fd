//! Finds out what answers at an address: Home Assistant or something else, fresh or set up, its version, and which
//! agent keeps its backups.

use std::{
    fmt,
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::{
    address,
    answers::{Arrival, Expected, InstallationType, Manager, Step},
    error::{Error, Kind, Operation},
    proxy::Answer,
    socket::Socket,
    timeouts::Timeouts,
    vendor::Vendor,
    wire::{Tls, Wire},
};

/// More than this is a circle.
const MOST_REDIRECTS: usize = 5;
/// The first version whose first page takes a backup.
const TAKES_BACKUPS_SINCE: (u32, u32) = (2025, 2);
/// For what would only be nice to know.
const A_MOMENT: Duration = Duration::from_secs(10);

/// How far an instance is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Phase {
    /// It shows its first page, and takes a backup from anybody.
    Fresh {
        /// `Home Assistant OS`, `Home Assistant Container`, …, if it says so.
        installation: Option<String>,
        /// The agent that keeps its backups: `hassio.local` if there is a Supervisor, else `backup.local`.
        agent: &'static str,
        /// What its backup manager says.
        manager: Manager,
    },
    /// Its first user exists but onboarding is not finished. It accepts backups only from that user.
    Begun,
    /// Set up: only an administrator may do anything.
    SetUp,
    /// Home Assistant's operating system is still fetching Home Assistant.
    Preparing,
}

/// What was seen at an address.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Where it is, after redirects.
    pub address: String,
    /// The address that led there, when it is another.
    pub redirected_from: Option<String>,
    /// Its version, if its WebSocket could be reached.
    pub version: Option<String>,
    /// Why its WebSocket could not be reached; uploading to a fresh instance needs none.
    pub no_socket: Option<Error>,
    /// The proxy in between, if it shows itself.
    pub proxy: Option<Vendor>,
    /// How far it is.
    pub phase: Phase,
}

/// One Home Assistant, that answered.
#[derive(Clone)]
pub struct Instance {
    pub(crate) wire: Wire,
    seen: Seen,
}

impl fmt::Debug for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Instance").field(&self.seen).finish()
    }
}

impl Instance {
    /// Looks at what answers there. One that is starting is given a moment.
    pub async fn look(address: &str, tls: Tls, timeouts: Timeouts) -> Result<Self, Error> {
        let wire = Wire::new(address::parse(address)?, tls, timeouts)?;
        let asked = wire.address.clone();
        let (wire, answer) = arrive(wire).await?;
        let proxy = answer.passed_by();
        let (version, no_socket) = match version(&wire).await {
            Ok(version) => (version, None),
            Err(error) => (None, Some(error)),
        };
        let phase = phase(&wire, &answer, version.as_deref()).await?;
        let redirected_from = (asked != wire.address).then_some(asked);
        let seen = Seen { address: wire.address.clone(), redirected_from, version, no_socket, proxy, phase };
        Ok(Self { wire, seen })
    }

    /// What was seen.
    pub fn seen(&self) -> &Seen {
        &self.seen
    }

    /// Whether an interrupted upload to a fresh instance arrived after all.
    pub async fn did_it_arrive(&self, expected: &Expected) -> Result<Arrival, Error> {
        Ok(self.manager(Operation::Ask).await?.find(expected))
    }

    /// What the backup manager of a fresh instance says.
    pub(crate) async fn manager(&self, operation: Operation) -> Result<Manager, Error> {
        let answer = self.wire.get(operation, "api/onboarding/backup/info").await?;
        self.while_fresh(operation, &answer)?;
        self.wire.parsed(operation, &answer)
    }

    /// An error when its first page is over in the meantime.
    pub(crate) fn while_fresh(&self, operation: Operation, answer: &Answer) -> Result<(), Error> {
        if matches!(answer.status.as_u16(), 401 | 404) && answer.vendor() == Vendor::HomeAssistant {
            return Err(self
                .wire
                .error(operation, Kind::AlreadySetUp, "somebody has started to set it up")
                .advise("an instance that is set up accepts backups only with an administrator's token"));
        }
        Ok(())
    }
}

/// Follows redirects to the same host, and returns the first answer that is not one.
async fn arrive(mut wire: Wire) -> Result<(Wire, Answer), Error> {
    for _ in 0..=MOST_REDIRECTS {
        let answer = wire.get(Operation::Look, "api/onboarding").await?;
        if !answer.status.is_redirection() {
            return Ok((wire, answer));
        }
        let Some(base) = address::followed(&wire.url("api/onboarding"), answer.location()) else {
            return Err(answer.refusal(&wire.address, Operation::Look));
        };
        wire = wire.moved(base);
    }
    Err(wire.error(Operation::Look, Kind::Elsewhere, "it redirects in a circle"))
}

/// The version, which the WebSocket sends to everybody.
pub(crate) async fn version(wire: &Wire) -> Result<Option<String>, Error> {
    match tokio::time::timeout(A_MOMENT, Socket::open(wire, Operation::Look)).await {
        Ok(socket) => {
            let socket = socket?;
            let version = socket.version.clone();
            socket.close().await;
            Ok(version)
        }
        Err(_) => Err(wire.silent(Operation::Look, A_MOMENT)),
    }
}

async fn phase(wire: &Wire, answer: &Answer, version: Option<&str>) -> Result<Phase, Error> {
    match steps(answer) {
        // Until its next restart, one that has just been set up still lists its steps.
        Some(steps) if steps.iter().all(|step| step.done) => Ok(Phase::SetUp),
        Some(steps) if is_user_made(&steps) => Ok(Phase::Begun),
        Some(_) => fresh(wire, version).await,
        None if answer.status == 404 && is_set_up(wire, Operation::Look).await? => Ok(Phase::SetUp),
        None if is_preparing(wire).await => Ok(Phase::Preparing),
        None if answer.status.is_success() => Err(wire
            .error(Operation::Look, Kind::NotHomeAssistant, answer.strange())
            .advise("check that this is Home Assistant's address: a browser must show its own first page there")),
        None if answer.status == 404 => Err(wire
            .error(Operation::Look, Kind::NotHomeAssistant, answer.strange())
            .advise("check that the host and the port (8123 unless changed) are Home Assistant's")),
        None => Err(answer.refusal(&wire.address, Operation::Look)),
    }
}

/// The steps of the first page, if this answer lists them.
pub(crate) fn steps(answer: &Answer) -> Option<Vec<Step>> {
    let steps: Vec<Step> = serde_json::from_slice(&answer.body).ok()?;
    (answer.status.is_success() && steps.iter().any(|step| step.step == "user")).then_some(steps)
}

pub(crate) fn is_user_made(steps: &[Step]) -> bool {
    steps.iter().any(|step| step.step == "user" && step.done)
}

/// True when it asks visitors to log in, as an instance that is set up does.
pub(crate) async fn is_set_up(wire: &Wire, operation: Operation) -> Result<bool, Error> {
    let answer = wire.glance(operation, "auth/providers").await?;
    Ok(answer.status.is_success() && offers_login(&answer.body))
}

/// A list of providers, bare as it was long ago, or under a key.
fn offers_login(body: &[u8]) -> bool {
    let Ok(value) = serde_json::from_slice::<Value>(body) else { return false };
    let list = value.get("providers").unwrap_or(&value);
    list.as_array().is_some_and(|providers| providers.iter().any(|provider| provider["type"].is_string()))
}

/// The page that the operating system shows while it fetches Home Assistant.
async fn is_preparing(wire: &Wire) -> bool {
    let Ok(page) = wire.glance(Operation::Look, "").await else { return false };
    page.status.is_success()
        && page.title().is_some_and(|title| title.contains("Home Assistant"))
        && page.text().to_ascii_lowercase().contains("landingpage")
}

async fn fresh(wire: &Wire, version: Option<&str>) -> Result<Phase, Error> {
    let answer = wire.get(Operation::Look, "api/onboarding/installation_type").await?;
    let installation =
        serde_json::from_slice::<InstallationType>(&answer.body).ok().map(|answer| answer.installation_type);
    let since = Instant::now();
    loop {
        let answer = wire.get(Operation::Look, "api/onboarding/backup/info").await?;
        let has_time = since.elapsed() < wire.timeouts.ready;
        match answer.status.as_u16() {
            401 if answer.vendor() == Vendor::HomeAssistant => return Ok(Phase::Begun),
            404 if version.and_then(year_and_month).is_some_and(|version| version < TAKES_BACKUPS_SINCE) => {
                let version = version.unwrap_or_default();
                return Err(wire
                    .error(
                        Operation::Look,
                        Kind::TooOld,
                        format!("Home Assistant {version} does not accept a backup on its welcome page"),
                    )
                    .advise("update it to 2025.2 or newer, or finish onboarding and give an administrator's token"));
            }
            // What an instance brings up last.
            404 | 500 | 503 if has_time => {}
            _ => {
                let manager: Manager = wire.parsed(Operation::Look, &answer)?;
                if manager.state != "blocked" || !has_time {
                    let agent = agent(installation.as_deref());
                    return Ok(Phase::Fresh { installation, agent, manager });
                }
            }
        }
        tokio::time::sleep(wire.timeouts.first_look).await;
    }
}

/// The agent that keeps the backups of such an installation.
fn agent(installation: Option<&str>) -> &'static str {
    match installation {
        Some(name) if name.ends_with(" OS") || name.ends_with("Supervised") => "hassio.local",
        _ => "backup.local",
    }
}

fn year_and_month(version: &str) -> Option<(u32, u32)> {
    let mut parts = version.split('.');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn supervisors_keep_their_own_backups() {
        assert_eq!(agent(Some("Home Assistant OS")), "hassio.local");
        assert_eq!(agent(Some("Home Assistant Supervised")), "hassio.local");
        assert_eq!(agent(Some("Home Assistant Container")), "backup.local");
        assert_eq!(agent(Some("Home Assistant Core")), "backup.local");
        assert_eq!(agent(None), "backup.local");
    }

    #[test]
    fn the_login_page_is_known_in_both_its_shapes() {
        assert!(offers_login(br#"{"providers":[{"name":"Home Assistant Local","type":"homeassistant","id":null}],"preselect_remember_me":true}"#));
        assert!(offers_login(br#"[{"name":"x","type":"homeassistant"}]"#));
        assert!(!offers_login(br#"{"message":"Onboarding not finished","code":"onboarding_required"}"#));
        assert!(!offers_login(b"[]"));
    }

    #[test]
    fn versions_are_compared_by_year_and_month() {
        assert!(year_and_month("2025.1.4").is_some_and(|version| version < TAKES_BACKUPS_SINCE));
        assert!(year_and_month("2024.12.0b1").is_some_and(|version| version < TAKES_BACKUPS_SINCE));
        assert!(year_and_month("2026.11.0.dev0").is_some_and(|version| version >= TAKES_BACKUPS_SINCE));
        assert_eq!(year_and_month("new"), None);
    }

    proptest! {
        #[test]
        fn no_body_is_mistaken_for_a_login_page(body: Vec<u8>) {
            prop_assert!(!offers_login(&body));
        }
    }
}
