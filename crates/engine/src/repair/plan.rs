//! What goes into the new archive: which parts, under which names, and the description.

use std::{
    collections::BTreeMap,
    io::{self, Read},
    path::Path,
    sync::{Mutex, PoisonError},
};

use habackup::{
    archive::{MANIFEST, MANIFEST_MAX},
    format::Format,
    index::{self, Index},
    manifest::{Manifest, WallTime},
    read_at::ReadAt,
    readers::Defect,
    securetar::{Decryptor, Expect, Keyring, SecureTarVersion},
    version::HaVersion,
};
use pargz::Level;
use serde_json::{Map, Value};
use store::Cancellation;

use super::{
    Encryption, Recompress, RepairError, RepairOptions,
    bytes::{Bytes, Unfit},
    decode::{self, Shut},
    description::{self, Known, State},
    notes::{NoteKind, Notes},
    parts::{self, MAIN, Piece},
    survey::{Fate, Survey, survey},
};
use crate::{
    inspect::Inspection,
    read::{ArchiveFile, OpenError},
    write::layout::{SecureTar, container_version},
};

/// An inner archive of the new archive.
pub(super) struct Part {
    pub(super) piece: Piece,
    /// Its name there.
    pub(super) name: String,
    pub(super) survey: Survey,
}

/// All that is to be written.
pub(super) struct Plan {
    pub(super) manifest: Manifest,
    pub(super) main: Option<Part>,
    pub(super) parts: Vec<Part>,
    /// Members that no reader knows; copied.
    pub(super) others: Vec<Piece>,
    pub(super) keyring: Mutex<Option<Keyring>>,
    /// `None`: not encrypted.
    pub(super) sealing: Option<SecureTarVersion>,
    /// `None`: not compressed.
    pub(super) level: Option<Level>,
    /// The index of the old archive, if that can be read: it names what was there.
    pub(super) index: Option<Index>,
    pub(super) notes: Notes,
}

impl Plan {
    pub(super) fn all(&self) -> impl Iterator<Item = &Part> {
        self.main.iter().chain(&self.parts)
    }

    /// About how much is written.
    pub(super) fn bytes(&self) -> u64 {
        self.all().map(|part| part.survey.bytes).sum::<u64>() + self.others.iter().map(|piece| piece.size).sum::<u64>()
    }

    /// What Home Assistant would call the file.
    pub(super) fn file_name(&self) -> String {
        let date = self.manifest.date().and_then(|date| date.parse::<WallTime>().ok());
        let name = self.manifest.name().unwrap_or_default();
        date.map_or_else(|| format!("{name}.tar"), |date| habackup::manifest::file_name(name, &date))
    }
}

/// The pieces by what they are.
#[derive(Default)]
struct Sorted {
    description: Option<(Map<String, Value>, String)>,
    /// Of several with one name the last comes last.
    inner: BTreeMap<String, Vec<Piece>>,
    others: Vec<Piece>,
    index: Option<Index>,
}

/// Looks at everything once.
pub(super) fn plan(
    bytes: &Bytes<'_>,
    mut notes: Notes,
    archive: &Path,
    options: &RepairOptions,
    before: &Inspection,
    cancel: &Cancellation,
) -> Result<Plan, RepairError> {
    let failed = |error| RepairError::from(OpenError::of(archive.to_owned(), error));
    let is_bare = has(before, Defect::NotWrapped);
    let keyring = Mutex::new(options.password.clone().map(Keyring::new));
    for finding in &before.findings {
        match (finding.defect, &finding.member) {
            (Defect::OuterEnd, _) => notes.whole(format!("{}; it is rewritten", finding.what)),
            (Defect::Index, Some(member)) => notes.repaired(member, "it was damaged; Haul writes a new one"),
            _ => {}
        }
    }
    let sorted = if is_bare { bare(bytes, before, &mut notes) } else { sort(bytes, &keyring, &mut notes, cancel) }
        .map_err(failed)?;
    let job = Job { bytes, archive, cancel, keyring, is_protected: before.manifest.protected };
    let surveyed = job.surveys(sorted.inner, &mut notes)?;
    if surveyed.is_empty() {
        return Err(hopeless(archive, before, &notes));
    }
    let Job { keyring, .. } = job;
    let making = Making { options, before, is_bare, archive };
    let plan = making.make(sorted.description, surveyed, sorted.others, keyring, notes)?;
    Ok(Plan { index: sorted.index, ..plan })
}

