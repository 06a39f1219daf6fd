//! Any bytes as an outer archive: its members, its description, its problems.
#![no_main]

use std::io::Read;

use habackup::archive::Archive;
use haul_fuzz::any_archive;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((_, bytes)) = any_archive(data) else { return };
    let Ok(archive) = Archive::open(&bytes) else { return };
    for problem in archive.problems() {
        assert!(!problem.to_string().is_empty());
    }
    for member in archive.members() {
        let mut body = Vec::new();
        archive.body(member).read_to_end(&mut body).expect("memory can be read");
        assert!(body.len() as u64 <= member.size);
        let _ = archive.member(&member.name);
    }
    let _ = (
        archive.home_assistant(),
        archive.inner_archives().count(),
        archive.tail(),
        archive.manifest().map(|manifest| manifest.check()),
    );
});
