//! What a receiver records of unfinished uploads, so that their senders can continue after it was restarted: one small
//! file each, mode 0600, in the state directory.

use std::{fs, io, path::PathBuf, time::Duration};

use data_encoding::HEXLOWER;
use peer::{Fingerprint, disk::replace_private};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::store::Session;

/// One upload.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Record {
    /// Its destination.
    #[serde(rename = "place")]
    pub(super) destination: String,
    /// Whose it is.
    pub(super) owner: Fingerprint,
    /// The sender's name for it.
    pub(super) upload: String,
    /// Whether another process of the sender may continue it.
    pub(super) keep: bool,
    /// The final name.
    pub(super) name: String,
    /// What the destination needs to continue it.
    pub(super) session: Option<Session>,
    /// Once it is visible: its length, and what it was compared by.
    pub(super) finished: Option<(u64, String)>,
    /// What was made of it, if that was requested.
    #[serde(default)]
    pub(super) made: Option<serde_json::Value>,
    /// What is to be known of it although it is visible.
    #[serde(default)]
    pub(super) notes: Vec<String>,
}

/// The directory of records.
pub(super) struct Records {
    directory: PathBuf,
}

impl Records {
    /// The directory need not exist yet.
    pub(super) fn new(directory: PathBuf) -> Self {
        Self { directory }
    }

    fn path(&self, owner: &Fingerprint, upload: &str) -> PathBuf {
        // Hashed, because the name comes from elsewhere.
        let digest = Sha256::new().chain_update(owner.bytes()).chain_update(upload).finalize();
        let name = HEXLOWER.encode(&digest[..16]);
        self.directory.join(format!("{name}.json"))
    }

    pub(super) fn load(&self, owner: &Fingerprint, upload: &str) -> io::Result<Option<Record>> {
        match fs::read(self.path(owner, upload)) {
            Ok(text) => Ok(serde_json::from_slice::<Record>(&text)
                .ok()
                .filter(|record| record.owner == *owner && record.upload == upload)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(super) fn save(&self, record: &Record) -> io::Result<()> {
        replace_private(&self.path(&record.owner, &record.upload), &serde_json::to_vec(record)?)
    }

    pub(super) fn remove(&self, owner: &Fingerprint, upload: &str) {
        // One that stays is removed when it is old.
        let _ = fs::remove_file(self.path(owner, upload));
    }

    /// All of them, each with the time since it was last written.
    pub(super) fn all(&self) -> Vec<(Record, Duration)> {
        let Ok(files) = fs::read_dir(&self.directory) else { return Vec::new() };
        let record = |file: fs::DirEntry| {
            let age = file.metadata().ok()?.modified().ok()?.elapsed().unwrap_or_default();
            Some((serde_json::from_slice(&fs::read(file.path()).ok()?).ok()?, age))
        };
        files.flatten().filter_map(record).collect()
    }
}
