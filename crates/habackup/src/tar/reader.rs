//! Reads entries from an untrusted stream: walks from header to header and reports everything that is broken. The
//! caller decides what to do with an entry (extract, list, refuse).

use std::io::{self, Read};

use thiserror::Error;

use super::fields::{self, GID, LINK, MAGIC, MODE, MTIME, NAME, PREFIX, SIZE, TYPE, UID};
use super::pax::{self, Overrides};
use super::{BLOCK, USTAR_SIZE_MAX, padding};
use crate::read_at::at_most;

/// Extended headers and GNU long names beyond this are refused, for the size is the archive's word alone. Names take at
/// most 4 KiB of it, other records (attributes, comments) may take more. What this lets through is held for one entry;
/// which names are kept beyond it is the caller's to decide ([`too_long`](crate::rules::too_long)).
const EXTENSION_MAX: u64 = 1 << 20;

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// A directory.
    Directory,
    /// A regular file.
    File,
    /// A symbolic link.
    Symlink,
    /// Another name of an earlier file.
    HardLink,
    /// A named pipe.
    Fifo,
    /// A character device.
    Char,
    /// A block device.
    Block,
    /// A file with holes in one of GNU's forms; its body is the packed one.
    GnuSparse,
    /// Any other type byte.
    Other(u8),
}

/// One entry as the archive declares it. Nothing here is safe to use as a path before it was checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The name, without the closing slashes of a directory.
    pub path: Vec<u8>,
    /// What it is.
    pub kind: EntryKind,
    /// Bytes of body that follow; 0 for kinds that have none, whatever they declare.
    pub size: u64,
    /// Mode bits as declared.
    pub mode: u32,
    /// Modification time: seconds since 1970 (rounded down) and nanoseconds after them.
    pub mtime: (i64, u32),
    /// Numeric owner.
    pub uid: u64,
    /// Numeric group.
    pub gid: u64,
    /// Target of a symbolic or hard link.
    pub link: Vec<u8>,
    /// The offset of the entry's first header block, including extended headers.
    pub header_offset: u64,
    /// The offset of the entry's own header block.
    pub ustar_offset: u64,
    /// Where the body begins.
    pub data_offset: u64,
    /// Size in the header block itself.
    pub ustar_size: u64,
    /// Size in the PAX record, when there is one.
    pub pax_size: Option<u64>,
}

impl Entry {
    /// Whether the PAX record and the header block declare different sizes, so that readers disagree where the next
    /// entry begins. A header block that cannot hold the size (from 8 GiB, written as 0 by Python) does not count.
    pub fn sizes_disagree(&self) -> bool {
        self.pax_size.is_some_and(|pax| pax != self.ustar_size && !(pax > USTAR_SIZE_MAX && self.ustar_size == 0))
    }

    /// The target of a link; empty for anything else, whatever its header says.
    pub fn target(&self) -> &[u8] {
        if matches!(self.kind, EntryKind::Symlink | EntryKind::HardLink) { &self.link } else { &[] }
    }

    /// The offset of the next header: after the body and its padding.
    pub fn end_offset(&self) -> u64 {
        self.data_offset + self.size + padding(self.size) as u64
    }
}

/// Where in an archive something ended too early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// A header block, or the extended header before it.
    Header,
    /// The bytes of a file.
    Body,
    /// The zeros that fill the last block of a body.
    Padding,
    /// The two zero blocks at the end.
    EndMarker,
}

impl std::fmt::Display for Part {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Header => "a header",
            Self::Body => "a file's content",
            Self::Padding => "the padding after a file",
            Self::EndMarker => "the end marker",
        })
    }
}

