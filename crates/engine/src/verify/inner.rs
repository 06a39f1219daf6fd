//! One pass over an inner archive: is the tar sound, would Home Assistant take every member, is each database one.
//! Inflating and decrypting lie behind the reader; the manifest and the outer archive are looked at elsewhere.

use std::io::Read;

use habackup::{
    index::{FileEntry, Files},
    settings::RECORDER,
    tar::{Entry, EntryKind, Kind, Reader, TarError},
};
use serde::Serialize;
use store::Cancellation;

use super::findings::{Findings, Severity};
use crate::{
    names::is_top,
    restore::unwrap_tar,
    text::shown,
    verdict::collect::{Body, Collector, Header},
};

/// Bytes read at once: a piece of the compressor fits, and stays in the core's cache.
const BUFFER: usize = 256 << 10;

/// A database found in the archive.
#[derive(Clone, Debug, Serialize)]
pub struct DatabaseVerdict {
    /// Path below the config directory.
    pub path: String,
    /// Its size.
    pub bytes: u64,
    /// Whether its pages are in order.
    pub sound: bool,
}

/// What the pass over one inner archive saw.
#[derive(Default)]
pub(super) struct Seen {
    pub(super) entries: u64,
    pub(super) bytes: u64,
    pub(super) databases: Vec<DatabaseVerdict>,
    /// What there is of the configuration.
    pub(super) collector: Collector,
    /// The tar was seen to its end, and no byte of it is wrong.
    pub(super) sound: bool,
    pub(super) findings: Findings,
    /// Set when the index lists something else than the archive holds.
    pub(super) index_differs: Option<String>,
    /// The pass was cut short on request.
    pub(super) cancelled: bool,
    problems: Vec<(Vec<u8>, Vec<String>)>,
}

/// Which rules a member must keep.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Content {
    /// The config directory under `data/`.
    HomeAssistant,
    /// A folder or an add-on of the Supervisor.
    Other,
}

/// Reads all of an inner archive.
pub(super) struct Pass<'a> {
    pub(super) content: Content,
    /// Stands before the names of members that are not of the config directory.
    pub(super) archive: &'a str,
    pub(super) cancel: &'a Cancellation,
}

