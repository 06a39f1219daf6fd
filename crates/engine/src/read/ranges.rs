//! Stretches of an inner tar by the index: which of them are read together, while the next are fetched in advance.

use std::{
    io::{self, Read},
    ops::Range,
};

use habackup::{read_at::ReadAt, tar::TarError};
use pargz::PieceTable;

use super::body::{Body, Stream};

/// So many stretches are under way at a time.
const ANNOUNCED: usize = 3;
/// Gaps up to this are read through: inflating starts at restart points this far apart anyway.
const JOINED: u64 = 4 << 20;

/// The inner tar, entered anywhere.
pub(crate) struct Ranges<'f, 'a> {
    body: Body<'f, 'a>,
    table: Option<&'f PieceTable>,
}

impl<'f, 'a> Ranges<'f, 'a> {
    pub(super) fn new(body: Body<'f, 'a>, table: Option<&'f PieceTable>) -> Self {
        Self { body, table }
    }

    fn announce(&self, range: Range<u64>) {
        match self.table {
            Some(table) => pargz::announce_range(&self.body, table, range),
            None => ReadAt::announce(&self.body, range),
        }
    }

    fn read(&self, range: Range<u64>) -> Box<dyn Read + '_> {
        match self.table {
            Some(table) => Box::new(pargz::read_range(&self.body, table, range)),
            None => Box::new(Stream::new(&self.body).range(range)),
        }
    }

    /// Hands the stretches to `visit`, one after the other; each must be read to its end. `lost` makes an error of one
    /// that was not.
    pub(crate) fn each<E>(
        &self,
        ranges: &[Range<u64>],
        lost: impl Fn(TarError) -> E,
        mut visit: impl FnMut(&mut dyn Read, &Range<u64>) -> Result<(), E>,
    ) -> Result<(), E> {
        for (number, range) in ranges.iter().enumerate() {
            // The next stretches are being fetched while this one is read.
            ranges[number..].iter().take(ANNOUNCED).for_each(|range| self.announce(range.clone()));
            let mut reader = self.read(range.clone()).take(range.end - range.start);
            visit(&mut reader, range)?;
            if reader.limit() > 0 {
                return Err(lost(TarError::Io(io::ErrorKind::UnexpectedEof.into())));
            }
        }
        Ok(())
    }
}

/// Stretches in the order of the archive, neighbours joined.
pub(crate) fn join(ranges: impl IntoIterator<Item = Range<u64>>) -> Vec<Range<u64>> {
    let mut joined: Vec<Range<u64>> = Vec::new();
    for range in ranges {
        match joined.last_mut() {
            Some(last) if range.start.saturating_sub(last.end) <= JOINED && range.start >= last.end => {
                last.end = range.end;
            }
            _ => joined.push(range),
        }
    }
    joined
}
