//! Follows the restart: what a restoring instance shows from outside, and what that means. Observing is separate from
//! judging, so that tests can try every order of observations without a Home Assistant.

use std::time::{Duration, Instant};

use crate::{
    address,
    admin::signed_in,
    answers::Manager,
    elsewhere::Elsewhere,
    error::{Error, Kind, Operation},
    look::{Instance, is_set_up, is_user_made, steps, version},
    secret::Secret,
    text::sanitize,
    timeouts::duration_text,
    vendor::Vendor,
    wire::{Tls, Wire},
};

/// So many sights in a row, and it is no passing state of one that starts.
const STEADY: u32 = 3;
/// So many, when it may still be about to begin.
const VERY_STEADY: u32 = 30;

/// As whom to look.
#[derive(Clone, Debug)]
pub enum Way {
    /// The instance was fresh: anybody sees its first page, and after a restore no longer.
    FirstPage,
    /// The instance was set up: its old token, which usually ends with what was replaced.
    Token(Secret),
}

/// How far the restart is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stage {
    /// It has not gone down yet; what it is at, in its own word, if it says so.
    Working(Option<String>),
    /// Nothing answers.
    Down,
    /// Something answers, and is not ready.
    Starting,
}

/// It is up again, with what was restored.
#[derive(Clone, Debug)]
pub struct Restored {
    /// Where it answers now. The restored configuration may have brought a certificate.
    pub address: String,
    /// Its version, if it reports one.
    pub version: Option<String>,
    /// How long it took.
    pub took: Duration,
}

impl Instance {
    /// Follows a restore that has begun until the instance is up again, and reports every new stage, and a lasting one
    /// now and then, with the time since the restore began. Ends with what came up, or with why it did not. The
    /// restored configuration may make it answer `elsewhere`; the previous address comes first, where a proxy may still
    /// lead to it.
    pub async fn follow_restart(
        &self,
        way: &Way,
        elsewhere: &[Elsewhere],
        mut on_stage: impl FnMut(&Stage, Duration) + Send,
    ) -> Result<Restored, Error> {
        let since = Instant::now();
        let mut follower = Follower::new(way);
        let mut last: Option<(Stage, Instant)> = None;
        for looks in 0.. {
            let error = |kind, reason: String| self.wire.error(Operation::Follow, kind, reason);
            let (seen, wire) = look_around(&self.wire, way, elsewhere, &mut follower).await;
            match follower.judge(&seen) {
                Verdict::Restored => {
                    let address = if seen == Sight::SpeaksTls {
                        wire.address.replacen("http://", "https://", 1)
                    } else {
                        wire.address.clone()
                    };
                    is_loaded(wire, &seen, |stage| on_stage(stage, since.elapsed())).await?;
                    let version = version(wire).await.ok().flatten();
                    return Ok(Restored { address, version, took: since.elapsed() });
                }
                Verdict::Failed(reason) => {
                    let said = sanitize(&reason, 500);
                    return Err(error(
                        Kind::RestoreFailed,
                        format!("the restore failed, and Home Assistant says: {said}"),
                    )
                    .advise("its log says more; the backup is still there, so you can try again")
                    .quoting(said));
                }
                Verdict::Lost(reason) => {
                    return Err(error(Kind::RestoreLost, reason.to_owned()).advise(
                        "check whether the backup holds the .storage folder, and what Home Assistant's log \
                            says about the restore",
                    ));
                }
                Verdict::Going(stage) => {
                    if since.elapsed() >= self.wire.timeouts.restart {
                        return Err(timed_out(&self.wire, &stage, elsewhere));
                    }
                    let is_old = |(reported, when): &(Stage, Instant)| {
                        *reported == stage && when.elapsed() < self.wire.timeouts.again
                    };
                    if !last.as_ref().is_some_and(is_old) {
                        on_stage(&stage, since.elapsed());
                        last = Some((stage, Instant::now()));
                    }
                }
            }
            tokio::time::sleep(self.wire.timeouts.pause(looks)).await;
        }
        Err(timed_out(&self.wire, &Stage::Down, elsewhere))
    }
}

