//! Gathers what a configuration holds from its members while they pass. Whoever reads an archive feeds in the members;
//! [`habackup::readers`] has the rules.

use habackup::{
    readers::{Content, Database, Journal, Link, Special},
    rules::{Loss, PATH_MAX, too_long, what_restore_drops},
    settings::{self, RECORDER},
    tar::{Entry, EntryKind, Kind, python},
};
use livesqlite::check::{Column, Counts, ImageChecker};

use crate::{
    names::{Names, is_top, normal},
    read::scan::{BodyReader, Stopped, Walk},
};

/// More than this many of one kind are not named.
const MOST: usize = 200;
/// `.HA_VERSION` files beyond this are not version files.
const VERSION_FILE: u64 = 256;
/// Where a database says how large its pages are, and how it keeps its journal: 2 in both bytes is a write-ahead log.
const PAGE_SIZE: std::ops::Range<usize> = 16..18;
const JOURNAL: std::ops::Range<usize> = 18..20;

/// A member of an inner archive, by its headers.
pub(crate) struct Header<'h> {
    /// As written there.
    pub(crate) name: &'h [u8],
    pub(crate) kind: EntryKind,
    pub(crate) size: u64,
    pub(crate) link: &'h [u8],
    /// Its two headers disagree on its size.
    pub(crate) sizes_disagree: bool,
}

impl<'h> From<&'h Entry> for Header<'h> {
    fn from(entry: &'h Entry) -> Self {
        let sizes_disagree = entry.sizes_disagree();
        Self { name: &entry.path, kind: entry.kind, size: entry.size, link: &entry.link, sizes_disagree }
    }
}

impl<'h> From<&'h python::Member> for Header<'h> {
    fn from(member: &'h python::Member) -> Self {
        let sizes_disagree = member.sizes_disagree();
        Self { name: &member.name, kind: member.kind, size: member.size, link: &member.link, sizes_disagree }
    }
}

/// Gathers the facts about the members of one inner archive. How the tar ends is the reader's to note.
#[derive(Default)]
pub(crate) struct Collector {
    pub(crate) content: Content,
    names: Names,
    /// Links that lead out of the archive.
    ways_out: Vec<Vec<u8>>,
    /// Databases that are damaged, and logs that may complete them, below `data`.
    damaged: Vec<Vec<u8>>,
    logs: Vec<Vec<u8>>,
}

impl Collector {
    /// A member and its body, which is read as far as it goes; `column` is counted in the recorder's database. Says
    /// what came of a file whose content counts, and what stopped the reading.
    pub(crate) fn take<W: Walk>(
        &mut self,
        header: &Header<'_>,
        configuration: bool,
        column: Option<Column>,
        body: &mut BodyReader<'_, W>,
    ) -> (Option<Ended>, Result<(), Stopped<W::Broken>>) {
        let mut seen = self.header(header, configuration).map(|below| Body::of(below, header.size, column));
        let read = loop {
            match body.next() {
                Ok([]) => break Ok(()),
                Ok(bytes) => {
                    self.content.bytes += bytes.len() as u64;
                    if let Some(seen) = &mut seen {
                        seen.take(bytes);
                    }
                }
                Err(stopped) => break Err(stopped),
            }
        };
        if let Some(seen) = seen.as_mut().filter(|_| read.is_err()) {
            seen.cut();
        }
        (seen.map(|seen| self.end(seen)), read)
    }

    /// A member of the configuration that passes by its writer's hand; its body is given to what is returned.
    pub(crate) fn begin(&mut self, header: &Header<'_>) -> Passing {
        let body = self.header(header, true).map(|below| Body::of(below, header.size, None));
        Passing { body, first: Vec::new(), size: header.size }
    }

    /// All of its body has passed.
    pub(crate) fn pass(&mut self, passing: Passing) {
        let Passing { body, first, .. } = passing;
        if let Some(mut body) = body {
            if !first.is_empty() {
                body.take(&first);
            }
            self.end(body);
        }
    }

    /// A member, by its headers. In an archive that is not the `configuration`, only what leads out of it matters.
    /// Gives the path below `data` of a file whose content counts.
    fn header(&mut self, header: &Header<'_>, configuration: bool) -> Option<Vec<u8>> {
        let name = kept(header.name);
        let path = normal(name);
        self.content.entries += 1;
        self.content.tops += u64::from(is_top(name, configuration));
        self.content.last = Some(path.clone());
        if leads_out(name) {
            push(&mut self.content.escaping, name.to_vec());
            return None;
        }
        if !configuration {
            return None;
        }
        self.member(header, &path);
        let below = path
            .strip_prefix(b"data/")
            .filter(|below| header.kind == EntryKind::File && too_long(below, b"").is_none());
        below.map(<[u8]>::to_vec)
    }