/// Why a stream is not a sound tar archive. Offsets count from the stream's first byte.
#[derive(Debug, Error)]
pub enum TarError {
    /// The source itself failed.
    #[error("the archive cannot be read: {0}")]
    Io(#[from] io::Error),
    /// A header's checksum is wrong: damage, or no tar archive at all.
    #[error("the header at byte {offset} is damaged: its checksum is wrong")]
    Checksum {
        /// Of the header block.
        offset: u64,
    },
    /// The stream ends in the middle of something.
    #[error("the archive ends at byte {offset}, inside {part}")]
    Truncated {
        /// What was being read.
        part: Part,
        /// Where the stream ends.
        offset: u64,
    },
    /// A numeric field holds no number, a negative one, or one no file can have.
    #[error("the header at byte {offset} declares an impossible {field}")]
    BadField {
        /// Of the header block.
        offset: u64,
        /// The field's name.
        field: &'static str,
    },
    /// An extended header makes no sense.
    #[error("the extended header at byte {offset} has {reason}")]
    BadExtension {
        /// Of the extended header.
        offset: u64,
        /// A fragment that completes the sentence.
        reason: &'static str,
    },
    /// Something other than zeros follows the end marker.
    #[error("there is data after the end of the archive, at byte {offset}")]
    Garbage {
        /// Of the first byte that is not zero.
        offset: u64,
    },
    /// Reading went on after an error.
    #[error("the rest of the archive cannot be read after an error")]
    Stopped,
}

/// How a stream ended, once all of it was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tail {
    /// Zero blocks of the end marker: two in a sound archive; with one or none it may have been cut between two
    /// entries.
    pub marker_blocks: u8,
    /// Zero bytes after the marker.
    pub zeros_after: u64,
    /// Length of the stream in bytes.
    pub length: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Entries,
    Ended { marker_blocks: u8 },
    Stopped,
}

/// Walks a tar stream entry by entry. The body of the entry last returned is read through [`Read`]; what is left of it
/// is skipped by the next call.
///
/// After [`Reader::next_entry`] returned `None`, [`Reader::finish`] reads what follows the end marker.
pub struct Reader<R> {
    source: R,
    offset: u64,
    body_left: u64,
    padding_left: usize,
    stained: Option<u64>,
    global: Overrides,
    state: State,
}

/// What preceded an entry's own header.
#[derive(Default)]
struct Pending {
    first_offset: Option<u64>,
    pax: Option<Overrides>,
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
}

impl<R: Read> Reader<R> {
    /// Reads from the first byte of an archive.
    pub fn new(source: R) -> Self {
        Self {
            source,
            offset: 0,
            body_left: 0,
            padding_left: 0,
            stained: None,
            global: Overrides::default(),
            state: State::Entries,
        }
    }

    /// The next entry, or `None` at the end marker or where the stream ends between two entries. After an error only
    /// [`TarError::Stopped`] follows.
    pub fn next_entry(&mut self) -> Result<Option<Entry>, TarError> {
        match self.state {
            State::Stopped => return Err(TarError::Stopped),
            State::Ended { .. } => return Ok(None),
            State::Entries => {}
        }
        // Left like this when an error leaves early.
        self.state = State::Stopped;
        self.skip_body()?;
        let entry = self.read_entry()?;
        if entry.is_some() {
            self.state = State::Entries;
        }
        Ok(entry)
    }

    /// Whether the archive ended with both blocks of its end marker. Python and Home Assistant do not ask for it.
    pub fn ended_properly(&self) -> bool {
        self.state == State::Ended { marker_blocks: 2 }
    }

    /// Offset of the first byte in a file's padding that is not zero, if any was met: harmless to every reader, but a
    /// changed byte.
    pub fn stained_padding(&self) -> Option<u64> {
        self.stained
    }

    /// Bytes read or passed so far.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Zero blocks of the end marker, once that was reached.
    pub fn marker_blocks(&self) -> Option<u8> {
        match self.state {
            State::Ended { marker_blocks } => Some(marker_blocks),
            _ => None,
        }
    }

