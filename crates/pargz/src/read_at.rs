//! Reading at a position, from several threads at once: the trait, and what implements it by itself.

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

/// The file's length is queried each time; if that fails, there is nothing to read, which no piece table agrees with.
#[cfg(unix)]
impl ReadAt for std::fs::File {
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        std::os::unix::fs::FileExt::read_exact_at(self, buf, offset)
    }

    fn len(&self) -> u64 {
        self.metadata().map_or(0, |metadata| metadata.len())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

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
    #[cfg(unix)]
    fn a_file_reads_like_its_bytes() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
        let (bytes, file) = (std::fs::read(path).unwrap(), std::fs::File::open(path).unwrap());
        let mut buffer = [0; 5];
        ReadAt::read_exact_at(&file, &mut buffer, 4).unwrap();
        assert_eq!((&buffer[..], ReadAt::len(&file)), (&bytes[4..9], bytes.len() as u64));
        assert!(ReadAt::read_exact_at(&file, &mut buffer, bytes.len() as u64 - 4).is_err());
    }
}
