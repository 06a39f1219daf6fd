//! The second pass over an inner archive: writes a new tar, member after member, of what the first pass found whole. It
//! holds only one header, and small files that hard links point to.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    io::{self, Cursor, Read},
    sync::Arc,
};

use habackup::{
    index::{FileEntry, Folder, IndexBuilder},
    tar::{END, Entry, EntryKind, Header, Kind, encode, padding},
};

use super::{
    decode::Source,
    notes::Notes,
    survey::{Fate, Survey, below},
    walker::{Walker, changed},
};
use crate::{
    names::{is_top, normal},
    read::scan::Walk,
};

/// Files that hard links lead to are kept up to this size, and all of them together up to [`HELD_MAX`]; larger ones are
/// read again.
const SMALL: u64 = 1 << 20;
const HELD_MAX: u64 = 16 << 20;

/// Opens the part again.
pub(super) type Again<'a> = Box<dyn Fn() -> io::Result<Source<'a>> + Send + 'a>;

/// What a hard link leads to, at the end of all links.
#[derive(Clone)]
enum Target {
    Kept(Arc<[u8]>),
    /// To be read again.
    Member(u64),
    Link(Vec<u8>),
}

/// A file that is put in.
pub(super) struct Extra {
    pub(super) path: Vec<u8>,
    pub(super) content: Vec<u8>,
    pub(super) kind: Kind,
}

enum Body<'a> {
    None,
    Walker,
    Kept(Cursor<Arc<[u8]>>),
    Again(Box<Walker<'a>>),
}

/// A link's target, the body of a file, and its length.
type Linked<'a> = (Option<Vec<u8>>, Body<'a>, u64);

pub(super) struct Remade<'a> {
    again: Again<'a>,
    walker: Walker<'a>,
    survey: &'a Survey,
    config: bool,
    mtime: (i64, u32),
    first: VecDeque<Extra>,
    last: VecDeque<Extra>,
    index: Option<IndexBuilder>,
    /// Headers, padding and the end marker, before they are read.
    ready: Vec<u8>,
    taken: usize,
    body: Body<'a>,
    left: u64,
    /// Behind the body.
    fill: usize,
    /// Bytes handed out.
    position: u64,
    targets: HashMap<Vec<u8>, Target>,
    held_left: u64,
    /// The body that passes is kept under this path.
    keeping: Option<(Vec<u8>, Vec<u8>)>,
    /// Members that lie beside the configuration, by the folder at the top.
    beside: BTreeMap<Vec<u8>, u64>,
    notes: Notes,
    /// Handed out so far.
    members: u64,
    ended: bool,
}

/// What is known when all of it was read.
pub(super) struct Done {
    pub(super) index: Option<IndexBuilder>,
    pub(super) notes: Notes,
    /// How many it has.
    pub(super) members: u64,
}

impl<'a> Remade<'a> {
    pub(super) fn new(
        again: Again<'a>,
        survey: &'a Survey,
        index: Option<IndexBuilder>,
        mtime: (i64, u32),
    ) -> io::Result<Self> {
        let walker = Walker::new(again()?);
        Ok(Self {
            again,
            walker,
            survey,
            config: index.is_some(),
            mtime,
            first: VecDeque::new(),
            last: VecDeque::new(),
            index,
            ready: Vec::new(),
            taken: 0,
            body: Body::None,
            left: 0,
            fill: 0,
            position: 0,
            targets: HashMap::new(),
            held_left: HELD_MAX,
            keeping: None,
            beside: BTreeMap::new(),
            notes: Notes::default(),
            members: 0,
            ended: false,
        })
    }

    /// Puts files in: before all members, or after them.
    pub(super) fn with(mut self, first: Vec<Extra>, last: Vec<Extra>) -> Self {
        (self.first, self.last) = (first.into(), last.into());
        self
    }

    pub(super) fn finish(mut self) -> Done {
        for (top, count) in self.beside {
            let what = if count == 1 { "it lies".to_owned() } else { format!("{count} members lie") };
            self.notes.lost(top, format!("{what} outside the configuration, where no reader looks"));
        }
        Done { index: self.index, notes: self.notes, members: self.members }
    }

