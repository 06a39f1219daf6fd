//! An inner tar from its first header to as far as it is wanted. Owns stopping early, and every statement about where
//! it is broken; what is done with an entry is the caller's.

use std::{
    io::Read,
    ops::ControlFlow,
    sync::atomic::{AtomicBool, Ordering},
};

use habackup::tar::{Entry, Reader};
use store::Cancellation;

use super::{BrowseError, Browser, damaged, heed, torn};
use crate::{read::Member, restore::unwrap_tar};

/// Bytes read at once.
const BUFFER: usize = 256 << 10;

/// Whether the next entry is wanted.
pub(super) type Flow = ControlFlow<()>;

/// The content of the entry that a walk stands at.
pub(super) struct Content<'w, 'r> {
    reader: &'w mut Reader<&'r mut dyn Read>,
    buffer: &'w mut [u8],
    path: &'w [u8],
    cancel: &'w Cancellation,
}

impl Content<'_, '_> {
    /// The next bytes; none at the end.
    pub(super) fn next(&mut self) -> Result<&[u8], BrowseError> {
        heed(self.cancel)?;
        let count = self.reader.read(self.buffer).map_err(|error| torn(self.path, &unwrap_tar(error)))?;
        Ok(&self.buffer[..count])
    }
}

/// Hands every entry of a tar stream to `visit`, until that says it is enough. What it leaves of an entry's content is
/// passed over. `whole`: the stream must end as an archive does; otherwise it is a stretch of one.
pub(super) fn walk(
    source: &mut dyn Read,
    whole: bool,
    cancel: &Cancellation,
    mut visit: impl FnMut(&Entry, &mut Content<'_, '_>) -> Result<Flow, BrowseError>,
) -> Result<Flow, BrowseError> {
    let mut reader = Reader::new(source);
    let mut buffer = vec![0; BUFFER];
    let mut last = Vec::new();
    while let Some(entry) = reader.next_entry().map_err(|error| torn(&last, &error))? {
        heed(cancel)?;
        last.clone_from(&entry.path);
        let mut content = Content { reader: &mut reader, buffer: &mut buffer, path: &last, cancel };
        if visit(&entry, &mut content)?.is_break() {
            return Ok(Flow::Break(()));
        }
        while !content.next()?.is_empty() {}
    }
    if whole {
        // To the very end: the checksum of the compressed data stands behind it.
        reader.finish().map_err(|error| torn(&last, &error))?;
    }
    Ok(Flow::Continue(()))
}

impl Browser<'_> {
    /// Walks an inner archive from its beginning, and to its last checksum unless `visit` says before that it is
    /// enough.
    pub(super) fn stream(
        &self,
        member: &Member,
        cancel: &Cancellation,
        visit: impl FnMut(&Entry, &mut Content<'_, '_>) -> Result<Flow, BrowseError>,
    ) -> Result<Flow, BrowseError> {
        let stop = AtomicBool::new(false);
        let read = self.opened.read_streaming(member, self.threads, &stop, |reader| {
            let result = walk(reader, true, cancel, visit);
            stop.store(!matches!(result, Ok(Flow::Continue(()))), Ordering::Relaxed);
            result
        });
        let (walked, rest) = read.map_err(|broken| damaged(member, broken))?;
        let flow = walked?;
        if flow.is_continue() {
            rest.map_err(|broken| damaged(member, broken))?;
        }
        Ok(flow)
    }
}
