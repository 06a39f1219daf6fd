//! A Home Assistant that was started a moment ago, from its own configuration: whether it runs, and as what.
//!
//! Whoever has that configuration can sign in as one of its users: [`access_token`] makes a token from what is stored
//! there.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use http::StatusCode;
use serde::Deserialize;
use serde_json::json;
use sha2::Sha256;

use crate::{
    address,
    error::{Error, Operation},
    look::{is_set_up, is_user_made, steps},
    restart::OF_EVERY_START,
    secret::Secret,
    timeouts::Timeouts,
    vendor::Vendor,
    wire::{Tls, Wire},
};

/// One that listens at this machine answers soon, or is busy starting.
const SOON: Duration = Duration::from_secs(5);

/// A Home Assistant on its way up, by the addresses at which it may come to answer.
pub struct Starting {
    wires: Vec<Wire>,
    token: Option<Secret>,
}

/// What is seen of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sight {
    /// Nothing answers.
    Nothing,
    /// It answers, and is not done with starting.
    Starting,
    /// Its web server answers as one that runs, but only its core is there: it is still starting, or in recovery mode.
    OnlyCore,
    /// It asks who its first user is to be: it knows none.
    FirstPage,
    /// It runs.
    Running(State),
}

/// One that runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// It said so itself. Otherwise it only answers as one that runs does.
    pub said_so: bool,
    /// Its version, if it said it.
    pub version: Option<String>,
    /// It could not use its configuration.
    pub recovery_mode: bool,
    /// It was told to leave out what others have added.
    pub safe_mode: bool,
}

/// What it says of itself to users.
#[derive(Deserialize)]
struct Config {
    #[serde(default)]
    state: Option<String>,
    #[serde(default)]
    version: Option<String>,
    #[serde(default)]
    recovery_mode: bool,
    #[serde(default)]
    safe_mode: bool,
}

impl Starting {
    /// At one of these addresses; with a token it can say more.
    pub fn at(addresses: &[String], token: Option<Secret>) -> Result<Self, Error> {
        let timeouts = Timeouts { connect: SOON, stall: SOON, ..Timeouts::default() };
        // Nothing is sent that a certificate would have to protect: it is on this machine.
        let tls = Tls { insecure: true };
        let wires = addresses.iter().map(|address| Wire::new(address::parse(address)?, tls, timeouts.clone()));
        Ok(Self { wires: wires.collect::<Result<_, _>>()?, token })
    }

    /// One look at all addresses; the first that answers counts.
    pub async fn look(&self) -> Sight {
        for wire in &self.wires {
            let seen = self.sight(wire).await;
            if seen != Sight::Nothing {
                return seen;
            }
        }
        Sight::Nothing
    }

    async fn sight(&self, wire: &Wire) -> Sight {
        let Ok(answer) = wire.glance(Operation::Look, "api/onboarding").await else { return Sight::Nothing };
        match steps(&answer) {
            Some(steps) if !is_user_made(&steps) => return Sight::FirstPage,
            Some(_) => {}
            None if answer.status == StatusCode::NOT_FOUND => {
                if !is_set_up(wire, Operation::Look).await.unwrap_or(false) {
                    return Sight::Starting;
                }
            }
            None => return Sight::Starting,
        }
        match self.config(wire).await {
            Some(Config { state: Some(state), .. }) if state != "RUNNING" => Sight::Starting,
            Some(Config { state, version, recovery_mode, safe_mode }) => {
                Sight::Running(State { said_so: state.is_some(), version, recovery_mode, safe_mode })
            }
            None => match wire.glance(Operation::Look, OF_EVERY_START).await {
                Ok(answer) if answer.status == StatusCode::NOT_FOUND && answer.vendor() == Vendor::HomeAssistant => {
                    Sight::OnlyCore
                }
                Ok(_) => Sight::Running(State::default()),
                Err(_) => Sight::Starting,
            },
        }
    }

    /// What it says of itself, if the token is one of its own.
    async fn config(&self, wire: &Wire) -> Option<Config> {
        let request = wire.signed(Operation::Look, wire.request(wire.url("api/config")), self.token.as_ref()?).ok()?;
        let answer = wire.exchange(Operation::Look, request, SOON).await.ok()?;
        serde_json::from_slice(&answer.body).ok().filter(|_| answer.status.is_success())
    }
}

/// A token that the Home Assistant accepts in whose `.storage/auth` there is a refresh token of this id and key. `now`:
/// seconds since 1970.
pub fn access_token(id: &str, key: &str, now: u64) -> Option<Secret> {
    const HOUR: u64 = 3600;
    let claims = json!({ "iss": id, "iat": now, "exp": now + HOUR });
    let head = URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256","typ":"JWT"}"#);
    let signed = format!("{head}.{}", URL_SAFE_NO_PAD.encode(claims.to_string()));
    let mut mac = Hmac::<Sha256>::new_from_slice(key.as_bytes()).ok()?;
    mac.update(signed.as_bytes());
    let signature = URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes());
    Some(Secret::new(format!("{signed}.{signature}")))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    #[test]
    fn a_token_is_signed_as_the_standard_says() {
        // As PyJWT, which Home Assistant uses, signs it.
        let token = access_token("03546f36", "key", 1).unwrap();
        assert_eq!(token.token_id().as_deref(), Some("03546f36"));
        let (signed, signature) = token.expose().rsplit_once('.').unwrap();
        let mut mac = Hmac::<Sha256>::new_from_slice(b"key").unwrap();
        mac.update(signed.as_bytes());
        assert_eq!(signature, URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes()));
        assert_ne!(access_token("03546f36", "other", 1).unwrap().expose(), token.expose());
    }
}
