//! Files in which Home Assistant stores something under a key. They may be anything: only what Home Assistant would have
//! written is read.

use std::{
    fs::OpenOptions,
    io::{self, Read},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use rustix::fs::OFlags;
use serde::{Deserialize, de::DeserializeOwned};

/// No file of users is longer.
const LONGEST: u64 = 64 << 20;

/// What Home Assistant stores under a key.
#[derive(Deserialize)]
pub(crate) struct Stored<T> {
    pub(crate) data: T,
}

/// All of such a file.
pub(crate) fn bytes(path: &Path) -> io::Result<Vec<u8>> {
    let file = OpenOptions::new().read(true).custom_flags(OFlags::NONBLOCK.bits().cast_signed()).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is not a file"));
    }
    let mut bytes = Vec::new();
    file.take(LONGEST + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LONGEST { Err(io::Error::other("it is far too large")) } else { Ok(bytes) }
}

/// What `.HA_VERSION` says.
pub(crate) fn version(config: &Path) -> Option<String> {
    let version = String::from_utf8(bytes(&config.join(".HA_VERSION")).ok()?).ok()?;
    Some(version.trim().to_owned()).filter(|version| !version.is_empty())
}

/// What is stored there, if it has the right form.
pub(crate) fn data<T: DeserializeOwned>(path: &Path) -> Option<T> {
    serde_json::from_slice::<Stored<T>>(&bytes(path).ok()?).ok().map(|stored| stored.data)
}
