//! Checks the structure of a database image in one streaming pass: no seeking, no SQLite, bounded memory.
//!
//! It checks every page separately (`page`) and records which page points to which (`graph`, or with less memory
//! `marks`). When the stream ends, each page must have been reached exactly as often, and as the kind, that a sound
//! database requires. It does not compare rows with indexes, so it finds damage to the structure, not a flipped letter
//! in a text. It never complains about a database that `PRAGMA integrity_check` calls ok.
//!
//! On request, it also counts rows (`census`).
//!
//! Memory: one page, 10 bytes per page of the image, and lists of long rows and free pages: for a gigabyte of recorder
//! about 3 MiB, and never more than 48 MiB. Above 2 Mi pages (8 GiB with 4096-byte pages) one byte per page and a list
//! of free pages: for 25 GB 6.5 MiB, and never more than 52 MiB. There, what pages point to is judged only where free
//! pages are blank, as in every image of this crate. Above 32 Mi pages (128 GiB) only header and length are checked.

#![expect(clippy::cast_possible_truncation, reason = "pages are numbered by 32 bits")]

mod census;
mod graph;
mod marks;
mod page;
mod pointer_map;
mod problems;

use crate::header::{HEADER_LEN, Header, be32, is_database};
use census::Census;
use graph::Graph;
pub(crate) use marks::{Marks, Verdict};
pub(crate) use page::Shape;
pub(crate) use problems::Problems;

pub use census::{Column, Counts, Span, TableRows};

/// Takes an image in pieces of any size and says, at the end, what is wrong with it.
///
/// ```
/// let mut checker = livesqlite::check::ImageChecker::new();
/// checker.push(b"SQLite format 3\0");
/// assert_eq!(checker.finish(), ["the image ends inside the database header"]);
/// ```
#[derive(Debug, Default)]
pub struct ImageChecker {
    /// Bytes that do not fill a page yet; at first, those that do not fill the header.
    partial: Vec<u8>,
    len: u64,
    /// What a census is to watch, if there is to be one.
    column: Option<Column>,
    state: State,
}

#[derive(Debug, Default)]
enum State {
    #[default]
    Header,
    Pages(Box<Pages>),
    /// The header is unusable, so nothing after it can be understood.
    Hopeless(String),
}

#[derive(Debug)]
struct Pages {
    header: Header,
    size: usize,
    /// Complete pages seen.
    seen: u64,
    tracking: Tracking,
    census: Option<Census>,
    problems: Problems,
}

/// How it is noted which page points to which.
#[derive(Debug)]
enum Tracking {
    Graph(Box<Graph>),
    Marks(Box<Marks>),
    None,
}

impl ImageChecker {
    /// A checker that has seen nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// A checker that also counts rows, for [`finish_counted`](Self::finish_counted).
    pub fn counting(column: Column) -> Self {
        Self { column: Some(column), ..Self::default() }
    }

    /// The next bytes of the image.
    pub fn push(&mut self, mut bytes: &[u8]) {
        self.len += bytes.len() as u64;
        if matches!(self.state, State::Header) {
            let wanted = (HEADER_LEN - self.partial.len()).min(bytes.len());
            self.partial.extend_from_slice(&bytes[..wanted]);
            bytes = &bytes[wanted..];
            if self.partial.len() < HEADER_LEN {
                return;
            }
            self.state = begin(&self.partial, self.column);
        }
        let State::Pages(pages) = &mut self.state else { return };
        if !self.partial.is_empty() {
            let wanted = (pages.size - self.partial.len()).min(bytes.len());
            self.partial.extend_from_slice(&bytes[..wanted]);
            bytes = &bytes[wanted..];
            if self.partial.len() < pages.size {
                return;
            }
            pages.page(&self.partial);
            self.partial.clear();
        }
        let mut whole = bytes.chunks_exact(pages.size);
        for page in &mut whole {
            pages.page(page);
        }
        self.partial.extend_from_slice(whole.remainder());
    }

    /// Problems in plain words, about twenty at most; empty for a sound database.
    pub fn finish(self) -> Vec<String> {
        self.finish_counted().0
    }

