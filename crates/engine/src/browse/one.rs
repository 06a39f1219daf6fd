//! Finds one file of an archive by its name, and writes it out as far as it could be checked.

use std::io::Write;

use habackup::{
    index::{FileEntry, Index},
    tar::{Entry, EntryKind},
};
use livesqlite::check::ImageChecker;
use store::Cancellation;

use super::{BrowseError, Browser, ItemKind, damaged, heed, named, plain, torn, walk::Content};
use crate::{
    read::{
        Member,
        scan::{Flow, Tar, scan},
    },
    restore::{Nearest, config_path, tidy},
    text::shown,
};

/// A file up to this size is read to its end before the first byte is handed on.
const HELD: u64 = 1 << 20;

/// What was handed on.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// Bytes.
    pub bytes: u64,
    /// Whether just the stretch with the file was read.
    pub used_index: bool,
    /// What the user should know of it.
    pub warnings: Vec<String>,
}

/// What is searched for.
struct Wanted<'w> {
    member: &'w Member,
    /// By its whole name in the inner archive, and not below the config directory.
    beside: bool,
    path: Vec<u8>,
}

impl Wanted<'_> {
    /// The part of a member's name that counts; `None` when it can't be meant.
    fn relevant<'p>(&self, path: &'p [u8]) -> Option<&'p [u8]> {
        if self.beside { Some(plain(path)) } else { config_path(path).ok().flatten() }
    }

    /// Also by the printable form, which is what a listing shows.
    fn is(&self, path: &[u8]) -> bool {
        path == self.path || (self.path.contains(&b'\\') && shown(path).as_bytes() == self.path)
    }

    fn name(&self) -> String {
        named(self.beside.then_some(&self.member.name), &self.path)
    }

    fn missing(&self, nearest: Nearest) -> BrowseError {
        let near = nearest.names().into_iter();
        let near = near.map(|name| if self.beside { format!("{}: {name}", self.member.name) } else { name });
        BrowseError::NotThere { path: self.name(), near: near.collect() }
    }
}

/// Where the bytes go, and how many went.
struct Sink<'s> {
    out: &'s mut dyn Write,
    bytes: u64,
}

impl Sink<'_> {
    fn put(&mut self, bytes: &[u8]) -> Result<(), BrowseError> {
        self.bytes += bytes.len() as u64;
        self.out.write_all(bytes).map_err(BrowseError::Output)
    }
}

