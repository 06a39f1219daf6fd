//! Reads an index that anybody may have written. It checks everything before it returns anything, and sizes allocations
//! by the bytes that are there, never by a number in them.

use pargz::PieceTable;

use super::wire::{
    CHECKSUM, Cursor, PREFIX, SECTION_COPY, SECTION_DESCRIPTION, SECTION_FILES, SECTION_FOLDERS, SECTION_MEMBER,
    SECTION_NONCES, SECTION_PIECES, SECTION_SUM, checksum, description_sum, unzigzag,
};
use super::{FileEntry, Folder, IndexError, MAGIC, MAJOR, MAX_LEN, MAX_PATH, Sum};
use crate::tar::{self, Kind};

/// Bytes all paths together may unfold to: no real tree comes near, and copying them all takes a second or two.
const MAX_PATHS: u64 = 1 << 32;

/// A checked index. The caller checks whether it belongs to its archive: Home Assistant copies it unchanged when it
/// changes the archive's encryption.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Index {
    pub(super) member: String,
    pieces: Option<PieceTable>,
    nonces: Vec<[u8; 8]>,
    pub(super) count: u64,
    pub(super) files: Vec<u8>,
    // Empty if there are none.
    pub(super) folders: Vec<u8>,
    description: Option<[u8; CHECKSUM]>,
    copy: Option<Vec<u8>>,
    sum: Option<Sum>,
}

impl Index {
    /// Reads and checks a whole index.
    pub fn parse(bytes: &[u8]) -> Result<Self, IndexError> {
        let body = checked_body(bytes)?;
        let mut index = Self {
            member: String::new(),
            pieces: None,
            nonces: Vec::new(),
            count: 0,
            files: Vec::new(),
            folders: Vec::new(),
            description: None,
            copy: None,
            sum: None,
        };
        let mut seen = [false; SECTION_SUM as usize + 1];
        let mut rest = Cursor(body);
        while !rest.is_empty() {
            let kind = rest.u8()?;
            let len = rest.u64()?;
            let section = rest.bytes(len)?;
            // Sections of later minor versions are passed over.
            let Some(seen) = seen.get_mut(usize::from(kind)) else { continue };
            if std::mem::replace(seen, true) {
                return Err(IndexError::Malformed("a section appears twice"));
            }
            index.take_section(kind, section)?;
        }
        if !seen[usize::from(SECTION_MEMBER)] || !seen[usize::from(SECTION_FILES)] {
            return Err(IndexError::Malformed("a section is missing"));
        }
        index.check_files()?;
        Ok(index)
    }

    fn take_section(&mut self, kind: u8, section: &[u8]) -> Result<(), IndexError> {
        match kind {
            SECTION_MEMBER => {
                let name = std::str::from_utf8(section);
                name.map_err(|_| IndexError::Malformed("the member's name is not text"))?.clone_into(&mut self.member);
            }
            SECTION_PIECES => self.pieces = Some(parse_pieces(section)?),
            SECTION_NONCES => {
                let (nonces, rest) = section.as_chunks();
                if !rest.is_empty() {
                    return Err(IndexError::Malformed("a nonce is incomplete"));
                }
                self.nonces = nonces.to_vec();
            }
            SECTION_FILES => {
                let mut section = Cursor(section);
                self.count = section.u64()?;
                self.files = section.0.to_vec();
            }
            SECTION_FOLDERS => self.folders = section.to_vec(),
            SECTION_DESCRIPTION => {
                let sum = section
                    .try_into()
                    .map_err(|_| IndexError::Malformed("the checksum of the description has the wrong length"))?;
                self.description = Some(sum);
            }
            SECTION_COPY => self.copy = Some(section.to_vec()),
            SECTION_SUM => {
                let mut section = Cursor(section);
                self.sum = Some(Sum { length: section.u64()?, crc32: section.u32()? });
                if !section.is_empty() {
                    return Err(IndexError::Malformed("the checksum of the inner archive has the wrong length"));
                }
            }
            _ => return Err(IndexError::Malformed("a section has the number zero")),
        }
        Ok(())
    }

