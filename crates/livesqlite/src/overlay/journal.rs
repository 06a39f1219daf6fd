//! Reads a rollback journal as SQLite's playback of a hot journal does, without writing anything.
//! Format: <https://www.sqlite.org/fileformat2.html#the_rollback_journal>. The input may be anything.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use super::{PageMap, read_up_to};
use crate::OpenError;
use crate::header::{be32, lock_page};

const MAGIC: [u8; 8] = [0xd9, 0xd5, 0x05, 0xf9, 0x20, 0xa1, 0x63, 0xd7];
const HEADER: usize = 28;
/// SQLite's own bound on names.
const MAX_NAME: u64 = 512;
/// A journal shorter than SQLite's smallest sector holds no header.
const MIN_LEN: u64 = 512;
const MAX_SECTOR: u32 = 65_536;

/// The database as it was when the interrupted transaction began.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Journal {
    pub(super) page_size: u32,
    pub(super) original_pages: u32,
    /// The original content of each page that was about to be changed, as an offset in the journal.
    pub(super) pages: PageMap,
    /// The transaction spanned several databases; it is committed if this file is gone.
    pub(super) depends_on: Option<PathBuf>,
}

/// One header of the journal; there is one per sync.
struct Segment {
    records: u32,
    checksum_start: u32,
    original_pages: u32,
    sector: u32,
    page_size: u32,
}

/// `None`: nothing to roll back. `page_size` is the main file's, for journals so old that they do not say; `limit`
/// bounds the pages kept in memory.
pub(super) fn parse(file: &File, len: u64, page_size: Option<u32>, limit: usize) -> Result<Option<Journal>, OpenError> {
    if len < MIN_LEN {
        return Ok(None);
    }
    let Some(first) = segment(file, 0)? else { return Ok(None) };
    let sizes = |size: u32, range: std::ops::RangeInclusive<u32>| size.is_power_of_two() && range.contains(&size);
    let page_size = if first.page_size == 0 { page_size.unwrap_or(0) } else { first.page_size };
    if !sizes(page_size, 512..=65_536) || !sizes(first.sector, 32..=MAX_SECTOR) {
        return Ok(None);
    }
    let sector = u64::from(first.sector);
    let mut journal = Journal {
        page_size,
        original_pages: first.original_pages,
        pages: PageMap::new(),
        depends_on: super_journal(file, len)?,
    };
    let mut next = Some(first);
    let mut at = 0;
    while let Some(current) = next.take() {
        at += sector;
        let Some(end) = records(file, len, at, &current, &mut journal, limit)? else { break };
        // The next header begins at the next sector.
        at = end.div_ceil(sector) * sector;
        if at + sector <= len {
            next = segment(file, at)?;
        }
    }
    Ok(Some(journal))
}

fn segment(file: &File, at: u64) -> io::Result<Option<Segment>> {
    let mut head = [0; HEADER];
    if read_up_to(file, &mut head, at)? < HEADER || head[..8] != MAGIC {
        return Ok(None);
    }
    Ok(Some(Segment {
        records: be32(&head, 8),
        checksum_start: be32(&head, 12),
        original_pages: be32(&head, 16),
        sector: be32(&head, 20),
        page_size: be32(&head, 24),
    }))
}

