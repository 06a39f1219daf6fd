//! The machines that this one was paired with: one small file of mode 0600, replaced in one step, and read again as
//! soon as another process changed it.

use std::{
    fs::{self, OpenOptions},
    io,
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Serialize};

use crate::{disk::replace_private, error::PeerError, identity::Fingerprint};

const FILE: &str = "peers.json";
const LOCK: &str = "peers.lock";
/// Longer names are cut.
const LONGEST_NAME: usize = 60;

/// What a known machine is to this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// It sends its archives here.
    Sender,
    /// It receives archives from here.
    Receiver,
}

/// A machine that was paired.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peer {
    /// What it calls itself, made unique.
    pub name: String,
    /// Its key.
    pub fingerprint: Fingerprint,
    /// What it is to this machine.
    pub role: Role,
    /// When it was paired, in seconds since 1970.
    pub since: u64,
    /// When it was last talked to, in seconds since 1970.
    pub last_seen: u64,
    /// Where a receiver was reached (`host:port`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
}

/// The file of known machines. Cheap to ask: the file is only read again when it changed.
pub struct Known {
    directory: PathBuf,
    cache: Mutex<Option<(Stamp, Arc<Vec<Peer>>)>>,
}

/// Changes whenever the file is replaced.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    size: u64,
    changed: (i64, i64),
}

impl Known {
    /// Those of a state directory, which need not exist yet.
    pub fn new(state: &Path) -> Self {
        Self { directory: state.to_owned(), cache: Mutex::new(None) }
    }

    /// All of them, in the order they were paired.
    pub fn list(&self) -> Result<Arc<Vec<Peer>>, PeerError> {
        let path = self.directory.join(FILE);
        let metadata = match fs::metadata(&path) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Arc::default()),
            Err(error) => return Err(PeerError::state(&path, &error)),
        };
        let stamp =
            Stamp { inode: metadata.ino(), size: metadata.size(), changed: (metadata.ctime(), metadata.ctime_nsec()) };
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, peers)) = cache.as_ref()
            && *known == stamp
        {
            return Ok(Arc::clone(peers));
        }
        let text = fs::read(&path).map_err(|error| PeerError::state(&path, &error))?;
        let peers: Vec<Peer> = serde_json::from_slice(&text).map_err(|_| PeerError::State {
            path,
            reason: "it is not a list of paired machines; remove it, and pair them again".to_owned(),
        })?;
        let peers = Arc::new(peers);
        *cache = Some((stamp, Arc::clone(&peers)));
        Ok(peers)
    }

    /// The machine with this key in this role.
    pub fn find(&self, fingerprint: &Fingerprint, role: Role) -> Result<Option<Peer>, PeerError> {
        Ok(self.list()?.iter().find(|peer| peer.fingerprint == *fingerprint && peer.role == role).cloned())
    }

    /// The receiver that was reached at this address.
    pub fn receiver_at(&self, address: &str) -> Result<Option<Peer>, PeerError> {
        Ok(self
            .list()?
            .iter()
            .find(|peer| peer.role == Role::Receiver && peer.address.as_deref() == Some(address))
            .cloned())
    }

    /// Records a machine that was just paired, replacing what was known of the same key; returns its name.
    pub fn add(
        &self,
        name: &str,
        fingerprint: Fingerprint,
        role: Role,
        address: Option<&str>,
    ) -> Result<String, PeerError> {
        self.change(|peers| {
            let same = |peer: &Peer| peer.fingerprint == fingerprint && peer.role == role;
            let elsewhere = |peer: &Peer| address.is_some() && peer.role == role && peer.address.as_deref() == address;
            peers.retain(|peer| !same(peer));
            for peer in peers.iter_mut().filter(|peer| elsewhere(peer)) {
                peer.address = None;
            }
            let wanted = plain_name(name);
            let taken =
                |candidate: &str| peers.iter().any(|peer| peer.name == candidate && peer.fingerprint != fingerprint);
            let mut name = wanted.clone();
            for n in 2..=peers.len() + 2 {
                if !taken(&name) {
                    break;
                }
                name = format!("{wanted}-{n}");
            }
            let now = now();
            peers.push(Peer {
                name: name.clone(),
                fingerprint,
                role,
                since: now,
                last_seen: now,
                address: address.map(str::to_owned),
            });
            name
        })
    }

    /// Notes that a machine was there, unless that is known within `precision`, and where, if that is new.
    pub fn saw(
        &self,
        fingerprint: &Fingerprint,
        role: Role,
        address: Option<&str>,
        precision: Duration,
    ) -> Result<(), PeerError> {
        let Some(peer) = self.find(fingerprint, role)? else { return Ok(()) };
        let moved = address.is_some() && peer.address.as_deref() != address;
        if !moved && now().saturating_sub(peer.last_seen) < precision.as_secs() {
            return Ok(());
        }
        self.change(|peers| {
            if let Some(peer) = peers.iter_mut().find(|peer| peer.fingerprint == *fingerprint && peer.role == role) {
                peer.last_seen = now();
                if moved {
                    peer.address = address.map(str::to_owned);
                }
            }
        })
    }

    /// Forgets every machine of this name (or whose fingerprint begins so, from eight digits on), and says which these
    /// were.
    pub fn forget(&self, name: &str) -> Result<Vec<Peer>, PeerError> {
        let digits: String = name.chars().filter(|c| !c.is_whitespace()).collect::<String>().to_lowercase();
        let meant =
            |peer: &Peer| peer.name == name || (digits.len() >= 8 && peer.fingerprint.to_string().starts_with(&digits));
        if !self.list()?.iter().any(meant) {
            return Ok(Vec::new());
        }
        self.change(|peers| {
            let (gone, left) = std::mem::take(peers).into_iter().partition(|peer| meant(peer));
            *peers = left;
            gone
        })
    }

    /// Reads, changes and replaces the file while no other process does.
    fn change<T>(&self, change: impl FnOnce(&mut Vec<Peer>) -> T) -> Result<T, PeerError> {
        let path = self.directory.join(FILE);
        let failed = |error: io::Error| PeerError::state(&path, &error);
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.directory).map_err(failed)?;
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(self.directory.join(LOCK))
            .map_err(failed)?;
        lock.lock().map_err(failed)?;
        let mut peers = self.list()?.as_ref().clone();
        let result = change(&mut peers);
        let text = serde_json::to_vec_pretty(&peers).map_err(|error| failed(error.into()))?;
        replace_private(&path, &text).map_err(failed)?;
        Ok(result)
    }
}

