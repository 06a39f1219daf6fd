//! Where the headers of a Home Assistant backup are while it grows.
//!
//! Whoever writes one begins each member with a header that says "no bytes", appends the content, and then goes back to
//! that one header (and, if the content is encrypted, to the `SecureTar` header behind it) to write down the size. Never
//! further back, and nothing else twice.

use std::ops::Range;

use habackup::tar::{BLOCK, Entry, EntryKind, Gathered, HeaderBlocks, Reader, padding};

/// Bytes of a `SecureTar` header, the longest of its versions: it follows a member's header and is written late, too.
const SECURETAR: u64 = 136;
/// What readers look for first.
const MANIFEST: [&[u8]; 2] = [b"./backup.json", b"backup.json"];

/// Why bytes can't be those of a backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotABackup {
    /// Something else stands where a member has to begin.
    #[error("byte {0} should begin a member of a Home Assistant backup, and does not")]
    NoHeader(u64),
    /// A size that the bytes contradict.
    #[error("the member at byte {0} declares fewer bytes than it has")]
    TooShort(u64),
    /// Something follows the end of the archive.
    #[error("data follows the end of the archive, at byte {0}")]
    AfterEnd(u64),
}

/// A member's header, which may change until the next one begins.
#[derive(Debug)]
struct Head {
    begins: u64,
    /// Of the tar header; what is behind it may be a `SecureTar` header.
    header: usize,
    bytes: Vec<u8>,
}

#[derive(Debug)]
enum State {
    /// The next header, as far as it is there.
    Header(HeaderBlocks),
    /// Inside a member whose size is known.
    Member { ends: u64 },
    /// Inside one whose size will be written later.
    Growing,
    /// Zeros.
    Ended,
}

/// Follows the bytes of an archive in their order.
#[derive(Debug)]
pub(crate) struct Outline {
    position: u64,
    state: State,
    head: Option<Head>,
    /// Of the member that came last, as far as it is known.
    size: Option<u64>,
    zero_blocks: u32,
    has_manifest: bool,
}

/// What the bytes of an archive are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    /// A member of this name begins.
    Begin(String),
    /// Its content, and the zeros behind it: these of the bytes that were taken.
    Content(Range<usize>),
    /// It has ended, and had so many bytes.
    End(u64),
}

/// What a step of the archive means for those who pass it on.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Found {
    /// Members, for those who don't take the bytes as they are.
    pub(crate) seen: Vec<Seen>,
    /// These bytes may change.
    pub(crate) late: Vec<Range<u64>>,
    /// These bytes, announced as such before, are final.
    pub(crate) closed: Vec<(u64, Vec<u8>)>,
}

impl Default for Outline {
    fn default() -> Self {
        let state = State::Header(HeaderBlocks::default());
        Self { position: 0, state, head: None, size: None, zero_blocks: 0, has_manifest: false }
    }
}

impl Outline {
    /// Where the next byte belongs.
    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    /// Whether everything has been written that a backup consists of.
    pub(crate) fn is_complete(&self) -> bool {
        matches!(self.state, State::Ended) && self.has_manifest
    }

    /// Takes the next bytes.
    pub(crate) fn append(&mut self, bytes: &[u8], found: &mut Found) -> Result<(), NotABackup> {
        let mut at = 0;
        while at < bytes.len() {
            let rest = &bytes[at..];
            let taken = match &mut self.state {
                State::Header(blocks) => blocks.wanted().min(rest.len()),
                State::Member { ends } => (*ends - self.position).min(rest.len() as u64) as usize,
                State::Growing => rest.len(),
                State::Ended => match rest.iter().position(|byte| *byte != 0) {
                    None => rest.len(),
                    Some(at) => return Err(NotABackup::AfterEnd(self.position + at as u64)),
                },
            };
            let range = at..at + taken;
            self.position += taken as u64;
            self.take(&bytes[range.clone()], range.clone(), found)?;
            at = range.end;
        }
        Ok(())
    }

