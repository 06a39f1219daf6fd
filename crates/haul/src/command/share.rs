//! `haul share`: serves destinations as network folders.

use std::{net::SocketAddr, sync::Arc};

use share::{Access, Event, Server, Shared};
use store::{Cancellation, Secret};

use crate::{
    args::ShareArgs,
    config::Config,
    destination::{self, Network},
    failure::{DONE, FAILED, Failure},
    folder, output, text,
};

pub(crate) fn run(args: &ShareArgs, config: &Config, cancel: &Cancellation) -> Result<u8, Failure> {
    let listen: SocketAddr = args.listen.parse().map_err(|_| {
        Failure::usage(format!("{:?} is not an address to listen on", args.listen))
            .hint("an address looks like 127.0.0.1:8746 (only this machine) or 192.168.1.5:8746")
    })?;
    let password = Secret::in_file(&args.password_file, cancel).map_err(|why| {
        Failure::usage(format!("the password file {} {why}", args.password_file.display()))
            .hint("write the password into the file, on one line")
    })?;
    let memory = usize::try_from(args.memory).unwrap_or(usize::MAX);
    let network = Network::start(None, cancel)?;
    let mut folders = Vec::new();
    for (at, name) in args.destinations.iter().enumerate() {
        if args.destinations[..at].contains(name) {
            return Err(Failure::usage(format!("{name:?} is given twice")).hint("name each destination once"));
        }
        folders.push(shared(name, memory, args.append_only, config, &network)?);
    }
    let cannot = |error: std::io::Error| {
        Failure::new(FAILED, format!("can't listen on {listen}: {}", engine::plain_reason(&error)))
            .hint("choose another address or port with --listen")
    };
    let allowed = (!args.allow.is_empty()).then(|| args.allow.clone());
    let access = Access { user: &args.user, password: &password, allowed };
    let (server, address) = network.bridge.wait(Server::bind(listen, &access)).map_err(cannot)?;
    let serving = server.folders();
    for folder in folders {
        network.bridge.wait(serving.add(folder)).map_err(cannot)?;
    }
    let mut lines: Vec<String> = args
        .destinations
        .iter()
        .map(|name| format!("Sharing {name} as //{}/{name}, port {}", address.ip(), address.port()))
        .collect();
    if args.append_only {
        lines.push("Clients can add and read archives, but not delete them".to_owned());
    }
    if address.ip().is_loopback() {
        lines.push("Only this machine can reach it; --listen with another address opens it to the network".to_owned());
    }
    output::lines(&lines)?;
    let mut running = network.bridge.spawn(server.run());
    let ended = network.bridge.wait(cancel.unless_cancelled(&mut running));
    network.bridge.wait(serving.end("haul share was ended"));
    match ended {
        Some(Ok(Err(error))) => Err(cannot(error)),
        _ => Ok(DONE),
    }
}

fn shared(name: &str, memory: usize, append_only: bool, config: &Config, network: &Network) -> Result<Shared, Failure> {
    let destination = destination::resolve(config, name)?;
    destination.require_whole()?;
    if config.destination(name).is_none() {
        return Err(Failure::usage(format!("{name:?} is not a destination of haul.toml"))
            .hint("add [destinations.NAME] with its address; `haul destination list` shows what there is"));
    }
    let tell = |line: &str, is_bad: bool| {
        output::notes(if is_bad { "warning" } else { "note" }, std::iter::once(line.to_owned()));
    };
    let Some(shared) = folder::of(name, &destination, network, tell)? else {
        return Err(Failure::usage(format!(
            "{name} needs an archive's sizes before its first byte, so a backup can't be streamed there"
        ))
        .hint("share a directory, SFTP, S3 or another machine with Haul"));
    };
    let on_event = Arc::new(|event: Event| say(&happened(&event)));
    Ok(Shared { memory, keeps: Arc::new(move |_| append_only), on_event, ..shared })
}

/// Nobody may be reading any more; sharing continues.
fn say(line: &str) {
    let _ = output::lines(&[line.to_owned()]);
}

fn happened(event: &Event) -> String {
    match event {
        Event::Arrived { name, size } => format!("Received {} ({})", text::sanitize(name), text::bytes(*size)),
        Event::Failed { name, reason } => {
            format!("Could not receive {}: {}", text::sanitize(name), text::sanitize(reason))
        }
        Event::Deleted { name } => format!("Deleted {}", text::sanitize(name)),
        Event::Kept { name } => format!("Kept {}; a client asked to delete it", text::sanitize(name)),
    }
}
