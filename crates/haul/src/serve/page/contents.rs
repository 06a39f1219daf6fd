//! What the page shows of an archive's inside: folders, single files, what differs, the archive itself.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Write},
    os::fd::AsRawFd,
    path::{Path, PathBuf},
    sync::Arc,
};

use engine::{
    Progress,
    browse::{BrowseError, Browser, ItemKind, Unmatched, compare},
    read::ArchiveSource,
};
use habackup::{read_at::ReadAt, securetar::Password};
use jiff::Timestamp;
use keeper::{
    job::Making,
    status::{ArchiveStatus, Failure as Reason},
};
use store::{Cancellation, inbound::RemoteFile};
use web::backend::{ContentEntry, ContentKind, Contents, Differences, Inside, NotSent, Outlet};

use super::inside::inside;

use crate::{
    browse,
    config::Config,
    destination::{self, Far, Network},
    failure::{FAILED, Failure},
    password,
    serve::doing::reason,
};

/// Entries of a folder, and differences, that are shown.
const MOST: usize = 2000;
/// Bytes that are passed on at once.
const PIECE: usize = 1 << 20;

/// An archive that somebody looks at.
pub(super) struct Looking<'a> {
    pub(super) config: &'a Config,
    pub(super) archive: &'a ArchiveStatus,
    /// At this destination; nothing: wherever it is nearest.
    pub(super) destination: Option<&'a str>,
}

