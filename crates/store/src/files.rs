//! Opens files by a name under which something else may be: a pipe that nothing writes to, an endless device, a link
//! that somebody planted. Nothing here waits in `open`, which no signal would end.

use std::{
    fs::{self, File, Metadata, OpenOptions},
    io::{self, Read},
    os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt},
    path::Path,
};

use rustix::{event::PollFlags, fs::OFlags};
use zeroize::Zeroizing;

use crate::{cancellation::Cancellation, owner};

/// Opens a file for reading at any position: a regular one, or a block device. Anything else is refused.
pub fn open(path: &Path) -> io::Result<File> {
    // Opening alone does something to some devices, so the first look is from outside.
    refuse_without_positions(&fs::metadata(path)?)?;
    let file = open_at_once(path)?;
    refuse_without_positions(&file.metadata()?)?;
    Ok(file)
}

fn refuse_without_positions(found: &Metadata) -> io::Result<()> {
    let kind = found.file_type();
    let refuse = |what: &str| Err(io::Error::new(io::ErrorKind::InvalidInput, format!("it is {what}, not a file")));
    match () {
        () if kind.is_dir() => Err(io::ErrorKind::IsADirectory.into()),
        () if kind.is_fifo() => refuse("a pipe"),
        () if kind.is_socket() => refuse("a socket"),
        () if kind.is_char_device() => refuse("a device without an end"),
        () => Ok(()),
    }
}

fn open_at_once(path: &Path) -> io::Result<File> {
    match OpenOptions::new().read(true).custom_flags(flags(OFlags::NONBLOCK | OFlags::NOCTTY)).open(path) {
        // Somebody holds a lease on the file, and the kernel asks for it back: that ends.
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => File::open(path),
        other => other,
    }
}

fn flags(flags: OFlags) -> i32 {
    flags.bits().cast_signed()
}

/// Reads a short text whole: from a file, or from a pipe or terminal, which is waited for until the user wants to
/// stop. More than `most` bytes are refused.
pub fn read_short(path: &Path, most: u64, cancel: &Cancellation) -> io::Result<Zeroizing<String>> {
    let mut file = open_at_once(path)?;
    if file.metadata()?.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    let mut bytes = Zeroizing::new(Vec::new());
    let mut buffer = Zeroizing::new([0; 4096]);
    loop {
        if !cancel.ready(&file, PollFlags::IN)? {
            return Err(io::Error::other("interrupted"));
        }
        match file.read(&mut buffer[..]) {
            Ok(0) => break,
            Ok(count) if bytes.len() as u64 + count as u64 > most => return Err(too_long(most)),
            Ok(count) => bytes.extend_from_slice(&buffer[..count]),
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
            Err(error) => return Err(error),
        }
    }
    let text = std::str::from_utf8(&bytes)
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "stream did not contain valid UTF-8"))?;
    Ok(Zeroizing::new(text.to_owned()))
}

/// Reads a file that is no more than `most` bytes long. Not from a pipe: for what is read beside sockets, where nothing
/// may be waited for.
pub fn read(path: &Path, most: u64) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut bytes = Zeroizing::new(Vec::new());
    open(path)?.take(most + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most { Err(too_long(most)) } else { Ok(bytes) }
}

fn too_long(most: u64) -> io::Error {
    io::Error::new(io::ErrorKind::FileTooLarge, format!("it has more than {most} bytes"))
}

/// Opens what an earlier run left under a name that anybody can foresee, to read and write it further. `InvalidInput`
/// when somebody else may have put it there: a link, a pipe, another user's file, or one that has a second name.
pub fn reopen(path: &Path) -> io::Result<File> {
    refuse_others(&fs::symlink_metadata(path)?, path)?;
    let file = open_to_lock(path)?;
    refuse_others(&file.metadata()?, path)?;
    Ok(file)
}

/// As [`reopen`]; what somebody else put there loses its name, and what is not there is made, for this user alone.
pub fn reopen_or_create(path: &Path) -> io::Result<File> {
    match reopen(path) {
        Err(error) if error.kind() == io::ErrorKind::InvalidInput && error.raw_os_error().is_none() => {
            fs::remove_file(path)?;
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        other => return other,
    }
    OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path)
}

/// Opens a file for no more than its lock, without following a link.
pub fn open_to_lock(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(flags(OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY))
        .open(path)
}

/// Whether an opened file still is the one under that name.
pub fn is_still(file: &File, path: &Path) -> bool {
    match (file.metadata(), fs::symlink_metadata(path)) {
        (Ok(ours), Ok(theirs)) => (ours.dev(), ours.ino()) == (theirs.dev(), theirs.ino()),
        _ => false,
    }
}

fn refuse_others(found: &Metadata, path: &Path) -> io::Result<()> {
    let is_own = found.is_file()
        && found.nlink() == 1
        && (found.uid() == rustix::process::geteuid().as_raw() || Some(found.uid()) == owner_of_new(path));
    if is_own {
        Ok(())
    } else {
        Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a file that haul made as this user"))
    }
}

