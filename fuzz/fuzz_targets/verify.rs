//! Any archive, verified.
#![no_main]

use std::{cell::RefCell, fs, num::NonZeroUsize};

use engine::verify::{VerifyOptions, verify};
use habackup::securetar::Password;
use haul_fuzz::{Scratch, any_archive, needs_argon2};
use libfuzzer_sys::fuzz_target;

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::new(Scratch::new());
}

fuzz_target!(|data: &[u8]| {
    let Some((flags, bytes)) = any_archive(data) else { return };
    if needs_argon2(&bytes) {
        return;
    }
    SCRATCH.with_borrow(|scratch| {
        let archive = scratch.path().join("archive.tar");
        fs::write(&archive, &bytes).expect("the archive is written");
        let options = VerifyOptions {
            password: (flags & 1 == 0).then(|| Password::new("correct horse")),
            threads: NonZeroUsize::new(1 + usize::from(flags >> 1 & 1)).expect("one or two"),
        };
        if let Ok(found) = verify(&archive, &options, &|_, _| {}, &Default::default()) {
            let _ = found.is_good();
        }
    });
});
