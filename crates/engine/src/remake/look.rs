//! What the members of a plain tar say while it passes. It never fails: what is no tar passes as well, and is noted.

use std::io::{self, Read};

use habackup::{
    index::{FileEntry, Folder, IndexBuilder},
    readers::Content,
    tar::{Entry, EntryKind, Gathered, HeaderBlocks, Kind, padding},
};

use crate::{
    names::normal,
    verdict::collect::{Collector, Header, Passing},
};

enum State {
    Header(HeaderBlocks),
    /// So many bytes of a body, and then so many zeros.
    Body {
        left: u64,
        fill: u64,
    },
    /// Two blocks of zeros.
    Ended,
    /// It is no tar from here on.
    Lost,
}

/// Of Home Assistant's own part.
pub(super) struct Main {
    pub(super) index: IndexBuilder,
    collector: Collector,
    passing: Option<Passing>,
    /// The history, where it is called otherwise than usual, below the top.
    history: Option<Vec<u8>>,
    pub(super) has_history: bool,
}

impl Main {
    pub(super) fn new(index: IndexBuilder, history: Option<Vec<u8>>) -> Self {
        Self { index, collector: Collector::default(), passing: None, history, has_history: false }
    }

    /// What is in it.
    pub(super) fn content(&mut self) -> Content {
        std::mem::take(&mut self.collector).finish()
    }

    fn begin(&mut self, entry: &Entry, header_offset: u64, data_offset: u64) {
        self.has_history |= self.history.as_ref().is_some_and(|history| normal(&entry.path) == *history);
        self.passing = Some(self.collector.begin(&Header::from(entry)));
        let folder =
            (entry.kind == EntryKind::Directory).then_some(Folder { mode: entry.mode & 0o7777, mtime: entry.mtime });
        let (path, kind) = (entry.path.clone(), Kind::from(entry.kind));
        // What can't be in an index is found without it.
        let _ = self.index.push(&FileEntry { path, kind, header_offset, data_offset, size: entry.size, folder });
    }

    fn take(&mut self, bytes: &[u8]) {
        if let Some(passing) = &mut self.passing {
            passing.take(bytes);
        }
    }

    fn end(&mut self) {
        if let Some(passing) = self.passing.take() {
            self.collector.pass(passing);
        }
    }
}

/// Looks at what is read through it.
pub(super) struct Look<R> {
    source: R,
    state: State,
    position: u64,
    members: u64,
    zeros: u32,
    main: Option<Main>,
}

impl<R: Read> Look<R> {
    pub(super) fn new(source: R, main: Option<Main>) -> Self {
        Self { source, state: State::Header(HeaderBlocks::default()), position: 0, members: 0, zeros: 0, main }
    }

    /// What is wrong with it.
    pub(super) fn finish(self) -> (Option<&'static str>, Option<Main>) {
        let fault = match self.state {
            _ if self.position == 0 => Some("it is empty"),
            State::Lost => Some("its content is damaged"),
            State::Header(_) | State::Body { .. } => Some("it ends too early"),
            State::Ended if self.members == 0 => Some("it is empty"),
            State::Ended => None,
        };
        (fault, self.main)
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
                State::Body { left, fill } => {
                    let body = (*left).min(bytes.len() as u64) as usize;
                    let zeros = (*fill).min((bytes.len() - body) as u64) as usize;
                    *left -= body as u64;
                    *fill -= zeros as u64;
                    let (is_over, taken) = (*left == 0 && *fill == 0, body + zeros);
                    self.position += taken as u64;
                    if let Some(main) = &mut self.main {
                        main.take(&bytes[..body]);
                    }
                    if is_over {
                        self.close();
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
            // Whoever unpacks it stops at the first zeros.
            Gathered::Header(..) if self.zeros > 0 => self.state = State::Lost,
            Gathered::NoHeader => self.state = State::Lost,
            Gathered::Header(bytes, entry) => {
                self.members += 1;
                if let Some(main) = &mut self.main {
                    main.begin(&entry, self.position - bytes.len() as u64, self.position);
                }
                if entry.size > 0 {
                    self.state = State::Body { left: entry.size, fill: padding(entry.size) as u64 };
                } else {
                    self.close();
                }
            }
        }
    }

    /// A member has ended.
    fn close(&mut self) {
        if let Some(main) = &mut self.main {
            main.end();
        }
        self.state = State::Header(HeaderBlocks::default());
    }
}

impl<R: Read> Read for Look<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.source.read(buffer)?;
        self.look(&buffer[..count]);
        Ok(count)
    }
}
