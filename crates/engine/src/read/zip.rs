//! Reads what a zip holds from the directory at its end, because the headers before the files need not say everything.

use std::io;

use habackup::read_at::ReadAt;

/// The end of the directory, without its comment.
const END: usize = 22;
/// How far from the end of the file that may begin.
const FARTHEST: u64 = (END + 0xffff) as u64;
/// The pointer to the end of a large directory: just before the ordinary one.
const LOCATOR: u64 = 20;
const LARGE_END: usize = 56;
/// The fixed part of one entry, and of the header before its data.
const ENTRY: usize = 46;
const LOCAL: usize = 30;
/// A longer directory has no zip with a backup in it.
const LONGEST: u64 = 16 << 20;

/// One file in it.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) name: String,
    pub(crate) method: u16,
    pub(crate) encrypted: bool,
    pub(crate) packed: u64,
    pub(crate) size: u64,
    pub(crate) crc32: u32,
    header: u64,
}

impl Entry {
    /// Whether it may be a whole archive of Home Assistant.
    pub(crate) fn is_tar(&self) -> bool {
        let base = self.name.rsplit(['/', '\\']).next().unwrap_or_default().as_bytes();
        base.len() > 4
            && base[base.len() - 4..].eq_ignore_ascii_case(b".tar")
            && !base.starts_with(b"._")
            && !self.name.starts_with("__MACOSX/")
    }

    /// Where its data begin.
    pub(crate) fn data(&self, file: &impl ReadAt) -> io::Result<u64> {
        let mut header = [0; LOCAL];
        file.read_exact_at(&mut header, self.header)?;
        Ok(self.header + LOCAL as u64 + u64::from(short(&header, 26)) + u64::from(short(&header, 28)))
    }
}

fn short(bytes: &[u8], at: usize) -> u16 {
    bytes.get(at..at + 2).map_or(0, |bytes| u16::from_le_bytes([bytes[0], bytes[1]]))
}

fn word(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).map_or(0, |bytes| u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
}

fn long(bytes: &[u8], at: usize) -> u64 {
    u64::from(word(bytes, at)) | u64::from(word(bytes, at + 4)) << 32
}

/// All files in it. `None`: there is no directory, or none that holds.
pub(crate) fn entries(file: &impl ReadAt) -> io::Result<Option<Vec<Entry>>> {
    let length = file.len();
    let from = length.saturating_sub(FARTHEST);
    let mut tail = vec![0; (length - from) as usize];
    file.read_exact_at(&mut tail, from)?;
    let Some(at) = (0..tail.len().saturating_sub(END - 1)).rev().find(|at| tail[*at..].starts_with(b"PK\x05\x06"))
    else {
        return Ok(None);
    };
    let (mut size, mut start) = (u64::from(word(&tail, at + 12)), u64::from(word(&tail, at + 16)));
    let end = from + at as u64;
    if (size == u64::from(u32::MAX) || start == u64::from(u32::MAX)) && end >= LOCATOR {
        let mut locator = [0; LOCATOR as usize];
        file.read_exact_at(&mut locator, end - LOCATOR)?;
        let position = long(&locator, 8);
        if !locator.starts_with(b"PK\x06\x07") || position.saturating_add(LARGE_END as u64) > length {
            return Ok(None);
        }
        let mut large = [0; LARGE_END];
        file.read_exact_at(&mut large, position)?;
        (size, start) = (long(&large, 40), long(&large, 48));
    }
    if size > LONGEST || start.saturating_add(size) > length {
        return Ok(None);
    }
    let mut directory = vec![0; size as usize];
    file.read_exact_at(&mut directory, start)?;
    Ok(parse(&directory, length))
}

fn parse(mut directory: &[u8], length: u64) -> Option<Vec<Entry>> {
    let mut entries = Vec::new();
    while directory.starts_with(b"PK\x01\x02") && directory.len() >= ENTRY {
        let (name, extra, comment) =
            (usize::from(short(directory, 28)), usize::from(short(directory, 30)), usize::from(short(directory, 32)));
        let mut entry = Entry {
            name: String::from_utf8_lossy(directory.get(ENTRY..ENTRY + name)?).into_owned(),
            method: short(directory, 10),
            encrypted: short(directory, 8) & 1 == 1,
            packed: u64::from(word(directory, 20)),
            size: u64::from(word(directory, 24)),
            crc32: word(directory, 16),
            header: u64::from(word(directory, 42)),
        };
        enlarge(&mut entry, directory.get(ENTRY + name..ENTRY + name + extra)?);
        if entry.header.saturating_add(LOCAL as u64) > length {
            return None;
        }
        entries.push(entry);
        directory = directory.get(ENTRY + name + extra + comment..)?;
    }
    (!entries.is_empty()).then_some(entries)
}

/// Numbers that do not fit into 32 bits are in a field of their own, only those and in this order.
fn enlarge(entry: &mut Entry, mut extra: &[u8]) {
    while extra.len() >= 4 {
        let Some(field) = extra.get(4..4 + usize::from(short(extra, 2))) else { return };
        if short(extra, 0) == 1 {
            let wide = [&mut entry.size, &mut entry.packed, &mut entry.header]
                .into_iter()
                .filter(|number| **number == u64::from(u32::MAX));
            for (number, bytes) in wide.zip(field.chunks_exact(8)) {
                *number = long(bytes, 0);
            }
        }
        extra = &extra[4 + field.len()..];
    }
}
