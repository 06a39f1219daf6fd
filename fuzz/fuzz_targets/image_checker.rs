//! Any bytes as a database image. How it is split must change nothing.
#![no_main]

use haul_fuzz::choice;
use libfuzzer_sys::fuzz_target;
use livesqlite::check::{Column, ImageChecker};

fuzz_target!(|data: &[u8]| {
    let Some((seed, image)) = choice(data) else { return };
    let column = Column { table: "t", column: "a", since: 0 };
    let mut whole = ImageChecker::counting(column);
    whole.push(image);
    let mut split = ImageChecker::counting(column);
    let mut rest = image;
    let mut state = u32::from(seed) | 1;
    while !rest.is_empty() {
        state = state.wrapping_mul(1_103_515_245).wrapping_add(12_345);
        let (piece, after) = rest.split_at((state >> 16) as usize % 1500 % (rest.len() + 1));
        split.push(piece);
        rest = after;
    }
    assert_eq!(whole.finish_counted(), split.finish_counted());
});
