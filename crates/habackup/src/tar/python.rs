//! Walks a tar archive as Python's `tarfile` does, and so as every reader of Home Assistant: what it takes for the end,
//! and what it complains about, with its own texts. [`Reader`](super::Reader) says whether an archive is sound; this
//! says what Home Assistant makes of one that is not.
//!
//! The rules are those of `tarfile.py` in Python 3.13 and 3.14: a damaged header after the first one silently ends the
//! archive, unless it follows an extended header.

use std::io;

use super::fields::{self, CHECKSUM, GID, LINK, MODE, MTIME, NAME, PREFIX, SIZE, TYPE, UID};
use super::{BLOCK, EntryKind, USTAR_SIZE_MAX, padding};
use crate::read_at::at_most;

/// The input of an archive: read in order, and able to skip.
pub trait Input {
    /// Reads until `buffer` is full or nothing is left; says how many bytes came.
    fn fill(&mut self, buffer: &mut [u8]) -> io::Result<usize>;
    /// Passes over `count` bytes, or as many as there are; says how many there were.
    fn pass(&mut self, count: u64) -> io::Result<u64>;
}

/// A member as `tarfile` sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its name, without closing slashes.
    pub name: Vec<u8>,
    /// What it is.
    pub kind: EntryKind,
    /// Bytes of its body.
    pub size: u64,
    /// The offset of its first header, including extended ones.
    pub header_offset: u64,
    /// Where its body begins.
    pub data_offset: u64,
    /// Where it links to.
    pub link: Vec<u8>,
    /// The size in the header block itself, where that is a number.
    pub block_size: Option<u64>,
    /// The size in the PAX record.
    pub pax_size: Option<u64>,
    /// Whether its PAX records are those of macOS' own tar.
    pub libarchive: bool,
}

impl Member {
    /// As [`super::Entry::sizes_disagree`].
    pub fn sizes_disagree(&self) -> bool {
        let differs = |pax, block| pax != block && !(pax > USTAR_SIZE_MAX && block == 0);
        self.pax_size.zip(self.block_size).is_some_and(|(pax, block)| differs(pax, block))
    }
}

