//! Any bytes as a database image. How it is split must change nothing.
#![no_main]

use haul_fuzz::choice;
use libfuzzer_sys::fuzz_target;
use livesqlite::check::ImageChecker;

fuzz_target!(|data: &[u8]| {
    let Some((seed, image)) = choice(data) else { return };
    let mut whole = ImageChecker::new();
    whole.push(image);
    let mut split = ImageChecker::new();
    let mut rest = image;
    let mut state = u32::from(seed) | 1;
    while !rest.is_empty() {
        state = state.wrapping_mul(1_103_515_245).wrapping_add(12_345);
        let (piece, after) = rest.split_at((state >> 16) as usize % 1500 % (rest.len() + 1));
        split.push(piece);
        rest = after;
    }
    assert_eq!(whole.finish(), split.finish());
});
