//! `haul receive`: accepts the backups of other machines.

use std::{
    io::{BufRead, IsTerminal, stdin},
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use engine::ArchiveBuilder;
use peer::{Event, Identity, Known, Limits, PORT, PeerError, Server, discover::Announcement, gate::Gate};
use store::{
    Address, Cancellation,
    machine::{self, EventKind, Receiver, ReceiverEvent, ReceiverOptions},
};

use crate::{
    args::ReceiveArgs,
    config::Config,
    destination::{self, Network},
    failure::{DONE, FAILED, Failure},
    output, text,
};

/// How often to look for leftovers.
const TIDY: Duration = Duration::from_hours(1);

pub(crate) fn run(args: &ReceiveArgs, config: &Config, cancel: &Cancellation) -> Result<u8, Failure> {
    let wanted = listening(&args.listen)?;
    let destination = destination::resolve(config, &args.to)?;
    destination.require_whole()?;
    if destination.address == Address::Stdout {
        return Err(Failure::usage("standard output can't take several backups")
            .hint("give a directory or another destination"));
    }
    let network = Network::start(None, cancel)?;
    let store = network.connect(&destination)?;
    let label = store.label();
    let state = machine::state(&destination::state_directory());
    let goal = match &destination.address {
        Address::Local(directory) => engine::Destination::Path(directory.clone()),
        _ => engine::Destination::Remote { sink: store.clone(), name: None, context: None },
    };
    let builder = ArchiveBuilder::new(goal, label.clone(), network.bridge.clone(), network.context_for(&destination))
        .map(Arc::new);
    let making = builder.clone().map(|builder| builder as Arc<dyn machine::ArchiveBuilder>);
    let options = ReceiverOptions {
        builder: making,
        append_only: args.append_only,
        on_event: Arc::new(|event: ReceiverEvent| say(&happened(&event))),
    };
    let receiver = Receiver::new(store, &state, options);

    let gate = Arc::new(Gate::new(peer::gate::GateLimits::default()));
    let name = args.name.clone().unwrap_or_else(machine::own_name);
    let server = Server {
        identity: Identity::load_or_create(&state)?,
        name: peer::known::plain_name(&name),
        known: Arc::new(Known::new(&state)),
        gate: Arc::clone(&gate),
        host: Arc::new(receiver.clone()),
        events: Arc::new(|event| say(&sentence(&event))),
        limits: Limits::default(),
    };
    let listener = network.bridge.wait(Server::bind(&wanted.to_string()))?;
    let address = listener
        .local_addr()
        .map_err(|error| Failure::new(FAILED, format!("can't listen: {}", engine::plain_reason(&error))))?;
    // Other machines do not search for a receiver that listens only to this machine.
    let announcement = if address.ip().is_loopback() { None } else { announce(address.port()) };

    let mut lines = vec![format!("Receiving into {label} as {}, at {address}", server.name)];
    if args.append_only {
        lines.push("Paired machines can add and read archives, but not delete them".to_owned());
    }
    if address.ip().is_loopback() {
        lines.push(format!(
            "Only this machine can reach it; --listen 0.0.0.0:{} opens it to the network",
            address.port()
        ));
    }
    output::lines(&lines)?;
    let mut running = network.bridge.spawn(server.run(listener));
    say(&sentence(&Event::Code(gate.renew()?)));
    renew_when_asked(&gate);
    network.bridge.spawn(async move {
        loop {
            let receiver = receiver.clone();
            // On its own: a destination that never answers must not end all later ones.
            tokio::spawn(async move { receiver.tidy().await });
            tokio::time::sleep(TIDY).await;
        }
    });
    let ended = network.bridge.wait(cancel.unless_cancelled(&mut running));
    drop(announcement);
    if let Some(builder) = builder {
        builder.close();
    }
    match ended {
        Some(Ok(Err(error))) => Err(error.into()),
        _ => Ok(DONE),
    }
}

fn listening(text: &str) -> Result<SocketAddr, Failure> {
    let address = text.parse().or_else(|_| text.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, PORT)));
    address.map_err(|_| {
        Failure::usage(format!("{text:?} is not an address to listen on"))
            .hint("an address looks like 0.0.0.0:8744 (every network of this machine) or 192.168.1.5:8744")
    })
}