/// Nothing of it can be used.
fn hopeless(archive: &Path, before: &Inspection, notes: &Notes) -> RepairError {
    let lost = notes.list.iter().rfind(|note| note.kind == NoteKind::Lost);
    let said = lost.map(|note| match &note.member {
        Some(member) if !member.is_empty() => format!("{member}: {}", note.what),
        _ => note.what.clone(),
    });
    // Of an end mark that is missing as well no reader asks.
    let first = before.findings.iter().find(|finding| !finding.outcomes.is_empty()).or(before.findings.first());
    let what = said
        .or_else(|| first.map(|finding| finding.what.clone()))
        .unwrap_or_else(|| "none of it is readable".to_owned());
    let advice = if has(before, Defect::NotWrapped) {
        "make a tar of the configuration it belongs to, and repair that"
    } else {
        "it contains nothing usable of a configuration, a folder or an add-on; fetch it again from its source"
    };
    RepairError::Hopeless { archive: archive.to_owned(), what, advice: advice.to_owned() }
}

fn has(inspection: &Inspection, defect: Defect) -> bool {
    inspection.findings.iter().any(|finding| finding.defect == defect)
}

/// The archive itself; `None` where it is packed in a way that Haul does not know.
pub(super) fn unwrapped<'a>(
    file: &'a ArchiveFile<'a>,
    before: &Inspection,
    notes: &mut Notes,
    cancel: &'a Cancellation,
) -> io::Result<Result<Bytes<'a>, Unfit>> {
    if !has(before, Defect::WrapperPacked) {
        return Ok(Ok(Bytes::Plain(file)));
    }
    notes.whole("the whole archive was packed twice; it is unpacked");
    if Format::at(file)? == Format::Gzip {
        Bytes::gunzipped(file, notes, cancel).map(Ok)
    } else {
        Bytes::unzipped(file, notes, cancel)
    }
}

/// A configuration without an archive around it.
fn bare(bytes: &Bytes<'_>, before: &Inspection, notes: &mut Notes) -> io::Result<Sorted> {
    let mut sorted = Sorted::default();
    if matches!(Format::at(bytes)?, Format::Gzip | Format::SecureTar | Format::Tar) {
        let what = before
            .findings
            .iter()
            .find(|finding| finding.defect == Defect::NotWrapped)
            .map(|finding| finding.what.as_str());
        notes.whole(format!("{}; it is one now", what.unwrap_or_default()));
        sorted
            .inner
            .insert(MAIN.to_owned(), vec![Piece { name: MAIN.to_owned(), offset: 0, size: bytes.len(), cut: false }]);
    }
    Ok(sorted)
}

fn sort(
    bytes: &Bytes<'_>,
    keyring: &Mutex<Option<Keyring>>,
    notes: &mut Notes,
    cancel: &Cancellation,
) -> io::Result<Sorted> {
    let mut sorted = Sorted::default();
    let mut descriptions: Vec<Piece> = Vec::new();
    let mut of_index = None;
    let (pieces, marked) = parts::pieces(bytes, notes, cancel)?;
    for piece in pieces {
        let base = piece.base().to_owned();
        if matches!(base.as_str(), "backup.json" | "snapshot.json") {
            descriptions.push(piece);
        } else if base.starts_with("._") {
            notes.left_out(&piece.name, "macOS left it there");
        } else if piece.is_inner() {
            let lower = base.to_ascii_lowercase();
            let length =
                lower.strip_suffix(".tar.gz").or_else(|| lower.strip_suffix(".tar")).map_or(base.len(), str::len);
            sorted.inner.entry(base[..length].to_owned()).or_default().push(piece);
        } else if base == index::MEMBER || !piece.cut && is_index(bytes, &piece, keyring)? {
            of_index = Some(piece);
        } else if piece.name.split('/').any(|part| part == "..") {
            notes.left_out(&piece.name, "its name points outside the archive");
        } else if piece.cut {
            notes.lost(&piece.name, "it is cut short");
        } else {
            sorted.others.push(piece);
        }
    }
    if let Some(piece) = of_index.filter(|piece| !piece.cut) {
        sorted.index = index_in(bytes, &piece, keyring)?.and_then(|plain| Index::parse(&plain).ok());
    }
    sorted.description = describe(bytes, descriptions, sorted.index.as_ref(), notes)?;
    if !marked && sorted.description.is_none() {
        notes.doubtful(MANIFEST, "the archive has no end mark either, so it may have had more parts");
    }
    Ok(sorted)
}