/// The user to whom a new file beside `path` belongs: on a share or a stick that may be another one than ours.
fn owner_of_new(path: &Path) -> Option<u32> {
    let trial = path.with_file_name(owner::temporary_name());
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&trial).ok()?;
    let found = file.metadata();
    let _ = fs::remove_file(&trial);
    found.ok().map(|found| found.uid())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use std::{io::Write, os::unix::fs::symlink, thread};

    use rustix::fs::{CWD, FileType, Mode, mknodat};

    use super::*;

    fn pipe(path: &Path) {
        mknodat(CWD, path, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
    }

    #[test]
    fn only_what_can_be_read_at_any_position_is_opened() {
        let directory = tempfile::tempdir().unwrap();
        let fifo = directory.path().join("pipe");
        pipe(&fifo);
        let said = |path: &Path| open(path).unwrap_err().to_string();
        assert_eq!(said(&fifo), "it is a pipe, not a file");
        assert_eq!(said(Path::new("/dev/zero")), "it is a device without an end, not a file");
        assert_eq!(open(directory.path()).unwrap_err().kind(), io::ErrorKind::IsADirectory);
        assert_eq!(open(&directory.path().join("none")).unwrap_err().kind(), io::ErrorKind::NotFound);
        let (file, link) = (directory.path().join("file"), directory.path().join("link"));
        fs::write(&file, "x").unwrap();
        symlink(&file, &link).unwrap();
        assert!(open(&link).is_ok());
    }

    #[test]
    fn a_short_text_comes_from_a_file_or_a_pipe_and_a_silent_one_is_left_when_the_user_stops() {
        let directory = tempfile::tempdir().unwrap();
        let (file, fifo) = (directory.path().join("file"), directory.path().join("pipe"));
        let going_on = Cancellation::default();
        fs::write(&file, "secret\n").unwrap();
        assert_eq!(read_short(&file, 7, &going_on).unwrap().as_str(), "secret\n");
        assert_eq!(read_short(&file, 6, &going_on).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
        assert_eq!(
            read_short(Path::new("/dev/zero"), 4096, &going_on).unwrap_err().kind(),
            io::ErrorKind::FileTooLarge
        );
        assert_eq!(read_short(Path::new("/dev/null"), 4096, &going_on).unwrap().as_str(), "");
        assert_eq!(read_short(directory.path(), 4096, &going_on).unwrap_err().kind(), io::ErrorKind::IsADirectory);
        fs::write(&file, [0xff]).unwrap();
        assert_eq!(read_short(&file, 7, &going_on).unwrap_err().kind(), io::ErrorKind::InvalidData);
        pipe(&fifo);
        thread::scope(|scope| {
            scope.spawn(|| OpenOptions::new().write(true).open(&fifo).unwrap().write_all(b"through a pipe").unwrap());
            assert_eq!(read_short(&fifo, 100, &going_on).unwrap().as_str(), "through a pipe");
            let waiting = scope.spawn(|| read_short(&fifo, 100, &going_on));
            going_on.cancel();
            assert_eq!(waiting.join().unwrap().unwrap_err().to_string(), "interrupted");
        });
    }

    #[test]
    fn what_others_planted_is_neither_followed_nor_filled() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        let victim = at("victim");
        fs::write(&victim, "precious").unwrap();
        fs::write(at("own"), "begun").unwrap();
        let mut text = String::new();
        reopen_or_create(&at("own")).unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(text, "begun", "what this user made is gone on with");
        symlink(&victim, at("link")).unwrap();
        symlink(at("nothing"), at("dangling")).unwrap();
        fs::hard_link(&victim, at("second name")).unwrap();
        pipe(&at("pipe"));
        for planted in ["link", "dangling", "second name", "pipe"] {
            assert_eq!(reopen(&at(planted)).unwrap_err().kind(), io::ErrorKind::InvalidInput, "{planted}");
            reopen_or_create(&at(planted)).unwrap().write_all(b"mine").unwrap();
            let found = fs::symlink_metadata(at(planted)).unwrap();
            assert!(found.is_file() && found.len() == 4 && found.mode() & 0o777 == 0o600, "{planted}");
        }
        assert!(fs::read_to_string(&victim).unwrap() == "precious" && !at("nothing").exists());
        fs::create_dir(at("directory")).unwrap();
        assert!(reopen_or_create(&at("directory")).is_err());
        if rustix::process::geteuid().is_root() {
            fs::write(at("foreign"), "junk").unwrap();
            std::os::unix::fs::chown(at("foreign"), Some(12345), None).unwrap();
            assert_eq!(reopen_or_create(&at("foreign")).unwrap().metadata().unwrap().len(), 0);
        }
        assert!(
            !fs::read_dir(directory.path())
                .unwrap()
                .flatten()
                .any(|entry| owner::is_temporary(&entry.file_name().to_string_lossy()))
        );
    }
}