fn timed_out(wire: &Wire, stage: &Stage, elsewhere: &[Elsewhere]) -> Error {
    let waited = duration_text(wire.timeouts.restart);
    if let (Stage::Down, [first, ..]) = (stage, elsewhere) {
        let reason = format!("it went down and has not come up again in {waited}, there or at {}", first.address());
        return wire.error(Operation::Follow, Kind::TimedOut, reason).advise(format!(
            "start it by hand if nothing restarts it; a container must publish the port of the restored configuration, \
             as in {}",
            first.address()
        ));
    }
    let (reason, advice) = match stage {
        Stage::Working(_) => {
            ("it has not restarted", "check its log, and restart it by hand: the restore happens when it starts")
        }
        Stage::Down => (
            "it went down and has not come up again",
            "start it by hand if nothing restarts it; the restored configuration may also use another port or a \
             certificate (http: in its configuration.yaml)",
        ),
        Stage::Starting => {
            ("it answers but does not become ready", "check its log; upgrading a large history can take long")
        }
    };
    wire.error(Operation::Follow, Kind::TimedOut, format!("{reason} in {waited}")).advise(advice)
}

/// What is seen in one look.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Sight {
    /// Nothing answers, or a proxy says that nothing does.
    Down,
    /// It answers, and is not ready.
    Unready,
    /// The first page of a fresh instance.
    FirstPage(Manager),
    /// Set up, and our token is known.
    Known(Manager),
    /// Set up, and it does not know our user.
    SetUp,
    /// Where there was http, there is now https.
    SpeaksTls,
}

enum Verdict {
    Going(Stage),
    Restored,
    Failed(String),
    Lost(&'static str),
}

/// What has been seen so far, as far as it matters.
struct Follower {
    with_token: bool,
    went_down: bool,
    /// It announced that Home Assistant is about to restart.
    is_restarting: bool,
    steady: u32,
    last: u8,
}

impl Follower {
    fn new(way: &Way) -> Self {
        Self { with_token: matches!(way, Way::Token(_)), went_down: false, is_restarting: false, steady: 0, last: 0 }
    }

    fn judge(&mut self, seen: &Sight) -> Verdict {
        let kind = match seen {
            Sight::Down => 1,
            Sight::Unready => 2,
            Sight::FirstPage(_) => 3,
            Sight::Known(_) => 4,
            Sight::SetUp => 5,
            Sight::SpeaksTls => 6,
        };
        self.steady = if kind == self.last { self.steady + 1 } else { 1 };
        self.last = kind;
        match seen {
            Sight::Down => {
                self.went_down = true;
                Verdict::Going(Stage::Down)
            }
            Sight::Unready if self.went_down => Verdict::Going(Stage::Starting),
            Sight::Unready => Verdict::Going(Stage::Working(None)),
            // The token was valid before: its user is gone, so all users are others. Asking again would look like
            // guessing.
            Sight::SetUp if self.with_token && self.has_restarted() => Verdict::Restored,
            Sight::SetUp if self.with_token => Verdict::Lost(
                "it no longer knows the token, and Haul did not see it restart: it is unclear whether it restored \
                 anything",
            ),
            Sight::SetUp | Sight::SpeaksTls if self.steady >= STEADY && self.has_restarted() => Verdict::Restored,
            Sight::SetUp | Sight::SpeaksTls if self.steady >= VERY_STEADY => Verdict::Lost(
                "somebody finished onboarding meanwhile, and Haul did not see it restart: it is unclear whether it \
                 restored anything",
            ),
            Sight::SetUp | Sight::SpeaksTls => Verdict::Going(Stage::Starting),
            Sight::FirstPage(manager) | Sight::Known(manager) => {
                self.judge_manager(manager, matches!(seen, Sight::Known(_)))
            }
        }
    }

    fn has_restarted(&self) -> bool {
        self.went_down || self.is_restarting
    }

