//! Cuts a backup's bytes, as they come, where they are worth comparing with earlier ones: at the members of its tars, at
//! fixed distances in large files, at the pages of databases.
//!
//! Nothing here decides what is stored, only how it is cut: bytes that make no sense are cut at fixed distances.

/// Bytes of a tar's block.
const BLOCK: usize = 512;
/// A file up to this length is one piece, with its headers.
const SMALL: u64 = 64 << 10;
/// From here on the pieces of a file are large.
const LARGE_FROM: u64 = 4 << 20;
const LARGE_PIECE: u64 = 1 << 20;
/// Extended headers longer than this are cut like a file.
const LONGEST_EXTENSION: u64 = 1 << 20;
/// A database of fewer bytes is a file like any other.
const SMALLEST_DATABASE: u64 = 64 << 10;
/// Nothing is larger, whatever a header says.
const LARGEST_MEMBER: u64 = 1 << 60;
const MAGIC: &[u8; 16] = b"SQLite format 3\0";

/// What takes the cut bytes. Every byte of the backup comes once, in order.
pub(crate) trait Cuts {
    /// Why it can't go on.
    type Error;
    /// More bytes of the current piece.
    fn bytes(&mut self, bytes: &[u8]) -> Result<(), Self::Error>;
    /// The piece ends here. One without a byte is none.
    fn cut(&mut self, next: Class) -> Result<(), Self::Error>;
    /// A database begins, after a cut.
    fn database(&mut self, path: &str, page_size: u32, pages: u64) -> Result<(), Self::Error>;
    /// More bytes of the database.
    fn pages(&mut self, bytes: &[u8]) -> Result<(), Self::Error>;
    /// All its pages were there.
    fn end_database(&mut self) -> Result<(), Self::Error>;
}

/// What a piece may be compressed together with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Class {
    /// The backup's own description and headers, which may still change.
    Frame,
    /// What holds passwords and tokens: nothing that others can write lies beside it.
    Secret,
    /// All else.
    Other,
}

/// Where in the backup's structure the next byte is.
enum State {
    /// A header block is being gathered.
    Header,
    /// An extended header's content is being gathered.
    Extension { left: u64, padding: u64 },
    /// A file whose first bytes show what it is.
    Begins { length: u64, kept: Vec<u8> },
    /// A file: bytes left of it, and until the next cut.
    File { left: u64, piece: u64, until_cut: u64, padding: u64 },
    /// A database.
    Database { left: u64 },
    /// Zeros after the end of a member.
    Padding { left: u64 },
    /// No tar, or a member whose length is not known.
    Opaque { until_cut: u64 },
}

/// Cuts one backup.
pub(crate) struct Segmenter {
    state: State,
    block: Vec<u8>,
    /// Gathered from extended headers for the next member.
    extension: Vec<u8>,
    path: Option<String>,
    size: Option<u64>,
    /// The member of the outer tar in which we are, if it is a tar itself.
    inside: Option<String>,
    zero_blocks: u32,
    /// There was a header.
    is_tar: bool,
}

impl Default for Segmenter {
    fn default() -> Self {
        Self {
            state: State::Header,
            block: Vec::with_capacity(BLOCK),
            extension: Vec::new(),
            path: None,
            size: None,
            inside: None,
            zero_blocks: 0,
            is_tar: false,
        }
    }
}

impl Segmenter {
    /// More bytes of the backup.
    pub(crate) fn push<C: Cuts>(&mut self, mut bytes: &[u8], out: &mut C) -> Result<(), C::Error> {
        while !bytes.is_empty() {
            let taken = self.step(bytes, out)?;
            bytes = &bytes[taken..];
        }
        Ok(())
    }

    /// The backup ends here, wherever that is.
    pub(crate) fn finish<C: Cuts>(&mut self, out: &mut C) -> Result<(), C::Error> {
        let gathered = std::mem::take(&mut self.block);
        out.bytes(&gathered)?;
        if let State::Begins { kept, .. } = &mut self.state {
            let kept = std::mem::take(kept);
            out.bytes(&kept)?;
        }
        if let State::Database { .. } = self.state {
            out.end_database()?;
        }
        out.cut(Class::Frame)
    }

