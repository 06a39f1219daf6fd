//! Finds the members of an outer archive in any state: what follows a header shows whether it is damaged or has a wrong
//! size.

use std::io::{self, Cursor, Read};

use habackup::{
    format::Format,
    read_at::{ReadAt, Window},
    securetar::{Header, container_len},
    tar::{BLOCK, Entry, EntryKind, Reader, is_header, padding, repaired_header},
};
use store::Cancellation;

use super::notes::Notes;
use crate::read::{
    Stream,
    lenient::{Gunzip, SharedStatus, Until},
};

/// Bytes searched at once.
const STEP: usize = 1 << 20;
/// More members than this no archive has.
const MOST: usize = 100_000;
/// How much is read of what follows the end of an archive.
const BEHIND: u64 = 1 << 20;
/// So many zeros are no accident.
const TELLING: u64 = 8;

/// The part that holds the configuration.
pub(super) const MAIN: &str = "homeassistant";

/// One member that is a file.
#[derive(Clone, Debug)]
pub(super) struct Piece {
    /// As written there.
    pub(super) name: String,
    pub(super) offset: u64,
    /// Bytes that are there.
    pub(super) size: u64,
    /// Fewer than there should be.
    pub(super) cut: bool,
}

impl Piece {
    /// Its name without folders.
    pub(super) fn base(&self) -> &str {
        base(&self.name)
    }

    /// Whether it is an archive inside the archive.
    pub(super) fn is_inner(&self) -> bool {
        is_inner(self.base())
    }
}

fn base(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or_default()
}

fn is_inner(base: &str) -> bool {
    let ends = |end: &str| {
        base.len() > end.len() && base.as_bytes()[base.len() - end.len()..].eq_ignore_ascii_case(end.as_bytes())
    };
    !base.starts_with("._") && (ends(".tar") || ends(".tar.gz"))
}

/// Walks the outer archive; gives its members, and whether it came to an end marker.
pub(super) fn pieces(bytes: &impl ReadAt, notes: &mut Notes, cancel: &Cancellation) -> io::Result<(Vec<Piece>, bool)> {
    let mut scout = HeaderScanner { bytes, cancel, has_size_record: false, pieces: Vec::new(), marked: false, notes };
    let mut at = 0;
    while scout.pieces.len() < MOST {
        match scout.step(at)? {
            Some(next) => at = next,
            None => break,
        }
    }
    if scout.has_size_record {
        scout.notes.whole(
            "its headers gave sizes twice, so Home Assistant would have destroyed it when changing its \
            encryption; they now give them once",
        );
    }
    Ok((scout.pieces, scout.marked))
}

struct HeaderScanner<'a, B> {
    bytes: &'a B,
    cancel: &'a Cancellation,
    /// A member that Home Assistant rewrites when it changes the encryption has its size in a record, which it would
    /// copy.
    has_size_record: bool,
    pieces: Vec<Piece>,
    marked: bool,
    notes: &'a mut Notes,
}

/// A header, and where its content begins.
struct Found {
    entry: Entry,
    data: u64,
    repaired: bool,
}

