//! Any bytes as `backup.json`. What was read and written again is the same.
#![no_main]

use habackup::{
    manifest::{Manifest, WallTime, check_name, file_name, slug},
    version::HaVersion,
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(text) = std::str::from_utf8(data) {
        let _ =
            (text.parse::<HaVersion>().map(|version| version.uses_securetar_v3()), check_name(text), slug(text, text));
        if let Ok(date) = text.parse::<WallTime>() {
            let _ = (file_name(text, &date), date.timestamp(), date.has_zone());
            assert_eq!(date.to_string().parse::<WallTime>().as_ref(), Ok(&date));
        }
    }
    let Ok(manifest) = Manifest::parse(data) else { return };
    for problem in manifest.check() {
        assert!(!problem.to_string().is_empty());
    }
    let _ = (manifest.folders(), manifest.addons(), manifest.inner_archives(), manifest.home_assistant_version());
    assert_eq!(Manifest::parse(&manifest.to_json()).expect("what was written can be read"), manifest);
});
