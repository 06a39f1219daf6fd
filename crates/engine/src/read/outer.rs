//! The outer tar as `habackup` walked it, and what each inner archive is by its first bytes.

use std::{io::Read, ops::Range};

use habackup::{
    archive::{Archive, ArchiveError, MANIFEST},
    format::Format,
    index,
    manifest::Manifest,
    problem::Problem,
    read_at::ReadAt,
};

use super::file::ArchiveFile;

/// What a member holds, by its first bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    Gzip,
    Tar,
    /// SecureTar; without its magic, in an archive that calls itself protected, version 1.
    Encrypted,
    /// Neither, or no inner archive at all.
    Unknown,
}

/// One member of the outer archive.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    pub(crate) name: String,
    pub(crate) header_offset: u64,
    pub(crate) data_offset: u64,
    /// Declared.
    pub(crate) size: u64,
    /// Of these, bytes that are there.
    pub(crate) present: u64,
    pub(crate) inner: bool,
    pub(crate) shape: Shape,
}

/// The outer archive.
pub(crate) struct Outside {
    pub(crate) members: Vec<Member>,
    /// `None` if there is none that can be read.
    pub(crate) manifest: Option<Manifest>,
    pub(crate) manifest_text: Vec<u8>,
    /// What is wrong by headers and description alone.
    pub(crate) problems: Vec<Problem>,
    /// Whether the walk came to the end of the archive.
    pub(crate) whole: bool,
    /// What follows the end and was not read.
    pub(crate) unread: Range<u64>,
    home_assistant: Option<usize>,
}

impl Outside {
    pub(super) fn read(file: &ArchiveFile<'_>) -> Result<Self, ArchiveError> {
        let archive = Archive::open(file)?;
        let protected = archive.manifest().is_none_or(Manifest::protected);
        let mut members = Vec::new();
        for member in archive.members() {
            let body = archive.body(member);
            let inner = member.is_inner_archive();
            members.push(Member {
                name: member.name.clone(),
                header_offset: member.header_offset,
                data_offset: member.data_offset,
                size: member.size,
                present: body.len(),
                inner,
                shape: if inner { shape(Format::at(&body)?, protected) } else { Shape::Unknown },
            });
        }
        let mut manifest_text = Vec::new();
        if let Some(member) = archive.member(MANIFEST)
            && archive.manifest().is_some()
        {
            archive.body(member).read_to_end(&mut manifest_text)?;
        }
        let home_assistant =
            archive.home_assistant().and_then(|found| archive.members().iter().position(|member| member == found));
        Ok(Self {
            members,
            manifest: archive.manifest().cloned(),
            manifest_text,
            problems: archive.problems().to_vec(),
            whole: archive.tail().is_some(),
            unread: archive.unread(),
            home_assistant,
        })
    }

    /// The inner archives, in order.
    pub(crate) fn inner(&self) -> impl Iterator<Item = &Member> {
        self.members.iter().filter(|member| member.inner)
    }

    /// The one with the config directory.
    pub(crate) fn home_assistant(&self) -> Option<&Member> {
        self.members.get(self.home_assistant?)
    }

    pub(super) fn index(&self) -> Option<&Member> {
        self.members.iter().rfind(|member| member.name == index::MEMBER)
    }
}

fn shape(format: Format, protected: bool) -> Shape {
    match format {
        Format::SecureTar => Shape::Encrypted,
        Format::Gzip => Shape::Gzip,
        Format::Tar | Format::Zeros => Shape::Tar,
        Format::Empty | Format::Unknown if protected => Shape::Encrypted,
        Format::Empty | Format::Unknown => Shape::Unknown,
    }
}
