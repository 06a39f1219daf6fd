//! `haul pin` and `haul unpin`: a tiny object beside an archive says that it stays.

use std::sync::{Arc, atomic::AtomicBool};

use bytes::Bytes;
use store::{Expected, Kind, Part, Sealed, Store, StoreError, parts::Activity};

use super::rm;
use crate::{args::PinArgs, config::Config, destination::Network, failure::Failure};

const CONTENT: &[u8] = b"This archive is pinned: haul never removes it. To let it go: haul unpin\n";

pub(crate) fn pin(args: &PinArgs, config: &Config, cancel: &Arc<AtomicBool>) -> Result<u8, Failure> {
    let network = Network::start(args.waiting.give_up_after, cancel)?;
    rm::each(&rm::targets(&args.archives, config, &network)?, args.json, ("pinned", "Pinned"), |target| {
        let name = target.pin();
        let put = network.ask(&target.destination, || put(&*target.store, &name));
        // Pinned already, perhaps by a try whose answer got lost. A mark that was put just now need not be shown yet.
        if put.is_err() && !target.is_pinned(&network)? {
            put?;
        }
        Ok(())
    })
}

pub(crate) fn unpin(args: &PinArgs, config: &Config, cancel: &Arc<AtomicBool>) -> Result<u8, Failure> {
    let network = Network::start(args.waiting.give_up_after, cancel)?;
    rm::each(&rm::targets(&args.archives, config, &network)?, args.json, ("unpinned", "Unpinned"), |target| {
        let name = target.pin();
        network.ask(&target.destination, || target.store.delete(&name))
    })
}

async fn put(store: &dyn Store, name: &str) -> Result<(), StoreError> {
    let length = CONTENT.len() as u64;
    let expected = Expected::exactly(length);
    let upload = match store.create(name, expected).await {
        Err(error) if error.kind() == Some(Kind::Exists) => return Ok(()),
        created => created?,
    };
    let data = Bytes::from_static(CONTENT).into();
    let part = Part { index: 0, offset: 0, data, total: Some(length), last: true, activity: Activity::default() };
    let done = match upload.put(&part).await {
        Ok(()) => upload.commit(&Sealed { length, parts: 1, md5: None }).await.map(|_| ()),
        Err(error) => Err(error),
    };
    if done.is_err() {
        // Whatever this says, the first error is the one that counts.
        let _ = upload.abort().await;
    }
    done
}
