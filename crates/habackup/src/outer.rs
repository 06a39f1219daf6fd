//! Writes the outer archive from front to back, with sizes that are known only afterwards. This module knows the layout
//! and what must be patched; the [`Placement`] decides where bytes go, the caller what the members hold.
//!
//! Every member has a PAX header with its time but not its size, so a late size changes no offset: the size in the
//! header block and its checksum are patched in place. Readers would also accept a `size` record, but Home Assistant
//! Core copies a member's records when it changes the encryption, and the old size in them would override the new one:
//! the archive would be destroyed.

use std::io::{self, Write};

use thiserror::Error;

use crate::tar::{self, BLOCK, Form, Header, Kind};

/// Python and GNU tar fill an archive to a multiple of this.
const RECORD: u64 = 10_240;

/// Where an archive's bytes go: appended in order, with a few of them overwritten later.
pub trait Placement {
    /// Adds bytes at the end.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// Overwrites bytes appended before; `offset` counts from the archive's first byte.
    fn patch(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()>;
    /// Announces every stretch that [`Self::patch`] will overwrite, before anything after it is appended: for
    /// destinations that must hold such bytes back.
    fn late(&mut self, offset: u64, length: u64) {
        let _ = (offset, length);
    }
}

impl<P: Placement + ?Sized> Placement for &mut P {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        (**self).append(bytes)
    }
    fn patch(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        (**self).patch(offset, bytes)
    }
    fn late(&mut self, offset: u64, length: u64) {
        (**self).late(offset, length);
    }
}

/// An archive in memory.
impl Placement for Vec<u8> {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.extend_from_slice(bytes);
        Ok(())
    }
    fn patch(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let target = start.checked_add(bytes.len()).and_then(|end| self.get_mut(start..end));
        target.ok_or(io::ErrorKind::InvalidInput)?.copy_from_slice(bytes);
        Ok(())
    }
}

/// Why an archive could not be laid out.
#[derive(Debug, Error)]
pub enum OuterError {
    /// The placement failed.
    #[error("the archive cannot be written: {0}")]
    Io(#[from] io::Error),
    /// A member announced with a size ended with another.
    #[error("the member {name} was announced with {announced} bytes but has {written}")]
    WrongSize {
        /// The member.
        name: String,
        /// Bytes in its header.
        announced: u64,
        /// Bytes written.
        written: u64,
    },
}

/// The outer archive between two members. Members are added in their final order; [`Outer::finish`] ends it.
#[must_use = "an archive without its end marker is cut off"]
pub struct Outer<P> {
    placement: P,
    position: u64,
    mtime: (i64, u32),
}

impl<P: Placement> Outer<P> {
    /// Starts an archive whose members carry the time `mtime` (seconds since 1970 and nanoseconds).
    pub fn new(placement: P, mtime: (i64, u32)) -> Self {
        Self { placement, position: 0, mtime }
    }

    /// Bytes appended so far.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Adds a whole member. `name` is used as it is: `./backup.json` with `./`, everything else without.
    pub fn member(self, name: &str, body: &[u8]) -> Result<Self, OuterError> {
        let mut member = self.begin_known(name, body.len() as u64)?;
        member.write_all(body)?;
        Ok(member.end()?.0)
    }

    /// Adds a member whose body is overwritten later, by [`Self::patch`] at the offset that comes with the archive; its
    /// length is settled.
    pub fn member_for_later(self, name: &str, body: &[u8]) -> Result<(Self, u64), OuterError> {
        let mut member = self.begin_known(name, body.len() as u64)?;
        let offset = member.data_offset();
        member.late(0, body.len() as u64);
        member.write_all(body)?;
        Ok((member.end()?.0, offset))
    }

    /// Overwrites bytes that were announced as late; `offset` counts from the archive's first byte.
    pub fn patch(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.placement.patch(offset, bytes)
    }

    /// Starts a member of exactly `size` bytes; nothing is patched at its end.
    pub fn begin_known(self, name: &str, size: u64) -> Result<Member<P>, OuterError> {
        self.begin(name, Some(size))
    }

    /// Starts a member whose size is known at its end.
    pub fn begin_late(self, name: &str) -> Result<Member<P>, OuterError> {
        self.begin(name, None)
    }

    fn begin(mut self, name: &str, announced: Option<u64>) -> Result<Member<P>, OuterError> {
        let bytes = header(name, announced.unwrap_or(0), self.mtime, Form::Member);
        let mut ustar = [0; BLOCK];
        ustar.copy_from_slice(&bytes[bytes.len() - BLOCK..]);
        let data_offset = self.position + bytes.len() as u64;
        if announced.is_none() {
            // Before the bytes themselves: they may fill a part, which then leaves.
            self.placement.late(size_fields(data_offset), tar::SIZE_TO_CHECKSUM.len() as u64);
        }
        self.append(&bytes)?;
        Ok(Member { outer: self, name: name.to_owned(), announced, data_offset, ustar })
    }

