//! A destination as a network folder, which is there whether the destination answers now or later.

use std::{
    fs,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use share::{Connect, Shared};
use store::{Address, Store, StoreError};

use crate::{
    destination::{self, Destination, Network},
    mounted, text,
};

/// Whoever starts it waits so long for a destination.
const FIRST_CONTACT: Duration = Duration::from_secs(9);
/// A later attempt may take so long; nobody waits for it.
const CONTACT: Duration = Duration::from_secs(30);

/// Memory in which each backup waits for a slow destination, unless somebody says otherwise.
const MEMORY: usize = 64 << 20;

/// A destination as a folder, in which everything may be removed and of which nobody hears; `None`: nothing can be
/// streamed there. A mistake fails at once; that the destination is away, or back, is only told: a line, and whether it
/// is bad news.
pub(crate) fn of(
    name: &str,
    destination: &Destination,
    network: &Network,
    tell: impl Fn(&str, bool) + Send + Sync + 'static,
) -> Result<Option<Shared>, StoreError> {
    let Some(connect) = connect(destination, network, tell)? else { return Ok(None) };
    let directory = match &destination.address {
        Address::Local(directory) => Some(directory.clone()),
        _ => None,
    };
    let asked = destination.clone();
    Ok(Some(Shared {
        name: name.to_owned(),
        connect,
        is_there: directory.is_some().then(|| -> Arc<dyn Fn() -> Result<(), String> + Send + Sync> {
            Arc::new(move || mounted::check(&asked, None, false).map_err(|failure| failure.message))
        }),
        directory,
        cache: Some(caches().join(name)),
        bridge: network.bridge.clone(),
        context: network.context_for(destination),
        memory: MEMORY,
        keeps: Arc::new(|_| false),
        remaker: None,
        on_event: Arc::new(|_| ()),
    }))
}

fn caches() -> PathBuf {
    destination::state_directory().join("share")
}

/// What is remembered of folders that are none of these goes.
pub(crate) fn forget_others(is_one: impl Fn(&str) -> bool) {
    for found in fs::read_dir(caches()).into_iter().flatten().flatten() {
        if found.file_name().to_str().is_none_or(|name| !is_one(name)) {
            let _ = fs::remove_dir_all(found.path());
        }
    }
}

fn connect(
    destination: &Destination,
    network: &Network,
    tell: impl Fn(&str, bool) + Send + Sync + 'static,
) -> Result<Option<Connect>, StoreError> {
    let name = destination.typed.clone();
    let away =
        move |why: &str| format!("{name} is away, and its folder shows what it last had: {}", text::sanitize(why));
    // A disk that is not mounted has not even a folder to connect with.
    let is_mounted = mounted::check(destination, None, false);
    let said = match is_mounted.is_ok().then(|| network.try_once(destination, FIRST_CONTACT, false)) {
        None => {
            let why = is_mounted.err().map(|failure| failure.message).unwrap_or_default();
            tell(&away(&why), true);
            Mutex::new(why)
        }
        Some(Ok(store)) if !Shared::can_stream(&store) => return Ok(None),
        Some(Ok(store)) => return Ok(Some(Arc::new(move || Ok(Arc::clone(&store))))),
        Some(Err(error)) if error.is_transient() => {
            let why = error.to_string();
            tell(&away(&why), true);
            Mutex::new(why)
        }
        Some(Err(error)) => return Err(error),
    };
    let (destination, network) = (destination.clone(), network.clone());
    Ok(Some(Arc::new(move || {
        let connected = network.try_once(&destination, CONTACT, false).map_err(|error| error.to_string());
        let connected = connected.and_then(streams);
        let mut said = said.lock().unwrap_or_else(PoisonError::into_inner);
        match &connected {
            Ok(_) => tell(&format!("{} is back", destination.typed), false),
            Err(why) if *said != *why => {
                tell(&away(why), true);
                said.clone_from(why);
            }
            Err(_) => {}
        }
        connected
    })))
}

fn streams(store: Arc<dyn Store>) -> Result<Arc<dyn Store>, String> {
    if Shared::can_stream(&store) { Ok(store) } else { Err(format!("nothing can be streamed to {}", store.label())) }
}
