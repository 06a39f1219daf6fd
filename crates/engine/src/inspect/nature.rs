//! Finds out what a file is that may not be an archive at all: by its first bytes, and by the names in it.

use std::io;

use habackup::{
    read_at::ReadAt,
    readers::{Nature, Outer},
    tar::{BLOCK, Reader},
};
use pargz::Inflater;

use super::Job;
use crate::read::Stream;

/// How much is read of a file that is not a tar.
const BEGINNING: usize = 4096;
/// How many names of a packed tar are read.
const NAMES: usize = 200;

const OTHERS: [(&[u8], &str); 17] = [
    (b"BZh", "a bzip2 file"),
    (b"\xfd7zXZ\0", "an xz file"),
    (b"\x28\xb5\x2f\xfd", "a Zstandard file"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive"),
    (b"Rar!\x1a\x07", "a RAR archive"),
    (b"Salted__", "a file encrypted by OpenSSL"),
    (b"-----BEGIN PGP MESSAGE", "a file encrypted by GnuPG"),
    (b"age-encryption.org/", "a file encrypted by age"),
    (b"-----BEGIN AGE ENCRYPTED", "a file encrypted by age"),
    (b"VMA\0", "a Proxmox backup of a virtual machine"),
    (b"QFI\xfb", "a virtual machine's disk (qcow2)"),
    (b"KDMV", "a virtual machine's disk (VMDK)"),
    (b"conectix", "a virtual machine's disk (VHD)"),
    (b"-- MariaDB dump", "a MariaDB dump"),
    (b"-- MySQL dump", "a MySQL dump"),
    (b"PGDMP", "a PostgreSQL dump"),
    (b"BORG_SEG", "part of a Borg repository"),
];

pub(super) fn of(job: &Job<'_>, outer: &Outer) -> io::Result<Nature> {
    let length = ReadAt::len(job.file);
    let mut first = vec![0; length.min(BEGINNING as u64) as usize];
    job.file.read_exact_at(&mut first, 0)?;
    if first.is_empty() {
        return Ok(Nature::Empty);
    }
    if !outer.members.is_empty() {
        return Ok(tar(outer));
    }
    if first.iter().all(|byte| *byte == 0) {
        return Ok(if only_zeros(job, length)? { Nature::Zeros } else { Nature::Tar });
    }
    if let Some((_, what)) = OTHERS.iter().find(|(magic, _)| first.starts_with(magic)) {
        return Ok(Nature::Other(what));
    }
    Ok(match first.as_slice() {
        [0x1f, 0x8b, ..] => gzip(job),
        [b'P', b'K', 3 | 5, 4 | 6, ..] => zip(job, &first)?,
        [b'S', b'e', b'c', b'u', b'r', b'e', b'T', b'a', b'r', ..] => {
            Nature::Piece("an encrypted part of a backup (homeassistant.tar.gz or an add-on's)")
        }
        _ if livesqlite::is_database(&first) => Nature::Piece("a database alone (home-assistant_v2.db?)"),
        _ => text(&first, length),
    })
}

fn only_zeros(job: &Job<'_>, length: u64) -> io::Result<bool> {
    let mut buffer = vec![0; 1 << 20];
    let mut at = 0;
    while at < length {
        let count = (length - at).min(buffer.len() as u64) as usize;
        job.file.read_exact_at(&mut buffer[..count], at)?;
        if buffer[..count].iter().any(|byte| *byte != 0) {
            return Ok(false);
        }
        at += count as u64;
    }
    Ok(true)
}

fn text(first: &[u8], length: u64) -> Nature {
    let start = String::from_utf8_lossy(first);
    let readable = std::str::from_utf8(first).is_ok()
        || start.chars().filter(|character| *character == char::REPLACEMENT_CHARACTER).count() < 3;
    if !readable || length > 1 << 20 {
        return Nature::Tar;
    }
    let text = start.trim_start_matches('\u{feff}').trim_start();
    let lower = text.to_lowercase();
    if lower.starts_with("<!doctype html") || lower.starts_with("<html") {
        let title = lower.find("<title>").and_then(|at| Some((at + 7, lower[at..].find("</title>")? + at)));
        let title = title.and_then(|(from, to)| text.get(from..to)).unwrap_or("a web server's page");
        Nature::Answer("a web page", title.to_owned())
    } else if text.starts_with('<') {
        Nature::Answer("an XML response", between(text, "<Message>", "</Message>").unwrap_or_default().to_owned())
    } else if text.starts_with('{') && text.contains("\"slug\"") {
        Nature::Piece("a description (backup.json) alone")
    } else if text.starts_with(['{', '[']) {
        Nature::Answer("a JSON response", message_in_json(text).unwrap_or_default())
    } else if length < BLOCK as u64 {
        // `401: Unauthorized` is what Home Assistant answers. Anything else may be a password that was taken for a
        // backup.
        let has_status = text.len() > 4
            && text.bytes().take(3).all(|byte| byte.is_ascii_digit())
            && text[3..].starts_with([':', ' ']);
        Nature::Answer("a short text", if has_status { text.trim_end().to_owned() } else { String::new() })
    } else {
        Nature::Tar
    }
}

/// What a server says of an error; nothing else of its answer is shown, for the file may be one with a secret.
fn message_in_json(text: &str) -> Option<String> {
    let answer: serde_json::Value = serde_json::from_str(text).ok()?;
    let said = ["message", "error_description", "detail"].into_iter().find_map(|key| answer.get(key)?.as_str())?;
    Some(said.to_owned())
}

fn between<'a>(text: &'a str, from: &str, to: &str) -> Option<&'a str> {
    Some(text.split_once(from)?.1.split_once(to)?.0)
}

