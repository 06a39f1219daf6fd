//! Each call × its possible results.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{io::Write, ops::Range};

use super::*;

/// A file of which the test says what each call brings.
struct Told {
    content: Vec<u8>,
    /// What no block belongs to.
    holes: Vec<Range<u64>>,
    modified: Modified,
    /// Reads from here on fail with this number.
    bad: Option<(u64, i32)>,
    /// No read brings more.
    most: usize,
    /// So many calls are interrupted first.
    interruptions: u32,
    /// Asking for holes, or for the state, fails with this number.
    no_holes: Option<i32>,
    no_state: Option<i32>,
    /// The next so many looks at the state show this length.
    late: std::cell::Cell<Option<(u32, u64)>>,
    reads: u64,
}

impl Told {
    fn new(content: impl Into<Vec<u8>>) -> Self {
        let content = content.into();
        Self {
            content,
            holes: Vec::new(),
            modified: (1, 1),
            bad: None,
            most: usize::MAX,
            interruptions: 0,
            no_holes: None,
            no_state: None,
            late: std::cell::Cell::new(None),
            reads: 0,
        }
    }

    fn hole_at(&self, at: u64) -> Option<&Range<u64>> {
        self.holes.iter().find(|hole| hole.contains(&at))
    }

    fn may_ask(&self, at: u64) -> io::Result<()> {
        match self.no_holes {
            Some(error) => Err(io::Error::from_raw_os_error(error)),
            None if at >= self.content.len() as u64 => Err(io::Error::from_raw_os_error(libc::ENXIO)),
            None => Ok(()),
        }
    }
}

impl Live for Told {
    fn read_at(&mut self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        if self.interruptions > 0 {
            self.interruptions -= 1;
            return Err(io::ErrorKind::Interrupted.into());
        }
        if let Some((from, error)) = self.bad
            && at >= from
        {
            return Err(io::Error::from_raw_os_error(error));
        }
        let end = self.bad.map_or(u64::MAX, |(from, _)| from).min(self.content.len() as u64);
        let count = (end.saturating_sub(at) as usize).min(buffer.len()).min(self.most);
        if count == 0 {
            return Ok(0);
        }
        buffer[..count].copy_from_slice(&self.content[at as usize..at as usize + count]);
        self.reads += count as u64;
        Ok(count)
    }

    fn data_from(&self, at: u64) -> io::Result<u64> {
        self.may_ask(at)?;
        match self.hole_at(at) {
            Some(hole) if hole.end >= self.content.len() as u64 => Err(io::Error::from_raw_os_error(libc::ENXIO)),
            Some(hole) => Ok(hole.end),
            None => Ok(at),
        }
    }

    fn hole_from(&self, at: u64) -> io::Result<u64> {
        self.may_ask(at)?;
        let next = self.holes.iter().map(|hole| hole.start).find(|start| *start >= at);
        Ok(if self.hole_at(at).is_some() { at } else { next.unwrap_or(self.content.len() as u64) })
    }

    fn state(&self) -> io::Result<(u64, Modified)> {
        let shown = match self.late.get() {
            Some((left, length)) if left > 0 => {
                self.late.set(Some((left - 1, length)));
                length
            }
            _ => self.content.len() as u64,
        };
        self.no_state.map_or_else(|| Ok((shown, self.modified)), |error| Err(io::Error::from_raw_os_error(error)))
    }
}

/// Everything that comes, in pieces of 7 bytes; then the result at the end.
fn read(stream: &mut Stream<Told>) -> (Vec<u8>, Option<Trouble>) {
    let mut bytes = Vec::new();
    let mut buffer = [1; 7];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return (bytes, stream.changed()),
            Ok(count) => bytes.extend(&buffer[..count]),
            Err(trouble) => return (bytes, Some(trouble)),
        }
    }
}

const TEXT: &[u8] = b"twelve bytes";

#[test]
fn every_call_times_what_may_come_of_it() {
    type Row<'t> = (&'t str, Box<dyn Fn(&mut Told)>, &'t [u8], Option<Trouble>);
    let eio = "the disk can't read it (input/output error)".to_owned();
    let table: Vec<Row<'_>> = vec![
        ("nothing happens", Box::new(|_| {}), TEXT, None),
        ("reads are short", Box::new(|file| file.most = 1), TEXT, None),
        ("reads are interrupted", Box::new(|file| file.interruptions = 5), TEXT, None),
        (
            "the disk fails at once",
            Box::new(|file| file.bad = Some((0, libc::EIO))),
            b"",
            Some(Trouble::Unreadable { reason: eio.clone() }),
        ),
        (
            "the disk fails late",
            Box::new(|file| file.bad = Some((9, libc::EIO))),
            b"twelve by",
            Some(Trouble::Unreadable { reason: eio }),
        ),
        (
            "the share is gone",
            Box::new(|file| file.bad = Some((9, libc::ESTALE))),
            b"twelve by",
            Some(Trouble::Unreadable { reason: "the network share no longer knows it (stale file handle)".to_owned() }),
        ),
        ("it shrank", Box::new(|file| file.content.truncate(6)), b"twelve", Some(Trouble::Shrank { missing: 6 })),
        ("it is empty", Box::new(|file| file.content.clear()), b"", Some(Trouble::Shrank { missing: 12 })),
        (
            "it grew",
            Box::new(|file| {
                file.content.extend(b", and more");
                file.modified = (1, 2);
            }),
            TEXT,
            None,
        ),
        ("it was rewritten", Box::new(|file| file.modified = (2, 0)), TEXT, Some(Trouble::Torn)),
        ("a clock was set back", Box::new(|file| file.modified = (0, 0)), TEXT, Some(Trouble::Torn)),
        ("nobody knows its state", Box::new(|file| file.no_state = Some(libc::EIO)), TEXT, None),
    ];
    for (what, change, bytes, trouble) in table {
        let mut stream = Stream::of(Told::new(TEXT), 12, (1, 1), false);
        change(&mut stream.file);
        assert_eq!(read(&mut stream), (bytes.to_vec(), trouble), "{what}");
    }
}