    /// Reads everything after the end marker; only zeros are allowed there.
    pub fn finish(&mut self) -> Result<Tail, TarError> {
        let State::Ended { marker_blocks } = self.state else {
            return Err(TarError::Stopped);
        };
        let mut buffer = vec![0; 64 << 10];
        let start = self.offset;
        loop {
            let count = read_some(&mut self.source, &mut buffer)?;
            if count == 0 {
                return Ok(Tail { marker_blocks, zeros_after: self.offset - start, length: self.offset });
            }
            if let Some(at) = buffer[..count].iter().position(|&byte| byte != 0) {
                self.state = State::Stopped;
                return Err(TarError::Garbage { offset: self.offset + at as u64 });
            }
            self.offset += count as u64;
        }
    }

    /// For a source that can seek: lets `seek` move it over what is left of the body, instead of reading that. The
    /// padding is still read.
    pub fn skip_body_with(&mut self, seek: impl FnOnce(&mut R, u64) -> io::Result<()>) -> Result<(), TarError> {
        if let Err(error) = seek(&mut self.source, self.body_left) {
            self.state = State::Stopped;
            return Err(error.into());
        }
        self.offset += self.body_left;
        self.body_left = 0;
        Ok(())
    }

    /// The source at its current position.
    pub fn into_inner(self) -> R {
        self.source
    }

    fn skip_body(&mut self) -> Result<(), TarError> {
        if self.body_left > 0 {
            let mut buffer = vec![0; self.body_left.min(64 << 10) as usize];
            while self.body_left > 0 {
                if self.read_body(&mut buffer)? == 0 {
                    return Err(TarError::Truncated { part: Part::Body, offset: self.offset });
                }
            }
        }
        let mut block = [0; BLOCK];
        let start = self.offset;
        let padding = &mut block[..self.padding_left];
        self.padding_left = 0;
        if self.fill(padding)? < padding.len() {
            return Err(TarError::Truncated { part: Part::Padding, offset: self.offset });
        }
        if self.stained.is_none() {
            self.stained = padding.iter().position(|&byte| byte != 0).map(|at| start + at as u64);
        }
        Ok(())
    }

    fn read_body(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let wanted = at_most(self.body_left, buffer.len());
        let count = read_some(&mut self.source, &mut buffer[..wanted])?;
        self.offset += count as u64;
        self.body_left -= count as u64;
        Ok(count)
    }

    fn read_entry(&mut self) -> Result<Option<Entry>, TarError> {
        let mut pending = Pending::default();
        loop {
            let offset = self.offset;
            let mut block = [0; BLOCK];
            let count = self.fill(&mut block)?;
            if count == 0 && pending.first_offset.is_none() {
                self.state = State::Ended { marker_blocks: 0 };
                return Ok(None);
            }
            let zero = block.iter().all(|&byte| byte == 0);
            if count < BLOCK {
                let part = if zero && pending.first_offset.is_none() { Part::EndMarker } else { Part::Header };
                return Err(TarError::Truncated { part, offset: self.offset });
            }
            if zero {
                if let Some(offset) = pending.first_offset {
                    return Err(TarError::BadExtension { offset, reason: "no entry after it" });
                }
                self.read_end_marker()?;
                return Ok(None);
            }
            if !fields::checksum_holds(&block) {
                return Err(TarError::Checksum { offset });
            }
            if !self.read_extension(&block, offset, &mut pending)? {
                return self.build_entry(&block, offset, pending).map(Some);
            }
            pending.first_offset.get_or_insert(offset);
        }
    }

    fn read_end_marker(&mut self) -> Result<(), TarError> {
        let mut block = [0; BLOCK];
        let start = self.offset;
        let count = self.fill(&mut block)?;
        // Python stops at the first zero block, so what follows it is lost on Home Assistant, a valid header included.
        if let Some(at) = block.iter().position(|&byte| byte != 0) {
            return Err(TarError::Garbage { offset: start + at as u64 });
        }
        if count != 0 && count < BLOCK {
            return Err(TarError::Truncated { part: Part::EndMarker, offset: self.offset });
        }
        self.state = State::Ended { marker_blocks: if count == BLOCK { 2 } else { 1 } };
        Ok(())
    }

