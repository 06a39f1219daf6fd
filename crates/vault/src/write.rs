//! One backup on its way into a vault, on a thread of its own.

use std::{collections::HashMap, num::NonZeroUsize};

use store::{Kind as ErrorKind, Operation, StoreError};
use tokio::sync::mpsc;

use crate::{
    base::Base,
    cache::{Cache, NewSheet, Sheet},
    draft::{self, Draft, DraftDatabase, DraftExtent, DraftPiece, Spot, Usage},
    group,
    id::Id,
    objects::{Objects, is_damage},
    packer::{How, PackError, Packed, Packer, Ticket},
    pages::{self, Hashes},
    record::{self, HASHES, Part, Place, RunAt, Snapshot},
    seal::{ContentHasher, Hash, MasterKey},
    segment::{Class, Cuts},
};

/// A list of pieces ends at one whose hash says so, about every 128th, so that a new file changes one list.
const LIST_ENDS: u8 = 0x7f;
const SHORTEST_LIST: usize = 16;
const LONGEST_LIST: usize = 1024;
/// More runs than this are folded into one, …
const MOST_RUNS: u64 = 8;
/// … and so are runs that together have more than a quarter of the pages.
const FOLD_FROM: u64 = 4;
/// No run has more pages, whatever changed: so its record stays far below the longest group. Whole groups of hashes.
const MOST_PAGES: u64 = 2 * HASHES as u64;
/// No more bytes than this are kept in place.
const MOST_INLINE: usize = 1 << 20;

/// What can be known of a backup only when its own description is there.
pub(crate) trait Chooser {
    /// The earlier backup that this one is compared with: the last of the same instance. Called once, before the first
    /// piece.
    fn base(&mut self, instance: Option<&str>) -> Result<Base, StoreError>;
}

/// Takes the cut bytes of one backup.
pub(crate) struct Writer<'v, C> {
    objects: &'v Objects,
    master: &'v MasterKey,
    hasher: ContentHasher,
    packer: Packer,
    chooser: C,
    base: Option<Base>,
    instance: Option<String>,
    drafts: Vec<Draft>,
    list: Vec<DraftPiece>,
    position: u64,
    class: Class,
    current: Vec<u8>,
    open: HashMap<Class, OpenGroup>,
    new: HashMap<Hash, (Ticket, u32, u32)>,
    database: Option<OpenDatabase>,
    inline: usize,
    cache: Cache,
    sheets: Vec<NewSheet>,
}

struct OpenGroup {
    ticket: Ticket,
    plain: Vec<u8>,
}

struct OpenDatabase {
    draft: DraftDatabase,
    /// `None`: every page is new.
    cursor: Option<Cursor>,
    /// The pages of the runs below, where they and the new ones become one run.
    folds: Option<Vec<DraftExtent>>,
    partial: Vec<u8>,
    page: u64,
    group: Option<OpenGroup>,
    hashes: Vec<u8>,
    sheet: Option<NewSheet>,
}

/// The hashes of the base; borrows nothing, so that it can live beside the writer.
type Cursor = Box<dyn FnMut(u64) -> Result<Option<Hash>, StoreError>>;
type Earlier = (Cursor, Option<Vec<DraftExtent>>);

/// What came of it.
pub(crate) struct Written {
    /// The backup, but for its name and time.
    pub parts: Vec<Part>,
    /// What it needs.
    pub packs: Vec<(Id, u32)>,
    /// Home Assistant's id of the instance.
    pub instance: Option<String>,
    /// The hashes of its databases' pages, for the next one.
    pub(crate) sheets: Vec<NewSheet>,
}

impl<'v, C: Chooser> Writer<'v, C> {
    /// A backup whose packs go to `uploads`.
    pub(crate) fn new(
        objects: &'v Objects,
        master: &'v MasterKey,
        chooser: C,
        threads: NonZeroUsize,
        uploads: mpsc::Sender<Packed>,
        cache: Cache,
    ) -> Result<Self, StoreError> {
        let packer = Packer::new(master.clone(), threads, uploads).map_err(|error| failed(objects, &error))?;
        Ok(Self {
            objects,
            master,
            hasher: master.hasher(),
            packer,
            chooser,
            base: None,
            instance: None,
            drafts: Vec::new(),
            list: Vec::new(),
            position: 0,
            class: Class::Frame,
            current: Vec::new(),
            open: HashMap::new(),
            new: HashMap::new(),
            database: None,
            inline: 0,
            cache,
            sheets: Vec::new(),
        })
    }