    fn judge_manager(&mut self, manager: &Manager, is_known: bool) -> Verdict {
        let event = manager.restore();
        let state = event.and_then(|event| event.state.as_deref());
        self.is_restarting |= matches!(state, Some("completed" | "core_restart"))
            || event.and_then(|event| event.stage.as_deref()) == Some("core_restart");
        match state {
            Some("failed") => {
                let reason = event.and_then(|event| event.reason.clone()).filter(|reason| !reason.is_empty());
                Verdict::Failed(reason.unwrap_or_else(|| "no reason".to_owned()))
            }
            // Before the restart "completed" only means that it is about to begin.
            Some("completed") if self.went_down && is_known => Verdict::Restored,
            Some("completed") if self.went_down && self.steady >= STEADY => {
                Verdict::Lost("it restored the backup but shows its welcome page again: the backup holds no users")
            }
            Some("completed") if self.went_down => Verdict::Going(Stage::Starting),
            Some(_) => Verdict::Going(Stage::Working(event.and_then(|event| event.stage.clone()))),
            None if manager.state == "blocked" => Verdict::Going(Stage::Starting),
            None if self.went_down && self.steady >= STEADY => {
                Verdict::Lost("it restarted and came up as if nothing had been restored")
            }
            None if self.went_down => Verdict::Going(Stage::Starting),
            None if self.steady >= VERY_STEADY => Verdict::Lost("it has not started to restore anything"),
            None => Verdict::Going(Stage::Working(None)),
        }
    }
}

/// A look at where it was and, when it is not up there, at where else it may be. Nothing answered elsewhere before the
/// restore: what does now has restarted.
async fn look_around<'a>(
    wire: &'a Wire,
    way: &Way,
    elsewhere: &'a [Elsewhere],
    follower: &mut Follower,
) -> (Sight, &'a Wire) {
    let seen = sight(wire, way, follower.went_down).await;
    if !matches!(seen, Sight::Down | Sight::Unready) {
        return (seen, wire);
    }
    for Elsewhere(other) in elsewhere {
        // Without the token: another instance made it, and the one that listens at this port need not be that one.
        match sight(other, &Way::FirstPage, true).await {
            Sight::Down => {}
            there => {
                follower.went_down = true;
                return (there, other);
            }
        }
    }
    (seen, wire)
}

/// An instance in recovery mode asks visitors to log in like any other, with few of its integrations loaded. `person`,
/// which every other start loads, provides an address that refuses everybody, but exists.
pub(crate) const OF_EVERY_START: &str = "api/image/upload";

/// Waits until all of it is loaded. An error when that takes too long: it is in recovery mode.
async fn is_loaded(wire: &Wire, seen: &Sight, mut on_stage: impl FnMut(&Stage) + Send) -> Result<(), Error> {
    let wire = match seen {
        Sight::SpeaksTls => unchecked(wire),
        _ => Some(wire.clone()),
    };
    let Some(wire) = wire else { return Ok(()) };
    let (since, mut last) = (Instant::now(), None);
    for looks in 0.. {
        // If the check itself fails, there is no accusation.
        let Ok(answer) = wire.glance(Operation::Follow, OF_EVERY_START).await else { return Ok(()) };
        if answer.status != 404 || answer.vendor() != Vendor::HomeAssistant {
            return Ok(());
        }
        if since.elapsed() >= wire.timeouts.loaded {
            break;
        }
        if last.is_none_or(|when: Instant| when.elapsed() >= wire.timeouts.again) {
            on_stage(&Stage::Starting);
            last = Some(Instant::now());
        }
        tokio::time::sleep(wire.timeouts.pause(looks)).await;
    }
    let waited = duration_text(wire.timeouts.loaded);
    let reason = format!(
        "the backup is restored, but only the core of Home Assistant has started in {waited}: it is in recovery mode, \
         or upgrades a large history"
    );
    Err(wire.error(Operation::Follow, Kind::OnlyCore, reason).advise(
        "log in as before: in recovery mode Home Assistant says so, and Settings > System > Logs names the cause, \
         often a file outside the config directory that this machine lacks",
    ))
}

