//! A directory of an SFTP server (`sftp://user@host[:port]/path`; `/~/path` begins in the home directory).
//!
//! Bytes go into a temporary file of mode 0600 beside the final name, many writes under way at once. Publishing syncs,
//! compares the size and renames without replacing. A connection that breaks is made again by the next call, which
//! looks how far the file came. `~/.ssh/config` is not read: what matters of it are keys here (`SCHEME`).
//!
//! `settings` reads the address, `trust` decides about the host's key, `login` logs in, `client` keeps the
//! connection, `shared` is what the destination and its uploads have in common, `error` translates failures, `upload`
//! is one upload.

mod client;
mod error;
mod login;
mod settings;
mod shared;
mod trust;
mod upload;

use std::{
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::SystemTime,
};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt, TryStreamExt, stream};
use russh_sftp::protocol::{FileAttributes, OpenFlags};
use url::Url;

use self::{
    client::ConnectionPool,
    error::Fault,
    settings::Target,
    shared::{Shared, modified},
    upload::SftpUpload,
};
use crate::{
    context::{Context, Options},
    error::{Kind, Operation, StoreError},
    owner,
    scheme::Scheme,
    store::{Abilities, CHECK_PATH, Entry, Expected, NO_FOLDER, Placement, Session, Sink, Store, Upload, made_folder},
};

/// SFTP.
pub(crate) const SCHEME: Scheme = Scheme {
    names: &["sftp"],
    example: "sftp://user@host/path",
    service: "SFTP servers",
    keys: &["key_file", "passphrase_file", "password_file", "known_hosts", "host_key"],
    connect: |url, options, context| Box::pin(connect(url, options, context)),
};

/// Part size: long enough that waiting for its last answer does not count, short enough to be sent again.
const PREFERRED: u64 = 8 << 20;

/// Connects and asks what the destination can do.
async fn connect(url: &Url, options: &Options, context: &Context) -> Result<Arc<dyn Store>, StoreError> {
    let target = Target::parse(url, context)?;
    let pool = ConnectionPool::new(target, options, context)?;
    let directory = pool.directory().await?;
    let shared = Shared { pool, directory, is_new: AtomicBool::new(false) };
    if context.only_looks {
        let connection = shared.connection().await?;
        if shared.attributes(&connection, &shared.directory, Operation::Connect).await?.is_none() {
            return Err(
                StoreError::remote(shared.label(), Operation::Connect, Kind::NotFound, NO_FOLDER).advise(CHECK_PATH)
            );
        }
    }
    Ok(Arc::new(Sftp { shared: Arc::new(shared) }))
}

/// A directory of a server.
struct Sftp {
    shared: Arc<Shared>,
}

#[async_trait]
impl Sink for Sftp {
    fn label(&self) -> String {
        self.shared.label()
    }

    fn abilities(&self) -> Abilities {
        Abilities {
            placement: Placement::Random,
            multiple: 1,
            preferred: PREFERRED,
            concurrency: 1,
            needs_length: false,
            restarts: false,
            md5: false,
            resumable: true,
        }
    }

    async fn create(&self, name: &str, expected: Expected) -> Result<Box<dyn Upload>, StoreError> {
        Ok(Box::new(SftpUpload::create(Arc::clone(&self.shared), name, expected).await?))
    }

    fn notes(&self) -> Vec<String> {
        self.shared.is_new.load(Ordering::Relaxed).then(|| made_folder(&self.label())).into_iter().collect()
    }

    fn store(self: Arc<Self>) -> Option<Arc<dyn Store>> {
        Some(self)
    }
}

#[async_trait]
impl Store for Sftp {
    async fn resume(&self, session: &Session) -> Result<Option<Box<dyn Upload>>, StoreError> {
        let upload = SftpUpload::resume(Arc::clone(&self.shared), session).await?;
        Ok(upload.map(|upload| Box::new(upload) as Box<dyn Upload>))
    }

    async fn list(&self) -> Result<Vec<Entry>, StoreError> {
        let connection = self.shared.connection().await?;
        let mut entries = Vec::new();
        for (name, attributes) in self.shared.entries(&connection, Operation::List).await? {
            if !owner::is_temporary(&name) && (attributes.is_regular() || attributes.is_symlink()) {
                entries.extend(self.shared.look(&connection, &name, attributes, Operation::List).await?);
            }
        }
        Ok(entries)
    }

    async fn entry(&self, name: &str) -> Result<Option<Entry>, StoreError> {
        let connection = self.shared.connection().await?;
        match connection.ask(connection.sftp.lstat(self.shared.path(name)?)).await {
            Ok(own) => self.shared.look(&connection, name, own.attrs, Operation::Read).await,
            Err(Fault::Missing) => Ok(None),
            Err(fault) => Err(self.shared.failed(Operation::Read)(fault)),
        }
    }

    async fn read(&self, name: &str, range: Range<u64>) -> Result<Bytes, StoreError> {
        let failed = self.shared.failed(Operation::Read);
        let connection = self.shared.connection().await?;
        let path = self.shared.path(name)?;
        let handle = connection
            .ask(connection.sftp.open(path, OpenFlags::READ, FileAttributes::empty()))
            .await
            .map_err(&failed)?
            .handle;
        let step = connection.step();
        let starts = (range.start..range.end).step_by(step as usize);
        let pieces = starts.map(|from| connection.read_exactly(&handle, from..range.end.min(from + step)));
        let mut bytes = BytesMut::with_capacity((range.end - range.start) as usize);
        let result = stream::iter(pieces.collect::<Vec<_>>())
            .buffered(client::UNDER_WAY)
            .try_for_each(|piece| {
                bytes.extend_from_slice(&piece);
                std::future::ready(Ok(()))
            })
            .await;
        connection.close_later(handle);
        result.map_err(failed)?;
        Ok(bytes.freeze())
    }

    async fn delete(&self, name: &str) -> Result<(), StoreError> {
        let connection = self.shared.connection().await?;
        match connection.ask(connection.sftp.remove(self.shared.path(name)?)).await {
            Ok(_) | Err(Fault::Missing) => Ok(()),
            Err(fault) => Err(self.shared.failed(Operation::Delete)(fault)),
        }
    }

    async fn space(&self) -> Result<Option<u64>, StoreError> {
        let connection = self.shared.connection().await?;
        Ok(self.shared.space(&connection).await)
    }

    async fn remove_abandoned(&self) -> Result<u32, StoreError> {
        let connection = self.shared.connection().await?;
        let now = SystemTime::now();
        let mut removed = 0;
        for (name, attributes) in self.shared.entries(&connection, Operation::List).await? {
            let age = modified(&attributes).and_then(|then| now.duration_since(then).ok());
            if attributes.is_regular()
                && owner::is_abandoned(&name, age)
                && connection.ask(connection.sftp.remove(self.shared.path(&name)?)).await.is_ok()
            {
                removed += 1;
            }
        }
        Ok(removed)
    }
}
