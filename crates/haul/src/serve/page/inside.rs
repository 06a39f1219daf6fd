//! What an archive says that it holds: Home Assistant, apps and folders with their sizes.

use std::collections::BTreeMap;

use engine::inventory;
use habackup::{archive::Archive, manifest::Manifest, read_at::ReadAt};
use web::backend::{Inside, InsidePart};

use crate::{failure::Failure, text};

/// What an archive says that it holds, and how much of it that takes.
pub(super) fn inside<S: ReadAt>(file: S, label: &str) -> Result<Inside, Failure> {
    let archive = Archive::open(file)
        .map_err(|error| Failure::new(crate::failure::FAILED, format!("{label} can't be read: {error}")))?;
    let unknown = || Failure::usage(format!("{label} does not say what is in it")).hint("look into it instead");
    let manifest = archive.manifest().ok_or_else(unknown)?;
    let sizes = archive.inner_archives().map(|member| (inventory::bare_name(&member.name).to_owned(), member.size));
    Ok(parts(manifest, &sizes.collect()))
}

fn parts(manifest: &Manifest, sizes: &BTreeMap<String, u64>) -> Inside {
    let size = |base: &str| sizes.get(base).copied();
    let text = |text: &str| Some(text::sanitize(text)).filter(|text| !text.is_empty());
    let home_assistant = manifest.home_assistant_version().map(|version| InsidePart {
        id: String::new(),
        name: "Home Assistant".to_owned(),
        version: text(version),
        size: size("homeassistant"),
    });
    let apps = manifest.addons().into_iter().map(|app| InsidePart {
        id: text::sanitize(app.slug),
        name: text(app.name).unwrap_or_else(|| text::sanitize(app.slug)),
        version: text(app.version),
        size: size(app.slug),
    });
    // Old descriptions list the configuration as a folder.
    let folders = manifest.folders().into_iter().filter(|folder| *folder != "homeassistant").map(|folder| InsidePart {
        id: text::sanitize(folder),
        name: text::sanitize(folder),
        version: None,
        size: size(&folder.replace('/', "_")),
    });
    Inside { home_assistant, apps: apps.collect(), folders: folders.collect() }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    #[test]
    fn what_the_description_does_not_say_is_left_out() {
        let description = br#"{"homeassistant": {"version": "2026.11.0"}, "folders": ["addons/local", "ssl"],
            "addons": [{"slug": "core_ssh", "name": "", "version": "9.1"}, {"name": "No slug"}]}"#;
        let sizes = [("core_ssh".to_owned(), 7), ("addons_local".to_owned(), 9)].into();
        let inside = parts(&Manifest::parse(description).unwrap(), &sizes);
        let told = |part: &InsidePart| (part.name.clone(), part.version.clone(), part.size);
        assert_eq!(inside.home_assistant.as_ref().map(told).unwrap().1.as_deref(), Some("2026.11.0"));
        assert_eq!(
            inside.apps.iter().map(told).collect::<Vec<_>>(),
            [("core_ssh".to_owned(), Some("9.1".to_owned()), Some(7))]
        );
        let folders: Vec<_> = inside.folders.iter().map(told).collect();
        assert_eq!(folders, [("addons/local".to_owned(), None, Some(9)), ("ssl".to_owned(), None, None)]);
    }
}
