//! What a program on the other side of a network folder writes to one file, as steps for whoever streams it on.
//!
//! Bytes come in order, but a client may have several requests on their way, sends what was not answered again after a
//! broken connection, and goes back to the headers that the [`Outline`] knows. Anything else that goes back is refused,
//! because those bytes have left.

use std::{
    collections::{BTreeMap, VecDeque},
    ops::Range,
};

use bytes::Bytes;
use engine::remake::Piece;

use crate::outline::{Found, NotABackup, Outline, Seen};

/// What a write costs in memory beside its bytes.
const EACH: usize = 128;
/// Bytes that may wait for earlier ones.
const EARLY: usize = 16 << 20;
/// Bytes that are remembered to recognize those that come again.
const RECENT: usize = 16 << 20;

/// What to do next.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// The next bytes.
    Append(Bytes),
    /// These bytes may change.
    Late(Range<u64>),
    /// These bytes replace those at this offset.
    Patch(u64, Bytes),
    /// What the bytes are, for those who don't take them as they are.
    Part(Piece),
}

/// Why a write is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Not what a share accepts.
    #[error(transparent)]
    NotABackup(#[from] NotABackup),
    /// Bytes that have left are to change.
    #[error("byte {0} was written a second time, and differs")]
    Changed(u64),
    /// The same, of what nobody remembers.
    #[error("byte {0} was written a second time, too late")]
    TooLate(u64),
    /// Far more bytes came than those before them.
    #[error("the bytes from {0} on are missing")]
    Gap(u64),
    /// It ended too early.
    #[error("it ends at byte {0} and is not complete")]
    Incomplete(u64),
}

/// One file that grows.
#[derive(Debug, Default)]
pub struct Intake {
    outline: Outline,
    recent: VecDeque<(u64, Bytes)>,
    remembered: usize,
    early: BTreeMap<u64, Bytes>,
    waiting: usize,
}

impl Intake {
    /// Bytes that have come, without a gap.
    pub fn length(&self) -> u64 {
        self.outline.position()
    }

    /// Whether everything has come that a backup consists of.
    pub fn is_complete(&self) -> bool {
        self.early.is_empty() && self.outline.is_complete()
    }

    /// Takes a write, and says what follows from it.
    pub fn write(&mut self, offset: u64, mut bytes: Bytes, steps: &mut Vec<Step>) -> Result<(), Refused> {
        let length = self.length();
        if offset > length {
            return self.park(offset, bytes);
        }
        let known = bytes.split_to(((length - offset).min(bytes.len() as u64)) as usize);
        self.again(offset, &known, steps)?;
        self.append(bytes, steps)?;
        while let Some(entry) = self.early.first_entry().filter(|entry| *entry.key() <= self.outline.position()) {
            let (offset, mut bytes) = entry.remove_entry();
            self.waiting -= bytes.len() + EACH;
            let known = bytes.split_to(((self.length() - offset).min(bytes.len() as u64)) as usize);
            self.again(offset, &known, steps)?;
            self.append(bytes, steps)?;
        }
        Ok(())
    }

    /// Everything was written.
    pub fn finish(&mut self, steps: &mut Vec<Step>) -> Result<(), Refused> {
        if let Some(offset) = self.early.keys().next() {
            return Err(Refused::Gap(self.length().min(*offset)));
        }
        if !self.is_complete() {
            return Err(Refused::Incomplete(self.length()));
        }
        let mut found = Found::default();
        self.outline.close(&mut found);
        pass_on(found, &Bytes::new(), steps);
        Ok(())
    }

    fn park(&mut self, offset: u64, bytes: Bytes) -> Result<(), Refused> {
        if bytes.is_empty() {
            return Ok(());
        }
        if self.waiting + bytes.len() + EACH > EARLY {
            return Err(Refused::Gap(self.length()));
        }
        let longer = self.early.get(&offset).is_none_or(|other| other.len() < bytes.len());
        if longer {
            self.waiting += bytes.len() + EACH;
            if let Some(other) = self.early.insert(offset, bytes) {
                self.waiting -= other.len() + EACH;
            }
        }
        Ok(())
    }

    fn append(&mut self, bytes: Bytes, steps: &mut Vec<Step>) -> Result<(), Refused> {
        if bytes.is_empty() {
            return Ok(());
        }
        let (offset, mut found) = (self.length(), Found::default());
        self.outline.append(&bytes, &mut found)?;
        self.remembered += bytes.len() + EACH;
        self.recent.push_back((offset, bytes.clone()));
        while self.remembered > RECENT
            && let Some((_, old)) = self.recent.pop_front()
        {
            self.remembered -= old.len() + EACH;
        }
        pass_on(found, &bytes, steps);
        steps.push(Step::Append(bytes));
        Ok(())
    }

    /// Bytes that came before: a header that is complete now, or the same once more.
    fn again(&mut self, offset: u64, bytes: &[u8], steps: &mut Vec<Step>) -> Result<(), Refused> {
        let changeable = self.outline.changeable();
        let end = offset + bytes.len() as u64;
        let (from, to) = (changeable.start.clamp(offset, end), changeable.end.clamp(offset, end));
        let slice = |range: Range<u64>| &bytes[(range.start - offset) as usize..(range.end - offset) as usize];
        self.same(offset, slice(offset..from))?;
        self.same(to, slice(to..end))?;
        if from < to {
            let changed = slice(from..to);
            self.outline.rewrite(from, changed)?;
            steps.push(Step::Patch(from, Bytes::copy_from_slice(changed)));
        }
        Ok(())
    }

    /// Compares with what is remembered.
    fn same(&self, mut offset: u64, mut bytes: &[u8]) -> Result<(), Refused> {
        while let Some(first) = bytes.first() {
            let index = self.recent.partition_point(|(begins, _)| *begins <= offset);
            let Some((begins, known)) = index.checked_sub(1).and_then(|index| self.recent.get(index)) else {
                return Err(Refused::TooLate(offset));
            };
            let known = &known[(offset - begins) as usize..];
            let count = known.len().min(bytes.len());
            if let Some(at) = known.iter().zip(bytes).position(|(one, other)| one != other) {
                return Err(Refused::Changed(offset + at as u64));
            }
            debug_assert!(count > 0 || first == &0, "pieces follow each other without a gap");
            offset += count as u64;
            bytes = &bytes[count..];
        }
        Ok(())
    }
}

/// What follows from bytes, before they are appended. Late bytes are closed by being written once more.
fn pass_on(found: Found, bytes: &Bytes, steps: &mut Vec<Step>) {
    steps.extend(found.closed.into_iter().map(|(offset, bytes)| Step::Patch(offset, bytes.into())));
    steps.extend(found.late.into_iter().map(Step::Late));
    steps.extend(found.seen.into_iter().map(|seen| {
        Step::Part(match seen {
            Seen::Begin(name) => Piece::Begin(name),
            Seen::Content(range) => Piece::Content(bytes.slice(range)),
            Seen::End(size) => Piece::End(size),
        })
    }));
}