/// Notes the records of one segment. Returns where they end, or `None` when SQLite's playback would stop for good.
fn records(
    file: &File,
    len: u64,
    mut at: u64,
    segment: &Segment,
    journal: &mut Journal,
    limit: usize,
) -> Result<Option<u64>, OpenError> {
    let size = u64::from(journal.page_size);
    let mut record = vec![0; journal.page_size as usize + 8];
    // All ones: the writer never synced, and there are no further headers.
    let count =
        if segment.records == u32::MAX { len.saturating_sub(at) / (size + 8) } else { u64::from(segment.records) };
    for _ in 0..count {
        if read_up_to(file, &mut record, at)? < record.len() {
            return Ok(None);
        }
        let page = be32(&record, 0);
        if page == 0 || u64::from(page) == lock_page(journal.page_size) {
            return Ok(None);
        }
        if page <= journal.original_pages {
            let (data, sum) = record[4..].split_at(journal.page_size as usize);
            if checksum(data, segment.checksum_start) != be32(sum, 0) {
                return Ok(None);
            }
            journal.pages.insert(page, at + 4);
            if journal.pages.len() > limit {
                return Err(OpenError::Io(io::Error::other("the rollback journal is too long to be read in place")));
            }
        }
        at += size + 8;
    }
    Ok(Some(at))
}

/// Every 200th byte, counted back from the end of the page.
fn checksum(data: &[u8], start: u32) -> u32 {
    (1..)
        .map_while(|step| data.len().checked_sub(step * 200))
        .filter(|at| *at > 0)
        .fold(start, |sum, at| sum.wrapping_add(u32::from(data[at])))
}

/// The name at the journal's end, if there is a whole one.
fn super_journal(file: &File, len: u64) -> io::Result<Option<PathBuf>> {
    let mut tail = [0; 16];
    if read_up_to(file, &mut tail, len - 16)? < 16 || tail[8..] != MAGIC {
        return Ok(None);
    }
    let name_len = u64::from(be32(&tail, 0));
    if name_len == 0 || name_len > MAX_NAME || name_len > len - 16 {
        return Ok(None);
    }
    let mut name = vec![0; be32(&tail, 0) as usize];
    if read_up_to(file, &mut name, len - 16 - name_len)? < name.len() {
        return Ok(None);
    }
    // SQLite adds the bytes as signed characters.
    let sum = name.iter().fold(0_u32, |sum, byte| sum.wrapping_add(i32::from(*byte as i8) as u32));
    let valid = sum == be32(&tail, 4) && is_super_journal_name(&name);
    Ok(valid.then(|| PathBuf::from(OsStr::from_bytes(&name))))
}

