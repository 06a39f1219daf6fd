//! The bytes of one member: exactly as many as its header promised, whatever the file does meanwhile.

use std::{
    fs::{File, Metadata, OpenOptions},
    io::{self, Read},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use livesqlite::Snapshot;

use crate::page_cache::CacheGuard;

/// Files up to this size are read whole before their header is written, and again if they changed meanwhile: their size is then always right, and no copy is torn.
pub(crate) const WHOLE: u64 = 256 << 10;
/// How often a changing small file is read again before it is taken as it is.
const ATTEMPTS: usize = 3;

pub(crate) enum Body {
    Empty,
    Whole { bytes: Vec<u8>, at: usize },
    Stream { file: File, cache: CacheGuard, at: u64, length: u64 },
    Image { snapshot: Box<Snapshot>, left: u64 },
    // What a file promised and then did not have.
    Zeros { left: u64 },
}

/// What became of the file while it was read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// It has fewer bytes than its header says; zeros stand for the rest.
    Shrank { missing: u64 },
    /// It has more by now; the archive holds what it had at the start.
    Grew,
    /// It can't be read further; zeros stand for the rest.
    Unreadable { reason: String },
}

impl Body {
    pub(crate) fn whole(bytes: Vec<u8>) -> Self {
        Self::Whole { bytes, at: 0 }
    }

    pub(crate) fn image(snapshot: Box<Snapshot>) -> Self {
        let left = snapshot.len();
        Self::Image { snapshot, left }
    }

    /// Fills some of `buffer`; 0 when the body is complete. Never fails: what can't be read becomes zeros and a trouble.
    pub(crate) fn fill(&mut self, buffer: &mut [u8]) -> (usize, Option<Trouble>) {
        match self {
            Self::Empty => (0, None),
            Self::Whole { bytes, at } => {
                let count = buffer.len().min(bytes.len() - *at);
                buffer[..count].copy_from_slice(&bytes[*at..*at + count]);
                *at += count;
                (count, None)
            }
            Self::Zeros { left } => {
                let count = (buffer.len() as u64).min(*left) as usize;
                buffer[..count].fill(0);
                *left -= count as u64;
                (count, None)
            }
            Self::Stream { file, cache, at, length } => {
                let wanted = (buffer.len() as u64).min(*length - *at) as usize;
                if wanted == 0 {
                    let grew = file.metadata().is_ok_and(|metadata| metadata.len() > *length);
                    *self = Self::Empty;
                    return (0, grew.then_some(Trouble::Grew));
                }
                match read_some(file, &mut buffer[..wanted]) {
                    Ok(0) => {
                        let missing = *length - *at;
                        *self = Self::Zeros { left: missing };
                        let (count, _) = self.fill(buffer);
                        (count, Some(Trouble::Shrank { missing }))
                    }
                    Ok(count) => {
                        *at += count as u64;
                        cache.passed(file, *at);
                        (count, None)
                    }
                    Err(error) => {
                        let left = *length - *at;
                        self.give_up(buffer, left, &error)
                    }
                }
            }
            Self::Image { snapshot, left } => {
                if *left == 0 {
                    // The snapshot may be wanted again.
                    return (0, None);
                }
                match read_some(snapshot.as_mut(), buffer) {
                    Ok(count) if count > 0 => {
                        *left -= count as u64;
                        (count, None)
                    }
                    Ok(_) => {
                        let left = *left;
                        self.give_up(buffer, left, &io::ErrorKind::UnexpectedEof.into())
                    }
                    Err(error) => {
                        let left = *left;
                        self.give_up(buffer, left, &error)
                    }
                }
            }
        }
    }

    fn give_up(&mut self, buffer: &mut [u8], left: u64, error: &io::Error) -> (usize, Option<Trouble>) {
        *self = Self::Zeros { left };
        let (count, _) = self.fill(buffer);
        (count, Some(Trouble::Unreadable { reason: super::walk::reason(error) }))
    }
}

pub(super) fn read_some(reader: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        match reader.read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

/// Opens a regular file for reading, and nothing else that may have taken its name meanwhile: no symlink is followed, a FIFO can't hang it.
pub(crate) fn open(path: &Path) -> io::Result<(File, Metadata)> {
    // Closing a file that a database snapshot holds would take away the locks of the whole process (fcntl(2)): better to leave it out.
    if livesqlite::is_pinned(&path.symlink_metadata()?) {
        return Err(io::Error::new(io::ErrorKind::ResourceBusy, "it belongs to a database that is being read"));
    }
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_CLOEXEC;
    // Reading should not cost an SD card writes of access times; only owner and root may ask for that.
    let file = match OpenOptions::new().read(true).custom_flags(flags | libc::O_NOATIME).open(path) {
        Err(error) if error.raw_os_error() == Some(libc::EPERM) => OpenOptions::new().read(true).custom_flags(flags).open(path)?,
        other => other?,
    };
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::other("it is no regular file any more"));
    }
    Ok((file, metadata))
}

