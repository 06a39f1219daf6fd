//! Pairs two machines: SPAKE2 over the code, inside TLS 1.3 and bound to it.
//!
//! The certificates' fingerprints are the identities of SPAKE2, and the connection's exported key salts what is derived
//! from its result. An attacker in the middle has two connections with two keys: the attacker learns nothing from what
//! passes, and may guess the code once per attempt, as anybody may. The sender confirms first, so a wrong guess counts
//! before the receiver has sent anything that depends on the code. Each side sends its name only after the other has
//! proved that it knows the code.
//!
//! ```text
//! sender                          receiver
//! Begin   { SPAKE2 message A } ─▶
//!                              ◀─ Reply    { SPAKE2 message B }
//! Confirm { MAC }              ─▶            (counted here)
//!                              ◀─ Confirmed { MAC, name }
//! Named   { MAC, name }        ─▶            (noted here)
//!                              ◀─ Noted
//! ```

use std::time::Duration;

use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};
use hkdf::Hkdf;
use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use spake2::{Ed25519Group, Identity as SpakeIdentity, Password, Spake2};
use tokio::io::{AsyncRead, AsyncWrite};
use zeroize::Zeroizing;

use crate::{
    code::Code,
    error::PeerError,
    frame::{self, STRANGER},
    gate::{Gate, Wrong},
    identity::Fingerprint,
    known::plain_name,
};

/// The label under which both sides export the same key from their TLS connection.
pub const EXPORTER: &[u8] = b"EXPORTER-haul-pairing";

/// What ties an exchange to one TLS connection.
pub struct Binding {
    /// Exported from the connection, the same on both sides of it and nowhere else.
    pub exported: [u8; 32],
    /// The sender's key.
    pub sender: Fingerprint,
    /// The receiver's key.
    pub receiver: Fingerprint,
}

/// How long to wait for an answer that needs no thought.
const SOON: Duration = Duration::from_secs(10);
/// How long the receiver may keep a sender waiting for its turn.
const TURN: Duration = Duration::from_mins(3);

#[derive(Serialize, Deserialize)]
#[serde(tag = "pairing", rename_all = "kebab-case")]
enum Message {
    Begin { share: Text },
    Reply { share: Text },
    Confirm { proof: Text },
    Confirmed { proof: Text, name: String },
    Named { proof: Text, name: String },
    Noted,
}

/// Bytes as hexadecimal digits.
#[derive(Serialize, Deserialize)]
#[serde(transparent)]
struct Text(String);

impl Text {
    fn new(bytes: &[u8]) -> Self {
        Self(HEXLOWER.encode(bytes))
    }

    fn bytes(&self) -> Result<Vec<u8>, PeerError> {
        HEXLOWER_PERMISSIVE.decode(self.0.as_bytes()).map_err(|_| misunderstood())
    }
}

fn misunderstood() -> PeerError {
    PeerError::Protocol("the other side does not pair as expected".to_owned())
}

/// The keys of a confirmed exchange.
struct Keys {
    sender: Zeroizing<[u8; 32]>,
    receiver: Zeroizing<[u8; 32]>,
}

impl Keys {
    fn derive(binding: &Binding, shared: Vec<u8>) -> Result<Self, PeerError> {
        let shared = Zeroizing::new(shared);
        let expand = |role: &[u8]| {
            let mut key = Zeroizing::new([0; 32]);
            let info = [b"haul pairing 1 ".as_slice(), role, binding.sender.bytes(), binding.receiver.bytes()].concat();
            let derived = Hkdf::<Sha256>::new(Some(&binding.exported), &shared).expand(&info, key.as_mut_slice());
            derived.map(|()| key).map_err(|_| misunderstood())
        };
        Ok(Self { sender: expand(b"sender")?, receiver: expand(b"receiver")? })
    }
}

fn mac(key: &[u8; 32], what: &[u8], name: &str) -> Result<Hmac<Sha256>, PeerError> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).map_err(|_| misunderstood())?;
    mac.update(what);
    mac.update(name.as_bytes());
    Ok(mac)
}

fn proof(key: &[u8; 32], what: &[u8], name: &str) -> Result<Text, PeerError> {
    Ok(Text::new(&mac(key, what, name)?.finalize().into_bytes()))
}

fn is_proved(key: &[u8; 32], what: &[u8], name: &str, proof: &Text) -> bool {
    let Ok(bytes) = proof.bytes() else { return false };
    mac(key, what, name).is_ok_and(|mac| mac.verify_slice(&bytes).is_ok())
}

