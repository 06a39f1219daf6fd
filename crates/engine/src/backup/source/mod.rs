//! The inner tar as a byte stream, made while it is read: the config directory's entries under `data/`, live databases
//! as consistent images.
//!
//! It never fails: what can't be read is padded, left out and named. Closing a file takes away the locks that the whole
//! process holds on it, so no file that belongs to an open snapshot is opened (`body::open` asks). One snapshot is open
//! at a time, unless the pass is recorded: then they stay open, for the archive's sizes were announced and the second
//! pass (`replay`) must give the same bytes.

mod body;
mod damage;
mod ledger;
mod outgoing;
mod recording;
mod replay;
mod stream;
#[cfg(test)]
mod tests;
mod transient;
mod walk;

use std::{
    collections::HashSet,
    fs::{File, Metadata},
    io::{self, Read},
    os::unix::{ffi::OsStrExt, fs::MetadataExt},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
    vec,
};

use habackup::{
    index::{FileEntry, Folder, IndexBuilder},
    settings::{self, RECORDER},
    tar::{self, Kind},
};
use livesqlite::{OpenError, Snapshot};

use self::{
    body::{Body, Whole},
    outgoing::{Members, Outgoing},
    stream::Trouble,
};
pub(crate) use self::{
    body::{open, read_head},
    ledger::Ledger,
    recording::{Recording, Stale},
    replay::Replay,
    stream::{bytes_in_holes, may_have_holes},
    walk::{Found, Outputs, Scope, Step, Walk},
};
use crate::{
    findings::{DatabaseReport, Findings, SkippedKind},
    progress::{Progress, pulse},
    text::shown,
    verdict::collect::note_unread,
};
use store::Cancellation;

/// A database that blocks its writers while it is read is read at once into memory up to this size, and released.
const HELD_IN_MEMORY: u64 = 8 << 20;
/// A longer wait is reported, and the databases whose writers had to wait.
const NOTICEABLE: Duration = Duration::from_secs(1);
/// The bytes at the start of a file that identify a database and its journal mode.
pub(crate) const DATABASE_HEAD: usize = 20;
/// No page of a database is smaller.
const LEAST_DATABASE: u64 = 512;

/// What is read from the source side once the tar has been read to its end.
pub(crate) struct Gathered {
    pub(crate) findings: Findings,
    pub(crate) index: IndexBuilder,
}

/// Why only the raw files of a database can be read.
struct Unimaged {
    kind: SkippedKind,
    reason: String,
}

impl From<OpenError> for Unimaged {
    fn from(error: OpenError) -> Self {
        let kind =
            if matches!(error, OpenError::Corrupt { .. }) { SkippedKind::Damaged } else { SkippedKind::Doubtful };
        Self { kind, reason: error.to_string() }
    }
}

impl From<io::Error> for Unimaged {
    fn from(error: io::Error) -> Self {
        OpenError::from(error).into()
    }
}

/// A database on its way out.
pub(in crate::backup::source) struct Imaging {
    report: DatabaseReport,
    // Since when its writers have been waiting, if they do.
    blocked_since: Option<Instant>,
    path: PathBuf,
}

pub(crate) struct TarSource {
    // Databases whose writers wait while they are read come first, so that they wait in the first second and not in the
    // last.
    first: vec::IntoIter<Found>,
    walk: Walk,
    // The recorder's database.
    history: Vec<u8>,
    // Databases that went in already, and whose side files therefore stay out.
    imaged: HashSet<Vec<u8>>,
    seen_first: HashSet<Vec<u8>>,
    // The recorder's empty write-ahead log, due right after its database.
    owed: Option<Metadata>,
    outgoing: Outgoing,
    body: Body,
    // Set while `body` is that of a database.
    imaging: Option<Imaging>,
    // What a second pass needs, when there is to be one …
    recording: Option<Box<Recording>>,
    // … the number there of the snapshot in `body` …
    image_number: Option<usize>,
    // … and whether the bytes of `body` are summed for it.
    sums_body: bool,
    body_size: u64,
    current: Vec<u8>,
    gathered: Gathered,
    // Ends the wait for a database that somebody has locked.
    cancel: Cancellation,
}

