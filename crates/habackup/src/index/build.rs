//! Builds an index while the inner archive is written.

use super::wire::{
    CHECKSUM, PREFIX, SECTION, SECTION_COPY, SECTION_DESCRIPTION, SECTION_FILES, SECTION_FOLDERS, SECTION_MEMBER,
    SECTION_NONCES, SECTION_PIECES, SECTION_SUM, checksum, description_sum, put_number, put_section, zigzag,
};
use pargz::PieceTable;

use super::{FileEntry, Index, MAGIC, MAJOR, MAX_PATH, MINOR, Sum};
use crate::tar::{self, Kind};

/// Takes the files in the order of the archive and keeps about 25 bytes of each.
#[derive(Clone, Debug)]
pub struct IndexBuilder {
    member: String,
    files: Vec<u8>,
    folders: Vec<u8>,
    count: u64,
    previous: Vec<u8>,
    /// The offset of the next header if nothing lies between.
    position: u64,
    /// What `backup.json` says.
    description: Option<Vec<u8>>,
    sum: Option<Sum>,
}

impl IndexBuilder {
    /// `member` is the inner archive's name in the outer one, for example `homeassistant.tar.gz`.
    pub fn new(member: &str) -> Self {
        Self {
            member: member.to_owned(),
            files: Vec::new(),
            folders: Vec::new(),
            count: 0,
            previous: Vec::new(),
            position: 0,
            description: None,
            sum: None,
        }
    }

    /// Keeps `backup.json` and its checksum.
    pub fn describe(&mut self, json: &[u8]) {
        self.description = Some(json.to_vec());
    }

    /// Keeps the checksum of an uncompressed inner archive.
    pub fn sum(&mut self, sum: Option<Sum>) {
        self.sum = sum;
    }

    /// The next entry of the archive. Says `false`, and leaves the entry out, when it cannot be in an index: it begins
    /// before the end of the one before, or its path is longer than a tar reader takes.
    #[must_use]
    pub fn push(&mut self, file: &FileEntry) -> bool {
        let gap = file.header_offset.checked_sub(self.position);
        let headers = file.data_offset.checked_sub(file.header_offset);
        let end =
            file.data_offset.checked_add(file.size).and_then(|end| end.checked_add(tar::padding(file.size) as u64));
        let (Some(gap), Some(headers), Some(end)) = (gap, headers, end) else { return false };
        if file.path.len() > MAX_PATH {
            return false;
        }
        let shared = file.path.iter().zip(&self.previous).take_while(|(a, b)| a == b).count();
        let suffix = &file.path[shared..];
        put_number(shared as u64, &mut self.files);
        put_number(suffix.len() as u64, &mut self.files);
        self.files.extend_from_slice(suffix);
        self.files.push(kind_byte(file.kind));
        put_number(gap, &mut self.files);
        put_number(headers, &mut self.files);
        put_number(file.size, &mut self.files);
        if file.kind == Kind::Directory {
            match file.folder {
                Some(folder) => {
                    put_number(u64::from(folder.mode) + 1, &mut self.folders);
                    put_number(zigzag(folder.mtime.0), &mut self.folders);
                    put_number(u64::from(folder.mtime.1), &mut self.folders);
                }
                None => put_number(0, &mut self.folders),
            }
        }
        self.previous.truncate(shared);
        self.previous.extend_from_slice(suffix);
        self.position = end;
        self.count += 1;
        true
    }

    /// Entries taken so far.
    pub fn len(&self) -> u64 {
        self.count
    }

    /// Whether no entry was taken.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// How long the index will be that [`IndexBuilder::finish`] makes of the entries so far and so many pieces and
    /// nonces.
    pub fn finished_len(&self, pieces: Option<usize>, nonces: usize) -> usize {
        let section = |len: Option<usize>| len.map_or(0, |len| SECTION + len);
        let nonces = (nonces > 0).then_some(nonces * 8);
        let folders = (!self.folders.is_empty()).then_some(self.folders.len());
        let files = section(Some(8 + self.files.len())) + section(folders);
        let description =
            section(self.description.as_ref().map(|_| CHECKSUM)) + section(self.description.as_ref().map(Vec::len));
        let sum = section(self.sum.map(|_| SUM_LEN));
        PREFIX
            + section(Some(self.member.len()))
            + section(pieces.map(pieces_len))
            + section(nonces)
            + files
            + description
            + sum
            + CHECKSUM
    }

