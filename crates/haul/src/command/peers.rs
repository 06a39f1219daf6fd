//! `haul peers`: lists the machines that this one was paired with, and forgets them.

use jiff::{Timestamp, tz::TimeZone};
use peer::{Known, Peer, Role};
use store::machine;

use crate::{
    args::{PeersArgs, PeersCommand},
    clock, destination,
    failure::{DONE, Failure},
    output,
};

pub(crate) fn run(args: &PeersArgs) -> Result<u8, Failure> {
    let known = Known::new(&machine::state(&destination::state_directory()));
    match &args.command {
        Some(PeersCommand::Forget { name }) => forget(&known, name),
        None => list(&known, args.json),
        Some(PeersCommand::List { json }) => list(&known, *json),
    }
}

fn list(known: &Known, json: bool) -> Result<u8, Failure> {
    let peers = known.list()?;
    if json {
        output::json(peers.as_ref())?;
    } else if peers.is_empty() {
        output::lines(&["No machine is paired with this one".to_owned()])?;
    } else {
        output::lines(&table(&peers, &clock::zone()))?;
    }
    Ok(DONE)
}

fn forget(known: &Known, name: &str) -> Result<u8, Failure> {
    let gone = known.forget(name)?;
    if gone.is_empty() {
        return Err(Failure::usage(format!("no machine called {name:?} is paired with this one"))
            .hint("`haul peers` lists them"));
    }
    let lines: Vec<String> = gone
        .iter()
        .map(|peer| format!("Forgot {} ({}), which {}", peer.name, peer.fingerprint.short(), role(peer.role)))
        .collect();
    output::lines(&lines)?;
    Ok(DONE)
}

fn role(role: Role) -> &'static str {
    match role {
        Role::Sender => "sends here",
        Role::Receiver => "receives from here",
    }
}

fn table(peers: &[Peer], zone: &TimeZone) -> Vec<String> {
    let head = ["NAME", "ROLE", "FINGERPRINT", "PAIRED", "LAST SEEN"].map(str::to_owned);
    let row = |peer: &Peer| {
        let name = match &peer.address {
            Some(address) => format!("{} (haul://{address})", peer.name),
            None => peer.name.clone(),
        };
        [
            name,
            role(peer.role).to_owned(),
            peer.fingerprint.short(),
            moment(peer.since, zone),
            moment(peer.last_seen, zone),
        ]
    };
    let rows: Vec<[String; 5]> = std::iter::once(head).chain(peers.iter().map(row)).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default();
    let widths: Vec<usize> = (0..4).map(width).collect();
    rows.iter()
        .map(|row| {
            let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
            format!("{}  {}", cells.join("  "), row[4])
        })
        .collect()
}

/// To the minute, by the local clock.
fn moment(seconds: u64, zone: &TimeZone) -> String {
    let stamp =
        i64::try_from(seconds).ok().and_then(|seconds| Timestamp::from_second(seconds).ok()).unwrap_or_default();
    stamp.to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M").to_string()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_list_stands_in_columns() {
        let fingerprint = serde_json::from_str(&format!("\"{}\"", "3f54dcc10a2b9e77".repeat(4))).unwrap();
        let peer = |name: &str, role, address: Option<&str>| Peer {
            name: name.into(),
            fingerprint,
            role,
            since: 1_795_320_000,
            last_seen: 1_795_406_460,
            address: address.map(str::to_owned),
        };
        let peers = [peer("green", Role::Sender, None), peer("nas", Role::Receiver, Some("nas:8744"))];
        let expected = "\
NAME                   ROLE                FINGERPRINT          PAIRED            LAST SEEN
green                  sends here          3f54 dcc1 0a2b 9e77  2026-11-22 04:00  2026-11-23 04:01
nas (haul://nas:8744)  receives from here  3f54 dcc1 0a2b 9e77  2026-11-22 04:00  2026-11-23 04:01";
        assert_eq!(table(&peers, &TimeZone::UTC).join("\n"), expected);
    }
}
