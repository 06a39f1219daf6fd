//! What a client has open: the folder itself, an archive that is there, or one that grows.

use std::{
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use async_trait::async_trait;
use bytes::Bytes;
use smb_server::{DirEntry, FileInfo, FileTimes, Handle, SmbError, SmbResult};
use store::Entry;

use crate::{
    names,
    place::{Place, away},
    reading::Reading,
    scratch::Scratch,
    upload::{Failed, Upload},
    uploads::Uploads,
};

fn file(name: &str, size: u64, modified: Option<SystemTime>) -> FileInfo {
    let mut info = FileInfo::new(name);
    (info.end_of_file, info.allocation_size) = (size, size);
    let time = FileTimes::all(modified.unwrap_or(UNIX_EPOCH)).change_time.unwrap_or(0);
    (info.creation_time, info.last_access_time) = (time, time);
    (info.last_write_time, info.change_time) = (time, time);
    info.file_index = names::number(name);
    info
}

/// The folder itself.
pub(crate) struct Listing {
    pub(crate) place: Arc<Place>,
    pub(crate) scratch: Arc<Scratch>,
    pub(crate) uploads: Uploads,
}

#[async_trait]
impl Handle for Listing {
    async fn read(&self, _offset: u64, _length: u32) -> SmbResult<Bytes> {
        Err(SmbError::IsDirectory)
    }

    async fn write(&self, _offset: u64, _data: &[u8]) -> SmbResult<u32> {
        Err(SmbError::IsDirectory)
    }

    async fn flush(&self) -> SmbResult<()> {
        Ok(())
    }

    async fn stat(&self) -> SmbResult<FileInfo> {
        let mut info = FileInfo::new(String::new());
        info.is_directory = true;
        info.file_index = names::number("");
        Ok(info)
    }

    async fn set_times(&self, _times: FileTimes) -> SmbResult<()> {
        Ok(())
    }

    async fn set_attributes(&self, _attributes: u32) -> SmbResult<()> {
        Err(SmbError::NotSupported)
    }

    async fn truncate(&self, _length: u64) -> SmbResult<()> {
        Err(SmbError::IsDirectory)
    }

    async fn list_dir(&self, pattern: Option<&str>) -> SmbResult<Vec<DirEntry>> {
        let entries = self.place.entries().await?;
        let uploads = self.uploads.lock();
        let growing = uploads.iter().map(|(name, upload)| file(name, upload.length(), None));
        let stored = entries.iter().filter(|entry| !uploads.contains_key(&entry.name));
        let all = stored.map(|entry| file(&entry.name, entry.size, entry.modified)).chain(growing);
        let all = all.chain(self.scratch.list());
        let wanted = |info: &FileInfo| pattern.is_none_or(|pattern| names::matches(pattern, &info.name));
        Ok(all.filter(wanted).map(|info| DirEntry { info }).collect())
    }

    async fn close(self: Box<Self>) -> SmbResult<()> {
        Ok(())
    }
}

/// An archive at the destination.
pub(crate) struct Stored {
    pub(crate) entry: Arc<Entry>,
    pub(crate) reading: Reading,
}

#[async_trait]
impl Handle for Stored {
    async fn read(&self, offset: u64, length: u32) -> SmbResult<Bytes> {
        self.reading.read(&self.entry, offset, length.into()).await
    }

    async fn write(&self, _offset: u64, _data: &[u8]) -> SmbResult<u32> {
        Err(SmbError::AccessDenied)
    }

    async fn flush(&self) -> SmbResult<()> {
        Ok(())
    }

    async fn stat(&self) -> SmbResult<FileInfo> {
        Ok(file(&self.entry.name, self.entry.size, self.entry.modified))
    }

    async fn set_times(&self, _times: FileTimes) -> SmbResult<()> {
        Ok(())
    }

    async fn set_attributes(&self, _attributes: u32) -> SmbResult<()> {
        Err(SmbError::NotSupported)
    }

    async fn truncate(&self, _length: u64) -> SmbResult<()> {
        Err(SmbError::AccessDenied)
    }

    async fn list_dir(&self, _pattern: Option<&str>) -> SmbResult<Vec<DirEntry>> {
        Err(SmbError::NotADirectory)
    }

    async fn close(self: Box<Self>) -> SmbResult<()> {
        Ok(())
    }
}

/// An archive on its way.
pub(crate) struct Growing {
    pub(crate) uploads: Uploads,
    pub(crate) name: String,
    pub(crate) upload: Arc<Upload>,
    pub(crate) writes: bool,
}

#[async_trait]
impl Handle for Growing {
    async fn read(&self, _offset: u64, _length: u32) -> SmbResult<Bytes> {
        // What has left is not here any more.
        Err(SmbError::Sharing)
    }

    async fn write(&self, offset: u64, data: &[u8]) -> SmbResult<u32> {
        self.write_owned(offset, data.to_vec()).await
    }

    async fn write_owned(&self, offset: u64, data: Vec<u8>) -> SmbResult<u32> {
        if !self.writes {
            return Err(SmbError::AccessDenied);
        }
        let count = u32::try_from(data.len()).map_err(|_| SmbError::NotSupported)?;
        match self.upload.write(offset, data.into(), self.uploads.memory()).await {
            Ok(()) => Ok(count),
            Err(Failed::NoRoom) => Err(SmbError::DiskFull),
            Err(Failed::Refused) => Err(SmbError::AccessDenied),
        }
    }

    async fn flush(&self) -> SmbResult<()> {
        Ok(())
    }

    async fn stat(&self) -> SmbResult<FileInfo> {
        Ok(file(&self.name, self.upload.length(), None))
    }

    async fn set_times(&self, _times: FileTimes) -> SmbResult<()> {
        Ok(())
    }

    async fn set_attributes(&self, _attributes: u32) -> SmbResult<()> {
        Ok(())
    }

    async fn truncate(&self, length: u64) -> SmbResult<()> {
        // Some programs say in advance how long it will be.
        if length >= self.upload.length() { Ok(()) } else { Err(SmbError::AccessDenied) }
    }

    async fn list_dir(&self, _pattern: Option<&str>) -> SmbResult<Vec<DirEntry>> {
        Err(SmbError::NotADirectory)
    }

    async fn close(self: Box<Self>) -> SmbResult<()> {
        if !self.upload.closed() {
            return Ok(());
        }
        let complete = self.uploads.left(self.name.clone(), Arc::clone(&self.upload)).await;
        match self.upload.outcome() {
            Some(Err(why)) => Err(away(why)),
            None if !complete => Err(away("the archive is not complete")),
            _ => Ok(()),
        }
    }
}
