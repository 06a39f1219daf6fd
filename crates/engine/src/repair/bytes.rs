//! The bytes of the archive itself, out of whatever was packed around them.

use std::{
    io::{self, Cursor, Read},
    sync::{Mutex, PoisonError},
};

use habackup::read_at::{ReadAt, Window};
use pargz::Inflater;

use crate::open::{ArchiveFile, Stream};

/// Bytes inflated at once to pass over them.
const STEP: usize = 256 << 10;
/// What a gzip stream begins with that says nothing of itself.
const GZIP_HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];
/// The fixed part of a zip's header of one file.
const ZIP_HEADER: usize = 30;

type Body<'a> = Box<dyn Read + Send + 'a>;

/// An archive, unpacked on the way where it has to be.
pub(super) enum Bytes<'a> {
    Plain(&'a ArchiveFile<'a>),
    Stored(Window<&'a ArchiveFile<'a>>),
    Packed(Packed<'a>),
}

impl<'a> Bytes<'a> {
    /// Out of a gzip stream around the whole archive.
    pub(super) fn gunzipped(file: &'a ArchiveFile<'a>) -> io::Result<Self> {
        Packed::open(Way::Gzip(file)).map(Self::Packed)
    }

    /// The first file in a zip. `None`: it is packed in a way that Haul does not know.
    pub(super) fn unzipped(file: &'a ArchiveFile<'a>) -> io::Result<Option<Self>> {
        let mut header = [0; ZIP_HEADER];
        if ReadAt::len(file) < ZIP_HEADER as u64 {
            return Ok(None);
        }
        file.read_exact_at(&mut header, 0)?;
        let short = |at: usize| u64::from(u16::from_le_bytes([header[at], header[at + 1]]));
        let start = ZIP_HEADER as u64 + short(26) + short(28);
        let left = ReadAt::len(file).saturating_sub(start);
        // Encrypted entries have the first flag; sizes behind the data the fourth.
        Ok(match (short(8), short(6) & 1) {
            (8, 0) => Some(Self::Packed(Packed::open(Way::Deflate(file, start))?)),
            (0, 0) if short(6) & 8 == 0 => {
                let size = u64::from(u32::from_le_bytes([header[18], header[19], header[20], header[21]]));
                Window::new(file, start, size.min(left)).map(Self::Stored)
            }
            _ => None,
        })
    }
}

impl ReadAt for Bytes<'_> {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        match self {
            Self::Plain(file) => file.read_exact_at(buffer, offset),
            Self::Stored(window) => window.read_exact_at(buffer, offset),
            Self::Packed(packed) => packed.read_exact_at(buffer, offset),
        }
    }

    fn len(&self) -> u64 {
        match self {
            Self::Plain(file) => ReadAt::len(*file),
            Self::Stored(window) => window.len(),
            Self::Packed(packed) => packed.length,
        }
    }
}

enum Way<'a> {
    Gzip(&'a ArchiveFile<'a>),
    Deflate(&'a ArchiveFile<'a>, u64),
}

impl<'a> Way<'a> {
    fn begin(&self) -> Inflater<Body<'a>> {
        Inflater::new(match self {
            Self::Gzip(file) => Box::new(Stream::new(*file)),
            Self::Deflate(file, start) => Box::new(Cursor::new(GZIP_HEADER).chain(Stream::new(*file).range(*start..u64::MAX))),
        })
    }
}

/// A packed archive. It is inflated from the start again whenever something before the last place is wanted, which those who read it in order seldom do.
pub(super) struct Packed<'a> {
    way: Way<'a>,
    length: u64,
    at: Mutex<(Inflater<Body<'a>>, u64)>,
}

impl<'a> Packed<'a> {
    fn open(way: Way<'a>) -> io::Result<Self> {
        let mut inflater = way.begin();
        let mut buffer = vec![0; STEP];
        let mut length = 0;
        // Damage ends it: what comes before is what there is. So does a zip's way to end, which is not gzip's.
        loop {
            match inflater.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => length += count as u64,
                Err(error) => match pargz::InflateError::from(error) {
                    pargz::InflateError::Io(error) => return Err(error),
                    _ => break,
                },
            }
        }
        let at = Mutex::new((way.begin(), 0));
        Ok(Self { way, length, at })
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let mut at = self.at.lock().unwrap_or_else(PoisonError::into_inner);
        if at.1 > offset {
            *at = (self.way.begin(), 0);
        }
        let mut scratch = Vec::new();
        while at.1 < offset {
            scratch.resize((offset - at.1).min(STEP as u64) as usize, 0);
            at.0.read_exact(&mut scratch)?;
            at.1 += scratch.len() as u64;
        }
        at.0.read_exact(buffer)?;
        at.1 += buffer.len() as u64;
        Ok(())
    }
}
