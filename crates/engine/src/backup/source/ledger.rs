//! How much longer the compressed data may become than measured. The source decides what to send instead of a block
//! that would not fit.
//!
//! If two tars differ in one block, their compressed forms may differ in every piece that holds some of the block, and
//! in the next piece if the block reaches into the history that piece is primed with. No piece grows beyond its stored
//! form. So a changed block may be sent if the credit covers that growth for each of its pieces; once a piece is
//! written, its real growth replaces the reservation.

use std::{
    collections::BTreeMap,
    ops::Range,
    sync::{Mutex, PoisonError},
};

use pargz::{PIECE, PieceTable};

/// A piece may refer to so many bytes before it.
const HISTORY: u64 = 32 << 10;

/// What the pieces were measured as, and the credit.
pub(crate) struct Ledger {
    measured: PieceTable,
    state: Mutex<State>,
}

struct State {
    credit: i64,
    /// By piece, the most it can grow by.
    reserved: BTreeMap<u64, i64>,
}

impl Ledger {
    /// `credit`: bytes that changed blocks may cost in all.
    pub(crate) fn new(measured: PieceTable, credit: u64) -> Self {
        Self { measured, state: Mutex::new(State { credit: credit as i64, reserved: BTreeMap::new() }) }
    }

    /// May these bytes of the tar be others than they were?
    pub(crate) fn grants(&self, changed: Range<u64>) -> bool {
        if changed.is_empty() {
            return true;
        }
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let growths: Vec<(u64, i64)> = self
            .concerned(changed)
            .filter(|piece| !state.reserved.contains_key(piece))
            .map(|piece| (piece, self.growth(piece)))
            .collect();
        let wanted: i64 = growths.iter().map(|(_, growth)| growth).sum();
        let promised: i64 = state.reserved.values().sum();
        let granted = promised + wanted <= state.credit;
        if granted {
            state.reserved.extend(growths);
        }
        granted
    }

    /// The piece was compressed to so many bytes.
    pub(crate) fn settle(&self, piece: u64, length: u32) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.reserved.remove(&piece);
        state.credit -= i64::from(length) - self.length(piece);
    }

    fn concerned(&self, changed: Range<u64>) -> impl Iterator<Item = u64> {
        const SIZE: u64 = PIECE as u64;
        let (first, last) = (changed.start / SIZE, (changed.end - 1) / SIZE);
        let behind = last + 1;
        let is_history =
            changed.end + HISTORY > behind * SIZE && !behind.is_multiple_of(u64::from(self.measured.restart_every));
        let exists = behind * SIZE < self.measured.bytes_in;
        first..=if is_history && exists { behind } else { last }
    }

    fn growth(&self, piece: u64) -> i64 {
        let left = self.measured.bytes_in.saturating_sub(piece * PIECE as u64);
        pargz::longest_piece(left.min(PIECE as u64) as usize) as i64 - self.length(piece)
    }

    fn length(&self, piece: u64) -> i64 {
        self.measured.lengths.get(piece as usize).map_or(0, |length| i64::from(*length))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = PIECE as u64;

    /// Pieces that can grow by 1000 bytes each.
    fn ledger(credit: u64) -> Ledger {
        let length = pargz::longest_piece(PIECE) as u32 - 1000;
        Ledger::new(
            PieceTable {
                piece_size: PIECE as u32,
                restart_every: 4,
                header_len: 10,
                lengths: vec![length; 8],
                bytes_in: 8 * MIB,
                crc32: 0,
            },
            credit,
        )
    }

    fn pieces(ledger: &Ledger, range: Range<u64>) -> Vec<u64> {
        ledger.concerned(range).collect()
    }

    #[test]
    fn a_change_concerns_its_pieces_and_the_one_that_looks_back_at_it() {
        let ledger = ledger(0);
        assert_eq!(pieces(&ledger, 0..1), [0]);
        assert_eq!(pieces(&ledger, MIB - HISTORY - 1..MIB - HISTORY), [0]);
        assert_eq!(pieces(&ledger, MIB - HISTORY..MIB - HISTORY + 1), [0, 1]);
        assert_eq!(pieces(&ledger, MIB - 5..MIB + 5), [0, 1]);
        assert_eq!(pieces(&ledger, 4 * MIB - 5..4 * MIB), [3], "the next begins anew");
        assert_eq!(pieces(&ledger, 8 * MIB - 5..8 * MIB), [7], "there is no next");
        assert_eq!(pieces(&ledger, 2 * MIB..4 * MIB - HISTORY), [2, 3]);
    }

    #[test]
    fn the_credit_is_never_promised_twice() {
        let ledger = ledger(2500);
        assert!(ledger.grants(0..10));
        assert!(ledger.grants(100..200), "the same piece needs no more");
        assert!(ledger.grants(4 * MIB..4 * MIB + 1));
        assert!(!ledger.grants(6 * MIB..6 * MIB + 1), "2000 are promised");
        let measured = pargz::longest_piece(PIECE) as u32 - 1000;
        ledger.settle(0, measured + 100);
        assert!(ledger.grants(6 * MIB..6 * MIB + 1), "piece 0 cost only 100");
        ledger.settle(4, measured + 1000);
        ledger.settle(6, measured - 600);
        // 2500 - 100 - 1000 + 600.
        assert!(ledger.grants(2 * MIB..3 * MIB - HISTORY - 1) && ledger.grants(5 * MIB..5 * MIB + 1));
        assert!(!ledger.grants(7 * MIB..7 * MIB + 1));
    }
}
