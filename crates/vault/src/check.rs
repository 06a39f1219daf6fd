//! Is everything there that the backups need, and is it what was written?

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use serde::Serialize;
use store::StoreError;

use crate::{
    draft::Spot,
    id::Kind,
    objects::is_damage,
    pages,
    record::{Part, PieceList, Place, Snapshot},
    vault::Vault,
};

/// So many bytes of a pack are read at once.
const STRETCH: u64 = 8 << 20;

/// How much a vault holds.
#[derive(Clone, Debug, Default)]
pub struct Sizes {
    /// Backups.
    pub backups: usize,
    /// The oldest, …
    pub first: Option<Arc<Snapshot>>,
    /// … and the newest.
    pub last: Option<Arc<Snapshot>>,
    /// Bytes of all backups.
    pub plain: u64,
    /// Bytes of all objects.
    pub stored: u64,
}

/// Looks at what is there.
pub fn sizes(vault: &Vault) -> Result<Sizes, StoreError> {
    let listing = vault.listing()?;
    let mut all = vault.snapshots_of(&listing)?;
    all.retain(|(_, snapshot)| snapshot.is_backup());
    Ok(Sizes {
        backups: all.len(),
        first: all.first().map(|(_, snapshot)| Arc::clone(snapshot)),
        last: all.last().map(|(_, snapshot)| Arc::clone(snapshot)),
        plain: all.iter().map(|(_, snapshot)| snapshot.length()).fold(0, u64::saturating_add),
        stored: listing.found.values().map(|entry| entry.size).fold(0, u64::saturating_add),
    })
}

/// Something that is missing or damaged, and what it costs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// The object.
    pub object: String,
    /// What is wrong with it, as it follows the object's name.
    pub what: String,
    /// The backups that need it, by name.
    pub backups: Vec<String>,
}

/// What a check found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Backups in the vault.
    pub backups: usize,
    /// Packs in the vault, and their bytes.
    pub packs: usize,
    /// Their bytes.
    pub bytes: u64,
    /// Plain bytes of content that were read and compared.
    pub read: u64,
    /// What is wrong.
    pub problems: Vec<Problem>,
}

/// Checks that every backup's description makes sense and that what it names is there; with `every_byte`, that all of it
/// is what was written.
pub fn check(vault: &Vault, every_byte: bool) -> Result<Report, StoreError> {
    let listing = vault.listing()?;
    let mut report = Report::default();
    let mut found: BTreeMap<(String, String), BTreeSet<String>> = BTreeMap::new();
    // Which backups need a place, by number: there are many places.
    let mut places: BTreeMap<Place, Vec<u32>> = BTreeMap::new();
    let mut names: Vec<String> = Vec::new();
    for (_, entry) in listing.of(Kind::Pack) {
        report.packs += 1;
        report.bytes += entry.size;
    }
    for (id, entry) in listing.of(Kind::Snapshot) {
        // What this machine remembers of it says nothing of what is there.
        let snapshot: Snapshot = match vault.objects.record(&vault.master, Kind::Snapshot, id, entry.size) {
            Ok(snapshot) => snapshot,
            Err(error) if is_damage(&error) => {
                report.backups += 1;
                found.entry(what(&error, &entry.name)).or_default();
                continue;
            }
            Err(error) => return Err(error),
        };
        report.backups += usize::from(snapshot.is_backup());
        let number = u32::try_from(names.len()).unwrap_or(u32::MAX);
        names.push(snapshot.name.clone());
        for (pack, _) in &snapshot.packs {
            if !listing.has(Kind::Pack, *pack) {
                let missing = (Kind::Pack.object(*pack), "it is missing".to_owned());
                found.entry(missing).or_default().insert(snapshot.name.clone());
            }
        }
        for part in &snapshot.parts {
            match of_part(vault, part) {
                Ok(needed) => {
                    for place in needed {
                        let numbers = places.entry(place).or_default();
                        if numbers.last() != Some(&number) {
                            numbers.push(number);
                        }
                    }
                }
                Err(error) if is_damage(&error) => {
                    found.entry(what(&error, &snapshot.name)).or_default().insert(snapshot.name.clone());
                }
                Err(error) => return Err(error),
            }
        }
    }
    let mut needed = places.into_iter().peekable();
    while let Some((first, numbers)) = needed.next() {
        let mut together = vec![(first, numbers)];
        while let Some((next, _)) = needed.peek()
            && next.pack == first.pack
        {
            together.extend(needed.next());
        }
        let Some(entry) = listing.found.get(&(Kind::Pack, first.pack)) else { continue };
        for (place, what) in pack(vault, entry.size, &together, every_byte, &mut report.read)? {
            let numbers = together.iter().filter(|(at, _)| *at == place).flat_map(|(_, numbers)| numbers);
            let costs = numbers.filter_map(|number| names.get(*number as usize).cloned());
            found.entry((entry.name.clone(), what)).or_default().extend(costs);
        }
    }
    report.problems = found
        .into_iter()
        .map(|((object, what), backups)| Problem { object, what, backups: backups.into_iter().collect() })
        .collect();
    Ok(report)
}