    /// Appends the end marker and the filling after it; returns the placement and the archive's length.
    #[expect(clippy::cast_possible_truncation, reason = "less than a record")]
    pub fn finish(mut self) -> Result<(P, u64), OuterError> {
        self.append(&tar::END)?;
        let filling = self.position.next_multiple_of(RECORD) - self.position;
        self.append(&vec![0; filling as usize])?;
        Ok((self.placement, self.position))
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.placement.append(bytes)?;
        self.position += bytes.len() as u64;
        Ok(())
    }
}

/// The offsets of size and checksum in the header block before a body at `data_offset`.
fn size_fields(data_offset: u64) -> u64 {
    data_offset - (BLOCK - tar::SIZE_TO_CHECKSUM.start) as u64
}

/// Length of an archive with these members (name and size of the body), as [`Outer`] lays it out.
pub fn archive_len(members: &[(&str, u64)], mtime: (i64, u32)) -> u64 {
    let member = |&(name, size): &(&str, u64)| {
        header(name, size, mtime, Form::Member).len() as u64 + size + tar::padding(size) as u64
    };
    (members.iter().map(member).sum::<u64>() + tar::END.len() as u64).next_multiple_of(RECORD)
}

fn header(name: &str, size: u64, mtime: (i64, u32), form: Form) -> Vec<u8> {
    let header =
        Header { path: name.as_bytes(), kind: Kind::File, size, mode: 0o644, mtime, link: b"", uid: 0, gid: 0 };
    let mut bytes = Vec::with_capacity(3 * BLOCK);
    tar::encode_as(&header, form, &mut bytes);
    bytes
}

/// In how many bytes `found` differs from the headers of such a member in an archive of Haul: as [`Outer`] writes them
/// or used to, or as Core rewrites them. `None` if even the length differs.
pub fn header_difference(found: &[u8], name: &str, size: u64, mtime: (i64, u32)) -> Option<usize> {
    let mut least = None;
    for form in [Form::Member, Form::RewrittenMember, Form::FormerMember] {
        let own = header(name, size, mtime, form);
        if own.len() == found.len() {
            let difference = own.iter().zip(found).filter(|(own, found)| own != found).count();
            least = Some(least.map_or(difference, |least: usize| least.min(difference)));
        }
        if least == Some(0) {
            break;
        }
    }
    least
}

/// A member being written, through [`Write`]. [`Member::end`] gives the archive back.
#[must_use = "a member that is not ended has no size in its header"]
pub struct Member<P> {
    outer: Outer<P>,
    name: String,
    announced: Option<u64>,
    data_offset: u64,
    ustar: [u8; BLOCK],
}

/// A finished member: its position, and which bytes of its header were written last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// The member's name.
    pub name: String,
    /// Offset of its body in the archive.
    pub data_offset: u64,
    /// Bytes of its body.
    pub size: u64,
    /// What was patched; `None` for a member of known size.
    pub patch: Option<Patch>,
}

/// Bytes that were overwritten after they had been appended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Patch {
    /// From the archive's first byte.
    pub offset: u64,
    /// The new bytes.
    pub bytes: Vec<u8>,
}

impl<P: Placement> Member<P> {
    /// Offset of the body's first byte in the archive.
    pub fn data_offset(&self) -> u64 {
        self.data_offset
    }

    /// Bytes of body written so far.
    pub fn written(&self) -> u64 {
        self.outer.position - self.data_offset
    }

    /// Announces that bytes of this member's body will be overwritten; `offset` counts from its first byte, which may
    /// not be written yet.
    pub fn late(&mut self, offset: u64, length: u64) {
        self.outer.placement.late(self.data_offset + offset, length);
    }

    /// Overwrites bytes of this member's body; `offset` counts from its first byte. For SecureTar's late size field.
    pub fn patch(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        if offset.checked_add(bytes.len() as u64).is_none_or(|end| end > self.written()) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        self.outer.placement.patch(self.data_offset + offset, bytes)
    }

    /// Pads the body, patches a late size into the header, and gives the archive back.
    pub fn end(mut self) -> Result<(Outer<P>, Ended), OuterError> {
        let size = self.written();
        let patch = match self.announced {
            Some(announced) if announced != size => {
                return Err(OuterError::WrongSize { name: self.name, announced, written: size });
            }
            Some(_) => None,
            None => {
                tar::patch_size(&mut self.ustar, size);
                // Size and checksum are close together; only the time is between them.
                Some(Patch { offset: size_fields(self.data_offset), bytes: self.ustar[tar::SIZE_TO_CHECKSUM].to_vec() })
            }
        };
        self.outer.append(&[0; BLOCK][..tar::padding(size)])?;
        if let Some(patch) = &patch {
            self.outer.placement.patch(patch.offset, &patch.bytes)?;
        }
        Ok((self.outer, Ended { name: self.name, data_offset: self.data_offset, size, patch }))
    }
}

impl<P: Placement> Write for Member<P> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.outer.append(bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::{archive::Archive, index, problem::Severity};

    /// An archive as it was laid out before, with sizes in the records.
    fn former(mtime: (i64, u32)) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (name, body) in [("./backup.json", b"{}".as_slice()), ("homeassistant.tar.gz", b"x"), (index::MEMBER, b"y")]
        {
            bytes.extend(header(name, body.len() as u64, mtime, Form::FormerMember));
            bytes.extend_from_slice(body);
            bytes.resize(bytes.len().next_multiple_of(BLOCK), 0);
        }
        bytes.resize((bytes.len() + tar::END.len()).next_multiple_of(RECORD as usize), 0);
        bytes
    }

    #[test]
    fn archives_of_the_former_layout_are_checked_as_before_and_their_danger_is_named() {
        let bytes = former((1_700_000_000, 120_000_000));
        let archive = Archive::open(&bytes).unwrap();
        let whole: Vec<_> = archive.problems().iter().filter(|problem| problem.member.is_none()).collect();
        assert!(
            matches!(whole[..], [problem] if problem.severity == Severity::Notice && problem.text.contains("destroys this archive")),
            "{whole:?}"
        );
        assert!(archive.members().iter().all(|member| member.pax_size == Some(member.size)));
        assert!(!archive.problems().iter().any(|problem| problem.severity == Severity::Damaged));
        let mut changed = bytes;
        changed[BLOCK + 40] ^= 1; // in the time of the first header's record
        let found = Archive::open(&changed)
            .unwrap()
            .problems()
            .iter()
            .any(|problem| problem.text.contains("changed after it was written"));
        assert!(found);
    }
}
