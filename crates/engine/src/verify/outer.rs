//! Checks the outer tar byte by byte: Home Assistant's reader uses only names and sizes, so everything else is compared
//! here.

use std::ops::Range;

use habackup::{
    outer::header_difference,
    read_at::ReadAt,
    tar::{BLOCK, Reader},
};
use store::Cancellation;

use super::{VerifyError, findings::Findings};
use crate::{
    read::{Member, Opened},
    text::plain,
};

/// Python and GNU tar fill an archive to a multiple of this.
const RECORD: u64 = 10_240;
const CHECKSUM: std::ops::Range<usize> = 148..156;
/// Extended headers of outer members are a few records.
const HEADERS_MAX: u64 = 2 << 20;

/// Bytes after the end that are read at once.
const STEP: u64 = 1 << 20;

/// Checks the outer tar.
pub(super) fn check(opened: &Opened<'_>, cancel: &Cancellation, findings: &mut Findings) -> Result<(), VerifyError> {
    let members = &opened.outside.members;
    let mut as_ours = Vec::new();
    let mut time = None;
    for member in members {
        let raw = headers(opened, member).unwrap_or_default();
        if let Some(problem) = strange(&raw) {
            findings.damage(&member.name, problem);
        }
        let time = *time.get_or_insert_with(|| mtime(&raw));
        as_ours.push(time.is_some_and(|time| header_difference(&raw, &member.name, member.size, time) == Some(0)));
    }
    // One header that is exactly ours, with its time and checksum, is no accident: then all must be.
    let ours = members.iter().any(|member| member.name == habackup::index::MEMBER) && as_ours.contains(&true);
    if ours {
        for (member, _) in members.iter().zip(as_ours).filter(|(_, as_ours)| !as_ours) {
            findings.damage(&member.name, "its header was changed after it was written");
        }
    }
    if opened.outside.whole {
        check_length(opened, ours, findings);
    }
    check_rest(opened, cancel, findings)
}

/// Reads what opening the archive passed over.
fn check_rest(opened: &Opened<'_>, cancel: &Cancellation, findings: &mut Findings) -> Result<(), VerifyError> {
    let Range { start: mut at, end } = opened.outside.unread;
    let mut buffer = vec![0; STEP.min(end - at) as usize];
    while at < end {
        if cancel.is_cancelled() {
            return Err(VerifyError::Cancelled);
        }
        let piece = &mut buffer[..STEP.min(end - at) as usize];
        if let Err(error) = opened.file.read_exact_at(piece, at) {
            findings.damage("", format!("can't be read at byte {at}: {}", plain(&error)));
            return Ok(());
        }
        if let Some(found) = piece.iter().position(|byte| *byte != 0) {
            findings.damage("", format!("data follows the end of the archive, at byte {}", at + found as u64));
            return Ok(());
        }
        at += piece.len() as u64;
    }
    Ok(())
}

fn check_length(opened: &Opened<'_>, ours: bool, findings: &mut Findings) {
    let end = opened
        .outside
        .members
        .last()
        .map_or(0, |last| last.data_offset + last.size + habackup::tar::padding(last.size) as u64);
    let length = ReadAt::len(&opened.file);
    let whole = (end + 2 * BLOCK as u64).next_multiple_of(RECORD);
    // What Haul wrote is too short then, which is among the facts.
    if !(length.is_multiple_of(RECORD) || ours && length < whole) {
        findings.warn("", "its length is not a multiple of 10,240 bytes: zeros may be missing at its end");
    }
}

fn mtime(raw: &[u8]) -> Option<(i64, u32)> {
    Reader::new(raw).next_entry().ok().flatten().map(|entry| entry.mtime)
}

fn headers(opened: &Opened<'_>, member: &Member) -> Option<Vec<u8>> {
    let length = member.data_offset - member.header_offset;
    if length > HEADERS_MAX {
        return None;
    }
    let mut raw = vec![0; length as usize];
    opened.file.read_exact_at(&mut raw, member.header_offset).ok()?;
    Some(raw)
}

/// What a member's headers hold that nobody writes and no checksum covers.
fn strange(raw: &[u8]) -> Option<&'static str> {
    let mut rest = raw;
    while let Some((block, after)) = rest.split_at_checked(BLOCK) {
        if !usual_checksum(&block[CHECKSUM]) {
            return Some("the checksum in its header is not written as usual");
        }
        // An extended header is followed by its records and by zeros up to the next block.
        if !matches!(block[156], b'x' | b'g' | b'X' | b'L' | b'K') {
            return None;
        }
        let size = block[124..135]
            .iter()
            .filter(|byte| (b'0'..=b'7').contains(byte))
            .fold(0_usize, |size, byte| size << 3 | usize::from(byte - b'0'));
        let padded = size.checked_next_multiple_of(BLOCK)?;
        let (body, next) = after.split_at_checked(padded)?;
        if body[size..].iter().any(|byte| *byte != 0) {
            return Some("the padding in its extended header is not zero");
        }
        if matches!(block[156], b'x' | b'g' | b'X')
            && !keywords(&body[..size]).all(|keyword| KEYWORDS.contains(&keyword) || vendor(keyword))
        {
            return Some("its extended header holds a record that no writer produces");
        }
        rest = next;
    }
    None
}

const KEYWORDS: [&[u8]; 13] = [
    b"atime",
    b"charset",
    b"comment",
    b"ctime",
    b"gid",
    b"gname",
    b"hdrcharset",
    b"linkpath",
    b"mtime",
    b"path",
    b"size",
    b"uid",
    b"uname",
];

/// A keyword such as `SCHILY.xattr.user.note`.
fn vendor(keyword: &[u8]) -> bool {
    keyword.first().is_some_and(u8::is_ascii_uppercase) && keyword.contains(&b'.') && keyword.is_ascii()
}

/// The keywords of `LENGTH KEYWORD=VALUE` records; the tar reader has made sure that they are well-formed.
fn keywords(mut records: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let digits = records.iter().position(|byte| *byte == b' ')?;
        let length: usize = std::str::from_utf8(&records[..digits]).ok()?.parse().ok()?;
        let (record, rest) = records.split_at_checked(length)?;
        records = rest;
        record.get(digits + 1..)?.split(|byte| *byte == b'=').next()
    })
}

/// Six digits, a zero byte, a space, as Python and GNU tar write it; some write seven digits and one of both.
fn usual_checksum(field: &[u8]) -> bool {
    let digits = field.iter().take_while(|byte| (b'0'..=b'7').contains(byte)).count();
    matches!((digits, &field[digits..]), (6, b"\0 ") | (7, b"\0" | b" "))
}