impl TarSource {
    pub(crate) fn new(
        inner_name: &str,
        scope: &Scope,
        first: Vec<Found>,
        findings: Findings,
        progress: Arc<Progress>,
        cancel: Cancellation,
    ) -> Self {
        Self {
            seen_first: first.iter().map(|found| found.relative.clone()).collect(),
            first: first.into_iter(),
            walk: scope.walk(),
            history: scope.history.clone(),
            imaged: HashSet::new(),
            owed: None,
            outgoing: Outgoing::new(progress),
            body: Body::Empty,
            imaging: None,
            recording: None,
            image_number: None,
            sums_body: false,
            body_size: 0,
            current: Vec::new(),
            gathered: Gathered { findings, index: IndexBuilder::new(inner_name) },
            cancel,
        }
    }

    /// As [`Self::new`], with a record of everything for a second pass. `holds_writers`: databases that block their
    /// writers stay open too. `sizes_only`: no content is read but what is kept; the tar is to be gone through by
    /// [`Self::skim`].
    #[must_use]
    pub(crate) fn recorded(self, holds_writers: bool, sizes_only: bool) -> Self {
        Self { recording: Some(Box::new(Recording::new(&self.history, holds_writers, sizes_only))), ..self }
    }

    /// What was recorded, once the tar was read to its end.
    pub(crate) fn into_recording(self) -> Option<Recording> {
        let mut recording = *self.recording?;
        recording.length = self.outgoing.position();
        recording.findings = self.gathered.findings;
        recording.index = self.gathered.index;
        Some(recording)
    }

    /// Goes through the tar without its content. Ends early when cancelled.
    pub(crate) fn skim(&mut self) {
        while !self.outgoing.ended && !self.cancel.is_cancelled() {
            self.outgoing.skip_pending();
            if self.has_body() {
                self.outgoing.skip(self.body_size);
                self.end_body();
            } else {
                self.advance();
            }
        }
    }

    /// Bytes given out so far: once everything was read, the size of the inner tar.
    pub(crate) fn position(&self) -> u64 {
        self.outgoing.position()
    }

    pub(crate) fn finish(self) -> Gathered {
        self.gathered
    }

    fn asking(&mut self, found: &Found, what: impl FnOnce(&mut Self, &Found)) {
        Arc::clone(&self.outgoing.progress).pulse.ask(&found.relative, || what(self, found));
    }

