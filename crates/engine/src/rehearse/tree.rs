//! An unpacked directory, gone through as the archive that it came from. Of files that are no databases and no settings
//! only the beginning is read: unpacking compared their checksums.

use std::{
    fs::{File, OpenOptions},
    io::Read,
    os::unix::{ffi::OsStrExt, fs::OpenOptionsExt},
    path::{Path, PathBuf},
};

use habackup::{settings, tar::EntryKind};
use rustix::fs::OFlags;

use crate::{
    progress::Progress,
    read::scan::Walk,
    text::{plain, shown},
    verdict::collect::Header,
};

/// More files that can't be read are not named.
const MOST: usize = 20;

/// An entry of the directory, named as the archive names it.
pub(super) struct Member {
    name: Vec<u8>,
    kind: EntryKind,
    size: u64,
    link: Vec<u8>,
}

impl<'m> From<&'m Member> for Header<'m> {
    fn from(member: &'m Member) -> Self {
        Self { name: &member.name, kind: member.kind, size: member.size, link: &member.link, sizes_disagree: false }
    }
}

/// A way through the directory.
pub(super) struct Tree<'p> {
    root: PathBuf,
    walk: walkdir::IntoIter,
    progress: &'p Progress,
    open: Option<Open>,
    /// What can't be read, and why.
    pub(super) unreadable: Vec<(String, String)>,
}

/// The file that is being read.
struct Open {
    path: PathBuf,
    file: Option<File>,
    below: Vec<u8>,
    begun: bool,
}

/// Nothing stops it: what can't be read is noted.
pub(super) enum Never {}

impl<'p> Tree<'p> {
    pub(super) fn new(root: &Path, progress: &'p Progress) -> Self {
        let walk = walkdir::WalkDir::new(root).follow_links(false).into_iter();
        Self { root: root.to_owned(), walk, progress, open: None, unreadable: Vec::new() }
    }

    fn fail(&mut self, path: &Path, error: &std::io::Error) {
        if self.unreadable.len() < MOST {
            let below = path.strip_prefix(&self.root).unwrap_or(path);
            self.unreadable.push((shown(below.as_os_str().as_bytes()), plain(error)));
        }
    }
}

impl Walk for Tree<'_> {
    type Member = Member;
    type Broken = Never;

    fn step(&mut self) -> Result<Option<Member>, Never> {
        loop {
            let entry = match self.walk.next() {
                None => return Ok(None),
                Some(Ok(entry)) => entry,
                Some(Err(error)) => {
                    let path = error.path().unwrap_or(&self.root).to_owned();
                    self.fail(&path, &error.into());
                    continue;
                }
            };
            let path = entry.path().to_owned();
            let below = path.strip_prefix(&self.root).unwrap_or(&path).as_os_str().as_bytes().to_vec();
            let name = if below.is_empty() { b"data".to_vec() } else { [b"data/", below.as_slice()].concat() };
            let (kind, size, link) = if entry.file_type().is_dir() {
                (EntryKind::Directory, 0, Vec::new())
            } else if entry.file_type().is_symlink() {
                let link = std::fs::read_link(&path).map(|link| link.as_os_str().as_bytes().to_vec());
                (EntryKind::Symlink, 0, link.unwrap_or_default())
            } else {
                match entry.metadata() {
                    Ok(metadata) => (EntryKind::File, metadata.len(), Vec::new()),
                    Err(error) => {
                        self.fail(&path, &error.into());
                        continue;
                    }
                }
            };
            self.open = (kind == EntryKind::File).then(|| Open { path, file: None, below, begun: false });
            return Ok(Some(Member { name, kind, size, link }));
        }
    }

    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Never> {
        let Some(mut open) = self.open.take() else { return Ok(0) };
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let opened = match open.file.take() {
            Some(file) => Ok(file),
            None => OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(&open.path),
        };
        let read = opened.and_then(|mut file| Ok((file.read(buffer)?, file)));
        let (count, file) = match read {
            Ok(read) => read,
            Err(error) => {
                self.fail(&open.path, &error);
                return Ok(0);
            }
        };
        self.progress.add_done(count as u64);
        let is_first = !std::mem::replace(&mut open.begun, true);
        let goes_on = count > 0
            && (!is_first || livesqlite::is_database(&buffer[..count]) || settings::is_settings_file(&open.below));
        self.open = goes_on.then_some(Open { file: Some(file), ..open });
        Ok(count)
    }
}