/// Not being found is no reason not to receive.
fn announce(port: u16) -> Option<Announcement> {
    match Announcement::start(port) {
        Ok(announcement) => Some(announcement),
        Err(error) => {
            output::notes("note", std::iter::once(format!("{error}; senders must give this machine's name")));
            None
        }
    }
}

/// A new code each time Enter is pressed, when somebody sits there.
fn renew_when_asked(gate: &Arc<Gate>) {
    if !stdin().is_terminal() {
        return;
    }
    let gate = Arc::clone(gate);
    std::thread::spawn(move || {
        for _ in stdin().lock().lines().map_while(Result::ok) {
            match gate.renew() {
                Ok(code) => say(&sentence(&Event::Code(code))),
                Err(error) => say(&error.to_string()),
            }
        }
    });
}

/// Nobody may be reading any more; receiving continues.
fn say(line: &str) {
    if !line.is_empty() {
        let _ = output::lines(&[line.to_owned()]);
    }
}

fn sentence(event: &Event) -> String {
    match event {
        Event::Code(code) => {
            let more = if stdin().is_terminal() { "; press Enter for a new one" } else { "" };
            format!("Pairing code: {code}  (for one machine, within 15 minutes{more})")
        }
        Event::Paired(peer) => format!("Paired with {} ({})", peer.name, peer.fingerprint.short()),
        Event::WrongCode(0) => "Too many wrong codes were typed; the code is no longer valid".to_owned(),
        Event::WrongCode(left) => {
            format!("A wrong code was typed; {} left", text::count(u64::from(*left), "try is", "tries are"))
        }
        Event::Connected(_) => String::new(),
        Event::Trouble(trouble) => format!("Trouble: {trouble}"),
    }
}

/// A line for the log; none for what `haul destination check` tries out.
fn happened(event: &ReceiverEvent) -> String {
    let ReceiverEvent { name, from, kind } = event;
    if store::contract::is_of_check(name) {
        return String::new();
    }
    match kind {
        EventKind::Arrived(size) => format!("Received {name} ({}) from {from}", text::bytes(*size)),
        EventKind::Failed(reason) => format!("Could not receive {name} from {from}: {}", text::sanitize(reason)),
        EventKind::Deleted => format!("Deleted {name} for {from}"),
        EventKind::Kept => format!("Kept {name}; {from} asked to delete it"),
    }
}

impl From<PeerError> for Failure {
    fn from(error: PeerError) -> Self {
        let message = error.to_string();
        match error {
            PeerError::Unreachable(_) => {
                Self::new(FAILED, message).hint("choose another address or port with --listen")
            }
            PeerError::State { .. } => Self::new(FAILED, message).hint("check the file's permissions and its disk"),
            _ => Self::new(FAILED, message),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_port_may_be_left_out() {
        assert_eq!(listening("0.0.0.0").unwrap().to_string(), "0.0.0.0:8744");
        assert_eq!(listening("[::]:9").unwrap().to_string(), "[::]:9");
        assert!(listening("nas").is_err());
    }

    #[test]
    fn what_happens_is_reported_in_sentences() {
        let said = |name: &str, kind| happened(&ReceiverEvent { name: name.into(), from: "green".into(), kind });
        assert_eq!(said("a.tar", EventKind::Arrived(12_300_000)), "Received a.tar (12 MB) from green");
        assert_eq!(
            said("a.tar", EventKind::Failed("no space left on the disk".into())),
            "Could not receive a.tar from green: no space left on the disk"
        );
        assert_eq!(said("a.tar", EventKind::Deleted), "Deleted a.tar for green");
        assert_eq!(said("a.tar", EventKind::Kept), "Kept a.tar; green asked to delete it");
        assert_eq!(said("haul-check-0-done.tar", EventKind::Deleted), "");
        assert_eq!(
            said(
                ".haul-00000000-00000000-1-1-1ce422c3.part",
                EventKind::Failed("it can't be the name of an archive".into())
            ),
            ""
        );
        assert_eq!(sentence(&Event::WrongCode(4)), "A wrong code was typed; 4 tries are left");
        assert_eq!(sentence(&Event::WrongCode(1)), "A wrong code was typed; 1 try is left");
    }
}