    /// Walks the file table once, so that later walks cannot fail.
    fn check_files(&self) -> Result<(), IndexError> {
        let mut files = self.files();
        let mut unfolded = 0u64;
        let mut count = 0u64;
        while files.advance()?.is_some() {
            count += 1;
            unfolded += files.path.len() as u64;
            if unfolded > MAX_PATHS {
                return Err(IndexError::Malformed("the paths are too long"));
            }
        }
        if count != self.count {
            return Err(IndexError::Malformed("the number of files is wrong"));
        }
        if files.folders.is_some_and(|folders| !folders.is_empty()) {
            return Err(IndexError::Malformed("it describes more directories than there are"));
        }
        Ok(())
    }

    /// Name of the inner archive this is about, as the index has it: text from an untrusted file.
    pub fn member(&self) -> &str {
        &self.member
    }

    /// Where the gzip member can be entered; `None` for an uncompressed inner archive.
    pub fn pieces(&self) -> Option<&PieceTable> {
        self.pieces.as_ref()
    }

    /// The checksum of an uncompressed inner archive; `None` for others, and in older indexes.
    pub fn sum(&self) -> Option<Sum> {
        self.sum
    }

    /// The nonces of [`crate::securetar::RandomAccess`]; empty unless the inner archive was encrypted with version 3.
    pub fn nonces(&self) -> &[[u8; 8]] {
        &self.nonces
    }

    /// Whether `backup.json` says what was written, `protected` aside; `None` in older indexes.
    pub fn describes(&self, json: &[u8]) -> Option<bool> {
        self.description.map(|sum| sum == description_sum(json))
    }

    /// The content of `backup.json` when the archive was made, in case that is damaged; `None` in older indexes.
    pub fn description(&self) -> Option<&[u8]> {
        self.copy.as_deref()
    }

    /// How many entries there are.
    pub fn len(&self) -> u64 {
        self.count
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The entries in the order of the archive, unfolded one at a time.
    pub fn files(&self) -> Files<'_> {
        let folders = (!self.folders.is_empty()).then_some(Cursor(self.folders.as_slice()));
        Files { rest: Cursor(&self.files), folders, path: Vec::new(), position: 0 }
    }
}

/// See [`Index::files`].
#[derive(Clone, Debug)]
pub struct Files<'a> {
    rest: Cursor<'a>,
    folders: Option<Cursor<'a>>,
    path: Vec<u8>,
    position: u64,
}

struct Place {
    kind: Kind,
    header_offset: u64,
    data_offset: u64,
    size: u64,
    folder: Option<Folder>,
}

impl Files<'_> {
    /// The next entry, its path in `self.path`.
    fn advance(&mut self) -> Result<Option<Place>, IndexError> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let shared = self.rest.number()?;
        let suffix_len = self.rest.number()?;
        let suffix = self.rest.bytes(suffix_len)?;
        match usize::try_from(shared) {
            Ok(shared) if shared <= self.path.len() => self.path.truncate(shared),
            _ => return Err(IndexError::Malformed("a path shares more bytes than the path before it has")),
        }
        if self.path.len() + suffix.len() > MAX_PATH {
            return Err(IndexError::Malformed("a path is too long"));
        }
        self.path.extend_from_slice(suffix);
        let kind = match self.rest.u8()? {
            0 => Kind::File,
            1 => Kind::Directory,
            2 => Kind::Symlink,
            _ => return Err(IndexError::Malformed("an entry has an unknown kind")),
        };
        let (gap, headers, size) = (self.rest.number()?, self.rest.number()?, self.rest.number()?);
        let folder = match &mut self.folders {
            Some(folders) if kind == Kind::Directory => next_folder(folders)?,
            _ => None,
        };
        let place = || {
            let header_offset = self.position.checked_add(gap)?;
            let data_offset = header_offset.checked_add(headers)?;
            let end = data_offset.checked_add(size)?.checked_add(tar::padding(size) as u64)?;
            Some((Place { kind, header_offset, data_offset, size, folder }, end))
        };
        let (place, end) = place().ok_or(IndexError::Malformed("an entry lies beyond any archive"))?;
        self.position = end;
        Ok(Some(place))
    }
}

