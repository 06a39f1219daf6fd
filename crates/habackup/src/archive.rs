//! An existing outer archive: finds its members by walking the headers, without reading their bodies, and says what
//! Home Assistant will make of it. It does not read inside the inner archives.
//!
//! Works for Core's archives (description first), Supervisor's (description last) and ours. A damaged archive opens as
//! far as it goes: [`Archive::problems`] then names the damage, and the members before it can still be read.

use std::{
    io::{self, Read},
    ops::Range,
};

use thiserror::Error;

use crate::index;
use crate::manifest::{Manifest, ManifestError};
pub use crate::names::MANIFEST;
use crate::names::{is_archive_name, leaves};
use crate::outer;
use crate::problem::{Problem, Severity, shown};
use crate::read_at::ReadAt;
use crate::read_at::at_most;
use crate::tar::{self, Entry, EntryKind, Reader, Tail, TarError};

/// Descriptions beyond this are refused. Real ones have a few kilobytes, and parsed JSON takes up to twenty times its
/// length.
pub const MANIFEST_MAX: u64 = 2 << 20;

/// Python and GNU tar fill an archive with zeros to a multiple of this, so fewer bytes follow its end marker.
const RECORD: usize = 10_240;

/// Members beyond this are refused: a real archive has one per add-on and folder.
const MEMBERS_MAX: usize = 100_000;

/// One member of an outer archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its name as written there. Bytes that are not UTF-8 are replaced; no reader knows such a member.
    pub name: String,
    /// What it is; Home Assistant writes only files.
    pub kind: EntryKind,
    /// The offset of its first header block, including a PAX header.
    pub header_offset: u64,
    /// Where its body begins.
    pub data_offset: u64,
    /// Bytes of its body.
    pub size: u64,
    /// Size in the header block.
    pub ustar_size: u64,
    /// Size in the PAX record, when there is one.
    pub pax_size: Option<u64>,
    /// Its time: seconds since 1970 (rounded down) and nanoseconds after them.
    pub mtime: (i64, u32),
}

impl Member {
    /// Whether it is an archive inside the archive, by its name.
    pub fn is_inner_archive(&self) -> bool {
        self.kind == EntryKind::File
            && !self.name.contains('/')
            && !self.name.starts_with("._")
            && is_archive_name(self.name.as_bytes())
    }
}

