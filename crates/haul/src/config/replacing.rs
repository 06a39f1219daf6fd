//! Replaces the file in one step, and never what somebody else has written to it meanwhile.

use std::{
    fs,
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use rustix::{
    fs::{CWD, RenameFlags, renameat_with},
    io::Errno,
};

/// The mode of a file that did not exist: it may name accounts and hosts.
const MODE: u32 = 0o600;

/// Replaces a file in one step; owner and mode stay. `false` if it is not what it was `before`.
pub(super) fn replace(path: &Path, before: Option<&str>, content: &[u8]) -> io::Result<bool> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    let old = fs::metadata(path).ok();
    // The next start removes one that is left over.
    let fresh = directory.join(store::owner::temporary_name());
    let done = (|| {
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(MODE).open(&fresh)?;
        if let Some(old) = &old {
            file.set_permissions(fs::Permissions::from_mode(old.mode() & 0o7777))?;
            // Only root may give a file away; whoever may not owns the new one.
            let _ = std::os::unix::fs::fchown(&file, Some(old.uid()), Some(old.gid()));
        }
        file.write_all(content)?;
        file.sync_all()?;
        if !is(path, before)? {
            return Ok(Published::Refused);
        }
        let exchange = |how| renameat_with(CWD, &fresh, CWD, path, how);
        publish((&fresh, content), path, before, exchange)
    })();
    if let Ok(Published::Stranded(_)) = done {
        // What lies there is somebody else's.
    } else if !matches!(done, Ok(Published::Ours)) || before.is_some() {
        // The fresh one that was not wanted, or the old one.
        let _ = fs::remove_file(&fresh);
    }
    match done? {
        Published::Ours => {
            // What only the earlier file names may be removed now: no power cut may bring that one back. Not every file
            // system can do that.
            let _ = fs::File::open(directory).and_then(|directory| directory.sync_all());
            Ok(true)
        }
        Published::Refused => Ok(false),
        Published::Stranded(at) => {
            let at = engine::shown(at.as_os_str().as_encoded_bytes());
            Err(io::Error::other(format!(
                "somebody else changed it at the same moment, and that version is in {at} now"
            )))
        }
    }
}

/// What came of giving a file its name.
#[derive(Debug, PartialEq, Eq)]
enum Published {
    /// It has it.
    Ours,
    /// Somebody else has changed the file, and nothing was done.
    Refused,
    /// Somebody else has changed the file, and their version could only be put there.
    Stranded(PathBuf),
}

/// Whether a file says that; nothing: it does not exist.
fn is(path: &Path, text: Option<&str>) -> io::Result<bool> {
    match fs::read(path) {
        Ok(found) => Ok(text.is_some_and(|text| text.as_bytes() == found)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(text.is_none()),
        Err(error) => Err(error),
    }
}

/// Gives a file its name, so that one that somebody else has written to there at the last moment is not lost: the two
/// change places, and what comes out is looked at. If it is another's, they change back; should that fail, or should
/// what comes out then not be ours, another's version stays beside the file.
fn publish(
    (fresh, content): (&Path, &[u8]),
    path: &Path,
    before: Option<&str>,
    exchange: impl Fn(RenameFlags) -> Result<(), Errno>,
) -> io::Result<Published> {
    let how = if before.is_some() { RenameFlags::EXCHANGE } else { RenameFlags::NOREPLACE };
    match exchange(how) {
        Ok(()) if before.is_none() || is(fresh, before).unwrap_or(false) => Ok(Published::Ours),
        Ok(()) => {
            if exchange(how).is_ok() && fs::read(fresh).is_ok_and(|found| found == content) {
                return Ok(Published::Refused);
            }
            // Under its present name it would be taken for a leftover.
            let names = (1..).map(|number| if number == 1 { "other".to_owned() } else { format!("other-{number}") });
            for aside in names.map(|name| path.with_added_extension(name)) {
                match renameat_with(CWD, fresh, CWD, &aside, RenameFlags::NOREPLACE) {
                    Ok(()) => return Ok(Published::Stranded(aside)),
                    Err(Errno::EXIST) => {}
                    Err(_) => break,
                }
            }
            Ok(Published::Stranded(fresh.to_owned()))
        }
        Err(Errno::EXIST | Errno::NOENT) => Ok(Published::Refused),
        // Not every file system can do that.
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => fs::rename(fresh, path).map(|()| Published::Ours),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    #[test]
    fn what_is_written_at_the_last_moment_comes_back() {
        let directory = tempfile::tempdir().unwrap();
        let (fresh, path) = (directory.path().join("fresh"), directory.path().join("haul.toml"));
        let texts = || [&fresh, &path].map(|path| fs::read_to_string(path).unwrap_or_default());
        fs::write(&fresh, "ours").unwrap();
        fs::write(&path, "by hand").unwrap();
        let exchange = |how| renameat_with(CWD, &fresh, CWD, &path, how);
        let publish = |before| publish((&fresh, b"ours"), &path, before, exchange).unwrap();
        for before in [Some("as it was"), None] {
            assert_eq!(publish(before), Published::Refused);
            assert_eq!(texts(), ["ours", "by hand"]);
        }
        assert_eq!(publish(Some("by hand")), Published::Ours);
        assert_eq!(texts(), ["by hand", "ours"]);
        fs::rename(&path, &fresh).unwrap();
        assert_eq!(publish(Some("by hand")), Published::Refused, "somebody removed it");
        assert_eq!(publish(None), Published::Ours);
        assert_eq!(texts(), ["", "ours"]);
    }

    #[test]
    fn what_can_not_be_put_back_is_not_lost() {
        use std::cell::Cell;
        let directory = tempfile::tempdir().unwrap();
        let names = ["fresh", "haul.toml", "haul.toml.other", "haul.toml.other-2"];
        let [fresh, path, aside, second] = names.map(|name| directory.path().join(name));
        let says = |path: &Path| fs::read_to_string(path).unwrap_or_default();
        // The second exchange fails; or somebody else writes once more before it.
        for (again, aside_is_taken) in [(None, false), (None, true), (Some("by hand again"), true)] {
            fs::write(&fresh, "ours").unwrap();
            fs::write(&path, "by hand").unwrap();
            let _ = (fs::remove_file(&aside), fs::remove_file(&second));
            if aside_is_taken {
                fs::write(&aside, "an older one").unwrap();
            }
            let exchanges = Cell::new(0);
            let exchange = |how| {
                exchanges.set(exchanges.get() + 1);
                match again.filter(|_| exchanges.get() == 2) {
                    _ if exchanges.get() == 1 => {}
                    Some(again) => fs::write(&path, again).unwrap(),
                    None => return Err(Errno::IO),
                }
                renameat_with(CWD, &fresh, CWD, &path, how)
            };
            let at = if aside_is_taken { &second } else { &aside };
            let done = publish((&fresh, b"ours"), &path, Some("as it was"), exchange).unwrap();
            assert_eq!(done, Published::Stranded(at.clone()));
            assert_eq!(
                (says(at).as_str(), says(&path).as_str()),
                match again {
                    None => ("by hand", "ours"),
                    Some(again) => (again, "by hand"),
                }
            );
        }
    }
}