/// The description that readers take, or the nearest to it that can be read: a whole one, the copy of it, the beginning
/// of one.
fn describe(
    bytes: &Bytes<'_>,
    mut pieces: Vec<Piece>,
    index: Option<&Index>,
    notes: &mut Notes,
) -> io::Result<Option<(Map<String, Value>, String)>> {
    // The best comes last: right name over near ones, today's over the one of old.
    pieces.sort_by_key(|piece| (piece.base() == "backup.json", piece.name == MANIFEST));
    let several = pieces.len() > 1;
    let (mut cut, mut useless) = (None, Vec::new());
    while let Some(piece) = pieces.pop() {
        match description::read(&parts::content(bytes, &piece, MANIFEST_MAX)?) {
            Ok((fields, State::Cut)) => cut = cut.or(Some((fields, piece.name))),
            Ok((fields, state)) => {
                if several {
                    notes.repaired(&piece.name, "there was more than one description; this one is kept");
                }
                if state == State::Whole {
                    notes.repaired(&piece.name, "it was not JSON that readers accept; its content is rewritten");
                }
                if piece.name != MANIFEST {
                    notes.repaired(&piece.name, "it is now called ./backup.json, as readers expect");
                }
                return Ok(Some((fields, piece.name)));
            }
            Err(why) => useless.push((piece.name, why)),
        }
    }
    let copy = index.and_then(Index::description).and_then(|json| description::read(json).ok());
    if let Some((fields, _)) = copy {
        notes.repaired(MANIFEST, "it was missing or damaged; its content comes from the copy in haul.index");
        return Ok(Some((fields, MANIFEST.to_owned())));
    }
    if let Some((fields, name)) = cut {
        notes.repaired(&name, "it was cut short; what is left is kept, and the rest is derived from the archive");
        return Ok(Some((fields, name)));
    }
    if useless.is_empty() {
        notes.repaired(MANIFEST, "it is derived from the archive");
    }
    for (name, why) in useless {
        notes.repaired(name, format!("{why}; Haul writes a new one from what is in the archive"));
    }
    Ok(None)
}

/// Whether a member is an index, whatever it is called: its name may have been in a header that is damaged.
fn is_index(bytes: &Bytes<'_>, piece: &Piece, keyring: &Mutex<Option<Keyring>>) -> io::Result<bool> {
    let start = parts::content(bytes, piece, SECURETAR.len() as u64)?;
    Ok(start.starts_with(index::MAGIC) || start == SECURETAR && index_in(bytes, piece, keyring)?.is_some())
}

/// How an encrypted member begins.
const SECURETAR: &[u8] = b"SecureTar";

/// The content of an index, decrypted; `None` if the member is not one, or can't be decrypted.
fn index_in(bytes: &Bytes<'_>, piece: &Piece, keyring: &Mutex<Option<Keyring>>) -> io::Result<Option<Vec<u8>>> {
    if piece.size > index::MAX_LEN {
        return Ok(None);
    }
    let mut plain = parts::content(bytes, piece, index::MAX_LEN)?;
    if plain.starts_with(SECURETAR) {
        let mut keyring = keyring.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(keyring) = keyring.as_mut() else { return Ok(None) };
        let mut opened = Vec::new();
        let Ok(mut encrypted) = Decryptor::open_with(plain.as_slice(), keyring, Expect::Magic(index::MAGIC)) else {
            return Ok(None);
        };
        if encrypted.read_to_end(&mut opened).is_err() {
            return Ok(None);
        }
        plain = opened;
    }
    Ok(Some(plain).filter(|plain| plain.starts_with(index::MAGIC)))
}

