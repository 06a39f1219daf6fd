//! The bytes of the archive itself, unpacked from whatever was packed around them.

use std::{
    io::{self, Cursor, Read},
    sync::{Mutex, PoisonError},
};

use habackup::read_at::{ReadAt, Window};
use store::Cancellation;

use super::notes::Notes;
use crate::read::{
    ArchiveFile, Stream,
    lenient::{Gunzip, SharedStatus, Until},
    zip,
};

type Source<'a> = Box<dyn Read + Send + 'a>;

/// Bytes inflated at once.
const STEP: usize = 256 << 10;
/// Of what was inflated last at least so much stays at hand: more than anybody reads at once and goes back by.
const KEPT: usize = 4 << 20;
/// What a gzip stream begins with that says nothing of itself.
const GZIP_HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];

/// An archive, unpacked on the way where it has to be.
pub(super) enum Bytes<'a> {
    Plain(&'a ArchiveFile<'a>),
    Stored(Window<&'a ArchiveFile<'a>>),
    Packed(Packed<'a>),
}

/// What is in the way of unpacking it.
pub(super) struct Unfit {
    pub(super) what: String,
    pub(super) advice: &'static str,
}

impl<'a> Bytes<'a> {
    /// Out of a gzip stream around the whole archive.
    pub(super) fn gunzipped(
        file: &'a ArchiveFile<'a>,
        notes: &mut Notes,
        cancel: &'a Cancellation,
    ) -> io::Result<Self> {
        Packed::open(Way::Gzip(file), notes, cancel).map(Self::Packed)
    }

    /// The one archive in a zip.
    pub(super) fn unzipped(
        file: &'a ArchiveFile<'a>,
        notes: &mut Notes,
        cancel: &'a Cancellation,
    ) -> io::Result<Result<Self, Unfit>> {
        let shut = |what: &str, advice| Ok(Err(Unfit { what: what.to_owned(), advice }));
        let Some(entries) = zip::entries(file)? else {
            return shut(
                "the directory at the end of the zip is missing or damaged",
                "fetch it again, or unpack it with a program that repairs zips",
            );
        };
        let tars: Vec<&zip::Entry> = entries.iter().filter(|entry| entry.is_tar()).collect();
        let [entry] = tars.as_slice() else {
            if tars.is_empty() {
                return shut("the zip contains no .tar", "look for the backup where this file comes from");
            }
            let names: Vec<String> = tars.iter().map(|entry| crate::text::shown(entry.name.as_bytes())).collect();
            return shut(
                &format!("it contains several archives: {}", names.join(", ")),
                "unpack it, and repair each of them",
            );
        };
        let start = entry.data(file)?;
        match (entry.method, entry.encrypted) {
            (8, false) => {
                let mut trailer = [0; 8];
                trailer[..4].copy_from_slice(&entry.crc32.to_le_bytes());
                trailer[4..].copy_from_slice(&(entry.size as u32).to_le_bytes());
                let way = Way::Deflate { file, start, end: start.saturating_add(entry.packed), trailer };
                Packed::open(way, notes, cancel).map(Self::Packed).map(Ok)
            }
            (0, false) => {
                let left = ReadAt::len(file).saturating_sub(start);
                let window = Window::new(file, start, entry.packed.min(left)).ok_or(io::ErrorKind::UnexpectedEof)?;
                Ok(Ok(Self::Stored(window)))
            }
            _ => shut(
                "it is packed in a way that Haul can't unpack",
                "unpack it with the program that packed it, and repair its content",
            ),
        }
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
    /// The checksum and length that a gzip stream ends with are the directory's.
    Deflate {
        file: &'a ArchiveFile<'a>,
        start: u64,
        end: u64,
        trailer: [u8; 8],
    },
}

impl<'a> Way<'a> {
    fn begin(&self) -> (Source<'a>, SharedStatus) {
        let packed: Source<'a> = match self {
            Self::Gzip(file) => Box::new(Stream::new(*file)),
            Self::Deflate { file, start, end, trailer } => {
                let body = Stream::new(*file).range(*start..*end);
                Box::new(Cursor::new(GZIP_HEADER).chain(body).chain(Cursor::new(*trailer)))
            }
        };
        let status = SharedStatus::default();
        (Box::new(Gunzip::new(packed, Until::End, &status)), status)
    }
}

/// A packed archive. It is inflated from the start again whenever earlier data than the current is needed, which
/// reading in order never does.
pub(super) struct Packed<'a> {
    way: Way<'a>,
    length: u64,
    reading: Mutex<Reading<'a>>,
    cancel: &'a Cancellation,
}

struct Reading<'a> {
    source: Source<'a>,
    /// Bytes inflated so far.
    at: u64,
    /// The last of them.
    recent: Vec<u8>,
}

impl<'a> Reading<'a> {
    fn new(source: Source<'a>) -> Self {
        Self { source, at: 0, recent: Vec::new() }
    }

    /// Inflates more; whether there was any.
    fn advance(&mut self, cancel: &Cancellation) -> io::Result<bool> {
        if cancel.is_cancelled() {
            return Err(io::Error::other("interrupted"));
        }
        if self.recent.len() >= 2 * KEPT {
            self.recent.drain(..self.recent.len() - KEPT);
        }
        let before = self.recent.len();
        self.recent.resize(before + STEP, 0);
        let read = self.source.read(&mut self.recent[before..]);
        let count = read.as_ref().map_or(0, |count| *count);
        self.recent.truncate(before + count);
        self.at += count as u64;
        read.map(|count| count > 0)
    }
}

impl<'a> Packed<'a> {
    /// Damage ends it: what comes before is what there is.
    fn open(way: Way<'a>, notes: &mut Notes, cancel: &'a Cancellation) -> io::Result<Self> {
        let (source, status) = way.begin();
        let mut reading = Reading::new(source);
        while reading.advance(cancel)? {}
        let status = status.get();
        if let Some(broken) = status.broken() {
            notes.lost("", format!("its packing can't be read to the end ({broken}): the rest is lost"));
        }
        if status.unequal {
            notes.doubtful(
                "",
                "the checksum of its packing was wrong: something in it has changed, and nothing shows what",
            );
        }
        if status.trailing {
            notes.whole("extra data followed its packing; it is left out");
        }
        Ok(Self { way, length: reading.at, reading: Mutex::new(reading), cancel })
    }

    fn read_exact_at(&self, mut buffer: &mut [u8], mut offset: u64) -> io::Result<()> {
        let mut reading = self.reading.lock().unwrap_or_else(PoisonError::into_inner);
        if offset < reading.at - reading.recent.len() as u64 {
            *reading = Reading::new(self.way.begin().0);
        }
        while !buffer.is_empty() {
            if offset < reading.at {
                let recent = &reading.recent[reading.recent.len() - (reading.at - offset) as usize..];
                let count = recent.len().min(buffer.len());
                buffer[..count].copy_from_slice(&recent[..count]);
                buffer = &mut buffer[count..];
                offset += count as u64;
            } else if !reading.advance(self.cancel)? {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(())
    }
}
