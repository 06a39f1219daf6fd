//! Bytes from the middle of a member, by its table: inflation begins at the restart point before
//! them. The member's checksum covers all of it, so here only the structure is checked.

use std::{
    io::{self, Read},
    ops::Range,
};

use crate::{
    InflateError, Meters, PIECE, PieceTable,
    pieces::{PieceInflater, ReadAt},
};

/// Reads the uncompressed bytes `range` (cut off at the member's end) of the member `body`.
///
/// Inflates on the calling thread, at most `restart_every` pieces more than asked for, and holds
/// about 2 MiB. Damage and a table that cannot belong to `body` show as errors of the first or a
/// later read ([`InflateError::from`] turns them back); that the bytes are the right ones is
/// beyond what a part of a member can tell.
pub fn read_range<'a, S: ReadAt + ?Sized>(body: &'a S, table: &'a PieceTable, range: Range<u64>) -> RangeReader<'a, S> {
    let end = range.end.min(table.bytes_in);
    RangeReader { body, table, position: range.start.min(end), end, inflater: PieceInflater::new(), window: Window::Unopened, bytes: Vec::new() }
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
    /// The uncompressed bytes of the piece the window stands at.
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
                let restart = wanted - wanted % self.table.restart_every as usize;
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
            self.bytes.resize(self.table.piece_len(next), 0);
            self.inflater.inflate(self.body, self.table, next, offset, &mut self.bytes, &unmetered)?;
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