/// The beginning of a file somebody else is responsible for: a FIFO in its place can't hang it, and no size fills the memory.
pub(crate) fn read_head(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let (file, _) = open(&path.canonicalize()?)?;
    let mut bytes = Vec::new();
    file.take(most).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Is this what SQLite puts beside a database, and not somebody's file that is called like it? Logs, journals and their indexes have magic numbers; what is
/// empty or was wiped by SQLite after use holds nothing.
pub(crate) fn looks_like_side_file(path: &Path) -> bool {
    const MAGICS: [&[u8]; 5] = [
        b"\x37\x7f\x06\x82",
        b"\x37\x7f\x06\x83",
        b"\xd9\xd5\x05\xf9\x20\xa1\x63\xd7",
        // The index of a log begins with SQLite's format version 3007000 in the machine's own byte order.
        b"\x18\xe2\x2d\x00",
        b"\x00\x2d\xe2\x18",
    ];
    match read_head(path, 8) {
        Ok(head) => head.iter().all(|byte| *byte == 0) || MAGICS.iter().any(|magic| head.starts_with(magic)),
        Err(_) => true,
    }
}

/// Reads a small file whole, again if it changed meanwhile.
pub(crate) fn read_whole(file: &mut File) -> io::Result<(Vec<u8>, Metadata)> {
    use std::{io::Seek, os::unix::fs::MetadataExt};
    let stamp = |metadata: &Metadata| (metadata.len(), metadata.mtime(), metadata.mtime_nsec());
    let mut attempt = 1;
    loop {
        let before = file.metadata()?;
        let mut bytes = Vec::with_capacity(before.len() as usize + 1);
        file.rewind()?;
        // A file that grows without end must not fill the memory.
        file.take(2 * WHOLE).read_to_end(&mut bytes)?;
        let after = file.metadata()?;
        if attempt == ATTEMPTS || (stamp(&before) == stamp(&after) && bytes.len() as u64 == after.len()) {
            return Ok((bytes, after));
        }
        attempt += 1;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::io::Write;

    use super::*;

    fn stream(content: &[u8], promised: u64) -> Body {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(content).unwrap();
        std::io::Seek::rewind(&mut file).unwrap();
        let cache = CacheGuard::new(&file, promised);
        Body::Stream { file, cache, at: 0, length: promised }
    }

    fn drain(mut body: Body) -> (Vec<u8>, Vec<Trouble>) {
        let (mut bytes, mut troubles) = (Vec::new(), Vec::new());
        let mut buffer = [1; 7];
        loop {
            let (count, trouble) = body.fill(&mut buffer);
            troubles.extend(trouble);
            if count == 0 {
                return (bytes, troubles);
            }
            bytes.extend(&buffer[..count]);
        }
    }

    #[test]
    fn a_file_that_shrank_is_padded_with_zeros() {
        assert_eq!(drain(stream(b"twelve bytes", 20)), (b"twelve bytes\0\0\0\0\0\0\0\0".to_vec(), vec![Trouble::Shrank { missing: 8 }]));
    }

    #[test]
    fn a_file_that_grew_is_cut() {
        assert_eq!(drain(stream(b"twelve bytes", 6)), (b"twelve".to_vec(), vec![Trouble::Grew]));
    }

    #[test]
    fn a_diary_beside_a_database_is_not_its_journal() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("diary-journal");
        for (content, is_side_file) in [(&b"Dear diary"[..], false), (b"", true), (&[0; 28], true), (b"\x37\x7f\x06\x82\0\x2d\xe2\x18", true)] {
            std::fs::write(&path, content).unwrap();
            assert_eq!(looks_like_side_file(&path), is_side_file, "{content:?}");
        }
    }

    #[test]
    fn an_unchanged_file_is_no_trouble() {
        assert_eq!(drain(stream(b"twelve bytes", 12)), (b"twelve bytes".to_vec(), vec![]));
    }

    #[test]
    fn nothing_of_a_database_is_opened_while_its_snapshot_is_held() {
        let dir = tempfile::tempdir().unwrap();
        let config = dir.path().join("config");
        sample::create(&config, &sample::Options { database_bytes: 400_000, seed: 1 }).unwrap();
        // Somebody else has it open, as Home Assistant would; a hard link is another way to the same locks.
        let database = config.join("zigbee.db");
        std::fs::hard_link(&database, config.join("innocent.bin")).unwrap();
        let snapshot = Snapshot::open(&database, &livesqlite::Options::default()).unwrap();
        for name in ["zigbee.db", "zigbee.db-wal", "zigbee.db-shm", "innocent.bin"] {
            let path = config.join(name);
            assert!(!path.exists() || open(&path).is_err(), "{name} was opened");
        }
        drop(snapshot);
        assert!(open(&config.join("innocent.bin")).is_ok());
    }

    #[test]
    fn a_symlink_or_fifo_in_the_place_of_a_file_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let link = dir.path().join("link");
        std::os::unix::fs::symlink("/etc/passwd", &link).unwrap();
        assert!(open(&link).is_err());
        let fifo = dir.path().join("fifo");
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR, 0).unwrap();
        assert!(open(&fifo).is_err());
    }
}