    /// The same, and what was counted, also of a damaged database: what can be reached of it. `None` where that was too
    /// large to be counted.
    pub fn finish_counted(mut self) -> (Vec<String>, Option<Counts>) {
        let census = if let State::Pages(pages) = &mut self.state { pages.census.take() } else { None };
        (self.judge(), census.and_then(Census::finish))
    }

    fn judge(self) -> Vec<String> {
        match self.state {
            State::Header if self.len == 0 => vec!["the image is empty".to_owned()],
            State::Header if self.len >= 16 && !is_database(&self.partial) => vec![not_a_database()],
            State::Header => vec!["the image ends inside the database header".to_owned()],
            State::Hopeless(problem) => vec![problem],
            State::Pages(pages) => pages.finish(self.len),
        }
    }
}

fn not_a_database() -> String {
    "the image does not begin like a SQLite database".to_owned()
}

fn begin(head: &[u8], column: Option<Column>) -> State {
    if !is_database(head) {
        return State::Hopeless(not_a_database());
    }
    let header = match Header::parse(head) {
        Ok(header) => header,
        Err(error) => return State::Hopeless(error.to_string()),
    };
    let mut problems = Problems::default();
    let shape = shape(head, &header, &mut problems);
    // If the header does not hold the size, only the end of the stream shows it: bounds are then checked at the end.
    let known = u64::from(if header.declared_is_current { header.declared_pages } else { 0 });
    let tracking = match problems.is_empty() {
        true if known <= graph::MAX_PAGES => Tracking::Graph(Box::new(Graph::new(shape))),
        true => Marks::new(Shape { pages: known as u32, ..shape }, &header, None)
            .map_or(Tracking::None, |marks| Tracking::Marks(Box::new(marks))),
        false => Tracking::None,
    };
    let census = column
        .filter(|_| problems.is_empty() && known <= graph::MAX_PAGES)
        .map(|column| Census::new(column, shape.usable));
    State::Pages(Box::new(Pages { header, size: shape.size, seen: 0, tracking, census, problems }))
}

/// What all pages have in common; the number of pages is left open. `problems`: fields of the header that can't be.
pub(crate) fn shape(head: &[u8], header: &Header, problems: &mut Problems) -> Shape {
    let size = header.page_size as usize;
    let usable = size - usize::from(head[20]);
    let mut require = |holds: bool, field: &str| {
        if !holds {
            problems.add(format!("the database header has an impossible {field}"));
        }
    };
    require((1..=2).contains(&head[18]) && (1..=2).contains(&head[19]), "format version");
    require(usable >= 480, "reserved space");
    require(be32(head, 44) <= 4, "schema format");
    require(be32(head, 56) <= 3, "text encoding");
    Shape { size, usable, pages: 0, auto_vacuum: be32(head, 52) != 0 }
}

impl Pages {
    fn page(&mut self, bytes: &[u8]) {
        self.seen += 1;
        if self.seen > graph::MAX_PAGES {
            self.census = None;
            if matches!(self.tracking, Tracking::Graph(_)) {
                self.tracking = Tracking::None;
            }
        }
        match &mut self.tracking {
            Tracking::Graph(graph) => graph.page(self.seen as u32, bytes),
            Tracking::Marks(marks) if self.seen <= u64::from(self.header.declared_pages) => {
                marks.page(self.seen as u32, bytes);
            }
            Tracking::Marks(_) | Tracking::None => {}
        }
        if let Some(census) = &mut self.census {
            census.page(self.seen as u32, bytes);
        }
    }

    fn finish(mut self, len: u64) -> Vec<String> {
        let size = self.size as u64;
        let declared = self.header.pages(len / size) * size;
        if declared != len {
            self.problems.add(format!("the database header declares {declared} bytes, but the image has {len}"));
            return self.problems.into_list();
        }
        match self.tracking {
            Tracking::Graph(graph) => graph.finish(&self.header, &mut self.problems),
            Tracking::Marks(marks) => marks.finish(&self.header, &mut self.problems),
            Tracking::None => {}
        }
        self.problems.into_list()
    }
}
