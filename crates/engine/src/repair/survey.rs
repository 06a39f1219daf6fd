//! The first pass over an inner archive: which members are whole, which can't go into the new one as they are, and what
//! only the whole of it shows.

use std::{
    collections::{HashMap, HashSet},
    io,
};

use habackup::{
    rules::too_long,
    securetar::SecureTarVersion,
    settings::RECORDER,
    tar::{Entry, EntryKind},
};
use livesqlite::check::ImageChecker;
use store::Cancellation;

use super::{
    decode::{Form, Plain},
    notes::Notes,
    parts::MAIN,
    seen::Seen,
    walker::{Broken, End, Step, Walker},
};
use crate::{
    names::{Names, normal},
    read::scan::{BodyReader, Flow, Stopped, scan},
    text::in_units,
};

/// What becomes of a member that is not simply kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// Left out; a note says why.
    Drop,
    /// A link below which files lie: a folder in the new archive.
    Folder,
}

/// What the first pass found.
#[derive(Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is one thing that was met or not")]
pub(super) struct Survey {
    pub(super) form: Option<Form>,
    /// Members that are whole, from the first on.
    pub(super) whole: u64,
    /// Of those that are not simply kept, by number.
    pub(super) fates: HashMap<u64, Fate>,
    /// Names that come more than once, with the number of the last that counts.
    pub(super) repeats: HashMap<Vec<u8>, u64>,
    /// The first member that comes after a gap.
    pub(super) gap: Option<u64>,
    /// What hard links lead to.
    pub(super) wanted: HashSet<Vec<u8>>,
    /// Where the configuration is.
    pub(super) root: Vec<u8>,
    /// Whether there is a member for that folder itself.
    pub(super) has_root: bool,
    /// What `.HA_VERSION` says.
    pub(super) version: Option<String>,
    /// The history is in the new archive.
    pub(super) database: bool,
    /// A note says what became of it.
    pub(super) lost_database: bool,
    /// The empty log that must be beside it is missing.
    pub(super) wants_log: bool,
    /// And what was in it may have been the newest.
    lacks_log: bool,
    /// Seconds since 1970: the newest of the files.
    pub(super) newest: i64,
    /// Name and version, as an add-on's archive says them.
    pub(super) addon: Option<(String, String)>,
    /// Bytes of what is kept.
    pub(super) bytes: u64,
    pub(super) notes: Notes,
}

/// The path below a folder; the folder itself is the empty path.
pub(super) fn below<'p>(path: &'p [u8], root: &[u8]) -> Option<&'p [u8]> {
    if root.is_empty() {
        return Some(path);
    }
    let rest = path.strip_prefix(root)?;
    if rest.is_empty() { Some(rest) } else { rest.strip_prefix(b"/") }
}

struct Database {
    number: u64,
    path: Vec<u8>,
    size: u64,
    is_one: bool,
    /// Shorter than its header says.
    short: bool,
    /// It is kept with a write-ahead log.
    has_log: bool,
    problems: Vec<String>,
}

/// The state of the first pass.
#[derive(Default)]
struct Pass {
    survey: Survey,
    config: bool,
    names: Names,
    /// Those of them that were met since the walk last lost its way, which it did so often.
    since: Names,
    breaks: u64,
    /// A member whose header was damaged, until it is known what follows it.
    repaired: Option<(u64, Entry, Vec<u8>, Seen)>,
    links: HashMap<Vec<u8>, u64>,
    /// Folders with a file that only a configuration has, and which of these.
    markers: HashMap<Vec<u8>, u8>,
    has_data: bool,
    /// Names that begin with a slash.
    absolute: u64,
    /// Folders, which no hard link can lead to.
    folders: Names,
    /// Hard links, and what they lead to.
    hard: Vec<(u64, Vec<u8>, Vec<u8>)>,
    wishes: Vec<(u64, Vec<u8>)>,
    versions: Vec<(Vec<u8>, String)>,
    databases: Vec<Database>,
    logs: HashMap<Vec<u8>, (u64, u64)>,
    /// Repeated names of which a note says already what became of them.
    settled: HashSet<Vec<u8>>,
    /// The last one, of which the rest is missing, and its size.
    cut: Option<(Vec<u8>, u64)>,
}

