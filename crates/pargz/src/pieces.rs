//! Inflates one piece by the table: reads its compressed bytes, and checks that it has exactly the lengths that the
//! table gives on both sides.

use std::io;

use crate::{
    InflateError, Meters, PieceTable, ReadAt,
    codec::{Decoder, Step},
    format::FINAL_BLOCK,
};

/// Reads `buf` and says where the bytes end if they end too early.
pub(crate) fn read_at(body: &(impl ReadAt + ?Sized), buf: &mut [u8], offset: u64) -> Result<(), InflateError> {
    body.read_exact_at(buf, offset).map_err(|error| {
        if error.kind() == io::ErrorKind::UnexpectedEof {
            InflateError::Truncated { at: body.len() }
        } else {
            InflateError::Io(error)
        }
    })
}

/// Compressed bytes that are read at once where only the beginning of a piece is wanted.
const STEP: u64 = 32 << 10;
/// The tables of a deflate block, which precede its content.
const MARGIN: u64 = 2 << 10;

/// Where the compressed bytes end that hold the first `wanted` bytes of a piece that is `full` bytes long, most likely:
/// pieces are not equally dense everywhere. What is missing is read when it shows, what is too much was small.
pub(crate) fn likely_end(length: u32, wanted: usize, full: usize) -> u64 {
    let length = u64::from(length);
    if wanted >= full {
        return length;
    }
    let share = (u128::from(length) * wanted as u128 / full.max(1) as u128) as u64;
    (share + share / 8 + MARGIN).next_multiple_of(STEP).min(length)
}

/// Inflates pieces one by one. Within a group they must come in order from the first; each group
/// is a deflate stream of its own.
pub(crate) struct PieceInflater {
    decoder: Decoder,
    compressed: Vec<u8>,
}

impl PieceInflater {
    pub(crate) fn new() -> Self {
        Self { decoder: Decoder::new(), compressed: Vec::new() }
    }

    /// Forgets the group under way, to begin another at its first piece.
    pub(crate) fn restart(&mut self) {
        self.decoder.reset();
    }

    /// Inflates `piece`, whose compressed bytes begin at `offset`, into `out`, which is as long as
    /// the piece. `table` has passed its check.
    pub(crate) fn inflate(
        &mut self,
        body: &(impl ReadAt + ?Sized),
        table: &PieceTable,
        piece: usize,
        offset: u64,
        out: &mut [u8],
        meters: &Meters,
    ) -> Result<(), InflateError> {
        let length = table.lengths[piece] as usize;
        self.compressed.resize(length, 0);
        meters.reading.time(|| read_at(body, &mut self.compressed, offset))?;
        meters.took(length);
        meters.working.time(|| {
            self.fill(out, offset)?;
            if table.ends_group(piece) {
                // The group is complete at a byte boundary exactly if it can be ended here.
                let at = offset + length as u64;
                let step = self.step(&FINAL_BLOCK, &mut [0], at)?;
                if !step.ended || step.produced > 0 || step.unused > 0 {
                    return Err(InflateError::Corrupt { at });
                }
            }
            Ok(())
        })
    }

    /// Inflates the beginning of `piece` into `out`, which is shorter than the piece, and reads no more of the
    /// compressed bytes than that takes, give or take a step. The group can't be gone on with after that.
    pub(crate) fn inflate_beginning(
        &mut self,
        body: &(impl ReadAt + ?Sized),
        table: &PieceTable,
        piece: usize,
        offset: u64,
        out: &mut [u8],
    ) -> Result<(), InflateError> {
        let length = u64::from(table.lengths[piece]);
        let mut fetched = 0;
        let mut filled = 0;
        while filled < out.len() {
            if fetched == length {
                return Err(InflateError::Corrupt { at: offset + fetched });
            }
            self.compressed.resize((length - fetched).min(STEP) as usize, 0);
            read_at(body, &mut self.compressed, offset + fetched)?;
            let compressed = std::mem::take(&mut self.compressed);
            let mut taken = 0;
            loop {
                let at = offset + fetched + taken as u64;
                let step = self.step(&compressed[taken..], &mut out[filled..], at)?;
                if step.ended {
                    return Err(InflateError::Corrupt { at });
                }
                taken += step.consumed;
                filled += step.produced;
                if filled == out.len() || (step.consumed == 0 && step.produced == 0) {
                    break;
                }
            }
            if filled < out.len() && taken < compressed.len() {
                return Err(InflateError::Corrupt { at: offset + fetched + taken as u64 });
            }
            fetched += compressed.len() as u64;
            self.compressed = compressed;
        }
        Ok(())
    }

    /// Inflates all compressed bytes; they must fill `out` and no more.
    fn fill(&mut self, out: &mut [u8], offset: u64) -> Result<(), InflateError> {
        let compressed = std::mem::take(&mut self.compressed);
        let mut taken = 0;
        let mut filled = 0;
        loop {
            let at = offset + taken as u64;
            // One byte of space after the piece reveals data that should not be there.
            let mut beyond = [0];
            let full = filled == out.len();
            let space = if full { &mut beyond[..] } else { &mut out[filled..] };
            let step = self.step(&compressed[taken..], space, at)?;
            if step.ended || (full && step.produced > 0) {
                return Err(InflateError::Corrupt { at });
            }
            taken += step.consumed;
            filled += step.produced;
            if step.consumed == 0 && step.produced == 0 {
                self.compressed = compressed;
                if full && taken == self.compressed.len() {
                    return Ok(());
                }
                return Err(InflateError::Corrupt { at });
            }
        }
    }

    fn step(&mut self, input: &[u8], output: &mut [u8], at: u64) -> Result<Step, InflateError> {
        self.decoder.inflate(input, output).map_err(|_| InflateError::Corrupt { at })
    }
}