    fn member(&mut self, header: &Header<'_>, path: &[u8]) {
        let content = &mut self.content;
        if std::str::from_utf8(path).is_err() {
            push(&mut content.not_utf8, path.to_vec());
        }
        if let Some(too_long) = too_long(header.name, if header.kind == EntryKind::Symlink { header.link } else { b"" })
        {
            push(&mut content.too_long, (path.to_vec(), too_long));
        }
        if header.sizes_disagree {
            push(&mut content.sizes_disagree, path.to_vec());
        }
        if header.kind == EntryKind::HardLink {
            let link = normal(kept(header.link));
            let known = self.names.has(&link);
            push(&mut content.hard_links, (path.to_vec(), link, known));
        }
        if self.names.repeated(path) && header.kind != EntryKind::Directory {
            push(&mut content.repeated, path.to_vec());
        }
        if matches!(header.kind, EntryKind::Fifo | EntryKind::Char | EntryKind::Block) {
            push(&mut content.specials, Special { path: path.to_vec(), kind: header.kind });
        }
        if self.ways_out.iter().any(|way| path.strip_prefix(way.as_slice()).is_some_and(|rest| rest.starts_with(b"/")))
        {
            push(&mut content.through_links, path.to_vec());
        }
        if header.kind == EntryKind::Symlink && is_way_out(path, header.link) {
            push(&mut self.ways_out, path.to_vec());
        }
        if path == b"data" {
            content.data = true;
            content.data_is_link |= header.kind == EntryKind::Symlink;
        } else if let Some(below) = path.strip_prefix(b"data/") {
            self.below_data(header, path, below);
        } else if path != b"homeassistant.json" && !path.is_empty() {
            content.beside_data += 1;
        }
    }

    fn below_data(&mut self, header: &Header<'_>, path: &[u8], below: &[u8]) {
        let kind = header.kind.into();
        note(&mut self.content, below, kind, header.size, header.link);
        let content = &mut self.content;
        let base = below.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
        if base.starts_with(b"._") {
            push(&mut content.apple, path.to_vec());
        }
        for loss in what_restore_drops(below, kind, header.link) {
            match loss {
                Loss::NamedBackups | Loss::InBackups => push(&mut content.in_backups, path.to_vec()),
                Loss::RelativeLink => push(&mut content.links, (path.to_vec(), Link::Relative)),
                Loss::AbsoluteLink => push(&mut content.links, (path.to_vec(), Link::Absolute)),
            }
        }
        let log_of = below.strip_suffix(b"-wal").or_else(|| below.strip_suffix(b"-journal"));
        if let Some(database) = log_of.filter(|_| header.size > 0 && too_long(below, b"").is_none()) {
            push(&mut self.logs, database.to_vec());
        }
    }

    /// The body of a file came to its end.
    fn end(&mut self, body: Body) -> Ended {
        let Body { below, size, present, is_database, journal, page_size, checker, kept, .. } = body;
        if below == b".HA_VERSION" && size <= VERSION_FILE {
            self.content.version = kept
                .as_deref()
                .filter(|bytes| !bytes.is_empty())
                .map(|bytes| String::from_utf8_lossy(bytes).trim().to_owned());
        } else if let Some(damage) = kept.as_ref().and_then(|bytes| settings::damage(&below, bytes)) {
            push(&mut self.content.damaged_settings, ([b"data/", below.as_slice()].concat(), damage));
        }
        let (problems, counts) = checker.map(ImageChecker::finish_counted).unwrap_or_default();
        if below == RECORDER {
            let journal = journal.unwrap_or(Journal::Other);
            self.content.database =
                Some(Database { size, present, is_one: is_database, journal, page_size, problems: problems.clone() });
        } else if !problems.is_empty() {
            push(&mut self.damaged, below.clone());
        }
        Ended { below, size, is_database, problems, counts, kept }
    }

    /// Whether this database has a non-empty log: then it need not be whole without it.
    pub(crate) fn has_log(&self, below: &[u8]) -> bool {
        self.logs.iter().any(|database| database == below)
    }

    /// All of it.
    pub(crate) fn finish(mut self) -> Content {
        let damaged = std::mem::take(&mut self.damaged);
        self.content.damaged_databases = damaged
            .into_iter()
            .filter(|below| !self.has_log(below))
            .map(|below| [b"data/", below.as_slice()].concat())
            .collect();
        self.content
    }
}

/// So much of a name as is kept: no file can have a longer one, and what is left is still too long.
pub(crate) fn kept(name: &[u8]) -> &[u8] {
    &name[..name.len().min(PATH_MAX + 1)]
}

