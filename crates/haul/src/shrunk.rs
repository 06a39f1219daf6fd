//! One note if an archive is much smaller than the last one of the same instance at its destination: the history may
//! have moved elsewhere, a directory may not have been mounted. It costs a listing; archives are read only if one there
//! is more than twice as large.

use std::{
    fs::{self, File},
    num::NonZeroUsize,
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

use engine::{CopyReport, Destination, browse::Browser, in_units, inventory::is_archive_name, read::ArchiveSource};
use habackup::{archive::Archive, securetar::Password};
use store::{Cancellation, Entry, inbound::RemoteFile, outbound::Network, retry::RetryPolicy};

use crate::destination::Far;

/// How many archives to read, the newest first, for one of the same instance.
const LOOKED_AT: usize = 10;
const HISTORY: &[u8] = b"home-assistant_v2.db";

/// Looks at every copy that arrived.
pub(crate) fn notes(
    destinations: &[Destination],
    copies: &[CopyReport],
    size: u64,
    network: Option<Network<'_>>,
    password: Option<&Password>,
    cancel: &Cancellation,
) -> Vec<String> {
    let arrived = copies.iter().filter(|copy| copy.error.is_none());
    arrived.filter_map(|copy| Neighbours::of(copy, destinations, network)?.note(copy, size, password, cancel)).collect()
}

/// The archives at a destination.
struct Neighbours<'n> {
    entries: Vec<Entry>,
    reach: Reach<'n>,
}

/// How they are read.
#[expect(clippy::large_enum_variant, reason = "there is one at a time")]
enum Reach<'n> {
    Here(PathBuf),
    There(Network<'n>, store::Context, Arc<dyn store::Store>),
}

impl<'n> Neighbours<'n> {
    fn of(copy: &CopyReport, destinations: &[Destination], network: Option<Network<'n>>) -> Option<Self> {
        if let Some(path) = &copy.path {
            let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
            let entry = |entry: fs::DirEntry| {
                let metadata = entry.metadata().ok().filter(fs::Metadata::is_file)?;
                Some(Entry {
                    name: entry.file_name().into_string().ok()?,
                    size: metadata.len(),
                    modified: metadata.modified().ok(),
                    link: false,
                })
            };
            let entries = fs::read_dir(directory).ok()?.flatten().filter_map(entry).collect();
            return Some(Self { entries, reach: Reach::Here(directory.to_owned()) });
        }
        let network = network?;
        let (store, context) = destinations.iter().find_map(|destination| match inner(destination) {
            Destination::Remote { sink, context, .. } if sink.label() == copy.destination => {
                Some((Arc::clone(sink).store()?, context))
            }
            _ => None,
        })?;
        let context = context.clone().unwrap_or_else(|| network.context.clone());
        let policy = RetryPolicy::new(&context);
        let entries = network.bridge.wait(policy.retry(|| store.list())).ok()?;
        Some(Self { entries, reach: Reach::There(network, context, store) })
    }

    fn note(
        mut self,
        copy: &CopyReport,
        size: u64,
        password: Option<&Password>,
        cancel: &Cancellation,
    ) -> Option<String> {
        let own_name = copy.path.as_ref().and_then(|path| path.file_name()?.to_str()).unwrap_or(&copy.name).to_owned();
        self.entries.retain(|entry| entry.name == own_name || is_archive_name(&entry.name));
        if !self.entries.iter().any(|entry| entry.size / 2 > size) {
            return None;
        }
        self.entries.sort_by_key(|entry| std::cmp::Reverse(entry.modified.unwrap_or(SystemTime::UNIX_EPOCH)));
        let own = self.entries.iter().find(|entry| entry.name == own_name)?;
        let instance = self.instance(own)?;
        let others = self.entries.iter().filter(|entry| entry.name != own_name).take(LOOKED_AT);
        let last = others
            .into_iter()
            .find(|entry| !cancel.is_cancelled() && self.instance(entry).as_ref() == Some(&instance))?;
        if last.size / 2 <= size {
            return None;
        }
        let what = match (self.sums(own, password, cancel), self.sums(last, password, cancel)) {
            // It was packed in another way.
            (Some(now), Some(before)) if 2 * (now.history + now.rest) > before.history + before.rest => return None,
            (Some(now), Some(before)) => {
                let change = |now: u64, before: u64| format!("{} instead of {}", in_units(now), in_units(before));
                format!(
                    ": unpacked, the history has {}, everything else {}",
                    change(now.history, before.history),
                    change(now.rest, before.rest)
                )
            }
            _ => String::new(),
        };
        Some(format!(
            "this archive has {}, but the last one at this destination, {}, has {}{what}; make sure that nothing is \
             missing before older archives are removed",
            in_units(size),
            last.name,
            in_units(last.size)
        ))
    }

    fn source(&self, entry: &Entry) -> ArchiveSource {
        match &self.reach {
            Reach::Here(directory) => ArchiveSource::Path(directory.join(&entry.name)),
            Reach::There(network, context, store) => ArchiveSource::Remote(Arc::new(Far(RemoteFile::of(
                network.bridge,
                context,
                Arc::clone(store),
                entry.clone(),
            )))),
        }
    }

    /// Of which instance an archive is; nothing where it does not say that, and `None` where it is no archive.
    fn instance(&self, entry: &Entry) -> Option<String> {
        let of = |manifest: Option<&habackup::manifest::Manifest>| {
            manifest.map(|manifest| manifest.instance().unwrap_or_default().to_owned())
        };
        match &self.reach {
            Reach::Here(directory) => of(Archive::open(File::open(directory.join(&entry.name)).ok()?).ok()?.manifest()),
            Reach::There(network, context, store) => {
                of(Archive::open(Far(RemoteFile::of(network.bridge, context, Arc::clone(store), entry.clone())))
                    .ok()?
                    .manifest())
            }
        }
    }

    /// What is in an archive, if its index shows it.
    fn sums(&self, entry: &Entry, password: Option<&Password>, cancel: &Cancellation) -> Option<Sums> {
        let browser = Browser::open(self.source(entry), password, NonZeroUsize::MIN, &|_, _| {}).ok()?;
        if !browser.is_indexed() {
            return None;
        }
        let mut sums = Sums::default();
        let listed = browser.list(false, cancel, |item| {
            *(if item.path.starts_with(HISTORY) { &mut sums.history } else { &mut sums.rest }) += item.size;
            std::ops::ControlFlow::Continue(())
        });
        listed.ok().map(|()| sums)
    }
}

/// Bytes of content.
#[derive(Default)]
struct Sums {
    history: u64,
    rest: u64,
}

fn inner(destination: &Destination) -> &Destination {
    match destination {
        Destination::ReadBack(destination) => inner(destination),
        other => other,
    }
}