/// Reads a part to its end. `name` is what it is called in notes, `cut` whether the outer archive lacks some of it.
pub(super) fn survey(
    plain: Plain<'_>,
    name: &str,
    config: bool,
    cut: bool,
    cancel: &Cancellation,
) -> io::Result<Survey> {
    let form = plain.form;
    let (tar, status) = plain.split();
    let mut walker = Walker::new(tar);
    let mut pass = Pass { config, ..Pass::default() };
    let scanned = scan(&mut walker, cancel, |step, body| {
        pass.decide(step.misfit);
        pass.lost_way(step);
        let flow = pass.take(step, body)?;
        pass.survey.whole += u64::from(flow.is_continue());
        Ok::<_, io::Error>(flow)
    });
    scanned.map(drop)?;
    pass.decide(walker.misfit);
    let ended = walker.ended().unwrap_or(End::Cut);
    let gaps = walker.gaps;
    let behind = walker.drain()?;
    pass.survey.form = Some(form);
    let status = status.get();
    let notes = &mut pass.survey.notes;
    if status.members > 1 {
        let read = if form.sealed.is_some() { ", of which Home Assistant reads the first" } else { "" };
        notes.repaired(name, format!("it was compressed in {} pieces{read}; it is one now", status.members));
    }
    // The oldest encryption fills its last block with what looks like something.
    if status.trailing && form.sealed != Some(SecureTarVersion::V1) {
        notes.repaired(name, "extra data followed its compressed data; it is left out");
    }
    if status.unequal {
        notes.doubtful(name, "its checksum was wrong: something in it has changed, and nothing shows what");
    }
    if gaps > 0 {
        notes.lost(name, format!("headers in it are damaged, in {gaps} places; the files they described are lost"));
    }
    if behind && ended == End::Marked {
        notes.lost(name, "extra data followed the end of the tar in it, where no reader looks");
    }
    pass.ended(name, ended, cut, status.broken());
    pass.settle(name);
    Ok(pass.survey)
}

impl Pass {
    fn ended(&mut self, name: &str, ended: End, cut: bool, broken: Option<String>) {
        let notes = &mut self.survey.notes;
        if let Some((path, size)) = &self.cut {
            notes.lost(path, format!("it was cut short; it is left out, with its {}", in_units(*size)));
            self.survey.lost_database = true;
        }
        let is_short = ended == End::Cut || (ended == End::Unmarked && (cut || broken.is_some()));
        if is_short {
            let why = broken
                .map_or_else(|| "it breaks off".to_owned(), |broken| format!("the rest is unreadable ({broken})"));
            let kept = match self.survey.whole {
                0 => "none of it can be kept".to_owned(),
                1 => "the member before that is kept, the rest is lost".to_owned(),
                whole => format!("the {whole} members before that are kept, the rest is lost"),
            };
            notes.lost(name, format!("{why}: {kept}"));
            self.survey.lost_database = true;
        } else if ended == End::Unmarked {
            notes.doubtful(name, "the tar in it had no end mark, so more may have followed; Haul adds one");
        } else if let Some(broken) = broken {
            notes.repaired(name, format!("its end was damaged after all its content ({broken}); it is rewritten"));
        } else if cut {
            notes.repaired(name, "its end was missing after all its content; it is rewritten");
        }
    }

    /// Records a member, unless it is cut, after which nothing is certain.
    fn take(&mut self, step: &Step, body: &mut BodyReader<'_, Walker<'_>>) -> io::Result<Flow> {
        let Step { number, entry, repaired, nameless, .. } = step;
        let path = normal(&entry.path);
        let mut seen = Seen::of(entry, &path, self.config);
        loop {
            match body.next() {
                Ok([]) => break,
                Ok(bytes) => seen.take(bytes),
                Err(Stopped::Broken(Broken::Overrun)) => {
                    self.survey.notes.lost(
                        &path,
                        "its header and its size were damaged: another member begins within it; it is left out",
                    );
                    self.drop(*number);
                    return Ok(Flow::Continue(()));
                }
                Err(Stopped::Broken(Broken::Cut)) => {
                    self.cut = Some((path, entry.size));
                    return Ok(Flow::Break(()));
                }
                Err(stopped) => return Err(stopped.into()),
            }
        }
        if *nameless {
            self.survey.notes.doubtful(
                &path,
                "the data before its header is damaged and may have held a longer name; \
                it is kept under the name in the header",
            );
        }
        self.survey.bytes += entry.size;
        if *repaired {
            self.repaired = Some((*number, entry.clone(), path, seen));
        } else {
            self.judge(*number, entry, path, seen);
        }
        Ok(Flow::Continue(()))
    }

