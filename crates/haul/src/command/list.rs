//! `haul list`: lists the archives at a destination, from their beginnings alone.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use engine::{
    inventory::{self, Called, Item, PIN, is_archive_name},
    retention::Origin,
    verdict,
};
use jiff::{Timestamp, Zoned, tz::TimeZone};
use serde::Serialize;
use store::{Cancellation, Entry, Store, StoreError, inbound::RemoteFile, machine::ArrivalNote};

use crate::{
    args::ListArgs,
    clock,
    config::Config,
    destination::{self, Destination, Far, Network},
    failure::{self, DONE, FAILED, Failure, INTERRUPTED},
    output, text,
};

/// Archives read in parallel: each costs a handful of small requests.
const PARALLEL: usize = 4;

#[derive(Serialize)]
struct Document<'a> {
    destination: String,
    archives: &'a [Item],
}

pub(crate) fn run(args: &ListArgs, config: &Config, cancel: &Cancellation) -> Result<u8, Failure> {
    let destination = destination::resolve(config, &args.destination)?;
    destination.require_whole()?;
    let network = Network::start(args.waiting.give_up_after, cancel)?;
    let store = network.connect_to_look(&destination)?;
    let Inventory { items, twice, .. } = inventory(&network, &destination, &store)?;
    let code = if items.iter().any(|item| item.made_by == Origin::Unreadable) { failure::INCOMPLETE } else { DONE };
    if args.json {
        output::json(&Document { destination: store.label(), archives: &items })?;
        return Ok(code);
    }
    if items.is_empty() {
        output::lines(&[format!("{} holds no archives", store.label())])?;
        return Ok(DONE);
    }
    let zone = clock::zone();
    let several = are_several(&items);
    let mut rows: Vec<[String; 7]> = vec![
        ["DATE", "SIZE", "VERSION", "MADE BY", if several { "INSTANCE" } else { "" }, "", "NAME"].map(str::to_owned),
    ];
    rows.extend(items.iter().map(|item| row(item, several, &zone)));
    let mut lines = table(&rows);
    lines.push(format!(
        "{}, {}",
        text::count(items.len() as u64, "archive", "archives"),
        text::bytes(items.iter().map(|item| item.size).sum())
    ));
    output::lines(&lines)?;
    let doubled = twice.iter().map(|name| format!("the destination lists {} more than once", text::sanitize(name)));
    output::notes("note", doubled.chain(items.iter().filter_map(note)).collect::<Vec<_>>().into_iter());
    Ok(code)
}

fn note(item: &Item) -> Option<String> {
    let said = item
        .problem
        .as_deref()
        .map(str::to_owned)
        .or_else(|| Some(verdict::incomplete(item.missing.as_ref()?, item.essential)))?;
    Some(text::sanitize(&format!("{}: {said}", item.name)))
}

/// Whether the backups are not all of one instance.
pub(crate) fn are_several(items: &[Item]) -> bool {
    let instances: BTreeSet<_> = items
        .iter()
        .filter(|item| matches!(item.made_by, Origin::Own | Origin::Other))
        .map(|item| &item.instance)
        .collect();
    instances.len() > 1
}

/// So much of an instance's id that it differs from others.
pub(crate) fn short(instance: Option<&str>) -> String {
    instance.map_or("-", |id| &id[..id.floor_char_boundary(8)]).to_owned()
}

fn row(item: &Item, several: bool, zone: &TimeZone) -> [String; 7] {
    let mut marks = Vec::new();
    if item.protected {
        marks.push("encrypted");
    }
    if item.pinned {
        marks.push("pinned");
    }
    if item.link {
        marks.push("link");
    }
    match item.verdict {
        _ if matches!(item.made_by, Origin::Unknown | Origin::Unreadable) => {}
        Called::Damaged => marks.push("DAMAGED"),
        Called::Incomplete => marks.push(if item.essential { "incomplete (loses essentials)" } else { "incomplete" }),
        _ => {}
    }
    if matches!(item.made_by, Origin::Own | Origin::Other) && !item.history && item.verdict != Called::Damaged {
        marks.push("no history");
    }
    let from = item.arrival.as_ref().map(|note| format!("from {}", note.from));
    marks.extend(from.as_deref());
    [
        moment(item.date, zone),
        text::bytes(item.size),
        item.home_assistant.as_deref().unwrap_or("-").to_owned(),
        maker(item.made_by).to_owned(),
        if several { short(item.instance.as_deref()) } else { String::new() },
        marks.join(", "),
        item.name.to_string(),
    ]
}