const KNOWS: &[u8] = b"knows the code:";
const NAME: &[u8] = b"is called:";

fn spake_identities(binding: &Binding) -> (SpakeIdentity, SpakeIdentity) {
    (SpakeIdentity::new(binding.sender.bytes()), SpakeIdentity::new(binding.receiver.bytes()))
}

async fn hear(line: &mut (impl AsyncRead + Unpin), within: Duration) -> Result<Option<Message>, PeerError> {
    match frame::read(line, STRANGER, within, SOON, || {}).await? {
        Some(frame) => frame.head().map(Some),
        None => Ok(None),
    }
}

async fn say(line: &mut (impl AsyncWrite + Unpin), message: &Message) -> Result<(), PeerError> {
    frame::write(line, message, &[], SOON).await
}

/// The sender's side; returns what the receiver calls itself.
pub async fn begin(
    line: &mut (impl AsyncRead + AsyncWrite + Unpin),
    binding: &Binding,
    code: &Code,
    own_name: &str,
) -> Result<String, PeerError> {
    let (sender, receiver) = spake_identities(binding);
    let (spake, share) = Spake2::<Ed25519Group>::start_a(&Password::new(code.bytes()), &sender, &receiver);
    say(line, &Message::Begin { share: Text::new(&share) }).await?;
    let share = match hear(line, TURN).await? {
        Some(Message::Reply { share }) => share.bytes()?,
        None => return Err(PeerError::NoPairing),
        Some(_) => return Err(misunderstood()),
    };
    let keys = Keys::derive(binding, spake.finish(&share).map_err(|_| misunderstood())?)?;
    say(line, &Message::Confirm { proof: proof(&keys.sender, KNOWS, "")? }).await?;
    let name = match hear(line, SOON).await? {
        Some(Message::Confirmed { proof, name }) if is_proved(&keys.receiver, KNOWS, &name, &proof) => {
            plain_name(&name)
        }
        Some(Message::Confirmed { .. }) | None => return Err(PeerError::WrongCode),
        Some(_) => return Err(misunderstood()),
    };
    say(line, &Message::Named { proof: proof(&keys.sender, NAME, own_name)?, name: own_name.to_owned() }).await?;
    match hear(line, SOON).await? {
        Some(Message::Noted) => Ok(name),
        _ => Err(misunderstood()),
    }
}

/// What an attempt at pairing came to, on the receiver's side.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The other side knew the code, and calls itself so.
    Paired(String),
    /// It did not.
    Wrong(Wrong),
    /// It went away, or no code was valid.
    Nothing,
}