/// Old readers pass over such members (`securetar.secure_path`), whatever they are.
fn leads_out(name: &[u8]) -> bool {
    name.starts_with(b"/") || name.split(|byte| *byte == b'/').any(|part| part == b"..")
}

/// Whether a link leads out of the archive.
fn is_way_out(path: &[u8], target: &[u8]) -> bool {
    if target.starts_with(b"/") {
        return true;
    }
    let mut depth = path.split(|byte| *byte == b'/').count() as i64 - 1;
    target.split(|byte| *byte == b'/').any(|part| {
        match part {
            b"" | b"." => {}
            b".." => depth -= 1,
            _ => depth += 1,
        }
        depth < 0
    })
}

/// Notes a member by its header.
fn note(content: &mut Content, below: &[u8], kind: Kind, size: u64, link: &[u8]) {
    let link = (kind == Kind::Symlink).then(|| if link.starts_with(b"/") { Link::Absolute } else { Link::Relative });
    content.note(below, size, link);
}

/// Notes a member whose body is judged by somebody else.
pub(crate) fn note_unread(content: &mut Content, below: &[u8], kind: Kind, size: u64, link: &[u8]) {
    note(content, below, kind, size, link);
    if below == RECORDER && kind == Kind::File {
        content.database = Some(Database {
            size,
            present: size,
            is_one: size > 0,
            journal: Journal::Other,
            page_size: 0,
            problems: Vec::new(),
        });
    }
}

/// One member while it passes, in pieces of any size.
pub(crate) struct Passing {
    body: Option<Body>,
    /// Its first bytes, until there are enough to say what it is.
    first: Vec<u8>,
    size: u64,
}

/// A database says within so many bytes what it is.
const ENOUGH: usize = 512;

impl Passing {
    /// The next bytes of its body.
    pub(crate) fn take(&mut self, bytes: &[u8]) {
        let Some(body) = &mut self.body else { return };
        if body.started {
            return body.take(bytes);
        }
        self.first.extend_from_slice(bytes);
        if self.first.len() >= ENOUGH || self.first.len() as u64 >= self.size {
            body.take(&std::mem::take(&mut self.first));
        }
    }
}

/// What is seen of one file's content while it passes.
#[derive(Default)]
struct Body {
    below: Vec<u8>,
    size: u64,
    /// What came of it so far.
    present: u64,
    /// What to count in the recorder's database.
    column: Option<Column>,
    started: bool,
    is_database: bool,
    journal: Option<Journal>,
    page_size: u64,
    checker: Option<ImageChecker>,
    /// All of a file that is judged as a whole.
    kept: Option<Vec<u8>>,
}

/// The result, for callers that want more than the facts.
pub(crate) struct Ended {
    pub(crate) below: Vec<u8>,
    pub(crate) size: u64,
    pub(crate) is_database: bool,
    /// What is wrong with the pages of a database.
    pub(crate) problems: Vec<String>,
    pub(crate) counts: Option<Counts>,
    /// All of a settings file, if all of it came.
    pub(crate) kept: Option<Vec<u8>>,
}

impl Body {
    /// For a file below `data`.
    fn of(below: Vec<u8>, size: u64, column: Option<Column>) -> Self {
        let whole = size <= settings::LONGEST && settings::is_settings_file(&below)
            || below == b".HA_VERSION" && size <= VERSION_FILE;
        let column = column.filter(|_| below == RECORDER);
        Self { below, size, column, kept: whole.then(Vec::new), ..Self::default() }
    }

    fn take(&mut self, bytes: &[u8]) {
        self.present += bytes.len() as u64;
        if !std::mem::replace(&mut self.started, true) && livesqlite::is_database(bytes) {
            self.is_database = true;
            self.checker = Some(self.column.take().map_or_else(ImageChecker::new, ImageChecker::counting));
            // 1 means the largest, which does not fit into two bytes.
            self.page_size = match bytes.get(PAGE_SIZE) {
                Some([0, 1]) => 65_536,
                Some([high, low]) => u64::from(u16::from_be_bytes([*high, *low])),
                _ => 0,
            };
            self.journal = Some(if bytes.get(JOURNAL) == Some(&[2, 2]) { Journal::Wal } else { Journal::Other });
        }
        if let Some(kept) = &mut self.kept {
            kept.extend_from_slice(bytes);
        }
        if let Some(checker) = &mut self.checker {
            checker.push(bytes);
        }
    }

    /// Not all of it came: what is judged as a whole can't be.
    fn cut(&mut self) {
        if self.below != b".HA_VERSION" {
            self.kept = None;
        }
    }
}

/// Adds to a list that is not to grow without end.
pub(crate) fn push<T>(list: &mut Vec<T>, value: T) {
    if list.len() < MOST {
        list.push(value);
    }
}
