//! Finds a receiver and pairs with it: the address, the network search, the question for the code.

use std::{fs, path::PathBuf, sync::Arc, time::Duration};

use peer::{Client, Dialer, Fingerprint, Identity, Known, PeerError, Role, code::Code, discover};
use url::Url;

use super::{Connection, convert};
use crate::{
    context::{Context, invalid},
    error::{Kind, Operation, StoreError},
    redact,
};

/// The environment variable that holds the code if nobody is at the terminal.
pub const VARIABLE: &str = "HAUL_PAIRING_CODE";
/// How long the network is searched for receivers.
const SEARCH: Duration = Duration::from_secs(3);
/// How often a person may mistype.
const TRIES: u32 = 3;
/// A known receiver's last sight is noted no more often: a backup should leave no traces on the disk it saves.
const PRECISION: Duration = Duration::from_hours(24);

/// What is to be noted once a receiver has answered as itself.
pub(super) struct Seen {
    state: PathBuf,
    receiver: Fingerprint,
    address: String,
}

impl Seen {
    pub(super) fn note(&self) {
        // The list of machines is a convenience; a backup does not fail over it.
        let _ = Known::new(&self.state).saw(&self.receiver, Role::Receiver, Some(&self.address), PRECISION);
    }
}

/// What this machine is called.
pub fn own_name() -> String {
    peer::known::plain_name(&fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default())
}

/// A client for a receiver that is known, or becomes known now. Only pairing has used the connection so far.
pub(super) async fn make(url: &Url, context: &Context) -> Result<(Client, Connection), StoreError> {
    let address = address(url).await?;
    let label = format!("haul://{}", address.strip_suffix(&format!(":{}", peer::PORT)).unwrap_or(&address));
    let state = super::state(&context.state);
    let known = Known::new(&state);
    let failed = |error: PeerError| convert::failed(&label, &label, Operation::Connect, &error);

    let identity = Arc::new(Identity::load_or_create(&state).map_err(failed)?);
    let tuning = &context.tuning;
    let dialer =
        Dialer { address: address.clone(), identity, connect_timeout: tuning.connect_timeout, stall: tuning.stall };
    let receiver = if let Some(receiver) = known.receiver_at(&address).map_err(failed)? {
        receiver
    } else {
        // It may be known from another address; then it must show the same key again when it is talked to.
        let shown = dialer.look().await.map_err(failed)?;
        if let Some(receiver) = known.find(&shown, Role::Receiver).map_err(failed)? {
            receiver
        } else {
            let (name, fingerprint) = pair(&dialer, &label, context).await?;
            known.add(&name, fingerprint, Role::Receiver, Some(&address)).map_err(failed)?;
            known.find(&fingerprint, Role::Receiver).map_err(failed)?.ok_or_else(|| failed(PeerError::NotPaired))?
        }
    };
    let label = if url.host_str().is_some_and(|host| !host.is_empty()) {
        label
    } else {
        format!("{label} ({})", receiver.name)
    };
    let contact = Arc::new(Seen { state, receiver: receiver.fingerprint, address });
    Ok((Client::new(dialer, receiver.fingerprint), Connection { label, name: receiver.name, contact }))
}

/// Asks for the code and pairs.
async fn pair(dialer: &Dialer, label: &str, context: &Context) -> Result<(String, Fingerprint), StoreError> {
    let failed = |error: PeerError| convert::failed(label, label, Operation::Connect, &error);
    let name = own_name();
    if let Some(code) = context.variable(VARIABLE) {
        return dialer.pair(&Code::parse(&code), &name).await.map_err(failed);
    }
    for left in (0..TRIES).rev() {
        let Some(code) = ask(label, context).await else { break };
        match dialer.pair(&Code::parse(&code), &name).await {
            Err(PeerError::WrongCode) if left > 0 => {}
            other => return other.map_err(failed),
        }
    }
    Err(StoreError::remote(label, Operation::Connect, Kind::Credentials, "this machine is not paired with it").advise(
        format!(
            "type the code that `haul receive` shows there when Haul asks for it, or give it once in the \
            environment variable {VARIABLE}"
        ),
    ))
}

async fn ask(label: &str, context: &Context) -> Option<String> {
    let ask = context.ask.clone()?;
    let question = format!("Pairing code shown by haul receive at {label}:");
    let answer = tokio::task::spawn_blocking(move || ask(&question)).await.ok()??;
    (!answer.trim().is_empty()).then_some(answer)
}

/// `host:port`, by the address or by looking around.
async fn address(url: &Url) -> Result<String, StoreError> {
    if !matches!(url.path(), "" | "/") || url.query().is_some() || !url.username().is_empty() {
        return Err(invalid(&redact::url(url), "an address like haul://host:port takes no user and no path")
            .advise("`haul receive` on the other machine chooses the folder"));
    }
    let port = url.port().unwrap_or(peer::PORT);
    if let Some(host) = url.host_str().filter(|host| !host.is_empty()) {
        return Ok(format!("{host}:{port}"));
    }
    let found =
        discover::search(SEARCH).await.map_err(|error| convert::failed("haul://", "it", Operation::Connect, &error))?;
    match found.as_slice() {
        [only] => Ok(only.to_string()),
        [] => Err(StoreError::remote(
            "haul://",
            Operation::Connect,
            Kind::NotFound,
            "no receiver was found on this network",
        )
        .advise(
            "name it, as in haul://host; Haul finds a receiver only while it listens on the network (haul \
                receive --listen 0.0.0.0:8744)",
        )),
        several => {
            let list: Vec<String> = several.iter().map(|address| format!("haul://{address}")).collect();
            Err(StoreError::remote(
                "haul://",
                Operation::Connect,
                Kind::Invalid,
                format!("there are several receivers on this network: {}", list.join(", ")),
            )
            .advise("say which one"))
        }
    }
}