impl Browser<'_> {
    /// Writes the content of the file at `path` to `out`: a path below the config directory, or `ARCHIVE: PATH` for a
    /// file in or beside another inner archive.
    ///
    /// With the index, the last entry of this name counts; from a stream the first, and nothing after it is read. After
    /// an error, `out` holds the beginning of the file.
    pub fn cat(&self, path: &[u8], out: &mut dyn Write, cancel: &Cancellation) -> Result<Found, BrowseError> {
        let mut sink = Sink { out, bytes: 0 };
        let found = self.wanted(path).and_then(|wanted| self.fetch(&wanted, &mut sink, cancel));
        let found = self.settled(found)?;
        sink.out.flush().map_err(BrowseError::Output)?;
        Ok(Found { bytes: sink.bytes, ..found })
    }

    fn wanted(&self, typed: &[u8]) -> Result<Wanted<'_>, BrowseError> {
        for member in self.opened.outside.inner() {
            if let Some(rest) = typed.strip_prefix(member.name.as_bytes()).and_then(|rest| rest.strip_prefix(b":")) {
                return Ok(Wanted {
                    member: self.unlocked(member)?,
                    beside: true,
                    path: tidy(rest.trim_ascii_start()),
                });
            }
        }
        Ok(Wanted { member: self.config()?, beside: false, path: tidy(typed) })
    }

    fn fetch(&self, wanted: &Wanted<'_>, sink: &mut Sink<'_>, cancel: &Cancellation) -> Result<Found, BrowseError> {
        if let Some(index) = self.index_of(wanted.member) {
            match self.by_index(wanted, index, sink, cancel) {
                // An index that turns out to be wrong costs a second try without it.
                Err(BrowseError::Damaged { .. }) if sink.bytes == 0 => {}
                other => return other,
            }
        }
        self.by_stream(wanted, sink, cancel)
    }

    fn by_index(
        &self,
        wanted: &Wanted<'_>,
        index: &Index,
        sink: &mut Sink<'_>,
        cancel: &Cancellation,
    ) -> Result<Found, BrowseError> {
        let mut nearest = Nearest::new([wanted.path.clone()]);
        let mut listed = None;
        for file in index.files() {
            heed(cancel)?;
            let Some(path) = wanted.relevant(&file.path) else { continue };
            if wanted.is(path) {
                listed = Some(file);
            } else {
                nearest.consider(path);
            }
        }
        let Some(listed) = listed else { return Err(wanted.missing(nearest)) };
        let ranges = self.opened.ranges(wanted.member, index).map_err(|broken| damaged(wanted.member, broken))?;
        // Of a large file no more than its content: what pads it may cost another request.
        let end = listed.data_offset + listed.size;
        let mut found = None;
        let lost = |error| torn(&listed.path, &error);
        ranges.each(std::slice::from_ref(&(listed.header_offset..end)), lost, |reader, _| {
            scan(&mut Tar::stretch(reader), cancel, |entry, content| {
                if !fits(&listed, entry) {
                    return Err(BrowseError::Damaged { member: String::new(), message: "the index is wrong".into() });
                }
                found = Some(deliver(wanted, entry, content, sink, true)?);
                Ok(Flow::Break(()))
            })
            .map(drop)
        })?;
        let warnings = found
            .ok_or_else(|| BrowseError::Damaged { member: String::new(), message: "the index is wrong".into() })?;
        Ok(Found { bytes: 0, used_index: true, warnings })
    }

    fn by_stream(&self, wanted: &Wanted<'_>, sink: &mut Sink<'_>, cancel: &Cancellation) -> Result<Found, BrowseError> {
        let mut nearest = Nearest::new([wanted.path.clone()]);
        let flow = self.stream(wanted.member, cancel, |entry, content| {
            let Some(path) = wanted.relevant(&entry.path) else { return Ok(Flow::Continue(())) };
            if !wanted.is(path) {
                nearest.consider(path);
                return Ok(Flow::Continue(()));
            }
            deliver(wanted, entry, content, sink, false)?;
            Ok(Flow::Break(()))
        })?;
        if flow.is_continue() { Err(wanted.missing(nearest)) } else { Ok(Found::default()) }
    }
}

/// Whether the archive has what the index says.
fn fits(listed: &FileEntry, entry: &Entry) -> bool {
    let length = listed.data_offset - listed.header_offset;
    entry.path == listed.path
        && ItemKind::from(entry.kind) == listed.kind.into()
        && entry.size == listed.size
        && entry.data_offset == length
}

/// Hands the content of a regular file on, and says what is wrong with a database (`check`: no checksum covers these
/// bytes).
fn deliver(
    wanted: &Wanted<'_>,
    entry: &Entry,
    content: &mut Content<'_, '_>,
    sink: &mut Sink<'_>,
    check: bool,
) -> Result<Vec<String>, BrowseError> {
    let path = wanted.name();
    let is = |what: &str| Err(BrowseError::NotAFile { path: path.clone(), what: what.to_owned() });
    match entry.kind {
        EntryKind::File => {}
        EntryKind::Symlink => return Err(BrowseError::Link { path, to: shown(&entry.link) }),
        EntryKind::HardLink => {
            let to = if wanted.beside {
                plain(&entry.link)
            } else {
                config_path(&entry.link).ok().flatten().unwrap_or(&entry.link)
            };
            return is(&format!("another name of {}", shown(to)));
        }
        EntryKind::Directory => return is("a directory"),
        EntryKind::Fifo => return is("a named pipe"),
        EntryKind::Char | EntryKind::Block => return is("a device"),
        EntryKind::GnuSparse => return is("stored as a GNU sparse file"),
        EntryKind::Other(_) => return is("of an unknown kind"),
    }
    let mut held = Vec::new();
    let mut checker = None;
    let mut first = true;
    loop {
        let bytes = content.next()?;
        if bytes.is_empty() {
            break;
        }
        if std::mem::take(&mut first) && check && livesqlite::is_database(bytes) {
            checker = Some(ImageChecker::new());
        }
        if let Some(checker) = &mut checker {
            checker.push(bytes);
        }
        if entry.size <= HELD { held.extend_from_slice(bytes) } else { sink.put(bytes)? }
    }
    if !held.is_empty() {
        sink.put(&held)?;
    }
    let problems = checker.map(ImageChecker::finish).unwrap_or_default();
    Ok(problems.into_iter().take(3).map(|problem| format!("the database {path} is damaged: {problem}")).collect())
}
