//! Any bytes as a tar stream. How the source splits its reads must change nothing.
#![no_main]

use std::{
    hash::{DefaultHasher, Hasher},
    io::Read,
};

use habackup::tar::Reader;
use haul_fuzz::{Dribble, choice, mend_tar};
use libfuzzer_sys::fuzz_target;

fn walk(source: impl Read) -> Vec<String> {
    let mut reader = Reader::new(source);
    let mut seen = Vec::new();
    loop {
        match reader.next_entry() {
            Ok(Some(entry)) => {
                let body = hash(&mut reader);
                assert!(entry.header_offset <= entry.ustar_offset && entry.ustar_offset < entry.data_offset);
                seen.push(format!("{entry:?} {} {} {body}", entry.sizes_disagree(), entry.end_offset()));
            }
            Ok(None) => break,
            Err(error) => {
                seen.push(error.to_string());
                break;
            }
        }
    }
    let proper = reader.ended_properly();
    seen.push(format!(
        "{proper} {:?} {:?}",
        reader.stained_padding(),
        reader.finish().map_err(|error| error.to_string())
    ));
    seen
}

fn hash(reader: &mut impl Read) -> String {
    let (mut hasher, mut length, mut buffer) = (DefaultHasher::new(), 0, [0; 4096]);
    loop {
        match reader.read(&mut buffer) {
            Ok(0) => return format!("{length} {:x}", hasher.finish()),
            Ok(count) => {
                // Byte by byte: a hasher may tell splits apart.
                buffer[..count].iter().for_each(|byte| hasher.write_u8(*byte));
                length += count;
            }
            Err(error) => return error.to_string(),
        }
    }
}

fuzz_target!(|data: &[u8]| {
    let Some((mode, rest)) = choice(data) else { return };
    let mut bytes = rest.to_vec();
    if mode & 1 == 1 {
        mend_tar(&mut bytes);
    }
    assert_eq!(walk(&bytes[..]), walk(Dribble(&bytes[..])));
});
