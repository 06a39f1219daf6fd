//! The outer tar, walked as Python walks it; the description; which member is which.

use std::io;

use habackup::{
    archive::{MANIFEST, MANIFEST_MAX},
    index,
    outer::header_difference,
    read_at::ReadAt,
    readers::{Description, Facts, OuterEnd, OuterMember},
    tar::{
        BLOCK, EntryKind, Reader, padding,
        python::{End, Input, Member, Walk},
    },
};

use super::Job;
use crate::read::{ArchiveFile, IndexState, read_index};

/// More members than this no archive has; the walk ends there.
const MEMBERS_MAX: usize = 10_000;
/// Longer names are cut: no file can have them.
const NAME_MAX: usize = 4096;
/// Python and GNU tar fill an archive to a multiple of this.
const RECORD: u64 = 10_240;
/// A longer header is not ours.
const HEADER_MAX: u64 = 16 << 10;
/// How much is read of what follows the end of an archive.
const BEHIND: usize = 1 << 20;

/// The bytes of the file, in order.
pub(super) struct Bytes<'a> {
    file: &'a ArchiveFile<'a>,
    position: u64,
}

impl Bytes<'_> {
    fn left(&self) -> u64 {
        self.file.len().saturating_sub(self.position)
    }
}

impl Input for Bytes<'_> {
    fn fill(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.left().min(buffer.len() as u64) as usize;
        self.file.read_exact_at(&mut buffer[..count], self.position)?;
        self.position += count as u64;
        Ok(count)
    }

    fn pass(&mut self, count: u64) -> io::Result<u64> {
        let count = count.min(self.left());
        self.position += count;
        Ok(count)
    }
}

/// Fills in what the outer tar and the description say; the members as they were walked.
pub(super) fn look(job: &mut Job<'_>, facts: &mut Facts) -> io::Result<Vec<Member>> {
    let mut members: Vec<Member> = Vec::new();
    let mut walk = Walk::new(Bytes { file: job.file, position: 0 });
    facts.outer.end = loop {
        match walk.step() {
            Ok(_) if members.len() == MEMBERS_MAX => break OuterEnd::Silent("too many members"),
            Ok(mut member) => {
                member.name.truncate(NAME_MAX);
                member.link.truncate(NAME_MAX);
                members.push(member);
            }
            Err(End::Clean { marked: true }) => break OuterEnd::Clean,
            Err(End::Clean { marked: false }) => break OuterEnd::Unmarked,
            Err(End::Silent(text)) => break OuterEnd::Silent(text),
            Err(End::Refused(text)) => break OuterEnd::Refused(text),
            Err(End::Input(error)) => return Err(error),
        }
    };
    if facts.outer.end == OuterEnd::Clean {
        let mut rest = walk.into_inner();
        let mut buffer = vec![0; rest.left().min(BEHIND as u64) as usize];
        rest.fill(&mut buffer)?;
        facts.outer.trailing = buffer.iter().any(|byte| *byte != 0);
    }
    facts.outer.members = members.iter().map(seen).collect();
    facts.outer.short = facts.outer.end == OuterEnd::Clean && is_short(job, &members);
    facts.outer.index = index_damage(job, &members);
    facts.description = description(job, &members)?;
    Ok(members)
}

/// Whether Haul wrote an archive longer than it is. Core adds zeros to what it decrypts, up to the length it had
/// announced.
fn is_short(job: &Job<'_>, members: &[Member]) -> bool {
    let is_ours =
        |member: &Member| {
            let mut raw = vec![0; (member.data_offset - member.header_offset).min(HEADER_MAX) as usize];
            job.file.read_exact_at(&mut raw, member.header_offset).is_ok()
                && Reader::new(raw.as_slice()).next_entry().ok().flatten().is_some_and(|entry| {
                    header_difference(&raw, &text(&member.name), member.size, entry.mtime) == Some(0)
                })
        };
    let Some(last) = members.last().filter(|_| members.iter().any(|member| member.name == index::MEMBER.as_bytes()))
    else {
        return false;
    };
    let end = last.data_offset + last.size + padding(last.size) as u64;
    job.file.len() < (end + 2 * BLOCK as u64).next_multiple_of(RECORD) && members.iter().any(is_ours)
}

fn index_damage(job: &mut Job<'_>, members: &[Member]) -> Option<String> {
    let member = members.iter().rfind(|member| member.name == index::MEMBER.as_bytes())?;
    match read_index(job.file, member.data_offset, member.size, job.keyring.as_mut()) {
        IndexState::Damaged(reason) => Some(reason),
        IndexState::Absent | IndexState::Usable(_) | IndexState::Foreign(_) => None,
    }
}

fn seen(member: &Member) -> OuterMember {
    // Python writes 0 where a size does not fit.
    let sizes =
        member.block_size.zip(member.pax_size).filter(|(block, pax)| block != pax && !(*block == 0 && *pax >> 33 != 0));
    OuterMember {
        name: text(&member.name),
        kind: member.kind,
        size: member.size,
        sizes,
        size_record: member.pax_size.is_some(),
        libarchive: member.libarchive,
    }
}

fn text(name: &[u8]) -> String {
    String::from_utf8_lossy(name).into_owned()
}

/// The last of the right name, as `tarfile` takes it; else the nearest to it.
fn description(job: &Job<'_>, members: &[Member]) -> io::Result<Option<Description>> {
    let called = |name: &'static [u8]| members.iter().find(|member| base(member) == name);
    let exact = members.iter().rfind(|member| member.name == MANIFEST.as_bytes());
    let Some(member) = exact.or_else(|| called(b"backup.json")).or_else(|| called(b"snapshot.json")) else {
        return Ok(None);
    };
    let size = member.size.min(MANIFEST_MAX).min(job.file.len().saturating_sub(member.data_offset));
    let mut bytes = vec![0; size as usize];
    job.file.read_exact_at(&mut bytes, member.data_offset)?;
    Ok(Some(Description::parse(text(&member.name), &bytes)))
}

/// Whether a member is an archive inside the archive, under its right name or another.
pub(super) fn is_inner(member: &Member) -> bool {
    let base = base(member);
    member.kind == EntryKind::File
        && !base.starts_with(b"._")
        && (base.ends_with(b".tar") || base.ends_with(b".tar.gz"))
}

fn base(member: &Member) -> &[u8] {
    member.name.rsplit(|byte| *byte == b'/').next().unwrap_or_default()
}

/// Which member is the configuration: by its right name, the one that Core finds first; else by the nearest name.
pub(super) fn main(members: &[Member], description: Option<&Description>) -> Option<usize> {
    let compressed = description
        .and_then(|description| description.get("compressed"))
        .is_none_or(|compressed| compressed.as_bool() != Some(false));
    let names: [&[u8]; 2] = if compressed {
        [b"homeassistant.tar.gz", b"homeassistant.tar"]
    } else {
        [b"homeassistant.tar", b"homeassistant.tar.gz"]
    };
    let exact = names.iter().find_map(|name| members.iter().rposition(|member| member.name == *name));
    exact.or_else(|| {
        names.iter().find_map(|name| members.iter().rposition(|member| is_inner(member) && base(member) == *name))
    })
}
