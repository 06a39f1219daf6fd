//! Combines the base file and the replaced pages into the bytes of the image; [`Watch`] checks them as they pass.
//!
//! Most pages of a database are in its main file as they should be, so they are read from there in large pieces. A
//! [`Layer`] knows which pages have a newer (WAL) or older (rollback journal) version elsewhere, and where.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use crate::bounds::{at_most, page_number};
use crate::own_fd::OwnFd;
use crate::page_cache::Footprint;
use crate::watch::Watch;

/// Pages that lie over the main file, and the lock that keeps both still.
pub(crate) trait Layer: Send {
    /// The first page in `from..end` that must not be taken from the main file.
    fn next_replaced(&self, from: u64, end: u64) -> Option<u64>;
    /// Fills `out` (one page) with the replacement for `page`.
    fn read_page(&mut self, page: u32, out: &mut [u8]) -> io::Result<()>;
    /// Fails if the base can no longer be trusted: the lock was lost, or somebody changed the files.
    fn still_valid(&self) -> io::Result<()>;
    /// The image is complete (`true`) or abandoned; a last call before everything is closed.
    fn finish(&mut self) {}
}

/// The main file: SQLite's own descriptor, or one of ours where no SQLite connection is open.
#[derive(Debug)]
pub(crate) enum Base {
    /// Every page comes from the layer.
    None,
    /// SQLite's descriptor.
    Lent(OwnFd),
    /// Our descriptor, with our locks on it.
    Owned(File),
}

impl Base {
    fn fd(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Self::None => None,
            Self::Lent(fd) => Some(fd.lend()),
            Self::Owned(file) => Some(file.as_fd()),
        }
    }
}

/// A whole consistent database, readable page by page.
pub(crate) struct Image {
    layer: Box<dyn Layer>,
    base: Base,
    base_len: u64,
    page_size: u32,
    pages: u64,
    footprint: Footprint,
}

impl Image {
    pub(crate) fn new(layer: Box<dyn Layer>, base: Base, page_size: u32, pages: u64) -> io::Result<Self> {
        let base_len = match base.fd() {
            Some(fd) => rustix::fs::fstat(fd)?.st_size as u64,
            None => 0,
        };
        let footprint = Footprint::default();
        Ok(Self { layer, base, base_len, page_size, pages, footprint })
    }

    pub(crate) fn page_size(&self) -> u32 {
        self.page_size
    }

    pub(crate) fn pages(&self) -> u64 {
        self.pages
    }

    /// Does the main file end inside page 1, and nothing replaces that? SQLite would take zeros for the rest.
    pub(crate) fn is_cut_off(&self) -> bool {
        self.base.fd().is_some()
            && self.base_len < u64::from(self.page_size)
            && self.layer.next_replaced(1, 2).is_none()
    }

    /// One page, out of order; for the few that must be read before the stream begins.
    pub(crate) fn read_page(&mut self, page: u32, out: &mut [u8]) -> io::Result<()> {
        let at = u64::from(page);
        if self.layer.next_replaced(at, at + 1).is_some() {
            return self.layer.read_page(page, out);
        }
        self.read_base(at, out)
    }

    /// Fills `out`, a whole number of pages, with the image from page `first` on. Called in page order.
    pub(crate) fn fill(&mut self, first: u64, out: &mut [u8], watch: &mut Watch) -> io::Result<()> {
        let size = self.page_size as usize;
        let end = first + (out.len() / size) as u64;
        let read_to = (end - 1) * size as u64;
        if let Some(fd) = self.base.fd() {
            self.footprint.before(fd, read_to, self.base_len);
        }
        if watch.are_zeros(first, end) {
            out.fill(0);
        } else {
            self.compose(first, end, out)?;
            for (page, bytes) in (first..end).zip(out.chunks_exact_mut(size)) {
                watch.pass(page, bytes);
            }
        }
        if let Some(fd) = self.base.fd() {
            self.footprint.after(fd, read_to);
        }
        Ok(())
    }

    /// The next page will be the first again.
    pub(crate) fn rewind(&mut self) {
        if let Some(fd) = self.base.fd() {
            self.footprint.after(fd, u64::MAX);
        }
        self.footprint = Footprint::default();
    }

    /// To be called after the last page: was the image whole and consistent to its end?
    pub(crate) fn still_valid(&self) -> io::Result<()> {
        self.layer.still_valid()
    }