    fn add(&mut self, found: &Found) {
        match found.kind {
            Kind::Directory => self.begin(&found.relative, Kind::Directory, &found.metadata, 0, b""),
            Kind::Symlink => match std::fs::read_link(&found.path) {
                Ok(target) => {
                    self.begin(&found.relative, Kind::Symlink, &found.metadata, 0, target.as_os_str().as_bytes());
                }
                Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                    self.gathered.findings.lost(&found.relative, "it is no longer a symbolic link");
                }
                Err(error) => self.unreadable(found, &error),
            },
            Kind::File if self.seen_first.contains(&found.relative) || self.is_side_file(found) => {}
            Kind::File => self.add_file(found),
        }
    }

    /// `-wal`, `-shm` and `-journal` of a database whose image is in the archive: the image is whole without them, and
    /// wrong with them.
    fn is_side_file(&self, found: &Found) -> bool {
        let of_imaged =
            |suffix: &&[u8]| found.relative.strip_suffix(*suffix).is_some_and(|main| self.imaged.contains(main));
        walk::SIDE_FILES.iter().any(of_imaged) && body::looks_like_side_file(&found.path)
    }

    fn add_file(&mut self, found: &Found) {
        if let Some(number) = self.recording.as_ref().and_then(|recording| recording.held(found)) {
            return self.add_again(found, number);
        }
        let (mut file, metadata) = match body::open(&found.path) {
            Ok(opened) => opened,
            Err(error) => return self.unreadable(found, &error),
        };
        let mut head = Vec::new();
        if let Err(error) = Read::take(&mut file, DATABASE_HEAD as u64).read_to_end(&mut head) {
            return self.unreadable(found, &error);
        }
        if metadata.len() >= LEAST_DATABASE && livesqlite::is_database(&head) {
            // Closed before the snapshot opens: see the module's first paragraph.
            drop(file);
            match self.add_database(found) {
                Ok(()) => return,
                Err(Unimaged { kind, reason }) => {
                    let findings = &mut self.gathered.findings;
                    let reason = format!("{reason}; its raw files were archived as they are");
                    match kind {
                        SkippedKind::Damaged => findings
                            .damaged(&found.relative, reason + damage::consequence(self.history == found.relative)),
                        _ => findings.doubt(&found.relative, reason + ", which may or may not open"),
                    }
                    self.owe_log(found);
                }
            }
            file = match body::open(&found.path) {
                Ok((file, _)) => file,
                Err(error) => return self.unreadable(found, &error),
            };
        } else if let Some(damage) =
            damage::of_file(&found.relative, self.history == found.relative, &head, metadata.len())
        {
            self.gathered.findings.damaged(&found.relative, damage);
        }
        let is_settings = settings::is_settings_file(&found.relative);
        let most = if is_settings { settings::LONGEST } else { body::WHOLE };
        if metadata.len() > most {
            return self.stream(found, file, &metadata);
        }
        match body::read_whole(&mut file, most, |_| {}) {
            Ok(Whole::Read { bytes, metadata, trouble }) => {
                self.begin(&found.relative, Kind::File, &metadata, bytes.len() as u64, b"");
                if let Some(trouble) = trouble {
                    note(&mut self.gathered.findings, &found.relative, bytes.len() as u64, &trouble);
                } else if is_settings && let Some(damage) = settings::damage(&found.relative, &bytes) {
                    self.gathered.findings.damaged(&found.relative, damage.to_string());
                }
                if let Some(recording) = &mut self.recording {
                    recording.keep(&bytes);
                }
                self.body = Body::whole(bytes);
            }
            Ok(Whole::TooLong { metadata, restless }) => {
                if restless {
                    note(&mut self.gathered.findings, &found.relative, metadata.len(), &Trouble::Torn);
                }
                self.stream(found, file, &metadata);
            }
            Err(error) => self.unreadable(found, &error),
        }
    }

    /// A file too large to be read whole.
    fn stream(&mut self, found: &Found, file: File, metadata: &Metadata) {
        self.begin(&found.relative, Kind::File, metadata, metadata.len(), b"");
        if let Some(recording) = &mut self.recording {
            recording.stream();
            self.sums_body = true;
        }
        self.body = Body::stream(file, metadata);
    }

    /// Another name of a file whose snapshot is open.
    fn add_again(&mut self, found: &Found, number: usize) {
        let snapshot = self.recording.as_mut().and_then(|recording| recording.databases[number].snapshot.take());
        let Some(mut snapshot) = snapshot.filter(|snapshot| !snapshot.is_empty()) else { return };
        if let Err(error) = snapshot.rewind() {
            return self.unreadable(found, &error);
        }
        self.begin(&found.relative, Kind::File, &found.metadata, snapshot.len(), b"");
        if let Some(recording) = &mut self.recording {
            recording.image_of(number);
        }
        self.image_number = Some(number);
        self.body = Body::image(snapshot);
        self.imaged.insert(found.relative.clone());
        self.owe_log(found);
    }

    /// Brings in a consistent image.
    fn add_database(&mut self, found: &Found) -> Result<(), Unimaged> {
        let (opened, waited) = self.outgoing.progress.pulse.open_database(&found.relative, |waiting| {
            let options = livesqlite::Options::default()
                .cancel(Arc::clone(self.cancel.flag()))
                .waiting(waiting)
                .hold(self.recording.is_some());
            Snapshot::open(&found.path, &options)
        });
        let mut snapshot = opened?;
        if let Some(waited) = waited {
            let (name, seconds) = (shown(&found.relative), waited.as_secs());
            self.gathered.findings.warn(format!(
                "{name}: the backup waited {seconds} s for it, because another process had locked it exclusively"
            ));
        }
        let info = snapshot.info();
        let report = DatabaseReport {
            path: shown(&found.relative),
            page_size: info.page_size,
            pages: info.pages,
            free_pages: info.free_pages,
            journal_mode: info.journal_mode.as_str(),
            history: self.history == found.relative,
            damaged: false,
        };
        let length = snapshot.len();
        let mut blocked_since = snapshot.blocks_writers().then(Instant::now);
        let has_space = self.recording.as_ref().is_none_or(|recording| recording.has_space(length));
        let mut number = None;
        let mut problems = Vec::new();
        let (body, whole) = if snapshot.blocks_writers() && length <= HELD_IN_MEMORY && has_space {
            let mut bytes = Vec::with_capacity(length as usize);
            snapshot.read_to_end(&mut bytes)?;
            problems = snapshot.damage().to_vec();
            drop(snapshot);
            if bytes.len() as u64 != length {
                return Err(Unimaged { kind: SkippedKind::Doubtful, reason: "the database ended early".to_owned() });
            }
            blocked_since = None;
            (None, bytes)
        } else {
            (Some(Box::new(snapshot)), Vec::new())
        };
        self.begin(&found.relative, Kind::File, &found.metadata, length, b"");
        if let Some(recording) = &mut self.recording {
            match &body {
                Some(snapshot) => number = Some(recording.image(found, snapshot)),
                None => recording.keep(&whole),
            }
        }
        self.image_number = number;
        if body.is_some() {
            self.outgoing.progress.pulse.follow_log(Some((&found.relative, &found.path)));
        }
        self.body = body.map_or_else(|| Body::whole(whole), Body::image);
        self.imaging = Some(Imaging { report, blocked_since, path: found.path.clone() });
        self.tell_damage(&problems);
        self.imaged.insert(found.relative.clone());
        self.owe_log(found);
        Ok(())
    }

    /// Home Assistant restores the recorder's database alone only together with a write-ahead log, so it gets an empty
    /// one unless its own goes in.
    fn owe_log(&mut self, found: &Found) {
        let own_goes_in =
            !self.imaged.contains(RECORDER) && found.path.with_file_name("home-assistant_v2.db-wal").exists();
        if found.relative == RECORDER && !own_goes_in {
            self.owed = Some(found.metadata.clone());
        }
    }

    /// What the pages of the database in hand showed on their way.
    fn tell_damage(&mut self, problems: &[String]) {
        let Some(Imaging { report, .. }) = &mut self.imaging else { return };
        if let Some(reason) = damage::of_image(report.history, problems) {
            report.damaged = true;
            self.gathered.findings.damaged(&self.current, reason);
        }
    }

    /// The body in hand was given out to its end without trouble, or with some.
    fn end_image(&mut self, is_whole: bool) {
        let Some(Imaging { report, blocked_since, path }) = self.imaging.take() else { return };
        self.outgoing.progress.pulse.follow_log(None);
        // If it stays open for a second pass, that reports it.
        if self.recording.is_none() {
            self.gathered.findings.warn_all(pulse::about_log(&self.current, &path));
        }
        if let Some(since) = blocked_since {
            tell_of_wait(&mut self.gathered.findings, &self.current, since.elapsed());
        }
        if is_whole {
            self.gathered.findings.databases.push(report);
        }
    }

    /// The snapshot of the body in hand, or nothing when it broke, for the second pass.
    fn give_back(&mut self, snapshot: Option<Box<Snapshot>>) {
        if let (Some(number), Some(recording)) = (self.image_number.take(), &mut self.recording) {
            recording.give_back(number, snapshot, self.imaging.as_mut());
        }
    }

    fn unreadable(&mut self, found: &Found, error: &io::Error) {
        if walk::is_gone(error) {
            return self.vanished(&found.relative);
        }
        self.gathered.findings.lost(&found.relative, walk::reason(error));
    }

    fn vanished(&mut self, relative: &[u8]) {
        // Home Assistant writes `.storage` files by way of `tmp…` names: their going is its everyday work.
        if !relative.starts_with(b".storage/tmp") {
            self.gathered
                .findings
                .warn(format!("{} was deleted while the backup ran, so it is not in the archive", shown(relative)));
        }
    }

    fn begin(&mut self, relative: &[u8], kind: Kind, metadata: &Metadata, size: u64, link: &[u8]) {
        let path = path_in_tar(relative);
        let header = tar::Header {
            path: &path,
            kind,
            size,
            mode: metadata.mode() & 0o7777,
            mtime: (metadata.mtime(), metadata.mtime_nsec() as u32),
            link,
            uid: u64::from(metadata.uid()),
            gid: u64::from(metadata.gid()),
        };
        let headers = self.outgoing.begin(&header);
        if let Some(recording) = &mut self.recording {
            recording.push(relative, &header);
        }
        let (header_offset, data_offset) = (headers.start, headers.end);
        let folder = (kind == Kind::Directory).then_some(Folder { mode: header.mode, mtime: header.mtime });
        // A path too long for the index is still in the archive, and found by reading it through.
        let _ = self.gathered.index.push(&FileEntry { path, kind, header_offset, data_offset, size, folder });
        self.gathered.findings.entries += u64::from(!relative.is_empty());
        self.gathered.findings.has_history |= kind == Kind::File && !relative.is_empty() && relative == self.history;
        note_unread(&mut self.gathered.findings.content, relative, kind, size, link);
        self.body_size = size;
        self.current.clear();
        self.current.extend_from_slice(relative);
    }

    fn note(&mut self, trouble: &Trouble) {
        // The pass that is sent reports what was written to.
        if self.recording.is_none() || *trouble != Trouble::Torn {
            note(&mut self.gathered.findings, &self.current, self.body_size, trouble);
        }
    }
}

