//! What the members of a plain tar say while it passes. It never fails: what is no tar passes as well, and is noted.

use std::io::{self, Read};

use habackup::{
    index::{FileEntry, Folder, IndexBuilder},
    tar::{EntryKind, Gathered, HeaderBlocks, Kind, padding},
};

enum State {
    Header(HeaderBlocks),
    Body {
        left: u64,
    },
    /// Two blocks of zeros.
    Ended,
    /// It is no tar from here on.
    Lost,
}

/// Looks at what is read through it.
pub(super) struct Look<R> {
    source: R,
    state: State,
    position: u64,
    members: u64,
    zeros: u32,
    index: Option<IndexBuilder>,
}

impl<R: Read> Look<R> {
    /// Its members go into the `index`.
    pub(super) fn new(source: R, index: Option<IndexBuilder>) -> Self {
        Self { source, state: State::Header(HeaderBlocks::default()), position: 0, members: 0, zeros: 0, index }
    }

    /// What is wrong with it.
    pub(super) fn finish(self) -> (Option<&'static str>, Option<IndexBuilder>) {
        let fault = match self.state {
            _ if self.position == 0 => Some("it is empty"),
            State::Lost => Some("its content is damaged"),
            State::Header(_) | State::Body { .. } => Some("it ends too early"),
            State::Ended if self.members == 0 => Some("it is empty"),
            State::Ended => None,
        };
        (fault, self.index)
    }

    fn look(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let taken = match &mut self.state {
                State::Header(blocks) => {
                    let taken = blocks.wanted().min(bytes.len());
                    let gathered = blocks.push(&bytes[..taken]);
                    self.position += taken as u64;
                    self.header(gathered);
                    taken
                }
                State::Body { left } => {
                    let taken = (*left).min(bytes.len() as u64) as usize;
                    *left -= taken as u64;
                    self.position += taken as u64;
                    if *left == 0 {
                        self.state = State::Header(HeaderBlocks::default());
                    }
                    taken
                }
                State::Ended | State::Lost => {
                    self.position += bytes.len() as u64;
                    return;
                }
            };
            bytes = &bytes[taken..];
        }
    }

    fn header(&mut self, gathered: Gathered) {
        match gathered {
            Gathered::Part => {}
            Gathered::Zeros => {
                self.zeros += 1;
                if self.zeros == 2 {
                    self.state = State::Ended;
                }
            }
            Gathered::NoHeader => self.state = State::Lost,
            Gathered::Header(bytes, entry) => {
                self.zeros = 0;
                self.members += 1;
                let kind = Kind::from(entry.kind);
                if let Some(index) = &mut self.index {
                    let folder = (entry.kind == EntryKind::Directory)
                        .then_some(Folder { mode: entry.mode & 0o7777, mtime: entry.mtime });
                    // What can't be in an index is found without it.
                    let _ = index.push(&FileEntry {
                        path: entry.path,
                        kind,
                        header_offset: self.position - bytes.len() as u64,
                        data_offset: self.position,
                        size: entry.size,
                        folder,
                    });
                }
                let left = entry.size + padding(entry.size) as u64;
                if left > 0 {
                    self.state = State::Body { left };
                }
            }
        }
    }
}

impl<R: Read> Read for Look<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.source.read(buffer)?;
        self.look(&buffer[..count]);
        Ok(count)
    }
}
