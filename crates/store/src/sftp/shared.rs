//! What a destination and its uploads share: the connection, the directory, and the queries about it.

use std::{
    sync::{Arc, atomic::AtomicBool},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use russh_sftp::protocol::FileAttributes;

use super::{
    client::{Connection, ConnectionPool},
    error::Fault,
    settings,
};
use crate::{
    error::{Kind, Operation, StoreError},
    store::Entry,
};

/// What the store and its uploads have in common.
pub(super) struct Shared {
    pub(super) pool: ConnectionPool,
    pub(super) directory: String,
    // The directory was not there, and was made.
    pub(super) is_new: AtomicBool,
}

impl Shared {
    pub(super) fn label(&self) -> String {
        self.pool.target().label()
    }

    /// The path of `name` on the server.
    pub(super) fn path(&self, name: &str) -> Result<String, StoreError> {
        if name.is_empty() || name.contains(['/', '\0']) || name == "." || name == ".." {
            return Err(StoreError::remote(
                self.label(),
                Operation::Read,
                Kind::Invalid,
                format!("{name:?} is not a valid file name"),
            ));
        }
        Ok(format!("{}/{name}", self.directory.trim_end_matches('/')))
    }

    pub(super) async fn connection(&self) -> Result<Arc<Connection>, StoreError> {
        self.pool.get().await
    }

    pub(super) fn failed(&self, operation: Operation) -> impl Fn(Fault) -> StoreError + use<> {
        let label = self.label();
        move |fault| fault.at(&label, operation)
    }

    /// The file of that name, or what a link of that name leads to. A link that leads nowhere is no archive.
    pub(super) async fn look(
        &self,
        connection: &Connection,
        name: &str,
        own: FileAttributes,
        operation: Operation,
    ) -> Result<Option<Entry>, StoreError> {
        let is_link = own.is_symlink();
        let found = if is_link { self.attributes(connection, &self.path(name)?, operation).await? } else { Some(own) };
        Ok(found.filter(FileAttributes::is_regular).map(|found| Entry {
            name: name.to_owned(),
            size: found.len(),
            modified: modified(&found),
            link: is_link,
        }))
    }

    /// Attributes of what `name` leads to; `None` when nothing is there.
    pub(super) async fn attributes(
        &self,
        connection: &Connection,
        path: &str,
        operation: Operation,
    ) -> Result<Option<FileAttributes>, StoreError> {
        match connection.ask(connection.sftp.stat(path)).await {
            Ok(found) => Ok(Some(found.attrs)),
            Err(Fault::Missing) => Ok(None),
            Err(fault) => Err(fault.at(&self.label(), operation)),
        }
    }

    /// Whether the name is taken, be it by a link that leads nowhere.
    pub(super) async fn is_taken(&self, connection: &Connection, path: &str) -> Result<bool, Fault> {
        match connection.ask(connection.sftp.lstat(path)).await {
            Ok(_) => Ok(true),
            Err(Fault::Missing) => Ok(false),
            Err(fault) => Err(fault),
        }
    }

    /// Everything in the directory; nothing when the directory is still to be made.
    pub(super) async fn entries(
        &self,
        connection: &Connection,
        operation: Operation,
    ) -> Result<Vec<(String, FileAttributes)>, StoreError> {
        let failed = self.failed(operation);
        let handle = match connection.ask(connection.sftp.opendir(&self.directory)).await {
            Ok(handle) => handle.handle,
            Err(Fault::Missing) => return Ok(Vec::new()),
            Err(fault) => return Err(failed(fault)),
        };
        let mut entries = Vec::new();
        loop {
            match connection.ask(connection.sftp.readdir(&handle)).await {
                Ok(names) => entries.extend(names.files.into_iter().map(|file| (file.filename, file.attrs))),
                Err(Fault::End) => break,
                Err(fault) => return Err(failed(fault)),
            }
        }
        let _ = connection.ask(connection.sftp.close(handle)).await;
        Ok(entries)
    }

    pub(super) async fn space(&self, connection: &Connection) -> Option<u64> {
        if !connection.offers("statvfs@openssh.com") {
            return None;
        }
        // Also of the parent: the directory may still be to be made.
        for path in [self.directory.as_str(), settings::parent(&self.directory)] {
            if let Ok(found) = connection.ask(connection.sftp.statvfs(path)).await {
                return Some(found.blocks_avail.saturating_mul(found.fragment_size));
            }
        }
        None
    }
}

pub(super) fn modified(attributes: &FileAttributes) -> Option<SystemTime> {
    attributes.mtime.map(|seconds| UNIX_EPOCH + Duration::from_secs(seconds.into()))
}
