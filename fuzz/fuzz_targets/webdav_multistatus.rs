//! Any text as a WebDAV server's answer. Steps of a path never hold a slash.
#![no_main]

// The parser alone: with all kinds of destinations around it, building takes much longer.
#[allow(dead_code)]
#[path = "../../crates/store/src/webdav/multistatus.rs"]
mod multistatus;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let text = String::from_utf8_lossy(data);
    let _ = (multistatus::message(&text), multistatus::steps(&text));
    let Ok(resources) = multistatus::parse(&text) else { return };
    assert!(resources.len() <= text.len() / 8);
    for folder in resources.iter().take(3).map(|resource| resource.steps.clone()).collect::<Vec<_>>() {
        for child in multistatus::children(resources.clone(), &folder) {
            assert_eq!(child.steps.len(), folder.len() + 1);
        }
    }
});