impl Pass<'_> {
    pub(super) fn run(&self, source: &mut dyn Read, index: Option<Files<'_>>) -> Seen {
        let mut seen = Seen::default();
        let mut last = None;
        let mut reader = Reader::new(source);
        if let Err(error) = self.walk(&mut reader, index, &mut seen, &mut last) {
            seen.cancelled = self.cancel.is_cancelled();
            let member = last.map_or_else(|| self.archive.to_owned(), |path: Vec<u8>| self.name(&path));
            seen.findings.damage(member, error.to_string());
        } else {
            seen.sound = true;
        }
        if let Some(at) = reader.stained_padding() {
            seen.findings.damage(
                self.archive,
                format!("the padding after a file is not zero, at byte {at} of the unpacked archive"),
            );
        }
        seen.judge_databases();
        seen
    }

    fn name(&self, path: &[u8]) -> String {
        match self.content {
            Content::HomeAssistant => shown(path),
            Content::Other => format!("{}: {}", self.archive, shown(path)),
        }
    }

    fn walk(
        &self,
        reader: &mut Reader<&mut dyn Read>,
        mut index: Option<Files<'_>>,
        seen: &mut Seen,
        last: &mut Option<Vec<u8>>,
    ) -> Result<(), TarError> {
        let mut buffer = vec![0; BUFFER];
        while let Some(entry) = reader.next_entry()? {
            seen.entries += u64::from(!is_top(&entry.path, self.content == Content::HomeAssistant));
            if let Some(files) = &mut index
                && seen.index_differs.is_none()
                && !lists(files.next().as_ref(), &entry)
            {
                seen.index_differs = Some(self.name(&entry.path));
            }
            let below = self.member(&entry, seen);
            // Before its body is read: that is where most damage shows.
            *last = Some(entry.path.clone());
            self.body(&entry, below.as_deref(), reader, &mut buffer, seen)?;
        }
        if index.is_some_and(|mut files| files.next().is_some()) && seen.index_differs.is_none() {
            seen.index_differs = Some("the end of the archive".to_owned());
        }
        let tail = reader.finish()?;
        *last = None;
        match tail.marker_blocks {
            2 => {}
            1 => seen
                .findings
                .damage(self.archive, "half of the end marker is missing: the archive may have been cut short"),
            _ => seen.findings.damage(self.archive, "the end marker is missing: the archive may have been cut short"),
        }
        Ok(())
    }

    /// What a member's headers say of it; gives its path below `data` if its content counts. What readers make of it is
    /// judged by the facts.
    fn member(&self, entry: &Entry, seen: &mut Seen) -> Option<Vec<u8>> {
        let header = Header {
            name: &entry.path,
            kind: entry.kind,
            size: entry.size,
            link: &entry.link,
            sizes_disagree: entry.sizes_disagree(),
        };
        let beside = seen.collector.content.beside_data;
        let below = seen.collector.header(&header, self.content == Content::HomeAssistant);
        if seen.collector.content.beside_data > beside {
            seen.findings.warn(self.name(&entry.path), "is outside data/, so it is not restored");
        }
        match entry.kind {
            EntryKind::GnuSparse => seen.findings.warn(self.name(&entry.path), "is stored as a GNU sparse file"),
            EntryKind::Other(kind) => {
                seen.findings.warn(self.name(&entry.path), format!("is of an unknown kind ({kind})"));
            }
            _ => {}
        }
        below
    }

    fn body(
        &self,
        entry: &Entry,
        below: Option<&[u8]>,
        reader: &mut Reader<&mut dyn Read>,
        buffer: &mut [u8],
        seen: &mut Seen,
    ) -> Result<(), TarError> {
        // A database of an add-on may be written in the moment it is archived; only those of the config directory are
        // ours to judge.
        let mut body = below.map(|below| Body::of(below, entry.size));
        loop {
            if self.cancel.is_cancelled() {
                return Err(TarError::Io(std::io::Error::other("interrupted")));
            }
            let count = reader.read(buffer).map_err(unwrap_tar)?;
            if count == 0 {
                break;
            }
            seen.bytes += count as u64;
            if let Some(body) = &mut body {
                body.take(&buffer[..count]);
            }
        }
        if let Some(body) = body {
            let ended = seen.collector.end(body);
            if ended.is_database {
                seen.databases.push(DatabaseVerdict {
                    path: shown(&ended.below),
                    bytes: ended.size,
                    sound: ended.problems.is_empty(),
                });
            }
            if !ended.problems.is_empty() {
                seen.problems.push((ended.below, ended.problems));
            }
        }
        Ok(())
    }
}

impl Seen {
    /// A database whose log is in the archive too need not be whole without it.
    fn judge_databases(&mut self) {
        for (path, problems) in std::mem::take(&mut self.problems) {
            let name = format!("data/{}", shown(&path));
            let has_log = self.collector.has_log(&path);
            for problem in problems.into_iter().take(5) {
                let problem = problem.strip_prefix("the database is damaged: ").unwrap_or(&problem).to_owned();
                if has_log {
                    let severity = if path == RECORDER { Severity::Loss } else { Severity::Warning };
                    self.findings.add(
                        severity,
                        &name,
                        format!("the database is incomplete without its log: {problem}"),
                    );
                } else {
                    self.findings.add(Severity::Loss, &name, format!("the database is damaged: {problem}"));
                }
            }
        }
    }
}

/// Whether the index has the entry that the archive has.
fn lists(listed: Option<&FileEntry>, entry: &Entry) -> bool {
    let Some(listed) = listed else { return false };
    let kind = match entry.kind {
        EntryKind::Directory => Kind::Directory,
        EntryKind::Symlink => Kind::Symlink,
        EntryKind::File => Kind::File,
        _ => return false,
    };
    let (path, size) = (entry.path.as_slice(), entry.size);
    let described = listed.folder.is_none_or(|folder| folder.mode == entry.mode && folder.mtime == entry.mtime);
    described
        && listed.path == path
        && listed.kind == kind
        && listed.size == size
        && listed.header_offset == entry.header_offset
        && listed.data_offset == entry.data_offset
}
