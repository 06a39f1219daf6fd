//! `haul list`: lists the archives at a destination, from their beginnings alone.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use engine::{
    retention::{Arrival, Candidate, Origin, Worth},
    verdict,
};
use habackup::{
    archive::{Archive, ArchiveError},
    manifest::WallTime,
    problem::Severity,
};
use jiff::{Timestamp, Zoned, tz::TimeZone};
use serde::Serialize;
use store::{Cancellation, Entry, Store, StoreError, inbound::RemoteFile, machine::ArrivalNote};

use crate::{
    args::ListArgs,
    config::Config,
    destination::{self, Destination, Far, Network},
    failure::{self, DONE, Failure, INTERRUPTED},
    output, text,
};

const WHOLE: &str = "whole";
const INCOMPLETE: &str = "incomplete";
const DAMAGED: &str = "damaged";
const UNKNOWN: &str = "unknown";

/// Ends the name of the mark that pins an archive.
pub(crate) const PIN: &str = ".pin";
/// Archives read in parallel: each costs a handful of small requests.
const PARALLEL: usize = 4;

/// An archive at a destination, or a file that looks like one.
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Item {
    pub(crate) name: String,
    pub(crate) size: u64,
    #[serde(serialize_with = "as_text")]
    pub(crate) date: Timestamp,
    /// What Home Assistant shows as the backup's name.
    pub(crate) title: Option<String>,
    pub(crate) home_assistant: Option<String>,
    pub(crate) made_by: Origin,
    pub(crate) protected: bool,
    pub(crate) pinned: bool,
    /// Home Assistant's id of the instance that it is of.
    pub(crate) instance: Option<String>,
    /// `whole` or `incomplete`, as its maker said, `damaged`, or `unknown` if its maker said nothing and it looks sound
    /// from outside.
    pub(crate) verdict: &'static str,
    /// What an incomplete one lacks, as text.
    pub(crate) missing: Option<String>,
    /// Whether that is users, settings or the history.
    pub(crate) essential: bool,
    /// Whether it holds the history, as far as its maker said.
    pub(crate) history: bool,
    /// It is a symbolic link.
    pub(crate) link: bool,
    /// The paired machine that sent it, and when it arrived, at a receiver that keeps what it has.
    pub(crate) arrival: Option<ArrivalNote>,
    pub(crate) problem: Option<String>,
    /// What distinguishes it from other archives, whatever its name.
    #[serde(skip)]
    content: Option<String>,
}

impl Item {
    pub(crate) fn candidate(&self) -> Candidate {
        let arrival = self.arrival.as_ref().map(|note| Arrival { when: arrived(note), sender: note.key.clone() });
        Candidate {
            name: self.name.clone(),
            when: self.date,
            origin: self.made_by,
            pinned: self.pinned,
            worth: self.worth(),
            instance: self.instance.clone(),
            history: self.history,
            link: self.link,
            content: self.content.clone(),
            arrival,
        }
    }

    /// Its maker said that nothing is missing.
    pub(crate) fn is_called_whole(&self) -> bool {
        self.verdict == WHOLE
    }

    /// Whether the rules count both together: they are of one instance and came the same way.
    pub(crate) fn is_beside(&self, other: &Self) -> bool {
        let sender = |item: &Self| item.arrival.as_ref().map(|note| note.key.clone());
        self.instance == other.instance && sender(self) == sender(other)
    }

    /// Nothing is concluded from it.
    fn doubtful(&mut self, problem: &str) {
        self.made_by = Origin::Unreadable;
        self.verdict = UNKNOWN;
        self.problem = Some(problem.to_owned());
    }

    fn worth(&self) -> Worth {
        match self.verdict {
            DAMAGED => Worth::Damaged,
            INCOMPLETE => Worth::Incomplete,
            _ => Worth::Whole,
        }
    }
}

/// An impossible moment counts as one in the future, so that nothing is removed because of it.
fn arrived(note: &ArrivalNote) -> Timestamp {
    i64::try_from(note.arrived).ok().and_then(|second| Timestamp::from_second(second).ok()).unwrap_or(Timestamp::MAX)
}

fn as_text<S: serde::Serializer>(value: &impl std::fmt::Display, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

#[derive(Serialize)]
struct Document<'a> {
    #[serde(rename = "place")]
    destination: String,
    archives: &'a [Item],
}

pub(crate) fn run(args: &ListArgs, config: &Config, cancel: &Cancellation) -> Result<u8, Failure> {
    let destination = destination::resolve(config, &args.destination)?;
    destination.require_whole()?;
    let network = Network::start(args.waiting.give_up_after, cancel)?;
    let store = network.connect_to_look(&destination)?;
    let Inventory { items, twice } = inventory(&network, &destination, &store)?;
    let code = if items.iter().any(|item| item.made_by == Origin::Unreadable) { failure::INCOMPLETE } else { DONE };
    if args.json {
        output::json(&Document { destination: store.label(), archives: &items })?;
        return Ok(code);
    }
    if items.is_empty() {
        output::lines(&[format!("{} holds no archives", store.label())])?;
        return Ok(DONE);
    }
    let zone = TimeZone::system();
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
    let said = item.problem.clone().or_else(|| Some(verdict::incomplete(item.missing.as_ref()?, item.essential)))?;
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
        DAMAGED => marks.push("DAMAGED"),
        INCOMPLETE => marks.push(if item.essential { "incomplete (loses essentials)" } else { "incomplete" }),
        _ => {}
    }
    if matches!(item.made_by, Origin::Own | Origin::Other) && !item.history && item.verdict != DAMAGED {
        marks.push("no history");
    }
    let from = item.arrival.as_ref().map(|note| format!("from {}", note.from));
    marks.extend(from.as_deref());
    [
        moment(item.date, zone),
        text::bytes(item.size),
        item.home_assistant.clone().unwrap_or_else(|| "-".to_owned()),
        maker(item.made_by).to_owned(),
        if several { short(item.instance.as_deref()) } else { String::new() },
        marks.join(", "),
        item.name.clone(),
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
}

