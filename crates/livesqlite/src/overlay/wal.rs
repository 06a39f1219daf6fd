//! Reads a write-ahead log as SQLite's recovery does: every frame up to the last valid commit.
//! Format: <https://www.sqlite.org/fileformat2.html#the_write_ahead_log>. The input may be anything.

use std::fs::File;
use std::io;

use super::{PageMap, read_up_to};
use crate::OpenError;
use crate::header::be32;

const MAGIC: u32 = 0x377f_0682;
const VERSION: u32 = 3_007_000;
const HEADER: usize = 32;
const FRAME_HEADER: usize = 24;

/// What a WAL adds to a database.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Log {
    pub(super) page_size: u32,
    /// Pages in the database after the last commit.
    pub(super) database_pages: u32,
    /// The newest committed version of each page, as an offset in the WAL.
    pub(super) pages: PageMap,
}

/// `None`: the log holds no commit, the main file is the whole database. `limit` bounds the pages kept in memory.
pub(super) fn parse(file: &File, len: u64, limit: usize) -> Result<Option<Log>, OpenError> {
    let mut head = [0; HEADER];
    if len < HEADER as u64 || read_up_to(file, &mut head, 0)? < HEADER {
        return Ok(None);
    }
    let Some((page_size, mut sum)) = header(&head)? else { return Ok(None) };
    let salt = &head[16..24];
    let mut frame = vec![0; FRAME_HEADER + page_size as usize];
    let mut log = Log { page_size, database_pages: 0, pages: PageMap::new() };
    let mut open = Vec::new();
    let mut at = HEADER as u64;
    while at + frame.len() as u64 <= len {
        if read_up_to(file, &mut frame, at)? < frame.len() {
            break;
        }
        let (page, committed_size) = (be32(&frame, 0), be32(&frame, 4));
        sum.add(&frame[..8]);
        sum.add(&frame[FRAME_HEADER..]);
        if page == 0 || &frame[8..16] != salt || !sum.is(&frame[16..24]) {
            break;
        }
        open.push((page, at + FRAME_HEADER as u64));
        if open.len() + log.pages.len() > limit {
            return Err(OpenError::Io(io::Error::other(
                "the write-ahead log is too long to be read without its owner",
            )));
        }
        if committed_size != 0 {
            log.pages.extend(open.drain(..));
            log.database_pages = committed_size;
        }
        at += frame.len() as u64;
    }
    Ok((log.database_pages != 0).then_some(log))
}

/// Page size and the running checksum; `None` when SQLite would ignore the log.
fn header(head: &[u8; HEADER]) -> Result<Option<(u32, Checksum)>, OpenError> {
    let (magic, page_size) = (be32(head, 0), be32(head, 8));
    if magic & !1 != MAGIC || !page_size.is_power_of_two() || !(512..=65_536).contains(&page_size) {
        return Ok(None);
    }
    let mut sum = Checksum { big_endian: magic & 1 == 1, s1: 0, s2: 0 };
    sum.add(&head[..24]);
    if !sum.is(&head[24..32]) {
        return Ok(None);
    }
    if be32(head, 4) != VERSION {
        return Err(OpenError::corrupt("the write-ahead log has an unknown version"));
    }
    Ok(Some((page_size, sum)))
}

/// The WAL's checksum, in the byte order of the machine that wrote it.
struct Checksum {
    big_endian: bool,
    s1: u32,
    s2: u32,
}

impl Checksum {
    /// `bytes` is a multiple of 8 long.
    fn add(&mut self, bytes: &[u8]) {
        let (mut s1, mut s2) = (self.s1, self.s2);
        let words: fn([u8; 4]) -> u32 = if self.big_endian { u32::from_be_bytes } else { u32::from_le_bytes };
        for pair in bytes.as_chunks::<8>().0 {
            s1 = s1.wrapping_add(words([pair[0], pair[1], pair[2], pair[3]])).wrapping_add(s2);
            s2 = s2.wrapping_add(words([pair[4], pair[5], pair[6], pair[7]])).wrapping_add(s1);
        }
        (self.s1, self.s2) = (s1, s2);
    }

