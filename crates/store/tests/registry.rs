//! What the registry of destinations promises: addresses are understood, and the documentation names each kind and key.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;

use store::{Address, registry::SCHEMES};

/// For servers that follow a service's protocol, such as those of the tests.
const UNDOCUMENTED: [&str; 3] = ["api_url", "upload_url", "oauth_url"];

#[test]
fn every_example_is_an_address_with_its_own_keys() {
    let mut names = BTreeSet::new();
    for scheme in SCHEMES {
        let (first, _) = scheme.example.split_once("://").unwrap();
        assert_eq!(first, scheme.names[0], "the example has the recommended name");
        for name in scheme.names {
            assert!(names.insert(*name), "{name} is there twice");
            let address = Address::parse(&scheme.example.replacen(first, name, 1)).unwrap();
            assert_eq!(store::keys(&address), scheme.keys, "{name}");
        }
    }
    assert_eq!(store::keys(&Address::parse("/backups").unwrap()), &[] as &[&str]);
    assert_eq!(
        store::keys(&Address::parse("vault+/backups").unwrap()),
        ["vault_password_file", "vault_key_file"],
        "a vault has keys of its own"
    );
}

#[test]
fn the_documentation_names_every_kind_and_key() {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/DESTINATIONS.md")).unwrap();
    for scheme in SCHEMES {
        let name = scheme.names[0];
        let is_there =
            text.contains(&format!("`{name}://")) || text.contains(&format!("`{}(s)://", name.trim_end_matches('s')));
        assert!(is_there, "{name}:// is not in DESTINATIONS.md");
        for key in scheme.keys.iter().filter(|key| !UNDOCUMENTED.contains(key)) {
            assert!(text.contains(&format!("`{key}`")), "{key} of {name} is not in DESTINATIONS.md");
        }
    }
}