/// Reports what happened to a file while it was read. Recordings and logs change every night: that deserves a note, and
/// is no reason to distrust the archive.
fn note(findings: &mut Findings, relative: &[u8], size: u64, trouble: &Trouble) {
    let is_transient = transient::is_transient(relative);
    let reason = match trouble {
        Trouble::Torn => {
            "a program wrote to it while Haul read it, so its copy may be half old and half new".to_owned()
        }
        Trouble::Cut { length } => format!(
            "a program wrote to it every time Haul read it: the archive holds only {size} of its {length} bytes"
        ),
        Trouble::Shrank { missing } => {
            format!("it shrank while Haul read it: its last {missing} bytes in the archive are zeros")
        }
        Trouble::Unreadable { reason } => format!("{reason}; the rest of its copy is zeros"),
    };
    match trouble {
        Trouble::Torn | Trouble::Cut { .. } | Trouble::Shrank { .. } if is_transient => {
            findings.warn(format!("{}: {reason}", shown(relative)));
        }
        Trouble::Torn => findings.doubt(relative, reason),
        Trouble::Cut { .. } | Trouble::Shrank { .. } | Trouble::Unreadable { .. } => findings.lost(relative, reason),
    }
}

/// Writers to a database that is not in WAL mode had to wait.
fn tell_of_wait(findings: &mut Findings, relative: &[u8], waited: Duration) {
    if waited >= NOTICEABLE {
        let (name, seconds) = (shown(relative), waited.as_secs());
        findings.warn(format!(
            "{name}: its writers had to wait {seconds} s while Haul read it, because it is not in WAL mode"
        ));
    }
}

