//! An inner archive as a stream: stopping early, and every statement about where it is broken.

use std::{
    io::Read,
    sync::atomic::{AtomicBool, Ordering},
};

use habackup::tar::Entry;
use store::Cancellation;

use super::{BrowseError, Browser, damaged, torn};
use crate::read::{
    Member,
    scan::{BodyReader, Flow, Stopped, Tar, Torn, scan},
};

/// The content of the current entry of a scan.
pub(super) type Content<'w, 'r> = BodyReader<'w, Tar<&'r mut dyn Read>>;

impl From<Stopped<Torn>> for BrowseError {
    fn from(stopped: Stopped<Torn>) -> Self {
        match stopped {
            Stopped::Cancelled => Self::Cancelled,
            Stopped::Broken(Torn { last, error }) => torn(&last.unwrap_or_default(), &error),
        }
    }
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
            let result = scan(&mut Tar::whole(reader), cancel, visit);
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