struct Job<'a, 'b> {
    bytes: &'a Bytes<'b>,
    archive: &'a Path,
    cancel: &'a Cancellation,
    keyring: Mutex<Option<Keyring>>,
    /// What the description says.
    is_protected: bool,
}

impl Job<'_, '_> {
    /// Reads every part to its end.
    fn surveys(
        &self,
        inner: BTreeMap<String, Vec<Piece>>,
        notes: &mut Notes,
    ) -> Result<Vec<(String, Piece, Survey)>, RepairError> {
        let mut surveyed = Vec::new();
        let (mut shut, mut locked) = (Vec::new(), Vec::new());
        for (stem, pieces) in inner {
            let several = pieces.len() > 1;
            let mut best: Option<(Piece, Survey)> = None;
            // As for every reader the last counts, unless one before it has more in it.
            for piece in pieces.into_iter().rev() {
                let Some(seen) = self.survey(&stem, &piece, notes, &mut shut, &mut locked)? else { continue };
                if best.as_ref().is_none_or(|(_, best)| worth(&seen) > worth(best)) {
                    best = Some((piece, seen));
                }
            }
            let Some((piece, seen)) = best else { continue };
            if several {
                notes.lost(&piece.name, format!("it occurs more than once; the one of {} bytes is kept", piece.size));
            }
            // A folder of which nothing is left would replace the one that is there by an empty one.
            if kept(&seen) == 0 && seen.notes.is_change() {
                notes.append(seen.notes);
            } else {
                surveyed.push((stem, piece, seen));
            }
        }
        let is_plain = |(stem, _, seen): &(String, Piece, Survey)| {
            stem == MAIN && seen.form.is_some_and(|form| form.sealed.is_none())
        };
        let has_plain = surveyed.iter().any(is_plain);
        if !shut.is_empty()
            && !has_plain
            && surveyed.iter().all(|(_, _, seen)| seen.form.is_none_or(|form| form.sealed.is_none()))
        {
            return Err(OpenError::WrongPassword.into());
        }
        if !locked.is_empty() && !has_plain {
            return Err(OpenError::PasswordNeeded(self.archive.to_owned()).into());
        }
        for name in locked {
            let what = "it is still encrypted, as Home Assistant leaves it when it decrypts a download, and no \
                password was given; it remains only in the old archive";
            notes.lost(name, what);
        }
        for name in shut {
            notes.lost(name, "the password does not open it; it remains only in the old archive");
        }
        Ok(surveyed)
    }

    /// Reads one to its end; `None`: it can't be opened, and why is noted.
    fn survey(
        &self,
        stem: &str,
        piece: &Piece,
        notes: &mut Notes,
        shut: &mut Vec<String>,
        locked: &mut Vec<String>,
    ) -> Result<Option<Survey>, RepairError> {
        let failed = |error| RepairError::from(OpenError::of(self.archive.to_owned(), error));
        match decode::open(self.bytes, piece, &self.keyring) {
            Ok(plain) => {
                if plain.form.sealed.is_some() && decode::sizes_lie(self.bytes, piece) && !piece.cut {
                    notes.repaired(&piece.name, "the size in the header of its encryption was wrong");
                }
                survey(plain, &piece.name, stem == MAIN, piece.cut, self.cancel).map(Some).map_err(failed)
            }
            Err(Shut::Io(error)) => Err(failed(error)),
            Err(Shut::Locked) if stem == MAIN => Err(OpenError::PasswordNeeded(self.archive.to_owned()).into()),
            Err(Shut::Locked) => {
                locked.push(piece.name.clone());
                Ok(None)
            }
            Err(Shut::WrongPassword) => {
                shut.push(piece.name.clone());
                Ok(None)
            }
            // The oldest encryption has no mark: what the password does not open looks like anything.
            Err(Shut::Unmarked) if self.is_protected => {
                shut.push(piece.name.clone());
                Ok(None)
            }
            Err(Shut::Unmarked) => {
                notes.lost(&piece.name, "none of it is readable: it is neither gzip, nor a tar, nor encrypted");
                Ok(None)
            }
            Err(Shut::Unknown(why)) => {
                notes.lost(&piece.name, format!("none of it is readable: {why}"));
                Ok(None)
            }
        }
    }
}

