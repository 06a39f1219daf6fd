//! A vault at a destination: opening it, its backups, and adding one.

use std::{
    collections::{BTreeMap, HashSet},
    num::NonZeroUsize,
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

use jiff::Timestamp;
use store::{Context, Entry, Kind as ErrorKind, Operation, Store, StoreError};

use crate::{
    base::Base,
    cache::Cache,
    id::{Id, Kind},
    keys::{KeyError, SealedKey, Secret},
    objects::{Objects, is_damage, is_damaged, is_gone},
    record::{DoomedPacks, Reliance, Snapshot},
    seal::MasterKey,
    write::{self, Chooser, Written},
};

/// An open vault. Its calls wait: they are for threads that may.
#[derive(Clone)]
pub struct Vault {
    pub(crate) objects: Objects,
    pub(crate) master: MasterKey,
    snapshots: Arc<Mutex<BTreeMap<Id, Arc<Snapshot>>>>,
    pub(crate) cache: Cache,
    notes: Arc<Mutex<Vec<String>>>,
}

/// Why a backup is none of the vault's.
pub(crate) struct Uncommitted {
    /// What happened.
    pub error: StoreError,
    /// Nobody knows whether it did: what it needs must stay.
    pub may_be_there: bool,
}

impl From<StoreError> for Uncommitted {
    fn from(error: StoreError) -> Self {
        Self { error, may_be_there: false }
    }
}

/// What is at the destination, sorted out.
pub(crate) struct Listing {
    pub(crate) found: BTreeMap<(Kind, Id), Entry>,
}

impl Listing {
    pub(crate) fn of(&self, kind: Kind) -> impl Iterator<Item = (Id, &Entry)> {
        self.found.iter().filter(move |((of, _), _)| *of == kind).map(|((_, id), entry)| (*id, entry))
    }

    pub(crate) fn has(&self, kind: Kind, id: Id) -> bool {
        self.found.contains_key(&(kind, id))
    }
}

impl Vault {
    /// Makes a vault in an empty place, opened by this secret. Must run on a thread that may wait, inside a runtime.
    pub fn init(store: Arc<dyn Store>, context: &Context, secret: &Secret, label: &str) -> Result<Self, StoreError> {
        let objects = Objects::new(store, context);
        let found = objects.list()?;
        let refuse = |reason: String, advice: &str| {
            Err(StoreError::remote(objects.label(), Operation::Create, ErrorKind::Exists, reason).advise(advice))
        };
        if found.iter().any(|entry| matches!(Kind::of(&entry.name), Some((Kind::Key, _)))) {
            return refuse("there is a vault already".to_owned(), "use it, or give another folder");
        }
        if let Some(other) = found.iter().map(|entry| &entry.name).min() {
            return refuse(
                format!("the folder is not empty: there is {other}"),
                "a vault needs a folder of its own: give an empty one",
            );
        }
        let master = MasterKey::random().map_err(|error| no_random(&objects, error))?;
        let vault = Self::of(objects, master, context);
        vault.add_key(secret, label)?;
        Ok(vault)
    }

    /// Opens the vault that is there.
    pub fn open(store: Arc<dyn Store>, context: &Context, secret: &Secret) -> Result<Self, StoreError> {
        let objects = Objects::new(store, context);
        let listing = sorted(objects.list()?);
        let mut unknown = None;
        let mut is_there = false;
        for (id, entry) in listing.of(Kind::Key) {
            is_there = true;
            let bytes = match objects.range(&entry.name, 0..entry.size.min(1 << 16)) {
                Err(error) if is_gone(&error) => continue,
                read => read?,
            };
            match SealedKey::parse(&bytes).and_then(|key| key.open(id, secret)) {
                Ok(master) => return Ok(Self::of(objects, master, context)),
                Err(KeyError::Wrong) => {}
                Err(error) => unknown = Some((entry.name.clone(), error)),
            }
        }
        let refused = |kind, reason: String| StoreError::remote(objects.label(), Operation::Connect, kind, reason);
        if !is_there {
            return Err(refused(ErrorKind::NotFound, "there is no vault".to_owned())
                .advise(format!("check the address, or make one: haul vault init vault+{}", objects.label())));
        }
        if let Some((name, error)) = unknown {
            return Err(refused(ErrorKind::Protocol, format!("{name}: {error}"))
                .advise("check the password; if it is right, update Haul on this machine"));
        }
        let (what, advice) = match secret {
            Secret::Password(_) => ("password", "check vault_password_file, HAUL_VAULT_PASSWORD, or what you typed"),
            Secret::KeyFile(_) => ("key file", "check vault_key_file: the key may be another vault's, or removed"),
        };
        Err(refused(ErrorKind::Credentials, format!("the vault's {what} is wrong")).advise(advice))
    }

    fn of(objects: Objects, master: MasterKey, context: &Context) -> Self {
        let cache = Cache::of(&context.state, master.vault());
        Self { objects, master, snapshots: Arc::default(), cache, notes: Arc::default() }
    }

    /// What its user should know, so far: whole sentences without a full stop.
    pub fn notes(&self) -> Vec<String> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The destination as users know it.
    pub fn label(&self) -> String {
        format!("vault+{}", self.objects.label())
    }

    /// Lets another secret open the vault too.
    pub fn add_key(&self, secret: &Secret, label: &str) -> Result<Id, StoreError> {
        let id = self.random_id()?;
        let bytes = SealedKey::seal(id, label, now(), secret, &self.master).map_err(|error| {
            StoreError::remote(self.objects.label(), Operation::Create, ErrorKind::Invalid, error.to_string())
        })?;
        self.objects.put_whole(&Kind::Key.object(id), bytes)?;
        Ok(id)
    }

    /// Takes away a key; the last one stays.
    pub fn remove_key(&self, id: Id) -> Result<(), StoreError> {
        let keys = self.keys()?;
        let refuse = |kind, reason: &str, advice: &str| {
            Err(StoreError::remote(self.objects.label(), Operation::Delete, kind, reason).advise(advice))
        };
        if !keys.iter().any(|(known, _)| *known == id) {
            return refuse(ErrorKind::NotFound, "the vault has no such key", "`haul vault keys` lists them");
        }
        if keys.len() == 1 {
            return refuse(ErrorKind::Invalid, "it is the vault's only key", "add another one first");
        }
        self.objects.delete(&Kind::Key.object(id))
    }

    /// What opens the vault.
    pub fn keys(&self) -> Result<Vec<(Id, SealedKey)>, StoreError> {
        let listing = sorted(self.objects.list()?);
        listing
            .of(Kind::Key)
            .map(|(id, entry)| {
                let bytes = self.objects.range(&entry.name, 0..entry.size.min(1 << 16))?;
                let key =
                    SealedKey::parse(&bytes).map_err(|error| self.objects.damaged(&entry.name, &error.to_string()))?;
                Ok((id, key))
            })
            .collect()
    }

    pub(crate) fn random_id(&self) -> Result<Id, StoreError> {
        Id::random().map_err(|error| no_random(&self.objects, error))
    }

    pub(crate) fn listing(&self) -> Result<Listing, StoreError> {
        Ok(sorted(self.objects.list()?))
    }

    fn note(&self, note: String) {
        let mut notes = self.notes.lock().unwrap_or_else(PoisonError::into_inner);
        if !notes.contains(&note) {
            notes.push(note);
        }
    }

    /// All backups, the oldest first. One that was deleted meanwhile is none; one that can't be read costs no other.
    pub fn snapshots(&self) -> Result<Vec<(Id, Arc<Snapshot>)>, StoreError> {
        self.snapshots_of(&self.listing()?)
    }

    /// Those whose description can be read: one that is damaged, or was removed just now, costs none of the others.
    pub(crate) fn snapshots_of(&self, listing: &Listing) -> Result<Vec<(Id, Arc<Snapshot>)>, StoreError> {
        let mut all = Vec::new();
        for (id, entry) in listing.of(Kind::Snapshot) {
            match self.snapshot(id, entry.size) {
                Ok(snapshot) => all.push((id, snapshot)),
                Err(error) if is_gone(&error) => {}
                Err(error) if is_damaged(&error) => self.note(format!(
                    "a backup in {} is not listed: its description in {} is damaged; `haul vault check` says more",
                    self.label(),
                    entry.name
                )),
                Err(error) => return Err(error),
            }
        }
        all.sort_by_key(|(id, snapshot)| (snapshot.finished, *id));
        self.cache.forget_others(|id| listing.has(Kind::Snapshot, id));
        self.notice_rollback(all.last().map(|(_, snapshot)| snapshot.finished));
        Ok(all)
    }

    /// Somebody who holds the storage may have put an older state of it back.
    fn notice_rollback(&self, newest: Option<i64>) {
        match (self.cache.newest(), newest) {
            (Some(seen), newest) if newest.is_none_or(|newest| newest < seen) => {
                let when =
                    Timestamp::from_millisecond(seen).map_or_else(|_| String::new(), |seen| format!(" of {seen}"));
                let note = format!(
                    "{} no longer has the newest backup{when} that this machine has seen there: another machine removed \
                     it, or an older state of the storage was put back",
                    self.label()
                );
                self.note(note);
            }
            (_, Some(newest)) => self.cache.keep_newest(newest),
            (_, None) => {}
        }
    }

    /// The packs that are about to be deleted.
    fn doomed(&self, listing: &Listing) -> Result<HashSet<Id>, StoreError> {
        let mut doomed = HashSet::new();
        for (id, entry) in listing.of(Kind::Doomed) {
            match self.objects.record::<DoomedPacks>(&self.master, Kind::Doomed, id, entry.size) {
                Ok(packs) => doomed.extend(packs.packs),
                // What can't be read, no cleanup goes by.
                Err(error) if is_gone(&error) || is_damaged(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(doomed)
    }

    /// One backup's description. What was read once is kept: it never changes.
    pub(crate) fn snapshot(&self, id: Id, size: u64) -> Result<Arc<Snapshot>, StoreError> {
        if let Some(known) = self.known().get(&id) {
            return Ok(Arc::clone(known));
        }
        let kept = self.cache.snapshot(id);
        let kept = kept.and_then(|bytes| self.objects.opened(&self.master, Kind::Snapshot, id, &bytes).ok());
        let read: Arc<Snapshot> = Arc::new(if let Some(kept) = kept {
            kept
        } else {
            let bytes = self.objects.record_bytes(Kind::Snapshot, id, size)?;
            let read = self.objects.opened(&self.master, Kind::Snapshot, id, &bytes)?;
            self.cache.keep_snapshot(id, &bytes);
            read
        });
        if !read.makes_sense() {
            return Err(self.objects.damaged(&Kind::Snapshot.object(id), "what it describes is no backup"));
        }
        self.known().insert(id, Arc::clone(&read));
        Ok(read)
    }

    fn known(&self) -> std::sync::MutexGuard<'_, BTreeMap<Id, Arc<Snapshot>>> {
        self.snapshots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The newest backup of this name.
    pub fn find(&self, name: &str) -> Result<Option<(Id, Arc<Snapshot>)>, StoreError> {
        Ok(self.snapshots()?.into_iter().rfind(|(_, snapshot)| snapshot.name == name))
    }

    /// As [`Self::find`]; a backup that was seen before is not asked for again.
    pub(crate) fn known_or_find(&self, name: &str) -> Result<Option<(Id, Arc<Snapshot>)>, StoreError> {
        let seen = {
            let known = self.known();
            let same = known.iter().filter(|(_, snapshot)| snapshot.name == name);
            same.max_by_key(|(_, snapshot)| snapshot.finished).map(|(id, snapshot)| (*id, Arc::clone(snapshot)))
        };
        match seen {
            Some(found) => Ok(Some(found)),
            None => self.find(name),
        }
    }

    /// Removes every backup of this name; what only it needed goes with the next cleanups.
    pub fn delete(&self, name: &str) -> Result<(), StoreError> {
        let all = self.snapshots()?;
        // What this machine removes is not missed.
        self.cache.keep_newest(i64::MIN);
        for (id, snapshot) in all {
            if snapshot.name == name {
                self.objects.delete(&Kind::Snapshot.object(id))?;
                self.known().remove(&id);
            }
        }
        self.snapshots().map(drop)
    }

    /// Says what a new backup relies on, before it does.
    pub(crate) fn begin(&self) -> Result<Beginning, StoreError> {
        let id = self.random_id()?;
        Ok(Beginning { vault: self.clone(), writer: id, announced: Arc::default() })
    }

    /// Makes a backup one of the vault's: nothing of it counts before, and everything it needs is there.
    /// `made`: the packs that were uploaded for it.
    pub(crate) fn commit(
        &self,
        name: &str,
        mut written: Written,
        beginning: &Beginning,
        made: &[Id],
    ) -> Result<Id, Uncommitted> {
        let sheets = std::mem::take(&mut written.sheets);
        // Its own packs are there, also where a list does not show yet what has just arrived.
        let earlier = || written.packs.iter().map(|(pack, _)| *pack).filter(|pack| !made.contains(pack));
        let listing = sorted(self.objects.list_with(&earlier().map(|pack| Kind::Pack.object(pack)).collect())?);
        let doomed = self.doomed(&listing)?;
        if self.snapshots_of(&listing)?.iter().any(|(_, snapshot)| snapshot.name == name) {
            let reason = format!("there is a backup called {name} already");
            return Err(StoreError::remote(self.label(), Operation::Publish, ErrorKind::Exists, reason).into());
        }
        let is_missing = |pack: &Id| doomed.contains(pack) || !made.contains(pack) && !listing.has(Kind::Pack, *pack);
        let refuse = |reason: String| {
            StoreError::remote(self.objects.label(), Operation::Publish, ErrorKind::Lost, reason)
                .advise("try again when no cleanup is running")
        };
        if let Some((pack, _)) = written.packs.iter().find(|(pack, _)| is_missing(pack)) {
            let name = Kind::Pack.object(*pack);
            return Err(refuse(format!("{name} was removed while the backup was running")).into());
        }
        let id = self.random_id()?;
        let (snapshot, object) = (write::snapshot(name, now(), written), Kind::Snapshot.object(id));
        let unknown = |error| Uncommitted { error, may_be_there: true };
        self.objects.put_record(&self.master, Kind::Snapshot, id, &snapshot).map_err(unknown)?;
        // A cleanup that took this backup for a killed one may have looked before the snapshot was there.
        if beginning.was_given_up().map_err(unknown)? {
            self.objects.delete(&object).map_err(unknown)?;
            let reason = "a cleanup took the backup for a killed one, because it began more than a week ago";
            return Err(unknown(refuse(reason.to_owned())));
        }
        self.cache.keep_newest(snapshot.finished);
        self.known().insert(id, Arc::new(snapshot));
        for sheet in sheets {
            sheet.keep(id);
        }
        Ok(id)
    }
}

/// A backup that has begun. Its `writer-` object keeps cleanups away until it has ended.
pub(crate) struct Beginning {
    vault: Vault,
    writer: Id,
    announced: Arc<Mutex<bool>>,
}

impl Beginning {
    /// The backup is over, well or not.
    pub(crate) fn end(&self) {
        if *self.announced.lock().unwrap_or_else(PoisonError::into_inner) {
            // One that stays only delays cleanups.
            self.vault.objects.tidy(&Kind::Writer.object(self.writer));
        }
    }

    /// Whether a cleanup no longer waits for it.
    fn was_given_up(&self) -> Result<bool, StoreError> {
        let is_announced = *self.announced.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(is_announced && !self.vault.objects.is_there(&Kind::Writer.object(self.writer))?)
    }

    /// For the writer.
    pub(crate) fn chooser(&self) -> impl Chooser + use<> {
        Last { vault: self.vault.clone(), writer: self.writer, announced: Arc::clone(&self.announced) }
    }
}

/// Chooses the last backup of the same instance.
struct Last {
    vault: Vault,
    writer: Id,
    announced: Arc<Mutex<bool>>,
}

impl Chooser for Last {
    fn base(&mut self, instance: Option<&str>) -> Result<Base, StoreError> {
        let Self { vault, writer, announced } = self;
        let of_instance = |listing: &Listing| -> Result<Vec<(Id, Arc<Snapshot>)>, StoreError> {
            let same = |snapshot: &Snapshot| snapshot.is_backup() && snapshot.instance.as_deref() == instance;
            Ok(vault.snapshots_of(listing)?.into_iter().filter(|(_, snapshot)| same(snapshot)).collect())
        };
        let packs = of_instance(&vault.listing()?)?
            .last()
            .map(|(_, snapshot)| snapshot.packs.iter().map(|(pack, _)| *pack).collect())
            .unwrap_or_default();
        // Even an attempt that seems to fail may arrive.
        *announced.lock().unwrap_or_else(PoisonError::into_inner) = true;
        vault.objects.put_record(&vault.master, Kind::Writer, *writer, &Reliance { packs })?;
        // Only now is it certain that nothing of it goes away meanwhile. What lacks something, or soon will, is no base:
        // without it, that content is sent again.
        let listing = vault.listing()?;
        let doomed = vault.doomed(&listing)?;
        let stays = |(pack, _): &(Id, u32)| listing.has(Kind::Pack, *pack) && !doomed.contains(pack);
        let candidates = of_instance(&listing)?;
        for (id, snapshot) in candidates.iter().rev().filter(|(_, snapshot)| snapshot.packs.iter().all(stays)) {
            match Base::load(&vault.objects, &vault.master, *id, snapshot) {
                Err(error) if is_damage(&error) => {}
                loaded => return loaded,
            }
        }
        Ok(Base::default())
    }
}

fn sorted(entries: Vec<Entry>) -> Listing {
    Listing { found: entries.into_iter().filter_map(|entry| Some((Kind::of(&entry.name)?, entry))).collect() }
}

fn no_random(objects: &Objects, error: getrandom::Error) -> StoreError {
    StoreError::remote(
        objects.label(),
        Operation::Create,
        ErrorKind::Invalid,
        format!("the system has no random numbers: {error}"),
    )
}

/// Milliseconds since 1970.
pub(crate) fn now() -> i64 {
    Timestamp::now().as_millisecond()
}

/// When a backup was finished.
pub(crate) fn finished(snapshot: &Snapshot) -> Option<SystemTime> {
    Timestamp::from_millisecond(snapshot.finished).ok().map(SystemTime::from)
}

/// One thread per core.
pub(crate) fn threads() -> NonZeroUsize {
    std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN)
}
