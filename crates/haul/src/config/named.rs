//! What the file says of a destination.

use std::{collections::BTreeMap, time::Duration};

use store::{Address, Limit, Options};

use crate::{args::VerifyArg, in_app};

/// Keys of a destination that say where it is; all others say how it is reached.
const WHERE: &[&str] = &["endpoint", "account", "api_url"];

/// A destination with a name.
#[derive(Clone, Debug)]
pub(crate) struct Named {
    pub(crate) address: Address,
    pub(crate) options: Options,
    pub(crate) common: Common,
}

impl Named {
    /// What tells it from others with the same address. Which account opens it and how fast it is does not.
    pub(crate) fn identity(&self) -> String {
        let says_where = |key: &&str| WHERE.contains(key);
        let said =
            self.options.keys().filter(says_where).filter_map(|key| Some(format!("{key}={}", self.options.get(key)?)));
        said.collect::<Vec<_>>().join(" ")
    }

    /// How it is reached, for whoever writes it into another file. No option holds a secret, only the name of its file.
    pub(crate) fn said(&self) -> BTreeMap<String, String> {
        self.options.keys().filter_map(|key| Some((key.to_owned(), self.options.get(key)?.to_owned()))).collect()
    }

    /// The folder of the machine's own disk that it is in, which each backup of everything contains.
    pub(crate) fn in_every_backup(&self) -> Option<&'static str> {
        match &self.address {
            // Network storage, which Supervisor leaves out; without it, nothing is written there.
            Address::Local(path) if !self.common.must_be_mounted => in_app::folder_of(path),
            _ => None,
        }
    }

    /// Whether another one is clearly the same place. Asks no file system: a share may not answer.
    pub(crate) fn is_plainly(&self, other: &Self) -> bool {
        self.address.plain() == other.address.plain() && self.identity() == other.identity()
    }
}

/// Settings of any destination, whatever its kind. `None`: not set.
#[derive(Clone, Debug, Default)]
pub(crate) struct Common {
    pub(crate) give_up_after: Option<Duration>,
    pub(crate) verify: Option<VerifyArg>,
    pub(crate) part_size: Option<u64>,
    /// Everything that is sent there keeps to it together.
    pub(crate) limit: Option<Limit>,
    /// Everything that is read there keeps to it together. No key sets it: by hand one reads as fast as possible.
    pub(crate) read_limit: Option<Limit>,
    /// A directory that is on a disk or share of its own.
    pub(crate) must_be_mounted: bool,
}