/// Members that come into the new archive.
fn kept(survey: &Survey) -> u64 {
    survey.whole.saturating_sub(survey.fates.values().filter(|fate| **fate == Fate::Drop).count() as u64)
}

/// Which of two is the better one: whole before damaged, then the one with more in it.
fn worth(survey: &Survey) -> (bool, u64) {
    let is_whole = survey.notes.list.iter().all(|note| !matches!(note.kind, NoteKind::Lost | NoteKind::Doubtful));
    (is_whole && kept(survey) > 0, kept(survey))
}

struct Making<'a> {
    options: &'a RepairOptions,
    before: &'a Inspection,
    is_bare: bool,
    archive: &'a Path,
}

impl Making<'_> {
    fn make(
        &self,
        description: Option<(Map<String, Value>, String)>,
        mut surveyed: Vec<(String, Piece, Survey)>,
        others: Vec<Piece>,
        keyring: Mutex<Option<Keyring>>,
        mut notes: Notes,
    ) -> Result<Plan, RepairError> {
        for (_, _, survey) in &mut surveyed {
            notes.append(std::mem::take(&mut survey.notes));
        }
        let level = self.level(&surveyed, &mut notes);
        let protected = self.is_protected(&surveyed, &mut notes)?;
        let fields = description.map(|(fields, _)| fields).unwrap_or_default();
        let find = |stem: &str| surveyed.iter().find(|(other, ..)| other == stem).map(|(_, _, survey)| survey);
        let known = Known {
            main: find(MAIN),
            parts: surveyed
                .iter()
                .filter(|(stem, ..)| stem != MAIN)
                .map(|(stem, _, survey)| (stem.as_str(), survey))
                .collect(),
            rename: self.options.rename.as_deref(),
            version: self.options.ha_version.as_ref(),
            supervisor_newer: has(self.before, Defect::SupervisorNewer),
            version_minded: has(self.before, Defect::ManifestVersion) || has(self.before, Defect::OldSnapshot),
            compressed: level.is_some(),
            protected,
            now: &self.options.now,
        };
        let manifest = description::describe(fields, &known, &mut notes)
            .map_err(|_| RepairError::NoVersion(self.archive.to_owned()))?;
        let was = surveyed.iter().find_map(|(_, _, survey)| survey.form.and_then(|form| form.sealed));
        let sealing = protected.then(|| self.sealing(&manifest, was));
        let (mut main, mut parts) = (None, Vec::new());
        for (stem, piece, survey) in surveyed {
            let name = format!("{stem}.{}", if level.is_some() { "tar.gz" } else { "tar" });
            self.form(&piece, &name, &survey, level.is_some(), sealing, &mut notes);
            let part = Part { piece, name, survey };
            if stem == MAIN { main = Some(part) } else { parts.push(part) }
        }
        if main.as_ref().is_some_and(|part: &Part| part.survey.version.is_none()) {
            notes.repaired(
                "data/.HA_VERSION",
                format!("it was missing; it is now {}", manifest.home_assistant_version().unwrap_or_default()),
            );
        }
        Ok(Plan { manifest, main, parts, others, keyring, sealing, level, index: None, notes })
    }

    fn level(&self, surveyed: &[(String, Piece, Survey)], notes: &mut Notes) -> Option<Level> {
        let was =
            surveyed.iter().find(|(stem, ..)| stem == MAIN).or(surveyed.first()).and_then(|(_, _, survey)| survey.form);
        match self.options.recompress {
            Some(Recompress::Stored) => {
                notes.whole("it is no longer compressed, as requested");
                None
            }
            Some(Recompress::To(level)) => {
                notes.whole("it is recompressed, as requested");
                Some(level)
            }
            None => (self.is_bare || was.is_none_or(|form| form.compressed)).then_some(Level::Fast),
        }
    }

    fn is_protected(&self, surveyed: &[(String, Piece, Survey)], notes: &mut Notes) -> Result<bool, RepairError> {
        // The configuration decides: Home Assistant leaves parts encrypted when it decrypts a download.
        let is_sealed = |survey: &Survey| survey.form.is_some_and(|form| form.sealed.is_some());
        let main = surveyed.iter().find(|(stem, ..)| stem == MAIN).map(|(_, _, survey)| is_sealed(survey));
        let was = main.unwrap_or_else(|| surveyed.iter().any(|(_, _, survey)| is_sealed(survey)));
        let refused = |what, advice| Err(RepairError::Encryption { archive: self.archive.to_owned(), what, advice });
        match (&self.options.encryption, was) {
            (Encryption::Keep, _) => Ok(was),
            (Encryption::Add(_), false) => {
                notes.whole("it is now encrypted, as requested");
                Ok(true)
            }
            (Encryption::Add(_), true) => {
                refused("is encrypted already", "use --change-password to change its password")
            }
            (Encryption::Change(_), true) => {
                notes.whole("it has the new password, as requested");
                Ok(true)
            }
            (Encryption::Change(_), false) => refused("is not encrypted", "use --encrypt to encrypt it"),
            (Encryption::Remove, true) => {
                notes.whole("it is no longer encrypted, as requested");
                Ok(false)
            }
            (Encryption::Remove, false) => refused("is not encrypted", "remove --decrypt"),
        }
    }

    fn sealing(&self, manifest: &Manifest, was: Option<SecureTarVersion>) -> SecureTarVersion {
        let version = manifest.home_assistant_version().and_then(|version| version.parse::<HaVersion>().ok());
        match (self.options.securetar, version) {
            (SecureTar::V3, _) => SecureTarVersion::V3,
            (SecureTar::V2, _) => SecureTarVersion::V2,
            (SecureTar::Auto, Some(version)) => container_version(SecureTar::Auto, &version),
            // Add-ons and folders alone show no version.
            (SecureTar::Auto, None) => was.filter(|was| *was == SecureTarVersion::V3).unwrap_or(SecureTarVersion::V2),
        }
    }

    /// Says what is otherwise about a part as a whole.
    fn form(
        &self,
        piece: &Piece,
        name: &str,
        survey: &Survey,
        compressed: bool,
        sealing: Option<SecureTarVersion>,
        notes: &mut Notes,
    ) {
        let Some(form) = survey.form else { return };
        if self.is_bare {
            return;
        }
        if piece.name != name {
            notes.repaired(&piece.name, format!("it is called {}", crate::text::shown(name.as_bytes())));
        }
        if form.compressed != compressed && self.options.recompress.is_none() {
            notes.repaired(
                name,
                if compressed {
                    "it was not compressed, although its name says so; it is now"
                } else {
                    "it was compressed, unlike the others; it no longer is"
                },
            );
        }
        let is_asked = self.options.securetar != SecureTar::Auto;
        let minded = is_asked || has(self.before, Defect::SecureTarOld) || has(self.before, Defect::SecureTarVersion);
        match (form.sealed, sealing) {
            (None, Some(_)) if matches!(self.options.encryption, Encryption::Keep) => {
                notes.repaired(name, "it was not encrypted, unlike the others; it is now");
            }
            (Some(_), None) if matches!(self.options.encryption, Encryption::Keep) => {
                notes.repaired(name, "it was still encrypted, unlike the configuration; it no longer is");
            }
            (Some(was), Some(is)) if was != is && minded => {
                let why = if is_asked { "" } else { ", which not every reader knows" };
                let asked = if is_asked { ", as requested" } else { "" };
                notes.repaired(
                    name,
                    format!(
                        "it was encrypted with SecureTar {}{why}; it is now SecureTar {}{asked}",
                        number(was),
                        number(is)
                    ),
                );
            }
            _ => {}
        }
    }
}

fn number(version: SecureTarVersion) -> u8 {
    match version {
        SecureTarVersion::V1 => 1,
        SecureTarVersion::V2 => 2,
        SecureTarVersion::V3 => 3,
    }
}