#[test]
fn a_length_that_shows_later_than_the_time_is_waited_for() {
    for (looks, trouble) in [(1, None), (3, None), (100, Some(Trouble::Torn))] {
        let mut stream = Stream::of(Told::new(TEXT), 12, (1, 1), false);
        let mut buffer = [0; 12];
        assert_eq!(stream.read(&mut buffer), Ok(12));
        stream.file.content.extend(b" and more");
        stream.file.modified = (2, 2);
        stream.file.late.set(Some((looks, 12)));
        assert_eq!(stream.changed(), trouble, "{looks}");
    }
}

#[test]
fn what_was_written_anew_and_is_longer_has_not_just_grown() {
    let mut stream = Stream::of(Told::new(TEXT), 12, (1, 1), false);
    let mut buffer = [0; 12];
    assert_eq!(stream.read(&mut buffer), Ok(12));
    stream.file = Told { modified: (2, 2), ..Told::new(&b"another thing altogether"[..]) };
    assert_eq!(stream.changed(), Some(Trouble::Torn));
}

fn sparse() -> Told {
    // Fifty bytes of data, a long hole, ten bytes, a hole at the end.
    let mut content = vec![0; 10_000];
    content[..50].fill(1);
    content[9000..9010].fill(2);
    Told { holes: vec![50..9000, 9010..10_000], ..Told::new(content) }
}

#[test]
fn holes_are_zeros_that_nobody_reads() {
    let mut stream = Stream::of(sparse(), 10_000, (1, 1), true);
    let expected = stream.file.content.clone();
    assert_eq!(read(&mut stream), (expected, None));
    assert_eq!(stream.file.reads, 60);
    assert_eq!(bytes_in_holes(&sparse(), 10_000), 10_000 - 60);
    assert_eq!(bytes_in_holes(&sparse(), 9005), 9000 - 50, "as far as it was announced");
    assert_eq!(bytes_in_holes(&Told::new(TEXT), 12), 0);
}

#[test]
fn where_holes_are_not_reported_everything_is_read() {
    for error in [libc::EINVAL, libc::ENOSYS, libc::EIO, libc::EOPNOTSUPP] {
        let mut stream = Stream::of(Told { no_holes: Some(error), ..sparse() }, 10_000, (1, 1), true);
        let expected = stream.file.content.clone();
        assert_eq!(read(&mut stream), (expected, None));
        assert_eq!(stream.file.reads, 10_000);
        assert_eq!(bytes_in_holes(&stream.file, 10_000), 0);
    }
}

/// A hole at the end is not taken for what a file has lost.
#[test]
fn a_sparse_file_that_shrinks_is_noticed() {
    for left in [0, 30, 5000, 9500] {
        let mut stream = Stream::of(sparse(), 10_000, (1, 1), true);
        stream.file.content.truncate(left);
        stream.file.holes.retain(|hole| hole.start < left as u64);
        let (bytes, trouble) = read(&mut stream);
        assert_eq!((bytes.len(), trouble), (left, Some(Trouble::Shrank { missing: 10_000 - left as u64 })));
    }
    // Within a hole that was reported already: the end is noticed after it.
    let mut stream = Stream::of(sparse(), 10_000, (1, 1), true);
    let mut buffer = [1; 60];
    assert_eq!((stream.read(&mut buffer), stream.read(&mut buffer)), (Ok(50), Ok(60)));
    stream.file.content.truncate(5000);
    stream.file.holes = std::iter::once(50..5000).collect();
    let (bytes, trouble) = read(&mut stream);
    assert!(bytes.iter().all(|byte| *byte == 0));
    assert_eq!((bytes.len() + 110, trouble), (9000, Some(Trouble::Shrank { missing: 1000 })));
}

#[test]
fn the_system_tells_the_holes_of_a_real_file() {
    let mut file = tempfile::tempfile_in(env!("CARGO_MANIFEST_DIR")).unwrap();
    file.write_all(&[1; 4096]).unwrap();
    file.set_len(1 << 40).unwrap();
    let metadata = file.metadata().unwrap();
    if !may_have_holes(&metadata) {
        return; // a file system that knows no holes
    }
    assert!(bytes_in_holes(&file, 1 << 40) >= (1 << 40) - (1 << 20));
    let mut stream = Stream::new(file, &metadata, 1 << 40);
    let mut buffer = vec![7; 1 << 20];
    let (mut ones, mut all) = (0, 0);
    while all < 64 << 20 {
        let count = stream.read(&mut buffer).unwrap();
        ones += buffer[..count].iter().map(|byte| usize::from(*byte)).sum::<usize>();
        all += count;
    }
    assert_eq!((ones, stream.left()), (4096, (1 << 40) - all as u64));
}
