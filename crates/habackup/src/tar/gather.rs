//! A header whose blocks arrive one after the other, from whoever is writing the archive.

use super::{BLOCK, END, Entry, Reader, is_header};

/// No header, with all that precedes it, is longer.
const LONGEST: usize = 64 << 10;

/// The blocks of one header, as far as they are there.
#[derive(Debug, Default)]
pub struct HeaderBlocks(Vec<u8>);

/// What the blocks so far are.
#[derive(Debug)]
pub enum Gathered {
    /// Not all of a header.
    Part,
    /// A header: its bytes, and what they say; offsets count from its own beginning.
    Header(Vec<u8>, Entry),
    /// A block of zeros, of which two end an archive.
    Zeros,
    /// Neither.
    NoHeader,
}

impl HeaderBlocks {
    /// Bytes that are still needed for a decision.
    pub fn wanted(&self) -> usize {
        BLOCK - self.0.len() % BLOCK
    }

    /// Whether nothing of the next header is there.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes at most [`Self::wanted`] bytes. After each answer but [`Gathered::Part`] the next header begins.
    pub fn push(&mut self, bytes: &[u8]) -> Gathered {
        self.0.extend_from_slice(bytes);
        let blocks = &self.0;
        if blocks.is_empty() || !blocks.len().is_multiple_of(BLOCK) {
            return Gathered::Part;
        }
        if blocks[..] == END[..BLOCK] {
            self.0.clear();
            return Gathered::Zeros;
        }
        if let Ok(Some(entry)) = Reader::new(&blocks[..]).next_entry() {
            return Gathered::Header(std::mem::take(&mut self.0), entry);
        }
        // An extended header, and not all of it is there.
        let is_extended =
            blocks.first_chunk().is_some_and(is_header) && matches!(blocks[156], b'x' | b'g' | b'L' | b'K');
        if is_extended && blocks.len() < LONGEST {
            return Gathered::Part;
        }
        self.0.clear();
        Gathered::NoHeader
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tar::{Header, Kind, encode};

    fn header(path: &[u8], mtime: (i64, u32)) -> Vec<u8> {
        let mut out = Vec::new();
        let kind = Kind::File;
        encode(&Header { path, kind, size: 5, mode: 0o644, mtime, link: b"", uid: 0, gid: 0 }, &mut out);
        out
    }

    /// Bytes in pieces of `size`: what each header says, `None` for a block that is none, the zeros counted.
    fn gathered(bytes: &[u8], size: usize) -> (Vec<Option<Vec<u8>>>, u32) {
        let (mut blocks, mut seen, mut zeros) = (HeaderBlocks::default(), Vec::new(), 0);
        let mut rest = bytes;
        while !rest.is_empty() {
            let (now, later) = rest.split_at(size.min(blocks.wanted()).min(rest.len()));
            rest = later;
            match blocks.push(now) {
                Gathered::Part => {}
                Gathered::Header(bytes, entry) => {
                    assert_eq!(entry.data_offset, bytes.len() as u64);
                    seen.push(Some(entry.path));
                }
                Gathered::Zeros => zeros += 1,
                Gathered::NoHeader => seen.push(None),
            }
        }
        (seen, zeros)
    }

    #[test]
    fn headers_come_together_from_pieces_of_any_size() {
        let long = vec![b'a'; 3000];
        let bytes = [&header(b"data/b", (1, 0))[..], &header(&long, (1, 5)), &END, &[7; BLOCK], &header(b"c", (1, 0))];
        let expected = vec![Some(b"data/b".to_vec()), Some(long.clone()), None, Some(b"c".to_vec())];
        for size in [1, 7, 511, 512, 10_000] {
            assert_eq!(gathered(&bytes.concat(), size), (expected.clone(), 2), "{size}");
        }
    }

    #[test]
    fn an_extended_header_without_end_is_none() {
        let mut endless = header(&[b'a'; 300], (1, 0));
        // Says that a gigabyte of records follows.
        endless[124..136].copy_from_slice(b"10000000000\0");
        endless[148..156].fill(b' ');
        let sum: u32 = endless[..BLOCK].iter().map(|byte| u32::from(*byte)).sum();
        endless[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        let mut bytes = endless[..BLOCK].to_vec();
        bytes.resize(LONGEST + BLOCK, b'x');
        let (seen, _) = gathered(&bytes, 4096);
        assert_eq!(seen.first(), Some(&None));
    }
}
