//! A folder as a plain tar, as Supervisor writes one: for what it leaves out.
//!
//! A header promises a size, and the tar keeps it: a file that shrank is filled with zeros, and one that can't be read is
//! left out; both are noted.

use std::{
    collections::VecDeque,
    fs::{self, File},
    io::{self, Read},
    os::unix::{ffi::OsStrExt, fs::MetadataExt},
    path::{Path, PathBuf},
};

use habackup::tar::{END, Header, Kind, encode, padding};

use crate::text::shown;

/// Whether there is anything in it. What can't be read counts: the tar says so.
pub(super) fn has_content(path: &Path) -> bool {
    match fs::read_dir(path) {
        Ok(mut entries) => entries.next().is_some(),
        Err(error) => error.kind() != io::ErrorKind::NotFound,
    }
}

/// The tar of a folder, in the order of names.
pub(super) struct FolderTar {
    root: PathBuf,
    /// What comes next, below the root.
    waiting: VecDeque<PathBuf>,
    ready: Vec<u8>,
    taken: usize,
    body: Option<(File, PathBuf)>,
    left: u64,
    fill: usize,
    has_ended: bool,
    faults: Vec<String>,
}

impl FolderTar {
    pub(super) fn new(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
            waiting: VecDeque::from([PathBuf::new()]),
            ready: Vec::new(),
            taken: 0,
            body: None,
            left: 0,
            fill: 0,
            has_ended: false,
            faults: Vec::new(),
        }
    }

    /// What could not be read as it is.
    pub(super) fn finish(self) -> Vec<String> {
        self.faults
    }

    fn fault(&mut self, path: &Path, why: &str) {
        self.faults.push(format!("{} {why}", shown(path.as_os_str().as_bytes())));
    }

    fn next(&mut self) {
        let Some(below) = self.waiting.pop_front() else {
            self.ready.extend_from_slice(&END);
            self.has_ended = true;
            return;
        };
        let path = self.root.join(&below);
        let Ok(about) = fs::symlink_metadata(&path) else { return self.fault(&below, "vanished") };
        let name = if below.as_os_str().is_empty() { PathBuf::from(".") } else { Path::new(".").join(&below) };
        let (mut kind, mut size, mut link) = (Kind::File, 0, PathBuf::new());
        if about.is_dir() {
            kind = Kind::Directory;
            let names = |entries: fs::ReadDir| entries.map(|entry| Ok(below.join(entry?.file_name()))).collect();
            let mut inside: Vec<PathBuf> = match fs::read_dir(&path).and_then(names) {
                Ok(inside) => inside,
                Err(error) => return self.fault(&below, &format!("can't be read: {}", crate::text::plain(&error))),
            };
            inside.sort();
            inside.into_iter().rev().for_each(|entry| self.waiting.push_front(entry));
        } else if about.is_symlink() {
            kind = Kind::Symlink;
            link = match fs::read_link(&path) {
                Ok(link) => link,
                Err(error) => return self.fault(&below, &format!("can't be read: {}", crate::text::plain(&error))),
            };
        } else if about.is_file() {
            match File::open(&path).and_then(|file| Ok((file.metadata()?.len(), file))) {
                Ok((length, file)) => (size, self.body) = (length, Some((file, below.clone()))),
                Err(error) => return self.fault(&below, &format!("can't be read: {}", crate::text::plain(&error))),
            }
        } else {
            // Sockets, pipes and devices hold no data.
            return;
        }
        let header = Header {
            path: name.as_os_str().as_bytes(),
            kind,
            size,
            mode: about.mode() & 0o7777,
            mtime: (about.mtime(), u32::try_from(about.mtime_nsec()).unwrap_or(0)),
            link: link.as_os_str().as_bytes(),
            uid: about.uid().into(),
            gid: about.gid().into(),
        };
        encode(&header, &mut self.ready);
        (self.left, self.fill) = (size, padding(size));
    }

    fn content(&mut self, buffer: &mut [u8]) -> usize {
        let wanted = self.left.min(buffer.len() as u64) as usize;
        let mut why = "became shorter while it was read".to_owned();
        while let Some((file, _)) = &mut self.body {
            match file.read(&mut buffer[..wanted]) {
                Ok(0) => break,
                Ok(read) => {
                    self.left -= read as u64;
                    return read;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    why = format!("can't be read: {}", crate::text::plain(&error));
                    break;
                }
            }
        }
        if let Some((_, below)) = self.body.take() {
            self.fault(&below, &why);
        }
        buffer[..wanted].fill(0);
        self.left -= wanted as u64;
        wanted
    }
}

impl Read for FolderTar {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            if self.taken < self.ready.len() {
                let count = buffer.len().min(self.ready.len() - self.taken);
                buffer[..count].copy_from_slice(&self.ready[self.taken..self.taken + count]);
                self.taken += count;
                return Ok(count);
            }
            self.ready.clear();
            self.taken = 0;
            if self.left > 0 {
                return Ok(self.content(buffer));
            }
            self.body = None;
            if self.fill > 0 {
                self.ready.resize(std::mem::take(&mut self.fill), 0);
            } else if self.has_ended {
                return Ok(0);
            } else {
                self.next();
            }
        }
    }
}
