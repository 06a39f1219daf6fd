//! The options of a backup.

use std::{num::NonZeroUsize, path::PathBuf, sync::mpsc::Sender};

use habackup::securetar::Password;
use jiff::{Timestamp, Zoned, tz::TimeZone};
use pargz::Level;

use crate::{
    error::BackupError,
    write::{
        destination::{self, Destination},
        layout::SecureTar,
    },
};

/// Which machine compresses and encrypts, where the destination is another one that can.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compress {
    /// This one.
    Here,
    /// The other one.
    There,
    /// Whichever makes the backup faster, by measured rates.
    Auto,
}

/// What is backed up, how, and where to.
#[expect(clippy::struct_excessive_bools, reason = "each is an independent yes or no of the user")]
#[derive(Clone, Debug)]
pub struct BackupOptions {
    /// Home Assistant's config directory.
    pub config: PathBuf,
    /// Where to; all of them get the same archive.
    pub destinations: Vec<Destination>,
    /// The backup's name in Home Assistant; `None` for the usual one.
    pub name: Option<String>,
    /// Encrypts when given.
    pub password: Option<Password>,
    /// Which encryption.
    pub securetar: SecureTar,
    /// Which machine compresses and encrypts.
    pub compress: Compress,
    /// Leaves the recorder's database out.
    pub exclude_database: bool,
    /// Patterns to leave out.
    pub exclude: Vec<String>,
    /// False: the inner archive is a plain tar.
    pub compressed: bool,
    /// Compression level.
    pub level: Level,
    /// Threads to work with; `None` for one per core.
    pub threads: Option<NonZeroUsize>,
    /// Home Assistant's version, when the directory does not say it.
    pub ha_version: Option<String>,
    /// Reads the finished archive again for its SHA-256, when one copy is a file of this machine.
    pub digest: bool,
    /// Reads every copy back and compares all of it; [`Destination::ReadBack`] says it of one.
    pub read_back: bool,
    /// Lets local copies use the space that Home Assistant needs on its own file system.
    pub force: bool,
    /// Told when the config directory was read to its end and only the rest is to be sent; if that is lost so late that
    /// Haul begins anew, it is told again.
    pub when_read: Option<Sender<()>>,
    /// The moment of the backup, in the zone that its name should show.
    pub now: Zoned,
}

impl BackupOptions {
    /// The same for a vault, which compresses and encrypts itself. `None`: no destination is one.
    pub(crate) fn for_vault(&self) -> Result<Option<Self>, BackupError> {
        let plain = || Self { compressed: false, password: None, compress: Compress::Here, ..self.clone() };
        Ok(destination::is_vault(&self.destinations)?.then(plain))
    }

    /// Everything in `config`, compressed fast on all cores of this machine, not encrypted, dated now in UTC.
    pub fn new(config: impl Into<PathBuf>, destinations: Vec<Destination>) -> Self {
        Self {
            config: config.into(),
            destinations,
            name: None,
            password: None,
            securetar: SecureTar::Auto,
            compress: Compress::Here,
            exclude_database: false,
            exclude: Vec::new(),
            compressed: true,
            level: Level::Fast,
            threads: None,
            ha_version: None,
            digest: false,
            read_back: false,
            force: false,
            when_read: None,
            now: Timestamp::now().to_zoned(TimeZone::UTC),
        }
    }
}