impl Iterator for Files<'_> {
    type Item = FileEntry;

    fn next(&mut self) -> Option<FileEntry> {
        // Cannot fail: the whole table was walked when the index was parsed.
        let Place { kind, header_offset, data_offset, size, folder } = self.advance().ok().flatten()?;
        Some(FileEntry { path: self.path.clone(), kind, header_offset, data_offset, size, folder })
    }
}

fn next_folder(folders: &mut Cursor<'_>) -> Result<Option<Folder>, IndexError> {
    let Some(mode) = folders.number()?.checked_sub(1) else { return Ok(None) };
    let (seconds, nanoseconds) = (unzigzag(folders.number()?), folders.number()?);
    let folder = || {
        Some(Folder {
            mode: u32::try_from(mode).ok()?,
            mtime: (seconds, u32::try_from(nanoseconds).ok().filter(|nanos| *nanos < 1_000_000_000)?),
        })
    };
    folder().map(Some).ok_or(IndexError::Malformed("a directory has an impossible mode or time"))
}

/// What lies between the prefix and the checksum, once both are right.
fn checked_body(bytes: &[u8]) -> Result<&[u8], IndexError> {
    if bytes.len() as u64 > MAX_LEN {
        return Err(IndexError::TooLong(bytes.len() as u64));
    }
    let mut cursor = Cursor(bytes.strip_prefix(MAGIC).ok_or(IndexError::NotAnIndex)?);
    let major = cursor.u8().map_err(|_| IndexError::Checksum)?;
    if major > MAJOR {
        // Before the checksum, which may be made in another way by then.
        return Err(IndexError::NewerVersion(major));
    }
    let summed = bytes.len().checked_sub(CHECKSUM).filter(|summed| *summed >= PREFIX).ok_or(IndexError::Checksum)?;
    let (content, sum) = bytes.split_at(summed);
    let declared = Cursor(&content[PREFIX - 8..PREFIX]).u64()?;
    if declared != bytes.len() as u64 || checksum(content) != *sum {
        return Err(IndexError::Checksum);
    }
    if major != MAJOR {
        return Err(IndexError::Malformed("version zero does not exist"));
    }
    Ok(&content[PREFIX..])
}

fn parse_pieces(section: &[u8]) -> Result<PieceTable, IndexError> {
    let mut section = Cursor(section);
    let (piece_size, restart_every) = (section.u32()?, section.u32()?);
    let (header_len, crc32) = (section.u32()?, section.u32()?);
    let bytes_in = section.u64()?;
    let (lengths, rest) = section.0.as_chunks();
    let lengths = lengths.iter().map(|length| u32::from_le_bytes(*length)).collect();
    let pieces = PieceTable { piece_size, restart_every, header_len, lengths, bytes_in, crc32 };
    if !rest.is_empty() || !agree(&pieces) {
        return Err(IndexError::Malformed("the piece table does not add up"));
    }
    Ok(pieces)
}

/// Whether the numbers agree with each other. They say nothing yet about the gzip member they are used on.
fn agree(pieces: &PieceTable) -> bool {
    if pieces.piece_size == 0 || pieces.restart_every == 0 {
        return false;
    }
    let needed = pieces.bytes_in.div_ceil(u64::from(pieces.piece_size));
    // An empty member still is one (empty) piece, or none.
    pieces.lengths.len() as u64 == needed || (pieces.bytes_in == 0 && pieces.lengths.len() == 1)
}
