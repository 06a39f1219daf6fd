//! Reads archives at a destination as clients do: a piece here to see what it is, or from one end to the other.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::{Bytes, BytesMut};
use smb_server::SmbResult;
use store::Entry;

use crate::place::Place;

/// The least that is asked for at once: a client that looks at something asks for a little more soon.
const LEAST: u64 = 128 << 10;
/// The most, of a client that reads on and on.
const MOST: u64 = 2 << 20;
/// What takes longer is asked for in smaller pieces: no client waits for long.
const SLOW: Duration = Duration::from_secs(2);

/// One reader, with what it read last.
pub(crate) struct Reading {
    place: Arc<Place>,
    block: tokio::sync::Mutex<Block>,
}

#[derive(Default)]
struct Block {
    archive: Option<Arc<Entry>>,
    begins: u64,
    bytes: Bytes,
    /// How much to ask for next, if it goes on.
    next: u64,
}

impl Block {
    fn ends(&self) -> u64 {
        self.begins + self.bytes.len() as u64
    }

    /// At most so many bytes from an offset on.
    fn from(&self, archive: &Arc<Entry>, offset: u64, most: u64) -> Option<Bytes> {
        let is_inside = self.archive.as_ref() == Some(archive) && (self.begins..self.ends()).contains(&offset);
        let skip = is_inside.then(|| (offset - self.begins) as usize)?;
        Some(self.bytes.slice(skip..self.bytes.len().min(skip + most as usize)))
    }
}

impl Reading {
    pub(crate) fn new(place: &Arc<Place>) -> Self {
        Self { place: Arc::clone(place), block: tokio::sync::Mutex::default() }
    }

    /// The bytes of an archive from an offset on, less of them only at its end.
    pub(crate) async fn read(&self, archive: &Arc<Entry>, offset: u64, length: u64) -> SmbResult<Bytes> {
        let end = offset.saturating_add(length).min(archive.size);
        if offset >= end {
            return Ok(Bytes::new());
        }
        let mut block = self.block.lock().await;
        let goes_on = block.archive.as_ref() == Some(archive) && (block.begins..=block.ends()).contains(&offset);
        if let Some(bytes) =
            block.from(archive, offset, end - offset).filter(|bytes| bytes.len() as u64 == end - offset)
        {
            return Ok(bytes);
        }
        let (mut whole, mut at) = (BytesMut::new(), offset);
        loop {
            if let Some(bytes) = block.from(archive, at, end - at) {
                at += bytes.len() as u64;
                if at == end && whole.is_empty() {
                    return Ok(bytes);
                }
                whole.extend_from_slice(&bytes);
            }
            if at == end {
                return Ok(whole.freeze());
            }
            self.fetch(&mut block, archive, at, end, goes_on).await?;
        }
    }

    async fn fetch(&self, block: &mut Block, archive: &Arc<Entry>, at: u64, end: u64, goes_on: bool) -> SmbResult<()> {
        let ahead = if goes_on { block.next } else { LEAST };
        let range = at..(at + ahead).max(end).min(archive.size);
        let begun = Instant::now();
        let bytes = self.place.read(archive, range, !goes_on).await?;
        if bytes.is_empty() {
            return Err(crate::place::away(format!("{} ends too early", archive.name)));
        }
        let next = if begun.elapsed() < SLOW { (ahead * 2).min(MOST) } else { LEAST };
        self.place.recent().push(archive, at, &bytes);
        *block = Block { archive: Some(Arc::clone(archive)), begins: at, bytes, next };
        Ok(())
    }
}
