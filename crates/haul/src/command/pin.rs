//! `haul pin` and `haul unpin`: a tiny object beside an archive says that it stays.

use bytes::Bytes;
use store::{Cancellation, Kind, small};

use super::rm;
use crate::{args::PinArgs, config::Config, destination::Network, failure::Failure};

pub(crate) const CONTENT: &[u8] = b"This archive is pinned: haul never removes it. To let it go: haul unpin\n";

pub(crate) fn pin(args: &PinArgs, config: &Config, cancel: &Cancellation) -> Result<u8, Failure> {
    let network = Network::start(args.waiting.give_up_after, cancel)?;
    let targets = rm::targets(&args.archives, config, &network)?;
    if let Some(link) = targets.iter().find(|target| target.link) {
        let message = format!(
            "{} is a link, and pinning it would not protect the archive it points to; nothing was pinned",
            link.label()
        );
        return Err(Failure::usage(message).hint("pin that archive by its own name"));
    }
    rm::each(&targets, args.json, ("pinned", "Pinned"), |target| {
        let name = target.pin();
        let put = async || match small::put(&*target.store, &name, Bytes::from_static(CONTENT)).await {
            Err(error) if error.kind() == Some(Kind::Exists) => Ok(()),
            put => put,
        };
        let put = network.ask(&target.destination, put);
        // Pinned already, perhaps by a try whose answer got lost. A mark that was put just now need not be shown yet.
        if put.is_err() && !target.is_pinned(&network)? {
            put?;
        }
        Ok(())
    })
}

pub(crate) fn unpin(args: &PinArgs, config: &Config, cancel: &Cancellation) -> Result<u8, Failure> {
    let network = Network::start(args.waiting.give_up_after, cancel)?;
    rm::each(&rm::targets(&args.archives, config, &network)?, args.json, ("unpinned", "Unpinned"), |target| {
        let name = target.pin();
        network.ask(&target.destination, || target.store.delete(&name))
    })
}