    /// Overwrites bytes that are kept in place. `false`: they are not.
    pub(crate) fn patch(&mut self, offset: u64, new: &[u8]) -> bool {
        self.drafts.iter_mut().any(|draft| {
            let Draft::Inline { at, bytes } = draft else { return false };
            let slot = offset.checked_sub(*at).and_then(|from| {
                let from = usize::try_from(from).ok()?;
                bytes.get_mut(from..from.checked_add(new.len())?)
            });
            slot.map(|slot| slot.copy_from_slice(new)).is_some()
        })
    }

    /// All bytes have come: writes the records, and hands over the last pack.
    pub(crate) fn finish(mut self) -> Result<Written, StoreError> {
        self.end_list();
        for (_, group) in std::mem::take(&mut self.open) {
            self.submit(group, self.compressed())?;
        }
        self.packer.settle().map_err(|error| failed(self.objects, &error))?;
        let drafts = std::mem::take(&mut self.drafts);
        let mut waiting = Vec::with_capacity(drafts.len());
        let mut usage = Usage::default();
        for draft in drafts {
            waiting.push(self.record(draft, &mut usage)?);
        }
        self.packer.finish().map_err(|error| failed(self.objects, &error))?;
        let mut parts = Vec::with_capacity(waiting.len());
        for waiting in waiting {
            parts.push(self.placed(waiting, &mut usage)?);
        }
        let sheets = std::mem::take(&mut self.sheets);
        Ok(Written { parts, packs: usage.into_packs(), instance: self.instance.take(), sheets })
    }

    fn record(&mut self, draft: Draft, usage: &mut Usage) -> Result<Waiting, StoreError> {
        match draft {
            Draft::Inline { bytes, .. } => Ok(Waiting::Done(Part::Inline(bytes))),
            Draft::Pieces(pieces) => {
                let length = pieces.iter().map(|piece| u64::from(piece.length)).sum();
                let list = draft::list(&pieces, |spot| self.place(spot)).ok_or_else(|| self.lost())?;
                let bytes = record::encode(&list);
                let known = self.base.as_ref().and_then(|base| base.list(&self.hasher.hash(&bytes)));
                if let Some((list, needs)) = known {
                    usage.include(needs);
                    return Ok(Waiting::Done(Part::Pieces { length, list }));
                }
                usage.add_all(&list.groups);
                let ticket = self.ticket_for(bytes)?;
                Ok(Waiting::List { length, ticket })
            }
            Draft::Database(DraftDatabase { path, page_size, pages, below, extents, hashes }) => {
                let hashes = hashes.iter().map(|ticket| self.packer.place(*ticket)).collect::<Option<Vec<Place>>>();
                let hashes = hashes.ok_or_else(|| self.lost())?;
                let mut hashes = hashes.chunks(index(MOST_PAGES) / HASHES);
                let mut runs = Vec::new();
                for extents in pages::split(extents, MOST_PAGES) {
                    let run = draft::run(&extents, |spot| self.place(spot)).ok_or_else(|| self.lost())?;
                    let hashes = hashes.next().ok_or_else(|| self.lost())?.to_vec();
                    let mut needs = Usage::default();
                    needs.add_all(&run.groups);
                    for place in &hashes {
                        needs.add(*place);
                    }
                    let pages = extents.iter().map(|extent| u64::from(extent.count)).sum();
                    let ticket = self.ticket_for(record::encode(&run))?;
                    runs.push(NewRun { ticket, pages, hashes, needs });
                }
                Ok(Waiting::Database { path, page_size, pages, below, runs })
            }
        }
    }

