//! One pass over an inner archive: is the tar sound, would Home Assistant accept every member, is each database one? It
//! reads decrypted, inflated bytes.

use std::io::Read;

use habackup::{
    index::{FileEntry, Files},
    settings::RECORDER,
    tar::{Entry, EntryKind, Kind},
};
use serde::Serialize;
use store::Cancellation;

use super::findings::{Findings, Severity};
use crate::{
    read::scan::{BodyReader, Flow, Stopped, Tar, Torn, scan},
    text::shown,
    verdict::collect::Collector,
};

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
    pub(super) fn run(&self, source: &mut dyn Read, mut index: Option<Files<'_>>) -> Seen {
        let mut seen = Seen::default();
        let mut tar = Tar::whole(source);
        let scanned = scan(&mut tar, self.cancel, |entry, body| {
            if let Some(files) = &mut index
                && seen.index_differs.is_none()
                && !lists(files.next().as_ref(), entry)
            {
                seen.index_differs = Some(self.name(&entry.path));
            }
            self.member(entry, body, &mut seen)
        });
        seen.cancelled = scanned.is_err() && self.cancel.is_cancelled();
        if let Err(Stopped::Broken(Torn { last, error })) = &scanned {
            let member = last.as_ref().map_or_else(|| self.archive.to_owned(), |path| self.name(path));
            seen.findings.damage(member, error.to_string());
        }
        seen.sound = scanned.is_ok();
        if index.is_some_and(|mut files| files.next().is_some()) && seen.index_differs.is_none() {
            seen.index_differs = Some("the end of the archive".to_owned());
        }
        match tar.tail().map(|tail| tail.marker_blocks) {
            None | Some(2) => {}
            Some(1) => seen
                .findings
                .damage(self.archive, "half of the end marker is missing: the archive may have been cut short"),
            Some(_) => {
                seen.findings.damage(self.archive, "the end marker is missing: the archive may have been cut short");
            }
        }
        if let Some(at) = tar.stained_padding() {
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

    /// What a member's headers and its content say of it. What readers make of it is judged by the facts.
    fn member(
        &self,
        entry: &Entry,
        body: &mut BodyReader<'_, Tar<&mut dyn Read>>,
        seen: &mut Seen,
    ) -> Result<Flow, Stopped<Torn>> {
        let beside = seen.collector.content.beside_data;
        // A database of an add-on may be written in the moment it is archived; only those of the config directory are
        // ours to judge.
        let (ended, read) = seen.collector.take(&entry.into(), self.content == Content::HomeAssistant, None, body);
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
        read?;
        let Some(ended) = ended else { return Ok(Flow::Continue(())) };
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
        Ok(Flow::Continue(()))
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