    /// A member whose header was damaged counts once a header or the end was found where its size leads.
    fn decide(&mut self, misfit: bool) {
        let Some((number, entry, path, seen)) = self.repaired.take() else { return };
        if misfit {
            self.survey
                .notes
                .lost(&path, "its header and its size were damaged: nothing shows where it ends; it is left out");
            self.drop(number);
        } else {
            self.survey
                .notes
                .doubtful(&path, "its header was damaged; it is kept as the header most likely described it");
            self.judge(number, &entry, path, seen);
        }
    }

    /// What comes after a gap may be from anywhere: from a tar inside the tar, say.
    fn lost_way(&mut self, step: &Step) {
        if step.breaks > self.breaks {
            self.breaks = step.breaks;
            self.since = Names::default();
            self.survey.gap.get_or_insert(step.number);
        }
    }

    fn judge(&mut self, number: u64, entry: &Entry, path: Vec<u8>, seen: Seen) {
        // Nor may any of it be kept in mind: such names can be as long as an archive wants.
        if let Some(too_long) = too_long(&entry.path, entry.target()) {
            self.survey.notes.lost(&path, format!("it has {too_long}; it is left out"));
            self.drop(number);
            return;
        }
        if self.leads_out(number, entry, &path) || self.is_special(number, entry, &path) {
            return;
        }
        if entry.kind == EntryKind::HardLink && !self.is_link(number, entry, &path) {
            return;
        }
        if seen.is_apple() {
            self.survey.notes.left_out(&path, "macOS left it there; it is not part of the configuration");
            self.drop(number);
            return;
        }
        let is_folder = entry.kind == EntryKind::Directory;
        let is_repeated = self.names.repeated(&path);
        if self.breaks > 0 {
            if is_repeated && !self.since.has(&path) {
                let what =
                    "it occurs again after a damaged header, where it may be another file; the earlier one is kept";
                if is_folder {
                    self.survey.notes.left_out(&path, what);
                } else {
                    self.survey.notes.lost(&path, what);
                }
                self.drop(number);
                return;
            }
            self.since.repeated(&path);
        }
        if is_repeated && !is_folder {
            self.survey.repeats.insert(path.clone(), number);
        }
        if is_folder {
            self.folders.repeated(&path);
        }
        self.below_link(&path);
        if entry.kind == EntryKind::Symlink {
            self.links.insert(path.clone(), number);
        }
        self.survey.newest = self.survey.newest.max(entry.mtime.0);
        if self.config {
            self.configuration(number, entry, path, seen);
        } else if let Some(addon) = seen.addon() {
            self.survey.addon = Some(addon);
        }
    }

    /// Whether a hard link leads to a file before it.
    fn is_link(&mut self, number: u64, entry: &Entry, path: &[u8]) -> bool {
        let target = normal(&entry.link);
        let shown = crate::text::shown(&target);
        let is_there = self.names.has(&target);
        if is_there && target == path {
            self.survey.notes.left_out(path, "it is a hard link to itself; the file before it is kept");
        } else if is_there && !self.folders.has(&target) {
            self.survey.wanted.insert(target.clone());
            self.hard.push((number, path.to_vec(), target));
            return true;
        } else if is_there {
            self.survey.notes.lost(path, format!("it is a hard link to {shown}, which is a folder"));
        } else {
            self.survey.notes.lost(path, format!("it is a hard link to {shown}, which does not come before it"));
        }
        self.drop(number);
        false
    }

    fn drop(&mut self, number: u64) {
        self.survey.fates.insert(number, Fate::Drop);
    }

    fn leads_out(&mut self, number: u64, entry: &Entry, path: &[u8]) -> bool {
        if path.split(|byte| *byte == b'/').any(|part| part == b"..") {
            self.survey.notes.lost(&entry.path, "it points outside the archive");
            self.drop(number);
            return true;
        }
        self.absolute += u64::from(entry.path.starts_with(b"/"));
        false
    }

    fn is_special(&mut self, number: u64, entry: &Entry, path: &[u8]) -> bool {
        let what = match entry.kind {
            EntryKind::Fifo => "it is a named pipe, which its program recreates",
            EntryKind::Char | EntryKind::Block => "it is a device",
            EntryKind::GnuSparse => {
                self.survey.notes.lost(path, "it is stored as a GNU sparse file; unpack it with GNU tar");
                self.drop(number);
                return true;
            }
            _ => return false,
        };
        self.survey.notes.left_out(path, what);
        self.drop(number);
        true
    }

