//! Any piece table over any member. What it inflates to must be what the strict stream reader says.
//!
//! | bytes | |
//! |---|---|
//! | 1 | bit 0: the last length is made to fit the member, bit 1: the length of the data is made to fit the pieces, bit 2: the CRC is taken from the trailer |
//! | 1, 1, 1 | restart points, header, number of pieces |
//! | 4, 8 | CRC, uncompressed bytes (in all, or in the last piece) |
//! | 4 each | lengths |
//! | rest | the member |
#![no_main]

use std::{io::Read, num::NonZeroUsize};

use libfuzzer_sys::fuzz_target;
use pargz::{IndexedInflater, Inflater, PIECE, PieceTable, read_range};

fn split(data: &[u8]) -> Option<(PieceTable, &[u8])> {
    let ([flags, restart, header, count], rest) = data.split_first_chunk()?;
    let (crc32, rest) = rest.split_first_chunk()?;
    let (bytes_in, rest) = rest.split_first_chunk()?;
    let (lengths, body) = rest.split_at_checked(usize::from(*count) * 4)?;
    let mut table = PieceTable {
        piece_size: PIECE as u32,
        restart_every: u32::from(*restart),
        header_len: u32::from(*header),
        lengths: lengths.as_chunks().0.iter().map(|length| u32::from_le_bytes(*length)).collect(),
        bytes_in: u64::from_le_bytes(*bytes_in),
        crc32: u32::from_le_bytes(*crc32),
    };
    if flags & 2 == 2 && *count > 0 {
        let full = (u64::from(*count) - 1) * PIECE as u64;
        table.bytes_in = full + table.bytes_in.clamp(1, PIECE as u64);
    }
    if flags & 1 == 1 {
        let described = table.member_len();
        if let Some(last) = table.lengths.last_mut() {
            let others = described - u64::from(*last);
            *last = (body.len() as u64).saturating_sub(others) as u32;
        }
    }
    if flags & 4 == 4
        && let Some(trailer) = body.len().checked_sub(8)
    {
        table.crc32 = u32::from_le_bytes(body[trailer..trailer + 4].try_into().expect("four bytes"));
    }
    Some((table, body))
}

fuzz_target!(|data: &[u8]| {
    let Some((table, body)) = split(data) else { return };
    let threads = NonZeroUsize::new(2).expect("two");
    let mut plain = Vec::new();
    let whole =
        IndexedInflater::new(&table).threads(threads).inflate(body, |reader| reader.read_to_end(&mut plain).is_ok());
    if let Ok(read) = whole {
        assert!(read);
        let mut streamed = Vec::new();
        Inflater::new(body).read_to_end(&mut streamed).expect("the stream reader is no stricter");
        assert!(streamed == plain);
        let middle = table.bytes_in / 3..table.bytes_in / 2;
        let mut part = Vec::new();
        read_range(body, &table, middle.clone()).read_to_end(&mut part).expect("what is whole can be read in part");
        assert!(part == plain[middle.start as usize..middle.end as usize]);
    } else {
        let mut part = Vec::new();
        let _ = read_range(body, &table, 1..table.bytes_in.min(3 << 20)).read_to_end(&mut part);
    }
});
