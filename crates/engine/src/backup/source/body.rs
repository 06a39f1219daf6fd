//! The bytes of one member: exactly as many as its header promised, whatever happens to the file meanwhile.

use std::{
    fs::{File, Metadata},
    io::{self, Read},
    path::Path,
    time::Duration,
};

use livesqlite::Snapshot;
use rustix::{
    fs::{CWD, Mode, OFlags, ResolveFlags, openat, openat2},
    io::Errno,
};

use super::stream::{Stream, Trouble, modified};

/// Files up to this size are read whole before their header is written, and again if they changed meanwhile. One that
/// changes each time is taken as it is, and reported unless it only grew.
pub(crate) const WHOLE: u64 = 256 << 10;
/// How often a changing small file is read before it is taken as it is.
const ATTEMPTS: usize = 3;
/// The pause between two such readings: by then, the writer of a small file is done.
const PAUSE: Duration = Duration::from_millis(20);

pub(crate) enum Body {
    Empty,
    Whole { bytes: Vec<u8>, at: usize },
    Stream(Box<Stream>),
    Image { snapshot: Box<Snapshot>, left: u64 },
    // What a file promised and then did not have.
    Zeros { left: u64 },
}

impl Body {
    pub(crate) fn whole(bytes: Vec<u8>) -> Self {
        Self::Whole { bytes, at: 0 }
    }

    pub(crate) fn image(snapshot: Box<Snapshot>) -> Self {
        let left = snapshot.len();
        Self::Image { snapshot, left }
    }

    /// Fills some of `buffer`; 0 when the body is complete. Never fails: what can't be read becomes zeros and a
    /// trouble.
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
            Self::Stream(stream) => match stream.read(buffer) {
                Ok(0) => {
                    let trouble = stream.changed();
                    *self = Self::Empty;
                    (0, trouble)
                }
                Ok(count) => (count, None),
                Err(trouble) => {
                    *self = Self::Zeros { left: stream.left() };
                    (self.fill(buffer).0, Some(trouble))
                }
            },
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

    /// The content of an open file, `metadata` being what it was before the first byte is read.
    pub(crate) fn stream(file: File, metadata: &Metadata) -> Self {
        Self::Stream(Box::new(Stream::new(file, metadata, metadata.len())))
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

/// Opens a regular file for reading, and nothing else that may have taken its name meanwhile, or that of a directory on
/// the way: no symlink is followed, a FIFO can't hang it. `path` is absolute, and no link led there when it was found.
pub(crate) fn open(path: &Path) -> io::Result<(File, Metadata)> {
    // Closing a file that a database snapshot holds would take away the locks of the whole process (fcntl(2)): better
    // to leave it out.
    if livesqlite::is_pinned(&path.symlink_metadata()?) {
        return Err(io::Error::new(io::ErrorKind::ResourceBusy, "it belongs to a database that Haul is reading"));
    }
    let file = open_without_links(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::other("it is no longer a regular file"));
    }
    Ok((file, metadata))
}

fn open_without_links(path: &Path) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    // Reading should not cost an SD card writes of access times; only owner and root may ask for that.
    for flags in [flags | OFlags::NOATIME, flags] {
        match openat2(CWD, path, flags, Mode::empty(), ResolveFlags::NO_SYMLINKS) {
            Ok(file) => return Ok(file.into()),
            // It may not ask for that, or it is Linux before 5.6, or a sandbox that does not know the call.
            Err(Errno::NOSYS | Errno::PERM) => {}
            Err(error) => return Err(error.into()),
        }
    }
    match openat(CWD, path, flags | OFlags::NOATIME, Mode::empty()) {
        Err(Errno::PERM) => Ok(openat(CWD, path, flags, Mode::empty())?.into()),
        opened => Ok(opened?.into()),
    }
}