    /// A link with something below it must become a folder, or its content would be written to the link's target.
    fn below_link(&mut self, path: &[u8]) {
        if self.links.is_empty() {
            return;
        }
        for at in path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at) {
            if let Some(number) = self.links.remove(&path[..at]) {
                self.survey
                    .notes
                    .repaired(&path[..at], "it was a symbolic link with files below it; it is now a folder");
                self.survey.fates.insert(number, Fate::Folder);
            }
        }
    }

    fn configuration(&mut self, number: u64, entry: &Entry, path: Vec<u8>, seen: Seen) {
        let split = path.iter().rposition(|byte| *byte == b'/');
        let (parent, base) = split.map_or((&path[..0], &path[..]), |at| (&path[..at], &path[at + 1..]));
        self.has_data |= path == b"data" || path.starts_with(b"data/");
        let marker = match base {
            b".HA_VERSION" => 1,
            b"configuration.yaml" => 2,
            b".storage" => 4,
            _ => 0,
        };
        if marker > 0 {
            *self.markers.entry(parent.to_vec()).or_default() |= marker;
        } else if let Some(storage) =
            parent.strip_suffix(b"/.storage").or_else(|| (parent == b".storage").then_some(&parent[..0]))
        {
            *self.markers.entry(storage.to_vec()).or_default() |= 4;
        }
        if base == b".HA_RESTORE" {
            self.wishes.push((number, path.clone()));
        }
        if let Some(database) = path.strip_suffix(b"-wal") {
            self.logs.insert(database.to_vec(), (number, entry.size));
        }
        if base == b".HA_VERSION" && !seen.start.is_empty() {
            self.versions.push((parent.to_vec(), String::from_utf8_lossy(&seen.start).trim().to_owned()));
        }
        if entry.kind == EntryKind::File && (seen.checker.is_some() || base == RECORDER) {
            let short = seen.is_short(entry.size);
            let problems = seen.checker.map(ImageChecker::finish);
            let is_one = problems.is_some();
            self.databases.push(Database {
                number,
                path,
                size: entry.size,
                is_one,
                short,
                has_log: seen.has_log,
                problems: problems.unwrap_or_default(),
            });
        }
    }

    /// What follows once all is known.
    fn settle(&mut self, name: &str) {
        if self.absolute > 0 {
            let what = if self.absolute == 1 {
                "a name in it began with a slash, and is now".to_owned()
            } else {
                format!("{} names in it began with a slash, and are now", self.absolute)
            };
            self.survey.notes.repaired(
                name,
                format!("{what} written without it: a restore accepts nothing that points outside the archive"),
            );
        }
        if self.config {
            self.settle_configuration(name);
        }
        let mut repeats: Vec<_> =
            self.survey.repeats.iter().filter(|(path, _)| !self.settled.contains(*path)).collect();
        repeats.sort_unstable_by_key(|(_, number)| **number);
        for (path, _) in repeats {
            self.survey.notes.repaired(path, "it occurred more than once; the last one is kept");
        }
        for (number, path, target) in std::mem::take(&mut self.hard) {
            let is_dropped = self.survey.fates.get(&number) == Some(&Fate::Drop);
            if !is_dropped && self.survey.repeats.get(&path).is_none_or(|last| *last == number) {
                self.survey.notes.repaired(
                    &path,
                    format!("it was a hard link to {}; it is now a separate file", crate::text::shown(&target)),
                );
            }
        }
    }

    fn settle_configuration(&mut self, name: &str) {
        self.survey.root = self.root(name == MAIN);
        let root = self.survey.root.clone();
        if root != b"data" {
            let found_at =
                if root.is_empty() { "at its top".to_owned() } else { format!("in {}/", crate::text::shown(&root)) };
            self.survey.notes.repaired(name, format!("the configuration was {found_at}; it is now below data/"));
        }
        for (number, path) in std::mem::take(&mut self.wishes) {
            if below(&path, &root) == Some(b".HA_RESTORE") {
                self.survey.notes.left_out(&path, "it would trigger another restore");
                self.drop(number);
            }
        }
        self.survey.has_root = root.is_empty() || self.names.has(&root);
        self.survey.version =
            self.versions.iter().rfind(|(parent, _)| *parent == root).map(|(_, version)| version.clone());
        self.history(&root);
    }

    /// `data`, where a backup has the configuration. Otherwise the folder that holds most files that only a
    /// configuration has; among equals the one nearest to the top. Anything below a folder that has a version is an old
    /// copy.
    fn root(&self, is_bare: bool) -> Vec<u8> {
        if self.has_data
            && (!is_bare || (self.markers.contains_key(&b"data"[..]) && !self.markers.contains_key(&b""[..])))
        {
            return b"data".to_vec();
        }
        let is_copy = |path: &[u8]| {
            self.markers.iter().any(|(other, marks)| marks & 1 > 0 && other != path && below(path, other).is_some())
        };
        let rank = |(path, marks): &(&Vec<u8>, &u8)| {
            let depth = path.split(|byte| *byte == b'/').filter(|part| !part.is_empty()).count();
            (
                marks.count_ones(),
                path.as_slice() == b"data",
                std::cmp::Reverse(depth),
                std::cmp::Reverse((*path).clone()),
            )
        };
        match self.markers.iter().filter(|(path, _)| !is_copy(path)).max_by_key(rank) {
            Some((root, _)) => root.clone(),
            None if self.has_data => b"data".to_vec(),
            None => Vec::new(),
        }
    }

    fn history(&mut self, root: &[u8]) {
        let recorder = if root.is_empty() { RECORDER.to_vec() } else { [root, b"/", RECORDER].concat() };
        self.last_whole(&recorder);
        let last = |path: &[u8], survey: &Survey, number| survey.repeats.get(path).is_none_or(|last| *last == number);
        for database in std::mem::take(&mut self.databases) {
            if !last(&database.path, &self.survey, database.number) {
                continue;
            }
            let log = self.logs.get(&database.path).copied();
            let has_log = log.is_some_and(|(_, size)| size > 0);
            let is_recorder = database.path == recorder;
            if is_recorder && database.short && !has_log {
                self.survey.notes.lost(
                    &database.path,
                    "the database was cut short; it is left out, and Home Assistant starts a new one",
                );
                self.survey.lost_database = true;
                self.drop(database.number);
                if let Some((number, _)) = log {
                    self.drop(number);
                }
                self.logs.remove(&database.path);
                continue;
            }
            if is_recorder {
                self.survey.database = true;
                self.survey.wants_log = log.is_none();
                self.survey.lacks_log = log.is_none() && database.has_log;
            }
            self.damaged(&database, is_recorder, has_log);
        }
        if let Some((number, size)) = self.logs.get(&recorder).copied().filter(|_| !self.survey.database) {
            let path = [&recorder[..], b"-wal"].concat();
            self.survey.lost_database = size > 0;
            if size > 0 {
                self.survey.notes.lost(&path, "it is the log of a missing database, and useless alone");
            }
            self.drop(number);
        }
        if self.survey.wants_log {
            let path = [&recorder[..], b"-wal"].concat();
            if self.survey.lacks_log {
                let what = "it was missing; Haul adds an empty one. If the database was in use when it was copied, the \
                    newest history is lost";
                self.survey.notes.doubtful(path, what);
            } else {
                self.survey.notes.repaired(
                    path,
                    "it was missing, but a restore of the history alone needs it; Haul adds an empty one",
                );
            }
        }
    }

    /// Of several copies of the history the last counts, unless that is cut short and one before it is not.
    fn last_whole(&mut self, recorder: &[u8]) {
        let is_logged = self.logs.get(recorder).is_some_and(|(_, size)| *size > 0);
        let mut copies = self.databases.iter().rev().filter(|database| database.path == recorder);
        if !is_logged
            && copies.next().is_some_and(|last| last.short)
            && let Some(whole) = copies.find(|database| !database.short && database.is_one)
        {
            self.survey.repeats.insert(recorder.to_vec(), whole.number);
            self.settled.insert(recorder.to_vec());
            self.survey.notes.lost(
                recorder,
                "it occurred more than once; the last one was cut short, so the last whole one is kept",
            );
        }
    }

    fn damaged(&mut self, database: &Database, is_recorder: bool, has_log: bool) {
        let begins = if is_recorder { "; Home Assistant sets it aside and starts a new one" } else { "" };
        let notes = &mut self.survey.notes;
        if database.size == 0 || !database.is_one {
            let what = if database.size == 0 { "the database is empty" } else { "it is not a database" };
            notes.unrepaired(&database.path, format!("{what}; it is kept as it is{begins}"));
        } else if let Some(problem) = database.problems.first() {
            let problem = problem.trim_start_matches("the database is damaged: ");
            if has_log {
                notes.unrepaired(
                    &database.path,
                    format!("the database is incomplete without its log ({problem}); both are kept"),
                );
            } else {
                notes.unrepaired(
                    &database.path,
                    format!("the database is damaged ({problem}); it is kept as it is{begins}"),
                );
            }
        }
    }
}
