//! An outgoing tar, whoever makes its members: header bytes, a body, its padding, the next header, and finally the end
//! marker.

use std::{ops::Range, sync::Arc};

use habackup::tar::{self, Header};

use crate::progress::Progress;

/// What makes the members, one after the other.
pub(super) trait Members {
    fn outgoing(&mut self) -> &mut Outgoing;

    /// Whether the body of a member is under way.
    fn has_body(&self) -> bool;

    /// Begins the next member, or none if there is a reason to skip it; [`Outgoing::end`] says that there are no more.
    fn advance(&mut self);

    /// Fills some of `buffer` from the body under way; 0 when it is through. Never fails.
    fn fill(&mut self, buffer: &mut [u8]) -> usize;

    /// The body is through: [`Outgoing::pad`] follows it.
    fn end_body(&mut self);
}

/// The bytes around the bodies, and how far they have come.
pub(super) struct Outgoing {
    // Header bytes, padding and the end marker.
    pending: Vec<u8>,
    taken: usize,
    position: u64,
    is_closed: bool,
    pub(super) ended: bool,
    pub(super) progress: Arc<Progress>,
}

impl Outgoing {
    pub(super) fn new(progress: Arc<Progress>) -> Self {
        let pending = Vec::with_capacity(4096);
        Self { pending, taken: 0, position: 0, is_closed: false, ended: false, progress }
    }

    /// Bytes given out so far.
    pub(super) fn position(&self) -> u64 {
        self.position
    }

    /// The member's header is next. Says where it begins and where the body will.
    pub(super) fn begin(&mut self, header: &Header<'_>) -> Range<u64> {
        tar::encode(header, &mut self.pending);
        self.position..self.position + self.pending.len() as u64
    }

    /// What fills up a body of that size.
    pub(super) fn pad(&mut self, size: u64) {
        self.pending.resize(tar::padding(size), 0);
    }

    /// There is no further member: the end marker, and then nothing. Python's tarfile and GNU tar both end on a whole
    /// record of 20 blocks.
    pub(super) fn end(&mut self) {
        self.ended = self.is_closed;
        if !self.is_closed {
            self.is_closed = true;
            self.pending.extend_from_slice(&tar::END);
            let end = self.position + self.pending.len() as u64;
            self.pending.resize(self.pending.len() + (end.next_multiple_of(10_240) - end) as usize, 0);
        }
    }

    /// Passes over what is pending.
    pub(super) fn skip_pending(&mut self) {
        self.position += (self.pending.len() - self.taken) as u64;
        self.clear();
    }

    /// Passes over a body.
    pub(super) fn skip(&mut self, count: u64) {
        self.position += count;
        self.progress.add_done(count);
    }

    fn take(&mut self, buffer: &mut [u8]) -> usize {
        let left = &self.pending[self.taken..];
        let count = buffer.len().min(left.len());
        buffer[..count].copy_from_slice(&left[..count]);
        self.taken += count;
        if self.taken == self.pending.len() {
            self.clear();
        }
        count
    }

    fn clear(&mut self) {
        self.pending.clear();
        self.taken = 0;
    }
}

/// The next bytes of the tar that `members` make; none at its end.
pub(super) fn read(members: &mut impl Members, buffer: &mut [u8]) -> usize {
    while !buffer.is_empty() && !members.outgoing().ended {
        let count = step(members, buffer);
        if count > 0 {
            members.outgoing().skip(count as u64);
            return count;
        }
    }
    0
}

/// 0 when a turn brought no bytes.
fn step(members: &mut impl Members, buffer: &mut [u8]) -> usize {
    let taken = members.outgoing().take(buffer);
    if taken > 0 {
        return taken;
    }
    if !members.has_body() {
        members.advance();
        return 0;
    }
    let count = members.fill(buffer);
    if count == 0 {
        members.end_body();
    }
    count
}