    /// Makes the next header ready.
    fn next(&mut self) -> io::Result<()> {
        if let Some(extra) = self.first.pop_front() {
            self.extra(extra);
            return Ok(());
        }
        while let Some(step) = self.walker.step()? {
            if step.number >= self.survey.whole {
                break;
            }
            if self.member(step.number, &step.entry)? {
                return Ok(());
            }
        }
        if let Some(extra) = self.last.pop_front() {
            self.extra(extra);
        } else {
            self.ready.extend_from_slice(&END);
            self.ended = true;
        }
        Ok(())
    }

    fn extra(&mut self, extra: Extra) {
        let mode = if extra.kind == Kind::Directory { 0o755 } else { 0o644 };
        let size = extra.content.len() as u64;
        let header =
            Header { path: &extra.path, kind: extra.kind, size, mode, mtime: self.mtime, link: b"", uid: 0, gid: 0 };
        self.begin(&header, Body::Kept(Cursor::new(extra.content.into())));
    }

    /// Begins a member; false when it is left out.
    fn member(&mut self, number: u64, entry: &Entry) -> io::Result<bool> {
        let source = normal(&entry.path);
        let fate = self.survey.fates.get(&number);
        let is_older =
            entry.kind != EntryKind::Directory && self.survey.repeats.get(&source).is_some_and(|last| *last != number);
        if fate == Some(&Fate::Drop) {
            return Ok(false);
        }
        let is_wanted = self.survey.wanted.contains(&source);
        if is_older {
            if is_wanted {
                self.remember_only(source, number, entry);
            }
            return Ok(false);
        }
        let Some(path) = self.new_path(number, &source, entry) else {
            if is_wanted {
                self.remember_only(source, number, entry);
            }
            return Ok(false);
        };
        let mut link = entry.link.clone();
        let (kind, body, size) = match entry.kind {
            EntryKind::Symlink if fate == Some(&Fate::Folder) => (Kind::Directory, Body::None, 0),
            EntryKind::Symlink => (Kind::Symlink, Body::None, 0),
            EntryKind::Directory => (Kind::Directory, Body::None, 0),
            EntryKind::HardLink => match self.linked(&normal(&entry.link))? {
                Some((Some(target), ..)) => {
                    link = target;
                    (Kind::Symlink, Body::None, 0)
                }
                Some((None, body, size)) => (Kind::File, body, size),
                None => {
                    self.notes.lost(&path, "it is a hard link to something that is not kept");
                    return Ok(false);
                }
            },
            _ => (Kind::File, Body::Walker, entry.size),
        };
        if is_wanted {
            if kind == Kind::File && entry.kind != EntryKind::HardLink && size <= SMALL.min(self.held_left) {
                self.held_left -= size;
                self.keeping = Some((source, Vec::new()));
            } else {
                self.remember_only(source, number, entry);
            }
        }
        let mode = if fate == Some(&Fate::Folder) { 0o755 } else { entry.mode };
        let header =
            Header { path: &path, kind, size, mode, mtime: entry.mtime, link: &link, uid: entry.uid, gid: entry.gid };
        self.begin(&header, body);
        Ok(true)
    }

    /// Where a member goes.
    fn new_path(&mut self, number: u64, source: &[u8], entry: &Entry) -> Option<Vec<u8>> {
        if !self.config {
            return Some(match entry.path.first() {
                _ if source.is_empty() => b".".to_vec(),
                Some(b'/') => source.to_vec(),
                _ => entry.path.clone(),
            });
        }
        if source.is_empty() {
            return self.survey.root.is_empty().then(|| b"data".to_vec());
        }
        let root = &self.survey.root;
        match below(source, root) {
            Some(b"") => Some(b"data".to_vec()),
            Some(rest) => Some([b"data/", rest].concat()),
            // Behind a gap it may be from a tar inside the tar.
            None if root == b"data" && self.survey.gap.is_none_or(|gap| number < gap) => Some(source.to_vec()),
            // The folders that lead to the configuration.
            None if below(root, source).is_some() => None,
            None => {
                let top = source.split(|byte| *byte == b'/').next().unwrap_or_default();
                *self.beside.entry(top.to_vec()).or_default() += 1;
                None
            }
        }
    }