/// Why something cannot be opened as an archive at all.
#[derive(Debug, Error)]
pub enum ArchiveError {
    /// The source failed.
    #[error("the archive cannot be read: {0}")]
    Io(#[from] io::Error),
    /// Nothing there: a known way for uploads to fail.
    #[error("the archive is empty")]
    Empty,
    /// Packed as a whole. Home Assistant answers with an error.
    #[error(
        "the archive is compressed with {0} as a whole; Home Assistant reads only a plain tar with compressed members, \
         so unpack it first"
    )]
    Compressed(&'static str),
    /// No tar archive.
    #[error("this is not a tar archive: {0}")]
    NotTar(#[source] TarError),
    /// The description is too long to be one.
    #[error("backup.json has {0} bytes, far more than a description can have")]
    ManifestTooLarge(u64),
    /// The archive has no end of members.
    #[error("the archive has more than 100000 members")]
    TooManyMembers,
}

/// An opened archive.
#[derive(Debug)]
pub struct Archive<S> {
    source: S,
    members: Vec<Member>,
    manifest: Option<Manifest>,
    problems: Vec<Problem>,
    tail: Option<Tail>,
    unread: Range<u64>,
}

/// The problem of an archive that was cut after its last member.
pub const NO_END: &str = "the archive has no end marker; members after its last one may be missing";

impl<S: ReadAt> Archive<S> {
    /// Walks the headers of `source`. Fails only when there is no archive to speak of; whatever else is wrong becomes a
    /// problem.
    pub fn open(source: S) -> Result<Self, ArchiveError> {
        refuse_other_formats(&source)?;
        let mut archive =
            Self { source, members: Vec::new(), manifest: None, problems: Vec::new(), tail: None, unread: 0..0 };
        archive.walk()?;
        archive.check_own_headers()?;
        archive.note_size_records();
        archive.read_manifest()?;
        archive.compare_with_manifest();
        archive.check_protection()?;
        Ok(archive)
    }

    /// The source it was opened from.
    pub fn source(&self) -> &S {
        &self.source
    }

    /// All members in their order.
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// The member of that exact name; of several the last, as Python's `tarfile` does.
    pub fn member(&self, name: &str) -> Option<&Member> {
        self.members.iter().rev().find(|member| member.name == name)
    }

    /// The description, if there is a readable one under either spelling of its name.
    pub fn manifest(&self) -> Option<&Manifest> {
        self.manifest.as_ref()
    }

    /// The member with Home Assistant's configuration directory: the one the description names, else the one that is
    /// there.
    pub fn home_assistant(&self) -> Option<&Member> {
        let compressed = self.manifest.as_ref().is_none_or(Manifest::compressed);
        let names = if compressed {
            ["homeassistant.tar.gz", "homeassistant.tar"]
        } else {
            ["homeassistant.tar", "homeassistant.tar.gz"]
        };
        names.iter().find_map(|name| self.member(name))
    }

    /// The inner archives: Home Assistant's, the folders' and the add-ons'.
    pub fn inner_archives(&self) -> impl Iterator<Item = &Member> {
        self.members.iter().filter(|member| member.is_inner_archive())
    }

    /// How the archive ends; `None` when it is cut off or damaged before its end.
    pub fn tail(&self) -> Option<Tail> {
        self.tail
    }

    /// What follows the end and was not read, because no archive needs that much there; usually empty.
    pub fn unread(&self) -> Range<u64> {
        self.unread.clone()
    }

    /// Everything wrong with the archive, as far as its headers and its description show.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// The body of a member, or as much of it as there is.
    pub fn body(&self, member: &Member) -> Body<&S> {
        let end = member.data_offset.saturating_add(member.size).min(self.source.len());
        Body { source: &self.source, start: member.data_offset.min(end), at: member.data_offset.min(end), end }
    }

    fn walk(&mut self) -> Result<(), ArchiveError> {
        let length = self.source.len();
        let mut reader = Reader::new(Body { source: &self.source, start: 0, at: 0, end: length });
        let ended = loop {
            let entry = match reader.next_entry() {
                Ok(Some(entry)) => entry,
                Ok(None) => break self.look_behind(reader.marker_blocks().unwrap_or_default(), reader.offset()),
                Err(error) => break Err(error),
            };
            if self.members.len() == MEMBERS_MAX {
                return Err(ArchiveError::TooManyMembers);
            }
            note_member(&entry, &mut self.problems);
            self.members.push(member_of(&entry));
            if entry.data_offset + entry.size > length {
                break Err(TarError::Truncated { part: tar::Part::Body, offset: length });
            }
            // Cannot fail: the body ends inside the source, as was just seen.
            if let Err(error) = reader.skip_body_with(|source, left| {
                source.at += left;
                Ok(())
            }) {
                break Err(error);
            }
        };
        if let Some(offset) = reader.stained_padding() {
            self.problems.push(Problem::new(
                Severity::Damaged,
                format!("the padding after a member was changed, at byte {offset}"),
            ));
        }
        match ended {
            Ok((tail, unread)) => {
                if !unread.is_empty() {
                    let text = format!("{} extra bytes follow its end; readers ignore them", unread.end - unread.start);
                    self.problems.push(Problem::new(Severity::Notice, text));
                }
                if tail.marker_blocks < 2 {
                    self.problems.push(Problem::new(Severity::Damaged, NO_END));
                }
                self.tail = Some(tail);
                self.unread = unread;
            }
            Err(TarError::Io(error)) => return Err(error.into()),
            Err(error) if self.members.is_empty() => return Err(ArchiveError::NotTar(error)),
            Err(error) => {
                let problem = Problem::new(Severity::Damaged, error.to_string());
                let inside =
                    self.members.last().filter(|_| matches!(error, TarError::Truncated { part: tar::Part::Body, .. }));
                self.problems.push(match inside {
                    Some(member) => problem.in_member(shown(&member.name)),
                    None => problem,
                });
            }
        }
        Ok(())
    }

    /// Only zeros may follow the end marker. A file can be padded to any length, and a server can claim any, so of more
    /// than one record only that and the last block are read.
    fn look_behind(&self, marker_blocks: u8, end: u64) -> Result<(Tail, Range<u64>), TarError> {
        let length = self.source.len();
        let first = end..length.min(end + RECORD as u64);
        let last = first.end.max(length.saturating_sub(tar::BLOCK as u64))..length;
        for range in [first.clone(), last.clone()] {
            let mut found = vec![0; at_most(range.end - range.start, RECORD)];
            self.source.read_exact_at(&mut found, range.start)?;
            if let Some(at) = found.iter().position(|&byte| byte != 0) {
                return Err(TarError::Garbage { offset: range.start + at as u64 });
            }
        }
        Ok((
            Tail { marker_blocks, zeros_after: length - end - (last.start - first.end), length },
            first.end..last.start,
        ))
    }

    /// Haul writes headers in one way only, with one time for all, so in an archive of its own also the bytes can be
    /// checked that tar's checksum leaves out. Core writes new headers when it re-encrypts an archive, and passes the
    /// index on: those are the same, or differ in far more than a few bytes.
    fn check_own_headers(&mut self) -> io::Result<()> {
        const FEW: usize = 8;
        let [first, .., last] = self.members.as_slice() else {
            return Ok(());
        };
        if self.member(index::MEMBER).is_none() {
            return Ok(());
        }
        let mut differences = Vec::new();
        for member in &self.members {
            // Names are short; a longer header is not ours, and not worth the memory.
            let mut found = vec![0; (member.data_offset - member.header_offset).min(16 << 10) as usize];
            self.source.read_exact_at(&mut found, member.header_offset)?;
            let by = |mtime| outer::header_difference(&found, &member.name, member.size, mtime);
            let by_first = by(first.mtime);
            differences.push([by_first, if first.mtime == last.mtime { by_first } else { by(last.mtime) }]);
        }
        // One of the two times may itself be what was changed: the one that fits more headers counts.
        let fits = |time: usize| differences.iter().filter(|by_time| by_time[time] == Some(0)).count();
        let time = usize::from(fits(1) > fits(0));
        for (member, by_time) in self.members.iter().zip(&differences) {
            if matches!(by_time[time], Some(1..=FEW)) {
                self.problems.push(
                    Problem::new(Severity::Damaged, "its header was changed after it was written")
                        .in_member(shown(&member.name)),
                );
            }
        }
        Ok(())
    }

    /// What happens to such an archive in Home Assistant Core; see [`outer`].
    fn note_size_records(&mut self) {
        let has_record =
            |member: &Member| member.pax_size.is_some() && (member.name == MANIFEST || member.is_inner_archive());
        if self.members.iter().any(has_record) {
            let text = "Home Assistant destroys this archive if it changes its encryption (when it decrypts a \
                download, or copies the archive to a location with another setting), because its headers state sizes \
                twice; `haul repair` rewrites it without them";
            self.problems.push(Problem::new(Severity::Notice, text));
        }
    }

    fn read_manifest(&mut self) -> Result<(), ArchiveError> {
        let Some(member) = self.member(MANIFEST).or_else(|| self.member("backup.json")).cloned() else {
            self.problems.push(Problem::new(
                Severity::Refused,
                "there is no backup.json; Home Assistant does not recognise the file as a backup",
            ));
            return Ok(());
        };
        let name = member.name.clone();
        if name != MANIFEST {
            let text = "backup.json must be named './backup.json'; Home Assistant answers the upload with an internal \
                error (HTTP 500)";
            self.problems.push(Problem::new(Severity::Refused, text).in_member(name.clone()));
        }
        if member.size > MANIFEST_MAX {
            return Err(ArchiveError::ManifestTooLarge(member.size));
        }
        let mut text = Vec::new();
        self.body(&member).read_to_end(&mut text)?;
        match Manifest::parse(&text) {
            Ok(manifest) => {
                let found = manifest.check();
                self.problems.extend(found.into_iter().map(|problem| problem.in_member(name.clone())));
                self.manifest = Some(manifest);
            }
            Err(error) => {
                let severity = match error {
                    ManifestError::NotJson(_) => Severity::Damaged,
                    ManifestError::NotAnObject => Severity::Refused,
                };
                self.problems.push(Problem::new(severity, error.to_string()).in_member(name));
            }
        }
        Ok(())
    }

    /// Whether inner archives are encrypted as the description says. Only contradictions count: the oldest encrypted
    /// form has no mark.
    fn check_protection(&mut self) -> io::Result<()> {
        let Some(protected) = self.manifest.as_ref().map(Manifest::protected) else {
            return Ok(());
        };
        // A part that Core left encrypted when it decrypted the rest is no contradiction of the whole.
        let mut main = Vec::new();
        let main_is_sealed = match self.home_assistant() {
            Some(member) => self.body(member).take(9).read_to_end(&mut main).map(|_| main == b"SecureTar")?,
            None => true,
        };
        let mut found = Vec::new();
        for member in self.inner_archives() {
            let mut head = [0; 9];
            let mut body = self.body(member);
            if ReadAt::len(&body) < head.len() as u64 {
                continue;
            }
            body.read_exact(&mut head)?;
            let text = if protected && head.starts_with(b"\x1f\x8b\x08") {
                "backup.json says it is encrypted, but it is not; Home Assistant tries to decrypt it and fails"
            } else if !protected && head == *b"SecureTar" && main_is_sealed {
                "it is encrypted, but backup.json says it is not; Home Assistant does not ask for the password and \
                 fails"
            } else {
                continue;
            };
            let severity = if self.home_assistant() == Some(member) { Severity::Refused } else { Severity::Lost };
            found.push(Problem::new(severity, text).in_member(shown(&member.name)));
        }
        self.problems.extend(found);
        Ok(())
    }

    /// What the description promises against what is there.
    fn compare_with_manifest(&mut self) {
        let Some(manifest) = &self.manifest else {
            return;
        };
        let mut missing = Vec::new();
        for name in manifest.inner_archives() {
            if self.member(&name).is_some() {
                continue;
            }
            let other = name.strip_suffix(".gz").map_or_else(|| format!("{name}.gz"), str::to_owned);
            let is_main = name.starts_with("homeassistant.tar");
            let text = if self.member(&other).is_some() {
                format!(
                    "backup.json gives it this name, but it is called {}; Home Assistant does not find it",
                    shown(&other)
                )
            } else if is_main {
                "the member is missing although backup.json lists it; Home Assistant cannot restore it".to_owned()
            } else {
                "the member is missing although backup.json lists it; Home Assistant restores the rest".to_owned()
            };
            missing.push(
                Problem::new(if is_main { Severity::Refused } else { Severity::Lost }, text).in_member(shown(&name)),
            );
        }
        if manifest.home_assistant_version().is_none() && self.home_assistant().is_some() {
            let text = "the member is there, but backup.json does not mention Home Assistant; it would not be restored";
            missing.push(Problem::new(Severity::Refused, text).in_member("homeassistant"));
        }
        self.problems.extend(missing);
        let mut names: Vec<&str> = self.members.iter().map(|member| member.name.as_str()).collect();
        names.sort_unstable();
        let twice: Vec<String> =
            names.windows(2).filter(|pair| pair[0] == pair[1]).map(|pair| shown(pair[0])).collect();
        for name in twice {
            let (severity, text) = if name == MANIFEST {
                (Severity::Notice, "two members have this name; readers use the last one")
            } else {
                (Severity::Refused, "two members have this name, and readers differ on which one they use")
            };
            self.problems.push(Problem::new(severity, text).in_member(name));
        }
    }
}

fn member_of(entry: &Entry) -> Member {
    Member {
        name: String::from_utf8_lossy(&entry.path).into_owned(),
        kind: entry.kind,
        header_offset: entry.header_offset,
        data_offset: entry.data_offset,
        size: entry.size,
        ustar_size: entry.ustar_size,
        pax_size: entry.pax_size,
        mtime: entry.mtime,
    }
}

fn note_member(entry: &Entry, problems: &mut Vec<Problem>) {
    let name = shown(&String::from_utf8_lossy(&entry.path));
    let mut note = |severity, text: String| problems.push(Problem::new(severity, text).in_member(name.clone()));
    let base = entry.path.rsplit(|&byte| byte == b'/').next().unwrap_or_default();
    if base.starts_with(b"._") {
        let text = "macOS added this file to the archive; Home Assistant then takes the backup for encrypted or \
            unreadable (pack it with COPYFILE_DISABLE=1)";
        note(Severity::Refused, text.to_owned());
    }
    if leaves(&entry.path) {
        note(Severity::Refused, "its name points outside the archive; Supervisor unpacks nothing of it".to_owned());
    }
    let stripped = entry.path.strip_prefix(b"./").unwrap_or_default();
    if is_archive_name(stripped) {
        note(
            Severity::Refused,
            "the name of an inner archive must not begin with './'; Home Assistant does not find it".to_owned(),
        );
    }
    if entry.sizes_disagree() {
        let pax = entry.pax_size.unwrap_or_default();
        note(
            Severity::Notice,
            format!(
                "its two headers give different sizes: {} and {pax} bytes; readers use the second",
                entry.ustar_size
            ),
        );
    }
    if !matches!(entry.kind, EntryKind::File | EntryKind::Directory) {
        note(
            Severity::Notice,
            "it is neither a file nor a directory; Home Assistant writes no such members".to_owned(),
        );
    }
}

/// Names the format of a file that is no plain tar; uploads and downloads often pack or cut it.
fn refuse_other_formats(source: &impl ReadAt) -> Result<(), ArchiveError> {
    const MAGIC: [(&[u8], &str); 6] = [
        (b"\x1f\x8b", "gzip"),
        (b"BZh", "bzip2"),
        (b"\xfd7zXZ\0", "xz"),
        (b"\x28\xb5\x2f\xfd", "zstd"),
        (b"PK\x03\x04", "zip"),
        (b"7z\xbc\xaf\x27\x1c", "7-Zip"),
    ];
    let mut head = [0; 6];
    let length = at_most(source.len(), head.len());
    if length == 0 {
        return Err(ArchiveError::Empty);
    }
    source.read_exact_at(&mut head[..length], 0)?;
    match MAGIC.iter().find(|(magic, _)| head[..length].starts_with(magic)) {
        Some((_, name)) => Err(ArchiveError::Compressed(name)),
        None => Ok(()),
    }
}

/// A stretch of the source: read in order through [`Read`], or at offsets from its start through [`ReadAt`].
#[derive(Clone, Copy, Debug)]
pub struct Body<S> {
    source: S,
    start: u64,
    at: u64,
    end: u64,
}

impl<S: ReadAt> Read for Body<S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = at_most(self.end - self.at, buffer.len());
        self.source.read_exact_at(&mut buffer[..count], self.at)?;
        self.at += count as u64;
        Ok(count)
    }
}

impl<S: ReadAt> ReadAt for Body<S> {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let inside = offset.checked_add(buffer.len() as u64).is_some_and(|end| end <= ReadAt::len(self));
        if !inside {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.source.read_exact_at(buffer, self.start + offset)
    }

    fn len(&self) -> u64 {
        self.end - self.start
    }
}