    /// Takes at least one byte.
    fn step<C: Cuts>(&mut self, bytes: &[u8], out: &mut C) -> Result<usize, C::Error> {
        match &mut self.state {
            State::Header => {
                let count = bytes.len().min(BLOCK - self.block.len());
                self.block.extend_from_slice(&bytes[..count]);
                if self.block.len() == BLOCK {
                    let block = std::mem::replace(&mut self.block, Vec::with_capacity(BLOCK));
                    self.header(&block, out)?;
                }
                Ok(count)
            }
            State::Extension { left, padding } => {
                let count = at_most(*left + *padding, bytes.len());
                let content = at_most(*left, count);
                self.extension.extend_from_slice(&bytes[..content]);
                *left -= content as u64;
                *padding -= (count - content) as u64;
                let done = *left + *padding == 0;
                out.bytes(&bytes[..count])?;
                if done {
                    let records = std::mem::take(&mut self.extension);
                    self.extended(&records);
                    self.state = State::Header;
                }
                Ok(count)
            }
            State::Begins { length, kept } => {
                let wanted = at_most(*length, 100);
                let count = bytes.len().min(wanted - kept.len());
                kept.extend_from_slice(&bytes[..count]);
                if kept.len() == wanted {
                    let (length, kept) = (*length, std::mem::take(kept));
                    self.begins(length, &kept, out)?;
                }
                Ok(count)
            }
            State::File { left, piece, until_cut, padding } => {
                let count = at_most((*left).min(*until_cut), bytes.len());
                out.bytes(&bytes[..count])?;
                *left -= count as u64;
                *until_cut -= count as u64;
                if *left == 0 {
                    self.state = State::Padding { left: *padding };
                    self.end_of_member(out)?;
                } else if *until_cut == 0 {
                    *until_cut = *piece;
                    let class = self.class();
                    out.cut(class)?;
                }
                Ok(count)
            }
            State::Database { left } => {
                let count = at_most(*left, bytes.len());
                out.pages(&bytes[..count])?;
                *left -= count as u64;
                if *left == 0 {
                    out.end_database()?;
                    // A database has whole blocks.
                    self.state = State::Header;
                    self.forget();
                    out.cut(self.class())?;
                }
                Ok(count)
            }
            State::Padding { left } => {
                let count = at_most(*left, bytes.len());
                out.bytes(&bytes[..count])?;
                *left -= count as u64;
                self.end_of_member(out)?;
                Ok(count)
            }
            State::Opaque { .. } => {
                let count = bytes.len().min(BLOCK - self.block.len());
                self.block.extend_from_slice(&bytes[..count]);
                if self.block.len() == BLOCK {
                    let block = std::mem::replace(&mut self.block, Vec::with_capacity(BLOCK));
                    self.opaque(&block, out)?;
                }
                Ok(count)
            }
        }
    }

    /// The member's padding may have none left.
    fn end_of_member<C: Cuts>(&mut self, out: &mut C) -> Result<(), C::Error> {
        if let State::Padding { left: 0 } = self.state {
            self.state = State::Header;
            self.forget();
            out.cut(self.class())?;
        }
        Ok(())
    }

    fn forget(&mut self) {
        self.path = None;
        self.size = None;
    }

    /// Of what comes next.
    fn class(&self) -> Class {
        match (&self.inside, &self.path) {
            (None, None) => Class::Frame,
            (None, Some(path)) if is_description(path) => Class::Frame,
            (Some(_), Some(path)) if holds_secrets(path) => Class::Secret,
            _ => Class::Other,
        }
    }