/// A tar without a description: what it is by its names.
fn tar(outer: &Outer) -> Nature {
    let names: Vec<&str> = outer.members.iter().map(habackup::readers::OuterMember::plain_name).collect();
    let base = |name: &str| name.rsplit('/').next().unwrap_or_default().to_owned();
    if names.iter().any(|name| {
        matches!(base(name).as_str(), "backup.json" | "snapshot.json") || base(name).starts_with("homeassistant.tar")
    }) {
        return Nature::Tar;
    }
    by_names(&names).unwrap_or(Nature::Tar)
}

fn by_names(names: &[&str]) -> Option<Nature> {
    let any = |wanted: &str| names.iter().any(|name| *name == wanted || name.ends_with(&format!("/{wanted}")));
    let below = |folder: &str| names.iter().any(|name| name.split('/').any(|part| part == folder));
    if names.first().is_some_and(|name| name.starts_with("snapshot/") || name.starts_with("multivol_snapshot/")) {
        return Some(Nature::Other("a duplicity volume"));
    }
    if any("README") && any("config") && names.iter().any(|name| name.contains("index.") || name.contains("integrity."))
    {
        return Some(Nature::Other("a Borg repository"));
    }
    if below("snapshots") && below("keys") && below("index") {
        return Some(Nature::Other("a restic repository"));
    }
    let is_configuration = any(".HA_VERSION") || any("configuration.yaml") || below(".storage");
    if names.iter().any(|name| *name == "data" || name.starts_with("data/")) && is_configuration {
        return Some(Nature::Piece("homeassistant.tar alone, the configuration part of a backup"));
    }
    if is_configuration {
        return Some(Nature::Piece("a configuration in a tar"));
    }
    (!names.is_empty()).then_some(Nature::Other("a tar of something else"))
}

/// What is in a gzipped file: a whole backup, a configuration, or nothing of ours.
fn gzip(job: &Job<'_>) -> Nature {
    let mut reader = Reader::new(Inflater::new(Stream::new(job.file)));
    let mut names = Vec::new();
    while let Ok(Some(entry)) = reader.next_entry() {
        let name = String::from_utf8_lossy(&entry.path).trim_start_matches("./").to_owned();
        if matches!(name.as_str(), "backup.json" | "snapshot.json") || name.starts_with("homeassistant.tar") {
            return Nature::Packed("gzip");
        }
        names.push(name);
        if names.len() == NAMES {
            break;
        }
    }
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    match by_names(&names) {
        Some(Nature::Piece(what)) if what.starts_with("homeassistant.tar") => {
            Nature::Piece("homeassistant.tar.gz alone, the configuration part of a backup")
        }
        Some(Nature::Piece(_)) => Nature::Piece("a configuration in a gzipped tar"),
        Some(nature) => nature,
        None => Nature::Other("a gzip file"),
    }
}

/// By the archives in it; by the name of the first file, where there is none or the directory is damaged.
fn zip(job: &Job<'_>, first: &[u8]) -> io::Result<Nature> {
    if crate::read::zip::entries(job.file)?.is_some_and(|entries| entries.iter().any(crate::read::zip::Entry::is_tar)) {
        return Ok(Nature::Packed("zip"));
    }
    Ok(by_first_name(first))
}

fn by_first_name(first: &[u8]) -> Nature {
    let length = first.get(26..28).map_or(0, |bytes| usize::from(u16::from_le_bytes([bytes[0], bytes[1]])));
    let name = String::from_utf8_lossy(first.get(30..30 + length).unwrap_or_default()).into_owned();
    let is_configuration = name.contains(".storage")
        || [".HA_VERSION", "configuration.yaml", "automations.yaml", "secrets.yaml"]
            .iter()
            .any(|known| name.ends_with(known));
    if name.as_bytes().ends_with(b".tar") || name.ends_with("backup.json") {
        Nature::Packed("zip")
    } else if is_configuration {
        Nature::Piece("a configuration in a zip")
    } else {
        Nature::Other("a zip of something else")
    }
}
