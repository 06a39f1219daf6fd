//! Config directories of Home Assistants that run in containers: what is mounted at `/config` there, as processes on
//! this machine show it.

use std::{
    fs,
    os::unix::ffi::OsStringExt,
    path::{Path, PathBuf},
};

/// Where Home Assistant's containers have their configuration.
const CONFIG: &str = "/config";

/// A line of `mountinfo`.
struct Mount {
    /// Number of the file system.
    device: String,
    /// The mounted directory within the file system.
    root: PathBuf,
    /// Where it is mounted.
    at: PathBuf,
}

/// As this process can reach them, if it can.
pub(super) fn config_directories() -> Vec<PathBuf> {
    let own = fs::read_to_string("/proc/self/mountinfo").map(|text| mounts(&text)).unwrap_or_default();
    let mut found = Vec::new();
    for process in fs::read_dir("/proc").into_iter().flatten().flatten() {
        if !process.file_name().to_string_lossy().bytes().all(|byte| byte.is_ascii_digit()) {
            continue;
        }
        let Ok(text) = fs::read_to_string(process.path().join("mountinfo")) else { continue };
        let inside = mounts(&text).into_iter().find(|mount| mount.at == Path::new(CONFIG));
        for path in inside.map(|mount| here(&mount, &own)).unwrap_or_default() {
            if !found.contains(&path) {
                found.push(path);
            }
        }
    }
    found
}

/// Where that directory is among the mounts of this process.
fn here(there: &Mount, own: &[Mount]) -> Vec<PathBuf> {
    let same = own.iter().filter(|mount| mount.device == there.device);
    same.filter_map(|mount| {
        let below = there.root.strip_prefix(&mount.root).ok()?;
        // Joining nothing would end the path in a slash.
        Some(if below.as_os_str().is_empty() { mount.at.clone() } else { mount.at.join(below) })
    })
    .collect()
}

fn mounts(text: &str) -> Vec<Mount> {
    let mount = |line: &str| {
        let mut fields = line.split(' ').skip(2);
        let (device, root, at) = (fields.next()?, fields.next()?, fields.next()?);
        Some(Mount { device: device.to_owned(), root: unescaped(root), at: unescaped(at) })
    };
    text.lines().filter_map(mount).collect()
}

/// The kernel writes spaces, tabs, line ends and backslashes as `\` and three octal digits.
fn unescaped(field: &str) -> PathBuf {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field.as_bytes();
    while let [first, after @ ..] = rest {
        let code = after.get(..3).filter(|_| *first == b'\\').and_then(|digits| std::str::from_utf8(digits).ok());
        if let Some(byte) = code.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            bytes.push(byte);
            rest = &after[3..];
        } else {
            bytes.push(*first);
            rest = after;
        }
    }
    PathBuf::from(std::ffi::OsString::from_vec(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: &str = "22 1 254:1 / / rw - ext4 /dev/vda1 rw\n23 22 254:2 /@home /home rw - btrfs /dev/vda2 rw\n";

    fn found(line: &str) -> Vec<PathBuf> {
        mounts(line).iter().flat_map(|mount| here(mount, &mounts(OWN))).collect()
    }

    #[test]
    fn a_directory_is_found_on_whichever_file_system_it_is() {
        assert_eq!(found("9 8 254:1 /srv/ha /config rw - ext4 /dev/vda1 rw"), [Path::new("/srv/ha")]);
        let volume = "9 8 254:1 /var/lib/docker/volumes/ha/_data /config rw - ext4 /dev/vda1 rw";
        assert_eq!(found(volume), [Path::new("/var/lib/docker/volumes/ha/_data")]);
        assert_eq!(found("9 8 254:2 /@home/ada/ha /config rw - btrfs /dev/vda2 rw"), [Path::new("/home/ada/ha")]);
        assert_eq!(found("9 8 254:2 /@home /config rw - btrfs /dev/vda2 rw"), [Path::new("/home")]);
        assert_eq!(found(r"9 8 254:1 /srv/my\040home /config rw - ext4 /dev/vda1 rw"), [Path::new("/srv/my home")]);
        // Another part of the file system; a file system that is not mounted here.
        assert!(found("9 8 254:2 /@snapshots/ha /config rw - btrfs /dev/vda2 rw").is_empty());
        assert!(found("9 8 254:9 /ha /config rw - ext4 /dev/vdb rw").is_empty());
        assert!(found("nonsense").is_empty());
    }
}