/// `…-mjXXXXXX9XX` with hex digits.
fn is_super_journal_name(name: &[u8]) -> bool {
    name.len() >= 12
        && !name.contains(&0)
        && name[name.len() - 12..].starts_with(b"-mj")
        && name[name.len() - 3] == b'9'
        && name[name.len() - 9..].iter().all(u8::is_ascii_hexdigit)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::io::Write;

    use proptest::prelude::*;

    use super::*;

    const SIZE: usize = 512;

    fn head(out: &mut Vec<u8>, records: u32, pages: u32) {
        out.resize(out.len().div_ceil(512) * 512, 0);
        let start = out.len();
        out.extend(MAGIC);
        for word in [records, 1234, pages, 512, SIZE as u32] {
            out.extend(word.to_be_bytes());
        }
        out.resize(start + 512, 0);
    }

    fn record(out: &mut Vec<u8>, page: u32) {
        let data: Vec<u8> = (0..SIZE).map(|i| (i as u8).wrapping_mul(page as u8)).collect();
        out.extend(page.to_be_bytes());
        out.extend(&data);
        out.extend((1234 + u32::from(data[312]) + u32::from(data[112])).to_be_bytes());
    }

    fn named(out: &mut Vec<u8>, name: &[u8]) {
        out.extend((lock_page(SIZE as u32) as u32).to_be_bytes());
        out.extend(name);
        out.extend((name.len() as u32).to_be_bytes());
        out.extend(name.iter().map(|b| u32::from(*b)).sum::<u32>().to_be_bytes());
        out.extend(MAGIC);
    }

    fn parsed(bytes: &[u8]) -> Result<Option<Journal>, OpenError> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        parse(&file, bytes.len() as u64, Some(512), 1000)
    }

    #[test]
    fn all_segments_count_and_each_begins_at_a_sector() {
        let mut bytes = Vec::new();
        head(&mut bytes, 2, 9);
        record(&mut bytes, 1);
        record(&mut bytes, 3);
        head(&mut bytes, 1, 9);
        record(&mut bytes, 7);
        head(&mut bytes, 0, 9);
        record(&mut bytes, 8);
        let found = parsed(&bytes).unwrap().unwrap();
        assert_eq!(found.original_pages, 9);
        let second = (512_u64 + 2 * 520).div_ceil(512) * 512 + 512;
        assert_eq!(found.pages, PageMap::from([(1, 516), (3, 512 + 520 + 4), (7, second + 4)]));
    }

    #[test]
    fn a_writer_that_never_synced_leaves_the_count_to_the_file_size() {
        let mut bytes = Vec::new();
        head(&mut bytes, u32::MAX, 9);
        record(&mut bytes, 2);
        record(&mut bytes, 4);
        bytes.extend([0; 100]);
        assert_eq!(parsed(&bytes).unwrap().unwrap().pages.len(), 2);
    }

    #[test]
    fn a_wrong_checksum_or_a_missing_end_stops_the_playback() {
        let mut bytes = Vec::new();
        head(&mut bytes, 3, 9);
        record(&mut bytes, 2);
        record(&mut bytes, 4);
        assert_eq!(parsed(&bytes).unwrap().unwrap().pages.len(), 2);
        bytes[512 + 520 + 4 + 112] ^= 1;
        assert_eq!(parsed(&bytes).unwrap().unwrap().pages.len(), 1);
    }

    #[test]
    fn pages_born_in_the_transaction_are_not_restored() {
        let mut bytes = Vec::new();
        head(&mut bytes, 2, 3);
        record(&mut bytes, 3);
        record(&mut bytes, 4);
        assert_eq!(parsed(&bytes).unwrap().unwrap().pages.len(), 1);
    }

    #[test]
    fn a_zeroed_or_foreign_header_is_not_hot() {
        let mut bytes = Vec::new();
        head(&mut bytes, 1, 3);
        record(&mut bytes, 3);
        let mut zeroed = bytes.clone();
        zeroed[..28].fill(0);
        assert_eq!(parsed(&zeroed).unwrap(), None);
        bytes[23] = 3;
        assert_eq!(parsed(&bytes).unwrap(), None);
        assert_eq!(parsed(&bytes[..100]).unwrap(), None);
    }

    #[test]
    fn the_name_of_a_super_journal_is_found_and_checked() {
        let mut bytes = Vec::new();
        head(&mut bytes, 1, 3);
        record(&mut bytes, 3);
        named(&mut bytes, b"/x/a.db-mj0123ab9cd");
        assert_eq!(parsed(&bytes).unwrap().unwrap().depends_on, Some(PathBuf::from("/x/a.db-mj0123ab9cd")));
        let sum = bytes.len() - 9;
        bytes[sum] ^= 1;
        assert_eq!(parsed(&bytes).unwrap().unwrap().depends_on, None);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]
        #[test]
        fn mutated_journals_never_panic_nor_point_outside(
            segments in prop::collection::vec((0_u32..5, prop::collection::vec(0_u32..20, 0..4)), 1..4),
            flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
            cut in any::<prop::sample::Index>(),
        ) {
            let mut bytes = Vec::new();
            for (count, pages) in segments {
                head(&mut bytes, if count == 4 { u32::MAX } else { count }, 12);
                for page in pages {
                    record(&mut bytes, page);
                }
            }
            named(&mut bytes, b"/x/a.db-mj0123ab9cd");
            for (at, value) in flips {
                let at = at.index(bytes.len());
                bytes[at] = value;
            }
            bytes.truncate(cut.index(bytes.len() + 1));
            if let Ok(Some(found)) = parsed(&bytes) {
                for at in found.pages.values() {
                    prop_assert!(at + u64::from(found.page_size) <= bytes.len() as u64);
                }
            }
        }
    }
}
