//! Reading at a position, from several threads at once. Owns the trait and its plain implementations; what the
//! bytes mean belongs to the callers.

use std::{io, ops::Range};

/// Bytes of a known, fixed length that can be read anywhere, by several threads at the same time.
pub trait ReadAt: Sync {
    /// Fills `buf` from `offset` (in bytes) on. Fails with `UnexpectedEof` when the bytes end before that.
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()>;

    /// Length in bytes.
    fn len(&self) -> u64;

    /// Says that this stretch will be read next, in order, and what follows it will not: something far away fetches it
    /// at once and no more than it.
    fn announce(&self, _range: Range<u64>) {}

    /// Whether there is nothing to read.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl ReadAt for [u8] {
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let wanted = usize::try_from(offset)
            .ok()
            .and_then(|start| Some(start..start.checked_add(buf.len())?))
            .and_then(|range| self.get(range))
            .ok_or(io::ErrorKind::UnexpectedEof)?;
        buf.copy_from_slice(wanted);
        Ok(())
    }

    fn len(&self) -> u64 {
        <[u8]>::len(self) as u64
    }
}

impl ReadAt for Vec<u8> {
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.as_slice().read_exact_at(buf, offset)
    }

    fn len(&self) -> u64 {
        Vec::len(self) as u64
    }
}

impl<S: ReadAt + ?Sized> ReadAt for &S {
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        (**self).read_exact_at(buf, offset)
    }

    fn len(&self) -> u64 {
        (**self).len()
    }

    fn announce(&self, range: Range<u64>) {
        (**self).announce(range);
    }
}

/// The file's length is asked anew each time; a length that cannot be had counts as nothing to read.
impl ReadAt for std::fs::File {
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        std::os::unix::fs::FileExt::read_exact_at(self, buf, offset)
    }

    fn len(&self) -> u64 {
        self.metadata().map_or(0, |metadata| metadata.len())
    }
}

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
    fn a_read_past_the_end_is_an_error_and_not_a_panic() {
        let bytes = vec![1u8, 2, 3];
        let mut two = [0; 2];
        assert!(bytes.read_exact_at(&mut two, 2).is_err());
        assert!(bytes.read_exact_at(&mut two, u64::MAX).is_err());
        bytes.read_exact_at(&mut two, 1).unwrap();
        assert_eq!(two, [2, 3]);
    }

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

    #[test]
    fn a_file_reads_like_its_bytes() {
        let mut file = tempfile::tempfile().unwrap();
        std::io::Write::write_all(&mut file, b"abcdef").unwrap();
        let mut two = [0; 2];
        ReadAt::read_exact_at(&file, &mut two, 4).unwrap();
        assert_eq!((&two, ReadAt::len(&file)), (b"ef", 6));
    }
}
