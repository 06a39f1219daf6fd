//! Any pattern against any path; a zero byte separates them.
#![no_main]

use habackup::rules::{Pattern, Rules, what_restore_drops};
use habackup::tar::Kind;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let mut parts = data.splitn(2, |byte| *byte == 0);
    let (Some(text), Some(path)) = (parts.next(), parts.next()) else { return };
    let _ = what_restore_drops(path, Kind::Symlink, text);
    let mut rules = Rules::new(false);
    let Ok(pattern) = Pattern::new(text) else {
        assert!(rules.exclude(text).is_err());
        return;
    };
    rules.exclude(text).expect("a pattern");
    // Nothing is called that, and no pattern is asked.
    let nameless = path.split(|byte| *byte == b'/').all(|name| matches!(name, b"" | b"."));
    if pattern.matches(path) && !nameless {
        assert!(pattern.covers(path));
        assert!(rules.exclusion(path).is_some());
    }
    if pattern.covers(path) {
        assert!(rules.exclusion_with_parents(path).is_some());
    }
});