impl Looking<'_> {
    /// The destination and name of a sound copy, one on this machine first.
    pub(super) fn best(&self) -> Result<(String, String), Failure> {
        let is_local = |name: &str| {
            self.config.destination(name).is_some_and(|named| matches!(named.address, store::Address::Local(_)))
        };
        let wanted = |copy: &&keeper::status::CopyStatus| {
            self.destination.is_none_or(|destination| copy.destination == destination)
        };
        let damaged = |copy: &keeper::status::CopyStatus| copy.verdict.as_ref().is_some_and(|verdict| verdict.damaged);
        let best =
            self.archive.copies.iter().filter(wanted).min_by_key(|copy| (damaged(copy), !is_local(&copy.destination)));
        let copy = best.ok_or_else(|| Failure::usage("no location has this backup"))?;
        Ok((copy.destination.to_string(), copy.name.to_string()))
    }

    fn location(&self) -> Result<String, Failure> {
        self.best().map(|(destination, name)| format!("{destination}/{name}"))
    }

    /// How archives of its job are made.
    fn making(&self) -> Option<&Making> {
        let job = self.archive.job.as_deref()?;
        self.config.jobs().iter().find(|known| known.name == job).map(|job| &job.making)
    }

    /// Whether it opens with this key or, without one, with one of its job. Returns the key in the form that fits, and
    /// which of the names in `only` nothing in it has. Of an error it says whether it is about the key.
    pub(super) fn opens(
        &self,
        typed: Option<Password>,
        only: &[String],
        cancel: &Cancellation,
    ) -> Result<(Option<Password>, Vec<Unmatched>), (bool, Failure)> {
        let source = self.source(cancel).map_err(|failure| (false, failure))?;
        let open = |given| browse::open(&source, given, &|_, _| {});
        let is_typed = typed.is_some();
        let opened = match typed {
            Some(key) => open(Some(key)),
            None => password::of_job_in_turn(self.making(), cancel, password::does_not_fit, open)
                .map_err(|failure| (true, failure))?,
        };
        let (browser, key) = opened.map_err(|error| {
            let is_key = password::does_not_fit(&error);
            let failure = Failure::from(error);
            let message = match (is_key, is_typed) {
                (true, true) => "this encryption key is wrong".to_owned(),
                (true, false) => "no encryption key that Haul knows opens this backup".to_owned(),
                (false, _) => failure.message,
            };
            (is_key, Failure { message, ..failure })
        })?;
        let unmatched = browser.unmatched(only, cancel).map_err(|error| (false, error.into()))?;
        Ok((key, unmatched))
    }

    /// What is in it, as it says itself.
    pub(super) fn inside(&self, cancel: &Cancellation) -> Result<Inside, Failure> {
        let destination = destination::resolve(self.config, &self.location()?)?;
        let name = destination.archive()?.to_owned();
        if let Some(path) = destination.local_archive() {
            return inside(open_within(&path)?.0, &name);
        }
        let network = Network::start(None, cancel)?.answering_within(Some(crate::serve::doing::CONTACT));
        let store = network.connect_to_look(&destination)?;
        let file = RemoteFile::open(&network.bridge, &network.context_for(&destination), store, &name)?;
        inside(Far(file), &name)
    }

    fn source(&self, cancel: &Cancellation) -> Result<ArchiveSource, Failure> {
        let location = self.location()?;
        if let Some(path) = destination::resolve(self.config, &location)?.local_archive() {
            return open_within(&path).map(|(_, real)| ArchiveSource::Path(real));
        }
        let waiting = crate::args::WaitingArgs { give_up_after: Some(crate::serve::doing::CONTACT) };
        destination::archive(self.config, location.as_ref(), &waiting, &Arc::new(Progress::default()), cancel)
    }

    fn with<T>(
        &self,
        cancel: &Cancellation,
        look: impl FnOnce(&Browser<'_>) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let source = self.source(cancel)?;
        let open = |given| browse::open(&source, given, &|_, _| {});
        let (browser, _) = password::of_job_in_turn(self.making(), cancel, password::does_not_fit, open)??;
        look(&browser)
    }

    /// What one folder holds.
    pub(super) fn contents(&self, folder: &str, cancel: &Cancellation) -> Result<Contents, Reason> {
        let folder = folder.trim_matches('/');
        let prefix = if folder.is_empty() { String::new() } else { format!("{folder}/") };
        let mut found: BTreeMap<(bool, String), ContentEntry> = BTreeMap::new();
        let listed = self.with(cancel, |browser| {
            browser.list(false, cancel, |item| {
                let path = String::from_utf8_lossy(item.path).into_owned();
                if let Some(rest) = path.strip_prefix(&prefix).filter(|rest| !rest.is_empty()) {
                    gather(&mut found, rest, item);
                }
                std::ops::ControlFlow::Continue(())
            })?;
            Ok(())
        });
        listed.map_err(|failure| reason(&failure))?;
        let more = found.len().saturating_sub(MOST) as u64;
        Ok(Contents { entries: found.into_values().take(MOST).collect(), more })
    }

    /// Sends one file.
    pub(super) fn file(&self, path: &str, to: &mut dyn Outlet, cancel: &Cancellation) -> Result<(), NotSent> {
        let name = path.rsplit('/').next().unwrap_or(path).to_owned();
        let mut sending = Sending { to, name, size: None, begun: false };
        let mut is_there = true;
        let sent = self.with(cancel, |browser| {
            browser.cat(path.as_bytes(), &mut sending, cancel).map(drop).map_err(|error| {
                is_there = !matches!(error, BrowseError::NotThere { .. } | BrowseError::NotAFile { .. });
                error.into()
            })
        });
        sent.map_err(|failure| reason(&failure))
            .map_err(|why| if is_there { NotSent::Failed(why) } else { NotSent::NoSuchFile(why) })?;
        // An empty file has no byte to begin with.
        sending.begin().map_err(|error| gone(&error).into())
    }

    /// Sends the archive as it is.
    pub(super) fn archive(&self, to: &mut dyn Outlet, cancel: &Cancellation) -> Result<(), Reason> {
        let sent = (|| -> Result<io::Result<()>, Failure> {
            let destination = destination::resolve(self.config, &self.location()?)?;
            let name = destination.archive()?.to_owned();
            if let Some(path) = destination.local_archive() {
                let (file, _) = open_within(&path)?;
                let length = file.metadata().map_or(0, |metadata| metadata.len());
                return Ok(passed_on(&file, length, &name, to));
            }
            let network = Network::start(None, cancel)?.answering_within(Some(crate::serve::doing::CONTACT));
            let store = network.connect_to_look(&destination)?;
            let file = RemoteFile::open(&network.bridge, &network.context_for(&destination), store, &name)?;
            let length = file.len();
            Ok(passed_on(&Far(file), length, &name, to))
        })();
        sent.map_err(|failure| reason(&failure))?.map_err(|error| gone(&error))
    }
}

