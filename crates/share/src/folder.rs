//! A destination as a folder: what a file system's client asks of it.

use std::{sync::Arc, time::Duration};

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

    /// How long ago a client last used what it has unpacked here, if there is any.
    pub(crate) fn unpacked(&self) -> Option<Duration> {
        self.scratch().last_used()
    }

    /// Gives up what is not complete.
    pub(crate) async fn end(&self, why: &str) {
        self.scratch().clear();
        self.0.uploads.end(why).await;
    }

    fn say(&self, event: Event) {
        (self.0.shared.on_event)(event);
    }

    /// A handle to an upload in which it is counted.
    fn growing(&self, name: &str, upload: Arc<Upload>, writes: bool) -> Box<dyn Handle> {
        Box::new(Growing { uploads: self.0.uploads.clone(), name: name.to_owned(), upload, writes })
    }

    async fn open_archive(&self, name: &str, options: OpenOptions) -> SmbResult<(Box<dyn Handle>, OpenAction)> {
        if let Some(upload) = self.0.uploads.get(name) {
            return match options.intent {
                _ if options.directory => Err(SmbError::NotADirectory),
                OpenIntent::Create => Err(SmbError::Exists),
                OpenIntent::Truncate | OpenIntent::OverwriteOrCreate => Err(SmbError::Sharing),
                // One that lost its connection goes on.
                _ if options.write && !upload.opened_to_write() => Err(SmbError::Sharing),
                _ => {
                    if !options.write {
                        upload.opened();
                    }
                    Ok((self.growing(name, upload, options.write), OpenAction::Opened))
                }
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
            if tokio::time::timeout(PATIENCE, self.0.uploads.settled(name, &upload)).await.is_err() {
                return Err(SmbError::Sharing);
            }
        }
        if self.place().entry(name).await?.is_none() {
            return Err(SmbError::NotFound);
        }
        let (folder, asked) = (self.clone(), name.to_owned());
        // It may look into what is known of the archive.
        let keeps = tokio::task::spawn_blocking(move || (folder.0.shared.keeps)(&asked)).await;
        if keeps.unwrap_or(true) {
            self.say(Event::Kept { name: name.to_owned() });
            return Err(SmbError::AccessDenied);
        }
        self.place()
            .ask(|store| {
                let name = name.to_owned();
                async move { store.delete(&name).await }
            })
            .await?;
        self.place().is_gone(name);
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

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use std::{
        collections::BTreeMap,
        fs,
        ops::Range,
        path::Path,
        sync::{
            Mutex,
            atomic::{AtomicBool, Ordering},
            mpsc,
        },
    };

    use bytes::Bytes;
    use habackup::tar::{Header, Kind, encode};
    use store::{
        Abilities, Address, Bridge, Cancellation, Context, Entry, Expected, Options, Session, Sink, Store, StoreError,
        Tuning,
    };

    use super::*;

    const MIB: usize = 1 << 20;

    /// A folder of a directory, and what it says.
    fn folder(home: &Path, bridge: &Bridge) -> (Folder, Arc<Mutex<Vec<Event>>>) {
        let (shared, said) = shared(home, bridge);
        (Folder::new(shared, &Arc::default()), said)
    }

    fn shared(home: &Path, bridge: &Bridge) -> (Shared, Arc<Mutex<Vec<Event>>>) {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let directory = home.join("nas");
        fs::create_dir(&directory).unwrap();
        let context = Context::new(Tuning::default(), home.join("state"), Cancellation::default()).unwrap();
        let said: Arc<Mutex<Vec<Event>>> = Arc::default();
        let (hears, connects) = (Arc::clone(&said), (bridge.clone(), context.clone(), directory.clone()));
        let shared = Shared {
            name: "nas".to_owned(),
            is_there: None,
            connect: Arc::new(move || {
                let (bridge, context, directory) = &connects;
                let (address, options) = (Address::Local(directory.clone()), Options::new(BTreeMap::new()));
                bridge.wait(store::connect(&address, &options, context)).map_err(|error| error.to_string())
            }),
            directory: Some(directory),
            cache: None,
            bridge: bridge.clone(),
            context,
            memory: 64 * MIB,
            keeps: Arc::new(|_| false),
            remaker: None,
            on_event: Arc::new(move |event| hears.lock().unwrap().push(event)),
        };
        (shared, said)
    }

    /// The shortest backup of this content.
    fn backup(content: &[u8]) -> Vec<u8> {
        let mut archive = Vec::new();
        let header = Header {
            path: b"./backup.json",
            kind: Kind::File,
            size: content.len() as u64,
            mode: 0o600,
            mtime: (0, 0),
            link: b"",
            uid: 0,
            gid: 0,
        };
        encode(&header, &mut archive);
        archive.extend(content);
        archive.resize(archive.len().next_multiple_of(512) + 10_240, 0);
        archive
    }

    fn noise(length: usize) -> Vec<u8> {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_be_bytes()[3]
        };
        std::iter::repeat_with(next).take(length).collect()
    }

    async fn open(folder: &Folder, path: &str, intent: OpenIntent, writes: bool) -> SmbResult<Box<dyn Handle>> {
        let path = SmbPath::from_utf16(&path.encode_utf16().collect::<Vec<_>>()).unwrap();
        let directory = names::is_scratch(path.file_name().unwrap());
        let options = OpenOptions { write: writes, intent, directory, ..OpenOptions::default() };
        folder.open(&path, options).await.map(|(handle, _)| handle)
    }

    #[test]
    fn what_is_unpacked_is_kept_by_reference_however_large_it_is() {
        let home = tempfile::tempdir().unwrap();
        let bridge = Bridge::start().unwrap();
        let (folder, said) = folder(home.path(), &bridge);
        // More than all of memory that there is for such files.
        let archive = noise(40 * MIB);
        fs::write(home.path().join("nas/a.tar"), &archive).unwrap();
        bridge.wait(async {
            let reads = open(&folder, "a.tar", OpenIntent::Open, false).await.unwrap();
            open(&folder, "tmpab_cd123", OpenIntent::Create, false).await.unwrap();
            let file = open(&folder, "tmpab_cd123\\part", OpenIntent::OverwriteOrCreate, true).await.unwrap();
            // As Python does: it reads a MiB, and writes a little less than it has read.
            let (member, mut written) = (1536, 0);
            for at in (0..archive.len()).step_by(MIB) {
                let bytes = reads.read(at as u64, MIB as u32).await.unwrap();
                assert!(bytes == archive[at..at + MIB]);
                while member + written + 100_000 <= at + MIB {
                    let piece = &archive[member + written..member + written + 100_000];
                    assert_eq!(file.write(written as u64, piece).await.unwrap(), 100_000);
                    written += 100_000;
                }
            }
            assert!(written > 39 * MIB);
            file.close().await.unwrap();
            let file = open(&folder, "tmpab_cd123\\part", OpenIntent::Open, false).await.unwrap();
            assert_eq!(file.stat().await.unwrap().end_of_file, written as u64);
            let mut at = 0;
            while at < written {
                let bytes = file.read(at as u64, MIB as u32).await.unwrap();
                assert!(bytes == archive[member + at..member + (at + MIB).min(written)], "at {at}");
                at += bytes.len();
            }
            // What comes from elsewhere has no room, and that is said once.
            let other = open(&folder, "tmpab_cd123\\upload.tar", OpenIntent::Create, true).await.unwrap();
            let mut strange = noise(MIB);
            strange.reverse();
            let mut refused = 0;
            for at in 0..20 {
                let taken = other.write(at * MIB as u64, &strange).await;
                refused += u32::from(matches!(taken, Err(SmbError::DiskFull)));
            }
            assert!((4..8).contains(&refused), "{refused}");
            assert_eq!(said.lock().unwrap().len(), 1);
            drop(other);
            // It is given back.
            let path = |name: &str| SmbPath::from_utf16(&name.encode_utf16().collect::<Vec<_>>()).unwrap();
            folder.unlink(&path("tmpab_cd123\\upload.tar")).await.unwrap();
            let next = open(&folder, "tmpab_cd123\\next", OpenIntent::Create, true).await.unwrap();
            next.write(0, &strange).await.unwrap();
            assert!(matches!(folder.unlink(&path("tmpab_cd123")).await, Err(SmbError::NotEmpty)));
            folder.end("the end").await;
            assert!(open(&folder, "tmpab_cd123\\part", OpenIntent::Open, false).await.is_err());
        });
        assert_eq!(fs::read_dir(home.path().join("nas")).unwrap().count(), 1);
    }

    #[test]
    fn what_is_unpacked_is_waited_for_while_its_destination_is_away() {
        let home = tempfile::tempdir().unwrap();
        let bridge = Bridge::start().unwrap();
        let (folder, _) = folder(home.path(), &bridge);
        let (here, gone) = (home.path().join("nas/a.tar"), home.path().join("gone"));
        let archive = noise(2 * MIB);
        fs::write(&here, &archive).unwrap();
        bridge.wait(async {
            let reads = open(&folder, "a.tar", OpenIntent::Open, false).await.unwrap();
            open(&folder, "tmpab_cd123", OpenIntent::Create, false).await.unwrap();
            let file = open(&folder, "tmpab_cd123\\part", OpenIntent::OverwriteOrCreate, true).await.unwrap();
            for at in [0, MIB] {
                let bytes = reads.read(at as u64, MIB as u32).await.unwrap();
                file.write(at as u64, &bytes).await.unwrap();
            }
            file.close().await.unwrap();
            fs::rename(&here, &gone).unwrap();
            let file = open(&folder, "tmpab_cd123\\part", OpenIntent::Open, false).await.unwrap();
            let comes_back = async {
                tokio::time::sleep(std::time::Duration::from_secs(1)).await;
                fs::rename(&gone, &here).unwrap();
            };
            let (read, ()) = tokio::join!(file.read(0, MIB as u32), comes_back);
            assert!(read.unwrap() == archive[..MIB]);
        });
    }

    #[test]
    fn a_client_that_lost_its_connection_goes_on_where_it_was() {
        let home = tempfile::tempdir().unwrap();
        let bridge = Bridge::start().unwrap();
        let (folder, said) = folder(home.path(), &bridge);
        let archive = backup(&noise(5 * MIB));
        bridge.wait(async {
            let mut at = 0;
            // Twice, and each time the last answer was lost: the same bytes come again.
            for (again, until) in [(0, 2 * MIB), (MIB, 4 * MIB), (MIB, archive.len())] {
                let intent = if at == 0 { OpenIntent::OpenOrCreate } else { OpenIntent::Open };
                let file = open(&folder, "a.tar", intent, true).await.unwrap();
                // Meanwhile it is nobody else's.
                assert!(matches!(open(&folder, "a.tar", OpenIntent::Open, true).await, Err(SmbError::Sharing)));
                at -= again;
                while at < until {
                    let ends = (at + MIB).min(until);
                    file.write(at as u64, &archive[at..ends]).await.unwrap();
                    at = ends;
                }
                assert_eq!(file.close().await.is_ok(), until == archive.len());
            }
        });
        assert!(fs::read(home.path().join("nas/a.tar")).unwrap() == archive);
        assert_eq!(*said.lock().unwrap(), [Event::Arrived { name: "a.tar".to_owned(), size: archive.len() as u64 }]);
    }

    #[test]
    fn a_folder_whose_disk_is_away_takes_nothing_also_after_a_list() {
        let home = tempfile::tempdir().unwrap();
        let bridge = Bridge::start().unwrap();
        let (shared, said) = shared(home.path(), &bridge);
        let is_there = Arc::new(AtomicBool::new(true));
        let asked = Arc::clone(&is_there);
        let looks: Arc<dyn Fn() -> Result<(), String> + Send + Sync> =
            Arc::new(move || asked.load(Ordering::Relaxed).then_some(()).ok_or_else(|| "it is not mounted".to_owned()));
        let folder = Folder::new(Shared { is_there: Some(looks), ..shared }, &Arc::default());
        bridge.wait(async {
            let writes = || open(&folder, "a.tar", OpenIntent::OverwriteOrCreate, true);
            assert!(matches!(open(&folder, "a.tar", OpenIntent::Open, false).await, Err(SmbError::NotFound)));
            is_there.store(false, Ordering::Relaxed);
            assert!(matches!(writes().await, Err(SmbError::Io(_))));
            assert_eq!(fs::read_dir(home.path().join("nas")).unwrap().count(), 0);
            let failed = Event::Failed { name: "a.tar".to_owned(), reason: "it is not mounted".to_owned() };
            assert_eq!(*said.lock().unwrap(), [failed]);
            is_there.store(true, Ordering::Relaxed);
            drop(writes().await.unwrap());
            folder.end("the end").await;
        });
    }

    /// A destination whose list never shows what has come.
    struct Lagging(Arc<dyn Store>);

    #[async_trait]
    impl Sink for Lagging {
        fn label(&self) -> String {
            self.0.label()
        }
        fn abilities(&self) -> Abilities {
            self.0.abilities()
        }
        async fn create(&self, name: &str, expected: Expected) -> Result<Box<dyn store::Upload>, StoreError> {
            self.0.create(name, expected).await
        }
        fn store(self: Arc<Self>) -> Option<Arc<dyn Store>> {
            Some(self)
        }
    }

    #[async_trait]
    impl Store for Lagging {
        async fn resume(&self, _: &Session) -> Result<Option<Box<dyn store::Upload>>, StoreError> {
            Ok(None)
        }
        async fn list(&self) -> Result<Vec<Entry>, StoreError> {
            Ok(Vec::new())
        }
        async fn entry(&self, name: &str) -> Result<Option<Entry>, StoreError> {
            self.0.entry(name).await
        }
        async fn read(&self, name: &str, range: Range<u64>) -> Result<Bytes, StoreError> {
            self.0.read(name, range).await
        }
        async fn delete(&self, name: &str) -> Result<(), StoreError> {
            self.0.delete(name).await
        }
        async fn space(&self) -> Result<Option<u64>, StoreError> {
            self.0.space().await
        }
        async fn remove_abandoned(&self) -> Result<u32, StoreError> {
            self.0.remove_abandoned().await
        }
    }

    #[test]
    fn an_archive_that_has_arrived_is_there_whenever_its_destination_shows_it() {
        let home = tempfile::tempdir().unwrap();
        let bridge = Bridge::start().unwrap();
        let (shared, said) = shared(home.path(), &bridge);
        let inner = Arc::clone(&shared.connect);
        let connect: crate::Connect = Arc::new(move || Ok(Arc::new(Lagging(inner()?)) as Arc<dyn Store>));
        let folder = Folder::new(Shared { directory: None, connect, ..shared }, &Arc::default());
        let archive = backup(&noise(MIB / 2));
        bridge.wait(async {
            let file = open(&folder, "a.tar", OpenIntent::OverwriteOrCreate, true).await.unwrap();
            file.write(0, &archive).await.unwrap();
            file.close().await.unwrap();
            for _ in 0..2 {
                let file = open(&folder, "a.tar", OpenIntent::Open, false).await.unwrap();
                assert_eq!(file.stat().await.unwrap().end_of_file, archive.len() as u64);
                assert!(file.read(0, MIB as u32).await.unwrap() == archive);
            }
            let path = SmbPath::from_utf16(&"a.tar".encode_utf16().collect::<Vec<_>>()).unwrap();
            folder.unlink(&path).await.unwrap();
            assert!(matches!(open(&folder, "a.tar", OpenIntent::Open, false).await, Err(SmbError::NotFound)));
        });
        let name = || "a.tar".to_owned();
        let arrived = Event::Arrived { name: name(), size: archive.len() as u64 };
        assert_eq!(*said.lock().unwrap(), [arrived, Event::Deleted { name: name() }]);
    }

    /// Whoever makes archives anew, and is told late that nobody wants this one.
    struct Slow(Mutex<mpsc::Receiver<()>>);

    impl crate::Remaker for Slow {
        fn takes(&self, _: &str) -> bool {
            true
        }
        fn remake(&self, _: &str, pieces: &mut dyn engine::remake::Pieces) -> Result<u64, String> {
            while let Ok(Some(_)) = pieces.next() {}
            let _ = self.0.lock().unwrap().recv();
            Err("it was given up".to_owned())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_removes_an_archive_does_not_wait_until_its_destination_is_tidy() {
        let home = tempfile::tempdir().unwrap();
        let bridge = Bridge::start().unwrap();
        let (shared, said) = shared(home.path(), &bridge);
        let (ends, end) = mpsc::channel();
        let remaker: Option<Arc<dyn crate::Remaker>> = Some(Arc::new(Slow(Mutex::new(end))));
        let folder = Folder::new(Shared { remaker, ..shared }, &Arc::default());
        let file = open(&folder, "a.tar", OpenIntent::OverwriteOrCreate, true).await.unwrap();
        let path = SmbPath::from_utf16(&"a.tar".encode_utf16().collect::<Vec<_>>()).unwrap();
        let removed = tokio::time::timeout(4 * PATIENCE, folder.unlink(&path)).await;
        assert!(removed.is_ok_and(|removed| removed.is_ok()));
        assert!(said.lock().unwrap().is_empty(), "it has not ended");
        drop((ends, file));
    }
}
