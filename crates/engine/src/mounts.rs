//! Mounts below the config directory that a backup must not enter (kernel file systems, the directory mounted into
//! itself, dead network shares), and mounts that a destination lacks.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::{ffi::OsStringExt, fs::MetadataExt},
    path::{Path, PathBuf},
    sync::mpsc,
    time::Duration,
};

use rustix::{
    fs::{AtFlags, CWD, StatxFlags, statx},
    io::Errno,
};
use store::Cancellation;

use crate::error::BackupError;

/// How long a mount may take to answer before it counts as dead.
const PATIENCE: Duration = Duration::from_secs(10);

/// File systems that hold no files of anybody.
const KERNEL: &[&str] = &[
    "autofs",
    "binfmt_misc",
    "bpf",
    "cgroup",
    "cgroup2",
    "configfs",
    "debugfs",
    "devpts",
    "devtmpfs",
    "efivarfs",
    "fusectl",
    "hugetlbfs",
    "mqueue",
    "nsfs",
    "proc",
    "pstore",
    "rpc_pipefs",
    "securityfs",
    "sysfs",
    "tracefs",
];

/// Mount points strictly below `root` that are to be left out, with the reason.
pub(crate) fn to_leave_out(root: &Path, cancel: &Cancellation) -> BTreeMap<PathBuf, String> {
    let Ok(root) = root.canonicalize() else { return BTreeMap::new() };
    let Ok(table) = fs::read("/proc/self/mountinfo") else { return BTreeMap::new() };
    let ancestors: Vec<(u64, u64)> = root
        .ancestors()
        .filter_map(|path| fs::metadata(path).ok())
        .map(|metadata| (metadata.dev(), metadata.ino()))
        .collect();
    let mut out = BTreeMap::new();
    for (path, kind) in table.split(|&byte| byte == b'\n').filter_map(parse_line) {
        let Ok(below) = path.strip_prefix(&root) else { continue };
        if below.as_os_str().is_empty() {
            continue;
        }
        if let Some(reason) = reason_against(&path, &kind, &ancestors, cancel) {
            out.insert(below.to_owned(), reason);
        }
    }
    out
}

/// Reachable mount points strictly below `root`, relative to it. A mount that a later one covers does not matter.
pub(crate) fn below(root: &Path) -> Vec<PathBuf> {
    let Ok(table) = fs::read("/proc/self/mountinfo") else { return Vec::new() };
    // Looking asks no server and mounts nothing: a dead network share would never answer.
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT | AtFlags::STATX_DONT_SYNC;
    let is_there =
        |path: &Path| !matches!(statx(CWD, path, flags, StatxFlags::empty()), Err(Errno::NOENT | Errno::NOTDIR));
    let points = table.split(|&byte| byte == b'\n').filter_map(parse_line).map(|(path, _)| path);
    let mut below: Vec<PathBuf> =
        points.filter(|path| path != root && path.starts_with(root) && is_there(path)).collect();
    below.sort();
    below.dedup();
    below.iter().filter_map(|path| path.strip_prefix(root).ok()).map(Path::to_owned).collect()
}

/// Refuses a destination whose mount is missing: a backup would fill the disk below the mount point, and be hidden once
/// the mount is back.
pub fn ask_for(archive: &Path) -> Result<(), BackupError> {
    let directory = archive
        .parent()
        .and_then(|parent| if parent.as_os_str().is_empty() { Path::new(".") } else { parent }.canonicalize().ok());
    let (Some(directory), Ok(wanted), Ok(mounted)) =
        (directory, fs::read("/etc/fstab"), fs::read("/proc/self/mountinfo"))
    else {
        return Ok(());
    };
    missing(&directory, &wanted, &mounted).map_or(Ok(()), |point| Err(BackupError::NotMounted(point)))
}

/// The mount point that a directory is at or below, with links resolved. `None` if unknown.
pub fn mount_point(directory: &Path) -> Option<PathBuf> {
    // Looked into first: that mounts what is mounted on demand.
    let _ = fs::read_dir(directory);
    nearest(&directory.canonicalize().ok()?, &fs::read("/proc/self/mountinfo").ok()?)
}

fn nearest(directory: &Path, mounted: &[u8]) -> Option<PathBuf> {
    let points = mounted
        .split(|&byte| byte == b'\n')
        .filter_map(parse_line)
        .filter(|(_, kind)| kind != "autofs")
        .map(|(point, _)| point);
    points.filter(|point| directory.starts_with(point)).max_by_key(|point| point.components().count())
}

/// The mount point at or above `directory` that the first table (fstab(5)) names and the second (mountinfo) does not.
fn missing(directory: &Path, wanted: &[u8], mounted: &[u8]) -> Option<PathBuf> {
    let mounted: Vec<PathBuf> =
        mounted.split(|&byte| byte == b'\n').filter_map(parse_line).map(|(point, _)| point).collect();
    let lines = wanted.split(|&byte| byte == b'\n').map(<[u8]>::trim_ascii).filter(|line| !line.starts_with(b"#"));
    let points = lines.filter_map(|line| line.split(u8::is_ascii_whitespace).filter(|field| !field.is_empty()).nth(1));
    let points = points.map(|point| PathBuf::from(std::ffi::OsString::from_vec(unescape(point))));
    points
        .filter(|point| point.is_absolute() && directory.starts_with(point))
        .find(|point| !mounted.contains(point) && point != Path::new("/"))
}

