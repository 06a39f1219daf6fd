//! Where the headers of a Home Assistant backup are while it grows.
//!
//! Whoever writes one begins each member with a header that says "no bytes", appends the content, and then goes back to
//! that one header (and, if the content is encrypted, to the `SecureTar` header behind it) to write down the size. Never
//! further back, and nothing else twice.

use std::ops::Range;

use habackup::tar::{BLOCK, END, EntryKind, Reader, padding};

/// Bytes of a `SecureTar` header, the longest of its versions: it follows a member's header and is written late, too.
const SECURETAR: u64 = 136;
/// No header of a member, with all that precedes it, is longer.
const LONGEST_HEADER: usize = 64 << 10;
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
    Header(Vec<u8>),
    /// Inside a member whose size is known.
    Member { ends: u64 },
    /// Inside one whose size will be written later.
    Growing,
    /// Zeros.
    Ended,
}

/// Follows the bytes of an archive in their order.
#[derive(Debug)]
pub struct Outline {
    position: u64,
    state: State,
    head: Option<Head>,
    zero_blocks: u32,
    has_manifest: bool,
}

/// What a step of the archive means for those who pass it on.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// These bytes may change.
    pub late: Vec<Range<u64>>,
    /// These bytes, announced as such before, are final.
    pub closed: Vec<(u64, Vec<u8>)>,
}

impl Default for Outline {
    fn default() -> Self {
        Self { position: 0, state: State::Header(Vec::new()), head: None, zero_blocks: 0, has_manifest: false }
    }
}

impl Outline {
    /// Where the next byte belongs.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Whether everything has been written that a backup consists of.
    pub fn is_complete(&self) -> bool {
        matches!(self.state, State::Ended) && self.has_manifest
    }

    /// Takes the next bytes.
    pub fn append(&mut self, mut bytes: &[u8], found: &mut Found) -> Result<(), NotABackup> {
        while !bytes.is_empty() {
            let taken = match &mut self.state {
                State::Header(block) => {
                    let wanted = BLOCK - block.len() % BLOCK;
                    let taken = wanted.min(bytes.len());
                    block.extend_from_slice(&bytes[..taken]);
                    taken
                }
                State::Member { ends } => (*ends - self.position).min(bytes.len() as u64) as usize,
                State::Growing => bytes.len(),
                State::Ended => match bytes.iter().position(|byte| *byte != 0) {
                    None => bytes.len(),
                    Some(at) => return Err(NotABackup::AfterEnd(self.position + at as u64)),
                },
            };
            self.keep(&bytes[..taken]);
            self.position += taken as u64;
            bytes = &bytes[taken..];
            self.look(found)?;
        }
        Ok(())
    }

    /// Keeps what may change of the current member.
    fn keep(&mut self, bytes: &[u8]) {
        if let Some(head) = &mut self.head
            && matches!(self.state, State::Growing)
        {
            let most = head.header + SECURETAR as usize;
            let room = most.saturating_sub(head.bytes.len()).min(bytes.len());
            head.bytes.extend_from_slice(&bytes[..room]);
        }
    }

    /// What the bytes so far mean.
    fn look(&mut self, found: &mut Found) -> Result<(), NotABackup> {
        match &mut self.state {
            State::Header(block) if block.len() % BLOCK == 0 && !block.is_empty() => {
                let block = std::mem::take(block);
                self.header(block, found)
            }
            State::Member { ends } if *ends == self.position => {
                self.state = State::Header(Vec::new());
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn header(&mut self, block: Vec<u8>, found: &mut Found) -> Result<(), NotABackup> {
        let begins = self.position - block.len() as u64;
        self.close(found);
        if block == END[..BLOCK] {
            self.zero_blocks += 1;
            self.state = if self.zero_blocks == 2 { State::Ended } else { State::Header(Vec::new()) };
            return Ok(());
        }
        let Some(entry) = Reader::new(&block[..]).next_entry().ok().flatten().filter(|_| self.zero_blocks == 0) else {
            // An extended header, and not all of it is there. All else is no header.
            let is_extended = habackup::tar::is_header(block[..BLOCK].try_into().unwrap_or(&[0; BLOCK]))
                && matches!(block[156], b'x' | b'g' | b'L' | b'K');
            if !is_extended || block.len() >= LONGEST_HEADER || self.zero_blocks > 0 {
                return Err(NotABackup::NoHeader(begins));
            }
            self.state = State::Header(block);
            return Ok(());
        };
        self.has_manifest |= MANIFEST.contains(&&entry.path[..]);
        if entry.size == 0 && entry.kind == EntryKind::File && block.len() > BLOCK {
            found.late.push(begins..self.position + SECURETAR);
            self.head = Some(Head { begins, header: block.len(), bytes: block });
            self.state = State::Growing;
        } else {
            let ends = self.position + entry.size + padding(entry.size) as u64;
            self.state = if ends == self.position { State::Header(Vec::new()) } else { State::Member { ends } };
        }
        Ok(())
    }

    /// Nothing of the last header changes any more.
    pub fn close(&mut self, found: &mut Found) {
        if let Some(head) = self.head.take() {
            found.closed.push((head.begins, head.bytes));
        }
    }

    /// The bytes that may be written again.
    pub fn changeable(&self) -> Range<u64> {
        self.head.as_ref().map_or(0..0, |head| head.begins..head.begins + head.bytes.len() as u64)
    }

    /// Takes bytes that replace some of [`Self::changeable`].
    pub fn rewrite(&mut self, offset: u64, bytes: &[u8]) -> Result<(), NotABackup> {
        let Some(head) = &mut self.head else { return Ok(()) };
        let at = (offset - head.begins) as usize;
        head.bytes[at..at + bytes.len()].copy_from_slice(bytes);
        // A header that came in part has no right checksum.
        let Some(entry) = Reader::new(&head.bytes[..head.header]).next_entry().ok().flatten() else { return Ok(()) };
        if entry.size == 0 {
            return Ok(());
        }
        let ends = head.begins + head.header as u64 + entry.size + padding(entry.size) as u64;
        match ends.checked_sub(self.position) {
            None => return Err(NotABackup::TooShort(head.begins)),
            Some(0) => self.state = State::Header(Vec::new()),
            Some(_) => self.state = State::Member { ends },
        }
        Ok(())
    }
}
