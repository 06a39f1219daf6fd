//! Any bytes as an index, with and without a checksum that fits.
#![no_main]

use habackup::index::Index;
use haul_fuzz::{choice, index_around};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((mode, rest)) = choice(data) else { return };
    let whole;
    let bytes = if mode & 1 == 1 {
        whole = index_around(rest);
        &whole[..]
    } else {
        rest
    };
    let Ok(index) = Index::parse(bytes) else { return };
    let mut count = 0;
    let mut position = 0;
    for file in index.files() {
        assert!(file.header_offset >= position && file.data_offset >= file.header_offset);
        position = file.data_offset + file.size;
        count += 1;
    }
    assert_eq!(count, index.len());
    let _ = (index.member(), index.pieces(), index.nonces().len());
});
