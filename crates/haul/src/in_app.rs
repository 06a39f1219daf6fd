//! Whether this is an app of Home Assistant, and the folders of the machine's own disk that Supervisor gives to apps.

use std::{
    path::{Component, Path, PathBuf},
    sync::OnceLock,
};

/// A process is an app from its start to its end, or it is none.
static IS_APP: OnceLock<()> = OnceLock::new();

/// From now on, this is an app.
pub(crate) fn this_is_an_app() {
    let _ = IS_APP.set(());
}

/// Whether this is an app of Home Assistant.
pub(crate) fn is_app() -> bool {
    IS_APP.get().is_some()
}

/// Each is a mount in the app's container.
pub(crate) const FOLDERS: &[&str] =
    &["/addons", "/backup", "/config", "/data", "/homeassistant", "/local_apps", "/media", "/share", "/ssl"];
/// In these, network storage of Home Assistant appears as a folder of its name.
const STORAGE: &[&str] = &["/media", "/share"];

/// The folder at which Home Assistant has its network storage, if a directory can be in one: `/share/NAME`.
pub(crate) fn storage_of(directory: &Path) -> Option<PathBuf> {
    let root = STORAGE.iter().find(|root| directory.starts_with(root))?;
    match directory.strip_prefix(root).ok()?.components().next()? {
        Component::Normal(name) => Some(Path::new(root).join(name)),
        _ => None,
    }
}

/// The one of [`FOLDERS`] that a directory is in. A backup of everything contains it, with all that is in it but network
/// storage. Asks no file system: network storage may be away.
pub(crate) fn folder_of(directory: &Path) -> Option<&'static str> {
    FOLDERS.iter().copied().find(|folder| directory.starts_with(folder))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn network_storage_is_a_folder_right_below_share() {
        for (path, storage) in [
            ("/share/nas/everything", Some("/share/nas")),
            ("/share/nas", Some("/share/nas")),
            ("/share", None),
            ("/share/..", None),
            ("/shared/nas", None),
            ("/mnt/nas", None),
        ] {
            assert_eq!(storage_of(Path::new(path)), storage.map(PathBuf::from), "{path}");
        }
        assert_eq!(folder_of(Path::new("/share/x/y")), Some("/share"));
        assert_eq!(folder_of(Path::new("/shared/x")), None);
    }
}
