//! Any bytes as a gzip member. How the source splits its reads must change nothing but how near to a damage it is
//! found.
#![no_main]

use std::io::Read;

use haul_fuzz::Dribble;
use libfuzzer_sys::fuzz_target;
use pargz::Inflater;

/// Enough to show a difference; a bomb need not be inflated to its end.
const MOST: u64 = 8 << 20;

fn inflate(source: impl Read) -> (Vec<u8>, String) {
    let mut inflater = Inflater::new(source);
    let mut plain = Vec::new();
    let outcome = match inflater.by_ref().take(MOST).read_to_end(&mut plain) {
        Err(error) => placeless(&error),
        Ok(_) if plain.len() as u64 == MOST => "long".to_owned(),
        Ok(_) => match inflater.finish() {
            Err(error) => placeless(&error),
            Ok(finished) => {
                assert_eq!(finished.bytes_out, plain.len() as u64);
                let (bytes_in, crc32) = (finished.bytes_in, finished.crc32);
                format!("{bytes_in} {crc32} {:?}", finished.nothing_follows().map_err(|error| error.to_string()))
            }
        },
    };
    (plain, outcome)
}

fn placeless(error: &dyn std::fmt::Display) -> String {
    error.to_string().chars().filter(|character| !character.is_ascii_digit()).collect()
}

fuzz_target!(|data: &[u8]| {
    let (whole, dribbled) = (inflate(data), inflate(Dribble(data)));
    assert_eq!(whole.1, dribbled.1);
    // What precedes damage may come or not.
    assert!(whole.0.starts_with(&dribbled.0) || dribbled.0.starts_with(&whole.0));
});