    /// Takes in an extended header or GNU long name; false when `block` is an entry of its own.
    fn read_extension(&mut self, block: &[u8; BLOCK], offset: u64, pending: &mut Pending) -> Result<bool, TarError> {
        let bad = |reason| TarError::BadExtension { offset, reason };
        match block[TYPE] {
            b'x' | b'X' => {
                if pending.pax.is_some() {
                    return Err(bad("another one right before it, and readers differ on which one they use"));
                }
                let body = self.extension_body(block, offset)?;
                let mut overrides = pax::parse(&body).map_err(bad)?;
                // Python applies the outer extension last, so what came first wins.
                if pending.path.is_some() {
                    overrides.path = None;
                }
                if pending.link.is_some() {
                    overrides.link = None;
                }
                pending.pax = Some(overrides);
            }
            b'g' => {
                let body = self.extension_body(block, offset)?;
                let overrides = pax::parse(&body).map_err(bad)?;
                if overrides.path.is_some() || overrides.link.is_some() || overrides.size.is_some() {
                    return Err(bad("a name or size meant for every entry"));
                }
                let Overrides { mtime, uid, gid, .. } = overrides;
                self.global.mtime = mtime.or(self.global.mtime);
                self.global.uid = uid.or(self.global.uid);
                self.global.gid = gid.or(self.global.gid);
            }
            kind @ (b'L' | b'K') => {
                let body = self.extension_body(block, offset)?;
                let name = fields::text(&body).to_vec();
                if name.is_empty() {
                    return Err(bad("an empty name"));
                }
                let slot = if kind == b'L' { &mut pending.path } else { &mut pending.link };
                slot.get_or_insert(name);
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    #[expect(clippy::cast_possible_truncation, reason = "checked against `EXTENSION_MAX`")]
    fn extension_body(&mut self, block: &[u8; BLOCK], offset: u64) -> Result<Vec<u8>, TarError> {
        let size = declared_size(block, offset)?;
        if size > EXTENSION_MAX {
            return Err(TarError::BadExtension { offset, reason: "more than a mebibyte in it" });
        }
        let padded = size as usize + padding(size);
        // Grown by what is really there, not by what is declared.
        let mut body = Vec::new();
        self.source.by_ref().take(padded as u64).read_to_end(&mut body)?;
        self.offset += body.len() as u64;
        if body.len() < padded {
            return Err(TarError::Truncated { part: Part::Header, offset: self.offset });
        }
        body.truncate(size as usize);
        Ok(body)
    }

    fn build_entry(&mut self, block: &[u8; BLOCK], offset: u64, pending: Pending) -> Result<Entry, TarError> {
        let bad = |field| TarError::BadField { offset, field };
        let pax = pending.pax.unwrap_or_default();
        let ustar_size = declared_size(block, offset)?;
        let declared = pax.size.unwrap_or(ustar_size);
        let ustar_name = ustar_path(block);
        let kind = entry_kind(block[TYPE], &ustar_name, pax.sparse);
        if kind == EntryKind::GnuSparse && block[TYPE] == b'S' {
            self.skip_sparse_maps(block)?;
        }
        let size = if has_body(kind) { declared } else { 0 };
        if self
            .offset
            .checked_add(size)
            .and_then(|end| end.checked_add(2 * BLOCK as u64))
            .is_none_or(|end| end > i64::MAX as u64)
        {
            return Err(bad("size"));
        }
        let number = |field: &[u8], name| fields::read_number(field).ok_or(bad(name));
        let id = |value: i64, name| u64::try_from(value).map_err(|_| bad(name));
        let mut path = pax.path.or(pending.path).unwrap_or(ustar_name);
        if kind == EntryKind::Directory {
            while path.len() > 1 && path.ends_with(b"/") {
                path.pop();
            }
        }
        #[expect(clippy::cast_possible_truncation, reason = "nothing above the lowest 12 bits has a meaning")]
        let mode = number(&block[MODE], "mode")? as u32;
        let entry = Entry {
            path,
            kind,
            size,
            mode,
            mtime: pax
                .mtime
                .or(self.global.mtime)
                .map_or_else(|| number(&block[MTIME], "time").map(|seconds| (seconds, 0)), Ok)?,
            uid: pax.uid.or(self.global.uid).map_or_else(|| id(number(&block[UID], "owner")?, "owner"), Ok)?,
            gid: pax.gid.or(self.global.gid).map_or_else(|| id(number(&block[GID], "group")?, "group"), Ok)?,
            link: pax.link.or(pending.link).unwrap_or_else(|| fields::text(&block[LINK]).to_vec()),
            header_offset: pending.first_offset.unwrap_or(offset),
            ustar_offset: offset,
            data_offset: self.offset,
            ustar_size,
            pax_size: pax.size,
        };
        self.body_left = size;
        self.padding_left = padding(size);
        Ok(entry)
    }

    /// Old GNU sparse files carry more of their map in blocks between header and body.
    fn skip_sparse_maps(&mut self, header: &[u8; BLOCK]) -> Result<(), TarError> {
        let mut more = header[482] != 0;
        while more {
            let mut block = [0; BLOCK];
            if self.fill(&mut block)? < BLOCK {
                return Err(TarError::Truncated { part: Part::Header, offset: self.offset });
            }
            more = block[504] != 0;
        }
        Ok(())
    }

    /// Reads until `buffer` is full or the stream ends; the rest of the buffer stays zero.
    fn fill(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut count = 0;
        while count < buffer.len() {
            match read_some(&mut self.source, &mut buffer[count..])? {
                0 => break,
                more => count += more,
            }
        }
        self.offset += count as u64;
        Ok(count)
    }
}

/// The body of the entry last returned. Ends with an error that carries [`TarError::Truncated`] when the stream ends
/// before the body does.
impl<R: Read> Read for Reader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() || self.body_left == 0 {
            return Ok(0);
        }
        let count = self.read_body(buffer).inspect_err(|_| self.state = State::Stopped)?;
        if count == 0 {
            self.state = State::Stopped;
            let cut = TarError::Truncated { part: Part::Body, offset: self.offset };
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, cut));
        }
        Ok(count)
    }
}