fn reason_against(path: &Path, kind: &str, ancestors: &[(u64, u64)], cancel: &Cancellation) -> Option<String> {
    if KERNEL.contains(&kind) {
        return Some(format!("a mounted {kind} file system, which holds no files of yours"));
    }
    match ask(path, cancel) {
        Answer::Silence => {
            Some(format!("the mounted {kind} file system did not respond within {} seconds", PATIENCE.as_secs()))
        }
        Answer::Identity(identity) if ancestors.contains(&identity) => {
            Some("the config directory itself, mounted into itself".to_owned())
        }
        // The walk reports unreadable directories, with the system's own reason.
        Answer::Identity(_) | Answer::Refusal => None,
    }
}

/// The identity of a mount.
enum Answer {
    /// Device and inode.
    Identity((u64, u64)),
    Refusal,
    Silence,
}

/// Device and inode of a mount, queried on a thread of its own: a dead network share never answers, and the thread is
/// abandoned.
fn ask(path: &Path, cancel: &Cancellation) -> Answer {
    let (sender, receiver) = mpsc::channel();
    let path = path.to_owned();
    let _waking = cancel.on_cancel({
        let sender = sender.clone();
        move || {
            let _ = sender.send(Answer::Silence);
        }
    });
    std::thread::spawn(move || {
        let answer =
            fs::metadata(&path).map_or(Answer::Refusal, |metadata| Answer::Identity((metadata.dev(), metadata.ino())));
        let _ = sender.send(answer);
    });
    receiver.recv_timeout(PATIENCE).unwrap_or(Answer::Silence)
}

/// Mount point and file system type of a line of `/proc/self/mountinfo` (proc(5)).
fn parse_line(line: &[u8]) -> Option<(PathBuf, String)> {
    let mut fields = line.split(|&byte| byte == b' ');
    let point = unescape(fields.nth(4)?);
    let kind = fields.skip_while(|field| *field != b"-").nth(1)?;
    Some((PathBuf::from(std::ffi::OsString::from_vec(point)), String::from_utf8_lossy(kind).into_owned()))
}

/// Space, tab, newline and backslash are written as `\ooo`.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&first, tail)) = rest.split_first() {
        let octal =
            (first == b'\\').then(|| tail.get(..3)).flatten().and_then(|digits| std::str::from_utf8(digits).ok());
        if let Some(byte) = octal.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            out.push(byte);
            rest = &tail[3..];
        } else {
            out.push(first);
            rest = tail;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_line_gives_its_point_and_type() {
        let line = br"36 35 98:0 /mnt1 /my\040config/www rw,noatime master:1 - ext3 /dev/root rw,errors=continue";
        assert_eq!(parse_line(line), Some((PathBuf::from("/my config/www"), "ext3".to_owned())));
        assert_eq!(parse_line(b""), None);
        assert_eq!(parse_line(b"1 2 3"), None);
    }

    #[test]
    fn a_destination_whose_share_is_not_mounted_is_reported() {
        let table =
            b"# /dev/sdb1 /mnt/off ext4\nUUID=1 / ext4 defaults 0 1\nnas:/x  /mnt/my\\040nas\tnfs noauto 0 0\nUUID=2 \
                none swap sw 0 0\n/dev/sda2 /home ext4\n";
        let mounted = b"1 0 8:1 / / rw - ext4 /dev/sda1 rw\n2 1 8:2 / /home rw - ext4 /dev/sda2 rw\n";
        for (directory, point) in [
            ("/mnt/my nas", Some("/mnt/my nas")),
            ("/mnt/my nas/ha", Some("/mnt/my nas")),
            ("/mnt/my nas 2", None),
            ("/mnt/off", None),
            ("/home/ha", None),
            ("/srv", None),
        ] {
            assert_eq!(missing(Path::new(directory), table, mounted), point.map(PathBuf::from), "{directory}");
        }
        let mounted = [&mounted[..], b"3 1 0:50 / /mnt/my\\040nas rw - nfs nas:/x rw\n"].concat();
        assert_eq!(missing(Path::new("/mnt/my nas/ha"), table, &mounted), None);
    }

    #[test]
    fn the_nearest_mount_holds_a_directory() {
        let mounted = b"1 0 8:1 / / rw - ext4 a rw\n2 1 0:5 / /mnt/nas rw - autofs systemd-1 rw\n3 1 8:2 / /home rw - \
            ext4 b rw\n4 3 0:9 / /home/me/nas rw - nfs n:/ rw\n";
        for (directory, point) in
            [("/home/me/nas/ha", "/home/me/nas"), ("/home/me/nas2", "/home"), ("/mnt/nas", "/"), ("/", "/")]
        {
            assert_eq!(nearest(Path::new(directory), mounted), Some(PathBuf::from(point)), "{directory}");
        }
        assert_eq!(nearest(Path::new("/mnt"), b""), None);
    }

    #[test]
    fn an_escape_that_is_none_stays() {
        assert_eq!(unescape(br"a\04\134b\"), br"a\04\b\");
    }
}