    fn header<C: Cuts>(&mut self, block: &[u8], out: &mut C) -> Result<(), C::Error> {
        if block.iter().all(|byte| *byte == 0) {
            self.zero_blocks += 1;
            out.bytes(block)?;
            if self.zero_blocks == 2 {
                // The end of the inner tar, or of all. What follows may be a member of the outer one.
                out.cut(Class::Frame)?;
                self.inside = None;
            }
            return Ok(());
        }
        let Some(header) = Header::parse(block) else {
            if self.is_tar {
                // The content of a member whose length is put in afterwards.
                out.cut(Class::Other)?;
            }
            // The beginning of what is no tar may still change, as that of a tar may.
            self.state = State::Opaque { until_cut: if self.is_tar { SMALL } else { 2 * SMALL } };
            return self.opaque(block, out);
        };
        self.is_tar = true;
        if self.zero_blocks > 0 {
            self.zero_blocks = 0;
            out.cut(Class::Frame)?;
        }
        match header.kind {
            b'x' | b'g' | b'L' | b'K' if header.size <= LONGEST_EXTENSION => {
                out.bytes(block)?;
                if header.kind == b'L' {
                    // The name itself is what follows; told apart from records by having no `=`.
                    self.path = None;
                }
                self.state = State::Extension { left: header.size, padding: padding(header.size) };
                if header.size == 0 {
                    self.state = State::Header;
                }
                Ok(())
            }
            _ => {
                let length = if header.is_file { self.size.unwrap_or(header.size) } else { 0 };
                if self.path.is_none() {
                    self.path = Some(header.name);
                }
                let path = self.path.clone().unwrap_or_default();
                let is_tar = std::path::Path::new(&path).extension().is_some_and(|extension| extension == "tar");
                // What is put in afterwards says nothing yet: so a tar is known by its name, not by its length.
                if self.inside.is_none() && is_tar {
                    out.bytes(block)?;
                    self.inside = Some(path);
                    self.state = State::Header;
                    self.zero_blocks = 0;
                    self.forget();
                    return out.cut(Class::Other);
                }
                if self.inside.is_some() && holds_secrets(&path) {
                    // The extended header before it tells names and times only.
                    out.cut(Class::Secret)?;
                }
                out.bytes(block)?;
                if length == 0 {
                    self.state = State::Padding { left: 0 };
                    return self.end_of_member(out);
                }
                if self.inside.is_none() && !is_description(&path) {
                    out.cut(Class::Other)?;
                }
                self.state = State::Begins { length, kept: Vec::new() };
                Ok(())
            }
        }
    }

    /// A block whose meaning is not known. It may be the header that follows a member of unknown length.
    fn opaque<C: Cuts>(&mut self, block: &[u8], out: &mut C) -> Result<(), C::Error> {
        let State::Opaque { until_cut } = &mut self.state else { return Ok(()) };
        if self.is_tar && &block[257..262] == b"ustar" && Header::parse(block).is_some() {
            self.state = State::Header;
            self.forget();
            out.cut(self.class())?;
            return self.header(block, out);
        }
        out.bytes(block)?;
        *until_cut = until_cut.saturating_sub(BLOCK as u64);
        if *until_cut == 0 {
            *until_cut = SMALL;
            out.cut(Class::Other)?;
        }
        Ok(())
    }

    /// A file's first bytes are known.
    fn begins<C: Cuts>(&mut self, length: u64, first: &[u8], out: &mut C) -> Result<(), C::Error> {
        let padding = padding(length);
        if let Some(page_size) = page_size(first).filter(|size| {
            length >= SMALLEST_DATABASE && length.is_multiple_of(u64::from(*size)) && length.is_multiple_of(512)
        }) {
            let path = match (&self.inside, &self.path) {
                (Some(outer), Some(path)) => format!("{outer}/{path}"),
                (_, path) => path.clone().unwrap_or_default(),
            };
            out.cut(Class::Other)?;
            out.database(&path, page_size, length / u64::from(page_size))?;
            self.state = State::Database { left: length };
        } else {
            let piece = if length >= LARGE_FROM { LARGE_PIECE } else { SMALL };
            if length > SMALL {
                out.cut(self.class())?;
            }
            self.state = State::File { left: length, piece, until_cut: piece, padding };
        }
        self.push(first, out)
    }

