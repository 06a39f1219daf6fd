//! Destinations as network folders (SMB). Home Assistant's Supervisor, and any other program that can only write to a
//! folder, writes a backup there, and its bytes are sent on as they come: nothing is stored on the way.
//!
//! Clients are not allowed to cache (`leases`): so every write arrives as the program makes it, in its order, and the
//! program hears at once when the destination is full or away.

mod folder;
mod intake;
mod names;
mod outline;
mod upload;

use std::{io, net::SocketAddr, path::PathBuf, sync::Arc};

use engine::remake::Pieces;
use smb_server::{Access, Share, ShutdownHandle, SmbServer};
use store::{Bridge, Context, Secret, Store, store::Placement};

use folder::Folder;
pub use intake::{Intake, Refused, Step};
pub use outline::{NotABackup, Outline};

/// Wrong passwords until a name has to wait.
const WRONG_PASSWORDS: u32 = 5;
/// Connections at once.
const CONNECTIONS: usize = 32;
/// Bytes of one write or read.
const LARGEST: u32 = 1 << 20;

/// What happened to an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// It is at the destination, whole.
    Arrived {
        /// The archive.
        name: String,
        /// Its bytes.
        size: u64,
    },
    /// It is not, and nothing of it is left.
    Failed {
        /// The archive.
        name: String,
        /// Why.
        reason: String,
    },
    /// A client removed it.
    Deleted {
        /// The archive.
        name: String,
    },
    /// A client wanted to remove it.
    Kept {
        /// The archive.
        name: String,
    },
}

/// Makes archives anew while they come, and brings them where they belong.
pub trait Remaker: Send + Sync {
    /// Whether an archive of this name is to be made anew; all others stay as they are.
    fn takes(&self, name: &str) -> bool;
    /// Makes one of its parts until they end. Its bytes, or why there is none: then nothing is left of it anywhere.
    fn remake(&self, name: &str, pieces: &mut dyn Pieces) -> Result<u64, String>;
}

/// One destination that is shared.
pub struct Shared {
    /// The folder's name.
    pub name: String,
    /// Where archives go.
    pub store: Arc<dyn Store>,
    /// The same, if it is a directory of this machine.
    pub directory: Option<PathBuf>,
    /// The runtime.
    pub bridge: Bridge,
    /// Retry policy, limits, interruption.
    pub context: Context,
    /// Bytes of one archive that may wait in memory.
    pub memory: usize,
    /// Nothing can be removed.
    pub append_only: bool,
    /// Makes some archives anew.
    pub remaker: Option<Arc<dyn Remaker>>,
    /// Hears of what happens.
    pub on_event: Arc<dyn Fn(Event) + Send + Sync>,
}

impl Shared {
    /// Whether archives can be streamed there: their sizes are known last, and are needed first.
    pub fn can_stream(store: &Arc<dyn Store>) -> bool {
        store.abilities().placement != Placement::Sequential && !store.abilities().needs_length
    }
}

/// Serves folders.
pub struct Server {
    smb: SmbServer,
    folders: Vec<Folder>,
}

/// Ends a [`Server`].
pub struct Ending {
    shutdown: ShutdownHandle,
    folders: Vec<Folder>,
}

impl Ending {
    /// Takes no more requests, and gives up what is not complete: nothing of it stays at its destination.
    pub async fn end(self) {
        self.shutdown.shutdown();
        for folder in self.folders {
            folder.end().await;
        }
    }
}

impl Server {
    /// For one user; `listen` may have port 0.
    pub fn new(listen: SocketAddr, user: &str, password: &Secret, folders: Vec<Shared>) -> io::Result<Self> {
        let mut builder = SmbServer::builder()
            .listen(listen)
            .user(user, password.expose())
            .require_signing(true)
            .max_connections(CONNECTIONS)
            .max_read_size(LARGEST)
            .max_write_size(LARGEST)
            .logon_throttle(WRONG_PASSWORDS, std::time::Duration::from_mins(1));
        let folders: Vec<Folder> = folders.into_iter().map(Folder::new).collect();
        for folder in &folders {
            let share = Share::new(folder.name(), folder.clone()).user(user, Access::ReadWrite);
            builder = builder.share(share.leases(false).durable_handles(false).change_notify(false));
        }
        let smb = builder.build().map_err(|error| io::Error::other(error.to_string()))?;
        Ok(Self { smb, folders })
    }

    /// Listens, and says where.
    pub async fn bind(&self) -> io::Result<SocketAddr> {
        self.smb.bind().await
    }

    /// For whoever ends it.
    pub fn ending(&self) -> Ending {
        Ending { shutdown: self.smb.shutdown_handle(), folders: self.folders.clone() }
    }

    /// Serves until it is ended.
    pub async fn run(self) -> io::Result<()> {
        self.smb.serve().await
    }
}