/// Every group that a part needs.
fn of_part(vault: &Vault, part: &Part) -> Result<Vec<Place>, StoreError> {
    Ok(match part {
        Part::Inline(_) => Vec::new(),
        Part::Pieces { list, .. } => {
            let content: PieceList = vault.objects.group_record(&vault.master, *list)?;
            let groups = 0..u32::try_from(content.groups.groups.len()).unwrap_or(u32::MAX);
            std::iter::once(*list).chain(groups.filter_map(|group| content.groups.place(group))).collect()
        }
        Part::Database { runs, .. } => {
            let pages = pages::map(&vault.objects, &vault.master, runs)?;
            let mut places: BTreeSet<Place> = pages
                .iter()
                .filter_map(|extent| match extent.spot {
                    Some(Spot::There(place)) => Some(place),
                    _ => None,
                })
                .collect();
            places.extend(runs.iter().flat_map(|run| run.hashes.iter().copied().chain([run.at])));
            places.into_iter().collect()
        }
    })
}

type Needed = (Place, Vec<u32>);

/// What is wrong with a pack's groups, which are in order.
fn pack(
    vault: &Vault,
    size: u64,
    groups: &[Needed],
    every_byte: bool,
    read: &mut u64,
) -> Result<Vec<(Place, String)>, StoreError> {
    let mut wrong = Vec::new();
    let end = |place: &Place| u64::from(place.at) + u64::from(place.length);
    let mut rest = groups;
    while let Some((first, _)) = rest.first() {
        if end(first) > size {
            wrong.push((*first, "it is shorter than it was".to_owned()));
            rest = &rest[1..];
            continue;
        }
        let fits = |place: &Place| end(place) <= size && end(place) - u64::from(first.at) <= STRETCH;
        let count = rest.iter().skip(1).take_while(|(place, _)| fits(place)).count() + 1;
        let (together, others) = rest.split_at(count);
        rest = others;
        if !every_byte {
            continue;
        }
        let name = Kind::Pack.object(first.pack);
        let until = together.iter().map(|(place, _)| end(place)).max().unwrap_or_default();
        if until - u64::from(first.at) > STRETCH {
            wrong.push((*first, "what should be in it is larger than anything in a vault".to_owned()));
            continue;
        }
        let bytes = vault.objects.range(&name, u64::from(first.at)..until)?;
        for (place, _) in together {
            let from = (place.at - first.at) as usize;
            let sealed = &bytes[from..from + place.length as usize];
            match vault.objects.open_group(&vault.master, *place, sealed) {
                Ok(plain) => *read += plain.len() as u64,
                Err(error) => wrong.push((*place, what(&error, &name).1)),
            }
        }
    }
    Ok(wrong)
}

/// Which object can't be used and why, as it follows its name; `object` where the error does not say it.
fn what(error: &StoreError, object: &str) -> (String, String) {
    let StoreError::Remote(remote) = error else { return (object.to_owned(), error.to_string()) };
    let (object, why) = remote.reason.split_once(" can't be used: ").unwrap_or((object, &remote.reason));
    (object.to_owned(), why.to_owned())
}