    /// The records of an extended header.
    fn extended(&mut self, mut records: &[u8]) {
        // GNU's long name.
        if !records.contains(&b'=') {
            let end = records.iter().position(|byte| *byte == 0).unwrap_or(records.len());
            self.path = Some(String::from_utf8_lossy(&records[..end]).into_owned());
            return;
        }
        while let Some(space) = records.iter().position(|byte| *byte == b' ') {
            let length = std::str::from_utf8(&records[..space]).ok().and_then(|digits| digits.parse::<usize>().ok());
            let Some(record) = length.filter(|length| *length > space + 1).and_then(|length| records.get(..length))
            else {
                return;
            };
            records = &records[record.len()..];
            let text = String::from_utf8_lossy(&record[space + 1..]);
            match text.trim_end_matches('\n').split_once('=') {
                Some(("path", path)) => self.path = Some(path.to_owned()),
                Some(("size", size)) => self.size = size.parse().ok().filter(|size| *size <= LARGEST_MEMBER),
                _ => {}
            }
        }
    }
}

/// Whether a member of the outer tar is the backup's description.
fn is_description(path: &str) -> bool {
    path.trim_start_matches("./") == "backup.json"
}

/// Whether a file of Home Assistant's configuration holds passwords and tokens.
fn holds_secrets(path: &str) -> bool {
    let path = path.trim_start_matches("./").trim_start_matches("data/");
    path.starts_with(".storage/") || path.starts_with(".cloud/") || path == "secrets.yaml"
}

fn padding(length: u64) -> u64 {
    length.next_multiple_of(BLOCK as u64) - length
}

/// Never more than the bytes at hand.
#[expect(clippy::cast_possible_truncation, reason = "no more than `most`")]
fn at_most(left: u64, most: usize) -> usize {
    left.min(most as u64) as usize
}

/// Of a database that begins like this.
fn page_size(first: &[u8]) -> Option<u32> {
    if first.len() < 100 || !first.starts_with(MAGIC) {
        return None;
    }
    match u16::from_be_bytes([first[16], first[17]]) {
        1 => Some(65536),
        size if size >= 512 && size.is_power_of_two() => Some(u32::from(size)),
        _ => None,
    }
}

struct Header {
    kind: u8,
    size: u64,
    is_file: bool,
    name: String,
}

impl Header {
    /// `None`: the block is no header.
    fn parse(block: &[u8]) -> Option<Self> {
        let sum: u32 = block
            .iter()
            .enumerate()
            .map(|(at, byte)| if (148..156).contains(&at) { 32 } else { u32::from(*byte) })
            .sum();
        if octal(&block[148..156])? != u64::from(sum) {
            return None;
        }
        let size = if block[124] & 0x80 == 0 {
            octal(&block[124..136])?
        } else {
            u64::from_be_bytes(block[128..136].try_into().ok()?)
        };
        if size > LARGEST_MEMBER {
            return None;
        }
        let text = |from: usize, most: usize| {
            let field = &block[from..from + most];
            let end = field.iter().position(|byte| *byte == 0).unwrap_or(most);
            String::from_utf8_lossy(&field[..end]).into_owned()
        };
        let (name, prefix) =
            (text(0, 100), if &block[257..263] == b"ustar\0" { text(345, 155) } else { String::new() });
        let kind = block[156];
        Some(Self {
            kind,
            size,
            is_file: matches!(kind, 0 | b'0' | b'7' | b'x' | b'g' | b'L' | b'K'),
            name: if prefix.is_empty() { name } else { format!("{prefix}/{name}") },
        })
    }
}