/// A name from elsewhere as it may be shown here: one line, bounded, without control characters.
pub fn plain_name(name: &str) -> String {
    let name: String = name.chars().filter(|c| !c.is_control()).take(LONGEST_NAME).collect();
    let name = name.trim();
    if name.is_empty() { "unnamed".to_owned() } else { name.to_owned() }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::identity::Identity;

    fn print() -> Fingerprint {
        Identity::ephemeral().unwrap().fingerprint()
    }

    #[test]
    fn what_one_process_changes_another_sees_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let (one, other) = (Known::new(dir.path()), Known::new(dir.path()));
        let key = print();
        assert!(other.list().unwrap().is_empty());
        one.add("attic", key, Role::Sender, None).unwrap();
        assert_eq!(other.find(&key, Role::Sender).unwrap().unwrap().name, "attic");
        assert!(other.find(&key, Role::Receiver).unwrap().is_none(), "a role is no other role");
        assert_eq!(one.forget("attic").unwrap().len(), 1);
        assert!(other.find(&key, Role::Sender).unwrap().is_none());
        assert!(one.forget("attic").unwrap().is_empty());
    }

    #[test]
    fn names_are_made_unique_and_plain() {
        let dir = tempfile::tempdir().unwrap();
        let known = Known::new(dir.path());
        assert_eq!(known.add("attic", print(), Role::Sender, None).unwrap(), "attic");
        assert_eq!(known.add("attic", print(), Role::Sender, None).unwrap(), "attic-2");
        assert_eq!(known.add("\x1b[2J\n", print(), Role::Sender, None).unwrap(), "[2J");
        assert_eq!(known.add(" ", print(), Role::Sender, None).unwrap(), "unnamed");
    }

    #[test]
    fn an_address_belongs_to_the_machine_paired_there_last() {
        let dir = tempfile::tempdir().unwrap();
        let known = Known::new(dir.path());
        let (old, new) = (print(), print());
        known.add("old", old, Role::Receiver, Some("nas:8744")).unwrap();
        known.add("new", new, Role::Receiver, Some("nas:8744")).unwrap();
        assert_eq!(known.receiver_at("nas:8744").unwrap().unwrap().fingerprint, new);
        known.saw(&old, Role::Receiver, Some("other:8744"), Duration::from_mins(1)).unwrap();
        assert_eq!(known.receiver_at("other:8744").unwrap().unwrap().fingerprint, old);
    }

    #[test]
    fn changes_of_many_processes_do_not_undo_each_other() {
        let dir = tempfile::tempdir().unwrap();
        let keys: Vec<_> = (0..8).map(|_| print()).collect();
        std::thread::scope(|scope| {
            for key in &keys {
                scope.spawn(|| Known::new(dir.path()).add("attic", *key, Role::Sender, None).unwrap());
            }
        });
        assert_eq!(Known::new(dir.path()).list().unwrap().len(), 8);
    }
}
