//! Checks the first bytes of the inner archives: enough to distinguish an archive from random bytes with an archive's
//! headers, for about the price of reading the headers.

use std::io::{self, Read};

use habackup::{
    archive::{Archive, Member},
    format::Format,
    index,
    read_at::ReadAt,
    securetar::{Header, SecureTarError},
    tar::{BLOCK, Reader, TarError},
};
use pargz::Inflater;

/// Far more than the first block of a tar takes when it is compressed.
const BEGINNING: u64 = 16 << 10;

/// Why the first invalid inner archive is invalid; `None` if each begins as it should. Fails if bytes can't be read.
pub fn beginning<S: ReadAt>(archive: &Archive<S>) -> io::Result<Option<String>> {
    let Some(manifest) = archive.manifest() else { return Ok(None) };
    // The oldest encryption begins with random bytes; Haul never wrote it.
    let is_own = manifest.stamp().is_some() || archive.member(index::MEMBER).is_some();
    let is_unmarked = manifest.protected() && !is_own;
    for member in archive.inner_archives() {
        let mut first = Vec::new();
        archive.body(member).take(BEGINNING).read_to_end(&mut first)?;
        if let Some(problem) = problem(member, &first, is_unmarked) {
            return Ok(Some(format!("{}: {problem}", member.name)));
        }
    }
    Ok(None)
}

fn problem(member: &Member, first: &[u8], is_unmarked: bool) -> Option<String> {
    let is_all = first.len() as u64 == member.size;
    match Format::of(first) {
        Format::SecureTar => match Header::read(&mut &*first) {
            Ok(_) | Err(SecureTarError::Io(_)) => None,
            Err(error) => Some(error.to_string()),
        },
        Format::Gzip => {
            let mut block = [0; BLOCK];
            match Inflater::new(first).read_exact(&mut block) {
                Ok(()) => not_tar(&block),
                Err(error) if !is_all && error.kind() == io::ErrorKind::UnexpectedEof => None,
                Err(_) => Some("the beginning of its compressed data is damaged".to_owned()),
            }
        }
        _ if is_unmarked => None,
        _ => not_tar(first),
    }
}

fn not_tar(first: &[u8]) -> Option<String> {
    match Reader::new(first).next_entry() {
        // An extended header comes first and is longer than what was read.
        Ok(_) | Err(TarError::Truncated { .. }) if first.len() >= BLOCK => None,
        _ => Some("it does not contain a tar archive".to_owned()),
    }
}