fn maker(origin: Origin) -> &'static str {
    match origin {
        Origin::Own => "Haul",
        Origin::Other => "Home Assistant",
        Origin::Unknown => "not a backup",
        Origin::Unreadable => "unreadable",
    }
}

/// A moment by the local clock.
pub(crate) fn moment(when: Timestamp, zone: &TimeZone) -> String {
    Zoned::new(when, zone.clone()).strftime("%Y-%m-%d %H:%M").to_string()
}

/// Columns as wide as their widest cell; the last one is ragged.
pub(crate) fn table<const N: usize>(rows: &[[String; N]]) -> Vec<String> {
    let rows: Vec<[String; N]> = rows.iter().map(|row| row.each_ref().map(|cell| text::sanitize(cell))).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..N).map(width).collect();
    let line = |row: &[String; N]| {
        let cells =
            row.iter().zip(&widths).filter(|(_, width)| **width > 0).map(|(cell, width)| format!("{cell:<width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}

/// What a destination holds.
pub(crate) struct Inventory {
    /// Everything that is or looks like an archive, the oldest first; each name once.
    pub(crate) items: Vec<Item>,
    /// Names that the destination lists more than once.
    pub(crate) twice: Vec<String>,
    /// When each archive was last changed, as far as the destination says it.
    pub(crate) modified: BTreeMap<String, Timestamp>,
}

/// Reads everything at a destination that is or looks like an archive.
pub(crate) fn inventory(
    network: &Network,
    destination: &Destination,
    store: &Arc<dyn Store>,
) -> Result<Inventory, Failure> {
    inventory_but(network, destination, store, |_| None)
}

/// As [`inventory`]; what is `known` of an unchanged archive is not read again.
pub(crate) fn inventory_but(
    network: &Network,
    destination: &Destination,
    store: &Arc<dyn Store>,
    known: impl Fn(&Entry) -> Option<Item> + Sync,
) -> Result<Inventory, Failure> {
    let mut listed: BTreeMap<String, Entry> = BTreeMap::new();
    let mut twice = BTreeSet::new();
    for entry in network.ask(destination, || store.list())? {
        if let Some(before) = listed.insert(entry.name.clone(), entry) {
            twice.insert(before.name);
        }
    }
    let wanted: Vec<&Entry> = listed.values().filter(|entry| is_archive_name(&entry.name)).collect();
    let next = AtomicUsize::new(0);
    let items = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..PARALLEL.min(wanted.len()) {
            scope.spawn(|| {
                while let Some(entry) = wanted.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let pinned = listed.contains_key(&format!("{}{PIN}", entry.name));
                    if let Some(item) = known(entry) {
                        let item = Item { pinned, ..item };
                        items.lock().unwrap_or_else(PoisonError::into_inner).push(Ok(Some(item)));
                        continue;
                    }
                    let file = RemoteFile::of(
                        &network.bridge,
                        &network.context_for(destination),
                        Arc::clone(store),
                        (*entry).clone(),
                    );
                    let mut found = inventory::look(Far(file), entry, pinned).map_err(unreadable);
                    if let (Ok(Some(item)), Some(note)) = (&mut found, listed.get(&ArrivalNote::name(&entry.name))) {
                        match network.ask(destination, || ArrivalNote::read(&**store, note)) {
                            Ok(Some(note)) => item.arrival = Some(Box::new(note)),
                            // What can't be read might say anything: the archive stays.
                            Ok(None) => item.doubtful("the record of its arrival is damaged"),
                            Err(failure) => found = Err(failure),
                        }
                    }
                    items.lock().unwrap_or_else(PoisonError::into_inner).push(found);
                }
            });
        }
    });
    let items = items.into_inner().unwrap_or_else(PoisonError::into_inner);
    let mut items = items.into_iter().filter_map(Result::transpose).collect::<Result<Vec<_>, _>>()?;
    items.sort_by(|a, b| (a.date, &a.name).cmp(&(b.date, &b.name)));
    let modified = wanted
        .iter()
        .filter_map(|entry| Some((entry.name.clone(), Timestamp::try_from(entry.modified?).ok()?)))
        .collect();
    Ok(Inventory { items, twice: twice.into_iter().collect(), modified })
}

/// A destination that is lost while its archives are read.
fn unreadable(error: io::Error) -> Failure {
    match error.downcast::<StoreError>() {
        Ok(StoreError::Cancelled) => Failure::new(INTERRUPTED, "interrupted; nothing was changed"),
        Ok(error) => error.into(),
        Err(error) => Failure::new(FAILED, engine::plain_reason(&error)),
    }
}
