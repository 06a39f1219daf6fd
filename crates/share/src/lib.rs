//! Destinations as network folders (SMB). Home Assistant's Supervisor, and any other program that can only write to a
//! folder, writes a backup there, and its bytes are sent on as they come: nothing is stored on the way.
//!
//! Clients are not allowed to cache (`leases`): so every write arrives as the program makes it, in its order, and the
//! program hears at once when the destination is full or away.

mod extents;
mod folder;
mod gate;
mod intake;
mod kept;
mod names;
mod open;
mod outline;
mod place;
mod reading;
mod recent;
mod scratch;
mod upload;
mod uploads;

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use engine::remake::Pieces;
use smb_server::{ConfigHandle, Share, ShutdownHandle, SmbServer};
use store::{Bridge, Context, LateSizes, Secret, Store};
use tokio::task::JoinSet;

use folder::Folder;
use gate::Gate;
pub use intake::{Intake, Refused, Step};
pub use outline::NotABackup;
use scratch::Budget;

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

/// Makes a connection, or says why there is none.
pub type Connect = Arc<dyn Fn() -> Result<Arc<dyn Store>, String> + Send + Sync>;

/// One destination that is shared.
pub struct Shared {
    /// The folder's name.
    pub name: String,
    /// Connects with where archives go, and waits for that; asked again later if it fails.
    pub connect: Connect,
    /// Whether it may be written to now, or why not: asked each time, also when it was connected with before.
    pub is_there: Option<Arc<dyn Fn() -> Result<(), String> + Send + Sync>>,
    /// The same, if it is a directory of this machine.
    pub directory: Option<PathBuf>,
    /// A directory for what is remembered of it: the last list, and what clients look at of archives.
    pub cache: Option<PathBuf>,
    /// The runtime.
    pub bridge: Bridge,
    /// Retry policy, limits, interruption.
    pub context: Context,
    /// Bytes of one archive that may wait in memory.
    pub memory: usize,
    /// Whether a client may not remove the archive of this name.
    pub keeps: Arc<dyn Fn(&str) -> bool + Send + Sync>,
    /// Makes some archives anew.
    pub remaker: Option<Arc<dyn Remaker>>,
    /// Hears of what happens.
    pub on_event: Arc<dyn Fn(Event) + Send + Sync>,
}

impl Shared {
    /// Whether archives can be streamed there, although their sizes are known last.
    pub fn can_stream(store: &Arc<dyn Store>) -> bool {
        LateSizes::at(&(Arc::clone(store) as _)) != LateSizes::Never
    }
}

/// Who may come, and with what.
pub struct Access<'a> {
    /// The only user.
    pub user: &'a str,
    /// Their password.
    pub password: &'a Secret,
    /// Only these addresses may connect; nothing: every address.
    pub allowed: Option<Vec<IpAddr>>,
}

/// Serves folders.
pub struct Server {
    smb: SmbServer,
    gate: Option<Gate>,
    folders: Folders,
}

/// The folders of a [`Server`], while it runs.
#[derive(Clone)]
pub struct Folders {
    shares: ConfigHandle,
    shutdown: ShutdownHandle,
    user: String,
    served: Arc<Mutex<Vec<Folder>>>,
    budget: Arc<Budget>,
}

impl Folders {
    /// Adds one; its name must be new.
    pub async fn add(&self, shared: Shared) -> io::Result<()> {
        let folder = Folder::new(shared, &self.budget);
        let share = Share::new(folder.name(), folder.clone()).user(&*self.user, smb_server::Access::ReadWrite);
        let share = share.leases(false).durable_handles(false).change_notify(false);
        self.shares.add_share(share).await.map_err(|error| io::Error::other(error.to_string()))?;
        self.lock().push(folder);
        Ok(())
    }

    /// Takes one away, and gives up what is not complete there.
    pub async fn remove(&self, name: &str) {
        let removed: Vec<Folder> = self.lock().extract_if(.., |folder| folder.name() == name).collect();
        // It is gone for those who are connected as well.
        let _ = self.shares.remove_share(name).await;
        for folder in removed {
            folder.end("the network folder was taken away").await;
        }
    }

    /// Their names.
    pub fn names(&self) -> Vec<String> {
        self.lock().iter().map(|folder| folder.name().to_owned()).collect()
    }

    /// How long ago a client last used what it has unpacked in one of them, if there is any.
    pub fn unpacked(&self) -> Option<Duration> {
        self.lock().iter().filter_map(Folder::unpacked).min()
    }

    /// Takes no more requests, and gives up what is not complete: nothing of it stays at its destination.
    pub async fn end(self, why: &str) {
        self.shutdown.shutdown();
        let folders = self.lock().clone();
        let ending = folders.into_iter().map(|folder| {
            let why = why.to_owned();
            async move { folder.end(&why).await }
        });
        ending.collect::<JoinSet<()>>().join_all().await;
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Folder>> {
        self.served.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Server {
    /// Listens there; `listen` may have port 0. Gives the address as well.
    pub async fn bind(listen: SocketAddr, access: &Access<'_>) -> io::Result<(Self, SocketAddr)> {
        let (gate, behind) = match &access.allowed {
            None => (None, listen),
            Some(allowed) => {
                (Some(Gate::bind(listen, allowed.clone()).await?), SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 0))
            }
        };
        let builder = SmbServer::builder()
            .listen(behind)
            .user(access.user, access.password.expose())
            .require_signing(true)
            .max_connections(CONNECTIONS)
            .max_read_size(LARGEST)
            .max_write_size(LARGEST)
            .logon_throttle(WRONG_PASSWORDS, Duration::from_mins(1));
        let smb = builder.build().map_err(|error| io::Error::other(error.to_string()))?;
        let mut address = smb.bind().await?;
        if let Some(gate) = &gate {
            address = gate.address()?;
        }
        let folders = Folders {
            shares: smb.config_handle(),
            shutdown: smb.shutdown_handle(),
            user: access.user.to_owned(),
            served: Arc::default(),
            budget: Arc::default(),
        };
        Ok((Self { smb, gate, folders }, address))
    }

    /// Its folders, none so far.
    pub fn folders(&self) -> Folders {
        self.folders.clone()
    }

    /// Serves until its folders are ended.
    pub async fn run(self) -> io::Result<()> {
        let Some(gate) = self.gate else { return self.smb.serve().await };
        let Some(behind) = self.smb.local_addr().await else { return Err(io::ErrorKind::NotConnected.into()) };
        tokio::select! {
            served = self.smb.serve() => served,
            never = gate.run(behind) => match never {},
        }
    }
}