    fn placed(&self, waiting: Waiting, usage: &mut Usage) -> Result<Part, StoreError> {
        let place = |ticket| self.packer.place(ticket).ok_or_else(|| self.lost());
        Ok(match waiting {
            Waiting::Done(part) => part,
            Waiting::List { length, ticket } => {
                let list = place(ticket)?;
                usage.add(list);
                Part::Pieces { length, list }
            }
            Waiting::Database { path, page_size, pages, below, runs: new } => {
                let mut runs = Vec::with_capacity(below.len() + new.len());
                for NewRun { ticket, pages, hashes, mut needs } in new {
                    let at = place(ticket)?;
                    needs.add(at);
                    runs.push(RunAt { at, pages, hashes, packs: needs.into_packs() });
                }
                runs.extend(below);
                for (pack, bytes) in runs.iter().flat_map(|run| &run.packs) {
                    usage.more(*pack, *bytes);
                }
                Part::Database { path, page_size, pages, runs }
            }
        })
    }

    fn compressed(&self) -> How {
        let is_first = self.base.as_ref().is_none_or(|base| base.id.is_none());
        How::Compressed(if is_first { group::FAST } else { group::SMALL })
    }

    fn place(&self, spot: Spot) -> Option<Place> {
        match spot {
            Spot::There(place) => Some(place),
            Spot::Coming(ticket) => self.packer.place(ticket),
        }
    }

    fn lost(&self) -> StoreError {
        StoreError::remote(
            self.objects.label(),
            Operation::Write,
            ErrorKind::Protocol,
            "a group of the backup was never written",
        )
    }

    fn ticket_for(&mut self, plain: Vec<u8>) -> Result<Ticket, StoreError> {
        if plain.len() > group::LARGEST {
            return Err(self.lost());
        }
        let ticket = self.packer.ticket();
        self.submit(OpenGroup { ticket, plain }, self.compressed())?;
        Ok(ticket)
    }

    fn submit(&mut self, group: OpenGroup, how: How) -> Result<(), StoreError> {
        self.packer.submit(group.ticket, group.plain, how).map_err(|error| failed(self.objects, &error))
    }

    /// The earlier backup, chosen when the first piece comes: by then the description is there.
    fn base(&mut self) -> Result<&Base, StoreError> {
        if self.base.is_none() {
            self.instance = self.drafts.iter().find_map(|draft| match draft {
                Draft::Inline { bytes, .. } => instance(bytes),
                _ => None,
            });
            self.base = Some(self.chooser.base(self.instance.as_deref())?);
        }
        Ok(self.base.get_or_insert_default())
    }

    fn end_list(&mut self) {
        if !self.list.is_empty() {
            self.drafts.push(Draft::Pieces(std::mem::take(&mut self.list)));
        }
    }

    fn piece(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        let hash = self.hasher.hash(bytes);
        let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        let there = self.base()?.piece(&hash, length);
        let (spot, at) = if let Some((place, at)) = there {
            (Spot::There(place), at)
        } else if let Some((ticket, at, _)) = self.new.get(&hash).filter(|(.., known)| *known == length) {
            (Spot::Coming(*ticket), *at)
        } else {
            let (ticket, at) = self.gather(bytes)?;
            self.new.insert(hash, (ticket, at, length));
            (Spot::Coming(ticket), at)
        };
        self.list.push(DraftPiece { length, hash, spot, at });
        let ends = self.list.len() >= SHORTEST_LIST && hash[0] & LIST_ENDS == 0;
        if ends || self.list.len() >= LONGEST_LIST {
            self.end_list();
        }
        Ok(())
    }

    /// Adds bytes to the open group of their class.
    fn gather(&mut self, bytes: &[u8]) -> Result<(Ticket, u32), StoreError> {
        let is_too_much = self.open.get(&self.class).is_some_and(|open| open.plain.len() + bytes.len() > group::FULL);
        if is_too_much && let Some(open) = self.open.remove(&self.class) {
            self.submit(open, self.compressed())?;
        }
        let packer = &mut self.packer;
        let open = self
            .open
            .entry(self.class)
            .or_insert_with(|| OpenGroup { ticket: packer.ticket(), plain: Vec::with_capacity(group::FULL) });
        let at = u32::try_from(open.plain.len()).unwrap_or(u32::MAX);
        open.plain.extend_from_slice(bytes);
        Ok((open.ticket, at))
    }