    fn is(&self, stored: &[u8]) -> bool {
        be32(stored, 0) == self.s1 && be32(stored, 4) == self.s2
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::io::Write;

    use proptest::prelude::*;

    use super::*;

    /// A log with the given transactions, each a list of pages; the database size is the highest page so far.
    fn log(big_endian: bool, page_size: u32, transactions: &[Vec<u32>]) -> Vec<u8> {
        let mut out = Vec::new();
        for word in [MAGIC | u32::from(big_endian), VERSION, page_size, 0, 77, 88] {
            out.extend(word.to_be_bytes());
        }
        let mut sum = Checksum { big_endian, s1: 0, s2: 0 };
        sum.add(&out);
        out.extend([sum.s1.to_be_bytes(), sum.s2.to_be_bytes()].concat());
        let mut size = 0;
        for pages in transactions {
            for (index, page) in pages.iter().enumerate() {
                size = size.max(*page);
                let commit = if index + 1 == pages.len() { size } else { 0 };
                let data = vec![*page as u8; page_size as usize];
                let head = [page.to_be_bytes(), commit.to_be_bytes()].concat();
                sum.add(&head);
                sum.add(&data);
                out.extend(head);
                out.extend(
                    [77_u32.to_be_bytes(), 88_u32.to_be_bytes(), sum.s1.to_be_bytes(), sum.s2.to_be_bytes()].concat(),
                );
                out.extend(data);
            }
        }
        out
    }

    fn parsed(bytes: &[u8]) -> Result<Option<Log>, OpenError> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        parse(&file, bytes.len() as u64, 1000)
    }

    #[test]
    fn the_newest_committed_version_of_a_page_wins() {
        for big_endian in [false, true] {
            let bytes = log(big_endian, 512, &[vec![1, 2, 3], vec![2], vec![5, 1]]);
            let found = parsed(&bytes).unwrap().unwrap();
            assert_eq!((found.page_size, found.database_pages), (512, 5));
            let frame = |n: u64| 32 + n * 536 + 24;
            assert_eq!(found.pages, PageMap::from([(1, frame(5)), (2, frame(3)), (3, frame(2)), (5, frame(4))]));
        }
    }

    #[test]
    fn frames_after_the_last_commit_do_not_count() {
        let whole = log(false, 512, &[vec![1, 2], vec![3, 4]]);
        let found = parsed(&whole[..whole.len() - 1]).unwrap().unwrap();
        assert_eq!(found.database_pages, 2);
        assert_eq!(found.pages.len(), 2);
        assert_eq!(parsed(&whole[..32 + 536]).unwrap(), None);
        assert_eq!(parsed(&whole[..20]).unwrap(), None);
    }

    #[test]
    fn a_flipped_bit_ends_the_log_before_its_transaction() {
        let mut bytes = log(true, 512, &[vec![1, 2], vec![3]]);
        let last = bytes.len() - 100;
        bytes[last] ^= 1;
        assert_eq!(parsed(&bytes).unwrap().unwrap().database_pages, 2);
        bytes[26] ^= 1;
        assert_eq!(parsed(&bytes).unwrap(), None);
    }

    #[test]
    fn a_log_with_too_many_pages_is_refused() {
        let bytes = log(false, 512, &[(1..=1001).collect()]);
        assert!(parsed(&bytes).is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]
        #[test]
        fn mutated_logs_never_panic_and_never_invent_commits(
            big in any::<bool>(),
            transactions in prop::collection::vec(prop::collection::vec(1_u32..40, 1..5), 0..6),
            flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
            cut in any::<prop::sample::Index>(),
        ) {
            let mut bytes = log(big, 512, &transactions);
            for (at, value) in flips {
                let at = at.index(bytes.len());
                bytes[at] = value;
            }
            bytes.truncate(cut.index(bytes.len() + 1));
            if let Ok(Some(found)) = parsed(&bytes) {
                prop_assert!(found.pages.len() <= transactions.iter().map(Vec::len).sum());
                for at in found.pages.values() {
                    prop_assert!(at + 512 <= bytes.len() as u64);
                }
            }
        }
    }
}
