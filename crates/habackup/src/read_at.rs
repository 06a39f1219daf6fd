//! Reading at a position: a stretch of something larger. What the bytes mean belongs to the callers.

use std::{io, ops::Range};

pub use pargz::ReadAt;

/// A stretch of something larger, for example one member of an archive. Offsets count from its start.
#[derive(Clone, Debug)]
pub struct Window<S> {
    source: S,
    start: u64,
    len: u64,
}

impl<S: ReadAt> Window<S> {
    /// The `len` bytes of `source` from `start` on, or `None` where they are not all there.
    pub fn new(source: S, start: u64, len: u64) -> Option<Self> {
        (start.checked_add(len)? <= source.len()).then_some(Self { source, start, len })
    }
}

impl<S: ReadAt> ReadAt for Window<S> {
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let fits = offset.checked_add(buf.len() as u64).is_some_and(|end| end <= self.len);
        if !fits {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.source.read_exact_at(buf, self.start + offset)
    }

    fn len(&self) -> u64 {
        self.len
    }

    fn announce(&self, range: Range<u64>) {
        let end = range.end.min(self.len);
        if range.start < end {
            self.source.announce(self.start + range.start..self.start + end);
        }
    }
}

/// `count`, or `most` where that is less.
pub(crate) fn at_most(count: u64, most: usize) -> usize {
    usize::try_from(count).map_or(most, |count| count.min(most))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_window_never_shows_what_lies_around_it() {
        let bytes = vec![0u8, 1, 2, 3, 4];
        assert!(Window::new(&bytes, 3, 3).is_none());
        assert!(Window::new(&bytes, u64::MAX, 2).is_none());
        let window = Window::new(&bytes, 1, 3).unwrap();
        let mut three = [0; 3];
        window.read_exact_at(&mut three, 0).unwrap();
        assert_eq!(three, [1, 2, 3]);
        assert!(window.read_exact_at(&mut three, 1).is_err());
    }
}