fn octal(field: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(field).ok()?.trim_matches(['\0', ' ']);
    if text.is_empty() { Some(0) } else { u64::from_str_radix(text, 8).ok() }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What was cut: kept in place, or a piece, or a database, each with its bytes.
    #[derive(Default)]
    struct Cut {
        class: Option<Class>,
        current: Vec<u8>,
        all: Vec<(&'static str, Vec<u8>)>,
    }

    impl Cut {
        fn end(&mut self) {
            let bytes = std::mem::take(&mut self.current);
            if !bytes.is_empty() {
                let what = if self.class.is_none_or(|class| class == Class::Frame) { "frame" } else { "piece" };
                self.all.push((what, bytes));
            }
        }
    }

    impl Cuts for Cut {
        type Error = std::convert::Infallible;

        fn bytes(&mut self, bytes: &[u8]) -> Result<(), Self::Error> {
            self.current.extend_from_slice(bytes);
            Ok(())
        }

        fn cut(&mut self, next: Class) -> Result<(), Self::Error> {
            self.end();
            self.class = Some(next);
            Ok(())
        }

        fn database(&mut self, _: &str, _: u32, _: u64) -> Result<(), Self::Error> {
            self.end();
            Ok(())
        }

        fn pages(&mut self, bytes: &[u8]) -> Result<(), Self::Error> {
            self.current.extend_from_slice(bytes);
            Ok(())
        }

        fn end_database(&mut self) -> Result<(), Self::Error> {
            let bytes = std::mem::take(&mut self.current);
            self.all.push(("database", bytes));
            Ok(())
        }
    }

    fn header(name: &str, size: usize) -> Vec<u8> {
        let mut block = vec![0; BLOCK];
        block[..name.len()].copy_from_slice(name.as_bytes());
        block[124..135].copy_from_slice(format!("{size:011o}").as_bytes());
        block[156] = b'0';
        block[257..263].copy_from_slice(b"ustar\0");
        block[148..156].fill(b' ');
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        block[148..154].copy_from_slice(format!("{sum:06o}").as_bytes());
        block[154] = 0;
        block
    }

    fn cut(bytes: &[u8], step: usize) -> Vec<(&'static str, Vec<u8>)> {
        let (mut segmenter, mut out) = (Segmenter::default(), Cut::default());
        for bytes in bytes.chunks(step) {
            let Ok(()) = segmenter.push(bytes, &mut out);
        }
        let Ok(()) = segmenter.finish(&mut out);
        out.all
    }

    #[test]
    fn every_header_of_the_outer_tar_is_kept_in_place_also_after_members_of_unknown_length() {
        let late = |name| header(name, 0);
        let random: Vec<u8> = (0..300_u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
        let gzip = [&random[..], &vec![7; 512 * 400 - random.len()]].concat();
        let mut database = vec![9; 32 * 4096];
        database[..18].copy_from_slice(b"SQLite format 3\0\x10\0");
        let inner =
            [header("data/big.db", database.len()), database.clone(), header("data/x", 0), vec![0; 1024]].concat();
        let archive = [
            header("./backup.json", 3),
            [&b"{}\n"[..], &[0; 509]].concat(),
            late("homeassistant.tar.gz"),
            gzip.clone(),
            late("core_ssh.tar"),
            inner,
            late("share.tar.gz"),
            gzip,
            header("haul.index", 0),
            vec![0; 1024],
        ]
        .concat();
        for step in [1, 511, 512, 4096, archive.len()] {
            let all = cut(&archive, step);
            assert_eq!(all.iter().flat_map(|(_, bytes)| bytes).copied().collect::<Vec<_>>(), archive, "{step}");
            let of = |what| all.iter().filter(move |(is, _)| *is == what).map(|(_, bytes)| bytes);
            let kept: Vec<u8> = of("frame").flatten().copied().collect();
            for name in ["./backup.json", "homeassistant.tar.gz", "core_ssh.tar", "share.tar.gz", "haul.index"] {
                assert!(kept.windows(name.len()).any(|window| window == name.as_bytes()), "{name}, {step}");
            }
            assert_eq!(of("database").collect::<Vec<_>>(), [&database], "{step}");
        }
    }

    #[test]
    fn what_is_no_tar_is_cut_at_fixed_distances() {
        for length in [0, 1, 511, 512, 513, 500_000] {
            let bytes = vec![b'x'; length];
            let all = cut(&bytes, 1000);
            assert_eq!(all.iter().map(|(_, bytes)| bytes.len()).sum::<usize>(), length);
            assert!(all.iter().skip(1).all(|(what, bytes)| *what == "piece" && bytes.len() <= 64 << 10));
        }
    }
}