/// The beginning of an untrusted file: a FIFO under its name can't block, and no size fills the memory.
pub(crate) fn read_head(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let (file, _) = open(&path.canonicalize()?)?;
    let mut bytes = Vec::new();
    file.take(most).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Is this what SQLite puts beside a database, and not somebody's file that is called like it? Logs, journals and their
/// indexes have magic numbers; what is empty or was wiped by SQLite after use holds nothing.
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

/// A file that was to be read whole.
pub(crate) enum Whole {
    Read {
        bytes: Vec<u8>,
        metadata: Metadata,
        trouble: Option<Trouble>,
    },
    /// It became longer than it may be. `restless`: it was written to each time it was read.
    TooLong {
        metadata: Metadata,
        restless: bool,
    },
}

/// Reads a file of at most `most` bytes whole, and again if it changed meanwhile. A file that only grew is whole as it
/// was when it was read. `between` is called after each reading, before the file is checked for changes.
pub(crate) fn read_whole(file: &mut File, most: u64, mut between: impl FnMut(&File)) -> io::Result<Whole> {
    use std::io::Seek;
    let mut attempt = 0;
    let mut earlier: Option<Vec<u8>> = None;
    let mut earlier_length = 0;
    loop {
        attempt += 1;
        let before = file.metadata()?;
        let mut bytes = Vec::with_capacity(before.len().min(most) as usize + 1);
        file.rewind()?;
        // A file that grows without end must not fill the memory.
        Read::take(&mut *file, most + 1).read_to_end(&mut bytes)?;
        between(file);
        let after = file.metadata()?;
        let length = bytes.len() as u64;
        let rested = modified(&before) == modified(&after) && before.len() == after.len();
        let begins_alike = earlier.is_some_and(|earlier| bytes.starts_with(&earlier));
        let grew = begins_alike && length > earlier_length;
        let is_last = attempt == ATTEMPTS;
        if length > most {
            if rested || is_last {
                return Ok(Whole::TooLong { metadata: after, restless: !rested && !begins_alike });
            }
        } else if (rested && length == after.len()) || (grew && length <= after.len()) {
            return Ok(Whole::Read { bytes, metadata: after, trouble: None });
        } else if is_last {
            let trouble = Some(if length < after.len() { Trouble::Cut { length: after.len() } } else { Trouble::Torn });
            return Ok(Whole::Read { bytes, metadata: after, trouble });
        }
        earlier_length = length;
        earlier = Some(bytes);
        std::thread::sleep(PAUSE);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::{io::Write, os::unix::fs::FileExt};

    use super::*;

    fn stream(content: &[u8], promised: u64) -> Body {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(content).unwrap();
        std::io::Seek::rewind(&mut file).unwrap();
        let metadata = file.metadata().unwrap();
        Body::Stream(Box::new(Stream::new(file, &metadata, promised)))
    }

    /// Sets a time of its own, whatever the clock's steps.
    fn touch(file: &File, seconds: u64) {
        file.set_modified(std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds)).unwrap();
    }

    /// Reads a file whole that `between` changes after each of its readings.
    fn read_restless(content: &[u8], most: u64, mut between: impl FnMut(&File, u64)) -> (usize, Whole) {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(content).unwrap();
        let mut readings = 0;
        let whole = read_whole(&mut file, most, |file| {
            readings += 1;
            between(file, readings);
        });
        (readings as usize, whole.unwrap())
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
        assert_eq!(
            drain(stream(b"twelve bytes", 20)),
            (b"twelve bytes\0\0\0\0\0\0\0\0".to_vec(), vec![Trouble::Shrank { missing: 8 }])
        );
    }

    #[test]
    fn a_file_that_grew_is_cut() {
        assert_eq!(drain(stream(b"twelve bytes", 6)), (b"twelve".to_vec(), vec![]));
    }

    #[test]
    fn a_small_file_that_changes_each_time_is_never_taken_for_good() {
        let read = |whole| match whole {
            Whole::Read { bytes, trouble, .. } => (bytes.len(), trouble),
            Whole::TooLong { .. } => panic!(),
        };
        // It comes to rest.
        let (readings, whole) = read_restless(b"0123456789", 99, |file, reading| touch(file, reading.min(2)));
        assert_eq!((readings, read(whole)), (3, (10, None)));
        // The same length, other bytes.
        let (readings, whole) = read_restless(b"0123456789", 99, touch);
        assert_eq!((readings, read(whole)), (3, (10, Some(Trouble::Torn))));
        // Rewritten in place: half of it was written when it was read.
        let (_, whole) = read_restless(b"01234", 99, |file, reading| {
            file.set_len(if reading == 3 { 10 } else { 5 }).unwrap();
            touch(file, reading);
        });
        assert_eq!(read(whole), (5, Some(Trouble::Cut { length: 10 })));
        // It shrank after the last reading.
        let (_, whole) = read_restless(b"01234", 99, |file, reading| {
            file.set_len(if reading == 3 { 1 } else { 5 }).unwrap();
            touch(file, reading);
        });
        assert_eq!(read(whole), (5, Some(Trouble::Torn)));
    }

    #[test]
    fn a_small_file_that_is_appended_to_is_whole_as_it_was() {
        let (readings, whole) = read_restless(b"0123456789", 99, |mut file, reading| {
            file.write_all(b"more").unwrap();
            touch(file, reading);
        });
        let Whole::Read { bytes, trouble, .. } = whole else { panic!() };
        assert_eq!((readings, bytes.as_slice(), trouble), (2, &b"0123456789more"[..], None));
    }

    #[test]
    fn a_small_file_that_outgrows_its_limit_is_left_to_be_streamed() {
        // What was read of it each time: the same, the same and more, something else.
        for (grows, is_new, is_restless, expected) in
            [(false, false, false, 1), (true, false, false, 3), (true, true, true, 3)]
        {
            let (readings, whole) = read_restless(b"0123456789", 9, |file, reading| {
                if is_new {
                    file.write_all_at(&[reading as u8; 10], 0).unwrap();
                }
                if grows {
                    file.set_len(10 + reading).unwrap();
                    touch(file, reading);
                }
            });
            let Whole::TooLong { restless, .. } = whole else { panic!() };
            assert_eq!((readings, restless), (expected, is_restless));
        }
    }

    #[test]
    fn a_diary_beside_a_database_is_not_its_journal() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("diary-journal");
        for (content, is_side_file) in
            [(&b"Dear diary"[..], false), (b"", true), (&[0; 28], true), (b"\x37\x7f\x06\x82\0\x2d\xe2\x18", true)]
        {
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
    fn a_symlink_or_fifo_instead_of_a_file_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let link = dir.path().join("link");
        std::os::unix::fs::symlink("/etc/passwd", &link).unwrap();
        assert!(open(&link).is_err());
        let fifo = dir.path().join("fifo");
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR, 0).unwrap();
        assert!(open(&fifo).is_err());
    }
}
