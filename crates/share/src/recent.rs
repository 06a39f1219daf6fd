//! What was lately read of a folder's archives, to recognize it when a client writes it.

use std::{collections::VecDeque, sync::Arc};

use bytes::Bytes;
use store::Entry;

/// Bytes that are remembered. A client that copies has read at most a few MiB more than it has written.
const WINDOW: usize = 8 << 20;
/// Members of an archive begin at multiples of this.
const ALIGNED: u64 = 512;
/// Bytes that one search compares at most: what consists of the same bytes everywhere must not hold up the server.
const COMPARED: usize = 32 << 20;

struct Piece {
    archive: Arc<Entry>,
    begins: u64,
    bytes: Bytes,
}

impl Piece {
    /// Its bytes from an offset in the archive on.
    fn from(&self, offset: u64) -> &[u8] {
        offset.checked_sub(self.begins).and_then(|skip| self.bytes.get(skip as usize..)).unwrap_or_default()
    }
}

/// The pieces that were read last.
#[derive(Default)]
pub(crate) struct Recent {
    pieces: VecDeque<Piece>,
    held: usize,
}

impl Recent {
    /// Remembers one.
    pub(crate) fn push(&mut self, archive: &Arc<Entry>, begins: u64, bytes: &Bytes) {
        self.held += bytes.len();
        self.pieces.push_back(Piece { archive: Arc::clone(archive), begins, bytes: bytes.clone() });
        while self.held > WINDOW
            && let Some(old) = self.pieces.pop_front()
        {
            self.held -= old.bytes.len();
        }
    }

    /// Where `data` comes from, which is written at `offset` of a file: an archive, an offset there, and how many of
    /// its first bytes are the same. `expected` is tried first.
    pub(crate) fn find(
        &self,
        expected: Option<(&Arc<Entry>, u64)>,
        offset: u64,
        data: &[u8],
    ) -> Option<(Arc<Entry>, u64, usize)> {
        if let Some((archive, at)) = expected {
            let same = self.same(archive, at, data);
            if same > 0 {
                return Some((Arc::clone(archive), at, same));
            }
        }
        let first = &data[..data.len().min(ALIGNED as usize)];
        let (mut best, mut compared) = (None, 0);
        // What was read last is the most likely.
        for piece in self.pieces.iter().rev() {
            let skip = (ALIGNED + offset % ALIGNED - piece.begins % ALIGNED) % ALIGNED;
            let ends = piece.begins + piece.bytes.len() as u64;
            for at in (piece.begins + skip..ends).step_by(ALIGNED as usize) {
                let here = piece.from(at);
                let there = here.len().min(first.len());
                if here[..there] != first[..there] {
                    continue;
                }
                let same = self.same(&piece.archive, at, data);
                compared += same;
                if same >= first.len() && best.as_ref().is_none_or(|(_, _, most)| *most < same) {
                    best = Some((Arc::clone(&piece.archive), at, same));
                }
                if same == data.len() || compared > COMPARED {
                    return best;
                }
            }
        }
        best
    }

    /// How many of the first bytes of `data` an archive has at an offset, as far as that is remembered.
    fn same(&self, archive: &Arc<Entry>, mut at: u64, data: &[u8]) -> usize {
        let mut same = 0;
        while same < data.len() {
            let known = self.pieces.iter().rev().filter(|piece| piece.archive == *archive);
            let Some(known) = known.map(|piece| piece.from(at)).find(|known| !known.is_empty()) else { break };
            let count = known.len().min(data.len() - same);
            let (one, other) = (&known[..count], &data[same..same + count]);
            if one != other {
                return same + one.iter().zip(other).take_while(|(one, other)| one == other).count();
            }
            same += count;
            at += count as u64;
        }
        same
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn archive() -> Arc<Entry> {
        Arc::new(Entry { name: "a.tar".to_owned(), size: 1 << 30, modified: None, link: false })
    }

    fn noise(count: usize, seed: u64) -> Vec<u8> {
        let mut state = seed | 1;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state as u8
        };
        (0..count).map(|_| next()).collect()
    }

    proptest! {
        #[test]
        fn what_was_read_is_found_however_it_was_read_and_is_written(
            cuts in proptest::collection::vec(1..40_000_usize, 1..12),
            member in 0..150_u64,
            from in 0..3000_u64,
            count in 1..60_000_usize,
        ) {
            let (bytes, archive) = (noise(200_000, 11), archive());
            let (mut recent, mut at) = (Recent::default(), 0);
            for cut in cuts.iter().cycle() {
                let ends = (at + cut).min(bytes.len());
                recent.push(&archive, at as u64, &Bytes::copy_from_slice(&bytes[at..ends]));
                at = ends;
                if at == bytes.len() { break }
            }
            // A member begins at a multiple of 512, and a write somewhere in it.
            let at = (member * 512 + from) as usize;
            let data = &bytes[at..(at + count).min(bytes.len())];
            let (_, found, same) = recent.find(None, from, data).unwrap();
            prop_assert!(same == data.len() && bytes[found as usize..found as usize + same] == *data);
        }
    }

    #[test]
    fn other_bytes_are_not_found_and_a_likely_place_comes_first() {
        let (mut recent, archive, bytes) = (Recent::default(), archive(), noise(100_000, 3));
        recent.push(&archive, 0, &bytes.clone().into());
        assert!(recent.find(None, 0, &noise(4096, 5)).is_none());
        // Also what no search would find, because it is not aligned; and as much of it as is the same.
        assert!(recent.find(None, 0, &bytes[77..5000]).is_none());
        let mut half = bytes[77..5000].to_vec();
        half.extend_from_slice(&noise(100, 9));
        let (_, at, same) = recent.find(Some((&archive, 77)), 0, &half).unwrap();
        assert!(at == 77 && (4923..4930).contains(&same));
    }

    #[test]
    fn only_so_much_is_remembered() {
        let (mut recent, archive) = (Recent::default(), archive());
        for step in 0..20 {
            recent.push(&archive, step << 20, &noise(1 << 20, step + 1).into());
        }
        assert!(recent.held <= WINDOW && recent.pieces.len() == WINDOW >> 20);
        assert!(recent.find(None, 0, &noise(1 << 20, 1)).is_none());
        assert!(recent.find(None, 0, &noise(1 << 20, 20)).is_some());
        // What is the same everywhere is found at its first place.
        let mut zeros = Recent::default();
        zeros.push(&archive, 0, &vec![0; 4 << 20].into());
        let mut data = vec![0; 1 << 20];
        data.push(1);
        assert!(zeros.find(None, 0, &data).is_some_and(|(_, _, same)| same == 1 << 20));
    }
}
