//! Deflate with ISA-L: the only module with `unsafe`. It wraps three C calls each way in two safe types and keeps none
//! of the caller's memory beyond a call.
//!
//! What the arguments below rest on:
//! - Both state structs are plain C data (integers, byte arrays, raw pointers), for which all
//!   zeros is a valid value; the library's own `init` runs before anything else reads them.
//! - The library reads only `[next_in, next_in + avail_in)`, writes only
//!   `[next_out, next_out + avail_out)`, its state and the level buffer. Its signatures take
//!   `*mut` for input, but it never writes there.
//! - The states live in boxes, so they do not move while the library works on them, and the
//!   library keeps no pointers into them.

use std::ptr;

use isal_sys::igzip_lib as c;

use super::step::{Damaged, Step};
use crate::format::WINDOW;

/// Deflates pieces, one after another, each on its own.
pub(crate) struct IsalDeflate {
    stream: Box<c::isal_zstream>,
    /// Hash tables and the tokens of the block under way; `u128` for the alignment `malloc` gives.
    level_buffer: Box<[u128]>,
    level: u32,
}

// SAFETY: the raw pointers inside `stream` are null or point to the library's constant tables
// between calls; everything else is owned.
unsafe impl Send for IsalDeflate {}

impl IsalDeflate {
    /// `level` is 1, 2 or 3.
    pub(crate) fn new(level: u32) -> Self {
        debug_assert!((1..=3).contains(&level));
        // SAFETY: all zeros is a valid value (see above).
        let mut stream: Box<c::isal_zstream> = unsafe { Box::new_zeroed().assume_init() };
        // SAFETY: a valid, exclusively borrowed struct.
        unsafe { c::isal_deflate_init(&raw mut *stream) };
        Self {
            stream,
            level_buffer: vec![0; level_buffer_len(level).div_ceil(size_of::<u128>())].into_boxed_slice(),
            level,
        }
    }

    /// See [`crate::codec::Encoder::deflate`].
    pub(crate) fn piece(&mut self, dictionary: &[u8], input: &[u8], out: &mut [u8]) -> Result<Option<usize>, String> {
        debug_assert!(dictionary.len() <= WINDOW);
        let (Ok(avail_in), Ok(avail_out)) = (input.len().try_into(), out.len().try_into()) else {
            return Err("a piece does not fit into 32 bits".to_owned());
        };
        // The library clears its hash table only for a stream without a dictionary. What an
        // earlier piece left there would make the output depend on which thread did which piece.
        self.level_buffer[..level_struct_len(self.level).div_ceil(size_of::<u128>())].fill(0);

        let stream = &mut *self.stream;
        // SAFETY: a valid, exclusively borrowed, initialised struct.
        unsafe { c::isal_deflate_reset(stream) };
        stream.level = self.level;
        stream.level_buf = self.level_buffer.as_mut_ptr().cast();
        stream.level_buf_size = size_of_val(&*self.level_buffer) as u32; // below 1 MiB
        stream.gzip_flag = c::IGZIP_DEFLATE as u16;
        stream.flush = c::SYNC_FLUSH as u16;
        stream.end_of_stream = 0;
        if !dictionary.is_empty() {
            // SAFETY: the call copies `dictionary.len()` bytes, at most a window, into the state.
            let status =
                unsafe { c::isal_deflate_set_dict(stream, dictionary.as_ptr().cast_mut(), dictionary.len() as u32) };
            if status != c::COMP_OK as i32 {
                return Err(format!("the dictionary was refused (ISA-L {status})"));
            }
        }
        stream.next_in = input.as_ptr().cast_mut();
        stream.avail_in = avail_in;
        stream.next_out = out.as_mut_ptr();
        stream.avail_out = avail_out;
        // SAFETY: the three buffers are as long as stated and borrowed for the whole call; the
        // level buffer is at least the minimum the library checks for the level.
        let status = unsafe { c::isal_deflate(stream) };
        let complete = stream.avail_in == 0
            && stream.avail_out > 0
            && stream.internal_state.state == c::isal_zstate_state_ZSTATE_NEW_HDR;
        let written = out.len() - stream.avail_out as usize;
        stream.next_in = ptr::null_mut();
        stream.next_out = ptr::null_mut();
        stream.level_buf = ptr::null_mut();
        if status != c::COMP_OK as i32 {
            return Err(format!("ISA-L reported {status}"));
        }
        Ok(complete.then_some(written))
    }
}