/// Why a walk ended.
#[derive(Debug)]
pub enum End {
    /// At an end marker, or at the end of the input after a member.
    Clean {
        /// Whether there was an end marker.
        marked: bool,
    },
    /// `tarfile` takes this for the end and reports nothing, but it is not the end.
    Silent(&'static str),
    /// `tarfile.ReadError`, and its text.
    Refused(&'static str),
    /// The input failed.
    Input(io::Error),
}

/// What a header turned out to be, by the exceptions of `tarfile`.
enum Problem {
    Empty,
    Truncated,
    Eof,
    Invalid(&'static str),
    Subsequent(&'static str),
    Unexpected,
    Input(io::Error),
}

impl From<io::Error> for Problem {
    fn from(error: io::Error) -> Self {
        Self::Input(error)
    }
}

/// Extended headers beyond this are taken for damage; `tarfile` itself has no limit.
const EXTENSION_MAX: u64 = 1 << 20;
/// How many extended headers may precede one member.
const NESTED: u8 = 16;

/// Walks an archive.
pub struct Walk<I> {
    input: I,
    position: u64,
    next: u64,
    body_end: u64,
}

#[derive(Default)]
struct Records {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
    libarchive: bool,
}

impl<I: Input> Walk<I> {
    /// Reads from the first byte.
    pub fn new(input: I) -> Self {
        Self { input, position: 0, next: 0, body_end: 0 }
    }

    /// The next member, or how the archive ends.
    pub fn step(&mut self) -> Result<Member, End> {
        let start = self.next;
        match self.go_to_next().and_then(|()| self.header(0)) {
            Ok(member) => Ok(member),
            Err(problem) => Err(match problem {
                Problem::Input(error) => End::Input(error),
                Problem::Unexpected => End::Refused("unexpected end of data"),
                Problem::Subsequent(text) => End::Refused(text),
                Problem::Eof => End::Clean { marked: true },
                Problem::Empty if start == 0 => End::Refused("empty file"),
                Problem::Empty => End::Clean { marked: false },
                Problem::Truncated if start == 0 => End::Refused("truncated header"),
                Problem::Truncated => End::Silent("truncated header"),
                Problem::Invalid(text) if start == 0 => End::Refused(text),
                Problem::Invalid(text) => End::Silent(text),
            }),
        }
    }

    /// Reads from the body of the member last returned. Fewer bytes than it declares are `tarfile`'s "unexpected end of
    /// data".
    pub fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let wanted = at_most(self.body_end.saturating_sub(self.position), buffer.len());
        let count = self.input.fill(&mut buffer[..wanted])?;
        self.position += count as u64;
        Ok(count)
    }

    /// Bytes of the body that were not read yet.
    pub fn left(&self) -> u64 {
        self.body_end.saturating_sub(self.position)
    }

    /// Bytes read or passed.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// The input at its current position.
    pub fn into_inner(self) -> I {
        self.input
    }

    /// `tarfile` reads the byte before the next header, to see whether the body is whole.
    fn go_to_next(&mut self) -> Result<(), Problem> {
        let wanted = self.next.saturating_sub(self.position);
        let passed = self.input.pass(wanted)?;
        self.position += passed;
        if passed < wanted { Err(Problem::Unexpected) } else { Ok(()) }
    }

    fn header(&mut self, depth: u8) -> Result<Member, Problem> {
        let header_offset = self.position;
        let mut block = [0; BLOCK];
        let count = self.input.fill(&mut block)?;
        self.position += count as u64;
        match count {
            0 => return Err(Problem::Empty),
            BLOCK => {}
            _ => return Err(Problem::Truncated),
        }
        if block.iter().all(|byte| *byte == 0) {
            return Err(Problem::Eof);
        }
        if number(&block[CHECKSUM]).is_none() {
            return Err(Problem::Invalid("invalid header"));
        }
        if !fields::checksum_holds(&block) {
            return Err(Problem::Invalid("bad checksum"));
        }
        for field in [MODE, UID, GID, SIZE, MTIME, 329..337, 337..345] {
            if number(&block[field]).is_none() {
                return Err(Problem::Invalid("invalid header"));
            }
        }
        let size = number(&block[SIZE]).and_then(|size| u64::try_from(size).ok());
        match block[TYPE] {
            b'x' | b'X' | b'g' | b'L' | b'K' => self.extension(&block, size, header_offset, depth),
            _ => self.member(&block, size, header_offset),
        }
    }

    fn member(&mut self, block: &[u8; BLOCK], size: Option<u64>, header_offset: u64) -> Result<Member, Problem> {
        let mut name = fields::text(&block[NAME]).to_vec();
        let mut kind = block[TYPE];
        if kind == 0 && name.ends_with(b"/") {
            kind = b'5';
        }
        let prefix = fields::text(&block[PREFIX]);
        if !prefix.is_empty() && !matches!(kind, b'S') {
            name = [prefix, b"/", &name].concat();
        }
        let kind = match kind {
            0 | b'0' | b'7' => EntryKind::File,
            b'1' => EntryKind::HardLink,
            b'2' => EntryKind::Symlink,
            b'3' => EntryKind::Char,
            b'4' => EntryKind::Block,
            b'5' => EntryKind::Directory,
            b'6' => EntryKind::Fifo,
            b'S' => EntryKind::GnuSparse,
            other => EntryKind::Other(other),
        };
        let size = size.ok_or(Problem::Invalid("invalid offset"));
        let declared = if has_body(kind) { size? } else { size.unwrap_or(0) };
        let member = Member {
            name: trimmed(name),
            kind,
            size: declared,
            header_offset,
            data_offset: self.position,
            link: fields::text(&block[LINK]).to_vec(),
            block_size: Some(declared),
            pax_size: None,
            libarchive: false,
        };
        self.place(&member);
        Ok(member)
    }

    fn place(&mut self, member: &Member) {
        let body = if has_body(member.kind) { member.size } else { 0 };
        self.body_end = member.data_offset.saturating_add(body);
        self.next = self.body_end.saturating_add(padding(body) as u64);
    }

    #[expect(clippy::cast_possible_truncation, reason = "checked against `EXTENSION_MAX`")]
    fn extension(
        &mut self,
        block: &[u8; BLOCK],
        size: Option<u64>,
        header_offset: u64,
        depth: u8,
    ) -> Result<Member, Problem> {
        let size = size.ok_or(Problem::Invalid("invalid offset"))?;
        if size > EXTENSION_MAX || depth == NESTED {
            return Err(Problem::Invalid("invalid header"));
        }
        let mut body = vec![0; size as usize + padding(size)];
        let count = self.input.fill(&mut body)?;
        self.position += count as u64;
        body.truncate(count.min(size as usize));
        let kind = block[TYPE];
        let records = if matches!(kind, b'L' | b'K') {
            let text = Some(fields::text(&body).to_vec());
            if kind == b'L' {
                Records { path: text, ..Records::default() }
            } else {
                Records { link: text, ..Records::default() }
            }
        } else {
            records(&body).ok_or(Problem::Invalid("invalid header"))?
        };
        // Others may follow before the member.
        drop(body);
        let mut member = self.header(depth + 1).map_err(|problem| match problem {
            Problem::Empty => Problem::Subsequent("empty header"),
            Problem::Truncated => Problem::Subsequent("truncated header"),
            Problem::Eof => Problem::Subsequent("end of file header"),
            Problem::Invalid(text) => Problem::Subsequent(text),
            other => other,
        })?;
        member.header_offset = header_offset;
        if kind == b'g' {
            return Ok(member);
        }
        if let Some(path) = records.path {
            member.name = trimmed(path);
        }
        if let Some(link) = records.link {
            member.link = link;
        }
        member.libarchive |= records.libarchive;
        if let Some(size) = records.size {
            member.pax_size = Some(size);
            member.size = size;
            self.place(&member);
        }
        Ok(member)
    }
}

/// Types that `tarfile` does not know are taken for files.
fn has_body(kind: EntryKind) -> bool {
    matches!(kind, EntryKind::File | EntryKind::GnuSparse | EntryKind::Other(_))
}

fn trimmed(mut name: Vec<u8>) -> Vec<u8> {
    while name.last() == Some(&b'/') {
        name.pop();
    }
    name
}

/// `tarfile.nti`: only 0x80 and 0xff begin a number in base 256.
fn number(field: &[u8]) -> Option<i64> {
    if matches!(field[0], 0x80 | 0xff) || field[0] < 0x80 { fields::read_number(field) } else { None }
}

/// The records of a PAX header that change where something is; `None` where `tarfile` calls the header invalid.
fn records(mut body: &[u8]) -> Option<Records> {
    let mut found = Records::default();
    while body.first().is_some_and(|byte| *byte != 0) {
        let space = body.iter().position(|byte| *byte == b' ')?;
        let length: usize = std::str::from_utf8(&body[..space]).ok()?.parse().ok()?;
        let (record, rest) = body.split_at_checked(length)?;
        body = rest;
        let pair = record.get(space + 1..)?.strip_suffix(b"\n")?;
        let equals = pair.iter().position(|byte| *byte == b'=')?;
        let value = &pair[equals + 1..];
        match &pair[..equals] {
            b"path" => found.path = Some(value.to_vec()),
            b"linkpath" => found.link = Some(value.to_vec()),
            // What is no number counts as 0.
            b"size" => {
                found.size = Some(std::str::from_utf8(value).ok().and_then(|text| text.parse().ok()).unwrap_or(0));
            }
            keyword => found.libarchive |= keyword.starts_with(b"LIBARCHIVE."),
        }
    }
    Some(found)
}