    /// The bytes of the index. `pieces`: `None` for an uncompressed inner archive; `nonces`: empty unless it is
    /// encrypted with version 3.
    pub fn finish(&self, pieces: Option<&PieceTable>, nonces: &[[u8; 8]]) -> Vec<u8> {
        let pieces_len = pieces.map_or(0, |pieces| pieces_len(pieces.lengths.len()));
        let mut out = Vec::with_capacity(self.finished_len(pieces.map(|pieces| pieces.lengths.len()), nonces.len()));
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&[MAJOR, MINOR, 0, 0]);
        out.extend_from_slice(&[0; 8]);

        put_section(SECTION_MEMBER, self.member.len(), &mut out);
        out.extend_from_slice(self.member.as_bytes());
        if let Some(pieces) = pieces {
            put_section(SECTION_PIECES, pieces_len, &mut out);
            put_pieces(pieces, &mut out);
        }
        if !nonces.is_empty() {
            put_section(SECTION_NONCES, nonces.len() * 8, &mut out);
            out.extend_from_slice(nonces.as_flattened());
        }
        put_section(SECTION_FILES, 8 + self.files.len(), &mut out);
        out.extend_from_slice(&self.count.to_le_bytes());
        out.extend_from_slice(&self.files);
        if !self.folders.is_empty() {
            put_section(SECTION_FOLDERS, self.folders.len(), &mut out);
            out.extend_from_slice(&self.folders);
        }
        if let Some(json) = &self.description {
            put_section(SECTION_DESCRIPTION, CHECKSUM, &mut out);
            out.extend_from_slice(&description_sum(json));
            put_section(SECTION_COPY, json.len(), &mut out);
            out.extend_from_slice(json);
        }
        if let Some(Sum { length, crc32 }) = self.sum {
            put_section(SECTION_SUM, SUM_LEN, &mut out);
            out.extend_from_slice(&length.to_le_bytes());
            out.extend_from_slice(&crc32.to_le_bytes());
        }

        let len = (out.len() + CHECKSUM) as u64;
        out[PREFIX - 8..PREFIX].copy_from_slice(&len.to_le_bytes());
        let sum = checksum(&out);
        out.extend_from_slice(&sum);
        out
    }
}

impl Index {
    /// The bytes of an index of the same files, once it is known what `backup.json` says and how the inner archive was
    /// compressed and encrypted; see [`IndexBuilder::finish`].
    pub fn completed(self, json: &[u8], pieces: Option<&PieceTable>, sum: Option<Sum>, nonces: &[[u8; 8]]) -> Vec<u8> {
        let Self { member, files, folders, count, .. } = self;
        let mut builder = IndexBuilder { files, folders, count, ..IndexBuilder::new(&member) };
        builder.describe(json);
        builder.sum(sum);
        builder.finish(pieces, nonces)
    }
}

/// Bytes of a [`Sum`].
const SUM_LEN: usize = 8 + 4;
/// Bytes of the piece table before its lengths.
const PIECES_FIXED: usize = 4 * 4 + 8;

fn pieces_len(count: usize) -> usize {
    PIECES_FIXED + count * 4
}

fn put_pieces(pieces: &PieceTable, out: &mut Vec<u8>) {
    for number in [pieces.piece_size, pieces.restart_every, pieces.header_len, pieces.crc32] {
        out.extend_from_slice(&number.to_le_bytes());
    }
    out.extend_from_slice(&pieces.bytes_in.to_le_bytes());
    for length in &pieces.lengths {
        out.extend_from_slice(&length.to_le_bytes());
    }
}

fn kind_byte(kind: Kind) -> u8 {
    match kind {
        Kind::File => 0,
        Kind::Directory => 1,
        Kind::Symlink => 2,
    }
}