impl<B: ReadAt> HeaderScanner<'_, B> {
    /// Takes the member at `at` in; says where the next one is.
    fn step(&mut self, at: u64) -> io::Result<Option<u64>> {
        let length = self.bytes.len();
        let Some(block) = self.block(at)? else {
            if at < length && self.some(at, length)? {
                self.notes.lost("", "the archive ends within a header; the member it described is lost");
            }
            return Ok(None);
        };
        if block.iter().all(|byte| *byte == 0) {
            return self.end(at);
        }
        let Some(found) = self.header(at, &block)? else {
            let next = self.search(at + BLOCK as u64)?;
            self.notes.lost("", format!("the header at byte {at} is damaged; the member it described is lost"));
            return Ok(next);
        };
        let name = String::from_utf8_lossy(&found.entry.path).into_owned();
        if found.repaired {
            self.notes.repaired(&name, "its header was damaged; it is rewritten");
        }
        if found.entry.kind == EntryKind::Directory {
            return Ok(Some(found.data));
        }
        if !matches!(found.entry.kind, EntryKind::File | EntryKind::Other(_)) {
            self.notes.left_out(&name, "it is neither a file nor a folder");
            return Ok(Some(found.data + found.entry.size + padding(found.entry.size) as u64));
        }
        let (size, next) = self.extent(&found, &name)?;
        let is_copied = base(&name) == "backup.json" || is_inner(base(&name));
        self.has_size_record |= is_copied && found.entry.pax_size.is_some() && !found.entry.sizes_disagree();
        let declared = found.entry.size.max(found.entry.ustar_size);
        let cut = next.is_none() && size < declared;
        self.pieces.push(Piece { name, offset: found.data, size, cut });
        Ok(Some(next.unwrap_or(length)))
    }

    /// Zeros are the end marker, or a destroyed header: what follows shows which. A name that was there before begins
    /// another archive, which nobody asked for.
    fn end(&mut self, at: u64) -> io::Result<Option<u64>> {
        let next = self.search(at + BLOCK as u64)?;
        if let Some(next) = next {
            if !self.is_known(next)? {
                if self.pieces.is_empty() && !self.some(at, next)? {
                    return Ok(Some(next));
                }
                self.notes.lost("", format!("the header at byte {at} is destroyed; the member it described is lost"));
                return Ok(Some(next));
            }
            self.notes.lost("", format!("another archive follows the end of this one, at byte {next}; it is left out"));
        }
        self.marked = self.pieces.iter().any(Piece::is_inner);
        let until = self.bytes.len().min(at + BEHIND);
        if self.marked && next.is_none() && self.some(at, until)? {
            self.notes.whole("extra data followed the end of the archive; it is left out");
        }
        Ok(None)
    }

    /// Whether the member that begins there has the name of one before it.
    fn is_known(&self, at: u64) -> io::Result<bool> {
        let Some(block) = self.block(at)? else { return Ok(false) };
        let Some(found) = self.header(at, &block)? else { return Ok(false) };
        let name = String::from_utf8_lossy(&found.entry.path);
        Ok(self.pieces.iter().any(|piece| piece.base() == base(&name)))
    }

    fn header(&self, at: u64, block: &[u8; BLOCK]) -> io::Result<Option<Found>> {
        let rest = |from: u64| Stream::new(self.bytes).range(from..self.bytes.len());
        let found = |entry: Entry, repaired| Found { data: at + entry.data_offset, entry, repaired };
        match Reader::new(rest(at)).next_entry() {
            Ok(Some(entry)) => return Ok(Some(found(entry, false))),
            Err(habackup::tar::TarError::Io(error)) => return Err(error),
            _ => {}
        }
        // Its own header block may be the damaged one, or the one after an extended header.
        let Some(first) = repaired_header(block) else { return Ok(None) };
        if let Ok(Some(entry)) = Reader::new(Cursor::new(first).chain(rest(at + BLOCK as u64))).next_entry() {
            return Ok(Some(found(entry, true)));
        }
        let mut extended = Reader::new(Cursor::new(first).chain(rest(at + BLOCK as u64)));
        let _ = extended.next_entry();
        let behind = at + extended.offset().saturating_sub(BLOCK as u64);
        let Some(second) = self.block(behind)?.filter(|_| behind > at).as_ref().and_then(repaired_header) else {
            return Ok(None);
        };
        let head = rest(at + BLOCK as u64).take(behind - at - BLOCK as u64);
        let whole = Cursor::new(first).chain(head).chain(Cursor::new(second)).chain(rest(behind + BLOCK as u64));
        let mut whole = Reader::new(whole);
        Ok(whole.next_entry().ok().flatten().map(|entry| found(entry, true)))
    }

    /// How many bytes belong to a member, and where the next one begins; `None` where the file ends before that.
    fn extent(&mut self, found: &Found, name: &str) -> io::Result<(u64, Option<u64>)> {
        let (data, length) = (found.data, self.bytes.len());
        let declared = [Some(found.entry.size), found.entry.pax_size, Some(found.entry.ustar_size)];
        let own = self.sealed_size(data)?;
        let sizes: Vec<u64> = declared.into_iter().flatten().chain(own).collect();
        // Sizes may differ by so little that all lead to the same header: what is padded with zeros ends there.
        for (size, is_padded) in sizes.iter().map(|size| (*size, true)).chain(sizes.iter().map(|size| (*size, false))) {
            let end = data.saturating_add(size);
            let next = end.saturating_add(padding(size) as u64);
            if end <= length
                && self.is_boundary(next, found.entry.size)?
                && (!is_padded || !self.some(end, next.min(length))?)
            {
                if size != found.entry.size || found.entry.sizes_disagree() {
                    self.notes
                        .repaired(name, "the sizes in its headers disagreed; Haul keeps the one that fits the data");
                }
                return Ok((size, Some(next)));
            }
        }
        let (size, behind) =
            (found.entry.size, data.saturating_add(found.entry.size).saturating_add(padding(found.entry.size) as u64));
        // What says where it ends agrees with its header: it is the next header that does not hold.
        if size > 0 && behind <= length && self.ends_at(data, size, own)? {
            return Ok((size, Some(behind)));
        }
        let next = self.search(data)?;
        let size = next.unwrap_or(length).saturating_sub(data);
        let is_cut = next.is_none()
            && size < found.entry.size
            && self.some(length.saturating_sub(4 * BLOCK as u64).max(data), length)?;
        if !is_cut {
            self.notes
                .repaired(name, "the size in its header was wrong; Haul found its end from the data that follows");
        }
        Ok((size, next))
    }

    /// By the header of its encryption.
    fn sealed_size(&self, data: u64) -> io::Result<Option<u64>> {
        let mut first = [0; 512];
        let there = self.bytes.len().saturating_sub(data).min(512) as usize;
        self.bytes.read_exact_at(&mut first[..there], data)?;
        if !first.starts_with(b"SecureTar") {
            return Ok(None);
        }
        let header = Header::read(&mut &first[..there]).ok();
        Ok(header
            .and_then(|header| container_len(header.version(), header.plaintext_len.filter(|length| *length > 0)?)))
    }

    /// Whether its content shows that it has this length: an encrypted one by its header, a tar by its end marker, a
    /// gzip stream by its end, all by the zeros after them.
    fn ends_at(&self, data: u64, size: u64, own: Option<u64>) -> io::Result<bool> {
        let (Some(first), None) = (self.block(data)?, own) else { return Ok(own == Some(size)) };
        let ends_in_zeros = |count: u64| Ok(size >= count && !self.some(data + size - count, data + size)?);
        if is_header(&first) {
            return ends_in_zeros(2 * BLOCK as u64);
        }
        let filling = padding(size) as u64;
        if filling >= TELLING {
            return Ok(!self.some(data + size, data + size + filling)?);
        }
        let Some(window) = Window::new(self.bytes, data, size).filter(|_| Format::of(&first) == Format::Gzip) else {
            return Ok(false);
        };
        let status = SharedStatus::default();
        io::copy(&mut Gunzip::new(Stream::new(window), Until::End, &status), &mut io::sink())?;
        let status = status.get();
        Ok(status.uninflated.is_none() && !status.trailing)
    }

    /// Whether a member can end here: before another header, the end marker, or the end of the file.
    fn is_boundary(&self, at: u64, size: u64) -> io::Result<bool> {
        let length = self.bytes.len();
        if at >= length {
            return Ok(true);
        }
        let Some(block) = self.block(at)? else { return Ok(true) };
        // An empty member before zeros is one whose size was never filled in, or the last one.
        let is_zero = block.iter().all(|byte| *byte == 0);
        Ok(is_header(&block)
            || repaired_header(&block).is_some()
            || (is_zero && (size > 0 || !self.some(at, length.min(at + BEHIND))?)))
    }

    fn block(&self, at: u64) -> io::Result<Option<[u8; BLOCK]>> {
        let mut block = [0; BLOCK];
        if at.saturating_add(BLOCK as u64) > self.bytes.len() {
            return Ok(None);
        }
        self.bytes.read_exact_at(&mut block, at)?;
        Ok(Some(block))
    }

    /// Whether anything but zeros follows.
    fn some(&self, from: u64, to: u64) -> io::Result<bool> {
        let mut buffer = vec![0; to.saturating_sub(from).min(BEHIND) as usize];
        self.bytes.read_exact_at(&mut buffer, from)?;
        Ok(buffer.iter().any(|byte| *byte != 0))
    }

    /// The next header of a member that an outer archive may have.
    fn search(&self, from: u64) -> io::Result<Option<u64>> {
        let length = self.bytes.len();
        let mut buffer = vec![0; STEP];
        let mut at = from;
        while at + BLOCK as u64 <= length {
            // There may be a hundred gigabytes of nothing.
            if self.cancel.is_cancelled() {
                return Err(io::Error::other("interrupted"));
            }
            let count = (length - at).min(STEP as u64) as usize;
            self.bytes.read_exact_at(&mut buffer[..count], at)?;
            for (index, block) in buffer[..count].chunks_exact(BLOCK).enumerate() {
                let Ok(block) = block.try_into() else { continue };
                let here = at + (index * BLOCK) as u64;
                if is_header(block) && self.is_outer(here)? {
                    return Ok(Some(here));
                }
            }
            at += STEP as u64;
        }
        Ok(None)
    }

    /// By its name: an inner archive that is not compressed is full of headers, too.
    fn is_outer(&self, at: u64) -> io::Result<bool> {
        match Reader::new(Stream::new(self.bytes).range(at..self.bytes.len())).next_entry() {
            Ok(Some(entry)) => {
                let name = String::from_utf8_lossy(&entry.path);
                let name = name.strip_prefix("./").unwrap_or(&name);
                let base = base(name);
                let known = matches!(base, "backup.json" | "snapshot.json" | habackup::index::MEMBER) || is_inner(base);
                Ok(known && name.matches('/').count() < 2 && !name.starts_with("data/"))
            }
            Err(habackup::tar::TarError::Io(error)) => Err(error),
            _ => Ok(false),
        }
    }
}

/// The bytes of a small member.
pub(super) fn content(bytes: &impl ReadAt, piece: &Piece, most: u64) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    let window = Window::new(bytes, piece.offset, piece.size).ok_or(io::ErrorKind::UnexpectedEof)?;
    Stream::new(window).take(most).read_to_end(&mut content)?;
    Ok(content)
}