/// One look. An unclear result is no reason for alarm: there will be another look.
async fn sight(wire: &Wire, way: &Way, went_down: bool) -> Sight {
    let answer = match wire.glance(Operation::Follow, "api/onboarding").await {
        Ok(answer) => answer,
        Err(error) if error.kind == Kind::Certificate => return Sight::SpeaksTls,
        Err(error) if error.kind == Kind::Broken && went_down && speaks_tls(wire).await => return Sight::SpeaksTls,
        Err(_) => return Sight::Down,
    };
    if answer.status.is_redirection() && address::followed(&wire.url("api/onboarding"), answer.location()).is_some() {
        return Sight::SpeaksTls;
    }
    let steps = steps(&answer);
    if steps.is_none() && answer.vendor() != Vendor::HomeAssistant {
        return if answer.status.is_server_error() { Sight::Down } else { Sight::Unready };
    }
    match (way, steps) {
        (Way::Token(token), _) => known(wire, token).await,
        (Way::FirstPage, Some(steps)) if is_user_made(&steps) => Sight::SetUp,
        (Way::FirstPage, Some(_)) => first_page(wire).await,
        (Way::FirstPage, None) if answer.status == 404 && is_set_up(wire, Operation::Follow).await.unwrap_or(false) => {
            Sight::SetUp
        }
        (Way::FirstPage, None) => Sight::Unready,
    }
}

async fn first_page(wire: &Wire) -> Sight {
    match wire.glance(Operation::Follow, "api/onboarding/backup/info").await {
        Ok(answer) if answer.status == 401 => Sight::SetUp,
        Ok(answer) => wire.parsed(Operation::Follow, &answer).map_or(Sight::Unready, Sight::FirstPage),
        Err(_) => Sight::Down,
    }
}

async fn known(wire: &Wire, token: &Secret) -> Sight {
    let asked = async {
        let mut socket = signed_in(wire, Operation::Follow, token).await?;
        let manager = socket.call("backup/info").await;
        socket.close().await;
        manager
    };
    match asked.await {
        Ok(manager) => Sight::Known(manager),
        Err(error) if error.kind == Kind::Credentials => Sight::SetUp,
        Err(error) if error.kind == Kind::Unreachable => Sight::Down,
        Err(_) => Sight::Unready,
    }
}

/// Whether there is a server with a certificate where there was one without; it does not matter which one, because
/// nothing is sent to it.
async fn speaks_tls(wire: &Wire) -> bool {
    if wire.base().scheme() != "http" {
        return false;
    }
    let Some(wire) = unchecked(wire) else { return false };
    wire.glance(Operation::Follow, "api/onboarding").await.is_ok_and(|answer| answer.vendor() == Vendor::HomeAssistant)
}

