//! A backup's bytes, from any position, put together from where they are.

use std::{
    collections::{BTreeMap, HashMap},
    ops::Range,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::{Bytes, BytesMut};
use store::{Kind as ErrorKind, Operation, StoreError};

use crate::{
    draft::{DraftExtent, Spot},
    objects::Objects,
    pages,
    record::{Part, PieceList, Place, Snapshot},
    seal::MasterKey,
};

/// Memory for opened groups.
const CACHED: usize = 8 << 20;
/// One backup, for reading.
pub(crate) struct Reader {
    objects: Objects,
    master: MasterKey,
    snapshot: Arc<Snapshot>,
    /// Where each part begins, and the end of the last.
    starts: Vec<u64>,
    loaded: Mutex<HashMap<usize, Arc<Loaded>>>,
    cache: Mutex<Cache>,
}

/// Where the bytes of a part are.
enum Loaded {
    Pieces(PieceList, Vec<u64>),
    Pages(Vec<DraftExtent>),
}

/// Some bytes of the backup, and where they come from.
struct Bit {
    /// Which bytes of the backup.
    range: Range<u64>,
    /// `None`: zeros.
    from: Option<(Place, u64)>,
}

#[derive(Default)]
struct Cache {
    groups: BTreeMap<Place, (u64, Bytes)>,
    bytes: usize,
    tick: u64,
}

impl Cache {
    fn get(&mut self, place: &Place) -> Option<Bytes> {
        self.tick += 1;
        let (used, bytes) = self.groups.get_mut(place)?;
        *used = self.tick;
        Some(bytes.clone())
    }

    fn put(&mut self, place: Place, content: Bytes) {
        self.tick += 1;
        self.bytes += content.len();
        if let Some((_, old)) = self.groups.insert(place, (self.tick, content)) {
            self.bytes -= old.len();
        }
        while self.bytes > CACHED && self.groups.len() > 1 {
            let Some(oldest) = self.groups.iter().min_by_key(|(_, (used, _))| *used).map(|(place, _)| *place) else {
                return;
            };
            if let Some((_, old)) = self.groups.remove(&oldest) {
                self.bytes -= old.len();
            }
        }
    }
}

impl Reader {
    /// Of this backup.
    pub(crate) fn new(objects: Objects, master: MasterKey, snapshot: Arc<Snapshot>) -> Self {
        let mut end = 0_u64;
        let starts = std::iter::once(0)
            .chain(snapshot.parts.iter().map(|part| {
                end = end.saturating_add(part.length());
                end
            }))
            .collect();
        Self { objects, master, snapshot, starts, loaded: Mutex::default(), cache: Mutex::default() }
    }

    /// Its length in bytes.
    pub(crate) fn len(&self) -> u64 {
        self.starts.last().copied().unwrap_or_default()
    }

    /// Exactly these bytes, which are inside it.
    pub(crate) fn read(&self, range: Range<u64>) -> Result<Bytes, StoreError> {
        let length = range.end.checked_sub(range.start).and_then(|length| usize::try_from(length).ok());
        let length = length.filter(|_| range.end <= self.len()).ok_or_else(|| {
            let reason = format!("bytes {} to {} of {} are not there", range.start, range.end, self.snapshot.name);
            StoreError::remote(self.objects.label(), Operation::Read, ErrorKind::Invalid, reason)
        })?;
        let mut out = BytesMut::zeroed(length);
        let mut bits = Vec::new();
        let first = self.starts.partition_point(|start| *start <= range.start).saturating_sub(1);
        for (number, part) in self.snapshot.parts.iter().enumerate().skip(first) {
            let start = self.starts[number];
            if start >= range.end {
                break;
            }
            let wanted = range.start.max(start)..range.end.min(start + part.length());
            if wanted.is_empty() {
                continue;
            }
            if let Part::Inline(bytes) = part {
                let from = index(wanted.start - start);
                let to = index(wanted.start - range.start);
                let count = index(wanted.end - wanted.start);
                out[to..to + count].copy_from_slice(&bytes[from..from + count]);
            } else {
                self.bits(number, part, start, wanted, &mut bits)?;
            }
        }
        self.fill(&bits, range.start, &mut out)?;
        Ok(out.freeze())
    }

    /// Where the wanted bytes of a part come from.
    fn bits(
        &self,
        number: usize,
        part: &Part,
        start: u64,
        wanted: Range<u64>,
        bits: &mut Vec<Bit>,
    ) -> Result<(), StoreError> {
        let loaded = self.load(number, part)?;
        match (&*loaded, part) {
            (Loaded::Pieces(list, starts), _) => {
                let first = starts.partition_point(|at| start + at <= wanted.start).saturating_sub(1);
                for (piece, at) in list.pieces.iter().zip(starts).skip(first) {
                    let begins = start + at;
                    let range = begins.max(wanted.start)..(begins + u64::from(piece.length)).min(wanted.end);
                    if begins >= wanted.end {
                        break;
                    }
                    let place = list.groups.place(piece.group).ok_or_else(|| self.senseless())?;
                    let from = u64::from(piece.at) + (range.start - begins);
                    bits.push(Bit { range, from: Some((place, from)) });
                }
            }
            (Loaded::Pages(extents), Part::Database { page_size, .. }) => {
                let size = u64::from(*page_size);
                let begins = |extent: &DraftExtent| start + extent.page * size;
                let first = extents.partition_point(|extent| begins(extent) <= wanted.start).saturating_sub(1);
                let mut next = wanted.start;
                for extent in &extents[first.min(extents.len())..] {
                    let at = begins(extent);
                    let range = at.max(wanted.start)..(at + u64::from(extent.count) * size).min(wanted.end);
                    if at >= wanted.end {
                        break;
                    }
                    if range.is_empty() {
                        continue;
                    }
                    if range.start != next {
                        return Err(self.senseless());
                    }
                    next = range.end;
                    let from = match extent.spot {
                        Some(Spot::There(place)) => Some((place, u64::from(extent.first) * size + (range.start - at))),
                        _ => None,
                    };
                    bits.push(Bit { range, from });
                }
                if next != wanted.end {
                    return Err(self.senseless());
                }
            }
            (Loaded::Pages(_), _) => return Err(self.senseless()),
        }
        Ok(())
    }

    fn load(&self, number: usize, part: &Part) -> Result<Arc<Loaded>, StoreError> {
        if let Some(loaded) = lock(&self.loaded).get(&number) {
            return Ok(Arc::clone(loaded));
        }
        let loaded = Arc::new(match part {
            Part::Pieces { list, length } => {
                let list: PieceList = self.objects.group_record(&self.master, *list)?;
                let mut end = 0;
                let starts: Vec<u64> = list
                    .pieces
                    .iter()
                    .map(|piece| {
                        let start = end;
                        end += u64::from(piece.length);
                        start
                    })
                    .collect();
                if end != *length {
                    return Err(self.senseless());
                }
                Loaded::Pieces(list, starts)
            }
            Part::Database { runs, .. } => Loaded::Pages(pages::map(&self.objects, &self.master, runs)?),
            Part::Inline(_) => Loaded::Pages(Vec::new()),
        });
        lock(&self.loaded).insert(number, Arc::clone(&loaded));
        Ok(loaded)
    }

    /// Fetches and opens what the bits need, each group once, and puts their bytes where they belong.
    fn fill(&self, bits: &[Bit], start: u64, out: &mut [u8]) -> Result<(), StoreError> {
        let mut missing: Vec<Place> = Vec::new();
        let mut opened: HashMap<Place, Bytes> = HashMap::new();
        for (place, _) in bits.iter().filter_map(|bit| bit.from) {
            if opened.contains_key(&place) || missing.last() == Some(&place) {
                continue;
            }
            match lock(&self.cache).get(&place) {
                Some(content) => {
                    opened.insert(place, content);
                }
                None => missing.push(place),
            }
        }
        self.objects.groups(&self.master, &mut missing, |place, content| {
            let content = Bytes::from(content);
            lock(&self.cache).put(place, content.clone());
            opened.insert(place, content);
        })?;
        for bit in bits {
            let Some((place, from)) = bit.from else { continue };
            let to = index(bit.range.start - start);
            let count = index(bit.range.end - bit.range.start);
            let content = opened.get(&place).and_then(|content| {
                let from = usize::try_from(from).ok()?;
                content.get(from..from.checked_add(count)?)
            });
            out[to..to + count].copy_from_slice(content.ok_or_else(|| self.senseless())?);
        }
        Ok(())
    }

    fn senseless(&self) -> StoreError {
        self.objects.damaged(&self.snapshot.name, "its description in the vault makes no sense")
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Of a range that is in memory.
#[expect(clippy::cast_possible_truncation, reason = "the whole range is in memory")]
fn index(number: u64) -> usize {
    number as usize
}