    fn take(&mut self, bytes: &[u8], range: Range<usize>, found: &mut Found) -> Result<(), NotABackup> {
        match &mut self.state {
            State::Header(blocks) => {
                let gathered = blocks.push(bytes);
                self.header(gathered, found)?;
            }
            State::Member { ends } => {
                found.seen.push(Seen::Content(range));
                if *ends == self.position {
                    self.state = State::Header(HeaderBlocks::default());
                }
            }
            State::Growing => {
                found.seen.push(Seen::Content(range));
                self.keep(bytes);
            }
            State::Ended => {}
        }
        Ok(())
    }

    /// Keeps what may change of the current member.
    fn keep(&mut self, bytes: &[u8]) {
        if let Some(head) = &mut self.head {
            let most = head.header + SECURETAR as usize;
            let room = most.saturating_sub(head.bytes.len()).min(bytes.len());
            head.bytes.extend_from_slice(&bytes[..room]);
        }
    }

    fn header(&mut self, gathered: Gathered, found: &mut Found) -> Result<(), NotABackup> {
        match gathered {
            Gathered::Part => Ok(()),
            Gathered::Zeros => {
                self.close(found);
                self.zero_blocks += 1;
                if self.zero_blocks == 2 {
                    self.state = State::Ended;
                }
                Ok(())
            }
            Gathered::Header(block, entry) if self.zero_blocks == 0 => {
                self.close(found);
                self.begin(block, &entry, found);
                Ok(())
            }
            Gathered::Header(..) | Gathered::NoHeader => {
                Err(NotABackup::NoHeader(self.position.saturating_sub(BLOCK as u64)))
            }
        }
    }

    fn begin(&mut self, block: Vec<u8>, entry: &Entry, found: &mut Found) {
        self.has_manifest |= MANIFEST.contains(&&entry.path[..]);
        found.seen.push(Seen::Begin(String::from_utf8_lossy(&entry.path).into_owned()));
        self.size = Some(entry.size);
        if entry.size == 0 && entry.kind == EntryKind::File && block.len() > BLOCK {
            let begins = self.position - block.len() as u64;
            found.late.push(begins..self.position + SECURETAR);
            self.head = Some(Head { begins, header: block.len(), bytes: block });
            self.state = State::Growing;
        } else if entry.size > 0 {
            self.state = State::Member { ends: self.position + entry.size + padding(entry.size) as u64 };
        }
    }

    /// Nothing of the last header changes any more.
    pub(crate) fn close(&mut self, found: &mut Found) {
        if let Some(head) = self.head.take() {
            found.closed.push((head.begins, head.bytes));
        }
        found.seen.extend(self.size.take().map(Seen::End));
    }

    /// The bytes that may be written again.
    pub(crate) fn changeable(&self) -> Range<u64> {
        self.head.as_ref().map_or(0..0, |head| head.begins..head.begins + head.bytes.len() as u64)
    }

    /// Takes bytes that replace some of [`Self::changeable`].
    pub(crate) fn rewrite(&mut self, offset: u64, bytes: &[u8]) -> Result<(), NotABackup> {
        let Some(head) = &mut self.head else { return Ok(()) };
        let at = (offset - head.begins) as usize;
        head.bytes[at..at + bytes.len()].copy_from_slice(bytes);
        // A header that came in part has no right checksum.
        let Some(entry) = Reader::new(&head.bytes[..head.header]).next_entry().ok().flatten() else { return Ok(()) };
        let data = head.begins + head.header as u64;
        let is_whole_header = offset == head.begins && bytes.len() >= head.header;
        // A part that failed before its first byte stays empty; all else has bytes, and their number is not there yet.
        if entry.size == 0 && !(is_whole_header && self.position == data) {
            return Ok(());
        }
        let ends = data + entry.size + padding(entry.size) as u64;
        self.size = Some(entry.size);
        match ends.checked_sub(self.position) {
            None => return Err(NotABackup::TooShort(head.begins)),
            Some(0) => self.state = State::Header(HeaderBlocks::default()),
            Some(_) => self.state = State::Member { ends },
        }
        Ok(())
    }
}