/// The same host and port with a certificate, whichever.
fn unchecked(wire: &Wire) -> Option<Wire> {
    let mut base = wire.base().clone();
    let port = base.port_or_known_default();
    base.set_scheme("https").ok()?;
    base.set_port(port).ok()?;
    Wire::new(base, Tls { insecure: true }, wire.timeouts.clone()).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::answers::Event;

    fn manager(state: &str, restore: Option<(&str, Option<&str>)>) -> Manager {
        let last_action_event = restore.map(|(state, reason)| Event {
            manager_state: "restore_backup".into(),
            stage: None,
            state: Some(state.into()),
            reason: reason.map(Into::into),
        });
        Manager { state: state.into(), last_action_event, ..Manager::default() }
    }

    fn page(restore: Option<(&str, Option<&str>)>) -> Sight {
        Sight::FirstPage(manager("idle", restore))
    }

    fn end(way: &Way, sights: impl IntoIterator<Item = Sight>) -> String {
        let mut follower = Follower::new(way);
        for seen in sights {
            match follower.judge(&seen) {
                Verdict::Going(_) => {}
                Verdict::Restored => return "restored".into(),
                Verdict::Failed(reason) => return format!("failed: {reason}"),
                Verdict::Lost(reason) => return format!("lost: {reason}"),
            }
        }
        "going".into()
    }

    fn token() -> Way {
        Way::Token(Secret::new("t"))
    }

    #[test]
    fn a_first_page_that_is_gone_is_a_restored_instance() {
        let sights =
            [page(Some(("core_restart", None))), Sight::Down, Sight::Unready, Sight::SetUp, Sight::SetUp, Sight::SetUp];
        assert_eq!(end(&Way::FirstPage, sights), "restored");
        // A restart that was faster than two looks.
        assert_eq!(
            end(&Way::FirstPage, [page(Some(("completed", None))), Sight::SetUp, Sight::SetUp, Sight::SetUp]),
            "restored"
        );
        assert_eq!(end(&Way::FirstPage, [Sight::Down, Sight::SetUp, Sight::Unready, Sight::SetUp]), "going");
        assert_eq!(
            end(&Way::FirstPage, [Sight::Down, Sight::SpeaksTls, Sight::SpeaksTls, Sight::SpeaksTls]),
            "restored"
        );
    }

    #[test]
    fn a_first_page_that_somebody_finished_is_no_restored_instance() {
        let sights = || {
            std::iter::once(page(Some(("in_progress", None)))).chain(std::iter::repeat_with(|| Sight::SetUp).take(10))
        };
        assert_eq!(end(&Way::FirstPage, sights()), "going");
        assert!(
            end(&Way::FirstPage, sights().chain(std::iter::repeat_with(|| Sight::SetUp).take(30)))
                .starts_with("lost: somebody finished")
        );
        assert!(end(&token(), [Sight::SetUp]).starts_with("lost: it no longer knows the token"));
    }

    #[test]
    fn completed_before_the_restart_is_no_end() {
        let completed = || page(Some(("completed", None)));
        assert_eq!(end(&Way::FirstPage, std::iter::repeat_with(completed).take(50)), "going");
        let known = || Sight::Known(manager("idle", Some(("completed", None))));
        assert_eq!(end(&token(), [known(), known(), known(), known()]), "going");
        assert_eq!(end(&token(), [known(), Sight::Down, known()]), "restored");
    }

    #[test]
    fn a_first_page_that_comes_back_is_a_lost_restore() {
        let sights = [page(Some(("core_restart", None))), Sight::Down, page(None), page(None), page(None)];
        assert_eq!(end(&Way::FirstPage, sights), "lost: it restarted and came up as if nothing had been restored");
        let completed = || page(Some(("completed", None)));
        let sights = [Sight::Down, completed(), completed(), completed()];
        assert_eq!(
            end(&Way::FirstPage, sights),
            "lost: it restored the backup but shows its welcome page again: the backup holds no users"
        );
        assert_eq!(
            end(&Way::FirstPage, std::iter::repeat_with(|| page(None)).take(50)),
            "lost: it has not started to restore anything"
        );
    }

    #[test]
    fn a_failed_restore_is_reported_with_home_assistants_reason() {
        let failed = page(Some(("failed", Some("Invalid password"))));
        assert_eq!(end(&Way::FirstPage, [Sight::Down, failed]), "failed: Invalid password");
        assert_eq!(
            end(&token(), [Sight::Down, Sight::Known(manager("idle", Some(("failed", None))))]),
            "failed: no reason"
        );
    }

    #[test]
    fn a_token_that_is_no_longer_known_means_other_users() {
        assert_eq!(end(&token(), [Sight::Down, Sight::Unready, Sight::SetUp]), "restored");
    }

    fn any_sight() -> impl Strategy<Value = Sight> {
        let state = prop_oneof![Just("idle"), Just("blocked"), Just("restore_backup")];
        let restore = prop::option::of(prop_oneof![Just("in_progress"), Just("core_restart"), Just("completed")]);
        let manager = (state, restore).prop_map(|(state, restore)| manager(state, restore.map(|state| (state, None))));
        prop_oneof![
            Just(Sight::Down),
            Just(Sight::Unready),
            manager.clone().prop_map(Sight::FirstPage),
            manager.prop_map(Sight::Known)
        ]
    }

    proptest! {
        #[test]
        fn nothing_counts_as_restored_on_a_first_page_that_stays(sights in prop::collection::vec(any_sight(), 0..80)) {
            let sights = sights.into_iter().filter(|seen| !matches!(seen, Sight::Known(_)));
            prop_assert_ne!(end(&Way::FirstPage, sights), "restored");
        }

        #[test]
        fn as_long_as_it_never_went_down_what_the_token_sees_is_no_restored_instance(sights in prop::collection::vec(any_sight(), 0..80)) {
            let sights = sights.into_iter().filter(|seen| !matches!(seen, Sight::Down));
            prop_assert_ne!(end(&token(), sights), "restored");
        }
    }
}