/// A larger buffer makes longer blocks and so fewer Huffman tables: faster, but each fits less well. On a recorder
/// database, with the small buffer level 1 loses a seventh of its speed for 0.5 % of the output, level 3 a tenth for
/// the same gain, which suits those who chose level 3.
fn level_buffer_len(level: u32) -> usize {
    let length = match level {
        1 => c::ISAL_DEF_LVL1_DEFAULT,
        2 => c::ISAL_DEF_LVL2_DEFAULT,
        _ => c::ISAL_DEF_LVL3_SMALL,
    };
    length as usize
}

/// The part of the level buffer that holds the hash table.
fn level_struct_len(level: u32) -> usize {
    let length = match level {
        1 => c::ISAL_DEF_LVL1_MIN,
        2 => c::ISAL_DEF_LVL2_MIN,
        _ => c::ISAL_DEF_LVL3_MIN,
    };
    length as usize
}

/// Inflates one raw deflate stream after another.
pub(crate) struct IsalInflate(Box<c::inflate_state>);

// SAFETY: the raw pointers inside the state are null between calls; everything else is owned.
unsafe impl Send for IsalInflate {}

impl IsalInflate {
    pub(crate) fn new() -> Self {
        // SAFETY: all zeros is a valid value (see above).
        let mut state: Box<c::inflate_state> = unsafe { Box::new_zeroed().assume_init() };
        // SAFETY: a valid, exclusively borrowed struct.
        unsafe { c::isal_inflate_init(&raw mut *state) };
        Self(state)
    }

    pub(crate) fn reset(&mut self) {
        // SAFETY: a valid, exclusively borrowed struct. `init` also clears every field the library
        // reads before it writes; the buffers inside are guarded by those fields.
        unsafe { c::isal_inflate_init(&raw mut *self.0) };
    }

    /// See [`crate::codec::Decoder::inflate`].
    pub(crate) fn step(&mut self, input: &[u8], output: &mut [u8]) -> Result<Step, Damaged> {
        // More than 32 bits at once would be truncated; the caller comes back for the rest.
        const MOST: usize = 1 << 30;
        let input = &input[..input.len().min(MOST)];
        let space = output.len().min(MOST);
        let output = &mut output[..space];
        let state = &mut *self.0;
        state.next_in = input.as_ptr().cast_mut();
        state.avail_in = input.len() as u32;
        state.next_out = output.as_mut_ptr();
        state.avail_out = output.len() as u32;
        // The library only adds to it; starting from zero keeps it from ever overflowing.
        state.total_out = 0;
        // SAFETY: both buffers are as long as stated and borrowed for the whole call.
        let status = unsafe { c::isal_inflate(state) };
        // After damage in a block header that began in an earlier call the library can leave more to read than it was
        // given.
        let consumed = input.len().checked_sub(state.avail_in as usize);
        let produced = output.len().checked_sub(state.avail_out as usize);
        state.next_in = ptr::null_mut();
        state.next_out = ptr::null_mut();
        if status != c::ISAL_DECOMP_OK as i32 {
            return Err(Damaged);
        }
        let (Some(consumed), Some(produced)) = (consumed, produced) else { return Err(Damaged) };
        let ended = state.block_state == c::isal_block_state_ISAL_BLOCK_FINISH;
        // Whole bytes in the bit buffer were taken from the input but are not part of the stream.
        let unused = if ended { usize::try_from(state.read_in_length / 8).map_err(|_| Damaged)? } else { 0 };
        Ok(Step { consumed, produced, ended, unused })
    }
}
