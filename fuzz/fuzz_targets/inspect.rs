//! Any bytes, looked at: an archive, a damaged one, or no archive at all.
#![no_main]

use std::{cell::RefCell, fs, sync::atomic::AtomicBool};

use engine::inspect::{InspectOptions, inspect};
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
        let options = InspectOptions { password: (flags & 1 == 0).then(|| Password::new("correct horse")), rows: flags & 2 == 0, ..InspectOptions::default() };
        let found = inspect(&archive, &options, &|_, _| {}, &AtomicBool::new(false)).expect("whatever it is, something can be said of it");
        assert_eq!(found.verdicts.len(), 3);
        assert!(found.is_restored_everywhere() || !found.findings.is_empty(), "a verdict has a reason");
    });
});