    fn page(&mut self, database: &mut OpenDatabase, bytes: &[u8]) -> Result<(), StoreError> {
        let hash = self.hasher.hash(bytes);
        let page = database.page;
        database.page += 1;
        if let Some(sheet) = &mut database.sheet {
            sheet.push(&hash);
        }
        let before = match database.cursor.as_mut().map_or(Ok(None), |before| before(page)) {
            // What is damaged is sent again.
            Err(error) if is_damage(&error) => {
                database.cursor = None;
                None
            }
            before => before?,
        };
        let is_new = before != Some(hash);
        if is_new {
            if bytes.iter().all(|byte| *byte == 0) {
                draft::push(&mut database.draft.extents, page, None, 0);
            } else {
                let packer = &mut self.packer;
                let group = database.group.get_or_insert_with(|| OpenGroup {
                    ticket: packer.ticket(),
                    plain: Vec::with_capacity(group::FULL_OF_PAGES),
                });
                let first = u32::try_from(group.plain.len() / bytes.len()).unwrap_or(u32::MAX);
                draft::push(&mut database.draft.extents, page, Some(Spot::Coming(group.ticket)), first);
                group.plain.extend_from_slice(bytes);
                if group.plain.len() >= group::FULL_OF_PAGES
                    && let Some(full) = database.group.take()
                {
                    self.submit(full, self.compressed())?;
                }
            }
        }
        if is_new || database.folds.is_some() {
            database.hashes.extend_from_slice(&hash);
            if database.hashes.len() == HASHES * hash.len() {
                self.hashes(database)?;
            }
        }
        Ok(())
    }

    /// The hashes of a database's pages, and where these are if it is time to make one run of all.
    fn earlier(&self, runs: &[RunAt], pages: u64, sheet: Option<Sheet>) -> Result<Earlier, StoreError> {
        let all = runs.iter().fold(0_u64, |all, run| all.saturating_add(run.pages));
        let has_many = runs.len() as u64 > MOST_RUNS + pages / MOST_PAGES;
        let folds = has_many || all.saturating_sub(pages) > pages / FOLD_FROM;
        let lower = if folds { Some(pages::map(self.objects, self.master, runs)?) } else { None };
        let cursor = match sheet {
            Some(sheet) => cached(sheet, pages),
            None => hash_cursor(self.objects.clone(), self.master.clone(), runs, pages)?,
        };
        Ok((cursor, lower))
    }

    fn hashes(&mut self, database: &mut OpenDatabase) -> Result<(), StoreError> {
        let plain = std::mem::take(&mut database.hashes);
        if plain.is_empty() {
            return Ok(());
        }
        let ticket = self.packer.ticket();
        database.draft.hashes.push(ticket);
        self.submit(OpenGroup { ticket, plain }, How::Stored)
    }
}

enum Waiting {
    Done(Part),
    List { length: u64, ticket: Ticket },
    Database { path: String, page_size: u32, pages: u64, below: Vec<RunAt>, runs: Vec<NewRun> },
}

struct NewRun {
    ticket: Ticket,
    pages: u64,
    hashes: Vec<Place>,
    needs: Usage,
}

