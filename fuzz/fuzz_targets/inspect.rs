//! Any bytes, inspected: an archive, a damaged one, or no archive at all.
#![no_main]

use std::{cell::RefCell, fs};

use engine::inspect::{InspectOptions, inspect};
use habackup::{readers::Asked, securetar::Password};
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
        let asked = if flags & 4 == 0 { Asked::All } else { Asked::Able };
        let options = InspectOptions {
            password: (flags & 1 == 0).then(|| Password::new("correct horse")),
            rows: flags & 2 == 0,
            asked: asked.clone(),
        };
        let found = inspect(&archive, &options, &|_, _| {}, &Default::default()).expect(
            "whatever it is, something \
            can be said of it",
        );
        assert!(if asked == Asked::All { found.verdicts.len() == 3 } else { !found.verdicts.is_empty() });
        assert!(found.is_restored_everywhere() || !found.findings.is_empty(), "a verdict has a reason");
    });
});