/// Opens an archive at a destination of this machine, and says where it really is. Whoever can write to a destination
/// could put a link there to any file that this program may read, and whoever may use the page would get that file: so
/// what is outside of the destination is not shown.
fn open_within(path: &Path) -> Result<(File, PathBuf), Failure> {
    let unreadable = |error: io::Error| {
        Failure::new(FAILED, format!("can't read {}: {}", path.display(), engine::plain_reason(&error)))
    };
    let file = File::open(path).map_err(unreadable)?;
    // Of what was opened, not of what has this name by now.
    let real = fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd())).map_err(unreadable)?;
    let directory = path.parent().unwrap_or(Path::new(".")).canonicalize().map_err(unreadable)?;
    if !real.starts_with(&directory) {
        return Err(Failure::usage(format!("{} is a link to a file outside of its location", path.display()))
            .hint("the page shows only what is in the location; `haul get` follows links"));
    }
    Ok((file, real))
}

fn gone(error: &io::Error) -> Reason {
    Reason { message: format!("the download ended early: {}", engine::plain_reason(error)), hint: None, passes: true }
}

fn passed_on(file: &impl ReadAt, length: u64, name: &str, to: &mut dyn Outlet) -> io::Result<()> {
    to.begin(name, Some(length))?;
    let mut at = 0;
    let mut piece = vec![0; PIECE];
    while at < length {
        let size = usize::try_from(length - at).unwrap_or(PIECE).min(PIECE);
        file.read_exact_at(&mut piece[..size], at)?;
        to.write_all(&piece[..size])?;
        at += size as u64;
    }
    Ok(())
}

/// Begins the answer with the first byte: what fails before is told in words.
struct Sending<'a> {
    to: &'a mut dyn Outlet,
    name: String,
    size: Option<u64>,
    begun: bool,
}

impl Sending<'_> {
    fn begin(&mut self) -> io::Result<()> {
        if !self.begun {
            self.begun = true;
            self.to.begin(&self.name, self.size)?;
        }
        Ok(())
    }
}

impl Write for Sending<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.begin()?;
        self.to.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

/// Adds what is directly in the folder, and the sizes of what is deeper to the folder that holds it.
fn gather(found: &mut BTreeMap<(bool, String), ContentEntry>, rest: &str, item: &engine::browse::Item<'_>) {
    let (name, is_deeper) = rest.split_once('/').map_or((rest, false), |(name, _)| (name, true));
    let kind = match item.kind {
        _ if is_deeper => ContentKind::Folder,
        ItemKind::Directory => ContentKind::Folder,
        ItemKind::File | ItemKind::HardLink => ContentKind::File,
        ItemKind::Symlink | ItemKind::Other => ContentKind::Other,
    };
    let modified = item.mtime.and_then(|(seconds, _)| Timestamp::from_second(seconds).ok()).filter(|_| !is_deeper);
    // Folders first.
    let entry = found.entry((kind != ContentKind::Folder, name.to_owned())).or_insert_with(|| ContentEntry {
        name: name.to_owned(),
        kind,
        size: Some(0),
        modified,
    });
    if kind != ContentKind::Folder || is_deeper {
        entry.size = entry.size.map(|size| size + item.size);
    }
}

/// What differs between two archives.
pub(super) fn differences(old: &Looking<'_>, new: &Looking<'_>, cancel: &Cancellation) -> Result<Differences, Reason> {
    let compared = old.with(cancel, |old| new.with(cancel, |new| Ok(compare(old, new, false, cancel)?)));
    let compared = compared.map_err(|failure| reason(&failure))?;
    let mut more = 0;
    let mut paths = |all: Vec<engine::browse::Difference>| {
        more += all.len().saturating_sub(MOST) as u64;
        all.into_iter().take(MOST).map(|difference| difference.path).collect()
    };
    let (added, removed, changed) = (paths(compared.added), paths(compared.removed), paths(compared.changed));
    Ok(Differences { added, removed, changed, same: compared.same, more })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_link_out_of_the_destination_is_not_followed() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        fs::create_dir(at("nas")).unwrap();
        fs::write(at("nas/a.tar"), "a").unwrap();
        fs::write(at("secret"), "s").unwrap();
        symlink("a.tar", at("nas/within.tar")).unwrap();
        symlink(at("secret"), at("nas/out.tar")).unwrap();
        symlink("../secret", at("nas/up.tar")).unwrap();
        // A destination may itself be a link.
        symlink(at("nas"), at("link")).unwrap();
        for name in ["nas/a.tar", "nas/within.tar", "link/a.tar"] {
            assert!(open_within(&at(name)).is_ok(), "{name}");
        }
        for name in ["nas/out.tar", "nas/up.tar", "link/out.tar"] {
            assert!(open_within(&at(name)).unwrap_err().message.contains("a link to a file outside"), "{name}");
        }
    }
}