impl<C: Chooser> Cuts for Writer<'_, C> {
    type Error = StoreError;

    fn bytes(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.current.extend_from_slice(bytes);
        self.position += bytes.len() as u64;
        // Only bytes that are no backup get here: nothing may grow without a bound.
        if self.current.len() > group::LARGEST / 2 {
            let class = self.class;
            self.class = Class::Other;
            self.cut(class)?;
        }
        Ok(())
    }

    fn cut(&mut self, next: Class) -> Result<(), StoreError> {
        let bytes = std::mem::take(&mut self.current);
        if !bytes.is_empty() {
            if self.class == Class::Frame && self.inline + bytes.len() <= MOST_INLINE {
                self.end_list();
                self.inline += bytes.len();
                let start = self.position - bytes.len() as u64;
                match self.drafts.last_mut() {
                    Some(Draft::Inline { bytes: before, .. }) => before.extend_from_slice(&bytes),
                    _ => self.drafts.push(Draft::Inline { at: start, bytes }),
                }
            } else {
                self.piece(&bytes)?;
            }
        }
        self.class = next;
        Ok(())
    }

    fn database(&mut self, path: &str, page_size: u32, pages: u64) -> Result<(), StoreError> {
        self.end_list();
        let base = self.base()?.id;
        let known = self.base()?.database(path, page_size).map(|(pages, runs)| (pages, runs.to_vec()));
        let key = format!("{path}\0{page_size}\0{}", self.instance.as_deref().unwrap_or_default());
        let name = self.hasher.hash(key.as_bytes());
        let (below, cursor, folds) = match known {
            None => (Vec::new(), None, None),
            Some((before, runs)) => {
                let sheet = base.and_then(|base| self.cache.sheet(&name, base, before));
                match self.earlier(&runs, before, sheet) {
                    Ok((cursor, None)) => (runs, Some(cursor), None),
                    Ok((cursor, folds)) => (Vec::new(), Some(cursor), folds),
                    // What is damaged is sent again.
                    Err(error) if is_damage(&error) => (Vec::new(), None, None),
                    Err(error) => return Err(error),
                }
            }
        };
        let draft =
            DraftDatabase { path: path.to_owned(), page_size, pages, below, extents: Vec::new(), hashes: Vec::new() };
        self.database = Some(OpenDatabase {
            draft,
            cursor,
            folds,
            partial: Vec::new(),
            page: 0,
            group: None,
            hashes: Vec::new(),
            sheet: self.cache.new_sheet(&name),
        });
        Ok(())
    }

    fn pages(&mut self, mut bytes: &[u8]) -> Result<(), StoreError> {
        self.position += bytes.len() as u64;
        let Some(mut database) = self.database.take() else { return Ok(()) };
        let size = database.draft.page_size as usize;
        if !database.partial.is_empty() {
            let count = bytes.len().min(size - database.partial.len());
            database.partial.extend_from_slice(&bytes[..count]);
            bytes = &bytes[count..];
            if database.partial.len() == size {
                let page = std::mem::take(&mut database.partial);
                self.page(&mut database, &page)?;
            }
        }
        let mut whole = bytes.chunks_exact(size);
        for page in &mut whole {
            self.page(&mut database, page)?;
        }
        database.partial.extend_from_slice(whole.remainder());
        self.database = Some(database);
        Ok(())
    }

    fn end_database(&mut self) -> Result<(), StoreError> {
        let Some(mut database) = self.database.take() else { return Ok(()) };
        if let Some(group) = database.group.take() {
            self.submit(group, self.compressed())?;
        }
        self.hashes(&mut database)?;
        let OpenDatabase { mut draft, folds, partial, page, sheet, .. } = database;
        self.sheets.extend(sheet);
        // The backup ended inside the database.
        draft.pages = page;
        if let Some(mut lower) = folds {
            pages::cut(&mut lower, page);
            draft.extents = pages::over(&draft.extents, &lower);
        }
        self.drafts.push(Draft::Database(draft));
        self.current = partial;
        self.class = Class::Other;
        self.cut(Class::Other)
    }
}

#[expect(clippy::cast_possible_truncation, reason = "a small constant")]
const fn index(number: u64) -> usize {
    number as usize
}

/// Of a file of this machine.
fn cached(mut sheet: Sheet, pages: u64) -> Cursor {
    Box::new(move |page| Ok(if page < pages { sheet.next() } else { None }))
}

fn hash_cursor(objects: Objects, master: MasterKey, runs: &[RunAt], pages: u64) -> Result<Cursor, StoreError> {
    let mut hashes = Hashes::of(objects, master, runs, pages)?;
    Ok(Box::new(move |page| hashes.at(page)))
}

/// Home Assistant's id of the instance, of the bytes that hold a backup's description.
fn instance(frame: &[u8]) -> Option<String> {
    let key = b"\"instance_id\"";
    let at = frame.windows(key.len()).position(|window| window == key)? + key.len();
    let text = String::from_utf8_lossy(frame.get(at..frame.len().min(at + 200))?).into_owned();
    let value = text.trim_start().strip_prefix(':')?.trim_start().strip_prefix('"')?;
    value.split_once('"').map(|(id, _)| id.to_owned())
}

fn failed(objects: &Objects, error: &PackError) -> StoreError {
    StoreError::remote(objects.label(), Operation::Write, ErrorKind::Protocol, error.to_string())
}

/// A snapshot of what was written.
pub(crate) fn snapshot(name: &str, finished: i64, written: Written) -> Snapshot {
    let Written { parts, packs, instance, .. } = written;
    Snapshot { name: name.to_owned(), finished, instance, packs, parts }
}
