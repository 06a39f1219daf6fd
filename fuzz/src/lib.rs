//! What the targets share: making mutated bytes pass the checksums that would hide everything behind them, archives
//! around mutated parts, and a place for files. A target's first byte usually chooses what is done to the rest.

use std::{
    fs,
    io::{self, Read},
    num::NonZeroUsize,
    path::{Path, PathBuf},
};

use habackup::{
    index::{FileEntry, IndexBuilder, MAGIC, MEMBER},
    manifest::{Draft, Manifest},
    outer::Outer,
    tar::Reader,
};
use pargz::PieceTable;

const BLOCK: usize = 512;

/// The first byte and the rest; nothing for an empty input.
pub fn choice(data: &[u8]) -> Option<(u8, &[u8])> {
    data.split_first().map(|(first, rest)| (*first, rest))
}

/// A reader that gives as little at a time as it may.
pub struct Dribble<R>(pub R);

impl<R: Read> Read for Dribble<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let len = buf.len().min(3);
        self.0.read(&mut buf[..len])
    }
}

/// Writes the right checksum into every header block, as far as the sizes lead from one to the next.
pub fn mend_tar(bytes: &mut [u8]) {
    let mut at = 0usize;
    while let Some(block) = at.checked_add(BLOCK).and_then(|end| bytes.get_mut(at..end)) {
        if block.iter().all(|byte| *byte == 0) {
            return;
        }
        block[148..156].fill(b' ');
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        let digits =
            block[124..136].iter().skip_while(|byte| **byte == b' ').take_while(|byte| (b'0'..=b'7').contains(*byte));
        let size = digits.fold(0usize, |size, digit| size << 3 | usize::from(digit - b'0'));
        let body = if matches!(block[156], b'1'..=b'6') { 0 } else { size };
        let Some(next) =
            body.checked_next_multiple_of(BLOCK).and_then(|padded| at.checked_add(BLOCK)?.checked_add(padded))
        else {
            return;
        };
        at = next;
    }
}

/// An index with `sections` in it, its length and checksum right.
pub fn index_around(sections: &[u8]) -> Vec<u8> {
    let empty = IndexBuilder::new("").finish(None, &[]);
    // Magic, version, reserved: as a real one has them.
    let mut index = empty[..MAGIC.len() + 4].to_vec();
    index.extend_from_slice(&((sections.len() + index.len() + 8 + 16) as u64).to_le_bytes());
    index.extend_from_slice(sections);
    use sha2::Digest as _;
    let digest = sha2::Sha256::digest(&index);
    index.extend_from_slice(&digest[..16]);
    index
}

/// How the inner archive is put into the outer one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrapping {
    Plain,
    PlainIndexed,
    Gzip,
    GzipIndexed,
}

/// A whole archive around the inner tar `inner`. `index` replaces the sections of the true index where there is one.
pub fn archive_around(inner: &[u8], wrapping: Wrapping, index: Option<&[u8]>) -> Vec<u8> {
    let compressed = matches!(wrapping, Wrapping::Gzip | Wrapping::GzipIndexed);
    let name = if compressed { "homeassistant.tar.gz" } else { "homeassistant.tar" };
    let (body, table) = if compressed { gzip(inner) } else { (inner.to_vec(), None) };
    let date = "2026-11-22T00:41:00+00:00".parse().expect("a date");
    let draft =
        Draft { name: "Fuzz", date, home_assistant: "2026.3.0", exclude_database: false, protected: false, compressed };
    let mut outer = Outer::new(Vec::new(), (1_800_000_000, 0))
        .member("./backup.json", &Manifest::new(&draft).to_json())
        .and_then(|outer| outer.member(name, &body))
        .expect("memory takes it");
    if matches!(wrapping, Wrapping::PlainIndexed | Wrapping::GzipIndexed) {
        let index = index.map_or_else(|| true_index(name, inner, table.as_ref()), index_around);
        outer = outer.member(MEMBER, &index).expect("memory takes it");
    }
    outer.finish().expect("memory takes it").0
}

fn gzip(plain: &[u8]) -> (Vec<u8>, Option<PieceTable>) {
    let mut member = Vec::new();
    let table =
        pargz::Compressor::new().threads(NonZeroUsize::MIN).compress(plain, &mut member).expect("memory").pieces;
    (member, Some(table))
}

fn true_index(member: &str, inner: &[u8], table: Option<&PieceTable>) -> Vec<u8> {
    let mut builder = IndexBuilder::new(member);
    let mut reader = Reader::new(inner);
    while let Ok(Some(entry)) = reader.next_entry() {
        let kind = entry.kind.into();
        let (header_offset, data_offset, size) = (entry.header_offset, entry.data_offset, entry.size);
        // What no index can hold is left out of it.
        let _ = builder.push(&FileEntry { path: entry.path, kind, header_offset, data_offset, size, folder: None });
    }
    builder.finish(table, &[])
}

/// The archive that `data` stands for, and flags for the target. The first byte's low bits choose: the outer archive
/// itself, or its inner tar, with or without gzip and an index, true or made from the input as well.
pub fn any_archive(data: &[u8]) -> Option<(u8, Vec<u8>)> {
    let (first, rest) = choice(data)?;
    let flags = first >> 3;
    let wrapping = match first & 7 {
        0 | 1 => {
            let mut archive = rest.to_vec();
            if first & 1 == 1 {
                mend_tar(&mut archive);
            }
            return Some((flags, archive));
        }
        2 => Wrapping::Plain,
        3 | 6 => Wrapping::PlainIndexed,
        4 => Wrapping::Gzip,
        _ => Wrapping::GzipIndexed,
    };
    let (index, rest) = if first & 7 >= 6 {
        let (len, rest) = rest.split_first_chunk::<2>()?;
        let (index, rest) = rest.split_at_checked(usize::from(u16::from_le_bytes(*len)))?;
        (Some(index), rest)
    } else {
        (None, rest)
    };
    let mut inner = rest.to_vec();
    mend_tar(&mut inner);
    Some((flags, archive_around(&inner, wrapping, index)))
}

/// Argon2 costs too much to run on every input.
pub fn needs_argon2(archive: &[u8]) -> bool {
    archive.windows(10).any(|window| window == b"SecureTar\x03")
}

/// A directory in memory that is this process's own; removed when dropped.
pub struct Scratch(PathBuf);

impl Scratch {
    pub fn new() -> Self {
        let memory = Path::new("/dev/shm");
        let base = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
        let path = base.join(format!("haul-fuzz-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).expect("a directory for files");
        Self(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Default for Scratch {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