fn read_some(source: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        match source.read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

fn declared_size(block: &[u8; BLOCK], offset: u64) -> Result<u64, TarError> {
    fields::read_number(&block[SIZE])
        .and_then(|size| u64::try_from(size).ok())
        .ok_or(TarError::BadField { offset, field: "size" })
}

fn ustar_path(block: &[u8; BLOCK]) -> Vec<u8> {
    let name = fields::text(&block[NAME]);
    // GNU's own magic ends in a space; there the prefix area holds times and sparse maps.
    if block[MAGIC].starts_with(b"ustar\0") && block[PREFIX.start] != 0 {
        return [fields::text(&block[PREFIX]), b"/", name].concat();
    }
    name.to_vec()
}

fn entry_kind(kind: u8, name: &[u8], sparse: bool) -> EntryKind {
    match kind {
        0 if name.ends_with(b"/") => EntryKind::Directory,
        0 | b'0' | b'7' if sparse => EntryKind::GnuSparse,
        0 | b'0' | b'7' => EntryKind::File,
        b'1' => EntryKind::HardLink,
        b'2' => EntryKind::Symlink,
        b'3' => EntryKind::Char,
        b'4' => EntryKind::Block,
        b'5' => EntryKind::Directory,
        b'6' => EntryKind::Fifo,
        b'S' => EntryKind::GnuSparse,
        other => EntryKind::Other(other),
    }
}

/// As Python's `tarfile`: the known kinds without content have no body even when they declare one, unknown kinds have.
fn has_body(kind: EntryKind) -> bool {
    matches!(kind, EntryKind::File | EntryKind::GnuSparse | EntryKind::Other(_))
}
