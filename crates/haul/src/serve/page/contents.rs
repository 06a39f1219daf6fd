//! What the page shows of an archive's inside: folders, single files, what differs, the archive itself.

use std::{
    collections::BTreeMap,
    io::{self, Write},
    sync::Arc,
};

use engine::{
    Progress,
    browse::{Browser, ItemKind, compare},
    read::ArchiveSource,
};
use habackup::read_at::ReadAt;
use jiff::Timestamp;
use keeper::status::{ArchiveStatus, Failure as Reason};
use store::{Cancellation, inbound::RemoteFile};
use web::backend::{ContentEntry, ContentKind, Contents, Differences, Outlet};

use crate::{
    args::PasswordArgs,
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
    /// `DEST/NAME` of a sound copy, one on this machine first.
    fn location(&self) -> Result<String, Failure> {
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
        Ok(format!("{}/{}", copy.destination, copy.name))
    }

    fn source(&self, cancel: &Cancellation) -> Result<ArchiveSource, Failure> {
        let location = self.location()?;
        let waiting = crate::args::WaitingArgs { give_up_after: Some(crate::serve::doing::CONTACT) };
        destination::archive(self.config, location.as_ref(), &waiting, &Arc::new(Progress::default()), cancel)
    }

    fn with<T>(
        &self,
        cancel: &Cancellation,
        look: impl FnOnce(&Browser<'_>) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let jobs = self.config.jobs();
        let job = self.archive.job.as_deref().and_then(|name| jobs.iter().find(|job| job.name == name));
        let key = PasswordArgs { password_file: job.and_then(|job| job.making.password_file.clone()) };
        let given = password::given(&key, cancel)?;
        let (browser, _) = browse::open(&self.source(cancel)?, given, &|_, _| {})?;
        look(&browser)
    }

    /// What one folder holds.
    pub(super) fn contents(&self, folder: &str) -> Result<Contents, Reason> {
        let cancel = Cancellation::default();
        let folder = folder.trim_matches('/');
        let prefix = if folder.is_empty() { String::new() } else { format!("{folder}/") };
        let mut found: BTreeMap<(bool, String), ContentEntry> = BTreeMap::new();
        let listed = self.with(&cancel, |browser| {
            browser.list(false, &cancel, |item| {
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
    pub(super) fn file(&self, path: &str, to: &mut dyn Outlet) -> Result<(), Reason> {
        let cancel = Cancellation::default();
        let name = path.rsplit('/').next().unwrap_or(path).to_owned();
        let mut sending = Sending { to, name, size: None, begun: false };
        let sent = self.with(&cancel, |browser| {
            browser.cat(path.as_bytes(), &mut sending, &cancel)?;
            Ok(())
        });
        sent.map_err(|failure| reason(&failure))?;
        // An empty file has no byte to begin with.
        sending.begin().map_err(|error| gone(&error))
    }

    /// Sends the archive as it is.
    pub(super) fn archive(&self, to: &mut dyn Outlet) -> Result<(), Reason> {
        let cancel = Cancellation::default();
        let sent = (|| -> Result<io::Result<()>, Failure> {
            let destination = destination::resolve(self.config, &self.location()?)?;
            let name = destination.archive()?.to_owned();
            if let Some(path) = destination.local_archive() {
                let file = std::fs::File::open(&path).map_err(|error| {
                    Failure::new(FAILED, format!("can't read {}: {}", path.display(), engine::plain_reason(&error)))
                })?;
                let length = file.metadata().map_or(0, |metadata| metadata.len());
                return Ok(passed_on(&file, length, &name, to));
            }
            let network = Network::start(None, &cancel)?.answering_within(Some(crate::serve::doing::CONTACT));
            let store = network.connect_to_look(&destination)?;
            let file = RemoteFile::open(&network.bridge, &network.context_for(&destination), store, &name)?;
            let length = file.len();
            Ok(passed_on(&Far(file), length, &name, to))
        })();
        sent.map_err(|failure| reason(&failure))?.map_err(|error| gone(&error))
    }
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
pub(super) fn differences(old: &Looking<'_>, new: &Looking<'_>) -> Result<Differences, Reason> {
    let cancel = Cancellation::default();
    let compared = old.with(&cancel, |old| new.with(&cancel, |new| Ok(compare(old, new, false, &cancel)?)));
    let compared = compared.map_err(|failure| reason(&failure))?;
    let mut more = 0;
    let mut paths = |all: Vec<engine::browse::Difference>| {
        more += all.len().saturating_sub(MOST) as u64;
        all.into_iter().take(MOST).map(|difference| difference.path).collect()
    };
    let (added, removed, changed) = (paths(compared.added), paths(compared.removed), paths(compared.changed));
    Ok(Differences { added, removed, changed, same: compared.same, more })
}
