//! Bytes from the middle of a member, by its table: inflation begins at the restart point before
//! them, and ends where they end. The member's checksum covers all of it, so here only the structure is checked.

use std::{
    io::{self, Read},
    ops::Range,
};

use crate::{
    InflateError, Meters, PIECE, PieceTable, ReadAt,
    pieces::{PieceInflater, likely_end},
};

/// Reads the uncompressed bytes `range` (cut off at the member's end) of the member `body`.
///
/// Inflates on the calling thread, at most `restart_every` pieces more than requested, and holds about 2 MiB. Damage,
/// or a table that cannot belong to `body`, is an error of the first or a later read ([`InflateError::from`] turns them
/// back). A part of a member can't show whether the bytes are the right ones.
pub fn read_range<'a, S: ReadAt + ?Sized>(body: &'a S, table: &'a PieceTable, range: Range<u64>) -> RangeReader<'a, S> {
    let end = range.end.min(table.bytes_in);
    RangeReader {
        body,
        table,
        position: range.start.min(end),
        end,
        inflater: PieceInflater::new(),
        window: Window::Unopened,
        bytes: Vec::new(),
    }
}

/// Announces to `body` which of its bytes [`read_range`] will read, as far as the table shows: the last piece's are a
/// guess if only its beginning is wanted. Announces nothing if the table can't belong to `body`.
pub fn announce_range<S: ReadAt + ?Sized>(body: &S, table: &PieceTable, range: Range<u64>) {
    let end = range.end.min(table.bytes_in);
    if range.start >= end || table.check(body.len()).is_err() {
        return;
    }
    let first = table.restart_before((range.start / PIECE as u64) as usize);
    let last = ((end - 1) / PIECE as u64) as usize;
    let wanted = (end - last as u64 * PIECE as u64) as usize;
    body.announce(
        table.offset(first)..table.offset(last) + likely_end(table.lengths[last], wanted, table.piece_len(last)),
    );
}

/// Made by [`read_range`].
pub struct RangeReader<'a, S: ?Sized> {
    body: &'a S,
    table: &'a PieceTable,
    /// The next uncompressed byte to hand out.
    position: u64,
    end: u64,
    inflater: PieceInflater,
    window: Window,
    /// The uncompressed bytes of the current piece of the window.
    bytes: Vec<u8>,
}

enum Window {
    /// Nothing is checked or inflated yet.
    Unopened,
    /// `bytes` holds piece `next - 1`, or nothing yet; piece `next` begins at `offset`.
    Before {
        next: usize,
        offset: u64,
        held: bool,
    },
    Failed(InflateError),
}

impl<S: ReadAt + ?Sized> RangeReader<'_, S> {
    /// Uncompressed bytes still to come.
    pub fn remaining(&self) -> u64 {
        self.end - self.position
    }

    /// Inflates until `bytes` holds the piece around `position`.
    fn reach(&mut self) -> Result<(), InflateError> {
        let wanted = (self.position / PIECE as u64) as usize;
        let (mut next, mut offset, held) = match &self.window {
            Window::Failed(error) => return Err(error.again()),
            Window::Before { next, offset, held } => (*next, *offset, *held),
            Window::Unopened => {
                self.table.check(self.body.len())?;
                let restart = self.table.restart_before(wanted);
                (restart, self.table.offset(restart), false)
            }
        };
        if held && next == wanted + 1 {
            return Ok(());
        }
        let unmetered = Meters::new();
        while next <= wanted {
            if next.is_multiple_of(self.table.restart_every as usize) {
                self.inflater.restart();
            }
            let full = self.table.piece_len(next);
            // Of the last piece no more than is wanted: nothing is read after that.
            let length = (self.end - next as u64 * PIECE as u64).min(full as u64) as usize;
            self.bytes.resize(length, 0);
            if length < full {
                self.inflater.inflate_beginning(self.body, self.table, next, offset, &mut self.bytes)?;
            } else {
                self.inflater.inflate(self.body, self.table, next, offset, &mut self.bytes, &unmetered)?;
            }
            offset += u64::from(self.table.lengths[next]);
            next += 1;
        }
        self.window = Window::Before { next, offset, held: true };
        Ok(())
    }
}

impl<S: ReadAt + ?Sized> Read for RangeReader<'_, S> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if buf.is_empty() || self.position >= self.end {
            return Ok(0);
        }
        if let Err(error) = self.reach() {
            self.window = Window::Failed(error.again());
            return Err(error.into());
        }
        let start = (self.position % PIECE as u64) as usize;
        let available = (self.bytes.len() - start).min(self.remaining() as usize);
        let length = buf.len().min(available);
        buf[..length].copy_from_slice(&self.bytes[start..start + length]);
        self.position += length as u64;
        Ok(length)
    }
}