    /// Keeps in mind where a hard link to this member leads, without its content.
    fn remember_only(&mut self, source: Vec<u8>, number: u64, entry: &Entry) {
        let target = match entry.kind {
            EntryKind::Directory => return,
            EntryKind::Symlink => Target::Link(entry.link.clone()),
            EntryKind::HardLink => match self.targets.get(&normal(&entry.link)) {
                Some(target) => target.clone(),
                None => return,
            },
            _ => Target::Member(number),
        };
        self.targets.insert(source, target);
    }

    /// A link's target, or the body of the file.
    fn linked(&mut self, target: &[u8]) -> io::Result<Option<Linked<'a>>> {
        Ok(match self.targets.get(target) {
            None => None,
            Some(Target::Link(link)) => Some((Some(link.clone()), Body::None, 0)),
            Some(Target::Kept(content)) => {
                Some((None, Body::Kept(Cursor::new(Arc::clone(content))), content.len() as u64))
            }
            Some(Target::Member(number)) => {
                let number = *number;
                let mut walker = Walker::new((self.again)()?);
                while let Some(step) = walker.step()? {
                    if step.number == number {
                        if !matches!(step.entry.kind, EntryKind::File | EntryKind::Other(_)) {
                            return Err(changed());
                        }
                        let size = step.entry.size;
                        return Ok(Some((None, Body::Again(Box::new(walker)), size)));
                    }
                }
                return Err(changed());
            }
        })
    }

    fn begin(&mut self, header: &Header<'_>, body: Body<'a>) {
        self.members += u64::from(!is_top(header.path, self.config));
        let before = self.ready.len();
        encode(header, &mut self.ready);
        let header_offset = self.position + (before - self.taken) as u64;
        if let Some(index) = &mut self.index {
            let folder =
                (header.kind == Kind::Directory).then_some(Folder { mode: header.mode & 0o7777, mtime: header.mtime });
            let path = header.path.to_vec();
            let data_offset = header_offset + (self.ready.len() - before) as u64;
            // What can't be in an index is found without it.
            let _ = index.push(&FileEntry {
                path,
                kind: header.kind,
                header_offset,
                data_offset,
                size: header.size,
                folder,
            });
        }
        self.left = header.size;
        self.fill = padding(header.size);
        self.body = body;
    }

    fn content(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let wanted = self.left.min(buffer.len() as u64) as usize;
        let buffer = &mut buffer[..wanted];
        let count = match &mut self.body {
            Body::None => 0,
            Body::Walker => self.walker.read(buffer)?,
            Body::Kept(content) => content.read(buffer)?,
            Body::Again(walker) => walker.read(buffer)?,
        };
        if count == 0 {
            return Err(changed());
        }
        if let Some((_, kept)) = &mut self.keeping {
            kept.extend_from_slice(&buffer[..count]);
        }
        self.left -= count as u64;
        Ok(count)
    }

    /// Behind a body.
    fn close(&mut self) {
        if let Some((path, content)) = self.keeping.take() {
            self.targets.insert(path, Target::Kept(content.into()));
        }
        self.body = Body::None;
        let fill = std::mem::take(&mut self.fill);
        self.ready.resize(self.ready.len() + fill, 0);
    }
}

impl Read for Remade<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            if self.taken < self.ready.len() {
                let count = buffer.len().min(self.ready.len() - self.taken);
                buffer[..count].copy_from_slice(&self.ready[self.taken..self.taken + count]);
                self.taken += count;
                self.position += count as u64;
                return Ok(count);
            }
            self.ready.clear();
            self.taken = 0;
            if self.left > 0 {
                let count = self.content(buffer)?;
                self.position += count as u64;
                return Ok(count);
            }
            if self.ended {
                return Ok(0);
            }
            if self.fill > 0 || self.keeping.is_some() {
                self.close();
                continue;
            }
            self.next()?;
        }
    }
}