/// The receiver's side. `note` keeps the sender's name and key; only then does the sender hear that it is known.
pub async fn answer(
    line: &mut (impl AsyncRead + AsyncWrite + Unpin),
    binding: &Binding,
    gate: &Gate,
    own_name: &str,
    note: impl FnOnce(&str) -> Result<String, PeerError>,
) -> Result<Outcome, PeerError> {
    let Some(Message::Begin { share }) = hear(line, SOON).await? else { return Ok(Outcome::Nothing) };
    let theirs = share.bytes()?;
    let Some(turn) = gate.turn().await else { return Ok(Outcome::Nothing) };
    let (sender, receiver) = spake_identities(binding);
    let (spake, share) = Spake2::<Ed25519Group>::start_b(&Password::new(turn.code().bytes()), &sender, &receiver);
    let Ok(shared) = spake.finish(&theirs) else { return Ok(Outcome::Nothing) };
    let keys = Keys::derive(binding, shared)?;
    // All others wait for this attempt, which anybody may have started.
    let confirmed = tokio::time::timeout(turn.within(), async {
        say(line, &Message::Reply { share: Text::new(&share) }).await?;
        hear(line, SOON).await
    });
    let Some(Message::Confirm { proof: theirs }) = confirmed.await.unwrap_or(Ok(None))? else {
        return Ok(Outcome::Nothing);
    };
    if !is_proved(&keys.sender, KNOWS, "", &theirs) {
        return Ok(Outcome::Wrong(turn.wrong()?));
    }
    say(line, &Message::Confirmed { proof: proof(&keys.receiver, KNOWS, own_name)?, name: own_name.to_owned() })
        .await?;
    let Some(Message::Named { proof, name }) = hear(line, SOON).await? else { return Ok(Outcome::Nothing) };
    if !is_proved(&keys.sender, NAME, &name, &proof) {
        return Err(misunderstood());
    }
    let name = note(&name)?;
    turn.right();
    say(line, &Message::Noted).await?;
    Ok(Outcome::Paired(name))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::{gate::GateLimits, identity::Identity};

    fn bindings() -> (Binding, Binding) {
        let (sender, receiver) =
            (Identity::ephemeral().unwrap().fingerprint(), Identity::ephemeral().unwrap().fingerprint());
        let binding = || Binding { exported: [7; 32], sender, receiver };
        (binding(), binding())
    }

    async fn pair(
        code: Option<&str>,
        near: &Binding,
        far: &Binding,
        gate: &Gate,
    ) -> (Result<String, PeerError>, Result<Outcome, PeerError>) {
        let (mut one, mut other) = tokio::io::duplex(4096);
        let shown = gate.renew().unwrap();
        let code = Code::parse(code.unwrap_or(&shown));
        let answer = async {
            let outcome = answer(&mut other, far, gate, "nas", |name| Ok(name.to_owned())).await;
            drop(other);
            outcome
        };
        tokio::join!(begin(&mut one, near, &code, "green"), answer)
    }

    #[tokio::test]
    async fn the_right_code_tells_both_names() {
        let (near, far) = bindings();
        let (sender, receiver) = pair(None, &near, &far, &Gate::new(GateLimits::default())).await;
        assert_eq!(sender.unwrap(), "nas");
        assert_eq!(receiver.unwrap(), Outcome::Paired("green".to_owned()));
    }

    #[tokio::test]
    async fn a_wrong_code_tells_nothing_and_counts() {
        let (near, far) = bindings();
        let (sender, receiver) = pair(Some("babab-babab"), &near, &far, &Gate::new(GateLimits::default())).await;
        assert!(matches!(sender, Err(PeerError::WrongCode)), "{sender:?}");
        assert_eq!(receiver.unwrap(), Outcome::Wrong(Wrong::Left(4)));
    }

    #[tokio::test]
    async fn a_man_in_the_middle_who_passes_the_messages_on_is_found_out() {
        // The attacker ends TLS on both sides, so exported keys and fingerprints differ; each difference alone is
        // enough.
        let (near, mut far) = bindings();
        far.exported = [8; 32];
        assert!(pair(None, &near, &far, &Gate::new(GateLimits::default())).await.0.is_err());
        let (near, mut far) = bindings();
        far.sender = Identity::ephemeral().unwrap().fingerprint();
        assert!(pair(None, &near, &far, &Gate::new(GateLimits::default())).await.0.is_err());
    }

    #[tokio::test]
    async fn who_leaves_before_confirming_has_learned_nothing_and_is_not_counted() {
        let (near, far) = bindings();
        let gate = Gate::new(GateLimits::default());
        gate.renew().unwrap();
        let (mut one, mut other) = tokio::io::duplex(4096);
        let (sender, receiver) = spake_identities(&near);
        let (_, share) = Spake2::<Ed25519Group>::start_a(&Password::new(b"guess"), &sender, &receiver);
        say(&mut one, &Message::Begin { share: Text::new(&share) }).await.unwrap();
        let leave = async {
            hear(&mut one, SOON).await.unwrap();
            drop(one);
        };
        let (outcome, ()) = tokio::join!(answer(&mut other, &far, &gate, "nas", |name| Ok(name.to_owned())), leave);
        assert_eq!(outcome.unwrap(), Outcome::Nothing);
        assert_eq!(gate.turn().await.unwrap().wrong().unwrap(), Wrong::Left(4));
    }

    #[tokio::test]
    async fn who_says_nothing_more_does_not_keep_the_turn() {
        let (near, far) = bindings();
        let gate = Gate::new(GateLimits { try_within: std::time::Duration::from_millis(1), ..GateLimits::default() });
        gate.renew().unwrap();
        let (mut one, mut other) = tokio::io::duplex(4096);
        let (sender, receiver) = spake_identities(&near);
        let (_, share) = Spake2::<Ed25519Group>::start_a(&Password::new(b"guess"), &sender, &receiver);
        say(&mut one, &Message::Begin { share: Text::new(&share) }).await.unwrap();
        assert_eq!(answer(&mut other, &far, &gate, "nas", |name| Ok(name.to_owned())).await.unwrap(), Outcome::Nothing);
        assert!(gate.turn().await.is_some(), "it is the next one's");
        drop(one);
    }
}