/// Reads everything at a destination that is or looks like an archive.
pub(crate) fn inventory(
    network: &Network,
    destination: &Destination,
    store: &Arc<dyn Store>,
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
                    let file = RemoteFile::of(
                        &network.bridge,
                        &network.context_for(destination),
                        Arc::clone(store),
                        (*entry).clone(),
                    );
                    let mut found = look(file, entry, pinned);
                    if let (Ok(Some(item)), Some(note)) = (&mut found, listed.get(&ArrivalNote::name(&entry.name))) {
                        match network.ask(destination, || ArrivalNote::read(&**store, note)) {
                            Ok(Some(note)) => item.arrival = Some(note),
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
    Ok(Inventory { items, twice: twice.into_iter().collect() })
}

pub(crate) fn is_archive_name(name: &str) -> bool {
    std::path::Path::new(name).extension().is_some_and(|extension| extension.eq_ignore_ascii_case("tar"))
}

/// What one archive is; `None` when it vanished meanwhile.
fn look(file: RemoteFile, entry: &Entry, pinned: bool) -> Result<Option<Item>, Failure> {
    let modified =
        entry.modified.and_then(|modified| Timestamp::try_from(modified).ok()).unwrap_or(Timestamp::UNIX_EPOCH);
    let mut item = Item {
        name: entry.name.clone(),
        size: entry.size,
        date: modified,
        title: None,
        home_assistant: None,
        made_by: Origin::Unknown,
        protected: false,
        pinned,
        instance: None,
        verdict: DAMAGED,
        missing: None,
        essential: false,
        history: true,
        link: entry.link,
        arrival: None,
        problem: None,
        content: None,
    };
    let archive = match Archive::open(Far(file)) {
        Ok(archive) => archive,
        Err(ArchiveError::Io(error)) => return unreadable(item, error),
        Err(error) => return Ok(Some(Item { problem: Some(error.to_string()), ..item })),
    };
    let damage = archive.problems().iter().find(|problem| problem.severity == Severity::Damaged);
    item.problem = match (damage, engine::beginning(&archive)) {
        (Some(damage), _) => Some(damage.to_string()),
        (None, Ok(problem)) => problem,
        (None, Err(error)) => return unreadable(item, error),
    };
    let is_sound = archive.tail().is_some() && item.problem.is_none();
    if let Some(manifest) = archive.manifest() {
        let stamp = manifest.stamp();
        // The index is the last member, and the first to go when an archive is cut.
        let is_own = stamp.is_some() || archive.member(habackup::index::MEMBER).is_some();
        item.made_by = if is_own { Origin::Own } else { Origin::Other };
        item.instance = manifest.instance().map(str::to_owned);
        if is_sound {
            item.verdict = stamp.as_ref().map_or(UNKNOWN, |stamp| if stamp.is_whole() { WHOLE } else { INCOMPLETE });
        }
        item.history = stamp.as_ref().map_or(!manifest.excludes_database(), |stamp| !stamp.without_history);
        item.content = Some(format!("{:?} {:?} {:?} {}", item.instance, manifest.slug(), manifest.date(), entry.size));
        if let Some(stamp) = stamp.filter(|stamp| !stamp.is_whole()) {
            item.essential = stamp.essential;
            item.missing = Some(stamp.missing);
        }
        item.title = manifest.name().map(str::to_owned);
        item.home_assistant = manifest.home_assistant_version().map(str::to_owned);
        item.protected = manifest.protected();
        item.date = manifest.date().and_then(|date| date.parse::<WallTime>().ok()?.timestamp()).unwrap_or(modified);
    } else if item.problem.is_none() {
        item.problem = Some("there is no backup.json, so this is not a Home Assistant backup".to_owned());
    }
    Ok(Some(item))
}

/// What can't be read at all: a lost destination is reported once, and not for each archive.
fn unreadable(item: Item, error: std::io::Error) -> Result<Option<Item>, Failure> {
    let text = error.to_string();
    match error.downcast::<StoreError>() {
        Ok(StoreError::Cancelled) => Err(Failure::new(INTERRUPTED, "interrupted; nothing was changed")),
        Ok(error) if error.is_transient() => Err(error.into()),
        Ok(error) if error.kind() == Some(store::Kind::NotFound) => Ok(None),
        _ => Ok(Some(Item { made_by: Origin::Unreadable, verdict: UNKNOWN, problem: Some(text), ..item })),
    }
}