/// What an entry is called in the tar.
fn path_in_tar(relative: &[u8]) -> Vec<u8> {
    let mut path = b"data".to_vec();
    if !relative.is_empty() {
        path.push(b'/');
        path.extend_from_slice(relative);
    }
    path
}

/// The recorded tar once more, to be read to its end; `ledger` when it is compressed. Opens again what was let go for
/// the sake of its writers.
pub(crate) fn replay<'a>(
    recording: &'a mut Recording,
    root: &Path,
    ledger: Option<&'a Ledger>,
    progress: Arc<Progress>,
    cancel: &Cancellation,
) -> Result<Replay<'a>, Stale> {
    recording.reopen(&progress.pulse, cancel)?;
    Ok(Replay::new(recording, root, ledger, progress))
}

impl Read for TarSource {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        Ok(outgoing::read(self, buffer))
    }
}

impl Members for TarSource {
    fn outgoing(&mut self) -> &mut Outgoing {
        &mut self.outgoing
    }

    fn has_body(&self) -> bool {
        !matches!(self.body, Body::Empty)
    }

    fn advance(&mut self) {
        if let Some(metadata) = self.owed.take() {
            let path = [RECORDER, b"-wal"].concat();
            self.begin(&path, Kind::File, &metadata, 0, b"");
            return;
        }
        if let Some(found) = self.first.next() {
            return self.asking(&found, Self::add_file);
        }
        match self.walk.next() {
            Some(Step::Entry(found)) => self.asking(&found, Self::add),
            Some(Step::LeftOut { relative, reason }) => self.gathered.findings.left_out(&relative, reason),
            Some(Step::Vanished { relative }) => self.vanished(&relative),
            Some(Step::Lost { relative, reason }) => self.gathered.findings.lost(&relative, reason),
            None => self.outgoing.end(),
        }
    }

    fn fill(&mut self, buffer: &mut [u8]) -> usize {
        let (count, trouble) = self.outgoing.progress.pulse.ask(&self.current, || self.body.fill(buffer));
        if let Some(trouble) = trouble {
            self.give_back(None);
            self.end_image(false);
            self.note(&trouble);
        }
        if let Some(recording) = self.recording.as_mut().filter(|_| self.sums_body) {
            recording.sum(&buffer[..count]);
        }
        count
    }

    fn end_body(&mut self) {
        if let Body::Image { snapshot, .. } = std::mem::replace(&mut self.body, Body::Empty) {
            self.tell_damage(snapshot.damage());
            self.give_back(Some(snapshot));
        }
        if let Some(recording) = self.recording.as_mut().filter(|_| std::mem::take(&mut self.sums_body)) {
            recording.end_sum();
        }
        self.end_image(true);
        self.outgoing.pad(self.body_size);
    }
}
