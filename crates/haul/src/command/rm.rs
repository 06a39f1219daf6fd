//! `haul rm`, and what all commands share that name archives at several destinations.

use std::sync::Arc;

use serde::Serialize;
use store::{Address, Cancellation, Options, Store, machine::ArrivalNote};

use crate::{
    args::RmArgs,
    config::Config,
    destination::{self, Destination, Network},
    failure::{DONE, FAILED, Failure},
    output,
};
use engine::inventory::{PIN, is_archive_name};

/// One named archive, with the connection to its destination.
pub(crate) struct Target {
    pub(crate) destination: Destination,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) name: String,
    /// It is a symbolic link.
    pub(crate) link: bool,
}

impl Target {
    pub(crate) fn label(&self) -> String {
        format!("{}/{}", self.store.label().trim_end_matches('/'), self.name)
    }

    pub(crate) fn pin(&self) -> String {
        format!("{}{PIN}", self.name)
    }

    pub(crate) fn is_pinned(&self, network: &Network) -> Result<bool, Failure> {
        let pin = self.pin();
        Ok(network.ask(&self.destination, || self.store.entry(&pin))?.is_some())
    }
}

/// Finds every archive that was named, with one connection per destination.
pub(crate) fn targets(typed: &[String], config: &Config, network: &Network) -> Result<Vec<Target>, Failure> {
    // An address alone does not identify a destination: the settings name the server and the account.
    let mut connected: Vec<(Address, Options, Arc<dyn Store>)> = Vec::new();
    let mut targets = Vec::new();
    for text in typed {
        let destination = destination::resolve(config, text)?;
        let name = destination.archive()?.to_owned();
        let known = connected
            .iter()
            .find(|(address, options, _)| (address, options) == (&destination.address, &destination.options));
        let store = match known {
            Some((_, _, store)) => Arc::clone(store),
            None => network.connect_to_look(&destination)?,
        };
        connected.push((destination.address.clone(), destination.options.clone(), Arc::clone(&store)));
        let found = if is_archive_name(&name) { network.find(&destination, &store, &name)? } else { None };
        let Some(found) = found else {
            let label = store.label();
            return Err(Failure::usage(format!("{label} holds no archive {name}"))
                .hint(format!("`haul list {}` shows what there is", destination.destination_typed()))
                .about(format!("{}/{name}", label.trim_end_matches('/')), "it is not there"));
        };
        targets.push(Target { destination, store, name, link: found.link });
    }
    Ok(targets)
}

pub(crate) fn run(args: &RmArgs, config: &Config, cancel: &Cancellation) -> Result<u8, Failure> {
    if args.json && !args.yes {
        return Err(Failure::usage("with --json Haul can't ask").hint("add --yes if you are sure"));
    }
    let network = Network::start(args.waiting.give_up_after, cancel)?;
    let targets = targets(&args.archives, config, &network)?;
    for target in &targets {
        if target.is_pinned(&network)? {
            return Err(Failure::new(FAILED, format!("{} is pinned; nothing was removed", target.label()))
                .hint(format!("first: haul unpin {}", target.destination.typed)));
        }
    }
    if !args.yes {
        output::lines(&targets.iter().map(Target::label).collect::<Vec<_>>())?;
        let question = if targets.len() == 1 {
            "Remove it permanently?".to_owned()
        } else {
            format!("Remove these {} archives permanently?", targets.len())
        };
        if !destination::confirm(&question, cancel)? {
            return Err(Failure::new(FAILED, "nothing was removed"));
        }
    }
    each(&targets, args.json, ("removed", "Removed"), |target| {
        network.ask(&target.destination, || target.store.delete(&target.name))?;
        let note = ArrivalNote::name(&target.name);
        match network.ask(&target.destination, || target.store.entry(&note))? {
            Some(_) => network.ask(&target.destination, || target.store.delete(&note)),
            None => Ok(()),
        }
    })
}

/// What became of the archives that were named.
#[derive(Serialize)]
struct Document<'a> {
    status: &'static str,
    archives: &'a [String],
}

/// Does the same with every archive, and says it: a line each when it is done, or one document for all.
pub(crate) fn each(
    targets: &[Target],
    json: bool,
    (status, deed): (&'static str, &str),
    mut work: impl FnMut(&Target) -> Result<(), Failure>,
) -> Result<u8, Failure> {
    let mut done = Vec::new();
    for target in targets {
        let worked = work(target);
        if let Err(failure) = worked {
            return Err(failure.after(done));
        }
        done.push(target.label());
        if !json {
            let printed = output::lines(&[format!("{deed} {}", target.label())]);
            printed.map_err(|failure| failure.hint(format!("{deed} before that: {}", done.join(", "))))?;
        }
    }
    if json {
        let printed = output::json(&Document { status, archives: &done });
        printed.map_err(|failure| failure.hint(format!("{deed} before that: {}", done.join(", "))))?;
    }
    Ok(DONE)
}