    /// Runs of pages from the main file in one call each, the replaced ones between them one by one.
    fn compose(&mut self, first: u64, end: u64, out: &mut [u8]) -> io::Result<()> {
        let size = self.page_size as usize;
        let out_pages = out.len() / size;
        debug_assert!(end - first <= out_pages as u64);
        let at = |page: u64| at_most(page - first, out_pages) * size;
        let mut next = first;
        while next < end {
            let replaced = self.layer.next_replaced(next, end);
            let run_end = replaced.unwrap_or(end);
            if run_end > next {
                self.read_base(next, &mut out[at(next)..at(run_end)])?;
            }
            if let Some(page) = replaced {
                self.layer.read_page(page_number(page), &mut out[at(page)..at(page) + size])?;
            }
            next = run_end + 1;
        }
        Ok(())
    }

    /// Reads from the main file; what lay beyond its end when the image began is zeros, as it is for SQLite.
    fn read_base(&self, first: u64, out: &mut [u8]) -> io::Result<()> {
        let Some(fd) = self.base.fd() else { return Ok(()) };
        let start = (first - 1) * u64::from(self.page_size);
        let mut done = 0;
        while done < out.len() {
            match rustix::io::pread(fd, &mut out[done..], start + done as u64) {
                Ok(0) => break,
                Ok(read) => done += read,
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        // Nobody who respects SQLite's locks truncates it now.
        if done < out.len() && start + (done as u64) < self.base_len {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "the database file was cut short while it was read",
            ));
        }
        out[done..].fill(0);
        Ok(())
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        if let Some(fd) = self.base.fd() {
            self.footprint.after(fd, u64::MAX);
        }
        self.layer.finish();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use std::io::Write;

    use super::*;
    use crate::free_pages::FreeList;
    use crate::header::Header;

    /// Pages from 5 to 6 lie over the file.
    struct Told {
        page: Result<u8, io::ErrorKind>,
        is_valid: bool,
    }

    impl Layer for Told {
        fn next_replaced(&self, from: u64, end: u64) -> Option<u64> {
            (from.max(5)..end.min(7)).next()
        }

        fn read_page(&mut self, _: u32, out: &mut [u8]) -> io::Result<()> {
            out.fill(self.page?);
            Ok(())
        }

        fn still_valid(&self) -> io::Result<()> {
            if self.is_valid { Ok(()) } else { Err(io::Error::other("the lock is gone")) }
        }
    }

    /// An image of nine pages, read to its end after something `happens` to its file.
    fn read(layer: Told, happens: impl FnOnce(&File) -> Option<File>) -> io::Result<Vec<u8>> {
        let mut file = tempfile::tempfile().unwrap();
        let mut first = vec![0; 512];
        first[..20].copy_from_slice(b"SQLite format 3\0\x02\0\x01\x01");
        first[20..24].copy_from_slice(&[0, 64, 32, 32]);
        first[44..48].copy_from_slice(&4_u32.to_be_bytes());
        first[56..60].copy_from_slice(&1_u32.to_be_bytes());
        file.write_all(&first).unwrap();
        file.write_all(&[1; 512 * 8]).unwrap();
        let mut image = Image::new(Box::new(layer), Base::Owned(file.try_clone().unwrap()), 512, 9).unwrap();
        if let Some(other) = happens(&file) {
            image.base = Base::Owned(other);
        }
        let mut bytes = vec![7; 512 * 9];
        let mut watch = Watch::new(&first, Header::parse(&first).unwrap(), 9, FreeList::TooLong, false);
        image.fill(1, &mut bytes, &mut watch)?;
        image.still_valid()?;
        Ok(bytes)
    }

    #[test]
    fn each_call_times_what_may_come_of_it() {
        let sound = || Told { page: Ok(2), is_valid: true };
        let bytes = read(sound(), |_| None).unwrap();
        assert!(
            bytes[512 * 4..512 * 6].iter().all(|byte| *byte == 2) && bytes[512 * 6..].iter().all(|byte| *byte == 1)
        );
        assert_eq!(
            read(Told { page: Err(io::ErrorKind::Other), ..sound() }, |_| None).unwrap_err().kind(),
            io::ErrorKind::Other,
            "a page of the log"
        );
        assert!(read(Told { is_valid: false, ..sound() }, |_| None).is_err(), "the lock");
        let cut = |file: &File| {
            file.set_len(512 * 7 + 100).unwrap();
            None
        };
        assert_eq!(read(sound(), cut).unwrap_err().kind(), io::ErrorKind::UnexpectedEof, "the file is shorter");
        let grown = |file: &File| {
            file.set_len(512 * 20).unwrap();
            None
        };
        assert_eq!(read(sound(), grown).unwrap(), bytes, "what is appended belongs to nobody");
        // A descriptor that refuses every read.
        let refuses = |_: &File| Some(File::open("/").unwrap());
        assert!(read(sound(), refuses).is_err(), "the disk");
    }
}
