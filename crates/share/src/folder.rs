//! A destination as a folder: what a file system's client asks of it.

use std::sync::Arc;

use async_trait::async_trait;
use smb_server::{
    BackendCapabilities, Handle, OpenAction, OpenIntent, OpenOptions, ShareBackend, SmbError, SmbPath, SmbResult,
    VolumeInfo,
};

use crate::{
    Event, Shared, names,
    open::{Growing, Listing, Stored},
    place::Place,
    reading::Reading,
    scratch::{Budget, Scratch},
    upload::{PATIENCE, Upload},
    uploads::Uploads,
};

/// Units of a volume's size.
const UNIT: u64 = 4096;
/// One destination.
#[derive(Clone)]
pub(crate) struct Folder(Arc<Inner>);

struct Inner {
    shared: Arc<Shared>,
    place: Arc<Place>,
    scratch: Arc<Scratch>,
    uploads: Uploads,
}

impl Folder {
    pub(crate) fn new(shared: Shared, budget: &Arc<Budget>) -> Self {
        let shared = Arc::new(shared);
        let place = Place::new(Arc::clone(&shared));
        let scratch = Scratch::new(&place, budget, &shared.on_event);
        let uploads = Uploads::new(&shared, &place);
        Self(Arc::new(Inner { shared, place, scratch, uploads }))
    }

    pub(crate) fn name(&self) -> &str {
        &self.0.shared.name
    }

    fn place(&self) -> &Arc<Place> {
        &self.0.place
    }

    fn scratch(&self) -> &Arc<Scratch> {
        &self.0.scratch
    }

    /// Gives up what is not complete.
    pub(crate) async fn end(&self, why: &str) {
        self.scratch().clear();
        self.0.uploads.end(why).await;
    }

    fn say(&self, event: Event) {
        (self.0.shared.on_event)(event);
    }

    fn growing(&self, name: &str, upload: Arc<Upload>, writes: bool) -> Box<dyn Handle> {
        upload.opened();
        Box::new(Growing { uploads: self.0.uploads.clone(), name: name.to_owned(), upload, writes })
    }

    async fn open_archive(&self, name: &str, options: OpenOptions) -> SmbResult<(Box<dyn Handle>, OpenAction)> {
        if let Some(upload) = self.0.uploads.get(name) {
            return match options.intent {
                _ if options.directory => Err(SmbError::NotADirectory),
                OpenIntent::Create => Err(SmbError::Exists),
                OpenIntent::Truncate | OpenIntent::OverwriteOrCreate => Err(SmbError::Sharing),
                // Two writers of one file would mix it up; one that lost its connection goes on.
                _ if options.write && !upload.is_left() => Err(SmbError::Sharing),
                _ => Ok((self.growing(name, upload, options.write), OpenAction::Opened)),
            };
        }
        match self.place().entry(name).await? {
            Some(_) if options.directory => Err(SmbError::NotADirectory),
            Some(_) if options.intent == OpenIntent::Create => Err(SmbError::Exists),
            // An archive that is there is never changed.
            Some(_) if options.write => Err(SmbError::AccessDenied),
            Some(_) if matches!(options.intent, OpenIntent::Truncate | OpenIntent::OverwriteOrCreate) => {
                Err(SmbError::AccessDenied)
            }
            Some(entry) => Ok((Box::new(Stored { entry, reading: Reading::new(self.place()) }), OpenAction::Opened)),
            None if matches!(options.intent, OpenIntent::Open | OpenIntent::Truncate) => Err(SmbError::NotFound),
            None if options.directory || !options.write => Err(SmbError::AccessDenied),
            None => {
                let upload = self.0.uploads.begin(name).await?;
                Ok((self.growing(name, upload, true), OpenAction::Created))
            }
        }
    }

    async fn remove_archive(&self, name: &str) -> SmbResult<()> {
        if let Some(upload) = self.0.uploads.get(name) {
            if !upload.is_finishing() {
                self.0.uploads.give_up(name, &upload, "the program that wrote it removed it").await;
                return Ok(());
            }
            // It is on its last steps, and can't be called back: it goes when it is there.
            if tokio::time::timeout(PATIENCE, upload.end()).await.is_err() {
                return Err(SmbError::Sharing);
            }
            self.place().forget_list();
        }
        if self.place().entry(name).await?.is_none() {
            return Err(SmbError::NotFound);
        }
        if self.0.shared.append_only {
            self.say(Event::Kept { name: name.to_owned() });
            return Err(SmbError::AccessDenied);
        }
        self.place()
            .ask(|store| {
                let name = name.to_owned();
                async move { store.delete(&name).await }
            })
            .await?;
        self.place().forget_list();
        self.say(Event::Deleted { name: name.to_owned() });
        Ok(())
    }
}

#[async_trait]
impl ShareBackend for Folder {
    async fn open(&self, path: &SmbPath, options: OpenOptions) -> SmbResult<(Box<dyn Handle>, OpenAction)> {
        match path.components() {
            [] if options.non_directory => Err(SmbError::IsDirectory),
            [] => {
                let (place, scratch) = (Arc::clone(&self.0.place), Arc::clone(&self.0.scratch));
                Ok((Box::new(Listing { place, scratch, uploads: self.0.uploads.clone() }), OpenAction::Opened))
            }
            [name] if names::is_scratch(name) => self.scratch().open_directory(name, options),
            [name] => self.open_archive(name, options).await,
            [directory, name] => self.scratch().open_file(directory, name, options).await,
            _ => Err(SmbError::PathNotFound),
        }
    }

    async fn unlink(&self, path: &SmbPath) -> SmbResult<()> {
        match path.components() {
            [name] if names::is_scratch(name) => self.scratch().remove_directory(name),
            [name] => self.remove_archive(name).await,
            [directory, name] => self.scratch().remove_file(directory, name),
            _ => Err(SmbError::AccessDenied),
        }
    }

    async fn rename(&self, from: &SmbPath, to: &SmbPath, _replace: bool) -> SmbResult<()> {
        // Nothing but a file that was put into a directory: so an upload ends.
        let ([directory, name], [to]) = (from.components(), to.components()) else {
            return Err(SmbError::AccessDenied);
        };
        let content = self.scratch().file(directory, name).ok_or(SmbError::NotFound)?;
        self.0.uploads.adopt(content, to).await?;
        self.scratch().remove_file(directory, name)
    }

    fn capabilities(&self) -> BackendCapabilities {
        let mut capabilities = BackendCapabilities::default();
        capabilities.case_sensitive = true;
        capabilities
    }

    async fn volume_info(&self) -> SmbResult<VolumeInfo> {
        self.scratch().tidy();
        let mut volume = VolumeInfo::default();
        if let Some(free) = self.place().space().await {
            let held = self.place().known().map_or(0, |entries| entries.iter().map(|entry| entry.size).sum());
            volume.caller_available_allocation_units = free / UNIT;
            volume.actual_available_allocation_units = free / UNIT;
            volume.total_allocation_units = (free + held) / UNIT;
        }
        Ok(volume)
    }
}
